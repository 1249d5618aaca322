"""Check that no code unpickles, runs text, or writes files outside of core/files.py."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.paths import PACKAGE

FILES = sorted(PACKAGE.rglob("*.py"))
FILES_MODULE = PACKAGE / "core" / "files.py"
PICKLE_MODULE = PACKAGE / "importing" / "pickled_tensors.py"
"""The only module that reads pickles: those of other toolkits. It creates tensors and options."""

PICKLERS = {"pickle", "_pickle", "marshal", "dill", "shelve", "cloudpickle", "joblib"}
TORCH_PICKLES = {"load", "save"}
OBJECT_COLLECTIVES = {
    "all_gather_object",
    "broadcast_object_list",
    "gather_object",
    "scatter_object_list",
    "send_object_list",
    "recv_object_list",
}
OS_WRITES = {
    *("rename", "renames", "replace", "remove", "unlink", "mkdir", "makedirs", "rmdir"),
    *("removedirs", "symlink", "link", "truncate", "write", "mkfifo"),
}
SHUTIL_WRITES = {"copy", "copy2", "copyfile", "copytree", "move", "rmtree", "make_archive"}
PATH_WRITES = {
    *("write_text", "write_bytes", "touch", "mkdir", "unlink", "rename", "rmdir"),
    *("symlink_to", "hardlink_to", "tofile", "savez", "savez_compressed", "savetxt", "save_file"),
}
MODULES = {"os", "shutil", "files", "torch", "np", "numpy"}


def owner_and_name(call: ast.Call) -> tuple[str, str]:
    """Return (owner, name) of a call `owner.name()`; the owner is "?" if it is not a plain name."""
    if isinstance(call.func, ast.Attribute):
        owner = call.func.value
        return owner.id if isinstance(owner, ast.Name) else "?", call.func.attr
    return "", call.func.id if isinstance(call.func, ast.Name) else "?"


def imports(node: ast.AST) -> Iterator[str]:
    """Yield the dotted names that a node imports, also by `import_module`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and owner_and_name(node)[1] in ("import_module", "__import__"):
        yield from (str(a.value) for a in node.args if isinstance(a, ast.Constant))


def pickle_lines(tree: ast.AST) -> list[int]:
    """Return the lines that could pickle or unpickle."""
    lines = []
    for node in ast.walk(tree):
        violates = any(
            set(name.split(".")) & (PICKLERS | OBJECT_COLLECTIVES)
            or name in ("torch.load", "torch.save", "torch.serialization")
            for name in imports(node)
        )
        if isinstance(node, ast.Attribute):
            violates |= node.attr in OBJECT_COLLECTIVES
            torch = isinstance(node.value, ast.Name) and node.value.id == "torch"
            violates |= torch and node.attr in TORCH_PICKLES
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            violates |= not (isinstance(node.value, ast.Constant) and node.value.value is False)
        if violates:
            lines.append(getattr(node, "lineno", 0))
    return lines


def code_execution_lines(tree: ast.AST) -> list[int]:
    """Return the lines that could execute text as code, or load objects from YAML."""
    lines = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        owner, name = owner_and_name(node)
        shell = any(k.arg == "shell" for k in node.keywords)
        violates = (
            (owner == "" and name in ("eval", "exec", "compile"))
            or (owner == "yaml" and "load" in name)
            or (owner == "os" and name in ("system", "popen"))
            or shell
        )
        if violates:
            lines.append(node.lineno)
    return lines


def opens_for_writing(call: ast.Call) -> bool:
    owner, name = owner_and_name(call)
    if name in ("NamedTemporaryFile", "TemporaryFile", "mkstemp", "mkdtemp", "TemporaryDirectory"):
        return True
    if name != "open":
        return False
    if owner == "os":  # writing to os.devnull changes no file
        return ast.unparse(call.args[0]) != "os.devnull" and "O_RDONLY" not in ast.unparse(call)
    values = [*call.args, *(k.value for k in call.keywords if k.arg == "mode")]
    modes = [v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)]
    return any(set(mode) <= set("rwaxbt+") and set(mode) & set("wax+") for mode in modes)


def has_one_argument(call: ast.Call) -> bool:
    """Tell Path.replace from str.replace (two arguments) and dataclasses.replace (keywords)."""
    return len(call.args) == 1 and not call.keywords


def disk_write_lines(tree: ast.AST) -> list[int]:
    """Return the lines that write to disk without nmt.core.files."""
    streams = {
        item.optional_vars.id
        for node in ast.walk(tree)
        if isinstance(node, ast.With)
        for item in node.items
        if isinstance(item.optional_vars, ast.Name)
        and ast.unparse(item.context_expr).startswith("files.open_atomic(")
    }
    lines = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        owner, name = owner_and_name(node)
        to_stream = bool(node.args) and ast.unparse(node.args[0]) in streams
        violates = (
            opens_for_writing(node)
            or (owner == "os" and name in OS_WRITES)
            or (owner == "shutil" and name in SHUTIL_WRITES)
            or (owner != "files" and name in PATH_WRITES and not (name == "savez" and to_stream))
            or (owner in ("np", "numpy") and name == "save" and not to_stream)
            or (owner not in ("", *MODULES) and name == "replace" and has_one_argument(node))
        )
        if violates:
            lines.append(node.lineno)
    return lines


