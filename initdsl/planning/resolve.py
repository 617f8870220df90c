"""Rules and a described network to a plan. Reads only: every check happens here, before anything changes.

The cascade runs backwards: a tensor's last whole-tensor rule is found first, and what stands before it has no say any
more, so that many rules over many tensors cost little more than the rules that win.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from initdsl.initializers import Initializer, Registry, default_registry
from initdsl.language.expressions.let import Lets, Variable
from initdsl.language.expressions.shapes import EvalError
from initdsl.language.rules.ruleset import RuleSet
from initdsl.language.syntax import nodes
from initdsl.language.syntax.nodes import Assign, Block, Call, Copy, Expect, Keep, Let, Tie, Use
from initdsl.language.syntax.walk import walk
from initdsl.network.description import Network, TensorInfo
from initdsl.network.selectors.matches import Frame, Match
from initdsl.text.diagnostic import Diagnostic, ResolveError, RuleError, in_order
from initdsl.text.frozen import FrozenDict
from initdsl.text.wording import did_you_mean, listed

from .actions import Action, Clause, Expression
from .assemble import assemble, refuse_uncovered
from .assign import Info, Values
from .context import Resolution, Statement
from .expectations import plan_expectations
from .plan import Plan
from .ties import plan_ties

__all__ = ["Resolver", "Selection", "raise_for", "resolve", "selections"]


# findings that are wrong whatever the network is
RULE_FINDINGS = frozenset([
    "unknown-initializer", "unknown-argument", "bad-argument", "plain-draw", "unexpected-draw", "division-by-zero",
    "overflow", "truncates-away", "unknown-variable", "bad-variable", "circular-let", "bad-regex", "bad-operator", "bad-load",
    "outside-root", "unreadable-file", "late-let", "bad-expression", "needs-generator",
])  # fmt: skip


def resolve(
    rules: RuleSet, network: Network, *, registry: Registry | None = None,
    variables: Mapping[str, Any] | None = None, strict: bool = False, seed: int | None = None,
) -> Plan:  # fmt: skip
    """The plan of `rules` on `network`.

    Raises RuleError (an argument or expression that can't be right) or ResolveError (it doesn't fit this network),
    with every finding of the file.
    """
    resolver = Resolver(rules, network, registry or default_registry(), variables or {})
    plan = resolver.plan(seed, strict)
    raise_for(resolver.problems)
    return plan


def raise_for(problems: Iterable[Diagnostic]) -> None:
    """Raise what a list of findings amounts to, if it isn't empty."""
    found = in_order(list(problems))
    if found:
        raise (RuleError if any(d.name in RULE_FINDINGS for d in found) else ResolveError)(found)


