"""Coverage-guided fuzzing of what reads text, with atheris: `python -m tests.support.fuzz TARGET [libFuzzer options]`.

    python -m tests.support.fuzz parse -max_total_time=3600
    python -m tests.support.fuzz format corpus/

The targets: `parse`, `format`, `typed` and `asked` (an editor's), `synced` (an editor's changes to a text), `planned` (a
manifest with something wrong in it), `converted` (other libraries' settings), `laid` (rules planned on a network).

The oracle: a value, or our own error whose findings lie inside the text. Anything else is a crash, which libFuzzer writes
to a file; it becomes a case of `cases/`. `test_fuzz.py` runs every target for a moment.
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["initdsl"]):
    import initdsl
    from initdsl.formatter.layout import format as formatted
    from initdsl.language.syntax.grammar import keywords
    from initdsl.language.syntax.parse import ParseCache, parse_source
    from initdsl.migrating.converting.convert import convert
    from initdsl.network.description import Network
    from initdsl.planning.resolve import resolve
    from initdsl.server.completion import completions
    from initdsl.server.hover import counts, definition, hover
    from initdsl.server.known import known_at
    from initdsl.server.outline import Refused, outline, renamed, symbols
    from initdsl.server.text import Text
    from initdsl.text.source import Source

ROOT = Path(__file__).parents[2]


def inside(error: initdsl.InitDSLError) -> None:
    """Every finding points into its text, and can be shown."""
    for found in error.diagnostics:
        assert found.source is not None
        if found.span is not None:
            assert 0 <= found.span.start <= found.span.end <= len(found.source.text), found
    str(error)


def parse(text: str) -> None:
    """A rule set or a ParseError, and a rule set says the same again when it is dumped and read back."""
    try:
        rules = initdsl.parse(text)
    except initdsl.ParseError as error:
        inside(error)
        return
    assert type(rules).model_validate_json(rules.model_dump_json()) == rules


def layout(text: str) -> None:
    """The layout means the same, and is its own layout."""
    try:
        once = formatted(text)
    except initdsl.ParseError as error:
        inside(error)
        return
    assert initdsl.parse(once) == initdsl.parse(text)
    assert formatted(once) == once


def typed(text: str) -> None:
    """Texts after one another, cut at form feeds: each read with what is remembered of those before is as read alone."""
    cache = ParseCache()
    for one in text.split("\f"):
        source = Source("x.init", one)
        # as text, since spans take no part in comparison
        assert repr(parse_source(source, cache=cache)) == repr(parse_source(source))


def asked(text: str) -> None:
    """What an editor asks about a text, where its first form feed stands: answers that lie inside the text, or none."""
    at = max(0, text.find("\f"))
    text = text.replace("\f", "", 1)
    known = known_at(str(ROOT / "x.init"))
    whole = outline(text)
    span, _ = completions(whole, at, known)
    assert 0 <= span.start <= span.end <= len(text)
    found = hover(whole, at, known)
    assert found is None or 0 <= found[0].start <= found[0].end <= len(text)
    definition(whole, at, str(ROOT / "x.init"), known)
    counts(whole, 0, len(text), known)
    with contextlib.suppress(Refused):
        assert all(text[name.start : name.end].isidentifier() for name in renamed(whole, at, "qqq"))
    for symbol in symbols(whole.pieces):
        assert symbol.span.start <= symbol.name_span.start <= symbol.name_span.end <= symbol.span.end <= len(text)


def synced(text: str) -> None:
    """Changes to a text as an editor counts them, cut at form feeds, against a list of the units it is made of."""
    first, *rest = text.split("\f")
    for unit, width in (("utf-16", 2), ("utf-32", 4), ("utf-8", 1)):
        code = {"utf-16": "utf-16-le", "utf-32": "utf-32-le", "utf-8": "utf-8"}[unit]
        mine, dice = Text(first, unit), random.Random(len(text))
        for new in rest:
            start, end = sorted(dice.randrange(len(mine.text) + 1) for _ in range(2))
            a, b = mine.place(start), mine.place(end)
            line = mine.text[mine.starts[a.line] : start]
            assert a.column == len(line.encode(code, "surrogatepass")) // width
            # between `\r` and `\n` there is no place of its own
            start, end = mine.offset(*a), mine.offset(*b)
            mine, theirs = mine.changed(start, end, new), mine.text[:start] + new + mine.text[end:]
            assert mine.text == theirs


RULES = """
Linear.weight ~ kaiming_normal(); *.bias? = 0; net.**.weight[0]? = 1; /w/? *= 2; tie net[0]? net[1]?
net[i] { .weight? = i + fan_in; Linear(bias, in_features>1).bias? = in_features }
"""


# what a manifest may hold in the place of what it should
WRONG: list[Any] = [
    None, True, 0, -1, 1, 2, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float("inf"), float("nan"), "", "weight", "net", "a.b",
    "\x1b[31m", "\ud800", "\u202e", "</script>", "float32", "parameter", "buffer", "list", "x" * 5000, [], [0], [[]], [2, 3],
    [-1], ["a"], [[["a"]]], {}, {"a": 0}, {"0": 1}, {"weight": 0}, {"": 99}, {"a": {"a": None}},
]  # fmt: skip


def planned(text: str) -> None:
    """A manifest of which some values are others: a plan that can be shown, or our own error.

    Each line says where, in numbers of steps, and ends in the number of what stands there, or in its JSON.
    """
    made = json.loads(json.dumps(described()))
    for line in text.split("\n")[:4]:
        *steps, last = line.split(" ")
        at: Any = made
        for step in steps[:8]:
            keys = list(at) if isinstance(at, dict) else range(len(at))
            key = keys[sum(map(ord, step)) % len(keys)]
            if not isinstance(at[key], dict | list) or not at[key]:
                break
            at = at[key]
        keys = list(at) if isinstance(at, dict) else range(len(at))
        try:
            value = json.loads(last)
        except (ValueError, RecursionError):
            value = WRONG[sum(map(ord, last)) % len(WRONG)]
        at[keys[sum(map(ord, line)) % len(keys)]] = value
        if not made:
            break
    try:
        plan = resolve(initdsl.parse(RULES), Network.from_manifest(made))
    except initdsl.InitDSLError as error:
        inside(error)
    except ValueError:
        pass
    else:
        str(plan)
        json.dumps(plan.to_dict())


@cache
def described() -> dict[str, Any]:
    """A manifest: two linear layers, one of them twice, and a norm with buffers."""
    from torch import nn

    shared = nn.Linear(2, 3)
    net = nn.Sequential(shared, nn.Linear(3, 2, bias=False), nn.BatchNorm1d(2), nn.ModuleDict({"a": shared}))
    return initdsl.describe(net)[0].to_manifest()


def converted(text: str) -> None:
    """A rule file that parses and is laid out, or our own error."""
    try:
        made = convert(text)
    except initdsl.InitDSLError as error:
        str(error)
        return
    initdsl.parse(made)
    assert formatted(made) == made


def laid(text: str) -> None:
    """A plan, or our own error with findings inside the text."""
    try:
        plan = initdsl.plan(Network.from_manifest(described()), initdsl.parse(text))
    except initdsl.InitDSLError as error:
        inside(error)
        return
    str(plan)
    for entry in plan:
        str(plan.explain(entry.name))


def refuse(text: str) -> None:
    """What the test of the oracle runs."""
    assert not text


TARGETS: dict[str, Callable[[str], None]] = {
    "parse": parse,
    "format": layout,
    "typed": typed,
    "asked": asked,
    "synced": synced,
    "planned": planned,
    "converted": converted,
    "laid": laid,
    "refuse": refuse,
}


SETTINGS = [
    "dict(type='Kaiming', layer=['Conv2d', 'Linear'], bias=0.5, override=dict(name='head', type='Normal', std=0.01))",
    "init_cfg = [dict(type='Xavier', distribution='uniform'), dict(type='Pretrained', checkpoint='x.pth', prefix='a.')]",
    '{"regexes": [["weight$", {"type": "xavier_normal"}], ["a/b", "zero"]], "prevent_regexes": ["bias"]} // c\n',
    "- pattern: weight\n  type: normal\n  std: 0.02\n- {regex: bias, init: zeros_}\n",
    '{"model": {"initializer": {"regexes": [["x", {"type": "kaiming_uniform", "a": 1, "nonlinearity": "relu"}],]}}}',
]


def corpus(folder: Path) -> None:
    """The rule files there are, to start from."""
    files = [*ROOT.glob("examples/**/*.init"), *ROOT.glob("initdsl/recipes/*.init"), *ROOT.glob("tests/cases/*/*.init")]
    for number, file in enumerate(files):
        (folder / f"{number}.init").write_bytes(file.read_bytes())
    for number, text in enumerate(SETTINGS):
        (folder / f"settings{number}").write_text(text, "utf-8")
    for number, file in enumerate(ROOT.glob("tests/cases/syntax/*.txt")):
        (folder / f"case{number}").write_text(file.read_text("utf-8").partition("\n--------\n")[0], "utf-8")


def main() -> None:
    target = TARGETS[sys.argv[1]]

    def one(data: bytes) -> None:
        target(data.decode("utf-8", "surrogateescape"))

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "seeds").mkdir()
        corpus(place / "seeds")
        words = [
            *keywords(),
            "net",
            "Linear",
            ".weight",
            "~ normal(0, 1)",
            "[",
            "]",
            "{",
            "}",
            "#",
            "**",
            "+=",
            "\\x0c",
        ]
        (place / "words").write_text("".join(f'"{word}"\n' for word in words))
        atheris.Setup([sys.argv[0], f"-dict={place / 'words'}", *sys.argv[2:], str(place / "seeds")], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
