"""Random streams addressed by element: any element of any parameter can be computed alone, with the same bits.

The definition, *stream v1*, is written down with test vectors in `docs/streams.md` and never changes silently. Three
things keep its bits the same on every device, thread count and torch release:

- words come from integer arithmetic;
- the floating-point steps are single roundings of `+ - * /`, `sqrt` and conversions, each one its own torch call, so
  that no compiler can contract two of them;
- what a distribution needs beyond these (the normal distribution function) is computed in decimal arithmetic.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from copy import copy
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import lru_cache, wraps
from itertools import pairwise
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

from initdsl.initializers.distributions import Bernoulli, Constant, Distribution, Normal, TruncatedNormal, Uniform
from initdsl.text.failures import out_of_memory

__all__ = [
    "VERSION",
    "_DROP",
    "_SHIFT",
    "StreamKey",
    "engine",
    "fill",
    "generator",
    "key",
    "prepare",
    "shared",
    "team",
    "words",
]


VERSION = "initdsl stream v1"


# SplitMix64 (Steele, Lea & Flood 2014), with the finalizer's shifts and multipliers of Stafford's variant 13.
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))


_MASK64 = (1 << 64) - 1


# Elements generated at a time. On a CPU the buffers stay in the cache; several threads hand the interpreter's lock to
# each other, the less often the larger their chunks are.
_CPU_CHUNK, _SHARED_CHUNK = 1 << 17, 1 << 19


_DEVICE_CHUNK = 1 << 24


# Where memory is short, chunks become smaller, down to this; that much is put by for them, in bytes.
_LEAST_CHUNK, _RESERVE = 1 << 10, 1 << 22


# Below this size it is cheaper to scale the segments an element needs than all of them.
_SMALL = 1 << 15


_THREAD_FROM = 1 << 17


_SHARE_FROM = 1 << 20


# Compiling the kernel takes as long as it saves on so many elements: that many are filled first.
_COMPILE_AFTER = 1 << 29


_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


class StreamKey(NamedTuple):
    """What addresses one stream: two starting points and the odd step from one word to the next, each 64 bits."""

    state: int
    fine: int
    gamma: int


def key(seed: int, name: str, draw: int = 0) -> StreamKey:
    """The key of one draw of one parameter.

    `seed` is an int in `[0, 2**64)`, `name` the parameter's fully qualified name, `draw` counts the draws of that
    parameter from 0. Different arguments give unrelated streams. Raises TypeError for another type, ValueError for
    a number out of range. Source: BLAKE2b (RFC 7693) over version, seed, draw and name.
    """
    for what, value in (("seed", seed), ("draw", draw)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{what} must be an integer, not {type(value).__name__}")
        if not 0 <= value < 1 << 64:
            raise ValueError(f"{what} must be at least 0 and less than 2**64, not {value}")
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, not {type(name).__name__}")
    message = VERSION.encode() + b"\0" + seed.to_bytes(8, "little") + draw.to_bytes(8, "little")
    digest = hashlib.blake2b(message + name.encode("utf-8", "surrogatepass"), digest_size=24).digest()
    state, fine, gamma = (int.from_bytes(digest[at : at + 8], "little") for at in (0, 8, 16))
    gamma |= 1
    if (gamma ^ gamma >> 1).bit_count() < 24:  # long runs of equal bits mix slowly
        gamma ^= 0xAAAAAAAAAAAAAAAA
    return StreamKey(state, fine, gamma)


def words(key: StreamKey, start: int, count: int) -> Tensor:
    """The 64-bit words `start .. start + count - 1` of a stream, as an int64 tensor of shape `(count,)` on the CPU."""
    z = torch.arange(count, dtype=torch.int64, device="cpu")
    z.mul_(_signed(key.gamma)).add_(_signed(key.state + start * key.gamma))
    return _mix(z, torch.empty_like(z))


def generator(key: StreamKey, device: torch.device | str = "cpu") -> torch.Generator:
    """A new `torch.Generator` seeded from a key, for initializers that draw in their own way.

    What it yields is torch's business and may differ between devices and torch releases.
    """
    made = torch.Generator(device=device)
    # Not word 0 of the stream itself: an element-wise draw under the same key must not share bits with it.
    made.manual_seed(_signed(key.state ^ key.fine ^ key.gamma) & (1 << 63) - 1)
    return made


def engine() -> str:
    """Which code fills large float32 and half-type tensors on the CPU: `numba` or `torch`. Their bits are the same.

    The compiled kernel starts once enough elements were filled, or announced to `prepare`, to pay for compiling it.
    The environment variable INITDSL_KERNEL chooses: `torch` for no kernel, `numba` for the kernel at once. Raises
    ValueError for another value, or for `numba` where that is not installed.
    """
    return "torch" if _chosen() == "torch" else "numba"


def prepare(count: int) -> None:
    """Announce that some `count` elements are about to be filled, so that the kernel is there from the first one.

    Raises ValueError as `engine` does.
    """
    global _announced
    _kernel(count)
    _announced += count


def fill(
    tensor: Tensor,
    distribution: Distribution,
    key: StreamKey,
    *,
    offset: int = 0,
    strides: Sequence[int] | None = None,
) -> None:
    """Write a distribution into `tensor`, in place, each element from its own place in the stream.

    The element at coordinates `c` has the logical index `offset + sum(strides[d] * c[d])` in the whole parameter,
    counted row-major; the default strides are the row-major ones of the tensor's own shape. Any strided layout; the
    dtypes float32, float64, bfloat16 and float16. A half-type value is the float32 value, rounded. Values stay in
    the distribution's bounds (`[low, high)` for Uniform) also after rounding, if the dtype has a number there.

    Raises TypeError for another dtype or layout, ValueError for strides that don't fit the shape, a negative index,
    a tensor whose elements share memory or that has none (meta), and parameters that no distribution has.
    """
    lengths, steps = _checked(tensor, offset, strides)
    with torch.no_grad():
        tensor = tensor.detach()
        if isinstance(distribution, Constant):
            tensor.fill_(distribution.value)
            return
        recipe = _recipe(distribution, tensor.dtype)
        if _fake(tensor):
            tensor.zero_()
        elif tensor.numel():
            _Filler(key, recipe, tensor).fill(lengths, steps, offset)


def _fake(tensor: Tensor) -> bool:
    """Whether a tensor stands for one without having values (torch's FakeTensor)."""
    module = sys.modules.get("torch._subclasses.fake_tensor")
    return module is not None and isinstance(tensor, module.FakeTensor)


def _checked(tensor: Tensor, offset: int, strides: Sequence[int] | None) -> tuple[list[int], list[int]]:
    if tensor.layout != torch.strided:
        raise TypeError(f"only a strided tensor can be filled, not one of layout {tensor.layout}")
    if tensor.dtype not in _DTYPES:
        raise TypeError(
            f"a tensor of dtype {tensor.dtype} cannot be filled; allowed: float32, float64, bfloat16, float16"
        )
    if tensor.is_meta:
        raise ValueError("a tensor on the meta device has no memory to fill")
    lengths = list(tensor.shape)
    if strides is None:
        steps = [math.prod(lengths[d + 1 :]) for d in range(len(lengths))]
    else:
        steps = list(strides)
        if len(steps) != len(lengths):
            raise ValueError(f"{len(steps)} strides were given for a tensor of {len(lengths)} dimensions")
    if offset < 0 or any(step < 0 for step in steps):
        raise ValueError("offset and strides must not be negative")
    if any(n > 1 and step == 0 for n, step in zip(lengths, tensor.stride(), strict=True)):
        raise ValueError("an expanded tensor cannot be filled: its elements share memory")
    return lengths, steps


# ---------------------------------------------------------------------------------------------------- words


def _signed(value: int) -> int:
    """The two's complement reading of the low 64 bits."""
    value &= _MASK64
    return value - (1 << 64) if value >> 63 else value


def _mix(z: Tensor, spare: Tensor) -> Tensor:
    """SplitMix64's finalizer in place; `spare` has the shape of `z`."""
    plain = z.device.type == "cpu" and type(z) is Tensor
    return _mix_on_host(z, spare) if plain else _mix_on_device(z, spare)


def _mix_on_host(z: Tensor, spare: Tensor) -> Tensor:
    """By numpy: it has unsigned shifts, and multiplies 64-bit numbers twice as fast as torch where there is no AVX-512."""
    word, shifted = z.numpy().view(np.uint64), spare.numpy().view(np.uint64)
    for shift, multiplier in _MIX:
        np.right_shift(word, np.uint64(shift), out=shifted)
        np.bitwise_xor(word, shifted, out=word)
        if multiplier != 1:
            np.multiply(word, np.uint64(multiplier), out=word)
    return z


def _mix_on_device(z: Tensor, spare: Tensor) -> Tensor:
    for shift, multiplier in _MIX:
        torch.bitwise_right_shift(z, shift, out=spare)
        spare.bitwise_and_((1 << 64 - shift) - 1)  # int64 shifts copy the sign; the finalizer wants zeros
        z.bitwise_xor_(spare)
        if multiplier != 1:
            z.mul_(_signed(multiplier))
    return z


# ------------------------------------------------------------------------------------- distributions to numbers


class _Affine(NamedTuple):
    """Uniform: `position * step + middle`, held in `[low, high]`."""

    step: float
    middle: float
    low: float
    high: float


class _Quantile(NamedTuple):
    """Location, scale, bounds in the tensor's dtype, and the truncated standard normal they are applied to."""

    loc: float
    scale: float
    low: float
    high: float
    alpha: float
    beta: float


class _Choice(NamedTuple):
    """Two values: `high` in lanes up to `last`, else `low`."""

    last: int
    low: float
    high: float


_Recipe = _Affine | _Quantile | _Choice


@lru_cache(maxsize=1024)
def _recipe(distribution: Distribution, dtype: torch.dtype) -> _Recipe:
    if isinstance(distribution, Uniform):
        low, high = float(distribution.low), float(distribution.high)
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise ValueError(f"uniform needs finite bounds with low at most high, not {low} and {high}")
        inside = _inside(low, high, dtype, open_above=True)
        bits = 64 if dtype == torch.float64 else 32
        step, middle = (math.ldexp(high, -bits) - math.ldexp(low, -bits)), low / 2 + high / 2
        return _Affine(_working(step, dtype), _working(middle, dtype), *inside)
    if isinstance(distribution, Bernoulli):
        p, low, high = (float(x) for x in (distribution.p, distribution.low, distribution.high))
        if not (0 <= p <= 1 and math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"a choice needs a probability between 0 and 1 and two finite values, not {distribution}")
        return _Choice(round(p * 2**32) - 2**31 - 1, low, high)
    if isinstance(distribution, Normal):
        loc, scale = float(distribution.mean), float(distribution.std)
        alpha, beta, low, high = -math.inf, math.inf, -math.inf, math.inf
    elif isinstance(distribution, TruncatedNormal):
        loc, scale = float(distribution.loc), float(distribution.scale)
        low, high = float(distribution.low), float(distribution.high)
        if math.isnan(low) or math.isnan(high) or not low < high:
            raise ValueError(f"a truncated normal needs low less than high, not {low} and {high}")
        alpha, beta = ((low - loc) / scale, (high - loc) / scale) if scale > 0 else (-math.inf, math.inf)
    else:
        raise TypeError(f"{type(distribution).__name__} is no element-wise distribution")
    if not (math.isfinite(loc) and math.isfinite(scale) and scale >= 0):
        raise ValueError(f"a normal needs a finite mean and a finite std of at least 0, not {loc} and {scale}")
    if isinstance(distribution, TruncatedNormal):
        if scale == 0:
            raise ValueError("a truncated normal needs a scale greater than 0")
        if min(abs(alpha), abs(beta)) > _FARTHEST and (alpha > 0) == (beta > 0):
            raise ValueError(f"the bounds of a truncated normal are more than {_FARTHEST} scales from its location")
        low, high = _inside(low, high, dtype, open_above=False)
        if dtype != torch.float64 and alpha <= 0 <= beta:
            # What lies farther out has less than 2**-62 of the mass, and no float32 position falls there.
            alpha, beta = (-math.inf if alpha < -_NEVER else alpha), (math.inf if beta > _NEVER else beta)
    return _Quantile(loc, scale, low, high, alpha, beta)


def _working(value: float, dtype: torch.dtype) -> float:
    """A parameter rounded to the precision the values are computed in."""
    return value if dtype == torch.float64 else float(_number(value).to(torch.float32))


def _number(value: float) -> Tensor:
    """As a tensor on the CPU, whatever torch's default device is."""
    return torch.tensor(value, dtype=torch.float64, device="cpu")


def _inside(low: float, high: float, dtype: torch.dtype, open_above: bool) -> tuple[float, float]:
    """The smallest and the largest number of `dtype` in the interval; where there is none, the nearest number twice."""
    if dtype == torch.float64 and not open_above:
        return low, high
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]

    def step(number: Tensor, up: bool) -> Tensor:
        bits = int(number.view(integer))
        if float(number) == 0:
            smallest = torch.tensor(1, dtype=integer, device="cpu").view(dtype)
            return smallest if up else -smallest
        bits += 1 if (float(number) > 0) == up else -1
        return torch.tensor(bits, dtype=integer, device="cpu").view(dtype)

    bottom = _number(low).to(dtype)
    top = _number(high).to(dtype)
    while float(bottom) < low:
        bottom = step(bottom, up=True)
    while float(top) > high or (open_above and float(top) == high and low < high):
        top = step(top, up=False)
    if float(bottom) > float(top):
        nearest = float(_number(low).to(dtype))
        return nearest, nearest
    return float(bottom), float(top)


