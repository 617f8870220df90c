"""Carries a plan out: the only code that changes a tensor.

Everything happens or nothing does. Steps that can fail (somebody's function, an expression, a file, the algebra of a
whole-tensor initializer) are known from the plan: what is written up to the last of them is backed up first, and put
back if one fails. The built-in element-wise draws and constants write into memory that is there and can't fail, so a
plan of those alone, the usual one, needs no backup and costs what hand-written code costs. An interrupt (Ctrl-C) is
held until the state is whole again: put back where there is a backup, else complete. So is every other handler of a
signal where there is no backup. Memory that is being filled is claimed: a second fill of it meanwhile is refused.
"""

from __future__ import annotations

import math
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from initdsl.language.expressions.evaluate import EvalError, combine, evaluate, torch_tensor
from initdsl.language.syntax.nodes import Assign, Call
from initdsl.network.describe import is_sharded
from initdsl.planning.names import Names
from initdsl.planning.plan import Action, CopyFrom, Draw, Expression, Kept, Load, Plan, PlanEntry, Reset, Value, adjusts
from initdsl.reports.table import Report
from initdsl.text.diagnostic import ApplyError, Diagnostic, ResolveError
from initdsl.text.failures import out_of_memory

from .boxes import memory_of
from .read import Reader
from .sample import AdjustFailed, Layer, adjust

if TYPE_CHECKING:
    from initdsl.network.describe import ModuleInfo, Network

    from .boxes import Place

__all__ = [
    "Execution",
    "Step",
    "StepFailed",
    "Values",
    "execute",
    "follow",
    "read_by",
    "refuse_meta",
    "refuse_no_sample",
    "shell_of",
]


def execute(
    plan: Plan, on_init: Callable[[Any], Any] | None = None, *, fresh: bool = False, sample: Any = None
) -> Report:  # fmt: skip
    """Fill the network a plan was made for; see `initdsl.apply`. A `fresh` one has no values to put back after a failure."""
    if plan.live is None:
        raise ResolveError(
            Diagnostic("no-network", "this plan was made from a description, there is no network to fill")
        )
    if any(tensor.sharded for tensor in plan.network.tensors):
        from initdsl.filling.sharded.fill import ShardedExecution

        if plan.adjusted and sample is not None:
            what = f"`{plan.adjusted[0].label}` is to be adjusted to a sample, which no sharded network can be"
            raise ResolveError(
                Diagnostic("no-sample", what, hint="adjust it before it is sharded, and save and load it")
            )
        return ShardedExecution(plan, on_init, fresh).run()
    refuse_meta(plan)
    return Execution(plan, on_init, fresh, sample).run()


def refuse_no_sample(entry: PlanEntry) -> None:
    assert entry.base is not None
    rule = entry.base.clause.rule
    raise ResolveError(
        Diagnostic(
            "no-sample", f"`{_called(entry.base)}` for `{entry.label}` goes by a forward pass, and there is no sample for one",
            entry.plan.rules.source(rule.source), rule.span,
            "`apply(net, rules, sample=batch)`, or `--sample file.safetensors`; what fills without a forward pass (materialize, "
            "streaming, functions of one module, sharded networks) leaves it to an `apply` afterwards",
        )
    )  # fmt: skip


def no_memory(whole: bool) -> Diagnostic:
    """Said where memory ran out; `whole` if all is as it was."""
    if whole:
        hint = "rules with functions, expressions or files are backed up first; what only draws or sets numbers is not"
        return Diagnostic(
            "out-of-memory", "there is not enough memory to fill this network, which is as it was", hint=hint
        )
    hint = "apply the rules again once there is memory"
    return Diagnostic("out-of-memory", "there is no memory left, and the network is partly filled", hint=hint)


def refuse_meta(plan: Plan) -> None:
    written = [e for e in plan.order if e.tensor.device == "meta" and not _keeps(e)]
    if written:
        raise ResolveError(
            Diagnostic(
                "meta-device",
                f"{len(written)} of the parameters to fill, `{written[0].label}` first, are on the meta device and have no memory",
                hint="`initdsl.materialize(factory, rules)` builds and fills; or call `net.to_empty(device=...)` first",
            )
        )


def _keeps(entry: PlanEntry) -> bool:
    return not entry.edits and (entry.base is None or isinstance(entry.base.payload, Kept))


# do it, whether it can fail, the tensors it touches
Step = tuple[Callable[[], None], bool, Callable[[], list[Any]]]


