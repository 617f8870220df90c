"""A described network, and what selectors select in it, are plain values: they compare, copy and pickle."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

import initdsl
from initdsl.network.selectors.matcher import Matcher
from initdsl.network.selectors.matches import Frame, Match

COPIES: list[Callable[[Any], Any]] = [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))]


def matcher(net: nn.Module) -> Matcher:
    def nothing(*_: object) -> Any:
        return None  # numbers need no names

    return Matcher(initdsl.describe(net)[0], nothing, lambda name: False)


def selected(matcher: Matcher, selector: str, frame: Frame | None = None) -> list[Match]:
    (rule,) = initdsl.parse(f"keep {selector}").rules
    return matcher.select(rule.targets, frame)  # type: ignore[union-attr]


@pytest.mark.parametrize("copied", COPIES)
def test_matches_and_blocks_are_values(copied: Callable[[Any], Any]) -> None:
    net = nn.Sequential(nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2)))
    one, other = matcher(net), matcher(net)
    frames = [Frame(m.network, selected(m, "net[i]")) for m in (one, other)]
    assert frames[0] == frames[1] == copied(frames[0])
    assert hash(frames[0]) == hash(frames[1])
    for selector in ("Linear.weight", "net[0][0].weight[0, 1]", "net[i][0]", "Linear.weight as (4,)[0]"):
        matches = selected(one, selector, frames[0])
        assert matches
        assert matches == selected(other, selector, frames[1]) == copied(matches), selector
    assert {match.frame for match in matches} == set(frames[0].matches)
