"""The tree-sitter grammar of editors/tree-sitter against our parser: the same texts, the same statements, the same colours."""

from __future__ import annotations

import hashlib
import random
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from initdsl.formatter.layout import format
from initdsl.language.syntax.parse import parse_source, read_units
from initdsl.language.syntax.parser import tokenize
from initdsl.server.colours import coloured
from initdsl.server.pieces import pieces_of
from initdsl.text.source import Source
from tests.support.code import ROOT
from tests.support.fuzz_texts import grown
from tests.support.processes import LONGEST
from tests.support.strategies import rule_files
from tests.support.trees import FOLDER, compiled, compiler, loaded, statements

tree_sitter = pytest.importorskip("tree_sitter")

CASES = ROOT / "tests" / "cases"

# what our parser says of texts that have the grammar's shape: a tree-sitter grammar takes them
OF_THE_SHAPE = {
    "ambiguous-in", "bad-class-glob", "bad-escape", "bad-expectation", "bad-number", "bad-plus", "bad-predicate",
    "literal-too-large", "no-attributes", "number-too-large", "outside-block", "stray-space", "version-line",
}  # fmt: skip
# what it says of texts that it does not read to their end
UNREAD = {"file-too-large", "forbidden-character", "newer-language", "too-deep", "too-many-errors"}

Parse = Callable[..., Any]


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if compiler() is None:
        pytest.skip("no C compiler")
    library = tmp_path_factory.mktemp("tree-sitter") / "initdsl.library"
    compiled(library)
    return loaded(library)


@pytest.fixture(scope="module")
def parse(language: Any) -> Parse:
    parser = tree_sitter.Parser(language)
    return lambda text, *old: parser.parse(text.encode(), *old)


# ---- what is generated


def test_what_is_generated_is_of_this_grammar() -> None:
    rows = (line.split() for line in (FOLDER / "src" / "generated.sha256").read_text("utf-8").splitlines())
    digests = {name: digest for digest, name in rows}
    assert set(digests) == {"grammar.js", "src/parser.c"}
    for name, digest in digests.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest, "run `make generated`"


def test_the_generator_makes_what_is_there(tmp_path: Path) -> None:
    if shutil.which("tree-sitter") is None:
        pytest.skip("the generator of tree-sitter is not there")
    version = subprocess.run(["tree-sitter", "--version"], capture_output=True, text=True, timeout=LONGEST).stdout
    if not version.startswith("tree-sitter 0.26."):
        pytest.skip("another generator of tree-sitter numbers its states in another way")
    shutil.copyfile(FOLDER / "grammar.js", tmp_path / "grammar.js")
    shutil.copyfile(FOLDER / "tree-sitter.json", tmp_path / "tree-sitter.json")
    subprocess.run(["tree-sitter", "generate", "--abi", "14"], cwd=tmp_path, check=True, timeout=LONGEST)
    made = {path.relative_to(tmp_path) for path in (tmp_path / "src").rglob("*.*")}
    kept = {path.relative_to(FOLDER) for path in (FOLDER / "src").rglob("*.*")}
    assert made | {path for path in kept if path.name in ("scanner.c", "generated.sha256")} == kept
    for path in made:
        assert (tmp_path / path).read_bytes() == (FOLDER / path).read_bytes(), path


# ---- texts


