"""The language server: its language logic on whole, broken and half-typed text, and through a client over stdio."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import initdsl
from initdsl.language.rules.loader import packaged_recipes
from initdsl.language.syntax.parse import parse_source
from initdsl.server.calls import call_around
from initdsl.server.colours import coloured
from initdsl.server.completion import completions
from initdsl.server.finder import Finder
from initdsl.server.findings import findings
from initdsl.server.hover import counts, definition, hover
from initdsl.server.known import Known, known_at
from initdsl.server.outline import Refused, outline, renamed, symbols
from initdsl.server.pieces import pieces_of
from initdsl.server.text import Text
from initdsl.text.source import Source
from tests.support.wire import Wire

pytest_lsp = pytest.importorskip("pytest_lsp")
from lsprotocol import types as lsp  # noqa: E402

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "examples").rglob("*.init"))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.up = nn.Linear(4, 16)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.blocks = nn.ModuleList([Block() for _ in range(3)])
        self.head = nn.Linear(4, 10, bias=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with settings, a manifest and a file to use."""
    place = tmp_path_factory.mktemp("project")
    (place / "pyproject.toml").write_text('[tool.initdsl]\nmanifest = "model.json"\n')
    (place / "model.json").write_text(json.dumps(initdsl.describe(Model())[0].to_manifest()))
    (place / "base.init").write_text("let gain = 2\nLinear.bias = 0\n")
    return place


@pytest.fixture(scope="module")
def known(folder: Path) -> Known:
    found = known_at(str(folder / "x.init"))
    assert found.network is not None
    return found


def marked(text: str) -> tuple[str, int]:
    """A text without its `|`, and where that was."""
    at = text.index("|")
    return text[:at] + text[at + 1 :], at


def labels(text: str, known: Known | None = None, path: str = "") -> list[str]:
    plain, at = marked(text)
    return [item.label for item in completions(outline(plain), at, known or known_at("/nowhere/x.init"), path)[1]]


# ---- text


