"""The formatter: stable, of the same meaning, nothing lost. `tests/cases/format` holds what it makes of a text."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from initdsl.formatter.layout import format, format_range
from initdsl.language.rules.loader import parse
from initdsl.language.syntax.parser import tokenize
from initdsl.text.diagnostic import Edit, ParseError
from tests.support.strategies import rule_files

ROOT = Path(__file__).parents[2]

generated = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


def comments(text: str) -> Counter[str]:
    """The comments of a text, found without the formatter: what is left of it outside of tokens."""
    text = text.removeprefix("\ufeff")
    at, gaps = 0, []
    for token in tokenize(text):
        gaps.append(text[at : token.start_pos])
        at = token.end_pos or 0
    gaps.append(text[at:])
    return Counter(c.rstrip() for c in re.findall(r"#[^\n]*", "\n".join(gaps)))


def applied(text: str, edits: list[Edit]) -> str:
    for edit in reversed(edits):
        text = text[: edit.span.start] + edit.text + text[edit.span.end :]
    return text


# ---- generated files


@generated
@given(rule_files())
def test_formatting_keeps_the_meaning_and_the_comments_and_is_stable(text: str) -> None:
    laid_out = format(text)
    assert parse(laid_out) == parse(text)
    assert comments(laid_out) == comments(text)
    assert format(laid_out) == laid_out


def test_range_formatting_keeps_the_meaning_and_over_all_lines_is_formatting() -> None:
    @generated
    @given(rule_files(), st.data())
    def check(text: str, data: st.DataObject) -> None:
        lines = text.count("\n") + 1
        everything = applied(text, format_range(text, 1, lines))
        assert everything.removeprefix("\ufeff").replace("\r\n", "\n") == format(text)
        first = data.draw(st.integers(1, lines))
        last = data.draw(st.integers(first, lines))
        some = applied(text, format_range(text, first, last))
        assert parse(some) == parse(text)
        assert comments(some) == comments(text)

    check()


TEXT = "A.w=1\nlonger.w=2   \n\n\nB{\n.w=3;.b=4\n# c\n  }\nC.w=5"


@pytest.mark.parametrize("bound", ["(a, 0, 0,)", "(1,)", "f(a, (b, c,),)", "[a, (b, c,),]", "-(a, b,)"])
def test_a_bound_of_an_expectation_is_a_value(bound: str) -> None:
    for operator in ("<", "==", "!=", ">="):
        text = format(f"expect Linear.weight mean {operator} {bound}")
        assert format(text) == text


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (1, 1, "A.w      = 1\nlonger.w=2   \n\n\nB{\n.w=3;.b=4\n# c\n  }\nC.w=5"),
        (2, 2, "A.w=1\nlonger.w = 2\n\n\nB{\n.w=3;.b=4\n# c\n  }\nC.w=5"),
        (6, 6, "A.w=1\nlonger.w=2   \n\n\nB{\n  .w = 3\n  .b = 4\n# c\n  }\nC.w=5"),
        (7, 9, "A.w=1\nlonger.w=2   \n\n\nB{\n.w=3;.b=4\n  # c\n}\nC.w = 5\n"),
        (3, 4, TEXT),
        (99, 99, TEXT),
    ],
)
def test_a_range_leaves_the_other_lines(first: int, last: int, expected: str) -> None:
    assert applied(TEXT, format_range(TEXT, first, last)) == expected


def test_a_range_leaves_the_blanks_before_it() -> None:
    assert applied("A.w=1  \n\n\n\n B.w=2", format_range("A.w=1  \n\n\n\n B.w=2", 5, 5)) == "A.w=1  \n\n\n\nB.w = 2\n"


def test_the_lines_of_a_range_keep_crlf() -> None:
    assert (
        applied("A.w=1;B.w=2\r\nC.w=3\r\n", format_range("A.w=1;B.w=2\r\nC.w=3\r\n", 1, 1))
        == "A.w = 1\r\nB.w = 2\r\nC.w=3\r\n"
    )


# ---- refusals and edges


@pytest.mark.parametrize("text", ["A.w =", "A {", "}", "A.w = 1 \x00", "A.w = [1", "a = " + "(" * 3000, 'a = "\n"'])
def test_a_text_that_does_not_parse_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        format(text)
    with pytest.raises(ParseError):
        format_range(text, 1, 1)


def test_a_text_whose_layout_is_over_the_size_limit_is_refused() -> None:
    with pytest.raises(ParseError, match="larger than"):
        format("A{" * 60 + "x=1;" * 9_000 + "}" * 60)


def test_only_text_is_formatted() -> None:
    with pytest.raises(TypeError, match="text, not bytes"):
        format(b"A.w = 1")  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "\n", " \n\t\n\n", ";", ";;\n;", "\ufeff\r\n"])
def test_nothing_becomes_nothing(text: str) -> None:
    assert format(text) == ""
    assert applied(text, format_range(text, 1, 9)).removeprefix("\ufeff") == ""


def test_crlf_and_a_byte_order_mark_go() -> None:
    assert format("\ufeffA.w = 1\r\n\r\n\r\n# c\r\nB.w = 2") == "A.w = 1\n\n# c\nB.w = 2\n"


def test_a_run_of_comments_takes_linear_time() -> None:
    """60 000 lines: quadratic, this would take minutes."""
    text = "A.w = 1\n" + "# { c\n" * 60_000
    assert format(text) == text


@pytest.mark.parametrize("width", range(94, 108))
def test_a_line_is_opened_where_it_would_pass_the_width(width: int) -> None:
    call = "A.w ~ f(a, {})"
    text = call.format("b" * (width - len(call) + 2)) + "\n"
    assert len(text) - 1 == width
    assert (format(text) == text) is (width <= 100)


def test_wide_characters_are_aligned_by_their_width() -> None:
    assert format("net.世.w = 1\nnet.abc.w = 2\n") == "net.世.w  = 1\nnet.abc.w = 2\n"


RULE_FILES = sorted(
    path for folder in ("examples", "initdsl/recipes", "tests/cases") for path in ROOT.glob(f"{folder}/**/*.init")
)


@pytest.mark.parametrize("path", RULE_FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_rule_files_of_the_project_keep_their_meaning(path: Path) -> None:
    text = path.read_text("utf-8", "surrogateescape")
    try:
        rules = parse(text)
    except ParseError:
        return
    laid_out = format(text)
    assert parse(laid_out) == rules
    assert comments(laid_out) == comments(text)
    assert format(laid_out) == laid_out


# ---- cases

CASES = Path(__file__).parents[1] / "cases" / "format"
OUTPUT = "# ---- output\n"


@pytest.mark.parametrize("case", sorted(CASES.glob("*.init")), ids=lambda path: path.stem)
def test_case(case: Path) -> None:
    before, _, after = case.read_text("utf-8").partition(OUTPUT)
    assert format(before) == after
    assert format(after) == after, "not stable"
    assert parse(after) == parse(before), "not equivalent"
    assert comments(after) == comments(before)


def test_there_are_cases() -> None:
    assert len(list(CASES.glob("*.init"))) >= 7


def update() -> None:
    """Write what the formatter makes of each case: read the difference before you commit it."""
    for case in sorted(CASES.glob("*.init")):
        before = case.read_text("utf-8").partition(OUTPUT)[0]
        case.write_text(before + OUTPUT + format(before), "utf-8")


if __name__ == "__main__":
    update()


LONG = "net.some.very.long.path.to.a.module.with.many.steps.weight"


def test_one_long_selector_leaves_the_others_in_one_column() -> None:
    text = f"A.weight ~ normal()\nA.b = 0\n{LONG} = 1\nB.weight = 0\nB.b = 1\n"
    assert format(text) == (f"A.weight ~ normal()\nA.b      = 0\n{LONG} = 1\nB.weight = 0\nB.b      = 1\n")


def test_two_long_selectors_end_a_group_and_are_one() -> None:
    text = f"A.b = 0\n{LONG} = 1\n{LONG}s = 1\nB.weight = 0\nC.b = 1\n"
    assert format(text) == f"A.b = 0\n{LONG}  = 1\n{LONG}s = 1\nB.weight = 0\nC.b      = 1\n"


def test_long_lines_between_others_stand_alone() -> None:
    text = f"A.weight = 0\n{LONG} = 1\nB.b = 1\n{LONG}s = 2\nC.b = 1\n"
    assert format(text) == f"A.weight = 0\n{LONG} = 1\nB.b      = 1\n{LONG}s = 2\nC.b      = 1\n"
