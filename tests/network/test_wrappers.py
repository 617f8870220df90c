"""Selectors look through wrappers; a shared parameter or module has all its names."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import initdsl
from tests.support.nets import Tower, filled, mlp, names_of, written


class TestWrappers:
    def test_data_parallel_and_compile(self) -> None:
        for wrap in (nn.DataParallel, lambda m: torch.compile(m, backend="eager")):
            net = filled(mlp())
            wrapped = wrap(net)
            report = initdsl.apply(wrapped, "net[0].weight = 0; net[2].weight = 1")
            assert not net[0].weight.any()
            assert [e.name for e in report] == ["0.weight", "2.weight"]

    def test_wrapped_inside(self) -> None:
        net = filled(mlp())
        net[2] = torch.compile(net[2], backend="eager")
        initdsl.apply(net, "net[2].weight = 0; Linear.bias = 1")
        assert not net[2]._orig_mod.weight.any()
        assert (net[2]._orig_mod.bias == 1).all()

    def test_checkpoint_wrapper(self) -> None:
        from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

        net = filled(mlp())
        net[0] = checkpoint_wrapper(net[0])
        assert initdsl.plan(net, "net[0].weight = 0")["0.weight"].effect == "= 0"

    def test_parametrized_keeps_its_class(self) -> None:
        net = nn.Sequential(parametrizations.orthogonal(nn.Linear(4, 4)), nn.Linear(4, 4))
        assert type(net[0]).__name__ == "ParametrizedLinear"
        initdsl.apply(net, "Linear.bias = 0; net[0].weight ~ orthogonal()")
        assert not net[0].bias.any()
        torch.testing.assert_close(net[0].weight @ net[0].weight.T, torch.eye(4), atol=1e-5, rtol=0)

    def test_weight_norm_is_written_through(self) -> None:
        net = parametrizations.weight_norm(nn.Linear(3, 4))
        initdsl.apply(net, "Linear.weight = index(0) + 4 * index(1) + 1")
        expected = torch.arange(4.0)[:, None] + 4 * torch.arange(3.0) + 1
        torch.testing.assert_close(net.weight.detach(), expected)

    def test_old_weight_norm_hooks(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net = torch.nn.utils.weight_norm(nn.Linear(3, 4))
        initdsl.apply(net, "Linear.weight = index(0) + 4 * index(1) + 1; Linear.bias = 0")
        x = torch.randn(2, 3)
        expected = torch.arange(4.0)[:, None] + 4 * torch.arange(3.0) + 1
        torch.testing.assert_close(net(x), x @ expected.T)
        torch.testing.assert_close(net.weight.detach(), expected)

    def test_spectral_norm_vectors_follow(self) -> None:
        net = parametrizations.spectral_norm(nn.Linear(16, 16))
        initdsl.apply(net, "Linear.weight ~ orthogonal(gain=3)")
        net.eval()
        torch.testing.assert_close(torch.linalg.matrix_norm(net.weight, 2), torch.tensor(1.0), atol=1e-3, rtol=0)

    def test_no_right_inverse(self) -> None:
        class Doubled(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return 2 * x

        net = nn.Linear(2, 2)
        parametrize.register_parametrization(net, "weight", Doubled())
        with pytest.raises(initdsl.ResolveError) as caught:
            initdsl.apply(net, "Linear.weight = 0")
        assert names_of(caught.value) == ["no-right-inverse"]
        assert "original" in (caught.value.diagnostics[0].hint or "")
        initdsl.apply(net, "net.parametrizations.weight.original = 3")
        assert (net.weight == 6).all()


def test_a_shared_parameter_is_one_by_any_name() -> None:
    net = Tower()
    net.head.weight = net.embed.weight
    report = initdsl.apply(net, "net.head.weight = 3")
    assert (net.embed.weight == 3).all()
    assert set(report["embed.weight"].names) == {"embed.weight", "head.weight"}
    assert report["head.weight"] is report["embed.weight"]
    calls = []

    def count(tensor: torch.Tensor) -> None:
        calls.append(tuple(tensor.shape))

    initdsl.apply(net, "net.embed.weight = count(); net.head.weight = count()", initializers={"count": count})
    assert len(calls) == 1


def test_shared_modules_under_every_path() -> None:
    layer = nn.Linear(2, 2)
    net = nn.Sequential(layer, nn.ReLU(), layer)
    assert written(net, "net[2].weight = 0") == {"0.weight", "2.weight"}
    assert written(net, r"/^2\.bias/ = 0") == {"0.bias", "2.bias"}
    assert set(initdsl.plan(net, "Linear.weight = 0")["2.weight"].names) == {"0.weight", "2.weight"}


def test_a_module_needs_no_parameter_to_be_tied_kept_or_made_default() -> None:
    net = filled(mlp())
    initdsl.apply(net, "net.** = 1; keep net[0]; default net[2]; tie net[4] net[4]")
    assert (net[0].weight == 7).all()
    assert net[2].weight.std() > 0


# ---- modules of one's own that look like wrappers, or like torch's own lists


class Scaled(nn.Module):
    """Holds one module under a name that a wrapper of torch gives, and a parameter and a buffer beside it."""

    def __init__(self, name: str):
        super().__init__()
        self.add_module(name, nn.Linear(2, 2))
        self.scale = nn.Parameter(torch.full((2,), 7.0))
        self.register_buffer("offset", torch.zeros(2))


class DataParallel(nn.Module):
    """No class of torch's, by that name."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Linear(2, 2)


