"""Initializers whose elements are independent: each says which distribution a tensor of a given shape gets."""

from __future__ import annotations

import math
from typing import Literal

from .arguments import ArgumentError, FanMode, Finite, NonNegative, Positive, Probability
from .distributions import Bernoulli, Constant, Normal, TruncatedNormal, Uniform
from .fans import Mode, Nonlinearity, fan_of, gain
from .registry import builtin

# the standard deviation of a standard normal truncated to [-2, 2]
TRUNCATED_STD = 0.87962566103423978

# below this acceptance torch's rejection sampler all but hangs, and the request is a mistake anyway
LEAST_MASS = 1e-6

Family = Literal["truncated_normal", "normal", "uniform"]


def _ordered(shape: object, a: float, b: float, **_: object) -> None:
    if a > b:
        raise ArgumentError(f"the lower bound {a:g} is above the upper bound {b:g}", "a", "swap the bounds")


def _truncatable(shape: object, mean: float, std: float, a: float, b: float) -> None:
    _ordered(shape, a, b)
    if a == b:
        raise ArgumentError(f"the bounds {a:g} and {b:g} leave no room", "a", f"a single value is written `= {a:g}`")
    if TruncatedNormal(mean, std, a, b).mass < LEAST_MASS:
        raise ArgumentError(
            f"nearly nothing of normal({mean:g}, {std:g}) lies in [{a:g}, {b:g}]",
            "a",
            "the bounds are absolute values; `trunc_normal_sd` takes them in standard deviations",
            "truncates-away",
        )


def _truncatable_sd(shape: object, mean: float, std: float, a: float, b: float) -> None:
    _truncatable(shape, 0.0, 1.0, a, b)


@builtin(check=_ordered)
def uniform(shape: tuple[int, ...], a: Finite = 0.0, b: Finite = 1.0) -> Uniform:
    """Uniform between `a` and `b`.

    Any shape. Source: `torch.nn.init.uniform_`.
    """
    return Uniform(a, b)


@builtin()
def normal(shape: tuple[int, ...], mean: Finite = 0.0, std: NonNegative = 1.0) -> Normal:
    """Normal with mean `mean` and standard deviation `std`.

    Any shape. Source: `torch.nn.init.normal_`.
    """
    return Normal(mean, std)


@builtin(check=_truncatable)
def trunc_normal(
    shape: tuple[int, ...], mean: Finite = 0.0, std: Positive = 1.0, a: float = -2.0, b: float = 2.0
) -> TruncatedNormal:
    """Normal with mean `mean` and standard deviation `std`, kept between the absolute values `a` and `b`.

    The bounds are not multiples of `std`: with `std=0.02` the default bounds lie at 100 standard deviations and never
    cut. `trunc_normal_sd` takes them in standard deviations. Any shape. Source: `torch.nn.init.trunc_normal_`.
    """
    return TruncatedNormal(mean, std, a, b)


@builtin(check=_truncatable_sd)
def trunc_normal_sd(
    shape: tuple[int, ...], mean: Finite = 0.0, std: Positive = 1.0, a: float = -2.0, b: float = 2.0
) -> TruncatedNormal:
    """Normal with mean `mean` and scale `std`, kept between `mean + a * std` and `mean + b * std`.

    The standard deviation of the result is smaller: 0.880 times `std` for the default bounds. Any shape.
    Source: `truncated_normal` of JAX and TensorFlow, `trunc_normal_tf_` of timm.
    """
    return TruncatedNormal(mean, std, mean + a * std, mean + b * std)


@builtin()
def constant(shape: tuple[int, ...], val: float) -> Constant:
    """Every element equal to `val`.

    Any shape. Source: `torch.nn.init.constant_`.
    """
    return Constant(val)


@builtin()
def zeros(shape: tuple[int, ...]) -> Constant:
    """Every element 0.

    Any shape. Source: `torch.nn.init.zeros_`.
    """
    return Constant(0.0)


@builtin()
def ones(shape: tuple[int, ...]) -> Constant:
    """Every element 1.

    Any shape. Source: `torch.nn.init.ones_`.
    """
    return Constant(1.0)


@builtin()
def bernoulli(shape: tuple[int, ...], p: Probability = 0.5) -> Bernoulli:
    """1 with probability `p`, else 0.

    A mask or a binary weight. Any shape. Source: `torch.Tensor.bernoulli_`, `jax.random.bernoulli`.
    """
    return Bernoulli(p)


@builtin()
def rademacher(shape: tuple[int, ...], scale: Finite = 1.0) -> Bernoulli:
    """+`scale` or -`scale`, each with probability one half.

    Mean 0, standard deviation `scale`. Any shape. Source: `jax.random.rademacher`.
    """
    return Bernoulli(0.5, -scale, scale)


@builtin(aliases=("glorot_uniform",))
def xavier_uniform(
    shape: tuple[int, ...],
    gain: NonNegative = 1.0,
    *,
    fan_in: Positive | None = None,
    fan_out: Positive | None = None,
) -> Uniform:
    """Uniform on ±gain · sqrt(6 / (fan_in + fan_out)).

    At least 2 dimensions, any where both fans are given. Source: Glorot & Bengio 2010;
    `torch.nn.init.xavier_uniform_`.
    """
    bound = math.sqrt(3.0) * (gain * math.sqrt(1.0 / fan_of(shape, "fan_avg", fan_in, fan_out)))
    return Uniform(-bound, bound)


