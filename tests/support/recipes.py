"""The models that recipes are held against: of their libraries, or of their names, and what their sources say."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

os.environ.setdefault("KERAS_BACKEND", "torch")  # read when keras is imported


@dataclass
class Case:
    """One model class of one library, and what the recipe is told of it."""

    recipe: str
    library: str
    label: str
    build: Callable[[], nn.Module]
    vars: dict[str, Any] = field(default_factory=dict)
    slow: bool = False
    long: bool = False
    rounding: float = 0.0  # of tables, where the library works them out in float32
    base: Callable[[], nn.Module] | None = None  # the network of which `base.json` is to be the manifest

    @property
    def id(self) -> str:
        return f"{self.recipe}-{self.label}"


# the package to install, where it is not called as what is imported
PACKAGES = {"olmo_core": "ai2-olmo-core", "megatron.core": "megatron-core"}


def vision(name: str, **arguments: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import torchvision

        return torchvision.models.get_model(name, weights=None, **{"num_classes": 20, **arguments})

    return build


def image(name: str, **arguments: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import timm

        return timm.create_model(name, pretrained=False, **{"num_classes": 20, **arguments})

    return build


SMALL = {
    "vocab_size": 211, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 112,
    "num_key_value_heads": 2, "max_position_embeddings": 40, "pad_token_id": 3, "head_dim": 16,
}  # fmt: skip


def text(cls: str, **changes: Any) -> Callable[[], nn.Module]:
    """A class of transformers by its name, from a small configuration of its own kind."""

    def build() -> nn.Module:
        import transformers

        model = getattr(transformers, cls)
        return model(model.config_class(**{**SMALL, **changes}))

    return build


def titan(depth: int = 4, fuse: bool = True, tied: bool = False) -> nn.Module:
    """torchtitan's Llama 3, of the parts its own configurations are made of."""
    from torchtitan.models import llama3

    rope = llama3.ComplexRoPE.Config(dim=16, max_seq_len=64, theta=500000, scaling="llama")
    layers = llama3._build_llama3_layers(
        n_layers=depth, dim=64, n_heads=4, n_kv_heads=2, hidden_dim=96, rope=rope, fuse_qkv=fuse, attn_backend="flex"
    )
    embedding = llama3._EMBEDDING_SKIP_INIT if tied else llama3._EMBEDDING_INIT
    net = llama3.Llama3Model.Config(
        dim=64,
        vocab_size=211,
        layers=layers,
        enable_weight_tying=tied,
        tok_embeddings=llama3.Embedding.Config(num_embeddings=211, embedding_dim=64, param_init=embedding),
        norm=llama3.RMSNorm.Config(normalized_shape=64, param_init=llama3._NORM_INIT),
        lm_head=llama3.Linear.Config(in_features=64, out_features=211, param_init=llama3._output_linear_init(64)),
    ).build()
    net.init_states()
    return net


def olmo(method: str, kind: str = "llama_like", **changes: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from olmo_core.nn.transformer import InitMethod, TransformerConfig

        config = getattr(TransformerConfig, kind)(d_model=64, vocab_size=211, n_layers=3, n_heads=4, **changes)
        config.init_method = InitMethod(method)
        # its generator starts anew each time; every network here is to draw its own
        config.init_seed = int(torch.randint(2**31, ()))
        net = config.build(init_device="cpu")
        net.init_weights(device=torch.device("cpu"))
        return net

    return build


def megatron(**changes: Any) -> Callable[[], nn.Module]:
    """Megatron-core's GPT on one process without a GPU."""

    def build() -> nn.Module:
        from megatron.core import parallel_state
        from megatron.core.models.gpt import GPTModel
        from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
        from megatron.core.transformer.transformer_config import TransformerConfig
        from torch import distributed

        distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
        try:
            parallel_state.initialize_model_parallel(1, 1)
            config = TransformerConfig(
                num_layers=3, hidden_size=64, num_attention_heads=4, use_cpu_initialization=True, **changes
            )
            return GPTModel(
                config=config,
                transformer_layer_spec=get_gpt_layer_local_spec(),
                vocab_size=211,
                max_sequence_length=40,
                position_embedding_type="learned_absolute",
                share_embeddings_and_output_weights=False,
            )
        finally:
            parallel_state.destroy_model_parallel()
            distributed.destroy_process_group()

    return build


def keras_lstm() -> nn.Module:
    """What Keras starts an LSTM with, in torch's layout: gates are in the same order, matrices the other way round."""
    import keras

    keras.utils.set_random_seed(int(torch.randint(2**31, ())))
    layer = keras.layers.LSTM(48)
    layer.build((None, None, 32))
    net = nn.LSTM(32, 48)
    kernel, recurrent, bias = (torch.from_numpy(keras.ops.convert_to_numpy(w.value)) for w in layer.weights)
    with torch.no_grad():
        for name, values in {"weight_ih_l0": kernel.T, "weight_hh_l0": recurrent.T, "bias_ih_l0": bias}.items():
            getattr(net, name).copy_(values)
        net.bias_hh_l0.zero_()
    return net


def mu_net(width: int, depth: int = 1) -> nn.Module:
    import mup

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.inputs = nn.Embedding(60, width, padding_idx=2), nn.Linear(12, width)
            self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
            self.up, self.down, self.conv = (
                nn.Linear(width, 3 * width), nn.Linear(3 * width, width, bias=False), nn.Conv1d(width, width, 3)
            )  # fmt: skip
            self.norm, self.head = nn.LayerNorm(width), mup.MuReadout(width, 9, readout_zero_init=True)

    return Net()


def mu_started(width: int, zero_head: bool = True) -> Callable[[], nn.Module]:
    """A model that mup starts by its own `normal_`, its base being 32 wide."""

    def build() -> nn.Module:
        import mup

        net = mup.set_base_shapes(mu_net(width), mu_net(32), delta=mu_net(48))
        for name, parameter in net.named_parameters():
            if parameter.ndim > 1 and not (zero_head and "head" in name):
                mup.init.normal_(parameter, 0, 0.02)
            elif "norm.weight" not in name:
                nn.init.zeros_(parameter)
        with torch.no_grad():
            net.embed.weight[2] = 0
        return net

    return build


GPT2 = {"n_layer": 4, "n_embd": 64, "n_head": 4, "vocab_size": 211, "n_positions": 40}
T5 = {"d_model": 48, "d_kv": 12, "d_ff": 80, "num_layers": 2, "num_heads": 4, "vocab_size": 211}
MAMBA = {"hidden_size": 48, "num_hidden_layers": 3, "vocab_size": 211, "state_size": 8}

MARIAN = {
    "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 80, "decoder_ffn_dim": 80, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "decoder_start_token_id": 1,
}  # fmt: skip
DELTA = {
    "num_experts": 4, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32, "linear_num_value_heads": 4,
    "linear_num_key_heads": 2, "linear_key_head_dim": 16, "linear_value_head_dim": 16,
}  # fmt: skip
DEEPSEEK = {
    "n_routed_experts": 8, "moe_intermediate_size": 32, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2, "q_lora_rank": 32,
    "kv_lora_rank": 16, "qk_rope_head_dim": 8, "v_head_dim": 16, "qk_nope_head_dim": 16, "first_k_dense_replace": 1,
}  # fmt: skip

ZERO = {"zero_init_residual": True}
CONVOLUTIONS = {"embedding_size": 16, "hidden_sizes": [16, 24, 32, 48], "depths": [2, 2, 2, 2], "num_labels": 20}


def config(cls: str, **settings: Any) -> Callable[[], nn.Module]:
    """A class of transformers by its name, from these settings alone."""

    def build() -> nn.Module:
        import transformers

        model = getattr(transformers, cls)
        return model(model.config_class(**settings))

    return build


# (library, label, build, vars, slow) of what adds to a residual stream of convolutions
RESIDUAL: list[tuple[str, str, Callable[[], nn.Module], dict[str, Any], bool]] = [
    ("timm", "resnetv2_18", image("resnetv2_18"), {}, False),
    ("timm", "resnetv2_50x1_bit", image("resnetv2_50x1_bit"), {}, True),
    ("timm", "resnetv2_50, zero_init_last", image("resnetv2_50", zero_init_last=True), ZERO, True),
    ("timm", "resnetv2_50, not preact", image("resnetv2_50", zero_init_last=True, preact=False), ZERO, True),
    ("timm", "regnetx_002", image("regnetx_002"), ZERO, False),
    ("timm", "regnety_002", image("regnety_002"), ZERO, True),
    ("torchvision", "regnet_x_400mf", vision("regnet_x_400mf"), {}, True),
    ("torchvision", "regnet_y_400mf", vision("regnet_y_400mf"), {}, False),
    ("transformers", "ResNetForImageClassification", config("ResNetForImageClassification", **CONVOLUTIONS), {}, True),
    ("transformers", "RegNetForImageClassification", config("RegNetForImageClassification", **CONVOLUTIONS, groups_width=8), {}, True),
]  # fmt: skip

# (label, settings, vars)
OF_TRANSFORMERS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("IBertForMaskedLM", {}, {}), ("OpenAIGPTLMHeadModel", {"n_embd": 64, "n_head": 4, "n_layer": 2, "n_positions": 40}, {}),
    ("JetMoeForCausalLM", {"num_local_experts": 4, "kv_channels": 16}, {"std": 0.01}),
    ("Qwen2MoeForCausalLM", {"num_experts": 4, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32}, {}), ("GlmForCausalLM", {}, {}),
    ("Cohere2ForCausalLM", {}, {}), ("Llama4ForCausalLM", {}, {}), ("MptForCausalLM", {"d_model": 64, "n_heads": 4, "n_layers": 2}, {}),
    ("GPTJForCausalLM", {"n_embd": 64, "n_head": 4, "n_layer": 2, "rotary_dim": 8}, {}),
    ("GPTNeoForCausalLM", {"attention_types": [[["global", "local"], 1], [["global"], 1]]}, {}),
]  # fmt: skip

