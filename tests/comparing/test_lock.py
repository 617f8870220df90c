"""`initdsl lock` and `lock --check`: what is written, what drifted and why, and what can't be read."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from click.testing import Result
from torch import nn

import initdsl as package
from initdsl import streams
from initdsl.comparing.lock import STREAM, Lock, lock_of
from initdsl.comparing.lock_file import LockError, read_lock, written_lock
from tests.support.command import run

NET = """
from torch import nn
def small():
    return nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)), nn.LayerNorm(5))
def large():
    return nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)), nn.LayerNorm(5))
"""
RULES = """let std = 0.02
Linear.weight ~ normal(0, std)
Linear.bias = 0
LayerNorm.weight = 1
LayerNorm.bias = 0
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "net.init").write_text(RULES)
    assert run("manifest --model net.py:small -o net.json").exit_code == 0
    (tmp_path / "pyproject.toml").write_text('[tool.initdsl]\nmanifest = "net.json"\n')
    return tmp_path


def check(words: str = "") -> Result:
    return run(f"lock --check {words}")


def test_a_lock_is_sorted_lines_of_toml(folder: Path) -> None:
    assert run("lock").exit_code == 0
    text = (folder / "net.init.lock").read_text()
    plan = text.partition("[plan]\n")[2].splitlines()
    assert (
        plan
        == sorted(plan)
        == [
            '"3.bias" = "5 float32: constant(0)"',
            '"3.weight" = "5 float32: constant(1)"',
            '"{0..2}.bias" = "4 float32: constant(0)"',
            '"{0..2}.weight" = "4x4 float32: normal(mean=0, std=0.02)"',
        ]
    )
    assert 'manifest = "net.json"' in text
    assert read_lock(text.encode()) == read_lock(written_lock(read_lock(text.encode())).encode())
    assert (check().exit_code, check().stdout) == (0, "net.init.lock: the start is as it was locked\n")


def test_rules_that_drift(folder: Path) -> None:
    run("lock")
    (folder / "net.init").write_text(f"# a comment\n{RULES}")
    done = check()
    assert (done.exit_code, "rules: net.init changed; the start is the same" in done.stdout) == (0, True)
    (folder / "net.init").write_text(RULES.replace("0.02", "0.03"))
    done = check()
    assert done.exit_code == 1
    assert "why   rules: net.init changed" in done.stdout
    assert "std=0.02) -> 4x4 float32: normal(mean=0, std=0.03)" in done.stdout
    assert run("lock -q").exit_code == 0
    assert check().exit_code == 0


def test_a_network_that_drifts(folder: Path) -> None:
    run("lock")
    run("manifest --model net.py:large -o net.json")
    done = check()
    assert done.exit_code == 1
    assert "why   model: names, classes, shapes or dtypes are others" in done.stdout
    assert "what  plan: {0..3}.weight is new" in done.stdout


def test_settings_and_seed_are_those_of_the_lock(folder: Path) -> None:
    run("lock net.init --set std=0.5 --seed 7")
    text = (folder / "net.init.lock").read_text()
    assert 'std = "0.5"' in text
    assert 'seed = "7"' in text
    assert check().exit_code == 0
    done = check("--seed 8")
    assert (done.exit_code, "why   stream: the seed is 8, it was 7" in done.stdout) == (1, True)
    assert check("--set std=0.25").exit_code == 1
    run("lock")
    assert (folder / "net.init.lock").read_text() == text


def test_the_manifest_of_the_lock_stands_in_for_code(folder: Path) -> None:
    run("lock")
    (folder / "pyproject.toml").unlink()
    (folder / "net.py").unlink()
    assert check("net.init").exit_code == 0
    lock = folder / "net.init.lock"
    lock.write_text(lock.read_text().replace('"net.json"', '"../../net.json"'))
    done = check("net.init")
    assert (done.exit_code, "lies outside the folder" in done.stderr) == (2, True)


def test_a_lock_by_a_model_is_that_by_its_manifest(folder: Path) -> None:
    run("lock")
    by_manifest = (folder / "net.init.lock").read_text()
    run("lock net.init --model net.py:small")
    assert (folder / "net.init.lock").read_text() == by_manifest.replace('manifest = "net.json"\n', "")
    assert check().exit_code == 0


def test_values_under_a_seed(folder: Path) -> None:
    words = "lock net.init --model net.py:small --values"
    done = run(words)
    assert (done.exit_code, "values are those of a seed" in done.stderr) == (2, True)
    assert (run("lock net.init --values --seed 1").exit_code) == 2
    assert run(f"{words} --seed 1").exit_code == 0
    assert check("--model net.py:small").exit_code == 0
    done = check()
    assert (done.exit_code, "its values were not made" in done.stdout) == (0, True)
    lock = folder / "net.init.lock"
    head, _, values = lock.read_text().partition("[values]\n")
    name, _, digest = values.splitlines()[-1].partition(" = ")
    lock.write_text(f"{head}[values]\n{name} = {digest.replace(digest[5:9], '0000')}\n")
    done = check("--model net.py:small")
    assert (done.exit_code, "values: {0..2}.weight changed" in done.stdout) == (1, True)


