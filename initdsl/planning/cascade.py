"""The cascade: which statements set a tensor, and which edit it on top.

It runs backwards: a tensor's last whole-tensor rule is met first, and what stands before it has no say any more, so that
many rules over many tensors cost little more than the rules that win.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from initdsl.language.expressions.shapes import EvalError
from initdsl.language.syntax.nodes import Assign, Call, Copy, Default, Expr, Keep, Path, Tie
from initdsl.network.parts import ModuleInfo
from initdsl.network.selectors.matches import Match
from initdsl.network.selectors.select import match_key
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.wording import listed

from .actions import Action, Expression
from .context import Context, finding_of
from .load_hints import nothing_loaded
from .lookups import Loaded
from .right_hand_side import RightHandSide, right_hand_side
from .selecting import (
    OwnTensors,
    nothing_to_do,
    resettable_of,
    select_or_report,
    state_of,
    stored_of,
    tensors_in,
    without_tensors,
)
from .statements import Statement
from .writable import check_writable
from .writes import Progress, actions_of

__all__ = ["Decisions", "Selection", "cascade", "selection_of"]


# clauses whose values depend on more than shape and dtype are checked on every tensor, up to so many
MOST_CHECKED = 4096


@dataclass(frozen=True)
class Selection:
    """What a clause selects: `Selection([Match(3, tensor=5)], {5: [Match(3, tensor=5)]}, {5: 5}, True)`.

    `by_tensor` has the matches by the number of the tensor, the one that a tie makes it; `alike` has for each of them the
    first one of the same shape, dtype and so on. `plain`: all are whole tensors, and no index is bound. `key` is what it is
    kept by for statements that select the same, None where it is not.
    """

    matches: list[Match]
    by_tensor: Mapping[int, list[Match]]
    alike: Mapping[int, int]
    plain: bool
    key: Hashable | None = None

    @cached_property
    def samples(self) -> list[int]:
        """One tensor of every kind, by their numbers."""
        return list(dict.fromkeys(self.alike.values()))


@dataclass
class Selections:
    """What was selected before, by selector and by whether modules stand for the parameters below them.

    What `has_something` selects no module without tensors by any of its parts. `alive` are those of its tensors that no
    later rule sets as a whole, when they were last asked for.
    """

    by_key: dict[Hashable, Selection] = field(default_factory=dict)
    has_something: set[Hashable] = field(default_factory=set)
    alive: dict[Hashable, list[int]] = field(default_factory=dict)


@dataclass
class Decisions:
    """What the cascade decides, filled in from the last statement to the first.

    `remaining` are the tensors that no statement sets as a whole yet; `edits` have the last one first. `hits` and
    `selected` count tensors by clause: those it has a say in, and those it selects; `calls` has the initializer that is
    all of its right-hand side; `loaded` has, by clause and tensor, what its `load`s made of that; `overruled` what it
    selects where later statements set all of that. What statements with errors were to do is not known: `undecided` are
    the tensors they select, `blind` says that of some even that is not known.
    """

    remaining: set[int]
    bases: dict[int, Action] = field(default_factory=dict)
    edits: dict[int, list[Action]] = field(default_factory=dict)
    hits: dict[int, int] = field(default_factory=dict)
    selected: dict[int, int] = field(default_factory=dict)
    calls: dict[int, Call] = field(default_factory=dict)
    overruled: dict[int, Selection] = field(default_factory=dict)
    undecided: set[int] = field(default_factory=set)
    blind: bool = False
    loaded: dict[int, dict[int, list[Loaded]]] = field(default_factory=dict)


def cascade(context: Context, statements: Sequence[Statement], findings: list[Diagnostic]) -> Decisions:
    """Return for every tensor the statements that decide it; what can't be right of any statement is a finding."""
    tied_to = context.tied_to
    joined = {index for index, first in tied_to.items() if index != first}
    decisions = Decisions(set(range(len(context.network.tensors))) - joined)
    decisions.blind = _has_errors(findings)
    selections = Selections()
    progress = Progress(findings, loaded=decisions.loaded)
    for statement in reversed(statements):
        if isinstance(statement.clause.rule, Tie):
            continue
        before = len(findings)
        try:
            _decide(context, statement, selections, decisions, progress)
        except EvalError as error:
            findings.append(finding_of(context, error, statement.setting.source))
        if len(findings) > before and _has_errors(findings[before:]):
            _leave_undecided(context, statement, selections, decisions)
    return decisions


def _has_errors(findings: Sequence[Diagnostic]) -> bool:
    return any(finding.severity == "error" for finding in findings)


def _leave_undecided(context: Context, statement: Statement, selections: Selections, decisions: Decisions) -> None:
    """Note what a statement with an error may have been about: of that nothing is found, as its rule is not known."""
    again: list[Diagnostic] = []  # what is found is found already
    try:
        selection = selection_of(context, statement, again, selections)
    except EvalError:
        selection = None
    if selection is None or _has_errors(again):
        decisions.blind = True
    if selection is not None:
        decisions.undecided.update(decisions.remaining.intersection(selection.by_tensor))


