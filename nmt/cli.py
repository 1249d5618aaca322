"""The command line: one thin function a command. Heavy imports wait until a command runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import typer
from typer.core import TyperGroup

from nmt.cores import TORCH_VARIABLES
from nmt.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USER_ERROR, NMTError
from nmt.log import print_error


class Commands(TyperGroup):
    """Turns a user's errors into one line each and an exit code, in one place for all commands."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        for variable in TORCH_VARIABLES.items():  # before torch is loaded
            os.environ.setdefault(*variable)
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except NMTError as error:
            print_error(str(error))
            raise typer.Exit(EXIT_USER_ERROR) from None
        except KeyboardInterrupt:
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:
            # The reader went away (`| head`): end quietly, with stdout where writes succeed.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(EXIT_OK) from None
        except OSError as error:
            place = f"{error.filename}: " if error.filename is not None else ""
            print_error(place + (error.strerror or str(error)))
            raise typer.Exit(EXIT_USER_ERROR) from None
        return result


class ListByDefault(TyperGroup):
    """A group that is short for its command `list`, alone or with what that takes."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line."""
        if not args or args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=Commands,
    name="nmt",
    help="Neural machine translation from the shell: train, translate, evaluate.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(help="Look at settings.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(config_app, name="config")
data_app = typer.Typer(
    help="Get public parallel text.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(data_app, name="data")
runs_app = typer.Typer(
    cls=ListByDefault,
    help="Look at runs; alone or with a folder, short for `nmt runs list`.",
    rich_markup_mode=None,
)
app.add_typer(runs_app, name="runs")

ConfigFile = Annotated[Path, typer.Argument(help="The YAML config.")]
Layer = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(help="Look at this decoder layer, 1 for the lowest; default: what aligns best."),
]
Head = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(help="Look at this attention head, counted from 1; default: the mean of all."),
]
Overrides = Annotated[
    Optional[list[str]],  # noqa: UP045 (Typer reads it)
    typer.Option("--set", metavar="A.B=C", help="Override one setting; may be repeated."),
]
TargetLanguage = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--to", help="Short for --set decode.tags.tgt_lang=CODE, of several languages."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
TrainedRun = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Argument(metavar="RUN", help="Run folder; default: the newest finished under runs/."),
]
EngineName = Annotated[
    Literal["nmt", "ctranslate2"],
    typer.Option("--engine", help="What runs the model: this toolkit, or its export."),
]
RunFolder = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--run", help="Run folder; default: `run:` of the config, else runs/NAME."),
]
ModelFolders = Annotated[
    Optional[list[Path]],  # noqa: UP045
    typer.Option(
        "--model",
        "-m",
        help="Run folder; several make an ensemble. Default: the newest finished under runs/.",
    ),
]
ModelFolder = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--model", "-m", help="Run folder; default: the newest finished under runs/."),
]
Output = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("-o", "--output", help="Write here, as a whole; default: stdout."),
]


def _asked(overrides: list[str] | None, to: str | None) -> list[str]:
    """Return the settings that were asked for, the target language among them."""
    return (overrides or []) + ([f"decode.tags.tgt_lang={to}"] if to else [])


@app.command()
def init(
    src: Annotated[Path, typer.Option(help="Source side of your parallel text.")],
    tgt: Annotated[Path, typer.Option(help="Target side, line by line.")],
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("-o", "--output", help="Where to write; default: SRC-TGT.yaml here."),
    ] = None,
) -> None:
    """Write a commented config that suits two parallel text files."""
    from nmt.commands import init as command

    command.run(src, tgt, output)


@app.command()
def tokenizer(config: ConfigFile, run: RunFolder = None, set_: Overrides = None) -> None:
    """Train the tokenizer of a config, unless it is there and its text unchanged."""
    from nmt.commands import prepare as command

    command.run(config, run, set_ or [], corpus=False)


@app.command()
def prepare(config: ConfigFile, run: RunFolder = None, set_: Overrides = None) -> None:
    """Tokenize the text of a config into its run folder (the tokenizer first, where missing)."""
    from nmt.commands import prepare as command

    command.run(config, run, set_ or [], corpus=True)


@app.command()
def train(
    config: ConfigFile,
    run: RunFolder = None,
    set_: Overrides = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the folder, or start one.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete the run in the folder and start anew.")
    ] = False,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes",
            help="With --resume: go on with another tokenizer, text or model than the run's.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Try everything once; say what the run will cost.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Train a model: tokenizer, corpus, updates, validation, test scores."""
    from nmt.commands import train as command

    code = command.run(config, run, set_ or [], resume, overwrite, dry_run, device, accept_changes)
    raise typer.Exit(code)


