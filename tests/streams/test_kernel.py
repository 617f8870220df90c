"""The compiled kernel: the bits of torch's operations, wherever a block, a row or a thread ends; and kernels that can't be used."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import hatch_build
import initdsl
from initdsl.cli import program as cli
from initdsl.initializers.distributions import Bernoulli, Constant, Distribution, Normal, TruncatedNormal, Uniform
from initdsl.streams import backend, keys, native, tensors
from initdsl.streams import threads as threads_of
from tests.streams.conftest import choose, kernels, said_by
from tests.streams.test_streams import DISTRIBUTIONS, KEY, filled, ref_lane, same
from tests.support.processes import LONGEST

ROOT = Path(__file__).parents[2]
STREAMS = ROOT / "initdsl" / "streams"
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
compiled = pytest.mark.skipif(
    not isinstance(backend._loaded(), native.Kernel), reason="no kernel was compiled"
)  # CI compiles one
ODD: list[Distribution] = [
    Uniform(0, 0),
    Uniform(-1e-40, 1e-40),
    Uniform(0, 60000),
    Normal(0, 1e-7),
    Normal(0, 30000),
    Normal(2, 0),
    TruncatedNormal(0, 1, -20, -8),
    Bernoulli(0.0, 1, 2),
    Bernoulli(1.0, 1, 2),
]


def both(monkeypatch: pytest.MonkeyPatch, distribution: Distribution, *shape: int, **options) -> list[torch.Tensor]:
    """The same fill by torch's operations and by the kernel."""
    made = []
    for choice in ("torch", "native"):
        choose(monkeypatch, choice)
        made.append(filled(distribution, *shape, **options))
    return made