@pytest.mark.parametrize("unit", ["utf-8", "utf-16", "utf-32"])
def test_columns_are_counted_in_the_units_agreed_on(unit: str) -> None:
    text = Text("a😀é\r\nb\u2028c\rd", unit)
    widths = [len(c.encode(f"{unit}-le" if unit != "utf-8" else unit)) // (int(unit[4:]) // 8) for c in "a😀é"]
    for at in range(4):
        assert text.place(at) == (0, sum(widths[:at]))
        assert text.offset(0, sum(widths[:at])) == at
    assert text.place(text.text.index("c")) == (1, Text("b\u2028", unit).place(2).column)
    assert text.place(len(text.text)) == (2, 1)
    assert text.offset(99, 0) == len(text.text)
    assert text.offset(0, 99) == 3


# ---- pieces


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_pieces_are_the_statements(path: Path) -> None:
    text = path.read_text("utf-8")
    rules, problems = parse_source(Source("", text))
    assert not problems
    whole = list(initdsl.RuleSet(rules=tuple(rules)).walk())
    alone = [piece.rule for piece in pieces_of(text).pieces if piece.kind != "close"]
    assert [rule.kind for rule in whole] == [rule and rule.kind for rule in alone]
    assert [rule for rule in whole if rule.kind != "block"] == [rule for rule in alone if rule and rule.kind != "block"]


@pytest.mark.parametrize(("text", "pieces"), [
    ("a.w = 1; b.w = 2", ["a.w = 1", "b.w = 2"]),
    ("a.w ~ normal(0,\n 1) # c\nb.w = 2", ["a.w ~ normal(0,\n 1)", "b.w = 2"]),
    ("A,\nB.w = 1 +\n 2", ["A,\nB.w = 1 +\n 2"]),
    ("A in # c\n  B # d\n{\n .w = 1\n}\nC.w = 1", ["A in # c\n  B", ".w = 1", "}", "C.w = 1"]),
    (r"/a\(;{/ = 1" "\nb.w = 1", [r"/a\(;{/", " = 1"]),
    ('net["a;b{"].w = {"a": 1}\nB.w=1', ['net["a;b{"].w = {"a": 1}', "B.w=1"]),
    ("a.w ~ normal(0,\nb.w = 1\nc.w = 2", ["a.w ~ normal(0,", "b.w = 1", "c.w = 2"]),
])  # fmt: skip
def test_pieces(text: str, pieces: list[str]) -> None:
    if text.startswith("/"):
        pieces = [text.partition("\n")[0], "b.w = 1"]
    assert [piece.text for piece in pieces_of(text).pieces] == pieces


# ---- broken text


def everything(text: str, at: int, known: Known, path: str = "x.init") -> None:
    """Ask all there is at a place; nothing may raise, and every answer lies in the text."""
    whole = outline(text)
    span, _ = completions(whole, at, known)
    assert 0 <= span.start <= span.end <= len(text)
    for found in (hover(whole, at, known), definition(whole, at, path, known)):
        assert (
            found is None or found[-1 if found[0] is None else 0 if not isinstance(found[0], str) else 1][0] >= 0
            if found
            else True
        )
    for offset, label in counts(whole, 0, len(text), known):
        assert 0 <= offset <= len(text)
        assert label.endswith(("parameter", "parameters"))
    try:
        for name in renamed(whole, at, "qqq"):
            assert text[name.start : name.end].isidentifier()
    except Refused:
        pass
    for symbol in symbols(whole):
        assert symbol.span.start <= symbol.name_span.start <= symbol.name_span.end <= symbol.span.end <= len(text)
    previous = 0
    for piece in pieces_of(text).pieces:
        assert previous <= piece.start <= piece.end <= len(text)
        assert text[piece.start : piece.end] == piece.text
        previous = piece.end
        for colour in coloured(piece.text):
            assert 0 <= colour.start <= colour.end <= len(piece.text)


WHOLE = """let std = 0.02 # é 😀
use "base.init"
Linear(out_features=10).weight, /attn\\.(q|k)/ ~ kaiming_normal(mode=fan_in, nonlinearity=relu)
Block {
  .up.weight[0:2] ~ normal(0, std * 2) ; .norm.* = 1
  net.blocks[i].up { .bias = where(index(0) > 1, {"a": [1, 2]}, "x\\"y") }
}
tie net.embed.weight net.head.weight
net.**.w as (4, -1)[*] in Block *= abs(it) >= 5
"""


def test_every_prefix_is_unharmed(known: Known) -> None:
    for end in range(len(WHOLE) + 1):
        everything(WHOLE[:end], end, known)


def test_random_edits_are_unharmed(known: Known, folder: Path) -> None:
    dice = random.Random(7)
    parts = [
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        '"',
        "/",
        "#",
        "\n",
        ";",
        ".",
        ",",
        "=",
        "~",
        "*=",
        "let ",
        "in ",
        "\r",
        "\0",
        "\ufeff",
        "😀",
        "\u2028",
        "\ud800",
        "**",
        "?",
    ]
    text = WHOLE
    for step in range(400):
        at, end = sorted((dice.randrange(len(text) + 1), min(len(text), dice.randrange(len(text) + 1))))
        end = min(end, at + dice.randrange(6))
        text = text[:at] + dice.choice(parts) * dice.randrange(3) + text[end:]
        everything(text, at, known)
        if step % 20 == 0:
            for one in findings(str(folder / "x.init"), text, known):
                assert one.message
            text = WHOLE


@pytest.mark.parametrize(
    "text", ["{" * 5000, "(" * 5000, "a(\n" * 3000, "}" * 3000, "net" + "[0]" * 2000, '"' * 3001, "let x = x\n" * 500]
)
def test_hostile_texts_end(text: str, known: Known) -> None:
    everything(text, len(text), known)


def test_blocks_deeper_than_the_language_goes_are_shown_beside_each_other() -> None:
    def depth(symbol: Any) -> int:
        return 1 + max(map(depth, symbol.children), default=0)

    deep = symbols(outline("A {\n" * 3000))
    assert [depth(symbol) for symbol in deep] == [65]
    assert depth(symbols(outline("A {\n" * 10))[0]) == 10


# ---- completion


@pytest.mark.parametrize(("text", "there", "not_there"), [
    ("|", ["let", "tie", "net", "Linear", "Block"], ["normal", "in"]),
    ("Lin|", ["Linear"], ["Block", "normal"]),
    ("Linear.weight ~ |", ["normal", "kaiming_normal", "fan_in"], ["Linear", "let"]),
    ("Linear.weight ~ kaiming_normal(|", ["mode=", "nonlinearity="], ["kaiming_normal"]),
    ("Linear.weight ~ kaiming_normal(mode=|", ["fan_in", "fan_out"], ["mode=", "nonlinearity="]),
    ("Linear.weight ~ kaiming_normal(mode=fan_in, |", ["nonlinearity="], ["mode="]),
    ("let std = 1\nLinear.weight ~ normal(0, s|", ["std", "sqrt"], []),
    ("net.|", ["embed", "blocks", "head", "*", "**"], ["weight", "0"]),
    ("net.blocks[0].|", ["norm", "up"], ["embed"]),
    ("net.blocks[|", ["0", "2", "*"], ["3"]),
    ("Linear.|", ["weight", "bias"], ["embed"]),
    ("Block {\n  .|\n}", ["norm", "up"], ["embed"]),
    ("Block {\n  .up.|\n}", ["weight", "bias"], ["embed"]),
    ("Block {\n  .norm { . = 1 }\n  .up.|", ["weight", "bias"], ["embed"]),
    ("Linear(|", ["in_features", "out_features"], ["weight"]),
    ("keep net.head |", ["in", "not"], ["Linear"]),
    ("Linear.weight = 1 # no|", [], ["none", "normal"]),
    ('net["no|', [], ["none", "normal"]),
])  # fmt: skip
def test_completion(text: str, there: list[str], not_there: list[str], known: Known) -> None:
    found = labels(text, known)
    assert set(there) <= set(found), found
    assert not set(not_there) & set(found)


def test_completion_without_a_network_knows_torch() -> None:
    found = labels("|")
    assert {"Linear", "Conv2d", "MultiheadAttention"} <= set(found)
    assert all(hasattr(nn, name) for name in found if name[0].isupper() and name != "LinearCrossEntropyOptions")
    assert {"weight", "bias"} <= set(labels("Linear.|"))


def test_completion_of_files_and_recipes(folder: Path) -> None:
    from initdsl.language.rules.loader import packaged_recipes

    found = labels('use "|', path=str(folder / "x.init"))
    assert "base.init" in found
    assert {f"initdsl:{name}" for name in packaged_recipes()} <= set(found)


def test_completion_of_files_where_there_is_no_folder() -> None:
    found = labels('use "|', path="/no/such/folder/x.init")
    assert "initdsl:gpt2" in found
    assert all(label.startswith("initdsl:") for label in found)


def test_the_call_around() -> None:
    call = call_around("A.w ~ where(x, normal(1, (2, 3)), kaiming_normal(0, mode=fan_in, ")
    assert call is not None
    assert (call.function, call.argument, call.position, call.given) == ("kaiming_normal", None, 2, {"mode"})
    assert call_around("A(x) = 1") is None


# ---- hover, counts, definition


def test_hover_shows_an_initializers_documentation(known: Known) -> None:
    for name in known.registry:
        found = hover(outline(f"Linear.weight ~ {name}()"), 18, known)
        assert found is not None
        assert known.registry[name].doc in found[1]
        assert known.registry[name].signature in found[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("let a = 1 + 2\nA.w = |a", "let a = 1 + 2"), ("let |a = 1 + 2\nA.w = a", "let a = 1 + 2"),
        ("A.w = |pi", "3.14159"), ("A.w ~ normal(0, 1, |mean=1)", "`mean` of `normal`"), ("|keep A.w", "`keep`"),
    ],
)  # fmt: skip
def test_hover_shows_lets_constants_and_words(text: str, said: str, known: Known) -> None:
    plain, at = marked(text)
    found = hover(outline(plain), at, known)
    assert found is not None
    assert said in found[1]


