"""Run `nmt` commands in child processes, one after the other, and forward signals to them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import FrameType

from nmt.core.torchrun import single_process_environment
from nmt.training.signals import EXIT_CODES, handle_signals


class ChildProcesses:
    """Starts child processes that are no part of a torchrun job."""

    def __init__(self) -> None:
        self.exit_code: int | None = None
        """Exit code of the signal that this process or a child received, if any."""
        self._signal: int | None = None
        self._child: subprocess.Popen[bytes] | None = None

    def forward_signals(self) -> AbstractContextManager[None]:
        """Return a context in which the signals that end training are forwarded to the child."""
        return handle_signals(self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._signal, self.exit_code = number, EXIT_CODES[number]
        if self._child is not None:
            self._child.send_signal(number)

    def run(self, arguments: Sequence[str]) -> int | None:
        """Run `nmt ARGUMENTS`, its output on stderr; return its exit code, None after a signal.

        The exit code is negative if a signal that no handler catches has ended the child.
        """
        command = [sys.executable, "-m", "nmt", *arguments]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sys.stderr, env=single_process_environment()
        ) as child:
            self._child = child
            if self._signal is not None:  # it came before the child could receive it
                child.send_signal(self._signal)
            code = child.wait()
            self._child = None
        if code in EXIT_CODES.values():
            self.exit_code = self.exit_code or code
        return None if self.exit_code is not None else code
