"""Every config in configs/ loads, and trains with fewer steps and smaller layers."""

from __future__ import annotations

from pathlib import Path

import pytest

from nmt.config.loader import load_config
from nmt.config.schema import Config
from nmt.config.sections.data import FilePair
from nmt.config.text_sets import text_set_files
from tests.support.command_line import assert_success, nmt, settings, write_pairs
from tests.support.paths import ROOT
from tests.support.tiny_runs import digit_strings

CONFIGS = sorted((ROOT / "configs").rglob("*.y*ml"))
NARROW = {
    "rnn": settings(model__d_hidden=16, model__d_embed=16),
    "transformer": settings(model__d_model=16, model__d_ff=32, model__num_heads=2),
}
SHORT = settings(
    train__batch_tokens=256,
    train__micro_batch_tokens="null",
    train__max_updates=2,
    train__validate_every=100,
    train__warmup=1,
    train__threads=1,
    data__max_length=200,
    data__test="[]",
    decode__beam_size=2,
)
DOWNLOADED = ROOT / "data" / "multi30k"
"""Text that a script downloads; all other text of the configs must be in the repository."""


def test_shipped_configs_exist() -> None:
    assert CONFIGS


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_shipped_config_text_exists_or_is_downloadable(file: Path) -> None:
    config = load_config(file)
    data = config.data
    for text_set in (*data.train, *data.valid_sets(), *data.test):
        for path in (path for part in text_set_files(text_set, data) for path in part):
            text = path.resolve()
            assert text.is_file() or text.is_relative_to(DOWNLOADED), text


def write_replacement_text(config: Config, folder: Path) -> list[str]:
    """Write short text in the languages of `config` and return the settings that name it."""
    strings = digit_strings(60, seed=9)
    for name, part in (("train", strings[10:]), ("valid", strings[:10])):
        prefix = write_pairs(folder / name, [(text, text[::-1]) for text in part])
        for ending, language in (("in", config.data.src), ("out", config.data.tgt)):
            Path(f"{prefix}.{ending}").rename(f"{prefix}.{language}")
    valid = 5 if isinstance(config.data.valid, int) else folder / "valid"
    return settings(data__train=f"[{folder / 'train'}]", data__valid=valid)


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_shipped_config_shortened_trains_and_translates(file: Path, tmp_path: Path) -> None:
    config = load_config(file)
    flags = [*NARROW[config.model.arch], *SHORT, *write_replacement_text(config, tmp_path)]
    if config.is_explicit("tokenizer.vocab_size"):
        flags += settings(tokenizer__vocab_size=340)
    assert not isinstance(config.tokenizer.model, Path | FilePair)
    assert_success(nmt("train", file, "--run", tmp_path / "run", "--device", "cpu", *flags))
    translation = nmt("translate", "-m", tmp_path / "run", "--device", "cpu", stdin=b"1 2\n\n3\n")
    assert len(assert_success(translation).lines) == 3
