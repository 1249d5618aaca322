"""Fuzz the whole command line with hypothesis; a script that can run for minutes.

    python -m tests.support.promises.fuzz --minutes 20

`test_fuzz.py` runs a small part. For any input, a command ends within SLOWEST seconds with an exit
code of nmt/errors.py and no traceback, writes nothing outside its folder, and translates every
input line.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

import click
import torch
import typer.main
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from nmt import errors
from nmt.cli.app import app, main
from nmt.config.model_config import RNNConfig, TransformerConfig
from nmt.config.sections.base import Section, setting_names
from nmt.config.sections.data import DataConfig
from nmt.config.sections.decode import DecodeConfig
from nmt.config.sections.tokenizer import TokenizerConfig
from nmt.config.sections.train import TrainConfig
from tests.support.paths import ROOT

SLOWEST = 10
CODES = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))

CONFIG = """\
run: run
data: {src: in, tgt: out, train: [train], valid: valid, max_length: 60}
tokenizer: {type: char}
model: {arch: ARCH}
train:
  {batch_tokens: 100, max_updates: 2, threads: 1, precision: fp32, validate_every: 100}
decode: {beam_size: 2, threads: 1, max_length_ratio: 0.5}
"""
MODELS = {
    "rnn": "rnn, d_embed: 8, d_hidden: 8",
    "transformer": "transformer, d_model: 8, d_ff: 8, num_layers: 1, num_heads: 2",
}


class Hang(BaseException):
    """A command took longer than SLOWEST."""


@dataclass(frozen=True)
class CommandResult:
    """Exit code and output of a command."""

    code: int
    out: bytes
    err: str


def run_command(
    arguments: list[str], stdin: bytes, folder: Path, limit: int = SLOWEST
) -> CommandResult:
    """Run a command in this process, in a folder; exceptions other than exits propagate."""
    out, err = (
        io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace", newline="\n")
        for _ in range(2)
    )
    code: object = 0
    before = Path.cwd()
    os.chdir(folder)
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")),
            patch.object(sys, "argv", ["nmt", *arguments]),
            alarm(limit),
        ):
            try:
                main()
            except SystemExit as exit_:
                code = exit_.code
    finally:
        os.chdir(before)
        torch.set_num_threads(1)
    for stream in (out, err):
        stream.flush()
    stderr_text = err.buffer.getvalue().decode()  # type: ignore[attr-defined]
    return CommandResult(int(str(code or 0)), out.buffer.getvalue(), stderr_text)  # type: ignore[attr-defined]


@contextlib.contextmanager
def alarm(seconds: int) -> Iterator[None]:
    """Raise Hang in a block that takes too long."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang

    previous_handler = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous_handler)


def check_command(arguments: list[str], stdin: bytes, folder: Path) -> CommandResult:
    """Run a command and check that it ends as documented."""
    result = run_command(arguments, stdin, folder)
    assert result.code in CODES, (result.code, result.err)
    assert "Traceback" not in result.err, result.err
    if result.code == errors.EXIT_USER_ERROR:
        assert "error:" in result.err.lower(), result.err
    return result


# -- run folders to damage ----------------------------------------------------------------


class FuzzFolder:
    """A folder with text, a config and a run of each architecture, to damage and restore."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.fresh = folder / "fuzz", folder / "fresh"
        self.fresh.mkdir()
        rng = random.Random(1)
        for name, count in (("train", 40), ("valid", 4), ("test", 3)):
            lines = [" ".join(rng.choices("0123456789", k=5)) for _ in range(count)]
            (self.fresh / f"{name}.in").write_text("".join(f"{line}\n" for line in lines))
            (self.fresh / f"{name}.out").write_text("".join(f"{line[::-1]}\n" for line in lines))
        for arch, words in MODELS.items():
            config = self.fresh / f"{arch}.yaml"
            config.write_text(CONFIG.replace("ARCH", words))
            run = ["--run", arch, "--device", "cpu"]
            command = ["train", str(config), *run]
            assert run_command(command, b"", self.fresh, limit=600).code == 0
        self.outside = folder / "outside"
        self.outside.mkdir()
        self.reset()

    def reset(self) -> None:
        """Restore all files."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.fresh, self.folder, symlinks=True)

    def files(self, arch: str) -> list[Path]:
        """Return the files of a run, below its folder."""
        run = self.fresh / arch
        return sorted(p.relative_to(run) for p in run.rglob("*") if p.is_file())


