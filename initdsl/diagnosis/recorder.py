"""What passes through each layer, recorded by hooks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from initdsl.network.describe import class_info
from initdsl.network.wrappers import unwrap
from initdsl.statistics.moments import moments

__all__ = ["Functions", "Layer", "Recorder", "tensors_in"]


# rows of activations that are compared with each other
MOST_ROWS = 64


# a saturated unit's slope is below this part of the steepest
FLAT = 0.05


# a softmax is saturated where one of its values is above this
SURE = 0.99


@dataclass
class Layer:
    """One call of one module: what came out, and the gradient that came back to it.

    `mean`, `std` and `rms` are of all elements of the output, `grad_*` of the loss's gradient with respect to it
    (nan: no gradient came). `dead` is the share of ReLU units (or of inputs to a weight) that are 0 for every sample,
    `saturated` the share of values in the flat part of a tanh, sigmoid or softmax. `similarity` is the mean cosine
    between the outputs for different samples or positions, `rank` the participation ratio of those `rows` outputs.
    `symmetric` of `units` units have weights and gradients like another one's, so that training keeps them alike.
    `update_ratio` is the root mean square of the first update over that of the weight. `beyond` names the layer that
    lets no gradient through, where this one's is that of a second pass which starts before it. Of a layer with weights
    whose output is the model's, `first_loss` is the mean cross-entropy of that as logits of so many `classes`, for
    labels that are equally likely. `given` tells what went in from what goes into other layers.
    """

    name: str
    cls: str
    shape: tuple[int, ...] = ()
    depth: int = 0
    leaf: bool = True
    mean: float = math.nan
    std: float = math.nan
    rms: float = math.nan
    grad_mean: float = math.nan
    grad_std: float = math.nan
    grad_rms: float = math.nan
    nonfinite: int = 0
    grad_nonfinite: int = 0
    function: str | None = None
    dead: float | None = None
    saturated: float | None = None
    similarity: float | None = None
    rank: float | None = None
    rows: int = 0
    symmetric: int | None = None
    units: int | None = None
    update_ratio: float | None = None
    beyond: str | None = None
    first_loss: float | None = None
    classes: int | None = None
    given: tuple[int, ...] = field(default=(), repr=False)
    weighted: bool = field(default=False, repr=False)
    weights: int = field(default=0, repr=False)


# what makes channels the second dimension of what comes out, and what makes them the last
CHANNELS_SECOND = ("Conv", "BatchNorm", "GroupNorm", "InstanceNorm", "Pool")


CHANNELS_LAST = ("Linear", "Embedding", "LayerNorm", "RMSNorm", "Conv1D")


# functions whose units may be 0 for every sample
RECTIFIERS = ("relu", "relu6", "threshold", "hardtanh")


class Recorder:
    """The layers of one pass, in the order in which they finish."""

    def __init__(self, net: nn.Module):
        self.layers: list[Layer] = []
        self.running: list[tuple[str, nn.Module]] = []
        self.forward = True
        self.second = False  # channels are the second dimension
        self.names = {id(m): name for name, m in net.named_modules()}
        self.calls: dict[str, int] = {}
        self.given: set[int] = set()  # where the network's own input lies: zeros in it are no dead units
        self.outputs: list[torch.Tensor | None] = []  # one a layer, kept only for a second backward pass
        self.last_weighted: tuple[Layer, torch.Tensor] | None = None  # and what it has put out
        self.keep = any(_is_zero(m) for m in net.modules())

    def enter(self, module: nn.Module, args: Any) -> None:
        """Note that a module begins."""
        if self.forward:
            self.running.append((self.names.get(id(module), ""), module))

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        """Record what a module puts out."""
        if not self.forward:  # recomputed for the backward pass by activation checkpointing
            return
        name, _ = self.running.pop() if self.running else ("", module)
        module_class: type = type(unwrap(module))
        cls = class_info(module_class).name
        leaf = not any(True for _ in module.children())
        if leaf:
            self._orient(cls)
        tensor = next(tensors_in(output), None)
        if tensor is None:
            return
        call = self.calls[name] = self.calls.get(name, 0) + 1
        call_name = name if call == 1 else f"{name}#{call}"
        layer = Layer(call_name or "net", cls, tuple(tensor.shape), name.count(".") + bool(name), leaf)
        layer.weights = sum(p.numel() for p in module.parameters())
        layer.weighted = leaf and any(p.ndim > 1 for p in module.parameters(recurse=False))
        self._measure(layer, tensor)
        taken = next(tensors_in(args), None)
        if taken is not None:
            layer.given = (taken.data_ptr(), taken._version, *taken.shape)
        if layer.weighted and taken is not None and taken.data_ptr() not in self.given:
            layer.dead = _dead(taken.detach(), self._axis(taken, into=cls))
        self._add(layer, tensor)

    def _add(self, layer: Layer, tensor: torch.Tensor) -> None:
        self.layers.append(layer)
        if layer.weighted:
            self.last_weighted = (layer, tensor)
        self.outputs.append(tensor if self.keep and tensor.requires_grad else None)

    def finish(self, output: Any) -> None:
        """Note of the layer that gave the model's output what its first loss is as logits."""
        for tensor in tensors_in(output):
            if tensor.ndim < 2 or not tensor.numel():
                continue
            layer, last = self.last_weighted or (None, tensor)
            if layer is not None and last.data_ptr() == tensor.data_ptr() and layer.shape == tuple(tensor.shape):
                logits = tensor.detach().float().movedim(self._axis(tensor, into=layer.cls), -1)
                layer.classes = logits.shape[-1]
                layer.first_loss = float((logits.logsumexp(-1) - logits.mean(-1)).mean())
            return

    def function(self, name: str, output: torch.Tensor, *, own_row: bool = False) -> None:
        """Record an activation function that has been called, by a module or in the code of one."""
        path, module = self.running[-1] if self.running else ("", None)
        values = output.detach()
        leaf = module is not None and not any(True for _ in module.children()) and not list(module.parameters())
        if leaf and not own_row:  # the module's own row tells of it
            self.pending = (name, output)
            return
        layer = Layer(f"{path or 'net'} ({name})", name, tuple(values.shape), path.count(".") + 1, True)
        self._measure(layer, output)
        self._activation(layer, name, values)
        self._add(layer, output)

    # the last function that a module without weights has called: it is what the module does, if its output is
    pending: tuple[str, torch.Tensor] | None = None

    def _measure(self, layer: Layer, tensor: torch.Tensor) -> None:
        values = tensor.detach()
        measured = moments(values)
        layer.mean, layer.std, layer.rms, layer.nonfinite = measured.mean, measured.std, measured.rms, measured.other
        if not layer.nonfinite:
            layer.similarity, layer.rank, layer.rows = _alike(values, self._axis(values))
        if self.pending is not None:
            name, output = self.pending
            if output is tensor:
                self._activation(layer, name, values)
            self.pending = None
        if tensor.requires_grad:

            def hook(gradient: torch.Tensor) -> None:
                measured = moments(gradient.detach())
                layer.grad_mean, layer.grad_std, layer.grad_rms = measured.mean, measured.std, measured.rms
                layer.grad_nonfinite = measured.other

            tensor.register_hook(hook)  # type: ignore[no-untyped-call]

    def _activation(self, layer: Layer, name: str, values: torch.Tensor) -> None:
        layer.function = name
        if name in RECTIFIERS:
            layer.dead = _dead(values, self._axis(values))
        elif values.numel():
            work = values.float()
            match name:
                case "tanh":
                    flat = 1 - work * work < FLAT
                case "sigmoid":
                    flat = 4 * work * (1 - work) < FLAT
                case "softmax":
                    flat = work.amax(-1) > SURE
                case _:
                    return
            layer.saturated = float(flat.float().mean())

    def _orient(self, cls: str) -> None:
        if any(cls.startswith(word) or cls.endswith(word) for word in CHANNELS_LAST):
            self.second = False
        elif any(word in cls for word in CHANNELS_SECOND):
            self.second = True

    def _axis(self, tensor: torch.Tensor, into: str | None = None) -> int:
        """Return the dimension of the units, of what goes into a layer by its class."""
        if into is not None:
            second = "Conv" in into and into != "Conv1D"
            return 1 if second and tensor.ndim > 2 else -1
        return 1 if self.second and tensor.ndim > 2 else -1


