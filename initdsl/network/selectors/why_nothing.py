"""Why a selector selects nothing, and what is nearest to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from initdsl.language.syntax.nodes import (
    ClassPattern,
    Index,
    Maybe,
    Number,
    Path,
    PathStep,
    Regex,
    Selector,
    Step,
    Union_,
    Within,
)
from initdsl.network.description import Network
from initdsl.network.parts import ClassInfo, ModuleInfo
from initdsl.text.diagnostic import Edit, Fix
from initdsl.text.source import Span
from initdsl.text.wording import listed, nearest

from .classes import of_class, of_class_name
from .context import SelectorContext, State
from .matches import Frame, Unmatched, continued
from .meant import Meant, is_no_class, meant_by, renaming
from .paths import integer_keys, select_path, starts, take_step
from .select import container_of, select

__all__ = ["explain"]


# how many modules are looked at for names to propose
MOST_MODULES = 1000


# the classes of modules that `torch.export` and `torch.fx` rebuild, whatever they were before
REBUILT = frozenset(["torch.nn.modules.module.Module", "torch.export.unflatten.InterpreterModule"])


PATHS = "a path from the model itself starts with `net.`, one from any module with `*.`"


def explain(
    context: SelectorContext, selector: Selector, frame: Frame | None = None, modules: bool = False
) -> Iterator[Unmatched]:
    """Yield, for each part of a selector that selects nothing and must, what is missing and the nearest there is."""
    match selector:
        case Maybe():
            yield from _meant_all_the_same(context, selector.selector, frame)
        case Union_():
            for member in selector.members:
                if not select(context, member, frame, modules):
                    yield from explain(context, member, frame, modules)
        case Within():
            yield from _explain_within(context, selector, frame, modules)
        case Regex():
            noun = "module" if modules else "parameter"
            yield Unmatched(f"no {noun} name contains a match of this regular expression", selector.span, None)
        case Path():
            if frame is not None and selector.root is not None and select_path(context, selector, None):
                yield Unmatched("nothing of this lies inside the block's selector", selector.span, None)
            else:
                yield _explain_path(context, selector, frame)


def _meant_all_the_same(context: SelectorContext, selector: Selector, frame: Frame | None) -> Iterator[Unmatched]:
    """Yield what is wrong with a selector that may select nothing: only a path that begins with no class, as it stands."""
    root = selector.root if isinstance(selector, Path) else None
    if isinstance(selector, Path) and isinstance(root, ClassPattern) and is_no_class(root):
        if not of_class(context, root) and (meant := meant_by(context, selector, frame)):
            yield _taken_for_class(selector, root, meant)


def _explain_within(context: SelectorContext, node: Within, frame: Frame | None, modules: bool) -> Iterator[Unmatched]:
    if not container_of(context, node.container, frame):
        for part in node.container.members if isinstance(node.container, Union_) else (node.container,):
            if not container_of(context, part, frame):
                yield from explain(context, part, continued(part, frame), True)
    elif not select(context, node.selector, frame, modules):
        yield from explain(context, node.selector, frame, modules)
    else:
        word = "outside" if node.negated else "inside"
        yield Unmatched(f"nothing of the first lies {word} the second", node.span, None)


def _explain_path(context: SelectorContext, path: Path, frame: Frame | None) -> Unmatched:
    if isinstance(path.root, ClassPattern) and not of_class(context, path.root):
        return _explain_class(context, path, path.root, frame)
    states = starts(context, path, frame)
    for number, step in enumerate(path.steps, 1):
        reached = take_step(context, states, step, number == len(path.steps))
        if not reached:
            return _without_holders(context, path, number) or _explain_step(context, path, states, step)
        states = reached
    return Unmatched("this selects nothing", path.span, None)


# ---- a step that leads nowhere


def _explain_step(context: SelectorContext, path: Path, states: list[State], step: PathStep) -> Unmatched:
    modules = [context.network.modules[state.module] for state in states if state.tensor is None]
    if not modules:
        return Unmatched("a parameter has nothing inside it but elements", step.span, None)
    where = _where(path, modules)
    if isinstance(step, Index):
        if (place := _empty_place(step, modules)) is not None:
            hint = "a selector that may match nothing ends in `?`"
            return Unmatched(f"`{place}` is none", step.span, hint, warning=True)
        return Unmatched(f"there is no such index {where}", step.span, _which_indices(context, modules))
    return _explain_name(step, modules, where)


def _without_holders(context: SelectorContext, path: Path, number: int) -> Unmatched | None:
    """Return what is wrong with `net.model.head`, where that is `net.head`; None for what fails further down."""
    holder = path.steps[0]
    if path.root != "net" or number != 1 or not isinstance(holder, Step) or holder.predicates:
        return None
    root = ClassPattern(holder.name, False, (), holder.span)
    meant = [one for one in meant_by(context, replace(path, root=root, steps=path.steps[1:]), None) if not one.exact]
    if not meant or meant[0].path.root != "net":
        return None
    return replace(_taken_for_class(path, root, meant), message=f"there is no `{holder.name}` in `net`", warning=False)


def _where(path: Path, modules: list[ModuleInfo]) -> str:
    if not isinstance(path.root, ClassPattern):
        return f"in `{modules[0].label}`" + ("" if len(modules) == 1 else f" and {len(modules) - 1} more")
    return f"in `{path.root.name}`" if len(modules) == 1 else f"in any of {len(modules)} `{path.root.name}`"


def _explain_name(step: Step, modules: list[ModuleInfo], where: str) -> Unmatched:
    name = step.name
    if step.predicates:
        return Unmatched(f"nothing named `{name}` {where} meets this condition", step.span, None)
    if "*" not in name and any(name in module.absent for module in modules):
        hint = "a selector that may match nothing ends in `?`"
        return Unmatched(f"`{name}` is none {where}", step.span, hint, warning=True)
    names = list(
        dict.fromkeys(
            key for m in modules[:MOST_MODULES] for key in (*m.parameters, *m.buffers, *m.children, *m.absent)
        )
    )
    if not names and "*" in name:
        return Unmatched(f"there are no parameters {where}", step.span, None)
    hints = f"there {'is' if len(names) == 1 else 'are'} {listed(names)}" if names else None
    noun = f"nothing named like `{name}`" if "*" in name else f"no `{name}`"
    near = nearest(name, names)
    if any(module.attribute(name) is None for module in modules[:MOST_MODULES]):
        near, hints = None, f"`{name}` is None there; a selector that may match nothing ends in `?`"
    if near is None:
        return Unmatched(f"there is {noun} {where}", step.span, hints)
    return Unmatched(f"there is {noun} {where}", step.span, f"did you mean `{near}`?", fix=renaming(step, near))


def _empty_place(step: Index, modules: list[ModuleInfo]) -> str | None:
    """Return the place of a list that an index written as a number leads to, and that holds nothing."""
    text = step.items[0]
    if len(step.items) != 1 or not isinstance(text, Number):
        return None
    for module in modules:
        inside = text.value in range(len(module.places))
        if inside and module.places[int(text.value)] not in {**module.children, **module.parameters}:
            return f"{module.label}[{int(text.value)}]"
    return None


def _which_indices(context: SelectorContext, modules: list[ModuleInfo]) -> str | None:
    """Return a hint that says which indices there are, where all the modules have the same ones."""
    first = modules[0]
    keys = integer_keys(context, first)
    for module in modules[1:MOST_MODULES]:
        if module.container != first.container or integer_keys(context, module) != keys:
            return None
    if first.container == "list":
        return f"it has {len(keys)} {'child' if len(keys) == 1 else 'children'} by index"
    if keys:
        return f"its integer {'key is' if len(keys) == 1 else 'keys are'} {listed([key for _, key in keys])}"
    names = [*first.children, *first.parameters]
    if first.container == "dict" and names:
        return f'its keys are no integers: `[*]` is every one, `["{names[0]}"]` that one'
    return "it has no children by index"


# ---- a class that is not there


def _explain_class(context: SelectorContext, path: Path, pattern: ClassPattern, frame: Frame | None) -> Unmatched:
    network, name, span = context.network, pattern.name, pattern.span
    exact = of_class_name(context, name, False)
    if exact and pattern.predicates:
        return Unmatched(f"none of {len(exact)} `{name}` meets this condition", span, None)
    derived = of_class_name(context, name, True)
    if derived and not pattern.subclasses:
        noun = "subclass" if len(derived) == 1 else "subclasses"
        classes = listed(list(dict.fromkeys(network.modules[index].cls.name for index in derived)))
        message = f"`{name}` selects 0 of {len(derived)} {noun} of {name} ({classes})"
        return Unmatched(message, span, f"`{name}+` would", "subclass-left-out")
    meant = meant_by(context, path, frame)
    if meant:
        return _taken_for_class(path, pattern, meant)
    near = nearest(name.rpartition(".")[2], [cls.name for cls in network.by_class])
    hint = None if near is None else f"did you mean `{near}`?"
    last = Span(span.start + len(name) - len(name.rpartition(".")[2]), span.start + len(name))
    fix = None if near is None else Fix(f"write `{near}`", (Edit(last, near),), safe=False)
    if not is_no_class(pattern):
        lost = next(
            (cls.name for cls in network.by_class if cls.qualname in REBUILT and _hold_parameters(network, cls)), None
        )
        if lost is not None:
            hint = f"layers that `torch.export` rebuilds are of the class `{lost}`: paths from `net` select them"
            fix = None
        return Unmatched(f"there is no `{name}` in this model", span, hint, warning=True, fix=fix)
    message = f"`{name}` is taken for a class, and there is none of that name in this model"
    root = network.modules[0]
    if name in root.children or name in root.parameters:
        return Unmatched(message, span, f"a path starts with `net`: `net.{name}`")
    return Unmatched(message, span, hint or PATHS, fix=fix)


def _hold_parameters(network: Network, cls: ClassInfo) -> bool:
    return any(network.modules[index].parameters for index in network.by_class[cls])


def _taken_for_class(path: Path, pattern: ClassPattern, meant: list[Meant]) -> Unmatched:
    """Return the finding about a path that selects something behind `net`, `*` or a dot, and begins with no class."""
    texts = [one.text for one in meant if one.text is not None]
    fix = None
    if meant[0].text is not None:
        whole = Span(path.span.start, (path.steps[-1] if path.steps else pattern).span.end)
        fix = Fix(f"write `{meant[0].text}`", (Edit(whole, meant[0].text),), safe=False)
    hint = " or ".join(f"`{text}`" for text in texts)
    warning = not is_no_class(pattern) and not meant[0].exact
    message = f"`{pattern.name}` is taken for a class, and there is none of that name in this model"
    return Unmatched(message, pattern.span, f"did you mean {hint}?" if hint else None, warning=warning, fix=fix)