@cache
def texts() -> list[str]:
    """Every text of the repository that is or may be rules: files, blocks of pages, cases, and all strings of theirs."""
    found = set(_blocks((ROOT / "README.md").read_text("utf-8")))
    for folder in ("examples", "initdsl", "editors", "tests", "docs", "benchmarks"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in READERS and "node_modules" not in path.parts and "_build" not in path.parts:
                found.update(READERS[path.suffix](path.read_text("utf-8")))
    found.update(grown(path.read_bytes()) for path in (CASES / "fuzz" / "grown").iterdir())
    return sorted(found)


def _blocks(page: str) -> list[str]:
    return re.findall(r"^ *```initdsl\n(.*?)^ *```", page, re.MULTILINE | re.DOTALL)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _strings(one)


READERS: dict[str, Callable[[str], Any]] = {
    ".init": lambda text: [text],
    ".txt": lambda text: [text.partition("\n--------\n")[0]],
    ".md": _blocks,
    ".toml": lambda text: _strings(tomllib.loads(text)),
}


def shape(text: str) -> bool | None:
    """Whether a text has the grammar's shape, by our parser; `None` where it does not read all of it."""
    units, problems = read_units(Source("<rules>", text))
    names = {problem.name for problem in problems}
    if names & UNREAD:
        return None
    depth = sum(unit.step for unit in units)
    fits = depth == 0 and not any(unit.failed for unit in units)
    assert not fits or names <= OF_THE_SHAPE
    return fits


def check(text: str, parse: Parse) -> bool:
    """Hold that both take a text, as the same statements, or neither does; return whether they do."""
    expected, tree = shape(text), parse(text)
    if expected is None:
        return False
    assert tree.root_node.has_error is not expected, text
    if expected:
        rules, problems = parse_source(Source("<rules>", text))
        # as text, since spans take no part in comparison
        assert problems or repr(statements(tree, text)) == repr(rules), text
    return expected


@pytest.mark.long
def test_every_text_of_the_repository_is_taken_or_refused_as_our_parser_does(parse: Parse) -> None:
    taken = [check(text, parse) for text in texts()]
    assert taken.count(True) > 1000
    assert taken.count(False) > 1000


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(rule_files())
def test_generated_files_become_the_same_statements(parse: Parse, text: str) -> None:
    text = text.removeprefix("\ufeff")  # which is no part of a source
    assert shape(text) is not False
    check(text, parse)


@settings(max_examples=200, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=400))
def test_files_grown_from_the_grammar_too(parse: Parse, data: bytes) -> None:
    check(grown(data), parse)


PARTS = [
    *'{}()[]"/#\n;.,=~?+*! ',
    "*=",
    "**=",
    "**",
    "in",
    "not",
    "as",
    "tie ",
    "net",
    "\r\n",
    " # c\n",
    "len(",
    "1.",
    "é",
    "A",
]


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(rule_files(3), st.randoms(use_true_random=False))
def test_broken_files_are_refused_alike(parse: Parse, text: str, dice: random.Random) -> None:
    text = text.removeprefix("\ufeff")
    for _ in range(4):
        at = dice.randrange(len(text) + 1)
        text = text[:at] + dice.choice(PARTS) + text[at + dice.randrange(3) :]
        check(text, parse)


CORPUS = re.findall(
    r"^=+\n([^\n]+)\n=+\n\n(.*?)\n---\n\n(.*?)(?=\n\n=|\Z)",
    (FOLDER / "test" / "corpus" / "statements.txt").read_text("utf-8"),
    re.MULTILINE | re.DOTALL,
)


@pytest.mark.parametrize(("text", "tree"), [case[1:] for case in CORPUS], ids=[case[0] for case in CORPUS])
def test_nodes_and_fields_have_the_names_of_the_corpus(parse: Parse, text: str, tree: str) -> None:
    def named(node: Any) -> str:
        fields = ((node.field_name_for_child(n), child) for n, child in enumerate(node.children) if child.is_named)
        return f"({' '.join([node.type, *(f'{field}: ' * bool(field) + named(child) for field, child in fields)])})"

    assert named(parse(text).root_node) == re.sub(r"\s+", " ", tree).strip()


def test_there_is_a_corpus() -> None:
    assert len(CORPUS) >= 5


# ---- colours

# what the captures of the query are for the language server, whose names of names need not be the query's
CAPTURES = {
    "comment": "comment", "string": "string", "string.regexp": "regex", "number": "number", "keyword": "statement",
    "keyword.operator": "word", "constant.builtin": "constant", "variable.builtin": "pseudo", "type": "class",
    "property": "step", "constant": "definition", "function": "function", "variable.parameter": "name", "variable": "name",
    "operator": "operator", "punctuation.bracket": "punctuation", "punctuation.delimiter": "punctuation",
}  # fmt: skip


@pytest.fixture(scope="module")
def query(language: Any) -> Any:
    return tree_sitter.Query(language, (FOLDER / "queries" / "highlights.scm").read_text("utf-8"))


def colours_of_the_query(query: Any, root: Any) -> dict[int, str]:
    """The kind of what begins at a byte; of what lies within another, the inner one's."""
    captured = tree_sitter.QueryCursor(query).captures(root)
    assert set(captured) <= set(CAPTURES)
    rows = [
        (node.start_byte, -node.end_byte, node.child_count == 0, name)
        for name, nodes in captured.items()
        for node in nodes
    ]
    assert len({row[:3] for row in rows}) == len(rows)  # none has two
    return {start: CAPTURES[name] for start, _, _, name in sorted(rows)}


