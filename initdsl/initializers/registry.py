"""The registry of initializers: what a rule file may call by name, put there by two decorators."""

from __future__ import annotations

import copyreg
import inspect
import pickle
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from importlib import metadata
from typing import Any, overload

from .describing import described, named
from .initializer import Initializer

__all__ = ["Registry", "builtin", "default_registry", "initializer"]


ENTRY_POINT_GROUP = "initdsl.initializers"


# those of installed packages by name, each imported when it is first asked for
Entries = Mapping[str, metadata.EntryPoint]


class Registry(Mapping[str, Initializer]):
    """Initializers by name, aliases included: `registry["glorot_normal"].name == "xavier_normal"`.

    `entries` returns further ones, and is called once a name is asked for that is not known without them: looking through
    all installed packages takes longer than the plan of a model.
    """

    def __init__(self, other: Registry | None = None, entries: Callable[[], Entries] = dict) -> None:
        self._by_name: dict[str, Initializer] = dict(other._by_name) if other is not None else {}
        self._entries = entries

    def add(self, item: Initializer) -> None:
        """Register an initializer under its names; one of the same name is replaced, but no built-in one (ValueError)."""
        for name in (item.name, *item.aliases):
            namesake = self._by_name.get(name)
            if namesake is not None and namesake.builtin and not item.builtin:
                raise ValueError(f"`{name}` is a built-in initializer; give yours another name")
            self._by_name[name] = item

    def at_hand(self) -> Registry:
        """Return a copy without what would have to be imported first."""
        return Registry(self)

    def loaded(self, name: str) -> Initializer | None:
        """Return the initializer of this name, None where it would have to be imported first."""
        return self._by_name.get(name)

    def extended(self, functions: Mapping[str, Callable[..., Any]]) -> Registry:
        """Return a copy with further functions, each under its key."""
        copy = Registry(self, self._entries)
        for name, function in functions.items():
            copy.add(named(function, name))
        return copy

    def with_initializers(self, initializers: typing.Iterable[Initializer]) -> Registry:
        """A copy with further initializers, each under its own names."""
        copy = Registry(self, self._entries)
        for item in initializers:
            copy.add(item)
        return copy

    def __getitem__(self, name: str) -> Initializer:
        if name not in self._by_name and (entry := self._entries().get(name)) is not None:
            self.add(named(entry.load(), name))
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name or name in self._entries()

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._by_name, *self._entries()]))

    def __len__(self) -> int:
        return len({*self._by_name, *self._entries()})


@lru_cache(maxsize=1)
def _installed() -> Entries:
    """Return the entry points of all installed packages. Raises ValueError for one with the name of a built-in initializer."""
    entries = {entry.name: entry for entry in metadata.entry_points(group=ENTRY_POINT_GROUP)}
    for name in entries:
        namesake = _registry.loaded(name)
        if namesake is not None and namesake.builtin:
            raise ValueError(f"`{name}` is a built-in initializer; give yours another name")
    return entries


_registry = Registry(entries=_installed)


def default_registry() -> Registry:
    """Return the registry of the process: built-ins, decorated functions, and those of the entry-point group."""
    return _registry


F = typing.TypeVar("F", bound=Callable[..., Any])


@overload
def initializer(function: F, /) -> F: ...


@overload
def initializer(
    *, name: str | None = ..., min_ndim: int = ..., max_ndim: int | None = ..., check: Callable[..., None] | None = ...
) -> Callable[[F], F]: ...


def initializer(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    min_ndim: int = 0,
    max_ndim: int | None = None,
    check: Callable[..., None] | None = None,
) -> Any:
    """Register a function so that rule files may call it by name; returns the function unchanged.

    The function takes the tensor first and fills it in place (or returns a new one of the same shape); its other
    parameters are the call's arguments, validated by their annotations. With a `generator` parameter it is a draw,
    and receives a seeded `torch.Generator` of the tensor's device under `seed=`, else `None`.

    The tensor is the parameter, or the piece of it that the rule selects: of any floating dtype, any strides, square,
    with one row or without elements. Under `seed=` it is contiguous, and float32 where the parameter is of a half type.
    Tensors that the function makes go to `tensor.device`; a fake tensor has no values to look at.

    `min_ndim` and `max_ndim` bound the rank; `check(shape, **arguments)` may raise `ValueError` to refuse a call
    while the plan is made (`shape` is `None` while only the arguments are known). A plan that holds the call pickles
    if the function stands at the top of a module.

    Raises ValueError for the name of a built-in initializer, TypeError for a signature that can't be called.

    >>> @initializer
    ... def shifted(tensor, by: float = 1.0):
    ...     tensor.fill_(by)
    """

    def register(f: Any) -> Any:
        f.__initdsl__ = replace(described(f, name), min_ndim=min_ndim, max_ndim=max_ndim, check=check)
        _registry.add(f.__initdsl__)
        return f

    return register if function is None else register(function)


def builtin(
    *,
    aliases: tuple[str, ...] = (),
    min_ndim: int = 0,
    max_ndim: int | None = None,
    check: Callable[..., None] | None = None,
    adjust: Callable[..., Any] | None = None,
    streams: int = 1,
    complex: bool = False,
) -> Callable[[F], F]:
    """Register one of the package's own initializers; the contract is in the package's docstring.

    One for the whole tensor fills real ones only unless it is said to be `complex`.
    """

    def register(f: F) -> F:
        own = replace(
            described(f),
            builtin=True,
            aliases=aliases,
            min_ndim=min_ndim,
            max_ndim=max_ndim,
            check=check,
            adjust=adjust,
            streams=streams,
        )
        drawn = set(str(inspect.signature(f).return_annotation).split(" | "))
        own = replace(own, real_only=not complex and not drawn <= {"Normal", "Uniform", "Constant"})
        if not own.doc and sys.flags.optimize < 2:  # python -OO drops docstrings
            raise TypeError(f"{own.name} has no docstring")
        _registry.add(own)
        return f

    return register


# ------------------------------------------------------------------------------------------------------- pickling

Restored = tuple[Callable[..., Initializer], tuple[Any, ...]]


def _by_reference(item: Initializer) -> Restored:
    """Return how `pickle` makes an initializer again: a built-in one by its name, another from its function.

    Raises PicklingError for a function that no module has under its name, as a lambda is.
    """
    if item.builtin:
        return _built_in, (item.name,)
    function = item.function
    if isinstance(function, types.FunctionType):
        place: Any = sys.modules.get(function.__module__)
        for part in function.__qualname__.split("."):
            place = getattr(place, part, None)
        if place is not function:
            raise pickle.PicklingError(
                f"initializer `{item.name}` can't be pickled: its function is not what `{function.__module__}` has as "
                f"`{function.__qualname__}`; define it at the top of a module"
            )
    if named(function, item.name) != item:
        raise pickle.PicklingError(
            f"initializer `{item.name}` can't be pickled: its function was registered again, with other bounds"
        )
    return named, (function, item.name)


def _built_in(name: str) -> Initializer:
    return _registry[name]


copyreg.pickle(Initializer, _by_reference)
