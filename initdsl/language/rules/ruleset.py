"""`RuleSet`: the statements of a rule file as a value."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from pydantic import BaseModel, ConfigDict, Field

from initdsl.language.syntax.nodes import Block, Rule, Use
from initdsl.text.diagnostic import printable
from initdsl.text.source import Source, Span

__all__ = ["RuleSet"]


class RuleSet(BaseModel):
    """Parsed rules, and the texts they came from: what `parse("Linear.bias = 0")` returns.

    `rules` are the statements in order, blocks nested; `sources` maps each file's name to its text; `root` is the
    folder that `use` and `load` may not leave. Two rule sets are equal if their statements are, wherever they stand,
    and equal ones have the same hash.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    version: int = Field(default=1, ge=1, le=1, description="version of the language")
    rules: tuple[Rule, ...]
    sources: dict[str, str] = Field(default_factory=dict, repr=False)
    root: str | None = None

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


# a source knows where its lines begin, which takes a while to find out
@lru_cache(maxsize=256)
def _source(name: str, text: str) -> Source:
    return Source(name, text)


def _walk(rules: tuple[Rule, ...]) -> Iterator[Rule]:
    for rule in rules:
        yield rule
        if isinstance(rule, Block) or (isinstance(rule, Use) and rule.rules is not None):
            yield from _walk(rule.rules or ())
