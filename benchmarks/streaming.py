"""Streaming a transformer to disk: the rate beside that of the generator and of the disk alone, and the peak memory.

    python benchmarks/streaming.py [--parameters N] [--folder PLACE]

The disk's own rate is that of writing as many bytes, from memory, with as many threads, and waiting until they are on
it. Needs four bytes of disk a parameter, twice.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import torch
from side_by_side import Row, seconds, table
from torch import nn

import initdsl
from initdsl.initializers.distributions import Normal
from initdsl.streams import keys, prepare
from initdsl.streams import tensors as streams

RULES = "Linear.weight, Embedding.weight ~ normal(0, 0.02); RMSNorm.weight = 1"
WIDTH, HIDDEN, VOCABULARY = 4096, 11008, 32000


def llama(parameters: int) -> nn.Module:
    """Blocks in the shapes of LLaMA 7B, as many as make up some number of parameters; 32 of them are the whole."""
    each = 4 * WIDTH**2 + 3 * WIDTH * HIDDEN
    blocks = max(1, (parameters - 2 * VOCABULARY * WIDTH) // each)
    net = nn.Module()
    net.embed = nn.Embedding(VOCABULARY, WIDTH)
    net.layers = nn.ModuleList(
        nn.ModuleDict(
            {
                **{name: nn.Linear(WIDTH, WIDTH, bias=False) for name in ("q", "k", "v", "o")},
                "gate": nn.Linear(WIDTH, HIDDEN, bias=False),
                "up": nn.Linear(WIDTH, HIDDEN, bias=False),
                "down": nn.Linear(HIDDEN, WIDTH, bias=False),
                "norm": nn.RMSNorm(WIDTH),
                "norm2": nn.RMSNorm(WIDTH),
            }
        )
        for _ in range(blocks)
    )
    net.norm, net.head = nn.RMSNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False)
    return net


def write(place: Path, count: int, threads: int) -> None:
    """Write so many bytes to one file, from memory, and wait until they are on the disk."""
    piece = torch.ones(1 << 22, dtype=torch.uint8).numpy().data
    with open(place, "wb") as file:

        def part(number: int) -> None:
            for start in range(number * len(piece), count, threads * len(piece)):
                os.pwrite(file.fileno(), piece[: count - start], start)

        workers = [threading.Thread(target=part, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        os.fsync(file.fileno())
    place.unlink()


def generate(count: int) -> None:
    """Fill so many elements in memory that is used again."""
    room = torch.empty(1 << 24)
    for start in range(0, count, len(room)):
        streams.fill(room, Normal(0, 0.02), keys.key(0, "weight"), offset=start)


def peak() -> int:
    """The most memory this program has had, in bytes. (`getrusage` would count the program that started it.)"""
    with open("/proc/self/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


def measured(parameters: int, folder: str) -> dict[str, float]:
    """Seconds of a run in a process of its own, and how far its memory rose above what it is after import."""
    before = peak()
    took = seconds(lambda: initdsl.stream(lambda: llama(parameters), RULES, folder, seed=0))
    return {"seconds": took, "memory": peak() - before}


def rows(parameters: int = 500_000_000, folder: str | None = None, rounds: int = 3) -> list[Row]:
    """The run beside the slower of generator and disk, medians of runs in turn; and its memory."""
    with torch.device("meta"):
        count = sum(p.numel() for p in llama(parameters).parameters())
    threads = torch.get_num_threads()
    prepare()
    generate(1 << 24)
    runs: list[tuple[float, float, float, float]] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            words = [sys.executable, __file__, "--child", "--parameters", str(parameters), "--folder", f"{place}/out"]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout)
            shutil.rmtree(f"{place}/out")
            disk = seconds(lambda place=place: write(Path(place, "plain"), 4 * count, threads))
        generator = seconds(lambda: generate(count))
        runs.append((found["seconds"], disk, generator, found["memory"]))
    ours, disk, generator, _ = (statistics.median(column) for column in zip(*runs, strict=True))
    which = "generator" if generator > disk else "disk"
    share = statistics.median(max(d, g) / mine for mine, d, g, _ in runs)
    memory = max(run[3] for run in runs)
    size = f"{count / 1e9:.2f} billion parameters"
    return [
        Row(f"stream {size} to disk, to the {which} alone", ours, max(disk, generator), "at least 0.8", f"{share:.2f}", share >= 0.8),
        Row("of which the generator alone", 0, generator, "", f"{count / generator / 1e6:.0f} M/s", None),
        Row("of which the disk alone", 0, disk, "", f"{4 * count / disk / 1e6:.0f} MB/s", None),
        Row(f"memory above import, {size}", 0, 0, "under 1 GB", f"{memory / 1e6:.0f} MB", memory < 1e9),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", type=int, default=500_000_000)
    parser.add_argument("--folder")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measured(options.parameters, options.folder)))
    else:
        print(table(rows(options.parameters, options.folder)))


if __name__ == "__main__":
    main()
