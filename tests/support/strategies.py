"""Hypothesis strategies for the text of rule files: every statement and expression form, laid out oddly.

`rule_files()` gives texts that parse. A text is built of words and gaps; a gap says what may stand there, and what
does is drawn: nothing, blanks, newlines, comments.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import cache
from typing import Any

from hypothesis import strategies as st

__all__ = ["expressions", "rule_files", "selectors", "statements"]


class Gap(Enum):
    """What may stand between two words."""

    GLUE = "nothing"
    MAY = "blanks or nothing"
    MUST = "at least a blank"
    GO_ON = "blanks or nothing, newlines and comments too"
    MUST_GO_ON = "at least a blank, newlines and comments too"
    BRACE = "blanks, newlines and comments before a brace"
    END = "the end of a statement"
    AFTER_BLOCK = "blanks, or the end of a statement"


GLUE, MAY, MUST, GO_ON = Gap.GLUE, Gap.MAY, Gap.MUST, Gap.GO_ON
Part = str | Gap
Text = tuple[Part, ...]

CLASSES = ["Linear", "Conv2d", "Conv*d", "*", "*Norm*", "nn.Linear", "torch.nn.LSTM", "Ünï"]
STEPS = ["weight", "bias", "*", "**", "q_*", "in", "default", "0", "net", "weight_hh_l0", "été"]
NAMES = ["std", "i", "fan_in", "weight", "x_1", "lenient", "größe"]
NUMBERS = ["0", "1", "42", "1_000", "0.5", ".5", "1.", "1e-3", "2.5E+4", "9223372036854775807"]
MEASURES = ["mean", "std", "min", "max", "norm", "values"]
STRINGS = ['""', '"a"', '"a # b"', r'"\" \\ \n \u00e9"', '"{;}"', '"x.safetensors"']
REGEXES = [r"/attn\..*\.weight$/", "/a b/", r"/\/#/", "/[;{]/"]
COMMENTS = ["#", "# note", "#!x", "# trailing \t ", "# a ; b { c", '# "', "# initdsl: ignore[zero-std] why", "# é 世界"]
INDICES = ["i", "0", "-1", "*", "...", ":", "2:6", "::2", "i+1:n", '"seg-1"']
CONSTANTS = ["true", "false", "none", "inf", "nan", "pi", "it"]
FUNCTIONS = ["normal", "kaiming_normal", "sqrt", "eye", "load", "linspace"]


def join(*parts: Part | Text) -> Text:
    flat: list[Part] = []
    for part in parts:
        flat.extend(part if isinstance(part, tuple) else (part,))
    return tuple(flat)


def bracketed(opener: str, items: list[Text], closer: str, trailing: bool = False) -> Text:
    parts: list[Part | Text] = [opener, GO_ON]
    for number, item in enumerate(items):
        parts += [",", GO_ON] if number else []
        parts += [item, GO_ON]
    if trailing and items:
        parts += [",", GO_ON]
    return join(*parts, closer)


def words(choices: list[str]) -> st.SearchStrategy[Text]:
    return st.sampled_from(choices).map(lambda word: (word,))


def lists(of: st.SearchStrategy[Text], least: int = 0, most: int = 3) -> st.SearchStrategy[list[Text]]:
    return st.lists(of, min_size=least, max_size=most)


@cache
def expressions(depth: int = 3) -> st.SearchStrategy[Text]:
    """The parts of an expression."""
    atoms = st.one_of(words(NUMBERS), words(NAMES), words(CONSTANTS), words(STRINGS), _paths())
    if depth == 0:
        return atoms
    inner = st.deferred(lambda: expressions(depth - 1))
    argument = st.one_of(
        inner, st.tuples(words(["mode", "a", "std"]), inner).map(lambda p: join(p[0], GO_ON, "=", GO_ON, p[1]))
    )
    pair = st.tuples(words(STRINGS), inner).map(lambda p: join(p[0], GO_ON, ":", GO_ON, p[1]))
    parenthesised = inner.map(lambda e: bracketed("(", [e], ")"))
    symbols = ["+", "-", "*", "/", "//", "%", "**"]
    return st.one_of(
        atoms,
        st.tuples(st.sampled_from(["-", "+"]), parenthesised | atoms).map(lambda p: join(p[0], MAY, p[1])),
        parenthesised.map(lambda e: join("not", MUST, e)),
        st.tuples(parenthesised | atoms, st.sampled_from(symbols), parenthesised | atoms).map(
            # `net.weight*(` begins the predicates of a name with a wildcard
            lambda p: join(p[0], MUST if p[1].startswith("*") else MAY, p[1], GO_ON, p[2])
        ),
        st.tuples(
            parenthesised | atoms, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), parenthesised | atoms
        ).map(lambda p: join(p[0], MAY, p[1], GO_ON, p[2])),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda p: join("(", GO_ON, p[0], MUST, p[1], Gap.MUST_GO_ON, p[2], GO_ON, ")")
        ),
        parenthesised,
        st.tuples(words(FUNCTIONS), lists(argument), st.booleans()).map(
            lambda p: join(p[0], GLUE, bracketed("(", p[1], ")", p[2]))
        ),
        st.tuples(lists(inner, 2), st.booleans()).map(lambda p: bracketed("(", p[0], ")", p[1])),
        inner.map(lambda e: bracketed("(", [e], ")", True)),
        st.tuples(lists(inner), st.booleans()).map(lambda p: bracketed("[", p[0], "]", p[1])),
        st.tuples(lists(pair), st.booleans()).map(
            lambda p: join("f", GLUE, bracketed("(", [bracketed("{", p[0], "}", p[1])], ")"))
        ),
        st.tuples(words(NAMES), _indices(depth - 1)).map(lambda p: join(p[0], GLUE, p[1])),
        st.deferred(lambda: selectors(0)).map(lambda s: join("len", GLUE, bracketed("(", [s], ")"))),
        st.lists(words(["1", "-1", "0.25"]), min_size=20, max_size=60).map(lambda items: bracketed("[", items, "]")),
    )


@cache
def _paths() -> st.SearchStrategy[Text]:
    """`net.a.b[0]` in an expression."""
    return st.lists(st.sampled_from(["weight", "in", "heads", "0"]), min_size=1, max_size=3).map(
        lambda steps: join("net", *(part for step in steps for part in (GLUE, ".", MAY, step)))
    )


@cache
def _indices(depth: int = 0) -> st.SearchStrategy[Text]:
    item = words(INDICES) if depth <= 0 else words(INDICES) | expressions(0)
    return st.tuples(lists(item, 1), st.booleans()).map(lambda p: bracketed("[", p[0], "]", p[1]))


@cache
def _predicates() -> st.SearchStrategy[Text]:
    predicate = st.one_of(
        words(NAMES),
        words(NAMES).map(lambda n: join("!", MAY, n)),
        st.tuples(
            words(NAMES),
            st.sampled_from(["=", "==", "!=", "<", "<=", ">", ">="]),
            words(["1", "-1", "(1, 1)", "in_features // 2"]),
        ).map(lambda p: join(p[0], GO_ON, p[1], GO_ON, p[2])),
    )
    return st.tuples(lists(predicate, 1), st.booleans()).map(lambda p: bracketed("(", p[0], ")", p[1]))


@st.composite
def _path(draw: Any, inside: bool) -> Text:
    """A selector's path. `inside` a block it may begin with a dot."""
    root = draw(st.sampled_from(["class", "net", "dot"] if inside else ["class", "net"]))
    steps = draw(st.lists(st.one_of(words(STEPS), _indices()), min_size=root == "dot", max_size=3))
    parts: list[Part | Text] = []
    if root == "class":
        parts.append(draw(st.sampled_from(CLASSES)))
        extra = draw(st.sampled_from(["", "", "+", "("]))
        if extra == "+":
            parts += [GLUE, "+"]
        elif extra:
            parts += [GLUE, draw(_predicates())]
        if not steps or steps[0][0] == "[":  # an index does not stand on a class
            steps = [("weight",), *steps]
    elif root == "net":
        parts.append("net")
    elif steps[0][0] == "[":
        steps = [("weight",), *steps]
    for number, step in enumerate(steps):
        if step[0] == "[":
            parts += [GLUE, step]
        else:
            parts += [MAY if root == "dot" and not number else GLUE, ".", MAY, step]
    if draw(st.integers(0, 9)) == 0:
        shape = draw(st.sampled_from([("4",), ("4", "hidden_size", "-1")]))
        parts += [MUST, "as", MUST, bracketed("(", [(s,) for s in shape], ")", draw(st.booleans()))]
        if draw(st.booleans()):
            parts += [GLUE, draw(_indices())]
    return join(*parts)


