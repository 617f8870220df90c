"""Which distribution numbers follow, and how wide it is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from initdsl.statistics.goodness import mass_within, std_within
from initdsl.text.wording import number

from .sampling import Moments

__all__ = ["WORST", "confidence", "follows", "kind_of", "median", "round_text", "scale_of"]


KINDS = ("normal", "uniform", "trunc2", "trunc3")


CUT = {"trunc2": 2.0, "trunc3": 3.0}


KURTOSIS = {"normal": 3.0, "uniform": 1.8, "trunc2": 2.37, "trunc3": 2.84}


WORST = 4.5  # standard errors a scale may be off


# ---- kinds


def kind_of(members: Sequence[Moments]) -> tuple[str, float]:
    """The most likely kind of a group, and by how much (in nats) it leads."""
    likelihood = dict.fromkeys(KINDS, 0.0)
    for m in members:
        n = float(m.count)
        spread = max(m.std, 1e-30)
        likelihood["normal"] += -n * math.log(spread) - n / 2 * math.log(2 * math.pi) - n / 2
        likelihood["uniform"] += -n * math.log(max(m.high - m.low, 1e-30))
        reach = max(m.high - m.mean, m.mean - m.low)
        for kind, cut in CUT.items():
            scale = max(reach / cut, spread / std_within(cut))
            likelihood[kind] += (
                -n * math.log(scale)
                - n / 2 * math.log(2 * math.pi)
                - n * (spread / scale) ** 2 / 2
                - n * math.log(mass_within(cut))
            )
    likelihood["trunc2"] -= 3.0  # the rarer ones
    likelihood["trunc3"] -= 6.0
    first, second = sorted(likelihood.values(), reverse=True)[:2]
    return max(likelihood, key=likelihood.__getitem__), first - second


def follows(kind: str, members: Sequence[Moments]) -> bool:
    """Whether elements, each scaled by its tensor's, follow a kind: a Kolmogorov-Smirnov distance."""
    for m in members:
        if m.count < 30 or m.std == 0:
            continue
        values = m.some.sort().values
        n = len(values)
        if kind == "uniform":
            expected = (values - m.low) / (m.high - m.low)
        else:
            standard = (values - m.mean) / m.std
            cut = CUT.get(kind)
            standard = standard * (std_within(cut) if cut else 1.0)
            expected = (1 + torch.erf(standard / math.sqrt(2))) / 2
            if cut:
                expected = ((expected - (1 - mass_within(cut)) / 2) / mass_within(cut)).clamp(0, 1)
        steps = torch.arange(1, n + 1, dtype=torch.double) / n
        distance = float(torch.maximum((steps - expected).abs(), (steps - 1 / n - expected).abs()).max())
        if distance * math.sqrt(n) > 2.3:
            return False
    return True


def scale_of(kind: str, m: Moments) -> tuple[float, float]:
    """The measured parameter of a kind (bound of a uniform, `std` of a normal) and its relative standard error."""
    if kind == "uniform":
        middle = median(m)
        reach = (m.high - m.low) / 2 if middle else m.reach
        return reach * (1 + 1 / (m.count + 1)), max(1.5 / m.count, 2e-6)
    error = math.sqrt((KURTOSIS[kind] - 1) / (4 * m.count))
    return m.std / (std_within(CUT[kind]) if kind in CUT else 1.0), max(error, 2e-6)


def median(m: Moments) -> bool:
    """Whether the mean is not zero."""
    return abs(m.mean) > 4.5 * m.std / math.sqrt(m.count)


def confidence(error: float, lead: float, doubtful: bool) -> str:
    """How sure a rule is, by the precision of its scale and how far the next kind of distribution is behind."""
    if error > 0.05 or lead < 2:
        return "guess"
    return "likely" if doubtful or lead < 5 else "sure"


def round_text(value: float, slack: float) -> str:
    """The roundest number that is as near as `slack`."""
    for decimals in range(-6, 12):
        rounded = round(value, decimals)
        if abs(rounded - value) <= slack:
            return number(rounded)
    return number(value)
