"""What the first call of a fresh process takes, import aside: every figure is the median over processes of their own.

    python benchmarks/first_call.py [--rounds N] [--busy]

Each process does both, ours and the other, the one first that was last before. `--busy` keeps one core at work meanwhile.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
from pathlib import Path

from side_by_side import Row, table

CHILD = """
import json, sys, time, warnings
sys.path.insert(0, FOLDER)
import torch
import initdsl, initdsl.streams
from torch import nn
from networks import GPT, gpt2_small, gpt_by_hand, RESNET, resnet50, resnet_by_hand
from initdsl.initializers.distributions import Normal, TruncatedNormal, Uniform

warnings.simplefilter("ignore")
case, threads, ours_first = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1"
torch.set_num_threads(threads)
DRAWS = {
    "uniform": (Uniform(-1, 1), lambda t: nn.init.uniform_(t, -1, 1)),
    "normal": (Normal(0, 0.02), lambda t: nn.init.normal_(t, 0, 0.02)),
    "trunc_normal": (TruncatedNormal(0, 1, -2, 2), lambda t: nn.init.trunc_normal_(t, 0, 1, -2, 2)),
}
SMALL = "Linear.weight ~ normal(0, 0.02)"


def small() -> nn.Module:
    return nn.Sequential(*(nn.Linear(32, 16, bias=False) for _ in range(10_000)))


def small_by_hand(m: nn.Module) -> None:
    if isinstance(m, nn.Linear):
        nn.init.normal_(m.weight, 0, 0.02)


def pair():
    name, _, size = case.partition(" ")
    if name in DRAWS:
        distribution, other = DRAWS[name]
        count = int(size)
        many = 1 if count > 100_000 else 1000
        a, b = torch.zeros(many, count), torch.zeros(many, count)
        keys = [initdsl.streams.key(7, str(n)) for n in range(many)]

        def ours():
            for n in range(many):
                initdsl.streams.fill(a[n], distribution, keys[n])

        def theirs():
            for n in range(many):
                other(b[n])

        return ours, theirs
    if case == "materialize GPT-2 small":
        rules = initdsl.parse(GPT)
        return lambda: initdsl.materialize(gpt2_small, rules, seed=0), lambda: gpt2_small().apply(gpt_by_hand)
    if case == "unseeded ResNet-50":
        rules, net = initdsl.parse(RESNET), resnet50()
        return lambda: initdsl.apply(net, rules), lambda: net.apply(resnet_by_hand)
    rules, net = initdsl.parse(SMALL), small()
    seed = 0 if case == "10 000 small tensors, seeded" else None
    return lambda: initdsl.apply(net, rules, seed=seed), lambda: net.apply(small_by_hand)


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


ours, theirs = pair()
took = {}
for name in ("ours", "theirs") if ours_first else ("theirs", "ours"):
    took[name] = seconds(ours if name == "ours" else theirs)
print(json.dumps([took["ours"], took["theirs"]]))
"""

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
]


def rows(rounds: int = 5, prefix: str = "first call: ") -> list[Row]:
    made = []
    environment = {key: value for key, value in os.environ.items() if key != "INITDSL_KERNEL"}
    code = CHILD.replace("FOLDER", repr(str(Path(__file__).parent)))
    for case, threads, title, least in CASES:
        pairs = []
        for number in range(rounds):
            words = [sys.executable, "-c", code, case, str(threads), str(number % 2)]
            done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
            pairs.append(json.loads(done.stdout))
        ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(other / mine for mine, other in pairs)
        made.append(Row(prefix + title, ours, theirs, f"at least {least:.3g}", f"{ratio:.2f} x", ratio >= least))
    return made


def _spin() -> None:
    while True:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--busy", action="store_true")
    options = parser.parse_args()
    busy = multiprocessing.Process(target=_spin, daemon=True)
    if options.busy:
        busy.start()
    print(table(rows(options.rounds, "one core busy: " if options.busy else "first call: ")))
    if options.busy:
        busy.terminate()


if __name__ == "__main__":
    main()
