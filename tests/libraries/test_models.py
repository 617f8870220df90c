"""Rule files start real models as the libraries themselves do, and wrappers don't get in the way."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import initdsl
from tests.support import models

pytestmark = pytest.mark.usefixtures("one_thread")


RULES = Path(__file__).parents[2] / "examples" / "models"
RECIPES = Path(initdsl.__file__).parent / "recipes"


def rules(name: str) -> Path:
    """A rule file for a model: a packaged recipe, or an example."""
    return RECIPES / name if (RECIPES / name).exists() else RULES / name


@pytest.fixture
def library(torchvision_shim: None) -> Callable[[str], Any]:
    """A library that may be missing: the test is skipped then."""
    return pytest.importorskip


def start(build: Callable[[], nn.Module], file: str, seed: int = 1, **arguments: Any) -> tuple[nn.Module, nn.Module]:
    """`(ours, theirs)`: a model filled with a value no start has, then by the rules; and the library's own."""
    torch.manual_seed(seed)
    theirs, ours = build(), build()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.fill_(77.0)
    plan = initdsl.plan(ours, rules(file), strict=True, **arguments)
    assert plan.uncovered == []
    assert plan.partial == []
    plan.apply()
    models.bounded(plan, ours, theirs)
    assert not any((p == 77.0).any() for p in ours.parameters())
    return ours, theirs


# ---- torchvision


@pytest.mark.models
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("depth", [18, 50])
def test_resnet(library: Any, depth: int, zero: bool) -> None:
    library("torchvision")
    variables = {"zero_init_residual": True} if zero else {}
    arguments = {"zero_init_residual": zero, "num_classes": 200}
    if depth == 50 and zero:
        arguments["width_per_group"] = 16
    ours, theirs = start(lambda: models.resnet(depth, **arguments), "resnet.init", vars=variables)
    counts = models.alike(ours, theirs)
    assert counts["drawn"] == {18: 22, 50: 55}[depth]
    last = ours.layer1[0].bn2 if depth == 18 else ours.layer1[0].bn3
    assert (last.weight == (0 if zero else 1)).all()


@pytest.mark.models
@pytest.mark.parametrize("depth", [18, 50])
def test_resnet_convolutions_bit_for_bit(library: Any, depth: int) -> None:
    library("torchvision")
    torch.manual_seed(3)
    with models.states_at_calls(nn.init, "kaiming_normal_") as states:
        theirs = models.resnet(depth)
    ours = models.resnet(depth)
    torch.set_rng_state(states[0])
    initdsl.apply(ours, rules("resnet.init"), strict=True)
    assert models.identical(ours, theirs, lambda name: not name.startswith("fc.")) == len(list(ours.parameters())) - 2


# ---- timm


@pytest.mark.models
@pytest.mark.parametrize(
    ("file", "arguments"),
    [
        ("vit_timm.init", {"img_size": 96}),
        ("vit_timm.init", {"name": "vit_small_patch16_224", "depth": 3}),
        ("vit_fix_init.init", {"fix_init": True, "depth": 6}),
        ("vit_jax.init", {"weight_init": "jax", "depth": 4}),
        ("vit_moco.init", {"weight_init": "moco", "depth": 4}),
        ("vit_timm.init", {"reg_tokens": 4, "depth": 2, "class_token": True}),
    ],
)
def test_vit(library: Any, file: str, arguments: dict[str, Any]) -> None:
    library("timm")
    ours, theirs = start(lambda: models.vit(**arguments), file)
    counts = models.alike(ours, theirs)
    assert counts["drawn"] >= 4 * len(ours.blocks) + 3
    depth = len(ours.blocks)
    if "fix" in file:  # the scale falls with depth
        stds = [block.mlp.fc2.weight.std().item() for block in ours.blocks]
        assert stds[-1] / stds[0] == pytest.approx(depth**-0.5, rel=0.03)


