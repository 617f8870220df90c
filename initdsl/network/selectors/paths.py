"""Paths: from the root, from every module of a class or from a block, one step after the other."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

from initdsl.language.expressions.evaluate import evaluate
from initdsl.language.expressions.shapes import EvalError, describe_value
from initdsl.language.syntax.nodes import Ellipsis, Every, Expr, Index, Item, Name, Path, PathStep, Slice, Step, String
from initdsl.network.attributes import MISSING
from initdsl.network.parts import ModuleInfo

from .classes import check_predicates, glob, holds, of_class, scope_of
from .context import BlockModules, Reads, SelectorContext, State, block_of, is_nested, matches_around
from .in_part import refuse_place
from .matches import Bindings, Frame, Match, Scope, merge

__all__ = ["distinct", "inside_block", "integer_keys", "reach", "select_path", "starts", "take_step"]


# makes a NamedTuple of all its fields, in half the time of its own constructor
_new = tuple.__new__


# a child by index: the index, and its name in the module
Indexed = tuple[int, str]


def select_path(context: SelectorContext, path: Path, frame: Frame | None) -> list[Match]:
    """Return the modules and tensors that a path leads to, inside the block if there is one."""
    matches = []
    for module, tensor, bindings, root, around, piece in _walk(context, path, starts(context, path, frame)):
        scope: Scope = () if root is None or root == module else (root,)
        if around is not None:
            scope = (*scope, around.module, *around.scope)
        matches.append(_new(Match, (module, tensor, bindings, scope, around, piece, path.view)))
    if path.root is None or frame is None:
        return matches
    return inside_block(context, matches, frame)


def reach(context: SelectorContext, path: Path, bindings: Bindings, scope: Scope) -> list[Match]:
    """Return where a path in an expression leads: names in its indices are evaluated, never bound."""
    frame = Match(scope[0], None, bindings, scope[1:]) if scope else None
    states = _walk(context, path, [State(0, None, bindings, None, frame)])
    return [Match(state.module, state.tensor, state.bindings, (), None, state.piece) for state in states]


def inside_block(context: SelectorContext, matches: list[Match], frame: Frame | None) -> list[Match]:
    """Return those of `matches` that lie inside the block, once for every match of the block they lie in."""
    if frame is None:
        return matches
    block = block_of(context, frame)
    nested = is_nested(context, block)
    last = _last_around(context, block, frame) if nested else None
    inside = []
    for match in matches:
        module, tensor, bound, scope, _, index, view = match
        if last is not None:
            positions = last.get(module, ())
        else:
            positions = matches_around(context, block, module)
            if nested:
                positions = _last_alike(context, frame, positions)
        context.spend(len(positions))
        for position in positions:
            around = frame.matches[position]
            bindings = merge(bound, around.bindings)
            if bindings is not None:
                outer = (*scope, around.module, *around.scope)
                inside.append(Match(module, tensor, bindings, outer, around, index, view))
    return inside


# ---- matches of which nothing that is read tells one from another


def distinct(context: SelectorContext, matches: list[Match], reads: Reads) -> list[Match]:
    """Return the modules of a block without those that nothing inside tells from a later one: the last has the last word."""
    alike: dict[Hashable, Match] = {}
    for match in matches:
        scope = _seen(context, (match.module, *match.scope), reads.names)
        scope = scope[1:] if scope[:1] == (match.module,) else scope
        bindings = match.bindings if reads.modules else tuple(b for b in match.bindings if b[0] in reads.names)
        key = match.module, bindings, scope
        alike.pop(key, None)
        alike[key] = match._replace(bindings=bindings, scope=scope, frame=None)
    return list(alike.values())


def _told_apart(context: SelectorContext, match: Match, reads: Reads) -> Hashable:
    """Return what is equal for matches of a block of which nothing that is read tells one from the other."""
    scope = _seen(context, (match.module, *match.scope), reads.names)
    return tuple(b for b in match.bindings if b[0] in reads.names), scope


def _seen(context: SelectorContext, scope: Scope, names: frozenset[str]) -> Scope:
    """Return those modules of a scope that the names may mean an attribute of, each name the innermost that has it."""
    if not names:
        return ()
    wanted, seen = names, []
    modules = context.network.modules
    for index in dict.fromkeys(scope):
        if not wanted:
            break
        had = {name for name in wanted if modules[index].attribute(name) is not MISSING}
        if had:
            wanted = wanted - had
            seen.append(index)
    context.spend(len(seen) + 1)
    return tuple(seen)


# kinds of matches of a block up to which the network is gone through once for each
FEW = 8


def _last_around(context: SelectorContext, block: BlockModules, frame: Frame) -> dict[int, list[int]] | None:
    """Return for every module in a block where the last match of each kind around it stands; None where there are many kinds."""
    reads = context.reads()
    if reads is None or reads.modules:
        return None
    kinds: dict[Hashable, list[int]] = {}
    for position, match in enumerate(frame.matches):
        kinds.setdefault(_told_apart(context, match, reads), []).append(position)
        if len(kinds) > FEW:
            return None
    last: dict[int, list[int]] = {}
    for positions in kinds.values():
        seen: set[int] = set()
        for position in reversed(positions):
            for module in context.network.reachable_but(seen, frame.matches[position].module):
                last.setdefault(module, []).append(position)
        context.spend(len(seen))
    for places in last.values():
        places.sort()
    return last


def _last_alike(context: SelectorContext, frame: Frame, positions: list[int]) -> list[int]:
    """Return the last position of each kind of match."""
    reads = context.reads()
    context.spend(len(positions))
    if reads is None or reads.modules or len(positions) < 2:
        return positions
    return sorted({_told_apart(context, frame.matches[position], reads): position for position in positions}.values())


def starts(context: SelectorContext, path: Path, frame: Frame | None) -> list[State]:
    """Return where a path begins: at the root, at the block's matches, or at every module of its class."""
    if path.root == "net":
        return [State(0, None, (), None, None)]
    if path.root is None:
        matches = frame.matches if frame is not None else ()
        return [State(match.module, None, match.bindings, None, match) for match in matches]
    roots = of_class(context, path.root)
    if not any(isinstance(step, Step) and step.name == "**" for step in path.steps):
        return [_new(State, (index, None, (), index, None, None)) for index in roots]
    # from many roots much is reached again and again: a root that nothing asks for is none
    reads = context.reads()
    asked = reads is None or reads.modules
    return [
        State(index, None, (), index if asked or (reads and _seen(context, (index,), reads.names)) else None, None)
        for index in roots
    ]


