"""One process that is attacked: reads cases of `cases/attacks` from its input, one JSON a line, and says what became of each.

`test_attacks.py` starts it, waits, and ends it where it hangs. It runs alone so that what hangs, eats memory or overflows
the stack takes nothing with it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import re
import resource
import sys
import tempfile
import time
import unicodedata
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import torch
from torch import nn

import initdsl
from tests.support.nets import Tensors, filled, mlp

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
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes.fromhex(digits))
    if lie := case.get("safetensors"):
        header = text_of(lie["header"]).encode()
        size = int(lie.get("size", len(header))).to_bytes(8, "little")
        (folder / "x.safetensors").write_bytes(size + header + bytes(lie.get("zeros", 0)))
    for name, target in case.get("links", {}).items():
        (folder / name).symlink_to(target)
    for name in case.get("pipes", []):
        os.mkfifo(folder / name)
    if "manifest" in case:
        (folder / "m.json").write_text(json.dumps(manifest(case["manifest"])), "utf-8")
    for name, maker in case.get("made", {}).items():
        MADE[maker](folder / name)
    main = folder / case.get("main", "main.init")
    main.write_text(text_of(case.get("rules", USUAL)), "utf-8")
    return main


USUAL = "Linear.weight ~ normal(0, 0.02)\nLinear.bias = 0\n"

# commands that many cases run
SETS = {
    "of a manifest": [
        ["plan", "main.init", "--manifest", "m.json", *more]
        for more in ([], ["--all"], ["--format", "html"], ["--format", "json"])
    ] + [["explain", "0.bias", "main.init", "--manifest", "m.json"], ["lint", "main.init", "--manifest", "m.json"]],
    "of a checkpoint": [
        ["verify", "main.init", "x", "--manifest", "m.json", *more] for more in ([], ["--format", "json"], ["--after-training"])
    ],
    "of lint": [
        ["lint", "--output-format", form] for form in ("text", "concise", "json", "github", "gitlab", "junit", "sarif")
    ],
}  # fmt: skip


def manifest(changes: dict[str, Any]) -> dict[str, Any]:
    """The manifest of the usual model, in which some values are others: `{"modules.0.name": 5}`; a name may be new."""
    found = json.loads(json.dumps(initdsl.describe(mlp())[0].to_manifest()))
    for path, value in changes.items():
        *steps, last = path.split(".")
        at: Any = found
        for step in steps:
            at = at[int(step) if isinstance(at, list) else step]
        if isinstance(value, str) and value in VALUES:
            value = VALUES[value]()
        at[int(last) if isinstance(at, list) else last] = value
    return found


def nested(levels: int, inside: Any = 0) -> Any:
    """Lists in lists."""
    for _ in range(levels):
        inside = [inside]
    return inside


# values of manifests that no TOML file could say
VALUES: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None, "infinity": lambda: float("inf"), "nan": lambda: float("nan"), "giant": lambda: 10**400,
    "deep": lambda: nested(400), "surrogate": lambda: "\ud800", "long": lambda: "x" * 1_000_000,
}  # fmt: skip


# ---- files that are made by code


def pickled(value: Any) -> Callable[[Path], None]:
    """A checkpoint as torch writes it, holding this value."""
    return lambda path: torch.save(value, path)


def raw_pickle(data: bytes) -> Callable[[Path], None]:
    """A checkpoint of torch's format whose pickle is these bytes."""

    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("x/data.pkl", data)
            file.writestr("x/version", "3\n")

    return make


def circular() -> dict[str, Any]:
    """Dictionaries that hold themselves, many times over."""
    held: dict[str, Any] = {"weight": torch.zeros(4, 4)}
    held.update({f"k{i}": held for i in range(12)})
    return held


def folded(levels: int, inside: Any) -> Any:
    """What is held ten times by what is held ten times, and so on."""
    for _ in range(levels):
        inside = {f"k{i}": inside for i in range(10)}
    return inside


class Run:
    """What unpickling would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/initdsl-attack-ran",)


def packed(path: Path) -> None:
    """A checkpoint of 100 MB in which only zeros are, packed into a hundredth: torch itself packs nothing."""
    small = path.with_name("small")
    torch.save({"weight": torch.ones(4, 4), "other": torch.zeros(25, 1_000_000)}, small)
    with zipfile.ZipFile(small) as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for entry in whole.infolist():
            file.writestr(entry.filename, whole.read(entry))
    small.unlink()


class Wrong:
    """Metadata of a checkpoint directory that isn't any."""

    def __init__(self, **values: Any):
        self.__dict__.update(values)


def directory(data: Callable[[], bytes]) -> Callable[[Path], None]:
    """A directory as `torch.distributed.checkpoint` writes it, with this metadata."""

    def make(path: Path) -> None:
        path.mkdir()
        (path / ".metadata").write_bytes(data())

    return make


def metadata(**values: Any) -> bytes:
    from torch.distributed.checkpoint.metadata import Metadata

    found = Metadata({})
    for name, value in values.items():
        setattr(found, name, value)
    return pickle.dumps(found)


