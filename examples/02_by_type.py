"""Rules by type: every Linear drawn from one distribution, or all of them constant."""

from pathlib import Path

import torch
from torch import nn

import initdsl

RULES = Path(__file__).with_suffix(".init")
ALL_ONES = Path(__file__).with_name("02_all_ones.init")


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def main() -> None:
    torch.manual_seed(0)
    net = network()
    initdsl.apply(net, RULES)
    print("drawn:   ", net[0].weight.data[0], net[0].bias.data[0])
    initdsl.apply(net, ALL_ONES)
    print("constant:", net[0].weight.data[0], net[0].bias.data[0])


if __name__ == "__main__":
    main()
