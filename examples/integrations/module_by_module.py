"""A trainer that starts a model module by module, as torchtitan does, and as FSDP's `param_init_fn` is called."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

import initdsl

RULES = Path(__file__).with_name("mlp.init")


def main() -> None:
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    init_fn = initdsl.load(RULES).as_init_fn(net, seed=0, strict=True)
    net.to_empty(device="cpu")
    net.apply(init_fn)
    print(f"std {net[0].weight.std():.3f}, left out: {init_fn.unfilled}")


if __name__ == "__main__":
    main()
