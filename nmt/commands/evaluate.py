"""`nmt evaluate`: the scores of a run on test sets, or of a file of translations."""

from __future__ import annotations

from pathlib import Path

from nmt.config import Config, FilePair
from nmt.configfile import load_config, set_names
from nmt.data.stages import load_test_sets
from nmt.data.text import Pair, read_pairs
from nmt.decoding.load import choose_run, load_translator
from nmt.errors import ConfigError
from nmt.evaluation.metrics import bleu_tokenizer, score
from nmt.evaluation.report import Evaluation, about_run, evaluate, table, write_report
from nmt.log import say
from nmt.rundir import RunDir


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
    language = tgt_lang or config.data.tgt
    _say_tokenizer(language)
    translator = load_translator(run_dir, config, device, engine)
    evaluations = []
    for name, pairs in tests.items():
        say(f"{name}: translating {len(pairs)} lines")
        evaluations.append(evaluate(translator.translate, name, pairs, language))
    print(table(evaluations))
    report = output or (run_dir.report if src is None else None)
    if report:
        write_report(report, evaluations, about_run(run_dir, config))
        say(f"report: {report}")


def _test_sets(
    config: Config, run_dir: RunDir, src: Path | None, ref: Path | None
) -> dict[str, list[Pair]]:
    if src is not None and ref is not None:
        return {set_names([FilePair(src=src, tgt=ref)])[0]: list(read_pairs(src, ref))}
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
