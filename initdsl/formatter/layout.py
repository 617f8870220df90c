"""The one canonical layout of a rule file: statements, comments and blank lines laid out anew, their meaning unchanged.

The tokens of the parser reproduce the text; comments and blank lines lie in the gaps between them. They become a list
of entries (a statement, a block's first or last line, a comment), each laid out for itself, so that an editor can
take some and leave the others. Which spaces stand between two tokens follows from their types alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.language.syntax.parse import Unit, read_units
from initdsl.text.diagnostic import Edit, ParseError
from initdsl.text.source import Source, Span

from .align import align
from .entries import Entry, LaidOut, Reader
from .lines import INDENT

__all__ = ["format", "format_range", "format_source"]


def format(text: str) -> str:
    """The text in the canonical layout: the same rules, comments and (at most single) blank lines.

    Formatting twice changes nothing more. Raises ParseError for a text that does not parse.

    >>> print(format("Linear{.weight~normal(0,.01);.bias=0}"), end="")
    Linear {
      .weight ~ normal(0, .01)
      .bias   = 0
    }
    """
    if not isinstance(text, str):
        raise TypeError(f"rules are text, not {type(text).__name__}")
    return format_source(Source("<rules>", text))


def format_source(source: Source) -> str:
    """The text of a source in the canonical layout; its name is the one that diagnostics give."""
    return _render(_laid_out(_without_bom(source)))


def format_range(text: str, start_line: int, end_line: int, known: LaidOut | None = None) -> list[Edit]:
    """The edits that lay out the statements and comments on the lines `start_line` to `end_line` (from 1, inclusive).

    They are in the order of the text, do not overlap, and leave every other line as it is. Over all lines they give
    what `format` gives, except that the lines of a text with CRLF keep it. Raises ParseError as `format` does.
    `known` remembers what there was to do, for the next time.
    """
    source = _without_bom(Source("<rules>", text))
    newline = "\r\n" if "\r\n" in text else "\n"
    shift = len(text) - len(source.text)
    edits = _edits(source.text, _laid_out(source, known), start_line, end_line, newline)
    return [Edit(Span(edit.span.start + shift, edit.span.end + shift), edit.text) for edit in edits]


def _without_bom(source: Source) -> Source:
    return Source(source.name, source.text.removeprefix("\ufeff"))


def _laid_out(source: Source, known: LaidOut | None = None) -> list[Entry]:
    known = known or LaidOut()
    units, problems = read_units(source, cache=known.before)
    if problems:
        raise ParseError(problems)
    entries = Reader(source.text, known).entries(units)
    align(entries)
    again = Source(source.name, _render(entries))
    again_units, problems = read_units(again, cache=known.after)
    if problems:  # a text just below the size limit may be longer once it is laid out
        raise ParseError(problems)
    if not _same(source.text, units, again.text, again_units, known):
        raise AssertionError("the layout would change the meaning of the text")
    return entries


def _same(before: str, units: list[Unit], after: str, others: list[Unit], known: LaidOut) -> bool:
    """Whether two texts say the same, unit by unit."""
    if len(units) != len(others):
        return False
    equal = set()
    for one, other in zip(units, others, strict=True):
        pair = before[one.start : one.end], after[other.start : other.end]
        if one.step != other.step or not (pair in known.equal or one.rule == other.rule):
            return False
        equal.add(pair)
    known.equal = equal
    return True


def _render(entries: list[Entry]) -> str:
    return "".join(("\n" if entry.blank else "") + entry.text() + "\n" for entry in entries)


# ---- edits


def _edits(text: str, entries: list[Entry], first: int, last: int, newline: str) -> Iterator[Edit]:
    """What changes the text on some lines: edits of the entries there, and of the gaps between them."""
    source = Source("", text)
    end, chosen_before = 0, True
    for chunk in _chunks(text, entries):
        start, finish = chunk[0].start, max(entry.end for entry in chunk)
        chosen = source.position(start).line <= last and source.position(finish).line >= first
        body = _render(chunk).strip("\n")
        indent = " " * (chunk[0].depth * INDENT)
        lead = "" if not end else "\n\n" if chunk[0].blank else "\n"
        if chosen and chosen_before:
            yield from _edit(text, end, start, lead + indent, newline)
        elif chosen:
            yield from _edit(text, text.rfind("\n", end, start) + 1, start, indent, newline)
        elif chosen_before and end:
            yield from _edit(text, end, _line_end(text, end), "", newline)
        if chosen:
            yield from _edit(text, start, finish, body[len(indent) :], newline)
        end, chosen_before = finish, chosen
    if chosen_before:
        yield from _edit(text, end, len(text), "\n" if end else "", newline)


def _chunks(text: str, entries: list[Entry]) -> Iterator[list[Entry]]:
    """Entries, those together that share a line of the source or have not its order."""
    starts = [entry.start for entry in entries]
    for i in range(len(starts) - 2, -1, -1):
        starts[i] = min(starts[i], starts[i + 1])
    chunk: list[Entry] = []
    end = 0
    for start, entry in zip(starts, entries, strict=True):
        if chunk and "\n" in text[end:start]:
            yield chunk
            chunk = []
        chunk.append(entry)
        end = max(end, entry.end)
    if chunk:
        yield chunk


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    return end - 1 if text[end - 1 : end] == "\r" and end > at else end


def _edit(text: str, start: int, end: int, new: str, newline: str) -> Iterator[Edit]:
    new = new.replace("\n", newline)
    if text[start:end] != new:
        yield Edit(Span(start, end), new)
