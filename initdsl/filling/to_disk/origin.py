"""Tensors of a network without memory, made one box at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from initdsl.filling.box_fill import PartExecution
from initdsl.filling.boxes import Part
from initdsl.filling.computed_weights import follow
from initdsl.filling.execute import execute
from initdsl.filling.meta.construct import like
from initdsl.filling.meta.materialize import left_unset
from initdsl.filling.run import refuse_no_sample
from initdsl.initializers import Constant, Random
from initdsl.network.description import Live
from initdsl.network.wrappers import unwrap
from initdsl.planning.actions import Action, CopyFrom, Expression, Kept, Reset, Value
from initdsl.planning.locality import Scope, scope
from initdsl.planning.plan import Plan, PlanEntry, leaves_alone
from initdsl.text.diagnostic import Diagnostic, ResolveError
from initdsl.text.wording import listed

__all__ = ["Origin", "state_of", "whole_tensors"]


# ---- what is written


def state_of(plan: Plan, live: Live, net: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of the network's state dict by their first names, and which the further names stand for."""
    indices = {id(tensor): number for number, tensor in enumerate(live.tensors) if tensor is not None}
    firsts: dict[int, str] = {}
    state: dict[str, torch.Tensor] = {}
    others: dict[str, str] = {}
    for name, tensor in unwrap(net).state_dict(keep_vars=True).items():
        if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or hasattr(tensor, "placements"):
            what = type(tensor).__name__ if not isinstance(tensor, torch.Tensor) else "sparse or sharded"
            raise ResolveError(
                Diagnostic("not-stored", f"`{name}` is {what}; it can't be streamed to a safetensors file")
            )
        number = indices.get(id(tensor))
        one = id(tensor) if number is None else plan.tied_to.get(number, number)
        first = firsts.setdefault(one, name)
        if first == name:
            state[name] = tensor
        else:
            others[name] = first
    return state, others


def whole_tensors(plan: Plan, source: Origin) -> Iterator[Diagnostic]:
    """A note on the tensors that are held in memory as a whole, if there are any."""
    whole = [entry for entry in plan.entries if source.parts(entry) is None and not leaves_alone(entry)]
    if whole:
        largest = max(whole, key=lambda entry: entry.numel)
        count = f"{len(whole)} tensor{'s' * (len(whole) > 1)}"
        are = "are" if len(whole) > 1 else "is"
        yield Diagnostic(
            "whole-tensor",
            f"{count} can't be filled in parts and {are} held in memory, one rule or module at a time: "
            f"{listed([entry.label for entry in whole])}; the largest is `{largest.label}` {list(largest.shape)}",
            severity="note",
        )


