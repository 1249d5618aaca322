"""Run every command of README.md in a folder with the files that it assumes.

A new command in the README needs an entry in COMMANDS.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.command_line import environment, nmt, write_lines
from tests.support.paths import ROOT
from tests.support.tiny_runs import Digits

README = ROOT / "README.md"
SHORT = "--set train.max_updates=2 --set train.threads=1 --set model.d_hidden=8 --device cpu"

TRAIN_LINES = 1500
"""Number of lines of the demo corpus that the commands read as training text."""
STOP_SERVER = """--port 0 2> serve.log &
while ! grep -q listening serve.log; do kill -0 $!; sleep 0.1; done
kill $(pgrep -P $!)
wait $!"""
"""Stops the server once it listens. `nmt` is a function, so the server is a child of the job."""


@dataclass(frozen=True)
class Use:
    """How the test runs a command of the README."""

    run: bool = True
    """False for commands that need a network, and for installation commands that CI runs."""
    extra: str = ""
    """Additional flags that make the command fast."""
    code: int = 0


COMMANDS: dict[str, Use] = {
    "scripts/quickstart": Use(run=False),
    "scripts/test": Use(run=False),
    "nmt init --src data/demo/train.en --tgt data/demo/train.fr -o my.yaml": Use(),
    "nmt check my.yaml": Use(),
    "nmt train my.yaml": Use(extra=SHORT),
    "nmt data get multi30k": Use(run=False),
    "nmt translate -m runs/demo < data/demo/test.en | head -3": Use(),
    "nmt translate --model runs/demo --beam 8 --nbest 2 data/demo/test.en -o out.txt": Use(),
    r"printf 'dog\tpetit chien\n' > terms.tsv": Use(),
    "echo 'The dog sleeps.' | nmt translate -m runs/demo --terms terms.tsv": Use(),
    "nmt evaluate runs/demo": Use(),
    "nmt evaluate runs/demo my.fr --src data/demo/test.en --ref data/demo/test.fr "
    "--html report.html": Use(),
    "nmt runs": Use(),
    "nmt info": Use(),
    "nmt plot runs/demo": Use(),
    'nmt explain -m runs/demo "The agreement on the European Economic Area was signed by the '
    'minister."': Use(),
    'nmt explain -m runs/demo "The queen sleeps." --steps --beam 2': Use(),
    "nmt explain -m runs/demo --src data/demo/test.en --html page.html > /dev/null": Use(),
    "nmt align -m runs/demo --src data/demo/test.en --tgt data/demo/test.fr "
    "--gold data/demo/test.align": Use(),
    "nmt evaluate my.fr --ref data/demo/test.fr --tgt-lang fr": Use(),
    "pip install -c constraints.txt '.[serve]'": Use(run=False),
    "nmt serve -m runs/demo": Use(extra=STOP_SERVER),
}
"""Commands of README.md without prompt, comment and line breaks."""


def commands(markdown: str) -> list[str]:
    """Return the commands in the fenced sh, bash and console blocks of a page, in order.

    In a console block only lines after a `$` are commands. A backslash at the end joins lines.
    """
    result = []
    fence = re.compile(r"^```(sh|bash|shell|console)[^\n]*\n(.*?)^```", re.M | re.S)
    for kind, block in fence.findall(markdown):
        for line in re.sub(r"\\\n\s*", "", block).split("\n"):
            text = line.strip()
            if kind == "console":
                if not text.startswith("$ "):
                    continue
                text = text[2:]
            text = re.sub(r"\s+#\s.*$", "", text).strip()
            if text and not text.startswith("#"):
                result.append(re.sub(r"\s+", " ", text))
    return result


def test_commands_page_gives_only_shell_commands() -> None:
    page = (
        "nmt is not a command here\n```sh\n# a comment\nnmt train a.yaml   # trains\n"
        "nmt translate \\\n    -m runs/a < b.txt\n\n```\n```yaml\nnmt: no\n```\n"
        "```console\n$ echo 'a # b' | nmt translate\nUn chien.\n```\n```python\nimport nmt\n```\n"
    )
    expected = ["nmt train a.yaml", "nmt translate -m runs/a < b.txt"]
    assert commands(page)[:2] == expected
    assert len(commands(page)) == 3


def test_readme_commands_all_have_an_entry() -> None:
    unknown = [c for c in commands(README.read_text()) if c not in COMMANDS]
    assert not unknown, "add them to COMMANDS"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, digits: Digits) -> Path:
    """Return a folder with a finished run and the text files of the README."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(digits.run, folder / "runs" / "demo", symlinks=True)
    write_lines(folder / "my.fr", digits.ref[:5])
    write_lines(folder / "data" / "demo" / "test.en", digits.src[:5])
    write_lines(folder / "data" / "demo" / "test.fr", digits.ref[:5])
    write_lines(folder / "data" / "demo" / "test.align", ["0-0"] * 5)
    for name in ("train.en", "train.fr"):
        lines = (ROOT / "data" / "demo" / name).read_text("utf-8").split("\n")
        write_lines(folder / "data" / "demo" / name, lines[:TRAIN_LINES])
    shutil.copytree(ROOT / "configs", folder / "configs")
    return folder


@pytest.mark.parametrize("command", commands(README.read_text()))
def test_readme_command_succeeds(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands with pipes or redirections run in a shell, the others in this process."""
    use = COMMANDS[command]
    if not use.run:
        pytest.skip("set-up, run elsewhere")
    line = f"{command} {use.extra}"
    if not re.search(r"[|<>&;$]", line):
        program, *arguments = shlex.split(line)
        assert program == "nmt"
        monkeypatch.chdir(folder)
        result = nmt(*arguments)
        assert result.code == use.code, result.err
        assert "Traceback" not in result.err
        return
    shell = f'nmt() {{ {shlex.quote(sys.executable)} -m nmt "$@"; }}\n{line}\n'
    process = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", shell],
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert process.returncode == use.code, process.stderr
    assert "Traceback" not in process.stderr


DOCS = ROOT / "docs"
PYTHON = [
    block
    for page in (README, DOCS / "attention.md", DOCS / "decoding.md")
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)
]
NOTEBOOK = json.loads((DOCS / "python.ipynb").read_text())
PYTHON.append(
    "\n".join("".join(c["source"]) for c in NOTEBOOK["cells"] if c["cell_type"] == "code")
)


@pytest.mark.parametrize("block", PYTHON)
def test_docs_python_block_runs(block: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    exec(block, names)
    assert "model" in names
