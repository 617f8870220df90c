"""A rule file inferred from a model starts a fresh one as the model's own code does; held against the libraries."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import initdsl
from initdsl import cli
from tests.support import models
from tests.support.recipes import CASES, Case, encoder
from tests.support.recipes import SOURCES as WRITTEN

pytestmark = pytest.mark.usefixtures("one_thread")


def reproduced(build: Callable[[], nn.Module], rounding: float = 0.0, **options: Any) -> initdsl.Inferred:
    """What is inferred, after a fresh model that holds nothing of its own start was filled by it and compared."""
    found = initdsl.infer(build, **options)
    torch.manual_seed(11)
    theirs, ours, again = build(), build(), build()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.fill_(77.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        initdsl.apply(ours, found.text, strict=True)
    assert found.kept == []
    models.alike(ours, theirs, again, rounding)
    return found


def statements(found: initdsl.Inferred) -> str:
    """The text in lines without comments and padding."""
    rules = initdsl.parse(found.text)
    return "\n".join(" ".join(rules.text(r.source, r.span).split()) for r in rules.rules)


# ---- the networks it was made with


@pytest.mark.models
def test_gpt2(torchvision_shim: None) -> None:
    text = statements(reproduced(models.gpt2, samples=6))
    assert "tie net.transformer.wte.weight net.lm_head.weight" in text
    assert "0.02 / sqrt(2 * len(net.transformer.h))" in text
    assert "GPT2Attention.c_proj.weight, GPT2MLP.c_proj.weight ~" in text
    assert "LayerNorm.weight = 1" in text


@pytest.mark.models
@pytest.mark.parametrize("name", ["bert", "albert", "llama"])
def test_transformers(name: str, torchvision_shim: None) -> None:
    text = statements(reproduced(getattr(models, name)))
    assert "normal(0, 0.02)" in text
    assert ("[padding_idx] = 0" in text) is (name != "llama")


@pytest.mark.long
@pytest.mark.models
def test_resnet(torchvision_shim: None) -> None:
    found = reproduced(lambda: models.resnet(18, zero_init_residual=True, num_classes=50), samples=2)
    text = statements(found)
    assert "Conv2d.weight ~ kaiming_normal(mode=fan_out, nonlinearity=relu)" in text
    assert "BasicBlock.bn2.weight" in text
    assert "default Linear.weight, Linear.bias" in text
    assert found.unsure == []


@pytest.mark.models
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"weight_init": "jax"}, ["lecun_normal()", "xavier_uniform()", "net.head.weight = 0", "normal(0, 1e-6)"]),
        ({"weight_init": "moco"}, ["Attention.qkv.weight ~"]),
        ({"fix_init": True}, ["net.blocks[i].attn.proj.weight ~ normal(0, 0.02 / sqrt(2 * (i + 1)))", "net.blocks[i].mlp.fc2"]),
    ],
)  # fmt: skip
def test_vit(arguments: dict[str, Any], said: list[str], torchvision_shim: None) -> None:
    found = reproduced(lambda: models.vit(img_size=32, depth=3, embed_dim=96, num_heads=4, **arguments), samples=6)
    for text in said:
        assert text in statements(found)


def lstm() -> nn.Module:
    net = nn.ModuleDict({"rnn": nn.LSTM(16, 24, 2)})
    initdsl.apply(net, 'use "initdsl:lstm"')
    return net


def test_gates() -> None:
    found = initdsl.infer(lstm)
    text = statements(found)
    assert "LSTM.weight_hh_l0 as (4, -1, 24)[*], LSTM.weight_hh_l1 as (4, -1, 24)[*] ~ orthogonal()" in text
    assert "[24:48] = 1" in text
    net = nn.ModuleDict({"rnn": nn.LSTM(16, 24, 2)})
    initdsl.apply(net, found.text, strict=True)
    for gate in net.rnn.weight_hh_l1.chunk(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(24), atol=1e-4, rtol=0)
    assert net.rnn.bias_ih_l0.view(4, 24).mean(1).tolist() == [0, 1, 0, 0]


RECIPES = (
    "efficientnet-efficientnet_b0", "efficientnet_timm-mobilenetv3_small_100", "convnext-convnext_atto",
    "mlp_mixer-mixer_s32_224", "vit_torchvision-VisionTransformer", "vit_timm-vit_tiny_patch16_224",
    "t5-T5ForConditionalGeneration", "t5-T5Model, gated", "llama-MixtralForCausalLM", "transformers-GemmaForCausalLM",
    "mamba-MambaForCausalLM", "mamba2-Mamba2ForCausalLM",
)  # fmt: skip
SOURCES = (
    "nanogpt", "megatron", "ddpm_unet", "fixup", "dcgan", "modern_cnn", "modern_transformer", "olmo_core_fan_in", "deepnet", "lstm_chrono",
)  # fmt: skip
SOON = ("fixup", "dcgan", "modern_cnn", "deepnet", "lstm_chrono")


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case.id in RECIPES], ids=lambda case: case.id)
def test_models_of_recipes(case: Case, torchvision_shim: None) -> None:
    pytest.importorskip(case.library)
    reproduced(case.build)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in SOON)) for n in SOURCES])
def test_networks_of_recipes(name: str) -> None:
    """What a recipe started gives the recipe back, as far as one can measure."""
    source = next(source for source in WRITTEN if source.recipe == name)

    def build() -> nn.Module:
        net = source.build()
        initdsl.apply(net, f'use "initdsl:{name}"', vars=source.vars)
        return net

    reproduced(build)


@pytest.mark.models
def test_whispers_table(torchvision_shim: None) -> None:
    pytest.importorskip("transformers")
    case = next(case for case in CASES if case.label == "WhisperForConditionalGeneration")
    text = statements(reproduced(case.build, rounding=case.rounding))
    assert "embed_positions.weight = sinusoidal(layout=halves, endpoint=true)" in text


def test_depth_as_deepnet_counts_it() -> None:
    found = reproduced(lambda: started(encoder(), 'use "initdsl:deepnet"'))
    assert found.unsure == []
    text = "".join(statements(found).split())  # without the layout's spaces and lines
    assert "MultiheadAttention.in_proj_weightas(3,-1,64)[*]~" in text
    assert "MultiheadAttention.in_proj_weightas(3,-1,64)[2]~xavier_normal(gain=(8*len(net.layers))**-0.25" in text
    assert "Linear.weight~xavier_normal(gain=(8*len(net.layers))**-0.25" in text


def test_gates_that_are_opposites() -> None:
    """An input gate closes as far as its forget gate opens, in what is inferred too."""
    text = statements(initdsl.infer(lambda: started(nn.LSTM(32, 48), 'use "initdsl:lstm_chrono"')))
    net = started(nn.LSTM(32, 48), text)
    entrance, forget, cell, exit_ = net.bias_ih_l0.detach().view(4, 48)
    assert torch.equal(entrance, -forget)
    assert forget.min() >= 0
    assert forget.max() <= math.log(100)
    assert not cell.any()
    assert not exit_.any()


@pytest.mark.parametrize(
    "said",
    [
        "sinusoidal()", "sinusoidal(layout=halves)", "sinusoidal(endpoint=true)", "sinusoidal(layout=halves, endpoint=true)",
    ],
)  # fmt: skip
def test_sinusoidal_tables(said: str) -> None:
    net = nn.ParameterDict({"table": torch.empty(50, 32), "one": torch.empty(1, 20, 16)})
    found = initdsl.infer(lambda: started(net, f"net.* = {said}"), samples=2)
    assert f"net.one, net.table = {said}" in statements(found) or f"net.table, net.one = {said}" in statements(found)


def test_parts_of_a_matrix_with_scales_of_their_own() -> None:
    """Two parts, one of them a constant; and three of which the first two are alike, in two tensors of one class."""

    def build() -> nn.Module:
        net = nn.ModuleDict(
            {"gate": nn.Linear(40, 60, bias=False), "a": nn.Bilinear(8, 8, 60), "b": nn.Bilinear(8, 8, 60)}
        )
        return started(
            net,
            """
            net.gate.weight ~ normal(0, 0.02); net.gate.weight[30:] = 1
            Bilinear.weight as (3, 20, -1)[*] ~ normal(0, 0.02)
            Bilinear.weight as (3, 20, -1)[2] ~ uniform(-0.5, 0.5)
            Bilinear.bias = 0
            """,
        )

    text = statements(reproduced(build))
    assert "Linear.weight as (2, -1, 40)[1] = 1" in text
    assert "Bilinear.weight as (3, -1, 64)[2] ~ uniform(-0.5, 0.5)" in text


def test_draws_of_two_values_are_not_understood() -> None:
    found = initdsl.infer(lambda: started(nn.Sequential(nn.Linear(30, 40)), "*.* ~ rademacher() * 0.1"))
    assert sorted(found.kept) == ["net[0].bias", "net[0].weight"]


def test_one_rule_for_whole_matrices_and_for_gates_is_none() -> None:
    """A view is part of a rule: matrices drawn whole and matrices drawn in parts are two."""

    def build() -> nn.Module:
        net = nn.ModuleDict({"whole": nn.Linear(24, 24, bias=False), "gates": nn.LSTM(24, 24, bias=False)})
        return started(net, "Linear.weight ~ orthogonal(); LSTM.weight_* as (4, -1, 24)[*] ~ orthogonal()")

    text = statements(initdsl.infer(build))
    assert "Linear.weight ~ orthogonal()" in text
    assert "LSTM.weight_hh_l0 as (4, -1, 24)[*]" in text


# ---- networks of one's own


def test_numbers_off_centre_truncated_and_identities() -> None:
    def build() -> nn.Module:
        net = nn.ModuleDict({
            "far": nn.Linear(30, 40), "cut": nn.Linear(64, 48), "eye": nn.Linear(7, 7), "dirac": nn.Conv2d(4, 4, 3),
            "wide": nn.Embedding(40, 32), "grid": nn.PReLU(50),
        })  # fmt: skip
        initdsl.apply(
            net,
            """
            *.bias = 0.25
            net.far.weight ~ normal(1, 0.02)
            net.cut.weight ~ trunc_normal_sd(0, 0.05)
            net.eye.weight = eye()
            net.dirac.weight = dirac()
            net.wide.weight ~ uniform(0, 3)
            net.grid.weight = log(index(0) + 1)
            """,
        )
        return net

    text = statements(initdsl.infer(build))
    for said in [
        "= 0.25", "net.far.weight ~ normal(1, 0.02)", "net.cut.weight ~ trunc_normal_sd(0, 0.05)",
        "net.eye.weight = eye()", "Conv2d.weight = dirac()", "Embedding.weight ~ uniform(0, 3)",
        "PReLU.weight = log(index(0) + 1)",
    ]:  # fmt: skip
        assert said in text


def test_what_is_not_understood_is_kept_and_said_to_be() -> None:
    def build() -> nn.Module:
        net = nn.Sequential(nn.Linear(40, 40))
        with torch.no_grad():
            net[0].weight.exponential_()
            net[0].bias.copy_(torch.arange(40.0) ** 2 % 7)
        return net

    found = initdsl.infer(build)
    assert sorted(found.kept) == ["net[0].bias", "net[0].weight"]
    assert "keep" in statements(found)
    assert "# not understood" in found.text
    net = build()
    before = net[0].weight.clone()
    initdsl.apply(net, found.text, strict=True)
    assert torch.equal(net[0].weight, before)


def test_copied_layers_are_noted_and_random_states_stay() -> None:
    state = torch.get_rng_state()
    found = initdsl.infer(lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 2, 48), 2), samples=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert "start equal, as copies" in found.text


def test_few_elements_are_a_guess() -> None:
    class Tiny(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.randn(2) * 0.3)

    found = initdsl.infer(Tiny, samples=2)
    assert found.unsure == ["net.scale"]
    assert "# guess" in found.text


def started(net: nn.Module, text: str) -> nn.Module:
    """The model, filled by rules: what infer is to find again."""
    initdsl.apply(net, text)
    return net


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("Linear.weight[2] = 1; Linear.weight[5] = -2", ["Linear.weight[2] = 1", "Linear.weight[5] = -2"]),
        ("net.a.weight[2] = 1; net.b.weight[3] = 1", ["net.a.weight[2] = 1", "net.b.weight[3] = 1"]),
    ],
)
def test_rows_that_hold_one_value(rows: str, said: list[str]) -> None:
    def build() -> nn.Module:
        net = nn.ModuleDict({"a": nn.Linear(32, 32), "b": nn.Linear(32, 32)})
        return started(net, f"Linear.weight ~ normal(0, 0.3); *.bias = 0; {rows}")

    lines = statements(reproduced(build)).splitlines()
    assert [line for line in lines if "[" in line] == said


@pytest.mark.parametrize(
    ("shape", "drawn", "said"),
    [
        ((16, 16), "orthogonal(2)", "Linear.weight ~ orthogonal(2)"),
        ((8, 16), "orthogonal()", "Linear.weight ~ orthogonal()"),
        ((64, 16), "orthogonal()", "Linear.weight ~ orthogonal()"),
        ((24, 8), "orthogonal()", "Linear.weight ~ orthogonal()"),
        ((32, 16), "as (2, -1, 16)[*] ~ orthogonal()", "Linear.weight as (2, -1, 16)[*] ~ orthogonal()"),
        ((16, 16), "as (4, -1, 16)[*] ~ orthogonal()", "Linear.weight as (4, -1, 16)[*] ~ orthogonal()"),
        ((64, 8), "as (2, -1, 8)[*] ~ orthogonal()", "Linear.weight as (2, -1, 8)[*] ~ orthogonal()"),
    ],
)
def test_orthogonal_matrices_whole_and_in_blocks(shape: tuple[int, int], drawn: str, said: str) -> None:
    def build() -> nn.Module:
        net = nn.Sequential(nn.Linear(shape[1], shape[0]))
        return started(net, f"Linear.weight {drawn if drawn.startswith('as') else f'~ {drawn}'}; *.bias = 0")

    assert said in statements(initdsl.infer(build, samples=3)).splitlines()


def test_orthogonal_matrices_of_two_gains_have_two_rules() -> None:
    def build() -> nn.Module:
        net = nn.ModuleDict({"a": nn.Linear(16, 16), "b": nn.Linear(16, 16)})
        return started(net, "net.a.weight ~ orthogonal(2); net.b.weight ~ orthogonal(sqrt(2)); *.bias = 0")

    lines = statements(initdsl.infer(build)).splitlines()
    assert {"net.a.weight ~ orthogonal(2)", "net.b.weight ~ orthogonal(sqrt(2))"} <= set(lines)


def test_two_stacks_scaled_by_layer_have_a_rule_each() -> None:
    def build() -> nn.Module:
        stacks = {name: nn.ModuleList([nn.Linear(60, 60) for _ in range(3)]) for name in ("a", "b")}
        rules = "; ".join(f"net.{name}[i].weight ~ normal(0, 0.02 / sqrt(2 * (i + 1)))" for name in stacks)
        return started(nn.ModuleDict(stacks), f"{rules}; *.bias = 0")

    lines = statements(reproduced(build)).splitlines()
    scale = "~ normal(0, 0.02 / sqrt(2 * (i + 1)))"
    assert sorted(lines) == ["Linear.bias = 0", f"net.a[i].weight {scale}", f"net.b[i].weight {scale}"]


def test_two_stacks_of_mixed_layers_have_a_rule_each() -> None:
    def build() -> nn.Module:
        stacks = {
            name: nn.ModuleList([nn.Sequential(nn.Linear(40, 40), nn.LayerNorm(40)) for _ in range(3)]) for name in "ab"
        }
        rules = "Linear.weight in net.a ~ kaiming_normal(); Linear.weight in net.b ~ normal(0, 0.5)"
        return started(nn.ModuleDict(stacks), f"{rules}; *.bias = 0")

    lines = statements(reproduced(build)).splitlines()
    assert len(lines) == 4
    assert "net.b[*][0].weight ~ normal(0, 0.5)" in lines


def test_numbers_off_centre_are_no_common_rule_of_other_means_or_scales() -> None:
    def build() -> nn.Module:
        net = nn.ModuleDict({name: nn.Linear(64, 64) for name in "abc"})
        return started(
            net,
            "net.a.weight ~ normal(1, 0.1); net.b.weight ~ normal(2, 0.1); net.c.weight ~ normal(1, 0.5); *.bias = 0",
        )

    lines = statements(reproduced(build)).splitlines()
    assert {"net.a.weight ~ normal(1, 0.1)", "net.b.weight ~ normal(2, 0.1)", "net.c.weight ~ normal(1, 0.5)"} < set(
        lines
    )


class Places(nn.Module):
    """Parameters that hold their place; one without elements, one without dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.columns = nn.Parameter(torch.arange(6.0).repeat(3, 1))
        self.rows = nn.Parameter(torch.arange(6.0))
        self.none = nn.Parameter(torch.empty(0, 3))
        self.scalar = nn.Parameter(torch.tensor(2.5))


