"""Initializers whose elements are independent: each says which distribution a tensor of a given shape gets."""

from __future__ import annotations

import math
from typing import Literal

from .distributions import Constant, Normal, TruncatedNormal, Uniform
from .fans import Nonlinearity, fans, gain
from .registry import ArgumentError, FanMode, Finite, NonNegative, Positive, builtin

# the standard deviation of a standard normal truncated to [-2, 2]
TRUNCATED_STD = 0.87962566103423978

# below this acceptance torch's rejection sampler all but hangs, and the request is a mistake anyway
LEAST_MASS = 1e-6


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


def _scaled(shape: object, **arguments: object) -> None:
    if shape is not None and arguments.get("fan") is None:
        fans(shape)  # type: ignore[arg-type]


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

    The standard deviation of the result is below `std` (by 0.880 for the default bounds). Any shape.
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


@builtin(min_ndim=2, aliases=("glorot_uniform",))
def xavier_uniform(shape: tuple[int, ...], gain: NonNegative = 1.0) -> Uniform:
    """Uniform on ±gain · sqrt(6 / (fan_in + fan_out)).

    At least 2 dimensions. Source: Glorot & Bengio 2010; `torch.nn.init.xavier_uniform_`.
    """
    fan_in, fan_out = fans(shape)
    bound = math.sqrt(3.0) * (gain * math.sqrt(2.0 / float(fan_in + fan_out)))
    return Uniform(-bound, bound)


@builtin(min_ndim=2, aliases=("glorot_normal",))
def xavier_normal(shape: tuple[int, ...], gain: NonNegative = 1.0) -> Normal:
    """Normal with standard deviation gain · sqrt(2 / (fan_in + fan_out)).

    At least 2 dimensions. Source: Glorot & Bengio 2010; `torch.nn.init.xavier_normal_`.
    """
    fan_in, fan_out = fans(shape)
    return Normal(0.0, gain * math.sqrt(2.0 / float(fan_in + fan_out)))


def _kaiming_std(shape: tuple[int, ...], a: float, mode: FanMode, nonlinearity: Nonlinearity) -> float:
    fan_in, fan_out = fans(shape)
    return gain(nonlinearity, a) / math.sqrt(fan_in if mode == "fan_in" else fan_out)


@builtin(min_ndim=2, aliases=("he_uniform",))
def kaiming_uniform(
    shape: tuple[int, ...], a: Finite = 0.0, mode: FanMode = "fan_in", nonlinearity: Nonlinearity = "leaky_relu"
) -> Uniform:
    """Uniform on ±gain · sqrt(3 / fan).

    `a` is the negative slope of `leaky_relu`; `mode` chooses the fan. At least 2 dimensions.
    Source: He et al. 2015; `torch.nn.init.kaiming_uniform_`.
    """
    bound = math.sqrt(3.0) * _kaiming_std(shape, a, mode, nonlinearity)
    return Uniform(-bound, bound)


@builtin(min_ndim=2, aliases=("he_normal",))
def kaiming_normal(
    shape: tuple[int, ...], a: Finite = 0.0, mode: FanMode = "fan_in", nonlinearity: Nonlinearity = "leaky_relu"
) -> Normal:
    """Normal with standard deviation gain / sqrt(fan).

    `a` is the negative slope of `leaky_relu`; `mode` chooses the fan. At least 2 dimensions.
    Source: He et al. 2015; `torch.nn.init.kaiming_normal_`.
    """
    return Normal(0, _kaiming_std(shape, a, mode, nonlinearity))


@builtin(check=_scaled)
def variance_scaling(
    shape: tuple[int, ...],
    scale: Positive = 1.0,
    mode: Literal["fan_in", "fan_out", "fan_avg", "fan_geo_avg"] = "fan_in",
    distribution: Literal["truncated_normal", "normal", "uniform"] = "truncated_normal",
    fan: Positive | None = None,
) -> Normal | TruncatedNormal | Uniform:
    """A distribution with variance `scale / fan`: the general form behind lecun, xavier and kaiming.

    `mode` chooses the fan (`fan_avg` the arithmetic, `fan_geo_avg` the geometric mean of both); `fan` gives it
    outright where the tensor's own is not what its layer computes with. The truncated normal is cut at two standard
    deviations and widened, so that its variance is the one asked for. At least 2 dimensions, any with `fan`.
    Source: `jax.nn.initializers.variance_scaling`.
    """
    if fan is None:
        fan_in, fan_out = fans(shape)
        match mode:
            case "fan_in":
                fan = fan_in
            case "fan_out":
                fan = fan_out
            case "fan_avg":
                fan = (fan_in + fan_out) / 2
            case "fan_geo_avg":
                fan = math.sqrt(fan_in * fan_out)
    variance = scale / fan
    match distribution:
        case "truncated_normal":
            std = math.sqrt(variance) / TRUNCATED_STD
            return TruncatedNormal(0.0, std, -2 * std, 2 * std)
        case "normal":
            return Normal(0.0, math.sqrt(variance))
        case "uniform":
            bound = math.sqrt(3 * variance)
            return Uniform(-bound, bound)


@builtin(min_ndim=2)
def lecun_normal(shape: tuple[int, ...]) -> TruncatedNormal:
    """Truncated normal with variance 1 / fan_in: `variance_scaling(1, fan_in, truncated_normal)`.

    At least 2 dimensions. Source: LeCun et al. 1998; `jax.nn.initializers.lecun_normal`.
    """
    drawn = variance_scaling(shape, 1.0, "fan_in", "truncated_normal")
    assert isinstance(drawn, TruncatedNormal)
    return drawn


@builtin(min_ndim=2)
def lecun_uniform(shape: tuple[int, ...]) -> Uniform:
    """Uniform with variance 1 / fan_in: `variance_scaling(1, fan_in, uniform)`.

    At least 2 dimensions. Source: LeCun et al. 1998; `jax.nn.initializers.lecun_uniform`.
    """
    drawn = variance_scaling(shape, 1.0, "fan_in", "uniform")
    assert isinstance(drawn, Uniform)
    return drawn
