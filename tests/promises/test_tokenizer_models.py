"""Guarantee 13: a malicious tokenizer model cannot crash the process that loads it."""

from __future__ import annotations

import io
import os
import random
import signal
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece

from nmt.data.tokenizer import validation, validation_process
from nmt.data.tokenizer.tokenizer import Tokenizer
from nmt.errors import DataError

SECONDS = 20
"""After which a child counts as hung."""


@pytest.fixture(scope="module")
def models() -> list[bytes]:
    """Three real models: with a table of normalisation, of bytes and characters, of merges."""
    rng = random.Random(2)
    words = ["".join(rng.choices("abcdefgh", k=rng.randint(1, 9))) for _ in range(400)]
    kinds = (
        {"model_type": "unigram", "normalization_rule_name": "nmt_nfkc"},
        {"model_type": "char", "normalization_rule_name": "identity", "byte_fallback": True},
        {"model_type": "bpe", "normalization_rule_name": "identity", "byte_fallback": True},
    )
    names = []
    for kind in kinds:
        output = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([" ".join(rng.sample(words, 5)) for _ in range(500)]),
            model_writer=output,
            vocab_size=380,
            hard_vocab_limit=False,
            minloglevel=2,
            **kind,
        )
        names.append(output.getvalue())
    return names


# -- models made by hand ---------------------------------------------------------------------


