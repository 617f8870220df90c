"""What planning takes, in CPU time of its process, and beside another tree of initdsl if one is given.

    python benchmarks/planning.py [--rounds N] [--against TREE]

TREE is a folder that holds another `initdsl`, say a worktree of an older commit. Both plan in turn, each in a process of
its own, so that a noisy machine is noisy for both.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

from side_by_side import Row
from torch import device, nn

ROOT = Path(__file__).parents[1]

GPT_FILE = """
let std = 0.02
let depth = len(net.h)

Linear.weight, Embedding.weight ~ normal(0, std)
Linear.bias = 0
default LayerNorm
GPTBlock.c_proj.weight, GPTBlock.proj.weight ~ normal(0, std / sqrt(2 * depth))
GPTBlock { .ln_1.weight = 1; .ln_2.bias = 0 }
net.h[i].fc.weight ~ normal(0, std / sqrt(i + 1))
expect net covered
"""


def mlp() -> nn.Module:
    return nn.Sequential(*(layer for _ in range(4) for layer in (nn.Linear(64, 64), nn.ReLU())))


def cases() -> dict[str, tuple[Callable[[], nn.Module], str]]:
    """A model and its rules by what the case is called."""
    from networks import BY_CLASS, GPT, MIXED, RESNET, gpt2_small, resnet50

    def linears() -> nn.Module:
        return nn.Sequential(*(nn.Linear(4, 4) for _ in range(5000)))

    def small() -> nn.Module:
        return nn.Sequential(*(nn.Linear(32, 16, bias=False) for _ in range(10_000)))

    globs = "\n".join(
        (f"net.{i}*.weight = {i}", f"net[{i}].*.*? = 1", f"net.*{i}.bias = {i}")[i % 3] for i in range(1, 301)
    )
    return {
        "MLP of 4 layers": (mlp, "Linear.weight ~ normal(0, 0.02); Linear.bias = 0"),
        "ResNet-50": (resnet50, RESNET),
        "GPT-2 small": (gpt2_small, GPT),
        "GPT-2 small, by a file": (gpt2_small, GPT_FILE),
        "10 000 parameters, 1 000 rules by class": (linears, BY_CLASS),
        "10 000 parameters, 1 000 rules, mixed": (linears, MIXED),
        "10 000 parameters, 300 rules by globs": (linears, globs),
        "10 000 tensors, one rule": (small, "Linear.weight ~ normal(0, 0.02)"),
    }


# ---- in a process of its own


def serve() -> None:
    """Plan the case that each line of the input names, and answer with the CPU seconds that it took."""
    import initdsl

    warnings.simplefilter("ignore")
    known = cases()
    ready: dict[str, Callable[[], object]] = {}
    for line in sys.stdin:
        name = line.strip()
        if name not in ready:
            make, text = known[name]
            with device("meta"):
                net = make()
            rules = initdsl.parse(text)
            ready.clear()
            ready[name] = partial(initdsl.plan, net, rules)
            ready[name]()
            gc.collect()
        begin, count = time.process_time(), 0
        while (took := time.process_time() - begin) < 0.02 or not count:
            ready[name]()
            count += 1
        print(json.dumps(took / count), flush=True)


class Planner:
    """A process that plans with the `initdsl` of one tree."""

    def __init__(self, tree: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONHASHSEED": "0"}
        words = [sys.executable, __file__, "--serve"]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def seconds(self, case: str) -> float:
        """Return the CPU seconds of one plan."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(case, file=self._process.stdin, flush=True)
        return float(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def rows(rounds: int = 7) -> list[Row]:
    """Every case as a row: the CPU time of one plan."""
    planner = Planner(ROOT)
    made = []
    for case in cases():
        took = statistics.median(planner.seconds(case) for _ in range(rounds))
        made.append(Row(f"plan, CPU time: {case}", took, 0, "", "", None))
    planner.close()
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--against", type=Path, metavar="TREE")
    parser.add_argument("--case", help="the cases whose name has this in it alone")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    trees = [ROOT, *([options.against] if options.against else [])]
    planners = [Planner(tree) for tree in trees]
    print("| case | plan |" + (" the other tree's | ratio |" if options.against else ""))
    print("|---|---|" + ("---|---|" if options.against else ""))
    for case in cases():
        if options.case and options.case not in case:
            continue
        rounds = [[planner.seconds(case) for planner in planners] for _ in range(options.rounds)]
        medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
        cells = [case, *(f"{median * 1e3:.2f} ms" for median in medians)]
        if options.against:
            cells.append(f"{statistics.median(mine / other for mine, other in rounds):.2f}")
        print("| " + " | ".join(cells) + " |", flush=True)
    for planner in planners:
        planner.close()


if __name__ == "__main__":
    main()
