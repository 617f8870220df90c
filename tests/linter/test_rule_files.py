"""The rule files of the package and of the examples: no lint finds anything in them, on the text alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from initdsl.linter import lint_file

ROOT = Path(__file__).parents[2]
FILES = [
    path.relative_to(ROOT).as_posix()
    for folder in ("initdsl/recipes", "examples", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.init"))
]


def test_there_are_some() -> None:
    assert {"initdsl/recipes/gpt2.init", "examples/integrations/mlp.init"} <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_found_in(name: str) -> None:
    findings = lint_file(ROOT / name)
    assert findings == [], "\n\n".join(map(str, findings))
