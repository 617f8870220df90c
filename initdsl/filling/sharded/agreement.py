"""Ranks that tell one another what they are about to do, and stop together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from initdsl.filling.run import StepFailed
from initdsl.network.description import Live
from initdsl.network.kinds import is_sharded
from initdsl.planning.plan import Plan
from initdsl.text.diagnostic import Diagnostic, InitDSLError, ResolveError
from initdsl.text.failures import first_line

__all__ = ["Record", "agreed", "exchange", "failure_record", "process_groups", "record_of"]


# ---- with the other ranks

# bytes a rank sends
RECORD = 4096


@dataclass
class Record:
    """What one rank says of itself."""

    rank: int = -1
    last: int = -1
    failed: str | None = None
    seed: int | None = None
    rules: str = ""
    variables: str = ""
    network: str = ""


@dataclass
class _Both:
    """The lowest rank's record, and that of the lowest rank that failed or differs, if one does."""

    first: Record
    other: Record | None
    last: int

    def difference(self) -> Diagnostic | None:
        """What keeps the ranks from filling together."""
        a, b = self.first, self.other
        if b is None:
            return None
        if b.failed is not None:
            return Diagnostic("rank-failed", f"rank {b.rank} failed: {b.failed}", hint="every rank is as it was")
        if a.seed != b.seed:
            said = f"rank {b.rank} has seed {_seed(b.seed)}, rank {a.rank} has {_seed(a.seed)}"
        elif a.rules != b.rules:
            said = f"the rules of rank {b.rank} are not those of rank {a.rank}"
        elif a.variables != b.variables:
            said = f"the `vars` or initializers of rank {b.rank} are not those of rank {a.rank}"
        else:
            said = (
                f"the network of rank {b.rank} is not that of rank {a.rank}: names, shapes, dtypes or placements differ"
            )
        return Diagnostic("ranks-differ", said, hint="give every rank the same rules, seed and network")


def _seed(seed: int | None) -> str:
    return "none" if seed is None else str(seed)


def _digest(values: Any) -> str:
    return hashlib.blake2b(json.dumps(values, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


def record_of(plan: Plan, live: Live, last: int) -> Record:
    placed = [
        (info.name, str(tensor.placements), tensor.device_mesh.shape)  # type: ignore[union-attr]
        for info, tensor in zip(plan.network.tensors, live.tensors, strict=True)
        if is_sharded(tensor)
    ]
    return Record(
        last=last, seed=plan.seed,
        rules=_digest(list(plan.rules.sources.values())),
        variables=_digest([dict(plan.variables), sorted(plan.initializers)]),
        network=_digest([plan.network.fingerprint(), placed]),
    )  # fmt: skip


def failure_record(error: BaseException) -> Record:
    found: tuple[Diagnostic, ...] = ()
    if isinstance(error, InitDSLError):
        found = error.diagnostics
    elif isinstance(error, StepFailed):
        found = (error.diagnostic,)
    said = "; ".join(f"{d.message} ({d.location})" if d.location else d.message for d in found)
    return Record(failed=" ".join((said or f"{type(error).__name__}: {error}").split())[:300])


def process_groups(tensors: list[torch.Tensor]) -> Iterator[Any]:
    """`(process group, device type)` of every dimension of every mesh, each group once, in the order of the tensors."""
    seen: set[tuple[int, ...]] = set()
    met: list[Any] = []
    for tensor in tensors:
        mesh: Any = getattr(tensor, "device_mesh", None) if is_sharded(tensor) else None
        if mesh is None or any(mesh is known for known in met):
            continue
        met.append(mesh)
        if mesh.get_coordinate() is None:
            continue
        for d in range(mesh.ndim):
            group = mesh.get_group(d)
            ranks = tuple(torch.distributed.get_process_group_ranks(group))
            if ranks not in seen and len(ranks) > 1:
                seen.add(ranks)
                yield group, mesh.device_type


def exchange(groups: list[Any], mine: Record) -> _Both:
    """Every rank's word to every other, one dimension of the mesh after another."""
    distributed = torch.distributed
    mine.rank = distributed.get_rank() if distributed.is_initialized() else 0
    both = _Both(mine, mine if mine.failed is not None else None, mine.last)
    for group, device in groups:
        sent = torch.zeros(RECORD, dtype=torch.uint8, device=device)
        text = json.dumps(asdict(both), ensure_ascii=False).encode("utf-8", "replace")
        sent[: len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        received = [torch.empty_like(sent) for _ in range(distributed.get_world_size(group))]
        try:
            distributed.all_gather(received, sent, group=group)
        except RuntimeError as error:
            message = f"another rank can't be reached: {first_line(error)}"
            raise ResolveError(Diagnostic("rank-lost", message)) from error
        both = _joined([_read(one.cpu().numpy().tobytes()) for one in received])
    return both


def _read(text: bytes) -> _Both:
    found = json.loads(text.rstrip(b"\0"))
    other = found["other"]
    return _Both(Record(**found["first"]), None if other is None else Record(**other), found["last"])


def _joined(all_of_them: list[_Both]) -> _Both:
    records = sorted(
        (record for both in all_of_them for record in (both.first, both.other) if record is not None),
        key=lambda record: record.rank,
    )
    first = records[0]
    said = ("seed", "rules", "variables", "network")
    failed = [record for record in records if record.failed is not None]
    differing = [r for r in records if any(getattr(r, name) != getattr(first, name) for name in said)]
    other = next(iter(failed or differing), None)
    return _Both(first, other, max(both.last for both in all_of_them))


@contextmanager
def agreed(net: Any) -> Iterator[None]:
    """Where the block raises, tell the ranks that share the network, so that none waits for this one."""
    try:
        yield
    except Exception as error:
        if isinstance(net, nn.Module):
            exchange(list(process_groups(list(net.parameters()))), failure_record(error))
        raise
