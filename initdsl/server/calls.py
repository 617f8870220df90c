"""The brackets around a place, read backwards from what is typed there: the call, its arguments, the path so far."""

from __future__ import annotations

from dataclasses import dataclass

from .colours import coloured

__all__ = ["CallAround", "call_around", "open_brackets", "path_before"]


@dataclass(frozen=True, slots=True)
class CallAround:
    """The call a place lies in: its function, the argument being typed by name or by position, those given by name."""

    function: str
    argument: str | None
    position: int
    given: frozenset[str]


def call_around(before: str) -> CallAround | None:
    """Return the innermost call whose parenthesis is open at the end of a statement's beginning."""
    openers = open_brackets(before)
    if not openers or openers[-1][1] is None:
        return None
    _, function, first = openers[-1]
    depth, position, argument, given = 0, 0, None, set()
    for colour in coloured(before)[first:]:
        text = before[colour.start : colour.end]
        if colour.kind == "punctuation":
            depth += sum(c in "([{" for c in text) - sum(c in ")]}" for c in text)
            if depth == 0 and "," in text:
                position, argument = position + 1, None
        elif colour.kind == "parameter" and depth == 0:
            argument = text
            given.add(text)
    assert function is not None
    return CallAround(function, argument, position, frozenset(given))


def open_brackets(before: str) -> list[tuple[int, str | None, int]]:
    """Return the brackets open at the end: the offset, the function called, and the number of the first token inside."""
    colours = coloured(before)
    openers: list[tuple[int, str | None, int]] = []
    for number, colour in enumerate(colours):
        if colour.kind != "punctuation":
            continue
        for at in range(colour.start, colour.end):
            if before[at] in "([{":
                last = colours[number - 1] if number else None
                called = last is not None and last.kind == "function" and last.end == at
                openers.append((at, before[last.start : last.end] if called and last else None, number + 1))
            elif before[at] in ")]}" and openers:
                openers.pop()
    return openers


def path_before(before: str) -> str:
    """Return the path that ends where a text ends; `""` for none."""
    at = len(before)
    while at > 0:
        if before[at - 1] in ")]":
            opener = _opener(before, at)
            if opener < 0:
                break
            at = opener
        elif before[at - 1].isalnum() or before[at - 1] in "_*.+":
            at -= 1
        else:
            break
    return before[at:]


def _opener(text: str, end: int) -> int:
    """Return where the bracket opens that closes directly in front of `end`, or -1."""
    depth = 0
    for at in range(end - 1, -1, -1):
        depth += (text[at] in ")]") - (text[at] in "([")
        if depth == 0:
            return at
    return -1
