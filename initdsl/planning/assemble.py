"""Entries put together from what the cascade decided: module defaults, the order of the writes, notes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from initdsl.language.syntax.nodes import Assign, ClassPattern, Default
from initdsl.language.syntax.walk import walk
from initdsl.network.description import ClassInfo, Network
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.wording import listed

from .actions import Action, Clause, CopyFrom, Draw, Expression, Reset, read_by
from .context import Resolution
from .notes import fans_read, wrong_fan
from .plan import PlanEntry, adjusts, tensors_by_first

__all__ = ["Circle", "Decided", "Draft", "Resets", "assemble", "refuse_uncovered", "resets_of", "write_order"]


# by tensor: its base (or none) and the edits on top
Decided = Mapping[int, tuple[Action | None, list[Action]]]
# modules whose own reset runs, in the order they do, each with the tensors it may set
Resets = tuple[tuple[int, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Draft:
    """The parts of a plan that say what is done, and when."""

    entries: list[PlanEntry]
    order: list[PlanEntry]
    resets: Resets


def assemble(at: Resolution, decided: Decided) -> Draft:
    """The entries of a plan in the order of `named_parameters()`, and the order of the writes; findings go to `at`."""
    entries = _listed(at.network, _entries(at, decided))
    resets = _resets(at, entries)
    order = write_order(at.network, at.tied_to, entries)
    if isinstance(order, Circle):
        at.problems.append(order.finding(at))
        order = order.ordered
    _refuse_after_sample(at, order)
    _note_fans(at, entries)
    _note_subclasses(at, entries)
    return Draft(entries, order, resets)


# ---- entries


def _entries(at: Resolution, decided: Decided) -> list[PlanEntry]:
    network = at.network
    joined = tensors_by_first(at.tied_to)
    entries = []
    seen = set()
    for number in range(len(network.tensors)):
        tensor = network.tensors[at.tied_to.get(number, number)]
        if tensor.index in seen:
            continue
        seen.add(tensor.index)
        base, edits = decided.get(tensor.index, (None, []))
        if tensor.kind == "buffer" and base is None and not edits:
            continue
        # of the tensors a tie makes this one, the one `named_parameters()` meets first once they are tied
        members = sorted([tensor.index, *joined.get(tensor.index, ())])
        aliases = dict.fromkeys(name for i in members for name in network.names(network.tensors[i]))
        label = network.label(network.tensors[members[0]])
        entries.append(PlanEntry(tensor, tuple(aliases), label, base, tuple(edits)))
    return entries


def _listed(network: Network, entries: list[PlanEntry]) -> list[PlanEntry]:
    """The entries without those of a computed tensor, or of what it is computed from, that no rule names."""
    behind = {
        original: t.index for t in network.tensors if t.kind == "parametrized" for original in network.originals(t)
    }
    written = {e.tensor.index for e in entries if e.actions}
    computed = {e.tensor.index for e in entries if e.tensor.kind == "parametrized"} & written

    def is_listed(entry: PlanEntry) -> bool:
        index = entry.tensor.index
        if index in written:
            return True
        return entry.tensor.kind != "parametrized" and behind.get(index) not in computed

    return [entry for entry in entries if is_listed(entry)] if behind else entries


# ---- module defaults


def _resets(at: Resolution, entries: list[PlanEntry]) -> Resets:
    _refuse_no_default(at, entries)
    statements = {s.clause.number: s for s in at.statements if isinstance(s.clause.rule, Default)}

    def modules_of(clause: Clause) -> list[int]:
        statement = statements[clause.number]
        at.lets = statement.lets
        assert clause.targets is not None
        return [m.module for m in at.matcher.select(clause.targets, statement.frame) if m.tensor is None]

    return resets_of(at.network, at.tied_to, entries, modules_of)


def _refuse_no_default(at: Resolution, entries: list[PlanEntry]) -> None:
    """Refuse `default` for parameters of modules that have no `reset_parameters`."""
    without: dict[tuple[Clause, ClassInfo], list[str]] = {}
    for entry in entries:
        if entry.base is not None and isinstance(entry.base.payload, Reset):
            module = at.network.modules[entry.base.payload.module]
            if module.reset is None:
                without.setdefault((entry.base.clause, module.cls), []).append(entry.label)
    for (clause, cls), labels in without.items():
        have = "has" if len(labels) == 1 else "have"
        rule = f"give {'it a rule of its' if len(labels) == 1 else 'them rules of their'} own, after this one"
        assert clause.targets is not None
        at.problems.append(
            Diagnostic(
                "no-default",
                f"`{cls.name}` has parameters and no `reset_parameters`, so {listed(labels)} {have} no default",
                at.rules.source(clause.rule.source),
                clause.targets.span,
                rule,
            )
        )


class ModulesOf(Protocol):
    """The modules that a clause's selector selects as such."""

    def __call__(self, clause: Clause) -> Iterable[int]: ...


