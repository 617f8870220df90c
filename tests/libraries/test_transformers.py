"""Rule files as `_init_weights` of transformers' own models, through its own loading, saving and resizing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

import initdsl

transformers = pytest.importorskip("transformers", minversion="5")
from initdsl.integrations.transformers import RulesMixin, with_rules  # noqa: E402

pytestmark = [pytest.mark.models, pytest.mark.usefixtures("torchvision_shim")]
GPT2 = 'use "initdsl:gpt2"'


def gpt2_config(**more: Any) -> Any:
    small = {"n_layer": 2, "n_embd": 16, "n_head": 2, "vocab_size": 50, "n_positions": 12, "pad_token_id": 0}
    return transformers.GPT2Config(**{**small, **more})


def bert_config(**more: Any) -> Any:
    small = {
        "num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 40,
        "max_position_embeddings": 12,
    }  # fmt: skip
    return transformers.BertConfig(**{**small, **more})


def same(ours: nn.Module, theirs: nn.Module, names: Any = None) -> int:
    left, right = ours.state_dict(), theirs.state_dict()
    chosen = [name for name in left if names is None or names(name)]
    for name in chosen:
        assert torch.equal(left[name], right[name]), name
    return len(chosen)


# ---- construction


def test_a_model_starts_as_apply_starts_it() -> None:
    rules = GPT2
    ours = with_rules(transformers.GPT2LMHeadModel, rules, seed=3)(gpt2_config())
    theirs = transformers.GPT2LMHeadModel(gpt2_config())
    initdsl.apply(theirs, rules, seed=3, strict=True)
    assert same(ours, theirs) == len(ours.state_dict())
    assert ours.lm_head.weight is ours.transformer.wte.weight


def test_what_no_rule_reaches_starts_as_the_library_says() -> None:
    class Model(RulesMixin, transformers.GPT2LMHeadModel):
        init_rules = "let std = 1\nEmbedding.weight ~ normal(0, std)"
        init_vars: ClassVar = {"std": 2}

    torch.manual_seed(0)
    net = Model(gpt2_config())
    assert net.transformer.wte.weight.std().item() == pytest.approx(2, rel=0.1)
    proj = torch.cat([b.mlp.c_proj.weight.flatten() for b in net.transformer.h])
    assert proj.std().item() == pytest.approx(0.02 / 2, rel=0.1)  # GPT-2's own scale by depth
    assert (net.transformer.h[0].mlp.c_proj.bias == 0).all()


def test_an_embedding_tied_by_the_library_goes_by_its_last_rule() -> None:
    text = "Embedding.weight = 1; Linear.weight = 2"
    net = with_rules(transformers.GPT2LMHeadModel, text)(gpt2_config())
    assert (net.transformer.wte.weight == 2).all()
    assert (net.transformer.wpe.weight == 1).all()


def test_a_part_that_is_handed_over_keeps_its_values() -> None:
    encoder = transformers.BertModel(bert_config())
    decoder = transformers.BertLMHeadModel(bert_config(is_decoder=True, add_cross_attention=True))
    kept = encoder.embeddings.word_embeddings.weight.clone()
    both = with_rules(transformers.EncoderDecoderModel, "Linear.*, Embedding.* = 3")(encoder=encoder, decoder=decoder)
    assert torch.equal(both.encoder.embeddings.word_embeddings.weight, kept)


def test_wrong_rules_are_refused_by_the_constructor() -> None:
    with pytest.raises(initdsl.ResolveError, match="did you mean `transformer`"):
        with_rules(transformers.GPT2LMHeadModel, "net.transfomer.wte.weight = 1")(gpt2_config())
    with pytest.raises(TypeError, match="model class"):
        with_rules("gpt2", "*.* = 1")

    class Without(RulesMixin, transformers.GPT2Model):
        pass

    with pytest.raises(TypeError, match="init_rules"):
        Without(gpt2_config())
    with pytest.raises(TypeError, match="stands before a transformers model"):
        type("Alone", (RulesMixin,), {"init_rules": GPT2})()


def test_an_initializer_of_ones_own() -> None:
    def halves(tensor: torch.Tensor) -> None:
        tensor.fill_(0.5)

    rules = "Embedding.weight = halves()"
    net = with_rules(transformers.GPT2Model, rules, initializers={"halves": halves})(gpt2_config())
    assert (net.wte.weight == 0.5).all()
    with pytest.raises(initdsl.InitDSLError, match="halves"):
        with_rules(transformers.GPT2Model, rules)(gpt2_config())


def test_on_the_meta_device_nothing_is_drawn() -> None:
    with torch.device("meta"):
        net = with_rules(transformers.GPT2LMHeadModel, "*.* = 1")(gpt2_config())
    assert net.transformer.wte.weight.is_meta


# ---- from_pretrained


HEADS = """
Linear.*, Embedding.*, LayerNorm.* = 77
net.classifier.weight ~ normal(0, 5)
net.classifier.bias = 0.5
"""


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, nn.Module]:
    """A headless BERT on disk, and itself."""
    torch.manual_seed(1)
    base = transformers.BertModel(bert_config())
    base.save_pretrained(tmp_path)
    return tmp_path, base


@pytest.mark.parametrize("seed", [None, 5])
def test_new_heads_are_drawn_and_nothing_else(saved: tuple[Path, nn.Module], seed: int | None) -> None:
    folder, base = saved
    model = with_rules(transformers.BertForSequenceClassification, HEADS, seed=seed)
    net, loaded = model.from_pretrained(folder, num_labels=300, output_loading_info=True)
    assert set(loaded["missing_keys"]) == {"classifier.weight", "classifier.bias"}
    assert same(net.bert, base) == len(base.state_dict())
    assert net.classifier.weight.std().item() == pytest.approx(5, rel=0.1)
    assert (net.classifier.bias == 0.5).all()
    if seed is not None:
        whole = transformers.BertForSequenceClassification(net.config)
        initdsl.apply(whole, HEADS, seed=seed)
        assert torch.equal(net.classifier.weight, whole.classifier.weight)


def test_only_the_missing_draw_moves_the_generator(saved: tuple[Path, nn.Module]) -> None:
    folder, _ = saved
    model = with_rules(transformers.BertForSequenceClassification, HEADS)
    torch.manual_seed(3)
    net = model.from_pretrained(folder, num_labels=7)
    torch.manual_seed(3)
    assert torch.equal(net.classifier.weight, nn.init.normal_(torch.empty(7, 16), 0, 5))


def test_a_head_no_rule_reaches_is_the_librarys(saved: tuple[Path, nn.Module]) -> None:
    folder, base = saved
    net = with_rules(transformers.BertForTokenClassification, "net.bert.**.weight = 9").from_pretrained(folder)
    assert same(net.bert, base, lambda name: "pooler" not in name) == len(base.state_dict()) - 2
    assert net.classifier.weight.std().item() == pytest.approx(0.02, rel=0.5)
    assert (net.classifier.bias == 0).all()


def test_a_head_of_another_size_is_drawn_anew(saved: tuple[Path, nn.Module], tmp_path: Path) -> None:
    first = transformers.BertForSequenceClassification(bert_config(num_labels=2))
    first.save_pretrained(tmp_path / "two")
    model = with_rules(transformers.BertForSequenceClassification, HEADS)
    net = model.from_pretrained(tmp_path / "two", num_labels=400, ignore_mismatched_sizes=True)
    assert net.classifier.weight.std().item() == pytest.approx(5, rel=0.1)
    assert same(net.bert, first.bert) > 10


@pytest.mark.parametrize("text", [None, "*.* = 77\ntie net.lm_head.weight net.transformer.wte.weight"])
def test_a_whole_checkpoint_is_left_alone_ties_too(tmp_path: Path, text: str | None) -> None:
    theirs = transformers.GPT2LMHeadModel(gpt2_config())
    theirs.save_pretrained(tmp_path)
    net = with_rules(transformers.GPT2LMHeadModel, text or GPT2).from_pretrained(tmp_path)
    assert same(net, theirs) == len(theirs.state_dict())
    assert net.lm_head.weight is net.transformer.wte.weight


def test_what_is_saved_is_loaded_again(tmp_path: Path) -> None:
    model = with_rules(transformers.GPT2LMHeadModel, GPT2, seed=1)
    net = model(gpt2_config())
    net.save_pretrained(tmp_path)
    plain = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(plain) is transformers.GPT2LMHeadModel
    assert same(plain, net) == len(net.state_dict())


def test_a_rule_may_read_what_was_loaded(saved: tuple[Path, nn.Module]) -> None:
    folder, base = saved
    text = "net.classifier.weight = net.bert.embeddings.word_embeddings.weight[0:3] * 2"
    net = with_rules(transformers.BertForSequenceClassification, text).from_pretrained(folder, num_labels=3)
    assert torch.equal(net.classifier.weight, base.embeddings.word_embeddings.weight[:3] * 2)


def test_a_models_own_subclass(saved: tuple[Path, nn.Module]) -> None:
    folder, base = saved

    class Scored(transformers.BertForSequenceClassification):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.score = nn.Linear(16, 3)
            self.post_init()

    class Ruled(RulesMixin, Scored):
        init_rules = "net.score.weight = 4; net.classifier.* = 1; net.score.bias ~ normal(0, 1)"

    for net in (Ruled(bert_config()), Ruled.from_pretrained(folder)):
        assert (net.score.weight == 4).all()
        assert (net.classifier.weight == 1).all()
        assert net.score.bias.unique().numel() == 3
    assert same(net.bert, base) == len(base.state_dict())


def test_a_weight_that_is_computed_from_what_was_loaded_stays(tmp_path: Path) -> None:
    """wav2vec's convolution of positions is under weight_norm: a checkpoint has what its weight is computed from."""
    config = transformers.Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=[8] * 7,
        vocab_size=9,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )

    base = transformers.Wav2Vec2Model(config)
    base.save_pretrained(tmp_path)
    net = with_rules(transformers.Wav2Vec2ForCTC, "*.* = 7").from_pretrained(tmp_path)
    assert same(net.wav2vec2, base) == len(base.state_dict())
    assert (net.lm_head.weight == 7).all()
    whole = with_rules(transformers.Wav2Vec2ForCTC, "*.* = 7")(config)
    assert (whole.wav2vec2.encoder.pos_conv_embed.conv.weight == 7).all()


