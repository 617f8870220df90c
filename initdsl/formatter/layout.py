"""The one canonical layout of a rule file: statements, comments and blank lines laid out anew, their meaning unchanged.

The tokens of the parser reproduce the text; comments and blank lines lie in the gaps between them. They become a list
of entries (a statement, a block's first or last line, a comment), each laid out for itself, so that an editor can
take some and leave the others. Which spaces stand between two tokens follows from their types alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from lark import Token

from initdsl.language.syntax.parse import Memory, Unit, read_units
from initdsl.language.syntax.state import CLOSERS, OPENERS
from initdsl.text.diagnostic import Edit, ParseError
from initdsl.text.source import Source, Span

__all__ = ["LaidOut", "format", "format_range", "format_source"]


WIDTH = 100


INDENT = 2


# a statement that goes on outside of brackets stands further in than the body of its block
CONTINUATION = 4


# operators are aligned while the shortest and the longest line before them differ by at most this
SPREAD = 16


def format(text: str) -> str:
    """The text in the canonical layout: the same rules, comments and (at most single) blank lines.

    Formatting twice changes nothing more. Raises ParseError for a text that does not parse.

    >>> print(format("Linear{.weight~normal(0,.01);.bias=0}"), end="")
    Linear {
      .weight ~ normal(0, .01)
      .bias   = 0
    }
    """
    if not isinstance(text, str):
        raise TypeError(f"rules are text, not {type(text).__name__}")
    return format_source(Source("<rules>", text))


def format_source(source: Source) -> str:
    """The text of a source in the canonical layout; its name is the one that diagnostics give."""
    return _render(_laid_out(_without_bom(source)))


class LaidOut:
    """What is remembered of the text that was laid out last, so that one that differs a little takes little time.

    What it is used for gives the very result without it. Not to be shared between threads.
    """

    def __init__(self) -> None:
        self.before, self.after = Memory(), Memory()
        self.layouts: dict[tuple[str, int], _Layout] = {}
        self.equal: set[tuple[str, str]] = set()  # statements found to mean the same


def format_range(text: str, start_line: int, end_line: int, known: LaidOut | None = None) -> list[Edit]:
    """The edits that lay out the statements and comments on the lines `start_line` to `end_line` (from 1, inclusive).

    They are in the order of the text, do not overlap, and leave every other line as it is. Over all lines they give
    what `format` gives, except that the lines of a text with CRLF keep it. Raises ParseError as `format` does.
    `known` remembers what there was to do, for the next time.
    """
    source = _without_bom(Source("<rules>", text))
    newline = "\r\n" if "\r\n" in text else "\n"
    shift = len(text) - len(source.text)
    edits = _edits(source.text, _laid_out(source, known), start_line, end_line, newline)
    return [Edit(Span(edit.span.start + shift, edit.span.end + shift), edit.text) for edit in edits]


def _without_bom(source: Source) -> Source:
    return Source(source.name, source.text.removeprefix("\ufeff"))


def _laid_out(source: Source, known: LaidOut | None = None) -> list[_Entry]:
    known = known or LaidOut()
    units, problems = read_units(source, memory=known.before)
    if problems:
        raise ParseError(problems)
    entries = _Reader(source.text, known).entries(units)
    _align(entries)
    again = Source(source.name, _render(entries))
    again_units, problems = read_units(again, memory=known.after)
    if problems:  # a text just below the size limit may be longer once it is laid out
        raise ParseError(problems)
    if not _same(source.text, units, again.text, again_units, known):
        raise AssertionError("the layout would change the meaning of the text")
    return entries


def _same(before: str, units: list[Unit], after: str, others: list[Unit], known: LaidOut) -> bool:
    """Whether two texts say the same, unit by unit."""
    if len(units) != len(others):
        return False
    equal = set()
    for one, other in zip(units, others, strict=True):
        pair = before[one.start : one.end], after[other.start : other.end]
        if one.step != other.step or not (pair in known.equal or one.rule == other.rule):
            return False
        equal.add(pair)
    known.equal = equal
    return True


# ---- pieces: the tokens of one statement, with the comments that follow them and the brackets they stand in

NOT_BEFORE = frozenset(("COMMA", "COLON", "DOT", "LSQB_GLUED", "LPAR_GLUED", "PLUS_GLUED", "MAYBE", "RPAR", "RSQB"))


NOT_AFTER = frozenset(("LPAR", "LPAR_GLUED", "LSQB", "LSQB_GLUED", "DOT", "DOT_FREE", "NOT_MARK"))


OPERATORS = frozenset(("DRAW", "SET", "EDIT"))


BETWEEN = frozenset(("PLUS", "MINUS", "STAR", "SLASH", "FLOOR_DIVIDE", "PERCENT", "POWER", "COMPARE", "AND", "OR"))


# a plus or minus behind one of these, or behind nothing, has one operand
BEFORE_UNARY = OPERATORS | NOT_AFTER | BETWEEN | {"COMMA", "COLON", "LBRACE", "NOT"}


@dataclass(frozen=True)
class _Comments:
    """The comments in a gap: whether the first one stands on the line of the token before it."""

    texts: tuple[str, ...]
    beside: bool

    def __bool__(self) -> bool:
        return bool(self.texts)

    def __add__(self, other: _Comments) -> _Comments:
        return _Comments(self.texts + other.texts, self.beside if self else other.beside)


NO_COMMENTS = _Comments((), False)


@dataclass
class _Piece:
    """A token, whether a space stands before it, and the comments behind it."""

    token: Token
    comments: _Comments
    space: bool = True

    @property
    def kind(self) -> str:
        return self.token.type

    @property
    def start(self) -> int:
        return self.token.start_pos or 0

    @property
    def end(self) -> int:
        return self.token.end_pos or 0

    @property
    def flat(self) -> str:
        return " " + self.token if self.space else str(self.token)


@dataclass
class _Item:
    """What stands between two commas of a bracket, and the comments after it (behind its comma)."""

    nodes: list[_Piece | _Group]
    comments: _Comments


@dataclass
class _Group:
    """A bracket that can be laid out over several lines."""

    opener: _Piece
    items: list[_Item]
    closer: _Piece
    trailing_comma: bool  # may one follow the last item
    forced: bool  # a comment or a trailing comma asks for several lines
    numbers: bool  # nothing but number literals
    flat: str

    @property
    def comments(self) -> _Comments:
        return self.closer.comments

    @property
    def space(self) -> bool:
        return self.opener.space


_Node = _Piece | _Group


def _cells(text: str) -> int:
    """The width of a text on a screen."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


