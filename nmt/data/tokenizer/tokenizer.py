"""Train SentencePiece models; encode and decode text without loss.

Every trained model reserves pieces 0 to 3 (pad, unk, bos, eos) and a block of pieces for tags
(`nmt.config.schema.known_tags`). Unknown characters are encoded as bytes. Text is normalized only
by the steps of `tokenizer.normalization` (`nmt.data.text.normalization`). All spaces are kept, also
repeated, leading and trailing ones. The only exception is U+2581, SentencePiece's own sign for a
space, which is decoded as a space.
"""

from __future__ import annotations

import copy
import io
import json
import random
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from nmt.config.schema import RESERVED_PIECES, TokenizerConfig
from nmt.core import files
from nmt.core.ownership import refusal, require_inside
from nmt.core.run_dir import FORMAT_VERSION, RunDir, read_json
from nmt.data.text.normalization import Normalizer, Normalizers, load_normalizers
from nmt.data.text.offset_mapping import Aligned
from nmt.data.text.reader import one_line
from nmt.data.tokenizer import validation
from nmt.data.tokenizer.long_lines import trainable_lines
from nmt.data.tokenizer.sampling import SPACE_SIGN, Sampler
from nmt.errors import DataError, RunError

PAD, UNK, BOS, EOS = 0, 1, 2, 3
BYTE_PIECES = 256
UNFINISHED: dict[str, object] = {"settings": {}, "inputs": []}
"""Record of tokenizers that are being written."""

T = TypeVar("T")


