"""A checkpoint of several safetensors files, and the index that names them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch

from initdsl.text.diagnostic import ApplyError, Diagnostic

from .safetensors import Place, header

__all__ = ["INDEX", "Shard", "index", "shards", "unfinished"]


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
