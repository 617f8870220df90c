"""Colours: generated from the grammar, up to date, and what an editor and Pygments make of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from initdsl.language.syntax import highlight
from initdsl.language.syntax.grammar import keywords
from initdsl.language.syntax.parser import tokenize
from tests.support.processes import LONGEST
from tests.support.strategies import rule_files

pygments = pytest.importorskip("pygments")

ROOT = Path(__file__).parents[2]
VSCODE = ROOT / "editors" / "vscode"
GRAMMARS = [folder / "initdsl.tmLanguage.json" for folder in (ROOT / "grammar", VSCODE / "syntaxes")]


def coloured(text: str) -> list[tuple[str, str]]:
    """The words of a text with the kind that Pygments' lexer gives them; blanks left out."""
    kinds = {token: kind for kind, (_, token) in highlight.KINDS.items()}
    lexer = highlight.InitDSLLexer(stripnl=False, ensurenl=False)
    tokens = list(lexer.get_tokens(text))
    assert "".join(word for _, word in tokens) == text
    named = [(str(token).removeprefix("Token.").removeprefix("Literal."), word) for token, word in tokens]
    return [(kinds.get(token, token), word) for token, word in named if word.strip()]


# ---- generated


@pytest.mark.parametrize("place", GRAMMARS, ids=lambda place: place.parent.name)
def test_the_textmate_grammar_is_up_to_date(place: Path) -> None:
    assert place.read_text("utf-8") == highlight.text_mate_json(), "write it with `python docs/generate.py`"


def test_the_kinds_of_keywords_are_read_off_the_grammar() -> None:
    assert {word for words in highlight.words().values() for word in words} == set(keywords())
    assert highlight.words() == {
        "statement": ("tie", "copy", "keep", "default", "let", "use", "expect"),
        "word": ("in", "as", "not", "and", "or"),
        "constant": ("true", "false", "none", "inf", "nan", "pi"),
        "pseudo": ("net", "it"),
    }


@pytest.mark.parametrize("word", keywords())
def test_every_keyword_is_coloured_but_not_behind_a_dot_nor_in_a_longer_name(word: str) -> None:
    kind = next(kind for kind, words in highlight.words().items() if word in words)
    assert coloured(f"x = {word}")[-1] == (kind, word)
    assert coloured(word) == [(kind, word)]
    assert coloured(f"net.{word}")[-1] == ("step", word)
    assert coloured(f"x = {word}s a{word}")[-2:] == [("name", f"{word}s"), ("name", f"a{word}")]


# ---- Pygments


def test_pygments_finds_the_lexer() -> None:
    from pygments.lexers import get_lexer_by_name, get_lexer_for_filename

    assert type(get_lexer_by_name("initdsl")) is highlight.InitDSLLexer
    assert type(get_lexer_for_filename("model.init")) is highlight.InitDSLLexer


@pytest.mark.parametrize(
    ("text", "word", "kind"),
    [
        ("w /= 2 / 3 / it", "/", "operator"),
        ("/a b/ = 1", "/a b/", "regex"),
        ("A.w = 1; /x/ ~ f()", "/x/", "regex"),
        ("A.w = 1 \n/x/ ~ f()", "/x/", "regex"),
        ("A.w = [1,\n2]\n/x/ ~ f()", "/x/", "regex"),
        ("A.w = a +\nbc", "bc", "name"),
        ("B { .w = {} }\nA.w = 1", "A", "class"),
        ("f.w = g(mode=fan_in)", "mode", "parameter"),
        ("f.w = g(mode==fan_in)", "mode", "name"),
        ("A(bias).w = 1", "bias", "name"),
        ("let std = 1", "std", "definition"),
        ("A.bias_* *= 2", "*=", "operator"),
        ('A.w = load("a # b")', '"a # b"', "string"),
        ("A.w = 1_000e-3", "1_000e-3", "number"),
        ("A.w = [.5, -.25]", ".5", "number"),
        ("A.w = [.5, -.25]", ".25", "number"),
        ("A as (1, -1)[*] = 0", "as", "word"),
        ("# tie", "# tie", "comment"),
        ("A.w = len(B.c in net)", "c", "step"),
        ("A.w = len(B) + 1", "len", "function"),
    ],
)
def test_a_word_has_its_kind(text: str, word: str, kind: str) -> None:
    assert (kind, word) in coloured(text)


def kinds_of_tokens() -> Iterator[tuple[str, str]]:
    for kind, words in highlight.words().items():
        yield from ((word.upper(), kind) for word in words)
    yield from (("STRING", "string"), ("REGEX", "regex"), ("CLASS", "class"), ("STEP", "step"), ("DRAW", "operator"))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(rule_files())
