"""A statement as nested nodes: its tokens with the comments behind them, and the brackets they stand in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lark import Token

from initdsl.language.syntax.grammar import CLOSERS, OPENERS, continuing
from initdsl.text.wording import cell_width

__all__ = [
    "NO_COMMENTS",
    "OPERATORS",
    "Comments",
    "Group",
    "Node",
    "Piece",
    "comments_behind",
    "flat_text",
    "leading_width",
    "nodes_of",
]


# kinds of tokens without a space before them, and without one behind them
NOT_BEFORE = frozenset(("COMMA", "COLON", "DOT", "LSQB_GLUED", "LPAR_GLUED", "PLUS_GLUED", "MAYBE", "RPAR", "RSQB"))


NOT_AFTER = frozenset(("LPAR", "LPAR_GLUED", "LSQB", "LSQB_GLUED", "DOT", "DOT_FREE", "NOT_MARK"))


# what separates the targets of a statement from its right side
OPERATORS = frozenset(("DRAW", "SET", "EDIT"))


# what ends an item of a bracket
ITEM_ENDS = frozenset(("COMMA", *CLOSERS))


# a plus or minus behind one of these, behind an operator of an expression, or behind nothing, has one operand
BEFORE_UNARY = OPERATORS | NOT_AFTER | {"COLON", "LBRACE"}


@dataclass(frozen=True)
class Comments:
    """The comments between two tokens: `Comments(("# a", "# b"), beside=True)`.

    `beside` tells whether the first one stands on the line of the token before it.
    """

    texts: tuple[str, ...]
    beside: bool

    def __bool__(self) -> bool:
        return bool(self.texts)

    def __add__(self, other: Comments) -> Comments:
        return Comments(self.texts + other.texts, self.beside if self else other.beside)


NO_COMMENTS = Comments((), False)


@dataclass
class Piece:
    """A token, the comments behind it, and whether a space precedes it: `Piece(token, NO_COMMENTS)`."""

    token: Token
    comments: Comments
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
    """What stands between two commas of a bracket, and the comments behind it or its comma: `_Item(nodes, NO_COMMENTS)`."""

    nodes: list[Piece | Group]
    comments: Comments


@dataclass
class Group:
    """A bracket that can take several lines: of `(1, 2)` the opener, two items, the closer, and `flat`, the text on one line."""

    opener: Piece
    items: list[_Item]
    closer: Piece
    trailing_comma: bool  # may one follow the last item
    forced: bool  # a comment or a trailing comma asks for several lines
    numbers: bool  # nothing but number literals
    flat: str

    @property
    def comments(self) -> Comments:
        return self.closer.comments

    @property
    def space(self) -> bool:
        return self.opener.space


Node = Piece | Group


@dataclass
class _Bracket:
    """A bracket that is being read, or the whole statement, which has no opener: `_Bracket(piece, "call", False, True, True)`.

    `holds` is "statement", "call", "predicates", "length", "group", "shape", "tuple", "list", "index" or "mapping".
    """

    opener: Piece | None
    holds: str
    selectors: bool  # are its items selectors, in which `(A, B)` is a group and no tuple
    comma: bool  # may one follow the last item
    breakable: bool  # may its items stand on lines of their own
    items: list[_Item] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)  # of the item that is being read


def nodes_of(pieces: list[Piece]) -> list[Node]:
    """Return the pieces of one statement as nodes: brackets matched, and each piece told whether a space precedes it."""
    statement = _Bracket(None, "statement", selectors=True, comma=False, breakable=False)
    brackets = [statement]
    previous, unary = "", False
    for piece in pieces:
        kind, bracket = piece.kind, brackets[-1]
        piece.space = not unary and _spaced(previous, kind, bracket.holds)
        unary = kind in ("PLUS", "MINUS") and (not previous or previous in BEFORE_UNARY or previous in continuing())
        if kind in OPENERS:
            brackets.append(_opened(piece, previous, bracket))
        elif bracket.opener is None or kind not in ITEM_ENDS:
            bracket.nodes.append(piece)
            if bracket is statement and (kind in OPERATORS or kind == "MEASURE"):
                statement.selectors = False
        elif kind == "COMMA":
            bracket.items.append(_Item(bracket.nodes, comments_behind(bracket.nodes) + piece.comments))
            bracket.nodes = []
        else:
            brackets.pop()
            brackets[-1].nodes += _closed(bracket, bracket.opener, piece)
        previous = kind
    return statement.nodes


def _spaced(previous: str, kind: str, holds: str) -> bool:
    """Tell whether a space stands between two tokens of these kinds in a bracket that holds this."""
    if not previous or kind in NOT_BEFORE or previous in NOT_AFTER:
        return False
    if previous == "LBRACE" or kind == "RBRACE":
        return False
    if previous == "COLON":
        return holds == "mapping"  # no slice
    if "SET" in (kind, previous):
        return holds == "statement"  # no keyword argument
    if "COMPARE" in (kind, previous):
        return holds != "predicates"
    return True


def _opened(opener: Piece, previous: str, outer: _Bracket) -> _Bracket:
    """Return the bracket that a token opens, by the kind of the token before it and by what it stands in."""
    kind = opener.kind
    # outside of brackets a newline would end the statement that a mapping stands in
    breakable = outer.breakable or kind != "LBRACE"
    selectors, comma = False, True
    if kind == "LPAR_GLUED" and previous == "LEN":
        holds, selectors, comma = "length", True, False
    elif kind == "LPAR_GLUED":
        holds = "call" if previous == "NAME" else "predicates"
    elif kind == "LPAR" and outer.selectors and previous != "AS":
        holds, selectors, comma = "group", True, False
    elif kind == "LPAR":
        holds = "shape" if previous == "AS" else "tuple"
    else:
        holds = {"LSQB": "list", "LSQB_GLUED": "index"}.get(kind, "mapping")
    return _Bracket(opener, holds, selectors, comma, breakable)


def _closed(bracket: _Bracket, opener: Piece, closer: Piece) -> list[Node]:
    """Return a bracket whose closer is read: one Group, or its pieces where it never takes several lines."""
    items, holds = bracket.items, bracket.holds
    trailing = bool(items) and not bracket.nodes  # a comma behind the last item
    if bracket.nodes:
        items.append(_Item(bracket.nodes, comments_behind(bracket.nodes)))
    commented = bool(opener.comments) or any(_commented(item) for item in items)
    single = len(items) == 1
    one_tuple = single and trailing and holds in ("tuple", "shape")  # `(1,)` is a tuple and `(1)` is not
    one_index = single and holds == "index"
    if (not items or not bracket.breakable or one_index) and not (commented and bracket.breakable):
        return _flattened(opener, items, closer, one_tuple)
    numbers = holds in ("list", "tuple", "shape") and len(items) > 1 and all(_number(item.nodes) for item in items)
    nested = any(isinstance(node, Group) and node.forced for item in items for node in item.nodes)
    forced = commented or nested or (trailing and not one_tuple and not numbers and not one_index)
    comma = bracket.comma and not (single and holds == "tuple" and not trailing)
    inner = ", ".join(flat_text(item.nodes).lstrip(" ") for item in items) + ("," if one_tuple else "")
    flat = f"{opener.flat}{inner}{closer.token}"
    return [Group(opener, items, closer, comma, forced, numbers and not commented, flat)]


def _flattened(opener: Piece, items: list[_Item], closer: Piece, trailing_comma: bool) -> list[Node]:
    """Return the pieces of a bracket and of its items, one after the other."""
    nodes: list[Node] = [opener]
    for number, item in enumerate(items):
        nodes += item.nodes
        if number < len(items) - 1 or trailing_comma:
            nodes.append(_comma(item))
    return [*nodes, closer]


def _comma(item: _Item) -> Piece:
    """Return the comma behind an item, with the comments behind it."""
    return Piece(Token("COMMA", ","), item.comments, space=False)


def comments_behind(nodes: Sequence[Node]) -> Comments:
    """Return the comments behind the last of some nodes."""
    return nodes[-1].comments if nodes else NO_COMMENTS


def _commented(item: _Item) -> bool:
    """Tell whether a comment stands in an item or behind it."""
    return bool(item.comments) or any(node.comments for node in item.nodes)


def _number(nodes: Sequence[Node]) -> bool:
    """Tell whether an item is a number, with or without a sign."""
    kinds = [node.kind if isinstance(node, Piece) else "" for node in nodes]
    return kinds[-1] == "NUMBER" and (len(kinds) == 1 or (len(kinds) == 2 and kinds[0] in ("PLUS", "MINUS")))


def flat_text(nodes: Sequence[Node]) -> str:
    """Return nodes on one line, without their comments."""
    return "".join(node.flat for node in nodes)


def leading_width(nodes: Sequence[Node], after: int) -> int:
    """Return the cells that stay on the same line however nodes are broken: up to the first bracket that can be.

    `after` is the number of cells behind the last node.
    """
    cells = 0
    for node in nodes:
        if isinstance(node, Group):
            return cells + cell_width(node.opener.flat)
        cells += cell_width(node.flat)
        if node.comments:
            return cells
    return cells + after