class Resolver(Resolution):
    """Walks the statements and runs the cascade."""

    def __init__(self, rules: RuleSet, network: Network, registry: Registry, variables: Mapping[str, Any]):
        super().__init__(rules, network, registry, variables)
        self.values = Values(self)
        self._selections: dict[int, Selection] = {}
        self.hits: dict[int, int] = {}  # by clause, the tensors it has a say in
        self.selected: dict[int, int] = {}  # by clause, the tensors it selects

    def plan(self, seed: int | None, strict: bool) -> Plan:
        self.seed = seed
        self.walk()
        ties = plan_ties(self)
        draft = assemble(self, self._cascade())
        if strict and not self.problems:
            refuse_uncovered(self, draft.entries)
        expected = plan_expectations(self, draft.entries)
        return Plan(
            rules=self.rules,
            network=self.network,
            entries=tuple(draft.entries),
            order=tuple(draft.order),
            resets=draft.resets,
            ties=tuple(ties),
            clauses=tuple(statement.clause for statement in self.statements),
            hits=tuple(self.hits.get(number, 0) for number in range(len(self.statements))),
            selected=tuple(self.selected.get(number, 0) for number in range(len(self.statements))),
            warnings=tuple(in_order(self.warnings)),
            notes=tuple(in_order(self.notes)),
            tied_to=FrozenDict(self.tied_to),
            expected=tuple(expected),
            seed=seed,
            variables=FrozenDict(self.variables),
            initializers=self._foreign_initializers(),
            files=tuple(self.files.paths),
        )

    def _foreign_initializers(self) -> FrozenDict[str, Initializer]:
        """The initializers that rules call and initdsl doesn't bring."""
        called = {node.function for rule in self.rules.walk() for node in walk(rule) if isinstance(node, Call)}
        own = {name: self.registry[name] for name in sorted(called) if name in self.registry}
        return FrozenDict({name: item for name, item in own.items() if not item.builtin})

    def walk(self) -> None:
        """Find every statement, with the names it sees and the block it stands in."""
        self._declared(self.rules.rules)
        self._walk(self.rules.rules, Lets(), None, frozenset())

    def _declared(self, rules: Iterable[nodes.Rule]) -> None:
        names = [rule.name for rule in RuleSet(rules=tuple(rules)).walk() if isinstance(rule, Let)]
        for name in self.variables:
            if name not in names:
                hint = did_you_mean(name, names) or (
                    f"there {'is' if len(set(names)) == 1 else 'are'} {listed(sorted(set(names)))}"
                    if names
                    else "no `let` is in these rules"
                )
                self.problems.append(Diagnostic("unknown-variable", f"no `let` declares `{name}`", hint=hint))
            elif (wrong := _unusable(self.variables[name])) is not None:
                self.problems.append(Diagnostic("bad-variable", f"the value of `{name}` must be {wrong}"))

    def _walk(self, rules: tuple[nodes.Rule, ...], lets: Lets, frame: Frame | None, fixed: frozenset[str]) -> Lets:
        for rule in rules:
            self.lets = lets
            match rule:
                case Let():
                    if rule.name in fixed:
                        continue  # the file that uses this one has said it already
                    if rule.name in self.variables:
                        value = self.variables[rule.name]
                        lets = lets.with_(
                            rule.name, Variable(None, rule.source, tuple(value) if isinstance(value, list) else value)
                        )
                    else:
                        lets = lets.with_(rule.name, Variable(rule.value, rule.source))
                        if any(n.kind == "name" and n.name == rule.name for n in walk(rule.value)):
                            self.report(
                                EvalError(f"`{rule.name}` is defined by itself", rule.name_span, name="circular-let"),
                                rule.source,
                            )
                case Use():
                    lets = self._walk(rule.rules or (), lets, frame, frozenset(lets))
                case Block():
                    self._block(rule, lets, frame)
                case Tie():
                    self.tie_rules.append((rule, lets, frame))
                    self._stands(rule, None, lets, frame)
                case Expect():
                    self.expect_rules.append((rule, lets, frame))
                case Copy():
                    for operand in rule.operands[1:]:
                        self._stands(rule, operand, lets, frame)
                case _:
                    self._stands(rule, rule.targets, lets, frame)
        return lets

    def _stands(self, rule: Any, targets: Any, lets: Lets, frame: Frame | None) -> None:
        self.statements.append(Statement(self.clause(rule, targets), lets, frame))

    def _block(self, rule: Block, lets: Lets, frame: Frame | None) -> None:
        found = self.select(rule.targets, rule.source, frame)
        if found is None:
            return
        modules = [m for m in found if m.tensor is None]
        if found and not modules:
            self.report(
                EvalError("a block needs modules, this selects parameters", rule.targets.span, name="needs-module"),
                rule.source,
            )
            return
        if modules:
            self._walk(rule.rules, lets, Frame(self.network, modules), frozenset())
            return
        for inner in RuleSet(rules=rule.rules).walk():  # nothing runs, but what can't be right on any network is said
            if isinstance(inner, Assign):
                self._static(Statement(replace(self.clause(inner, inner.targets), number=-1), lets, None))

    def selection(self, statement: Statement) -> Selection | None:
        clause = statement.clause
        rule = clause.rule
        self.lets = statement.lets
        assert clause.targets is not None
        found = self.select(clause.targets, rule.source, statement.frame)
        if found is None:
            return None
        known = self._selections.get(id(found)) if statement.frame is None else None
        if (
            known is not None
            and known.assigns == isinstance(rule, Assign)
            and known.matches is found
            and not _loads(rule)
        ):
            return known
        selection = Selection(found, isinstance(rule, Assign))
        if isinstance(rule, Assign) and not _loads(rule):
            tensors = [m for m in found if m.tensor is not None]
            if found and not tensors:
                self._needs_parameter(rule, found)
                return None
        else:
            tensors = list(self.expanded(found))
        canonical, infos = self.tied_to, self.network.tensors
        for match in tensors:
            index = match.tensor
            assert index is not None
            index = canonical.get(index, index)
            there = selection.by_tensor.get(index)
            if there is None:
                selection.by_tensor[index] = [match]
                tensor = infos[index]
                selection.kinds.setdefault(
                    (tensor.shape, tensor.dtype, tensor.kind, tensor.problem, tensor.device == "meta"), (index, match)
                )
            else:
                there.append(match)
            if match.index is not None or match.view is not None or match.bindings:
                selection.plain = False
        if statement.frame is None:
            self._selections[id(found)] = selection
        return selection

    def _needs_parameter(self, rule: Assign, found: list[Match]) -> None:
        module = self.network.modules[found[0].module]
        text = self.rules.text(rule.source, rule.targets.span)
        inner = f"{text}.*" if module.parameters else f"{text}.**"
        if not isinstance(rule.targets, nodes.Path):
            inner = f"{module.label}.*" if module.parameters else f"{module.label}.**"
        where = self.rules.source(rule.source)
        self.problems.append(
            Diagnostic(
                "needs-parameter", f"`{module.label}` is a module, and `{rule.operator}` needs parameters", where,
                rule.targets.span, f"did you mean `{inner}`?",
            )
        )  # fmt: skip

    def _cascade(self) -> dict[int, tuple[Action | None, list[Action]]]:
        """For every tensor its base and its edits; walks the clauses backwards."""
        remaining = {t.index for t in self.network.tensors if self.tied_to.get(t.index, t.index) == t.index}
        bases: dict[int, Action] = {}
        edits: dict[int, list[Action]] = {}
        for statement in reversed(self.statements):
            clause = statement.clause
            if isinstance(clause.rule, Tie):
                continue
            selection = self.selection(statement)
            if selection is None:
                self._static(statement)
                continue
            self.selected[clause.number] = len(selection.by_tensor)
            try:
                info = self.values.info(statement)
            except EvalError as error:
                self.report(error, clause.rule.source)
                continue
            if not self._checked(statement, info, selection):
                continue
            alive = selection.alive(remaining)
            self.hits[clause.number] = len(alive)
            acts = not alive or info is None or info.call is None or info.call.function != "load"
            for index in alive:
                try:
                    actions = self.values.actions(statement, info, index, selection.by_tensor[index])
                except EvalError as error:
                    self.report(error, clause.rule.source)
                    break
                acts = acts or bool(actions)
                for action in reversed(actions):
                    if index in remaining and self._is_base(info, action):
                        bases[index] = action
                        remaining.discard(index)
                        break
                    edits.setdefault(index, []).append(action)
            else:
                if not acts:
                    assert isinstance(clause.rule, Assign)
                    what = "the file has nothing of what this selects"
                    self.report(EvalError(what, clause.rule.value.span, name="bad-load"), clause.rule.source)
        return {
            index: (bases.get(index), edits.get(index, [])[::-1]) for index in {**bases, **edits}
        }  # fmt: skip

    def _is_base(self, info: Info | None, action: Action) -> bool:
        if action.index is not None or action.view is not None:
            return False
        rule = action.clause.rule
        if not isinstance(rule, Assign):
            return True
        if rule.operator not in ("=", "~") or info is None:
            return False
        return not (isinstance(action.payload, Expression) and action.payload.reads_itself)

    def _static(self, statement: Statement) -> None:
        """What is wrong with a clause that selects nothing."""
        try:
            self.values.info(statement)
        except EvalError as error:
            self.report(error, statement.clause.rule.source)

    def _checked(self, statement: Statement, info: Info | None, selection: Selection) -> bool:
        """Check one clause on every distinct kind of tensor it selects, whether it wins or not."""
        try:
            for index, match in selection.kinds.values():
                self._writable(statement.clause, self.network.tensors[index])
                if info is not None and info.constant and selection.plain:
                    self.values.actions(statement, info, index, [match])
            if not selection.plain or (info is not None and not info.constant and len(selection.by_tensor) <= 4096):
                for index, matches in selection.by_tensor.items():
                    self.values.actions(statement, info, index, matches)
        except EvalError as error:
            self.report(error, statement.clause.rule.source)
            return False
        return True

    def _writable(self, clause: Clause, tensor: TensorInfo) -> None:
        rule = clause.rule
        assert clause.targets is not None
        span = clause.targets.span
        if isinstance(rule, Keep):
            return
        if tensor.problem == "lazy":
            raise EvalError(
                f"`{tensor.name}` has no shape yet: its module is lazy",
                span,
                "run a forward pass first",
                "lazy-parameter",
            )
        if tensor.problem == "quantized":
            raise EvalError(
                f"`{tensor.name}` is quantized ({tensor.dtype}) and can't be filled", span, name="bad-dtype"
            )
        if tensor.problem == "sparse":
            raise EvalError(f"`{tensor.name}` is sparse and can't be filled", span, name="bad-dtype")
        if tensor.problem == "complex":
            raise EvalError(f"`{tensor.name}` is {tensor.dtype}: rules fill real tensors only", span, name="bad-dtype")
        if tensor.problem == "computed-from-shards":
            raise EvalError(
                f"`{tensor.name}` is computed from parameters that are sharded", span,
                "write to those, or apply these rules before sharding", "needs-shards",
            )  # fmt: skip
        if tensor.problem is not None and tensor.problem.startswith("no-right-inverse:"):
            kind = tensor.problem.partition(":")[2]
            raise EvalError(
                f"`{tensor.name}` is computed by the parametrization `{kind}`, which has no `right_inverse`", span,
                f"write to what it is computed from: `{self._original(tensor)}`", "no-right-inverse",
            )  # fmt: skip
        if not tensor.floating and isinstance(rule, Assign) and rule.operator == "~":
            raise EvalError(
                f"`{tensor.name}` is {tensor.dtype} and can't be drawn", span, "set it with `=`", "bad-dtype"
            )

    def _original(self, tensor: TensorInfo) -> str:
        owner, local = tensor.owners[0]
        return f"{self.network.modules[owner].label}.parametrizations.{local}.original"


