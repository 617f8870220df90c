"""Fills in several threads, signals in the middle of one: each model as it was or complete, and never a mixture."""

from __future__ import annotations

import gc
import signal
import sys
import textwrap
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

import initdsl
from initdsl.network.garbage import no_collection
from tests.support.nets import mlp, names_of, same, snapshot
from tests.support.processes import LONGEST, python

RULES = "Linear.weight ~ normal(0, 1); Linear.bias = 1; net[0].weight ~ orthogonal(); net[2].weight = it * 2 + index(0)"


def test_threads_get_the_bits_that_they_get_alone() -> None:
    def fill(seed: int) -> dict[str, torch.Tensor]:
        net = mlp(4, 16)
        nn.init.zeros_(net[2].weight)
        initdsl.apply(net, RULES, seed=seed)
        return net.state_dict()

    alone = [fill(seed) for seed in range(24)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(fill, range(24)))
    for a, b in zip(alone, together, strict=True):
        assert a.keys() == b.keys()
        for name, value in a.items():
            assert torch.equal(value, b[name]), name
    assert not torch.equal(alone[0]["0.weight"], alone[1]["0.weight"])


class Drawing(nn.Module):
    """A model that takes a while to build, and draws a buffer meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(30))
        self.register_buffer("noise", torch.rand(4) + torch.rand(4))


def test_networks_are_materialized_in_many_threads() -> None:
    """Beside threads that build models as usual: theirs get memory, and neither meets the other's."""
    done = threading.Event()

    def usual() -> int:
        built = 0
        while not done.is_set() or not built:
            assert not any(parameter.is_meta for parameter in Drawing().parameters())
            built += 1
        return built

    def build(seed: int) -> dict[str, torch.Tensor]:
        net = initdsl.materialize(Drawing, "Linear.weight ~ normal(0, 1); Linear.bias = 0", seed=seed)
        assert not any(parameter.is_meta for parameter in net.parameters())
        return net.state_dict()

    alone = [build(seed) for seed in range(4)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(build, list(range(4)) * 6))
    for number, state in enumerate(together):
        for name, value in alone[number % 4].items():
            assert torch.equal(state[name], value), name
    with ThreadPoolExecutor(12) as pool:  # these draw from the one generator that there is
        others = [pool.submit(usual) for _ in range(4)]
        try:
            assert len(list(pool.map(build, range(24)))) == 24
        finally:
            done.set()
        assert all(other.result() for other in others)


@pytest.mark.parametrize("shared", ["the model", "a parameter", "a view of a parameter"])
def test_a_second_fill_is_refused_and_the_first_goes_on(shared: str) -> None:
    net = mlp()
    other = net
    if shared != "the model":
        other = mlp()
        weight = net[0].weight
        other[0].weight = weight if shared == "a parameter" else nn.Parameter(weight.detach()[:, :])
    entered, leave = threading.Event(), threading.Event()

    def slow(tensor: torch.Tensor) -> None:
        entered.set()
        assert leave.wait(LONGEST)
        tensor.fill_(3)

    first = threading.Thread(
        target=initdsl.apply, args=(net, "*.* = 1; net[2].weight = slow()"), kwargs={"initializers": {"slow": slow}}
    )
    first.start()
    try:
        assert entered.wait(LONGEST)
        before = snapshot(other)
        with pytest.raises(initdsl.ResolveError) as caught:
            initdsl.apply(other, "*.* = 2")
        assert names_of(caught.value) == ["busy-network"]
        same(before, snapshot(other))
        initdsl.apply(mlp(), "*.* = 2")  # another one is free
    finally:
        leave.set()
        first.join()
    assert (net[0].weight == 1).all()
    assert (net[2].weight == 3).all()
    initdsl.apply(other, "*.* = 2")  # and so is this one now
    assert (other[0].weight == 2).all()


