"""Parse YAML with stricter scalars than YAML 1.1, and record the line of each value.

`1e-3` is a number, `1e3` an integer, `12:30` and `2020-01-01` are text. A key that occurs twice
in a mapping is a problem. A bare `no`, `yes`, `on` or `off` is a problem with a hint, because it
may be meant as text, such as the language code of Norwegian.

Input is not trusted: tags are refused, and depth and size are limited with aliases expanded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

KeyPath = tuple[str | int, ...]
"""Keys and list indices that lead from the root of a document to a value."""
Problem = tuple[KeyPath, str]
"""The path of a value, and a message."""

MAX_DEPTH = 32
"""Maximum number of nested lists and mappings."""
MAX_VALUES = 100_000
"""Maximum number of values in a document, aliases expanded."""
INTEGER = re.compile(r"[-+]?[0-9][0-9_]{0,99}")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", re.I)
MAX_INTEGER_WITH_EXPONENT = 1e15
"""Largest number such as 1e3 that is read as an integer."""
NULL = ("", "~", "null", "Null", "NULL")
BOOLEAN = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
INVALID_CHARACTER = re.compile(r"[\0\ud800-\udfff]")
"""NUL and surrogates: quoted YAML text can contain them as escapes, but files cannot."""
INVALID_CHARACTER_FOUND = "got a NUL or half of a surrogate pair"
TOO_LARGE = (
    f"expected at most {MAX_VALUES:,} values and {MAX_DEPTH} levels, aliases expanded, got more"
)
AMBIGUOUS = ("yes", "no", "on", "off", "y", "n")
"""Words that YAML 1.1 reads as booleans, in lower case."""
SWITCHES = ("compile",)
"""Keys whose values include the texts `on` and `off`."""


@dataclass
class Document:
    """A parsed YAML document."""

    data: Any = None
    """Nested dicts, lists and scalars."""
    lines: dict[KeyPath, int] = field(default_factory=dict)
    """Line number of each value, from 1."""
    problems: list[Problem] = field(default_factory=list)
    value_count: int = 0
    """Number of values so far, aliases expanded."""


class _Loader(yaml.SafeLoader):
    """A YAML loader that refuses tags and deep nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            self._refuse(event, "tags such as !!str are not supported; quote text instead")
        self.depth += 1
        if self.depth > MAX_DEPTH + 1:  # a scalar inside MAX_DEPTH lists is one level deeper
            self._refuse(event, f"lists and mappings are more than {MAX_DEPTH} levels deep")
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _refuse(self, event: Any, problem: str) -> None:
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


class _TooLargeError(Exception):
    """The document exceeds MAX_VALUES or MAX_DEPTH with its aliases expanded."""


def dotted_key(path: KeyPath) -> str:
    """Return a path in the form that users type: `data.train.0`."""
    return ".".join(str(part) for part in path)


def parse_yaml(text: str, root_path: KeyPath = ()) -> Document:
    """Parse one YAML document. The result contains its problems; none is raised.

    `root_path` is the path of the text in a larger document, such as the key of a `--set`; it
    begins the paths of all values. A text that is not YAML, or too large, has a single problem
    with the path (), because no value was read.
    """
    document = Document()
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return _invalid_document(mark.line + 1 if mark else 1, error.problem or error.context)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return _invalid_document(line, f"{error.reason} (U+{error.character:04X})")
    if root is not None:
        try:
            document.data = _build(root, root_path, document, frozenset())
        except _TooLargeError:
            document.problems = [((), TOO_LARGE)]
    return document


def _invalid_document(line: int, reason: str | None) -> Document:
    """Return the result for a text that is not YAML; `line` is the line of the error."""
    problem: Problem = ((), f"expected YAML, got an error: {reason}")
    return Document(lines={(): line}, problems=[problem])


def parse_value(text: str, path: KeyPath) -> Document:
    """Parse the value of a `--set`: a scalar, or a YAML list or mapping.

    A blank value is blank text, not null as in YAML: `--set KEY=` sets an empty text.
    """
    return parse_yaml(text, path) if text.strip() else Document(data=text)


def _build(node: yaml.Node, path: KeyPath, document: Document, ancestors: frozenset[int]) -> Any:
    """Return the data of a node, and record its lines and problems in the document.

    `ancestors` are the ids of the nodes around this one, which detect recursive aliases.
    """
    document.lines.setdefault(path, node.start_mark.line + 1)
    if id(node) in ancestors:
        document.problems.append(
            (path, "expected a finite document, got an alias to a list or mapping that contains it")
        )
        return None
    document.value_count += 1
    if document.value_count > MAX_VALUES or len(ancestors) > MAX_DEPTH:
        raise _TooLargeError
    ancestors |= {id(node)}
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*path, i), document, ancestors) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return _build_mapping(node, path, document, ancestors)
    if INVALID_CHARACTER.search(node.value):
        document.problems.append((path, f"expected text, {INVALID_CHARACTER_FOUND}"))
    if not isinstance(node, yaml.ScalarNode) or node.style is not None:
        return node.value  # quoted or block text
    return _parse_scalar(node.value, path, document)


def _build_mapping(
    node: yaml.MappingNode, path: KeyPath, document: Document, ancestors: frozenset[int]
) -> dict[str, Any]:
    """Return the data of a mapping; keys must be distinct words."""
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            document.problems.append((path, "expected a word as key, got a list or a mapping"))
            continue
        key = key_node.value
        if INVALID_CHARACTER.search(key):
            document.problems.append((path, f"expected a word as key, {INVALID_CHARACTER_FOUND}"))
            continue
        value_path = (*path, key)
        line = key_node.start_mark.line + 1
        document.lines.setdefault(value_path, line)
        if key in mapping:
            first_line = document.lines[value_path]
            document.problems.append(
                (value_path, f"expected one value, got a second one (first on line {first_line})")
            )
            document.lines[value_path] = line
        mapping[key] = _build(value_node, value_path, document, ancestors)
    return mapping


def _parse_scalar(text: str, path: KeyPath, document: Document) -> Any:
    """Return the value of unquoted text."""
    if text in NULL:
        return None
    if text in BOOLEAN:
        return BOOLEAN[text]
    if INTEGER.fullmatch(text):
        return int(text.replace("_", ""))
    if FLOAT.fullmatch(text):
        number = float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
        has_exponent = "e" in text.lower()
        if has_exponent and abs(number) <= MAX_INTEGER_WITH_EXPONENT and number == int(number):
            return int(number)
        return number
    if text.lower() in AMBIGUOUS and not (path[-1:] and path[-1] in SWITCHES):
        boolean = "true" if text.lower() in ("yes", "on", "y") else "false"
        is_language = boolean == "false" and path[-1:] in (("src",), ("tgt",))
        suggestion = f"write '{text}' (quoted) for the text"
        if not is_language:
            suggestion = f"write {boolean} for the boolean, or '{text}' (quoted) for the text"
        document.problems.append((path, f"a bare {text} is ambiguous in YAML: {suggestion}"))
    return text
