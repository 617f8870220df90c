"""From text to statements: the grammar loaded, newlines filtered, every mistake of a file reported in one pass.

The grammar is `grammar/initdsl.lark`. Its tree is built straight into the values of `nodes`; what a callback finds
wrong, and what the parser does not accept, is collected, and parsing goes on at the end of the statement.
"""

from __future__ import annotations

import difflib
import re
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path as FilePath
from typing import Any, cast

from lark import Lark, Token, Transformer, lexer
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken
from lark.parsers.lalr_analysis import Shift

from . import nodes
from .diagnostic import Diagnostic, in_order
from .nodes import (
    Argument,
    Assign,
    Binary,
    Block,
    Call,
    ClassPattern,
    Copy,
    Default,
    Ellipsis,
    Every,
    Expect,
    Expr,
    Index,
    Keep,
    Length,
    Let,
    ListNode,
    Mapping,
    Maybe,
    Member,
    Name,
    Number,
    Path,
    Predicate,
    Regex,
    Rule,
    Selector,
    Slice,
    Step,
    String,
    Subscript,
    Tie,
    TupleNode,
    Unary,
    Union_,
    Use,
    View,
    Within,
    Word,
)  # fmt: skip
from .parse_tables import read_tables
from .source import Source, Span

__all__ = ["Limits", "Memory", "Unit", "accepted", "grammar_text", "keywords", "parse_source", "read_units", "tokenize"]


@dataclass(frozen=True)
class Limits:
    """What a loader accepts; each one exceeded is a clear error.

    `file_bytes` a file, `nesting` blocks and brackets within each other, `uses` files that use files, `statements` of
    all files together with every `use` written out, `literal_elements` in one list literal, `errors` reported before
    giving up, `depth` of one expression, `steps` of one path, `wildcards` among them.
    """

    file_bytes: int = 1 << 20
    nesting: int = 64
    uses: int = 16
    statements: int = 200_000
    literal_elements: int = 10_000
    errors: int = 100
    depth: int = 100
    steps: int = 1000
    wildcards: int = 64


DEFAULT_LIMITS = Limits()

OPENERS = {"LPAR": "(", "LPAR_GLUED": "(", "LSQB": "[", "LSQB_GLUED": "[", "LBRACE": "{"}
CLOSERS = {"RPAR": "(", "RSQB": "[", "RBRACE": "{"}
# operators of other languages
ELSEWHERE = {"^": "a power is `**`", "&": "write `and`", "|": "write `or`", "?": "write `where(condition, a, b)`"}
# what belongs to a selector, and touches what stands before it
GLUED = {"[": "LSQB_GLUED", "(": "LPAR_GLUED", ".": "DOT", "+": "PLUS_GLUED", "?": "MAYBE"}
CLOSER_OF = {"(": ")", "[": "]", "{": "}"}
# after these a statement goes on in the next line
CONTINUING = frozenset(
    ["COMMA", "IN", "PLUS", "MINUS", "STAR", "SLASH", "FLOOR_DIVIDE", "PERCENT", "POWER", "COMPARE", "AND", "OR", "NOT"]
)  # fmt: skip
BINARY = frozenset(["PLUS", "MINUS", "STAR", "SLASH", "FLOOR_DIVIDE", "PERCENT", "POWER", "COMPARE", "AND", "OR"])

# the version of the language, and the line by which a file may say which one it is written in
VERSION = 1
VERSION_LINE = re.compile(r"^#![ \t]*initdsl\b([^\n]*)", re.MULTILINE)
# stands for the brace of a block around what is read
ENCLOSING = Token("LBRACE", "{", 0, end_pos=0)

GAP = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*+")


# name, message, place and hint of a mistake
Problem = tuple[str, str, Span, str | None]


@dataclass
class Session:
    """What is read in one go: what was found wrong, which brackets are open, and how far the text was looked at."""

    limits: Limits
    text: str = ""
    start: int = 0
    reach: int = 0
    deepest: int = 0
    problems: list[Problem] = field(default_factory=list)
    brackets: list[Token] = field(default_factory=list)
    previous: str = ""
    gap: tuple[int, bool] = (-1, False)

    def report(self, name: str, message: str, span: Span, hint: str | None = None) -> None:
        length = len(self.text)
        self.problems.append((name, message, Span(min(span.start, length), min(span.end, length)), hint))

    def brace_follows(self, at: int) -> bool:
        """Whether nothing but blanks, newlines and comments stands between `at` and a `{`.

        A gap is read once however many newlines it has, or a file of comments would take quadratic time.
        """
        if at > self.gap[0]:
            match = GAP.match(self.text, at)
            end = match.end() if match else at
            self.gap = end, self.text.startswith("{", end)
        self.reach = max(self.reach, self.gap[0] + 1)
        return self.gap[1]

    def before(self, at: int) -> str:
        """What stands before a place, as far as it belongs to what is read."""
        return self.text[max(self.start, at - 200) : at]


class _Local(threading.local):
    session: Session


_local = _Local()


class TooDeep(Exception):
    """Brackets nested beyond the limit; the parse ends here."""

    def __init__(self, problems: list[Problem]):
        self.problems = problems


class NewlineFilter:
    """Drops newlines that don't end a statement, keeps count of brackets, caps their nesting."""

    always_accept = ("NL",)

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        session = _local.session
        brackets = session.brackets
        for token in stream:
            kind = token.type
            if kind == "NL":
                if (brackets and brackets[-1].type != "LBRACE") or session.previous in CONTINUING:
                    continue
                if any(b.type != "LBRACE" for b in brackets):  # a mapping inside a call
                    continue
                if session.brace_follows(token.end_pos or 0):
                    continue
            elif kind in OPENERS:
                brackets.append(token)
                session.deepest = max(session.deepest, len(brackets))
                if len(brackets) > session.limits.nesting:
                    span = Span(token.start_pos or 0, token.end_pos or 0)
                    session.report(
                        "too-deep", f"blocks and brackets are nested more than {session.limits.nesting} deep", span
                    )
                    raise TooDeep(session.problems)
            elif kind in CLOSERS and brackets and OPENERS[brackets[-1].type] == CLOSERS[kind]:
                brackets.pop()
            session.previous = kind
            yield token


class Statements(list[Rule]):
    """The statements of a body so far; its type marks a place where parsing can go on after a mistake."""


