"""A rule file as lints see it: everything that several of them ask, worked out once."""

from __future__ import annotations

from dataclasses import dataclass

from initdsl.language.rules.ruleset import RuleSet
from initdsl.language.syntax.nodes import Block, Call, Node, Rule, Use
from initdsl.language.syntax.walk import children, walk
from initdsl.text.diagnostic import Diagnostic, Fix, Label
from initdsl.text.source import Source, Span

from .cascade import Replaced, replaced_statements
from .statements import Placed, place_statements
from .values import BoundCall, bind

__all__ = ["File", "file_of", "parts_of"]


@dataclass(frozen=True, slots=True, eq=False)
class File:
    """A parsed rule file: of `Linear { .bias = 0 }` a block, a statement in it, and their nodes.

    `everything` has all statements but blocks, in the order of the cascade, those of used files where they are used;
    `statements` and `blocks` those of this file alone. `nodes` and `calls` are of this file, selectors included.
    `sources` are the texts of used files by name, `initializers` further names that Python code registers.
    """

    source: Source
    sources: dict[str, Source]
    initializers: frozenset[str]
    everything: tuple[Placed, ...]
    statements: tuple[Placed, ...]
    blocks: tuple[tuple[Placed, Block], ...]
    nodes: tuple[Node, ...]
    calls: tuple[Call, ...]
    bound_calls: tuple[tuple[Placed, BoundCall], ...]  # the calls of initializers
    replaced: tuple[Replaced, ...]

    @property
    def first_line(self) -> Span:
        """Where a finding stands that is about the file as a whole."""
        return Span(0, len(self.source.line(1)) if self.source.text else 0)

    def text(self, node: Node) -> str:
        """Return the characters of a node of this file."""
        return self.source[node.span]

    def finding(
        self,
        place: Node | Span,
        message: str,
        hint: str | None = None,
        fix: Fix | None = None,
        labels: tuple[Label, ...] = (),
    ) -> Diagnostic:
        """Return a finding at a node or span of this file. Its name and severity are the lint's, added where that runs."""
        span = place if isinstance(place, Span) else place.span
        return Diagnostic("", message, self.source, span, hint, "warning", labels, fix)


def file_of(source: Source, rules: RuleSet, initializers: frozenset[str] = frozenset()) -> File:
    """Return what lints look at: the rules of one text, with those of the files it uses."""
    sources = {name: rules.source(name) for name in rules.sources}
    placed = place_statements(source, rules.rules, sources)
    everything = tuple(p for p in placed if not isinstance(p.rule, Block))
    here = [p for p in placed if p.here]
    nodes = [(p, node) for p in here for root in parts_of(p.rule) for node in walk(root)]
    calls = [(p, node) for p, node in nodes if isinstance(node, Call)]
    bound = [(p, bound) for p, call in calls if (bound := bind(call, p)) is not None]
    return File(
        source=source,
        sources=sources,
        initializers=initializers,
        everything=everything,
        statements=tuple(p for p in everything if p.here),
        blocks=tuple((p, p.rule) for p in here if isinstance(p.rule, Block)),
        nodes=tuple(node for _, node in nodes),
        calls=tuple(call for _, call in calls),
        bound_calls=tuple(bound),
        replaced=tuple(replaced_statements(everything)),
    )


def parts_of(rule: Rule) -> list[Node]:
    """Return what a statement itself is made of: not the statements in a block, nor those of a used file."""
    if isinstance(rule, Block):
        return [rule.targets]
    return [] if isinstance(rule, Use) else children(rule)
