"""Seeded fills: a value depends on the seed, the parameter's name, its place and the rule, and on nothing else."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import initdsl
from initdsl.initializers import Normal, Uniform
from initdsl.streams import keys
from initdsl.streams import tensors as streams
from tests.support.calls import CALLS, DRAWS, ELEMENTWISE, Call

drawn = pytest.mark.parametrize("call", DRAWS, ids=str)


def one(*shape: int, dtype: torch.dtype = torch.float32, name: str = "w") -> nn.Module:
    net = nn.Module()
    net.register_parameter(name, nn.Parameter(torch.zeros(*shape, dtype=dtype)))
    return net


def filled(rules: str, *shape: int, seed: int = 7, dtype: torch.dtype = torch.float32, **options: Any) -> torch.Tensor:
    net = one(*shape, dtype=dtype)
    initdsl.apply(net, rules, seed=seed, **options)
    return net.w.detach()


# ---- what the values don't depend on


@drawn
def test_same_seed_same_values(call: Call) -> None:
    rules = f"net.w {call.rule}"
    state = torch.get_rng_state()
    assert torch.equal(filled(rules, *call.shape), filled(rules, *call.shape))
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(filled(rules, *call.shape), filled(rules, *call.shape, seed=8))


@drawn
def test_neighbours_and_order_of_rules_do_not_show(call: Call) -> None:
    def same() -> nn.Module:
        return one(*call.shape)

    alone = nn.ModuleDict({"b": same()})
    initdsl.apply(alone, f"net.b.w {call.rule}", seed=3)
    crowd = nn.ModuleDict({"a": same(), "b": same(), "c": nn.Embedding(9, 9), "d": nn.Linear(2, 2)})
    initdsl.apply(crowd, f"Embedding.weight ~ normal(); net.a.w, net.b.w {call.rule}; Linear.* ~ uniform()", seed=3)
    again = nn.ModuleDict({"b": same(), "a": same(), "d": nn.Linear(2, 2)})
    initdsl.apply(again, f"net.a.w ~ normal(); Linear.* = 1; net.b.w {call.rule}", seed=3)
    assert torch.equal(alone["b"].w, crowd["b"].w)
    assert torch.equal(alone["b"].w, again["b"].w)
    assert not torch.equal(crowd["a"].w, crowd["b"].w)


@drawn
def test_threads_do_not_show(call: Call, threads: Any) -> None:
    values = []
    for count in (1, 2, 3, 8, 16):
        threads(count)
        values.append(filled(f"net.w {call.rule}", *call.large))
    assert all(torch.equal(values[0], other) for other in values[1:])


EXPRESSIONS = [
    "= sin(index(0) * 10000 ** (-2 * index(1) / 600)) + tanh(index(0) / 700)",
    "~ uniform() ** 2.5 * exp(uniform())",
    "~ normal(0, 1) / norm(uniform(1, 2)) + mean(uniform(), dim=1)",
]


@pytest.mark.parametrize("rule", EXPRESSIONS)
def test_threads_do_not_show_in_expressions(rule: str, threads: Any) -> None:
    values = []
    for count in (1, 2, 3, 7):
        threads(count)
        values.append(filled(f"net.w {rule}", 700, 601))
    assert all(torch.equal(values[0], other) for other in values[1:])


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_layout_does_not_show(call: Call) -> None:
    plain = filled(f"net.w {call.rule}", *call.shape)
    turned = torch.zeros(call.shape[::-1]).permute(*range(len(call.shape))[::-1])
    strided = torch.zeros([2 * size for size in call.shape])[(slice(None, None, 2),) * len(call.shape)]
    for start in (turned, strided):
        net = nn.Module()
        net.w = nn.Parameter(start)
        assert not net.w.is_contiguous()
        initdsl.apply(net, f"net.w {call.rule}", seed=7)
        assert torch.equal(net.w, plain)
        assert net.w.stride() == start.stride()


@pytest.mark.parametrize("call", [call for call in CALLS if call.takes(4)], ids=str)
def test_channels_last_does_not_show(call: Call) -> None:
    a, b = one(32, 16, 3, 3), one(32, 16, 3, 3).to(memory_format=torch.channels_last)
    for net in (a, b):
        initdsl.apply(net, f"net.w {call.rule}", seed=7)
    assert torch.equal(a.w, b.w)
    assert not b.w.is_contiguous()


@pytest.mark.parametrize("call", CALLS, ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_rounded_float32(call: Call, dtype: torch.dtype) -> None:
    rules = f"net.w {call.rule}"
    half, rounded = filled(rules, *call.shape, dtype=dtype), filled(rules, *call.shape).to(dtype)
    what = initdsl.plan(one(*call.shape, dtype=dtype), rules)["w"].distribution
    low, high = what.bounds if what is not None else (-math.inf, math.inf)
    outside = (rounded.double() < low) | (rounded.double() >= high)  # there the next number inside is taken
    outside &= what is None or what.kind not in ("bernoulli", "constant")  # their values are the bounds
    assert torch.equal(half[~outside], rounded[~outside])
    assert int(outside.sum()) < 60
    assert what is None or what.kind == "constant" or bool(((half.double() >= low) & (half.double() <= high)).all())


@pytest.mark.parametrize("call", ["normal(0, 2)", "uniform(-1, 1)"])
def test_float64_is_the_stream_of_its_own(call: str) -> None:
    value = torch.zeros(50, 40, dtype=torch.float64)
    what = Normal(0, 2) if "normal" in call else Uniform(-1, 1)
    streams.fill(value, what, keys.key(7, "w"))
    assert torch.equal(filled(f"net.w ~ {call}", 50, 40, dtype=torch.float64), value)


def test_expression_rounds_once_to_half() -> None:
    rules = "net.w ~ normal(0, 1) * 0.3 + uniform()"
    assert torch.equal(filled(rules, 90, 70, dtype=torch.bfloat16), filled(rules, 90, 70).to(torch.bfloat16))


def test_wrappers_do_not_show() -> None:
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    rules = "Linear.weight ~ normal(); Linear.bias ~ uniform(); default LayerNorm"

    def make() -> nn.Sequential:
        return nn.Sequential(nn.Linear(20, 30), nn.LayerNorm(30), nn.Linear(30, 8))

    plain = make()
    initdsl.apply(plain, rules, seed=5)
    wrapped = [torch.compile(make()), nn.DataParallel(make()), checkpoint_wrapper(make())]
    inner = make()
    inner[0] = checkpoint_wrapper(inner[0])
    for net in (*wrapped, inner):
        initdsl.apply(net, rules, seed=5)
        for mine, theirs in zip(net.parameters(), plain.parameters(), strict=True):
            assert torch.equal(mine, theirs)


# ---- slices, pieces, edits


@pytest.mark.parametrize("call", ELEMENTWISE, ids=str)
@pytest.mark.parametrize("index", ["3:20", "5", "4:40:3, 1:2", "..., 7", "11, 13", "-9:, -5:-2"])
def test_a_slice_is_that_slice_of_the_whole(call: Call, index: str) -> None:
    # fans are the piece's: fix what a slice would change by drawing the same distribution on both
    plan = initdsl.plan(one(41, 33), f"net.w {call.rule}")
    what = plan["w"].base.payload
    written = {
        "uniform": "uniform({low!r}, {high!r})",
        "normal": "normal({mean!r}, {std!r})",
        "truncated_normal": "trunc_normal({loc!r}, {scale!r}, {low!r}, {high!r})",
        "bernoulli": call.text,
    }.get(what.kind)
    assert written, f"say here how a distribution of kind {what.kind} is written as a call"
    text = written.format(**{name: float(getattr(what, name)) for name in type(what).__slots__})
    whole = filled(f"net.w ~ {text}", 41, 33)
    part = filled(f"net.w = 99; net.w[{index}] ~ {text}", 41, 33)
    chosen = torch.zeros(41, 33, dtype=torch.bool)
    chosen[eval(f"__import__('numpy').s_[{index}]")] = True
    assert torch.equal(part[chosen], whole[chosen])
    assert bool((part[~chosen] == 99).all())


def test_pieces_of_a_view_are_pieces_of_the_whole() -> None:
    whole = filled("net.w ~ normal(0, 1)", 12, 10)
    assert torch.equal(filled("net.w as (3, 4, -1)[*] ~ normal(0, 1)", 12, 10), whole)
    assert torch.equal(filled("net.w as (4, 3, -1)[:, 1] ~ normal(0, 1)", 12, 10)[0], torch.zeros(10))
    assert torch.equal(
        filled("net.w as (4, 3, -1)[:, 1] ~ normal(0, 1)", 12, 10).view(4, 3, 10)[:, 1], whole.view(4, 3, 10)[:, 1]
    )


def test_an_expression_on_a_slice_is_that_slice_of_the_whole() -> None:
    rule = "normal(0, 1) * 0.1 + uniform()"
    assert torch.equal(filled(f"net.w[2:7] ~ {rule}", 12, 10)[2:7], filled(f"net.w ~ {rule}", 12, 10)[2:7])


@pytest.mark.parametrize("call", ["orthogonal()", "sparse(0.5)"])
def test_whole_tensor_pieces_differ(call: str) -> None:
    pieces = filled(f"net.w[*] ~ {call}", 3, 8, 8)
    assert not torch.equal(pieces[0], pieces[1])
    assert torch.equal(pieces[1], filled(f"net.w[1] ~ {call}", 3, 8, 8)[1])


def test_orthogonal_is_orthogonal() -> None:
    for shape in ((40, 30), (30, 40), (16, 4, 3, 3)):
        w = filled("net.w ~ orthogonal(gain=2)", *shape).flatten(1).double() / 2
        gram = w.T @ w if w.shape[0] > w.shape[1] else w @ w.T
        assert torch.allclose(gram, torch.eye(len(gram), dtype=torch.float64), atol=1e-6)


def test_sparse_has_its_zeros_in_every_column() -> None:
    w = filled("net.w ~ sparse(0.25, std=2)", 200, 50)
    assert bool(((w == 0).sum(0) == 50).all())
    assert abs(float(w[w != 0].std()) - 2) < 0.1


def test_the_second_draw_of_a_rule_is_another() -> None:
    difference = filled("net.w ~ uniform() - uniform()", 100, 100)
    assert float(difference.abs().min()) >= 0
    assert int((difference == 0).sum()) < 5
    assert abs(float(difference.std()) - (1 / 6) ** 0.5) < 0.02


@pytest.mark.parametrize(
    "rules",
    [
        "net.w ~ normal(0, 1); net.w += normal(0, 1)",
        "net.w ~ normal(0, 1); net.w[:] += normal(0, 1)",
        "net.w ~ normal(0, 1); net.w ~ it + normal(0, 1)",
        "net.w ~ normal(0, 1); net.w[0:100] ~ it + normal(0, 1)",
        "net.w ~ normal(0, 1); net.w[0:100] ~ w[0:100] + normal(0, 1)",
        "net.w = 0; net.w += normal(0, 1); net.w += normal(0, 1)",
        "net.w ~ normal(0, 1) + normal(0, 1)",
    ],
)
def test_draws_that_stack_are_independent(rules: str) -> None:
    assert abs(float(filled(rules, 100, 100).std()) - 2**0.5) < 0.05


def test_an_edit_that_draws_nothing_moves_no_stream() -> None:
    a = filled("net.w ~ normal(); net.w += uniform()", 30, 30)
    b = filled(
        "net.w ~ normal(); net.w *= 2; net.w /= 2; net.w[0] = 5; net.w[0] ~ normal(); net.w += uniform()", 30, 30
    )
    assert torch.equal(a, b)


def test_an_edit_of_pieces_is_the_edit_of_the_whole() -> None:
    a = filled("net.w ~ normal(); net.w += uniform()", 30, 30)
    assert torch.equal(a, filled("net.w ~ normal(); net.w[*] += uniform()", 30, 30))


def test_a_tied_tensor_has_the_stream_of_its_first_name() -> None:
    net = nn.ModuleDict({"a": nn.Linear(9, 9, bias=False), "b": nn.Linear(9, 9, bias=False)})
    initdsl.apply(net, "tie net.a net.b; net.b.weight ~ normal()", seed=7)
    alone = nn.ModuleDict({"a": nn.Linear(9, 9, bias=False)})
    initdsl.apply(alone, "net.a.weight ~ normal()", seed=7)
    assert net["a"].weight is net["b"].weight
    assert torch.equal(net["b"].weight, alone["a"].weight)


# ---- the global generators


def states() -> list[Any]:
    numpy = np.random.get_state()
    return [torch.get_rng_state().tolist(), random.getstate(), [numpy[0], numpy[1].tolist(), *numpy[2:]]]


class Careless(nn.Module):
    """Draws from every global generator in its reset."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        with torch.no_grad():
            self.weight.copy_(torch.tensor([random.random(), float(np.random.rand()), float(torch.rand(()))]))


