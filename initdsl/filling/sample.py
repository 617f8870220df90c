"""One forward pass on a sample, in which layers are adjusted to what they put out, in the order it reaches them.

A network is as it was after it, but for the layers: hooks are gone, modes and buffers are back, random states too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from initdsl.text.failures import first_line

__all__ = ["AdjustFailed", "Layer", "adjust"]


class AdjustFailed(Exception):
    """A layer can't be adjusted, or the pass failed: `layer` says which, where it is one."""

    def __init__(self, message: str, layer: Layer | None = None, hint: str | None = None):
        super().__init__(message)
        self.layer, self.hint = layer, hint


@dataclass(eq=False)
class Layer:
    """A tensor to adjust: the modules that hold it, and what to do about an output of one of them.

    `step` changes the tensor, and tells whether it did: None where the output was as asked for, else True.
    """

    label: str
    modules: list[nn.Module]
    step: Callable[[nn.Module, torch.Tensor], bool | None]
    most: int
    reached: bool = field(default=False)


def adjust(net: nn.Module, sample: Any, layers: list[Layer]) -> None:
    """Run `net` on the sample in evaluation mode and adjust every layer when it is first reached.

    A tensor is the argument of the forward pass, a tuple or list its arguments, a mapping its keyword arguments. A layer
    that is reached again goes by its first output; of two in one module the first in the list comes first. Raises
    AdjustFailed.
    """
    here: dict[nn.Module, list[Layer]] = {}
    for layer in layers:
        for module in layer.modules:
            here.setdefault(module, []).append(layer)

    def reached(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        for layer in here[module]:
            if not layer.reached:
                layer.reached = True
                output = _adjusted(layer, module, args, kwargs, output)
        return output

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if isinstance(sample, Mapping):
        kwargs = dict(sample)
    elif isinstance(sample, tuple | list):
        args = tuple(sample)
    else:
        args = (sample,)
    with _as_it_was(net), torch.no_grad():
        hooks = []
        try:
            for module in here:
                hooks.append(module.register_forward_hook(reached, prepend=True, with_kwargs=True))
            net.eval()
            net(*args, **kwargs)
        except AdjustFailed:
            raise
        except Exception as error:
            raise AdjustFailed(
                f"the forward pass on the sample raised {type(error).__name__}: {first_line(error)}"
            ) from error
        finally:
            for hook in hooks:
                hook.remove()
    for layer in layers:
        if not layer.reached:
            raise AdjustFailed(
                "the forward pass on the sample does not call its module", layer,
                "what only training calls, or whose weight another module uses directly, has no output to go by: give it another rule",
            )  # fmt: skip


def _adjusted(layer: Layer, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """Adjust one layer, and give its output then."""
    for _ in range(layer.most + 1):
        if not isinstance(output, torch.Tensor) or not output.is_floating_point():
            raise AdjustFailed(f"its module puts out {type(output).__name__}, not one tensor", layer)
        if layer.step(module, output) is None:
            return output
        output = module.forward(*args, **kwargs)
    raise AdjustFailed(
        f"its output is not as asked for after {layer.most} steps", layer, "a large bias, or an output that the weight does "
        "not scale, stands in the way"
    )  # fmt: skip


@contextmanager
def _as_it_was(net: nn.Module) -> Iterator[None]:
    """Modes and buffers are put back, whatever happens."""
    modules = list(net.modules())
    modes = [module.training for module in modules]
    held = [dict(module._buffers) for module in modules]
    values = {id(b): (b, b.detach().clone()) for buffers in held for b in buffers.values() if b is not None}
    try:
        yield
    finally:
        for module, training, buffers in zip(modules, modes, held, strict=True):
            module.training = training
            module._buffers.clear()
            module._buffers.update(buffers)
        with torch.no_grad():
            for buffer, value in values.values():
                if buffer.shape == value.shape:
                    buffer.copy_(value)
                else:
                    buffer.set_(value)  # type: ignore[call-overload]