class Tokenizer:
    """One SentencePiece model: text to token ids and back, losing nothing.

    A model from elsewhere may lack pad, bos or eos; those get ids above its own pieces. `tags` are
    token ids put before every line. `normalizer` rewrites every line before it is encoded.
    """

    def __init__(
        self,
        model: bytes,
        name: str = "tokenizer",
        tags: tuple[int, ...] = (),
        normalizer: Normalizer | None = None,
    ) -> None:
        self.model, self.tags, self.normalizer = model, tags, normalizer
        try:
            self._processor = sentencepiece.SentencePieceProcessor()
            self._processor.LoadFromSerializedProto(model)
        except RuntimeError:
            raise DataError(f"{name}: expected a SentencePiece model, got another file") from None
        own = self._processor
        ids = {"pad": own.pad_id(), "bos": own.bos_id(), "eos": own.eos_id()}
        size = int(own.get_piece_size())
        for kind, number in ids.items():
            if number < 0:
                ids[kind] = size
                size += 1
        self.pad, self.bos, self.eos = ids["pad"], ids["bos"], ids["eos"]
        self.unk = int(own.unk_id())
        self._samplers: list[Sampler] = []
        self.vocab_size = size
        controls = [i for i in range(own.get_piece_size()) if own.is_control(i)]
        self.reserved = [i for i in controls if own.id_to_piece(i).startswith("<reserved_")]
        self._silent = {self.pad, self.bos, self.eos, *controls}
        self.never_output = sorted(self._silent - {self.eos})

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[Any, ...]]:
        """Go to another process as the model's bytes."""
        return type(self), (self.model, "tokenizer", self.tags, self.normalizer)

    def tagged(self, tags: tuple[int, ...]) -> Tokenizer:
        """Return this tokenizer with these tags before every line, and no others."""
        other = copy.copy(self)
        other.tags = tags
        return other

    def normalized_by(self, normalizer: Normalizer | None) -> Tokenizer:
        """Return this tokenizer with another normalizer; None for text that is normalized.

        Both share the loaded model, so this is cheap.
        """
        if normalizer is self.normalizer:
            return self
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.normalizer = normalizer
        return other

    def normalize(self, line: str) -> str:
        """Return a line as it is encoded."""
        return line if self.normalizer is None else self.normalizer(line)

    def is_blank(self, line: str) -> bool:
        """Return whether nothing but blanks is left of a line once it is normalized."""
        return not self.normalize(line).strip()

    @classmethod
    def load(cls, file: Path) -> Tokenizer:
        """Read a SentencePiece model file; see `nmt.data.tokenizer.validation`."""
        return cls(validation.begin(file).result(), str(file))

    def encode(self, lines: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each line, without bos and eos."""
        encoded: list[list[int]] = self._processor.encode([self.normalize(line) for line in lines])
        return [[*self.tags, *row] for row in encoded] if self.tags else encoded

    def arrays(self, lines: Sequence[str]) -> list[NDArray[np.int32]]:
        """Return the token ids of each line as an array: the fast way for many lines."""
        if not lines:
            return []
        texts = [self.normalize(line) for line in lines]
        rows: list[NDArray[np.int32]] = self._processor.encode(texts, return_type="numpy")
        if not self.tags:
            return rows
        tags = np.array(self.tags, np.int32)
        return [np.concatenate([tags, row]) for row in rows]

    def sampled(self, line: str, alpha: float, rng: random.Random) -> list[int]:
        """Return one way to cut a line, drawn by chance; see `Sampler.draw`."""
        return [*self.tags, *self._sampler().draw(self.normalize(line), alpha, rng)]

    def _sampler(self) -> Sampler:
        """Return what draws; made once for all that share the model, whatever their tags."""
        if not self._samplers:
            self._samplers.append(Sampler(self._processor))
        return self._samplers[0]

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of token ids; pad, bos, eos and reserved pieces add nothing."""
        known = [token for token in tokens if token not in self._silent]
        text = str(self._processor.decode(known)).replace(SPACE_SIGN, " ")
        # The space that SentencePiece puts before a line is dropped by its decoder, except where
        # that space had to be spelled in bytes (models of whole words).
        if known and self.is_byte(known[0]):
            text = text.removeprefix(" ")
        return text

    def cut(self, line: str) -> Cut:
        """Cut a line into pieces, each with the word it belongs to.

        Words are those of the line as it is, whatever normalization makes of them.
        """
        aligned = None if self.normalizer is None else self.normalizer.aligned(line)
        text = line if aligned is None else aligned.text
        encoded = self._processor.encode(text, return_type="offset_mapping")
        cut = _assign_words(line, encoded, aligned)
        if not self.tags:
            return cut
        return replace(
            cut,
            tokens=[*self.tags, *cut.tokens],
            pieces=[*self.pieces(self.tags), *cut.pieces],
            word_of=[*[len(cut.words)] * len(self.tags), *cut.word_of],
        )

    def cut_tokens(self, tokens: Sequence[int]) -> Cut:
        """Do the same for the text of token ids, which may be cut otherwise than `cut` would."""
        found = self._processor.decode(list(tokens), return_type="offset_mapping")
        cut = _assign_words(found["text"].replace(SPACE_SIGN, " "), found)
        return replace(cut, text=one_line(self.decode(tokens)))

    def is_byte(self, token: int) -> bool:
        """Tell whether a token spells one byte."""
        return token < self._processor.get_piece_size() and self._processor.is_byte(token)

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """Return the pieces as text, for people to read."""
        size = self._processor.get_piece_size()
        return [self._processor.id_to_piece(t) if t < size else f"<{t}>" for t in tokens]


WORD = re.compile(r"[^ \t\r\n]+")
"""A word of word alignments: what stands between blanks. No other white space ends one."""


@dataclass(frozen=True)
class Cut:
    """A line cut into pieces."""

    text: str
    tokens: list[int]
    """Without eos."""
    pieces: list[str]
    words: list[str]
    word_of: list[int]
    """The word of each piece, by index; the number of words for tags, and for blanks at the end."""


def _assign_words(text: str, encoded: dict[str, Any], aligned: Aligned | None = None) -> Cut:
    """Give each piece the word of its last letter; a piece of blanks the word that follows.

    `encoded` is SentencePiece's offset mapping, in `aligned.text` if the text was normalized. Of
    the bytes that spell a character only the last covers it; those before have no width.
    """
    words = list(WORD.finditer(text))
    ends = [word.end() for word in words]
    read = text if aligned is None else aligned.text
    word_of = []
    for begin, end in encoded["offsets"]:
        letters = read[begin:end].rstrip(" \t\r\n")
        last = begin + len(letters) - 1 if letters else end
        if aligned is not None:
            last = aligned.last_character(last, len(text))
        word_of.append(bisect_right(ends, last))
    return Cut(text, encoded["ids"], encoded["pieces"], [word.group() for word in words], word_of)


@dataclass(frozen=True)
class Tokenizers:
    """The tokenizers of both sides; one and the same object where they are joint."""

    src: Tokenizer
    tgt: Tokenizer

    @property
    def joint(self) -> bool:
        """Whether both sides share one vocabulary."""
        return self.src.model == self.tgt.model

    @property
    def normalizers(self) -> Normalizers:
        """The normalizers of both sides."""
        return self.src.normalizer, self.tgt.normalizer

    def count_source(self, text: str) -> int:
        """Return the number of source tokens of a text, end of sentence excluded."""
        [tokens] = self.src.encode([text])
        return len(tokens)

    def count_pair(self, source: str, target: str) -> tuple[int, int]:
        """Return the numbers of source and target tokens of a pair, ends excluded."""
        [tokens] = self.tgt.encode([target])
        return self.count_source(source), len(tokens)

    def normalized_by(self, normalizers: Normalizers) -> Tokenizers:
        """Return these with other normalizers."""
        src, tgt = normalizers
        return Tokenizers(self.src.normalized_by(src), self.tgt.normalized_by(tgt))

    def tagged(self, tags: tuple[int, ...]) -> Tokenizers:
        """Return these with token ids before every source, and the languages of these tags."""
        tokenizers = Tokenizers(self.src.tagged(tags), self.tgt)
        src, tgt = self.normalizers
        return tokenizers.normalized_by((src and src.tagged(tags), tgt and tgt.tagged(tags)))


def load_tokenizers(run: RunDir) -> Tokenizers:
    """Read the tokenizers of a run folder."""
    return tokenizers_ahead(run)()


def tokenizers_ahead(run: RunDir) -> Callable[[], Tokenizers]:
    """Begin to check the tokenizers of a run folder; return what waits for them and loads them."""
    if run.tokenizer_joint.is_file():
        places = [run.tokenizer_joint]
    else:
        places = [run.tokenizer_src, run.tokenizer_tgt]
    begun = [(place, validation.begin(place)) for place in places]

    def loaded() -> Tokenizers:
        found = [Tokenizer(model.result(), str(place)) for place, model in begun]
        return Tokenizers(found[0], found[-1]).normalized_by(load_normalizers(run))

    return loaded


def tag_ids(
    tokenizer: Tokenizer, known: Sequence[tuple[str, str]], tags: Mapping[str, str]
) -> tuple[int, ...]:
    """Return the reserved pieces of tags, in the order of `known`; DataError where none is kept."""
    places = sorted(known.index(tag) for tag in tags.items())
    ids = tokenizer.reserved
    if places and places[-1] >= len(ids):
        raise DataError(
            f"tokenizer.model: expected {len(known)} reserved pieces for tags "
            f"(<reserved_0>, <reserved_1>, ...), got {len(ids)}"
        )
    return tuple(ids[place] for place in places)


def sample_items(items: Iterable[T], size: int, seed: int) -> list[T]:
    """Return a uniform sample of at most `size` items (Vitter's algorithm R), seeded."""
    stream = iter(items)
    sample = list(islice(stream, size))
    rng = random.Random(seed)
    for number, item in enumerate(stream, size):
        place = rng.randrange(number + 1)
        if place < size:
            sample[place] = item
    return sample


class VocabSizeError(DataError):
    """A vocabulary size that the training text does not allow."""

    def __init__(self, limits: Sequence[str], advice: str) -> None:
        """Keep the limit of each side, so that those of both sides can be reported together."""
        self.limits, self.advice = list(limits), advice
        super().__init__(f"tokenizer.vocab_size: {'; '.join(limits)} ({advice})")


def train_tokenizer(
    lines: Sequence[str], config: TokenizerConfig, exact: bool, name: str, side: str = "joint"
) -> bytes:
    """Train a SentencePiece model on `lines` and return it.

    With `exact`, a corpus too small for `config.vocab_size` is a VocabSizeError that names the
    largest possible size; else the largest possible size is used. `side` chooses from sizes per
    side.
    """
    if not any(line.strip() for line in lines):
        raise DataError(f"{name}: the training text is empty; a tokenizer needs some")
    asked = config.size_of(side)
    try:
        model = _sentencepiece(lines, config.type, asked, exact)
        largest = Tokenizer(model).vocab_size  # a char model just takes what there is
    except (RuntimeError, OSError) as error:
        found = re.search(r"value <= (\d+)", str(error))
        largest = int(found[1]) if found else asked
        least = _least_size(lines, config.type)
        if asked < least:
            raise VocabSizeError(
                [f"expected at least {least} for {name}, got {asked}"],
                f"special and reserved pieces, {BYTE_PIECES} bytes and the characters",
            ) from None
        if not found:
            raise DataError(f"{name}: SentencePiece cannot train on this text: {error}") from None
    if exact and largest < asked:
        raise VocabSizeError(
            [f"expected at most {largest} for {name}, got {asked}"],
            "leave it out for the largest possible size",
        )
    return model


def _sentencepiece(lines: Sequence[str], kind: str, vocab_size: int, exact: bool) -> bytes:
    output = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=trainable_lines(lines),
        model_writer=output,
        model_type=kind,
        vocab_size=vocab_size,
        hard_vocab_limit=exact,
        byte_fallback=True,
        character_coverage=0.9995,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        pad_id=PAD,
        unk_id=UNK,
        bos_id=BOS,
        eos_id=EOS,
        control_symbols=[f"<reserved_{i}>" for i in range(RESERVED_PIECES)],
        num_threads=1,  # the model must not depend on how many cores train it
        minloglevel=2,
    )
    return validation.vouch(output.getvalue())


