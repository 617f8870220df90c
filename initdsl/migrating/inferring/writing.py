"""Sampled tensors to few rules: by class, then by place, then one by one; and the rules checked against the network."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from initdsl.formatter.layout import format as laid_out
from initdsl.network.description import Live, ModuleInfo, Network, child_label
from initdsl.text.wording import quoted

from .fit import fit
from .sampling import Sampled, sample
from .tensor import Fit, Tensor

__all__ = ["Inferred", "infer"]


@dataclass
class _Rule:
    """A selector (a class or a path, and the parameter) with what was found for the tensors it is about."""

    selector: str
    fit: Fit | None  # None: left as its constructor makes it
    tensors: list[Tensor]

    def statements(self) -> list[str]:
        if self.fit is None:
            return [f"keep {self.selector}"]
        if self.fit.operator == "default":
            first = f"default {self.selector}"
        else:
            first = f"{self.selector}{self.fit.view} {self.fit.operator} {self.fit.text}"
        return [first, *(f"{self.selector}{slice}" for slice in self.fit.after)]

    @property
    def same(self) -> Any:
        return None if self.fit is None else (self.fit.view, self.fit.operator, self.fit.text, self.fit.after)

    def comment(self) -> str:
        count = len(self.tensors)
        elements = sum(t.sampled.tensor.numel for t in self.tensors)
        what = f"{count} tensor{'s' * (count > 1)}, {elements:,} elements"
        if self.fit is None:
            return f"# not understood: {what}; the constructor's values stay"
        if (self.fit.operator == "=" and not self.fit.error) or "orthogonal" in self.fit.text:
            return f"# sure: {what}"
        rivals = f"; or {', or '.join(self.fit.rivals)}" if self.fit.rivals else ""
        return f"# {self.fit.sure}: {what}, scale to {_percent(self.fit.error)}{rivals}"


def _percent(error: float) -> str:
    return f"{max(100 * error, 1e-4):.1g} %" if error < 0.095 else f"{100 * error:.0f} %"


@dataclass
class Inferred:
    """A proposed rule file: `text`; `kept` names what was not understood, `unsure` the rules that are no better than a guess."""

    text: str
    kept: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return self.text


def infer(factory: Callable[[], nn.Module], *, samples: int | None = None, seed: int = 0, title: str = "") -> Inferred:
    """A rule file that starts a network as its own code does, from building it a few times.

    `factory` is called without arguments, `samples` times (by default 3 to 12 times, the smaller the network the more
    often), each under seeds of its own. Constants, distributions, their scale as a formula of the fans or of the depth,
    padding rows and ties are found by measuring; comments say how sure each rule is. What is not understood is kept as
    the constructor makes it, and said to be. The global random states stay as they were.

    Raises TypeError for a factory that is none, ResolveError where it gives another network each time.

    >>> from torch import nn
    >>> print(infer(lambda: nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64)), samples=2).text)  # doctest: +ELLIPSIS
    # ...
    default Linear.weight, Linear.bias
    ...
    """
    if isinstance(factory, nn.Module) or not callable(factory):
        raise TypeError(
            f"a factory is called without arguments and returns an nn.Module, this is {type(factory).__name__}"
        )
    network, live, sampled = sample(factory, samples, seed)
    tensors = [_placed(network, one) for one in sampled]
    rules = _rules(network, tensors)
    ties = _ties(network, sampled)
    rules = _repaired(network, live, ties, rules, tensors)
    return _written(network, ties, rules, tensors, title)


# ---- where tensors stand


def _placed(network: Network, one: Sampled) -> Tensor:
    sibling = None
    weight = one.module.parameters.get("weight")
    if one.local != "weight" and weight is not None:
        sibling = network.tensors[weight].shape
    names = tuple((network.modules[owner].cls.name, local) for owner, local in one.tensor.owners)
    return Tensor(one, names, sibling, *(_layer(network, one.module) or ()))


def _layer(network: Network, module: ModuleInfo) -> tuple[int, int, str] | None:
    """`(i, how many, the list's label)` where exactly one list of layers lies above a module."""
    found = list(_stacks(network, module))
    return found[0] if len(found) == 1 else None


def _stacks(network: Network, module: ModuleInfo) -> Iterator[tuple[int, int, str]]:
    """`(i, how many, the list's label)` for each list of layers of one class that lies above a module, inner ones first."""
    current = module
    while current.parents:
        parent, name = current.parents[0]
        above = network.modules[parent]
        alike = len({network.modules[child].cls for child in above.children.values()}) == 1 < len(above.children)
        if above.container == "list" and name.isdigit() and alike:
            yield int(name), len(above.children), above.label
        current = above


def _anchor(network: Network, one: Sampled) -> tuple[str, str]:
    """The nearest module above that is no container, by class (`net` for the root), and the path from it."""
    path, current = [one.local], one.module
    while current.parents:
        parent, name = current.parents[0]
        above = network.modules[parent]
        path.append(name)
        current = above
        if not above.container and above.cls.name != "Sequential":
            break
    label = "net" if not current.parents else current.cls.name
    for name in reversed(path[1:]):
        label = child_label(ModuleInfo(0, "", label, current.cls, "list" if name.isdigit() else ""), name)
    return (current.cls.name if current.parents else "net"), f"{label}{_member(one.local)}"


def _member(local: str) -> str:
    return f".{local}" if local.isidentifier() or local.isdigit() else f"[{quoted(local)}]"


def _class_selector(one: Sampled) -> str | None:
    name = one.module.cls.name
    if not one.module.parents or not name.isidentifier() or name == "net":
        return None
    return f"{name}{_member(one.local)}"


def _template(network: Network, one: Sampled) -> str:
    """A tensor's path in all layers of the lists above it."""
    label = one.label
    for place, _, stack in _stacks(network, one.module):
        label = f"{stack}[*]{label.removeprefix(f'{stack}[{place}]')}"
    return label


