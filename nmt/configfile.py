"""From a YAML file to a Config and back, with every problem named by its file and line."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from nmt import yamltext
from nmt.config import (
    FORMS,
    NO_SLASH,
    Config,
    DataConfig,
    FilePair,
    TextSet,
    TokenizerConfig,
    TrainSet,
    named_valid,
)
from nmt.encoding import require_utf8_text
from nmt.errors import ConfigError, DataError, did_you_mean
from nmt.rundir import RunDir
from nmt.schema import Section
from nmt.textsets import AnySet, set_files
from nmt.yamltext import dotted

Problem = tuple[yamltext.Path, str]
S = TypeVar("S", bound=Section)
PATH_SETTINGS = (
    "run",
    "data.train",
    "data.valid",
    "data.test",
    "data.alignments",
    "tokenizer.model",
)
"""Settings that name files; relative ones are anchored where they are written."""
SET_PATHS = ("prefix", "src", "tgt", "file")
"""Those of a text set."""
FOLLOWING = {"model.encoder_layers", "model.decoder_layers"}
"""Settings that follow model.num_layers again where they are read back as defaults."""
LARGEST = 2**20
"""Bytes of a config, at most."""
LINE_ENDS = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""What ends a line in YAML, and so in its line numbers."""
GIVEN_MARK, DEFAULT_MARK = "# given", "# default"
"""What `show_config` writes behind each value."""


@dataclass(frozen=True)
class _Source:
    """Where each value came from: a line of the file, or a `--set`."""

    file: Path
    lines: dict[yamltext.Path, int]
    overrides: dict[yamltext.Path, str]

    def place(self, path: yamltext.Path) -> str:
        for known, override in self.overrides.items():
            shared = min(len(known), len(path))
            if known[:shared] == path[:shared] and (shared == len(known) or path not in self.lines):
                return f"--set {override}: "
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return f"{self.file}:{self.lines[path[:length]]}: "
        return f"{self.file}: "


def load_config(
    file: Path, overrides: list[str] | None = None, check_files: bool = False
) -> Config:
    """Read `file`, apply `overrides` ("a.b=c"), and resolve every default.

    Raises ConfigError with all problems at once; with `check_files`, missing files are problems.
    """
    text = _read(file)
    document = yamltext.parse_yaml(text)
    data = document.data if document.data is not None else {}
    problems = list(document.problems)
    if not isinstance(data, dict):
        problems.append(((), f"must be a mapping of sections, is {_show(data)}"))
    source = _Source(file, document.lines, {})
    if not isinstance(data, dict) or any(path == () for path, _ in problems):
        raise _error(problems, source)
    _anchor(data, file.resolve().parent)
    for override in overrides or []:
        problems += _apply_override(override, data, source)
    defaults = _marked_default(text, source)
    for name in FOLLOWING & defaults:
        section, key = name.split(".")
        if isinstance(data.get(section), dict):  # else a --set has put something in its place
            data[section].pop(key, None)
    config = None
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        problems += _schema_problems(error, data, skip={path for path, _ in problems})
    if config is not None:
        config = config.resolved(frozenset(_leaves(data)) - defaults)
        problems += config.contradictions()
    if check_files:
        problems += _missing_texts(data.get("data")) + _missing_models(data.get("tokenizer"))
    if problems or config is None:
        raise _error(problems, source)
    return config