class Functions(TorchFunctionMode):
    """Sees the activation functions, wherever they are called."""

    NAMES = frozenset({*RECTIFIERS, "tanh", "sigmoid", "softmax"})

    def __init__(self, recorder: Recorder):
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is nn.functional.multi_head_attention_forward:
            with self:  # it would be seen as one
                return _OPENED(*args, **(kwargs or {}))
        output = func(*args, **(kwargs or {}))
        if func is nn.functional.scaled_dot_product_attention and self.recorder.forward:
            weights = _attention_weights(*args, **(kwargs or {}))
            self.recorder.function("softmax", weights, own_row=True)
        name = getattr(func, "__name__", "").rstrip("_")
        if name in self.NAMES and self.recorder.forward and isinstance(output, torch.Tensor):
            self.recorder.function(name, output)
        return output


# the function of `nn.MultiheadAttention`, which shows what it calls
_OPENED = FunctionType(
    nn.functional.multi_head_attention_forward.__code__,
    {**vars(nn.functional), "has_torch_function": lambda arguments: False},
    argdefs=nn.functional.multi_head_attention_forward.__defaults__,
)


def _attention_weights(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """Return the softmax within `scaled_dot_product_attention`, for MOST_ROWS of the queries at most."""
    query, key = query.detach().float(), key.detach().float()
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)
    places = torch.arange(0, query.shape[-2], max(1, query.shape[-2] // MOST_ROWS), device=query.device)
    scores = query[..., places, :] @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        later = torch.arange(key.shape[-2], device=query.device) > places[:, None]
        scores = scores.masked_fill(later, -math.inf)
    if attn_mask is not None:
        rows = attn_mask.detach()[..., places, :] if attn_mask.shape[-2] > 1 else attn_mask.detach()
        scores = scores.masked_fill(~rows, -math.inf) if rows.dtype == torch.bool else scores + rows
    return scores.softmax(-1)


def _is_zero(module: nn.Module) -> bool:
    """Return whether a layer's weight matrix starts at 0, so that no gradient gets through it."""
    weight = module._parameters.get("weight")
    return weight is not None and weight.ndim > 1 and not bool(weight.detach().any())


# parts of an output that other parts tell of already
ASIDE = ("past_key_values", "hidden_states", "attentions", "encoder_last_hidden_state")


def tensors_in(value: Any, depth: int = 0) -> Iterator[torch.Tensor]:
    """Yield the floating point tensors of an output, those in tuples and mappings too."""
    if isinstance(value, torch.Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping) and depth < 4:
        for key, part in value.items():
            if key not in ASIDE:
                yield from tensors_in(part, depth + 1)
    elif isinstance(value, tuple | list) and depth < 4:
        for part in value:
            yield from tensors_in(part, depth + 1)


def _rows(values: torch.Tensor, axis: int) -> torch.Tensor:
    """Return at most MOST_ROWS of the outputs for a sample or position each, as rows, evenly chosen."""
    rows = values.movedim(axis, -1).reshape(-1, values.shape[axis])
    step = max(1, math.ceil(rows.shape[0] / MOST_ROWS))
    return rows[::step].float()


def _alike(values: torch.Tensor, axis: int) -> tuple[float | None, float | None, int]:
    """Return the mean cosine of rows, the participation ratio of their Gram matrix (its rank if it is flat), their count."""
    if values.ndim < 2 or not values.numel():
        return None, None, 0
    rows = _rows(values, axis)
    count = rows.shape[0]
    if count < 2:
        return None, None, count
    rows = rows / rows.abs().amax().clamp(min=1e-30)
    gram = (rows @ rows.t()).double()
    norms = gram.diagonal().clamp(min=0).sqrt()
    size = float((gram * gram).sum())
    if not size > 0 or not bool((norms > 0).any()):
        return None, None, count
    units = torch.where(norms > 0, 1 / norms, torch.zeros_like(norms))
    cosines = gram * units[:, None] * units
    there = int((norms > 0).sum())
    similarity = float(cosines.sum() - cosines.diagonal().sum()) / (there * (there - 1)) if there > 1 else None
    return similarity, float(gram.trace()) ** 2 / size, count


def _dead(values: torch.Tensor, axis: int) -> float | None:
    """Return the share of units that are 0 for every sample and position."""
    if values.ndim < 2 or not values.numel() or not -values.ndim <= axis < values.ndim:
        return None
    others = [d for d in range(values.ndim) if d != axis % values.ndim]
    return (
        float((values == 0).all(dim=others[0]).float().mean())
        if len(others) == 1
        else float((values.abs().amax(dim=others) == 0).float().mean())
    )
