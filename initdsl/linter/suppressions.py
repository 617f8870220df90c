"""Comments that silence a finding: `# initdsl: ignore[name] reason` on its line, `# initdsl: ignore-file[name]`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from initdsl.language.syntax.parser import tokenize
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.source import Source, Span

__all__ = ["Named", "Suppression", "Suppressions", "read_suppressions"]


MARK = re.compile(r"#\s*initdsl\s*:\s*(?P<form>[\w-]*)(?P<names>\[[^\]\n]*\])?")


NAME = re.compile(r"[^\s,\[\]]+")


COMMENT = re.compile(r"#[^\n]*")


# a comment in a text that does not parse: strings before it are skipped
LOOSE = re.compile(r'"(?:\\.|[^"\\\n])*"|(?P<comment>#[^\n]*)')


@dataclass(eq=False)
class Named:
    """One name of a suppression, and whether it silenced anything."""

    name: str
    span: Span
    used: bool = False


@dataclass(eq=False)
class Suppression:
    """One comment: its span, the lints it names, the line it stands on. `whole_file` for `ignore-file`."""

    span: Span
    line: int
    whole_file: bool
    names: tuple[Named, ...]
    blanket: bool = False
    known_form: bool = True


@dataclass
class Suppressions:
    """Those of a file. `enabled` are the lints that looked at it, `known` the names there are."""

    all: tuple[Suppression, ...] = ()
    enabled: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()
    by_line: dict[tuple[int, str], list[Named]] = field(default_factory=dict)
    for_file: dict[str, list[Named]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for suppression in self.all:
            if not suppression.known_form:
                continue
            for named in suppression.names:
                if suppression.whole_file:
                    self.for_file.setdefault(named.name, []).append(named)
                else:
                    self.by_line.setdefault((suppression.line, named.name), []).append(named)

    def silences(self, found: Diagnostic) -> bool:
        """Whether a comment silences a finding; remembers which."""
        if found.source is None or found.span is None:
            return False
        lines = {found.line, found.source.position(max(found.span.start, found.span.end - 1)).line}
        here = [named for line in lines for named in self.by_line.get((line, found.name), ())]
        silencing = [*here, *self.for_file.get(found.name, ())]
        for named in silencing:
            named.used = True
        return bool(silencing)

    def keep(self, found: Iterable[Diagnostic]) -> list[Diagnostic]:
        """The findings no comment silences."""
        return [one for one in found if not self.silences(one)]


def read_suppressions(source: Source, enabled: frozenset[str], known: frozenset[str]) -> Suppressions:
    """The suppressions in the comments of a text."""
    found = []
    for at, comment in _comments(source.text):
        mark = MARK.match(comment)
        if mark is None:
            continue
        span = Span(at + mark.start(), at + mark.end())
        names: tuple[Named, ...] = ()
        if mark["names"]:
            base = at + mark.start("names")
            names = tuple(Named(m[0], Span(base + m.start(), base + m.end())) for m in NAME.finditer(mark["names"]))
        form = mark["form"]
        found.append(
            Suppression(
                span,
                source.position(at).line,
                form == "ignore-file",
                names,
                not names,
                form in ("ignore", "ignore-file"),
            )
        )
    return Suppressions(tuple(found), enabled, known)


def _comments(text: str) -> Iterator[tuple[int, str]]:
    """Every comment with its offset: what lies between the tokens, so that a `#` in a string is none."""
    try:
        tokens = tokenize(text)
    except ValueError:
        yield from ((m.start("comment"), m["comment"]) for m in LOOSE.finditer(text) if m["comment"])
        return
    at = 0
    for start, end in [*((t.start_pos or 0, t.end_pos or 0) for t in tokens), (len(text), len(text))]:
        for match in COMMENT.finditer(text, at, max(at, start)):
            yield match.start(), match[0]
        at = max(at, end)
