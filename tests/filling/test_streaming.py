"""`stream`: the files of a network that is never in memory, against the network itself and the libraries that read them."""

from __future__ import annotations

import errno
import json
import os
import pty
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, load_model, save_file
from torch import nn

import initdsl
from initdsl.checkpoints.safetensors import alone, save
from initdsl.filling.to_disk import stream as streaming
from initdsl.filling.to_disk import write
from tests.support.calls import Called

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
MLP = "Linear.weight ~ normal(0, 0.02); Linear.bias = 0"


def mlp(width: int = 64, layers: int = 6) -> nn.Module:
    return nn.Sequential(*(nn.Linear(width, width) for _ in range(layers)))


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Everything in a folder, through its index."""
    listed = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    found: dict[str, torch.Tensor] = {}
    for file in sorted(set(listed.values())):
        found |= load_file(folder / file)
    assert set(found) == set(listed)
    return found


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


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


# ---- stopped, gone on with, not mixed

KILLED = """
import os, signal, sys
import initdsl, initdsl.filling.to_disk.stream
from torch import nn
initdsl.filling.to_disk.stream.CHUNK = 1000
def stop(done, total):
    if done > int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
initdsl.stream(lambda: nn.Sequential(*(nn.Linear(64, 64) for _ in range(6))), sys.argv[3], sys.argv[1], seed=0,
               max_shard_size="40KB", on_progress=stop)
"""


def python(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("INITDSL_KERNEL", None)
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=environment, timeout=120, **options
    )


def test_a_killed_run_is_gone_on_with(tmp_path: Path) -> None:
    initdsl.stream(mlp, MLP, tmp_path / "whole", seed=0, max_shard_size="40KB")
    done = python("-c", KILLED, str(tmp_path / "out"), "50000", MLP)
    assert done.returncode == -signal.SIGKILL, done.stderr
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [".initdsl-model-00002-of-00003.safetensors.part", "model-00001-of-00003.safetensors"]
    first = (tmp_path / "out" / "model-00001-of-00003.safetensors").stat()
    seen: list[int] = []
    initdsl.stream(mlp, MLP, tmp_path / "out", seed=0, max_shard_size="40KB", on_progress=lambda a, b: seen.append(a))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    again = (tmp_path / "out" / "model-00001-of-00003.safetensors").stat()
    assert (first.st_mtime_ns, first.st_ino) == (again.st_mtime_ns, again.st_ino)
    assert min(seen) > first.st_size
    seen.clear()
    initdsl.stream(mlp, MLP, tmp_path / "out", seed=0, max_shard_size="40KB", on_progress=lambda a, b: seen.append(a))
    assert not seen  # all there


def test_what_a_killed_run_left_is_tidied(tmp_path: Path) -> None:
    done = python("-c", KILLED, str(tmp_path), "3000", MLP)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [".initdsl-model-00001-of-00003.safetensors.part"]
    initdsl.stream(mlp, MLP, tmp_path, seed=1)  # nothing of the other seed was whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "model.safetensors.index.json"]


@pytest.mark.parametrize(("change", "said"), [
    ({"seed": 1}, "it has seed 0, not 1"),
    ({"rules": MLP + "\n"}, "it was made with other rules"),
    ({"vars": {"s": 2}, "rules": "let s = 1; " + MLP}, "other rules"),
    ({"network": lambda: mlp(64, 7)}, "initdsl.network"),
    ({"max_shard_size": "80KB"}, "none of this network's files|other tensors"),
])  # fmt: skip
def test_what_differs_is_not_mixed(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    usual: dict[str, Any] = {"network": mlp, "rules": MLP, "folder": tmp_path, "seed": 0, "max_shard_size": "40KB"}
    initdsl.stream(**usual)
    (tmp_path / "model-00003-of-00003.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").unlink()
    before = contents(tmp_path)
    with pytest.raises(initdsl.ApplyError, match=said) as caught:
        initdsl.stream(**{**usual, **change})
    assert "another folder" in str(caught.value.diagnostics[0].hint)
    assert contents(tmp_path) == before


def test_overridden_lets_and_loaded_files_count(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(3, 3)}, tmp_path / "w.safetensors")
    (tmp_path / "r.init").write_text('let s = 1\nnet.weight = load("w.safetensors")\nnet.bias = s\n')

    def run(**options: Any) -> None:
        initdsl.stream(lambda: nn.Linear(3, 3), tmp_path / "r.init", tmp_path / "out", seed=0, **options)

    run()
    run()
    with pytest.raises(initdsl.ApplyError, match=r"initdsl.vars"):
        run(vars={"s": 2})
    save_file({"weight": torch.zeros(3, 3)}, tmp_path / "w.safetensors")
    os.utime(tmp_path / "w.safetensors", ns=(1, 1))
    with pytest.raises(initdsl.ApplyError, match=r"initdsl.loaded"):
        run()


@pytest.mark.parametrize(
    "name", ["model.safetensors", "model-00001-of-00009.safetensors", "model.safetensors.index.json"]
)
@pytest.mark.parametrize("data", [b"", b"mine", b"\xff" * 40, (9).to_bytes(8, "little") + b"{}       "])
def test_somebodys_files_are_not_touched(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(initdsl.ApplyError, match="is there already"):
        initdsl.stream(mlp, MLP, tmp_path, seed=0)
    assert contents(tmp_path) == {name: data, "config.json": b"{}"}


def test_one_run_a_folder(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with alone(str(tmp_path)), pytest.raises(OSError, match="another run"):
        initdsl.stream(mlp, MLP, tmp_path, seed=0)
    initdsl.stream(mlp, MLP, tmp_path, seed=0)


# ---- what goes wrong


def test_a_failing_fill_leaves_no_file(tmp_path: Path) -> None:
    def bad(tensor: torch.Tensor, *, generator: Any = None) -> None:
        raise ZeroDivisionError("mine")

    for rule in ("net[5].weight ~ bad()", "net[5].weight *= 1e38; net[5].weight *= 1e38"):
        folder = tmp_path / str(len(rule))
        with pytest.raises(initdsl.ApplyError, match=r"mine|not finite"):
            initdsl.stream(mlp, f"{MLP}; {rule}", folder, seed=0, max_shard_size="40KB", initializers={"bad": bad})
        assert {path.name for path in folder.iterdir()} == {f"model-0000{i}-of-00003.safetensors" for i in (1, 2)}


@pytest.mark.parametrize(("options", "error", "said"), [
    ({"seed": None}, ValueError, "streamed from a seed"),
    ({"seed": True}, TypeError, "a seed is an integer"),
    ({"seed": 2**64}, ValueError, "between 0 and"),
    ({"max_shard_size": "huge"}, ValueError, "no size"),
    ({"rules": "Linear.weight ~ normale()"}, initdsl.RuleError, "did you mean `normal`"),
    ({"rules": "net.nothing = 1"}, initdsl.ResolveError, "nothing"),
    ({"strict": True, "rules": "Linear.bias = 0"}, initdsl.ResolveError, "uncovered-parameter"),
    ({"network": 3}, TypeError, "a factory"),
    ({"network": lambda: nn.ParameterList([torch.zeros(2, dtype=torch.complex128)]), "rules": "net[0] = 0"}, initdsl.ResolveError, "complex128"),
])  # fmt: skip
def test_bad_input_makes_no_folder(options: dict[str, Any], error: type[Exception], said: str, tmp_path: Path) -> None:
    usual: dict[str, Any] = {"network": mlp, "rules": MLP, "folder": tmp_path / "out", "seed": 0}
    with pytest.raises(error, match=said):
        initdsl.stream(**{**usual, **options})
    assert not (tmp_path / "out").exists()


LIMITED = """
import resource, sys, initdsl
from torch import nn
resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000))
try:
    initdsl.stream(lambda: nn.Sequential(nn.Linear(100, 100), nn.Linear(200, 200)), sys.argv[2], sys.argv[1], seed=0,
                   max_shard_size="20KB")
