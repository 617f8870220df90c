"""Integer and boolean tensors set by expressions: position ids, masks; what they can't hold is refused, and nothing changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import initdsl
from tests.support.nets import names_of

DTYPES = {
    "ids": torch.int64,
    "short": torch.int16,
    "byte": torch.uint8,
    "mask": torch.bool,
    "grid": torch.int32,
    "half": torch.float16,
}


class Buffered(nn.Module):
    """Parameters of floats, buffers of integers and truth values."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, -2.0, 3.0, 0.0, 2.5]))
        self.register_buffer("ids", torch.full((5,), 7, dtype=torch.long))
        self.register_buffer("short", torch.full((4,), 7, dtype=torch.int16))
        self.register_buffer("byte", torch.full((4,), 7, dtype=torch.uint8))
        self.register_buffer("mask", torch.ones(3, 4, dtype=torch.bool))
        self.register_buffer("grid", torch.full((3, 4), 7, dtype=torch.int32))


RULES = [
    ("ids = index(0)", "ids", torch.arange(5)), ("mask = index(0) >= index(1)", "mask", torch.ones(3, 4).tril().bool()),
    ("mask = not (index(1) > index(0) + 1)", "mask", torch.ones(3, 4).tril(1).bool()), ("grid = index(0) * 4 + index(1)", "grid", torch.arange(12).view(3, 4)),
    ("grid = index(0) - index(1)", "grid", torch.arange(3)[:, None] - torch.arange(4)), ("short = -(index(0) ** 2)", "short", -(torch.arange(4) ** 2)),
    ("byte = 255 - index(0)", "byte", 255 - torch.arange(4)), ("ids[1:] = index(0) + 10", "ids", torch.tensor([7, 10, 11, 12, 13])),
    ("ids = index(0); B.ids += 2", "ids", torch.arange(5) + 2), ("ids = index(0); B.ids *= index(0)", "ids", torch.arange(5) ** 2),
    ("mask = index(0) >= index(1); B.mask *= index(1) < 2", "mask", torch.ones(3, 4).tril().bool() & (torch.arange(4) < 2)),
    ("ids = [1, 2, 3, 4, 5]; B.ids -= [1, 1, 1, 1, 1]", "ids", torch.arange(5)), ("ids = where(net.w > 1, 1, 0)", "ids", torch.tensor([0, 0, 1, 0, 1])),
    ("mask = net.w[0:4] > 0", "mask", torch.tensor([True, False, True, False]).expand(3, 4)), ("ids = floor(net.w)", "ids", torch.tensor([1, -2, 3, 0, 2])),
    ("ids = [9007199254740993, 0, 0, 0, -9223372036854775807]", "ids", torch.tensor([9007199254740993, 0, 0, 0, -9223372036854775807])),
    ("ids = 16777217 + index(0)", "ids", 16777217 + torch.arange(5)), ("mask as (4, 3)[0] = index(0) > 0", "mask", torch.tensor([0] + [1] * 11).bool().view(3, 4)),
    ("ids = net.short[0] * index(0)", "ids", 7 * torch.arange(5)), ("ids = linspace(0, 8, 5)", "ids", 2 * torch.arange(5)),
]  # fmt: skip


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize(("rule", "name", "expected"), RULES, ids=[rule for rule, _, _ in RULES])
def test_expressions_set_integers(
    rule: str, name: str, expected: torch.Tensor, seed: int | None, tmp_path: Path
) -> None:
    rules = f"B.{rule}; keep net.w".replace("B.", "Buffered.")
    net = Buffered()
    initdsl.apply(net, rules, seed=seed)
    result = getattr(net, name)
    assert result.dtype == DTYPES[name]
    assert torch.equal(result, expected.to(result.dtype))
    assert initdsl.verify(net, rules, seed)


@pytest.mark.parametrize(
    "rule",
    ["ids = index(0)", "mask = index(0) >= index(1)", "byte = 255 - index(0)", "grid = [1, 2, 3, 4] * (index(0) + 1)"],
)
def test_materialized_and_streamed(rule: str, tmp_path: Path) -> None:
    rules, net = f"Buffered.{rule}; net.w = 1", Buffered()
    initdsl.apply(net, rules, seed=1)
    made = initdsl.materialize(Buffered, rules, seed=1)
    initdsl.stream(Buffered, rules, tmp_path / "out", seed=1)
    name = rule.partition(" ")[0]
    assert torch.equal(getattr(made, name), getattr(net, name))
    assert initdsl.verify(str(tmp_path / "out"), rules, 1, model=Buffered())


REFUSED = [
    ("ids = index(0) / 2", "`net.ids` is int64 and can't hold 0.5"), ("ids = net.w", "`net.ids` is int64 and can't hold 2.5"), ("byte = index(0) - 1", "`net.byte` is uint8 and can't hold -1"),
    ("byte = 254 + index(0)", "`net.byte` is uint8 and can't hold 256"), ("short = 32767 + index(0)", "can't hold 32768"), ("mask = index(0)", "`net.mask` is bool and can't hold 2"),
    ("ids = 1 / index(0)", "can't hold inf"), ("mask += 1", "`net.mask` is bool and can't hold 2"), ("byte += 250", "`net.byte` is uint8 and can't hold 257"), ("byte *= 100", "can't hold 700"),
    ("ids = 2.0 ** 63 * (index(0) + 1)", "can't hold 9.22337e+18"), ("ids = constant(0.5)", "can't hold 0.5"), ("ids /= 2", "can't be divided"),
    ("ids = net.big", "more than 53 bits"),
]  # fmt: skip


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize(("rule", "said"), REFUSED, ids=[rule for rule, _ in REFUSED])
def test_what_they_cant_hold_is_refused(rule: str, said: str, seed: int | None) -> None:
    net: Any = Buffered()
    net.register_buffer("big", torch.tensor([2**53 + 1] * 5))
    with pytest.raises(initdsl.InitDSLError, match="bad-dtype") as caught:
        initdsl.apply(
            net,
            f"net.w = 3.5; Buffered.{rule}".replace(
                "net.w = 3.5; Buffered.ids = net.w", "keep net.w; Buffered.ids = net.w"
            ),
            seed=seed,
        )
    assert said in str(caught.value)
    assert len(names_of(caught.value)) == 1
    assert net.w.tolist() == [1, -2, 3, 0, 2.5]
    assert net.ids.tolist() == [7] * 5
    assert net.byte.tolist() == [7] * 4