RULES = """
Linear.weight ~ orthogonal()
Linear.bias ~ normal() - uniform()
Conv2d.weight ~ kaiming_normal()
Embedding.weight ~ sparse(0.5)
default LayerNorm, Conv2d.bias, MultiheadAttention, Careless
Linear.weight += uniform(0, 0.1)
"""


def varied() -> nn.Module:
    return nn.ModuleList(
        [
            nn.Linear(6, 5),
            nn.Conv2d(3, 4, 3),
            nn.Embedding(7, 6),
            nn.LayerNorm(5),
            nn.MultiheadAttention(8, 2),
            Careless(),
        ]
    )


def test_global_generators_are_neither_read_nor_moved() -> None:
    values = []
    for start in (1, 2):
        net = varied()
        torch.manual_seed(start)
        random.seed(start)
        np.random.seed(start)
        before = states()
        initdsl.apply(net, RULES, seed=11)
        assert states() == before
        values.append(nn.utils.parameters_to_vector(net.parameters()))
    assert torch.equal(*values)


def test_default_under_a_seed_is_torchs_distribution() -> None:
    net = nn.Linear(400, 300)
    initdsl.apply(net, "default net", seed=1)
    assert float(net.weight.detach().abs().max()) <= 0.05
    assert abs(float(net.weight.detach().std()) - 0.05 / 3**0.5) < 1e-3
    half = nn.Linear(400, 300, dtype=torch.bfloat16)
    initdsl.apply(half, "default net", seed=1)
    assert torch.equal(half.weight, net.weight.to(torch.bfloat16))
    alone = nn.Linear(400, 300)
    initdsl.apply(alone, "default net.weight; net.bias = 0", seed=1)
    assert torch.equal(alone.weight, net.weight)
    assert not bool(alone.bias.any())


