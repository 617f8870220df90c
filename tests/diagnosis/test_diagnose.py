"""`diagnose`: what it leaves as it was, what goes in, and real models."""

from __future__ import annotations

import importlib.util
import json
import random
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import initdsl
from initdsl.diagnosis import Limits
from tests.support.nets import deep, same, snapshot

pytestmark = pytest.mark.filterwarnings("ignore::initdsl.UncoveredParameterWarning")


# ---- what it leaves


class Awkward(nn.Module):
    """A model with everything that a forward pass moves."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)
        self.b = nn.Linear(4, 4, bias=False)
        self.b.weight = nn.Parameter(self.b.weight.detach())
        self.c = nn.Linear(4, 4, bias=False)
        self.seen: list[int] = []
        self.register_forward_hook(lambda m, a, o: None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(self.drop(self.b(self.norm(self.a(x)))))


@pytest.mark.parametrize("rules", ["*.* ~ normal(0, 1)", "tie net.b net.c; Linear+.weight ~ normal(0, 1)", None])
def test_everything_is_as_it_was(rules: str | None) -> None:
    net = Awkward().eval()
    net.norm.train()
    net.b.weight.requires_grad_(False)
    before = snapshot(net)
    hooks = [(dict(m._forward_hooks), dict(m._forward_pre_hooks)) for m in net.modules()]
    numpy_state = np.random.get_state()[1].copy()
    initdsl.diagnose(net, rules, torch.randn(8, 4))
    initdsl.diagnose(net, rules, seed=3)
    with pytest.raises(initdsl.DiagnoseError):
        initdsl.diagnose(net, rules, torch.randn(8, 5))
    after = snapshot(net)
    del before["torch"]
    del after["torch"]
    same(before, after)
    assert [(dict(m._forward_hooks), dict(m._forward_pre_hooks)) for m in net.modules()] == hooks
    assert (np.random.get_state()[1] == numpy_state).all()
    assert all(p.grad is None for p in net.parameters())


def test_random_states_are_as_they_were() -> None:
    net = deep(2, 4, nn.ReLU)
    state, python = torch.random.get_rng_state(), random.getstate()
    initdsl.diagnose(net, "Linear.* ~ normal(0, 1)")
    initdsl.diagnose(net, "Linear.* ~ normal(0, 1)", seed=0)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert random.getstate() == python


def test_the_same_state_gives_the_same() -> None:
    net = nn.Sequential(nn.Linear(4, 50), nn.Dropout(), nn.Linear(50, 3))
    first, again = (json.dumps(initdsl.diagnose(net, "Linear.* ~ normal(0, 1)").to_dict()) for _ in range(2))
    assert first == again
    one, two = (
        initdsl.diagnose(net, f"Linear.* ~ {draw}", input_shape=(5, 4)) for draw in ("normal(0, 1)", "uniform(0, 1)")
    )
    assert one["1"].shape == two["1"].shape == (5, 50)


@pytest.mark.parametrize("seed", [None, 5])
def test_other_rules_get_the_same_input_and_it_is_not_what_they_draw(seed: int | None) -> None:
    net = nn.Sequential(nn.Identity(), nn.Linear(64, 64))
    made = [
        initdsl.diagnose(net, f"*.* ~ {draw}", seed=seed) for draw in ("normal(0, 1)", "normal(0, 1) + normal(0, 1)")
    ]
    assert made[0]["0"].mean == made[1]["0"].mean
    # of the input's own numbers the output's diagonal would be sums of 64 squares
    assert made[0]["1"].rms == pytest.approx(8, rel=0.1)


def test_the_old_weight_norm_is_copied_too() -> None:
    net = nn.Sequential(*[nn.utils.weight_norm(nn.Linear(8, 8)) for _ in range(3)])
    assert initdsl.diagnose(net, "Linear.weight ~ normal(0, 1); Linear.bias = 0", seed=0).trunk is not None


# ---- what goes in


def test_samples() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Linear(3, 3)

        def forward(self, left: torch.Tensor, right: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"out": self.w(left) + right}

    a, b = torch.randn(5, 3), torch.randn(5, 3)
    shown = "float32 [5, 3], float32 [5, 3]"
    assert initdsl.diagnose(Two(), None, (a, b)).inputs == shown
    assert initdsl.diagnose(Two(), None, {"right": a, "left": b}).inputs == "right=float32 [5, 3], left=float32 [5, 3]"
    assert initdsl.diagnose(Two()).inputs == "random float32 [64, 3], float32 [64, 3]"
    with pytest.raises(initdsl.DiagnoseError, match="the model takes no `wrong`"):
        initdsl.diagnose(Two(), None, {"wrong": a, "left": b})
    with pytest.raises(TypeError, match="a sample has a shape"):
        initdsl.diagnose(Two(), None, (a, b), input_shape=(3,))


class Steps(nn.Module):
    """A diffusion model: numbers, and for each sample the step it is at."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.Embedding(100, 4)
        self.up = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return self.up(x) + self.steps(t)


