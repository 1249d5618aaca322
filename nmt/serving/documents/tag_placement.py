"""Place the inline markup of a segment in its translation, by links between characters.

Each element appears once. Source and translation are divided into atoms (`atoms.py`). A target atom
belongs to the source atom that it is linked to. Target atoms without a link, between two that are
in the order of the source, belong in proportion to the source atoms without a link between them;
without any link, this places markup by its relative position.

An element contains the densest run of target atoms that belong to its source atoms: one more atom
of the element counts 1, an atom of its parent in between counts -1, and an atom of a sibling ends a
run. The first run wins a tie. Therefore elements never cross.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from nmt.serving.aligned_translation import AlignedTranslation, Span
from nmt.serving.documents.atoms import atoms_in, copy_cuts, cut_atoms, merge_atoms, split_atoms
from nmt.serving.documents.copies import find_copies


@dataclass
class Element:
    """Inline markup of a segment: an element, or a point such as an image or a comment."""

    begin: int
    """First character of its text in the segment."""
    end: int
    opening: str
    """Raw markup before the text, such as a start tag, or all of the markup."""
    closing: str = ""
    """Raw markup after the text, such as an end tag."""
    children: list[Element] = field(default_factory=list)
    is_verbatim: bool = False
    """Whether `opening` contains the text, which is not translated."""


@dataclass(frozen=True)
class _Item:
    """An element with its place in the translation."""

    begin: int
    """First character."""
    end: int
    atoms: range
    """Target atoms of the element."""
    element: Element


Parts = list[str | Span]
"""Raw markup, and spans of the translation."""


def place_elements(
    source: str, elements: Sequence[Element], translation: AlignedTranslation
) -> Parts:
    """Return a translation with the elements of its source: raw markup and spans of the text."""
    if not elements:
        return [(0, len(translation.text))]
    return _Placement(source, elements, translation).parts()


class _Placement:
    """The atoms of a segment and its translation, and how they belong together."""

    def __init__(
        self, source: str, elements: Sequence[Element], translation: AlignedTranslation
    ) -> None:
        self.source, self.target, self.elements = source, translation.text, elements
        uncut = split_atoms(source)
        nodes = list(_walk(elements))
        verbatim = [node for node in nodes if node.is_verbatim]
        cuts = sorted({offset for node in nodes for offset in (node.begin, node.end)})
        source_atoms = merge_atoms(
            cut_atoms(uncut, cuts), [(node.begin, node.end) for node in verbatim]
        )
        self.copies = find_copies(
            source, [(node.begin, node.end) for node in verbatim], translation
        )
        """Span in the translation of each verbatim text that it copies, by begin in the source."""
        self.misplaced: list[int] = []
        """Begins of the verbatim texts that are outside of their parent's place."""
        target_cuts = sorted(copy_cuts(source, uncut, cuts, self.target))
        copied_spans = sorted(self.copies.values())
        edges = [offset for span in copied_spans for offset in span]
        target_atoms = merge_atoms(
            cut_atoms(split_atoms(self.target), sorted([*target_cuts, *edges])), copied_spans
        )
        self.source_begins = [begin for begin, _ in source_atoms]
        self.target_begins = [begin for begin, _ in target_atoms]
        self.target_ends = [end for _, end in target_atoms]
        self.source_of = self._link_atoms(translation.links)
        """Source atom of each target atom; None if it belongs to none."""
        self._reserve_copies(verbatim)
        self.previous_linked = _nearest_linked(self.first_target, is_reversed=False)
        self.next_linked = _nearest_linked(self.first_target, is_reversed=True)

    def _link_atoms(self, links: Sequence[tuple[Span, Span]]) -> list[int | None]:
        """Return the source atom of each target atom; the first link to an atom counts."""
        source_of: list[int | None] = [None] * len(self.target_begins)
        self.first_target: list[int | None] = [None] * len(self.source_begins)
        self.last_target: list[int | None] = [None] * len(self.source_begins)
        for source_span, target_span in links:
            for source_atoms, target_atoms in self._linked_atoms(source_span, target_span):
                for index, target_atom in enumerate(target_atoms if source_atoms else []):
                    source_atom = source_atoms[index * len(source_atoms) // len(target_atoms)]
                    if source_of[target_atom] is None:
                        source_of[target_atom] = source_atom
                    self._record_target(source_atom, target_atom)
        self._interpolate(source_of)
        return source_of

    def _linked_atoms(self, source_span: Span, target_span: Span) -> list[tuple[range, range]]:
        """Return linked ranges of atoms: words, and signs before and after, from the word outwards.

        If one side has more signs, the outer ones have no link.
        """
        source_before, source_word, source_after = _word_parts(
            self.source, atoms_in(self.source_begins, source_span), self.source_begins
        )
        target_before, target_word, target_after = _word_parts(
            self.target, atoms_in(self.target_begins, target_span), self.target_begins
        )
        before = min(len(source_before), len(target_before))
        after = min(len(source_after), len(target_after))
        return [
            (source_word, target_word),
            (
                source_before[len(source_before) - before :],
                target_before[len(target_before) - before :],
            ),
            (source_after[:after], target_after[:after]),
        ]

    def _record_target(self, source_atom: int, target_atom: int) -> None:
        """Extend the range of target atoms of a source atom."""
        first, last = self.first_target[source_atom], self.last_target[source_atom]
        self.first_target[source_atom] = target_atom if first is None else min(first, target_atom)
        self.last_target[source_atom] = target_atom if last is None else max(last, target_atom)

    def _interpolate(self, source_of: list[int | None]) -> None:
        """Assign target atoms without a link to the source atoms without a link at their place.

        Words are assigned to words, and signs to signs.
        """
        is_source_word = [self.source[begin].isalnum() for begin in self.source_begins]
        is_target_word = [self.target[begin].isalnum() for begin in self.target_begins]
        unlinked: dict[bool, list[int]] = {True: [], False: []}
        for atom, first in enumerate(self.first_target):
            if first is None:
                unlinked[is_source_word[atom]].append(atom)
        previous_source, run_begin = -1, 0
        for target_atom, source_atom in enumerate([*source_of, len(self.source_begins)]):
            if source_atom is None:
                continue
            if previous_source < source_atom:
                for is_word, atoms in unlinked.items():
                    first, stop = (
                        bisect_left(atoms, previous_source),
                        bisect_left(atoms, source_atom),
                    )
                    run = range(run_begin, target_atom)
                    targets = [atom for atom in run if is_target_word[atom] == is_word]
                    for index, target in enumerate(targets if first < stop else []):
                        # the middle of the index-th of len(targets) parts
                        offset = (2 * index + 1) * (stop - first) // (2 * len(targets))
                        source_of[target] = atoms[first + offset]
                        self._record_target(atoms[first + offset], target)
            previous_source, run_begin = source_atom, target_atom + 1

    def _reserve_copies(self, verbatim: Sequence[Element]) -> None:
        """Let only the copy of a verbatim text belong to it."""
        self.verbatim_atoms = {
            bisect_left(self.source_begins, element.begin) for element in verbatim
        }
        self.source_of = [
            None if source_atom in self.verbatim_atoms else source_atom
            for source_atom in self.source_of
        ]
        for source_begin, (target_begin, _) in self.copies.items():
            source_atom = bisect_left(self.source_begins, source_begin)
            target_atom = bisect_left(self.target_begins, target_begin)
            self.source_of[target_atom] = source_atom
            self.first_target[source_atom] = self.last_target[source_atom] = target_atom

    def parts(self) -> Parts:
        """Return raw markup and spans of the translation, in order."""
        parts: Parts = []
        self._emit(
            self.elements,
            range(len(self.source_begins)),
            range(len(self.target_begins)),
            (0, len(self.target)),
            parts,
        )
        return self._without_copies(parts)

    def _without_copies(self, parts: Parts) -> Parts:
        """Return parts without the copies of verbatim texts that are elsewhere in the output.

        A copy outside of the parent of its element cannot become the element.
        """
        copies = sorted(self.copies[begin] for begin in self.misplaced)
        if not copies:
            return parts
        edges = [(begin - (self.target[begin - 1 : begin] == " "), end) for begin, end in copies]
        remaining: Parts = []
        for part in parts:
            if isinstance(part, str):
                remaining.append(part)
                continue
            cursor, end = part
            for copy_begin, copy_end in edges[bisect_left(edges, cursor, key=lambda e: e[1]) :]:
                if copy_begin >= end:
                    break
                if cursor < copy_begin:
                    remaining.append((cursor, copy_begin))
                cursor = max(cursor, copy_end)
            if cursor < end:
                remaining.append((cursor, end))
        return remaining

    def _emit(
        self,
        elements: Sequence[Element],
        source_atoms: range,
        target_atoms: range,
        span: Span,
        parts: Parts,
    ) -> None:
        """Append the content of an element: a span of the translation with its child elements."""
        cursor, span_end = span
        for item in self._layout(elements, source_atoms, target_atoms, span):
            begin = min(max(item.begin, cursor), span_end)
            end = max(min(item.end, span_end), begin)
            if cursor < begin:
                parts.append((cursor, begin))
            element = item.element
            if element.is_verbatim and not item.atoms:
                parts.append(self._spaced(element, begin))
                self.misplaced += [element.begin] if element.begin in self.copies else []
            elif element.is_verbatim:
                parts.append(element.opening)
            else:
                parts.append(element.opening)
                atoms = atoms_in(self.source_begins, (element.begin, element.end))
                self._emit(element.children, atoms, item.atoms, (begin, end), parts)
                parts.append(element.closing)
            cursor = end
        if cursor < span_end:
            parts.append((cursor, span_end))

    def _is_after_space(self, element: Element) -> bool:
        return self.source[max(element.begin - 1, 0) : element.begin] == " "

    def _spaced(self, element: Element, position: int) -> str:
        """Return verbatim markup for a place between words, with the spaces that it had."""
        raw = element.opening
        if self._is_after_space(element) and position:
            raw = raw if self.target[position - 1] == " " else f" {raw}"
        if self.source[element.end : element.end + 1] == " " and position < len(self.target):
            raw = raw if self.target[position] == " " else f"{raw} "
        return raw

    def _layout(
        self, elements: Sequence[Element], source_atoms: range, target_atoms: range, span: Span
    ) -> list[_Item]:
        """Return the places of sibling elements, in their order in the translation.

        `source_atoms`, `target_atoms` and `span` (characters of the translation) are those of the
        parent.
        """
        ranges = [atoms_in(self.source_begins, (e.begin, e.end)) for e in elements]
        runs = self._densest_runs(ranges, source_atoms, target_atoms)
        items = []
        for element, atoms, run in zip(elements, ranges, runs, strict=True):
            if run:
                begin, end = self._characters(element, run)
            else:
                is_after_space = self._is_after_space(element)
                gap = self._gap(atoms, source_atoms, target_atoms, is_after_space)
                run = range(gap, gap)
                begin = self._begin_after(gap) if is_after_space else self._end_before(gap)
                is_space = element.begin < element.end and not atoms
                end = self._begin_after(gap) if is_space else begin
                begin, end = (min(max(offset, span[0]), span[1]) for offset in (begin, end))
            items.append(_Item(begin, end, run, element))
        # At one character, elements without text precede the element that begins there.
        return sorted(items, key=lambda item: (item.begin, item.end > item.begin))

    def _densest_runs(
        self, ranges: Sequence[range], source_atoms: range, target_atoms: range
    ) -> list[range]:
        """Return the target atoms of each sibling, given its source atoms; empty if it has none."""
        runs = [range(0)] * len(ranges)
        indices = [index for index, atoms in enumerate(ranges) if atoms]
        if len(indices) == 1 and ranges[indices[0]] == source_atoms:
            runs[indices[0]] = target_atoms
            return runs
        stops = [ranges[index].stop for index in indices]
        owner: dict[int, int] = {}  # sibling of a target atom; -1 for the parent
        for target_atom in target_atoms:
            source_atom = self.source_of[target_atom]
            if source_atom is not None and source_atom in source_atoms:
                position = bisect_left(stops, source_atom + 1)
                is_inside = position < len(indices) and source_atom in ranges[indices[position]]
                owner[target_atom] = indices[position] if is_inside else -1
        best = [0] * len(ranges)
        current, score, run_begin = -1, 0, 0
        for target_atom, index in owner.items():
            if index < 0:
                score -= 1
                continue
            if index != current or score <= 0:
                current, score, run_begin = index, 0, target_atom
            score += 1
            if score > best[index]:
                best[index] = score
                runs[index] = range(run_begin, target_atom + 1)
        self._give_free_atoms(ranges, runs, owner, source_atoms, target_atoms)
        return runs

    def _give_free_atoms(
        self,
        ranges: Sequence[range],
        runs: list[range],
        owner: dict[int, int],
        source_atoms: range,
        target_atoms: range,
    ) -> None:
        """Give siblings without a target atom the one at their place, if no sibling has it."""
        occupied = {atom for run in runs for atom in run}
        for index, atoms in enumerate(ranges):
            if not atoms or runs[index] or self.verbatim_atoms.issuperset(atoms):
                continue
            gap = self._gap(atoms, source_atoms, target_atoms, is_after_space=False)
            for target_atom in (gap, gap - 1):
                is_free = owner.get(target_atom, -1) < 0 and target_atom not in occupied
                if target_atom in target_atoms and is_free:
                    runs[index] = range(target_atom, target_atom + 1)
                    occupied.add(target_atom)
                    break

    def _gap(
        self, atoms: range, source_atoms: range, target_atoms: range, is_after_space: bool
    ) -> int:
        """Return the index of the target atom before which an element without target atoms goes.

        `atoms` are its source atoms; for a point, an empty range at its place. It follows the
        previous word or precedes the next word, depending on which is linked. If both are,
        `is_after_space` decides. At either end of its parent, it stays there.
        """
        if atoms.start <= source_atoms.start and not atoms:
            return target_atoms.start
        if atoms.start >= source_atoms.stop:
            return target_atoms.stop
        gap = self.first_target[atoms.start] if atoms else None
        if gap is None:
            before = self.previous_linked[atoms.start]
            after = self.next_linked[atoms.stop]
            before_distance = atoms.start - before if before >= source_atoms.start else None
            after_distance = after - atoms.stop + 1 if after < source_atoms.stop else None
            if after_distance is None and before_distance is None:
                return target_atoms.start
            if after_distance is None or (
                before_distance is not None
                and (before_distance, is_after_space) < (after_distance, True)
            ):
                last = self.last_target[before]
                gap = target_atoms.start if last is None else last + 1
            else:
                gap = self.first_target[after] or 0
        return min(max(gap, target_atoms.start), target_atoms.stop)

    def _characters(self, element: Element, run: range) -> Span:
        """Return the span of a run of target atoms, with white space at its ends if it had any."""
        is_space_first = self.source[element.begin] == " "
        is_space_last = self.source[element.end - 1] == " "
        begin = self._end_before(run.start) if is_space_first else self.target_begins[run.start]
        end = self._begin_after(run.stop) if is_space_last else self.target_ends[run.stop - 1]
        return begin, end

    def _end_before(self, gap: int) -> int:
        """Return the end of the atom before a gap."""
        return self.target_ends[gap - 1] if gap else 0

    def _begin_after(self, gap: int) -> int:
        """Return the begin of the atom after a gap."""
        return self.target_begins[gap] if gap < len(self.target_begins) else len(self.target)


def _word_parts(text: str, atoms: range, begins: Sequence[int]) -> tuple[range, range, range]:
    """Return the atoms of a span as signs before a word, the word, and signs after it.

    A span without a letter or digit is a word.
    """
    is_sign = [not text[begins[atom]].isalnum() for atom in atoms]
    if all(is_sign):
        return range(0), atoms, range(0)
    first = atoms.start + is_sign.index(False)
    stop = atoms.stop - is_sign[::-1].index(False)
    return range(atoms.start, first), range(first, stop), range(stop, atoms.stop)


def _nearest_linked(first_target: Sequence[int | None], is_reversed: bool) -> list[int]:
    """Return the nearest source atom with a target atom, for each place between source atoms.

    It is the last such atom before the place, or -1. With `is_reversed`, it is the first one from
    the place on, or the number of source atoms.
    """
    count = len(first_target)
    nearest = count if is_reversed else -1
    result = [nearest]
    for atom in reversed(range(count)) if is_reversed else range(count):
        if first_target[atom] is not None:
            nearest = atom
        result.append(nearest)
    return result[::-1] if is_reversed else result


def _walk(elements: Sequence[Element]) -> Iterator[Element]:
    """Yield elements and their descendants in the order of the document."""
    for element in elements:
        yield element
        yield from _walk(element.children)
