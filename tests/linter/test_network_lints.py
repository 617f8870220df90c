"""Lints that look at a plan: each by its own documentation, on the model that it names."""

import re
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

import initdsl
from initdsl.language.rules.ruleset import RuleSet
from initdsl.language.syntax.parse import parse_source
from initdsl.linter import all_lints, lint_source
from initdsl.linter.against_network import against
from initdsl.network.describe import describe
from initdsl.network.description import Network
from initdsl.text.source import Source

NETWORK_LINTS = [name for name, one in all_lints().items() if one.needs in ("network", "resolver")]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # some models come with a file


def build(doc: str) -> nn.Module:
    code = re.search(r"```python\n(.*?)```", doc, re.DOTALL)
    assert code is not None
    scope = {"nn": nn, "torch": torch}
    exec(code[1], scope)
    return scope["net"]


def findings(text: str, net: nn.Module | Network, *, notes: bool = False) -> list[str]:
    source = Source("x.init", text)
    rules, problems = parse_source(source)
    whole = RuleSet(rules=tuple(rules), sources={source.name: text})
    found = lint_source(source, whole, problems, network=against(net))
    return [one.name for one in found if (one.severity == "note") <= notes]


@pytest.mark.parametrize("name", NETWORK_LINTS)
def test_the_examples_of_its_documentation(name: str) -> None:
    one = all_lints()[name]
    net = build(one.doc)
    assert findings(one.example("Example"), net) == [name]
    assert findings(one.example("Use instead"), net) == []


@pytest.mark.parametrize(
    "name", [name for name in NETWORK_LINTS if name != "shared-memory"]
)  # of which a manifest says nothing
def test_a_manifest_gives_the_same_findings(name: str) -> None:
    one = all_lints()[name]
    net = build(one.doc)
    described = Network.from_manifest(describe(net)[0].to_manifest())
    assert findings(one.example("Example"), described) == findings(one.example("Example"), net)


def test_there_are_the_promised_ones() -> None:
    promised = {
        "uncovered-parameter", "tied-conflict", "padding-row-overwritten", "fused-matrix", "depthwise-fan", "zeroed-norm",
        "identical-layers", "vanishing-signal", "exploding-signal", "unmatched-selector", "subclass-left-out",
        "undefined-fan", "tie-mismatch",
    }  # fmt: skip
    assert promised <= set(NETWORK_LINTS)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Linear.wieght = 1\nkeep net", "unmatched-selector"),
        ("LSTM.weight_ih_l0 = 1\nkeep net", "unmatched-selector"),
        ("Linear.bias ~ xavier_uniform()\nkeep Linear.weight", "undefined-fan"),
        ("tie net[0] net[1]", "tie-mismatch"),
    ],
)
def test_findings_of_the_resolver(text: str, name: str) -> None:
    assert name in findings(text, nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)))


def depthwise() -> nn.Module:
    return nn.Sequential(nn.Conv2d(8, 8, 3, groups=8, bias=False), nn.Conv2d(8, 4, 1, bias=False))


def tied() -> nn.Module:
    net = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 10, bias=False))
    net[1].weight = net[0].weight
    return net


def padded() -> nn.Module:
    return nn.Sequential(nn.Embedding(10, 4, padding_idx=0))


def chain(layers: int) -> nn.Module:
    return nn.Sequential(*[nn.Sequential(nn.Linear(256, 256, bias=False), nn.ReLU()) for _ in range(layers)])


class Named(nn.Module):
    """One child of a given name."""

    def __init__(self, name: str, child: nn.Module):
        super().__init__()
        self.add_module(name, child)


def experts() -> nn.Module:
    return Named("experts", nn.ModuleList([nn.Linear(8, 8, bias=False) for _ in range(20)]))


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def fused(name: str, outputs: int) -> nn.Module:
    return Named(name, nn.Linear(8, outputs, bias=False))


REST = "Linear+.weight ~ xavier_uniform()\n*.*bias = 0\nLayerNorm.weight = 1\n"
ONE_EACH = "MultiheadAttention.in_proj_weight as (3, embed_dim, -1)[*] ~ xavier_uniform()"


