"""A prepared corpus: files a person can open, read through memory maps.

    corpus/train/0/meta.json                    of one text set: counts, drops, fingerprints
    corpus/train/0/manifest.json                size and SHA-256 of each file
    corpus/train/0/dropped.tsv                  the pairs that were dropped, with the reason
    corpus/train/0/00000/src.tokens.npy         token ids end to end
    corpus/train/0/00000/src.offsets.npy        where each line begins among them
    corpus/train/0/00000/src.txt                the text of the same lines
    corpus/train/0/00000/src.places.npy         the byte where each of them begins
    corpus/train/0/00000/tgt...                 the same of the other side
    corpus/train/0/00000/links.{tokens,offsets}.npy   word alignments, where there are any

Each text set of the config has a folder, cut into shards of about SHARD pairs. `offsets` has one
entry more than there are lines; line i is tokens[offsets[i]:offsets[i + 1]], without bos and eos.
Links are pairs of places in a line, source token and target token in turn.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmt.core import files
from nmt.core.manifest import MARK, verified, write_manifest
from nmt.core.ownership import new_folder
from nmt.core.run_dir import FORMAT_VERSION, read_json
from nmt.data.corpus.filters import DropLog, DuplicateFilter
from nmt.data.corpus.preprocessing import (
    LINKS,
    SIDES,
    PreparedChunk,
    Preprocessor,
    RawChunk,
    drop_duplicates,
    prepare_chunks,
)
from nmt.errors import DataError, RunError

META = "meta.json"
DROPPED = "dropped.tsv"
SHARD = 2**18

Ids = NDArray[np.integer[Any]]
Places = NDArray[np.int64]


class Shard:
    """Some consecutive pairs of a corpus; tokens stay on disk until a row is asked for."""

    def __init__(self, folder: Path, rows: Sequence[str]) -> None:
        self.folder = folder
        self.tokens = {s: _load(folder / f"{s}.tokens.npy") for s in rows}
        self.offsets = {s: _load(folder / f"{s}.offsets.npy") for s in rows}
        for side in rows:
            offsets, end = self.offsets[side], len(self.tokens[side])
            if not len(offsets) or offsets[0] != 0 or offsets[-1] != end:
                raise RunError(
                    f"{folder}: expected {side}.offsets.npy to match {side}.tokens.npy, "
                    "got another length"
                )
        counts = [len(self.offsets[side]) - 1 for side in rows]
        if len(set(counts)) > 1:
            raise RunError(
                f"{folder}: expected the same number of lines on both sides, got "
                + " and ".join(map(str, counts))
            )

    def __len__(self) -> int:
        return len(self.offsets["src"]) - 1

    def row(self, name: str, i: int) -> Ids:
        """Return row `i` of "src", "tgt" or "links"."""
        offsets = self.offsets[name]
        return self.tokens[name][offsets[i] : offsets[i + 1]]

    def text(self, side: str) -> bytes:
        """Return the text of one side."""
        return (self.folder / f"{side}.txt").read_bytes()

    def lines(self, side: str) -> list[str]:
        """Return the lines of one side; RunError where the text is not what it was."""
        found = self._decoded(side, self.text(side)).split("\n")[:-1]
        if len(found) != len(self):
            raise RunError(
                f"{self.folder}/{side}.txt: expected {len(self)} lines, got {len(found)}"
            )
        return found

    def _decoded(self, side: str, text: bytes) -> str:
        try:
            return text.decode()
        except UnicodeDecodeError:
            raise RunError(f"{self.folder}/{side}.txt: expected UTF-8, got damaged text") from None

    def texts(self, side: str, rows: Places) -> list[str]:
        """Return these lines of one side."""
        places = _load(self.folder / f"{side}.places.npy")
        with open(self.folder / f"{side}.txt", "rb") as stream:
            found = []
            for begin, end in zip(places[rows].tolist(), places[rows + 1].tolist(), strict=True):
                stream.seek(begin)
                found.append(self._decoded(side, stream.read(end - begin - 1)))
        return found


class Corpus:
    """The prepared pairs of one text set or several, end to end."""

    def __init__(self, *folders: Path) -> None:
        self.folders = folders
        self.metas = [read_json(folder / META) for folder in folders]
        self.aligned: bool = any(meta["aligned"] for meta in self.metas)
        rows = (*SIDES, LINKS) if self.aligned else SIDES
        self.shards = [
            Shard(folder / f"{number:05d}", rows)
            for folder, meta in zip(folders, self.metas, strict=True)
            for number in range(meta["shards"])
        ]
        self._starts = np.cumsum([0, *map(len, self.shards)])

    @classmethod
    def load(cls, folder: Path) -> Corpus:
        """Open all text sets below a folder; RunError where there is none, or not as prepared."""
        sets = [path for path in folder.glob("*") if path.name.isdecimal()]
        if not sets or not all(map(is_complete, sets)):
            raise RunError(f"{folder}: no prepared text; `nmt prepare` makes it from the config")
        for path in sets:
            verified(path / META)
        return cls(*sorted(sets, key=lambda path: int(path.name)))

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def sizes(self) -> list[int]:
        """The pairs of each text set."""
        return [meta["pairs"] for meta in self.metas]

    @property
    def tags(self) -> list[tuple[int, ...]]:
        """Of each text set, the token ids before every source."""
        return [tuple(meta["tag_ids"]) for meta in self.metas]

    def total(self, key: str) -> int:
        """Add up a count of all text sets, such as tgt_tokens."""
        return sum(meta[key] for meta in self.metas)

    def multi_sentence_share(self) -> float | None:
        """Return the share of pairs whose source holds several sentences.

        None if a text set was prepared by a release that did not count them.
        """
        counts = [meta.get("multi_sentence") for meta in self.metas]
        known = [count for count in counts if count is not None]
        return sum(known) / max(len(self), 1) if len(known) == len(counts) else None

    def dropped(self) -> dict[str, int]:
        """Return how many pairs were dropped, by reason."""
        counts: dict[str, int] = {}
        for meta in self.metas:
            for reason, count in meta["dropped"].items():
                counts[reason] = counts.get(reason, 0) + count
        return counts

    def row(self, name: str, i: int) -> Ids:
        """Return the token ids of line `i` of one side."""
        number = int(np.searchsorted(self._starts, i, "right")) - 1
        return self.shards[number].row(name, i - int(self._starts[number]))

    def links(self, i: int) -> Ids:
        """Return the links of line `i`, n x 2: places of a source and of a target token."""
        return self.row(LINKS, i).reshape(-1, 2)

    def pairs(self) -> Iterator[tuple[list[int], list[int]]]:
        """Yield the token ids of both sides, line by line."""
        for shard in self.shards:
            for i in range(len(shard)):
                yield shard.row("src", i).tolist(), shard.row("tgt", i).tolist()

    def lengths(self, side: str, rows: Places | None = None) -> NDArray[np.int64]:
        """Return the number of tokens of these lines (or all), without bos and eos."""
        if rows is None:
            parts = [np.diff(shard.offsets[side]) for shard in self.shards]
            return np.concatenate(parts or [np.empty(0, np.int64)])
        found = np.empty(len(rows), np.int64)
        for shard, chosen, within in self._by_shard(rows):
            offsets = shard.offsets[side]
            found[chosen] = offsets[within + 1] - offsets[within]
        return found

    def lines(self, side: str) -> list[str]:
        """Return the text of one side."""
        return [line for shard in self.shards for line in shard.lines(side)]

    def texts(self, side: str, rows: Places) -> list[str]:
        """Return the text of these lines of one side."""
        found = [""] * len(rows)
        for shard, chosen, within in self._by_shard(rows):
            for i, text in zip(chosen.tolist(), shard.texts(side, within), strict=True):
                found[i] = text
        return found

    def corpus_rows(self, rows: Places) -> Places:
        """Return which pairs of the corpus these are: themselves."""
        return rows

    def locations(self, rows: Sequence[int]) -> list[tuple[str, int]]:
        """Return the file of the source text in which each row stands, and its line, from 1."""
        numbers = np.searchsorted(self._starts, rows, "right") - 1
        return [
            (str(self.shards[number].folder / "src.txt"), row - int(self._starts[number]) + 1)
            for row, number in zip(rows, numbers.tolist(), strict=True)
        ]

    def _by_shard(self, rows: Places) -> Iterator[tuple[Shard, Places, Places]]:
        """Yield, for each shard with any of the rows, which they are and their places in it."""
        order = np.argsort(rows, kind="stable")
        cuts = np.searchsorted(rows[order], self._starts)
        for shard, start, begin, end in zip(
            self.shards, self._starts.tolist(), cuts.tolist(), cuts[1:].tolist(), strict=False
        ):
            if begin < end:
                chosen = order[begin:end]
                yield shard, chosen, rows[chosen] - start


class _ShardWriter:
    """Gathers blocks and writes them as shards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shards = self.pairs = self.multi_sentence = 0
        self.tokens = dict.fromkeys(SIDES, 0)
        self.aligned = False
        self._blocks: list[PreparedChunk] = []
        self._waiting = 0

    def add(self, block: PreparedChunk) -> None:
        """Add the pairs of a block."""
        if len(block):
            self._blocks.append(block)
            self._waiting += len(block)
            self.multi_sentence += int(block.multi_sentence.sum())
        if self._waiting >= SHARD:
            self.flush()

    def flush(self) -> None:
        """Write what is gathered."""
        if not self._blocks:
            return
        folder = self.folder / f"{self.shards:05d}"
        for name in self._blocks[0].rows:
            rows = [block.rows[name] for block in self._blocks]
            offsets = _offsets([each.lengths for each in rows])
            if name.endswith(".txt"):
                with files.open_atomic(folder / name) as stream:
                    for each in rows:
                        stream.write(each.values.tobytes())
                _save(folder / f"{name.removesuffix('.txt')}.places.npy", offsets)
                continue
            _save(folder / f"{name}.tokens.npy", np.concatenate([each.values for each in rows]))
            _save(folder / f"{name}.offsets.npy", offsets)
            if name in self.tokens:
                self.tokens[name] += int(offsets[-1])
        self.aligned = LINKS in self._blocks[0].rows
        self.shards += 1
        self.pairs += self._waiting
        self._blocks, self._waiting = [], 0


