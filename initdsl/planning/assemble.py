"""A plan put together from what the cascade found: coverage, module defaults, the order of the writes, notes."""

from __future__ import annotations

from initdsl.language.syntax import nodes
from initdsl.language.syntax.nodes import Assign
from initdsl.language.syntax.walk import walk
from initdsl.network.description import ClassInfo
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.wording import listed

from .actions import Action, CopyFrom, Draw, Expression, Reset
from .assign import Info
from .context import Resolution
from .notes import fans_read, wrong_fan
from .plan import Plan, PlanEntry, adjusts

__all__ = ["Assembly"]


Found = dict[int, tuple[Action | None, list[Action]]]


class Assembly:
    """Completes a plan. `infos` are what is known of right-hand sides, by the statement's identity."""

    def __init__(self, resolution: Resolution, infos: dict[int, Info]):
        self.at = resolution
        self.infos = infos

    def assemble(self, plan: Plan, found: Found) -> None:
        network = self.at.network
        seen = set()
        for place in range(len(network.tensors)):
            tensor = network.tensors[self.at.canonical.get(place, place)]
            if tensor.index in seen:
                continue
            seen.add(tensor.index)
            base, edits = found.get(tensor.index, (None, []))
            if tensor.kind == "buffer" and base is None and not edits:
                continue
            plan.entries.append(PlanEntry(plan, tensor, base, edits))
        covered = {e.tensor.index for e in plan.entries if e.tensor.kind == "parametrized" and (e.base or e.edits)}
        if any(t.kind == "parametrized" for t in network.tensors):
            self._parametrized(plan, covered)
        self._resets(plan)
        self._order(plan)
        self._adjusted(plan)
        self._fan_notes(plan)
        self._subclass_notes(plan)

    def _adjusted(self, plan: Plan) -> None:
        """What is adjusted to a sample comes last: nothing stands on it, and nothing reads it."""
        last = {e.tensor.index: e for e in plan.order if adjusts(e)}
        for entry in plan.order if last else ():
            stacked = [(a, entry) for a in entry.edits] if entry.tensor.index in last else []
            readers = [(a, last[t]) for a in entry.actions for t in sorted(_read_by(a) & last.keys())]
            for action, data in [*stacked, *readers]:
                assert data.base is not None
                assert isinstance(data.base.payload, Draw)
                name = data.base.payload.initializer.name
                what = "builds on it" if data is entry else f"of `{entry.label}` reads it"
                rule = action.clause.rule
                self.at.problems.append(
                    Diagnostic(
                        "after-sample", f"`{name}` adjusts `{data.label}` when all else is filled, and this rule {what}",
                        self.at.rules.source(rule.source), rule.span, "apply it afterwards, from a file of its own",
                    )
                )  # fmt: skip

    def _parametrized(self, plan: Plan, covered: set[int]) -> None:
        """Of a computed tensor and those it is computed from, only what rules name is listed."""
        network = self.at.network
        behind: dict[int, int] = {}  # original -> computed
        for tensor in network.tensors:
            if tensor.kind != "parametrized":
                continue
            for original in network.originals(tensor):
                behind[original] = tensor.index
        written = {e.tensor.index for e in plan.entries if e.base is not None or e.edits}
        plan.entries = [
            e for e in plan.entries
            if not (e.tensor.index in behind and e.tensor.index not in written and behind[e.tensor.index] in covered)
            and not (e.tensor.kind == "parametrized" and e.tensor.index not in written)
        ]  # fmt: skip

    def _resets(self, plan: Plan) -> None:
        """Which modules' own `reset_parameters` bring the defaults back, and which tensors they may set."""
        network = self.at.network
        wanted: dict[int, set[int]] = {}
        of_clause: dict[int, set[int]] = {}
        without: dict[tuple[int, ClassInfo], list[str]] = {}
        for entry in plan.entries:
            if entry.base is not None and isinstance(entry.base.payload, Reset):
                module = entry.base.payload.module
                wanted.setdefault(module, set()).add(entry.tensor.index)
                of_clause.setdefault(entry.base.clause.number, set()).add(entry.tensor.index)
                if network.modules[module].reset is None:
                    key = entry.base.clause.number, network.modules[module].cls
                    without.setdefault(key, []).append(entry.label)
        for (number, cls), labels in without.items():
            rule = self.at.clauses[number].rule
            have = "has" if len(labels) == 1 else "have"
            self.at.problems.append(
                Diagnostic(
                    "no-default", f"`{cls.name}` has parameters and no `reset_parameters`, so {listed(labels)} {have} no default",
                    self.at.rules.source(rule.source), self.at.clauses[number].targets.span,
                    f"give {'it a rule of its' if len(labels) == 1 else 'them rules of their'} own, after this one",
                )
            )  # fmt: skip
        if not wanted:
            return
        # a module's own reset may set parameters of the modules below it (nn.MultiheadAttention: out_proj.bias)
        default = {t for tensors in of_clause.values() for t in tensors}
        for index, tensors in wanted.items():
            tensors |= default & {
                self.at.canonical.get(t, t) for i in network.reachable(index) for t in network.modules[i].parameters.values()
            }  # fmt: skip
        # a module that only arranges others (nn.Transformer) resets too, what of it is to be default
        for number, tensors in of_clause.items():
            clause = self.at.clauses[number]
            self.at.lets = clause.lets
            for match in self.at.matcher.select(clause.targets, clause.frame):
                if match.tensor is not None:
                    continue
                for index in network.reachable(match.module):
                    arranging = network.modules[index]
                    if arranging.reset is None or arranging.parameters:
                        continue
                    below = {
                        self.at.canonical.get(t, t) for i in network.reachable(index) for t in network.modules[i].parameters.values()
                    }  # fmt: skip
                    if below & tensors:
                        wanted[index] = below & tensors
        plan.resets = [(index, tuple(sorted(wanted[index]))) for index in network.apply_order if index in wanted]

    def _order(self, plan: Plan) -> None:
        """The order of the writes: that of `net.apply`, readers after what they read."""
        entries = {e.tensor.index: e for e in plan.entries if e.base is not None or e.edits}
        order: list[PlanEntry] = []
        placed: set[int] = set()
        for index in self.at.network.apply_order:
            module = self.at.network.modules[index]
            for tensor in (*module.parameters.values(), *module.buffers.values()):
                canonical = self.at.canonical.get(tensor, tensor)
                if canonical in entries and canonical not in placed:
                    placed.add(canonical)
                    order.append(entries[canonical])
        waits = {e.tensor.index: self._waits(e) & entries.keys() for e in order}
        if not any(waits.values()):
            plan.order = order
            return
        done: set[int] = set()
        pending = order
        while pending:
            later = []
            for entry in pending:
                if waits[entry.tensor.index] <= done:
                    plan.order.append(entry)
                    done.add(entry.tensor.index)
                else:
                    later.append(entry)
            if len(later) == len(pending):
                first = later[0]
                names = listed([e.label for e in later])
                action = next(a for a in first.actions if isinstance(a.payload, Expression | CopyFrom))
                where = self.at.rules.source(action.clause.rule.source)
                self.at.problems.append(
                    Diagnostic(
                        "circular-read",
                        f"these read each other's final values: {names}",
                        where,
                        action.clause.rule.span,
                    )
                )
                return
            pending = later

    def _waits(self, entry: PlanEntry) -> set[int]:
        waits: set[int] = set()
        for action in entry.actions:
            if isinstance(action.payload, Expression):
                waits.update(action.payload.reads)
            elif isinstance(action.payload, CopyFrom):
                waits.add(action.payload.tensor)
        waits.discard(entry.tensor.index)
        return waits

    def _fan_notes(self, plan: Plan) -> None:
        """Where torch's fans are known not to be those the layer computes with."""
        noted: set[tuple[int, str]] = set()
        uses: dict[int, frozenset[str]] = {}
        for entry in plan.entries:
            for action in entry.actions:
                rule = action.clause.rule
                if id(rule) not in uses:
                    call = getattr(self.infos.get(id(rule)), "call", None)
                    uses[id(rule)] = (
                        fans_read(self.at.registry.get(call.function), call) if call is not None else frozenset()
                    )
                if not uses[id(rule)] or not isinstance(rule, Assign):
                    continue
                module = self.at.network.modules[action.match.module]
                wrong = wrong_fan(module.cls, module, action, uses[id(rule)])
                if wrong is None or (action.clause.number, wrong.reason) in noted:
                    continue
                noted.add((action.clause.number, wrong.reason))
                where = self.at.rules.source(rule.source)
                self.at.notes.append(
                    Diagnostic(
                        wrong.name,
                        f"`{entry.label}` {list(entry.shape)}: {wrong.reason}",
                        where,
                        rule.value.span,
                        wrong.hint,
                        "note",
                    )
                )

    def _subclass_notes(self, plan: Plan) -> None:
        """Subclasses that a class name leaves out, and that no later rule speaks of."""
        noted: set[str] = set()
        last = {e.tensor.index: max((a.clause.number for a in e.actions), default=-1) for e in plan.entries}
        for clause in self.at.clauses:
            selector = clause.targets
            if selector is None:
                continue
            for node in walk(selector):
                if (
                    not isinstance(node, nodes.ClassPattern)
                    or node.subclasses
                    or "*" in node.name
                    or node.name in noted
                ):
                    continue
                noted.add(node.name)
                plain = nodes.ClassPattern(node.name, False, (), node.span)
                exact = len(self.at.matcher.of_class(plain))
                taken = set(self.at.matcher.of_class(plain))
                wider = self.at.matcher.of_class(nodes.ClassPattern(node.name, True, (), node.span))
                derived = sum(self._left_out(i, last, clause.number) for i in wider if i not in taken)
                if exact and derived:
                    are = "1 subclass of it is" if derived == 1 else f"{derived} subclasses of it are"
                    self.at.notes.append(
                        Diagnostic(
                            "subclass-left-out", f"`{node.name}` selects {exact}; {are} not selected",
                            self.at.rules.source(clause.rule.source), node.span, f"`{node.name}+` would", "note",
                        )
                    )  # fmt: skip

    def _left_out(self, module: int, last: dict[int, int], number: int) -> bool:
        """Whether a module has parameters that no rule after `number` speaks of; `last` are those that do, by tensor."""
        below = (t for i in self.at.network.reachable(module) for t in self.at.network.modules[i].parameters.values())
        return any(last.get(self.at.canonical.get(t, t), -1) < number for t in below)

    def strict(self, plan: Plan) -> None:
        for entries, what in ((plan.uncovered, "no rule reaches"), (plan.partial, "only parts are set of")):
            if entries:
                names = listed([e.label for e in entries], 12)
                count = f"{len(entries)} parameter{'s' * (len(entries) > 1)}"
                self.at.problems.append(
                    Diagnostic(
                        "uncovered-parameter",
                        f"{what} {count}: {names}",
                        hint="`keep` leaves a parameter as it is, and says so",
                    )
                )


def _read_by(action: Action) -> set[int]:
    if isinstance(action.payload, Expression):
        return set(action.payload.reads)
    return {action.payload.tensor} if isinstance(action.payload, CopyFrom) else set()
