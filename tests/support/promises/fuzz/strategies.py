"""Strategies of hypothesis: command lines, configs, text and damage of files."""

from __future__ import annotations

from typing import Any

import click
import typer.main
from hypothesis import strategies as st

from nmt.cli.app import app
from nmt.config.model_config import RNNConfig, TransformerConfig
from nmt.config.sections.base import Section, setting_names
from nmt.config.sections.data import DataConfig
from nmt.config.sections.decode import DecodeConfig
from nmt.config.sections.tokenizer import TokenizerConfig
from nmt.config.sections.train import TrainConfig
from tests.support.paths import ROOT
from tests.support.promises.fuzz.folders import (
    CONFIG,
    MEMORIES,
    MODELS,
    SEGMENT,
    TRANS_UNIT,
    UNIT,
)
from tests.support.promises.fuzz.model_folders import CHANGES, ODD_VALUES

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))

TINY_CONFIG = CONFIG.replace("ARCH", MODELS["rnn"])

odd_text = st.text(st.characters(exclude_characters="\0/"), max_size=20)  # stays in its folder
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
setting_keys = st.sampled_from(
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
overrides = st.builds(lambda name, value: f"{name}={value}", setting_keys, setting_values)

DOWNLOAD_COMMANDS = {"data get"}
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
    return {words: command for words, command in by_name.items() if words not in DOWNLOAD_COMMANDS}


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Draw a command with some of its flags, and mostly valid values."""
    available = commands()
    words = draw(st.sampled_from(sorted(available)))
    command = words.split()
    for parameter in available[words].params:
        fits = VALID_VALUES.get(
            (words, parameter.name or ""), VALID_VALUES.get(("", parameter.name or ""))
        )
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
VALID_VALUES: dict[tuple[str, str], list[str]] = {
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
    ("data convert", "input_"): ["test", "test.tmx"],
    ("data convert", "output"): ["out", "out.tmx", "out.tsv", "new/out.jsonl"],
    ("data convert", "since"): ["2020-01-31"],
    ("data convert", "src"): ["in"],
    ("data convert", "tgt"): ["out"],
    ("", "force"): ["test.out", "1 2"],
    ("", "sentence"): ["1 2 3"],
}


@st.composite
def configs(draw: st.DrawFn) -> str:
    """Draw a shipped config or TINY_CONFIG, with some of its text changed."""
    text = draw(st.sampled_from([*(f.read_text() for f in CONFIGS), TINY_CONFIG]))
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


damages = st.tuples(
    st.sampled_from(
        ["truncate", "flip", "flip", "delete", "folder", "null", "empty", "json", "zeros"]
    ),
    st.integers(0, 10**6),
    st.integers(0, 255),
)


XML_FRAGMENTS = [
    *(UNIT.encode(), UNIT.encode() * 500, b"<tu>" * 3000, b"x" * 2_000_000),
    *(TRANS_UNIT.encode() * 2, SEGMENT.encode() * 2, b"<g>" * 2000, b"<source>", b"</target>"),
    *rb"""<seg> </seg> <tuv> </tuv> <ph> </ph> <hi> </hi> <x/> </tu> <tu < > & " '""".split(),
    *rb"""<!-- --> <![CDATA[ ]]> <?p ?> <! &lt; &#10; &#0; &e; in out utf-16 latin-1""".split(),
    *(b' xml:lang="in"', b' lang="out"', b'<!DOCTYPE tmx [<!ENTITY e "x">]>'),
    *(b"\n", b"\r\n", b"\xff", b"\xef\xbf\xbf"),
]


@st.composite
def memories(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draw a TMX or XLIFF file, with some of its content replaced; return its name and content."""
    name, text = draw(st.sampled_from(sorted(MEMORIES.items())))
    content = text.encode()
    unit_positions = [text.rindex("\n<", 0, text.index("2 &")) + 1, text.index("2 &")]
    for _ in range(draw(st.integers(0, 3))):
        position = draw(st.sampled_from([*unit_positions, len(content)]))
        position = draw(st.integers(0, len(content))) if draw(RARELY) else position
        length = draw(st.sampled_from([1, 7, 40, 10**6])) if draw(RARELY) else 0
        put = draw(st.one_of(st.sampled_from(XML_FRAGMENTS), odd_line))
        content = content[:position] + put + content[position + length :]
    return name, content


model_changes = st.lists(
    st.tuples(
        st.sampled_from([*CHANGES, "bytes", "folder"]),
        st.integers(0, 10**6),
        st.sampled_from(ODD_VALUES),
        damages,
    ),
    min_size=1,
    max_size=2,
)
"""Damage of a model folder."""
