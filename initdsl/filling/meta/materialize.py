"""Networks built without memory, filled once: `materialize`, and what it needs of a plan.

Only parameters go to the meta device, each as it is registered; buffers are computed as ever, so that rotary tables,
masks and running statistics are right. What no rule reaches gets its module's own `reset_parameters`, and a parameter
that has no such default is refused by name before anything is allocated.
"""

from __future__ import annotations

import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from initdsl import streams
from initdsl.filling.boxes import memory_of
from initdsl.initializers import Normal
from initdsl.language.syntax.nodes import Default
from initdsl.language.syntax.parse import parse_source
from initdsl.language.syntax.state import DEFAULT_LIMITS
from initdsl.network.describe import Live, Network, is_sharded
from initdsl.network.selectors.select import Match, listed
from initdsl.planning.names import Lets
from initdsl.planning.plan import Action, Clause, Kept, Plan, PlanEntry, Reset
from initdsl.text.diagnostic import ApplyError, Diagnostic, ResolveError
from initdsl.text.source import Source

if TYPE_CHECKING:
    from initdsl.api.plan import Rules

__all__ = [
    "DEFAULTS",
    "Undrawn",
    "construct",
    "give_memory",
    "left_unset",
    "like",
    "materialize",
    "meta_buffers",
    "settle_buffers",
    "unallocated",
    "warn",
    "with_defaults",
]


DEFAULTS = Source("<defaults>", "default net")


def materialize(
    factory: Callable[[], nn.Module], rules: Rules, device: torch.device | str | int = "cpu", seed: int | None = None, *,
    vars: Mapping[str, Any] | None = None, strict: bool = False,
    initializers: Mapping[str, Callable[..., Any]] | None = None, root: Any = None,
    on_init: Callable[[PlanEntry], Any] | None = None,
) -> nn.Module:  # fmt: skip
    """Build a network without memory, check the rules against it, allocate it once on `device` and fill it once.

    `factory` is called without arguments and returns the network. Parameters that no rule reaches get the
    `reset_parameters()` of their module; `strict` refuses them instead. Shared parameters stay shared, buffers have
    the values the constructor computes. The other arguments are those of `apply`.

    Raises TypeError for a factory that is none, ParseError, RuleError or ResolveError before anything is allocated (a
    parameter without rule and default, a buffer computed from a parameter, a constructor that needs real parameters),
    ApplyError where a fill failed.

    >>> from torch import nn
    >>> net = materialize(lambda: nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8)), "Linear.* ~ normal(0, 0.02)", seed=0)
    >>> net[0].weight.device, net[1].weight.tolist()[:2]
    (device(type='cpu'), [1.0, 1.0])
    """
    from initdsl.api.plan import agreed, check_seed, plan

    check_seed(seed)
    net = construct(factory, seed)
    with agreed(net):
        made = plan(net, rules, seed=seed, vars=vars, strict=strict, initializers=initializers, root=root)
        with_defaults(made)
        if any(tensor.sharded for tensor in made.network.tensors):
            from initdsl.filling.sharded.fill import review

            review(made)
        without_values = meta_buffers(made)
    where = torch.device(device)
    assert made.live is not None
    _allocate(made.network, made.live, where)
    settle_buffers(made, without_values, where)
    for _, tensor in _by_default(made):
        tensor.fill_(float("nan"))  # what a reset leaves unset must not pass for a value
    _fill(made, on_init)
    warn(made)
    return net


def _fill(plan: Plan, on_init: Callable[[PlanEntry], Any] | None) -> None:
    from initdsl.filling.execute import execute, follow

    execute(plan, on_init, fresh=True)
    assert plan.live is not None
    with torch.no_grad():
        for module in plan.live.modules:
            follow(module)
    bad = [e.label for e, tensor in _by_default(plan) if not e.edits and bool(tensor.isnan().any())]
    if bad:
        raise left_unset(bad)


def left_unset(labels: list[str]) -> ApplyError:
    """The error for parameters that their modules' own resets should have set, and did not."""
    return ApplyError(
        Diagnostic(
            "no-default", f"the reset of their modules leaves these unset: {listed(labels, 12)}",
            hint="give them rules of their own",
        )
    )  # fmt: skip


def _by_default(plan: Plan) -> Iterator[tuple[PlanEntry, torch.Tensor]]:
    """The entries that start from their module's own default, with their tensors."""
    assert plan.live is not None
    for entry in plan.order:
        tensor = plan.live.tensors[entry.tensor.index]
        default = entry.base is not None and isinstance(entry.base.payload, Reset)
        if default and tensor is not None and tensor.is_floating_point():
            yield entry, memory_of(tensor)


