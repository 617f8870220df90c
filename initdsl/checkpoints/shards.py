"""A checkpoint of several safetensors files, and the index that names them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch

from initdsl.text.diagnostic import ApplyError, Diagnostic

from .writing import Place, header

__all__ = ["INDEX", "OTHER", "Row", "Shard", "index", "metadata_difference", "shards", "unfinished"]


class Shard(NamedTuple):
    """A file of a checkpoint of several: `Shard("model-00001-of-00002.safetensors", head, places, 4_096)`.

    `head` are its first bytes, up to the tensors; `size` is that of the whole file in bytes.
    """

    name: str
    head: bytes
    places: list[Place]
    size: int


# a tensor to be written: its name, dtype and shape
Row = tuple[str, torch.dtype, tuple[int, ...]]


INDEX = "model.safetensors.index.json"


OTHER = "it holds other tensors"


# names that files of a checkpoint have; any other file in the folder is left alone
_OURS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?")


def shards(tensors: Iterable[Row], others: Mapping[str, str], most: int, metadata: Mapping[str, str]) -> list[Shard]:
    """Return the files a model is written to, `most` bytes of tensors each, cut and named as huggingface_hub does.

    A larger tensor has a file of its own. `others` map further names of tensors to their first ones.
    """
    groups: list[list[Row]] = []
    current: list[Row] = []
    filled = 0  # bytes in the current group
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
    files = []
    for number, group in enumerate(groups, 1):
        suffix = f"-{number:05d}-of-{len(groups):05d}" if len(groups) > 1 else ""
        names = {name for name, _, _ in group}
        shared = {name: first for name, first in others.items() if first in names}
        files.append(Shard(f"model{suffix}.safetensors", *header(group, {"format": "pt", **shared, **metadata})))
    return files


def index(files: Iterable[Shard]) -> bytes:
    """Return the JSON that names the file of each tensor, as transformers writes it."""
    places = [(file.name, place) for file in files for place in file.places]
    totals = {
        "total_parameters": sum(torch.Size(place.shape).numel() for _, place in places),
        "total_size": sum(place.nbytes for _, place in places),
    }
    content = {"metadata": totals, "weight_map": {place.name: name for name, place in places}}
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def unfinished(folder: str, files: list[Shard]) -> list[Shard]:
    """Return those of the files that are not in the folder yet.

    A file counts as written if its first bytes and its size are right: its header holds the rules, seed, versions and
    tensors, and a file gets its name only once it is whole. Raises ApplyError where the folder holds files of another
    model or of another run.
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
            with open(path, "rb") as opened:
                difference = None if opened.read() == index(files) else "it lists other tensors or other files"
        elif name in expected:
            difference = _difference(path, expected[name])
            done.add(name)
        else:
            difference = _difference(path, files[0])
            if difference in (None, OTHER):
                difference = "it is none of this model's files"
        if difference is not None:
            raise ApplyError(
                Diagnostic(
                    "foreign-file",
                    f"`{path}` is there already, and is not what this run would write: {difference}",
                    hint="write to another folder, or move these files away",
                )
            )
    return [file for file in files if file.name not in done]


# what is said where a hash of the plan differs
DIGESTS = {
    "initdsl.plan": "its rules came to other values",
    "initdsl.loaded": "files that its rules load had other contents",
    "initdsl.code": "initializers or resets that its rules call had other code",
    "initdsl.held": "the model came with other values",
}


def _difference(path: str, file: Shard) -> str | None:
    """Say what sets a file apart from the one that would be written there; None if it is that one."""
    with open(path, "rb") as opened:
        head = opened.read(len(file.head))
        if head == file.head:
            opened.seek(0, os.SEEK_END)
            return None if opened.tell() == file.size else "its size is wrong"
        opened.seek(8)
        length = int.from_bytes(head[:8], "little")
        try:
            theirs = dict(json.loads(opened.read(min(length, 1 << 28))).get("__metadata__", {}))
        except (ValueError, TypeError, AttributeError, RecursionError):
            return "it is no safetensors file"
    return metadata_difference(json.loads(file.head[8:])["__metadata__"], theirs) or OTHER


def metadata_difference(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str | None:
    """Say in what a checkpoint was made from something else than this one; None where it does not say so."""
    words = {"initdsl.rules_sha256": "rules", "initdsl.seed": "seed", "initdsl.stream": "stream version"}
    for key in sorted({*ours, *theirs}, key=lambda key: (key not in words, key == "initdsl.plan", key)):
        if not key.startswith(("initdsl.", "torch.")) or ours.get(key) == theirs.get(key):
            continue
        word = words.get(key, key)
        if theirs.get(key) is None:
            return f"it does not say its {word}"
        if key == "initdsl.rules_sha256":
            return "it was made with other rules"
        if key in DIGESTS:
            return f"{DIGESTS[key]} (`{key}`)"
        return f"it has {word} {str(theirs[key])[:80]}, not {ours.get(key)}"
    return None
