"""`expect`: what the plan decides, what a fill is held to, what `verify` and tests say of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import initdsl
from initdsl.testing import assert_initialized

pytest_plugins = ["pytester"]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(40, 16)
        self.up = nn.Linear(16, 64)
        self.norm = nn.LayerNorm(64)
        self.head = nn.Linear(16, 40, bias=False)


RULES = """
Linear.weight, Embedding.weight ~ normal(0, 0.01)
Linear.bias, LayerNorm.bias = 0
LayerNorm.weight = 1
tie net.embed net.head
"""

MET = [
    "expect Linear.weight std in [0.009, 0.011]",
    "expect net covered",
    "expect tied net.head.weight net.embed.weight",
    "expect tied net.head net.embed",
    "expect LayerNorm.weight values = 1",
    "expect net.up.weight shape = (64, 16)",
    "expect net.up.weight shape != (16, 64)",
    "expect Linear { expect .weight max < 1 }".removeprefix("expect "),
    "expect net finite",
    "expect net.up.weight mean in [-0.01, 0.01]",
    "expect Linear.weight std in [0.03 / sqrt(fan_in), 0.05 / sqrt(fan_in)]",
    "expect net.norm.weight norm = 8; expect net.norm.bias std == 0",
    "let s = 0.01; expect net.up.weight std <= 1.1 * s; expect net.up.weight min >= -8 * s",
]

# what is wrong, and what is said of it; the plan knows
DECIDED = {
    "expect LayerNorm.weight values = 2": "is 1: its elements can't be 2",
    "expect LayerNorm.weight max < 0.5": "its largest element can't be < 0.5",
    "expect LayerNorm.weight std in [1, 2]": "its std can't be in [1, 2]",
    "expect tied net.up.weight net.embed.weight": "are not tied",
    "expect net.up.weight shape = (16, 64)": "has shape [64, 16], not [16, 64]",
    "net.up.bias ~ uniform(0, 1); expect net.up.bias mean in [-2, -1]": "its mean can't be in [-2, -1]",
    "expect Linear.weight std in [2, 1]": "is above the upper bound",
    "expect Linear.weight std < weight": "not a number",
    "expect Linear.weight[0] std < 1": "speaks of whole parameters",
    "expect net.nowhere std < 1": "nowhere",
}
# only the values tell
MEASURED = {
    "expect Linear.weight std in [0.02, 0.03]": "expected in [0.02, 0.03]",
    "expect net.up.weight max < 0.001": "largest element",
    "expect net.up.weight values in [-0.001, 0.001]": "has values from",
    "expect net.up.weight norm = 3": "has norm",
    "net.up.bias = net.up.bias * 0 + inf; expect net finite": "64 elements of `net.up.bias` are not finite",
}


@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize("line", MET)
def test_what_holds(line: str, seed: int | None) -> None:
    net = Net()
    initdsl.apply(net, RULES + line, seed=seed)
    assert initdsl.verify(net, RULES + line, seed)


@pytest.mark.parametrize("line", DECIDED)
def test_what_a_plan_decides(line: str) -> None:
    with torch.device("meta"):
        net = Net()
    with pytest.raises((initdsl.ResolveError, initdsl.RuleError)) as error:
        initdsl.plan(net, RULES + line)
    assert DECIDED[line] in str(error.value)
    assert error.value.diagnostics[0].span is not None


def test_what_is_not_covered() -> None:
    with pytest.raises(initdsl.ResolveError, match=r"no rule sets all of `net.up.bias`"):
        initdsl.plan(Net(), "Linear.weight = 0; expect net.up covered")
    initdsl.plan(Net(), "Linear.weight = 0; keep net.up.bias; expect net.up covered")


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("line", MEASURED)
def test_a_fill_that_fails_it_changes_nothing(line: str, seed: int | None) -> None:
    net = Net()
    before = {name: (id(p), p.detach().clone()) for name, p in net.named_parameters(remove_duplicate=False)}
    state = torch.random.get_rng_state()
    with pytest.raises(initdsl.ApplyError) as error:
        initdsl.apply(net, RULES + line, seed=seed)
    assert MEASURED[line] in str(error.value)
    assert error.value.diagnostics[0].name == "unmet-expectation"
    assert torch.equal(state, torch.random.get_rng_state())
    after = {name: (id(p), p) for name, p in net.named_parameters(remove_duplicate=False)}
    assert all(id_ == after[n][0] and torch.equal(p, after[n][1]) for n, (id_, p) in before.items())


def test_all_that_fail_are_told() -> None:
    with pytest.raises(initdsl.ApplyError) as error:
        initdsl.apply(Net(), RULES + "expect Linear.weight std > 1")
    assert len(error.value.diagnostics) == 2


def test_meta_plans_materialize_and_stream(tmp_path: Path) -> None:
    good, bad = RULES + MET[0], RULES + "expect Linear.weight std > 1"
    with torch.device("meta"):
        assert initdsl.plan(Net(), bad).expected
    initdsl.materialize(Net, good, seed=0)
    with pytest.raises(initdsl.ApplyError, match="expected > 1"):
        initdsl.materialize(Net, bad, seed=0)
    initdsl.stream(Net, good, tmp_path / "good", seed=0)
    with pytest.raises(initdsl.ApplyError, match="expected > 1"):
        initdsl.stream(Net, bad, tmp_path / "bad", seed=0)
    assert not list((tmp_path / "bad").glob("*.index.json"))


def test_verify_looks_at_what_is_there() -> None:
    torch.manual_seed(0)
    net = Net()
    rules = "keep net; expect net.up.weight std in [0.009, 0.011]"
    nn.init.normal_(net.up.weight, std=0.01)
    assert initdsl.verify(net, rules)
    nn.init.normal_(net.up.weight, std=0.1)
    found = initdsl.verify(net, rules)
    assert not found
    assert "has std 0." in found.unmet[0]
    assert "1 expectation unmet" in str(found)
    assert initdsl.verify(net, rules, after_training=True)


def test_rule_sets_round_trip() -> None:
    rules = initdsl.parse(RULES + "\n".join(MET))
    assert initdsl.RuleSet.model_validate_json(rules.model_dump_json()) == rules


# ---- in tests


def test_assert_initialized() -> None:
    net = Net()
    initdsl.apply(net, RULES, seed=0)
    assert_initialized(net, RULES, 0)
    with torch.no_grad():
        net.norm.weight[0] = 2
    with pytest.raises(AssertionError, match=r"drift net.norm.weight"):
        assert_initialized(net, RULES)
    with pytest.raises(AssertionError, match=r"uncovered net.up.bias"):
        assert_initialized(net, "net.embed.* ~ normal(0, 0.01)")


def test_the_pytest_plugin(pytester: pytest.Pytester) -> None:
    pytester.makefile(".init", net="Linear.weight ~ normal(0, 0.02)\nLinear.bias = 0\n")
    pytester.makepyfile("""
        import initdsl, pytest
        from torch import nn
        RULES = "Linear.weight ~ normal(0, 0.02); Linear.bias = 0"
        def made():
            net = nn.Linear(50, 60)
            initdsl.apply(net, RULES, seed=1)
            return net
        @pytest.mark.initdsl("net.init", seed=1)
        def test_by_marker(assert_initialized):
            assert_initialized(made())
        def test_by_argument(assert_initialized):
            assert_initialized(made(), RULES)
        @pytest.mark.initdsl("net.init")
        def test_that_fails(assert_initialized):
            assert_initialized(nn.Linear(50, 60))
    """)
    result = pytester.runpytest_inprocess("--strict-markers", "-p", "no:asyncio", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*the model is not what its rules say*"])