@pytest.mark.parametrize(
    ("net", "text", "expected"),
    [
        (depthwise(), "Conv2d.weight ~ kaiming_normal()", []),
        (depthwise(), "Conv2d.weight ~ kaiming_normal(mode=fan_out)", ["depthwise-fan"]),
        (depthwise(), "Conv2d.weight ~ kaiming_normal(mode=fan_out, fan_out=fan_out // groups)", []),
        (depthwise(), "Conv2d.weight ~ xavier_uniform()", ["depthwise-fan"]),
        (depthwise(), "Conv2d.weight ~ variance_scaling(2, fan_out)", ["depthwise-fan"]),
        (depthwise(), "Conv2d.weight ~ normal(0, sqrt(2 / fan_out))", ["depthwise-fan"]),
        (depthwise(), "Conv2d.weight ~ normal(0, sqrt(2 * groups / fan_out))", []),
        (nn.ConvTranspose2d(8, 4, 3, bias=False), "*.weight(ndim>=2) ~ xavier_uniform()", []),
        (nn.ConvTranspose2d(8, 4, 3, bias=False), "*.weight(ndim>=2) ~ kaiming_uniform()", ["doubtful-fan"]),
        (nn.ConvTranspose2d(8, 4, 3, groups=2, bias=False), "*.weight(ndim>=2) ~ xavier_uniform()", ["doubtful-fan"]),
        (nn.RNN(8, 8, bias=False), "RNN.weight_* ~ orthogonal()", []),
        (nn.GRU(8, 8, bias=False), "GRU.weight_* ~ orthogonal()", ["fused-matrix"]),
        (nn.GRU(8, 8, bias=False), "GRU.weight_* ~ kaiming_normal()", []),
        (nn.GRUCell(8, 8, bias=False), "GRUCell.weight_* ~ xavier_normal()", ["fused-matrix"]),
        (nn.LSTM(8, 8, bias=False), "LSTM.weight_* ~ orthogonal() * 0.5", ["fused-matrix"]),
        (nn.LSTM(8, 8, bias=False), "LSTM.weight_* as (4, hidden_size, -1)[*] ~ orthogonal()", []),
        (fused("qkv", 24), "Linear.weight ~ xavier_uniform()", ["fused-matrix"]),
        (fused("query_key_value", 24), "Linear.weight ~ xavier_uniform()", ["fused-matrix"]),
        (fused("gate_up_proj", 24), "Linear.weight ~ kaiming_normal(mode=fan_out)", ["fused-matrix"]),
        (fused("q_proj", 24), "Linear.weight ~ xavier_uniform()", []),
        (tied(), "Embedding.weight ~ normal(0, 0.02)\nLinear.weight ~ normal(0, 0.02)", []),
        (tied(), "Linear.weight ~ normal(0, 0.02)\nEmbedding.weight ~ normal(0, 1)", ["tied-conflict"]),
        (padded(), "Embedding.weight ~ uniform(-1, 1)", ["padding-row-overwritten"]),
        (padded(), "Embedding.weight ~ orthogonal()", ["padding-row-overwritten"]),
        (padded(), "Embedding.weight ~ normal(0, 1) * 0.5", ["padding-row-overwritten"]),
        (padded(), "Embedding.weight ~ normal(0, 1) * (index(0) != padding_idx)", []),
        (padded(), "Embedding.weight ~ normal(0, 1)\nEmbedding.weight[0, :] = 0", []),
        (padded(), "default Embedding", []),
        (chain(2), "Linear.weight ~ normal(0, 1)", []),
        (chain(3), "Linear.weight ~ normal(0, 1)", ["exploding-signal"]),
        (chain(6), "Linear.weight ~ normal(0, 0.001)", ["vanishing-signal"]),
        (chain(6), "Linear.weight ~ kaiming_normal(nonlinearity=relu)", []),
        (experts(), "Linear.weight ~ normal(0, 0.02)", []),
        (encoder(), f"{REST}{ONE_EACH}", []),
        (encoder(), f"{REST}keep MultiheadAttention.in_proj_weight", ["identical-layers"]),
        (encoder(), "default net", []),
        (nn.Sequential(nn.MultiheadAttention(8, 2), nn.Linear(8, 8)), f"{REST}{ONE_EACH}", ["unmatched-selector"]),
        (
            nn.MultiheadAttention(8, 2, bias=False),
            f"keep net\nLinear?.weight ~ normal(0, 1)\n{ONE_EACH}".replace("Linear?.weight", "Linear.weight?"),
            [],
        ),
    ],
)  # fmt: skip
def test_what_each_finds_and_what_it_leaves_alone(net: nn.Module, text: str, expected: list[str]) -> None:
    assert findings(text, net) == expected