def _walk(context: SelectorContext, path: Path, states: list[State]) -> list[State]:
    for number, step in enumerate(path.steps, 1):
        states = take_step(context, states, step, number == len(path.steps))
    return states


def take_step(context: SelectorContext, states: list[State], step: PathStep, last: bool) -> list[State]:
    """Return where one step of a path leads from `states`. A last `**` selects tensors beside modules."""
    if isinstance(step, Step) and step.name == "**":
        reached = _below(context, states, last)  # counts what it reaches, as it goes
    else:
        if not isinstance(step, Step):
            reached = [s for state in states for s in _indexed(context, state, step)]
        elif "*" in step.name:
            reached = [s for state in states if state.tensor is None for s in _globbed(context, state, step.name)]
        else:
            reached = list(_named(context, states, step.name))
        context.spend(len(reached))
    if len(reached) > context.network.size:
        # several ways to a shared module differ in nothing: two at each of thirty steps would be a billion
        reached = list({(*state[:4], id(state.frame), id(state.piece)): state for state in reached}.values())
    if step.predicates:
        check_predicates(context, step.predicates, reached)
        reached = [state for state in reached if holds(context, step.predicates, state)]
    return reached


def _to(state: State, module: int, tensor: int | None = None) -> State:
    return State(module, tensor, state.bindings, state.root, state.frame)


# ---- by name


