"""`zeroed-norm` on the models of transformers and timm, and what a norm says when it is asked against what its code has."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from initdsl.diagnosis.norms import asked, silencing_weight
from initdsl.language.syntax.parse import parse_source
from initdsl.linter import lint_source
from initdsl.linter.against_network import against
from initdsl.network.description import Network
from initdsl.text.source import Source

transformers = pytest.importorskip("transformers")
FOLDER = Path(transformers.__file__).parent / "models"
pytestmark = pytest.mark.usefixtures("torchvision_shim")

SMALL = {
    "num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "intermediate_size": 48, "vocab_size": 50, "max_position_embeddings": 40, "pad_token_id": 0,
}  # fmt: skip


def small(family: str, **changes: Any) -> nn.Module:
    config = getattr(transformers, f"{family}Config")(**{**SMALL, **changes})
    with torch.device("meta"):
        return getattr(transformers, f"{family}Model")(config)


def found(net: nn.Module, norms: str) -> list[tuple[str, str | None]]:
    """What `zeroed-norm` says, of the model and of its manifest: the text under its caret, and its hint."""
    source = Source("x.init", f"keep net\n{norms}\n")
    rules, problems = parse_source(source)
    network, _ = asked(net)
    sides = [
        [
            (source.text[one.span.start : one.span.end], one.hint)
            for one in lint_source(source, rules, problems, network=against(each))
            if one.name == "zeroed-norm"
        ]
        for each in (network, Network.from_manifest(network.to_manifest()))
    ]
    assert sides[0] == sides[1]
    return sides[0]


@pytest.mark.parametrize("family", ["Llama", "Qwen3", "Mistral"])
def test_a_zeroed_rms_norm_of_transformers_is_found(family: str) -> None:
    norm = f"{family}RMSNorm.weight"
    assert found(small(family), f"{norm} = 0") == [(norm, "this norm's weight starts at 1")]
    assert found(small(family), f"{norm} = 1") == []


@pytest.mark.parametrize("family", ["Gemma", "Gemma2", "Nemotron"])
def test_a_norm_that_starts_at_zero_is_found_at_minus_one_only(family: str) -> None:
    norm = "NemotronLayerNorm1P.weight" if family == "Nemotron" else f"{family}RMSNorm.weight"
    assert found(small(family), f"{norm} = 0") == []
    assert found(small(family), f"{norm} = 1") == []
    assert found(small(family), f"{norm} = -1") == [(norm, "this norm's weight starts at 0")]


def test_one_norm_left_alone_lets_the_signal_through() -> None:
    assert found(small("Llama"), "LlamaRMSNorm.weight = 0\nnet.norm.weight = 1") == []
    assert found(small("Llama"), "net.layers[*].*_layernorm.weight = 0") == []


def test_a_norm_that_nobody_knows_is_not_judged() -> None:
    class MyNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(4))

    assert found(nn.Sequential(nn.Linear(4, 4), MyNorm()), "MyNorm.weight = 0") == []
    assert found(nn.Sequential(nn.LayerNorm(4), MyNorm()), "*Norm.weight = 0") == []


def test_norms_of_timm_are_known() -> None:
    layers = pytest.importorskip("timm.layers")
    for norm in (layers.RmsNorm(4), layers.SimpleNorm(4), layers.LayerNorm2d(4), layers.BatchNormAct2d(4)):
        pattern = f"{type(norm).__name__}.weight"
        assert [text for text, _ in found(nn.Sequential(nn.Linear(4, 4), norm), f"{pattern} = 0")] == [pattern]


def norms() -> dict[str, tuple[Path, str]]:
    """The normalization layers of transformers that have a `weight`: file and text, by class."""
    classes = {}
    for file in sorted(FOLDER.glob("*/modeling_*.py")):
        for text in re.split(r"^(?=class )", file.read_text(encoding="utf-8"), flags=re.MULTILINE):
            if named := re.match(r"class (\w*(?:RMS|Layer)Norm\w*)\(", text):
                classes[named[1]] = (file, text)
    return classes


ADDS = re.compile(r"\b1(\.0)? \+ self\.weight|self\.weight(\.float\(\))? \+ 1")
QUICK = {"Gemma2RMSNorm", "NemotronLayerNorm1P", "LlamaRMSNorm"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in sorted(norms())]
)
def test_a_norm_says_what_its_code_has(name: str) -> None:
    file, text = norms()[name]
    try:
        norm = getattr(importlib.import_module(f"transformers.models.{file.parent.name}.{file.stem}"), name)(8)
    except (ImportError, TypeError, AttributeError) as error:
        pytest.skip(f"it is not made of a width alone: {error}")
    if "weight" not in dict(norm.named_parameters(recurse=False)):
        pytest.skip("it has no weight of its own")
    assert silencing_weight(norm) == (-1 if ADDS.search(text) else 0)


def test_a_norm_is_asked_without_a_trace() -> None:
    norm = nn.BatchNorm2d(4, device="meta")
    norm.register_forward_hook(lambda *_: pytest.fail("the layer itself has run"))
    state = torch.random.get_rng_state()
    assert silencing_weight(nn.BatchNorm2d(4)) == 0
    assert torch.equal(state, torch.random.get_rng_state())
    assert norm.weight.device.type == "meta"


@pytest.mark.parametrize(
    ("norm", "weight"),
    [
        (nn.BatchNorm1d(4), 0), (nn.BatchNorm3d(4), 0), (nn.LayerNorm((3, 4)), 0), (nn.GroupNorm(2, 4), 0),
        (nn.InstanceNorm1d(4, affine=True), 0), (nn.LayerNorm(4, dtype=torch.bfloat16), 0), (nn.LayerNorm(4, device="meta"), 0),
        (nn.Embedding(4, 4), None), (nn.Module(), None),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_norms_of_torch_and_what_says_nothing(norm: nn.Module, weight: int | None) -> None:
    assert silencing_weight(norm) == weight
