"""Networks spread over ranks: each fills the part it holds, from its elements' places in the whole.

The fill itself communicates nothing. One small exchange comes before it: whether rules, seed and network are the same
on every rank and whether all of them could plan, so that either all ranks fill or all of them raise. Where a step of
the plan can still fail, another one comes after it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from initdsl.filling.box_fill import PartExecution
from initdsl.filling.boxes import Part, Place, Scope, Span, boxes, chunk, memory_of, scope, selected, strung, viewed
from initdsl.filling.execute import StepFailed, Values, refuse_meta, shell_of
from initdsl.filling.seeded import draws, row_major
from initdsl.initializers import Constant, Random
from initdsl.language.expressions.evaluate import combine
from initdsl.network.describe import is_sharded
from initdsl.planning.plan import Action, CopyFrom, Draw, Expression, Kept, Load, Plan, PlanEntry, Reset, Value
from initdsl.text.diagnostic import Diagnostic, InitDSLError, ResolveError

if TYPE_CHECKING:
    from initdsl.network.describe import ModuleInfo

__all__ = ["LoneExecution", "ShardedExecution", "agreed", "review", "spans"]


# ---- which part of a tensor this rank holds


def spans(tensor: Any) -> list[list[Span]]:
    """The coordinates that this rank holds of a DTensor, dimension by dimension; empty ones where it holds nothing.

    Raises ValueError for a placement that is no `Shard` or `Replicate` (a `Partial` is a sum not taken yet).
    """
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    held = _held(tensor.device_mesh, tensor.placements, tuple(tensor.shape), rank)
    sizes = [sum(span.length for span in row) for row in held]
    local = list(memory_of(tensor).shape)
    if sizes != local and tensor.device_mesh.get_coordinate() is not None:
        raise ValueError(f"its placements {tensor.placements} mean a part of shape {sizes} here, and it has {local}")
    return held


@lru_cache(maxsize=1024)
def _held(mesh: Any, placements: tuple[Any, ...], shape: tuple[int, ...], rank: int) -> list[list[Span]]:
    coordinate = mesh.get_coordinate()
    held = [[Span(0, 0, n)] if n else [] for n in shape]
    if coordinate is None:
        return [[] for _ in held]
    for d, placement in enumerate(placements):
        if placement.is_replicate():
            continue
        dim = getattr(placement, "dim", None)
        if dim is None:
            raise ValueError(f"its placement {placement} is neither `Shard` nor `Replicate`")
        split = int(getattr(placement, "split_factor", 1))
        pieces = [chunk(held[dim], split, j) for j in range(split)]
        held[dim] = strung(chunk(strung([piece]), mesh.size(d), coordinate[d]) for piece in pieces)
    return held


def _shown(held: list[list[Span]]) -> str:
    """A rank's part as one indexes it: `[0:4, :]`."""
    rows = [",".join(f"{s.first}:{s.first + s.length}" for s in row) for row in held]
    return "nothing" if not all(rows) else f"[{', '.join(rows)}]"


# ---- what a plan means for shards


def review(plan: Plan) -> None:
    """Say in a plan which part this rank holds and what can't be done by parts.

    Raises ResolveError for what a rank can't know: unseeded draws, values that other ranks hold, a part that is a sum.
    """
    assert plan.live is not None
    unknown = []
    for info, tensor in zip(plan.network.tensors, plan.live.tensors, strict=True):
        if info.sharded:
            try:
                info.part = _shown(spans(tensor))
            except ValueError as error:
                unknown.append(Diagnostic("unknown-shards", f"`{info.name}` can't be filled by parts: {error}"))
    if unknown:
        raise ResolveError(unknown)
    _refuse_expectations(plan)
    view = _View(plan)
    view.check(plan.order)
    plan.notes = [note for note in plan.notes if note.name != "whole-on-every-rank"]
    whole: dict[int, list[str]] = {}
    for entry in plan.order:
        for action in entry.actions:
            if view.looks_whole(entry, action):
                whole.setdefault(action.clause.number, []).append(entry.label)
    for number, labels in whole.items():
        rule = plan.clauses[number].rule
        more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
        plan.notes.append(
            Diagnostic(
                "whole-on-every-rank", f"every rank makes the whole of `{labels[0]}`{more}, one at a time, and keeps its part",
                plan.rules.source(rule.source), getattr(rule, "value", rule).span, None, "note",
            )
        )  # fmt: skip


