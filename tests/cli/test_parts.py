"""Runs that are killed: what they leave of half-written files is removed by the next one, and never what somebody still writes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from initdsl.text import parts
from initdsl.text.files import write_whole
from initdsl.text.parts import A_DAY, new_part, sweep
from tests.support import processes

fcntl = pytest.importorskip("fcntl")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="locks and signals of POSIX")

# halts where a part is whole and has not its own name yet, and says so
HALTS = """
import os, sys, time
from torch import nn
def halt(event, words):
    if event == "os.rename" and str(words[0]).endswith(".part"):
        os.makedirs("halted", exist_ok=True)
        while not os.path.exists("go"):
            time.sleep(0.01)
sys.addaudithook(halt)
"""
TO_A_FILE = "apply rules.init --model net.py:make -q -o out.safetensors"
TO_A_FOLDER = "apply rules.init --model net.py:make -q --seed 1 --max-shard-size 10MB -o out/"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(
        HALTS + "def make(): return nn.Sequential(*[nn.Linear(1000, 1000) for _ in range(6)])\n"
    )
    (tmp_path / "rules.init").write_text("Linear.weight ~ normal(0, 0.02)\nLinear.bias = 0\n")
    (tmp_path / "settings.json").write_text('[[".*bias", {"type": "zero"}]]')
    (tmp_path / "out").mkdir()
    return tmp_path


def left(folder: Path) -> list[Path]:
    return list(folder.rglob(".initdsl-*.part"))


@contextmanager
def stopped(folder: Path, words: str) -> Iterator[processes.Program]:
    """A command that was stopped in the middle of writing a file."""
    program = processes.start("-m", "initdsl", *words.split(), cwd=folder)
    try:
        while not (folder / "halted").exists():
            assert program.process.poll() is None, program.stderr
            time.sleep(0.01)
        program.process.send_signal(signal.SIGSTOP)
        assert left(folder)
        yield program
    finally:
        program.process.kill()


def later_run(place: str) -> None:
    done = processes.python("-m", "initdsl", "convert", "settings.json", "-o", f"{place}/other.init")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("words", "place"), [(TO_A_FILE, "."), (TO_A_FOLDER, "out")])
def test_what_a_killed_run_leaves_goes_with_the_next_and_no_live_one_is_touched(
    words: str, place: str, folder: Path
) -> None:
    with stopped(folder, words) as program:
        later_run(place)
        assert left(folder)  # it lives, though it does nothing
        program.process.kill()
        program.process.wait()
        assert left(folder)
        later_run(place)
        assert not left(folder)


@pytest.mark.parametrize("words", [TO_A_FILE, TO_A_FOLDER])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_asked_to_end_leaves_nothing(number: signal.Signals, words: str, folder: Path) -> None:
    with stopped(folder, words) as program:
        program.process.send_signal(number)
        (folder / "go").mkdir()
        program.process.send_signal(signal.SIGCONT)
        done = program.done(processes.LONGEST)
    assert done.returncode == 128 + number
    assert (done.stdout, done.stderr) == ("", "")
    assert not left(folder)


def test_what_is_swept(tmp_path: Path) -> None:
    near, far = parts._machine(), "0" * 8
    gone = [
        f".initdsl-{near}-abcd1234.part",
        ".initdsl-abcd1234.part",
        ".initdsl-model-00001-of-00002.safetensors.part",
    ]
    kept = [f".initdsl-{far}-abcd1234.part", "initdsl-x.part", ".initdsl-x", ".other.part"]
    for name in (*gone, *kept):
        (tmp_path / name).write_text("x")
    (tmp_path / ".initdsl-folder.part").mkdir()
    (tmp_path / "else").write_text("x")
    (tmp_path / ".initdsl-link.part").symlink_to("else")
    os.mkfifo(tmp_path / ".initdsl-pipe.part")
    descriptor, held = new_part(str(tmp_path))
    sweep(str(tmp_path))
    there = {path.name for path in tmp_path.iterdir()}
    assert there == {*kept, ".initdsl-folder.part", ".initdsl-link.part", ".initdsl-pipe.part", "else", Path(held).name}
    os.close(descriptor)
    old = time.time() - 2 * A_DAY
    os.utime(tmp_path / kept[0], (old, old))
    sweep(str(tmp_path))
    assert not (tmp_path / kept[0]).exists()
    assert not Path(held).exists()


def test_whoever_looks_at_a_new_file_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep that got its lock first, and is slow: it removes the file, and another is made."""
    opened, sweeping = os.open, []

    def looked_at(path: str, *how: int) -> int:
        descriptor = opened(path, *how)
        if not sweeping and str(path).endswith(".part"):
            other = opened(path, os.O_RDWR)
            fcntl.flock(other, fcntl.LOCK_EX)
            sweeping.append(threading.Timer(0.3, lambda: (os.unlink(path), os.close(other))))
            sweeping[0].start()
        return descriptor

    monkeypatch.setattr(os, "open", looked_at)
    descriptor, path = new_part(str(tmp_path), ".initdsl-a.part")
    sweeping[0].join()
    os.close(descriptor)
    assert Path(path).exists()


def test_files_are_whole_while_others_sweep(tmp_path: Path) -> None:
    code = f"from initdsl.text.parts import sweep\nprint(flush=True)\nwhile True: sweep({str(tmp_path)!r})"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as sweeping:
        try:
            assert sweeping.stdout is not None
            sweeping.stdout.readline()
            for count in range(500):
                write_whole(tmp_path / "file", str(count).encode())
                assert (tmp_path / "file").read_text() == str(count)
            assert sweeping.poll() is None
        finally:
            sweeping.kill()
    sweep(str(tmp_path))
    assert not left(tmp_path)
