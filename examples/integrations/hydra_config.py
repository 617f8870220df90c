"""Hydra and OmegaConf: the configuration names the rule file, a seed, and values for its `let` names."""

from __future__ import annotations

from pathlib import Path

from omegaconf import OmegaConf
from torch import nn

import initdsl

HERE = Path(__file__).parent
CONFIG = """
width: 64
init:
  rules: ${here}/mlp.init
  seed: 0
  vars:
    std: ${std}
std: 0.05
"""


def main() -> None:
    # in a program under `@hydra.main` this is the `config` it is called with
    config = OmegaConf.merge(OmegaConf.create(CONFIG), {"here": str(HERE)}, OmegaConf.from_dotlist(["std=0.1"]))
    net = nn.Sequential(nn.Linear(config.width, config.width), nn.ReLU(), nn.Linear(config.width, 2))
    initdsl.apply(net, **config.init, strict=True)
    print(f"std {net[0].weight.std():.2f}")


if __name__ == "__main__":
    main()
