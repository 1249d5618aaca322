"""Encoding and decoding without loss, training, storage and word assignment."""

from __future__ import annotations

import io
import random
import re
from collections import Counter
from pathlib import Path
from typing import Literal

import pytest
import sentencepiece

from nmt.config.sections.tokenizer import RESERVED_PIECES, TokenizerConfig
from nmt.core.run_dir import RunDir
from nmt.data.text.reservoir_sampling import reservoir_sample
from nmt.data.tokenizer.storage import load_tokenizers, read_tokenizer_meta, save_tokenizers
from nmt.data.tokenizer.tokenizer import BOS, EOS, PAD, UNK, TagIds, Tokenizer, Tokenizers
from nmt.data.tokenizer.training import train_tokenizer
from nmt.errors import DataError
from tests.support.paths import CORPORA

Type = Literal["unigram", "bpe", "char", "word"]
TYPES: tuple[Type, ...] = ("unigram", "bpe", "char", "word")

WORDS = "a dog sees the big cat and one man runs by two old boats with red sails over blue water"


def make_text(lines: int = 300) -> list[str]:
    rng = random.Random(1)
    return [" ".join(rng.choices(WORDS.split(), k=rng.randint(3, 9))) + "." for _ in range(lines)]


def train(type_: Type, vocab_size: int = 8000, exact: bool = False) -> Tokenizer:
    config = TokenizerConfig(type=type_, vocab_size=vocab_size)
    return Tokenizer(train_tokenizer(make_text(), config, exact, "the text"))


@pytest.fixture(scope="module", params=TYPES)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return train(request.param)


ODD = [
    "",
    " ",
    "   ",
    " a",
    "a ",
    "  a  dog   sees ",
    "\ta\tdog\t",
    "🎉 👩‍👩‍👧‍👦 🇩🇪",
    "ᚠᛇᚻ 𒀀𒁀 ꦗꦮ ⵣ 漢字 かな 한국어",
    "é \u00e9 e\u0301 ﬁ ² Å",
    "\x00\x01\x07\x1b\x7f\x80\x85",
    "a\u2028b\u2029c\vd\fe\x1cf",
    "\u00a0a\u202fb\u200bc\u00ad\ufeff",
    "\ufeffa",
    "a\r",
    "<reserved_3> </s>",
    "<s><pad><unk></s> <reserved_0>a",
    "<0x41><0x0A>",
    "@@ @-@ ## &amp;",
    "\U0010ffff\ufffd\ufffe",
    "x" * 3000,
]


@pytest.mark.parametrize("line", ODD, ids=ascii)
def test_decode_any_text_inverts_encode(tokenizer: Tokenizer, line: str) -> None:
    [tokens] = tokenizer.encode([line])
    assert tokenizer.decode(tokens) == line


@pytest.mark.parametrize("line", ["\u2581", "a\u2581b", "\u2581\u2581 a \u2581"], ids=ascii)
def test_decode_space_symbol_is_a_space(tokenizer: Tokenizer, line: str) -> None:
    [tokens] = tokenizer.encode([line])
    assert tokenizer.decode(tokens) == line.replace("\u2581", " ")


@pytest.mark.skipif(
    not (CORPORA / "oddities").is_dir(), reason="../shared/corpora/oddities is not here"
)
def test_decode_inverts_encode_of_real_oddities(tokenizer: Tokenizer) -> None:
    for name in ("odd.src", "odd.tgt"):
        lines = (CORPORA / "oddities" / name).read_bytes().decode().split("\n")
        decoded = [tokenizer.decode(tokens) for tokens in tokenizer.encode(lines)]
        assert decoded == [line.replace("\u2581", " ") for line in lines]


def test_tokenizer_special_pieces_have_the_first_ids(tokenizer: Tokenizer) -> None:
    assert (PAD, UNK, BOS, EOS) == (0, 1, 2, 3)
    assert (tokenizer.pad, tokenizer.bos, tokenizer.eos) == (PAD, BOS, EOS)
    assert tokenizer.pieces([PAD, UNK, BOS, EOS]) == ["<pad>", "<unk>", "<s>", "</s>"]


def test_tokenizer_reserved_pieces_are_never_output(tokenizer: Tokenizer) -> None:
    reserved = list(range(4, 4 + RESERVED_PIECES))
    assert tokenizer.pieces(reserved) == [f"<reserved_{i}>" for i in range(RESERVED_PIECES)]
    assert tokenizer.never_output == [PAD, BOS, *reserved]
    assert tokenizer.decode([PAD, BOS, *reserved, EOS]) == ""


def test_encode_text_never_gives_special_pieces(tokenizer: Tokenizer) -> None:
    lines = [*ODD, *(f"<reserved_{i}>" for i in range(RESERVED_PIECES)), *make_text()]
    token_ids = {token for tokens in tokenizer.encode(lines) for token in tokens}
    assert min(token_ids) >= 4 + RESERVED_PIECES
    assert max(token_ids) < tokenizer.vocab_size


