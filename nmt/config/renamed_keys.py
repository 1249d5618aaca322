"""Keys with a new name. The old name is accepted and reported."""

from __future__ import annotations

from collections.abc import Mapping

from nmt.config.yaml_reader import Document, KeyPath, dotted_key

RENAMED_KEYS: Mapping[str, str] = {
    "model.wiring": "model.attention",
    "model.norm_place": "model.norm_position",
    "train.recompute": "train.activation_checkpointing",
}
"""The new dotted key of each old one, in the same section."""


def current_path(path: KeyPath) -> KeyPath:
    """Return the path with the new name of its key."""
    new_key = RENAMED_KEYS.get(dotted_key(path[:2]))
    return path if new_key is None else (*new_key.split("."), *path[2:])


def rename_keys(document: Document) -> list[str]:
    """Give the keys of a mapping of sections their new names, in place; return the old keys.

    A key that is given under both names is a problem.
    """
    old_keys = []
    problems = [(current_path(path), message) for path, message in document.problems]
    for old, new in RENAMED_KEYS.items():
        section_name, _, old_name = old.partition(".")
        new_name = new.partition(".")[2]
        section = document.data.get(section_name)
        if not isinstance(section, dict) or old_name not in section:
            continue
        value = section.pop(old_name)
        if new_name in section:
            message = f"expected no value together with {new}, which is its new name"
            problems.append(((section_name, old_name), message))
            continue
        section[new_name] = value
        old_keys.append(old)
    document.problems = problems
    for path, line in list(document.lines.items()):
        document.lines.setdefault(current_path(path), line)
    return old_keys
