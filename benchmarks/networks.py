"""The models of the benchmarks, their rules, and the hand-written code that does the same."""

from __future__ import annotations

from torch import nn

__all__ = ["BY_CLASS", "GPT", "MIXED", "RESNET", "gpt2_small", "gpt_by_hand", "resnet50", "resnet_by_hand"]


GPT = """
Linear.weight, Embedding.weight ~ normal(0, 0.02)
Linear.bias = 0
LayerNorm.weight = 1; LayerNorm.bias = 0
"""

RESNET = """
Conv2d.weight ~ kaiming_normal(mode=fan_out, nonlinearity=relu)
BatchNorm2d.weight = 1; BatchNorm2d.bias = 0
Linear.weight ~ normal(0, 0.01); Linear.bias = 0
"""

# a thousand rules for a row of linear layers
BY_CLASS = "\n".join(f"Linear.weight ~ normal(0, {i + 1})" for i in range(1000))
MIXED = "\n".join(
    (
        f"net[{i}].weight = {i}",
        f"net[{i}:{i + 50}].bias = {i}",
        f"Linear(in_features={i}).weight? ~ normal(0, {i})",
        f"Linear.bias in net[{i}] ~ normal(0, 1)",
        f"net[{i}].weight[{i % 4}] = {i}",
    )[i % 5]
    for i in range(1, 1001)
)


class GPTBlock(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.c_attn, self.c_proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.fc, self.proj = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)


def gpt2_small() -> nn.Module:
    net = nn.Module()
    net.wte, net.wpe = nn.Embedding(50257, 768), nn.Embedding(1024, 768)
    net.h = nn.ModuleList(GPTBlock(768) for _ in range(12))
    net.ln_f = nn.LayerNorm(768)
    return net


def resnet50() -> nn.Module:
    """The layers of ResNet-50 by their shapes, in a row."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, bias=False), nn.BatchNorm2d(64)]
    inside = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            shapes = [(inside, width, 1), (width, width, 3), (width, 4 * width, 1)]
            if block == 0:
                shapes.append((inside, 4 * width, 1))
            for a, b, k in shapes:
                layers += [nn.Conv2d(a, b, k, bias=False), nn.BatchNorm2d(b)]
            inside = 4 * width
    return nn.Sequential(*layers, nn.Linear(2048, 1000))


def gpt_by_hand(m: nn.Module) -> None:
    if isinstance(m, nn.Linear):
        nn.init.normal_(m.weight, 0, 0.02)
        nn.init.zeros_(m.bias)
    elif isinstance(m, nn.Embedding):
        nn.init.normal_(m.weight, 0, 0.02)
    elif isinstance(m, nn.LayerNorm):
        nn.init.ones_(m.weight)
        nn.init.zeros_(m.bias)


def resnet_by_hand(m: nn.Module) -> None:
    if isinstance(m, nn.Conv2d):
        nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(m, nn.BatchNorm2d):
        nn.init.ones_(m.weight)
        nn.init.zeros_(m.bias)
    elif isinstance(m, nn.Linear):
        nn.init.normal_(m.weight, 0, 0.01)
        nn.init.zeros_(m.bias)