# -- strategies ------------------------------------------------------------------------------

odd_text = st.text(st.characters(exclude_characters="\0/"), max_size=20)  # no place elsewhere
SEPARATORS = [
    "\r",
    "\x0b",
    "\x0c",
    "\x1c",
    "\x1d",
    "\x1e",
    "\x85",
    "\u2028",
    "\u2029",
    "\ufeff",
    "\t",
    "\x00",
]
odd_line = st.lists(
    st.one_of(
        st.sampled_from([s.encode() for s in (*SEPARATORS, "1 2 3", " ", "é", "<s>", "\u2581")]),
        st.binary(max_size=4),
    ),
    max_size=6,
).map(lambda parts: b"".join(parts).replace(b"\n", b""))
odd_stdin = st.lists(odd_line, max_size=5).map(lambda lines: b"".join(x + b"\n" for x in lines))

values = st.one_of(
    st.sampled_from(
        ["rnn", "transformer", "rnn.yaml", "transformer.yaml", "test.in", "test.out", "train.in"]
    ),
    st.sampled_from(["rnn/best", "rnn/checkpoints", "rnn/last", "nowhere", ".", "..", ""]),
    st.sampled_from(["/dev/null", "rnn/config.yaml/x", "~nobody/x", "a\nb", "x" * 300, "-", "--"]),
    st.sampled_from(["0", "-1", "1", "2", "3", "1e9", "99999999999999999999", "nan", "inf", "1.5"]),
    st.sampled_from(["cpu", "cuda", "mps", "auto", "nmt", "ctranslate2", "loss,bleu", "multi30k"]),
    odd_text,
)
SECTIONS: dict[str, tuple[type[Section], ...]] = {
    "data": (DataConfig,),
    "tokenizer": (TokenizerConfig,),
    "model": (RNNConfig, TransformerConfig),
    "train": (TrainConfig,),
    "decode": (DecodeConfig,),
}
setting_names = st.sampled_from(
    [
        f"{section}.{key}"
        for section, kinds in SECTIONS.items()
        for key in sorted({key for kind in kinds for key in setting_names(kind)})
    ]
    + ["data.augment.upper", "data.clean.copies", "decode.tags.tgt_lang", "run", "export", "model"]
    + ["", ".", "a.b.c.d", "data.train.0", "train"]
)
setting_values = st.one_of(
    st.sampled_from(
        ["", "null", "true", "[]", "{}", "[[]]", "{a: b}", "0", "-1", "1", "2", "7", "0.5", "1e-3"]
    ),
    st.sampled_from(["1e30", "9" * 30, ".nan", ".inf", "*x", "&x [*x]", "!!str 5", "'\\0'", "no"]),
    st.sampled_from(['"\\uD800"', "rnn", "transformer", "none", "local_p", "local_m", "concat"]),
    st.sampled_from(["general", "dot", "location", "unigram", "bpe", "char", "word", "fp16"]),
    st.sampled_from(["bf16", "int8", "auto", "sgd", "adamw", "cosine", "noam", "all", "src"]),
    st.sampled_from(["[train, test]", "{src: test.in, tgt: test.out}", "{file: test.in}"]),
    values,
)
overrides = st.builds(lambda name, value: f"{name}={value}", setting_names, setting_values)

NOT_HERE = {"data get"}
"""Commands that download files."""


