"""Check sizes, dependencies and documentation of the modules, and the names of the tests."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
MAX_MODULE_LINES = 450
MAX_TEST_NAME = 60
TEST_NAME = re.compile(r"test(_[a-z0-9]+){2,}")


def import_cycles() -> list[set[str]]:
    """Return the sets of modules that import each other, directly or through others."""
    graph = grimp.build_graph("nmt")
    downstream = {
        module: graph.find_downstream_modules(module)
        for module in graph.modules
        if graph.find_modules_directly_imported_by(module)
    }
    cycles = {
        frozenset({module, *(other for other in users if module in downstream.get(other, ()))})
        for module, users in downstream.items()
    }
    return [set(cycle) for cycle in cycles if len(cycle) > 1]


def list_test_functions() -> list[str]:
    """Return the names of all test functions."""
    return [
        node.name
        for file in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test")
    ]


def test_modules_have_at_most_450_lines() -> None:
    lengths = {
        file.relative_to(ROOT).as_posix(): len(file.read_text(encoding="utf-8").splitlines())
        for file in (ROOT / "nmt").rglob("*.py")
    }
    assert {name: n for name, n in lengths.items() if n > MAX_MODULE_LINES} == {}


def test_modules_form_no_import_cycle() -> None:
    assert import_cycles() == []


def test_architecture_page_lists_current_modules() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "list-modules"), "--check"]
    assert subprocess.run(command).returncode == 0, "run scripts/list-modules"


def test_test_names_have_standard_form() -> None:
    names = list_test_functions()
    assert len(names) > 1000
    assert [name for name in names if len(name) > MAX_TEST_NAME] == []
    assert [name for name in names if not TEST_NAME.fullmatch(name)] == []
