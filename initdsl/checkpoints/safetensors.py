"""Networks to safetensors files: whole or not at all, whatever happens meanwhile, and the same bytes every time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch

from initdsl.text.files import write_bytes, writing

if TYPE_CHECKING:
    from torch import nn

__all__ = ["CODES", "Place", "alone", "distinct", "header", "save", "write_tensor"]


# the format's name of each dtype: https://huggingface.co/docs/safetensors/index#format
CODES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint64: "U64", torch.uint32: "U32",
    torch.uint16: "U16", torch.uint8: "U8", torch.bool: "BOOL", torch.complex64: "C64",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip


# ---- the format


class Place(NamedTuple):
    """One tensor of a file: its name there, what it is, and where its bytes start, counted from the file's first."""

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
    """The first bytes of a safetensors file, where each tensor goes, and the file's size.

    Wide dtypes come first, so that every tensor is aligned; otherwise the order is the given one.
    Raises ValueError for a dtype the format has no name for.
    """
    described: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    offset = 0
    ordered = sorted(tensors, key=lambda tensor: -tensor[1].itemsize)
    offsets = []
    for name, dtype, shape in ordered:
        if dtype not in CODES:
            raise ValueError(f"safetensors has no {str(dtype).removeprefix('torch.')} for `{name}`")
        size = dtype.itemsize * torch.Size(shape).numel()
        described[name] = {"dtype": CODES[dtype], "shape": list(shape), "data_offsets": [offset, offset + size]}
        offsets.append(offset)
        offset += size
    text = json.dumps(described, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    start = 8 + len(text)
    places = [Place(*tensor, start + at) for tensor, at in zip(ordered, offsets, strict=True)]
    return len(text).to_bytes(8, "little") + text, places, start + offset


def write_tensor(descriptor: int, tensor: torch.Tensor, start: int) -> None:
    """Write a tensor's bytes, row-major, from `start` on in an open file. Raises OSError."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    if flat.numel():
        write_bytes(descriptor, flat.view(torch.uint8).numpy().data, start)


def distinct(state: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """A state without repetitions: of the names of one tensor the first stays, the others are told with it.

    Raises ValueError for what is no tensor, has no memory, or is sparse.
    """
    kept: dict[str, torch.Tensor] = {}
    others: dict[str, str] = {}
    known: dict[object, str] = {}
    for name, tensor in state.items():
        if not isinstance(tensor, torch.Tensor):
            raise ValueError(f"`{name}` is {type(tensor).__name__}, not a tensor; a safetensors file can't hold it")
        if tensor.layout != torch.strided or tensor.is_meta:
            raise ValueError(f"`{name}` {'has no memory' if tensor.is_meta else 'is sparse'}; it can't be saved")
        same = (tensor.device, tensor.dtype, tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        first = known.setdefault(same, name) if tensor.numel() else name
        if first == name:
            kept[name] = tensor
        else:
            others[name] = first
    return kept, others


# ---- files


@contextmanager
def alone(folder: str) -> Iterator[None]:
    """Keep other runs out of a folder for as long as the block lasts. Raises OSError where one is in it."""
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
    """Write a network's state to a safetensors file.

    The file is written beside its place under another name, and renamed once it is whole. Of the names of a shared
    tensor the first is kept, and the metadata says which it stands for, as in `safetensors.torch.save_model`.
    Raises OSError where the disk is full or the place can't be written to, ValueError for a state that the format
    can't hold; then no file is left.
    """
    from initdsl.network.wrappers import unwrap

    tensors, others = distinct(unwrap(net).state_dict())
    described = [(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()]
    first, places, _ = header(described, {"format": "pt", **others, **(metadata or {})})
    with writing(path) as descriptor:
        write_bytes(descriptor, first, 0)
        for place in places:
            write_tensor(descriptor, tensors[place.name], place.start)