def test_default_of_an_arranging_module() -> None:
    net = nn.Transformer(16, 2, 1, 1, 32)
    other = nn.Transformer(16, 2, 1, 1, 32)
    initdsl.apply(net, "default net", seed=1)
    initdsl.apply(other, "default net", seed=1)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
    assert (
        float(net.encoder.layers[0].linear1.weight.detach().abs().max()) > (6 / 48) ** 0.5 * 0.97
    )  # xavier, not kaiming(a=sqrt 5)


# ---- functions of one's own


def own(tensor: torch.Tensor, *, generator: torch.Generator | None = None) -> None:
    with torch.no_grad():
        tensor.exponential_(generator=generator)


def global_draw(tensor: torch.Tensor) -> None:
    tensor.normal_()


def python_draw(tensor: torch.Tensor, *, generator: torch.Generator | None = None) -> None:
    tensor.fill_(random.random())


def test_a_function_with_a_generator() -> None:
    initializers = {"own": own}
    before = states()
    a = filled("net.w ~ own()", 30, 20, initializers=initializers)
    assert states() == before
    assert torch.equal(a, filled("net.w ~ own()", 30, 20, initializers=initializers))
    assert torch.equal(filled("net.w ~ own()", 30, 20, initializers=initializers, dtype=torch.bfloat16), a.bfloat16())
    pieces = filled("net.w[*] ~ own()", 3, 20, initializers=initializers)
    assert not torch.equal(pieces[0], pieces[1])
    stacked = filled("net.w ~ own(); net.w += own()", 30, 20, initializers=initializers)
    assert not torch.equal(stacked, 2 * a)