def _least_size(lines: Sequence[str], kind: str) -> int:
    """Return the smallest vocabulary that `lines` can be trained with."""
    fixed = 4 + RESERVED_PIECES + BYTE_PIECES
    try:
        _sentencepiece(lines, kind, fixed, exact=False)
    except RuntimeError as error:
        found = re.search(r"required_chars\. \d+ vs (\d+)", str(error))
        return int(found[1]) if found else fixed
    return fixed


def save_tokenizers(run: RunDir, models: dict[str, bytes], meta: dict[str, object]) -> None:
    """Write tokenizer models ("joint", or "src" and "tgt") and what they were made from.

    A record comes first, so that models left by a killed process are known to be nmt's.
    """
    if not run.tokenizer_meta.is_file():
        save_meta(run, UNFINISHED)
    places = {"joint": run.tokenizer_joint, "src": run.tokenizer_src, "tgt": run.tokenizer_tgt}
    for kind, place in places.items():
        if kind in models:
            files.write_bytes(place, models[kind])
        else:
            files.remove(place)
    save_meta(run, meta)


def save_meta(run: RunDir, meta: Mapping[str, object]) -> None:
    """Write what the tokenizers of a run were made from."""
    text = json.dumps({"format_version": FORMAT_VERSION, **meta}, indent=1, ensure_ascii=False)
    files.write_text(run.tokenizer_meta, text + "\n")