PATCHES = {
    "hidden_size": 64, "intermediate_size": 112, "num_attention_heads": 4, "num_hidden_layers": 3, "image_size": 32, "patch_size": 8,
}  # fmt: skip
WORDS = {
    "hidden_size": 64, "intermediate_size": 112, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 211, "bos_token_id": 1,
    "eos_token_id": 2, "max_position_embeddings": 40, "projection_dim": 48,
}  # fmt: skip
PAIR = {"text_config": WORDS, "vision_config": PATCHES}
WINDOWS = {"image_size": 32, "patch_size": 4, "embed_dim": 24, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
SEQUENCES = {
    "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 80,
    "decoder_ffn_dim": 80, "vocab_size": 211, "decoder_start_token_id": 1,
}  # fmt: skip
SPEECH = {
    **SEQUENCES,
    "max_source_positions": 60,
    "max_target_positions": 40,
    "num_mel_bins": 20,
    "pad_token_id": 3,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SOUND = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 80, "conv_dim": [32] * 7,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
# (label, settings) of what sees and hears
SEEING: list[tuple[str, dict[str, Any]]] = [
    ("ViTForImageClassification", PATCHES), ("CLIPModel", {**PAIR, "projection_dim": 48}), ("SiglipModel", PAIR), ("Dinov2Model", PATCHES),
    ("SwinForImageClassification", WINDOWS), ("Wav2Vec2ForCTC", SOUND),
    ("DeiTForImageClassificationWithTeacher", PATCHES), ("BeitForImageClassification", PATCHES), ("VideoMAEForVideoClassification", PATCHES),
    ("Dinov2WithRegistersForImageClassification", PATCHES), ("DINOv3ViTModel", {**PATCHES, "num_register_tokens": 4}),
    ("Swinv2ForImageClassification", WINDOWS), ("ConvNextForImageClassification", CONVOLUTIONS), ("ConvNextV2ForImageClassification", CONVOLUTIONS),
    ("MobileViTForImageClassification", {}), ("SegformerForSemanticSegmentation", {}), ("CLIPTextModelWithProjection", WORDS),
    ("CLIPVisionModelWithProjection", {**PATCHES, "projection_dim": 48}), ("CLIPForImageClassification", PAIR), ("SiglipForImageClassification", PAIR),
    ("Siglip2Model", {**PAIR, "vision_config": {k: v for k, v in PATCHES.items() if k != "image_size"}}),
    ("BlipForConditionalGeneration", {**PAIR, "text_config": {**WORDS, "encoder_hidden_size": 64}}),
    ("LlavaForConditionalGeneration", {"text_config": {**SMALL, "model_type": "llama"}, "vision_config": {**PATCHES, "model_type": "clip_vision_model"}, "image_token_index": 5}),
    ("BartForConditionalGeneration", SEQUENCES), ("MBartForConditionalGeneration", SEQUENCES), ("PegasusForConditionalGeneration", SEQUENCES),
    ("OPTForCausalLM", {"hidden_size": 48, "word_embed_proj_dim": 48, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 90}),
    ("HubertForCTC", SOUND), ("Wav2Vec2ForSequenceClassification, convolutions with biases", {**SOUND, "feat_extract_norm": "layer", "conv_bias": True}),
]  # fmt: skip

CASES = [
    Case("resnet", "torchvision", "resnet18", vision("resnet18")),
    Case("resnet", "torchvision", "resnet50", vision("resnet50", zero_init_residual=True), {"zero_init_residual": True}, long=True),
    Case("resnet", "torchvision", "resnext50_32x4d", vision("resnext50_32x4d"), slow=True),
    Case("resnet", "torchvision", "wide_resnet50_2", vision("wide_resnet50_2"), slow=True),
    Case("vit_torchvision", "torchvision", "vit_b_16", vision("vit_b_16", image_size=32), slow=True),
    Case("vit_torchvision", "torchvision", "VisionTransformer", lambda: small_vit()),
    Case("vit_torchvision", "torchvision", "VisionTransformer, representation_size", lambda: small_vit(representation_size=24)),
    Case("efficientnet", "torchvision", "efficientnet_b0", vision("efficientnet_b0")),
    Case("efficientnet", "torchvision", "efficientnet_v2_s", vision("efficientnet_v2_s"), slow=True),
    Case("efficientnet_timm", "timm", "efficientnet_b0", image("efficientnet_b0")),
    Case("efficientnet_timm", "timm", "mobilenetv3_small_100", image("mobilenetv3_small_100")),
    Case("efficientnet_timm", "timm", "tf_efficientnetv2_b0", image("tf_efficientnetv2_b0"), slow=True),
    Case("convnext", "torchvision", "convnext_tiny", vision("convnext_tiny"), slow=True),
    Case("convnext", "timm", "convnext_atto", image("convnext_atto")),
    Case("convnext", "timm", "convnext_femto", image("convnext_femto"), slow=True),
    Case("mlp_mixer", "timm", "mixer_s32_224", image("mixer_s32_224", img_size=64), long=True),
    Case("mlp_mixer", "timm", "gmlp_ti16_224", image("gmlp_ti16_224", img_size=64)),
    Case("mlp_mixer", "timm", "mixer_s16_224", image("mixer_s16_224", img_size=48), slow=True),
    Case("vit_timm", "timm", "vit_tiny_patch16_224", image("vit_tiny_patch16_224", img_size=64, depth=4)),
    Case("vit_timm", "timm", "deit_tiny_patch16_224", image("deit_tiny_patch16_224", img_size=64, depth=4)),
    Case("vit_timm", "timm", "vit_small_patch32_224, 4 registers", image("vit_small_patch32_224", depth=2, reg_tokens=4), slow=True),
    Case("vit_timm", "timm", "deit3_small_patch16_224", image("deit3_small_patch16_224", img_size=64, depth=2), slow=True),
    Case("vit_timm", "timm", "deit_tiny_distilled_patch16_224", image("deit_tiny_distilled_patch16_224", img_size=64, depth=2), slow=True),
    Case("vit_timm", "timm", "vit_small_patch14_dinov2", image("vit_small_patch14_dinov2", img_size=56, depth=2), slow=True),
    Case("convnext", "timm", "convnextv2_atto", image("convnextv2_atto"), slow=True),
    Case("resnet", "timm", "resnet26", image("resnet26"), {"zero_init_residual": True}, slow=True),
    Case("efficientnet_timm", "timm", "mixnet_s", image("mixnet_s"), slow=True),
    Case("t5", "transformers", "MT5ForConditionalGeneration", text("MT5ForConditionalGeneration", **T5), slow=True),
    Case("t5", "transformers", "T5ForTokenClassification", text("T5ForTokenClassification", **T5), slow=True),
    Case("t5", "transformers", "T5ForSequenceClassification", text("T5ForSequenceClassification", **T5), slow=True),
    Case("llama", "transformers", "MixtralForCausalLM", text("MixtralForCausalLM", num_local_experts=4), slow=True),
    Case("llama", "transformers", "Qwen3MoeForCausalLM", text("Qwen3MoeForCausalLM", num_experts=4, moe_intermediate_size=32), slow=True),
    Case("transformers", "transformers", "BloomForCausalLM", text("BloomForCausalLM"), slow=True),
    Case("mamba", "transformers", "FalconMambaForCausalLM", text("FalconMambaForCausalLM", **MAMBA), slow=True),
    Case("vit_fix_init", "timm", "vit_tiny_patch16_224(fix_init)", image("vit_tiny_patch16_224", img_size=64, depth=6, fix_init=True)),
    Case("vit_jax", "timm", "vit_tiny_patch16_224(jax)", image("vit_tiny_patch16_224", img_size=64, depth=4, weight_init="jax")),
    Case("vit_moco", "timm", "vit_tiny_patch16_224(moco)", image("vit_tiny_patch16_224", img_size=64, depth=4, weight_init="moco")),
    Case("gpt2", "transformers", "GPT2LMHeadModel", text("GPT2LMHeadModel", **GPT2)),
    Case("gpt2", "transformers", "GPT2Model, initializer_range 0.1", text("GPT2Model", **{**GPT2, "initializer_range": 0.1}), {"std": 0.1}),
    Case("gpt2", "transformers", "GPT2ForSequenceClassification", text("GPT2ForSequenceClassification", **GPT2)),
    Case("gpt2", "transformers", "GPT2DoubleHeadsModel", text("GPT2DoubleHeadsModel", **GPT2), slow=True),
    *[
        Case("bert", "transformers", name, text(name), slow=i > 2)
        for i, name in enumerate([
            "BertForMaskedLM", "RobertaForMaskedLM", "AlbertForMaskedLM", "BertModel", "BertForPreTraining",
            "BertForSequenceClassification", "RobertaForTokenClassification", "ElectraForPreTraining", "CamembertForMaskedLM",
            "XLMRobertaForMaskedLM", "MPNetForMaskedLM",
        ])
    ],
    Case("bert", "transformers", "DistilBertForMaskedLM", text("DistilBertForMaskedLM", dim=64, n_layers=3, n_heads=4, hidden_dim=112), slow=True),
    *[
        Case("llama", "transformers", name, text(name), slow=i > 3)
        for i, name in enumerate([
            "LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM", "LlamaForSequenceClassification",
            "Phi3ForCausalLM", "Olmo2ForCausalLM", "GraniteForCausalLM", "SmolLM3ForCausalLM", "LlamaModel",
        ])
    ],
    *[
        Case("transformers", "transformers", name, text(name, **changes), slow=i > 2)
        for i, (name, changes) in enumerate([
            ("BertForMaskedLM", {}), ("GemmaForCausalLM", {}), ("PhiForCausalLM", {}), ("Gemma2ForCausalLM", {}),
            ("StableLmForCausalLM", {}), ("CohereForCausalLM", {}), ("GPTNeoXForCausalLM", {}), ("Starcoder2ForCausalLM", {"initializer_range": 0.02}),
            ("MistralForCausalLM", {}),
        ])
    ],
    Case("t5", "transformers", "T5ForConditionalGeneration", text("T5ForConditionalGeneration", **T5)),
    Case("t5", "transformers", "T5Model, gated", text("T5Model", **T5, feed_forward_proj="gated-gelu", initializer_factor=0.5), {"factor": 0.5}),
    Case("t5", "transformers", "T5EncoderModel", text("T5EncoderModel", **T5), slow=True),
    Case("resnet", "torchvision", "resnet34", vision("resnet34"), slow=True),
    Case("resnet", "torchvision", "resnet18, GroupNorm", vision("resnet18", norm_layer=lambda c: nn.GroupNorm(8, c)), slow=True),
    Case("resnet", "timm", "ecaresnet26t", image("ecaresnet26t"), {"zero_init_residual": True}, slow=True),
    Case("resnet", "timm", "seresnext26d_32x4d", image("seresnext26d_32x4d"), {"zero_init_residual": True}, slow=True),
    *[
        Case("efficientnet_timm", "timm", name, image(name), slow=True)
        for name in ("efficientnet_lite0", "mobilenetv2_100", "mnasnet_small", "fbnetc_100", "efficientnet_cc_b0_4e", "efficientnet_b0_g8_gn", "mobilenetv4_conv_small", "mobilenetv4_hybrid_medium")
    ],
    Case("convnext", "timm", "convnext_zepto_rms", image("convnext_zepto_rms"), slow=True),
    Case("convnext", "timm", "convnext_atto, head_init_scale", image("convnext_atto", head_init_scale=0.5), {"head_scale": 0.5}, slow=True),
    Case("mlp_mixer", "timm", "MlpMixer, gated", lambda: mixer(gated=True), slow=True),
    Case("mlp_mixer", "timm", "MlpMixer, nlhb", lambda: mixer(nlhb=True), {"head_bias": -math.log(20)}, slow=True),
    *[
        Case(recipe, "timm", f"{name}{label}", image(name, depth=3, weight_init=mode, **changes), slow=True)
        for recipe, mode in (("vit_timm", ""), ("vit_jax", "jax"), ("vit_moco", "moco"))
        for name, label, changes in (
            ("vit_tiny_patch16_224", f", average pool {mode}", {"img_size": 64, "global_pool": "avg", "class_token": False}),
            ("vit_tiny_patch16_224", f", LayerScale {mode}", {"img_size": 64, "init_values": 1e-5}),
            ("vit_base_patch16_siglip_224", f", narrow {mode}", {"img_size": 64, "embed_dim": 128, "num_heads": 4}),
            ("vit_giant_patch14_dinov2", f", narrow {mode}", {"img_size": 56, "embed_dim": 96, "num_heads": 4}),
        )
    ],
    *[
        Case("bert", "transformers", name, text(name, **changes), slow=True)
        for name, changes in (
            ("DebertaV2ForMaskedLM", {}), ("DebertaForMaskedLM", {}), ("ConvBertForMaskedLM", {}), ("SqueezeBertForMaskedLM", {"embedding_size": 64}),
            ("MobileBertForMaskedLM", {"embedding_size": 32, "intra_bottleneck_size": 32, "true_hidden_size": 32}), ("EsmForMaskedLM", {}),
            ("LongformerForMaskedLM", {"attention_window": 8}), ("NystromformerForMaskedLM", {}), ("MegatronBertForMaskedLM", {}),
        )
    ],
    *[
        Case(recipe, "transformers", name, text(name, **changes), slow=True)
        for name, changes in (
            ("GptOssForCausalLM", {"num_local_experts": 4}), ("GraniteMoeForCausalLM", {"num_local_experts": 4}), ("DiffLlamaForCausalLM", {}),
            ("DeepseekV3ForCausalLM", DEEPSEEK), ("OlmoeForCausalLM", {"num_experts": 4}), ("PhimoeForCausalLM", {"num_local_experts": 4}),
            ("OlmoForCausalLM", {}), ("Gemma3ForCausalLM", {}),
        )
        for recipe in ("llama", "transformers")
    ],
    Case("gpt2", "transformers", "DecisionTransformerModel", text("DecisionTransformerModel", **{**GPT2, "hidden_size": 64}), slow=True),
    Case("gpt2", "transformers", "GPT2LMHeadModel, cross-attention", text("GPT2LMHeadModel", **GPT2, add_cross_attention=True), slow=True),
    Case("t5", "transformers", "UMT5ForConditionalGeneration", text("UMT5ForConditionalGeneration", **T5), slow=True),
    Case("t5", "transformers", "LongT5Model, transient-global", text("LongT5Model", **T5, encoder_attention_type="transient-global"), slow=True),
    Case("mamba2", "transformers", "Mamba2ForCausalLM", text("Mamba2ForCausalLM", **MAMBA, num_heads=4, head_dim=24)),
    Case("mamba", "transformers", "MambaForCausalLM, constant steps", text("MambaForCausalLM", **MAMBA, time_step_init_scheme="constant"), {"constant": True}, slow=True),
    Case("llama_torchtitan", "torchtitan", "Llama3Model", titan),
    Case("llama_torchtitan", "torchtitan", "Llama3Model, q, k and v apart", lambda: titan(3, fuse=False)),
    Case("llama_torchtitan", "torchtitan", "Llama3Model, tied", lambda: titan(2, tied=True)),
    Case("olmo_core", "olmo_core", "Transformer, normal", olmo("normal")),
    Case("olmo_core", "olmo_core", "Transformer, normal, olmo2_like", olmo("normal", "llama_like", qk_norm=True)),
    Case("olmo_core_llama", "olmo_core", "Transformer, llama", olmo("llama")),
    Case("olmo_core_llama", "olmo_core", "Transformer, llama_depth", olmo("llama_depth"), {"depth_scaled": True}),
    Case("olmo_core_fan_in", "olmo_core", "Transformer, fan_in", olmo("fan_in")),
    Case("olmo_core_normalized", "olmo_core", "Transformer, normalized", olmo("normalized")),
    Case("megatron", "megatron.core", "GPTModel", megatron()),
    Case("megatron", "megatron.core", "GPTModel, RMSNorm, SwiGLU, no biases", megatron(normalization="RMSNorm", gated_linear_unit=True, add_bias_linear=False, init_method_std=0.05), {"std": 0.05}),
    Case("lstm_keras", "keras", "LSTM", keras_lstm),
    Case("mup", "mup", "8 times as wide as the base", mu_started(256), base=lambda: mu_net(32)),
    Case("mup", "mup", "half as wide, readout drawn", mu_started(16, zero_head=False), {"readout": 0.02}, base=lambda: mu_net(32)),
    Case("mup", "mup", "the base itself", mu_started(32), base=lambda: mu_net(32)),
    Case("mamba", "transformers", "MambaForCausalLM", text("MambaForCausalLM", **MAMBA)),
    *[
        Case(recipe, "transformers", label, text(label.partition(",")[0], **changes), slow=True)
        for recipe, label, changes in (
            ("gpt2", "ImageGPTForCausalImageModeling", GPT2), ("gpt2", "GPTBigCodeForCausalLM", GPT2), ("gpt2", "GPT2LMHeadModel, n_inner, untied", {**GPT2, "n_inner": 100, "tie_word_embeddings": False}),
            ("bert", "BertForMaskedLM, untied", {"tie_word_embeddings": False}), ("transformers", "BertForMaskedLM, untied", {"tie_word_embeddings": False}),
            ("bert", "RoFormerForMaskedLM", {}), ("transformers", "RoFormerForMaskedLM", {}), ("transformers", "MarianMTModel", MARIAN),
            ("transformers", "Qwen3NextForCausalLM", DELTA), ("transformers", "JambaForCausalLM", {"num_experts": 2}), ("transformers", "BambaForCausalLM", {}),
            ("transformers", "GraniteMoeHybridForCausalLM", {"num_local_experts": 4, "shared_intermediate_size": 32}),
            ("transformers", "FalconH1ForCausalLM", {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_state": 16}),
            ("t5", "SwitchTransformersForConditionalGeneration", {**T5, "num_experts": 4, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1}), ("t5", "Pop2PianoForConditionalGeneration", T5),
            ("modernbert", "ModernBertModel", {}), ("modernbert", "ModernBertForSequenceClassification", {}),
        )
    ],
    Case("modernbert", "transformers", "ModernBertForMaskedLM", text("ModernBertForMaskedLM")),
    Case("modernbert", "transformers", "ModernBertForMaskedLM, untied, biases", text("ModernBertForMaskedLM", tie_word_embeddings=False, norm_bias=True, mlp_bias=True, attention_bias=True, initializer_range=0.05), {"std": 0.05}, slow=True),
    Case("resnet", "timm", "res2net50_26w_4s", image("res2net50_26w_4s"), {"zero_init_residual": True}, slow=True),
    Case("resnet", "timm", "resnest14d", image("resnest14d"), {"zero_init_residual": True}, slow=True),
    Case("vit_torchvision", "torchvision", "VisionTransformer, convolutional stem", lambda: small_vit(stem=(16, 32, 48)), slow=True),
    *[Case("resnet", library, label, build, zero, slow=slow) for library, label, build, zero, slow in RESIDUAL],
    Case("vit_timm", "timm", "hiera_tiny_224", image("hiera_tiny_224"), long=True),
    Case("vit_timm", "timm", "sam2_hiera_tiny", image("sam2_hiera_tiny"), slow=True),
    Case("vit_jax", "timm", "hiera_small_abswin_256", image("hiera_small_abswin_256"), slow=True),
    Case("vit_timm", "timm", "vit_relpos_small_patch16_224", image("vit_relpos_small_patch16_224", depth=2)),
    Case("vit_timm", "timm", "vit_relpos_small_patch16_224, weight_init", image("vit_relpos_small_patch16_224", depth=2, weight_init=""), slow=True),
    Case("vit_timm", "timm", "vit_small_patch14_dinov2, layer_scale", image("vit_small_patch14_dinov2", img_size=56, depth=2, init_values=0.3), {"layer_scale": 0.3}, slow=True),
    *[Case("efficientnet", "torchvision", name, vision(name), slow=i > 0) for i, name in enumerate(("mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5"))],
    *[Case("efficientnet_timm", "timm", name, image(name), slow=True) for name in ("ghostnet_100", "ghostnetv2_100", "mobilenetv5_base")],
    Case("mlp_mixer", "timm", "resmlp_12_224", image("resmlp_12_224", img_size=64)),
    Case("convnext", "torchvision", "convnext_small", vision("convnext_small"), slow=True),
    *[Case("swin", "torchvision", name, vision(name), slow=True) for name in ("swin_t", "swin_v2_t")],
    Case("swin", "timm", "swin_tiny_patch4_window7_224", image("swin_tiny_patch4_window7_224"), long=True),
    *[Case("swin", "timm", name, image(name), slow=True) for name in ("swinv2_tiny_window8_256", "swinv2_cr_tiny_ns_224")],
    *[
        Case("eva", "timm", f"{name}, small", image(name, embed_dim=96, num_heads=4, depth=3), slow=i > 0)
        for i, name in enumerate(("eva02_tiny_patch14_224", "beit_base_patch16_224", "vit_small_patch16_dinov3", "eva02_base_patch16_clip_224", "vit_pe_core_tiny_patch16_384"))
    ],
    Case("vgg", "torchvision", "vgg11_bn", vision("vgg11_bn"), slow=True),
    Case("vgg", "timm", "vgg11", image("vgg11"), slow=True),
    Case("densenet", "torchvision", "densenet121", vision("densenet121")),
    Case("densenet", "timm", "densenet121", image("densenet121"), slow=True),
    Case("maxvit", "torchvision", "maxvit_t", vision("maxvit_t"), slow=True),
    *[Case("maxvit", "timm", name, image(name), slow=True) for name in ("maxvit_tiny_tf_224", "maxvit_nano_rw_256", "coatnet_nano_rw_224")],
    *[Case("t5", "transformers", f"UdopForConditionalGeneration{label}", text("UdopForConditionalGeneration", **T5, **changes), slow=True) for label, changes in (("", {}), (", untied", {"tie_word_embeddings": False}))],
    *[Case("transformers", "transformers", label, text(label.partition(",")[0], **changes), vars, slow=True) for label, changes, vars in OF_TRANSFORMERS],
    *[Case("transformers", "transformers", label, config(label.partition(",")[0], **changes), slow=i > 5) for i, (label, changes) in enumerate(SEEING)],
    *[Case("transformers", "transformers", name, config(name, **SPEECH), rounding=1e-5, slow=i > 0) for i, name in enumerate(("WhisperForConditionalGeneration", "WhisperForAudioClassification"))],
    Case("mamba", "transformers", "MambaModel, rescaled", text("MambaModel", **MAMBA, rescale_prenorm_residual=True, initializer_range=0.05), {"std": 0.05, "rescale": True}),
]  # fmt: skip


def mixer(gated: bool = False, **arguments: Any) -> nn.Module:
    from timm.layers import GluMlp
    from timm.models.mlp_mixer import MlpMixer

    if gated:
        arguments = {"mlp_ratio": (1.0, 4.0), "mlp_layer": GluMlp, "act_layer": nn.SiLU, **arguments}
    return MlpMixer(num_classes=20, img_size=64, num_blocks=3, embed_dim=96, **arguments)


def small_vit(stem: tuple[int, ...] = (), **arguments: Any) -> nn.Module:
    from torchvision.models import VisionTransformer
    from torchvision.models.vision_transformer import ConvStemConfig

    if stem:
        arguments["conv_stem_configs"] = [ConvStemConfig(width, 3, 2) for width in stem]
    return VisionTransformer(
        image_size=32, patch_size=8, num_layers=3, num_heads=4, hidden_dim=64, mlp_dim=128, num_classes=20, **arguments
    )


# What people call a family of models, and the cases (`recipe-label`) that its row on the page rests on.
FAMILIES: dict[str, tuple[str, ...]] = {
    "ALBERT": ("bert-AlbertForMaskedLM",),
    "BART, mBART, PEGASUS": ("transformers-BartForConditionalGeneration", "transformers-MBartForConditionalGeneration", "transformers-PegasusForConditionalGeneration"),
    "BEiT": ("eva-beit_base_patch16_224, small", "transformers-BeitForImageClassification"),
    "BERT": ("bert-BertModel", "bert-BertForMaskedLM", "bert-BertForSequenceClassification"),
    "BLIP": ("transformers-BlipForConditionalGeneration",),
    "BLOOM": ("transformers-BloomForCausalLM",),
    "CLIP": ("transformers-CLIPModel", "transformers-CLIPTextModelWithProjection", "transformers-CLIPVisionModelWithProjection"),
    "CoAtNet": ("maxvit-coatnet_nano_rw_224",),
    "Cohere, Command R": ("transformers-CohereForCausalLM", "transformers-Cohere2ForCausalLM"),
    "ConvNeXt": ("convnext-convnext_tiny", "convnext-convnext_small", "convnext-convnext_atto", "transformers-ConvNextForImageClassification"),
    "ConvNeXt V2": ("convnext-convnextv2_atto", "transformers-ConvNextV2ForImageClassification"),
    "DeBERTa": ("bert-DebertaV2ForMaskedLM", "bert-DebertaForMaskedLM"),
    "DeepSeek V3": ("llama-DeepseekV3ForCausalLM",),
    "DeiT": ("vit_timm-deit_tiny_patch16_224", "vit_timm-deit_tiny_distilled_patch16_224", "transformers-DeiTForImageClassificationWithTeacher"),
    "DeiT III": ("vit_timm-deit3_small_patch16_224",),
    "DenseNet": ("densenet-densenet121",),
    "DINOv2": ("vit_timm-vit_small_patch14_dinov2", "transformers-Dinov2Model", "transformers-Dinov2WithRegistersForImageClassification"),
    "DINOv3": ("eva-vit_small_patch16_dinov3, small", "transformers-DINOv3ViTModel"),
    "DistilBERT": ("bert-DistilBertForMaskedLM",),
    "EfficientNet, EfficientNet V2": ("efficientnet-efficientnet_b0", "efficientnet-efficientnet_v2_s", "efficientnet_timm-efficientnet_b0", "efficientnet_timm-tf_efficientnetv2_b0"),
    "ELECTRA": ("bert-ElectraForPreTraining",),
    "EVA, EVA-02": ("eva-eva02_tiny_patch14_224, small", "eva-eva02_base_patch16_clip_224, small"),
    "Gemma, Gemma 2": ("transformers-GemmaForCausalLM", "transformers-Gemma2ForCausalLM"),
    "Gemma 3": ("llama-Gemma3ForCausalLM",),
    "GhostNet": ("efficientnet_timm-ghostnet_100", "efficientnet_timm-ghostnetv2_100"),
    "GLM": ("transformers-GlmForCausalLM",),
    "gMLP": ("mlp_mixer-gmlp_ti16_224",),
    "GPT (the first)": ("transformers-OpenAIGPTLMHeadModel",),
    "GPT-2": ("gpt2-GPT2LMHeadModel", "gpt2-GPT2ForSequenceClassification"),
    "GPT-J, GPT-Neo, GPT-NeoX, Pythia": ("transformers-GPTJForCausalLM", "transformers-GPTNeoForCausalLM", "transformers-GPTNeoXForCausalLM"),
    "GPT-OSS": ("llama-GptOssForCausalLM",),
    "Granite": ("llama-GraniteForCausalLM", "llama-GraniteMoeForCausalLM"),
    "Hiera, SAM 2's trunk": ("vit_timm-hiera_tiny_224", "vit_timm-sam2_hiera_tiny"),
    "Hiera with absolute windows": ("vit_jax-hiera_small_abswin_256",),
    "HuBERT": ("transformers-HubertForCTC",),
    "Jamba": ("transformers-JambaForCausalLM",),
    "LLaMA": ("llama-LlamaForCausalLM", "llama-LlamaForSequenceClassification"),
    "Llama 4": ("transformers-Llama4ForCausalLM",),
    "LLaVA": ("transformers-LlavaForConditionalGeneration",),
    "Mamba": ("mamba-MambaForCausalLM", "mamba-FalconMambaForCausalLM"),
    "Mamba-2": ("mamba2-Mamba2ForCausalLM",),
    "MaxViT": ("maxvit-maxvit_t", "maxvit-maxvit_tiny_tf_224", "maxvit-maxvit_nano_rw_256"),
    "Mistral": ("llama-MistralForCausalLM",),
    "Mixtral": ("llama-MixtralForCausalLM",),
    "MLP-Mixer": ("mlp_mixer-mixer_s32_224", "mlp_mixer-mixer_s16_224"),
    "MNASNet": ("efficientnet-mnasnet0_5", "efficientnet_timm-mnasnet_small"),
    "MobileNet V2": ("efficientnet-mobilenet_v2", "efficientnet_timm-mobilenetv2_100"),
    "MobileNet V3": ("efficientnet-mobilenet_v3_small", "efficientnet_timm-mobilenetv3_small_100"),
    "MobileNet V4, V5": ("efficientnet_timm-mobilenetv4_conv_small", "efficientnet_timm-mobilenetv4_hybrid_medium", "efficientnet_timm-mobilenetv5_base"),
    "MobileViT": ("transformers-MobileViTForImageClassification",),
    "ModernBERT": ("modernbert-ModernBertForMaskedLM", "modernbert-ModernBertForSequenceClassification"),
    "MPT": ("transformers-MptForCausalLM",),
    "OLMo, OLMo 2": ("llama-OlmoForCausalLM", "llama-Olmo2ForCausalLM"),
    "OPT": ("transformers-OPTForCausalLM",),
    "Phi": ("transformers-PhiForCausalLM",),
    "Phi-3, Phi-4": ("llama-Phi3ForCausalLM",),
    "Qwen 2, Qwen 3": ("llama-Qwen2ForCausalLM", "llama-Qwen3ForCausalLM"),
    "Qwen MoE": ("transformers-Qwen2MoeForCausalLM", "llama-Qwen3MoeForCausalLM"),
    "Qwen 3 Next": ("transformers-Qwen3NextForCausalLM",),
    "RegNet": ("resnet-regnet_x_400mf", "resnet-regnet_y_400mf", "resnet-regnetx_002", "resnet-regnety_002", "resnet-RegNetForImageClassification"),
    "ResMLP": ("mlp_mixer-resmlp_12_224",),
    "ResNet": ("resnet-resnet18", "resnet-resnet34", "resnet-resnet26", "resnet-ResNetForImageClassification"),
    "ResNet V2, BiT": ("resnet-resnetv2_18", "resnet-resnetv2_50x1_bit"),
    "ResNeXt, Wide ResNet, SE-ResNeXt": ("resnet-resnext50_32x4d", "resnet-wide_resnet50_2", "resnet-seresnext26d_32x4d"),
    "RoBERTa, XLM-R": ("bert-RobertaForMaskedLM", "bert-XLMRobertaForMaskedLM"),
    "SegFormer": ("transformers-SegformerForSemanticSegmentation",),
    "SigLIP, SigLIP 2": ("transformers-SiglipModel", "transformers-Siglip2Model", "vit_timm-vit_base_patch16_siglip_224, narrow "),
    "StableLM": ("transformers-StableLmForCausalLM",),
    "StarCoder": ("gpt2-GPTBigCodeForCausalLM", "transformers-Starcoder2ForCausalLM"),
    "Swin": ("swin-swin_t", "swin-swin_tiny_patch4_window7_224", "transformers-SwinForImageClassification"),
    "Swin V2": ("swin-swin_v2_t", "swin-swinv2_tiny_window8_256", "transformers-Swinv2ForImageClassification"),
    "T5, Flan-T5, mT5": ("t5-T5ForConditionalGeneration", "t5-MT5ForConditionalGeneration"),
    "UDOP": ("t5-UdopForConditionalGeneration",),
    "VGG": ("vgg-vgg11_bn", "vgg-vgg11"),
    "VideoMAE": ("transformers-VideoMAEForVideoClassification",),
    "ViT": ("vit_torchvision-vit_b_16", "vit_timm-vit_tiny_patch16_224", "transformers-ViTForImageClassification"),
    "ViT, weight_init=jax": ("vit_jax-vit_tiny_patch16_224(jax)",),
    "ViT, weight_init=moco": ("vit_moco-vit_tiny_patch16_224(moco)",),
    "ViT with relative positions": ("vit_timm-vit_relpos_small_patch16_224",),
    "wav2vec 2.0": ("transformers-Wav2Vec2ForCTC", "transformers-Wav2Vec2ForSequenceClassification, convolutions with biases"),
    "Whisper": ("transformers-WhisperForConditionalGeneration", "transformers-WhisperForAudioClassification"),
}  # fmt: skip


def strangers() -> list[tuple[str, str, str, Callable[[], nn.Module]]]:
    """`(family, library, recipe, build)` of families that no recipe is for, and the one that looks nearest."""
    return [
        ("CaiT", "timm", "vit_timm", image("cait_xxs24_224")),
        ("ChineseCLIP", "transformers", "transformers", config("ChineseCLIPModel", **PAIR, projection_dim=48)),
        ("ConViT", "timm", "vit_timm", image("convit_tiny")),
        ("EdgeNeXt", "timm", "convnext", image("edgenext_xx_small")),
        ("FastViT", "timm", "convnext", image("fastvit_t8")),
        ("GoogLeNet, Inception", "torchvision", "resnet", vision("googlenet", init_weights=False)),
        ("LeViT", "timm", "vit_timm", image("levit_128s")),
        ("MViT V2", "timm", "vit_timm", image("mvitv2_tiny")),
        ("NFNet", "timm", "resnet", image("nfnet_l0")),
        ("PoolFormer, CAFormer", "timm", "vit_timm", image("caformer_s18")),
        ("PVT V2", "timm", "vit_timm", image("pvt_v2_b0")),
        ("RWKV", "transformers", "transformers", config("RwkvForCausalLM", hidden_size=64, num_hidden_layers=2, vocab_size=90, attention_hidden_size=64)),
        ("SAM", "timm", "vit_timm", image("samvit_base_patch16")),
        ("Twins", "timm", "vit_timm", image("twins_svt_small")),
        ("ViTMAE", "transformers", "transformers", config("ViTMAEForPreTraining", **PATCHES, decoder_hidden_size=48, decoder_num_hidden_layers=2, decoder_num_attention_heads=4)),
        ("WavLM", "transformers", "transformers", config("WavLMForCTC", **SOUND)),
        ("XLNet", "transformers", "transformers", config("XLNetLMHeadModel", d_model=64, n_layer=2, n_head=4, d_inner=80, vocab_size=90)),
    ]  # fmt: skip


# ---- recipes whose libraries are not ours to install: networks of their names, started as their sources say

Tree = dict[str, Any]


def tree(layers: Tree, root: str = "Model") -> nn.Module:
    """A model from dotted names; `"blocks.0:ResBlock"` in a name gives the module its class."""
    classes: dict[str, type[nn.Module]] = {}
    net = nn.Module()
    net.__class__ = classes.setdefault(root, type(root, (nn.Module,), {}))
    for name, layer in layers.items():
        place = net
        *path, last = name.split(".")
        for part in path:
            key, _, cls = part.partition(":")
            if key not in place._modules:
                child: nn.Module = nn.ModuleList() if cls == "ModuleList" else nn.Module()
                if cls and cls != "ModuleList":
                    child.__class__ = classes.setdefault(cls, type(cls, (nn.Module,), {}))
                place.add_module(key, child)
            place = place._modules[key]
        if isinstance(layer, nn.Parameter):
            place.register_parameter(last, layer)
        else:
            place.add_module(last, layer)
    return net


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))


class MuReadout(nn.Linear):
    pass


def linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


def decoder(kind: str) -> nn.Module:
    """A decoder of two blocks in the names of one source."""
    d = 64
    made: Tree
    if kind == "nanogpt":
        made = {"transformer.wte": nn.Embedding(200, d), "transformer.wpe": nn.Embedding(30, d)}
        for i in range(3):
            block = f"transformer.h:ModuleList.{i}"
            made |= {
                f"{block}.ln_1": nn.LayerNorm(d), f"{block}.attn.c_attn": nn.Linear(d, 3 * d), f"{block}.attn.c_proj": nn.Linear(d, d),
                f"{block}.mlp.c_fc": nn.Linear(d, 4 * d), f"{block}.mlp.c_proj": nn.Linear(4 * d, d),
            }  # fmt: skip
        return tree({**made, "transformer.ln_f": nn.LayerNorm(d), "lm_head": linear(d, 200)})
    if kind == "megatron":
        made = {"embedding.word_embeddings": nn.Embedding(200, d)}
        for i in range(3):
            block = f"decoder.layers:ModuleList.{i}"
            made |= {
                f"{block}.input_layernorm": nn.LayerNorm(d), f"{block}.self_attention.linear_qkv": nn.Linear(d, 3 * d),
                f"{block}.self_attention.linear_proj": nn.Linear(d, d), f"{block}.mlp.linear_fc1": nn.Linear(d, 4 * d),
                f"{block}.mlp.linear_fc2": nn.Linear(4 * d, d),
            }  # fmt: skip
        return tree({**made, "decoder.final_layernorm": nn.LayerNorm(d), "output_layer": linear(d, 200)})
    titan = kind == "torchtitan"
    made = {("tok_embeddings" if titan else "embeddings"): nn.Embedding(200, d)}
    q, o = ("w", "wo") if titan else ("w_", "w_out")
    for i in range(3):
        block = f"{'layers' if titan else 'blocks'}:ModuleList.{i}"
        made |= {f"{block}.attention.{q}{x}": linear(d, d) for x in "qkv"}
        made |= {f"{block}.attention.{o}": linear(d, d), f"{block}.attention_norm": RMSNorm(d)}
        made |= {
            f"{block}.feed_forward.w1": linear(d, 100),
            f"{block}.feed_forward.w2": linear(100, d),
            f"{block}.feed_forward.w3": linear(d, 100),
        }
    if titan:
        return tree({**made, "norm": RMSNorm(d), "output": linear(d, 200)})
    return tree({**made, "lm_head.norm": nn.LayerNorm(d), "lm_head.w_out": linear(d, 200)})


def unet(kind: str = "guided-diffusion") -> nn.Module:
    if kind == "diffusers":
        block, attention = "mid_block.resnets:ModuleList.0:ResnetBlock2D", "mid_block.attentions:ModuleList.0:Attention"
        return tree({
            "conv_in": nn.Conv2d(3, 32, 3), f"{block}.norm1": nn.GroupNorm(8, 32), f"{block}.conv1": nn.Conv2d(32, 32, 3),
            f"{block}.time_emb_proj": nn.Linear(64, 32), f"{block}.norm2": nn.GroupNorm(8, 32),
            f"{block}.conv2": nn.Conv2d(32, 32, 3), f"{attention}.to_q": nn.Linear(32, 32),
            f"{attention}.to_out:ModuleList.0": nn.Linear(32, 32), "conv_norm_out": nn.GroupNorm(8, 32),
            "conv_out": nn.Conv2d(32, 3, 3),
        })  # fmt: skip
    made: Tree = {"input_blocks:ModuleList.0": nn.Conv2d(3, 32, 3), "time_embed.0": nn.Linear(32, 64)}
    for i in range(2):
        block = f"middle:ModuleList.{i}:ResBlock"
        out = nn.Sequential(nn.GroupNorm(8, 32), nn.SiLU(), nn.Conv2d(32, 32, 3))
        made |= {
            f"{block}.in_layers": nn.Sequential(nn.GroupNorm(8, 32), nn.SiLU(), nn.Conv2d(32, 32, 3)),
            f"{block}.out_layers": out,
        }
    made |= {
        "middle:ModuleList.2:AttentionBlock.qkv": nn.Conv1d(32, 96, 1),
        "middle:ModuleList.2:AttentionBlock.proj_out": nn.Conv1d(32, 32, 1),
    }
    return tree({**made, "out": nn.Sequential(nn.GroupNorm(8, 32), nn.SiLU(), nn.Conv2d(32, 3, 3))})


def fixup(kind: str = "FixupBasicBlock") -> nn.Module:
    made: Tree = {"conv1": nn.Conv2d(3, 16, 3, bias=False), "bias1": nn.Parameter(torch.ones(1))}
    for i in range(3):
        block = f"layer1:ModuleList.{i}:{kind}"
        for n in range(1, 3 if kind == "FixupBasicBlock" else 4):
            made |= {
                f"{block}.conv{n}": nn.Conv2d(16, 16, 3, bias=False),
                f"{block}.bias{n}a": nn.Parameter(torch.ones(1)),
            }
        made |= {f"{block}.scale": nn.Parameter(torch.zeros(1))}
    return tree({**made, "fc": nn.Linear(16, 10)})


def dcgan() -> nn.Module:
    return nn.Sequential(
        nn.ConvTranspose2d(20, 64, 4, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 4, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 64, 4, bias=False),
        nn.BatchNorm2d(64),
    )


def encoder() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4, 128), 3, enable_nested_tensor=False)


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, groups=32),
        nn.Conv2d(32, 64, 1),
        nn.GroupNorm(4, 64),
        nn.ConvTranspose2d(64, 32, 2),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


