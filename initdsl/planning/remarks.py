"""What is likely not meant: rules that later ones replace everywhere, and draws over values that were loaded or are frozen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from initdsl.language.syntax.nodes import Assign, Call, Name, Predicate, Rule
from initdsl.language.syntax.walk import walk
from initdsl.network.parts import TensorInfo
from initdsl.text.diagnostic import Diagnostic, Label
from initdsl.text.wording import listed, shortened

from .actions import Action, Clause, CopyFrom, Kept, Reset
from .cascade import Decisions, Selection
from .context import Context
from .elements import cover
from .plan import PlanEntry
from .statements import Statement

__all__ = ["remarks_on"]


# the rules that replace another one are looked for on so many of its tensors
MOST_LOOKED_AT = 64


def remarks_on(
    context: Context, statements: Sequence[Statement], decisions: Decisions, entries: Sequence[PlanEntry]
) -> list[Diagnostic]:
    """Return what is likely not meant, as warnings."""
    return [
        *overruled_rules(context, statements, decisions),
        *buried_rules(context, decisions, entries),
        *draws_over_values(context, entries),
    ]


# ---- rules that do nothing


def overruled_rules(context: Context, statements: Sequence[Statement], decisions: Decisions) -> Iterator[Diagnostic]:
    """Yield the statements whose every tensor later ones set as a whole, but for what a `use` brings in to be replaced.

    A packaged recipe is for many models: which of its rules another one of it replaces is not its user's to mend.
    """
    if not decisions.overruled:
        return
    parameters = sum(tensor.kind != "buffer" for tensor in context.network.tensors)
    known: dict[int, Winners] = {}
    for number in sorted(decisions.overruled):
        clause, selection = statements[number].clause, decisions.overruled[number]
        if id(selection) not in known:  # many statements may select the same
            known[id(selection)] = _winners(statements, decisions, selection)
        winners, later = known[id(selection)]
        # a rule for all there is, of which several others say more in each part
        is_background = len(later) > 1 and len(selection.by_tensor) >= parameters
        if not later or _is_there_to_be_replaced(context, clause, later) or is_background:
            continue
        if _is_same_by_a_tie(context, clause, selection, winners):
            continue
        yield _overruled(context, clause, later, _is_edit(clause.rule, selection))


def _is_there_to_be_replaced(context: Context, clause: Clause, later: Sequence[Clause]) -> bool:
    """Tell whether a rule is of a recipe, or of a used file whose rules others replace."""
    first, source = next(iter(context.rules.rules), None), clause.rule.source
    if first is None or source == first.source:
        return False
    return source.startswith("initdsl:") or all(other.rule.source != source for other in later)


# what sets some tensors in the end, by their numbers, and the clauses of that in their order
Winners = tuple[dict[int, Action], list[Clause]]


def _winners(statements: Sequence[Statement], decisions: Decisions, selection: Selection) -> Winners:
    """Return what sets the first tensors of a selection in the end."""
    tensors = islice(selection.by_tensor, MOST_LOOKED_AT)
    winners = {index: decisions.bases[index] for index in tensors if index in decisions.bases}
    clauses = sorted({base.clause.number for base in winners.values()})
    return winners, [statements[other].clause for other in clauses]


def _is_same_by_a_tie(context: Context, clause: Clause, selection: Selection, winners: dict[int, Action]) -> bool:
    """Tell whether the rules that win say the same of a tied tensor by another of its names."""
    return all(
        _say_the_same(clause.rule, base.clause.rule)
        and base.module_in(context.network.tensors[index]) not in {m.module for m in selection.by_tensor[index]}
        for index, base in winners.items()
    )


def _say_the_same(one: Rule, other: Rule) -> bool:
    if not isinstance(one, Assign) or not isinstance(other, Assign):
        return False
    return (one.operator, one.value) == (other.operator, other.value)


def _is_edit(rule: Rule, selection: Selection) -> bool:
    if not isinstance(rule, Assign):
        return False
    if rule.operator not in ("=", "~"):
        return True
    looked_at = () if selection.plain else islice(selection.matches, MOST_LOOKED_AT)
    is_piece = any(match.index is not None or match.view is not None for match in looked_at)
    return is_piece or any(isinstance(node, Name) and node.name == "it" for node in walk(rule.value))


def _overruled(context: Context, clause: Clause, later: Sequence[Clause], is_edit: bool) -> Diagnostic:
    rule, last = clause.rule, later[-1].rule
    where = _line(context, rule, last)
    one = len(later) == 1
    rules = f"`{shortened(later[0].text)}` in {where}" if one else f"{len(later)} later rules, the last in {where},"
    if is_edit:
        name, message = "dead-edit", f"{rules} discard{'s' * one} this edit"
        hint, text = "edits stand below the rule they change", "this sets the whole tensor"
    else:
        name, message = "shadowed-rule", f"{rules} set{'s' * one} everything this rule does"
        hint, text = "if it is the exception, move it below the other; else delete it", "this one wins"
    labels = (Label(context.rules.source(last.source), last.span, text),)
    return Diagnostic(name, message, context.rules.source(rule.source), rule.span, hint, "warning", labels)


def buried_rules(context: Context, decisions: Decisions, entries: Sequence[PlanEntry]) -> Iterator[Diagnostic]:
    """Yield the statements of which pieces that are set further down leave nothing, in any tensor."""
    is_all_known = not decisions.undecided and not decisions.blind
    if not is_all_known or not any(entry.edits for entry in entries):
        return
    alive: set[int] = set()  # clauses, by their numbers
    buried: dict[int, tuple[Action, dict[int, Clause]]] = {}
    known: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}  # actions are shared by tensors that are alike
    for entry in entries:
        actions = entry.actions
        key = (tuple(map(id, actions)), entry.shape)
        if key not in known:
            known[key] = _first_that_counts(entry) if entry.edits else 0
        start = known[key]
        counts = {action.clause.number: action.clause for action in actions[start:]}
        alive.update(counts)
        for action in actions[:start]:
            buried.setdefault(action.clause.number, (action, {}))[1].update(counts)
    for number in sorted(buried.keys() - alive):
        action, others = buried[number]
        later = [others[other] for other in sorted(others)]
        if not _is_there_to_be_replaced(context, action.clause, later):
            is_edit = action.index is not None or action.builds_on_values
            yield _overruled(context, action.clause, later, is_edit)


def _first_that_counts(entry: PlanEntry) -> int:
    """Return the place of the first action of a tensor behind which others don't write all of it anew."""
    actions = entry.actions
    start = len(actions)
    while start and not (actions[start - 1].builds_on_values or entry.tensor.index in actions[start - 1].reads):
        start -= 1
    starts = [i for i in range(start, len(actions)) if i == 0 or actions[i].clause is not actions[i - 1].clause]
    first, last = 0, len(starts)  # the more there are, the more they write
    while first < last:
        middle = (first + last) // 2
        if cover(actions[starts[middle] :], entry.shape):
            first = middle + 1
        else:
            last = middle
    return starts[first - 1] if first else 0