def commands() -> dict[str, click.Command]:
    """Return the commands by name, for example "runs list"."""
    by_name: dict[str, click.Command] = {}

    def walk(command: Any, words: tuple[str, ...]) -> None:
        if hasattr(command, "commands"):
            for name, inner in command.commands.items():
                walk(inner, (*words, name))
        else:
            by_name[" ".join(words)] = command

    walk(typer.main.get_command(app), ())
    return {words: command for words, command in by_name.items() if words not in NOT_HERE}


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Draw a command with some of its flags, and mostly valid values."""
    available = commands()
    words = draw(st.sampled_from(sorted(available)))
    command = words.split()
    for parameter in available[words].params:
        fits = FITTING.get((words, parameter.name or ""), FITTING.get(("", parameter.name or "")))
        value = values if fits is None else st.one_of(st.sampled_from(fits), values)
        if parameter.param_type_name == "argument":
            max_values = 3 if parameter.nargs == -1 else 1
            count = draw(st.integers(1, max_values)) if parameter.required or draw(RARELY) else 0
            command += [draw(value) for _ in range(count)]
        elif parameter.required or draw(RARELY):
            flag = draw(st.sampled_from(parameter.opts))
            if getattr(parameter, "is_flag", False):
                command.append(flag)
            elif parameter.name == "set_":
                command += [flag, draw(overrides)]
            else:
                command += [flag, *(draw(value) for _ in range(max(1, parameter.nargs)))]
    if "model" in [p.name for p in available[words].params] and not {"-m", "--model"} & set(
        command
    ):
        command += ["-m", draw(st.sampled_from(sorted(MODELS)))]
    return command


RARELY = st.sampled_from([False, False, False, False, True])
FITTING: dict[tuple[str, str], list[str]] = {
    ("", "config"): ["rnn.yaml", "transformer.yaml"],
    ("", "run"): ["rnn", "transformer", "new"],
    ("plot", "run"): ["rnn", "transformer"],
    ("", "model"): ["rnn", "transformer"],
    ("export", "model"): ["rnn", "transformer"],
    ("", "reverse"): ["rnn", "transformer"],
    ("", "src"): ["test.in", "valid.in"],
    ("", "tgt"): ["test.out", "valid.out"],
    ("", "ref"): ["test.out"],
    ("", "file"): ["test.in", "valid.in"],
    ("", "files"): ["rnn.yaml", "test.in", "test.out"],
    ("", "systems"): ["rnn", "transformer", "rnn/last", "test.out"],
    ("", "checkpoints"): ["rnn", "rnn/best", "rnn/last"],
    ("", "output"): ["out", "out.json", "new/out"],
    ("", "html"): ["out.html"],
    ("", "png"): ["out.png"],
    ("", "svg"): ["out.svg"],
    ("", "device"): ["cpu"],
    ("", "a"): ["rnn", "transformer"],
    ("", "b"): ["rnn", "transformer"],
    ("", "force"): ["test.out", "1 2"],
    ("", "sentence"): ["1 2 3"],
}


@st.composite
def configs(draw: st.DrawFn) -> str:
    """Draw a shipped config or CONFIG_HERE, with some of its text changed."""
    text = draw(st.sampled_from([*(f.read_text() for f in CONFIGS), CONFIG_HERE]))
    for _ in range(draw(st.integers(1, 4))):
        position = draw(st.integers(0, len(text)))
        length = draw(st.integers(0, 12))
        insertion = draw(
            st.one_of(
                st.sampled_from(["\n", " ", ": ", "- ", "[", "]", "{", "}", "'", '"', "&a ", "*a"]),
                st.sampled_from(["#", "|", ">", "!!int ", "%", "@", "\t", "\r", "\u2028", "\x85"]),
                st.sampled_from(["no", "null", "~", "1e9", "0", "-1", "? ", "<<: ", "---\n", ","]),
                setting_values,
                odd_text,
            )
        )
        text = text[:position] + insertion + text[position + length :]
    return text


CONFIG_HERE = CONFIG.replace("ARCH", MODELS["rnn"])

Damage = tuple[str, int, int]
damages = st.tuples(
    st.sampled_from(["cut", "flip", "flip", "gone", "folder", "null", "empty", "json", "zeros"]),
    st.integers(0, 10**6),
    st.integers(0, 255),
)
JSONS = ["null", "[]", "{}", "1", '"x"', "[" * 5000, '{"format_version": []}', '{"update": "x"}']


def damage_file(file: Path, damage: Damage) -> None:
    """Damage a file."""
    kind, position, sign = damage
    content = bytearray(file.read_bytes())
    position %= max(1, len(content))
    if kind == "cut":
        file.write_bytes(content[:position])
    elif kind == "flip" and content:
        content[position] ^= sign or 1
        file.write_bytes(content)
    elif kind == "zeros":
        content[position : position + 8] = bytes(8)
        file.write_bytes(content)
    elif kind == "json":
        file.write_text(JSONS[position % len(JSONS)])
    elif kind == "empty":
        file.write_bytes(b"")
    else:
        file.unlink()
        if kind == "folder":
            file.mkdir()
        elif kind == "null":
            file.symlink_to("/dev/null")


READING = [
    ["translate", "-m", "RUN", "test.in", "--device", "cpu"],
    ["score", "-m", "RUN", "--src", "test.in", "--tgt", "test.out", "--device", "cpu"],
    ["explain", "-m", "RUN", "1 2 3", "--device", "cpu"],
    ["evaluate", "RUN", "--src", "test.in", "--ref", "test.out", "--device", "cpu"],
    ["runs", "list", "."],
    ["runs", "list", ".", "--json"],
    ["runs", "diff", "RUN", "rnn"],
    ["plot", "RUN"],
    ["config", "show", "RUN/config.yaml"],
    ["average", "RUN", "-o", "averaged"],
    ["shortlist", "RUN", "--device", "cpu"],
    [
        *("train", "RUN.yaml", "--run", "RUN", "--resume", "--device", "cpu"),
        *("--set", "train.max_updates=3"),
    ],
]


# -- properties ------------------------------------------------------------------------------


def check_command_line(fuzz_folder: FuzzFolder, arguments: list[str], stdin: bytes) -> None:
    """Check any command line."""
    fuzz_folder.reset()
    check_command(arguments, stdin, fuzz_folder.folder)


def check_config(fuzz_folder: FuzzFolder, text: str) -> None:
    """Check any config."""
    fuzz_folder.reset()
    (fuzz_folder.folder / "odd.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    check_command(["config", "show", "odd.yaml"], b"", fuzz_folder.folder)


def check_damage(
    fuzz_folder: FuzzFolder, arch: str, position: int, damage: Damage, command: list[str]
) -> None:
    """Check any damage of a run folder."""
    fuzz_folder.reset()
    names = fuzz_folder.files(arch)
    damage_file(fuzz_folder.folder / arch / names[position % len(names)], damage)
    words = [word.replace("RUN", arch) for word in command]
    check_command(words, b"", fuzz_folder.folder)


def check_text(fuzz_folder: FuzzFolder, arch: str, stdin: bytes, policy: str) -> None:
    """Check that any input gives one output line per input line."""
    fuzz_folder.reset()
    result = check_command(
        ["translate", "-m", arch, "--device", "cpu", "--invalid", policy], stdin, fuzz_folder.folder
    )
    if policy == "error" and result.code == errors.EXIT_USER_ERROR:
        assert "expected UTF-8" in result.err, result.err
        return
    assert result.code == 0, result.err
    assert result.out.count(b"\n") == stdin.count(b"\n")


Property = Callable[..., None]
archs = st.sampled_from(sorted(MODELS))
PROPERTIES: dict[str, tuple[Property, dict[str, st.SearchStrategy[Any]]]] = {
    "command lines": (check_command_line, {"arguments": command_lines(), "stdin": odd_stdin}),
    "configs": (check_config, {"text": configs()}),
    "run folders": (
        check_damage,
        {
            "arch": archs,
            "position": st.integers(0, 999),
            "damage": damages,
            "command": st.sampled_from(READING),
        },
    ),
    "text": (
        check_text,
        {
            "arch": archs,
            "stdin": odd_stdin,
            "policy": st.sampled_from(["error", "replace", "skip"]),
        },
    ),
}


def fuzz(fuzz_folder: FuzzFolder, name: str, examples: int, **how: Any) -> None:
    """Try a number of examples of a kind; raise the smallest failure."""
    check, strategies = PROPERTIES[name]

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        **how,
    )
    @given(**strategies)
    def check_example(**drawn: Any) -> None:
        outside = sorted(fuzz_folder.outside.parent.iterdir())
        check(fuzz_folder, **drawn)
        assert sorted(fuzz_folder.outside.parent.iterdir()) == outside, "wrote outside its folder"
        assert not list(fuzz_folder.outside.iterdir())

    check_example()


def main_() -> int:
    """Fuzz for `--minutes`; print each kind of failure once, with its seed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--only", choices=PROPERTIES)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    end, seed = time.monotonic() + 60 * arguments.minutes, arguments.seed
    failures: set[str] = set()
    counts = dict.fromkeys([arguments.only] if arguments.only else PROPERTIES, 0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="nmt-fuzz-") as folder:
        fuzz_folder = FuzzFolder(Path(folder))
        while time.monotonic() < end:
            for name in counts:
                seed += 1
                random.seed(seed)
                try:
                    phases = (Phase.generate, Phase.shrink)
                    fuzz(fuzz_folder, name, 25, phases=phases, report_multiple_bugs=False)
                except (Exception, Hang, ExceptionGroup) as error:
                    text = traceback.format_exc()
                    location = text.strip().split("\n")[-8:]
                    if str(location) not in failures:
                        failures.add(str(location))
                        print(f"== {name}, seed {seed}: {type(error).__name__}\n{text}", flush=True)
                counts[name] += 25
    print(f"tried {counts}; {len(failures)} failures", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main_())
