"""`RuleSet`: the statements of a rule file as a value."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from initdsl.language.syntax.nodes import Block, Rule, Use
from initdsl.text.source import Source, Span

if TYPE_CHECKING:
    from initdsl.filling.meta.init_fn import InitFn

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

    def source(self, name: str) -> Source:
        """Return the source a statement names; empty where its text was not kept."""
        return _source(name, self.sources.get(name, ""))

    def text(self, source: str, span: Span) -> str:
        """Return the characters of a span."""
        return self.source(source)[span]

    def location(self, source: str, span: Span) -> str:
        """Return `file:line` of a span."""
        return f"{source}:{self.source(source).position(span.start).line}"

    def as_init_fn(self, net: Any, **options: Any) -> InitFn:
        """A function for `net.apply` or FSDP's `param_init_fn`: fills a module's own parameters by these rules.

        The rules are resolved against the whole of `net` now; each call fills the parameters (and the buffers that
        rules name) of the module it is given, and of no other. The options are `seed`, `vars`, `strict`, `on_init`,
        `initializers`, `root`, which are those of `initdsl.apply`, and `device`: there a module's own parameters get
        memory first if they are on the meta device.

        Raises what `initdsl.plan` raises, and ResolveError where a rule reads another module's values.

        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> net.apply(parse("Linear.weight ~ normal(0, 0.01); Linear.bias = 0").as_init_fn(net))[2].bias.tolist()
        [0.0, 0.0]
        """
        from initdsl.filling.meta.init_fn import as_init_fn

        return as_init_fn(net, self, **options)

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
