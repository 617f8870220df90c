"""What one rank of a pipeline checks: its stage, filled by rules for the whole model, has the bits of one process.

    torchrun --standalone --nproc-per-node 4 pipeline.py FOLDER CASE ...

Cases and what they report are those of `sharded.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.pipelining import PipelineStage, ScheduleGPipe, SplitPoint, pipeline
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import initdsl
from tests.support.workers import sharded
from tests.support.workers.sharded import Block, case, local, rank, refused, world

LAYERS = 4


class Net(nn.Module):
    """A small transformer of which a stage keeps some layers, as torchtitan cuts it."""

    def __init__(self, dim: int = 20, tied: bool = False) -> None:
        super().__init__()
        self.embed: nn.Module | None = nn.Embedding(31, dim)
        self.layers = nn.ModuleDict({str(i): Block(dim) for i in range(LAYERS)})
        self.norm: nn.Module | None = nn.LayerNorm(dim)
        self.head: nn.Module | None = nn.Linear(dim, 31, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x if self.embed is None else self.embed(x)
        for layer in self.layers.values():
            x = layer(x)
        return x if self.head is None or self.norm is None else self.head(self.norm(x))


RULES = """
let std = 0.02 / sqrt(2 * len(net.layers))
Embedding.weight ~ normal(0, 1)
Linear.weight ~ trunc_normal(0, 0.02)
Linear.bias ~ uniform(-0.1, 0.1)
LayerNorm.weight = 1 + 0.001 * index(0)
LayerNorm.bias = 0
net.layers[i].down.weight ~ normal(0, std / (i + 1))
net.layers[-4 + 7].up.weight ~ orthogonal()
Attention.qkv.weight as (3, dim, -1)[*] ~ xavier_uniform()
net.layers[3].up.weight *= len(Block)
net.layers[3].norm.bias = mean(net.layers[0].up.weight) + index(0)
net.layers[2].attn.proj.weight = net.layers[1].attn.proj.weight * 0.5
copy net.layers[0].attn.qkv net.layers[3].attn.qkv
"""


def cut(net: Net, stage: int, stages: int) -> Net:
    """Leave of a model what one of so many stages holds."""
    size = LAYERS // stages
    kept = range(stage * size, (stage + 1) * size)
    for name in list(net.layers):
        if int(name) not in kept:
            del net.layers[name]
    net.embed = net.embed if stage == 0 else None
    if stage < stages - 1:
        net.norm = net.head = None
    return net


def filled(rules: str = RULES, **options: Any) -> Net:
    net = Net(**options)
    initdsl.apply(net, rules, seed=7)
    return net


def compare(stage: nn.Module, reference: nn.Module, at_least: int = 1) -> None:
    theirs = dict(reference.named_parameters(remove_duplicate=False))
    mine = dict(stage.named_parameters(remove_duplicate=False))
    assert len(mine) >= at_least
    wrong = [name for name, mine_ in mine.items() if not torch.equal(sharded.whole(mine_), theirs[name].detach())]
    assert not wrong, f"these differ from one process: {wrong}"


def on_meta(**options: Any) -> Net:
    with torch.device("meta"):
        return Net(**options)


# ---- torch.distributed.pipelining


@case
def manual_stages() -> None:
    """Stages cut by hand, filled, and run in a schedule: the pipeline computes what one process does."""
    stage = cut(Net(), rank(), world())
    report = initdsl.apply(stage, RULES, seed=7, whole=on_meta())
    reference = filled()
    compare(stage, reference)
    assert {entry.name for entry in report} == {name for name, _ in stage.named_parameters()}
    tokens = torch.arange(12).view(4, 3)
    schedule = ScheduleGPipe(PipelineStage(stage, rank(), world(), torch.device("cpu")), n_microbatches=2)
    put_out = schedule.step(tokens) if rank() == 0 else schedule.step()
    if rank() == world() - 1:
        assert torch.allclose(put_out, reference(tokens), atol=1e-5)
    dist.barrier()


@case
def traced_stages() -> None:
    """Stages that `pipeline` traced have lost their classes; the whole model has them."""
    points = {f"layers.{stage * LAYERS // world()}": SplitPoint.BEGINNING for stage in range(1, world())}
    whole = Net()
    pipe = pipeline(copy.deepcopy(whole), mb_args=(torch.zeros(2, 3, dtype=torch.long),), split_spec=points)
    stage = pipe.get_stage_module(rank())
    with refused(initdsl.ResolveError, "traced stage of a pipeline" if rank() == 0 else "has the layers"):
        initdsl.plan(stage, "net.layers[*].up.weight ~ normal(0, 0.02 / sqrt(len(net.layers)))", seed=7)
    initdsl.apply(stage, RULES, seed=7, whole=whole)
    compare(stage, filled())


@case
def from_a_manifest() -> None:
    """A description is enough, and `materialize`, a plan and a function of one module take it too."""
    described = initdsl.plan(on_meta(), "").network
    reference = filled()
    stage = initdsl.materialize(lambda: cut(Net(), rank(), world()), RULES, seed=7, whole=described)
    compare(stage, reference)
    stage = cut(Net(), rank(), world())
    planned = initdsl.plan(stage, RULES, seed=7, whole=described)
    assert planned.network.fingerprint() == described.fingerprint()
    planned.apply()
    compare(stage, reference)
    rules = "*.*(ndim>1) ~ normal(0, 1 / len(net.layers)); *.*(ndim<2) = 1"
    stage = cut(Net(), rank(), world())
    stage.apply(initdsl.parse(rules).as_init_fn(stage, seed=7, whole=on_meta()))
    compare(stage, filled(rules))


@case
def several_stages_a_rank() -> None:
    """Looped: each rank holds two stages, the first of which are filled first."""
    reference = filled()
    for turn in range(2):
        stage = cut(Net(), turn * world() + rank(), 2 * world())
        initdsl.apply(stage, RULES, seed=7, whole=on_meta())
        compare(stage, reference)


@case
def tied_ends() -> None:
    """An embedding and a head that are one tensor in the whole model start with the same values on both stages."""
    rules = "*.*(ndim>1) ~ normal(0, 1); *.*(ndim<2) = 0"
    stage = cut(Net(), rank(), world())
    initdsl.apply(stage, rules, seed=7, whole=on_meta(tied=True))
    compare(stage, filled(rules, tied=True))
    stage = cut(Net(), rank(), world())
    initdsl.apply(stage, rules + "\ntie net.embed.weight net.head.weight", seed=7, whole=on_meta())
    compare(stage, filled(rules, tied=True))
    ends = rank() in (0, world() - 1)
    before = local(stage)
    name = "embed.weight" if rank() == 0 else "head.weight"
    said = f"`{name}` is one tensor with" if ends else "rank 0 failed: `embed.weight` is one tensor with"
    for unset in ("Block.** = 0", "Block.** = 0; net.embed.weight *= 2"):
        with refused(initdsl.ResolveError, said):
            initdsl.apply(stage, unset, seed=7, whole=on_meta(tied=True))
    assert all(torch.equal(a, b) for a, b in zip(before, local(stage), strict=True))
    initdsl.apply(stage, "Block.** = 0; keep net.embed", seed=7, whole=on_meta(tied=True))


# ---- with FSDP2 and tensor parallelism


def parallel(stage: Net, mesh: DeviceMesh) -> Net:
    for layer in stage.layers.values():
        plan = {"attn.proj": RowwiseParallel(), "up": ColwiseParallel(), "down": RowwiseParallel()}
        parallelize_module(layer, mesh, {"attn.qkv": ColwiseParallel(), **plan})
    return stage


def sharded_stage(stage: Net, mesh: DeviceMesh) -> Net:
    for layer in stage.layers.values():
        fully_shard(layer, mesh=mesh)
    return fully_shard(stage, mesh=mesh)


def stage_of(shard: Callable[[Net, DeviceMesh], Net], mesh: DeviceMesh) -> Net:
    return shard(cut(Net(), mesh.get_local_rank("pp"), 2), mesh["inner"])


@case
def two_dimensions() -> None:
    """FSDP2 x pipeline, and tensor parallel x pipeline."""
    reference = filled()
    for shard in (sharded_stage, parallel):
        mesh = init_device_mesh("cpu", (2, world() // 2), mesh_dim_names=("pp", "inner"))
        stage = stage_of(shard, mesh)
        report = initdsl.apply(stage, RULES, seed=7, whole=on_meta())
        compare(stage, reference)
        assert any(isinstance(p, DTensor) for p in stage.parameters())
        assert "here [" in str(report)
        make = partial(stage_of, shard, mesh)
        compare(initdsl.materialize(make, RULES, seed=7, whole=on_meta()), reference)


@case
def three_dimensions() -> None:
    """FSDP2 x tensor parallel x pipeline."""
    mesh = init_device_mesh("cpu", (2, world() // 4, 2), mesh_dim_names=("pp", "dp", "tp"))
    stage = parallel(cut(Net(24), mesh.get_local_rank("pp"), 2), mesh["tp"])
    stage = sharded_stage(stage, mesh["dp"])
    assert {p.device_mesh.ndim for p in stage.layers.parameters() if isinstance(p, DTensor)} >= {2}
    initdsl.apply(stage, RULES, seed=7, whole=on_meta(dim=24))
    compare(stage, filled(dim=24))


@case
def from_a_folder() -> None:
    """A checkpoint that one process streamed, read by the stages of a pipeline and their shards."""
    import torch.distributed.checkpoint as dcp

    if rank() == 0:
        initdsl.stream(Net, RULES, sharded.FOLDER / "start", seed=7, format="dcp")
    dist.barrier()
    mesh = init_device_mesh("cpu", (2, world() // 2), mesh_dim_names=("pp", "inner"))
    for shard in (sharded_stage, parallel):
        stage = stage_of(shard, mesh)
        state = stage.state_dict()
        dcp.load(state, checkpoint_id=sharded.FOLDER / "start")
        stage.load_state_dict(state)
        compare(stage, filled())
    dist.barrier()


# ---- Megatron-Core


class Layer(nn.Module):
    """What the layers of Megatron-Core have that are cut over a group, and say so in attributes alone."""

    def __init__(self, sizes: dict[str, int], dims: dict[str, int], shape: tuple[int, ...], stride: int = 1) -> None:
        super().__init__()
        self.__dict__ |= sizes
        self.tp_group = dist.group.WORLD
        for name, dim in {"weight": -1, "bias": -1, **dims}.items():
            own = [
                size // world() if d == dim else size for d, size in enumerate(shape[: 2 if name == "weight" else 1])
            ]
            parameter = nn.Parameter(torch.zeros(own))
            parameter.partition_stride = stride  # type: ignore[attr-defined]
            self.register_parameter(name, parameter)


Layer.__module__ = "megatron.core.tensor_parallel.layers"


class Cut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        by_row = {"weight": 0, "bias": 0}
        columns = {"output_size": 24, "output_size_per_partition": 24 // world()}
        self.up = Layer(columns, by_row, (24, 8))
        self.gated = Layer(columns, by_row, (24, 8), stride=2)
        self.down = Layer({"input_size": 24, "input_size_per_partition": 24 // world()}, {"weight": 1}, (8, 24))
        self.norm = nn.LayerNorm(8)


class Uncut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.gated, self.down, self.norm = (
            nn.Linear(8, 24),
            nn.Linear(8, 24),
            nn.Linear(24, 8),
            nn.LayerNorm(8),
        )


@case
def megatron_layers() -> None:
    """Their parameters are filled as parts of the whole, in place; bare, they are refused by name."""
    from initdsl.integrations import megatron

    rules = "*.*(ndim>1) ~ normal(0, 1); *.*(ndim<2) = index(0); net.gated.weight ~ orthogonal(); net.down.weight[:, ::3] *= 2"
    net, whole = Cut(), Uncut()
    with refused(initdsl.ResolveError, "`up.weight` is this rank's part", "integrations.megatron.apply"):
        initdsl.apply(net, rules, seed=7)
    assert "8x24, here [0:8, " in str(megatron.plan(net, rules, seed=7))
    megatron.apply(net, rules, seed=7)
    initdsl.apply(whole, rules, seed=7)

    def part(tensor: torch.Tensor, dim: int = 0, stride: int = 1) -> torch.Tensor:
        return torch.cat([piece.chunk(world(), dim)[rank()] for piece in tensor.chunk(stride, dim)], dim)

    for name, dims, stride in (("up", (0, 0), 1), ("gated", (0, 0), 2), ("down", (1, None), 1)):
        mine, theirs = getattr(net, name), getattr(whole, name)
        assert type(mine.weight) is nn.Parameter
        assert torch.equal(mine.weight, part(theirs.weight, dims[0], stride)), name
        assert torch.equal(mine.bias, theirs.bias if dims[1] is None else part(theirs.bias, 0, stride)), name
    with refused(initdsl.ResolveError, "a tie would not reach the model"):
        megatron.apply(net, rules + "\ntie net.norm.weight net.norm.bias", seed=7)


# ---- what goes wrong


@case
def refusals() -> None:
    last = world() - 1
    odd = rank() == last
    stage = cut(Net(), rank(), world())
    before = local(stage)
    with refused(initdsl.ResolveError, f"rank {last} has seed 8, rank 0 has 7"):
        initdsl.apply(stage, RULES, seed=8 if odd else 7, whole=on_meta())
    with refused(initdsl.ResolveError, f"the rules of rank {last} are not those of rank 0"):
        initdsl.apply(stage, RULES + ("\nnet.head.weight = 1" if odd else ""), seed=7, whole=on_meta())
    with refused(initdsl.ResolveError, f"the `whole` model of rank {last} is not that of rank 0"):
        other = on_meta()
        other.extra = nn.Linear(2, 2, device="meta")
        initdsl.apply(stage, "*.* = 0", seed=7, whole=other if odd else on_meta())
    kind = initdsl.RuleError if odd else initdsl.ResolveError
    with refused(kind, "" if odd else f"rank {last} failed: ", "no initializer is named"):
        initdsl.apply(stage, "*.* ~ normul()" if odd else RULES, seed=7, whole=on_meta())
    lacking = on_meta()
    del lacking.layers[str(LAYERS - 1)]
    said = "the whole model has no `layers.3.norm.weight`"
    with refused(initdsl.ResolveError, said if odd else f"rank {last} failed: {said}"):
        initdsl.apply(stage, "*.* = 0", seed=7, whole=lacking if odd else on_meta())
    with refused(initdsl.ResolveError, "in a stage of a pipeline: without a seed", "give `seed=`"):
        initdsl.apply(stage, "*.*(ndim>1) ~ normal(0, 1)", whole=on_meta())
    overlapping = cut(Net(), rank(), world())
    overlapping.layers["0"] = Block(20)
    with refused(initdsl.ResolveError, "`layers.0.norm.weight` is in the stage of rank 0 and in that of rank 1"):
        initdsl.apply(overlapping, "*.* = 0", seed=7, whole=on_meta())
    with refused(
        initdsl.ApplyError, "not finite"
    ):  # what fails on one stage, with steps that can fail on that one alone
        initdsl.apply(stage, "*.* = 0; net.head.weight = 1 / index(0)", seed=7, whole=on_meta())
    assert all(torch.equal(a, b) for a, b in zip(before, local(stage), strict=True))


@case
def refused_in_a_mesh() -> None:
    """A rank without `whole=` where others that share its stage have it: all ranks of all stages are told."""
    mesh = init_device_mesh("cpu", (2, world() // 2), mesh_dim_names=("pp", "inner"))
    stage = sharded_stage(cut(Net(), mesh.get_local_rank("pp"), 2), mesh["inner"])
    before = local(stage)
    without = rank() == 1
    with refused(initdsl.ResolveError, "rank 0 was given a `whole` model, rank 1 was not"):
        initdsl.apply(stage, "*.* = 0", seed=7, whole=None if without else on_meta())
    assert all(torch.equal(a, b) for a, b in zip(before, local(stage), strict=True))


@case
def nobody_answers() -> None:
    """A stage without `whole=` has nothing to say to others: they raise once the time of the process group is over."""
    # not a second group in one process: its ranks can meet the first one's addresses, and wait for nobody there
    dist.barrier()  # in the usual time: only the answer that never comes is waited for in the short one
    dist.distributed_c10d._set_pg_timeout(timedelta(seconds=8))
    stage = cut(Net(), rank(), world())
    if rank() == world() - 1:
        initdsl.apply(stage, "Linear.weight = 0; Linear.bias = 0; LayerNorm.* = 0")
        return
    with refused(initdsl.ResolveError, "another rank can't be reached"):
        initdsl.apply(stage, "*.* = 0", seed=7, whole=on_meta())


if __name__ == "__main__":
    sharded.main()