def _at(first: Any, last: Any) -> Span:
    return Span(_start(first), _end(last))


def _start(value: Any) -> int:
    return cast(int, value.start_pos if isinstance(value, Token) else value.span.start)


def _end(value: Any) -> int:
    return cast(int, value.end_pos if isinstance(value, Token) else value.span.end)


def _values(children: Iterable[Any]) -> list[Any]:
    """The children that are not punctuation."""
    return [child for child in children if not isinstance(child, Token)]


INTEGER = re.compile(r"(?:0|[1-9](?:_?[0-9])*)\Z")
FLOAT = re.compile(r"(?:[0-9](?:_?[0-9])*)?(?:\.(?:[0-9](?:_?[0-9])*)?)?(?:[eE][+-]?[0-9]+)?\Z")
ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
LARGEST_INT = 2**63 - 1


# the callbacks `list` and `tuple` hide the types of those names from what follows them in the class
Children = list[Any]
Pair = tuple[str, Any]


class Builder(Transformer[Token, Any]):
    """Grammar rules to nodes. Mistakes the grammar can't see are reported to the session."""

    # ---- statements

    def start(self, c: list[Any]) -> Statements:
        return self.body_add(c)

    def body_empty(self, c: list[Any]) -> Statements:
        return Statements()

    def body_end(self, c: list[Any]) -> Statements:
        return cast(Statements, c[0])

    def body_add(self, c: list[Any]) -> Statements:
        body = cast(Statements, c[0])
        body.extend(child for child in c[1:] if not isinstance(child, Token))
        return body

    def block(self, c: list[Any]) -> Block:
        targets, _, body, *rest = c
        body.extend(_values(rest))
        return Block(targets, tuple(body), _at(targets, c[-1]))

    def assign(self, c: list[Any]) -> Assign:
        targets, operator, value = c
        return Assign(targets, str(operator), value, _at(targets, value), _at(operator, operator))  # type: ignore[arg-type]

    def tie(self, c: list[Any]) -> Tie:
        return Tie(tuple(c[1:]), _at(c[0], c[-1]))

    def copy(self, c: list[Any]) -> Copy:
        return Copy(tuple(c[1:]), _at(c[0], c[-1]))

    def keep(self, c: list[Any]) -> Keep:
        return Keep(c[1], _at(c[0], c[1]))

    def default(self, c: list[Any]) -> Default:
        return Default(c[1], _at(c[0], c[1]))

    def let(self, c: list[Any]) -> Let:
        return Let(str(c[1]), c[3], _at(c[0], c[3]), _at(c[1], c[1]))

    def expect_between(self, c: list[Any]) -> Expect:
        if c[2] == "shape":
            where = _at(c[2], c[-1])
            _local.session.report("bad-expectation", "a shape lies in no range", where, "as in `shape = (4, 3)`")
        return Expect(str(c[2]), (c[1],), "in", (c[5], c[7]), _at(c[0], c[-1]), _at(c[2], c[2]))  # type: ignore[arg-type]

    def expect_compared(self, c: list[Any]) -> Expect:
        operator = "=" if c[3] == "==" else str(c[3])
        if c[2] == "shape" and operator not in ("=", "!="):
            where = _at(c[3], c[3])
            _local.session.report(
                "bad-expectation", "a shape is equal to another or not", where, "as in `shape = (4, 3)`"
            )
        return Expect(str(c[2]), (c[1],), operator, (c[4],), _at(c[0], c[4]), _at(c[2], c[2]))  # type: ignore[arg-type]

    def expect_state(self, c: list[Any]) -> Expect:
        return Expect(str(c[2]), (c[1],), None, (), _at(c[0], c[2]), _at(c[2], c[2]))  # type: ignore[arg-type]

    def expect_tied(self, c: list[Any]) -> Expect:
        return Expect("tied", tuple(c[2:]), None, (), _at(c[0], c[-1]), _at(c[1], c[1]))

    def use(self, c: list[Any]) -> Use:
        return Use(_unescape(c[1]), None, _at(c[0], c[1]), _at(c[1], c[1]))

    # ---- selectors

    def targets(self, c: list[Any]) -> Selector:
        members = tuple(_values(c))
        if len(members) == 1:
            return cast(Selector, members[0])
        span = _at(members[0], members[-1])
        for member in members:
            inner = member.selector if isinstance(member, Maybe) else member
            if isinstance(inner, Within):
                _local.session.report(
                    "ambiguous-in",
                    "beside a `,` it is unclear what `in` belongs to",
                    member.span,
                    "write `(A, B) in T` or `A, (B in T)`",
                )
                break
        return Union_(members, span)

    def optional(self, c: list[Any]) -> Selector:
        return Maybe(c[0], _at(c[0], c[1])) if c[1:] else cast(Selector, c[0])

    def within(self, c: list[Any]) -> Within:
        return Within(c[0], c[-1], c[1].type == "NOT", _at(c[0], c[-1]))

    def group(self, c: list[Any]) -> Union_:
        inner = c[1]
        members = inner.members if isinstance(inner, Union_) and not inner.grouped else (inner,)
        return Union_(members, _at(c[0], c[2]), True)

    def regex(self, c: list[Any]) -> Regex:
        return Regex(c[0][1:-1].replace("\\/", "/"), _at(c[0], c[0]))

    def view(self, c: list[Any]) -> Path:
        path, _, shape, *index = c
        view = View(shape.items, index[0] if index else None, _at(shape, c[-1]))
        return cast(Path, replace(path, view=view, span=_at(path, c[-1])))

    def shape(self, c: list[Any]) -> TupleNode:
        return TupleNode(tuple(_values(c)), _at(c[0], c[-1]))

    def head(self, c: list[Any]) -> Any:
        if isinstance(c[0], Token) and c[0].type in ("NET", "CLASS"):
            return c[0]
        if c[0].type == "DOT_FREE":
            return Step(str(c[1]), (), _at(c[0], c[1]))
        return Index(c[1], (), _at(c[0], c[2]))

    def step(self, c: list[Any]) -> Step:
        return Step(str(c[1]), (), _at(c[0], c[1]))

    def subclasses(self, c: list[Any]) -> Token:
        return cast(Token, c[0])

    def predicates(self, c: list[Any]) -> TupleNode:
        return TupleNode(tuple(_values(c)), _at(c[0], c[-1]))  # carries the predicates to `path`

    def predicate(self, c: list[Any]) -> Predicate:
        span = _at(c[0], c[-1])
        if len(c) == 1:
            return Predicate(str(c[0]), None, None, span)
        if len(c) == 2:
            return Predicate(str(c[1]), "!", None, span)
        operator = "=" if c[1] == "==" else str(c[1])
        return Predicate(str(c[0]), operator, c[2], span)  # type: ignore[arg-type]

    def path(self, c: list[Any]) -> Path:
        head, suffixes = c[0], c[1:]
        span = _at(head, c[-1])
        if isinstance(head, Token) and head.type == "NET":
            return Path("net", _steps([], suffixes), None, span)
        if not isinstance(head, Token):
            return Path(None, _steps([head], suffixes), None, span)
        # the class name ends at the first segment that looks like one, else at the first
        leading = _leading_steps(suffixes)
        segments: list[Any] = [head, *leading]
        names = [str(head), *(step.name for step in leading)]
        ends = 0
        for i, name in enumerate(names):
            following = suffixes[i] if i < len(suffixes) else None
            marked = isinstance(following, TupleNode) or (
                isinstance(following, Token) and following.type == "PLUS_GLUED"
            )
            if "*" in name or name.lstrip("_")[:1].isupper() or marked:
                ends = i
                break
        rest = suffixes[ends:]
        subclasses, predicates = False, ()
        last: Any = segments[ends]
        while rest and (isinstance(rest[0], TupleNode) or isinstance(rest[0], Token)):
            last = rest.pop(0)
            if isinstance(last, TupleNode):
                predicates += last.items  # type: ignore[assignment]
            else:
                subclasses = True
        name = ".".join(names[: ends + 1])
        if "**" in name:
            _local.session.report("bad-class-glob", f"`{name}` is not a class", _at(head, last), "any class is `*`")
        pattern = ClassPattern(name, subclasses, cast(Any, predicates), _at(head, last))
        return Path(pattern, _steps([], rest), None, span)

    def index(self, c: list[Any]) -> Index:
        return Index(c[1], (), _at(c[0], c[2]))

    def items(self, c: list[Any]) -> tuple[Any, ...]:
        return tuple(_values(c))

    def slice(self, c: list[Any]) -> Slice:
        parts: list[Expr | None] = [None, None, None]
        place = 0
        for child in c:
            if isinstance(child, Token):
                place += 1
            else:
                parts[place] = child
        return Slice(parts[0], parts[1], parts[2], _at(c[0], c[-1]))

    def every(self, c: list[Any]) -> Every:
        return Every(_at(c[0], c[0]))

    def ellipsis(self, c: list[Any]) -> Ellipsis:
        return Ellipsis(_at(c[0], c[0]))

    # ---- expressions

    def binary(self, c: list[Any]) -> Binary:
        return Binary(str(c[1]), c[0], c[2], _at(c[0], c[2]))  # type: ignore[arg-type]

    def unary(self, c: list[Any]) -> Unary:
        return Unary(str(c[0]), c[1], _at(c[0], c[1]))  # type: ignore[arg-type]

    def subscript(self, c: list[Any]) -> Subscript:
        return Subscript(c[0], c[2], _at(c[0], c[3]))

    def member(self, c: list[Any]) -> Member:
        base = c[0]
        while isinstance(base, Member | Subscript):
            base = base.base
        if not (isinstance(base, Name) and base.name == "net"):
            alone = isinstance(base, Name) and base.name in ("torch", "math", "np", "self", "nn", "module")
            hint = f"the name alone will do: `{c[2]}`" if alone else (
                f"an attribute of the target's module is its name alone, `{c[2]}`; of another, a path from `net`"
            )  # fmt: skip
            _local.session.report(
                "no-attributes",
                f"`.{c[2]}`: an expression has no attributes, only paths from `net`",
                _at(c[1], c[2]),
                hint,
            )
        return Member(c[0], str(c[2]), _at(c[0], c[2]))

    def call(self, c: list[Any]) -> Call:
        return Call(str(c[0]), tuple(_values(c)), _at(c[0], c[-1]), _at(c[0], c[0]))

    def length(self, c: list[Any]) -> Length:
        return Length(c[2], _at(c[0], c[3]))

    def argument(self, c: list[Any]) -> Argument:
        if len(c) == 1:
            return Argument(None, c[0], c[0].span)
        return Argument(str(c[0]), c[2], _at(c[0], c[2]))

    def number(self, c: list[Any]) -> Number:
        token = c[0]
        span, text = _at(token, token), str(token)
        value: int | float = 0
        if INTEGER.match(text):
            value = int(text.replace("_", "")) if len(text) < 40 else LARGEST_INT + 1
            if value > LARGEST_INT:
                _local.session.report("number-too-large", "this integer needs more than 64 bits", span)
                value = 0
        elif FLOAT.match(text) and re.search(r"[.eE]", text) and re.search(r"\d", text):
            value = float(text.replace("_", ""))
            if value == float("inf"):
                _local.session.report(
                    "number-too-large", f"`{_short(text)}` is too large for a float", span, "infinity is written `inf`"
                )
                value = 0.0
        else:
            hint = (
                "a number has no leading zeros"
                if text[:1] == "0" and text.isdigit()
                else "numbers are decimal, as `1`, `0.5`, `1e-3` or `1_000`"
            )
            _local.session.report("bad-number", f"`{_short(text)}` is not a number", span, hint)
        return Number(value, span)

    def string(self, c: list[Any]) -> String:
        return String(_unescape(c[0]), _at(c[0], c[0]))

    def constant(self, c: list[Any]) -> Word:
        return Word(str(c[0]), _at(c[0], c[0]))  # type: ignore[arg-type]

    def name(self, c: list[Any]) -> Name:
        return Name(str(c[0]), _at(c[0], c[0]))

    def parenthesis(self, c: list[Any]) -> Any:
        return replace(c[1], span=_at(c[0], c[2]))

    def tuple(self, c: Children) -> TupleNode:
        return TupleNode(tuple(_values(c)), _at(c[0], c[-1]))

    def list(self, c: Children) -> ListNode:
        literal = ListNode(tuple(_values(c)), _at(c[0], c[-1]))
        limit = _local.session.limits.literal_elements
        if _elements(literal, limit) > limit:
            self.too_large(literal.span)
            return ListNode((), literal.span)
        return literal

    def too_large(self, span: Span) -> None:
        limit = _local.session.limits.literal_elements
        _local.session.report("literal-too-large", f"a literal has at most {limit:,} elements", span, "use `load(...)`")

    def mapping(self, c: Children) -> Mapping:
        pairs = [child for child in c if not isinstance(child, Token)]
        if len(pairs) > _local.session.limits.literal_elements:
            self.too_large(_at(c[0], c[-1]))
            pairs = []
        return Mapping(tuple(k for k, _ in pairs), tuple(v for _, v in pairs), _at(c[0], c[-1]))

    def pair(self, c: Children) -> Pair:
        return (_unescape(c[0]), c[2])


