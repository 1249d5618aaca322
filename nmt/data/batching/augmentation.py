"""Changes to training text that make a model sturdy: capitals, typos, signs, missing full stops.

After the modifiers of OpusTrainer (Bogoychev et al. 2023), without word alignments.
"""

from __future__ import annotations

import random
import re

from nmt.config.schema import AugmentConfig

NOISE = "☀☂★♥♪✈✔✿❄➤😀😂😍😎🎉👍🔥🚀🙏💡‰¶§†‡◊"
END_MARKS = tuple(".!?…。！？।")
ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
"""Keys beside each other."""
TYPOS_PER_WORD = 0.1
"""Of the words of a line that has typos; at least one word has one."""


def augmented(src: str, tgt: str, config: AugmentConfig, rng: random.Random) -> tuple[str, str]:
    """Return a pair as it is trained on this time; all chances are drawn from `rng`."""
    chances = {name: rng.random() < rate for name, rate in config.model_dump().items()}
    if chances["punctuation"] and src.endswith(END_MARKS) and tgt.endswith(END_MARKS):
        bare = tuple(text.rstrip("".join(END_MARKS)).rstrip() for text in (src, tgt))
        src, tgt = bare if all(bare) else (src, tgt)
    if chances["typos"]:
        src = with_typos(src, rng)
    if chances["noise"]:
        sign, where = rng.choice(NOISE), rng.random()
        src, tgt = inserted(src, sign, where), inserted(tgt, sign, where)
    if chances["upper"]:
        return src.upper(), tgt.upper()
    if chances["title"]:
        return titled(src), titled(tgt)
    return src, tgt


def titled(text: str) -> str:
    """Begin each word with a capital letter, and leave the rest of it alone."""
    return re.sub(r"(?<!\S)\S", lambda first: first.group().upper(), text)


def inserted(text: str, sign: str, where: float) -> str:
    """Put a sign between two words, before the first or behind the last; `where` is from 0 to 1."""
    places = [0, *(blank.end() for blank in re.finditer(" ", text)), len(text)]
    place = places[int(where * len(places))]
    before, after = text[:place], text[place:]
    blank = "" if not before or before.endswith(" ") else " "
    return f"{before}{blank}{sign}{' ' if after else ''}{after}"


def with_typos(text: str, rng: random.Random) -> str:
    """Write some words with a slip."""
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) > 2]
    if not long:
        return text
    wrong = rng.sample(long, max(1, round(TYPOS_PER_WORD * len(long))))
    for i in wrong:
        words[i] = slip(words[i], rng)
    return " ".join(words)


def slip(word: str, rng: random.Random) -> str:
    """Leave out, double, swap or replace one letter behind the first."""
    i = rng.randrange(1, len(word))
    kind = rng.randrange(4)
    if kind == 0:
        return word[:i] + word[i + 1 :]
    if kind == 1:
        return word[:i] + word[i] + word[i:]
    if kind == 2:
        return word[: i - 1] + word[i] + word[i - 1] + word[i + 1 :]
    return word[:i] + neighbour(word[i], rng) + word[i + 1 :]


def neighbour(letter: str, rng: random.Random) -> str:
    """Return a key beside that of a letter, of the same case."""
    for row in ROWS:
        place = row.find(letter.lower())
        if place >= 0:
            other = row[place + 1] if place == 0 else row[place - 1]
            if 0 < place < len(row) - 1 and rng.random() < 0.5:
                other = row[place + 1]
            return other.upper() if letter.isupper() else other
    return letter
