"""Describe in words which values a JSON schema accepts at a key path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nmt.errors import did_you_mean

Schema = dict[str, Any]
PATTERNS = {
    r"^[^/]+$": "text without a /",
    r"^[A-Za-z0-9_-]+$": "letters, digits, - and _",
    r"^[a-z]+(\+[a-z]+)*$": "names of scripts joined by +, such as cjk+hiragana",
}
"""Text patterns of the settings, in words."""


class Expectation:
    """What a schema accepts at one key path; `str` gives the words."""

    def __init__(self, root: Schema, path: tuple[str | int, ...]) -> None:
        """Find the branches of `root` that describe the value at `path`."""
        self._root = root
        branches = list(self._branches(root))
        for part in path:
            children = (child for branch in branches for child in _children(branch, part))
            branches = [leaf for child in children for leaf in self._branches(child)]
        self._leaves = branches

    def __str__(self) -> str:
        """Join the words of all branches: `a whole number of at least 1 or null`."""
        choices = self.choices()
        words = [_in_words(leaf) for leaf in self._leaves if not _constants(leaf)]
        listed = "one of " if len(choices) > 1 else ""
        words += [listed + ", ".join(choices)] if choices else []
        unique = sorted(dict.fromkeys(words), key=lambda text: text == "null")
        return ", ".join([*unique[:-2], " or ".join(unique[-2:])])

    def choices(self) -> list[str]:
        """Return the words that are accepted, if only certain words are."""
        return list(dict.fromkeys(word for leaf in self._leaves for word in _constants(leaf)))

    def hint(self, value: Any) -> str:
        """Return " (did you mean 'x'?)" for the choice nearest to `value`, or nothing."""
        return did_you_mean(value, self.choices()) if isinstance(value, str) else ""

    def accepts_null(self) -> bool:
        """Tell whether null is one of the values."""
        return any(leaf.get("type") == "null" for leaf in self._leaves)

    def _branches(self, node: Schema) -> Iterator[Schema]:
        """Yield the alternatives of a node, with references resolved."""
        if "$ref" in node:
            yield from self._branches(self._root["$defs"][node["$ref"].rpartition("/")[2]])
            return
        alternatives = node.get("anyOf") or node.get("oneOf")
        if alternatives is None:
            yield node
            return
        for alternative in alternatives:
            yield from self._branches(alternative)


def _children(node: Schema, part: str | int) -> Iterator[Schema]:
    if isinstance(part, int):
        child = node.get("items")
    else:
        child = node.get("properties", {}).get(part, node.get("additionalProperties"))
    if isinstance(child, dict):
        yield child


def _constants(node: Schema) -> list[str]:
    return [str(word) for word in node.get("enum", [node["const"]] if "const" in node else [])]


def _in_words(node: Schema) -> str:
    kind = node.get("type")
    if kind == "integer":
        return f"a whole number{_bounds(node)}"
    if kind == "number":
        return f"a number{_bounds(node)}"
    if kind == "string":
        path = node.get("format") == "path"
        return "a path" if path else PATTERNS.get(node.get("pattern", ""), "text")
    if kind == "array":
        least, most = node.get("minItems", 0), node.get("maxItems")
        if least == most:
            return f"a list of {least} values"
        return "a list that is not empty" if least else "a list"
    if kind == "object":
        keys = node.get("required", []) if "properties" in node else []
        if node.get("examples"):
            pairs = (f"{key}: {value}" for key, value in node["examples"][0].items())
            return f"a mapping such as {{{', '.join(pairs)}}}"
        return "a mapping" + (f" with the keys {' and '.join(keys)}" if keys else "")
    return "true or false" if kind == "boolean" else "null"


def _bounds(node: Schema) -> str:
    least, most = node.get("minimum"), node.get("maximum")
    above, below = node.get("exclusiveMinimum"), node.get("exclusiveMaximum")
    if least is not None and most is not None:
        return f" from {_number(least)} to {_number(most)}"
    words = [f"of at least {_number(least)}"] if least is not None else []
    words += [f"greater than {_number(above)}"] if above is not None else []
    words += [f"at most {_number(most)}"] if most is not None else []
    words += [f"below {_number(below)}"] if below is not None else []
    return " " + " and ".join(words) if words else ""


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
