"""Directories of torch.distributed.checkpoint: cut into chunks of bounded size, of which each rank reads what it needs.

A chunk is a box of a tensor as `torch.save` writes it. Beside the files of chunks and torch's `.metadata` lies a file that
says what the model was made from, as the header of a safetensors file does.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch

from initdsl.text.diagnostic import ApplyError, Diagnostic

from .dcp import ABOUT
from .shards import OTHER, Row, metadata_difference
from .store import CHUNK, boxes

__all__ = ["METADATA", "Chunk", "ChunkFile", "about", "chunk_files", "metadata", "saved", "unfinished"]


METADATA = ".metadata"


# files of chunks, as torch names them
DATA = re.compile(r"__\d+_\d+\.distcp")


class Chunk(NamedTuple):
    """A box of a tensor in a file: `Chunk("0.weight", torch.float32, (range(0, 8), range(0, 4)), 0, 1_382)`.

    Its bytes are `start` ... `start + length`.
    """

    name: str
    dtype: torch.dtype
    extents: tuple[range, ...]
    start: int
    length: int

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(map(len, self.extents))


class ChunkFile(NamedTuple):
    """A file of chunks: `ChunkFile("__0_0.distcp", chunks, 4_096)`; `size` is in bytes."""

    name: str
    chunks: list[Chunk]
    size: int


# ---- chunks


def saved(tensor: torch.Tensor) -> memoryview:
    """Return a tensor as `torch.save` writes it. The tensor has memory of its own: all of its storage is written."""
    file = io.BytesIO()
    torch.save(tensor, file)
    return file.getbuffer()


@lru_cache(maxsize=4096)
def _saved_size(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    return len(saved(torch.zeros(shape, dtype=dtype)))


def _extents(shape: tuple[int, ...]) -> Iterable[tuple[range, ...]]:
    if 0 in shape:  # one chunk without elements
        return [tuple(map(range, shape))]
    return (extents for extents, _ in boxes(shape, CHUNK))


def chunk_files(tensors: Iterable[Row], most: int) -> list[ChunkFile]:
    """Return the files of chunks a model is written to, of at most `most` bytes each, or one chunk."""
    files: list[ChunkFile] = []
    chunks: list[Chunk] = []
    size = 0
    for name, dtype, shape in tensors:
        for extents in _extents(shape):
            length = _saved_size(tuple(map(len, extents)), dtype)
            if chunks and size + length > most:
                files.append(ChunkFile(f"__0_{len(files)}.distcp", chunks, size))
                chunks, size = [], 0
            chunks.append(Chunk(name, dtype, extents, size, length))
            size += length
    return [*files, ChunkFile(f"__0_{len(files)}.distcp", chunks, size)]


# ---- what is said of them


def about(files: Sequence[ChunkFile], others: Mapping[str, str], provenance: Mapping[str, str]) -> bytes:
    """Return the JSON that says what a directory was made from, and what is in it."""
    rows = [
        [file.name, chunk.name, str(chunk.dtype), chunk.start, chunk.shape] for file in files for chunk in file.chunks
    ]
    layout = hashlib.blake2b(json.dumps([rows, dict(others)]).encode(), digest_size=16).hexdigest()
    content = {"format": "initdsl-dcp", "version": 1, "metadata": dict(provenance), "layout": layout}
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def metadata(files: Sequence[ChunkFile], tensors: Iterable[Row], others: Mapping[str, str]) -> bytes:
    """Return torch's `.metadata` of a directory; a shared tensor stands there under all its names."""
    from torch.distributed.checkpoint import metadata as dcp
    from torch.distributed.checkpoint.filesystem import _StorageInfo

    chunks: dict[str, list[dcp.ChunkStorageMetadata]] = {}
    places: dict[str, list[tuple[torch.Size, _StorageInfo]]] = {}
    for file in files:
        for chunk in file.chunks:
            offsets = torch.Size([extent.start for extent in chunk.extents])
            chunks.setdefault(chunk.name, []).append(dcp.ChunkStorageMetadata(offsets, torch.Size(chunk.shape)))
            places.setdefault(chunk.name, []).append((offsets, _StorageInfo(file.name, chunk.start, chunk.length)))
    described = {name: (dtype, shape) for name, dtype, shape in tensors}
    firsts = {**{name: name for name in described}, **others}
    entries, storage = {}, {}
    for name, first in firsts.items():
        dtype, shape = described[first]
        properties = dcp.TensorProperties(dtype=dtype)
        entries[name] = dcp.TensorStorageMetadata(properties, torch.Size(shape), chunks[first])
        storage.update({dcp.MetadataIndex(name, offsets): place for offsets, place in places[first]})
    told = dcp.Metadata(entries, {name: (name,) for name in firsts}, storage, dcp.StorageMeta())  # type: ignore[arg-type]
    if hasattr(told, "version"):
        from torch.distributed.checkpoint.filesystem import CURRENT_DCP_VERSION

        told.version = CURRENT_DCP_VERSION
    return pickle.dumps(told)


# ---- what is there already


def unfinished(folder: str, files: Sequence[ChunkFile], told: bytes) -> list[ChunkFile]:
    """Return those of the files that are not in the folder yet; `told` is what `about` says of them.

    A file counts as written if its size is right: it gets its name only once it is whole. Raises ApplyError where the
    folder holds a checkpoint of another model or of another run.
    """
    names = {name for name in os.listdir(folder) if name in (METADATA, ABOUT) or DATA.fullmatch(name)}
    for name in sorted(names):
        if not os.path.isfile(os.path.join(folder, name)):
            raise OSError(f"`{os.path.join(folder, name)}` is there already, and is not a file")
    expected = {file.name: file for file in files}
    if names:
        first = ABOUT if ABOUT in names else min(names)
        _refuse(folder, first, _difference(folder, told) if ABOUT in names else "initdsl did not write it")
    for name in sorted(names - {METADATA, ABOUT}):
        if name not in expected:
            _refuse(folder, name, "it is none of this model's files")
        elif os.path.getsize(os.path.join(folder, name)) != expected[name].size:
            _refuse(folder, name, "its size is wrong")
    return [file for file in files if file.name not in names]


def _refuse(folder: str, name: str, difference: str | None) -> None:
    """Raise ApplyError where a file of the folder differs from the one that would be written there."""
    if difference is not None:
        message = f"`{os.path.join(folder, name)}` is there already, and is not what this run would write: {difference}"
        hint = "write to another folder, or move these files away"
        raise ApplyError(Diagnostic("foreign-file", message, hint=hint))


def _difference(folder: str, told: bytes) -> str | None:
    """Say what sets the checkpoint of a folder apart from the one that would be written; None if it is that one."""
    with open(os.path.join(folder, ABOUT), "rb") as opened:
        there = opened.read(len(told) + (1 << 20))
    if there == told:
        return None
    try:
        theirs = dict(json.loads(there)["metadata"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return "it does not say what it was made from"
    return metadata_difference(json.loads(told)["metadata"], theirs) or OTHER
