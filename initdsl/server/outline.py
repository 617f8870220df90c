"""What a text declares and where it is used: `let` names, `use` paths, statements as an outline."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from initdsl.initializers import default_registry
from initdsl.language.syntax.grammar import keywords
from initdsl.language.syntax.nodes import Call, Let, Name, Rule, Use
from initdsl.language.syntax.state import DEFAULT_LIMITS
from initdsl.language.syntax.walk import walk
from initdsl.text.source import Span

from .colours import coloured
from .pieces import Piece, Pieces, PiecesCache, pieces_of

__all__ = ["Declaration", "Outline", "OutlineCache", "Refused", "Symbol", "outline", "outline_of", "renamed", "symbols"]


class Refused(Exception):
    """A request that can't be carried out; the message says why: `Refused("`let` is reserved; take another name")`."""


class Declaration(NamedTuple):
    """A `let`: `Declaration("std", Span(4, 7), piece=0, scope=-1)`.

    `span` is that of its name, `piece` the number of its piece, `scope` that of the head of its block, -1 for the file.
    """

    name: str
    span: Span
    piece: int
    scope: int


class Reference(NamedTuple):
    """A name in an expression: `Reference("std", Span(30, 33), piece=2, formula=False)`.

    `formula` tells whether the expression is that of a `let`, which is evaluated where the `let` is used.
    """

    name: str
    span: Span
    piece: int
    formula: bool


@dataclass(frozen=True)
class Outline:
    """The pieces of a text and the names in it: where each is declared and used, and the paths that `use` names."""

    pieces: Pieces
    lets: dict[str, list[Declaration]] = field(default_factory=dict)
    references: dict[str, list[Reference]] = field(default_factory=dict)
    uses: list[tuple[str, Span]] = field(default_factory=list)

    def scopes(self, piece: int) -> list[int]:
        """Return the blocks a piece stands in, inner first, by the numbers of their heads, and -1 for the file."""
        outer = self.pieces.pieces[piece].outer if piece >= 0 else -1
        blocks = []
        while outer >= 0:
            blocks.append(outer)
            outer = self.pieces.pieces[outer].outer
        return [*blocks, -1]

    def visible(self, piece: int) -> dict[str, Declaration]:
        """Return the `let`s that hold at a piece, by name."""
        scopes = self.scopes(piece)
        resolved = {name: _resolved(declared, scopes, piece) for name, declared in self.lets.items()}
        return {name: declaration for name, declaration in resolved.items() if declaration is not None}

    def declaration(self, name: str, piece: int) -> Declaration | None:
        """Return the `let` a name in a piece means."""
        return _resolved(self.lets.get(name, []), self.scopes(piece), piece)

    def meant(self, name: Reference | Declaration) -> Declaration | None:
        """Return the `let` that a name is, or means."""
        return name if isinstance(name, Declaration) else self.declaration(name.name, name.piece)

    def name_at(self, offset: int) -> Reference | Declaration | None:
        """Return the `let` or the use of a name that an offset lies in or directly behind."""
        piece = self.pieces.at(offset)
        if piece < 0:
            return None
        for declared in self.lets.values():
            for one in declared:
                if one.piece == piece and one.span.start <= offset <= one.span.end:
                    return one
        for used in self.references.values():
            for reference in used:
                if reference.piece == piece and reference.span.start <= offset <= reference.span.end:
                    return reference
        return None


def _resolved(declared: list[Declaration], scopes: list[int], piece: int) -> Declaration | None:
    """Return that of the `let`s of one name which holds at a piece: of the innermost scope the last one up to there."""
    for scope in scopes:
        in_scope = [one for one in declared if one.scope == scope]
        earlier = [one for one in in_scope if one.piece < piece]
        if earlier:
            return earlier[-1]
    # a formula is evaluated where its `let` is used, so it may name a later `let`
    return next((one for scope in scopes for one in declared if one.scope == scope), None)


class OutlineCache:
    """A cache of the last outline, `OutlineCache()`: that of a text which differs a little takes little time with it.

    Not to be shared between threads.
    """

    def __init__(self) -> None:
        self.pieces = PiecesCache()
        self.names: dict[tuple[str, bool], _Names] = {}


def outline(text: str, cache: OutlineCache | None = None) -> Outline:
    """Return the outline of a text, which need not parse."""
    cache = cache or OutlineCache()
    return outline_of(pieces_of(text, cache.pieces), cache)


def outline_of(pieces: Pieces, cache: OutlineCache) -> Outline:
    """Return the outline of a text that is cut already."""
    result = Outline(pieces)
    cached, cache.names = cache.names, {}
    for number, piece in enumerate(pieces.pieces):
        if piece.kind == "close" or not piece.text:
            continue
        key = piece.text, piece.outer >= 0
        names = cache.names[key] = cached.get(key) or cache.names.get(key) or _names(piece)
        origin = piece.start
        for name, start, end in names.lets:
            declaration = Declaration(name, Span(origin + start, origin + end), number, piece.outer)
            result.lets.setdefault(name, []).append(declaration)
        for name, start, end in names.references:
            reference = Reference(name, Span(origin + start, origin + end), number, bool(names.lets))
            result.references.setdefault(name, []).append(reference)
        result.uses.extend((path, Span(origin + start, origin + end)) for path, start, end in names.uses)
    return result


class _Names(NamedTuple):
    """The names in a piece: `_Names([("std", 4, 7)], [], [])`, with their starts and ends counted from that of the piece."""

    lets: list[tuple[str, int, int]]
    references: list[tuple[str, int, int]]
    uses: list[tuple[str, int, int]]


