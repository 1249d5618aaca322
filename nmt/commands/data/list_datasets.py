"""`nmt data list`: print the catalogue of public data sets."""

from __future__ import annotations

from nmt.core.console import format_size
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
    widths = [max(map(len, column)) for column in zip(HEADER, *rows, strict=True)]
    for name, languages, pairs, download_size, checksums, licence in [HEADER, *rows]:
        print(
            f"{name:<{widths[0]}}  {languages:<{widths[1]}}  {pairs:>{widths[2]}}  "
            f"{download_size:>{widths[3]}}  {checksums:<{widths[4]}}  {licence}"
        )