def violations(check: Callable[[ast.AST], list[int]], files: list[Path]) -> list[str]:
    return [
        f"{file.relative_to(PACKAGE.parent)}:{line}"
        for file in files
        for line in check(ast.parse(file.read_text(encoding="utf-8")))
    ]


def test_checker_finds_the_package() -> None:
    assert FILES_MODULE in FILES
    assert len(FILES) > 20


def test_package_uses_no_pickle() -> None:
    assert violations(pickle_lines, [file for file in FILES if file != PICKLE_MODULE]) == []


def test_pickle_module_loads_weights_only() -> None:
    loads = [
        node
        for node in ast.walk(ast.parse(PICKLE_MODULE.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and owner_and_name(node) == ("torch", "load")
    ]
    assert len(violations(pickle_lines, [PICKLE_MODULE])) == len(loads) == 1
    assert "weights_only=True" in ast.unparse(loads[0])


def test_package_runs_no_text_as_code() -> None:
    assert violations(code_execution_lines, FILES) == []


@pytest.mark.parametrize(
    "source",
    [
        "eval(text)",
        "exec(open(p).read())",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)",
        "os.system(line)",
        "subprocess.run(line, shell=True)",
    ],
)
def test_checker_code_from_text_is_reported(source: str) -> None:
    assert code_execution_lines(ast.parse(source))


def test_package_writes_only_through_files_module() -> None:
    assert violations(disk_write_lines, [file for file in FILES if file != FILES_MODULE]) == []
    assert violations(disk_write_lines, [FILES_MODULE]), (
        "the checker no longer sees the writes of files.py"
    )


DELETERS = {
    "remove_folder": {"core/files.py", "core/ownership.py", "runs/clear_run.py"},
    "folder_atomic": {"core/ownership.py"},
}
"""Modules that may delete or replace folders. They check first that nmt wrote the folder."""


@pytest.mark.parametrize("name", DELETERS)
def test_folder_replacement_only_in_listed_modules(name: str) -> None:
    callers = {
        file.relative_to(PACKAGE).as_posix()
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and owner_and_name(node)[1] == name
    }
    assert callers == DELETERS[name]


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, pickle as p",
        "def f():\n    import marshal",
        "from pickle import loads",
        "from torch.distributed import all_gather_object",
        "import dill.source",
        "from multiprocessing import pickle",
        "import importlib\nimportlib.import_module('shelve')",
        "__import__('pickle')",
        "torch.load(file)",
        "f = torch.save",
        "from torch import load",
        "dist.broadcast_object_list(x)",
        "torch.distributed.gather_object(x)",
        "scatter = dist.scatter_object_list",
        "np.load(file, allow_pickle=True)",
        "np.load(file, allow_pickle=flag)",
    ],
)
def test_checker_pickle_is_reported(source: str) -> None:
    assert pickle_lines(ast.parse(source))


@pytest.mark.parametrize(
    "source",
    [
        "from safetensors.torch import load, save\nload(x)\nsave(y)",
        "np.load(file, mmap_mode='r')",
        "np.save(stream, x, allow_pickle=False)",
        "import json\njson.load(stream)",
        "'import pickle'",
        "dist.all_gather(x)",
        "model.load(x)",
    ],
)
def test_checker_other_formats_are_accepted(source: str) -> None:
    assert pickle_lines(ast.parse(source)) == []


@pytest.mark.parametrize(
    "source",
    [
        "open(p, 'w')",
        "open(p, mode='ab')",
        "open(p, 'x')",
        "open(p, 'r+b')",
        "with gzip.open(p, 'wt') as f: pass",
        "path.open('w')",
        "path.write_text('x')",
        "(folder / 'x').write_bytes(b'')",
        "Path('x').touch()",
        "path.mkdir()",
        "path.unlink()",
        "path.rename(other)",
        "path.replace(other)",
        "(a / b).replace(c)",
        "os.rename(a, b)",
        "os.replace(a, b)",
        "os.makedirs(a)",
        "os.open(p, os.O_WRONLY | os.O_CREAT)",
        "shutil.rmtree(p)",
        "shutil.copyfile(a, b)",
        "np.save('a.npy', x)",
        "np.save(path, x)",
        "np.save(folder / 'a', x)",
        "with open(path, 'rb') as stream: np.save(stream, x)",
        "np.savez(p, x)",
        "array.tofile(p)",
        "save_file(tensors, p)",
        "tempfile.mkdtemp()",
    ],
)
def test_checker_write_is_reported(source: str) -> None:
    assert disk_write_lines(ast.parse(source))


@pytest.mark.parametrize(
    "source",
    [
        "open(p)",
        "open(p, 'rb')",
        "gzip.open(p, 'rt')",
        "path.open()",
        "os.open(os.devnull, os.O_WRONLY)",
        "files.write_text(p, 'x')",
        "files.remove(p)",
        "with files.open_atomic(p) as stream: np.save(stream, x, allow_pickle=False)",
        "'a'.replace('a', 'b')",
        "dataclasses.replace(x, a=1)",
        "replace(x)",
        "sys.stdout.write('x')",
    ],
)
def test_checker_read_is_accepted(source: str) -> None:
    assert disk_write_lines(ast.parse(source)) == []
