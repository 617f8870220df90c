"""The rule files of the package and of the examples: no lint finds anything in them, on the text or with the model they name."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

from initdsl.linter import lint_file
from tests.support.command import run

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


MODELS = re.findall(
    r"^\| `(examples/models/\S+)` \| `([^`]+)`", (ROOT / "examples" / "README.md").read_text("utf-8"), re.M
)


def test_each_file_for_a_model_names_it() -> None:
    assert {file for file, _ in MODELS} == {name for name in FILES if name.startswith("examples/models/")}


@pytest.mark.parametrize(("file", "model"), MODELS)
def test_nothing_is_found_with_the_model_that_the_readme_names(
    file: str, model: str, torchvision_shim: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "albert" in model:
        pytest.importorskip("transformers")
    monkeypatch.chdir(ROOT)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        done = run(f'lint {file} --model "{model}"')
        assert (done.exit_code, done.stdout) == (0, ""), done.output
        assert run(f'plan {file} --model "{model}" --strict').exit_code == 0
