"""Models of Marian itself: weights by Marian's equations, refused layouts, and pymarian."""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch

from nmt.config.loader import load_config
from nmt.core.run_dir import RunDir
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.decoding.loading import load_engine
from nmt.errors import NMTError
from nmt.importing.importer import import_model
from tests.support.models.marian_npz import (
    SETTINGS,
    MarianEquations,
    random_arrays,
    train_marian_sentencepiece,
    write_npz,
    write_npz_folder,
    write_small_variance_folder,
)

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpora" / "multi30k"
LAYOUTS: dict[str, dict[str, Any]] = {
    "untied": {},
    "target tied": {"tied-embeddings": True, "transformer-ffn-activation": "swish"},
    "all tied": {"tied-embeddings-all": True, "joint": True},
    "source tied": {"tied-embeddings-src": True, "joint": True},
    "SSRU": {"transformer-decoder-autoreg": "rnn", "dec-cell": "ssru", "tied-embeddings": True},
}


def load_run(run: Path, *overrides: str) -> TorchEngine:
    return load_engine(RunDir(run), load_config(run / "config.yaml", list(overrides)), "cpu")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_import_npz_logits_equal_the_equations(layout: str, tmp_path: Path) -> None:
    arrays = write_npz_folder(tmp_path / "marian", **LAYOUTS[layout])
    import_model(tmp_path / "marian", tmp_path / "run", [], [])
    engine = load_run(tmp_path / "run")
    src, tgt = [7, 30, 8, 1, 59, 0], [5, 59, 9, 9]
    model = engine.model
    with torch.inference_mode():
        memory = model.encode(torch.tensor([src]), torch.tensor([len(src)]))
        tgt_in = torch.tensor([[engine.tokenizers.tgt.bos, *tgt]])
        logits = model.output.logits(model.decode(memory, tgt_in)[0])[0]
    expected = MarianEquations(arrays, {**SETTINGS, **LAYOUTS[layout]}).logits(src, tgt)
    np.testing.assert_allclose(logits[:, :60], expected, rtol=1e-3, atol=1e-3)


def test_import_npz_norm_epsilon_is_that_of_marian(tmp_path: Path) -> None:
    arrays = write_small_variance_folder(tmp_path / "marian")
    import_model(tmp_path / "marian", tmp_path / "run", [], [])
    engine = load_run(tmp_path / "run")
    assert engine.model.encoder[0].attention_sum.norm.eps == 1e-6
    src, tgt = [7, 30, 8, 0], [5, 59, 9]
    [scores] = engine.score_tokens([(src[:-1], tgt)])
    logits = torch.from_numpy(MarianEquations(arrays, SETTINGS).logits(src, tgt))
    expected = logits.log_softmax(1)[range(4), [*tgt, 0]]
    np.testing.assert_allclose(scores.log_probs, expected, rtol=1e-4)


def test_import_npz_settings_become_those_of_the_run(tmp_path: Path) -> None:
    write_npz_folder(tmp_path / "marian")
    import_model(tmp_path / "marian", tmp_path / "run", [], [])
    config = load_config(tmp_path / "run" / "config.yaml")
    decode = config.decode
    assert (decode.beam_size, decode.length_penalty, decode.length_norm) == (4, 0.6, "average")
    assert decode.forbid == ["<unk>"]
    tokenizer = load_run(tmp_path / "run").tokenizers.src
    content = (tmp_path / "marian" / "src.spm").read_bytes()
    processor = sentencepiece.SentencePieceProcessor(model_proto=content)
    assert tokenizer.encode(["ab cd 中"]) == [processor.encode("ab cd 中")]
    assert (tokenizer.eos, tokenizer.unk, tokenizer.vocab_size) == (0, 1, 62)