class Alone(nn.Module):
    """Takes nothing: what it puts out it has."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(4, 4)

    def forward(self) -> torch.Tensor:
        return self.up(torch.ones(2, 4))


@pytest.mark.parametrize(
    ("net", "shape", "inputs"),
    [
        (lambda: nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4)), None, "random int64 [8, 16]"),
        (lambda: nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4)), (2, 5), "random int64 [2, 5]"),
        (lambda: nn.Sequential(nn.Conv2d(1, 6, 5), nn.Flatten(), nn.Linear(3456, 9)), None, "random float32 [8, 1, 28, 28]"),
        (lambda: nn.Conv2d(3, 4, 3), (2, 3, 9, 9), "random float32 [2, 3, 9, 9]"),
        (lambda: nn.LSTM(8, 16, 2, batch_first=True), None, "random float32 [8, 16, 8]"),
        (lambda: nn.Transformer(32, 4, 1, 1, 64), None, "random float32 [8, 16, 32], float32 [8, 16, 32]"),
        (lambda: nn.Sequential(nn.Linear(4, 4)).double(), None, "random float64 [64, 4]"),
        (lambda: nn.Sequential(nn.Linear(4, 4)).bfloat16(), None, "random bfloat16 [64, 4]"),
        (lambda: nn.Sequential(nn.Conv1d(3, 4, 5), nn.ReLU()), None, "random float32 [8, 3, 64]"),
        (lambda: nn.Sequential(nn.Conv1d(1, 4, 80, 4), nn.Flatten(), nn.Linear(948, 2)), None, "random float32 [8, 1, 1024]"),
        (lambda: nn.Sequential(nn.Conv3d(3, 4, 5)), None, "random float32 [8, 3, 16, 32, 32]"),
        (lambda: nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 4)), None, "random float32 [8, 16, 6]"),
        (lambda: nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 4)), None, "random float32 [64, 6]"),
        (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)), None, "random float32 [8, 3, 32, 32]"),
        (lambda: nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4)).double(), (2, 5), "random int64 [2, 5]"),
        (Steps, None, "random float32 [64, 4], int64 [64]"),
        (Alone, None, "no input"),
    ],
)  # fmt: skip
def test_random_input_fits(net: Callable[[], nn.Module], shape: tuple[int, ...] | None, inputs: str) -> None:
    assert initdsl.diagnose(net(), None, input_shape=shape).inputs == inputs


class Arguments(nn.Module):
    """Takes as many arguments as it has layers, each for one of them; the last by name alone."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(8 * len(layers), 2)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        made = [layer(x) for layer, x in zip(self.layers, (first, second), strict=True)]
        return self.head(torch.cat([x.flatten(1, -2).mean(1) if x.ndim > 2 else x for x in made], -1))