class _Grouper:
    """The pieces of one statement as nodes: spaces set, brackets matched."""

    def __init__(self, pieces: list[_Piece]):
        self.pieces = pieces
        self.at = 0
        self.previous = ""
        self.unary = False

    def nodes(self) -> list[_Node]:
        found: list[_Node] = []
        selector = True
        while self.at < len(self.pieces):
            if self.pieces[self.at].kind in OPERATORS:
                selector = False
            self.node("statement", selector, found, breakable=False)
        return found

    def take(self, context: str) -> _Piece:
        piece = self.pieces[self.at]
        self.at += 1
        kind = piece.kind
        piece.space = self.spaced(kind, context)
        self.unary = kind in ("PLUS", "MINUS") and (self.previous in BEFORE_UNARY or not self.previous)
        self.previous = kind
        return piece

    def spaced(self, kind: str, context: str) -> bool:
        before = self.previous
        if not before or kind in NOT_BEFORE or before in NOT_AFTER or self.unary:
            return False
        if before == "LBRACE" or kind == "RBRACE":
            return False
        if before == "COLON":
            return context == "mapping"
        if "SET" in (kind, before):
            return context == "statement"
        if "COMPARE" in (kind, before):
            return context != "predicates"
        return True

    def node(self, context: str, selector: bool, found: list[_Node], breakable: bool) -> None:
        """Read one token, or one bracket with all that is in it."""
        before = self.previous
        piece = self.take(context)
        if piece.kind not in OPENERS:
            found.append(piece)
            return
        inside, selects, comma = self.context(piece.kind, before, selector)
        # outside of brackets a newline would end the mapping's statement
        breakable = breakable or piece.kind != "LBRACE"
        opener, items, current, commas = piece, [], _Item([], NO_COMMENTS), 0
        while self.pieces[self.at].kind not in CLOSERS:
            if self.pieces[self.at].kind == "COMMA":
                current.comments = _behind(current.nodes) + self.take(inside).comments
                commas += 1
                items.append(current)
                current = _Item([], NO_COMMENTS)
            else:
                self.node(inside, selects, current.nodes, breakable)
        magic = bool(items) and not current.nodes
        if current.nodes:
            current.comments = _behind(current.nodes)
            items.append(current)
        closer = self.take(inside)
        found += self.group(opener, items, closer, inside, comma, magic, breakable)

    def context(self, kind: str, before: str, selector: bool) -> tuple[str, bool, bool]:
        """What a bracket holds, whether that is selectors, and whether a comma may follow its last item."""
        if kind == "LPAR_GLUED":
            if before == "LEN":
                return "length", True, False
            return ("call" if before == "NAME" else "predicates"), False, True
        if kind == "LPAR":
            if selector and before != "AS":
                return "group", True, False
            return ("shape" if before == "AS" else "tuple"), False, True
        return {"LSQB": "list", "LSQB_GLUED": "index"}.get(kind, "mapping"), False, True

    def group(
        self, opener: _Piece, items: list[_Item], closer: _Piece, inside: str, comma: bool, magic: bool, breakable: bool
    ) -> list[_Node]:
        commented = bool(opener.comments) or any(_commented(item) for item in items)
        single = len(items) == 1
        # `(1,)` is a tuple and `(1)` is not
        one_tuple = single and magic and inside in ("tuple", "shape")
        if single and inside == "tuple" and not magic:
            comma = False
        inner = ", ".join(_flat(item.nodes).lstrip(" ") for item in items) + ("," if one_tuple else "")
        if (not items or not breakable or (single and inside == "index")) and not (commented and breakable):
            flattened: list[_Node] = [opener]
            for number, item in enumerate(items):
                flattened += item.nodes
                if number < len(items) - 1 or one_tuple:
                    flattened.append(_comma(item))
            return [*flattened, closer]
        numbers = inside in ("list", "tuple", "shape") and len(items) > 1 and all(_number(item.nodes) for item in items)
        nested = any(isinstance(node, _Group) and node.forced for item in items for node in item.nodes)
        forced = commented or nested or (magic and not one_tuple and not numbers and not (single and inside == "index"))
        flat = f"{opener.flat}{inner}{closer.token}"
        return [_Group(opener, items, closer, comma, forced, numbers and not commented, flat)]


