"""Trained through the command, a model learns what can be learned."""

from __future__ import annotations

from pathlib import Path

from commandline import done, nmt, write_lines
from tinyruns import Digits

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


def test_reversing_digits_is_learned_to_exact_match_on_unseen_strings(digits: Digits) -> None:
    translated = done(nmt("translate", "-m", digits.run, stdin="\n".join(digits.src) + "\n"))
    assert translated.lines == digits.ref


def test_training_ends_with_the_score_of_the_test_set_on_stdout(digits: Digits) -> None:
    header, row, *signatures = digits.training.lines
    assert header.split()[:5] == ["test", "set", "BLEU", "95%", "chrF"]
    assert row.split() == ["test", "100.00", "±", "0.00", "100.00", "0.00", "1.000", "1.000", "200"]
    assert [line.split(":")[0].strip() for line in signatures] == ["bleu", "chrf", "ter"]


def test_eight_pairs_are_learned_by_heart(tmp_path: Path) -> None:
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
    trained = done(nmt("train", config, "--run", tmp_path / "run", "--device", "cpu"))
    assert "the text is too small for 8000" in trained.err
    source = "".join(f"{src}\n" for src, _ in EIGHT)
    translated = done(nmt("translate", "-m", tmp_path / "run", stdin=source))
    assert translated.lines == [tgt for _, tgt in EIGHT]
