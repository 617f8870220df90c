"""Does a seed give the same values on 1 rank and on several? One answer for each system that is installed.

    python benchmarks/same_start.py [RANKS] [NAME]        # 8 by default, on the CPU; NAME is a part of a system's name

Each system initializes a small model in processes of its own, sharded where it can be; what it is compared by is a digest
of the gathered values. What the systems need beside torch and initdsl:

    pip install transformers accelerate jax
    pip install --no-deps torchtitan spmd_types tyro einops torchdata torch_checkpointing triton
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import partial
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


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=80, **sizes))


def with_transformers() -> str:
    """Return what transformers gives each rank, which builds the whole model and then shards it."""
    import torch
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(SEED)
    return gathered(fully_shard(llama()))


def with_transformers_sharded() -> str:
    """Return what its `_init_weights` gives a model that was sharded without memory."""
    import torch
    from torch.distributed.fsdp import fully_shard

    with torch.device("meta"):
        net = llama()
    fully_shard(net).to_empty(device="cpu")
    torch.manual_seed(SEED)
    net.apply(net._init_weights)
    return gathered(net)


def with_transformers_tp() -> str:
    """Return what its `_init_weights` gives a model that its own `tp_plan` has cut, without memory."""
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    with torch.device("meta"):
        net = llama()
    styles = {"colwise": ColwiseParallel, "rowwise": RowwiseParallel}
    plan = {f"model.{name}": styles[style]() for name, style in net.model._tp_plan.items() if style in styles}
    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    parallelize_module(net, mesh, plan).to_empty(device="cpu")
    torch.manual_seed(SEED)
    net.apply(net._init_weights)
    return gathered(net)


def with_accelerate() -> str:
    """Return what accelerate prepares of a model that each rank built whole with a seed of its own.

    On the CPU that is DDP: its FSDP2 asks for an accelerator, and `init_empty_weights` leaves DDP nothing to send.
    """
    import torch
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    torch.manual_seed(SEED + accelerator.process_index)
    net = accelerator.prepare(torch.nn.Sequential(torch.nn.Linear(64, 96), torch.nn.Linear(96, 40)))
    return gathered(net)


def with_jax(kind: str | None = None) -> str:
    import jax
    import numpy
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    rows = NamedSharding(Mesh(numpy.array(jax.devices()), ("x",)), PartitionSpec("x"))
    draw = jax.jit(lambda key: jax.random.truncated_normal(key, -2, 2, (64, 96)), out_shardings=rows)
    values = draw(jax.random.key(SEED, impl=kind))
    assert len(values.sharding.device_set) == len(jax.devices())
    return digest([numpy.asarray(values)])


# by name: what it needs, and whether its ranks are devices of one process
SYSTEMS: dict[str, tuple[Callable[[], str], str, bool]] = {
    "initdsl: apply under FSDP2": (with_initdsl, "initdsl", False),
    "PyTorch: reset_parameters under FSDP2": (with_torch, "torch", False),
    "torchtitan: init_states under FSDP2": (with_torchtitan, "torchtitan", False),
    "transformers: built whole, then FSDP2": (with_transformers, "transformers", False),
    "transformers: _init_weights under FSDP2": (with_transformers_sharded, "transformers", False),
    "transformers: _init_weights under tp_plan": (with_transformers_tp, "transformers", False),
    "accelerate: prepare, which is DDP here": (with_accelerate, "accelerate", False),
    "JAX: jit with out_shardings": (with_jax, "jax", True),
    "JAX: the same, keys of rbg": (partial(with_jax, "rbg"), "jax", True),
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
        wrong = next(err for process, (_, err) in zip(started, said, strict=True) if process.returncode)
        return f"failed: {(wrong.strip().splitlines() or ['no word'])[-1]}"
    return said[0][0].strip().splitlines()[-1]


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2])
    ranks = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    for name, (_, package, _) in SYSTEMS.items():
        if sys.argv[2:] and sys.argv[2] not in name:
            continue
        if importlib.util.find_spec(package) is None:
            print(f"{name:42} not installed", flush=True)
            continue
        one, several = on_ranks(name, 1), on_ranks(name, ranks)
        if failed := next((said for said in (one, several) if said.startswith("failed")), None):
            print(f"{name:42} {failed}", flush=True)
            continue
        answer = "same" if one == several else "other values"
        version = importlib.metadata.version(package)
        print(f"{name:42} {answer:14} {one} on 1, {several} on {ranks} ({package} {version})", flush=True)


if __name__ == "__main__":
    main()