def _leading_steps(suffixes: list[Any]) -> list[Step]:
    found = []
    for suffix in suffixes:
        if not isinstance(suffix, Step):
            break
        found.append(suffix)
    return found


def _steps(first: list[Any], suffixes: list[Any]) -> tuple[Any, ...]:
    """The steps of a path, predicates joined to the step they follow."""
    steps = list(first)
    for suffix in suffixes:
        if isinstance(suffix, TupleNode):
            if not steps:
                _local.session.report("bad-predicate", "`net` takes no predicate", suffix.span)
            else:
                steps[-1] = replace(steps[-1], predicates=(*steps[-1].predicates, *suffix.items))
        elif isinstance(suffix, Token):
            _local.session.report("bad-plus", "`+` stands after a class name only", _at(suffix, suffix))
        else:
            steps.append(suffix)
    return tuple(steps)


def _elements(literal: Any, limit: int) -> int:
    count, stack = 0, [literal]
    while stack and count <= limit:
        for item in stack.pop().items:
            if isinstance(item, ListNode | TupleNode):
                stack.append(item)
            else:
                count += 1
    return count


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


def _unescape(token: Token) -> str:
    start = token.start_pos or 0

    def character(match: re.Match[str]) -> str:
        escape = match[1]
        if escape[0] == "u" and len(escape) == 5 and not 0xD800 <= int(escape[1:], 16) < 0xE000:
            return chr(int(escape[1:], 16))
        if escape in '"\\nt':
            return {"n": "\n", "t": "\t"}.get(escape, escape)
        _local.session.report(
            "bad-escape",
            f"`\\{escape}` is not an escape",
            Span(start + 1 + match.start(), start + 1 + match.end()),
            'escapes are `\\"`, `\\\\`, `\\n`, `\\t` and `\\uXXXX`',
        )
        return escape

    return ESCAPE.sub(character, token[1:-1])


