"""Commands of the section "Training" of `nmt --help`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from nmt.cli.command_groups import ListByDefault
from nmt.cli.options import ConfigFile, Device, Overrides, RunFolder

app = typer.Typer()
runs_app = typer.Typer(
    cls=ListByDefault,
    help="List or compare runs; `nmt runs` lists them.",
    rich_markup_mode=None,
)
app.add_typer(runs_app, name="runs", rich_help_panel="Training")


@app.command(rich_help_panel="Training")
def init(
    src: Annotated[Path, typer.Option(help="Source side of your parallel text.")],
    tgt: Annotated[Path, typer.Option(help="Target side, one translation per source line.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write this config; default: SRC-TGT.yaml."),
    ] = None,
    valid: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="SRC TGT", help="Validation set; default: valid.* beside --src."),
    ] = None,
    test: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="SRC TGT", help="Test set; default: test*.* beside --src."),
    ] = None,
    arch: Annotated[
        Literal["rnn", "transformer"] | None,
        typer.Option(help="Architecture; default: the best for the amount of text."),
    ] = None,
    hours: Annotated[
        float | None,
        typer.Option(min=0.01, metavar="N", help="Plan a training that ends after N hours."),
    ] = None,
    parent: Annotated[
        Path | None,
        typer.Option("--from", metavar="RUN", help="Write a config that fine-tunes this run."),
    ] = None,
    tags: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="NAME=VALUE", help="Tag of the text for --from; repeat it."),
    ] = None,
) -> None:
    """Write a commented config for two parallel text files."""
    from nmt.commands.training import init as command

    options = command.InitOptions(
        src=src,
        tgt=tgt,
        valid=valid,
        test=test,
        arch=arch,
        hours=hours,
        parent=parent,
        tags=tuple(tags or ()),
        output=output,
    )
    command.run(options)


@app.command(rich_help_panel="Training")
def train(
    config: ConfigFile,
    run: RunFolder = None,
    set_: Overrides = None,
    parent: Annotated[
        Path | None,
        typer.Option("--from", metavar="RUN", help="Fine-tune this run or checkpoint."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in the folder, or start one.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete the run in the folder and start again.")
    ] = False,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes",
            help="With --resume: continue with changed text or settings.",
        ),
    ] = False,
    pause_at: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Pause at the first validation from update N on."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Try each step once and estimate time and memory.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Train, validate and test a model."""
    from nmt.commands.training import train as command

    options = command.TrainOptions(
        config=config,
        run=run,
        overrides=set_ or [],
        parent=parent,
        resume=resume,
        overwrite=overwrite,
        accept_changes=accept_changes,
        pause_at=pause_at,
        dry_run=dry_run,
        device=device,
    )
    raise typer.Exit(command.run(options))


@app.command(rich_help_panel="Training")
def sweep(
    config: ConfigFile,
    grids: Annotated[
        list[str] | None,
        typer.Option("--grid", metavar="A.B=V,W", help="Values of a setting; repeat it."),
    ] = None,
    ranges: Annotated[
        list[str] | None,
        typer.Option("--range", metavar="A.B=V:W", help="Range of a setting for --random."),
    ] = None,
    random: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Try N random combinations; default: all."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of --random.")] = 1,
    updates: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Halve at the first validation from update N on."),
    ] = None,
    halve: Annotated[
        int | None,
        typer.Option(min=2, metavar="N", help="Continue the best 1/N of the trials; default: 3."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder of the runs; default: runs/NAME-sweep."),
    ] = None,
    set_: Overrides = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the runs as one JSON object per line.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Train with several settings and compare the runs."""
    from nmt.commands.training import sweep as command

    options = command.SweepOptions(
        config=config,
        output=output,
        grids=grids or [],
        ranges=ranges or [],
        random=random,
        seed=seed,
        updates=updates,
        halve=halve,
        overrides=set_ or [],
        json=json,
        device=device,
    )
    raise typer.Exit(command.run(options))


@app.command(rich_help_panel="Training")
def average(
    checkpoints: Annotated[
        list[Path],
        typer.Argument(metavar="CHECKPOINT", help="Checkpoint folders, or runs for their best."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Run folder to write.")],
    last: Annotated[
        int | None,
        typer.Option(min=1, help="With one run folder: average its N newest checkpoints."),
    ] = None,
    best: Annotated[
        int | None,
        typer.Option(min=1, help="With one run folder: average its N best checkpoints."),
    ] = None,
) -> None:
    """Average the weights of checkpoints into a new model."""
    from nmt.commands.training import average as command

    command.run(command.AverageOptions(models=checkpoints, output=output, last=last, best=best))


@app.command(rich_help_panel="Training")
def plot(
    run: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders.")],
    of: Annotated[
        str, typer.Option(help="Comma-separated: loss, perplexity, bleu, lr, speed.")
    ] = "loss,bleu",
    x: Annotated[
        Literal["updates", "seconds", "epoch"], typer.Option(help="Quantity on the x axis.")
    ] = "updates",
    png: Annotated[
        Path | None,
        typer.Option(help="Write a picture instead of drawing in the terminal."),
    ] = None,
    svg: Annotated[
        Path | None,
        typer.Option(help="Write a picture instead of drawing in the terminal."),
    ] = None,
) -> None:
    """Draw the learning curves of runs."""
    from nmt.commands.training import plot as command

    command.run(command.PlotOptions(runs=run, kinds=of, x_axis=x, png=png, svg=svg))


@runs_app.command("list")
def list_runs(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder to search for runs, at any depth.")
    ] = Path("runs"),
    json: Annotated[
        bool, typer.Option("--json", help="Print all facts as one JSON object per line.")
    ] = False,
) -> None:
    """List the runs under a folder: state, scores, speed."""
    from nmt.commands.training import runs as command

    command.run_list(command.ListOptions(folder=folder, json=json))


@runs_app.command()
def diff(
    a: Annotated[Path, typer.Argument(metavar="A", help="Run folder.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Run folder.")],
) -> None:
    """Compare two runs: settings, text, learning curves."""
    from nmt.commands.training import runs as command

    command.run_diff(command.DiffOptions(run_a=a, run_b=b))
