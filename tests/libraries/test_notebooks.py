"""The notebooks under examples/ run, and give what is stored in them.

`python -m tests.libraries.test_notebooks` stores what they give; read the difference before you keep it.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import LONGEST

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "examples").rglob("*.ipynb"))


def executed(path: Path, folder: str) -> Any:
    """A notebook with the outputs of its cells, run from the first in an empty folder."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(path, as_version=4)
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    client = nbclient.NotebookClient(
        notebook, timeout=LONGEST, resources={"metadata": {"path": folder}}, record_timing=False
    )
    client.execute(env={**os.environ, "PYTHONPATH": path})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell["outputs"] = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def said(notebook: Any) -> list[tuple[str, str]]:
    """What the cells print and show as text, addresses of objects and pictures left out."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            text = output.get("text") or output.get("data", {}).get("text/plain", "")
            found.append((output.output_type, re.sub(r"0x[0-9a-f]+", "0x", text).strip()))
    return found


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) >= 2


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, id=p.stem, marks=[] if p.stem == "first_look" else [pytest.mark.long]) for p in NOTEBOOKS],
)
def test_notebooks_run_and_give_what_they_say(path: Path, tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    stored = nbformat.read(path, as_version=4)
    assert said(executed(path, str(tmp_path))) == said(stored)


if __name__ == "__main__":
    import tempfile

    import nbformat

    for path in NOTEBOOKS:
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(executed(path, folder), path)
    sys.exit(0)
