"""Every target of `fuzz.py` for a moment, from the rule files there are; hours of it are run by hand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[1] / "support" / "fuzz.py"


def fuzz(target: str, runs: int, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, FUZZ, target, f"-runs={runs}", "-seed=1", "-timeout=60", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)


@pytest.mark.parametrize(
    "target",
    ["parse", "format", "typed", "asked", "synced", "planned", "converted", "laid", "grown", "saved", "stored"],
)
@pytest.mark.parametrize("runs", [100, pytest.param(100_000, marks=pytest.mark.slow)])
def test_nothing_escapes(target: str, runs: int, tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    done = fuzz(target, runs, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    ended = re.search(r"Done (\d+) runs", done.stderr)  # libFuzzer ends a round of mutations it has begun
    assert ended, done.stderr[-3000:]
    assert int(ended[1]) >= runs


def test_a_crash_is_seen(tmp_path: Path) -> None:
    """That the oracle can fail: a target that refuses every text."""
    pytest.importorskip("atheris")
    done = fuzz("refuse", 10, tmp_path)
    assert done.returncode != 0
    assert list(tmp_path.glob("crash-*"))
