"""Values set directly: a whole tensor shifted in place, one element set."""

from pathlib import Path

import torch
from torch import nn

import initdsl

RULES = Path(__file__).with_suffix(".init")


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))


def main() -> None:
    torch.manual_seed(0)
    net = network()
    print("before:", net[0].weight.data[0])
    initdsl.apply(net, RULES)
    print("after: ", net[0].weight.data[0])


if __name__ == "__main__":
    main()