def _offsets(lengths: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(lengths))])


def build_corpus(
    chunks: Iterable[RawChunk],
    job: Preprocessor,
    folder: Path,
    meta: dict[str, Any],
    cores: int = 1,
    duplicates: DuplicateFilter | None = None,
) -> Corpus:
    """Tokenize a text set into `folder`, which appears only when it is whole.

    What the job drops is counted by reason in `meta.json` and written to `dropped.tsv`. Aligned
    pairs have links between words, which become links between tokens.
    """
    with new_folder(folder) as temporary:
        with ExitStack() as stack:
            dropped = None
            if job.max_length is not None:
                dropped = stack.enter_context(files.open_atomic(temporary / DROPPED))
            drops = DropLog(dropped)
            writer = _ShardWriter(temporary)
            for block in drop_duplicates(prepare_chunks(chunks, job, cores), drops, duplicates):
                writer.add(block)
            writer.flush()
        counts = {
            "format_version": FORMAT_VERSION,
            "pairs": writer.pairs,
            "shards": writer.shards,
            "src_tokens": writer.tokens["src"],
            "tgt_tokens": writer.tokens["tgt"],
            "dropped": dict(drops.counts),
            "multi_sentence": None if job.language is None else writer.multi_sentence,
            "aligned": writer.aligned,
            "tag_ids": list(job.tokenizers.src.tags) if job.tokenizers else [],
        }
        text = json.dumps(counts | meta | MARK, indent=1, ensure_ascii=False)
        files.write_text(temporary / META, text + "\n")
        write_manifest(temporary)
    return Corpus(folder)


