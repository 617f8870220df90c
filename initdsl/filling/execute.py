"""Carries a plan out: the only code that changes a tensor.

Everything happens or nothing does. Steps that can fail (somebody's function, an expression, a file, the algebra of a
whole-tensor initializer) are known from the plan: what is written up to the last of them is backed up first, and put
back if one fails. The built-in element-wise draws and constants write into memory that is there and can't fail, so a
plan of those alone, the usual one, needs no backup and costs what hand-written code costs. An interrupt (Ctrl-C) is
held until the state is whole again: put back where there is a backup, else complete. So is every other handler of a
signal where there is no backup. Memory that is being filled is claimed: a second fill of it meanwhile is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from initdsl import streams
from initdsl.initializers import (
    ArgumentError,
    Bernoulli,
    Constant,
    Distribution,
    Initializer,
    Normal,
    TruncatedNormal,
    Uniform,
    fill,
)
from initdsl.language.expressions.functions import torch_tensor
from initdsl.language.expressions.operators import combine
from initdsl.language.expressions.shapes import EvalError
from initdsl.language.syntax.nodes import Assign
from initdsl.network.description import Live
from initdsl.network.kinds import is_sharded
from initdsl.planning.actions import Action, CopyFrom, Draw, Expression, Kept, Load, Reset, Value, call_name, read_by
from initdsl.planning.plan import Plan, PlanEntry, adjusts, leaves_alone
from initdsl.text.diagnostic import ApplyError, Diagnostic, ResolveError
from initdsl.text.failures import first_line, out_of_memory

from .computed_weights import write_computed
from .read import Reader
from .run import Step, StepFailed, is_plain_tensor, memory_key, no_memory, refuse_meta, refuse_no_sample
from .sample import AdjustFailed, Layer, adjust
from .stand_ins import plain_reset, shell_of
from .transaction import Backup, busy, held_signals
from .write import Values, draw_into, piece_of, value_of

if TYPE_CHECKING:
    from initdsl.network.description import ModuleInfo

    from .boxes import Place

__all__ = ["Execution", "execute"]


def execute(
    plan: Plan,
    live: Live,
    on_init: Callable[[PlanEntry], Any] | None = None,
    *,
    fresh: bool = False,
    sample: Any = None,
) -> None:
    """Fill a network by the plan that was made for it; see `initdsl.apply`.

    A `fresh` one has no values to put back after a failure. Raises ResolveError before anything changes, ApplyError.
    """
    if any(is_sharded(tensor) for tensor in live.tensors):
        from initdsl.filling.sharded.fill import ShardedExecution

        if plan.adjusted and sample is not None:
            what = f"`{plan.adjusted[0].label}` is to be adjusted to a sample, which no sharded network can be"
            raise ResolveError(
                Diagnostic("no-sample", what, hint="adjust it before it is sharded, and save and load it")
            )
        ShardedExecution(plan, live, on_init, fresh).run()
        return
    refuse_meta(plan, live)
    Execution(plan, live, on_init, fresh, sample).run()


class Execution:
    """One run over one network."""

    def __init__(
        self,
        plan: Plan,
        live: Live,
        on_init: Callable[[PlanEntry], Any] | None = None,
        fresh: bool = False,
        sample: Any = None,
    ):
        if sample is None:
            refuse_no_sample(plan)
        self.sample = sample
        self.plan = plan
        self.live = live
        self.network = plan.network
        self.on_init = on_init
        self.fresh = fresh
        self.backup = Backup()
        self.reader = Reader()
        self.seeded: Any = None
        if plan.seed is not None:
            from .seeded import Seeded

            streams.prepare(0)  # what is wrong with the kernel shows before anything is written
            self.seeded = Seeded(plan.seed, plan)

    # ---- the run

    def run(self) -> None:
        steps = self.steps()
        if self.plan.adjusted:
            steps.append((self._adjust, True, self._all))
        if self.plan.expected:
            steps.append((self._expected, True, self._all))
        self.take(steps)

    def take(self, steps: list[Step], ties: bool = True) -> None:
        """Take steps, and the plan's ties before them; if one fails, all is put back."""
        with busy.held(self.claims(ties), self.network), streams.team() if self.seeded else nullcontext():
            self._take(steps, ties)

    def _take(self, steps: list[Step], ties: bool) -> None:
        last = self.begin(max((i for i, (_, fallible, _) in enumerate(steps) if fallible), default=-1))
        with torch.no_grad(), held_signals() as signals:
            settled = last < 0
            if settled:
                signals.hold()
            try:
                if last >= 0 or (ties and self.plan.ties):
                    self.backup.random_states()
                for _, _, touched in () if self.fresh else steps[: last + 1]:
                    self.backup.save(touched())
                if ties:
                    self._tie()
                for number, (step, _, _) in enumerate(steps):
                    step()
                    if signals.interrupted and number <= last:
                        raise KeyboardInterrupt
                    if number == last:
                        signals.hold()
                        settled = True
                        self.settle(None)
            except BaseException as error:
                signals.hold()
                self.backup.restore()
                if not settled:
                    self.settle(error)
                cause = error.cause if isinstance(error, StepFailed) else error
                if out_of_memory(cause) and (settled or cause is error):  # else it is known which rule it was
                    raise ApplyError(no_memory(whole=not settled)) from cause
                if isinstance(error, StepFailed):
                    raise ApplyError(error.diagnostics) from cause
                raise
            if signals.interrupted:
                raise KeyboardInterrupt

    def claims(self, ties: bool) -> set[int]:
        """The memory that is written, and the modules whose objects or modes change, while the plan is carried out."""
        if self.plan.adjusted or self.plan.resets:
            return {id(module) for module in self.live.modules} | self._memory()
        found = self._memory()
        for tie in self.plan.ties if ties else ():
            for other in tie.others:
                found |= {id(self.live.modules[owner]) for owner, _ in self.network.tensors[other].owners}
        return found

    def _memory(self) -> set[int]:
        found: set[int] = set()
        for entry in self.plan.order:
            if not leaves_alone(entry):
                tensor = self.live.tensors[entry.tensor.index]
                found.add(id(self.live.modules[entry.tensor.owners[0][0]]) if tensor is None else memory_key(tensor))
        return found

    def _expected(self) -> None:
        """Look whether all is as the rules expect."""
        from .expectations import unmet_expectations

        problems = unmet_expectations(self.plan, self.read)
        if problems:
            raise StepFailed(problems[0], ValueError(problems[0].message), problems[1:])

    def begin(self, last: int) -> int:
        """Called before anything changes; returns the last step that can fail."""
        return last

    def settle(self, failure: BaseException | None) -> None:
        """Called once, when the last step that can fail is done or one of them failed; may raise a failure elsewhere."""

    def steps(self) -> list[Step]:
        """`(do it, whether it can fail, what it touches)` in the order of the writes."""
        steps: list[Step] = []
        resets = dict(self.plan.resets)
        if not resets:
            for entry in self.plan.order:
                steps.append(self.entry_step(entry))
            return steps
        # a module's own reset comes when `net.apply` would reach it, before the rules for its tensors, and before what
        # builds on or reads the values it gives
        place = {index: number for number, index in enumerate(self.network.apply_order)}
        settled: dict[int, int] = {}
        for index, tensors in resets.items():
            for tensor in tensors:
                settled[tensor] = max(settled.get(tensor, -1), place[index])
        where: list[tuple[int, int, Any]] = []
        for number, entry in enumerate(self.plan.order):
            first = min(place[owner] for owner, _ in entry.tensor.owners)
            needs = {entry.tensor.index} if entry.edits else set()
            for action in entry.actions:
                needs |= read_by(action)
            where.append((max([first, *(settled.get(t, -1) for t in needs)]), number + 1, entry))
        reset_places = sorted((place[index], 0, index) for index in resets)
        merged: list[Any] = []
        cursor = 0
        for position, _, entry in where:
            while cursor < len(reset_places) and reset_places[cursor][0] <= position:
                merged.append(reset_places[cursor][2])
                cursor += 1
            merged.append(entry)
        merged += [index for _, _, index in reset_places[cursor:]]
        for item in merged:
            if isinstance(item, PlanEntry):
                steps.append(self.entry_step(item))
            else:
                steps.append(self.reset_step(item, resets[item]))
        return steps

    def entry_step(self, entry: PlanEntry) -> Step:
        fallible = self.on_init is not None or entry.tensor.kind == "parametrized"
        fallible = fallible or any(not self._infallible(a) for a in entry.actions)
        fallible = fallible or not (leaves_alone(entry) or is_plain_tensor(self.live.tensors[entry.tensor.index]))
        return (lambda: self._fill(entry), fallible, lambda: self._touched(entry))

    def _infallible(self, action: Action) -> bool:
        """Whether an action only writes numbers into memory that is there."""
        if action.view is not None:
            return False
        if isinstance(action.payload, Value):
            return action.operator in ("=", "~")
        if isinstance(action.payload, TruncatedNormal):  # torch makes tensors to draw one, streams don't
            return self.seeded is not None
        return isinstance(action.payload, Constant | Normal | Uniform | Bernoulli | Kept)

    def reset_step(self, module: int, tensors: tuple[int, ...]) -> Step:
        return (lambda: self._reset(module, tensors), True, lambda: self._below(module))

    def _touched(self, entry: PlanEntry) -> list[Any]:
        tensor = self.live.tensors[entry.tensor.index]
        if tensor is not None:
            return [] if leaves_alone(entry) else [tensor]
        owner = self.live.modules[entry.tensor.owners[0][0]]
        self.backup.objects(owner)
        return [*owner.parameters(), *owner.buffers()]

    def _below(self, module: int) -> list[Any]:
        live = self.live.modules[module]
        self.backup.objects(live)
        return [t for t in (*live.parameters(), *live.buffers()) if not nn.parameter.is_lazy(t)]

    # ---- ties

    def _tie(self) -> None:
        tensors = self.network.tensors
        for tie in self.plan.ties:
            source = self.live.tensors[tie.source]
            assert source is not None
            for other in tie.others:
                for owner, local in tensors[other].owners:
                    module = self.live.modules[owner]
                    self.backup.objects(module)
                    setattr(module, local, source)

    # ---- filling

    def _fill(self, entry: PlanEntry) -> None:
        info = entry.tensor
        tensor = self.live.tensors[info.index]
        if tensor is None:
            self._fill_computed(entry)
        elif not leaves_alone(entry):  # or it may have no memory yet
            self._actions(entry, tensor.detach())
        if not adjusts(entry):  # that one is not done yet
            self._tell(entry)

    def _tell(self, entry: PlanEntry) -> None:
        if self.on_init is not None:
            try:
                self.on_init(entry)
            except Exception as error:
                raise StepFailed(
                    Diagnostic(
                        "callback-failed",
                        f"`on_init` raised {type(error).__name__} for `{entry.label}`: {first_line(error)}",
                    ),
                    error,
                ) from error

    def _actions(self, entry: PlanEntry, tensor: torch.Tensor) -> None:
        for action in entry.actions:
            if not isinstance(action.payload, Kept | Reset):
                with self.blaming(entry, action):
                    self._act(entry, tensor, action)

    @contextmanager
    def blaming(self, entry: PlanEntry, action: Action) -> Iterator[None]:
        """What goes wrong in the block is said of this action's rule: StepFailed."""
        try:
            yield
        except EvalError as error:
            raise StepFailed(self._diagnostic(action, error.name, error.message, error.hint, error), error) from error
        except StepFailed:
            raise
        except Exception as error:
            what = f"`{call_name(action)}` raised {type(error).__name__} for `{entry.label}`: {first_line(error)}"
            raise StepFailed(self._diagnostic(action, "fill-failed", what), error) from error

    def _diagnostic(
        self, action: Action, name: str, message: str, hint: str | None = None, error: Any = None
    ) -> Diagnostic:
        rule = action.clause.rule
        span = rule.value.span if isinstance(rule, Assign) else rule.span
        if (
            isinstance(error, EvalError)
            and isinstance(rule, Assign)
            and rule.value.span.start <= error.span.start < rule.value.span.end
        ):
            span = error.span
        return Diagnostic(name, message, self.plan.rules.source(rule.source), span, hint)

    def _act(self, entry: PlanEntry, tensor: torch.Tensor, action: Action) -> None:
        piece, write_back = piece_of(tensor, action)
        if piece.numel() == 0:
            return
        payload = action.payload
        if isinstance(payload, Value):
            self.assign(entry, piece, action, payload)
        elif isinstance(payload, Distribution):
            self.distribute(entry, piece, payload, action)
        elif isinstance(payload, Draw):
            self.draw(entry, piece, payload.initializer, payload.arguments, action)
        elif isinstance(payload, Expression):
            work = torch.float64 if piece.dtype == torch.float64 else torch.float32
            self.express(entry, piece, action, payload, Values(self, entry, action, tensor, piece, work))
        elif isinstance(payload, CopyFrom):
            piece.copy_(self.read(payload.tensor))
        elif isinstance(payload, Load):
            piece.copy_(self.reader.tensor(payload))
        if write_back is not None:
            write_back()

    def assign(self, entry: PlanEntry, piece: torch.Tensor, action: Action, payload: Value) -> None:
        """Set a piece to one number, or edit it by one."""
        operator, value = action.operator, payload.value
        if operator in ("=", "~"):
            piece.fill_(value)
            return
        if piece.dtype in (torch.float32, torch.float64) or not piece.is_floating_point():
            {"+=": piece.add_, "-=": piece.sub_, "*=": piece.mul_, "/=": piece.div_}[operator](value)  # type: ignore[operator]
        else:
            piece.copy_(combine(None, operator[0], piece.float(), value))
        if piece.is_floating_point():
            self._finite(entry, piece, action)

    def _finite(self, entry: PlanEntry, values: torch.Tensor, action: Action) -> None:
        values = values.float() if values.dtype.itemsize == 1 else values
        if not bool(torch.isfinite(values).all()):
            hint = "where that is meant, write `inf` or `nan`"
            message = f"the result for `{entry.label}` is not finite"
            raise StepFailed(self._diagnostic(action, "not-finite", message, hint), ValueError(message))

    def distribute(
        self, entry: PlanEntry, piece: torch.Tensor, what: Distribution, action: Action, nth: int = 0,
        place: Place | None = None,
    ) -> None:  # fmt: skip
        """Fill a piece from a distribution: torch's generator, or the element's own stream.

        `place` says where the piece lies, if it is not all that the action writes.
        """
        if self.seeded is not None and not isinstance(what, Constant):
            self.seeded.fill(entry, piece, what, action, nth, place)
        else:
            fill(piece, what)

    def draw(
        self, entry: PlanEntry, piece: torch.Tensor, initializer: Initializer, arguments: dict[str, Any],
        action: Action, nth: int = 0,
    ) -> None:  # fmt: skip
        """Let an initializer's function fill a piece; one that returns a tensor has it copied in."""
        shape = piece.shape
        if self.seeded is not None:
            work = piece
            half = piece.dtype in (torch.float16, torch.bfloat16)
            if half or not piece.is_contiguous():  # neither the dtype nor the layout may show in what is drawn
                dtype = torch.float32 if half else piece.dtype
                work = torch.empty(piece.shape, dtype=dtype, device=piece.device).copy_(piece)
            returned = self.seeded.run(entry, work, initializer, arguments, action, nth)
            if work is not piece:
                returned = work if returned is None else returned
        else:
            extra = {"generator": None} if initializer.takes_generator else {}
            returned = initializer.function(piece, **arguments, **extra)
        if piece.shape != shape:
            raise ValueError(f"it changed the tensor's shape from {list(shape)} to {list(piece.shape)}")
        if returned is None or returned is piece:
            return
        if not isinstance(returned, torch.Tensor):
            raise TypeError(f"it must fill the tensor in place or return a tensor, not {type(returned).__name__}")
        if returned.shape != piece.shape:
            raise ValueError(f"it returned shape {list(returned.shape)} for a tensor of shape {list(piece.shape)}")
        if returned.data_ptr() != piece.data_ptr() or returned.stride() != piece.stride():
            piece.copy_(returned)

    def express(
        self, entry: PlanEntry, piece: torch.Tensor, action: Action, payload: Expression, env: Values
    ) -> None:  # fmt: skip
        """Carry an expression out and write its value to a piece."""
        work = env.work
        if payload.program.direct and action.operator in ("~", "="):
            draw_into(payload.program, env, piece)
            return
        value = value_of(payload.program, env)
        if isinstance(value, tuple):
            value = torch_tensor(value, work, piece.device)
        if action.operator not in ("=", "~"):
            value = combine(action.clause.rule, action.operator[0], piece.to(work), value)
        if not isinstance(value, torch.Tensor):
            value = torch.tensor(value, dtype=work, device=piece.device)
        if payload.finite and value.is_floating_point():
            self._finite(entry, value.to(piece.dtype) if value.dtype != piece.dtype else value, action)
        if value.untyped_storage().data_ptr() == piece.untyped_storage().data_ptr():
            value = value.clone()  # a part of the target itself: `it[0]`
        piece.copy_(value)

    def read(self, tensor: int) -> torch.Tensor:
        """The values of a tensor as they are now."""
        found = self.live.tensors[tensor]
        if found is not None:
            return found.detach()
        owner, local = self.network.tensors[tensor].owners[0]
        value = getattr(self.live.modules[owner], local)
        assert isinstance(value, torch.Tensor)
        return value.detach()

    # ---- a sample

    def _all(self) -> list[Any]:
        """Everything a forward pass might write to."""
        root = self.live.modules[0]
        self.backup.objects(root)
        return [t for t in (*root.parameters(), *root.buffers()) if not nn.parameter.is_lazy(t) and not t.is_meta]

    def _adjust(self) -> None:
        """The forward pass that adjusts layers to the sample; see `adjusting`."""
        from .random_state import isolated

        entries = {entry.label: entry for entry in self.plan.adjusted}
        computed: dict[str, torch.Tensor] = {}
        layers = [self._layer(entry, computed) for entry in entries.values()]
        layers.sort(key=lambda layer: entries[layer.label].tensor.ndim < 2)  # a bias after its weight
        key = None if self.seeded is None else streams.key(self.seeded.seed, "<sample>")
        try:
            with isolated(key):
                adjust(self.live.modules[0], self.sample, layers)
        except AdjustFailed as error:
            entry = entries[error.layer.label] if error.layer is not None else next(iter(entries.values()))
            assert entry.base is not None
            said = f"`{entry.label}` can't be adjusted: {error}" if error.layer is not None else str(error)
            raise StepFailed(self._diagnostic(entry.base, "sample-failed", said, error.hint), error) from error
        for entry in entries.values():
            if entry.label in computed:  # the pass put back the buffers that follow a weight
                owner, local = entry.tensor.owners[0]
                write_computed(self.live.modules[owner], local, computed[entry.label])
            self._tell(entry)

    def _layer(self, entry: PlanEntry, computed: dict[str, torch.Tensor]) -> Layer:
        """What adjusts a tensor; a weight that is computed from others goes into `computed` each time it is written."""
        assert entry.base is not None
        draw = entry.base.payload
        assert isinstance(draw, Draw)
        initializer = draw.initializer
        assert initializer.adjust is not None
        owners = [(self.live.modules[owner], local) for owner, local in entry.tensor.owners]

        def step(module: nn.Module, output: torch.Tensor) -> bool | None:
            local = next(local for owner, local in owners if owner is module)
            value = getattr(module, local).detach()
            try:
                made = initializer.adjust(module, local, value, output, **draw.arguments)  # type: ignore[misc]
            except ArgumentError as error:
                raise AdjustFailed(str(error), layer, error.hint) from error
            if made is None:
                return None
            if self.live.tensors[entry.tensor.index] is None:
                computed[entry.label] = made
                write_computed(module, local, made)
            else:
                value.copy_(made)
            return True

        layer = Layer(entry.label, [module for module, _ in owners], step, draw.arguments.get("max_iter", 10))
        return layer

    # ---- tensors that are computed from others

    def _fill_computed(self, entry: PlanEntry) -> None:
        owner, local = entry.tensor.owners[0]
        module = self.live.modules[owner]
        if leaves_alone(entry):
            return
        if self.fresh:  # what it is computed from has no values yet
            value = torch.empty(entry.shape, dtype=getattr(torch, entry.dtype), device=next(module.parameters()).device)
        else:
            value = getattr(module, local).detach().clone(memory_format=torch.contiguous_format)
        if entry.base is not None and isinstance(entry.base.payload, Reset):
            info = self.network.modules[owner]
            with self.seeded.resetting(info.name) if self.seeded is not None else nullcontext():
                value = plain_reset(module, info.reset or "", local, value)
        self._actions(entry, value)
        try:
            write_computed(module, local, value)
        except Exception as error:
            rule = entry.actions[-1]
            what = f"`right_inverse` raised {type(error).__name__} for `{entry.label}`: {first_line(error)}"
            raise StepFailed(self._diagnostic(rule, "fill-failed", what), error) from error

    # ---- defaults

    def _reset(self, index: int, mine: tuple[int, ...]) -> None:
        info = self.network.modules[index]
        module = self.live.modules[index]
        if any(self.live.tensors[t] is None for t in mine):
            mine = tuple(t for t in mine if self.live.tensors[t] is not None)
            if not mine:
                return
        if self.seeded is not None:
            self.reset_beside(index, mine)
            return
        own = {id(self.live.tensors[t]) for t in mine}
        saved = [(p, p.detach().clone()) for p in module.parameters() if id(p) not in own]
        self._call_reset(info, module)
        for parameter, values in saved:
            parameter.copy_(values)

    def _call_reset(self, info: ModuleInfo, module: nn.Module) -> None:
        # a reset that looks at a computed weight moves spectral norm's vectors, to those of what is not its weight yet
        vectors = []
        if self.seeded is not None or self.fresh:
            chains = (m for m in module.modules() if type(m).__name__ == "ParametrizationList")
            vectors = [(buffer, buffer.clone()) for chain in chains for buffer in chain.buffers()]
        try:
            getattr(module, info.reset or "")()
            for buffer, values in vectors:
                buffer.copy_(values)
        except Exception as error:
            what = (
                f"`{info.cls.name}.{info.reset}` raised {type(error).__name__} for `{info.label}`: {first_line(error)}"
            )
            raise StepFailed(Diagnostic("fill-failed", what), error) from error

    def reset_beside(self, index: int, mine: tuple[int, ...]) -> None:
        """What a module's own reset gives tensors, run on plain float32 stand-ins for all of its parameters.

        Under a seed, dtype, layout and sharding must not show in the values; and nothing else is written to.
        """
        info, module = self.network.modules[index], self.live.modules[index]
        made: dict[int, nn.Parameter] = {}
        with self.seeded.resetting(info.name) if self.seeded is not None else nullcontext():
            self._call_reset(info, shell_of(module, made))
        for each in mine:
            tensor = self.live.tensors[each]
            assert tensor is not None
            if id(tensor) in made:
                tensor.detach().copy_(made[id(tensor)].detach())
