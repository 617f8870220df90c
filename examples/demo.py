"""The main job in one look: a small GPT by a rule file and by hand, what the file does, and whether a start is any good.

Run it with `make demo`.
"""

import inspect
import math
import tempfile
import warnings
from pathlib import Path

import torch
from torch import nn

import initdsl


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm_1(x)
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        x = x + self.attn(y, y, y, attn_mask=mask, is_causal=True, need_weights=False)[0]
        return x + self.mlp(self.norm_2(x))


class GPT(nn.Module):
    def __init__(self, layers: int = 6, width: int = 64, vocabulary: int = 256) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(Block(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


def by_hand(net: GPT) -> None:
    std = 0.02
    residual = {part for layer in net.layers for part in (layer.attn.out_proj, layer.mlp[2])}

    def init_weights(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            scaled = std / math.sqrt(2 * len(net.layers)) if module in residual else std
            nn.init.normal_(module.weight, 0, scaled)
        if isinstance(module, nn.MultiheadAttention):
            nn.init.normal_(module.in_proj_weight, 0, std)
            nn.init.zeros_(module.in_proj_bias)
        if isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
        if getattr(module, "bias", None) is not None:
            nn.init.zeros_(module.bias)

    net.apply(init_weights)
    net.head.weight = net.embed.weight


def same_bits(file: Path) -> bool:
    """Return whether the rules and the code give the same model, bit for bit, under the same seed of torch."""
    hand, rules = GPT(), GPT()
    torch.manual_seed(0)
    by_hand(hand)
    torch.manual_seed(0)
    initdsl.apply(rules, file)
    return all(torch.equal(a, b) for a, b in zip(hand.parameters(), rules.parameters(), strict=True))


def diagnosed(file: Path) -> str:
    """Return what becomes of signals and gradients under these rules, then under the same with a far larger `std`."""
    lines = []
    for label, std in (("good, std = 0.02:", 0.02), ("bad, std = 1:", 1)):
        verdict = initdsl.diagnose(GPT(), file, seed=0, vars={"std": std}).verdict
        lines += [f"{label:18} {remark.text}" for remark in verdict[:3]]
    return "\n".join(lines)


def main() -> None:
    warnings.simplefilter("ignore")
    file = Path(__file__).with_name("demo.init")
    net = GPT()

    print(f"--- by hand\n{inspect.getsource(by_hand)}")
    print(f"--- by rules: {file.name}\n{file.read_text('utf-8')}")
    print(f"same bits: {same_bits(file)}\n")
    print(f"--- the plan, nothing done yet\n{initdsl.plan(net, file)}\n")
    report = initdsl.apply(net, file, seed=0, strict=True)
    page = Path(tempfile.mkdtemp(prefix="initdsl-"), "report.html")
    report.save(page)
    print(f"--- the report\n{report!r}, drawn by {report.engine}")
    print(f"the same as a page: {page}\n")
    print("--- some values")
    with torch.no_grad():
        for name in ("embed.weight", "layers.0.mlp.2.weight", "norm.weight"):
            values = net.get_parameter(name)
            print(f"{name:24} mean {values.mean():+.5f}  std {values.std():.5f}  {values.flatten()[:3].tolist()}")
        print(f"head.weight is embed.weight: {net.head.weight is net.embed.weight}\n")
    print(f"--- why does one start as it does?\n{report.plan.explain('layers.5.mlp.2.weight')}\n")
    print(f"--- do signals and gradients get through?\n{diagnosed(file)}\n")
    print("--- and a mistake")
    try:
        initdsl.apply(net, "net.layers[i].mlp[2].weigth ~ normal(0, 0.02)")
    except initdsl.InitDSLError as error:
        print(error)


if __name__ == "__main__":
    main()
