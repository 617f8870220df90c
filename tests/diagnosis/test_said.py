"""What a diagnosis says of first losses, attention, branches, dead models; its table where there is little room."""

from __future__ import annotations

import io
import math
import re
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn

import initdsl
from initdsl.diagnosis.tables import rich_tables
from initdsl.diagnosis.verdict import trunk_of

ZEROS = "*.bias? = 0; Linear.weight ~ "


def said(net: nn.Module, rules: str, **options: Any) -> dict[str, str]:
    torch.manual_seed(0)
    return {remark.name: remark.text for remark in initdsl.diagnose(net, rules, **options).verdict}


# ---- the first loss


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_the_first_loss_is_that_of_cross_entropy(classes: int) -> None:
    net = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, classes))
    x = torch.randn(64, 32)
    rules = f"{ZEROS} normal(0, 3)"
    found = said(net, rules, sample=x, seed=0)["first-loss"]
    initdsl.apply(net, rules, seed=0)
    labels = torch.randint(classes, (64, 4000))
    logits = net(x)
    loss = -nn.functional.log_softmax(logits, 1).gather(1, labels).mean().item()
    stated = float(re.search(r"loss of ([\d.]+)", found)[1])  # type: ignore[index]
    assert stated == pytest.approx(loss, rel=0.05)
    assert f"ln({classes}) = {math.log(classes):.2g}" in found
    assert "first-loss" not in said(net, f"{ZEROS} kaiming_normal()", sample=x)
    assert "first-loss" not in said(net, f"{ZEROS} kaiming_normal(); net[2].weight = 0", sample=x)


def test_the_first_loss_of_maps_and_of_models() -> None:
    maps = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 5, 1))
    assert "logits of 5 classes" in said(maps, "Conv2d.weight ~ normal(0, 5); *.bias = 0")["first-loss"]
    normed = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))
    assert "first-loss" not in said(normed, f"{ZEROS} normal(0, 50); LayerNorm.weight = 1")


