"""The queue of sentences: joint batches, fairness between kinds, and cancellation."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from nmt.decoding.constraints.lexical_constraints import LexicalConstraints
from nmt.decoding.search.hypothesis import Hypothesis
from nmt.decoding.search.request_queue import Request
from nmt.serving.translation.job import Job, JobCancelledError
from nmt.serving.translation.sentence_queue import (
    BatchLimits,
    BatchQueue,
    PendingSearch,
    SearchKind,
    SentenceQueue,
)
from nmt.serving.translation.served_model import ServedModel

ONE, TWO = SearchKind(1), SearchKind(2)


def limits(max_sentences: int, max_source_tokens: int = 1000) -> BatchLimits:
    return BatchLimits(max_sentences, max_source_tokens)


def submit(
    queue: SentenceQueue, lengths: Sequence[int], kind: SearchKind = ONE, first: int = 0
) -> PendingSearch:
    """Submit sentences with these numbers of tokens, with indices from `first`."""
    search = PendingSearch(Job(), len(lengths))
    search.job.join(queue)
    requests = [
        Request(first + i, [9] * length, LexicalConstraints(), 99)
        for i, length in enumerate(lengths)
    ]
    queue.submit(search, [(request, kind) for request in requests])
    return search


def hypotheses(index: int) -> list[Hypothesis]:
    return [Hypothesis([index], 0.0, 0.0)]


def indices(requests: Sequence[Request]) -> list[int]:
    return sorted(request.index for request in requests)


def test_take_prefers_the_oldest_and_similar_lengths() -> None:
    queue = SentenceQueue(workers=1, batch_wait=0)
    submit(queue, [5, 50, 6, 60, 4])
    assert indices(BatchQueue(queue, ONE, limits(3)).take(0)) == [0, 2, 4]
    assert indices(BatchQueue(queue, ONE, limits(3)).take(0)) == [1, 3]


def test_take_respects_the_maximum_of_source_tokens() -> None:
    queue = SentenceQueue(workers=1, batch_wait=0)
    submit(queue, [9, 10, 500, 10])
    batch = BatchQueue(queue, ONE, limits(64, 22))
    assert len(batch.take(0)) == 2
    assert len(BatchQueue(queue, ONE, limits(64, 22)).take(0)) == 1, (
        "a long sentence is searched alone"
    )
    assert len(BatchQueue(queue, ONE, limits(64, 22)).take(0)) == 1


def test_take_divides_sentences_among_workers() -> None:
    queue = SentenceQueue(workers=2, batch_wait=0)
    submit(queue, [3] * 9)
    assert len(BatchQueue(queue, ONE, limits(64)).take(0)) == 5
    assert len(BatchQueue(queue, ONE, limits(64)).take(0)) == 4


def test_take_another_kind_ends_the_batch() -> None:
    queue = SentenceQueue(workers=1, batch_wait=0)
    submit(queue, [3], ONE)
    batch = BatchQueue(queue, ONE, limits(64))
    assert indices(batch.take(0)) == [0]
    submit(queue, [3], TWO, first=1)
    submit(queue, [3], ONE, first=2)
    assert batch.take(1) == [], "the sentence of another kind came first"
    assert queue.wait_for_kind() == TWO
    assert indices(BatchQueue(queue, TWO, limits(64)).take(0)) == [1]
    assert indices(batch.take(1)) == [2]


def test_wait_for_kind_waits_for_other_sentences() -> None:
    queue = SentenceQueue(workers=1, batch_wait=0.2)
    submit(queue, [3])
    threading.Timer(0.02, lambda: submit(queue, [3], first=1)).start()
    assert queue.wait_for_kind() == ONE
    assert indices(BatchQueue(queue, ONE, limits(64)).take(0)) == [0, 1]


def test_finish_ends_a_call_after_its_last_sentence() -> None:
    queue = SentenceQueue(workers=1, batch_wait=0)
    search = submit(queue, [3, 4])
    batch = BatchQueue(queue, ONE, limits(64))
    batch.take(0)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(search.wait)
        batch.finish({1: hypotheses(1)})
        assert not future.done()
        batch.finish({0: hypotheses(0)})
        assert future.result(30) == {0: hypotheses(0), 1: hypotheses(1)}
    assert queue.count() == (0, 0)


def test_cancel_drops_waiting_and_running_sentences() -> None:
    queue = SentenceQueue(workers=1, batch_wait=0)
    search, other = submit(queue, [3, 3, 3]), submit(queue, [3, 3], first=3)
    batch = BatchQueue(queue, ONE, limits(2))
    requests = batch.take(0)
    search.job.cancel()
    with pytest.raises(JobCancelledError):
        search.wait()
    assert batch.take_cancelled(requests) == [0, 1]
    assert batch.take_cancelled(requests) == []
    remaining = BatchQueue(queue, ONE, limits(64))
    assert indices(remaining.take(0)) == [3, 4]
    remaining.finish({3: hypotheses(3), 4: hypotheses(4)})
    assert other.wait().keys() == {3, 4}
    with pytest.raises(JobCancelledError):
        queue.submit(search, [])


def test_fail_ends_the_calls_of_the_batch_only() -> None:
    queue = SentenceQueue(workers=1, batch_wait=0)
    first, second = submit(queue, [3, 3]), submit(queue, [3], first=2)
    batch = BatchQueue(queue, ONE, limits(1))
    batch.take(0)
    batch.fail(ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        first.wait()
    assert queue.count() == (1, 0), "the second sentence of the failed call is dropped"
    other = BatchQueue(queue, ONE, limits(64))
    other.take(0)
    other.finish({2: hypotheses(2)})
    assert second.wait() == {2: hypotheses(2)}


def test_fail_before_a_search_ends_the_waiting_calls() -> None:
    queue = SentenceQueue(workers=1, batch_wait=0)
    search = submit(queue, [3])
    BatchQueue(queue, ONE, limits(64)).fail(ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        search.wait()


def test_close_lets_workers_finish_first() -> None:
    queue = SentenceQueue(workers=1, batch_wait=60)
    submit(queue, [3])
    queue.close()
    assert queue.wait_for_kind() == ONE
    BatchQueue(queue, ONE, limits(64)).take(0)
    assert queue.wait_for_kind() is None
    with pytest.raises(JobCancelledError):
        submit(queue, [3], first=1)


def test_shared_search_mixes_no_answers_up(
    model: ServedModel, strings: list[str], translations: list[str]
) -> None:
    """Requests of different sizes and kinds in parallel, some of which are cancelled."""
    [pair] = model.pairs
    rng = random.Random(5)
    selections = [rng.sample(range(len(strings)), rng.randint(1, 6)) for _ in range(60)]

    def translate(number: int) -> list[str] | None:
        job = Job()
        if number % 5 == 4:
            threading.Timer(rng.random() / 50, job.cancel).start()
        lines = [strings[i] for i in selections[number]]
        try:
            return [best.text for best, *_ in model.translate(pair, lines, job, 1 + number % 2)]
        except JobCancelledError:
            return None

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(translate, range(len(selections))))
    expected = [[translations[i] for i in selection] for selection in selections]
    answered = [i for i, result in enumerate(results) if result is not None]
    assert len(answered) >= 48
    for i in answered:
        if i % 2 == 0:  # the number of hypotheses changes when a search ends
            assert results[i] == expected[i]
    while model.shared.pool.queue.count() != (0, 0):  # cancelled sentences leave at the next step
        time.sleep(0.01)