def _named(context: SelectorContext, states: list[State], name: str) -> Iterator[State]:
    modules = context.network.modules
    for number, within, bindings, root, frame, _ in states:
        if within is not None:
            continue
        module = modules[number]
        tensor = module.parameters.get(name)
        if tensor is None:
            tensor = module.buffers.get(name)
        if tensor is not None:
            yield _new(State, (number, tensor, bindings, root, frame, None))
        elif (child := module.children.get(name)) is not None:
            yield _new(State, (child, None, bindings, root, frame, None))


def _globbed(context: SelectorContext, state: State, pattern: str) -> list[State]:
    module = context.network.modules[state.module]
    matches = glob(pattern).match
    children = [_to(state, child) for key, child in module.children.items() if matches(key)]
    return children + [_to(state, module.index, t) for key, t in module.parameters.items() if matches(key)]


def _below(context: SelectorContext, states: list[State], last: bool) -> list[State]:
    """Return everything below, each once however many ways lead to it: `**.**` on a deep net would have very many."""
    network = context.network
    alike: dict[tuple[Bindings, int | None, Hashable], list[State]] = {}
    reads = context.reads() if any(state.frame is not None for state in states) else None
    for state in states:
        if state.tensor is None:
            kind: Hashable = id(state.frame)
            if state.frame is not None and reads is not None and not reads.modules:
                kind = _told_apart(context, state.frame, reads)
            alike.setdefault((state.bindings, state.root, kind), []).append(state)
    reached: list[State] = []
    for group in alike.values():
        _, _, bindings, root, frame, _ = group[-1]
        below = network.reachable(*[state.module for state in group])
        context.spend(len(below))
        reached += [State(index, None, bindings, root, frame) for index in below]
        if last:
            tensors = [(index, tensor) for index in below for tensor in network.modules[index].parameters.values()]
            context.spend(len(tensors))
            reached += [State(index, tensor, bindings, root, frame) for index, tensor in tensors]
    return reached


# ---- by index


def _indexed(context: SelectorContext, state: State, step: Index) -> list[State]:
    if state.tensor is not None:
        return [state._replace(piece=step)] if state.piece is None else []
    if len(step.items) != 1:
        raise EvalError("a module takes one index", step.span, name="bad-index")
    item = step.items[0]
    module = context.network.modules[state.module]
    if isinstance(item, Ellipsis):
        raise EvalError("`...` indexes tensors; every child is `[*]`", item.span, name="bad-index")
    if isinstance(item, Every):
        keys = integer_keys(context, module) or _dict_keys(module)
    elif isinstance(item, String):
        keys = [(0, item.value)] if _has(module, item.value) else []
    elif isinstance(item, Slice):
        keys = _sliced(context, module, item, state)
    elif isinstance(item, Name) and context.binds:
        return _bound(context, state, module, item)
    else:
        value = evaluate(item, context.environment(state.module, state.bindings, scope_of(state)))
        if module.container == "list":
            refuse_place(context.network, module, "a layer by its position", item.span)
        keys = _by_index(context, module, value, item)
    return [_down(state, module, key) for _, key in keys]


def _bound(context: SelectorContext, state: State, module: ModuleInfo, name: Name) -> list[State]:
    """Return every index, bound to a name; the one it has, where it is bound already."""
    value = dict(state.bindings).get(name.name)
    if value is not None:
        return [_down(state, module, key) for _, key in _by_index(context, module, value, name)]
    if context.is_variable(name.name):
        hint = f"take another name, or write `[({name.name} + 0)]` for its value"
        raise EvalError(f"`{name.name}` is a `let` name and can't be bound", name.span, hint, "bound-let")
    if name.name in ("it", "net"):
        raise EvalError(f"`{name.name}` can't be bound", name.span, "take another name", "bound-name")
    if module.container == "list":
        refuse_place(context.network, module, "a layer by its position", name.span)
    reads = context.reads()
    if reads is not None and name.name in reads.once:
        return [_down(state, module, key) for _, key in integer_keys(context, module)]
    return [
        _down(state, module, key, tuple(sorted((*state.bindings, (name.name, index)))))
        for index, key in integer_keys(context, module)
    ]


