"""Compile the decoding step with torch.compile: `decode.compile`.

The step is `Model.advance`: the layers of the decoder for the newest tokens. Encoder, output
vocabulary and search run without compilation. Sizes are symbols in the compiled code, so one graph
serves batches of any size. On a GPU they also repeat, as sentences, slots and source lengths are
rounded up, so that a CUDA graph can replay the step.

Shapes: B sentences, K hypotheses per sentence, N = B x K rows, D width.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nmt.config.sections.decode import DecodeConfig
from nmt.device.compiler import compiler_failure, missing_compiler
from nmt.errors import DeviceError
from nmt.models.build import AnyModel
from nmt.models.ensemble import Ensemble
from nmt.models.interface import pad_rows
from nmt.models.kernels.static_sizes import static_sentences

logger = logging.getLogger(__name__)

BACKEND = "inductor"
"""The compiler, by torch's name."""
MIN_STEPS = 2_000
"""Decoding steps after which `auto` compiles.

Compilation takes a minute or more. Not measured on a GPU yet."""
SAMPLE_STEPS = 3
"""Steps of the sample that compiles. A CUDA graph is recorded in the second and replayed in the
third."""
MAX_DIFFERENCE = 0.05
"""Largest difference of a compiled hidden vector, relative to the largest value in the sample."""


def compile_decoding(model: AnyModel, settings: DecodeConfig, device: torch.device) -> None:
    """Let a model in eval mode compile its decoding step, if `decode.compile` says so.

    With `on`, the second step compiles. `auto` compiles on a GPU after MIN_STEPS steps; on a CPU it
    does not, because compiled steps are not faster there (benchmarks/LOG.md). Raises DeviceError if
    compilation is on and the machine has no compiler.
    """
    if settings.compile == "off" or (settings.compile == "auto" and device.type != "cuda"):
        return
    if problem := missing_compiler(device):
        if settings.compile == "on":
            raise DeviceError(f"decode.compile: {problem} (set decode.compile: off)")
        logger.info(f"decode.compile: off ({problem})")
        return
    for member in model.models() if isinstance(model, Ensemble) else [model]:
        step = CompiledStep(member, settings.compile == "on", device)
        member.advance = step  # type: ignore[method-assign]


class CompiledStep:
    """The compiled step of a model; the plain step until it is compiled, and for rare steps.

    These are steps with a trace, and the first step of a batch, which has one row per sentence.
    """

    def __init__(self, model: AnyModel, is_required: bool, device: torch.device) -> None:
        """Prepare the step of `model`; `is_required` compiles at once, and lets errors end."""
        self.model = model
        self.is_required = is_required
        self.device = device
        self.plain: Callable[..., Any] = model.advance
        self.compiled: Callable[..., Any] | None = None
        # not the first step of all, which does not show the number of rows per sentence
        self._steps_before = 1 if is_required else MIN_STEPS
        self._is_tried = False
        self._lock = threading.Lock()
        self._most_rows = 1
        self._memory = _PaddedMemory()

    def __call__(self, tokens: Tensor, state: Any, memory: Any, trace: bool = False) -> Any:
        """Return the same as `Model.advance`."""
        rows = len(tokens) // len(memory.mask)
        self._most_rows = max(self._most_rows, rows)
        if trace or rows < self._most_rows or not self._is_compiled(rows):
            return self.plain(tokens, state, memory, trace)
        from torch._dynamo.exc import FailOnRecompileLimitHit

        try:
            return self._run(tokens, state, memory)
        except FailOnRecompileLimitHit:
            logger.warning(
                f"decode.compile: the step of {type(self.model).__name__} was compiled "
                f"{torch._dynamo.config.recompile_limit} times for batches that differ; "
                "continuing without compilation (set decode.compile: off)"
            )
            self.compiled = None
            return self.plain(tokens, state, memory, trace)

    def _is_compiled(self, rows: int) -> bool:
        """Return whether there is a compiled step; compile it if it is time."""
        if self._is_tried:
            return self.compiled is not None
        with self._lock:
            self._steps_before -= 1
            if self._steps_before < 0 and not self._is_tried:
                self._compile(rows)
                self._is_tried = True
        return self.compiled is not None

    def _compile(self, rows: int) -> None:
        """Compile the step for `rows` hypotheses per sentence, and log the time that it took.

        If the compiler fails or its step is wrong, raise DeviceError, or with `auto` log a warning.
        """
        from torch._dynamo.exc import TorchDynamoException

        start, name = time.perf_counter(), type(self.model).__name__
        torch._dynamo.config.allow_rnn = True  # no layer runs; a step reads the weights of one
        mode = "reduce-overhead" if self.device.type == "cuda" and BACKEND == "inductor" else None
        self.compiled = torch.compile(
            self.plain, backend=BACKEND, fullgraph=True, dynamic=True, mode=mode
        )
        problem = ""
        try:
            difference = self._sample_difference(rows)
        except TorchDynamoException as error:
            problem = compiler_failure(error)
        else:
            if not difference <= MAX_DIFFERENCE:
                problem = f"expected equal hidden vectors, got a difference of {difference:.2g}"
        if not problem:
            logger.info(f"compiled the step of {name} in {time.perf_counter() - start:.0f} s")
            return
        self.compiled = None
        if self.is_required:
            raise DeviceError(f"decode.compile: {problem} (set decode.compile: off)")
        logger.warning(f"decode.compile: {problem}; continuing without compilation")

    def _sample_difference(self, rows: int) -> float:
        """Run steps of a sample; return the largest difference between plain and compiled.

        The sizes of the sample differ, because equal sizes would share a symbol.
        """
        lengths = torch.tensor([7, 6, 5, 3, 2] if rows in (3, 4) else [7, 6, 5])
        src = torch.ones(len(lengths), 7, dtype=torch.int64, device=self.device)
        memory = self.model.encode(src, lengths)
        states = [self.model.start(memory, rows, 11) for _ in range(2)]
        tokens = torch.ones(len(lengths) * rows, dtype=torch.int64, device=self.device)
        difference = 0.0
        for _ in range(SAMPLE_STEPS):
            states = [self.model.prepare_step(state) for state in states]
            expected, states[0], _ = self.plain(tokens, states[0], memory)
            hidden, states[1], _ = self._run(tokens, states[1], memory)
            error = (hidden - expected).abs().amax() / expected.abs().amax()
            difference = max(difference, float(error))
        return difference

    def _run(self, tokens: Tensor, state: Any, memory: Any) -> tuple[Tensor, Any, None]:
        """Run the compiled step in sizes that repeat; return the results of the N rows."""
        assert self.compiled is not None
        num_rows, sentences = len(tokens), len(memory.mask)
        padded_sentences = static_sentences(sentences, self.device.type)
        padded_rows = num_rows // sentences * padded_sentences
        if self.device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        hidden, padded_state, _ = self.compiled(
            pad_rows(tokens, padded_rows),
            state.pad_for_compiled_step(padded_sentences, padded_rows),
            self._memory.pad(memory, padded_sentences),
        )
        return hidden[:num_rows], state.after_compiled_step(padded_state, num_rows), None


class _PaddedMemory(threading.local):
    """The padded memory of the batch that this thread searches. It changes if sentences do."""

    memory: Any = None
    padded: Any = None

    def pad(self, memory: Any, sentences: int) -> Any:
        """Return the memory in sizes that repeat."""
        if memory is not self.memory:
            self.memory, self.padded = memory, memory.pad_for_compiled_step(sentences)
        return self.padded
