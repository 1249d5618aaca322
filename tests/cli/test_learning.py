"""Models trained by `nmt train` learn small tasks."""

from __future__ import annotations

from pathlib import Path

from tests.support.command_line import assert_success, nmt, write_lines
from tests.support.tiny_runs import Digits, Tiny

EIGHT = [
    ("The cat sleeps on the chair.", "Le chat dort sur la chaise."),
    ("My sister reads a long book.", "Ma sœur lit un long livre."),
    ("We will leave tomorrow morning.", "Nous partirons demain matin."),
    ("It's raining; take your umbrella!", "Il pleut ; prends ton parapluie !"),
    ("Who has eaten my bread?", "Qui a mangé mon pain ?"),
    ("The two children play outside.", "Les deux enfants jouent dehors."),
    ("I have never seen the sea.", "Je n'ai jamais vu la mer."),
    ("He sold his old bicycle for 40 €.", "Il a vendu son vieux vélo pour 40 €."),
]


def test_train_learns_to_reverse_unseen_digits(digits: Digits) -> None:
    translation = assert_success(
        nmt("translate", "-m", digits.run, stdin="\n".join(digits.src) + "\n")
    )
    assert translation.lines == digits.ref


def test_train_prints_test_scores_on_stdout(digits: Digits) -> None:
    header, row, *signatures = digits.training.lines
    assert header.split()[:5] == ["test", "set", "BLEU", "95%", "chrF"]
    assert row.split() == ["test", "100.00", "±", "0.00", "100.00", "0.00", "1.000", "1.000", "200"]
    assert [line.split(":")[0].strip() for line in signatures] == ["bleu", "chrf", "ter"]


def test_train_memorizes_eight_pairs(tmp_path: Path) -> None:
    write_lines(tmp_path / "eight.en", [src for src, _ in EIGHT])
    write_lines(tmp_path / "eight.fr", [tgt for _, tgt in EIGHT])
    config = write_lines(
        tmp_path / "eight.yaml",
        [
            "data: {src: en, tgt: fr, train: [eight], valid: eight, max_length: 100}",
            "model: {d_embed: 32, d_hidden: 64, dropout: 0.0}",
            "train: {batch_tokens: 512, max_updates: 200, validate_every: 200, lr: 1e-2,",
            "  warmup: 20, label_smoothing: 0.0, threads: 1}",
        ],
    )
    training = assert_success(nmt("train", config, "--run", tmp_path / "run", "--device", "cpu"))
    assert "the text is too small for 8000" in training.err
    source = "".join(f"{src}\n" for src, _ in EIGHT)
    translation = assert_success(nmt("translate", "-m", tmp_path / "run", stdin=source))
    assert translation.lines == [tgt for _, tgt in EIGHT]


def test_train_long_validation_pairs_are_dropped_and_counted(tiny: Tiny) -> None:
    valid = [(tiny.folder / f"valid.{side}").read_text().split("\n")[:-1] for side in ("in", "out")]
    tiny.replace("max_updates: 2", "max_updates: 1")
    expected = tiny.train(run=tiny.folder / "short")
    for side, lines in zip(("in", "out"), valid, strict=True):
        long = "1" * (48_000 if side == "in" else 3)
        write_lines(tiny.folder / f"valid.{side}", [lines[0], long, *lines[1:]])
    training = assert_success(tiny.train())
    message = "data.valid: 1 of 5 pairs are left out, as in training: more than 60 tokens on a side"
    assert training.err.count(message) == 1
    [expected_scores, scores] = [
        [line.split("(")[0] for line in result.err.split("\n") if line.startswith("validation")]
        for result in (expected, training)
    ]
    assert expected_scores == scores
    [output] = (tiny.run / "valid").iterdir()
    [short] = (tiny.folder / "short" / "valid").iterdir()
    first, *other_lines = short.read_text().split("\n")
    assert output.read_text().split("\n") == [first, "", *other_lines], (
        "line n is the translation of pair n"
    )


def test_train_without_a_short_validation_pair_is_an_error(tiny: Tiny) -> None:
    for side in ("in", "out"):
        write_lines(tiny.folder / f"valid.{side}", ["1" * 61])
    result = tiny.train()
    assert result.code == 2
    assert "data.valid: expected a pair of at most 60 tokens on each side" in result.err
