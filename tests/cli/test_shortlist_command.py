"""`nmt shortlist`, and translation with the learned shortlist."""

from __future__ import annotations

import re

from tests.support.command_line import assert_success, nmt, settings
from tests.support.tiny_runs import Digits, Tiny

USE_SHORTLIST = settings(decode__shortlist="true")


def test_shortlist_keeps_translations(digits: Digits) -> None:
    command = ["translate", "-m", digits.run, *USE_SHORTLIST]
    result = nmt(*command, stdin="1 2\n")
    assert result.code == 2
    assert "shortlist.safetensors: no such file; `nmt shortlist" in result.err
    result = assert_success(nmt("shortlist", digits.run, "--best", "1"))
    coverage = re.match(r"shortlist: (\d+\.\d+)% of the validation", result.out)
    assert coverage is not None
    assert float(coverage[1]) > 99, "each digit becomes one digit"
    text = "1 2\n\n7 8 9 1\n"
    expected = assert_success(nmt("translate", "-m", digits.run, stdin=text)).lines
    assert assert_success(nmt(*command, stdin=text)).lines == expected
    (digits.run / "shortlist.safetensors").unlink()


def test_train_with_shortlist_setting_learns_shortlist(tiny: Tiny) -> None:
    result = assert_success(tiny.train(*USE_SHORTLIST))
    assert "shortlist: " in result.err
    assert (tiny.run / "shortlist.safetensors").is_file()
    assert_success(nmt("translate", "-m", tiny.run, stdin="1 2\n"))
    assert_success(tiny.train("--overwrite"))
    assert not (tiny.run / "shortlist.safetensors").exists(), "the shortlist of the old model"


def test_shortlist_model_without_attention_is_refused(tiny: Tiny) -> None:
    assert_success(tiny.train(*settings(model__attention="none")))
    result = nmt("shortlist", tiny.run)
    assert result.code == 2
    assert "has no attention to learn from (model.attention: none)" in result.err
    assert "Traceback" not in result.err


def test_shortlist_with_other_engine_is_refused(tiny: Tiny) -> None:
    assert_success(tiny.train())
    result = nmt(
        "translate", "-m", tiny.run, "--engine", "ctranslate2", *USE_SHORTLIST, stdin="1\n"
    )
    assert result.code == 2
    assert "decode.shortlist: expected false with --engine ctranslate2, got true" in result.err
