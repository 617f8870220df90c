"""Where tensors are read from, a piece at a time: a network, a state dict, safetensors files, a DCP directory."""

from __future__ import annotations

import json
import os

from initdsl.text.failures import ending

from .dcp import Checkpoint, read_bounded
from .reading import Safetensors
from .store import Store

__all__ = ["open_store"]


INDEX_SUFFIX = ".safetensors.index.json"


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
    store = Safetensors(folder or ".", [os.path.join(folder, name) for name in files])
    lost = sorted(set(table) - set(store.tensors))
    if lost:
        raise ValueError(f"`{path}` names `{lost[0]}`, which its file has not")
    return store
