"""The actions of a statement: what it writes to one tensor."""

from __future__ import annotations

from dataclasses import dataclass, field

from initdsl.language.expressions.shapes import EvalError
from initdsl.language.syntax.nodes import Assign, Default, Keep
from initdsl.network.selectors.matches import Match
from initdsl.text.diagnostic import Diagnostic

from .actions import Action, Clause, CopyFrom, Kept, Payload, Reset
from .context import Context, refuse_piece
from .copies import CopySides, sides_of_copy, source_of_copy
from .elements import elements_key, overlapping
from .lookups import Site
from .names import Names
from .payloads import payload_of
from .pieces import PieceCount, pieces_of
from .right_hand_side import RightHandSide
from .statements import Statement

__all__ = ["Progress", "actions_of"]


@dataclass
class Progress:
    """What adds up while actions are made: findings, the pieces of `[*]`, and the payloads of constant right-hand sides.

    The payloads are by the number of the clause, and shape and dtype of the tensor: they are the same for all that share those.
    """

    findings: list[Diagnostic]
    count: PieceCount = field(default_factory=PieceCount)
    payloads: dict[tuple[int, tuple[int, ...], str], Payload | None] = field(default_factory=dict)
    copies: dict[int, CopySides] = field(default_factory=dict)  # by the number of the clause


def actions_of(
    context: Context,
    statement: Statement,
    side: RightHandSide | None,
    index: int,
    matches: list[Match],
    progress: Progress,
) -> list[Action]:
    """Return what a statement writes to the tensor `index`, by the matches that lead to it.

    Raises EvalError for what can't be right.
    """
    if len(matches) == 1:
        return _actions(context, statement, side, index, matches[0], progress)
    # selected by several names, or members of a union: once, as the last of them says
    shape = context.network.tensors[index].shape
    written = [a for match in matches for a in _actions(context, statement, side, index, match, progress)]
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
    one, other = (_piece_text(context, action) for action in pair)
    rule = actions[0].clause.rule
    assert isinstance(rule, Assign)
    message = f"of `{context.network.label(tensor)}`, {one} and {other} have elements in common, which this edits once"
    raise EvalError(message, rule.targets.span, "for those to be edited twice, write two statements", "bad-index")


def _piece_text(context: Context, action: Action) -> str:
    """Return which piece an action writes, as written: `[0:2]`."""
    piece = action.match.view or action.match.index
    return "all of it" if piece is None else f"`{context.rules.text(action.clause.rule.source, piece.span)}`"


def _actions(
    context: Context,
    statement: Statement,
    side: RightHandSide | None,
    index: int,
    match: Match,
    progress: Progress,
) -> list[Action]:
    clause, rule, setting = statement.clause, statement.clause.rule, statement.setting
    tensor = context.network.tensors[index]
    effect = _effect(context, clause, match)
    plain = match._replace(frame=None) if match.frame is not None else match
    if not isinstance(rule, Assign):
        whole = _whole(context, statement, index, match, progress)
        return [] if whole is None else [Action(clause, rule.kind, whole, plain, tensor.shape, effect)]
    assert side is not None
    if match.index is None and match.view is None and side.constant:
        key = (clause.number, tensor.shape, tensor.dtype)
        if key not in progress.payloads:
            site = Site(context, setting.variables, match, index, tensor.shape, rule.source)
            progress.payloads[key] = payload_of(site, rule, side, tensor)
        payload = progress.payloads[key]
        return [] if payload is None else [Action(clause, rule.operator, payload, plain, tensor.shape, effect)]
    actions = []
    whole_site = Site(context, setting.variables, match, index, tensor.shape, rule.source)
    for piece in pieces_of(match, tensor.shape, Names(whole_site), progress.count):
        at_piece = Site(context, setting.variables, match, index, piece.shape, rule.source)
        payload = payload_of(at_piece, rule, side, tensor)
        if payload is not None:
            actions.append(Action(clause, rule.operator, payload, plain, piece.shape, effect, piece.view, piece.items))
    return actions


def _whole(context: Context, statement: Statement, index: int, match: Match, progress: Progress) -> Payload | None:
    """Return what a `keep`, `default` or `copy` does to a tensor; None where that is nothing. Raises EvalError for pieces."""
    rule = statement.clause.rule
    refuse_piece(match, f"`{rule.kind}` takes whole parameters, not slices")
    if isinstance(rule, Keep):
        return Kept()
    if isinstance(rule, Default):
        return Reset(match.module)
    number = statement.clause.number
    if number not in progress.copies:
        progress.copies[number] = sides_of_copy(context, statement, progress.findings)
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