# ---------------------------------------------------------------------------- the normal distribution function

_FARTHEST = 37.0


_NEVER = 9.0


_DIGITS = 60


_DECIMAL = Context(prec=_DIGITS, rounding=ROUND_HALF_EVEN, Emin=-999999, Emax=999999, clamp=0, traps=[])


@lru_cache(maxsize=1024)
def _upper_tail(x: float) -> Decimal:
    """The probability that a standard normal exceeds `x`, to some 50 digits; the same on every machine."""
    with localcontext(_DECIMAL):
        if math.isinf(x):
            return Decimal(0 if x > 0 else 1)
        if x < 0:
            return 1 - _upper_tail(-x)
        if x > 1000:  # exp() would run for long, and nothing below 1e-400000 matters
            return Decimal(0)
        at = Decimal(x)
        density = (-at * at / 2).exp() / (2 * _PI).sqrt()
        if x < 8:
            # integral from 0 to x: density * (x + x^3/3 + x^5/15 + ...); all terms positive
            term = total = at
            n = 1
            while term > total * Decimal(10) ** -_DIGITS:
                n += 2
                term = term * at * at / n
                total += term
            return Decimal("0.5") - density * total
        fraction = at  # Laplace's continued fraction x + 1/(x + 2/(x + 3/(x + ...)))
        for n in range(200, 0, -1):
            fraction = at + n / fraction
        return density / fraction


