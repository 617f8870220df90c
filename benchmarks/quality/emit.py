"""Write the words of stream v1 to standard output, little-endian, without end: food for a statistical battery.

    python benchmarks/quality/emit.py ORDER | RNG_test stdin64        (PractRand)
    python benchmarks/quality/emit.py ORDER | ./testu01 crush         (TestU01, see testu01.c)

ORDER says which streams, and how they are laid out:
    one      a single stream
    names    256 neighbouring parameters (`layers.0.weight`, `layers.1.weight`, ...), a word from each in turn
    seeds    256 neighbouring seeds (0, 1, 2, ...) of one parameter, likewise
    draws    256 draws of one parameter, likewise
    starts   the first 64 words of parameter after parameter: many short streams, as biases are
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import torch

from initdsl import streams

BLOCK = 1 << 14
LANES = 256
KEYS = {
    "names": lambda n: streams.key(0, f"layers.{n}.weight"),
    "seeds": lambda n: streams.key(n, "weight"),
    "draws": lambda n: streams.key(0, "weight", n),
}


def blocks(order: str) -> Iterator[torch.Tensor]:
    """The words in the given order, a tensor at a time."""
    if order == "one":
        key, start = streams.key(0, "weight"), 0
        while True:
            yield streams.words(key, start, BLOCK * 16)
            start += BLOCK * 16
    if order == "starts":
        name = 0
        while True:
            part = [streams.words(streams.key(0, f"layers.{n}.bias"), 0, 64) for n in range(name, name + LANES)]
            yield torch.cat(part)
            name += LANES
    keys = [KEYS[order](n) for n in range(LANES)]
    start = 0
    while True:
        yield torch.stack([streams.words(key, start, BLOCK // 8) for key in keys], 1).contiguous()
        start += BLOCK // 8


def main() -> None:
    torch.set_num_threads(1)
    order = sys.argv[1] if len(sys.argv) == 2 else ""
    if order not in ("one", "starts", *KEYS):
        sys.exit(__doc__)
    try:
        for block in blocks(order):
            sys.stdout.buffer.write(block.numpy().tobytes())
    except BrokenPipeError:  # the battery has seen enough
        sys.stderr.close()


if __name__ == "__main__":
    main()
