"""Networks larger than memory: filled straight into sharded safetensors files, a chunk a thread.

The network has no memory at any time. What is drawn, set and computed element by element is filled chunk by chunk, and
each chunk is written where it belongs; the rest (`orthogonal`, sums and norms, a module's own reset) is made one tensor
at a time, with what it reads or is made with. Files are written under other names and renamed once they are whole, the index last. A
run that was stopped goes on where it was; files of other rules, another seed or network are told apart by what they
say of themselves.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from initdsl.api.report import Report
from initdsl.checkpoints.safetensors import alone
from initdsl.checkpoints.shards import INDEX, shards
from initdsl.filling.meta.allocate import meta_buffers, settle_buffers
from initdsl.filling.meta.construct import construct
from initdsl.filling.meta.with_defaults import with_defaults
from initdsl.planning.make import warn
from initdsl.planning.plan import Plan
from initdsl.text.diagnostic import ApplyError

from .origin import Origin, note_whole, state_of
from .provenance import provenance
from .write import write

if TYPE_CHECKING:
    from initdsl.language.rules.loader import Rules

__all__ = ["size_in_bytes", "stream"]


UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 1 << 10,
    "MIB": 1 << 20,
    "GIB": 1 << 30,
}


def stream(
    network: Callable[[], nn.Module] | nn.Module, rules: Rules, folder: str | os.PathLike[str], *, seed: int,
    max_shard_size: int | str = "5GB", vars: Mapping[str, Any] | None = None, strict: bool = False,
    initializers: Mapping[str, Callable[..., Any]] | None = None, root: str | os.PathLike[str] | None = None,
    on_progress: Callable[[int, int], Any] | None = None,
) -> Report:  # fmt: skip
    """Write the network that rules and a seed make to safetensors files, without ever having it in memory.

    `network` is a factory, called as in `materialize`, or a module on the meta device. The files in `folder` (made if
    it is not there) are those of transformers and huggingface_hub: `model-00001-of-00003.safetensors` and so on, each
    with at most `max_shard_size` (bytes, or text such as `"5GB"`) of tensors, and `model.safetensors.index.json`; what
    fits in one file is `model.safetensors`. The values are those of `materialize` with the same seed, bit for bit.
    Memory is bounded by some chunks of 4 MiB a thread, and by the largest tensor that can't be filled in parts: the
    report's notes name those. `torch.get_num_threads()` threads fill and write. Started again after it was stopped, it
    goes on after the last whole file. `on_progress` is called with the bytes that are written and those in all.

    The other arguments are those of `apply`. Raises as `materialize` does, before anything is written; ApplyError where
    the folder holds other files of these names or a fill failed; OSError where the disk is full or can't be written to:
    then the files that are whole stay, and no other.

    >>> import os, tempfile
    >>> from torch import nn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = stream(lambda: nn.Linear(3, 2), "net.* ~ normal(0, 0.02)", folder, seed=0)
    ...     sorted(os.listdir(folder))
    ['model.safetensors', 'model.safetensors.index.json']
    """
    from initdsl.planning.make import check_seed, plan

    if seed is None:
        raise ValueError("a network is streamed from a seed, from which it can be gone on with; give one, such as 0")
    check_seed(seed)
    most = size_in_bytes(max_shard_size)
    given = isinstance(network, nn.Module)
    net = network if isinstance(network, nn.Module) else construct(network, seed)
    made = plan(net, rules, seed=seed, vars=vars, strict=strict, initializers=initializers, root=root)
    with_defaults(made, keep=given)
    if not given:
        settle_buffers(made, meta_buffers(made), torch.device("cpu"))
    state, others = state_of(made, net)
    source = Origin(made, state)
    described = [(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in state.items()]
    files = shards(described, others, most, {**provenance(made), **_loaded(made)})
    note_whole(made, source)
    warn(made)
    place = os.fspath(folder)
    os.makedirs(place, exist_ok=True)
    with alone(place):
        write(place, files, source, on_progress or (lambda done, total: None))
        _look(made, place, others)
    return Report(made)


def _look(plan: Plan, folder: str, others: Mapping[str, str]) -> None:
    """Whether what was written is as the rules expect; if not, the index goes, and with it the network."""
    if not plan.expected:
        return
    from initdsl.checkpoints.open import open_store
    from initdsl.filling.expectations import unmet_expectations

    store = open_store(folder)

    def value(tensor: int) -> torch.Tensor | None:
        for name in plan.tensor_names(plan.network.tensors[tensor]):
            if others.get(name, name) in store.tensors:
                return store.whole(others.get(name, name))
        return None

    problems = unmet_expectations(plan, value)
    if problems:
        os.unlink(os.path.join(folder, INDEX))
        raise ApplyError(problems)


def size_in_bytes(size: int | str) -> int:
    """`"5GB"` as 5 000 000 000. Raises ValueError for what is no size, TypeError for another type."""
    if isinstance(size, bool) or not isinstance(size, int | str):
        raise TypeError(f"a size is a number of bytes or text such as `5GB`, not {type(size).__name__}")
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *([A-Z]*)", str(size).strip().upper())
    if not found or found[2] not in UNITS:
        raise ValueError(f"`{size}` is no size; write `5GB`, `500MB` or a number of bytes")
    count = int(float(found[1]) * UNITS[found[2]])
    if count < 1:
        raise ValueError("a file can't be smaller than a byte")
    return count


def _loaded(plan: Plan) -> dict[str, str]:
    """Of files that rules load: size and time, so that a run is not gone on with after they changed."""
    paths = plan.resolver.files.paths
    seen = [(os.path.basename(path), os.stat(path).st_size, os.stat(path).st_mtime_ns) for path in paths]
    return {"initdsl.loaded": str(seen)} if seen else {}
