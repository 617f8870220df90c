"""`verify`: models, state dicts and checkpoints against their rules, exactly and by chance."""

from __future__ import annotations

import json
import math
import os
import pickle
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import stats
from torch import nn

import initdsl
from initdsl.checkpoints.open import open_store
from initdsl.checkpoints.writing import save
from initdsl.filling.to_disk.provenance import provenance
from initdsl.initializers import Bernoulli, Normal, TruncatedNormal, Uniform
from initdsl.statistics.goodness import Sample, holm, kolmogorov, two_samples
from tests.support.processes import command, ranks


class Net(nn.Module):
    """Most of what rules fill: ties, slices, a computed weight, buffers, integers, several dtypes."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(120, 24, padding_idx=3)
        self.up = nn.Linear(24, 90, dtype=torch.bfloat16)
        self.norm = nn.BatchNorm1d(90)
        self.down = nn.Linear(90, 24, dtype=torch.float64)
        self.mix = nn.Linear(24, 24)
        self.same = nn.Linear(24, 24)
        self.lstm = nn.LSTM(24, 24)
        self.sparse = nn.Linear(40, 30, bias=False)
        self.conv = nn.Conv2d(3, 8, 3)
        self.signs = nn.Parameter(torch.zeros(300))
        self.head = nn.Linear(24, 120, bias=False)


RULES = """
Linear.weight, Embedding.weight ~ normal(0, 0.02)
*.bias, LSTM.bias_* = 0
BatchNorm1d.weight = 1
Embedding.weight[padding_idx] = 0
net.up.weight[10:] ~ trunc_normal(0, 1)
net.up.weight[:, -1] = 7
net.down.weight ~ orthogonal(gain=2)
net.mix.weight ~ uniform(-1, 1)
net.mix.weight *= 0.5
net.mix.weight += 2
net.same.weight = net.mix.weight * 3
LSTM.weight_hh_l0 as (4, 24, -1)[*] ~ xavier_uniform()
LSTM.weight_ih_l0 ~ normal(0, 1) * 0.01 + normal(0, 0.02)
net.sparse.weight ~ sparse(0.25)
Conv2d.weight = dirac()
net.signs ~ rademacher()
tie net.embed net.head
"""


def filled(seed: int | None, torch_seed: int = 0) -> tuple[Net, initdsl.Report]:
    torch.manual_seed(torch_seed)
    net = Net()
    return net, initdsl.apply(net, RULES, seed=seed)


SPOILS = {
    "embed.weight": lambda w: w.mul_(1.2),
    "up.weight": lambda w: w[10:].mul_(1.5),
    "down.weight": lambda w: w.mul_(1.1),
    "mix.weight": lambda w: w.add_(0.2),
    "same.weight": lambda w: w[0, 0].add_(1e-3),
    "lstm.weight_hh_l0": lambda w: w.mul_(0.5),
    "lstm.weight_ih_l0": lambda w: w.mul_(1.3),
    "sparse.weight": lambda w: w.fill_(0.01),
    "conv.weight": lambda w: w[0, 0, 0, 0].add_(1),
    "signs": lambda w: w[5].mul_(0.5),
    "norm.weight": lambda w: w[3].mul_(1.0001),
}


@pytest.mark.parametrize("seed", [None, 0])
def test_a_filled_network_matches(seed: int | None) -> None:
    net, _ = filled(seed)
    before = {name: (id(p), p.detach().clone()) for name, p in net.named_parameters()}
    found = initdsl.verify(net, RULES, seed)
    assert found, str(found)
    assert not found.unchecked, str(found)
    assert all(id(p) == before[n][0] and torch.equal(p, before[n][1]) for n, p in net.named_parameters())


@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize("name", SPOILS)
def test_a_change_of_one_tensor_is_found(name: str, seed: int | None) -> None:
    net, _ = filled(seed)
    with torch.no_grad():
        SPOILS[name](dict(net.named_parameters())[name])
    found = initdsl.verify(net, RULES, seed)
    bad = {c.name for c in found.drifted}
    assert name in bad
    assert bad <= {name, "same.weight"}, "what reads it follows it"


def test_under_a_seed_one_changed_bit_is_found() -> None:
    net, _ = filled(7)
    with torch.no_grad():
        net.up.weight[50, 2] = torch.nextafter(net.up.weight[50, 2], torch.tensor(9.0, dtype=torch.bfloat16))
    found = initdsl.verify(net, RULES, 7)
    assert [c.name for c in found.drifted] == ["up.weight"]
    assert found["up.weight"].message.startswith("1 of 2160 elements differ")
    assert len(initdsl.verify(net, RULES, 8).drifted) >= 8


# ---- files


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    net, report = filled(5)
    save(net, folder / "net.safetensors", provenance(report.plan))
    return folder


def test_a_file_tells_its_seed(saved: Path) -> None:
    found = initdsl.verify(saved / "net.safetensors", RULES, model=Net())
    assert found, str(found)
    assert found.seed == 5
    assert found.provenance["initdsl.stream"] == "v1"
    assert not found.notes


def test_other_rules_are_told(saved: Path) -> None:
    found = initdsl.verify(saved / "net.safetensors", RULES + "\n# more", model=Net())
    assert found
    assert any("other rules" in note for note in found.notes)


def test_a_file_tells_its_settings(tmp_path: Path) -> None:
    rules, net = "let std = 1; let gone = 2; net.* ~ normal(gone, std)", nn.Linear(30, 30)
    made = initdsl.apply(net, rules, seed=2, vars={"std": 3.0, "gone": 4})
    save(net, tmp_path / "a.safetensors", provenance(made.plan))
    found = initdsl.verify(tmp_path / "a.safetensors", rules, model=net)
    assert found, str(found)
    assert not found.notes
    told = "the checkpoint says that it was saved with gone=4, std=3.0"
    other = initdsl.verify(tmp_path / "a.safetensors", rules, model=net, vars={"std": 5.0})
    assert (bool(other), other.notes) == (False, [f"{told}; you gave std=5.0"])
    seeded = initdsl.verify(tmp_path / "a.safetensors", rules, 3, model=net)
    assert seeded.notes == ["the checkpoint says that it was saved with seed 2; you gave 3"]
    left = initdsl.verify(tmp_path / "a.safetensors", "let std = 1; net.* ~ normal(4, std)", model=net)
    assert left, str(left)
    assert f"{told}, and no `let` declares `gone`" in left.notes


def test_dtypes_are_told(saved: Path, tmp_path: Path) -> None:
    state = load_file(saved / "net.safetensors")
    state["mix.weight"] = state["mix.weight"].bfloat16()
    save_file(state, tmp_path / "short.safetensors", {"head.weight": "embed.weight"})
    found = initdsl.verify(tmp_path / "short.safetensors", RULES, 5, model=Net())
    assert found, str(found)
    assert found.notes == ["`mix.weight` is bfloat16 there and float32 in the model: compared as bfloat16"]
    state["mix.bias"] = torch.zeros(24, dtype=torch.int32)  # all that its rule says, and of no use
    save_file(state, tmp_path / "wrong.safetensors", {"head.weight": "embed.weight"})
    found = initdsl.verify(tmp_path / "wrong.safetensors", RULES, 5, model=Net())
    assert (bool(found), found.structure) == (False, ["`mix.bias` is int32, not float32"])


def test_structure(saved: Path, tmp_path: Path) -> None:
    state = load_file(saved / "net.safetensors")
    del state["mix.bias"]
    state["further"] = torch.zeros(2)
    state["signs"] = torch.ones(4)
    state["head.weight"] = state["embed.weight"] + 1
    save_file(state, tmp_path / "other.safetensors")
    found = initdsl.verify(tmp_path / "other.safetensors", RULES, 5, model=Net())
    assert not found
    said = "\n".join(found.structure)
    for words in ("missing: mix.bias", "`signs` has shape [4], not [300]", "the model has not: further", "differ"):
        assert words in said.replace("`mix.bias`", "mix.bias").replace("`further`", "further")


def test_ties_of_networks_and_state_dicts() -> None:
    net, _ = filled(5)
    net.head.weight = nn.Parameter(net.embed.weight.detach().clone())
    assert any("not tied" in line for line in initdsl.verify(net, RULES, 5).structure)
    net.head.weight = net.embed.weight
    state = dict(net.state_dict())
    assert initdsl.verify(state, RULES, 5, model=Net())
    state["same.weight"] = state["mix.weight"]
    assert any("nothing says so" in line for line in initdsl.verify(state, RULES, 5, model=Net()).structure)


def test_rules_without_classes_need_no_network(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(30, 40), nn.BatchNorm1d(40), nn.Linear(40, 20))
    rules = "net.*.weight ~ normal(0, 0.02)\nnet[1].weight = 1\n/bias$/ = 0\nnet[-1].weight ~ orthogonal()"
    report = initdsl.apply(net, rules, seed=3)
    save(net, tmp_path / "net.safetensors", provenance(report.plan))
    found = initdsl.verify(tmp_path / "net.safetensors", rules)
    assert found, str(found)
    assert {c.how for c in found} == {"values"}
    assert not initdsl.verify(tmp_path / "net.safetensors", rules, 4)
    with pytest.raises(initdsl.ResolveError, match="speak of classes") as error:
        initdsl.verify(tmp_path / "net.safetensors", "*.bias = 0; Linear.weight = 1")
    assert error.value.diagnostics[0].span.start == 12


def test_a_described_network_does(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(30, 40), nn.LayerNorm(40))
    rules = "Linear.weight ~ normal(0, 0.02); *.bias = 0; default LayerNorm.weight"
    report = initdsl.apply(net, rules, seed=3)
    save(net, tmp_path / "net.safetensors", provenance(report.plan))
    described = initdsl.Network.from_manifest(json.loads(json.dumps(initdsl.describe(net)[0].to_manifest())))
    found = initdsl.verify(tmp_path / "net.safetensors", rules, model=described)
    assert found
    assert [c.name for c in found.unchecked] == ["1.weight"]
    assert "needs the model's code" in found["1.weight"].message


def test_shards_and_their_index(tmp_path: Path) -> None:
    rules = "Linear.weight ~ normal(0, 0.02); Linear.bias = 0"

    def build() -> nn.Module:
        return nn.Sequential(*[nn.Linear(64, 64) for _ in range(6)])

    initdsl.stream(build, rules, tmp_path / "out", seed=2, max_shard_size="40KB")
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 2
    for place in (tmp_path / "out", tmp_path / "out" / "model.safetensors.index.json"):
        found = initdsl.verify(place, rules, model=build())
        assert found, str(found)
        assert found.seed == 2
    shard = sorted((tmp_path / "out").glob("*.safetensors"))[1]
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    assert len(initdsl.verify(tmp_path / "out", rules, model=build()).drifted) == 1
    index = tmp_path / "out" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"0.weight": "../model.safetensors"}}))
    with pytest.raises(ValueError, match="outside its folder"):
        initdsl.verify(tmp_path / "out", rules, model=build())


DCP = """
import os, sys, torch, torch.distributed as dist, torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
import initdsl
dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (2,))
net = nn.Sequential(nn.Linear(33, 65), nn.Linear(65, 17))
initdsl.apply(net, "Linear.weight ~ normal(0, 0.02); Linear.bias = 0; net[1].weight ~ orthogonal()", seed=4)
state = {k: distribute_tensor(v, mesh, [Shard(v.ndim - 1)]) for k, v in net.state_dict().items()}
dcp.save({"model": state, "optim": {"step": torch.tensor(3)}}, checkpoint_id=sys.argv[1])
dist.barrier()
os._exit(0)
"""


@pytest.mark.needs("torch>=2.5")  # `torch.distributed.tensor`
def test_dcp_directories_of_several_ranks(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(DCP)
    made = ranks(2, tmp_path / "worker.py", tmp_path / "dcp")
    assert (tmp_path / "dcp" / ".metadata").exists(), made[0].stderr
    rules = "Linear.weight ~ normal(0, 0.02); Linear.bias = 0; net[1].weight ~ orthogonal()"
    net = nn.Sequential(nn.Linear(33, 65), nn.Linear(65, 17))
    found = initdsl.verify(tmp_path / "dcp", rules, 4, model=net)
    assert found, str(found)
    assert {c.name for c in initdsl.verify(tmp_path / "dcp", rules, 5, model=net).drifted} == {"0.weight", "1.weight"}
    assert initdsl.verify(tmp_path / "dcp", rules, model=net)
    assert initdsl.verify(tmp_path / "dcp", "net[0].weight ~ normal(0, 0.02); net.*.bias = 0", 4)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch evil",)


def test_metadata_of_a_dcp_directory_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".metadata").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match="no use for"):
        open_store(tmp_path)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("data", [b"", b"\x00" * 7, b"\xff" * 64, (200).to_bytes(8, "little") + b"{}"])
def test_files_that_are_none(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match="not a safetensors file"):
        open_store(tmp_path / "bad.safetensors")


# ---- after training


def test_what_training_moved() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    rules = "Linear.weight ~ kaiming_normal(); Linear.bias = 0"
    initdsl.apply(net, rules, seed=0)
    net[0].weight.requires_grad_(False)
    start = net[2].weight.detach().clone()
    step = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.1)
    net(torch.randn(8, 16)).square().mean().backward()
    step.step()
    found = initdsl.verify(net, rules, 0, after_training=True)
    assert found
    assert (found["0.weight"].moved, "moved" in found["0.weight"].to_dict()) == (None, False)
    assert [check.name for check in found.moved] == ["0.bias", "2.weight", "2.bias"]
    moved = found["2.weight"].moved
    assert moved["distance"] == pytest.approx(float((net[2].weight.detach() - start).norm() / start.norm()), rel=1e-6)
    assert found["2.bias"].moved["distance"] == math.inf
    assert found.summary() == "1 where they started, 3 moved (values of seed 0)"
    assert not initdsl.verify(net, rules, 0)


def test_without_a_seed_what_is_not_as_drawn_has_moved() -> None:
    net = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    rules = "Linear.weight ~ normal(0, 0.02); Linear.bias = 0"
    initdsl.apply(net, rules)
    with torch.no_grad():
        net[0].weight.mul_(1.2)
    found = initdsl.verify(net, rules, after_training=True)
    assert [check.moved for check in found] == [{"moved": 1}, None, None, None]
    assert "moved: the std is" in str(found)
    assert "3 where they started, 1 moved (" in found.summary()


def test_what_no_rule_sets_is_not_said_to_be_where_it_started() -> None:
    net = nn.BatchNorm1d(4)
    initdsl.apply(net, "net.weight = 1")
    found = initdsl.verify(net, "net.weight = 1; keep net.bias", after_training=True)
    assert found.summary().startswith("1 where they started, 0 moved, 1 not compared (")
    assert "net.bias    4      nothing   not compared" in str(found)


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        (torch.tensor(3), torch.tensor(12345678), "3 to 12345678"),
        (torch.tensor([0.5]), torch.tensor([-2.25]), "0.5 to -2.25"),
        (torch.tensor(1.0), torch.tensor(math.nan), "100.0% of elements"),
    ],
)
def test_one_number_that_moved_is_said_outright(start: torch.Tensor, end: torch.Tensor, said: str) -> None:
    net = nn.Module()
    net.register_buffer("count", end)
    found = initdsl.verify(net, f"net.count = {start.item()}", after_training=True)
    assert f"moved: {said}" in str(found)


def test_a_computed_weight_under_a_seed() -> None:
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 5)), nn.Linear(5, 5))
    rules = "Linear.weight ~ normal(0, 0.02); Linear.bias = 0"
    initdsl.apply(net, rules, seed=1)
    found = initdsl.verify(net, rules, 1)
    assert found, str(found)
    assert found["0.weight"].how == "values"
    with torch.no_grad():
        net[0].parametrizations.weight.original0[0] *= 2
    assert [c.name for c in initdsl.verify(net, rules, 1).drifted] == ["0.weight"]


# ---- the statistics against scipy


@pytest.mark.parametrize(
    ("what", "reference"),
    [
        (Uniform(-1, 3), stats.uniform(-1, 4)),
        (Normal(0.5, 2), stats.norm(0.5, 2)),
        (TruncatedNormal(0, 1, -2, 2), stats.truncnorm(-2, 2)),
        (TruncatedNormal(1, 2, 5, 9), stats.truncnorm(2, 4, loc=1, scale=2)),
    ],
)  # fmt: skip
def test_distances_and_p_values_are_scipys(what: object, reference: object) -> None:
    values = torch.tensor(reference.rvs(4000, random_state=1))
    sample = Sample(what, torch.float64)
    for part in values.split(999):
        sample.add(part)
    expected = stats.kstest(values.numpy(), reference.cdf)
    assert sample.distance == pytest.approx(expected.statistic, abs=2 / 16384)
    assert kolmogorov(expected.statistic, 4000) == pytest.approx(expected.pvalue, abs=0.01)
    assert sample.moments.mean == pytest.approx(float(values.mean()))
    assert sample.moments.std == pytest.approx(float(values.std(correction=0)))
    moved = Sample(what, torch.float64)
    moved.add(values * 1.1)
    assert min(moved.tests().values()) < 1e-3 or moved.outside()


def test_two_samples_are_scipys() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(700, generator=generator, dtype=torch.float64)
    b = torch.randn(900, generator=generator, dtype=torch.float64) * 1.1
    assert two_samples(a, b)["distribution"] == pytest.approx(stats.ks_2samp(a, b, method="asymp").pvalue, abs=0.02)


def test_a_bernoulli_sample() -> None:
    sample = Sample(Bernoulli(0.25), torch.float32)
    sample.add((torch.rand(999, generator=torch.Generator().manual_seed(0)) < 0.25).float())
    assert sample.tests()["share"] == pytest.approx(stats.binomtest(sample.ups, 999, 0.25).pvalue, abs=0.05)
    assert sample.outside() is None
    sample.add(torch.tensor([0.5]))
    assert "neither 0 nor 1" in str(sample.outside())


def test_holm_on_its_papers_terms() -> None:
    assert holm([0.01, 0.02, 0.03, 0.04], 0.05) == [True, False, False, False]
    assert holm([0.01, 0.013, 0.03, 0.04], 0.06) == [True, True, True, True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_false_alarms_are_rare(dtype: torch.dtype) -> None:
    """What torch's own generators draw passes, also in short dtypes; 200 files at 1 in 1000."""
    rules = "net.*.weight ~ normal(0, 0.02); net[1].weight ~ uniform(-1, 1); net[2].weight ~ trunc_normal(0, 1, -2, 2)"
    torch.manual_seed(1)
    alarms = 0
    for _ in range(60):
        net = nn.Sequential(*[nn.Linear(40, 50, bias=False, dtype=dtype) for _ in range(3)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            initdsl.apply(net, rules)
        alarms += not initdsl.verify(net, rules)
    assert alarms <= 1


# ---- the command


def test_the_commands_exit_codes(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from torch import nn\ndef Net(): return nn.Sequential(nn.Linear(8, 9))\n")
    (tmp_path / "net.init").write_text("Linear.weight ~ normal(0, 0.02)\nLinear.bias = 0\n")
    made = command("apply", "net.init", "--model", "net.py:Net", "--seed", 3, "-o", "a.safetensors", cwd=tmp_path)
    assert made.returncode == 0
    fine = command("verify", "net.init", "a.safetensors", "--model", "net.py:Net", cwd=tmp_path)
    assert (fine.returncode, fine.stderr) == (0, "")
    assert "2 match (values of seed 3)" in fine.stdout
    drift = command(
        "verify", "net.init", "a.safetensors", "--model", "net.py:Net", "--seed", 4, "--format", "json", cwd=tmp_path
    )
    assert drift.returncode == 1
    found = json.loads(drift.stdout)
    assert [c["status"] for c in found["checks"]] == ["drift", "match"]
    trained = command(
        "verify", "net.init", "a.safetensors", "--model", "net.py:Net", "--seed", 4, "--after-training", cwd=tmp_path
    )
    assert (trained.returncode, "1 where they started, 1 moved" in trained.stdout) == (0, True)
    short = command(
        "verify",
        "net.init",
        "a.safetensors",
        "--model",
        "net.py:Net",
        "--seed",
        4,
        "--after-training",
        "-q",
        cwd=tmp_path,
    )
    assert [line.split(":")[0] for line in short.stdout.splitlines()] == [
        "moved net[0].weight [9, 8]",
        "1 where they started, 1 moved (values of seed 4)",
    ]
    for arguments in (("net.init", "a.safetensors"), ("net.init", "none.safetensors", "--model", "net.py:Net")):
        wrong = command("verify", *arguments, cwd=tmp_path)
        assert wrong.returncode == 2
        assert wrong.stderr.startswith("error[")
        assert "Traceback" not in wrong.stderr


def test_a_checkpoint_with_a_part_missing(tmp_path: Path) -> None:
    import torch.distributed.checkpoint as dcp

    (tmp_path / "net.py").write_text("from torch import nn\ndef Net(): return nn.Linear(8, 9)\n")
    (tmp_path / "net.init").write_text("net.* = 0\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(nn.Linear(8, 9).state_dict(), checkpoint_id=tmp_path / "dcp")
    (tmp_path / "dcp" / "__0_0.distcp").unlink()
    done = command("verify", "net.init", "dcp", "--model", "net.py:Net", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "error[usage]: can't read `dcp/__0_0.distcp`: no such file or directory\n",
    )


def test_state_dicts_with_extra_state_and_other_things() -> None:
    net = nn.Linear(3, 2)
    state = OrderedDict(net.state_dict())
    with pytest.raises(TypeError, match="maps names to tensors"):
        initdsl.verify({**state, "step": 3}, "net.* = 0")
    with pytest.raises(TypeError, match="a model, a state dict or a path"):
        initdsl.verify(3, "net.* = 0")


@pytest.mark.parametrize(
    ("rule", "shape", "spoil", "said"),
    [
        ("orthogonal()", (8, 20), lambda w: w.mul_(1.5), "it is not orthogonal"),
        ("orthogonal()", (20, 8), lambda w: w[0].zero_(), "it is not orthogonal"),
        ("sparse(0.25)", (40, 30), lambda w: w[:, 3].fill_(0.01), "a column has 0 zeros, not 10"),
        ("sparse(0.25)", (40, 30), lambda w: w[:, 3].zero_(), "a column has 40 zeros, not 10"),
        ("sparse(0.25)", (40, 30), lambda w: w.mul_(3), "what is not zero is not normal"),
    ],
)
def test_properties_that_are_lost(rule: str, shape: tuple[int, int], spoil: Any, said: str) -> None:
    net = nn.Linear(shape[1], shape[0], bias=False)
    initdsl.apply(net, f"*.weight ~ {rule}", seed=1)
    assert initdsl.verify(net, f"*.weight ~ {rule}")
    with torch.no_grad():
        spoil(net.weight)
    found = initdsl.verify(net, f"*.weight ~ {rule}")
    assert not found
    assert said in str(found["weight"].message)


@pytest.mark.parametrize("names", [("a", "a.b"), ("a.b", "a")])
def test_names_that_lie_inside_each_other(names: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=r"`a(\.b)?` in .* (lies inside another tensor|is a tensor and holds others)"):
        initdsl.verify(dict.fromkeys(names, torch.zeros(2)), "net.* = 0")


def test_expectations_beside_tensors_that_are_made_whole() -> None:
    """What is made again to compare with is not held to expectations: of other tensors nothing is there."""
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    rules = "Linear.weight ~ normal(0, 1); Linear.bias = 0; net[0].weight ~ orthogonal(); expect net[1].weight finite"
    initdsl.apply(net, rules, seed=3)
    assert initdsl.verify(net, rules, seed=3)


@pytest.mark.parametrize("expectation", ["expect tied net[0].weight net[1].weight", "expect net[2] covered"])
def test_an_expectation_that_the_plan_can_tell_is_reported_too(expectation: str) -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(2, 2))
    rules = "net[0].*, net[1].* = 0"
    initdsl.apply(net, rules)
    verification = initdsl.verify(net, f"{rules}\n{expectation}")
    assert not verification
    assert verification.drifted == []
    assert len(verification.unmet) == 1
    with pytest.raises(AssertionError, match="the model is not what its rules say"):
        initdsl.testing.assert_initialized(net, f"{rules}\n{expectation}", strict=False)
    with pytest.raises(initdsl.ResolveError):
        initdsl.plan(net, f"{rules}\n{expectation}")
