"""`nmt info`: facts about the machine and the software for bug reports."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from nmt.config.model_config import RNNConfig, TransformerConfig
from nmt.core.logging import put, say, size
from nmt.core.logging import table as two_columns
from nmt.device.precision import AUTOCAST_TYPES, select_precision
from nmt.device.system_info import CPU, facts, path_text
from nmt.errors import DeviceError
from nmt.models.kernels.selection import is_fused_lstm_available
from nmt.models.precision_probe import check_decoding, check_training

MODELS: dict[str, RNNConfig | TransformerConfig] = {
    "GRU": RNNConfig(cell="gru"),
    "LSTM": RNNConfig(cell="lstm"),
    "Transformer": TransformerConfig(arch="transformer"),
}
Check = Callable[[RNNConfig | TransformerConfig, str, torch.device], None]
FORMATS: dict[str, tuple[Check, tuple[str, ...]]] = {
    "train": (check_training, ("fp32", "bf16", "fp16")),
    "decode": (check_decoding, ("fp32", "bf16", "fp16", "int8")),
}


class CodePath(NamedTuple):
    """How the models run in one number format on one device."""

    task: str
    precision: str
    device: str
    runs: list[str]
    """Models that run."""
    refused: dict[str, str]
    """The message for each model that does not run."""
    path: str


def run(as_json: bool) -> None:
    """Print the facts and the code path of each number format."""
    say("measuring the speed of matrix products (at most a second)")
    content = facts()
    paths = list(code_paths())
    automatic = {str(device): select_precision(device) for device in devices()}
    if as_json:
        content["precision"] = [path._asdict() for path in paths]
        content["auto"] = {
            device: {"precision": name, "reason": reason}
            for device, (name, reason) in automatic.items()
        }
        put(json.dumps(content, indent=2))
        return
    rows = machine_rows(content)
    rows += [(f"{p.task} {p.precision}", path_in_words(p)) for p in paths]
    rows += [(f"auto ({device})", f"{name}: {why}") for device, (name, why) in automatic.items()]
    put(two_columns(rows))


def devices() -> list[torch.device]:
    """Return the CPU and the kind of GPU that torch can use, if any."""
    kinds = [CPU]
    if torch.cuda.is_available():
        kinds.append(torch.device("cuda"))
    if torch.backends.mps.is_available():
        kinds.append(torch.device("mps"))
    return kinds


def code_paths() -> Iterator[CodePath]:
    """Yield the code path of each device, task and number format, by running tiny models."""
    for device in devices():
        for task, (check, names) in FORMATS.items():
            for name in names:
                refused = {}
                for model, config in MODELS.items():
                    try:
                        check(config, name, device)
                    except DeviceError as error:
                        refused[model] = str(error)
                runs = [model for model in MODELS if model not in refused]
                path = path_text(name, device) if runs else ""
                if task == "train" and "LSTM" in runs and not has_fused_lstm(name, device):
                    path += "; LSTM in single steps, because oneDNN has no fused kernel for it"
                yield CodePath(task, name, str(device), runs, refused, path)


def has_fused_lstm(name: str, device: torch.device) -> bool:
    """Return whether `nn.LSTM` trains in this format."""
    with torch.autocast(device.type, AUTOCAST_TYPES[name], enabled=name != "fp32"):
        return is_fused_lstm_available(device.type)


def path_in_words(path: CodePath) -> str:
    """Return a code path for a line of the table."""
    texts = [f"{model_names(path.runs)}: {path.path}"] if path.runs else []
    for message in dict.fromkeys(path.refused.values()):
        models = [model for model, reason in path.refused.items() if reason == message]
        texts.append(f"{model_names(models)}: refused, {message}")
    return f"{path.device}, {'; '.join(texts)}"


def model_names(models: list[str]) -> str:
    """Return the names of models in words."""
    return "all models" if len(models) == len(MODELS) else ", ".join(models)


def machine_rows(content: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the facts as rows of a table."""
    processor = content["cpu"]
    free, total = content["free_memory_bytes"], content["memory_bytes"]
    limits = processor["restricted_by"]
    optional = content["optional_packages"]
    gpus = [
        gpu["name"] + (f", {size(gpu['memory_bytes'])}" if gpu["memory_bytes"] else "")
        for gpu in content["gpus"]
    ]
    installed = [f"{name} {version}" for name, version in optional.items() if version]
    missing = [name for name, version in optional.items() if not version]
    return [
        (
            "nmt",
            str(content["nmt"]) + (f", commit {content['commit']}" if content["commit"] else ""),
        ),
        ("torch", content["torch"]),
        ("python", content["python"]),
        ("os", content["os"]),
        ("packages", ", ".join(f"{name} {v}" for name, v in content["packages"].items())),
        ("optional", ", ".join(installed) or "none"),
        ("not installed", ", ".join(missing) or "none"),
        ("cpu", f"{processor['model']}, {processor['architecture']}"),
        ("instructions", ", ".join(processor["instruction_sets"]) or "none known"),
        ("torch uses", processor["torch_level"]),
        ("restricted by", ", ".join(limits) or "nothing"),
        ("cores", f"{content['cores']}, {content['free_cores']} free now"),
        ("threads", str(content["threads"])),
        (
            "memory",
            f"{size(total) if total else 'unknown'}, {size(free) if free else 'unknown'} free",
        ),
        ("gpus", "; ".join(gpus) or "none"),
    ]
