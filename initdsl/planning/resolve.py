"""Rules and a described model to a plan. Reads only: every check happens here, before anything changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from initdsl.initializers import Initializer, Registry, default_registry
from initdsl.language.expressions.functions import FUNCTIONS
from initdsl.language.expressions.given import given_value
from initdsl.language.expressions.let import Variable, Variables
from initdsl.language.rules.ruleset import RuleSet
from initdsl.language.syntax.nodes import Call, Expr, Rule, Selector, Use
from initdsl.language.syntax.walk import remembered, walk
from initdsl.network.description import Network
from initdsl.network.selectors.context import TooManyMatches
from initdsl.network.selectors.matches import Frame, Match
from initdsl.network.selectors.paths import distinct
from initdsl.network.selectors.select import select
from initdsl.text.diagnostic import Diagnostic, ResolveError, RuleError, in_order
from initdsl.text.frozen import FrozenDict

from .actions import Clause
from .assemble import assemble, uncovered
from .cascade import Selection, Selections, cascade, selection_of
from .context import Context, most_matches
from .expectations import plan_expectations
from .file_contents import looked_into
from .names import selector_context
from .plan import Plan
from .reads import reads_of
from .remarks import remarks_on
from .statements import statements_of
from .ties import plan_ties

__all__ = ["plan_and_findings", "raise_for", "resolve", "select_with", "selections"]


# findings that are wrong whatever the network is
RULE_FINDINGS = frozenset(
    [
        "bad-argument",
        "bad-expression",
        "bad-load",
        "bad-operator",
        "bad-regex",
        "bad-variable",
        "circular-let",
        "division-by-zero",
        "late-let",
        "needs-generator",
        "outside-root",
        "overflow",
        "plain-draw",
        "truncates-away",
        "unexpected-draw",
        "unknown-argument",
        "unknown-initializer",
        "unknown-variable",
        "unreadable-file",
    ]
)


def resolve(
    rules: RuleSet,
    network: Network,
    *,
    registry: Registry | None = None,
    variables: Mapping[str, Any] | None = None,
    strict: bool = False,
    seed: int | None = None,
) -> Plan:
    """Return the plan of `rules` on `network`.

    Raises RuleError (an argument or expression that can't be right) or ResolveError (it doesn't fit this model),
    with every finding of the file.
    """
    plan, findings = plan_and_findings(rules, network, registry=registry, variables=variables, strict=strict, seed=seed)
    raise_for(findings)
    return plan


def raise_for(findings: Iterable[Diagnostic]) -> None:
    """Raise what the errors among findings amount to, if there are any."""
    errors = in_order([finding for finding in findings if finding.severity == "error"])
    if errors:
        raise (RuleError if any(error.name in RULE_FINDINGS for error in errors) else ResolveError)(errors)


@contextmanager
def _bounded() -> Iterator[None]:
    """Turn too much work, where no statement is left to blame, into an error of the plan."""
    try:
        yield
    except TooManyMatches as error:
        raise ResolveError(Diagnostic(error.name, error.message, hint=error.hint)) from None


@_bounded()
def plan_and_findings(
    rules: RuleSet,
    network: Network,
    *,
    registry: Registry | None = None,
    variables: Mapping[str, Any] | None = None,
    strict: bool = False,
    seed: int | None = None,
) -> tuple[Plan, list[Diagnostic]]:
    """Return the plan of what can be right in `rules`, and all that there is to say of them: errors, warnings and notes.

    Raises ResolveError where the rules take too much work to make one.
    """
    given = FrozenDict({name: given_value(value) for name, value in (variables or {}).items()})
    context = _context(rules, network, registry, given, seed)
    findings: list[Diagnostic] = []
    statements, expectations = statements_of(context, findings)
    ties, tied_to = plan_ties(context, statements, findings)
    context = replace(context, tied_to=FrozenDict(tied_to))
    decisions = cascade(context, statements, findings)
    draft = assemble(context, statements, decisions, findings)
    if strict:
        findings += uncovered(draft.entries)
    expected = plan_expectations(context, expectations, draft.entries, findings)
    if strict:
        empty = set(map(id, context.cache.empty))
        findings = [replace(finding, severity="error") if id(finding) in empty else finding for finding in findings]
    remarks = remarks_on(context, statements, decisions, draft.entries)
    numbers = range(len(statements))
    plan = Plan(
        rules=rules,
        network=network,
        entries=draft.entries,
        order=draft.order,
        resets=draft.resets,
        ties=ties,
        clauses=tuple(statement.clause for statement in statements),
        hits=tuple(decisions.hits.get(number, 0) for number in numbers),
        selected=tuple(decisions.selected.get(number, 0) for number in numbers),
        warnings=tuple(in_order([f for f in findings if f.severity == "warning"])),
        notes=tuple(in_order([f for f in findings if f.severity == "note"])),
        tied_to=FrozenDict(tied_to),
        expected=expected,
        remarks=tuple(in_order(remarks)),
        seed=seed,
        variables=FrozenDict(context.variables),
        initializers=_foreign_initializers(context),
        files=looked_into(context.cache.files),
    )
    return plan, [*findings, *remarks]


def _context(
    rules: RuleSet,
    network: Network,
    registry: Registry | None,
    variables: Mapping[str, Any],
    seed: int | None,
) -> Context:
    """Return the context of one plan, which may do so much work and no more."""
    if registry is None:  # `or` would count what is in it, and look through all packages
        registry = default_registry()
    context = Context(rules, network, registry, variables, seed)
    context.cache.matches.most = most_matches(rules, network)
    return context


def _foreign_initializers(context: Context) -> FrozenDict[str, Initializer]:
    """Return the initializers that rules call and initdsl doesn't bring."""
    called = [name for name in _called(context.rules.rules) if name not in FUNCTIONS]
    registered = {name: context.registry[name] for name in called if name in context.registry}
    return FrozenDict({name: item for name, item in registered.items() if not item.builtin})


