"""Measure decoding speed side by side with other engines on the same weights.

    python benchmarks/decoding.py RUN SRC [--beams 1 5] [--rounds 3] [--threads 2]
        [--opennmt PYTHON] [--eole PYTHON] [--joeynmt PYTHON]

RUN is a trained pre-norm Transformer. All engines use its weights: CTranslate2 through our export,
transformers as a Pegasus model (MarianMT with pre-norm), and the others in separate Python
environments, because they need other versions of torch. Each engine runs in its own process. For
each beam size, the best batch size is selected first. Then the engines alternate for `--rounds`
rounds, and the fastest round counts. Prints Markdown: speeds, lines that differ from ours in fp32,
the time from a cold start to one translated line, peak memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from served import Served

BATCHES = (32, 64, 128, 256)
"""Batch sizes to try, in lines."""
PEERS = {"opennmt": "OpenNMT-py", "eole": "eole", "joeynmt": "JoeyNMT"}
"""Engines with their own Python environment, run by peers/run_*.py."""


class System(Protocol):
    """An engine with its model loaded."""

    def translate(self, lines: Sequence[str], beam: int, batch: int) -> list[str]:
        """Translate lines."""


class Ours:
    """Our own engine."""

    def __init__(self, run: Path, precision: str, threads: int) -> None:
        from nmt.config.loader import load_config
        from nmt.core.run_dir import open_run
        from nmt.decoding.loading import load_translator

        number, _, shortlist = precision.partition(" ")
        settings = {
            "precision": number,
            "shortlist": "true" if shortlist else "false",
            "threads": threads,
            "length_penalty": 0,
            "stop": "exact",
        }
        overrides = [f"decode.{name}={value}" for name, value in settings.items()]
        self.config = load_config(open_run(run).config, overrides)
        self.translator = load_translator(open_run(run), self.config, "cpu")

    def translate(self, lines: Sequence[str], beam: int, batch: int) -> list[str]:
        """Translate lines."""
        engine: Any = self.translator.engine
        settings = {"beam_size": beam, "batch_size": batch, "batch_tokens": 100 * batch}
        engine.settings = self.config.decode.model_copy(update=settings)
        return self.translator.translate(lines)


class CTranslate2:
    """CTranslate2 on the exported weights, with one thread per worker."""

    def __init__(self, run: Path, precision: str, threads: int) -> None:
        import ctranslate2

        from nmt.core.run_dir import RunDir
        from nmt.data.tokenizer.storage import load_tokenizers

        folder = RunDir(run).export_folder("ctranslate2")
        self.tokenizers = load_tokenizers(RunDir(folder))
        src, tgt = self.tokenizers.src, self.tokenizers.tgt
        self.pieces = src.pieces(range(src.vocab_size))
        self.ids = {piece: i for i, piece in enumerate(tgt.pieces(range(tgt.vocab_size)))}
        self.model = ctranslate2.Translator(
            str(folder), compute_type=precision, inter_threads=threads, intra_threads=1
        )

    def translate(self, lines: Sequence[str], beam: int, batch: int) -> list[str]:
        """Translate lines."""
        src, tgt = self.tokenizers.src, self.tokenizers.tgt
        tokens = [[self.pieces[t] for t in [*line, src.eos]] for line in src.encode(lines)]
        results = self.model.translate_batch(
            tokens,
            beam_size=beam,
            length_penalty=0,
            max_batch_size=batch,
            min_decoding_length=0,
            max_decoding_length=100,
        )
        return [tgt.decode([self.ids[p] for p in result.hypotheses[0]]) for result in results]


class Transformers:
    """transformers' generate."""

    def __init__(self, run: Path, precision: str, threads: int) -> None:
        import torch
        from transformers import PegasusConfig, PegasusForConditionalGeneration

        from nmt.config.loader import load_config
        from nmt.core.run_dir import open_run
        from nmt.decoding.loading import load_engine
        from nmt.export.huggingface import (
            marian_weights,
            special_token_ids,
            transformer_settings,
            weight_and_bias,
        )

        config = load_config(open_run(run).config)
        engine: Any = load_engine(open_run(run), config, "cpu")
        self.tokenizers, model = engine.tokenizers, engine.model
        tgt = self.tokenizers.tgt
        torch.set_num_threads(threads)
        self.model: Any = PegasusForConditionalGeneration(
            PegasusConfig(
                vocab_size=tgt.vocab_size,
                **transformer_settings(config.model),
                **special_token_ids(tgt),
            )
        )
        weights = {
            **marian_weights(model),
            **weight_and_bias("model.encoder.layer_norm", model.encoder_norm),
            **weight_and_bias("model.decoder.layer_norm", model.decoder_norm),
            "model.shared.weight": model.tgt.embedding.weight,
        }
        missing, unexpected = self.model.load_state_dict(weights, strict=False)
        if unexpected or any("embed_positions" not in name for name in missing):
            raise SystemExit(f"Pegasus's layout has changed: {missing} {unexpected}")
        self.model.eval()

    def translate(self, lines: Sequence[str], beam: int, batch: int) -> list[str]:
        """Translate lines."""
        import torch

        src, tgt = self.tokenizers.src, self.tokenizers.tgt
        sources = [[*tokens, src.eos] for tokens in src.encode(lines)]
        order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
        translations = [""] * len(lines)
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            longest = max(len(sources[i]) for i in chosen)
            rows = torch.tensor(
                [sources[i] + [src.pad] * (longest - len(sources[i])) for i in chosen]
            )
            with torch.inference_mode():
                results = self.model.generate(
                    rows,
                    attention_mask=(rows != src.pad).long(),
                    num_beams=beam,
                    length_penalty=0.0 if beam > 1 else None,
                    max_length=100,
                )
            for i, tokens in zip(chosen, results[:, 1:].tolist(), strict=True):
                end = tokens.index(tgt.eos) if tgt.eos in tokens else len(tokens)
                translations[i] = tgt.decode(tokens[:end])
        return translations


