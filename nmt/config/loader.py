"""Load a config from YAML and write it back; every problem names its file and line."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nmt.config.conflicts import check_conflicts
from nmt.config.error_messages import empty_list_problems, schema_problems
from nmt.config.missing_files import missing_text_files, missing_tokenizer_files
from nmt.config.overrides import Override, override_label
from nmt.config.parent import inherit_default_tags, inherit_settings, missing_tags
from nmt.config.renamed_keys import RENAMED_KEYS, current_path, rename_keys
from nmt.config.schema import Config
from nmt.config.text_sets import memory_form
from nmt.config.yaml_reader import (
    Document,
    KeyPath,
    Problem,
    dotted_key,
    parse_value,
    parse_yaml,
)
from nmt.core.run_dir import (
    DEFAULT_MARK,
    GIVEN_MARK,
    RunDir,
    is_resolved_config,
    open_model,
)
from nmt.core.text_encoding import reject_utf16_text
from nmt.core.torchrun import rank
from nmt.errors import ConfigError, DataError, RunError, did_you_mean, show_value

logger = logging.getLogger(__name__)
PATH_KEYS = (
    "run",
    "data.train",
    "data.valid",
    "data.test",
    "data.alignments",
    "tokenizer.model",
    "train.from",
)
"""Keys whose values are paths. A relative path belongs to the folder of the config file; on the
command line, to the working directory."""
TEXT_SET_PATH_KEYS = ("prefix", "src", "tgt", "file")
"""Keys of a text set whose values are paths."""
DERIVED_KEYS = {"model.encoder_layers", "model.decoder_layers"}
"""Keys with another setting as their default (model.num_layers), even in a resolved config."""
SECTIONS = ("data", "tokenizer", "model", "train", "decode")
MAX_BYTES = 2**20
"""Maximum size of a config file."""
LINE_ENDS = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""Line breaks of YAML, which determine its line numbers."""


