"""Entries put together from what the cascade decided, and the findings that show once they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from initdsl.network.description import Network
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.wording import listed

from .actions import Reset
from .cascade import Decisions
from .context import Context
from .drawing import with_streams
from .load_notes import load_notes
from .notes import doubtful_fans, subclasses_left_out
from .order import Circle, circular_read, read_after_sample, write_order
from .plan import PlanEntry, distinct_actions, tensors_by_first
from .resets import Resets, planned_resets, without_default
from .statements import Statement

__all__ = ["Draft", "assemble", "uncovered"]


@dataclass(frozen=True)
class Draft:
    """The parts of a plan that say what is done, and when: see `Plan`."""

    entries: tuple[PlanEntry, ...]
    order: tuple[PlanEntry, ...]
    resets: Resets


def assemble(
    context: Context, statements: Sequence[Statement], decisions: Decisions, findings: list[Diagnostic]
) -> Draft:
    """Return the entries of a plan in the order of `named_parameters()`, the order of the writes, and the resets.

    What statements with errors may be about is left out: whoever looks at the rest finds nothing that these would mend.
    """
    entries = _listed(context.network, _entries(context, decisions))
    if decisions.undecided or decisions.blind:
        entries = _decided(context.network, entries, decisions)
    actions = distinct_actions(entries)
    resets: Resets = ()
    if any(isinstance(action.payload, Reset) for action in actions):
        findings += without_default(context, entries)
        resets = planned_resets(context, statements, entries)
    order = write_order(context.network, context.tied_to, entries)
    if isinstance(order, Circle):
        findings.append(circular_read(context, order))
        order = order.ordered
    if any(action.adjusts for action in actions):
        findings += read_after_sample(context, order)
    findings += doubtful_fans(context, entries, decisions.calls)
    findings += subclasses_left_out(context, statements, entries)
    findings += load_notes(context, statements, decisions.loaded)
    return Draft(tuple(entries), tuple(order), resets)


# ---- entries


# makes a NamedTuple of all its fields, in half the time of its own constructor
_new = tuple.__new__


def _entries(context: Context, decisions: Decisions) -> list[PlanEntry]:
    """Return an entry of every parameter, and of the buffers that rules write to."""
    network, tied_to = context.network, context.tied_to
    joined, is_tree = tensors_by_first(tied_to), network.is_tree
    bases, edits = decisions.bases, decisions.edits
    entries: list[PlanEntry] = []
    seen: set[int] = set()
    for each in network.tensors:
        tensor = network.tensors[tied_to[each.index]] if each.index in tied_to else each
        index = tensor.index
        if index in seen:
            continue
        if joined:
            seen.add(index)
        base, on_top = bases.get(index), tuple(edits[index][::-1]) if index in edits else ()
        if tensor.kind == "buffer" and base is None and not on_top:
            continue
        if on_top:  # what draws as a whole alone has the first stream
            numbered = with_streams(tensor, on_top if base is None else (base, *on_top))
            base, on_top = (None, tuple(numbered)) if base is None else (numbered[0], tuple(numbered[1:]))
        aliases, label = (tensor.name,) if is_tree else network.aliases(tensor), tensor.label
        if index in joined:
            # of the tensors a tie makes this one, the one `named_parameters()` meets first once they are tied
            members = [network.tensors[i] for i in sorted([index, *joined[index]])]
            aliases = tuple(dict.fromkeys(name for member in members for name in network.names(member)))
            label = members[0].label
        entries.append(_new(PlanEntry, (tensor, aliases, label, base, on_top, "")))
    return entries


def _decided(network: Network, entries: list[PlanEntry], decisions: Decisions) -> list[PlanEntry]:
    """Return the entries that no statement with an error can be about."""
    unset = ("uncovered", "partial") if decisions.blind else ()
    computed = [network.tensors[t] for t in decisions.undecided if network.tensors[t].kind == "parametrized"]
    undecided = decisions.undecided.union(*(network.originals(tensor) for tensor in computed))
    return [e for e in entries if e.tensor.index not in undecided and e.status not in unset]


def _listed(network: Network, entries: list[PlanEntry]) -> list[PlanEntry]:
    """Return the entries without those of a computed tensor, or of what it is computed from, that no rule names."""
    behind = network.computed
    if not behind:
        return entries
    written = {e.tensor.index for e in entries if e.actions}
    computed = {e.tensor.index for e in entries if e.tensor.kind == "parametrized"} & written

    def is_listed(entry: PlanEntry) -> bool:
        index = entry.tensor.index
        if index in written:
            return True
        return entry.tensor.kind != "parametrized" and behind.get(index) not in computed

    return [entry for entry in entries if is_listed(entry)]


def uncovered(entries: Iterable[PlanEntry]) -> Iterator[Diagnostic]:
    """Yield parameters that no rule sets, or not the whole of."""
    for status, reach in (("uncovered", "no rule reaches"), ("partial", "only parts are set of")):
        labels = [e.label for e in entries if e.status == status and e.tensor.kind != "buffer"]
        if labels:
            count = f"{len(labels)} parameter{'s' * (len(labels) > 1)}"
            message = f"{reach} {count}: {listed(labels, 12)}"
            hint = "`keep` leaves a parameter as it is, and says so"
            yield Diagnostic("uncovered-parameter", message, hint=hint)
