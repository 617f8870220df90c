"""The actions of a statement: what it writes to one tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from initdsl.language.expressions.shapes import EvalError
from initdsl.language.syntax.nodes import Assign, Default, Keep
from initdsl.network.selectors.matches import Match
from initdsl.text.diagnostic import Diagnostic

from .actions import Action, Clause, CopyFrom, Kept, Payload, Reset
from .context import Context, refuse_piece
from .copies import CopySides, not_copied, sides_of_copy, source_of_copy
from .elements import elements_key, overlapping
from .lookups import Loaded, Selected, Site
from .names import Names
from .payloads import payload_of
from .pieces import PieceCount, pieces_of
from .right_hand_side import RightHandSide
from .statements import Statement
from .torch_defaults import known_default

__all__ = ["Progress", "actions_of"]


@dataclass
class Progress:
    """What adds up while actions are made: findings, the pieces of `[*]`, and the actions of constant right-hand sides.

    The actions are by the number of the clause, shape and dtype of the tensor, and the module it is selected in where that
    is not its first owner: they are the same for all that share those. What is `loaded` is by clause and tensor.
    """

    findings: list[Diagnostic]
    count: PieceCount = field(default_factory=PieceCount)
    actions: dict[tuple[int, tuple[int, ...], str, int | None], list[Action]] = field(default_factory=dict)
    copies: dict[int, CopySides] = field(default_factory=dict)  # by the number of the clause
    loaded: dict[int, dict[int, list[Loaded]]] = field(default_factory=dict)


def actions_of(
    context: Context,
    statement: Statement,
    side: RightHandSide | None,
    index: int,
    matches: Mapping[int, list[Match]],
    progress: Progress,
) -> list[Action]:
    """Return what a statement writes to the tensor `index`; `matches` are all of the statement's, by tensor.

    Raises EvalError for what can't be right.
    """
    number = statement.clause.number
    selected = Selected(number, matches, progress.loaded.setdefault(number, {}))
    if len(matches[index]) == 1:
        return _actions(context, statement, side, index, matches[index][0], selected, progress)
    # selected by several names, or members of a union: once, as the last of them says
    shape = context.network.tensors[index].shape
    each = [_actions(context, statement, side, index, match, selected, progress) for match in matches[index]]
    written = [action for some in each for action in some]
    actions = list({elements_key(action, shape): action for action in written}.values())
    if len(actions) > 1 and any(action.builds_on_values for action in actions):
        _refuse_overlap(context, index, actions)
    return actions


def _refuse_overlap(context: Context, index: int, actions: list[Action]) -> None:
    """Raise EvalError where one statement would edit an element twice."""
    tensor = context.network.tensors[index]
    pair = overlapping(actions, tensor.shape)
    if pair is None:
        return
    one, other = map(_piece_text, pair)
    rule = actions[0].clause.rule
    assert isinstance(rule, Assign)
    message = f"of `{context.network.label(tensor)}`, {one} and {other} have elements in common, which this edits once"
    raise EvalError(message, rule.targets.span, "for those to be edited twice, write two statements", "bad-index")


def _piece_text(action: Action) -> str:
    """Return which piece an action writes, as written: `[0:2]`."""
    piece = action.effect.removesuffix(action.clause.effect).strip().removeprefix("as ")
    return f"`{piece}`" if piece else "all of it"


def _actions(
    context: Context,
    statement: Statement,
    side: RightHandSide | None,
    index: int,
    match: Match,
    selected: Selected,
    progress: Progress,
) -> list[Action]:
    clause, rule = statement.clause, statement.clause.rule
    tensor = context.network.tensors[index]
    module = match.module if match.module != tensor.owners[0][0] else None
    whole = match.index is None and match.view is None
    if side is not None and not (whole and side.constant):
        assert isinstance(rule, Assign)
        return list(_pieces(context, statement, rule, side, index, match, selected, progress))
    key = (clause.number, tensor.shape, tensor.dtype, module)
    if whole and key in progress.actions:
        return progress.actions[key]
    operator: str = rule.kind
    if side is None:
        payload = _whole(context, statement, index, match, progress)
    else:
        assert isinstance(rule, Assign)
        site = Site(context, statement.setting.variables, match, index, tensor.shape, rule.source)
        payload, operator = payload_of(site, rule, side, tensor), rule.operator
    actions = []
    if payload is not None:
        actions.append(Action(clause, operator, payload, tensor.shape, clause.effect, module=module))
    if side is not None or isinstance(rule, Keep):  # what a `default` or a `copy` writes is of this tensor alone
        progress.actions[key] = actions
    return actions


def _pieces(
    context: Context,
    statement: Statement,
    rule: Assign,
    side: RightHandSide,
    index: int,
    match: Match,
    selected: Selected,
    progress: Progress,
) -> Iterator[Action]:
    """Yield what a rule writes to each piece of a tensor that a match means."""
    tensor, variables = context.network.tensors[index], statement.setting.variables
    module = match.module if match.module != tensor.owners[0][0] else None
    effect = _effect(context, statement.clause, match)
    whole_site = Site(context, variables, match, index, tensor.shape, rule.source)
    for piece in pieces_of(match, tensor.shape, Names(whole_site), progress.count):
        at_piece = Site(context, variables, match, index, piece.shape, rule.source, selected)
        payload = payload_of(at_piece, rule, side, tensor)
        if payload is not None:
            yield Action(
                statement.clause, rule.operator, payload, piece.shape, effect, piece.view, piece.items, module=module
            )


def _whole(context: Context, statement: Statement, index: int, match: Match, progress: Progress) -> Payload | None:
    """Return what a `keep`, `default` or `copy` does to a tensor; None where that is nothing. Raises EvalError for pieces."""
    rule = statement.clause.rule
    refuse_piece(match, f"`{rule.kind}` takes whole parameters, not slices")
    if isinstance(rule, Keep):
        return Kept()
    if isinstance(rule, Default):
        return Reset(match.module, known_default(context.network, match.module, context.network.tensors[index]))
    number = statement.clause.number
    if number not in progress.copies:
        progress.copies[number] = sides_of_copy(context, statement, progress.findings)
        progress.findings += not_copied(context, statement, progress.copies[number])
    source = source_of_copy(context, statement, match, progress.copies[number])
    # one of the targets may be the source: what it has is what its own rules give it
    return None if source == index else CopyFrom(source)


def _effect(context: Context, clause: Clause, match: Match) -> str:
    """Return what a clause does to one of its matches, in short: `[0] = 42`."""
    piece = match.view or match.index
    if piece is None or not isinstance(clause.rule, Assign):
        return clause.effect
    text = context.rules.text(clause.rule.source, piece.span)
    return f"as {text} {clause.effect}" if match.view is not None else f"{text} {clause.effect}"
