"""`nmt init`: a commented config for two files, with sizes that suit the amount of text."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from nmt import files
from nmt.config import TokenizerConfig
from nmt.data.text import read_pairs
from nmt.data.tokenizer import Tokenizer, train_tokenizer
from nmt.errors import DataError, RunError
from nmt.log import say
from nmt.textsets import COMPRESSIONS


@dataclass(frozen=True)
class Sizes:
    """Settings for a range of corpus sizes."""

    up_to: float
    """Training pairs."""
    vocab_size: int
    d_embed: int
    d_hidden: int
    dropout: float
    batch_tokens: int
    valid: int


SIZES = (
    Sizes(2_000, 1_000, 128, 256, 0.4, 512, 100),
    Sizes(20_000, 4_000, 256, 256, 0.4, 1024, 500),
    Sizes(200_000, 8_000, 256, 512, 0.3, 2048, 1_000),
    Sizes(2_000_000, 16_000, 512, 1024, 0.2, 8192, 2_000),
    Sizes(float("inf"), 32_000, 512, 1024, 0.1, 16_384, 3_000),
)
"""Small text wants few pieces, a narrow model, much dropout and small batches."""

SMALL_TEXT = "# vocab_size is left out: so little text gets the largest size it allows, up to 8,000"

TEMPLATE = """\
# yaml-language-server: $schema=config.schema.json
# (for completion in editors: nmt config schema > config.schema.json)
# Written by `nmt init` for {pairs:,} pairs, {words:.1f} source words a line on average.
# Every setting not named here is a default: `nmt config show {name}` prints them all.

data:
  src: {src_lang}
  tgt: {tgt_lang}
  train: [{train}]
  # Pairs split off the training text, none of whose lines stays in it. Name a prefix if you have
  # a validation set of your own.
  valid: {valid}
  # test: [path/to/test]   # scored at the end of training and by `nmt evaluate`

tokenizer:
  type: unigram
  {vocab_line}

model:
  arch: rnn
  wiring: luong        # none | bahdanau | luong: where attention enters the decoder
  score: additive      # additive | dot | scaled_dot | general | concat | location
  d_embed: {d_embed}
  d_hidden: {d_hidden}
  dropout: {dropout}

train:
  batch_tokens: {batch_tokens}   # padded target tokens of one update
  max_epochs: {max_epochs}
  validate_every: {validate_every}
  patience: 10         # validations without a better BLEU before training stops
  schedule: plateau

decode:
  beam_size: 5
"""


KNOWN_WORDS = 100_000
"""Distinct words counted, at most."""
TRIED_LINES = 20_000
"""Lines a side, at most, that a vocabulary size is tried on."""
TRIED_SHARE = 1.25
"""How much larger than wanted: the validation text is not split off yet."""


def run(src: Path, tgt: Path, output: Path | None) -> None:
    """Read both files once, choose sizes, write the config, and say how it was chosen."""
    pairs = words = 0
    distinct: set[str] = set()
    tried: list[str] = []
    for src_line, tgt_line in read_pairs(src, tgt):
        if src_line.strip() and tgt_line.strip():
            pairs += 1
            words += len(src_line.split())
            if len(distinct) < KNOWN_WORDS:
                distinct.update(src_line.split(), tgt_line.split())
            if len(tried) < 2 * TRIED_LINES:
                tried += (src_line, tgt_line)
    if pairs < 2:
        raise DataError(f"{src}, {tgt}: must hold at least two pairs of text, hold {pairs}")
    src_prefix, src_lang = split_name(src)
    tgt_prefix, tgt_lang = split_name(tgt)
    if src_lang == tgt_lang:
        src_lang = tgt_lang = None  # such as a.en and b.en: no help
    output = output or Path(f"{src_lang or 'src'}-{tgt_lang or 'tgt'}.yaml")
    if output.exists():
        raise RunError(f"{output}: is there already; name another with -o")
    shared = src_prefix == tgt_prefix and src_lang and tgt_lang
    train = [src_prefix] if shared else [src, tgt]
    places = [json.dumps(os.path.relpath(p, output.parent), ensure_ascii=False) for p in train]
    sizes = next(sizes for sizes in SIZES if pairs <= sizes.up_to)
    rich = len(distinct) >= 3 * sizes.vocab_size or allows(tried, sizes.vocab_size)
    updates_an_epoch = max(1, round(pairs * 1.5 * words / pairs / sizes.batch_tokens))
    content = TEMPLATE.format(
        name=output.name,
        pairs=pairs,
        words=words / pairs,
        src_lang=json.dumps(src_lang or "src"),
        tgt_lang=json.dumps(tgt_lang or "tgt"),
        train=places[0] if shared else f"{{src: {places[0]}, tgt: {places[1]}}}",
        valid=min(sizes.valid, max(1, pairs // 10)),
        max_epochs=max(10, min(200, 12_000 // updates_an_epoch)),
        validate_every="epoch" if updates_an_epoch <= 2000 else 2000,
        vocab_line=f"vocab_size: {sizes.vocab_size}" if rich else SMALL_TEXT,
        d_embed=sizes.d_embed,
        d_hidden=sizes.d_hidden,
        dropout=sizes.dropout,
        batch_tokens=sizes.batch_tokens,
    )
    files.write_text(output, content)
    say(f"wrote {output}")
    say(
        f"{pairs:,} pairs: d_hidden {sizes.d_hidden}, dropout {sizes.dropout}, "
        f"batch_tokens {sizes.batch_tokens}, chosen for {_range(sizes)}"
    )
    if not (src_lang and tgt_lang):
        say("data.src and data.tgt are placeholders: no language code ends the file names")
    say(f"next: nmt train {output}")


def allows(lines: list[str], vocab_size: int) -> bool:
    """Tell whether text has enough different words for a vocabulary, by training one."""
    settings = TokenizerConfig(vocab_size=round(TRIED_SHARE * vocab_size))
    model = train_tokenizer(lines, settings, exact=False, name="both sides")
    return Tokenizer(model).vocab_size == settings.vocab_size


def split_name(file: Path) -> tuple[Path, str | None]:
    """Split a file name into the prefix of a text set and a language code, if it ends in one."""
    plain = file.with_suffix("") if file.suffix in COMPRESSIONS else file
    code = plain.suffix[1:]
    if re.fullmatch(r"[a-z]{2,3}([-_][A-Za-z]{2,4})?", code) and code != "txt":
        return plain.with_suffix(""), code
    return file, None


def _range(sizes: Sizes) -> str:
    place = SIZES.index(sizes)
    lower = f"{SIZES[place - 1].up_to:,.0f}" if place else "0"
    return f"{lower} to {sizes.up_to:,.0f} pairs" if sizes.up_to < 1e99 else f"over {lower} pairs"
