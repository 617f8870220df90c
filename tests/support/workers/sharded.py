"""What one rank of a process group checks: started by `torchrun`, many cases at a time.

    torchrun --standalone --nproc-per-node 4 worker.py FOLDER CASE ...

Every case compares with the same rules and seed on the whole model in this very process. What goes wrong is written
to FOLDER, one file a rank.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import sys
import time
import traceback
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import initdsl
from tests.support import needs
from tests.support.calls import Called
from tests.support.processes import LONGEST

CASES: dict[str, Callable[[], None]] = {}
FOLDER = Path()


def case(function: Callable[[], None]) -> Callable[[], None]:
    CASES[function.__name__] = function
    return function


def rank() -> int:
    return dist.get_rank()


def world() -> int:
    return dist.get_world_size()


class Attention(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.dim = dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.proj(torch.softmax(q @ k.transpose(-1, -2), -1) @ v)


class Block(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attn = Attention(dim)
        self.up = nn.Linear(dim, 4 * dim)
        self.down = nn.Linear(4 * dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm(x))
        return x + self.down(torch.relu(self.up(x)))


class Net(nn.Module):
    """A small transformer whose sizes don't divide by 3 or 8, with a tied head and stacked experts."""

    def __init__(self, dim: int = 20, layers: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(31, dim, padding_idx=0)
        self.layers = nn.ModuleList(Block(dim) for _ in range(layers))
        self.experts = nn.Parameter(torch.zeros(3, dim, 7))
        self.conv = nn.Conv2d(6, 9, 3)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 31, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("scale", torch.arange(4.0), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


RULES = """
let residual = 0.02 / sqrt(2 * len(net.layers))
Embedding.weight ~ normal(0, 0.02)
Linear.weight ~ trunc_normal(0, 0.02, -0.04, 0.04)
Linear.bias ~ uniform(-0.1, 0.1)
LayerNorm.weight = 1 + 0.001 * index(0)
LayerNorm.bias = sin(index(0) * 10000 ** (-2 * index(0) / numel))
Attention.qkv.weight as (3, dim, -1)[*] ~ xavier_uniform()
net.layers[i].down.weight ~ normal(0, residual / (i + 1))
net.layers[0].up.weight ~ kaiming_uniform(mode=fan_out)
net.layers[0].up.weight[3:40:5, 1::2] += normal(0, 1)
net.layers[0].up.weight *= abs(it) >= 0.05
net.layers[1].up.weight ~ orthogonal(gain=2)
net.layers[1].up.weight[2] = 0.5
net.layers[1].up.weight /= norm(it)
net.layers[0].attn.proj.weight ~ (normal(0, 1) + uniform(-1, 1)) * 0.1
net.layers[1].attn.proj.weight = eye()
net.layers[1].attn.proj.weight -= net.layers[0].attn.proj.weight * 0.5
net.layers[1].attn.proj.bias[1:4] = [1, 2, 3]
net.layers[1].norm.bias = mean(net.layers[1].attn.proj.weight) + index(0)
net.experts[*] ~ orthogonal()
net.experts[1] ~ xavier_normal()
net.conv.weight ~ dirac()
net.conv.weight += uniform(-0.01, 0.01)
net.conv.weight[1:, ..., 0] ~ rademacher(scale=0.5)
net.layers[0].attn.qkv.weight as (4, -1, 4)[1:3, ::2] ~ bernoulli(p=0.25)
net.conv.bias = 0
net.embed.weight[0] = 0
copy net.layers[0].attn.qkv net.layers[1].attn.qkv
"""


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.detach()


def compare(net: nn.Module, reference: nn.Module) -> None:
    """Gathered parameters and buffers, bit by bit."""
    theirs = dict(reference.named_parameters())
    mine = dict(net.named_parameters())
    assert list(mine) == list(theirs)
    wrong = [name for name in mine if not torch.equal(whole(mine[name]), theirs[name].detach())]
    assert not wrong, f"these differ from one process: {wrong}"
    for (name, a), (_, b) in zip(net.named_buffers(), reference.named_buffers(), strict=True):
        assert torch.equal(a, b), name


def filled(rules: str = RULES, seed: int = 7, make: Callable[[], nn.Module] = Net) -> nn.Module:
    net = make()
    initdsl.apply(net, rules, seed=seed)
    return net


def sharded(net: nn.Module, **options: Any) -> nn.Module:
    for layer in net.layers:  # type: ignore[union-attr]
        fully_shard(layer, **options)
    return fully_shard(net, **options)  # type: ignore[return-value]


# on a CPU, FSDP2 of torch 2.6 can't
GATHERS = not needs.lacks("torch>=2.7")


def step(net: nn.Module) -> bool:
    """Run a model forward and backward; return whether that could be done."""
    if GATHERS:
        net(torch.arange(5)[None]).sum().backward()
    return GATHERS


@case
def fsdp() -> None:
    net = sharded(Net())
    report = initdsl.apply(net, RULES, seed=7)
    compare(net, filled())
    if world() > 1:
        assert "here [" in str(report)
    assert net.head.weight is net.embed.weight
    step(net)


@case
def fsdp_meta_to_empty() -> None:
    with torch.device("meta"):
        net = sharded(Net())
    net.to_empty(device="cpu")
    initdsl.apply(net, RULES + "\nnet.scale = index(0)", seed=7)
    compare(net, filled())


@case
def fsdp_materialize() -> None:
    net = initdsl.materialize(lambda: sharded(Net()), RULES, seed=7)
    compare(net, filled())
    assert net.head.weight is net.embed.weight
    if step(net):
        assert all(p.grad is not None for layer in net.layers for p in layer.parameters())


@case
def materialize_with_defaults() -> None:
    rules = "Linear.weight ~ normal(0, 1); net.experts = 1"
    net = initdsl.materialize(lambda: sharded(Net()), rules, seed=7)
    compare(net, initdsl.materialize(Net, rules, seed=7))


@case
def defaults() -> None:
    rules = "default net.layers; net.layers[1].up.weight *= 2; net.layers[0].up.weight -= mean(it)"
    net, reference = sharded(Net()), Net()
    reference.load_state_dict({k: whole(v) for k, v in net.state_dict().items()})
    initdsl.apply(net, rules, seed=5)
    initdsl.apply(reference, rules, seed=5)
    compare(net, reference)


class Remade(nn.Module):
    """Reset through `.data` and by new objects, of which a counter of versions knows nothing; `c` if `whole`."""

    def __init__(self, whole: bool = True) -> None:
        super().__init__()
        self.whole = whole
        self.a, self.b, self.c = (nn.Parameter(torch.zeros(7, 3)) for _ in range(3))

    def reset_parameters(self) -> None:
        self.a.data.uniform_(-1, 1)
        self.b = nn.Parameter(torch.randn(7, 3))
        if self.whole:
            nn.init.ones_(self.c)


@case
def defaults_through_data() -> None:
    rules = "default net; net.a -= mean(it)"
    net, reference = fully_shard(Remade()), Remade()
    initdsl.apply(net, rules, seed=5)
    initdsl.apply(reference, rules, seed=5)
    compare(net, reference)
    with refused(initdsl.ApplyError, "no-default", "net.c"):
        initdsl.apply(fully_shard(Remade(whole=False)), rules, seed=5)
    initdsl.apply(fully_shard(nn.MultiheadAttention(4, 2)), "default net", seed=5)


@case
def half_and_double() -> None:
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        net = sharded(Net().to(dtype))
        initdsl.apply(net, RULES, seed=7)
        compare(net, filled(make=lambda dtype=dtype: Net().to(dtype)))


@case
def every_dim() -> None:
    """`distribute_tensor` along every dimension, evenly or not, and whole; contiguous and transposed."""
    mesh = init_device_mesh("cpu", (world(),))
    rules = """
    net.w ~ normal(0, 1)
    net.w[1:, 0:-1:2] ~ uniform(0, 1)
    net.w as (-1, 5)[2::3, 1:4] = 3
    net.w as (5, -1)[1] ~ trunc_normal(0, 1)
    net.w += 0.5 * index(1) + index(-1)
    net.w as (-1, 5)[0:4] += normal(0, 1)
    net.w[0] ~ sparse(sparsity=0.3)
    net.w[..., -1] *= 2
    """
    for shape in [(10, 7, 5), (4, 5, 25), (2, 3, 5), (16, 8, 10)]:
        for placement in [Shard(0), Shard(1), Shard(2), Replicate()]:
            for turned in (False, True):
                net = nn.Module()
                start = torch.zeros(*shape[:1], *reversed(shape[1:])).transpose(1, 2) if turned else torch.zeros(shape)
                net.w = nn.Parameter(start)
                reference = filled(rules, 1, lambda s=start: holder(s.clone()))
                net.w = nn.Parameter(distribute_tensor(net.w.detach(), mesh, [placement]))
                initdsl.apply(net, rules, seed=1)
                assert torch.equal(whole(net.w), reference.w.detach()), (shape, placement, turned)


@case
def every_initializer() -> None:
    """Each on a parameter of its own, whole on no rank."""
    mesh = init_device_mesh("cpu", (world(),))
    net, reference = Called(), filled(Called.rules(), make=Called)
    for name, parameter in list(net.named_parameters()):
        setattr(net, name, nn.Parameter(distribute_tensor(parameter.detach(), mesh, [Shard(0)])))
    initdsl.apply(net, Called.rules(), seed=7)
    compare(net, reference)


def holder(start: torch.Tensor) -> nn.Module:
    net = nn.Module()
    net.w = nn.Parameter(start)
    return net


PLAN = {"qkv": ColwiseParallel, "proj": RowwiseParallel, "up": ColwiseParallel, "down": RowwiseParallel}


def parallel(net: nn.Module, mesh: Any) -> nn.Module:
    for layer in net.layers:  # type: ignore[union-attr]
        plan = {"attn.proj": RowwiseParallel(), "up": ColwiseParallel(), "down": RowwiseParallel()}
        parallelize_module(layer, mesh, {"attn.qkv": ColwiseParallel(), **plan})
    return net


@case
def tensor_parallel() -> None:
    net = parallel(Net(), init_device_mesh("cpu", (world(),)))
    initdsl.apply(net, RULES, seed=7)
    compare(net, filled())


@case
def two_dimensions() -> None:
    """FSDP over tensor parallel: `_StridedShard` where both cut the same dimension."""
    mesh = init_device_mesh("cpu", (world() // 2, 2), mesh_dim_names=("dp", "tp"))
    net = sharded(parallel(Net(24), mesh["tp"]), mesh=mesh["dp"])
    kinds = {type(p).__name__ for q in net.parameters() for p in q.placements}
    assert "_StridedShard" in kinds, kinds
    initdsl.apply(net, RULES, seed=7)
    compare(net, filled(make=lambda: Net(24)))
    made = initdsl.materialize(lambda: sharded(parallel(Net(24), mesh["tp"]), mesh=mesh["dp"]), RULES, seed=7)
    compare(made, filled(make=lambda: Net(24)))


@case
def two_dimensions_uneven() -> None:
    mesh = init_device_mesh("cpu", (world() // 2, 2), mesh_dim_names=("a", "b"))
    rules = "net.w ~ normal(0, 1); net.w as (-1, 7)[1::2] ~ uniform(0, 1); net.w *= 1 + index(0)"
    reference = filled(rules, 2, lambda: holder(torch.zeros(13, 7)))
    for placements in [
        [Shard(0), Shard(0)], [Shard(0), Shard(1)], [Shard(1), Shard(0)], [Shard(1), Shard(1)],
        [Replicate(), Shard(0)], [Shard(1), Replicate()],
    ]:  # fmt: skip
        net = holder(torch.zeros(13, 7))
        net.w = nn.Parameter(distribute_tensor(net.w.detach(), mesh, placements))
        initdsl.apply(net, rules, seed=2)
        assert torch.equal(whole(net.w), reference.w.detach()), placements


@case
def hybrid() -> None:
    """HSDP: replicas are equal, each shard once a replica."""
    mesh = init_device_mesh("cpu", (2, world() // 2), mesh_dim_names=("replicate", "shard"))
    net = sharded(Net(), mesh=mesh)
    initdsl.apply(net, RULES, seed=7)
    compare(net, filled())
    for parameter in net.parameters():
        local = parameter.to_local().contiguous()
        others = [torch.empty_like(local) for _ in range(2)]
        dist.all_gather(others, local, group=mesh.get_group("replicate"))
        assert torch.equal(others[0], others[1])


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = (nn.Parameter(torch.zeros(6, 4)) for _ in range(2))


@case
def copies() -> None:
    """`copy` between parameters that lie on the ranks in different ways."""
    mesh = init_device_mesh("cpu", (world(),))
    kinds = [Shard(0), Shard(1), Replicate(), None]
    for one in kinds:
        for other in kinds:
            for rules, seed in [
                ("net.a ~ normal(0, 1); copy net.a net.b", 3),
                ("net.a ~ orthogonal(); copy net.a net.b; net.b *= 2", 3),
                ("net.a = index(0) + 6 * index(1); copy net.a net.b", None),
                ("net.a ~ normal(0, 1); net.b = net.a", 3),
                ("net.a ~ normal(0, 1); net.a[0] = 1; copy net.a net.b; net.b[1:3, 2] += 1", 3),
            ]:
                net, reference = Pair(), Pair()
                initdsl.apply(reference, rules, seed=seed)
                for name, kind in (("a", one), ("b", other)):
                    if kind is not None:
                        setattr(net, name, nn.Parameter(distribute_tensor(getattr(net, name).detach(), mesh, [kind])))
                initdsl.apply(net, rules, seed=seed)
                compare(net, reference)


@case
def part_of_the_world() -> None:
    """A mesh that some ranks are not in: they hold nothing, and nobody waits for them."""
    mesh = init_device_mesh("cpu", (world(),)) if world() == 1 else None
    from torch.distributed.device_mesh import DeviceMesh

    mesh = mesh or DeviceMesh("cpu", list(range(world() - 1)))
    net = holder(torch.zeros(11, 3))
    net.w = nn.Parameter(distribute_tensor(net.w.detach(), mesh, [Shard(0)]))
    initdsl.apply(net, "net.w ~ normal(0, 1)", seed=2)
    if mesh.get_coordinate() is not None:
        assert torch.equal(whole(net.w), filled("net.w ~ normal(0, 1)", 2, lambda: holder(torch.zeros(11, 3))).w)


@case
def wrappers() -> None:
    """The same streams through DDP, `torch.compile`, checkpoint wrappers and FSDP2."""
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    reference = [p.detach() for p in filled().parameters()]

    def wrap_layers() -> nn.Module:
        net = Net()
        for i, layer in enumerate(net.layers):
            net.layers[i] = checkpoint_wrapper(layer)
        return net

    for wrapped in [
        nn.parallel.DistributedDataParallel(Net()), torch.compile(Net()), wrap_layers(), sharded(wrap_layers()),
        torch.compile(sharded(Net())), torch.compile(nn.parallel.DistributedDataParallel(wrap_layers())),
    ]:  # fmt: skip
        report = initdsl.apply(wrapped, RULES, seed=7)
        assert [e.name for e in report][:2] == ["experts", "embed.weight"], [e.name for e in report][:2]
        for mine, theirs in zip(wrapped.parameters(), reference, strict=True):
            assert torch.equal(whole(mine), theirs)


@case
def custom_initializers() -> None:
    def ring(tensor: torch.Tensor, by: float = 1.0, *, generator: Any = None) -> None:
        tensor.normal_(generator=generator).mul_(by)
        tensor[-1] = tensor[0]

    def turn(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.flip(0)

    rules = "net.layers[0].up.weight ~ ring(by=2); net.layers[0].down.weight ~ normal(0, 1)\nnet.layers[0].down.weight[2:9] = turn()"
    rules += "\nnet.layers[1].up.weight[1:5] ~ ring()"
    rules = "*.*(ndim>1) ~ normal(0, 1); *.*(ndim<2) = 0\n" + rules
    options: Any = {"initializers": {"ring": ring, "turn": turn}, "seed": 3}
    net, reference = sharded(Net()), Net()
    initdsl.apply(net, rules, **options)
    initdsl.apply(reference, rules, **options)
    compare(net, reference)
    with refused(initdsl.ApplyError, "`turn` leaves or takes values of `net.layers[0].down.weight`"):
        initdsl.apply(net, "net.layers[0].down.weight = turn()", **options)
    compare(net, reference)


@case
def edits_of_what_is_there() -> None:
    """Without a seed what draws nothing is done by parts too."""
    net, reference = sharded(Net()), Net()
    reference.load_state_dict({k: whole(v) for k, v in net.state_dict().items()})
    rules = """
    Linear.weight *= 0.5
    net.layers[0].up.weight = where(index(1) > 3, it, 0)
    net.experts[1:, 0] = 4
    net.layers[1].up.bias = net.layers[0].up.bias + it
    net.layers[1].attn.qkv.weight as (3, in_features, -1)[1] = 0
    copy net.layers[0].attn.proj net.layers[1].attn.proj
    """
    for other in (net, reference):
        initdsl.apply(other, rules)
    compare(net, reference)


@case
def loaded() -> None:
    from safetensors.torch import save_file

    values = {"w": torch.randn(80, 20, generator=torch.Generator().manual_seed(1)), "q": torch.ones(20, 20)}
    if rank() == 0:
        save_file(values, FOLDER / "w.safetensors")
        torch.save({"model": {"rows": torch.arange(200.0).view(10, 20)}}, FOLDER / "w.pt")
    dist.barrier()
    rules = 'net.layers[0].up.weight = load("w.safetensors", key="w")\n'
    rules += 'net.layers[1].attn.qkv.weight as (3, in_features, -1)[1] = load("w.safetensors", key="q")\n'
    rules += 'net.layers[0].attn.proj.weight = resize_rows(load("w.pt", key="model.rows")) / 7\n'
    rules += 'net.layers[1].up.weight[:, 1::2] += 2 * load("w.safetensors", key="w")[:, 1::2]'
    net, reference = sharded(Net()), Net()
    for other in (net, reference):
        initdsl.apply(other, "*.* = 0\n" + rules, root=FOLDER)
    compare(net, reference)


@case
def checkpoint() -> None:
    """Saved by these ranks; read by other numbers of them, see `checkpoint_read`."""
    import torch.distributed.checkpoint as dcp

    net = sharded(Net())
    initdsl.apply(net, RULES, seed=7)
    dcp.save({"net": net.state_dict()}, checkpoint_id=FOLDER / "checkpoint")


@case
def checkpoint_read() -> None:
    import torch.distributed.checkpoint as dcp

    reference = filled()
    net = sharded(Net())
    state = {"net": net.state_dict()}
    dcp.load(state, checkpoint_id=FOLDER / "checkpoint")
    net.load_state_dict(state["net"])
    compare(net, reference)
    alone = {"net": Net().state_dict()}
    dcp.load(alone, checkpoint_id=FOLDER / "checkpoint")
    for name, values in reference.state_dict().items():
        assert torch.equal(alone["net"][name], values), name


@case
def init_function() -> None:
    """Rules as a function of one module, for `net.apply` on shards."""
    rules = "*.*(ndim>1) ~ normal(0, 1)\n*.*(ndim<2) = index(0)\nnet.layers[0].up.weight ~ orthogonal()\ndefault net.layers[1].down"
    net, reference = Net(), Net()
    initialise = initdsl.parse(rules).as_init_fn(net, seed=4)
    sharded(net)
    net.apply(initialise)
    initdsl.apply(reference, rules, seed=4)
    compare(net, reference)
    unseeded = Net()
    initialise = initdsl.parse(rules).as_init_fn(unseeded)
    sharded(unseeded)
    with refused(initdsl.ResolveError, "give `seed=`"):
        unseeded.apply(initialise)


# ---- what goes wrong


@contextmanager
def refused(kind: type[Exception], *parts: str) -> Iterator[None]:
    """Every rank raises, nobody hangs, and the message says what it must."""
    with pytest.raises(kind) as raised:
        yield
    for part in parts:
        assert part in str(raised.value), f"{part!r} is not said: {raised.value}"


def local(net: nn.Module) -> list[torch.Tensor]:
    return [p.detach().to_local().clone() if isinstance(p, DTensor) else p.detach().clone() for p in net.parameters()]


@case
def disagreement() -> None:
    last = world() - 1
    odd = rank() == last
    net = sharded(Net())
    other = sharded(Net(layers=3 if odd else 2))
    before = local(net)
    state = torch.random.get_rng_state()
    with refused(initdsl.ResolveError, f"rank {last} has seed 8, rank 0 has 7"):
        initdsl.apply(net, RULES, seed=8 if odd else 7)
    with refused(initdsl.ResolveError, f"rank {last} has seed none, rank 0 has 7"):
        initdsl.apply(net, "*.* = 0", seed=None if odd else 7)
    with refused(initdsl.ResolveError, f"the rules of rank {last} are not those of rank 0"):
        initdsl.apply(net, RULES + ("\nnet.norm.bias = 1" if odd else ""), seed=7)
    with refused(initdsl.ResolveError, f"the `vars` or initializers of rank {last}"):
        initdsl.apply(net, "let s = 1\n*.* ~ normal(0, s)", vars={"s": 2 if odd else 1}, seed=7)
    with refused(initdsl.ResolveError, f"the model of rank {last} is not that of rank 0"):
        initdsl.apply(other, "*.* = 1", seed=7)
    # one rank can't even plan
    for bad, kind, said in [
        ({"rules": "Linear.weight ~ kaimin_normal()"}, initdsl.RuleError, "no initializer is named `kaimin_normal`"),
        ({"rules": "Linear.weight ~"}, initdsl.ParseError, ""),
        ({"rules": "net.nothing.weight = 0"}, initdsl.ResolveError, ""),
        ({"seed": True}, TypeError, "a seed is an integer, not bool"),
        ({"seed": 1.5}, TypeError, "a seed is an integer, not float"),
        ({"seed": 2**64}, ValueError, "a seed lies between 0 and 2**64 - 1"),
        ({"seed": -1}, ValueError, "a seed lies between 0 and 2**64 - 1"),
        ({"rules": Path("missing.init")}, (OSError, initdsl.InitDSLError), ""),
    ]:
        arguments: dict[str, Any] = {"rules": RULES, "seed": 7, **(bad if odd else {})}
        with refused(kind if odd else initdsl.ResolveError, said if odd else f"rank {last} failed: ", said):  # type: ignore[arg-type]
            initdsl.apply(net, **arguments)
    # one rank's own function fails in the middle: every rank puts everything back

    def fragile(tensor: torch.Tensor, *, generator: Any = None) -> None:
        tensor.fill_(3)
        if rank() == last:
            raise OSError("no such disk")

    with refused(initdsl.ApplyError, "no such disk"):
        initdsl.apply(net, RULES + "\nnet.conv.weight ~ fragile()", seed=7, initializers={"fragile": fragile})
    # also where what comes after it can't fail
    with refused(initdsl.ApplyError, "no such disk"):
        initdsl.apply(net, "*.* = 0; net.embed.weight ~ fragile()", seed=7, initializers={"fragile": fragile})
    assert all(torch.equal(a, b) for a, b in zip(before, local(net), strict=True))
    # and so does a callback that only one rank has

    def broken(entry: Any) -> None:
        raise KeyError("callback")

    with refused(initdsl.ApplyError, "callback"):
        initdsl.apply(net, "*.* = 0", seed=7, on_init=broken if odd else None)
    # a division by zero that only some ranks see
    with refused(initdsl.ApplyError, "not finite"):
        initdsl.apply(net, "*.* = 0; net.norm.bias = 1 / index(0)", seed=7)
    assert all(torch.equal(a, b) for a, b in zip(before, local(net), strict=True))
    assert torch.equal(state, torch.random.get_rng_state())
    initdsl.apply(net, RULES, seed=7)
    compare(net, filled())


@case
def other_plans() -> None:
    """Rules of one text that come to something else on one rank."""
    last, odd = world() - 1, rank() == world() - 1
    net = sharded(Net())
    before = local(net)
    value = 2.0 if odd else 1.0

    def constant(tensor: torch.Tensor) -> None:
        tensor.fill_(1)

    def another(tensor: torch.Tensor) -> None:
        tensor.fill_(2)

    def closed(tensor: torch.Tensor) -> None:
        tensor.fill_(value)

    for mine in (another if odd else constant, closed, lambda tensor: tensor.fill_(2 if odd else 1)):
        with refused(initdsl.ResolveError, "an initializer", "has other code"):
            initdsl.apply(net, "net.norm.weight = mine()", seed=7, initializers={"mine": mine})
    bare = initdsl.RuleSet(rules=initdsl.parse(f"net.norm.weight = {value}").rules)
    with refused(initdsl.ResolveError, f"the rules of rank {last} are not those of rank 0"):
        initdsl.apply(net, bare, seed=7)
    net.factor = value
    with refused(initdsl.ResolveError, f"rank {last} and rank 0: an attribute of the model that they read"):
        initdsl.apply(net, "net.norm.weight = net.factor", seed=7)
    file = FOLDER / f"loaded-{rank()}" / "w.safetensors"
    file.parent.mkdir(exist_ok=True)
    from safetensors.torch import save_file

    save_file({"norm.weight": torch.full(net.norm.weight.shape, value)}, file)
    with refused(initdsl.ResolveError, "a file that the rules load has other contents"):
        initdsl.apply(net, 'net.norm.weight = load("w.safetensors", key="norm.weight")', seed=7, root=file.parent)
    net.register_buffer("held", torch.full((1,), value))
    with refused(initdsl.ResolveError, "a tensor that the rules read"):
        initdsl.apply(net, "net.norm.weight = net.held", seed=7)
    assert all(torch.equal(a, b) for a, b in zip(before, local(net), strict=True))
    # another text of the same plan is none
    initdsl.apply(net, "net.norm.weight = 1" + ("  # one" if odd else ""), seed=7)


class Named(nn.Module):
    """Its reset goes through another method, which looks at its class."""

    level = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(4))

    def reset_parameters(self) -> None:
        self.fill()

    def fill(self) -> None:
        self.w.data.fill_(self.level)


SETTINGS: dict[str, Any] = {"std": 1.0, "rank": 0}
OPTIONS = types.SimpleNamespace(std=1.0, rank=0, inner=types.SimpleNamespace(std=1.0))
STATE: list[int] = []
LEVEL = 1.0


@case
def further_plans() -> None:
    """What one rank alone has otherwise, and initializers see in ways that are not their own text."""
    global LEVEL
    odd = rank() == world() - 1
    value = 2.0 if odd else 1.0
    net = sharded(Net())
    before = local(net)
    settings_module = types.ModuleType("settings_of_a_test")
    sys.modules["settings_of_a_test"] = settings_module
    settings_module.STD = SETTINGS["std"] = OPTIONS.std = OPTIONS.inner.std = LEVEL = value  # type: ignore[attr-defined]
    SETTINGS["rank"] = OPTIONS.rank = rank()
    STATE.extend(range(rank()))
    os.environ["STD_OF_A_TEST"], os.environ["RANK_OF_A_TEST"] = str(value), str(rank())
    numbers = np.full(3, value)
    small = np.float32(value)
    options = types.SimpleNamespace(std=value, rank=rank())
    long = [1.0] * 1000 + [value]

    class Holder:
        def __init__(self) -> None:
            self.std = value

        def method(self, tensor: torch.Tensor) -> None:
            tensor.fill_(self.std)

        def __call__(self, tensor: torch.Tensor) -> None:
            tensor.fill_(self.std)

    def imported(tensor: torch.Tensor) -> None:
        import settings_of_a_test

        tensor.fill_(settings_of_a_test.STD)

    def with_default(tensor: torch.Tensor, *, std: float = value) -> None:
        tensor.fill_(std)

    def through(tensor: torch.Tensor) -> None:
        reads_global(tensor)

    other: list[Any] = [
        lambda tensor: tensor.fill_(SETTINGS["std"]),
        lambda tensor: tensor.fill_(OPTIONS.std),
        lambda tensor: tensor.fill_(OPTIONS.inner.std),
        lambda tensor: tensor.fill_(options.std),
        lambda tensor: tensor.fill_(float(numbers[0])),
        lambda tensor: tensor.fill_(float(small)),
        lambda tensor: tensor.fill_(long[-1]),
        lambda tensor: tensor.fill_(float(os.environ["STD_OF_A_TEST"])),
        lambda tensor: tensor.fill_(float(os.getenv("STD_OF_A_TEST", "0"))),
        Holder().method, Holder(), imported, with_default, through, functools.partial(with_default, std=small),
    ]  # fmt: skip
    for number, mine in enumerate(other):
        with told(number), refused(initdsl.ResolveError, "an initializer", "or sees other values"):
            initdsl.apply(net, "net.norm.weight = mine()", seed=7, initializers={"mine": mine})
    net.config = {"init": {"std": value}}
    with refused(initdsl.ResolveError, "an attribute of the model that they read"):
        initdsl.apply(net, "net.norm.weight = net.config.init.std", seed=7)
    with refused(initdsl.ResolveError, "the `vars` or initializers of rank"):
        initdsl.apply(net, "let a = 0; net.norm.weight = a", seed=7, vars={"a": np.float32(value)})
    torch.set_default_dtype(torch.float64 if odd else torch.float32)
    with refused(initdsl.ResolveError, "an initializer", "or sees other values"):
        mine = lambda tensor: torch.zeros(tensor.shape) + 0.1  # noqa: E731
        initdsl.apply(net, "net.norm.weight = mine()", seed=7, initializers={"mine": mine})
    torch.set_default_dtype(torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(before, local(net), strict=True))
    Named.level = value
    named = Named()
    distribute(named)
    with refused(initdsl.ResolveError, "a module's reset has other code"):
        initdsl.apply(named, "default net", seed=7)
    for made in (
        nn.Sequential(OrderedDict([(n, nn.Linear(4, 4)) for n in ("ba" if odd else "ab")])),
        nn.Sequential(nn.Linear(4, 4, dtype=torch.float64 if odd else torch.float32)),
        nn.Sequential(nn.Linear(4, 6 if odd else 4)),
    ):
        for module in made:
            distribute(module)
        with refused(initdsl.ResolveError, "the model of rank"):
            initdsl.apply(made, "*.* = 0", seed=7)
    # what it does not look at may differ
    same: list[Any] = [
        lambda tensor: tensor.fill_(SETTINGS.get("same", 3)),
        lambda tensor: STATE.append(1) or tensor.fill_(OPTIONS.__class__ is not None),
        lambda tensor: (os.environ["RANK_OF_A_TEST"] == "0" and STATE.append(1)) or tensor.fill_(3),
    ]
    for mine in same:
        initdsl.apply(net, "net.norm.weight = mine()", seed=7, initializers={"mine": mine})


@contextmanager
def told(number: int) -> Iterator[None]:
    """Say which one it was that failed."""
    try:
        yield
    except pytest.fail.Exception as error:
        raise AssertionError(f"number {number}: {error}") from error


def reads_global(tensor: torch.Tensor) -> None:
    tensor.fill_(LEVEL)


def distribute(module: nn.Module) -> None:
    """Spread a layer's parameters over all ranks, without asking whether those agree."""
    mesh = init_device_mesh("cpu", (world(),))
    for name, parameter in list(module.named_parameters()):
        whole = parameter.detach()
        part = whole.chunk(world())[rank()].clone()
        shard = DTensor.from_local(part, mesh, [Shard(0)], run_check=False, shape=whole.shape, stride=whole.stride())
        setattr(module, name, nn.Parameter(shard))


@case
def refusals() -> None:
    net = sharded(Net())
    before = local(net)
    with refused(initdsl.ResolveError, "without a seed every rank would draw from its own generator", "give `seed=`"):
        initdsl.apply(net, RULES)
    with refused(initdsl.ResolveError, "give `seed=`"):
        initdsl.apply(net, "default net.layers")
    with refused(initdsl.ResolveError, "is sharded already: tie before sharding"):
        initdsl.apply(net, "tie net.layers[0].up net.layers[1].up\n*.* = 0", seed=1)
    with refused(initdsl.ResolveError, "looks at values of `net.layers[0].up.weight` that other ranks hold"):
        initdsl.apply(net, "net.layers[0].up.weight /= norm(it)", seed=1)
    with refused(initdsl.ResolveError, "reads values of `net.layers[0].up.weight` that other ranks hold"):
        initdsl.apply(net, "net.layers[0].norm.weight = norm(net.layers[0].up.weight)", seed=1)
    with refused(initdsl.ResolveError, "reads values of `net.layers[0].up.bias` that other ranks hold"):
        initdsl.apply(net, "net.layers[0].up.weight = 0; net.layers[0].up.weight[:, 0] = net.layers[0].up.bias", seed=1)
    with refused(initdsl.ResolveError, "adjusted to a sample, which no sharded model can be"):
        initdsl.apply(net, "Linear.weight ~ lsuv()", seed=1, sample=torch.zeros(2, dtype=torch.long))
    with torch.device("meta"):
        empty = sharded(Net())
    with refused(initdsl.ResolveError, "are on the meta device"):
        initdsl.apply(empty, RULES, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(before, local(net), strict=True))


@case
def refused_partial() -> None:
    from torch.distributed.tensor import Partial

    mesh = init_device_mesh("cpu", (world(),))
    net = nn.Module()
    net.w = nn.Parameter(DTensor.from_local(torch.ones(4), mesh, [Partial()]))
    with refused(initdsl.ResolveError, "neither `Shard` nor `Replicate`"):
        initdsl.apply(net, "net.w = 0")
    # a buffer that no rule speaks of, as torchtitan counts the tokens of experts, is left alone
    for placement in (Shard(0), Replicate()):
        net.w = nn.Parameter(distribute_tensor(torch.zeros(4), mesh, [placement]))
        net.register_buffer("count", DTensor.from_local(torch.ones(4), mesh, [Partial()]))
        initdsl.apply(net, "net.w = 3")
        assert (whole(net.w) == 3).all()
        assert (net.count.to_local() == 1).all()
        with refused(initdsl.ResolveError, "neither `Shard` nor `Replicate`"):
            initdsl.apply(net, "net.count = 0")
        with refused(initdsl.ResolveError, "reads values of `net.count` that other ranks hold"):
            initdsl.apply(net, "net.w = net.count")


@case
def refused_flat() -> None:
    """FSDP1 keeps its parameters in flat vectors, but for the time it puts them together."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    for original in (False, True):
        net = FullyShardedDataParallel(Net(), use_orig_params=original, device_id=torch.device("cpu"))
        with refused(initdsl.ResolveError, "FSDP1", "summon_full_params"):
            initdsl.apply(net, RULES, seed=7)
        reference = dict(filled().named_parameters())
        with FullyShardedDataParallel.summon_full_params(net, writeback=True):
            initdsl.apply(net, RULES, seed=7)
        with FullyShardedDataParallel.summon_full_params(net):
            for name, values in net.named_parameters():
                assert torch.equal(values, reference[name.replace("_fsdp_wrapped_module.", "")]), name


@case
def refused_while_gathered() -> None:
    if not GATHERS:
        return
    net = sharded(Net())
    with torch.no_grad():
        net(torch.arange(5)[None])
    net.layers[0].unshard()
    with refused(initdsl.ResolveError, "gathered", "reshard()"):
        initdsl.apply(net, RULES, seed=7)
    for layer in (*net.layers, net):
        layer.reshard()
    initdsl.apply(net, RULES, seed=7)
    compare(net, filled())


@case
def refused_parametrized() -> None:
    net = nn.Sequential(nn.Linear(8, 8), nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)))
    fully_shard(net)
    with refused(initdsl.ResolveError, "computed from parameters that are sharded"):
        initdsl.apply(net, "net[1].weight ~ normal(0, 1)", seed=7)
    initdsl.apply(net, "net[0].weight ~ normal(0, 1)", seed=7)


@case
def lost_rank() -> None:
    """A rank that is gone in the middle of a fill: the others raise at once and put back what they had."""
    net = sharded(Net())
    before = local(net)

    def leave(tensor: torch.Tensor, *, generator: Any = None) -> None:
        tensor.fill_(3)
        if rank() == world() - 1:
            finish({})

    with refused(initdsl.ApplyError, "another rank can't be reached"):
        initdsl.apply(net, "*.* = 0; net.embed.weight ~ leave()", seed=7, initializers={"leave": leave})
    assert all(torch.equal(a, b) for a, b in zip(before, local(net), strict=True))
    finish({})


# ---- memory


@case
def memory() -> None:
    """The largest resident size grows by this rank's part, never by a whole tensor."""
    rows, columns = 8192, 4096  # 128 MiB
    mesh = init_device_mesh("cpu", (world(),))

    def big() -> nn.Module:
        with torch.device("meta"):
            net = nn.Sequential(nn.Linear(columns, rows, bias=False), nn.Linear(columns, rows, bias=False))
        for module, placement in zip(net, [Shard(0), Shard(1)], strict=True):
            module.weight = nn.Parameter(distribute_tensor(module.weight.detach(), mesh, [placement]))
        return net

    rules = "net[0].weight ~ normal(0, 1); net[0].weight as (4, -1, in_features)[1] ~ uniform(0, 1)\n"
    rules += "net[0].weight[::2] += 0.5; net[1].weight ~ trunc_normal(0, 1)"
    filled("net[0].weight ~ normal(0, 1)", 1, lambda: nn.Sequential(nn.Linear(512, 512, bias=False)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    net = initdsl.materialize(big, rules, seed=1)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    tensor = rows * columns * 4
    held = sum(p.to_local().numel() * 4 for p in net.parameters())
    assert abs(held - 2 * tensor / world()) <= 8 * (rows + columns)  # two rows and columns more or less
    (FOLDER / f"memory-{world()}-{rank()}").write_text(f"{grown} {held} {tensor}")
    assert grown < held + tensor // 2, (
        f"{grown >> 20} MiB for parts of {held >> 20} MiB of tensors of {tensor >> 20} MiB"
    )


def finish(problems: dict[str, str]) -> None:
    """The last word of a rank. It doesn't wait for gloo's threads: they abort an interpreter now and then."""
    said(rank()).write_text(json.dumps(problems))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def said(one: int) -> Path:
    return FOLDER / f"rank-{world()}-{one}.json"


def main() -> None:
    global FOLDER
    FOLDER = Path(sys.argv[1])
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    problems = {}
    for name in sys.argv[2:]:
        try:
            CASES[name]()
        except BaseException:
            problems[name] = traceback.format_exc()
            break  # the other ranks may be somewhere else
    said(rank()).write_text(json.dumps(problems))
    # whoever leaves takes its connections along: not while another still reads from them, as after a barrier
    ends = time.monotonic() + LONGEST
    while not problems and time.monotonic() < ends and not all(said(one).exists() for one in range(world())):
        time.sleep(0.02)
    finish(problems)


if __name__ == "__main__":
    main()