class ByName(Arguments):
    def forward(self, first: torch.Tensor, *, second: torch.Tensor) -> torch.Tensor:
        return super().forward(first, second)


@pytest.mark.parametrize(
    ("net", "inputs"),
    [
        (Arguments(nn.Linear(10, 8), nn.Linear(5, 8)), "random float32 [8, 10], float32 [8, 5]"),
        (Arguments(nn.Embedding(90, 8), nn.Linear(5, 8)), "random int64 [8, 16], float32 [8, 5]"),
        (Arguments(nn.Embedding(90, 8), nn.Embedding(3, 8)), "random int64 [8, 16], int64 [8, 16]"),
        (ByName(nn.Linear(10, 8), nn.Embedding(90, 8)), "random float32 [8, 10], second=int64 [8, 16]"),
    ],
)
def test_arguments_of_different_kinds(net: nn.Module, inputs: str) -> None:
    assert initdsl.diagnose(net, seed=0).inputs == inputs


def test_gradients_of_sparse_embeddings() -> None:
    nets = [nn.Sequential(nn.Embedding(9, 4, sparse=sparse), nn.Linear(4, 4)) for sparse in (True, False)]
    rules = "*.weight ~ normal(0, 1); *.bias = 0"
    one, other = (initdsl.diagnose(net, rules, torch.arange(9), seed=0) for net in nets)
    assert one["0"].update_ratio == other["0"].update_ratio
    assert one["0"].update_ratio > 0


def test_gradients_get_through_frozen_layers() -> None:
    net = deep(4, 32, nn.Tanh)
    net[0].requires_grad_(False)
    x = torch.randn(16, 32)
    free = initdsl.diagnose(deep(4, 32, nn.Tanh), "Linear.* ~ normal(0, 0.1)", x, seed=0)
    made = initdsl.diagnose(net, "Linear.* ~ normal(0, 0.1)", x, seed=0)
    assert [layer.grad_std for layer in made] == [layer.grad_std for layer in free]
    assert (made["0"].update_ratio, made["2"].update_ratio) == (None, free["2"].update_ratio)
    assert made["0"].symmetric is None
    assert not net[0].weight.requires_grad


@pytest.mark.models
@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs transformers")
@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("gpt2", "random input_ids=int64 [2, 7]"),
        ("t5", "random input_ids=int64 [2, 7], decoder_input_ids=int64 [2, 7]"),
    ],
)
@pytest.mark.usefixtures("torchvision_shim")
def test_a_shape_for_a_model_of_words(name: str, inputs: str) -> None:
    assert initdsl.diagnose(real(name), input_shape=(2, 7)).inputs == inputs


def test_what_is_no_network_and_no_optimizer() -> None:
    with pytest.raises(TypeError, match=r"a model is an nn\.Module, not str"):
        initdsl.diagnose("net")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one of adam, sgd, not 'adamw'"):
        initdsl.diagnose(nn.Linear(2, 2), optimizer="adamw")
    net = nn.Linear(2, 2)
    net.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(initdsl.DiagnoseError, match="can't be copied: TypeError"):
        initdsl.diagnose(net)


def test_layers_by_name() -> None:
    made = initdsl.diagnose(deep(3, 8, nn.Tanh), seed=0)
    assert len(made) == len(list(made)) == 7
    assert made["4"].name == "4"
    with pytest.raises(KeyError, match="did you mean `4`"):
        made["4x"]
    assert repr(made).startswith("<Diagnosis of Sequential, 7 layers: ")


def test_a_table_for_notebooks_is_escaped() -> None:
    net = nn.Sequential()
    for i in range(3):
        net.add_module(f"<b>{i}", nn.Linear(4, 4))
    rules = "Linear.* ~ normal(0, 0.5)"
    one = initdsl.diagnose(net, rules, seed=0)
    both = one.compare(initdsl.diagnose(net, "Linear.* = 0", seed=0))
    for table in (one._repr_html_(), both._repr_html_()):
        assert "<td>&lt;b&gt;" in table
        assert "<b>0" not in table
    assert "<th scope=col>act std A</th><th scope=col>act std B</th>" in both._repr_html_()
    head, *lines = str(both).splitlines()
    assert head.startswith("A: Sequential by ")
    assert lines[0].startswith("B: Sequential by ")
    assert any(line.startswith("warning: B: ") for line in lines)
    assert not any(line.startswith("warning: A: ") for line in lines)


