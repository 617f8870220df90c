"""`load` of modules that have code of their own for `load_state_dict`: it means the same, or it is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import initdsl


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 2))
        self.register_buffer("scale", torch.zeros(2))


def rename(state: dict[str, Any], prefix: str) -> None:
    if f"{prefix}w" in state:
        state[f"{prefix}weight"] = state.pop(f"{prefix}w")


class Renames(Plain):
    def _load_from_state_dict(self, state: Any, prefix: str, *others: Any) -> None:
        rename(state, prefix)
        super()._load_from_state_dict(state, prefix, *others)


class RenamesByHook(Plain):
    def __init__(self) -> None:
        super().__init__()
        self._register_load_state_dict_pre_hook(lambda state, prefix, *others: rename(state, prefix))


class RenamesByPublicHook(Plain):
    def __init__(self) -> None:
        super().__init__()
        if hasattr(self, "register_load_state_dict_pre_hook"):
            self.register_load_state_dict_pre_hook(lambda module, state, prefix, *others: rename(state, prefix))
        else:  # torch 2.4
            self._register_load_state_dict_pre_hook(lambda state, prefix, *others: rename(state, prefix))


class Doubles(Plain):
    def _load_from_state_dict(self, state: Any, prefix: str, *others: Any) -> None:
        super()._load_from_state_dict(
            {n: 2 * t if n == f"{prefix}weight" else t for n, t in state.items()}, prefix, *others
        )


class Turns(Plain):
    def __init__(self) -> None:
        super().__init__()
        self._register_load_state_dict_pre_hook(self.turn)

    def turn(self, state: dict[str, Any], prefix: str, *others: Any) -> None:
        state[f"{prefix}weight"] = state[f"{prefix}weight"].t()


class ScalesBuffer(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.register_load_state_dict_post_hook(self.scale_it)

    @staticmethod
    def scale_it(module: nn.Module, keys: object) -> None:
        module.scale.mul_(2)


class OverridesAll(Plain):
    def load_state_dict(self, state: Any, *arguments: Any, **options: Any) -> Any:
        return super().load_state_dict({n: t + 1 for n, t in state.items()}, *arguments, **options)


class LooksAtValues(Plain):
    def _load_from_state_dict(self, state: Any, prefix: str, *others: Any) -> None:
        if float(state[f"{prefix}weight"].sum()) > 0:
            state[f"{prefix}weight"] = -state[f"{prefix}weight"]
        super()._load_from_state_dict(state, prefix, *others)


class WritesToItself(Plain):
    def __init__(self) -> None:
        super().__init__()
        self._register_load_state_dict_pre_hook(self.write)

    def write(self, state: dict[str, Any], prefix: str, *others: Any) -> None:
        self.weight.data.fill_(9)


SAME = [Plain, Renames, RenamesByHook, RenamesByPublicHook]
OTHER = [Doubles, Turns, ScalesBuffer, OverridesAll, LooksAtValues]


class Net(nn.Module):
    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.a = part
        self.b = nn.Linear(2, 2)


VALUES = {"weight": torch.arange(1.0, 5).reshape(2, 2), "scale": torch.tensor([5.0, 6.0])}


def files(folder: Path, **more: torch.Tensor) -> None:
    part = {**VALUES, **more}
    net = {f"a.{name}": value for name, value in part.items()} | nn.Linear(2, 2).state_dict(prefix="b.")
    save_file(part, folder / "part.safetensors")
    save_file(net, folder / "net.safetensors")


RULES = [("net", 'net = load("net.safetensors")'), ("net.a", 'net.a = load("part.safetensors")')]


@pytest.mark.parametrize(("target", "rules"), RULES)
@pytest.mark.parametrize("cls", SAME)
def test_it_is_what_load_state_dict_gives(
    cls: Callable[[], nn.Module], target: str, rules: str, tmp_path: Path
) -> None:
    files(tmp_path)
    ours, torchs = Net(cls()), Net(cls())
    initdsl.apply(ours, rules, root=tmp_path, strict=False)
    state = load_file(tmp_path / ("net.safetensors" if target == "net" else "part.safetensors"))
    (torchs if target == "net" else torchs.a).load_state_dict(state)
    assert all(torch.equal(value, torchs.a.state_dict()[name]) for name, value in ours.a.state_dict().items())


@pytest.mark.parametrize(("target", "rules"), RULES)
@pytest.mark.parametrize("cls", OTHER)
def test_what_would_be_something_else_is_refused_everywhere(
    cls: Callable[[], nn.Module], target: str, rules: str, tmp_path: Path
) -> None:
    files(tmp_path)
    (tmp_path / "rules.init").write_text(rules)
    net = Net(cls())
    says = rf"`[^`]*{cls.__name__}[^`]*` of `net\.a`"  # type: ignore[attr-defined]
    for way in (
        lambda: initdsl.apply(net, rules, root=tmp_path),
        lambda: initdsl.plan(net, rules, root=tmp_path),
        lambda: initdsl.verify(net, rules, root=tmp_path),
        lambda: initdsl.materialize(lambda: Net(cls()), rules, root=tmp_path),
        lambda: initdsl.stream(net, rules, tmp_path / "out", seed=0, root=tmp_path),
        lambda: initdsl.load(tmp_path / "rules.init").as_init_fn(net),
    ):
        with pytest.raises(initdsl.ResolveError, match=says) as caught:
            way()
        assert caught.value.diagnostics[0].name == "bad-load"
    assert not net.a.weight.any()


def test_what_a_hook_does_to_the_model_itself_is_not_tried(tmp_path: Path) -> None:
    files(tmp_path)
    net = Net(WritesToItself())
    for way in (initdsl.apply, initdsl.plan, initdsl.verify):
        with pytest.raises(initdsl.ResolveError, match="writes to a tensor that is there"):
            way(net, RULES[0][1], root=tmp_path)
    assert not net.a.weight.any()


def test_a_tensor_that_is_named_is_taken_as_it_is(tmp_path: Path) -> None:
    files(tmp_path)
    net = Net(Doubles())
    initdsl.apply(net, 'net.a.weight = load("part.safetensors", key="weight")', root=tmp_path)
    assert torch.equal(net.a.weight, VALUES["weight"])


@pytest.mark.parametrize(("target", "rules"), RULES)
@pytest.mark.parametrize("cls", SAME[1:])
def test_old_names_beside_new_ones_are_seen(
    cls: Callable[[], nn.Module], target: str, rules: str, tmp_path: Path
) -> None:
    files(tmp_path, w=torch.full((2, 2), 7.0))
    with pytest.raises(initdsl.ResolveError, match=r"gives `net\.a\.weight` something else"):
        initdsl.apply(Net(cls()), rules, root=tmp_path)


@pytest.mark.parametrize("cls", SAME[1:])
def test_a_file_of_old_names_is_an_error_that_names_the_code(cls: Callable[[], nn.Module], tmp_path: Path) -> None:
    save_file({"w": VALUES["weight"], "scale": VALUES["scale"]}, tmp_path / "part.safetensors")
    with pytest.raises(initdsl.RuleError, match=r"no tensor `weight`(.|\n)*`load` doesn't run `.*Renames"):
        initdsl.apply(Net(cls()), 'net.a = load("part.safetensors")', root=tmp_path)


class NeedsAll(Net):
    """A model whose own code wants a whole checkpoint: `{"model": ..., "epoch": ...}`."""

    def load_state_dict(self, state: Any, *arguments: Any, **options: Any) -> Any:
        return super().load_state_dict(state["model"], *arguments, **options)


def test_the_code_of_a_model_around_the_part_that_is_loaded_has_no_say(tmp_path: Path) -> None:
    files(tmp_path)
    net = NeedsAll(Plain())
    initdsl.apply(net, 'net { .a = load("part.safetensors") }', root=tmp_path)
    assert torch.equal(net.a.weight, VALUES["weight"])
    for rules in ('net = load("net.safetensors")', 'net.a = load("net.safetensors")'):
        with pytest.raises(initdsl.ResolveError, match=r"`NeedsAll\.load_state_dict` of `net` takes part"):
            initdsl.apply(net, rules, root=tmp_path)
