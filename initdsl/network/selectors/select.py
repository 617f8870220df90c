"""Which modules and which tensors a selector means, in a described network; and why one means nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from initdsl.language.expressions.evaluate import evaluate
from initdsl.language.expressions.operators import Environment
from initdsl.language.expressions.shapes import EvalError, describe_value
from initdsl.language.syntax import nodes
from initdsl.language.syntax.nodes import (
    ClassPattern,
    Ellipsis,
    Every,
    Index,
    Maybe,
    Name,
    Number,
    Path,
    Predicate,
    Regex,
    Selector,
    Slice,
    Step,
    String,
    Union_,
    Within,
)
from initdsl.language.syntax.regex import linear_regex
from initdsl.language.syntax.walk import walk
from initdsl.network.description import MISSING, ModuleInfo, Network
from initdsl.text.source import Span
from initdsl.text.wording import did_you_mean, listed

from .classes import class_matches, compare, glob
from .matches import FACTS, Frame, Match, State, Unmatched, continued, merge

__all__ = ["Matcher"]


EnvironmentOf = Callable[[int, tuple[tuple[str, int], ...], tuple[int, ...]], Environment]


@dataclass
class Matcher:
    """Evaluates selectors against one network.

    `environment(module, bindings, scope)` gives names their values; `is_let` tells which names can't be bound.
    """

    network: Network
    environment: EnvironmentOf
    is_let: Callable[[str], bool]
    _pure: dict[tuple[Selector, bool, int], list[Match]] = field(default_factory=dict)
    _where: dict[tuple[Selector, bool], dict[int, list[int]]] = field(default_factory=dict)
    _classes: dict[ClassPattern, list[int]] = field(default_factory=dict)
    _regexes: dict[str, Any] = field(default_factory=dict)
    _indices: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    _by_value: dict[Any, dict[Any, list[int]]] = field(default_factory=dict)
    _binding: bool = True

    def select(self, selector: Selector, frame: Frame | None = None, modules: bool = False) -> list[Match]:
        """What a selector selects, in the order of the network. `modules` makes a regex search module names.

        Raises EvalError for what can't be evaluated.
        """
        if frame is None and _is_pure(selector):
            # where a match leads to a piece it holds the index as it stands in this place of this file
            key = (selector, modules, id(selector) if _has_pieces(selector) else 0)
            found = self._pure.get(key)
            if found is None:
                found = self._pure[key] = self._select(selector, None, modules)
            return found
        absolute = isinstance(selector, Regex) or (isinstance(selector, Path) and selector.root is not None)
        if frame is not None and absolute and _is_pure(selector):
            return self._framed(self._near(selector, frame, modules), frame)
        return self._select(selector, frame, modules)

    def _near(self, selector: Selector, frame: Frame, modules: bool) -> list[Match]:
        """Of all that a selector selects what lies in a block, and perhaps more: many small blocks don't look at it all."""
        found = self.select(selector, None, modules)
        if 2 * len(frame.below) > len(found) or not _is_pure(selector):
            return found
        key = (selector, modules)
        places = self._where.get(key)
        if places is None:
            places = self._where[key] = {}
            for place, match in enumerate(found):
                places.setdefault(match.module, []).append(place)
        return [found[place] for place in sorted(p for module in frame.below for p in places.get(module, ()))]

    def _select(self, selector: Selector, frame: Frame | None, modules: bool) -> list[Match]:
        match selector:
            case Maybe():
                return self.select(selector.selector, frame, modules)
            case Union_():
                return [match for member in selector.members for match in self.select(member, frame, modules)]
            case Within():
                return self._within(selector, frame, modules)
            case Regex():
                return self._framed(self._regex(selector, modules), frame)
            case Path():
                return self._path(selector, frame)
        raise AssertionError(selector)

    # ---- paths

    def _path(self, path: Path, frame: Frame | None) -> list[Match]:
        states = self._starts(path, frame)
        for i, step in enumerate(path.steps):
            states = self._step(states, step, i == len(path.steps) - 1)
        matches = []
        for state in states:
            scope: tuple[int, ...] = () if state.root is None or state.root == state.module else (state.root,)
            bindings, above = state.bindings, state.frame
            if above is not None:
                scope = (*scope, above.module, *above.scope)
            matches.append(Match(state.module, state.tensor, bindings, scope, above, state.index, path.view))
        if path.root is None or frame is None:
            return matches
        return self._framed(matches, frame)

    def reach(self, path: Path, bindings: tuple[tuple[str, int], ...], scope: tuple[int, ...]) -> list[Match]:
        """What a path in an expression leads to: names in its indices are evaluated, never bound."""
        states = [State(0, None, bindings, None, Match(scope[0], None, bindings, scope[1:]) if scope else None)]
        self._binding = False
        try:
            for i, step in enumerate(path.steps):
                states = self._step(states, step, i == len(path.steps) - 1)
        finally:
            self._binding = True
        return [Match(s.module, s.tensor, s.bindings, (), None, s.index) for s in states]

    def _starts(self, path: Path, frame: Frame | None) -> list[State]:
        if path.root == "net":
            return [State(0, None, (), None, None)]
        if path.root is None:
            return [State(m.module, None, m.bindings, None, m) for m in frame.matches] if frame else []
        return [State(index, None, (), index, None) for index in self.of_class(path.root)]

    def _framed(self, matches: list[Match], frame: Frame | None) -> list[Match]:
        """Those inside the block, once for every match of its selector they lie in."""
        if frame is None:
            return matches
        inside = []
        for match in matches:
            for above in frame.inside(match.module):
                bindings = merge(match.bindings, above.bindings)
                if bindings is not None:
                    scope = (*match.scope, above.module, *above.scope)
                    inside.append(Match(match.module, match.tensor, bindings, scope, above, match.index, match.view))
        return inside

    def _step(self, states: list[State], step: nodes.PathStep, last: bool) -> list[State]:
        found: list[State] = []
        if isinstance(step, Step) and step.name == "**":
            found = self._below(states, last)
            states = []
        for state in states:
            if state.tensor is not None:
                if isinstance(step, Index) and state.index is None:
                    found.append(State(state.module, state.tensor, state.bindings, state.root, state.frame, step))
            elif isinstance(step, Step):
                found += self._named(state, step.name)
            else:
                found += self._indexed(state, step)
        if step.predicates:
            self._check_predicates(step.predicates, found)
            found = [s for s in found if self._holds(step.predicates, s)]
        return found

    def _named(self, state: State, name: str) -> list[State]:
        network = self.network
        module = network.modules[state.module]
        out: list[State] = []
        if "*" in name:
            compiled = glob(name)
            out = [self._at(state, child) for key, child in module.children.items() if compiled.match(key)]
            out += [self._at(state, module.index, t) for key, t in module.parameters.items() if compiled.match(key)]
            return out
        tensor = module.parameters.get(name, module.buffers.get(name))
        if tensor is not None:
            return [self._at(state, module.index, tensor)]
        child = module.children.get(name)
        return [] if child is None else [self._at(state, child)]

    def _below(self, states: list[State], last: bool) -> list[State]:
        """Everything below, each once however many ways lead to it: `**.**` on a deep net would have very many."""
        alike: dict[Any, list[State]] = {}
        for state in states:
            if state.tensor is None:
                alike.setdefault((state.bindings, state.root, id(state.frame)), []).append(state)
        out: list[State] = []
        for group in alike.values():
            below = self.network.reachable(*(state.module for state in group))
            out += [self._at(group[0], index) for index in below]
            if last:
                for index in below:
                    out += [self._at(group[0], index, t) for t in self.network.modules[index].parameters.values()]
        return out

    def _at(self, state: State, module: int, tensor: int | None = None) -> State:
        return State(module, tensor, state.bindings, state.root, state.frame)

    def _indexed(self, state: State, step: Index) -> list[State]:
        if len(step.items) != 1:
            raise EvalError("a module takes one index", step.span, name="bad-index")
        item = step.items[0]
        module = self.network.modules[state.module]
        places = self._places(module)
        if isinstance(item, Every):
            return [self._down(state, module, key, None) for _, key in places or self._all(module)]
        if isinstance(item, Ellipsis):
            raise EvalError("`...` indexes tensors; every child is `[*]`", item.span, name="bad-index")
        if isinstance(item, String):
            known = item.value in module.children or item.value in module.parameters or item.value in module.buffers
            return [self._down(state, module, item.value, None)] if known else []
        if isinstance(item, Slice):
            return [self._down(state, module, key, None) for _, key in self._sliced(module, places, item, state)]
        if isinstance(item, Name) and self._binding:
            bound = dict(state.bindings).get(item.name)
            if bound is None:
                if self.is_let(item.name):
                    raise EvalError(
                        f"`{item.name}` is a `let` name and can't be bound", item.span,
                        f"take another name, or write `[({item.name} + 0)]` for its value", "bound-let",
                    )  # fmt: skip
                if item.name in ("it", "net"):
                    raise EvalError(f"`{item.name}` can't be bound", item.span, "take another name", "bound-name")
                return [self._down(state, module, key, (item.name, place)) for place, key in places]
            value: Any = bound
        else:
            scope = () if state.frame is None else (state.frame.module, *state.frame.scope)
            value = evaluate(item, self.environment(state.module, state.bindings, scope))
        if isinstance(value, bool) or not isinstance(value, int):
            raise EvalError(
                f"an index must be an integer, this is {describe_value(value)}", item.span, name="bad-index"
            )
        key = self._key(module, places, value)
        return [] if key is None else [self._down(state, module, key, None)]

    def _down(self, state: State, module: ModuleInfo, key: str, bound: tuple[str, int] | None) -> State:
        child = module.children.get(key)
        bindings = state.bindings if bound is None else tuple(sorted((*state.bindings, bound)))
        if child is not None:
            return State(child, None, bindings, state.root, state.frame)
        tensor = module.parameters.get(key, module.buffers.get(key))
        return State(module.index, tensor, bindings, state.root, state.frame)

    def _places(self, module: ModuleInfo) -> list[tuple[int, str]]:
        """The children an index can reach, with their indices: positions in a list, else integer keys."""
        found = self._indices.get(module.index)
        if found is None:
            if module.container == "list":
                found = list(enumerate(module.children or module.parameters))
            else:
                keys = [*module.children, *module.parameters]
                found = sorted((int(key), key) for key in keys if key.isdecimal() and str(int(key)) == key)
            self._indices[module.index] = found
        return found

    def _all(self, module: ModuleInfo) -> list[tuple[int, str]]:
        if module.container != "dict":
            return []
        return list(enumerate([*module.children, *module.parameters]))

    def _key(self, module: ModuleInfo, places: list[tuple[int, str]], value: int) -> str | None:
        if module.container == "list":
            return places[value][1] if -len(places) <= value < len(places) else None
        key = str(value)
        return key if key in module.children or key in module.parameters or key in module.buffers else None

    def _sliced(
        self, module: ModuleInfo, places: list[tuple[int, str]], item: Slice, state: State
    ) -> list[tuple[int, str]]:  # fmt: skip
        env = self.environment(state.module, state.bindings, ())
        bounds = []
        for part in (item.start, item.stop, item.step):
            value = None if part is None else evaluate(part, env)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise EvalError(
                    f"an index must be an integer, this is {describe_value(value)}", part.span if part else item.span,
                    name="bad-index",
                )  # fmt: skip
            bounds.append(value)
        start, stop, step = bounds
        if step == 0:
            raise EvalError("a slice's step can't be 0", item.span, name="bad-index")
        if module.container == "list":
            return places[start:stop:step]
        low = start if start is not None else min((place for place, _ in places), default=0)
        step = step or 1
        if step < 0 or (start or 0) < 0 or (stop or 0) < 0:
            raise EvalError("integer keys are sliced upwards, from 0", item.span, name="bad-index")
        return [(p, k) for p, k in places if p >= low and (stop is None or p < stop) and (p - low) % step == 0]

    # ---- classes and predicates

    def of_class(self, pattern: ClassPattern) -> list[int]:
        """The modules a class pattern selects, in the order of the network."""
        if pattern in self._classes:
            return self._classes[pattern]
        found = self._by_equality(pattern)
        if found is not None:
            self._classes[pattern] = found
            return found
        found = self._class_only(pattern)
        if pattern.predicates:
            states = [State(index, None, (), index, None) for index in found]
            self._check_predicates(pattern.predicates, states)
            found = [s.module for s in states if self._holds(pattern.predicates, s)]
        if not any(_has_names(p.value) for p in pattern.predicates if p.value is not None):
            self._classes[pattern] = found
        return found

    def _by_equality(self, pattern: ClassPattern) -> list[int] | None:
        """What `Class(attribute=number)` selects, looked up; `None` for every other form."""
        if len(pattern.predicates) != 1:
            return None
        predicate = pattern.predicates[0]
        if predicate.operator != "=" or not isinstance(predicate.value, Number):
            return None
        key = (pattern.name, pattern.subclasses, predicate.attribute)
        if key not in self._by_value:
            states = [State(index, None, (), index, None) for index in self._class_only(pattern)]
            self._check_predicates(pattern.predicates, states)
            values = self._by_value[key] = {}
            for state in states:
                value = self._fact(predicate.attribute, state)
                if isinstance(value, int | float):
                    values.setdefault(value, []).append(state.module)
        return self._by_value[key].get(predicate.value.value, [])

    def _class_only(self, pattern: ClassPattern) -> list[int]:
        found: list[int] = []
        for cls, indices in self.network.by_class.items():
            if class_matches(pattern.name, cls) or (
                pattern.subclasses and any(class_matches(pattern.name, base) for base in cls.bases)
            ):
                found += indices
        found.sort()
        return found

    def _check_predicates(self, predicates: Iterable[Predicate], states: list[State]) -> None:
        """An attribute that none of the things has is a mistake, not a condition that doesn't hold."""
        for predicate in predicates:
            if states and all(self._fact(predicate.attribute, s) is MISSING for s in states):
                what = "tensor" if states[0].tensor is not None else self.network.modules[states[0].module].cls.name
                words = FACTS if states[0].tensor is not None else self._attribute_names(states[0].module)
                raise EvalError(
                    f"`{what}` has no attribute `{predicate.attribute}`", predicate.span,
                    did_you_mean(predicate.attribute, words), "unknown-attribute",
                )  # fmt: skip

    def _attribute_names(self, index: int) -> list[str]:
        module = self.network.modules[index]
        return [*module.attributes(), *module.parameters, *module.absent, *module.children]

    def _fact(self, name: str, state: State) -> Any:
        if state.tensor is not None:
            tensor = self.network.tensors[state.tensor]
            return getattr(tensor, name) if name in FACTS else MISSING
        module = self.network.modules[state.module]
        value = module.attribute(name)
        if value is not MISSING:
            return value
        if name in module.parameters or name in module.buffers or name in module.children:
            return True
        return None if name in module.absent else MISSING

    def _holds(self, predicates: Iterable[Predicate], state: State) -> bool:
        for predicate in predicates:
            value = self._fact(predicate.attribute, state)
            if value is MISSING and predicate.attribute in FACTS:
                return False  # a condition on tensors, and this is a module
            if predicate.operator in (None, "!"):
                there = (
                    value is not MISSING
                    and value is not None
                    and value is not False
                    and value != 0
                    and value != ()
                    and value != ""
                )
                if there is (predicate.operator == "!"):
                    return False
                continue
            if value is MISSING:
                return False
            wanted = self._wanted(predicate, state)
            if not compare(predicate, value, wanted):
                return False
        return True

    def _wanted(self, predicate: Predicate, state: State) -> Any:
        node = predicate.value
        assert node is not None
        if predicate.attribute == "dtype" and isinstance(node, Name | String):
            return (node.name if isinstance(node, Name) else node.value).removeprefix("torch.")
        scope = () if state.frame is None else (state.frame.module, *state.frame.scope)
        value = evaluate(node, self.environment(state.module, state.bindings, scope))
        return tuple(value) if isinstance(value, list) else value

    # ---- regexes and containment

    def _regex(self, node: Regex, modules: bool) -> list[Match]:
        compiled = self.compiled(node)
        network = self.network
        if modules:
            return [
                Match(m.index)
                for m in network.modules
                if any(compiled.search(n) for n in network.module_names(m.index))
            ]
        found = []
        for tensor in network.tensors:
            if tensor.kind == "buffer":
                continue
            for owner, local in tensor.owners:
                names = [f"{path}.{local}" if path else local for path in network.module_names(owner)]
                if any(compiled.search(name) for name in names):
                    found.append(Match(owner, tensor.index))
                    break
        return found

    def compiled(self, node: Regex) -> Any:
        """The regular expression, in a linear-time engine. Raises EvalError for one that engine refuses."""
        if node.pattern not in self._regexes:
            try:
                self._regexes[node.pattern] = linear_regex(node.pattern)
            except ValueError as error:
                raise EvalError(
                    f"this regular expression can't be used: {error}", node.span,
                    "it has the syntax of RE2: no look-around, no back-references", "bad-regex",
                ) from None  # fmt: skip
        return self._regexes[node.pattern]

    def _within(self, node: Within, frame: Frame | None, modules: bool) -> list[Match]:
        container = self.container(node.container, frame)
        self._needs_modules(container, node.container)
        container = [match for match in container if match.tensor is None]
        if node.negated:
            inner = self.select(node.selector, frame, modules)
            outside = set(self.network.reachable(*(match.module for match in container)))
            return [match for match in inner if match.module not in outside]
        around = Frame(self.network, container)
        framed = frame is not None
        inner = self.select(node.selector, frame, modules) if framed else self._near(node.selector, around, modules)
        found = []
        for match in inner:
            for above in around.inside(match.module):
                bindings = merge(match.bindings, above.bindings)
                if bindings is not None:
                    if bindings == match.bindings:
                        found.append(match)
                    else:
                        found.append(
                            Match(
                                match.module, match.tensor, bindings, match.scope, match.frame, match.index, match.view
                            )
                        )
                    if not above.bindings:
                        break
        return found

    def container(self, selector: Selector, frame: Frame | None) -> list[Match]:
        """What stands behind `in`."""
        if isinstance(selector, Union_):
            return [match for member in selector.members for match in self.container(member, frame)]
        return self.select(selector, continued(selector, frame), True)

    def _needs_modules(self, matches: list[Match], selector: Selector) -> None:
        if matches and all(match.tensor is not None for match in matches):
            raise EvalError("`in` needs modules, this selects parameters", selector.span, name="needs-module")

    # ---- why nothing was selected

    def explain(self, selector: Selector, frame: Frame | None = None, modules: bool = False) -> Iterator[Unmatched]:
        """For each part that selects nothing and must: what is missing, and the nearest there is."""
        match selector:
            case Maybe():
                return
            case Union_():
                for member in selector.members:
                    if not self.select(member, frame, modules):
                        yield from self.explain(member, frame, modules)
            case Within():
                if not self.container(selector.container, frame):
                    container = selector.container
                    for part in container.members if isinstance(container, Union_) else (container,):
                        if not self.container(part, frame):
                            yield from self.explain(part, continued(part, frame), True)
                elif not self.select(selector.selector, frame, modules):
                    yield from self.explain(selector.selector, frame, modules)
                else:
                    word = "outside" if selector.negated else "inside"
                    yield Unmatched(f"nothing of the first lies {word} the second", selector.span, None)
            case Regex():
                what = "module" if modules else "parameter"
                yield Unmatched(f"no {what} name contains a match of this regular expression", selector.span, None)
            case Path():
                if frame is not None and selector.root is not None and self._path(selector, None):
                    yield Unmatched("nothing of this lies inside the block's selector", selector.span, None)
                else:
                    yield self._explain_path(selector, frame)

    def _explain_path(self, path: Path, frame: Frame | None) -> Unmatched:
        if isinstance(path.root, ClassPattern) and not self.of_class(path.root):
            return self._explain_class(path.root, path)
        states = self._starts(path, frame)
        for i, step in enumerate(path.steps):
            reached = self._step(states, step, i == len(path.steps) - 1)
            if not reached:
                return self._explain_step(path, states, step)
            states = reached
        return Unmatched("this selects nothing", path.span, None)

    def _explain_step(self, path: Path, states: list[State], step: nodes.PathStep) -> Unmatched:
        network = self.network
        span = Span(step.span.start, step.span.end)
        modules = [network.modules[s.module] for s in states if s.tensor is None]
        if not modules:
            return Unmatched("a parameter has nothing inside it but elements", span, None)
        if isinstance(path.root, ClassPattern):
            what = f"`{path.root.name}`" if len(modules) == 1 else f"any of {len(modules)} `{path.root.name}`"
            where = f"in {what}"
        else:
            where = f"in `{modules[0].label}`" + ("" if len(modules) == 1 else f" and {len(modules) - 1} more")
        if isinstance(step, Index):
            return Unmatched(f"there is no such index {where}", span, self._indices_of(modules))
        name = step.name
        if step.predicates:
            return Unmatched(f"nothing named `{name}` {where} meets this condition", span, None)
        if "*" not in name and any(name in m.absent for m in modules):
            return Unmatched(
                f"`{name}` is none {where}", span, "a selector that may match nothing ends in `?`", warning=True
            )
        names = list(
            dict.fromkeys(key for m in modules[:1000] for key in (*m.parameters, *m.buffers, *m.children, *m.absent))
        )
        hint = did_you_mean(name, names) or (
            f"there {'is' if len(names) == 1 else 'are'} {listed(names)}" if names else None
        )
        if not names and "*" in name:
            return Unmatched(f"there are no parameters {where}", span, None)
        what = f"nothing named like `{name}`" if "*" in name else f"no `{name}`"
        return Unmatched(f"there is {what} {where}", span, hint)

    def _indices_of(self, modules: list[ModuleInfo]) -> str | None:
        """A hint that says which indices there are, where all the modules have the same ones."""
        first = modules[0]
        places = self._places(first)
        if any(m.container != first.container or self._places(m) != places for m in modules[1:1000]):
            return None
        if first.container == "list":
            return f"it has {len(places)} {'child' if len(places) == 1 else 'children'} by index"
        if places:
            return f"its integer {'key is' if len(places) == 1 else 'keys are'} {listed([key for _, key in places])}"
        if first.container == "dict" and first.children | first.parameters:
            return f'its keys are no integers: `[*]` is every one, `["{next(iter(first.children | first.parameters))}"]` that one'
        return "it has no children by index"

    def _explain_class(self, pattern: ClassPattern, path: Path) -> Unmatched:
        written = pattern.name
        plain = ClassPattern(pattern.name, False, (), pattern.span)
        exact = self._class_only(plain)
        derived = self._class_only(ClassPattern(pattern.name, True, (), pattern.span))
        if exact and pattern.predicates:
            return Unmatched(f"none of {len(exact)} `{written}` meets this condition", pattern.span, None)
        if derived and not pattern.subclasses:
            noun = "subclass" if len(derived) == 1 else "subclasses"
            names = listed(list(dict.fromkeys(self.network.modules[i].cls.name for i in derived)))
            return Unmatched(
                f"`{written}` selects 0 of {len(derived)} {noun} of {written} ({names})", pattern.span,
                f"`{written}+` would", "subclass-left-out",
            )  # fmt: skip
        known = [cls.name for cls in self.network.by_class]
        hint = did_you_mean(written.rpartition(".")[2], known)
        root = self.network.modules[0]
        if hint is None and written in (*root.children, *root.parameters):
            hint = f"a path starts with `net`: `net.{written}`"
        return Unmatched(f"there is no `{written}` in this network", pattern.span, hint, warning=True)


@lru_cache(maxsize=65536)
def _is_pure(selector: Selector) -> bool:
    """Whether a selector means the same wherever it stands: no names that are bound or looked up."""
    return not _has_names(selector)


@lru_cache(maxsize=65536)
def _has_pieces(selector: Selector) -> bool:
    """Whether a selector may select pieces of tensors."""
    return any(
        isinstance(n, Path) and (n.view is not None or (n.steps and isinstance(n.steps[-1], Index)))
        for n in walk(selector)
    )


def _has_names(node: Any) -> bool:
    return any(n.kind in ("name", "length", "call", "member") for n in walk(node))
