"""Commands of the section "Data" of `nmt --help`.

Each function imports its command when it is called, so that `nmt --help` starts fast.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nmt.cli.command_groups import CommandGroup
from nmt.cli.options import ConfigFile, Overrides, RunFolder

app = typer.Typer()
data_app = typer.Typer(
    cls=CommandGroup,
    help="Download public parallel text, and convert between formats.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data", rich_help_panel="Data")


@app.command(rich_help_panel="Data")
def tokenizer(config: ConfigFile, run: RunFolder = None, set_: Overrides = None) -> None:
    """Train the tokenizer of a config unless it is up to date."""
    from nmt.commands.data import prepare as command

    command.run(command.PrepareOptions(config, run, set_ or [], tokenizer_only=True))


@app.command(rich_help_panel="Data")
def prepare(config: ConfigFile, run: RunFolder = None, set_: Overrides = None) -> None:
    """Tokenize the text of a config into its run folder."""
    from nmt.commands.data import prepare as command

    command.run(command.PrepareOptions(config, run, set_ or []))


@app.command(rich_help_panel="Data")
def check(
    files: Annotated[
        list[Path], typer.Argument(help="A config, a run folder, or two sides of a text.")
    ],
    test: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="With two files: test set, to find leaks into the text."),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write an HTML page."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print all findings with their lines as JSON.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with code 1 if there is an error.")
    ] = False,
    set_: Overrides = None,
) -> None:
    """Find bad lines, duplicates, leaks and misaligned lines."""
    from nmt.commands.data import check as command

    options = command.CheckOptions(files, test, set_ or [], html, json, strict)
    raise typer.Exit(command.run(options))


@app.command(rich_help_panel="Data")
def clean(
    config: ConfigFile,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="Prefix of the output files: PREFIX.en, PREFIX.de."),
    ],
    set_: Overrides = None,
) -> None:
    """Filter training text by data.clean and write the result."""
    from nmt.commands.data import clean as command

    command.run(command.CleanOptions(config, output, set_ or []))


@data_app.command()
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from `nmt data list`.")],
    to: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder to write; default: data/NAME."),
    ] = None,
    from_: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Read the official files from this folder."),
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Fetch the official files below this address."),
    ] = None,
) -> None:
    """Download a data set, verify it, and write plain text."""
    from nmt.commands.data import get as command

    command.run(command.GetOptions(name, to, from_, mirror))


@data_app.command("list")
def list_() -> None:
    """List the data sets with languages, sizes and licences."""
    from nmt.commands.data import list_datasets as command

    command.run()


@data_app.command()
def convert(
    input_: Annotated[
        Path,
        typer.Argument(metavar="IN", help="A .tmx, .xlf, .tsv or .jsonl file, or a prefix."),
    ],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="A .tmx, .tsv or .jsonl file, or a prefix.")
    ],
    src: Annotated[str, typer.Option(metavar="CODE", help="Source language code.")],
    tgt: Annotated[str, typer.Option(metavar="CODE", help="Target language code.")],
    columns: Annotated[
        tuple[int, int] | None,
        typer.Option(help="Columns of a .tsv file without header, from 1."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="DAY", help="Skip TMX units last changed before this day."),
    ] = None,
) -> None:
    """Convert between TMX, TSV, JSON lines and two plain files."""
    from nmt.commands.data import convert as command

    command.run(command.ConvertOptions(input_, output, src, tgt, columns, since))
