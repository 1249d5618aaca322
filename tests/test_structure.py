"""Check sizes, dependencies and documentation of the modules, and the names of the tests."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter

import grimp

from tests.support.paths import ROOT

PACKAGE = ROOT / "nmt"
FILES = sorted(PACKAGE.rglob("*.py"))
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
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
        frozenset({module, *(user for user in users if module in downstream.get(user, ()))})
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


def test_package_init_holds_only_a_docstring() -> None:
    inits = [file for file in FILES if file.name == "__init__.py" and file.parent != PACKAGE]
    assert inits
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in inits}
    assert [file for file, tree in trees.items() if not ast.get_docstring(tree)] == []
    assert [file for file, tree in trees.items() if len(tree.body) != 1] == []


def test_package_root_holds_only_packages_and_errors() -> None:
    assert {path.name for path in PACKAGE.glob("*.py")} == {
        "__init__.py",
        "__main__.py",
        "errors.py",
    }


def test_package_has_at_most_12_modules() -> None:
    modules = Counter(file.parent for file in FILES if file.name != "__init__.py")
    assert {folder.name: count for folder, count in modules.items() if count > 12} == {}


def test_every_folder_of_code_is_a_package() -> None:
    assert {file.parent for file in FILES} == {
        file.parent for file in FILES if file.name == "__init__.py"
    }


def test_package_has_no_vague_module_names() -> None:
    names = {part for file in FILES for part in file.relative_to(PACKAGE).with_suffix("").parts}
    assert not names & VAGUE_NAMES


def test_modules_have_at_most_450_lines() -> None:
    lengths = {
        file.relative_to(ROOT).as_posix(): len(file.read_text(encoding="utf-8").splitlines())
        for file in FILES
    }
    assert {name: n for name, n in lengths.items() if n > MAX_MODULE_LINES} == {}


def test_modules_form_no_import_cycle() -> None:
    assert import_cycles() == []


def test_architecture_page_lists_current_modules() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "list-modules"), "--check"]
    assert subprocess.run(command).returncode == 0, "run scripts/list-modules"


def test_restricted_pass_names_existing_tests() -> None:
    script = (ROOT / "scripts" / "test").read_text(encoding="utf-8")
    paths = re.findall(r"\btests/\S+", script)
    assert len(paths) > 3
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_test_names_have_standard_form() -> None:
    names = list_test_functions()
    assert len(names) > 1000
    assert [name for name in names if len(name) > MAX_TEST_NAME] == []
    assert [name for name in names if not TEST_NAME.fullmatch(name)] == []
