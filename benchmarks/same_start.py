"""Does a seed give the same values on 1 rank and on several? One answer for each system that is installed.

    python benchmarks/same_start.py [RANKS]        # 8 by default, on the CPU

Each system initializes the same kind of model, fully sharded, in processes of its own; what it is to be compared by is a
digest of the gathered values.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

SEED = 7


def digest(values: Iterable[Any]) -> str:
    """Return a hash of arrays of numpy."""
    return hashlib.blake2b(b"".join(value.tobytes() for value in values), digest_size=8).hexdigest()


# ---- systems; each returns the digest, in one process of several


def gathered(net: Any) -> str:
    tensors = [p.full_tensor() if hasattr(p, "full_tensor") else p for p in net.parameters()]
    return digest(tensor.detach().numpy() for tensor in tensors)


def sharded() -> Any:
    """Return a model without memory, sharded by FSDP2 over all ranks."""
    import torch
    from torch import nn
    from torch.distributed.fsdp import fully_shard

    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(64, 96), nn.LayerNorm(96), nn.Linear(96, 40))
    return fully_shard(net)


def with_initdsl() -> str:
    import initdsl

    net = sharded().to_empty(device="cpu")
    initdsl.apply(net, "Linear.weight ~ trunc_normal(0, 0.02); *.*(ndim<2) = 1", seed=SEED)
    return gathered(net)


def with_torch() -> str:
    import torch

    net = sharded().to_empty(device="cpu")
    torch.manual_seed(SEED)
    for module in net:
        module.reset_parameters()
    return gathered(net)


def with_torchtitan() -> str:
    import torch
    import torchtitan.distributed.parallel_dims as dims
    from torchtitan.distributed.fsdp import apply_fsdp_to_decoder
    from torchtitan.models.llama3 import llama3_configs

    dims.device_type = "cpu"
    world = torch.distributed.get_world_size()
    parallel = dims.ParallelDims(1, world, 1, 1, 1, 1, world, spmd_backend="partial_dtensor")
    with torch.device("meta"):
        model = llama3_configs["debugmodel"]("flex").build()
    apply_fsdp_to_decoder(model, parallel.get_mesh(["fsdp"]), torch.float32, torch.float32, False)
    model.to_empty(device="cpu")
    torch.manual_seed(SEED)
    model.init_states(buffer_device=torch.device("cpu"))
    return gathered(model)


def with_transformers() -> str:
    """Return what transformers gives each rank, which builds the whole model and then shards it."""
    import torch
    from torch.distributed.fsdp import fully_shard
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(SEED)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}
    net = LlamaForCausalLM(LlamaConfig(vocab_size=80, **sizes))
    return gathered(fully_shard(net))


def with_jax() -> str:
    import jax
    import numpy
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    rows = NamedSharding(Mesh(numpy.array(jax.devices()), ("x",)), PartitionSpec("x"))
    values = jax.jit(lambda key: jax.random.truncated_normal(key, -2, 2, (64, 96)), out_shardings=rows)(
        jax.random.key(SEED)
    )
    return digest([numpy.asarray(values)])


# by name: what it needs, and whether its ranks are devices of one process
SYSTEMS: dict[str, tuple[Callable[[], str], str, bool]] = {
    "initdsl": (with_initdsl, "initdsl", False),
    "PyTorch: FSDP2 and reset_parameters": (with_torch, "torch", False),
    "torchtitan: init_states": (with_torchtitan, "torchtitan", False),
    "transformers: built whole, then sharded": (with_transformers, "transformers", False),
    "JAX: jit with out_shardings": (with_jax, "jax", True),
}


def child(name: str) -> None:
    run, _, alone = SYSTEMS[name]
    if not alone:
        import torch

        torch.set_num_threads(1)
        torch.distributed.init_process_group("gloo")
    print(run(), flush=True)
    os._exit(0)


def on_ranks(name: str, ranks: int) -> str:
    """Return the digest of a system on so many ranks, or what it failed with."""
    processes = 1 if SYSTEMS[name][2] else ranks
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    usual = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(ranks), "OMP_NUM_THREADS": "1"}
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={ranks}", "JAX_PLATFORMS": "cpu"}
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, "--child", name],
            env={**os.environ, **usual, **flags, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(processes)
    ]  # fmt: skip
    said = [process.communicate(timeout=600) for process in started]
    if any(process.returncode for process in started):
        return f"failed: {said[0][1].strip().splitlines()[-1:]}"
    return said[0][0].strip().splitlines()[-1]


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2])
    ranks = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    for name, (_, package, _) in SYSTEMS.items():
        if importlib.util.find_spec(package) is None:
            print(f"{name:42} not installed", flush=True)
            continue
        one, several = on_ranks(name, 1), on_ranks(name, ranks)
        answer = "same" if one == several else "other values"
        print(f"{name:42} {answer:14} {one} on 1, {several} on {ranks}", flush=True)


if __name__ == "__main__":
    main()
