"""Tables as plain text with aligned columns."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from rich.cells import cell_len


def align_columns(rows: Sequence[Sequence[str]], number_columns: Container[int] = ()) -> list[str]:
    """Return one line per row, with aligned columns; those of numbers are right-aligned.

    Widths are terminal cells: a character of a wide script takes two, a combining mark none.
    """
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        padding = [" " * (w - cell_len(cell)) for cell, w in zip(row, widths, strict=True)]
        cells = [
            spaces + cell if i in number_columns else cell + spaces
            for i, (cell, spaces) in enumerate(zip(row, padding, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def format_fields(fields: Iterable[tuple[str, str]]) -> str:
    """Return (name, value) pairs as an indented table."""
    return "\n".join(f"  {line}" for line in align_columns(list(fields)))