def test_decode_ignores_special_pieces(tokenizer: Tokenizer) -> None:
    [tokens] = tokenizer.encode(["a dog runs"])
    mixed = [BOS, tokens[0], PAD, 4, *tokens[1:], EOS, PAD]
    assert tokenizer.decode(mixed) == "a dog runs"


def test_encode_does_not_depend_on_other_lines(tokenizer: Tokenizer) -> None:
    single = [tokenizer.encode([line])[0] for line in ODD]
    assert tokenizer.encode(ODD) == single


def test_encode_variants_return_the_same_tokens(tokenizer: Tokenizer) -> None:
    for tags in ((), (4, 5)):
        tagged = tokenizer.with_tags(tags)
        arrays = tagged.encode_arrays(ODD)
        assert [row.tolist() for row in arrays] == tagged.encode(ODD)
        assert [tagged.encode_with_words(line).tokens for line in ODD] == tagged.encode(ODD)
    assert tokenizer.encode_arrays([]) == []


def test_with_tags_puts_tags_before_every_line(tokenizer: Tokenizer) -> None:
    tags = tuple(tokenizer.reserved[1:3])
    tagged = tokenizer.with_tags(tags)
    for plain, row, line in zip(tokenizer.encode(ODD), tagged.encode(ODD), ODD, strict=True):
        assert row == [*tags, *plain]
        assert tagged.decode(row) == line
    assert tagged.with_tags(()).encode(ODD) == tokenizer.encode(ODD)
    encoding = tagged.encode_with_words("a dog runs")
    assert encoding.words == ["a", "dog", "runs"]
    assert encoding.word_ids[:3] == [3, 3, 0]
    assert encoding.pieces[:2] == ["<reserved_1>", "<reserved_2>"]


def reported_size(error: pytest.ExceptionInfo[DataError], bound: str) -> int:
    match = re.search(rf"expected at {bound} (\d+) for the text", str(error.value))
    assert match, error.value
    return int(match[1])


@pytest.mark.parametrize("type_", TYPES)
def test_train_too_large_size_reports_the_maximum(type_: Type) -> None:
    with pytest.raises(DataError, match=r"got 50000 \(leave it out") as caught:
        train(type_, 50_000, exact=True)
    maximum = reported_size(caught, "most")
    assert train(type_, maximum, exact=True).vocab_size == maximum
    with pytest.raises(DataError):
        train(type_, maximum + 1, exact=True)


@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("size", [10, 300])
def test_train_too_small_size_reports_the_minimum(type_: Type, size: int) -> None:
    with pytest.raises(DataError, match=rf"got {size} \(") as caught:
        train(type_, size, exact=True)
    minimum = reported_size(caught, "least")
    assert train(type_, minimum, exact=True).vocab_size == minimum
    with pytest.raises(DataError):
        train(type_, minimum - 1, exact=True)


@pytest.mark.parametrize("type_", TYPES)
def test_train_possible_size_is_used(type_: Type) -> None:
    size = train(type_).vocab_size - 2
    assert train(type_, size, exact=True).vocab_size == size


@pytest.mark.parametrize("type_", TYPES)
def test_train_inexact_size_is_reduced(type_: Type) -> None:
    assert 4 + RESERVED_PIECES + 256 < train(type_, 8000).vocab_size < 8000


@pytest.mark.parametrize("lines", [[], [""], ["", "  ", "\t"]])
def test_train_empty_text_is_an_error(lines: list[str]) -> None:
    with pytest.raises(DataError, match="the text: expected training text for a tokenizer"):
        train_tokenizer(lines, TokenizerConfig(), False, "the text")


@pytest.mark.parametrize("type_", TYPES)
def test_train_twice_gives_the_same_bytes(type_: Type) -> None:
    assert train(type_).model == train(type_).model


@pytest.mark.parametrize("type_", TYPES)
def test_train_odd_text_is_decoded_without_loss(type_: Type) -> None:
    config = TokenizerConfig(type=type_)
    tokenizer = Tokenizer(train_tokenizer(ODD * 3, config, False, "the text"))
    assert [tokenizer.decode(tokens) for tokens in tokenizer.encode(ODD)] == ODD


FOREIGN_SIZE = 40


def train_foreign(**options: int) -> bytes:
    """Train a SentencePiece model with default settings, as other toolkits do."""
    output = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(make_text()),
        model_writer=output,
        vocab_size=FOREIGN_SIZE,
        minloglevel=2,
        **options,
    )
    return output.getvalue()