def warn(made: Plan) -> None:
    """Warn of rules that select nothing, on behalf of the caller's caller."""
    from initdsl.text.diagnostic import UnmatchedRuleWarning

    for finding in made.warnings:
        hint = f"; {finding.hint}" if finding.hint else ""
        warnings.warn(f"{finding.message}{hint} ({finding.location})", UnmatchedRuleWarning, stacklevel=3)


# ---- building


def construct(factory: Callable[[], nn.Module], seed: int | None) -> nn.Module:
    """What a factory builds, its parameters on the meta device. Raises TypeError or ResolveError, see `materialize`."""
    from initdsl.filling.seeded import isolated

    if isinstance(factory, nn.Module) or not callable(factory):
        raise TypeError(
            f"a factory is called without arguments and returns an nn.Module, this is {type(factory).__name__}: "
            "write `lambda: Net(...)`"
        )
    # What a constructor draws for parameters is thrown away; what it draws for buffers shall be the seed's.
    key = None if seed is None else streams.key(seed, "<construction>")
    try:
        with isolated(key), unallocated():
            net = factory()
    except (NotImplementedError, RuntimeError) as error:
        if "meta" not in str(error) and "incompatible tensor type" not in str(error):
            raise
        raise ResolveError(
            Diagnostic(
                "needs-values", f"the constructor{_whose(error)} needs the values of parameters, which have no memory yet: {error}",
                hint="moving the network is left to `device=`; what can't be changed is built as usual and filled by `initdsl.apply`",
            )
        ) from error  # fmt: skip
    if not isinstance(net, nn.Module):
        raise TypeError(f"the factory returned {type(net).__name__}, not an nn.Module")
    return net


def _whose(error: BaseException) -> str:
    """The module in whose code an error came up, as ` of ...`; nothing where that is torch's or none."""
    frames = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    owners = [type(owner) for owner in frames if isinstance(owner, nn.Module)]
    own = [cls for cls in owners if not cls.__module__.startswith("torch.")]
    return f" of `{own[-1].__name__}`" if own else ""


