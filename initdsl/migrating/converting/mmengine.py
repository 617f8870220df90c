"""mmengine's `init_cfg` as rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from initdsl.text.diagnostic import Diagnostic, RuleError

from .calls import Arguments, kaiming, number_text, quoted_name, refusal, shape_call, unknown

__all__ = ["as_list", "init_configs", "mmengine"]


# the right-hand side for the weight
MMENGINE: dict[str, Callable[[Arguments], str]] = {
    "Constant": lambda a: f"= {a.number('val')}",
    "Xavier": lambda a: f"~ xavier_{shape_call(a)}({'' if (g := a.number('gain', 1)) == '1' else g})",
    "Normal": lambda a: f"~ normal({a.number('mean', 0)}, {a.number('std', 1)})",
    "TruncNormal": lambda a: "~ trunc_normal({}, {}, {}, {})".format(
        a.number("mean", 0), a.number("std", 1), a.number("a", -2), a.number("b", 2)
    ),
    "Uniform": lambda a: f"~ uniform({a.number('a', 0)}, {a.number('b', 1)})",
    "Kaiming": lambda a: f"~ {kaiming(a, shape_call(a), 'fan_out', 'relu')}",
    "Caffe2Xavier": lambda a: "~ kaiming_uniform(a=1)",
}


def init_configs(values: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield `(path, init_cfg)` for a model's settings and those of its parts, outer ones first."""
    if isinstance(values, Mapping):
        if "init_cfg" in values and values["init_cfg"] is not None:
            yield place, values["init_cfg"]
        for name, part in values.items():
            if name != "init_cfg" and isinstance(part, Mapping):
                below = place if name == "model" and place == "net" else f"{place}{_step(str(name))}"
                yield from init_configs(part, below)


def as_list(value: Any, what: str) -> list[Any]:
    """Return the items of a list, one that stands alone, or none; `what` says whose they are."""
    if value is None:
        return []
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, str | Mapping):
        return [value]
    raise refusal("bad-settings", f"{what} is a list, not {value!r:.200}")


def _step(name: str) -> str:
    return "".join(f".{part}" if part.isidentifier() else f"[{quoted_name(part)}]" for part in name.split("."))


def mmengine(values: Any, place: str) -> Iterator[str]:
    """Yield the rules for all the `init_cfg` of a model's settings, or for one that stands alone."""
    problems: list[Diagnostic] = []
    for where, config in list(init_configs(values, place)) or [(place, values)]:
        configs = config if isinstance(config, list | tuple) else [config]
        for each in configs:
            try:
                if not isinstance(each, Mapping):
                    raise refusal("bad-settings", f"an `init_cfg` is a dict with a `type`, not {each!r:.200}")
                yield from list(_one_config(each, where))
            except RuleError as error:  # all that is wrong is said at once
                problems += [found for found in error.diagnostics if found not in problems]
    if problems:
        raise RuleError(problems)


def _one_config(config: Mapping[str, Any], place: str) -> Iterator[str]:
    """Yield the rules of one `init_cfg`: those for the classes of `layer`, then those of `override` for parts by name."""
    own = dict(config)
    override, layer = own.pop("override", None), own.pop("layer", None)
    inside = "" if place == "net" else f" in {place}"
    layers = as_list(layer, "`layer`")
    if own.get("type") == "Pretrained":
        yield _pretrained(own, place)
        return
    weight, bias = _weight_and_bias(own)
    if not layers and override is None:
        yield f"# without `layer` or `override`, mmengine's {own['type']} selects nothing"
    if layers:
        classes = [_class(each) for each in layers]
        yield (
            f"{', '.join(f'{c}+.weight' for c in classes)} {weight}"
            if not inside
            else "\n".join(f"{c}+.weight{inside} {weight}" for c in classes)
        )
        yield from (f"{c}+.bias{inside}? = {bias}" for c in classes)
    for each in as_list(override, "`override`"):
        yield from _override(each, own, place)


def _override(settings: Any, default: Mapping[str, Any], place: str) -> Iterator[str]:
    """Yield the rules for a part by its name, by the settings of its own or those of the whole."""
    if not isinstance(settings, Mapping):
        raise refusal("bad-settings", f"an `override` is a dict with a `name`, not {settings!r:.200}")
    own = dict(settings)
    name = own.pop("name", None)
    if not isinstance(name, str):
        raise refusal("bad-settings", f"an `override` needs a `name`: {settings!r:.200}")
    if own and "type" not in own:
        raise refusal("bad-settings", f"the override of `{name}` has arguments and no `type`")
    own.pop("layer", None)
    target = f"{place}{_step(name)}"
    if own.get("type") == "Pretrained":
        yield _pretrained(own, target)
        return
    weight, bias = _weight_and_bias(own or default)
    yield f"*.weight in {target} {weight}"
    yield f"*.bias in {target}? = {bias}"


def _weight_and_bias(config: Mapping[str, Any]) -> tuple[str, str]:
    name = config.get("type")
    if not isinstance(name, str) or name not in MMENGINE:
        raise unknown("mmengine", name, [*MMENGINE, "Pretrained"])
    a = Arguments(str(name), {k: v for k, v in config.items() if k != "type"})
    bias = a.number("bias", 0)
    prior = a.take("bias_prob", None)
    if prior is not None:
        probability = number_text(prior, f"`bias_prob` of `{name}`")
        bias = f"-log((1 - {probability}) / {probability})"
    weight = MMENGINE[str(name)](a)
    a.done()
    return weight, bias


def _class(name: Any) -> str:
    if not isinstance(name, str) or not name.isidentifier():
        raise refusal("bad-settings", f"a `layer` is the name of a class, not {name!r:.200}")
    return name


# files that a rule can load
LOADED = (".safetensors", ".pt", ".pth", ".bin")


def _pretrained(config: Mapping[str, Any], place: str) -> str:
    a = Arguments("Pretrained", {k: v for k, v in config.items() if k != "type"})
    path, prefix = a.take("checkpoint", None), a.take("prefix", None)
    a.take("map_location", None)
    a.done()
    if not isinstance(path, str):
        raise refusal("bad-argument", "`Pretrained` needs `checkpoint`")
    note = ""
    if "://" in path:
        address, path = path, _file_of(path)
        note = f"# save {quoted_name(address)} as {path} beside this file\n"
    if not path.endswith(LOADED):
        raise refusal(
            "bad-settings",
            f"`{path}` is no file that a rule file can load: {', '.join(LOADED)}",
            "save the checkpoint beside the rule file, and name that",
        )
    prefix = "" if not prefix else f", prefix={quoted_name(prefix if str(prefix).endswith('.') else f'{prefix}.')}"
    return f"{note}{place} = load({quoted_name(path)}{prefix}, missing=skip)"


def _file_of(address: str) -> str:
    """Return the name under which a checkpoint is to be saved: `resnet50.safetensors` of `torchvision://resnet50`."""
    last = address.partition("?")[0].rstrip("/").rpartition("/")[2]
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in last) or "checkpoint"
    return name if name.endswith(LOADED) else f"{name}.safetensors"