@dataclass(frozen=True)
class _Origins:
    """The origin of each value: a line of the config file, or an override."""

    file: Path
    lines: dict[KeyPath, int]
    """Line number of each value in the file."""
    overrides: dict[KeyPath, str]

    def override_of(self, path: KeyPath) -> str | None:
        """Return the override that set the value at `path`, if any."""
        for key_path, override in self.overrides.items():
            length = min(len(key_path), len(path))
            is_related = key_path[:length] == path[:length]
            if is_related and (length == len(key_path) or path not in self.lines):
                return override
        return None

    def override_in(self, message: str) -> str | None:
        """Return the first override whose key the message mentions, if any."""
        for key_path, override in self.overrides.items():
            if re.search(rf"(?<![\w.]){re.escape(dotted_key(key_path))}(?![\w.])", message):
                return override
        return None

    def line_of(self, path: KeyPath) -> str:
        """Return FILE:LINE of the value at `path`, or of the smallest section around it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return f"{self.file}:{self.lines[path[:length]]}"
        return str(self.file)


def load_config(
    file: Path, overrides: list[str] | None = None, check_files: bool = False
) -> Config:
    """Return the config of a file or run folder, with overrides ("a.b=c") and defaults applied.

    Raises ConfigError with all problems at once. With `check_files`, missing files are problems.
    """
    file = find_config_file(file)
    text = _read_config_text(file)
    document = parse_yaml(text)
    data = document.data = document.data if document.data is not None else {}
    origins = _Origins(file, document.lines, {})
    if not isinstance(data, dict):
        document.problems.append(((), f"expected a mapping of sections, got {show_value(data)}"))
    if any(path == () for path, _ in document.problems):
        raise _config_error(document.problems, origins)
    _rename_keys(document, text, origins)
    problems = list(document.problems)
    _make_paths_absolute(data, file.resolve().parent)
    for override in overrides or []:
        problems += _apply_override(override, data, origins)
    _fill_empty_sections(data)
    default_keys = _keys_marked_default(text, origins)
    given_keys = set(_nested_keys(data)) - default_keys
    parent, parent_problems = _load_parent(data, is_resolved_config(file), origins)
    problems += parent_problems
    if parent is not None:
        inherited_keys, differences = inherit_settings(data, parent)
        given_keys |= inherited_keys
        problems += differences
    for dotted in DERIVED_KEYS & default_keys:
        section, key = dotted.split(".")
        if isinstance(data.get(section), dict):  # an override may have replaced the section
            data[section].pop(key, None)
    config = None
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        problems += schema_problems(error, data, skipped={path for path, _ in problems})
    if config is not None and (check_files or not is_resolved_config(file)):
        problems += empty_list_problems(config)
    conflicts: list[Problem] = []
    if config is not None:
        config = config.with_defaults(frozenset(given_keys))
        if parent is not None:
            problems += missing_tags(config, parent)
            config = inherit_default_tags(config, parent)
        conflicts = [
            (tuple(conflict.key.split(".")), conflict.message)
            for conflict in check_conflicts(config).conflicts
        ]
    missing: list[Problem] = []
    if check_files:
        missing = [
            *missing_text_files(data.get("data")),
            *missing_tokenizer_files(data.get("tokenizer")),
        ]
    if problems or conflicts or missing or config is None:
        raise _config_error(problems, origins, conflicts, missing)
    return config


def _load_parent(
    data: dict[str, Any], resolved: bool, origins: _Origins
) -> tuple[Config | None, list[Problem]]:
    """Return the config of the run that `train.from` names; None if there is nothing to inherit.

    A resolved config has all settings of its parent already, so the parent may be gone.
    """
    path = ("train", "from")
    train = data.get("train")
    value = train.get("from") if isinstance(train, dict) else None
    if not isinstance(value, str) or (resolved and path not in origins.overrides):
        return None, []
    try:
        return load_config(open_model(Path(value)).config), []
    except ConfigError as error:
        return None, [(path, f"expected a valid run, got {error.problems[0]}")]
    except RunError as error:
        return None, [(path, f"expected a run folder or a checkpoint, got {error}")]


def _read_config_text(file: Path) -> str:
    """Return the text of a config file, without a byte order mark.

    Raises ConfigError if the file is missing, is larger than MAX_BYTES, or is not UTF-8, and
    OSError if it cannot be read. UTF-16 and UTF-32 get an error of their own, which says how to
    convert the file.
    """
    try:
        with open(file, "rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError([f"{file}: no such file{_similar_config(file)}"]) from None
    if len(content) > MAX_BYTES:
        raise ConfigError([f"{file}: expected at most {MAX_BYTES:,} bytes of YAML, got more"])
    try:
        reject_utf16_text(content, str(file))
        return content.decode("utf-8-sig")
    except DataError as error:
        raise ConfigError([str(error)]) from None
    except UnicodeDecodeError as error:
        byte = content[error.start]
        raise ConfigError(
            [f"{file}: expected UTF-8, got the byte 0x{byte:02x} at offset {error.start}"]
        ) from None


def _config_error(
    problems: list[Problem],
    origins: _Origins,
    conflicts: Sequence[Problem] = (),
    missing: Sequence[Problem] = (),
) -> ConfigError:
    """Return the error with the origin of each problem: a flag, a `--set`, or a line of the file.

    The origin of a conflict is the override of either setting, if there is one.
    """
    messages = []
    for group in (problems, conflicts, missing):
        for path, message in group:
            name = f"{dotted_key(path)}: " if path else ""
            override = origins.override_of(path)
            if isinstance(override, Override) and override.startswith(f"{dotted_key(path)}="):
                name = ""  # the user typed a flag instead of the key
            if override is None and group is conflicts:
                override = origins.override_in(message)
            origin = origins.line_of(path) if override is None else override_label(override)
            messages.append(f"{origin}: {name}{message}")
    return ConfigError(messages)


def _rename_keys(document: Document, text: str, origins: _Origins) -> None:
    """Give the keys of a config file their new names, in place; report old names of the user."""
    lines = LINE_ENDS.split(text)
    for old_key in rename_keys(document):
        path = tuple(old_key.split("."))
        if not lines[origins.lines[path] - 1].endswith((GIVEN_MARK, DEFAULT_MARK)):
            _report_old_key(origins.line_of(path), old_key)


@cache
def _report_old_key(origin: str, old_key: str) -> None:
    """Report an old key, once in each place and only on the main rank."""
    if rank() == 0:
        logger.info(f"{origin}: {old_key} is now called {RENAMED_KEYS[old_key]}")


def _fill_empty_sections(data: dict[str, Any]) -> None:
    """Replace null sections by empty mappings, in place: YAML reads `model:` as null."""
    for name in SECTIONS:
        if name in data and data[name] is None:
            data[name] = {}


def _keys_marked_default(text: str, origins: _Origins) -> set[str]:
    """Return the dotted keys that a resolved config marks as defaults at the end of their lines."""
    lines = LINE_ENDS.split(text)
    return {
        dotted_key(path)
        for path, number in origins.lines.items()
        if lines[number - 1].endswith(DEFAULT_MARK) and path not in origins.overrides
    }


def _similar_config(file: Path) -> str:
    """Return a hint with the config file in the folder of `file` that has the most similar name."""
    siblings = [p.name for p in file.parent.glob("*.y*ml")] if file.parent.is_dir() else []
    return did_you_mean(file.name, siblings)


def _make_paths_absolute(data: dict[str, Any], folder: Path) -> None:
    """Make the relative paths of PATH_KEYS absolute, in place."""

    def absolute(value: Any) -> Any:
        if isinstance(value, str):
            try:
                return str(folder / Path(value).expanduser())
            except RuntimeError:  # ~name of an unknown user
                return str(folder / value)
        if isinstance(value, list):
            return [absolute(item) for item in value]
        if isinstance(value, dict):
            is_memory = memory_form(Path(str(value.get("file")))) is not None
            keys = ("file",) if is_memory else TEXT_SET_PATH_KEYS
            return {k: absolute(v) if k in keys else v for k, v in value.items()}
        return value

    for dotted in PATH_KEYS:
        *sections, key = dotted.split(".")
        section = data.get(sections[0]) if sections else data
        if isinstance(section, dict) and key in section:
            section[key] = absolute(section[key])


def _apply_override(override: str, data: dict[str, Any], origins: _Origins) -> list[Problem]:
    """Merge an override "a.b=c" into `data`, in place; return its problems."""
    dotted, equals, text = override.partition("=")
    given_path: KeyPath = tuple(dotted.split("."))
    path = current_path(given_path)
    origins.overrides[path] = override  # even if invalid, so that its error message names it
    if not equals or not all(path):
        return [(path, f"expected SECTION.KEY=VALUE, such as train.lr=3e-4, got '{override}'")]
    document = parse_value(text, given_path)
    changes: Any = document.data
    for key in reversed(given_path):
        changes = {str(key): changes}
    document.data = changes
    for old_key in rename_keys(document):
        _report_old_key(override_label(override), old_key)
    _make_paths_absolute(changes, Path.cwd())
    _merge(changes, data)
    return [(key_path or path, message) for key_path, message in document.problems]  # () if no YAML


def _merge(changes: dict[str, Any], data: dict[str, Any]) -> None:
    """Merge nested mappings into `data`, in place."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(data.get(key), dict):
            _merge(value, data[key])
        else:
            data[key] = value


