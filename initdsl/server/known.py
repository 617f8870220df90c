"""What names there are around a file: initializers, recipes, torch's classes, and the network of its manifest."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from initdsl.initializers import ArgumentError, Registry, default_registry, fans
from initdsl.language.expressions.shapes import EvalError
from initdsl.language.syntax.nodes import Assign, Block, Expr, Let, Name, Node, Rule, Selector
from initdsl.language.syntax.walk import walk
from initdsl.linter.config import Config, find_config
from initdsl.network.description import Network
from initdsl.network.manifest import LARGEST
from initdsl.network.parts import TensorInfo
from initdsl.network.selectors.matches import Match
from initdsl.planning.resolve import select_with
from initdsl.text.diagnostic import InitDSLError
from initdsl.text.files import read_whole

from .outline import Outline
from .pieces import Piece

__all__ = ["Known", "known_at", "shape_and_fans", "torch_classes"]


@lru_cache(maxsize=1)
def torch_classes() -> tuple[str, ...]:
    """The names of torch.nn's modules, read from where torch is installed; nothing is imported."""
    try:
        found = importlib.util.find_spec("torch")
        if found is None or found.origin is None:
            return ()
        text = (Path(found.origin).parent / "nn" / "modules" / "__init__.py").read_text("utf-8")
        for statement in ast.parse(text).body:
            if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == "__all__":
                return tuple(sorted(name for name in ast.literal_eval(statement.value) if isinstance(name, str)))
    except (OSError, ValueError, SyntaxError, ImportError):
        pass
    return ()


@lru_cache(maxsize=4)
def _network(path: str, changed: int, size: int) -> Network | None:
    """A manifest's network; when the file changed, and its size, tell a cached answer from a stale one."""
    try:
        return Network.from_manifest(json.loads(read_whole(path, LARGEST)))
    except (OSError, ValueError, RecursionError):
        return None


@dataclass
class Known:
    """What a file can name. `network` is `None` without a manifest that can be read."""

    config: Config
    registry: Registry
    network: Network | None = None
    _selected: dict[tuple[object, ...], list[Match] | None] = field(default_factory=dict)

    def selected(self, found: Outline, outer: int, selector: Selector, text: str, number: int) -> list[Match] | None:
        """What a selector in the block `outer` selects; `None` where that can't be said. `text` identifies it."""
        if self.network is None:
            return None
        heads = found.pieces.heads(outer)
        lets = self._lets(found, heads, selector, number)
        key = (tuple(head.text for head in heads), text, tuple(lets.items()))
        if key not in self._selected:
            if len(self._selected) > 1 << 14:
                self._selected.clear()
            self._selected[key] = self._select(heads, selector, lets)
        return self._selected[key]

    def _lets(self, found: Outline, heads: list[Piece], selector: Selector, number: int) -> dict[str, Expr]:
        """The formulas that the selectors read, by name."""
        blocks = (head.rule for head in heads)
        nodes: list[Node] = [selector, *(block.targets for block in blocks if isinstance(block, Block))]
        lets: dict[str, Expr] = {}
        while nodes:
            for node in walk(nodes.pop()):
                if isinstance(node, Name) and node.name not in lets:
                    declared = found.declaration(node.name, number)
                    rule = None if declared is None else found.pieces.pieces[declared.piece].rule
                    if isinstance(rule, Let):
                        lets[node.name] = rule.value
                        nodes.append(rule.value)
        return lets

    def _select(self, heads: list[Piece], selector: Selector, lets: dict[str, Expr]) -> list[Match] | None:
        assert self.network is not None
        blocks = [head.rule.targets for head in heads if isinstance(head.rule, Block)]
        if len(blocks) < len(heads):
            return None
        try:
            return select_with(self.network, self.registry, lets, blocks, selector)
        except (EvalError, InitDSLError, RecursionError):
            return None

    def tensors(self, matches: list[Match], rule: Rule) -> list[TensorInfo]:
        """The parameters a statement takes of its matches, each once: those of modules at any depth, but for `~` and `=`."""
        assert self.network is not None
        found: dict[int, None] = {}
        for match in matches:
            if match.tensor is not None:
                found.setdefault(match.tensor)
                continue
            if isinstance(rule, Assign):
                continue
            for index in self.network.reachable(match.module):
                found.update(dict.fromkeys(self.network.modules[index].parameters.values()))
        return [self.network.tensors[index] for index in found]


@lru_cache(maxsize=8)
def _known(config: Config, manifest: tuple[str, int, int] | None) -> Known:
    return Known(config, default_registry(), None if manifest is None else _network(*manifest))


def known_at(path: str) -> Known:
    """What a file at a path can name. Settings that can't be right count as none."""
    try:
        config = find_config(os.path.dirname(os.path.abspath(path)))
    except InitDSLError:
        config = Config(Path(os.path.dirname(os.path.abspath(path))))
    manifest = None
    place = config.manifest_of(path)
    if place is not None:
        try:
            state = os.stat(place)
            manifest = (place, state.st_mtime_ns, state.st_size)
        except (OSError, ValueError):
            manifest = None
    return _known(config, manifest)


def shape_and_fans(tensor: TensorInfo) -> str:
    """`[8, 4], fan_in 4, fan_out 8`."""
    try:
        into, out = fans(tensor.shape)
    except ArgumentError:
        return str(list(tensor.shape))
    return f"{list(tensor.shape)}, fan_in {into}, fan_out {out}"