def check_colours(text: str, query: Any, parse: Parse) -> None:
    """Hold that what the server colours has the same kind by the query."""
    found = colours_of_the_query(query, parse(text).root_node)
    starts = {token.start_pos for token in tokenize(text)}
    pieces = pieces_of(text)
    expected = {
        piece.start + one.start: one.kind
        for piece in pieces.pieces
        for one in coloured(piece.text)
        if one.kind != "comment"
    }
    expected |= dict.fromkeys((start for start, _ in pieces.comments), "comment")
    for start, kind in expected.items():
        if start in starts or kind == "comment":
            kind = "name" if kind == "parameter" else kind
            assert found[len(text[:start].encode())] == kind, (text[start : start + 20], kind)


@pytest.mark.long
def test_the_query_colours_files_as_the_server_does(query: Any, parse: Parse) -> None:
    several_lines = [text for text in texts() if "\n" in text.strip() and shape(text)]
    laid_out = {format(text) for text in several_lines if not parse_source(Source("", text))[1]}
    for text in laid_out:
        check_colours(text, query, parse)
    assert len(laid_out) > 300


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(rule_files())
def test_and_generated_ones(query: Any, parse: Parse, text: str) -> None:
    check_colours(format(text.removeprefix("\ufeff")), query, parse)


# ---- editing


def edits(text: str, dice: random.Random) -> Iterator[str]:
    """Yield a text after changes of it: typed, deleted, and lines moved."""
    for _ in range(12):
        at = dice.randrange(len(text) + 1)
        kind = dice.randrange(3)
        if kind == 0:
            text = text[:at] + dice.choice(PARTS) + text[at:]
        elif kind == 1:
            text = text[:at] + text[at + dice.randrange(1, 5) :]
        else:
            lines = text.splitlines(keepends=True) or [""]
            lines.insert(dice.randrange(len(lines)), lines.pop(dice.randrange(len(lines))))
            text = "".join(lines)
        yield text


def point(text: bytes, at: int) -> tuple[int, int]:
    before = text[:at]
    return before.count(b"\n"), at - (before.rfind(b"\n") + 1)


def change(tree: Any, old: bytes, new: bytes) -> None:
    """Tell a tree where its text has changed."""
    start = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    same = 0
    while same < min(len(old), len(new)) - start and old[-1 - same] == new[-1 - same]:
        same += 1
    before, after = len(old) - same, len(new) - same
    tree.edit(start, before, after, point(old, start), point(old, before), point(new, after))


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(rule_files(8), st.randoms(use_true_random=False))
def test_an_edited_tree_is_that_of_the_text(parse: Parse, text: str, dice: random.Random) -> None:
    """Through texts with mistakes too, whose own trees depend on what was there before; in the end all is right again."""
    text = text.removeprefix("\ufeff")
    tree, before = parse(text), text
    for after in [*edits(text, dice), text, text + "\nA.w = 1\n", text]:
        change(tree, before.encode(), after.encode())
        tree, anew = parse(after, tree), parse(after)
        assert tree.root_node.has_error is anew.root_node.has_error, after
        if not anew.root_node.has_error:
            assert written(tree.root_node) == written(anew.root_node), after
        before = after


def written(node: Any) -> str:
    return f"({node.type} {node.start_byte} {node.end_byte} {''.join(map(written, node.children))})"


def test_behind_a_mistake_the_next_lines_are_read(parse: Parse) -> None:
    text = "A.w = 1\nB.w ~ normal(0,\nC.w = 2\nD.w = 3\nE.w = 4\n"
    read = [node for node in parse(text).root_node.children if node.type == "assign" and not node.has_error]
    assert {node.text.decode() for node in read} >= {"A.w = 1", "E.w = 4"}


@pytest.mark.parametrize("text", [
    "A.w = " + "(" * 50_000, "A" + "\n# c" * 50_000 + "\n{ }", "A = 1" + "\n# c" * 50_000, "A" + "\n" * 200_000 + "{", "*" * 100_000,
    "A" + "\n# c" * 50_000 + "\n= 1", "{" * 20_000, "A{" * 20_000, "tie " * 50_000,
])  # fmt: skip
def test_a_long_text_takes_no_quadratic_time(parse: Parse, text: str) -> None:
    """It would take minutes."""
    parse(text)
