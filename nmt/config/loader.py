"""From a YAML file to a Config and back, with every problem named by its file and line."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from nmt.config import yaml_reader
from nmt.config.error_messages import Problem, schema_problems
from nmt.config.overrides import Override, label
from nmt.config.schema import Config, DataConfig, FilePair, TokenizerConfig, named_valid
from nmt.config.section import Section
from nmt.config.text_sets import AnySet, set_files
from nmt.config.yaml_reader import dotted
from nmt.core.run_dir import DEFAULT_MARK, GIVEN_MARK, RunDir, is_resolved_config
from nmt.core.text_encoding import require_utf8_text
from nmt.errors import ConfigError, DataError, did_you_mean, show_value

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
SECTIONS = ("data", "tokenizer", "model", "train", "decode")
LARGEST = 2**20
"""Bytes of a config, at most."""
LINE_ENDS = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""What ends a line in YAML, and so in its line numbers."""
"""What `show_config` writes behind each value."""


@dataclass(frozen=True)
class _Source:
    """Where each value came from: a line of the file, or a `--set`."""

    file: Path
    lines: dict[yaml_reader.Path, int]
    overrides: dict[yaml_reader.Path, str]

    def override(self, path: yaml_reader.Path) -> str | None:
        """Return the override that gave the value at `path`, if one did."""
        for known, override in self.overrides.items():
            shared = min(len(known), len(path))
            if known[:shared] == path[:shared] and (shared == len(known) or path not in self.lines):
                return override
        return None

    def conflicting(self, message: str) -> str | None:
        """Return the override that the message of a broken rule names, if it names one."""
        for known, override in self.overrides.items():
            if re.search(rf"(?<![\w.]){re.escape(dotted(known))}(?![\w.])", message):
                return override
        return None

    def line(self, path: yaml_reader.Path) -> str:
        """Return the file and the line of the value, or of the section around it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return f"{self.file}:{self.lines[path[:length]]}"
        return str(self.file)


def load_config(
    file: Path, overrides: list[str] | None = None, check_files: bool = False
) -> Config:
    """Read `file` or that of a run folder, apply `overrides` ("a.b=c"), and resolve every default.

    Raises ConfigError with all problems at once; with `check_files`, missing files are problems.
    """
    file = config_of(file)
    text = _read(file)
    document = yaml_reader.parse_yaml(text)
    data = document.data if document.data is not None else {}
    problems = list(document.problems)
    if not isinstance(data, dict):
        problems.append(((), f"expected a mapping of sections, got {show_value(data)}"))
    source = _Source(file, document.lines, {})
    if not isinstance(data, dict) or any(path == () for path, _ in problems):
        raise _error(problems, source)
    _anchor(data, file.resolve().parent)
    for override in overrides or []:
        problems += _apply_override(override, data, source)
    _fill_empty_sections(data)
    defaults = _marked_default(text, source)
    for name in FOLLOWING & defaults:
        section, key = name.split(".")
        if isinstance(data.get(section), dict):  # else a --set has put something in its place
            data[section].pop(key, None)
    config = None
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        problems += schema_problems(error, data, skip={path for path, _ in problems})
    conflicts: list[Problem] = []
    if config is not None:
        config = config.resolved(frozenset(_leaves(data)) - defaults)
        conflicts += config.contradictions()
    missing: list[Problem] = []
    if check_files:
        missing = _missing_texts(data.get("data")) + _missing_models(data.get("tokenizer"))
    if problems or conflicts or missing or config is None:
        raise _error(problems, source, conflicts, missing)
    return config


def _read(file: Path) -> str:
    """Return the text of a config file."""
    try:
        with open(file, "rb") as stream:
            content = stream.read(LARGEST + 1)
    except FileNotFoundError:
        raise ConfigError([f"{file}: no such file{_nearest_yaml(file)}"]) from None
    if len(content) > LARGEST:
        raise ConfigError([f"{file}: expected at most {LARGEST:,} bytes of YAML, got more"])
    try:
        require_utf8_text(content, str(file))
        return content.decode("utf-8-sig")
    except DataError as error:
        raise ConfigError([str(error)]) from None
    except UnicodeDecodeError as error:
        byte = content[error.start]
        raise ConfigError(
            [f"{file}: expected UTF-8, got the byte 0x{byte:02x} at offset {error.start}"]
        ) from None


def _error(
    problems: list[Problem],
    source: _Source,
    conflicts: Sequence[Problem] = (),
    missing: Sequence[Problem] = (),
) -> ConfigError:
    """Name each problem's origin: the flag, the `--set`, or the line of the file.

    A conflict of two settings names the override of either.
    """
    messages = []
    for group in (problems, conflicts, missing):
        for path, message in group:
            name = f"{dotted(path)}: " if path else ""
            override = source.override(path)
            if isinstance(override, Override) and override.startswith(f"{dotted(path)}="):
                name = ""  # the flag stands for the setting
            if override is None and group is conflicts:
                override = source.conflicting(message)
            place = source.line(path) if override is None else label(override)
            messages.append(f"{place}: {name}{message}")
    return ConfigError(messages)


def _fill_empty_sections(data: dict[str, Any]) -> None:
    """Make each section without settings an empty mapping: YAML reads `model:` as null."""
    for name in SECTIONS:
        if name in data and data[name] is None:
            data[name] = {}


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
    path: yaml_reader.Path = tuple(name.split("."))
    source.overrides[path] = override
    if not equals or not all(path):
        return [(path, f"expected SECTION.KEY=VALUE, such as train.lr=3e-4, got '{override}'")]
    value = yaml_reader.parse_value(text, path)
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


def config_of(path: Path) -> Path:
    """Return the config file that an argument names: the file itself, or that of a run folder."""
    if not path.is_dir():
        return path
    run = RunDir(path)
    file = run.config
    if not file.is_file():
        raise ConfigError(
            [f"{path}: expected a config (.yaml) or a run folder, got a folder without config.yaml"]
        )
    if not (run.has_begun() or is_resolved_config(file)):
        raise ConfigError(
            [
                f"{path}: expected a run folder, got a folder whose config.yaml nmt did not write "
                f"(give the file, {file})"
            ]
        )
    return file


def _is_run_config(run: RunDir) -> bool:
    """Return whether the config.yaml of a folder is that of a run, and not one of a person."""
    prepared = run.tokenizer_meta.is_file() and run.is_run() and is_resolved_config(run.config)
    return run.has_begun() or prepared


def run_folder(config: Config, path: Path, named: Path | None) -> RunDir:
    """Return the run folder of a command: `named`, else that of `path`, else that of the config.

    `path` is the config file or the run folder that the user gave. The config.yaml of a run names
    its folder. The last default is runs/<name of the file>.
    """
    if named is None and path.is_dir():
        return RunDir(path)
    run = RunDir(path.parent)
    if named is None and path.name == run.config.name and _is_run_config(run):
        return run
    return RunDir(named or config.run or Path("runs") / path.stem)


def _missing_texts(section: Any) -> list[Problem]:
    """Name the missing text files of a `data:` section, whatever is wrong with the others."""
    data = _valid(DataConfig, section)
    problems: list[Problem] = []
    if data is None:
        return problems
    sets: list[tuple[yaml_reader.Path, AnySet]] = [
        (("data", "train", i), one) for i, one in enumerate(data.train)
    ]
    valid = named_valid(data)
    many = isinstance(data.valid, list)
    sets += [(("data", "valid", *([i] if many else [])), one) for i, one in enumerate(valid)]
    sets += [(("data", "test", i), one) for i, one in enumerate(data.test)]
    wanted: list[tuple[yaml_reader.Path, Path]] = []
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
