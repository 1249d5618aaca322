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
"""Time after which a child process counts as hanging."""


@pytest.fixture(scope="module")
def models() -> list[bytes]:
    """Train three models: unigram with a normalization table, characters, and BPE."""
    rng = random.Random(2)
    words = ["".join(rng.choices("abcdefgh", k=rng.randint(1, 9))) for _ in range(400)]
    kinds = (
        {"model_type": "unigram", "normalization_rule_name": "nmt_nfkc"},
        {"model_type": "char", "normalization_rule_name": "identity", "byte_fallback": True},
        {"model_type": "bpe", "normalization_rule_name": "identity", "byte_fallback": True},
    )
    contents = []
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
        contents.append(output.getvalue())
    return contents


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


VALID_MODEL = piece(b"<unk>", 0.0, 2) + piece(b"<s>", 0.0, 3) + piece(b"</s>", 0.0, 3)
VALID_MODEL += b"".join(piece(sign) for sign in (b"\xe2\x96\x81", b"a", b"b"))
CRAFTED: dict[str, bytes] = {
    "empty file": b"",
    "text file": b"not a model\n",
    "zero bytes": bytes(100),
    "no pieces": field(2, b""),
    "no unknown piece": b"".join(piece(sign) for sign in (b"a", b"b")),
    "two unknown pieces": VALID_MODEL + piece(b"<unk2>", 0.0, 2),
    "repeated piece": VALID_MODEL + piece(b"a"),
    "empty piece": VALID_MODEL + piece(b""),
    "NUL in a piece": VALID_MODEL + piece(b"x\0y"),
    "NUL in a user-defined piece": VALID_MODEL + piece(b"x\0y", 0.0, 4),
    "incomplete UTF-8 character": VALID_MODEL + piece(b"\xc3"),
    "long piece": VALID_MODEL + piece(b"x" * 5000),
    "byte piece with a wrong name": VALID_MODEL + piece(b"xx", 0.0, 6),
    "NaN score": VALID_MODEL + piece(b"x", float("nan")),
    "infinite score": VALID_MODEL + piece(b"x", float("inf")),
    "huge score": VALID_MODEL + piece(b"x", -3e38),
    "length of a gigabyte": VALID_MODEL + varint(1 << 3 | 2) + varint(2**30),
    "length of 64 bits": VALID_MODEL + varint(1 << 3 | 2) + varint(2**64 - 1),
    "unterminated length": VALID_MODEL + varint(1 << 3 | 2) + b"\xff" * 12,
    "nested groups": VALID_MODEL + bytes([7 << 3 | 3]) * 5000,
    "field number zero": VALID_MODEL + bytes([2, 0]),
    "truncated file": VALID_MODEL[:-1],
    "charsmap without texts": VALID_MODEL + charsmap([0] * 256, b""),
    "charsmap index out of range": VALID_MODEL + charsmap([0x3FFFFF << 10] + [0] * 255, b"\0"),
    "charsmap text offset out of range": VALID_MODEL
    + charsmap([1 << 10 | 1 << 8, 1 << 31 | 99] + [0] * 254, b"\0"),
    "unterminated charsmap text": VALID_MODEL + charsmap([1 << 10] + [0] * 255, b"x"),
    "charsmap text with invalid UTF-8": VALID_MODEL + charsmap([1 << 10] + [0] * 255, b"\xff\0"),
    "damaged charsmap": VALID_MODEL + field(3, field(2, b"\xff\xff\xff\xff")),
    "damaged denormalizer charsmap": VALID_MODEL + field(5, field(2, b"\x10\0\0\0x")),
    "settings with invalid UTF-8": VALID_MODEL + field(2, field(44, b"\xff")),
}


def test_tokenizer_model_without_fault_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "sound.model"
    file.write_bytes(VALID_MODEL)
    tokenizer = Tokenizer.load(file)
    assert tokenizer.decode(tokenizer.encode(["a b"])[0]) == "a b"


