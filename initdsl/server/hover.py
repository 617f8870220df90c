"""What stands at a place, in words: hover texts, where a name comes from, and counts beside selectors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from initdsl.language.rules.loader import inside_root, packaged_recipes
from initdsl.language.syntax.nodes import Rule, Selector, Union_
from initdsl.language.syntax.walk import selectors_of
from initdsl.planning.lookups import FACT_NAMES
from initdsl.text.files import read_whole
from initdsl.text.source import Span
from initdsl.text.wording import value_text

from .calls import call_around
from .colours import Colour, coloured
from .known import Known, owners, shape_and_fans
from .outline import Declaration, Outline, outline
from .pieces import Piece
from .words import FUNCTION_TEXTS, description

__all__ = ["count_ahead", "counts", "definition", "hover"]


# so many parameters of a selector are listed
MOST = 12


def hover(found: Outline, offset: int, known: Known) -> tuple[Span, str] | None:
    """Return what is at an offset, as Markdown, and the characters it is about."""
    number = found.pieces.at(offset)
    if number < 0:
        return None
    piece = found.pieces.pieces[number]
    colour = _colour(piece, offset)
    if colour is not None:
        text = (
            _word(piece, colour, known) or _let(found, number, colour, offset) or _value(found, number, colour, known)
        )
        if text is not None:
            return Span(piece.start + colour.start, piece.start + colour.end), text
    return _selector(found, number, offset, known)


def _colour(piece: Piece, offset: int) -> Colour | None:
    """Return the token that an offset lies in."""
    for colour in coloured(piece.text):
        if piece.start + colour.start <= offset < piece.start + colour.end:
            return colour
    return None


def _code(text: str) -> str:
    return f"```initdsl\n{text}\n```"


def _word(piece: Piece, colour: Colour, known: Known) -> str | None:
    """Return what there is to say of an initializer, an argument or a reserved word."""
    word = piece.text[colour.start : colour.end]
    if colour.kind == "function" and word in known.registry:
        initializer = known.registry[word]
        return f"{_code(initializer.signature)}\n\n{initializer.doc}"
    if colour.kind == "function" and word in FUNCTION_TEXTS:
        form, gives = FUNCTION_TEXTS[word]
        return f"{_code(form)}\n\n{gives}"
    if colour.kind == "parameter":
        return _parameter(piece.text[: colour.start], word, known)
    if colour.kind in ("statement", "word", "constant", "pseudo") and description(word):
        return f"`{word}`: {description(word)}"
    return None


def _parameter(before: str, word: str, known: Known) -> str | None:
    """Return what there is to say of an argument given by name behind `before`."""
    call = call_around(before)
    initializer = known.registry.get(call.function) if call is not None else None
    parameter = initializer.parameter(word) if initializer is not None else None
    if initializer is None or parameter is None:
        return None
    allowed = f", one of {', '.join(f'`{c}`' for c in parameter.choices)}" if parameter.choices else ""
    default = "required" if parameter.required else f"default `{parameter.default}`"
    return f"`{word}` of `{initializer.name}`: {default}{allowed}"


def _let(found: Outline, number: int, colour: Colour, offset: int) -> str | None:
    """Return the `let` that a name in a piece means."""
    if colour.kind not in ("name", "definition"):
        return None
    declared = found.name_at(offset)
    if not isinstance(declared, Declaration):
        declared = found.declaration(found.pieces.pieces[number].text[colour.start : colour.end], number)
    return None if declared is None else _code(found.pieces.pieces[declared.piece].text)


def _is_choice(before: str, word: str, known: Known) -> bool:
    """Tell whether a name is a word of an enumeration: the second one of `mode=fan_in`."""
    call = call_around(before)
    initializer = known.registry.get(call.function) if call is not None else None
    if call is None or initializer is None:
        return False
    parameters = initializer.parameters
    by_place = parameters[call.position] if call.argument is None and call.position < len(parameters) else None
    parameter = initializer.parameter(call.argument) if call.argument is not None else by_place
    return parameter is not None and word in parameter.choices


def _value(found: Outline, number: int, colour: Colour, known: Known) -> str | None:
    """Return what a name in an expression stands for: a fact of the tensor, or an attribute of the modules it is of."""
    piece = found.pieces.pieces[number]
    word = piece.text[colour.start : colour.end]
    if colour.kind != "name" or _is_choice(piece.text[: colour.start], word, known):
        return None
    if word in FACT_NAMES:
        return f"`{word}`: {description(word)}"
    if piece.rule is None or known.network is None:
        return None
    values: dict[str, int] = {}
    for index in owners(found, number, selectors_of(piece.rule), known):
        value = known.network.modules[index].attribute(word)
        if isinstance(value, bool | int | float | str | tuple | None):
            values[value_text(value)] = values.get(value_text(value), 0) + 1
    if not values:
        return None
    listed = [f"- {text}" + (f", of {count} modules" if count > 1 else "") for text, count in values.items()]
    return "\n".join([f"`{word}`, an attribute of the module", "", *listed[:MOST]])


def _selector(found: Outline, number: int, offset: int, known: Known) -> tuple[Span, str] | None:
    """Return what the selector at an offset selects, and where that selector is."""
    piece = found.pieces.pieces[number]
    if piece.rule is None or known.network is None:
        return None
    for selector in _nested(piece.rule):
        span = piece.place(selector.span)
        if span.start <= offset <= span.end:
            matches = known.selected(found, piece.outer, selector, found.pieces.text[span.start : span.end], number)
            if matches is None:
                return None
            tensors = known.tensors(matches, piece.rule)
            lines = [f"- `{known.network.label(tensor)}` {shape_and_fans(tensor)}" for tensor in tensors[:MOST]]
            if len(tensors) > MOST:
                lines.append(f"- and {len(tensors) - MOST:,} more")
            return span, "\n".join([f"**{_count(len(tensors))}**", *([""] if lines else []), *lines])
    return None


def _nested(rule: Rule) -> Iterator[Selector]:
    """Yield the selectors a place may be about: the members of a list, then the whole."""
    for target in selectors_of(rule):
        if isinstance(target, Union_):
            yield from target.members
        yield target


def counts(found: Outline, start: int, end: int, known: Known) -> list[tuple[int, str]]:
    """Return where the selectors between two offsets end, and how many parameters they select."""
    return list(_counted(found, start, end, known))


def count_ahead(found: Outline, known: Known) -> Iterator[None]:
    """Count selector by selector, so that `counts` has little left to do."""
    for _ in _counted(found, 0, len(found.pieces.text), known):
        yield


def _counted(found: Outline, start: int, end: int, known: Known) -> Iterator[tuple[int, str]]:
    if known.network is None:
        return
    for number in found.pieces.between(start, end):
        piece = found.pieces.pieces[number]
        if piece.rule is None:
            continue
        for target in selectors_of(piece.rule):
            span = piece.place(target.span)
            matches = known.selected(found, piece.outer, target, found.pieces.text[span.start : span.end], number)
            if matches is not None:
                yield span.end, _count(len(known.tensors(matches, piece.rule)))


def _count(count: int) -> str:
    return f"{count:,} parameter{'s' * (count != 1)}"


def definition(found: Outline, offset: int, path: str, known: Known) -> tuple[str | None, Span] | None:
    """Return where what stands at an offset comes from: the file (`None`: this one) and the characters there."""
    for used, span in found.uses:
        if span.start <= offset <= span.end:
            place = _used(used, path, known)
            return None if place is None else (place, Span(0, 0))
    at = found.name_at(offset)
    if at is None:
        return None
    declared = found.meant(at)
    if declared is not None:
        return None, declared.span
    for used, _ in found.uses:  # a `let` of a file this one uses
        place = _used(used, path, known)
        there = None if place is None else _lets_of(place).get(at.name)
        if there is not None:
            return place, there
    return None


def _lets_of(path: str) -> dict[str, Span]:
    """Return where a file declares each name outside of blocks, the last time it does; none if it can't be read."""
    try:
        return _lets_in(read_whole(path, 1 << 20).decode("utf-8"))
    except (OSError, ValueError):
        return {}


@lru_cache(maxsize=8)
def _lets_in(text: str) -> dict[str, Span]:
    lets = outline(text).lets
    return {one.name: one.span for declared in lets.values() for one in declared if one.scope == -1}


def _used(used: str, path: str, known: Known) -> str | None:
    if used.startswith("initdsl:"):
        recipe = packaged_recipes().get(used.removeprefix("initdsl:"))
        return None if recipe is None else str(recipe)
    folder = Path(os.path.dirname(os.path.abspath(path)))
    place = inside_root(used, folder, known.config.root_folder or folder)
    is_rule_file = place is not None and os.path.realpath(place).endswith(".init") and place.is_file()
    return str(place) if is_rule_file else None
