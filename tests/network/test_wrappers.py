"""Selectors look through wrappers; a shared parameter or module has all its names."""

from __future__ import annotations

import warnings

import pytest
import torch
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
