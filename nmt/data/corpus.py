"""A prepared corpus: files a person can open, read through memory maps.

    corpus/train/{src,tgt}.{tokens,offsets}.npy    token ids end to end; where each line begins
    corpus/train/{src,tgt}.txt                     the text of the same lines
    corpus/train/meta.json                         counts, drops by reason, fingerprints

`offsets` has one entry more than there are lines; line i is tokens[offsets[i]:offsets[i + 1]],
without bos and eos.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmt import files
from nmt.data.text import Pair
from nmt.data.tokenizer import Tokenizers
from nmt.errors import DataError
from nmt.rundir import FORMAT_VERSION, read_json

SIDES = ("src", "tgt")
CHUNK = 10_000


class Corpus:
    """A prepared corpus on disk; tokens stay there until a row is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.meta = read_json(folder / "meta.json")
        self._tokens = {s: np.load(folder / f"{s}.tokens.npy", mmap_mode="r") for s in SIDES}
        self._offsets = {s: np.load(folder / f"{s}.offsets.npy", mmap_mode="r") for s in SIDES}

    def __len__(self) -> int:
        return len(self._offsets["src"]) - 1

    def row(self, side: str, i: int) -> NDArray[np.integer[Any]]:
        """Return the token ids of line `i` of one side."""
        offsets = self._offsets[side]
        return self._tokens[side][offsets[i] : offsets[i + 1]]  # type: ignore[no-any-return]

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
    pairs: Iterable[Pair],
    tokenizers: Tokenizers,
    folder: Path,
    meta: dict[str, Any],
    max_length: int | None,
) -> Corpus:
    """Tokenize `pairs` into `folder`, which appears only when it is whole.

    With `max_length` (training text), blank pairs and pairs with more tokens than that on a side
    are dropped and counted by reason in `meta.json`; without, every pair is kept.
    """
    sides = {
        side: _Side(array("H" if tokenizer.vocab_size <= 2**16 else "L"))
        for side, tokenizer in (("src", tokenizers.src), ("tgt", tokenizers.tgt))
    }
    dropped: Counter[str] = Counter()
    with files.folder_atomic(folder) as temporary:
        with (
            files.open_atomic(temporary / "src.txt") as src_text,
            files.open_atomic(temporary / "tgt.txt") as tgt_text,
        ):
            for (src, tgt), src_tokens, tgt_tokens in _tokenized(pairs, tokenizers):
                reason = max_length and _drop_reason(src, tgt, src_tokens, tgt_tokens, max_length)
                if reason:
                    dropped[reason] += 1
                    continue
                sides["src"].add(src_tokens)
                sides["tgt"].add(tgt_tokens)
                src_text.write(src.encode() + b"\n")
                tgt_text.write(tgt.encode() + b"\n")
        for name, side in sides.items():
            _save_array(temporary / f"{name}.tokens.npy", side.tokens)
            _save_array(temporary / f"{name}.offsets.npy", side.offsets)
        counts = {
            "format_version": FORMAT_VERSION,
            "pairs": len(sides["src"].offsets) - 1,
            "src_tokens": len(sides["src"].tokens),
            "tgt_tokens": len(sides["tgt"].tokens),
            "dropped": dict(dropped),
        }
        text = json.dumps(counts | meta, indent=1, ensure_ascii=False)
        files.write_text(temporary / "meta.json", text + "\n")
    return Corpus(folder)


def _tokenized(
    pairs: Iterable[Pair], tokenizers: Tokenizers
) -> Iterator[tuple[Pair, list[int], list[int]]]:
    stream = iter(pairs)
    while chunk := list(islice(stream, CHUNK)):
        src_tokens = tokenizers.src.encode([src for src, _ in chunk])
        tgt_tokens = tokenizers.tgt.encode([tgt for _, tgt in chunk])
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
    arrays = [f"{side}.{kind}.npy" for side in SIDES for kind in ("tokens", "offsets")]
    names = ["meta.json", *arrays, *(f"{side}.txt" for side in SIDES)]
    return all((folder / name).is_file() for name in names)


def require_pairs(corpus: Corpus, what: str) -> Corpus:
    """Return the corpus, or raise DataError where no pair is left in it."""
    if len(corpus) == 0:
        dropped = ", ".join(f"{n} {reason}" for reason, n in corpus.meta["dropped"].items())
        raise DataError(f"{what}: must hold at least one pair, holds none ({dropped or 'empty'})")
    return corpus