def test_a_subclass_is_left_out_until_a_later_rule_speaks_of_it() -> None:
    net = nn.Sequential(nn.MultiheadAttention(8, 2, bias=False), nn.Linear(8, 8, bias=False))
    rest = "MultiheadAttention.in_proj_weight ~ normal(0, 0.02)\n"
    linear = "Linear.weight ~ normal(0, 0.02)\n"
    assert findings(f"*.*weight(ndim>=2) ~ normal(0, 1)\n{rest}{linear}", net) == ["subclass-left-out"]
    assert findings(f"{rest}{linear}net[0].out_proj.weight ~ normal(0, 0.01)", net) == []


def test_a_registered_initializer_is_known_with_a_network_too(tmp_path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.initdsl]\ninitializers = ["far"]\n')
    (tmp_path / "a.init").write_text("Linear.weight ~ far()\nLinear.bias = 0\n")
    assert initdsl.lint(tmp_path / "a.init", nn.Linear(2, 2)) == []


def test_the_function_takes_a_network(tmp_path) -> None:
    file = tmp_path / "a.init"
    file.write_text("Linear.weight ~ xavier_uniform()\n")
    net = nn.Sequential(nn.Linear(4, 8))
    assert [one.name for one in initdsl.lint(file, net)] == ["uncovered-parameter"]
    assert initdsl.lint(file) == []


def test_a_suppression_is_not_unused_where_no_network_was_given() -> None:
    source = Source(
        "x.init", "Linear.weight ~ normal(0, 0.02)  # initdsl: ignore[uncovered-parameter] the rest is meant\n"
    )
    rules, problems = parse_source(source)
    assert lint_source(source, rules, problems) == []


# ---- files that leave something


def pretrained() -> nn.Module:
    """Write two files, one with a head of another size, and return a model."""
    net = nn.Sequential(OrderedDict(body=nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), fc=nn.Linear(4, 2)))
    state = net.state_dict()
    torch.save({**state, "fc.weight": torch.ones(3, 4), "fc.bias": torch.ones(3)}, "pre.pth")
    torch.save({f"old.{name}": tensor for name, tensor in state.items() if name.startswith("body.")}, "old.pth")
    torch.save({**net.body.state_dict(), "extra": torch.ones(1)}, "body.pth")
    return net


HEAD = "\nnet.fc.weight ~ normal(0, 0.01)\nnet.fc.bias = 0\n"


@pytest.mark.parametrize(
    ("load", "name", "is_note"),
    [
        ('net = load("pre.pth", mismatch=skip)', "not-loaded", True),
        ('net = load("old.pth", prefix="old.", missing=skip)', "not-loaded", True),
        ('net.* not in net.fc = load("pre.pth")', "unread-tensors", True),
        ('net.body = load("pre.pth")', "unread-tensors", True),
        ('keep net.body[1]\nnet.body[0] = load("old.pth", prefix="old.body.0.")', None, True),
        ('keep net.body[1]\nnet.body.* not in net.body[1] = load("old.pth", prefix="old.")', "unread-tensors", True),
        ('net.body = load("body.pth")', "unread-tensors", False),
        ('keep net.body[1]\nnet.body[0] = load("body.pth", map={"0": ""})', "unread-tensors", False),
    ],
)  # fmt: skip
def test_what_a_load_is_to_leave_is_a_note(load: str, name: str | None, is_note: bool) -> None:
    net, wanted = pretrained(), [] if name is None else [name]
    assert findings(load + HEAD, net, notes=True) == wanted
    assert findings(load + HEAD, net) == ([] if is_note else wanted)


def test_a_note_can_be_ignored() -> None:
    load = 'net = load("pre.pth", mismatch=skip)  # initdsl: ignore[not-loaded] another head'
    assert findings(load + HEAD, pretrained(), notes=True) == []