# ---- attention


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize(("std", "saturated"), [(0.02, False), (3, True)])
def test_softmax_within_attention(std: float, saturated: bool, weights: bool) -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.attention(x, x, x, need_weights=weights)[0]

    rules = f"*.in_proj_weight ~ normal(0, {std}); *.bias, *.in_proj_bias = 0; *.out_proj.weight ~ xavier_normal()"
    x = torch.randn(4, 20, 16)
    torch.manual_seed(0)
    found = initdsl.diagnose(Attention(), rules, x, seed=0)
    (row,) = [layer for layer in found if layer.function == "softmax"]
    assert row.shape[-1] == 20
    assert (row.saturated > 0.5) == saturated
    assert ("saturation" in {remark.name for remark in found.verdict}) == saturated


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": 2.0}, {"mask": "bool"}, {"mask": "float"}])
def test_the_softmax_of_scaled_dot_product_attention_is_torchs(options: dict[str, Any]) -> None:
    options = dict(options)
    mask = options.pop("mask", None)
    if mask:
        allowed = torch.ones(20, 20, dtype=torch.bool).tril()
        options["attn_mask"] = allowed if mask == "bool" else torch.zeros(20, 20).masked_fill(~allowed, -math.inf)

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv = nn.Linear(8, 24)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q, k, v = (t.unflatten(-1, (2, 4)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
            return nn.functional.scaled_dot_product_attention(q, k, v, **options)

    net, x = Own(), torch.randn(3, 20, 8)
    initdsl.apply(net, f"{ZEROS} normal(0, 1)", seed=0)
    (row,) = [layer for layer in initdsl.diagnose(net, None, x) if layer.function == "softmax"]
    q, k, _ = (t.unflatten(-1, (2, 4)).transpose(1, 2) for t in net.qkv(x).chunk(3, -1))
    weights = nn.functional.scaled_dot_product_attention(q, k, torch.eye(20).expand(3, 2, 20, 20), **options)
    assert row.saturated == pytest.approx(float((weights.amax(-1) > 0.99).float().mean()), abs=1e-6)


# ---- branches


class Heads(nn.Module):
    def __init__(self, depth: int = 0) -> None:
        super().__init__()
        self.stem, self.body = nn.Linear(16, 32), nn.Linear(32, 32)
        layers = [m for _ in range(depth) for m in (nn.Sequential(nn.Linear(32, 32), nn.ReLU()),)]
        self.heads = nn.ModuleList(nn.Sequential(*layers, nn.Linear(32, 4)) for _ in range(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.body(self.stem(x).relu()).relu()
        return torch.stack([head(x) for head in self.heads]).sum(0)


def test_heads_side_by_side_are_no_depth() -> None:
    found = initdsl.diagnose(Heads(), f"{ZEROS} kaiming_normal()", seed=0)
    assert found.trunk is not None
    assert [layer.name for layer in found.trunk.layers] == ["stem", "body", "heads.0.0"]
    deep = initdsl.diagnose(Heads(4), f"{ZEROS} kaiming_normal()", seed=0)
    assert deep.trunk is not None
    assert [layer.name for layer in deep.trunk.layers] == [f"heads.0.{i}" for i in range(4)]


def test_blocks_in_a_row_are() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.Linear(16, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.up(x)

    net = nn.Sequential(*[Residual() for _ in range(6)])
    found = initdsl.diagnose(net, f"{ZEROS} kaiming_normal()", seed=0)
    assert trunk_of(found.layers).cls == "Residual"  # type: ignore[union-attr]
    assert len(trunk_of(found.layers).layers) == 6  # type: ignore[union-attr]


# ---- input, and what is dead


@pytest.mark.parametrize(
    ("first", "shape"),
    [
        (nn.ConvTranspose2d(100, 8, 4, 1, 0), (100, 1, 1)), (nn.ConvTranspose2d(6, 8, 4, 2, 1), (6, 8, 8)),
        (nn.ConvTranspose1d(6, 8, 4, 2, 1), (6, 8)), (nn.ConvTranspose3d(6, 8, 2, 2), (6, 8, 8, 8)),
    ],
)  # fmt: skip
def test_what_a_transposed_convolution_takes(first: nn.Module, shape: tuple[int, ...]) -> None:
    found = initdsl.diagnose(nn.Sequential(first, nn.ReLU()), "default net", seed=0)
    assert found.inputs.endswith(f"[8, {', '.join(map(str, shape))}]")


def test_a_dead_network_keeps_no_size() -> None:
    net = nn.Sequential(*[m for _ in range(5) for m in (nn.Linear(16, 16), nn.ReLU())])
    remarks = said(net, "Linear.weight ~ normal(0, 0.1); Linear.bias = -100")
    assert remarks["dead-network"] == "nothing gets through: all of the units of `1` are 0 for every sample"
    assert not any("keep their size" in text for text in remarks.values())
    assert "dead-network" not in said(net, "Linear.weight ~ kaiming_normal(); Linear.bias = 0")


# ---- shown


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("sides", [1, 2])
def test_no_width_drops_a_name_or_a_number(width: int, sides: int) -> None:
    class Long(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder_with_a_long_name = nn.Sequential(*[nn.Linear(8, 8) for _ in range(4)])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.encoder_with_a_long_name(x)

    found = initdsl.diagnose(Long(), f"{ZEROS} kaiming_normal()", seed=0)
    file = io.StringIO()
    console = Console(file=file, width=width, color_system=None, highlight=False)
    tables = rich_tables([found] * sides, False, console.width)
    for table in tables:
        console.print(table)
    text = file.getvalue()
    assert all(len(line) <= width for line in text.splitlines())
    assert "…" not in text
    assert text.replace("\n", "").replace(" ", "").count("encoder_with") >= len(tables)
    for heading in ("act std", "grad std", "update"):
        assert heading in text
    assert len(tables) == 1 or width < 200


def test_a_small_change_looks_small_in_a_plot() -> None:
    pytest.importorskip("matplotlib")
    net = nn.Sequential(*[nn.Linear(64, 64) for _ in range(6)])
    for axes in initdsl.diagnose(net, f"{ZEROS} orthogonal()", seed=0).plot().axes:
        low, high = axes.get_ylim()
        assert high / low >= 9.9 if axes.get_yscale() == "log" else high - low >= 0.199