# ---- the parser


@lru_cache(maxsize=1)
def grammar_text() -> str:
    """The grammar: the packaged file, or the one of a source checkout."""
    packaged = resources.files(__package__) / "grammar" / "initdsl.lark"
    if packaged.is_file():
        return packaged.read_text("utf-8")
    return (FilePath(__file__).parent.parent / "grammar" / "initdsl.lark").read_text("utf-8")


@lru_cache(maxsize=1)
def keywords() -> tuple[str, ...]:
    """Every reserved word, read off the grammar."""
    return tuple(re.findall(r"^[A-Z]+: /([a-z]+)\(\?!\\w\)/$", grammar_text(), re.MULTILINE))


@lru_cache(maxsize=1)
def parser() -> Lark:
    """The LALR parser of the grammar, from its stored tables where they are current."""
    grammar = grammar_text()
    tables = read_tables(grammar)
    if tables is None:
        return built_parser()
    return cast(Any, Lark.__new__(Lark))._load(tables, postlex=NewlineFilter(), transformer=Builder())  # type: ignore[no-any-return]


def built_parser() -> Lark:
    """The same parser, made from the grammar's text.

    Where interegular is installed, lark spends seconds to look for terminals that collide: the tests do that once.
    """
    before, lexer.has_interegular = lexer.has_interegular, False
    try:
        return Lark(
            grammar_text(), parser="lalr", lexer="contextual", postlex=NewlineFilter(), transformer=Builder(),
            keep_all_tokens=True, maybe_placeholders=False, propagate_positions=False,
        )  # fmt: skip
    finally:
        lexer.has_interegular = before


FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x85\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]|\r(?!\n)|[\ud800-\udfff]"
)


@dataclass(slots=True)
class Unit:
    """What is read in one go, and read again only when its text changes: a statement, or a block's head with its `{`.

    It lies from `start` to `end`. `text` is all that reading it looked at, from `start` on and often beyond `end`; that
    went to the end of the whole text if `last`. `rule` is `None` where there is a mistake; a head is a Block without
    rules. `step` is 1 for a head, -1 for the `}` of a block, otherwise 0. `failed` says that the grammar did not accept
    it, `nesting` how deep its own brackets go. Its rule, problems and tokens were read `by` characters further up.
    """

    start: int
    end: int
    text: str
    last: bool
    rule: Rule | None
    step: int
    failed: bool
    nesting: int
    problems: list[Problem]
    tokens: tuple[Token, ...]
    by: int = 0

    def move(self, start: int) -> None:
        """Put it to another place; what it holds follows when it is asked for."""
        by = start - self.start
        self.start, self.end, self.by = start, self.end + by, self.by + by

    def settle(self) -> Unit:
        """The same, its rule and problems where it stands. Its tokens stay what they were."""
        if self.by:
            self.rule = None if self.rule is None else nodes.moved(self.rule, self.by)
            self.problems = [(n, m, Span(s.start + self.by, s.end + self.by), h) for n, m, s, h in self.problems]
            self.by = 0
        return self


# what reading looks at further than this is not kept
LONGEST_KEPT = 20_000
# so many units with the same first line are tried
TRIED = 8


