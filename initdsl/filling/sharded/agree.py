"""Failures told to the ranks that hold other shards of a network, if it has any."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

__all__ = ["agreed"]


def agreed(net: Any) -> AbstractContextManager[Any]:
    """What goes wrong in the block is told to the ranks that hold other shards of the network, if it has any."""
    if "torch.distributed.tensor" not in sys.modules:
        return nullcontext()
    from . import agreement

    return agreement.agreed(net)
