"""What `nmt translate` can be asked beside translating: demands, forms of lines, confidence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commandline import done, nmt, write_lines
from tinyruns import Digits

import nmt as api
from nmt.config.loader import load_config
from nmt.config.sections.decode import DecodeConfig
from nmt.decoding import loading
from nmt.decoding.constraints.lexical_constraints import LexicalConstraints
from nmt.decoding.engines.ctranslate2 import CTranslate2Engine
from nmt.errors import ConfigError, DataError, RunError

FROZEN = Path(__file__).parents[1] / "frozen" / "v1"


def translated(digits: Digits, lines: list[str], *flags: object) -> list[str]:
    text = "".join(f"{line}\n" for line in lines)
    return done(nmt("translate", "-m", digits.run, *flags, stdin=text)).lines


def test_a_prefix_file_begins_each_translation(digits: Digits, tmp_path: Path) -> None:
    lines = ["1 2 3", "4 5 6", "7 8", "", "9 0"]
    prefixes = write_lines(tmp_path / "prefixes", ["3 2", "9", "", "0", "0 9"])
    found = translated(digits, lines, "--prefix", prefixes)
    assert found[0] == "3 2 1"
    assert found[1].startswith("9")
    assert found[2] == "8 7"
    assert found[3] == "0"
    assert found[4] == "0 9"


@pytest.mark.parametrize("flag", ["--prefix", "--contain"])
@pytest.mark.parametrize(("count", "message"), [(2, ", got only 2"), (4, ", 3, got more")])
def test_a_file_of_demands_must_have_a_line_for_each(
    digits: Digits, tmp_path: Path, flag: str, count: int, message: str
) -> None:
    other = write_lines(tmp_path / "other", ["1"] * count)
    out = tmp_path / "out"
    flags = ["-m", digits.run, flag, other, "-o", out]
    result = nmt("translate", *flags, stdin="1 2\n3 4\n5 6\n")
    assert result.code == 2
    assert f"error: {other}: expected as many lines as stdin{message}" in result.err
    assert not out.exists()


def test_phrases_stand_and_are_counted(digits: Digits, tmp_path: Path) -> None:
    lines = ["1 2 3", "4 5 6", "7 8"]
    phrases = write_lines(tmp_path / "phrases", ["9", "", "8 7\t0 0"])
    text = "".join(f"{line}\n" for line in lines)
    result = done(nmt("translate", "-m", digits.run, "--contain", phrases, stdin=text))
    assert "9" in result.lines[0].split()
    assert result.lines[1] == "6 5 4"
    assert "8 7" in result.lines[2]
    assert "0 0" in result.lines[2]
    assert "3 of 3 required phrases are in the translations (100.0%)" in result.err


def test_a_phrase_that_cannot_stand_is_reported_and_its_line_translated(
    digits: Digits, tmp_path: Path
) -> None:
    terms = write_lines(tmp_path / "terms.tsv", ["2\t9"])
    flags = ["-m", digits.run, "--terms", terms, "--set", 'decode.forbid=["9"]']
    result = done(nmt("translate", *flags, stdin="1 3\n1 2 3\n"))
    assert len(result.lines) == 2
    assert result.lines[0] == "3 1"
    assert result.lines[1]
    assert "0 of 1 required phrases are in the translations (0.0%)" in result.err
    assert "warning: line 2: '9' is missing from the translation" in result.err


def test_protected_parts_stay_as_they_are(digits: Digits) -> None:
    text = "1 2 joe@x.org 3\n4 {name} 5\n6 7\n"
    result = done(nmt("translate", "-m", digits.run, "--protect", stdin=text))
    assert "joe@x.org" in result.lines[0].split()
    assert "{name}" in result.lines[1].split()
    assert "protected spans are in the translations (100.0%)" in result.err


def test_odd_fields_pass_through_json_lines_letter_by_letter(digits: Digits) -> None:
    objects = [
        '{"id": 1.10, "src": "1 2 3", "x": [1e400, null, {"y": "\\u00e9"}], "id": 2}',
        '  {"src":"4 5","prefix":"5","\u00fc":"\u2028"}  ',
        "",
        '{"src": "6 7", "contain": ["9"], "big": ' + "1" * 10_000 + "}",
        '{"src": "", "keep": true}',
        '{"src": "\\ud800 8"}',
    ]
    found = translated(digits, objects, "--json")
    assert len(found) == 6
    for line, its in zip(objects, found, strict=True):
        assert its.startswith(line.rstrip().removesuffix("}"))
    answers = [json.loads(line, parse_int=float) if line else None for line in found]
    assert [a and a["translation"] for a in answers[:3]] == ["3 2 1", "5 4", None]
    assert "9" in answers[3]["translation"].split()
    assert answers[4]["translation"] == ""
    assert answers[0].keys() == {"id", "src", "x", "translation", "score"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 2 3", "stdin:2: expected a JSON object, got '1 2 3': "),
        ("[1]", "stdin:2: expected a JSON object with the key 'src', got [1.0]"),
        (
            '{"text": "1"}',
            'stdin:2: expected a JSON object with the key \'src\', got {"text": "1"}',
        ),
        ('{"src": 5}', "stdin:2: 'src': expected text, got 5.0"),
        ('{"src": "1", "score": 2}', "stdin:2: expected an object without 'score'"),
        ('{"src": "1", "prefix": null}', "stdin:2: 'prefix': expected text, got null"),
        ('{"src": "1", "contain": "2"}', "stdin:2: 'contain': expected a list of texts"),
        ('{"src": "1", "contain": [" "]}', "stdin:2: 'contain': expected a list of texts"),
        ("[" * 100_000, "stdin:2: expected a JSON object, got '[[["),
    ],
)
def test_a_line_that_is_no_json_is_named(digits: Digits, line: str, message: str) -> None:
    flags = ["-m", digits.run, "--json", "--stream"]
    result = nmt("translate", *flags, stdin=f'{{"src": "1 2"}}\n{line}\n')
    assert result.code == 2
    assert f"error: {message}" in result.err
    assert len(result.lines) == 1


def test_json_holds_nbest_and_confidence(digits: Digits) -> None:
    flags = ["--json", "--nbest", 3, "--confidence"]
    [answer] = map(json.loads, translated(digits, ['{"src": "1 2 3"}'], *flags))
    assert len(answer["nbest"]) == 3
    assert answer["nbest"][0] == {"translation": "3 2 1", "score": answer["score"]}
    confidence = answer["confidence"]
    assert confidence.keys() == {"log_prob", "lowest", "coverage", "repeats", "limit"}
    assert confidence["lowest"] <= confidence["log_prob"] < 0
    assert 0 < confidence["coverage"] <= 1
    assert confidence["repeats"] is confidence["limit"] is False


def test_a_column_of_a_table_is_translated_behind_the_last(digits: Digits) -> None:
    table = ["7\t1 2 3\tx", "8\t4 5\t", ""]
    assert translated(digits, table, "--column", 2) == [
        "7\t1 2 3\tx\t3 2 1",
        "8\t4 5\t\t5 4",
        "\t",
    ]
    scored = translated(digits, table[:1], "--column", 2, "--scores")[0].split("\t")
    assert scored[:3] == ["7", "1 2 3", "x"]
    assert float(scored[3]) < 0
    refused = nmt("translate", "-m", digits.run, "--column", 4, stdin="a\tb\tc\n")
    assert refused.code == 2
    assert "stdin:1: expected 4 tab-separated columns, got 3" in refused.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--json", "--column", 1], "--json and --column: give one of them"),
        (["--column", 1, "--nbest", 2], "--column and --nbest: give one of them"),
        (["--json", "--scores"], "--json: holds the score"),
        (["--nbest", 2, "--confidence"], "--nbest and --confidence: give one of them"),
        (["--json", "--prefix", "x"], "--prefix and --contain: are fields"),
        (["--decode", "mbr", "--nbest", 65], "--nbest: expected at most the number of samples, 64"),
        (["--protect", "--decode", "mbr"], "phrases (--contain, --terms, --protect): need beam"),
        (["--terms", "none.tsv"], "none.tsv: no such file"),
        (["--set", 'decode.forbid=["zz"]'], "decode.forbid: expected pieces of the target"),
        (["--set", "decode.temperature=0"], "decode.temperature"),
        (["--set", 'decode.forbid=["</s>"]'], "expected pieces other than the end of the sentence"),
    ],
)
def test_what_cannot_be_asked_is_refused(digits: Digits, flags: list[object], message: str) -> None:
    result = nmt("translate", "-m", digits.run, *flags, stdin="1 2\n")
    assert result.code == 2
    assert message in result.err
    assert result.out == ""


def test_confidence_stands_before_the_line_and_review_names_the_worst(digits: Digits) -> None:
    lines = [*digits.src[:20], "x y z q x y z q", *digits.src[20:40], ""]
    text = "".join(f"{line}\n" for line in lines)
    flags = ["-m", digits.run, "--confidence", "--review", 2]
    result = done(nmt("translate", *flags, stdin=text))
    rows = [line.split("\t") for line in result.lines]
    assert all(len(row) == 5 for row in rows)
    assert all(float(row[1]) <= float(row[0]) <= 0 for row in rows)
    assert all(0 <= float(row[2]) <= 1 for row in rows[:-1])
    assert rows[-1][2:] == ["-", "-", ""]
    _, listed = result.err.split("the least trusted lines, the worst first:\n")
    entries = listed.strip("\n").split("\n")
    assert len(entries) == 6
    assert "line 21" in entries[0], "the line of letters, of which the model knows nothing"
    assert entries[1].strip() == lines[20]


def test_a_translation_cut_at_its_limit_says_so(digits: Digits) -> None:
    flags = ["--json", "--confidence", "--set", "decode.max_length=2"]
    [answer] = map(json.loads, translated(digits, ['{"src": "1 2 3 4 5"}'], *flags))
    assert answer["confidence"]["limit"] is True


def test_long_lines_are_translated_in_parts_and_counted(digits: Digits) -> None:
    sentences = ["1 2 3.", "4 5 6!", "7 8?"]
    long = " ".join(sentences)
    flags = ["-m", digits.run, "--set", "decode.split_length=8"]
    result = done(nmt("translate", *flags, stdin=f"9 8\n{long}\n"))
    parts = translated(digits, ["9 8", *sentences])
    assert result.lines == [parts[0], " ".join(parts[1:])]
    assert "1 long lines were translated in 3 segments" in result.err
    whole = done(
        nmt("translate", "-m", digits.run, "--set", "decode.split=length", stdin=f"{long}\n")
    )
    assert "parts" not in whole.err


def test_lines_of_several_sentences_are_translated_by_sentence(digits: Digits) -> None:
    assert load_config(digits.run / "config.yaml").decode.split == "sentences"
    lines = ["1 2 3.  4 5 6!\t7 8?", "9 8", ""]
    result = done(nmt("translate", "-m", digits.run, stdin="\n".join(lines) + "\n"))
    first, second, third, fourth = translated(digits, ["1 2 3.", "4 5 6!", "7 8?", "9 8"])
    assert result.lines == [f"{first}  {second}\t{third}", fourth, ""]
    assert "sentence by sentence (decode.split): 1, with 3 sentences" in result.err
    [answer] = translated(digits, [json.dumps({"src": lines[0], "id": 7})], "--json", "--nbest", 2)
    assert json.loads(answer)["translation"] == result.lines[0]
    assert api.load(digits.run, device="cpu").translate(lines) == result.lines
    flags = ["--set", "decode.split=length"]
    assert "sentence by sentence" not in done(nmt("translate", "-m", digits.run, *flags)).err


def test_several_models_make_an_ensemble(digits: Digits) -> None:
    lines = [*digits.src[:10], "x y z"]
    assert translated(digits, lines, "-m", digits.run) == translated(digits, lines)


def test_models_of_other_vocabularies_are_refused_before_their_weights_are_read(
    digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("weights are read")

    monkeypatch.setattr(loading._EnsembleMember, "load_model", never)
    result = nmt("translate", "-m", digits.run, "-m", FROZEN, stdin="1 2\n")
    assert result.code == 2
    assert "--model: an ensemble needs one target tokenizer; that of" in result.err
    assert str(FROZEN) in result.err


def test_ctranslate2_refuses_what_it_does_not_do() -> None:
    with pytest.raises(ConfigError, match="method: has no meaning with --engine ctr"):
        loading._require_ctranslate2_support(DecodeConfig(method="sample"), [])
    with pytest.raises(ConfigError, match="--model: --engine ctranslate2 takes one"):
        loading._require_ctranslate2_support(DecodeConfig(), [object()])
    engine = CTranslate2Engine.__new__(CTranslate2Engine)
    with pytest.raises(RunError, match="takes no prefixes, phrases or terms"):
        engine.search([[1]], 1, {0: LexicalConstraints(prefix=(1,))})
    with pytest.raises(RunError, match="tells no confidence"):
        engine.score_tokens([([1], [2])])


def test_what_ctranslate2_does_not_do_is_refused_before_a_line_is_read(digits: Digits) -> None:
    refused = nmt("translate", "-m", digits.run, "--engine", "ctranslate2", "--protect", stdin=None)
    assert refused.code == 2
    assert "--protect, --confidence, --review: have no meaning with --engine" in refused.err


def test_phrases_of_a_blank_line_are_counted(digits: Digits) -> None:
    line = json.dumps({"src": " ", "contain": ["7"]})
    result = done(nmt("translate", "-m", digits.run, "--json", stdin=f"{line}\n"))
    assert json.loads(result.out)["translation"] == ""
    assert "0 of 1 required phrases are in" in result.err
    assert "line 1: '7' is missing" in result.err


def test_terms_of_a_line_in_parts_are_demanded_of_the_part_they_begin_in(digits: Digits) -> None:
    model = api.load(digits.run, device="cpu")
    [line] = model.translate(["1 2. 3 4. 5"], terms={"3 4. 5": "9 9"}, split_length=4)
    assert "9 9" in line
    [line] = model.translate(["1 {n}. {m} 3"], protect=True, split_length=4)
    assert "{n}" in line
    assert "{m}" in line


def test_samples_hang_on_the_line_and_the_seed(digits: Digits) -> None:
    lines = ["x y z 1 2", "1 2 3", "q q q q q q", "x y z 1 2"]
    flags = ["--decode", "sample", "--set", "decode.temperature=3"]
    found = translated(digits, lines, *flags)
    assert found[0] == found[3]
    assert translated(digits, lines[::-1], *flags, "--set", "decode.batch_size=1") == found[::-1]
    assert translated(digits, lines, *flags, "--set", "decode.seed=2") != found


def test_minimum_bayes_risk_chooses_what_samples_agree_on(digits: Digits) -> None:
    flags = ["--decode", "mbr", "--metric", "chrf", "--set", "decode.mbr_samples=8", "--scores"]
    for line, source in zip(translated(digits, digits.src[:5], *flags), digits.src, strict=False):
        score, text = line.split("\t")
        assert text == source[::-1]
        assert 50 < float(score) <= 100


def test_score_as_json(digits: Digits, tmp_path: Path) -> None:
    src, tgt = (
        write_lines(tmp_path / "a", ["1 2 3", ""]),
        write_lines(tmp_path / "b", ["3 2 1", ""]),
    )
    flags = ["-m", digits.run, "--src", src, "--tgt", tgt]
    rows = [line.split("\t") for line in done(nmt("score", *flags)).lines]
    objects = [json.loads(line) for line in done(nmt("score", *flags, "--json")).lines]
    assert objects[0]["tokens"] == 7, "with the space before the line, and the end"
    for row, its in zip(rows, objects, strict=True):
        names = ("log_prob", "log_prob_token", "perplexity")
        assert [float(cell) for cell in row] == [its[name] for name in names]


def test_lists_are_ranked_anew(digits: Digits, tmp_path: Path) -> None:
    src = write_lines(tmp_path / "src", digits.src[:30])
    ref = write_lines(tmp_path / "ref", digits.ref[:30])
    lists, weights = tmp_path / "nbest", tmp_path / "weights.json"
    done(nmt("translate", "-m", digits.run, src, "--nbest", 4, "-o", lists))
    worst_first = []
    rows = lists.read_text().splitlines()
    for line in range(30):
        its = [row.rsplit(" ||| ", 1)[0] for row in rows[4 * line : 4 * line + 4]]
        worst_first += [f"{row} ||| {-n:.4f}" for n, row in enumerate(reversed(its))]
    write_lines(lists, worst_first)
    zero = {"weights": {"model 1": 0.0, "reverse 1": 0, "length": 0.0}}
    weights.write_text(json.dumps(zero))
    scorers = ["--src", src, "-m", digits.run, "--reverse", digits.run]
    same = done(nmt("rerank", lists, *scorers, "--weights", weights, "--nbest", 4))
    assert same.lines == worst_first
    tuned = done(nmt("rerank", lists, *scorers, "--tune", weights, "--ref", ref))
    assert tuned.out == ""
    assert "BLEU" in tuned.err
    best = done(nmt("rerank", lists, *scorers, "--weights", weights)).lines
    right = sum(line == expected for line, expected in zip(best, digits.ref, strict=False))
    assert right >= 28


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--weights and --tune: give one of them"),
        (["--tune", "w"], "--tune and --ref: one needs the other"),
        (["--weights", "w", "--ref", "r"], "--tune and --ref: one needs the other"),
    ],
)
def test_rerank_needs_to_know_what_to_do(flags: list[str], message: str, tmp_path: Path) -> None:
    lists = write_lines(tmp_path / "nbest", ["0 ||| a ||| 1"])
    result = nmt("rerank", lists, "--src", lists, *flags)
    assert result.code == 2
    assert f"error: {message}" in result.err


def test_rerank_names_files_that_do_not_belong_together(tmp_path: Path) -> None:
    lists = write_lines(tmp_path / "nbest", ["0 ||| a ||| 1"])
    two, weights = write_lines(tmp_path / "two", ["a", "b"]), tmp_path / "w"
    weights.write_text('{"weights": {"length": 0}}')
    result = nmt("rerank", lists, "--src", two, "--weights", weights)
    assert result.code == 2
    assert f"{lists}: expected lists of 2 lines, as in {two}, got lists of 1" in result.err


def test_python_does_what_the_command_does(digits: Digits) -> None:
    lines = [*digits.src[:20], "", "x y z"]
    model = api.load(digits.run, device="cpu")
    assert model.translate(lines, beam_size=2) == translated(digits, lines, "--beam", 2)
    flags = ["--decode", "sample", "--set", "decode.temperature=3"]
    sampled = model.translate(lines, method="sample", temperature=3)
    assert sampled == translated(digits, lines, *flags)
    assert model.translate(lines) == translated(digits, lines), "settings were of that call"
    assert list(model.stream(iter(lines))) == translated(digits, lines, "--stream")
    assert model.translate([api.Line("1 2 3", prefix="9")])[0].startswith("9")
    assert model.translate(["1 2"], terms={"2": "9"})[0].split().count("9") == 1
    [[best, _]] = model.nbest(["1 2 3"], 2, confidence=True)
    assert best.confidence is not None
    assert best.confidence.log_prob < 0


def test_python_streams_without_reading_ahead(digits: Digits) -> None:
    read: list[str] = []

    def slow() -> Any:
        for line in digits.src[:5]:
            read.append(line)
            yield line

    answers = api.load(digits.run, device="cpu").stream(slow())
    for number in range(1, 6):
        assert next(answers) == digits.ref[number - 1]
        assert len(read) == number


def test_python_explains_a_line(digits: Digits) -> None:
    model = api.load(digits.run, device="cpu")
    found = model.explain("1 2 3")
    assert found.target.text == "3 2 1"
    assert found.by_words.shape == (4, 4)
    assert found.by_words.argmax(1).tolist()[:3] == [2, 1, 0]
    assert model.explain("1 2 3", "1 1").target.text == "1 1"
    with pytest.raises(ConfigError, match="line: expected text, got the blank line"):
        model.explain(" ")


@pytest.mark.parametrize(
    ("ways", "message"),
    [
        ({"beam_sise": 2}, r"^beam_sise: unknown key \(did you mean 'beam_size'\?\)"),
        ({"beam_size": 0}, r"^beam_size: expected a whole number from 1 to 10,000, got 0"),
        ({"beam_size": object()}, r"^beam_size: expected a number, text or list, got a object"),
        ({"beam": 3}, r"^beam: unknown key \(use decode\.beam_size\)"),
        ({"method": "greedy"}, r"^method: expected one of beam, sample, mbr, got 'greedy'"),
        ({"beam_size": 5, "groups": 2}, r"^groups: expected a divisor of decode\.beam_size"),
        ({"precision": "bf16"}, r"^precision: expected in nmt\.load"),
    ],
)
def test_python_refuses_settings_that_are_none(
    digits: Digits, ways: dict[str, Any], message: str
) -> None:
    model = api.load(digits.run, device="cpu")
    with pytest.raises(ConfigError, match=message):
        model.translate(["1"], **ways)
    with pytest.raises(DataError, match="required phrase: expected text, got ' '"):
        model.translate([api.Line("1", phrases=(" ",))])
    with pytest.raises(ConfigError, match="n: expected a whole number from 1 to 5, got 6"):
        model.nbest(["1"], 6)
    with pytest.raises(DataError, match="expected a line of text"):
        model.translate([5])  # type: ignore[list-item]
    with pytest.raises(DataError, match="expected a line of text"):
        api.Line("1", phrases="23")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="expected one translation of 'B'"):
        model.translate(["1"], terms={"b": "1", "B": "2"})
    chooses = api.load(digits.run, device="cpu", overrides=["decode.method=mbr"])
    with pytest.raises(ConfigError, match="mbr chooses among texts"):
        chooses.explain("1 2")
    assert chooses.explain("1 2", "2 1").target.text == "2 1"


def test_python_loads_several_models_as_one(digits: Digits) -> None:
    model = api.load([digits.run, digits.run], device="cpu")
    assert model.translate(digits.src[:5]) == digits.ref[:5]


def test_what_is_protected_is_never_cut(digits: Digits) -> None:
    link = "http://" + "x" * 300
    result = done(nmt("translate", "-m", digits.run, "--protect", stdin=f"1 2. {link} 3\n"))
    assert link in result.lines[0]
    assert "were translated in" not in result.err