def test_a_function_without_generator_is_refused() -> None:
    with pytest.raises(initdsl.RuleError, match=r"(?s)needs-generator.*takes no `generator`"):
        filled("net.w ~ global_draw()", 3, 3, initializers={"global_draw": global_draw})
    filled("net.w = twos()", 3, 3, initializers={"twos": lambda tensor: tensor.fill_(2)})
    net = one(3, 3)
    initdsl.apply(net, "net.w ~ global_draw()", initializers={"global_draw": global_draw})  # unseeded it may


@pytest.mark.parametrize(("rule", "function"), [("net.w = f()", global_draw), ("net.w ~ f()", python_draw)])
def test_a_function_that_draws_from_elsewhere_is_caught(rule: str, function: Any) -> None:
    before = states()
    net = one(3, 3)
    with pytest.raises(initdsl.ApplyError, match="global generator"):
        initdsl.apply(net, rule, seed=1, initializers={"f": function})
    assert states() == before
    assert not bool(net.w.any())


# ---- seeds


@pytest.mark.parametrize("seed", [True, 1.0, "7", torch.tensor(3.0), [1]])
def test_a_seed_is_an_integer(seed: Any) -> None:
    with pytest.raises(TypeError, match="a seed is an integer"):
        filled("net.w ~ normal()", 3, 3, seed=seed)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range(seed: int) -> None:
    with pytest.raises(ValueError, match="between 0 and 2"):
        filled("net.w ~ normal()", 3, 3, seed=seed)


