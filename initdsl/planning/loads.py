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
from initdsl.network.selectors.matches import Match
from initdsl.text.wording import did_you_mean, listed

from .actions import Load
from .context import Context
from .file_contents import StoredTensor, contents_of, header_of, manifest_of
from .load_hints import prefix_hint
from .lookups import Loaded, Selected, Site, names_in_files, names_of_match

__all__ = ["Request", "all_but", "base_shape_of", "find_tensor", "renamed"]


# the arguments of `load`, and the words that some of them take
ARGUMENTS = ("path", "key", "prefix", "map", "names", "missing", "mismatch")
WORDS = {"names": ("relative", "full"), "missing": ("error", "skip"), "mismatch": ("error", "skip")}


@dataclass(frozen=True, slots=True)
class Request:
    """A call of `load` with its arguments read: `Request("/models/a.safetensors", "a.safetensors", None, "encoder.", ())`."""

    path: str
    written: str  # the path as the rules have it
    key: str | None
    prefix: str
    renames: tuple[tuple[str, str], ...]  # of `map`: parts of names in the file, and what they are in the network
    names: str | None = None  # `relative` or `full`, where the call says it
    skips_missing: bool = False  # whether what the file doesn't have is left to other rules
    skips_mismatched: bool = False  # and what it has in another shape


def find_tensor(site: Site, call: Call, env: Environment, *, alone: bool = False) -> Load | None:
    """Return the tensor that a `load` means for the target of a site, which is noted in what the statement loads.

    None where it is left to other rules: the file lacks it or has it in another shape, and the call allows that. A `load`
    that stands `alone` compares the shapes. Raises EvalError for what can't be right.
    """
    assert site.source is not None
    request = _request(site.context, call, env, site.source)
    tensors = _renamed_tensors(site.context, request, call)
    wanted = [request.key] if request.key is not None else _names(site, request, tensors, call)
    names = [name for name in wanted if name in tensors]
    if not names:
        if _comes_otherwise(site, tensors):
            return None
        if not request.skips_missing and not _is_count(site):
            raise _no_tensor(site, call, request, wanted, tensors)
        _note(site, Loaded(None, [], request, bool(site.match.scope), is_left=True))
        return None
    if alone and _comes_by_its_parts(site, tensors):
        return None
    stored = tensors[names[0]]
    shapes = header_of(site.context.cache.files, stored.path, call)
    if stored.key not in shapes:
        message = f"`{os.path.basename(stored.path)}` has no tensor `{stored.key}`, which the index says it has"
        raise EvalError(message, call.span, name="bad-load")
    load = Load(stored.path, stored.key, shapes[stored.key])
    is_left = alone and request.skips_mismatched and load.shape != site.shape
    _note(site, Loaded(load, names, request, bool(site.match.scope), is_left))
    return None if is_left else load


def _note(site: Site, loaded: Loaded) -> None:
    if site.selected is not None and site.target is not None:
        site.selected.loaded.setdefault(site.target, []).append(loaded)


def _no_tensor(
    site: Site, call: Call, request: Request, wanted: list[str], tensors: Mapping[str, StoredTensor]
) -> EvalError:
    missing = wanted[0] if request.key is not None else f"{request.prefix}{wanted[0]}"
    hint = None
    if request.key is None and site.selected is not None:
        hint = prefix_hint(site.context, call, request, site.selected.matches, tensors)
    if hint is not None:
        return EvalError(f"`{request.written}` has no tensor `{missing}`", call.span, hint, "bad-load")
    hint = did_you_mean(wanted[0], tensors)
    if request.key is None:
        skip = "`missing=skip` leaves to other rules what a file doesn't have" + all_but(site)
        hint = skip if hint is None else f"{hint} {skip}"
    return EvalError(f"`{request.written}` has no tensor `{missing}`", call.span, hint, "bad-load")


def all_but(site: Site) -> str:
    """Return how to load all of a model but the part that the target lies in, to go on a hint with."""
    network, match = site.context.network, site.match
    if match.scope[-1:] != (0,) or match.module == 0:
        return ""
    part = next((i for i in network.modules[0].children.values() if match.module in network.reachable(i)), None)
    return "" if part is None else f", and so does `net.* not in {network.modules[part].label} = load(...)`"


# ---- names of the tensors of a statement


def _names(site: Site, request: Request, tensors: Mapping[str, StoredTensor], call: Call) -> list[str]:
    """Return the names a file may have the target under, by the one naming that the statement's tensors all go by."""
    names = names_in_files(site)
    naming = request.names or _naming(site, request, tensors, call)
    return names.relative if naming == "relative" and names.relative else names.full