class Memory:
    """The units of the text that was parsed last, so that parsing one that differs a little reads little anew.


    What it is used for gives the very result of parsing without it. Not to be shared between threads.
    """

    def __init__(self) -> None:
        self._of: tuple[str, Limits] | None = None
        self._before: dict[tuple[bool, bool, str], list[Unit]] = {}
        self._now: dict[tuple[bool, bool, str], list[Unit]] = {}

    def begin(self, source: str, limits: Limits) -> None:
        """Another parse begins: the units of the last one are those to look among."""
        self._before = self._now if self._of == (source, limits) else {}
        self._of, self._now = (source, limits), {}

    def find(self, text: str, at: int, depth: int, limits: Limits) -> Unit | None:
        """The unit that begins at a place inside so many blocks, if it has been read before."""
        key = self._key(text, at, depth)
        there = self._before.get(key, [])
        for number, unit in enumerate(there[:TRIED]):
            end = at + len(unit.text)
            fits = text.startswith(unit.text, at) and (not unit.last or end == len(text))
            if fits and depth + unit.nesting <= limits.nesting:
                del there[number]
                unit.move(at)
                self._now.setdefault(key, []).append(unit)
                return unit
        return None

    def keep(self, unit: Unit, text: str, depth: int) -> None:
        """Remember a unit that was read anew."""
        if len(unit.text) <= LONGEST_KEPT:
            self._now.setdefault(self._key(text, unit.start, depth), []).append(unit)

    @staticmethod
    def _key(text: str, at: int, depth: int) -> tuple[bool, bool, str]:
        """What a unit depends on besides its text, and its first line."""
        line = text.find("\n", at)
        return depth > 0, text[at - 1 : at].isspace(), text[at : line if line >= 0 else len(text)]


def parse_source(
    source: Source, limits: Limits = DEFAULT_LIMITS, memory: Memory | None = None
) -> tuple[list[Rule], list[Diagnostic]]:
    """The statements of a text, and everything that is wrong with its syntax.

    Statements with a mistake are left out; the others are there. `memory` makes parsing a text anew that changed a
    little fast, and changes no result. Never raises on any text.
    """
    found, problems = read_units(source, limits, memory)
    rules: list[Rule] = []
    open_: list[tuple[Unit, list[Rule]]] = []  # the heads of the blocks around, each with the rules before it

    def close(end: int) -> None:
        nonlocal rules
        head, before = open_.pop()
        if isinstance(head.rule, Block) and (rules or not head.problems):
            before.append(replace(head.rule, rules=tuple(rules), span=Span(head.rule.span.start, end)))
        rules = before

    for unit in found:
        if unit.step < 0:
            close(unit.end)
            continue
        unit.settle()
        if unit.step:
            open_.append((unit, rules))
            rules = []
        elif unit.rule is not None:
            rules.append(unit.rule)
    while open_:
        close(len(source.text))
    return rules, problems


def read_units(
    source: Source, limits: Limits = DEFAULT_LIMITS, memory: Memory | None = None
) -> tuple[list[Unit], list[Diagnostic]]:
    """The units of a text in its order, a `}` that closes a block as one of its own, and everything wrong with them.

    There are none of a text that is refused as a whole. Their tokens are kept with a `memory` only.
    """
    text = source.text
    if memory is not None:
        memory.begin(source.name, limits)
    if len(text) > limits.file_bytes or len(text.encode("utf-8", "surrogatepass")) > limits.file_bytes:
        return [], [Diagnostic("file-too-large", f"the text is larger than {limits.file_bytes:,} bytes", source)]
    problems = [
        Diagnostic("forbidden-character", _forbidden(m[0]), source, Span(m.start(), m.end()), _instead(m[0]))
        for m, _ in zip(FORBIDDEN.finditer(text), range(limits.errors), strict=False)
    ]
    if problems:
        return [], problems
    session = Session(limits, text)
    found: list[Unit] = []
    braces: list[int] = []  # where the blocks that are open begin
    try:
        if _version(text, session):
            for unit in _units(source, limits, memory):
                found.append(unit)
                if unit.step > 0:
                    braces.append(unit.end - 1)
                elif unit.step < 0:
                    braces.pop()
                if unit.problems:
                    session.problems += unit.settle().problems
                    if unit.failed and len(session.problems) >= limits.errors:
                        session.report(
                            "too-many-errors", "there are more errors than these", Span(len(text), len(text))
                        )
                        found, braces = [], []
                        break
            if braces:
                brace = Span(braces[-1], braces[-1] + 1)
                session.report("unclosed-bracket", "`{` is never closed", brace, "close it with `}`")
    except TooDeep as error:
        session.problems += error.problems
        found = []
    wrong = [Diagnostic(name, message, source, span, hint) for name, message, span, hint in session.problems]
    return found, in_order(wrong)


# between two units
SEPARATORS = re.compile(r"(?:[ \t\r\n;]+|#[^\n]*)*+")


def _units(source: Source, limits: Limits, memory: Memory | None) -> Iterator[Unit]:
    """The units of a text, remembered or read. Raises TooDeep."""
    text, at, depth = source.text, 0, 0
    cursor = parser().parse_interactive(text)
    while True:
        gap = SEPARATORS.match(text, at)
        at = gap.end() if gap else at
        if at >= len(text):
            return
        if depth and text[at] == "}":
            unit = Unit(at, at + 1, "}", False, None, -1, False, 0, [], ())
        elif memory is None:
            unit = _unit(cursor, text, at, depth, limits, source.name)
            unit.tokens = ()
        elif (known := memory.find(text, at, depth, limits)) is not None:
            unit = known
        else:
            unit = _unit(cursor, text, at, depth, limits, source.name)
            memory.keep(unit, text, depth)
        yield unit
        at = unit.end
        depth += unit.step


@lru_cache(maxsize=4)
def _stacks(made: Lark, inside: bool) -> tuple[list[int], list[Any]]:
    """A parser's stacks where a statement may begin: in no block, or inside of one."""
    state = made.parse_interactive("").parser_state
    _local.session = Session(DEFAULT_LIMITS)
    for kind, text in (("CLASS", "*"), ("LBRACE", "{")) if inside else ():
        state.feed_token(Token(kind, text, 0, end_pos=1))
    state.feed_token(Token("NL", "\n", 0, end_pos=1))
    return state.state_stack[:-1], state.value_stack[:-1]


# by state and kind of token the state to go to, or how many values a rule takes, what it makes of them and its name
Table = dict[int, dict[str, int | tuple[int, Callable[[list[Any]], Any], str]]]


