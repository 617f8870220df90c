"""Statistical quality of stream v1: within one stream, and across neighbouring names, seeds and draws.

Streams are fixed, so each statistic is one number: a test passes always or never, and its limit can be a tail
probability of 1e-6. The long batteries and their results are in `docs/streams.md`.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from initdsl.initializers.distributions import Distribution, Normal, TruncatedNormal, Uniform
from initdsl.streams import keys
from initdsl.streams import tensors as streams
from tests.support.processes import LONGEST

special = pytest.importorskip("scipy.special")
stats = pytest.importorskip("scipy.stats")

ROOT = Path(__file__).parents[2]
QUALITY = ROOT / "benchmarks" / "quality"
TINY = 1e-6
ORDERS: dict[str, Callable[[int], keys.StreamKey]] = {
    "names": lambda n: keys.key(0, f"layers.{n}.weight"),
    "seeds": lambda n: keys.key(n, "weight"),
    "draws": lambda n: keys.key(0, "weight", n),
}


def interleaved(order: str, count: int) -> np.ndarray:
    """`count` words, unsigned: of one stream, or one of each of 256 neighbouring streams in turn."""
    if order == "one":
        return keys.words(keys.key(0, "weight"), 0, count).numpy().view(np.uint64)
    parts = [keys.words(ORDERS[order](n), 0, count // 256) for n in range(256)]
    return torch.stack(parts, 1).reshape(-1).numpy().view(np.uint64)


every_order = pytest.mark.parametrize("order", ["one", *ORDERS])


@every_order
def test_each_bit_is_fair_and_independent_of_the_others_and_of_the_next(order: str) -> None:
    words = interleaved(order, 1 << 16)
    bits = np.unpackbits(words.view(np.uint8).reshape(-1, 8), axis=1).astype(np.float32) * 2 - 1
    n = len(bits)
    limit = stats.norm.isf(TINY / 2 / (64 * 64)) / math.sqrt(n)
    assert np.abs(bits.mean(0)).max() < limit
    assert np.abs(bits.T @ bits / n - np.eye(64)).max() < limit
    for lag in (1, 2, 255, 256, 257):
        assert np.abs(bits[lag:].T @ bits[:-lag] / (n - lag)).max() < limit * 1.01


@every_order
@pytest.mark.parametrize("shift", [0, 16, 32, 48])
def test_pairs_fill_the_plane_evenly(order: str, shift: int) -> None:
    cells = (interleaved(order, 1 << 19) >> np.uint64(shift)) & np.uint64(0xFF)
    pairs = cells[:-1:2] * np.uint64(256) + cells[1::2]
    counts = np.bincount(pairs.astype(np.int64), minlength=1 << 16)
    p = stats.chi2.sf(((counts - counts.mean()) ** 2 / counts.mean()).sum(), len(counts) - 1)
    assert TINY < p < 1 - TINY


@every_order
def test_spacings_of_birthdays(order: str) -> None:
    """Marsaglia's test, sensitive to lattices: repeated spacings are Poisson with mean n^3 / 4m."""
    days, people = 1 << 32, 1 << 12
    values = (interleaved(order, people * 64) >> np.uint64(32)).astype(np.int64).reshape(64, people)
    spacings = np.sort(np.diff(np.sort(values, axis=1), axis=1), axis=1)
    repeats = int((np.diff(spacings, axis=1) == 0).sum())
    mean = 64 * people**3 / (4 * days)
    assert stats.poisson.ppf(TINY, mean) <= repeats <= stats.poisson.isf(TINY, mean)


def test_words_do_not_collide_across_streams() -> None:
    words = np.concatenate([interleaved(order, 1 << 17) for order in ORDERS])
    own = len({ORDERS[order](n) for order in ORDERS for n in range(256)})
    assert own == 3 * 256 - 1  # ("weight", seed 0, draw 0) is in two of them, and no other
    assert len(np.unique(words)) == len(words) - (1 << 17) // 256


def reference(distribution: Distribution) -> Any:
    """The distribution in scipy."""
    if isinstance(distribution, Uniform):
        return stats.uniform(distribution.low, distribution.high - distribution.low)
    if isinstance(distribution, TruncatedNormal):
        a, b = ((x - distribution.loc) / distribution.scale for x in (distribution.low, distribution.high))
        return stats.truncnorm(a, b, distribution.loc, distribution.scale)
    return stats.norm(distribution.mean, distribution.std)


