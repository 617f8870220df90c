"""`stream` to a directory of torch.distributed.checkpoint: what `dcp.load` reads has the bits of `materialize`."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed import checkpoint as dcp

import initdsl
from initdsl.checkpoints import writing_dcp
from tests.support.processes import command
from tests.support.streamed import MLP, contents, mlp, on_one_thread

RULES = """
*.* ~ normal(0, 0.02)
Linear.bias = index(0) * 0.5
net.square.weight ~ orthogonal()
net.fused.weight as (3, 8, -1)[*] ~ xavier_uniform()
net.first.weight[1:3] += 1
"""


class Net(nn.Module):
    """Tensors of every kind that a checkpoint may have: large, shared, empty, without dimensions, of half precision."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(1500, 1100)
        self.half = nn.Linear(7, 5, dtype=torch.bfloat16)
        self.head = nn.Linear(1500, 1100, bias=False)
        self.head.weight = self.first.weight
        self.norm = nn.BatchNorm1d(4)
        self.square = nn.Linear(64, 64)
        self.fused = nn.Linear(8, 24)
        self.empty = nn.Parameter(torch.zeros(0, 3))
        self.scale = nn.Parameter(torch.zeros(()))


def stream(folder: Path, **options: Any) -> Any:
    return initdsl.stream(Net, RULES, folder, **{"seed": 3, "format": "dcp", "max_shard_size": "3MB", **options})


def loaded(folder: Path, net: nn.Module) -> dict[str, torch.Tensor]:
    state = net.state_dict()
    for tensor in state.values():
        tensor.zero_()
    dcp.load(state, checkpoint_id=folder)
    return state


def test_dcp_reads_the_bits_of_materialize(tmp_path: Path) -> None:
    report = stream(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".metadata", "__0_0.distcp", "__0_1.distcp", "__0_2.distcp", "initdsl.json",
    ]  # fmt: skip
    expected = initdsl.materialize(Net, RULES, seed=3).state_dict()
    state = loaded(tmp_path, Net())
    assert state.keys() == expected.keys()
    for name, values in expected.items():
        assert torch.equal(state[name], values), name
    # a tensor is cut into chunks of bounded size, but for none of what is small
    chunks = dcp.FileSystemReader(tmp_path).read_metadata().state_dict_metadata
    assert len(chunks["first.weight"].chunks) == 2
    assert all(len(chunks[name].chunks) == 1 for name in expected if "weight" not in name)
    assert report.notes == [
        "2 tensors can't be filled in parts and are held in memory, one rule or module at a time: "
        "`net.square.weight`, `net.fused.weight`; the largest is `net.square.weight` [64, 64]"
    ]


def test_it_is_one_file_for_torch_too(tmp_path: Path) -> None:
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    stream(tmp_path / "out")
    dcp_to_torch_save(tmp_path / "out", tmp_path / "one.pt")
    assert torch.load(tmp_path / "one.pt").keys() == Net().state_dict().keys()


def test_verify_reads_it(tmp_path: Path) -> None:
    stream(tmp_path)
    verified = initdsl.verify(tmp_path, RULES, model=Net())
    assert verified
    assert verified.seed == 3
    assert "differ" in str(initdsl.verify(tmp_path, RULES, seed=4, model=Net()))


@pytest.mark.parametrize("told", ["", "[]", '{"metadata": 1}', "{"])
def test_verify_says_what_is_damaged(told: str, tmp_path: Path) -> None:
    stream(tmp_path)
    (tmp_path / "initdsl.json").write_text(told)
    with pytest.raises(
        ValueError, match=r"initdsl.json` does not say what the checkpoint was made from: it is damaged"
    ):
        initdsl.verify(tmp_path, RULES, model=Net())
    with pytest.raises(initdsl.ApplyError, match="it does not say what it was made from"):
        stream(tmp_path)


# ---- stopped, gone on with, not mixed

KILLED = """
import os, signal, sys
import initdsl
from tests.support.streamed import MLP, mlp
def stop(done, total):
    if done > 50_000:
        os.kill(os.getpid(), signal.SIGKILL)
initdsl.stream(mlp, MLP, sys.argv[1], seed=0, format="dcp", max_shard_size="40KB", on_progress=stop)
"""


