"""The section `data`: text sets, cleaning and augmentation of the training text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
)

from nmt.config.sections.base import Count, FilePath, Fraction, Section

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
LanguageCode = Annotated[str, Field(pattern="^[^/]+$")]
"""A language code. It is part of file names, so it contains no slash."""
DAY = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
Day = Annotated[str, Field(pattern=DAY)]
"""A date, such as 2020-01-31."""
Scripts = Annotated[str, Field(pattern=r"^[a-z]+(\+[a-z]+)*$")]
"""Names of scripts joined by +, such as cjk+hiragana."""


TagText = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+=[A-Za-z0-9_-]+$")]
"""A tag as name=value."""


class FilePair(Section):
    """One file per side."""

    src: FilePath
    """File of the source side."""
    tgt: FilePath
    """File of the target side."""


class TextSet(Section):
    """A text set: two files by `prefix` or by `src` and `tgt`, or one `file` (docs/data.md).

    `tgt` alone is monolingual text: each line is its own source. A name with * stands for all files
    that match.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"src": "FILE", "tgt": "FILE"}]})

    prefix: FilePath | None = None
    """Common prefix of two files, which end with a period and the language code of the side."""
    src: FilePath | None = None
    """File of the source side; language code in a translation memory."""
    tgt: FilePath | None = None
    """File of the target side; language code in a translation memory."""
    file: FilePath | None = None
    """File with both sides: .tsv, .jsonl with one object per line, or a translation memory (.tmx,
    .xlf, .xliff)."""
    columns: Annotated[list[Count | Name], Field(min_length=2, max_length=2)] | None = None
    """Source and target column of `file`: names, or numbers from 1 in a TSV file without header."""
    tags: dict[Name, Name] = {}
    """Tags that are prepended to each source, such as {tgt_lang: fr}."""
    since: Day | None = None
    """First day of a .tmx file: units whose last change is earlier or unknown are skipped."""

    @model_serializer(mode="wrap")
    def _omit_unset(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Serialize without the keys that are not set."""
        return {key: value for key, value in handler(self).items() if value not in (None, {})}


class TrainSet(TextSet):
    """A text set of the training text."""

    weight: Annotated[float, Field(gt=0)] | None = None
    """Sampling weight, relative to the weights of the other sets."""


def _union_tag(value: Any) -> str:
    """Return the tag of the union branch for a value, so that errors describe that branch only."""
    if isinstance(value, dict | TextSet):
        return "a set"
    if isinstance(value, list):
        return "a list"
    return "a number" if isinstance(value, int) else "a path"


UNION_TAGS = ("a set", "a list", "a number", "a path")
"""Tags of union branches. Pydantic inserts them into the location of an error."""

NOT_EMPTY = Field(json_schema_extra={"minItems": 1})
"""Constraint on lists that only the config of an imported model may leave empty; `load_config`
enforces it."""
TaggedPath = Annotated[FilePath, Tag("a path")]
TextSetOrPath = Annotated[TaggedPath | Annotated[TextSet, Tag("a set")], Discriminator(_union_tag)]
TrainSetOrPath = Annotated[
    TaggedPath | Annotated[TrainSet, Tag("a set")], Discriminator(_union_tag)
]
ValidSets = Annotated[
    TaggedPath
    | Annotated[TextSet, Tag("a set")]
    | Annotated[list[TextSetOrPath], NOT_EMPTY, Tag("a list")]
    | Annotated[int, Field(ge=1), Tag("a number")],
    Discriminator(_union_tag),
]


def _as_list(value: Any) -> Any:
    """Convert a single path or set to a list."""
    return [value] if isinstance(value, str | dict | Path | TextSet) else value


TrainSets = Annotated[
    list[TrainSetOrPath],
    BeforeValidator(
        _as_list,
        json_schema_input_type=TrainSetOrPath | Annotated[list[TrainSetOrPath], NOT_EMPTY],
    ),
]
TestSets = Annotated[
    list[TextSetOrPath],
    BeforeValidator(_as_list, json_schema_input_type=TextSetOrPath | list[TextSetOrPath]),
]


class CleanConfig(Section):
    """Filters of the training text, each off by default (docs/check.md)."""

    normalise: list[Literal["entities", "nfc", "quotes", "spaces"]] = []
    """Old name of `tokenizer.normalization`; `nmt clean` writes normalized text."""
    misaligned: bool = False
    """Removal of blocks of pairs whose sides are shifted or have no translation (`nmt check`)."""
    max_words: Count | None = None
    """Maximum number of words per side."""
    max_ratio: Annotated[float, Field(gt=1)] | None = None
    """Maximum ratio of the numbers of words of the two sides."""
    copies: bool = False
    """Removal of pairs whose two sides are equal."""
    numbers: bool = False
    """Removal of pairs whose two sides contain different numbers."""
    min_letters: Fraction | None = None
    """Minimum fraction of letters among the characters of a side, spaces excluded."""
    max_punctuation: Fraction | None = None
    """Maximum fraction of punctuation marks among the characters of a side, spaces excluded."""
    scripts: Annotated[list[Scripts], Field(min_length=2, max_length=2)] | None = None
    """Scripts of at least half of the letters, source then target: [latin, cjk+hiragana]."""
    entities: bool = False
    """Removal of pairs with an HTML entity, such as &amp;."""
    language: bool = False
    """Removal of pairs with a side in a wrong language; related languages are accepted."""
    duplicates: Literal["pair", "src", "tgt"] | None = None
    """Removal of all but the first pair with equal text on both sides or on one side."""


class AugmentConfig(Section):
    """Random changes of the training text, new in each epoch; values are fractions of the pairs."""

    upper: Fraction = 0.0
    """Both sides in upper case."""
    title: Fraction = 0.0
    """Both sides in title case."""
    typos: Fraction = 0.0
    """Letters of the source deleted, doubled, swapped or replaced by an adjacent key."""
    noise: Fraction = 0.0
    """The same random symbol inserted into both sides, which trains the model to copy."""
    punctuation: Fraction = 0.0
    """The final punctuation mark of both sides deleted."""


class DataConfig(Section):
    """Parallel text. `data/train` is `data/train.de` + `data/train.en` (also compressed)."""

    src: LanguageCode = "src"
    """Source language code, also the extension of the source files."""
    tgt: LanguageCode = "tgt"
    """Target language code, also the extension of the target files; selects the BLEU tokenizer."""
    train: TrainSets
    """Training text: prefixes, or sets such as `{src: FILE, tgt: FILE}` or `{file: FILE.tsv}`."""
    valid: ValidSets
    """Validation text: one or several sets, or a number of pairs to split off the training text."""
    test: TestSets = []
    """Test sets, evaluated at the end of training and by `nmt evaluate`."""
    tags: list[TagText] = []
    """Tags, as name=value, in front of those of the training sets; `train.from` sets them."""
    target_tags: list[Name] = []
    """Names of tags that precede the target, not the source. Every text then needs all tags."""
    temperature: Annotated[float, Field(ge=1)] | None = None
    """Sampling temperature of training sets: each set is weighted by its size^(1/temperature)."""
    alignments: list[FilePath] | None = None
    """Word alignments for `train.guided_alignment`: one file in Pharaoh format per training set."""
    clean: CleanConfig | None = None
    """Filters of the training text; the corpus in the run folder lists removed pairs."""
    max_length: Count = 200
    """Maximum number of tokens per side of a training pair; longer pairs are removed."""
    augment: AugmentConfig | None = None
    """Random changes that make the model robust against unusual input."""
    workers: Annotated[int, Field(ge=0)] = 1
    """Worker processes for on-the-fly tokenization; 0 runs it in the main process."""

    def valid_sets(self) -> list[Path | TextSet]:
        """Return the validation sets; empty if pairs are split off the training text."""
        if isinstance(self.valid, int):
            return []
        return list(self.valid) if isinstance(self.valid, list) else [self.valid]

    def training_tags(self) -> list[tuple[str, str]]:
        """Return the distinct (name, value) tags: `tags`, then those of the training sets.

        The tag at index n is encoded as the n-th reserved piece of the tokenizer.
        """
        first = [(name, value) for name, _, value in (tag.partition("=") for tag in self.tags)]
        tags = (tag for text_set in self.train for tag in text_set_tags(text_set).items())
        return list(dict.fromkeys([*first, *tags]))

    def tag_values(self, name: str) -> list[str]:
        """Return the values of a tag in training."""
        return [value for tag, value in self.training_tags() if tag == name]

    def required_tags(self) -> set[str]:
        """Return the tag names that every text needs: those that all training sets have.

        With `target_tags`, every text needs all tags.
        """
        if self.target_tags:
            return {name for name, _ in self.training_tags()}
        tag_names = [set(text_set_tags(text_set)) for text_set in self.train]
        return set.intersection(*tag_names) if tag_names else set()


def text_set_tags(text_set: Path | TextSet) -> dict[str, str]:
    """Return the tags of a text set."""
    return text_set.tags if isinstance(text_set, TextSet) else {}


def text_set_weight(text_set: Path | TextSet) -> float | None:
    """Return the sampling weight of a training set, or None if it has none."""
    return text_set.weight if isinstance(text_set, TrainSet) else None
