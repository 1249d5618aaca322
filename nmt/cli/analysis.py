"""Commands of the section "Analysis" of `nmt --help`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nmt.cli.options import (
    TARGET_LANGUAGE_KEY,
    Device,
    EngineName,
    Head,
    Layer,
    ModelFolder,
    Output,
    Overrides,
    Progress,
    TargetLanguage,
    merge_overrides,
)

app = typer.Typer()

DEFAULT_METRICS = "bleu,chrf,ter"


@app.command(rich_help_panel="Analysis")
def explain(
    sentence: Annotated[
        str | None,
        typer.Argument(help="Sentence; default: the lines of --src or of stdin."),
    ] = None,
    src: Annotated[
        Path | None,
        typer.Option(help="File of sentences."),
    ] = None,
    force: Annotated[
        str | None,
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
        Path | None,
        typer.Option(help="Write an HTML page."),
    ] = None,
    png: Annotated[
        Path | None,
        typer.Option(help="Write a heat map."),
    ] = None,
    svg: Annotated[
        Path | None,
        typer.Option(help="Write a heat map."),
    ] = None,
    beam: Annotated[
        int | None,
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

    overrides = merge_overrides(
        set_, {"--to": (TARGET_LANGUAGE_KEY, to), "--beam": ("decode.beam_size", beam)}
    )
    command.run(
        command.ExplainOptions(
            sentence=sentence,
            src=src,
            force=force,
            model=model,
            steps=steps,
            json=json,
            pieces=pieces,
            html=html,
            png=png,
            svg=svg,
            beam=beam,
            layer=layer,
            head=head,
            overrides=overrides,
            device=device,
        )
    )


@app.command(rich_help_panel="Analysis")
def align(
    src: Annotated[
        Path | None,
        typer.Option(help="Source text; default: stdin."),
    ] = None,
    tgt: Annotated[
        Path | None,
        typer.Option(help="Translation; default: translate and print it too."),
    ] = None,
    model: ModelFolder = None,
    reverse: Annotated[
        Path | None,
        typer.Option(help="Run folder of the reverse model, to symmetrise."),
    ] = None,
    symmetrise: Annotated[
        str | None,
        typer.Option(help="grow-diag-final-and (default) or intersection."),
    ] = None,
    gold: Annotated[
        Path | None,
        typer.Option(help="Print precision, recall and AER against this file."),
    ] = None,
    diagnostics: Annotated[
        Path | None,
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
        command.AlignOptions(
            src=src,
            tgt=tgt,
            model=model,
            reverse=reverse,
            symmetrise=symmetrise,
            gold=gold,
            diagnostics=diagnostics,
            layer=layer,
            head=head,
            output=output,
            overrides=merge_overrides(set_, {"--to": (TARGET_LANGUAGE_KEY, to)}),
            device=device,
            progress=progress,
        )
    )


@app.command(rich_help_panel="Analysis")
def evaluate(
    systems: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="SYSTEM",
            help="Runs, checkpoints or translations; default: newest run.",
        ),
    ] = None,
    best: Annotated[
        int | None,
        typer.Option(min=1, help="Evaluate the N best checkpoints of each run."),
    ] = None,
    src: Annotated[
        list[Path] | None,
        typer.Option(help="Source of a test set; may be repeated."),
    ] = None,
    ref: Annotated[
        list[Path] | None,
        typer.Option(help="Reference; repeat equally often for each --src."),
    ] = None,
    tgt_lang: Annotated[
        str, typer.Option(help="Target language; selects the BLEU tokenizer.")
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Write the report as JSON; default: RUN/report.json.",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write an HTML page."),
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(help="Write the report as Markdown."),
    ] = None,
    comet_command: Annotated[
        str | None,
        typer.Option(help="Command with {src}, {hyp}, {ref} that prints a score."),
    ] = None,
    metrics: Annotated[
        str,
        typer.Option(help="Any of bleu, chrf, chrf++, ter, spbleu, with commas."),
    ] = DEFAULT_METRICS,
    diagnose: Annotated[
        bool,
        typer.Option("--diagnose", help="Measure what limits a run, or runs by amount of text."),
    ] = False,
    to: TargetLanguage = None,
    set_: Overrides = None,
    device: Device = "auto",
    engine: EngineName = "nmt",
) -> None:
    """Compare systems by BLEU, chrF, TER and significance."""
    overrides = merge_overrides(set_, {"--to": (TARGET_LANGUAGE_KEY, to)})
    if diagnose:
        from nmt.commands.analysis import diagnose as diagnosis

        unused: dict[str, object] = {"--best": best, "--src": src, "--ref": ref, "--html": html}
        unused |= {"--markdown": markdown, "--comet-command": comet_command}
        unused |= {"--metrics": metrics != DEFAULT_METRICS, "--engine": engine != "nmt"}
        given = [flag for flag, value in unused.items() if value]
        options = diagnosis.DiagnoseOptions(systems or [], output, overrides, device, given)
        diagnosis.run(options)
        return
    from nmt.commands.analysis import evaluate as command

    command.run(
        command.EvaluateOptions(
            systems=systems or [],
            best=best,
            src=src or [],
            ref=ref or [],
            tgt_lang=tgt_lang,
            output=output,
            html=html,
            markdown=markdown,
            comet_command=comet_command,
            metrics=metrics,
            overrides=overrides,
            device=device,
            engine=engine,
        )
    )
