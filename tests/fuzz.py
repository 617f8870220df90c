"""Coverage-guided fuzzing of what reads text, with atheris: `python tests/fuzz.py TARGET [libFuzzer options]`.

    python tests/fuzz.py parse -max_total_time=3600
    python tests/fuzz.py format corpus/

The oracle: a value, or our own error whose findings lie inside the text. Anything else is a crash, which libFuzzer writes
to a file; it becomes a case of `cases/`. `test_fuzz.py` runs every target for a moment.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["initdsl"]):
    import initdsl
    from initdsl.formatter import format as formatted
    from initdsl.server.completion import completions
    from initdsl.server.hover import counts, definition, hover
    from initdsl.server.known import known_at
    from initdsl.server.outline import Refused, renamed, symbols
    from initdsl.source import Source
    from initdsl.syntax import Memory, keywords, parse_source

ROOT = Path(__file__).parent.parent


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
    memory = Memory()
    for one in text.split("\f"):
        source = Source("x.init", one)
        # as text, since spans take no part in comparison
        assert repr(parse_source(source, memory=memory)) == repr(parse_source(source))


def asked(text: str) -> None:
    """What an editor asks about a text, where its first form feed stands: answers that lie inside the text, or none."""
    at = max(0, text.find("\f"))
    text = text.replace("\f", "", 1)
    known = known_at(str(ROOT / "x.init"))
    span, _ = completions(text, at, known)
    assert 0 <= span.start <= span.end <= len(text)
    found = hover(text, at, known)
    assert found is None or 0 <= found[0].start <= found[0].end <= len(text)
    definition(text, at, str(ROOT / "x.init"), known)
    counts(text, 0, len(text), known)
    try:
        assert all(text[name.start : name.end].isidentifier() for name in renamed(text, at, "qqq"))
    except Refused:
        pass
    for symbol in symbols(text):
        assert symbol.span.start <= symbol.name_span.start <= symbol.name_span.end <= symbol.span.end <= len(text)


def refuse(text: str) -> None:
    """What the test of the oracle runs."""
    assert not text


TARGETS: dict[str, Callable[[str], None]] = {
    "parse": parse,
    "format": layout,
    "typed": typed,
    "asked": asked,
    "refuse": refuse,
}


def corpus(folder: Path) -> None:
    """The rule files there are, to start from."""
    files = [*ROOT.glob("examples/**/*.init"), *ROOT.glob("initdsl/recipes/*.init"), *ROOT.glob("tests/cases/*/*.init")]
    for number, file in enumerate(files):
        (folder / f"{number}.init").write_bytes(file.read_bytes())
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