def test_places_and_tensors_without_elements_or_dimensions() -> None:
    lines = statements(initdsl.infer(Places)).splitlines()
    assert sorted(lines) == ["net.columns = index(1)", "net.rows = index(0)", "net.scalar = 2.5"]


def test_weights_that_are_computed_are_those_that_rules_name() -> None:
    from torch.nn.utils import parametrizations, weight_norm

    def build() -> nn.Module:
        net = nn.Sequential(
            parametrizations.weight_norm(nn.Linear(32, 40)), weight_norm(nn.Linear(40, 32)), nn.Linear(32, 8)
        )
        return started(net, "Linear.weight ~ normal(0, 0.5); *.bias = 0")

    assert sorted(statements(initdsl.infer(build)).splitlines()) == [
        "Linear.bias = 0",
        "Linear.weight ~ normal(0, 0.5)",
    ]


def test_a_reset_that_fails_is_no_default() -> None:
    class Broken(nn.Linear):
        ready = False

        def reset_parameters(self) -> None:
            if self.ready:
                raise RuntimeError("only once")
            super().reset_parameters()
            self.ready = True

    text = statements(reproduced(lambda: nn.Sequential(Broken(40, 40))))
    assert "default" not in text
    assert "Broken.weight ~ kaiming_uniform(a=sqrt(5))" in text


