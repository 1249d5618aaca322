"""Nothing is lost between text and token ids, and every size that is named works."""

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
from nmt.data.tokenizer.tokenizer import BOS, EOS, PAD, UNK, Tokenizer, Tokenizers
from nmt.data.tokenizer.training import train_tokenizer
from nmt.errors import DataError

CORPORA = Path(__file__).resolve().parents[2] / ".." / "shared" / "corpora"

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
def test_no_text_is_changed(tokenizer: Tokenizer, line: str) -> None:
    [tokens] = tokenizer.encode([line])
    assert tokenizer.decode(tokens) == line


@pytest.mark.parametrize("line", ["\u2581", "a\u2581b", "\u2581\u2581 a \u2581"], ids=ascii)
def test_the_sign_for_a_space_comes_back_as_a_space(tokenizer: Tokenizer, line: str) -> None:
    [tokens] = tokenizer.encode([line])
    assert tokenizer.decode(tokens) == line.replace("\u2581", " ")


@pytest.mark.skipif(
    not (CORPORA / "oddities").is_dir(), reason="../shared/corpora/oddities is not here"
)
def test_real_oddities_come_back(tokenizer: Tokenizer) -> None:
    for name in ("odd.src", "odd.tgt"):
        lines = (CORPORA / "oddities" / name).read_bytes().decode().split("\n")
        back = [tokenizer.decode(tokens) for tokens in tokenizer.encode(lines)]
        assert back == [line.replace("\u2581", " ") for line in lines]


def test_the_special_ids_are_the_first_four(tokenizer: Tokenizer) -> None:
    assert (PAD, UNK, BOS, EOS) == (0, 1, 2, 3)
    assert (tokenizer.pad, tokenizer.bos, tokenizer.eos) == (PAD, BOS, EOS)
    assert tokenizer.pieces([PAD, UNK, BOS, EOS]) == ["<pad>", "<unk>", "<s>", "</s>"]


def test_reserved_pieces_follow_and_are_never_output(tokenizer: Tokenizer) -> None:
    reserved = list(range(4, 4 + RESERVED_PIECES))
    assert tokenizer.pieces(reserved) == [f"<reserved_{i}>" for i in range(RESERVED_PIECES)]
    assert tokenizer.never_output == [PAD, BOS, *reserved]
    assert tokenizer.decode([PAD, BOS, *reserved, EOS]) == ""


def test_text_never_becomes_a_special_reserved_or_unknown_piece(tokenizer: Tokenizer) -> None:
    lines = [*ODD, *(f"<reserved_{i}>" for i in range(RESERVED_PIECES)), *make_text()]
    used = {token for tokens in tokenizer.encode(lines) for token in tokens}
    assert min(used) >= 4 + RESERVED_PIECES
    assert max(used) < tokenizer.vocab_size


def test_special_pieces_inside_a_line_add_nothing(tokenizer: Tokenizer) -> None:
    [tokens] = tokenizer.encode(["a dog runs"])
    mixed = [BOS, tokens[0], PAD, 4, *tokens[1:], EOS, PAD]
    assert tokenizer.decode(mixed) == "a dog runs"


def test_a_line_encodes_alike_alone_and_among_others(tokenizer: Tokenizer) -> None:
    together = tokenizer.encode(ODD)
    assert [tokenizer.encode([line])[0] for line in ODD] == together


def test_arrays_are_the_rows_that_encode_gives(tokenizer: Tokenizer) -> None:
    for tags in ((), (4, 5)):
        tagged = tokenizer.with_tags(tags)
        arrays = tagged.encode_arrays(ODD)
        assert [row.tolist() for row in arrays] == tagged.encode(ODD)
        assert [tagged.encode_with_words(line).tokens for line in ODD] == tagged.encode(ODD)
    assert tokenizer.encode_arrays([]) == []


def test_tags_stand_before_every_line_and_add_nothing_to_its_text(tokenizer: Tokenizer) -> None:
    tags = tuple(tokenizer.reserved[1:3])
    tagged = tokenizer.with_tags(tags)
    for plain, row, line in zip(tokenizer.encode(ODD), tagged.encode(ODD), ODD, strict=True):
        assert row == [*tags, *plain]
        assert tagged.decode(row) == line
    assert tagged.with_tags(()).encode(ODD) == tokenizer.encode(ODD)
    cut = tagged.encode_with_words("a dog runs")
    assert cut.words == ["a", "dog", "runs"]
    assert cut.word_ids[:3] == [3, 3, 0]
    assert cut.pieces[:2] == ["<reserved_1>", "<reserved_2>"]


