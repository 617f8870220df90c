"""Models constructed without memory, and without drawing anything."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import numpy.random  # noqa: F401  # numpy leaves this to who asks first: that is `isolated`, in the middle of the first call
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from initdsl import streams
from initdsl.filling.random_state import isolated
from initdsl.network.kinds import is_sharded
from initdsl.text.diagnostic import Diagnostic, ResolveError

__all__ = ["Undrawn", "construct", "like", "unallocated"]


def construct(factory: Callable[[], nn.Module], seed: int | None) -> nn.Module:
    """Return what a factory builds, its parameters on the meta device. Raises TypeError or ResolveError, see `materialize`."""
    if isinstance(factory, nn.Module) or not callable(factory):
        raise TypeError(
            f"a factory is called without arguments and returns an nn.Module, this is {type(factory).__name__}: "
            "write `lambda: Net(...)`"
        )
    # what a constructor draws for parameters is thrown away; what it draws for buffers shall be the seed's
    key = None if seed is None else streams.key(seed, "<construction>")
    try:
        with _BUILDING, isolated(key), unallocated():
            net = factory()
    except (NotImplementedError, RuntimeError, TypeError) as error:
        if "meta" not in str(error) and "incompatible tensor type" not in str(error):
            raise
        raise ResolveError(
            Diagnostic(
                "needs-values",
                f"the constructor{_whose(error)} needs the values of parameters, which have no memory yet: {error}",
                hint="moving the model is left to `device=`; what can't be changed is built as usual and filled by "
                "`initdsl.apply`",
            )
        ) from error
    if not isinstance(net, nn.Module):
        raise TypeError(f"the factory returned {type(net).__name__}, not an nn.Module")
    return net


def _whose(error: BaseException) -> str:
    """Return the module in whose code an error came up, as ` of ...`; nothing where that is torch's or none."""
    frames = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    owners = [type(owner) for owner in frames if isinstance(owner, nn.Module)]
    own = [cls for cls in owners if not cls.__module__.startswith("torch.")]
    return f" of `{own[-1].__name__}`" if own else ""


@contextmanager
def unallocated() -> Iterator[None]:
    """Put parameters that this thread registers in the block on the meta device; buffers stay real.

    Objects that are registered twice stay one object.
    """
    meta_of, devices = WeakIdKeyDictionary(), WeakIdKeyDictionary()

    def register(parameter: nn.Parameter) -> nn.Parameter | None:
        with torch._C.DisableTorchFunction():  # what is asked here is not the model's to be told otherwise
            if not _replaceable(parameter):
                return None
            empty: nn.Parameter | None = meta_of.get(parameter)  # type: ignore[no-untyped-call]
            if empty is None:
                empty = meta_of[parameter] = _without_memory(parameter)
                devices[empty] = parameter.device
            return empty

    before = getattr(_OF_THREAD, "register", None)
    _OF_THREAD.register = register
    try:
        with _Unmoved(devices):
            yield
    finally:
        _OF_THREAD.register = before


# one network is built at a time: the global generators are seeded for it, and what it draws for buffers is its own
_BUILDING = threading.RLock()


# what takes the parameters that a thread registers, where it builds a network
_OF_THREAD = threading.local()


