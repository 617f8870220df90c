"""Which `let` names a file reads, and which are free."""

from __future__ import annotations

from itertools import count

from initdsl.language.expressions.functions import FANS, FUNCTIONS
from initdsl.language.syntax.nodes import Let, Name
from initdsl.language.syntax.walk import walk

from .file import File, parts_of
from .statements import Placed

__all__ = ["unread_lets", "unused_name"]


def unread_lets(file: File) -> list[tuple[Placed, Let]]:
    """Return the `let` statements of this file that no other statement reads, here or in what it uses."""
    read: set[int] = set()  # the orders of the `let` statements that are
    for placed in file.everything:
        roots = [*parts_of(placed.rule), *(block.targets for block in placed.blocks)]
        for node in (node for root in roots for node in walk(root)):
            # an index of a selector may bind its name; counted as read, to be on the safe side
            declared = placed.scope.find(node.name, placed.order) if isinstance(node, Name) else None
            if declared is not None and declared[0] != placed.order:
                read.add(declared[0])
    return [(p, p.rule) for p in file.statements if isinstance(p.rule, Let) and p.order not in read]


def unused_name(file: File, stem: str) -> str:
    """Return `stem`, or `stem_2`, `stem_3` and so on: a name that means nothing anywhere in the file."""
    taken = {node.name for node in file.nodes if isinstance(node, Name)}
    taken |= {placed.rule.name for placed in file.everything if isinstance(placed.rule, Let)}
    taken |= {*FUNCTIONS, *FANS}
    names = (stem if number == 1 else f"{stem}_{number}" for number in count(1))
    return next(name for name in names if name not in taken)
