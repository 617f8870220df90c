"""Comments that silence a finding: `# initdsl: ignore[name] reason` on its line, `# initdsl: ignore-file[name]`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from initdsl.language.syntax.parser import tokenize
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.source import Source, Span

__all__ = ["Named", "Suppression", "Suppressions", "read_suppressions", "silenced"]


MARK = re.compile(r"#\s*initdsl\s*:\s*(?P<form>[\w-]*)(?P<names>\[[^\]\n]*\])?")


NAME = re.compile(r"[^\s,\[\]]+")


COMMENT = re.compile(r"#[^\n]*")


# a comment in a text that does not parse: strings before it are skipped
LOOSE = re.compile(r'"(?:\\.|[^"\\\n])*"|(?P<comment>#[^\n]*)')


Form = Literal["ignore", "ignore-file"]


FORMS: dict[str, Form] = {"ignore": "ignore", "ignore-file": "ignore-file"}


@dataclass(frozen=True, slots=True)
class Named:
    """One name of a suppression: `zero-std`."""

    name: str
    span: Span


@dataclass(frozen=True, slots=True)
class Suppression:
    """One comment, such as `# initdsl: ignore[zero-std]`: where it stands, and the lints it names.

    `form` is `None` where it is neither of the two there are.
    """

    span: Span
    line: int
    form: Form | None
    names: tuple[Named, ...]


@dataclass(frozen=True, slots=True)
class Suppressions:
    """Those of a file.

    `enabled` are the lints that looked at it, `lints` the names there are; `used` the names that silenced a finding.
    """

    all: tuple[Suppression, ...]
    enabled: frozenset[str]
    lints: frozenset[str]
    used: frozenset[Named] = frozenset()


def silenced(suppressions: Suppressions, findings: Iterable[Diagnostic]) -> tuple[list[Diagnostic], frozenset[Named]]:
    """Return the findings that no comment silences, and the names in comments that silenced the others."""
    by_line: dict[tuple[int, str], list[Named]] = {}
    by_file: dict[str, list[Named]] = {}
    for suppression in suppressions.all:
        for named in suppression.names:
            if suppression.form == "ignore-file":
                by_file.setdefault(named.name, []).append(named)
            elif suppression.form == "ignore":
                by_line.setdefault((suppression.line, named.name), []).append(named)
    kept, used = [], set[Named]()
    for finding in findings:
        silencing = [n for line in _lines(finding) for n in by_line.get((line, finding.name), ())]
        if finding.span is not None:
            silencing += by_file.get(finding.name, ())
        used.update(silencing)
        if not silencing:
            kept.append(finding)
    return kept, frozenset(used)


def _lines(finding: Diagnostic) -> set[int]:
    """Return the lines on which a comment may silence a finding: those where its place begins and ends."""
    if finding.source is None or finding.span is None:
        return set()
    last = max(finding.span.start, finding.span.end - 1)
    return {finding.line, finding.source.position(last).line}


def read_suppressions(source: Source, enabled: frozenset[str], lints: frozenset[str]) -> Suppressions:
    """Return the suppressions in the comments of a text; see `Suppressions`."""
    suppressions = []
    for offset, comment in _comments(source.text):
        mark = MARK.match(comment)
        if mark is None:
            continue
        names: tuple[Named, ...] = ()
        if mark["names"]:
            start = offset + mark.start("names")
            names = tuple(Named(m[0], Span(start + m.start(), start + m.end())) for m in NAME.finditer(mark["names"]))
        span = Span(offset + mark.start(), offset + mark.end())
        suppressions.append(Suppression(span, source.position(offset).line, FORMS.get(mark["form"]), names))
    return Suppressions(tuple(suppressions), enabled, lints)


def _comments(text: str) -> Iterator[tuple[int, str]]:
    """Yield every comment with its offset: what lies between the tokens, so that a `#` in a string is none."""
    try:
        tokens = tokenize(text)
    except ValueError:
        yield from ((m.start("comment"), m["comment"]) for m in LOOSE.finditer(text) if m["comment"])
        return
    offset = 0
    for start, end in [*((t.start_pos or 0, t.end_pos or 0) for t in tokens), (len(text), len(text))]:
        for match in COMMENT.finditer(text, offset, max(offset, start)):
            yield match.start(), match[0]
        offset = max(offset, end)
