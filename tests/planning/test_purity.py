"""Planning changes nothing of the model, nor the state of any generator."""

from __future__ import annotations

import copy
import random

import torch
from torch import nn

import initdsl


def test_a_plan_changes_nothing() -> None:
    net = nn.Sequential(
        nn.Linear(4, 4),
        nn.BatchNorm1d(4),
        nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)),
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)),
        nn.MultiheadAttention(4, 2),
    ).train()
    rules = """
    Linear+.weight ~ normal(0, 1) * 2
    Linear+.bias = 1
    *.weight += 1
    default BatchNorm1d
    net[1].running_mean = 3
    tie net[0].bias net[2].bias
    copy net[0].bias net[3].bias
    net[4].in_proj_weight as (3, 4, 4)[*] ~ orthogonal()
    keep net[4].in_proj_bias
    """
    tensors = [*net.parameters(), *net.buffers()]
    values = copy.deepcopy([t.detach() for t in tensors])
    versions = [t._version for t in tensors]
    modes = [m.training for m in net.modules()]
    state, python_state = torch.random.get_rng_state(), random.getstate()
    plan = initdsl.plan(net, rules, strict=True)
    str(plan), plan.to_dict(), [plan.explain(entry.name) for entry in plan]
    assert [id(t) for t in (*net.parameters(), *net.buffers())] == [id(t) for t in tensors]
    assert all(torch.equal(a, b) for a, b in zip(tensors, values, strict=True))
    assert [t._version for t in tensors] == versions
    assert [m.training for m in net.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), state)
    assert random.getstate() == python_state
    plan.apply()
    assert [t._version for t in tensors] != versions  # or versions would tell nothing
    assert not torch.equal(torch.random.get_rng_state(), state)
