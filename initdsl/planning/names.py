"""What a name in an expression means: bound indices, `let`, the target, its facts, its siblings, attributes, paths."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from initdsl.initializers import ArgumentError, Initializer, Registry, fans, parameters_of
from initdsl.language.expressions.evaluate import element, evaluate, index_item
from initdsl.language.expressions.functions import FANS
from initdsl.language.expressions.let import Lets
from initdsl.language.expressions.shapes import EvalError, Shape, describe_value
from initdsl.language.syntax import nodes
from initdsl.language.syntax.nodes import Call, Index, Length, Name, Path, Step
from initdsl.network.description import MISSING, Network
from initdsl.network.selectors.matcher import Matcher
from initdsl.network.selectors.matches import Match
from initdsl.text.wording import did_you_mean

from .calls import bind_call, check_shape
from .program import Apply, Drawn, Element, Load, Program, Read, Recorder, Ref, Stored, Target, operand

__all__ = ["FACT_NAMES", "Names"]


MOST_DRAWS = 10_000


FACT_NAMES = ("fan_in", "fan_out", "shape", "ndim", "numel")


class Names:
    """The environment of one expression on one match: every tensor is a `Shape`, and what it takes to have its values is
    recorded.
    """

    files: Any = None  # what `load` looks into, from
    source = ""  # this rule file
    steady = False  # shapes don't depend on threads

    def __init__(
        self, network: Network, matcher: Matcher, registry: Registry, lets: Lets, match: Match,
        target: int | None, shape: tuple[int, ...] | None, canonical: Mapping[int, int],
    ):  # fmt: skip
        self.network = network
        self.matcher = matcher
        self.registry = registry
        self.lets = lets
        self.match = match
        self.bindings = dict(match.bindings)
        self.target = target  # canonical index of the tensor written to
        self.shape = shape  # of the piece written to
        self.canonical = canonical
        self.reads: set[int] = set()
        self.reads_itself = False
        self.dynamic = False  # whether anything but numbers was met
        self._known: dict[str, Any] = {}  # the values of `let` names that were met
        self._draws = 0
        self._recorder = Recorder()

    # ---- tensors, recorded

    def program(self, value: Any, direct: bool = False) -> Program:
        """What it takes to have the value of the expression that was evaluated."""
        return self._recorder.program(value, direct)

    def note(
        self, node: nodes.Expr, function: str, operands: tuple[Any, ...], keywords: dict[str, Any], value: Shape
    ) -> Shape:
        named = tuple((name, operand(each)) for name, each in keywords.items())
        return self._recorder.add(Apply(function, tuple(map(operand, operands)), named, node), value.dims)

    def note_element(self, node: nodes.Expr, base: Shape, items: tuple[Any, ...], dims: tuple[int, ...]) -> Shape:
        reference = operand(base)
        assert isinstance(reference, Ref)
        return self._recorder.add(Element(reference, items, node), dims)

    def note_drawn(self, node: Call, initializer: Initializer, arguments: dict[str, Any]) -> Shape:
        """What an initializer gives; the tensors among its arguments as they were met."""
        nth, self._draws = self._draws, self._draws + 1
        if self._draws > MOST_DRAWS:
            raise EvalError(f"this draws more than {MOST_DRAWS:,} times", node.span, name="too-many-draws")
        names = parameters_of(
            initializer,
            sum(a.name is None for a in node.arguments),
            [str(a.name) for a in node.arguments if a.name is not None],
        )
        spans = tuple((name, argument.span) for name, argument in zip(names, node.arguments, strict=True))
        values = tuple((name, operand(value)) for name, value in arguments.items())
        return self._recorder.add(Drawn(initializer, values, nth, spans, node.span), self.target_shape(node))

    def extent(self, d: int, size: int) -> range:
        return range(size)

    def loadable(self) -> list[str]:
        """The names a file may have the target under: below the module that the rule selects first, then in full."""
        assert self.target is not None
        names = self.network.names(self.network.tensors[self.target])
        outer = self.match.scope[0] if self.match.scope else None
        base = f"{self.network.modules[outer].name}." if outer is not None else "."
        return [n.removeprefix(base) for n in names] + names

    def tensor(self, values: Any) -> Any:
        from initdsl.language.expressions.shapes import nested_shape

        return Shape((len(values),) if isinstance(values, range) else nested_shape(values, None))

    # ---- the environment

    def name(self, node: Name) -> Any:
        name = node.name
        if name in self.bindings:
            return self.bindings[name]
        if name in self.lets:
            return self._let(node)
        if name == "it":
            if self.shape is None:
                raise EvalError(
                    "`it` is the tensor a rule writes to, there is none here", node.span, name="unknown-name"
                )
            self.dynamic = self.reads_itself = True
            return self._recorder.add(Target(whole=False), self.shape)
        if name == "net":
            raise EvalError(
                "`net` is a module, not a value", node.span, "name a parameter or an attribute: `net.head.weight`"
            )
        if self.shape is not None and name in FACT_NAMES:
            return self._fact(node)
        value = self._owned(node, self.match.module)
        if value is not MISSING:
            return value
        for module in self.match.scope:
            value = self.network.modules[module].attribute(name)
            if value is not MISSING:
                return value
        raise self._unknown(node)

    def _let(self, node: Name) -> Any:
        variable = self.lets[node.name]
        if variable.expr is None:
            return variable.value
        if node.name in self._known:  # or names that double each other would take for ever
            return self._known[node.name]
        outer = self._recorder.open
        opened = [use.name for use in outer]
        if node.name in opened:
            circle = " -> ".join(f"`{n}`" for n in (*opened[opened.index(node.name) :], node.name))
            raise EvalError(f"`{node.name}` is defined by itself: {circle}", node.span, name="circular-let")
        self._recorder.open = (*outer, node)
        before = self._draws
        try:
            value = evaluate(variable.expr, self)
            if self._draws == before:  # what draws is drawn anew wherever it is used
                self._known[node.name] = value
            return value
        except RecursionError:
            raise EvalError(f"`{node.name}` is made of names nested too deep", node.span, name="too-deep") from None
        except EvalError as error:
            if error.name == "circular-let":
                raise
            raise EvalError(f"in `{node.name}`: {error.message}", node.span, error.hint, error.name) from None
        finally:
            self._recorder.open = outer

    def _fact(self, node: Name) -> Any:
        shape = self.shape or ()
        match node.name:
            case "shape":
                return shape
            case "ndim":
                return len(shape)
            case "numel":
                return math.prod(shape)
        return self._fan(node.name, shape, node)

    def _fan(self, which: str, shape: tuple[int, ...], node: Any) -> int:
        try:
            return fans(shape)[which == "fan_out"]
        except ArgumentError as error:
            raise EvalError(str(error), node.span, name="undefined-fan") from None

    def _owned(self, node: Name, index: int) -> Any:
        module = self.network.modules[index]
        tensor = module.parameters.get(node.name, module.buffers.get(node.name))
        if tensor is not None:
            return self._tensor(tensor)
        return module.attribute(node.name)

    def _tensor(self, tensor: int) -> Any:
        canonical = self.canonical.get(tensor, tensor)
        self.dynamic = True
        if canonical == self.target:
            self.reads_itself = True
            return self._recorder.add(Target(whole=True), self.network.tensors[canonical].shape)
        self.reads.add(canonical)
        return self._recorder.add(Read(canonical), self.network.tensors[canonical].shape)

    def _unknown(self, node: Name) -> EvalError:
        module = self.network.modules[self.match.module]
        words = [*self.bindings, *self.lets, *FACT_NAMES, *module.parameters, *module.attributes()]
        for index in self.match.scope:
            words += self.network.modules[index].attributes()
        python = {"True": "true", "False": "false", "None": "none"}.get(node.name)
        hint = f"write `{python}`" if python else did_you_mean(node.name, words)
        for index in self.network.ancestors(self.match.module):  # seen from further out only
            around = self.network.modules[index]
            if python is None and around.attribute(node.name) is not MISSING:
                path = f"`{around.label}.{node.name}`"
                hint = f"write {path}" if index == 0 else (
                    f"it is an attribute of `{around.cls.name}`: begin the selector with that, or write {path}"
                )  # fmt: skip
                break
        if node.name in self.registry:
            hint = f"a call has parentheses: `{node.name}()`"
        where = f"in `{module.cls.name}`" if module.index else "here"
        return EvalError(f"`{node.name}` has no value {where}", node.span, hint, "unknown-name")

    def path(self, node: nodes.Expr, path: Path) -> Any:
        scope = (self.match.module, *self.match.scope)
        found = self.matcher.reach(path, self.match.bindings, scope)
        if not found and path.steps and isinstance(path.steps[-1], Step):
            value = self._attribute(path, scope)
            if value is not MISSING:
                return value
        elif not found and len(path.steps) > 1 and isinstance(path.steps[-1], Index):
            value = self._attribute(Path("net", path.steps[:-1], None, path.span), scope)
            if value is not MISSING:
                return element(node, self, value, tuple(index_item(i, self) for i in path.steps[-1].items))
        if len(found) != 1:
            count = "nothing" if not found else f"{len(found)} things"
            hint = next((u.hint for u in self.matcher.explain(path)), None) if not found else "name one of them"
            raise EvalError(f"this path leads to {count}", node.span, hint, "unmatched-selector")
        match = found[0]
        if match.tensor is None:
            raise EvalError(
                f"`{self.network.modules[match.module].label}` is a module, not a value", node.span,
                "name a parameter or a plain attribute of it; its length is `len(...)`",
            )  # fmt: skip
        value = self._tensor(match.tensor)
        if match.index is not None:
            return element(node, self, value, tuple(index_item(item, self) for item in match.index.items))
        return value

    def _attribute(self, path: Path, scope: tuple[int, ...]) -> Any:
        last = path.steps[-1]
        if not isinstance(last, Step):
            return MISSING
        modules = self.matcher.reach(Path("net", path.steps[:-1], None, path.span), self.match.bindings, scope)
        if len(modules) != 1 or modules[0].tensor is not None:
            return MISSING
        return self.network.modules[modules[0].module].attribute(last.name)

    def length(self, node: Length) -> int:
        selector = node.selector
        if isinstance(selector, Path) and selector.root == "net":  # as every path in an expression it binds nothing
            found = self.matcher.reach(selector, self.match.bindings, (self.match.module, *self.match.scope))
        else:
            found = self.matcher.select(selector)
        if isinstance(selector, Path) and selector.root == "net" and len(found) == 1 and found[0].tensor is None:
            module = self.network.modules[found[0].module]
            wild = any(isinstance(s, Index) or "*" in s.name for s in selector.steps)
            if module.container and not (wild and not isinstance(selector.steps[-1], Step)):
                return len(module.children or module.parameters)
        if not found:
            word = selector.root if isinstance(selector, Path) and not selector.steps else None
            if isinstance(word, nodes.ClassPattern) and word.name.isidentifier() and word.name[:1].islower():
                value = self.name(Name(word.name, word.span))
                if isinstance(value, tuple | list):
                    return len(value)
                raise EvalError(f"`len` counts what a selector selects, this is {describe_value(value)}", word.span)
            reason = next(iter(self.matcher.explain(selector)), None)
            if reason is not None and not reason.warning:
                raise EvalError(reason.message, node.span, reason.hint, reason.name)
        return len({(m.module, m.tensor) for m in found})

    def target_shape(self, node: nodes.Expr) -> tuple[int, ...]:
        if self.shape is None:
            raise EvalError("there is no tensor here to take the shape of", node.span)
        return self.shape

    def base_shape(self, node: Call, path: Any) -> tuple[int, ...]:
        if self.files is None or self.target is None:
            raise EvalError("there is no parameter here to take the shape of", node.span)
        found: tuple[int, ...] = self.files.base_shape(node, path, self.source, self.loadable()[::-1])
        return found

    def draw(self, node: Call) -> Any:
        """An initializer within an expression, or a fan of another tensor."""
        if node.function in FANS:
            if len(node.arguments) != 1:
                raise EvalError(f"`{node.function}` takes 1 argument", node.span, name="bad-argument")
            before = set(self.reads), self.reads_itself, self.dynamic, dict(self._known)
            steps = len(self._recorder.steps)
            value = evaluate(node.arguments[0].value, self)
            self.reads, self.reads_itself, self.dynamic, self._known = before  # a shape was looked at, no values
            self._recorder.forget(steps)
            if not isinstance(value, Shape):
                raise EvalError(f"`{node.function}` needs a parameter", node.arguments[0].span)
            return self._fan(node.function, value.dims, node)
        if node.function == "load" and self.files is not None:
            load: Load | None = self.files.find(node, self, self.source, self.loadable())
            if load is None:
                raise EvalError("`missing=skip` needs `load` alone on the right of `=`", node.span, name="bad-load")
            self.dynamic = True
            return self._recorder.add(Stored(load), load.shape)
        initializer, arguments, operands = bind_call(node, self.registry, self)
        if initializer.adjust is not None:
            raise EvalError(f"`{node.function}` stands alone on the right of `~`", node.span, name="bad-expression")
        shape = self.target_shape(node)
        if math.prod(shape):
            check_shape(node, initializer, shape, arguments)
        self.dynamic = True
        return self.note_drawn(node, initializer, operands or arguments)
