"""The command line: one thin function a command. Heavy imports wait until a command runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import typer
from typer.core import TyperGroup

from nmt import __version__
from nmt.core.logging import print_error
from nmt.core.streams import check_streams
from nmt.device.cpu_cores import TORCH_VARIABLES
from nmt.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USER_ERROR, NMTError


class CommandGroup(TyperGroup):
    """A group whose help lists the commands by section, each description in full.

    The section is the `rich_help_panel` of a command. rich itself would triple the start-up time.
    """

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one definition list for each section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.commands[name]
            section = getattr(command, "rich_help_panel", None)
            summary = (command.help or "").partition("\n")[0]
            sections.setdefault(section or "Commands", []).append((name, summary))
        width = max(map(len, self.commands))
        for section in sorted(sections, key=_section_position):
            with formatter.section(section):
                formatter.write_dl([(f"{name:<{width}}", text) for name, text in sections[section]])


class Commands(CommandGroup):
    """Print a user's error as one line and set the exit code, for all commands."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        for variable in TORCH_VARIABLES.items():  # before torch is loaded
            os.environ.setdefault(*variable)
        try:
            check_streams()
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


class ListByDefault(CommandGroup):
    """A group that runs its command `list` if no other command is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line."""
        named = bool(args) and args[0] in (*self.commands, *ctx.help_option_names)
        if not named and not ctx.resilient_parsing:  # shell completion offers the commands
            args = ["list", *args]
        return super().parse_args(ctx, args)


SECTIONS = ("Data", "Training", "Translation", "Analysis", "Tools")
"""Sections of `nmt --help`, in this order: each command names one as its `rich_help_panel`."""


def _section_position(section: str) -> int:
    return SECTIONS.index(section) if section in SECTIONS else len(SECTIONS)


app = typer.Typer(
    cls=Commands,
    name="nmt",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(
    cls=CommandGroup, help="Print settings.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(config_app, name="config", rich_help_panel="Tools")
data_app = typer.Typer(
    cls=CommandGroup,
    help="Download public parallel text.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data", rich_help_panel="Data")
runs_app = typer.Typer(
    cls=ListByDefault,
    help="List or compare runs; `nmt runs` lists them.",
    rich_markup_mode=None,
)
app.add_typer(runs_app, name="runs", rich_help_panel="Training")

ConfigFile = Annotated[Path, typer.Argument(help="The YAML config, or a run folder.")]
Layer = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(help="Decoder layer, 1 for the lowest; default: best aligning."),
]
Head = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(help="Attention head, counted from 1; default: mean of all."),
]
Overrides = Annotated[
    Optional[list[str]],  # noqa: UP045 (Typer reads it)
    typer.Option("--set", metavar="A.B=C", help="Override one setting; may be repeated."),
]
TargetLanguage = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--to", help="Target language of a multilingual model."),
]
Device = Annotated[str, typer.Option(help="Compute on auto, cpu, cuda or mps.")]
TrainedRun = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Argument(metavar="RUN", help="Run folder; default: newest finished one under runs/."),
]
EngineName = Annotated[
    Literal["nmt", "ctranslate2"],
    typer.Option("--engine", help="Run the model by this toolkit or by its export."),
]
RunFolder = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--run", help="Run folder; default: `run:` of the config or runs/NAME."),
]
ModelFolders = Annotated[
    Optional[list[Path]],  # noqa: UP045
    typer.Option(
        "--model",
        "-m",
        help="Run folder; repeat it for an ensemble; default: newest.",
    ),
]
ModelFolder = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--model", "-m", help="Run folder; default: newest finished one under runs/."),
]
Progress = Annotated[
    bool, typer.Option("--progress", help="Report progress even if stderr is no terminal.")
]
Output = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("-o", "--output", help="Write this file atomically; default: stdout."),
]


def _overrides(set_: list[str] | None, flags: dict[str, tuple[str, Any]]) -> list[str]:
    """Return the `--set` options, then those of {flag: (setting, value)} that have a value."""
    from nmt.config.overrides import Override

    return (set_ or []) + [
        Override.of(setting, value, flag)
        for flag, (setting, value) in flags.items()
        if value is not None
    ]


def _target(to: str | None) -> dict[str, tuple[str, Any]]:
    return {"--to": ("decode.tags.tgt_lang", to)}


def _print_version(requested: bool) -> None:
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