_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899")


class _Truncation(NamedTuple):
    """A truncated standard normal seen from the side of its upper tail.

    The survival probability at fraction `u` of the mass, counted from the lower bound, is `survival * (1 - u * drop)`;
    `log` is minus the logarithm of `survival`. `mirrored` says that lower and upper were exchanged.
    """

    survival: float
    log: float
    drop: float
    mirrored: bool


@lru_cache(maxsize=1024)
def _truncation(alpha: float, beta: float) -> _Truncation:
    mirrored = alpha + beta < 0
    if mirrored:
        alpha, beta = -beta, -alpha
    with localcontext(_DECIMAL):
        above, beyond = _upper_tail(alpha), _upper_tail(beta)
        return _Truncation(float(above), float(-above.ln()), float(1 - beyond / above), mirrored)


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
    above, below = (torch.full_like(x, part[-1]) for part in coefficients)
    for a, b in zip(coefficients[0][-2::-1], coefficients[1][-2::-1], strict=True):
        above.mul_(x).add_(a)
        below.mul_(x).add_(b)
    return above.div_(below)


_LN2_HIGH, _LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10  # the first has 32 bits: times e is exact


def _log(x: Tensor) -> Tensor:
    """The natural logarithm of positive, normal float64 numbers from `+ - * /` alone."""
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