@pytest.mark.models
@pytest.mark.parametrize(("mode", "function", "call"), [("moco", "uniform_", 1), ("jax", "xavier_uniform_", 0)])
def test_vit_linear_layers_bit_for_bit(library: Any, mode: str, function: str, call: int) -> None:
    library("timm")
    torch.manual_seed(3)
    theirs = models.vit(depth=3, weight_init="skip")
    with models.states_at_calls(nn.init, function) as states:
        theirs.init_weights(mode)
    ours = models.vit(depth=3)
    torch.set_rng_state(states[call])  # under "moco" the first call is for the patch embedding's bias
    # torch's default of the patch embedding, and timm's own way to truncate, draw otherwise: they keep out of the way
    text = (rules(f"vit_{mode}.init")).read_text(encoding="utf-8")
    text += "\nkeep net.patch_embed.proj, net.pos_embed, net.cls_token\n"
    initdsl.apply(ours, text)
    names = [name for name, module in ours.named_modules() if type(module) is nn.Linear]
    linear = {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}
    assert models.identical(ours, theirs, lambda name: name in linear) == 3 * 8 + 2


# ---- transformers


@pytest.mark.models
@pytest.mark.parametrize("layers", [2, 5])
def test_gpt2(library: Any, layers: int) -> None:
    library("transformers")
    ours, theirs = start(lambda: models.gpt2(n_layer=layers), "gpt2.init")
    counts = models.alike(ours, theirs)
    assert counts == {"constant": 8 * layers + 2, "drawn": 4 * layers + 2}
    assert ours.lm_head.weight is ours.transformer.wte.weight


@pytest.mark.models
def test_gpt2_with_another_std_and_its_ties_made_anew(library: Any) -> None:
    library("transformers")
    _, theirs = start(lambda: models.gpt2(initializer_range=0.1), "gpt2.init", vars={"std": 0.1})
    ours = models.gpt2(tie_word_embeddings=False)
    assert ours.lm_head.weight is not ours.transformer.wte.weight
    tied = 'use "initdsl:gpt2"; tie net.transformer.wte.weight net.lm_head.weight'
    initdsl.apply(ours, tied, strict=True, vars={"std": 0.1})
    models.alike(ours, theirs)


def as_drawn_by_the_library(net: nn.Module) -> nn.Module:
    """The library's own function on every module, in the order of `net.apply`, as at construction."""
    for part in (*net.modules(), *net.parameters(), *net.buffers()):
        if hasattr(part, "_is_hf_initialized"):
            del part._is_hf_initialized
    return net.apply(net._init_weights)


@pytest.mark.models
@pytest.mark.parametrize("name", ["bert", "albert", "llama"])
def test_transformers(library: Any, name: str) -> None:
    library("transformers")
    build = getattr(models, name)
    ours, theirs = start(build, f"{name}.init")
    models.alike(ours, theirs)
    if name != "llama":
        assert models.ties(ours)
        words = ours.get_input_embeddings().weight
        assert (words[0] == 0).all()
        assert words is ours.get_output_embeddings().weight


@pytest.mark.models
@pytest.mark.parametrize("pad", [None, 3])
def test_llama_padding_row(library: Any, pad: int | None) -> None:
    library("transformers")
    ours, theirs = start(lambda: models.llama(pad_token_id=pad, tie_word_embeddings=False), "llama.init")
    models.alike(ours, theirs)
    empty = (ours.model.embed_tokens.weight == 0).all(1)
    assert empty.nonzero().flatten().tolist() == ([] if pad is None else [pad])


@pytest.mark.models
@pytest.mark.parametrize("name", ["bert", "albert", "llama"])
def test_transformers_bit_for_bit(library: Any, name: str) -> None:
    library("transformers")
    build = getattr(models, name)
    theirs, ours = build(), build()
    torch.manual_seed(5)
    # a head that is tied is drawn over the embedding, and the embedding's rows are lost: draw it apart, then tie
    if models.ties(theirs):
        theirs.get_output_embeddings().weight = nn.Parameter(theirs.get_output_embeddings().weight.detach().clone())
    as_drawn_by_the_library(theirs)
    if name != "llama":
        theirs.get_output_embeddings().weight = theirs.get_input_embeddings().weight
    torch.manual_seed(5)
    initdsl.apply(ours, rules(f"{name}.init"), strict=True)
    assert models.identical(ours, theirs) == len(list(ours.parameters()))


# ---- torch's own


def lstm_by_hand(net: nn.LSTM) -> None:
    h = net.hidden_size
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "weight_ih" in name:
                for gate in parameter.chunk(4):
                    nn.init.xavier_uniform_(gate)
            elif "weight_hh" in name:
                for gate in parameter.chunk(4):
                    nn.init.orthogonal_(gate)
            else:
                parameter.zero_()
                if "bias_ih" in name:
                    parameter[h : 2 * h] = 1


