"""Describing a model reads it and runs none of its code."""

from __future__ import annotations

import pytest
from torch import nn

import initdsl


class Curious(nn.Module):
    """A module whose code says when it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 3
        self.inner = nn.Linear(2, 2)

    @property
    def scale(self) -> float:
        raise AssertionError("a property ran")

    def __getattr__(self, name: str) -> object:
        if name not in ("inner", "_parameters", "_modules", "_buffers"):
            raise AssertionError(f"`__getattr__` ran for {name}")
        return super().__getattr__(name)


def test_describing_runs_no_properties() -> None:
    network, _ = initdsl.describe(Curious())
    assert network.modules[0].attributes() == {"size": 3}
    network.to_manifest()
    with pytest.raises(initdsl.ResolveError, match="`scale` has no value"):
        initdsl.plan(network, "Curious { .inner.weight = scale }")
