"""Ranks that tell one another what they are about to do, and stop together."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from initdsl.filling.blame import StepFailed
from initdsl.filling.digest import plan_digest
from initdsl.filling.refusals import refuse_meta
from initdsl.filling.run import Run
from initdsl.filling.transaction import Hooks
from initdsl.network.description import Live
from initdsl.network.kinds import is_sharded
from initdsl.planning.plan import Plan
from initdsl.text.diagnostic import Diagnostic, InitDSLError, ResolveError
from initdsl.text.failures import first_line

__all__ = ["agreed", "hooks_of"]


@contextmanager
def agreed(net: object) -> Iterator[None]:
    """Where the block raises, tell the ranks that share the network, if there are any, so that none waits for this one."""
    try:
        yield
    except Exception as error:
        if isinstance(net, nn.Module) and "torch.distributed.tensor" in sys.modules:
            _exchange(list(_process_groups(list(net.parameters()))), _failure_record(error))
        raise


def hooks_of(run: Run) -> Hooks:
    """Return what a rank agrees with the others in the transaction of a run over a sharded network."""
    groups = list(_process_groups([tensor for tensor in run.live.tensors if tensor is not None]))
    return Hooks(partial(_begin, run, groups), partial(settle, groups))


def _begin(run: Run, groups: Sequence[Group], last: int) -> int:
    """Return the last step that can fail on any rank, once all have the same plan. Raises ResolveError."""
    try:
        refuse_meta(run.plan, run.live)
        own = _record_of(run.plan, run.live, last)
    except Exception as error:
        _exchange(groups, _failure_record(error))
        raise
    words = _exchange(groups, own)
    if (difference := _difference(words)) is not None:
        raise ResolveError(difference)
    return words.last


def settle(groups: Sequence[Group], failure: BaseException | None) -> None:
    """Tell the other ranks whether this one failed. Raises StepFailed where another one did, and this one did not."""
    try:
        difference = _difference(_exchange(groups, Record() if failure is None else _failure_record(failure)))
    except ResolveError as lost:
        difference = lost.diagnostics[0]
    if failure is None and difference is not None:
        raise StepFailed(difference, RuntimeError(difference.message))


# ---- what ranks say


# a process group, and the type of the device it speaks through
Group = tuple[Any, str]


# bytes a rank sends
RECORD = 4096


@dataclass(frozen=True)
class Record:
    """What one rank says of itself: `Record(rank=1, last=12, seed=7, rules="9f...", network="0a...")`.

    `last` is the last of its steps that can fail, `failed` says why it can't go on. The rest are hashes: of the network, of
    what its plan comes to (`values`, `files`, `code`, `held`), and of the texts that may be why (`rules`, `variables`).
    """

    rank: int = -1
    last: int = -1
    failed: str | None = None
    seed: int | None = None
    rules: str = ""
    variables: str = ""
    network: str = ""
    values: str = ""
    files: str = ""
    code: str = ""
    held: str = ""


@dataclass(frozen=True)
class Words:
    """What all ranks say in short: the lowest rank's record, and that of the lowest that failed or differs, if one does.

    `last` is the last step that can fail on any of them.
    """

    first: Record
    other: Record | None
    last: int


def _difference(words: Words) -> Diagnostic | None:
    """Return what keeps the ranks from filling together."""
    first, other = words.first, words.other
    if other is None:
        return None
    if other.failed is not None:
        message = f"rank {other.rank} failed: {other.failed}"
        return Diagnostic("rank-failed", message, hint="every rank is as it was")
    if first.seed != other.seed:
        message = f"rank {other.rank} has seed {_seed_text(other.seed)}, rank {first.rank} has {_seed_text(first.seed)}"
    elif first.network != other.network:
        differ = "names, shapes, dtypes or placements differ"
        message = f"the network of rank {other.rank} is not that of rank {first.rank}: {differ}"
    elif first.values != other.values and first.rules != other.rules:
        message = f"the rules of rank {other.rank} are not those of rank {first.rank}"
    elif first.variables != other.variables:
        message = f"the `vars` or initializers of rank {other.rank} are not those of rank {first.rank}"
    else:
        message = _other_plan(first, other)
    return Diagnostic("ranks-differ", message, hint="give every rank the same rules, seed and network")


def _other_plan(first: Record, other: Record) -> str:
    """Return what is said where rules of one text come to something else."""
    ranks = f"rank {other.rank} and rank {first.rank}"
    if first.files != other.files:
        return f"a file that the rules load has other contents on {ranks}"
    if first.code != other.code:
        return f"an initializer or a module's reset has other code, or sees other values, on {ranks}"
    if first.held != other.held:
        return f"a tensor that the rules read, and that no rule sets, has other values on {ranks}"
    return f"the rules come to other values on {ranks}: an attribute of the network that they read, or a rule, differs"


def _seed_text(seed: int | None) -> str:
    return "none" if seed is None else str(seed)


def _digest(values: Any) -> str:
    return hashlib.blake2b(json.dumps(values, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


def _record_of(plan: Plan, live: Live, last: int) -> Record:
    placed = [
        (info.name, str(tensor.placements), tensor.device_mesh.shape)  # type: ignore[union-attr]
        for info, tensor in zip(plan.network.tensors, live.tensors, strict=True)
        if is_sharded(tensor)
    ]
    return Record(
        last=last,
        seed=plan.seed,
        rules=_digest(list(plan.rules.sources.values())),
        variables=_digest([dict(plan.variables), sorted(plan.initializers)]),
        network=_digest([plan.network.fingerprint(), placed]),
        **plan_digest(plan, live)._asdict(),
    )


def _failure_record(error: BaseException) -> Record:
    diagnostics: Sequence[Diagnostic] = ()
    if isinstance(error, InitDSLError):
        diagnostics = error.diagnostics
    elif isinstance(error, StepFailed):
        diagnostics = error.diagnostics[:1]
    text = "; ".join(f"{d.message} ({d.location})" if d.location else d.message for d in diagnostics)
    return Record(failed=" ".join((text or f"{type(error).__name__}: {error}").split())[:300])


# ---- the exchange


def _process_groups(tensors: Iterable[torch.Tensor]) -> Iterator[Group]:
    """Yield the group of every dimension of every mesh, each group once, in the order of the tensors."""
    seen: set[tuple[int, ...]] = set()
    meshes: list[Any] = []
    for tensor in tensors:
        mesh: Any = getattr(tensor, "device_mesh", None) if is_sharded(tensor) else None
        if mesh is None or any(mesh is other for other in meshes):
            continue
        meshes.append(mesh)
        if mesh.get_coordinate() is None:
            continue
        for d in range(mesh.ndim):
            group = mesh.get_group(d)
            ranks = tuple(torch.distributed.get_process_group_ranks(group))
            if ranks not in seen and len(ranks) > 1:
                seen.add(ranks)
                yield group, mesh.device_type


def _exchange(groups: Sequence[Group], own: Record) -> Words:
    """Return every rank's word, told to every other one dimension of the mesh after another. Raises ResolveError."""
    distributed = torch.distributed
    own = replace(own, rank=distributed.get_rank() if distributed.is_initialized() else 0)
    words = Words(own, own if own.failed is not None else None, own.last)
    for group, device in groups:
        sent = torch.zeros(RECORD, dtype=torch.uint8, device=device)
        text = json.dumps(asdict(words), ensure_ascii=False).encode("utf-8", "replace")
        sent[: len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        received = [torch.empty_like(sent) for _ in range(distributed.get_world_size(group))]
        try:
            distributed.all_gather(received, sent, group=group)
        except RuntimeError as error:
            message = f"another rank can't be reached: {first_line(error)}"
            raise ResolveError(Diagnostic("rank-lost", message)) from error
        words = _joined([_words(one.cpu().numpy().tobytes()) for one in received])
    return words


def _words(text: bytes) -> Words:
    values = json.loads(text.rstrip(b"\0"))
    other = values["other"]
    return Words(Record(**values["first"]), None if other is None else Record(**other), values["last"])


def _joined(all_words: Sequence[Words]) -> Words:
    records = sorted(
        (record for words in all_words for record in (words.first, words.other) if record is not None),
        key=lambda record: record.rank,
    )
    first = records[0]
    failed = [record for record in records if record.failed is not None]
    differing = [record for record in records if _same_on_all(record) != _same_on_all(first)]
    other = next(iter(failed or differing), None)
    return Words(first, other, max(words.last for words in all_words))


def _same_on_all(record: Record) -> tuple[object, ...]:
    """Return what has to be the same on every rank."""
    return record.seed, record.network, record.values, record.files, record.code, record.held
