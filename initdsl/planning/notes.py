"""What a plan remarks on: fans that are known to be wrong for what a tensor is, and subclasses that are left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from initdsl.initializers import Initializer, parameters_of
from initdsl.language.syntax.nodes import Assign, Call, ClassPattern, Name, Selector, String
from initdsl.language.syntax.walk import remembered, walk
from initdsl.network.parts import ClassInfo, ModuleInfo
from initdsl.network.selectors.classes import of_class
from initdsl.text.diagnostic import Diagnostic

from .actions import Action
from .context import Context
from .names import selector_context
from .plan import PlanEntry, distinct_actions
from .statements import Statement

__all__ = ["doubtful_fans", "subclasses_left_out"]


# ---- fans


def doubtful_fans(context: Context, entries: Sequence[PlanEntry], calls: Mapping[int, Call]) -> Iterator[Diagnostic]:
    """Yield where torch's fans are known not to be those the layer computes with, once for each clause and reason.

    `calls` has, by clause, the initializer that is all of its right-hand side.
    """
    fans = _fans_by_clause(context, entries, calls)
    noted: set[tuple[int, str]] = set()
    sound: set[tuple[int, int]] = set()  # actions in classes, by `id`, with nothing wrong in any module
    for entry in entries if fans else ():
        for action in entry.actions:
            rule, number = action.clause.rule, action.clause.number
            if number not in fans:
                continue
            module = context.network.modules[entry.module_of(action)]
            if (id(action), id(module.cls)) in sound:
                continue
            wrong = _wrong_fan(module, action, fans[number])
            if wrong is None:
                if not _is_convolution(module.cls):  # which has groups or not
                    sound.add((id(action), id(module.cls)))
                continue
            if (number, wrong.reason) in noted:
                continue
            noted.add((number, wrong.reason))
            assert isinstance(rule, Assign)
            message = f"`{entry.label}` {list(entry.shape)}: {wrong.reason}"
            where = context.rules.source(rule.source)
            yield Diagnostic(wrong.name, message, where, rule.value.span, wrong.hint, "note")


def _fans_by_clause(
    context: Context, entries: Sequence[PlanEntry], calls: Mapping[int, Call]
) -> dict[int, frozenset[str]]:
    """Return the fans that calls read off shapes, by the number of their clause; those that read none are left out."""
    numbers = dict.fromkeys(action.clause.number for action in distinct_actions(entries)) if calls else ()
    read = {n: _fans_read(context.registry.get(calls[n].function), calls[n]) for n in numbers if n in calls}
    return {number: fans for number, fans in read.items() if fans}


def _fans_read(initializer: Initializer | None, call: Call) -> frozenset[str]:
    """Return the fans that a call reads off the shape: both where its mode is a mean, or can't be seen."""
    if initializer is None or not initializer.elementwise or initializer.parameter("fan_in") is None:
        return frozenset()
    keywords = [a.name for a in call.arguments if a.name is not None]
    names = parameters_of(initializer, len(call.arguments) - len(keywords), keywords)
    given = dict(zip(names, call.arguments, strict=True))
    if given.keys() & {"fan", "fan_in", "fan_out"}:
        return frozenset()
    both = frozenset(name for name in ("fan_in", "fan_out") if initializer.parameter(name) is not None)
    mode = initializer.parameter("mode")
    if mode is None:
        return both
    word = mode.default
    if "mode" in given:
        value = given["mode"].value
        word = value.name if isinstance(value, Name) else value.value if isinstance(value, String) else None
    return frozenset([word]) if word in both else both


CONVOLUTIONS = ("Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")


@dataclass(frozen=True)
class WrongFan:
    """Why torch's fans of a tensor are not its layer's, and what to write instead: see `_wrong_fan` for examples."""

    reason: str
    hint: str
    name: str = "doubtful-fan"


def _wrong_fan(module: ModuleInfo, action: Action, read: frozenset[str]) -> WrongFan | None:
    """Return what is wrong with the fans that an action reads off its tensor; None where it makes no difference.

    What reads both alike gets the same from fans that are swapped, and a convolution with groups has its right fan_in.
    """
    cls, ndim = module.cls, len(action.shape)
    if action.index is not None or action.view is not None:
        return None
    if ndim == 2 and cls.name == "Conv1D":
        reason = "its layer stores (in, out), so fan_in and fan_out are swapped"
        return None if len(read) == 2 else WrongFan(reason, "write `fan_in=fan_out, fan_out=fan_in`")
    convolution = _is_convolution(cls)
    if ndim == 3 and not convolution:
        return WrongFan("a stack of matrices is read as a convolution", "`[*]` fills each matrix by itself")
    groups = module.attribute("groups") if convolution else 1
    grouped = isinstance(groups, int) and groups > 1
    if convolution and any("Transpose" in name for name in _class_names(cls)) and (grouped or len(read) == 1):
        inputs = "fan_out // groups" if grouped else "fan_out"
        return WrongFan("a transposed convolution has its fans swapped", f"write `fan_in={inputs}, fan_out=fan_in`")
    if grouped and "fan_out" in read:
        reason, hint = "fan_out of a grouped convolution counts all groups", "`fan_out=fan_out // groups` counts one"
        return WrongFan(reason, hint, "depthwise-fan")
    return None


@lru_cache(maxsize=4096)
def _class_names(cls: ClassInfo) -> frozenset[str]:
    return frozenset([cls.name, *(base.name for base in cls.bases)])


def _is_convolution(cls: ClassInfo) -> bool:
    return not _class_names(cls).isdisjoint(CONVOLUTIONS)


# ---- classes


@remembered
def _classes_named(selector: Selector) -> tuple[ClassPattern, ...]:
    """Return the classes that a selector names, each without those that derive from it."""
    named = (node for node in walk(selector) if isinstance(node, ClassPattern))
    return tuple(node for node in named if not node.subclasses and "*" not in node.name)


def subclasses_left_out(
    context: Context, statements: Sequence[Statement], entries: Sequence[PlanEntry]
) -> Iterator[Diagnostic]:
    """Yield subclasses that a class name leaves out, and that no later rule speaks of, once for each name."""
    noted: set[str] = set()
    network, tied_to = context.network, context.tied_to

    last: dict[int, int] = {}

    def is_left_out(module: int, number: int) -> bool:
        if not last:  # seldom asked for
            last.update({e.tensor.index: max((a.clause.number for a in e.actions), default=-1) for e in entries})
        below = (t for i in network.reachable(module) for t in network.modules[i].parameters.values())
        return any(last.get(tied_to.get(t, t), -1) < number for t in below)

    for statement in statements:
        clause = statement.clause
        for node in _classes_named(clause.targets) if clause.targets is not None else ():
            if node.name in noted:
                continue
            noted.add(node.name)
            selectors = selector_context(context, statement.setting.variables, node.span)
            exact = set(of_class(selectors, ClassPattern(node.name, False, (), node.span)))
            wider = of_class(selectors, ClassPattern(node.name, True, (), node.span))
            if len(wider) == len(exact):
                continue
            derived = sum(is_left_out(module, clause.number) for module in wider if module not in exact)
            if exact and derived:
                are = "1 subclass of it is" if derived == 1 else f"{derived} subclasses of it are"
                message = f"`{node.name}` selects {len(exact)}; {are} not selected"
                where = context.rules.source(clause.rule.source)
                yield Diagnostic("subclass-left-out", message, where, node.span, f"`{node.name}+` would", "note")