def named_size(error: pytest.ExceptionInfo[DataError], bound: str) -> int:
    found = re.search(rf"expected at {bound} (\d+) for the text", str(error.value))
    assert found, error.value
    return int(found[1])


@pytest.mark.parametrize("type_", TYPES)
def test_too_many_pieces_names_the_most_possible_and_that_works(type_: Type) -> None:
    with pytest.raises(DataError, match=r"got 50000 \(leave it out") as caught:
        train(type_, 50_000, exact=True)
    most = named_size(caught, "most")
    assert train(type_, most, exact=True).vocab_size == most
    with pytest.raises(DataError):
        train(type_, most + 1, exact=True)


@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("size", [10, 300])
def test_too_few_pieces_names_the_least_possible_and_that_works(type_: Type, size: int) -> None:
    with pytest.raises(DataError, match=rf"got {size} \(") as caught:
        train(type_, size, exact=True)
    least = named_size(caught, "least")
    assert train(type_, least, exact=True).vocab_size == least
    with pytest.raises(DataError):
        train(type_, least - 1, exact=True)


@pytest.mark.parametrize("type_", TYPES)
def test_a_size_that_is_possible_is_met(type_: Type) -> None:
    size = train(type_).vocab_size - 2
    assert train(type_, size, exact=True).vocab_size == size


@pytest.mark.parametrize("type_", TYPES)
def test_a_default_size_shrinks_to_what_the_text_allows(type_: Type) -> None:
    assert 4 + RESERVED_PIECES + 256 < train(type_, 8000).vocab_size < 8000


@pytest.mark.parametrize("lines", [[], [""], ["", "  ", "\t"]])
def test_empty_text_is_an_error(lines: list[str]) -> None:
    with pytest.raises(DataError, match="the text: expected training text for a tokenizer"):
        train_tokenizer(lines, TokenizerConfig(), False, "the text")


@pytest.mark.parametrize("type_", TYPES)
def test_training_twice_gives_the_same_bytes(type_: Type) -> None:
    assert train(type_).model == train(type_).model


@pytest.mark.parametrize("type_", TYPES)
def test_training_on_odd_text_works(type_: Type) -> None:
    config = TokenizerConfig(type=type_)
    odd = Tokenizer(train_tokenizer(ODD * 3, config, False, "the text"))
    assert [odd.decode(tokens) for tokens in odd.encode(ODD)] == ODD


FOREIGN_SIZE = 40


def foreign(**options: int) -> bytes:
    """Train a SentencePiece model with its own defaults, such as other toolkits ship."""
    output = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(make_text()),
        model_writer=output,
        vocab_size=FOREIGN_SIZE,
        minloglevel=2,
        **options,
    )
    return output.getvalue()


def test_missing_special_pieces_get_ids_above_the_others() -> None:
    tokenizer = Tokenizer(foreign(pad_id=-1, bos_id=-1, eos_id=-1))
    added = [tokenizer.pad, tokenizer.bos, tokenizer.eos]
    assert sorted(added) == [FOREIGN_SIZE, FOREIGN_SIZE + 1, FOREIGN_SIZE + 2]
    assert tokenizer.vocab_size == FOREIGN_SIZE + 3
    assert tokenizer.pieces(added) == [f"<{token}>" for token in added]
    [tokens] = tokenizer.encode(["a dog runs"])
    assert max(tokens) < FOREIGN_SIZE
    assert tokenizer.decode([tokenizer.bos, *tokens, tokenizer.eos, tokenizer.pad]) == "a dog runs"
    assert set(tokenizer.never_output) == {tokenizer.pad, tokenizer.bos}


