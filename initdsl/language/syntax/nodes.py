"""What text becomes: expressions and selectors as frozen values. Spans don't take part in comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from initdsl.text.source import Span

NOWHERE = Span(0, 0)


def _span() -> Any:
    return field(default=NOWHERE, compare=False)


# ---- expressions


@dataclass(frozen=True, slots=True)
class Number:
    """A number literal: an `int` of at most 64 bits, or a finite `float`."""

    value: int | float
    span: Span = _span()
    kind: Literal["number"] = "number"


@dataclass(frozen=True, slots=True)
class String:
    value: str
    span: Span = _span()
    kind: Literal["string"] = "string"


@dataclass(frozen=True, slots=True)
class Word:
    """A constant: `true false none inf nan pi`."""

    word: Literal["true", "false", "none", "inf", "nan", "pi"]
    span: Span = _span()
    kind: Literal["word"] = "word"


@dataclass(frozen=True, slots=True)
class Name:
    """A name to be looked up where the rule is used; `it` and `net` among them."""

    name: str
    span: Span = _span()
    kind: Literal["name"] = "name"


@dataclass(frozen=True, slots=True)
class Member:
    """`net.a.b`: one step down a path. Only paths from `net` have members."""

    base: Expr
    name: str
    span: Span = _span()
    kind: Literal["member"] = "member"


@dataclass(frozen=True, slots=True)
class Subscript:
    base: Expr
    items: tuple[Item, ...]
    span: Span = _span()
    kind: Literal["subscript"] = "subscript"


@dataclass(frozen=True, slots=True)
class Unary:
    operator: Literal["-", "+", "not"]
    operand: Expr
    span: Span = _span()
    kind: Literal["unary"] = "unary"


@dataclass(frozen=True, slots=True)
class Binary:
    operator: Literal["+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">=", "and", "or"]
    left: Expr
    right: Expr
    span: Span = _span()
    kind: Literal["binary"] = "binary"


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a call; `name` is `None` for a positional one."""

    name: str | None
    value: Expr
    span: Span = _span()
    kind: Literal["argument"] = "argument"


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    arguments: tuple[Argument, ...]
    span: Span = _span()
    name_span: Span = _span()
    kind: Literal["call"] = "call"


@dataclass(frozen=True, slots=True)
class Length:
    """`len(selector)`."""

    selector: Selector
    span: Span = _span()
    kind: Literal["length"] = "length"


@dataclass(frozen=True, slots=True)
class TupleNode:
    items: tuple[Expr, ...]
    span: Span = _span()
    kind: Literal["tuple"] = "tuple"


@dataclass(frozen=True, slots=True)
class ListNode:
    items: tuple[Expr, ...]
    span: Span = _span()
    kind: Literal["list"] = "list"


@dataclass(frozen=True, slots=True)
class Mapping:
    keys: tuple[str, ...]
    values: tuple[Expr, ...]
    span: Span = _span()
    kind: Literal["mapping"] = "mapping"


AnyExpr = (
    Number | String | Word | Name | Member | Subscript | Unary | Binary | Call | Length | TupleNode | ListNode | Mapping
)


Expr = Annotated[AnyExpr, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True)
class Slice:
    """`start:stop:step` in an index; parts left out are `None`."""

    start: Expr | None
    stop: Expr | None
    step: Expr | None
    span: Span = _span()
    kind: Literal["slice"] = "slice"


@dataclass(frozen=True, slots=True)
class Every:
    """`*` in an index: every index, each a thing of its own."""

    span: Span = _span()
    kind: Literal["every"] = "every"


@dataclass(frozen=True, slots=True)
class Ellipsis:
    span: Span = _span()
    kind: Literal["ellipsis"] = "ellipsis"


Item = Annotated[AnyExpr | Slice | Every | Ellipsis, Field(discriminator="kind")]


# ---- selectors


@dataclass(frozen=True, slots=True)
class Predicate:
    """`attribute`, `!attribute` or `attribute < value` in a class pattern; `operator` is `None` for a bare name."""

    attribute: str
    operator: Literal["=", "!=", "<", "<=", ">", ">=", "!"] | None
    value: Expr | None
    span: Span = _span()
    kind: Literal["predicate"] = "predicate"


@dataclass(frozen=True, slots=True)
class ClassPattern:
    """A class by (qualified) name or glob; `subclasses` is the `+`."""

    name: str
    subclasses: bool
    predicates: tuple[Predicate, ...]
    span: Span = _span()
    kind: Literal["class"] = "class"


@dataclass(frozen=True, slots=True)
class Step:
    """One name of a path: a glob (`*` within it), `*` for any one step, `**` for any number."""

    name: str
    predicates: tuple[Predicate, ...] = ()
    span: Span = _span()
    kind: Literal["step"] = "step"


@dataclass(frozen=True, slots=True)
class Index:
    """`[...]` in a path: a child by index, or a slice of the parameter the path has reached."""

    items: tuple[Item, ...]
    predicates: tuple[Predicate, ...] = ()
    span: Span = _span()
    kind: Literal["index"] = "index"


