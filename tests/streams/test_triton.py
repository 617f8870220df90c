"""Triton's kernel, by its interpreter on the CPU: the bits are those of torch's operations.

On a CUDA device `tests/filling/test_seeded.py` compares the same.
"""

from __future__ import annotations

import json
import os
import sys

import pytest

from tests.support.processes import python

pytestmark = pytest.mark.needs("triton")

PROGRAM = """
import json, os, warnings
import torch
from initdsl import streams
from initdsl.initializers.distributions import Bernoulli, Normal, TruncatedNormal, Uniform
from initdsl.streams import on_device

BITS = {torch.float32: torch.int32, torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float64: torch.int64}
DISTRIBUTIONS = [
    Uniform(-1, 1), Uniform(0, 1e-38), Uniform(2, 2), Normal(0, 1), Normal(0.5, 0.02), Normal(0, 1e-41), Normal(0, 6e4),
    TruncatedNormal(0, 1, -2, 2), TruncatedNormal(0, 1, 2, 3), Bernoulli(0.3, 0, 1), Bernoulli(0, 0, 1), Bernoulli(1, 2, 3),
]
LAYOUTS = {
    "a run": (lambda dtype: torch.zeros(5000, dtype=dtype), 0, None),
    "an odd offset": (lambda dtype: torch.zeros(33, 65, dtype=dtype), 7, None),
    "far out": (lambda dtype: torch.zeros(2049, dtype=dtype), 2**40 + 1, None),
    "transposed": (lambda dtype: torch.zeros(40, 30, dtype=dtype).t(), 1, None),
    "a view with gaps": (lambda dtype: torch.zeros(9, 8, 14, dtype=dtype)[:, 1::2, 2:9].permute(2, 0, 1), 2**33, None),
    "a shard": (lambda dtype: torch.zeros(6, 5, dtype=dtype), 12, (40, 2)),
    "one element": (lambda dtype: torch.zeros(1, dtype=dtype), 5, None),
    "no dimension": (lambda dtype: torch.zeros((), dtype=dtype), 3, None),
    "larger than a table is worth": (lambda dtype: torch.zeros(40000, dtype=dtype), 3, None),
}

def filled(engine, layout, distribution, dtype):
    os.environ["INITDSL_KERNEL"] = engine
    streams.prepare()
    make, offset, strides = LAYOUTS[layout]
    tensor = make(dtype)
    streams.fill(tensor, distribution, streams.key(3, "w"), offset=offset, strides=strides)
    return tensor.contiguous().view(BITS[dtype])

"""

EQUAL = """
from initdsl.streams import device_kernel
calls, inner, differ = [], device_kernel.fill, []
def counted(*args, **options):
    calls.append(args)
    inner(*args, **options)
device_kernel.fill = counted
for layout in LAYOUTS:
    for distribution in DISTRIBUTIONS:
        for dtype in BITS:
            same = torch.equal(filled("triton", layout, distribution, dtype), filled("torch", layout, distribution, dtype))
            if not same:
                differ.append(f"{layout}, {distribution}, {dtype}")
print(json.dumps([len(calls), differ]))
"""

# what a fill does where Triton raises, or computes something else: the bits stay, and it is said once
SPOILT = """
from initdsl.streams import backend, device_kernel
def broken(view, *args, **options):
    view.view(-1)[:3] = 9
    SPOILT
inner, device_kernel.fill = device_kernel.fill, broken
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    same = [torch.equal(filled("triton", "an odd offset", d, torch.float32), filled("torch", "an odd offset", d, torch.float32)) for d in DISTRIBUTIONS]
print(json.dumps([all(same), [str(w.message) for w in caught]]))
"""
ENDS = ": torch's operations fill in its place, slower and with the same values"


def said(program: str) -> object:
    """Return what a program says, in a process that Triton is loaded in as an interpreter."""
    usual = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TRITON_INTERPRET": "1"}
    done = python("-c", PROGRAM + program, env=usual, fresh=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_bits_are_those_of_torch_s_operations() -> None:
    fills, differ = said(EQUAL)  # type: ignore[misc]
    assert differ == []
    assert fills == 9 * 12 * 3 + 6  # float64 is torch's; six that are compared before the first


def test_a_kernel_that_fails_is_said_once_and_torch_fills() -> None:
    assert said(SPOILT.replace("SPOILT", 'raise RuntimeError("no compiler was found")')) == [
        True,
        ["Triton can't fill on cpu (no compiler was found)" + ENDS],
    ]


def test_a_kernel_with_other_bits_is_not_used() -> None:
    assert said(SPOILT.replace("SPOILT", "inner(view, *args, **options); view.view(-1)[77] += 1")) == [
        True,
        ["Triton's values on cpu are others than those of stream v1" + ENDS],
    ]


def test_the_engine_is_said() -> None:
    program = """
import os, initdsl
os.environ["INITDSL_KERNEL"] = "triton"
print(json.dumps([initdsl.apply(torch.nn.Linear(2, 2), "Linear.* ~ normal(0, 1)", seed=1).engine, streams.engine("cuda")]))
"""
    assert said(program) == ["stream v1, seed 1 (triton)", "triton"]
