"""The language server through a client over stdio, and the process that looks for findings."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import initdsl
from initdsl.server.finder import Finder
from initdsl.server.findings import findings
from initdsl.server.known import Known
from initdsl.server.outline import symbols
from initdsl.server.pieces import pieces_of
from initdsl.server.text import Text
from tests.server.conftest import WHOLE
from tests.support.processes import LONGEST
from tests.support.wire import Wire

pytest_lsp = pytest.importorskip("pytest_lsp")
from lsprotocol import types as lsp  # noqa: E402

# ---- the process that looks for findings


def test_the_finder_finds_what_findings_does_and_outlives_its_process(folder: Path, known: Known) -> None:
    path, text = str(folder / "x.init"), "Linear.weight ~ kaimin_normal()\nlet a = 1\n"
    finder = Finder()
    try:
        assert finder.find(path, text) == findings(path, text, known) != []
        assert finder.find(path, "Linear.* = 1\n") == findings(path, "Linear.* = 1\n", known)
        assert finder.process is not None
        finder.process.kill()
        finder.process.join()
        assert finder.find(path, text) is None
        assert finder.find(path, text) == findings(path, text, known)
        process = finder.process
    finally:
        finder.close()
    process.join(LONGEST)
    assert not process.is_alive()
    assert finder.find(path, text) is None


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks processes up in /proc")
@pytest.mark.parametrize("end", ["shutdown", "closed", "killed"])
def test_no_process_is_left_behind(end: str, tmp_path: Path) -> None:
    with Wire(tmp_path) as wire:
        wire.start()
        wire.open("x.init", "Linear.weight = 1\n")
        wire.findings("x.init", 1)
        tasks = Path(f"/proc/{wire.process.pid}/task").iterdir()
        started = [pid for task in tasks for pid in (task / "children").read_text().split()]
        assert started
        assert all(map(_runs, started))
        if end == "shutdown":
            assert wire.stop() == 0
        elif end == "killed":
            wire.process.kill()
        else:
            assert wire.process.stdin is not None
            wire.process.stdin.close()
        wire.process.wait(LONGEST)
        for _ in range(20 * LONGEST):  # what finds them loads torch beside other tests
            if not any(map(_runs, started)):
                return
            time.sleep(0.05)
        raise AssertionError("a process runs on")


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# ---- through a client


@pytest_lsp.fixture(
    config=pytest_lsp.ClientServerConfig(
        server_command=[sys.executable, "-c", "from initdsl.cli import main; main()", "lsp"]
    ),
    scope="module",
)
async def client(lsp_client: pytest_lsp.LanguageClient) -> AsyncIterator[None]:
    await lsp_client.initialize_session(lsp.InitializeParams(capabilities=lsp.ClientCapabilities()))
    yield
    await lsp_client.shutdown_session()


def at(line: int, column: int) -> lsp.Position:
    return lsp.Position(line, column)


class Editor:
    """One file as a client sees it."""

    def __init__(self, client: Any, path: Path, text: str):
        self.client, self.uri, self.version = client, path.as_uri(), 1
        self.id = lsp.TextDocumentIdentifier(self.uri)
        client.text_document_did_open(lsp.DidOpenTextDocumentParams(lsp.TextDocumentItem(self.uri, "initdsl", 1, text)))

    def type(self, start: lsp.Position, end: lsp.Position, text: str) -> None:
        self.version += 1
        change = lsp.TextDocumentContentChangePartial(lsp.Range(start, end), text)
        self.client.text_document_did_change(
            lsp.DidChangeTextDocumentParams(lsp.VersionedTextDocumentIdentifier(self.version, self.uri), [change])
        )

    async def findings(self) -> list[lsp.Diagnostic]:
        for _ in range(20 * LONGEST):  # what finds them loads torch beside other tests
            if self.published() == self.version:
                return list(self.client.diagnostics[self.uri])
            await asyncio.sleep(0.05)
        raise AssertionError("no findings came")

    def published(self) -> int | None:
        seen = [p for p in getattr(self.client, "seen", []) if p.uri == self.uri]
        return seen[-1].version if seen else None


@pytest.fixture
def editor(client: Any, folder: Path) -> Any:
    if not hasattr(client, "seen"):
        client.seen = []
        known_handler = client.protocol.fm.features[lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS]

        def record(params: lsp.PublishDiagnosticsParams) -> None:
            client.seen.append(params)
            known_handler(params)

        client.protocol.fm.features[lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS] = record
    return lambda name, text: Editor(client, folder / name, text)


@pytest.mark.asyncio(loop_scope="module")
async def test_findings_come_while_typing_and_their_columns_are_utf16(editor: Any) -> None:
    file = editor("typed.init", 'Linear.weight ~ normal(0, 1) # 😀\nnet["😀"].weight ~ kaimin_normal()\n')
    wrong = next(one for one in await file.findings() if one.code == "unknown-initializer")
    assert (wrong.range.start, wrong.range.end) == (at(1, 19), at(1, 32))
    assert wrong.source == "initdsl"
    file.type(at(1, 19), at(1, 32), "kaiming_normal")
    assert "unknown-initializer" not in [one.code for one in await file.findings()]
    file.type(at(1, 0), at(2, 0), "Linear.weight ~ \n")
    assert "unexpected-token" in [one.code for one in await file.findings()]


@pytest.mark.asyncio(loop_scope="module")
async def test_findings_know_the_network(editor: Any) -> None:
    file = editor("network.init", "net.heat.weight = 1\n")
    assert "unmatched-selector" in [one.code for one in await file.findings()]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_quick_fix(editor: Any, client: Any) -> None:
    file = editor("fix.init", "Linear.weight ~ kaimin_normal()\n")
    await file.findings()
    place = lsp.Range(at(0, 20), at(0, 20))
    params = lsp.CodeActionParams(file.id, place, lsp.CodeActionContext([]))
    (action,) = await client.text_document_code_action_async(params)
    (edit,) = action.edit.changes[file.uri]
    assert (edit.range, edit.new_text) == (lsp.Range(at(0, 16), at(0, 29)), "kaiming_normal")
    elsewhere = lsp.CodeActionParams(file.id, lsp.Range(at(1, 0), at(1, 0)), lsp.CodeActionContext([]))
    assert not await client.text_document_code_action_async(elsewhere)


@pytest.mark.asyncio(loop_scope="module")
async def test_questions(editor: Any, client: Any) -> None:
    file = editor("asked.init", "let std = 1\nBlock {\n.up.weight~normal(0,std)\n}\n")
    name = at(2, 21)
    found = await client.text_document_completion_async(lsp.CompletionParams(file.id, at(2, 14)))
    assert "normal" in [item.label for item in found.items]
    assert all(item.text_edit.range == lsp.Range(at(2, 11), at(2, 14)) for item in found.items)
    found = await client.text_document_hover_async(lsp.HoverParams(file.id, at(2, 13)))
    assert "torch.nn.init.normal_" in found.contents.value
    found = await client.text_document_definition_async(lsp.DefinitionParams(file.id, name))
    assert (found.uri, found.range) == (file.uri, lsp.Range(at(0, 4), at(0, 7)))
    assert await client.text_document_prepare_rename_async(lsp.PrepareRenameParams(file.id, name))
    found = await client.text_document_rename_async(lsp.RenameParams(file.id, name, "sigma"))
    assert [edit.range.start for edit in found.changes[file.uri]] == [at(0, 4), at(2, 20)]
    with pytest.raises(Exception, match="`let` is reserved"):
        await client.text_document_rename_async(lsp.RenameParams(file.id, name, "let"))
    (first, block) = await client.text_document_document_symbol_async(lsp.DocumentSymbolParams(file.id))
    assert (first.name, block.name, block.range) == ("std", "Block", lsp.Range(at(1, 0), at(3, 1)))
    assert [child.name for child in block.children] == [".up.weight~normal(0,std)"]
    hints = await client.text_document_inlay_hint_async(lsp.InlayHintParams(file.id, lsp.Range(at(0, 0), at(4, 0))))
    assert [(hint.position, hint.label) for hint in hints] == [(at(1, 5), "12 parameters"), (at(2, 10), "3 parameters")]
    tokens = await client.text_document_semantic_tokens_full_async(lsp.SemanticTokensParams(file.id))
    assert list(tokens.data[:15]) == [
        0,
        0,
        3,
        LEGEND.index("keyword"),
        0,
        0,
        4,
        3,
        LEGEND.index("variable"),
        3,
        0,
        4,
        1,
        LEGEND.index("operator"),
        0,
    ]


from initdsl.server.requests import LEGEND  # noqa: E402


@pytest.mark.asyncio(loop_scope="module")
async def test_formatting_is_that_of_fmt(editor: Any, client: Any) -> None:
    text = "Block{\n.up.weight~normal(0,1)\n}\nlet  x=1 # 😀\n"
    file = editor("layout.init", text)
    options = lsp.FormattingOptions(2, True)
    edits = await client.text_document_formatting_async(lsp.DocumentFormattingParams(file.id, options))
    assert edited(text, edits) == initdsl.format(text)
    place = lsp.Range(at(3, 0), at(4, 0))
    edits = await client.text_document_range_formatting_async(
        lsp.DocumentRangeFormattingParams(file.id, place, options)
    )
    assert edited(text, edits) == "Block{\n.up.weight~normal(0,1)\n}\nlet x = 1 # 😀\n".replace(
        " # ", "  # " if "  #" in initdsl.format(text) else " # "
    )
    file.type(at(0, 0), at(0, 0), "(")
    assert not await client.text_document_formatting_async(lsp.DocumentFormattingParams(file.id, options))


def edited(text: str, edits: Any) -> str:
    lines = Text(text)
    for edit in sorted(edits, key=lambda e: e.range.start, reverse=True):
        start, end = (lines.offset(p.line, p.character) for p in (edit.range.start, edit.range.end))
        text = text[:start] + edit.new_text + text[end:]
    return text


@pytest.mark.asyncio(loop_scope="module")
async def test_changes_by_part_add_up_whatever_they_hold(editor: Any, client: Any) -> None:
    """What the server holds after many small changes is what the client holds: its symbols are those of that text."""
    dice, text = random.Random(3), Text("let a0 = 1\nlet a1 = 1\n")
    file = editor("parts.init", text.text)
    parts = ["\nlet é = 1\n", "😀", "\r\n", "\u2028", "\x0c", " ", "let zz = 2\n", "\x85", ""]
    for _ in range(60):
        start = dice.randrange(len(text.text) + 1)
        end = min(len(text.text), start + dice.randrange(3))
        first, last = (at(*text.place(p)) for p in (start, end))
        start, end = (text.offset(p.line, p.character) for p in (first, last))
        new = dice.choice(parts)
        file.type(first, last, new)
        text = text.changed(start, end, new)
    found = await client.text_document_document_symbol_async(lsp.DocumentSymbolParams(file.id))
    assert [symbol.name for symbol in found or ()] == [symbol.name for symbol in symbols(pieces_of(text.text))]


@pytest.mark.asyncio(loop_scope="module")
async def test_typing_a_file_never_harms_the_server(editor: Any, client: Any) -> None:
    file = editor("harm.init", "")
    lines = Text(WHOLE)
    for offset in range(0, len(WHOLE) - 1, 3):
        here = at(*lines.place(offset))
        file.type(here, here, WHOLE[offset : offset + 3])
        await client.text_document_completion_async(lsp.CompletionParams(file.id, here))
    assert await file.findings()
    tokens = await client.text_document_semantic_tokens_full_async(lsp.SemanticTokensParams(file.id))
    assert tokens.data


QUESTIONS = {
    "completion": {"position": {"line": 0, "character": 3}}, "hover": {"position": {"line": 0, "character": 3}},
    "definition": {"position": {"line": 0, "character": 3}}, "prepareRename": {"position": {"line": 0, "character": 3}},
    "rename": {"position": {"line": 0, "character": 3}, "newName": "b"}, "documentSymbol": {},
    "formatting": {"options": {"tabSize": 2, "insertSpaces": True}}, "semanticTokens/full": {},
    "codeAction": {
        "range": {"start": {"line": 0, "character": 0}, "end": {"line": 1, "character": 0}}, "context": {"diagnostics": []},
    },
}  # fmt: skip


def test_a_session_over_several_files(tmp_path: Path) -> None:
    """What is saved is seen by the files that use it; what is closed is forgotten, and the server goes on."""
    (tmp_path / "base.init").write_text("let gain = 2\n")
    text = 'use "base.init"\nLinear.bias = gain\n'
    with Wire(tmp_path) as wire:
        wire.start()
        wire.open("x.init", text)
        assert wire.findings("x.init", 1) == []
        place = {"line": 1, "character": 15}
        found = wire.ask("textDocument/definition", {**wire.file("x.init"), "position": place})
        assert found["uri"] == wire.uri("base.init")
        assert found["range"] == {"start": {"line": 0, "character": 4}, "end": {"line": 0, "character": 8}}

        (tmp_path / "base.init").write_text("let gain = \n")
        wire.published.clear()
        wire.notify("textDocument/didSave", wire.file("base.init"))
        (one,) = wire.findings("x.init", 1)
        assert "base.init:1" in one["message"]
        assert one["range"]["start"] == {"line": 0, "character": 4}
        layout = {**wire.file("x.init"), **QUESTIONS["formatting"]}
        assert wire.ask("textDocument/formatting", layout) == []
        wire.change("x.init", 2, {"text": "Linear.weight ~ normal(\n"})
        assert wire.ask("textDocument/formatting", layout) is None

        wire.notify("textDocument/didClose", wire.file("x.init"))
        wire.change("x.init", 3, {"text": "Linear.weight = 1\n"})
        for name, more in QUESTIONS.items():
            assert wire.ask(f"textDocument/{name}", {**wire.file("x.init"), **more}) is None, name
        assert wire.published[wire.uri("x.init")]["diagnostics"] == []
        wire.open("y.init", "Linear.wieght ~ zeros()\n")
        (one,) = [one for one in wire.findings("y.init", 1) if one["code"] == "drawn-constant"]
        fixes = {**wire.file("y.init"), "range": one["range"], "context": {"diagnostics": [one], "only": ["refactor"]}}
        assert wire.ask("textDocument/codeAction", fixes) == []
        fixes["context"]["only"] = ["quickfix"]
        assert [fix["kind"] for fix in wire.ask("textDocument/codeAction", fixes)] == ["quickfix"]
        assert wire.stop() == 0


def test_a_text_that_was_never_saved_lies_in_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "base.init").write_text("let gain = \n")
    uri = "untitled:Untitled-1"
    with Wire(tmp_path) as wire:
        wire.start()
        item = {"uri": uri, "languageId": "initdsl", "version": 1, "text": 'use "base.init"\nLinear.bias = gain\n'}
        wire.notify("textDocument/didOpen", {"textDocument": item})
        while uri not in wire.published:
            wire.receive()
        (one,) = wire.published[uri]["diagnostics"]
        assert "base.init:1" in one["message"]


def test_the_finder_remembers_some_files_and_finds_the_same_in_all(tmp_path: Path) -> None:
    finder = Finder()
    try:
        first = [finder.find(str(tmp_path / f"{i}.init"), f"A.w ~ zeros()\nlet a{i} = 1\n") for i in range(20)]
        again = [finder.find(str(tmp_path / f"{i}.init"), f"A.w ~ zeros()\nlet a{i} = 1\n") for i in range(20)]
        assert first == again
        assert all(found and any(f"a{i}" in one.message for one in found) for i, found in enumerate(first))
    finally:
        finder.close()


def test_the_server_starts_without_torch() -> None:
    code = "import sys, initdsl.server.protocol as p; p.make_server(); p.torch_classes(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})
    assert done.stdout.strip() == "False", done.stderr


def test_findings_about_a_network_need_no_torch(folder: Path) -> None:
    code = (
        "import sys; from initdsl.server.known import known_at; from initdsl.server.findings import findings; "
        f"p = {str(folder / 'x.init')!r}; print(len(findings(p, 'net.heat.w = 1', known_at(p))), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "1 False", done.stderr
