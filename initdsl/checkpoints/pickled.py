"""PyTorch pickles: tensors by name, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["PICKLED", "unpickled"]


PICKLED = (".pt", ".pth", ".bin", ".ckpt")


REPEATED = 1 << 24  # elements of a tensor of which a file holds fewer


ENTRIES = 1_000_000  # of the mappings of a pickled checkpoint, all together


DEPTH = 16


def unpickled(path: str, device: str) -> dict[str, torch.Tensor]:
    """The tensors of a pickled checkpoint, those of inner mappings by dotted names."""
    import torch

    # mapped where no value is read: of a mapped file that somebody cuts short the system would end the process
    try:
        held = torch.load(path, map_location=device, weights_only=True, mmap=device == "meta")
    except (RuntimeError, ValueError):  # the old format can't be mapped into memory
        held = torch.load(path, map_location=device, weights_only=True)
    found: dict[str, torch.Tensor] = {}
    seen = 0

    def collect(mapping: Mapping[Any, Any], before: str, depth: int) -> None:
        nonlocal seen
        seen += len(mapping)
        if seen > ENTRIES:  # mappings that hold each other
            raise ValueError(f"it holds more than {ENTRIES:,} things")
        for key, value in mapping.items():
            if isinstance(value, torch.Tensor):
                if value.numel() > REPEATED and value.numel() * value.itemsize > value.untyped_storage().nbytes():
                    raise ValueError(f"`{before}{key}` is larger than the file, which repeats its elements")
                found[f"{before}{key}"] = value
            elif isinstance(value, Mapping) and depth < DEPTH:
                collect(value, f"{before}{key}.", depth + 1)

    if not isinstance(held, Mapping):
        raise TypeError(f"it holds {type(held).__name__}, no mapping of names and tensors")
    collect(held, "", 0)
    return found
