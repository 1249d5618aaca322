"""What one line tells by itself: its kind, what must be copied, and what looks wrong with it.

Words are what BLEU counts: a line cut by sacreBLEU's tokenizer for its language.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from sacrebleu.metrics.bleu import BLEU

from nmt.decoding.lines.repetition import MAX_REPEAT_LENGTH, count_repeated_words
from nmt.evaluation.metrics import bleu_tokenizer

Words = list[str]


def word_splitter(language: str, bleu: BLEU | None = None) -> Callable[[str], Words]:
    """Return what cuts a line of a language into words; `bleu` has cut its lines already."""
    tokenizer = (bleu or BLEU(tokenize=bleu_tokenizer(language)[0])).tokenizer
    return lambda line: tokenizer(line.rstrip()).split()


# -- kinds of sentences -----------------------------------------------------------------------

QUESTION = re.compile(r"[?？؟][\s\"'”’»“)\]]*$")
QUOTATION = re.compile(r"[\"“”„«»「」『』]|(?<!\w)['‘‚].+['’](?!\w)")
DIGIT = re.compile(r"\d")

KINDS = {
    "question": "the source ends in a question mark",
    "number": "the source holds a digit",
    "name": "a word that is capitalised, not the first and the same in source and reference",
    "quotation": "the source holds quotation marks",
    "plain": "none of these",
}


def kinds(source: str, reference: str) -> list[bool]:
    """Tell for each of KINDS whether a sentence is one."""
    found = [
        bool(QUESTION.search(source)),
        bool(DIGIT.search(source)),
        bool(names(source, [reference])),
        bool(QUOTATION.search(source)),
    ]
    return [*found, not any(found)]


# -- what must be copied ------------------------------------------------------------------------

NUMBER = re.compile(r"\d+(?:[.,'’\u00a0\u202f]\d+)*")
LINK = re.compile(r"(?:https?://|www\.)[!-~]+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.ASCII)
EDGES = ".,;:!?\"'()[]{}<>«»“”„‘’…"

COPIES = {
    "numbers": "numbers of the source that the reference has as well, separators aside",
    "links": "URLs and e-mail addresses of the source",
    "names": KINDS["name"],
}


class Copied(NamedTuple):
    """What a line's hypothesis had to copy, and what of it is there."""

    expected: int
    found: int


def numbers(line: str) -> Counter[str]:
    """Return the numbers of a line in 0 to 9, without separators: 1,000 and 1.000 are one."""
    return Counter(
        "".join(str(unicodedata.digit(sign)) for sign in number if sign.isdecimal())
        for number in NUMBER.findall(line)
    )


def links(line: str) -> Counter[str]:
    """Return the URLs and e-mail addresses of a line."""
    return Counter(link.rstrip(EDGES) for link in LINK.findall(line))


def names(source: str, references: Sequence[str]) -> Counter[str]:
    """Return the name-like words of a source: capitalised, not first, in a reference as well."""
    there = Counter[str]()
    for reference in references:
        there |= Counter(word.strip(EDGES) for word in reference.split())
    later = (word.strip(EDGES) for word in source.split()[1:])
    return Counter(word for word in later if word[:1].isupper()) & there


def copied(source: str, references: Sequence[str], hypothesis: str) -> list[Copied]:
    """Count for each of COPIES what was expected and what was found."""
    theirs = Counter[str]()
    for reference in references:
        theirs |= numbers(reference)
    words = Counter(word.strip(EDGES) for word in hypothesis.split())
    both = [
        (numbers(source) & theirs, numbers(hypothesis)),
        (links(source), links(hypothesis)),
        (names(source, references), words),
    ]
    return [Copied(wanted.total(), (wanted & there).total()) for wanted, there in both]


# -- what looks wrong ---------------------------------------------------------------------------

SHORT, LONG = 0.7, 1.5
FEW_WORDS = 5
REPEATED_WORDS = 2
COPIED_SHARE = 0.5
DETACHED_CHRF = 15.0

SUSPICIONS = {
    "empty": "no hypothesis, where there is a reference",
    "short": f"fewer than {SHORT} times the words of the shortest reference, of {FEW_WORDS} words "
    "or more",
    "long": f"more than {LONG} times the words of the longest reference, and {FEW_WORDS} more",
    "repetition": f"{REPEATED_WORDS} words or more say at once again what stands before them, one "
    f"to {MAX_REPEAT_LENGTH} words long, and more than in any reference",
    "untranslated": f"of {FEW_WORDS} words or more the source itself, or {COPIED_SHARE:.0%} words "
    "of the source that stand in no reference",
    "hallucination": f"chrF below {DETACHED_CHRF:g}, and none of the kinds above",
    "lost number": "a number of source and reference is missing",
    "lost link": "a URL or e-mail address of the source is missing",
    "lost name": "a name-like word of source and reference is missing",
    "new number": "a number that stands in neither source nor reference",
}
"""Each with its formula; words are compared as they are, case and all."""


def suspicions(
    source: str | None,
    hypothesis: str,
    words: Words,
    references: Sequence[Words],
    source_words: Words,
    chrf: float,
    copies: Collection[Copied],
    invented: bool,
) -> list[bool]:
    """Tell for each of SUSPICIONS whether a line's hypothesis has it.

    `chrf` is the line's, `copies` those of `copied`, `source_words` cut as the target's are.
    """
    lengths = [len(reference) for reference in references if reference] or [0]
    shortest, longest = min(lengths), max(lengths)
    foreign_words = set(source_words).difference(*references)
    foreign = sum(word in foreign_words for word in words if word.isalpha())
    real = sum(word.isalpha() for word in words)
    same = source is not None and hypothesis.strip() == source.strip()
    untranslated = source is not None and (
        (same and real >= FEW_WORDS and source_words not in references)
        or (real >= FEW_WORDS and foreign >= COPIED_SHARE * real)
    )
    found = [
        not words and longest > 0,
        0 < len(words) < SHORT * shortest and shortest >= FEW_WORDS,
        len(words) > LONG * longest and len(words) >= longest + FEW_WORDS,
        (again := count_repeated_words(words)) >= REPEATED_WORDS
        and again > max(map(count_repeated_words, references)),
        untranslated,
    ]
    found.append(chrf < DETACHED_CHRF and longest > 0 and not any(found))
    lost = [its.found < its.expected for its in copies] or [False] * len(COPIES)
    return [*found, *lost, invented]


def has_new_number(source: str, references: Sequence[str], hypothesis: str) -> bool:
    """Tell whether a hypothesis has a number that stands in neither source nor reference."""
    known = numbers(source).keys() | {n for each in references for n in numbers(each)}
    return bool(numbers(hypothesis).keys() - known)