@lru_cache(maxsize=4)
def _table(made: Lark) -> Table:
    """A parser's table with each rule's own function in it: lark would look for that by the rule's symbols, every time."""
    conf = made.parse_interactive("").parser_state.parse_conf
    return {
        state: {
            kind: to if action is Shift else (len(to.expansion), conf.callbacks[to], to.origin.name)
            for kind, (action, to) in actions.items()
        }
        for state, actions in conf.states.items()
    }


def _feed(table: Table, state: Any, token: Token) -> None:
    """What lark's `feed_token` does, by its table made ready."""
    states, values, kind = state.state_stack, state.value_stack, token.type
    while True:
        action = table[states[-1]].get(kind)
        if type(action) is int:
            states.append(action)
            values.append(token)
            return
        if action is None:
            state.feed_token(token)  # raises, and says what may stand here
            return
        size, make, name = cast("tuple[int, Callable[[list[Any]], Any], str]", action)
        taken = values[-size:] if size else []
        if size:
            del states[-size:], values[-size:]
        values.append(make(taken))
        states.append(cast(int, table[states[-1]][name]))


def _unit(cursor: Any, text: str, start: int, depth: int, limits: Limits, source: str) -> Unit:
    """Read the unit that begins at a place, inside so many blocks. Raises TooDeep."""
    state, place = cursor.parser_state, cursor.lexer_thread.state
    table = _table(parser())
    states, values = _stacks(parser(), depth > 0)
    state.state_stack[:] = states
    state.value_stack[:] = [Statements() if isinstance(value, Statements) else value for value in values]
    place.line_ctr.char_pos, place.last_token = start, None
    session = _local.session = Session(limits, text, start, start, brackets=[ENCLOSING] * depth)
    tokens: list[Token] = []
    rule: Any = None
    end, step, failed = len(text), 0, False
    while True:
        try:
            for token in cursor.lexer_thread.lex(state):
                kind = token.type
                _feed(table, state, token)
                if kind == "NL" or kind == "SEMICOLON" or (kind == "RBRACE" and len(session.brackets) < depth):
                    rule, end = state.value_stack[-2], tokens[-1].end_pos or 0
                    break
                if kind == "LBRACE" and isinstance(state.value_stack[-3], Statements):
                    targets = state.value_stack[-2]
                    rule, end, step = Block(targets, (), _at(targets, token)), token.end_pos or 0, 1
                    break
                tokens.append(token)
            else:
                _feed(table, state, Token("NL", "\n", end, end_pos=end))
                rule, end = state.value_stack[-2], tokens[-1].end_pos or 0
            break
        except UnexpectedInput as error:
            failed, rule = True, None
            error.interactive_parser = cursor
            end = _recover(error, text, session, depth)
            if end >= len(text) or text[end] != "{":
                break
            # the block's body can still be read
            cursor.feed_token(Token("CLASS", "*", end, end_pos=end))
    end = max(end, start + 1)
    if rule is not None and not _check_nodes(rule, depth > 0, session) and not step:
        rule = None
    reach = max(session.reach, place.line_ctr.char_pos, end)
    line = text.find("\n", reach)
    reach = line + 1 if line >= 0 else len(text) + 1
    return Unit(
        start, end, text[start:reach], reach > len(text), None if rule is None else replace(rule, source=source),
        step, failed, max(0, session.deepest - depth), session.problems, tuple(tokens),
    )  # fmt: skip


def _version(text: str, session: Session) -> bool:
    """Whether this parser knows the version a text says it is written in; a line astray is reported too."""
    for line in VERSION_LINE.finditer(text):
        span = Span(line.start(), line.end())
        word = line[1].strip()
        number = int(word) if word.isascii() and word.isdigit() and len(word) < 10 else None
        if number is None or number < 1:
            message = f"a version line names one version, a whole number from 1, not `{_short(word)}`" if word else (
                "a version line names the version"
            )  # fmt: skip
            session.report("version-line", message, span, f"write `#! initdsl {VERSION}`")
        elif line.start() > 0:
            session.report("version-line", "a version line is the first line of its file", span, "move it to line 1")
        elif number > VERSION:
            session.report(
                "newer-language",
                f"this file is written in version {number} of the language; this initdsl reads version {VERSION}",
                span,
                "upgrade initdsl",
            )
            return False
    return True


def _forbidden(character: str) -> str:
    code = ord(character)
    name = {"\r": "a carriage return without a line feed", "\0": "a NUL character", "\x0c": "a form feed"}.get(
        character
    )
    name = name or unicodedata.name(character, "a control character").lower()
    return f"{name} (U+{code:04X}) can't stand in a rule file"


def _instead(character: str) -> str | None:
    return "lines end with `\\n` or `\\r\\n`" if character == "\r" else None


def _check_nodes(statement: Any, inside: bool, session: Session) -> bool:
    """Depth, and selectors that continue a block where there is none."""
    stack: list[tuple[Any, int]] = [(statement, 0)]
    deepest = session.limits.depth
    fine = True
    while stack:
        current, depth = stack.pop()
        if depth > deepest:
            session.report(
                "too-deep", f"this expression is nested more than {deepest} deep", statement.span, "split it with `let`"
            )
            return False
        if isinstance(current, Path) and not _short_enough(current, session):
            return False
        if isinstance(current, Path) and current.root is None and not inside:
            if isinstance(current.steps[0], Index):
                session.report(
                    "stray-space", "an index stands directly behind what it indexes, without a space",
                    current.span, "as in `net[2]`",
                )  # fmt: skip
            else:
                session.report(
                    "outside-block", "a selector that starts with a dot continues a block, and there is none",
                    current.span, "start with `net` or a class name",
                )  # fmt: skip
            fine = False
        stack.extend((child, depth + 1) for child in nodes.children(current))
    return fine


def _short_enough(path: Path, session: Session) -> bool:
    """Whether a path has no more steps, and no more wildcards among them, than the limits allow."""
    limits = session.limits
    if len(path.steps) > limits.steps:
        session.report(
            "too-deep", f"this path has more than {limits.steps:,} steps", path.span, "`**` is any number of steps"
        )
        return False
    if sum(isinstance(step, Step) and "*" in step.name for step in path.steps) > limits.wildcards:
        session.report(
            "too-deep",
            f"this path has more than {limits.wildcards} wildcards",
            path.span,
            "`**` is any number of steps",
        )
        return False
    return True


# ---- errors

