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
    from initdsl.syntax import keywords

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


def refuse(text: str) -> None:
    """What the test of the oracle runs."""
    assert not text


TARGETS: dict[str, Callable[[str], None]] = {"parse": parse, "format": layout, "refuse": refuse}


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
        words = [*keywords(), "net", "Linear", ".weight", "~ normal(0, 1)", "[", "]", "{", "}", "#", "**", "+="]
        (place / "words").write_text("".join(f'"{word}"\n' for word in words))
        atheris.Setup([sys.argv[0], f"-dict={place / 'words'}", *sys.argv[2:], str(place / "seeds")], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
