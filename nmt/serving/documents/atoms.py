"""Atoms of a text: words, signs, and characters of scripts that are written without spaces.

Inline markup begins and ends between two atoms.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from nmt.data.text.word_boundaries import is_word_character
from nmt.serving.aligned_translation import Span

NOT_SPACE = re.compile("[^ ]+")


def split_atoms(text: str) -> list[Span]:
    """Return the spans of the atoms of a text, in order.

    Spaces belong to no atom. Other white space, such as a no-break space, is a sign.
    """
    atoms: list[Span] = []
    for match in NOT_SPACE.finditer(text):
        begin, end = match.span()
        word = match.group()
        if word.isascii() and word.isalnum():
            atoms.append((begin, end))
            continue
        is_word = [is_word_character(character) for character in word]
        for index in range(end - begin):
            if index and is_word[index] and is_word[index - 1]:
                atoms[-1] = (atoms[-1][0], begin + index + 1)
            else:
                atoms.append((begin + index, begin + index + 1))
    return atoms


def cut_atoms(atoms: Sequence[Span], cuts: Iterable[int]) -> list[Span]:
    """Return atoms that are divided at some character offsets, which must be sorted."""
    pending = deque(cuts)
    pieces: list[Span] = []
    for begin, end in atoms:
        while pending and pending[0] <= begin:
            pending.popleft()
        while pending and pending[0] < end:
            pieces.append((begin, pending[0]))
            begin = pending.popleft()
            while pending and pending[0] <= begin:
                pending.popleft()
        pieces.append((begin, end))
    return pieces


def merge_atoms(atoms: Sequence[Span], spans: Sequence[Span]) -> list[Span]:
    """Return atoms in which each of some spans is one atom. The spans are sorted and disjoint."""
    begins = [begin for begin, _ in atoms]
    merged: list[Span] = []
    copied = 0
    for begin, end in spans:
        first, last = bisect_left(begins, begin), bisect_left(begins, end)
        merged += [*atoms[copied:first], (begin, end)]
        copied = max(copied, last)
    return merged + list(atoms[copied:])


def copy_cuts(
    source: str, source_atoms: Sequence[Span], cuts: Iterable[int], target: str
) -> Iterator[int]:
    """Yield the offsets in a translation of cuts inside words that it copies from the source.

    `source_atoms` are the atoms of the source before they are cut. The kth occurrence of a word in
    the translation is cut as its kth occurrence in the source.
    """
    begins = [begin for begin, _ in source_atoms]
    offsets_of_atom: dict[int, list[int]] = {}
    for cut in cuts:
        atom = bisect_left(begins, cut) - 1
        if atom >= 0 and cut < source_atoms[atom][1]:
            offsets_of_atom.setdefault(atom, []).append(cut - begins[atom])
    if not offsets_of_atom:
        return
    cut_words = {source[slice(*source_atoms[atom])] for atom in offsets_of_atom}
    offsets_of_word: dict[str, deque[list[int]]] = {word: deque() for word in cut_words}
    for atom, (begin, end) in enumerate(source_atoms):
        if source[begin:end] in cut_words:
            offsets_of_word[source[begin:end]].append(offsets_of_atom.get(atom, []))
    for begin, end in split_atoms(target):
        offsets = offsets_of_word.get(target[begin:end])
        if offsets:
            yield from (begin + offset for offset in offsets.popleft())


def atoms_in(atom_begins: Sequence[int], span: Span) -> range:
    """Return the indices of the atoms that begin in a span."""
    return range(bisect_left(atom_begins, span[0]), bisect_left(atom_begins, span[1]))
