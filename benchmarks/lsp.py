"""How long the language server takes to answer, on a file of 1 000 lines that is being typed in.

A real server behind a real client over standard input and output: each question follows a change, as in an editor.

    python benchmarks/lsp.py [rounds]
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lsprotocol import types as lsp
from pygls.lsp.client import LanguageClient
from torch import nn

import initdsl

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


async def measure(rounds: int, folder: Path) -> dict[str, list[float]]:
    """Seconds from question to answer, by kind of question."""
    client = LanguageClient("benchmark", "1")
    client.feature(lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)(lambda params: None)
    await client.start_io(sys.executable, "-c", "from initdsl.cli import main; main()", "lsp")
    await client.initialize_async(lsp.InitializeParams(capabilities=lsp.ClientCapabilities()))
    client.initialized(lsp.InitializedParams())
    uri = (folder / "model.init").as_uri()
    file = lsp.TextDocumentIdentifier(uri)
    client.text_document_did_open(lsp.DidOpenTextDocumentParams(lsp.TextDocumentItem(uri, "initdsl", 1, text())))
    started = time.perf_counter()
    await client.text_document_document_symbol_async(lsp.DocumentSymbolParams(file))
    found: dict[str, list[float]] = {"first answer": [time.perf_counter() - started]}
    await asyncio.sleep(5)
    options = lsp.FormattingOptions(2, True)
    for turn in range(rounds):
        line = (turn * 37 % (LINES // 5)) * 5 + 2
        here, name = lsp.Position(line, 24), lsp.Position(line, 26)
        screen = lsp.Range(lsp.Position(max(0, line - 25), 0), lsp.Position(line + 25, 0))
        questions: list[tuple[str, Any, Any]] = [
            ("completion", client.text_document_completion_async, lsp.CompletionParams(file, here)),
            ("hover", client.text_document_hover_async, lsp.HoverParams(file, lsp.Position(line, 5))),
            ("definition", client.text_document_definition_async, lsp.DefinitionParams(file, name)),
            ("rename", client.text_document_rename_async, lsp.RenameParams(file, name, "sigma")),
            ("symbols", client.text_document_document_symbol_async, lsp.DocumentSymbolParams(file)),
            ("colours, all", client.text_document_semantic_tokens_full_async, lsp.SemanticTokensParams(file)),
            ("colours, screen", client.text_document_semantic_tokens_range_async, lsp.SemanticTokensRangeParams(file, screen)),
            ("hints, screen", client.text_document_inlay_hint_async, lsp.InlayHintParams(file, screen)),
            ("fixes", client.text_document_code_action_async, lsp.CodeActionParams(file, screen, lsp.CodeActionContext([]))),
        ]  # fmt: skip
        if turn % 5 == 0:
            questions += [
                ("layout, all", client.text_document_formatting_async, lsp.DocumentFormattingParams(file, options)),
                ("layout, screen", client.text_document_range_formatting_async, lsp.DocumentRangeFormattingParams(file, screen, options)),
            ]  # fmt: skip
        for number, (kind, ask, params) in enumerate(questions):
            change = lsp.TextDocumentContentChangePartial(
                lsp.Range(lsp.Position(line, 22), lsp.Position(line, 23)), str((turn + number) % 9 + 1)
            )
            version = lsp.VersionedTextDocumentIdentifier(2 + turn * 20 + number, uri)
            client.text_document_did_change(lsp.DidChangeTextDocumentParams(version, [change]))
            started = time.perf_counter()
            await ask(params)
            found.setdefault(kind, []).append(time.perf_counter() - started)
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.3 if turn % 4 == 0 else 0)  # a pause: findings are looked for
    await client.shutdown_async(None)
    client.exit(None)
    await client.stop()
    return found


def main() -> None:
    """Print the median, the 99th percentile and the longest, in milliseconds."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        network = nn.Sequential(*[Block() for _ in range(LINES // 5)])
        (folder / "model.json").write_text(json.dumps(initdsl.describe(network)[0].to_manifest()))
        (folder / "pyproject.toml").write_text('[tool.initdsl]\nmanifest = "model.json"\n')
        found = asyncio.run(measure(rounds, folder))
    print(f"{'milliseconds':18} {'median':>8} {'p99':>8} {'longest':>8} {'times':>6}")
    for kind, times in found.items():
        times.sort()
        p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
        print(f"{kind:18} {times[len(times) // 2] * 1e3:8.1f} {p99 * 1e3:8.1f} {times[-1] * 1e3:8.1f} {len(times):6}")


if __name__ == "__main__":
    main()