except OSError as error:
    print(error)
"""


def test_a_file_that_can_not_grow(tmp_path: Path) -> None:
    done = python("-c", LIMITED, str(tmp_path), MLP)
    assert "file too large; what is whole stays" in done.stdout, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model-00001-of-00003.safetensors"]
    initdsl.stream(
        lambda: nn.Sequential(nn.Linear(100, 100), nn.Linear(200, 200)), MLP, tmp_path, seed=0, max_shard_size="20KB"
    )
    assert len(tensors(tmp_path)) == 4


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, where this process may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "none", str(place)], capture_output=True).returncode
    ):
        pytest.skip("this process may not mount a file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(tiny_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual: dict[str, Any] = {"rules": MLP, "folder": tiny_disk, "seed": 0, "max_shard_size": "600KB"}
    with pytest.raises(OSError, match=r"1\.\d\d MB are needed, and 1\.0\d MB are free"):
        initdsl.stream(lambda: mlp(256, 5), **usual)
    assert not list(tiny_disk.iterdir())
    monkeypatch.setattr(write.shutil, "disk_usage", lambda folder: _Plenty)  # it fills up later
    with pytest.raises(OSError, match="no space left on device; what is whole stays"):
        initdsl.stream(lambda: mlp(256, 5), **usual)
    assert [path.name for path in tiny_disk.iterdir()] == ["model-00001-of-00003.safetensors"]
    with pytest.raises(OSError, match="no space left on device"):
        save(mlp(256, 5), tiny_disk / "x.safetensors")
    assert [path.name for path in tiny_disk.iterdir()] == ["model-00001-of-00003.safetensors"]


class _Plenty:
    free = 1 << 60


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file") as caught:
        initdsl.stream(mlp, MLP, tmp_path / "file" / "out", seed=0)
    assert caught.value.errno in (errno.ENOTDIR, None)


MEMORY = """
import sys
import initdsl, initdsl.filling.to_disk.stream, torch
from torch import nn

