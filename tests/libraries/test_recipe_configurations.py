"""Recipes take what a configuration says, where it says it: models of transformers with unusual numbers, started by both."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import initdsl
from tests.support.recipes import SMALL

pytestmark = [pytest.mark.models, pytest.mark.usefixtures("one_thread")]

IMAGE = {"image_size": 16, "patch_size": 4, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}  # fmt: skip
SSM = {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "vocab_size": 99}

UNUSUAL: list[tuple[str, str, dict[str, Any]]] = [
    ("bert", "BertForMaskedLM", {"initializer_range": 0.3}),
    ("bert", "RobertaModel", {"initializer_range": 0.3}),
    ("gpt2", "GPT2LMHeadModel", {"initializer_range": 0.3}),
    ("llama", "LlamaForCausalLM", {"initializer_range": 0.3}),
    ("llama", "MixtralForCausalLM", {"initializer_range": 0.3, "num_local_experts": 2}),
    ("transformers", "ViTForImageClassification", {**IMAGE, "initializer_range": 0.3}),
    ("transformers", "Dinov2Model", {**IMAGE, "initializer_range": 0.3, "layerscale_value": 0.7}),
    ("transformers", "BeitModel", {**IMAGE, "initializer_range": 0.3, "layer_scale_init_value": 0.7}),
    ("modernbert", "ModernBertForMaskedLM", {"initializer_range": 0.3, "initializer_cutoff_factor": 1.0}),
    ("t5", "T5ForConditionalGeneration", {"initializer_factor": 0.3, "d_model": 32, "d_ff": 48, "num_layers": 2}),
    ("mamba", "MambaForCausalLM", {**SSM, "initializer_range": 0.3, "time_step_min": 0.01, "rescale_prenorm_residual": True}),
]  # fmt: skip


@pytest.mark.parametrize(("recipe", "cls", "config"), UNUSUAL, ids=[f"{r}-{c}" for r, c, _ in UNUSUAL])
def test_a_recipe_takes_what_the_configuration_says(
    recipe: str, cls: str, config: dict[str, Any], torchvision_shim: None
) -> None:
    transformers = pytest.importorskip("transformers", exc_type=ImportError)
    model = getattr(transformers, cls)

    def build() -> nn.Module:
        return model(model.config_class(**{**SMALL, **config}))

    torch.manual_seed(0)
    theirs, ours = build(), build()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.fill_(77.0)
    initdsl.apply(ours, f'use "initdsl:{recipe}"', seed=0, strict=True)
    wanted = dict(theirs.named_parameters())
    compared = 0
    for name, parameter in ours.named_parameters():
        a, b = parameter.detach().double(), wanted[name].detach().double()
        compared += b.numel() > 500
        if b.numel() > 500 and float(b.std()):
            assert float(a.std() / b.std()) == pytest.approx(1, abs=0.15), name
        elif not float((b - b.flatten()[0]).abs().max()):
            assert torch.allclose(a, b), name
    assert compared


def test_without_a_configuration_it_is_the_published_number(torchvision_shim: None) -> None:
    transformers = pytest.importorskip("transformers", exc_type=ImportError)
    net = transformers.GPT2Model(transformers.GPT2Config(**{**SMALL, "initializer_range": 0.3}))
    del net.config
    plan = initdsl.plan(net, 'use "initdsl:gpt2"')
    assert plan["wte.weight"].to_dict()["values"][0]["std"] == 0.02
    plan = initdsl.plan(net, 'use "initdsl:gpt2"', vars={"std": 0.05})
    assert plan["wte.weight"].to_dict()["values"][0]["std"] == 0.05
