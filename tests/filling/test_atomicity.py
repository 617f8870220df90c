"""A fill that fails anywhere leaves parameters, buffers, ties, flags and random states as they were, to the last bit."""

from __future__ import annotations

import random
import sys
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import initdsl
from tests.support import processes
from tests.support.nets import Block, named, names_of, same, snapshot


class Net(nn.Module):
    """Something of everything: ties to be made, buffers, computed weights of four kinds, frozen and half tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.rnn = nn.ModuleList([nn.LSTM(4, 4), nn.LSTM(4, 4)])
        self.norm = nn.BatchNorm1d(4)
        self.wn = parametrizations.weight_norm(nn.Linear(4, 4))
        self.sn = parametrizations.spectral_norm(nn.Linear(4, 4))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.old = torch.nn.utils.weight_norm(nn.Linear(4, 4))
            self.old_sn = torch.nn.utils.spectral_norm(nn.Linear(4, 4))
        self.block = Block()
        self.halves = nn.Parameter(torch.full((4, 4), float("nan")).half())
        self.frozen = nn.Parameter(torch.ones(4, 4).t(), requires_grad=False)
        self.last = nn.Linear(4, 4)


RULES = """
tie net.rnn[0] net.rnn[1]; tie net.a.weight net.b.weight
default net.block; default BatchNorm1d; default net.a.bias
*.*(ndim>=2) ~ normal(0, 1)
net.wn.weight ~ uniform(); net.sn.weight ~ orthogonal(); net.old.weight ~ normal(); net.old_sn.weight ~ normal()
net.b.weight += 1; net.b.weight[0] = 3
net.last.weight as (2, 2, -1)[*] ~ xavier_uniform()
net.frozen = index(0) * 2; net.halves *= 0; net.halves = 1
net.norm.running_mean = 3
copy net.a.weight net.last.weight
net.last.bias = sum(net.a.weight)
"""


class Stop(BaseException):
    pass


def count_steps() -> int:
    calls: list[object] = []
    initdsl.apply(Net(), RULES, on_init=calls.append)
    return len(calls)


STEPS = count_steps()


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt, Stop, SystemExit, MemoryError])
def test_a_callback_that_raises_at_every_step(fault: type[BaseException]) -> None:
    torch.manual_seed(0)
    net = Net()
    before = snapshot(net)
    for step in range(STEPS if fault is ValueError else 3):
        left = [step]

        def fail(entry: object, left: list[int] = left) -> None:
            random.random()
            torch.rand(1)
            left[0] -= 1
            if left[0] < 0:
                raise fault("stop")

        with pytest.raises(initdsl.ApplyError if issubclass(fault, Exception) else fault) as caught:
            initdsl.apply(net, RULES, on_init=fail)
        if isinstance(caught.value, initdsl.ApplyError):
            assert names_of(caught.value) == ["callback-failed"]
            assert isinstance(caught.value.__cause__, fault)
        same(before, snapshot(net))


def faults() -> dict[str, Callable[[torch.Tensor], object]]:
    def raises(tensor: torch.Tensor) -> None:
        tensor.fill_(99)
        raise RuntimeError("half way")

    return {
        "raises": raises,
        "wrong_shape": lambda tensor: torch.zeros(tensor.numel() + 1),
        "no_tensor": lambda tensor: 3,
        "broadcasts": lambda tensor: torch.zeros(()),
        "exits": lambda tensor: sys.exit(3),
        "resizes": lambda tensor: tensor.resize_(1000),
    }


@pytest.mark.parametrize("name", sorted(faults()))
@pytest.mark.parametrize(
    "place",
    [
        "net.a.weight",
        "net.wn.weight",
        "net.old.weight",
        "net.sn.weight",
        "net.last.bias",
        "net.rnn[1].weight_hh_l0",
        "net.halves",
        "net.norm.running_var",
        "net.last.weight[1]",
        "net.block.norm.weight",
    ],
)
def test_a_function_that_fails(name: str, place: str) -> None:
    torch.manual_seed(0)
    net = Net()
    before = snapshot(net)
    with pytest.raises(SystemExit if name == "exits" else initdsl.ApplyError) as caught:
        initdsl.apply(net, f"{RULES}\n{place} = {name}()", initializers=faults())
    if name != "exits":
        found = caught.value.diagnostics[0]
        assert found.name == "fill-failed"
        assert found.line == RULES.count("\n") + 2
        assert name in found.message
    same(before, snapshot(net))


def test_failing_at_the_nth_call() -> None:
    net = Net()
    before = snapshot(net)
    for nth in range(1, 80):
        calls = [0]

        def fail(tensor: torch.Tensor, calls: list[int] = calls, nth: int = nth, generator: object = None) -> None:
            calls[0] += 1
            tensor.normal_()
            if calls[0] == nth:
                raise ValueError("now")

        try:
            initdsl.apply(net, f"{RULES}\n*.* ~ fail(); net.last.weight ~ normal()", initializers={"fail": fail})
        except initdsl.ApplyError:
            same(before, snapshot(net))
        else:
            assert calls[0] < nth
            break
    else:
        raise AssertionError("it never ran out of calls")


def test_values_that_turn_out_wrong() -> None:
    net = Net()
    before = snapshot(net)
    for rule in (
        "net.last.bias = 1 / (net.a.bias - net.a.bias)",
        "net.halves = exp(index(0) * 10000)",
        "net.frozen *= 1e38; net.frozen *= 10",
    ):
        with pytest.raises(initdsl.ApplyError) as caught:
            initdsl.apply(net, f"{RULES}\n{rule}")
        assert names_of(caught.value) == ["not-finite"]
        same(before, snapshot(net))


def test_an_argument_that_turns_out_wrong_is_underlined() -> None:
    net = Net()
    before = snapshot(net)
    rule = "net.last.weight ~ normal(0, -1 - abs(sum(net.frozen)))"
    with pytest.raises(initdsl.ApplyError, match="`std` must be at least 0") as caught:
        initdsl.apply(net, rule)
    [found] = caught.value.diagnostics
    assert found.name == "bad-argument"
    assert rule[found.span.start : found.span.end] == "-1 - abs(sum(net.frozen))"
    same(before, snapshot(net))


def test_a_default_that_raises() -> None:
    class Bad(nn.Linear):
        def reset_parameters(self) -> None:
            if getattr(self, "ready", False):
                self.weight.data.fill_(9)
                raise OSError("disk")

    net = nn.Sequential(nn.Linear(2, 2), Bad(2, 2), nn.Linear(2, 2))
    with torch.no_grad():
        net[1].weight.fill_(1)
        net[1].bias.fill_(1)
    net[1].ready = True
    before = snapshot(net)
    with pytest.raises(initdsl.ApplyError, match="disk"):
        initdsl.apply(net, "*.* ~ normal(); default net[1]")
    same(before, snapshot(net))


def test_a_right_inverse_that_raises() -> None:
    class Bad(nn.Module):
        armed = False

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

        def right_inverse(self, x: torch.Tensor) -> torch.Tensor:
            if Bad.armed:
                raise ArithmeticError("singular")
            return x

    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    nn.utils.parametrize.register_parametrization(net[1], "weight", Bad())
    Bad.armed = True
    before = snapshot(net)
    with pytest.raises(initdsl.ApplyError, match="singular"):
        initdsl.apply(net, "*.* ~ normal()")
    same(before, snapshot(net))


@pytest.mark.parametrize(
    "tensor",
    [torch.ones(1, 4).expand(4, 4), torch.zeros(4, 4).to(torch.float8_e5m2), torch.ones(4, 4).to_sparse()],
    ids=["expanded", "eight-bit", "sparse"],
)
def test_unusual_memory(tensor: torch.Tensor) -> None:
    """Either it is filled or nothing is."""
    net = nn.Sequential(nn.Linear(4, 4), nn.Module(), nn.Linear(4, 4))
    net[1].w = nn.Parameter(tensor)
    values = {n: p.detach().clone() for n, p in net.named_parameters() if n != "1.w"}
    try:
        initdsl.apply(net, "*.* ~ normal(); net[1].w ~ normal()")
    except initdsl.InitDSLError:
        for name, value in values.items():
            assert torch.equal(named(net)[name], value)


def test_warnings_made_errors_change_nothing() -> None:
    net = nn.Linear(2, 2)
    before = snapshot(net)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for rules in ("Linear.weight ~ normal()", "Linear.* ~ normal(); Conv2d.weight = 0"):
            with pytest.raises((initdsl.UncoveredParameterWarning, initdsl.UnmatchedRuleWarning)):
                initdsl.apply(net, rules)
    same(before, snapshot(net))


def test_planning_changes_nothing() -> None:
    net = Net()
    net.train()
    before = snapshot(net)
    plan = initdsl.plan(net, RULES)
    str(plan)
    plan.to_dict()
    for entry in plan:
        plan.explain(entry.name)
    same(before, snapshot(net))


INTERRUPTED = """
    import os, signal, sys, threading
    import torch, initdsl
    from torch import nn
    sys.path.insert(0, {root!r})
    from tests.support.nets import same, snapshot
    from tests.filling.test_atomicity import Net, RULES
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job of the background starts with it ignored
    torch.manual_seed(0)
    net = Net()
    before = snapshot(net)
    def slow(tensor):
        tensor.fill_(5)
        {act}
        tensor.fill_(6)
    try:
        initdsl.apply(net, RULES + "\\nnet.a.bias, net.last.bias, net.norm.weight = slow()", initializers={{"slow": slow}})
    except KeyboardInterrupt:
        same(before, snapshot(net))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        print("as it was")
    sys.stdout.flush()
    os._exit(0)
