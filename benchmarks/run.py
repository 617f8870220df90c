"""Every benchmark with a target, side by side in one run, into `docs/benchmarks.md`.

    python benchmarks/run.py [--parameters N] [--folder PLACE] [--jax PYTHON] [--rounds N] [--dry]

`--parameters` is the size of the model that is streamed to disk: 7000000000 is the whole of it and needs 28 GB of disk.
`--jax` is a Python that has JAX, in an environment of its own. `--dry` prints the table and leaves the page as it is.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import apply
import first_call
import planning
import streaming
import streams
import torch
from side_by_side import Row, seconds, table

import initdsl
import initdsl.streams

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"

JAX = """
import sys, time, statistics, jax
n = int(sys.argv[1])
draw = jax.jit(lambda key: jax.random.normal(key, (n,)))
keys = jax.random.split(jax.random.key(0), 10)
draw(keys[0]).block_until_ready()
taken = []
for key in keys[1:]:
    start = time.perf_counter()
    draw(key).block_until_ready()
    taken.append(time.perf_counter() - start)
print(statistics.median(taken))
"""


def facts() -> str:
    """The machine and the versions, in a line."""
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        model = names[0] if names else model
    versions = [f"Python {platform.python_version()}", f"torch {torch.__version__}", f"initdsl {initdsl.__version__}"]
    versions.append(f"kernel {initdsl.streams.engine()}")
    cores = f"{os.cpu_count()} logical cores, {torch.get_num_threads()} threads"
    return f"{model}, {cores}; {platform.system()} {platform.machine()}; {', '.join(versions)}; {date.today()}"


def jax(python: str, rounds: int) -> list[Row]:
    """A seeded normal beside JAX's, each in its own process but in turn."""
    count = 1 << 24
    made = []
    for engine, kernel in (("native", "native"), ("torch", "torch")):
        room = torch.empty(count)
        fill = streams.seeded(room, streams.CASES[1][2], kernel)
        fill()
        pairs = []
        for _ in range(max(1, rounds // 2)):
            mine = min(seconds(fill) for _ in range(3))
            done = subprocess.run([python, "-c", JAX, str(count)], capture_output=True, text=True, check=True)
            pairs.append((mine, float(done.stdout)))
        mine, other = sorted(pairs, key=lambda pair: pair[1] / pair[0])[len(pairs) // 2]
        target = "at least 4" if kernel == "native" else ""
        case = f"seeded normal, {engine}, to jax.random.normal, jitted"
        made.append(Row(case, mine, other, target, f"{other / mine:.2f} x", other >= 4 * mine if target else None))
    os.environ.pop("INITDSL_KERNEL", None)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", type=int, default=500_000_000)
    parser.add_argument("--folder", help="where to stream to")
    parser.add_argument("--jax", metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dry", action="store_true")
    options = parser.parse_args()
    start = time.perf_counter()
    rows: list[Row] = []

    def add(name: str, found: list[Row]) -> None:
        rows.extend(found)
        print(f"{time.perf_counter() - start:5.0f} s  {name}", file=sys.stderr)

    add("networks", apply.rows(options.rounds))
    add("planning", planning.rows(options.rounds))
    add("first calls", first_call.rows(options.rounds))
    add("first calls beside a busy core", first_call.rows(options.rounds, busy=True))
    add("streams", streams.rows(options.rounds))
    if options.jax:
        add("jax", jax(options.jax, options.rounds))
    if importlib.util.find_spec("sharded"):
        import sharded

        add("sharded", sharded.rows())
    add("streaming", streaming.rows(options.parameters, options.folder))
    text = f"{facts()}\n\n{table(rows)}"
    print(text)
    if not options.dry:
        page = PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    print(f"{time.perf_counter() - start:.0f} s in all", file=sys.stderr)


if __name__ == "__main__":
    main()
