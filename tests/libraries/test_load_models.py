"""`load` and `copy` of whole models against `load_state_dict`: parameters and persistent buffers, tied or not, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import initdsl
from initdsl.checkpoints.writing import save
from tests.support.recipes import SMALL, image, text, vision

pytestmark = [pytest.mark.models, pytest.mark.usefixtures("one_thread")]

PATCHES = {"image_size": 16, "patch_size": 4, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}  # fmt: skip
LIBRARIES: dict[str, dict[str, Callable[[], nn.Module]]] = {
    "torchvision": {
        name: vision(name)
        for name in [
            "resnet18", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1", "mnasnet0_5",
            "densenet121", "efficientnet_b0", "regnet_y_400mf", "googlenet",
        ]
    },
    "timm": {
        name: image(name)
        for name in [
            "resnet10t", "vit_tiny_patch16_224", "convnext_atto", "mobilenetv3_small_050", "efficientnet_lite0",
            "swin_tiny_patch4_window7_224", "mixer_s32_224", "lcnet_050", "ghostnet_050", "repvit_m0_9",
        ]
    },
    "transformers": {
        **{name: text(name) for name in ["BertForMaskedLM", "GPT2LMHeadModel", "LlamaForCausalLM", "RobertaModel", "ModernBertForMaskedLM"]},
        "T5ForConditionalGeneration": text("T5ForConditionalGeneration", d_model=32, d_ff=48, num_layers=2),
        "MixtralForCausalLM": text("MixtralForCausalLM", num_local_experts=2),
        "MambaForCausalLM": text("MambaForCausalLM", hidden_size=32, state_size=8),
        "ViTForImageClassification": text("ViTForImageClassification", **PATCHES),
        "WhisperForConditionalGeneration": text(
            "WhisperForConditionalGeneration", d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
            decoder_attention_heads=2, decoder_start_token_id=1, bos_token_id=1, eos_token_id=2, num_mel_bins=16,
        ),
    },
}  # fmt: skip
USUAL = {"mobilenet_v3_small", "lcnet_050", "GPT2LMHeadModel"}
MODELS = [
    pytest.param(library, name, id=f"{library}-{name}", marks=[] if name in USUAL else [pytest.mark.slow])
    for library, models in LIBRARIES.items()
    for name in models
]


def shaken(net: nn.Module) -> nn.Module:
    """A model with other numbers in every tensor of its state, statistics and counters too."""
    torch.manual_seed(len(list(net.parameters())))
    seen: set[int] = set()
    with torch.no_grad():
        for tensor in net.state_dict(keep_vars=True).values():
            if id(tensor) in seen:
                continue
            seen.add(id(tensor))
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape))
            else:
                tensor.copy_(torch.randint(0, 100, tensor.shape))
    return net


def alike(one: nn.Module, other: nn.Module) -> None:
    left, right = one.state_dict(), other.state_dict()
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


@pytest.mark.parametrize(("library", "name"), MODELS)
def test_a_whole_model_is_loaded_and_copied_as_its_state(
    library: str, name: str, tmp_path: Path, torchvision_shim: None
) -> None:
    pytest.importorskip(library, exc_type=ImportError)
    make = LIBRARIES[library][name]
    source, by_torch, by_rules = shaken(make()), make(), make()
    by_torch.load_state_dict(source.state_dict())
    alike(by_torch, source)
    save(source, tmp_path / "all.safetensors")
    rules = 'net = load("all.safetensors")'
    initdsl.apply(by_rules, rules, root=tmp_path, strict=True)
    alike(by_rules, by_torch)
    assert initdsl.verify(by_rules, rules, root=tmp_path)
    pair = nn.ModuleDict({"a": source, "b": make()})
    initdsl.apply(pair, "keep net.a; copy net.a net.b", strict=True)
    alike(pair["b"], by_torch)
    # what differs in one buffer alone, or in one parameter, is not what was loaded
    last = [t for t in by_rules.state_dict(keep_vars=True).values() if t.is_floating_point()][-1]
    with torch.no_grad():
        last.view(-1)[-1] += 1
    assert not initdsl.verify(by_rules, rules, root=tmp_path)


def test_thirty_models_are_compared() -> None:
    assert sum(map(len, LIBRARIES.values())) == 30
    assert SMALL["vocab_size"] < 1000
