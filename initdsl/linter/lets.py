"""Which `let` names a file reads."""

from __future__ import annotations

from initdsl.language.syntax.nodes import Let, Name
from initdsl.language.syntax.walk import children, walk

from .file import File, Placed

__all__ = ["reads"]


def reads(file: File) -> frozenset[Placed]:
    """The `let` statements some other statement reads, by name, in the file or in what it uses."""
    cache = file.__dict__.get("_reads")
    if cache is None:
        cache = file.__dict__["_reads"] = _reads(file)
    found: frozenset[Placed] = cache
    return found


def _reads(file: File) -> frozenset[Placed]:
    placed_of = {id(p.rule): p for p in file.everything if isinstance(p.rule, Let)}
    found: set[Placed] = set()
    for placed in file.everything:
        roots = children(placed.rule)
        if placed.blocks:
            roots += [block.targets for block in placed.blocks]
        for root in roots:
            for node in walk(root):
                # an index of a selector may bind its name; counted as read, to be on the safe side
                if isinstance(node, Name):
                    let = placed.lookup(node.name)
                    if let is not None and let is not placed.rule and id(let) in placed_of:
                        found.add(placed_of[id(let)])
    return frozenset(found)