@pytest.mark.parametrize("bidirectional", [False, True])
def test_lstm_with_forget_gate_one(bidirectional: bool) -> None:
    net = nn.LSTM(6, 10, num_layers=2, bidirectional=bidirectional)
    theirs = copy.deepcopy(net)
    torch.manual_seed(2)
    initdsl.apply(net, rules("lstm.init"), strict=True)
    torch.manual_seed(2)
    lstm_by_hand(theirs)
    assert models.identical(net, theirs) == (16 if bidirectional else 8)
    for gate in net.weight_hh_l0.chunk(4):
        assert torch.allclose(gate @ gate.T, torch.eye(10), atol=1e-5)


def test_the_forget_gate_opens_by_sigmoid_of_one() -> None:
    net = nn.LSTM(6, 10)
    initdsl.apply(net, rules("lstm.init"), strict=True)
    cell = torch.randn(1, 1, 10)
    with torch.no_grad():
        _, (_, kept) = net(torch.zeros(1, 1, 6), (torch.zeros(1, 1, 10), cell))
    assert torch.allclose(kept, torch.sigmoid(torch.tensor(1.0)) * cell, atol=1e-6)


def test_nn_transformer() -> None:
    ours, theirs = start(models.transformer, "transformer.init")
    counts = models.alike(ours, theirs)
    assert counts["drawn"] == 3 * 6 + 2 * 8
    assert counts["constant"] == 3 * 6 + 2 * 10 + 4
    assert torch.equal(theirs.encoder.layers[0].linear1.bias, theirs.encoder.layers[1].linear1.bias)
    assert not torch.equal(ours.encoder.layers[0].linear1.bias, ours.encoder.layers[1].linear1.bias)


@pytest.mark.parametrize("shared", [False, True])
def test_layers_that_are_all_the_first_one(shared: bool) -> None:
    ours, theirs = models.Encoder(shared=shared), models.Encoder(shared=True)
    torch.manual_seed(4)
    report = initdsl.apply(ours, rules("shared_layers.init"), strict=True)
    torch.manual_seed(4)
    for layer in (theirs.layers[0].up, theirs.layers[0].down, theirs.head):
        nn.init.normal_(layer.weight, 0, 0.02)
        nn.init.zeros_(layer.bias)
    assert models.ties(ours) == models.ties(theirs)
    assert models.identical(ours, theirs) == 8
    assert len(report["layers.0.up.weight"].names) == 5


# ---- wrappers


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Sequential(nn.Linear(8, 8), nn.ReLU()), nn.Linear(8, 2))


MLP_RULES = """
net[0].weight ~ xavier_uniform()
Linear.bias = 0
Linear.weight in net[2] ~ orthogonal()
net[-1].weight ~ normal(0, 0.1)
net[2][0].bias[0] = 5
"""


def data_parallel(net: nn.Module) -> nn.Module:
    return nn.DataParallel(net)


def distributed(net: nn.Module) -> nn.Module:
    from torch import distributed
    from torch.testing._internal.distributed.fake_pg import FakeStore

    distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=1)
    try:
        return nn.parallel.DistributedDataParallel(net)
    finally:
        distributed.destroy_process_group()


def compiled(net: nn.Module) -> nn.Module:
    return torch.compile(net)


def checkpointed(net: nn.Module) -> nn.Module:
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    net[0], net[2] = checkpoint_wrapper(net[0]), checkpoint_wrapper(net[2])
    return checkpoint_wrapper(net)


def fully_sharded(net: nn.Module) -> nn.Module:
    from torch import distributed
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.testing._internal.distributed.fake_pg import FakeStore

    def sharded(module: nn.Module) -> nn.Module:
        return FullyShardedDataParallel(module, use_orig_params=True, device_id=torch.device("cpu"))

    distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of one rank it keeps all
            net[2] = sharded(net[2])
            return sharded(net)
    finally:
        distributed.destroy_process_group()


def everything_at_once(net: nn.Module) -> nn.Module:
    return data_parallel(compiled(checkpointed(net)))


WRAPPERS = [data_parallel, distributed, compiled, checkpointed, fully_sharded, everything_at_once]


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("wrap", WRAPPERS)
def test_wrappers_are_looked_through(wrap: Callable[[nn.Module], nn.Module], seed: int | None) -> None:
    plain, inside = mlp(), mlp()
    torch.manual_seed(1)
    expected = initdsl.apply(plain, MLP_RULES, seed=seed, strict=True)
    wrapped = wrap(inside)
    torch.manual_seed(1)
    report = initdsl.apply(wrapped, MLP_RULES, seed=seed, strict=True)
    assert [str(entry) for entry in report] == [str(entry) for entry in expected]
    assert [entry.name for entry in report] == [name for name, _ in plain.named_parameters()]
    for mine, its in zip(wrapped.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine, its)