@pytest.mark.parametrize(
    "distribution",
    [Uniform(-1, 1), Normal(0.5, 0.02), TruncatedNormal(0, 1, -2, 2), TruncatedNormal(0, 1, 1, math.inf)],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_distributions(distribution: Distribution, dtype: torch.dtype) -> None:
    n = 1 << 19
    tensor = torch.empty(n, dtype=dtype)
    streams.fill(tensor, distribution, keys.key(1, "x"))
    values = tensor.double().numpy()
    assert stats.ks_1samp(values, reference(distribution).cdf, method="asymp").pvalue > TINY
    z = (values - distribution.mean) / distribution.std
    assert abs(z.mean()) < 5 / math.sqrt(n)
    assert abs((z * z).mean() - 1) < 5 * math.sqrt(np.var(z * z) / n)
    assert abs((z[1:] * z[:-1]).mean()) < 5 / math.sqrt(n)


def test_the_tail_has_its_share() -> None:
    """Beyond 4.5, 5 and 5.5 standard deviations, in 2**26 elements."""
    tensor, beyond = torch.empty(1 << 22), np.zeros(3)
    for part in range(16):
        streams.fill(tensor, Normal(0, 1), keys.key(0, "tail"), offset=part << 22)
        beyond += [int((tensor.abs() > x).sum()) for x in (4.5, 5.0, 5.5)]
    for count, x in zip(beyond, (4.5, 5.0, 5.5), strict=True):
        mean = (1 << 26) * 2 * stats.norm.sf(x)
        assert stats.poisson.ppf(TINY, mean) <= count <= stats.poisson.isf(TINY, mean), x


@pytest.mark.slow
@pytest.mark.parametrize(
    "distribution",
    [Uniform(-1, 1), Normal(0, 1), Normal(0.5, 0.02), TruncatedNormal(0, 1, -2, 2), TruncatedNormal(0, 1, 1, math.inf)],
    ids=str,
)
def test_a_hundred_million(distribution: Distribution) -> None:
    """Kolmogorov-Smirnov, four moments and the tails at 10**8 elements."""
    n, part = 10**8, 10**7
    theirs = reference(distribution)

    def cumulative(x: np.ndarray) -> np.ndarray:
        if isinstance(distribution, Uniform):
            return (x - distribution.low) / (distribution.high - distribution.low)
        place, scale = (
            (distribution.mean, distribution.std)
            if isinstance(distribution, Normal)
            else (distribution.loc, distribution.scale)
        )
        low, high = ((edge - place) / scale for edge in distribution.bounds)
        above = special.ndtr(-low)  # seen from above, where a truncated tail keeps its digits
        return (above - special.ndtr((place - x) / scale)) / (above - special.ndtr(-high))

    u, tensor, sums, squares, lag = np.empty(n, dtype=np.float32), torch.empty(part), np.zeros(5), np.zeros(5), 0.0
    for start in range(0, n, part):
        streams.fill(tensor, distribution, keys.key(0, "hundred"), offset=start)
        values = tensor.double().numpy()
        z = (values - distribution.mean) / distribution.std
        sums += [(z**k).sum() for k in range(5)]
        squares += [(z ** (2 * k)).sum() for k in range(5)]
        lag += float((z[1:] * z[:-1]).sum())
        u[start : start + part] = cumulative(values)
    skew, kurtosis = theirs.stats("sk")
    for k, expected in enumerate((1, 0, 1, float(skew), float(kurtosis) + 3)):
        error = math.sqrt((squares[k] / n - (sums[k] / n) ** 2) / n)
        assert abs(sums[k] / n - expected) <= 5 * error, k
    assert abs(lag) / n < 5 / math.sqrt(n)
    for tail in (1e-3, 1e-5, 1e-6):
        for count in (int((u < tail).sum()), int((u > 1 - tail).sum())):  # float32 has steps of 6e-8 below 1
            low, high = stats.poisson.ppf(TINY, n * (tail - 6e-8)), stats.poisson.isf(TINY, n * (tail + 6e-8))
            assert low <= count <= high, tail
    u.sort()
    distance = max(float(np.abs(np.arange(at, at + part) / n - u[at : at + part]).max()) for at in range(0, n, part))
    assert stats.kstwobign.sf((distance - 7e-8) * math.sqrt(n)) > 1e-4


@pytest.fixture(scope="session")
def testu01(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver, linked with TestU01 where that is installed (or under TESTU01_PREFIX)."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    program = tmp_path_factory.mktemp("testu01") / "testu01"
    prefix = os.environ.get("TESTU01_PREFIX")
    places = [f"-I{prefix}/include", f"-L{prefix}/lib", f"-Wl,-rpath,{prefix}/lib"] if prefix else []
    source = str(QUALITY / "testu01.c")
    said = []
    for own in ("", "testu01"):  # Debian's package has its libraries under names of its own
        libraries = ["-ltestu01", f"-l{own}probdist", f"-l{own}mylib", "-lm"]
        command = [compiler, "-O2", source, *places, *libraries, "-o", str(program)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            return program
        said.append(done.stderr)
        if "TestU01.h" in done.stderr or "-ltestu01:" in done.stderr:
            pytest.skip("TestU01 is not installed")
    pytest.fail("\n".join(said))


@pytest.mark.slow
@pytest.mark.parametrize("order", ["one", "names", "seeds", "draws", "starts"])
@pytest.mark.parametrize("bits", ["", "reversed"])
def test_small_crush(testu01: Path, order: str, bits: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    emit = subprocess.Popen(
        [sys.executable, str(QUALITY / "emit.py"), order],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    try:
        words = ["small", bits] if bits else ["small"]
        done = subprocess.run([testu01, *words], stdin=emit.stdout, capture_output=True, text=True, timeout=LONGEST)
    finally:
        emit.kill()
        emit.wait()
    assert done.returncode == 0, done.stderr
    assert "All tests were passed" in done.stdout, done.stdout[-2000:]
