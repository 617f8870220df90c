"""`initdsl diff`: rule files, saved plans and git revisions, and what can't be compared."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest
from click.testing import Result

from tests.support.command import run

NET = """
from torch import nn
def small():
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
def large():
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2), nn.Linear(2, 2))
"""
OLD = "Linear.weight ~ normal(0, 0.02)\nLinear.bias = 0\n"
MODEL = ("--model", "net.py:small")


def initdsl(*words: str) -> Result:
    return run(shlex.join(words))


def git(*words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *words], check=True, capture_output=True)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "old.init").write_text(OLD)
    (tmp_path / "new.init").write_text(f"{OLD}net[1].weight = 0\n")
    return tmp_path


def test_exit_codes_and_formats() -> None:
    done = initdsl("diff", "old.init", "new.init", *MODEL)
    assert done.exit_code == 1
    assert "1.weight" in done.stdout
    assert "old.init:1 -> new.init:3" in done.stdout
    assert initdsl("diff", "old.init", "old.init", *MODEL).exit_code == 0
    assert json.loads(initdsl("diff", "old.init", "new.init", *MODEL, "--format", "json").stdout)["changed"] is True
    assert initdsl("diff", "old.init", "new.init", *MODEL, "--format", "markdown").stdout.startswith(
        "**Initialization:**"
    )


def test_another_network_for_one_side() -> None:
    done = initdsl("diff", "old.init", "old.init", "--old-model", "net.py:small", "--new-model", "net.py:large")
    assert done.exit_code == 1
    assert done.stdout.endswith("2 new; 4 as before (17 elements)\n")


def test_a_saved_plan(folder: Path) -> None:
    assert initdsl("plan", "old.init", *MODEL, "-o", "plan.json").exit_code == 0
    (folder / "old.init").unlink()
    assert initdsl("diff", "plan.json", "new.init", *MODEL).exit_code == 1
    (folder / "plan.json").write_text("{}")
    done = initdsl("diff", "plan.json", "new.init", *MODEL)
    assert done.exit_code == 2
    assert "plan.json" in done.stderr


def test_a_revision(folder: Path) -> None:
    rules = folder / "rules"
    rules.mkdir()
    (rules / "base.init").write_text(OLD)
    (rules / "net.init").write_text('use "base.init"\n')
    initdsl("manifest", *MODEL, "-o", "net.json")
    git("init", "-q", ".")
    git("add", "-A")
    git("commit", "-qm", "first")
    (rules / "base.init").write_text(OLD.replace("0.02", "0.01"))
    done = initdsl("diff", "HEAD:rules/net.init", "rules/net.init", *MODEL)
    assert done.exit_code == 1
    assert "x0.5" in done.stdout
    assert "2 drawn otherwise" in done.stdout
    (folder / "net.json").write_text("{}")
    manifests = ("--old-manifest", "HEAD:net.json", "--new-manifest", "HEAD:net.json")
    assert initdsl("diff", "HEAD:rules/net.init", "HEAD:rules/net.init", *manifests).exit_code == 0
    assert (rules / "base.init").read_text() != OLD  # nothing was checked out


@pytest.mark.parametrize(("old", "said"), [
    ("v9:old.init", "git has no revision named `v9`"),
    ("--help:old.init", "git has no revision named `--help`"),
    ("HEAD:none.init", "there is no file `none.init` at `HEAD`"),
    ("HEAD:rules", "there is no file `rules` at `HEAD`"),
    ("HEAD:../old.init", "`../old.init` lies outside the repository"),
    ("HEAD:/etc/passwd", "`/etc/passwd` lies outside the repository"),
    ("HEAD:away.init", "lies outside the repository"),
    ("HEAD:gone.init", "there is no file `nowhere.init` at `HEAD`"),
    ("HEAD:binary.init", "is not UTF-8"),
])  # fmt: skip
def test_what_a_revision_lacks(old: str, said: str, folder: Path) -> None:
    (folder / "rules").mkdir()
    (folder / "rules" / "a.init").write_text(OLD)
    (folder / "away.init").write_text('use "../away.init"\n')
    (folder / "gone.init").write_text('use "nowhere.init"\n')
    (folder / "binary.init").write_bytes(b"\xff\xfe\x00")
    git("init", "-q", ".")
    git("add", "-A")
    git("commit", "-qm", "first")
    done = initdsl("diff", *MODEL, "--", old, "new.init")
    assert done.exit_code == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_no_repository_and_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    done = initdsl("diff", "HEAD:old.init", "new.init", *MODEL)
    assert (done.exit_code, "in no git repository" in done.stderr) == (2, True)
    done = initdsl("diff", "old.init", "new.init")
    assert (done.exit_code, "--model" in done.stderr) == (2, True)
    assert initdsl("diff", "old.init", "none.init", *MODEL).exit_code == 2


def test_the_model_of_settings_runs_where_it_is_trusted(folder: Path) -> None:
    (folder / "pyproject.toml").write_text('[tool.initdsl]\nmodel = "net.py:small"\n')
    done = initdsl("diff", "old.init", "new.init")
    assert (done.exit_code, "--trust" in done.stderr) == (2, True)
    assert initdsl("diff", "old.init", "new.init", "--trust").exit_code == 1