def test_the_lexer_agrees_with_the_parser_on_canonical_text(text: str) -> None:
    from initdsl.formatter.layout import format

    expected = dict(kinds_of_tokens())
    laid_out = format(text)
    found = coloured(laid_out)
    for token in tokenize(laid_out):
        if token.type in expected:
            assert (expected[token.type], str(token)) in found, token


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from('aN0 .*[](){}#"/\\\n;~=+-,:?!é'), max_size=60))
def test_broken_text_is_coloured_whole(text: str) -> None:
    coloured(text)


def test_pygments_is_imported_for_its_lexer_only() -> None:
    code = "import sys, initdsl.language.syntax.highlight as h; h.text_mate_json(); print([m for m in ('pygments', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LONGEST)
    assert done.stdout == "[]\n", done.stderr


# ---- editors


def test_the_textmate_grammar_colours_as_its_test_file_says() -> None:
    program = VSCODE / "node_modules" / ".bin" / "vscode-tmgrammar-test"
    if not program.exists() or shutil.which("node") is None:
        pytest.skip("needs node, and `npm install` in editors/vscode")
    grammar = GRAMMARS[0]
    done = subprocess.run(
        [program, "-g", grammar, VSCODE / "test" / "syntax.init"], capture_output=True, text=True, timeout=LONGEST
    )
    assert done.returncode == 0, done.stdout + done.stderr


STUBS = """
const Module = require("node:module");
const said = [];
const [file, trust, folder, command] = process.argv.slice(1);
const nothing = () => ({ dispose() {} });
const settings = { enable: true, command: JSON.parse(command) ?? ["no-such-program", "lsp"] };
const vscode = {
  workspace: {
    isTrusted: trust === "trusted",
    workspaceFolders: [{ uri: { fsPath: folder } }],
    getConfiguration: () => ({
      get: (name) => settings[name],
      inspect: (name) => ({ defaultValue: settings[name], workspaceValue: JSON.parse(command) ?? undefined }),
    }),
    onDidGrantWorkspaceTrust: nothing,
    onDidChangeConfiguration: nothing,
  },
  window: { showWarningMessage: async (text) => void said.push(["warning", text]) },
  commands: { registerCommand: (name) => (said.push(["command", name]), nothing()) },
};
class LanguageClient {
  constructor(id, name, server, options) { this.server = server; said.push(["client", id, options.documentSelector]); }
  createDefaultErrorHandler() {}
  isRunning() { return true; }
  async start() {
    this.process = await this.server();
    await new Promise((found) => this.process.stdout.once("data", (data) => (said.push(["start", `${data}`]), found())));
  }
  async stop() { said.push(["stop"]); this.process.kill(); }
}
const load = Module._load;
Module._load = (name, ...rest) =>
  name === "vscode" ? vscode
  : name === "vscode-languageclient/node" ? { LanguageClient, CloseAction: {} }
  : load(name, ...rest);
const extension = require(file);
extension.activate({ subscriptions: [] }).then(() => extension.deactivate()).then(() => console.log(JSON.stringify(said)));
"""


def extension_says(trust: str, folder: Path, command: list[str] | None) -> list[list[str]]:
    """Return what the extension does from its activation to its end; without a command none is set."""
    arguments = [str(VSCODE / "extension.js"), trust, str(folder), json.dumps(command)]
    done = subprocess.run(["node", "-e", STUBS, *arguments], capture_output=True, text=True, timeout=LONGEST)
    said: list[list[str]] | None = json.loads(done.stdout or "null")
    assert said is not None, done.stderr
    assert said[:2] == [["command", "initdsl.newFile"], ["command", "initdsl.restart"]]
    return said[2:]


def program(place: Path, text: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"#!/bin/sh\n{text}\n")
    place.chmod(0o755)


CLIENT = ["client", "initdsl", [{"language": "initdsl"}]]
SERVES = 'echo "$1 in $PWD"; exec sleep 600'
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")


@needs_node
@pytest.mark.parametrize("command", [["bin/initdsl", "lsp"], None], ids=["set", "of the folder"])
def test_the_extension_starts_the_server_of_a_trusted_workspace(command: list[str] | None, tmp_path: Path) -> None:
    program(tmp_path / ("bin" if command else ".venv/bin") / "initdsl", SERVES)
    assert extension_says("untrusted", tmp_path, command) == []
    wanted = [CLIENT, ["start", f"lsp in {tmp_path.resolve()}\n"], ["stop"]]
    assert extension_says("trusted", tmp_path, command) == wanted


@needs_node
@pytest.mark.parametrize(
    ("text", "why"),
    [("echo it needs pygls >&2; exit 2", "it needs pygls"), ("exit 3", "it ended with code 3"), (None, "ENOENT")],
)
def test_the_extension_says_once_why_a_server_did_not_start(text: str | None, why: str, tmp_path: Path) -> None:
    if text is not None:
        program(tmp_path / "bin" / "initdsl", text)
    client, *others = extension_says("trusted", tmp_path, ["bin/initdsl", "lsp"])
    assert client == CLIENT
    [(kind, said)] = others
    assert kind == "warning"
    assert why in said
