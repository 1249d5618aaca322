"""`nmt data list`: print the catalogue of public data sets."""

from __future__ import annotations

from nmt.core.console import format_size
from nmt.core.rendering.tables import align_columns
from nmt.data.datasets.catalogue import read_catalogue

HEADER = ("name", "languages", "pairs", "download", "sums", "licence")


def run() -> None:
    """Print the catalogue as a table."""
    rows = [
        (
            name,
            " ".join(dataset.languages),
            f"{dataset.pairs:,}" if dataset.pairs else "?",
            format_size(dataset.size) if dataset.size else "?",
            dataset.checksum_algorithms,
            dataset.licence,
        )
        for name, dataset in read_catalogue().items()
    ]
    print("\n".join(align_columns([HEADER, *rows], number_columns=(2, 3))))
