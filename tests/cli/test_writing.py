"""Every command that writes a file: whole or as it was, on full disks, read-only files and folders that are not there."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from initdsl.cli import fmt
from initdsl.text.files import write_whole
from tests.support.command import run
from tests.support.processes import LONGEST

RULES = "Linear.weight ~ normal(0, 0.02)\nLinear.bias = 0\n"
UGLY = "Linear.weight~normal(0,  0.02)\nLinear.bias~zeros_()\n"
# what is called, and the file that it writes
COMMANDS = {
    "apply -o": ("apply rules.init --model net.py:make -q -o out.safetensors", "out.safetensors"),
    "apply --report": ("apply rules.init --model net.py:make -q --report out.html", "out.html"),
    "convert": ("convert settings.json -o out.init", "out.init"),
    "fmt": ("fmt ugly.init", "ugly.init"),
    "infer": ("infer --model net.py:make -o out.init", "out.init"),
    "lint --fix": ("lint --fix ugly.init", "ugly.init"),
    "lint --write-baseline": ("lint --write-baseline out.json ugly.init", "out.json"),
    "manifest": ("manifest --model net.py:make -o out.json", "out.json"),
    "plan .html": ("plan rules.init --model net.py:make -o out.html", "out.html"),
    "plan .json": ("plan rules.init --model net.py:make -o out.json", "out.json"),
    "plan .txt": ("plan rules.init --model net.py:make -o out.txt", "out.txt"),
}
IN_PLACE = ("fmt", "lint --fix")
BASELINE = '{"version": 1, "findings": []}'

each = pytest.mark.parametrize("name", COMMANDS)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    fmt._project.cache_clear()
    (tmp_path / "rules.init").write_text(RULES)
    (tmp_path / "ugly.init").write_text(UGLY)
    (tmp_path / "settings.json").write_text('[[".*bias", {"type": "zero"}], ["w", {"type": "normal", "std": 0.02}]]')
    (tmp_path / "net.py").write_text("from torch import nn\nmake = lambda: nn.Sequential(nn.Linear(8, 8))\n")
    yield tmp_path
    sys.modules.pop("net", None)


def refused(name: str, why: str, words: str | None = None) -> None:
    """A command ends with exit code 2 (`lint` goes on to its findings: 2 too), says why, and leaves all files as they were."""
    here = Path.cwd()
    before = {path.name: path.read_bytes() for path in here.iterdir() if path.is_file()}
    result = run(words or COMMANDS[name][0])
    said = result.output + result.stderr
    assert result.exit_code == 2, said
    assert "error[" in said
    assert f"can't write `{COMMANDS[name][1]}`: {why}" in said
    assert {path.name: path.read_bytes() for path in here.iterdir() if path.is_file()} == before


@contextmanager
def files_of_at_most(count: int) -> Iterator[None]:
    """The system lets no file of this process grow beyond so many bytes, as on a disk that is full."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@each
def test_it_writes(name: str, folder: Path) -> None:
    words, target = COMMANDS[name]
    before = {path.name for path in folder.iterdir() if path.is_file()}
    assert run(words).exit_code in (0, 1)
    assert (folder / target).stat().st_size > 20
    assert {path.name for path in folder.iterdir() if path.is_file()} == before | {target}


@pytest.mark.skipif(sys.platform == "win32", reason="a limit of POSIX")
@each
def test_a_file_that_can_not_grow(name: str) -> None:
    with files_of_at_most(10):
        refused(name, "file too large")


@each
def test_a_file_that_is_read_only(name: str, folder: Path) -> None:
    target = folder / COMMANDS[name][1]
    if name not in IN_PLACE:
        target.write_text(BASELINE)
    target.chmod(0o444)
    refused(name, "it is read-only")
    assert stat.S_IMODE(target.stat().st_mode) == 0o444


@pytest.mark.parametrize("name", [n for n in COMMANDS if n not in IN_PLACE and n != "apply -o"])
def test_a_place_that_is_a_folder(name: str, folder: Path) -> None:
    (folder / COMMANDS[name][1]).mkdir()
    result = run(COMMANDS[name][0])
    assert result.exit_code == 2
    assert f"`{COMMANDS[name][1]}`: it is a folder" in result.stderr or "is a directory" in result.stderr
    assert not list((folder / COMMANDS[name][1]).iterdir())


