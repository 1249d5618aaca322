"""Load test of `nmt serve`: throughput, latency, memory, and the correctness of each answer.

    python benchmarks/serving.py RUN LINES [--parts throughput,latency,memory] [--rounds 3]

RUN is a run folder and LINES a file with sentences. `nmt translate` gives the expected answers. All
parts use one server at its default settings, on localhost. Needs wrk (https://github.com/wg/wrk).

- throughput: wrk has `--clients` connections, each with one request of one sentence at a time. This
  alternates with `nmt translate` on all lines in one job, which is timed without its start.
- latency: requests arrive at random times (a Poisson process) at several rates, whether or not
  others have been answered, each on its own connection if necessary. Latency counts from the time
  at which a request was due.
- memory: at least `--requests` requests of the first WORDS words of each line by `--clients`
  connections.

CPU seconds are those of all threads, and of the search processes of the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nmt.config.loader import load_config
from nmt.data.text.reader import read_lines

SCRIPT = Path(__file__).parent / "load" / "serving.lua"
REPETITIONS = 3
"""Number of times that the batch job of `nmt translate` contains all lines."""
SHARES = (0.25, 0.5, 0.7, 0.8, 0.9, 1.1)
"""Offered load as a share of the throughput."""
WORDS = 3
WARM_UP = 3
"""Seconds of load before the first measurement."""
NMT = [sys.executable, "-m", "nmt"]


@dataclass(frozen=True)
class Exchange:
    """A request body and the expected response body."""

    body: str
    answer: str


@dataclass(frozen=True)
class Server:
    """A running `nmt serve`."""

    host: str
    port: int
    pid: int

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"http://{self.host}:{self.port}"

    def processes(self) -> list[Path]:
        """Return the folders in /proc of the server and of its search processes."""
        stats = {path.parent: path.read_text() for path in Path("/proc").glob("[0-9]*/stat")}
        children = [
            folder
            for folder, stat in stats.items()
            if int(stat.rpartition(")")[2].split()[1]) == self.pid
        ]
        return [Path(f"/proc/{self.pid}"), *children]

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of all processes since their start."""
        fields = [(p / "stat").read_text().rpartition(")")[2].split() for p in self.processes()]
        ticks = sum(int(user) + int(system) for *_, user, system in (f[:13] for f in fields))
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Return the memory of all processes in MB; pages that they share count once."""
        rollups = [(p / "smaps_rollup").read_text() for p in self.processes()]
        return sum(int(rollup.partition("\nPss:")[2].split()[0]) for rollup in rollups) / 1024


@contextmanager
def serve(run: Path) -> Iterator[Server]:
    """Run a server on a free port until the end of the block."""
    command = [*NMT, "serve", "-m", str(run), "--device", "cpu", "--port", "0"]
    with tempfile.TemporaryDirectory() as folder:
        log = ["--access-log", str(Path(folder) / "log")]
        process = subprocess.Popen([*command, *log], stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if match := re.search(r"listening on http://(.+):(\d+)$", line):
                    break
            else:
                raise SystemExit("the server ended early")
            yield Server(match[1], int(match[2]), process.pid)
        finally:
            process.terminate()
            process.wait()


def translate(run: Path, lines: Sequence[str], *flags: str) -> tuple[list[str], float, float]:
    """Return translations by `nmt translate`, its seconds, and its CPU seconds."""
    text = "".join(f"{line}\n" for line in lines)
    before, begin = os.times(), time.perf_counter()
    command = [*NMT, "translate", "-m", str(run), "--device", "cpu", *flags]
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    seconds, after = time.perf_counter() - begin, os.times()
    cpu_seconds = sum(after[2:4]) - sum(before[2:4])
    return result.stdout.removesuffix("\n").split("\n"), seconds, cpu_seconds


def make_exchanges(run: Path, lines: Sequence[str]) -> list[Exchange]:
    """Return a request for each line with the answer that the server must give."""
    config = load_config(run / "config.yaml", [])
    pair = {"source": config.data.src, "target": config.data.tgt}
    translations, *_ = translate(run, lines)
    return [
        Exchange(json.dumps({"q": line, **pair}), _compact({"translatedText": translation}))
        for line, translation in zip(lines, translations, strict=True)
    ]


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Wrk:
    """Clients that each send the next request after the answer to the last."""

    def __init__(
        self, server: Server, exchanges: Sequence[Exchange], folder: Path, clients: int
    ) -> None:
        self._server = server
        self.clients = clients
        self._file = folder / "exchanges"
        self._file.write_text("".join(f"{e.body}\n{e.answer}\n" for e in exchanges))

    def run(self, seconds: int) -> dict[str, float]:
        """Send requests for a number of seconds.

        Returns counts of answers, wrong answers, other statuses and lost requests, the seconds, and
        the CPU seconds of wrk and of the server.
        """
        clients = str(self.clients)
        command = ["wrk", "-t", clients, "-c", clients, "-d", f"{seconds}s", "--timeout", "60s"]
        command += ["-s", str(SCRIPT), self._server.url, "--", str(self._file), clients]
        server_before, before = self._server.cpu_seconds(), os.times()
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        after = os.times()
        figures: dict[str, float] = json.loads(output.strip().split("\n")[-1])
        figures["client_cpu"] = sum(after[2:4]) - sum(before[2:4])
        figures["server_cpu"] = self._server.cpu_seconds() - server_before
        return figures


def measure_throughput(
    run: Path, lines: Sequence[str], wrk: Wrk, seconds: int, rounds: int
) -> float:
    """Print a row per round and system; return the median lines per second of the server.

    One batch job has the batches of the config. Another has those that the clients can fill.
    """
    print("\n| system | lines/s | CPU ms/line | of the clients | wrong | failed | lost |")
    print("|---|---|---|---|---|---|---|")
    wrk.run(WARM_UP)
    batch_size = math.ceil(wrk.clients / len(os.sched_getaffinity(0)))
    jobs = {
        "nmt translate": (),
        f"nmt translate, batches of {batch_size}": ("--set", f"decode.batch_size={batch_size}"),
    }
    rates: dict[str, list[float]] = {name: [] for name in [*jobs, "nmt serve"]}
    for _ in range(rounds):
        for name, flags in jobs.items():
            _, start_seconds, start_cpu = translate(run, lines[:1], *flags)
            _, job_seconds, job_cpu = translate(run, [*lines] * REPETITIONS, *flags)
            count = REPETITIONS * len(lines) - 1
            rates[name].append(count / (job_seconds - start_seconds))
            cpu = 1000 * (job_cpu - start_cpu) / count
            print(f"| {name} | {rates[name][-1]:.1f} | {cpu:.2f} | | | | |", flush=True)
        figures = wrk.run(seconds)
        count = int(figures["answers"])
        rates["nmt serve"].append(count / figures["seconds"])
        cpu, client_cpu = (1000 * figures[f"{name}_cpu"] / count for name in ("server", "client"))
        print(
            f"| nmt serve | {rates['nmt serve'][-1]:.1f} | {cpu:.2f} | {client_cpu:.2f} "
            f"| {figures['wrong']} | {figures['failed']} | {figures['lost']} |",
            flush=True,
        )
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name in jobs:
        print(f"\nnmt serve / {name}: {medians['nmt serve'] / medians[name]:.2f}")
    return medians["nmt serve"]


class Connections:
    """Connections to the server, each with at most one request at a time."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, body: str) -> tuple[int, str]:
        """Send a request to /translate; return the status and the body of the response."""
        host, port = self._server.host, self._server.port
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection(host, port)
        content = body.encode()
        head = (
            f"POST /translate HTTP/1.1\r\nHost: {host}:{port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        writer.write(head.encode() + content)
        response_head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(response_head.partition("content-length:")[2].split()[0])
        answer = (await reader.readexactly(length)).decode()
        self._idle.append((reader, writer))
        return int(response_head.split()[1]), answer

    def close(self) -> None:
        """Close all connections."""
        for _, writer in self._idle:
            writer.close()


async def offer_load(
    server: Server, exchanges: Sequence[Exchange], rate: float, seconds: float
) -> tuple[list[float], int]:
    """Send requests at random times; return the latencies of correct answers, and the others."""
    rng = random.Random(int(rate))
    latencies: list[float] = []
    failures = 0
    connections = Connections(server)

    async def send(exchange: Exchange, due: float) -> None:
        nonlocal failures
        if await connections.post(exchange.body) == (200, exchange.answer):
            latencies.append(time.perf_counter() - due)
        else:
            failures += 1

    async with asyncio.TaskGroup() as tasks:
        begin = due = time.perf_counter()
        while (due := due + rng.expovariate(rate)) < begin + seconds:
            await asyncio.sleep(due - time.perf_counter())
            tasks.create_task(send(rng.choice(exchanges), due))
    connections.close()
    return latencies, failures


def measure_latency(
    server: Server, exchanges: Sequence[Exchange], rates: Sequence[float], seconds: float
) -> None:
    """Print a row per rate: percentiles of the latency in milliseconds."""
    print("\n| offered/s | answered/s | p50 ms | p95 ms | p99 ms | max ms | others | client CPU |")
    print("|---|---|---|---|---|---|---|---|")
    for rate in rates:
        begin, cpu_begin = time.perf_counter(), time.process_time()
        latencies, failures = asyncio.run(offer_load(server, exchanges, rate, seconds))
        elapsed, cpu = time.perf_counter() - begin, time.process_time() - cpu_begin
        percentiles = 1000 * np.percentile(latencies, [50, 95, 99, 100])
        cells = " | ".join(f"{value:.0f}" for value in percentiles)
        print(
            f"| {rate:.0f} | {len(latencies) / elapsed:.0f} | {cells} | {failures} "
            f"| {cpu / elapsed:.0%} of a core |",
            flush=True,
        )


def measure_memory(server: Server, wrk: Wrk, requests: int, seconds: int) -> None:
    """Print the server's memory after each part of the requests, and their counts."""
    print("\n| answers | wrong | failed | lost | memory, MB |\n|---|---|---|---|---|")
    names = ("answers", "wrong", "failed", "lost")
    counts = dict.fromkeys(names, 0)
    while counts["answers"] < requests:
        figures = wrk.run(seconds)
        counts = {name: counts[name] + int(figures[name]) for name in names}
        cells = " | ".join(str(count) for count in counts.values())
        print(f"| {cells} | {server.memory():.1f} |", flush=True)


def main() -> None:
    """Run the parts that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("lines", type=Path)
    parser.add_argument("--parts", default="throughput,latency,memory")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rate", type=float, help="full load for latency; default: throughput")
    parser.add_argument("--requests", type=int, default=50_000)
    options = parser.parse_args()
    lines = list(read_lines(options.lines))
    short = [" ".join(line.split()[:WORDS]) for line in lines]
    parts = options.parts.split(",")
    with tempfile.TemporaryDirectory() as folder, serve(options.run) as server:
        exchanges = make_exchanges(options.run, lines)
        full_rate = options.rate or 0.0
        if "throughput" in parts:
            wrk = Wrk(server, exchanges, Path(folder), options.clients)
            full_rate = measure_throughput(options.run, lines, wrk, options.seconds, options.rounds)
        if "latency" in parts:
            rates = [share * full_rate for share in SHARES]
            measure_latency(server, exchanges, rates, options.seconds)
        if "memory" in parts:
            short_exchanges = make_exchanges(options.run, short)
            wrk = Wrk(server, short_exchanges, Path(folder), options.clients)
            measure_memory(server, wrk, options.requests, options.seconds)


if __name__ == "__main__":
    main()