@cache
def selectors(depth: int = 1, inside: bool = False) -> st.SearchStrategy[Text]:
    """The parts of one selector, without a comma outside of parentheses."""
    if depth == 0:
        return st.one_of(_path(inside), words(REGEXES))
    inner = selectors(depth - 1, inside)
    group = lists(inner, 1).map(lambda items: bracketed("(", items, ")"))
    part = st.one_of(inner, group)
    return st.one_of(
        inner,
        group,
        st.tuples(part, part).map(lambda p: join(p[0], MUST, "in", Gap.MUST_GO_ON, p[1])),
        st.tuples(part, part).map(lambda p: join(p[0], MUST, "not", MUST, "in", Gap.MUST_GO_ON, p[1])),
        part.map(lambda s: join(s, GLUE, "?")),
    )


@cache
def _targets(inside: bool) -> st.SearchStrategy[Text]:
    def union(items: list[Text]) -> Text:
        return join(items[0], *(part for item in items[1:] for part in (MAY, ",", GO_ON, *item)))

    return st.one_of(selectors(1, inside), lists(selectors(0, inside), 2, 4).map(union))


@cache
def statements(depth: int = 2, inside: bool = False) -> st.SearchStrategy[Text]:
    """The parts of a statement, blocks among them while `depth` is left."""
    targets = _targets(inside)
    one = selectors(1, inside)

    def operands(keyword: str) -> Callable[[list[Text]], Text]:
        return lambda items: join(keyword, MUST, *(part for item in items for part in (*item, MUST)))[:-1]

    simple = st.one_of(
        st.tuples(targets, st.sampled_from(["~", "=", "+=", "-=", "*=", "/="]), expressions(3)).map(
            lambda p: join(p[0], MAY if _ends_plainly(p[0]) else MUST, p[1], MAY, p[2])
        ),
        lists(one, 1, 3).map(operands("tie")),
        lists(one, 2, 3).map(operands("copy")),
        targets.map(lambda t: join("keep", MUST, t)),
        targets.map(lambda t: join("default", MUST, t)),
        st.tuples(words(NAMES), expressions(3)).map(lambda p: join("let", MUST, p[0], MAY, "=", MAY, p[1])),
        words(STRINGS).map(lambda s: join("use", MAY, s)),
        st.tuples(targets, words(MEASURES), expressions(2), expressions(2)).map(
            lambda p: join("expect", MUST, p[0], MUST, p[1], MUST, "in", MAY, "[", *p[2], ",", MAY, *p[3], "]")
        ),
        st.tuples(targets, words(MEASURES), st.sampled_from(["=", "<", ">=", "!="]), words(NUMBERS)).map(
            lambda p: join("expect", MUST, p[0], MUST, p[1], MUST, p[2], MAY, p[3])
        ),
        st.tuples(targets, st.sampled_from(["covered", "finite"])).map(
            lambda p: join("expect", MUST, p[0], MUST, p[1])
        ),
        lists(one, 2, 3).map(operands("expect tied")),
        st.tuples(targets, lists(expressions(1), 1)).map(lambda p: join(p[0], MUST, "=", MAY, "{", *_pairs(p[1]), "}")),
    )
    if depth == 0:
        return simple
    block = st.tuples(targets, lists(st.deferred(lambda: statements(depth - 1, True)))).map(
        lambda p: join(p[0], Gap.BRACE, "{", _body(p[1]), "}", Gap.AFTER_BLOCK)
    )
    return st.one_of(simple, simple, block)