def _comma(item: _Item) -> _Piece:
    """A comma of a bracket that is not laid out for itself, with its comments."""
    return _Piece(Token("COMMA", ","), item.comments, space=False)


def _behind(nodes: Sequence[_Node]) -> _Comments:
    return nodes[-1].comments if nodes else NO_COMMENTS


def _commented(item: _Item) -> bool:
    return bool(item.comments) or any(node.comments for node in item.nodes)


def _number(nodes: Sequence[_Node]) -> bool:
    kinds = [node.kind if isinstance(node, _Piece) else "" for node in nodes]
    return kinds[-1] == "NUMBER" and (len(kinds) == 1 or (len(kinds) == 2 and kinds[0] in ("PLUS", "MINUS")))


def _flat(nodes: Sequence[_Node]) -> str:
    return "".join(node.flat for node in nodes)


def _lead(nodes: Sequence[_Node], after: int) -> int:
    """The cells that follow on the same line whatever is done: up to the first bracket that can be opened."""
    cells = 0
    for node in nodes:
        if isinstance(node, _Group):
            return cells + _cells(node.opener.flat)
        cells += _cells(node.flat)
        if node.comments:
            return cells
    return cells + after


class _Lines:
    """Lines being written, each with the indent that a bracket opened in it goes back to."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.done: list[str] = []
        self.current = ""
        self.indent = 0

    def begin(self, indent: int) -> None:
        self.finish()
        self.indent = indent
        self.current = " " * indent

    def finish(self) -> None:
        if self.current.strip(" "):
            self.done.append(self.current)
        self.current = ""

    def write(self, text: str) -> None:
        self.current += text if self.current.strip(" ") else text.lstrip(" ")

    def comments(self, comments: _Comments, indent: int) -> None:
        """Comments behind what is written; the line ends with the last of them."""
        for number, text in enumerate(comments.texts):
            if number == 0 and comments.beside:
                self.write(f"  {text}")
            else:
                self.begin(indent)
                self.write(text)

    def nodes(self, nodes: Sequence[_Node], after: int) -> None:
        """Nodes one after the other, `after` cells to follow on the last line. Comments of the last are the caller's."""
        home = self.indent
        for number, node in enumerate(nodes):
            rest = nodes[number + 1 :] if isinstance(node, _Group) else ()
            if isinstance(node, _Piece):
                self.write(node.flat)
            elif node.forced or _cells(self.current) + _cells(node.flat) + _lead(rest, after) > self.width:
                self.group(node)
            else:
                self.write(node.flat)
            if node.comments and number < len(nodes) - 1:
                self.comments(node.comments, home + CONTINUATION)
                self.begin(home + CONTINUATION)

    def group(self, group: _Group) -> None:
        home, inner = self.indent, self.indent + INDENT
        self.write(group.opener.flat)
        self.comments(group.opener.comments, inner)
        if group.numbers:
            self.fill(group, inner)
        else:
            for number, item in enumerate(group.items):
                comma = number < len(group.items) - 1 or group.trailing_comma
                self.begin(inner)
                self.nodes(item.nodes, int(comma))
                self.write("," if comma else "")
                self.comments(item.comments, inner)
        self.begin(home)
        self.write(str(group.closer.token))

    def fill(self, group: _Group, indent: int) -> None:
        """Numbers side by side, as many as a line takes."""
        self.begin(indent)
        for item in group.items:
            text = _flat(item.nodes).strip(" ") + ","
            if _cells(self.current) + 1 + _cells(text) > self.width:
                self.begin(indent)
            self.write(f" {text}")


