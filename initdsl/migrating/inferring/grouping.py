"""Sampled tensors to few rules: by class, then by place, then one by one; checked against the model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from initdsl.network.description import Network
from initdsl.network.parts import child_label
from initdsl.planning.make import make_plan

from .fit import common_scale, fit, numbers_of_several
from .places import anchor, class_selector, indexed, template
from .sampling import Sampled
from .tensor import Fit, Tensor

__all__ = ["Rule", "repaired", "rules_of", "ties_of", "with_siblings"]


# rounds in which tensors that other rules start get rules of their own
MOST_REPAIRS = 3


@dataclass(frozen=True, eq=False)
class Rule:
    """What starts some tensors: `Rule("Linear.weight", Fit("~", "normal(0, 0.02)"), (tensor, tensor))`.

    Without a fit they are left as their constructor makes them.
    """

    selector: str
    fit: Fit | None
    tensors: tuple[Tensor, ...]

    @property
    def right(self) -> tuple[object, ...] | None:
        """What follows the selector: rules that have it in common can be one."""
        return None if self.fit is None else (self.fit.view, self.fit.operator, self.fit.text, self.fit.after)

    @property
    def needs_layer(self) -> bool:
        """Whether the right-hand side speaks of `i`, the layer."""
        return self.fit is not None and self.fit.needs_layer

    def statements(self) -> list[str]:
        """Return the statements, that for the whole tensor first."""
        if self.fit is None:
            return [f"keep {self.selector}"]
        if self.fit.operator == "default":
            first = f"default {self.selector}"
        else:
            first = f"{self.selector}{self.fit.view} {self.fit.operator} {self.fit.text}"
        return [first, *(f"{self.selector}{statement}" for statement in self.fit.after)]


def with_siblings(network: Network, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the tensors with the plain numbers that scales of several places in the model come to."""
    places: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        if tensor.sampled.kind == "drawn" and tensor.sampled.moments is not None and not tensor.sampled.parts:
            places.setdefault(template(network, tensor.sampled), []).append(tensor)
    measured = [scale for members in places.values() if (scale := common_scale(members)) is not None]
    siblings = tuple(numbers_of_several(measured))
    return [replace(tensor, siblings=siblings) for tensor in tensors]


def rules_of(network: Network, tensors: Sequence[Tensor]) -> list[Rule]:
    """Return rules that start every tensor, those by class first where they can be told from one another."""
    groups: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(class_selector(tensor.sampled) or tensor.sampled.label, []).append(tensor)
    # the last rule wins: a tied tensor is for the class it is registered in first
    by_ties = sorted(groups.items(), key=lambda group: any(len(t.sampled.tensor.owners) > 1 for t in group[1]))
    return [rule for selector, members in by_ties for rule in _split(network, selector, members, 0)]


def _split(network: Network, selector: str, members: list[Tensor], level: int) -> list[Rule]:
    """Return one rule for all, or a rule for most and others, after it, for the rest."""
    whole = _fitted(selector, members)
    if whole is not None:
        return [whole]
    if level == 3:
        return [Rule(selector, None, tuple(members))]
    parts: dict[str, list[Tensor]] = {}
    for tensor in members:
        parts.setdefault(_key(network, tensor.sampled, level), []).append(tensor)
    if len(parts) == 1:
        ((key, _),) = parts.items()
        return _split(network, key if level else selector, members, level + 1)
    rules = [rule for key, part in parts.items() for rule in _split(network, key, part, level + 1)]
    return _with_common(selector, rules)


