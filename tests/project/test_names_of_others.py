"""The lists of other libraries' names in the code, each against what the library has and does: a new version can add to it."""

from __future__ import annotations

import argparse
import importlib
import inspect
import types
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from initdsl.diagnosis.norms import silencing_weight
from initdsl.diagnosis.recorder import RECTIFIERS as ZERO_BELOW
from initdsl.filling.meta import construct
from initdsl.initializers.elsewhere import ACTIVATIONS
from initdsl.linter.chains import RECTIFIERS
from initdsl.linter.lints.fused_matrix import GATES
from initdsl.linter.lints.variance_as_std import INPUTS
from initdsl.linter.lints.zeroed_norm import TORCH
from initdsl.network.data import CONFIGURATIONS
from initdsl.network.describe import DICTS, LISTS
from initdsl.network.selectors.why_nothing import REBUILT
from initdsl.network.wrappers import WRAPPERS
from initdsl.planning.notes import CONVOLUTIONS
from tests.support import needs


def classes(base: type = nn.Module) -> Iterator[type[nn.Module]]:
    """Yield torch.nn's public classes that derive from another one, lazy ones aside."""
    for name, value in vars(nn).items():
        if isinstance(value, type) and issubclass(value, base) and not name.startswith(("Lazy", "_")):
            yield value


def qualname(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def test_the_convolutions_are_all_there_are() -> None:
    found = {cls.__name__ for cls in classes(nn.modules.conv._ConvNd)}
    assert set(CONVOLUTIONS) == found


def test_the_containers_are_all_there_are() -> None:
    lists = {qualname(cls) for cls in (nn.Sequential, nn.ModuleList, nn.ParameterList)}
    assert lists == LISTS
    assert {
        qualname(cls)
        for cls in vars(nn.modules.container).values()
        if isinstance(cls, type)
        and issubclass(cls, nn.Module)
        and cls.__module__ == nn.modules.container.__name__
        and cls.__name__ not in ("Container",)
        and cls is not nn.Module
    } == LISTS | DICTS


def test_gates_are_the_rows_of_the_weights_of_recurrent_layers() -> None:
    found = {}
    for cls in (*classes(nn.RNNBase), *classes(nn.RNNCellBase)):
        if cls not in (nn.RNNBase, nn.RNNCellBase):
            rows = next(iter(cls(3, 5).parameters())).shape[0] // 5
            found |= {cls.__name__: rows} if rows > 1 else {}
    assert found == GATES


def test_norms_that_multiply_by_their_weight() -> None:
    """The shortcut of `zeroed-norm` holds the norms of torch that say so when they are asked, and no others."""
    asked, listed = set(), set()
    for cls in classes():
        if "Norm" not in cls.__name__ or cls is nn.SyncBatchNorm:  # which runs on several devices alone
            continue
        options = {"affine": True} if "affine" in inspect.signature(cls).parameters else {}
        norm = cls(2, 4) if cls is nn.GroupNorm else cls(4, **options)
        asked |= {cls} if silencing_weight(norm) == 0 else set()
        listed |= {cls} if TORCH.fullmatch(qualname(cls)) else set()
    assert asked == listed
    assert len(asked) >= 8


def test_rectifiers_pass_half_of_the_power_on() -> None:
    values = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    found = set()
    for name in nn.modules.activation.__all__:
        cls = getattr(nn, name)
        if any(
            p.default is p.empty and p.kind is not p.VAR_KEYWORD for p in inspect.signature(cls).parameters.values()
        ):
            continue
        layer = cls()
        if list(layer.parameters()) or "dim" in inspect.signature(cls).parameters or name == "Softmax2d":
            continue
        grows = float(layer(torch.tensor(5.0))) > 4.9
        found |= {name} if grows and 0.3 < float(layer(values).square().mean()) < 0.7 else set()
    assert set(RECTIFIERS) == found


def test_functions_that_are_0_below() -> None:
    values = torch.linspace(-5, -1.5, 8)
    for name in ZERO_BELOW:
        options = {"threshold": 0.0, "value": 0.0} if name == "threshold" else {}
        output = getattr(nn.functional, name)(values, **options)
        assert len(output.unique()) == 1, name


def test_torch_has_no_gain_for_these_and_one_for_what_stands_in_for_them() -> None:
    for name, near in ACTIVATIONS.items():
        with pytest.raises(ValueError, match="Unsupported nonlinearity"):
            nn.init.calculate_gain(name)
        assert nn.init.calculate_gain(near) > 0


def test_what_counts_the_inputs_of_a_layer() -> None:
    taken = {name for cls in classes() for name in inspect.signature(cls).parameters}
    assert set(INPUTS) <= taken


def test_methods_of_tensors_that_draw() -> None:
    """All that take a generator, by torch's own schemas."""
    found = {
        schema.name.removeprefix("aten::")
        for schema in torch._C._jit_get_all_schemas()
        if schema.name.endswith("_") and any(argument.name == "generator" for argument in schema.arguments)
    }
    methods = {getattr(torch.Tensor, name) for name in found if hasattr(torch.Tensor, name)}
    assert methods <= construct._DRAWING
    assert len(methods) >= 8


@pytest.mark.parametrize(
    "place",
    [*WRAPPERS, *(tuple(name.rsplit(".", 1)) for name in sorted(REBUILT | LISTS | DICTS))],
    ids=".".join,
)
def test_the_classes_are_there(place: tuple[str, str]) -> None:
    assert issubclass(getattr(importlib.import_module(place[0]), place[1]), nn.Module)


def test_configurations_are_classes_of_python_and_transformers() -> None:
    known = {types.SimpleNamespace.__name__, argparse.Namespace.__name__}
    if not needs.lacks("transformers"):
        import transformers

        known |= {transformers.PretrainedConfig.__name__}
        assert transformers.PretrainedConfig.__name__ in CONFIGURATIONS
    assert known <= CONFIGURATIONS