class _Busy:
    """What is being filled, by all threads: two fills of the same memory at once would mix their values."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.claimed: set[int] = set()

    @contextmanager
    def held(self, claims: set[int], network: Network) -> Iterator[None]:
        """Claim memory for the block. Raises ResolveError where a part of it is claimed already."""
        with self.lock:
            if not self.claimed.isdisjoint(claims):
                raise ResolveError(
                    Diagnostic(
                        "busy-network", "this network, or one that shares parameters with it, is being filled",
                        hint="wait until the other fill is done; call `apply` neither from two threads at once, nor from "
                        "`on_init` or an initializer, on the network that it is filling",
                    )
                )  # fmt: skip
            self.claimed |= claims
        try:
            yield
        finally:
            with self.lock:
                self.claimed -= claims


_busy = _Busy()


def _place_of(tensor: torch.Tensor) -> int:
    """What tensors that share memory have in common, and no others."""
    if type(tensor) in (torch.Tensor, nn.Parameter) and tensor.layout == torch.strided:
        return tensor.untyped_storage().data_ptr() or id(tensor)
    return id(tensor)


class StepFailed(Exception):
    """A step failed; carries what is said of it."""

    def __init__(self, diagnostic: Diagnostic, cause: BaseException, further: Sequence[Diagnostic] = ()):
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic
        self.diagnostics = [diagnostic, *further]
        self.cause = cause


class Execution:
    """One run over one network."""

    def __init__(
        self, plan: Plan, on_init: Callable[[Any], Any] | None, fresh: bool = False, sample: Any = None
    ):  # fmt: skip
        assert plan.live is not None
        if plan.adjusted and sample is None:
            refuse_no_sample(plan.adjusted[0])
        self.sample = sample
        self.plan = plan
        self.live = plan.live
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

    def run(self) -> Report:
        steps = self.steps()
        if self.plan.adjusted:
            steps.append((self._adjust, True, self._all))
        if self.plan.expected:
            steps.append((self._expected, True, self._all))
        self.take(steps)
        return Report(self.plan)

    def take(self, steps: list[Step], ties: bool = True) -> None:
        """Take steps, and the plan's ties before them; if one fails, all is put back."""
        with _busy.held(self.claims(ties), self.network), streams.team() if self.seeded else nullcontext():
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
            if not _keeps(entry):
                tensor = self.live.tensors[entry.tensor.index]
                found.add(id(self.live.modules[entry.tensor.owners[0][0]]) if tensor is None else _place_of(tensor))
        return found

    def _expected(self) -> None:
        """Look whether all is as the rules expect."""
        from initdsl.statistics.moments import unmet_expectations

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
        fallible = fallible or not (_keeps(entry) or _ordinary(self.live.tensors[entry.tensor.index]))
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
            return [] if _keeps(entry) else [tensor]
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
        elif not _keeps(entry):  # or it may have no memory yet
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
                        f"`on_init` raised {type(error).__name__} for `{entry.label}`: {_said(error)}",
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
            what = f"`{_called(action)}` raised {type(error).__name__} for `{entry.label}`: {_said(error)}"
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
        """Evaluate an expression and write it to a piece."""
        work = env.work
        call = payload.expr
        if isinstance(call, Call) and action.operator in ("~", "=") and call.function in env.registry:
            from initdsl.planning.names import bind_call

            initializer, arguments = bind_call(call, env.registry, env)
            if initializer.elementwise:
                what = initializer.distribution(action.shape, arguments)
                self.distribute(entry, piece, what, action, place=env.place)
            else:
                self.draw(entry, piece, initializer, arguments, action)
            return
        value = evaluate(payload.expr, env)
        if isinstance(value, list):
            value = torch_tensor(value, work, piece.device)
        if action.operator not in ("=", "~"):
            value = combine(payload.expr, action.operator[0], piece.to(work), value)
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
        from .seeded import isolated

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
        if _keeps(entry):
            return
        if self.fresh:  # what it is computed from has no values yet
            value = torch.empty(entry.shape, dtype=getattr(torch, entry.dtype), device=entry.tensor.device)
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
            what = f"`right_inverse` raised {type(error).__name__} for `{entry.label}`: {_said(error)}"
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
            what = f"`{info.cls.name}.{info.reset}` raised {type(error).__name__} for `{info.label}`: {_said(error)}"
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