def _load(path: Path) -> Ids:
    """Map an array of whole numbers into memory; RunError where it is damaged."""
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, TokenError) as error:
        raise RunError(f"{path}: expected a numpy array, got a damaged file: {error}") from None
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind not in "iu":
        raise RunError(f"{path}: expected a list of whole numbers, got another array")
    return values


def _save(path: Path, values: Ids) -> None:
    with files.open_atomic(path) as stream:
        np.save(stream, values, allow_pickle=False)


def is_complete(folder: Path) -> bool:
    """Tell whether a text set stands in `folder` with all its files."""
    if not (folder / META).is_file():
        return False
    meta = read_json(folder / META)
    rows = (*SIDES, LINKS) if meta.get("aligned") else SIDES
    names = [f"{name}.{kind}.npy" for name in rows for kind in ("tokens", "offsets")]
    names += [f"{side}.{kind}" for side in SIDES for kind in ("txt", "places.npy")]
    if "manifest" in meta and not (folder / meta["manifest"]).is_file():
        return False
    return "shards" in meta and all(
        (folder / f"{number:05d}" / name).is_file()
        for number in range(meta["shards"])
        for name in names
    )


def require_pairs(corpus: Corpus, what: str) -> Corpus:
    """Return the corpus, or raise DataError where no pair is left in it."""
    if len(corpus) == 0:
        dropped = ", ".join(f"{n} {reason}" for reason, n in corpus.dropped().items())
        raise DataError(f"{what}: expected at least one pair, got none ({dropped or 'empty'})")
    return corpus
