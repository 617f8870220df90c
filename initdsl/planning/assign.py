"""Right-hand sides: what one statement writes into one piece of one tensor, checked to the last argument."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product, zip_longest
from typing import Any

from initdsl.initializers import ArgumentError, Constant, Uniform
from initdsl.language.expressions.evaluate import evaluate, index_item
from initdsl.language.expressions.functions import FANS, FUNCTIONS
from initdsl.language.expressions.let import Lets
from initdsl.language.expressions.shapes import EvalError, Shape, broadcast, describe_value, index_shape, nested_shape
from initdsl.language.syntax import nodes
from initdsl.language.syntax.nodes import Assign, Call, Copy, Default, Every, Keep, Name, Word
from initdsl.language.syntax.walk import walk
from initdsl.network.description import TensorInfo, describe_tensor
from initdsl.network.selectors.matches import Match
from initdsl.text.wording import did_you_mean

from .actions import Action, CopyFrom, Draw, Expression, Kept, Load, Payload, Reset, Value
from .calls import bind_call, check_shape, unknown_call
from .context import Resolution, Statement
from .names import Names

__all__ = ["Info", "Values"]


# that `[*]` may make in one plan: each is a tensor of its own, and more are rather a mistake than a wish
MOST_PIECES = 200_000


LARGEST = {
    "float8_e4m3fn": 448.0, "float8_e4m3fnuz": 240.0, "float8_e5m2": 57344.0, "float8_e5m2fnuz": 57344.0,
    "float16": 65504.0, "bfloat16": 3.3895313892515355e38, "float32": 3.4028234663852886e38,
}  # fmt: skip


@dataclass
class Info:
    """What a clause's right-hand side says before any match is looked at."""

    expr: nodes.Expr  # the value, `let`s at the top looked through
    lets: Lets  # those the statement sees
    finite: bool
    constant: bool
    call: Call | None = None  # where the value is one initializer
    cache: dict[Any, Payload | None] = field(default_factory=dict)


