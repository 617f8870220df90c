"""Writing of safetensors files: whole or not at all, and the same bytes for the same tensors every time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch

from initdsl.text.files import write_bytes, writing

from .safetensors import CODES

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Place", "alone", "distinct", "header", "save", "write_tensor"]


# ---- the format


class Place(NamedTuple):
    """A tensor of a file: `Place("0.weight", torch.float32, (8, 4), 128)`; its bytes are `start` ... `start + nbytes`."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int

    @property
    def nbytes(self) -> int:
        return self.dtype.itemsize * torch.Size(self.shape).numel()


def header(
    tensors: Iterable[tuple[str, torch.dtype, tuple[int, ...]]], metadata: Mapping[str, str]
) -> tuple[bytes, list[Place], int]:
    """Return the first bytes of a safetensors file, the places of its tensors, and its size in bytes.

    Wide dtypes come first, so that every tensor is aligned; otherwise the order is the given one.
    Raises ValueError for a dtype the format has no name for.
    """
    entries: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    total = 0
    ordered = sorted(tensors, key=lambda tensor: -tensor[1].itemsize)
    offsets = []
    for name, dtype, shape in ordered:
        if dtype not in CODES:
            raise ValueError(f"safetensors has no {str(dtype).removeprefix('torch.')} for `{name}`")
        size = dtype.itemsize * torch.Size(shape).numel()
        entries[name] = {"dtype": CODES[dtype], "shape": list(shape), "data_offsets": [total, total + size]}
        offsets.append(total)
        total += size
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # as safetensors pads it, so that the first tensor is aligned
    start = 8 + len(text)
    places = [Place(*tensor, start + offset) for tensor, offset in zip(ordered, offsets, strict=True)]
    return len(text).to_bytes(8, "little") + text, places, start + total


def write_tensor(descriptor: int, tensor: torch.Tensor, start: int) -> None:
    """Write a tensor's bytes, row-major, from `start` on in an open file. Raises OSError."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    if flat.numel():
        write_bytes(descriptor, flat.view(torch.uint8).numpy().data, start)


def distinct(state: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return a state with each tensor once, under its first name, and for each further name that first one.

    Raises ValueError for what is no tensor, has no memory, or is sparse.
    """
    kept: dict[str, torch.Tensor] = {}
    others: dict[str, str] = {}
    first_names: dict[object, str] = {}
    for name, tensor in state.items():
        if not isinstance(tensor, torch.Tensor):
            raise ValueError(f"`{name}` is {type(tensor).__name__}, not a tensor; a safetensors file can't hold it")
        if tensor.layout != torch.strided or tensor.is_meta:
            raise ValueError(f"`{name}` {'has no memory' if tensor.is_meta else 'is sparse'}; it can't be saved")
        memory = (tensor.device, tensor.dtype, tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        # tensors without elements have no memory to share
        first = first_names.setdefault(memory, name) if tensor.numel() else name
        if first == name:
            kept[name] = tensor
        else:
            others[name] = first
    return kept, others


# ---- files


@contextmanager
def alone(folder: str) -> Iterator[None]:
    """Keep other runs out of a folder until the block ends. Raises OSError where one is writing to it."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"another run is writing to `{folder}`") from None
        yield
    finally:
        os.close(descriptor)


def save(net: nn.Module, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> None:
    """Write a model's state to a safetensors file.

    The file is written beside `path` under another name, and renamed once it is whole. A shared tensor is kept under
    its first name; the metadata maps its further names to that one, as `safetensors.torch.save_model` does.
    Raises OSError where the disk is full or `path` can't be written to, ValueError for a state that the format
    can't hold; then no file is left.
    """
    from initdsl.network.wrappers import unwrap

    tensors, others = distinct(unwrap(net).state_dict())
    rows = [(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()]
    first_bytes, places, _ = header(rows, {"format": "pt", **others, **(metadata or {})})
    with writing(path) as descriptor:
        write_bytes(descriptor, first_bytes, 0)
        for place in places:
            write_tensor(descriptor, tensors[place.name], place.start)
