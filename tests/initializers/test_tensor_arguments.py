"""Initializers of one's own that take another parameter: PiSSA, OLoRA, and whatever else starts from a tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import initdsl
from tests.support.nets import names_of


def unannotated(tensor, other=None):  # type: ignore[no-untyped-def]
    return other / 2


def required(tensor, other):  # type: ignore[no-untyped-def]
    tensor.copy_(other / 2)


def annotated(tensor: Tensor, other: torch.Tensor, by: float = 2) -> Tensor:
    return other / by


def optional(tensor: Tensor, other: torch.Tensor | None = None) -> None:
    tensor.copy_(torch.ones_like(tensor) if other is None else other / 2)


def pissa_a(tensor: Tensor, weight: Tensor) -> Tensor:
    """The upper singular vectors of another weight, as PEFT has them."""
    _, s, vh = torch.linalg.svd(weight.float(), full_matrices=False)
    return s[: tensor.shape[0]].sqrt()[:, None] * vh[: tensor.shape[0]]


def noisy(tensor: Tensor, other: Tensor, *, generator: torch.Generator | None = None) -> None:
    tensor.normal_(generator=generator).mul_(0.01).add_(other)


def spoils(tensor: Tensor, other: Tensor) -> None:
    tensor.copy_(other)
    other.zero_()


def shape_only(shape: Any, other: Tensor) -> Any:
    return initdsl.initializers.Normal(0, 1)


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))


@pytest.mark.parametrize("seed", [None, 2])
@pytest.mark.parametrize("function", [unannotated, required, annotated, optional])
def test_a_tensor_is_given_as_one(function: Any, seed: int | None) -> None:
    rules = "net[1].weight = half(net[0].weight); net[0].weight ~ normal(0, 1); Linear.bias = 0"
    made = net()
    initdsl.apply(made, rules, seed=seed, initializers={"half": function})
    assert torch.equal(made[1].weight, made[0].weight / 2)  # at its final value, wherever its rule stands
    assert bool(made[0].weight.any())


@pytest.mark.parametrize(
    "argument",
    ["net[0].weight * 2", "other=net[0].weight", "weight", "net[0].weight[0:2]", 'load("w.safetensors", key="w")'],
)
def test_expressions_and_parts_too(argument: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"w": torch.full((4, 4), 6.0)}, tmp_path / "w.safetensors")
    rules = f"net[0].weight = 3; keep net[1].weight\nnet[1].bias = half({argument})\nnet[0].bias = 0"
    (tmp_path / "r.init").write_text(rules)
    seen = []

    def half(tensor: Tensor, other: Tensor) -> None:
        seen.append(tuple(other.shape))
        tensor.fill_(float(other.mean()) / 2)

    made = net()
    initdsl.apply(made, tmp_path / "r.init", initializers={"half": half})
    assert seen == [(2, 4) if "[0:2]" in argument else (4, 4)]
    own = float(made[1].weight.detach().mean()) / 2
    wanted = {"net[0].weight * 2": 3.0, "weight": own}.get(argument, 3.0 if "load" in argument else 1.5)
    assert made[1].bias.tolist() == pytest.approx([wanted] * 4)


def test_pissa() -> None:
    lora = nn.ModuleDict(
        {"base": nn.Linear(8, 6, bias=False), "A": nn.Linear(8, 2, bias=False), "B": nn.Linear(2, 6, bias=False)}
    )
    rules = "keep net.base; net.A.weight = pissa_a(net.base.weight); net.B.weight = 0"
    initdsl.apply(lora, rules, initializers={"pissa_a": pissa_a})
    _, s, vh = torch.linalg.svd(lora["base"].weight.detach(), full_matrices=False)
    assert torch.allclose(lora["A"].weight, s[:2].sqrt()[:, None] * vh[:2])


def test_a_draw_around_another_is_the_seeds(tmp_path: Path) -> None:
    rules, own = "net[0].weight ~ normal(0, 1); net[1].weight ~ noisy(net[0].weight); Linear.bias = 0", {"noisy": noisy}
    one, other = net(), net()
    initdsl.apply(one, rules, seed=7, initializers=own)
    initdsl.apply(other, rules, seed=7, initializers=own)
    made = initdsl.materialize(net, rules, seed=7, initializers=own)
    assert torch.equal(one[1].weight, other[1].weight)
    assert torch.equal(one[1].weight, made[1].weight)
    assert float((one[1].weight - one[0].weight).std()) == pytest.approx(0.01, rel=0.5)
    initdsl.stream(net, rules, tmp_path / "out", seed=7, initializers=own)
    assert initdsl.verify(str(tmp_path / "out"), rules, 7, model=net(), initializers=own)
    initdsl.apply(one, rules, initializers=own)  # without a seed too


def test_the_other_parameter_stays_as_it_is() -> None:
    made = net()
    initdsl.apply(
        made,
        "net[0].weight = 5; net[1].weight = spoils(net[0].weight); Linear.bias = 0",
        initializers={"spoils": spoils},
    )
    assert made[0].weight.unique().tolist() == [5]
    assert made[1].weight.unique().tolist() == [5]


@pytest.mark.parametrize(("rule", "function", "said"), [
    ("far(net[0].weight)", lambda tensor, by=1.0: None, "`by` must be a number, this is a tensor of shape [4, 4]"), ("far(3)", annotated, "`other` must be a tensor, got 3"),
    ("normal(0, net[0].weight)", annotated, "`std` must be a number"), ('far("x")', annotated, "`other` must be a tensor"), ("far(net[0])", annotated, "is a module, not a value"),
    ("far(net[0].weight)", shape_only, "`other` must be a number"), ("far()", annotated, "`far` needs `other`"), ("far(net[1].weight)", lambda t, o: None, None),
])  # fmt: skip
def test_what_is_refused(rule: str, function: Any, said: str | None) -> None:
    operator = "~" if "normal" in rule or function is shape_only else "="
    made = net()
    if said is None:  # the target itself: it builds on its own values
        initdsl.apply(made, f"net[1].weight {operator} {rule}", initializers={"far": function})
        return
    with pytest.raises(initdsl.InitDSLError) as caught:
        initdsl.plan(made, f"net[1].weight {operator} {rule}", initializers={"far": function})
    assert said in str(caught.value)
    assert len(names_of(caught.value)) == 1


def test_a_check_sees_shapes_while_planning() -> None:
    def check(shape: tuple[int, ...] | None, other: Tensor) -> None:
        if shape is not None and other.shape != shape:
            raise ValueError(f"other has shape {list(other.shape)}")

    @initdsl.initializer(name="fits_other", check=check)
    def fits(tensor: Tensor, other: Tensor) -> Tensor:
        return other

    with pytest.raises(initdsl.RuleError, match=r"other has shape \[4, 4\]"):
        initdsl.plan(net(), "net[1].bias = fits_other(net[0].weight)")
