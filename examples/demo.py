"""The main job in one look: a plan before, the report after, and some values, of a small GPT.

Run it with `make demo`.
"""

import warnings
from pathlib import Path

import torch
from torch import nn

import initdsl


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


class GPT(nn.Module):
    def __init__(self, layers: int = 6, width: int = 64, vocabulary: int = 256) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(Block(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)


def main() -> None:
    warnings.simplefilter("ignore")
    file = Path(__file__).with_name("demo.init")
    net = GPT()

    print(f"--- the rules: {file.name}\n{file.read_text()}")
    print(f"--- the plan, nothing done yet\n{initdsl.plan(net, file)}\n")
    report = initdsl.apply(net, file, seed=0, strict=True)
    print(f"--- the report\n{report!r}, drawn by {report.engine}\n")
    print("--- some values")
    with torch.no_grad():
        for name in ("embed.weight", "layers.0.mlp.2.weight", "layers.5.mlp.2.weight", "norm.weight"):
            values = net.get_parameter(name)
            print(f"{name:24} mean {values.mean():+.5f}  std {values.std():.5f}  {values.flatten()[:3].tolist()}")
        print("head.weight is embed.weight:", net.head.weight is net.embed.weight)
    print(f"\n--- why does one start as it does?\n{report.plan.explain('layers.5.mlp.2.weight')}")
    print("\n--- and a mistake")
    try:
        initdsl.apply(net, "net.layers[i].mlp[2].weigth ~ normal(0, 0.02)")
    except initdsl.InitDSLError as error:
        print(error)


if __name__ == "__main__":
    main()
