"""Initializers of one's own on the command line: `--import`, the setting under `--trust`, and entry points without torch."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import processes

RULES = "Linear.weight = my_init_of_mine(3)\nLinear.bias = 0\n"
CODE = "import initdsl\n@initdsl.initializer\ndef my_init_of_mine(tensor, by: float = 1):\n    '''All the same.'''\n    tensor.fill_(by)\n"
MODEL = "from torch import nn\ndef net(): return nn.Sequential(nn.Linear(2, 2))\n"


def run(folder: Path, *words: str, code: int = 0) -> str:
    done = processes.python("-m", "initdsl", *words, cwd=folder)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "r.init").write_text(RULES)
    (tmp_path / "own_inits.py").write_text(CODE)
    (tmp_path / "a_net.py").write_text(MODEL)
    return tmp_path


@pytest.mark.parametrize("module", ["own_inits", "own_inits.py"])
def test_every_command_imports_them(folder: Path, module: str) -> None:
    net = ("--model", "a_net:net", "--import", module)
    assert "my_init_of_mine(3)" in run(folder, "plan", "r.init", *net)
    assert "my_init_of_mine" in run(folder, "explain", "0.weight", "r.init", *net)
    run(folder, "apply", "r.init", *net, "-o", "out.safetensors")
    run(folder, "verify", "r.init", "out.safetensors", *net)
    run(folder, "lint", "r.init", "--import", module)
    assert "my_init_of_mine(by=1)" in run(folder, "list", "initializers", "--import", module)


def test_without_it_a_hint_says_how(folder: Path) -> None:
    assert "--import my_init" in run(folder, "plan", "r.init", "--model", "a_net:net", code=2)
    assert "`--import` runs it" in run(folder, "lint", "r.init", code=1)
    assert "no module is named `nothing`" in run(
        folder, "plan", "r.init", "--model", "a_net:net", "--import", "nothing", code=2
    )


def test_the_setting_runs_under_trust_alone(folder: Path) -> None:
    (folder / "pyproject.toml").write_text('[tool.initdsl]\nimport = ["own_inits"]\n')
    run(folder, "plan", "r.init", "--model", "a_net:net", "--trust")
    run(folder, "lint", "r.init", "--trust")
    assert "no initializer is named" in run(folder, "plan", "r.init", "--model", "a_net:net", code=2)
    run(folder, "lint", "r.init", code=1)


ENTRY = """
import sys
from importlib import metadata
from pathlib import Path
entry = metadata.EntryPoint("my_init_of_mine", "own_inits:my_init_of_mine", "initdsl.initializers")
metadata.entry_points = lambda group=None, **_: [entry] if group == entry.group else []
import initdsl
from initdsl.server.findings import findings
from initdsl.server.known import known_at
from initdsl.initializers import default_registry
assert not initdsl.lint("r.init"), initdsl.lint("r.init")
path = str(Path("r.init").absolute())
assert not findings(path, Path("r.init").read_text(), known_at(path))
assert "my_init_of_mine" in default_registry()
assert "torch" not in sys.modules and "own_inits" not in sys.modules
from torch import nn
net = nn.Linear(2, 2)
initdsl.apply(net, "Linear.* = my_init_of_mine(3)")
assert net.weight.unique().tolist() == [3]
"""


def test_an_entry_point_loads_no_torch(folder: Path) -> None:
    done = processes.python("-c", ENTRY, cwd=folder, fresh=True)
    assert done.returncode == 0, done.stderr


TAKEN = """
from importlib import metadata
looked = []
def entry_points(group=None, **_):
    ours = group == "initdsl.initializers"
    looked.extend([group] * ours)
    return [metadata.EntryPoint("normal", "a:b", group)] if ours else []
metadata.entry_points = entry_points
import initdsl
from torch import nn
initdsl.apply(nn.Linear(2, 2), "let a = sqrt(4); Linear.* ~ normal(0, min(a, 1) / sqrt(2)); Linear.bias = 0")
print(looked)
try:
    initdsl.plan(nn.Linear(2, 2), "Linear.* ~ of_another_package()")
except ValueError as error:
    print(error)
"""


def test_packages_are_looked_through_for_names_that_are_not_built_in(folder: Path) -> None:
    done = processes.python("-c", TAKEN, cwd=folder, fresh=True)
    assert done.stdout.splitlines() == ["[]", "`normal` is a built-in initializer; give yours another name"], (
        done.stderr
    )
