"""Tensors of files: what `load(...)` names, found while the plan is made.

Of safetensors files only headers are read for a plan, and no torch is loaded. A pickled checkpoint (`.pt`) goes through
`torch.load(weights_only=True)` and never through an unpickler that can run code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from initdsl.checkpoints.pickled import PICKLED, unpickled
from initdsl.language.expressions.evaluate import evaluate
from initdsl.language.expressions.shapes import EvalError
from initdsl.language.rules.loader import inside_root
from initdsl.language.rules.ruleset import RuleSet
from initdsl.language.syntax.nodes import Call, Name
from initdsl.network.description import Network
from initdsl.text.failures import first_line
from initdsl.text.wording import did_you_mean

from .actions import Load

__all__ = ["Files"]


INDEX = ".index.json"


INDEX_BYTES = 1 << 28


ARGUMENTS = ("path", "key", "prefix", "map", "missing")


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor of a file: which file, and its name there."""

    path: str
    key: str


@dataclass(frozen=True, slots=True)
class Request:
    """A call of `load` with its arguments read."""

    path: str
    shown: str  # the path as written
    key: str | None
    prefix: str
    renames: tuple[tuple[str, str], ...]
    skips: bool  # what the file doesn't have is left to other rules


class Files:
    """The files that one rule set loads; each is opened once. Every method raises EvalError for what can't be right."""

    def __init__(self, rules: RuleSet):
        self.rules = rules
        self._names: dict[str, dict[str, Place]] = {}
        self._shapes: dict[str, dict[str, tuple[int, ...]]] = {}
        self._renamed: dict[Any, dict[str, Place]] = {}
        self._bases: dict[str, dict[str, tuple[int, ...]]] = {}

    @property
    def paths(self) -> list[str]:
        """Every file that was looked into."""
        return sorted({*self._names, *self._shapes, *self._bases})

    def find(self, call: Call, env: Any, source: str, names: list[str]) -> Load | None:
        """The tensor that a call means for a parameter of these names, the first of them preferred.

        None where the file has none of them and `missing=skip` allows that.
        """
        request = self._request(call, env, source)
        known = self._tensors(request, call)
        wanted = [request.key] if request.key is not None else names
        name = next((n for n in wanted if n in known), None)
        if name is None:
            if request.skips:
                return None
            missing = wanted[0] if request.key is not None else f"{request.prefix}{wanted[0]}"
            hint = did_you_mean(wanted[0], known)
            if hint is None and request.key is None:
                hint = "`missing=skip` leaves to other rules what a file doesn't have"
            raise EvalError(f"`{request.shown}` has no tensor `{missing}`", call.span, hint, "bad-load")
        place = known[name]
        shapes = self._header(place.path, call)
        if place.key not in shapes:
            raise EvalError(
                f"`{os.path.basename(place.path)}` has no tensor `{place.key}`, which the index says it has", call.span,
                name="bad-load",
            )  # fmt: skip
        return Load(place.path, place.key, shapes[place.key])

    def base_shape(self, call: Call, path: str, source: str, names: list[str]) -> tuple[int, ...]:
        """The shape that a parameter of these names has in the network that a manifest describes."""
        place = self._path(path, call, source)
        if place not in self._bases:
            self._bases[place] = self._manifest(place, call)
        shapes = self._bases[place]
        name = next((n for n in names if n in shapes), None)
        if name is None:
            raise EvalError(
                f"`{path}` has no tensor `{names[0]}`", call.span, did_you_mean(names[0], shapes), "bad-manifest"
            )
        return shapes[name]

    def _manifest(self, path: str, call: Call) -> dict[str, tuple[int, ...]]:
        self._there(path, call)
        try:
            if os.path.getsize(path) > INDEX_BYTES:
                raise ValueError("it is too large")
            with open(path, encoding="utf-8") as file:
                network = Network.from_manifest(json.load(file))
        except (OSError, ValueError, RecursionError) as error:
            raise unreadable(path, "a manifest", str(error), call) from None
        return {name: tensor.shape for tensor in network.tensors for name in network.names(tensor)}

    # ---- the call

    def _request(self, call: Call, env: Any, source: str) -> Request:
        given: dict[str, Any] = {}
        for position, argument in enumerate(call.arguments):
            name = argument.name or ("path" if position == 0 else None)
            if name not in ARGUMENTS or name in given:
                raise EvalError(
                    "`load` takes a path, and `key=`, or `prefix=`, `map=` and `missing=`", argument.span,
                    'as in `load("x.safetensors", key="head.weight")`', "bad-load",
                )  # fmt: skip
            value = argument.value
            if name == "missing":
                given[name] = value.name if isinstance(value, Name) else evaluate(value, env)
                if given[name] not in ("error", "skip"):
                    raise EvalError("`missing` must be one of `error`, `skip`", argument.span, name="bad-load")
                continue
            given[name] = evaluate(value, env)
            if name == "map":
                texts = given[name].values() if isinstance(given[name], dict) else [None]
                if not all(isinstance(text, str) for text in texts):
                    raise EvalError(
                        "`map` must be a mapping of strings",
                        argument.span,
                        'as in `map={"blocks": "layers"}`',
                        "bad-load",
                    )
            elif not isinstance(given[name], str):
                raise EvalError(f"`{name}` must be a string", argument.span, name="bad-load")
        if "path" not in given:
            raise EvalError("`load` needs a path", call.span, name="bad-load")
        if "key" in given and ("prefix" in given or "map" in given):
            raise EvalError(
                "`key` names one tensor as the file does, `prefix` and `map` rename", call.span, name="bad-load"
            )
        return Request(
            self._path(given["path"], call, source), given["path"], given.get("key"), given.get("prefix", ""),
            tuple(given.get("map", {}).items()), given.get("missing") == "skip",
        )  # fmt: skip

    def _path(self, path: str, call: Call, source: str) -> str:
        root = self.rules.root or os.getcwd()
        known = source in self.rules.sources and os.path.exists(source)
        place = inside_root(path, Path(os.path.dirname(source) if known else root) or Path("."), Path(root))
        if place is None:
            raise EvalError(f"`{path}` lies outside the root folder", call.span, name="outside-root")
        return str(place)

    # ---- names

    def _tensors(self, request: Request, call: Call) -> Mapping[str, Place]:
        """The tensors of the file by the names the network is to know them by."""
        key = (request.path, request.prefix, request.renames)
        if key not in self._renamed:
            found = self._contents(request.path, call)
            self._renamed[key] = (
                dict(self._renaming(found, request, call)) if request.prefix or request.renames else found
            )
        return self._renamed[key]

    def _renaming(self, found: Mapping[str, Place], request: Request, call: Call) -> Iterator[tuple[str, Place]]:
        used: set[str] = set()
        taken: dict[str, str] = {}
        for name, place in found.items():
            if not name.startswith(request.prefix):
                continue
            new = name[len(request.prefix) :]
            for old, to in request.renames:
                changed = renamed(new, old, to)
                if changed is not None:
                    used.add(old)
                    new = changed
            if new in taken:
                raise EvalError(
                    f"`{taken[new]}` and `{name}` of `{request.shown}` would both be `{new}`",
                    call.span,
                    name="bad-load",
                )
            taken[new] = name
            yield new, place
        if request.prefix and not taken:
            starts = sorted({name.split(".")[0] + "." for name in found if "." in name})
            raise EvalError(
                f"no tensor of `{request.shown}` has a name that starts with `{request.prefix[:100]}`", call.span,
                did_you_mean(request.prefix, starts), "bad-load",
            )  # fmt: skip
        for old, _ in request.renames:
            if old not in used:
                parts = {part for name in found for part in name.split(".")}
                raise EvalError(
                    f"no name in `{request.shown}` has `{old}` in it", call.span, did_you_mean(old, parts), "bad-load"
                )

    # ---- the files

    def _contents(self, path: str, call: Call) -> dict[str, Place]:
        if path not in self._names:
            if path.endswith(INDEX):
                self._names[path] = self._index(path, call)
            else:
                self._names[path] = {key: Place(path, key) for key in self._header(path, call)}
        return self._names[path]

    def _index(self, path: str, call: Call) -> dict[str, Place]:
        """The tensors of a sharded checkpoint, by its `model.safetensors.index.json`."""
        self._there(path, call)
        try:
            if os.path.getsize(path) > INDEX_BYTES:
                raise ValueError("it is too large")
            with open(path, encoding="utf-8") as file:
                shards = json.load(file)["weight_map"]
            if not all(isinstance(shard, str) for shard in shards.values()):
                raise TypeError
        except (KeyError, TypeError, AttributeError):
            raise unreadable(path, "an index", 'it has no "weight_map" of names and files', call) from None
        except (OSError, ValueError, RecursionError) as error:
            raise unreadable(path, "an index", str(error), call) from None
        folder, root = Path(path).parent, Path(self.rules.root or os.getcwd())
        places: dict[str, str] = {}
        for shard in set(shards.values()):
            place = inside_root(shard, folder, root)
            if place is None:
                raise EvalError(
                    f"`{shard[:100]}`, named by an index, lies outside the root folder", call.span, name="outside-root"
                )
            places[shard] = str(place)
        return {key: Place(places[shard], key) for key, shard in shards.items()}

    def _header(self, path: str, call: Call) -> dict[str, tuple[int, ...]]:
        if path not in self._shapes:
            self._there(path, call)
            self._shapes[path] = self._pickled(path, call) if path.endswith(PICKLED) else self._safe(path, call)
        return self._shapes[path]

    def _there(self, path: str, call: Call) -> None:
        if not os.path.isfile(path):
            raise EvalError(f"there is no file `{path}`", call.span, name="unreadable-file")

    def _safe(self, path: str, call: Call) -> dict[str, tuple[int, ...]]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="np") as file:
                return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise unreadable(path, "safetensors", str(error), call) from None

    def _pickled(self, path: str, call: Call) -> dict[str, tuple[int, ...]]:
        try:
            return {key: tuple(tensor.shape) for key, tensor in unpickled(path, "meta").items()}
        except Exception as error:  # somebody's bytes: there is no telling what an unpickler says of them
            if type(error).__name__ == "UnpicklingError":
                what = f"`{path}` holds more than tensors, or is no checkpoint: reading it could run code"
                hint = "save the state dict alone, or as safetensors"
                raise EvalError(what, call.span, hint, "unreadable-file") from None
            raise unreadable(path, "a pickled checkpoint", first_line(error), call) from None


def renamed(name: str, old: str, new: str) -> str | None:
    """A dotted name with a run of whole parts replaced wherever it stands, a `*` for any one part; None where it isn't.

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


def unreadable(path: str, what: str, reason: str, call: Call) -> EvalError:
    return EvalError(f"`{path}` can't be read as {what}: {reason}", call.span, name="unreadable-file")
