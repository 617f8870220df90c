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
from .entries import Entry, LaidOut, entries_of
from .lines import INDENT

__all__ = ["format", "format_range", "format_source"]


def format(text: str) -> str:
    """Return a text in the canonical layout: the same rules, comments and (at most single) blank lines.

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
    """Return the text of a source in the canonical layout; diagnostics name the source."""
    return _render(_laid_out(_without_bom(source)))


def format_range(text: str, start_line: int, end_line: int, known: LaidOut | None = None) -> list[Edit]:
    """Return the edits that lay out the statements and comments on lines `start_line` to `end_line` (from 1, inclusive).

    They are in the order of the text, do not overlap, and leave every other line as it is. Over all lines they give
    what `format` gives, except that the lines of a text with CRLF keep it. Raises ParseError as `format` does.
    `known` is a cache to pass again with the next version of the text.
    """
    source = _without_bom(Source("<rules>", text))
    newline = "\r\n" if "\r\n" in text else "\n"
    shift = len(text) - len(source.text)
    edits = _edits(source.text, _laid_out(source, known), start_line, end_line, newline)
    return [Edit(Span(edit.span.start + shift, edit.span.end + shift), edit.text) for edit in edits]


def _without_bom(source: Source) -> Source:
    return Source(source.name, source.text.removeprefix("\ufeff"))


def _laid_out(source: Source, cache: LaidOut | None = None) -> list[Entry]:
    """Return the entries of a source, aligned, and checked to mean what it means."""
    cache = cache or LaidOut()
    units, problems = read_units(source, cache=cache.before)
    if problems:
        raise ParseError(problems)
    entries = entries_of(source.text, units, cache)
    align(entries)
    result = Source(source.name, _render(entries))
    result_units, problems = read_units(result, cache=cache.after)
    if problems:  # a text just below the size limit may be longer once it is laid out
        raise ParseError(problems)
    if not _same(source.text, units, result.text, result_units, cache):
        raise AssertionError("the layout would change the meaning of the text")
    return entries


def _same(text: str, units: list[Unit], result: str, result_units: list[Unit], cache: LaidOut) -> bool:
    """Tell whether two texts mean the same, unit by unit."""
    if len(units) != len(result_units):
        return False
    equal = set()
    for one, other in zip(units, result_units, strict=True):
        pair = text[one.start : one.end], result[other.start : other.end]
        if one.step != other.step or not (pair in cache.equal or one.rule == other.rule):
            return False
        equal.add(pair)
    cache.equal = equal
    return True


def _render(entries: list[Entry]) -> str:
    return "".join(("\n" if entry.blank else "") + entry.text() + "\n" for entry in entries)


def _edits(text: str, entries: list[Entry], first: int, last: int, newline: str) -> Iterator[Edit]:
    """Yield the edits of the entries on lines `first` to `last`, and of the gaps between those."""
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
    """Yield runs of entries that share a line of the source, or stand in another order than there."""
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


def _line_end(text: str, offset: int) -> int:
    """Return where the line of an offset ends, before its line break."""
    end = text.find("\n", offset)
    end = len(text) if end < 0 else end
    return end - 1 if text[end - 1 : end] == "\r" and end > offset else end


def _edit(text: str, start: int, end: int, new: str, newline: str) -> Iterator[Edit]:
    """Yield the edit that makes a part of the text `new`, if it is not that already."""
    new = new.replace("\n", newline)
    if text[start:end] != new:
        yield Edit(Span(start, end), new)
