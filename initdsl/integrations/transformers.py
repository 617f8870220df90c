"""Rule files as the `_init_weights` of transformers' models (5.0 and later).

What a checkpoint holds is left alone: transformers flags those parameters `_is_hf_initialized`, and the rules draw only
what is missing. What no rule reaches starts as the model's own code says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from initdsl.filling.execute import execute
from initdsl.initializers import default_registry
from initdsl.language.rules.loader import Rules, coerce
from initdsl.network.describe import describe
from initdsl.network.description import Live, Network
from initdsl.planning.make import warn_of
from initdsl.planning.plan import Plan
from initdsl.planning.resolve import resolve

__all__ = ["RulesMixin", "with_rules"]


FLAG = "_is_hf_initialized"


Model = TypeVar("Model", bound=type)


class RulesMixin:
    """Starts a transformers model by a rule file; stands before the model's class.

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
            self._fill_by_rules(_plan(self, *describe(net)), given)

    @torch.no_grad()
    def initialize_weights(self) -> None:
        """Start every parameter that is not flagged as initialized: by the rules, else by the model's own code."""
        net = _module(self)
        if "_initdsl_busy" in net.__dict__ or getattr(net, FLAG, False):
            super().initialize_weights()  # type: ignore[misc]
            return
        started = {module for module in net.modules() if getattr(module, FLAG, False)}
        plan = _plan(self, *describe(net))
        with _busy(self), _flagged(_set_whole(plan)):
            super().initialize_weights()  # type: ignore[misc]
        self._fill_by_rules(plan, started)

    def _init_weights(self, module: nn.Module) -> None:
        """Start one module: a part of the model, or the new embedding or head of `resize_token_embeddings`."""
        if "_initdsl_busy" in self.__dict__:
            super()._init_weights(module)  # type: ignore[misc]
            return
        network, live = describe(_module(self))
        index = next((i for i, m in enumerate(live.modules) if m is module), None)
        if index is None:
            index = self._in_place_of(module, network, live)
        plan = None if index is None else _plan(self, network, live)
        own = set() if plan is None or index is None else _own(plan, index)
        with _busy(self), _flagged(_set_whole(plan, own) if plan is not None else []):
            super()._init_weights(module)  # type: ignore[misc]
        if plan is not None:
            plan.ties = []
            self._fill_by_rules(plan, set(), own)

    def _in_place_of(self, module: nn.Module, network: Network, live: Live) -> int | None:
        """The module of the described network that a new one with another number of tokens will replace, described anew."""
        for old in (self.get_input_embeddings(), self.get_output_embeddings()):  # type: ignore[attr-defined]
            kind = next((k for k in (nn.Embedding, nn.Linear) if isinstance(old, k) and isinstance(module, k)), None)
            width = {nn.Embedding: "embedding_dim", nn.Linear: "in_features"}.get(kind, "")  # type: ignore[arg-type]
            if kind is None or getattr(old, width) != getattr(module, width):
                continue
            index = next(i for i, m in enumerate(live.modules) if m is old)
            info = network.modules[index]
            tokens = {nn.Embedding: "num_embeddings", nn.Linear: "out_features"}[kind]
            info.values = {**info.attributes(), tokens: getattr(module, tokens)}
            live.modules[index] = module
            for local, tensor in info.parameters.items():
                new = module._parameters[local]
                assert new is not None
                live.tensors[tensor] = new
                network.tensors[tensor] = replace(
                    network.tensors[tensor], shape=tuple(new.shape), device=new.device.type
                )
            return index
        return None

    def _fill_by_rules(self, plan: Plan, started: set[nn.Module], only: set[int] | None = None) -> None:
        """Carry out what of a plan is for parameters without a flag, outside of modules that have started."""
        assert plan.live is not None
        network, live = plan.network, plan.live

        def loaded(tensor: int) -> bool:
            if network.tensors[tensor].kind == "parametrized":
                return all(map(loaded, network.originals(network.tensors[tensor])))
            values = live.tensors[tensor]
            owners = network.tensors[tensor].owners
            held = all(live.modules[owner] in started for owner, _ in owners)
            return held or (values is not None and not values.is_meta and getattr(values, FLAG, False))

        wanted: set[int] = set()
        for entry in plan.order:
            index = entry.tensor.index
            group = [index, *(i for i, canonical in plan.canonical.items() if canonical == index and i != index)]
            flagged = all(getattr(live.tensors[i], FLAG, False) for i in group)  # tied later, by transformers
            if not flagged and not any(map(loaded, group)) and (only is None or index in only):
                wanted.add(index)
        for number, tie in enumerate(plan.ties):
            there = [i for i in tie.others if loaded(i)]
            if there and not loaded(tie.source):  # the other way round: what was loaded stays
                others = (tie.source, *(i for i in tie.others if i != there[0]))
                plan.ties[number] = replace(tie, source=there[0], others=others)
        plan.order = [entry for entry in plan.order if entry.tensor.index in wanted]
        resets = [(module, tuple(t for t in tensors if t in wanted)) for module, tensors in plan.resets]
        plan.resets = [(module, tensors) for module, tensors in resets if tensors]
        execute(plan)


