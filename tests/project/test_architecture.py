"""What docs/architecture.md says of the code, held against the code."""

from __future__ import annotations

import ast
import copy
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

import initdsl

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "initdsl"
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def section(title: str) -> str:
    """The text below a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def units(title: str) -> list[str]:
    """The modules and folders of one table of the map: `source`, `linter`."""
    return [
        name.removesuffix(".py").removesuffix("/")
        for name in re.findall(r"^\| `([\w/.]+)`", section(title), re.MULTILINE)
    ]


FILES, READERS, EFFECTS = units("Files alone"), units("Rules on a described network"), units("Effects")
MAP = [*FILES, *READERS, *EFFECTS]
AGAINST = {
    (row[0], to)
    for row in re.findall(r"^\| `(\w+)` \| (.*?) \|", section("Against the current"), re.MULTILINE)
    for to in re.findall(r"`(\w+)`", row[1])
}


@dataclass(frozen=True)
class Import:
    """One import of a unit of the package by another; `late` inside a function."""

    importer: str
    imported: str
    late: bool


def unit_of(parts: tuple[str, ...]) -> str:
    return parts[0] if parts else "__init__"


def files() -> Iterator[tuple[tuple[str, ...], Path]]:
    """Every module of the package: its name within it, in parts, and its file."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield parts[:-1] if parts[-1] == "__init__" else parts, path


def imports_of(parts: tuple[str, ...], path: Path, text: str) -> Iterator[Import]:
    """The imports of other units of the package, those for type checkers left out."""
    package = parts if path.name == "__init__.py" else parts[:-1]
    names = {unit for parts, _ in files() if (unit := unit_of(parts))}

    def found(node: ast.AST, late: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.ImportFrom):
                module = tuple((child.module or "").split(".")) if child.module else ()
                if child.level:
                    base = package[: len(package) - child.level + 1]
                    target = (*base, *module)
                elif module[:1] == ("initdsl",):
                    target = module[1:]
                else:
                    continue
                for alias in child.names:
                    inner = (*target, alias.name) if not target and alias.name in names else target
                    yield unit_of(inner), late
            elif isinstance(child, ast.Import):
                for alias in child.names:
                    if alias.name.partition(".")[0] == "initdsl":
                        yield unit_of(tuple(alias.name.split(".")[1:])), late
            yield from found(child, late or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))

    for imported, late in found(ast.parse(text), False):
        if imported != unit_of(parts):
            yield Import(unit_of(parts), imported, late)


def wrong(found: Import) -> bool:
    """Whether an import goes down the map without leave. The package itself stands for what it imports at once."""
    if found.imported == "__init__":
        return MAP.index(found.importer) < MAP.index("__init__")
    down = MAP.index(found.imported) > MAP.index(found.importer)
    return down and not (found.late and (found.importer, found.imported) in AGAINST)


def test_every_module_is_on_the_map() -> None:
    assert sorted(MAP) == sorted({unit_of(parts) for parts, _ in files()})


def test_imports_point_up_the_map() -> None:
    found = [i for parts, path in files() for i in imports_of(parts, path, path.read_text("utf-8"))]
    assert len(found) > 100
    assert not {i for i in found if wrong(i)}


def test_imports_against_the_current_are_all_there() -> None:
    found = {i for parts, path in files() for i in imports_of(parts, path, path.read_text("utf-8"))}
    late = {(i.importer, i.imported) for i in found if i.late}
    assert late >= AGAINST


@pytest.mark.parametrize(
    ("text", "is_wrong"),
    [
        ("from .resolver import resolve", True), ("from . import executor", True), ("import initdsl.api", True),
        ("from initdsl.resolver import resolve", True), ("def f():\n    from .executor import execute", False),
        ("def f():\n    from .resolver import resolve", True), ("from .nodes import Rule", False),
        ("if TYPE_CHECKING:\n    from .report import Report", False), ("import json", False),
        ("from .executor import execute", True),
    ],
)  # fmt: skip
def test_a_wrong_import_is_found(text: str, is_wrong: bool) -> None:
    found = list(imports_of(("plans",), PACKAGE / "plans.py", text))
    assert any(map(wrong, found)) is is_wrong


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
import importlib, json, pkgutil
for unit in {units!r}:
    module = importlib.import_module("initdsl." + unit)
    for inner in pkgutil.walk_packages(getattr(module, "__path__", []), module.__name__ + "."):
        importlib.import_module(inner.name)
import initdsl
rules = initdsl.parse("Linear.weight ~ normal(0, 0.02); Linear.bias = 0")
initdsl.RuleSet.model_validate_json(rules.model_dump_json())
assert initdsl.format("Linear.bias=0") == "Linear.bias = 0\\n"
initdsl.lint("examples/02_by_type.init")
"""


def test_files_alone_load_no_torch() -> None:
    done = without_torch(IMPORT_ALL.format(units=[*FILES, *READERS]))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("unit", ["executor", "streams", "materializing"])
def test_loading_torch_is_noticed(unit: str) -> None:
    done = without_torch(IMPORT_ALL.format(units=[unit]))
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


# ---- absences


def calls(text: str) -> Iterator[str]:
    """The names of all functions and methods a module calls."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            yield node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def plain_calls(text: str) -> Iterator[str]:
    """The names of all functions a module calls that belong to no object."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


def callers(names: set[str], above: list[str]) -> set[str]:
    """The files of some units that call a function of these names."""
    return {
        path.relative_to(PACKAGE).as_posix()
        for parts, path in files()
        if unit_of(parts) in above and names & set(plain_calls(path.read_text("utf-8")))
    }


def in_place(text: str) -> set[str]:
    """Methods that work in place, by torch's naming: `copy_`, `normal_`."""
    methods = {name for name in calls(text) if re.fullmatch(r"[a-z]\w*[a-z0-9]_", name)}
    return {name for name in methods if hasattr(torch.Tensor, name) or hasattr(nn.init, name)}