NAMES = {
    "RPAR": "`)`", "RSQB": "`]`", "RBRACE": "`}`", "LBRACE": "`{`", "COMMA": "`,`", "COLON": "`:`", "SET": "`=`",
    "STRING": "a string", "LPAR_GLUED": "`(`", "STEP": "a name", "NAME": "a name", "IN": "`in`", "LPAR": "`(`",
}  # fmt: skip


def _recover(error: UnexpectedInput, text: str, session: Session, depth: int) -> int:
    """Report a syntax error inside so many blocks, and take the parser back to where its statement began.

    Returns where that ends.
    """
    cursor: Any = cast(Any, error).interactive_parser
    state, thread = cursor.parser_state, cursor.lexer_thread.state
    at, token = _place(error)
    session.reach = max(session.reach, at, thread.line_ctr.char_pos)
    own = session.brackets[depth:]
    openers = [b for b in own if b.type != "LBRACE" and (b.start_pos or 0) < at]
    end, unclosed = _statement_end(text, at, openers, session)
    if unclosed is None and token is not None and at >= len(text):
        unclosed = next((b for b in reversed(own) if b.type == "LBRACE"), None)
    if unclosed is not None and text[at : at + 1] != '"':  # a string without an end hides the brackets behind it
        opener = OPENERS[unclosed.type]
        session.report(
            "unclosed-bracket", f"`{opener}` is never closed", _at(unclosed, unclosed),
            f"close it with `{CLOSER_OF[opener]}`",
        )  # fmt: skip
    else:
        session.report(*_explain(at, token, cursor, text, session))
    while not isinstance(state.value_stack[-1], Statements):
        state.value_stack.pop()
        state.state_stack.pop()
    session.brackets[:] = [ENCLOSING] * depth
    session.previous = ""
    if token is not None and token.type == "RBRACE" and not depth:
        end = at + 1
    thread.line_ctr.char_pos = end
    thread.last_token = None
    return end


def _place(error: UnexpectedInput) -> tuple[int, Token | None]:
    if isinstance(error, UnexpectedToken):
        return error.token.start_pos or 0, error.token
    assert isinstance(error, UnexpectedCharacters)
    return cast(int, error.pos_in_stream), None


SCAN = re.compile(r'"(?:\\.|[^"\\\n])*"?|#[^\n]*|[()\[\]{};\n]')


def _statement_end(text: str, at: int, openers: list[Token], session: Session) -> tuple[int, Token | None]:
    """Where the statement around `at` ends; and the bracket that is never closed, if that is why it doesn't."""
    depth = len(openers)
    for match in SCAN.finditer(text, at):
        character = match[0]
        session.reach = max(session.reach, match.end())
        if character in "([":
            depth += 1
        elif character in ")]":
            depth = max(0, depth - 1)
        elif character in "{}" or (depth == 0 and character in ";\n"):
            if depth and openers:
                break
            return match.start(), None
    else:
        if not (depth and openers):
            return len(text), None
    opener = openers[-1]
    line_end = text.find("\n", opener.start_pos or 0)
    return (len(text) if line_end < 0 else line_end), opener


def _explain(
    at: int, token: Token | None, cursor: Any, text: str, session: Session
) -> tuple[str, str, Span, str | None]:
    """Name, message, span and hint for what stands at `at`."""
    found = text[at : at + 1]
    rest = text[at:]
    span = Span(at, (token.end_pos or at + 1) if token is not None and token.type != "NL" else at + 1)
    accepts = cursor.accepts()
    previous = session.previous
    glob = re.match(r"(\*{1,2})=(?!=)", rest)
    if glob and at and text[at - 1] == ".":
        what = f"a `*` directly before `=` belongs to the operator `{glob[0][-2:]}`"
        return "bad-operator", what, Span(at, at + glob.end()), f"write `.{glob[1]} =`, with a space"
    if rest.startswith("**="):
        return (
            "bad-operator",
            "`**=` is not an operator",
            Span(at, at + 3),
            "put a space before `*=` to multiply what `*` selects",
        )
    if rest.startswith("//="):
        return "bad-operator", "`//=` is not an operator", Span(at, at + 3), "edits are `+=`, `-=`, `*=` and `/=`"
    if token is None:
        if found == '"':
            end = rest.find("\n")
            return (
                "unclosed-string",
                'the string is not closed with `"`',
                Span(at, at + (end if end >= 0 else len(rest))),
                None,
            )
        if found == "'":
            return (
                "bad-character",
                "`'` does not begin a string",
                Span(at, at + 1),
                'strings take double quotes: `"..."`',
            )
        if found == "?" and not (at and text[at - 1] in " \t"):
            return "bad-character", "`?` stands at the very end of a selector", Span(at, at + 1), None
        name = unicodedata.name(found, "")
        if not found.isascii() or not found.isprintable():
            shown = (
                f"`{found}` ({name.lower()}, U+{ord(found):04X})"
                if found.isprintable()
                else f"{name.lower() or 'a control character'} (U+{ord(found):04X})"
            )
            return "bad-character", f"{shown} can't stand here", Span(at, at + 1), None
    ended = "DRAW" in accepts and re.search(r"[\w\])*+][ \t]+\Z", session.before(at)) is not None
    if (found in ".[(+" and at and text[at - 1] == "?") or (
        re.match(r"(?:in|not|as)\b", rest) and re.search(r"\?[ \t]+\Z", session.before(at))
    ):
        return (
            "unexpected-token",
            "`?` stands at the very end of a selector",
            span,
            "move it there, as in `net.head.bias?`",
        )
    apart = re.match(r"([-+*/])[ \t]+=", rest)
    if apart and "SET" in accepts:
        return "bad-operator", f"`{apart[0]}` is no operator", Span(at, at + apart.end()), f"write `{apart[1]}=`"
    if found in GLUED and at and text[at - 1] in " \t" and (GLUED[found] in accepts or ended):
        return "stray-space", f"a space stands before `{found}`", Span(at, at + 1), "write it directly behind the name"
    if token is not None and token.type == "COMPARE":
        if "SET" in accepts and found == "=":
            return "bad-operator", "`==` compares", span, "to set a value write `=`"
        if previous and "COMPARE" not in accepts and _compared(cursor):
            return "chained-comparison", "comparisons don't chain", span, "join two with `and`"
    if found == ":" and "SET" in accepts:
        return "bad-operator", "`:` does not set a value", Span(at, at + 1), "write `=` for a value, `~` for a draw"
    if found == "," and _operands(cursor):
        return "unexpected-comma", "the operands are separated by spaces", span, "leave out the `,`"
    if rest.startswith("//"):
        return "bad-comment", "`//` does not begin a comment", Span(at, at + 2), "comments begin with `#`"
    if "NL" in accepts and "TIE" not in accepts and (instead := ELSEWHERE.get(found)):
        return "bad-operator", f"`{found}` is no operator", Span(at, at + 1), instead
    shown = _found(token, found, text)
    word = re.match(r"\w+", rest)
    if "MEASURE" in accepts and "DRAW" not in accepts:
        return _expectation(word[0] if word else "", shown, span)
    if accepts == {"LSQB"}:
        return "bad-expectation", f"expected a range, found {shown}", span, "as in `std in [0.009, 0.011]`"
    if word and "SET" in accepts and "DRAW" in accepts:
        near = difflib.get_close_matches(
            _last_word(session.before(at)), ["tie", "copy", "keep", "default", "let", "use", "expect"], 1, 0.7
        )
        if near:
            return (
                "unexpected-token",
                f"expected `~`, `=` or an edit such as `+=`, found {shown}",
                span,
                f"did you mean `{near[0]}`?",
            )
    hint = None
    if re.match(r"\r?\n[ \t]+\S", rest) and re.search(r"[~=][ \t]*\Z", session.before(at)):
        hint = "a value begins in the line of its operator, and may go on in the next inside brackets"
    elif word and word[0] == "not" and "NOT_MARK" in accepts:
        hint = "write `!` directly before the name"
    elif accepts == {"STRING"}:
        hint = 'write it as a string: `use "base.init"`'
    elif word and word[0] == "if" and "NL" in accepts:
        hint = "write `where(condition, a, b)`"
    elif word and word[0] in keywords() and "NAME" in accepts:
        hint = f"`{word[0]}` is reserved; take another name"
    elif word and word[0] in keywords() and "CLASS" in accepts:
        hint = f"`{word[0]}` is reserved; after a dot it is fine, as in `net.{word[0]}`"
    elif previous == "NAME" and token is not None and token.type in ("NUMBER", "NAME") and "LPAR_GLUED" in accepts:
        hint = f"a call has parentheses: `{_last_word(session.before(at))}(...)`"
    return "unexpected-token", f"expected {_expected(accepts)}, found {shown}", span, hint


