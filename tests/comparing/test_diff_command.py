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


def git(*words: str, folder: Path | None = None) -> None:
    who = (
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b",
        "-c",
        "commit.gpgsign=false",
        "-c",
        "protocol.file.allow=always",
    )
    subprocess.run(["git", *who, *words], check=True, capture_output=True, cwd=folder)


def committed() -> None:
    git("init", "-q", ".")
    git("add", "-A")
    git("commit", "-qm", "first")


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
    committed()
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
    committed()
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


# ---- a revision alone


@pytest.fixture
def project(folder: Path) -> Path:
    """Two rule files that have a model in the settings and one that has none, committed, then changed."""
    initdsl("manifest", *MODEL, "-o", "small.json")
    initdsl("manifest", "--model", "net.py:large", "-o", "large.json")
    (folder / "pyproject.toml").write_text(
        '[tool.initdsl.manifest]\n"old.init" = "small.json"\n"new.init" = "large.json"\n"gone.init" = "small.json"\n"fresh.init" = "small.json"\n'
    )
    (folder / "other.init").write_text(OLD)
    (folder / "gone.init").write_text(OLD)
    committed()
    return folder


def test_a_revision_alone(project: Path) -> None:
    done = initdsl("diff", "HEAD")
    assert done.exit_code == 0
    assert done.stdout.startswith("gone.init:\n  no change: 4 as before")
    assert "note: no model in the settings for `other.init`" in done.stderr
    (project / "old.init").write_text(OLD.replace("0.02", "0.2"))
    (project / "gone.init").unlink()
    (project / "fresh.init").write_text(OLD)
    done = initdsl("diff", "HEAD")
    assert done.exit_code == 1
    blocks = dict(
        block.split(":\n", 1) for block in done.stdout.rstrip("\n").split("\n\n") if not block.startswith(" ")
    )
    assert list(blocks) == ["fresh.init", "new.init", "old.init", "gone.init"]
    assert blocks["fresh.init"].startswith("  covered now:")
    assert blocks["new.init"].startswith("  no change: 6 as before")
    assert "x10" in blocks["old.init"]
    assert blocks["gone.init"].startswith("  no longer covered:")
    data = json.loads(initdsl("diff", "HEAD", "--format", "json").stdout)
    assert (data["format"], data["version"], data["changed"]) == ("initdsl-diffs", 1, True)
    assert [data["files"][name]["changed"] for name in ("new.init", "old.init")] == [False, True]
    comment = initdsl("diff", "HEAD", "--format", "markdown").stdout
    assert comment.startswith("**Initialization:** 3 of 4 rule files")
    assert "No change: `new.init`" in comment
    assert len(initdsl("diff", "HEAD", "--format", "markdown", "--max-length", "1000").stdout) <= 1000


def test_a_network_that_changed_since_a_revision(project: Path) -> None:
    initdsl("manifest", "--model", "net.py:large", "-o", "small.json")
    done = initdsl("diff", "HEAD")
    assert done.exit_code == 1
    assert done.stdout.count("2 new; 4 as before") == 2
    git("rm", "-q", "--cached", "small.json")
    git("commit", "-qm", "second")
    done = initdsl("diff", "HEAD")
    assert done.exit_code == 0
    assert "note: there is no file `small.json` at `HEAD`: the model is that of now" in done.stderr


