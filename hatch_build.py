"""Compiles the C files of `initdsl/streams` while the package is built; without a C compiler it goes into the wheel without one.

It also writes the package's long description from README.md: a package index has none of the files that its links lead to.
hatchling calls both. `python hatch_build.py` compiles the kernel where it stands, for a checkout.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
    from hatchling.metadata.plugin.interface import MetadataHookInterface
except ImportError:  # called as a script
    BuildHookInterface = MetadataHookInterface = object

FOLDER = Path(__file__).parent / "initdsl" / "streams"
SOURCES = ("compiler.h", "kernel.c", "torch_draws.c")
NAME = {"win32": "kernel.dll", "darwin": "kernel.dylib"}.get(sys.platform, "kernel.so")

# no fast-math, and no product and sum in one rounding: either would change bits
UNIX = ["-O3", "-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fno-strict-aliasing", "-fvisibility=hidden", "-g0"]
WINDOWS = ["/nologo", "/O2", "/std:c11", "/fp:precise", "/LD", "/Brepro"]


def command(sources: Iterable[Path], target: Path) -> list[str] | None:
    """Return what compiles a shared library here, None where no compiler is found."""
    if sys.platform == "win32":
        compiler = shutil.which("cl") or shutil.which("clang-cl")
        return compiler and [
            compiler,
            *WINDOWS,
            *map(str, sources),
            f"/Fe{target}",
            f"/Fo{target.parent}{os.sep}",
            "/link",
            "/Brepro",
        ]
    for words in (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc", "gcc", "clang"):
        compiler = shlex.split(words or "")
        if compiler and shutil.which(compiler[0]):
            flags = ["-dynamiclib"] if sys.platform == "darwin" else ["-shared", "-fPIC", "-s", "-Wl,--build-id=none"]
            more = shlex.split(os.environ.get("ARCHFLAGS", ""))
            return [*compiler, *UNIX, *flags, *more, *map(str, sources), "-o", str(target)]
    return None


def compile_kernel() -> bool:
    """Compile the kernel beside its sources, and write down from what; return whether there is one now."""
    sources, target = [FOLDER / name for name in SOURCES], FOLDER / NAME
    for old in (target, FOLDER / "kernel.json"):
        old.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as work:
        made = Path(work) / NAME
        words = command([source for source in sources if source.suffix == ".c"], made)
        if words is None:
            print("initdsl: no C compiler was found; torch's operations fill in the kernel's place", file=sys.stderr)
            return False
        done = subprocess.run(words, cwd=work, capture_output=True, text=True)
        if done.returncode or not made.exists():
            print(
                f"initdsl: the kernel was not compiled\n{shlex.join(words)}\n{done.stdout}{done.stderr}",
                file=sys.stderr,
            )
            return False
        shutil.copyfile(made, target)
    text = b"".join(source.read_bytes() for source in sources).replace(b"\r\n", b"\n")
    sums = {"source_crc32": zlib.crc32(text), "library_crc32": zlib.crc32(target.read_bytes())}
    (FOLDER / "kernel.json").write_text(json.dumps(sums) + "\n", encoding="utf-8")
    return True


class KernelBuildHook(BuildHookInterface):
    """The wheel holds the kernel, and is one for this platform; without it, the wheel is one for all."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or not compile_kernel():
            return
        build_data["artifacts"] += [f"/initdsl/streams/{NAME}", "/initdsl/streams/kernel.json"]
        if version != "editable":
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["pure_python"], build_data["tag"] = False, f"py3-none-{platform}"


def long_description(readme: str, repository: str | None = None, tag: str = "main") -> str:
    """Return README.md for a package index: links lead into the repository, and are plain words where it has no address."""
    parts = re.split(r"(^```.*?^```$)", readme, flags=re.MULTILINE | re.DOTALL)
    for number in range(0, len(parts), 2):  # between the code
        text = re.sub(r"<!-- .*? -->\n", "", parts[number])
        if repository is None:
            text = re.sub(r"<picture>.*?</picture>\n+", "", text, flags=re.DOTALL)
            text = re.sub(r"\[([^\]]+)\]\((?!https?:)[^)\s]+\)", r"\1", text)
        else:
            text = re.sub(r'((?:src|srcset)=")(?!https?:)', rf"\1{repository}/raw/{tag}/", text)
            text = re.sub(r"(\[[^\]]+\]\()(?!https?:)([^)\s]+\))", rf"\1{repository}/blob/{tag}/\2", text)
        parts[number] = text
    return "".join(parts)


class ReadmeHook(MetadataHookInterface):
    """The long description is README.md as a package index can show it."""

    def update(self, metadata: dict[str, Any]) -> None:
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        repository = metadata.get("urls", {}).get("Repository")
        shown = long_description(text, repository, f"v{metadata['version']}")
        metadata["readme"] = {"content-type": "text/markdown", "text": shown}


if __name__ == "__main__":
    sys.exit(not compile_kernel())