# ---- entries: what a line, or the lines of one statement, become


@dataclass
class _Entry:
    """A comment, a statement, or the first or last line of a block, from `start` to `end` of the source."""

    kind: Literal["comment", "statement", "opening", "closing"]
    start: int
    end: int
    depth: int
    lines: list[str]
    blank: bool = False  # a blank line before it
    comment: str | None = None  # beside its last line
    distance: int = 2  # of that comment
    # of a statement on one line: its keyword, and the parts before, of and after its operator
    parts: tuple[str, str, str, str] | None = None
    inline: bool = False  # the end of a block that was written in one line

    @property
    def single(self) -> bool:
        return self.kind == "statement" and len(self.lines) == 1

    def text(self) -> str:
        return "\n".join(self.lines) + (" " * self.distance + self.comment if self.comment else "")


COMMENT = re.compile(r"#[^\n]*")


class _Reader:
    """A text that parses, to entries."""

    def __init__(self, text: str, known: LaidOut):
        self.text = text
        self.known = known
        self.layouts: dict[tuple[str, int], _Layout] = {}
        self.found: list[_Entry] = []
        self.blocks: list[_Entry] = []

    def entries(self, units: list[Unit]) -> list[_Entry]:
        end = 0
        for unit in units:
            self.gap(end, unit.start)
            if unit.step < 0:
                self.closing(unit)
            elif unit.step > 0:
                self.opening(unit)
            else:
                self.statement(unit)
            end = unit.end
        self.gap(end, len(self.text))
        self.known.layouts = self.layouts
        return self.found

    def layout(self, unit: Unit) -> _Layout:
        """The lines of a unit, as they were laid out before if it was there."""
        key = self.text[unit.start : unit.end], len(self.blocks)
        made = self.known.layouts.get(key) or self.layouts.get(key) or _layout(self.text, unit, len(self.blocks))
        self.layouts[key] = made
        return made

    def gap(self, start: int, end: int) -> None:
        """The comments between two statements: beside the one before them, or lines of their own."""
        for match in COMMENT.finditer(self.text, start, end):
            text = match[0].rstrip()
            entry = _Entry("comment", match.start(), match.start() + len(text), len(self.blocks), [text])
            last = self.found[-1] if self.found else entry
            if last.kind == "comment" or last.comment or "\n" in self.text[last.end : entry.start]:
                self.add(entry)
                continue
            if last.inline:  # it speaks of what that line's block holds
                last = next(e for e in reversed(self.found) if not e.inline)
            last.comment, last.end = text, entry.end

    def add(self, entry: _Entry) -> None:
        if self.found:
            last = self.found[-1]
            first_or_last = last.depth < entry.depth or entry.kind == "closing"
            entry.blank = not first_or_last and self.text.count("\n", last.end, entry.start) > 1
        entry.lines = [" " * (entry.depth * INDENT) + line if line else line for line in entry.lines]
        self.found.append(entry)

    def statement(self, unit: Unit) -> None:
        layout = self.layout(unit)
        depth = len(self.blocks)
        self.add(_Entry("statement", unit.start, unit.end, depth, [*layout.lines], parts=layout.parts))

    def opening(self, unit: Unit) -> None:
        layout = self.layout(unit)
        depth = len(self.blocks)
        entry = _Entry("opening", unit.start, unit.end, depth, [*layout.lines])
        self.add(entry)
        self.blocks.append(entry)
        # what stood before the brace now stands behind it
        comments = layout.comments
        if comments.beside:
            entry.comment = comments.texts[0]
        for text in comments.texts[comments.beside :]:
            self.add(_Entry("comment", entry.start, entry.end, depth + 1, [text]))

    def closing(self, brace: Unit) -> None:
        opening = self.blocks.pop()
        start, end = brace.start, brace.end
        if opening is self.found[-1] and opening.comment is None:
            opening.lines[-1] += "}"
            opening.end = end
            return
        inline = opening is not self.found[-1] and "\n" not in self.text[opening.start : end]
        self.add(_Entry("closing", start, end, len(self.blocks), ["}"], inline=inline))