def _refuse_expectations(plan: Plan) -> None:
    problems = []
    for expected in plan.expected:
        info, rule = plan.network.tensors[expected.tensor], expected.rule
        if info.sharded:
            problems.append(
                Diagnostic(
                    "needs-shards", f"`{info.name}` is sharded, and this rank does not see all the values an expectation is about",
                    plan.rules.source(rule.source), rule.span, "look at the checkpoint instead, with `initdsl verify`",
                )
            )  # fmt: skip
    if problems:
        raise ResolveError(problems)


class _View:
    """A plan as one rank sees it."""

    def __init__(self, plan: Plan):
        assert plan.live is not None
        self.plan = plan
        self.live = plan.live
        self.entries = {entry.tensor.index: entry for entry in plan.entries}
        self._scopes: dict[tuple[int, int], Scope] = {}

    def shares(self, entry: PlanEntry) -> Callable[[int], bool]:
        """Whether what this rank holds of another tensor covers what it holds of the entry's."""
        mine: Any = self.live.tensors[entry.tensor.index]

        def share(index: int) -> bool:
            info, other = self.plan.network.tensors[index], self.live.tensors[index]
            if info.shape != entry.shape:
                return False
            return not info.sharded or (
                other.device_mesh == mine.device_mesh and other.placements == mine.placements  # type: ignore[union-attr]
            )

        return share

    def scope(self, entry: PlanEntry, action: Action) -> Scope:
        key = (entry.tensor.index, id(action))
        if key not in self._scopes:
            self._scopes[key] = scope(self.plan, entry, action, self.shares(entry))
        return self._scopes[key]

    def looks_whole(self, entry: PlanEntry, action: Action) -> bool:
        """Whether more than a rank's part is made for an action."""
        if isinstance(action.payload, Kept) or not entry.tensor.sharded:
            return any(self.plan.network.tensors[t].sharded for t in reads(action))
        return isinstance(action.payload, Reset) or self.scope(entry, action) != Scope.ELEMENT

    def check(self, entries: list[PlanEntry]) -> None:
        """Raises ResolveError for what this rank can't know."""
        problems = []
        for entry in entries:
            found = ((action, self.problem(entry, action)) for action in entry.actions)
            action, problem = next(((a, problem) for a, problem in found if problem is not None), (None, None))
            if action is not None and problem is not None:
                rule = action.clause.rule
                span = getattr(rule, "value", rule).span
                problems.append(
                    Diagnostic("needs-shards", problem[0], self.plan.rules.source(rule.source), span, problem[1])
                )
        if problems:
            raise ResolveError(problems)

    def problem(self, entry: PlanEntry, action: Action) -> tuple[str, str] | None:
        """Why a rank can't carry an action out, and what to do."""
        plan = self.plan
        if isinstance(action.payload, Kept):
            return None
        if entry.tensor.sharded:
            if plan.seed is None and (isinstance(action.payload, Reset) or draws(plan, action)):
                return (
                    f"`{entry.label}` is sharded: without a seed every rank would draw from its own generator",
                    "give `seed=`: then each rank draws its part of the same whole",
                )
            if isinstance(action.payload, Reset):
                return None
            needed = self.scope(entry, action)
            if needed == Scope.TENSOR and not self.determined(entry.tensor.index):
                return (
                    f"this looks at values of `{entry.label}` that other ranks hold",
                    "set the parameter as a whole first, or apply these rules before sharding",
                )
            if needed == Scope.ELEMENT:
                return None
        for other in reads(action):
            if plan.network.tensors[other].sharded and not self.determined(other):
                name = plan.network.label(plan.network.tensors[other])
                return (
                    f"this reads values of `{name}` that other ranks hold",
                    "set that parameter by a rule, shard both alike, or apply these rules before sharding",
                )
        return None

    def determined(self, index: int) -> bool:
        """Whether the rules alone tell a tensor's values."""
        entry = self.entries.get(index)
        if entry is None:
            return False
        if entry.base is None:
            if entry.status != "set" or any(_stacks(action) for action in entry.edits):
                return False
        elif isinstance(entry.base.payload, Kept):
            return False
        needed = {other for action in entry.actions for other in reads(action)}
        return all(not self.plan.network.tensors[o].sharded or self.determined(o) for o in needed)


