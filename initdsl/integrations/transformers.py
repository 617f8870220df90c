"""Rule files as the `_init_weights` of transformers' models (5.0 and later).

What a checkpoint holds is left alone: transformers flags those parameters `_is_hf_initialized`, and the rules draw only
what is missing. What no rule reaches starts as the model's own code says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from initdsl.filling.execute import execute
from initdsl.initializers import default_registry
from initdsl.language.rules.loader import Rules, coerce
from initdsl.network.attributes import Attributes
from initdsl.network.describe import describe
from initdsl.network.description import Live, Network
from initdsl.planning.make import warn_of
from initdsl.planning.plan import Plan, PlannedTie
from initdsl.planning.resolve import resolve

__all__ = ["RulesMixin", "with_rules"]


# transformers sets it on what a checkpoint holds, and on modules that have started
FLAG = "_is_hf_initialized"


Model = TypeVar("Model", bound=type)


class RulesMixin:
    """Start a transformers model by a rule file; stands before the model's class.

    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> class Model(RulesMixin, GPT2LMHeadModel):
    ...     init_rules = "Conv1D.weight, Embedding.weight ~ normal(0, 0.01)"
    >>> net = Model(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=5, n_positions=4))
    >>> bool(net.transformer.wte.weight.abs().max() < 0.1)
    True

    `init_rules` are text, a path or a RuleSet; `init_seed`, `init_vars` and `init_initializers` what `initdsl.apply`
    takes as `seed`, `vars` and `initializers`. A parameter of a checkpoint that is loaded, and of a module that is
    handed to the constructor, keeps its values; one that no rule reaches starts by the model's own `_init_weights`.
    Raises what `initdsl.apply` raises, from the constructor or `from_pretrained`.
    """

    init_rules: ClassVar[Rules]
    init_seed: ClassVar[int | None] = None
    init_vars: ClassVar[Mapping[str, Any] | None] = None
    init_initializers: ClassVar[Mapping[str, Callable[..., Any]] | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # its own code first, for what no rule reaches: sub-models start themselves before this one is complete
        with _busy(self):
            super().__init__(*args, **kwargs)
        net = _module(self)
        if not any(parameter.is_meta for parameter in net.parameters()):
            given = {m for value in (*args, *kwargs.values()) if isinstance(value, nn.Module) for m in value.modules()}
            network, live = describe(net)
            execute(_what_is_missing(_plan(self, network), live, given), live)

    @torch.no_grad()
    def initialize_weights(self) -> None:
        """Start every parameter that is not flagged as initialized: by the rules, else by the model's own code."""
        net = _module(self)
        if "_initdsl_busy" in net.__dict__ or getattr(net, FLAG, False):
            super().initialize_weights()  # type: ignore[misc]
            return
        started = {module for module in net.modules() if getattr(module, FLAG, False)}
        network, live = describe(net)
        plan = _plan(self, network)
        with _busy(self), _flagged(_set_whole(plan, live)):
            super().initialize_weights()  # type: ignore[misc]
        execute(_what_is_missing(plan, live, started), live)

    def _init_weights(self, module: nn.Module) -> None:
        """Start one module: a part of the model, or the new embedding or head of `resize_token_embeddings`."""
        if "_initdsl_busy" in self.__dict__:
            super()._init_weights(module)  # type: ignore[misc]
            return
        network, live = describe(_module(self))
        index = next((i for i, part in enumerate(live.modules) if part is module), None)
        if index is None:
            index = _index_of_resized(self, module, live)
            if index is not None:
                network, live = _with_resized(network, live, index, module)
        if index is None:  # nothing the rules know of
            with _busy(self):
                super()._init_weights(module)  # type: ignore[misc]
            return
        plan = _plan(self, network)
        own = _own(plan, index)
        with _busy(self), _flagged(_set_whole(plan, live, own)):
            super()._init_weights(module)  # type: ignore[misc]
        execute(_what_is_missing(replace(plan, ties=()), live, set(), own), live)


