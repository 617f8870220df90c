"""Imports: no circle of files, none inside a function without need, and no torch where a rule file alone is read."""

from __future__ import annotations

import graphlib
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest
from torch import nn

import initdsl
from tests.support.code import LIGHT, ROOT, File, Import, files, imports, imports_of

# what a process may not want to wait for, or may not have
HEAVY = {"torch", "numpy", "matplotlib", "rich", "safetensors", "re2", "triton", "pygls", "lsprotocol", "yaml", "fcntl"}
HEAVY |= {"hashlib", "importlib", "json", "tomllib", "urllib", "xml"}  # `initdsl lint` starts in a tenth of a second


def circle(edges: Iterable[tuple[str, str]]) -> list[str]:
    """Return the modules of one circle, or nothing."""
    graph: dict[str, set[str]] = defaultdict(set)
    for importer, imported in edges:
        graph[importer].add(imported)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def edges(some: Iterable[Import]) -> Iterable[tuple[str, str]]:
    """Return who imports whom, without the package itself: it stands for what it imports at once."""
    return (
        (one.importer, one.imported)
        for one in some
        if "initdsl." in one.imported and "initdsl." in one.importer and one.importer != one.imported
    )


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circle(set(edges(imports()))) == []


def test_a_circle_is_found() -> None:
    assert circle([("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")])
    assert circle([("a", "b"), ("b", "c"), ("a", "c")]) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from .make import plan", ["initdsl.planning.make"]),
        ("from . import make, plan", ["initdsl.planning.make", "initdsl.planning.plan"]),
        ("import initdsl.api.report", ["initdsl.api.report"]),
        ("def f():\n    from initdsl.api.report import Report", ["initdsl.api.report"]),
        ("if TYPE_CHECKING:\n    from ..reports.table import rows", ["initdsl.reports.table"]),
        ("from initdsl import streams", ["initdsl.streams"]),
        ("import torch.nn", ["torch"]),
    ],
)
def test_imports_are_found(text: str, found: list[str], tmp_path: Path) -> None:
    path = tmp_path / "anew.py"
    path.write_text(text, "utf-8")
    assert [one.imported for one in imports_of(File("initdsl.planning.anew", path))] == found


# ---- late imports


@cache
def loaded_with(module: str) -> frozenset[str]:
    """Return what is imported when a module is: modules of the package, and first words of others."""
    at_once = defaultdict(set)
    for one in imports():
        if not one.late and not one.for_types:
            at_once[one.importer].add(one.imported)
    loaded: set[str] = set()
    waiting = [module]
    while waiting:
        if (name := waiting.pop()) not in loaded:
            loaded.add(name)
            waiting += at_once[name]
            waiting += [name.rpartition(".")[0]] if name.startswith("initdsl.") else []
    return frozenset(loaded)


# imports inside functions that save no heavy package, and what they are good for
LATE = {
    ("initdsl", "initdsl.text.failures"): "the first file of the command line imports nothing at once",
    ("initdsl.linter.against_network", "initdsl.planning.resolve"): "files alone are linted without planning",
    ("initdsl.linter.against_network", "initdsl.planning.shared_memory"): "files alone are linted without planning",
    ("initdsl.linter.plan_helpers", "initdsl.planning.actions"): "files alone are linted without planning",
    ("initdsl.linter.definition", "initdsl.linter.lints"): "each lint imports what defines lints",
}
# those that nothing speaks for
NEEDLESS: set[tuple[str, str]] = {
    ("initdsl.api.plan", "initdsl.network.describe"),
    ("initdsl.api.report", "initdsl.reports.measure"),
    ("initdsl.checkpoints.writing", "initdsl.network.wrappers"),
    ("initdsl.linter.plan_helpers", "initdsl.planning.resolve"),
    ("initdsl.planning.names", "initdsl.language.expressions.shapes"),
}


def test_an_import_inside_a_function_saves_a_heavy_package() -> None:
    """The command line imports what a command needs when it is called; all else says what it saves."""
    late = [one for one in imports() if one.late and not one.for_types and not one.importer.startswith("initdsl.cli")]
    light = [one for one in late if not HEAVY & (loaded_with(one.imported) - loaded_with(one.importer))]
    light = [one for one in light if not (one.imported in HEAVY or (one.importer, one.imported) in LATE)]
    assert {(one.importer, one.imported) for one in light} <= NEEDLESS, "\n".join(map(str, light))


# ---- without torch

BARRIER = """
import sys
class Barrier:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ImportError("torch is imported")
sys.meta_path.insert(0, Barrier())
"""


def without_torch(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own that cannot import torch."""
    return subprocess.run(
        [sys.executable, "-c", BARRIER + program], capture_output=True, text=True, check=False, cwd=ROOT
    )


IMPORT_ALL = """
import importlib
for module in {modules!r}:
    importlib.import_module(module)
"""
USE = """
import initdsl
rules = initdsl.parse("Linear.weight ~ normal(0, 0.02); Linear.bias = 0")
initdsl.RuleSet.model_validate_json(rules.model_dump_json())
assert initdsl.format("Linear.bias=0") == "Linear.bias = 0\\n"
initdsl.lint("examples/02_by_type.init")
"""


@pytest.mark.parametrize("server", [False, pytest.param(True, marks=pytest.mark.needs("pygls"))])
def test_files_alone_load_no_torch(server: bool) -> None:
    modules = [file.module for file in files() if file.folder in LIGHT and (file.folder == "server") == server]
    done = without_torch(IMPORT_ALL.format(modules=modules) + USE)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("folder", ["filling", "streams", "statistics"])
def test_loading_torch_is_noticed(folder: str) -> None:
    done = without_torch(IMPORT_ALL.format(modules=[file.module for file in files() if file.folder == folder]))
    assert done.returncode != 0
    assert "torch is imported" in done.stderr


def test_a_plan_on_a_manifest_loads_no_torch(tmp_path: Path) -> None:
    network, _ = initdsl.describe(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
    (tmp_path / "net.json").write_text(json.dumps(network.to_manifest()), "utf-8")
    program = f"""
import initdsl, json
with open({str(tmp_path / "net.json")!r}) as file:
    network = initdsl.Network.from_manifest(json.load(file))
print(initdsl.plan(network, "Linear.weight ~ xavier_uniform(); Linear.bias = 0; net[0].bias += len(net)", strict=True))
"""
    done = without_torch(program)
    assert done.returncode == 0, done.stderr
    assert "4 set (12 elements)" in done.stdout
