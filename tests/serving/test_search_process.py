"""Searches in processes: equal answers, errors, lost processes, signals and shared weights."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import nn

from nmt.decoding.lines.line import Line
from nmt.errors import ConfigError, RunError, WorkerError
from nmt.serving.translation.job import Job, JobCancelledError
from nmt.serving.translation.loading import ModelOptions, load_models
from nmt.serving.translation.search_process import ModelSource, ProcessWorker
from nmt.serving.translation.served_model import ServedModel
from nmt.serving.translation.shared_weights import SharedWeights
from tests.support.paths import FROZEN_V1
from tests.support.serving import serve

OVERRIDES = ("data.src=en", "data.tgt=fr", "decode.threads=2")
PROGRAM = "nmt.serving.translation.search_process"


@pytest.fixture(scope="module")
def models() -> Iterator[list[ServedModel]]:
    """Return two equal models, which share two processes."""
    models = load_models([FROZEN_V1] * 2, ModelOptions("nmt", "cpu", OVERRIDES, 0.001))
    yield models
    for model in models:
        model.close()


def children(parent: int) -> list[int]:
    """Return the search processes of a server that have not ended."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode()
            parent_id = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if PROGRAM in command and parent_id == parent:
            found.append(int(folder.name))
    return found


def translate(model: ServedModel, *lines: str | Line, n: int = 1) -> list[str]:
    """Return the best translation of each line."""
    [pair] = model.pairs
    return [best.text for best, *_ in model.translate(pair, lines, Job(), n)]


def test_parallel_requests_get_their_answers(
    models: list[ServedModel], strings: list[str], translations: list[str]
) -> None:
    """Requests to two models, of different sizes and kinds, some of which are cancelled."""
    [pair] = models[0].pairs
    rng = random.Random(5)
    selections = [rng.sample(range(len(strings)), rng.randint(1, 6)) for _ in range(60)]

    def answer(number: int) -> list[str] | None:
        job = Job()
        if number % 5 == 4:
            threading.Timer(rng.random() / 50, job.cancel).start()
        lines = [strings[i] for i in selections[number]]
        model = models[number % 3 == 0]
        try:
            return [best.text for best, *_ in model.translate(pair, lines, job, 1 + number % 2)]
        except JobCancelledError:
            return None

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(answer, range(len(selections))))
    expected = [[translations[i] for i in selection] for selection in selections]
    answered = [i for i, result in enumerate(results) if result is not None]
    assert len(answered) >= 48
    assert [results[i] for i in answered] == [expected[i] for i in answered]
    queue = models[0].shared.pool.queue
    assert queue is models[1].shared.pool.queue
    while queue.count() != (0, 0):  # cancelled sentences leave at the next step
        time.sleep(0.01)


def test_constraints_reach_the_process(models: list[ServedModel]) -> None:
    prefixed, with_phrase = translate(
        models[0], Line("1 2 3", prefix="7"), Line("1 2 3", phrases=("5",))
    )
    assert prefixed.split()[0] == "7"
    assert "5" in with_phrase.split()


def test_defect_has_the_traceback_of_the_process(models: list[ServedModel]) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)Traceback.*beam_search\.py.*Error: "):
        models[0].shared.search(Job(), [[10**6]], 1, {})
    assert translate(models[0], "1 2 3") == ["3 2 1"]


def test_idle_process_that_is_lost_is_replaced(models: list[ServedModel]) -> None:
    old = children(os.getpid())
    assert len(old) == 2
    for process in old:
        os.kill(process, signal.SIGKILL)
    while children(os.getpid()):
        time.sleep(0.01)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda text: translate(models[0], text), ["1 2 3"] * 8))
    assert answers == [["3 2 1"]] * 8
    assert not set(children(os.getpid())) & set(old)


def test_killed_process_fails_only_its_sentences(
    models: list[ServedModel], strings: list[str], translations: list[str]
) -> None:
    queue = models[0].shared.pool.queue
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(translate, models[0], *strings * 10) for _ in range(2)]
        while not queue.count()[1]:
            time.sleep(0.001)
        for process in children(os.getpid()):
            os.kill(process, signal.SIGKILL)
    errors = [future.exception() for future in futures]
    assert any(isinstance(error, WorkerError) for error in errors)
    for future, error in zip(futures, errors, strict=True):
        # a process that was still idle is replaced
        assert isinstance(error, WorkerError) or future.result() == translations * 10
    assert queue.count() == (0, 0)
    assert translate(models[1], *strings) == translations


def test_stop_signals_do_not_end_a_search(
    models: list[ServedModel], strings: list[str], translations: list[str]
) -> None:
    """The system may send them to all processes of a server."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(translate, models[0], *strings * 3)
        while not future.done():
            for process in children(os.getpid()):
                os.kill(process, signal.SIGTERM)
                os.kill(process, signal.SIGINT)
            time.sleep(0.01)
    assert future.result() == translations * 3


def test_invalid_setting_is_the_error_of_the_search() -> None:
    overrides = (
        *OVERRIDES[:2],
        *("decode.method=sample", "decode.threads=1", "decode.precision=auto"),
    )
    [model] = load_models([FROZEN_V1], ModelOptions("nmt", "cpu", overrides, 0))
    with pytest.raises(ConfigError, match="expected beam search, got sampling"):
        translate(model, Line("1 2 3", phrases=("7",)))
    assert translate(model, "1 2 3")
    model.close()


def test_processes_end_with_a_server_that_is_killed() -> None:
    with serve("--device", "cpu") as server:
        processes = children(server.process.pid)
        assert processes
        server.process.kill()
        server.process.wait()
        while any(Path(f"/proc/{process}").exists() for process in processes):
            time.sleep(0.01)


def test_model_that_cannot_be_loaded_is_reported(tmp_path: Path) -> None:
    worker = ProcessWorker([ModelSource(tmp_path / "none", (), None)])
    with pytest.raises(RunError, match="none: "):
        worker.wait_until_ready()


class TwoLayers(nn.Module):
    """A model with tied weights, one of which has an odd number of bytes."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Linear(3, 5)
        self.last = nn.Linear(3, 5)
        self.last.weight = self.first.weight
        self.scale = nn.Parameter(torch.rand(3).bfloat16())


def test_shared_weights_are_one_memory() -> None:
    model, other, original = TwoLayers(), TwoLayers(), TwoLayers()
    shared = SharedWeights.of(model)
    assert shared is not None
    SharedWeights(shared.descriptor).replace_weights(other)
    for name, weight in original.named_parameters():
        assert torch.equal(model.get_parameter(name), weight)
        assert other.get_parameter(name).data_ptr() % 64 == 0
    with torch.no_grad():
        model.first.weight[0, 0] = 7
    assert other.last.weight[0, 0] == 7, "tied weights stay tied"


def test_shared_weights_of_another_model_are_refused() -> None:
    shared = SharedWeights.of(TwoLayers())
    assert shared is not None
    with pytest.raises(RunError, match="has changed since it was loaded"):
        SharedWeights(shared.descriptor).replace_weights(TwoLayers(seed=1))
