"""What is wrong, where, and what to type instead: a value, its rendering with the caret, and the errors that carry it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .source import Source, Span
from .wording import cell_width, nearest

__all__ = [
    "ApplyError",
    "DiagnoseError",
    "Diagnostic",
    "Edit",
    "Fix",
    "InitDSLError",
    "Label",
    "OverruledRuleWarning",
    "ParseError",
    "RedrawnParameterWarning",
    "ResolveError",
    "RuleError",
    "Severity",
    "UncoveredParameterWarning",
    "UnmatchedRuleWarning",
    "correction",
    "in_order",
    "printable",
]


# an error with more findings names the first of them; `.diagnostics` has all
MOST_SHOWN = 100


Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the characters of `span` with `text`."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Fix:
    """A change to the source that removes a finding; `safe` ones leave the plan as it is."""

    title: str
    edits: tuple[Edit, ...]
    safe: bool = True


def correction(source: Source, span: Span, hint: str | None) -> Fix | None:
    """Return the fix that writes the one word that a hint names in place of the word that a span is, or ends with."""
    named = re.fullmatch(r"did you mean `(\w+)`\?", hint or "")
    written = re.fullmatch(r"(?:\w+\s*=\s*)?(\w+)", source.text[span.start : span.end])
    if named is None or written is None or nearest(written[1], [named[1]]) is None:
        return None
    return Fix(f"write `{named[1]}`", (Edit(Span(span.start + written.start(1), span.end), named[1]),), safe=False)


@dataclass(frozen=True, slots=True)
class Label:
    """A second place a diagnostic speaks of, and what there is to say of it."""

    source: Source
    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding.

    `name` is its kebab-case identity; `span` lies in `source`, and both are `None` where no text is at fault. A note is
    `intended` where the rules themselves ask for what it tells, so that no linter makes more of it.
    """

    name: str
    message: str
    source: Source | None = None
    span: Span | None = None
    hint: str | None = None
    severity: Severity = "error"
    labels: tuple[Label, ...] = ()
    fix: Fix | None = field(default=None, compare=False)
    intended: bool = False

    @property
    def file(self) -> str | None:
        return self.source.name if self.source else None

    @property
    def line(self) -> int:
        """Line of the start, from 1; 0 without a place."""
        return self.source.position(self.span.start).line if self.source and self.span else 0

    @property
    def column(self) -> int:
        """Column of the start, from 1, in characters; 0 without a place."""
        return self.source.position(self.span.start).column if self.source and self.span else 0

    @property
    def location(self) -> str:
        """`file:line:column`, as far as there is a place; empty without a file."""
        if self.source is None:
            return ""
        return f"{printable(self.source.name)}:{self.line}:{self.column}" if self.span else printable(self.source.name)

    def render(self, colour: bool = False) -> str:
        """Return the finding as text: name and message, the place, the line with the span underlined, the hint."""
        paint = _paint if colour else _plain
        colour_code = {"error": "31;1", "warning": "33;1", "note": "36;1"}[self.severity]
        head = paint(colour_code, f"{self.severity}[{self.name}]") + paint("1", f": {printable(self.message)}")
        places: list[tuple[Source, Span, str, str]] = []
        if self.source is not None and self.span is not None:
            places.append((self.source, self.span, "", "^"))
        places += [(label.source, label.span, f" {printable(label.text)}", "-") for label in self.labels]
        width = max((len(str(source.position(span.start).line)) for source, span, *_ in places), default=1)
        gutter = " " * width
        lines = [head]
        if not places and self.source is not None:
            lines.append(f"{gutter}{paint('34;1', '-->')} {printable(self.source.name)}")
        for source, span, text, mark in places:
            line, column = source.position(span.start)
            lines.append(f"{gutter}{paint('34;1', '-->')} {printable(source.name)}:{line}:{column}")
            excerpt, before, length = _excerpt(source, span)
            bar = paint("34;1", "|")
            lines.append(f"{gutter} {bar}")
            lines.append(f"{paint('34;1', str(line).rjust(width))} {bar} {excerpt}")
            lines.append(f"{gutter} {bar} {' ' * before}{paint(colour_code, mark * length)}{text}")
        if self.hint:
            lines += [
                f"{gutter} {paint('34;1', '=')} {'hint: ' if i == 0 else '      '}{printable(part)}"
                for i, part in enumerate(self.hint.splitlines())
            ]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: name, severity, message, hint, file, start and end as line and column from 1."""
        entry: dict[str, Any] = {
            "name": self.name,
            "severity": self.severity,
            "message": self.message,
            "hint": self.hint,
            "file": self.file,
            "start": None,
            "end": None,
        }
        if self.source is not None and self.span is not None:
            for key, offset in (("start", self.span.start), ("end", self.span.end)):
                line, column = self.source.position(offset)
                entry[key] = {"line": line, "column": column, "offset": offset}
        return entry

    def __str__(self) -> str:
        return self.render()


LONGEST_LINE = 160


def _excerpt(source: Source, span: Span) -> tuple[str, int, int]:
    """Return the line of a span cut to a readable width, and where and how long to underline it, in terminal cells."""
    line, column = source.position(span.start)
    text = source.line(line)
    start = column - 1
    end = min(len(text), start + max(1, span.end - span.start))
    first = max(0, start - LONGEST_LINE // 2) if len(text) > LONGEST_LINE else 0
    last = min(len(text), first + LONGEST_LINE)
    end = min(end, last)
    before = ("…" if first else "") + printable(text[first:start])
    marked = printable(text[start:end])
    after = printable(text[end:last]) + ("…" if last < len(text) else "")
    return before + marked + after, cell_width(before), max(1, cell_width(marked))


def printable(text: str) -> str:
    """Return `text` with tabs as a space and control, bidirectional and unpaired characters shown as `\\xNN` or `\\uNNNN`."""
    if text.isprintable():
        return text
    return "".join(_printable(character) for character in text)


def _printable(character: str) -> str:
    if character == "\t":
        return " "
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _paint(code: str, text: str) -> str:
    return f"\033[{code}m{text}\033[0m"


def _plain(code: str, text: str) -> str:
    return text


class InitDSLError(Exception):
    """Base of all errors. `diagnostics` holds every finding, in the order of the text."""

    __module__ = "initdsl"  # its public name, in tracebacks and pickles

    def __init__(self, diagnostics: Diagnostic | Iterable[Diagnostic]):
        findings = (diagnostics,) if isinstance(diagnostics, Diagnostic) else tuple(diagnostics)
        self.diagnostics: tuple[Diagnostic, ...] = findings
        super().__init__(findings)

    def __str__(self) -> str:
        texts = [diagnostic.render() for diagnostic in self.diagnostics[:MOST_SHOWN]]
        more = len(self.diagnostics) - len(texts)
        return "\n\n".join([*texts, f"and {more} more like these"] if more else texts)


class ParseError(InitDSLError):
    """The text is not a rule file."""

    __module__ = "initdsl"  # its public name, in tracebacks and pickles


class RuleError(InitDSLError):
    """A rule's argument or expression can't be right, whatever the model."""

    __module__ = "initdsl"  # its public name, in tracebacks and pickles


class ResolveError(InitDSLError):
    """A rule doesn't fit this model."""

    __module__ = "initdsl"  # its public name, in tracebacks and pickles


