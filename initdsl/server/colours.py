"""The tokens of a text that need not parse, by the table that colours files in editors and documents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from initdsl.language.syntax.highlight import Match, Region, table

__all__ = ["Colour", "coloured"]


class Colour(NamedTuple):
    """A token from `start` to `end`; its kind is one of `highlight.KINDS`."""

    start: int
    end: int
    kind: str


@lru_cache(maxsize=1 << 14)
def coloured(text: str) -> tuple[Colour, ...]:
    """Return the tokens of a statement."""
    return tuple(_colours(text))


def _colours(text: str) -> Iterator[Colour]:
    contexts = _contexts()
    stack: list[tuple[str, re.Pattern[str] | None]] = [("selectors", None)]
    at = 0
    while at < len(text):
        context, ending = stack[-1]
        if ending is not None and (match := ending.match(text, at)) is not None:
            stack.pop()
            if match.end() > at:
                yield Colour(at, match.end(), "punctuation")
                at = match.end()
            continue
        for pattern, rule in contexts[context]:
            match = pattern.match(text, at)
            if match is None:
                continue
            for group, kind in enumerate(rule.kinds, 1 if len(rule.kinds) > 1 else 0):
                yield Colour(*match.span(group), kind)
            if isinstance(rule, Region):
                stack.append((rule.inside, _ending(rule.end)))
            at = match.end()
            break
        else:
            at += 1


@lru_cache(maxsize=1)
def _contexts() -> dict[str, list[tuple[re.Pattern[str], Match | Region]]]:
    """Return the rules of every context with their patterns compiled."""
    return {
        context: [
            (re.compile(rule.pattern if isinstance(rule, Match) else rule.begin, re.MULTILINE), rule) for rule in rules
        ]
        for context, rules in table().items()
    }


@lru_cache(maxsize=256)
def _ending(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.MULTILINE)
