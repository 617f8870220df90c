"""Rules as torchtitan's `param_init`: functions of one parameter, by its module and its name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import initdsl

RULES = "Linear.weight ~ normal(0, 1); Linear.bias = 0; net[1].weight *= len(net)"


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2), nn.ReLU())


class States(nn.Module):
    """What torchtitan's `Module` does with `_param_init`: each parameter's function, by its name."""

    def init_states(self, net: nn.Module, functions: dict[str, dict[str, object]]) -> None:
        for name, module in net.named_modules():
            for local, parameter in module.named_parameters(recurse=False):
                functions[name][local](parameter)  # type: ignore[operator]


@pytest.mark.parametrize("passes", [1, 2])
def test_it_is_what_apply_does(passes: int) -> None:
    with torch.device("meta"):
        net = network()
    functions = initdsl.parse(RULES).as_param_init(net, seed=7)
    assert {name: list(each) for name, each in functions.items()} == {
        "0": ["weight", "bias"],
        "1": ["weight", "bias"],
    }
    net.to_empty(device="cpu")
    for _ in range(passes):
        States().init_states(net, functions)
    expected = network()
    initdsl.apply(expected, RULES, seed=7)
    for name, parameter in net.named_parameters():
        assert torch.equal(parameter, expected.get_parameter(name)), name


def test_a_parameter_of_another_model() -> None:
    functions = initdsl.parse(RULES).as_param_init(network(), seed=7)
    with pytest.raises(initdsl.ResolveError, match="this parameter is not the `weight` of the `Linear`"):
        functions["0"]["weight"](network()[0].weight)
