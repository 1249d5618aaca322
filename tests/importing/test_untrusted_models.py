"""Damaged and malicious model folders: one clear line, and no file is left."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from nmt.errors import NMTError
from nmt.importing.importer import import_model
from nmt.importing.pickled_tensors import load_pickled_tensors
from tests.support.models.marian_folders import make_text, write_marian_folder
from tests.support.promises.pickle_bombs import make_checkpoint

pytest.importorskip("transformers", reason="needs nmt[export]")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original") / "marian"
    write_marian_folder(folder, make_text(0), make_text(3))
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy of the model, which a test damages."""
    return Path(shutil.copytree(original, tmp_path / "marian"))


def change_json(file: str, **changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / file).read_text(encoding="utf-8"))
        (folder / file).write_text(json.dumps(content | changes), encoding="utf-8")

    return change


def change_tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return rewrite


def write(file: str, content: bytes) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        (folder / file).write_bytes(content)

    return rewrite


def truncate(file: str) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        (folder / file).write_bytes((folder / file).read_bytes()[:-100])

    return cut


def write_index(file_name: str) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").rename(folder / "part.safetensors")
        index = {"weight_map": dict.fromkeys(tensors, file_name)}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return rewrite


def replace(file: str, put: Callable[[Path], object]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        (folder / file).unlink()
        put(folder / file)

    return rewrite


def rename_tensor(folder: Path) -> None:
    file = folder / "model.safetensors"
    content = file.read_bytes()
    assert content.count(NORM.encode()) == 1
    file.write_bytes(content.replace(NORM.encode(), rb"\n".ljust(len(NORM))))


def overlap_tensors(folder: Path) -> None:
    """Make a tensor begin in the middle of the previous one."""
    header = {
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
    }
    text = json.dumps(header).encode()
    content = len(text).to_bytes(8, "little") + text + bytes(12)
    (folder / "model.safetensors").write_bytes(content)


def write_huge_index(folder: Path) -> None:
    """Write an index of a million tensors."""
    (folder / "model.safetensors").unlink()
    entries = b",".join([b'"tensor": "part.safetensors"'] * 10**6)
    (folder / "model.safetensors.index.json").write_bytes(b'{"weight_map": {%s}}' % entries)


NORM = "model.decoder.layers.0.final_layer_norm.weight"
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json: no such file"),
    "no JSON": (write("config.json", b"{"), "config.json: expected JSON"),
    "deep JSON": (write("vocab.json", b"[" * 10**6), "vocab.json: expected JSON"),
    "other layout": (change_json("config.json", model_type="bart"), "model_type: expected marian"),
    "huge width": (change_json("config.json", d_model=10**9), "d_model: input should be less"),
    "other width": (change_json("config.json", d_model=20), "expected .*20.*, got the shape"),
    "heads": (change_json("config.json", encoder_attention_heads=2), "decoder_attention_heads: "),
    "divisor": (
        change_json("config.json", encoder_attention_heads=3, decoder_attention_heads=3),
        "expected a divisor of model.d_model",
    ),
    "activation": (change_json("config.json", activation_function="tanh"), "activation_function: "),
    "no scale": (change_json("config.json", scale_embedding=False), "scale_embedding: "),
    "start": (
        change_json("generation_config.json", decoder_start_token_id=999),
        "decoder_start_token_id: ",
    ),
    "eos": (
        change_json("generation_config.json", eos_token_id=3),
        "eos_token_id: expected the token id",
    ),
    "phrase": (change_json("generation_config.json", bad_words_ids=[[1, 2]]), "bad_words_ids: "),
    "huge id": (change_json("vocab.json", x=10**9), "vocab.json: 'x': expected a token id below"),
    "id of text": (change_json("vocab.json", x="1"), "vocab.json: 'x': expected a token id"),
    "same id": (change_json("vocab.json", x=5), "expected different token ids, got 5 twice"),
    "no pieces": (write("source.spm", b"x"), "source.spm: expected a SentencePiece model"),
    "cut pieces": (truncate("target.spm"), "target.spm: "),
    "cut weights": (truncate("model.safetensors"), "model.safetensors: expected a safetensors"),
    "shape lies": (
        write("model.safetensors", b"\x40" + b"\0" * 7 + b'{"a":{"dtype":"F32","shape":[9e9]}}'),
        "expected a safetensors file",
    ),
    "NaN": (
        change_tensors(lambda tensors: tensors[NORM].fill_(torch.nan)),
        rf"model\.safetensors: {NORM}: expected finite numbers",
    ),
    "integers": (
        change_tensors(lambda tensors: tensors.update({NORM: tensors[NORM].int()})),
        "expected F32, F16, BF16, got I32",
    ),
    "missing": (change_tensors(lambda tensors: tensors.pop(NORM)), f"{NORM}: expected this tensor"),
    "unknown": (
        change_tensors(lambda tensors: tensors.update(x=torch.ones(2))),
        "x: expected no such tensor",
    ),
    "positions": (
        change_tensors(
            lambda tensors: tensors.update(
                {"model.encoder.embed_positions.weight": torch.ones(8, 16)}
            )
        ),
        "expected sinusoidal positions",
    ),
    "pipe": (replace("config.json", os.mkfifo), "config.json: expected a regular file, got a"),
    "piece pipe": (replace("source.spm", os.mkfifo), "source.spm: expected a regular file, got a"),
    "device": (
        replace("vocab.json", lambda file: file.symlink_to("/dev/zero")),
        "vocab.json: expected a regular file",
    ),
    "folder": (replace("config.json", os.mkdir), "config.json: expected a regular file"),
    "outside": (
        replace("source.spm", lambda file: file.symlink_to("/etc/passwd")),
        "source.spm: expected a SentencePiece model",
    ),
    "dangling": (
        replace("source.spm", lambda file: file.symlink_to("none")),
        "source.spm: no such file",
    ),
    "same key": (
        write("vocab.json", b'{"a": 1, "b": 2, "a": 3}'),
        "vocab.json: expected JSON, .*: the key 'a' is repeated",
    ),
    "huge number": (write("config.json", b'{"d_model": %s}' % (b"9" * 5000)), "expected JSON, got"),
    "NaN setting": (change_json("config.json", dropout=float("nan")), "dropout: .*, got nan"),
    "UTF-16": (write("vocab.json", '{"a": 1}'.encode("utf-16")), "vocab.json: expected JSON, got"),
    "NUL in piece": (write("vocab.json", b'{"a\\u0000": 7}'), "expected pieces of text, got"),
    "line break": (rename_tensor, "expected printable names of tensors, got"),
    "overlap": (overlap_tensors, "expected a safetensors file, got a damaged one"),
    "huge index": (write_huge_index, "index.json: expected at most 16,777,216 bytes, got more"),
    "index leaves": (write_index("../part.safetensors"), "names of safetensors files in the same"),
    "index names none": (write_index("other.safetensors"), "other.safetensors: no such file"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_import_damaged_folder_is_one_line(name: str, folder: Path, tmp_path: Path) -> None:
    damage, message = DAMAGE[name]
    damage(folder)
    with pytest.raises(NMTError, match=message) as error:
        import_model(folder, tmp_path / "run", [], [])
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == ["marian"]


def test_import_of_a_file_is_refused(folder: Path, tmp_path: Path) -> None:
    for source in (folder / "config.json", tmp_path / "none"):
        with pytest.raises(NMTError, match=r"expected a model folder or a \.pt file, got none"):
            import_model(source, tmp_path / "run", [], [])


def test_import_file_names_of_any_bytes_are_recorded(folder: Path, tmp_path: Path) -> None:
    (folder / os.fsdecode(b"\xff")).touch()
    import_model(folder, tmp_path / "run", [], ["ab ab"])
    record = json.loads((tmp_path / "run" / "import.json").read_text(encoding="utf-8"))
    assert {"\N{REPLACEMENT CHARACTER}", "config.json"} <= record["sha256"].keys()


def test_import_interrupted_leaves_no_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> None:
        assert len(os.listdir(tmp_path)) == 2
        os.kill(os.getpid(), signal.SIGINT)

    for name in ("write_tensors", "compare_with_reference"):
        with monkeypatch.context() as patch:
            patch.setattr(f"nmt.importing.importer.{name}", interrupt)
            with pytest.raises(KeyboardInterrupt):
                import_model(folder, tmp_path / "run", [], ["ab ab"])
        assert os.listdir(tmp_path) == ["marian"]


def test_import_index_of_same_folder_is_accepted(folder: Path, tmp_path: Path) -> None:
    write_index("part.safetensors")(folder)
    assert import_model(folder, tmp_path / "run", [], ["ab ab"]) is not None


def test_import_existing_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(NMTError, match="expected a new folder"):
        import_model(folder, tmp_path / "run", [], [])


def test_import_pickled_weights_equal_safetensors(folder: Path, tmp_path: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    comparison = import_model(folder, tmp_path / "run", [], ["ab ab"])
    assert comparison is not None
    assert comparison.is_close


def saved(content: object, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def compressed(content: bytes) -> bytes:
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    return stream.getvalue()


TENSORS = {"a": torch.ones(2, 3)}
PICKLES = {
    "legacy": saved(TENSORS, _use_new_zipfile_serialization=False),
    "compressed": compressed(saved(TENSORS)),
    "truncated": saved(TENSORS)[:-50],
    "parameter": saved({"a": torch.nn.Parameter(torch.ones(2))}),
    "integers": saved({"a": torch.ones(2, dtype=torch.int64)}),
    "sparse": saved({"a": torch.ones(2, 2).to_sparse()}),
    "nested": saved({"a": TENSORS}),
    "list": saved([torch.ones(2)]),
    "expanded": saved({"a": torch.ones(1).expand(10**6, 10**6)}),
    "text": b"text",
}


@pytest.mark.parametrize("name", PICKLES)
def test_pickle_of_anything_but_tensors_is_refused(name: str, tmp_path: Path) -> None:
    file = tmp_path / "pytorch_model.bin"
    file.write_bytes(PICKLES[name])
    with pytest.raises(NMTError, match=r"expected (dense )?tensors") as error:
        load_pickled_tensors(file)
    assert "\n" not in str(error.value)


def test_pickle_that_calls_a_function_is_refused(tmp_path: Path) -> None:
    file, marker = tmp_path / "pytorch_model.bin", tmp_path / "marker"
    file.write_bytes(make_checkpoint(marker))
    with pytest.raises(NMTError, match="expected tensors only"):
        load_pickled_tensors(file)
    assert not marker.exists()


def test_pickle_of_tensors_is_read(tmp_path: Path) -> None:
    file = tmp_path / "pytorch_model.bin"
    file.write_bytes(saved(TENSORS))
    [(name, tensor)] = load_pickled_tensors(file).items()
    assert name == "a"
    assert torch.equal(tensor, TENSORS["a"])
