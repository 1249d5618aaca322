"""A worker that searches in a process of its own, with the models of the server.

Python runs one thread of a process at a time, and a decoding step of a small model is a long series
of short operators. Searches in processes do not wait for each other, or for the HTTP server.

At each decoding step the process asks its `ProcessWorker` for the sentences that join and for those
that were cancelled. It ends when the server closes the pipe, or ends in any way.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

from nmt.config.loader import load_config
from nmt.core.run_dir import open_model
from nmt.decoding.engines.torch_engine import TorchEngine
from nmt.decoding.loading import load_engine
from nmt.decoding.search.hypothesis import Hypothesis
from nmt.decoding.search.request_queue import Request, SearchQueue
from nmt.errors import NMTError, WorkerError
from nmt.serving.translation.search_worker import EngineWorker
from nmt.serving.translation.sentence_queue import SearchKind
from nmt.serving.translation.shared_weights import SharedWeights

START = f"from {__name__} import main; main()"
"""Program of the process."""
STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}
"""Signals that the server handles: the process must not end before its sentences have finished."""
STOP_SECONDS = 10
"""Seconds until a process that should end is killed."""


@dataclass(frozen=True)
class ModelSource:
    """What a process needs to load the engine of a model that the server has loaded."""

    folder: Path
    overrides: tuple[str, ...]
    """Settings that replace those of the config."""
    weights: int | None
    """Descriptor of the memory file with the weights; None to load them from the folder."""

    def load(self) -> TorchEngine:
        """Load the engine for a single thread. Raises RunError if the model has changed."""
        run = open_model(self.folder)
        config = load_config(run.config, [*self.overrides, "decode.threads=1"])
        engine = load_engine(run, config, "cpu")
        if self.weights is not None:
            SharedWeights(self.weights).replace_weights(engine.model)
        return engine


@dataclass(frozen=True)
class StepReport:
    """Message of a process before a decoding step, and at the end of a search."""

    results: Mapping[int, list[Hypothesis]]
    """Hypotheses of the sentences that have finished, by `Request.index`."""
    batch_size: int
    """Number of sentences in the batch."""
    is_over: bool = False
    error: Exception | None = None
    """The error that ended the search, if any."""


@dataclass(frozen=True)
class StepReply:
    """Answer to a `StepReport`."""

    joining: list[Request]
    """Sentences that join the batch."""
    cancelled: set[int]
    """`Request.index` of sentences to drop."""


class ProcessWorker:
    """A worker that passes its sentences to a process, and starts another if that is lost."""

    def __init__(self, models: Sequence[ModelSource]) -> None:
        """Start the process; `wait_until_ready` tells whether it could load the models."""
        self._models = list(models)
        self._process: _Process | None = _Process(self._models)

    def wait_until_ready(self) -> None:
        """Wait until the process has loaded the models; raise the error if it could not."""
        process = self._process = self._process or _Process(self._models)
        try:
            process.wait_until_ready()
        except Exception:
            self.close()
            raise

    def search(self, queue: SearchQueue, kind: SearchKind) -> None:
        """Search sentences of one kind until the queue provides none.

        Raises the error of the search, or WorkerError if the process is lost with sentences. One
        that was lost before it took any is replaced.
        """
        for is_second_attempt in (False, True):
            self.wait_until_ready()
            process = self._process
            assert process is not None
            try:
                process.search(queue, kind)
                return
            except (EOFError, OSError):
                self.close()
                if process.running or is_second_attempt:
                    raise WorkerError(
                        "search process: expected it to finish, but it was killed, as the system "
                        "does when memory runs out"
                    ) from None

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.close()
            self._process = None


class _Process:
    """A running process and the pipes to it."""

    def __init__(self, models: Sequence[ModelSource]) -> None:
        their_reader, self._writer = Pipe(duplex=False)
        self._reader, their_writer = Pipe(duplex=False)
        pipes = their_reader.fileno(), their_writer.fileno()
        descriptors = [model.weights for model in models if model.weights is not None]
        with _blocked(STOP_SIGNALS):  # the process inherits this
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", START, *map(str, pipes)],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                pass_fds=[*pipes, *descriptors],
            )
        their_reader.close()
        their_writer.close()
        self._writer.send(models)
        self._is_ready = False
        self.running: dict[int, Request] = {}
        """The sentences in its batch by `Request.index`."""

    def wait_until_ready(self) -> None:
        """Wait until the models are loaded; raise the error if they could not."""
        if self._is_ready:
            return
        try:
            error = self._reader.recv()
        except EOFError:
            error = WorkerError("search process: expected it to load the models, but it ended")
        if error is not None:
            raise error
        self._is_ready = True

    def search(self, queue: SearchQueue, kind: SearchKind) -> None:
        """Answer the reports of a search until it is over; raise its error."""
        running = self.running = {}
        self._writer.send(kind)
        while True:
            report: StepReport = self._reader.recv()
            if report.results:
                queue.finish(report.results)
                for index in report.results:
                    running.pop(index, None)
            if report.error is not None:
                raise report.error
            if report.is_over:
                return
            joining = queue.take(report.batch_size)
            running |= {request.index: request for request in joining}
            requests = list(running.values())
            cancelled = {requests[i].index for i in queue.take_cancelled(requests)}
            for index in cancelled:
                del running[index]
            self._writer.send(StepReply(joining, cancelled))

    def close(self) -> None:
        """Close the pipes, which ends the process, and wait for it."""
        self._writer.close()
        self._reader.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def _blocked(signals: set[signal.Signals]) -> Iterator[None]:
    """Block signals for this thread, and for processes that it starts."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass
