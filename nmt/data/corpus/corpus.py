"""A prepared corpus on disk: files that a person can open, read through memory maps.

    corpus/train/0/meta.json                    counts, dropped pairs and fingerprints of a text set
    corpus/train/0/manifest.json                size and SHA-256 of each file
    corpus/train/0/dropped.tsv                  dropped pairs, with the reason
    corpus/train/0/00000/src.tokens.npy         token ids of all lines, concatenated
    corpus/train/0/00000/src.offsets.npy        index of the first token of each line
    corpus/train/0/00000/src.txt                text of the same lines
    corpus/train/0/00000/src.places.npy         byte offset of each line in src.txt
    corpus/train/0/00000/tgt...                 the same files of the target side
    corpus/train/0/00000/links.{tokens,offsets}.npy   word alignments, if the text set has any

Each text set of the config has a folder, split into shards of about SHARD pairs. `offsets` has one
entry more than there are lines; line i is tokens[offsets[i]:offsets[i + 1]], without bos and eos.
A line of `links` has the source and the target token position of each link, alternating.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tokenize import TokenError
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmt.core import files
from nmt.core.manifest import MANIFEST_REFERENCE, read_verified_record, write_manifest
from nmt.core.ownership import replace_own_folder
from nmt.core.run_dir import FORMAT_VERSION, read_json
from nmt.data.corpus.filters import DropLog, DuplicateFilter
from nmt.data.corpus.preprocessing import (
    LINKS,
    SIDES,
    IntegerArray,
    PreparedChunk,
    Preprocessor,
    RaggedArray,
    RawChunk,
    drop_duplicates,
    prepare_chunks,
)
from nmt.data.tokenizer.tokenizer import TagIds
from nmt.errors import DataError, RunError

META = "meta.json"
DROPPED = "dropped.tsv"
SHARD = 2**18
"""Minimum number of pairs per shard, except for the last."""

Int64Array = NDArray[np.int64]


class Shard:
    """Consecutive pairs of a corpus; tokens are read from disk on access."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        """Open the arrays `names`: "src", "tgt" and perhaps "links"."""
        self.folder = folder
        self.tokens = {name: _load_array(folder / f"{name}.tokens.npy") for name in names}
        self.offsets = {name: _load_array(folder / f"{name}.offsets.npy") for name in names}
        for name in names:
            offsets, end = self.offsets[name], len(self.tokens[name])
            if not len(offsets) or offsets[0] != 0 or offsets[-1] != end:
                raise RunError(
                    f"{folder}: expected {name}.offsets.npy to match {name}.tokens.npy, "
                    "got another length"
                )
        counts = [len(self.offsets[name]) - 1 for name in names]
        if len(set(counts)) > 1:
            raise RunError(
                f"{folder}: expected the same number of lines on both sides, got "
                + " and ".join(map(str, counts))
            )

    def __len__(self) -> int:
        return len(self.offsets["src"]) - 1

    def row(self, name: str, i: int) -> IntegerArray:
        """Return row `i` of "src", "tgt" or "links"."""
        offsets = self.offsets[name]
        return self.tokens[name][offsets[i] : offsets[i + 1]]

    def text(self, side: str) -> bytes:
        """Return the text of one side."""
        return (self.folder / f"{side}.txt").read_bytes()

    def lines(self, side: str) -> list[str]:
        """Return all lines of one side; raise RunError if the text was damaged."""
        lines = self._decode(side, self.text(side)).split("\n")[:-1]
        if len(lines) != len(self):
            raise RunError(
                f"{self.folder}/{side}.txt: expected {len(self)} lines, got {len(lines)}"
            )
        return lines

    def lines_at(self, side: str, rows: Int64Array) -> list[str]:
        """Return some lines of one side."""
        byte_offsets = _load_array(self.folder / f"{side}.places.npy")
        begins, ends = byte_offsets[rows].tolist(), byte_offsets[rows + 1].tolist()
        lines = []
        with open(self.folder / f"{side}.txt", "rb") as stream:
            for begin, end in zip(begins, ends, strict=True):
                stream.seek(begin)
                lines.append(self._decode(side, stream.read(end - begin - 1)))
        return lines

    def _decode(self, side: str, text: bytes) -> str:
        try:
            return text.decode()
        except UnicodeDecodeError:
            raise RunError(f"{self.folder}/{side}.txt: expected UTF-8, got damaged text") from None


class _ShardRows(NamedTuple):
    """The requested rows that are in one shard."""

    shard: Shard
    positions: Int64Array
    """Positions among the requested rows."""
    rows: Int64Array
    """Row indices in the shard."""


class Corpus:
    """The prepared pairs of one or several text sets, concatenated."""

    def __init__(self, *folders: Path) -> None:
        self.folders = folders
        self.metas = [read_json(folder / META) for folder in folders]
        self.aligned: bool = any(meta["aligned"] for meta in self.metas)
        names = (*SIDES, LINKS) if self.aligned else SIDES
        self.shards = [
            Shard(folder / f"{number:05d}", names)
            for folder, meta in zip(folders, self.metas, strict=True)
            for number in range(meta["shards"])
        ]
        self._starts = np.cumsum([0, *map(len, self.shards)])
        """Row index of the first pair of each shard, and the number of pairs."""

    @classmethod
    def load(cls, folder: Path) -> Corpus:
        """Open all text sets in a folder; raise RunError if one is missing or damaged."""
        set_folders = [path for path in folder.glob("*") if path.name.isdecimal()]
        if not set_folders or not all(map(is_complete, set_folders)):
            raise RunError(f"{folder}: expected prepared text, found none (run `nmt prepare`)")
        for path in set_folders:
            read_verified_record(path / META)
        return cls(*sorted(set_folders, key=lambda path: int(path.name)))

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def sizes(self) -> list[int]:
        """Number of pairs of each text set."""
        return [meta["pairs"] for meta in self.metas]

    @property
    def tags(self) -> list[TagIds]:
        """Token ids that begin every line, for each text set."""
        return [
            TagIds(tuple(meta["tag_ids"]), tuple(meta.get("target_tag_ids", ())))
            for meta in self.metas
        ]

    def total(self, key: str) -> int:
        """Return the sum of a count over all text sets, such as tgt_tokens."""
        return sum(meta[key] for meta in self.metas)

    def multi_sentence_share(self) -> float | None:
        """Return the share of pairs with several sentences in the source.

        None if a text set was prepared by a release that did not count these.
        """
        count = 0
        for meta in self.metas:
            if meta.get("multi_sentence") is None:
                return None
            count += int(meta["multi_sentence"])
        return count / max(len(self), 1)

    def dropped(self) -> dict[str, int]:
        """Return the number of dropped pairs by reason."""
        counts: dict[str, int] = {}
        for meta in self.metas:
            for reason, count in meta["dropped"].items():
                counts[reason] = counts.get(reason, 0) + count
        return counts

    def row(self, name: str, i: int) -> IntegerArray:
        """Return row `i` of "src", "tgt" or "links"."""
        number = int(np.searchsorted(self._starts, i, "right")) - 1
        return self.shards[number].row(name, i - int(self._starts[number]))

    def links(self, i: int) -> IntegerArray:
        """Return the links of row `i`, n x 2: source and target token position."""
        return self.row(LINKS, i).reshape(-1, 2)

    def pairs(self) -> Iterator[tuple[list[int], list[int]]]:
        """Yield the token ids of both sides, pair by pair."""
        for shard in self.shards:
            for i in range(len(shard)):
                yield shard.row("src", i).tolist(), shard.row("tgt", i).tolist()

    def lengths(self, side: str, rows: Int64Array | None = None) -> Int64Array:
        """Return the number of tokens of these rows (or all), without bos and eos."""
        if rows is None:
            shard_lengths = [np.diff(shard.offsets[side]) for shard in self.shards]
            return np.concatenate(shard_lengths or [np.empty(0, np.int64)])
        lengths = np.empty(len(rows), np.int64)
        for shard, positions, shard_rows in self._group_by_shard(rows):
            offsets = shard.offsets[side]
            lengths[positions] = offsets[shard_rows + 1] - offsets[shard_rows]
        return lengths

    def lines(self, side: str) -> list[str]:
        """Return all lines of one side."""
        return [line for shard in self.shards for line in shard.lines(side)]

    def lines_at(self, side: str, rows: Int64Array) -> list[str]:
        """Return some lines of one side, in the order of `rows`."""
        lines = [""] * len(rows)
        for shard, positions, shard_rows in self._group_by_shard(rows):
            shard_lines = shard.lines_at(side, shard_rows)
            for position, line in zip(positions.tolist(), shard_lines, strict=True):
                lines[position] = line
        return lines

    def corpus_rows(self, rows: Int64Array) -> Int64Array:
        """Return `rows`: they are rows of the corpus already (see `TokenizedPairs`)."""
        return rows

    def locations(self, rows: Sequence[int]) -> list[tuple[str, int]]:
        """Return the source text file and the line, counted from 1, of each row."""
        numbers = np.searchsorted(self._starts, rows, "right") - 1
        return [
            (str(self.shards[number].folder / "src.txt"), row - int(self._starts[number]) + 1)
            for row, number in zip(rows, numbers.tolist(), strict=True)
        ]

    def _group_by_shard(self, rows: Int64Array) -> Iterator[_ShardRows]:
        """Yield each shard that has some of the rows."""
        order = np.argsort(rows, kind="stable")
        ends = np.searchsorted(rows[order], self._starts).tolist()
        for number, shard in enumerate(self.shards):
            positions = order[ends[number] : ends[number + 1]]
            if len(positions):
                yield _ShardRows(shard, positions, rows[positions] - self._starts[number])


class _ShardWriter:
    """Collects prepared chunks and writes shards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shards = self.pairs = self.multi_sentence = 0
        self.tokens = dict.fromkeys(SIDES, 0)
        """Number of tokens of both sides."""
        self.aligned = False
        self._chunks: list[PreparedChunk] = []
        self._collected_pairs = 0

    def add(self, chunk: PreparedChunk) -> None:
        """Add the pairs of a chunk; write a shard if there are enough pairs."""
        if len(chunk):
            self._chunks.append(chunk)
            self._collected_pairs += len(chunk)
            self.multi_sentence += int(chunk.multi_sentence.sum())
        if self._collected_pairs >= SHARD:
            self.flush()

    def flush(self) -> None:
        """Write the collected pairs as a shard."""
        if not self._chunks:
            return
        folder = self.folder / f"{self.shards:05d}"
        for name in self._chunks[0].arrays:
            arrays = [chunk.arrays[name] for chunk in self._chunks]
            offsets = _row_offsets(arrays)
            if name.endswith(".txt"):
                with files.open_atomic(folder / name) as stream:
                    for array in arrays:
                        stream.write(array.values.tobytes())
                _save_array(folder / f"{name.removesuffix('.txt')}.places.npy", offsets)
                continue
            tokens = np.concatenate([array.values for array in arrays])
            _save_array(folder / f"{name}.tokens.npy", tokens)
            _save_array(folder / f"{name}.offsets.npy", offsets)
            if name in self.tokens:
                self.tokens[name] += int(offsets[-1])
        self.aligned = LINKS in self._chunks[0].arrays
        self.shards += 1
        self.pairs += self._collected_pairs
        self._chunks, self._collected_pairs = [], 0


