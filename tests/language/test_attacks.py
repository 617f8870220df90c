"""Hostile rule files and models, as data in `cases/attacks`: each gets the finding it must get, in bounded time and memory.

`python -m tests.language.test_attacks` shows what every case gets now, with its cost.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import LONGEST

FOLDER = Path(__file__).parents[1] / "cases" / "attacks"
CASES = {
    f"{file.stem}/{case['name']}": case
    for file in sorted(FOLDER.glob("*.toml"))
    for case in tomllib.loads(file.read_text("utf-8"))["attack"]
}
# CPU seconds and MiB that an attack may cost, if it does not say
SECONDS, MEBIBYTES = 8, 300
# as many times as long on a slow machine that has other work too
SLOWEST = 4
# `long` those that cost more than half a second, `slow` those that need minutes
MARKS = {"long": pytest.mark.long, "slow": pytest.mark.slow}


class Victim:
    """The process that is attacked; started again where it ended."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def attack(self, case: dict[str, Any]) -> dict[str, Any]:
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.attacked"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(case), file=self.process.stdin, flush=True)
        ready, _, _ = select.select([self.process.stdout], [], [], LONGEST)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            self.process.kill()
            code = self.process.wait()
            pytest.fail(f"the process ended with {code}" if ready else f"no answer in {LONGEST} seconds")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def victim() -> Iterator[Victim]:
    made = Victim()
    yield made
    made.close()


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[MARKS[mark] for mark in MARKS if case.get(mark)]) for name, case in CASES.items()],
)
def test_attack(victim: Victim, name: str) -> None:
    case = CASES[name]
    answer = victim.attack(case)
    assert answer["wrong"] == []
    assert answer["said"] == sorted(case["expect"])
    assert answer["seconds"] <= SLOWEST * case.get("seconds", SECONDS)
    assert answer["mebibytes"] <= case.get("mebibytes", MEBIBYTES)


def test_there_are_many() -> None:
    assert len(CASES) >= 150


def test_what_escapes_is_seen(victim: Victim) -> None:
    """That the runner can fail: a case that can't be laid out, and one that gets another finding than it should."""
    assert victim.attack({"name": "broken", "rules": 1})["wrong"]
    assert victim.attack({"name": "wrong", "rules": "Linear.wieght = 1"})["said"] == ["unmatched-selector"]


def main() -> None:
    victim = Victim()
    for name, case in CASES.items():
        if sys.argv[1:] and not any(word in name for word in sys.argv[1:]):
            continue
        try:
            answer = victim.attack(case)
        except pytest.fail.Exception as error:
            answer = {"said": [], "wrong": [str(error)], "seconds": 0, "mebibytes": 0}
        print(json.dumps({"name": name, **answer}), flush=True)
    victim.close()


if __name__ == "__main__":
    main()
