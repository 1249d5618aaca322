"""Extension of a tokenizer: old token ids stay, new pieces have new characters."""

from __future__ import annotations

import io
import random
from functools import cache

import pytest
import sentencepiece
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.config.model_config import RNNConfig, TransformerConfig
from nmt.config.sections.tokenizer import TokenizerConfig
from nmt.data.tokenizer.extension import Extension, extend_model, find_initial_ids, learn_merges
from nmt.data.tokenizer.tokenizer import Tokenizer
from nmt.data.tokenizer.training import train_tokenizer
from nmt.data.tokenizer.validation_process import check_fields, check_tokenization
from nmt.errors import DataError
from nmt.models.build import build_model, weights_of
from nmt.training.checkpoints.extended_weights import NEW_BIAS_MARGIN, copy_extended_weights

TYPES = ("unigram", "bpe", "char")
OLD_LETTERS = "abcdeinorst"
NEW_LETTERS = "абвгдеинорст"


def make_lines(letters: str, seed: int) -> list[str]:
    """Return 300 lines of 6 words each, from 80 different words."""
    rng = random.Random(seed)
    words = ["".join(rng.choices(letters, k=rng.randint(2, 7))) for _ in range(80)]
    return [" ".join(rng.choices(words, k=6)) + "." for _ in range(300)]


OLD_LINES, NEW_LINES = make_lines(OLD_LETTERS, seed=1), make_lines(NEW_LETTERS, seed=2)


@cache
def parent_of(model_type: str) -> Tokenizer:
    """Return a tokenizer without the new letters."""
    config = TokenizerConfig(type=model_type, vocab_size=440)  # type: ignore[arg-type]
    return Tokenizer(train_tokenizer(OLD_LINES, config, exact=False, name="old"))


@cache
def extension_of(model_type: str) -> Extension:
    """Return the tokenizer of `parent_of`, extended by 60 pieces and the character ё."""
    return extend_model(parent_of(model_type).model, model_type, NEW_LINES, 60, "ёa")


@pytest.mark.parametrize("model_type", TYPES)
@settings(deadline=None)
@given(
    line=st.text(st.sampled_from(OLD_LETTERS + " .,!?0\u2581") | st.characters(max_codepoint=127))
)
def test_extend_model_old_text_keeps_token_ids(model_type: str, line: str) -> None:
    parent, child = parent_of(model_type), Tokenizer(extension_of(model_type).model)
    assert child.encode([line]) == parent.encode([line])


@pytest.mark.parametrize("model_type", TYPES)
@settings(deadline=None)
@given(line=st.text(st.sampled_from(OLD_LETTERS + NEW_LETTERS + "ё .") | st.characters()))
def test_extend_model_round_trip_is_lossless(model_type: str, line: str) -> None:
    line = line.encode(errors="replace").decode().replace("\u2581", " ").replace("\0", "")
    child = Tokenizer(extension_of(model_type).model)
    assert child.decode(child.encode([line])[0]) == parent_of(model_type).decode(
        parent_of(model_type).encode([line])[0]
    )


@pytest.mark.parametrize("model_type", TYPES)
def test_extend_model_keeps_old_pieces_and_adds_requested_number(model_type: str) -> None:
    parent, extension = parent_of(model_type), extension_of(model_type)
    child = Tokenizer(extension.model)
    old_ids = range(parent.vocab_size)
    assert child.encode(OLD_LINES) == parent.encode(OLD_LINES)
    assert child.pieces(old_ids) == parent.pieces(old_ids)
    assert child.never_output == parent.never_output
    assert (child.pad, child.bos, child.eos, child.unk) == (0, 2, 3, 1)
    new_pieces = child.pieces(range(parent.vocab_size, child.vocab_size))
    assert new_pieces == [*extension.characters, *extension.pieces]
    assert extension.characters[0] == "ё"
    assert set(extension.characters) == {*NEW_LETTERS, "ё"}
    assert len(extension.pieces) == (0 if model_type == "char" else 60 - len(NEW_LETTERS))


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_extend_model_pieces_are_used_in_new_text(model_type: str) -> None:
    parent, extension = parent_of(model_type), extension_of(model_type)
    child = Tokenizer(extension.model)
    tokens = [token for row in child.encode(NEW_LINES) for token in row]
    used = {token for token in tokens if token >= parent.vocab_size}
    assert len(used) > len(extension.pieces) / 2
    assert not any(map(child.is_byte, tokens))
    assert len(tokens) < sum(map(len, NEW_LINES)) * 0.7
    assert len(tokens) < sum(map(len, parent.encode(NEW_LINES))) / 2


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_extend_model_every_piece_is_reachable(model_type: str) -> None:
    child = Tokenizer(extension_of(model_type).model)
    for piece in extension_of(model_type).pieces:
        if piece.startswith("\u2581"):
            [tokens] = child.encode([piece[1:]])
            assert child.pieces(tokens) == [piece]


@pytest.mark.parametrize("model_type", TYPES)
def test_extend_model_result_passes_validation(model_type: str) -> None:
    check_fields(extension_of(model_type).model)
    check_tokenization(extension_of(model_type).model)


