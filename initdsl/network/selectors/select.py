"""Which modules and which tensors a selector selects in a described model."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from initdsl.language.expressions.shapes import EvalError
from initdsl.language.syntax.nodes import ClassPattern, Index, Maybe, Path, Regex, Selector, Step, Union_, Within
from initdsl.language.syntax.regex import linear_regex
from initdsl.language.syntax.walk import remembered, walk
from initdsl.text.source import Span

from .classes import has_names
from .context import MatchKey, Reads, SelectorContext, block_of, matches_around
from .matches import Bindings, Frame, Match, continued, merge
from .paths import inside_block, select_path

__all__ = ["container_of", "is_fixed", "match_key", "select"]


def select(
    context: SelectorContext, selector: Selector, frame: Frame | None = None, modules: bool = False
) -> list[Match]:
    """Return what a selector selects, in the order of the model. `modules` makes a regex search module names.

    Raises EvalError for what can't be evaluated.
    """
    if frame is None:
        key = match_key(selector, modules, context.reads)
        if key is None:
            return _select(context, selector, None, modules)
        matches = context.cache.matches.get(key)
        if matches is None:
            matches = _select(context, selector, None, modules)
            context.cache.keep(key, matches)
        return matches
    if _is_pure(selector) and (
        isinstance(selector, Regex) or (isinstance(selector, Path) and selector.root is not None)
    ):
        return inside_block(context, _near(context, selector, frame, modules), frame)
    return _select(context, selector, frame, modules)


def _select(context: SelectorContext, selector: Selector, frame: Frame | None, modules: bool) -> list[Match]:
    match selector:
        case Maybe():
            return select(context, selector.selector, frame, modules)
        case Union_():
            matches: list[Match] = []
            for member in selector.members:
                found = select(context, member, frame, modules)
                context.spend(len(found))  # before they are held once more
                matches += found
            return matches
        case Within():
            return _within(context, selector, frame, modules)
        case Regex():
            return inside_block(context, _regex(context, selector, modules), frame)
        case Path():
            return select_path(context, selector, frame)
    raise AssertionError(selector)


def match_key(selector: Selector, modules: bool, reads: Callable[[], Reads | None]) -> MatchKey | None:
    """Return what is equal for selectors that select the same outside of blocks; None where names are bound or looked up.

    Matches of pieces hold the index as it is written, and errors show where: equal ones elsewhere won't do.
    """
    meaning = _meaning(selector)
    if not meaning.is_pure:
        return None
    return meaning.same, modules, meaning.spans, reads() if meaning.roams else None


class _Meaning(NamedTuple):
    """What a selector says by itself, wherever it stands: see the functions below. Equal ones have the `same` object."""

    same: object
    is_pure: bool
    spans: tuple[Span, ...]
    roams: bool


@remembered
def _meaning(selector: Selector) -> _Meaning:
    spans = tuple(node.span for node in walk(selector)) if _has_pieces(selector) else ()
    return _Meaning(_same(selector), not has_names(selector), spans, _roams(selector))


@lru_cache(maxsize=65536)
def _same(selector: Selector) -> object:
    return object()


def _roams(selector: Selector) -> bool:
    """Whether a selector goes any number of steps from the modules of a class, of which it keeps only those asked for."""
    paths = [node for node in walk(selector) if isinstance(node, Path) and isinstance(node.root, ClassPattern)]
    return any(isinstance(step, Step) and step.name == "**" for path in paths for step in path.steps)


def _is_pure(selector: Selector) -> bool:
    """Whether a selector means the same wherever it stands: no names that are bound or looked up."""
    return _meaning(selector).is_pure


def is_fixed(selector: Selector) -> bool:
    """Whether a selector means the same wherever it stands, inside of every block too."""
    return _is_pure(selector) and not any(isinstance(node, Path) and node.root is None for node in walk(selector))


def _has_pieces(selector: Selector) -> bool:
    """Whether a selector may select pieces of tensors."""
    paths = [node for node in walk(selector) if isinstance(node, Path)]
    return any(path.view is not None or (path.steps and isinstance(path.steps[-1], Index)) for path in paths)


def _near(context: SelectorContext, selector: Selector, frame: Frame, modules: bool) -> list[Match]:
    """Return the matches of a selector that may lie inside a block.

    A superset: cheap when many small blocks ask about one selector.
    """
    matches = select(context, selector, None, modules)
    if not _is_pure(selector):
        return matches
    block = block_of(context, frame)
    if block.below is None:
        block.below = context.network.reachable(*block.positions)
    if 2 * len(block.below) > len(matches):
        return matches
    key = match_key(selector, modules, context.reads)
    assert key is not None
    by_module = context.cache.by_module.get(key)
    if by_module is None:
        by_module = context.cache.by_module[key] = {}
        for position, match in enumerate(matches):
            by_module.setdefault(match.module, []).append(position)
    return [matches[position] for position in sorted([p for m in block.below for p in by_module.get(m, ())])]


# ---- regular expressions


def _regex(context: SelectorContext, node: Regex, modules: bool) -> list[Match]:
    network, search = context.network, _compiled(context, node).search
    if modules:
        return [Match(m.index) for m in network.modules if any(map(search, network.module_names(m.index)))]
    matches = []
    for tensor in network.tensors:
        if tensor.kind == "buffer":
            continue
        for owner, local in tensor.owners:
            if any(search(f"{path}.{local}" if path else local) for path in network.module_names(owner)):
                matches.append(Match(owner, tensor.index))
    return matches


def _compiled(context: SelectorContext, node: Regex) -> re.Pattern[str]:
    """Return the regular expression in a linear-time engine. Raises EvalError for one that engine refuses."""
    compiled = context.cache.regexes.get(node.pattern)
    if compiled is None:
        try:
            compiled = context.cache.regexes[node.pattern] = linear_regex(node.pattern)
        except ValueError as error:
            hint = "it has the syntax of RE2: no look-around, no back-references"
            raise EvalError(f"this regular expression can't be used: {error}", node.span, hint, "bad-regex") from None
    return compiled


# ---- `in`


def _within(context: SelectorContext, node: Within, frame: Frame | None, modules: bool) -> list[Match]:
    containers = _modules_of(container_of(context, node.container, frame), node.container)
    if node.negated:
        outside = set(context.network.reachable(*(match.module for match in containers)))
        return [match for match in select(context, node.selector, frame, modules) if match.module not in outside]
    if not any(container.bindings for container in containers):
        below = set(context.network.reachable(*(match.module for match in containers)))
        context.spend(len(below))
        if frame is None:
            matches = _near(context, node.selector, Frame(context.network, containers), modules)
        else:
            matches = select(context, node.selector, frame, modules)
        return [match for match in matches if match.module in below]
    around = Frame(context.network, containers)
    if frame is None:
        matches = _near(context, node.selector, around, modules)
    else:
        matches = select(context, node.selector, frame, modules)
    block = block_of(context, around)
    inside = []
    for match in matches:
        bound: dict[Bindings, None] = {}  # containers that bind the same would select the same again
        positions = matches_around(context, block, match.module)
        context.spend(1 + len(positions))
        for position in positions:
            bindings = merge(match.bindings, containers[position].bindings)
            if bindings is not None:
                bound.setdefault(bindings)
        inside += [match if bindings == match.bindings else match._replace(bindings=bindings) for bindings in bound]
    return inside


def container_of(context: SelectorContext, selector: Selector, frame: Frame | None) -> list[Match]:
    """Return what stands behind an `in`."""
    if isinstance(selector, Union_):
        return [match for member in selector.members for match in container_of(context, member, frame)]
    return select(context, selector, continued(selector, frame), True)


def _modules_of(matches: list[Match], selector: Selector) -> list[Match]:
    """Return the modules among matches; refuse matches of which none is a module."""
    modules = [match for match in matches if match.tensor is None]
    if matches and not modules:
        raise EvalError("`in` needs modules, this selects parameters", selector.span, name="needs-module")
    return modules