@compiled
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS + ODD, ids=str)
def test_the_bits_of_torch(distribution: Distribution, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Around the ends of blocks of 256, and where more segments or threads begin to pay: 8 192 and, here, 2^17."""
    monkeypatch.setattr(threads_of, "_THREAD_FROM", 1 << 16)
    ends = (8191, 8192, (1 << 17) - 1, (1 << 17) + 3) if dtype == torch.float32 else (8193,)
    for count in (1, 2, 3, 255, 256, 257, 2048, *ends):
        for offset in (0, 1, 2**33 + 1) if count < 4096 else (2**62 + 1,):
            assert same(*both(monkeypatch, distribution, count, dtype=dtype, offset=offset)), (count, offset)


@compiled
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("shape", "strides"),
    [
        ((5, 7, 3), (1000, 50, 2)),
        ((3000, 3), (3, 1)),
        ((3, 3000), (1, 3)),
        ((2, 3, 4, 5, 6), (7, 5, 3, 2, 1)),
        ((40, 1, 90), (90, 3, 0)),
        ((3, 7000), (7001, 1)),
        ((7000, 3), (7, 2)),
    ],
    ids=str,
)
def test_places_that_are_steps_apart(
    shape: tuple[int, ...], strides: tuple[int, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    for distribution in (Uniform(-1, 1), Normal(0.5, 0.02), TruncatedNormal(0, 1, -2, 2), Bernoulli(0.3)):
        assert same(*both(monkeypatch, distribution, *shape, dtype=dtype, offset=3, strides=strides)), distribution


@compiled
def test_layouts_threads_and_alignments(monkeypatch: pytest.MonkeyPatch, threads) -> None:
    choose(monkeypatch, "native")
    monkeypatch.setattr(threads_of, "_THREAD_FROM", 1 << 16)
    whole = filled(Normal(0, 1), 700, 600)
    for count in (1, 2, 5):
        threads(count)
        assert same(filled(Normal(0, 1), 700, 600), whole)
        turned = torch.empty(600, 700).t()
        tensors.fill(turned, Normal(0, 1), KEY)
        assert same(turned.contiguous(), whole)
    room = torch.zeros(5000, dtype=torch.bfloat16)
    for start in range(20):
        tensors.fill(room[start : start + 3000], Normal(0, 1), KEY)
        assert same(room[start : start + 3000], whole.view(-1)[:3000].bfloat16())
        assert not room[:start].any()
        assert not room[start + 3000 :].any()
        room.zero_()


@pytest.mark.parametrize("choice", kernels())
def test_float64_normals_are_those_of_the_definition(choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own arithmetic rounds each operation once; the square root of a mathematics library does not always."""
    choose(monkeypatch, choice)
    state, fine, gamma = KEY
    got = filled(Normal(0, 1), 3000, dtype=torch.float64).tolist()
    assert got == [ref_normal64(ref_lane(state, gamma, i), ref_lane(fine, gamma, i)) for i in range(3000)]


def ref_normal64(coarse: int, fine: int) -> float:
    from initdsl.streams.quantile import _CENTRAL, _FAR, _LN2_HIGH, _LN2_LOW, _TAIL

    def ratio(x: float, coefficients) -> float:
        above, below = (part[-1] for part in coefficients)
        for a, b in zip(coefficients[0][-2::-1], coefficients[1][-2::-1], strict=True):
            above, below = above * x + a, below * x + b
        return above / below

    def log(x: float) -> float:
        mantissa, power = math.frexp(x)
        mantissa, power = mantissa * 2, power - 1
        if mantissa > 1.4142135623730951:
            mantissa, power = mantissa / 2, power + 1
        s = (mantissa - 1) / (mantissa + 1)
        series = 2 / 19
        for n in range(17, 0, -2):
            series = series * (s * s) + 2 / n
        return power * _LN2_HIGH + (s * series + power * _LN2_LOW)

    position = (float((coarse << 32) + (fine & 0xFFFFFFFF)) + 0.5) * 2.0**-64
    near = abs(position)
    q = 0.5 - near
    if q <= 0.425:
        z = q * ratio(0.180625 - q * q, _CENTRAL)
    else:
        r = math.sqrt(-log(near))
        z = ratio(r - 1.6, _TAIL) if r <= 5 else ratio(r - 5, _FAR)
    return -z if position > 0 else z


@pytest.mark.parametrize("choice", kernels())
def test_there_is_no_minus_zero(choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    choose(monkeypatch, choice)
    for distribution in (Uniform(0, 0), Uniform(-1e-40, 1e-40)):
        assert same(filled(distribution, 5000), torch.zeros(5000))


@pytest.mark.parametrize("choice", kernels())
def test_what_the_quick_way_leaves_to_others(choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    choose(monkeypatch, choice)
    freed = torch.empty(10)
    part = freed[2:]
    freed.untyped_storage().resize_(0)
    for tensor in (freed, part):
        with pytest.raises(ValueError, match="storage was freed"):
            tensors.fill(tensor, Normal(0, 1), KEY)
    negative = torch.complex(torch.ones(5), torch.ones(5)).conj().imag
    assert negative.is_neg()
    tensors.fill(negative, Uniform(1, 2), KEY)
    assert same(negative.resolve_neg().contiguous(), filled(Uniform(1, 2), 5))
    constant = torch.zeros(4)
    tensors.fill(constant, Constant(3), KEY)
    assert constant.tolist() == [3, 3, 3, 3]
    with pytest.raises(ValueError, match="negative"):
        tensors.fill(torch.empty(3), Normal(0, 1), KEY, offset=-1)


@pytest.mark.parametrize("choice", kernels())
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_many_at_once_are_each_by_itself(
    choice: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, threads
) -> None:
    choose(monkeypatch, choice)
    names = [f"layers.{n}.weight" for n in range(300)] + ["", "\ud800", "ä" * 99]
    shapes = [(n % 7, n) for n in range(len(names))]
    for distribution in (Uniform(-1, 1), Normal(0.5, 0.02), TruncatedNormal(0, 1, -2, 2), Bernoulli(0.3), Constant(2)):
        expected = []
        for name, shape in zip(names, shapes, strict=True):
            expected.append(torch.empty(shape, dtype=dtype))
            tensors.fill(expected[-1], distribution, keys.key(2**64 - 1, name, 3))
        for count in (1, 3):
            threads(count)
            made = [torch.empty(shape, dtype=dtype) for shape in shapes]
            tensors.fill_each(made, distribution, keys.keys_of(2**64 - 1, names, 3))
            assert all(map(same, made, expected)), distribution
            assert all(tensor._version for tensor in made if tensor.numel())


def test_what_is_not_plain_memory_is_not_ready() -> None:
    freed, with_memory = torch.empty(9), torch.empty(9)
    freed.untyped_storage().resize_(0)
    with torch.inference_mode():
        inferred = torch.empty(9)
    negative = torch.empty(9, dtype=torch.complex64).conj().imag[:1]
    shared = torch.empty(1).expand(9)
    others = [
        torch.empty(9, device="meta"),
        torch.empty(9, dtype=torch.int32),
        torch.empty(5, 9).t(),
        torch.eye(3).to_sparse(),
    ]
    assert tensors.is_ready(with_memory)
    assert tensors.is_ready(torch.nn.Parameter(with_memory))
    for tensor in (freed, inferred, negative, shared, *others):
        assert not tensors.is_ready(tensor), tensor.dtype


@pytest.mark.parametrize("choice", kernels())
def test_many_of_several_dtypes(choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    choose(monkeypatch, choice)
    made = [torch.empty(9, 5), torch.empty(9, 5, dtype=torch.float64)]
    tensors.fill_each(made, Normal(0, 1), keys.keys_of(1, "ab"))
    for name, tensor in zip("ab", made, strict=True):
        expected = torch.empty(9, 5, dtype=tensor.dtype)
        tensors.fill(expected, Normal(0, 1), keys.key(1, name))
        assert same(tensor.contiguous(), expected)
    tensors.fill_each([], Normal(0, 1), keys.keys_of(1, []))
    with pytest.raises(ValueError, match="seed must be"):
        keys.keys_of(-1, ["w"])


def test_keys_together_are_keys() -> None:
    names = [str(n) for n in range(2000)]  # some of them with a step that mixes slowly
    assert [keys.StreamKey(*row) for row in keys.keys_of(5, names, 1).tolist()] == [keys.key(5, n, 1) for n in names]


@compiled
def test_a_forked_process_fills(tmp_path: Path) -> None:
    code = """
import os, torch
from initdsl import streams
from initdsl.initializers.distributions import Normal
def made():
    t = torch.empty(1 << 20)
    streams.fill(t, Normal(0, 1), streams.key(7, "w"))
    return t
torch.set_num_threads(2)
before = made()
pid = os.fork()
if pid == 0:
    torch.set_num_threads(1)
    os._exit(0 if torch.equal(made(), before) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), streams.engine().split()[0])
"""
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    environment = {k: v for k, v in os.environ.items() if k != "INITDSL_KERNEL"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=LONGEST
    )
    assert done.stdout == "0 native\n", done.stderr


# ------------------------------------------------------------------------------------------------- which engine fills


@compiled
def test_the_kernel_is_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INITDSL_KERNEL", "torch")
    assert backend.engine() == "torch"
    monkeypatch.setenv("INITDSL_KERNEL", "native")
    assert backend.engine().startswith("native (")
    monkeypatch.delenv("INITDSL_KERNEL")
    assert backend.engine().startswith("native (")
    monkeypatch.setenv("INITDSL_KERNEL", "cuda")
    with pytest.raises(ValueError, match="INITDSL_KERNEL must be native, triton or torch, not cuda"):
        backend.engine()


@compiled
def test_how_lines_end_makes_no_other_version(tmp_path: Path) -> None:
    for name in native.SOURCES:
        text = (installed(tmp_path) / name).read_bytes().replace(b"\r\n", b"\n")
        (tmp_path / name).write_bytes(text.replace(b"\n", b"\r\n"))
    native.load(tmp_path)


@compiled
def test_a_kernel_that_can_be_used(tmp_path: Path) -> None:
    assert native.load(installed(tmp_path)).vectors in ("sse2", "avx2", "avx512", "baseline")


def installed(folder: Path) -> Path:
    """A copy of what the build left."""
    for name in (*native.SOURCES, "kernel.json", native.NAME):
        shutil.copyfile(STREAMS / name, folder / name)
    return folder


def other_source(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with (folder / name).open("a") as file:
            file.write("/* of tomorrow */\n")

    return change


def cut_short(folder: Path) -> None:
    library = folder / native.NAME
    library.write_bytes(library.read_bytes()[:5000])


def changed(folder: Path, data: bytes) -> None:
    (folder / native.NAME).write_bytes(data)
    built = json.loads((folder / "kernel.json").read_text())
    (folder / "kernel.json").write_text(json.dumps({**built, "library_crc32": zlib.crc32(data)}))


def built_before(folder: Path) -> None:
    """What the build wrote of the same files when it took other sums of them."""
    texts = b"".join((folder / name).read_bytes() for name in native.SOURCES)
    sums = [hashlib.sha256(data).hexdigest() for data in (texts, (folder / native.NAME).read_bytes())]
    (folder / "kernel.json").write_text(json.dumps({"source": sums[0], "library": sums[1]}))


def one_bit(folder: Path) -> None:
    data = bytearray((folder / native.NAME).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / native.NAME).write_bytes(data)


UNUSABLE = {
    "the library is missing": (lambda folder: (folder / native.NAME).unlink(), "no compiled kernel is installed"),
    "what it was made from is missing": (lambda folder: (folder / "kernel.json").unlink(), "no compiled kernel is installed"),
    "what it was made from is no JSON": (lambda folder: (folder / "kernel.json").write_text("{"), "can't be read"),
    "what it was made from is a list": (lambda folder: (folder / "kernel.json").write_text("[]"), "of another version"),
    "made from another text": (other_source("kernel.c"), "of another version"),
    "made from another second text": (other_source("torch_draws.c"), "of another version"),
    "by a build of before": (built_before, "of another version"),
    "cut short": (cut_short, "damaged"),
    "of one bit more or less": (one_bit, "damaged"),
    "for another kind of machine": (lambda folder: changed(folder, struct.pack("<I", 0x464C457F) + b"\2" * 500), "does not fit this machine"),
    "no library at all": (lambda folder: changed(folder, b""), "does not fit this machine"),
}  # fmt: skip


@compiled
@pytest.mark.parametrize("name", UNUSABLE)
def test_a_kernel_that_can_t_be_used(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's operations fill in its place, and that is said once."""
    expected = filled(Normal(0, 1), 100)
    spoil, said = UNUSABLE[name]
    spoil(installed(tmp_path))
    with pytest.raises(native.KernelError, match=said) as raised:
        native.load(tmp_path)
    monkeypatch.setattr(backend, "_loaded", lambda: raised.value)
    backend.warn.cache_clear()
    choose(monkeypatch, None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert same(filled(Normal(0, 1), 100), expected)
        assert same(filled(Normal(0, 1), 100), expected)
        assert backend.engine() == "torch"
    assert [str(w.message) for w in caught] == [
        f"{raised.value}: torch's operations fill in its place, slower and with the same values"
    ]
    choose(monkeypatch, "native")
    with pytest.raises(ValueError, match=said):
        filled(Normal(0, 1), 100)


def test_an_engine_that_can_t_be_had_is_said_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    net = torch.nn.ParameterList([torch.zeros(10), torch.zeros(10)])
    monkeypatch.setattr(backend, "_loaded", lambda: native.KernelError("no compiled kernel is installed"))
    choose(monkeypatch, "native")
    with pytest.raises(ValueError, match="INITDSL_KERNEL is native, but no compiled kernel is installed"):
        initdsl.apply(net, "net[0] = 1; net[1] ~ normal(0, 1)", seed=1)
    assert not net[0].any()


@compiled
def test_the_engine_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for choice in ("torch", "native"):
        monkeypatch.setenv("INITDSL_KERNEL", choice)
        assert f"({choice}" in initdsl.apply(torch.nn.Linear(2, 2), "Linear.weight, Linear.bias = 0", seed=1).engine
        with pytest.raises(SystemExit):
            cli.group(["--version"])
        assert f"seeded fills by {choice}" in capsys.readouterr().out


def test_a_library_without_our_functions(tmp_path: Path) -> None:
    (tmp_path / "empty.c").write_text("int nothing_of_ours(void) { return 0; }\n")
    words = hatch_build.command([tmp_path / "empty.c"], tmp_path / native.NAME)
    if words is None:
        pytest.skip("no C compiler")
    subprocess.run(words, check=True, capture_output=True)
    for name in native.SOURCES:
        shutil.copyfile(STREAMS / name, tmp_path / name)
    source = native.checksum_of_text(b"".join((STREAMS / name).read_bytes() for name in native.SOURCES))
    library = zlib.crc32((tmp_path / native.NAME).read_bytes())
    (tmp_path / "kernel.json").write_text(json.dumps({"source_crc32": source, "library_crc32": library}))
    with pytest.raises(native.KernelError, match="does not fit this machine"):
        native.load(tmp_path)


# ------------------------------------------------------------------------------------------------------ how it is built


@pytest.mark.parametrize("compiler", ["nowhere-to-be-found", "false", None])
def test_a_build_with_or_without_a_compiler(
    compiler: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in native.SOURCES:
        shutil.copyfile(STREAMS / name, tmp_path / name)
    monkeypatch.setattr(hatch_build, "FOLDER", tmp_path)
    if compiler is None:
        if hatch_build.command([tmp_path], tmp_path) is None:
            pytest.skip("no C compiler")
        assert hatch_build.compile_kernel()
        assert native.load(tmp_path).segment_count > 30000
        return
    monkeypatch.setenv("CC", compiler)
    monkeypatch.setattr(
        hatch_build.shutil, "which", lambda name: f"/bin/{name}" if name == compiler == "false" else None
    )
    assert not hatch_build.compile_kernel()
    assert "kernel" in capfd.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(native.SOURCES)


DRIVER = r"""
#include "kernel.c"
#include <stdio.h>
#include <stdlib.h>
/* Fill what is exactly as large as it must be, of every kind and dtype, from places of every step. */
int main(void) {
    const int64_t counts[] = {1, 2, 255, 256, 257, 5000};
    const struct truncation cuts[] = {{0}, {0.9772498680518208, 0.023012909328963486, 0.9767167, 0.0232833, 0, 1}};
    const int64_t pairs = initdsl_segment_count();
    double(*table)[2] = malloc((size_t)pairs * sizeof *table);
    float(*scaled)[2] = malloc((size_t)pairs * sizeof *scaled);
    uint64_t sum = 0;
    for (int c = 0; c < 2; c++) {
        initdsl_segments(table, &cuts[c]);
        initdsl_scaled(scaled, table, 0.02, 0.5);
        for (int64_t kind = AFFINE; kind <= QUANTILE; kind++)
            for (int64_t dtype = FLOAT32; dtype <= FLOAT16; dtype++)
                for (int n = 0; n < 6; n++)
                    for (uint64_t place = 0; place < 3; place++) {
                        struct recipe r = {kind, dtype, 0.02, 0.5, -INFINITY, INFINITY, -3, scaled, cuts[c]};
                        if (kind == QUANTILE && dtype != FLOAT64) continue;
                        if ((kind == LINES || kind == SEGMENTS) && dtype == FLOAT64) continue;
                        if (kind == SEGMENTS) r.table = table;
                        if (kind == AFFINE || kind == CHOICE) r.low = -1, r.high = 1;
                        for (int64_t step = 1; step < 4; step++) {
                            const int64_t lengths[] = {3, counts[n]}, steps[] = {INT64_C(1) << 40, step};
                            size_t size = (size_t)(3 * counts[n] * SIZES[dtype]);
                            char *out = malloc(size);
                            initdsl_fill_places(out, 2, lengths, steps, place, 1, UINT64_MAX, UINT64_MAX - 2, &r);
                            struct order o = {(uintptr_t)out, counts[n], UINT64_MAX - 5, {UINT64_MAX, 2, 3}, (uintptr_t)&r};
                            initdsl_fill(&o);
                            char *const parts[] = {out, out, out + counts[n] * SIZES[dtype]};
                            const int64_t each[] = {counts[n], 0, 2 * counts[n]};
                            const struct key keys[] = {{1, 2, 3}, {4, 5, 6}, {UINT64_MAX, 2, UINT64_MAX}};
                            initdsl_fill_each(3, parts, each, keys, &r);
                            for (size_t i = 0; i < size; i++) sum = sum * 31 + (unsigned char)out[i];
                            free(out);
                        }
                    }
    }
    free(table);
    free(scaled);
    printf("%llu\n", (unsigned long long)sum);
    return 0;
}
"""


def test_sanitizers_find_nothing(tmp_path: Path) -> None:
    """Address and undefined behaviour, over fills that are exactly as large as their memory; and the bits stay."""
    plain, sanitized = said_by(DRIVER, tmp_path)
    assert plain == sanitized


def test_keys_of_every_integer() -> None:
    """An integer of a class of its own is one; the digest is that of the definition (test_streams.py)."""

    class Seed(int):
        pass

    assert keys.key(Seed(7), "w", Seed(1)) == keys.key(7, "w", 1)
