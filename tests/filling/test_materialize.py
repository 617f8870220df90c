"""`materialize`: built without memory, allocated once, filled once; the same model as built as usual and filled."""

from __future__ import annotations

import gc
import random
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import initdsl
from initdsl.filling.meta.construct import unallocated

pytestmark = pytest.mark.usefixtures("one_thread")


RULES = "Linear.weight ~ normal(0, 0.02); Linear.bias = 0"
EVERYTHING = "/./ ~ normal(0, 0.02)"


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.LayerNorm(16), nn.Linear(16, 4))


def same(a: nn.Module, b: nn.Module) -> None:
    """Every parameter and buffer of one model is bit for bit that of the other, under the same names and ties."""
    ours, theirs = a.state_dict(keep_vars=True), b.state_dict(keep_vars=True)
    assert list(ours) == list(theirs)
    for pick in ("named_parameters", "named_buffers"):
        x, y = (dict(getattr(net, pick)(remove_duplicate=False)) for net in (a, b))
        assert list(x) == list(y)
        for name in x:
            assert x[name].shape == y[name].shape, name
            assert x[name].dtype == y[name].dtype, name
            assert x[name].stride() == y[name].stride(), name
            assert x[name].device == y[name].device, name
            assert x[name].requires_grad == y[name].requires_grad, name
            assert type(x[name]) is type(y[name]), name
            assert torch.equal(x[name].nan_to_num(), y[name].nan_to_num()), name
        firsts = [[next(n for n in d if d[n] is d[name]) for name in d] for d in (x, y)]
        assert firsts[0] == firsts[1]


# ---- the same network


def test_as_built_and_filled() -> None:
    net = mlp()
    initdsl.apply(net, RULES + "; default LayerNorm", seed=3)
    same(initdsl.materialize(mlp, RULES, seed=3), net)


def test_unseeded_as_built_and_filled() -> None:
    net = mlp()
    torch.manual_seed(5)
    initdsl.apply(net, RULES + "; default LayerNorm")
    torch.manual_seed(5)
    same(initdsl.materialize(mlp, RULES), net)


def test_options_are_those_of_apply() -> None:
    def twos(tensor: torch.Tensor) -> None:
        tensor.fill_(2)

    seen: list[str] = []
    net = initdsl.materialize(
        mlp,
        "let s = 1; Linear.weight = s; Linear.bias = twos()",
        vars={"s": 3},
        initializers={"twos": twos},
        on_init=lambda entry: seen.append(entry.name),
    )
    assert float(net[0].weight.detach().mean()) == 3
    assert float(net[3].bias.detach().mean()) == 2
    assert "0.weight" in seen
    with pytest.raises(initdsl.ResolveError, match="uncovered-parameter"):
        initdsl.materialize(mlp, RULES, strict=True)


