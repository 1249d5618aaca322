"""`nmt plot` draws charts in the terminal and as images."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.support.command_line import assert_success, nmt
from tests.support.tiny_runs import Digits, Tiny


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_plot_draws_loss_and_bleu_in_80_columns(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run").symlink_to(digits.run)
    result = assert_success(nmt("plot", "run"))
    titles = [line for line in result.lines if line[:1].strip() and "|" not in line]
    assert titles == ["loss, nats a target token", "validation BLEU"]
    assert max(map(len, result.lines)) == 80
    assert result.lines[-2].endswith("280 updates")
    assert result.lines[-1] == "          A run"


def test_plot_gives_each_run_a_letter(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        Path(name).symlink_to(digits.run)
    result = assert_success(nmt("plot", "one", "two", "--of", "bleu, lr", "--x", "epoch"))
    assert "          A one   B two   * several" in result.lines
    assert "          a one   b two   * several" in result.lines
    chart_area = "".join(line[10:] for line in result.lines if "|" in line)
    assert set(chart_area) <= {" ", "*"}, "the same curve twice"
    assert all(len(line) <= 80 for line in result.lines)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["RUN", "--of", "loss,belu"], "--of: expected any of loss, perplexity, bleu, lr, speed, "),
        (["RUN", "--of", "loss,belu"], "got 'belu' (did you mean 'bleu'?)"),
        (["RUN", "--of", ""], "got ''"),
        (["RUN", "nowhere"], "nowhere: no such run folder"),
        (["RUN"] * 27, "RUN...: expected at most 26 runs, got 27"),
        (["RUN", "--png", "same", "--svg", "same"], "--png and --svg: expected different files"),
        (["EMPTY"], "nothing to plot has been recorded yet"),
    ],
)
def test_plot_refuses_invalid_arguments(
    digits: Digits, tmp_path: Path, flags: list[str], message: str
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "config.yaml").touch()
    result = nmt("plot", *({"RUN": digits.run, "EMPTY": empty}.get(flag, flag) for flag in flags))
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert result.err.count("error: ") == 1


def test_plot_without_validation_draws_training(tiny: Tiny) -> None:
    assert_success(tiny.train())
    lines = (tiny.run / "metrics.jsonl").read_text().split("\n")
    train_lines = [line for line in lines if '"train"' in line]
    (tiny.run / "metrics.jsonl").write_text("\n".join(train_lines) + "\n")
    result = assert_success(nmt("plot", tiny.run))
    assert result.lines[-1] == "validation BLEU: no records yet"


def test_plot_writes_images_instead_of_terminal(digits: Digits, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib (the extra plot)")
    run = tmp_path / "$a$_経済"
    run.symlink_to(digits.run)
    png, svg = tmp_path / "deep" / "a.png", tmp_path / "a.svg"
    flags = ["--of", "loss,perplexity,bleu,lr,speed", "--x", "seconds"]
    result = assert_success(nmt("plot", digits.run, run, *flags, "--png", png, "--svg", svg))
    assert (result.out, result.err) == ("", f"wrote {png}\nwrote {svg}\n")
    assert png.read_bytes().startswith(b"\x89PNG")
    text = svg.read_text()
    for label in ("validation perplexity", "learning rate", "target tokens/s", "$a$_経済"):
        assert label in text


def test_plot_image_without_matplotlib_gives_advice(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = nmt("plot", digits.run, "--png", tmp_path / "a.png")
    assert result.code == 2
    assert "pictures need matplotlib, which is not installed: pip install 'nmt[plot]'" in result.err
    assert not (tmp_path / "a.png").exists()
