"""`materialize` against the constructors of torchvision, timm and transformers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import initdsl
from tests.filling.test_materialize import EVERYTHING, same

pytestmark = pytest.mark.usefixtures("one_thread")


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 99}


def _vision(name: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import torchvision

        return getattr(torchvision.models, name)(**options)

    return build


def _timm(name: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import timm

        return timm.create_model(name, **options)

    return build


def _transformer(model: str, config: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        return getattr(transformers, model)(getattr(transformers, config)(**options))

    return build


SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "vision_vit": _vision("VisionTransformer", image_size=32, patch_size=8, num_layers=2, num_heads=4, hidden_dim=32, mlp_dim=64),
    "vision_swin": _vision(
        "SwinTransformer", patch_size=[4, 4], embed_dim=32, depths=[2, 2], num_heads=[2, 4], window_size=[4, 4]
    ),
    "vision_mobilenet": _vision("mobilenet_v3_small", width_mult=0.25),
    "vision_resnet": _vision("resnet18", num_classes=2),
    "timm_vit": _timm("vit_tiny_patch16_224", embed_dim=48, depth=2),
    "timm_beit": _timm("beit_base_patch16_224", embed_dim=48, depth=2, num_heads=4),
    "timm_eva": _timm("eva02_tiny_patch14_224", embed_dim=48, depth=2, num_heads=4),
    "timm_swin": _timm("swin_tiny_patch4_window7_224", embed_dim=24, depths=(2, 2), num_heads=(2, 4)),
    "timm_resmlp": _timm("resmlp_12_224", num_classes=2),
    "timm_levit": _timm("levit_128s", num_classes=2),
    "gpt2": _transformer("GPT2LMHeadModel", "GPT2Config", n_embd=32, n_layer=2, n_head=4, vocab_size=99, **SPECIAL),
    "llama": _transformer("LlamaForCausalLM", "LlamaConfig", **SMALL),
    "mistral": _transformer("MistralForCausalLM", "MistralConfig", **SMALL, num_key_value_heads=2),
    "mixtral": _transformer("MixtralForCausalLM", "MixtralConfig", **SMALL, num_key_value_heads=2),
    "gemma2": _transformer("Gemma2ForCausalLM", "Gemma2Config", **SMALL, num_key_value_heads=2, head_dim=8),
    "bert": _transformer("BertForMaskedLM", "BertConfig", **SMALL),
    "t5": _transformer(
        "T5ForConditionalGeneration", "T5Config", d_model=32, d_ff=64, num_layers=2, num_heads=4, vocab_size=99, d_kv=8
    ),
    "gptj": _transformer("GPTJForCausalLM", "GPTJConfig", n_embd=32, n_layer=2, n_head=4, vocab_size=99, rotary_dim=8, **SPECIAL),
    "neox": _transformer("GPTNeoXForCausalLM", "GPTNeoXConfig", **SMALL),
    "whisper": _transformer(
        "WhisperModel", "WhisperConfig", d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, vocab_size=99, decoder_start_token_id=1, **SPECIAL,
    ),
    "wav2vec2": _transformer(
        "Wav2Vec2Model", "Wav2Vec2Config", **SMALL, conv_dim=(16, 16), conv_stride=(2, 2), conv_kernel=(3, 3),
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
    ),
    "mamba": _transformer("MambaForCausalLM", "MambaConfig", hidden_size=32, num_hidden_layers=2, vocab_size=99, state_size=4),
}  # fmt: skip


def as_built(factory: Callable[[], nn.Module]) -> None:
    """Materialized is as constructed and filled: parameters, buffers, and tensors that are plain attributes."""
    torch.manual_seed(0)
    net = factory()
    made = initdsl.materialize(factory, EVERYTHING, seed=0)
    initdsl.apply(net, EVERYTHING, seed=0)  # parameters alike; buffers are those of the constructors
    same(made, net)
    theirs = dict(net.named_modules())
    for path, module in made.named_modules():
        for attribute, value in vars(module).items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value.nan_to_num(), vars(theirs[path])[attribute].nan_to_num()), (path, attribute)


@pytest.mark.models
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_as_the_library_builds_it(name: str, torchvision_shim: None) -> None:
    for library in ("torchvision", "timm", "transformers"):
        pytest.importorskip(library)
    as_built(ARCHITECTURES[name])


# what configurations call their sizes, and small ones
SIZES: dict[str, Any] = {
    **SMALL, **SPECIAL, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "d_model": 32, "d_ff": 64,
    "d_kv": 8, "num_layers": 2, "num_heads": 4, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_layers": 2, "n_heads": 4,
    "dim": 32, "hidden_dim": 64, "embed_dim": 32, "ffn_dim": 64, "encoder_layers": 2, "decoder_layers": 2,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "moe_intermediate_size": 32,
}  # fmt: skip


TRANSFORMERS = """
albert aria_text bart big_bird blenderbot bloom canine clip_vision_model convbert convnext ctrl cohere deberta
deberta-v2 deepseek_v3 dinov2 distilbert dpr electra falcon falcon_mamba funnel gemma gemma3_text glm gpt_bigcode
gpt_oss granite granitemoe hubert jamba jetmoe layoutlm led llama4_text longformer marian mbart minimax mobilebert
mpnet mpt nemotron nystromformer olmo2 olmoe opt pegasus persimmon phi phi3 plbart qwen2 qwen2_moe qwen3 qwen3_moe
recurrent_gemma rembert roberta roformer rwkv siglip_vision_model splinter stablelm starcoder2 switch_transformers
umt5 unispeech vit vit_mae vivit wavlm xglm xlm xlm-roberta xlnet xlstm xmod yolos
"""


VISION = """
convnext_tiny deeplabv3_mobilenet_v3_large densenet121 efficientnet_b0 fasterrcnn_mobilenet_v3_large_320_fpn
fcos_resnet50_fpn lraspp_mobilenet_v3_large maxvit_t mnasnet0_5 mobilenet_v2 raft_small regnet_y_400mf s3d
shufflenet_v2_x0_5 squeezenet1_1 swin3d_t mvit_v1_b
"""


TIMM = """
byobnet convnext efficientnet mambaout nfnet resnet vit vit2 vit3 vit4
"""


def _configured(kind: str) -> nn.Module:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    config = CONFIG_MAPPING[kind]
    known = {*vars(config()), *config.attribute_map}
    model: Any = MODEL_MAPPING[config]
    net: nn.Module = (model[0] if isinstance(model, list | tuple) else model)(
        config(**{size: value for size, value in SIZES.items() if size in known})
    )
    return net


def _segmenting(name: str) -> nn.Module:
    import torchvision

    build = torchvision.models.get_model_builder(name)
    further = {"weights_backbone": None} if "weights_backbone" in inspect.signature(build).parameters else {}
    net: nn.Module = build(weights=None, **further)
    return net


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize("name", [f"{library}:{n}" for library, names in [
    ("transformers", TRANSFORMERS), ("torchvision", VISION), ("timm", TIMM),
] for n in names.split()])  # fmt: skip
def test_many_more_as_their_libraries_build_them(name: str, torchvision_shim: None) -> None:
    library, _, kind = name.partition(":")
    pytest.importorskip(library)
    build = {"transformers": _configured, "torchvision": _segmenting, "timm": lambda k: _timm(f"test_{k}")()}[library]
    as_built(lambda: build(kind))


@pytest.mark.models
def test_what_a_library_computes_from_parameters_is_refused_by_name(torchvision_shim: None) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(
        initdsl.ResolveError, match=r"computed from parameters(.|\n)*`embeddings\.word_embeddings\.weight_integer`"
    ):
        initdsl.materialize(lambda: _configured("ibert"), EVERYTHING, seed=0)


@pytest.mark.models
def test_frozen_norms_copied_from_a_backbone_are_refused(torchvision_shim: None) -> None:
    """Their constructor asks for the meta device, and would silently leave out what it copies."""
    pytest.importorskip("timm")
    transformers = pytest.importorskip("transformers")
    config = transformers.DetrConfig(
        use_timm_backbone=True,
        use_pretrained_backbone=False,
        backbone="resnet10t",
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
    )
    with pytest.raises(initdsl.ResolveError, match=r"constructor of `DetrConvEncoder` needs the values"):
        initdsl.materialize(lambda: transformers.DetrModel(config), EVERYTHING, seed=0)
