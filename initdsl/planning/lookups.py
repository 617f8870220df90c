"""What names, paths and selectors in an expression stand for, where the expression stands."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from initdsl.initializers import ArgumentError, fans
from initdsl.language.expressions.let import Variables
from initdsl.language.expressions.shapes import EvalError, NotThere
from initdsl.language.syntax.nodes import ClassPattern, Expr, Index, Length, Name, Path, Selector, Step
from initdsl.network.data import READABLE, data_names, is_data, item_of
from initdsl.network.description import Network
from initdsl.network.plain import MISSING, plain_value
from initdsl.network.selectors.context import SelectorContext
from initdsl.network.selectors.in_part import hint_in_part, refuse_count
from initdsl.network.selectors.matches import Match
from initdsl.network.selectors.paths import reach
from initdsl.network.selectors.select import select
from initdsl.network.selectors.why_nothing import explain
from initdsl.text.wording import did_you_mean

from .context import Context
from .program import Load, Read, Target

__all__ = [
    "FACT_NAMES",
    "FileNames",
    "Loaded",
    "Selected",
    "Site",
    "at_path",
    "count_selected",
    "fan",
    "name_in",
    "names_in_files",
    "names_of_match",
    "plain_name",
    "refuse_misspelt",
]


# what an expression may ask of the tensor it is for, by name
FACT_NAMES = ("fan_in", "fan_out", "shape", "ndim", "numel")


# how Python writes what the language writes otherwise
PYTHON_WORDS = {"True": "true", "False": "false", "None": "none"}


@dataclass(frozen=True, slots=True)
class Selected:
    """All that the statement of a site selects: `Selected(3, {5: [Match(3, tensor=5)]}, {})`.

    `number` is the statement's; the matches are by the number of the tensor they lead to. `loaded` is filled in with what
    each `load` makes of a tensor, by its number.
    """

    number: int
    matches: Mapping[int, list[Match]]
    loaded: dict[int, list[Loaded]]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a `load` makes of one tensor: `Loaded(Load("a.safetensors", "fc.weight", (10, 512)), ["fc.weight"], request)`.

    `names` are those of its names that the file has. Where a tensor is left to other rules, `load` is None if the file
    lacks it, and else has another shape. It is `of_module` if the rule selects a module, not the tensor. `request` says
    what was read: path, prefix and renames, see `loads`.
    """

    load: Load | None
    names: list[str]
    request: Any
    of_module: bool
    is_left: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """Where an expression stands: `Site(context, variables, Match(3, tensor=5), target=5, shape=(4, 8), source="net.init")`.

    `target` is the tensor that is written to, by its number, the one a tie makes it; `shape` that of the piece written to.
    `source` is the rule file, from which `load` finds others; None where nothing can be loaded. `selected` is all that the
    statement selects, of which the target is a part.
    """

    context: Context
    variables: Variables
    match: Match
    target: int | None = None
    shape: tuple[int, ...] | None = None
    source: str | None = None
    selected: Selected | None = None

    @property
    def scope(self) -> tuple[int, ...]:
        """The modules whose attributes names may mean, innermost first."""
        return (self.match.module, *self.match.scope)


# ---- names


def plain_name(site: Site, node: Name) -> Any:
    """Return what a name that is neither bound nor a `let` stands for: a plain value, or the step that gives a tensor."""
    name = node.name
    if name == "it":
        if site.shape is None:
            message = "`it` is the tensor a rule writes to, there is none here"
            raise EvalError(message, node.span, name="unknown-name")
        return Target(whole=False)
    if name == "net":
        hint = "name a parameter or an attribute: `net.head.weight`"
        raise EvalError("`net` is a module, not a value", node.span, hint)
    if site.shape is not None and name in FACT_NAMES:
        return _fact(site.shape, node)
    modules = site.context.network.modules
    owner = modules[site.match.module]
    tensor = owner.parameters.get(name, owner.buffers.get(name))
    if tensor is not None:
        return _tensor(site, tensor)
    for index in site.scope:
        value = modules[index].attribute(name)
        if value is not MISSING:
            return value
    raise _unknown(site, node)


def _fact(shape: tuple[int, ...], node: Name) -> Any:
    match node.name:
        case "shape":
            return shape
        case "ndim":
            return len(shape)
        case "numel":
            return math.prod(shape)
    return fan(node.name, shape, node)


