"""Models of Marian itself: weights by Marian's equations, refused layouts, and pymarian."""

from __future__ import annotations

import importlib.util
import io
import math
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import sentencepiece
import torch

from nmt.config.loader import load_config
from nmt.core.run_dir import RunDir
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.decoding.loading import load_engine
from nmt.decoding.search.hypothesis import Hypothesis
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


class MarianTranslation(NamedTuple):
    """The best translation of a line by Marian."""

    tokens: list[int]
    log_probs: list[float]
    """Those of the tokens, and of eos unless the translation ends at the length limit."""
    score: float
    """Log-probability divided by a power of the length, rounded to 6 digits."""


def translate_by_marian(
    folder: Path, lines: Sequence[str], beam_size: int, alpha: float
) -> list[MarianTranslation]:
    """Return the best translation of each line; a tie goes to the first one."""
    files = ["--models", "model.npz", "--vocabs", "en.spm", "de.spm", "-w", "500"]
    search = ["--beam-size", str(beam_size), "--normalize", str(alpha), "--mini-batch", "1"]
    output = ["--n-best", "--word-scores", "--no-spm-decode"]
    rows = run_marian(folder, "decode", *files, *search, *output, text="\n".join(lines) + "\n")
    target = sentencepiece.SentencePieceProcessor(model_file=str(folder / "de.spm"))
    translations: dict[str, list[MarianTranslation]] = {}
    for row in rows.splitlines():
        index, pieces, log_probs, *_, score = row.split(" ||| ")
        translation = MarianTranslation(
            [target.piece_to_id(piece) for piece in pieces.split()],
            [float(value) for value in log_probs.split()[1:]],
            float(score),
        )
        translations.setdefault(index, []).append(translation)
    return [
        max(nbest, key=lambda translation: translation.score) for nbest in translations.values()
    ]


def search_with_limits(
    run: Path, sources: Sequence[list[int]], beam_size: int, alpha: float
) -> list[Hypothesis]:
    """Return the best hypothesis of each source; Marian limits their lengths in the same way."""
    settings = [
        f"decode.beam_size={beam_size}",
        f"decode.length_penalty={alpha}",
        "decode.max_length_ratio=4",
    ]
    best: dict[int, Hypothesis] = {}
    for length in sorted({len(source) for source in sources}):
        indices = [index for index, source in enumerate(sources) if len(source) == length]
        limit = f"decode.max_length={3 * (length + 1)}"
        hypotheses = load_run(run, *settings, limit).search([sources[index] for index in indices])
        best |= {index: nbest[0] for index, nbest in zip(indices, hypotheses, strict=True)}
    return [best[index] for index in range(len(sources))]


@pytest.mark.skipif(
    importlib.util.find_spec("pymarian") is None or not CORPUS.is_dir(),
    reason="needs pymarian and the shared corpora",
)
@pytest.mark.parametrize("layout", TRAINED)
def test_import_npz_token_ids_and_scores_equal_pymarian(layout: str, tmp_path: Path) -> None:
    folder, run = tmp_path / "marian", tmp_path / "run"
    train_marian(folder, *TRAINED[layout])
    import_model(folder, run, [], [])
    engine = load_run(run)
    lines = (CORPUS / "test_2016_flickr.en").read_text(encoding="utf-8").splitlines()[:200]
    sources = engine.tokenizers.src.encode(lines)
    for beam_size, alpha in ((1, 0.0), (4, 0.0), (12, 0.6)):
        marian = translate_by_marian(folder, lines, beam_size, alpha)
        pairs = [(source, row.tokens) for source, row in zip(sources, marian, strict=True)]
        scores = [
            float(score.log_probs[: len(row.log_probs)].sum(dtype=float))
            for score, row in zip(engine.score_tokens(pairs), marian, strict=True)
        ]
        sums = [math.fsum(row.log_probs) for row in marian]
        assert scores == pytest.approx(sums, abs=1e-4)
        best = search_with_limits(run, sources, beam_size, alpha)
        # Marian's score of a translation at the length limit does not include eos
        differing = [
            (hypothesis.score, total / len(row.log_probs) ** alpha)
            for hypothesis, row, total in zip(best, marian, sums, strict=True)
            if hypothesis.tokens != row.tokens and len(row.log_probs) > len(row.tokens)
        ]
        assert len(differing) <= 20
        if alpha == 0:
            assert all(ours == pytest.approx(theirs, abs=1e-4) for ours, theirs in differing)
        else:  # Marian's beam shrinks when a hypothesis ends
            assert 2 * sum(ours > theirs for ours, theirs in differing) >= len(differing)
