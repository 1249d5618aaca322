"""Extend a copy of the package as docs/architecture.md describes, and use the extensions."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command_line import environment
from tests.support.paths import ROOT
from tests.support.tiny_runs import Tiny

SCORE = '''
class NegativeDistance(Score):
    """score(h, m) = -|h - m|."""

    def forward(self, query: Tensor, source: AttentionInput) -> Tensor:
        heads = split_heads(query, self.heads)
        squares = heads.square().sum(-1)[..., None]
        return 2 * source.dot_products(heads) - squares


SCORES: dict[str, type[Score]] = {
    "negative_distance": NegativeDistance,
'''
PROCESSOR = '''
class FavorToken(LogitsProcessor):
    """Adds 1,000 to the log-probability of a token."""

    def __init__(self, token: int) -> None:
        self.token = token

    def __call__(self, log_probs: Tensor, step: DecodingStep) -> Tensor:
        log_probs[:, :, self.token] += 1000
        return log_probs


def build_logits_processors('''
COMMAND = '''"""`nmt count`: count the lines of a file."""

from dataclasses import dataclass
from pathlib import Path

from nmt.data.text.reader import read_lines


@dataclass(frozen=True)
class CountOptions:
    """Options of `nmt count`."""

    file: Path


def run(options: CountOptions) -> None:
    """Print the number of lines."""
    print(sum(1 for _ in read_lines(options.file)))
'''
COMMAND_LINE = '''

@app.command(rich_help_panel="Tools")
def count(file: Path) -> None:
    """Count the lines of a file."""
    from nmt.commands.tools import count as command

    command.run(command.CountOptions(file=file))
'''


class ExtendedPackage:
    """A copy of nmt in a folder, with edits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "nmt", folder / "nmt", ignore=shutil.ignore_patterns("__pycache__"))
        self.edited: set[str] = set()

    def replace(self, name: str, old: str, new: str) -> None:
        """Replace a text that occurs once in a module."""
        file = self.folder / name
        text = file.read_text(encoding="utf-8")
        assert text.count(old) == 1, (name, old)
        file.write_text(text.replace(old, new), encoding="utf-8")
        self.edited.add(name)

    def add(self, name: str, text: str) -> None:
        """Write a new module, or append to one."""
        file = self.folder / name
        old = file.read_text(encoding="utf-8") if file.exists() else ""
        file.write_text(old + text, encoding="utf-8")
        self.edited.add(name)

    def nmt(self, *arguments: object) -> str:
        """Run the command line of the copy; return its standard output."""
        result = subprocess.run(
            [sys.executable, "-m", "nmt", *map(str, arguments)],
            env=environment() | {"PYTHONPATH": str(self.folder)},
            cwd=self.folder,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout


@pytest.fixture
def package(tmp_path: Path) -> ExtendedPackage:
    return ExtendedPackage(tmp_path / "copy")


def is_documented(names: set[str]) -> bool:
    """Return whether the guide names these modules, or the package of a new module."""
    guide = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    guide = guide.split("## How to add ...")[1].split("\n## ")[0]
    packages = {"nmt/commands/tools/count.py": "`nmt/commands/`", "nmt/cli/tools.py": "`nmt/cli/`"}
    return all(packages.get(name, f"`{name}`") in guide.replace("\n", " ") for name in names)


def test_new_attention_score_trains(package: ExtendedPackage, tiny: Tiny) -> None:
    table = "\nSCORES: dict[str, type[Score]] = {\n"
    package.replace("nmt/models/attention.py", table, SCORE)
    first = 'score: Literal["additive", '
    package.replace("nmt/config/model_config.py", first, f'{first}"negative_distance", ')
    assert is_documented(package.edited)
    settings = ["--set", "model.score=negative_distance", "--device", "cpu"]
    package.nmt("train", tiny.config, "--run", tiny.run, *settings)
    assert "negative_distance" in (tiny.run / "config.yaml").read_text()


def test_new_logits_processor_changes_translations(package: ExtendedPackage, tiny: Tiny) -> None:
    module = "nmt/decoding/search/logits_processors.py"
    package.replace(module, "\ndef build_logits_processors(", PROCESSOR)
    settings = "    if settings.min_length:\n"
    rule = f'    processors.append(FavorToken(tgt.encode(["7"])[0][-1]))\n{settings}'
    package.replace(module, settings, rule)
    assert is_documented(package.edited)
    tiny.train()
    source = tiny.folder / "valid.in"
    flags = ["translate", "-m", tiny.run, source, "--device", "cpu", "--set", "decode.max_length=3"]
    assert package.nmt(*flags).splitlines() == ["777"] * 4


def test_new_command_is_listed_and_runs(package: ExtendedPackage, tmp_path: Path) -> None:
    package.add("nmt/commands/tools/count.py", COMMAND)
    package.add("nmt/cli/tools.py", COMMAND_LINE)
    assert is_documented(package.edited)
    (tmp_path / "text").write_text("a\nb\n")
    assert package.nmt("count", tmp_path / "text") == "2\n"
    assert "Count the lines of a file." in package.nmt("--help")