def _indexed(one: Sampled, list_label: str) -> str:
    return re.sub(re.escape(list_label) + r"\[\d+\]", lambda m: f"{list_label}[i]", one.label, count=1)


# ---- grouping


def _rules(network: Network, tensors: list[Tensor]) -> list[_Rule]:
    groups: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(_class_selector(tensor.sampled) or tensor.sampled.label, []).append(tensor)
    found: list[_Rule] = []
    # the last rule wins: a tied tensor is for the class it is registered in first
    for selector, members in sorted(groups.items(), key=lambda g: any(len(t.sampled.tensor.owners) > 1 for t in g[1])):
        found += _split(network, selector, members, 0)
    return found


def _split(network: Network, selector: str, members: list[Tensor], level: int) -> list[_Rule]:
    """One rule for all, or a rule for most and others, after it, for the rest."""
    one = _fitted(selector, members)
    if one is not None:
        return [one]
    if level == 3:
        return [_Rule(selector, None, members)]
    parts: dict[str, list[Tensor]] = {}
    for tensor in members:
        parts.setdefault(_key(network, tensor.sampled, level), []).append(tensor)
    if len(parts) == 1:
        ((key, _),) = parts.items()
        return _split(network, key if level else selector, members, level + 1)
    found = [rule for key, part in parts.items() for rule in _split(network, key, part, level + 1)]
    shares: dict[Any, int] = {}
    for rule in found:
        layered = rule.fit is not None and rule.fit.needs_layer
        if rule.fit is not None and not layered:
            shares[rule.same] = shares.get(rule.same, 0) + len(rule.tensors)
    if not shares:
        return found
    most = max(shares, key=lambda same: shares[same])
    if shares[most] == 1 and len(found) > 1:
        return found
    common = [rule for rule in found if rule.fit is not None and rule.same == most and not rule.fit.needs_layer]
    merged = _Rule(
        selector,
        max((r.fit for r in common), key=lambda f: f.count if f else 0),
        [t for r in common for t in r.tensors],
    )
    return [merged, *(rule for rule in found if rule not in common)]


def _key(network: Network, one: Sampled, level: int) -> str:
    anchor, path = _anchor(network, one)
    return (_template(network, one) if anchor == "net" else path, _template(network, one), one.label)[level]


def _fitted(selector: str, members: list[Tensor]) -> _Rule | None:
    found = fit(members)
    if found is None:
        return None
    if found.needs_layer:
        lists = {t.layer_list for t in members}
        paths = {_indexed(t.sampled, str(t.layer_list)) for t in members}
        if len(lists) != 1 or len(paths) != 1:
            return None
        return _Rule(paths.pop(), found, members)
    return _Rule(selector, found, members)


def _ties(network: Network, sampled: Sequence[Sampled]) -> list[str]:
    """`tie` statements for tensors with several owners."""
    found = []
    for one in sampled:
        owners = list(dict.fromkeys(one.tensor.owners))
        if len(owners) > 1:
            labels = [child_label(network.modules[owner], local) for owner, local in owners]
            found.append(f"tie {' '.join(labels)}")
    return found


# ---- checking


def _repaired(network: Network, live: Live, ties: list[str], rules: list[_Rule], tensors: list[Tensor]) -> list[_Rule]:
    """The rules, and more by path for tensors that other rules than their own would start."""
    for _ in range(3):
        winners = _winners(live.modules[0], ties, rules)
        wanted = {id(t.sampled): rule for rule in rules for t in rule.tensors}
        wrong = []
        for tensor in tensors:
            rule = wanted[id(tensor.sampled)]
            got = winners.get(tensor.sampled.tensor.name, [])
            if [w.same for w in got] != [rule.same] and not (rule.fit is None and not got):
                wrong.append(tensor)
        if not wrong:
            return rules
        for tensor in wrong:
            rule = wanted[id(tensor.sampled)]
            rule.tensors = [t for t in rule.tensors if t is not tensor]
            found = rule.fit
            if found is not None and found.needs_layer:
                found = fit([tensor])
            rules.append(_Rule(tensor.sampled.label, found, [tensor]))
        rules = [rule for rule in rules if rule.tensors]
    return rules


