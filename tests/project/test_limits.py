"""How long files and functions may be, and what may be laid out by hand. Exceptions stand here by name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.code import File, files, functions

LONGEST_FILE, LONGEST_FUNCTION = 500, 50

# functions whose length is their list of options or arguments
LONG_SIGNATURES = {
    "api/stream.py::stream", "cli/diagnose.py::command", "cli/diff.py::command", "cli/lint.py::command", "verifying/verify.py::verify",
}  # fmt: skip
# what is still to be cut
LONG_FILES: set[str] = set()
LONG_FUNCTIONS: set[str] = set()
# files in which more than tables is aligned by hand
ALIGNED = {
    "planning/saved.py",
}


def test_files_are_short() -> None:
    assert {file.name for file in files() if file.text.count("\n") > LONGEST_FILE} <= LONG_FILES


def test_functions_are_short() -> None:
    long = {str(function) for function in functions() if function.lines > LONGEST_FUNCTION}
    assert long <= LONG_SIGNATURES | LONG_FUNCTIONS


def aligned(file: File) -> Iterator[int]:
    """Yield the lines where the formatter is told to leave something alone that is no table: rows of a literal."""
    tables = {
        node.end_lineno
        for node in ast.walk(file.tree)
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.Return)
        and isinstance(node.value, ast.List | ast.Dict | ast.Set | ast.Tuple)
    }
    for number, line in enumerate(file.text.splitlines(), 1):
        if re.search(r"#\s*fmt:\s*(skip|off)", line) and number not in tables:
            yield number


def test_only_tables_are_aligned_by_hand() -> None:
    assert {file.name for file in files() if list(aligned(file))} <= ALIGNED


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("ROWS = [\n    1,\n]  # fmt: skip", []),
        ("def f(\n    a, b,\n): ...  # fmt: skip", [3]),
        ("x = f(\n    1,\n)  # fmt: skip", [3]),
        ("# fmt: off", [1]),
    ],
)
def test_what_is_aligned_is_found(text: str, lines: list[int], tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(text, "utf-8")
    assert list(aligned(File("initdsl.a", path))) == lines
