"""Values of streams: how accurate they are, and that they keep their bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from initdsl.initializers.distributions import Constant, Distribution, Normal, TruncatedNormal, Uniform
from initdsl.streams import quantile, values
from tests.streams.conftest import choose
from tests.streams.test_streams import filled

# --------------------------------------------------------------------------- values: accuracy and bounds


def mapped(
    distribution: Distribution, lanes: torch.Tensor, monkeypatch: pytest.MonkeyPatch, dtype=torch.float32
) -> np.ndarray:
    """The values that given lanes lead to."""
    choose(monkeypatch, "torch")
    monkeypatch.setattr(values, "lanes", lambda *_, **__: lanes.to(torch.int32))
    return filled(distribution, lanes.numel(), dtype=dtype).double().numpy()


EDGES = torch.tensor([0, 1, 2, 3, 100, 2**20, 2**30, 2**31 - 129, 2**31 - 64, 2**31 - 1])
LANES = torch.cat([EDGES, -1 - EDGES, torch.arange(-(2**31), 2**31, 77777)])


def test_normals_follow_the_inverse_of_the_distribution_function(monkeypatch: pytest.MonkeyPatch) -> None:
    special = pytest.importorskip("scipy.special")
    p = (LANES.double().numpy() + 0.5) / 2**32
    expected = np.copysign(special.ndtri(np.abs(p)), -p)
    got = mapped(Normal(0, 1), LANES, monkeypatch)
    assert np.abs(got - expected).max() < 6e-7
    assert got.min() < -6.3  # one element in 2**32
    for dtype in (torch.float32, torch.float64):
        got = mapped(Normal(0, 1), LANES, monkeypatch, dtype)
        assert np.array_equal(got[:10], -got[10:20])


@pytest.mark.parametrize(("alpha", "beta"), [
    (-2, 2), (-3, 1), (-1, math.inf), (-math.inf, -4), (0, 0.001), (8, 9), (-10, -9.5), (30, 31), (-8, 20), (36, math.inf),
])  # fmt: skip
def test_truncated_normals_follow_theirs(alpha: float, beta: float, monkeypatch: pytest.MonkeyPatch) -> None:
    mp = pytest.importorskip("mpmath")
    mp.mp.dps = 60
    lanes = torch.cat([EDGES, -1 - EDGES, torch.arange(-(2**31), 2**31, 2**28 + 12345)])
    got = mapped(TruncatedNormal(0, 1, alpha, beta), lanes, monkeypatch)

    def above(x: float):
        return mp.erfc(mp.mpf(x) / mp.sqrt(2)) / 2

    for lane, z in zip(lanes.tolist(), got, strict=True):
        u = (mp.mpf(lane) + (0.5 if lane >= 0 else 0.5 + 2**32)) / 2**32
        survival = above(alpha) - u * (above(alpha) - above(beta))
        # how far from the exact place: the difference of probabilities over the density there
        error = (above(z) - survival) / (mp.exp(-(mp.mpf(z) ** 2) / 2) / mp.sqrt(2 * mp.pi))
        assert abs(error) < 1e-6 + 3e-7 * abs(z), (lane, z)
        assert alpha <= z <= beta


def test_float64_normals_have_float64_accuracy() -> None:
    special = pytest.importorskip("scipy.special")
    position = torch.cat(
        [
            torch.logspace(-19, math.log10(0.5), 4000, dtype=torch.float64),
            torch.linspace(0.01, 0.5, 4000, dtype=torch.float64),
        ]
    )
    position.clamp_(max=0.5)
    got = quantile.normal_quantile(position, -math.inf, math.inf).numpy()
    expected = special.ndtri(position.numpy())
    assert np.abs(got - expected).max() < 4e-15 * 9
    x = torch.logspace(-300, 300, 5001, dtype=torch.float64)
    logs = np.array([math.log(v) for v in x.tolist()])
    assert np.abs(quantile._log(x).numpy() - logs).max() < 1.2e-13
    x = torch.linspace(0.5, 1.999, 20001, dtype=torch.float64)
    logs = np.array([math.log(v) for v in x.tolist()])
    assert np.abs(quantile._log(x).numpy() - logs).max() <= 2e-16
    assert float(quantile._log(torch.ones(1, dtype=torch.float64))) == 0


def test_the_normal_tail_is_exact() -> None:
    mp = pytest.importorskip("mpmath")
    mp.mp.dps = 70
    for x in (-40.0, -3.0, 0.0, 1e-9, 0.5, 7.99, 8.01, 37.0, 200.0):
        expected = mp.erfc(mp.mpf(x) / mp.sqrt(2)) / 2
        assert abs(mp.mpf(str(quantile._upper_tail(x))) / expected - 1) < mp.mpf(10) ** -40, x


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-1, 1), (-0.04, 0.04), (0.1, 0.3), (-5, -4), (1, 1.001), (-1e30, 1e30), (0, 1e-3)]
)
def test_uniform_is_half_open(low: float, high: float, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    if dtype == torch.float16 and high > 1e4:
        pytest.skip("out of float16's range")
    if high - low < 0.002 and dtype in (torch.bfloat16, torch.float16) and low == 1:
        pytest.skip("the dtype has no more than the lower bound in there")
    got = mapped(Uniform(low, high), LANES, monkeypatch, dtype)
    assert got.min() >= low
    assert got.max() < high
    width = high - low
    assert got.min() < low + 0.04 * width
    assert got.max() > high - 0.04 * width


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("loc", "scale", "low", "high"),
    [
        (0, 0.02, -0.04, 0.04), (0.1, 0.3, 0.1, 0.7), (0, 1, 4.3, 4.7), (0, 0.02, -2, 2), (0.1, 0.3, -math.inf, 0.7),
        (0.1, 0.3, 0.7, math.inf), (0.1, 0.1, -math.inf, 0.3), (-0.1, 0.1, -0.3, math.inf),
    ],
)  # fmt: skip
def test_truncated_normals_stay_inside(loc: float, scale: float, low: float, high: float, dtype, monkeypatch) -> None:
    got = mapped(TruncatedNormal(loc, scale, low, high), LANES, monkeypatch, dtype)
    assert low <= got.min() < got.max() <= high


def test_degenerate_distributions() -> None:
    assert filled(Uniform(0.25, 0.25), 9).eq(0.25).all()
    assert filled(Normal(3, 0), 9).eq(3).all()
    assert filled(Constant(0.1), 9, dtype=torch.bfloat16).eq(torch.tensor(0.1, dtype=torch.bfloat16)).all()
    narrow = filled(TruncatedNormal(0, 1, 0.1, 0.1000000001), 9)  # no float32 in there: the nearest
    assert narrow.eq(torch.tensor(0.1)).all()