SYSTEMS: dict[str, tuple[Any, str]] = {
    "ours, fp32": (Ours, "fp32"),
    "ours, bf16": (Ours, "bf16"),
    "ours, int8": (Ours, "int8"),
    "ours, fp32, shortlist": (Ours, "fp32 shortlist"),
    "ours, bf16, shortlist": (Ours, "bf16 shortlist"),
    "ours, int8, shortlist": (Ours, "int8 shortlist"),
    "CTranslate2, fp32": (CTranslate2, "float32"),
    "CTranslate2, int8": (CTranslate2, "int8"),
    "transformers, fp32": (Transformers, "fp32"),
}


def serve(name: str, run: Path, src: Path, threads: int) -> None:
    """Load a system; answer `beam batch` lines on stdin with seconds and translations."""
    make, precision = SYSTEMS[name]
    system = make(run, precision, threads)
    lines = src.read_text(encoding="utf-8").split("\n")[:-1]
    system.translate(lines[:16], 1, 16)
    print("ready", flush=True)
    for request in sys.stdin:
        beam, batch = map(int, request.split())
        begin = time.perf_counter()
        translations = system.translate(lines, beam, batch)
        seconds = time.perf_counter() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            json.dumps({"seconds": seconds, "translations": translations, "peak": peak}), flush=True
        )


def write_peer_inputs(run: Path, src: Path, folder: Path) -> list[str]:
    """Write the inputs of a script in peers/ into a folder; return its arguments."""
    from nmt.config.loader import load_config
    from nmt.core.run_dir import open_run
    from nmt.data.tokenizer.storage import load_tokenizers

    tokenizer = load_tokenizers(open_run(run)).src
    pieces, source = folder / "pieces", folder / "src"
    pieces.write_text("".join(f"{p}\n" for p in tokenizer.pieces(range(tokenizer.vocab_size))))
    lines = tokenizer.encode(src.read_text(encoding="utf-8").split("\n")[:-1])
    ends = [" ".join(tokenizer.pieces([*tokens, tokenizer.eos])) for tokens in lines]
    source.write_text("".join(f"{line}\n" for line in ends))
    weights = open_run(run).selected_checkpoint() / "model.safetensors"
    heads = load_config(open_run(run).config).model.num_heads
    return [str(word) for word in (weights, pieces, heads, source)]