class Checkpointed(nn.Module):
    """Layers whose inside is computed a second time on the way back."""

    def __init__(self, checkpointed: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(3)])
        self.checkpointed = checkpointed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        from torch.utils.checkpoint import checkpoint

        for layer in self.layers:
            x = checkpoint(layer, x, use_reentrant=False) if self.checkpointed else layer(x)
        return x


def test_what_is_recomputed_for_the_way_back_counts_once() -> None:
    rules, x = "Linear.weight ~ xavier_normal(); Linear.bias = 0", torch.randn(16, 8)
    one, other = (initdsl.diagnose(Checkpointed(on), rules, x, seed=0) for on in (True, False))
    assert [layer.name for layer in one] == [layer.name for layer in other]
    assert [layer.std for layer in one] == [layer.std for layer in other]
    assert [layer.update_ratio for layer in one] == [layer.update_ratio for layer in other]


def test_a_loss_that_fails_and_one_sample() -> None:
    net = deep(3, 8, nn.Tanh)

    def loss(output: torch.Tensor) -> torch.Tensor:
        raise ValueError("no " + "more " * 100)

    with pytest.raises(initdsl.DiagnoseError, match="the backward pass failed on") as caught:
        initdsl.diagnose(net, None, torch.randn(4, 8), loss=loss)
    (found,) = caught.value.diagnostics
    assert found.name == "backward-failed"
    assert found.message.endswith(" ...")
    assert found.hint is None
    alone = initdsl.diagnose(net, None, torch.randn(1, 8))
    assert {layer.similarity for layer in alone} == {None}
    assert all(layer.similarity is not None for layer in initdsl.diagnose(net, None, torch.randn(4, 8)))


def test_there_is_always_a_verdict() -> None:
    assert [remark.severity for remark in initdsl.diagnose(nn.Linear(4, 4)).verdict] == ["fine"]
    two = initdsl.diagnose(nn.Sequential(nn.Linear(4, 400), nn.Linear(400, 4)), "*.weight ~ normal(0, 1); *.bias = 0")
    assert [remark.text.split()[:2] for remark in two.verdict[:2]] == [["activations", "grow"], ["gradients", "grow"]]


def test_errors_say_where() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Linear(5, 6)))
    with pytest.raises(
        initdsl.DiagnoseError, match=r"failed in `1.0` \(Linear\) on random float32 \[64, 3\]: RuntimeError"
    ):
        initdsl.diagnose(net)
    with pytest.raises(initdsl.DiagnoseError, match="has no memory"):
        initdsl.diagnose(nn.Linear(2, 2, device="meta"))
    with pytest.raises(initdsl.DiagnoseError, match="has no shape yet"):
        initdsl.diagnose(nn.LazyLinear(2))
    with pytest.raises(initdsl.DiagnoseError, match="can't tell what `Nothing` takes"):
        initdsl.diagnose(type("Nothing", (nn.Module,), {"forward": lambda self, x: x})())
    with pytest.raises(initdsl.DiagnoseError, match="no output of the model has a gradient"):
        initdsl.diagnose(
            type("Cut", (nn.Linear,), {"forward": lambda self, x: x.detach() @ self.weight.detach()})(2, 2)
        )
    with pytest.raises(initdsl.ResolveError):
        initdsl.diagnose(nn.Linear(2, 2), "net.nowhere.weight = 0")


# ---- real models

TRANSFORMER = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 99,
}


