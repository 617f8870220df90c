"""Directories of torch.distributed.checkpoint, read in pieces.

torch's own reader unpickles whatever `.metadata` names; this one makes the classes of `ALLOWED` and no others.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import pickle
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from initdsl.text.failures import ending, reason
from initdsl.text.files import read_whole
from initdsl.text.places import lies_in

from .pickled import refuse_unpacking
from .store import Described, Piece, Store, boxes

__all__ = ["ABOUT", "Checkpoint", "read_bounded", "refuse_leaving"]


# bytes of an index of files, or of a DCP directory's `.metadata`
LARGEST = 256 << 20

# dimensions that the chunks of one tensor may be split along
MOST_SPLIT = 8


# the file in which initdsl says what a directory was made from
ABOUT = "initdsl.json"


class Checkpoint(Store):
    """A directory that `torch.distributed.checkpoint` wrote: `Checkpoint("checkpoints/step_1000")`.

    One process reads it, a rank's chunk of a tensor at a time. `chunks` are the offsets and sizes of each tensor's chunks,
    `data` says where the bytes of a chunk are, by the tensor's name and the chunk's offsets.
    """

    def __init__(self, where: str):
        super().__init__(where)
        self.metadata = _made_from(where)
        data = read_bounded(os.path.join(where, ".metadata"))
        try:
            metadata = _Metadata(io.BytesIO(data)).load()
            self.data = {(k.fqn, tuple(k.offset)): v for k, v in metadata.storage_data.items() if k.offset is not None}
            self.chunks: dict[str, list[tuple[tuple[int, ...], tuple[int, ...]]]] = {}
            for name, entry in metadata.state_dict_metadata.items():
                if hasattr(entry, "chunks"):
                    if not isinstance(name, str) or not isinstance(entry.properties.dtype, torch.dtype):
                        raise TypeError("a tensor has no name or no dtype")
                    self.tensors[name] = Described(_sizes(entry.size), entry.properties.dtype)
                    chunks = [(_sizes(chunk.offsets), _sizes(chunk.sizes)) for chunk in entry.chunks]
                    if not _fill(self.tensors[name].shape, chunks):
                        raise ValueError("chunks don't fill their tensor")
                    self.chunks[name] = chunks
        except Exception as error:  # damaged bytes make an unpickler raise anything
            reason = ending(error) if isinstance(error, pickle.UnpicklingError) else "its metadata is damaged"
            raise ValueError(f"`{where}` is no readable DCP directory: {reason}") from None

    def pieces(self, name: str) -> Iterator[Piece]:
        stored_name = self.renamed.get(name, name)
        for offsets, sizes in self.chunks[stored_name]:
            place = self.data.get((stored_name, offsets))
            if place is None:
                raise ValueError(f"`{self.where}` has no data for `{name}` at {list(offsets)}")
            if getattr(place, "transform_descriptors", None):
                raise ValueError(f"`{name}` in `{self.where}` is stored compressed, which can't be read")
            values = self._stored(place, name)
            if values.shape != sizes:
                raise ValueError(f"`{name}` in `{self.where}` has shape {list(values.shape)}, not {list(sizes)}")
            for extents, _ in boxes(sizes):
                shifted = tuple(range(e.start + o, e.stop + o) for e, o in zip(extents, offsets, strict=True))
                yield Piece(shifted, values[tuple(slice(e.start, e.stop) for e in extents)])

    def _stored(self, place: Any, name: str) -> torch.Tensor:
        """Return the chunk of the tensor `name` that lies at a place. Raises ValueError where its bytes are damaged."""
        if not hasattr(place, "relative_path"):
            raise ValueError(f"`{self.where}` doesn't say where `{name}` is: its metadata is damaged")
        # the last part of the path alone: a path that leads out of the directory is none of this checkpoint
        path = os.path.join(self.where, os.path.basename(str(place.relative_path)))
        if os.path.exists(path) and not os.path.isfile(path):
            raise OSError(f"`{path}` is not a file")
        refuse_leaving(self.where, [os.path.basename(path)])
        try:
            offset, length = _sizes((place.offset, place.length))
            with open(path, "rb") as file:
                if offset + length > os.path.getsize(path):
                    raise ValueError("it ends too soon")
                file.seek(offset)
                data = file.read(length)
            refuse_unpacking(io.BytesIO(data), len(data))
            values = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            if not isinstance(values, torch.Tensor):
                raise TypeError("there is no tensor")
        except OSError:
            raise
        except Exception as error:
            raise ValueError(f"can't read `{name}` from `{path}`: {ending(error)}") from None
        return values.detach()


def _fill(shape: tuple[int, ...], chunks: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> bool:
    """Tell whether chunks, by their offsets and sizes, lie in a tensor and cover each element once.

    Boxes cover a box once exactly where their corners, each with the sign of its parity, add up to those of the box: the
    sum of the boxes is known by its mixed differences.
    """
    if any(len(offsets) != len(shape) or len(sizes) != len(shape) for offsets, sizes in chunks):
        return False
    spans = [[(o, o + size) for o, size in zip(*chunk, strict=True)] for chunk in chunks]
    split = [d for d, size in enumerate(shape) if not size or any(span[d] != (0, size) for span in spans)]
    if len(split) > MOST_SPLIT:
        return False
    corners: Counter[tuple[int, ...]] = Counter()
    for span, sign in [*((span, 1) for span in spans), ([(0, size) for size in shape], -1)]:
        for ends in itertools.product((0, 1), repeat=len(split)):
            corners[tuple(span[d][end] for d, end in zip(split, ends, strict=True))] += sign * (-1) ** sum(ends)
    return not any(corners.values())


def _made_from(where: str) -> dict[str, str]:
    """Return what initdsl says of how the values came about, where it wrote the directory; nothing else is believed."""
    path = os.path.join(where, ABOUT)
    if not os.path.lexists(path):
        return {}
    refuse_leaving(where, [ABOUT])
    try:
        told = json.loads(read_bounded(path))["metadata"]
        return {name: value for name, value in told.items() if isinstance(value, str)}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError(f"`{path}` does not say what the checkpoint was made from: it is damaged") from None


def _sizes(numbers: Any) -> tuple[int, ...]:
    """Return numbers of a file as a tuple of sizes. Raises ValueError for anything but 63-bit integers from 0 on."""
    sizes = tuple(numbers)
    if not all(type(number) is int and 0 <= number < 2**63 for number in sizes):
        raise ValueError("a size or a place is no number")
    return sizes


# the classes and functions that the pickle of a DCP directory may name, by module
ALLOWED = {
    "torch.distributed.checkpoint.metadata": {
        "TensorStorageMetadata", "BytesStorageMetadata", "MetadataIndex", "_MEM_FORMAT_ENCODING", "TensorProperties",
        "ChunkStorageMetadata", "StorageMeta", "Metadata",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "torch": {"Size"},
    "pathlib": {"PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"},
    "collections": {"OrderedDict"},
}  # fmt: skip


# pickle's own in Python: the unpickler in C allocates as many memo entries as the largest index in the bytes says
_Unpickler: Any = pickle._Unpickler


class _Metadata(_Unpickler):  # type: ignore[misc]
    """Unpickles what DCP writes about a checkpoint, and nothing that could run code: `_Metadata(file).load()`."""

    def find_class(self, module: str, name: str) -> Any:
        if name in ALLOWED.get(module, ()):
            return super().find_class(module, name)
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        raise pickle.UnpicklingError(f"it names `{module}.{name}`, which a checkpoint's metadata has no use for")


def refuse_leaving(folder: str, names: Iterable[str]) -> None:
    """Raise OSError where one of these files of a checkpoint is a link out of its folder.

    In the cache of the Hugging Face hub, where `snapshots/REVISION/` has links to `blobs/`, the folder is that of both.
    """
    real = os.path.realpath(folder or ".")
    above, kind = os.path.split(os.path.dirname(real))
    base = above if kind == "snapshots" else real
    for name in names:
        if not lies_in(os.path.join(real, name), base):
            raise OSError(f"`{os.path.join(folder, name)}` is a link that leads out of its folder")


def read_bounded(path: str) -> bytes:
    """Return the bytes of a file of at most `LARGEST` of them. Raises OSError."""
    try:
        return read_whole(path, LARGEST)
    except OSError as error:
        raise OSError(f"can't read `{path}`: {reason(error)}") from None