def with_rules(
    model: Model, rules: Rules, *, seed: int | None = None, vars: Mapping[str, Any] | None = None,
    initializers: Mapping[str, Callable[..., Any]] | None = None,
) -> Model:  # fmt: skip
    """A transformers model class like `model` that starts by a rule file; see `RulesMixin`.

    It has the same name, so `config.architectures` of what it saves is the library's own. To pickle its models, write
    the class out with `RulesMixin` instead.

    >>> from transformers import BertConfig, BertForSequenceClassification
    >>> Classifier = with_rules(BertForSequenceClassification, "net.classifier.* = 0", seed=0)
    >>> small = BertConfig(num_hidden_layers=1, hidden_size=8, num_attention_heads=2, intermediate_size=8, vocab_size=9)
    >>> bool((Classifier(small).classifier.weight == 0).all())
    True
    """
    if not (isinstance(model, type) and hasattr(model, "_init_weights")):
        raise TypeError(f"a transformers model class is wanted, not {model!r}")
    attributes: dict[str, Any] = {
        "init_rules": rules, "init_seed": seed, "init_vars": vars, "init_initializers": initializers,
        "__module__": model.__module__, "__qualname__": model.__qualname__, "__doc__": model.__doc__,
    }  # fmt: skip
    made: Any = type(model.__name__, (RulesMixin, model), attributes)
    return made  # type: ignore[no-any-return]


def _module(model: RulesMixin) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise TypeError("RulesMixin stands before a transformers model: `class Model(RulesMixin, GPT2LMHeadModel)`")
    return model


def _plan(model: RulesMixin, network: Network, live: Live) -> Plan:
    rules = getattr(model, "init_rules", None)
    if rules is None:
        raise TypeError(f"`{type(model).__name__}` has no `init_rules`: text, a path or a RuleSet")
    registry = default_registry()
    if model.init_initializers:
        registry = registry.extended(model.init_initializers)
    plan = resolve(
        coerce(rules),
        network,
        live=live,
        registry=registry,
        variables=model.init_vars,
        strict=False,
        seed=model.init_seed,
    )
    warn_of(plan, uncovered=False)
    return plan


def _own(plan: Plan, module: int) -> set[int]:
    info = plan.network.modules[module]
    return {plan.canonical.get(t, t) for t in (*info.parameters.values(), *info.buffers.values())}


def _set_whole(plan: Plan, only: set[int] | None = None) -> list[torch.Tensor]:
    """The tensors that rules set whole: the model's own code need not draw them first."""
    assert plan.live is not None
    found = (plan.live.tensors[e.tensor.index] for e in plan.order if e.base is not None and e.status != "kept")
    indices = {id(plan.live.tensors[i]) for i in only} if only is not None else None
    return [t for t in found if t is not None and (indices is None or id(t) in indices)]


@contextmanager
def _flagged(tensors: list[torch.Tensor]) -> Iterator[None]:
    """Tensors flagged as initialized in this block, those that are not so already."""
    mine = [t for t in tensors if not getattr(t, FLAG, False)]
    for tensor in mine:
        setattr(tensor, FLAG, True)
    try:
        yield
    finally:
        for tensor in mine:
            delattr(tensor, FLAG)


@contextmanager
def _busy(model: Any) -> Iterator[None]:
    """Leaves initialization to the model's own code in this block."""
    object.__setattr__(model, "_initdsl_busy", True)
    try:
        yield
    finally:
        model.__dict__.pop("_initdsl_busy", None)
