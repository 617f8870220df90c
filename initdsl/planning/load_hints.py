"""What to write where a file has the tensors of a rule under other names, as one that was saved from a wrapped model has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from initdsl.language.expressions.shapes import EvalError
from initdsl.language.syntax.nodes import Call
from initdsl.network.description import Network
from initdsl.network.selectors.matches import Match
from initdsl.text.source import Span
from initdsl.text.wording import listed, quoted

from .context import Context
from .file_contents import StoredTensor
from .lookups import Loaded, names_of_match

__all__ = ["nothing_loaded", "prefix_hint"]


# tensors of a statement that are looked for by the end of their names, and names that a hint lists
SAMPLE = 4


def prefix_hint(
    context: Context,
    call: Call,
    request: Any,
    matches: Mapping[int, Sequence[Match]],
    tensors: Mapping[str, StoredTensor],
) -> str | None:
    """Return which `prefix=` to write where the file has most of what a statement selects under a longer name, else None."""
    starts = _starts(context.network, matches, tensors)
    starts = [start for start in starts if _all_begin(tensors, request.prefix + start, start)]
    if not starts:
        return None
    named = [request.prefix + start for start in starts]
    if len(named) > 1:
        return f"names in this file begin with {listed(named, SAMPLE)}: say which by `prefix=`"
    is_all = all(name.startswith(starts[0]) for name in tensors)
    prefix = f"prefix={quoted(named[0])}"
    is_short = all(one.name in (None, "path", "prefix") for one in call.arguments)
    written = f"load({quoted(request.written)}, {prefix})" if is_short else prefix
    return f"{'all names' if is_all else 'names'} in this file begin with `{named[0]}`: write `{written}`"


def _all_begin(tensors: Mapping[str, StoredTensor], prefix: str, start: str) -> bool:
    """Return whether names that begin so do it in the file too, and not by a `map`."""
    return all(stored.key.startswith(prefix) for name, stored in tensors.items() if name.startswith(start))


def _starts(network: Network, matches: Mapping[int, Sequence[Match]], tensors: Mapping[str, StoredTensor]) -> list[str]:
    """Return what stands before the names that most tensors of a statement have in the model, in the same number of names."""
    each = [names_of_match(network, found[0], index) for index, found in matches.items() if found]
    for naming in ("full", "relative"):
        wanted = [names for one in each if (names := getattr(one, naming))]
        ends = {f".{name}" for names in islice(wanted, SAMPLE) for name in names}
        starts = {name[: 1 - len(end)] for name in tensors for end in ends if name.endswith(end)}
        if naming == "relative":  # `weight` is the end of many names
            starts = {start for start in starts if all(name.startswith(start) for name in tensors)}
        found = {start: sum(any(start + n in tensors for n in names) for names in wanted) for start in ["", *starts]}
        best = max(found.values())
        if 2 * best > len(wanted) and found[""] < best:
            return sorted(start for start, count in found.items() if count == best)
    return []


def nothing_loaded(
    context: Context, call: Call, at: Span, matches: Mapping[int, Sequence[Match]], left: Sequence[Loaded]
) -> EvalError:
    """Return the error of a `load` that leaves everything: the file has other names, or all in other shapes."""
    if not left:
        return EvalError("the file has nothing of what this selects", at, name="bad-load")
    request = left[0].request
    others = next((one.load for one in left if one.load is not None), None)
    if others is not None:
        message = f"`{request.written}` has nothing of what this selects in the shape that it has here"
        return EvalError(message, at, f"`{others.key}` is {list(others.shape)} there", "bad-load")
    tensors = context.cache.files.renamed[request.path, request.prefix, request.renames]
    hint = prefix_hint(context, call, request, matches, tensors)
    if hint is None:
        names = [stored.key for stored in tensors.values()]
        hint = f"it has {listed(names, SAMPLE)}; `prefix=` says how names begin there, and `map=` renames parts of them"
    return EvalError(f"`{request.written}` has nothing of what this selects", at, hint, "bad-load")
