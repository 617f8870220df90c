"""Models larger than memory: filled straight into sharded safetensors files, a chunk a thread.

The model has no memory at any time. What is drawn, set and computed element by element is filled chunk by chunk, and
each chunk is written where it belongs; the rest (`orthogonal`, sums and norms, a module's own reset) is made one tensor
at a time, with what it reads or is made with. Files are written under other names and renamed once they are whole, the
index last. A run that was stopped goes on where it was; files of other rules, another seed or model are told apart by
what they say of themselves.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from initdsl.checkpoints.open import open_store
from initdsl.checkpoints.shards import INDEX, Row, shards
from initdsl.checkpoints.writing import alone
from initdsl.checkpoints.writing_dcp import METADATA, chunk_files
from initdsl.filling.blame import StepFailed
from initdsl.filling.digest import plan_digest
from initdsl.filling.finish import refuse_unmet
from initdsl.filling.load_code import refuse_load_code
from initdsl.filling.meta.allocate import meta_buffers, settle_buffers
from initdsl.filling.meta.construct import construct
from initdsl.filling.meta.with_defaults import with_defaults
from initdsl.network.description import Live
from initdsl.planning.make import check_seed, make_plan_of, warn_of
from initdsl.planning.plan import Plan
from initdsl.text.diagnostic import ApplyError

from .origin import TensorSource, source_of, state_of, whole_tensors
from .provenance import provenance
from .write import OnProgress, write
from .write_dcp import write_dcp

if TYPE_CHECKING:
    from initdsl.language.rules.loader import Rules

__all__ = ["size_in_bytes", "stream"]


# by the name of a format, the file that makes a folder a checkpoint of it
FORMATS = {"safetensors": INDEX, "dcp": METADATA}


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
    network: Callable[[], nn.Module] | nn.Module,
    rules: Rules,
    folder: str | os.PathLike[str],
    *,
    seed: int,
    max_shard_size: int | str = "5GB",
    format: Literal["safetensors", "dcp"] = "safetensors",
    vars: Mapping[str, Any] | None = None,
    strict: bool = False,
    initializers: Mapping[str, Callable[..., Any]] | None = None,
    root: str | os.PathLike[str] | None = None,
    on_progress: OnProgress | None = None,
) -> Plan:
    """Write a model to a folder by its rules, without ever having it in memory; see `initdsl.stream`.

    Returns the plan with notes on the tensors that had to be held whole.
    """
    if seed is None:
        raise ValueError("a model is streamed from a seed, from which it can be gone on with; give one, such as 0")
    seed = check_seed(seed) or 0
    most = size_in_bytes(max_shard_size)
    if format not in FORMATS:
        raise ValueError(f"`format` is {' or '.join(map(repr, FORMATS))}, not {format!r}")
    given = isinstance(network, nn.Module)
    net = network if isinstance(network, nn.Module) else construct(network, seed)
    options = {"seed": seed, "vars": vars, "strict": strict, "initializers": initializers, "root": root}
    plan, live = make_plan_of(net, rules, **options)
    refuse_load_code(plan, live)
    plan = with_defaults(plan, live, keep=given)
    if not given:
        settle_buffers(plan, live, meta_buffers(plan, live), torch.device("cpu"))
    state, others = state_of(plan, live, net)
    source = source_of(plan, live, state)
    described = [(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in state.items()]
    told = {**provenance(plan), **_digests(plan, live, source)}
    writes = _writer(format, described, others, most, told)
    plan = replace(plan, notes=(*plan.notes, *whole_tensors(source, through_views=format == "dcp")))
    warn_of(plan, uncovered=False)
    place = os.fspath(folder)
    os.makedirs(place, exist_ok=True)
    with alone(place):
        writes(place, source, on_progress or (lambda done, total: None))
        _refuse_unmet(plan, place, others, FORMATS[format])
    return plan


def _writer(
    format: str, rows: list[Row], others: Mapping[str, str], most: int, told: Mapping[str, str]
) -> Callable[[str, TensorSource, OnProgress], None]:
    """Return what writes tensors to a folder in a format. Raises ValueError for a dtype that the format has not."""
    if format == "dcp":
        files = chunk_files(rows, most)
        return lambda folder, source, tell: write_dcp(folder, files, rows, others, told, source, tell)
    cut = shards(rows, others, most, told)
    return lambda folder, source, tell: write(folder, cut, source, tell)


def _refuse_unmet(plan: Plan, folder: str, others: Mapping[str, str], index: str) -> None:
    """Refuse what was written where it is not as the rules expect: the file `index` goes, and with it the model.

    `others` says which name a further name of a shared tensor stands for.
    """
    if not plan.expected:
        return
    store = open_store(folder)

    def read(tensor: int) -> torch.Tensor | None:
        for name in plan.names_of(tensor):
            if others.get(name, name) in store.tensors:
                return store.whole(others.get(name, name))
        return None

    try:
        refuse_unmet(plan, read)
    except StepFailed as error:
        os.unlink(os.path.join(folder, index))
        raise ApplyError(error.diagnostics) from None


def size_in_bytes(size: int | str) -> int:
    """Return the bytes of a size: `"5GB"` as 5 000 000 000. Raises ValueError for what is no size, TypeError for another type."""
    if isinstance(size, bool) or not isinstance(size, int | str):
        raise TypeError(f"a size is a number of bytes or text such as `5GB`, not {type(size).__name__}")
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *([A-Z]*)", str(size).strip().upper())
    if not match or match[2] not in UNITS:
        raise ValueError(f"`{size}` is no size; write `5GB`, `500MB` or a number of bytes")
    count = int(float(match[1]) * UNITS[match[2]])
    if count < 1:
        raise ValueError("a file can't be smaller than a byte")
    return count


def _digests(plan: Plan, live: Live, source: TensorSource) -> dict[str, str]:
    """Return what tells this run from one whose rules come to other values, so that it is not gone on with."""
    held = [t for name, t in source.state.items() if source.entry(name) is None and not t.is_meta]
    values, files, code, there = plan_digest(plan, live, held)
    found = {"initdsl.plan": values}
    if any(action.loads for action in plan.actions):
        found["initdsl.loaded"] = files
    if plan.initializers or plan.resets:
        found["initdsl.code"] = code
    if held:
        found["initdsl.held"] = there
    return found
