"""What is in tensors: moments, bounds and histograms, in bounded memory. Reads only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from initdsl.planning.expectations import unmet
from initdsl.reports.pages.tree import Measure
from initdsl.text.diagnostic import Diagnostic

if TYPE_CHECKING:
    from initdsl.planning.plan import Expected, Plan, PlanEntry

__all__ = ["measure", "measures", "tensor_of", "unmet_expectations"]


# elements looked at at a time
CHUNK = 1 << 22


BINS = 25


# tensors with a histogram each; of more, the first of every folded group's would be lost in the size of the page
MOST_HISTOGRAMS = 4000


# elements a histogram counts at most, evenly spaced
MOST_COUNTED = 1 << 18


def measures(plan: Plan) -> dict[int, Measure]:
    """What every tensor of a carried out plan holds now, by index; those without memory are left out."""
    found = {}
    bars = len(plan.entries) <= MOST_HISTOGRAMS
    with torch.no_grad():
        for number, entry in enumerate(plan.entries):
            tensor = tensor_of(plan, entry)
            if tensor is None or tensor.is_meta or tensor.layout != torch.strided or tensor.is_complex():
                continue
            # of very many tensors, some have a histogram, so that what is folded is drawn from those
            step = max(1, len(plan.entries) // MOST_HISTOGRAMS)
            found[entry.tensor.index] = measure(tensor, histogram=bars or number % step == 0)
    return found


def tensor_of(plan: Plan, entry: PlanEntry) -> torch.Tensor | None:
    """The tensor of an entry as the network uses it, a shard's own part where it is sharded; None if it has none."""
    if plan.live is None:
        return None
    owner, local = entry.tensor.owners[0]
    module = plan.live.modules[owner]
    found: torch.Tensor | None = module._parameters.get(local)
    found = found if found is not None else module._buffers.get(local)
    if found is None:
        chain = getattr(module, "parametrizations", None)
        if isinstance(chain, nn.ModuleDict) and local in chain:
            modes = {part: part.training for part in chain.modules()}
            try:
                chain.eval()
                found = chain[local]()
            finally:
                for part, mode in modes.items():
                    part.training = mode
        else:  # what the hooks of the old `weight_norm` computed last
            found = module.__dict__.get(local)
    if not isinstance(found, torch.Tensor) or nn.parameter.is_lazy(found) or found.is_quantized:
        return None
    local_part = getattr(found, "to_local", None)
    shard: torch.Tensor = local_part() if local_part is not None else found
    return shard.detach()


def measure(tensor: torch.Tensor, bins: int = BINS, histogram: bool = True) -> Measure:
    """Moments, bounds and a histogram of a real tensor's finite elements; the standard deviation is the population's."""
    count, other, mean, square = 0, 0, 0.0, 0.0
    low, high = math.inf, -math.inf
    for chunk in _chunks(tensor):
        values = chunk.double()
        finite = torch.isfinite(values)
        if not bool(finite.all()):
            values = values[finite]
            other += chunk.numel() - values.numel()
        n = values.numel()
        if not n:
            continue
        least, most = torch.aminmax(values)
        variance, centre = torch.var_mean(values, correction=0)
        low, high = min(low, float(least)), max(high, float(most))
        # Chan, Golub & LeVeque 1983: moments of parts to those of the whole
        shift = float(centre) - mean
        square += float(variance) * n + shift**2 * count * n / (count + n)
        mean += shift * n / (count + n)
        count += n
    if not count:
        return Measure(0, math.nan, math.nan, math.nan, math.nan, other)
    std = math.sqrt(square / count)
    if not histogram or low == high or not math.isfinite(high - low):
        return Measure(count, mean, std, low, high, other, (std, std), (), (low, high))
    flat = tensor.reshape(-1)[:: -(-tensor.numel() // MOST_COUNTED)].to("cpu", torch.float64)
    counts = torch.histc(flat[torch.isfinite(flat)], bins, low, high)
    return Measure(count, mean, std, low, high, other, (std, std), tuple(map(int, counts.tolist())), (low, high))


def unmet_expectations(plan: Plan, value: Callable[[int], torch.Tensor | None]) -> list[Diagnostic]:
    """What of a plan's `expect` statements does not hold; `value` has a tensor by its number, or None to leave it out."""
    problems = []
    with torch.no_grad():
        for expected in plan.expected:
            tensor = value(expected.tensor)
            if tensor is None:
                continue
            wrong = _unmet(expected, plan.network.label(plan.network.tensors[expected.tensor]), tensor)
            if wrong is not None:
                rule = expected.rule
                problems.append(Diagnostic("unmet-expectation", wrong, plan.rules.source(rule.source), rule.span))
    return problems


def _unmet(expected: Expected, label: str, tensor: torch.Tensor) -> str | None:
    """What is wrong with a tensor's values, by an `expect`; None if nothing is. `std` is torch's, of a sample."""
    found = measure(tensor, histogram=False)
    n = found.count
    measured = {
        "mean": found.mean, "std": found.std * math.sqrt(n / (n - 1)) if n > 1 else math.nan, "min": found.low,
        "max": found.high, "norm": math.sqrt(n * (found.mean**2 + found.std**2)), "other": float(found.other),
    }  # fmt: skip
    if found.other:
        measured = {**dict.fromkeys(measured, math.nan), "other": float(found.other)}
    bounds = expected.bounds
    if expected.rule.what in ("min", "max", "values") and tensor.is_floating_point():  # as the tensor would hold them
        bounds = tuple(torch.tensor(bounds, dtype=torch.float64).to(tensor.dtype).tolist())
    if (expected.rule.what, expected.rule.operator) == ("values", "!=") and not found.other:
        equal = sum(int((chunk == bounds[0]).sum()) for chunk in _chunks(tensor))
        return f"{equal:,} of {n:,} elements of `{label}` are {expected.bounds[0]:g}" if equal else None
    return unmet(replace(expected, bounds=bounds), label, measured)


def _chunks(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The elements of a tensor, some at a time, in the CPU's memory."""
    flat = tensor.reshape(-1)
    for start in range(0, flat.numel(), CHUNK):
        yield flat[start : start + CHUNK].cpu()