def _nested_keys(data: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted keys of all sections and settings."""
    keys = []
    for key, value in data.items():
        keys.append(prefix + key)
        if isinstance(value, dict):
            keys += _nested_keys(value, f"{prefix}{key}.")
    return keys


def find_config_file(path: Path) -> Path:
    """Return the config file of a command line argument: the file itself, or that of a run folder.

    Raises ConfigError for a folder without a config that nmt wrote.
    """
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
                f"{path}: expected a run folder, got a folder with a config.yaml that nmt did not "
                f"write (name the file, {file})"
            ]
        )
    return file


def _has_run_config(run: RunDir) -> bool:
    """Return whether the config.yaml of a folder belongs to a run, not to a user."""
    prepared = run.tokenizer_meta.is_file() and run.is_run() and is_resolved_config(run.config)
    return run.has_begun() or prepared


def resolve_run_dir(config: Config, path: Path, run_option: Path | None) -> RunDir:
    """Return the run folder of a command.

    `path` is the config file or run folder that the user named, `run_option` the value of --run.
    The run folder is the first of: `run_option`, the folder of `path` if it is a run, the key `run`
    of the config, runs/<stem of the config file>.
    """
    if run_option is None and path.is_dir():
        return RunDir(path)
    run = RunDir(path.parent)
    if run_option is None and path.name == run.config.name and _has_run_config(run):
        return run
    return RunDir(run_option or config.run or Path("runs") / path.stem)


def format_config(config: Config) -> str:
    """Return the resolved config as YAML, with a comment on each line: given or default."""
    lines = []
    for name, value in config.model_dump(mode="json").items():
        if not isinstance(value, dict):
            lines.append(_format_setting(config, name, value, indent=""))
            continue
        lines.append(f"{name}:")
        for key, item in value.items():
            lines.append(_format_setting(config, f"{name}.{key}", item, indent="  "))
    return "\n".join(lines) + "\n"


def _format_setting(config: Config, dotted: str, value: Any, indent: str) -> str:
    """Return the line of one setting."""
    mark = GIVEN_MARK if config.is_explicit(dotted) else DEFAULT_MARK
    return f"{indent}{dotted.split('.')[-1]}: {json.dumps(value, ensure_ascii=False)}  {mark}"


def config_json_schema() -> str:
    """Return the JSON schema of the config, for editors."""
    schema = Config.model_json_schema()
    schema["title"] = "nmt config"
    return json.dumps(schema, indent=2, ensure_ascii=False)
