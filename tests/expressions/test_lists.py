"""Arithmetic on lists against torch's on the same tensors, and vectors that Python code gives for `let` names."""

from __future__ import annotations

import math
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import initdsl
from initdsl import cli
from tests.support.nets import Tensors, names_of

V = torch.tensor([0.01, 0.09, 0.9], dtype=torch.float64)
W = torch.tensor([1.0, 2.0, 7.0], dtype=torch.float64)
M = torch.tensor([[1.0, 2.0, 7.0], [3.0, 4.0, 5.0]], dtype=torch.float64)
TEXTS = {"v": "[0.01, 0.09, 0.9]", "w": "[1, 2, 7]", "m": "[[1, 2, 7], [3, 4, 5]]", "c": "[[1], [2]]"}
C = torch.tensor([[1.0], [2.0]], dtype=torch.float64)


@pytest.mark.parametrize(("text", "expected"), [
    ("log(v)", V.log()), ("log(w / sum(w))", (W / W.sum()).log()), ("-v", -V), ("+v", V), ("v + w", V + W), ("1 - v", 1 - V), ("w ** 2", W**2),
    ("2 ** w", 2**W), ("w // 2 + w % 2", W // 2 + W % 2), ("w > 1", (W > 1).double()), ("v < 0.5 and w > 1", ((V < 0.5) & (W > 1)).double()),
    ("not (w > 1)", (W <= 1).double()), ("w > 5 or v > 0.05", ((W > 5) | (V > 0.05)).double()), ("where(w > 1, v, w)", torch.where(W > 1, V, W)),
    ("clip(w, 1.5, 3)", W.clip(1.5, 3)), ("min(v, 0.05, w)", V.clip(max=0.05)), ("max(v, w)", W), ("m * w", M * W), ("m / sum(m)", M / M.sum()),
    ("sqrt(m) + c", M.sqrt() + C), ("c * w", C * W), ("exp(-w) / sum(exp(-w))", (-W).softmax(0)), ("abs(v - mean(v)) / std(v)", (V - V.mean()).abs() / V.std()),
    ("w[0:2] * 3", W[0:2] * 3), ("norm(m) * v", M.norm() * V), ("log(v / (1 - v))", V.logit()),
])  # fmt: skip
def test_lists_are_computed_as_tensors_are(text: str, expected: torch.Tensor) -> None:
    lets = "".join(f"let {name} = {value}\n" for name, value in TEXTS.items())
    net = Tensors(t=torch.zeros(expected.shape, dtype=torch.float64))
    initdsl.apply(net, f"{lets}net.t = {text}")
    assert torch.allclose(net.t.detach(), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize(("text", "expected"), [
    ("net.x * [1, 2, 7]", lambda x: x * W), ("[1, 2, 7] - net.x", lambda x: W - x), ("where(net.x > 0, [1, 2, 7], 0)", lambda x: torch.where(x > 0, W, 0)),
    ("max(net.x, [1, 2, 7])", lambda x: torch.maximum(x, W)), ("index(1) == [0, 1, 1]", lambda x: torch.tensor([1, 1, 0]).double().expand(2, 3)),
    ("net.x + [[1], [2]]", lambda x: x + C), ("it + net.x * log([1, 2, 7])", lambda x: 1 + x * W.log()),
])  # fmt: skip
@pytest.mark.parametrize("seed", [None, 3])
def test_among_tensors_a_list_is_one(text: str, expected: Any, seed: int | None) -> None:
    x = torch.linspace(-2, 3, 6, dtype=torch.float64).reshape(2, 3)
    net = Tensors(t=torch.ones(2, 3, dtype=torch.float64), x=x.clone())
    initdsl.apply(net, f"net.t = {text}; keep net.x", seed=seed)
    assert torch.allclose(net.t.detach(), expected(x).double(), rtol=1e-14, atol=0)


def test_a_streamed_tensor_takes_its_part_of_a_list(tmp_path: Path) -> None:
    """Files are written in boxes: a list has its own places in each."""
    rules = "Linear.weight ~ normal(0, 1) * [1, 2, 3, 4] + [[10], [20], [30], [40], [50], [60]]\nLinear.bias = log([1, 2, 3, 4, 5, 6])"
    net = nn.Linear(4, 6)
    initdsl.apply(net, rules, seed=4)
    initdsl.stream(lambda: nn.Linear(4, 6), rules, tmp_path / "out", seed=4, max_shard_size=64)
    assert initdsl.verify(str(tmp_path / "out"), rules, 4, model=net)
    assert initdsl.verify(net, rules, 4)


@pytest.mark.parametrize(("text", "name", "said"), [
    ("[1, 2] + [1, 2, 3]", "bad-shape", "shapes [2] and [3] don't broadcast"), ("log([1, 0])", "bad-expression", "`log` of 0 is not a finite number"),
    ("[1, 2, 3] / [1, 0, 1]", "division-by-zero", "division by zero"), ('["a", "b", "c"] * 2', "bad-expression", "a literal holds numbers"),
    ("(1, 2, 3) * 2", "bad-expression", "this is a tuple, not a number"), ("[[1, 2], [3]] + 1", "bad-shape", "the rows of the literal differ"),
    ("net.x + [1, 2]", "bad-shape", "shapes [3] and [2] don't broadcast"), ("[1, 2, 3] ** 0.5 - [4]", "bad-shape", "doesn't fit"),
])  # fmt: skip
def test_lists_that_are_refused(text: str, name: str, said: str) -> None:
    with pytest.raises(initdsl.InitDSLError) as caught:
        initdsl.apply(Tensors(t=torch.zeros(1 if "[4]" in text else 3), x=torch.zeros(3)), f"net.t = {text}; net.x = 0")
    assert names_of(caught.value) == [name]
    assert said in str(caught.value)


def test_lists_do_not_grow_without_end() -> None:
    column = "[" + ", ".join(["[1]"] * 2000) + "]"
    with pytest.raises(initdsl.InitDSLError, match="at most 1,048,576 elements"):
        initdsl.plan(nn.Linear(1, 2), f"let c = {column}\nlet r = [{', '.join('1' * 2000)}]\nLinear.bias = sum(c * r)")


# ---- given by Python


class Level(IntEnum):
    HIGH = 3


class Mode(str, Enum):  # noqa: UP042 - what code of before Python 3.11 has
    OUT = "fan_out"


def test_a_word_of_an_enumeration_is_its_value() -> None:
    plan = initdsl.plan(
        nn.Linear(4, 2), 'let m = "fan_in"; Linear.weight ~ kaiming_normal(mode=m)', vars={"m": Mode.OUT}
    )
    assert type(plan.variables["m"]) is str
    assert plan["weight"].distribution.std == pytest.approx(math.sqrt(2 / 2))


NUMBERS = [
    np.float64(3), np.float32(3), np.float16(3), np.longdouble(3), np.int64(3), np.int8(3), np.uint64(3), np.array(3), np.array(3.0), np.array(3, dtype=np.int32),
    torch.tensor(3), torch.tensor(3.0), torch.tensor(3.0, dtype=torch.bfloat16), nn.Parameter(torch.tensor(3.0)), Fraction(3), Decimal(3), Level.HIGH,
]  # fmt: skip


@pytest.mark.parametrize("number", NUMBERS, ids=repr)
def test_whatever_is_a_number_is_one(number: Any) -> None:
    rules = "let n = 1\nLinear.weight = sqrt(n * 3) + max(n, 0) + -n; Linear.bias = where(n > 1, n, 0) * [1, 2]"
    net = nn.Linear(2, 2)
    report = initdsl.apply(net, rules, vars={"n": number})
    assert net.weight.unique().tolist() == [3]
    assert net.bias.tolist() == [3, 6]
    assert type(report.to_dict()["vars"]["n"]) in (int, float)


def test_numpys_truth_is_true() -> None:
    net = nn.Linear(2, 2)
    initdsl.apply(net, "let on = false; Linear.* = where(on, 2, 1)", vars={"on": np.bool_(True)})
    assert {*net.weight.unique().tolist(), *net.bias.tolist()} == {2}


VECTORS = [
    [0.1, 0.2, 0.7], (0.1, 0.2, 0.7), np.array([0.1, 0.2, 0.7]), torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64),
    [np.float64(0.1), Fraction(1, 5), torch.tensor(0.7, dtype=torch.float64)], nn.Parameter(torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64)),
]  # fmt: skip