ODD = ('a"b', "c\\d", "e f", "new\nline", "tab\t", "\x00", "\u202e", "\U000e0001", "1", "é")


def test_parameters_by_odd_names() -> None:
    def build() -> nn.Module:
        drawn = nn.ParameterDict({name: nn.Parameter(torch.randn(40, 40)) for name in ODD})
        return nn.ModuleDict(
            {"drawn": drawn, "set": nn.ParameterDict({name: nn.Parameter(torch.ones(2)) for name in ODD})}
        )

    found = reproduced(build)
    assert len(initdsl.plan(build(), found.text).entries) == 2 * len(ODD)


def test_a_name_that_no_rule_file_can_hold_is_an_error() -> None:
    with pytest.raises(initdsl.InitDSLError, match="forbidden-character"):
        initdsl.infer(lambda: nn.ModuleDict({"inner": nn.ParameterDict({"\ud800": nn.Parameter(torch.ones(2))})}))


def test_refused() -> None:
    with pytest.raises(TypeError, match=r"returned int, not an nn\.Module"):
        initdsl.infer(lambda: 3)  # type: ignore[arg-type, return-value]
    with pytest.raises(initdsl.ResolveError, match=r"`net\.weight` is on the meta device"):
        initdsl.infer(lambda: nn.Linear(2, 2, device="meta"))
    with pytest.raises(TypeError, match="factory"):
        initdsl.infer(nn.Linear(2, 2))
    widths = iter(range(2, 100))
    with pytest.raises(initdsl.ResolveError, match="another model"):
        initdsl.infer(lambda: nn.Linear(2, next(widths)))


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(
        "from torch import nn\ndef build():\n    net = nn.Sequential(nn.Linear(40, 30))\n"
        "    nn.init.normal_(net[0].weight, 0, 0.05)\n    return net\nbuilt = build()\n"
    )
    cli.group(["infer", "--model", "model.py:build", "-o", "model.init"], standalone_mode=False)
    text = Path("model.init").read_text()
    assert text.startswith("# proposed by `initdsl infer --model model.py:build`\n")
    assert "Linear.weight ~ normal(0, 0.05)" in text
    assert initdsl.format(text) == text
    with pytest.raises(SystemExit) as caught:
        cli.group(["infer", "--model", "model.py:built"], standalone_mode=False)
    assert caught.value.code == 2
    assert "built already" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        cli.group(["infer", "--model", "model.py:build", "-o", "model.txt"], standalone_mode=False)
    assert caught.value.code == 2
    assert "`model.txt` is not an .init file" in capsys.readouterr().err
    cli.group(["infer", "--model", "model.py:build", "--samples", "2"], standalone_mode=False)
    said = capsys.readouterr()
    assert "Linear.weight ~ normal(0, 0.05)" in said.out
    assert said.err == ""
    Path("odd.py").write_text(
        "import torch\nfrom torch import nn\ndef build():\n    net = nn.Sequential(*(nn.Linear(40, 1) for _ in range(13)))\n"
        "    with torch.no_grad():\n        for layer in net: layer.weight.exponential_(), layer.bias.zero_()\n    return net\n"
    )
    cli.group(["infer", "--model", "odd.py:build"], standalone_mode=False)
    said = capsys.readouterr()
    assert "# not understood" in said.out
    told = said.err.removeprefix("not understood: ").strip().split(", ")
    assert len(told) == 13
    assert set(told) == {f"net[{i}].weight" for i in range(12)} | {"..."}