def change_settings(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        settings = {key.replace("_", "-"): value for key, value in changes.items()}
        write_npz(folder / "model.npz", random_arrays(SETTINGS), {**SETTINGS, **settings})

    return change


def change_arrays(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        arrays = random_arrays(SETTINGS)
        change(arrays)
        write_npz(folder / "model.npz", arrays, SETTINGS)

    return rewrite


def write(name: str, content: bytes) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return rewrite


def lie_about_shape(folder: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.ones((1, 60), np.float32))
    content = stream.getvalue()
    assert b"(1, 60)" in content
    with zipfile.ZipFile(folder / "model.npz", "w") as archive:
        archive.writestr("a.npy", content.replace(b"(1, 60)", b"(9, 60)"))


def write_header(text: str) -> Callable[[Path], None]:
    """Write an archive with an array whose header is `text`."""

    def rewrite(folder: Path) -> None:
        header = text.encode()
        size = len(header).to_bytes(2, "little")
        with zipfile.ZipFile(folder / "model.npz", "w") as archive:
            archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + size + header)

    return rewrite


def repeat_name(folder: Path) -> None:
    with zipfile.ZipFile(folder / "model.npz", "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr(archive.namelist()[0], b"")


def set_encrypted_flag(folder: Path) -> None:
    """Set the flag in the entry of the first array in the directory."""
    file = folder / "model.npz"
    content = bytearray(file.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    file.write_bytes(content)


def pickle_weights(folder: Path) -> None:
    np.savez(folder / "model.npz", a=np.array([{}], dtype=object))


def compress(folder: Path) -> None:
    np.savez_compressed(folder / "model.npz", **random_arrays(SETTINGS))


NORM = "encoder_l1_self_Wo_ln_scale"
BIAS = "decoder_ff_logit_out_b"
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "s2s": (change_settings(type="s2s"), "type: expected 'transformer'"),
    "pre-norm": (change_settings(transformer_preprocess="n"), "transformer-preprocess: expected"),
    "no norm": (change_settings(transformer_postprocess="da"), "transformer-postprocess: expected"),
    "gelu": (change_settings(transformer_ffn_activation="gelu"), "transformer-ffn-activation: "),
    "gru": (change_settings(transformer_decoder_autoreg="rnn"), "dec-cell: expected 'ssru'"),
    "ffn depth": (change_settings(transformer_ffn_depth=3), "transformer-ffn-depth: expected 2"),
    "tied layers": (change_settings(transformer_tied_layers=[1, 1]), "transformer-tied-layers: "),
    "huge": (change_settings(dim_emb=10**9), "dim-emb: expected 1 to"),
    "other width": (change_settings(dim_emb=16), "expected floats of the shape"),
    "heads": (change_settings(transformer_heads=3), "expected a divisor of model.d_model"),
    "tied": (change_settings(tied_embeddings_all=True), "tied-embeddings-all: expected"),
    "missing": (change_arrays(lambda arrays: arrays.pop(NORM)), f"{NORM}: expected this tensor"),
    "unknown": (
        change_arrays(lambda arrays: arrays.update(x=arrays[NORM])),
        "x: expected no such tensor",
    ),
    "integers": (
        change_arrays(lambda arrays: arrays.update({NORM: arrays[NORM].astype(np.int8)})),
        f"{NORM}: expected floats",
    ),
    "NaN": (change_arrays(lambda arrays: arrays[NORM].fill(np.nan)), "expected finite numbers"),
    "vocabulary size": (write("src.spm", train_marian_sentencepiece(0, 50)), "encoder_Wemb: "),
    "no settings": (
        lambda folder: np.savez(folder / "model.npz", **random_arrays(SETTINGS)),
        "special:model.yml: expected the settings",
    ),
    "pickle": (pickle_weights, "expected an .npz file"),
    "compressed": (compress, "the archive is compressed"),
    "deep header": (write_header("-" * 9000 + "1"), "expected an .npz file, got a damaged one"),
    "huge shape": (
        write_header("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 1" + "0" * 30 + ")}"),
        "expected an .npz file, got a damaged one",
    ),
    "odd type": (
        write_header("{'descr': (('<f4', (2,)),), 'fortran_order': False, 'shape': (1,)}"),
        "expected an .npz file, got a damaged one",
    ),
    "name twice": (repeat_name, "a name occurs twice"),
    "encrypted": (set_encrypted_flag, "expected an .npz file, got a damaged one"),
    "line break": (
        change_arrays(lambda arrays: arrays.update({"a\nb": arrays[NORM]})),
        "expected printable names of tensors",
    ),
    "pipe": (
        lambda folder: ((folder / "src.spm").unlink(), os.mkfifo(folder / "src.spm")),
        "src.spm: expected a regular file",
    ),
    "model pipe": (
        lambda folder: ((folder / "model.npz").unlink(), os.mkfifo(folder / "model.npz")),
        "config.json: no such file",
    ),
    "shape lies": (lie_about_shape, "does not match its size"),
    "text": (write("model.npz", b"text"), "expected an .npz file"),
    "YAML vocabulary": (
        write("decoder.yml", b"vocabs: [src.yml, tgt.yml]"),
        "vocabs: expected two .spm files",
    ),
    "ensemble": (
        write("decoder.yml", b"models: [a.npz, b.npz]\nvocabs: [src.spm, tgt.spm]"),
        "models: expected one model",
    ),
    "word penalty": (write("decoder.yml", b"word-penalty: 0.5"), "word-penalty: expected 0"),
    "no pieces": (write("src.spm", b"x"), "src.spm: expected a SentencePiece model"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_import_npz_damaged_is_one_line(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "marian"
    write_npz_folder(folder)
    damage, message = DAMAGE[name]
    damage(folder)
    with pytest.raises(NMTError, match=message) as error:
        import_model(folder, tmp_path / "run", [], [])
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == ["marian"]


TRAINED = {
    "transformer": ["--tied-embeddings"],
    "untied": ["--transformer-ffn-activation", "relu"],
    "ssru": ["--transformer-decoder-autoreg", "rnn", "--dec-cell", "ssru", "--tied-embeddings"],
    "all": ["--tied-embeddings-all"],
}


def run_marian(folder: Path, command: str, *options: str, text: str = "") -> str:
    """Run a command of pymarian in `folder`; return its output."""
    result = subprocess.run(
        [sys.executable, "-m", "pymarian", command, "--cpu-threads", "1", "--quiet", *options],
        input=text,
        capture_output=True,
        text=True,
        cwd=folder,
        check=True,
    )
    return result.stdout


def train_marian(folder: Path, *options: str) -> None:
    """Train a small model on 3,000 lines, with one or two SentencePiece models."""
    folder.mkdir()
    for code in ("en", "de"):
        lines = (CORPUS / f"train.{code}").read_text(encoding="utf-8").splitlines()[:3000]
        (folder / code).write_text("\n".join(lines) + "\n", encoding="utf-8")
    joint = "--tied-embeddings-all" in options
    for code in ("en", "de"):
        sentencepiece.SentencePieceTrainer.train(
            input=f"{folder}/en,{folder}/de" if joint else str(folder / code),
            model_prefix=str(folder / code),
            vocab_size=500,
            eos_id=0,
            unk_id=1,
            bos_id=-1,
            minloglevel=2,
        )
        (folder / f"{code}.model").rename(folder / f"{code}.spm")
    if joint:
        shutil.copy(folder / "en.spm", folder / "de.spm")
    sizes = ["--dim-emb", "32", "--transformer-dim-ffn", "48", "--transformer-heads", "4"]
    depths = ["--enc-depth", "2", "--dec-depth", "2"]
    training = ["--after-batches", "150", "--mini-batch", "32", "--learn-rate", "0.003"]
    files = ["--train-sets", "en", "de", "--vocabs", "en.spm", "de.spm", "-w", "500", "--seed", "3"]
    model = ["--type", "transformer", "--model", "model.npz"]
    run_marian(folder, "train", *model, *files, *sizes, *depths, *training, *options)


def translate_by_marian(
    folder: Path, lines: Sequence[str], *options: str
) -> list[tuple[list[str], float]]:
    """Return the pieces and the score of the best translation of each line."""
    files = ["--models", "model.npz", "--vocabs", "en.spm", "de.spm", "-w", "500"]
    search = ["--n-best", "--no-spm-decode", "--mini-batch", "1", *options]
    best: dict[str, tuple[list[str], float]] = {}
    text = "\n".join(lines) + "\n"
    for row in run_marian(folder, "decode", *files, *search, text=text).splitlines():
        index, pieces, *_, score = row.split(" ||| ")
        if index not in best or float(score) > best[index][1]:
            best[index] = (pieces.split(), float(score))
    return list(best.values())


@pytest.mark.skipif(
    importlib.util.find_spec("pymarian") is None or not CORPUS.is_dir(),
    reason="needs pymarian and the shared corpora",
)
@pytest.mark.parametrize("layout", TRAINED)
def test_import_npz_token_ids_and_scores_equal_pymarian(layout: str, tmp_path: Path) -> None:
    folder = tmp_path / "marian"
    train_marian(folder, *TRAINED[layout])
    import_model(folder, tmp_path / "run", [], [])
    lines = (CORPUS / "test_2016_flickr.en").read_text(encoding="utf-8").splitlines()[:200]
    for beam_size, alpha in ((1, 0.0), (4, 0.0), (4, 0.6)):
        search = [f"decode.beam_size={beam_size}", f"decode.length_penalty={alpha}"]
        engine = load_run(tmp_path / "run", *search, "decode.max_length_ratio=4")
        tgt = engine.tokenizers.tgt
        token_ids = {piece: token for token, piece in enumerate(tgt.pieces(range(tgt.vocab_size)))}
        sources = engine.tokenizers.src.encode(lines)
        options = ["--beam-size", str(beam_size), "--normalize", str(alpha)]
        marian = translate_by_marian(folder, lines, *options)
        # Marian ends a translation at three times the source length without eos
        indices = [
            index
            for index, (source, (pieces, _)) in enumerate(zip(sources, marian, strict=True))
            if len(pieces) < 3 * len(source)
        ]
        assert len(indices) > 50
        translations = [[token_ids[piece] for piece in marian[index][0]] for index in indices]
        scores = [marian[index][1] for index in indices]
        best = [row[0].tokens for row in engine.search([sources[index] for index in indices])]
        same = sum(ours == theirs for ours, theirs in zip(best, translations, strict=True))
        ours = engine.score(
            [(sources[index], row) for index, row in zip(indices, translations, strict=True)]
        )
        differences = [
            abs(score.score - theirs) / ((len(row) + 1) ** (1 - alpha))
            for score, theirs, row in zip(ours, scores, translations, strict=True)
        ]
        assert max(differences) < 1e-4
        # rounding may decide a tie; and Marian's beam shrinks when a hypothesis ends, which
        # matters with length normalization
        assert same >= len(indices) * (0.75 if alpha > 0 else 0.99)
