"""Three rules on one line, written where they are used: the last rule for a parameter wins."""

import torch
from torch import nn

import initdsl

RULES = "Linear.weight ~ normal(0, 0.01); net[2].weight = 42; tie net[2] net[4]"


def network() -> nn.Sequential:
    shared = (nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), *shared, nn.Linear(8, 1))


def main() -> None:
    torch.manual_seed(0)
    net = network()
    print(RULES)
    print(initdsl.apply(net, RULES))
    print("net[4].weight[0] =", net[4].weight.data[0])


if __name__ == "__main__":
    main()
