"""What a plan remarks on `load`: what of a model a file leaves to other rules, and what of a file nobody reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from initdsl.language.syntax.nodes import Assign
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.wording import listed

from .context import Context
from .file_contents import StoredTensor
from .lookups import Loaded
from .statements import Statement

__all__ = ["load_notes"]


# names that a note lists
MOST = 8


# by clause and tensor, what the `load`s of that clause made of it
LoadedByClause = Mapping[int, Mapping[int, Sequence[Loaded]]]


def load_notes(context: Context, statements: Sequence[Statement], loaded: LoadedByClause) -> Iterator[Diagnostic]:
    """Yield what files lack, or have in another shape, of what `load` selects; and what they have that no rule reads."""
    for statement in statements:
        by_tensor = loaded.get(statement.clause.number, {})
        left = {tensor: outcomes[-1] for tensor, outcomes in by_tensor.items() if outcomes[-1].is_left}
        if left:
            yield _left(context, statement, left)
    yield from _unread(context, statements, loaded)


def _left(context: Context, statement: Statement, left: Mapping[int, Loaded]) -> Diagnostic:
    tensors = context.network.tensors
    missing = [tensors[i].name for i, one in left.items() if one.load is None]
    others = [
        f"`{tensors[i].name}` is {list(one.load.shape)} there and {list(tensors[i].shape)} here"
        for i, one in left.items()
        if one.load is not None
    ]
    reasons = [f"it lacks {listed(missing, MOST)}"] if missing else []
    reasons += ["; ".join(others[:MOST] + ["..."] * (len(others) > MOST))] if others else []
    written = next(iter(left.values())).request.written
    count = f"{len(left)} tensor{'s' * (len(left) > 1)}"
    return _note(context, statement, "not-loaded", f"`{written}` leaves {count} to other rules: {'; '.join(reasons)}")


def _unread(context: Context, statements: Sequence[Statement], loaded: LoadedByClause) -> Iterator[Diagnostic]:
    """Yield, for each file from which modules are loaded, what of it no rule reads: the whole file or what has a prefix."""
    read: set[StoredTensor] = set()
    offered: dict[str, set[StoredTensor]] = {}  # by path, the tensors that a statement could have read
    seen: set[tuple[str, str]] = set()
    first: dict[str, tuple[Statement, Any]] = {}
    for statement in statements:
        rule = statement.clause.rule
        for outcomes in loaded.get(statement.clause.number, {}).values():
            for one in outcomes:
                request = one.request
                renamed = context.cache.files.renamed[request.path, request.prefix, request.renames]
                read.update(renamed[name] for name in one.names)
                if request.key is None and one.of_module and isinstance(rule, Assign):
                    first.setdefault(request.path, (statement, request))
                    if (request.path, request.prefix) not in seen:
                        seen.add((request.path, request.prefix))
                        offered.setdefault(request.path, set()).update(renamed.values())
    for path, tensors in offered.items():
        unread = sorted(stored.key for stored in tensors - read)
        if unread:
            statement, request = first[path]
            message = (
                f"no rule reads {len(unread)} of {len(tensors)} tensors of `{request.written}`: {listed(unread, MOST)}"
            )
            yield _note(context, statement, "unread-tensors", message)


def _note(context: Context, statement: Statement, name: str, message: str) -> Diagnostic:
    rule = statement.clause.rule
    assert isinstance(rule, Assign)
    return Diagnostic(name, message, context.rules.source(rule.source), rule.value.span, severity="note")
