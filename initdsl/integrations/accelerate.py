"""Networks built under accelerate's `init_empty_weights`, given memory and filled by a rule file."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from initdsl.filling.meta.materialize import materialize
from initdsl.language.rules.loader import Rules

__all__ = ["fill_empty"]


def fill_empty(
    net: nn.Module, rules: Rules, device: torch.device | str | int = "cpu", seed: int | None = None, **options: Any
) -> nn.Module:
    """Memory on `device` for a network without any, and its values by rules; the same network is returned.

    The arguments are those of `initdsl.materialize`, but for the network itself. `init_empty_weights` makes two of a
    shared parameter: where the network has a `tie_weights` (those of transformers do), it is called first; otherwise
    the rules should `tie`. Raises what `initdsl.materialize` raises; then the network still has no memory.

    >>> from accelerate import init_empty_weights
    >>> with init_empty_weights():
    ...     net = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8))
    >>> net[0].weight.device.type, fill_empty(net, "Linear.* = 1")[0].weight.device.type
    ('meta', 'cpu')
    """
    if not isinstance(net, nn.Module):
        raise TypeError(f"a network is an nn.Module, not {type(net).__name__}")
    tie = getattr(net, "tie_weights", None)
    if callable(tie):
        tie()
    return materialize(lambda: net, rules, device, seed, **options)