class ApplyError(InitDSLError):
    """A fill failed; everything was put back as it was, or the message says that it could not be."""

    __module__ = "initdsl"  # its public name, in tracebacks and pickles


class DiagnoseError(InitDSLError):
    """A model can't be run forward and backward to see what its initialization does."""

    __module__ = "initdsl"  # its public name, in tracebacks and pickles


class UnmatchedRuleWarning(UserWarning):
    """A rule selects nothing in this model."""

    __module__ = "initdsl"  # its public name, in tracebacks and pickles


class OverruledRuleWarning(UserWarning):
    """Later rules set everything that a rule sets or edits, so that it does nothing."""

    __module__ = "initdsl"  # its public name, in tracebacks and pickles


class RedrawnParameterWarning(UserWarning):
    """A rule draws over values that were loaded, or over parameters that are frozen."""

    __module__ = "initdsl"  # its public name, in tracebacks and pickles


class EmptiedModelWarning(UserWarning):
    """The model comes out of `to_empty`, which took ties apart or left buffers without values."""

    __module__ = "initdsl"  # its public name, in tracebacks and pickles


class UncoveredParameterWarning(UserWarning):
    """No rule reached a parameter; it keeps the values it had."""

    __module__ = "initdsl"  # its public name, in tracebacks and pickles


def in_order(diagnostics: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Return diagnostics by file and place, each once."""
    unique = dict.fromkeys(diagnostics)
    return sorted(unique, key=lambda d: (d.file or "", d.span or Span(-1, -1)))
