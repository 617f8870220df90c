"""What one rank checks of the real packages that spread a model over ranks: the bits are those of one process.

    torchrun --standalone --nproc-per-node 4 libraries.py FOLDER CASE ...

Cases and what they report are those of `sharded.py`. Each imports the package it is about.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor

import initdsl
from tests.support.workers import sharded
from tests.support.workers.sharded import case, rank, refused, world

CPU = torch.device("cpu")

# ---- torchtitan: its own models, split and parallelized by its own functions

DENSE = """
let std = 0.02 / sqrt(2 * len(net.layers))
Embedding.weight ~ normal(0, 1)
Linear.weight ~ trunc_normal(0, 0.02)
RMSNorm.weight = 1 + 0.001 * index(0)
net.layers[i].attention.wo.weight ~ normal(0, std / (i + 1))
net.layers[5].feed_forward.w1.weight ~ orthogonal()
net.lm_head.weight ~ trunc_normal(0, 0.0625, -0.1875, 0.1875)
"""
EXPERTS = """
*.*(ndim<2) = 1 + 0.001 * index(0)
*.*(ndim==2) ~ normal(0, 0.02)
GroupedExperts.w1_EFD ~ normal(0, 0.01)
GroupedExperts.w1_EFD *= index(0) + 1
GroupedExperts.w2_EDF[*] ~ orthogonal()
net.layers[i].**.w3_EFD ~ trunc_normal(0, 0.02 / sqrt(2 * len(net.layers)) / (i + 1))
"""


def titan(which: str, pp: int = 1, dp: int = 1, tp: int = 1, ep: int = 1) -> tuple[nn.Module, list[nn.Module]]:
    """Return a debug model of torchtitan, whole and without memory, and the parts of it that this rank holds."""
    import torchtitan.distributed.parallel_dims as dims
    from torchtitan.config import CompileConfig, ParallelismConfig, TrainingConfig
    from torchtitan.distributed.pipeline_parallel import pipeline_llm

    dims.device_type = "cpu"  # what it finds where there is an accelerator is that
    if which == "llama3":
        from torchtitan.models.llama3 import llama3_configs, parallelize_llama
        from torchtitan.models.llama3.sharding import set_llama3_sharding_config

        config, parallelize = llama3_configs["debugmodel"]("flex"), parallelize_llama
        set_llama3_sharding_config(config, enable_sp=True)
    else:
        from torchtitan.models.deepseek_v3 import deepseekv3_configs, parallelize_deepseekv3
        from torchtitan.models.deepseek_v3.sharding import set_deepseek_v3_sharding_config

        config = deepseekv3_configs["debugmodel"]("flex", moe_comm_backend="standard")
        parallelize = parallelize_deepseekv3
        set_deepseek_v3_sharding_config(config, enable_sp=True, enable_ep=ep > 1)
    parallelism = ParallelismConfig(
        data_parallel_shard_degree=dp, tensor_parallel_degree=tp, pipeline_parallel_degree=pp,
        expert_parallel_degree=ep, spmd_backend="partial_dtensor",
    )  # fmt: skip
    parallel = dims.ParallelDims.from_config(parallelism, world())
    parallel.build_mesh()
    with torch.device("meta"):
        whole, model = config.build(), config.build()
    options: dict[str, Any] = {
        "parallel_dims": parallel, "training": TrainingConfig(mixed_precision_param="float32"), "parallelism": parallelism,
        "compile_config": CompileConfig(), "ac_config": None, "dump_folder": "",
    }  # fmt: skip
    if pp == 1:
        return whole, [parallelize(model, **options)]
    _, parts, *_ = pipeline_llm(
        model, device=CPU, model_config=config, parallelize_fn=parallelize, loss_fn=lambda *_: None, **options
    )
    return whole, parts


def filled_as_one(rules: str, whole: nn.Module, parts: list[nn.Module]) -> list[str]:
    """Fill parts of a model, and the whole in this process; return the names of the parameters, which have the same bits."""
    names = []
    described = initdsl.plan(whole, "").network
    initdsl.apply(whole.to_empty(device=CPU), rules, seed=7)
    theirs = dict(whole.named_parameters())
    for part in parts:
        initdsl.apply(part.to_empty(device=CPU), rules, seed=7, whole=described)
        for name, mine in part.named_parameters():
            assert torch.equal(sharded.whole(mine), theirs[name]), f"`{name}` differs from one process"
            assert mine.abs().max() > 0
            names.append(name)
    return names


def everywhere(whole: nn.Module, names: list[str]) -> None:
    """Check that each parameter of the whole is on some rank."""
    held: list[Any] = [None] * world()
    dist.all_gather_object(held, names)
    assert {name for one in held for name in one} == {name for name, _ in whole.named_parameters()}


def llama(**degrees: int) -> None:
    whole, parts = titan("llama3", **degrees)
    spread = {p.device_mesh.mesh_dim_names for part in parts for p in part.parameters() if isinstance(p, DTensor)}
    assert any({"fsdp", "tp"} <= set(names or ()) for names in spread) or degrees.get("tp", 1) == 1
    everywhere(whole, filled_as_one(DENSE, whole, parts))


@case
def titan_of_two() -> None:
    """torchtitan's Llama 3 under FSDP2, tensor parallelism, and in a pipeline."""
    for axis in ("dp", "tp", "pp"):
        llama(**{axis: 2})


@case
def titan_of_four() -> None:
    """Two dimensions of a mesh at once, in each combination."""
    for one, other in (("pp", "dp"), ("pp", "tp"), ("dp", "tp")):
        llama(**{one: 2, other: 2})


