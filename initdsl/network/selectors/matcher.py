"""Selectors of one resolution, evaluated against its network."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from initdsl.language.expressions.operators import Environment
from initdsl.language.syntax.nodes import ClassPattern, Path, Selector
from initdsl.network.description import Network

from .classes import of_class
from .context import MatchCache, SelectorContext
from .matches import Bindings, Frame, Match, Scope, Unmatched
from .paths import reach
from .select import container_of, select
from .why_nothing import explain

__all__ = ["Matcher"]


class Matcher:
    """A context by which selectors are matched, and one in which, as in expressions, nothing is bound."""

    def __init__(
        self,
        network: Network,
        environment: Callable[[int, Bindings, Scope], Environment],
        is_variable: Callable[[str], bool],
    ):
        cache = MatchCache()
        self.network = network
        self._context = SelectorContext(network, environment, is_variable, cache)
        self._in_expressions = SelectorContext(network, environment, is_variable, cache, binds=False)

    def select(self, selector: Selector, frame: Frame | None = None, modules: bool = False) -> list[Match]:
        return select(self._context, selector, frame, modules)

    def reach(self, path: Path, bindings: Bindings, scope: Scope) -> list[Match]:
        return reach(self._in_expressions, path, bindings, scope)

    def container(self, selector: Selector, frame: Frame | None) -> list[Match]:
        return container_of(self._context, selector, frame)

    def of_class(self, pattern: ClassPattern) -> list[int]:
        return of_class(self._context, pattern)

    def explain(self, selector: Selector, frame: Frame | None = None, modules: bool = False) -> Iterator[Unmatched]:
        return explain(self._context, selector, frame, modules)
