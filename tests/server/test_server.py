"""The language server's logic on whole, broken and half-typed text."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import initdsl
from initdsl.language.rules.loader import packaged_recipes
from initdsl.language.syntax.parse import parse_source
from initdsl.language.syntax.walk import moved
from initdsl.server.calls import call_around
from initdsl.server.colours import coloured
from initdsl.server.completion import completions
from initdsl.server.findings import findings
from initdsl.server.hover import counts, definition, hover
from initdsl.server.known import Known, known_at
from initdsl.server.outline import Outline, OutlineCache, Refused, outline, renamed, symbols
from initdsl.server.pieces import pieces_of
from initdsl.server.text import Text
from initdsl.text.source import Source
from tests.server.conftest import WHOLE, Model
from tests.syntax.test_incremental import PARTS, edited

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "examples").rglob("*.init"))


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


def told(found: Outline) -> tuple[Any, ...]:
    """All that an outline says, the statements as text with their spans where they lie in the whole text."""
    pieces = [(*piece[:5], repr(piece.rule and moved(piece.rule, piece.shift))) for piece in found.pieces.pieces]
    return pieces, found.pieces.comments, found.lets, found.references, found.uses


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_after_random_edits_the_outline_is_that_of_the_text_alone(path: Path) -> None:
    dice = random.Random(path.name)
    cache, text = OutlineCache(), path.read_text("utf-8")[:3000]
    for step in range(40):
        assert told(outline(text, cache)) == told(outline(text)), step
        text = edited(text, dice, [*PARTS, "A {\n  .w = 1\n}\n", "(((\n", "[{", "{" * 70, "@\n" * 101])


def test_a_keystroke_reads_one_statement() -> None:
    text = "".join(f"net[{i}] {{\n  .w = {i}\n  Linear.bias = 0\n}}\n" for i in range(50))
    at = text.index(".w = 25") + 7
    cache = OutlineCache()
    before = {id(piece.rule) for piece in outline(text, cache).pieces.pieces}
    after = outline(f"{text[:at]}0{text[at:]}", cache).pieces.pieces
    assert [piece.text for piece in after if id(piece.rule) not in before] == [".w = 250"]


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
    for symbol in symbols(whole.pieces):
        assert symbol.span.start <= symbol.name_span.start <= symbol.name_span.end <= symbol.span.end <= len(text)
    previous = 0
    for piece in pieces_of(text).pieces:
        assert previous <= piece.start <= piece.end <= len(text)
        assert text[piece.start : piece.end] == piece.text
        previous = piece.end
        for colour in coloured(piece.text):
            assert 0 <= colour.start <= colour.end <= len(piece.text)


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

    deep = symbols(pieces_of("A {\n" * 3000))
    assert [depth(symbol) for symbol in deep] == [65]
    assert depth(symbols(pieces_of("A {\n" * 10))[0]) == 10


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


def test_links_that_leave_the_folder_are_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "stranger"
    (folder / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "secret.init").write_text("let secret = 1\n")
    (tmp_path / "model.json").write_text(json.dumps(initdsl.describe(nn.Linear(2, 2))[0].to_manifest()))
    (folder / ".env").write_text("let secret = 1\n")
    (folder / "pyproject.toml").write_text('[tool.initdsl]\nroot = "/"\nmanifest = "model.json"\nmodel = "net.py:f"\n')
    (folder / "net.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    links = {"link": "sub/deep", "a.init": "../secret.init", "b.init": ".env", "model.json": "../model.json"}
    for name, target in links.items():
        (folder / name).symlink_to(target)
    path = str(folder / "x.init")
    known = known_at(path)
    assert known.network is None
    for used in ("link/../../secret.init", "../secret.init", "a.init", "b.init", ".env", "/proc/self/environ"):
        text = f'use "{used}"\nLinear.weight = secret\n'
        found = outline(text)
        for offset in (6, text.index("secret", len(used) + 6)):
            assert definition(found, offset, path, known) is None, used
        assert {one.name for one in findings(path, text, known)} <= {"outside-root", "unreadable-file", "unknown-name"}
    assert not (tmp_path / "ran").exists()