class Values(Names):
    """Names with the values of tensors, in the dtype expressions are computed in."""

    draws_anew = True
    place: Place | None = None  # where the piece lies, if it is not all that the action writes

    def __init__(
        self, run: Execution, entry: PlanEntry, action: Action, tensor: torch.Tensor, piece: torch.Tensor,
        work: torch.dtype,
    ):  # fmt: skip
        plan = run.plan
        resolver = plan.resolver
        resolver.lets = action.clause.lets
        super().__init__(
            run.network, resolver.matcher, resolver.registry, action.clause.lets, action.match, entry.tensor.index,
            action.shape, plan.canonical,
        )  # fmt: skip
        self.run, self.entry, self.action = run, entry, action
        self.files, self.source = resolver.files, action.clause.rule.source
        self.steady = run.seeded is not None
        self._tensor_now, self._piece_now, self.work = tensor, piece, work

    def read(self, tensor: int) -> Any:
        return self._steadied(self.run.read(tensor).to(device=self._piece_now.device, dtype=self.work))

    def whole(self) -> Any:
        return self._steadied(self._tensor_now.to(self.work))

    def piece(self) -> Any:
        return self._steadied(self._piece_now.to(self.work))

    def loaded(self, what: Load) -> Any:
        return self._steadied(self.run.reader.tensor(what).to(device=self._piece_now.device, dtype=self.work))

    def tensor(self, values: Any) -> Any:
        return torch_tensor(values, self.work, self._piece_now.device)

    def _steadied(self, value: torch.Tensor) -> torch.Tensor:
        # torch takes other code, with other last bits, for other layouts
        return value.contiguous() if self.steady else value

    def drawn(self, node: Call, initializer: Initializer, arguments: dict[str, Any]) -> Any:
        fresh = torch.empty(self._piece_now.shape, dtype=self.work, device=self._piece_now.device)
        nth, self._draws = self._draws, self._draws + 1
        if initializer.elementwise:
            what = initializer.distribution(self.action.shape, arguments)
            self.run.distribute(self.entry, fresh, what, self.action, nth, self.place)
        else:
            self.run.draw(self.entry, fresh, initializer, arguments, self.action, nth)
        return fresh


def piece_of(tensor: torch.Tensor, action: Action) -> tuple[torch.Tensor, Callable[[], Any] | None]:
    """The view an action writes to; and, where no view can be had, how to write its copy back."""
    if action.view is None:
        return (tensor if action.index is None else tensor[action.index]), None
    write_back = None
    if tensor.is_contiguous():
        seen = tensor.view(action.view)
    else:
        copy = tensor.contiguous()
        seen = copy.view(action.view)

        def write_back() -> Any:
            return tensor.copy_(copy)

    return (seen if action.index is None else seen[action.index]), write_back


ORDINARY = frozenset([
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
])  # fmt: skip


def _ordinary(tensor: torch.Tensor | None) -> bool:
    """Whether writing numbers to a tensor can't fail: plain memory, every element with its own."""
    if tensor is None:
        return False
    tensor = memory_of(tensor)
    if type(tensor) not in (torch.Tensor, nn.Parameter) or tensor.dtype not in ORDINARY:
        return False
    return tensor.layout == torch.strided and not tensor.is_inference() and 0 not in tensor.stride()


def read_by(action: Action) -> set[int]:
    if isinstance(action.payload, Expression):
        return set(action.payload.reads)
    return {action.payload.tensor} if isinstance(action.payload, CopyFrom) else set()


def _said(error: BaseException) -> str:
    """The first line of somebody's message; the error itself is the cause."""
    line = (str(error).splitlines() or [""])[0]
    return line if len(line) <= 300 else f"{line[:297]}..."


def _called(action: Action) -> str:
    if isinstance(action.payload, Draw):
        return action.payload.initializer.name
    rule = action.clause.rule
    if isinstance(rule, Assign) and isinstance(rule.value, Call):
        return rule.value.function
    return "the rule"


# ---- parametrized and hooked weights