def fan(which: str, shape: tuple[int, ...], node: Expr) -> int:
    """Return `fan_in` or `fan_out` of a shape. Raises EvalError at `node` where there is none."""
    try:
        return fans(shape)[which == "fan_out"]
    except ArgumentError as error:
        hint = None
        if len(shape) < 2:
            hint = (
                f"`{which}(weight)` is that of the layer's weight; a layer has its sizes by name too, as `in_features`"
            )
        raise EvalError(str(error), node.span, hint, "undefined-fan") from None


def _tensor(site: Site, tensor: int) -> Read | Target:
    first = site.context.tied_to.get(tensor, tensor)
    return Target(whole=True) if first == site.target else Read(first)


def _unknown(site: Site, node: Name) -> EvalError:
    module = site.context.network.modules[site.match.module]
    hint = f"a call has parentheses: `{node.name}()`" if node.name in site.context.registry else _meant(site, node)
    where = f"in `{module.cls.name}`" if module.index else "here"
    return EvalError(f"`{node.name}` has no value {where}", node.span, hint, "unknown-name")


def _meant(site: Site, node: Name) -> str | None:
    """Return a hint what to write in place of a name: a word, an attribute seen from further out, or a similar name."""
    if node.name in PYTHON_WORDS:
        return f"write `{PYTHON_WORDS[node.name]}`"
    network = site.context.network
    for index in network.ancestors(site.match.module):
        outer = network.modules[index]
        if outer.attribute(node.name) is not MISSING:
            path = f"write `{outer.label}.{node.name}`"
            if index == 0:
                return path
            return f"it is an attribute of `{outer.cls.name}`: begin the selector with that, or {path}"
    module = network.modules[site.match.module]
    names = [name for name, _ in site.match.bindings]
    words = [*names, *site.variables, *FACT_NAMES, *module.parameters, *module.attributes()]
    for index in site.match.scope:
        words += network.modules[index].attributes()
    return did_you_mean(node.name, words)


class FileNames(NamedTuple):
    """The names a file may have a tensor under: those below the module that the rule selects, and those in full.

    The former are empty where a rule selects no module around the tensor; at the root they are the same.
    """

    relative: list[str]
    full: list[str]


def names_in_files(site: Site) -> FileNames:
    """Return the names a file may have the target under."""
    assert site.target is not None
    return names_of_match(site.context.network, site.match, site.target)


def names_of_match(network: Network, match: Match, tensor: int) -> FileNames:
    """Return the names a file may have a tensor under that a match leads to."""
    names = network.names(network.tensors[tensor])
    if not match.scope:
        return FileNames([], names)
    bases = [f"{name}." if name else "" for name in network.module_names(match.scope[0])]
    relative = [name[len(base) :] for name in names for base in bases if name.startswith(base)]
    return FileNames(list(dict.fromkeys(relative)), names)


# ---- paths; `selectors` is the context in which nothing is bound


def at_path(site: Site, selectors: SelectorContext, node: Expr, path: Path) -> tuple[Any, Index | None]:
    """Return what a path from `net` leads to, as `plain_name` does, and the index into it if there is one.

    Raises EvalError at `node` where that is nothing, several things or a module.
    """
    matches = reach(selectors, path, site.match.bindings, site.scope)
    if not matches:
        value, index = _attribute_at(site, selectors, path)
        if value is not MISSING:
            return value, index
    if len(matches) != 1:
        count = "nothing" if not matches else f"{len(matches)} things"
        hint = "name one of them" if matches else _hint_to_nothing(selectors, path)
        # of a part it is not known: `given` would take the other value where the whole model has one
        kind = NotThere if not matches and site.context.network.part is None else EvalError
        raise kind(f"this path leads to {count}", node.span, hint, "unmatched-selector")
    match = matches[0]
    if match.tensor is None:
        message = f"`{site.context.network.modules[match.module].label}` is a module, not a value"
        hint = "name a parameter or a plain attribute of it; its length is `len(...)`"
        raise EvalError(message, node.span, hint)
    return _tensor(site, match.tensor), match.index


def _hint_to_nothing(selectors: SelectorContext, path: Path) -> str | None:
    reason = next(iter(explain(selectors, path)), None)
    guessed = reason is not None and reason.fix is not None
    return hint_in_part(selectors.network, None if reason is None else reason.hint, guessed)


