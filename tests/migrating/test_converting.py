"""Converted settings start a model as the library they come from: mmengine itself, AllenNLP's documented order."""

from __future__ import annotations

import copy
import io
import itertools
import json
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import initdsl
from initdsl import cli


class Sub(nn.Conv2d):
    """A class of somebody's own."""


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.body = nn.Sequential(Sub(8, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv1d(4, 6, 3))
        self.reg = nn.Linear(16, 4)
        self.head = nn.Sequential(nn.Linear(16, 12), nn.Linear(12, 5))


def filled(net: nn.Module, text: str, seed: int = 3, **options: Any) -> nn.Module:
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", initdsl.UncoveredParameterWarning)
        initdsl.apply(net, text, **options)
    return net


def same(ours: nn.Module, theirs: nn.Module) -> None:
    left, right = ours.state_dict(), theirs.state_dict()
    for name in left:
        assert torch.equal(left[name], right[name]), name


# ---- mmengine


MMENGINE: list[Any] = [
    {"type": "Constant", "val": 3, "layer": "Linear"},
    {"type": "Constant", "val": 1, "bias": 2, "layer": ["_BatchNorm", "Linear"]},
    {"type": "Xavier", "layer": "Conv2d", "bias": 0.5},
    {"type": "Xavier", "layer": ["Conv2d", "Linear"], "distribution": "uniform", "gain": 2},
    {"type": "Normal", "layer": "Linear", "std": 0.01, "mean": 1, "bias_prob": 0.01},
    {"type": "Uniform", "layer": "Conv1d", "a": -2, "b": 3},
    {"type": "Kaiming", "layer": "Conv2d"},
    {"type": "Kaiming", "layer": ["Conv2d"], "a": 1, "mode": "fan_in", "nonlinearity": "leaky_relu", "distribution": "uniform"},
    {"type": "Caffe2Xavier", "layer": ["Conv2d", "Conv1d"], "bias": 1},
    [
        {"type": "Kaiming", "layer": ["Conv2d", "Conv1d"]},
        {"type": "Constant", "val": 1, "layer": ["BatchNorm2d"]},
        {"type": "Normal", "layer": "Linear", "std": 0.1, "override": {"name": "reg", "type": "Constant", "val": 7, "bias": 8}},
    ],
    {"type": "Normal", "std": 0.01, "layer": "Linear", "override": [{"name": "reg"}, {"name": "head", "type": "Xavier", "bias": 3}]},
    {"type": "Normal", "std": 0.01, "override": {"name": "head"}},
    {"type": "Constant", "val": 4},
]  # fmt: skip


@pytest.fixture
def mmengine() -> Callable[[nn.Module, Any], Any]:
    pytest.importorskip("mmengine")
    from mmengine.model import initialize

    found: Callable[[nn.Module, Any], Any] = initialize
    return found


@pytest.mark.parametrize("number", range(len(MMENGINE)))
def test_mmengine(number: int, mmengine: Callable[[nn.Module, Any], Any]) -> None:
    """Constants bit for bit, and draws too where mmengine makes no more of them than are left in the end."""
    config = MMENGINE[number]
    ours, theirs = Net(), Net()
    theirs.load_state_dict(ours.state_dict())
    before = copy.deepcopy(ours.state_dict())
    text = initdsl.convert(json.dumps(config))
    filled(ours, text)
    torch.manual_seed(3)
    mmengine(theirs, copy.deepcopy(config))
    drawn = sum(isinstance(c, dict) for c in (config if isinstance(config, list) else [config]))
    overridden = any("override" in c for c in (config if isinstance(config, list) else [config]))
    if drawn == 1 and not overridden:
        same(ours, theirs)
        return
    for (name, mine), its in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if its.unique().numel() == 1 or torch.equal(its, before[name]):
            assert torch.equal(mine, its), name
        else:
            assert mine.std().item() == pytest.approx(its.std().item(), rel=0.5), name
            assert not torch.equal(mine, before[name]), name


def test_mmengines_truncated_normal(mmengine: Callable[[nn.Module, Any], Any]) -> None:
    config = {"type": "TruncNormal", "layer": "Linear", "std": 2, "a": -1, "b": 3, "bias": 0.5}
    ours, theirs = nn.Sequential(nn.Linear(100, 100)), nn.Sequential(nn.Linear(100, 100))
    filled(ours, initdsl.convert(config))
    mmengine(theirs, dict(config))
    from scipy import stats

    assert stats.ks_2samp(ours[0].weight.detach().flatten(), theirs[0].weight.detach().flatten()).pvalue > 1e-4
    assert torch.equal(ours[0].bias, theirs[0].bias)


def test_mmengines_pretrained(mmengine: Callable[[nn.Module, Any], Any], tmp_path: Path) -> None:
    pytest.importorskip("cv2")  # mmengine's loading asks for it
    saved = Net()
    state = {f"net.{k}": v for k, v in saved.state_dict().items() if not k.startswith("reg.")}  # one part is not in it
    save_file(state, tmp_path / "net.safetensors")
    text = initdsl.convert({"type": "Pretrained", "checkpoint": "net.safetensors", "prefix": "net"})
    theirs = Net()
    ours = filled(copy.deepcopy(theirs), text, root=tmp_path)
    torch.save(state, tmp_path / "net.pth")
    mmengine(theirs, {"type": "Pretrained", "checkpoint": str(tmp_path / "net.pth"), "prefix": "net."})
    same(ours, theirs)


def test_names_in_a_config_in_python() -> None:
    """Values that a file names are those; what is computed is no matter where no initializer needs it."""
    text = """
from mmengine.config import read_base
with read_base():
    from .schedule import *
norm_cfg = dict(type='SyncBN', requires_grad=True)
std = 0.03
backbone = dict(type='ResNet', norm_cfg=norm_cfg, init_cfg=dict(type='Kaiming', layer='Conv2d'))
model = dict(
    type='EncoderDecoder', data_preprocessor=preprocessor, backbone=backbone,
    decode_head=dict(type='FCNHead', lr=1e-3 * 8, norm_cfg=norm_cfg, init_cfg=dict(type='Normal', std=std, layer='Linear')))
optimizer = dict(lr=8 * base_lr)
"""
    assert initdsl.convert(text).splitlines()[1:] == [
        "Conv2d+.weight in net.backbone    ~ kaiming_normal(mode=fan_out, nonlinearity=relu)",
        "Conv2d+.bias in net.backbone?     = 0",
        "Linear+.weight in net.decode_head ~ normal(0, 0.03)",
        "Linear+.bias in net.decode_head?  = 0",
    ]


def test_what_an_initializer_needs_may_not_be_computed() -> None:
    text = "std = 1 / 50\nmodel = dict(init_cfg=dict(type='Normal', std=std, layer='Linear'))"
    with pytest.raises(initdsl.RuleError, match="`std` of `Normal` must be a number, got `1 / 50`, which is computed"):
        initdsl.convert(text)


def test_names_that_stand_for_an_endless_value() -> None:
    names = [f"n{i}" for i in range(40)]
    lines = [
        "n0 = [1, 1]",
        *(f"{b} = [{a}, {a}, {a}]" for a, b in itertools.pairwise(names)),
        "model = dict(init_cfg=n39)",
    ]
    with pytest.raises(initdsl.RuleError, match="those that names stand for counted"):
        initdsl.convert("\n".join(lines))


def test_a_whole_config_in_python() -> None:
    text = """
# a detector
num = 80 + 1
model = dict(
    type='Detector',
    init_cfg=dict(type='Constant', val=1, layer='Linear'),
    body=dict(type='Body', init_cfg=[dict(type='Kaiming', layer=['Conv2d', 'Conv1d'])]),
    head=dict(init_cfg=dict(type='Constant', val=5, layer='Linear', bias=2)))
"""
    made = initdsl.convert(text)
    net = filled(Net(), made)
    assert (net.reg.weight == 1).all()
    assert (net.head[0].weight == 5).all()
    assert (net.head[1].bias == 2).all()
    assert net.body[0].weight.unique().numel() > 100
    assert "in net.body" in made


# ---- AllenNLP: the first expression that fits a name is used; what is prevented never is


def as_documented(net: nn.Module, entries: list[Any]) -> dict[str, Any]:
    """For each name the entry that AllenNLP's documentation says is used."""
    prevented = [regex for regex, value in entries if value == "prevent"]
    rest = [(regex, value) for regex, value in entries if value != "prevent"]
    found = {}
    for name, _ in net.named_parameters():
        if any(re.search(regex, name) for regex in prevented):
            continue
        for regex, value in rest:
            if re.search(regex, name):
                found[name] = value
                break
    return found


ALLENNLP = [
    ["reg.*weight", {"type": "constant", "val": 1}],
    [".*bias", "zero"],
    ["stem.bias", "prevent"],
    ["weight$", {"type": "constant", "val": 2}],
    ["head.*", {"type": "constant", "val": 3}],
    ["no/such|name", {"type": "constant", "val": 4}],
    [".*", {"type": "constant", "val": 6}],
]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("wrap", ["list", "initializer", "model", "regexes"])
def test_allennlp(wrap: str, reverse: bool) -> None:
    entries = ALLENNLP[::-1] if reverse else ALLENNLP
    settings: Any = {
        "list": entries, "initializer": {"initializer": entries}, "model": {"model": {"initializer": entries}},
        "regexes": {"initializer": {
            "regexes": [e for e in entries if e[1] != "prevent"], "prevent_regexes": ["stem.bias"],
        }},
    }[wrap]  # fmt: skip
    net = Net()
    before = copy.deepcopy(net.state_dict())
    filled(net, initdsl.convert(settings))
    expected = as_documented(net, entries)
    assert "stem.bias" not in expected
    for name, parameter in net.named_parameters():
        value = expected.get(name)
        if value is None:
            assert torch.equal(parameter, before[name]), name
        else:
            assert (parameter == (0 if value == "zero" else value["val"])).all(), name


@pytest.mark.parametrize(
    ("value", "fill"),
    [
        ({"type": "normal", "mean": 1, "std": 0.5}, lambda t: nn.init.normal_(t, 1, 0.5)),
        ({"type": "uniform", "a": -1, "b": 2}, lambda t: nn.init.uniform_(t, -1, 2)),
        ("orthogonal", nn.init.orthogonal_), ({"type": "orthogonal", "gain": 2}, lambda t: nn.init.orthogonal_(t, 2)),
        ("xavier_uniform", nn.init.xavier_uniform_), ("xavier_normal", nn.init.xavier_normal_),
        ("kaiming_uniform", nn.init.kaiming_uniform_),
        ({"type": "kaiming_normal", "a": 0.5, "mode": "fan_out"}, lambda t: nn.init.kaiming_normal_(t, 0.5, "fan_out")),
        ({"type": "kaiming_normal", "nonlinearity": "relu"}, lambda t: nn.init.kaiming_normal_(t, nonlinearity="relu")),
        ({"type": "sparse", "sparsity": 0.3, "std": 0.2}, lambda t: nn.init.sparse_(t, 0.3, 0.2)),
        ("eye", nn.init.eye_), ("zero", nn.init.zeros_),
    ],
)  # fmt: skip
def test_allennlps_initializers_bit_for_bit(value: Any, fill: Callable[[torch.Tensor], Any]) -> None:
    net = filled(nn.Linear(12, 8), initdsl.convert([["weight", value]]))
    torch.manual_seed(3)
    expected = torch.empty(8, 12)
    fill(expected)
    assert torch.equal(net.weight.detach(), expected)


def test_allennlps_own_initializers() -> None:
    net = filled(nn.LSTM(6, 4), initdsl.convert([["bias", "lstm_hidden_bias"], [".*", "uniform_unit_scaling"]]))
    assert net.bias_ih_l0.tolist() == [0] * 4 + [1] * 4 + [0] * 8
    assert net.weight_ih_l0.abs().max().item() == pytest.approx((3 / 16) ** 0.5, rel=0.05)
    wide = filled(
        nn.Linear(10, 900), initdsl.convert([["weight", {"type": "uniform_unit_scaling", "nonlinearity": "relu"}]])
    )
    assert wide.weight.abs().max().item() == pytest.approx(2**0.5 * (3 / 900) ** 0.5, rel=0.01)


# ---- lists of regular expressions


@pytest.mark.parametrize("first_wins", [True, False])
@pytest.mark.parametrize(
    "settings",
    [
        {".*": {"type": "constant", "val": 1}, "head": {"type": "constant", "val": 2}},
        [{"pattern": ".*", "type": "constant", "val": 1}, {"pattern": "head", "init": "constant", "val": 2}],
        [
            {"regex": ".*", "initializer": {"type": "constant", "val": 1}},
            {"regex": "head", "type": "constant", "val": 2},
        ],
    ],
)
def test_lists_of_expressions(settings: Any, first_wins: bool) -> None:
    net = filled(Net(), initdsl.convert(settings, first_wins=first_wins))
    assert (net.reg.weight == 1).all()
    assert (net.head[0].weight == (1 if first_wins else 2)).all()


@pytest.mark.parametrize("kind", ["allennlp", "regexes"])
def test_numbers_and_what_is_skipped(kind: str) -> None:
    entries: list[Any] = [
        ["reg.bias", float("-inf")],
        ["head.0.bias", float("nan")],
        ["stem", "skip"],
        ["body", "keep"],
    ]
    net = Net()
    before = copy.deepcopy(net.state_dict())
    filled(net, initdsl.convert([*entries, ["weight|bias", 0.5]], kind))
    assert net.reg.bias.tolist() == [float("-inf")] * 4
    assert net.head[0].bias.isnan().all()
    assert (net.head[1].weight == 0.5).all()
    for name in before:
        if name.startswith(("stem", "body")):
            assert torch.equal(net.state_dict()[name], before[name]), name


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\x07", "a b", "é", "1", "\U000e0001"])
def test_parts_by_odd_names(name: str) -> None:
    net = nn.ModuleDict({"inner": nn.ModuleDict({name: nn.Linear(2, 2)}), "other": nn.Linear(2, 2)})
    filled(net, initdsl.convert({"type": "Constant", "val": 3, "bias": 4, "override": {"name": f"inner.{name}"}}))
    assert (net["inner"][name].weight == 3).all()
    assert (net["inner"][name].bias == 4).all()
    assert not (net["other"].weight == 3).any()


def test_a_part_from_a_checkpoint(tmp_path: Path) -> None:
    saved = nn.Linear(16, 4)
    save_file({f"old.{k}": v for k, v in saved.state_dict().items()}, tmp_path / "reg.safetensors")
    part = {"name": "reg", "type": "Pretrained", "checkpoint": "reg.safetensors", "prefix": "old"}
    net = filled(
        Net(), initdsl.convert({"type": "Constant", "val": 2, "layer": "Linear", "override": part}), root=tmp_path
    )
    same(net.reg, saved)
    assert (net.head[0].weight == 2).all()


# ---- reading


@pytest.mark.parametrize(
    "text",
    [
        '// jsonnet\n{"initializer": [["weight", {"type": "constant", "val": 2,},], /* all */ ["//", "zero"],],}',
        "{'initializer': [['weight', {'type': 'constant', 'val': 2}]]}",
        "initializer:\n  - ['weight', {type: constant, val: 2}]\n",
        'initializer = [("weight", dict(type="constant", val=2))]\nother = compute()\n',
    ],
)
def test_the_ways_it_is_written(text: str) -> None:
    if text.startswith("initializer:"):
        pytest.importorskip("yaml")
    assert (filled(nn.Linear(2, 2), initdsl.convert(text)).weight == 2).all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"type": "Kaimin", "layer": "Conv2d"}, "did you mean `Kaiming`"),
        ([{"type": "Kaimin", "layer": "Conv2d"}], "did you mean `Kaiming`"),
        ({"init_cfg": {"type": "PretrainedX", "layer": "Conv2d"}}, "`PretrainedX`"),
        ({"type": "Normal", "layer": "Conv2d", "sdt": 1}, "no argument `sdt`"),
        ({"type": "Constant", "layer": "Conv2d"}, "needs `val`"),
        ({"type": "Normal", "layer": "Conv2d", "std": "a"}, "must be a number"),
        ({"type": "Kaiming", "layer": "Conv2d", "mode": "fan_avg"}, "one of fan_in, fan_out"),
        ({"type": "Normal", "override": {"type": "Xavier"}}, "needs a `name`"),
        ({"type": "Normal", "override": {"name": "a", "std": 1}}, "no `type`"),
        ({"type": "Pretrained", "checkpoint": "resnet50.onnx"}, "no file that a rule file can load"),
        ({"type": "Pretrained", "checkpoint": "https://a/\ud800/b.pth"}, "the character U+D800"),
        ([["a", "xavier"]], "did you mean `xavier_"),
        ([["a", {"type": "block_orthogonal"}]], "as (4, hidden_size, -1)"),
        ([["(?!a)b", "zero"]], "no look-around"),
        ([["(?P<n>a)(?P=n)", "zero"]], "no back-references"),
        ([["a\\", "zero"]], "trailing"),
        ([["a\n", "zero"]], "no regular expression that a rule file can hold"),
        ([["", "zero"]], "a regular expression is a text"),
        ([["a", True]], "an initializer is a name or has a `type`, not True"),
        ([["a", {"val": 1}]], "an initializer is a name or has a `type`"),
        ([["a", {"type": "constant", "val": 2**63}]], "`val` of `constant` needs more than 64 bits"),
        ({"initializer": {3: 1, "b": 2}}, "has no `3`"),
        ({"initializer": {"regexes": 3}}, "`regexes` is a list, not 3"),
        ([{"pattern": "a", "type": "zero"}, {"type": "zero"}], "an entry has a `pattern` and a `type`"),
        ({"type": "Constant", "val": 1, "layer": 3}, "`layer` is a list, not 3"),
        ({"type": "Constant", "val": 1, "layer": ["a b"]}, "the name of a class, not 'a b'"),
        ({"type": "Constant", "val": 1, "override": [3]}, "an `override` is a dict with a `name`, not 3"),
        ({"type": "Constant", "val": 1, "override": {"name": "\ud800"}}, "the character U+D800"),
        ({"type": "Pretrained", "map_location": "cpu"}, "needs `checkpoint`"),
        ({"model": {"init_cfg": [3]}}, "an `init_cfg` is a dict with a `type`, not 3"),
        (3, "no settings of a known kind"),
        ([], "no settings of a known kind"),
        ("# " + "a" * (1 << 20), "at most 1,048,576 characters"),
        ([["a", "zero", 1]], "pair"),
        ({"initializer": {"regex": []}}, "has no `regex`"),
        ([{"pattern": "a", "type": "nothing_such"}], "`nothing_such`"),
        ("import os", "neither JSON"),
        ("[1, 2]", "no settings of a known kind"),
        ("__import__('os').system('true')", "neither JSON"),
    ],
)
def test_refused(settings: Any, said: str) -> None:
    with pytest.raises(initdsl.RuleError) as caught:
        initdsl.convert(settings)
    assert said in str(caught.value)


