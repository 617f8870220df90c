"""What no command has foreseen: one line with how to report it, an exit code, and never a traceback."""

from __future__ import annotations

import errno
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import initdsl
from initdsl.cli.program import COMMANDS, group

ERRORS: list[Callable[[], BaseException]] = [
    lambda: AssertionError(),
    lambda: KeyError("a\nb"),
    lambda: RecursionError("maximum recursion depth exceeded"),
    lambda: RuntimeError("x" * 10_000),
    lambda: UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    lambda: StopIteration(),
]


def ended(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        group.main(arguments, prog_name="initdsl")
    assert isinstance(end.value.code, int)
    return end.value.code, capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_that_breaks_says_so_in_a_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = importlib.import_module(f"initdsl.cli.{name}").command
    monkeypatch.setattr(command, "params", [])
    monkeypatch.delenv("INITDSL_TRACEBACK", raising=False)
    for error in ERRORS:

        def broken(context: Any, error: Callable[[], BaseException] = error) -> None:
            raise error()

        monkeypatch.setattr(command, "invoke", broken)
        code, said = ended([name], capsys)
        assert code == 2
        first, hint = said.rstrip("\n").split("\n")
        assert first.startswith(f"error[internal-error]: {type(error()).__name__} in test_unforeseen.py")
        assert len(first) < 500
        assert "report this line" in hint
        assert "INITDSL_TRACEBACK=1" in hint


def test_where_it_comes_from_is_shown_on_demand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = importlib.import_module("initdsl.cli.list").command
    monkeypatch.setattr(command, "params", [])
    monkeypatch.setattr(command, "invoke", lambda context: 1 // 0)
    monkeypatch.setenv("INITDSL_TRACEBACK", "1")
    assert "Traceback" in ended(["list"], capsys)[1]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "lints"],
        ["list", "recipes"],
        ["lint", "--explain", "zero-std"],
        ["--help"],
        ["plan", "a.init", "--manifest", "a.json"],
        ["plan", "a.init", "--manifest", "a.json", "--format", "json"],
        ["explain", "net.weight", "a.init", "--manifest", "a.json"],
        ["lint", "a.init", "--manifest", "a.json"],
    ],
)
def test_a_full_device_is_said(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.init").write_text("net.weight = 1\nnet.weight = 2\nkeep net.bias\n")
    (tmp_path / "a.json").write_text(json.dumps(initdsl.describe(nn.Linear(2, 2))[0].to_manifest()))
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "initdsl", *arguments],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.endswith(
        f"error[usage]: can't write what there is to say: {os.strerror(errno.ENOSPC).lower()}\n"
    )
    assert "Traceback" not in done.stderr


MODEL = """
import sys
from torch import nn
def ends():
    sys.exit(0)
def silent():
    sys.stdout = sys.stderr = None
    return nn.Linear(2, 2)
class Asked:
    def __getattr__(self, name):
        sys.exit(0) if name == "ends" else 1 / 0
asked = Asked()
"""


def planned(factory: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    (folder / "model.py").write_text(MODEL)
    (folder / "a.init").write_text("Linear.weight = 1; keep Linear.bias")
    try:
        group.main(["plan", str(folder / "a.init"), "--model", f"{folder / 'model.py'}:{factory}"], prog_name="initdsl")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_factory_that_ends_the_program_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for factory in ("ends", "asked.ends", "asked.other"):
        code, out, err = planned(factory, tmp_path, capsys)
        assert (code, out) == (2, ""), factory
        assert "raised" in err


def test_a_model_that_takes_the_streams_away_gives_them_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = planned("silent", tmp_path, capsys)
    assert code == 0
    assert "weight" in out