def test_a_module_of_ones_own_called_module_is_no_wrapper() -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Linear(2, 2)

    net = Holder()
    initdsl.apply(net, "net.module.* = 3", strict=True)
    assert (net.module.weight == 3).all()


# ---- parametrized and hooked weights


def drawn(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return nn.init.normal_(torch.empty(shape), 0, 0.5)


@pytest.mark.parametrize("layer", [lambda: nn.Linear(6, 4), lambda: nn.Conv2d(3, 4, 3)], ids=["linear", "conv"])
@pytest.mark.parametrize("old", [False, True], ids=["parametrized", "hooked"])
@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_weight_norm(layer: Callable[[], nn.Module], old: bool) -> None:
    plain = layer()
    kind = type(plain).__name__
    shape = plain.weight.shape
    net = nn.Sequential((nn.utils.weight_norm if old else nn.utils.parametrizations.weight_norm)(plain))
    values = drawn(shape, 2)
    torch.manual_seed(2)
    report = initdsl.apply(net, f"{kind}.weight ~ normal(0, 0.5); {kind}.bias = 0")
    assert "0.weight" in [entry.name for entry in report]
    x = torch.randn(2, 3, 5, 5) if kind == "Conv2d" else torch.randn(2, 6)
    function = nn.functional.conv2d if kind == "Conv2d" else nn.functional.linear
    with torch.no_grad():
        torch.testing.assert_close(net(x), function(x, values))
    torch.testing.assert_close(net[0].weight.detach(), values)
    # what is trained is what the weight is made of, and it is still there
    assert {name for name, _ in net.named_parameters()} == (
        {"0.bias", "0.weight_g", "0.weight_v"}
        if old
        else {"0.bias", "0.parametrizations.weight.original0", "0.parametrizations.weight.original1"}
    )
    net(x).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("old", [False, True], ids=["parametrized", "hooked"])
def test_spectral_norm_and_its_vectors_follow(old: bool) -> None:
    torch.manual_seed(0)
    wrap = nn.utils.spectral_norm if old else nn.utils.parametrizations.spectral_norm
    net = nn.Sequential(wrap(nn.Linear(64, 64)))
    torch.manual_seed(2)
    values = nn.init.orthogonal_(torch.empty(64, 64)) + 0.0
    torch.manual_seed(2)
    initdsl.apply(net, "Linear.weight ~ orthogonal(); Linear.bias = 0")
    original = net[0].weight_orig if old else net[0].parametrizations.weight.original
    assert torch.equal(original.detach(), values)
    net.eval()
    with torch.no_grad():
        net(torch.randn(1, 64))  # the old hook computes the weight before a forward
        assert torch.linalg.matrix_norm(net[0].weight, 2).item() == pytest.approx(1, abs=0.02)

    torch.manual_seed(2)
    initdsl.apply(net, "Linear.weight ~ normal(0, 1)")
    with torch.no_grad():
        net(torch.randn(1, 64))
        assert torch.linalg.matrix_norm(net[0].weight, 2).item() == pytest.approx(1, abs=0.05)


def test_the_vectors_follow_what_the_parametrizations_before_make_of_the_weight() -> None:
    class Turned(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flip(1).mul(torch.arange(1.0, 17.0))

        def right_inverse(self, x: torch.Tensor) -> torch.Tensor:
            return x.div(torch.arange(1.0, 17.0)).flip(1)

    layer = nn.Linear(16, 16)
    nn.utils.parametrize.register_parametrization(layer, "weight", Turned())
    nn.utils.parametrizations.spectral_norm(layer).train()
    initdsl.apply(layer, "Linear.weight ~ orthogonal(gain=3)", seed=0)
    assert all(module.training for module in layer.modules())
    with torch.no_grad():
        assert torch.linalg.matrix_norm(layer.eval().weight, 2).item() == pytest.approx(1, abs=1e-3)


def test_orthogonal_parametrization() -> None:
    net = nn.Sequential(nn.utils.parametrizations.orthogonal(nn.Linear(5, 5)))
    torch.manual_seed(3)
    values = nn.init.orthogonal_(torch.empty(5, 5))
    torch.manual_seed(3)
    initdsl.apply(net, "Linear.weight ~ orthogonal(); Linear.bias = 0")
    torch.testing.assert_close(net[0].weight.detach(), values)


def test_parametrized_weights_read_edit_and_default() -> None:
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)))
    initdsl.apply(net, "Linear.weight = 2; Linear.weight[0] = 3; Linear.weight *= 2")
    expected = torch.full((4, 6), 4.0)
    expected[0] = 6
    torch.testing.assert_close(net[0].weight.detach(), expected)
    torch.manual_seed(6)
    initdsl.apply(net, "default Linear.weight")
    torch.manual_seed(6)
    torch.testing.assert_close(net[0].weight.detach(), nn.Linear(6, 4).weight.detach())