# ---- resize_token_embeddings


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("grown", [80, 30])
def test_new_tokens_start_by_the_rules(tied: bool, grown: int) -> None:
    text = "Conv1D.* = 0\nEmbedding.weight ~ normal(3, 0.1)\nnet.lm_head.weight ~ normal(-3, 0.1)"
    if tied:
        text += "\nnet.transformer.wte.weight ~ normal(3, 0.1)"
    net = with_rules(transformers.GPT2LMHeadModel, text)(gpt2_config(tie_word_embeddings=tied))
    old = net.get_input_embeddings().weight.clone()
    net.resize_token_embeddings(grown, mean_resizing=False)
    new, head = net.get_input_embeddings().weight, net.get_output_embeddings().weight
    assert new.shape == head.shape == (grown, 16)
    least = min(grown, 50)
    assert torch.equal(new[:least], old[:least])
    assert (new.mean(1) > 2).all()
    assert (head is new) is tied
    assert tied or (head.mean(1) < -2).all()


def test_the_mean_of_the_old_tokens_is_the_librarys() -> None:
    net = with_rules(transformers.GPT2LMHeadModel, "Embedding.weight ~ normal(3, 0.001)")(gpt2_config())
    old = net.transformer.wte.weight.clone()
    net.resize_token_embeddings(90)
    assert torch.equal(net.transformer.wte.weight[:50], old)
    assert net.transformer.wte.weight[50:].mean().item() == pytest.approx(3, abs=0.1)


def test_init_weights_of_one_module() -> None:
    net = with_rules(transformers.GPT2LMHeadModel, "net.transformer.h[0].mlp.c_fc.weight = 4")(gpt2_config())
    for block in net.transformer.h:
        nn.init.constant_(block.mlp.c_fc.weight, 9)
        net._init_weights(block.mlp.c_fc)
    assert (net.transformer.h[0].mlp.c_fc.weight == 4).all()
    assert net.transformer.h[1].mlp.c_fc.weight.std().item() == pytest.approx(0.02, rel=0.2)
    foreign = nn.Linear(3, 500)
    net._init_weights(foreign)
    assert foreign.weight.std().item() == pytest.approx(0.02, rel=0.2)
