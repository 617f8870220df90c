"""`stream` that is killed, gone on with, or goes wrong: whole files or none, and nothing mixed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import initdsl
from initdsl.checkpoints.writing import alone, save
from initdsl.filling.to_disk import write
from tests.support.streamed import MLP, contents, mlp, on_one_thread, tensors

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


def test_a_killed_run_is_gone_on_with(tmp_path: Path) -> None:
    initdsl.stream(mlp, MLP, tmp_path / "whole", seed=0, max_shard_size="40KB")
    done = on_one_thread("-c", KILLED, str(tmp_path / "out"), "50000", MLP)
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
    done = on_one_thread("-c", KILLED, str(tmp_path), "3000", MLP)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [".initdsl-model-00001-of-00003.safetensors.part"]
    initdsl.stream(mlp, MLP, tmp_path, seed=1)  # nothing of the other seed was whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "model.safetensors.index.json"]


@pytest.mark.parametrize(("change", "said"), [
    ({"seed": 1}, "it has seed 0, not 1"),
    ({"rules": MLP + "\n"}, "it was made with other rules"),
    ({"vars": {"s": 2}, "rules": "let s = 1; " + MLP}, "other rules"),
    ({"network": lambda: mlp(64, 7)}, "initdsl.network"),
    ({"max_shard_size": "80KB"}, "none of this model's files|other tensors"),
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
    ({"network": lambda: nn.ParameterList([torch.zeros(2, dtype=torch.complex128)]), "rules": "net[0] = 0"}, ValueError, "safetensors has no complex128"),
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
    done = on_one_thread("-c", LIMITED, str(tmp_path), MLP)
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
    done = on_one_thread("-c", MEMORY, str(tmp_path), rules)
    assert done.returncode == 0, done.stderr
    assert sum(path.stat().st_size for path in (tmp_path / "large").iterdir()) > 268e6
    assert int(done.stdout) < 128 * 1024  # KiB


class Scaled(nn.Module):
    def __init__(self, scale: float, start: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.ones(2, 2))
        self.register_buffer("table", torch.full((2,), start))

    def reset_parameters(self) -> None:
        nn.init.constant_(self.weight, self.scale)


def _half(tensor: torch.Tensor) -> None:
    tensor.fill_(0.5)


def _third(tensor: torch.Tensor) -> None:
    tensor.fill_(1 / 3)


def filling_with(value: Any) -> Callable[[torch.Tensor], None]:
    def mine(tensor: torch.Tensor) -> None:
        tensor.fill_(value)

    return mine


def test_a_run_is_gone_on_with_by_what_its_rules_come_to(tmp_path: Path) -> None:
    """Not by the text of a file: rules made in Python or edited as JSON, attributes they read, code they call, values that are there."""
    one, two = (initdsl.RuleSet(rules=initdsl.parse(f"net.weight = {n}").rules) for n in (1, 2))
    edited = json.loads(initdsl.parse("net.weight = 1").model_dump_json())
    edited["rules"][0]["value"]["value"] = 2
    data = initdsl.RuleSet.model_validate(edited)
    mine = "net.weight = mine()"
    cases: list[tuple[tuple[Any, Any, Any], tuple[Any, Any, Any], str]] = [
        ((1.0, one, None), (1.0, two, None), "other rules"),
        ((1.0, "net.weight = 1", None), (1.0, data, None), "other rules"),
        ((1.0, "net.weight = scale", None), (2.0, "net.weight = scale", None), r"initdsl\.plan"),
        ((1.0, "default net", None), (2.0, "default net", None), r"initdsl\.plan"),
        ((1.0, mine, _half), (1.0, mine, _third), r"initdsl\.code"),
        ((1.0, mine, filling_with(1)), (1.0, mine, filling_with(2)), r"initdsl\.code"),
        ((1.0, mine, filling_with(1)), (1.0, mine, filling_with(torch.tensor(2))), r"initdsl\.code"),
    ]
    for number, (first, second, said) in enumerate(cases):
        folder = tmp_path / str(number)

        def run(case: tuple[Any, Any, Any], folder: Path = folder) -> None:
            given = {"mine": case[2]} if case[2] else None
            initdsl.stream(lambda: Scaled(case[0]), case[1], folder, seed=0, initializers=given)

        run(first)
        before = contents(folder)
        run(first)
        with pytest.raises(initdsl.ApplyError, match=said):
            run(second)
        assert contents(folder) == before
    initdsl.stream(lambda: Scaled(1, 1), "net.weight = 1", tmp_path / "held", seed=0)
    with pytest.raises(initdsl.ApplyError, match=r"initdsl\.held"):
        initdsl.stream(lambda: Scaled(1, 2), "net.weight = 1", tmp_path / "held", seed=0)
