"""The `nmt` command line: the Typer application and the exit codes of errors."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated, Any

import typer

from nmt import __version__
from nmt.cli import analysis, data, synthetic, tools, training, translation
from nmt.cli.command_groups import CommandGroup
from nmt.core.console import show_messages
from nmt.core.streams import check_streams
from nmt.device.cpu_cores import TORCH_VARIABLES
from nmt.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USER_ERROR, NMTError

logger = logging.getLogger(__name__)


class RootGroup(CommandGroup):
    """The command group `nmt`: turns exceptions into one-line messages and exit codes."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command and exit with the code that belongs to its error, if any."""
        for variable, value in TORCH_VARIABLES.items():  # torch reads them when it is imported
            os.environ.setdefault(variable, value)
        show_messages()
        try:
            check_streams()
            result = super().invoke(ctx)
            sys.stdout.flush()
        except NMTError as error:
            logger.error(str(error))
            raise typer.Exit(EXIT_USER_ERROR) from None
        except KeyboardInterrupt:
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:
            # The reader of stdout has exited, as in `nmt ... | head`. Python flushes stdout at
            # exit: point it to the null device, so that this flush does not fail.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(EXIT_OK) from None
        except OSError as error:
            path = f"{error.filename}: " if error.filename is not None else ""
            logger.error(path + (error.strerror or str(error)))
            raise typer.Exit(EXIT_USER_ERROR) from None
        return result


app = typer.Typer(
    cls=RootGroup,
    name="nmt",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for section in (data, synthetic, training, translation, analysis, tools):  # as in `nmt --help`
    app.add_typer(section.app)

main = app
"""Entry point of the `nmt` script: run the command line of this process, then exit."""


def _print_version(requested: bool) -> None:
    """Print the version and exit, if requested."""
    if requested:
        print(f"nmt {__version__}")
        raise typer.Exit(EXIT_OK)


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Neural machine translation from the shell: train, translate, evaluate."""
