"""Where tensors are read from, a piece at a time: a network, a state dict, safetensors files, a DCP directory."""

from __future__ import annotations

import io
import json
import math
import os
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from initdsl.text.files import Stamp, read_whole, reading, reason, stamp

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Described", "Piece", "Safetensors", "Store", "Tensors", "boxes", "of_module", "open_store"]


# elements looked at at a time
CHUNK = 1 << 20


LONGEST_HEADER = 100 << 20


LARGEST = 256 << 20  # of an index, or of what a DCP directory says of itself


INDEX_SUFFIX = ".safetensors.index.json"


DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "U16": torch.uint16, "U32": torch.uint32,
    "U64": torch.uint64, "C64": torch.complex64,
}  # fmt: skip


class Described(NamedTuple):
    """What a store says of a tensor before it is read."""

    shape: tuple[int, ...]
    dtype: torch.dtype


class Piece(NamedTuple):
    """A box of a tensor: its coordinates along each dimension, and its values in the shape of the box."""

    extents: tuple[range, ...]
    values: torch.Tensor


def boxes(shape: tuple[int, ...], most: int = CHUNK) -> Iterator[tuple[tuple[range, ...], int]]:
    """A tensor in boxes of at most `most` elements, each without a gap in row-major order: `(extents, first element)`."""
    if 0 in shape:
        return
    cut, inner = 0, math.prod(shape[1:])
    while inner > most:
        cut += 1
        inner = math.prod(shape[cut + 1 :])
    if not shape:
        yield (), 0
        return
    rows = max(1, most // inner)
    size = math.prod(shape[cut:])
    for number, outer in enumerate(product(*map(range, shape[:cut]))):
        fixed = tuple(range(i, i + 1) for i in outer)
        for row in range(0, shape[cut], rows):
            extent = range(row, min(row + rows, shape[cut]))
            yield (*fixed, extent, *map(range, shape[cut + 1 :])), number * size + row * inner


@dataclass
class Store:
    """Named tensors that can be read in pieces. `others` says which name a further name of a shared tensor stands for."""

    where: str
    tensors: dict[str, Described] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)

    def whole(self, name: str) -> torch.Tensor:
        """One tensor, in memory."""
        found = self.tensors[name]
        out = torch.empty(found.shape, dtype=found.dtype)
        for extents, values in self.pieces(name):
            out[tuple(slice(e.start, e.stop) for e in extents)] = values
        return out

    def pieces(self, name: str) -> Iterator[Piece]:
        """One tensor in boxes of bounded size, in any order, each element once."""
        raise NotImplementedError

    def cut(self, prefix: str) -> None:
        """Forget the tensors whose names lack a prefix, and the prefix of the others."""
        self.renamed = {n.removeprefix(prefix): n for n in self.tensors if n.startswith(prefix)}
        self.tensors = {short: self.tensors[name] for short, name in self.renamed.items()}
        self.others = {
            n.removeprefix(prefix): f.removeprefix(prefix) for n, f in self.others.items() if n.startswith(prefix)
        }

    renamed: dict[str, str] = field(default_factory=dict)


class Tensors(Store):
    """Tensors in memory; those of a DTensor are gathered, one at a time, so all ranks have to read them."""

    def __init__(self, state: Mapping[str, torch.Tensor], where: str = "the state dict"):
        super().__init__(where)
        self.state: dict[str, torch.Tensor] = {}
        known: dict[object, str] = {}
        for name, tensor in state.items():
            if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
                if isinstance(name, str) and "_extra_state" in name:
                    continue
                raise TypeError(f"a state dict maps names to tensors; `{name}` is {type(tensor).__name__}")
            if tensor.is_meta:
                raise ValueError(f"`{name}` is on the meta device and has no values to verify")
            local = tensor.to_local() if hasattr(tensor, "to_local") else tensor
            place = (local.device, local.data_ptr(), tuple(local.shape), local.stride(), local.dtype)
            first = known.setdefault(place, name) if local.numel() else name
            if first != name:
                self.others[name] = first
            self.state[name] = tensor
            self.tensors[name] = Described(tuple(tensor.shape), tensor.dtype)

    def whole(self, name: str) -> torch.Tensor:
        tensor: Any = self.state[self.renamed.get(name, name)]
        with torch.no_grad():
            full: torch.Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
            return full.detach().cpu()

    def pieces(self, name: str) -> Iterator[Piece]:
        tensor = self.whole(name)
        for extents, _ in boxes(tuple(tensor.shape)):
            yield Piece(extents, tensor[tuple(slice(e.start, e.stop) for e in extents)])


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
            raise ValueError(f"`{path}` is not a safetensors file: {_reason(error)}") from None
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