def _down(state: State, module: ModuleInfo, key: str, bindings: Bindings | None = None) -> State:
    """Return the child of a module, or the tensor, that goes by a name."""
    bindings = state.bindings if bindings is None else bindings
    child = module.children.get(key)
    if child is not None:
        return State(child, None, bindings, state.root, state.frame)
    tensor = module.parameters.get(key, module.buffers.get(key))
    return State(module.index, tensor, bindings, state.root, state.frame)


def _has(module: ModuleInfo, key: str) -> bool:
    return key in module.children or key in module.parameters or key in module.buffers


def _places(context: SelectorContext, module: ModuleInfo) -> tuple[str, ...]:
    """Return the names of what a list holds, by position; what a name doesn't lead to is none there."""
    names = context.cache.places.get(module.index)
    if names is None:
        names = context.cache.places[module.index] = module.in_order
    return names


def integer_keys(context: SelectorContext, module: ModuleInfo) -> list[Indexed]:
    """Return the children that an integer index can reach: those of a list by position, else those by integer keys."""
    indexed = context.cache.indexed.get(module.index)
    if indexed is None:
        if module.container == "list":
            indexed = [(place, key) for place, key in enumerate(_places(context, module)) if _has(module, key)]
        else:
            keys = [*module.children, *module.parameters]
            indexed = sorted((int(key), key) for key in keys if key.isdecimal() and str(int(key)) == key)
        context.cache.indexed[module.index] = indexed
    return indexed


def _dict_keys(module: ModuleInfo) -> list[Indexed]:
    """Return every child of a ModuleDict or ParameterDict: `[*]` takes keys that are no integers too."""
    if module.container != "dict":
        return []
    return list(enumerate([*module.children, *module.parameters]))


def _integer(value: Any, node: Expr | Item) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise EvalError(f"an index must be an integer, this is {describe_value(value)}", node.span, name="bad-index")
    return value


def _by_index(context: SelectorContext, module: ModuleInfo, value: Any, node: Item) -> list[Indexed]:
    """Return the child by an index, as a list of one; of none where it is out of range."""
    index = _integer(value, node)
    if module.container == "list":
        names = _places(context, module)
        inside = -len(names) <= index < len(names)
        return [(index % len(names), names[index])] if inside and _has(module, names[index]) else []
    key = str(index)
    return [(index, key)] if _has(module, key) else []


def _sliced(context: SelectorContext, module: ModuleInfo, item: Slice, state: State) -> list[Indexed]:
    """Return the children of a slice: positions of a list as in Python, else integer keys from `start` to `stop`."""
    environment = context.environment(state.module, state.bindings, ())
    bounds: list[int | None] = []
    for bound in (item.start, item.stop, item.step):
        value = None if bound is None else evaluate(bound, environment)
        bounds.append(None if bound is None or value is None else _integer(value, bound))
    start, stop, step = bounds
    if step == 0:
        raise EvalError("a slice's step can't be 0", item.span, name="bad-index")
    children = integer_keys(context, module)
    if module.container == "list":
        if bounds != [None, None, None]:
            refuse_place(context.network, module, "a layer by its position", item.span)
        names = _places(context, module)
        return [(place, names[place]) for place in range(len(names))[start:stop:step] if _has(module, names[place])]
    step = step or 1
    if step < 0 or (start or 0) < 0 or (stop or 0) < 0:
        raise EvalError("integer keys are sliced upwards, from 0", item.span, name="bad-index")
    if start is None and step > 1:
        refuse_place(context.network, module, "what the slice begins with", item.span)
    low = start if start is not None else min((index for index, _ in children), default=0)
    chosen = range(low, stop if stop is not None else 1 + max((index for index, _ in children), default=0), step)
    return [(index, key) for index, key in children if index in chosen]
