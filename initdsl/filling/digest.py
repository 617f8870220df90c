"""A digest of all that decides which values a plan gives: equal for two plans that give equal values.

It goes by what rules come to (numbers that are bound, whether from a file, from `vars` or from an attribute of the
model), by what loaded files hold, and by the code of initializers and resets as far as Python shows it; not by the text
of the rules.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

import torch

from initdsl.initializers import Initializer
from initdsl.network.description import Live
from initdsl.network.kinds import is_sharded
from initdsl.planning.actions import Action, Load
from initdsl.planning.plan import Plan, PlanEntry

__all__ = ["PlanDigest", "bytes_of", "digest_of", "plan_digest"]


class PlanDigest(NamedTuple):
    """What a plan gives, in hashes: `values` are those of the rules, `files` of what they load, `code` of what they call.

    `held` is that of the values which are there already, and which the plan reads.
    """

    values: str
    files: str
    code: str
    held: str


def plan_digest(plan: Plan, live: Live, held: Iterable[torch.Tensor] = ()) -> PlanDigest:
    """Return the digest of a plan on a model, and of further tensors that are `held` already. Raises OSError."""
    known: dict[int, str] = {}
    entries = [
        (entry.name, entry.shape, [known.get(id(a)) or known.setdefault(id(a), _action(a)) for a in entry.actions])
        for entry in plan.order
    ]
    ties = [(tie.source, tie.others) for tie in plan.ties]
    expected = [(e.tensor, e.rule.what, e.rule.operator, e.bounds) for e in plan.expected]
    modules = plan.network.modules
    resets = [(modules[m].name, modules[m].reset, tensors, _plain(modules[m].values)) for m, tensors in plan.resets]
    called = {initializer.name: initializer for action in plan.actions for initializer in action.initializers}
    code = [
        (name, _code(initializer.function)) for name, initializer in sorted(called.items()) if not initializer.builtin
    ]
    classes = {type(live.modules[m]): modules[m].reset for m, _ in plan.resets}
    code += sorted((cls.__qualname__, _code(getattr(cls, reset or "", None), cls)) for cls, reset in classes.items())
    if code:
        code.append(("default dtype", str(torch.get_default_dtype())))
    paths = sorted({load.path for action in plan.actions for load in action.loads})
    return PlanDigest(
        digest_of([entries, ties, expected, resets]),
        digest_of([file_digest(path) for path in paths]),
        digest_of(code),
        digest_of([_bytes(tensor) for tensor in (*_read(plan, live), *held)]),
    )


def digest_of(values: Any) -> str:
    """Return a hash of plain values, in hexadecimal digits."""
    return hashlib.blake2b(json.dumps(_plain(values), sort_keys=True).encode(), digest_size=16).hexdigest()


# ---- what is written


def _action(action: Action) -> str:
    """Return what an action writes, and where, without the clause that says so."""
    return digest_of(
        [getattr(action, field.name) for field in fields(action) if field.name not in ("clause", "effect")]
    )


def _read(plan: Plan, live: Live) -> Iterator[torch.Tensor]:
    """Yield the tensors that rules read and nothing sets, where this process holds them as a whole."""
    entries: dict[int, PlanEntry] = {entry.tensor.index: entry for entry in plan.entries}
    for number in sorted({tensor for action in plan.actions for tensor in action.reads}):
        tensor, entry = live.tensors[number], entries.get(number)
        if tensor is not None and (entry is None or entry.keeps) and not tensor.is_meta and not is_sharded(tensor):
            yield tensor


def _plain(value: Any) -> Any:
    """Return a value of a plan as JSON-ready values, equal for equal ones alone."""
    if isinstance(value, bool | str | None):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return f"float {float(value)!r}"
    if isinstance(value, Load):
        return ["Load", value.key, list(value.shape)]  # its file's contents count, and not its path
    if isinstance(value, Initializer):
        return ["Initializer", value.name]
    if isinstance(value, slice | range):
        return [type(value).__name__, *map(_plain, (value.start, value.stop, value.step))]
    if is_dataclass(value) and not isinstance(value, type):
        shown = [field.name for field in fields(value) if field.compare]
        return [type(value).__name__, *(_plain(getattr(value, name)) for name in shown)]
    if isinstance(value, Mapping):
        return {str(key): _plain(value[key]) for key in value}
    if isinstance(value, set | frozenset):
        return [type(value).__name__, *sorted(json.dumps(_plain(each), sort_keys=True) for each in value)]
    if isinstance(value, Iterable) and hasattr(value, "__len__"):
        return [_plain(each) for each in value]
    return [type(value).__qualname__, str(value) if isinstance(value, complex | torch.dtype) else ""]


# ---- code


# functions that are followed, from one that rules call, and how deep
MOST_FOLLOWED, DEEPEST = 500, 20


# libraries whose functions are known by their names: the versions of torch are told elsewhere
LIBRARIES = frozenset(["torch", "numpy", "math", "builtins", "initdsl"])
# variables of the environment by which a launcher tells a process which one it is: code asks them who is to print
OF_ONE_PROCESS = re.compile("RANK|PROCID|LOCALID|NODEID|HOST")


def _code(function: Any, owner: type | None = None) -> Any:
    """Return what a function, a method of `owner`, does as far as Python shows it.

    That is bytecode, constants, defaults, and what it names: of modules, dicts and objects the parts that it names.
    """
    return _of_function(function, [], owner=owner)


def _of_function(value: Any, seen: list[Any], depth: int = 0, owner: type | None = None) -> Any:
    if any(value is each for each in seen) or len(seen) > MOST_FOLLOWED or depth > DEEPEST:
        return getattr(value, "__qualname__", type(value).__qualname__)
    seen.append(value)
    if isinstance(value, functools.partial):
        given = [*value.args, *sorted(value.keywords.items())]
        return ["partial", _of_function(value.func, seen, depth + 1), _constants(given, seen, depth + 1)]
    bound, value = getattr(value, "__self__", None), getattr(value, "__func__", value)
    code = getattr(value, "__code__", None)
    if not isinstance(code, CodeType):
        named = type(value) if not hasattr(value, "__qualname__") else value
        call = getattr(type(value), "__call__", None)  # noqa: B004  # the method itself is wanted
        own = _of_function(call, seen, depth + 1) if hasattr(call, "__code__") else None
        return [getattr(named, "__module__", ""), named.__qualname__, own, _constants(_state(value), seen, depth + 1)]
    if (value.__module__ or "").partition(".")[0] in LIBRARIES:
        return [value.__module__, value.__qualname__]
    taken = []
    for cell in value.__closure__ or ():
        try:
            taken.append(cell.cell_contents)
        except ValueError:  # nothing yet
            taken.append(None)
    names, words = sorted(_names(code)), _words(code)
    # lists and sets of a module are what programs keep their state in
    found = [(name, value.__globals__.get(name, sys.modules.get(name))) for name in names]
    shown = [(name, _named(each, words, seen, depth + 1)) for name, each in found if not isinstance(each, list | set)]
    given = [value.__defaults__, sorted((value.__kwdefaults__ or {}).items()), taken]
    parts = [_named(each, words, seen, depth + 1) for each in taken if _has_parts(each)]
    if hasattr(bound, "__dict__") and not isinstance(bound, ModuleType | type):
        parts.append(_named(vars(bound), words, seen, depth + 1))
    return [_of_code(code), _constants(given, seen, depth + 1), shown, parts, *_of_owner(owner, names, seen, depth)]


def _of_owner(owner: type | None, names: Sequence[str], seen: list[Any], depth: int) -> Iterator[Any]:
    """Yield what a method names of its class: other methods, and values."""
    for cls in () if owner is None else owner.__mro__:
        if cls.__module__.partition(".")[0] not in LIBRARIES:
            for name in names:
                if name in vars(cls):
                    each = vars(cls)[name]
                    each = getattr(each, "fget", getattr(each, "__func__", each))
                    method = isinstance(each, FunctionType)
                    yield (
                        name,
                        _of_function(each, seen, depth + 1, owner) if method else _constants(each, seen, depth + 1),
                    )


def _has_parts(value: Any) -> bool:
    """Return whether a value is an object with attributes, of which code may look at some."""
    return hasattr(value, "__dict__") and not callable(value) and not isinstance(value, torch.Tensor | type)


def _named(value: Any, words: set[Any], seen: list[Any], depth: int) -> Any:
    """Return a value as code sees it that has these names and constants: no more of it than they may lead to."""
    if value is os or value is os.environ:
        asked = sorted(word for word in words if isinstance(word, str) and word and not OF_ONE_PROCESS.search(word))
        return [(word, os.environ.get(word)) for word in asked]
    if isinstance(value, ModuleType) and value.__name__.partition(".")[0] in (*LIBRARIES, *sys.stdlib_module_names):
        return value.__name__
    if not (isinstance(value, Mapping | ModuleType) or _has_parts(value)) or depth > DEEPEST:
        return _constants(value, seen, depth)
    parts = value if isinstance(value, Mapping) else vars(value)
    within = sorted(((str(key), parts[key]) for key in words & parts.keys()), key=lambda part: part[0])
    return [type(value).__qualname__, *((key, _named(part, words, seen, depth + 1)) for key, part in within)]


def _state(value: Any) -> Any:
    """Return the attributes of an object that is called."""
    return sorted(vars(value).items()) if hasattr(value, "__dict__") and not isinstance(value, type) else []


def _of_code(code: CodeType) -> Any:
    constants = [_of_code(each) if isinstance(each, CodeType) else _text_of(each) for each in code.co_consts]
    return [code.co_code.hex(), constants, list(code.co_names), list(code.co_varnames)]


def _text_of(constant: Any) -> str:
    """Return a constant of code as text; the elements of a set come in one order."""
    return repr(sorted(map(repr, constant))) if isinstance(constant, frozenset) else repr(constant)


def _names(code: CodeType) -> set[str]:
    return set(code.co_names).union(*(_names(each) for each in code.co_consts if isinstance(each, CodeType)))


def _words(code: CodeType) -> set[Any]:
    """Return the names and constants of code, by which it may reach into what it names."""
    within = [each for each in code.co_consts if isinstance(each, CodeType)]
    own = {each for each in code.co_consts if isinstance(each, str | int)}
    return own.union(code.co_names, *map(_words, within))


def _constants(value: Any, seen: list[Any], depth: int) -> Any:
    """Return values that code sees: plain ones, tensors by their bytes, functions by what they do, others by their type."""
    if isinstance(value, bool | int | float | complex | str | bytes | range | torch.dtype | torch.device | Enum | None):
        return repr(value)
    if isinstance(value, Fraction | Decimal):
        return repr(value)
    if isinstance(value, set | frozenset):
        return sorted(repr(_constants(each, seen, depth + 1)) for each in value)
    if hasattr(value, "__array_interface__") and hasattr(value, "tobytes"):  # numpy's
        return [str(value.dtype), list(value.shape), hashlib.blake2b(value.tobytes(), digest_size=16).hexdigest()]
    if isinstance(value, torch.Tensor):
        return _bytes(value)
    if isinstance(value, ModuleType):
        return value.__name__
    if depth <= DEEPEST and isinstance(value, list | tuple):
        return [_constants(each, seen, depth + 1) for each in value]
    if depth <= DEEPEST and isinstance(value, Mapping):
        return [[str(k), _constants(value[k], seen, depth + 1)] for k in value]
    return _of_function(value, seen, depth) if callable(value) else type(value).__qualname__


# ---- bytes


def _bytes(tensor: torch.Tensor) -> str:
    """Return a hash of a tensor's values."""
    if is_sharded(tensor) or tensor.is_meta or tensor.layout != torch.strided:
        return f"{tensor.dtype} {list(tensor.shape)}"
    return hashlib.blake2b(bytes_of(tensor), digest_size=16).hexdigest() + f" {tensor.dtype} {list(tensor.shape)}"


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """Return the bytes of a tensor's values, in row-major order."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data


# hashes of files, by path, size and time
_FILES: dict[tuple[str, int, int], str] = {}


def file_digest(path: str) -> str:
    """Return a hash of a file's contents; one that has not changed since is not read again. Raises OSError."""
    stat = os.stat(path)
    key = (os.path.realpath(path), stat.st_size, stat.st_mtime_ns)
    if key not in _FILES:
        with open(path, "rb") as file:
            _FILES[key] = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    return _FILES[key]