def reads(action: Action) -> tuple[int, ...]:
    """The other tensors whose values an action takes."""
    if isinstance(action.payload, Expression):
        return tuple(t for t in action.payload.reads if t != action.match.tensor)
    return (action.payload.tensor,) if isinstance(action.payload, CopyFrom) else ()


def _stacks(action: Action) -> bool:
    return action.operator not in ("=", "~") or (isinstance(action.payload, Expression) and action.payload.reads_itself)


# ---- filling


class ShardedExecution(PartExecution):
    """One run over a network of which this rank holds parts."""

    @cached_property
    def view(self) -> _View:
        return _View(self.plan)

    # ---- with the other ranks

    alone = False  # whether this rank fills without a word to the others

    def begin(self, last: int) -> int:
        if self.alone:
            return last
        groups = list(_groups([t for t in self.live.tensors if t is not None]))
        try:
            refuse_meta(self.plan)
            mine = _record(self.plan, last)
        except Exception as error:
            _exchange(groups, _failure(error))
            raise
        both = _exchange(groups, mine)
        if (difference := both.difference()) is not None:
            raise ResolveError(difference)
        return both.last

    def settle(self, failure: BaseException | None) -> None:
        if self.alone:
            return
        groups = list(_groups([t for t in self.live.tensors if t is not None]))
        try:
            difference = _exchange(groups, _Record() if failure is None else _failure(failure)).difference()
        except ResolveError as lost:
            difference = lost.diagnostics[0]
        if failure is None and difference is not None:
            raise StepFailed(difference, RuntimeError(difference.message))

    # ---- by parts

    def _parts(self, index: int) -> list[Part]:
        tensor = self.live.tensors[index]
        assert tensor is not None
        memory = memory_of(tensor)
        return [] if memory.numel() == 0 else boxes(memory, spans(tensor))

    def _actions(self, entry: PlanEntry, tensor: torch.Tensor) -> None:
        if not is_sharded(tensor):
            super()._actions(entry, tensor)
            return
        actions = [a for a in entry.actions if not isinstance(a.payload, Kept | Reset)]
        scopes = [self.view.scope(entry, action) for action in actions]
        if Scope.TENSOR in scopes:
            full = self._whole(entry)
            self._keep(entry.tensor.index, full)
            return
        for action, needed in zip(actions, scopes, strict=True):
            with self.blaming(entry, action):
                values = self._piece(entry, action) if needed == Scope.PIECE else None
                for part in self._parts(entry.tensor.index):
                    self._act_on(entry, part, action, values)

    def _act_on(self, entry: PlanEntry, part: Part, action: Action, values: torch.Tensor | None) -> None:
        """Carry an action out on a box; `values` are those of its whole piece, where it takes them all."""
        if action.view is not None:
            self._act_on_view(entry, part, action, values)
            return
        if values is None:
            self.act_on(entry, part, entry.shape, action)
        elif (found := selected(part, action.index, entry.shape)) is not None:
            piece, place = found
            self._write(entry, piece, action, values[place.index])

    def _act_on_view(self, entry: PlanEntry, part: Part, action: Action, values: torch.Tensor | None) -> None:
        payload = action.payload
        for box, mask, coordinates in viewed(part, entry.shape, action):
            memory = box.memory
            here = None if mask is None else mask.to(memory.device)
            if values is not None:
                assert here is not None
                piece = memory[here]
                self._write(entry, piece, action, values[tuple(at.to(values.device) for at in coordinates)])
                memory[here] = piece
            elif isinstance(payload, Random):
                # a view counts the elements as the whole does
                place = Place(*_numbering(box, entry.shape), ())
                drawn = memory if here is None else torch.empty_like(memory)
                self.distribute(entry, drawn, payload, action, place=place)
                if here is not None:
                    memory.copy_(torch.where(here, drawn, memory))
            else:
                piece = memory if here is None else memory[here]
                if isinstance(payload, Value):
                    self.assign(entry, piece, action, payload)
                else:
                    assert isinstance(payload, Constant)
                    piece.fill_(payload.value)
                if here is not None:
                    memory[here] = piece

    def _write(self, entry: PlanEntry, piece: torch.Tensor, action: Action, values: torch.Tensor) -> None:
        """Set a piece to values, or edit it by them."""
        if action.operator not in ("=", "~"):
            assert isinstance(action.payload, Expression)
            values = combine(action.payload.expr, action.operator[0], piece.to(values.dtype), values)
            if action.payload.finite:
                self._finite(entry, values.to(piece.dtype), action)
        piece.copy_(values)

    # ---- more than a part

    def _piece(self, entry: PlanEntry, action: Action) -> torch.Tensor:
        """The values of all that an action writes; those of an edit before they meet what is there."""
        tensor = self.live.tensors[entry.tensor.index]
        assert tensor is not None
        payload = action.payload
        if isinstance(payload, CopyFrom):
            return self.read(payload.tensor)
        edits = action.operator not in ("=", "~")
        work = torch.float64 if tensor.dtype == torch.float64 else torch.float32
        made = torch.zeros(action.shape, dtype=work if edits else tensor.dtype, device=tensor.device)
        if isinstance(payload, Draw):
            self.draw(entry, made, payload.initializer, payload.arguments, action)
        elif isinstance(payload, Load):
            made.copy_(self.reader.tensor(payload))
        else:
            assert isinstance(payload, Expression)
            if edits:
                payload = replace(payload, finite=False)
                action = replace(action, operator="=", payload=payload)
            self.express(entry, made, action, payload, Values(self, entry, action, made, made, work))
        return made

    def _whole(self, entry: PlanEntry) -> torch.Tensor:
        """A sharded tensor's values in full, made anew from the rules."""
        tensor = self.live.tensors[entry.tensor.index]
        assert tensor is not None
        full = torch.zeros(tensor.shape, dtype=tensor.dtype, device=tensor.device)
        if full.is_floating_point():
            full.fill_(math.nan)  # what a function takes from the values that were there shows
        base = entry.base
        if base is not None and isinstance(base.payload, Reset):
            index = base.payload.module
            owned = next(mine for module, mine in self.plan.resets if module == index)
            full.copy_(self._stand_ins(self.network.modules[index], owned)[entry.tensor.index])
        super()._actions(entry, full)
        custom = next(
            (a for a in entry.actions if isinstance(a.payload, Draw) and not a.payload.initializer.builtin), None
        )
        if custom is not None and bool(full.isnan().any()):
            what = (
                f"`{custom.payload.initializer.name}` leaves or takes values of `{entry.label}` that other ranks hold"  # type: ignore[union-attr]
            )
            hint = "set the parameter as a whole first, or apply these rules before sharding"
            raise StepFailed(self._diagnostic(custom, "fill-failed", what, hint), ValueError(what))
        return full

    def _keep(self, index: int, full: torch.Tensor) -> None:
        """Write this rank's part of a tensor's values."""
        for part in self._parts(index):
            part.memory.copy_(full[part.index])

    def read(self, tensor: int) -> torch.Tensor:
        """The values of a tensor, all of them."""
        if self.network.tensors[tensor].sharded:
            return self._whole(self.view.entries[tensor])
        return super().read(tensor)

    def share(self, tensor: int, part: Part) -> torch.Tensor:
        """The values of another tensor where a part lies."""
        if self.network.tensors[tensor].sharded:
            return next(p.memory for p in self._parts(tensor) if p.starts == part.starts)
        return super().read(tensor)[part.index]

    # ---- defaults

    def _stand_ins(self, info: ModuleInfo, mine: tuple[int, ...]) -> dict[int, torch.Tensor]:
        """What a module's own reset gives, by tensor: run on plain stand-ins. What it leaves alone is not there."""
        made: dict[int, nn.Parameter] = {}
        module = self.live.modules[info.index]
        assert self.seeded is not None
        with self.seeded.resetting(info.name):
            shell = shell_of(module, made)
            before = {key: stand_in._version for key, stand_in in made.items()}
            self._call_reset(info, shell)
        found = {}
        for index in mine:
            tensor = self.live.tensors[index]
            key = id(tensor)
            if tensor is None or key not in made or made[key]._version == before[key]:
                continue
            found[index] = made[key].detach()
            if is_sharded(tensor) and bool(found[index].isnan().any()):
                name = self.network.label(self.network.tensors[index])
                what = f"`{info.cls.name}.{info.reset}` builds on values of `{name}` that other ranks hold"
                raise StepFailed(
                    Diagnostic("fill-failed", what, hint="apply these rules before sharding"), ValueError(what)
                )
        return found

    def reset_beside(self, index: int, mine: tuple[int, ...]) -> None:
        if not any(self.network.tensors[t].sharded for t in mine):
            super().reset_beside(index, mine)
            return
        for tensor, values in self._stand_ins(self.network.modules[index], mine).items():
            if self.network.tensors[tensor].sharded:
                self._keep(tensor, values)
            else:
                memory_of(self.live.tensors[tensor]).copy_(values)  # type: ignore[arg-type]


