"""Translate texts and documents: all segments of a request together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from nmt.serving.aligned_translation import AlignedTranslation
from nmt.serving.documents.html_document import parse_html
from nmt.serving.documents.markdown_document import parse_markdown
from nmt.serving.documents.srt_document import parse_srt
from nmt.serving.translation.job import Job
from nmt.serving.translation.routes import Route
from nmt.serving.translation.text_lines import TextLines


class SegmentedText(Protocol):
    """A text or document with segments to translate, and parts that stay as they are."""

    @property
    def segments(self) -> list[str]:
        """Plain text of each segment."""

    def needs_alignment(self, index: int) -> bool:
        """Return whether a segment has markup that follows the words."""

    def render(self, translations: Sequence[AlignedTranslation]) -> str:
        """Return the document with a translation in place of each segment."""


PARSERS: dict[str, Callable[[str], SegmentedText]] = {"text": TextLines, "html": parse_html}
"""Parsers of the formats of text in requests."""
FILE_PARSERS: dict[str, Callable[[str], SegmentedText]] = {
    ".txt": TextLines,
    ".html": parse_html,
    ".htm": parse_html,
    ".md": parse_markdown,
    ".srt": parse_srt,
}
"""Parsers of files, by the end of their name."""


def translate_documents(
    documents: Sequence[SegmentedText], route: Route, n: int, job: Job
) -> list[list[str]]:
    """Return the n best translations of each document, best first.

    The kth translation has the kth translation of each segment, or the last of a segment with
    fewer. A document without segments has one.
    """
    segments = [
        (d, i) for d, document in enumerate(documents) for i in range(len(document.segments))
    ]
    aligned = [(d, i) for d, i in segments if documents[d].needs_alignment(i)]
    plain = [(d, i) for d, i in segments if not documents[d].needs_alignment(i)]
    nbest_lists: dict[tuple[int, int], list[AlignedTranslation]] = {}
    plain_texts = [documents[d].segments[i] for d, i in plain]
    for key, translations in zip(plain, route.translate(plain_texts, job, n), strict=True):
        nbest_lists[key] = [AlignedTranslation(translation.text) for translation in translations]
    aligned_texts = [documents[d].segments[i] for d, i in aligned]
    aligned_results = route.translate_and_align(aligned_texts, job, n)
    for key, pairs in zip(aligned, aligned_results, strict=True):
        nbest_lists[key] = [
            AlignedTranslation(translation.text, links) for translation, links in pairs
        ]
    results = []
    for d, document in enumerate(documents):
        lists = [nbest_lists[d, i] for i in range(len(document.segments))]
        results.append(
            [
                document.render([nbest_list[min(k, len(nbest_list) - 1)] for nbest_list in lists])
                for k in range(max(map(len, lists), default=1))
            ]
        )
    return results