def _decide(
    context: Context, statement: Statement, selections: Selections, decisions: Decisions, progress: Progress
) -> None:
    """Decide what one statement sets or edits. Raises EvalError for what can't be right, and keeps what came before."""
    clause, rule = statement.clause, statement.clause.rule
    selection = selection_of(context, statement, progress.findings, selections)
    if selection is not None:
        decisions.selected[clause.number] = len(selection.by_tensor)
    side = None
    if isinstance(rule, Assign):
        side = right_hand_side(context, rule, statement.setting.variables)
        if side.call is not None:
            decisions.calls[clause.number] = side.call
    if selection is None:
        return
    checked = _check(context, statement, side, selection, progress)
    alive = _alive(selection, selections, decisions.remaining)
    if selection.by_tensor and not alive:
        decisions.overruled[clause.number] = selection
    if selection.plain and (isinstance(rule, Keep) if side is None else side.constant):
        decisions.hits[clause.number] = len(alive)
        _take_alike(context, statement, side, selection, alive, decisions, progress)
        return
    hits = 0
    for index in alive:
        actions = checked.get(index)
        if actions is None:
            actions = actions_of(context, statement, side, index, selection.by_tensor, progress)
        hits += bool(actions)
        _take(decisions, index, actions)
    decisions.hits[clause.number] = hits
    if alive and not hits and side is not None and side.call is not None and side.call.function == "load":
        assert isinstance(rule, Assign)
        left = [outcomes[-1] for outcomes in decisions.loaded.get(clause.number, {}).values()]
        raise nothing_loaded(context, side.call, rule.value.span, selection.by_tensor, left)


def _take(decisions: Decisions, index: int, actions: list[Action]) -> None:
    """Note the actions of one statement on a tensor, up to one that sets the whole of it."""
    for action in reversed(actions):
        if index in decisions.remaining and _is_base(action):
            decisions.bases[index] = action
            decisions.remaining.discard(index)
            return
        decisions.edits.setdefault(index, []).append(action)


def _take_alike(
    context: Context,
    statement: Statement,
    side: RightHandSide | None,
    selection: Selection,
    alive: list[int],
    decisions: Decisions,
    progress: Progress,
) -> None:
    """Note the actions of a statement on tensors that all get the same if they are alike."""
    actions: dict[int, Action] = {}
    for sample in {selection.alike[index] for index in alive}:
        (actions[sample],) = actions_of(context, statement, side, sample, selection.by_tensor, progress)
    taken = {index: actions[selection.alike[index]] for index in alive}
    if all(map(_is_base, actions.values())):
        decisions.bases.update(taken)
        decisions.remaining.difference_update(taken)
        return
    for index, action in taken.items():
        decisions.edits.setdefault(index, []).append(action)


def _is_base(action: Action) -> bool:
    """Return whether nothing of what a tensor held is left after an action."""
    if action.index is not None or action.view is not None:
        return False
    if not isinstance(action.clause.rule, Assign):
        return True
    is_set = action.operator in ("=", "~")
    return is_set and not (isinstance(action.payload, Expression) and action.payload.reads_itself)


def _check(
    context: Context, statement: Statement, side: RightHandSide | None, selection: Selection, progress: Progress
) -> dict[int, list[Action]]:
    """Raise EvalError where a clause can't be right for a kind of tensor it selects, whether it wins or not.

    Return its actions on the tensors for which they were made to see that.
    """
    is_constant = side is not None and side.constant
    for index in selection.samples:
        check_writable(context, statement.clause, context.network.tensors[index])
        if is_constant and selection.plain:
            actions_of(context, statement, side, index, selection.by_tensor, progress)
    few = len(selection.by_tensor) <= MOST_CHECKED
    if not selection.plain or (side is not None and not is_constant and few):
        tensors = selection.by_tensor
        return {index: actions_of(context, statement, side, index, tensors, progress) for index in tensors}
    return {}


# ---- selections


def selection_of(
    context: Context, statement: Statement, findings: list[Diagnostic], selections: Selections
) -> Selection | None:
    """Return what a statement selects; None where that can't be said, which is a finding."""
    clause, setting = statement.clause, statement.setting
    assert clause.targets is not None
    matches = select_or_report(context, setting, clause.targets, findings)
    if matches is None:
        return None
    own = _own(clause.rule)
    key = _key(context, statement)
    if own is not None and (key is None or key not in selections.has_something):
        nothing = list(_nothing_to_do(context, statement, own))
        findings += nothing
        if not nothing:
            selections.has_something.add(key)
    if key in selections.by_key:
        return selections.by_key[key]
    if own is None:
        tensors = [match for match in matches if match.tensor is not None]
        if matches and not tensors:
            findings.append(_needs_parameter(context, statement, matches[0]))
            return None
    else:
        tensors = list(tensors_in(context, statement.setting, matches, clause.targets.span, own))
        if isinstance(clause.rule, Default):
            tensors = _without_originals(context, tensors)
    selection = _selection(context, matches, tensors, key)
    if key is not None:
        selections.by_key[key] = selection
    return selection


