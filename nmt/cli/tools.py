"""Commands of the section "Tools" of `nmt --help`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from nmt.cli.command_groups import CommandGroup
from nmt.cli.options import ConfigFile, Device, Overrides, TrainedRun

app = typer.Typer()
config_app = typer.Typer(
    cls=CommandGroup,
    help="Print settings.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(config_app, name="config", rich_help_panel="Tools")


@app.command(rich_help_panel="Tools")
def export(
    to: Annotated[
        Literal["ctranslate2", "huggingface"],
        typer.Option(help="Engine to export to."),
    ],
    model: TrainedRun = None,
    quantization: Annotated[
        Literal["int8", "float16", "bfloat16"] | None,
        typer.Option(help="With ctranslate2: number format of the weights."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder to write; default: RUN/ENGINE."),
    ] = None,
    set_: Overrides = None,
) -> None:
    """Export a trained model to another engine and compare."""
    from nmt.commands.tools import export as command

    command.run(
        command.ExportOptions(
            run=model,
            engine=to,
            quantization=quantization,
            output=output,
            overrides=set_ or [],
        )
    )


@app.command("import", rich_help_panel="Tools")
def import_model(
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="Model folder or checkpoint of another toolkit."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Run folder to write.")],
    check: Annotated[
        Path | None,
        typer.Option(help="Source lines to compare both toolkits on."),
    ] = None,
    set_: Overrides = None,
) -> None:
    """Import a model of another toolkit and compare."""
    from nmt.commands.tools import import_model as command

    command.run(
        command.ImportOptions(source=source, output=output, check=check, overrides=set_ or [])
    )


@app.command(rich_help_panel="Tools")
def shortlist(
    model: TrainedRun = None,
    best: Annotated[
        int, typer.Option(min=1, help="Target tokens kept for each source token.")
    ] = 100,
    set_: Overrides = None,
    device: Device = "auto",
) -> None:
    """Build a vocabulary shortlist for faster decoding."""
    from nmt.commands.tools import shortlist as command

    command.run(command.ShortlistOptions(run=model, best=best, overrides=set_ or [], device=device))


@app.command(rich_help_panel="Tools")
def info(
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Print versions, hardware and code paths for bug reports."""
    from nmt.commands.tools import info as command

    command.run(command.InfoOptions(json=json))


@config_app.command()
def show(config: ConfigFile, set_: Overrides = None) -> None:
    """Print the resolved config; mark defaults."""
    from nmt.commands.tools import config as command

    command.show(command.ConfigShowOptions(config=config, overrides=set_ or []))


@config_app.command()
def schema() -> None:
    """Print the JSON schema of the config for editors."""
    from nmt.commands.tools import config as command

    command.schema()