def _naming(site: Site, request: Request, tensors: Mapping[str, StoredTensor], call: Call) -> str:
    """Return by which names a file has the tensors of a statement. Raises EvalError where it has some by either."""
    if site.selected is None:
        return "relative"
    namings = site.context.cache.files.namings
    key = (site.selected.number, request.path, request.prefix, request.renames)
    if key not in namings:
        namings[key] = _voted(site, site.selected, request, tensors, call)
    return namings[key]


def _voted(site: Site, selected: Selected, request: Request, tensors: Mapping[str, StoredTensor], call: Call) -> str:
    found: dict[str, tuple[str, Match]] = {}
    for index, matches in selected.matches.items():
        for match in matches:
            names = names_of_match(site.context.network, match, index)
            if not names.relative or names.relative == names.full:
                continue
            for naming, own, others in (("relative", *names), ("full", *names[::-1])):
                if naming not in found:
                    name = next((name for name in own if name in tensors and name not in others), None)
                    if name is not None:
                        found[naming] = (name, match)
    if len(found) < 2:
        return next(iter(found), "relative")
    (relative, match), (full, _) = found["relative"], found["full"]
    module = site.context.network.modules[match.scope[0]].label
    message = (
        f"`{request.written}` has `{request.prefix}{relative}`, a name within `{module}`, and `{request.prefix}{full}`, "
        "a name in full: this could mean either"
    )
    hint = "say which: `names=full` or `names=relative`"
    raise EvalError(message, call.span, hint, "ambiguous-name")


# ---- tensors that a state dict need not have


def _is_count(site: Site) -> bool:
    """Return whether the target is a norm's count of batches, which files of old versions lack."""
    network = site.context.network
    assert site.target is not None
    tensor = network.tensors[site.target]
    owner, local = tensor.owners[0]
    bases = network.modules[owner].cls.bases
    is_norm = any(base.qualname == "torch.nn.modules.batchnorm._NormBase" for base in bases)
    return is_norm and local == "num_batches_tracked" and tensor.kind == "buffer"


def _comes_otherwise(site: Site, tensors: Mapping[str, StoredTensor]) -> bool:
    """Return whether a file has what the target is computed from, or what is computed from it."""
    assert site.target is not None
    computed = site.context.network.computed.get(site.target)
    return _comes_by_its_parts(site, tensors) or (computed is not None and _has(site, computed, tensors))


def _comes_by_its_parts(site: Site, tensors: Mapping[str, StoredTensor]) -> bool:
    """Return whether the target is computed, and the file has all that it is computed from."""
    network = site.context.network
    assert site.target is not None
    tensor = network.tensors[site.target]
    if tensor.kind != "parametrized":
        return False
    originals = network.originals(tensor)
    return bool(originals) and all(_has(site, original, tensors) for original in originals)


def _has(site: Site, tensor: int, tensors: Mapping[str, StoredTensor]) -> bool:
    """Return whether a file has another tensor of the statement, by any of its names."""
    matches = site.selected.matches.get(tensor, []) if site.selected is not None else []
    each = [names_of_match(site.context.network, match, tensor) for match in matches]
    return any(name in tensors for names in each for name in (*names.relative, *names.full))


def base_shape_of(context: Context, call: Call, path: str, source: str, names: list[str]) -> tuple[int, ...]:
    """Return the shape that a parameter of these names has in the model that a manifest describes. Raises EvalError."""
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
            message = "`load` takes a path, and `key=`, or `prefix=`, `map=`, `names=`, `missing=` and `mismatch=`"
            hint = 'as in `load("x.safetensors", key="head.weight")`'
            raise EvalError(message, argument.span, hint, "bad-load")
        given[name] = _argument(name, argument, env)
    if "path" not in given:
        raise EvalError("`load` needs a path", call.span, name="bad-load")
    if "key" in given and given.keys() & {"prefix", "map", "names"}:
        message = "`key` names one tensor as the file does; `prefix`, `map` and `names` are for many"
        raise EvalError(message, call.span, name="bad-load")
    return Request(
        path=_path(context, given["path"], call, source),
        written=given["path"],
        key=given.get("key"),
        prefix=given.get("prefix", ""),
        renames=tuple(given.get("map", {}).items()),
        names=given.get("names"),
        skips_missing=given.get("missing") == "skip",
        skips_mismatched=given.get("mismatch") == "skip",
    )


def _argument(name: str, argument: Argument, env: Environment) -> Any:
    """Return the value of an argument of `load`. Raises EvalError for one of another type."""
    node = argument.value
    words = WORDS.get(name)
    value = node.name if words is not None and isinstance(node, Name) else evaluate(node, env)
    if words is not None:
        if value not in words:
            raise EvalError(f"`{name}` must be one of {listed(list(words))}", argument.span, name="bad-load")
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
    """Return the tensors of the file by the names the model is to know them by."""
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
