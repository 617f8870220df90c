"""A model over several processes: sharded without memory, filled by every rank at once, trained, saved.

    torchrun --nproc-per-node 2 examples/sharded/start.py

Any number of processes prints the same checksum: that of the model one process would have made.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.fsdp import fully_shard

import initdsl

RULES = Path(__file__).parent / "gpt.init"


class Layer(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.up, self.down = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(self.norm_1(x)).chunk(3, dim=-1)
        x = x + self.proj(nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True))
        return x + self.down(nn.functional.gelu(self.up(self.norm_2(x))))


class GPT(nn.Module):
    def __init__(self, vocabulary: int = 1000, dim: int = 64, depth: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dim)
        self.layers = nn.ModuleList(Layer(dim) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, vocabulary, bias=False)
        self.head.weight = self.embed.weight  # tied before sharding

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


def sharded() -> nn.Module:
    net = GPT()
    for layer in net.layers:
        fully_shard(layer)
    return fully_shard(net)


def checksum(net: nn.Module) -> str:
    """Of all values, gathered: the same on every rank, and for every number of them."""
    digest = hashlib.sha256()
    for parameter in net.parameters():
        digest.update(parameter.full_tensor().detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def main() -> None:
    dist.init_process_group("gloo" if not torch.cuda.is_available() else None)
    rank = dist.get_rank()
    device = f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else "cpu"
    if device != "cpu":
        torch.cuda.set_device(device)

    # nothing has memory until the rules are checked; then each rank allocates and fills its part, once
    net = initdsl.materialize(sharded, RULES, device=device, seed=7)

    held = sum(parameter.to_local().numel() for parameter in net.parameters())
    total = sum(parameter.numel() for parameter in net.parameters())
    print(f"rank {rank} holds {held:,} of {total:,} values", flush=True)
    start = checksum(net)
    if rank == 0:
        print(f"checksum {start}", flush=True)

    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    tokens = torch.arange(32, device=device)[None]
    for _ in range(3):
        loss = nn.functional.cross_entropy(net(tokens[:, :-1])[0], tokens[0, 1:])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    folder = sys.argv[1] if len(sys.argv) > 1 else Path(tempfile.gettempdir()) / "initdsl-sharded"
    dcp.save({"net": net.state_dict()}, checkpoint_id=folder)
    if rank == 0:
        print(f"loss {loss.item():.2f}, saved to {folder}", flush=True)
    dist.barrier()
    sys.stdout.flush()
    os._exit(0)  # gloo's threads now and then abort an interpreter that is being taken down


if __name__ == "__main__":
    main()