def test_a_killed_run_is_gone_on_with(tmp_path: Path) -> None:
    options: Any = {"seed": 0, "format": "dcp", "max_shard_size": "40KB"}
    initdsl.stream(mlp, MLP, tmp_path / "whole", **options)
    done = on_one_thread("-c", KILLED, str(tmp_path / "out"))
    assert done.returncode == -signal.SIGKILL, done.stderr
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [".initdsl-__0_1.distcp.part", "__0_0.distcp", "initdsl.json"]
    with pytest.raises(ValueError, match="no DCP metadata"):  # it is no checkpoint yet
        initdsl.verify(tmp_path / "out", MLP, model=mlp())
    first = (tmp_path / "out" / "__0_0.distcp").stat()
    initdsl.stream(mlp, MLP, tmp_path / "out", **options)
    assert (tmp_path / "out" / "__0_0.distcp").stat().st_ino == first.st_ino
    assert contents(tmp_path / "out").keys() == contents(tmp_path / "whole").keys()
    ours, theirs = (loaded(tmp_path / name, mlp()) for name in ("out", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    seen: list[int] = []
    initdsl.stream(mlp, MLP, tmp_path / "out", **options, on_progress=lambda done, total: seen.append(done))
    assert not seen  # all there


@pytest.mark.parametrize(("options", "said"), [
    ({"seed": 4}, "initdsl.json` is there already, and is not what this run would write: it has seed 3, not 4"),
    ({"max_shard_size": "1MB"}, "it holds other tensors"),
])  # fmt: skip
def test_what_differs_is_not_mixed(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    stream(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(initdsl.ApplyError, match=said):
        stream(tmp_path, **options)
    with pytest.raises(initdsl.ApplyError, match="it was made with other rules"):
        initdsl.stream(Net, RULES + "\nnet.scale = 1", tmp_path, seed=3, format="dcp", max_shard_size="3MB")
    assert contents(tmp_path) == before


def test_a_checkpoint_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    dcp.save(Net().state_dict(), checkpoint_id=tmp_path)
    before = contents(tmp_path)
    with pytest.raises(initdsl.ApplyError, match=r"\.metadata` is there already.*: initdsl did not write it"):
        stream(tmp_path)
    assert contents(tmp_path) == before


def test_a_file_of_another_size_is_not_gone_on_with(tmp_path: Path) -> None:
    stream(tmp_path)
    with open(tmp_path / "__0_1.distcp", "ab") as file:
        file.write(b"more")
    with pytest.raises(initdsl.ApplyError, match=r"__0_1\.distcp` is there already.*: its size is wrong"):
        stream(tmp_path)


def test_what_is_not_as_expected_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(initdsl.ApplyError, match="expect"):
        initdsl.stream(mlp, MLP + "\nexpect Linear.weight std in [0, 0.001]", tmp_path, seed=0, format="dcp")
    assert not (tmp_path / ".metadata").exists()


def test_bad_formats(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`format` is 'safetensors' or 'dcp', not 'pt'"):
        initdsl.stream(mlp, MLP, tmp_path / "out", seed=0, format="pt")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_every_chunk_is_as_long_as_it_was_laid_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(writing_dcp, "CHUNK", 1000)
    stream(tmp_path)
    metadata = dcp.FileSystemReader(tmp_path).read_metadata()
    assert len(metadata.state_dict_metadata["first.weight"].chunks) == 1100 * 2  # of rows of 1500, cut in two
    assert initdsl.verify(tmp_path, RULES, model=Net())


def test_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "r.init").write_text(MLP)
    (tmp_path / "m.py").write_text("from torch import nn\ndef net(): return nn.Sequential(nn.Linear(4, 3))\n")
    words = ["apply", "r.init", "--model", "m.py:net", "--seed", "1"]
    done = command(*words, "-o", "out/", "--format", "dcp", "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["seed"] == 1
    assert (tmp_path / "out" / ".metadata").exists()
    done = command("verify", "r.init", "out", "--model", "m.py:net", "-q", cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "2 match (values of seed 1)")
    for others, said in (
        (["-o", "one.safetensors", "--format", "dcp"], "`--format dcp` is for a folder"),
        (["--format", "dcp"], "`--format dcp` is for a folder"),
        (["-o", "out/", "--format", "dcp", "--format", "safetensors"], "are given"),
    ):
        done = command(*words, *others, cwd=tmp_path)
        assert done.returncode == 2
        assert said in done.stderr


@pytest.mark.needs("torch>=2.7")  # 2.6 keeps some 150 MB of what it saves, of however much
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the system does not tell")
def test_memory_does_not_grow_with_the_network(tmp_path: Path) -> None:
    code = (
        "import resource, sys, initdsl; from torch import nn\n"
        "def grown(width):\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "    net = lambda: nn.Sequential(nn.Linear(4096, width, bias=False))\n"
        "    initdsl.stream(net, 'Linear.weight ~ normal(0, 1)', f'{sys.argv[1]}/{width}', seed=0, format='dcp')\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before\n"
        "grown(1024)\n"
        "print(grown(16384))\n"  # 256 MiB of values, after 16
    )
    done = on_one_thread("-c", code, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64 << 10
