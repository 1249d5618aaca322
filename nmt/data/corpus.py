"""A prepared corpus: files a person can open, read through memory maps.

    corpus/train/{src,tgt}.{tokens,offsets}.npy    token ids end to end; where each line begins
    corpus/train/{src,tgt}.txt                     the text of the same lines
    corpus/train/links.{tokens,offsets}.npy        word alignments, where there are any
    corpus/train/dropped.tsv                       the pairs that were dropped, with the reason
    corpus/train/meta.json                         counts, drops by reason, fingerprints

`offsets` has one entry more than there are lines; line i is tokens[offsets[i]:offsets[i + 1]],
without bos and eos. Links are pairs of places in a line, source token and target token in turn.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmt import files
from nmt.data.cleaning import Cleaner, Drops, cleaned
from nmt.data.links import piece_links
from nmt.data.text import Located, chunks
from nmt.data.tokenizer import Tokenizers
from nmt.errors import DataError
from nmt.rundir import FORMAT_VERSION, read_json

SIDES = ("src", "tgt")
LINKS = "links"
DROPPED = "dropped.tsv"
CHUNK = 10_000


class Corpus:
    """A prepared corpus on disk; tokens stay there until a row is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.meta = read_json(folder / "meta.json")
        self.aligned: bool = self.meta.get("aligned", False)
        rows = (*SIDES, LINKS) if self.aligned else SIDES
        self._tokens = {s: np.load(folder / f"{s}.tokens.npy", mmap_mode="r") for s in rows}
        self._offsets = {s: np.load(folder / f"{s}.offsets.npy", mmap_mode="r") for s in rows}

    def __len__(self) -> int:
        return len(self._offsets["src"]) - 1

    def row(self, side: str, i: int) -> NDArray[np.integer[Any]]:
        """Return the token ids of line `i` of one side."""
        offsets = self._offsets[side]
        return self._tokens[side][offsets[i] : offsets[i + 1]]  # type: ignore[no-any-return]

    def pairs(self) -> Iterator[tuple[list[int], list[int]]]:
        """Yield the token ids of both sides, line by line."""
        for i in range(len(self)):
            yield self.row("src", i).tolist(), self.row("tgt", i).tolist()

    def links(self, i: int) -> NDArray[np.integer[Any]]:
        """Return the links of line `i`, n x 2: places of a source and of a target token."""
        return self.row(LINKS, i).reshape(-1, 2)

    def lengths(self, side: str) -> NDArray[np.int64]:
        """Return the number of tokens of every line of one side, without bos and eos."""
        lengths: NDArray[np.int64] = np.diff(self._offsets[side])
        return lengths

    def lines(self, side: str) -> list[str]:
        """Return the text of one side."""
        return (self.folder / f"{side}.txt").read_bytes().decode().split("\n")[:-1]


@dataclass
class _Side:
    """One side while it is being built."""

    tokens: array[int]
    offsets: array[int] = field(default_factory=lambda: array("q", [0]))

    def add(self, tokens: list[int]) -> None:
        self.tokens.extend(tokens)
        self.offsets.append(len(self.tokens))


def build_corpus(
    pairs: Iterable[Located],
    tokenizers: Tokenizers,
    folder: Path,
    meta: dict[str, Any],
    max_length: int | None,
    cleaner: Cleaner | None = None,
) -> Corpus:
    """Tokenize `pairs` into `folder`, which appears only when it is whole.

    With `max_length` (training text), what `cleaner` does not let pass, blank pairs and pairs with
    more tokens than that on a side are dropped, counted by reason in `meta.json` and written to
    `dropped.tsv`; without, every pair is kept. Aligned pairs have links between words, which become
    links between tokens.
    """
    sides = {
        side: _Side(array("H" if tokenizer.vocab_size <= 2**16 else "L"))
        for side, tokenizer in (("src", tokenizers.src), ("tgt", tokenizers.tgt))
    }
    links = _Side(array("I"))
    aligned = False
    with files.folder_atomic(folder) as temporary:
        with (
            files.open_atomic(temporary / "src.txt") as src_text,
            files.open_atomic(temporary / "tgt.txt") as tgt_text,
            files.open_atomic(temporary / DROPPED) as dropped,
        ):
            drops = Drops(dropped)
            pairs = cleaned(pairs, cleaner, drops)
            for line, src_tokens, tgt_tokens in _tokenized(pairs, tokenizers):
                src, tgt, *words = line.pair
                reason = max_length and _drop_reason(src, tgt, src_tokens, tgt_tokens, max_length)
                if reason:
                    drops.add(reason, line)
                    continue
                sides["src"].add(src_tokens)
                sides["tgt"].add(tgt_tokens)
                src_text.write(src.encode() + b"\n")
                tgt_text.write(tgt.encode() + b"\n")
                for its in words:
                    aligned = True
                    cuts = (tokenizers.src.cut(src), tokenizers.tgt.cut(tgt))
                    links.add([place for link in piece_links(its, *cuts) for place in link])
        for name, side in (sides | ({LINKS: links} if aligned else {})).items():
            _save_array(temporary / f"{name}.tokens.npy", side.tokens)
            _save_array(temporary / f"{name}.offsets.npy", side.offsets)
        counts = {
            "format_version": FORMAT_VERSION,
            "pairs": len(sides["src"].offsets) - 1,
            "src_tokens": len(sides["src"].tokens),
            "tgt_tokens": len(sides["tgt"].tokens),
            "dropped": dict(drops.counts),
            "aligned": aligned,
        }
        text = json.dumps(counts | meta, indent=1, ensure_ascii=False)
        files.write_text(temporary / "meta.json", text + "\n")
    return Corpus(folder)


def _tokenized(
    pairs: Iterable[Located], tokenizers: Tokenizers
) -> Iterator[tuple[Located, list[int], list[int]]]:
    for chunk in chunks(pairs, CHUNK):
        src_tokens = tokenizers.src.encode([line.pair[0] for line in chunk])
        tgt_tokens = tokenizers.tgt.encode([line.pair[1] for line in chunk])
        yield from zip(chunk, src_tokens, tgt_tokens, strict=True)


def _drop_reason(
    src: str, tgt: str, src_tokens: list[int], tgt_tokens: list[int], max_length: int
) -> str | None:
    if not src.strip() or not tgt.strip():
        return "blank"
    if len(src_tokens) > max_length or len(tgt_tokens) > max_length:
        return f"over {max_length} tokens"
    return None


def _save_array(path: Path, values: array[int]) -> None:
    with files.open_atomic(path) as stream:
        np.save(stream, np.frombuffer(values, dtype=np.dtype(values.typecode)), allow_pickle=False)


def is_whole(folder: Path) -> bool:
    """Tell whether a corpus stands in `folder` with all its files."""
    if not (folder / "meta.json").is_file():
        return False
    rows = (*SIDES, LINKS) if read_json(folder / "meta.json").get("aligned") else SIDES
    arrays = [f"{name}.{kind}.npy" for name in rows for kind in ("tokens", "offsets")]
    return all((folder / name).is_file() for name in [*arrays, *(f"{s}.txt" for s in SIDES)])


def require_pairs(corpus: Corpus, what: str) -> Corpus:
    """Return the corpus, or raise DataError where no pair is left in it."""
    if len(corpus) == 0:
        dropped = ", ".join(f"{n} {reason}" for reason, n in corpus.meta["dropped"].items())
        raise DataError(f"{what}: must hold at least one pair, holds none ({dropped or 'empty'})")
    return corpus
