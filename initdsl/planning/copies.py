"""`copy`: which tensor each target takes its values from."""

from __future__ import annotations

from initdsl.language.expressions.shapes import EvalError
from initdsl.language.syntax.nodes import Copy
from initdsl.network.parts import describe_tensor
from initdsl.network.selectors.matches import Match
from initdsl.network.selectors.select import select
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.wording import did_you_mean

from .context import Context, parameters_of_match
from .names import selector_context
from .selecting import select_or_report
from .statements import Statement

__all__ = ["source_of_copy"]


def source_of_copy(context: Context, statement: Statement, match: Match, findings: list[Diagnostic]) -> int:
    """Return the tensor that a `copy` takes the values of one target from. Raises EvalError where there is no such one."""
    rule, targets_of, setting = statement.clause.rule, statement.clause.targets, statement.setting
    assert isinstance(rule, Copy)
    assert targets_of is not None
    assert match.tensor is not None
    sources = select_or_report(context, setting, rule.operands[0], findings) or []
    targets = select(selector_context(context, setting.variables), targets_of, setting.frame)
    outer = match.scope[0] if match.scope else None  # the module a statement names, of a tensor it reaches through that
    base = next((m for m in targets if m.tensor == match.tensor or (m.tensor is None and m.module == outer)), None)
    same = [s for s in sources if base is None or (s.bindings, _block(s)) == (base.bindings, _block(base))]
    span = rule.operands[0].span
    if len(same) != 1:
        raise EvalError(f"`copy` needs one source, this selects {len(sources)}", span, name="copy-mismatch")
    source = same[0]
    if len(targets) == 1 and (source.module, source.tensor) == (targets[0].module, targets[0].tensor):
        raise EvalError("this copies a tensor into itself", rule.span, name="copy-mismatch")
    if source.index is not None or source.view is not None:
        raise EvalError("`copy` takes whole parameters, not slices", span, name="bad-index")
    tensor = source.tensor if source.tensor is not None else _counterpart(context, rule, match, base, source)
    given, taken = context.network.tensors[match.tensor], context.network.tensors[tensor]
    if taken.shape != given.shape:
        message = f"{describe_tensor(taken)} and {describe_tensor(given)} differ in shape"
        raise EvalError(message, rule.span, name="copy-mismatch")
    return context.tied_to.get(tensor, tensor)


def _block(match: Match) -> int | None:
    """Return the module of the block that a match lies in."""
    return None if match.frame is None else match.frame.module


def _counterpart(context: Context, rule: Copy, match: Match, base: Match | None, source: Match) -> int:
    """Return the parameter of the module `source` that has the name which the target has in the module `base`."""
    assert base is not None
    if base.tensor is not None:
        raise EvalError("a module can't be copied into a parameter", rule.span, name="copy-mismatch")
    targets, sources = parameters_of_match(context, base), parameters_of_match(context, source)
    name = next(name for name, tensor in targets.items() if tensor == match.tensor)
    if name not in sources:
        hint = did_you_mean(name, sources)
        raise EvalError(f"the source has no `{name}`", rule.operands[0].span, hint, "copy-mismatch")
    return sources[name]
