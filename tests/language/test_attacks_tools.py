"""The files of `cases/attacks` through the commands and the language server: a finding or a refusal, never a traceback,
never a file that changed without need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import initdsl
from tests.language.test_attacks import CASES
from tests.support.attacked import lay_out
from tests.support.processes import LONGEST
from tests.support.wire import Wire

# settings that can't be right refuse the whole run, and have tests of their own
HOW = ("files", "links", "pipes", "bytes")
USUAL = {
    name: case
    for name, case in CASES.items()
    if not case.get("slow") and not any("pyproject.toml" in case.get(how, {}) for how in HOW)
}


@pytest.fixture(params=[5, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
def files(tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, Path]:
    """The main files of every case, or of every so manieth, each in a folder of its own."""
    laid = {}
    usual = USUAL if request.param == 1 else {name: case for name, case in USUAL.items() if not case.get("long")}
    for number, (name, case) in enumerate(list(usual.items())[:: request.param]):
        folder = tmp_path / str(number) / "root"
        folder.mkdir(parents=True)
        laid[name] = lay_out(case, folder)
    return laid


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", "from initdsl.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=LONGEST,
    )
    assert "Traceback" not in done.stderr + done.stdout
    return done


def test_lint_finds_or_refuses(files: dict[str, Path]) -> None:
    before = {name: path.read_bytes() for name, path in files.items()}
    done = run("lint", *files.values(), "--output-format", "json")
    assert done.returncode in (1, 2), done.stderr
    found = json.loads(done.stdout)
    assert found
    assert {name: path.read_bytes() for name, path in files.items()} == before


def test_fmt_leaves_alone_what_does_not_parse(files: dict[str, Path]) -> None:
    before = {name: path.read_bytes() for name, path in files.items()}
    done = run("fmt", *files.values())
    assert done.returncode == 2, done.stderr
    assert "formatter-bug" not in done.stderr
    for name, path in files.items():
        after = path.read_bytes()
        if after != before[name]:
            assert initdsl.format(before[name].decode("utf-8")).encode() == after, name


def questions(client: Wire, name: str) -> None:
    place = {**client.file(name), "position": {"line": 0, "character": 3}}
    client.ask("textDocument/hover", place)
    client.ask("textDocument/completion", place)
    client.ask("textDocument/documentSymbol", client.file(name))
    client.ask("textDocument/semanticTokens/full", client.file(name))
    client.ask("textDocument/formatting", {**client.file(name), "options": {"tabSize": 2, "insertSpaces": True}})


def served(tmp_path: Path, chosen: dict[str, Any]) -> str:
    """What the server logs of being asked about the files of cases."""
    with Wire(tmp_path) as client:
        client.start()
        for number, (name, case) in enumerate(chosen.items()):
            folder = tmp_path / str(number) / "root"
            folder.mkdir(parents=True)
            path = lay_out(case, folder).relative_to(tmp_path)
            client.open(str(path), (tmp_path / path).read_text("utf-8"))
            try:
                questions(client, str(path))
            except LookupError as error:
                pytest.fail(f"{name}: {error}")
            client.findings(str(path), 1)
            client.notify("textDocument/didClose", client.file(str(path)))
        assert client.stop() == 0
        return client.log.read_text("utf-8", "replace")


@pytest.mark.needs("pygls")
def test_the_server_answers(tmp_path: Path) -> None:
    chosen = dict(list(USUAL.items())[::20])
    assert "Traceback" not in served(tmp_path, chosen)


@pytest.mark.needs("pygls")
@pytest.mark.slow
def test_the_server_answers_about_all(tmp_path: Path) -> None:
    assert "Traceback" not in served(tmp_path, USUAL)