@app.command()
def check(
    files: Annotated[
        list[Path], typer.Argument(help="A config, or the two sides of a text, such as a.de a.en.")
    ],
    test: Annotated[
        Optional[tuple[Path, Path]],  # noqa: UP045
        typer.Option(help="With two files: the two sides of a test set that must not be in them."),
    ] = None,
    html: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write one page to look at in a browser."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="All findings with their lines.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 where there is an error.")
    ] = False,
    set_: Overrides = None,
) -> None:
    """Find what is wrong with parallel text: lines, pairs, duplicates, leaks, shifted blocks."""
    from nmt.commands import check as command

    raise typer.Exit(command.run(files, test, set_ or [], html, json, strict))


@app.command()
def clean(
    config: ConfigFile,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Prefix of the files written: PREFIX.en, ...")
    ],
    set_: Overrides = None,
) -> None:
    """Filter a config's training text by its data.clean, and write what is kept and what not."""
    from nmt.commands import clean as command

    command.run(config, output, set_ or [])


@app.command()
def translate(
    file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Argument(help="Text to translate; default: stdin."),
    ] = None,
    model: ModelFolders = None,
    output: Output = None,
    beam: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--beam", min=1, help="Short for --set decode.beam_size=N."),
    ] = None,
    decode: Annotated[
        Optional[Literal["beam", "sample", "mbr"]],  # noqa: UP045
        typer.Option("--decode", help="Short for --set decode.method=WAY."),
    ] = None,
    metric: Annotated[
        Optional[Literal["chrf", "bleu"]],  # noqa: UP045
        typer.Option("--metric", help="Short for --set decode.mbr_metric=METRIC."),
    ] = None,
    nbest: Annotated[
        int, typer.Option(min=1, help="Translations a line, as N ||| TEXT ||| SCORE.")
    ] = 1,
    scores: Annotated[
        bool, typer.Option("--scores", help="Put SCORE and a tab before each line.")
    ] = False,
    confidence: Annotated[
        bool,
        typer.Option("--confidence", help="Put log-probability, lowest, coverage, flags before."),
    ] = False,
    review: Annotated[
        int, typer.Option(min=0, metavar="N", help="At the end, list the N least trusted lines.")
    ] = 0,
    json: Annotated[
        bool, typer.Option("--json", help="Read and write a JSON object a line (docs).")
    ] = False,
    column: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, metavar="N", help="Translate column N of a table with tabs."),
    ] = None,
    prefix: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="A file of what each translation begins with."),
    ] = None,
    contain: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="A file of what each translation must hold, tabs between phrases."),
    ] = None,
    terms: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="A TSV of source terms and their translations, demanded throughout."),
    ] = None,
    protect: Annotated[
        bool, typer.Option("--protect", help="Keep links, addresses, {placeholders}, numbers.")
    ] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Answer each line before reading the next.")
    ] = False,
    invalid: Annotated[
        Literal["error", "replace", "skip"],
        typer.Option(help="Of lines that are not UTF-8: end, mend them, or leave them blank."),
    ] = "replace",
    to: TargetLanguage = None,
    set_: Overrides = None,
    device: Device = "auto",
    engine: EngineName = "nmt",
) -> None:
    """Translate text, one line out a line in."""
    from nmt.commands import translate as command

    short = {"beam_size": beam, "method": decode, "mbr_metric": metric}
    settings = _asked(set_, to) + [f"decode.{key}={its}" for key, its in short.items() if its]
    asked = command.Asked(
        nbest=nbest,
        scores=scores,
        stream=stream,
        invalid=invalid,
        json=json,
        column=column,
        prefix=prefix,
        contain=contain,
        terms=terms,
        protect=protect,
        confidence=confidence,
        review=review,
    )
    command.run(file, model or [], output, settings, asked, device, engine)


