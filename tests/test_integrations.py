"""The examples of examples/integrations run against the libraries themselves."""

from __future__ import annotations

import importlib.util
import io
from contextlib import redirect_stdout
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples" / "integrations"
# what each needs, and what it says
SCRIPTS: dict[str, tuple[str, list[str]]] = {
    "transformers_head": (
        "transformers",
        ["the body is as saved: True", "the head is drawn: (3, 32) std 0.088", "21 new tokens: std 0.50"],
    ),
}


def test_every_example_is_here() -> None:
    assert sorted(SCRIPTS) == sorted(path.stem for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_script_runs(name: str, torchvision_shim: None) -> None:
    library, said = SCRIPTS[name]
    pytest.importorskip(library)
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    out = io.StringIO()
    with redirect_stdout(out):
        module.main()
    for text in said:
        assert text in out.getvalue()