@dataclass(frozen=True)
class _Layout:
    """The lines of a statement or a block's head, not yet indented; the comments before the brace of a head."""

    lines: tuple[str, ...]
    parts: tuple[str, str, str, str] | None
    comments: _Comments


def _layout(text: str, unit: Unit, depth: int) -> _Layout:
    """Lay a unit out by itself, inside so many blocks."""
    # its tokens may have been read at another place
    by = unit.start - (unit.tokens[0].start_pos or 0)
    ends = [(token.end_pos or 0) + by for token in unit.tokens]
    starts = [*((token.start_pos or 0) + by for token in unit.tokens[1:]), unit.end - (unit.step > 0)]
    pieces = [
        _Piece(token, _between(text[start:end])) for token, start, end in zip(unit.tokens, ends, starts, strict=True)
    ]
    nodes = _Grouper(pieces).nodes()
    lines = _statement(nodes, WIDTH - depth * INDENT, 2 if unit.step else 0)
    if unit.step:
        return _Layout((*lines[:-1], f"{lines[-1]} {{"), None, _behind(nodes))
    place, parts = _operator(nodes), None
    if place < len(nodes) and len(lines) == 1:
        keyword = "let" if pieces[0].kind == "LET" else ""
        parts = keyword, _flat(nodes[:place]), nodes[place].flat[1:], _flat(nodes[place + 1 :])
    return _Layout(tuple(lines), parts, NO_COMMENTS)


def _between(gap: str) -> _Comments:
    """The comments of a gap inside a statement."""
    texts = tuple(match[0].rstrip() for match in COMMENT.finditer(gap)) if "#" in gap else ()
    return _Comments(texts, bool(texts) and "\n" not in gap[: gap.index("#")])


def _operator(nodes: Sequence[_Node]) -> int:
    """Where the operator of a statement is; its length if it has none."""
    places = (i for i, node in enumerate(nodes) if isinstance(node, _Piece) and node.kind in OPERATORS)
    return next(places, len(nodes))


def _statement(nodes: list[_Node], width: int, after: int) -> list[str]:
    """The lines of a statement, `after` cells to follow. Its targets take a line each where they don't fit one."""
    operator = _operator(nodes)
    commas = [i for i in range(operator) if isinstance(node := nodes[i], _Piece) and node.kind == "COMMA"]
    head = _cells(_flat(nodes[:operator])) + _lead(nodes[operator:], after)
    writer = _Lines(width)
    start = 0
    if head > width or any(nodes[i].comments for i in commas):
        for comma in commas:
            writer.nodes(nodes[start : comma + 1], 0)
            writer.comments(nodes[comma].comments, CONTINUATION)
            writer.begin(CONTINUATION)
            start = comma + 1
    writer.nodes(nodes[start:], after)
    writer.finish()
    return writer.done


# ---- the text of all entries: alignment, then lines


