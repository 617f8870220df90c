"""What a plan remarks on `load`: what of a model a file leaves to other rules, and what of a file nobody reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
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
    said = f"`{written}` leaves {count} to other rules: {'; '.join(reasons)}"
    intended = all(one.load is not None or one.request.skips_missing for one in left.values())  # it says `skip`
    return _note(context, statement, "not-loaded", said, intended)


def _unread(context: Context, statements: Sequence[Statement], loaded: LoadedByClause) -> Iterator[Diagnostic]:
    """Yield, for each file from which modules are loaded, what of it no rule reads: the whole file or what has a prefix."""
    read: set[StoredTensor] = set()
    offered: dict[str, set[StoredTensor]] = {}  # by path, the tensors that a statement could have read
    seen: set[tuple[str, str]] = set()
    first: dict[str, tuple[Statement, Any]] = {}
    by_path: dict[str, list[tuple[int, Loaded]]] = {}
    for statement in statements:
        rule = statement.clause.rule
        for tensor, outcomes in loaded.get(statement.clause.number, {}).items():
            for one in outcomes:
                by_path.setdefault(one.request.path, []).append((tensor, one))
                request = one.request
                renamed = context.cache.files.renamed[request.path, request.prefix, request.renames]
                read.update(renamed[name] for name in one.names)
                if request.key is None and one.of_module and isinstance(rule, Assign):
                    first.setdefault(request.path, (statement, request))
                    if (request.path, request.prefix) not in seen:
                        seen.add((request.path, request.prefix))
                        offered.setdefault(request.path, set()).update(renamed.values())
    for path, tensors in offered.items():
        left = tensors - read
        if left:
            unread = sorted(stored.key for stored in left)
            statement, request = first[path]
            intended = _left_by_selectors(context, left, by_path[path])
            message = (
                f"no rule reads {len(unread)} of {len(tensors)} tensors of `{request.written}`: {listed(unread, MOST)}"
            )
            yield _note(context, statement, "unread-tensors", message, intended)


def _left_by_selectors(context: Context, unread: Set[StoredTensor], loaded: Sequence[tuple[int, Loaded]]) -> bool:
    """Return whether the model has all that is not read: the selectors of the rules that read the rest leave it out."""
    network = context.network
    known = {name for tensor in network.tensors for name in network.names(tensor)}
    # the name of the module that names in a file are relative to, and how the file's names are read
    readings = {
        (name.removesuffix(short), one.request.path, one.request.prefix, one.request.renames)
        for tensor, one in loaded
        for name in network.names(network.tensors[tensor])
        for short in one.names
        if name.endswith(short)
    }
    there = {
        stored
        for base, *reading in readings
        for name, stored in context.cache.files.renamed[tuple(reading)].items()
        if stored in unread and f"{base}{name}" in known
    }
    return unread <= there


def _note(context: Context, statement: Statement, name: str, message: str, intended: bool) -> Diagnostic:
    rule = statement.clause.rule
    assert isinstance(rule, Assign)
    where = context.rules.source(rule.source)
    return Diagnostic(name, message, where, rule.value.span, severity="note", intended=intended)
