"""Quantiles of the normal distribution, cut off or not, to the last bit."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["normal_quantile", "truncation"]


# ----------------------------------------------------------------- the normal distribution function, in decimal arithmetic

_DIGITS = 60
_DECIMAL = Context(prec=_DIGITS, rounding=ROUND_HALF_EVEN, Emin=-999999, Emax=999999, clamp=0, traps=[])
_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899")


@lru_cache(maxsize=1024)
def _upper_tail(x: float) -> Decimal:
    """Return the probability that a standard normal exceeds `x`, to some 50 digits; the same on every machine."""
    with localcontext(_DECIMAL):
        if math.isinf(x):
            return Decimal(0 if x > 0 else 1)
        if x < 0:
            return 1 - _upper_tail(-x)
        if x > 1000:  # exp() would run for long, and nothing below 1e-400000 matters
            return Decimal(0)
        bound = Decimal(x)
        density = (-bound * bound / 2).exp() / (2 * _PI).sqrt()
        if x < 8:
            # integral from 0 to x: density * (x + x^3/3 + x^5/15 + ...); all terms positive
            term = total = bound
            n = 1
            while term > total * Decimal(10) ** -_DIGITS:
                n += 2
                term = term * bound * bound / n
                total += term
            return Decimal("0.5") - density * total
        fraction = bound  # Laplace's continued fraction x + 1/(x + 2/(x + 3/(x + ...)))
        for n in range(200, 0, -1):
            fraction = bound + n / fraction
        return density / fraction


class Truncation(NamedTuple):
    """A truncated standard normal seen from the side of its upper tail.

    The survival probability at fraction `u` of the mass, counted from the lower bound, is `survival * (1 - u * drop)`;
    `log` is minus the logarithm of `survival`, and `remainder` is `1 - drop`, exact where `drop` is near 1. `mirrored`
    says that lower and upper were exchanged.
    """

    survival: float
    log: float
    drop: float
    remainder: float
    mirrored: bool


@lru_cache(maxsize=1024)
def truncation(alpha: float, beta: float) -> Truncation:
    mirrored = alpha + beta < 0
    if mirrored:
        alpha, beta = -beta, -alpha
    with localcontext(_DECIMAL):
        above, beyond = _upper_tail(alpha), _upper_tail(beta)
        remainder = beyond / above
        return Truncation(float(above), float(-above.ln()), float(1 - remainder), float(remainder), mirrored)


# ---------------------------------------------------------------------------- its inverse, in float64 tensor operations

# Wichura 1988, algorithm AS 241 (PPND16): numerators and denominators, lowest degree first.
_CENTRAL = (
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3),
)  # fmt: skip


_TAIL = (
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
)  # fmt: skip


_FAR = (
    (6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15),
)  # fmt: skip


def _ratio(x: Tensor, coefficients: tuple[tuple[float, ...], tuple[float, ...]]) -> Tensor:
    """Return the ratio of two polynomials, by Horner's rule."""
    above, below = (torch.full_like(x, part[-1]) for part in coefficients)
    for a, b in zip(coefficients[0][-2::-1], coefficients[1][-2::-1], strict=True):
        above.mul_(x).add_(a)
        below.mul_(x).add_(b)
    return above.div_(below)


_LN2_HIGH, _LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10  # the first has 32 bits: times e is exact


def _log(x: Tensor) -> Tensor:
    """Return the natural logarithm of positive, normal float64 numbers, from `+ - * /` alone."""
    bits = x.contiguous().view(torch.int64)
    exponent = (bits >> 52) - 1023
    mantissa = ((bits & (1 << 52) - 1) | 1023 << 52).view(torch.float64)
    large = mantissa > 1.4142135623730951
    mantissa = torch.where(large, mantissa * 0.5, mantissa)
    power = torch.where(large, exponent + 1, exponent).to(torch.float64)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    square = s * s
    series = torch.full_like(square, 2.0 / 19)
    for n in range(17, 0, -2):
        series.mul_(square).add_(2.0 / n)
    return power * _LN2_HIGH + (s * series + power * _LN2_LOW)


def _root(x: Tensor) -> Tensor:
    """Return the square root, rounded once: torch's own on a CPU is the mathematics library's, off by a bit at times."""
    if x.device.type != "cpu" or type(x) is not Tensor:
        return x.sqrt()
    return torch.from_numpy(np.sqrt(x.numpy()))


def normal_quantile(position: Tensor, alpha: float, beta: float) -> Tensor:
    """Return the values of a truncated standard normal at signed positions, float64.

    A positive position is a fraction of the mass counted from the lower bound, a negative one, negated, from the
    upper bound; so both ends keep their digits. `-0.5 <= position <= 0.5`, and not 0 where that bound is infinite.
    """
    lower = position > 0
    near = position.abs()
    if math.isinf(alpha) and math.isinf(beta):
        return _from_survival(near, -_log(near)) * torch.where(lower, -1.0, 1.0).to(position.dtype)
    cut = truncation(alpha, beta)
    if cut.mirrored:
        lower = ~lower
    # 1 - u * drop; from the upper end that is (1 - drop) + near * drop
    kept = torch.where(lower, 1.0 - near * cut.drop, cut.remainder + near * cut.drop)
    z = _from_survival(kept * cut.survival, cut.log - _log(kept))
    return -z if cut.mirrored else z


def _from_survival(survival: Tensor, log: Tensor) -> Tensor:
    """Return what a standard normal exceeds with the given probability; `log` is minus the probability's logarithm."""
    q = 0.5 - survival
    central = q * _ratio(0.180625 - q * q, _CENTRAL)
    # Above one half the lower tail is the near one, and its logarithm has to be taken anew.
    mirrored = survival > 0.5
    rest = torch.where(mirrored, 1.0 - survival, 0.25)
    log = torch.where(mirrored, -_log(rest.clamp_(min=1e-300)), log).clamp_(min=0.0)
    r = _root(log)
    tail = torch.where(r <= 5.0, _ratio(r - 1.6, _TAIL), _ratio(r - 5.0, _FAR))
    return torch.where(q.abs() <= 0.425, central, torch.where(mirrored, -tail, tail))
