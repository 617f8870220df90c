"""Every tensor checked: exactly where its values are known, by chance where they are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from initdsl.checkpoints.store import Piece, Store, Tensors
from initdsl.filling.expectations import unmet_expectations
from initdsl.filling.to_disk.origin import Origin
from initdsl.initializers import Constant, Random
from initdsl.network.description import Live
from initdsl.planning.actions import Action, CopyFrom, Draw, Expression, Kept, Reset, Value
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.planning.program import Apply, Drawn
from initdsl.statistics.goodness import Sample, holm, two_samples
from initdsl.statistics.predicted import affine_distribution, entry_distribution
from initdsl.text.diagnostic import ApplyError
from initdsl.text.wording import listed

from .exactly import Difference
from .properties import PROPERTIES
from .verification import Check

__all__ = ["Run"]


# elements drawn to know what an expression's values look like
SIMULATED = 1 << 16


def _plain_dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# ---- the run


class Run:
    """One verification: a plan on a network without memory, and a store of tensors."""

    def __init__(self, plan: Plan, store: Store, after_training: bool, alpha: float):
        assert plan.live is not None
        self.plan, self.live, self.store = plan, plan.live, store
        self.after_training, self.alpha = after_training, alpha
        self.structure: list[str] = []
        self.notes: list[str] = []
        self.p_values: list[tuple[Check, str, float]] = []
        self.taken: set[int] = set()
        self.names = {e.tensor.index: self._stored(e.names) for e in plan.entries}
        self._reads()
        drawn = plan if plan.seed is not None else replace(plan, seed=0)
        state = {
            e.name: tensor for e in plan.entries
            if (tensor := self.live.tensors[e.tensor.index]) is not None and not _kept(e)
        }  # fmt: skip
        self.origin = _Expected(drawn, state, self.taken)

    def _stored(self, names: list[str]) -> str | None:
        """Of a tensor's names the one the store has it under."""
        for name in (*names, *(self.store.others.get(n, n) for n in names)):
            if name in self.store.tensors:
                return name
        return None

    def _reads(self) -> None:
        """What rules read and none of them sets is taken as it is in the store."""
        read = {i for e in self.plan.entries for a in e.actions for i in _read_by(a)}
        for entry in self.plan.entries:
            if entry.tensor.index in read and (_kept(entry) or self.plan.seed is None):
                self._take(entry)
        for index in read - {e.tensor.index for e in self.plan.entries}:
            info = self.plan.network.tensors[index]
            self._put(index, self._stored(self.plan.network.names(info)))

    def _take(self, entry: PlanEntry) -> None:
        self._put(entry.tensor.index, self.names[entry.tensor.index])

    def _put(self, index: int, name: str | None) -> None:
        info, old = self.plan.network.tensors[index], self.live.tensors[index]
        if name is None or old is None or self.store.tensors[name].shape != info.shape:
            return
        values = self.store.whole(name).to(old.dtype)
        new = nn.Parameter(values, False) if isinstance(old, nn.Parameter) else values
        self.live.tensors[index] = new
        self.taken.add(index)
        for owner, local in info.owners:
            module = self.live.modules[owner]
            (module._buffers if local in module._buffers else module._parameters)[local] = new  # type: ignore[assignment]

    # ---- structure

    def _shapes(self) -> None:
        network, store = self.plan.network, self.store
        whole = isinstance(store, Tensors) and store.where == "the network"
        expected: set[str] = set()
        missing: list[str] = []
        others: dict[tuple[str, str], list[str]] = {}
        for info in network.tensors:
            names = network.names(info)
            expected.update(names)
            if info.kind == "parametrized":
                continue
            found = self._stored(self.plan.tensor_names(info))
            if found is None:
                if info.kind == "parameter" or _persistent(self.live, info.owners):
                    missing.append(info.name)
            elif store.tensors[found].shape != info.shape:
                self.structure.append(
                    f"`{info.name}` has shape {list(store.tensors[found].shape)}, not {list(info.shape)}"
                )
            elif (there := store.tensors[found].dtype) != (here := getattr(torch, info.dtype)):
                if there.is_floating_point == here.is_floating_point:
                    others.setdefault((_plain_dtype(there), info.dtype), []).append(info.name)
                else:
                    self.structure.append(f"`{info.name}` is {_plain_dtype(there)}, not {info.dtype}")
        if missing:
            self.structure.append(f"{len(missing)} missing: {listed(missing, 8)}")
        for (theirs, ours), names in others.items():
            what = f"{len(names)} tensors are" if len(names) > 1 else f"`{names[0]}` is"
            self.notes.append(f"{what} {theirs} there and {ours} in the network: compared as {theirs}")
        further = [n for n in store.tensors if n not in expected]
        if further and not whole:
            self.structure.append(f"{len(further)} that the network has not: {listed(further, 8)}")

    def _ties(self) -> None:
        store = self.store
        for entry in self.plan.entries:
            there = [n for n in entry.names if n in store.tensors]
            firsts = {store.others.get(n, n) for n in there}
            if len(firsts) < 2:
                continue
            shown = " and ".join(f"`{name}`" for name in sorted(firsts))
            if isinstance(store, Tensors):
                self.structure.append(f"{shown} are to be one tensor, and are not tied")
            elif not _equal(store, sorted(firsts)):
                self.structure.append(f"{shown} are to be one tensor, and differ")
        owner = {n: e for e in self.plan.entries for n in e.names}
        for name, first in store.others.items():
            if name in owner and first in owner and owner[name] is not owner[first]:
                self.structure.append(f"`{name}` and `{first}` are tied, and nothing says so")

    # ---- expectations

    def unmet(self) -> list[str]:
        """The `expect` statements that do not hold of what is stored; training is free to break them."""
        if self.after_training:
            return []
        return [f"{found.message} ({found.location})" for found in unmet_expectations(self.plan, self._value)]

    def _value(self, tensor: int) -> torch.Tensor | None:
        name = self._stored(self.plan.tensor_names(self.plan.network.tensors[tensor]))
        return None if name is None else self.store.whole(name)

    # ---- values

    def checks(self) -> list[Check]:
        self._shapes()
        self._ties()
        found = []
        for entry in self.plan.entries:
            check = self._new(entry)
            found.append(check)
            name = self.names[entry.tensor.index]
            if entry.tensor.kind == "parametrized":
                self._computed(entry, check)
            elif name is None or self.store.tensors[name].shape != entry.shape:
                check.status = "unchecked"
                check.message = "missing" if name is None else "of another shape"
            elif not _kept(entry):
                with torch.no_grad():
                    self._check(entry, check, name)
        self.origin.release()
        self._settle()
        return found

    def _new(self, entry: PlanEntry) -> Check:
        place = ", ".join(dict.fromkeys(place for _, place in entry.statements))
        return Check(entry.name, entry.names, entry.label, entry.shape, entry.effect, place)

    def _settle(self) -> None:
        """Judge all p-values together: Holm over the tensors, Bonferroni over the tests of one."""
        smallest: dict[int, tuple[Check, str, float]] = {}
        count: dict[int, int] = {}
        for check, test, p in self.p_values:
            count[id(check)] = count.get(id(check), 0) + 1
            if id(check) not in smallest or p < smallest[id(check)][2]:
                smallest[id(check)] = (check, test, p)
        rows = list(smallest.values())
        bad = holm([min(1.0, p * count[id(check)]) for check, _, p in rows], self.alpha)
        for (check, test, p), wrong in zip(rows, bad, strict=True):
            if wrong and check.status == "match":
                self._moved_or(check, f"{_said(check, test)} (p = {p:.2g})")

    def _moved_or(self, check: Check, message: str) -> None:
        """A difference: how far it has moved after training, drift before."""
        if self.after_training:
            check.moved = {**(check.moved or {}), "moved": 1.0}
            check.message = message
        else:
            check.drift(message)

    def _check(self, entry: PlanEntry, check: Check, name: str) -> None:
        if self.after_training:
            check.moved = {"moved": 0.0}
        try:
            if self.plan.seed is not None or not self._draws(entry):
                self._exact(entry, check, name)
            else:
                self._statistical(entry, check, name)
        except ApplyError as error:
            check.status, check.how, check.message = "unchecked", "nothing", error.diagnostics[0].message

    def _draws(self, entry: PlanEntry) -> bool:
        """Whether chance has a part in an entry's values."""
        return any(self._drawn(action) for action in entry.actions)

    def _drawn(self, action: Action) -> bool:
        payload = action.payload
        if isinstance(payload, Draw):
            return payload.initializer.draws
        if isinstance(payload, Expression):
            return bool(self._calls(action))
        return isinstance(payload, Reset) or (isinstance(payload, Random) and payload.std > 0)

    def _calls(self, action: Action) -> list[str]:
        """The functions that draw in an expression."""
        assert isinstance(action.payload, Expression)
        steps = action.payload.program.steps
        return [s.initializer.name for s in steps if isinstance(s, Drawn) and s.initializer.draws]

    # ---- exactly

    def _exact(self, entry: PlanEntry, check: Check, name: str) -> None:
        if self._needs_code(entry):
            check.status, check.message = "unchecked", "torch's default needs the network's code: `--model`"
            return
        check.how = "values"
        grid = self.origin.parts(entry)
        dtype = getattr(torch, entry.dtype)
        difference = Difference()
        if grid is not None and grid == entry.shape:
            filler = self.origin.filler()
            for extents_, values in self.store.pieces(name):
                wanted = torch.empty(values.shape, dtype=dtype)
                filler.fill(entry, grid, extents_, wanted)
                difference.add(values, wanted)
        else:
            wanted = self.origin.whole(entry.name)
            for extents_, values in self.store.pieces(name):
                difference.add(values, wanted[tuple(slice(e.start, e.stop) for e in extents_)])
        check.measured, check.expected = difference.measured, difference.expected
        if self.after_training:
            check.moved = difference.moved
        elif difference.count:
            self._moved_or(check, difference.message(entry.numel))

    def _needs_code(self, entry: PlanEntry) -> bool:
        resets = [a.payload.module for a in entry.actions if isinstance(a.payload, Reset)]
        return any(type(self.live.modules[m]) is nn.Module for m in resets)

    # ---- statistically

    def _statistical(self, entry: PlanEntry, check: Check, name: str) -> None:
        check.how = "distribution"
        what = affine_distribution(entry)
        if what is not None:
            sample = Sample(what, self.store.tensors[name].dtype)
            for _, values in self.store.pieces(name):
                sample.add(values)
            self._judge(check, sample)
            return
        grid = self.origin.parts(entry)
        if grid is not None and all(isinstance(a.payload, Value | Constant | Random) for a in entry.actions):
            self._by_slices(entry, check, name, grid)
            return
        draw = entry.base.payload if entry.base is not None else None
        if isinstance(draw, Draw) and not entry.edits:
            self._property(check, draw, self.store.whole(name))
        else:
            self._simulated(entry, check, name)

    def _judge(self, check: Check, sample: Sample) -> None:
        found = sample.moments
        check.measured = {"mean": found.mean, "std": found.std, "min": found.low, "max": found.high}
        check.expected = {"mean": sample.distribution.mean, "std": sample.distribution.std}
        outside = sample.outside()
        if outside is not None:
            self._moved_or(check, outside)
        for test, p in sample.tests().items():
            check.p_values[test] = min(p, check.p_values.get(test, 1.0))
            self.p_values.append((check, test, p))

    def _by_slices(self, entry: PlanEntry, check: Check, name: str, grid: tuple[int, ...]) -> None:
        """Each element by the last rule that sets it."""
        dtype = self.store.tensors[name].dtype
        samples = [Sample(entry_distribution(a), dtype) for a in entry.actions]
        pieces = self.store.pieces(name)
        if grid != entry.shape:
            pieces = iter([Piece(tuple(map(range, grid)), self.store.whole(name).reshape(grid))])
        filler = self.origin.filler()
        for extents_, values in pieces:
            who = torch.full(values.shape, -1.0)
            for number, action in enumerate(entry.actions):
                marked = replace(action, operator="=", payload=Constant(float(number)))
                filler.fill(replace(entry, base=None, edits=[marked]), grid, extents_, who)
            for number, sample in enumerate(samples):
                mine = values[who == number]
                if mine.numel():
                    sample.add(mine)
        for sample in samples:
            if sample.moments.count + sample.moments.other:
                self._judge(check, sample)

    def _property(self, check: Check, draw: Draw, values: torch.Tensor) -> None:
        kind = draw.initializer.name
        check.how = "property"
        if not draw.initializer.builtin or kind not in PROPERTIES:
            check.status, check.how = "unchecked", "nothing"
            check.message = f"`{kind}` can be compared under its seed only"
            return
        wrong = PROPERTIES[kind](values, draw.arguments)
        if wrong is not None:
            self._moved_or(check, wrong)

    def _simulated(self, entry: PlanEntry, check: Check, name: str) -> None:
        """Against values that the same rules draw under a seed: for expressions that work element by element."""
        if any(isinstance(a.payload, Draw) for a in entry.actions) or any(
            isinstance(a.payload, Expression) and not self._elementwise(a) for a in entry.actions
        ):
            check.status, check.how, check.message = "unchecked", "nothing", "can be compared under its seed only"
            return
        if self._needs_code(entry):
            check.status, check.how = "unchecked", "nothing"
            check.message = "torch's default needs the network's code: `--model`"
            return
        values = self.store.whole(name).double()
        if not bool(torch.isfinite(values).all()):
            self._moved_or(check, "some elements are not finite")
            return
        reference = self._simulations(entry)
        if bool((reference == reference[0, :1]).all()):  # nothing was drawn after all
            difference = Difference()
            difference.add(values, reference[0].reshape(values.shape))
            check.how = "values"
            if difference.count:
                self._moved_or(check, difference.message(entry.numel))
            return
        check.measured = {"mean": float(values.mean()), "std": float(values.std(correction=0))}
        check.expected = {"mean": float(reference.mean()), "std": float(reference.std(correction=0))}
        check.p_values = two_samples(values, reference.reshape(-1))
        self.p_values += [(check, test, p) for test, p in check.p_values.items()]

    def _simulations(self, entry: PlanEntry) -> torch.Tensor:
        """What an entry's rules draw under some seeds, a row each: enough of them for small tensors too."""
        rows = []
        plan = self.origin.plan
        for seed in range(max(1, min(64, SIMULATED // max(1, entry.numel)))):
            self.origin.release()
            self.origin.plan = replace(plan, seed=seed)
            rows.append(self.origin.whole(entry.name).double().reshape(-1).clone())
        self.origin.plan = plan
        self.origin.release()
        return torch.stack(rows)

    def _elementwise(self, action: Action) -> bool:
        assert isinstance(action.payload, Expression)
        return all(
            step.function not in {"min", "max", "sum", "mean", "std", "norm"}
            if isinstance(step, Apply)
            else not isinstance(step, Drawn) or step.initializer.elementwise
            for step in action.payload.program.steps
        )

    # ---- computed tensors

    def _computed(self, entry: PlanEntry, check: Check) -> None:
        """A parametrized weight by what it is computed from, where a seed says what that is."""
        tensors = self.plan.network.tensors
        members = [
            i for i in sorted(self.origin.groups.get(entry.tensor.index, ()))
            if self.live.tensors[i] is not None and tensors[i].kind == "parameter"
        ]  # fmt: skip
        stored = {i: self._stored(self.plan.network.names(tensors[i])) for i in members}
        if self.plan.seed is None or not members:
            check.status, check.message = "unchecked", "it is computed, and can be compared under its seed only"
            return
        check.how, difference = "values", Difference()
        for i, name in stored.items():
            if name is None or self.store.tensors[name].shape != tensors[i].shape:
                check.status, check.message = "unchecked", f"`{tensors[i].name}` is missing or of another shape"
                return
            live = self.live.tensors[i]
            assert live is not None
            self.origin.state = {**self.origin.state, tensors[i].name: live}
            self.origin.numbers[tensors[i].name] = i
        for i, name in stored.items():
            assert name is not None
            with torch.no_grad():
                difference.add(self.store.whole(name), self.origin.whole(tensors[i].name))
        if self.after_training:
            check.moved = difference.moved
        elif difference.count:
            self._moved_or(check, difference.message(difference.elements))


class _Expected(Origin):
    """The values rules make, where those that were taken from the store are read and not made again."""

    def __init__(self, plan: Plan, state: Mapping[str, torch.Tensor], taken: set[int]):
        super().__init__(plan, state)
        self.taken = taken

    def _with(self, number: int) -> set[int]:
        return super()._with(number) - (self.taken - {number})

    def given(self, number: int) -> bool:
        return number in self.taken or super().given(number)


def _kept(entry: PlanEntry) -> bool:
    return not entry.edits and (entry.base is None or isinstance(entry.base.payload, Kept))


def _read_by(action: Action) -> set[int]:
    if isinstance(action.payload, Expression):
        return set(action.payload.reads)
    return {action.payload.tensor} if isinstance(action.payload, CopyFrom) else set()


def _persistent(live: Live, owners: list[tuple[int, str]]) -> bool:
    """Whether a buffer is saved with the network."""
    return any(local not in live.modules[owner]._non_persistent_buffers_set for owner, local in owners)


def _equal(store: Store, names: list[str]) -> bool:
    first = store.whole(names[0])
    return all(store.tensors[n].shape == tuple(first.shape) and torch.equal(store.whole(n), first) for n in names[1:])


def _said(check: Check, test: str) -> str:
    """What a test found, in words."""
    if test in ("mean", "std") and test in check.measured:
        return f"the {test} is {check.measured[test]:.5g}, the rule's {check.expected[test]:.5g}"
    if test == "share":
        return f"the mean is {check.measured['mean']:.5g}, the rule's {check.expected['mean']:.5g}"
    return "its values are distributed otherwise"
