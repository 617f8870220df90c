"""What was meant by a path that begins with no class: `net.layers[0].weight` for `layers.0.weight`.

Names are pasted from `named_parameters()`, from code and from error texts, where they begin with a child of the model,
with the name of a module somewhere in it, or with what holds the model elsewhere (`model.`, `self.`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from initdsl.language.expressions.shapes import EvalError
from initdsl.language.syntax.nodes import ClassPattern, Every, Index, Name, Number, Path, PathStep, Slice, Step, String
from initdsl.text.diagnostic import Edit, Fix
from initdsl.text.source import Span
from initdsl.text.wording import quoted

from .context import SelectorContext
from .matches import Frame, Match
from .paths import select_path
from .select import select

__all__ = ["HOLDERS", "Meant", "is_no_class", "meant_by", "renaming", "steps_of", "written"]


# what holds a network where names are copied from
HOLDERS = frozenset(["_orig_mod", "model", "module", "network", "self"])


@dataclass(frozen=True)
class Meant:
    """A path that selects something where the one that was written selects nothing: `net.head.weight` for `head.weight`.

    `exact` says that it is what was written, behind `net`, `*` or a dot.
    """

    path: Path
    text: str | None
    exact: bool


def is_no_class(pattern: ClassPattern) -> bool:
    """Tell whether a class pattern looks like no class: no capital, no glob, and no `+` or `(...)` behind it."""
    last = pattern.name.rpartition(".")[2]
    marked = pattern.subclasses or bool(pattern.predicates) or "*" in pattern.name
    return not marked and not last.lstrip("_")[:1].isupper()


def meant_by(context: SelectorContext, path: Path, frame: Frame | None) -> list[Meant]:
    """Return the paths that may have been meant by one whose class is not in the model, most likely first."""
    root = path.root
    if not isinstance(root, ClassPattern) or root.subclasses or root.predicates:
        return []
    steps = steps_of(path)
    for dropped in _droppable(steps):
        rest = replace(path, root="net" if frame is None else None, steps=steps[dropped:])
        first = _selected(context, rest, frame)
        if first:
            anywhere = _anywhere(context, rest, len(first)) if frame is None else []
            return [Meant(rest, written(rest), not dropped), *anywhere]
    held = next((i for i, step in enumerate(steps[:-1]) if not _is_holder(step)), len(steps) - 1)
    return _anywhere(context, replace(path, steps=steps[held:]), 0, frame, not held)


def steps_of(path: Path) -> tuple[PathStep, ...]:
    """Return the steps of a path, the parts of a class's name that it begins with among them."""
    root = path.root
    if not isinstance(root, ClassPattern):
        return path.steps
    names = root.name.split(".")
    return (*(Step(name, (), root.span) for name in names), *path.steps)


def _droppable(steps: tuple[PathStep, ...]) -> Iterator[int]:
    """Yield how many of the first steps may be names of what holds the model where the path comes from."""
    yield 0
    for dropped, step in enumerate(steps[:-1], 1):
        if not isinstance(step, Step) or not isinstance(steps[dropped], Step):
            return
        if dropped < len(steps) - 1 or all(map(_is_holder, steps[:dropped])):
            yield dropped


def _is_holder(step: PathStep) -> bool:
    return isinstance(step, Step) and step.name in HOLDERS


def _anywhere(
    context: SelectorContext, path: Path, more_than: int, frame: Frame | None = None, exact: bool = False
) -> list[Meant]:
    """Return the path from modules of any class, where it selects more than so many."""
    rooted = replace(path, root=ClassPattern("*", False, (), path.span))
    is_named = isinstance(path.steps[0], Step) and not path.steps[0].name.isdecimal()
    if not is_named or len(_selected(context, rooted, frame)) <= more_than:
        return []
    return [Meant(rooted, written(rooted), exact)]


def _selected(context: SelectorContext, path: Path, frame: Frame | None) -> list[Match]:
    try:
        return select(context, path, frame) if path.root is not None else select_path(context, path, frame)
    except EvalError:
        return []


# ---- as text


def written(path: Path) -> str | None:
    """Return a path as a rule file has it, numbers in brackets; None where an index is more than a number or a name."""
    parts = ["net" if path.root == "net" else "*" if isinstance(path.root, ClassPattern) else ""]
    for step in path.steps:
        if step.predicates:
            return None
        if isinstance(step, Step):
            parts.append(f"[{step.name}]" if step.name.isdecimal() else f".{step.name}")
            continue
        items = [_item(step, place) for place in range(len(step.items))]
        if None in items:
            return None
        parts.append(f"[{', '.join(item for item in items if item is not None)}]")
    return "".join(parts)


def _item(index: Index, place: int) -> str | None:
    match index.items[place]:
        case Number(value=value):
            return str(value)
        case String(value=value):
            return quoted(value)
        case Name(name=name):
            return name
        case Every():
            return "*"
        case Slice(start=None, stop=None, step=None):
            return ":"
    return None


def renaming(step: Step, name: str) -> Fix:
    """Return the fix that gives a step of a path another name."""
    start = step.span.end - len(step.name)
    return Fix(f"write `{name}`", (Edit(Span(start, step.span.end), name),), safe=False)
