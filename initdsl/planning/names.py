"""The environment of an expression while a plan is made: names are looked up, and what takes tensors is recorded."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from initdsl.initializers import Initializer, parameters_of
from initdsl.language.expressions.evaluate import element, evaluate, index_item
from initdsl.language.expressions.functions import FANS
from initdsl.language.expressions.let import Variables
from initdsl.language.expressions.shapes import EvalError, Shape, describe_value, nested_shape
from initdsl.language.syntax.nodes import Call, Expr, Length, Name, Path
from initdsl.network.selectors.context import Reads, SelectorContext
from initdsl.network.selectors.matches import Bindings, Match, Scope
from initdsl.text.source import Span

from .calls import bind_call, check_shape
from .context import Context
from .loads import base_shape_of, find_tensor
from .lookups import Site, at_path, count_selected, fan, name_in, names_in_files, plain_name, refuse_misspelt
from .program import Apply, Drawn, Element, Program, Read, Recorder, Ref, Stored, Target, operand

__all__ = ["Names", "selector_context"]


# draws of one expression: each is a tensor of its own
MOST_DRAWS = 10_000


def selector_context(
    context: Context,
    variables: Variables,
    span: Span,
    binds: bool = True,
    reads: Callable[[], Reads | None] = lambda: None,
) -> SelectorContext:
    """Return the context in which selectors are matched that see these `let` names; see there for the other arguments."""

    def environment(module: int, bindings: Bindings, scope: Scope) -> Names:
        return Names(Site(context, variables, Match(module, None, bindings, scope)))

    matches = context.cache.matches
    return SelectorContext(context.network, environment, variables.__contains__, matches, binds, reads, span)


def _names_of_base(site: Site) -> list[str]:
    """Return the names a manifest may have the target under, those in full first."""
    names = names_in_files(site)
    return [*names.full, *names.relative]


class Names:
    """The environment of one expression at one site; it is made anew for each evaluation.

    Every tensor is a `Shape`, and what it takes to have its values is recorded: `program` has the steps.
    """

    steady = False  # shapes don't depend on threads

    def __init__(self, site: Site):
        self.site = site
        self._bindings = dict(site.match.bindings)
        self._variables: dict[str, Any] = {}  # the values of `let` names that were met
        self._draws = self._streams = 0
        self._recorder = Recorder()

    def is_name(self, name: str) -> bool:
        """Return whether a name is bound or a `let`: then it is not a word of an enumeration."""
        return name in self._bindings or name in self.site.variables

    # ---- what was recorded

    @property
    def reads(self) -> tuple[int, ...]:
        """The other tensors that were met, by their numbers."""
        return tuple(sorted({step.tensor for step in self._recorder.steps if isinstance(step, Read)}))

    @property
    def reads_itself(self) -> bool:
        """Whether the target itself was met."""
        return any(isinstance(step, Target) for step in self._recorder.steps)

    @property
    def needs_tensors(self) -> bool:
        """Whether anything but numbers was met."""
        return bool(self._recorder.steps)

    def program(self, value: Any, direct: bool = False) -> Program:
        """Return what it takes to have the value of the expression that was evaluated."""
        return self._recorder.program(value, direct)

    # ---- recording

    def note(
        self, node: Expr, function: str, operands: tuple[Any, ...], keywords: dict[str, Any], value: Shape
    ) -> Shape:
        named = tuple((name, operand(each)) for name, each in keywords.items())
        return self._recorder.add(Apply(function, tuple(map(operand, operands)), named, node), value.dims)

    def note_element(self, node: Expr, base: Shape, items: tuple[Any, ...], dims: tuple[int, ...]) -> Shape:
        reference = operand(base)
        assert isinstance(reference, Ref)
        return self._recorder.add(Element(reference, items, node), dims)

    def note_drawn(self, node: Call, initializer: Initializer, arguments: dict[str, Any]) -> Shape:
        """Note what an initializer gives; the tensors among its arguments as they were met."""
        self._draws += 1
        if self._draws > MOST_DRAWS:
            raise EvalError(f"this draws more than {MOST_DRAWS:,} times", node.span, name="too-many-draws")
        keywords = [a.name for a in node.arguments if a.name is not None]
        names = parameters_of(initializer, len(node.arguments) - len(keywords), keywords)
        spans = tuple((name, argument.span) for name, argument in zip(names, node.arguments, strict=True))
        values = tuple((name, operand(value)) for name, value in arguments.items())
        stream, self._streams = self._streams, self._streams + initializer.streams
        return self._recorder.add(Drawn(initializer, values, stream, spans, node.span), self.target_shape(node))

    def _noted(self, value: Any) -> Any:
        """Return what was looked up; a tensor as its shape, noted as a step."""
        if not isinstance(value, Read | Target):
            return value
        if value == Target(whole=False):
            return self._recorder.add(value, self.site.shape or ())
        tensor = value.tensor if isinstance(value, Read) else self.site.target
        assert tensor is not None
        return self._recorder.add(value, self.site.context.network.tensors[tensor].shape)

    # ---- the environment

    def name(self, node: Name) -> Any:
        if node.name in self._bindings:
            return self._bindings[node.name]
        if node.name in self.site.variables:
            return self._variable(node)
        return self._noted(plain_name(self.site, node))

    def _variable(self, node: Name) -> Any:
        variable = self.site.variables[node.name]
        if variable.expr is None:
            return variable.value
        if node.name in self._variables:  # or names that double each other would take for ever
            return self._variables[node.name]
        outer = self._recorder.open
        opened = [use.name for use in outer]
        if node.name in opened:
            circle = " -> ".join(f"`{n}`" for n in (*opened[opened.index(node.name) :], node.name))
            raise EvalError(f"`{node.name}` is defined by itself: {circle}", node.span, name="circular-let")
        self._recorder.open = (*outer, node)
        draws = self._draws
        try:
            value = evaluate(variable.expr, self)
        except RecursionError:
            raise EvalError(f"`{node.name}` is made of names nested too deep", node.span, name="too-deep") from None
        except EvalError as error:
            if error.name == "circular-let":
                raise
            raise EvalError(f"in `{node.name}`: {error.message}", node.span, error.hint, error.name) from None
        finally:
            self._recorder.open = outer
        if self._draws == draws:  # what draws is drawn anew wherever it is used
            self._variables[node.name] = value
        return value

    def path(self, node: Expr, path: Path) -> Any:
        site = self.site
        value, index = at_path(site, selector_context(site.context, site.variables, node.span, binds=False), node, path)
        value = self._noted(value)
        if index is None:
            return value
        return element(node, self, value, tuple(index_item(item, self) for item in index.items))

    def length(self, node: Length) -> int:
        site = self.site
        selectors = selector_context(site.context, site.variables, node.span)
        in_expressions = selector_context(site.context, site.variables, node.span, binds=False)
        count = count_selected(site, selectors, in_expressions, node.selector)
        if count is not None:
            return count
        name = name_in(node.selector)
        if name is None:
            refuse_misspelt(selectors, node)
            return 0
        value = self.name(name)
        if not isinstance(value, tuple | list):
            message = f"`len` counts what a selector selects, this is {describe_value(value)}"
            raise EvalError(message, name.span)
        return len(value)

    def draw(self, node: Call) -> Any:
        site = self.site
        if node.function in FANS:
            return self._fan(node)
        if node.function == "load" and site.source is not None:
            load = find_tensor(site, node, self)
            if load is None:
                raise EvalError("`missing=skip` needs `load` alone on the right of `=`", node.span, name="bad-load")
            return self._recorder.add(Stored(load), load.shape)
        initializer, arguments, operands = bind_call(node, site.context.registry, self)
        if initializer.adjust is not None:
            raise EvalError(f"`{node.function}` stands alone on the right of `~`", node.span, name="bad-expression")
        shape = self.target_shape(node)
        if math.prod(shape):
            check_shape(node, initializer, shape, arguments)
        return self.note_drawn(node, initializer, operands or arguments)

    def _fan(self, node: Call) -> int:
        """Return a fan of another tensor: its shape is looked at, and none of its values."""
        if len(node.arguments) != 1:
            raise EvalError(f"`{node.function}` takes 1 argument", node.span, name="bad-argument")
        variables, steps = dict(self._variables), len(self._recorder.steps)
        value = evaluate(node.arguments[0].value, self)
        self._variables = variables
        self._recorder.forget(steps)
        if not isinstance(value, Shape):
            raise EvalError(f"`{node.function}` needs a parameter", node.arguments[0].span)
        return fan(node.function, value.dims, node)

    def base_shape(self, node: Call, path: str) -> tuple[int, ...]:
        site = self.site
        if site.source is None or site.target is None:
            raise EvalError("there is no parameter here to take the shape of", node.span)
        return base_shape_of(site.context, node, path, site.source, _names_of_base(site))

    def target_shape(self, node: Expr) -> tuple[int, ...]:
        if self.site.shape is None:
            raise EvalError("there is no tensor here to take the shape of", node.span)
        return self.site.shape

    def extent(self, d: int, size: int) -> range:
        return range(size)

    def tensor(self, values: Any) -> Any:
        return Shape((len(values),) if isinstance(values, range) else nested_shape(values, None))