# ---- held out: networks it was not made with


def held_out(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import timm
        import torchvision
        import transformers as t

        small = {
            "hidden_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "vocab_size": 90,
        }
        match name:
            case "densenet":
                return torchvision.models.DenseNet(8, (2, 2), 16, num_classes=5)
            case "regnet":
                return timm.create_model("regnetx_002", num_classes=5)
            case "deit":
                return timm.create_model("deit_tiny_distilled_patch16_224", img_size=32, depth=2, num_classes=5)
            case "roberta":
                return t.RobertaForMaskedLM(t.RobertaConfig(**small))
            case "qwen":
                return t.Qwen2ForCausalLM(t.Qwen2Config(**small, num_key_value_heads=2))
            case "opt":
                return t.OPTForCausalLM(
                    t.OPTConfig(
                        hidden_size=48,
                        word_embed_proj_dim=48,
                        ffn_dim=64,
                        num_hidden_layers=2,
                        num_attention_heads=4,
                        vocab_size=90,
                    )
                )
        raise AssertionError(name)

    return build


@pytest.mark.models
@pytest.mark.parametrize("name", ["densenet", "regnet", "deit", "roberta", "qwen", "opt"])
def test_held_out(name: str, torchvision_shim: None) -> None:
    found = reproduced(held_out(name), samples=4 if name in ("regnet", "deit") else None)
    assert len(initdsl.parse(found.text).rules) <= 12
