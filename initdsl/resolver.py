"""Rules and a described network to a plan. Reads only: every check happens here, before anything changes.

The cascade runs backwards: a tensor's last whole-tensor rule is found first, and what stands before it has no say any
more, so that many rules over many tensors cost little more than the rules that win.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import nodes
from .diagnostic import Diagnostic, ResolveError, RuleError, in_order
from .expressions import FANS, FUNCTIONS, EvalError, Shape, broadcast, evaluate, index_item, index_shape, nested_shape
from .initializers import ArgumentError, Initializer, Registry, default_registry
from .names import Lets, Names, Variable, bind_call, check_shape, unknown_call
from .network import Live, Network, TensorInfo, child_label
from .nodes import Assign, Block, Call, Copy, Default, Every, Keep, Let, Name, Selector, Tie, Use, Word
from .plans import (
    Action,
    Clause,
    CopyFrom,
    Draw,
    Expression,
    Kept,
    Load,
    Payload,
    Plan,
    PlanEntry,
    PlannedTie,
    Reset,
    Value,
)  # fmt: skip
from .rules import RuleSet, inside_root
from .selectors import Frame, Match, Matcher, describe_tensor, listed, near
from .source import Span

__all__ = ["Resolver", "raise_for", "resolve", "wrong_fan"]

# findings that are wrong whatever the network is
RULE_FINDINGS = frozenset([
    "unknown-initializer", "unknown-argument", "bad-argument", "plain-draw", "unexpected-draw", "division-by-zero",
    "overflow", "truncates-away", "unknown-variable", "circular-let", "bad-regex", "bad-operator", "bad-load",
    "outside-root", "unreadable-file", "late-let",
])  # fmt: skip

LARGEST = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38, "float32": 3.4028234663852886e38}


@dataclass
class Info:
    """What a clause's right-hand side says before any match is looked at."""

    expr: nodes.Expr  # the value, `let`s at the top looked through
    names: frozenset[str]
    draws: bool
    reads_it: bool
    finite: bool
    constant: bool
    call: Call | None = None  # where the value is one initializer
    cache: dict[Any, Payload] = field(default_factory=dict)


def resolve(
    rules: RuleSet, network: Network, *, live: Live | None = None, registry: Registry | None = None,
    variables: Mapping[str, Any] | None = None, strict: bool = False, seed: int | None = None,
) -> Plan:  # fmt: skip
    """The plan of `rules` on `network`.

    Raises RuleError (an argument or expression that can't be right) or ResolveError (it doesn't fit this network),
    with every finding of the file.
    """
    resolver = Resolver(rules, network, registry or default_registry(), variables or {})
    plan = resolver.plan(live, seed, strict)
    raise_for(resolver.problems)
    return plan


def raise_for(problems: Iterable[Diagnostic]) -> None:
    """Raise what a list of findings amounts to, if it isn't empty."""
    found = in_order(list(problems))
    if found:
        raise (RuleError if any(d.name in RULE_FINDINGS for d in found) else ResolveError)(found)


