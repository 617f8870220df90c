"""Without torch, numpy and safetensors: files alone work, and whatever needs a model says in one line what to install."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

import initdsl
from initdsl.cli.program import COMMANDS as COMMANDS_THERE_ARE

HINT = "pip install 'initdsl[torch]'"

BARRIER = """
import sys
class Barrier:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "numpy", "safetensors"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Barrier())
"""
COMMANDS = """
import json
from click.testing import CliRunner
from initdsl.cli.program import group
said = {}
for words in json.loads(sys.argv[1]):
    done = CliRunner().invoke(group, words.split())
    said[words] = [done.exit_code, done.stdout, done.stderr, repr(done.exception)]
print(json.dumps(said))
"""
NAMES = """
import json, initdsl
said = {}
for name in initdsl.__all__:
    try:
        getattr(initdsl, name)
    except ImportError as error:
        said[name] = str(error)
print(json.dumps(said))
"""

FINE = [
    "lint a.init", "fmt --check a.init", "list initializers", "list recipes", "list lints", "help", "help idioms",
    "lint a.init --manifest net.json", "plan a.init --manifest net.json", "plan a.init --manifest net.json -o plan.html",
    "explain weight a.init --manifest net.json", "diff a.init a.init --manifest net.json", "convert cfg.json", "--help",
    "lsp --help", "--version", *(f"{command} --help" for command in COMMANDS_THERE_ARE if command != "lsp"),
]  # fmt: skip
NEEDING = [
    "apply a.init --model m.py:net", "plan a.init --model m.py:net", "explain weight a.init --model m.py:net",
    "verify a.init x.safetensors --model m.py:net", "diagnose a.init --model m.py:net", "infer --model m.py:net",
    "manifest --model m.py:net", "lint a.init --model m.py:net", "diff a.init a.init --model m.py:net",
    "plan loading.init --manifest net.json",
]  # fmt: skip


def run(program: str, folder: Path, *arguments: str) -> dict[str, list[object]]:
    done = subprocess.run(
        [sys.executable, "-c", BARRIER + program, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[object]] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[object]]:
    folder = tmp_path_factory.mktemp("files")
    network, _ = initdsl.describe(nn.Linear(3, 2))
    (folder / "net.json").write_text(json.dumps(network.to_manifest()), "utf-8")
    (folder / "a.init").write_text("Linear.weight ~ normal(0, 1 / sqrt(fan_in))\nLinear.bias   = 0\n", "utf-8")
    (folder / "loading.init").write_text('net = load("x.safetensors")\n', "utf-8")
    (folder / "x.safetensors").write_bytes(b"")
    (folder / "cfg.json").write_text('[["weight", {"type": "normal"}]]', "utf-8")
    (folder / "m.py").write_text("net = None\n", "utf-8")
    return run(COMMANDS, folder, json.dumps(FINE + NEEDING))


@pytest.mark.parametrize("words", FINE)
def test_files_alone_work(said: dict[str, list[object]], words: str) -> None:
    code, _, errors, exception = said[words]
    assert code == 0, exception
    assert "error" not in str(errors)


@pytest.mark.parametrize("words", NEEDING)
def test_what_needs_torch_says_so_in_a_line(said: dict[str, list[object]], words: str) -> None:
    code, output, errors, exception = said[words]
    assert (code, output) == (2, ""), exception
    first, hint = str(errors).splitlines()
    assert first.startswith("error[missing-library]: this needs ")
    assert hint.strip() == f"= hint: {HINT}"


def test_version_says_what_brings_torch(said: dict[str, list[object]]) -> None:
    assert HINT in str(said["--version"][1])


def test_functions_that_need_torch_say_so(tmp_path: Path) -> None:
    lacking = run(NAMES, tmp_path)
    assert {"apply", "materialize", "stream", "verify", "diagnose", "infer"} <= set(lacking)
    for name, text in lacking.items():
        assert text in (f"initdsl.{name} needs {library}: {HINT}" for library in ("torch", "numpy"))
    assert not {"lint", "format", "parse", "load", "plan", "convert", "Network", "Plan", "RuleSet"} & set(lacking)