def _normal_quantile(position: Tensor, alpha: float, beta: float) -> Tensor:
    """The truncated standard normal at signed positions, float64.

    A positive position is a fraction of the mass counted from the lower bound, a negative one, negated, from the
    upper bound; so both ends keep their digits. `-0.5 <= position <= 0.5`, and not 0 where that bound is infinite.
    """
    lower = position > 0
    near = position.abs()
    if math.isinf(alpha) and math.isinf(beta):
        return _from_survival(near, -_log(near)) * torch.where(lower, -1.0, 1.0).to(position.dtype)
    cut = _truncation(alpha, beta)
    if cut.mirrored:
        lower = ~lower
    # 1 - u * drop; from the upper end that is (1 - drop) + near * drop, whose first part is exact as a parameter
    kept = torch.where(lower, 1.0 - near * cut.drop, _remainder(alpha, beta) + near * cut.drop)
    z = _from_survival(kept * cut.survival, cut.log - _log(kept))
    return -z if cut.mirrored else z


@lru_cache(maxsize=1024)
def _remainder(alpha: float, beta: float) -> float:
    """The survival probability at the far bound over that at the near one."""
    if alpha + beta < 0:
        alpha, beta = -beta, -alpha
    with localcontext(_DECIMAL):
        return float(_upper_tail(beta) / _upper_tail(alpha))


def _from_survival(survival: Tensor, log: Tensor) -> Tensor:
    """The number a standard normal exceeds with the given probability; `log` is minus its logarithm."""
    q = 0.5 - survival
    central = q * _ratio(0.180625 - q * q, _CENTRAL)
    # Above one half the lower tail is the near one, and its logarithm has to be taken anew.
    mirrored = survival > 0.5
    rest = torch.where(mirrored, 1.0 - survival, 0.25)
    log = torch.where(mirrored, -_log(rest.clamp_(min=1e-300)), log).clamp_(min=0.0)
    r = log.sqrt()
    tail = torch.where(r <= 5.0, _ratio(r - 1.6, _TAIL), _ratio(r - 5.0, _FAR))
    return torch.where(q.abs() <= 0.425, central, torch.where(mirrored, -tail, tail))


# ------------------------------------------------------------------------- the float32 quantile as line segments

# A float32 position is a signed count of 2**-32: 0.5 .. 2**31. Its segment is its sign, its exponent and the first
# bits of its mantissa, so segments are as fine, relative to the distance from the bound, everywhere.
_FINE = 9


_DROP = 23 - _FINE


_FIRST, _LAST = 126 << _FINE, 158 << _FINE


_SHIFT = (1 << 31 - _DROP) - _FIRST  # added to the arithmetic shift of the bits, makes negative positions start at 0


_POSITIVE = 1 << 31 - _DROP  # where positive positions start


