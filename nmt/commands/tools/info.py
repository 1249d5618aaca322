"""`nmt info`: print facts about the machine and the software for bug reports."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from nmt.config.model_config import RNNConfig, TransformerConfig
from nmt.core.console import format_size, print_result
from nmt.core.rendering.tables import format_fields
from nmt.device.precision import AUTOCAST_TYPES, select_precision
from nmt.device.system_info import CPU, describe_matrix_products, system_facts
from nmt.errors import DeviceError
from nmt.models.kernels.selection import is_fused_lstm_available
from nmt.models.precision_probe import check_decoding, check_training

logger = logging.getLogger(__name__)

MODELS: dict[str, RNNConfig | TransformerConfig] = {
    "GRU": RNNConfig(cell="gru"),
    "LSTM": RNNConfig(cell="lstm"),
    "Transformer": TransformerConfig(arch="transformer"),
}
"""Models that are tried in each precision."""
Check = Callable[[RNNConfig | TransformerConfig, str, torch.device], None]
"""Raises DeviceError if a model does not run in a precision on a device."""
TASKS: dict[str, tuple[Check, tuple[str, ...]]] = {
    "train": (check_training, ("fp32", "bf16", "fp16")),
    "decode": (check_decoding, ("fp32", "bf16", "fp16", "int8")),
}
"""Check and precisions of each task."""


@dataclass(frozen=True)
class InfoOptions:
    """Options of `nmt info`."""

    json: bool


class CodePath(NamedTuple):
    """How models run one task in one precision on one device."""

    task: str
    precision: str
    device: str
    runs: list[str]
    """Names of models that run."""
    refused: dict[str, str]
    """Error message of each model that does not run."""
    path: str
    """Description of the kernels that compute the matrix products."""


def run(options: InfoOptions) -> None:
    """Print facts about the machine and the code path of each precision."""
    logger.info("measuring the speed of matrix products (at most a second)")
    content = system_facts()
    code_paths = list(_find_code_paths())
    automatic = {str(device): select_precision(device) for device in _devices()}
    if options.json:
        content["precision"] = [code_path._asdict() for code_path in code_paths]
        content["auto"] = {
            device: {"precision": name, "reason": reason}
            for device, (name, reason) in automatic.items()
        }
        print_result(json.dumps(content, indent=2))
        return
    rows = _format_facts(content)
    rows += [(f"{p.task} {p.precision}", _describe_code_path(p)) for p in code_paths]
    rows += [
        (f"auto ({device})", f"{name}: {reason}") for device, (name, reason) in automatic.items()
    ]
    print_result(format_fields(rows))


def _devices() -> list[torch.device]:
    """Return the CPU and the GPU of each kind that torch can use."""
    devices = [CPU]
    if torch.cuda.is_available():
        devices.append(torch.device("cuda"))
    if torch.backends.mps.is_available():
        devices.append(torch.device("mps"))
    return devices


def _find_code_paths() -> Iterator[CodePath]:
    """Run tiny models and yield the code path of each device, task and precision."""
    for device in _devices():
        for task, (check, precisions) in TASKS.items():
            for precision in precisions:
                refused = {}
                for model, config in MODELS.items():
                    try:
                        check(config, precision, device)
                    except DeviceError as error:
                        refused[model] = str(error)
                runs = [model for model in MODELS if model not in refused]
                path = describe_matrix_products(precision, device) if runs else ""
                is_lstm_trained = task == "train" and "LSTM" in runs
                if is_lstm_trained and not _has_fused_lstm(precision, device):
                    path += "; LSTM in single steps, because oneDNN has no fused kernel for it"
                yield CodePath(task, precision, str(device), runs, refused, path)


def _has_fused_lstm(precision: str, device: torch.device) -> bool:
    """Return whether `nn.LSTM` trains in this precision."""
    with torch.autocast(device.type, AUTOCAST_TYPES[precision], enabled=precision != "fp32"):
        return is_fused_lstm_available(device.type)


def _describe_code_path(code_path: CodePath) -> str:
    """Return a code path as text for one row of the table."""
    texts = []
    if code_path.runs:
        texts.append(f"{_join_names(code_path.runs)}: {code_path.path}")
    for message in dict.fromkeys(code_path.refused.values()):
        models = [model for model, reason in code_path.refused.items() if reason == message]
        texts.append(f"{_join_names(models)}: refused, {message}")
    return f"{code_path.device}, {'; '.join(texts)}"


def _join_names(models: list[str]) -> str:
    """Return the names of models as text."""
    return "all models" if len(models) == len(MODELS) else ", ".join(models)


def _format_facts(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the result of `system_facts` as (name, value) rows."""
    cpu = facts["cpu"]
    restricting_variables: list[str] = cpu["restricted_by"]
    free, total = facts["free_memory_bytes"], facts["memory_bytes"]
    optional: dict[str, str | None] = facts["optional_packages"]  # None if not installed
    gpus = [
        gpu["name"] + (f", {format_size(gpu['memory_bytes'])}" if gpu["memory_bytes"] else "")
        for gpu in facts["gpus"]
    ]
    installed = [f"{name} {version}" for name, version in optional.items() if version]
    missing = [name for name, version in optional.items() if not version]
    return [
        (
            "nmt",
            str(facts["nmt"]) + (f", commit {facts['commit']}" if facts["commit"] else ""),
        ),
        ("torch", facts["torch"]),
        ("python", facts["python"]),
        ("os", facts["os"]),
        ("packages", ", ".join(f"{name} {version}" for name, version in facts["packages"].items())),
        ("optional", ", ".join(installed) or "none"),
        ("not installed", ", ".join(missing) or "none"),
        ("cpu", f"{cpu['model']}, {cpu['architecture']}"),
        ("instructions", ", ".join(cpu["instruction_sets"]) or "none known"),
        ("torch uses", cpu["torch_level"]),
        ("restricted by", ", ".join(restricting_variables) or "nothing"),
        ("cores", f"{facts['cores']}, {facts['free_cores']} free now"),
        ("threads", str(facts["threads"])),
        (
            "memory",
            f"{format_size(total) if total else 'unknown'}, "
            f"{format_size(free) if free else 'unknown'} free",
        ),
        ("gpus", "; ".join(gpus) or "none"),
    ]