class Origin:
    """Where the values of a network's tensors come from, by their names in its state."""

    def __init__(self, plan: Plan, live: Live, state: Mapping[str, torch.Tensor]):
        assert plan.seed is not None
        refuse_no_sample(plan)
        self.plan, self.live, self.state = plan, live, state
        self._grids: dict[int, tuple[int, ...] | None] = {}
        self.order = {entry.tensor.index: number for number, entry in enumerate(plan.order)}
        self.entries = {entry.tensor.index: entry for entry in plan.entries}
        self.groups = self._groups()
        self.undo: list[Callable[[], None]] = []
        self.held: set[int] = set()
        numbers = {id(tensor): number for number, tensor in enumerate(self.live.tensors) if tensor is not None}
        self.numbers = {
            name: plan.tied_to.get(numbers[id(t)], numbers[id(t)]) for name, t in state.items() if id(t) in numbers
        }
        missing = [n for n, t in state.items() if t.is_meta and not self._made(self.numbers.get(n, -1))]
        if missing:
            raise ResolveError(
                Diagnostic(
                    "needs-values", f"these tensors are on the meta device and no rule sets them: {listed(missing, 12)}",
                    hint="give the function that builds the network in place of the network, or rules for them",
                )
            )  # fmt: skip

    def keeps(self, entry: PlanEntry) -> bool:
        return not entry.edits and (entry.base is None or isinstance(entry.base.payload, Kept))

    def entry(self, name: str) -> PlanEntry | None:
        """What is done to a tensor, if anything is."""
        entry = self.entries.get(self.numbers.get(name, -1))
        return None if entry is None or self.keeps(entry) else entry

    def _made(self, number: int) -> bool:
        entry = self.entries.get(number)
        return (entry is not None and not self.keeps(entry)) or number in self.groups

    def _groups(self) -> dict[int, set[int]]:
        """The tensors that a computed weight is computed from, or that follow it: made together."""
        network = self.plan.network
        found: dict[int, set[int]] = {}
        for info in network.tensors:
            if info.kind != "parametrized":
                continue
            below = [network.modules[i] for i in network.reachable(info.owners[0][0])]
            group = {i for m in below for i in (*m.parameters.values(), *m.buffers.values())} | {info.index}
            if any(i in self.entries and not self.keeps(self.entries[i]) for i in group):
                for member in group:
                    found[member] = found.get(member, set()) | group
        return found

    # ---- in parts

    def parts(self, entry: PlanEntry) -> tuple[int, ...] | None:
        """The shape in which an entry can be filled box by box; None if it can't be."""
        number = entry.tensor.index
        if number not in self._grids:
            self._grids[number] = self._grid(entry)
        return self._grids[number]

    def _grid(self, entry: PlanEntry) -> tuple[int, ...] | None:
        views = {action.view for action in entry.actions if action.view is not None}
        if entry.tensor.index in self.groups or len(views) > 1 or (entry.base is None and entry.status != "set"):
            return None
        if entry.tensor.kind == "parametrized" or not all(self._by_element(entry, action) for action in entry.actions):
            return None
        for action in entry.actions if views else ():  # the boxes are the view's, which only numbers don't mind
            numbers = isinstance(action.payload, Value | Constant | Random)
            if action.view is None and (action.index is not None or not numbers):
                return None
        return next(iter(views), None) or entry.shape

    def _by_element(self, entry: PlanEntry, action: Action) -> bool:
        if isinstance(action.payload, Kept | Reset):
            return False
        if isinstance(action.payload, Constant | Random) and action.operator not in ("=", "~"):
            return False

        def shares(number: int) -> bool:
            other = self.entries.get(number)
            if number in self.groups or self.plan.network.tensors[number].shape != entry.shape:
                return False
            return self.given(number) or (other is not None and self.parts(other) == entry.shape)

        return scope(self.plan, entry, action, shares, of_view=True) == Scope.ELEMENT

    def given(self, number: int) -> bool:
        """Whether a tensor has the values it ends with."""
        tensor, entry = self.live.tensors[number], self.entries.get(number)
        return tensor is not None and not tensor.is_meta and (entry is None or self.keeps(entry))

    def filler(self) -> Filler:
        """What fills boxes in one thread."""
        return Filler(self)

    # ---- whole

    def whole(self, name: str) -> torch.Tensor:
        """A tensor in memory, with its values; it stays until another one is asked for. Raises ApplyError."""
        if self.entry(name) is None and self.numbers.get(name, -1) not in self.groups:
            return self.state[name].detach()
        number = self.numbers[name]
        if number not in self.held:
            self.release()
            self._make(self._with(number))
        found = self.live.tensors[number]
        assert found is not None
        return found.detach()

    def _with(self, number: int) -> set[int]:
        """A tensor and all that has to be made for it."""
        resets = {t: mine for _, mine in self.plan.resets for t in mine}
        wanted: set[int] = set()
        stack = [number]
        while stack:
            current = stack.pop()
            current = self.plan.tied_to.get(current, current)
            if current in wanted:
                continue
            wanted.add(current)
            stack += [*self.groups.get(current, ()), *resets.get(current, ())]
            for action in self.entries[current].actions if current in self.entries else ():
                payload = action.payload
                stack += payload.reads if isinstance(payload, Expression) else ()
                stack += [payload.tensor] if isinstance(payload, CopyFrom) else ()
        return wanted

    def _make(self, wanted: set[int]) -> None:
        self.held = wanted
        plan = self.plan
        by_default = [self._allocate(number) for number in sorted(wanted)]
        order = sorted((number for number in wanted if number in self.order), key=self.order.__getitem__)
        resets = [(m, tuple(t for t in mine if t in wanted)) for m, mine in plan.resets if wanted.intersection(mine)]
        part = replace(
            plan, order=tuple(plan.order[self.order[n]] for n in order), resets=tuple(resets), ties=(), expected=()
        )
        execute(part, self.live, fresh=True)
        with torch.no_grad():
            owners = {m for n in wanted & set(self.groups) for m, _ in plan.network.tensors[n].owners}
            for module in sorted({below for owner in owners for below in plan.network.reachable(owner)}):
                follow(self.live.modules[module])
        unset = [e for e in by_default if e is not None and bool(self._tensor(e).isnan().any())]
        if unset:
            raise left_unset([entry.label for entry in unset])

    def _tensor(self, entry: PlanEntry) -> torch.Tensor:
        found = self.live.tensors[entry.tensor.index]
        assert found is not None
        return found.detach()

    def _allocate(self, number: int) -> PlanEntry | None:
        """Memory for a tensor, in place of the one that has none (or is the caller's); its entry if it is a default."""
        old, entry = self.live.tensors[number], self.entries.get(number)
        if old is None:
            return None
        values = torch.empty_strided(old.size(), old.stride(), dtype=old.dtype)
        default = entry is not None and entry.base is not None and isinstance(entry.base.payload, Reset)
        default = default and values.is_floating_point()
        if not old.is_meta:
            values.copy_(old.detach())
        elif default:
            values.fill_(float("nan"))  # what a reset leaves unset must not pass for a value
        new = like(old, values) if isinstance(old, nn.Parameter) else values
        self._put(number, new)
        self.undo.append(lambda: self._put(number, old))
        return entry if default and entry is not None and not entry.edits else None

    def _put(self, number: int, tensor: torch.Tensor) -> None:
        info = self.plan.network.tensors[number]
        self.live.tensors[number] = tensor
        for owner, local in info.owners:
            module = self.live.modules[owner]
            (module._buffers if local in module._buffers else module._parameters)[local] = tensor  # type: ignore[assignment]

    def release(self) -> None:
        """Give up what is held; the network is as it was."""
        while self.undo:
            self.undo.pop()()
        self.held = set()