@pytest.mark.parametrize("name", [n for n in COMMANDS if n not in IN_PLACE])
def test_a_folder_that_is_not_there(name: str, folder: Path) -> None:
    words, target = COMMANDS[name]
    result = run(words.replace(target, f"None/{target}"))
    assert result.exit_code == 2
    assert f"can't write `None/{target}`: there is no folder `{os.path.realpath('None')}`" in result.stderr
    assert not (folder / "None").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links and modes of POSIX")
@each
def test_links_are_followed_and_permissions_kept(name: str, folder: Path) -> None:
    words, target = COMMANDS[name]
    real = folder / "elsewhere" / "real"
    real.parent.mkdir()
    real.write_bytes((folder / target).read_bytes() if name in IN_PLACE else BASELINE.encode())
    real.chmod(0o640)
    (folder / target).unlink(missing_ok=True)
    (folder / target).symlink_to(real)
    before = real.read_bytes()
    assert run(words).exit_code in (0, 1)
    assert (folder / target).is_symlink()
    assert real.read_bytes() != before
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
@pytest.mark.parametrize("name", ["convert", "manifest", "plan .txt"])
def test_a_pipe_is_written_to(name: str, folder: Path) -> None:
    words, target = COMMANDS[name]
    os.mkfifo(folder / target)
    came: list[bytes] = []
    reader = threading.Thread(target=lambda: came.append((folder / target).read_bytes()))
    reader.start()
    assert run(words).exit_code == 0
    reader.join()
    assert len(came[0]) > 20
    assert (folder / target).is_fifo()


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_tensors_are_not_written_to_a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "out.safetensors")
    refused("apply -o", "it is not a file")


def test_what_another_wrote_meanwhile_is_kept(folder: Path) -> None:
    file = folder / "a.init"
    for now in (b"new", b"old and more", b""):
        file.write_bytes(now)
        with pytest.raises(OSError, match=r"`a\.init`: the file changed meanwhile"):
            write_whole("a.init", b"formatted", was=b"old")
        assert file.read_bytes() == now
    file.write_bytes(b"old")
    write_whole("a.init", b"formatted", was=b"old")
    assert file.read_bytes() == b"formatted"


# ---- interrupted

SLOW = """
import os, sys, time
from torch import nn
def make():
    sys.addaudithook(halt)
    return nn.Sequential(*[nn.Linear(500, 500) for _ in range(6)])
def sleeps():
    print("asleep", flush=True)
    time.sleep(3600)
seen = []
def halt(event, words):  # where a file is written and has not its own name yet; of several the second
    if event == "os.rename" and str(words[0]).endswith(".part"):
        seen.append(words[0])
        if len(seen) == 2 or "out.safetensors" in sys.argv:
            print("asleep", flush=True)
            while not os.path.exists("go"):
                time.sleep(0.01)
"""


def interrupted(words: str) -> subprocess.CompletedProcess[str]:
    """What becomes of a command that gets a Ctrl-C once it is asleep."""
    command = [sys.executable, "-m", "initdsl", *words.split()]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # what is started in the background ignores Ctrl-C, and what that starts would too
    with subprocess.Popen(command, **pipes, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "asleep\n", process.communicate()
            process.send_signal(signal.SIGINT)
            os.mkdir("go")
            said = process.communicate(timeout=LONGEST)
        finally:
            process.kill()
        return subprocess.CompletedProcess(command, process.returncode, *said)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are another thing there")
@pytest.mark.parametrize(("words", "shards"), [("-o out.safetensors", 0), ("--seed 1 --max-shard-size 2MB -o out/", 1)])
def test_an_interrupt_leaves_no_half_file(words: str, shards: int, folder: Path) -> None:
    (folder / "net.py").write_text(SLOW)
    (folder / "out").mkdir()
    done = interrupted(f"apply rules.init --model net.py:make {words}")
    assert done.returncode == 130, done.stderr
    assert done.stderr.strip() == "interrupted"
    assert not done.stdout
    assert not list(folder.rglob(".initdsl-*.part"))
    assert not (folder / "out.safetensors").exists()
    assert len(list((folder / "out").iterdir())) >= shards
    for whole in (folder / "out").iterdir():
        assert len(load_file(whole)) > 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals are another thing there")
@pytest.mark.parametrize("place", ["import", "call"])
def test_an_interrupt_in_the_code_of_a_network(place: str, folder: Path) -> None:
    (folder / "net.py").write_text(SLOW + ("sleeps()\n" if place == "import" else ""))
    done = interrupted("plan rules.init --model net.py:sleeps")
    assert done.returncode == 130, done.stderr
    assert done.stderr.strip() == "interrupted"
