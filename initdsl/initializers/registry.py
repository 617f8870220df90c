"""The registry of initializers: what a rule file may call, and what can be said of a call before any tensor exists.

An initializer is one decorated function. Its keyword parameters, their types and its docstring are all there is to
write: the argument model, the completion, the hover text and the documentation come from them.

Two shapes of function are understood, told apart by the name of the first parameter:

* `def normal(shape, mean=0.0, std=1.0) -> Distribution`: element-wise; it only says which distribution.
* `def orthogonal(tensor, gain=1.0, *, generator=None)`: fills the tensor it is given, in place (or returns a new one
  of the same shape). It is a draw if it takes `generator`.
"""

from __future__ import annotations

import textwrap
import typing
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from typing import Any, overload

from .initializer import ArgumentError, Initializer, describe_function

__all__ = ["Registry", "builtin", "default_registry", "initializer"]


ENTRY_POINT_GROUP = "initdsl.initializers"


class Registry(Mapping[str, Initializer]):
    """Initializers by name (aliases included). Immutable through its mapping face; `add` extends it."""

    def __init__(self, initializers: typing.Iterable[Initializer] = ()) -> None:
        self._by_name: dict[str, Initializer] = {}
        for item in initializers:
            self.add(item)

    def add(self, item: Initializer) -> None:
        """Register; a name of a built-in initializer is refused, one's own may be replaced."""
        for name in (item.name, *item.aliases):
            there = self._by_name.get(name)
            if there is not None and there.builtin and not item.builtin:
                raise ValueError(f"`{name}` is a built-in initializer; give yours another name")
            self._by_name[name] = item

    def extended(self, functions: Mapping[str, Callable[..., Any]]) -> Registry:
        """A copy with further functions, each under its key."""
        copy = Registry()
        copy._by_name = dict(self._by_name)
        for name, function in functions.items():
            copy.add(builtin_free(function, name))
        return copy

    def __getitem__(self, name: str) -> Initializer:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)


_registry = Registry()


_entry_points_read = False


def default_registry() -> Registry:
    """The process's registry: built-ins, decorated functions, and those of the entry-point group."""
    global _entry_points_read
    if not _entry_points_read:
        _entry_points_read = True
        for entry in metadata.entry_points(group=ENTRY_POINT_GROUP):
            _registry.add(builtin_free(entry.load(), entry.name))
    return _registry


def builtin_free(function: Callable[..., Any], name: str) -> Initializer:
    """Describe somebody's function under `name`; one that was decorated keeps its rank bounds."""
    described = getattr(function, "__initdsl__", None)
    if isinstance(described, Initializer) and described.name == name:
        return described
    options: dict[str, Any] = {"min_ndim": 0, "max_ndim": None, "check": None}
    if isinstance(described, Initializer):
        options = {key: getattr(described, key) for key in options}
    return describe_function(function, name=name, aliases=(), is_builtin=False, **options)


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
    and receives a seeded `torch.Generator` under `seed=`, else `None`.

    `min_ndim` and `max_ndim` bound the rank; `check(shape, **arguments)` may raise `ValueError` to refuse a call
    while the plan is made (`shape` is `None` while only the arguments are known).

    Raises ValueError for the name of a built-in initializer, TypeError for a signature that can't be called.

    >>> @initializer
    ... def shifted(tensor, by: float = 1.0):
    ...     tensor.fill_(by)
    """

    def register(f: Any) -> Any:
        described = describe_function(
            f, name=name, aliases=(), min_ndim=min_ndim, max_ndim=max_ndim, check=_refusing(check), is_builtin=False
        )
        _registry.add(described)
        f.__initdsl__ = described
        return f

    return register if function is None else register(function)


def _refusing(check: Callable[..., None] | None) -> Callable[..., None] | None:
    """`check` with its ValueError turned into the error that carries a place in the rule file."""
    if check is None:
        return None

    def checked(shape: tuple[int, ...] | None, **arguments: Any) -> None:
        try:
            check(shape, **arguments)
        except ArgumentError:
            raise
        except ValueError as error:
            raise ArgumentError(str(error)) from None

    return checked


def builtin(
    *,
    aliases: tuple[str, ...] = (),
    min_ndim: int = 0,
    max_ndim: int | None = None,
    check: Callable[..., None] | None = None,
    adjust: Callable[..., Any] | None = None,
) -> Callable[[F], F]:
    """Register one of the package's own initializers."""

    def register(f: F) -> F:
        described = describe_function(
            f, name=None, aliases=aliases, min_ndim=min_ndim, max_ndim=max_ndim, check=check, is_builtin=True,
            adjust=adjust,
        )  # fmt: skip
        if not described.doc:
            raise TypeError(textwrap.shorten(f"{described.name} has no docstring", 80))
        _registry.add(described)
        return f

    return register