def test_libraries_count_where_their_code_starts_something(folder: Path) -> None:
    def older() -> None:
        lock = folder / "net.init.lock"
        text = lock.read_text()
        version = text.partition('torch = "')[2].partition('"')[0]
        lock.write_text(text.replace(f'torch = "{version}"', 'torch = "1.0"'))

    run("lock")
    older()
    done = check()
    assert (done.exit_code, "note: library: torch: 1.0 ->" in done.stdout) == (0, True)
    (folder / "net.init").write_text(RULES.replace("LayerNorm.bias = 0\n", "default LayerNorm.bias\n"))
    run("lock")
    older()
    done = check()
    assert done.exit_code == 1
    assert "why   library: torch: 1.0 ->" in done.stdout
    assert "1 parameter starts as its code makes them" in done.stdout


def test_a_lock_that_was_edited_by_hand(folder: Path) -> None:
    run("lock")
    lock = folder / "net.init.lock"
    lock.write_text(lock.read_text().replace("std=0.02", "std=0.01"))
    done = check()
    assert (done.exit_code, "the lock was edited by hand" in done.stdout) == (1, True)


@pytest.mark.parametrize(("text", "said"), [
    ("", "it does not say that it is a lock"),
    ("not toml", "it is no TOML"),
    ("<<<<<<< HEAD\nformat = 1\n=======\n>>>>>>> main\n", "it has the marks of a merge conflict"),
    ('format = "initdsl-lock"\nversion = 2\n', "lock version 2 is not understood, only 1"),
    ('format = "initdsl-lock"\nversion = 1\nplan = 3\n', "`[plan]` is no table of texts"),
    ('format = "initdsl-lock"\nversion = 1\nnetwork = 3\n', "`network` is no text"),
    ('format = "initdsl-lock"\nversion = 1\nseed = "-1"\n', "`seed` is no whole number"),
    ('format = "initdsl-lock"\nversion = 1\nmodel = "a:b"\n', "it has `model`, which no lock has"),
    ("\0", "it is no TOML"),
])  # fmt: skip
def test_what_is_no_lock(folder: Path, text: str, said: str) -> None:
    (folder / "net.init.lock").write_text(text)
    with pytest.raises(LockError):
        read_lock(text.encode())
    for words in ("lock --check", "lock"):
        done = run(words)
        assert (done.exit_code, said in done.stderr) == (2, True), done.stderr
    (folder / "net.init.lock").write_bytes(b"\xff")
    assert check().exit_code == 2


def test_what_is_not_there(folder: Path) -> None:
    for words, said in (
        ("lock --check", "there are no locks here"),
        ("lock --check net.init", "there is no lock `net.init.lock`"),
        ("lock none.init", "none.init"),
        ("lock net.init --model net.py:small --manifest net.json", "says which model"),
    ):
        done = run(words)
        assert (done.exit_code, said in done.stderr) == (2, True), (words, done.stderr)
    (folder / "pyproject.toml").write_text('[tool.initdsl]\nmodel = "net.py:small"\n')
    done = run("lock")
    assert (done.exit_code, "--trust" in done.stderr) == (2, True)
    assert run("lock --trust").exit_code == 0
    (folder / "net.py").write_text("raise SystemExit(9)\n")
    assert check().exit_code == 2  # nothing runs without --trust


def test_locks_merge_line_by_line(folder: Path) -> None:
    """Two branches that change rules for different groups merge, but for the hash of the rules."""
    run("lock")
    lock = folder / "net.init.lock"
    for name, change in (("a", ("0.02", "0.03")), ("b", ("LayerNorm.weight = 1", "LayerNorm.weight = 2"))):
        (folder / "net.init").write_text(RULES.replace(*change))
        (folder / f"{name}.lock").write_text(lock.read_text())
        run("lock -q")
        (folder / f"{name}.lock").write_text(lock.read_text())
        (folder / "net.init").write_text(RULES)
        run("lock -q")
    words = ["git", "merge-file", "-p", "a.lock", "net.init.lock", "b.lock"]
    merged = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    assert merged.count("<<<<<<<") == 1
    assert "std=0.03" in merged
    assert '"3.weight" = "5 float32: constant(2)"' in merged


def test_hostile_names_and_every_kind_of_write() -> None:
    net = nn.ModuleDict({'a"]\n[x': nn.Linear(3, 3), "b\U0001f600": nn.Linear(3, 3)})
    rules = "Linear.weight ~ orthogonal(); Linear.weight *= 2; Linear.weight[0] = index(0) + 0.1; default net.*.bias"
    lock = lock_of(package.plan(net, rules, seed=3), "/", {"a b": 'x"y'}, None)
    assert read_lock(written_lock(lock).encode()) == Lock(**{**vars(lock), "by_code": 0})
    assert len(lock.plan) == 4


def test_the_stream_is_that_of_the_engine() -> None:
    assert streams.VERSION.endswith(f" {STREAM}")