def systems(run: Path) -> list[str]:
    """Return the names of the systems that can be timed; export the run for CTranslate2."""
    from nmt.core.run_dir import open_run

    command = [sys.executable, "-m", "nmt", "export", str(run), "--to", "ctranslate2"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    shortened = open_run(run).shortlist.is_file()
    return [name for name in SYSTEMS if shortened or "shortlist" not in name]


def cold_start(run: Path, line: str) -> list[tuple[str, float]]:
    """Return the seconds of a process that translates one line, and of one that imports torch."""
    translate = [sys.executable, "-m", "nmt", "translate", "-m", str(run)]
    commands = {
        "python -c 'import torch'": [sys.executable, "-c", "import torch"],
        "nmt translate": translate,
        "nmt translate --engine ctranslate2": [*translate, "--engine", "ctranslate2"],
    }
    best = dict.fromkeys(commands, float("inf"))
    for _ in range(5):
        for name, command in commands.items():
            begin = time.perf_counter()
            subprocess.run(command, input=f"{line}\n", text=True, check=True, capture_output=True)
            best[name] = min(best[name], time.perf_counter() - begin)
    return list(best.items())


def main() -> None:
    """Time all systems and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("src", type=Path)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    for peer in PEERS:
        parser.add_argument(f"--{peer}", type=Path, metavar="PYTHON")
    parser.add_argument("--serve", choices=SYSTEMS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.run, args.src, args.threads)
        return
    arguments = [str(args.run), str(args.src), "--threads", str(args.threads)]
    commands = {
        name: [sys.executable, __file__, *arguments, "--serve", name] for name in systems(args.run)
    }
    with tempfile.TemporaryDirectory() as folder:
        words = write_peer_inputs(args.run, args.src, Path(folder))
        for peer, name in PEERS.items():
            if python := getattr(args, peer):
                script = Path(__file__).parent / "peers" / f"run_{peer}.py"
                commands[f"{name}, fp32"] = [
                    *(str(python), str(script)),
                    *words,
                    str(args.threads),
                ]
        compare(args, commands)


def compare(args: argparse.Namespace, commands: dict[str, list[str]]) -> None:
    """Time the systems, each started by its command, and print the tables."""
    from nmt.core.run_dir import open_run
    from nmt.data.tokenizer.storage import load_tokenizers

    tokenizer = load_tokenizers(open_run(args.run)).tgt
    lines = args.src.read_text(encoding="utf-8").split("\n")[:-1]
    print(f"{len(lines)} lines, {args.threads} threads.\n")
    print("| system | beam | batch | sentences/s | tokens/s | differ from ours | peak MB |")
    print("|---|---|---|---|---|---|---|")
    for beam in args.beams:
        served = {name: Served(command) for name, command in commands.items()}
        batch = {
            name: min(BATCHES, key=lambda size: system.ask(beam, size)["seconds"])
            for name, system in served.items()
        }
        best: dict[str, dict[str, Any]] = {}
        for _ in range(args.rounds):
            for name, system in served.items():
                answer = system.ask(beam, batch[name])
                if name not in best or answer["seconds"] < best[name]["seconds"]:
                    best[name] = answer
        ours = best["ours, fp32"]["translations"]
        for name, answer in best.items():
            pairs = zip(ours, answer["translations"], strict=True)
            differ = sum(expected != actual for expected, actual in pairs)
            tokens = sum(len(line) + 1 for line in tokenizer.encode(answer["translations"]))
            print(
                f"| {name} | {beam} | {batch[name]} | {len(lines) / answer['seconds']:.1f} | "
                f"{tokens / answer['seconds']:.0f} | {differ} | {answer['peak']:.0f} |"
            )
            served[name].close()
    print("\n| one line from a cold start | seconds |\n|---|---|")
    for name, seconds in cold_start(args.run, lines[0]):
        print(f"| {name} | {seconds:.2f} |")


if __name__ == "__main__":
    main()