class Doubled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


def test_without_right_inverse_nothing_changes_and_the_original_is_named() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    nn.utils.parametrize.register_parametrization(net[1], "weight", Doubled())
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(initdsl.ResolveError, match=r"Doubled.*right_inverse") as caught:
        initdsl.apply(net, "Linear.weight ~ normal(0, 1)")
    assert "net[1].parametrizations.weight.original" in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    initdsl.apply(net, "net[1].parametrizations.weight.original = 3")
    assert (net[1].weight == 6).all()


# ---- shared modules, integer keys, subclasses


def test_a_shared_parameter_goes_by_any_of_its_names() -> None:
    encoder = models.Encoder(depth=3, shared=True)
    report = initdsl.apply(encoder, "net.layers[2].up.weight = 1; net.layers[1].up.weight[0, 0] = 9")
    assert encoder.layers[0].up.weight[0, 0].item() == 9
    assert encoder.layers[0].up.weight[0, 1].item() == 1
    assert report["layers.2.up.weight"] is report["layers.0.up.weight"]
    assert [entry.name for entry in report] == ["layers.0.up.weight"]


def test_integer_keys_are_the_indices() -> None:
    class Stage(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleDict({str(i): nn.Linear(2, 2) for i in range(8, 16)})

    net = Stage()
    initdsl.apply(net, "net.layers[i].weight = i; net.layers[10:12].bias = -1; net.layers[15].bias = 7")
    assert [layer.weight[0, 0].item() for layer in net.layers.values()] == list(range(8, 16))
    assert [name for name, layer in net.layers.items() if (layer.bias == -1).all()] == ["10", "11"]
    assert (net.layers["15"].bias == 7).all()
    with pytest.raises(initdsl.ResolveError, match="layers"):
        initdsl.apply(net, "net.layers[0].weight = 1")


def test_the_projection_of_attention_is_a_subclass_of_linear() -> None:
    net = nn.ModuleDict({"attention": nn.MultiheadAttention(8, 2), "head": nn.Linear(8, 2)})
    plan = initdsl.plan(net, "Linear.weight = 1")
    assert plan["attention.out_proj.weight"].status == "uncovered"
    assert "Linear+" in str(plan)
    assert initdsl.plan(net, "Linear+.weight = 1")["attention.out_proj.weight"].status == "set"
    exact = initdsl.plan(net, "NonDynamicallyQuantizableLinear.weight = 1")
    assert [entry.name for entry in exact if entry.status == "set"] == ["attention.out_proj.weight"]


@pytest.mark.models
@pytest.mark.parametrize(
    ("name", "cls", "subclass"),
    [("efficientnet_b0", "BatchNorm2d", "BatchNormAct2d"), ("convnext_atto", "LayerNorm", "LayerNorm2d")],
)
def test_timm_norms_are_subclasses(library: Any, name: str, cls: str, subclass: str) -> None:
    timm = library("timm")
    torch_class = getattr(nn, cls)
    with torch.device("meta"):
        net = timm.create_model(name, pretrained=False, num_classes=10)
    count = sum(isinstance(m, torch_class) for m in net.modules())
    assert sum(type(m) is torch_class for m in net.modules()) == 0
    assert count > 15
    with pytest.raises(initdsl.ResolveError) as caught:
        initdsl.plan(net, f"{cls}.weight = 1")
    assert f"selects 0 of {count} subclasses" in str(caught.value)
    assert f"{cls}+" in str(caught.value)
    plan = initdsl.plan(net, f"{cls}+.weight = 1")
    assert sum(entry.status == "set" for entry in plan) == count
    assert subclass in {type(m).__name__ for m in net.modules() if isinstance(m, torch_class)}
