"""Call a hook before and after each disk operation of nmt.core.files, to inject faults."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nmt.core import files

Hook = Callable[[str], None]
"""Receives `before OPERATION PATH` and `after OPERATION PATH`, and may raise an error."""


class HookedOs:
    """The module `os`, with a hook around the functions that change the disk."""

    def __init__(self, hook: Hook) -> None:
        self.hook = hook
        self.paths: dict[int, Path] = {}
        """Path of each file descriptor."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def call(self, function: Callable[..., Any], path: Path, *args: Any) -> Any:
        """Call a function on `path` with the hook around it."""
        self.hook(f"before {function.__name__} {path}")
        result = function(*args)
        self.hook(f"after {function.__name__} {path}")
        return result

    def open(self, path: Path, flags: int) -> int:
        descriptor = os.open(path, flags)
        self.paths[descriptor] = path
        return descriptor

    def fsync(self, descriptor: int) -> None:
        self.call(os.fsync, self.paths[descriptor], descriptor)

    def replace(self, path: Path, new_path: Path) -> None:
        self.call(os.replace, path, path, new_path)

    def symlink(self, target: str, link: Path) -> None:
        self.call(os.symlink, link, target, link)

    def mkdir(self, path: Path) -> None:
        self.call(os.mkdir, path, path)

    def unlink(self, path: Path) -> None:
        self.call(os.unlink, path, path)

    def rmdir(self, path: Path) -> None:
        self.call(os.rmdir, path, path)

    def open_stream(self, path: Path, mode: str, **options: Any) -> Any:
        """Replace the builtin `open`."""
        if mode not in ("wb", "ab") or options:
            return open(path, mode, **options)
        file = HookedFile(self, path, mode)
        self.paths[file.fileno()] = path
        return io.BufferedWriter(file)


class HookedFile(io.FileIO):
    """A file with a hook around each write."""

    def __init__(self, hooked_os: HookedOs, path: Path, mode: str) -> None:
        super().__init__(path, mode)
        self.hooked_os, self.path = hooked_os, path

    def write(self, content: Any) -> int:
        return int(self.hooked_os.call(super().write, self.path, content))


def install_disk_hook(hook: Hook) -> None:
    """Call the hook for all disk operations from now on."""
    hooked_os = HookedOs(hook)
    vars(files).update(os=hooked_os, open=hooked_os.open_stream)


def remove_disk_hook() -> None:
    vars(files).update(os=os)
    vars(files).pop("open", None)


@contextmanager
def disk_hook(hook: Hook) -> Iterator[None]:
    """Call the hook for all disk operations in the block."""
    install_disk_hook(hook)
    try:
        yield
    finally:
        remove_disk_hook()
