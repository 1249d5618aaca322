"""Augment training pairs with capitals, typos, symbols and missing full stops, for robust models.

These are modifiers of OpusTrainer (Bogoychev et al. 2023), without word alignments.
"""

from __future__ import annotations

import random
import re

from nmt.config.sections.data import AugmentConfig

SYMBOLS = "☀☂★♥♪✈✔✿❄➤😀😂😍😎🎉👍🔥🚀🙏💡‰¶§†‡◊"
END_MARKS = tuple(".!?…。！？।")
KEYBOARD_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
TYPOS_PER_WORD = 0.1
"""Share of words with a typo in a line with typos; such a line has at least one typo."""


def augment_pair(src: str, tgt: str, config: AugmentConfig, rng: random.Random) -> tuple[str, str]:
    """Apply each modifier of the config with its probability to a (source, target) pair."""
    applies = {name: rng.random() < rate for name, rate in config.model_dump().items()}
    if applies["punctuation"] and src.endswith(END_MARKS) and tgt.endswith(END_MARKS):
        bare_src, bare_tgt = strip_end_marks(src), strip_end_marks(tgt)
        if bare_src and bare_tgt:
            src, tgt = bare_src, bare_tgt
    if applies["typos"]:
        src = add_typos(src, rng)
    if applies["noise"]:
        symbol, position = rng.choice(SYMBOLS), rng.random()
        src, tgt = insert_symbol(src, symbol, position), insert_symbol(tgt, symbol, position)
    if applies["upper"]:
        return src.upper(), tgt.upper()
    if applies["title"]:
        return title_case(src), title_case(tgt)
    return src, tgt


def strip_end_marks(text: str) -> str:
    """Remove punctuation marks from the end of a sentence."""
    return text.rstrip("".join(END_MARKS)).rstrip()


def title_case(text: str) -> str:
    """Capitalize the first letter of each word; unlike `str.title`, keep the other letters."""
    return re.sub(r"(?<!\S)\S", lambda match: match.group().upper(), text)


def insert_symbol(text: str, symbol: str, position: float) -> str:
    """Insert a symbol between two words, or at either end; `position` is in [0, 1)."""
    word_starts = [0, *(blank.end() for blank in re.finditer(" ", text)), len(text)]
    index = word_starts[int(position * len(word_starts))]
    before, after = text[:index], text[index:]
    separator = "" if not before or before.endswith(" ") else " "
    return f"{before}{separator}{symbol}{' ' if after else ''}{after}"


def add_typos(text: str, rng: random.Random) -> str:
    """Misspell some words of more than two letters."""
    words = text.split(" ")
    long_words = [i for i, word in enumerate(words) if len(word) > 2]
    if not long_words:
        return text
    count = max(1, round(TYPOS_PER_WORD * len(long_words)))
    for i in rng.sample(long_words, count):
        words[i] = misspell(words[i], rng)
    return " ".join(words)


def misspell(word: str, rng: random.Random) -> str:
    """Drop, double, swap or replace one letter after the first."""
    i = rng.randrange(1, len(word))
    kind = rng.randrange(4)
    if kind == 0:
        return word[:i] + word[i + 1 :]
    if kind == 1:
        return word[:i] + word[i] + word[i:]
    if kind == 2:
        return word[: i - 1] + word[i] + word[i - 1] + word[i + 1 :]
    return word[:i] + neighbor_key(word[i], rng) + word[i + 1 :]


def neighbor_key(letter: str, rng: random.Random) -> str:
    """Return the letter of an adjacent key, in the same case; letters without a key stay."""
    for row in KEYBOARD_ROWS:
        index = row.find(letter.lower())
        if index >= 0:
            neighbor = row[index + 1] if index == 0 else row[index - 1]
            if 0 < index < len(row) - 1 and rng.random() < 0.5:
                neighbor = row[index + 1]
            return neighbor.upper() if letter.isupper() else neighbor
    return letter