def write_computed(module: nn.Module, local: str, value: torch.Tensor) -> None:
    """Give a computed weight its value, through `right_inverse` or the old hooks; buffers that depend on it follow."""
    chain = getattr(module, "parametrizations", {})
    if local in chain:
        memory = [(original, original.detach()) for original in chain[local].parameters(recurse=False)]
        setattr(module, local, value)
        for original, place in memory:  # torch gives the original other memory: values go into the one it had
            if original.shape == place.shape and original.data_ptr() != place.data_ptr():
                place.copy_(original)
                original.set_(place)
        _follow(chain[local])
        return
    for hook in module._forward_pre_hooks.values():
        if getattr(hook, "name", None) != local:
            continue
        kind = type(hook).__name__
        if kind == "WeightNorm":
            module._parameters[f"{local}_v"].copy_(value)  # type: ignore[union-attr]
            norm = torch.norm_except_dim(value, 2, hook.dim)  # type: ignore[attr-defined]
            module._parameters[f"{local}_g"].copy_(norm)  # type: ignore[union-attr]
            setattr(module, local, hook.compute_weight(module))  # type: ignore[attr-defined]
        elif kind == "SpectralNorm":
            module._parameters[f"{local}_orig"].copy_(value)  # type: ignore[union-attr]
            matrix = hook.reshape_weight_to_matrix(value)  # type: ignore[attr-defined]
            u, v = module._buffers[f"{local}_u"], module._buffers[f"{local}_v"]
            assert u is not None
            assert v is not None
            for _ in range(POWER_ITERATIONS):
                v.copy_(nn.functional.normalize(torch.mv(matrix.t(), u), dim=0, eps=hook.eps))  # type: ignore[attr-defined]
                u.copy_(nn.functional.normalize(torch.mv(matrix, v), dim=0, eps=hook.eps))  # type: ignore[attr-defined]
            setattr(module, local, hook.compute_weight(module, do_power_iteration=False))  # type: ignore[attr-defined]


POWER_ITERATIONS = 50


def follow(module: nn.Module) -> None:
    """Bring the buffers that depend on a module's computed weights up to them."""
    if type(module).__name__ == "ParametrizationList":
        _follow(module)
    for hook in module._forward_pre_hooks.values():
        if type(hook).__name__ == "WeightNorm" and f"{getattr(hook, 'name', '')}_g" in module._parameters:
            setattr(module, hook.name, hook.compute_weight(module))  # type: ignore[attr-defined]
        elif type(hook).__name__ == "SpectralNorm" and f"{getattr(hook, 'name', '')}_orig" in module._parameters:
            original = module._parameters[f"{hook.name}_orig"]  # type: ignore[attr-defined]
            assert original is not None
            write_computed(module, hook.name, original.detach().clone())  # type: ignore[attr-defined]


def _follow(chain: Any) -> None:
    """Spectral norm's vectors belong to the weight: iterate them to the new one, from where they are."""
    if hasattr(chain, "original"):
        weight = chain.original
        for part in chain:
            if type(part).__name__ == "_SpectralNorm" and hasattr(part, "_power_method") and hasattr(part, "_u"):
                part._power_method(part._reshape_weight_to_matrix(weight), POWER_ITERATIONS)
            mode = part.training
            part.eval()
            try:
                weight = part(weight)
            finally:
                part.train(mode)


def shell_of(module: nn.Module, made: dict[int, nn.Parameter], device: str = "cpu") -> nn.Module:
    """A module like this one on parameters of its own: contiguous, float32 (float64 where they are), the values copied.

    `made` gets the stand-ins by the identity of what they stand for. Everything else is shared, but for buffers on
    the meta device.
    """
    shell = object.__new__(type(module))
    shell.__dict__ = dict(module.__dict__)
    shell._parameters = {}
    for name, value in module._parameters.items():
        if value is not None and not nn.parameter.is_lazy(value):
            if id(value) not in made:
                dtype = torch.float64 if value.dtype == torch.float64 else torch.float32
                dtype = dtype if value.is_floating_point() else value.dtype
                values = torch.empty(value.shape, dtype=dtype, device=device)
                if is_sharded(value):  # what no rank holds whole: a reset that builds on it is found out
                    values.fill_(math.nan if values.is_floating_point() else 0)
                elif not values.is_meta and not value.is_meta:
                    values.copy_(value.detach())
                made[id(value)] = nn.Parameter(values, requires_grad=False)
            shell._parameters[name] = made[id(value)]
        else:
            shell._parameters[name] = value
    for hook in module._forward_pre_hooks.values():
        computed = shell.__dict__.get(getattr(hook, "name", ""))
        if isinstance(computed, torch.Tensor):
            shell.__dict__[hook.name] = torch.empty(computed.shape, device=device)  # type: ignore[attr-defined]
    shell._modules = {
        name: None if child is None else shell_of(child, made, device) for name, child in module._modules.items()
    }
    if device == "meta":
        shell._buffers = {
            name: None if value is None else value.detach().to("meta") for name, value in module._buffers.items()
        }
    return shell


def plain_reset(module: nn.Module, reset: str, local: str, like: torch.Tensor) -> torch.Tensor:
    """What the module's own reset gives a computed weight: run on a shell of it that holds plain parameters."""
    cls = type(module)
    if cls.__module__ == "torch.nn.utils.parametrize" and len(cls.__mro__) > 1:
        cls = cls.__mro__[1]
    shell = object.__new__(cls)
    shell.__dict__ = dict(module.__dict__)
    shell.__dict__.pop(local, None)
    shell._parameters = {
        name: None if value is None else nn.Parameter(value.detach().clone(), requires_grad=False)
        for name, value in module._parameters.items()
        if not name.startswith(f"{local}_")
    }
    shell._parameters[local] = nn.Parameter(like.clone(), requires_grad=False)
    getattr(shell, reset)()
    value = shell._parameters[local]
    assert value is not None
    return value.detach()


