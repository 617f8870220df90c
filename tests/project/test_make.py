"""`make demo` and `make test` in whatever environment is there, from a checkout without `.venv`.

pip, uv and torch are stubs: pip and uv write down what they are asked for, and put a stub of torch where a torch is asked for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.code import ROOT
from tests.support.processes import LONGEST

pytestmark = pytest.mark.skipif(shutil.which("make") is None or sys.platform == "win32", reason="there is no make")

PYTHON = getattr(sys, "_base_executable", sys.executable)
INSTALLER = """
import os, pathlib, re, sys, sysconfig
asked = sys.argv[1:]
with open(os.environ["ASKED"], "a") as file:
    constraints = [pathlib.Path(asked[i + 1]).read_text().strip() for i, word in enumerate(asked) if word == "-c"]
    print(*asked, *constraints, file=file)
for word in asked:
    if found := re.fullmatch("torch==(.*)", word):
        place = pathlib.Path(sysconfig.get_path("purelib"), "torch")
        place.mkdir()
        (place / "__init__.py").write_text(f"__version__ = {found[1]!r}")
"""
DEMO = "import sys, torch; print('demo', torch.__version__, sys.prefix)"


class Checkout:
    """A fresh checkout, and what is said and asked for there: a Python on the PATH, no environment active."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        for name in ("Makefile", "pyproject.toml", ".ci/environment"):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.folder / name)
        (self.folder / "examples").mkdir()
        (self.folder / "examples" / "demo.py").write_text(DEMO)
        self.bin, self.stubs, self.log = folder / "bin", folder / "stubs", folder / "asked"
        self.bin.mkdir()
        # pip is a stub: an environment is made without the real one, which takes seconds to be put there
        self.program(
            "python3",
            f'case "$1 $2" in "-m venv") shift 2; set -- -m venv --without-pip "$@";; esac\nexec "{PYTHON}" "$@"',
        )
        (self.stubs / "pip").mkdir(parents=True)
        (self.stubs / "pip" / "__init__.py").touch()
        (self.stubs / "pip" / "__main__.py").write_text(INSTALLER)
        (self.stubs / "ensurepip.py").touch()  # the real pip would never be used
        path = os.pathsep.join([str(self.bin), "/usr/bin", "/bin"])
        self.environment = {"PATH": path, "HOME": str(folder), "PYTHONPATH": str(self.stubs), "ASKED": str(self.log)}

    def program(self, name: str, line: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{line}\n")
        (self.bin / name).chmod(0o755)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=LONGEST
        )

    def make(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("make", *words)

    def demo(self, *words: str) -> tuple[str, Path]:
        """The torch that the demo ran with, and its environment."""
        done = self.make("demo", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        _, version, prefix = done.stdout.splitlines()[-1].split(" ", 2)
        return version, Path(prefix).relative_to(self.folder.parent)

    def refused(self, *words: str) -> str:
        """The one line that is said, before anything is installed."""
        done = self.make("demo", *words)
        assert done.returncode == 2, done.stdout + done.stderr
        line, last = done.stderr.splitlines()
        assert last.startswith("make: ***")
        assert not self.asked()
        return line

    def asked(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def put_torch(packages: Path, text: str = "__version__ = '2.14.1'") -> None:
    (packages / "torch").mkdir(parents=True)
    (packages / "torch" / "__init__.py").write_text(text)


@pytest.fixture
def env(checkout: Checkout) -> Callable[..., Path]:
    """Make an environment without pip beside the checkout, and activate it: by `VIRTUAL_ENV`, or as conda's."""

    def make(variable: str = "VIRTUAL_ENV", torch: str | None = "__version__ = '2.14.1'") -> Path:
        place = checkout.folder.parent / "theirs"
        venv.create(place, symlinks=True)
        if torch is not None:
            put_torch(packages(place), torch)
        checkout.environment[variable] = str(place)
        checkout.environment["PATH"] = f"{place / 'bin'}:{checkout.environment['PATH']}"
        return place

    return make


def packages(place: Path) -> Path:
    return Path(sysconfig.get_path("purelib", vars={"base": str(place), "platbase": str(place)}))


def test_nothing_active_and_no_torch(checkout: Checkout) -> None:
    assert checkout.demo() == ("2.13.0", Path("checkout/.venv"))
    first, second = checkout.asked()
    assert "torch==2.13.0" in first
    assert second.split()[-3:] == ["-e", ".[torch]", "torch==2.13.0"]
    assert checkout.demo() == ("2.13.0", Path("checkout/.venv"))
    assert len(checkout.asked()) == 2  # it is all there


def test_torch_in_the_systems_python(checkout: Checkout) -> None:
    put_torch(checkout.stubs)
    assert checkout.demo() == ("2.14.1", Path("checkout/.venv"))
    assert "include-system-site-packages = true" in (checkout.folder / ".venv" / "pyvenv.cfg").read_text()
    assert not any("torch==2.13.0" in line for line in checkout.asked())


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
@pytest.mark.parametrize("version", ["2.14.1", "2.16.0.dev20261101+cpu", "2.4.0+cu121"])
def test_an_active_environment_with_torch_is_used(
    checkout: Checkout, env: Callable, variable: str, version: str
) -> None:
    env(variable, f"__version__ = {version!r}")
    assert checkout.demo() == (version, Path("theirs"))
    assert not (checkout.folder / ".venv").exists()
    assert [line.split()[-3:] for line in checkout.asked()] == [["-e", ".[torch]", f"torch=={version}"]]


def test_a_cuda_build_is_kept_by_the_version_that_pip_knows(checkout: Checkout, env: Callable) -> None:
    place = env(torch="__version__ = '2.14.1+cu130'")
    known = packages(place) / "torch-2.14.1.dist-info" / "METADATA"
    known.parent.mkdir()
    known.write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.14.1\n")
    assert checkout.demo() == ("2.14.1+cu130", Path("theirs"))
    assert checkout.asked()[-1].split()[-1] == "torch==2.14.1"


@pytest.mark.long
def test_a_venv_from_before_hides_nothing(checkout: Checkout, env: Callable) -> None:
    checkout.demo()
    env()
    assert checkout.demo() == ("2.14.1", Path("theirs"))


@pytest.mark.long
def test_an_active_environment_without_torch_is_left_alone(checkout: Checkout, env: Callable) -> None:
    """One of uv's too: the environment beside it is made with a pip of its own."""
    place = env(torch=None)
    uv(checkout)
    assert checkout.demo() == ("2.13.0", Path("checkout/.venv"))
    assert not (packages(place) / "torch").exists()
    assert all(line.startswith("install --quiet ") for line in checkout.asked())


def uv(checkout: Checkout) -> None:
    """Put a stub of uv on the path."""
    stub = checkout.folder.parent / "uv.py"
    stub.write_text(INSTALLER)
    checkout.program("uv", f'exec "$5" {stub} "$@"')


def test_an_environment_of_uv(checkout: Checkout, env: Callable) -> None:
    """There is no pip in it, and nothing that would bring one."""
    env()
    shutil.rmtree(checkout.stubs / "pip")
    uv(checkout)
    assert checkout.demo() == ("2.14.1", Path("theirs"))
    assert checkout.asked()
    assert all(line.startswith("pip install --quiet --python ") for line in checkout.asked())


def test_neither_pip_nor_uv(checkout: Checkout, env: Callable) -> None:
    place = env()
    shutil.rmtree(checkout.stubs / "pip")
    (checkout.stubs / "ensurepip.py").write_text("raise SystemExit(1)")
    assert checkout.refused() == f"error: {place}/bin/python has no pip, and there is no uv: install one of them"


@pytest.mark.long
def test_an_environment_that_can_not_be_written_to(checkout: Checkout, env: Callable) -> None:
    """Its packages are used by a `.venv` beside it."""
    place = env()
    if os.geteuid() == 0:  # to whom everything can be written
        script = checkout.folder / ".ci" / "environment"
        script.write_text(script.read_text().replace('[ -w "$(packages "$place/bin/python")" ]', "false"))
    else:
        packages(place).chmod(0o555)
    before = sorted(place.rglob("*"))
    assert checkout.demo() == ("2.14.1", Path("checkout/.venv"))
    assert sorted(path for path in place.rglob("*") if "__pycache__" not in path.parts) == before
    assert not any("torch==2.13.0" in line for line in checkout.asked())


@pytest.mark.long
def test_an_environment_that_is_nowhere(checkout: Checkout) -> None:
    checkout.environment["VIRTUAL_ENV"] = "/nowhere"
    assert checkout.demo() == ("2.13.0", Path("checkout/.venv"))


@pytest.mark.parametrize(("torch", "said"), [
    ("__version__ = '2.3.1+cu118'", "is 2.3.1+cu118, and initdsl needs 2.4 or newer: upgrade it, or deactivate that environment"),
    ("__version__ = '1.13.0'", "is 1.13.0, and initdsl needs 2.4 or newer"),
    ("raise ImportError('libstdc++.so.6: cannot open shared object file')", "can't be imported: libstdc++.so.6: cannot open"),
    ("raise OSError('libgomp.so.1: no such file')", "can't be imported: libgomp.so.1: no such file"),
])  # fmt: skip
@pytest.mark.parametrize("where", ["active", "system"])
def test_a_torch_that_will_not_do(checkout: Checkout, env: Callable, torch: str, said: str, where: str) -> None:
    if where == "active":
        env(torch=torch)
    else:
        put_torch(checkout.stubs, torch)
    line = checkout.refused()
    assert line.startswith("error: the torch of ")
    assert said in line


def test_what_a_torch_alone_warns_of_is_not_shown(checkout: Checkout, env: Callable) -> None:
    """It lacks numpy until that is installed beside it."""
    env(torch="import warnings; warnings.warn('Failed to initialize NumPy')\n__version__ = '2.14.1'")
    done = checkout.run(".ci/environment", "install")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_python_that_is_too_old(checkout: Checkout) -> None:
    checkout.program(
        "python3", f'[ "$1" = --version ] && echo Python 3.10.9 && exit; exec "{PYTHON}" -c "raise SystemExit(1)"'
    )
    assert checkout.refused() == (
        "error: python3 is Python 3.10.9: install Python 3.11 or newer, or name one you have: make PYTHON=python3.12"
    )


def test_no_python(checkout: Checkout) -> None:
    assert "error: there is no python3.99: install Python 3.11 or newer" in checkout.refused("PYTHON=python3.99")


def test_a_python_without_venv(checkout: Checkout) -> None:
    """As Debian's is."""
    hide = checkout.folder.parent / "hide.py"
    hide.write_text("import sys; sys.modules['ensurepip'] = None\nexec(sys.argv.pop(1))")
    checkout.program("python3", f'[ "$1" = -c ] && shift && exec "{PYTHON}" {hide} "$@"; exec "{PYTHON}" "$@"')
    assert checkout.refused() == (
        "error: python3 can't make environments: install its venv (Debian and Ubuntu: apt install python3-venv), or "
        "activate an environment that has torch"
    )


def test_models_are_those_of_the_torch_that_is_there(checkout: Checkout, env: Callable) -> None:
    place = env()
    done = checkout.make("-n", "test")
    assert f"{place}/bin/python -m pytest -n 2" in done.stdout
    done = checkout.run(".ci/environment", "install", "test")
    assert done.returncode == 0, done.stderr
    assert checkout.asked()[-1].split()[-4:] == ["-e", ".[models,integrations]", "torchvision==0.29.*", "torch==2.14.1"]


def test_models_that_can_not_be_had_are_said(checkout: Checkout, env: Callable) -> None:
    env(torch="__version__ = '2.99.0'")
    with (checkout.stubs / "pip" / "__main__.py").open("a") as file:
        file.write("sys.exit('ERROR: none for this torch' if 'models' in str(asked) else None)")
    done = checkout.run(".ci/environment", "install", "test")
    assert done.returncode == 0
    assert done.stderr == "no models for this torch, their tests are skipped: ERROR: none for this torch\n"
