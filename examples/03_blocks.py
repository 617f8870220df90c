"""Different blocks of a model, different rules; only the Linear layers inside each."""

from pathlib import Path

import torch
from torch import nn

import initdsl

RULES = Path(__file__).with_suffix(".init")


def block(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 8))


def network() -> nn.Sequential:
    return nn.Sequential(block(4), nn.ReLU(), block(8), nn.Linear(8, 1))


def main() -> None:
    torch.manual_seed(0)
    net = network()
    print(initdsl.apply(net, RULES))
    print("net[0][0].weight[0] =", net[0][0].weight.data[0])
    print("net[2][3].weight[0] =", net[2][3].weight.data[0])


if __name__ == "__main__":
    main()
