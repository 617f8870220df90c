"""An initializer of one's own: written in the language, or as a Python function with a name."""

from pathlib import Path

import torch
from torch import nn

import initdsl

RULES = Path(__file__).with_suffix(".init")
PYTHON_RULES = Path(__file__).with_name("04_custom_python.init")


@initdsl.initializer
def far_from_zero(
    tensor: torch.Tensor,
    low: float = -10,
    high: float = 10,
    cut: float = 5,
    *,
    generator: torch.Generator | None = None,
) -> None:
    """Uniform between `low` and `high`, with what is nearer to zero than `cut` set to zero."""
    nn.init.uniform_(tensor, low, high, generator=generator)
    tensor.mul_(tensor.abs() >= cut)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))


def main() -> None:
    for rules in (RULES, PYTHON_RULES):
        torch.manual_seed(0)
        net = network()
        initdsl.apply(net, rules, on_init=print)
        print(net[0].weight.data[:2])


if __name__ == "__main__":
    main()
