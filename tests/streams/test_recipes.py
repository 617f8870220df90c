"""The numbers of a recipe: rounded in plain Python to what torch makes of them, and the neighbours of each."""

from __future__ import annotations

import math
import random
import struct

import pytest
import torch

from initdsl.streams import recipes

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def numbers() -> list[float]:
    """Doubles of any bits, those around every number of a half type and halfway to the next, and small ones."""
    draw = random.Random(5)
    made = [struct.unpack("<d", draw.randbytes(8))[0] for _ in range(50_000)]
    made += [draw.uniform(-1, 1) * 2.0 ** draw.randint(-160, 130) for _ in range(100_000)]
    singles = torch.tensor([draw.getrandbits(31) for _ in range(50_000)], dtype=torch.int32).view(torch.float32)
    halves = [torch.arange(1 << 15, dtype=torch.int16).view(dtype) for dtype in (torch.float16, torch.bfloat16)]
    for values in (singles, *halves):
        ends = values.double()
        middles = (ends + torch.nextafter(values.float(), torch.tensor(math.inf)).double()) / 2
        if values.dtype != torch.float32:
            middles = torch.cat([middles, (ends[1:] + ends[:-1]) / 2])
        for part in (ends, middles):
            made += part.tolist()
            for towards in (-math.inf, math.inf):
                made += torch.nextafter(part, torch.full_like(part, towards)).tolist()
    made = [x for x in made if not math.isnan(x)] + [0.0, math.inf, 65519.99, 65520.0, 3.4028235677973366e38]
    return made + [-x for x in made]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_number_is_rounded_as_torch_rounds_it(dtype: torch.dtype) -> None:
    given = numbers()
    made = torch.tensor([recipes._nearest(x, dtype) for x in given], dtype=torch.float64)
    expected = torch.tensor(given, dtype=torch.float64).to(dtype).double()
    assert torch.equal(made.view(torch.int64), expected.view(torch.int64))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_neighbours_of_a_number(dtype: torch.dtype) -> None:
    """Those that count on by one in the bits; beside 0 the smallest number of either sign."""
    if dtype.itemsize == 2:
        values = torch.arange(-(1 << 15), 1 << 15).to(torch.int16).view(dtype)
    else:
        values = torch.tensor(random.Random(6).sample(numbers(), 50_000), dtype=torch.float64).to(dtype)
    values = values[values.isfinite()]
    for up in (False, True):
        bits = values.view(INTEGERS[dtype.itemsize])
        expected = (bits + torch.where((values > 0) == up, 1, -1).to(bits.dtype)).view(dtype)
        smallest = torch.ones((), dtype=bits.dtype).view(dtype)
        expected = torch.where(values == 0, smallest if up else -smallest, expected).double()
        made = torch.tensor([recipes._next(x, dtype, up) for x in values.double().tolist()], dtype=torch.float64)
        assert torch.equal(made.view(torch.int64), expected.view(torch.int64))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_bounds_of_an_interval_are_its_outermost_numbers(dtype: torch.dtype) -> None:
    for low, high in ((-1, 1), (0, 1), (-0.1, 0.1), (1e-3, 2e-3), (1e-50, 2e-50), (-1e39, 1e39), (0.1, 0.1), (-3, 0)):
        for open_above in (False, True):
            bottom, top = recipes._inside(float(low), float(high), dtype, open_above)
            rounded = torch.tensor([low, high, bottom, top], dtype=torch.float64).to(dtype).double()
            assert rounded[2:].tolist() == [bottom, top]
            if bottom == top == rounded[0]:  # there may be no number inside
                continue
            assert low <= bottom <= top <= high
            assert not open_above or top < high
            assert recipes._next(bottom, dtype, up=False) < low
            after = recipes._next(top, dtype, up=True)
            assert after >= high if open_above else after > high
