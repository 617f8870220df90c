"""The statements of a rule set in file order, each with the `let` names it sees and the block it stands in."""

from __future__ import annotations

from collections.abc import Container, Generator, Iterable
from dataclasses import dataclass

from initdsl.language.expressions.given import unusable, vector
from initdsl.language.expressions.let import Variable, Variables
from initdsl.language.expressions.shapes import EvalError
from initdsl.language.rules.ruleset import RuleSet
from initdsl.language.syntax.nodes import (
    Assign,
    Block,
    Copy,
    Default,
    Expect,
    Keep,
    Let,
    Name,
    Rule,
    Selector,
    Tie,
    Use,
)
from initdsl.language.syntax.walk import walk
from initdsl.network.selectors.matches import Frame, Match
from initdsl.network.selectors.paths import distinct
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.source import Span
from initdsl.text.wording import did_you_mean, listed

from .actions import Clause
from .context import Context, finding_of
from .right_hand_side import right_hand_side
from .selecting import Setting, select_or_report, selectors_at

__all__ = ["Expectation", "Statement", "statements_of"]


@dataclass(frozen=True, slots=True)
class Statement:
    """A clause where it stands: `Statement(clause, Setting(rule, variables, None))`."""

    clause: Clause
    setting: Setting


@dataclass(frozen=True, slots=True)
class Expectation:
    """An `expect` where it stands: `Expectation(rule, Setting(rule, variables, None))`."""

    rule: Expect
    setting: Setting


# a statement that becomes a clause, and the selector that this clause fills: a `copy` comes once for each target
Found = tuple[Assign | Keep | Default | Copy | Tie | Expect, Selector | None, Setting]


def statements_of(
    context: Context, findings: list[Diagnostic]
) -> tuple[tuple[Statement, ...], tuple[Expectation, ...]]:
    """Return every statement that stands in an existing block, and the expectations among them apart."""
    findings += _wrong_variables(context)
    statements: list[Statement] = []
    expectations: list[Expectation] = []
    for rule, targets, setting in _walk(context, context.rules.rules, Variables(), None, findings):
        if isinstance(rule, Expect):
            expectations.append(Expectation(rule, setting))
        else:
            statements.append(Statement(_clause(context, len(statements), rule, targets), setting))
    return tuple(statements), tuple(expectations)


# ---- variables from outside


def _wrong_variables(context: Context) -> Iterable[Diagnostic]:
    """Yield findings of `vars` that no `let` declares, or whose values a rule can't use."""
    names = [rule.name for rule in context.rules.walk() if isinstance(rule, Let)] if context.variables else []
    for name, value in context.variables.items():
        if name not in names:
            yield Diagnostic("unknown-variable", f"no `let` declares `{name}`", hint=_declared(name, names))
        elif (wrong := unusable(value)) is not None:
            yield Diagnostic("bad-variable", f"the value of `{name}` must be {wrong}")


def _declared(name: str, names: list[str]) -> str:
    if not names:
        return "no `let` is in these rules"
    each = sorted(set(names))
    return did_you_mean(name, names) or f"there {'is' if len(each) == 1 else 'are'} {listed(each)}"


# ---- the walk


def _walk(
    context: Context,
    rules: tuple[Rule, ...],
    variables: Variables,
    frame: Frame | None,
    findings: list[Diagnostic],
    fixed: Container[str] = frozenset(),
) -> Generator[Found, None, Variables]:
    """Yield the statements; return the `let` names that stand after them. Those that are `fixed` are not said anew."""
    for rule in rules:
        setting = Setting(rule, variables, frame)
        match rule:
            case Let():
                if rule.name not in fixed:  # else the file that uses this one has said it already
                    variables = variables.with_(rule.name, _variable(context, rule, findings))
            case Use():
                variables = yield from _walk(context, rule.rules or (), variables, frame, findings, variables)
            case Block():
                yield from _block(context, rule, setting, findings)
            case Tie() | Expect():
                yield rule, None, setting
            case Copy():
                for operand in rule.operands[1:]:
                    yield rule, operand, setting
            case _:
                yield rule, rule.targets, setting
    return variables


def _variable(context: Context, rule: Let, findings: list[Diagnostic]) -> Variable:
    if rule.name in context.variables and unusable(context.variables[rule.name]) is None:
        return Variable(None, rule.source, vector(context.variables[rule.name]))
    if any(isinstance(node, Name) and node.name == rule.name for node in walk(rule.value)):
        error = EvalError(f"`{rule.name}` is defined by itself", rule.name_span, name="circular-let")
        findings.append(finding_of(context, error, rule.source))
    return Variable(rule.value, rule.source)


def _block(context: Context, rule: Block, setting: Setting, findings: list[Diagnostic]) -> Generator[Found, None, None]:
    matches = select_or_report(context, setting, rule.targets, findings)
    if matches is None:
        return
    modules = [match for match in matches if match.tensor is None]
    if modules:
        try:
            frame = Frame(context.network, _told_apart(context, setting, rule.targets, modules))
        except EvalError as failed:
            findings.append(finding_of(context, failed, rule.source))
            return
        yield from _walk(context, rule.rules, setting.variables.inside(), frame, findings)
    elif matches:
        error = EvalError("a block needs modules, this selects parameters", rule.targets.span, name="needs-module")
        findings.append(finding_of(context, error, rule.source))
    else:
        _check_unused(context, rule, setting.variables, findings)


def _told_apart(context: Context, setting: Setting, targets: Selector, modules: list[Match]) -> list[Match]:
    """Return the modules of a block without those that nothing inside it tells from others.

    In `* { * { ... } }` a module lies in every module around it: it stands for itself once, not once for each of them.
    """
    if len({match.module for match in modules}) == len(modules):
        return modules
    return distinct(selectors_at(context, setting, targets.span), modules, setting.reads())


def _check_unused(context: Context, rule: Block, variables: Variables, findings: list[Diagnostic]) -> None:
    """Report what can't be right on any model in a block of which nothing runs."""
    for inner in RuleSet(rules=rule.rules).walk():
        if isinstance(inner, Assign):
            try:
                right_hand_side(context, inner, variables)
            except EvalError as error:
                findings.append(finding_of(context, error, inner.source))


# ---- clauses


def _clause(
    context: Context, number: int, rule: Assign | Keep | Default | Copy | Tie, targets: Selector | None
) -> Clause:
    """Return a statement as plans cite it."""
    text = " ".join(context.rules.text(rule.source, rule.span).split())
    location = context.rules.location(rule.source, rule.span)
    return Clause(number, rule, targets, text, location, _effect(context, rule))


def _effect(context: Context, rule: Assign | Keep | Default | Copy | Tie) -> str:
    if not isinstance(rule, Assign):
        return {"keep": "kept", "default": "default", "copy": "copied", "tie": "tied"}[rule.kind]
    return " ".join(context.rules.text(rule.source, Span(rule.operator_span.start, rule.span.end)).split())
