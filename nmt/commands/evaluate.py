"""`nmt evaluate`: the scores of a run on test sets, or of a file of translations."""

from __future__ import annotations

from pathlib import Path

from nmt.config import Config, TextSet
from nmt.configfile import load_config
from nmt.data.stages import EvalSet, load_test_sets
from nmt.data.text import read_pairs
from nmt.decoding.load import choose_run, load_translator, require_tags, tagged
from nmt.errors import ConfigError
from nmt.evaluation.metrics import bleu_tokenizer, score
from nmt.evaluation.report import Evaluation, about_run, evaluate, table, write_report
from nmt.log import say
from nmt.rundir import RunDir
from nmt.textsets import set_names


def run(
    folder: Path | None,
    src: Path | None,
    ref: Path | None,
    hyp: Path | None,
    tgt_lang: str,
    output: Path | None,
    overrides: list[str],
    device: str,
    engine: str,
) -> None:
    """Score a run on its configured test sets or on (src, ref); or score `hyp` against `ref`."""
    if hyp is not None:
        _score_file(folder, src, ref, hyp, tgt_lang, output)
        return
    if (src is None) != (ref is None):
        raise ConfigError(["--src and --ref: must be given together"])
    run_dir = choose_run(folder)
    config = load_config(run_dir.config, overrides)
    tests = _test_sets(config, run_dir, src, ref)
    for language in dict.fromkeys(tgt_lang or test.language for test in tests.values()):
        _say_tokenizer(language)
    translator = load_translator(run_dir, config, device, engine)
    evaluations = []
    for name, test in tests.items():
        say(f"{name}: translating {len(test.pairs)} lines")
        translate = tagged(translator, config, test.tags).translate
        evaluations.append(evaluate(translate, name, test.pairs, tgt_lang or test.language))
    print(table(evaluations))
    report = output or (run_dir.report if src is None else None)
    if report:
        write_report(report, evaluations, about_run(run_dir, config))
        say(f"report: {report}")


def _test_sets(
    config: Config, run_dir: RunDir, src: Path | None, ref: Path | None
) -> dict[str, EvalSet]:
    if src is not None and ref is not None:
        require_tags(config)
        language = config.decode.tags.get("tgt_lang", config.data.tgt)
        name = set_names([TextSet(src=src, tgt=ref)])[0]
        return {name: EvalSet(list(read_pairs(src, ref)), {}, language)}
    if not config.data.test:
        raise ConfigError(
            [f"{run_dir.config}: data.test: names no test set; give --src FILE --ref FILE"]
        )
    return load_test_sets(config)


def _score_file(
    folder: Path | None,
    src: Path | None,
    ref: Path | None,
    hyp: Path,
    tgt_lang: str,
    output: Path | None,
) -> None:
    if ref is None or folder is not None or src is not None:
        raise ConfigError(["--hyp: goes with --ref FILE, and with neither a run nor --src"])
    _say_tokenizer(tgt_lang)
    pairs = list(read_pairs(hyp, ref))
    hypotheses = [line for line, _ in pairs]
    references = [line for _, line in pairs]
    evaluation = Evaluation(hyp.name, score(hypotheses, references, tgt_lang), hypotheses)
    print(table([evaluation]))
    if output:
        write_report(output, [evaluation], {"hypotheses": str(hyp), "references": str(ref)})


def _say_tokenizer(language: str) -> None:
    word = bleu_tokenizer(language)[1]
    if word:
        say(word)