def test_rules_never_run_python() -> None:
    running = {"eval", "exec", "compile", "__import__"}
    assert callers(running, [*FILES, *READERS]) == {"initializers/registry.py"}
    assert callers({"import_module"}, [*FILES, *READERS]) == set()
    imported = [
        path
        for parts, path in files()
        if re.search(r"^\s*(import|from) (pickle|marshal|shelve)\b", path.read_text("utf-8"), re.MULTILINE)
    ]
    # of a DCP directory's metadata, which is one: an unpickler that knows a dozen names, with a test that it is so
    assert [path.name for path in imported] == ["stores.py"]


def test_only_the_effects_write() -> None:
    writing = {unit_of(parts) for parts, path in files() if in_place(path.read_text("utf-8"))}
    assert writing <= {
        "adjusting",
        "by_parts",
        "executor",
        "sharded",
        "seeded",
        "streams",
        "initializers",
        "materializing",
        "streaming",
    }
    assert {"executor", "initializers", "streams"} <= writing  # or nothing was looked for


def test_only_the_command_line_prints() -> None:
    assert callers({"print", "exit", "input"}, [unit for unit in MAP if unit != "cli"]) == set()
    exits = {unit_of(parts) for parts, path in files() if {"exit", "echo"} & set(calls(path.read_text("utf-8")))}
    assert exits == {"cli"}


class Curious(nn.Module):
    """A module whose code says when it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 3
        self.inner = nn.Linear(2, 2)

    @property
    def scale(self) -> float:
        raise AssertionError("a property ran")

    def __getattr__(self, name: str) -> object:
        if name not in ("inner", "_parameters", "_modules", "_buffers"):
            raise AssertionError(f"`__getattr__` ran for {name}")
        return super().__getattr__(name)


def test_describing_runs_no_properties() -> None:
    network, _ = initdsl.describe(Curious())
    assert network.modules[0].attributes() == {"size": 3}
    network.to_manifest()
    with pytest.raises(initdsl.ResolveError, match="`scale` has no value"):
        initdsl.plan(network, "Curious { .inner.weight = scale }")


def test_a_plan_changes_nothing() -> None:
    net = nn.Sequential(
        nn.Linear(4, 4),
        nn.BatchNorm1d(4),
        nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)),
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)),
        nn.MultiheadAttention(4, 2),
    ).train()
    rules = """
    Linear+.weight ~ normal(0, 1) * 2
    Linear+.bias = 1
    *.weight += 1
    default BatchNorm1d
    net[1].running_mean = 3
    tie net[0].bias net[2].bias
    copy net[0].bias net[3].bias
    net[4].in_proj_weight as (3, 4, 4)[*] ~ orthogonal()
    keep net[4].in_proj_bias
    """
    tensors = [*net.parameters(), *net.buffers()]
    values = copy.deepcopy([t.detach() for t in tensors])
    versions = [t._version for t in tensors]
    modes = [m.training for m in net.modules()]
    state, python_state = torch.random.get_rng_state(), random.getstate()
    plan = initdsl.plan(net, rules, strict=True)
    str(plan), plan.to_dict(), [plan.explain(entry.name) for entry in plan]
    assert [id(t) for t in (*net.parameters(), *net.buffers())] == [id(t) for t in tensors]
    assert all(torch.equal(a, b) for a, b in zip(tensors, values, strict=True))
    assert [t._version for t in tensors] == versions
    assert [m.training for m in net.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), state)
    assert random.getstate() == python_state
    plan.apply()
    assert [t._version for t in tensors] != versions  # or versions would tell nothing
    assert not torch.equal(torch.random.get_rng_state(), state)


def test_every_test_it_names_is_there() -> None:
    named = 0
    for block in re.findall(r"^- .*?(?=^- |^\S|\Z)", section("Invariants"), re.MULTILINE | re.DOTALL):
        file = None
        for path, test in re.findall(r"`(tests/\w+\.py)?(?:::(\w+))?`", block):
            if not path and not test:
                continue
            file = ROOT / path if path else file
            assert file is not None
            text = file.read_text("utf-8")
            assert not test or f"def {test}(" in text, test
            named += 1
    assert named > 10


def test_every_file_it_names_is_there() -> None:
    for title in ("Files alone", "Rules on a described network", "Effects"):
        for name in re.findall(r"^\| `([\w/.]+)`", section(title), re.MULTILINE):
            assert (PACKAGE / name).exists(), name
    for row in re.findall(r"^\| (`[^|]*) \|", section("Beside the package"), re.MULTILINE):
        for name in re.findall(r"`([^`]+)`", row):
            assert (ROOT / name).exists(), name