"""


@pytest.mark.parametrize(
    "act",
    [
        "os.kill(os.getpid(), signal.SIGINT)",
        "one = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)); one.start(); one.join()",
    ],
    ids=["from within", "from another thread"],
)
def test_a_real_interrupt(act: str) -> None:
    code = textwrap.dedent(INTERRUPTED).format(root=str(Path(__file__).parents[2]), act=act)
    done = processes.python("-c", code)
    assert done.stdout.strip() == "as it was", done.stderr


def test_the_random_state_moves_by_the_draws_alone() -> None:
    """A fill that works leaves the generators where the draws bring them, and no further."""
    net = nn.Linear(3, 3)
    torch.manual_seed(1)
    python = random.getstate()
    initdsl.apply(net, "Linear.weight ~ normal(); Linear.bias = sum(weight)")
    after = torch.random.get_rng_state()
    torch.manual_seed(1)
    torch.empty(3, 3).normal_()
    assert torch.equal(after, torch.random.get_rng_state())
    assert random.getstate() == python


# ---- what a step writes beside its own tensor


class Writes(nn.Module):
    """A reset that writes below itself, takes other objects for what it holds, and then raises."""

    def __init__(self) -> None:
        super().__init__()
        self.child = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)
        self.scale = nn.Parameter(torch.ones(2))
        self.register_buffer("seen", torch.zeros(3))
        self.ready = False

    def reset_parameters(self) -> None:
        if not self.ready:
            return
        with torch.no_grad():
            self.child.weight.fill_(7)
            self.norm.running_mean.fill_(7)
            self.seen.fill_(7)
            self.scale.fill_(7)
        self.child.bias = nn.Parameter(torch.full((2,), 7.0))
        self.seen = torch.full((3,), 7.0)
        self.norm.eval()
        self.scale.requires_grad_(False)
        torch.rand(3), random.random(), np.random.rand()
        raise OSError("half way")


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("rules", ["Linear.* ~ normal(0, 1); default net[1]", "net[0].* = 1; default net[1].scale"])
def test_a_reset_that_raises_has_written_nothing_below_it(rules: str, seed: int | None) -> None:
    net = nn.Sequential(nn.Linear(2, 2), Writes())
    net[1].ready = True
    before, generator = snapshot(net), np.random.get_state()[1].copy()
    held = [id(t) for t in (*net.parameters(), *net.buffers())]
    with pytest.raises(initdsl.ApplyError, match="half way") as caught:
        initdsl.apply(net, rules, seed=seed)
    assert names_of(caught.value) == ["fill-failed"]
    same(before, snapshot(net))
    assert [id(t) for t in (*net.parameters(), *net.buffers())] == held
    assert (np.random.get_state()[1] == generator).all()
    assert all(module.training for module in net.modules())
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_a_default_comes_before_what_reads_it() -> None:
    net = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    with torch.no_grad():
        net["b"].weight.fill_(9)
    initdsl.apply(net, "net.a.weight = net.b.weight * 2; net.a.bias = 0; default net.b.weight; net.b.bias = 0")
    assert torch.equal(net["a"].weight, net["b"].weight * 2)
    assert net["b"].weight.unique().numel() > 1


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, torch.nn.utils.weight_norm])
def test_a_rule_reads_a_computed_weight_as_it_is_now(wrap: Callable[[nn.Module], nn.Module]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = nn.Sequential(wrap(nn.Linear(3, 3)), nn.Linear(3, 3))
    initdsl.apply(net, "net[0].weight ~ normal(0, 1); net[1].weight = net[0].weight; *.bias = sum(net[0].weight)")
    assert torch.allclose(net[1].weight, net[0].weight)
    assert torch.allclose(net[1].bias, net[0].weight.sum().expand(3))


@pytest.mark.parametrize("length", [299, 300, 301, 1000])
def test_a_long_message_of_somebodys_is_cut(length: int) -> None:
    def fail(entry: object) -> None:
        raise ValueError("x" * length + "\nsecond line")

    with pytest.raises(initdsl.ApplyError) as caught:
        initdsl.apply(nn.Linear(2, 2), "*.* = 1", on_init=fail)
    said = caught.value.diagnostics[0].message.rpartition(": ")[2]
    assert said == ("x" * length if length <= 300 else "x" * 297 + "...")
    assert str(caught.value.__cause__).startswith("x" * length)


def test_a_plan_of_a_description_fills_nothing() -> None:
    network = initdsl.Network.from_manifest(initdsl.describe(nn.Linear(2, 2))[0].to_manifest())
    with pytest.raises(initdsl.ResolveError, match="no model to fill") as caught:
        initdsl.plan(network, "*.* = 1").apply()
    assert names_of(caught.value) == ["no-network"]
