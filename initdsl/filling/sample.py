"""One forward pass on a sample, in which layers are adjusted to what they put out, in the order it reaches them.

A model is as it was after it, but for the layers: hooks are gone, modes and buffers are back, random states too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from initdsl import streams
from initdsl.initializers import ArgumentError
from initdsl.planning.actions import Draw
from initdsl.planning.plan import PlanEntry
from initdsl.text.failures import first_line

from .blame import StepFailed, rule_diagnostic
from .computed_weights import write_computed
from .random_state import isolated
from .run import Run, start_of, tell

__all__ = ["AdjustFailed", "Layer", "adjust", "adjust_tensors"]


class AdjustFailed(Exception):
    """A layer can't be adjusted, or the pass failed: `layer` says which, where it is one."""

    def __init__(self, message: str, layer: Layer | None = None, hint: str | None = None):
        super().__init__(message)
        self.layer, self.hint = layer, hint


@dataclass(frozen=True, eq=False)
class Layer:
    """A tensor to adjust: `Layer("net[0].weight", (module,), step, most=10)`.

    `modules` hold it. `step` changes it by an output of one of them and returns True; None if the output is as asked for.
    `most` is how often that may be tried.
    """

    label: str
    modules: tuple[nn.Module, ...]
    step: Callable[[Layer, nn.Module, torch.Tensor], bool | None]
    most: int


# ---- tensors of a plan


def adjust_tensors(run: Run) -> None:
    """Adjust the tensors whose rules ask for it to the run's sample, and tell `on_init`. Raises StepFailed."""
    entries = {entry.label: entry for entry in run.plan.adjusted}
    computed: dict[str, torch.Tensor] = {}
    layers = [_layer(run, entry, computed) for entry in entries.values()]
    layers.sort(key=lambda layer: entries[layer.label].tensor.ndim < 2)  # a bias after its weight
    key = None if run.seed is None else streams.key(run.seed, "<sample>")
    try:
        with isolated(key):
            adjust(run.live.modules[0], run.sample, layers)
    except AdjustFailed as error:
        entry = entries[error.layer.label] if error.layer is not None else next(iter(entries.values()))
        assert entry.base is not None
        message = f"`{entry.label}` can't be adjusted: {error}" if error.layer is not None else str(error)
        raise StepFailed(rule_diagnostic(run.plan, entry.base, "sample-failed", message, error.hint), error) from error
    for entry in entries.values():
        if entry.label in computed:  # the pass put back the buffers that follow a weight
            owner, local = entry.tensor.owners[0]
            write_computed(run.live.modules[owner], local, computed[entry.label], start_of(run))
        tell(run, entry)


def _layer(run: Run, entry: PlanEntry, computed: dict[str, torch.Tensor]) -> Layer:
    """Return what adjusts a tensor; a weight that is computed from others goes into `computed` each time it is written."""
    assert entry.base is not None
    draw = entry.base.payload
    assert isinstance(draw, Draw)
    initializer = draw.initializer
    assert initializer.adjust is not None
    owners = [(run.live.modules[owner], local) for owner, local in entry.tensor.owners]

    def step(layer: Layer, module: nn.Module, output: torch.Tensor) -> bool | None:
        local = next(local for owner, local in owners if owner is module)
        value = getattr(module, local).detach()
        try:
            adjusted = initializer.adjust(module, local, value, output, **draw.arguments)  # type: ignore[misc]
        except ArgumentError as error:
            raise AdjustFailed(str(error), layer, error.hint) from error
        if adjusted is None:
            return None
        if run.live.tensors[entry.tensor.index] is None:
            computed[entry.label] = adjusted
            write_computed(module, local, adjusted, start_of(run))
        else:
            value.copy_(adjusted)
        return True

    return Layer(entry.label, tuple(module for module, _ in owners), step, draw.arguments.get("max_iter", 10))


# ---- the pass


def adjust(net: nn.Module, sample: object, layers: Sequence[Layer]) -> None:
    """Run `net` on the sample in evaluation mode and adjust every layer when it is first reached.

    A tensor is the argument of the forward pass, a tuple or list its arguments, a mapping its keyword arguments. A layer
    that is reached again goes by its first output; of two in one module the first in the list comes first. Raises
    AdjustFailed.
    """
    by_module: dict[nn.Module, list[Layer]] = {}
    for layer in layers:
        for module in layer.modules:
            by_module.setdefault(module, []).append(layer)
    reached: set[Layer] = set()

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        for layer in by_module[module]:
            if layer not in reached:
                reached.add(layer)
                output = _adjusted(layer, module, args, kwargs, output)
        return output

    with _as_it_was(net), torch.no_grad():
        handles = [module.register_forward_hook(hook, prepend=True, with_kwargs=True) for module in by_module]
        try:
            _run(net, sample)
        finally:
            for handle in handles:
                handle.remove()
    for layer in layers:
        if layer not in reached:
            message = "the forward pass on the sample does not call its module"
            hint = (
                "what only training calls, or whose weight another module uses directly, has no output to go by: give it "
                "another rule"
            )
            raise AdjustFailed(message, layer, hint)


def _run(net: nn.Module, sample: object) -> None:
    """Run a model on a sample in evaluation mode. Raises AdjustFailed."""
    try:
        net.eval()
        if isinstance(sample, Mapping):
            net(**sample)
        elif isinstance(sample, tuple | list):
            net(*sample)
        else:
            net(sample)
    except AdjustFailed:
        raise
    except Exception as error:
        message = f"the forward pass on the sample raised {type(error).__name__}: {first_line(error)}"
        raise AdjustFailed(message) from error


def _adjusted(layer: Layer, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """Adjust one layer, and return its output then."""
    for _ in range(layer.most + 1):
        if not isinstance(output, torch.Tensor) or not output.is_floating_point():
            raise AdjustFailed(f"its module puts out {type(output).__name__}, not one tensor", layer)
        if layer.step(layer, module, output) is None:
            return output
        output = module.forward(*args, **kwargs)
    hint = "a large bias, or an output that the weight does not scale, stands in the way"
    raise AdjustFailed(f"its output is not as asked for after {layer.most} steps", layer, hint)


@contextmanager
def _as_it_was(net: nn.Module) -> Iterator[None]:
    """Put modes and buffers back after the block, whatever happens."""
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
