"""What files hold that rules name: names and shapes of tensors, of checkpoints, indices of shards and manifests.

Of safetensors files only headers are read for a plan, and no torch is loaded. A pickled checkpoint (`.pt`) goes through
`torch.load(weights_only=True)` and never through an unpickler that can run code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from initdsl.checkpoints.pickled import PICKLED, unpickled
from initdsl.language.expressions.shapes import EvalError
from initdsl.language.rules.loader import inside_root
from initdsl.language.syntax.nodes import Call
from initdsl.network.description import Network
from initdsl.text.failures import first_line
from initdsl.text.files import read_whole

__all__ = ["FileCache", "Shapes", "StoredTensor", "contents_of", "header_of", "looked_into", "manifest_of"]


INDEX = ".index.json"


# JSON of more bytes than this is not read
JSON_BYTES = 1 << 28


# of a file the shapes of its tensors, by name
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor of a file: which file, and its name there."""

    path: str
    key: str


@dataclass
class FileCache:
    """What was read of files, by path: each is opened once.

    `renamed` is by path, prefix and renames of a `load`; `namings` have the number of its statement before: `relative`
    where the file has the names within a module, or `full`.
    """

    contents: dict[str, dict[str, StoredTensor]] = field(default_factory=dict)
    headers: dict[str, Shapes] = field(default_factory=dict)
    manifests: dict[str, Shapes] = field(default_factory=dict)
    namings: dict[tuple[int, str, str, tuple[tuple[str, str], ...]], str] = field(default_factory=dict)
    renamed: dict[tuple[str, str, tuple[tuple[str, str], ...]], dict[str, StoredTensor]] = field(default_factory=dict)


def looked_into(files: FileCache) -> tuple[str, ...]:
    """Return the paths of the files that were read."""
    return tuple(sorted({*files.contents, *files.headers, *files.manifests}))


def contents_of(files: FileCache, path: str, root: Path, call: Call) -> dict[str, StoredTensor]:
    """Return the tensors of a checkpoint by name; of an index, those of its shards. Raises EvalError at `call`."""
    if path not in files.contents:
        if path.endswith(INDEX):
            files.contents[path] = _sharded(path, root, call)
        else:
            files.contents[path] = {key: StoredTensor(path, key) for key in header_of(files, path, call)}
    return files.contents[path]


def header_of(files: FileCache, path: str, call: Call) -> Shapes:
    """Return the shapes of a checkpoint's tensors by name. Raises EvalError at `call`."""
    if path not in files.headers:
        _require_file(path, call)
        files.headers[path] = _pickled(path, call) if path.endswith(PICKLED) else _safetensors(path, call)
    return files.headers[path]


def manifest_of(files: FileCache, path: str, call: Call) -> Shapes:
    """Return the shapes of a manifest's parameters by every name they have. Raises EvalError at `call`."""
    if path not in files.manifests:
        _require_file(path, call)
        try:
            network = Network.from_manifest(_json(path))
        except (OSError, ValueError, RecursionError) as error:
            raise _unreadable(path, "a manifest", str(error), call) from None
        files.manifests[path] = {name: tensor.shape for tensor in network.tensors for name in network.names(tensor)}
    return files.manifests[path]


def _sharded(path: str, root: Path, call: Call) -> dict[str, StoredTensor]:
    """Return the tensors of a sharded checkpoint, by its `model.safetensors.index.json`."""
    _require_file(path, call)
    try:
        shards = _json(path)["weight_map"]
        if not all(isinstance(shard, str) for shard in shards.values()):
            raise TypeError
    except (KeyError, TypeError, AttributeError):
        raise _unreadable(path, "an index", 'it has no "weight_map" of names and files', call) from None
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, "an index", str(error), call) from None
    folder = Path(path).parent
    paths: dict[str, str] = {}
    for shard in set(shards.values()):
        place = inside_root(shard, folder, root)
        if place is None:
            message = f"`{shard[:100]}`, named by an index, lies outside the root folder"
            raise EvalError(message, call.span, name="outside-root")
        paths[shard] = str(place)
    return {key: StoredTensor(paths[shard], key) for key, shard in shards.items()}


def _safetensors(path: str, call: Call) -> Shapes:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, "safetensors", str(error), call) from None


def _pickled(path: str, call: Call) -> Shapes:
    try:
        return {key: tuple(tensor.shape) for key, tensor in unpickled(path, "meta").items()}
    except Exception as error:  # somebody's bytes: there is no telling what an unpickler says of them
        if type(error).__name__ == "UnpicklingError":
            message = f"`{path}` holds more than tensors, or is no checkpoint: reading it could run code"
            hint = "save the state dict alone, or as safetensors"
            raise EvalError(message, call.span, hint, "unreadable-file") from None
        raise _unreadable(path, "a pickled checkpoint", first_line(error), call) from None


def _json(path: str) -> Any:
    return json.loads(read_whole(path, JSON_BYTES))


def _require_file(path: str, call: Call) -> None:
    if not os.path.isfile(path):
        raise EvalError(f"there is no file `{path}`", call.span, name="unreadable-file")


def _unreadable(path: str, form: str, reason: str, call: Call) -> EvalError:
    return EvalError(f"`{path}` can't be read as {form}: {reason}", call.span, name="unreadable-file")
