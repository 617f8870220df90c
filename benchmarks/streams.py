"""Filling a large float32 tensor: stream v1 beside `torch.nn.init`, taken in turn in one run.

    python benchmarks/streams.py [--threads N] [--elements N] [--rounds N]

Prints nanoseconds an element (the median of the rounds) and how many times as fast as torch that is. torch's own
functions draw on one thread whatever their number.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import time
from collections.abc import Callable

import torch

from initdsl import streams
from initdsl.initializers.distributions import Distribution, Normal, TruncatedNormal, Uniform


def interleaved(cases: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median time of each case in seconds; each round runs every case once, so load falls on all alike."""
    for case in cases.values():
        case()
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            start = time.perf_counter()
            case()
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


def seeded(tensor: torch.Tensor, distribution: Distribution, kernel: str) -> Callable[[], None]:
    key = streams.key(0, "weight")

    def run() -> None:
        os.environ["INITDSL_KERNEL"] = kernel
        streams.fill(tensor, distribution, key)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--elements", type=int, default=1 << 24)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    large, small = torch.zeros(options.elements), torch.zeros(512)
    kernels = ["torch", "numba"] if importlib.util.find_spec("numba") else ["torch"]
    rows: list[tuple[str, Callable[[torch.Tensor], object], Distribution]] = [
        ("uniform", lambda t: torch.nn.init.uniform_(t, -1, 1), Uniform(-1, 1)),
        ("normal", lambda t: torch.nn.init.normal_(t, 0, 0.02), Normal(0, 0.02)),
        ("trunc_normal", lambda t: torch.nn.init.trunc_normal_(t, 0, 1, -2, 2), TruncatedNormal(0, 1, -2, 2)),
    ]
    print(f"torch {torch.__version__}, {options.threads} threads, {options.elements} elements, {options.rounds} rounds")
    print("| | torch.nn.init | " + " | ".join(f"stream, {kernel}" for kernel in kernels) + " |")
    print("|---|---|" + "---|" * len(kernels))
    for name, own, distribution in rows:
        cases: dict[str, Callable[[], object]] = {"init": lambda own=own: own(large)}
        cases |= {kernel: seeded(large, distribution, kernel) for kernel in kernels}
        times = interleaved(cases, options.rounds)
        cells = [f"{times[k] / options.elements * 1e9:.2f} ns ({times['init'] / times[k]:.2f} x)" for k in kernels]
        print(f"| {name} | {times['init'] / options.elements * 1e9:.2f} ns | " + " | ".join(cells) + " |")
    for name, own, distribution in rows:
        times = interleaved(
            {"init": lambda own=own: own(small), "stream": seeded(small, distribution, "torch")}, 50 * options.rounds
        )
        print(
            f"{name}, {small.numel()} elements: {times['init'] * 1e6:.0f} us by torch, {times['stream'] * 1e6:.0f} us"
        )


if __name__ == "__main__":
    main()
