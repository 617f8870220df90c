"""Networks to safetensors files: whole or not at all, whatever happens meanwhile, and the same bytes every time."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING, NamedTuple

import torch

from initdsl import streams
from initdsl.filling.meta.materialize import DEFAULTS
from initdsl.text.diagnostic import ApplyError, Diagnostic
from initdsl.text.files import write_bytes, writing

if TYPE_CHECKING:
    from torch import nn

    from initdsl.planning.plan import Plan

__all__ = [
    "INDEX",
    "Place",
    "Shard",
    "alone",
    "distinct",
    "header",
    "index",
    "provenance",
    "rules_sha256",
    "save",
    "shards",
    "unfinished",
    "write_tensor",
]


# https://huggingface.co/docs/safetensors/index#format
DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint64: "U64", torch.uint32: "U32",
    torch.uint16: "U16", torch.uint8: "U8", torch.bool: "BOOL", torch.complex64: "C64",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip


# ---- where a file comes from


def rules_sha256(plan: Plan) -> str:
    """The SHA-256 of a plan's rule text, in hexadecimal: what `sha256sum rules.init` prints for a file without `use`.

    The files a rule file uses count too: their texts follow its own, each behind a NUL.
    """
    texts = [text for name, text in plan.rules.sources.items() if name != DEFAULTS.name]
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


def provenance(plan: Plan) -> dict[str, str]:
    """What a file says of how its values came about, as safetensors metadata.

    `initdsl.rules_sha256` (see `rules_sha256`), `initdsl.network` (a hash of names, classes, shapes, dtypes and ties),
    `initdsl.version`, `torch.version`; under a seed `initdsl.seed` and `initdsl.stream` (`v1`); and, where `let`s were
    overridden, `initdsl.vars` as JSON.
    """
    found = {
        "initdsl.rules_sha256": rules_sha256(plan),
        "initdsl.network": plan.network.fingerprint(),
        "initdsl.version": metadata.version("initdsl"),
        "torch.version": str(torch.__version__),
    }
    if plan.seed is not None:
        found["initdsl.seed"] = str(plan.seed)
        found["initdsl.stream"] = streams.VERSION.rpartition(" ")[2]
    if plan.resolver.variables:
        found["initdsl.vars"] = json.dumps(plan.resolver.variables, sort_keys=True, default=str)
    return found


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
        if dtype not in DTYPES:
            raise ValueError(f"safetensors has no {str(dtype).removeprefix('torch.')} for `{name}`")
        size = dtype.itemsize * torch.Size(shape).numel()
        described[name] = {"dtype": DTYPES[dtype], "shape": list(shape), "data_offsets": [offset, offset + size]}
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


# ---- shards


class Shard(NamedTuple):
    """One file of a network that is written in several: its name, its first bytes, what goes where, and its size."""

    name: str
    head: bytes
    places: list[Place]
    size: int


INDEX = "model.safetensors.index.json"


OTHER = "it holds other tensors"


_OURS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?")


def shards(
    tensors: Iterable[tuple[str, torch.dtype, tuple[int, ...]]], others: Mapping[str, str], most: int,
    metadata: Mapping[str, str],
) -> list[Shard]:  # fmt: skip
    """The files a network is written to, `most` bytes of tensors each, cut and named as huggingface_hub cuts and names.

    A tensor that is larger has a file of its own. `others` are further names of tensors, and which stand for them.
    """
    groups: list[list[tuple[str, torch.dtype, tuple[int, ...]]]] = []
    current: list[tuple[str, torch.dtype, tuple[int, ...]]] = []
    filled = 0
    for tensor in tensors:
        size = tensor[1].itemsize * torch.Size(tensor[2]).numel()
        if size > most:
            groups.append([tensor])
            continue
        if filled + size > most:
            groups.append(current)
            current, filled = [], 0
        current.append(tensor)
        filled += size
    groups += [current] if current or not groups else []
    made = []
    for number, group in enumerate(groups, 1):
        suffix = f"-{number:05d}-of-{len(groups):05d}" if len(groups) > 1 else ""
        inside = {name for name, _, _ in group}
        shared = {name: first for name, first in others.items() if first in inside}
        made.append(Shard(f"model{suffix}.safetensors", *header(group, {"format": "pt", **shared, **metadata})))
    return made


def index(files: Iterable[Shard]) -> bytes:
    """The JSON that says which tensor is in which file, as transformers writes it."""
    places = [(file.name, place) for file in files for place in file.places]
    total = {
        "total_parameters": sum(torch.Size(place.shape).numel() for _, place in places),
        "total_size": sum(place.nbytes for _, place in places),
    }
    found = {"metadata": total, "weight_map": {place.name: name for name, place in places}}
    return (json.dumps(found, indent=2, sort_keys=True) + "\n").encode()


def unfinished(folder: str, files: list[Shard]) -> list[Shard]:
    """Those of the files that are not in the folder yet.

    One that is there has, byte for byte, the first bytes it should have, and with them the same rules, seed, versions
    and tensors. Raises ApplyError where the folder holds files of another network or of another run.
    """
    expected = {file.name: file for file in files}
    done: set[str] = set()
    for name in sorted(os.listdir(folder)):
        if not _OURS.fullmatch(name):
            continue
        path = os.path.join(folder, name)
        if not os.path.isfile(path):
            raise OSError(f"`{path}` is there already, and is not a file")
        if name == INDEX:
            with open(path, "rb") as there:
                difference = None if there.read() == index(files) else "it lists other tensors or other files"
        elif name in expected:
            difference = _difference(path, expected[name])
            done.add(name)
        else:
            difference = _difference(path, files[0])
            if difference in (None, OTHER):
                difference = "it is none of this network's files"
        if difference is not None:
            raise ApplyError(
                Diagnostic(
                    "foreign-file", f"`{path}` is there already, and is not what this run would write: {difference}",
                    hint="write to another folder, or move these files away",
                )
            )  # fmt: skip
    return [file for file in files if file.name not in done]


def _difference(path: str, file: Shard) -> str | None:
    """What sets a file apart from the one that would be written there; None if it is that one."""
    with open(path, "rb") as there:
        head = there.read(len(file.head))
        if head == file.head:
            there.seek(0, os.SEEK_END)
            return None if there.tell() == file.size else "its size is wrong"
        there.seek(8)
        length = int.from_bytes(head[:8], "little")
        try:
            theirs = dict(json.loads(there.read(min(length, 1 << 28))).get("__metadata__", {}))
        except (ValueError, TypeError, AttributeError, RecursionError):
            return "it is no safetensors file"
    ours = json.loads(file.head[8:])["__metadata__"]
    words = {"initdsl.rules_sha256": "rules", "initdsl.seed": "seed", "initdsl.stream": "stream version"}
    for key in sorted({*ours, *theirs}, key=lambda key: (key not in words, key)):
        mine, other = ours.get(key), theirs.get(key)
        if key.startswith(("initdsl.", "torch.")) and mine != other:
            if key == "initdsl.rules_sha256" and other is not None:
                return "it was made with other rules"
            what = words.get(key, key)
            return (
                f"it has {what} {str(other)[:80]}, not {mine}" if other is not None else f"it does not say its {what}"
            )
    return OTHER


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
    from initdsl.network.describe import unwrap

    tensors, others = distinct(unwrap(net).state_dict())
    described = [(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()]
    first, places, _ = header(described, {"format": "pt", **others, **(metadata or {})})
    with writing(path) as descriptor:
        write_bytes(descriptor, first, 0)
        for place in places:
            write_tensor(descriptor, tensors[place.name], place.start)
