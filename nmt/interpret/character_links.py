"""Links between characters of a source and its translation, from the attention of the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import accumulate, pairwise

from nmt.data.text.word_boundaries import is_word_character
from nmt.data.tokenizer.sampling import SPACE_SYMBOL
from nmt.data.tokenizer.tokenizer import WORD
from nmt.interpret.alignment import hard_alignment
from nmt.interpret.explainer import Explainer
from nmt.interpret.explanation import END, Explanation, SentencePieces

Span = tuple[int, int]
"""Begin and end (exclusive) of characters in a text."""
CharacterLink = tuple[Span, Span]
"""A span of the source, and a span of the translation."""


def link_characters(
    explainer: Explainer, pairs: Iterable[tuple[str, str]]
) -> Iterator[list[CharacterLink]]:
    """Yield the links of each (source, translation); none if a side is blank.

    See `explanation_links`.
    """
    for explanation in explainer.explain_pairs(pairs):
        yield [] if explanation is None else explanation_links(explanation)


def explanation_links(explanation: Explanation) -> list[CharacterLink]:
    """Return the links of `hard_alignment` as spans of characters, those of most weight first.

    Words in scripts without spaces are linked by their pieces.
    """
    source, source_spans = _split_spaceless_words(explanation.source)
    target, target_spans = _split_spaceless_words(explanation.target)
    weights = replace(explanation, source=source, target=target).by_words
    links = sorted(hard_alignment(weights), key=lambda link: (-weights[link[1], link[0]], link))
    return [(source_spans[s], target_spans[t]) for s, t in links]


def _split_spaceless_words(sentence: SentencePieces) -> tuple[SentencePieces, list[Span]]:
    """Return a sentence with pieces in place of words that have letters without spaces between.

    A word stays complete if its pieces do not spell it, as after normalization. Also return the
    spans of the words.
    """
    pieces_of_word: dict[int, list[int]] = {}
    for piece, word in enumerate(sentence.word_of):
        pieces_of_word.setdefault(word, []).append(piece)
    words: list[str] = []
    spans: list[Span] = []
    word_of = [0] * len(sentence.pieces)
    for index, match in enumerate(WORD.finditer(sentence.text)):
        pieces = pieces_of_word.get(index, [])
        texts = [sentence.pieces[piece].replace(SPACE_SYMBOL, "") for piece in pieces]
        is_split = _is_spaceless(match.group()) and "".join(texts) == match.group()
        if not is_split:
            texts = [match.group()]
        ends = list(accumulate(map(len, texts), initial=match.start()))
        for position, piece in enumerate(pieces):
            word_of[piece] = len(words) + (position if is_split else 0)
        words += texts
        spans += pairwise(ends)
    for word, pieces in pieces_of_word.items():
        if word >= sentence.word_count:
            for piece in pieces:
                word_of[piece] = len(words)
    return SentencePieces(sentence.text, sentence.pieces, [*words, END], word_of), spans


def _is_spaceless(word: str) -> bool:
    """Return whether a word contains letters of a script that is written without spaces."""
    return any(character.isalpha() and not is_word_character(character) for character in word)