def test_special_pieces_of_a_foreign_model_keep_their_ids() -> None:
    tokenizer = Tokenizer(foreign())  # SentencePiece's defaults: unk 0, bos 1, eos 2, no pad
    assert (tokenizer.bos, tokenizer.eos, tokenizer.pad) == (1, 2, FOREIGN_SIZE)
    assert tokenizer.vocab_size == FOREIGN_SIZE + 1
    assert tokenizer.eos not in tokenizer.never_output


@pytest.mark.parametrize("content", [b"", b"junk", b"\x00" * 100, b"\x0a\x00"])
def test_what_is_no_model_names_itself(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.model"
    file.write_bytes(content)
    with pytest.raises(
        DataError, match=r"a\.model: expected a SentencePiece model, got another file"
    ):
        Tokenizer.load(file)


def test_a_missing_model_names_itself(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.model: no such tokenizer model"):
        Tokenizer.load(tmp_path / "a.model")


def test_saved_tokenizers_come_back(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert read_tokenizer_meta(run) is None
    one, two = train("unigram"), train("char")
    save_tokenizers(run, {"src": one.model, "tgt": two.model}, {"a": "b"})
    loaded = load_tokenizers(run)
    assert (loaded.src.model, loaded.tgt.model) == (one.model, two.model)
    assert not loaded.is_joint
    save_tokenizers(run, {"joint": two.model}, {"a": "c"})
    loaded = load_tokenizers(run)
    assert loaded.is_joint
    assert loaded.src.model == two.model
    meta = read_tokenizer_meta(run)
    assert meta is not None
    assert meta["a"] == "c"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tokenizer.json", "tokenizer.model"]


def test_equal_models_are_one_vocabulary_whatever_the_tags_and_others_are_not() -> None:
    char, bpe = train("char"), train("bpe")
    both = Tokenizers(char, Tokenizer(char.model))
    assert both.is_joint
    assert both.with_tags((4, 5)).is_joint
    assert not Tokenizers(char, bpe).is_joint


@pytest.mark.parametrize(
    ("items", "size", "expected"), [(0, 3, 0), (2, 3, 2), (3, 3, 3), (50, 3, 3), (5, 1, 1)]
)
def test_a_sample_has_its_size_and_no_item_twice(items: int, size: int, expected: int) -> None:
    sample = reservoir_sample(iter(range(items)), size, seed=1)
    assert len(sample) == len(set(sample)) == expected
    assert set(sample) <= set(range(items))


def test_a_sample_of_everything_is_everything_in_order() -> None:
    assert reservoir_sample(range(7), 7, seed=1) == list(range(7))


def test_a_sample_is_decided_by_its_seed() -> None:
    samples = [reservoir_sample(range(1000), 10, seed) for seed in (1, 1, 2)]
    assert samples[0] == samples[1]
    assert samples[0] != samples[2]


def test_every_item_is_sampled_equally_often() -> None:
    rounds, items, size = 3000, 20, 5
    counts = Counter(
        i for seed in range(rounds) for i in reservoir_sample(range(items), size, seed)
    )
    # Each count is binomial(3000, 1/4): mean 750, deviation 23.7; six deviations either side.
    assert all(abs(counts[i] - rounds * size / items) < 6 * 23.7 for i in range(items))


# Words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("The dog's café.", ["The", "dog's", "café."]),
        ("  two  spaces ", ["two", "spaces"]),
        ("\u3000a\u00a0b c", ["\u3000a\u00a0b", "c"]),  # only blanks part words
        ("家 👨\u200d👩\u200d👧 🇫🇷 ok", ["家", "👨\u200d👩\u200d👧", "🇫🇷", "ok"]),
        ("", []),
        ("   ", []),
    ],
)
def test_each_piece_belongs_to_the_word_it_spells(
    tokenizer: Tokenizer, line: str, words: list[str]
) -> None:
    for cut in (
        tokenizer.encode_with_words(line),
        tokenizer.decode_with_words(tokenizer.encode([line])[0]),
    ):
        assert cut.words == words
        assert cut.tokens == tokenizer.encode([line])[0]
        assert len(cut.pieces) == len(cut.word_ids) == len(cut.tokens)
        assert cut.word_ids == sorted(cut.word_ids)
        for i, word in enumerate(words):
            its = [t for t, w in zip(cut.tokens, cut.word_ids, strict=True) if w == i]
            assert tokenizer.decode(its).strip(" ") == word
