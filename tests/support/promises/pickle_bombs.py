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


def plain(marker: Path) -> bytes:
    return pickle.dumps(Bomb(marker))


def array(marker: Path) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([Bomb(marker)], dtype=object), allow_pickle=True)
    return stream.getvalue()


def checkpoint(marker: Path) -> bytes:
    stream = io.BytesIO()
    torch.save({"weights": Bomb(marker)}, stream)
    return stream.getvalue()


def yaml(marker: Path) -> bytes:
    return f"data: !!python/object/apply:os.mkdir ['{marker}']\n".encode()


BOMBS = {pickle_file.__name__: pickle_file for pickle_file in (plain, array, checkpoint, yaml)}