def with_rules(
    model: Model,
    rules: Rules,
    *,
    seed: int | None = None,
    vars: Mapping[str, Any] | None = None,
    initializers: Mapping[str, Callable[..., Any]] | None = None,
) -> Model:
    """Return a transformers model class like `model` that starts by a rule file; see `RulesMixin`.

    It has the same name, so `config.architectures` of what it saves is the library's own. To pickle its models, write
    the class out with `RulesMixin` instead.

    >>> from transformers import BertConfig, BertForSequenceClassification
    >>> Classifier = with_rules(BertForSequenceClassification, "net.classifier.* = 0", seed=0)
    >>> small = BertConfig(num_hidden_layers=1, hidden_size=8, num_attention_heads=2, intermediate_size=8, vocab_size=9)
    >>> bool((Classifier(small).classifier.weight == 0).all())
    True
    """
    if not (isinstance(model, type) and callable(getattr(model, "_init_weights", None))):
        raise TypeError(f"a transformers model class is wanted, not {model!r}")
    attributes: dict[str, Any] = {
        "init_rules": rules,
        "init_seed": seed,
        "init_vars": vars,
        "init_initializers": initializers,
        "__module__": model.__module__,
        "__qualname__": model.__qualname__,
        "__doc__": model.__doc__,
    }
    ruled: Any = type(model.__name__, (RulesMixin, model), attributes)
    return ruled  # type: ignore[no-any-return]


def _module(model: RulesMixin) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise TypeError("RulesMixin stands before a transformers model: `class Model(RulesMixin, GPT2LMHeadModel)`")
    return model


# ---- plans, and what of them is carried out


def _plan(model: RulesMixin, network: Network) -> Plan:
    rules = getattr(model, "init_rules", None)
    if rules is None:
        raise TypeError(f"`{type(model).__name__}` has no `init_rules`: text, a path or a RuleSet")
    registry = default_registry()
    if model.init_initializers:
        registry = registry.extended(model.init_initializers)
    plan = resolve(
        coerce(rules),
        network,
        registry=registry,
        variables=model.init_vars,
        strict=False,
        seed=model.init_seed,
    )
    warn_of(plan, uncovered=False, loaded=False)  # what was loaded is left alone
    return plan


def _own(plan: Plan, module: int) -> set[int]:
    """Return the tensors of a module, each by the index of the one it is tied to."""
    info = plan.network.modules[module]
    return {plan.tied_to.get(t, t) for t in (*info.parameters.values(), *info.buffers.values())}


def _set_whole(plan: Plan, live: Live, only: set[int] | None = None) -> list[torch.Tensor]:
    """Return the tensors that rules set whole: the model's own code need not draw them first."""
    tensors = (live.tensors[e.tensor.index] for e in plan.order if e.base is not None and e.status != "kept")
    chosen = {id(live.tensors[index]) for index in only} if only is not None else None
    return [tensor for tensor in tensors if tensor is not None and (chosen is None or id(tensor) in chosen)]


def _what_is_missing(plan: Plan, live: Live, started: set[nn.Module], only: set[int] | None = None) -> Plan:
    """Return what of a plan is for tensors without a flag, outside of modules that have started, and among `only`."""
    missing: set[int] = set()
    for entry in plan.order:
        index = entry.tensor.index
        tied = [index, *(i for i, first in plan.tied_to.items() if first == index and i != index)]
        is_flagged = all(getattr(live.tensors[i], FLAG, False) for i in tied)  # tied later, by transformers
        is_loaded = any(_is_loaded(plan.network, live, started, i) for i in tied)
        if not is_flagged and not is_loaded and (only is None or index in only):
            missing.add(index)
    resets = [(module, tuple(t for t in tensors if t in missing)) for module, tensors in plan.resets]
    return replace(
        plan,
        ties=tuple(_from_the_loaded(tie, plan.network, live, started) for tie in plan.ties),
        order=tuple(entry for entry in plan.order if entry.tensor.index in missing),
        resets=tuple((module, tensors) for module, tensors in resets if tensors),
    )


