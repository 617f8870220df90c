"""Changes of published repositories, and refactorings that changed nothing: every one is judged right.

The cases are data, in `tests/cases/diff/`. Each is judged twice: by what the diff says, and by the values of two fills.
"""

from __future__ import annotations

import tomllib
from fnmatch import fnmatchcase
from typing import Any

import pytest
import torch
from torch import nn

import initdsl
from tests.support.code import ROOT
from tests.support.published import NETWORKS

FOLDER = ROOT / "tests/cases/diff"
CHANGED = tomllib.loads((FOLDER / "changed.toml").read_text("utf-8"))["case"]
SAME = tomllib.loads((FOLDER / "same.toml").read_text("utf-8"))["case"]


def networks(case: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    """Return the model before and after, with the same values where no rule reaches."""
    pair = []
    for name in (case["network"], case.get("new_network", case["network"])):
        torch.manual_seed(0)
        pair.append(NETWORKS[name]())
    pair[1].load_state_dict(pair[0].state_dict(), strict=False)
    return pair[0], pair[1]


def diff_of(case: dict[str, Any], seed: int | None = None) -> initdsl.Diff:
    old, new = networks(case)
    return initdsl.diff(initdsl.plan(old, case["old"], seed=seed), initdsl.plan(new, case["new"], seed=seed))


def title(case: dict[str, Any]) -> str:
    return str(case["name"])


@pytest.mark.parametrize("case", CHANGED, ids=title)
def test_a_change_is_seen_and_nothing_else(case: dict[str, Any]) -> None:
    diff = diff_of(case)
    assert diff
    assert case["source"]
    for kind, changes in diff.groups.items():
        names = {change.name for change in changes}
        patterns = case.get("changes", {}).get(kind, [])
        known = {name for net in networks(case) for name, _ in net.named_parameters()}
        wanted = {name for name in known if any(fnmatchcase(name, pattern) for pattern in patterns)}
        assert all(any(fnmatchcase(name, pattern) for name in known) for pattern in patterns), patterns
        assert names == wanted, kind
    assert [list(change.names) for change in diff.tied] == case.get("tied", [])


@pytest.mark.parametrize("case", SAME, ids=title)
def test_a_refactoring_is_no_change(case: dict[str, Any]) -> None:
    diff = diff_of(case)
    assert not diff, str(diff)
    assert diff.same == len(initdsl.plan(networks(case)[0], case["old"]).entries)
    under_a_seed = diff_of(case, seed=5)
    groups = {kind for kind, changes in under_a_seed.groups.items() if changes}
    assert groups <= ({"moved"} if case.get("moved") else set()), str(under_a_seed)


@pytest.mark.parametrize("case", [*CHANGED, *SAME], ids=title)
def test_the_values_of_two_fills_agree(case: dict[str, Any]) -> None:
    """Under one seed the tensors whose values differ are those that are named; what rounds otherwise may be equal."""
    old, new = networks(case)
    diff = diff_of(case, seed=5)
    initdsl.apply(old, case["old"], seed=5)
    initdsl.apply(new, case["new"], seed=5)
    before, after = dict(old.named_parameters()), dict(new.named_parameters())
    shared = before.keys() & after.keys()
    differ = {name for name in shared if not torch.equal(before[name], after[name])}
    said = {
        change.name for kind, changes in diff.groups.items() if kind not in ("added", "removed") for change in changes
    }
    moved = {change.name for change in diff.moved}
    # what a rule reaches now may have been there before: 0 where a constructor sets 0
    covered = {change.name for change in (*diff.covered, *diff.uncovered)}
    equal = {name for name in said if any(fnmatchcase(name, pattern) for pattern in case.get("equal", []))}
    assert said - moved - covered - equal <= differ
    tied = {name for change in diff.tied for name in change.names}
    assert differ <= said | tied


def test_there_are_enough() -> None:
    assert len(CHANGED) >= 20
    assert len(SAME) >= 20
    assert len({case["name"] for case in (*CHANGED, *SAME)}) == len(CHANGED) + len(SAME)