def stored(shape: Any, **place: Any) -> bytes:
    """Metadata of one tensor `0.weight`, in a file that isn't there or is somewhere else."""
    from torch.distributed.checkpoint.filesystem import _StorageInfo
    from torch.distributed.checkpoint.metadata import (
        ChunkStorageMetadata,
        MetadataIndex,
        TensorProperties,
        TensorStorageMetadata,
    )

    size = torch.Size(shape) if isinstance(shape, list) else shape
    chunk = ChunkStorageMetadata(offsets=torch.Size([0] * len(shape)), sizes=size)
    tensor = TensorStorageMetadata(TensorProperties(torch.float32), size, [chunk])
    info = _StorageInfo(**{"relative_path": "__0_0.distcp", "offset": 0, "length": 64, **place})
    data = {MetadataIndex("0.weight", torch.Size([0] * len(shape)), 0): info}
    return metadata(state_dict_metadata={"0.weight": tensor}, storage_data=data)


MADE: dict[str, Callable[[Path], None]] = {
    "a checkpoint": pickled({"weight": torch.ones(4, 4)}),
    "code": pickled({"weight": torch.ones(4, 4), "x": Run()}),
    "a circle": pickled(circular()),
    "folds": pickled(folded(12, {"weight": torch.ones(4, 4)})),
    "a deep checkpoint": pickled(folded(300, torch.ones(4, 4)) if False else {"a": {"b": {"weight": torch.ones(4, 4)}}}),
    "one element, repeated": pickled({"weight": torch.ones(1).expand(3_000_000_000)}),
    "one element, as a matrix": pickled({"weight": torch.ones(1, dtype=torch.half).expand(2_000_000_000, 4)}),
    "names that talk": pickled({"\x1b[31mweight\u202e": torch.ones(4, 4), 10**4000: torch.ones(1), None: torch.ones(1)}),
    "packed": packed,
    "a list": pickled([torch.ones(4, 4)]),
    "sparse": pickled({"weight": torch.ones(4, 4).to_sparse()}),
    "a subclass": pickled(OrderedDict(weight=nn.Parameter(torch.ones(4, 4)))),
    "a pickle that ends early": raw_pickle(b"\x80\x02}q\x00(X\x06\x00\x00\x00weight"),
    "a pickle of giant numbers": raw_pickle(b"\x80\x02\x8b\xff\xff\xff\x7f" + b"1" * 64),
    "a pickle of memo places": raw_pickle(b"\x80\x02K\x01r\xff\xff\xff\x7f."),
    "no directory of ours": directory(lambda: b"\x80\x04K\x01."),
    "a directory of memo places": directory(lambda: b"\x80\x04K\x01r\xff\xff\xff\x7f."),
    "a directory that runs": directory(lambda: pickle.dumps(Run())),
    "a directory of nothing": directory(lambda: metadata(storage_data=None)),
    "a directory of words": directory(lambda: metadata(state_dict_metadata="words", storage_data={1: 2})),
    "a directory of nonsense": directory(lambda: b"\x80\x04\x8c\x05\xff\xff\xff\xff\xff."),
    "a directory of text for bytes": directory(lambda: b"\x80\x04S'a\\xzz'\n."),
    "a directory without files": directory(lambda: stored([4, 4])),
    "a directory that leads out": directory(lambda: stored([4, 4], relative_path="../../secret.init")),
    "a directory of a list for a path": directory(lambda: stored([4, 4], relative_path=[1])),
    "a directory far away": directory(lambda: stored([4, 4], offset=-5)),
    "a directory of a giant": directory(lambda: stored([2**40, 2**20])),
}  # fmt: skip


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


def stack(levels: int = 24) -> nn.Module:
    """Sequentials within each other, each but the first at another index."""
    net: nn.Module = nn.Linear(2, 2)
    for level in range(levels):
        net = nn.Sequential(*[nn.Identity() for _ in range(level % 5)], net)
    return net


def twice(levels: int = 40) -> nn.Module:
    """Modules that hold the same one twice, within each other."""
    net: nn.Module = nn.Linear(2, 2)
    for _ in range(levels):
        outer = nn.Module()
        outer.a = outer.b = net
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
        empty=torch.zeros(0, 4),
        scalar=torch.zeros(()),
        many=torch.zeros([1] * 30),
        expanded=torch.zeros(1).expand(8),
        left=base[:6],
        right=base[4:],
        sparse=torch.zeros(4, 4).to_sparse(),
        complex=torch.zeros(4, dtype=torch.complex64),
        boolean=torch.zeros(4, dtype=torch.bool),
    )


NETS = {
    "mlp": lambda: filled(mlp()), "deep": deep, "wide": wide, "loop": loop, "liar": Liar, "raiser": Raiser,
    "property": Property, "names": names, "odd": odd, "lazy": lambda: nn.Sequential(nn.LazyLinear(4)), "none": nn.Module,
    "stack": stack, "twice": twice, "pair": lambda: nn.ModuleList([wide(4000), wide(4000)]),
    "large": lambda: nn.Linear(2048, 2048),
}  # fmt: skip


