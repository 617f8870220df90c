"""What the code never does, each in the few files that may: run Python, write to tensors, print."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import torch
from torch import nn

from tests.support.code import LIGHT, File, files


def calls(file: File, of_objects: bool = True) -> Iterator[str]:
    """Yield the names of the functions that a file calls, and of the methods."""
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node.func.id
            elif isinstance(node.func, ast.Attribute) and of_objects:
                yield node.func.attr


def callers(names: set[str], of_objects: bool = False) -> set[str]:
    """Return the files that call a function of these names."""
    return {file.name for file in files() if names & set(calls(file, of_objects))}


def in_place(file: File) -> set[str]:
    """Return the methods that a file calls and that work in place, by torch's naming: `copy_`, `normal_`."""
    methods = {name for name in calls(file) if re.fullmatch(r"[a-z]\w*[a-z0-9]_", name)}
    return {name for name in methods if hasattr(torch.Tensor, name) or hasattr(nn.init, name)}


def test_rules_never_run_python() -> None:
    running = {"eval", "exec", "compile", "__import__", "import_module"}
    light = {name for name in callers(running) if name.partition("/")[0] in LIGHT}
    # the annotations of somebody's own function, which Python may keep as text
    assert light == {"initializers/describing.py"}


def test_one_file_reads_pickles() -> None:
    """The metadata of a distributed checkpoint is a pickle: it is read by an unpickler that knows a dozen names."""
    reading = re.compile(r"\bpickle\.(load|loads|_?Unpickler)\b|^\s*(import|from) (marshal|shelve)\b", re.MULTILINE)
    assert {file.name for file in files() if reading.search(file.text)} == {"checkpoints/dcp.py"}


def test_only_what_fills_writes_to_tensors() -> None:
    writing = {file.folder for file in files() if in_place(file)}
    assert writing == {"initializers", "streams", "filling"}


def test_only_the_command_line_prints() -> None:
    assert {name.partition("/")[0] for name in callers({"print", "input", "exit"})} <= {"cli"}
    assert {name.partition("/")[0] for name in callers({"exit", "echo"}, of_objects=True)} == {"cli"}
