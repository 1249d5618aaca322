"""Checks of single lines: kinds of sentences, items to copy, and likely translation errors.

Words are the tokens that BLEU counts: a line tokenized by sacreBLEU for its language.
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


def word_tokenizer(language: str, bleu: BLEU | None = None) -> Callable[[str], Words]:
    """Return a function that splits a line of `language` into words.

    Pass `bleu` to reuse its tokenizer, which caches the lines it has tokenized.
    """
    tokenizer = (bleu or BLEU(tokenize=bleu_tokenizer(language)[0])).tokenizer
    return lambda line: tokenizer(line.rstrip()).split()


# -- kinds of sentences -----------------------------------------------------------------------

QUESTION = re.compile(r"[?？؟][\s\"'”’»“)\]]*$")
QUOTATION = re.compile(r"[\"“”„«»「」『』]|(?<!\w)['‘‚].+['’](?!\w)")
DIGIT = re.compile(r"\d")

SENTENCE_KINDS = {
    "question": "the source ends in a question mark",
    "number": "the source holds a digit",
    "name": "a word that is capitalised, not the first and the same in source and reference",
    "quotation": "the source holds quotation marks",
    "plain": "none of these",
}
"""Definition of each kind of sentence, by name."""


def sentence_kinds(source: str, reference: str) -> list[bool]:
    """Return for each of SENTENCE_KINDS whether a sentence is of this kind."""
    special = [
        bool(QUESTION.search(source)),
        bool(DIGIT.search(source)),
        bool(count_names(source, [reference])),
        bool(QUOTATION.search(source)),
    ]
    return [*special, not any(special)]


# -- items to copy ------------------------------------------------------------------------------

NUMBER = re.compile(r"\d+(?:[.,'’\u00a0\u202f]\d+)*")
LINK = re.compile(r"(?:https?://|www\.)[!-~]+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.ASCII)
PUNCTUATION = ".,;:!?\"'()[]{}<>«»“”„‘’…"
"""Characters removed from both ends of words and links."""

COPY_KINDS = {
    "numbers": "numbers of the source that the reference has as well, separators aside",
    "links": "URLs and e-mail addresses of the source",
    "names": SENTENCE_KINDS["name"],
}
"""Definition of each kind of item that a translation copies from the source."""


class CopyCount(NamedTuple):
    """Number of items that a hypothesis should copy, and of those that it contains."""

    expected: int
    copied: int


NO_COPIES = [CopyCount(0, 0)] * len(COPY_KINDS)
"""The counts of a line without source."""


def count_numbers(line: str) -> Counter[str]:
    """Count the numbers of a line, converted to the digits 0 to 9 without separators.

    So 1,000 and 1.000 are equal.
    """
    return Counter(
        "".join(str(unicodedata.digit(sign)) for sign in number if sign.isdecimal())
        for number in NUMBER.findall(line)
    )


def count_links(line: str) -> Counter[str]:
    """Count the URLs and e-mail addresses of a line."""
    return Counter(link.rstrip(PUNCTUATION) for link in LINK.findall(line))


def count_names(source: str, references: Sequence[str]) -> Counter[str]:
    """Count the likely names of a source: capitalised, not first, and equal in a reference."""
    reference_words = Counter[str]()
    for reference in references:
        reference_words |= Counter(word.strip(PUNCTUATION) for word in reference.split())
    later_words = (word.strip(PUNCTUATION) for word in source.split()[1:])
    return Counter(word for word in later_words if word[:1].isupper()) & reference_words


def count_copies(source: str, references: Sequence[str], hypothesis: str) -> list[CopyCount]:
    """Return the count of each of COPY_KINDS, in their order.

    Numbers and names are expected only if a reference has them too, because a translation may spell
    out a number and translate a name. An item that occurs twice counts twice: `|` and `&` of two
    counters take the maximum and the minimum of the counts of each item.
    """
    reference_numbers = Counter[str]()
    for reference in references:
        reference_numbers |= count_numbers(reference)
    numbers = count_numbers(source) & reference_numbers
    links = count_links(source)
    names = count_names(source, references)
    hypothesis_words = Counter(word.strip(PUNCTUATION) for word in hypothesis.split())
    return [
        CopyCount(numbers.total(), (numbers & count_numbers(hypothesis)).total()),
        CopyCount(links.total(), (links & count_links(hypothesis)).total()),
        CopyCount(names.total(), (names & hypothesis_words).total()),
    ]


# -- likely errors ------------------------------------------------------------------------------

SHORT_RATIO, LONG_RATIO = 0.7, 1.5
"""Ratios to the reference length below and above which a hypothesis is short or long."""
MIN_WORDS = 5
"""Checks of length and untranslated words need at least this number of words."""
MIN_REPEATED_WORDS = 2
UNTRANSLATED_SHARE = 0.5
HALLUCINATION_CHRF = 15.0

LINE_CHECKS = {
    "empty": "no hypothesis, where there is a reference",
    "short": f"fewer than {SHORT_RATIO} times the words of the shortest reference, of {MIN_WORDS} "
    "words or more",
    "long": f"more than {LONG_RATIO} times the words of the longest reference, and {MIN_WORDS} "
    "more",
    "repetition": f"{MIN_REPEATED_WORDS} words or more say at once again what stands before them, "
    f"one to {MAX_REPEAT_LENGTH} words long, and more than in any reference",
    "untranslated": f"of {MIN_WORDS} words or more the source itself, or {UNTRANSLATED_SHARE:.0%} "
    "words of the source that stand in no reference",
    "hallucination": f"chrF below {HALLUCINATION_CHRF:g}, and none of the kinds above",
    "lost number": "a number of source and reference is missing",
    "lost link": "a URL or e-mail address of the source is missing",
    "lost name": "a name-like word of source and reference is missing",
    "new number": "a number that stands in neither source nor reference",
}
"""Definition of each check, by name. Words are compared with their case."""


def check_line(
    *,
    source: str | None,
    hypothesis: str,
    hypothesis_words: Words,
    reference_words: Sequence[Words],
    source_words: Words,
    chrf: float,
    copies: Collection[CopyCount],
    has_new_number: bool,
) -> list[bool]:
    """Return for each of LINE_CHECKS whether a line fails it.

    `source_words` are tokenized like the target. `copies` is the result of `count_copies`, or
    NO_COPIES if there is no source.
    """
    word_count = len(hypothesis_words)
    lengths = [len(words) for words in reference_words if words] or [0]
    shortest, longest = min(lengths), max(lengths)
    repeated = count_repeated_words(hypothesis_words)
    failures = [
        not word_count and longest > 0,
        0 < word_count < SHORT_RATIO * shortest and shortest >= MIN_WORDS,
        word_count > LONG_RATIO * longest and word_count >= longest + MIN_WORDS,
        repeated >= MIN_REPEATED_WORDS
        and repeated > max(map(count_repeated_words, reference_words)),
        source is not None
        and _is_untranslated(source, hypothesis, hypothesis_words, reference_words, source_words),
    ]
    failures.append(chrf < HALLUCINATION_CHRF and longest > 0 and not any(failures))
    lost = [count.copied < count.expected for count in copies]
    return [*failures, *lost, has_new_number]


def _is_untranslated(
    source: str,
    hypothesis: str,
    hypothesis_words: Words,
    reference_words: Sequence[Words],
    source_words: Words,
) -> bool:
    """Return whether a hypothesis is the source, or mostly source words of no reference."""
    alphabetic = [word for word in hypothesis_words if word.isalpha()]
    if len(alphabetic) < MIN_WORDS:
        return False
    if hypothesis.strip() == source.strip() and source_words not in reference_words:
        return True
    foreign = set(source_words).difference(*reference_words)
    return sum(word in foreign for word in alphabetic) >= UNTRANSLATED_SHARE * len(alphabetic)


def has_new_number(source: str, references: Sequence[str], hypothesis: str) -> bool:
    """Return whether a hypothesis has a number that neither source nor references have."""
    numbers = count_numbers(source).keys() | {
        number for reference in references for number in count_numbers(reference)
    }
    return bool(count_numbers(hypothesis).keys() - numbers)
