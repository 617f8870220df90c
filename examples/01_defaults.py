"""PyTorch's own default stays where no rule speaks, and `default` brings it back."""

from pathlib import Path

import torch
from torch import nn

import initdsl

RULES = Path(__file__).with_suffix(".init")


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def main() -> None:
    torch.manual_seed(0)
    net = network()
    before = net[2].bias.tolist()
    nn.init.ones_(net[0].weight)  # something has been here
    report = initdsl.apply(net, RULES)
    print(report)
    within = bool((net[0].weight.abs() <= 0.5).all())
    print("back at the default:", net[0].weight.unique().numel(), "different values, within 1/sqrt(4):", within)
    print("no rule reaches", ", ".join(report.uncovered), "- unchanged:", net[2].bias.tolist() == before)


if __name__ == "__main__":
    main()