class Varied(nn.Module):
    """Shared parameters, odd attributes, computed buffers, recurrent flat weights, deep copies."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8, padding_idx=0)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embed.weight
        shared = nn.Parameter(torch.rand(3))
        self.a, self.b = shared, shared
        self.lstm = nn.LSTM(8, 8, num_layers=2, bidirectional=True)
        self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2)
        self.conv = nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last)
        self.norm = nn.BatchNorm2d(4)
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.marked = nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
        self.marked.wd = 0.5  # type: ignore[attr-defined]
        self.listed = [self.marked]
        self.register_buffer("rotary", 1.0 / 10000 ** (torch.arange(0, 8, 2) / 8), persistent=False)
        self.register_buffer("mask", torch.ones(4, 4).tril().bool())
        self.register_buffer("nothing", None)
        self.several = nn.ParameterList([torch.zeros(2), torch.ones(3)])
        self.named = nn.ParameterDict({"x": torch.zeros(2)})


VARIED = EVERYTHING + "; default BatchNorm2d"


def test_a_varied_network() -> None:
    torch.manual_seed(0)
    net = Varied()
    initdsl.apply(net, VARIED, seed=1)
    made = initdsl.materialize(Varied, VARIED, seed=1)
    same(made, net)
    assert made.head.weight is made.embed.weight
    assert made.a is made.b
    assert made.marked.wd == 0.5
    assert made.listed[0] is made.marked
    assert all(
        flat is made.lstm._parameters[name]
        for flat, name in zip(made.lstm._flat_weights, made.lstm._flat_weights_names, strict=True)
    )
    out = made.lstm(torch.ones(2, 1, 8))[0]
    out.sum().backward()
    assert made.lstm.weight_hh_l0.grad is not None


def test_ties_of_rules_survive() -> None:
    made = initdsl.materialize(
        lambda: nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)}),
        "tie net.a net.b; Linear.* ~ normal()",
        seed=0,
    )
    assert made["a"].weight is made["b"].weight


class Drawn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.register_buffer("features", torch.randn(4))
        self.register_buffer("numpy", torch.tensor(np.random.rand(4)))


def test_drawn_buffers_are_the_seeds() -> None:
    made = [initdsl.materialize(Drawn, RULES, seed=s) for s in (1, 1, 2)]
    assert torch.equal(made[0].features, made[1].features)
    assert torch.equal(made[0].numpy, made[1].numpy)
    assert not torch.equal(made[0].features, made[2].features)


def test_global_generators_stay() -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    initdsl.materialize(Drawn, RULES, seed=1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert (np.random.get_state()[1] == before[2]).all()


@pytest.mark.parametrize("kind", ["spectral", "weight", "old spectral", "old weight"])
def test_parametrized_weights(kind: str) -> None:
    from torch.nn.utils import parametrizations, spectral_norm, weight_norm

    wrap: dict[str, Callable[[nn.Module], nn.Module]] = {
        "spectral": parametrizations.spectral_norm, "weight": parametrizations.weight_norm,
        "old spectral": spectral_norm, "old weight": weight_norm,
    }  # fmt: skip

    def build() -> nn.Module:
        return nn.Sequential(wrap[kind](nn.Linear(6, 6)))

    rules = "Linear.weight ~ orthogonal(); Linear.bias = 0"
    net = initdsl.materialize(build, rules, seed=0)
    plain = initdsl.materialize(lambda: nn.Sequential(nn.Linear(6, 6)), rules, seed=0)
    x = torch.randn(5, 6)
    net(x)
    for _ in range(20):  # in training the power iteration goes on; the weight is near from the start
        assert torch.allclose(net.eval()(x), plain(x), atol=1e-3)
    default = initdsl.materialize(build, "", seed=0) if kind in ("weight", "old weight") else None
    if default is not None:
        assert torch.allclose(
            default(x), initdsl.materialize(lambda: nn.Sequential(nn.Linear(6, 6)), "", seed=0)(x), atol=1e-6
        )


@pytest.mark.parametrize("wrap", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
def test_an_edit_of_a_weight_that_other_rules_make_is_refused(wrap: Callable[[nn.Module], nn.Module]) -> None:
    def build() -> nn.Module:
        return nn.Sequential(wrap(nn.Linear(6, 6)))

    original = "weight_v" if wrap is nn.utils.weight_norm else "parametrizations.weight.original1"
    with pytest.raises(initdsl.ResolveError, match=r"this edits `net\[0\].weight`, which is computed from"):
        initdsl.materialize(build, f"net[0].{original} ~ normal(0, 1); net[0].weight *= 2", seed=1)
    applied = initdsl.materialize(build, f"net[0].{original} ~ normal(0, 1); net[0].weight[:] = 1", seed=1)
    assert torch.allclose(applied[0](torch.ones(1, 6)), 6 + applied[0].bias)


@pytest.mark.parametrize("seed", [None, 0])
def test_a_default_beside_a_spectral_norm_leaves_its_vectors(seed: int | None) -> None:
    def build() -> nn.Module:
        return nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8))

    made = initdsl.materialize(build, "Linear.weight ~ orthogonal()", seed=seed)  # the bias is its default
    assert torch.allclose(torch.linalg.matrix_norm(made.eval().weight, 2), torch.ones(()), atol=1e-3)


@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize(
    ("wrap", "rules"),
    [
        (nn.utils.spectral_norm, "Linear.bias = 0"), (nn.utils.spectral_norm, "Linear.weight_orig ~ normal(0, 5)"),
        (nn.utils.parametrizations.spectral_norm, "net[0].parametrizations.weight.original ~ normal(0, 5)"),
        (nn.utils.parametrizations.spectral_norm, "Linear.bias = 0"),
    ],
)  # fmt: skip
def test_the_vectors_of_a_spectral_norm_follow(
    wrap: Callable[[nn.Module], nn.Module], rules: str, seed: int | None
) -> None:
    made = initdsl.materialize(lambda: nn.Sequential(wrap(nn.Linear(8, 8))), rules, seed=seed).eval()
    made(torch.ones(1, 8))
    assert torch.linalg.matrix_norm(made[0].weight, 2).item() == pytest.approx(1, abs=1e-3)


# ---- nothing twice


class Allocations(TorchDispatchMode):
    """Elements of float tensors that are allocated or drawn off the meta device, by operation."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[int] = []
        self.drawn = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.device.type != "meta":
            name = func._schema.name
            if name in ("aten::empty", "aten::empty_strided") and out.is_floating_point():
                self.made.append(out.numel())
            if name in ("aten::normal_", "aten::uniform_"):
                self.drawn += out.numel()
        return out


