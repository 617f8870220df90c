"""`copy`: which tensor each target takes its values from."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter

from initdsl.language.expressions.shapes import EvalError
from initdsl.language.syntax.nodes import Copy
from initdsl.network.parts import describe_tensor
from initdsl.network.selectors.matches import Match
from initdsl.network.selectors.select import select
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.wording import did_you_mean, listed

from .context import Context, state_of_match
from .selecting import select_or_report, selectors_at
from .statements import Statement

__all__ = ["CopySides", "not_copied", "sides_of_copy", "source_of_copy"]


# names that a note lists
MOST = 8


@dataclass
class CopySides:
    """What the two sides of a `copy` select, looked up once for all its targets.

    `sources` are by the indices they bind and the block they lie in. `tensors` and `modules` have the targets by what
    they are, each with its place among the targets; `named` the state of a module by name, `names` the names by tensor.
    """

    count: int = 0  # of targets
    sources: dict[Hashable, list[Match]] = field(default_factory=dict)
    tensors: dict[int, tuple[int, Match]] = field(default_factory=dict)
    modules: dict[int, tuple[int, Match]] = field(default_factory=dict)
    named: dict[Match, dict[str, int]] = field(default_factory=dict)
    names: dict[Match, dict[int, str]] = field(default_factory=dict)

    def base_of(self, match: Match) -> Match | None:
        """Return the first target that is this tensor, or the module it is reached through."""
        assert match.tensor is not None
        outer = match.scope[0] if match.scope else None
        places = [self.tensors.get(match.tensor), self.modules.get(outer) if outer is not None else None]
        return min([place for place in places if place is not None], default=(0, None), key=itemgetter(0))[1]

    def parameters(self, context: Context, match: Match) -> dict[str, int]:
        """Return the parameters of a match by their names relative to it."""
        if match not in self.named:
            self.named[match] = state_of_match(context, match)
        return self.named[match]

    def name_of(self, context: Context, base: Match, tensor: int) -> str:
        """Return the first name that a parameter has in the module of a match."""
        if base not in self.names:
            self.names[base] = {t: name for name, t in reversed(self.parameters(context, base).items())}
        return self.names[base][tensor]


def sides_of_copy(context: Context, statement: Statement, findings: list[Diagnostic]) -> CopySides:
    """Return what both sides of a `copy` select; what selects nothing is a finding."""
    rule, targets, setting = statement.clause.rule, statement.clause.targets, statement.setting
    assert isinstance(rule, Copy)
    assert targets is not None
    sides = CopySides()
    for source in select_or_report(context, setting, rule.operands[0], findings) or []:
        sides.sources.setdefault(_kind(source), []).append(source)
    for place, target in enumerate(select(selectors_at(context, setting, targets.span), targets, setting.frame)):
        sides.count = place + 1
        if target.tensor is None:
            sides.modules.setdefault(target.module, (place, target))
        else:
            sides.tensors.setdefault(target.tensor, (place, target))
    return sides


def not_copied(context: Context, statement: Statement, sides: CopySides) -> Iterator[Diagnostic]:
    """Yield a note on what a source has that no target takes, by the names relative to it."""
    targets = [match for _, match in sides.modules.values()]
    sources = [match for matches in sides.sources.values() for match in matches if match.tensor is None]
    if len(sources) != 1 or not targets:
        return
    taken = {name for target in targets for name in sides.parameters(context, target)}
    left = [name for name in sides.parameters(context, sources[0]) if name not in taken]
    if left:
        rule, verb = statement.clause.rule, "do" if len(targets) > 1 else "does"
        message = (
            f"this copies all but {listed(left, MOST)}, which the target{'s' * (len(targets) > 1)} {verb} not have"
        )
        yield Diagnostic("not-copied", message, context.rules.source(rule.source), rule.span, severity="note")


def source_of_copy(context: Context, statement: Statement, match: Match, sides: CopySides) -> int:
    """Return the tensor that a `copy` takes the values of one target from. Raises EvalError where there is no such one."""
    rule = statement.clause.rule
    assert isinstance(rule, Copy)
    assert match.tensor is not None
    base = sides.base_of(match)
    anything = [source for sources in sides.sources.values() for source in sources[:2]] if base is None else []
    same = anything if base is None else sides.sources.get(_kind(base), [])
    span = rule.operands[0].span
    if len(same) != 1:
        count = sum(map(len, sides.sources.values()))
        raise EvalError(f"`copy` needs one source, this selects {count}", span, name="copy-mismatch")
    source = same[0]
    single = base if sides.count == 1 else None
    if single is not None and (source.module, source.tensor) == (single.module, single.tensor):
        raise EvalError("this copies a tensor into itself", rule.span, name="copy-mismatch")
    if source.index is not None or source.view is not None:
        raise EvalError("`copy` takes whole parameters, not slices", span, name="bad-index")
    tensor = source.tensor if source.tensor is not None else _counterpart(context, rule, match, base, source, sides)
    given, taken = context.network.tensors[match.tensor], context.network.tensors[tensor]
    if taken.shape != given.shape:
        message = f"{describe_tensor(taken)} and {describe_tensor(given)} differ in shape"
        raise EvalError(message, rule.span, name="copy-mismatch")
    return context.tied_to.get(tensor, tensor)


def _kind(match: Match) -> Hashable:
    """Return the indices that a match binds, and the module of the block that it lies in."""
    return match.bindings, None if match.frame is None else match.frame.module


def _counterpart(
    context: Context, rule: Copy, match: Match, base: Match | None, source: Match, sides: CopySides
) -> int:
    """Return the parameter of the module `source` that has the name which the target has in the module `base`."""
    assert base is not None
    assert match.tensor is not None
    if base.tensor is not None:
        raise EvalError("a module can't be copied into a parameter", rule.span, name="copy-mismatch")
    name, sources = sides.name_of(context, base, match.tensor), sides.parameters(context, source)
    if name not in sources:
        hint = did_you_mean(name, sources)
        raise EvalError(f"the source has no `{name}`", rule.operands[0].span, hint, "copy-mismatch")
    return sources[name]