_SIZE = _POSITIVE + _LAST - _FIRST + 1


P = ParamSpec("P")


Table = TypeVar("Table", bound=tuple[Tensor, ...])


def _outside_modes(make: Callable[P, Table]) -> Callable[P, Table]:
    """Plain tensors, which can be kept, also where a mode of torch makes others (fake ones): modes are a thread's own."""

    @wraps(make)
    def plain(*args: P.args, **kwargs: P.kwargs) -> Table:
        made = make(*args, **kwargs)
        if type(made[0]) is Tensor:
            return made
        with ThreadPoolExecutor(1) as elsewhere:
            return elsewhere.submit(make, *args, **kwargs).result()

    return plain


@lru_cache(maxsize=8)
@_outside_modes
def _segments(alpha: float, beta: float) -> tuple[Tensor, Tensor]:
    """Intercept and slope of each segment, float64, laid out by index; what no position reaches stays unset."""
    count = _LAST - _FIRST
    number = torch.arange(_FIRST, _LAST + 1, dtype=torch.int32, device="cpu")
    position = (number << _DROP).view(torch.float32).to(torch.float64)
    intercepts, slopes = torch.zeros(2, _SIZE, dtype=torch.float64, device="cpu").unbind()
    for sign, start in ((1.0, _POSITIVE), (-1.0, 0)):
        x = position * sign
        y = _normal_quantile(x * 2.0**-32, alpha, beta)
        slope = (y[1:] - y[:-1]) / (x[1:] - x[:-1])
        slopes[start : start + count] = slope
        intercepts[start : start + count] = y[:-1] - slope * x[:-1]
        intercepts[start + count] = y[-1]  # the middle, reached by rounding: a single point
    return intercepts, slopes


@lru_cache(maxsize=8)
@_outside_modes
def _device_segments(alpha: float, beta: float, device: torch.device) -> tuple[Tensor, Tensor]:
    intercepts, slopes = _segments(alpha, beta)
    return intercepts.to(device), slopes.to(device)


class _Lines(NamedTuple):
    intercepts: Tensor
    slopes: Tensor


@lru_cache(maxsize=8)
@_outside_modes
def _lines(recipe: _Quantile, device: torch.device) -> _Lines:
    """The segments of a distribution, located, scaled and rounded to float32."""
    intercepts, slopes = _segments(recipe.alpha, recipe.beta)
    return _Lines(
        (intercepts * recipe.scale + recipe.loc).to(torch.float32).to(device),
        (slopes * recipe.scale).to(torch.float32).to(device),
    )


# ----------------------------------------------------------------------------------------------------- filling


Leaf = tuple[Tensor, list[int], int]


