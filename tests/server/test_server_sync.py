"""The server's text is the client's, whatever is typed: against the specification's own model of a text, in UTF-16."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import initdsl
from tests.support.wire import Wire, changed

pytest.importorskip("pygls")
from lsprotocol import types as lsp

from initdsl.server.documents import Document
from initdsl.server.session import Server
from initdsl.server.text import Text

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "examples").rglob("*.init"))

# half of a statement, line ends of all kinds and of none, characters of one to four bytes and of two units
PARTS = [
    "a", " ", "\n", "\r", "\r\n", "\u2028", "\x0b", "\x85", "é", "😀", "👩‍👩‍👧", "𝒳", "\0", "\ufeff", "{", "}", "(", "[", '"',
    "/", "#", ".", "=", "~ normal(0, 1)", "let x = 1\n", "Linear {\n  .weight ~ kaimin_normal()\n}\n", "tie net", "in ",
    "**=", "",
]  # fmt: skip


@st.composite
def changes(draw: st.DrawFn) -> dict[str, Any]:
    """One change as an editor sends it; its places may lie behind the end of a line or of the text."""
    text = "".join(draw(st.lists(st.sampled_from(PARTS), max_size=4)))
    if draw(st.integers(0, 9)) == 0:
        return {"text": text}
    places = sorted((draw(st.integers(0, 5)), draw(st.integers(0, 12))) for _ in range(2))
    start, end = ({"line": line, "character": column} for line, column in places)
    return {"range": {"start": start, "end": end}, "text": text}


def splits_a_character(text: str, change: dict[str, Any]) -> bool:
    """Whether a place lies between the two halves of a character, where no editor puts one."""
    places = [change["range"][end] for end in ("start", "end")] if "range" in change else []
    empty = ({"range": {"start": place, "end": place}, "text": "|"} for place in places)
    try:
        for each in (*empty, change):
            changed(text, each).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


SERVER = Server()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=8).map("".join), st.lists(changes(), max_size=6))
def test_after_any_changes_the_text_is_the_clients(text: str, edits: list[dict[str, Any]]) -> None:
    server = SERVER
    server.documents["u"] = Document("u", "x.init", Text(text), 0)
    for version, edit in enumerate(edits):
        if splits_a_character(text, edit):
            continue
        text = changed(text, edit)
        ranged = "range" in edit
        change = (
            lsp.TextDocumentContentChangePartial(_range(edit["range"]), edit["text"])
            if ranged
            else lsp.TextDocumentContentChangeWholeDocument(edit["text"])
        )
        server.change(lsp.DidChangeTextDocumentParams(lsp.VersionedTextDocumentIdentifier(version, "u"), [change]))
        document = server.documents["u"]
        assert document.typed.text == text
        # a byte order mark is looked at as a blank, so that every place stays where it is
        assert document.text.text == (f" {text[1:]}" if text.startswith("\ufeff") else text)


def _range(range_: dict[str, dict[str, int]]) -> lsp.Range:
    start, end = range_["start"], range_["end"]
    return lsp.Range(lsp.Position(start["line"], start["character"]), lsp.Position(end["line"], end["character"]))


def everything(wire: Wire, name: str, dice: random.Random) -> dict[str, Any]:
    """The answers to all that can be asked about a file, at a place somewhere in it."""
    file = wire.file(name)
    place = {"line": dice.randrange(12), "character": dice.randrange(40)}
    range_ = {"start": {"line": 0, "character": 0}, "end": {"line": 30, "character": 0}}
    options = {"tabSize": 2, "insertSpaces": True}
    asked: dict[str, dict[str, Any]] = {
        "documentSymbol": {}, "semanticTokens/full": {}, "inlayHint": {"range": range_}, "formatting": {"options": options},
        "semanticTokens/range": {"range": range_}, "rangeFormatting": {"range": range_, "options": options},
        "completion": {"position": place}, "hover": {"position": place}, "definition": {"position": place},
        "prepareRename": {"position": place},
    }  # fmt: skip
    return {method: wire.ask(f"textDocument/{method}", {**file, **params}) for method, params in asked.items()}


def typed(text: str, dice: random.Random) -> dict[str, Any]:
    """A change somewhere in a text, mostly of a few characters, never through the middle of one."""
    while True:
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        line = dice.randrange(len(lines))
        column = dice.randrange(len(lines[line].encode("utf-16-le")) // 2 + 2)
        end = line + dice.choice([0, 0, 0, 1, 3]), column + dice.choice([0, 0, 1, 7])
        where = {"start": {"line": line, "character": column}, "end": {"line": end[0], "character": end[1]}}
        change = {"range": where, "text": "".join(dice.choices(PARTS, k=dice.choice([0, 1, 1, 2])))}
        if not splits_a_character(text, change):
            return change


def test_a_typed_and_broken_file_is_answered_as_if_opened_anew(tmp_path: Path) -> None:
    """Every answer about a text that came by changes is that about the same text opened whole; nothing fails on the way."""
    (tmp_path / "pyproject.toml").write_text('[tool.initdsl]\nmanifest = "model.json"\n')
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 2)
    (tmp_path / "model.json").write_text(json.dumps(initdsl.describe(net)[0].to_manifest()))
    dice = random.Random(11)
    with Wire(tmp_path) as wire:
        wire.start()
        for number, path in enumerate(dice.sample(FILES, 4)):
            text, name = path.read_text("utf-8"), f"{number}.init"
            wire.open(name, text)
            for version in range(2, 41):
                edits = []
                for _ in range(dice.choice([1, 1, 1, 3])):
                    edits.append(typed(text, dice))
                    text = changed(text, edits[-1])
                wire.change(name, version, *edits)
                if version % 4 == 0:
                    seed = dice.random()
                    answers = everything(wire, name, random.Random(seed))
                    whole = f"{number}-{version}.init"
                    wire.open(whole, text)
                    assert everything(wire, whole, random.Random(seed)) == _renamed(answers, name, whole)
            assert wire.findings(name, version) == wire.findings(whole, 1)
            fixes = {"range": {"start": START, "end": {"line": 99, "character": 0}}, "context": {"diagnostics": []}}
            wire.ask("textDocument/codeAction", {**wire.file(name), **fixes})
        assert wire.stop() == 0
        assert wire.log.read_text("utf-8") == ""


START = {"line": 0, "character": 0}


def _renamed(answers: dict[str, Any], name: str, other: str) -> Any:
    return json.loads(json.dumps(answers).replace(f"/{name}", f"/{other}"))