def findings(error: initdsl.InitDSLError, wrong: list[str]) -> list[str]:
    """The names of what an error says; what is amiss with how it says it goes into `wrong`."""
    for diagnostic in error.diagnostics:
        if diagnostic.span is not None and diagnostic.source is not None:
            span, length = diagnostic.span, len(diagnostic.source.text)
            if not 0 <= span.start <= span.end <= length:
                wrong.append(f"{diagnostic.name} points outside its file: {span}")
    readable(str(error), wrong)
    return sorted({diagnostic.name for diagnostic in error.diagnostics})


def readable(said: str, wrong: list[str], most: int = 200_000) -> None:
    """Whether a text has nothing that a terminal obeys or an eye does not see; what it has goes into `wrong`."""
    talking = {c for c in said if c != "\n" and unicodedata.category(c) in TALKING}
    if talking:
        wrong.append(f"a message contains {sorted(map(ascii, talking))}")
    if len(said) > most:
        wrong.append(f"a message of {len(said)} characters")


# ---- commands


class Page(HTMLParser):
    """The elements and attributes of a page that could run something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        running = {name for name, _ in attrs if name.startswith("on")}
        if running or tag in ("img", "iframe", "object", "embed", "base", "meta_refresh"):
            self.wrong.append(f"a page has <{tag} {' '.join(running)}>")
        for name, value in attrs:
            if name in ("href", "src", "action") and (value or "").strip().lower().startswith(("javascript:", "data:")):
                self.wrong.append(f"a page leads to {value!r:.60}")


class Terminal(io.TextIOWrapper):
    """What escape sequences would reach: click leaves them out of what goes elsewhere."""

    def isatty(self) -> bool:
        return True


def run(arguments: list[str], wrong: list[str]) -> tuple[int, str]:
    """What `initdsl` with these arguments says, and its exit code."""
    from initdsl.cli import fmt, lint, main

    lint._loaded.cache_clear()  # a program runs one command
    fmt._project.cache_clear()
    out, err = (
        Terminal(io.BytesIO(), "utf-8", write_through=True),
        io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True),
    )
    before = sys.argv
    sys.argv = ["initdsl", *arguments]
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 2
    except BaseException as error:
        wrong.append(f"{' '.join(arguments)}: {type(error).__name__} {error}"[:500])
        if os.environ.get("ATTACK_TRACEBACK"):
            raise
    finally:
        sys.argv = before
    shown, logged = (stream.buffer.getvalue().decode() for stream in (out, err))  # type: ignore[attr-defined]
    said = shown + logged
    readable(said.replace("\u2028", "").replace("\u2029", "") if "html" in arguments else said, wrong, 4_000_000)
    if "Traceback" in said:
        wrong.append(f"{' '.join(arguments)} shows a traceback")
    if "html" in arguments:
        wrong += Page(shown).wrong
    return code, said


FOUND = re.compile(r"^(error|warning|note)\[([a-z-]+)\]", re.MULTILINE)


def command(case: dict[str, Any]) -> dict[str, Any]:
    """Run the commands of one case in its folder; all of them must end alike."""
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as outer:
        folder = Path(outer) / "root"
        folder.mkdir()
        lay_out(case, folder)
        os.chdir(folder)
        Path("/proc/self/clear_refs").write_text("5")
        before, started = memory("VmRSS"), time.process_time()
        said: set[str] = set()
        shown = ""
        commands = case["commands"]
        for arguments in SETS[commands] if isinstance(commands, str) else commands:
            code, text = run([text_of(a) for a in arguments], wrong)
            shown += text
            said.add(f"exit {code}")
            said.update(f"{'' if kind == 'error' else kind + ': '}{name}" for kind, name in FOUND.findall(text))
            if os.environ.get("ATTACK_SHOW"):
                print(text[:3000], file=sys.stderr)
        seconds, grown = time.process_time() - started, memory("VmHWM") - before
        os.chdir("/")
        for name, content in case.get("kept", {}).items():
            if (folder / name).read_text() != content:
                wrong.append(f"`{name}` has changed")
        wrong += [f"it says {word!r}" for word in case.get("unsaid", []) if word in shown]
    if Path("/tmp/initdsl-attack-ran").exists():
        wrong.append("code has run")
    return {"said": sorted(said), "wrong": wrong, "seconds": seconds, "mebibytes": grown / 1024}


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
                wrong.append("it failed, and the model has changed")
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
    os.environ["NO_COLOR"] = "1"
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        try:
            case = json.loads(line)
            answer = command(case) if "commands" in case else attack(case)
        except BaseException as error:  # whatever escapes is a finding of the test
            answer = {"said": [], "wrong": [f"{type(error).__name__}: {error}"[:500]], "seconds": 0, "mebibytes": 0}
            if os.environ.get("ATTACK_TRACEBACK"):
                raise
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