class Checkpoint(Store):
    """A directory that `torch.distributed.checkpoint` wrote: read a rank's part of a tensor at a time, by one process."""

    def __init__(self, where: str):
        super().__init__(where)
        data = _read(os.path.join(where, ".metadata"))
        try:
            found = _Metadata(io.BytesIO(data)).load()
            self.data = {(k.fqn, tuple(k.offset)): v for k, v in found.storage_data.items() if k.offset is not None}
            self.chunks: dict[str, list[tuple[tuple[int, ...], tuple[int, ...]]]] = {}
            for name, entry in found.state_dict_metadata.items():
                if hasattr(entry, "chunks"):
                    if not isinstance(name, str) or not isinstance(entry.properties.dtype, torch.dtype):
                        raise TypeError("a tensor has no name or no dtype")
                    self.tensors[name] = Described(_sizes(entry.size), entry.properties.dtype)
                    self.chunks[name] = [(_sizes(chunk.offsets), _sizes(chunk.sizes)) for chunk in entry.chunks]
        except Exception as error:  # somebody's bytes: there is no telling what an unpickler says of them
            reason = _reason(error) if isinstance(error, pickle.UnpicklingError) else "its metadata is damaged"
            raise ValueError(f"`{where}` is no readable DCP directory: {reason}") from None

    def pieces(self, name: str) -> Iterator[Piece]:
        full = self.renamed.get(name, name)
        for offsets, sizes in self.chunks[full]:
            place = self.data.get((full, offsets))
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
        path = os.path.join(self.where, os.path.basename(str(place.relative_path)))
        if os.path.exists(path) and not os.path.isfile(path):
            raise OSError(f"`{path}` is not a file")
        try:
            offset, length = _sizes((place.offset, place.length))
            with open(path, "rb") as file:
                if offset + length > os.path.getsize(path):
                    raise ValueError("it ends too soon")
                file.seek(offset)
                data = file.read(length)
            values = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            if not isinstance(values, torch.Tensor):
                raise TypeError("there is no tensor")
        except OSError:
            raise
        except Exception as error:
            raise ValueError(f"can't read `{name}` from `{path}`: {_reason(error)}") from None
        return values.detach()


def _sizes(numbers: Any) -> tuple[int, ...]:
    """Numbers of a file as a shape. Raises ValueError for those that are none."""
    found = tuple(numbers)
    if not all(type(number) is int and 0 <= number < 2**63 for number in found):
        raise ValueError("a size or a place is no number")
    return found


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


# the unpickler in C makes room for all the places below one that a file merely names
_Unpickler: Any = pickle._Unpickler


class _Metadata(_Unpickler):  # type: ignore[misc]
    """Reads what DCP writes about a checkpoint, and nothing that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if name in ALLOWED.get(module, ()):
            return super().find_class(module, name)
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        raise pickle.UnpicklingError(f"it names `{module}.{name}`, which a checkpoint's metadata has no use for")


def _read(path: str) -> bytes:
    try:
        return read_whole(path, LARGEST)
    except OSError as error:
        raise OSError(f"can't read `{path}`: {reason(error)}") from None


def _reason(error: BaseException) -> str:
    line = (str(error).splitlines() or [type(error).__name__])[0].removeprefix("Error while deserializing header: ")
    return line[:1].lower() + line[1:300]


def open_store(path: str | os.PathLike[str]) -> Store:
    """The tensors of a safetensors file, its index, a folder of shards, or a DCP directory.

    Raises OSError for what can't be read, ValueError for what is none of these.
    """
    place = os.fspath(path)
    if os.path.isdir(place):
        if os.path.exists(os.path.join(place, ".metadata")):
            return Checkpoint(place)
        names = sorted(os.listdir(place))
        indices = [n for n in names if n.endswith(INDEX_SUFFIX)]
        files = [n for n in names if n.endswith(".safetensors")]
        if len(indices) == 1:
            return _indexed(os.path.join(place, indices[0]))
        if len(indices) > 1:
            raise ValueError(f"`{place}` has {len(indices)} indices; name one of them")
        if len(files) == 1:
            return Safetensors(place, [os.path.join(place, files[0])])
        what = f"{len(files)} safetensors files and no index" if files else "no safetensors file and no DCP metadata"
        raise ValueError(f"`{place}` has {what}")
    if place.endswith(INDEX_SUFFIX):
        return _indexed(place)
    if not os.path.exists(place):
        raise OSError(f"there is no file `{place}`")
    return Safetensors(place, [place])


def _indexed(path: str) -> Store:
    folder = os.path.dirname(path)
    try:
        table = json.loads(_read(path))["weight_map"]
        files = sorted(set(table.values()))
        if any(os.path.basename(name) != name for name in files):
            raise ValueError("it names a file outside its folder")
    except (KeyError, TypeError, AttributeError):
        raise ValueError(
            f'`{path}` is no index of safetensors files: it has no "weight_map" of names and files'
        ) from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"`{path}` is no index of safetensors files: {_reason(error)}") from None
    missing = [name for name in files if not os.path.exists(os.path.join(folder, name))]
    if missing:
        raise OSError(f"`{path}` names `{missing[0]}`, which is not there")
    store = Safetensors(folder or ".", [os.path.join(folder, name) for name in files])
    lost = sorted(set(table) - set(store.tensors))
    if lost:
        raise ValueError(f"`{path}` names `{lost[0]}`, which its file has not")
    return store


def of_module(net: nn.Module) -> Tensors:
    """A network's parameters and buffers under all their names, those that it does not save included."""
    state: dict[str, torch.Tensor] = {}
    for named in (net.named_parameters(remove_duplicate=False), net.named_buffers(remove_duplicate=False)):
        state.update(named)
    return Tensors(state, "the network")
