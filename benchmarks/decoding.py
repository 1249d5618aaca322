"""Sentences and tokens a second, side by side with other engines on the same weights.

    python benchmarks/decoding.py RUN SRC [--beams 1 5] [--rounds 3] [--threads 2]
        [--opennmt PYTHON]

RUN is a trained Transformer. It is exported for every engine that runs its layout and is installed;
OpenNMT-py, which wants a torch of its own, is run by the Python that has it (with safetensors).
Each engine lives in a process of its own; for each beam the best of its batch sizes is found first,
then all are timed in turn, `--rounds` times, and the best round counts. Prints Markdown: speeds,
lines that differ from ours in fp32, the time from a cold start to one translated line, peak memory.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

BATCHES = (32, 64, 128, 256)
"""Lines decoded together that are tried."""
PEER_PACKAGES = {"ctranslate2": "ctranslate2", "huggingface": "transformers"}


class System(Protocol):
    """An engine with its model loaded."""

    def translate(self, lines: Sequence[str], beam: int, batch: int) -> list[str]:
        """Translate lines."""


class Ours:
    """Our own engine."""

    def __init__(self, run: Path, precision: str, threads: int) -> None:
        from nmt.configfile import load_config
        from nmt.decoding.load import load_translator
        from nmt.rundir import open_run

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
        engine.stop = "first" if beam == 1 else "exact"
        return self.translator.translate(lines)


class CTranslate2:
    """CTranslate2 on the exported weights, a thread a worker."""

    def __init__(self, run: Path, precision: str, threads: int) -> None:
        import ctranslate2

        from nmt.data.tokenizer import load_tokenizers
        from nmt.rundir import RunDir

        folder = RunDir(run).exported("ctranslate2")
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
    """transformers' generate on the exported weights."""

    def __init__(self, run: Path, precision: str, threads: int) -> None:
        import torch
        from transformers import MarianMTModel

        from nmt.data.tokenizer import load_tokenizers
        from nmt.rundir import RunDir

        torch.set_num_threads(threads)
        folder = RunDir(run).exported("huggingface")
        self.tokenizers = load_tokenizers(RunDir(folder))
        self.model = MarianMTModel.from_pretrained(str(folder))

    def translate(self, lines: Sequence[str], beam: int, batch: int) -> list[str]:
        """Translate lines."""
        import torch

        src, tgt = self.tokenizers.src, self.tokenizers.tgt
        sources = [[*tokens, src.eos] for tokens in src.encode(lines)]
        order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
        found = [""] * len(lines)
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
                found[i] = tgt.decode(tokens[:end])
        return found


SYSTEMS: dict[str, tuple[Any, str]] = {
    "ours, fp32": (Ours, "fp32"),
    "ours, int8": (Ours, "int8"),
    "ours, fp32, shortlist": (Ours, "fp32 shortlist"),
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
    for asked in sys.stdin:
        beam, batch = map(int, asked.split())
        begin = time.perf_counter()
        found = system.translate(lines, beam, batch)
        seconds = time.perf_counter() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "found": found, "peak": peak}), flush=True)


def opennmt(python: Path, run: Path, src: Path, threads: int) -> list[str]:
    """Write what OpenNMT-py's process reads; return its command."""
    from nmt.configfile import load_config
    from nmt.data.tokenizer import load_tokenizers
    from nmt.rundir import open_run

    folder = open_run(run)
    tokenizer = load_tokenizers(folder).src
    pieces, source = run / "bench.pieces", run / "bench.src"
    pieces.write_text("".join(f"{p}\n" for p in tokenizer.pieces(range(tokenizer.vocab_size))))
    lines = tokenizer.encode(src.read_text(encoding="utf-8").split("\n")[:-1])
    ends = [" ".join(tokenizer.pieces([*tokens, tokenizer.eos])) for tokens in lines]
    source.write_text("".join(f"{line}\n" for line in ends))
    weights = folder.best_or_last() / "model.safetensors"
    heads = str(load_config(folder.config).model.num_heads)
    script = Path(__file__).parent / "peers" / "opennmt.py"
    command = [python, script, weights, pieces, heads, source, threads]
    return [str(word) for word in command]


class Served:
    """A system in its process."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()

    def ask(self, beam: int, batch: int) -> dict[str, Any]:
        """Translate the text once."""
        assert self.process.stdin is not None
        print(beam, batch, file=self.process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._answer())
        return answer

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args}: ended early")
        return line

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def export(run: Path) -> list[str]:
    """Export the run for every engine there is; return the systems that can be timed."""
    from nmt.configfile import load_config
    from nmt.rundir import open_run

    model = load_config(open_run(run).config).model
    names = ["ours, fp32", "ours, int8"]
    if open_run(run).shortlist.is_file():
        names += ["ours, fp32, shortlist", "ours, int8, shortlist"]
    for to, package in PEER_PACKAGES.items():
        if importlib.util.find_spec(package) is None or model.not_exported(to):
            continue
        command = [sys.executable, "-m", "nmt", "export", str(run), "--to", to]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        kind = {"ctranslate2": "CTranslate2", "huggingface": "transformers"}[to]
        names += [name for name in SYSTEMS if name.startswith(kind)]
    return names


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
    parser.add_argument("--opennmt", type=Path, metavar="PYTHON")
    parser.add_argument("--serve", choices=SYSTEMS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.run, args.src, args.threads)
        return
    names = export(args.run)
    given = [str(args.run), str(args.src), "--threads", str(args.threads)]
    commands = {name: [sys.executable, __file__, *given, "--serve", name] for name in names}
    if args.opennmt:
        commands["OpenNMT-py, fp32"] = opennmt(args.opennmt, args.run, args.src, args.threads)
    lines = args.src.read_text(encoding="utf-8").split("\n")[:-1]
    print(f"{len(lines)} lines, {args.threads} threads.\n")
    print("| system | beam | batch | sentences/s | words/s | differ from ours | peak MB |")
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
        ours = best["ours, fp32"]["found"]
        for name, answer in best.items():
            differ = sum(one != other for one, other in zip(ours, answer["found"], strict=True))
            words = sum(len(line.split()) for line in answer["found"])
            print(
                f"| {name} | {beam} | {batch[name]} | {len(lines) / answer['seconds']:.1f} | "
                f"{words / answer['seconds']:.0f} | {differ} | {answer['peak']:.0f} |"
            )
            served[name].close()
    print("\n| one line from a cold start | seconds |\n|---|---|")
    for name, seconds in cold_start(args.run, lines[0]):
        print(f"| {name} | {seconds:.2f} |")


if __name__ == "__main__":
    main()