def test_nothing_is_filled_twice() -> None:
    size = 1000 * 500
    with Allocations() as seen:
        initdsl.materialize(lambda: nn.Linear(1000, 500), "Linear.weight ~ normal(); Linear.bias = 0")
    assert seen.drawn == size
    assert seen.made.count(size) == 2  # the constructor's, which is given up untouched, and the network's own


def test_parameters_of_the_constructor_are_given_up() -> None:
    kept: list[Any] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            real = nn.Parameter(torch.empty(10))
            kept.append(weakref.ref(real))
            self.w = real

    with unallocated():
        net = Watched()
        gc.collect()
        assert kept[0]() is None
    assert net.w.is_meta


def test_other_threads_are_left_alone() -> None:
    found: list[nn.Module] = []
    with unallocated():
        thread = threading.Thread(target=lambda: found.append(nn.Linear(2, 2)))
        thread.start()
        thread.join()
        mine = nn.Linear(2, 2)
    assert mine.weight.is_meta
    assert not found[0].weight.is_meta
    assert not nn.Linear(2, 2).weight.is_meta


# ---- refused by name, before anything is allocated


class Bare(nn.Module):
    """A parameter without a reset, and one that its reset forgets."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.inner = Forgetful()


class Forgetful(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4))
        self.gamma = nn.Parameter(torch.zeros(4))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)


def test_what_nobody_sets_is_refused_by_name() -> None:
    with Allocations() as seen, pytest.raises(initdsl.ResolveError) as caught:
        initdsl.materialize(Bare, "net.inner.weight[0] = 2", seed=0)
    assert caught.value.diagnostics[0].name == "no-default"
    assert "`net.scale`" in str(caught.value)
    assert "`net.inner.gamma`" in str(caught.value)
    assert "inner.weight" not in str(caught.value)
    assert sum(seen.made) <= 12  # the constructor's own
    made = initdsl.materialize(Bare, "net.inner.weight[0] = 2; net.inner.gamma, net.scale = 3", seed=0)
    assert made.inner.weight.tolist() == [2, 1, 1, 1]


def test_kept_means_the_default() -> None:
    made = initdsl.materialize(lambda: nn.LayerNorm(3), "net.weight = 5; keep net.weight", seed=0)
    assert made.weight.tolist() == [1, 1, 1]


def test_slices_that_make_up_a_whole_need_no_default() -> None:
    made = initdsl.materialize(Bare, "net.scale[:2] = 1; net.scale[2:] = 2; net.inner.* = 0", seed=0)
    assert made.scale.tolist() == [1, 1, 2, 2]
    with pytest.raises(initdsl.ResolveError, match=r"net\.scale"):
        initdsl.materialize(Bare, "net.scale[:2] = 1; net.inner.* = 0", seed=0)


class Partly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4))

    def reset_parameters(self) -> None:
        with torch.no_grad():
            self.weight[:2] = 0


def test_what_a_reset_leaves_unset_does_not_pass() -> None:
    for seed in (None, 0):
        state = torch.get_rng_state()
        with pytest.raises(initdsl.ApplyError, match=r"leaves these unset: `net\.0\.weight`|`net\[0\]\.weight`"):
            initdsl.materialize(lambda: nn.Sequential(Partly(), nn.Linear(2, 2)), "Linear.* ~ normal(0, 1)", seed=seed)
        assert torch.equal(torch.get_rng_state(), state)  # as after every fill that fails


@pytest.mark.parametrize("edit", ["net[0].weight[0:3] = 1", "net[0].weight *= 2", "net[0].weight[3] += 1"])
def test_what_a_reset_leaves_unset_does_not_pass_under_an_edit(edit: str, tmp_path: Path) -> None:
    def build() -> nn.Module:
        return nn.Sequential(Partly(), nn.Linear(2, 2))

    for rules in (edit, f"default net; {edit}"):
        for seed in (None, 0):
            with pytest.raises(initdsl.ApplyError, match=r"leaves these unset|is not finite"):
                initdsl.materialize(build, f"{rules}; Linear.* = 0", seed=seed)
        with pytest.raises(initdsl.ApplyError, match=r"leaves these unset|is not finite"):
            initdsl.stream(build, f"{rules}; Linear.* = 0", tmp_path, seed=0)
        meta = build().to("meta")
        fill = initdsl.parse(f"{rules}; Linear.* = 0").as_init_fn(meta, device="cpu")
        with pytest.raises(initdsl.ApplyError, match=r"leaves these unset|is not finite"):
            meta.apply(fill)


def test_a_slice_may_set_what_a_reset_leaves_unset() -> None:
    net = initdsl.materialize(
        lambda: nn.Sequential(Partly()), "default net; net[0].weight[2:] = 1; net[0].weight[0] = nan"
    )
    assert torch.equal(net[0].weight.detach().nan_to_num(7), torch.tensor([7.0, 0.0, 1.0, 1.0]))


def test_a_module_that_arranges_resets_what_it_has() -> None:
    torch.manual_seed(0)
    net = nn.Transformer(16, 2, 1, 1, 32)
    torch.manual_seed(0)
    made = initdsl.materialize(lambda: nn.Transformer(16, 2, 1, 1, 32), "")
    for (name, a), b in zip(made.named_parameters(), net.parameters(), strict=True):
        assert abs(float(a.detach().std()) - float(b.detach().std())) < 0.03, name
        assert float(a.detach().abs().max()) <= float(b.detach().abs().max()) * 1.05 + 1e-6, name


class Derived(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("average", self.weight.detach().clone())


class Needy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.size = float(self.weight.sum())


class Viewing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.part = self.weight[:2]


class Evasive(nn.Module):
    """Copies a parameter into a buffer, unless it is told that it has no memory."""

    def __init__(self, ask: Callable[[torch.Tensor], bool]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((3,), 2.0))
        self.register_buffer("average", torch.zeros(3))
        if not ask(self.weight):
            self.average.copy_(self.weight.detach())


class Placing(nn.Module):
    """Makes its buffers where its parameters are."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.register_buffer("positions", torch.arange(3, device=self.inner.weight.device), persistent=False)
        self.register_buffer("mask", torch.ones(3, device=next(self.parameters()).device))