def _key(context: Context, statement: Statement) -> Hashable | None:
    """Return what is equal for statements that select the same; None where that depends on where they stand."""
    targets, setting = statement.clause.targets, statement.setting
    assert targets is not None
    key = match_key(targets, False, setting.reads) if setting.frame is None else None
    rule = statement.clause.rule
    return None if key is None else (key, _own(rule), type(rule) if isinstance(rule, Keep | Default) else None)


def _without_originals(context: Context, matches: list[Match]) -> list[Match]:
    """Return matches without the parameters from which a tensor among them is computed: its default gives those theirs."""
    tensors = context.network.tensors
    computed = [
        t for match in matches if match.tensor is not None and (t := tensors[match.tensor]).kind == "parametrized"
    ]
    behind = {original for tensor in computed for original in context.network.originals(tensor)}
    return [match for match in matches if match.tensor not in behind] if behind else matches


def _selection(context: Context, matches: list[Match], tensors: list[Match], key: Hashable | None) -> Selection:
    tied_to, infos = context.tied_to, context.network.tensors
    by_tensor: dict[int, list[Match]] = {}
    plain = True
    for match in tensors:
        _, tensor, bindings, _, _, piece, view = match
        assert tensor is not None
        index = tied_to.get(tensor, tensor) if tied_to else tensor
        if index in by_tensor:
            by_tensor[index].append(match)
        else:
            by_tensor[index] = [match]
        if piece is not None or view is not None or bindings:
            plain = False
    alike: dict[int, int] = {}
    samples: dict[Hashable, int] = {}
    for index, found in by_tensor.items():
        # in one go: asked by name, the fields of so many tensors take longer than all else here
        _, _, shape, dtype, kind, _, device, problem, _, _, owners, _ = infos[index]
        module = found[-1][0]
        elsewhere = module if module != owners[0][0] else None
        alike[index] = samples.setdefault((shape, dtype, kind, problem, device, elsewhere), index)
    return Selection(matches, by_tensor, alike, plain, key)


def _alive(selection: Selection, selections: Selections, remaining: set[int]) -> list[int]:
    """Return the tensors that no later rule sets as a whole; asked again, only of those that were left the last time."""
    key = selection.key
    before = selection.by_tensor if key is None else selections.alive.get(key, selection.by_tensor)
    alive = [tensor for tensor in before if tensor in remaining]
    if key is not None:
        selections.alive[key] = alive
    return alive


def _own(rule: object) -> OwnTensors | None:
    """Return which tensors of a module a statement means that selects it; None where it takes tensors alone."""
    if isinstance(rule, Copy):
        return stored_of
    if isinstance(rule, Default):
        return resettable_of
    return state_of if not isinstance(rule, Assign) or _is_load(rule.value) else None


def _is_load(value: Expr) -> bool:
    return isinstance(value, Call) and value.function == "load"


def _nothing_to_do(context: Context, statement: Statement, own: OwnTensors) -> Iterator[Diagnostic]:
    """Yield an error for each part of a statement's selector that selects modules without what it could act on."""
    assert statement.clause.targets is not None
    rule = statement.clause.rule
    for part, match in without_tensors(context, statement.setting, statement.clause.targets, own):
        yield nothing_to_do(context, rule.source, part, match, "load" if isinstance(rule, Assign) else rule.kind)


def _needs_parameter(context: Context, statement: Statement, match: Match) -> Diagnostic:
    rule = statement.clause.rule
    assert isinstance(rule, Assign)
    module = context.network.modules[match.module]
    base = context.rules.text(rule.source, rule.targets.span) if isinstance(rule.targets, Path) else module.label
    return Diagnostic(
        "needs-parameter",
        f"`{module.label}` is a module, and `{rule.operator}` needs parameters",
        context.rules.source(rule.source),
        rule.targets.span,
        _parameters_of(context, module, base),
    )


def _parameters_of(context: Context, module: ModuleInfo, base: str) -> str:
    """Return the hint which selector takes the parameters of a module, or its buffers where it has none."""
    if module.parameters:
        return f"did you mean `{base}.*`?"
    if any(context.network.modules[index].parameters for index in context.network.reachable(module.index)):
        return f"did you mean `{base.removesuffix('.**')}.**`?"
    if module.buffers:
        return f"it has no parameters; its buffers are {listed([f'{base}.{name}' for name in module.buffers])}"
    return "it has no parameters"
