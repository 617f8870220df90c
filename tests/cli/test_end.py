"""The end of a program: whatever the code of a model has loaded, nothing is said of it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from initdsl.cli.program import COMMANDS
from tests.support import processes

MODEL = "from torch import nn\ndef make(): return nn.Sequential(nn.Linear(8, 9))\n"
RULES = "Linear.weight ~ normal(0, 0.02)\nLinear.bias   = 0\n"
NET = ("--model", "net.py:make")
WORDS = {
    "apply": ("apply", "r.init", *NET, "--seed", "3", "-o", "out.safetensors"),
    "convert": ("convert", "settings.json"),
    "diff": ("diff", "r.init", "r.init", *NET),
    "diagnose": ("diagnose", "r.init", *NET, "--input-shape", "2,8"),
    "explain": ("explain", "0.weight", "r.init", *NET),
    "help": ("help",),
    "infer": ("infer", *NET),
    "lint": ("lint", "r.init", *NET),
    "fmt": ("fmt", "--check", "r.init"),
    "list": ("list", "lints"),
    "lock": ("lock", "r.init", *NET, "--seed", "3", "--values"),
    "lsp": ("lsp",),
    "manifest": ("manifest", *NET),
    "plan": ("plan", "r.init", *NET),
    "verify": ("verify", "r.init", "a.safetensors", *NET, "--seed", "3"),
}

SAID = {"fmt": "1 file already formatted\n", "lint": "no findings in 1 file\n"}


def message(**content: object) -> str:
    body = json.dumps({"jsonrpc": "2.0", **content})
    return f"Content-Length: {len(body)}\r\n\r\n{body}"


# what the server is asked: to start, and to end
SESSION = (
    message(id=1, method="initialize", params={"processId": None, "rootUri": None, "capabilities": {}})
    + message(method="initialized", params={}) + message(id=2, method="shutdown") + message(method="exit")
)  # fmt: skip


# of all ways in which it comes into a program the worst: before it, and exempt from collection
FROZEN = "import gc, triton; gc.freeze(); from initdsl.cli import main; main()"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(MODEL)
    (tmp_path / "r.init").write_text(RULES)
    (tmp_path / "settings.json").write_text('{"init_cfg": {"type": "Normal", "layer": "Linear", "std": 0.01}}')
    return tmp_path


def run(folder: Path, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return processes.command(*words, cwd=folder, whole_end=True, **options)


@pytest.mark.needs("triton")
@pytest.mark.parametrize("name", COMMANDS)
def test_triton_counts_no_leaks(name: str, folder: Path) -> None:
    if name == "verify":
        run(folder, *WORDS["apply"][:-1], "a.safetensors")
    given = SESSION if name == "lsp" else ""
    done = processes.python(
        "-c", FROZEN, *WORDS[name], cwd=folder, input=given, imports=("torch", "triton"), whole_end=True
    )
    assert (done.returncode, done.stderr) == (0, SAID.get(name, ""))


@pytest.mark.needs("triton")
@pytest.mark.parametrize(
    ("words", "code"),
    [(WORDS["apply"], 0), (("plan", "r.init", "--model", "net.py:nothing"), 2), (("plan", "wrong.init", *NET), 2)],
)
@pytest.mark.parametrize("module", ["triton", "torch._dynamo"])
def test_nor_where_a_model_loads_it(words: tuple[str, ...], code: int, module: str, folder: Path) -> None:
    (folder / "net.py").write_text(f"import {module}\n{MODEL}")
    (folder / "wrong.init").write_text("Linear.weight ~ norml(0, 1)\n")
    done = run(folder, *words)
    assert done.returncode == code
    assert "leaked" not in done.stderr
    assert bool(done.stderr) == (code != 0)


@pytest.mark.needs("triton")
def test_nor_where_it_fills(folder: Path) -> None:
    environment = {"INITDSL_KERNEL": "triton", "TRITON_INTERPRET": "1"}
    done = run(folder, *WORDS["apply"], env={**os.environ, **environment}, fresh=True)
    assert (done.returncode, done.stderr) == (0, "")


COUNTED = """
import os
class nb_meta(type): __module__ = "nanobind"
class Bound(metaclass=nb_meta):
    def __init__(self): self.itself = self
    def __del__(self): os.write(2, b"collected")
bound = Bound()
"""


def test_garbage_is_looked_for_where_what_is_left_is_counted(folder: Path) -> None:
    (folder / "net.py").write_text(COUNTED + MODEL)
    done = run(folder, *WORDS["plan"])
    assert (done.returncode, done.stderr) == (0, "collected")
