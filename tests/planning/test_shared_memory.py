"""Parameters that are two objects on one memory: rules that don't say the same of both are told."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import initdsl


class Aliased(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enc = nn.Embedding(6, 4)
        self.dec = nn.Linear(4, 6, bias=False)
        self.dec.weight = nn.Parameter(self.enc.weight.data)


def views(*parts: torch.Tensor) -> nn.ParameterList:
    return nn.ParameterList([nn.Parameter(part) for part in parts])


BASE = torch.zeros(64)
CASES = {
    "whole": (Aliased, "net.enc.weight ~ normal(0, 1); net.dec.weight = 0", 1),
    "whole, kept": (Aliased, "net.dec.weight = 0; keep net.enc.weight", 1),
    "whole, other numbers": (Aliased, "net.enc.weight ~ normal(0, 1); net.dec.weight ~ normal(0, 2)", 1),
    "whole, an edit": (Aliased, "net.enc.weight ~ normal(0, 1); net.dec.weight = 1; net.dec.weight *= 2", 1),
    "whole, the same": (Aliased, "net.**.weight ~ normal(0, 1)", 0),
    "whole, one matrix": (Aliased, "net.**.weight ~ orthogonal()", 0),
    "tied": (Aliased, "tie net.enc.weight net.dec.weight; net.dec.weight = 0", 0),
    "one rule": (Aliased, "net.enc.weight = 0", 0),
    "in part": (lambda: views(BASE[:32].view(8, 4), BASE[16:32].view(2, 8)), "net[0] = 1; net[1] = 2", 1),
    "in part, the same": (lambda: views(BASE[:32].view(8, 4), BASE[16:32].view(2, 8)), "net[*] = 1", 0),
    "beside": (lambda: views(BASE[:32], BASE[32:]), "net[0] = 1; net[1] = 2", 0),
    "columns": (lambda: views(BASE.view(8, 8)[:, :4], BASE.view(8, 8)[:, 4:]), "net[0] = 1; net[1] = 2", 0),
    "columns that meet": (lambda: views(BASE.view(8, 8)[:, :5], BASE.view(8, 8)[:, 4:]), "net[0] = 1; net[1] = 2", 1),
    "inside a larger one": (lambda: views(BASE[:8], BASE, BASE[40:]), "net[0], net[2] = 1; net[1] = 2", 2),
}


@pytest.mark.parametrize("name", CASES)
def test_what_writes_over_another_rules_values_is_told(name: str) -> None:
    make, rules, count = CASES[name]
    found = [finding for finding in initdsl.plan(make(), rules).findings if finding.name == "shared-memory"]
    assert len(found) == count, found
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", initdsl.OverruledRuleWarning)
        initdsl.apply(make(), rules, seed=0)
    assert sum("share memory" in str(one.message) for one in caught) == count


def test_it_says_which_and_how_to_say_it() -> None:
    finding = initdsl.plan(Aliased(), CASES["whole"][1]).remarks[0]
    assert (
        "`net.dec.weight` and `net.enc.weight` share memory: this writes over what `~ normal(0, 1)` gives"
        in finding.message
    )
    assert "`tie net.enc.weight net.dec.weight`" in str(finding.hint)


def test_materialize_makes_what_apply_makes() -> None:
    rules = "net.enc.weight ~ normal(0, 1); net.dec.weight = 0"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made, filled = initdsl.materialize(Aliased, rules, seed=1), Aliased()
        initdsl.apply(filled, rules, seed=1)
    assert made.enc.weight.data_ptr() == made.dec.weight.data_ptr()
    assert made.enc.weight is not made.dec.weight
    for name, value in filled.state_dict().items():
        assert torch.equal(made.state_dict()[name], value)
