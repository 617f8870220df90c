"""Rules to the text of a rule file, with comments that say how sure each is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from initdsl.formatter.layout import format as laid_out

from .grouping import Rule, repaired, rules_of, ties_of, with_siblings
from .places import placed
from .sampling import OnProgress, sample
from .tensor import Fit, Tensor

__all__ = ["Inferred", "infer"]


@dataclass(frozen=True, repr=False)
class Inferred:
    """A proposed rule file: `text`; `kept` names what was not understood, `unsure` the rules that are no better than a guess."""

    text: str
    kept: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)

    def __hash__(self) -> int:
        return hash(self.text)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        lines = len(self.text.splitlines())
        return f"<Inferred: {lines} lines, {len(self.kept)} not understood, {len(self.unsure)} unsure>"


def infer(
    factory: Callable[[], nn.Module],
    *,
    samples: int | None = None,
    seed: int = 0,
    title: str = "",
    on_progress: OnProgress | None = None,
) -> Inferred:
    """Return a rule file that starts a model as its own code does, from building it a few times.

    `factory` is called without arguments, `samples` times (by default 3 to 12 times, the smaller the model the more
    often), each under seeds of its own. Constants, distributions, their scale as a formula of the fans or of the depth,
    padding rows and ties are found by measuring; comments say how sure each rule is. What is not understood is kept as
    the constructor makes it, and said to be. The global random states stay as they were. `on_progress` is told what is
    being done, how much of it is done, and how much there is.

    Raises TypeError for a factory that is none, ResolveError where it gives another model each time.

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
    network, live, sampled = sample(factory, samples, seed, on_progress or (lambda doing, done, total: None))
    tensors = with_siblings(network, [placed(network, one) for one in sampled])
    ties = ties_of(network, sampled)
    rules = repaired(live.modules[0], ties, rules_of(network, tensors), tensors)
    return _written(ties, rules, tensors, title)


def _written(ties: list[str], rules: list[Rule], tensors: Sequence[Tensor], title: str) -> Inferred:
    lines = [f"# {title}" if title else "# proposed from a model as its own code starts it"]
    for names in _copies(tensors):
        lines.append(f"# note: these start equal, as copies of one another; the rules draw each anew: {names}")
    lines += ties
    for rule, selectors in _merged(rules):
        lines += ["", _comment(rule), *_statements(rule, selectors)]
    text = laid_out("\n".join(lines) + "\n")
    kept = [tensor.sampled.label for rule in rules if rule.fit is None for tensor in rule.tensors]
    unsure = [rule.selector for rule in rules if rule.fit is not None and rule.fit.sure == "guess"]
    return Inferred(text, kept, unsure)


def _comment(rule: Rule) -> str:
    """Return how sure a rule is, of how many tensors, and what else it may be."""
    count, elements = len(rule.tensors), sum(tensor.sampled.tensor.numel for tensor in rule.tensors)
    size = f"{count} tensor{'s' * (count > 1)}, {elements:,} elements"
    if rule.fit is None:
        return f"# not understood: {size}; the constructor's values stay"
    if (rule.fit.operator == "=" and not rule.fit.error) or "orthogonal" in rule.fit.text:
        return f"# sure: {size}"
    rivals = f"; or {', or '.join(rule.fit.rivals)}" if rule.fit.rivals else ""
    return f"# {rule.fit.sure}: {size}, scale to {_percent(rule.fit.error)}{rivals}"


def _percent(error: float) -> str:
    return f"{max(100 * error, 1e-4):.1g} %" if error < 0.095 else f"{100 * error:.0f} %"


def _merged(rules: list[Rule]) -> Iterator[tuple[Rule, list[str]]]:
    """Yield rules by class with one right-hand side as one, with their selectors; rules by place stay as they are."""
    taken: set[int] = set()
    for number, rule in enumerate(rules):
        if number in taken:
            continue
        together = [number]
        for later in range(number + 1, len(rules)) if not rule.needs_layer else ():
            between = (k for k in range(number + 1, later) if k not in together)
            free = not any(_overlap(rules[later], rules[k]) for k in between)
            if later not in taken and rules[later].right == rule.right and free and not rules[later].needs_layer:
                together.append(later)
        taken.update(together)
        members = [rules[k] for k in together]
        tensors = tuple(tensor for member in members for tensor in member.tensors)
        yield Rule(rule.selector, _least_sure(members), tensors), [member.selector for member in members]


def _least_sure(rules: list[Rule]) -> Fit | None:
    fits = [rule.fit for rule in rules if rule.fit is not None]
    return max(fits, key=lambda one: (("sure", "likely", "guess").index(one.sure), one.error), default=None)


def _overlap(rule: Rule, other: Rule) -> bool:
    """Return whether two rules may select one tensor: then their order matters.

    A rule by class may select any tensor of that class and name, by whatever name it is tied to.
    """
    names, other_names = ({name for tensor in one.tensors for name in tensor.names} for one in (rule, other))
    return not names.isdisjoint(other_names)


def _statements(rule: Rule, selectors: list[str]) -> list[str]:
    """Return the statements of a rule for several selectors at once."""
    if len(selectors) == 1:
        return replace(rule, selector=selectors[0]).statements()
    if rule.fit is None or rule.fit.operator == "default":
        return [f"{'keep' if rule.fit is None else 'default'} {', '.join(selectors)}"]
    statements = [f"{', '.join(s + rule.fit.view for s in selectors)} {rule.fit.operator} {rule.fit.text}"]
    for each in rule.fit.after:
        index, operator, value = re.split(" (~|=) ", each, maxsplit=1)
        statements.append(f"{', '.join(s + index for s in selectors)} {operator} {value}")
    return statements


def _copies(tensors: Sequence[Tensor]) -> Iterator[str]:
    """Yield the names of drawn tensors that hold the same values though they are no tie: layers copied from one."""
    groups: dict[object, list[str]] = {}
    for tensor in tensors:
        if tensor.sampled.kind == "drawn" and tensor.sampled.tensor.numel > 1:
            first_values = tuple(tensor.sampled.first.flatten()[:8].tolist())
            groups.setdefault((tensor.shape, first_values), []).append(tensor.sampled.label)
    equal = [names for names in groups.values() if len(names) > 1]
    if equal:
        names = equal[0]
        more = sum(map(len, equal)) - len(names)
        yield ", ".join(names[:4]) + (", ..." if len(names) > 4 else "") + (f" and {more} more" if more else "")
