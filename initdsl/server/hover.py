"""What stands at a place, in words: hover texts, where a name comes from, and counts beside selectors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from initdsl.language.rules.loader import inside_root, packaged_recipes
from initdsl.language.syntax import nodes
from initdsl.language.syntax.highlight import WORDS
from initdsl.language.syntax.nodes import Block, Rule, Selector
from initdsl.text.source import Span

from .completion import STATEMENTS, VALUES, call_around
from .known import Known, shape_and_fans
from .outline import Declaration, outline
from .pieces import Colour, Piece, coloured, read

__all__ = ["count_ahead", "counts", "definition", "hover"]


MOST = 12


def hover(text: str, offset: int, known: Known) -> tuple[Span, str] | None:
    """What is at an offset, as Markdown, and the characters it is about."""
    found = outline(text)
    number = found.pieces.at(offset)
    if number < 0:
        return None
    piece = found.pieces.pieces[number]
    colour = _colour(piece, offset)
    if colour is not None:
        span = Span(piece.start + colour.start, piece.start + colour.end)
        said = _word(text, piece, colour, known)
        if said is None and colour.kind in ("name", "definition"):
            declared = found.name_at(offset)
            meant = (
                declared
                if isinstance(declared, Declaration)
                else found.declaration(text[span.start : span.end], number)
            )
            if meant is not None:
                said = _code(found.pieces.pieces[meant.piece].text)
        if said is not None:
            return span, said
    rule, shift = read(piece)
    if rule is None or known.network is None:
        return None
    for selector in _selectors(rule):
        span = Span(selector.span.start + shift, selector.span.end + shift)
        if span.start <= offset <= span.end:
            outer = piece.outer
            matches = known.selected(found, outer, selector, text[span.start : span.end], number)
            if matches is None:
                return None
            tensors = known.tensors(matches, rule)
            lines = [f"**{_count(len(tensors))}**"]
            if tensors:
                lines.append("")
            for tensor in tensors[:MOST]:
                lines.append(f"- `{known.network.label(tensor)}` {shape_and_fans(tensor)}")
            if len(tensors) > MOST:
                lines.append(f"- and {len(tensors) - MOST:,} more")
            return span, "\n".join(lines)
    return None


def _colour(piece: Piece, offset: int) -> Colour | None:
    for colour in coloured(piece.text):
        if piece.start + colour.start <= offset < piece.start + colour.end:
            return colour
    return None


def _code(text: str) -> str:
    return f"```initdsl\n{text}\n```"


def _word(text: str, piece: Piece, colour: Colour, known: Known) -> str | None:
    word = piece.text[colour.start : colour.end]
    if colour.kind == "function" and word in known.registry:
        one = known.registry[word]
        return f"{_code(one.signature)}\n\n{one.doc}"
    if colour.kind == "parameter":
        call = call_around(piece.text[: colour.start])
        initializer = known.registry.get(call.function) if call is not None else None
        parameter = initializer.parameter(word) if initializer is not None else None
        if initializer is None or parameter is None:
            return None
        allowed = f", one of {', '.join(f'`{c}`' for c in parameter.choices)}" if parameter.choices else ""
        default = "required" if parameter.required else f"default `{parameter.default}`"
        return f"`{word}` of `{initializer.name}`: {default}{allowed}"
    if colour.kind in ("statement", "word") and word.upper() in (*WORDS["statement"], *WORDS["word"]):
        return f"`{word}`: {STATEMENTS[word]}"
    if colour.kind == "constant" and word in VALUES:
        return f"`{word}`: {VALUES[word]}"
    return None


def _targets(rule: Rule) -> Iterator[Selector]:
    match rule:
        case nodes.Assign() | nodes.Keep() | nodes.Default() | Block():
            yield rule.targets
        case nodes.Tie() | nodes.Copy() | nodes.Expect():
            yield from rule.operands


def _selectors(rule: Rule) -> Iterator[Selector]:
    """The selectors a place may be about: the members of a list, then the whole."""
    for target in _targets(rule):
        if isinstance(target, nodes.Union_):
            yield from target.members
        yield target


def counts(text: str, start: int, end: int, known: Known) -> list[tuple[int, str]]:
    """Behind the selectors between two offsets, how many parameters they select."""
    return list(_counted(text, start, end, known))


def count_ahead(text: str, known: Known) -> Iterator[None]:
    """Count selector by selector, so that `counts` has little left to do."""
    for _ in _counted(text, 0, len(text), known):
        yield


def _counted(text: str, start: int, end: int, known: Known) -> Iterator[tuple[int, str]]:
    if known.network is None:
        return
    found = outline(text)
    for number, piece in enumerate(found.pieces.pieces):
        if piece.end < start:
            continue
        if piece.start > end:
            break
        rule, shift = read(piece)
        if rule is None:
            continue
        for target in _targets(rule):
            span = Span(target.span.start + shift, target.span.end + shift)
            matches = known.selected(found, piece.outer, target, text[span.start : span.end], number)
            if matches is not None:
                yield span.end, _count(len(known.tensors(matches, rule)))


def _count(count: int) -> str:
    return f"{count:,} parameter{'s' * (count != 1)}"


def definition(text: str, offset: int, path: str, known: Known) -> tuple[str | None, Span] | None:
    """Where what stands at an offset comes from: the file (`None`: this one) and the characters there."""
    found = outline(text)
    for used, span in found.uses:
        if span.start <= offset <= span.end:
            place = _used(used, path, known)
            return None if place is None else (place, Span(0, 0))
    at = found.name_at(offset)
    if at is None:
        return None
    declared = at if isinstance(at, Declaration) else found.declaration(at.name, at.piece)
    if declared is not None:
        return None, declared.span
    for used, _ in found.uses:  # a `let` of a file this one uses
        place = _used(used, path, known)
        if place is None:
            continue
        try:
            if os.path.getsize(place) > 1 << 20:
                continue
            other = Path(place).read_text("utf-8")
        except (OSError, ValueError):
            continue
        there = [one for one in outline(other).lets.get(at.name, []) if one.scope == -1]
        if there:
            return place, there[-1].span
    return None


def _used(used: str, path: str, known: Known) -> str | None:
    if used.startswith("initdsl:"):
        recipe = packaged_recipes().get(used.removeprefix("initdsl:"))
        return None if recipe is None else str(recipe)
    folder = Path(os.path.dirname(os.path.abspath(path)))
    root = folder if known.config.root is None else known.config.folder / known.config.root
    place = inside_root(used, folder, root)
    return str(place) if place is not None and place.is_file() else None
