"""Model folders of other toolkits, and damage of their files that byte flips rarely cause."""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import shutil
import struct
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tests.support.models.eole_folders import write_eole_folder
from tests.support.models.m2m100_folders import write_m2m100_folder, write_nllb_folder
from tests.support.models.marian_folders import make_text, write_marian_folder
from tests.support.models.marian_npz import write_npz_folder
from tests.support.models.opennmt_checkpoints import CHECKPOINT, write_opennmt_folder
from tests.support.promises.fuzz.folders import Damage, damage_file
from tests.support.promises.pickle_bombs import make_checkpoint, make_pickle

MARKER = "executed"
"""Folder that appears in the working directory if the code in a pickle is executed."""
WEIGHTS, PICKLED = "model.safetensors", "pytorch_model.bin"
ODD_VALUES: list[Any] = [
    *(None, True, -1, 0, 1, 7, 2**31, 2**63, 10**400, 0.5, math.nan, math.inf, 1e308),
    *("", "x", "a\nb", "\0", "\ud800", "../x", "F32", "I64", "\x1b[31m", "x" * 5000),
    *([], [[]], [[1]], [1, 10**12], [0, 10**18], [-1, -1], ["x"], {}, {"content": "x"}),
]
ENTRY_NAMES = ["a\nb.npy", "../x.npy", "x/", "a", "data.pkl", "x/data.pkl", "\x1b[31m.npy"]


def write_pickled_folder(folder: Path) -> None:
    """Write a MarianMT folder whose weights are a pytorch_model.bin."""
    write_marian_folder(folder, make_text(0), make_text(3))
    torch.save(load_file(folder / WEIGHTS), folder / PICKLED)
    (folder / WEIGHTS).unlink()


def write_indexed_folder(folder: Path) -> None:
    """Write a MarianMT folder with an index of weight files."""
    write_marian_folder(folder, make_text(0), make_text(3), separate=True)
    (folder / WEIGHTS).rename(folder / "part-1.safetensors")
    names = dict.fromkeys(load_file(folder / "part-1.safetensors"), "part-1.safetensors")
    index = {"metadata": {}, "weight_map": names}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))


LAYOUTS: dict[str, Callable[[Path], object]] = {
    "marianmt": lambda folder: write_marian_folder(folder, make_text(0), make_text(3)),
    "pickled": write_pickled_folder,
    "indexed": write_indexed_folder,
    "marian": write_npz_folder,
    "eole": lambda folder: write_eole_folder(folder, make_text(0), make_text(3)),
    "m2m100": lambda folder: write_m2m100_folder(folder, make_text(0)),
    "nllb": lambda folder: write_nllb_folder(folder, make_text(0)),
    "opennmt": write_opennmt_folder,
}
SOURCES = {"opennmt": f"model/{CHECKPOINT}"}
"""Argument of `nmt import` by layout; `model` for the layouts that are not listed."""


def replace_value(content: Any, position: int, value: Any) -> None:
    """Replace, rename or delete one value of a JSON document, chosen by `position`."""
    if not content:
        return
    position, choice = divmod(position, len(content))
    key = choice if isinstance(content, list) else list(content)[choice]
    if isinstance(content[key], dict | list) and content[key] and position % 4:
        replace_value(content[key], position // 4, value)
    elif position % 4 == 3:
        del content[key]
    elif position % 4 == 2 and isinstance(content, dict):
        content[json.dumps(value)] = content.pop(key)
    else:
        content[key] = value


def change_json(file: Path, position: int, value: Any) -> None:
    """Change a JSON file, or the header of a safetensors file."""
    content = file.read_bytes()
    is_json = file.suffix == ".json"
    size = len(content) if is_json else 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[0 if is_json else 8 : size])
    replace_value(header, position, value)
    text = json.dumps(header).encode()
    prefix = b"" if is_json else struct.pack("<Q", len(text))
    file.write_bytes(prefix + text + content[size:])