def _names(piece: Piece) -> _Names:
    """Return the names in a piece; of one that does not parse those that are coloured as names."""
    names = _Names([], [], [])
    rule = piece.rule
    if rule is None:
        for colour in coloured(piece.text):
            name = (piece.text[colour.start : colour.end], colour.start, colour.end)
            if colour.kind == "definition":
                names.lets.append(name)
            elif colour.kind == "name":
                names.references.append(name)
        return names

    def offsets(span: Span) -> tuple[int, int]:
        start, end = piece.place(span)
        return start - piece.start, end - piece.start

    if isinstance(rule, Let):
        names.lets.append((rule.name, *offsets(rule.name_span)))
    elif isinstance(rule, Use):
        names.uses.append((rule.path, *offsets(rule.path_span)))
    words = {id(word) for word in _enumerated(rule)}
    for node in walk(rule):
        if isinstance(node, Name) and id(node) not in words and node.name not in ("net", "it"):
            names.references.append((node.name, *offsets(node.span)))
    return names


def _enumerated(rule: Rule) -> Iterator[Name]:
    """Yield the names that are words of an enumeration: the second one of `mode=fan_in`."""
    registry = default_registry()
    for call in walk(rule):
        initializer = registry.loaded(call.function) if isinstance(call, Call) else None
        if not isinstance(call, Call) or initializer is None:
            continue
        parameters = initializer.parameters
        for position, argument in enumerate(call.arguments):
            parameter = next((p for p in parameters if p.name == argument.name), None)
            if argument.name is None and position < len(parameters):
                parameter = parameters[position]
            if parameter is not None and isinstance(argument.value, Name) and argument.value.name in parameter.choices:
                yield argument.value


# ---- rename


NAME = re.compile(r"[^\W\d]\w*\Z")


def renamed(outline: Outline, offset: int, new: str) -> list[Span]:
    """Return the places to write `new` so that the `let` at an offset has that name. Raises Refused."""
    chosen = outline.name_at(offset)
    if chosen is None:
        raise Refused("there is no name of a `let` here")
    declaration = outline.meant(chosen)
    if declaration is None:
        raise Refused(f"no `let` of this file declares `{chosen.name}`")
    if not NAME.match(new) or not new.isprintable():
        raise Refused(f"`{new}` is not a name: letters, digits and `_`, a letter or `_` first")
    if new in keywords():
        raise Refused(f"`{new}` is reserved; take another name")
    if new == chosen.name:
        return []
    if new in outline.lets or new in outline.references:
        raise Refused(f"`{new}` means something in this file already; take another name")
    declared, used = outline.lets[chosen.name], outline.references.get(chosen.name, [])
    # a formula means the name where its own `let` is used: then one name in two blocks can't be told apart
    together = len({one.scope for one in declared}) > 1 and any(one.formula for one in used)
    spans = [one.span for one in declared if together or one.scope == declaration.scope]
    for reference in used:
        target = outline.declaration(reference.name, reference.piece)
        if target is not None and (together or target.scope == declaration.scope):
            spans.append(reference.span)
    return sorted(set(spans))


# ---- symbols


@dataclass(frozen=True, slots=True)
class Symbol:
    """A line of an editor's outline: `Symbol("Linear {", "block", span, name_span, children)`."""

    name: str
    kind: Literal["let", "use", "block", "statement"]
    span: Span
    name_span: Span
    children: list[Symbol]


def symbols(pieces: Pieces) -> list[Symbol]:
    """Return the statements of a text, those of blocks inside them."""
    top: list[Symbol] = []
    blocks: dict[int, tuple[int, list[Symbol]]] = {}  # by the head: how deep it is, and the list its statements go to
    ends = _ends_of_blocks(pieces)
    for number, piece in enumerate(pieces.pieces):
        if piece.kind == "close" or not piece.text:
            continue
        symbol = _symbol(piece, max(piece.end, ends.get(number, piece.end)))
        depth, around = blocks.get(piece.outer, (0, top))
        around.append(symbol)
        if piece.kind == "open":
            # deeper than the language allows, statements are shown beside their block, not in it
            blocks[number] = (depth + 1, symbol.children if depth < DEFAULT_LIMITS.nesting else around)
    return top


def _ends_of_blocks(pieces: Pieces) -> dict[int, int]:
    """Return where each block ends, by the number of its head; one that is never closed ends with the text."""
    last = len(pieces.text.rstrip())
    ends = {number: last for number, piece in enumerate(pieces.pieces) if piece.kind == "open"}
    current = -1
    for number, piece in enumerate(pieces.pieces):
        if piece.kind == "open":
            current = number
        elif piece.kind == "close" and current >= 0:
            ends[current] = piece.end
            current = pieces.pieces[current].outer
    return ends


def _symbol(piece: Piece, end: int) -> Symbol:
    """Return the symbol of a piece that goes, with its block, to `end`."""
    colours = coloured(piece.text)
    label = re.sub(r"\s+", " ", piece.text)
    whole = Span(piece.start, end)
    if piece.kind == "open":
        return Symbol(label, "block", whole, Span(piece.start, piece.end), [])
    if len(colours) > 1 and colours[0].kind == "statement":
        word = piece.text[colours[0].start : colours[0].end]
        named = Span(piece.start + colours[1].start, piece.start + colours[1].end)
        if word == "let":
            return Symbol(piece.text[colours[1].start : colours[1].end], "let", whole, named, [])
        if word == "use":
            return Symbol(label, "use", whole, named, [])
    return Symbol(label if len(label) <= 80 else f"{label[:77]}...", "statement", whole, whole, [])