class Values:
    """Makes the actions of clauses; every method raises EvalError for what can't be right."""

    def __init__(self, resolution: Resolution):
        self.at = resolution
        self.infos: dict[int, Info] = {}
        self.pieces = 0

    def info(self, statement: Statement) -> Info | None:
        """What the right-hand side says by itself; raises EvalError for what can't be right on any network."""
        rule = statement.clause.rule
        if not isinstance(rule, Assign):
            return None
        lets = statement.lets
        known = self.infos.get(id(rule))
        if known is not None and known.lets is lets and statement.frame is None:
            if known.call is not None:
                self.at.calls[statement.clause.number] = known.call
            return known
        expr: nodes.Expr = rule.value
        seen: set[str] = set()
        while (
            isinstance(expr, Name)
            and expr.name in lets
            and (formula := lets[expr.name].expr) is not None
            and expr.name not in seen
        ):
            seen.add(expr.name)
            expr = formula
        names: set[str] = set()
        calls: list[Call] = []
        words: set[str] = set()
        lengths = False
        stack: list[nodes.Expr] = [expr]
        opened: set[str] = set()
        chosen: set[int] = set()  # names that are words of an enumeration; a call is met before its arguments
        while stack:
            for node in walk(stack.pop()):
                if isinstance(node, Name) and id(node) in chosen:
                    continue
                if isinstance(node, Name):
                    names.add(node.name)
                    formula = lets[node.name].expr if node.name in lets and node.name not in opened else None
                    if formula is not None:
                        opened.add(node.name)
                        stack.append(formula)
                elif isinstance(node, Call) and node.function not in FUNCTIONS and node.function not in FANS:
                    calls.append(node)
                    chosen.update(self._chosen(node, lets))
                elif isinstance(node, Word):
                    words.add(node.word)
                elif node.kind in ("length", "member", "path") or (
                    isinstance(node, Call) and node.function == "base_shape"
                ):
                    lengths = True
        draws = False
        for call in calls:
            if call.function == "load":
                if call is expr and rule.operator == "~":
                    raise EvalError(
                        f"a file's values are set with `=`, not `{rule.operator}`", rule.operator_span, name="bad-load"
                    )
                continue
            initializer = self.at.registry.get(call.function)
            if initializer is None:
                raise self.foreign(unknown_call(call, self.at.registry), rule, call)
            draws = draws or initializer.draws
            foreign = not (initializer.builtin or initializer.elementwise or initializer.takes_generator)
            if self.at.seed is not None and foreign and rule.operator == "~" and call is expr:
                error = EvalError(
                    f"`{call.function}` takes no `generator`, so a seed does not reach what it draws",
                    call.name_span,
                    "give it a parameter `generator=None` to draw from; if it draws nothing, write `=`",
                    "needs-generator",
                )
                raise self.foreign(error, rule, call)
        single = expr if isinstance(expr, Call) and expr in calls else None
        if rule.operator == "~" and not draws and single is None:
            raise EvalError(
                "`~` draws at random, and this does not draw",
                rule.operator_span,
                f"a call has parentheses: `{expr.name}()`"
                if isinstance(expr, Name) and expr.name in self.at.registry
                else "a value is set with `=`",
                "plain-draw",
            )
        if rule.operator == "=" and draws:
            raise EvalError(
                "`=` sets a value, and this draws at random",
                rule.operator_span,
                "a draw is written `~`",
                "unexpected-draw",
            )
        loads = any(call.function == "load" for call in calls)  # each parameter its own tensor
        constant = not lengths and not loads and all((n in lets and lets[n].expr is None) or n in opened for n in names)
        info = Info(expr, lets, not ({"inf", "nan"} & words), constant, single)
        if info.constant and single is not None and single.function != "load":
            env = Names(self.at.network, self.at.matcher, self.at.registry, lets, Match(0), None, None, self.at.tied_to)
            try:
                bind_call(single, self.at.registry, env)
            except EvalError as error:
                raise self.foreign(error, rule, single) from None
        self.infos[id(rule)] = info
        if single is not None:
            self.at.calls[statement.clause.number] = single
        return info

    def _chosen(self, call: Call, lets: Lets) -> Iterator[int]:
        """The arguments of a call that are a word of an enumeration, by identity."""
        initializer = self.at.registry.get(call.function)
        if initializer is None:
            return
        for argument, by_place in zip_longest(call.arguments, initializer.parameters[: len(call.arguments)]):
            parameter = by_place if argument.name is None else initializer.parameter(argument.name)
            value = argument.value
            if parameter is not None and isinstance(value, Name) and parameter.choices and (
                value.name in parameter.choices or value.name not in lets
            ):  # fmt: skip
                yield id(value)

    def foreign(self, error: EvalError, rule: Assign, node: Call) -> EvalError:
        """An error in a `let`'s formula, blamed where it is used if its text is in another place."""
        if rule.value.span.start <= error.span.start and error.span.end <= rule.value.span.end:
            return error
        return EvalError(error.message, rule.value.span, error.hint, error.name)

    def actions(self, statement: Statement, info: Info | None, index: int, matches: list[Match]) -> list[Action]:
        """What a statement writes to one tensor, by the matches that lead to it."""
        actions: list[Action] = []
        for match in matches:
            actions += self._actions(statement, info, index, match)
        if len(matches) > 1:  # selected by several names, or members of a union: once, as the last of them says
            actions = list({(action.view, repr(action.index)): action for action in actions}.values())
        return actions

    def _actions(self, statement: Statement, info: Info | None, index: int, match: Match) -> list[Action]:
        clause = statement.clause
        rule = clause.rule
        tensor = self.at.network.tensors[index]
        effect = self.at.effect(clause, match)
        plain = match._replace(frame=None) if match.frame is not None else match
        if not isinstance(rule, Assign):
            self._no_piece(match, rule.kind)
            payload: Payload
            match rule:
                case Keep():
                    payload = Kept()
                case Default():
                    payload = Reset(match.module)
                case _:
                    source = self._copied(statement, match)
                    if source == index:  # one of the targets is the source: what it has is what its own rules give it
                        return []
                    payload = CopyFrom(source)
            return [Action(clause, rule.kind, payload, plain, tensor.shape, effect)]
        assert info is not None
        if match.index is None and match.view is None and info.constant:
            key = (tensor.shape, tensor.dtype)
            if key not in info.cache:
                info.cache[key] = self._payload(statement, info, index, match, tensor.shape)
            whole = info.cache[key]
            return [] if whole is None else [Action(clause, rule.operator, whole, plain, tensor.shape, effect)]
        pieces = (
            (self._payload(statement, info, index, match, shape), view, items, shape)
            for view, items, shape in self._pieces(statement, match, index)
        )
        return [
            Action(clause, rule.operator, payload, plain, shape, effect, view, items)
            for payload, view, items, shape in pieces
            if payload is not None
        ]

    def _no_piece(self, match: Match, word: str) -> None:
        piece = match.index or match.view
        if piece is not None:
            raise EvalError(f"`{word}` takes whole parameters, not slices", piece.span, name="bad-index")

    def _env(self, statement: Statement, match: Match, target: int, shape: tuple[int, ...] | None) -> Names:
        env = Names(
            self.at.network, self.at.matcher, self.at.registry, statement.lets, match, target, shape, self.at.tied_to
        )
        env.files, env.source = self.at.files, statement.clause.rule.source
        return env

    def _pieces(self, statement: Statement, match: Match, index: int) -> Iterator[tuple[Any, Any, tuple[int, ...]]]:
        """`(view, index, shape)` of every piece a match means; none where an index is `none`."""
        self.at.lets = statement.lets
        shape = self.at.network.tensors[index].shape
        env = self._env(statement, match, index, shape)
        view: tuple[int, ...] | None = None
        if match.view is not None:
            if match.index is not None:
                raise EvalError("a slice stands after the `as`, not before it", match.index.span, name="bad-index")
            view = shape = self._viewed(match.view, shape, env)
        chosen = match.view.index if match.view is not None else match.index
        if chosen is None:
            yield view, None, shape
            return
        every = [place for place, item in enumerate(chosen.items) if isinstance(item, Every)]
        items = [slice(None) if isinstance(item, Every) else index_item(item, env) for item in chosen.items]
        if any(item is None for item in items):
            return
        whole = index_shape(shape, tuple(items), chosen)
        if not every:
            yield view, tuple(items), whole
            return
        if any(item is ... for item in items):
            raise EvalError("`*` and `...` don't stand in one index", chosen.span, name="bad-index")
        self.pieces += math.prod(shape[place] for place in every)
        if self.pieces > MOST_PIECES:
            raise EvalError(
                f"with this, `[*]` makes {self.pieces:,} pieces, and a plan has at most {MOST_PIECES:,}", chosen.span,
                "write `[:]` for all of it as one piece", "bad-index",
            )  # fmt: skip
        for combination in product(*[range(shape[place]) for place in every]):
            for place, value in zip(every, combination, strict=True):
                items[place] = value
            yield view, tuple(items), index_shape(shape, tuple(items), chosen)

    def _viewed(self, view: nodes.View, shape: tuple[int, ...], env: Names) -> tuple[int, ...]:
        sizes = []
        for part in view.shape:
            size = evaluate(part, env)
            if isinstance(size, bool) or not isinstance(size, int) or (size < 1 and size != -1):
                raise EvalError("a size is a positive integer, or one -1", part.span, name="bad-shape")
            sizes.append(size)
        if sizes.count(-1) > 1:
            raise EvalError("only one size can be -1", view.span, name="bad-shape")
        known, total = math.prod(s for s in sizes if s != -1), math.prod(shape)
        if (-1 in sizes and total % known) or (-1 not in sizes and known != total):
            raise EvalError(f"shape {list(shape)} can't be seen as {sizes}", view.span, name="bad-shape")
        return tuple(total // known if s == -1 else s for s in sizes)

    def _copied(self, statement: Statement, match: Match) -> int:
        """The tensor that `copy` takes the values of one target from."""
        rule, targets_of = statement.clause.rule, statement.clause.targets
        assert isinstance(rule, Copy)
        assert targets_of is not None
        assert match.tensor is not None
        self.at.lets = statement.lets
        sources = self.at.select(rule.operands[0], rule.source, statement.frame) or []
        targets = self.at.matcher.select(targets_of, statement.frame)
        base = next(
            (m for m in targets if m.tensor == match.tensor or (m.tensor is None and m.module == _outer(match))), None
        )
        same = [s for s in sources if base is None or (s.bindings == base.bindings and _same_frame(s, base))]
        if len(same) != 1:
            raise EvalError(
                f"`copy` needs one source, this selects {len(sources)}", rule.operands[0].span, name="copy-mismatch"
            )
        source = same[0]
        if len(targets) == 1 and (source.module, source.tensor) == (targets[0].module, targets[0].tensor):
            raise EvalError("this copies a tensor into itself", rule.span, name="copy-mismatch")
        if source.index is not None or source.view is not None:
            raise EvalError("`copy` takes whole parameters, not slices", rule.operands[0].span, name="bad-index")
        if source.tensor is not None:
            found: int | None = source.tensor
        else:
            assert base is not None
            if base.tensor is not None:
                raise EvalError("a module can't be copied into a parameter", rule.span, name="copy-mismatch")
            mine, theirs = self.at.named(base), self.at.named(source)
            name = next(n for n, t in mine.items() if t == match.tensor)
            found = theirs.get(name)
            if found is None:
                raise EvalError(
                    f"the source has no `{name}`", rule.operands[0].span, did_you_mean(name, theirs), "copy-mismatch"
                )
        assert found is not None
        target = self.at.network.tensors[match.tensor]
        origin = self.at.network.tensors[found]
        if origin.shape != target.shape:
            raise EvalError(
                f"{describe_tensor(origin)} and {describe_tensor(target)} differ in shape",
                rule.span,
                name="copy-mismatch",
            )
        return self.at.tied_to.get(found, found)

    def _payload(
        self, statement: Statement, info: Info, index: int, match: Match, shape: tuple[int, ...]
    ) -> Payload | None:
        """What one piece gets, checked: ranges, shapes, fans, broadcasting; None where the rule leaves it to others."""
        rule = statement.clause.rule
        assert isinstance(rule, Assign)
        self.at.lets = statement.lets
        tensor = self.at.network.tensors[index]
        env = self._env(statement, match, index, shape)
        call = info.call
        try:
            if call is not None and call.function == "load" and rule.operator == "=":
                return self._load(statement, call, env, index, match, shape)
            if call is not None and rule.operator in ("=", "~"):
                return self._called(call, env, shape, info, index)
            value = evaluate(info.expr, env)
        except EvalError as error:
            raise self.foreign(error, rule, call or rule.value) from None  # type: ignore[arg-type]
        if index in env.reads:
            env.reads.discard(index)
        if isinstance(value, bool | int | float):
            return self._scalar(rule, info, tensor, value)
        if isinstance(value, list):
            found = nested_shape(value, info.expr)
            self._fits(rule, found, shape)
            if not tensor.floating:
                self._whole(rule, tensor, value)
            return Expression(env.program(value), info.finite)
        if isinstance(value, Shape):
            self._fits(rule, value.dims, shape)
            if not tensor.floating:
                raise EvalError(
                    f"`{tensor.name}` is {tensor.dtype}: it takes numbers only", rule.value.span, name="bad-dtype"
                )
            return Expression(env.program(value), info.finite, tuple(sorted(env.reads)), env.reads_itself)
        raise EvalError(
            f"a parameter can't be set to {describe_value(value)}",
            rule.value.span,
            "a vector is written as a list: `[1, 2]`" if isinstance(value, tuple) else None,
            name="bad-argument",
        )

    def _scalar(self, rule: Assign, info: Info, tensor: TensorInfo, value: float) -> Payload:
        if info.finite and not math.isfinite(value):
            raise EvalError(
                "the result is not finite", rule.value.span, "where that is meant, write `inf` or `nan`", "overflow"
            )
        if rule.operator == "/=" and value == 0:
            raise EvalError("division by zero", rule.value.span, name="division-by-zero")
        if not tensor.floating:
            if rule.operator == "/=":
                raise EvalError(
                    f"`{tensor.name}` is {tensor.dtype} and can't be divided", rule.value.span, name="bad-dtype"
                )
            self._whole(rule, tensor, value)
        elif math.isfinite(value) and abs(value) > LARGEST.get(tensor.dtype, math.inf):
            raise EvalError(f"{value:g} is too large for {tensor.dtype}", rule.value.span, name="overflow")
        return Value(value)

    def _whole(self, rule: Assign, tensor: TensorInfo, value: Any) -> None:
        """Refuse what an integer tensor can't hold, a number or nested lists."""
        if isinstance(value, list):
            for item in value:
                self._whole(rule, tensor, item)
            return
        low, high = _integers(tensor.dtype)
        if not (isinstance(value, int) or value.is_integer()) or not low <= value <= high:
            raise EvalError(
                f"`{tensor.name}` is {tensor.dtype} and can't hold {value:g}", rule.value.span, name="bad-dtype"
            )

    def _fits(self, rule: Assign, found: tuple[int, ...], shape: tuple[int, ...]) -> None:
        if broadcast(found, shape) != shape:
            raise EvalError(
                f"a value of shape {list(found)} doesn't fit a tensor of shape {list(shape)}",
                rule.value.span,
                name="bad-shape",
            )

    def _called(self, call: Call, env: Names, shape: tuple[int, ...], info: Info, index: int) -> Payload:
        initializer, arguments, operands = bind_call(call, self.at.registry, env)
        if initializer.adjust is not None:
            if env.match.index is not None or env.match.view is not None:
                raise EvalError(
                    f"`{call.function}` looks at a layer's output, and takes whole parameters",
                    call.span,
                    name="bad-index",
                )
            if env.reads or env.dynamic:
                raise EvalError(
                    f"an argument of `{call.function}` is read off tensors, and must be a number",
                    call.span,
                    name="bad-argument",
                )
        if env.reads or env.dynamic:  # an argument is read off tensors
            check_shape(call, initializer, shape, arguments)
            value = env.note_drawn(call, initializer, operands or arguments)
            program = env.program(value, direct=True)
            return Expression(program, info.finite, tuple(sorted(env.reads)), env.reads_itself)
        if not initializer.elementwise:
            if math.prod(shape):
                check_shape(call, initializer, shape, arguments)
            return Draw(initializer, arguments)
        if not math.prod(shape):
            return Constant(0.0)
        try:
            found = initializer.distribution(shape, arguments)
        except ArgumentError as error:
            raise EvalError(str(error), call.span, error.hint, error.name) from None
        dtype = self.at.network.tensors[index].dtype
        spread = found.high - found.low if isinstance(found, Uniform) else found.std
        if max(abs(found.mean), spread) > LARGEST.get(dtype, math.inf):
            raise EvalError(f"`{found}` draws values too large for {dtype}", call.span, name="overflow")
        return found

    def _load(
        self, statement: Statement, call: Call, env: Names, index: int, match: Match, shape: tuple[int, ...]
    ) -> Load | None:
        """The tensor of a file that one piece is set to; None where the rule leaves it to others."""
        found = self.at.files.find(call, env, statement.clause.rule.source, env.loadable())
        if found is not None and found.shape != shape:
            raise EvalError(
                f"`{found.key}` has shape {list(found.shape)}, the target {list(shape)}", call.span,
                _resized(found.shape, shape, match), "bad-shape",
            )  # fmt: skip
        return found


def _resized(found: tuple[int, ...], shape: tuple[int, ...], match: Match) -> str | None:
    """What to write where a table has other rows."""
    if match.index is not None or match.view is not None or len(found) != len(shape) or found[-1] != shape[-1]:
        return None
    return "`resize_rows(load(...))` or `resize_grid(load(...))` makes its rows fit" if len(shape) in (2, 3) else None


def _integers(dtype: str) -> tuple[int, int]:
    """The least and the largest number an integer dtype holds."""
    if dtype == "bool":
        return 0, 1
    bits = int("".join(c for c in dtype if c.isdigit()) or 64)
    return (0, 2**bits - 1) if dtype.startswith("uint") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _outer(match: Match) -> int | None:
    """The module a statement named, for a tensor it reached through that module."""
    return match.scope[0] if match.scope else None


def _same_frame(a: Match, b: Match) -> bool:
    return a.frame is b.frame or (a.frame is not None and b.frame is not None and a.frame.module == b.frame.module)