@app.command()
def explain(
    sentence: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="The sentence; default: the lines of --src or of stdin."),
    ] = None,
    src: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="A file of sentences."),
    ] = None,
    force: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Explain this translation; without a sentence, a file of them."),
    ] = None,
    model: ModelFolder = None,
    steps: Annotated[
        bool, typer.Option("--steps", help="Walk through every step: scores, softmax, next words.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="All numbers, one object a line.")] = False,
    pieces: Annotated[
        bool, typer.Option("--pieces", help="Show subword pieces, not words.")
    ] = False,
    html: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write one page to look at in a browser."),
    ] = None,
    png: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write a heat map."),
    ] = None,
    svg: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write a heat map."),
    ] = None,
    beam: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--beam", min=1, help="Search with this beam; steps show kept and dropped."),
    ] = None,
    layer: Layer = None,
    head: Head = None,
    to: TargetLanguage = None,
    set_: Overrides = None,
    device: Device = "auto",
) -> None:
    """Show what the model looks at for each word of a translation."""
    from nmt.commands import explain as command

    settings = (set_ or []) + ([f"decode.beam_size={beam}"] if beam else [])
    pictures = {"png": png, "svg": svg}
    command.run(
        sentence,
        src,
        force,
        model,
        steps,
        json,
        pieces,
        html,
        pictures,
        beam,
        layer,
        head,
        settings,
        device,
    )


@app.command()
def align(
    src: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Source text; default: stdin."),
    ] = None,
    tgt: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Its translation; default: ours, put out after each alignment."),
    ] = None,
    model: ModelFolder = None,
    reverse: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Run folder of a model of the other direction, to symmetrise with."),
    ] = None,
    symmetrise: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="grow-diag-final-and (the default with --reverse) or intersection."),
    ] = None,
    gold: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Print precision, recall and AER against these alignments."),
    ] = None,
    diagnostics: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write entropy, dropped and repeated source words of each line here."),
    ] = None,
    layer: Layer = None,
    head: Head = None,
    output: Output = None,
    to: TargetLanguage = None,
    set_: Overrides = None,
    device: Device = "auto",
) -> None:
    """Align words by attention, as Pharaoh links SOURCE-TARGET, one line a pair."""
    from nmt.commands import align as command

    command.run(
        src,
        tgt,
        model,
        reverse,
        symmetrise,
        gold,
        diagnostics,
        layer,
        head,
        output,
        _asked(set_, to),
        device,
    )


@app.command()
def score(
    tgt: Annotated[Path, typer.Option(help="The translations.")],
    src: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="What they translate; default: stdin."),
    ] = None,
    model: ModelFolders = None,
    output: Output = None,
    json: Annotated[bool, typer.Option("--json", help="A JSON object a line.")] = False,
    to: TargetLanguage = None,
    set_: Overrides = None,
    device: Device = "auto",
) -> None:
    """Score given translations: log-probability, that a token, and perplexity, a line each."""
    from nmt.commands import score as command

    command.run(src, tgt, model or [], output, json, _asked(set_, to), device)


@app.command()
def rerank(
    nbest: Annotated[
        Path, typer.Argument(metavar="NBEST", help="Lists as `nmt translate --nbest` writes them.")
    ],
    src: Annotated[Path, typer.Option(help="What they translate.")],
    model: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option("--model", "-m", help="Run that scores translations; may be repeated."),
    ] = None,
    reverse: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(help="Run of the other direction, that scores sources; may be repeated."),
    ] = None,
    weights: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Weights of the scorers, as --tune writes them."),
    ] = None,
    tune: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Find the weights that suit --ref best, and write them here."),
    ] = None,
    ref: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="With --tune: the reference."),
    ] = None,
    tgt_lang: Annotated[
        str, typer.Option(help="Target language, which chooses BLEU's tokenizer.")
    ] = "",
    keep: Annotated[
        int, typer.Option("--nbest", min=1, help="Translations put out a line; 1 for text alone.")
    ] = 1,
    output: Output = None,
    set_: Overrides = None,
    device: Device = "auto",
) -> None:
    """Rank n-best lists anew by other models, by those of the other direction, by length."""
    from nmt.commands import rerank as command

    scorers = command.Scorers(model or [], reverse or [], set_ or [], device)
    command.run(nbest, src, scorers, weights, tune, ref, tgt_lang, keep, output)


@app.command()
def evaluate(
    systems: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(
            metavar="[SYSTEM]...",
            help="Run folders, checkpoints, files of translations; the others are held against the "
            "first. Default: the newest finished run under runs/.",
        ),
    ] = None,
    best: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Of each run so many checkpoints, those that validated best."),
    ] = None,
    src: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(help="Source of a test set; may be repeated. Default: the run's test sets."),
    ] = None,
    ref: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(help="Its reference translation; may be repeated, as often for each --src."),
    ] = None,
    tgt_lang: Annotated[
        str, typer.Option(help="Target language, which chooses BLEU's tokenizer.")
    ] = "",
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "-o",
            "--output",
            help="Report as JSON; default: the run's report.json, for its own test sets.",
        ),
    ] = None,
    html: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write one page to look at in a browser."),
    ] = None,
    markdown: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write the report for a pull request."),
    ] = None,
    comet_command: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Score by a command too: 'comet-score -s {src} -t {hyp} -r {ref}'."),
    ] = None,
    to: TargetLanguage = None,
    set_: Overrides = None,
    device: Device = "auto",
    engine: EngineName = "nmt",
) -> None:
    """Score systems: BLEU, chrF, TER, who is better for sure, where, and what looks wrong."""
    from nmt.commands import evaluate as command

    outputs = command.Outputs(output, html, markdown)
    settings = _asked(set_, to)
    command.run(
        systems or [],
        best,
        src or [],
        ref or [],
        tgt_lang,
        outputs,
        comet_command,
        settings,
        device,
        engine,
    )


