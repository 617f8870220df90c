"""accelerate: built without memory, then allocated once and filled once."""

from __future__ import annotations

from pathlib import Path

from accelerate import init_empty_weights
from torch import nn

import initdsl

RULES = Path(__file__).with_name("mlp.init")


def main() -> None:
    with init_empty_weights():
        net = nn.Sequential(nn.Linear(64, 256), nn.LayerNorm(256), nn.Linear(256, 10))
    print("built on", net[0].weight.device)
    net = initdsl.materialize(lambda: net, RULES, device="cpu", seed=0)
    print("filled on", net[0].weight.device, f"std {net[0].weight.std():.3f}")
    print("no rule for the norm, so its default:", net[1].weight[:3].tolist())


if __name__ == "__main__":
    main()