def _align(entries: list[_Entry]) -> None:
    """Put the operators, then the trailing comments, of neighbouring lines below each other."""
    for run in _runs(entries, lambda e: e.parts and e.parts[0]):
        for section in _sections([_columns(entry) for entry in run], WIDTH):
            size = max(_columns(run[i])[0] for i in section)
            for i in section:
                width, _ = _columns(run[i])
                _, left, operator, right = cast(tuple[str, str, str, str], run[i].parts)
                run[i].lines = [f"{' ' * (run[i].depth * INDENT)}{left}{' ' * (size - width)} {operator}{right}"]
    for run in _runs(entries, lambda e: "" if e.comment and e.single else None):
        widths = [_cells(entry.lines[0]) for entry in run]
        for section in _sections([(width, 0) for width in widths], max(widths)):
            size = max(widths[i] for i in section)
            for i in section:
                run[i].distance = 2 + size - widths[i]


def _columns(entry: _Entry) -> tuple[int, int]:
    """Where the operator of a statement ends, and the cells behind it."""
    _, left, operator, right = cast(tuple[str, str, str, str], entry.parts)
    return entry.depth * INDENT + _cells(left) + 1 + len(operator), _cells(right)


def _runs(entries: list[_Entry], key: Callable[[_Entry], str | None]) -> Iterator[list[_Entry]]:
    """Entries on adjacent lines that share a key; `None` is no key."""
    run: list[_Entry] = []
    for entry in entries:
        if run and (entry.blank or entry.depth != run[-1].depth or key(entry) != key(run[-1])):
            yield run
            run = []
        if key(entry) is not None:
            run.append(entry)
    if run:
        yield run


def _sections(columns: list[tuple[int, int]], width: int) -> Iterator[list[int]]:
    """A run cut where alignment would move a line too far, or over the width."""
    section: list[int] = []
    low = high = longest = 0
    for i, (column, rest) in enumerate(columns):
        if section:
            low, high, longest = min(low, column), max(high, column), max(longest, rest)
        if not section or high - low > SPREAD or high + longest > width:
            if section:
                yield section
            section = []
            low, high, longest = column, column, rest
        section.append(i)
    if section:
        yield section


def _render(entries: list[_Entry]) -> str:
    return "".join(("\n" if entry.blank else "") + entry.text() + "\n" for entry in entries)


# ---- edits


def _edits(text: str, entries: list[_Entry], first: int, last: int, newline: str) -> Iterator[Edit]:
    """What changes the text on some lines: edits of the entries there, and of the gaps between them."""
    source = Source("", text)
    end, chosen_before = 0, True
    for chunk in _chunks(text, entries):
        start, finish = chunk[0].start, max(entry.end for entry in chunk)
        chosen = source.position(start).line <= last and source.position(finish).line >= first
        body = _render(chunk).strip("\n")
        indent = " " * (chunk[0].depth * INDENT)
        lead = "" if not end else "\n\n" if chunk[0].blank else "\n"
        if chosen and chosen_before:
            yield from _edit(text, end, start, lead + indent, newline)
        elif chosen:
            yield from _edit(text, text.rfind("\n", end, start) + 1, start, indent, newline)
        elif chosen_before and end:
            yield from _edit(text, end, _line_end(text, end), "", newline)
        if chosen:
            yield from _edit(text, start, finish, body[len(indent) :], newline)
        end, chosen_before = finish, chosen
    if chosen_before:
        yield from _edit(text, end, len(text), "\n" if end else "", newline)


def _chunks(text: str, entries: list[_Entry]) -> Iterator[list[_Entry]]:
    """Entries, those together that share a line of the source or have not its order."""
    starts = [entry.start for entry in entries]
    for i in range(len(starts) - 2, -1, -1):
        starts[i] = min(starts[i], starts[i + 1])
    chunk: list[_Entry] = []
    end = 0
    for start, entry in zip(starts, entries, strict=True):
        if chunk and "\n" in text[end:start]:
            yield chunk
            chunk = []
        chunk.append(entry)
        end = max(end, entry.end)
    if chunk:
        yield chunk


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    return end - 1 if text[end - 1 : end] == "\r" and end > at else end


def _edit(text: str, start: int, end: int, new: str, newline: str) -> Iterator[Edit]:
    new = new.replace("\n", newline)
    if text[start:end] != new:
        yield Edit(Span(start, end), new)
