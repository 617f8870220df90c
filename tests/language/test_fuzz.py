"""Every target of `fuzz.py` for a moment, from the rule files there are; hours of it are run by hand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[1] / "support" / "fuzz.py"


FIRST = "parse"
OTHERS = ("format", "typed", "asked", "synced", "planned", "converted", "laid", "grown", "saved", "stored")
RUNS = 100
# what a target logs, and its exit code
Moments = dict[str, tuple[str, int]]


def fuzz(target: str, runs: int, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, FUZZ, target, f"-runs={runs}", "-seed=1", "-timeout=300", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)


def survived(log: str, code: int, runs: int) -> None:
    assert code == 0, log[-3000:]
    ended = re.search(r"Done (\d+) runs", log)  # libFuzzer ends a round of mutations it has begun
    assert ended, log[-3000:]
    assert int(ended[1]) >= runs


def moments(targets: tuple[str, ...], folder: Path) -> Moments:
    """What some targets come to; they share the time that it takes to import."""
    pytest.importorskip("atheris")
    done = fuzz(",".join(targets), RUNS, folder)
    assert done.returncode == 0, done.stderr[-3000:]
    codes = map(int, done.stdout.split())
    logs = [(folder / f"{target}.log").read_text("utf-8", "replace") for target in targets]
    return dict(zip(targets, zip(logs, codes, strict=True), strict=True))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Moments:
    return moments((FIRST, "refuse"), tmp_path_factory.mktemp("fuzz"))


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Moments:
    return moments(OTHERS, tmp_path_factory.mktemp("fuzz"))


def test_nothing_escapes(first: Moments) -> None:
    survived(*first[FIRST], RUNS)


@pytest.mark.long
@pytest.mark.parametrize("target", OTHERS)
def test_nothing_escapes_the_others(target: str, others: Moments) -> None:
    survived(*others[target], RUNS)


@pytest.mark.slow
@pytest.mark.parametrize("target", [FIRST, *OTHERS])
def test_nothing_escapes_in_many_runs(target: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    done = fuzz(target, 100_000, tmp_path)
    survived(done.stderr, done.returncode, 100_000)


def test_a_crash_is_seen(first: Moments) -> None:
    """That the oracle can fail: a target that refuses every text."""
    log, code = first["refuse"]
    assert code != 0
    assert "Test unit written to ./crash-" in log