def _attribute_at(site: Site, selectors: SelectorContext, path: Path) -> tuple[Any, Index | None]:
    """Return the attribute of a module that a path leads to, or MISSING, and the index into it if there is one."""
    steps = path.steps
    index: Index | None = None
    if len(steps) > 1 and isinstance(last := steps[-1], Index):
        steps, index = steps[:-1], last
    names: list[Step] = []
    while steps and isinstance(step := steps[-1], Step):
        steps, names = steps[:-1], [step, *names]
        modules = reach(selectors, Path("net", steps, None, path.span), site.match.bindings, site.scope)
        if len(modules) == 1 and modules[0].tensor is None:
            return _value_in(site.context.network, modules[0].module, names), index
    return MISSING, None


def _value_in(network: Network, number: int, names: list[Step]) -> Any:
    """Return an attribute of a module, by its number, or what lies inside its plain data; MISSING where it has no such attribute.

    Raises EvalError for data that is no value, and for what is not in it.
    """
    module = network.modules[number]
    first, *inner = names
    value = module.attribute(first.name)
    held = module.values.held(first.name)
    if held is MISSING or not (inner or (value is MISSING and is_data(held))):
        return MISSING if inner else value
    value, where = held, f"{module.label}.{first.name}"
    for step in inner:
        item = item_of(value, step.name)
        if item is MISSING:
            hint = did_you_mean(step.name, data_names(value)) or f"what can be read is {READABLE}"
            kind: type[EvalError] = NotThere
            if value is None:  # as a stage has what others hold
                hint = hint_in_part(network, None) or hint
                kind = NotThere if network.part is None else EvalError
            raise kind(f"`{where}` ({_kind(value)}) has no `{step.name}`", step.span, hint, "unknown-name")
        value, where = item, f"{where}.{step.name}"
    plain = plain_value(value)
    if plain is not MISSING:
        return plain
    if isinstance(value, property) or callable(value):
        raise EvalError(f"`{where}` is computed by code, which no plan runs", names[-1].span, name="unknown-name")
    some = next(iter(data_names(value)), None)
    hint = (
        "numbers, strings, none and tuples of those are values" if some is None else f"name one in it: `{where}.{some}`"
    )
    raise EvalError(f"`{where}` is `{_kind(value)}`, not a value", names[-1].span, hint, "unknown-name")


def _kind(value: object) -> str:
    return type(value).__name__


# ---- lengths


def count_selected(
    site: Site, selectors: SelectorContext, in_expressions: SelectorContext, selector: Selector
) -> int | None:
    """Return how much a selector in `len(...)` selects: of one container its children; None where that is nothing."""
    network = site.context.network
    if not isinstance(selector, Path) or selector.root != "net":
        selected = select(selectors, selector)
        refuse_count(network, (match.module for match in selected), True, selector.span)
        return _distinct(selected)
    # as every path in an expression, one from `net` binds nothing
    matches = reach(in_expressions, selector, site.match.bindings, site.scope)
    refuse_count(network, (match.module for match in matches), False, selector.span)
    if len(matches) == 1 and matches[0].tensor is None:
        module = network.modules[matches[0].module]
        wild = any(isinstance(s, Index) or "*" in s.name for s in selector.steps)
        if module.container and not (wild and not isinstance(selector.steps[-1], Step)):
            return len(module.in_order) if module.container == "list" else len(module.children or module.parameters)
    return _distinct(matches)


def _distinct(matches: list[Match]) -> int | None:
    return len({(m.module, m.tensor) for m in matches}) or None


def name_in(selector: Selector) -> Name | None:
    """Return what stands in `len(...)` as a name of a value, where it could be one: classes begin with a capital."""
    word = selector.root if isinstance(selector, Path) and not selector.steps else None
    if isinstance(word, ClassPattern) and word.name.isidentifier() and word.name[:1].islower():
        return Name(word.name, word.span)
    return None


def refuse_misspelt(selectors: SelectorContext, node: Length) -> None:
    """Raise EvalError for a selector that can select nothing; one whose class is not in this model may."""
    reason = next(iter(explain(selectors, node.selector)), None)
    if reason is not None and not reason.warning:
        hint = hint_in_part(selectors.network, reason.hint, is_guess=reason.fix is not None)
        raise EvalError(reason.message, node.span, hint, reason.name)