def test_foreign_model_missing_pieces_get_the_last_ids() -> None:
    tokenizer = Tokenizer(train_foreign(pad_id=-1, bos_id=-1, eos_id=-1))
    new_ids = [tokenizer.pad, tokenizer.bos, tokenizer.eos]
    assert sorted(new_ids) == [FOREIGN_SIZE, FOREIGN_SIZE + 1, FOREIGN_SIZE + 2]
    assert tokenizer.vocab_size == FOREIGN_SIZE + 3
    assert tokenizer.pieces(new_ids) == [f"<{token}>" for token in new_ids]
    [tokens] = tokenizer.encode(["a dog runs"])
    assert max(tokens) < FOREIGN_SIZE
    assert tokenizer.decode([tokenizer.bos, *tokens, tokenizer.eos, tokenizer.pad]) == "a dog runs"
    assert set(tokenizer.never_output) == {tokenizer.pad, tokenizer.bos}


def test_foreign_model_special_pieces_keep_their_ids() -> None:
    tokenizer = Tokenizer(train_foreign())  # SentencePiece's defaults: unk 0, bos 1, eos 2, no pad
    assert (tokenizer.bos, tokenizer.eos, tokenizer.pad) == (1, 2, FOREIGN_SIZE)
    assert tokenizer.vocab_size == FOREIGN_SIZE + 1
    assert tokenizer.eos not in tokenizer.never_output


@pytest.mark.parametrize("content", [b"", b"junk", b"\x00" * 100, b"\x0a\x00"])
def test_tokenizer_load_other_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.model"
    file.write_bytes(content)
    with pytest.raises(
        DataError, match=r"a\.model: expected a SentencePiece model, got another file"
    ):
        Tokenizer.load(file)


def test_tokenizer_load_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.model: no such tokenizer model"):
        Tokenizer.load(tmp_path / "a.model")


def test_load_tokenizers_returns_saved_tokenizers(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert read_tokenizer_meta(run) is None
    unigram, char = train("unigram"), train("char")
    save_tokenizers(run, {"src": unigram.model, "tgt": char.model}, {"a": "b"})
    loaded = load_tokenizers(run)
    assert (loaded.src.model, loaded.tgt.model) == (unigram.model, char.model)
    assert not loaded.is_joint
    save_tokenizers(run, {"joint": char.model}, {"a": "c"})
    loaded = load_tokenizers(run)
    assert loaded.is_joint
    assert loaded.src.model == char.model
    meta = read_tokenizer_meta(run)
    assert meta is not None
    assert meta["a"] == "c"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tokenizer.json", "tokenizer.model"]


def test_is_joint_compares_models_without_tags() -> None:
    char, bpe = train("char"), train("bpe")
    joint = Tokenizers(char, Tokenizer(char.model))
    assert joint.is_joint
    assert joint.with_tags(TagIds((4, 5))).is_joint
    assert not Tokenizers(char, bpe).is_joint


@pytest.mark.parametrize(
    ("items", "size", "expected"), [(0, 3, 0), (2, 3, 2), (3, 3, 3), (50, 3, 3), (5, 1, 1)]
)
def test_reservoir_sample_has_distinct_items(items: int, size: int, expected: int) -> None:
    sample = reservoir_sample(iter(range(items)), size, seed=1)
    assert len(sample) == len(set(sample)) == expected
    assert set(sample) <= set(range(items))


def test_reservoir_sample_of_all_items_keeps_order() -> None:
    assert reservoir_sample(range(7), 7, seed=1) == list(range(7))


def test_reservoir_sample_depends_on_seed_only() -> None:
    samples = [reservoir_sample(range(1000), 10, seed) for seed in (1, 1, 2)]
    assert samples[0] == samples[1]
    assert samples[0] != samples[2]


def test_reservoir_sample_is_uniform() -> None:
    rounds, items, size = 3000, 20, 5
    counts = Counter(
        i for seed in range(rounds) for i in reservoir_sample(range(items), size, seed)
    )
    # Each count is binomial(3000, 1/4): mean 750, deviation 23.7; at most six deviations.
    assert all(abs(counts[i] - rounds * size / items) < 6 * 23.7 for i in range(items))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("The dog's café.", ["The", "dog's", "café."]),
        ("  two  spaces ", ["two", "spaces"]),
        ("\u3000a\u00a0b c", ["\u3000a\u00a0b", "c"]),  # only blanks separate words
        ("家 👨\u200d👩\u200d👧 🇫🇷 ok", ["家", "👨\u200d👩\u200d👧", "🇫🇷", "ok"]),
        ("", []),
        ("   ", []),
    ],
)
def test_encode_with_words_assigns_pieces_to_words(
    tokenizer: Tokenizer, line: str, words: list[str]
) -> None:
    for encoding in (
        tokenizer.encode_with_words(line),
        tokenizer.decode_with_words(tokenizer.encode([line])[0]),
    ):
        assert encoding.words == words
        assert encoding.tokens == tokenizer.encode([line])[0]
        assert len(encoding.pieces) == len(encoding.word_ids) == len(encoding.tokens)
        assert encoding.word_ids == sorted(encoding.word_ids)
        for i, word in enumerate(words):
            pairs = zip(encoding.tokens, encoding.word_ids, strict=True)
            word_tokens = [token for token, word_id in pairs if word_id == i]
            assert tokenizer.decode(word_tokens).strip(" ") == word