def _pairs(values: list[Text]) -> list[Part]:
    """A mapping outside of brackets: it goes on only behind its commas."""
    found: list[Part] = []
    for number, value in enumerate(values):
        found += [*([",", GO_ON] if number else [MAY]), f'"k{number}"', MAY, ":", MAY, *value, MAY]
    return found


def _ends_plainly(text: Text) -> bool:
    """Not in a star, which an operator would take, nor in a plus, before which it would be none."""
    last = next(part for part in reversed(text) if isinstance(part, str))
    return last[-1] not in "*+?/"


def _body(items: list[Text]) -> Text:
    parts: list[Part | Text] = [Gap.AFTER_BLOCK]
    for number, item in enumerate(items):
        last_parts = item[-1]
        parts.append(item)
        if last_parts is not Gap.AFTER_BLOCK:
            parts.append(Gap.END if number < len(items) - 1 else Gap.AFTER_BLOCK)
    return join(*parts)


BLANKS = ["", " ", "  ", "\t"]


@st.composite
def _filled(draw: Any, parts: Text) -> str:
    """The text of words and gaps."""
    blank = st.sampled_from(BLANKS)
    some = st.sampled_from(BLANKS[1:])
    rare = st.integers(0, 5)
    # a comment or a newline is drawn now and then, not everywhere
    several = st.lists(st.tuples(blank, st.sampled_from(["", "", *COMMENTS]), st.just("\n")), min_size=1, max_size=3)

    def lines() -> str:
        return "".join("".join(line) for line in draw(several)) + draw(blank)

    written: list[str] = []
    for part in parts:
        if isinstance(part, str):
            written.append(part)
        elif part is MAY:
            written.append(draw(blank))
        elif part is MUST:
            written.append(draw(some))
        elif part is GO_ON:
            written.append(lines() if draw(rare) == 0 else draw(blank))
        elif part is Gap.MUST_GO_ON:
            written.append(draw(some) + (lines() if draw(rare) == 0 else ""))
        elif part is Gap.BRACE:
            written.append(lines() if draw(rare) == 0 else draw(blank))
        elif part is Gap.END:
            written.append(draw(blank) + ";" + draw(blank) if draw(rare) == 0 else lines())
        elif part is Gap.AFTER_BLOCK:
            written.append(draw(st.sampled_from(["", " ", " ; "])) if draw(rare) == 0 else lines())
    return "".join(written)


@st.composite
def rule_files(draw: Any, most: int = 6) -> str:
    """A text that parses: up to `most` statements, oddly laid out, with `\\n` or `\\r\\n`, perhaps a BOM."""
    items = draw(st.lists(statements(), max_size=most))
    text = draw(_filled(_body(items)))
    if draw(st.booleans()):
        text = text.rstrip(" \t\n")
    if draw(st.integers(0, 4)) == 0:
        text = text.replace("\n", "\r\n")
    return "\ufeff" + text if draw(st.integers(0, 9)) == 0 else text