def _is_loaded(network: Network, live: Live, started: set[nn.Module], tensor: int) -> bool:
    """Tell whether a tensor has values that stay: of a checkpoint, or of modules that have started."""
    info = network.tensors[tensor]
    if info.kind == "parametrized":
        return all(_is_loaded(network, live, started, original) for original in network.originals(info))
    if all(live.modules[owner] in started for owner, _ in info.owners):
        return True
    values = live.tensors[tensor]
    return values is not None and not values.is_meta and bool(getattr(values, FLAG, False))


def _from_the_loaded(tie: PlannedTie, network: Network, live: Live, started: set[nn.Module]) -> PlannedTie:
    """Return the tie the other way round where its source was not loaded and another of its tensors was."""
    loaded = [i for i in tie.others if _is_loaded(network, live, started, i)]
    if not loaded or _is_loaded(network, live, started, tie.source):
        return tie
    others = (tie.source, *(i for i in tie.others if i != loaded[0]))
    return replace(tie, source=loaded[0], others=others)


# ---- another number of tokens


@dataclass(frozen=True, slots=True)
class _Resizable:
    """A class of which `resize_token_embeddings` makes a new module: its attributes for the tokens and for the width."""

    cls: type[nn.Module]
    tokens: str
    width: str


RESIZABLE = (
    _Resizable(nn.Embedding, "num_embeddings", "embedding_dim"),
    _Resizable(nn.Linear, "out_features", "in_features"),
)


def _resizable(module: object) -> _Resizable | None:
    return next((resizable for resizable in RESIZABLE if isinstance(module, resizable.cls)), None)


def _index_of_resized(model: Any, module: nn.Module, live: Live) -> int | None:
    """Return which module of the model a new one with another number of tokens will replace."""
    resizable = _resizable(module)
    for old in (model.get_input_embeddings(), model.get_output_embeddings()):
        if resizable is None or not isinstance(old, resizable.cls):
            continue
        if getattr(old, resizable.width) == getattr(module, resizable.width):
            return next(i for i, part in enumerate(live.modules) if part is old)
    return None


def _with_resized(network: Network, live: Live, index: int, module: nn.Module) -> tuple[Network, Live]:
    """Return the description with a new module in place of the one at `index`."""
    resizable = _resizable(module)
    assert resizable is not None
    info = network.modules[index]
    values = Attributes({**info.attributes(), resizable.tokens: getattr(module, resizable.tokens)})
    new = {tensor: module._parameters[local] for local, tensor in info.parameters.items()}
    modules = tuple(info._replace(values=values) if m.index == index else m for m in network.modules)
    tensors = tuple(
        t if (tensor := new.get(t.index)) is None else t._replace(shape=tuple(tensor.shape), device=tensor.device.type)
        for t in network.tensors
    )
    return (
        Network(modules, tensors),
        Live(
            [module if i == index else part for i, part in enumerate(live.modules)],
            [new.get(i, tensor) for i, tensor in enumerate(live.tensors)],
        ),
    )


# ---- what transformers' own code is told


@contextmanager
def _flagged(tensors: list[torch.Tensor]) -> Iterator[None]:
    """Flag tensors as initialized in this block, those that are not so already."""
    unflagged = [tensor for tensor in tensors if not getattr(tensor, FLAG, False)]
    for tensor in unflagged:
        setattr(tensor, FLAG, True)
    try:
        yield
    finally:
        for tensor in unflagged:
            delattr(tensor, FLAG)


@contextmanager
def _busy(model: Any) -> Iterator[None]:
    """Leave initialization to the model's own code in this block."""
    object.__setattr__(model, "_initdsl_busy", True)
    try:
        yield
    finally:
        model.__dict__.pop("_initdsl_busy", None)