@pytest.mark.parametrize("given", VECTORS, ids=lambda given: type(given).__name__)
@pytest.mark.parametrize("text", ["log(prior)", "prior", "prior - mean(prior)", "prior[0] * [1, 2, 3]"])
def test_a_vector_comes_in_through_vars(given: Any, text: str) -> None:
    rules, net, other = "let prior = [1, 1, 1]\nLinear.weight = 0\nLinear.bias = ", nn.Linear(2, 3), nn.Linear(2, 3)
    initdsl.apply(net, rules + text, vars={"prior": given})
    initdsl.apply(other, rules.replace("[1, 1, 1]", "[0.1, 0.2, 0.7]") + text)
    assert torch.equal(net.bias, other.bias)


def test_a_matrix_comes_in_too() -> None:
    net, table = nn.Linear(2, 3), torch.arange(6.0).reshape(3, 2)
    initdsl.apply(net, "let table = 0; Linear.weight = table * 2; Linear.bias = 0", vars={"table": table})
    assert torch.equal(net.weight, table * 2)


HOLDS_ITSELF: list[Any] = []
HOLDS_ITSELF.append(HOLDS_ITSELF)


@pytest.mark.parametrize("given", [
    torch.zeros(3, device="meta"), torch.zeros(3, dtype=torch.cfloat), 1j, {"a": 1}, {1, 2}, [1, object()], b"ab", np.zeros((1 << 20) + 1), HOLDS_ITSELF, int,
    np.array(["2026-01-01"], dtype="datetime64[D]"), float,
], ids=lambda given: type(given).__name__)  # fmt: skip
def test_what_is_no_number_is_refused(given: Any) -> None:
    with pytest.raises(initdsl.InitDSLError) as caught:
        initdsl.plan(nn.Linear(2, 3), "let v = 1; Linear.* = v", vars={"v": given})
    assert names_of(caught.value) == ["bad-variable"]


def test_numbers_of_numpy_are_attributes() -> None:
    net = nn.Sequential(nn.Linear(2, 3))
    net[0].scale, net[0].prior = np.float32(0.5), np.array([1.0, 2.0, 4.0])
    initdsl.apply(net, "Linear.weight = scale; Linear.bias = prior[2]")
    assert net[0].weight.unique().tolist() == [0.5]
    assert net[0].bias.unique().tolist() == [4]


def test_a_plan_of_vectors_is_saved_and_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("vectors.py").write_text("from torch import nn\ndef net(): return nn.Linear(2, 3)\n")
    Path("r.init").write_text("let prior = [1, 1, 1]\nLinear.weight = 0\nLinear.bias = log(prior)\n")
    for words in (
        ["plan", "r.init", "--model", "vectors.py:net", "--set", "prior=[0.1, .2, 7e-1]", "-o", "plan.json"],
        ["apply", "plan.json", "--model", "vectors.py:net", "-o", "out.safetensors"],
    ):
        result = CliRunner().invoke(cli.group, words)
        assert result.exit_code == 0, result.output
    assert initdsl.verify("out.safetensors", "net.weight = 0\nnet.bias = log([0.1, 0.2, 0.7])")
