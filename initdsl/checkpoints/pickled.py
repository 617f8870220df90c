"""Files of `torch.save`: their tensors by name, and nothing else of them."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["PICKLED", "refuse_unpacking", "unpickled"]


PICKLED = (".pt", ".pth", ".bin", ".ckpt")


# elements from which on a tensor must not be larger than its storage: `expand` makes terabytes of one number
REPEATED = 1 << 24


# entries of all mappings of a file together, and how deep they may lie in each other
ENTRIES = 1_000_000


DEPTH = 16


# how many times as large as its archive, and how many bytes more, what is packed in it may be; torch packs nothing
RATIO, ROOM = 16, 1 << 20


def refuse_unpacking(file: IO[bytes], size: int) -> None:
    """Refuse an archive of `size` bytes whose table says that it holds very much more, before anything is unpacked.

    Raises ValueError. What is no archive is left to who reads it.
    """
    start = file.read(4)
    file.seek(0)
    if start != b"PK\x03\x04":
        return
    try:
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, OverflowError, struct.error):
        raise ValueError("its archive is damaged") from None
    if unpacked > RATIO * size + ROOM:
        raise ValueError(f"it is an archive of {size:,} bytes that unpacks to {unpacked:,}")


def unpickled(path: str, device: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a file of `torch.save`, those of inner mappings by dotted names."""
    import torch

    with open(path, "rb") as file:
        refuse_unpacking(file, os.fstat(file.fileno()).st_size)
    # mapped only where no value is read: the system ends a process that reads a mapped file which was cut short
    try:
        content = torch.load(path, map_location=device, weights_only=True, mmap=device == "meta")
    except (RuntimeError, ValueError):  # the old format can't be mapped into memory
        content = torch.load(path, map_location=device, weights_only=True)
    tensors: dict[str, torch.Tensor] = {}
    count = 0

    def collect(mapping: Mapping[Any, Any], prefix: str, depth: int) -> None:
        nonlocal count
        count += len(mapping)
        if count > ENTRIES:  # mappings that hold each other
            raise ValueError(f"it holds more than {ENTRIES:,} things")
        for key, value in mapping.items():
            if isinstance(value, torch.Tensor):
                if value.layout != torch.strided:  # some versions of torch can't even describe such a file
                    raise ValueError(f"`{prefix}{key}` is sparse, and only dense tensors are loaded")
                if value.numel() > REPEATED and value.numel() * value.itemsize > value.untyped_storage().nbytes():
                    raise ValueError(f"`{prefix}{key}` is larger than the file, which repeats its elements")
                tensors[f"{prefix}{key}"] = value
            elif isinstance(value, Mapping) and depth < DEPTH:
                collect(value, f"{prefix}{key}.", depth + 1)

    if not isinstance(content, Mapping):
        raise TypeError(f"it holds {type(content).__name__}, no mapping of names and tensors")
    collect(content, "", 0)
    return tensors
