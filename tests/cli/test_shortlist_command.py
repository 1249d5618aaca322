"""`nmt shortlist`, and searches within what it learned."""

from __future__ import annotations

import re

from commandline import done, nmt, settings
from tinyruns import Digits, Tiny

USED = settings(decode__shortlist="true")


def test_a_learned_shortlist_serves_translation(digits: Digits) -> None:
    command = ["translate", "-m", digits.run, *USED]
    result = nmt(*command, stdin="1 2\n")
    assert result.code == 2
    assert "shortlist.safetensors: no such file; `nmt shortlist" in result.err
    found = done(nmt("shortlist", digits.run, "--best", "1"))
    covered = re.match(r"shortlist: (\d+\.\d+)% of the validation", found.out)
    assert covered is not None
    assert float(covered[1]) > 99, "each digit becomes one digit"
    text = "1 2\n\n7 8 9 1\n"
    expected = done(nmt("translate", "-m", digits.run, stdin=text)).lines
    assert done(nmt(*command, stdin=text)).lines == expected
    (digits.run / "shortlist.safetensors").unlink()


def test_training_learns_it_where_the_config_says_so(tiny: Tiny) -> None:
    result = done(tiny.train(*USED))
    assert "shortlist: " in result.err
    assert (tiny.run / "shortlist.safetensors").is_file()
    done(nmt("translate", "-m", tiny.run, stdin="1 2\n"))
    done(tiny.train("--overwrite"))
    assert not (tiny.run / "shortlist.safetensors").exists(), "it was of the old model"


def test_what_it_cannot_learn_from_is_refused(tiny: Tiny) -> None:
    done(tiny.train(*settings(model__wiring="none")))
    result = nmt("shortlist", tiny.run)
    assert result.code == 2
    assert "has no attention to learn from (model.wiring: none)" in result.err
    assert "Traceback" not in result.err


def test_other_engines_have_none(tiny: Tiny) -> None:
    done(tiny.train())
    result = nmt("translate", "-m", tiny.run, "--engine", "ctranslate2", *USED, stdin="1\n")
    assert result.code == 2
    assert "decode.shortlist: has no meaning with --engine ctranslate2" in result.err