def _registered(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
    register: Callable[[nn.Parameter], nn.Parameter | None] | None = getattr(_OF_THREAD, "register", None)
    return None if register is None or parameter is None else register(parameter)


# once and for all: a hook that came and went would change torch's list while other threads go through it
nn.modules.module.register_module_parameter_registration_hook(_registered)  # type: ignore[arg-type]


class Undrawn(TorchFunctionMode):
    """Nothing is drawn for tensors without memory, and none is moved to a device.

    Before it draws nothing too, torch loads its compiler, for seconds. Moved, as by `.to(device)` in a constructor, a
    tensor without memory stays one; whatever needs its values still fails.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _DRAWING or func in _MOVING:
            tensor = args[0] if args else kwargs.get("tensor")
            if isinstance(tensor, torch.Tensor) and tensor.is_meta:
                return tensor if func in _DRAWING else self.moved(func, tensor, args[1:], kwargs)
        return func(*args, **kwargs)

    def moved(self, func: Any, tensor: torch.Tensor, args: Any, kwargs: Any) -> torch.Tensor:
        """Return a tensor without memory as `tensor.to(*args, **kwargs)`, `.cpu()` or `.cuda()`: of another dtype, but there."""
        if func is not torch.Tensor.to:
            return tensor
        if args and isinstance(args[0], torch.Tensor):
            args = (args[0].dtype, *args[1:])
        elif args and not isinstance(args[0], torch.dtype):
            args = ("meta", *args[1:])
        named: dict[str, Any] = {name: "meta" if name == "device" else value for name, value in kwargs.items()}
        if "other" in named:
            named["dtype"] = named.pop("other").dtype
        return tensor.to(*args, **named)


class _Unmoved(Undrawn):
    """Code of models that asks where a parameter of `devices` is gets the device kept there, not the meta device.

    So what it makes on that device has values, and what it would copy from the parameter fails, and is not left out; what
    it computes of both has no memory either.
    """

    def __init__(self, devices: MutableMapping[Any, torch.device]):
        super().__init__()
        self.devices = devices

    def moved(self, func: Any, tensor: torch.Tensor, args: Any, kwargs: Any) -> torch.Tensor:
        """Return a tensor without memory as if it were moved: from then on it is said to be where it was moved to."""
        there = super().moved(func, tensor, args, kwargs)
        there = there if there is not tensor else tensor.detach()
        device = torch.empty(0, device=self.devices.get(tensor, "cpu"))
        try:
            self.devices[there] = func(device, *args, **kwargs).device
        except (RuntimeError, AssertionError):  # there is no such device here
            self.devices[there] = torch.device("cpu")
        return there

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func == _SET_DATA and args[1] in self.devices:  # what `module.to(device)` does
            self.devices[args[0]] = self.devices[args[1]]
        if func in _ASKING and args[0] in self.devices and _asked_by_a_network():
            return func(torch.empty(0, device=self.devices[args[0]]))
        mixed = self.devices and _on_meta((args, kwargs))
        if mixed and _written_has_memory(func, args, kwargs):  # torch itself would refuse some, and leave out others
            raise NotImplementedError(f"`{func.__name__}` would write the values of a meta tensor")
        try:
            return super().__torch_function__(func, types, args, kwargs)
        except NotImplementedError:
            if not mixed:
                raise
            return _shapes_alone(func, args, kwargs)
        except RuntimeError:
            if not mixed:
                raise
            args, kwargs = _without_values((args, kwargs))
        return func(*args, **kwargs)


def _shapes_alone(func: Any, args: Any, kwargs: Any) -> Any:
    """Return the shapes that a function's results have, where torch works them out from values alone (`geqrf`)."""
    results = func(*_on_zeros(args), **_on_zeros(kwargs))
    if not isinstance(results, torch.Tensor | tuple):
        raise NotImplementedError(f"`{func.__name__}` looks at the values of a meta tensor")
    return _without_values(tuple(results) if isinstance(results, tuple) else results)


def _on_zeros(value: Any) -> Any:
    """Return arguments with zeros for every tensor on the meta device."""
    if type(value) in (list, tuple):
        return type(value)(map(_on_zeros, value))
    if isinstance(value, dict):
        return {key: _on_zeros(item) for key, item in value.items()}
    is_meta = isinstance(value, torch.Tensor) and value.is_meta
    return torch.zeros(value.shape, dtype=value.dtype) if is_meta else value


def _written_has_memory(func: Any, args: Any, kwargs: Any) -> bool:
    """Return whether a function would write to a tensor with memory: by its name, in place, or to `out`."""
    name = getattr(func, "__name__", "")
    in_place = name.endswith("_") and (not name.endswith("__") or name.startswith(("__i", "__set")))
    written = [*(args[:1] if in_place else ()), kwargs.get("out")]
    return any(isinstance(tensor, torch.Tensor) and not tensor.is_meta for tensor in written)


def _on_meta(value: Any) -> bool:
    if isinstance(value, list | tuple | dict):
        return any(map(_on_meta, value.values() if isinstance(value, dict) else value))
    return isinstance(value, torch.Tensor) and value.is_meta


def _without_values(value: Any) -> Any:
    """Return arguments with every tensor on the meta device."""
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


_SET_DATA = torch.Tensor.data.__set__  # type: ignore[attr-defined]


_MOVING = {torch.Tensor.to, torch.Tensor.cpu, torch.Tensor.cuda}


_ASKING = {torch.Tensor.device.__get__, torch.Tensor.is_meta.__get__}  # type: ignore[attr-defined]


def _asked_by_a_network() -> bool:
    """Return whether an attribute of a tensor is read by other code than torch's and ours, which rely on what it really is."""
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
    """Return a parameter on `tensor` with the class and the attributes of another."""
    other = nn.Parameter(tensor, requires_grad=parameter.requires_grad)
    if is_sharded(parameter):
        return other
    other.__dict__.update(parameter.__dict__)
    if type(parameter) is not type(other):
        other.__class__ = type(parameter)
    return other
