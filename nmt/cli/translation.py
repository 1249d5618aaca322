"""Commands of the section "Translation" of `nmt --help`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from nmt.cli.options import (
    TARGET_LANGUAGE_KEY,
    Device,
    EngineName,
    ModelFolders,
    Output,
    Overrides,
    Progress,
    TargetLanguage,
    merge_overrides,
)

app = typer.Typer()


@app.command(rich_help_panel="Translation")
def translate(
    file: Annotated[
        Path | None,
        typer.Argument(help="Text to translate; default: stdin."),
    ] = None,
    model: ModelFolders = None,
    output: Output = None,
    beam: Annotated[
        int | None,
        typer.Option("--beam", min=1, help="Beam size (decode.beam_size)."),
    ] = None,
    decode: Annotated[
        Literal["beam", "sample", "mbr"] | None,
        typer.Option("--decode", help="Search method (decode.method)."),
    ] = None,
    metric: Annotated[
        Literal["chrf", "bleu"] | None,
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
        int | None,
        typer.Option(min=1, metavar="N", help="Translate column N of a tab-separated table."),
    ] = None,
    prefix: Annotated[
        Path | None,
        typer.Option(help="File with the forced beginning of each translation."),
    ] = None,
    contain: Annotated[
        Path | None,
        typer.Option(help="File with required phrases per line, tab-separated."),
    ] = None,
    terms: Annotated[
        Path | None,
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
        "--to": (TARGET_LANGUAGE_KEY, to),
        "--beam": ("decode.beam_size", beam),
        "--decode": ("decode.method", decode),
        "--metric": ("decode.mbr_metric", metric),
    }
    options = command.TranslateOptions(
        file=file,
        models=tuple(model or ()),
        output=output,
        overrides=tuple(merge_overrides(set_, flags)),
        device=device,
        engine=engine,
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
    command.run(options)


@app.command(rich_help_panel="Translation")
def score(
    tgt: Annotated[Path, typer.Option(help="Translations to score.")],
    src: Annotated[
        Path | None,
        typer.Option(help="Source text; default: stdin."),
    ] = None,
    model: ModelFolders = None,
    reverse: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Run of the other direction; adds dual cross-entropy."),
    ] = None,
    output: Output = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
    progress: Progress = False,
    to: TargetLanguage = None,
    set_: Overrides = None,
    device: Device = "auto",
) -> None:
    """Print log-probability and perplexity of translations."""
    from nmt.commands.translation import score as command

    options = command.ScoreOptions(
        tgt=tgt,
        src=src,
        models=tuple(model or ()),
        reverse=reverse,
        output=output,
        json=json,
        overrides=tuple(merge_overrides(set_, {"--to": (TARGET_LANGUAGE_KEY, to)})),
        device=device,
        progress=progress,
    )
    command.run(options)


@app.command(rich_help_panel="Translation")
def rerank(
    nbest: Annotated[
        Path, typer.Argument(metavar="NBEST", help="N-best lists from `nmt translate --nbest`.")
    ],
    src: Annotated[Path, typer.Option(help="Source text.")],
    model: Annotated[
        list[Path] | None,
        typer.Option("--model", "-m", help="Run that scores translations; may be repeated."),
    ] = None,
    reverse: Annotated[
        list[Path] | None,
        typer.Option(help="Reverse run that scores sources; may be repeated."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Weights of the scorers, as written by --tune."),
    ] = None,
    tune: Annotated[
        Path | None,
        typer.Option(help="Tune the weights on --ref and write them to this file."),
    ] = None,
    ref: Annotated[
        Path | None,
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

    options = command.RerankOptions(
        nbest=nbest,
        src=src,
        models=tuple(model or ()),
        reverse_models=tuple(reverse or ()),
        weights=weights,
        tune=tune,
        ref=ref,
        tgt_lang=tgt_lang,
        keep=keep,
        output=output,
        overrides=tuple(set_ or ()),
        device=device,
    )
    command.run(options)


@app.command(rich_help_panel="Translation")
def serve(
    model: Annotated[
        list[Path] | None,
        typer.Option("--model", "-m", help="Run folder; repeat it for more; default: newest."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any free one.")] = 5000,
    pivot: Annotated[
        bool, typer.Option("--pivot", help="Translate through a third language if necessary.")
    ] = False,
    api_keys: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Require one of the keys in this file.")
    ] = None,
    new_key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Add a key to --api-keys, print it and exit."),
    ] = None,
    rate_limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Requests per minute of each key or address."),
    ] = None,
    max_characters: Annotated[
        int, typer.Option(min=1, metavar="N", help="Maximum characters of a request.")
    ] = 50_000,
    max_queue: Annotated[
        int, typer.Option(min=1, metavar="N", help="Maximum lines in progress; more get 429.")
    ] = 1000,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Time limit of a request.")
    ] = 60.0,
    batch_wait: Annotated[
        float,
        typer.Option(min=0, metavar="MS", help="Milliseconds that a sentence waits for others."),
    ] = 5.0,
    cors: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help='Pages that may call it; "*": all; repeatable.'),
    ] = None,
    access_log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Access log; default: stderr.")
    ] = None,
    set_: Overrides = None,
    device: Device = "auto",
    engine: EngineName = "nmt",
) -> None:
    """Serve models over HTTP by the LibreTranslate API."""
    from nmt.commands.translation import serve as command

    options = command.ServeOptions(
        models=tuple(model or ()),
        host=host,
        port=port,
        engine=engine,
        device=device,
        overrides=tuple(set_ or ()),
        pivot=pivot,
        batch_wait=batch_wait,
        max_characters=max_characters,
        max_queue=max_queue,
        timeout=timeout,
        rate_limit=rate_limit,
        api_keys=api_keys,
        new_key=new_key,
        cors=tuple(cors or ()),
        access_log=access_log,
    )
    command.run(options)