def _with_common(selector: str, rules: list[Rule]) -> list[Rule]:
    """Return rules of parts with the right-hand side that most tensors share as one rule for all, before the others."""
    shares: dict[object, int] = {}
    for rule in rules:
        if rule.fit is not None and not rule.needs_layer:
            shares[rule.right] = shares.get(rule.right, 0) + len(rule.tensors)
    most = max(shares, key=shares.__getitem__, default=None)
    if most is None or (shares[most] == 1 and len(rules) > 1):
        return rules
    common = [rule for rule in rules if rule.right == most and not rule.needs_layer]
    others = [rule for rule in rules if rule.right != most or rule.needs_layer]
    largest = max(common, key=lambda rule: rule.fit.count if rule.fit else 0)
    merged = Rule(selector, largest.fit, tuple(tensor for rule in common for tensor in rule.tensors))
    return [merged, *others]


def _key(network: Network, one: Sampled, level: int) -> str:
    """Return how a tensor is named at a level: from the module above it, in all layers, or alone."""
    if level == 0:
        start, path = anchor(network, one)
        return template(network, one) if start == "net" else path
    return template(network, one) if level == 1 else one.label


def _fitted(selector: str, members: list[Tensor]) -> Rule | None:
    """Return one rule for all members; None where none is right for all, or where their layers are not of one list."""
    right = fit(members)
    if right is None or not right.needs_layer:
        return None if right is None else Rule(selector, right, tuple(members))
    stacks = {t.layer_list for t in members}
    paths = {indexed(t.sampled, str(t.layer_list)) for t in members}
    if len(stacks) != 1 or len(paths) != 1:
        return None
    return Rule(paths.pop(), right, tuple(members))


def ties_of(network: Network, sampled: Sequence[Sampled]) -> list[str]:
    """Return `tie` statements for tensors with several owners."""
    owners = [list(dict.fromkeys(one.tensor.owners)) for one in sampled]
    labels = [[child_label(network.modules[owner], local) for owner, local in places] for places in owners]
    return [f"tie {' '.join(names)}" for names in labels if len(names) > 1]


# ---- against the network


def repaired(net: nn.Module, ties: list[str], rules: list[Rule], tensors: Sequence[Tensor]) -> list[Rule]:
    """Return the rules, and more by path for tensors that other rules than their own would start."""
    for _ in range(MOST_REPAIRS):
        winners = _winners(net, ties, rules)
        own = {id(tensor): rule for rule in rules for tensor in rule.tensors}
        wrong = [tensor for tensor in tensors if not _starts(own[id(tensor)], winners, tensor)]
        if not wrong:
            return rules
        moved = set(map(id, wrong))
        kept = [replace(rule, tensors=tuple(t for t in rule.tensors if id(t) not in moved)) for rule in rules]
        alone = [Rule(tensor.sampled.label, _alone(own[id(tensor)], tensor), (tensor,)) for tensor in wrong]
        rules = [rule for rule in (*kept, *alone) if rule.tensors]
    return rules


def _starts(rule: Rule, winners: dict[str, list[Rule]], tensor: Tensor) -> bool:
    """Return whether the rules that have a say in a tensor say what its own does."""
    having_a_say = winners.get(tensor.sampled.tensor.name, [])
    return [one.right for one in having_a_say] == [rule.right] or (rule.fit is None and not having_a_say)


def _alone(rule: Rule, tensor: Tensor) -> Fit | None:
    return fit([tensor]) if rule.needs_layer else rule.fit


def _winners(net: nn.Module, ties: list[str], rules: list[Rule]) -> dict[str, list[Rule]]:
    """Return the rules that have a say in each tensor, by its names."""
    lines: list[str] = list(ties)
    rule_of: dict[int, int] = {}
    for number, rule in enumerate(rules):
        for statement in rule.statements():
            lines.append(statement)
            rule_of[len(lines)] = number
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        entries = make_plan(net, "\n".join(lines))[0].entries
    winners = {}
    for entry in entries:
        numbers = [int(location.rpartition(":")[2]) for _, location in entry.statements]
        having_a_say = dict.fromkeys(rule_of[number] for number in numbers if number in rule_of)
        for name in entry.names:
            winners[name] = [rules[number] for number in having_a_say]
    return winners
