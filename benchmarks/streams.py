"""Filling a large float32 tensor: stream v1 beside `torch.nn.init`, taken in turn in one run.

    python benchmarks/streams.py [--threads N] [--elements N] [--rounds N]

Prints medians and how many times as fast as torch that is. torch's own functions draw on one thread whatever their
number.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

import torch
from side_by_side import Row, faster, table

from initdsl import streams
from initdsl.initializers.distributions import Distribution, Normal, TruncatedNormal, Uniform


def seeded(tensor: torch.Tensor, distribution: Distribution, kernel: str) -> Callable[[], None]:
    os.environ["INITDSL_KERNEL"] = kernel
    streams.prepare()
    key = streams.key(0, "weight")
    return lambda: streams.fill(tensor, distribution, key)


Fill = Callable[[torch.Tensor], object]
CASES: list[tuple[str, Fill, Distribution, dict[str, float]]] = [
    ("uniform", lambda t: torch.nn.init.uniform_(t, -1, 1), Uniform(-1, 1), {"torch": 2, "native": 6}),
    ("normal", lambda t: torch.nn.init.normal_(t, 0, 0.02), Normal(0, 0.02), {"torch": 1.5, "native": 4}),
    (
        "trunc_normal", lambda t: torch.nn.init.trunc_normal_(t, 0, 1, -2, 2), TruncatedNormal(0, 1, -2, 2),
        {"torch": 15, "native": 40},
    ),
]  # fmt: skip


def rows(rounds: int = 7, elements: int = 1 << 24, threads: int = 2) -> list[Row]:
    """Each distribution with each engine beside `torch.nn.init`; the targets are for two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    large, small = torch.zeros(elements), torch.zeros(512)
    kernels = ["native", "torch"]
    made = []
    for name, own, distribution, least in CASES:
        for kernel in kernels:
            target = least[kernel] if threads == 2 else None
            case = f"seeded {name}, {kernel}, {threads} threads, to nn.init"
            made.append(
                faster(case, seeded(large, distribution, kernel), lambda own=own: own(large), target, rounds)  # type: ignore[misc]
            )
    for name, own, distribution, _ in CASES:
        case = f"seeded {name} of 512 elements, to nn.init"
        made.append(faster(case, seeded(small, distribution, "native"), lambda own=own: own(small), 1, 50 * rounds))  # type: ignore[misc]
    os.environ.pop("INITDSL_KERNEL", None)
    torch.set_num_threads(before)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--elements", type=int, default=1 << 24)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {options.threads} threads, {options.elements} elements, {options.rounds} rounds")
    print(table(rows(options.rounds, options.elements, options.threads)))


if __name__ == "__main__":
    main()