class Resolver:
    """One resolution: the statements walked in order, findings collected."""

    def __init__(self, rules: RuleSet, network: Network, registry: Registry, variables: Mapping[str, Any]):
        self.rules = rules
        self.network = network
        self.registry = registry
        self.variables = dict(variables)
        self.problems: list[Diagnostic] = []
        self.warnings: list[Diagnostic] = []
        self.notes: list[Diagnostic] = []
        self.clauses: list[Clause] = []
        self.tie_rules: list[tuple[Tie, Lets, Frame | None]] = []
        self.infos: dict[int, Info] = {}
        self.canonical: dict[int, int] = {}
        self.lets = Lets()
        self.matcher = Matcher(network, self._environment, lambda name: name in self.lets)
        self._selections: dict[int, Selection] = {}
        self._seen_lets: dict[str, list[Let]] = {}
        self._headers: dict[str, Any] = {}

    # ---- the walk

    def plan(self, live: Live | None, seed: int | None, strict: bool) -> Plan:
        self._declared(self.rules.rules)
        self._walk(self.rules.rules, self._outer(), None, frozenset())
        ties = self._ties()
        entries = self._cascade()
        plan = Plan(
            self.rules, self.network, [], [], [], ties, self.clauses, self.warnings, self.notes, self.canonical,
            self, live, None, seed,
        )  # fmt: skip
        self._assemble(plan, entries)
        if strict and not self.problems:
            self._strict(plan)
        return plan

    def _declared(self, rules: Iterable[nodes.Rule]) -> None:
        names = [rule.name for rule in RuleSet(rules=tuple(rules)).walk() if isinstance(rule, Let)]
        for name in self.variables:
            if name not in names:
                hint = near(name, names) or (
                    f"there {'is' if len(set(names)) == 1 else 'are'} {listed(sorted(set(names)))}"
                    if names
                    else "no `let` is in these rules"
                )
                self.problems.append(Diagnostic("unknown-variable", f"no `let` declares `{name}`", hint=hint))
            elif not isinstance(self.variables[name], bool | int | float | str | type(None) | tuple | list):
                kind = type(self.variables[name]).__name__
                self.problems.append(
                    Diagnostic(
                        "unknown-variable", f"the value of `{name}` must be a number, a string or a tuple, not {kind}"
                    )
                )

    def _outer(self) -> Lets:
        return Lets()

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
                        if any(n.kind == "name" and n.name == rule.name for n in nodes.walk(rule.value)):
                            self._report(
                                EvalError(f"`{rule.name}` is defined by itself", rule.name_span, name="circular-let"),
                                rule.source,
                            )
                case Use():
                    lets = self._walk(rule.rules or (), lets, frame, frozenset(lets))
                case Block():
                    self._block(rule, lets, frame)
                case Tie():
                    self.tie_rules.append((rule, lets, frame))
                    self.clauses.append(Clause(len(self.clauses), rule, lets, frame, None))  # type: ignore[arg-type]
                case Copy():
                    for operand in rule.operands[1:]:
                        self.clauses.append(Clause(len(self.clauses), rule, lets, frame, operand))
                case _:
                    self.clauses.append(Clause(len(self.clauses), rule, lets, frame, rule.targets))
        self.lets = lets
        return lets

    def _block(self, rule: Block, lets: Lets, frame: Frame | None) -> None:
        found = self._select(rule.targets, rule.source, frame)
        if found is None:
            return
        modules = [m for m in found if m.tensor is None]
        if found and not modules:
            self._report(
                EvalError("a block needs modules, this selects parameters", rule.targets.span, name="needs-module"),
                rule.source,
            )
            return
        if modules:
            self._walk(rule.rules, lets, Frame(self.network, modules), frozenset())

    # ---- selecting

    def _environment(self, module: int, bindings: tuple[tuple[str, int], ...], scope: tuple[int, ...]) -> Names:
        match = Match(module, None, bindings, scope)
        return Names(self.network, self.matcher, self.registry, self.lets, match, None, None, self.canonical)

    def _report(self, error: EvalError, source: str) -> None:
        where = self.rules.source(source)
        self.problems.append(Diagnostic(error.name, error.message, where, error.span, error.hint))

    def _select(self, selector: Selector, source: str, frame: Frame | None) -> list[Match] | None:
        """The matches; empty with a finding where the language wants one; `None` after an error."""
        try:
            found = self.matcher.select(selector, frame)
            for reason in self._unmatched(selector, found, frame):
                where = self.rules.source(source)
                severity: Any = "warning" if reason.warning else "error"
                finding = Diagnostic(reason.name, reason.message, where, reason.span, reason.hint, severity)
                (self.warnings if reason.warning else self.problems).append(finding)
            return found
        except EvalError as error:
            self._report(error, source)
            return None

    def _unmatched(self, selector: Selector, found: list[Match], frame: Frame | None) -> Iterator[Any]:
        if isinstance(selector, nodes.Union_):
            for member in selector.members:
                yield from self._unmatched(member, self.matcher.select(member, frame), frame)
        elif not found:
            yield from self.matcher.explain(selector, frame)

    def _selection(self, clause: Clause) -> Selection | None:
        rule = clause.rule
        self.lets = clause.lets
        found = self._select(clause.targets, rule.source, clause.frame)
        if found is None:
            return None
        known = self._selections.get(id(found)) if clause.frame is None else None
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
            tensors = list(self._expanded(found))
        canonical, infos = self.canonical, self.network.tensors
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
        if clause.frame is None:
            self._selections[id(found)] = selection
        return selection

    def _expanded(self, matches: list[Match]) -> Iterator[Match]:
        """Modules as the parameters at any depth below them."""
        for match in matches:
            if match.tensor is not None:
                yield match
                continue
            for index in self.network.reachable(match.module):
                for tensor in self.network.modules[index].parameters.values():
                    yield Match(index, tensor, match.bindings, (match.module, *match.scope), match.frame)

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

    # ---- ties

    def _ties(self) -> list[PlannedTie]:
        made: list[PlannedTie] = []
        for rule, lets, frame in self.tie_rules:
            self.lets = lets
            operands = [self._select(operand, rule.source, frame) for operand in rule.operands]
            if any(found is None for found in operands):
                continue
            for group in _groups([found or [] for found in operands]):
                made += self._tie(rule, group)
            if all(operands) and sum(len(o or ()) for o in operands) < 2:
                self._report(
                    EvalError("there is nothing to tie this to", rule.span, "name another operand", "tie-alone"),
                    rule.source,
                )
        return made

    def _tie(self, rule: Tie, group: list[Match]) -> list[PlannedTie]:
        made: list[PlannedTie] = []
        if len(group) < 2:
            return made
        first = self._named(group[0])
        for other in group[1:]:
            names = self._named(other)
            if (group[0].tensor is None) != (other.tensor is None):
                self._report(
                    EvalError("a module can't be tied to a parameter", rule.span, name="tie-mismatch"), rule.source
                )
                return made
            if set(first) != set(names):
                missing, extra = sorted(set(first) - set(names)), sorted(set(names) - set(first))
                parts = [
                    f"the first has {listed(missing)}" if missing else "",
                    f"the other has {listed(extra)}" if extra else "",
                ]
                self._report(
                    EvalError(
                        f"`{self._shown(group[0])}` and `{self._shown(other)}` don't have the same parameters: {', '.join(p for p in parts if p)}",
                        rule.span, "tie one parameter: `tie A.weight B.weight`", "tie-mismatch",
                    ),
                    rule.source,
                )  # fmt: skip
                return made
            for name in first:
                planned = self._join(rule, first[name], names[name])
                if planned is not None:
                    made.append(planned)
        return made

    def _shown(self, match: Match) -> str:
        module = self.network.modules[match.module]
        if match.tensor is None:
            return module.label
        local = next(local for owner, local in self.network.tensors[match.tensor].owners if owner == match.module)
        return child_label(module, local)

    def _named(self, match: Match) -> dict[str, int]:
        """The parameters of a match by the name relative to it."""
        if match.index is not None or match.view is not None:
            raise EvalError(
                "a slice can't be tied, only whole parameters", match.index.span if match.index else Span(0, 0)
            )
        if match.tensor is not None:
            return {"": match.tensor}
        base = self.network.modules[match.module]
        found: dict[str, int] = {}
        prefix = {base.index: ""}
        for index in self.network.reachable(base.index):
            module = self.network.modules[index]
            for name, child in module.children.items():
                prefix.setdefault(child, f"{prefix[index]}{name}.")
            for name, tensor in module.parameters.items():
                found[f"{prefix[index]}{name}"] = tensor
        return found

    def _join(self, rule: Tie, first: int, other: int) -> PlannedTie | None:
        a, b = self.canonical.get(first, first), self.canonical.get(other, other)
        infos = self.network.tensors
        names = (*self.network.names(infos[a]), *self.network.names(infos[b]))
        if a == b:
            return PlannedTie(rule, a, (), tuple(dict.fromkeys(names)))
        x, y = infos[a], infos[b]
        where = rule.source
        if problem := self._untieable(x) or self._untieable(y):
            self._report(EvalError(problem, rule.span, name="tie-mismatch"), where)
            return None
        if x.shape != y.shape:
            self._report(
                EvalError(
                    f"{describe_tensor(x)} and {describe_tensor(y)} differ in shape", rule.span, name="tie-mismatch"
                ),
                where,
            )
            return None
        if x.dtype != y.dtype:
            self._report(
                EvalError(f"`{x.name}` is {x.dtype} and `{y.name}` is {y.dtype}", rule.span, name="tie-mismatch"), where
            )
            return None
        if x.kind != y.kind:
            self._report(
                EvalError(f"`{x.name}` is a {x.kind} and `{y.name}` a {y.kind}", rule.span, name="tie-mismatch"), where
            )
            return None
        for index, canonical in list(self.canonical.items()):
            if canonical == b:
                self.canonical[index] = a
        self.canonical[b] = a
        return PlannedTie(rule, a, (b,), tuple(dict.fromkeys(names)))

    def _untieable(self, tensor: TensorInfo) -> str | None:
        if tensor.kind == "parametrized":
            return f"`{tensor.name}` is computed by a parametrization and can't be tied"
        if tensor.kind == "buffer":
            return f"`{tensor.name}` is a buffer and can't be tied"
        if tensor.sharded:
            return f"`{tensor.name}` is sharded already: tie before sharding"
        if tensor.problem == "lazy":
            return f"`{tensor.name}` has no shape yet: run a forward pass first"
        return None

    # ---- the cascade

    def _cascade(self) -> dict[int, tuple[Action | None, list[Action]]]:
        """For every tensor its base and its edits; walks the clauses backwards."""
        remaining = {t.index for t in self.network.tensors if self.canonical.get(t.index, t.index) == t.index}
        bases: dict[int, Action] = {}
        edits: dict[int, list[Action]] = {}
        for clause in reversed(self.clauses):
            if isinstance(clause.rule, Tie):
                continue
            selection = self._selection(clause)
            if selection is None:
                self._static(clause)
                continue
            clause.selected = len(selection.by_tensor)
            try:
                info = self._info(clause)
            except EvalError as error:
                self._report(error, clause.rule.source)
                continue
            if not self._checked(clause, info, selection):
                continue
            alive = selection.by_tensor.keys() & remaining
            if len(alive) > 1:
                alive = [t for t in selection.by_tensor if t in remaining]  # type: ignore[assignment]
            clause.hits = len(alive)
            for index in alive:
                try:
                    actions = self._actions(clause, info, index, selection.by_tensor[index])
                except EvalError as error:
                    self._report(error, clause.rule.source)
                    break
                for action in reversed(actions):
                    if index in remaining and self._is_base(info, action):
                        bases[index] = action
                        remaining.discard(index)
                        break
                    edits.setdefault(index, []).append(action)
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
        return not (info.reads_it or self._reads_itself(info, action))

    def _reads_itself(self, info: Info, action: Action) -> bool:
        if not isinstance(action.payload, Expression):
            return False
        module = self.network.modules[action.match.module]
        target = action.match.tensor
        bound = dict(action.match.bindings)
        for name in info.names:
            if name not in bound and name not in action.clause.lets:
                found = module.parameters.get(name)
                if found is not None and self.canonical.get(found, found) == self.canonical.get(target or 0, target):
                    return True
        return False

    def _static(self, clause: Clause) -> None:
        """What is wrong with a clause that selects nothing."""
        try:
            self._info(clause)
        except EvalError as error:
            self._report(error, clause.rule.source)

    def _info(self, clause: Clause) -> Info | None:
        """What the right-hand side says by itself; raises EvalError for what can't be right on any network."""
        rule = clause.rule
        if not isinstance(rule, Assign):
            return None
        if id(rule) in self.infos and clause.frame is None:
            return self.infos[id(rule)]
        lets = clause.lets
        expr = rule.value
        seen: set[str] = set()
        while (
            isinstance(expr, Name) and expr.name in lets and lets[expr.name].expr is not None and expr.name not in seen
        ):
            seen.add(expr.name)
            expr = lets[expr.name].expr
        names: set[str] = set()
        calls: list[Call] = []
        words: set[str] = set()
        lengths = False
        stack: list[nodes.Expr] = [expr]
        opened: set[str] = set()
        while stack:
            for node in nodes.walk(stack.pop()):
                if isinstance(node, Name):
                    names.add(node.name)
                    if node.name in lets and node.name not in opened and lets[node.name].expr is not None:
                        opened.add(node.name)
                        stack.append(lets[node.name].expr)
                elif isinstance(node, Call) and node.function not in FUNCTIONS and node.function not in FANS:
                    calls.append(node)
                elif isinstance(node, Word):
                    words.add(node.word)
                elif node.kind in ("length", "member", "path"):
                    lengths = True
        draws = False
        for call in calls:
            if call.function == "load":
                if call is not expr:
                    raise EvalError("`load` stands alone on the right of `=`", call.span, name="bad-load")
                if rule.operator != "=":
                    raise EvalError(
                        f"a file's values are set with `=`, not `{rule.operator}`", rule.operator_span, name="bad-load"
                    )
                continue
            initializer = self.registry.get(call.function)
            if initializer is None:
                raise self._foreign(unknown_call(call, self.registry), rule, call)
            draws = draws or initializer.draws
        single = expr if isinstance(expr, Call) and expr in calls else None
        if rule.operator == "~" and not draws and single is None:
            raise EvalError(
                "`~` draws at random, and this does not draw",
                rule.operator_span,
                "a value is set with `=`",
                "plain-draw",
            )
        if rule.operator == "=" and draws:
            raise EvalError(
                "`=` sets a value, and this draws at random",
                rule.operator_span,
                "a draw is written `~`",
                "unexpected-draw",
            )
        info = Info(
            expr, frozenset(names), draws, "it" in names, not ({"inf", "nan"} & words),
            not names and not lengths, single,
        )  # fmt: skip
        info.constant = not lengths and all(
            (n in lets and lets[n].expr is None) or n in opened or self._is_choice(n, calls) for n in names
        )
        if info.constant and single is not None and single.function != "load":
            env = Names(self.network, self.matcher, self.registry, lets, Match(0), None, None, self.canonical)
            try:
                bind_call(single, self.registry, env)
            except EvalError as error:
                raise self._foreign(error, rule, single) from None
        self.infos[id(rule)] = info
        return info

    def _is_choice(self, name: str, calls: list[Call]) -> bool:
        for call in calls:
            initializer = self.registry.get(call.function)
            if initializer is not None and any(name in p.choices for p in initializer.parameters):
                return True
        return False

    def _foreign(self, error: EvalError, rule: Assign, node: Call) -> EvalError:
        """An error in a `let`'s formula, blamed where it is used if its text is in another place."""
        if rule.value.span.start <= error.span.start and error.span.end <= rule.value.span.end:
            return error
        return EvalError(error.message, rule.value.span, error.hint, error.name)

    # ---- checking and making actions

    def _checked(self, clause: Clause, info: Info | None, selection: Selection) -> bool:
        """Check one clause on every distinct kind of tensor it selects, whether it wins or not."""
        try:
            for index, match in selection.kinds.values():
                self._writable(clause, self.network.tensors[index])
                if info is not None and info.constant and selection.plain:
                    self._actions(clause, info, index, [match])
            if not selection.plain or (info is not None and not info.constant and len(selection.by_tensor) <= 4096):
                for index, matches in selection.by_tensor.items():
                    self._actions(clause, info, index, matches)
        except EvalError as error:
            self._report(error, clause.rule.source)
            return False
        return True

    def _writable(self, clause: Clause, tensor: TensorInfo) -> None:
        rule = clause.rule
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
        if tensor.problem == "complex":
            raise EvalError(f"`{tensor.name}` is {tensor.dtype}: rules fill real tensors only", span, name="bad-dtype")
        if tensor.problem is not None and tensor.problem.startswith("no-right-inverse:"):
            kind = tensor.problem.partition(":")[2]
            raise EvalError(
                f"`{tensor.name}` is computed by the parametrization `{kind}`, which has no `right_inverse`", span,
                f"write to what it is computed from: `{self._original(tensor)}`", "no-right-inverse",
            )  # fmt: skip
        if not tensor.floating and isinstance(rule, Assign):
            if rule.operator == "~":
                raise EvalError(
                    f"`{tensor.name}` is {tensor.dtype} and can't be drawn", span, "set it with `=`", "bad-dtype"
                )

    def _original(self, tensor: TensorInfo) -> str:
        owner, local = tensor.owners[0]
        return f"{self.network.modules[owner].label}.parametrizations.{local}.original"

    def _actions(self, clause: Clause, info: Info | None, index: int, matches: list[Match]) -> list[Action]:
        made: list[Action] = []
        for match in matches:
            made += self._action(clause, info, index, match)
        return made

    def _action(self, clause: Clause, info: Info | None, index: int, match: Match) -> list[Action]:
        rule = clause.rule
        tensor = self.network.tensors[index]
        if isinstance(rule, Keep):
            self._no_piece(match, "keep")
            return [Action(clause, "keep", Kept(), match, tensor.shape)]
        if isinstance(rule, Default):
            self._no_piece(match, "default")
            return [Action(clause, "default", Reset(match.module), match, tensor.shape)]
        if isinstance(rule, Copy):
            self._no_piece(match, "copy")
            return [Action(clause, "copy", CopyFrom(self._copied(clause, match)), match, tensor.shape)]
        assert info is not None
        if match.index is None and match.view is None and info.constant:
            key = (tensor.shape, tensor.dtype)
            payload = info.cache.get(key)
            if payload is None:
                payload = info.cache[key] = self._payload(clause, info, index, match, tensor.shape)
            return [Action(clause, rule.operator, payload, match, tensor.shape)]
        return [
            Action(clause, rule.operator, self._payload(clause, info, index, match, shape), match, shape, view, items)
            for view, items, shape in self._pieces(clause, match, index)
        ]

    def _no_piece(self, match: Match, word: str) -> None:
        piece = match.index or match.view
        if piece is not None:
            raise EvalError(f"`{word}` takes whole parameters, not slices", piece.span, name="bad-index")

    def _env(self, clause: Clause, match: Match, target: int, shape: tuple[int, ...] | None) -> Names:
        return Names(self.network, self.matcher, self.registry, clause.lets, match, target, shape, self.canonical)

    def _pieces(self, clause: Clause, match: Match, index: int) -> Iterator[tuple[Any, Any, tuple[int, ...]]]:
        """`(view, index, shape)` of every piece a match means; none where an index is `none`."""
        self.lets = clause.lets
        shape = self.network.tensors[index].shape
        env = self._env(clause, match, index, shape)
        view: tuple[int, ...] | None = None
        if match.view is not None:
            view = shape = self._viewed(match.view, shape, env)
            if match.index is not None:
                raise EvalError("a slice stands after the `as`, not before it", match.index.span, name="bad-index")
        chosen = match.view.index if match.view is not None else match.index
        if chosen is None:
            yield view, None, shape
            return
        every = [place for place, item in enumerate(chosen.items) if isinstance(item, Every)]
        items = [slice(None) if isinstance(item, Every) else index_item(item, env) for item in chosen.items]
        if any(item is None for item in items):
            return
        whole = index_shape(shape, tuple(items), chosen)
        if not every:
            yield view, tuple(items), whole
            return
        if any(item is ... for item in items):
            raise EvalError("`*` and `...` don't stand in one index", chosen.span, name="bad-index")
        for combination in _product([range(shape[place]) for place in every]):
            for place, value in zip(every, combination, strict=True):
                items[place] = value
            yield view, tuple(items), index_shape(shape, tuple(items), chosen)

    def _viewed(self, view: nodes.View, shape: tuple[int, ...], env: Names) -> tuple[int, ...]:
        sizes = []
        for part in view.shape:
            size = evaluate(part, env)
            if isinstance(size, bool) or not isinstance(size, int) or (size < 1 and size != -1):
                raise EvalError("a size is a positive integer, or one -1", part.span, name="bad-shape")
            sizes.append(size)
        if sizes.count(-1) > 1:
            raise EvalError("only one size can be -1", view.span, name="bad-shape")
        known, total = math.prod(s for s in sizes if s != -1), math.prod(shape)
        if (-1 in sizes and total % known) or (-1 not in sizes and known != total):
            raise EvalError(f"shape {list(shape)} can't be seen as {sizes}", view.span, name="bad-shape")
        return tuple(total // known if s == -1 else s for s in sizes)

    def _copied(self, clause: Clause, match: Match) -> int:
        """The tensor that `copy` takes the values of one target from."""
        rule = clause.rule
        assert isinstance(rule, Copy) and match.tensor is not None
        self.lets = clause.lets
        sources = self._select(rule.operands[0], rule.source, clause.frame) or []
        targets = self.matcher.select(clause.targets, clause.frame)
        base = next(
            (m for m in targets if m.tensor == match.tensor or (m.tensor is None and m.module == _outer(match))), None
        )
        same = [s for s in sources if base is None or (s.bindings == base.bindings and _same_frame(s, base))]
        if len(same) != 1:
            raise EvalError(
                f"`copy` needs one source, this selects {len(sources)}", rule.operands[0].span, name="copy-mismatch"
            )
        source = same[0]
        if source.index is not None or source.view is not None:
            raise EvalError("`copy` takes whole parameters, not slices", rule.operands[0].span, name="bad-index")
        if source.tensor is not None:
            found: int | None = source.tensor
        else:
            assert base is not None
            if base.tensor is not None:
                raise EvalError("a module can't be copied into a parameter", rule.span, name="copy-mismatch")
            mine, theirs = self._named(base), self._named(source)
            name = next(n for n, t in mine.items() if t == match.tensor)
            found = theirs.get(name)
            if found is None:
                raise EvalError(
                    f"the source has no `{name}`", rule.operands[0].span, near(name, theirs), "copy-mismatch"
                )
        target = self.network.tensors[match.tensor]
        origin = self.network.tensors[found]
        if origin.shape != target.shape:
            raise EvalError(
                f"{describe_tensor(origin)} and {describe_tensor(target)} differ in shape",
                rule.span,
                name="copy-mismatch",
            )
        return self.canonical.get(found, found)

    def _payload(self, clause: Clause, info: Info, index: int, match: Match, shape: tuple[int, ...]) -> Payload:
        """What one piece gets, checked: ranges, shapes, fans, broadcasting."""
        rule = clause.rule
        assert isinstance(rule, Assign)
        self.lets = clause.lets
        tensor = self.network.tensors[index]
        env = self._env(clause, match, index, shape)
        call = info.call
        try:
            if call is not None and call.function == "load":
                return self._load(clause, call, env, index, match, shape)
            if call is not None and rule.operator in ("=", "~"):
                return self._called(call, env, shape, info, index)
            value = evaluate(info.expr, env)
        except EvalError as error:
            raise self._foreign(error, rule, call or rule.value) from None  # type: ignore[arg-type]
        if index in env.reads:
            env.reads.discard(index)
        if isinstance(value, bool | int | float):
            return self._scalar(rule, info, tensor, value)
        if isinstance(value, list):
            found = nested_shape(value, info.expr)
            self._fits(rule, found, shape)
            return Expression(info.expr, info.finite, ())
        if isinstance(value, Shape):
            self._fits(rule, value.dims, shape)
            if not tensor.floating:
                raise EvalError(
                    f"`{tensor.name}` is {tensor.dtype}: it takes numbers only", rule.value.span, name="bad-dtype"
                )
            return Expression(info.expr, info.finite, tuple(sorted(env.reads)))
        from .expressions import describe_value

        raise EvalError(
            f"a parameter can't be set to {describe_value(value)}",
            rule.value.span,
            "a vector is written as a list: `[1, 2]`" if isinstance(value, tuple) else None,
            name="bad-argument",
        )

    def _scalar(self, rule: Assign, info: Info, tensor: TensorInfo, value: float) -> Payload:
        if info.finite and not math.isfinite(value):
            raise EvalError(
                "the result is not finite", rule.value.span, "where that is meant, write `inf` or `nan`", "overflow"
            )
        if rule.operator == "/=" and value == 0:
            raise EvalError("division by zero", rule.value.span, name="division-by-zero")
        if not tensor.floating:
            whole = isinstance(value, bool | int) or value.is_integer()
            if not whole or rule.operator == "/=":
                raise EvalError(
                    f"`{tensor.name}` is {tensor.dtype} and can't hold {value:g}", rule.value.span, name="bad-dtype"
                )
        elif math.isfinite(value) and abs(value) > LARGEST.get(tensor.dtype, math.inf):
            raise EvalError(f"{value:g} is too large for {tensor.dtype}", rule.value.span, name="overflow")
        return Value(value)

    def _fits(self, rule: Assign, found: tuple[int, ...], shape: tuple[int, ...]) -> None:
        if broadcast(found, shape) != shape:
            raise EvalError(
                f"a value of shape {list(found)} doesn't fit a tensor of shape {list(shape)}",
                rule.value.span,
                name="bad-shape",
            )

    def _called(self, call: Call, env: Names, shape: tuple[int, ...], info: Info, index: int) -> Payload:
        initializer, arguments = bind_call(call, self.registry, env)
        if env.reads or env.dynamic:  # an argument is read off tensors
            check_shape(call, initializer, shape, arguments)
            return Expression(info.expr, info.finite, tuple(sorted(env.reads)))
        if not initializer.elementwise:
            if math.prod(shape):
                check_shape(call, initializer, shape, arguments)
            return Draw(initializer, arguments)
        if not math.prod(shape):
            from .initializers import Constant

            return Constant(0.0)
        try:
            return initializer.distribution(shape, arguments)
        except ArgumentError as error:
            raise EvalError(str(error), call.span, error.hint, error.name) from None

    # ---- files

    def _load(
        self, clause: Clause, call: Call, env: Names, index: int, match: Match, shape: tuple[int, ...]
    ) -> Payload:
        given: dict[str, Any] = {}
        for place, argument in enumerate(call.arguments):
            name = argument.name or ("path" if place == 0 else None)
            if name not in ("path", "key", "prefix") or name in given:
                raise EvalError(
                    "`load` takes a path, and `key=` or `prefix=`",
                    argument.span,
                    'as in `load("x.safetensors", key="head.weight")`',
                    "bad-load",
                )
            value = evaluate(argument.value, env)
            if not isinstance(value, str):
                raise EvalError(f"`{name}` must be a string", argument.span, name="bad-load")
            given[name] = value
        if "path" not in given:
            raise EvalError("`load` needs a path", call.span, name="bad-load")
        source = clause.rule.source
        folder = (
            os.path.dirname(source)
            if source in self.rules.sources and os.path.exists(source)
            else self.rules.root or os.getcwd()
        )
        root = self.rules.root or os.getcwd()
        from pathlib import Path as FilePath

        place_ = inside_root(given["path"], FilePath(folder or "."), FilePath(root))
        if place_ is None:
            raise EvalError(f"`{given['path']}` lies outside the root folder", call.span, name="outside-root")
        header = self._header(str(place_), call)
        key = given.get("key")
        if key is None:
            prefix = given.get("prefix", "")
            names = self.network.names(self.network.tensors[index])
            outer = _outer(match)
            base = self.network.modules[outer].name if outer is not None else ""
            names = [n.removeprefix(f"{base}.") if base and n.startswith(f"{base}.") else n for n in names] + names
            key = next((prefix + n for n in names if prefix + n in header), prefix + names[0])
        if key not in header:
            raise EvalError(f"`{given['path']}` has no tensor `{key}`", call.span, near(key, header), "bad-load")
        found = header[key]
        if tuple(found) != shape:
            raise EvalError(f"`{key}` has shape {list(found)}, the target {list(shape)}", call.span, name="bad-shape")
        return Load(str(place_), key)

    def _header(self, path: str, call: Call) -> dict[str, Any]:
        if path not in self._headers:
            if not os.path.isfile(path):
                raise EvalError(f"there is no file `{path}`", call.span, name="unreadable-file")
            from safetensors import SafetensorError, safe_open

            try:
                with safe_open(path, framework="pt") as file:
                    self._headers[path] = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
            except (SafetensorError, OSError, ValueError) as error:
                raise EvalError(
                    f"`{path}` can't be read as safetensors: {error}", call.span, name="unreadable-file"
                ) from None
        found: dict[str, Any] = self._headers[path]
        return found

    # ---- the plan put together

    def _assemble(self, plan: Plan, found: dict[int, tuple[Action | None, list[Action]]]) -> None:
        network = self.network
        for tensor in network.tensors:
            if self.canonical.get(tensor.index, tensor.index) != tensor.index:
                continue
            base, edits = found.get(tensor.index, (None, []))
            if tensor.kind == "buffer" and base is None and not edits:
                continue
            plan.entries.append(PlanEntry(plan, tensor, base, edits))
        covered = {e.tensor.index for e in plan.entries if e.tensor.kind == "parametrized" and (e.base or e.edits)}
        if any(t.kind == "parametrized" for t in network.tensors):
            self._parametrized(plan, covered)
        self._resets(plan)
        self._order(plan)
        self._fan_notes(plan)
        self._subclass_notes()

    def _parametrized(self, plan: Plan, covered: set[int]) -> None:
        """Of a computed tensor and those it is computed from, only what rules name is listed."""
        network = self.network
        behind: dict[int, int] = {}  # original -> computed
        for tensor in network.tensors:
            if tensor.kind != "parametrized":
                continue
            owner, local = tensor.owners[0]
            module = network.modules[owner]
            if "parametrizations" in module.children:
                chain = network.modules[network.modules[module.children["parametrizations"]].children[local]]
                originals = list(chain.parameters.values())
            else:
                originals = [
                    module.parameters[n]
                    for n in (f"{local}_orig", f"{local}_g", f"{local}_v")
                    if n in module.parameters
                ]
            for original in originals:
                behind[original] = tensor.index
        written = {e.tensor.index for e in plan.entries if e.base is not None or e.edits}
        plan.entries = [
            e for e in plan.entries
            if not (e.tensor.index in behind and e.tensor.index not in written and behind[e.tensor.index] in covered)
            and not (e.tensor.kind == "parametrized" and e.tensor.index not in written)
        ]  # fmt: skip

    def _resets(self, plan: Plan) -> None:
        """Which modules' own `reset_parameters` bring the defaults back, and which tensors they may set."""
        network = self.network
        wanted: dict[int, set[int]] = {}
        of_clause: dict[int, set[int]] = {}
        for entry in plan.entries:
            if entry.base is not None and isinstance(entry.base.payload, Reset):
                module = entry.base.payload.module
                wanted.setdefault(module, set()).add(entry.tensor.index)
                of_clause.setdefault(entry.base.clause.number, set()).add(entry.tensor.index)
                if network.modules[module].reset is None:
                    cls = network.modules[module].cls.name
                    where = self.rules.source(entry.base.clause.rule.source)
                    self.problems.append(
                        Diagnostic(
                            "no-default", f"`{cls}` has parameters and no `reset_parameters`, so `{entry.label}` has no default",
                            where, entry.base.clause.targets.span, "give it a rule of its own, after this one",
                        )
                    )  # fmt: skip
        if not wanted:
            return
        # a module that only arranges others (nn.Transformer) resets too, where all below it is to be default
        for number, tensors in of_clause.items():
            clause = self.clauses[number]
            self.lets = clause.lets
            for match in self.matcher.select(clause.targets, clause.frame):
                if match.tensor is not None:
                    continue
                for index in network.reachable(match.module):
                    arranging = network.modules[index]
                    if arranging.reset is None or arranging.parameters:
                        continue
                    below = {
                        self.canonical.get(t, t) for i in network.reachable(index) for t in network.modules[i].parameters.values()
                    }  # fmt: skip
                    if below and below <= tensors:
                        wanted[index] = below
        plan.resets = [(index, tuple(sorted(wanted[index]))) for index in network.apply_order if index in wanted]

    def _order(self, plan: Plan) -> None:
        """The order of the writes: that of `net.apply`, readers after what they read."""
        entries = {e.tensor.index: e for e in plan.entries if e.base is not None or e.edits}
        order: list[PlanEntry] = []
        placed: set[int] = set()
        for index in self.network.apply_order:
            module = self.network.modules[index]
            for tensor in (*module.parameters.values(), *module.buffers.values()):
                canonical = self.canonical.get(tensor, tensor)
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
                where = self.rules.source(action.clause.rule.source)
                self.problems.append(
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

    # ---- notes

    def _fan_notes(self, plan: Plan) -> None:
        """Where torch's fans are known not to be those the layer computes with."""
        noted: set[tuple[int, str]] = set()
        for entry in plan.entries:
            for action in entry.actions:
                rule = action.clause.rule
                call = getattr(self.infos.get(id(rule)), "call", None)
                if call is None or not isinstance(rule, Assign) or not _uses_fans(self.registry.get(call.function), call):
                    continue
                module = self.network.modules[action.match.module]
                reason = wrong_fan(module.cls, module, action)
                if reason is None or (action.clause.number, reason[0]) in noted:
                    continue
                noted.add((action.clause.number, reason[0]))
                where = self.rules.source(rule.source)
                self.notes.append(
                    Diagnostic(
                        "doubtful-fan",
                        f"`{entry.label}` {list(entry.shape)}: {reason[0]}",
                        where,
                        rule.value.span,
                        reason[1],
                        "note",
                    )
                )

    def _subclass_notes(self) -> None:
        noted: set[str] = set()
        for clause in self.clauses:
            selector = clause.targets
            if selector is None:
                continue
            for node in nodes.walk(selector):
                if (
                    not isinstance(node, nodes.ClassPattern)
                    or node.subclasses
                    or "*" in node.name
                    or node.name in noted
                ):
                    continue
                noted.add(node.name)
                plain = nodes.ClassPattern(node.name, False, (), node.span)
                exact = len(self.matcher.of_class(plain))
                derived = len(self.matcher.of_class(nodes.ClassPattern(node.name, True, (), node.span))) - exact
                if exact and derived:
                    are = "1 subclass of it is" if derived == 1 else f"{derived} subclasses of it are"
                    self.notes.append(
                        Diagnostic(
                            "subclass-left-out", f"`{node.name}` selects {exact}; {are} not selected",
                            self.rules.source(clause.rule.source), node.span, f"`{node.name}+` would", "note",
                        )
                    )  # fmt: skip

    def _strict(self, plan: Plan) -> None:
        for entries, what in ((plan.uncovered, "no rule reaches"), (plan.partial, "only parts are set of")):
            if entries:
                names = listed([e.label for e in entries], 12)
                count = f"{len(entries)} parameter{'s' * (len(entries) > 1)}"
                self.problems.append(
                    Diagnostic(
                        "uncovered-parameter",
                        f"{what} {count}: {names}",
                        hint="`keep` leaves a parameter as it is, and says so",
                    )
                )


@dataclass
class Selection:
    """What a clause selects, by canonical tensor; `kinds` has one of every distinct shape and dtype."""

    matches: list[Match]
    assigns: bool
    by_tensor: dict[int, list[Match]] = field(default_factory=dict)
    kinds: dict[Any, tuple[int, Match]] = field(default_factory=dict)
    plain: bool = True


def _loads(rule: Any) -> bool:
    return isinstance(rule, Assign) and isinstance(rule.value, Call) and rule.value.function == "load"


def _outer(match: Match) -> int | None:
    """The module a statement named, for a tensor it reached through that module."""
    return match.scope[0] if match.scope else None


def _same_frame(a: Match, b: Match) -> bool:
    return a.frame is b.frame or (a.frame is not None and b.frame is not None and a.frame.module == b.frame.module)


def _product(ranges: list[range]) -> Iterator[tuple[int, ...]]:
    from itertools import product

    return product(*ranges)


def _groups(operands: list[list[Match]]) -> Iterator[list[Match]]:
    """Matches that are tied together: all of them, or those with the same block and the same bound indices."""
    shared: set[str] | None = None
    for found in operands:
        for match in found:
            names = {name for name, _ in match.bindings}
            shared = names if shared is None else shared & names
    groups: dict[Any, list[Match]] = {}
    for found in operands:
        for match in found:
            bound = tuple((n, v) for n, v in match.bindings if n in (shared or ()))
            groups.setdefault((match.frame.module if match.frame else None, bound), []).append(match)
    yield from groups.values()


def _uses_fans(initializer: Initializer | None, call: Call) -> bool:
    if (
        initializer is None
        or not initializer.elementwise
        or (initializer.min_ndim < 2
        and initializer.name != "variance_scaling")
    ):
        return False
    return not any(a.name == "fan" for a in call.arguments)


CONVOLUTIONS = ("Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")


def wrong_fan(cls: Any, module: Any, action: Action) -> tuple[str, str] | None:
    """Why torch's fans of a tensor are not its layer's, and what to write instead."""
    names = {cls.name, *(base.name for base in cls.bases)}
    ndim = len(action.shape)
    if action.index is not None or action.view is not None:
        return None
    if ndim == 2 and cls.name == "Conv1D":
        return (
            "its layer stores (in, out), so fan_in and fan_out are swapped",
            "`variance_scaling(fan=shape[0])` takes the true fan_in",
        )
    convolution = any(name in names for name in CONVOLUTIONS)
    if ndim == 3 and not convolution:
        return "a stack of matrices is read as a convolution", "`[*]` fills each matrix by itself"
    if convolution and "Transpose" in cls.name:
        return "a transposed convolution has its fans swapped", "`variance_scaling(fan=...)` takes the fan outright"
    groups = module.attribute("groups")
    if convolution and isinstance(groups, int) and groups > 1:
        return (
            "fan_out of a grouped convolution counts all groups",
            "`variance_scaling(fan=fan_out // groups)` counts one",
        )
    return None