# ---- undoing


class Backup:
    """What is needed to put a network and the random states back."""

    def __init__(self) -> None:
        self.values: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor, bool]] = {}
        self.dicts: dict[int, tuple[nn.Module, dict[str, Any], dict[str, Any], dict[str, Any]]] = {}
        self.states: list[Callable[[], Any]] = []

    def random_states(self) -> None:
        torch_state = torch.random.get_rng_state()
        python_state = random.getstate()
        self.states = [lambda: torch.random.set_rng_state(torch_state), lambda: random.setstate(python_state)]
        if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            cuda_states = torch.cuda.get_rng_state_all()
            self.states.append(lambda: torch.cuda.set_rng_state_all(cuda_states))
        numpy = sys.modules.get("numpy")
        if numpy is not None and hasattr(numpy, "random"):
            numpy_state = numpy.random.get_state()
            self.states.append(lambda: numpy.random.set_state(numpy_state))

    def save(self, tensors: list[torch.Tensor]) -> None:
        for tensor in tensors:
            if id(tensor) not in self.values:
                place = memory_of(tensor)
                self.values[id(tensor)] = (tensor, place, _distinct(place).clone(), tensor.requires_grad)

    def objects(self, root: nn.Module) -> None:
        """Remember which objects a module, and those below it, hold."""
        for module in root.modules():
            if id(module) not in self.dicts:
                # what else holds tensors: an RNN's list of its weights, the results of the old norms' hooks
                plain: dict[str, Any] = {k: v for k, v in module.__dict__.items() if isinstance(v, torch.Tensor)}
                plain["training"] = module.training
                if "_flat_weights" in module.__dict__:
                    plain["_flat_weights"] = list(module._flat_weights)  # type: ignore[arg-type]
                self.dicts[id(module)] = (module, dict(module._parameters), dict(module._buffers), plain)

    def restore(self) -> None:
        for module, parameters, buffers, plain in self.dicts.values():
            module._parameters.clear()
            module._parameters.update(parameters)
            module._buffers.clear()
            module._buffers.update(buffers)
            module.__dict__.update(plain)
        with torch.no_grad():
            for tensor, place, values, requires_grad in self.values.values():
                _distinct(place).copy_(values)
                if (now := memory_of(tensor)).shape != place.shape or now.data_ptr() != place.data_ptr():
                    tensor.set_(place)  # type: ignore[call-overload]
                if tensor.requires_grad != requires_grad:
                    tensor.requires_grad_(requires_grad)
        for state in self.states:
            state()


def _distinct(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor without the repetitions of an expanded one: every element with memory of its own."""
    if tensor.layout != torch.strided or 0 not in tensor.stride():
        return tensor
    return tensor[tuple(slice(None) if stride else slice(0, 1) for stride in tensor.stride())]


class Signals:
    """Python's signal handlers, which may raise, held back while tensors are half written and nothing can put them back."""

    def __init__(self) -> None:
        self.came: list[tuple[int, Any]] = []
        self.handlers: dict[int, Any] = {}

    @property
    def interrupted(self) -> bool:
        """Whether a Ctrl-C is to become a KeyboardInterrupt."""
        return any(self.handlers[number] is signal.default_int_handler for number, _ in self.came)

    def hold(self, numbers: Iterable[int] | None = None) -> None:
        """Hold these signals, or all, from now on. Handlers run in the main thread alone."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in signal.valid_signals() if numbers is None else numbers:
            handler = signal.getsignal(number)
            if callable(handler) and number not in self.handlers:
                self.handlers[number] = handler
                signal.signal(number, lambda *what: self.came.append(what))

    def release(self) -> None:
        """Give the handlers back, and to them what came; KeyboardInterrupt is left to the caller."""
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        for number, frame in self.came:
            if self.handlers[number] is not signal.default_int_handler:
                self.handlers[number](number, frame)


@contextmanager
def held_signals() -> Iterator[Signals]:
    """Hold Ctrl-C from the start; other signals once `hold` is called, as a step with a backup may be interrupted."""
    signals = Signals()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signals.hold([signal.SIGINT])
    try:
        yield signals
    finally:
        signals.release()