@case
def titan_of_eight() -> None:
    llama(pp=2, dp=2, tp=2)


@case
def titan_of_a_stage() -> None:
    """A stage that torchtitan has cut, without `whole=`: the depth that a rule reads is refused, not that of the stage."""
    _, (part,) = titan("llama3", pp=2)
    if rank() == 1:
        with refused(initdsl.ResolveError, "has the layers 3 to 5"):
            initdsl.plan(part, DENSE, seed=7)


def experts(**degrees: int) -> None:
    whole, parts = titan("deepseek_v3", **degrees)
    held = [p for part in parts for name, p in part.named_parameters() if name.endswith("w1_EFD")]
    meshes = {p.device_mesh.mesh_dim_names for p in held if isinstance(p, DTensor)}
    assert any("ep" in (names or ()) for names in meshes), meshes
    everywhere(whole, filled_as_one(EXPERTS, whole, parts))


@case
def experts_of_two() -> None:
    """torchtitan's DeepSeek V3, its experts spread over an `ep` dimension of the mesh."""
    experts(dp=2, ep=2)


@case
def experts_of_four() -> None:
    """With FSDP2 inside each group of experts, with tensor parallelism around them, and in a pipeline."""
    experts(dp=4, ep=2)
    experts(dp=2, tp=2, ep=4)
    experts(pp=2, dp=2, ep=2)


# ---- Megatron-Core


class Parts(nn.Module):
    """Megatron-Core's three tensor-parallel layers, each holding the part of this rank."""

    def __init__(self) -> None:
        from megatron.core import ModelParallelConfig
        from megatron.core.tensor_parallel import ColumnParallelLinear, RowParallelLinear, VocabParallelEmbedding

        super().__init__()
        config = ModelParallelConfig(tensor_model_parallel_size=world(), use_cpu_initialization=True)
        options = {"config": config, "init_method": nn.init.zeros_, "tp_group": dist.group.WORLD}
        self.embed = VocabParallelEmbedding(48, 8, **options)
        self.up = ColumnParallelLinear(8, 24, **options)
        self.gated = ColumnParallelLinear(8, 24, stride=2, **options)
        self.down = RowParallelLinear(24, 8, bias=True, input_is_parallel=True, skip_bias_add=False, **options)
        self.norm = nn.LayerNorm(8)


class Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(48, 8)
        self.up, self.gated, self.down = nn.Linear(8, 24), nn.Linear(8, 24), nn.Linear(24, 8)
        self.norm = nn.LayerNorm(8)


@case
def megatron_core() -> None:
    """Its layers are filled as parts of the whole, in place; given to `initdsl.apply`, they are refused by name."""
    from megatron.core.tensor_parallel.layers import ColumnParallelLinear

    from initdsl.integrations import megatron

    rules = """
    *.*(ndim>1) ~ normal(0, 1)
    *.*(ndim<2) = 1 + index(0)
    net.gated.weight ~ orthogonal()
    net.down.weight[:, ::3] *= 2
    """
    parts, whole = Parts(), Whole()
    assert isinstance(parts.up, ColumnParallelLinear)
    assert parts.up.weight.shape[0] == 24 // world()
    with refused(initdsl.ResolveError, "`embed.weight` is this rank's part", "integrations.megatron.apply"):
        initdsl.apply(parts, rules, seed=7)
    megatron.apply(parts, rules, seed=7)
    initdsl.apply(whole, rules, seed=7)

    def part(tensor: torch.Tensor, dim: int | None, stride: int = 1) -> torch.Tensor:
        if dim is None:
            return tensor
        return torch.cat([piece.chunk(world(), dim)[rank()] for piece in tensor.chunk(stride, dim)], dim)

    cuts = {"embed.weight": 0, "up.weight": 0, "up.bias": 0, "gated.weight": 0, "gated.bias": 0, "down.weight": 1}
    names = [name for name, _ in parts.named_parameters()]
    assert names == [name for name, _ in whole.named_parameters()]
    for name in names:
        theirs = part(whole.get_parameter(name), cuts.get(name), 2 if name.startswith("gated") else 1)
        assert torch.equal(parts.get_parameter(name), theirs), name


# ---- DeepSpeed


@case
def zero_3() -> None:
    """What `zero.Init` has taken apart is refused by name, and filled within `GatheredParameters`, as one process fills it."""
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # it would be compiled, and gloo does without
    rules = "*.*(ndim>1) ~ normal(0, 1); *.*(ndim<2) = 1 + index(0)"

    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(12, 31), nn.LayerNorm(31), nn.Linear(31, 7))

    deepspeed.init_distributed("gloo")
    settings = {"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": 3}}
    with deepspeed.zero.Init(config_dict_or_path=settings):
        net = make()
    assert all(p.numel() == 0 and p.ds_tensor.numel() > 0 for p in net.parameters())
    with refused(initdsl.ResolveError, "DeepSpeed ZeRO-3 has taken `0.weight` apart", "GatheredParameters"):
        initdsl.apply(net, rules, seed=7)
    with deepspeed.zero.GatheredParameters(list(net.parameters()), modifier_rank=0):
        initdsl.apply(net, rules, seed=7)
    assert all(p.numel() == 0 for p in net.parameters())
    reference = make()
    initdsl.apply(reference, rules, seed=7)
    with deepspeed.zero.GatheredParameters(list(net.parameters())):
        for (name, mine), theirs in zip(net.named_parameters(), reference.parameters(), strict=True):
            assert torch.equal(mine, theirs), name


if __name__ == "__main__":
    sharded.main()
