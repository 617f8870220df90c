"""Safetensors files, read in pieces."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from typing import Any

import torch

from initdsl.text.failures import ending
from initdsl.text.files import Stamp, reading, stamp

from .safetensors import CODES
from .store import CHUNK, Described, Piece, Store, boxes

__all__ = ["Safetensors"]


LONGEST_HEADER = 100 << 20


# what safetensors says before the reason
HEADER = "Error while deserializing header: "


DTYPES = {code: dtype for dtype, code in CODES.items()}


class Safetensors(Store):
    """One or more safetensors files."""

    def __init__(self, where: str, files: list[str]):
        super().__init__(where)
        self.places: dict[str, tuple[str, int]] = {}
        self.stamps: dict[str, Stamp] = {}
        for file in files:
            self._read_header(file)
        names = {k: v for k, v in self.metadata.items() if v in self.tensors and k not in self.tensors}
        self.others.update(names)

    def _read_header(self, path: str) -> None:
        from safetensors import SafetensorError, safe_open

        if not os.path.isfile(path):
            raise OSError(f"`{path}` is not a file")
        try:
            with reading(path) as file:
                self.stamps[path] = stamp(file.fileno())
                with safe_open(path, framework="pt") as opened:  # checks the whole header
                    metadata = opened.metadata() or {}
                length = int.from_bytes(file.read(8), "little")
                described = json.loads(file.read(min(length, LONGEST_HEADER)))
        except (SafetensorError, ValueError) as error:
            raise ValueError(f"`{path}` is not a safetensors file: {ending(error, HEADER)}") from None
        self.metadata.update(metadata)
        for name, entry in described.items():
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
        """A tensor, or what slices without steps select of it. Raises OSError where the file has changed meanwhile."""
        shape, dtype = self.tensors[name]
        index = (*index, *[slice(None)] * (len(shape) - len(index)))
        wanted = [range(n)[piece] for n, piece in zip(shape, index, strict=True)]
        out = torch.empty([len(w) for w in wanted], dtype=dtype)
        if not out.numel():
            return out
        inner = math.prod(shape[1:])
        if out.numel() == math.prod(map(len, wanted[:1])) * inner:  # rows without a gap
            path, start = self.places[self.renamed.get(name, name)]
            with reading(path, self.stamps[path]) as file:
                file.seek(start + (wanted[0].start * inner if wanted else 0) * dtype.itemsize)
                _read_into(file, out.reshape(-1).view(torch.uint8).numpy().data, path)
            return out
        rows = max(1, CHUNK // inner)
        for at in range(0, len(wanted[0]), rows):
            some = wanted[0][at : at + rows]
            values = self.read(name, (slice(some.start, some.stop),))
            out[at : at + rows] = values[(slice(None), *index[1:])]
        return out


def _read_into(file: Any, data: bytearray | memoryview, path: str) -> None:
    room = memoryview(data)
    while room:
        count = file.readinto(room)
        if not count:
            raise OSError(f"`{path}` ends too soon")
        room = room[count:]