class LoneExecution(ShardedExecution):
    """One rank's fill of some entries, at a time of its own: a call of an init function."""

    alone = True

    def __init__(self, plan: Plan, on_init: Callable[[Any], Any] | None, entries: list[PlanEntry]):
        super().__init__(plan, on_init)
        self.view.check(entries)


def _numbering(part: Part, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    strides = row_major(shape)
    return sum(start * stride for start, stride in zip(part.starts, strides, strict=True)), strides


# ---- with the other ranks

# bytes a rank sends
RECORD = 4096


@dataclass
class _Record:
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

    first: _Record
    other: _Record | None
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


def _record(plan: Plan, last: int) -> _Record:
    assert plan.live is not None
    placed = [
        (info.name, str(tensor.placements), tensor.device_mesh.shape)  # type: ignore[union-attr]
        for info, tensor in zip(plan.network.tensors, plan.live.tensors, strict=True)
        if info.sharded
    ]
    return _Record(
        last=last, seed=plan.seed,
        rules=_digest(list(plan.rules.sources.values())),
        variables=_digest([plan.resolver.variables, sorted(plan.resolver.registry)]),
        network=_digest([plan.network.fingerprint(), placed]),
    )  # fmt: skip


def _failure(error: BaseException) -> _Record:
    found: tuple[Diagnostic, ...] = ()
    if isinstance(error, InitDSLError):
        found = error.diagnostics
    elif isinstance(error, StepFailed):
        found = (error.diagnostic,)
    said = "; ".join(f"{d.message} ({d.location})" if d.location else d.message for d in found)
    return _Record(failed=" ".join((said or f"{type(error).__name__}: {error}").split())[:300])


def _groups(tensors: list[torch.Tensor]) -> Iterator[Any]:
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


def _exchange(groups: list[Any], mine: _Record) -> _Both:
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
            message = f"another rank can't be reached: {(str(error).splitlines() or [''])[0][:200]}"
            raise ResolveError(Diagnostic("rank-lost", message)) from error
        both = _joined([_read(one.cpu().numpy().tobytes()) for one in received])
    return both


def _read(text: bytes) -> _Both:
    found = json.loads(text.rstrip(b"\0"))
    other = found["other"]
    return _Both(_Record(**found["first"]), None if other is None else _Record(**other), found["last"])


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
            _exchange(list(_groups(list(net.parameters()))), _failure(error))
        raise