def _expectation(word: str, shown: str, span: Span) -> tuple[str, str, Span, str | None]:
    """What is wrong behind the selector of an `expect`."""
    compared, states = ["mean", "std", "min", "max", "norm", "values", "shape"], ["covered", "finite"]
    if word in compared:
        return (
            "bad-expectation",
            f"`{word}` is compared with something",
            span,
            f"as in `{word} in [a, b]` or `{word} < x`",
        )
    near = difflib.get_close_matches(word, [*compared, *states], 1, 0.6)
    hint = f"did you mean `{near[0]}`?" if near else f"one of {', '.join(f'`{w}`' for w in (*compared, *states))}"
    return "bad-expectation", f"expected what is to hold, found {shown}", span, hint


def _compared(cursor: Any) -> bool:
    return any(isinstance(v, Token) and v.type == "COMPARE" for v in cursor.parser_state.value_stack[-3:])


def _operands(cursor: Any) -> bool:
    for value in reversed(cursor.parser_state.value_stack):
        if isinstance(value, Statements):
            return False
        if isinstance(value, Token) and value.type in ("TIE", "COPY"):
            return True
    return False


def _last_word(before: str) -> str:
    match = re.search(r"(\w+)\s*\Z", before)
    return match[1] if match else ""


def _found(token: Token | None, found: str, text: str) -> str:
    if token is not None and token.type == "NL":
        return "the end of the line" if (token.start_pos or 0) < len(text) else "the end of the text"
    return f"`{_short(str(token))}`" if token is not None else f"`{found}`"


def _expected(accepts: set[str]) -> str:
    """What the grammar takes next, in words, most telling first."""
    words: list[str] = []
    if "TIE" in accepts:
        words.append("a statement")
    elif "NUMBER" in accepts:
        words.append("a value")
    elif "CLASS" in accepts:
        words.append("a selector")
    if "DRAW" in accepts:
        words += ["`~`", "`=`", "an edit such as `+=`"]
    structural = ["RPAR", "RSQB", "COMMA", "COLON", "RBRACE"] if not words or "TIE" not in accepts else ["RBRACE"]
    if "NUMBER" not in accepts:
        structural += ["STRING", "NAME", "STEP"] if "TIE" not in accepts and "CLASS" not in accepts else []
    if "DRAW" not in accepts:
        structural += ["SET"]
    if "LPAR_GLUED" in accepts and len(accepts) <= 2:
        structural += ["LPAR_GLUED"]
    words += [NAMES[kind] for kind in structural if kind in accepts]
    words = list(dict.fromkeys(words))
    if "NL" in accepts and "TIE" not in accepts and "DRAW" not in accepts:
        words.append("the end of the statement")
    if not words and BINARY & accepts:
        words.append("an operator")
    if not words:
        words = sorted(NAMES.get(kind, kind.lower()) for kind in accepts if kind != "$END") or ["the end of the text"]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def tokenize(text: str, limits: Limits = DEFAULT_LIMITS) -> list[Token]:
    """The tokens of a text that parses; comments and blanks lie in the gaps between them.

    Raises ValueError on a text with a syntax error.
    """
    _local.session = Session(limits, text)
    try:
        cursor = parser().parse_interactive(text)
        return list(cursor.iter_parse())
    except (UnexpectedInput, TooDeep):
        raise ValueError("the text has a syntax error") from None


def accepted(text: str, limits: Limits = DEFAULT_LIMITS) -> frozenset[str]:
    """The terminals that may come behind a text; none where it is wrong already."""
    _local.session = Session(limits, text)
    try:
        cursor = parser().parse_interactive(text)
        for _ in cursor.iter_parse():
            pass
        return frozenset(cursor.accepts())  # type: ignore[no-untyped-call]
    except (UnexpectedInput, TooDeep):
        return frozenset()
