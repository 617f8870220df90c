"""The language as data: every sentence of docs/language.md is numbered and has a case, or says why it has none.

`python -m tests.language.test_conformance --update` numbers new sentences and writes the models down; `... --show WORD` prints
what initdsl makes of the cases whose id has that word, to compare with what the page says.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.conformance import (
    FOLDER,
    NETWORKS,
    PAGE,
    as_planned,
    cases,
    clauses,
    close,
    lines,
    manifest,
    planned,
    renumbered,
    run,
    sentences,
    write_clauses,
)

CASES = cases()
KEYS = {
    "clause", "name", "rules", "bytes", "net", "files", "tensors", "vars", "strict", "seed", "limits", "sample", "same",
    "statements", "plan", "values", "errors", "stage", "warnings", "remarks", "notes", "tied", "partial", "order",
}  # fmt: skip


def differences(case: dict[str, Any], got: dict[str, Any]) -> list[str]:
    """Where what initdsl makes of a case is not what the case says."""
    found = []
    for key in ("errors", "warnings", "notes", "tied", "partial"):
        if case.get(key, []) != got.get(key, []) and not (key != "errors" and "errors" in got):
            found.append(f"{key}: {case.get(key, [])} expected, got {got.get(key, [])}")
    for key in ("stage", "statements", "same", "order", "remarks"):
        wanted = True if key == "same" and key in case else case.get(key)
        if wanted is not None and wanted != got.get(key):
            found.append(f"{key}: {wanted} expected, got {got.get(key)}")
    if "plan" in case and not as_planned(planned(case["plan"]), got.get("plan", {})):
        found.append(f"plan: {planned(case['plan'])} expected, got {got.get('plan')}")
    for name, wanted in case.get("values", {}).items():
        value = got["values"].get(name) if "values" in got else wanted
        if value is None or not close(wanted, value, "seed" in case):
            found.append(f"{name}: {wanted} expected, got {value}")
    return found


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    assert set(case) - {"file"} <= KEYS
    assert {"errors", "plan", "values", "same", "statements", "warnings", "order"} & case.keys()
    late = case.get("stage") == "apply"
    for described in (True, False) if "net" in case else (False,):
        if described and late:
            continue
        assert differences(case, run(case, tmp_path, described)) == [], "described" if described else "built"


def test_every_sentence_has_its_number() -> None:
    """A sentence that is new or has changed: read its cases again, then `python -m tests.language.test_conformance --update`."""
    written = {(key.partition("-")[0], clause["text"]) for key, clause in clauses().items()}
    there = set(sentences(PAGE.read_text("utf-8")))
    assert there - written == set()
    assert written - there == set()


def test_every_sentence_has_a_case_or_says_why_not() -> None:
    covered = {clause for case in CASES.values() for clause in case["clause"].split()}
    known = clauses()
    assert covered <= known.keys()
    without = {key for key, clause in known.items() if clause.get("without", "").strip()}
    assert known.keys() - covered - without == set()
    assert covered & without == set()
    for clause in known.values():
        for file in re.findall(r"tests/[\w/]+\.\w+", clause.get("without", "")):
            assert (FOLDER.parents[2] / file).exists(), file


@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_are_as_described(name: str) -> None:
    written = json.loads((FOLDER / "networks" / f"{name}.json").read_text("utf-8"))
    now = json.loads(manifest(name))
    assert written["fingerprint"] == now["fingerprint"]
    assert written["tensors"] == now["tensors"]


def test_there_are_many() -> None:
    assert len(CASES) >= 300


TEXT = "# T\n\n## 1 A\n\nOne `a. B` is. Two is:\n\n| x | y |\n|---|---|\n| row. Still | it |\n\n```text\nNo. No.\n```\n\n### 1.1 B\n\n- an item\n  goes on. And on.\n"


def test_sentences_are_found() -> None:
    found = [
        ("1", "One `a. B` is."),
        ("1", "Two is:"),
        ("1", "row. Still | it"),
        ("1.1", "an item goes on."),
        ("1.1", "And on."),
    ]
    assert list(sentences(TEXT)) == found


def test_numbers_stay() -> None:
    known = renumbered(TEXT, {})
    assert list(known) == ["1-1", "1-2", "1-3", "1.1-1", "1.1-2"]
    changed = renumbered(TEXT.replace("Two is", "New it was. Two was").replace("And on.", ""), known)
    assert {key: clause["text"] for key, clause in changed.items()} == {
        "1-1": "One `a. B` is.", "1-4": "New it was.", "1-2": "Two was:", "1-3": "row. Still | it",
        "1.1-1": "an item goes on.",
    }  # fmt: skip


WRONG = {
    "plan": {"plan": "weight  1: = 2"},
    "a parameter more": {"plan": "weight  1: = 1\nbias  1: = 1"},
    "values": {"values": {"weight": 2.0}},
    "errors": {"errors": ["unmatched-selector 1:1-2"]},
    "warnings": {"warnings": ["unmatched-selector 1:1-7"]},
    "statements": {"statements": 2},
    "same": {"same": "Linear.weight = 2"},
    "stage": {"stage": "parse"},
    "order": {"order": []},
    "tied": {"tied": ["weight = bias"]},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_case_is_found(name: str, tmp_path: Path) -> None:
    case = {"rules": "Linear.weight = 1", "net": "layer", **WRONG[name]}
    assert len(differences(case, run(case, tmp_path, False))) == 1


def update() -> None:
    write_clauses()
    for name in NETWORKS:
        (FOLDER / "networks" / f"{name}.json").write_text(manifest(name), "utf-8")


def show(word: str) -> None:
    for name, case in CASES.items():
        if word not in name:
            continue
        for described in (True, False) if "net" in case else (False,):
            with tempfile.TemporaryDirectory() as folder:
                got = run(case, Path(folder), described)
            wrong = differences(case, got)
            if wrong and not (described and case.get("stage") == "apply"):
                print(f"---- {name} ({case['file'].name}, {'described' if described else 'built'})")
                print("\n".join(lines(case.get("rules", ""))), *wrong, sep="\n")
                break


if __name__ == "__main__" and "--update" in sys.argv:
    update()
elif __name__ == "__main__" and "--show" in sys.argv:
    show(sys.argv[-1] if sys.argv[-1] != "--show" else "")