@app.command(rich_help_panel="Training")
def init(
    src: Annotated[Path, typer.Option(help="Source side of your parallel text.")],
    tgt: Annotated[Path, typer.Option(help="Target side, one translation per source line.")],
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("-o", "--output", help="Write this config; default: SRC-TGT.yaml."),
    ] = None,
    valid: Annotated[
        Optional[tuple[Path, Path]],  # noqa: UP045
        typer.Option(metavar="SRC TGT", help="Validation set; default: valid.* beside --src."),
    ] = None,
    test: Annotated[
        Optional[tuple[Path, Path]],  # noqa: UP045
        typer.Option(metavar="SRC TGT", help="Test set; default: test*.* beside --src."),
    ] = None,
    arch: Annotated[
        Optional[Literal["rnn", "transformer"]],  # noqa: UP045
        typer.Option(help="Architecture; default: the best for the amount of text."),
    ] = None,
    hours: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=0.01, metavar="N", help="Plan a training that ends after N hours."),
    ] = None,
) -> None:
    """Write a commented config for two parallel text files."""
    from nmt.commands.training import init as command

    command.run(command.InitOptions(src, tgt, valid, test, arch, hours, output))


@app.command(rich_help_panel="Data")
def tokenizer(config: ConfigFile, run: RunFolder = None, set_: Overrides = None) -> None:
    """Train the tokenizer of a config unless it is up to date."""
    from nmt.commands.data import prepare as command

    command.run(config, run, set_ or [], corpus=False)


@app.command(rich_help_panel="Data")
def prepare(config: ConfigFile, run: RunFolder = None, set_: Overrides = None) -> None:
    """Tokenize the text of a config into its run folder."""
    from nmt.commands.data import prepare as command

    command.run(config, run, set_ or [], corpus=True)


