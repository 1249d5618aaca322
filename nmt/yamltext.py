"""YAML as people mean it: values with the line they stand on, and the traps of YAML 1.1 disarmed.

`1e-3` is a number, `12:30` and `2020-01-01` are text, a key given twice is a problem, and a bare
`no`, `yes`, `on` or `off` is refused with a hint, since half its readers mean Norwegian.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str | int, ...]
"""Where a value stands in the document: keys and list positions from the top."""

INTEGER = re.compile(r"[-+]?[0-9][0-9_]*")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", re.I)
NULL = ("", "~", "null", "Null", "NULL")
BOOLEAN = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
AMBIGUOUS = ("yes", "no", "on", "off", "y", "n")


@dataclass
class Document:
    """A parsed YAML text: plain data, the line of each value, and what was wrong with it."""

    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[tuple[Path, str]] = field(default_factory=list)


def dotted(path: Path) -> str:
    """Write a path as the person types it: `data.train.0`."""
    return ".".join(str(part) for part in path)


def parse_yaml(text: str, at: Path = ()) -> Document:
    """Parse one YAML document; problems are collected, never raised.

    `at` is where the text stands in a larger document, as with `--set`.
    """
    document = Document()
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        document.lines[()] = mark.line + 1 if mark else 1
        document.problems.append(((), f"must be YAML: {error.problem or error.context}"))
        return document
    except yaml.reader.ReaderError as error:
        document.lines[()] = text.count("\n", 0, error.position) + 1
        document.problems.append(((), f"must be YAML: {error.reason} (U+{error.character:04X})"))
        return document
    if root is not None:
        document.data = _build(root, at, document, frozenset())
    return document


def parse_value(text: str, at: Path) -> Document:
    """Parse what stands right of the `=` of a `--set`: a scalar, or a YAML list or mapping."""
    return parse_yaml(text, at) if text.strip() else Document(data=text)


def _build(node: yaml.Node, path: Path, document: Document, above: frozenset[int]) -> Any:
    document.lines.setdefault(path, node.start_mark.line + 1)
    if id(node) in above:
        document.problems.append((path, "must not hold itself, by an alias to what is around it"))
        return None
    above |= {id(node)}
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*path, i), document, above) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document, above)
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
            document.problems.append((path, "a key must be a word"))
            continue
        key = key_node.value
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
        return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
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