def test_the_ends_of_the_range_are_seeds() -> None:
    assert not torch.equal(filled("net.w ~ normal()", 3, seed=0), filled("net.w ~ normal()", 3, seed=2**64 - 1))


# ---- devices

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@cuda
@pytest.mark.parametrize("call", CALLS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_device_does_not_show(call: Call, dtype: torch.dtype) -> None:
    here, there = one(*call.shape, dtype=dtype), one(*call.shape, dtype=dtype).cuda()
    for net in (here, there):
        initdsl.apply(net, f"net.w {call.rule}; net.w[3:5] += 1", seed=7)
    if "orthogonal" in call.name:  # another library's decomposition
        assert torch.allclose(there.w.cpu().float(), here.w.float(), atol=1e-2)
    else:
        assert torch.equal(there.w.cpu(), here.w)


@cuda
def test_a_device_unseeded_is_hand_written() -> None:
    mine, theirs = nn.Linear(90, 70).cuda(), nn.Linear(90, 70).cuda()
    torch.manual_seed(3)
    initdsl.apply(mine, "Linear.weight ~ kaiming_normal(); Linear.bias ~ uniform(-1, 1)")
    torch.manual_seed(3)
    nn.init.kaiming_normal_(theirs.weight)
    nn.init.uniform_(theirs.bias, -1, 1)
    assert torch.equal(mine.weight, theirs.weight)
    assert torch.equal(mine.bias, theirs.bias)


@cuda
def test_a_device_s_generator_stays_under_a_seed_and_after_a_failure() -> None:
    def bad(tensor: torch.Tensor) -> None:
        tensor.normal_()
        raise ZeroDivisionError

    net = nn.Linear(90, 70).cuda()
    before = torch.cuda.get_rng_state()
    initdsl.apply(net, "Linear.* ~ normal(); default net.bias", seed=1)
    assert torch.equal(torch.cuda.get_rng_state(), before)
    values = net.weight.clone()
    with pytest.raises(initdsl.ApplyError):
        initdsl.apply(net, "net.weight ~ normal(); net.bias ~ bad()", initializers={"bad": bad})
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert torch.equal(net.weight, values)


def test_small_tensors_are_filled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And have the values that each has by itself, whatever stands between them."""
    counts = []
    each = streams.fill_each
    monkeypatch.setattr("initdsl.streams.fill_each", lambda *a: (counts.append(len(a[0])), each(*a)))
    net = nn.Sequential(*(nn.Linear(4, 3) for _ in range(40)))
    initdsl.apply(net, "Linear.weight ~ normal(0, 1); Linear.bias = 2; net[20:].bias ~ uniform(); net[7].* = 0", seed=3)
    assert sum(counts) == 39 + 20
    for name, tensor in net.named_parameters():
        number, expected = int(name.split(".")[0]), torch.full(tensor.shape, 0.0 if name.startswith("7.") else 2.0)
        if number != 7 and "weight" in name:
            streams.fill(expected, Normal(0, 1), keys.key(3, name))
        elif number >= 20:
            streams.fill(expected, Uniform(0, 1), keys.key(3, name))
        assert torch.equal(tensor, expected), name
    counts.clear()
    initdsl.apply(net, "Linear.weight ~ normal(0, 1)", seed=3)
    assert counts == [40]