def change_checkpoint(file: Path, position: int, value: Any) -> None:
    """Replace, rename or delete one value in a pickle with tensors."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(file, weights_only=True)
    except Exception:  # damaged before
        return
    options = content.get("opt")
    if isinstance(options, argparse.Namespace) and position % 2:
        replace_value(vars(options), position // 2, value)
    else:
        replace_value(content, position // 2, value)
    torch.save(content, file)


def repeat_key(file: Path, position: int, value: Any) -> None:
    """Add an entry to a JSON file whose key is that of another."""
    content = json.loads(file.read_bytes())
    key = list(content)[position % len(content)] if isinstance(content, dict) and content else "x"
    text = file.read_text().rstrip().removesuffix("}")
    file.write_text(f"{text}, {json.dumps(key)}: {json.dumps(value)}}}")


def change_entry(file: Path, position: int, value: Any) -> None:
    """Change an entry of a ZIP file: its bytes, its name, its compression or its flags."""
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    position, choice = divmod(position, len(entries))
    name = list(entries)[choice]
    position, kind = divmod(position, 6)
    new_name, method = name, zipfile.ZIP_STORED
    content = bytearray(entries[name])
    if kind == 0:
        content += b"\0" * 10**7
        method = zipfile.ZIP_DEFLATED
    elif kind == 1:
        new_name = ENTRY_NAMES[position % len(ENTRY_NAMES)]
    elif kind == 2 and content:
        begin = content.find(b"(") if position % 2 else position % len(content)
        content[begin : begin + 9] = json.dumps(value).encode()[:5000]
    elif content:
        content[position % min(len(content), 200)] ^= 1 + position % 255
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name may occur twice
        for old_name, old in entries.items():
            if old_name != name:
                archive.writestr(old_name, old)
        archive.writestr(zipfile.ZipInfo(new_name), bytes(content), method)
    archive_bytes = bytearray(stream.getvalue())
    if kind == 5:  # the flags, versions and sizes of the last entry in the directory
        archive_bytes[archive_bytes.rfind(b"PK\1\2") + 4 + position % 38] ^= 1 + position % 255
    file.write_bytes(archive_bytes)


def replace_file(path: Path, position: int, value: Any) -> None:
    """Replace a file or a folder: by another kind of file, a link, or a pickle with code."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    odd_name = os.fsdecode(b"\xff" + os.fsencode(path.suffix))
    kinds: list[Callable[[], object]] = [
        lambda: os.mkfifo(path),
        lambda: path.symlink_to("/dev/zero"),
        lambda: path.symlink_to("/etc/passwd"),
        lambda: path.symlink_to(path.name),
        lambda: path.symlink_to("../test.in"),
        lambda: path.write_bytes(make_pickle(Path(MARKER))),
        lambda: path.write_bytes(make_checkpoint(Path(MARKER))),
        lambda: path.write_text(json.dumps(value)),
        lambda: path.with_name(f"a\nb{path.suffix}").write_text("x"),
        lambda: path.with_name(odd_name).touch(),
    ]
    kinds[position % len(kinds)]()


CHANGES: dict[str, tuple[Callable[[Path, int, Any], None], tuple[str, ...]]] = {
    "json": (change_json, (".json", ".safetensors")),
    "key": (repeat_key, (".json",)),
    "entry": (change_entry, (".npz", ".bin", ".pt")),
    "checkpoint": (change_checkpoint, (".bin", ".pt")),
    "file": (replace_file, ("",)),
}
"""Kinds of damage, and the endings of the files that they apply to."""


def damage_model(folder: Path, kind: str, position: int, value: Any, damage: Damage) -> None:
    """Damage a file of a model folder, or replace the folder."""
    if kind == "folder":
        replace_file(folder, position, value)
        return
    change, endings = CHANGES.get(kind, (None, ("",)))
    files = [file for file in sorted(folder.iterdir()) if file.is_file()]
    files = [file for file in files if file.name.endswith(endings)]
    if not files:
        return
    position, choice = divmod(position, len(files))
    if change is None:
        damage_file(files[choice], damage)
        return
    damaged_before = (ValueError, zipfile.BadZipFile, RecursionError, NotImplementedError)
    with suppress(*damaged_before, RuntimeError):
        change(files[choice], position, value)
