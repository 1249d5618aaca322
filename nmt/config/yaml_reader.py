"""YAML as people mean it: values with the line they stand on, and the traps of YAML 1.1 disarmed.

`1e-3` is a number, `1e3` a whole number, `12:30` and `2020-01-01` are text. A key given twice is a
problem. A bare `no`, `yes`, `on` or `off` is refused with a hint, as some users mean Norwegian.

A document is data and nothing else: no tags, and caps on its depth and on what its aliases may
repeat, so that no text, whoever wrote it, runs code or takes more than a moment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str | int, ...]
"""Where a value stands in the document: keys and list positions from the top."""

DEEPEST = 32
"""Lists and mappings inside each other, at most."""
MOST_VALUES = 100_000
"""Values of a document with all its aliases written out, at most."""
INTEGER = re.compile(r"[-+]?[0-9][0-9_]{0,99}")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", re.I)
LARGEST_WHOLE = 1e15
"""Numbers such as 1e3 are whole numbers up to this."""
NULL = ("", "~", "null", "Null", "NULL")
BOOLEAN = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
HALF_OR_NUL = re.compile(r"[\0\ud800-\udfff]")
"""What a quoted text can spell with an escape, and no file can hold."""
TOO_LARGE = (
    f"expected at most {MOST_VALUES:,} values and {DEEPEST} levels, aliases expanded, got more"
)
AMBIGUOUS = ("yes", "no", "on", "off", "y", "n")


@dataclass
class Document:
    """A parsed YAML text: plain data, the line of each value, and what was wrong with it."""

    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[tuple[Path, str]] = field(default_factory=list)
    values: int = 0
    """How many were built, those of aliases as often as they are named."""


class _Loader(yaml.SafeLoader):
    """Composes plain nodes only: no tags, and nothing too deep to be walked through."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            self._refuse(event, "tags such as !!str are not read; quote what is to be text")
        self.depth += 1
        if self.depth > DEEPEST + 1:
            self._refuse(event, f"lists and mappings are more than {DEEPEST} levels deep")
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _refuse(self, event: Any, problem: str) -> None:
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


class _TooLargeError(Exception):
    """The document goes beyond MOST_VALUES or DEEPEST once its aliases are written out."""


def dotted(path: Path) -> str:
    """Write a path as the person types it: `data.train.0`."""
    return ".".join(str(part) for part in path)


def parse_yaml(text: str, at: Path = ()) -> Document:
    """Parse one YAML document; problems are collected, never raised.

    `at` is where the text stands in a larger document, as with `--set`.
    """
    document = Document()
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        document.lines[()] = mark.line + 1 if mark else 1
        document.problems.append(
            ((), f"expected YAML, got an error: {error.problem or error.context}")
        )
        return document
    except yaml.reader.ReaderError as error:
        document.lines[()] = text.count("\n", 0, error.position) + 1
        document.problems.append(
            ((), f"expected YAML, got an error: {error.reason} (U+{error.character:04X})")
        )
        return document
    if root is not None:
        try:
            document.data = _build(root, at, document, frozenset())
        except _TooLargeError:
            document.problems = [((), TOO_LARGE)]
    return document


def parse_value(text: str, at: Path) -> Document:
    """Parse what stands right of the `=` of a `--set`: a scalar, or a YAML list or mapping."""
    return parse_yaml(text, at) if text.strip() else Document(data=text)


def _build(node: yaml.Node, path: Path, document: Document, above: frozenset[int]) -> Any:
    document.lines.setdefault(path, node.start_mark.line + 1)
    if id(node) in above:
        document.problems.append(
            (path, "expected a finite document, got an alias to a list or mapping that contains it")
        )
        return None
    document.values += 1
    if document.values > MOST_VALUES or len(above) > DEEPEST:
        raise _TooLargeError
    above |= {id(node)}
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*path, i), document, above) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document, above)
    if HALF_OR_NUL.search(node.value):
        document.problems.append((path, "expected text, got a NUL or half of a surrogate pair"))
    if (
        not isinstance(node, yaml.ScalarNode) or node.style is not None
    ):  # quoted or block text is text, whatever it looks like
        return node.value
    return _plain(node.value, path, document)


def _mapping(
    node: yaml.MappingNode, path: Path, document: Document, above: frozenset[int]
) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            document.problems.append((path, "expected a word as key, got a list or a mapping"))
            continue
        key = key_node.value
        if HALF_OR_NUL.search(key):
            document.problems.append(
                (path, "expected a word as key, got a NUL or half of a surrogate pair")
            )
            continue
        at = (*path, key)
        document.lines.setdefault(at, key_node.start_mark.line + 1)
        if key in mapping:
            document.problems.append(
                (at, f"is given twice (first on line {document.lines[at]}); keep one")
            )
            document.lines[at] = key_node.start_mark.line + 1
        mapping[key] = _build(value_node, at, document, above)
    return mapping


def _plain(text: str, path: Path, document: Document) -> Any:
    if text in NULL:
        return None
    if text in BOOLEAN:
        return BOOLEAN[text]
    if INTEGER.fullmatch(text):
        return int(text.replace("_", ""))
    if FLOAT.fullmatch(text):
        number = float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
        whole = "e" in text.lower() and abs(number) <= LARGEST_WHOLE and number == int(number)
        return int(number) if whole else number
    if text.lower() in AMBIGUOUS:
        switch = "true" if text.lower() in ("yes", "on", "y") else "false"
        document.problems.append(
            (path, f"a bare {text} is ambiguous in YAML: write '{text}' (quoted) for the text")
            if switch == "false" and path[-1:] in (("src",), ("tgt",))
            else (
                path,
                f"a bare {text} is ambiguous in YAML: write {switch} for the switch, "
                f"or '{text}' (quoted) for the text",
            )
        )
    return text
