"""Laws of diffs, over generated models and rules that fit them: what is said agrees with the values of two fills."""

from __future__ import annotations

import os
from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import initdsl
from tests.support.fitting import Case, cases

LAWS = int(os.environ.get("INITDSL_LAWS", "1"))


def law(examples: int) -> Any:
    return settings(
        max_examples=examples * LAWS, deadline=None, derandomize=LAWS <= 1, suppress_health_check=list(HealthCheck)
    )


def bits(net: nn.Module) -> dict[str, bytes]:
    tensors = dict(net.named_parameters(remove_duplicate=False)) | dict(net.named_buffers(remove_duplicate=False))
    return {
        name: tensor.detach().clone().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        for name, tensor in tensors.items()
    }


@law(60)
@given(cases(), st.sampled_from([None, 3]))
def test_a_plan_does_not_differ_from_itself(case: Case, seed: int | None) -> None:
    net = case.net()
    plan = initdsl.plan(net, case.text, seed=seed)
    assert not initdsl.diff(plan, plan)
    assert not initdsl.diff(plan, initdsl.plan(case.net(), case.text, seed=seed))
    described = initdsl.Network.from_manifest(initdsl.describe(net)[0].to_manifest())
    assert not initdsl.diff(plan, initdsl.plan(described, case.text, seed=seed))
    formatted = initdsl.format(case.text)
    assert not initdsl.diff(plan, initdsl.plan(net, formatted, seed=seed))


@law(80)
@given(cases(least=2), st.data())
def test_no_change_is_said_only_of_equal_values(case: Case, data: st.DataObject) -> None:
    """With a rule left out: tensors that differ under a seed are named; where nothing is named nothing differs."""
    left_out = data.draw(st.integers(0, len(case.rules) - 1))
    texts = [case.text, "; ".join(rule.text for n, rule in enumerate(case.rules) if n != left_out)]
    nets = [case.net(), case.net()]
    nets[1].load_state_dict(nets[0].state_dict())
    try:
        plans = [initdsl.plan(net, text, seed=3) for net, text in zip(nets, texts, strict=True)]
        diff = initdsl.diff(*plans)
        for plan in plans:
            plan.apply()
    except initdsl.InitDSLError:
        return  # the rule that is left out was needed by another
    before, after = map(bits, nets)
    differ = {name for name in before if before[name] != after.get(name)}
    names = {name for plan in plans for entry in plan for name in entry.names if entry.name in said(diff)}
    tied = {name for change in diff.tied for name in change.names}
    assert differ <= names | said(diff) | tied
    if not diff:
        assert before == after
    back = initdsl.diff(plans[1], plans[0])
    assert bool(back) == bool(diff)
    assert {c.name for c in back.uncovered} == {c.name for c in diff.covered}


def said(diff: initdsl.Diff) -> set[str]:
    return {change.name for changes in diff.groups.values() for change in changes}
