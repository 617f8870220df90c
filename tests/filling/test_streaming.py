"""`stream`: the files of a model that is never in memory, against the model itself and the libraries that read them."""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_model, save_file
from torch import nn

import initdsl
from initdsl.filling.to_disk import stream as streaming
from initdsl.filling.to_disk import write
from tests.support.calls import Called
from tests.support.streamed import MLP, contents, mlp, same, tensors

ROOT = Path(__file__).parents[2]


class Varied(nn.Module):
    """Ties, slices, layouts, dtypes, buffers, expressions: what can be filled in parts and what can't."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(101, 16, padding_idx=3)
        self.up = nn.Linear(16, 70, dtype=torch.bfloat16)
        self.norm = nn.BatchNorm1d(70)
        self.down = nn.Linear(70, 16, dtype=torch.float64)
        self.conv = nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
        self.lstm = nn.LSTM(16, 16)
        self.experts = nn.Parameter(torch.zeros(4, 6, 10, dtype=torch.float16))
        self.scale = nn.Parameter(torch.zeros(()))
        self.frozen = nn.Parameter(torch.zeros(3, dtype=torch.int64), requires_grad=False)
        self.twice = nn.ModuleList([nn.Linear(5, 5), nn.Linear(5, 5)])
        self.twice[1].weight = self.twice[0].weight
        self.head = nn.Linear(16, 101, bias=False)
        self.register_buffer("mask", torch.ones(4, 4).tril().bool())
        self.register_buffer("angles", torch.arange(4.0), persistent=False)


RULES = """
Linear.weight, Embedding.weight ~ normal(0, 0.02)
Linear.bias ~ uniform(-1, 1)
Embedding.weight[padding_idx] = 0
net.up.weight[3:50:7, 2:5] *= 2
net.up.weight[10:] ~ trunc_normal(0, 1)
net.up.weight[:, -1] = 7
net.down.weight ~ orthogonal()
net.down.bias = sum(net.up.weight) + numel
Conv2d.weight ~ kaiming_normal(); Conv2d.bias ~ uniform()
LSTM.weight_* as (4, 16, -1)[*] ~ xavier_uniform()
LSTM.bias_* = 0; LSTM.bias_ih_l0[16:32] = 1
net.experts[*] ~ kaiming_uniform()
net.experts[1] ~ trunc_normal(0, 0.1, -0.2, 0.2)
net.experts /= 3
net.scale ~ normal(1, 0.5)
net.twice[0].weight ~ rademacher(2)
net.frozen = 4
net.twice[*].bias ~ normal(0, 1) * 0.1 + uniform()
default BatchNorm1d
tie net.embed.weight net.head.weight
"""


# ---- the same network


@pytest.mark.parametrize("chunk", [50, 333, 1 << 20])
@pytest.mark.parametrize("count", [1, 3])
def test_the_values_of_apply(chunk: int, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads) -> None:
    threads(count)
    monkeypatch.setattr(write, "CHUNK", chunk)
    report = initdsl.stream(Varied, RULES, tmp_path, seed=5, max_shard_size=9000)
    assert torch.get_num_threads() == count
    net = Varied()
    initdsl.apply(net, RULES, seed=5)
    found, state = tensors(tmp_path), net.state_dict()
    assert set(state) - set(found) == {"head.weight", "twice.1.weight"}
    for name in found:
        assert same(found[name], state[name]), name
    assert len(list(tmp_path.glob("*.safetensors"))) > 3
    whole = next(note for note in report.notes if "in parts" in note)
    assert "`net.down.weight`" in whole
    assert "`net.twice" not in whole
    assert "`net.experts`" not in whole


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_initializer_in_parts(dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "CHUNK", 333)
    initdsl.stream(lambda: Called(dtype), Called.rules(), tmp_path, seed=5)
    found, net = tensors(tmp_path), Called(dtype)
    initdsl.apply(net, Called.rules(), seed=5)
    for name, tensor in net.state_dict().items():
        assert same(found[name], tensor), name


COMPUTED = """
let s = 0.02
net.embed.weight ~ normal(0, 1) * s + uniform(-s, s)
net.embed.weight += clip(it, -0.01, 0.01) ** 2
net.embed.weight[padding_idx] = 0
net.head.weight = where(net.embed.weight > 0, net.embed.weight, index(0) - tanh(index(1) / in_features))
net.head.weight[3:90:4, 1::2] *= exp(-index(0)) + it
net.up.weight ~ normal(0, 0.1); net.up.weight /= 1 + abs(weight)
net.seen ~ normal(); net.seen as (7, 10, -1)[2:5] = sin(index(0)) * cos(index(1)) + log1p(abs(it))
net.up.bias = sqrt(index(0) + 0.5) * expm1(-1 / (1 + index(0)))
net.down.weight = round(index(0) / (1 + index(1)) * 10) // 3 + index(1) % 7
net.down.weight ~ it + normal()
copy net.down.weight net.mirror.weight
net.mirror.bias = 1.5 ** index(0) * -1
net.down.bias = net.mirror.bias / 3
net.experts[*] ~ normal() * fan_in ** -0.5
net.experts[1:] *= max(index(0), 1)
net.conv.weight ~ normal(); net.conv.bias = 0
net.conv.weight = index(2) + index(3) * min(it, 3)
net.scale ~ normal() * 3
"""


class Computed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(101, 16, padding_idx=3)
        self.head = nn.Linear(16, 101, bias=False)
        self.up = nn.Linear(16, 70, dtype=torch.bfloat16)
        self.down = nn.Linear(70, 16, dtype=torch.float64)
        self.mirror = nn.Linear(70, 16)
        self.conv = nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
        self.experts = nn.Parameter(torch.zeros(4, 6, 10, dtype=torch.float16))
        self.seen = nn.Parameter(torch.zeros(70, 16))
        self.scale = nn.Parameter(torch.zeros(()))


@pytest.mark.parametrize("chunk", [37, 333, 1 << 20])
@pytest.mark.parametrize("count", [1, 4])
def test_what_is_computed_by_element_is_computed_in_parts(
    chunk: int, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads
) -> None:
    threads(count)
    monkeypatch.setattr(write, "CHUNK", chunk)
    report = initdsl.stream(Computed, COMPUTED, tmp_path, seed=5, max_shard_size=9000)
    assert [note for note in report.notes if "in parts" in note] == []
    net, found = Computed(), tensors(tmp_path)
    initdsl.apply(net, COMPUTED, seed=5)
    for name, tensor in net.state_dict().items():
        assert same(found[name], tensor), name


@pytest.mark.parametrize(("rule", "whole"), [
    ("net[0].weight ~ normal() * 2", False),
    ("net[0].weight = net[1].weight + net[1].weight", False),
    ("net[0].weight = net[1].weight[0] + net[1].weight", True),
    ("net[0].weight ~ normal(); net[0].weight /= norm(it)", True),
    ("net[0].weight ~ normal(); net[0].weight[0] = net[0].weight[1]", True),
    ("net[0].weight = linspace(0, 1, 8)", True),
    ("net[0].weight ~ normal() * 2; net[0].weight as (4, -1)[1] = 3", True),
    ("net[0].weight = 1; net[0].weight as (4, -1)[1] = it * index(0)", False),
    ("net[0].weight = 1; net[0].weight as (4, -1)[1] = index(0); net[0].weight as (2, -1)[1] = 0", True),
    ("net[0].weight = eye() * 2", True),
    ("net[0].weight as (1, 8, 8) = net[1].weight", True),
])  # fmt: skip
def test_the_report_names_what_is_made_whole(rule: str, whole: bool, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(write, "CHUNK", 5)

    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))

    rules = f"net[1].weight ~ uniform(); {rule}"
    report = initdsl.stream(build, rules, tmp_path, seed=1)
    assert any("in parts" in note and "`net[0].weight`" in note for note in report.notes) == whole
    net = build()
    initdsl.apply(net, rules, seed=1)
    assert all(same(tensor, net.state_dict()[name]) for name, tensor in tensors(tmp_path).items())


def test_threads_do_not_see_each_others_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads) -> None:
    threads(8)
    monkeypatch.setattr(write, "CHUNK", 8)
    interval = sys.getswitchinterval()
    blocks = [
        f"net[{k}] {{ let n = {k}; .weight = net[n - 1].weight + n; .bias = net[n - 1].bias - n }}" for k in range(1, 6)
    ]
    rules = "\n".join(["net[0].* ~ uniform()", *blocks])
    sys.setswitchinterval(1e-6)
    try:
        initdsl.stream(lambda: mlp(16), rules, tmp_path, seed=1)
    finally:
        sys.setswitchinterval(interval)
    net = mlp(16)
    initdsl.apply(net, rules, seed=1)
    assert all(same(tensor, net.state_dict()[name]) for name, tensor in tensors(tmp_path).items())


def test_parts_of_what_a_file_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "CHUNK", 50)
    torch.manual_seed(0)
    save_file({"weight": torch.randn(16, 16), "bias": torch.randn(16)}, tmp_path / "layer.safetensors")
    rules = """
    net[0] = load("layer.safetensors"); net[0].weight *= 2; net[0].weight[1] = 0
    net[1].weight = load("layer.safetensors", key="weight"); net[1].bias = net[0].bias / 3
    """
    report = initdsl.stream(lambda: mlp(16, 2), rules, tmp_path / "out", seed=1, root=tmp_path)
    assert not any("in parts" in note for note in report.notes)
    net = mlp(16, 2)
    initdsl.apply(net, rules, seed=1, root=tmp_path)
    assert all(same(tensor, net.state_dict()[name]) for name, tensor in tensors(tmp_path / "out").items())


def test_a_failure_in_a_part_names_the_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "CHUNK", 50)
    with pytest.raises(initdsl.ApplyError, match=r"not finite(.|\n)*1 / \(index\(0\) - 9\)"):
        initdsl.stream(mlp, "net[*].* = 1\nnet[3].weight = 1 / (index(0) - 9)", tmp_path, seed=1, max_shard_size="20KB")
    assert not list(tmp_path.glob(".*"))


def test_where_a_system_can_not_write_at_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads) -> None:
    threads(4)
    monkeypatch.setattr(write, "CHUNK", 100)
    initdsl.stream(mlp, MLP, tmp_path / "a", seed=1)
    monkeypatch.delattr(os, "pwrite")
    initdsl.stream(mlp, MLP, tmp_path / "b", seed=1)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_the_bytes_are_the_same_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads) -> None:
    for folder, count, chunk in (("a", 1, 1000), ("b", 4, 77)):
        threads(count)
        monkeypatch.setattr(write, "CHUNK", chunk)
        initdsl.stream(Varied, RULES, tmp_path / folder, seed=5, max_shard_size="9KB")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_global_generators_stay(tmp_path: Path) -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    initdsl.stream(Varied, RULES, tmp_path, seed=5)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert (np.random.get_state()[1] == before[2]).all()


def test_what_no_rule_reaches_is_the_default_of_materialize(tmp_path: Path) -> None:
    def build() -> nn.Module:
        return nn.Sequential(
            nn.Linear(6, 8),
            nn.LSTM(8, 8),
            nn.MultiheadAttention(8, 2),
            nn.GroupNorm(2, 8),
            nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8)),
            nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)),
            nn.utils.spectral_norm(nn.Linear(8, 8)),
            nn.Transformer(8, 2, 1, 1, 8),
        )

    rules = "net[4].weight ~ orthogonal(); net[5].weight ~ normal(); net[0].weight[2] = 0"
    made = initdsl.materialize(build, rules, seed=2)
    initdsl.stream(build, rules, tmp_path, seed=2, max_shard_size="1KB")
    found, state = tensors(tmp_path), made.state_dict()
    assert set(found) == set(state)
    for name in found:
        assert same(found[name], state[name]), name


def test_a_module_is_left_as_it_is(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
    with torch.no_grad():
        net[1].running_mean.fill_(3)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    objects = [id(tensor) for tensor in net.state_dict(keep_vars=True).values()]
    rules = "net[0].weight ~ normal(); net[0].weight += 1; keep net[2]; net[2].bias *= abs(it)"
    initdsl.stream(net, rules, tmp_path, seed=1)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert [id(tensor) for tensor in net.state_dict(keep_vars=True).values()] == objects
    initdsl.apply(net, rules, seed=1)
    for name, tensor in tensors(tmp_path).items():
        assert same(tensor, net.state_dict()[name]), name


def test_a_module_on_the_meta_device(tmp_path: Path) -> None:
    with torch.device("meta"):
        net, normed = mlp(), nn.BatchNorm1d(4)
    initdsl.stream(net, MLP, tmp_path / "a", seed=1)
    assert all(p.is_meta for p in net.parameters())
    real = mlp()
    initdsl.apply(real, MLP, seed=1)
    assert all(same(t, real.state_dict()[n]) for n, t in tensors(tmp_path / "a").items())
    with pytest.raises(initdsl.ResolveError, match="function that builds"):
        initdsl.stream(normed, "net.* = 1", tmp_path / "b", seed=1)
    assert not (tmp_path / "b").exists()
    initdsl.stream(
        normed, "net.* = 1; net.running_mean, net.running_var = 0; net.num_batches_tracked = 0", tmp_path / "b", seed=1
    )


# ---- as the libraries write and read it


@pytest.mark.models
@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5"])
def test_transformers_reads_it(kind: str, tmp_path: Path, torchvision_shim: None) -> None:
    transformers = pytest.importorskip("transformers")
    from huggingface_hub import split_torch_state_dict_into_shards

    small = {"vocab_size": 99, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config, cls = {
        "gpt2": (transformers.GPT2Config(n_embd=32, n_layer=3, n_head=4, **small), transformers.GPT2LMHeadModel),
        "llama": (
            transformers.LlamaConfig(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64, **small),
            transformers.LlamaForCausalLM,
        ),
        "t5": (
            transformers.T5Config(d_model=32, d_ff=64, num_layers=2, num_heads=4, d_kv=8, **small),
            transformers.T5ForConditionalGeneration,
        ),
    }[kind]  # fmt: skip
    rules = "/./ ~ normal(0, 0.02)"
    initdsl.stream(lambda: cls(config), rules, tmp_path / "ours", seed=3, max_shard_size="20KB")
    config.save_pretrained(tmp_path / "ours")
    net = cls(config)
    initdsl.apply(net, rules, seed=3)
    read, info = cls.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    for (name, a), b in zip(read.state_dict().items(), net.state_dict().values(), strict=True):
        assert same(a, b), name
    net.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    ours, theirs = (json.loads((tmp_path / w / "model.safetensors.index.json").read_text()) for w in ("ours", "theirs"))
    assert ours["metadata"]["total_size"] == theirs["metadata"]["total_size"]
    assert ours["weight_map"] == theirs["weight_map"]
    kept = {name: tensor for name, tensor in net.state_dict().items() if name in ours["weight_map"]}
    assert ours["weight_map"] == split_torch_state_dict_into_shards(kept, max_shard_size="20KB").tensor_to_filename
    for file in set(ours["weight_map"].values()):
        with safe_open(tmp_path / "ours" / file, "pt") as a, safe_open(tmp_path / "theirs" / file, "pt") as b:
            assert set(a.keys()) == set(b.keys())
            assert a.metadata()["format"] == b.metadata()["format"] == "pt"


def test_a_tie_is_told(tmp_path: Path) -> None:
    initdsl.stream(Varied, RULES, tmp_path, seed=5)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        told = file.metadata()
    assert told["head.weight"] == "embed.weight"
    assert told["twice.1.weight"] == "twice.0.weight"
    assert told["initdsl.seed"] == "5"
    net, other = Varied(), Varied()
    initdsl.apply(net, RULES, seed=5)
    initdsl.apply(other, "tie net.embed.weight net.head.weight", seed=9)
    load_model(other, tmp_path / "model.safetensors")
    assert all(same(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True))


def test_sizes() -> None:
    assert streaming.size_in_bytes("5GB") == streaming.size_in_bytes(" 5 gb") == 5 * 10**9
    assert streaming.size_in_bytes("1.5MiB") == 3 << 19
    assert streaming.size_in_bytes(17) == streaming.size_in_bytes("17") == 17
    for wrong in ("five", "5 light years", "-1GB", "0", ""):
        with pytest.raises(ValueError, match=r"size|byte"):
            streaming.size_in_bytes(wrong)
    for kind in (True, 1.5, None):
        with pytest.raises(TypeError, match="a size is"):
            streaming.size_in_bytes(kind)  # type: ignore[arg-type]
