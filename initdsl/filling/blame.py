"""Failures while a plan is carried out, each said of the rule whose turn it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from initdsl.language.expressions.shapes import EvalError
from initdsl.language.syntax.nodes import Assign
from initdsl.planning.actions import Action
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.failures import first_line

__all__ = ["StepFailed", "blaming", "rule_diagnostic"]


class StepFailed(Exception):
    """A step of a fill failed; `diagnostics` say why, and `cause` is the error that was raised."""

    def __init__(self, diagnostic: Diagnostic, cause: BaseException, further: Sequence[Diagnostic] = ()):
        super().__init__(diagnostic.message)
        self.diagnostics = [diagnostic, *further]
        self.cause = cause


@contextmanager
def blaming(plan: Plan, entry: PlanEntry, action: Action) -> Iterator[None]:
    """Raise what goes wrong in the block as StepFailed, said of the rule of `action`."""
    try:
        yield
    except EvalError as error:
        raise StepFailed(_evaluation_diagnostic(plan, action, error), error) from error
    except StepFailed:
        raise
    except Exception as error:
        message = f"`{action.call_name}` raised {type(error).__name__} for `{entry.label}`: {first_line(error)}"
        raise StepFailed(rule_diagnostic(plan, action, "fill-failed", message), error) from error


def rule_diagnostic(plan: Plan, action: Action, name: str, message: str, hint: str | None = None) -> Diagnostic:
    """Return an error at the right-hand side of an action's rule."""
    rule = action.clause.rule
    span = rule.value.span if isinstance(rule, Assign) else rule.span
    return Diagnostic(name, message, plan.rules.source(rule.source), span, hint)


def _evaluation_diagnostic(plan: Plan, action: Action, error: EvalError) -> Diagnostic:
    """Return what is wrong with an expression, at the part of it that is to blame if that stands in the rule itself."""
    rule = action.clause.rule
    diagnostic = rule_diagnostic(plan, action, error.name, error.message, error.hint)
    if isinstance(rule, Assign) and rule.value.span.start <= error.span.start < rule.value.span.end:
        return Diagnostic(error.name, error.message, diagnostic.source, error.span, error.hint)
    return diagnostic
