"""What others copy into their repositories: the hooks' and the workflow's commands, run as they stand there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOOKS = (ROOT / ".pre-commit-hooks.yaml").read_text("utf-8")
WORKFLOW = (ROOT / "editors" / "ci" / "github.yml").read_text("utf-8")

WRONG = "Linear.weight ~ kaimin_normal()\n"
UGLY = "Linear.weight~normal(0,0.02)\n"
FINE = "Linear.weight ~ normal(0, 0.02)\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder, and the program beside it."""
    (tmp_path / "rules").mkdir()
    program = tmp_path / "initdsl"
    program.write_text(f"#!{sys.executable}\nfrom initdsl.cli import main\nmain()\n")
    program.chmod(0o755)
    return tmp_path / "rules"


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder.parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.run(["bash", "-e", "-c", command], cwd=folder, env=environment, capture_output=True, text=True)


def test_the_hooks_find_and_lay_out(folder: Path) -> None:
    lint, fmt, lock = re.findall(r"entry: (.*)", HOOKS)
    for name, text in (("wrong", WRONG), ("ugly", UGLY), ("fine", FINE)):
        (folder / f"{name}.init").write_text(text)
    files = re.compile(re.findall(r"files: (.*)", HOOKS)[0])
    assert [name for name in ("a.init", "a/b.init", "a.ini", "__init__.py") if files.search(name)] == [
        "a.init",
        "a/b.init",
    ]
    assert shell(f"{lint} fine.init ugly.init", folder).returncode == 0
    done = shell(f"{lint} fine.init wrong.init", folder)
    assert (done.returncode, "unknown-initializer" in done.stdout) == (1, True)
    assert shell(f"{fmt} fine.init ugly.init", folder).returncode == 0
    assert (folder / "ugly.init").read_text() == FINE
    (folder / "net.py").write_text("from torch import nn\nnet = nn.Linear(2, 2)\n")
    assert shell("initdsl manifest --model net.py:net -o net.json", folder).returncode == 0
    assert shell("initdsl lock fine.init --manifest net.json", folder).returncode == 0
    assert shell(lock, folder).returncode == 0
    (folder / "fine.init").write_text(FINE + "Linear.weight ~ normal(0, 7)\n")
    assert shell(lock, folder).returncode == 1


@pytest.mark.parametrize(("text", "codes"), [(WRONG, [1, 0, 0]), (UGLY, [0, 1, 0]), (FINE, [0, 0, 0])])
def test_the_workflow_fails_where_it_should(text: str, codes: list[int], folder: Path) -> None:
    steps = [step for step in re.findall(r"run: (.*)", WORKFLOW) if step.startswith("initdsl ")]
    (folder / "a.init").write_text(text)
    assert [shell(step, folder).returncode for step in steps] == codes
    log = json.loads((folder / "initdsl.sarif").read_text("utf-8"))
    assert len(log["runs"][0]["results"]) == (text == WRONG)