def _winners(net: nn.Module, ties: list[str], rules: list[_Rule]) -> dict[str, list[_Rule]]:
    """By tensor, the rules that have a say in it."""
    from initdsl.planning.make import plan

    lines: list[str] = list(ties)
    of_line: dict[int, _Rule] = {}
    for rule in rules:
        for statement in rule.statements():
            lines.append(statement)
            of_line[len(lines)] = rule
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = plan(net, "\n".join(lines))
    found = {}
    for entry in made.entries:
        numbers = [int(place.rpartition(":")[2]) for _, place in entry.statements]
        said = list({id(of_line[n]): of_line[n] for n in numbers if n in of_line}.values())
        for name in entry.names:
            found[name] = said
    return found


# ---- the text


def _written(network: Network, ties: list[str], rules: list[_Rule], tensors: list[Tensor], title: str) -> Inferred:
    lines = [f"# {title}" if title else "# proposed from a network as its own code starts it"]
    for names in _copies(tensors):
        lines.append(f"# note: these start equal, as copies of one another; the rules draw each anew: {names}")
    lines += ties
    for rule, selectors in _merged(rules):
        lines += ["", rule.comment()]
        lines += _statements(rule, selectors)
    text = laid_out("\n".join(lines) + "\n")
    kept = [t.sampled.label for rule in rules if rule.fit is None for t in rule.tensors]
    unsure = [rule.selector for rule in rules if rule.fit is not None and rule.fit.sure == "guess"]
    return Inferred(text, kept, unsure)


def _merged(rules: list[_Rule]) -> Iterator[tuple[_Rule, list[str]]]:
    """Neighbouring class rules with one right-hand side become one; rules by place come after, as they were."""
    taken: set[int] = set()
    for number, rule in enumerate(rules):
        if number in taken:
            continue
        together = [rule]
        plain = rule.fit is None or not rule.fit.needs_layer
        if plain:
            for later in range(number + 1, len(rules)):
                other = rules[later]
                free = not any(
                    _overlap(other, between)
                    for between in rules[number + 1 : later]
                    if id(between) not in {id(t) for t in together}
                )
                if (
                    later not in taken
                    and other.same == rule.same
                    and free
                    and (other.fit is None or not other.fit.needs_layer)
                ):
                    together.append(other)
                    taken.add(later)
        fits = [r.fit for r in together if r.fit is not None]
        worst = max(fits, key=lambda f: ({"sure": 0, "likely": 1, "guess": 2}[f.sure], f.error), default=None)
        yield _Rule(rule.selector, worst, [t for r in together for t in r.tensors]), [r.selector for r in together]


def _overlap(rule: _Rule, other: _Rule) -> bool:
    """Whether two rules may select one tensor: then their order matters."""
    mine, its = (_name(r) for r in (rule, other))
    return bool(mine & its)


def _name(rule: _Rule) -> set[tuple[str, str]]:
    # a rule by class may select any tensor of that class and name, by whatever name it is tied to
    return {(cls, local) for t in rule.tensors for cls, local in t.names}


def _statements(rule: _Rule, selectors: list[str]) -> list[str]:
    """The statements of a rule for several selectors at once."""
    if len(selectors) == 1:
        return _Rule(selectors[0], rule.fit, rule.tensors).statements()
    if rule.fit is None or rule.fit.operator == "default":
        return [f"{'keep' if rule.fit is None else 'default'} {', '.join(selectors)}"]
    found = [f"{', '.join(s + rule.fit.view for s in selectors)} {rule.fit.operator} {rule.fit.text}"]
    for each in rule.fit.after:
        index, operator, value = re.split(" (~|=) ", each, maxsplit=1)
        found.append(f"{', '.join(s + index for s in selectors)} {operator} {value}")
    return found


def _copies(tensors: list[Tensor]) -> Iterator[str]:
    """Drawn tensors that hold the same values though they are no tie: layers copied from one."""
    groups: dict[Any, list[Tensor]] = {}
    for t in tensors:
        if t.sampled.kind == "drawn" and t.sampled.tensor.numel > 1:
            groups.setdefault((t.shape, tuple(t.sampled.first.flatten()[:8].tolist())), []).append(t)
    equal = [g for g in groups.values() if len(g) > 1]
    if equal:
        names = [t.sampled.label for t in equal[0]]
        more = sum(map(len, equal)) - len(names)
        yield ", ".join(names[:4]) + (", ..." if len(names) > 4 else "") + (f" and {more} more" if more else "")
