"""Servers for tests: an application in this process, and `nmt serve` in a new one."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.command_line import NMT, environment, settings
from tests.support.paths import FROZEN_V1

LANGUAGES = settings(data__src="en", data__tgt="fr")
"""Flags that give the model of `FROZEN_V1`, which reverses digits, two real languages."""
STOP_SECONDS = 60


@dataclass
class ServerProcess:
    """A running `nmt serve`."""

    url: str
    process: subprocess.Popen[str]
    messages: list[str] = field(default_factory=list)
    """Lines of its stderr."""

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)


@contextmanager
def serve(
    *flags: object, models: Sequence[Path] = (FROZEN_V1,), languages: Sequence[str] = LANGUAGES
) -> Iterator[ServerProcess]:
    """Run `nmt serve` on a free port, with one search process, until the end of the block."""
    arguments = ["serve", "--port", 0, *(word for m in models for word in ("-m", m)), *languages]
    arguments += settings(decode__threads=1)
    process = subprocess.Popen(
        [*NMT, *map(str, arguments), *map(str, flags)],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stderr is not None
    messages: list[str] = []
    url = None
    for line in process.stderr:
        messages.append(line)
        if match := re.search(r"listening on (http://\S+)", line):
            url = match[1]
            break
    assert url, "".join(messages)
    reader = threading.Thread(target=lambda: messages.extend(process.stderr or ()))
    reader.start()
    server = ServerProcess(url, process, messages)
    try:
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join()
        process.stderr.close()


def error_of(response: Any, status: int) -> str:
    """Return the message of a response, which must be an error with this status."""
    assert response.status_code == status, response.text
    answer = response.json()
    assert list(answer) == ["error"]
    return str(answer["error"])


@contextmanager
def run_app(app: Any) -> Iterator[str]:
    """Serve an application in a thread until the end of the block, and yield its URL."""
    import uvicorn

    from nmt.serving.server import bind_socket

    listener = bind_socket("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()
