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
def agreed(net: object, whole: object = None) -> Iterator[None]:
    """Where the block raises, tell the ranks that share the model, if there are any, so that none waits for this one.

    If a `whole` model is given, those that hold its other stages too.
    """
    try:
        yield
    except Exception as error:
        if isinstance(net, nn.Module) and (whole is not None or "torch.distributed.tensor" in sys.modules):
            record = _failure_record(error, whole is not None)
            _agree(list(_process_groups(list(net.parameters()))), record)
        raise


def hooks_of(run: Run, steps: int) -> Hooks:
    """Return what a rank agrees with the others in the transaction of a run of so many steps.

    The run is over a sharded model, or over a stage of a pipeline.
    """
    groups = list(_process_groups([tensor for tensor in run.live.tensors if tensor is not None]))
    staged = run.plan.whole is not None
    return Hooks(partial(_begin, run, groups, steps), partial(settle, groups, staged=staged))


def _begin(run: Run, groups: Sequence[Group], steps: int, last: int) -> int:
    """Return the last step that can fail on any rank, once all have the same plan. Raises ResolveError."""
    staged = run.plan.whole is not None
    try:
        refuse_meta(run.plan, run.live)
        own = _record_of(run.plan, run.live, last)
    except Exception as error:
        _agree(groups, _failure_record(error, staged))
        raise
    words = _agree(groups, own)
    if (difference := _difference(words)) is not None:
        raise ResolveError(difference)
    if staged:
        refuse_overlap(run.plan, run.live)
    if words.last >= 0 and not steps:
        settle(groups, None, staged=staged)  # other stages have steps that can fail, and wait for this one's word
    return min(words.last, steps - 1)  # a stage has steps of its own


def settle(groups: Sequence[Group], failure: BaseException | None, *, staged: bool = False) -> None:
    """Tell the other ranks whether this one failed. Raises StepFailed where another one did, and this one did not."""
    try:
        own = Record(whole="given" if staged else "") if failure is None else _failure_record(failure, staged)
        difference = _difference(_agree(groups, own))
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

    `last` is the last of its steps that can fail, `failed` says why it can't go on. The rest are hashes: of the model, of
    what its plan comes to (`values`, `files`, `code`, `held`), and of the texts that may be why (`rules`, `variables`). `whole`
    is that of the whole model that was given with a stage of a pipeline, and of the code its rules call; empty where none was.
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
    whole: str = ""


@dataclass(frozen=True)
class Words:
    """What all ranks say in short: the lowest rank's record, and that of the lowest that failed or differs, if one does.

    `last` is the last step that can fail on any of them; `staged` if a whole model was given on one of them.
    """

    first: Record
    other: Record | None
    last: int
    staged: bool


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
    elif first.whole != other.whole:
        message = _other_whole(first, other)
    elif first.network != other.network:
        differ = "names, shapes, dtypes or placements differ"
        message = f"the model of rank {other.rank} is not that of rank {first.rank}: {differ}"
    elif first.values != other.values and first.rules != other.rules:
        message = f"the rules of rank {other.rank} are not those of rank {first.rank}"
    elif first.variables != other.variables:
        message = f"the `vars` or initializers of rank {other.rank} are not those of rank {first.rank}"
    else:
        message = _other_plan(first, other)
    return Diagnostic("ranks-differ", message, hint="give every rank the same rules, seed and model")


def _other_plan(first: Record, other: Record) -> str:
    """Return what is said where rules of one text come to something else."""
    ranks = f"rank {other.rank} and rank {first.rank}"
    if first.files != other.files:
        return f"a file that the rules load has other contents on {ranks}"
    if first.code != other.code:
        return f"an initializer or a module's reset has other code, or sees other values, on {ranks}"
    if first.held != other.held:
        return f"a tensor that the rules read, and that no rule sets, has other values on {ranks}"
    return f"the rules come to other values on {ranks}: an attribute of the model that they read, or a rule, differs"


def _other_whole(first: Record, other: Record) -> str:
    if first.whole and other.whole:
        if first.whole.partition(" ")[0] == other.whole.partition(" ")[0]:
            return f"an initializer has other code on rank {other.rank} and rank {first.rank}"
        return f"the `whole` model of rank {other.rank} is not that of rank {first.rank}"
    with_it, without = (first, other) if first.whole else (other, first)
    return f"rank {with_it.rank} was given a `whole` model, rank {without.rank} was not"


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
    fingerprint, digest, whole = plan.network.fingerprint(), plan_digest(plan, live), ""
    if plan.whole is not None:  # what stages have in common; resets are the code of modules that others may lack
        of_all = plan_digest(replace(plan.whole, resets=()), live)
        digest, whole = digest._replace(values=of_all.values, files=of_all.files), f"{fingerprint} {of_all.code}"
    return Record(
        last=last,
        seed=plan.seed,
        rules=_digest(list(plan.rules.sources.values())),
        variables=_digest([dict(plan.variables), sorted(plan.initializers)]),
        network=_digest([fingerprint, placed, sorted(live.elsewhere)]),
        whole=whole,
        **digest._asdict(),
    )