def _read(file: Path) -> str:
    """Return the text of a config file."""
    try:
        with open(file, "rb") as stream:
            content = stream.read(LARGEST + 1)
    except FileNotFoundError:
        raise ConfigError([f"{file}: no such file{_nearest_yaml(file)}"]) from None
    if len(content) > LARGEST:
        raise ConfigError([f"{file}: must be at most {LARGEST:,} bytes of YAML, holds more"])
    try:
        require_utf8_text(content, str(file))
        return content.decode("utf-8-sig")
    except DataError as error:
        raise ConfigError([str(error)]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{file}: must be UTF-8, is not at byte {error.start}"]) from None


def _error(problems: list[Problem], source: _Source) -> ConfigError:
    return ConfigError(
        source.place(path) + (f"{dotted(path)}: " if dotted(path) else "") + message
        for path, message in problems
    )


def _marked_default(text: str, source: _Source) -> set[str]:
    """Return the names whose line `show_config` marked as a default, in a run's own config."""
    lines = LINE_ENDS.split(text)
    return {
        dotted(path)
        for path, number in source.lines.items()
        if lines[number - 1].endswith(DEFAULT_MARK) and path not in source.overrides
    }


def _nearest_yaml(file: Path) -> str:
    siblings = [p.name for p in file.parent.glob("*.y*ml")] if file.parent.is_dir() else []
    return did_you_mean(file.name, siblings)


def _anchor(data: dict[str, Any], folder: Path) -> None:
    """Make the relative paths among PATH_SETTINGS absolute, in place."""

    def absolute(value: Any) -> Any:
        if isinstance(value, str):
            try:
                return str(folder / Path(value).expanduser())
            except RuntimeError:  # ~somebody who is not known here
                return str(folder / value)
        if isinstance(value, list):
            return [absolute(item) for item in value]
        if isinstance(value, dict):
            return {k: absolute(v) if k in SET_PATHS else v for k, v in value.items()}
        return value

    for name in PATH_SETTINGS:
        *sections, key = name.split(".")
        holder = data.get(sections[0]) if sections else data
        if isinstance(holder, dict) and key in holder:
            holder[key] = absolute(holder[key])


def _apply_override(override: str, data: dict[str, Any], source: _Source) -> list[Problem]:
    name, equals, text = override.partition("=")
    path: yamltext.Path = tuple(name.split("."))
    source.overrides[path] = override
    if not equals or not all(path):
        return [(path, "must read SECTION.KEY=VALUE, such as train.lr=3e-4")]
    value = yamltext.parse_value(text, path)
    branch: dict[str, Any] = {}
    inner = branch
    for key in path[:-1]:
        inner = inner.setdefault(str(key), {})
    inner[str(path[-1])] = value.data
    _anchor(branch, Path.cwd())
    _merge(branch, data)
    return [(at or path, what) for at, what in value.problems]


def _merge(branch: dict[str, Any], data: dict[str, Any]) -> None:
    for key, value in branch.items():
        if isinstance(value, dict) and isinstance(data.get(key), dict):
            _merge(value, data[key])
        else:
            data[key] = value


def _leaves(data: Any, prefix: str = "") -> list[str]:
    names = []
    for key, value in data.items():
        names.append(prefix + key)
        if isinstance(value, dict):
            names += _leaves(value, f"{prefix}{key}.")
    return names


def _schema_problems(error: ValidationError, data: Any, skip: set[yamltext.Path]) -> list[Problem]:
    """Turn pydantic's errors into ours; the branches of a union become one problem."""
    found: dict[yamltext.Path, list[str]] = {}
    for detail in error.errors(include_url=False):
        path, rest = _split_location(_untagged(detail["loc"]), data)
        if FilePair.__name__ in rest and detail["type"] in ("missing", "extra_forbidden"):
            message = "must be a mapping with the keys src and tgt"
        elif detail["type"] == "missing":
            path = (*path, *rest)
            message = "must be given"
        elif detail["type"] == "extra_forbidden":
            message = _unknown_key(path, data)
        elif detail["type"] == "union_tag_invalid" and path[:1] == ("data",):
            message = "must be a path, or a mapping such as {src: FILE, tgt: FILE}"
        elif detail["type"] == "union_tag_invalid":
            path = (*path, "arch")
            message = _choices(detail["ctx"]["expected_tags"], detail["ctx"]["tag"])
        else:
            message = _requirement(detail)
        messages = found.setdefault(path, [])
        if message not in messages:
            messages.append(message)
    problems = []
    for path, messages in found.items():
        if path in skip:
            continue
        text = ", or ".join(messages)
        if messages[0].startswith("must be") and messages[0] != "must be given":
            value = _value_at(data, path)
            text = f"{text}; it is {_show(value)}"
        problems.append((path, text))
    return problems


def _untagged(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Leave out the tags that pydantic puts there to say which branch of a union it tried."""
    location = location[:1] + location[2:] if location[:1] == ("model",) else location
    return tuple(part for part in location if part not in FORMS)


def _split_location(location: tuple[int | str, ...], data: Any) -> tuple[yamltext.Path, list[Any]]:
    """Split a pydantic location into the path that exists in the data and what follows it."""
    path: list[str | int] = []
    for i, part in enumerate(location):
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return tuple(path), list(location[i:])
        path.append(part)
    return tuple(path), []


def _value_at(data: Any, path: yamltext.Path) -> Any:
    for part in path:
        data = data[part]
    return data


def _unknown_key(path: yamltext.Path, data: Any) -> str:
    section: Any = Config
    for part in path[:-1]:
        if section is DataConfig and part in ("train", "valid", "test"):
            section = TrainSet if part == "train" else TextSet
            break
        section = section.model_fields[str(part)].annotation
    if NoneType in get_args(section):  # a section that may be left out
        [section] = set(get_args(section)) - {NoneType}
    others = ""
    if path[0] == "model":
        kinds = {
            kind.model_fields["arch"].annotation.__args__[0]: kind for kind in get_args(section)
        }
        arch = data["model"].get("arch", "rnn")
        section = kinds[arch]
        having = [name for name, kind in kinds.items() if path[-1] in kind.model_fields]
        others = f" with arch {arch}, only with {', '.join(having)}" if having else ""
    keys = list(section.model_fields)
    near = did_you_mean(str(path[-1]), keys)
    return f"is not a known key{others or near}; the keys here are {', '.join(keys)}"


def _choices(expected: str, given: str) -> str:
    choices = expected.replace("'", "").replace(" or ", ", ").split(", ")
    return f"must be one of {', '.join(choices)}{did_you_mean(given, choices)}"


def _requirement(detail: Any) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "literal_error":
        return _choices(context["expected"], str(detail["input"]))
    plain = {
        "int_type": "must be a whole number",
        "int_from_float": "must be a whole number",
        "finite_number": "must be a finite number",
        "float_type": "must be a number",
        "bool_type": "must be true or false",
        "string_type": "must be text",
        "path_type": "must be a path",
        "list_type": "must be a list",
        "model_type": "must be a mapping",
        "dict_type": "must be a mapping",
        "greater_than": f"must be above {context.get('gt')}",
        "greater_than_equal": f"must be at least {context.get('ge')}",
        "less_than_equal": f"must be at most {context.get('le')}",
        "less_than": f"must be below {context.get('lt')}",
        "too_short": "must not be empty" if context.get("min_length") == 1 else "must name two",
        "too_long": "must name two",
        "string_pattern_mismatch": "must be a part of file names, without a /"
        if context.get("pattern") == NO_SLASH
        else "must be of letters, digits, - and _",
    }
    return plain.get(kind) or f"must hold: {detail['msg']}"


def _show(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return "true" if value is True else "false" if value is False else str(value)


def run_folder(config: Config, file: Path, named: Path | None) -> RunDir:
    """Return the run folder: the one named, else the config's, else runs/<name of the file>."""
    return RunDir(named or config.run or Path("runs") / file.stem)


def _missing_texts(section: Any) -> list[Problem]:
    """Name the missing text files of a `data:` section, whatever is wrong with the others."""
    data = _valid(DataConfig, section)
    problems: list[Problem] = []
    if data is None:
        return problems
    sets: list[tuple[yamltext.Path, AnySet]] = [
        (("data", "train", i), one) for i, one in enumerate(data.train)
    ]
    valid = named_valid(data)
    many = isinstance(data.valid, list)
    sets += [(("data", "valid", *([i] if many else [])), one) for i, one in enumerate(valid)]
    sets += [(("data", "test", i), one) for i, one in enumerate(data.test)]
    wanted: list[tuple[yamltext.Path, Path]] = []
    for place, one in sets:
        try:
            wanted += [(place, file) for part in set_files(one, data) for file in part]
        except DataError as error:
            problems.append((place, str(error)))
    wanted += [(("data", "alignments", i), file) for i, file in enumerate(data.alignments or [])]
    for place, file in wanted:
        if not file.is_file():
            siblings = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
            problems.append((place, f"no such file: {file}{did_you_mean(file.name, siblings)}"))
    return problems


def _missing_models(section: Any) -> list[Problem]:
    """Name the missing files of a `tokenizer:` section."""
    tokenizer = _valid(TokenizerConfig, section or {})
    model = tokenizer.model if tokenizer else None
    owns = (model.src, model.tgt) if isinstance(model, FilePair) else (model,)
    return [
        (("tokenizer", "model"), f"no such file: {own}")
        for own in owns
        if own is not None and not own.is_file()
    ]


def _valid(kind: type[S], section: Any) -> S | None:
    """Return the section if it holds by itself; what is wrong with it has been named already."""
    try:
        return kind.model_validate(section)
    except ValidationError:
        return None


def show_config(config: Config) -> str:
    """Write the resolved config as YAML, each value marked default or given."""
    lines = []
    for name, value in config.model_dump(mode="json").items():
        if not isinstance(value, dict):
            lines.append(_setting(config, name, value, indent=""))
            continue
        lines.append(f"{name}:")
        lines += [_setting(config, f"{name}.{key}", item, "  ") for key, item in value.items()]
    return "\n".join(lines) + "\n"


def _setting(config: Config, name: str, value: Any, indent: str) -> str:
    mark = GIVEN_MARK if config.is_given(name) else DEFAULT_MARK
    return f"{indent}{name.split('.')[-1]}: {json.dumps(value, ensure_ascii=False)}  {mark}"


def config_schema() -> str:
    """Return the JSON schema of the YAML, for editors."""
    schema = Config.model_json_schema()
    schema["title"] = "nmt config"
    return json.dumps(schema, indent=2, ensure_ascii=False)
