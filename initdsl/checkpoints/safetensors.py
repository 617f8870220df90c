"""Safetensors files: the dtypes they hold, and reading them in pieces."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from typing import Any

import torch

from initdsl.text.failures import ending
from initdsl.text.files import Stamp, reading, stamp

from .store import CHUNK, Described, Piece, Store, boxes

__all__ = ["CODES", "Safetensors"]


# the format's name of each dtype: https://huggingface.co/docs/safetensors/index#format
CODES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint64: "U64", torch.uint32: "U32",
    torch.uint16: "U16", torch.uint8: "U8", torch.bool: "BOOL", torch.complex64: "C64",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip


LONGEST_HEADER = 100 << 20  # bytes; more than the safetensors library itself reads


# how messages of the safetensors library begin, before the reason
PREFIX = "Error while deserializing header: "


DTYPES = {code: dtype for dtype, code in CODES.items()}


class Safetensors(Store):
    """Tensors of safetensors files: `Safetensors("model", ["model/a.safetensors", "model/b.safetensors"])`.

    `places` are the file of each tensor and where its bytes start in it; `stamps` tell whether a file has changed since
    its header was read.
    """

    def __init__(self, where: str, files: list[str]):
        super().__init__(where)
        self.places: dict[str, tuple[str, int]] = {}
        self.stamps: dict[str, Stamp] = {}
        for file in files:
            self._read_header(file)
        # `safetensors.torch.save_model` maps further names of shared tensors in the metadata
        self.others.update((k, v) for k, v in self.metadata.items() if v in self.tensors and k not in self.tensors)

    def _read_header(self, path: str) -> None:
        from safetensors import SafetensorError, safe_open

        if not os.path.isfile(path):  # opening a pipe would wait for its writer
            raise OSError(f"`{path}` is not a file")
        try:
            with reading(path) as file:
                self.stamps[path] = stamp(file.fileno())
                with safe_open(path, framework="pt") as opened:  # checks the whole header
                    metadata = opened.metadata() or {}
                length = int.from_bytes(file.read(8), "little")
                entries = json.loads(file.read(min(length, LONGEST_HEADER)))
        except (SafetensorError, ValueError) as error:
            raise ValueError(f"`{path}` is not a safetensors file: {ending(error, PREFIX)}") from None
        self.metadata.update(metadata)
        for name, entry in entries.items():
            if name == "__metadata__":
                continue
            if entry["dtype"] not in DTYPES:
                raise ValueError(f"`{name}` in `{path}` is {entry['dtype']}, which can't be read")
            if name in self.tensors:
                raise ValueError(f"`{name}` is in `{path}` and in another file of `{self.where}`")
            self.tensors[name] = Described(tuple(entry["shape"]), DTYPES[entry["dtype"]])
            self.places[name] = (path, 8 + length + entry["data_offsets"][0])

    def pieces(self, name: str) -> Iterator[Piece]:
        shape, dtype = self.tensors[name]
        path, start = self.places[self.renamed.get(name, name)]
        with reading(path, self.stamps[path]) as file:
            for extents, first in boxes(shape):
                sizes = [len(e) for e in extents]
                data = bytearray(math.prod(sizes) * dtype.itemsize)
                file.seek(start + first * dtype.itemsize)
                _read_into(file, data, path)
                yield Piece(extents, torch.frombuffer(data, dtype=dtype).reshape(sizes))

    def whole(self, name: str) -> torch.Tensor:
        return self.read(name)

    def read(self, name: str, index: tuple[slice, ...] = ()) -> torch.Tensor:
        """Return a tensor, or what slices without steps select of it.

        Raises OSError where the file has changed since it was opened.
        """
        shape, dtype = self.tensors[name]
        index = (*index, *[slice(None)] * (len(shape) - len(index)))
        extents = [range(size)[piece] for size, piece in zip(shape, index, strict=True)]
        out = torch.empty([len(extent) for extent in extents], dtype=dtype)
        if not out.numel():
            return out
        inner = math.prod(shape[1:])
        if out.numel() == math.prod(map(len, extents[:1])) * inner:  # rows without a gap
            path, start = self.places[self.renamed.get(name, name)]
            with reading(path, self.stamps[path]) as file:
                file.seek(start + (extents[0].start * inner if extents else 0) * dtype.itemsize)
                _read_into(file, out.reshape(-1).view(torch.uint8).numpy().data, path)
            return out
        rows = max(1, CHUNK // inner)
        for first in range(0, len(extents[0]), rows):  # whole rows, so many that they fit in bounded memory
            block = extents[0][first : first + rows]
            values = self.read(name, (slice(block.start, block.stop),))
            out[first : first + rows] = values[(slice(None), *index[1:])]
        return out


def _read_into(file: Any, data: bytearray | memoryview, path: str) -> None:
    """Fill `data` from an open file. Raises OSError where the file ends too soon."""
    room = memoryview(data)
    while room:
        count = file.readinto(room)
        if not count:
            raise OSError(f"`{path}` ends too soon")
        room = room[count:]