def check_tokenizers_writable(run: RunDir) -> None:
    """Raise RunError if writing the tokenizers would replace files that nmt did not write."""
    models = (run.tokenizer_joint, run.tokenizer_src, run.tokenizer_tgt, run.normalization)
    require_inside(run, *models, run.tokenizer_meta)
    if saved_meta(run) is None and (foreign := [file for file in models if file.exists()]):
        raise RunError(f"{run.path}: {refusal(foreign)}")


def tokenizers_there(run: RunDir) -> bool:
    """Tell whether the run folder holds the tokenizers of both sides."""
    both = run.tokenizer_src.is_file() and run.tokenizer_tgt.is_file()
    return run.tokenizer_joint.is_file() or both


def saved_meta(run: RunDir) -> dict[str, Any] | None:
    """Return what `save_tokenizers` recorded, or None where there is no tokenizer yet.

    Raises RunError if the file is not one of nmt, for example a tokenizer.json of Hugging Face.
    """
    if not run.tokenizer_meta.is_file():
        return None
    meta = read_json(run.tokenizer_meta)
    if "format_version" not in meta:
        raise RunError(
            f"{run.tokenizer_meta}: expected the record of a tokenizer that nmt trained, got "
            "another file (move it away, or name another folder with --run)"
        )
    return meta
