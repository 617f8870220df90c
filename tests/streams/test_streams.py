"""Element-addressed streams: the definition, its test vectors, and that nothing but the definition shows in the bits."""

from __future__ import annotations

import hashlib
import math
import random
import re
import statistics
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from initdsl.initializers.distributions import Bernoulli, Distribution, Normal, TruncatedNormal, Uniform
from initdsl.streams import backend, buffers, chunks, lines, native, recipes
from initdsl.streams import keys as stream_keys
from initdsl.streams import tensors as streams
from initdsl.streams import threads as workers_of
from tests.streams.conftest import choose, kernels

DOCS = Path(__file__).parents[2] / "docs" / "streams.md"
KEY = stream_keys.key(7, "encoder.layers.0.weight")
DISTRIBUTIONS: list[Distribution] = [
    Uniform(-1, 1),
    Uniform(0, 1),
    Uniform(2.5, 3.75),
    Normal(0, 1),
    Normal(0.5, 0.02),
    TruncatedNormal(0, 0.02, -0.04, 0.04),
    TruncatedNormal(0, 0.02, -2, 2),
    TruncatedNormal(1, 2, 3, math.inf),
    TruncatedNormal(0, 1, 8, 9),
    Bernoulli(0.3),
    Bernoulli(0.5, -0.25, 0.25),
]
named = pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)


def filled(
    distribution: Distribution, *shape: int, dtype: torch.dtype = torch.float32, key=KEY, **place
) -> torch.Tensor:
    tensor = torch.full(shape, math.nan, dtype=dtype)
    streams.fill(tensor, distribution, key, **place)
    return tensor


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[a.dtype.itemsize]
    return a.shape == b.shape and torch.equal(a.contiguous().view(integer), b.contiguous().view(integer))


# ------------------------------------------------------------------ the definition once more, without torch

MASK = (1 << 64) - 1


def ref_key(seed: int, name: str, draw: int) -> tuple[int, int, int]:
    message = b"initdsl stream v1\0" + struct.pack("<QQ", seed, draw) + name.encode()
    state, fine, gamma = struct.unpack("<QQQ", hashlib.blake2b(message, digest_size=24).digest())
    gamma |= 1
    if bin(gamma ^ gamma >> 1).count("1") < 24:
        gamma ^= 0xAAAAAAAAAAAAAAAA
    return state, fine, gamma


def ref_word(state: int, gamma: int, j: int) -> int:
    z = (state + j * gamma) & MASK
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


def ref_lane(state: int, gamma: int, i: int) -> int:
    lane = ref_word(state, gamma, i >> 1) >> 32 * (i & 1) & 0xFFFFFFFF
    return lane - (lane >> 31 << 32)


def f32(x: float) -> float:
    return struct.unpack("<f", struct.pack("<f", x))[0]


def ref_uniform(lane: int, low: float, high: float) -> float:
    x = f32(f32(f32(lane) * f32((high - low) / 2**32)) + f32((low + high) / 2))
    below = struct.unpack(
        "<f", struct.pack("<i", struct.unpack("<i", struct.pack("<f", high))[0] - (1 if high > 0 else -1))
    )[0]
    return min(max(x, low), below)


def ref_normal(lane: int, mean: float, std: float, alpha: float = -math.inf, beta: float = math.inf) -> float:
    """One segment of the quantile function; Python's own inverse (also of Wichura 1988) in place of ours."""
    normal = statistics.NormalDist()
    below, mass = normal.cdf(alpha), normal.cdf(beta) - normal.cdf(alpha)
    r = f32(f32(lane) + 0.5)
    bits = struct.unpack("<I", struct.pack("<f", abs(r)))[0] >> 14
    ends = [struct.unpack("<f", struct.pack("<I", b << 14))[0] for b in (bits, bits + 1)]
    if r < 0:  # seen from the upper bound, by symmetry of these cases
        z = [-normal.inv_cdf(below + mass * e / 2**32) for e in ends]
        ends = [-e for e in ends]
    else:
        z = [normal.inv_cdf(below + mass * e / 2**32) for e in ends]
    slope = (z[1] - z[0]) / (ends[1] - ends[0])
    return f32(f32(r * f32(slope * std)) + f32((z[0] - slope * ends[0]) * std + mean))


