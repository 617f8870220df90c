"""Tied layers share their parameters: the same objects, before and after training."""

from pathlib import Path

import torch
from torch import nn

import initdsl

RULES = Path(__file__).with_suffix(".init")
EMBEDDING_RULES = Path(__file__).with_name("06_tied_embedding.init")


def network() -> nn.Sequential:
    shared = (nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), *shared, nn.Linear(8, 1))


class LanguageModel(nn.Module):
    def __init__(self, words: int = 32, width: int = 8) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.head = nn.Linear(width, words)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(tokens))


def main() -> None:
    torch.manual_seed(0)
    net = network()
    report = initdsl.apply(net, RULES)
    print("tied:", report.tied)
    print("the same object:", net[2].weight is net[4].weight)
    with torch.no_grad():
        net[2].weight[0, 0] = 100
    print("a change in one shows in the other:", net[4].weight[0, 0].item())

    model = LanguageModel()
    initdsl.apply(model, EMBEDDING_RULES)
    print("head and embedding are one:", model.head.weight is model.embed.weight)


if __name__ == "__main__":
    main()