def _row_offsets(arrays: list[RaggedArray]) -> Int64Array:
    """Return the begin of each row in the concatenated arrays, and the end of the last."""
    lengths = np.concatenate([array.lengths for array in arrays])
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


def build_corpus(
    chunks: Iterable[RawChunk],
    preprocessor: Preprocessor,
    folder: Path,
    meta: dict[str, Any],
    cores: int = 1,
    duplicates: DuplicateFilter | None = None,
) -> Corpus:
    """Filter and tokenize a text set into `folder`, which is created atomically.

    `meta` is added to `meta.json`, which counts the dropped pairs by reason. If the preprocessor
    has a `max_length`, `dropped.tsv` lists these pairs.
    """
    with replace_own_folder(folder) as temporary:
        with ExitStack() as stack:
            stream = None
            if preprocessor.max_length is not None:
                stream = stack.enter_context(files.open_atomic(temporary / DROPPED))
            drops = DropLog(stream)
            writer = _ShardWriter(temporary)
            prepared = prepare_chunks(chunks, preprocessor, cores)
            for chunk in drop_duplicates(prepared, drops, duplicates):
                writer.add(chunk)
            writer.flush()
        counts = {
            "format_version": FORMAT_VERSION,
            "pairs": writer.pairs,
            "shards": writer.shards,
            "src_tokens": writer.tokens["src"],
            "tgt_tokens": writer.tokens["tgt"],
            "dropped": dict(drops.counts),
            "multi_sentence": None if preprocessor.language is None else writer.multi_sentence,
            "aligned": writer.aligned,
            **tag_record(preprocessor.tokenizers.tags if preprocessor.tokenizers else TagIds()),
        }
        text = json.dumps(counts | meta | MANIFEST_REFERENCE, indent=1, ensure_ascii=False)
        files.write_text(temporary / META, text + "\n")
        write_manifest(temporary)
    return Corpus(folder)