@app.command()
def average(
    checkpoints: Annotated[
        list[Path],
        typer.Argument(metavar="CHECKPOINT", help="Checkpoint folders, or runs for their best."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Run folder to write.")],
    last: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="With one run folder: average its newest checkpoints."),
    ] = None,
    best: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="With one run folder: average its best checkpoints."),
    ] = None,
) -> None:
    """Average the weights of checkpoints into a model of its own."""
    from nmt.commands import average as command

    command.run(checkpoints, last, best, output)


@app.command()
def export(
    to: Annotated[
        Literal["ctranslate2", "huggingface"],
        typer.Option(help="The engine whose format is written."),
    ],
    model: TrainedRun = None,
    quantization: Annotated[
        Optional[Literal["int8", "float16", "bfloat16"]],  # noqa: UP045
        typer.Option(help="With ctranslate2: how weights are stored; default: as they are."),
    ] = None,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("-o", "--output", help="Folder to write; default: RUN/ENGINE."),
    ] = None,
    set_: Overrides = None,
) -> None:
    """Write a trained Transformer for another engine, and compare the two."""
    from nmt.commands import export as command

    command.run(model, to, quantization, output, set_ or [])


@app.command()
def shortlist(
    model: TrainedRun = None,
    best: Annotated[
        int, typer.Option(min=1, help="Target tokens kept for each source token.")
    ] = 100,
    set_: Overrides = None,
    device: Device = "auto",
) -> None:
    """Learn which target tokens each source token may become, for faster decoding."""
    from nmt.commands import shortlist as command

    command.run(model, best, set_ or [], device)


@app.command()
def plot(
    run: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders.")],
    of: Annotated[
        str, typer.Option(help="Any of loss, perplexity, bleu, lr, speed, with commas between.")
    ] = "loss,bleu",
    x: Annotated[
        Literal["updates", "seconds", "epoch"], typer.Option(help="What the x axis is.")
    ] = "updates",
    png: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write a picture, not to the terminal."),
    ] = None,
    svg: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write a picture, not to the terminal."),
    ] = None,
) -> None:
    """Draw the learning curves of one run or several."""
    from nmt.commands import plot as command

    command.run(run, of, x, {"png": png, "svg": svg})


@runs_app.command("list")
def list_runs(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where to look for runs, at any depth.")
    ] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="All facts, one object a line.")] = False,
) -> None:
    """List the runs under a folder: state, scores, speed; the one written to last at the end."""
    from nmt.commands import runs as command

    command.list_all(folder, json)


@runs_app.command()
def diff(
    a: Annotated[Path, typer.Argument(metavar="A", help="Run folder.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Run folder.")],
) -> None:
    """Show how two runs differ: settings, text, learning curves."""
    from nmt.commands import runs as command

    command.diff(a, b)


@config_app.command()
def show(config: ConfigFile, set_: Overrides = None) -> None:
    """Print the resolved config, each value marked default or given."""
    from nmt.commands import config as command

    command.show(config, set_ or [])


@config_app.command()
def schema() -> None:
    """Print the JSON schema of the config, for editors."""
    from nmt.commands import config as command

    command.schema()


@data_app.command()
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of `nmt data list`.")],
    to: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="DIR", help="Folder to write; default: data/NAME."),
    ] = None,
    from_: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--from", metavar="DIR", help="Take the official files from here."),
    ] = None,
    mirror: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="URL", help="Fetch the official files from below this address."),
    ] = None,
) -> None:
    """Fetch a data set, checked, as plain text."""
    from nmt.commands import data as command

    command.get(name, to, from_, mirror)


@data_app.command("list")
def list_() -> None:
    """List the data sets: languages, sizes, sums, licences."""
    from nmt.commands import data as command

    command.list_all()


main = app
