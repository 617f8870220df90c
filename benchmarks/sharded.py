"""One rank of an 8-way shard against the whole: filling an eighth should take an eighth of the time.

No processes are started: torch's fake process group stands for the other ranks, so what is timed is one rank's own
work through `initdsl.apply`, planning included.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch.distributed as dist
from side_by_side import Row, compare, table
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard, distribute_tensor
from torch.testing._internal.distributed.fake_pg import FakeStore

import initdsl

RANKS = 8
MOST = 1.1 / RANKS


def matrices(rows: int, columns: int, count: int) -> nn.Module:
    return nn.Sequential(*(nn.Linear(columns, rows, bias=False, device="meta") for _ in range(count))).to_empty(
        device="cpu"
    )


def cut(net: nn.Module, dim: int) -> nn.Module:
    """Every weight along one dimension over all ranks."""
    mesh = init_device_mesh("cpu", (RANKS,))
    for module in net:  # type: ignore[attr-defined]
        module.weight = nn.Parameter(distribute_tensor(module.weight.detach(), mesh, [Shard(dim)]))
    return net


def row(case: str, rules: str, make: Callable[[], nn.Module], shard: Callable[[nn.Module], nn.Module]) -> Row:
    whole, part = make(), shard(make())
    compiled = initdsl.parse(rules)
    mine, theirs, ratio = compare(
        lambda: initdsl.apply(part, compiled, seed=0), lambda: initdsl.apply(whole, compiled, seed=0), rounds=5
    )
    return Row(case, mine, theirs, f"at most {MOST:.4f}", f"{ratio:.4f} of the time", ratio <= MOST)


def rows(side: int = 16384) -> list[Row]:
    """Two matrices of `side` by `side` a case, half that for edits by elements, which take a hundred times as long."""
    dist.init_process_group("fake", rank=3, world_size=RANKS, store=FakeStore())  # type: ignore[no-untyped-call]
    try:
        return _rows(side)
    finally:
        dist.destroy_process_group()


def _rows(side: int) -> list[Row]:

    def plain() -> nn.Module:
        return matrices(side, side, 2)

    def smaller() -> nn.Module:
        return matrices(side // 2, side // 2, 2)

    def fsdp(net: nn.Module) -> nn.Module:
        for module in net:  # type: ignore[attr-defined]
            fully_shard(module)
        return fully_shard(net)  # type: ignore[return-value]

    distributions = {"normal": "normal(0, 0.02)", "uniform": "uniform(-1, 1)", "trunc_normal": "trunc_normal(0, 1)"}
    found = [
        row(f"{name}, fully_shard, rank 3 of {RANKS}", f"Linear.weight ~ {call}", plain, fsdp)
        for name, call in distributions.items()
    ]
    found.append(
        row(f"normal, Shard(1), rank 3 of {RANKS}", "Linear.weight ~ normal(0, 1)", plain, lambda n: cut(n, 1))
    )
    edits = "Linear.weight ~ normal(0, 1) * 0.02; Linear.weight *= abs(it) >= 0.01"
    found.append(row(f"draw, edit by elements, rank 3 of {RANKS}", edits, smaller, fsdp))
    views = "Linear.weight as (4, -1, in_features)[*] ~ xavier_uniform()"
    found.append(row(f"four pieces of a view, rank 3 of {RANKS}", views, plain, fsdp))
    return found


if __name__ == "__main__":
    print(table(rows(int(os.environ.get("SIDE", "16384")))))
