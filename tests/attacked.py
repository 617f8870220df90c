"""One process that is attacked: reads cases of `cases/attacks` from its input, one JSON a line, and says what became of each.

`test_attacks.py` starts it, waits, and ends it where it hangs. It runs alone so that what hangs, eats memory or overflows
the stack takes nothing with it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
import unicodedata
import warnings
from pathlib import Path
from typing import Any

import torch
from nets import Tensors, filled, mlp
from torch import nn

import initdsl

ADDRESS_SPACE = 12 << 30
TALKING = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}


def text_of(parts: str | list[Any], number: int = 0) -> str:
    """A text, or its parts: strings, and `[string, times]` in which `%i` and `%j` count from 0 and 1."""

    def repeated(part: str, times: int) -> str:
        if "%i" not in part and "%j" not in part:
            return part * times
        return "".join(part.replace("%i", str(i)).replace("%j", str(i + 1)) for i in range(times))

    made = parts if isinstance(parts, str) else "".join(p if isinstance(p, str) else repeated(*p) for p in parts)
    return made.replace("%I", str(number)).replace("%J", str(number + 1)) if "%I" in made or "%J" in made else made


def lay_out(case: dict[str, Any], folder: Path) -> Path:
    """The files of a case in a folder of its own; the file that is attacked with."""
    (folder.parent / "secret.init").write_text("Linear.weight = 666\n")
    for name, content in case.get("files", {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text_of(content), "utf-8")
    if series := case.get("series"):
        for i in range(series["count"]):
            (folder / text_of(series["name"], i)).write_text(text_of(series["text"], i), "utf-8")
    for name, digits in case.get("bytes", {}).items():
        (folder / name).write_bytes(bytes.fromhex(digits))
    if lie := case.get("safetensors"):
        header = text_of(lie["header"]).encode()
        size = int(lie.get("size", len(header))).to_bytes(8, "little")
        (folder / "x.safetensors").write_bytes(size + header + bytes(lie.get("zeros", 0)))
    for name, target in case.get("links", {}).items():
        (folder / name).symlink_to(target)
    for name in case.get("pipes", []):
        os.mkfifo(folder / name)
    main = folder / case.get("main", "main.init")
    main.write_text(text_of(case["rules"]), "utf-8")
    return main


class Liar(nn.Module):
    """Whatever is asked, there is something."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return Liar if name.startswith("__") else torch.zeros(3)


