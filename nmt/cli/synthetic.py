"""Commands that write synthetic parallel text, in the section "Data" of `nmt --help`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from nmt.cli.options import (
    TARGET_LANGUAGE_KEY,
    ConfigFile,
    Device,
    ModelFolders,
    Overrides,
    Progress,
    TargetLanguage,
    merge_overrides,
)

app = typer.Typer()

Folder = Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the result of another job in the folder.")
]
MaxRatio = Annotated[
    float | None,
    typer.Option(min=1.01, help="Drop a pair with a larger ratio of words; default: 3."),
]
MinScore = Annotated[
    float | None,
    typer.Option(max=0, help="Drop a lower mean log-probability per token, such as -2."),
]
AnyLanguage = Annotated[
    bool, typer.Option("--any-language", help="Keep pairs in a wrong language.")
]
ReverseRun = Annotated[
    Path | None,
    typer.Option(metavar="RUN", help="Model of the other direction, for the next two options."),
]
MinChrf = Annotated[
    float | None,
    typer.Option(min=0, max=100, help="Drop a lower chrF of the translation back."),
]
MinDual = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Drop a lower score of dual cross-entropy."),
]


@app.command(rich_help_panel="Data")
def backtranslate(
    text: Annotated[list[Path], typer.Argument(metavar="MONO...", help="Text of one language.")],
    output: Folder,
    model: ModelFolders = None,
    forward: Annotated[
        bool, typer.Option("--forward", help="Make MONO the source side, not the target side.")
    ] = False,
    method: Annotated[
        Literal["beam", "sample", "topk"], typer.Option(help="Search or sampling method.")
    ] = "beam",
    top_k: Annotated[int, typer.Option(min=1, help="Tokens that --method topk samples from.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Sampling seed.")] = 1,
    tag: Annotated[
        str, typer.Option(metavar="NAME=VALUE", help="Tag of the text set; none: no tag.")
    ] = "origin=synthetic",
    max_ratio: MaxRatio = None,
    min_score: MinScore = None,
    any_language: AnyLanguage = False,
    reverse: ReverseRun = None,
    min_chrf: MinChrf = None,
    min_dual: MinDual = None,
    overwrite: Overwrite = False,
    progress: Progress = False,
    to: TargetLanguage = None,
    set_: Overrides = None,
    device: Device = "auto",
) -> None:
    """Make training text from text of one language."""
    from nmt.commands.synthetic import backtranslate as command

    filters = command.FilterOptions(
        max_ratio, not any_language, min_score, reverse, min_chrf, min_dual
    )
    synthesis = command.SynthesisOptions(
        models=tuple(model or ()),
        folder=output,
        tag=tag,
        overrides=tuple(merge_overrides(set_, {"--to": (TARGET_LANGUAGE_KEY, to)})),
        filters=filters,
        device=device,
        overwrite=overwrite,
        progress=progress,
    )
    options = command.BacktranslateOptions(
        files=tuple(text),
        synthesis=synthesis,
        method=method,
        top_k=top_k,
        seed=seed,
        forward=forward,
    )
    command.run(options)


@app.command(rich_help_panel="Data")
def distill(
    config: ConfigFile,
    output: Folder,
    model: ModelFolders = None,
    nbest: Annotated[
        int, typer.Option(min=1, help="Choose among N translations by BLEU with the reference.")
    ] = 1,
    tag: Annotated[
        str, typer.Option(metavar="NAME=VALUE", help="Tag of the text set; none: no tag.")
    ] = "none",
    max_ratio: MaxRatio = None,
    min_score: MinScore = None,
    any_language: AnyLanguage = False,
    reverse: ReverseRun = None,
    min_chrf: MinChrf = None,
    min_dual: MinDual = None,
    overwrite: Overwrite = False,
    progress: Progress = False,
    to: TargetLanguage = None,
    set_: Overrides = None,
    device: Device = "auto",
) -> None:
    """Translate the training text of a config by a teacher."""
    from nmt.commands.synthetic import distill as command

    filters = command.FilterOptions(
        max_ratio, not any_language, min_score, reverse, min_chrf, min_dual
    )
    synthesis = command.SynthesisOptions(
        models=tuple(model or ()),
        folder=output,
        tag=tag,
        overrides=tuple(merge_overrides(set_, {"--to": (TARGET_LANGUAGE_KEY, to)})),
        filters=filters,
        device=device,
        overwrite=overwrite,
        progress=progress,
    )
    command.run(command.DistillOptions(config, synthesis, nbest))
