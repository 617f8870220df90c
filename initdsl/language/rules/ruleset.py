"""`RuleSet`: the statements of a rule file as a value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import chain, count
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from initdsl.language.syntax.nodes import Block, Rule, Use
from initdsl.language.syntax.parse import parse_source
from initdsl.language.syntax.written import written
from initdsl.text.diagnostic import printable
from initdsl.text.source import Source, Span

__all__ = ["RuleSet"]


class RuleSet(BaseModel):
    """Parsed rules, and the texts they came from: what `parse("Linear.bias = 0")` returns.

    `rules` are the statements in order, blocks nested; `sources` maps each file's name to its text; `root` is the
    folder that `use` and `load` may not leave. Statements that their text does not say, since they were edited as JSON
    or made in Python, are written out as a source of their own, `<edited>`. Two rule sets are equal if their statements
    are, wherever they stand, and equal ones have the same hash.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    version: int = Field(default=1, ge=1, le=1, description="version of the language")
    rules: tuple[Rule, ...]
    sources: dict[str, str] = Field(default_factory=dict, repr=False)
    root: str | None = None

    @model_validator(mode="wrap")
    @classmethod
    def _written_out(cls, data: Any, handler: Callable[[Any], RuleSet]) -> RuleSet:
        made = handler(data)
        given = data.get("rules") if isinstance(data, Mapping) else None
        is_data = given is not None and any(isinstance(rule, Mapping) for rule in given)
        if not is_data and all(rule.source in made.sources for rule in made.rules):
            return made
        said = {name: _said(name, text) if is_data else None for name, text in made.sources.items()}
        unsaid = list(_unsaid(made.rules, said))
        name = next(name for name in chain([EDITED], (f"<edited {n}>" for n in count(2))) if name not in said)
        text = "\n".join(" ".join(written(rule).splitlines()) for rule in unsaid)
        parsed, problems = parse_source(Source(name, text))
        if unsaid and parsed == unsaid and not problems:  # else no text can say them
            object.__setattr__(made, "rules", _replaced(made.rules, said, iter(parsed)))
            object.__setattr__(made, "sources", {**made.sources, name: text})
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RuleSet) and self.rules == other.rules

    def __hash__(self) -> int:
        return hash(self.rules)

    def __len__(self) -> int:
        return len(self.rules)

    def __repr__(self) -> str:
        place = printable(next(iter(self.sources), ""))
        return f"<RuleSet: {len(self)} statement{'s' * (len(self) != 1)}{f' of {place}' if place else ''}>"

    def __str__(self) -> str:
        return repr(self)

    def source(self, name: str) -> Source:
        """Return the source a statement names; empty where its text was not kept."""
        return _source(name, self.sources.get(name, ""))

    def text(self, source: str, span: Span) -> str:
        """Return the characters of a span."""
        return self.source(source)[span]

    def location(self, source: str, span: Span) -> str:
        """Return `file:line` of a span."""
        return f"{source}:{self.source(source).position(span.start).line}"

    def walk(self) -> Iterator[Rule]:
        """Yield every statement, those inside blocks and used files included, in file order."""
        yield from _walk(self.rules)


EDITED = "<edited>"


# the statements that a text says, by where they stand, by its name; None where that need not be looked at
Said = Mapping[str, Mapping[Span, Rule] | None]


def _is_said(rule: Rule, said: Said) -> bool:
    if rule.source not in said:
        return False
    there = said[rule.source]
    return there is None or there.get(rule.span) == rule


def _unsaid(rules: tuple[Rule, ...], said: Said) -> Iterator[Rule]:
    """Yield the statements that no text says, those of used files in their place."""
    for rule in rules:
        if isinstance(rule, Use) and rule.rules is not None:
            yield from _unsaid(rule.rules, said)
        elif not _is_said(rule, said):
            yield rule


def _replaced(rules: tuple[Rule, ...], said: Said, others: Iterator[Rule]) -> tuple[Rule, ...]:
    """Return statements with the next of the `others` in place of each that no text says."""
    replaced: list[Rule] = []
    for rule in rules:
        if isinstance(rule, Use) and rule.rules is not None:
            replaced.append(replace(rule, rules=_replaced(rule.rules, said, others)))
        else:
            replaced.append(rule if _is_said(rule, said) else next(others))
    return tuple(replaced)


def _said(name: str, text: str) -> dict[Span, Rule]:
    """Return the statements of a text by where they stand."""
    return {rule.span: rule for rule in parse_source(Source(name, text))[0]}


# a source knows where its lines begin, which takes a while to find out
@lru_cache(maxsize=256)
def _source(name: str, text: str) -> Source:
    return Source(name, text)


def _walk(rules: tuple[Rule, ...]) -> Iterator[Rule]:
    for rule in rules:
        yield rule
        if isinstance(rule, Block) or (isinstance(rule, Use) and rule.rules is not None):
            yield from _walk(rule.rules or ())
