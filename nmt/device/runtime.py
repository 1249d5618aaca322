"""Device, threads, precision and seeds: each decided once, here."""

from __future__ import annotations

import ctypes
import hashlib
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from threading import Event

import torch
from torch import nn

from nmt.core.logging import say
from nmt.device import cpu
from nmt.device.cpu_cores import free_cores
from nmt.device.matrix_speed import speed_ratio
from nmt.errors import DeviceError

MOST_THREADS = torch.get_num_threads()
"""All cores, or fewer where OMP_NUM_THREADS says so."""
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h
WORTHWHILE_GAIN = 1.3
AUTOCAST_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" takes CUDA, then MPS, then the CPU."""
    have = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if have[kind])
    if name not in have:
        raise DeviceError(f"--device: expected one of auto, cpu, cuda, mps, got '{name}'")
    if not have[name]:
        here = ", ".join(kind for kind, found in have.items() if found)
        raise DeviceError(f"--device {name}: not found on this machine, which has {here}")
    if name == "cuda" and "LOCAL_RANK" in os.environ:  # one process a card, under torchrun
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device(name)


def prepare_cpu(threads: int | None) -> int:
    """Let torch use `threads` CPU threads and keep freed memory; return how many threads.

    None is the free cores, or fewer where OMP_NUM_THREADS says so.
    """
    threads = threads or min(free_cores(), MOST_THREADS)
    torch.set_num_threads(threads)
    _keep_freed_memory()
    return threads


def side_by_side(work: Callable[[Event], None], workers: int) -> None:
    """Run `work` in so many threads, each with one CPU thread and without gradients.

    An error or interrupt is raised here, after the event has told the others to stop.
    """
    before = torch.get_num_threads()
    stop = Event()

    def run() -> None:
        torch.set_num_threads(1)
        with torch.inference_mode():
            work(stop)

    running: list[Future[None]] = []
    try:
        with ThreadPoolExecutor(workers) as pool:
            try:
                for _ in range(workers):
                    running.append(pool.submit(run))
                for future in as_completed(running):
                    future.result()
            finally:
                stop.set()
                _await(running)
    finally:
        torch.set_num_threads(before)  # new threads would inherit the workers'


def _await(running: Sequence[Future[None]]) -> None:
    """Wait for threads that have been told to stop, however often Ctrl-C is pressed meanwhile.

    Python 3.11 takes a thread that it was joining when it was interrupted for ended, and goes down
    with it.
    """
    interrupt: KeyboardInterrupt | None = None
    while not all(future.done() for future in running):
        try:
            wait(running)
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


def _keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next tensor instead of handing it back to the kernel.

    Each update frees and takes tens of megabytes, and a page that comes back must be zeroed first.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None and hasattr(libc, "mallopt"):  # not in musl
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def seed_everything(*numbers: int) -> None:
    """Reseed torch from `numbers`, such as (seed, update, micro-batch).

    Dropout draws from a generator that is reseeded for each micro-batch and never runs on, so a
    resumed run needs no generator state.
    """
    digest = hashlib.sha256(",".join(map(str, numbers)).encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def peak_memory(device: torch.device) -> int:
    """Return the most bytes used so far: of the GPU, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def free_memory(device: torch.device) -> float:
    """Return the bytes that each process of a job on this CPU may still take; inf if not known.

    A GPU raises an error where its memory ends, so there nothing needs to be known.
    """
    found = math.inf
    if device.type != "cpu":
        return found
    with suppress(OSError, ValueError):
        text = Path("/proc/meminfo").read_text().partition("MemAvailable:")[2]
        found = 1024.0 * int(text.partition("kB")[0])
    with suppress(OSError, ValueError):  # "max" is no number
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        statistics = (group / "memory.stat").read_text().partition("inactive_file ")[2]
        found = min(found, limit - used + int(statistics.partition("\n")[0]))
    return found / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def measured_precision(device: torch.device) -> tuple[str, str]:
    """Return bf16 if the device has it and is faster with it, else fp32; and the reason."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported(False):
        return "bf16", "the GPU has it"
    if device.type != "cpu" or not cpu.has_bf16():
        return "fp32", f"this {device.type} has no bf16 instructions"
    ratio = speed_ratio(device, torch.bfloat16)
    name = "bf16" if ratio >= WORTHWHILE_GAIN else "fp32"
    return name, f"bf16 multiplies matrices {ratio:.1f} times as fast as fp32"


def slow_format(name: str, device: torch.device) -> str:
    """Return why a number format is slower than fp32 on this device; empty if it is not.

    Only formats without instructions of this CPU are measured.
    """
    has_units = {"bf16": cpu.has_bf16, "fp16": cpu.has_fp16}
    if device.type != "cpu" or name not in has_units or has_units[name]():
        return ""
    ratio = speed_ratio(device, AUTOCAST_TYPES[name])
    if ratio >= 1:
        return ""
    return (
        f"{name} is slower than fp32 here: this CPU has no {name} instructions and multiplies "
        f"matrices at {ratio:.2g} of the speed of fp32"
    )


@cache
def decoding_format(name: str, device: torch.device) -> str:
    """Return the number format of `decode.precision`, with "auto" resolved by measuring.

    Print the choice, or a warning if the format is slower than fp32, once per process.
    """
    if name == "auto":
        name, reason = measured_precision(device)
        say(f"decode.precision: {name} ({reason})")
    elif name == "int8" and device.type == "cpu" and cpu.int8_kernel() is None:
        say(
            "warning: decode.precision: this CPU or this build of torch has no exact int8 "
            "products; computing in fp32 (set decode.precision: fp32)"
        )
        return "fp32"
    elif reason := slow_format(name, device):
        say(f"warning: decode.precision: {reason} (set decode.precision: fp32)")
    return name


class Precision:
    """Mixed precision in one object: autocast around the forward pass, a scaler for the backward.

    Weights, softmax, normalisation and loss stay fp32. `auto` is the choice of
    `measured_precision`.
    Only fp16 needs the scaler (Micikevicius et al. 2018, section 3.2).
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.why = ""
        if name == "auto":
            name, self.why = measured_precision(device)
        self.name = name
        self.dtype = AUTOCAST_TYPES[name]
        """The type of matrix products."""
        self.device = device
        self.scaler = torch.amp.GradScaler("cuda", enabled=name == "fp16")

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context of the forward pass."""
        if self.name == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def backward(self, loss: torch.Tensor) -> None:
        """Backpropagate the loss, scaled where the precision needs it."""
        torch.autograd.backward(self.scaler.scale(loss))

    def step(self, optimizer: torch.optim.Optimizer, clip_norm: float) -> torch.Tensor:
        """Unscale, clip, step, in this order; return the gradient norm before clipping.

        Where it is NaN or inf there is no step: no weight, moment or step counter changes. A fused
        optimizer looks at that on the device, and nothing waits for it.
        """
        self.scaler.unscale_(optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, clip_norm if clip_norm > 0 else float("inf"))
        if hasattr(norm, "full_tensor"):  # each worker has a share of the gradient
            norm = norm.full_tensor()
        broken = norm.isfinite().logical_not()
        if optimizer.defaults.get("fused"):
            optimizer.found_inf = broken.float()  # type: ignore[attr-defined]
            optimizer.step()
            del optimizer.found_inf  # type: ignore[attr-defined]
        elif not broken:
            optimizer.step()
        self.scaler.update()
        return norm


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Run the block with dropout off and without gradients, then restore the model's mode."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)