def vectors() -> list[list[str]]:
    block = re.search(r"```vectors\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert block, "docs/streams.md has no test vectors"
    return [line.split() for line in block[1].splitlines() if line.strip() and not line.startswith("#")]


def test_vectors_agree_with_the_reference_and_the_code() -> None:
    kinds = set()
    for seed, name, draw, what, index, expected in vectors():
        kinds.add(what)
        s, d, i = int(seed), int(draw), int(index)
        state, fine, gamma = ref_key(s, name, d)
        key = stream_keys.key(s, name, d)
        assert key == (state, fine, gamma)
        lane = ref_lane(state, gamma, i)
        place = {"offset": i, "key": key}
        if what == "word":
            assert ref_word(state, gamma, i) == int(expected, 16)
            assert int(stream_keys.words(key, i, 1)) & MASK == int(expected, 16)
        elif what == "uniform(-1,1)":
            assert ref_uniform(lane, -1, 1) == float(expected) == float(filled(Uniform(-1, 1), **place))
        elif what == "uniform(0,1)":
            assert ref_uniform(lane, 0, 1) == float(expected) == float(filled(Uniform(0, 1), **place))
        elif what == "normal(0,1)":
            assert ref_normal(lane, 0, 1) == float(expected) == float(filled(Normal(0, 1), **place))
        elif what == "normal(0.5,0.02)":
            assert ref_normal(lane, 0.5, 0.02) == float(expected) == float(filled(Normal(0.5, 0.02), **place))
        elif what == "trunc_normal(0,1,-2,2)":
            assert (
                ref_normal(lane, 0, 1, -2, 2) == float(expected) == float(filled(TruncatedNormal(0, 1, -2, 2), **place))
            )
        elif what in ("bernoulli(0.3)", "rademacher(1)"):
            p, low, high = (0.3, 0, 1) if what == "bernoulli(0.3)" else (0.5, -1, 1)
            assert float(expected) == (high if lane + 2**31 < round(p * 2**32) else low)
            for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
                assert float(filled(Bernoulli(p, low, high), dtype=dtype, **place)) == float(expected)
        elif what == "normal64(0,1)":
            position = (lane << 32 | ref_lane(fine, gamma, i) & 0xFFFFFFFF) + 0.5
            z = math.copysign(statistics.NormalDist().inv_cdf(abs(position) / 2**64), -position)
            assert z == pytest.approx(float(expected), rel=1e-13)
            assert float(filled(Normal(0, 1), dtype=torch.float64, **place)) == float(expected)
        else:
            pytest.fail(f"no reference for {what}")
    assert len(kinds) == 9


def test_numpy_and_torch_make_the_same_words() -> None:
    """The CPU's words come by numpy, any other device's by torch."""
    edges = [0, 1, -1, 2**63 - 1, -(2**63), 2**30, -(2**30), 2**31, 2**33 - 1]
    numbers = torch.cat([torch.tensor(edges), torch.randint(-(2**62), 2**62, (1000,))])
    host = stream_keys._mix_on_host(numbers.clone(), torch.empty_like(numbers))
    device = stream_keys._mix_on_device(numbers.clone(), torch.empty_like(numbers))
    assert torch.equal(host, device)
    assert [int(word) & MASK for word in host] == [ref_word(int(number) & MASK, 0, 0) for number in numbers]


@pytest.mark.parametrize(("what", "values"), [
    ("draw", [0, 1, 2]), ("seed", [0, 1, 2**63, 2**64 - 1]), ("name", ["a", "a.b", "a.b\0", "", "\u00e9", "e\u0301"]),
])  # fmt: skip
def test_every_part_of_the_key_counts(what: str, values: list) -> None:
    keys = [stream_keys.key(**{"seed": 3, "name": "w", "draw": 1, what: value}) for value in values]
    assert len(set(keys)) == len(values)
    assert len({tuple(stream_keys.words(key, 0, 4).tolist()) for key in keys}) == len(values)


def test_a_weak_step_is_repaired() -> None:
    for n in range(3000):
        gamma = stream_keys.key(0, str(n)).gamma
        assert gamma & 1
        assert (gamma ^ gamma >> 1).bit_count() >= 24
    # Chance makes one in some 30 weak: the repair has been at work above
    raw = [
        hashlib.blake2b(b"initdsl stream v1\0" + bytes(16) + str(n).encode(), digest_size=24).digest()
        for n in range(3000)
    ]
    steps = [int.from_bytes(digest[16:], "little") | 1 for digest in raw]
    assert any((g ^ g >> 1).bit_count() < 24 for g in steps)


@pytest.mark.parametrize(("arguments", "error", "message"), [
    ((True, "w"), TypeError, "seed must be an integer, not bool"),
    ((1.0, "w"), TypeError, "seed must be an integer, not float"),
    ((-1, "w"), ValueError, "seed must be at least 0"),
    ((2**64, "w"), ValueError, "less than 2\\*\\*64"),
    ((0, b"w"), TypeError, "name must be a string"),
    ((0, "w", -1), ValueError, "draw must be at least 0"),
])  # fmt: skip
def test_a_key_refuses(arguments: tuple, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        stream_keys.key(*arguments)


# --------------------------------------------------------------- bits that don't depend on how they are made


@named
def test_any_slice_alone_is_that_slice_of_the_whole(distribution: Distribution) -> None:
    whole = filled(distribution, 5, 7, 6, 9)

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        parts = []
        for n in whole.shape:
            start = data.draw(st.integers(0, n - 1))
            parts.append(slice(start, data.draw(st.integers(start, n)), data.draw(st.integers(1, 3))))
        piece = whole[tuple(parts)]
        offset = sum(p.start * s for p, s in zip(parts, whole.stride(), strict=True))
        alone = filled(distribution, *piece.shape, offset=offset, strides=piece.stride())
        assert same(alone, piece)

    check()


@named
@pytest.mark.parametrize("dim", [0, 1])
def test_shards_of_a_large_matrix(distribution: Distribution, dim: int, kernel: str) -> None:
    whole = filled(distribution, 601, 515)
    start = 0
    for part in whole.chunk(4, dim):
        alone = filled(distribution, *part.shape, offset=start * whole.stride(dim), strides=whole.stride())
        assert same(alone, part)
        start += part.shape[dim]


@named
@pytest.mark.parametrize("chunk", [7, 100, 1 << 18])
def test_layout_leaves_no_trace(
    distribution: Distribution, chunk: int, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = filled(distribution, 6, 5, 4, 3)
    monkeypatch.setattr(chunks, "_CPU_CHUNK", chunk)
    monkeypatch.setattr(chunks, "_SHARED_CHUNK", chunk)
    room = torch.zeros(12, 6, 5, 5)
    places = {
        "channels_last": torch.empty(6, 5, 4, 3).contiguous(memory_format=torch.channels_last),
        "transposed": torch.empty(3, 4, 5, 6).permute(3, 2, 1, 0),
        "sliced": room[::2, 1:, 1:, ::2],
    }
    for layout, tensor in places.items():
        streams.fill(tensor, distribution, KEY)
        assert same(tensor, expected), layout
    assert torch.count_nonzero(room) <= expected.numel()
    assert not room[1::2].any()
    assert not room[:, 0].any()


@named
@pytest.mark.parametrize("count", [1, 2, 63, 4097, 300001])
@pytest.mark.parametrize("offset", [0, 1, 2**33 + 1, 2**60 + 2])
def test_chunks_threads_and_kernels_leave_no_trace(
    distribution: Distribution, count: int, offset: int, monkeypatch: pytest.MonkeyPatch, threads
) -> None:
    choose(monkeypatch, "torch")
    expected = filled(distribution, count, offset=offset)
    variants = [("torch", 1, 1 << 12, 1), ("torch", 2, 1 << 18, 1), ("torch", 16, 99990, 1 << 40)]
    if isinstance(backend._loaded(), native.Kernel):
        variants += [("native", 1, 1 << 18, 1), ("native", 3, 1 << 18, 1), ("native", 16, 77777, 1)]
    for choice, workers, chunk, small in variants:
        choose(monkeypatch, choice)
        monkeypatch.setattr(chunks, "_CPU_CHUNK", chunk)
        monkeypatch.setattr(chunks, "_SHARED_CHUNK", chunk)
        monkeypatch.setattr(chunks, "_SMALL", small)
        monkeypatch.setattr(workers_of, "_THREAD_FROM", 1 << 10)
        for module in (workers_of, chunks):
            monkeypatch.setattr(module, "SHARE_FROM", 1 << 10)
        threads(workers)
        assert same(filled(distribution, count, offset=offset), expected), (choice, workers, chunk)


def test_every_alignment_gives_the_same_bits(kernel: str) -> None:
    whole = filled(Normal(0, 1), 3000)
    for start in range(40):
        for count in (1, 2, 7, 17, 200 + start):
            place = torch.empty(3000)[start % 17 : start % 17 + count]
            streams.fill(place, Normal(0, 1), KEY, offset=start)
            assert same(place, whole[start : start + count])


@named
def test_half_types_are_the_rounded_float32_values(distribution: Distribution, kernel: str) -> None:
    single = filled(distribution, 50000)
    for dtype in (torch.bfloat16, torch.float16):
        half = filled(distribution, 50000, dtype=dtype)
        plain = single.to(dtype)
        low, high = distribution.bounds
        outside = plain.double() >= high if isinstance(distribution, Uniform) else plain.double() > high
        outside |= plain.double() < low
        assert same(half[~outside], plain[~outside])
        assert outside.double().mean() < 0.02
        assert (half[outside].double() < high).all() or not isinstance(distribution, Uniform)
        assert (half.double() >= low).all()
        assert (half.double() <= high).all()


@named
def test_float64_refines_float32(distribution: Distribution) -> None:
    double, single = filled(distribution, 5000, dtype=torch.float64), filled(distribution, 5000)
    assert (double - single).abs().max() < 3e-6
    if isinstance(distribution, Bernoulli):
        assert torch.equal(double, single.double())
        return
    assert double.unique().numel() == 5000
    assert not torch.equal(double, double.float().double())


def test_a_float64_uniform_is_that_of_the_definition() -> None:
    low, high = -0.3, 0.7
    state, fine, gamma = ref_key(7, "encoder.layers.0.weight", 0)
    step, middle = high / 2**64 - low / 2**64, low / 2 + high / 2
    got = filled(Uniform(low, high), 200, dtype=torch.float64).tolist()
    for i, value in enumerate(got):
        position = (ref_lane(state, gamma, i) << 32) + (ref_lane(fine, gamma, i) & 0xFFFFFFFF)
        assert value == float(position) * step + middle


def test_draws_and_names_are_unrelated() -> None:
    parts = [
        filled(Normal(0, 1), 20000, key=stream_keys.key(0, name, draw)) for name in ("a.0", "a.1") for draw in (0, 1)
    ]
    correlation = torch.corrcoef(torch.stack(parts)) - torch.eye(4)
    assert correlation.abs().max() < 0.035


# ------------------------------------------------------------------------------------------- manners


@pytest.mark.parametrize("choice", kernels())
def test_global_generators_are_neither_read_nor_moved(choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    choose(monkeypatch, choice)
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)
        before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
        results.append(filled(Normal(0, 1), 50000))
        stream_keys.generator(KEY)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert np.array_equal(np.random.get_state()[1], before[1])
        assert random.getstate() == before[2]
    assert same(*results)


def test_a_generator_is_a_function_of_its_key() -> None:
    draw = [
        torch.randn(4, generator=stream_keys.generator(key)).tolist() for key in (KEY, KEY, stream_keys.key(7, "other"))
    ]
    assert draw[0] == draw[1] != draw[2]


def test_fill_keeps_the_parameter_and_tells_autograd(kernel: str) -> None:
    parameter = torch.nn.Parameter(torch.zeros(40000))
    address, version = parameter.data_ptr(), parameter._version
    streams.fill(parameter, Normal(0, 1), KEY)
    assert parameter.requires_grad
    assert parameter.grad_fn is None
    assert parameter.data_ptr() == address
    assert parameter._version > version
    assert parameter.std() > 0.9


def test_empty_and_single_elements() -> None:
    assert filled(Normal(0, 1), 0, 3).numel() == 0
    whole = filled(Normal(0, 1), 12)
    assert filled(Normal(0, 1), offset=11) == whole[11]
    assert filled(Normal(0, 1), 1, 1, offset=5, strides=(0, 0)) == whole[5]


def test_buffers_do_not_grow_with_the_tensor(monkeypatch: pytest.MonkeyPatch, threads) -> None:
    choose(monkeypatch, "torch")
    kept: list[buffers.Memory] = []

    def watched(key: stream_keys.StreamKey, device: torch.device, memory: buffers.Memory) -> buffers.Buffers:
        kept.append(memory)
        return buffers.Buffers(key, device, memory)

    monkeypatch.setattr(chunks, "Buffers", watched)
    threads(2)
    for shape in ((1 << 22,), (1 << 11, 1 << 11)):
        tensor = torch.empty(shape, dtype=torch.bfloat16)
        streams.fill(tensor.t() if tensor.ndim == 2 else tensor, Normal(0, 1), KEY)
        assert len(kept) == 2
        for memory in kept:  # that of a thread that came too late is empty
            assert sum(buffer.numel() * buffer.itemsize for buffer in memory.values()) <= 16 * chunks._SHARED_CHUNK + 64
        assert any(kept)
        kept.clear()


@pytest.mark.parametrize(("tensor", "options", "error", "message"), [
    (torch.zeros(3, dtype=torch.int64), {}, TypeError, "dtype torch.int64 cannot be filled"),
    (torch.zeros(3, device="meta"), {}, ValueError, "meta"),
    (torch.zeros(1).expand(3), {}, ValueError, "share memory"),
    (torch.zeros(3).to_sparse(), {}, TypeError, "strided"),
    (torch.zeros(3), {"strides": (1, 1)}, ValueError, "2 strides were given for a tensor of 1 dimensions"),
    (torch.zeros(3), {"offset": -1}, ValueError, "negative"),
])  # fmt: skip
def test_fill_refuses_tensors(tensor: torch.Tensor, options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        streams.fill(tensor, Normal(0, 1), KEY, **options)


@pytest.mark.parametrize(("distribution", "message"), [
    (Uniform(1, 0), "low at most high"),
    (Uniform(0, math.inf), "finite bounds"),
    (Normal(0, -1), "std of at least 0"),
    (Normal(math.nan, 1), "finite mean"),
    (TruncatedNormal(0, 1, 1, 1), "low less than high"),
    (TruncatedNormal(0, 0, -1, 1), "scale greater than 0"),
    (TruncatedNormal(0, 1, 50, 60), "more than 37"),
])  # fmt: skip
def test_fill_refuses_distributions(distribution: Distribution, message: str) -> None:
    tensor = torch.zeros(3)
    with pytest.raises(ValueError, match=message):
        streams.fill(tensor, distribution, KEY)
    assert not tensor.any()


def accelerators() -> list[object]:
    """Every kind of accelerator the streams are for, skipped where there is none."""
    have = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "xpu": torch.xpu.is_available(),
    }
    return [
        pytest.param(n, marks=() if there else pytest.mark.skip(reason=f"no {n} device")) for n, there in have.items()
    ]


@pytest.mark.parametrize("device", accelerators())
@named
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_a_device_gives_the_same_bits(distribution: Distribution, dtype: torch.dtype, device: str) -> None:
    if device == "mps" and dtype == torch.float64:
        pytest.skip("this device has no float64")
    for shape, place in (((100,), {}), ((1000, 333), {"offset": 5, "strides": (1001, 3)}), ((1 << 21,), {"offset": 1})):
        here = filled(distribution, *shape, dtype=dtype, **place)
        there = torch.empty(shape, dtype=dtype, device=device)
        streams.fill(there, distribution, KEY, **place)
        assert same(there.cpu(), here)


@pytest.mark.parametrize("p", [0.0, 2.0**-40, 2.0**-32, 0.25, 1 - 2.0**-32, 1 - 2.0**-40, 1.0])
def test_a_choice_has_its_probability(p: float, kernel: str) -> None:
    """The lanes below `p * 2**32` are chosen: all of them at 1, none at 0."""
    made = filled(Bernoulli(p), 100_000)
    lanes = stream_keys.words(KEY, 0, 50_000).view(torch.int32).to(torch.int64) + 2**31
    assert torch.equal(made, (lanes < round(p * 2**32)).float())
    with pytest.raises(ValueError, match="a choice needs a probability between 0 and 1"):
        filled(Bernoulli(1.5), 3)


@named
def test_small_fills_need_no_float64(distribution: Distribution, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = filled(distribution, 500)
    monkeypatch.setattr(chunks, "_SMALL", 0)  # as on devices without it
    assert same(filled(distribution, 500), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_columns_alone(dtype: torch.dtype, kernel: str) -> None:
    """Rows of a stream that begin an even or odd number of elements apart: a shard of columns."""
    key = stream_keys.key(3, "w")
    for distribution in (Normal(0, 1), Uniform(-1, 1), Bernoulli(0.3, -1, 1)):
        for rows, columns in ((700, 96), (301, 97), (40, 4097)):
            whole = torch.empty(rows, columns, dtype=dtype)
            streams.fill(whole, distribution, key)
            for first, last in ((0, columns // 2), (columns // 2, columns), (31, 96), (5, 6)):
                part = torch.empty(rows - 1, last - first, dtype=dtype)
                streams.fill(part, distribution, key, offset=columns + first, strides=(columns, 1))
                assert torch.equal(part, whole[1:, first:last]), (distribution, rows, columns, first)
                turned = torch.empty(last - first, rows - 1, dtype=dtype).t()
                streams.fill(turned, distribution, key, offset=columns + first, strides=(columns, 1))
                assert torch.equal(turned, part)


@pytest.mark.parametrize("side", [300, 1100], ids=["one thread", "helpers"])
def test_inference_mode_leaves_no_trace(side: int, kernel: str, threads) -> None:
    threads(2)

    def fills() -> list[torch.Tensor]:
        with torch.inference_mode(), workers_of.team():
            inside = torch.empty(side, side)
            streams.fill(inside, Normal(0, 1), KEY)
        return [inside, filled(Normal(0, 1), side, side)]

    with ThreadPoolExecutor(1) as fresh:  # a thread that has filled nothing yet
        inside, after = fresh.submit(fills).result()
    assert torch.equal(inside, filled(Normal(0, 1), side, side))
    assert torch.equal(after, inside)


# tables of distributions that no other test uses, so that they are made here first
FRESH = {
    "uniform": lambda n: Uniform(0, 1 + n / 1024), "normal": lambda n: Normal(n / 1024, 1),
    "trunc_normal": lambda n: TruncatedNormal(0, 1, -2 - n / 1024, 2),
}  # fmt: skip


@pytest.mark.parametrize("distribution", FRESH)
@pytest.mark.parametrize("side", [10, 300], ids=["small", "large"])
@pytest.mark.parametrize("real", [False, True], ids=["fake", "real"])
def test_fake_tensors_leave_no_trace(kernel: str, distribution: str, side: int, real: bool) -> None:
    """Neither those that are filled, nor what is made while a real one is filled under their mode."""
    number = 1 + side + 2 * real + 5 * (kernel == "native")
    tensor = torch.empty(side, side)
    with FakeTensorMode(allow_non_fake_inputs=True):
        streams.fill(tensor if real else torch.empty(side, side), FRESH[distribution](number), KEY)
    made = filled(FRESH[distribution](number), side, side)
    assert type(made) is torch.Tensor
    recipes.recipe_of.cache_clear()
    lines._segments.cache_clear()
    lines.quantile_lines.cache_clear()
    lines.device_segments.cache_clear()
    assert torch.equal(made, filled(FRESH[distribution](number), side, side))
    assert made.unique().numel() > side


@pytest.mark.parametrize("distribution", FRESH)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("side", [10, 300], ids=["small", "large"])
def test_the_default_device_does_not_matter(kernel: str, distribution: str, dtype: torch.dtype, side: int) -> None:
    what = FRESH[distribution](1000 + side + dtype.itemsize)
    made, words = torch.empty(side, side, dtype=dtype), stream_keys.words(KEY, 3, 5)
    with torch.device("meta"):
        streams.fill(made, what, KEY)
        assert torch.equal(stream_keys.words(KEY, 3, 5), words)
    assert torch.equal(made, filled(what, side, side, dtype=dtype))