@remembered
def _called(rules: tuple[Rule, ...]) -> tuple[str, ...]:
    """Return the names of what rules call, functions of the language among them, sorted."""
    return tuple(sorted(set(_calls(rules, set()))))


def _calls(rules: tuple[Rule, ...], seen: set[int]) -> Iterator[str]:
    """Yield the names of what rules call; the rules of a file that is used many times are looked through once."""
    if id(rules) in seen:
        return
    seen.add(id(rules))
    for rule in rules:
        if isinstance(rule, Use):
            yield from _calls(rule.rules or (), seen)
        else:
            yield from (node.function for node in walk(rule) if isinstance(node, Call))


# ---- selectors looked up by themselves


def selections(plan: Plan) -> Iterator[tuple[Clause, Selection]]:
    """Yield what each clause of a plan selects, looked up anew."""
    registry = default_registry().with_initializers(plan.initializers.values())
    context = _context(plan.rules, plan.network, registry, plan.variables, plan.seed)
    findings: list[Diagnostic] = []  # the plan has them already
    statements, _ = statements_of(context, findings)
    context = replace(context, tied_to=plan.tied_to)
    by_key = Selections()
    for statement in statements:
        if statement.clause.targets is not None:
            with _bounded():
                selection = selection_of(context, statement, findings, by_key)
            if selection is not None:
                yield statement.clause, selection


def select_with(
    network: Network, registry: Registry, formulas: Mapping[str, Expr], blocks: Sequence[Selector], selector: Selector
) -> list[Match]:
    """Return what a selector inside of blocks selects, outermost block first; `formulas` are those of the `let` names.

    Raises EvalError for what can't be evaluated.
    """
    variables = Variables({name: Variable(formula, "") for name, formula in formulas.items()})
    context = _context(RuleSet(rules=()), network, registry, FrozenDict(), None)
    reads = reads_of([*blocks, selector], variables, None)
    frame = None
    for block in blocks:
        selectors = selector_context(context, variables, block.span, reads=lambda: reads)
        modules = [match for match in select(selectors, block, frame) if match.tensor is None]
        frame = Frame(network, distinct(selectors, modules, reads))
    selectors = selector_context(context, variables, selector.span, reads=lambda: reads)
    return select(selectors, selector, frame)
