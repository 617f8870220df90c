"""What the first call of a fresh process takes, import aside: every figure is the median over processes of their own.

    python benchmarks/first_call.py [--rounds N] [--busy] [--case WORDS] [--against TREE]

Each process does both, ours and the other, the one first that was last before. `--busy` keeps one core at work meanwhile.
Where processes can be forked, they are, from one that has imported all there is and called nothing: so a round takes no
longer than what it measures. `--against` times the `initdsl` of another folder in turn with this one, by CPU time, which
other programs disturb less.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from networks import GPT, RESNET, gpt2_small, gpt_by_hand, resnet50, resnet_by_hand
from side_by_side import Row, table
from torch import nn

import initdsl
import initdsl.streams
from initdsl.initializers.distributions import Distribution, Normal, TruncatedNormal, Uniform

ROOT = Path(__file__).parents[1]

Work = Callable[[], object]

DRAWS: dict[str, tuple[Distribution, Callable[[torch.Tensor], object]]] = {
    "uniform": (Uniform(-1, 1), lambda t: nn.init.uniform_(t, -1, 1)),
    "normal": (Normal(0, 0.02), lambda t: nn.init.normal_(t, 0, 0.02)),
    "trunc_normal": (TruncatedNormal(0, 1, -2, 2), lambda t: nn.init.trunc_normal_(t, 0, 1, -2, 2)),
}

LARGE = 4096 * 4096

CASES = [
    # case, threads, what it is called, least ratio of theirs to ours
    (f"normal {LARGE}", 2, "normal, 4096 x 4096, 2 threads", 4.0),
    (f"uniform {LARGE}", 2, "uniform, 4096 x 4096, 2 threads", 8.0),
    (f"trunc_normal {LARGE}", 2, "trunc_normal, 4096 x 4096, 2 threads", 40.0),
    (f"normal {LARGE}", 1, "normal, 4096 x 4096, 1 thread", 2.3),
    (f"uniform {LARGE}", 1, "uniform, 4096 x 4096, 1 thread", 4.0),
    ("normal 512", 2, "normal, a tensor of 512 elements", 1.0),
    ("uniform 512", 2, "uniform, a tensor of 512 elements", 1.0),
    ("materialize GPT-2 small", 2, "materialize GPT-2 small, to construct + hand-written", 5.0),
    ("10 000 small tensors, seeded", 2, "apply to 10 000 tensors of 512 elements, seeded, plan included", 1 / 1.2),
    ("10 000 small tensors", 2, "apply to 10 000 tensors of 512 elements, unseeded, plan included", 1 / 1.2),
    ("unseeded ResNet-50", 2, "unseeded apply, ResNet-50 shapes", 1 / 1.03),
    ("default ResNet-50", 2, "`default` of ResNet-50, unseeded, to its layers' resets", 1 / 1.03),
    ("default ResNet-50, seeded", 2, "`default` of ResNet-50, seeded, to its layers' resets", 1 / 1.03),
    ("unseeded normal", 2, "unseeded apply, one normal of 4096 x 4096", 1 / 1.03),
    ("unseeded uniform", 2, "unseeded apply, one uniform of 4096 x 4096", 1 / 1.03),
]


# ---- in a process of its own


def draws(name: str, count: int) -> tuple[Work, Work]:
    """Return the fill of one large tensor, or of 1 000 small ones, by streams and by torch.nn.init."""
    distribution, other = DRAWS[name]
    many = 1 if count > 100_000 else 1000
    a, b = torch.zeros(many, count), torch.zeros(many, count)
    keys = [initdsl.streams.key(7, str(number)) for number in range(many)]

    def ours() -> None:
        for number in range(many):
            initdsl.streams.fill(a[number], distribution, keys[number])

    def theirs() -> None:
        for number in range(many):
            other(b[number])

    return ours, theirs


def small_by_hand(m: nn.Module) -> None:
    if isinstance(m, nn.Linear):
        nn.init.normal_(m.weight, 0, 0.02)


def reset(m: nn.Module) -> None:
    if hasattr(m, "reset_parameters"):
        m.reset_parameters()


def pair(case: str) -> tuple[Work, Work]:
    """Return what a case times: ours and the other."""
    name, _, size = case.partition(" ")
    if name in DRAWS:
        return draws(name, int(size))
    if case == "materialize GPT-2 small":
        rules = initdsl.parse(GPT)
        return lambda: initdsl.materialize(gpt2_small, rules, seed=0), lambda: gpt2_small().apply(gpt_by_hand)
    if case == "unseeded ResNet-50":
        rules, net = initdsl.parse(RESNET), resnet50()
        return lambda: initdsl.apply(net, rules), lambda: net.apply(resnet_by_hand)
    if name == "default":
        rules, net = initdsl.parse("default net"), resnet50()
        seed = 0 if case.endswith("seeded") else None
        return lambda: initdsl.apply(net, rules, seed=seed), lambda: net.apply(reset)
    if case in ("unseeded normal", "unseeded uniform"):
        distribution, other = DRAWS[size]
        rules, layer = initdsl.parse(f"Linear.weight ~ {distribution}"), nn.Linear(4096, 4096, bias=False)
        return lambda: initdsl.apply(layer, rules), lambda: other(layer.weight)
    rules = initdsl.parse("Linear.weight ~ normal(0, 0.02)")
    net = nn.Sequential(*(nn.Linear(32, 16, bias=False) for _ in range(10_000)))
    seed = 0 if case == "10 000 small tensors, seeded" else None
    return lambda: initdsl.apply(net, rules, seed=seed), lambda: net.apply(small_by_hand)


def measure(
    case: str, threads: int, ours_first: bool, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, float]:
    """Return what both take: ours and the other, in seconds of a clock."""

    def seconds(work: Work) -> float:
        begin = clock()
        work()
        return clock() - begin

    warnings.simplefilter("ignore")
    os.environ.pop("INITDSL_KERNEL", None)
    torch.set_num_threads(threads)
    assert initdsl.apply  # the public names are imported when they are first asked for
    assert initdsl.materialize
    ours, theirs = pair(case)
    if ours_first:
        mine, other = seconds(ours), seconds(theirs)
    else:
        other, mine = seconds(theirs), seconds(ours)
    return mine, other


def send(answer: Connection, case: str, threads: int, ours_first: bool) -> None:
    answer.send(measure(case, threads, ours_first))


# ---- the rows


def fresh(case: str, threads: int, ours_first: bool) -> tuple[float, float]:
    """Return what both take in a process that has called nothing before."""
    can_fork = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if can_fork else "spawn")
    if can_fork:
        context.set_forkserver_preload(["first_call"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=send, args=(theirs, case, threads, ours_first))
    process.start()
    theirs.close()
    try:
        took: tuple[float, float] = ours.recv()
    finally:
        process.join()
    return took


def _spin() -> None:
    while True:
        pass


@contextmanager
def one_core_busy(wanted: bool) -> Iterator[None]:
    """Keep one core at work in the block."""
    if not wanted:
        yield
        return
    process = multiprocessing.get_context("spawn").Process(target=_spin, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def rows(rounds: int = 5, busy: bool = False, only: str = "") -> list[Row]:
    """Every row of this file whose name has `only` in it; on a machine that is quiet, or has one core `busy`."""
    made = []
    prefix = "one core busy, first call" if busy else "first call"
    with one_core_busy(busy):
        for case, threads, title, least in CASES:
            if only not in title:
                continue
            pairs = [fresh(case, threads, bool(number % 2)) for number in range(rounds)]
            ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(other / mine for mine, other in pairs)
            made.append(
                Row(f"{prefix}: {title}", ours, theirs, f"at least {least:.3g}", f"{ratio:.2f} x", ratio >= least)
            )
    return made


def beside(tree: Path, rounds: int, only: str) -> None:
    """Print the CPU time of this tree and of another, each case in turn, and how many times that of the other work it is."""
    print("| case | this tree | to the other work | the other tree | to the other work |")
    print("|---|---|---|---|---|")
    for case, threads, title, _ in CASES:
        if only not in title:
            continue
        took: dict[Path, list[tuple[float, float]]] = {ROOT: [], tree: []}
        for number in range(rounds):
            for each, pairs in took.items():
                words = [sys.executable, __file__, "--alone", json.dumps([case, threads, bool(number % 2)])]
                environment = {**os.environ, "PYTHONPATH": str(each)}
                pairs.append(
                    json.loads(subprocess.run(words, env=environment, stdout=subprocess.PIPE, check=True).stdout)
                )
        cells = [title]
        for pairs in took.values():
            cells += [
                f"{statistics.median(mine for mine, _ in pairs) * 1e3:.1f} ms",
                f"{statistics.median(mine / other for mine, other in pairs):.2f}",
            ]
        print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--case", default="", metavar="WORDS", help="the rows whose name has these words in it alone")
    parser.add_argument("--against", type=Path, metavar="TREE", help="a folder that holds another `initdsl`")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(measure(*json.loads(options.alone), clock=time.process_time)))
        return
    if options.against:
        beside(options.against, options.rounds, options.case)
        return
    print(table(rows(options.rounds, options.busy, options.case)))


if __name__ == "__main__":
    main()