def test_a_revision_in_a_folder_below(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = project / "below"
    below.mkdir()
    (below / "deep.init").write_text(OLD)
    (below / "pyproject.toml").write_text('[tool.initdsl]\nmanifest = "net.json"\n')
    (below / "net.json").write_text((project / "small.json").read_text())
    git("add", "-A")
    git("commit", "-qm", "second")
    (below / "deep.init").write_text("Linear.weight = 0\n")
    monkeypatch.chdir(below)
    done = initdsl("diff", "HEAD")
    assert (done.exit_code, done.stdout.split(":")[0]) == (1, "deep.init")


def test_what_a_revision_alone_needs(project: Path) -> None:
    for words, said in (
        (("v9",), "git has no revision named `v9`"),
        (("HEAD", "--model", "net.py:small"), "a revision alone"),
        (("HEAD", "--input-shape", "2,2"), "a description can't be run"),
        (("HEAD", "--input-shape", "2,two"), "is no shape"),
    ):
        done = initdsl("diff", *words)
        assert (done.exit_code, said in done.stderr) == (2, True), done.stderr
    (project / "pyproject.toml").write_text('[tool.initdsl]\nmodel = "net.py:small"\n')
    done = initdsl("diff", "HEAD")
    assert (done.exit_code, "--trust" in done.stderr) == (2, True)
    assert initdsl("diff", "HEAD", "--trust").exit_code == 0
    (project / "pyproject.toml").write_text("[tool.initdsl]\n")
    done = initdsl("diff", "HEAD")
    assert (done.exit_code, "no rule file has a model" in done.stderr) == (2, True)


def test_no_git(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    monkeypatch.setenv("PATH", str(project))
    done = initdsl("diff", "HEAD")
    assert (done.exit_code, "there is no `git` to be run" in done.stderr) == (2, True)


def test_submodules(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    origin = tmp_path_factory.mktemp("origin")
    (origin / "sub.init").write_text(OLD)
    git("init", "-q", ".", folder=origin)
    git("add", "-A", folder=origin)
    git("commit", "-qm", "first", folder=origin)
    git("init", "-q", ".")
    git("submodule", "add", "-q", str(origin), "sub")
    git("add", "-A")
    git("commit", "-qm", "first")
    (folder / "sub" / "sub.init").write_text(OLD.replace("0.02", "0.01"))  # dirty
    done = initdsl("diff", "HEAD:sub/sub.init", "sub/sub.init", *MODEL)
    assert (done.exit_code, "x0.5" in done.stdout) == (1, True)
    git("submodule", "deinit", "-q", "-f", "sub")
    done = initdsl("diff", "HEAD:sub/sub.init", "old.init", *MODEL)
    assert done.exit_code == 2
    assert "lies in the submodule `sub`" in done.stderr


# ---- what the two sides are made of


def test_two_sets_of_settings(folder: Path) -> None:
    (folder / "net.init").write_text("let std = 0.02\nLinear.weight ~ normal(0, std)\n")
    done = initdsl("diff", "net.init", "net.init", *MODEL, "--new-set", "std=0.04")
    assert (done.exit_code, "x2" in done.stdout) == (1, True)
    done = initdsl("diff", "net.init", "net.init", *MODEL, "--set", "std=0.04", "--old-set", "std=0.08")
    assert (done.exit_code, "x0.5" in done.stdout) == (1, True)
    assert initdsl("diff", "net.init", "net.init", *MODEL, "--old-set", "sdt=1").exit_code == 2


def test_the_seed_of_a_saved_plan_holds_for_both() -> None:
    initdsl("plan", "old.init", *MODEL, "--seed", "5", "-o", "plan.json")
    done = initdsl("diff", "plan.json", "old.init", *MODEL)
    assert (done.exit_code, "same values under seed 5" in done.stdout) == (0, True)
    done = initdsl("diff", "plan.json", "old.init", *MODEL, "--seed", "6")
    assert (done.exit_code, "2 drawn alike, with other values" in done.stdout) == (1, True)


def test_a_plan_of_another_version(folder: Path) -> None:
    initdsl("plan", "old.init", *MODEL, "-o", "plan.json")
    data = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps({**data, "version": 99}))
    done = initdsl("diff", "plan.json", "old.init", *MODEL)
    assert (done.exit_code, "plan version 99 is not understood" in done.stderr) == (2, True)


def test_networks_that_are_run() -> None:
    done = initdsl("diff", "old.init", "new.init", *MODEL, "--input-shape", "4,2")
    assert done.exit_code == 1
    assert "activations x" in done.stdout


def test_a_rename_is_proposed_and_networks_without_a_common_name_compare(folder: Path) -> None:
    (folder / "net.py").write_text(
        f"{NET}\ndef renamed():\n    return nn.ModuleDict({{'a': nn.Linear(2, 3), 'b': nn.Linear(3, 2)}})\n"
    )
    done = initdsl("diff", "old.init", "old.init", "--old-model", "net.py:small", "--new-model", "net.py:renamed")
    assert done.exit_code == 1
    assert "0.weight -> a.weight" in done.stdout
    assert done.stdout.endswith("4 new, 4 gone; 0 as before (0 elements)\n")
