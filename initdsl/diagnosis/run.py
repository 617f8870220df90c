"""Whether signals and gradients get through a model as its rules start it: one forward and one backward pass."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from initdsl.filling.execute import execute
from initdsl.filling.random_state import everything_unmoved, isolated
from initdsl.filling.sharded.review import review
from initdsl.language.rules.loader import Rules
from initdsl.network.wrappers import unwrap
from initdsl.planning.make import make_plan_of
from initdsl.text.diagnostic import DiagnoseError, Diagnostic
from initdsl.text.wording import relative_location

from .diagnosis import Diagnosis
from .inputs import Inputs, candidates, of_sample, of_shape
from .passes import GIVE_INPUT, failed, passes

if TYPE_CHECKING:
    import os

__all__ = ["diagnose"]


OPTIMIZERS = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


def diagnose(
    net: nn.Module,
    rules: Rules | None = None,
    sample: Any = None,
    *,
    input_shape: Sequence[int] | None = None,
    seed: int | None = None,
    vars: Mapping[str, Any] | None = None,
    strict: bool = False,
    initializers: Mapping[str, Callable[..., Any]] | None = None,
    root: str | os.PathLike[str] | None = None,
    loss: Callable[[Any], torch.Tensor] | None = None,
    optimizer: str = "adam",
    learning_rate: float = 1e-3,
) -> Diagnosis:
    """Fill a copy of a model by its rules, run it forward and backward once, and say what happens on the way.

    The model itself, its hooks and all random states are left as they are. Without `rules` it is diagnosed as it is.
    `sample` is a tensor, a tuple of arguments or a mapping by name; without one, random input of `input_shape` goes in,
    or random input that fits the model's signature and its first layers. `loss` makes a number of the output; without
    it, an output's own `loss` is taken, or random gradients of size 1 / samples start at the output. The first update is
    that of `optimizer` (`adam` or `sgd`) with `learning_rate`.

    Raises ParseError, RuleError, ResolveError or ApplyError for the rules, DiagnoseError where the model can't be run.

    >>> net = nn.Sequential(*[nn.Sequential(nn.Linear(64, 64), nn.Tanh()) for _ in range(8)])
    >>> print(diagnose(net, "Linear.weight ~ normal(0, 0.01); Linear.bias = 0", seed=0).verdict[0])
    activations shrink 0.079 a layer; 8 layers: 2e-8
    """
    if not isinstance(net, nn.Module):
        raise TypeError(f"a model is an nn.Module, not {type(net).__name__}")
    net = unwrap(net)
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"the optimizer is one of {', '.join(OPTIMIZERS)}, not {optimizer!r}")
    with everything_unmoved():
        if seed is not None:
            torch.manual_seed(seed)
        # drawn first, so that other rules get the same input; and put back, so that rules draw what they do in `apply`
        with isolated(None):
            noise = int(torch.randint(2**62, ()))
        copied = _copy(net)
        name = _filled(copied, rules, seed=seed, vars=vars, strict=strict, initializers=initializers, root=root)
        torch.manual_seed(noise)
        inputs = _inputs(copied, sample, input_shape)
        step = OPTIMIZERS[optimizer]
        layers = passes(copied, inputs, loss, lambda parameters: step(parameters, lr=learning_rate))
    step_of = f"{optimizer}, learning rate {learning_rate:g}"
    return Diagnosis(tuple(layers), name, type(net).__name__, str(inputs), step_of)


def _filled(net: nn.Module, rules: Rules | None, **options: Any) -> str | None:
    """Fill a model by its rules; return what they are called."""
    if rules is None:
        return None
    plan, live = make_plan_of(net, rules, **options)
    execute(review(plan, live), live)
    return relative_location(next(iter(plan.rules.sources), "<rules>"))


def _copy(net: nn.Module) -> nn.Module:
    """Return a copy of a model in training mode, with memory of its own. Raises DiagnoseError."""
    memo: dict[int, Any] = {}
    for module in net.modules():
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None and (tensor.is_meta or nn.parameter.is_lazy(tensor)):
                what = "has no memory" if tensor.is_meta else "has no shape yet"
                raise DiagnoseError(
                    Diagnostic(
                        "no-values",
                        f"a tensor of `{type(module).__name__}` {what}; a model is diagnosed with its values",
                        hint="build it on a real device"
                        if tensor.is_meta
                        else "run it once, so that lazy modules know their shapes",
                    )
                )
        # what hooks computed, as the old `weight_norm` does: `deepcopy` refuses tensors with a history
        for value in vars(module).values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    try:
        copied: nn.Module = copy.deepcopy(net, memo)
    except Exception as error:
        raise DiagnoseError(
            Diagnostic(
                "uncopyable",
                f"the model can't be copied: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
            )
        ) from error
    for parameter in copied.parameters():
        parameter.grad = None
    return copied.train()


def _inputs(net: nn.Module, sample: Any, shape: Sequence[int] | None) -> Inputs:
    """Return what goes in: the sample, or the first random input the model takes. Leaves buffers as they are."""
    if sample is not None:
        if shape is not None:
            raise TypeError("a sample has a shape of its own: give `sample` or `input_shape`")
        return of_sample(net, sample)
    tried = of_shape(net, shape) if shape is not None else candidates(net)
    problem: BaseException | None = None
    last: Inputs | None = None
    running: list[tuple[str, nn.Module]] = []
    for inputs in tried:
        handles, inside = _watch(net)
        buffers = [(b, b.detach().clone()) for b in net.buffers()]
        try:
            with torch.no_grad(), isolated(None):
                net(*inputs.args, **inputs.kwargs)
            return inputs
        except Exception as error:
            if problem is None:
                problem, last, running = error, inputs, list(inside)
        finally:
            for handle in handles:
                handle.remove()
            for buffer, values in buffers:
                buffer.data = values
    if problem is None or last is None:
        raise DiagnoseError(
            Diagnostic(
                "unknown-input",
                f"can't tell what `{type(net).__name__}` takes",
                hint=GIVE_INPUT,
            )
        )
    raise failed("forward", problem, running, last) from problem


def _watch(net: nn.Module) -> tuple[list[Any], list[tuple[str, nn.Module]]]:
    """Return hooks, and the list of the modules that run which they keep, outermost first."""
    running: list[tuple[str, nn.Module]] = []
    handles = []
    for name, module in net.named_modules():
        handles.append(
            module.register_forward_pre_hook(lambda m, a, name=name: running.append((name, m)), prepend=True)
        )
        handles.append(module.register_forward_hook(lambda m, a, o: running.pop() and None))
    return handles, running