@contextmanager
def unallocated() -> Iterator[None]:
    """Parameters registered by this thread in this block go to the meta device; buffers are real.

    Objects that are registered twice stay one object.
    """
    known, places = WeakIdKeyDictionary(), WeakIdKeyDictionary()
    mine = threading.get_ident()

    def register(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        if parameter is None or threading.get_ident() != mine or not _replaceable(parameter):
            return None
        made = known.get(parameter)  # type: ignore[no-untyped-call]
        if made is None:
            made = known[parameter] = _without_memory(parameter)
            places[made] = parameter.device
        found: nn.Parameter = made
        return found

    handle = nn.modules.module.register_module_parameter_registration_hook(register)  # type: ignore[arg-type]
    try:
        with _Unmoved(places):
            yield
    finally:
        handle.remove()


class Undrawn(TorchFunctionMode):
    """Nothing is drawn for tensors without memory: before it does nothing too, torch loads its compiler, for seconds."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _DRAWING:
            tensor = args[0] if args else kwargs.get("tensor")
            if isinstance(tensor, torch.Tensor) and tensor.is_meta:
                return tensor
        return func(*args, **kwargs)


class _Unmoved(Undrawn):
    """Code of networks that asks where a parameter of `places` is gets the device kept there, not the meta device.

    So what it makes on that device has values, and what it would copy from the parameter fails, and is not left out; what
    it computes of both has no memory either.
    """

    def __init__(self, places: Mapping[Any, torch.device]):
        super().__init__()
        self.places = places

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _ASKING and args[0] in self.places and _asked_by_a_network():
            return func(torch.empty(0, device=self.places[args[0]]))
        mixed = self.places and _on_meta((args, kwargs))
        if mixed and _written_has_memory(func, args, kwargs):  # torch itself would refuse some, and leave out others
            raise NotImplementedError(f"`{func.__name__}` would write the values of a meta tensor")
        try:
            return super().__torch_function__(func, types, args, kwargs)
        except RuntimeError:
            if not mixed:
                raise
            args, kwargs = _without_values((args, kwargs))
        return func(*args, **kwargs)


def _written_has_memory(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether a function would write to a tensor with memory: by its name, in place, or to `out`."""
    name = getattr(func, "__name__", "")
    in_place = name.endswith("_") and (not name.endswith("__") or name.startswith(("__i", "__set")))
    written = [*(args[:1] if in_place else ()), kwargs.get("out")]
    return any(isinstance(tensor, torch.Tensor) and not tensor.is_meta for tensor in written)


def _on_meta(value: Any) -> bool:
    if isinstance(value, list | tuple | dict):
        return any(map(_on_meta, value.values() if isinstance(value, dict) else value))
    return isinstance(value, torch.Tensor) and value.is_meta


def _without_values(value: Any) -> Any:
    """Arguments with every tensor on the meta device."""
    if type(value) in (list, tuple):
        return type(value)(map(_without_values, value))
    if isinstance(value, dict):
        return {key: _without_values(item) for key, item in value.items()}
    return value.to("meta") if isinstance(value, torch.Tensor) else value


_DRAWING = {
    *(getattr(nn.init, name) for name in ("kaiming_uniform_", "normal_", "uniform_")),  # those that modes see whole
    *(getattr(torch.Tensor, name) for name in ("bernoulli_", "cauchy_", "exponential_", "geometric_")),
    *(getattr(torch.Tensor, name) for name in ("log_normal_", "normal_", "random_", "uniform_")),
}


_ASKING = {torch.Tensor.device.__get__, torch.Tensor.is_meta.__get__}  # type: ignore[attr-defined]


def _asked_by_a_network() -> bool:
    """Whether an attribute of a tensor is read by other code than torch's and ours, which rely on what it really is."""
    asking = sys._getframe(2).f_globals.get("__name__", "")
    return asking.partition(".")[0] not in ("torch", "initdsl")


def _replaceable(parameter: nn.Parameter) -> bool:
    if parameter.is_meta or nn.parameter.is_lazy(parameter):
        return False
    return parameter.layout == torch.strided and not hasattr(parameter, "placements")


def _without_memory(parameter: nn.Parameter) -> nn.Parameter:
    empty = torch.empty_strided(parameter.size(), parameter.stride(), dtype=parameter.dtype, device="meta")
    return like(parameter, empty)


def like(parameter: nn.Parameter, tensor: torch.Tensor) -> nn.Parameter:
    """A parameter on `tensor` with the class and the attributes of another."""
    made = nn.Parameter(tensor, requires_grad=parameter.requires_grad)
    if is_sharded(parameter):
        return made
    made.__dict__.update(parameter.__dict__)
    if type(parameter) is not type(made):
        made.__class__ = type(parameter)
    return made


# ---- what is not covered


def with_defaults(plan: Plan, *, keep: bool = False) -> None:
    """Give every parameter of a plan that no rule sets (or that `keep` names) its module's own default.

    With `keep`, only those without memory. Raises ResolveError that names the parameters without one.
    """
    rules, problems = parse_source(DEFAULTS, DEFAULT_LIMITS)
    rule = rules[0]
    assert not problems
    assert isinstance(rule, Default)
    resolver = plan.resolver
    clause = Clause(len(plan.clauses), rule, Lets(), None, rule.targets)
    modules = plan.network.modules
    _computed_first(plan)
    missing: list[PlanEntry] = []
    changed = False
    for entry in plan.entries:
        if entry.tensor.kind == "buffer" or (entry.base is not None and not isinstance(entry.base.payload, Kept)):
            continue
        if keep and entry.tensor.device != "meta":
            continue
        owners = [owner for owner, _ in entry.tensor.owners]
        owner = next((o for o in owners if modules[o].reset is not None), None)
        if owner is None or entry.tensor.problem is not None:
            if not _sliced_whole(entry):
                missing.append(entry)
            continue
        changed = True
        match = Match(owner, entry.tensor.index)
        entry.base = Action(clause, "default", Reset(owner), match, entry.tensor.shape)
    if changed:
        from initdsl.planning.assemble import Assembly

        plan.clauses.append(clause)
        plan.rules = resolver.rules = plan.rules.model_copy(
            update={"sources": {**plan.rules.sources, DEFAULTS.name: DEFAULTS.text}}
        )
        assembly = Assembly(resolver, resolver.values.infos)
        plan.resets, plan.order = [], []
        assembly._resets(plan)
        assembly._order(plan)
        missing += _unset(plan, {e.tensor.index for e in missing})
    if missing:
        names = listed([entry.label for entry in missing], 12)
        count = f"{len(missing)} parameter{'s' * (len(missing) > 1)}"
        raise ResolveError(
            Diagnostic(
                "no-default", f"no rule sets {count}, and their modules have no `reset_parameters` that does: {names}",
                hint="give them rules: without one they would hold whatever was in memory",
            )
        )  # fmt: skip


def _sliced_whole(entry: PlanEntry) -> bool:
    """Whether slices that are set make up the whole parameter."""
    return entry.base is None and bool(entry.edits) and entry.status == "set"


def _computed_first(plan: Plan) -> None:
    """Where all that a computed weight is computed from is uncovered, the weight itself gets the default."""
    network = plan.network
    entries = {e.tensor.index: e for e in plan.entries}
    for tensor in network.tensors:
        if tensor.kind != "parametrized" or tensor.index in entries or tensor.problem is not None:
            continue
        if network.modules[tensor.owners[0][0]].reset is None:
            continue
        behind = network.originals(tensor)
        if all(b in entries and entries[b].base is None and not entries[b].edits for b in behind):
            place = min(plan.entries.index(entries[b]) for b in behind)
            plan.entries = [e for e in plan.entries if e.tensor.index not in behind]
            plan.entries.insert(place, PlanEntry(plan, tensor, None, []))


class _Writes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the storages that operations write to."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.storages: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for place, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                value = args[place] if place < len(args) else kwargs.get(argument.name)
                for each in value if isinstance(value, list | tuple) else (value,):
                    if isinstance(each, torch.Tensor):
                        self.storages.add(each.untyped_storage()._cdata)
        return func(*args, **kwargs)


def _unset(plan: Plan, known: set[int]) -> list[PlanEntry]:
    """Parameters that are to be default and that no reset writes to: tried on stand-ins without memory."""
    from initdsl.filling.execute import shell_of
    from initdsl.filling.seeded import isolated

    assert plan.live is not None
    written: set[int] = set()
    for index, mine in plan.resets:
        if plan.network.modules[index].cls.qualname.startswith("torch.nn."):  # torch's own set all that they have
            written.update(mine)
            continue
        made: dict[int, nn.Parameter] = {}
        shell = shell_of(plan.live.modules[index], made, "meta")
        try:
            with isolated(None), torch.no_grad(), _Writes() as writes:
                getattr(shell, plan.network.modules[index].reset or "")()
        except Exception:  # it looks at values: what it leaves unset shows after the fill
            written.update(mine)
            continue
        for tensor in mine:
            live = plan.live.tensors[tensor]
            if live is None or (id(live) in made and made[id(live)].untyped_storage()._cdata in writes.storages):
                written.add(tensor)
    return [
        e for e in plan.entries
        if e.base is not None and isinstance(e.base.payload, Reset)
        and e.tensor.index not in written and e.tensor.index not in known
    ]  # fmt: skip


# ---- buffers


Place = tuple[str, nn.Module, str]


def meta_buffers(plan: Plan) -> tuple[list[Place], list[Place]]:
    """Buffers computed from parameters: spectral norm's vectors, which follow the weight, and those that a module's
    own `init_non_persistent_buffers` (a convention of timm) computes anew. Any other is refused.
    """
    assert plan.live is not None
    spectral: list[Place] = []
    computed: list[Place] = []
    refused: list[str] = []
    written = {e.tensor.index for e in plan.entries if e.base is not None and e.tensor.kind == "buffer"}
    own = {id(tensor) for tensor in plan.live.tensors}
    for info, module in zip(plan.network.modules, plan.live.modules, strict=True):
        for local, buffer in module._buffers.items():
            if buffer is None or not buffer.is_meta or info.buffers[local] in written:
                continue
            name = f"{info.name}.{local}" if info.name else local
            hooked = any(type(hook).__name__ == "SpectralNorm" for hook in module._forward_pre_hooks.values())
            if type(module).__name__ == "_SpectralNorm" or (hooked and local.endswith(("_u", "_v"))):
                spectral.append((name, module, local))
            elif callable(getattr(type(module), "init_non_persistent_buffers", None)):
                computed.append((name, module, local))
            else:
                refused.append(name)
        computed_here = {getattr(hook, "name", None) for hook in module._forward_pre_hooks.values()}
        for local, value in vars(module).items():
            if (
                isinstance(value, torch.Tensor)
                and value.is_meta
                and local not in computed_here
                and id(value) not in own
            ):
                refused.append(f"{info.name}.{local}" if info.name else local)
    if refused:
        raise ResolveError(
            Diagnostic(
                "needs-values", f"these tensors are computed from parameters, which have no memory yet: {listed(refused, 12)}",
                hint="give them rules, or build the network as usual and fill it with `initdsl.apply`",
            )
        )  # fmt: skip
    return spectral, computed


def _recompute(computed: list[Place], seed: int | None) -> None:
    from initdsl.filling.seeded import isolated

    for name, module in {id(module): (name, module) for name, module, _ in computed}.values():
        with isolated(None if seed is None else streams.key(seed, name)), torch.no_grad():
            module.init_non_persistent_buffers()  # type: ignore[operator]
    left = [name for name, module, local in computed if getattr(module._buffers.get(local), "is_meta", False)]
    if left:
        raise ResolveError(Diagnostic("needs-values", f"these buffers stay without values: {listed(left, 12)}"))


def _start_vectors(spectral: list[Place], device: torch.device, seed: int | None) -> None:
    for name, module, local in spectral:
        buffer = module._buffers[local]
        assert buffer is not None
        vector = torch.empty(buffer.shape, dtype=buffer.dtype, device=device)
        if seed is None:
            vector.normal_()
        else:
            streams.fill(vector, Normal(0.0, 1.0), streams.key(seed, name))
        module._buffers[local] = nn.functional.normalize(vector, dim=0)


# ---- allocating


def _allocate(network: Network, live: Live, device: torch.device) -> None:
    """Memory for every parameter on the meta device, the objects staying the ones they are; the rest is moved."""
    recurrent = [m for m in live.modules if hasattr(m, "_flat_weight_refs") and hasattr(m, "_init_flat_weights")]
    for module in recurrent:
        module._flat_weight_refs = []  # type: ignore[assignment]
    for info, tensor in zip(network.tensors, list(live.tensors), strict=True):
        if info.kind == "buffer":
            continue
        info.device = device.type
        if tensor is None:
            continue
        if tensor.is_meta:
            give_memory(network, live, info.index, device)
        elif tensor.device != device:
            tensor.data = tensor.data.to(device)
    for module in recurrent:
        module._init_flat_weights()  # type: ignore[operator]
    for module in live.modules:
        if callable(getattr(module, "_get_fsdp_state", None)):  # it keeps the memory of its shards: this shows it anew
            module._apply(lambda tensor: tensor, recurse=False)  # type: ignore[no-untyped-call]


def _memory(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Memory for a tensor without; of a sharded one, for the part that this rank holds."""
    if is_sharded(tensor):
        from torch.distributed.tensor import DTensor

        shard: Any = tensor
        return DTensor.from_local(
            _memory(memory_of(tensor), device), shard.device_mesh, shard.placements, run_check=False,
            shape=tensor.size(), stride=tensor.stride(),
        )  # fmt: skip
    return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=device)


def give_memory(network: Network, live: Live, index: int, device: torch.device) -> None:
    """Memory for a parameter on the meta device, the object staying the one it is wherever torch can do that."""
    tensor = live.tensors[index]
    assert isinstance(tensor, nn.Parameter)
    made = like(tensor, _memory(tensor, device))
    try:
        torch.utils.swap_tensors(tensor, made)  # type: ignore[no-untyped-call]
    except RuntimeError:  # something else refers to it: the modules at least get the same new object
        live.tensors[index] = made
        for owner, local in network.tensors[index].owners:
            live.modules[owner]._parameters[local] = made


def settle_buffers(plan: Plan, without_values: tuple[list[Place], list[Place]], device: torch.device) -> None:
    """Buffers with their values, on the device; those that a rule fills get their memory."""
    assert plan.live is not None
    network, live = plan.network, plan.live
    spectral, computed = without_values
    _start_vectors(spectral, device, plan.seed)
    _recompute(computed, plan.seed)
    moved: dict[int, torch.Tensor] = {}
    for module in live.modules:
        for local, buffer in module._buffers.items():
            if buffer is not None and not buffer.is_meta and buffer.device != device:
                module._buffers[local] = moved.setdefault(id(buffer), buffer.to(device))
    for info in network.tensors:
        if info.kind == "buffer":
            owner, local = info.owners[0]
            found = live.modules[owner]._buffers.get(local)
            if found is not None:
                if found.is_meta and device.type != "meta":
                    found = torch.empty(found.shape, dtype=found.dtype, device=device)
                    for each, name in info.owners:
                        live.modules[each]._buffers[name] = found
                live.tensors[info.index] = found
                info.device = device.type