class Filler(PartExecution):
    """One thread's fill of boxes. What an entry reads is made for the same box, and for no more."""

    def __init__(self, origin: Origin):
        super().__init__(origin.plan, origin.live, fresh=True)
        self.origin = origin
        self.known: dict[int, torch.Tensor] = {}

    def fill(self, entry: PlanEntry, grid: tuple[int, ...], extents: Sequence[range], out: torch.Tensor) -> None:
        """Fill one box of a tensor of shape `grid`; `out` has the box's shape. Raises StepFailed."""
        self.known = {}
        with torch.no_grad():
            self._fill_part(entry, grid, Part(out, tuple(extent.start for extent in extents)))

    def _fill_part(self, entry: PlanEntry, grid: tuple[int, ...], part: Part) -> None:
        for action in entry.actions:
            with self.blaming(entry, action):
                self.act_on(entry, part, grid, action)

    def share(self, tensor: int, part: Part) -> torch.Tensor:
        memory = self.live.tensors[tensor]
        assert memory is not None
        if self.origin.given(tensor):
            return memory.detach()[part.index]
        if tensor not in self.known:
            values = torch.empty(part.memory.shape, dtype=memory.dtype)
            entry = self.origin.entries[tensor]
            self._fill_part(entry, entry.shape, Part(values, part.starts))
            self.known[tensor] = values
        return self.known[tensor]