def peak():  # of this program: getrusage counts what it was started from too
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))

torch.set_num_threads(2)
initdsl.stream(lambda: nn.Linear(4, 4), sys.argv[2], sys.argv[1] + "/small", seed=0)
before = peak()
initdsl.stream(lambda: nn.ModuleList(nn.Embedding(8192, 4096, padding_idx=0) for _ in range(2)), sys.argv[2],
               sys.argv[1] + "/large", seed=0)
print(peak() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the system does not tell")
def test_memory_does_not_grow_with_the_network(tmp_path: Path) -> None:
    rules = """
    Linear.*? ~ normal(); net[0].weight? ~ normal(0, 1) * 0.02 + 0.01 * tanh(index(0)); net[1].weight? = net[0].weight / 2
    Embedding.weight[padding_idx]? = 0
    """
    done = python("-c", MEMORY, str(tmp_path), rules)
    assert done.returncode == 0, done.stderr
    assert sum(path.stat().st_size for path in (tmp_path / "large").iterdir()) > 268e6
    assert int(done.stdout) < 128 * 1024  # KiB


# ---- the command


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "rules.init").write_text(MLP)
    (tmp_path / "net.py").write_text(
        "from torch import nn\nmake = lambda: nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Linear(64, 64))\n"
        "net = make()\ndef broken():\n    raise ValueError('mine')\n"
    )
    return tmp_path


def command(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return python("-c", "from initdsl.cli import main; main()", "apply", "rules.init", *words, cwd=project)


def test_the_command_streams(project: Path) -> None:
    done = command(project, "--model", "net.py:make", "--seed", "4", "-o", "out/", "--max-shard-size", "20KB")
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert "~ normal(0, 0.02)" in done.stdout
    assert len(list((project / "out").iterdir())) == 3
    net = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Linear(64, 64))
    initdsl.apply(net, MLP + "; default BatchNorm1d", seed=4)
    assert all(same(t, net.state_dict()[name]) for name, t in tensors(project / "out").items())


@pytest.mark.parametrize(("words", "said"), [
    (("--model", "net.py:make", "-o", "out/"), "error[usage]: a network is streamed to a folder from a seed"),
    (("--model", "net.py:make", "-o", "out.pt", "--seed", "1"), "is not a .safetensors file"),
    (("--model", "net.py:make", "-o", "x.safetensors", "--seed", "1", "--max-shard-size", "5GB"), "--max-shard-size is for"),
    (("--model", "net.py:make", "-o", "out/", "--seed", "1", "--max-shard-size", "5XB"), "`5XB` is no size; write `5GB`"),
    (("--model", "net.py:broken", "-o", "out/", "--seed", "1"), "`net.py:broken` raised ValueError: mine"),
])  # fmt: skip
def test_the_command_refuses(words: tuple[str, ...], said: str, project: Path) -> None:
    done = command(project, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / "out").exists()


def test_the_command_will_not_mix(project: Path) -> None:
    words = ("--model", "net.py:make", "-o", "out/", "-q")
    assert command(project, *words, "--seed", "4").returncode == 0
    done = command(project, *words, "--seed", "5")
    assert done.returncode == 2
    assert "it has seed 4, not 5" in done.stderr
    assert "= hint: write to another folder" in done.stderr


def test_a_terminal_sees_a_bar(project: Path) -> None:
    (project / "net.py").write_text(
        "import initdsl.filling.to_disk.stream\ninitdsl.filling.to_disk.stream.CHUNK = 1 << 14\nfrom torch import nn\nmake = lambda: nn.Linear(4096, 4096)\n"
    )
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"}
    words = ["apply", "rules.init", "--model", "net.py:make", "--seed", "1", "-o", "out/"]
    program = subprocess.Popen(
        [sys.executable, "-c", "from initdsl.cli import main; main()", *words],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 1 << 16):
            shown += part
    except OSError:  # the other end is closed
        pass
    out = program.communicate()[0].decode()
    os.close(ours)
    assert program.returncode == 0
    assert "~ normal(0, 0.02)" in out
    assert "writing" not in out
    text = shown.decode()
    assert "writing" in text
    assert "/67.1 MB" in text
    assert "B/s" in text
    assert "0:00:0" in text
