"""Every target of `fuzz.py` for a moment, from the rule files there are; hours of it are run by hand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[1] / "support" / "fuzz.py"


TARGETS = ("parse", "format", "typed", "asked", "synced", "planned", "converted", "laid", "grown", "saved", "stored")


def fuzz(target: str, runs: int, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, FUZZ, target, f"-runs={runs}", "-seed=1", "-timeout=300", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)


def survived(log: str, code: int, runs: int) -> None:
    assert code == 0, log[-3000:]
    ended = re.search(r"Done (\d+) runs", log)  # libFuzzer ends a round of mutations it has begun
    assert ended, log[-3000:]
    assert int(ended[1]) >= runs


@pytest.fixture(scope="module")
def moments(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """What every target logs of a hundred runs, and its exit code; they share the time that it takes to import."""
    pytest.importorskip("atheris")
    folder = tmp_path_factory.mktemp("fuzz")
    targets = (*TARGETS, "refuse")
    done = fuzz(",".join(targets), 100, folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, dict(zip(targets, map(int, done.stdout.split()), strict=True))


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_escapes(target: str, moments: tuple[Path, dict[str, int]]) -> None:
    folder, codes = moments
    survived((folder / f"{target}.log").read_text("utf-8", "replace"), codes[target], 100)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_escapes_in_many_runs(target: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    done = fuzz(target, 100_000, tmp_path)
    survived(done.stderr, done.returncode, 100_000)


def test_a_crash_is_seen(moments: tuple[Path, dict[str, int]]) -> None:
    """That the oracle can fail: a target that refuses every text."""
    folder, codes = moments
    assert codes["refuse"] != 0
    assert "Test unit written to ./crash-" in (folder / "refuse.log").read_text("utf-8", "replace")
