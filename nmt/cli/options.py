"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

ConfigFile = Annotated[Path, typer.Argument(help="The YAML config, or a run folder.")]
Layer = Annotated[
    int | None,
    typer.Option(help="Decoder layer, 1 for the lowest; default: best aligning."),
]
Head = Annotated[
    int | None,
    typer.Option(help="Attention head, counted from 1; default: mean of all."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Override one setting; may be repeated."),
]
TargetLanguage = Annotated[
    str | None,
    typer.Option("--to", help="Target language of a multilingual model."),
]
Device = Annotated[str, typer.Option(help="Compute on auto, cpu, cuda or mps.")]
TrainedRun = Annotated[
    Path | None,
    typer.Argument(metavar="RUN", help="Run folder; default: newest finished one under runs/."),
]
EngineName = Annotated[
    Literal["nmt", "ctranslate2"],
    typer.Option("--engine", help="Run the model by this toolkit or by its export."),
]
RunFolder = Annotated[
    Path | None,
    typer.Option("--run", help="Run folder; default: `run:` of the config or runs/NAME."),
]
ModelFolders = Annotated[
    list[Path] | None,
    typer.Option(
        "--model",
        "-m",
        help="Run folder; repeat it for an ensemble; default: newest.",
    ),
]
ModelFolder = Annotated[
    Path | None,
    typer.Option("--model", "-m", help="Run folder; default: newest finished one under runs/."),
]
Progress = Annotated[
    bool, typer.Option("--progress", help="Report progress even if stderr is no terminal.")
]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="Write this file atomically; default: stdout."),
]
TARGET_LANGUAGE_KEY = "decode.tags.tgt_lang"


def merge_overrides(
    set_options: list[str] | None, flags: Mapping[str, tuple[str, Any]]
) -> list[str]:
    """Return the overrides of `--set`, followed by those of other flags.

    `flags` maps a flag to its key in the config and its value. Flags whose value is None are
    omitted.
    """
    from nmt.config.overrides import Override

    overrides = list(set_options or [])
    for flag, (key, value) in flags.items():
        if value is not None:
            overrides.append(Override.from_value(key, value, flag))
    return overrides
