"""Files that create a folder if a program unpickles them."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def make_pickle(marker: Path) -> bytes:
    return pickle.dumps(Bomb(marker))


def make_array(marker: Path) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([Bomb(marker)], dtype=object), allow_pickle=True)
    return stream.getvalue()


def make_checkpoint(marker: Path) -> bytes:
    stream = io.BytesIO()
    torch.save({"weights": Bomb(marker)}, stream)
    return stream.getvalue()


def make_yaml(marker: Path) -> bytes:
    return f"data: !!python/object/apply:os.mkdir ['{marker}']\n".encode()


BOMBS: dict[str, Callable[[Path], bytes]] = {
    "pickle": make_pickle,
    "array": make_array,
    "checkpoint": make_checkpoint,
    "yaml": make_yaml,
}
