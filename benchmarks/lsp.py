"""How long the language server takes to answer, on a file of 1 000 lines that is being typed in.

A server with the manifest of a model of 200 blocks behind a client that speaks JSON-RPC over standard input and
output: each question follows a change, as in an editor. From the first byte of a question to the last of its answer,
decoded; `findings` are from the change to what is published about it.

    python benchmarks/lsp.py [rounds]
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from torch import nn

import initdsl

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.wire import Wire

LINES = 1000


class Block(nn.Module):
    """A block of a transformer, as far as its parameters go."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.attn = nn.MultiheadAttention(8, 2)
        self.up, self.down = nn.Linear(8, 32), nn.Linear(32, 8)


def text() -> str:
    """Rules for 200 blocks, five lines each."""
    rules = []
    for i in range(LINES // 5):
        rules += [
            f"let std{i} = 0.02 / {i + 1}",
            f"net[{i}] {{",
            f"  .up.weight ~ normal(0, std{i})",
            "  Linear.bias = 0",
            "}",
        ]
    return "\n".join(rules) + "\n"


def questions(file: dict[str, Any], line: int, all_: bool) -> dict[str, tuple[str, Any]]:
    """What an editor asks about a line, by the name the table has for it."""
    word, name = ({**file, "position": {"line": line, "character": at}} for at in (5, 26))
    typed = {**file, "position": {"line": line, "character": 24}}
    screen = {"start": {"line": max(0, line - 25), "character": 0}, "end": {"line": line + 25, "character": 0}}
    here, options = {**file, "range": screen}, {"tabSize": 2, "insertSpaces": True}
    asked: dict[str, tuple[str, Any]] = {
        "completion": ("completion", typed),
        "hover": ("hover", word),
        "definition": ("definition", name),
        "rename": ("rename", {**name, "newName": "sigma"}),
        "symbols": ("documentSymbol", file),
        "colours, all": ("semanticTokens/full", file),
        "colours, screen": ("semanticTokens/range", here),
        "hints, screen": ("inlayHint", here),
        "fixes": ("codeAction", {**here, "context": {"diagnostics": []}}),
        "layout, screen": ("rangeFormatting", {**here, "options": options}),
    }
    return asked | ({"layout, all": ("formatting", {**file, "options": options})} if all_ else {})


def measure(rounds: int, folder: Path) -> dict[str, list[float]]:
    """Seconds from question to answer, by kind of question."""
    client = Wire(folder)
    client.start()
    version, name = 1, "model.init"
    time.sleep(2)  # an editor shows a window before it shows a file
    gc.freeze()  # torch is large, and a pause of this process is none of the server's
    started = time.perf_counter()
    client.open(name, text())
    client.ask("textDocument/documentSymbol", client.file(name))
    found: dict[str, list[float]] = {"first answer": [time.perf_counter() - started]}
    client.findings(name, version)
    found["first findings"] = [time.perf_counter() - started]

    def change(line: int) -> None:
        nonlocal version
        version += 1
        place = {"start": {"line": line, "character": 22}, "end": {"line": line, "character": 23}}
        client.change(name, version, {"range": place, "text": str(version % 9 + 1)})

    for turn in range(rounds):
        line = (turn * 37 % (LINES // 5)) * 5 + 2
        for kind, (method, params) in questions(client.file(name), line, turn % 5 == 0).items():
            change(line)
            started = time.perf_counter()
            answer = client.ask(f"textDocument/{method}", params)
            found.setdefault(kind, []).append(time.perf_counter() - started)
            assert answer or kind in ("fixes", "layout, all", "layout, screen"), kind
            time.sleep(0.02)
        change(line)
        started = time.perf_counter()
        client.findings(name, version)
        found.setdefault("findings", []).append(time.perf_counter() - started)
    client.stop()
    return found


def main() -> None:
    """Print the median, the 99th percentile and the longest, in milliseconds."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        network = nn.Sequential(*[Block() for _ in range(LINES // 5)])
        (folder / "model.json").write_text(json.dumps(initdsl.describe(network)[0].to_manifest()))
        (folder / "pyproject.toml").write_text('[tool.initdsl]\nmanifest = "model.json"\n')
        found = measure(rounds, folder)
    print(f"{'milliseconds':18} {'median':>8} {'p99':>8} {'longest':>8} {'times':>6}")
    for kind, times in found.items():
        times.sort()
        p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
        print(f"{kind:18} {times[len(times) // 2] * 1e3:8.1f} {p99 * 1e3:8.1f} {times[-1] * 1e3:8.1f} {len(times):6}")


if __name__ == "__main__":
    main()
