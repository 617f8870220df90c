"""`initdsl apply --stream`: what it writes, refuses and shows."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest
from torch import nn

import initdsl
from tests.support.code import ROOT
from tests.support.processes import start
from tests.support.streamed import MLP, on_one_thread, same, tensors

# ---- the command


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "rules.init").write_text(MLP)
    (tmp_path / "net.py").write_text(
        "from torch import nn\nmake = lambda: nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Linear(64, 64))\n"
        "net = make()\ndef broken():\n    raise ValueError('mine')\n"
    )
    return tmp_path


def command(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return on_one_thread("-c", "from initdsl.cli import main; main()", "apply", "rules.init", *words, cwd=project)


def test_the_command_streams(project: Path) -> None:
    done = command(project, "--model", "net.py:make", "--seed", "4", "-o", "out/", "--max-shard-size", "20KB")
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert "~ normal(0, 0.02)" in done.stdout
    assert len(list((project / "out").iterdir())) == 3
    net = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Linear(64, 64))
    initdsl.apply(net, MLP + "; default BatchNorm1d", seed=4)
    assert all(same(t, net.state_dict()[name]) for name, t in tensors(project / "out").items())


@pytest.mark.parametrize(("words", "said"), [
    (("--model", "net.py:make", "-o", "out/"), "error[usage]: a model is streamed to a folder from a seed"),
    (("--model", "net.py:make", "-o", "out.pt", "--seed", "1"), "is not a .safetensors file"),
    (("--model", "net.py:make", "-o", "x.safetensors", "--seed", "1", "--max-shard-size", "5GB"), "--max-shard-size is for"),
    (("--model", "net.py:make", "-o", "out/", "--seed", "1", "--max-shard-size", "5XB"), "`5XB` is no size; write `5GB`"),
    (("--model", "net.py:broken", "-o", "out/", "--seed", "1"), "`net.py:broken` raised ValueError: mine"),
])  # fmt: skip
def test_the_command_refuses(words: tuple[str, ...], said: str, project: Path) -> None:
    done = command(project, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / "out").exists()


def test_the_command_will_not_mix(project: Path) -> None:
    words = ("--model", "net.py:make", "-o", "out/", "-q")
    assert command(project, *words, "--seed", "4").returncode == 0
    done = command(project, *words, "--seed", "5")
    assert done.returncode == 2
    assert "it has seed 4, not 5" in done.stderr
    assert "= hint: write to another folder" in done.stderr


def test_a_terminal_sees_a_bar(project: Path) -> None:
    (project / "net.py").write_text(
        "import initdsl.filling.to_disk.stream\ninitdsl.filling.to_disk.stream.CHUNK = 1 << 14\nfrom torch import nn\nmake = lambda: nn.Linear(4096, 4096)\n"
    )
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"}
    words = ["apply", "rules.init", "--model", "net.py:make", "--seed", "1", "-o", "out/"]
    program = start("-c", "from initdsl.cli import main; main()", *words, cwd=project, env=environment, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 1 << 16):
            shown += part
    except OSError:  # the other end is closed
        pass
    done = program.done(60)
    os.close(ours)
    assert done.returncode == 0
    assert "~ normal(0, 0.02)" in done.stdout
    assert "writing" not in done.stdout
    text = shown.decode()
    assert "writing" in text
    assert "/67.1 MB" in text
    assert "B/s" in text
    assert "0:00:0" in text