class _Filler:
    """One fill: cuts the tensor into chunks and generates each; owns the buffers, whatever the tensor's size."""

    def __init__(self, key: StreamKey, recipe: _Recipe, tensor: Tensor) -> None:
        self.key, self.recipe, self.tensor = key, recipe, tensor
        self.device = tensor.device
        self.double = tensor.dtype == torch.float64
        self.precision = torch.float64 if self.double else torch.float32
        on_cpu = self.device.type == "cpu"
        self.chunk = _CPU_CHUNK if on_cpu else _DEVICE_CHUNK
        # scaling single segments is done in float64, which not every accelerator has
        self.small = tensor.numel() < _SMALL and self.device.type not in ("mps", "xpu")
        compilable = on_cpu and not self.double and not self.small
        self.kernel = _kernel(tensor.numel()) if compilable else None
        self.alone = False
        self.steps: Tensor | None = None
        self.buffers: dict[tuple[str, torch.dtype], Tensor] = {}

    def fill(self, lengths: list[int], steps: list[int], offset: int) -> None:
        """Fill the whole tensor; a fill that runs out of memory is taken up again with less, as nobody can undo it."""
        while True:
            try:
                self.walk(lengths, steps, offset)
                return
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error) or not self.spares():
                    raise

    def spares(self) -> bool:
        """Go on with less memory: one thread, smaller chunks. Returns whether that is less than before."""
        _mine.reserve = None
        if self.chunk <= _LEAST_CHUNK:
            return False
        self.alone, self.chunk, self.steps = True, max(_LEAST_CHUNK, self.chunk >> 4), None
        self.buffers.clear()
        return True

    def walk(self, lengths: list[int], steps: list[int], offset: int) -> None:
        """Fill the whole tensor, dimensions ordered from the slowest logical index to the fastest."""
        dims = sorted(
            ((step, n, memory) for step, n, memory in zip(steps, lengths, self.tensor.stride(), strict=True) if n > 1),
            key=lambda dim: -dim[0],
        )
        merged: list[tuple[int, int, int]] = []
        for step, n, memory in dims:
            if merged and merged[-1][0] == step * n and merged[-1][2] == memory * n:
                merged[-1] = (step, n * merged[-1][1], memory)
            else:
                merged.append((step, n, memory))
        view = self.tensor.as_strided([n for _, n, _ in merged], [m for _, _, m in merged])
        self.block(view, [step for step, _, _ in merged], offset)

    def block(self, view: Tensor, steps: list[int], offset: int) -> None:
        if self.kernel is not None and view.is_contiguous() and view.dtype == torch.float32 and _rows(steps):
            self.compiled(view, offset, steps)
            return
        on_many = self.device.type == "cpu" and view.numel() >= _SHARE_FROM and not self.alone
        threads = torch.get_num_threads() if on_many else 1
        if threads > 1:
            self.chunk = min(_SHARED_CHUNK, max(self.chunk, -(-view.numel() // threads)))
        leaves = self.leaves(view, steps, offset)
        if threads == 1:
            for leaf in leaves:
                self.leaf(*leaf)
            return
        # Each thread its own chunks, not all threads on each operation: those would wait for one another after each.

        def worker() -> Callable[[Leaf], None]:
            filler = copy(self)
            # a helper keeps them for its next fill: new memory costs as much as filling it
            filler.buffers, filler.steps = _mine.buffers, None
            return lambda leaf: filler.leaf(*leaf)

        shared(leaves, worker, min(threads, -(-view.numel() // self.chunk)))

    def leaves(self, view: Tensor, steps: list[int], offset: int) -> Iterator[Leaf]:
        """The view in parts of at most a chunk, with their logical steps and offsets."""
        if view.numel() <= self.chunk:
            yield view, steps, offset
            return
        inner = view.numel() // view.shape[0]
        rows = max(1, self.chunk // inner)
        for row in range(0, view.shape[0], rows):
            if inner <= self.chunk:
                yield view[row : row + rows], steps, offset + row * steps[0]
            else:
                yield from self.leaves(view[row], steps[1:], offset + row * steps[0])

    def leaf(self, view: Tensor, steps: list[int], offset: int) -> None:
        direct = view.dtype == self.precision and view.is_contiguous()
        out = view.view(-1) if direct else self.buffer("out", view.numel(), self.precision)
        lengths, steps = _merge(list(view.shape), steps)
        if self.kernel is not None and _rows(steps):
            self.compiled(out.view(lengths), offset, steps)
        else:
            self.write(out, lengths, steps, offset)
        if not direct:
            view.copy_(out.view(view.shape))

    def buffer(self, name: str, count: int, dtype: torch.dtype) -> Tensor:
        have = self.buffers.get((name, dtype))
        if have is None or have.numel() < count:
            have = self.buffers[name, dtype] = torch.empty(count, dtype=dtype, device=self.device)
        return have[:count]

    # -- positions

    def lanes(self, lengths: list[int], steps: list[int], offset: int, state: int) -> Tensor:
        """The 32-bit lane of each element, as an int32 tensor of one dimension (a buffer's memory)."""
        count = math.prod(lengths)
        if steps == [1]:
            first, skip = offset >> 1, offset & 1
            m = (count + skip + 1) >> 1
            if self.steps is None or self.steps.numel() < m:
                self.steps = torch.arange(m, out=self.buffer("steps", m, torch.int64), device=self.device)
                self.steps.mul_(_signed(self.key.gamma))
            z = self.buffer("words", m, torch.int64)
            torch.add(self.steps[:m], _signed(state + first * self.key.gamma), out=z)
            return _mix(z, self.buffer("spare", m, torch.int64)).view(torch.int32)[skip : skip + count]
        if len(steps) == 2 and steps[1] == 1 and not steps[0] & 1 and lengths[1] >= 8:
            return self.rows_of_lanes(lengths, steps[0], offset, state)
        index = torch.full((), offset, dtype=torch.int64, device=self.device)
        for n, step in zip(lengths, steps, strict=True):
            index = index.unsqueeze(-1) + torch.arange(n, dtype=torch.int64, device=self.device) * step
        index = index.reshape(-1)
        z = (index >> 1).mul_(_signed(self.key.gamma)).add_(_signed(state))
        _mix(z, self.buffer("spare", count, torch.int64))
        halves = z.view(torch.int32).view(count, 2)
        return torch.where((index & 1).bool(), halves[:, 1], halves[:, 0])

    def rows_of_lanes(self, lengths: list[int], step: int, offset: int, state: int) -> Tensor:
        """The lanes of rows that begin an even number of elements apart: within each, words count on."""
        rows, count = lengths
        first, skip = offset >> 1, offset & 1
        m = (count + skip + 1) >> 1
        gamma = self.key.gamma
        starts = torch.arange(rows, dtype=torch.int64, device=self.device).mul_(_signed((step >> 1) * gamma))
        starts.add_(_signed(state + first * gamma))
        along = torch.arange(m, dtype=torch.int64, device=self.device).mul_(_signed(gamma))
        z = self.buffer("words", rows * m, torch.int64)
        torch.add(starts[:, None], along, out=z.view(rows, m))
        _mix(z, self.buffer("spare", rows * m, torch.int64))
        return z.view(torch.int32).view(rows, 2 * m)[:, skip : skip + count].reshape(-1)

    # -- values

    def write(self, out: Tensor, lengths: list[int], steps: list[int], offset: int) -> None:
        if self.double:
            self.write_double(out, lengths, steps, offset)
            return
        recipe = self.recipe
        lane = self.lanes(lengths, steps, offset, self.key.state)
        if isinstance(recipe, _Choice):
            self.choose(out, lane, recipe)
            return
        out.copy_(lane)
        if isinstance(recipe, _Affine):
            out.mul_(recipe.step)
            if recipe.middle:
                out.add_(recipe.middle)
            out.clamp_(recipe.low, recipe.high)
            return
        out.add_(0.5)
        index = self.buffer("spare", (out.numel() + 1) >> 1, torch.int64).view(torch.int32)[: out.numel()]
        torch.bitwise_right_shift(out.view(torch.int32), _DROP, out=index)
        index.add_(_SHIFT)
        if self.small:
            intercepts, slopes = _device_segments(recipe.alpha, recipe.beta, self.device)
            out.mul_(slopes.index_select(0, index).mul_(recipe.scale).to(torch.float32))
            out.add_(intercepts.index_select(0, index).mul_(recipe.scale).add_(recipe.loc).to(torch.float32))
        else:
            lines = _lines(recipe, self.device)
            picked = self.buffer("words", (out.numel() + 2) >> 1, torch.int64).view(torch.float32)[: out.numel()]
            out.mul_(torch.index_select(lines.slopes, 0, index, out=picked))
            out.add_(torch.index_select(lines.intercepts, 0, index, out=picked))
        if not math.isinf(recipe.low) or not math.isinf(recipe.high):
            out.clamp_(recipe.low, recipe.high)

    def write_double(self, out: Tensor, lengths: list[int], steps: list[int], offset: int) -> None:
        recipe = self.recipe
        if isinstance(recipe, _Choice):
            self.choose(out, self.lanes(lengths, steps, offset, self.key.state), recipe)
            return
        coarse = self.lanes(lengths, steps, offset, self.key.state).to(torch.int64)
        fine = self.lanes(lengths, steps, offset, self.key.fine).to(torch.int64)
        position = (coarse << 32) | (fine & 0xFFFFFFFF)
        out.copy_(position)
        if isinstance(recipe, _Affine):
            out.mul_(recipe.step).add_(recipe.middle)
        else:
            out.add_(0.5).mul_(2.0**-64)
            z = _normal_quantile(out, recipe.alpha, recipe.beta)
            torch.mul(z, recipe.scale, out=out).add_(recipe.loc)
        if not math.isinf(recipe.low) or not math.isinf(recipe.high):
            out.clamp_(recipe.low, recipe.high)

    def choose(self, out: Tensor, lane: Tensor, recipe: _Choice) -> None:
        if recipe.last < -(2**31):  # below every lane, and no number of 32 bits
            out.fill_(recipe.low)
            return
        chosen = torch.le(lane, recipe.last)
        out.fill_(recipe.low)
        out.masked_fill_(chosen, recipe.high)

    # -- the compiled kernel

    def compiled(self, out: Tensor, offset: int, steps: list[int]) -> None:
        """Fill contiguous memory of one dimension or two, within whose rows elements count on."""
        assert self.kernel is not None
        kernel, recipe, key = self.kernel, self.recipe, self.key
        row = steps[0] if len(steps) == 2 else 1
        array = out.numpy()
        torch.autograd.graph.increment_version(self.tensor)  # a write through numpy is not seen by autograd
        tables = tuple(part.numpy() for part in _lines(recipe, self.device)) if isinstance(recipe, _Quantile) else ()

        def part(a: int, b: int) -> None:
            rows = array[a:b] if array.ndim == 2 else array[None, a:b]
            where = rows, offset + a * row, row, key.state, key.gamma
            if isinstance(recipe, _Affine):
                kernel.affine(*where, *recipe)
            elif isinstance(recipe, _Choice):
                kernel.choice(*where, *recipe)
            else:
                kernel.lines(*where, *tables, recipe.low, recipe.high)

        _spread(part, len(array), 0 if self.alone else out.numel())


def _merge(lengths: list[int], steps: list[int]) -> tuple[list[int], list[int]]:
    """Join dimensions that together count on without a gap; steps are in falling order."""
    merged: list[tuple[int, int]] = []
    for n, step in zip(lengths, steps, strict=True):
        if n == 1:
            continue
        if merged and merged[-1][1] == step * n:
            merged[-1] = (merged[-1][0] * n, step)
        else:
            merged.append((n, step))
    return ([n for n, _ in merged], [step for _, step in merged]) if merged else ([1], [1])


def _rows(steps: list[int]) -> bool:
    """Whether elements count on along the last dimension, of one or two."""
    return 1 <= len(steps) <= 2 and steps[-1] == 1


def _spread(call: Callable[[int, int], None], count: int, elements: int) -> None:
    """Run `call(start, stop)` over `range(count)` on torch's number of threads; the kernel holds no lock."""
    workers = min(torch.get_num_threads(), max(1, elements // _THREAD_FROM), count)
    parts = min(count, max(workers, elements // _SHARE_FROM))  # small enough that no thread waits long for another
    edges = [count * part // parts for part in range(parts + 1)]
    if workers == 1:
        call(0, count)
    else:
        shared(pairwise(edges), lambda: lambda pair: call(*pair), workers)


class _Mine(threading.local):
    """What a thread keeps from one fill to the next: a helper its buffers, others their helpers and a reserve."""

    def __init__(self) -> None:
        self.buffers: dict[tuple[str, torch.dtype], Tensor] = {}
        self.team: ThreadPoolExecutor | None = None
        self.reserve: Any = None


_mine = _Mine()


@contextmanager
def team() -> Iterator[None]:
    """All fills that this thread makes in the block are shared by the same helper threads, which end with it.

    Some memory is put by first, so that a fill can go on where there is no more.
    """
    if _mine.team is not None:
        yield
        return
    with suppress(MemoryError):
        _mine.reserve = np.empty(_RESERVE, np.uint8)
    with ThreadPoolExecutor(torch.get_num_threads()) as _mine.team:
        try:
            yield
        finally:
            _mine.team = _mine.reserve = None


Job = TypeVar("Job")


def shared(jobs: Iterator[Job], worker: Callable[[], Callable[[Job], None]], threads: int) -> None:
    """Do all jobs on some threads; `worker()` gives each its own function. torch uses one thread in each of them.

    Raises the first error, after the other threads have ended their jobs.
    """
    lock = threading.Lock()
    over = False
    first: BaseException | None = None

    def take() -> Any:
        with lock:
            return _END if over else next(jobs, _END)

    inference = torch.is_inference_mode_enabled()

    def loop() -> None:
        nonlocal first, over
        try:
            torch.set_num_threads(1)  # of this thread: the others keep theirs
            with torch.inference_mode(inference):
                work = worker()
                while (job := take()) is not _END:
                    work(job)
        except BaseException as error:  # handed to the caller's thread below
            with lock:
                over = True
                first = first or error

    before = torch.get_num_threads()
    with team():
        assert _mine.team is not None
        started: list[Future[None]] = []
        try:
            for _ in range(threads):
                started.append(_mine.team.submit(loop))
            wait(started)
        except BaseException:  # an interrupt, or no more threads: let the others end what they are at
            over = True  # for what the team has not begun too
            wait(started)
            raise
        finally:
            torch.set_num_threads(before)
    if first is not None:
        error, first = first, None  # or what it holds, buffers among it, would wait for the collector
        try:
            raise error
        finally:
            del error


_END = object()


_unusable = False  # numba is there, and can't be imported


@lru_cache(maxsize=1)
def _load_kernel() -> Any:
    """The compiled kernel's module; None where numba is there but fails, as it does with a numpy it doesn't know."""
    global _unusable
    try:
        from . import numba_kernel as _kernel_numba
    except Exception as error:
        if os.environ.get("INITDSL_KERNEL") == "numba":
            raise
        said = (str(error).splitlines() or [""])[0]
        warnings.warn(f"numba can't be used, torch fills in its place: {type(error).__name__}: {said}", stacklevel=2)
        _unusable = True
        return None
    return _kernel_numba


def _chosen() -> str:
    choice = os.environ.get("INITDSL_KERNEL", "")
    if choice not in ("", "numba", "torch"):
        raise ValueError(f"INITDSL_KERNEL must be numba or torch, not {choice}")
    if choice != "torch" and importlib.util.find_spec("numba") is not None:
        return choice or ("torch" if _unusable else "auto")
    if choice == "numba":
        raise ValueError("INITDSL_KERNEL is numba, but numba is not installed")
    return "torch"


# elements that could have used the kernel, and of those what is announced and not filled yet; a lost update between
# threads only delays the kernel
_filled = _announced = 0


def _kernel(count: int) -> Any:
    """The compiled kernel's module, or None where it is switched off, cannot be had or would not pay yet."""
    global _filled, _announced
    choice = _chosen()
    if choice == "torch":
        return None
    known = min(count, _announced)
    _announced -= known
    _filled += count - known
    return _load_kernel() if choice == "numba" or _filled >= _COMPILE_AFTER else None


if sys.byteorder != "little":  # halves of a word are taken by their place in memory
    raise ImportError("initdsl.streams needs a little-endian machine")