def test_what_can_not_be_read_is_not_known(tmp_path: Path) -> None:
    text = "Linear.bias = 1\n"
    (tmp_path / "pyproject.toml").write_text('[tool.initdsl]\nmanifest = "model.json"\n')
    assert known_at(str(tmp_path / "x.init")).network is None  # there is no such file
    (tmp_path / "model.json").write_text("[]")
    assert known_at(str(tmp_path / "x.init")).network is None
    (tmp_path / "model.json").write_text(json.dumps(initdsl.describe(Model())[0].to_manifest()))
    assert known_at(str(tmp_path / "x.init")).network is not None
    (tmp_path / "pyproject.toml").write_text("[tool.initdsl")
    known = known_at(str(tmp_path / "x.init"))
    assert known.network is None
    assert counts(outline(text), 0, len(text), known) == []
    assert findings(str(tmp_path / "x.init"), text, known) == []


def test_findings_of_used_files_stand_at_their_use(tmp_path: Path) -> None:
    (tmp_path / "fine.init").write_text("Linear.bias = 0\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "base.init").write_text('use "deep/inner.init"\n')
    (tmp_path / "deep" / "inner.init").write_text("Linear.weight ~ kaimin_normal(\n")
    text = 'use "fine.init"\nuse "base.init"\n'
    path = str(tmp_path / "x.init")
    found = findings(path, text, known_at(path))
    assert found
    for one in found:
        assert one.span is not None
        assert text[one.span.start : one.span.end] == '"base.init"'
        assert "inner.init:1" in one.message
    assert [one.name for one in findings(path, "Linear.weight = \0\n", known_at(path))] == ["forbidden-character"]


def test_hover_shows_what_a_selector_matches_with_torchs_fans(known: Known) -> None:
    model = Model()
    found = hover(outline("Linear.weight ~ normal()"), 3, known)
    assert found is not None
    for name, parameter in model.named_parameters():
        owner = model.get_submodule(name.rpartition(".")[0])
        if type(owner) is nn.Linear and name.endswith("weight"):
            into, out = nn.init._calculate_fan_in_and_fan_out(parameter)
            assert f"{list(parameter.shape)}, fan_in {into}, fan_out {out}" in found[1]
    assert "**4 parameters**" in found[1]


@pytest.mark.parametrize(("selector", "test"), [
    ("net", lambda n: True),
    ("Linear.weight", lambda n: n.endswith(("up.weight", "head.weight"))),
    ("net.blocks[i].up.*", lambda n: ".up." in n),
    ("/bias$/", lambda n: n.endswith("bias")),
    ("*.weight in net.blocks", lambda n: n.startswith("blocks") and n.endswith("weight")),
])  # fmt: skip
def test_counts_are_those_of_the_module(selector: str, test: Any, known: Known) -> None:
    expected = sum(test(name) for name, _ in Model().named_parameters())
    assert counts(outline(f"keep {selector}"), 0, 99, known) == [(len(f"keep {selector}"), f"{expected} parameters")]


def test_counts_in_blocks(known: Known) -> None:
    text = "let k = 1\nBlock { .up { .weight = 1; .bias = 0 } }\nnet.blocks[k + 1].* = 0\nnet.nothing = 1\n"
    assert [label.split()[0] for _, label in counts(outline(text), 0, len(text), known)] == [
        "12",
        "6",
        "3",
        "3",
        "0",
        "0",
    ]


def test_definition(known: Known, folder: Path) -> None:
    path = str(folder / "x.init")
    text, at = marked("let a = 1\nBlock {\n  let a = 2\n  .up.weight ~ normal(0, |a)\n}\n")
    assert definition(outline(text), at, path, known) == (None, (text.index("a = 2"), text.index("a = 2") + 1))
    text, at = marked('use "ba|se.init"\nLinear.weight = gain')
    assert definition(outline(text), at, path, known) == (str(folder / "base.init"), (0, 0))
    assert definition(outline(text), len(text), path, known) == (str(folder / "base.init"), (4, 8))
    text, at = marked('use "../ba|se.init"')
    assert definition(outline(text), at, path, known) is None
    text, at = marked('use "initdsl:gp|t2"')
    assert definition(outline(text), at, path, known) == (str(packaged_recipes()["gpt2"]), (0, 0))
    text, at = marked('use "initdsl:gp|t9"')
    assert definition(outline(text), at, path, known) is None
    (folder / "binary.init").write_bytes(b"let gain = \xff\n")
    text = 'use "base.init"\nuse "absent.init"\nuse "binary.init"\nLinear.weight = gain'
    assert definition(outline(text), len(text), path, known) == (str(folder / "base.init"), (4, 8))
    text = 'use "base.init"\nLinear.weight = other'
    assert definition(outline(text), len(text), path, known) is None


@pytest.mark.parametrize(("text", "expected"), [
    ("let |a = 1\nA.w = a + a * b\n", "let Z = 1\nA.w = Z + Z * b\n"),
    ("let a = 1\nB { let a = 2; .w = |a }\nA.w = a", "let a = 1\nB { let Z = 2; .w = Z }\nA.w = a"),
    ("let a = 1\nB { let a = 2; .w = a }\nA.w = |a", "let Z = 1\nB { let a = 2; .w = a }\nA.w = Z"),
    ("let y = a\nlet a = 1\nA.w = |a", "let y = Z\nlet Z = 1\nA.w = Z"),
    ("let fan_in = 1\nA.w ~ kaiming_normal(|fan_in, mode=fan_in)", "let Z = 1\nA.w ~ kaiming_normal(Z, mode=fan_in)"),
    ("let a = 1\nA.w = a(\nB.w = |a", "let Z = 1\nA.w = a(\nB.w = Z"),
])  # fmt: skip
def test_rename(text: str, expected: str) -> None:
    plain, at = marked(text)
    for span in reversed(renamed(outline(plain), at, "Z")):
        plain = f"{plain[: span.start]}Z{plain[span.end :]}"
    assert plain == expected


def test_rename_leaves_the_plan_as_it_was() -> None:
    net = Model()
    text = "let a = 2\nlet y = a * 3\nBlock {\n  let a = 5\n  .up.weight = y + a\n}\nnet.head.weight = y\n"
    plain, at = marked(text.replace("let a = 2", "let |a = 2"))
    for span in reversed(renamed(outline(plain), at, "Z")):
        plain = f"{plain[: span.start]}Z{plain[span.end :]}"
    values = []
    for rules in (text, plain):
        with pytest.warns(initdsl.UncoveredParameterWarning):
            initdsl.apply(net, rules)
        values.append([parameter.clone() for parameter in net.parameters()])
    assert all(map(torch.equal, *values))


@pytest.mark.parametrize("new", ["in", "b", "1x", "a b", "", "net"])
def test_rename_refuses(new: str) -> None:
    with pytest.raises(Refused):
        renamed(outline("let a = b\nA.w = a"), 4, new)


def test_outline_sees_lets_of_its_blocks_only() -> None:
    found = outline("let a = 1\nB { let b = 2 }\nA.w = 1")
    last = len(found.pieces.pieces) - 1
    assert set(found.visible(last)) == {"a"}
    assert set(found.visible(2)) == {"a", "b"}


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
    process.join(20)
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
        wire.process.wait(30)
        for _ in range(200):
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
        for _ in range(200):
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
    assert [symbol.name for symbol in found or ()] == [symbol.name for symbol in symbols(outline(text.text))]


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