@app.command(rich_help_panel="Training")
def train(
    config: ConfigFile,
    run: RunFolder = None,
    set_: Overrides = None,
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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Try each step once and estimate time and memory.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Train, validate and test a model."""
    from nmt.commands.training import train as command

    code = command.run(config, run, set_ or [], resume, overwrite, dry_run, device, accept_changes)
    raise typer.Exit(code)


@app.command(rich_help_panel="Data")
def check(
    files: Annotated[
        list[Path], typer.Argument(help="A config, a run folder, or two sides of a text.")
    ],
    test: Annotated[
        Optional[tuple[Path, Path]],  # noqa: UP045
        typer.Option(help="With two files: test set that must not overlap."),
    ] = None,
    html: Annotated[
        Optional[Path],  # noqa: UP045
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
    """Find bad lines, duplicates, leaks and shifts in text."""
    from nmt.commands.data import check as command

    raise typer.Exit(command.run(files, test, set_ or [], html, json, strict))


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

    command.run(config, output, set_ or [])


@app.command(rich_help_panel="Translation")
def translate(
    file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Argument(help="Text to translate; default: stdin."),
    ] = None,
    model: ModelFolders = None,
    output: Output = None,
    beam: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--beam", min=1, help="Beam size (decode.beam_size)."),
    ] = None,
    decode: Annotated[
        Optional[Literal["beam", "sample", "mbr"]],  # noqa: UP045
        typer.Option("--decode", help="Search method (decode.method)."),
    ] = None,
    metric: Annotated[
        Optional[Literal["chrf", "bleu"]],  # noqa: UP045
        typer.Option("--metric", help="Similarity metric of MBR (decode.mbr_metric)."),
    ] = None,
    nbest: Annotated[
        int, typer.Option(min=1, help="Translations per line, as N ||| TEXT ||| SCORE.")
    ] = 1,
    scores: Annotated[
        bool, typer.Option("--scores", help="Print SCORE and a tab before each line.")
    ] = False,
    confidence: Annotated[
        bool,
        typer.Option("--confidence", help="Print confidence columns before each line."),
    ] = False,
    review: Annotated[
        int, typer.Option(min=0, metavar="N", help="At the end, list the N least trusted lines.")
    ] = 0,
    progress: Progress = False,
    json: Annotated[
        bool, typer.Option("--json", help="Read and write one JSON object per line.")
    ] = False,
    column: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, metavar="N", help="Translate column N of a tab-separated table."),
    ] = None,
    prefix: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="File with the forced beginning of each translation."),
    ] = None,
    contain: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="File with required phrases per line, tab-separated."),
    ] = None,
    terms: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="TSV of source terms and their required translations."),
    ] = None,
    protect: Annotated[
        bool, typer.Option("--protect", help="Keep links, addresses, {placeholders}, numbers.")
    ] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Translate each line before reading the next.")
    ] = False,
    invalid: Annotated[
        Literal["error", "replace", "skip"],
        typer.Option(help="Invalid UTF-8: fail, replace it, or output a blank line."),
    ] = "replace",
    to: TargetLanguage = None,
    set_: Overrides = None,
    device: Device = "auto",
    engine: EngineName = "nmt",
) -> None:
    """Translate text, one output line per input line."""
    from nmt.commands.translation import translate as command

    flags = {
        "--beam": ("decode.beam_size", beam),
        "--decode": ("decode.method", decode),
        "--metric": ("decode.mbr_metric", metric),
    }
    settings = _overrides(set_, _target(to) | flags)
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
        progress=progress,
    )
    command.run(file, model or [], output, settings, asked, device, engine)


@app.command(rich_help_panel="Analysis")
def explain(
    sentence: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="Sentence; default: the lines of --src or of stdin."),
    ] = None,
    src: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="File of sentences."),
    ] = None,
    force: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Explain this translation, or this file of translations."),
    ] = None,
    model: ModelFolder = None,
    steps: Annotated[
        bool, typer.Option("--steps", help="Show each step: scores, softmax, next words.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print all numbers as one JSON object per line.")
    ] = False,
    pieces: Annotated[
        bool, typer.Option("--pieces", help="Show subword pieces instead of words.")
    ] = False,
    html: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write an HTML page."),
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
        typer.Option("--beam", min=1, help="Search with this beam size; --steps shows the beam."),
    ] = None,
    layer: Layer = None,
    head: Head = None,
    to: TargetLanguage = None,
    set_: Overrides = None,
    device: Device = "auto",
) -> None:
    """Show the attention behind each word of a translation."""
    from nmt.commands.analysis import explain as command

    settings = _overrides(set_, _target(to) | {"--beam": ("decode.beam_size", beam)})
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


@app.command(rich_help_panel="Analysis")
def align(
    src: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Source text; default: stdin."),
    ] = None,
    tgt: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Translation; default: translate and print it too."),
    ] = None,
    model: ModelFolder = None,
    reverse: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Run folder of the reverse model, to symmetrise."),
    ] = None,
    symmetrise: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="grow-diag-final-and (default) or intersection."),
    ] = None,
    gold: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Print precision, recall and AER against this file."),
    ] = None,
    diagnostics: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write entropy, dropped and repeated words per line."),
    ] = None,
    layer: Layer = None,
    head: Head = None,
    output: Output = None,
    progress: Progress = False,
    to: TargetLanguage = None,
    set_: Overrides = None,
    device: Device = "auto",
) -> None:
    """Align words by attention and print Pharaoh links."""
    from nmt.commands.analysis import align as command

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
        _overrides(set_, _target(to)),
        device,
        progress,
    )


@app.command(rich_help_panel="Translation")
def score(
    tgt: Annotated[Path, typer.Option(help="Translations to score.")],
    src: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Source text; default: stdin."),
    ] = None,
    model: ModelFolders = None,
    output: Output = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
    progress: Progress = False,
    to: TargetLanguage = None,
    set_: Overrides = None,
    device: Device = "auto",
) -> None:
    """Print log-probability and perplexity of translations."""
    from nmt.commands.translation import score as command

    command.run(
        src, tgt, model or [], output, json, _overrides(set_, _target(to)), device, progress
    )


@app.command(rich_help_panel="Translation")
def rerank(
    nbest: Annotated[
        Path, typer.Argument(metavar="NBEST", help="N-best lists from `nmt translate --nbest`.")
    ],
    src: Annotated[Path, typer.Option(help="Source text.")],
    model: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option("--model", "-m", help="Run that scores translations; may be repeated."),
    ] = None,
    reverse: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(help="Reverse run that scores sources; may be repeated."),
    ] = None,
    weights: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Weights of the scorers, as written by --tune."),
    ] = None,
    tune: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Tune the weights on --ref and write them to this file."),
    ] = None,
    ref: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Reference translation for --tune."),
    ] = None,
    tgt_lang: Annotated[
        str, typer.Option(help="Target language; selects the BLEU tokenizer.")
    ] = "",
    keep: Annotated[
        int, typer.Option("--nbest", min=1, help="Translations per line; 1 prints text only.")
    ] = 1,
    output: Output = None,
    set_: Overrides = None,
    device: Device = "auto",
) -> None:
    """Rerank n-best lists by other models and by length."""
    from nmt.commands.translation import rerank as command

    scorers = command.Scorers(model or [], reverse or [], set_ or [], device)
    command.run(nbest, src, scorers, weights, tune, ref, tgt_lang, keep, output)


@app.command(rich_help_panel="Analysis")
def evaluate(
    systems: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(
            metavar="SYSTEM",
            help="Runs, checkpoints or translations; default: newest run.",
        ),
    ] = None,
    best: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Evaluate the N best checkpoints of each run."),
    ] = None,
    src: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(help="Source of a test set; may be repeated."),
    ] = None,
    ref: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(help="Reference; repeat equally often for each --src."),
    ] = None,
    tgt_lang: Annotated[
        str, typer.Option(help="Target language; selects the BLEU tokenizer.")
    ] = "",
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "-o",
            "--output",
            help="Write the report as JSON; default: RUN/report.json.",
        ),
    ] = None,
    html: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write an HTML page."),
    ] = None,
    markdown: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write the report as Markdown."),
    ] = None,
    comet_command: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Command with {src}, {hyp}, {ref} that prints a score."),
    ] = None,
    metrics: Annotated[
        str,
        typer.Option(help="Any of bleu, chrf, chrf++, ter, spbleu, with commas."),
    ] = "bleu,chrf,ter",
    to: TargetLanguage = None,
    set_: Overrides = None,
    device: Device = "auto",
    engine: EngineName = "nmt",
) -> None:
    """Compare systems by BLEU, chrF, TER and significance."""
    from nmt.commands.analysis import evaluate as command

    outputs = command.Outputs(output, html, markdown)
    settings = _overrides(set_, _target(to))
    command.run(
        systems or [],
        best,
        src or [],
        ref or [],
        tgt_lang,
        outputs,
        metrics,
        comet_command,
        settings,
        device,
        engine,
    )


@app.command(rich_help_panel="Training")
def average(
    checkpoints: Annotated[
        list[Path],
        typer.Argument(metavar="CHECKPOINT", help="Checkpoint folders, or runs for their best."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Run folder to write.")],
    last: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="With one run folder: average its N newest checkpoints."),
    ] = None,
    best: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="With one run folder: average its N best checkpoints."),
    ] = None,
) -> None:
    """Average the weights of checkpoints into a new model."""
    from nmt.commands.training import average as command

    command.run(checkpoints, last, best, output)


@app.command(rich_help_panel="Tools")
def export(
    to: Annotated[
        Literal["ctranslate2", "huggingface"],
        typer.Option(help="Engine to export to."),
    ],
    model: TrainedRun = None,
    quantization: Annotated[
        Optional[Literal["int8", "float16", "bfloat16"]],  # noqa: UP045
        typer.Option(help="With ctranslate2: number format of the weights."),
    ] = None,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("-o", "--output", help="Folder to write; default: RUN/ENGINE."),
    ] = None,
    set_: Overrides = None,
) -> None:
    """Export a trained model to another engine and compare."""
    from nmt.commands.tools import export as command

    command.run(model, to, quantization, output, set_ or [])


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

    command.run(model, best, set_ or [], device)


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
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write a picture instead of drawing in the terminal."),
    ] = None,
    svg: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write a picture instead of drawing in the terminal."),
    ] = None,
) -> None:
    """Draw the learning curves of runs."""
    from nmt.commands.training import plot as command

    command.run(run, of, x, {"png": png, "svg": svg})


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

    command.list_all(folder, json)


@runs_app.command()
def diff(
    a: Annotated[Path, typer.Argument(metavar="A", help="Run folder.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Run folder.")],
) -> None:
    """Compare two runs: settings, text, learning curves."""
    from nmt.commands.training import runs as command

    command.diff(a, b)


@app.command(rich_help_panel="Tools")
def info(
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Print versions, hardware and code paths for bug reports."""
    from nmt.commands.tools import info as command

    command.run(json)


@config_app.command()
def show(config: ConfigFile, set_: Overrides = None) -> None:
    """Print the resolved config; mark defaults."""
    from nmt.commands.tools import config as command

    command.show(config, set_ or [])


@config_app.command()
def schema() -> None:
    """Print the JSON schema of the config for editors."""
    from nmt.commands.tools import config as command

    command.schema()


@data_app.command()
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from `nmt data list`.")],
    to: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="DIR", help="Folder to write; default: data/NAME."),
    ] = None,
    from_: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--from", metavar="DIR", help="Read the official files from this folder."),
    ] = None,
    mirror: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="URL", help="Fetch the official files below this address."),
    ] = None,
) -> None:
    """Download a data set, verify it, and write plain text."""
    from nmt.commands.data import datasets as command

    command.get(name, to, from_, mirror)


@data_app.command("list")
def list_() -> None:
    """List the data sets with languages, sizes and licences."""
    from nmt.commands.data import datasets as command

    command.list_all()


main = app
