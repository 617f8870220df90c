"""A statement as nested pieces: brackets, operands, comments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lark import Token

from initdsl.language.syntax.grammar import CLOSERS, OPENERS, continuing
from initdsl.text.wording import cell_width

__all__ = [
    "NO_COMMENTS",
    "OPERATORS",
    "Comments",
    "Group",
    "Grouper",
    "Node",
    "Piece",
    "comments_behind",
    "flat_text",
    "leading_width",
]


# ---- pieces: the tokens of one statement, with the comments that follow them and the brackets they stand in

NOT_BEFORE = frozenset(("COMMA", "COLON", "DOT", "LSQB_GLUED", "LPAR_GLUED", "PLUS_GLUED", "MAYBE", "RPAR", "RSQB"))


NOT_AFTER = frozenset(("LPAR", "LPAR_GLUED", "LSQB", "LSQB_GLUED", "DOT", "DOT_FREE", "NOT_MARK"))


OPERATORS = frozenset(("DRAW", "SET", "EDIT"))


# a plus or minus behind one of these, behind an operator of an expression, or behind nothing, has one operand
BEFORE_UNARY = OPERATORS | NOT_AFTER | {"COLON", "LBRACE"}


@dataclass(frozen=True)
class Comments:
    """The comments in a gap: whether the first one stands on the line of the token before it."""

    texts: tuple[str, ...]
    beside: bool

    def __bool__(self) -> bool:
        return bool(self.texts)

    def __add__(self, other: Comments) -> Comments:
        return Comments(self.texts + other.texts, self.beside if self else other.beside)


NO_COMMENTS = Comments((), False)


@dataclass
class Piece:
    """A token, whether a space stands before it, and the comments behind it."""

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
    """What stands between two commas of a bracket, and the comments after it (behind its comma)."""

    nodes: list[Piece | Group]
    comments: Comments


@dataclass
class Group:
    """A bracket that can be laid out over several lines."""

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


class Grouper:
    """The pieces of one statement as nodes: spaces set, brackets matched."""

    def __init__(self, pieces: list[Piece]):
        self.pieces = pieces
        self.at = 0
        self.previous = ""
        self.unary = False

    def nodes(self) -> list[Node]:
        found: list[Node] = []
        selector = True
        while self.at < len(self.pieces):
            if self.pieces[self.at].kind in OPERATORS:
                selector = False
            self.node("statement", selector, found, breakable=False)
        return found

    def take(self, context: str) -> Piece:
        piece = self.pieces[self.at]
        self.at += 1
        kind = piece.kind
        piece.space = self.spaced(kind, context)
        before = self.previous
        self.unary = kind in ("PLUS", "MINUS") and (not before or before in BEFORE_UNARY or before in continuing())
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

    def node(self, context: str, selector: bool, found: list[Node], breakable: bool) -> None:
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
                current.comments = comments_behind(current.nodes) + self.take(inside).comments
                commas += 1
                items.append(current)
                current = _Item([], NO_COMMENTS)
            else:
                self.node(inside, selects, current.nodes, breakable)
        magic = bool(items) and not current.nodes
        if current.nodes:
            current.comments = comments_behind(current.nodes)
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
        self, opener: Piece, items: list[_Item], closer: Piece, inside: str, comma: bool, magic: bool, breakable: bool
    ) -> list[Node]:
        commented = bool(opener.comments) or any(_commented(item) for item in items)
        single = len(items) == 1
        # `(1,)` is a tuple and `(1)` is not
        one_tuple = single and magic and inside in ("tuple", "shape")
        if single and inside == "tuple" and not magic:
            comma = False
        inner = ", ".join(flat_text(item.nodes).lstrip(" ") for item in items) + ("," if one_tuple else "")
        if (not items or not breakable or (single and inside == "index")) and not (commented and breakable):
            flattened: list[Node] = [opener]
            for number, item in enumerate(items):
                flattened += item.nodes
                if number < len(items) - 1 or one_tuple:
                    flattened.append(_comma(item))
            return [*flattened, closer]
        numbers = inside in ("list", "tuple", "shape") and len(items) > 1 and all(_number(item.nodes) for item in items)
        nested = any(isinstance(node, Group) and node.forced for item in items for node in item.nodes)
        forced = commented or nested or (magic and not one_tuple and not numbers and not (single and inside == "index"))
        flat = f"{opener.flat}{inner}{closer.token}"
        return [Group(opener, items, closer, comma, forced, numbers and not commented, flat)]


def _comma(item: _Item) -> Piece:
    """A comma of a bracket that is not laid out for itself, with its comments."""
    return Piece(Token("COMMA", ","), item.comments, space=False)


def comments_behind(nodes: Sequence[Node]) -> Comments:
    return nodes[-1].comments if nodes else NO_COMMENTS


def _commented(item: _Item) -> bool:
    return bool(item.comments) or any(node.comments for node in item.nodes)


def _number(nodes: Sequence[Node]) -> bool:
    kinds = [node.kind if isinstance(node, Piece) else "" for node in nodes]
    return kinds[-1] == "NUMBER" and (len(kinds) == 1 or (len(kinds) == 2 and kinds[0] in ("PLUS", "MINUS")))


def flat_text(nodes: Sequence[Node]) -> str:
    return "".join(node.flat for node in nodes)


def leading_width(nodes: Sequence[Node], after: int) -> int:
    """The cells that follow on the same line whatever is done: up to the first bracket that can be opened."""
    cells = 0
    for node in nodes:
        if isinstance(node, Group):
            return cells + cell_width(node.opener.flat)
        cells += cell_width(node.flat)
        if node.comments:
            return cells
    return cells + after