def test_extend_model_twice_extends_the_extension() -> None:
    first = extension_of("unigram").model
    second = Tokenizer(extend_model(first, "unigram", ["ωω ωω"] * 9, 5, "").model)
    new_pieces = second.pieces(range(Tokenizer(first).vocab_size, second.vocab_size))
    assert new_pieces == ["ω", "ωω", "\u2581ωω"]


def test_extend_model_text_without_new_characters_adds_nothing() -> None:
    parent = parent_of("unigram")
    extension = extend_model(parent.model, "unigram", ["abba 0 #"] * 9, 5, "ab")
    assert extension.model == parent.model


def test_extend_model_without_bytes_needs_new_characters() -> None:
    """A rare character of old text does not become part of a piece without a new character."""
    output = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(OLD_LINES), model_writer=output, vocab_size=60, model_type="bpe",
        minloglevel=2,
    )  # fmt: skip
    lines = [*NEW_LINES, *["aXb éX"] * 90]
    extension = extend_model(output.getvalue(), "bpe", lines, 200, "")
    assert all(set(piece) & {*NEW_LETTERS, "é"} for piece in extension.pieces)
    assert "éX" in extension.pieces


def test_extend_model_with_pad_as_text_is_refused() -> None:
    output = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(OLD_LINES), model_writer=output, vocab_size=60, model_type="bpe",
        minloglevel=2, user_defined_symbols=["<pad>"],
    )  # fmt: skip
    with pytest.raises(DataError, match="expected <pad> as a control piece"):
        extend_model(output.getvalue(), "bpe", NEW_LINES, 9, "")


def test_extend_model_without_pad_keeps_its_token_id() -> None:
    """A model without pad and bos has their ids above its pieces; new pieces follow."""
    output = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(OLD_LINES), model_writer=output, vocab_size=60, bos_id=-1, pad_id=-1,
        model_type="bpe", minloglevel=2,
    )  # fmt: skip
    parent = Tokenizer(output.getvalue())
    child = Tokenizer(extend_model(parent.model, "bpe", NEW_LINES, 20, "").model)
    assert (child.pad, child.bos, child.eos) == (parent.pad, parent.bos, parent.eos)
    assert child.vocab_size == parent.vocab_size + 20
    assert child.encode(OLD_LINES) == parent.encode(OLD_LINES)
    assert len(find_initial_ids(parent, child)) == 20


@pytest.mark.parametrize("model_type", TYPES)
def test_find_initial_ids_are_those_of_the_text_of_the_piece(model_type: str) -> None:
    parent, extension = parent_of(model_type), extension_of(model_type)
    initial_ids = find_initial_ids(parent, Tokenizer(extension.model))
    for piece, ids in zip([*extension.characters, *extension.pieces], initial_ids, strict=True):
        assert parent.pieces(ids) == [f"<0x{byte:02X}>" for byte in "ё".encode()] or piece != "ё"
        text = parent.decode(ids)
        assert text == piece.replace("\u2581", "")
        assert ("\u2581" in parent.pieces(ids)) == piece.startswith("\u2581")


def test_find_initial_ids_other_tokenizer_is_refused() -> None:
    with pytest.raises(DataError, match="expected an extension"):
        find_initial_ids(parent_of("unigram"), parent_of("bpe"))


def test_learn_merges_counts_pairs_by_their_concatenation() -> None:
    words = [["x", "a", "b"], ["x", "ab"], ["a", "b"]]
    assert learn_merges(words, [2, 3, 1], lambda _: True, 2) == [("ab", 3), ("xab", 5)]


@pytest.mark.parametrize("tie", ["none", "target", "all"])
@pytest.mark.parametrize("arch", ["rnn", "transformer"])
def test_copy_extended_weights_new_rows_are_means(arch: str, tie: str) -> None:
    sizes = {"d_embed": 8, "d_hidden": 8} if arch == "rnn" else {"d_model": 8, "d_ff": 8}
    heads = {} if arch == "rnn" else {"num_heads": 2, "num_layers": 1}
    config_class = RNNConfig if arch == "rnn" else TransformerConfig
    config = config_class.model_validate({"arch": arch, "tie": tie, **sizes, **heads})
    old = build_model(config, 10, 10, 0)
    torch.nn.init.normal_(old.output.bias)
    src_ids = [[1, 2], [5]]
    tgt_ids = src_ids if tie == "all" else [[7, 8, 9]]
    new = build_model(config, 12, 10 + len(tgt_ids), 0)
    copy_extended_weights(old, new, src_ids, tgt_ids)
    old_weights, new_weights = weights_of(old), weights_of(new)
    for name, weight in new_weights.items():
        old_weight = old_weights[name]
        assert torch.equal(weight[: len(old_weight)], old_weight)
        if name == "output.bias":
            expected = old_weight.min() - NEW_BIAS_MARGIN
            assert torch.equal(weight[10:], expected.expand(len(tgt_ids)))
        elif weight.shape != old_weight.shape:
            ids = src_ids if len(weight) == 12 else tgt_ids
            assert torch.equal(weight[10:], torch.stack([old_weight[i].mean(0) for i in ids]))