def test_buffers_made_where_a_parameter_is_have_values() -> None:
    made = initdsl.materialize(Placing, "/./ = 0", seed=0)
    assert made.positions.tolist() == [0, 1, 2]
    assert made.mask.tolist() == [1, 1, 1]
    assert made.inner.weight.device == torch.device("cpu")


def test_parameters_computed_with_tensors_made_beside_them() -> None:
    """As transformers' RWKV does: thrown away, as a rule fills them anew."""

    def build() -> nn.Module:
        net = nn.Linear(3, 3)
        ramp = torch.arange(3, device=net.weight.device)
        with torch.no_grad():
            net.weight.copy_(torch.ones_like(net.weight) * 0.5 + ramp).add_(ramp)
            net.bias.copy_(torch.stack([net.bias, ramp])[0])
        return net

    made = initdsl.materialize(build, "/./ = 1", seed=0)
    assert made.weight.tolist() == [[1, 1, 1]] * 3


@pytest.mark.parametrize(
    "write",
    [
        lambda buffer, weight: buffer.copy_(weight),
        lambda buffer, weight: buffer.__setitem__(0, weight[0]),
        lambda buffer, weight: buffer.__iadd__(weight),
        lambda buffer, weight: torch.add(buffer, weight, out=buffer),
    ],
    ids=["copy", "item", "add", "out"],
)
def test_what_is_written_from_a_parameter_into_a_buffer_is_refused(write: Callable[..., Any]) -> None:
    def build() -> nn.Module:
        net = nn.Linear(3, 1, bias=False)
        net.register_buffer("average", torch.zeros(3, device=net.weight.device))
        with torch.no_grad():
            write(net.average, net.weight[0])
        return net

    with pytest.raises(initdsl.ResolveError, match="needs the values of parameters"):
        initdsl.materialize(build, "/./ = 1", seed=0)