def real(name: str) -> nn.Module:
    import timm
    import torchvision
    import transformers as hf

    made: dict[str, Callable[[], Any]] = {
        "resnet": lambda: torchvision.models.resnet18(num_classes=10),
        "torchvision vit": lambda: torchvision.models.VisionTransformer(32, 8, 4, 4, 64, 128, num_classes=10),
        "timm vit": lambda: timm.create_model("vit_tiny_patch16_224", img_size=32, depth=4),
        "timm convnext": lambda: timm.create_model("convnext_atto", num_classes=10),
        "gpt2": lambda: hf.GPT2LMHeadModel(hf.GPT2Config(n_layer=4, n_embd=32, n_head=4, vocab_size=99)),
        "bert": lambda: hf.BertForSequenceClassification(hf.BertConfig(**TRANSFORMER)),
        "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**TRANSFORMER)),
        "t5": lambda: hf.T5ForConditionalGeneration(hf.T5Config(d_model=32, d_kv=8, d_ff=64, num_layers=3, num_heads=4, vocab_size=99)),
        "wav2vec2": lambda: hf.Wav2Vec2Model(hf.Wav2Vec2Config(**{**TRANSFORMER, "num_hidden_layers": 4}, conv_dim=(16, 16), conv_kernel=(10, 3), conv_stride=(5, 2), num_feat_extract_layers=2, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, apply_spec_augment=False)),
        "whisper": lambda: hf.WhisperModel(hf.WhisperConfig(vocab_size=99, num_mel_bins=8, encoder_layers=3, decoder_layers=3, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, d_model=16, max_source_positions=20, max_target_positions=30, pad_token_id=0, decoder_start_token_id=1, bos_token_id=0, eos_token_id=0)),
        "hf vit": lambda: hf.ViTModel(hf.ViTConfig(hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=64, image_size=32, patch_size=8)),
    }  # fmt: skip
    found: nn.Module = made[name]()
    return found


@pytest.mark.models
@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="needs timm")
@pytest.mark.parametrize(
    ("name", "cls", "count"),
    [
        ("resnet", "BasicBlock", 8), ("torchvision vit", "EncoderBlock", 4), ("timm vit", "Block", 4),
        ("timm convnext", "ConvNeXtBlock", 12), ("gpt2", "GPT2Block", 4), ("bert", "BertLayer", 4),
        ("llama", "LlamaDecoderLayer", 4), ("t5", "T5Block", 3), ("hf vit", "ViTLayer", 4), ("wav2vec2", "Wav2Vec2EncoderLayer", 4),
        ("whisper", "WhisperDecoderLayer", 3),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("torchvision_shim")
def test_real_models_run_on_input_that_fits(name: str, cls: str, count: int) -> None:
    torch.manual_seed(0)
    made = initdsl.diagnose(real(name))
    assert made.trunk is not None
    assert (made.trunk.cls, len(made.trunk.layers)) == (cls, count)
    assert 0.1 < made.trunk.growth < 10
    assert 0.05 < made.trunk.grad_growth < 20
    assert not made.exceeded(Limits(growth=20))
    assert str(made)


@pytest.mark.models
@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs transformers")
@pytest.mark.usefixtures("torchvision_shim")
def test_a_models_own_loss_is_taken() -> None:
    torch.manual_seed(0)
    net = real("gpt2").eval()
    ids = torch.randint(0, 99, (4, 8))
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    made = initdsl.diagnose(net, None, {"input_ids": ids, "labels": ids})
    hidden: list[torch.Tensor] = []
    net.transformer.h[0].register_forward_hook(lambda m, a, o: hidden.append(o[0] if isinstance(o, tuple) else o))
    out = net(input_ids=ids, labels=ids)
    hidden[0].retain_grad()
    out.loss.backward()
    assert hidden[0].grad is not None
    assert made["transformer.h.0"].grad_rms == pytest.approx(hidden[0].grad.pow(2).mean().sqrt().item(), rel=1e-3)