class _RemoteQueue:
    """The queue of the server, as the search in the process sees it."""

    reader: Connection
    writer: Connection
    results: dict[int, list[Hypothesis]] = field(default_factory=dict)
    """Results that have not been sent."""
    cancelled: set[int] = field(default_factory=set)
    """`Request.index` of sentences that the search has to drop."""

    def take(self, batch_size: int) -> list[Request]:
        """Report results, and return the requests that join a batch of `batch_size` sentences."""
        self.writer.send(StepReport(self.results, batch_size))
        self.results = {}
        reply: StepReply = self.reader.recv()
        self.cancelled |= reply.cancelled
        return reply.joining

    def finish(self, results: Mapping[int, list[Hypothesis]]) -> None:
        """Keep the results of finished requests for the next report."""
        self.results |= results

    def take_cancelled(self, requests: Sequence[Request]) -> list[int]:
        """Return the positions of requests that were cancelled since the last call."""
        positions = [i for i, request in enumerate(requests) if request.index in self.cancelled]
        self.cancelled.clear()
        return positions


def main() -> None:
    """Load the models, and search until the server closes the pipe."""
    reader = Connection(int(sys.argv[1]), writable=False)
    writer = Connection(int(sys.argv[2]), readable=False)
    logging.disable(logging.WARNING)  # the server has logged the same when it loaded the models
    # the server has ended, or needs this process no longer
    with suppress(EOFError, BrokenPipeError):
        _run(reader, writer)


def _run(reader: Connection, writer: Connection) -> None:
    models: list[ModelSource] = reader.recv()
    try:
        workers = [EngineWorker(model.load()) for model in models]
    except Exception as error:
        writer.send(_portable(error))
        return
    writer.send(None)
    while True:
        kind: SearchKind = reader.recv()
        queue = _RemoteQueue(reader, writer)
        try:
            workers[kind.model].search(queue, kind)
        except (EOFError, BrokenPipeError):
            raise
        except Exception as error:
            end = StepReport(queue.results, 0, is_over=True, error=_portable(error))
        else:
            end = StepReport(queue.results, 0, is_over=True)
        writer.send(end)


def _portable(error: Exception) -> Exception:
    """Return an error that the server can unpickle: defects with their traceback as text."""
    if isinstance(error, NMTError):
        return error
    return RuntimeError("".join(traceback.format_exception(error)).rstrip())