def test_a_fill_within_a_fill() -> None:
    net, other = mlp(), mlp()
    initdsl.apply(net, "*.* = 1", on_init=lambda entry: initdsl.apply(other, "*.* = 2"))
    assert (other[0].weight == 2).all()
    before = snapshot(net)
    with pytest.raises(initdsl.ApplyError, match="is being filled"):
        initdsl.apply(net, "*.* = 5", on_init=lambda entry: initdsl.apply(net, "*.* = 2"))
    same(before, snapshot(net))
    initdsl.apply(net, "*.* = 3")  # nothing stays claimed
    assert (net[0].weight == 3).all()


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_put_back_by_the_last(enabled: bool) -> None:
    was = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        first, second = no_collection(), no_collection(False)
        first.__enter__()
        hold = second.__enter__()
        first.__exit__(None, None, None)
        assert gc.isenabled() == enabled
        hold()
        assert not gc.isenabled()
        third = no_collection()
        third.__enter__()
        second.__exit__(None, None, None)
        assert not gc.isenabled()
        third.__exit__(None, None, None)
        assert gc.isenabled() == enabled
        with pytest.raises(initdsl.ResolveError):
            initdsl.apply(nn.Sequential(*[nn.Identity() for _ in range(20000)]), "net[0].weight = 1")
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if was else gc.disable)()


@pytest.mark.parametrize("frozen", [True, False])
def test_what_a_plan_makes_is_not_looked_at_as_new(frozen: bool) -> None:
    """Garbage of before is collected yet, and what was frozen stays so."""

    class Cycle:
        pass

    net = nn.Sequential(*[nn.Identity() for _ in range(5000)])
    rules = initdsl.parse("Linear.weight? = 1")
    initdsl.plan(net, rules)
    gc.collect()
    cycle = Cycle()
    cycle.own, gone = cycle, weakref.ref(cycle)
    if frozen:
        gc.freeze()
    try:
        before = gc.get_freeze_count()
        del cycle
        plan = initdsl.plan(net, rules)
        assert gc.get_freeze_count() == before
        new = {id(each) for generation in (0, 1) for each in gc.get_objects(generation)}
        assert frozen or not any(id(module) in new for module in plan.network.modules)
        gc.unfreeze()
        gc.collect()
        assert gone() is None
    finally:
        gc.unfreeze()


SIGNALLED = """
    import os, signal, sys, threading, time
    import torch, initdsl
    from torch import nn
    signal.signal(signal.SIGINT, signal.default_int_handler)
    def raising(number, frame):
        raise TimeoutError
    signal.signal(signal.SIGTERM, raising)
    number = signal.{name}
    net = nn.ParameterList([torch.zeros(1_000_000) for _ in range(40)])
    plan = initdsl.plan(net, "net.* ~ uniform(1, 2)", seed={seed})
    torch.set_num_threads(2)
    def when_it_has_begun():
        while not net[0][0] and not net[39][-1]:
            pass
        os.kill(os.getpid(), number)
    threading.Thread(target=when_it_has_begun, daemon=True).start()
    try:
        plan.apply()
    except (KeyboardInterrupt, TimeoutError) as error:
        written = sum(bool((p >= 1).all()) for p in net)
        print(type(error).__name__, written, signal.getsignal(signal.SIGTERM) is raising)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are another thing there")
@pytest.mark.parametrize("seed", [None, 7])
@pytest.mark.parametrize(("name", "error"), [("SIGINT", "KeyboardInterrupt"), ("SIGTERM", "TimeoutError")])
def test_a_signal_in_the_middle_of_a_fill(seed: int | None, name: str, error: str) -> None:
    """A plan without a backup is carried out to its end; then the handler has its say."""
    code = textwrap.dedent(SIGNALLED).format(name=name, seed=seed)
    done = python("-c", code)
    assert done.stdout.split() == [error, "40", "True"], done.stderr


def test_a_handler_may_interrupt_what_can_be_undone() -> None:
    net = mlp()
    before = snapshot(net)

    def timed_out(*_: object) -> None:
        raise TimeoutError("too long")

    def slow(tensor: torch.Tensor) -> None:
        tensor.fill_(9)
        signal.raise_signal(signal.SIGTERM)
        tensor.fill_(8)

    was = signal.signal(signal.SIGTERM, timed_out)
    try:
        with pytest.raises(initdsl.ApplyError, match="too long"):
            initdsl.apply(net, "*.* = 1; net[0].weight = slow()", initializers={"slow": slow})
        assert signal.getsignal(signal.SIGTERM) is timed_out
    finally:
        signal.signal(signal.SIGTERM, was)
    same(before, snapshot(net))