class Raiser(nn.Module):
    """Whatever is asked, something breaks."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def __getattr__(self, name: str) -> Any:
        if name in ("_parameters", "_buffers", "_modules"):
            return super().__getattr__(name)
        raise SystemExit(f"asked for {name}")

    def __repr__(self) -> str:
        raise SystemExit("asked for its repr")


class Property(nn.Module):
    """An attribute that runs code, and that code counts."""

    calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    @property
    def width(self) -> int:
        raise SystemExit("a property was run")


def deep(levels: int = 10_000) -> nn.Module:
    """Modules within each other."""
    net: nn.Module = nn.Linear(2, 2)
    for _ in range(levels):
        outer = nn.Module()
        outer.add_module("a", net)
        net = outer
    return net


def wide(count: int = 100_000) -> nn.Module:
    """Very many modules beside each other."""
    net = nn.Module()
    for i in range(count):
        other = nn.Linear.__new__(nn.Linear)
        nn.Module.__init__(other)
        other.weight, other.bias = nn.Parameter(torch.zeros(1, 1)), nn.Parameter(torch.zeros(1))
        net._modules[str(i)] = other
    return net


def loop() -> nn.Module:
    """A module that is its own child."""
    net = nn.Module()
    net.inner = nn.Linear(4, 4)
    net._modules["me"] = net
    return net


def names() -> nn.Module:
    """Names that no attribute could have, and a class named like code."""
    net = nn.Module()
    odd = type("Linear;import os", (nn.Linear,), {})
    for name in ["a b", 'a"b', "🙂", "x\x1b[31m", "a\u202eb", "in", "let", "{*}", "", "n" * 10_000]:
        net._modules[name] = odd(2, 2) if name == "a b" else nn.Linear(2, 2)
    return net


def odd() -> nn.Module:
    """Tensors that are strange to fill."""
    base = torch.zeros(10)
    return Tensors(
        empty=torch.zeros(0, 4), scalar=torch.zeros(()), many=torch.zeros([1] * 30), expanded=torch.zeros(1).expand(8),
        left=base[:6], right=base[4:], sparse=torch.zeros(4, 4).to_sparse(), complex=torch.zeros(4, dtype=torch.complex64),
        boolean=torch.zeros(4, dtype=torch.bool),
    )  # fmt: skip


NETS = {
    "mlp": lambda: filled(mlp()), "deep": deep, "wide": wide, "loop": loop, "liar": Liar, "raiser": Raiser,
    "property": Property, "names": names, "odd": odd, "lazy": lambda: nn.Sequential(nn.LazyLinear(4)), "none": nn.Module,
}  # fmt: skip


def findings(error: initdsl.InitDSLError, wrong: list[str]) -> list[str]:
    """The names of what an error says; what is amiss with how it says it goes into `wrong`."""
    for diagnostic in error.diagnostics:
        if diagnostic.span is not None and diagnostic.source is not None:
            span, length = diagnostic.span, len(diagnostic.source.text)
            if not 0 <= span.start <= span.end <= length:
                wrong.append(f"{diagnostic.name} points outside its file: {span}")
    said = str(error)
    talking = {c for c in said if c != "\n" and unicodedata.category(c) in TALKING}
    if talking:
        wrong.append(f"a message contains {sorted(map(ascii, talking))}")
    if len(said) > 200_000:
        wrong.append(f"a message of {len(said)} characters")
    return sorted({diagnostic.name for diagnostic in error.diagnostics})


def attack(case: dict[str, Any]) -> dict[str, Any]:
    """Apply, format and lint the file of one case."""
    wrong: list[str] = []
    net = NETS[case.get("net", "mlp")]()
    small = case.get("net", "mlp") == "mlp"
    with tempfile.TemporaryDirectory() as outer:
        folder = Path(outer) / "root"
        folder.mkdir()
        main = lay_out(case, folder)
        os.chdir(folder)
        Path("/proc/self/clear_refs").write_text("5")
        before, started = memory("VmRSS"), time.process_time()
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                plan = initdsl.plan(net, main)
                initdsl.apply(net, main)
            said = sorted({f"warning: {w.name}" for w in plan.warnings})
            if any(c.category is UserWarning for c in caught):
                wrong.append("a warning that is not ours")
        except initdsl.InitDSLError as error:
            said = findings(error, wrong)
            if small and not all(bool((p == 7).all()) for p in net.parameters()):
                wrong.append("it failed, and the network has changed")
        text = main.read_text("utf-8")
        for reader in (initdsl.format, initdsl.parse):
            try:
                reader(text)
            except initdsl.InitDSLError as error:
                findings(error, wrong)
        for found in initdsl.lint(main):
            if found.span is not None and not 0 <= found.span.start <= found.span.end <= len(found.source.text):
                wrong.append(f"{found.name} points outside its file: {found.span}")
        if main.read_text("utf-8") != text:
            wrong.append("the file has changed")
        seconds, grown = time.process_time() - started, memory("VmHWM") - before
        os.chdir("/")
    return {"said": said, "wrong": wrong, "seconds": seconds, "mebibytes": grown / 1024}


def memory(what: str) -> int:
    """A line of this process's memory, in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1])
    return 0


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        try:
            answer = attack(json.loads(line))
        except BaseException as error:  # whatever escapes is a finding of the test
            answer = {"said": [], "wrong": [f"{type(error).__name__}: {error}"[:500]], "seconds": 0, "mebibytes": 0}
            if os.environ.get("ATTACK_TRACEBACK"):
                raise
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
