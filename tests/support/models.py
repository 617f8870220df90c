"""Models for the tests, small, and what it takes to say that two start alike.

The libraries' own classes in small configurations; nothing is downloaded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from scipy import stats
from torch import nn

# Two samples of one distribution differ by more than 5 standard errors once in 1.7 million comparisons. The tests make
# some thousands, under fixed seeds: one that fails has found something.
STANDARD_ERRORS = 5.0
LEAST_P = 1e-5  # of a Kolmogorov-Smirnov test; some hundreds are made
MOST = 30_000  # elements of one parameter, and of one group, that a test looks at


# ---- networks


def resnet(depth: int, **arguments: Any) -> nn.Module:
    import torchvision

    return getattr(torchvision.models, f"resnet{depth}")(**arguments)


def vit(name: str = "vit_tiny_patch16_224", **arguments: Any) -> nn.Module:
    import timm

    return timm.create_model(name, pretrained=False, **{"num_classes": 100, **arguments})


def gpt2(**changes: Any) -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    settings = {"n_layer": 5, "n_embd": 96, "n_head": 4, "vocab_size": 300, "n_positions": 40}
    return GPT2LMHeadModel(GPT2Config(**{**settings, **changes}))


def bert(**changes: Any) -> nn.Module:
    from transformers import BertConfig, BertForMaskedLM

    settings = {
        "num_hidden_layers": 3, "hidden_size": 96, "num_attention_heads": 4, "intermediate_size": 160, "vocab_size": 300,
        "max_position_embeddings": 40,
    }  # fmt: skip
    return BertForMaskedLM(BertConfig(**{**settings, **changes}))


def albert(**changes: Any) -> nn.Module:
    from transformers import AlbertConfig, AlbertForMaskedLM

    settings = {
        "num_hidden_layers": 6, "hidden_size": 96, "num_attention_heads": 4, "intermediate_size": 160,
        "embedding_size": 48, "vocab_size": 300, "max_position_embeddings": 40,
    }  # fmt: skip
    return AlbertForMaskedLM(AlbertConfig(**{**settings, **changes}))


def llama(**changes: Any) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    settings = {
        "num_hidden_layers": 3, "hidden_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 160, "vocab_size": 300, "max_position_embeddings": 40,
    }  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**{**settings, **changes}))


def transformer(width: int = 48) -> nn.Transformer:
    return nn.Transformer(width, 4, 3, 2, 100, batch_first=True)


class Layer(nn.Module):
    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(self.up(self.norm(x)).relu())


class Encoder(nn.Module):
    """Layers in a row: `shared` ones are one module under many names."""

    def __init__(self, depth: int = 5, shared: bool = False) -> None:
        super().__init__()
        first = Layer()
        self.layers = nn.ModuleList([first, *(first if shared else Layer() for _ in range(depth - 1))])
        self.head = nn.Linear(24, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


# ---- comparing


def ties(net: nn.Module) -> set[frozenset[str]]:
    """The names of every shared parameter."""
    names: dict[int, set[str]] = {}
    for name, parameter in net.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), set()).add(name)
    return {frozenset(group) for group in names.values() if len(group) > 1}


def identical(ours: nn.Module, theirs: nn.Module, chosen: Callable[[str], bool] = lambda name: True) -> int:
    """Compare bit for bit; returns how many parameters were."""
    left, right = dict(ours.named_parameters()), dict(theirs.named_parameters())
    assert list(left) == list(right)
    compared = [name for name in left if chosen(name)]
    for name in compared:
        assert torch.equal(left[name], right[name]), name
    return len(compared)


def constant_rows(values: torch.Tensor) -> torch.Tensor:
    """Which rows are all zero: a padding row, say."""
    return (values == 0).flatten(1).all(1) if values.ndim > 1 else torch.zeros(len(values), dtype=torch.bool)


def alike(ours: nn.Module, theirs: nn.Module, again: nn.Module | None = None, rounding: float = 0.0) -> dict[str, int]:
    """Check that two models start alike: ties and constants the same, draws from the same distributions.

    Every drawn parameter is compared by mean and standard deviation, and pooled with those of its name in other layers
    by a Kolmogorov-Smirnov test. What `again`, another of theirs, has the same of is no draw but a table of constants.
    The library may work out such a table in float32, and be off by `rounding`. Returns how many parameters were
    constant, how many drawn.
    """
    fixed = dict(again.named_parameters()) if again is not None else {}
    left, right = dict(ours.named_parameters()), dict(theirs.named_parameters())
    assert list(left) == list(right)
    assert ties(ours) == ties(theirs)
    for (name, mine), (_, its) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
        assert torch.equal(mine, its), name
    counts = {"constant": 0, "drawn": 0}
    groups: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
    for name in left:
        mine, its = left[name].detach(), right[name].detach()
        assert mine.shape == its.shape
        assert mine.dtype == its.dtype
        if bool((its == its.flatten()[0]).all()):
            counts["constant"] += 1
            assert torch.equal(mine, its), name
            continue
        if name in fixed and torch.equal(fixed[name], its):
            counts["constant"] += 1
            torch.testing.assert_close(mine, its, rtol=1e-6, atol=rounding)
            continue
        counts["drawn"] += 1
        empty = constant_rows(its)
        assert torch.equal(constant_rows(mine), empty), name
        assert not torch.equal(mine, its), f"{name} is a copy"
        mine, its = thinned(mine[~empty]), thinned(its[~empty])
        moments(name, mine, its)
        groups.setdefault(re.sub(r"\d+", "#", name), []).append((mine, its))
    for name, members in groups.items():
        same_law(name, members)
    return counts


def thinned(values: torch.Tensor) -> torch.Tensor:
    """Elements from all over a tensor, at most `MOST`; the step is odd so that it meets every column."""
    step = -(-values.numel() // MOST) | 1
    return values.flatten()[::step].double()


def moments(name: str, mine: torch.Tensor, its: torch.Tensor) -> None:
    """Means and standard deviations of two samples lie within the standard errors of their difference.

    The variance of a sample's standard deviation is (kurtosis - 1) / 4n of the variance, to first order.
    """
    n = mine.numel()
    if n < 16:  # too few for standard errors to say anything: the pooled test looks at them
        return
    spread = math.sqrt((mine.var() + its.var()).item() / n)
    assert abs(mine.mean() - its.mean()) <= STANDARD_ERRORS * spread, f"mean of {name}: {mine.mean()} for {its.mean()}"
    left, right = mine.std().item(), its.std().item()
    kurtosis = max(1.8, stats.kurtosis(its.numpy(), fisher=False))
    error = right * math.sqrt((kurtosis - 1) / (4 * n)) * math.sqrt(2)
    assert abs(left - right) <= STANDARD_ERRORS * error, f"standard deviation of {name}: {left} for {right}"


def same_law(name: str, members: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """A Kolmogorov-Smirnov test over all parameters of one group, and the ends of the range of uniform ones.

    Tensors that are copies of each other (torch's layers start as such) are one sample.
    """
    different = {its[:64].numpy().tobytes(): its for _, its in members}
    mine = torch.cat([sample for sample, _ in members])
    its = torch.cat(list(different.values()))
    generator = torch.Generator().manual_seed(0)
    # without replacement: an element that is looked at twice counts as two, and then p is too small
    mine, its = (sample[torch.randperm(len(sample), generator=generator)[:MOST]] for sample in (mine, its))
    result = stats.ks_2samp(mine.numpy(), its.numpy(), method="asymp")
    assert result.pvalue > LEAST_P, f"{name}: p {result.pvalue:.2g}"


def bounded(plan: Any, *nets: nn.Module) -> int:
    """Every value lies within what the plan says its distribution is; returns how many uniform parameters there are.

    A uniform sample of n comes within 20/n of each end but for one in 20 000.
    """
    count = 0
    for entry in plan.entries:
        what = entry.distribution
        if what is None:
            continue
        low, high = what.bounds
        for net in nets:
            owner, _, local = entry.name.rpartition(".")
            values = getattr(net.get_submodule(owner), local).detach()  # a computed weight is no parameter
            slack = 1e-6 * max(abs(low), abs(high)) if math.isfinite(low) else 0.0
            assert values.min() >= low - slack, entry.name
            assert values.max() <= high + slack, entry.name
            if what.kind == "uniform" and values.numel() >= 1000:
                count += 1
                near = 20 / values.numel() * (high - low)
                assert values.min() <= low + near, entry.name
                assert values.max() >= high - near, entry.name
    return count


@contextmanager
def states_at_calls(where: Any, name: str) -> Iterator[list[torch.Tensor]]:
    """The states of torch's generator when a function is called within, call by call: what a library's own
    initialisation begins with, after the draws of construction.
    """
    states: list[torch.Tensor] = []
    original = getattr(where, name)

    def spied(*arguments: Any, **keywords: Any) -> Any:
        states.append(torch.get_rng_state())
        return original(*arguments, **keywords)

    with mock.patch.object(where, name, spied):
        yield states