@builtin(aliases=("glorot_normal",))
def xavier_normal(
    shape: tuple[int, ...],
    gain: NonNegative = 1.0,
    *,
    fan_in: Positive | None = None,
    fan_out: Positive | None = None,
) -> Normal:
    """Normal with standard deviation gain · sqrt(2 / (fan_in + fan_out)).

    At least 2 dimensions, any where both fans are given. `glorot_normal` of JAX and Keras is truncated:
    `variance_scaling(mode=fan_avg)`. Source: Glorot & Bengio 2010; `torch.nn.init.xavier_normal_`.
    """
    return Normal(0.0, gain * math.sqrt(1.0 / fan_of(shape, "fan_avg", fan_in, fan_out)))


@builtin(aliases=("he_uniform",))
def kaiming_uniform(
    shape: tuple[int, ...],
    a: Finite = 0.0,
    mode: FanMode = "fan_in",
    nonlinearity: Nonlinearity = "leaky_relu",
    *,
    fan_in: Positive | None = None,
    fan_out: Positive | None = None,
) -> Uniform:
    """Uniform on ±gain · sqrt(3 / fan).

    `a` is the negative slope of `leaky_relu`; `mode` chooses the fan. At least 2 dimensions, any where that fan is
    given. Source: He et al. 2015; `torch.nn.init.kaiming_uniform_`.
    """
    bound = math.sqrt(3.0) * (gain(nonlinearity, a) / math.sqrt(fan_of(shape, mode, fan_in, fan_out)))
    return Uniform(-bound, bound)


@builtin(aliases=("he_normal",))
def kaiming_normal(
    shape: tuple[int, ...],
    a: Finite = 0.0,
    mode: FanMode = "fan_in",
    nonlinearity: Nonlinearity = "leaky_relu",
    *,
    fan_in: Positive | None = None,
    fan_out: Positive | None = None,
) -> Normal:
    """Normal with standard deviation gain / sqrt(fan).

    `a` is the negative slope of `leaky_relu`; `mode` chooses the fan. At least 2 dimensions, any where that fan is
    given. `he_normal` of JAX and Keras is truncated: `variance_scaling(2)`.
    Source: He et al. 2015; `torch.nn.init.kaiming_normal_`.
    """
    return Normal(0, gain(nonlinearity, a) / math.sqrt(fan_of(shape, mode, fan_in, fan_out)))


def _of_variance(variance: float, distribution: Family) -> Normal | TruncatedNormal | Uniform:
    match distribution:
        case "truncated_normal":
            std = math.sqrt(variance) / TRUNCATED_STD
            return TruncatedNormal(0.0, std, -2 * std, 2 * std)
        case "normal":
            return Normal(0.0, math.sqrt(variance))
        case "uniform":
            bound = math.sqrt(3 * variance)
            return Uniform(-bound, bound)


@builtin()
def variance_scaling(
    shape: tuple[int, ...],
    scale: Positive = 1.0,
    mode: Mode = "fan_in",
    distribution: Family = "truncated_normal",
    fan: Positive | None = None,
    *,
    fan_in: Positive | None = None,
    fan_out: Positive | None = None,
) -> Normal | TruncatedNormal | Uniform:
    """A distribution with variance `scale / fan`: the general form behind lecun, xavier and kaiming.

    `mode` chooses the fan (`fan_avg` the arithmetic, `fan_geo_avg` the geometric mean of both); `fan` gives it
    outright where the tensor's own is not what its layer computes with. The truncated normal is cut at two standard
    deviations and widened, so that its variance is the one asked for. At least 2 dimensions, any where the fan is
    given. Source: `jax.nn.initializers.variance_scaling`.
    """
    return _of_variance(scale / (fan_of(shape, mode, fan_in, fan_out) if fan is None else fan), distribution)


@builtin()
def lecun_normal(shape: tuple[int, ...], *, fan_in: Positive | None = None) -> TruncatedNormal:
    """Truncated normal with variance 1 / fan_in: `variance_scaling(1, fan_in, truncated_normal)`.

    At least 2 dimensions, any where the fan is given. Source: LeCun et al. 1998; `jax.nn.initializers.lecun_normal`.
    """
    drawn = _of_variance(1 / fan_of(shape, "fan_in", fan_in), "truncated_normal")
    assert isinstance(drawn, TruncatedNormal)
    return drawn


@builtin()
def lecun_uniform(shape: tuple[int, ...], *, fan_in: Positive | None = None) -> Uniform:
    """Uniform with variance 1 / fan_in: `variance_scaling(1, fan_in, uniform)`.

    At least 2 dimensions, any where the fan is given. Source: LeCun et al. 1998; `jax.nn.initializers.lecun_uniform`.
    """
    drawn = _of_variance(1 / fan_of(shape, "fan_in", fan_in), "uniform")
    assert isinstance(drawn, Uniform)
    return drawn
