"""What is known before a plan is made, and what is looked up once while it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from initdsl.initializers import Registry
from initdsl.language.expressions.shapes import EvalError
from initdsl.language.rules.ruleset import RuleSet
from initdsl.network.description import Network
from initdsl.network.parts import child_label
from initdsl.network.selectors.context import MatchCache, TooManyMatches
from initdsl.network.selectors.matches import Match
from initdsl.text.diagnostic import Diagnostic, ResolveError, correction
from initdsl.text.frozen import FrozenDict
from initdsl.text.wording import quoted, shortened

from .file_contents import FileCache

__all__ = ["Cache", "Context", "finding_of", "match_label", "most_matches", "refuse_piece", "state_of_match"]


# how many matches a plan may make at least and at most, and between these for each statement, module and tensor
SMALLEST, LARGEST, EACH = 1 << 19, 1 << 28, 8


@dataclass
class Cache:
    """What one run of the planner looks up once. It saves time and never changes a result; one thread's own.

    `empty` are the findings about selectors that select nothing at all.
    """

    matches: MatchCache = field(default_factory=MatchCache)
    files: FileCache = field(default_factory=FileCache)
    empty: list[Diagnostic] = field(default_factory=list)


@dataclass(frozen=True)
class Context:
    """What every step of planning needs: `Context(rules, model, registry, FrozenDict(std=0.02), seed=3)`.

    `tied_to` says of a tensor that a tie makes another's which that is, by their numbers; empty until ties are planned.
    """

    rules: RuleSet
    network: Network
    registry: Registry
    variables: Mapping[str, Any] = FrozenDict()
    seed: int | None = None
    tied_to: Mapping[int, int] = FrozenDict()
    cache: Cache = field(default_factory=Cache, compare=False, repr=False)


def finding_of(context: Context, error: EvalError, source: str) -> Diagnostic:
    """Return an error in the rule file `source` as a finding.

    Raises ResolveError with it where there is no going on: what takes too much work would take it again and again.
    """
    where = context.rules.source(source)
    hint = error.hint
    if hint is None and ONE_OF not in error.message:
        hint = _hint_at_a_text(context, where[error.span])
    fix = correction(where, error.span, hint)
    finding = Diagnostic(error.name, error.message, where, error.span, hint, fix=fix)
    if isinstance(error, TooManyMatches):
        raise ResolveError(finding)
    return finding


# what an error says where one of several words is wanted, and no number
ONE_OF = "must be one of"


# a name within an expression, but not an attribute (`config.std`) or what stands in quotes
NAME = re.compile(r'"[^"]*"|(?<![\w.])[^\W\d]\w*')


def _hint_at_a_text(context: Context, expression: str) -> str | None:
    """Return what to give in place of the text that a name in an expression was given; None where none was."""
    for name in NAME.findall(expression):
        value = context.variables.get(name)
        if isinstance(value, str):
            given = f"`{name}` was given as the text {quoted(shortened(value))}"
            return f"{given}: give a number, or on the command line an expression of numbers: `--set {name}=1/64`"
    return None


def most_matches(rules: RuleSet, network: Network) -> int:
    """Return how many matches a plan may make: what every statement may ask of every module and tensor, within reason."""
    statements = sum(1 for _ in rules.walk())
    return min(LARGEST, max(SMALLEST, EACH * statements * network.size))


def match_label(context: Context, match: Match) -> str:
    """Return a match as a rule file writes it: `net.layers[0].weight`."""
    module = context.network.modules[match.module]
    if match.tensor is None:
        return module.label
    tensor = context.network.tensors[match.tensor]
    return child_label(module, next(local for owner, local in tensor.owners if owner == match.module))


def state_of_match(context: Context, match: Match) -> dict[str, int]:
    """Return the state of a match, as a state dict has it, by the names relative to it; a tensor itself has the name `""`.

    Raises EvalError for a piece of a parameter.
    """
    refuse_piece(match, "a slice is part of a parameter, this takes whole ones")
    if match.tensor is not None:
        return {"": match.tensor}
    network = context.network
    state: dict[str, int] = {}
    for index, path in network.paths_below(match.module):
        for name, tensor in network.modules[index].state.items():
            if network.tensors[tensor].kind != "parametrized":  # it follows what it is computed from
                state[f"{path}{name}"] = tensor
    return state


def refuse_piece(match: Match, message: str) -> None:
    """Raise EvalError with this message where a match is a piece of a parameter."""
    piece = match.index or match.view
    if piece is not None:
        raise EvalError(message, piece.span, name="bad-index")