def _failure_record(error: BaseException, staged: bool = False) -> Record:
    diagnostics: Sequence[Diagnostic] = ()
    if isinstance(error, InitDSLError):
        diagnostics = error.diagnostics
    elif isinstance(error, StepFailed):
        diagnostics = error.diagnostics[:1]
    text = "; ".join(f"{d.message} ({d.location})" if d.location else d.message for d in diagnostics)
    failed = " ".join((text or f"{type(error).__name__}: {error}").split())[:300]
    return Record(failed=failed, whole="given" if staged else "")


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


def _agree(groups: Sequence[Group], own: Record) -> Words:
    """Return every rank's word: that of the ranks that share the model, then of those that hold other stages of it."""
    distributed = torch.distributed
    own = replace(own, rank=distributed.get_rank() if _initialized() else 0)
    words = Words(own, own if own.failed is not None else None, own.last, bool(own.whole))
    words = _exchange(groups, words)
    return _exchange(_stage_groups(), words, of_stages=True) if words.staged else words


def _initialized() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _stage_groups() -> list[Group]:
    """Return the group of all ranks, among which the stages of a whole model are; none where there is one rank."""
    distributed = torch.distributed
    if not _initialized() or distributed.get_world_size() == 1:
        return []
    device = {"nccl": "cuda", "xccl": "xpu", "hccl": "npu"}.get(distributed.get_backend(), "cpu")
    return [(distributed.group.WORLD, device)]


def _exchange(groups: Sequence[Group], words: Words, *, of_stages: bool = False) -> Words:
    """Return every rank's word, told to every other one dimension of the mesh after another. Raises ResolveError."""
    for group in groups:
        sent = torch.zeros(RECORD, dtype=torch.uint8)
        text = json.dumps(asdict(words), ensure_ascii=False).encode("utf-8", "replace")
        sent[: len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        words = _joined([_words(one.numpy().tobytes()) for one in _gathered(group, sent)], of_stages)
    return words


def _gathered(group: Group, sent: torch.Tensor) -> list[torch.Tensor]:
    """Return what every rank of a group sends, all of the same size. Raises ResolveError where one can't be reached."""
    group_of, device = group
    on_device = sent.to(device)
    received = [torch.empty_like(on_device) for _ in range(torch.distributed.get_world_size(group_of))]
    try:
        torch.distributed.all_gather(received, on_device, group=group_of)
    except RuntimeError as error:
        raise ResolveError(Diagnostic("rank-lost", f"another rank can't be reached: {first_line(error)}")) from error
    return [one.cpu() for one in received]


def _words(text: bytes) -> Words:
    values = json.loads(text.rstrip(b"\0"))
    other = values["other"]
    other = None if other is None else Record(**other)
    return Words(Record(**values["first"]), other, values["last"], values["staged"])


def _joined(all_words: Sequence[Words], of_stages: bool) -> Words:
    """Return the words of several ranks as one; those `of_stages` are compared in what stages have in common."""
    firsts = sorted((words.first for words in all_words), key=lambda record: record.rank)
    if of_stages:  # each has tensors and modules of its own
        firsts = [replace(record, network="", code="", held="") for record in firsts]
    differing = [record for record in firsts if _same_on_all(record) != _same_on_all(firsts[0])]
    pairs = [(words.first, words.other) for words in all_words if words.other is not None]
    pairs += [(firsts[0], record) for record in differing]
    first, other = min(pairs, key=lambda pair: (pair[1].failed is None, pair[1].rank), default=(firsts[0], None))
    staged = any(words.staged for words in all_words)
    return Words(first, other, max(words.last for words in all_words), staged)


def _same_on_all(record: Record) -> tuple[object, ...]:
    """Return what has to be the same on every rank."""
    plan = record.values, record.files, record.code, record.held
    return record.seed, record.whole, record.network, *plan


# ---- stages


def refuse_overlap(plan: Plan, live: Live) -> None:
    """Refuse stages of which two have one tensor, but are not the same. Raises ResolveError on every rank."""
    groups = _stage_groups()
    if not groups:
        return
    held = torch.ones(len(plan.network.tensors), dtype=torch.uint8)
    held[list(live.elsewhere)] = 0
    stages: dict[bytes, int] = {}  # by what it holds, the first rank of a stage
    owner: dict[int, int] = {}
    for rank, row in enumerate(_gathered(groups[0], held)):
        text = row.numpy().tobytes()
        if text in stages:
            continue
        stages[text] = rank
        for number in torch.nonzero(row).flatten().tolist():
            tensor = plan.network.tensors[number]
            if number in owner and not _is_shared(plan, number):
                message = (
                    f"`{tensor.name}` is in the stage of rank {owner[number]} and in that of rank {rank}, which differ"
                )
                hint = "give each layer to one stage; ranks that share a stage hold all of it, or shards of all of it"
                raise ResolveError(Diagnostic("stages-overlap", message, hint=hint))
            owner[number] = rank


def _is_shared(plan: Plan, number: int) -> bool:
    """Return whether a tensor has further names, under which other stages may hold it."""
    tied = plan.tied_to
    shared = number in tied or number in tied.values()
    return shared or len(plan.network.names(plan.network.tensors[number])) > 1