@pytest.mark.parametrize("kind", [None, "mmengine"])
def test_settings_too_deep_are_refused(kind: str | None) -> None:
    deep: Any = {"init_cfg": {"type": "Constant", "val": 1}}
    for _ in range(5000):
        deep = {"part": deep}
    with pytest.raises(initdsl.RuleError, match="nested too deeply"):
        initdsl.convert(deep, kind)


def test_a_kind_that_is_none_and_settings_that_are_not_of_their_kind() -> None:
    with pytest.raises(initdsl.RuleError, match="there are mmengine, allennlp, regexes"):
        initdsl.convert([["a", "zero"]], "mmengin")
    with pytest.raises(initdsl.RuleError, match="is a list, not 3"):
        initdsl.convert("3", "regexes")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &x [1]\nb: *x", "aliases"), ("a: [1", "while parsing a flow sequence"), ("a: !!python/name:os.system", "tag"),
        ("a: !!int x", "a value that can't be read"), ("just words", "nor YAML"),
    ],
)  # fmt: skip
def test_yaml_that_is_refused(text: str, said: str) -> None:
    pytest.importorskip("yaml")
    with pytest.raises(initdsl.RuleError, match=re.escape(said)):
        initdsl.convert(text)


def test_without_pyyaml_its_text_is_refused_and_json_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(initdsl.RuleError, match="pip install pyyaml"):
        initdsl.convert("initializer:\n  - ['weight', zero]\n")
    assert "/weight/? = 0" in initdsl.convert('[["weight", "zero"]]')


