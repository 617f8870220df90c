"""The names a file may use: initializers, recipes, torch's classes, and the model of its manifest."""

from __future__ import annotations

import ast
import importlib.util
import os
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from initdsl.initializers import ArgumentError, Registry, default_registry, fans
from initdsl.language.expressions.shapes import EvalError
from initdsl.language.syntax.nodes import Assign, Block, Expr, Let, Name, Node, Rule, Selector
from initdsl.language.syntax.walk import walk
from initdsl.linter.config import Config, find_config
from initdsl.network.description import Network
from initdsl.network.parts import TensorInfo
from initdsl.network.selectors.matches import Match
from initdsl.planning.resolve import select_with
from initdsl.text.diagnostic import InitDSLError

from .outline import Outline
from .pieces import Piece

__all__ = ["Known", "known_at", "owners", "shape_and_fans", "torch_classes"]


@lru_cache(maxsize=1)
def torch_classes() -> tuple[str, ...]:
    """Return the names of torch.nn's modules, read from torch's source: importing it would take seconds."""
    try:
        spec = importlib.util.find_spec("torch")
        if spec is None or spec.origin is None:
            return ()
        text = (Path(spec.origin).parent / "nn" / "modules" / "__init__.py").read_text("utf-8")
        for statement in ast.parse(text).body:
            if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == "__all__":
                return tuple(sorted(name for name in ast.literal_eval(statement.value) if isinstance(name, str)))
    except (OSError, ValueError, SyntaxError, ImportError):
        pass
    return ()


@lru_cache(maxsize=4)
def _network(path: str, changed: int, size: int) -> Network | None:
    """Return a manifest's model, None if it can't be read; time of change and size tell a cached one from a stale one."""
    try:
        return Network.from_manifest_file(path)
    except (OSError, ValueError, RecursionError):
        return None


@dataclass
class Known:
    """The names a file may use: `Known(config, registry, model)`; `network` is None without a readable manifest.

    `_selected` caches matches by the heads around a selector, its text and the `let`s it reads.
    """

    config: Config
    registry: Registry
    network: Network | None = None
    _selected: dict[tuple[object, ...], list[Match] | None] = field(default_factory=dict)

    def selected(self, outline: Outline, outer: int, selector: Selector, text: str, number: int) -> list[Match] | None:
        """Return the matches of a selector in piece `number`, in the block `outer`; None where they can't be known.

        `text` is the selector as written, by which matches are cached.
        """
        if self.network is None:
            return None
        heads = outline.pieces.heads(outer)
        lets = self._lets(outline, heads, selector, number)
        key = (tuple(head.text for head in heads), text, tuple(lets.items()))
        if key not in self._selected:
            if len(self._selected) > 1 << 14:
                self._selected.clear()
            self._selected[key] = self._select(heads, selector, lets)
        return self._selected[key]

    def _lets(self, outline: Outline, heads: list[Piece], selector: Selector, number: int) -> dict[str, Expr]:
        """Return the formulas that a selector and the heads around it read, by name."""
        blocks = (head.rule for head in heads)
        nodes: list[Node] = [selector, *(block.targets for block in blocks if isinstance(block, Block))]
        lets: dict[str, Expr] = {}
        while nodes:
            for node in walk(nodes.pop()):
                if isinstance(node, Name) and node.name not in lets:
                    declared = outline.declaration(node.name, number)
                    rule = None if declared is None else outline.pieces.pieces[declared.piece].rule
                    if isinstance(rule, Let):
                        lets[node.name] = rule.value
                        nodes.append(rule.value)
        return lets

    def _select(self, heads: list[Piece], selector: Selector, lets: dict[str, Expr]) -> list[Match] | None:
        """Return the matches of a selector inside these heads, None where one of them is no block or names fail."""
        assert self.network is not None
        blocks = [head.rule.targets for head in heads if isinstance(head.rule, Block)]
        if len(blocks) < len(heads):
            return None
        try:
            return select_with(self.network, self.registry, lets, blocks, selector)
        except (EvalError, InitDSLError, RecursionError):
            return None

    def tensors(self, matches: list[Match], rule: Rule) -> list[TensorInfo]:
        """Return the parameters that a statement takes of its matches, each once.

        Of a module these are all that lie in it; assignments (`~`, `=`) take tensors alone.
        """
        assert self.network is not None
        indices: dict[int, None] = {}
        for match in matches:
            if match.tensor is not None:
                indices.setdefault(match.tensor)
                continue
            if isinstance(rule, Assign):
                continue
            for index in self.network.reachable(match.module):
                indices.update(dict.fromkeys(self.network.modules[index].parameters.values()))
        return [self.network.tensors[index] for index in indices]


@lru_cache(maxsize=8)
def _known(config: Config, manifest: tuple[str, int, int] | None) -> Known:
    registry = default_registry()
    config = replace(config, initializers=(*config.initializers, *set(registry) - set(registry.at_hand())))
    return Known(config, registry.at_hand(), None if manifest is None else _network(*manifest))


def known_at(path: str) -> Known:
    """Return the names that a file at this path may use. Invalid settings count as none."""
    try:
        config = find_config(os.path.dirname(os.path.abspath(path)))
    except InitDSLError:
        config = Config(Path(os.path.dirname(os.path.abspath(path))))
    manifest = None
    manifest_path = config.manifest_of(path)
    if manifest_path is not None and config.holds(manifest_path):
        try:
            state = os.stat(manifest_path)
            manifest = (manifest_path, state.st_mtime_ns, state.st_size)
        except (OSError, ValueError):
            manifest = None
    return _known(config, manifest)


def owners(outline: Outline, number: int, targets: list[Selector], known: Known) -> list[int]:
    """Return the modules of the tensors that the targets of a piece select, by number; none where they can't be known."""
    piece = outline.pieces.pieces[number]
    found: dict[int, None] = {}
    for target in targets:
        span = piece.place(target.span)
        text = outline.pieces.text[span.start : span.end]
        for match in known.selected(outline, piece.outer, target, text, number) or ():
            if match.tensor is not None:
                found.setdefault(match.module)
    return list(found)


def shape_and_fans(tensor: TensorInfo) -> str:
    """Return a tensor's shape and fans for reading: "[8, 4], fan_in 4, fan_out 8"."""
    try:
        fan_in, fan_out = fans(tensor.shape)
    except ArgumentError:
        return str(list(tensor.shape))
    return f"{list(tensor.shape)}, fan_in {fan_in}, fan_out {fan_out}"
