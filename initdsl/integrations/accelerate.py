"""accelerate's `init_empty_weights`: a model that is there already, without memory, given memory and filled by rules."""

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
    """Return `initdsl.materialize(lambda: net, rules, device, seed)`, after a call of `net.tie_weights()` if there is one.

    `init_empty_weights` makes two of every shared parameter: `tie_weights`, which models of transformers have, makes
    one of them again. Further `options` are those of `initdsl.materialize`, and so are the errors; then the model
    still has no memory.

    >>> from accelerate import init_empty_weights
    >>> with init_empty_weights():
    ...     net = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8))
    >>> net[0].weight.device.type, fill_empty(net, "Linear.* = 1")[0].weight.device.type
    ('meta', 'cpu')
    """
    getattr(net, "tie_weights", lambda: None)()
    return materialize(lambda: net, rules, device, seed, **options)