@pytest.mark.parametrize("name", CRAFTED)
def test_tokenizer_model_crafted_is_refused(name: str) -> None:
    """The validation refuses the model, or crashes only the child process."""
    assert child_exit_code(lambda: validate_model(CRAFTED[name])) != 0


@pytest.mark.parametrize("name", ["text file", "NaN score", "charsmap index out of range"])
def test_tokenizer_load_crafted_model_raises_data_error(name: str, tmp_path: Path) -> None:
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
def test_tokenizer_validation_crash_raises_data_error(
    trick: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Path(validation_process.__file__).read_text()
    assert "        check_fields(model)\n" in program
    reader = tmp_path / "reader.py"
    reader.write_text(program.replace("        check_fields(model)\n", f"        {trick}\n"))
    monkeypatch.setattr(validation_process, "__file__", str(reader))
    monkeypatch.setattr(validation, "CHILD_TIMEOUT", 3.0)
    file = tmp_path / "own.model"
    file.write_bytes(VALID_MODEL)
    validation._trusted_digests.discard(validation.hash_bytes(VALID_MODEL))
    with pytest.raises(DataError, match=message):
        Tokenizer.load(file)


def test_tokenizer_load_endless_file_is_refused() -> None:
    with pytest.raises(DataError, match=r"/dev/zero: expected at most 67,108,864 bytes"):
        Tokenizer.load(Path("/dev/zero"))


# -- real models, mutated --------------------------------------------------------------------


def mutate(model: bytes, seed: int) -> bytes:
    """Change the bytes of a model at up to 30 positions."""
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


def child_exit_code(work: Callable[[], object]) -> int:
    """Run `work` in a child; return 0, 1 for a ValueError, 2 for other errors, or -signal."""
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


def validate_model(model: bytes) -> None:
    """Validate a model like the child process of `nmt.data.tokenizer.validation`."""
    validation_process.check_fields(model)
    validation_process.check_tokenization(model)


TEXT = "".join(map(chr, [*range(1, 0x800), *range(0x2000, 0x2100), *range(0xFF00, 0xFFF0)]))


def use_model(model: bytes) -> None:
    """Use a valid model as commands do."""
    tokenizer = Tokenizer(model)
    for text in ("abc def", " a  b ", TEXT):
        [tokens] = tokenizer.encode([text])
        tokenizer.decode(tokens)
        tokenizer.decode_with_words(tokenizer.encode_with_words(text).tokens)
        tokenizer.encode_arrays([text])
    tokenizer.pieces(range(tokenizer.vocab_size))
    tokenizer.sample_segmentation("abc def", 0.5, random.Random(1))


def count_outcomes(models: list[bytes], count: int) -> Counter[tuple[int, int | None]]:
    """Mutate models; count the pairs of exit codes of their validation and of their use."""
    outcomes: Counter[tuple[int, int | None]] = Counter()
    for seed in range(count):
        model = mutate(models[seed % len(models)], seed)
        validation_code = child_exit_code(lambda model=model: validate_model(model))  # type: ignore[misc]
        use_code = (
            child_exit_code(lambda model=model: use_model(model)) if validation_code == 0 else None
        )  # type: ignore[misc]
        assert use_code in (0, None), f"seed {seed}: passes the validation, then {use_code}"
        outcomes[validation_code, use_code] += 1
    return outcomes


def test_tokenizer_model_of_sentencepiece_is_valid(models: list[bytes]) -> None:
    for model in models:
        assert child_exit_code(lambda model=model: validate_model(model)) == 0  # type: ignore[misc]
        assert child_exit_code(lambda model=model: use_model(model)) == 0  # type: ignore[misc]


def test_tokenizer_model_mutation_is_refused_or_works(models: list[bytes]) -> None:
    outcomes = count_outcomes(models, 45)
    assert outcomes[1, None] > 0
    assert outcomes[0, 0] > 0


@pytest.mark.slow
def test_tokenizer_model_5000_mutations_are_refused_or_work(models: list[bytes]) -> None:
    outcomes = count_outcomes(models, 5000)
    print(f"5,000 mutations: {dict(outcomes)}")
    assert outcomes[0, 0] > 100
