"""Describe in words the values that a JSON schema accepts at a key path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nmt.errors import did_you_mean

Schema = dict[str, Any]
PATTERNS = {
    r"^[^/]+$": "text without a /",
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$": "a day such as 2020-01-31",
    r"^[A-Za-z0-9_-]+$": "letters, digits, - and _",
    r"^[A-Za-z0-9_-]+=[A-Za-z0-9_-]+$": "a tag such as tgt_lang=fr",
    r"^[a-z]+(\+[a-z]+)*$": "names of scripts joined by +, such as cjk+hiragana",
}
"""Descriptions of the regular expressions in the schema."""


class Expectation:
    """The values that a schema accepts at one key path; `str` describes them."""

    def __init__(self, root: Schema, path: tuple[str | int, ...]) -> None:
        self._root = root
        nodes = list(self._alternatives(root))
        for part in path:
            children = (child for node in nodes for child in _children(node, part))
            nodes = [alternative for child in children for alternative in self._alternatives(child)]
        self._nodes = nodes

    def __str__(self) -> str:
        """Return a description such as `a whole number of at least 1 or null`."""
        choices = self.choices()
        parts = [_describe(node) for node in self._nodes if not _constants(node)]
        if choices:
            prefix = "one of " if len(choices) > 1 else ""
            parts.append(prefix + ", ".join(choices))
        unique = sorted(dict.fromkeys(parts), key=lambda text: text == "null")
        return ", ".join([*unique[:-2], " or ".join(unique[-2:])])

    def choices(self) -> list[str]:
        """Return the constants that are accepted."""
        return list(dict.fromkeys(word for node in self._nodes for word in _constants(node)))

    def hint(self, value: Any) -> str:
        """Return " (did you mean 'x'?)" for the choice nearest to `value`, else ""."""
        return did_you_mean(value, self.choices()) if isinstance(value, str) else ""

    def _alternatives(self, node: Schema) -> Iterator[Schema]:
        """Yield the alternatives of a node, with references resolved."""
        if "$ref" in node:
            yield from self._alternatives(self._root["$defs"][node["$ref"].rpartition("/")[2]])
            return
        alternatives = node.get("anyOf") or node.get("oneOf")
        if alternatives is None:
            yield node
            return
        for alternative in alternatives:
            yield from self._alternatives(alternative)


def _children(node: Schema, part: str | int) -> Iterator[Schema]:
    """Yield the schema of a key or of a list item."""
    if isinstance(part, int):
        child = node.get("items")
    else:
        child = node.get("properties", {}).get(part, node.get("additionalProperties"))
    if isinstance(child, dict):
        yield child


def _constants(node: Schema) -> list[str]:
    """Return the constants that a node accepts."""
    return [str(word) for word in node.get("enum", [node["const"]] if "const" in node else [])]


def _describe(node: Schema) -> str:
    """Return a description of the values that a node accepts."""
    kind = node.get("type")
    if kind == "integer":
        return f"a whole number{_describe_bounds(node)}"
    if kind == "number":
        return f"a number{_describe_bounds(node)}"
    if kind == "string":
        is_path = node.get("format") == "path"
        return "a path" if is_path else PATTERNS.get(node.get("pattern", ""), "text")
    if kind == "array":
        min_items, max_items = node.get("minItems", 0), node.get("maxItems")
        if min_items == max_items:
            return f"a list of {min_items} values"
        return "a list that is not empty" if min_items else "a list"
    if kind == "object":
        if node.get("examples"):
            pairs = (f"{key}: {value}" for key, value in node["examples"][0].items())
            return f"a mapping such as {{{', '.join(pairs)}}}"
        keys = node.get("required", []) if "properties" in node else []
        return "a mapping" + (f" with the keys {' and '.join(keys)}" if keys else "")
    return "true or false" if kind == "boolean" else "null"


def _describe_bounds(node: Schema) -> str:
    """Return the range of a number in words, with a leading space; "" without bounds."""
    minimum, maximum = node.get("minimum"), node.get("maximum")
    lower, upper = node.get("exclusiveMinimum"), node.get("exclusiveMaximum")
    if minimum is not None and maximum is not None:
        return f" from {_format_number(minimum)} to {_format_number(maximum)}"
    words = [f"of at least {_format_number(minimum)}"] if minimum is not None else []
    words += [f"greater than {_format_number(lower)}"] if lower is not None else []
    words += [f"at most {_format_number(maximum)}"] if maximum is not None else []
    words += [f"below {_format_number(upper)}"] if upper is not None else []
    return " " + " and ".join(words) if words else ""


def _format_number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