def _line(context: Context, rule: Rule, other: Rule) -> str:
    source = context.rules.source(other.source)
    line = f"line {source.position(other.span.start).line}"
    return line if other.source == rule.source else f"{line} of `{source.name}`"


# ---- values that are there already


def draws_over_values(context: Context, entries: Iterable[PlanEntry]) -> Iterator[Diagnostic]:
    """Yield the clauses that draw over values which were loaded, or over parameters that are frozen, with their count.

    A rule that asks for `requires_grad` means the frozen ones.
    """
    loaded: dict[Clause, list[str]] = {}
    frozen: dict[Clause, list[str]] = {}
    for entry in entries:
        is_loaded, is_frozen = _was_there(context, entry.tensor)
        if not is_loaded and not is_frozen:
            continue
        for action in entry.actions:
            if isinstance(action.payload, Kept | CopyFrom) or _loads(action.clause.rule):
                continue
            if is_loaded:
                loaded.setdefault(action.clause, []).append(entry.label)
            elif action.operator == "~" or isinstance(action.payload, Reset):
                frozen.setdefault(action.clause, []).append(entry.label)
            break
    for clause, labels in loaded.items():
        hint = "`keep` below this rule leaves them, `not in` leaves them out of it"
        yield _over(context, clause, "redrawn-load", f"that {_were(labels)} loaded: {listed(labels, 3)}", labels, hint)
    for clause, labels in frozen.items():
        if _asks_for_frozen(clause):
            continue
        hint = "`(requires_grad)` behind the name takes the others alone, `(!requires_grad)` says that these are meant"
        frozen_text = f"that {'is' if len(labels) == 1 else 'are'} frozen: {listed(labels, 3)}"
        yield _over(context, clause, "frozen-parameter", frozen_text, labels, hint)


def _was_there(context: Context, tensor: TensorInfo) -> tuple[bool, bool]:
    """Return whether a parameter was loaded, and whether it is frozen; of a computed weight all that it is computed from."""
    if tensor.kind == "parameter":
        return tensor.loaded, not tensor.requires_grad
    if tensor.kind == "buffer":
        return False, False
    network = context.network
    behind = [network.tensors[index] for index in network.originals(tensor)]
    parameters = [one for one in behind if one.kind == "parameter"]
    if not parameters:
        return False, False
    return all(one.loaded for one in parameters), not any(one.requires_grad for one in parameters)


def _loads(rule: Rule) -> bool:
    return isinstance(rule, Assign) and any(isinstance(n, Call) and n.function == "load" for n in walk(rule.value))


def _were(labels: Sequence[str]) -> str:
    return "was" if len(labels) == 1 else "were"


def _asks_for_frozen(clause: Clause) -> bool:
    nodes = walk(clause.targets) if clause.targets is not None else ()
    return any(isinstance(node, Predicate) and node.attribute == "requires_grad" for node in nodes)


def _over(context: Context, clause: Clause, name: str, which: str, labels: Sequence[str], hint: str) -> Diagnostic:
    count = f"{len(labels)} parameter{'s' * (len(labels) != 1)}"
    rule = clause.rule
    span = rule.span if clause.targets is None else clause.targets.span
    message = f"this draws over {count} {which}"
    return Diagnostic(name, message, context.rules.source(rule.source), span, hint, "warning")
