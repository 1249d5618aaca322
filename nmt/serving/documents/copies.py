"""Find text in a translation that is copied from the source, such as inline code."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence

from nmt.data.text.word_boundaries import is_whole_word
from nmt.serving.aligned_translation import AlignedTranslation, Span


def find_copies(
    source: str, spans: Sequence[Span], translation: AlignedTranslation
) -> dict[int, Span]:
    """Return the span in the translation of each copied span of the source, by its begin.

    `spans` are sorted and disjoint. A copy is a whole word if its original is. If a text occurs
    more than once, links decide, then the order of equal texts, then the first free occurrence.
    """
    occurrences: dict[tuple[str, bool], tuple[_Occurrences, _Occurrences]] = {}
    linked = _linked_spans(spans, translation)
    copies: dict[int, Span] = {}
    occupied: list[Span] = []
    for begin, end in spans:
        text, is_word = source[begin:end], is_whole_word(source, begin, end)
        if (text, is_word) not in occurrences:
            occurrences[text, is_word] = (
                _Occurrences(text, is_word, source),
                _Occurrences(text, is_word, translation.text),
            )
        originals, candidates = occurrences[text, is_word]
        rank = bisect_left(originals.begins, begin)
        has_equal_count = len(originals.begins) == len(candidates.begins)
        for target_begin in [
            *candidates.overlapping(linked.get(begin, [])),
            *(candidates.begins[rank : rank + 1] if has_equal_count else []),
            *candidates.unused(occupied),
        ]:
            span = target_begin, target_begin + len(text)
            if _is_free(span, occupied):
                copies[begin] = span
                insort(occupied, span)
                break
    return copies


class _Occurrences:
    """The places of a text in a longer text, which may overlap."""

    def __init__(self, text: str, is_word: bool, content: str) -> None:
        self.length = len(text)
        self.begins: list[int] = []
        begin = content.find(text)
        while begin >= 0:
            end = begin + len(text)
            if not is_word or is_whole_word(content, begin, end):
                self.begins.append(begin)
            begin = content.find(text, begin + 1)
        self._first_unused = 0

    def overlapping(self, spans: Sequence[Span]) -> Iterator[int]:
        """Yield the first occurrence that overlaps each of some spans."""
        for begin, end in spans:
            index = bisect_right(self.begins, begin - self.length)
            if index < len(self.begins) and self.begins[index] < end:
                yield self.begins[index]

    def unused(self, occupied: Sequence[Span]) -> Sequence[int]:
        """Return the first occurrence that is free, if there is one."""
        while self._first_unused < len(self.begins):
            begin = self.begins[self._first_unused]
            if _is_free((begin, begin + self.length), occupied):
                return [begin]
            self._first_unused += 1
        return []


def _is_free(span: Span, occupied: Sequence[Span]) -> bool:
    """Return whether a span overlaps none of some sorted, disjoint spans."""
    index = bisect_left(occupied, span)
    return (index == 0 or occupied[index - 1][1] <= span[0]) and (
        index == len(occupied) or span[1] <= occupied[index][0]
    )


def _linked_spans(spans: Sequence[Span], translation: AlignedTranslation) -> dict[int, list[Span]]:
    """Return the spans of the translation that are linked to each span, by its begin."""
    ends = [end for _, end in spans]
    linked: dict[int, list[Span]] = {}
    for (begin, end), target_span in translation.links:
        index = bisect_right(ends, begin)
        if index < len(spans) and spans[index][0] < end:
            linked.setdefault(spans[index][0], []).append(target_span)
    return linked
