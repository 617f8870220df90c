"""Opening a checkpoint by its path: a safetensors file, its index, a folder of either, a DCP directory, or a pickle."""

from __future__ import annotations

import json
import os

from initdsl.text.failures import ending, first_line

from .dcp import Checkpoint, read_bounded, refuse_leaving
from .pickled import PICKLED, unpickled
from .safetensors import Safetensors
from .store import Store, Tensors

__all__ = ["open_store"]


INDEX_SUFFIX = ".safetensors.index.json"


def open_store(path: str | os.PathLike[str]) -> Store:
    """Open a safetensors file, its index, a folder of shards, a DCP directory, or a file of `torch.save`.

    Raises OSError for what can't be read, ValueError for what is none of these.
    """
    name = os.fspath(path)
    if os.path.isdir(name):
        return _of_folder(name)
    if name.endswith(INDEX_SUFFIX):
        return _indexed(name)
    if not os.path.exists(name):
        raise OSError(f"there is no file `{name}`")
    if name.endswith(PICKLED):
        return _of_pickle(name)
    return Safetensors(name, [name])


def _of_pickle(path: str) -> Store:
    """Open a file of `torch.save`, whose tensors are read at once. Raises ValueError for what holds more, or is none."""
    try:
        return Tensors(unpickled(path, "cpu"), path)
    except OSError:
        raise
    except Exception as error:  # somebody's bytes: there is no telling what an unpickler says of them
        if type(error).__name__ == "UnpicklingError":
            raise ValueError(
                f"`{path}` holds more than tensors, or is no checkpoint: reading it could run code"
            ) from None
        raise ValueError(f"`{path}` can't be read as a pickled checkpoint: {first_line(error)}") from None


def _of_folder(folder: str) -> Store:
    """Open a DCP directory, or a folder with one safetensors file or one index."""
    if os.path.exists(os.path.join(folder, ".metadata")):
        refuse_leaving(folder, [".metadata"])
        return Checkpoint(folder)
    names = sorted(os.listdir(folder))
    indices = [name for name in names if name.endswith(INDEX_SUFFIX)]
    files = [name for name in names if name.endswith(".safetensors")]
    refuse_leaving(folder, indices[:1] or files[:1])
    if len(indices) == 1:
        return _indexed(os.path.join(folder, indices[0]))
    if len(indices) > 1:
        raise ValueError(f"`{folder}` has {len(indices)} indices; name one of them")
    if len(files) == 1:
        return Safetensors(folder, [os.path.join(folder, files[0])])
    content = f"{len(files)} safetensors files and no index" if files else "no safetensors file and no DCP metadata"
    raise ValueError(f"`{folder}` has {content}")


def _indexed(path: str) -> Store:
    """Open the files that an index names. Raises ValueError where they lack a tensor of it."""
    folder = os.path.dirname(path)
    try:
        table = json.loads(read_bounded(path))["weight_map"]
        files = sorted(set(table.values()))
        if any(os.path.basename(name) != name for name in files):
            raise ValueError("it names a file outside its folder")
    except (KeyError, TypeError, AttributeError):
        raise ValueError(
            f'`{path}` is no index of safetensors files: it has no "weight_map" of names and files'
        ) from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"`{path}` is no index of safetensors files: {ending(error)}") from None
    missing = [name for name in files if not os.path.exists(os.path.join(folder, name))]
    if missing:
        raise OSError(f"`{path}` names `{missing[0]}`, which is not there")
    refuse_leaving(folder, files)
    store = Safetensors(folder or ".", [os.path.join(folder, name) for name in files])
    lost = sorted(set(table) - set(store.tensors))
    if lost:
        raise ValueError(f"`{path}` names `{lost[0]}`, which its file has not")
    return store