def test_what_is_converted_is_laid_out_and_has_no_findings(tmp_path: Path) -> None:
    for number, settings in enumerate([*MMENGINE[:-2], ALLENNLP]):
        text = initdsl.convert(settings)
        assert initdsl.format(text) == text
        path = tmp_path / f"{number}.init"
        path.write_text(text)
        errors = [f.render() for f in initdsl.lint(path) if f.severity == "error"]
        assert errors == []


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("old.json").write_text('{"type": "Normal", "layer": "Linear", "std": 0.01}')
    cli.group(["convert", "old.json"], standalone_mode=False)
    assert "Linear+.weight ~ normal(0, 0.01)" in capsys.readouterr().out
    cli.group(["convert", "old.json", "-o", "new.init"], standalone_mode=False)
    assert "Linear+.bias?" in Path("new.init").read_text()
    Path("bad.json").write_text('{"type": "Nomal", "layer": "Linear"}')
    for bad in (["bad.json", "--from", "mmengine"], ["none.json"], ["old.json", "-o", "new.txt"]):
        with pytest.raises(SystemExit) as caught:
            cli.group(["convert", *bad], standalone_mode=False)
        assert caught.value.code == 2
    assert "did you mean `Normal`" in capsys.readouterr().err
    for text, said in ((b"\xff", "it is not utf-8"), (b"3", "a known kind")):
        Path("odd.json").write_bytes(text)
        with pytest.raises(SystemExit) as caught:
            cli.group(["convert", "odd.json"], standalone_mode=False)
        assert caught.value.code == 2
        assert said in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", io.StringIO('[["weight", "zero"], ["w", 1]]'))
    cli.group(["convert", "-", "--last-wins", "--from", "regexes"], standalone_mode=False)
    assert capsys.readouterr().out.splitlines()[1:] == ["/weight/? = 0", "/w/?      = 1"]


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"a": {"init_cfg": {"type": "Foo"}}, "b": {"init_cfg": [{"type": "Bar"}, {"type": "Foo"}]}}, ["Foo", "Bar"]),
        ([["a", "foo"], ["b", "zero"], ["c", {"type": "bar"}]], ["foo", "bar"]),
        ([{"pattern": "a", "type": "foo"}, {"pattern": "b", "type": "bar"}], ["foo", "bar"]),
    ],
)
def test_every_unknown_initializer_is_told(settings: object, names: list[str]) -> None:
    with pytest.raises(initdsl.RuleError) as caught:
        initdsl.convert(settings)
    assert len(caught.value.diagnostics) == len(names)
    for found, name in zip(caught.value.diagnostics, names, strict=True):
        assert f"`{name}`" in found.message


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("torchvision://resnet50", "resnet50.safetensors"),
        ("https://models.example/a/resnet50_8xb32-ea4938fc.pth", "resnet50_8xb32-ea4938fc.pth"),
        ("open-mmlab://detectron2/resnet50_caffe", "resnet50_caffe.safetensors"),
        ("https://models.example/a/net.pth?download=true#x\ny", "net.pth"),
        ("s3://", "s3_.safetensors"),
    ],
)
def test_an_address_becomes_a_file_to_save(address: str, file: str) -> None:
    part = {"type": "ResNet", "init_cfg": {"type": "Pretrained", "checkpoint": address}}
    text = initdsl.convert({"model": {"backbone": part, "neck": {"init_cfg": {"type": "Xavier", "layer": "Conv2d"}}}})
    assert f'net.backbone               = load("{file}", missing=skip)' in text
    assert f"as {file} beside this file" in text.splitlines()[1]
    assert "Conv2d+.weight in net.neck ~ xavier_normal()" in text
    assert initdsl.format(text) == text
