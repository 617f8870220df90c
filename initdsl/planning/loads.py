"""Tensors of files: what `load(...)` and `base_shape(...)` name, looked up while the plan is made."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from initdsl.language.expressions.evaluate import evaluate
from initdsl.language.expressions.operators import Environment
from initdsl.language.expressions.shapes import EvalError
from initdsl.language.rules.loader import inside_root
from initdsl.language.syntax.nodes import Argument, Call, Name
from initdsl.text.wording import did_you_mean

from .actions import Load
from .context import Context
from .file_contents import StoredTensor, contents_of, header_of, manifest_of

__all__ = ["base_shape_of", "find_tensor", "renamed"]


ARGUMENTS = ("path", "key", "prefix", "map", "missing")


@dataclass(frozen=True, slots=True)
class Request:
    """A call of `load` with its arguments read: `Request("/models/a.safetensors", "a.safetensors", None, "encoder.", (), False)`."""

    path: str
    written: str  # the path as the rules have it
    key: str | None
    prefix: str
    renames: tuple[tuple[str, str], ...]  # of `map`: parts of names in the file, and what they are in the network
    skips: bool  # whether what the file doesn't have is left to other rules


def find_tensor(context: Context, call: Call, env: Environment, source: str, names: list[str]) -> Load | None:
    """Return the tensor that a `load` in the rule file `source` means for a parameter of these names, the first preferred.

    None where the file has none of them and `missing=skip` allows that. Raises EvalError for what can't be right.
    """
    request = _request(context, call, env, source)
    tensors = _renamed_tensors(context, request, call)
    wanted = [request.key] if request.key is not None else names
    name = next((n for n in wanted if n in tensors), None)
    if name is None:
        if request.skips:
            return None
        missing = wanted[0] if request.key is not None else f"{request.prefix}{wanted[0]}"
        hint = did_you_mean(wanted[0], tensors)
        if hint is None and request.key is None:
            hint = "`missing=skip` leaves to other rules what a file doesn't have"
        raise EvalError(f"`{request.written}` has no tensor `{missing}`", call.span, hint, "bad-load")
    stored = tensors[name]
    shapes = header_of(context.cache.files, stored.path, call)
    if stored.key not in shapes:
        message = f"`{os.path.basename(stored.path)}` has no tensor `{stored.key}`, which the index says it has"
        raise EvalError(message, call.span, name="bad-load")
    return Load(stored.path, stored.key, shapes[stored.key])


def base_shape_of(context: Context, call: Call, path: str, source: str, names: list[str]) -> tuple[int, ...]:
    """Return the shape that a parameter of these names has in the network that a manifest describes. Raises EvalError."""
    shapes = manifest_of(context.cache.files, _path(context, path, call, source), call)
    name = next((n for n in names if n in shapes), None)
    if name is None:
        hint = did_you_mean(names[0], shapes)
        raise EvalError(f"`{path}` has no tensor `{names[0]}`", call.span, hint, "bad-manifest")
    return shapes[name]


# ---- the call


def _request(context: Context, call: Call, env: Environment, source: str) -> Request:
    given: dict[str, Any] = {}
    for position, argument in enumerate(call.arguments):
        name = argument.name or ("path" if position == 0 else None)
        if name not in ARGUMENTS or name in given:
            message = "`load` takes a path, and `key=`, or `prefix=`, `map=` and `missing=`"
            hint = 'as in `load("x.safetensors", key="head.weight")`'
            raise EvalError(message, argument.span, hint, "bad-load")
        given[name] = _argument(name, argument, env)
    if "path" not in given:
        raise EvalError("`load` needs a path", call.span, name="bad-load")
    if "key" in given and ("prefix" in given or "map" in given):
        message = "`key` names one tensor as the file does, `prefix` and `map` rename"
        raise EvalError(message, call.span, name="bad-load")
    return Request(
        path=_path(context, given["path"], call, source),
        written=given["path"],
        key=given.get("key"),
        prefix=given.get("prefix", ""),
        renames=tuple(given.get("map", {}).items()),
        skips=given.get("missing") == "skip",
    )


def _argument(name: str, argument: Argument, env: Environment) -> Any:
    """Return the value of an argument of `load`. Raises EvalError for one of another type."""
    node = argument.value
    value = node.name if name == "missing" and isinstance(node, Name) else evaluate(node, env)
    if name == "missing":
        if value not in ("error", "skip"):
            raise EvalError("`missing` must be one of `error`, `skip`", argument.span, name="bad-load")
    elif name == "map":
        texts = value.values() if isinstance(value, dict) else [None]
        if not all(isinstance(text, str) for text in texts):
            hint = 'as in `map={"blocks": "layers"}`'
            raise EvalError("`map` must be a mapping of strings", argument.span, hint, "bad-load")
    elif not isinstance(value, str):
        raise EvalError(f"`{name}` must be a string", argument.span, name="bad-load")
    return value


def _path(context: Context, path: str, call: Call, source: str) -> str:
    """Return where a file is: its path is relative to the rule file, else to the root. Raises EvalError outside the root."""
    root = _root(context)
    is_file = source in context.rules.sources and os.path.exists(source)
    place = inside_root(path, Path(os.path.dirname(source) if is_file else root) or Path("."), root)
    if place is None:
        raise EvalError(f"`{path}` lies outside the root folder", call.span, name="outside-root")
    return str(place)


def _root(context: Context) -> Path:
    return Path(context.rules.root or os.getcwd())


# ---- names


def _renamed_tensors(context: Context, request: Request, call: Call) -> Mapping[str, StoredTensor]:
    """Return the tensors of the file by the names the network is to know them by."""
    tensors = context.cache.files.renamed
    key = (request.path, request.prefix, request.renames)
    if key not in tensors:
        contents = contents_of(context.cache.files, request.path, _root(context), call)
        renames = request.prefix or request.renames
        tensors[key] = dict(_renaming(contents, request, call)) if renames else contents
    return tensors[key]


def _renaming(contents: Mapping[str, StoredTensor], request: Request, call: Call) -> Iterator[tuple[str, StoredTensor]]:
    """Yield the tensors whose names start with the prefix, by their new names. Raises EvalError for renames in vain."""
    used: set[str] = set()
    taken: dict[str, str] = {}
    for name, stored in contents.items():
        if not name.startswith(request.prefix):
            continue
        new = name[len(request.prefix) :]
        for old, to in request.renames:
            changed = renamed(new, old, to)
            if changed is not None:
                used.add(old)
                new = changed
        if new in taken:
            message = f"`{taken[new]}` and `{name}` of `{request.written}` would both be `{new}`"
            raise EvalError(message, call.span, name="bad-load")
        taken[new] = name
        yield new, stored
    if request.prefix and not taken:
        starts = sorted({name.split(".")[0] + "." for name in contents if "." in name})
        message = f"no tensor of `{request.written}` has a name that starts with `{request.prefix[:100]}`"
        raise EvalError(message, call.span, did_you_mean(request.prefix, starts), "bad-load")
    for old, _ in request.renames:
        if old not in used:
            parts = {part for name in contents for part in name.split(".")}
            message = f"no name in `{request.written}` has `{old}` in it"
            raise EvalError(message, call.span, did_you_mean(old, parts), "bad-load")


def renamed(name: str, old: str, new: str) -> str | None:
    """Return a dotted name with a run of whole parts replaced wherever it stands, `*` for any one part; None where it is not there.

    >>> renamed("blocks.3.attn.qkv.weight", "blocks.*.attn", "layers.*.attention")
    'layers.3.attention.qkv.weight'
    """
    parts, wanted = name.split("."), old.split(".")
    out: list[str] = []
    place, hit = 0, False
    while place < len(parts):
        window = parts[place : place + len(wanted)]
        if len(window) == len(wanted) and all(w in ("*", p) for w, p in zip(wanted, window, strict=True)):
            stars = iter([p for w, p in zip(wanted, window, strict=True) if w == "*"])
            out += [next(stars, "*") if part == "*" else part for part in new.split(".") if part]
            place += len(wanted)
            hit = True
        else:
            out.append(parts[place])
            place += 1
    return ".".join(out) if hit else None