@dataclass
class Selection:
    """What a clause selects, by canonical tensor; `kinds` has one of every distinct shape and dtype."""

    matches: list[Match]
    assigns: bool
    by_tensor: dict[int, list[Match]] = field(default_factory=dict)
    kinds: dict[Any, tuple[int, Match]] = field(default_factory=dict)
    plain: bool = True
    _alive: list[int] | None = None

    def alive(self, remaining: set[int]) -> list[int]:
        """The tensors that no later rule sets as a whole; asked again, only of those that were left the last time."""
        self._alive = [t for t in (self.by_tensor if self._alive is None else self._alive) if t in remaining]
        return self._alive


def _unusable(value: Any) -> str | None:
    """What a variable must be, where this is not it."""
    if isinstance(value, tuple | list):
        return next((wrong for item in value if (wrong := _unusable(item)) is not None), None)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "an integer of at most 64 bits, or a float"
    if isinstance(value, bool | int | float | str | type(None)):
        return None
    return f"a number, a string or a tuple of those, not {type(value).__name__}"


def _loads(rule: Any) -> bool:
    return isinstance(rule, Assign) and isinstance(rule.value, Call) and rule.value.function == "load"


def selections(plan: Plan) -> Iterator[tuple[Clause, Selection]]:
    """What each clause of a plan selects, looked up anew."""
    resolver = Resolver(
        plan.rules, plan.network, default_registry().with_initializers(plan.initializers.values()), plan.variables
    )
    resolver.walk()
    resolver.tied_to = dict(plan.tied_to)
    for statement in resolver.statements:
        if statement.clause.targets is None:
            continue
        selection = resolver.selection(statement)
        if selection is not None:
            yield statement.clause, selection