def resets_of(
    network: Network, tied_to: Mapping[int, int], entries: Iterable[PlanEntry], modules_of: ModulesOf
) -> Resets:
    """The modules whose own `reset_parameters` bring defaults back, and which tensors each may set."""
    by_module: dict[int, set[int]] = {}
    by_clause: dict[Clause, set[int]] = {}
    for entry in entries:
        if entry.base is not None and isinstance(entry.base.payload, Reset):
            by_module.setdefault(entry.base.payload.module, set()).add(entry.tensor.index)
            by_clause.setdefault(entry.base.clause, set()).add(entry.tensor.index)

    def below(module: int) -> set[int]:
        tensors = (t for i in network.reachable(module) for t in network.modules[i].parameters.values())
        return {tied_to.get(t, t) for t in tensors}

    # a module's own reset may set parameters of the modules below it (nn.MultiheadAttention: out_proj.bias)
    default = {t for tensors in by_clause.values() for t in tensors}
    for module, tensors in by_module.items():
        tensors |= default & below(module)
    # a module that only arranges others (nn.Transformer) resets too, what of it is to be default
    for clause, tensors in by_clause.items():
        for selected in modules_of(clause):
            for module in network.reachable(selected):
                arranging = network.modules[module]
                if arranging.reset is not None and not arranging.parameters and (mine := below(module) & tensors):
                    by_module[module] = mine
    return tuple((module, tuple(sorted(by_module[module]))) for module in network.apply_order if module in by_module)


# ---- order


@dataclass(frozen=True)
class Circle:
    """Entries that wait for each other's final values, and those that were ordered before."""

    entries: list[PlanEntry]
    ordered: list[PlanEntry]

    def finding(self, at: Resolution) -> Diagnostic:
        action = next(a for a in self.entries[0].actions if isinstance(a.payload, Expression | CopyFrom))
        rule = action.clause.rule
        names = listed([e.label for e in self.entries])
        what = f"these read each other's final values: {names}"
        return Diagnostic("circular-read", what, at.rules.source(rule.source), rule.span)


def write_order(network: Network, tied_to: Mapping[int, int], entries: Iterable[PlanEntry]) -> list[PlanEntry] | Circle:
    """The order of the writes: that of `net.apply`, readers after what they read."""
    written = {e.tensor.index: e for e in entries if e.actions}
    order: dict[int, PlanEntry] = {}
    for index in network.apply_order:
        module = network.modules[index]
        for tensor in (*module.parameters.values(), *module.buffers.values()):
            first = tied_to.get(tensor, tensor)
            if first in written:
                order.setdefault(first, written[first])
    waits = {index: _waits(entry) & written.keys() for index, entry in order.items()}
    pending = list(order.values())
    if not any(waits.values()):
        return pending
    done: dict[int, PlanEntry] = {}
    while pending:
        later = []
        for entry in pending:
            if waits[entry.tensor.index] <= done.keys():
                done[entry.tensor.index] = entry
            else:
                later.append(entry)
        if len(later) == len(pending):
            return Circle(later, list(done.values()))
        pending = later
    return list(done.values())


def _waits(entry: PlanEntry) -> set[int]:
    """The tensors whose final values an entry takes."""
    return {t for action in entry.actions for t in read_by(action)} - {entry.tensor.index}


