"""Models that come out of `to_empty`: what it took apart or left without values is said, where it can be known."""

from __future__ import annotations

import copy
import gc
import pickle
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import initdsl

RULES = "Embedding.weight, Linear.weight ~ normal(0, 0.02)"


class Rope(nn.Module):
    def __init__(self, *, also_as_attribute: bool = False) -> None:
        super().__init__()
        self.register_buffer("inv_freq", 1 / 10000 ** (torch.arange(0, 16, 2) / 16), persistent=False)
        if also_as_attribute:
            self.original = self.inv_freq


class Net(nn.Module):
    def __init__(self, *, also_as_attribute: bool = False) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 16)
        self.rope = Rope(also_as_attribute=also_as_attribute)
        self.head = nn.Linear(16, 20, bias=False)
        self.head.weight = self.embed.weight


@pytest.fixture
def nan_in_new_memory() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def on_meta(**options: Any) -> Net:
    with torch.device("meta"):
        return Net(**options)


def emptied(net: nn.Module, *, refused: bool = True) -> Any:
    """Give a model on the meta device memory, after `apply` refused it."""
    if refused:
        with pytest.raises(initdsl.ResolveError, match="meta device"):
            initdsl.apply(net, RULES)
    net.to_empty(device="cpu")
    for parameter in net.parameters():  # memory that was in use before: nothing shows that it was never set
        parameter.data = torch.full_like(parameter, 0.5)
    return net


def said(net: nn.Module, rules: str = RULES) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = initdsl.apply(net, rules)
    found = [str(each.message) for each in caught if each.category is initdsl.EmptiedModelWarning]
    assert len(found) == sum(remark.name == "emptied-model" for remark in report.plan.remarks)
    return found


def test_ties_and_buffers_of_a_model_that_was_refused_on_the_meta_device() -> None:
    tie, buffer = said(emptied(on_meta()))
    assert "`net.embed.weight`, `net.head.weight` are tensors of their own, and were one on the meta device" in tie
    assert "no rule sets the buffer `net.rope.inv_freq`" in buffer


def test_a_plan_on_the_meta_device_is_remembered_too() -> None:
    net = on_meta()
    initdsl.plan(net, RULES)
    assert len(said(emptied(net, refused=False))) == 2


def test_what_rules_make_whole_is_not_spoken_of() -> None:
    assert said(emptied(on_meta()), RULES + "\ntie net.embed.weight net.head.weight\nkeep net.rope.inv_freq") == []
    assert said(emptied(on_meta()), RULES + "\ntie net.embed.weight net.head.weight\nnet.rope.inv_freq = 1") == []


def test_what_was_computed_in_place_or_tied_since_is_not_spoken_of() -> None:
    net = emptied(on_meta())
    net.rope.inv_freq.copy_(torch.ones(8))
    net.head.weight = net.embed.weight
    assert said(net) == []


def test_a_tensor_that_stayed_on_the_meta_device_is_a_sign() -> None:
    net = emptied(on_meta(also_as_attribute=True), refused=False)
    (buffer,) = said(net)
    assert "`net.rope.inv_freq`" in buffer


@pytest.mark.usefixtures("nan_in_new_memory")
def test_weights_that_nothing_ever_wrote_to_are_a_sign_and_stay_one_when_they_are_filled() -> None:
    net = on_meta()
    net.to_empty(device="cpu")
    for _ in range(2):
        (buffer,) = said(net)
        assert "`net.rope.inv_freq`" in buffer


def test_models_with_values_are_not_spoken_of() -> None:
    net = Net()
    assert said(net) == said(copy.deepcopy(net)) == said(pickle.loads(pickle.dumps(net))) == []
    net.load_state_dict(Net().state_dict(), assign=True)
    assert said(net) == []


def test_strict_refuses_and_changes_nothing() -> None:
    net = emptied(on_meta())
    before = net.head.weight.clone()
    with pytest.raises(initdsl.ResolveError, match=r"no rule sets the buffer `net\.rope\.inv_freq`") as caught:
        initdsl.apply(net, RULES, strict=True)
    assert [(d.name, d.severity) for d in caught.value.diagnostics] == [("emptied-model", "error")] * 2
    assert torch.equal(net.head.weight, before)


def test_a_plan_that_is_carried_out_says_it() -> None:
    with torch.device("meta"):
        net = nn.Sequential(nn.Embedding(20, 16), Rope())
    plan = initdsl.plan(net, "Embedding.weight ~ normal(0, 1)")
    net.to_empty(device="cpu")
    with pytest.warns(initdsl.EmptiedModelWarning, match=r"`net\[1\]\.inv_freq`"):
        plan.apply(net=net)


def test_models_are_forgotten_when_they_are_gone() -> None:
    from initdsl.filling import emptied as module

    net = on_meta()
    keys = {id(each) for each in (net.embed, net.rope)}
    initdsl.plan(net, RULES)
    assert keys <= module._seen.keys()
    del net
    gc.collect()
    assert keys.isdisjoint(module._seen)


@pytest.mark.models
@pytest.mark.usefixtures("torchvision_shim")
def test_what_a_model_of_transformers_says_is_tied() -> None:
    transformers = pytest.importorskip("transformers", minversion="5")
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    net = transformers.LlamaForCausalLM(config)
    assert said(net) == []
    net.lm_head.weight = nn.Parameter(net.lm_head.weight.detach().clone())
    (tie,) = said(net)
    assert "`LlamaForCausalLM` says that they are tied" in tie
    assert said(net, RULES + "\ntie net.model.embed_tokens.weight net.lm_head.weight") == []