def varint(number: int) -> bytes:
    encoded = b""
    while number >= 128:
        encoded += bytes([number & 127 | 128])
        number >>= 7
    return encoded + bytes([number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def piece(text: bytes, score: float = -1.0, kind: int = 1) -> bytes:
    score_field = bytes([2 << 3 | 5]) + struct.pack("<f", score)
    return field(1, field(1, text) + score_field + bytes([3 << 3]) + varint(kind))


def charsmap(units: list[int], texts: bytes) -> bytes:
    blob = b"".join(struct.pack("<I", unit) for unit in units)
    return field(3, field(2, struct.pack("<I", len(blob)) + blob + texts))


SOUND = piece(b"<unk>", 0.0, 2) + piece(b"<s>", 0.0, 3) + piece(b"</s>", 0.0, 3)
SOUND += b"".join(piece(sign) for sign in (b"\xe2\x96\x81", b"a", b"b"))
CRAFTED: dict[str, bytes] = {
    "nothing": b"",
    "text": b"not a model\n",
    "zeros": bytes(100),
    "no pieces": field(2, b""),
    "no unknown piece": b"".join(piece(sign) for sign in (b"a", b"b")),
    "two unknown pieces": SOUND + piece(b"<unk2>", 0.0, 2),
    "a piece twice": SOUND + piece(b"a"),
    "an empty piece": SOUND + piece(b""),
    "a NUL in a piece": SOUND + piece(b"x\0y"),
    "a NUL in a piece of a user's": SOUND + piece(b"x\0y", 0.0, 4),
    "half a character": SOUND + piece(b"\xc3"),
    "a long piece": SOUND + piece(b"x" * 5000),
    "a byte without its name": SOUND + piece(b"xx", 0.0, 6),
    "a score that is no number": SOUND + piece(b"x", float("nan")),
    "an endless score": SOUND + piece(b"x", float("inf")),
    "a huge score": SOUND + piece(b"x", -3e38),
    "a gigabyte promised": SOUND + varint(1 << 3 | 2) + varint(2**30),
    "a length beyond all": SOUND + varint(1 << 3 | 2) + varint(2**64 - 1),
    "a length without end": SOUND + varint(1 << 3 | 2) + b"\xff" * 12,
    "groups in groups": SOUND + bytes([7 << 3 | 3]) * 5000,
    "field nought": SOUND + bytes([2, 0]),
    "cut short": SOUND[:-1],
    "an array without texts": SOUND + charsmap([0] * 256, b""),
    "an array that leads out": SOUND + charsmap([0x3FFFFF << 10] + [0] * 255, b"\0"),
    "a text beyond the end": SOUND + charsmap([1 << 10 | 1 << 8, 1 << 31 | 99] + [0] * 254, b"\0"),
    "texts without an end": SOUND + charsmap([1 << 10] + [0] * 255, b"x"),
    "texts that are none": SOUND + charsmap([1 << 10] + [0] * 255, b"\xff\0"),
    "a broken array": SOUND + field(3, field(2, b"\xff\xff\xff\xff")),
    "a broken array, back": SOUND + field(5, field(2, b"\x10\0\0\0x")),
    "settings in no UTF-8": SOUND + field(2, field(44, b"\xff")),
}


def test_tokenizer_model_before_crafting_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "sound.model"
    file.write_bytes(SOUND)
    tokenizer = Tokenizer.load(file)
    assert tokenizer.decode(tokenizer.encode(["a b"])[0]) == "a b"


@pytest.mark.parametrize("name", CRAFTED)
def test_tokenizer_model_crafted_is_refused(name: str) -> None:
    """Before or by its first reading, of which only what every child does is left out."""
    assert survived(lambda: first_reading(CRAFTED[name])) != 0


@pytest.mark.parametrize("name", ["text", "a score that is no number", "an array that leads out"])
def test_command_crafted_tokenizer_model_is_clean_error(name: str, tmp_path: Path) -> None:
    file = tmp_path / "own.model"
    file.write_bytes(CRAFTED[name])
    with pytest.raises(DataError, match=f"{file}: expected "):
        Tokenizer.load(file)


@pytest.mark.parametrize(
    ("trick", "message"),
    [
        ("import os; os.kill(os.getpid(), 11)", "crashes its reader"),
        ("import time; time.sleep(60)", "hangs its reader"),
        ("bytearray(2**34)", "crashes its reader"),
    ],
    ids=["segfault", "hang", "memory"],
)
def test_tokenizer_validation_killed_child_is_clean_error(
    trick: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Path(validation_process.__file__).read_text()
    assert "        check_fields(model)\n" in program
    reader = tmp_path / "reader.py"
    reader.write_text(program.replace("        check_fields(model)\n", f"        {trick}\n"))
    monkeypatch.setattr(validation_process, "__file__", str(reader))
    monkeypatch.setattr(validation, "CHILD_TIMEOUT", 3.0)
    file = tmp_path / "own.model"
    file.write_bytes(SOUND)
    validation._trusted_digests.discard(validation.hash_bytes(SOUND))
    with pytest.raises(DataError, match=message):
        Tokenizer.load(file)


def test_read_file_endless_file_is_refused() -> None:
    with pytest.raises(DataError, match=r"/dev/zero: expected at most 67,108,864 bytes"):
        Tokenizer.load(Path("/dev/zero"))


# -- real models, mutated --------------------------------------------------------------------


def mutated(model: bytes, seed: int) -> bytes:
    """Change a model at a few places, gently or not."""
    rng = random.Random(seed)
    data = bytearray(model)
    for _ in range(rng.choice([1, 1, 1, 3, 30])):
        kind, position, size = rng.randrange(8), rng.randrange(len(data)), rng.randint(1, 16)
        if kind < 3:
            data[position] ^= 1 << rng.randrange(8)
        elif kind == 3:
            data[position] = rng.choice([0, 1, 127, 128, 255])
        elif kind == 4:
            data[position : position + size] = rng.randbytes(size)
        elif kind == 5:
            data[position : position + size] = bytes(len(data[position : position + size]))
        elif kind == 6:
            data[position:position] = rng.randbytes(size)
        else:
            del data[position : position + size]
    return bytes(data)


def survived(work: Callable[[], object]) -> int:
    """Return how a child that does this ended: 0, 1 by a ValueError, 2 another error, < 0 dead."""
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            work()
            code = 0
        except ValueError:
            code = 1
        except BaseException:
            code = 2
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def first_reading(model: bytes) -> None:
    """Validate like the child process of `nmt.data.tokenizer.validation`."""
    validation_process.check_fields(model)
    validation_process.check_tokenization(model)


TEXT = "".join(map(chr, [*range(1, 0x800), *range(0x2000, 0x2100), *range(0xFF00, 0xFFF0)]))


def use(model: bytes) -> None:
    """Use a valid model like a command."""
    tokenizer = Tokenizer(model)
    for text in ("abc def", " a  b ", TEXT):
        [tokens] = tokenizer.encode([text])
        tokenizer.decode(tokens)
        tokenizer.decode_with_words(tokenizer.encode_with_words(text).tokens)
        tokenizer.encode_arrays([text])
    tokenizer.pieces(range(tokenizer.vocab_size))
    tokenizer.sample_segmentation("abc def", 0.5, random.Random(1))


def mutations(models: list[bytes], count: int) -> Counter[tuple[int, int | None]]:
    """Return how often the first reading and then the use of a mutated model ended how."""
    ends: Counter[tuple[int, int | None]] = Counter()
    for seed in range(count):
        model = mutated(models[seed % len(models)], seed)
        first = survived(lambda model=model: first_reading(model))  # type: ignore[misc]
        then = survived(lambda model=model: use(model)) if first == 0 else None  # type: ignore[misc]
        assert then in (0, None), f"seed {seed}: passes its first reading, then {then}"
        ends[first, then] += 1
    return ends


def test_tokenizer_model_real_is_valid(models: list[bytes]) -> None:
    for model in models:
        assert survived(lambda model=model: first_reading(model)) == 0  # type: ignore[misc]
        assert survived(lambda model=model: use(model)) == 0  # type: ignore[misc]


def test_tokenizer_model_mutation_is_refused_or_works(models: list[bytes]) -> None:
    ends = mutations(models, 45)
    assert ends[1, None] > 0
    assert ends[0, 0] > 0


@pytest.mark.slow
def test_tokenizer_model_5000_mutations_are_refused_or_work(models: list[bytes]) -> None:
    ends = mutations(models, 5000)
    print(f"5,000 mutations: {dict(ends)}")
    assert ends[0, 0] > 100