@pytest.mark.parametrize(
    "name", ["_orig_mod", "module", "_checkpoint_wrapped_module", "_fsdp_wrapped_module", "_forward_module"]
)
def test_a_child_with_the_name_of_a_wrapped_module_is_a_child(name: str) -> None:
    net = filled(nn.Sequential(Scaled(name)))
    with pytest.raises(initdsl.ResolveError, match="scale"):
        initdsl.apply(net, "Linear.* = 0", strict=True)
    initdsl.apply(net, f"*.scale = 1; net[0].{name}.weight = 2; *.bias = 3; net[0].offset = 4", strict=True)
    assert [net[0].scale[0].item(), net[0].offset[0].item()] == [1, 4]
    assert net[0].get_submodule(name).weight[0, 0].item() == 2
    assert initdsl.verify(net, f"*.scale = 1; net[0].{name}.weight = 2; *.bias = 3; net[0].offset = 4")


def test_a_class_with_the_name_of_a_wrapper_is_none() -> None:
    net = filled(nn.Sequential(DataParallel()))
    assert [e.name for e in initdsl.apply(net, "net[0].module.* = 1; DataParallel.module.bias = 2")] == [
        "0.module.weight",
        "0.module.bias",
    ]
    assert net[0].module.bias[0].item() == 2


def test_a_wrapper_of_torch_with_a_parameter_of_its_own() -> None:
    class Gated(nn.DataParallel):
        def __init__(self, module: nn.Module):
            super().__init__(module)
            self.gate = nn.Parameter(torch.zeros(2))

    net = nn.Sequential(Gated(nn.Linear(2, 2)), nn.DataParallel(nn.Linear(2, 2)))
    names = [entry.name for entry in initdsl.plan(net, "*.* = 1", strict=True)]
    assert names == ["0.gate", "0.module.weight", "0.module.bias", "1.weight", "1.bias"]


def test_parametrizations_of_ones_own_are_plain_modules() -> None:
    net = nn.Module()
    net.parametrizations = nn.ModuleDict({"weight": nn.Sequential(nn.Linear(2, 2))})
    net.weight = nn.Parameter(torch.zeros(2))
    report = initdsl.apply(net, "net.weight = 1; Linear.* = 2", strict=True)
    assert [entry.name for entry in report] == [
        "weight",
        "parametrizations.weight.0.weight",
        "parametrizations.weight.0.bias",
    ]