def _refuse_after_sample(at: Resolution, order: list[PlanEntry]) -> None:
    """Refuse edits on, and reads of, tensors that `lsuv` or `activation_norm` sets: those run after everything else."""
    last = {e.tensor.index: e for e in order if adjusts(e)}
    for entry in order if last else ():
        stacked = [(a, entry) for a in entry.edits] if entry.tensor.index in last else []
        readers = [(a, last[t]) for a in entry.actions for t in sorted(read_by(a) & last.keys())]
        for action, data in [*stacked, *readers]:
            assert data.base is not None
            assert isinstance(data.base.payload, Draw)
            name = data.base.payload.initializer.name
            what = "builds on it" if data is entry else f"of `{entry.label}` reads it"
            rule = action.clause.rule
            at.problems.append(
                Diagnostic(
                    "after-sample",
                    f"`{name}` adjusts `{data.label}` when all else is filled, and this rule {what}",
                    at.rules.source(rule.source),
                    rule.span,
                    "apply it afterwards, from a file of its own",
                )
            )


# ---- notes


def _note_fans(at: Resolution, entries: list[PlanEntry]) -> None:
    """Note where torch's fans are known not to be those the layer computes with."""
    noted: set[tuple[int, str]] = set()
    fans: dict[int, frozenset[str]] = {}  # by clause, those that its call reads
    for entry in entries:
        for action in entry.actions:
            rule, number = action.clause.rule, action.clause.number
            if not isinstance(rule, Assign):
                continue
            if number not in fans:
                call = at.calls.get(number)
                fans[number] = frozenset() if call is None else fans_read(at.registry.get(call.function), call)
            if not fans[number]:
                continue
            module = at.network.modules[action.match.module]
            wrong = wrong_fan(module.cls, module, action, fans[number])
            if wrong is None or (number, wrong.reason) in noted:
                continue
            noted.add((number, wrong.reason))
            what = f"`{entry.label}` {list(entry.shape)}: {wrong.reason}"
            where = at.rules.source(rule.source)
            at.notes.append(Diagnostic(wrong.name, what, where, rule.value.span, wrong.hint, "note"))


def _note_subclasses(at: Resolution, entries: list[PlanEntry]) -> None:
    """Note subclasses that a class name leaves out, and that no later rule speaks of."""
    noted: set[str] = set()
    last = {e.tensor.index: max((a.clause.number for a in e.actions), default=-1) for e in entries}

    def is_left_out(module: int, number: int) -> bool:
        below = (t for i in at.network.reachable(module) for t in at.network.modules[i].parameters.values())
        return any(last.get(at.tied_to.get(t, t), -1) < number for t in below)

    for statement in at.statements:
        clause = statement.clause
        for node in walk(clause.targets) if clause.targets is not None else ():
            if not isinstance(node, ClassPattern) or node.subclasses or "*" in node.name or node.name in noted:
                continue
            noted.add(node.name)
            exact = set(at.matcher.of_class(ClassPattern(node.name, False, (), node.span)))
            wider = at.matcher.of_class(ClassPattern(node.name, True, (), node.span))
            derived = sum(is_left_out(module, clause.number) for module in wider if module not in exact)
            if exact and derived:
                are = "1 subclass of it is" if derived == 1 else f"{derived} subclasses of it are"
                what = f"`{node.name}` selects {len(exact)}; {are} not selected"
                where = at.rules.source(clause.rule.source)
                at.notes.append(
                    Diagnostic("subclass-left-out", what, where, node.span, f"`{node.name}+` would", "note")
                )


def refuse_uncovered(at: Resolution, entries: list[PlanEntry]) -> None:
    """Refuse parameters that no rule sets, or not the whole of."""
    for status, what in (("uncovered", "no rule reaches"), ("partial", "only parts are set of")):
        labels = [e.label for e in entries if e.status == status and e.tensor.kind != "buffer"]
        if labels:
            count = f"{len(labels)} parameter{'s' * (len(labels) > 1)}"
            message = f"{what} {count}: {listed(labels, 12)}"
            hint = "`keep` leaves a parameter as it is, and says so"
            at.problems.append(Diagnostic("uncovered-parameter", message, hint=hint))