def test_a_factory_that_builds_on_the_meta_device_is_told_so() -> None:
    """It is its own doing; nothing is kept from it."""
    told = []

    def build() -> nn.Module:
        with torch.device("meta"):
            net = nn.Linear(3, 3)
        told.extend([net.weight.is_meta, net.weight.device.type])
        return net

    initdsl.materialize(build, "/./ = 0", seed=0)
    assert told == [True, "meta"]


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        (Derived, "`average`"),
        (Needy, "the constructor of `Needy` needs the values of parameters"),
        (lambda: nn.Sequential(nn.Linear(2, 2), Needy()), "the constructor of `Needy` needs"),
        (lambda: Evasive(lambda weight: weight.is_meta), "the constructor of `Evasive` needs"),
        (lambda: Evasive(lambda weight: weight.device == torch.device("meta")), "the constructor of `Evasive` needs"),
        (lambda: Evasive(lambda weight: weight.device.type == "meta"), "the constructor of `Evasive` needs"),
        (Viewing, "`part`"),
        (lambda: nn.utils.parametrizations.orthogonal(nn.Linear(3, 3)), "needs the values of parameters"),
        (lambda: nn.LazyLinear(3), "weight"),
    ],
    ids=[
        "buffer",
        "values",
        "values-inside",
        "asks-if-meta",
        "asks-device",
        "asks-type",
        "view",
        "parametrization",
        "lazy",
    ],
)
def test_what_needs_values_is_refused(factory: Any, said: str) -> None:
    with pytest.raises(initdsl.ResolveError) as caught:
        initdsl.materialize(factory, "", seed=0) if said == "weight" else initdsl.materialize(
            factory, "/./ = 0", seed=0
        )
    assert said in str(caught.value)


def test_a_rule_may_fill_such_a_buffer() -> None:
    made = initdsl.materialize(Derived, "net.weight = 1; net.average = 2", seed=0)
    assert made.average.tolist() == [2, 2, 2]


@pytest.mark.parametrize("factory", [mlp(), 3, "mlp"])
def test_a_factory_is_called(factory: Any) -> None:
    with pytest.raises(TypeError, match="a factory is called without arguments"):
        initdsl.materialize(factory, RULES)


def test_a_factory_returns_a_network() -> None:
    with pytest.raises(TypeError, match="returned int"):
        initdsl.materialize(lambda: 3, RULES)  # type: ignore[arg-type, return-value]


def test_errors_of_the_constructor_are_its_own() -> None:
    def build() -> nn.Module:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        initdsl.materialize(build, RULES)
    assert not nn.Linear(2, 2).weight.is_meta


def test_wrong_rules_allocate_nothing() -> None:
    with Allocations() as seen, pytest.raises(initdsl.RuleError):
        initdsl.materialize(mlp, "Linear.weight ~ kaimin()", seed=0)
    assert len(seen.made) == 6


def test_unmatched_rules_warn() -> None:
    with pytest.warns(initdsl.UnmatchedRuleWarning, match="Conv2d"):
        initdsl.materialize(mlp, RULES + "; Conv2d.weight = 0", seed=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_device() -> None:
    made = initdsl.materialize(Varied, VARIED, device="cuda", seed=1)
    net = initdsl.materialize(Varied, VARIED, seed=1).cuda()
    same(made, net)


# ---- against the constructors of published libraries


@pytest.mark.parametrize("rules", ["/./ ~ normal(0, 0.02)", "Linear.weight = 1"], ids=["covered", "default"])
def test_torch_is_not_made_to_load_its_compiler(rules: str) -> None:
    program = f"""
import sys, torch, initdsl
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.e, self.r, self.c = nn.Linear(4, 4), nn.Embedding(5, 4), nn.LSTM(4, 4), nn.Conv2d(3, 4, 3)
        self.t = nn.TransformerEncoderLayer(4, 2)
        nn.init.trunc_normal_(self.a.weight)
        nn.init.normal_(tensor=self.a.weight)
        nn.init.orthogonal_(self.e.weight)
        nn.init.kaiming_normal_(self.c.weight)
        with torch.no_grad():
            self.e.weight.exponential_()

net = initdsl.materialize(Net, {rules!r}, seed=0)
assert all(bool(p.isfinite().all()) for p in net.parameters())
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