def wide(width: int = 256) -> nn.Module:
    return tree(
        {
            "embed": nn.Embedding(200, width),
            "up": nn.Linear(width, 4 * width),
            "down": nn.Linear(4 * width, width),
            "norm": nn.LayerNorm(width),
            "head": MuReadout(width, 30),
        }
    )


def modern() -> nn.Module:
    made: Tree = {"embed": nn.Embedding(200, 64)}
    for i in range(2):
        block = f"blocks:ModuleList.{i}"
        made |= {
            f"{block}.norm": RMSNorm(64), f"{block}.q_proj": linear(64, 64), f"{block}.o_proj": linear(64, 64),
            f"{block}.up_proj": linear(64, 128), f"{block}.down_proj": linear(128, 64),
        }  # fmt: skip
    return tree({**made, "norm": nn.LayerNorm(64), "head": linear(64, 200)})


@dataclass
class Source:
    """What a source says: for the names that match, the standard deviation (a draw), or the value (a constant)."""

    recipe: str
    build: Callable[[], nn.Module]
    stds: dict[str, float]
    values: dict[str, float]
    vars: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    base: Callable[[], nn.Module] | None = None

    @property
    def source_id(self) -> str:
        return f"{self.recipe}: {self.source}"


D = 64
SOURCES = [
    Source("nanogpt", lambda: decoder("nanogpt"), {r"wte|wpe|c_attn\.weight|c_fc\.weight": 0.02, r"c_proj\.weight": 0.02 / 6**0.5}, {r"ln_.*weight": 1, "bias": 0}, source="model.py of karpathy/nanoGPT"),
    Source("megatron", lambda: decoder("megatron"), {r"embeddings|qkv\.weight|fc1\.weight|output_layer": 0.02, r"(linear_proj|fc2)\.weight": 0.02 / 6**0.5}, {r"norm\.weight": 1, "bias": 0}, source="Shoeybi et al. 2019, section 3; init_method_normal, scaled_init_method_normal"),
    Source("llama_torchtitan", lambda: decoder("torchtitan"), {"tok": 1.0, r"\.w[qkv1]\.": 0.02, r"s\.0.*\.(wo|w2|w3)\.": 0.02 / 2**0.5, r"s\.2.*\.(wo|w2|w3)\.": 0.02 / 6**0.5, "output": 0.98658 * D**-0.5}, {"norm": 1}, source="torchtitan 0.3, models/llama3"),
    Source("llama_torchtitan", lambda: decoder("torchtitan"), {r"\.(wo|w2|w3)\.": 0.02 / 6**0.5}, {}, {"depth_scaled": False}, source="torchtitan, depth_init=False"),
    Source("olmo_core", lambda: decoder("olmo"), {r"embeddings|\.w[_\d]": 0.98658 * 0.02}, {"norm.weight": 1}, source="olmo_core/nn/transformer/init.py, InitMethod.normal"),
    Source("olmo_core_llama", lambda: decoder("olmo"), {"embeddings": 1.0, r"w_[qkv]|w1": 0.98658 * 0.02, r"s\..*(w_out|w2|w3)": 0.98658 * 0.02 / 6**0.5, r"lm_head\.w": 0.98658 * D**-0.5}, {"norm.weight": 1}, source="the same, InitMethod.llama"),
    Source("olmo_core_llama", lambda: decoder("olmo"), {r"s\.1\..*(w_out|w2|w3)": 0.98658 * 0.02 / 4**0.5}, {}, {"depth_scaled": True}, source="the same, InitMethod.llama_depth"),
    Source("ddpm_unet", unet, {r"s\.0\.weight": (2 / (27 + 288)) ** 0.5, r"in_layers\.2\.weight": (2 / 576) ** 0.5, r"time.*weight": (2 / 96) ** 0.5, r"qkv\.weight": (2 / 128) ** 0.5}, {r"out_layers\.2|proj_out|^out\.2|bias": 0, r"(layers|out)\.0\.weight": 1}, source="Ho et al. 2020; zero_module of openai/guided-diffusion"),
    Source("fixup", fixup, {r"^conv1": (2 / 144) ** 0.5, r"0\.conv1": (2 / 144) ** 0.5 * 3**-0.5}, {"conv2|bias|fc": 0, "scale": 1}, source="Zhang et al. 2019, section 3, and the authors' code"),
    Source("fixup", lambda: fixup("FixupBottleneck"), {r"0\.conv[12]": (2 / 144) ** 0.5 * 3**-0.25}, {"conv3|bias|fc": 0, "scale": 1}, source="the same, bottlenecks"),
    Source("deepnet", encoder, {r"linear[12]\.weight": (2 / 192) ** 0.5 * 24**-0.25, r"out_proj\.weight": (2 / 128) ** 0.5 * 24**-0.25}, {"bias": 0, r"norm\d\.weight": 1}, source="Wang et al. 2022, figure 2"),
    Source("dcgan", dcgan, {r"[036]\.weight": 0.02, r"[147]\.weight": 0.02}, {"bias": 0}, source="weights_init of the DCGAN example of PyTorch"),
    Source("mup", wide, {"embed": 0.02, r"up\.weight": 0.02 / 2**0.5, r"down\.weight": 0.02 / 2**0.5}, {"head|bias": 0, r"norm\.weight": 1}, source="Yang et al. 2021, table 8", base=lambda: wide(128)),
    Source("modern_transformer", modern, {r"embed|q_proj|up_proj|head": 0.98658 * 0.02, r"o_proj|down_proj": 0.98658 * 0.01}, {r"norm\.weight": 1, r"norm\.bias": 0}, {"blocks": 2}, source="ours, after GPT-2, LLaMA and OLMo"),
    Source("modern_cnn", cnn, {r"^0\.weight": (2 / 288) ** 0.5, r"^3\.weight": (2 / 9) ** 0.5, r"^4\.weight": (2 / 64) ** 0.5, r"^6\.weight": (2 / 256) ** 0.5, r"^8\.weight": 0.98658 * 0.02}, {"bias": 0, r"^[15]\.weight": 1}, source="ours, after He et al. 2015"),
    Source("lstm", lambda: nn.LSTM(32, 48, 2), {r"weight_ih_l0": (2 / 80) ** 0.5, r"weight_hh": 48**-0.5}, {"bias_hh": 0}, source="Glorot & Bengio 2010, Saxe et al. 2013, Jozefowicz et al. 2015"),
    Source("lstm_keras", lambda: nn.LSTM(32, 48, bidirectional=True), {r"weight_ih_l0": (2 / 224) ** 0.5, r"weight_hh": 192**-0.5}, {"bias_hh": 0}, source="keras.layers.LSTM"),
    Source("lstm_chrono", lambda: nn.LSTM(32, 48, 2), {r"weight_hh": 48**-0.5}, {"bias_hh": 0}, source="Tallec & Ollivier 2018, section 2"),
    Source("olmo_core_fan_in", lambda: decoder("olmo"), {"embeddings": 1.0, r"w_|w1|w3|lm_head\.w": 0.98658 * D**-0.5, "w2": 0.98658 / 10}, {"norm.weight": 1}, source="olmo_core/nn/transformer/init.py, InitMethod.fan_in"),
    Source("olmo_core_normalized", lambda: decoder("olmo"), {"embeddings": D**-0.5, r"w_[qkv]|w1|w3|lm_head\.w": 0.98658 * D**-0.5, r"s\..*(w_out|w2)": 0.98658 * D**-0.5 / 6**0.5}, {"norm.weight": 1}, source="the same, InitMethod.normalized"),
    Source("deepnet", lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(64, 4, 128), 5), {r"linear[12]\.weight": (2 / 192) ** 0.5 * 40**-0.25, r"out_proj\.weight": (2 / 128) ** 0.5 * 40**-0.25}, {"bias": 0}, source="the same, a decoder alone"),
    Source("deepnet", lambda: nn.Transformer(64, 4, 6, 2, 128, batch_first=True), {r"encoder.*linear[12]\.weight": (2 / 192) ** 0.5 * 0.87 * (6**4 * 2) ** (-1 / 16), r"decoder.*out_proj\.weight": (2 / 128) ** 0.5 * 24**-0.25}, {"bias": 0}, source="the same, an encoder and a decoder"),
    Source("ddpm_unet", lambda: unet("diffusers"), {r"conv1\.weight": (2 / 576) ** 0.5, r"to_q\.weight": (2 / 64) ** 0.5}, {r"conv2|to_out|conv_out|bias": 0, r"norm\d\.weight": 1}, source="the same, in the names of diffusers' UNet2DModel"),
]  # fmt: skip