def test_a_base_is_known_whatever_its_name() -> None:
    class GenericLayer(nn.Linear):
        pass

    class Layer(GenericLayer):
        pass

    assert written(nn.Sequential(Layer(2, 2)), "GenericLayer+.bias = 0") == {"0.bias"}


# ---- every name


def shared_bias() -> nn.Module:
    net = nn.Module()
    net.a, net.b, net.c = nn.Linear(4, 4), nn.LayerNorm(4), nn.LayerNorm(4)
    net.b.bias = net.a.bias
    return net


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("/bias$/ in LayerNorm = 0", {"a.bias", "b.bias", "c.bias"}),
        ("/bias$/ in net.b = 0", {"a.bias", "b.bias"}),
        (r"/^b\.bias$/ in net.b = 0", {"a.bias", "b.bias"}),
        (r"/^a\./ in net.b? = 0", set()),
        ("LayerNorm { /bias$/ = 0 }", {"a.bias", "b.bias", "c.bias"}),
        ("net.b { /bias$/ = 0 }", {"a.bias", "b.bias"}),
        ("/bias$/ in /^b$/ = 0", {"a.bias", "b.bias"}),
    ],
)
def test_a_regular_expression_finds_a_shared_tensor_under_each_of_its_names(rules: str, expected: set[str]) -> None:
    assert written(shared_bias(), rules) == expected


class Repeated(nn.Module):
    """One layer in many places."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 2)] * count)


@pytest.mark.parametrize("place", [3, 20, 99])
@pytest.mark.parametrize(
    "rules",
    [
        r"/^layers\.{}\.weight/ = 0", "net.layers[{}].weight = 0", "net.layers.{}.weight = 0",
        r"/weight/ in /^layers\.{}$/ = 0", "*.weight in net.layers[{}] = 0", r"net.layers[{}] {{ /weight$/ = 0 }}",
    ],
)  # fmt: skip
def test_names_beyond_the_first_few_count_too(place: int, rules: str) -> None:
    net = filled(Repeated(100))
    initdsl.apply(net, rules.format(place))
    assert not net.layers[0].weight.any()
    assert net.layers[0].bias.all()


def test_a_plan_knows_every_name(tmp_path: Path) -> None:
    net = Repeated(100)
    plan = initdsl.plan(net, "Linear.weight = 3; Linear.bias = 4")
    for name in ("layers.0.weight", "layers.20.weight", "layers.99.weight", "net.layers[99].weight"):
        assert plan[name] is plan.entries[0]
        assert "Linear.weight = 3" in str(plan.explain(name))
    with pytest.raises(KeyError):
        plan["layers.100.weight"]
    initdsl.apply(net, "Linear.weight = 3; Linear.bias = 4")
    assert initdsl.verify(net.state_dict(), "Linear.weight = 3; Linear.bias = 4", model=net)
    save_file(
        {f"layers.60.{n}": t.clone() for n, t in net.layers[0].state_dict().items()}, tmp_path / "one.safetensors"
    )
    initdsl.apply(filled(net), 'net = load("one.safetensors")', root=tmp_path)
    assert (net.layers[0].weight == 3).all()


def test_modules_are_copied_under_every_name_they_have() -> None:
    net = nn.Module()
    net.a, net.b = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), nn.Sequential(*[nn.Linear(2, 2)] * 2)
    initdsl.apply(filled(net), "net.b[1].* = 3; copy net.b net.a")
    assert all((p == 3).all() for p in net.a.parameters())


@pytest.mark.parametrize(
    ("levels", "rules"),
    [(30, ""), (7, "; tie net[0] net[1]"), pytest.param(30, "; tie net[0] net[1]", marks=pytest.mark.long)],
)
def test_very_many_names_take_no_time(levels: int, rules: str) -> None:
    net: nn.Module = nn.Linear(2, 2)
    for _ in range(levels):
        net = nn.Sequential(net, net)
    plan = initdsl.plan(net, f"Linear.weight = 1{rules}")
    assert plan["1" + ".0" * (levels - 2) + ".1.weight"].effect == "= 1"