PathStep = Annotated[Step | Index, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True)
class View:
    """`as (4, -1)[*]`: the parameter seen through a shape, and an index into that."""

    shape: tuple[Expr, ...]
    index: Index | None
    span: Span = _span()
    kind: Literal["view"] = "view"


@dataclass(frozen=True, slots=True)
class Path:
    """A path: from the root (`net`), from every module of a class, or from the enclosing block (`None`)."""

    root: Literal["net"] | ClassPattern | None
    steps: tuple[PathStep, ...]
    view: View | None = None
    span: Span = _span()
    kind: Literal["path"] = "path"


@dataclass(frozen=True, slots=True)
class Regex:
    pattern: str
    span: Span = _span()
    kind: Literal["regex"] = "regex"


@dataclass(frozen=True, slots=True)
class Union_:
    """`A, B`: what either selects. `grouped` in parentheses."""

    members: tuple[Selector, ...]
    span: Span = _span()
    grouped: bool = field(default=False, compare=False)
    kind: Literal["union"] = "union"


@dataclass(frozen=True, slots=True)
class Within:
    """`S in T`, `S not in T`."""

    selector: Selector
    container: Selector
    negated: bool
    span: Span = _span()
    kind: Literal["within"] = "within"


@dataclass(frozen=True, slots=True)
class Maybe:
    """`S?`: S, and matching nothing is fine."""

    selector: Selector
    span: Span = _span()
    kind: Literal["maybe"] = "maybe"


Selector = Annotated[Path | Regex | Union_ | Within | Maybe, Field(discriminator="kind")]


Node = Any


# ---- statements


def _source() -> Any:
    return field(default="<rules>", compare=False)


@dataclass(frozen=True, slots=True)
class Assign:
    """`S ~ draw`, `S = value`, `S += edit`."""

    targets: Selector
    operator: Literal["~", "=", "+=", "-=", "*=", "/="]
    value: Expr
    span: Span = _span()
    operator_span: Span = _span()
    source: str = _source()
    kind: Literal["assign"] = "assign"


@dataclass(frozen=True, slots=True)
class Tie:
    """The same tensor under several names.

    `tie A B C`: every parameter of `B` and `C` becomes `A`'s.
    """

    operands: tuple[Selector, ...]
    span: Span = _span()
    source: str = _source()
    kind: Literal["tie"] = "tie"


@dataclass(frozen=True, slots=True)
class Copy:
    """Values of the first into the others.

    `copy A B C`: those of `A`, by relative name, into `B` and `C`.
    """

    operands: tuple[Selector, ...]
    span: Span = _span()
    source: str = _source()
    kind: Literal["copy"] = "copy"


@dataclass(frozen=True, slots=True)
class Keep:
    """Leave as it is.

    `keep S` cancels every earlier rule for `S`.
    """

    targets: Selector
    span: Span = _span()
    source: str = _source()
    kind: Literal["keep"] = "keep"


@dataclass(frozen=True, slots=True)
class Default:
    """PyTorch's own initialization.

    `default S` calls `reset_parameters()` of the modules that own `S`.
    """

    targets: Selector
    span: Span = _span()
    source: str = _source()
    kind: Literal["default"] = "default"


@dataclass(frozen=True, slots=True)
class Let:
    """A name for a formula.

    `let std = 0.02`; the formula is evaluated where the name is used.
    """

    name: str
    value: Expr
    span: Span = _span()
    name_span: Span = _span()
    source: str = _source()
    kind: Literal["let"] = "let"


@dataclass(frozen=True, slots=True)
class Use:
    """Another file's statements.

    `use "base.init"`; once followed, `rules` are the statements of that file.
    """

    path: str
    rules: tuple[Rule, ...] | None = None
    span: Span = _span()
    path_span: Span = _span()
    source: str = _source()
    kind: Literal["use"] = "use"


@dataclass(frozen=True, slots=True)
class Block:
    """`S { ... }`."""

    targets: Selector
    rules: tuple[Rule, ...]
    span: Span = _span()
    source: str = _source()
    kind: Literal["block"] = "block"


@dataclass(frozen=True, slots=True)
class Expect:
    """What is to hold once all is filled.

    `expect S std in [a, b]`, `expect S max < x`, `expect S covered`, `expect tied A B`.
    `operands` has one selector, or those that are to be tied; `bounds` both ends of a range, or what is compared with.
    """

    what: Literal["mean", "std", "min", "max", "norm", "values", "shape", "covered", "finite", "tied"]
    operands: tuple[Selector, ...]
    operator: Literal["in", "=", "!=", "<", "<=", ">", ">="] | None = None
    bounds: tuple[Expr, ...] = ()
    span: Span = _span()
    name_span: Span = _span()
    source: str = _source()
    kind: Literal["expect"] = "expect"


Rule = Annotated[Assign | Tie | Copy | Keep | Default | Let | Use | Block | Expect, Field(discriminator="kind")]