def tag_record(tags: TagIds) -> dict[str, list[int]]:
    """Return tags as JSON values. Only text with tags in the target has `target_tag_ids`."""
    record = {"tag_ids": list(tags.src)}
    return record | {"target_tag_ids": list(tags.tgt)} if tags.tgt else record


def _load_array(path: Path) -> IntegerArray:
    """Map an array of integers into memory; raise RunError if the file is damaged."""
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, TokenError) as error:
        raise RunError(f"{path}: expected a numpy array, got a damaged file: {error}") from None
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind not in "iu":
        raise RunError(f"{path}: expected a list of whole numbers, got another array")
    return values


def _save_array(path: Path, values: IntegerArray) -> None:
    with files.open_atomic(path) as stream:
        np.save(stream, values, allow_pickle=False)


def is_complete(folder: Path) -> bool:
    """Return whether a folder contains a text set with all its files."""
    if not (folder / META).is_file():
        return False
    meta = read_json(folder / META)
    names = (*SIDES, LINKS) if meta.get("aligned") else SIDES
    file_names = [f"{name}.{kind}.npy" for name in names for kind in ("tokens", "offsets")]
    file_names += [f"{side}.{ending}" for side in SIDES for ending in ("txt", "places.npy")]
    if "manifest" in meta and not (folder / meta["manifest"]).is_file():
        return False
    return "shards" in meta and all(
        (folder / f"{number:05d}" / name).is_file()
        for number in range(meta["shards"])
        for name in file_names
    )


def require_pairs(corpus: Corpus, setting: str) -> Corpus:
    """Return the corpus; raise DataError if it has no pairs. `setting` names it in the error."""
    if len(corpus) == 0:
        dropped = ", ".join(f"{n} {reason}" for reason, n in corpus.dropped().items())
        raise DataError(f"{setting}: expected at least one pair, got none ({dropped or 'empty'})")
    return corpus
