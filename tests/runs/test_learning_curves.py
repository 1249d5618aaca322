"""Learning curves are read from metrics.jsonl, even if some lines are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from nmt.core.run_dir import RunDir
from nmt.runs.learning_curves import LearningCurves, read_curves
from tests.support.run_folders import train_record, valid_record, write_metrics


def test_read_curves_keeps_order_of_records(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write_metrics(run, [train_record(3), valid_record(3), train_record(7), valid_record(9)])
    curves = read_curves(run)
    assert curves.train.update == [3, 7]
    assert curves.train.seconds == [0.3, 0.7]
    assert curves.train.epoch == [3 / 40, 7 / 40]
    assert curves.train.loss == [4.97, 4.93]
    assert curves.train.lr == [0.001, 0.001]
    assert curves.train.tokens_per_second == [1003, 1007]
    assert curves.valid.update == [3, 9]
    assert curves.valid.seconds == [1.3, 1.9]
    assert (curves.valid.loss, curves.valid.perplexity) == ([4, 4], [54.6, 54.6])
    assert curves.valid.bleu == [0.3, 0.9]


def test_read_curves_without_file_is_empty(tmp_path: Path) -> None:
    assert read_curves(RunDir(tmp_path)) == LearningCurves()


def test_read_curves_ignores_unfinished_last_line(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write_metrics(run, [train_record(3)])
    with run.metrics.open("a") as stream:
        stream.write('{"kind": "train", "upda')
    curves = read_curves(run)
    assert (curves.train.update, curves.damaged) == ([3], [])


@pytest.mark.parametrize(
    "line", ["", "nul", "[1]", '{"update": "3", "kind": "train"}', '{"update": 3}', "\x00\xff"]
)
def test_read_curves_counts_damaged_lines(tmp_path: Path, line: str) -> None:
    run = RunDir(tmp_path)
    write_metrics(run, [train_record(3)])
    with run.metrics.open("ab") as stream:
        stream.write(line.encode("latin-1") + b"\n")
    with run.metrics.open("a") as stream:
        stream.write('{"kind": "valid", "update": 5, "bleu": 1}\n')
    curves = read_curves(run)
    assert (curves.train.update, curves.valid.update, curves.damaged) == ([3], [5], [2])


def test_read_curves_non_finite_values_are_none(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.metrics.write_text(
        '{"kind": "train", "update": 1, "loss": null, "lr": "no", "seconds": NaN, "epoch": true}\n'
    )
    train = read_curves(run).train
    assert (train.loss, train.lr, train.seconds, train.epoch) == ([None], [None], [None], [None])
    assert train.tokens_per_second == [None]


def test_read_curves_ignores_other_kinds(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write_metrics(run, [{"kind": "average", "update": 3}, train_record(4)])
    curves = read_curves(run)
    assert (curves.train.update, curves.valid.update, curves.damaged) == ([4], [], [])
