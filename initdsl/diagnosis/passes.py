"""One forward and one backward pass, looked at from hooks: what each layer puts out, and the gradient it gets back.

Only numbers are kept of what passes, so that the memory needed is that of a training step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from initdsl.statistics.moments import moments
from initdsl.text.diagnostic import DiagnoseError, Diagnostic

from .inputs import Inputs
from .recorder import Functions, Layer, Recorder, tensors_in

__all__ = ["GIVE_INPUT", "failed", "passes"]


GIVE_INPUT = "give it real input with `sample=` or `--sample`, or a shape with `input_shape=` or `--input-shape`"


# units whose weights are so near, over their root mean square, are alike
ALIKE = 1e-5


def passes(
    net: nn.Module,
    inputs: Inputs,
    loss: Callable[[Any], torch.Tensor] | None,
    optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
) -> list[Layer]:
    """Run one forward and one backward pass and one step of the optimizer; return the layers. Changes the model.

    Without a loss, and where the output has none of its own, the gradient of every output element is a standard normal
    number over the number of samples. Raises DiagnoseError where a pass fails, and says in which module.
    """
    recorder = Recorder(net)
    # gradients go through frozen layers too, whose weights no step changes
    frozen = {id(p) for p in net.parameters() if not p.requires_grad}
    for parameter in net.parameters():
        parameter.requires_grad = parameter.is_floating_point() or parameter.is_complex()
    recorder.given = {t.data_ptr() for t in tensors_in([*inputs.args, *inputs.kwargs.values()])}
    with _hooked(net, recorder):
        try:
            with torch.enable_grad(), Functions(recorder):
                output = net(*inputs.args, **inputs.kwargs)
        except Exception as error:
            raise failed("forward", error, recorder.running, inputs) from error
        recorder.forward = False
        recorder.finish(output)
        try:
            with torch.enable_grad():
                _backward(output, loss, recorder.keep)
                if recorder.keep:
                    _past_zeros(recorder)
        except DiagnoseError:
            raise
        except Exception as error:
            raise failed("backward", error, [], inputs) from error
    for parameter in net.parameters():
        if parameter.grad is not None and parameter.grad.layout != torch.strided:
            parameter.grad = parameter.grad.to_dense()
    _weights(net, recorder.layers, optimizer, frozen)
    return recorder.layers


@contextmanager
def _hooked(net: nn.Module, recorder: Recorder) -> Iterator[None]:
    handles = []
    for module in net.modules():
        handles.append(module.register_forward_pre_hook(recorder.enter, prepend=True))
        handles.append(module.register_forward_hook(recorder.leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def failed(which: str, error: BaseException, running: list[tuple[str, nn.Module]], inputs: Inputs) -> DiagnoseError:
    """Return the error of a pass: where in the model it failed, and on which input."""
    where = ""
    if running:
        name, module = running[-1]
        where = f" in `{name or 'net'}` ({type(module).__name__})"
    message = " ".join(str(error).split())
    message = f"{message[:300]} ..." if len(message) > 300 else message
    return DiagnoseError(
        Diagnostic(
            f"{which}-failed",
            f"the {which} pass failed{where} on {inputs}: {type(error).__name__}: {message}",
            hint=None if inputs.given else GIVE_INPUT,
        )
    )


def _past_zeros(recorder: Recorder) -> None:
    """Send random gradients back from before a last layer of zeros, where that has let none through."""
    layers = recorder.layers
    silent = [
        i for i, layer in enumerate(layers) if layer.leaf and recorder.outputs[i] is not None and not layer.grad_rms > 0
    ]
    if not silent:
        return
    last = silent[-1]
    # with a gradient anywhere before, it is no last layer that stops them, but a branch
    if any(layer.grad_rms > 0 for layer in layers[: last + 1]):
        return
    after = next((layer.name for layer in layers[last + 1 :] if layer.weighted), layers[-1].name)
    end = recorder.outputs[last]
    assert end is not None
    torch.autograd.backward([end], [torch.randn_like(end) / max(1, end.shape[0])])
    for layer in layers[: last + 1]:
        layer.beyond = after


def _backward(output: Any, loss: Callable[[Any], torch.Tensor] | None, keep: bool) -> None:
    """Go back from the loss, or from every output with random gradients; `keep` the graph for a second pass."""
    value: torch.Tensor | None
    if loss is not None:
        value = loss(output)
    else:
        own = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
        value = own if isinstance(own, torch.Tensor) else None
    if value is not None:
        value.backward(retain_graph=keep)  # type: ignore[no-untyped-call]
        return
    ends = [t for t in tensors_in(output) if t.requires_grad]
    if not ends:
        raise DiagnoseError(
            Diagnostic(
                "no-gradient",
                "no output of the model has a gradient",
                hint="a model without parameters, or one that cuts its gradients, can't be diagnosed; a `loss=` may find one",
            )
        )
    torch.autograd.backward(
        ends, [torch.randn_like(t) / max(1, t.shape[0] if t.ndim else 1) for t in ends], retain_graph=keep
    )


# ---- weights


def _weights(
    net: nn.Module,
    layers: list[Layer],
    optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
    frozen: set[int],
) -> None:
    """Note at each layer what one step of the optimizer does to its weight, and which of its units it keeps alike."""
    modules = dict(net.named_modules())
    weights: dict[str, tuple[nn.Module, nn.Parameter]] = {}
    for layer in layers:
        name = layer.name if layer.name != "net" else ""
        module = modules.get(name)
        if module is None or not layer.leaf:
            continue
        parameters = [p for p in module.parameters(recurse=False) if id(p) not in frozen and p.is_floating_point()]
        if parameters:
            weights[layer.name] = (module, max(parameters, key=lambda p: (p.ndim, p.numel())))
    for layer in layers:
        if layer.name in weights:
            module, weight = weights[layer.name]
            if weight.ndim > 1 and weight.grad is not None:
                axis = _unit_axis(type(module).__name__)
                layer.symmetric, layer.units = _symmetric(weight.detach(), weight.grad.detach(), axis)
    stepped = [p for p in net.parameters() if p.grad is not None and id(p) not in frozen]
    if not stepped:
        return
    old_values = {id(p): p.detach().clone() for _, p in weights.values() if p.grad is not None}
    optimizer(stepped).step()
    for layer in layers:
        if layer.name in weights:
            weight = weights[layer.name][1]
            old = old_values.get(id(weight))
            if old is not None:
                size = moments(old).rms
                change = moments(weight.detach().double() - old.double()).rms
                layer.update_ratio = change / size if size else math.inf if change else 0.0


def _unit_axis(cls: str) -> int:
    """Return the dimension of a weight that counts its output units."""
    return 1 if cls == "Conv1D" or cls.startswith("ConvTranspose") else 0


def _symmetric(weight: torch.Tensor, gradient: torch.Tensor, axis: int) -> tuple[int, int]:
    """Return how many units have the weights and the gradient of another one, and how many there are.

    Rows are compared by their products with two random vectors.
    """
    with torch.no_grad():
        values = weight.movedim(axis, 0).reshape(weight.shape[axis], -1).double()
        gradient = gradient.movedim(axis, 0).reshape(values.shape).double()
        if not bool(torch.isfinite(values).all()) or not bool(torch.isfinite(gradient).all()):
            return 0, values.shape[0]
        sides = torch.randn(values.shape[1], 4, dtype=torch.float64, device=values.device)
        marks = torch.cat([_scaled(values) @ sides[:, :2], _scaled(gradient) @ sides[:, 2:]], dim=1)
        order = marks[:, 0].argsort(stable=True)
        near = ((marks[order][1:] - marks[order][:-1]).abs() < ALIKE * math.sqrt(values.shape[1])).all(dim=1)
        edge = torch.zeros(1, dtype=torch.bool, device=near.device)
        return int((torch.cat([near, edge]) | torch.cat([edge, near])).sum()), values.shape[0]


def _scaled(rows: torch.Tensor) -> torch.Tensor:
    """Return rows over the root mean square of all of them."""
    size = float(rows.pow(2).mean().sqrt())
    return rows / size if size else rows
