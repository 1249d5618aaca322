"""The section `decode`: search, sampling, batching and precision of translation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nmt.config.sections.base import ConflictCollector, Count, Section, Threads
from nmt.config.sections.data import Name

MAX_SAMPLES = 10_000
"""Maximum number of samples per line."""


class DecodeConfig(Section):
    """Search for translations (docs/decoding.md). Validation uses greedy search."""

    method: Literal["beam", "sample", "mbr"] = "beam"
    """Search method: beam search, sampling, or minimum Bayes risk decoding."""
    beam_size: Annotated[int, Field(ge=1, le=10_000)] = 5
    """Beam size; 1 is greedy search."""
    groups: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Number of groups in diverse beam search."""
    diversity: Annotated[float, Field(ge=0, le=1000)] = 0.5
    """Penalty in nats for each earlier group that chose the same token."""
    length_penalty: Annotated[float, Field(ge=0)] = 1.0
    """Alpha of the length penalty; 0: none."""
    length_norm: Literal["wu", "average"] = "wu"
    """Length penalty of n tokens: ((5 + n) / 6)^alpha (Wu et al. 2016, equation 14) or n^alpha."""
    coverage_penalty: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """Beta of the coverage penalty for source tokens without attention (same equation)."""
    min_length: Annotated[int, Field(ge=0, le=10**6)] = 0
    """Minimum number of tokens of a translation."""
    max_length: Count | None = None
    """Maximum number of tokens of a translation; null: given by `max_length_ratio`."""
    max_length_ratio: Annotated[float, Field(gt=0, le=1000)] = 2.0
    """Maximum number of tokens of a translation per source token; 10 are added."""
    no_repeat_ngram: Annotated[int, Field(ge=0, le=1000)] = 0
    """Length of n-grams that occur at most once per translation; 0: no restriction."""
    forbid: list[str] = []
    """Pieces that no translation contains, such as <unk>."""
    stop: Literal["bounded", "exact", "first", "beam"] = "bounded"
    """Stopping criterion of beam search (docs/decoding.md)."""
    temperature: Annotated[float, Field(ge=1e-3, le=1000)] = 1.0
    """Sampling temperature."""
    top_k: Annotated[int, Field(ge=0, le=10**9)] = 0
    """Number of most probable tokens to sample from; 0: all."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Cumulative probability of the most probable tokens to sample from (nucleus sampling)."""
    epsilon: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Minimum probability of tokens to sample from; the most probable token is always kept."""
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 1
    """Sampling seed. Combined with the source line, so results do not depend on batching."""
    mbr_from: Literal["samples", "beam"] = "samples"
    """Candidates of minimum Bayes risk decoding: samples, or the hypotheses of a beam search."""
    mbr_samples: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Number of samples per line for minimum Bayes risk decoding."""
    mbr_metric: Literal["chrf", "bleu"] = "chrf"
    """Similarity metric of minimum Bayes risk decoding."""
    split: Literal["auto", "length", "sentences"] = "auto"
    """Splitting of source lines: only too long ones, or every line into sentences. `auto` is
    `sentences` if the training lines were single sentences; training stores the result."""
    split_length: Count | None = None
    """Maximum number of source tokens of a line that is not split; null: `data.max_length`."""
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "fp32"
    """Number format of the weights; `auto`: bf16 if it is faster, else fp32. int8 needs a CPU."""
    compile: Literal["auto", "off", "on"] = "auto"
    """Compilation of the decoding step by torch.compile; `auto`: on a GPU, after 2,000 steps."""
    shortlist: bool = False
    """Search only among the target tokens of the vocabulary shortlist (`nmt shortlist`)."""
    threads: Threads | None = None
    """Number of CPU threads; null: the number of idle cores."""
    tags: dict[Name, Name] = {}
    """Tags of every source in a multilingual model, such as {tgt_lang: fr}."""
    batch_size: Count = 64
    """Maximum number of lines per batch; on a CPU per thread."""
    batch_tokens: Count = 4096
    """Maximum number of source tokens per batch, with padding; a single line may exceed it."""
    continuous: bool = True
    """Continuous batching: a new line replaces each finished line of a batch."""

    @property
    def is_sampling(self) -> bool:
        """Whether translations are sampled instead of searched for."""
        return self.method == "sample" or (self.method == "mbr" and self.mbr_from == "samples")

    @property
    def max_nbest(self) -> int:
        """Maximum number of translations per line that can be returned."""
        if not self.is_sampling:
            return self.beam_size
        return MAX_SAMPLES if self.method == "sample" else self.mbr_samples

    def greedy(self) -> DecodeConfig:
        """Return a copy for greedy search, as validation uses it, with default search settings."""
        retained = (
            "max_length_ratio",
            "threads",
            "tags",
            "batch_size",
            "batch_tokens",
            "continuous",
            "split",
        )
        return DecodeConfig(beam_size=1, **{key: getattr(self, key) for key in retained})

    def collect_conflicts(self, collector: ConflictCollector) -> None:
        """Collect the conflicts between settings of this section."""
        collector.error_if(
            self.beam_size % self.groups > 0,
            "decode.groups",
            f"expected a divisor of decode.beam_size ({self.beam_size}), got {self.groups}",
        )
        collector.error_if(
            self.groups > 1 and self.is_sampling,
            "decode.groups",
            f"expected 1 with sampling, got {self.groups} (groups divide a beam)",
        )
        collector.error_if(
            self.max_length is not None and self.min_length > self.max_length,
            "decode.min_length",
            f"expected at most decode.max_length ({self.max_length}), got {self.min_length}",
        )
