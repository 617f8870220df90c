"""What a model takes: a sample that is given, or random input that fits its signature and its first layers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Any

import torch
from torch import nn

from initdsl.network.wrappers import unwrap
from initdsl.text.diagnostic import DiagnoseError, Diagnostic
from initdsl.text.wording import listed

__all__ = ["Inputs", "candidates", "of_sample", "of_shape"]


# samples, samples of one number a feature, and positions of a sequence
BATCH, ROWS, LENGTH = 8, 64, 16


# sides of an image that are tried
SIDES = (64, 32, 28, 224, 96, 299)


# arguments of different kinds, and how many ways to give them are tried
MOST_ARGUMENTS, MOST_MIXED = 3, 100


@dataclass(frozen=True)
class Inputs:
    """The arguments of one call of a model: `Inputs((torch.randn(8, 64),))`.

    `given` if they, or their shape, were given by the user, `random` if their values were drawn.
    """

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    given: bool = False
    random: bool = True

    def __str__(self) -> str:
        parts = [_described(a) for a in self.args] + [f"{k}={_described(v)}" for k, v in self.kwargs.items()]
        if not parts:
            return "no input"
        return f"{'random ' * self.random}{', '.join(parts)}"


def _described(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return type(value).__name__


def of_sample(net: nn.Module, sample: Any) -> Inputs:
    """Return a sample as arguments: a tensor is the first, a tuple or list the first ones, a mapping goes by name.

    A mapping of one tensor whose name the model doesn't know is the first argument.
    """
    if isinstance(sample, Mapping):
        signature = _parameters(net)
        if len(sample) == 1 and not signature.any and next(iter(sample)) not in signature.names:
            return Inputs(tuple(sample.values()), given=True, random=False)
        unknown = [name for name in sample if name not in signature.names] if not signature.any else []
        if unknown:
            raise DiagnoseError(
                Diagnostic(
                    "unknown-input",
                    f"the model takes no {listed(unknown)}",
                    hint=f"it takes {listed(list(signature.names))}" if signature.names else None,
                )
            )
        return Inputs((), dict(sample), given=True, random=False)
    if isinstance(sample, tuple | list):
        return Inputs(tuple(sample), given=True, random=False)
    return Inputs((sample,), given=True, random=False)


def of_shape(net: nn.Module, shape: Sequence[int]) -> Iterator[Inputs]:
    """Yield random input of a shape, the likely kind first: standard normal numbers, or indices where an embedding comes first."""
    shape = tuple(shape)
    inner = unwrap(net)
    name = getattr(inner, "main_input_name", None)
    words = _vocabulary(inner)
    tensors = [_noise(inner, shape)]
    if words is not None:
        indices = _indices(inner, words, shape)
        tensors = [indices, *tensors] if words and _integers_first(inner) else [*tensors, indices]
    for tensor in tensors:
        if isinstance(name, str) and hasattr(inner, "config"):
            kwargs = {name: tensor}
            if getattr(inner.config, "is_encoder_decoder", False) and tensor.dtype == torch.long:
                kwargs["decoder_input_ids"] = tensor
            yield Inputs((), kwargs, given=True)
        else:
            required = _parameters(inner).required
            yield Inputs(
                tuple(_for(required[i], tensor) for i in range(max(1, len(required)))) if required else (tensor,),
                given=True,
            )


def _integers_first(net: nn.Module) -> bool:
    """Return whether the first layer with a weight, or the declared main input, is of indices."""
    if str(getattr(net, "main_input_name", "")).endswith("ids"):
        return True
    first = next(
        (
            m
            for m in net.modules()
            if any(p.ndim > 1 for p in m.parameters(recurse=False)) and type(m).__module__.startswith("torch.nn")
        ),
        None,
    )
    return isinstance(first, nn.Embedding | nn.EmbeddingBag)


def candidates(net: nn.Module) -> Iterator[Inputs]:
    """Yield random inputs that may fit, the likeliest first."""
    inner = unwrap(net)
    yield from _of_transformers(inner)
    signature = _parameters(inner)
    required, by_name = signature.required, signature.by_name
    tensors = []
    for tensor in _tensors(inner):
        tensors.append(tensor)
        first = tuple(_for(name, tensor) for name in required) if required else (tensor,)
        yield Inputs(first, {name: _for(name, tensor) for name in by_name})
    # arguments of different kinds: those that the first layers take, as many samples of each
    count = len(required) + len(by_name)
    if 1 < count <= MOST_ARGUMENTS:
        some = [tensor[:BATCH] for tensor in tensors if tensor.shape[0] >= BATCH]
        mixed = (choice for choice in product(some, repeat=count) if len({id(t) for t in choice}) > 1)
        for choice in islice(mixed, MOST_MIXED):
            given = [_for(name, tensor) for name, tensor in zip((*required, *by_name), choice, strict=True)]
            yield Inputs(tuple(given[: len(required)]), dict(zip(by_name, given[len(required) :], strict=True)))
    if not count and not signature.names:
        yield Inputs()


TIMES = ("t", "time", "times", "timestep", "timesteps", "step", "steps", "sigma", "noise_level")


def _for(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Return what an argument of this name gets beside the main one; a diffusion model's time is a number a sample."""
    if name in TIMES:
        return torch.randint(0, 100, (tensor.shape[0],), device=tensor.device)
    return tensor


@dataclass(frozen=True)
class _Signature:
    """What `forward` takes: all names, those it needs, those it needs by name alone, and whether `any` name will do."""

    names: list[str]
    required: list[str]
    by_name: list[str]
    any: bool


def _parameters(net: nn.Module) -> _Signature:
    try:
        parameters = inspect.signature(unwrap(net).forward).parameters.values()
    except (TypeError, ValueError):
        return _Signature([], [], [], True)
    plain = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    required = [p.name for p in plain if p.default is p.empty and p.kind != p.KEYWORD_ONLY]
    by_name = [p.name for p in plain if p.default is p.empty and p.kind == p.KEYWORD_ONLY]
    return _Signature([p.name for p in plain], required, by_name, any(p.kind == p.VAR_KEYWORD for p in parameters))


def _device(net: nn.Module) -> torch.device:
    return next((p.device for p in net.parameters()), torch.device("cpu"))


def _noise(net: nn.Module, shape: Sequence[int]) -> torch.Tensor:
    dtype = next((p.dtype for p in net.parameters() if p.is_floating_point()), torch.float32)
    return torch.randn(*shape, dtype=dtype if dtype.itemsize > 1 else torch.float32, device=_device(net))


def _indices(net: nn.Module, words: int, shape: Sequence[int]) -> torch.Tensor:
    return torch.randint(0, max(1, words), tuple(shape), device=_device(net))


def _vocabulary(net: nn.Module) -> int | None:
    """Return how many indices the model's first embedding takes; None if it has none."""
    config = getattr(net, "config", None)
    size = _setting(config, "vocab_size")
    if isinstance(size, int) and size > 0:
        return size
    first = next((m for m in net.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)), None)
    return first.num_embeddings if first is not None else None


# ---- transformers: a configuration says what comes in


def _setting(config: Any, *names: str) -> Any:
    """Return the first of some settings that a configuration, or one inside it, has."""
    if config is None:
        return None
    text = getattr(config, "get_text_config", None)
    inside = [getattr(config, part, None) for part in ("vision_config", "audio_config", "text_config", "encoder")]
    for place in (config, *inside, text() if callable(text) else None):
        for name in names:
            value = getattr(place, name, None)
            if value is not None:
                return value
    return None


def _of_transformers(net: nn.Module) -> Iterator[Inputs]:
    """Yield the main input of a model of transformers alone, then all whose names say what they are."""
    config, main = getattr(net, "config", None), getattr(net, "main_input_name", None)
    if config is None or not isinstance(main, str):
        return
    names = _parameters(net).names
    tensors = {name: tensor for name in names if (tensor := _named(net, config, name)) is not None}
    if main in tensors:
        some = {main: tensors[main]}
        if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in tensors:
            some["decoder_input_ids"] = tensors["decoder_input_ids"]
        yield Inputs((), some)
    if tensors:
        yield Inputs((), tensors)


def _named(net: nn.Module, config: Any, name: str) -> torch.Tensor | None:
    """Return random input for an argument of transformers' models, by its name."""
    positions = _setting(config, "max_position_embeddings", "n_positions") or LENGTH
    length = min(LENGTH, positions) if isinstance(positions, int) and positions > 0 else LENGTH
    match name:
        case "input_ids" | "decoder_input_ids":
            words = _vocabulary(net)
            return _indices(net, words, (BATCH, length)) if words is not None else None
        case "pixel_values":
            side = _setting(config, "image_size")
            sides = tuple(side) if isinstance(side, tuple | list) else (side or 224,) * 2
            return _noise(net, (BATCH, _setting(config, "num_channels", "in_channels") or 3, *sides))
        case "input_values":
            return _noise(net, (BATCH, 4000))
        case "input_features":
            frames = _setting(config, "max_source_positions")
            return _noise(net, (BATCH, _setting(config, "num_mel_bins") or 80, 2 * frames if frames else 100))
    return None


# ---- anything: what the first layers take


def _tensors(net: nn.Module) -> Iterator[torch.Tensor]:
    """Yield tensors that the first layers of the model would take, by the order of registration."""
    channels, size = _image(net)
    if size is not None:
        yield _noise(net, (BATCH, channels, *size))
    met: set[str] = set()
    for module in net.modules():
        for kind, tensor in _taken(net, module):
            if kind not in met:
                yield tensor
        met |= {kind for kind, _ in _taken(net, module)} if len(met) < 12 else set()
        if len(met) >= 12:
            return


def _image(net: nn.Module) -> tuple[int, tuple[int, ...] | None]:
    """Return channels and sides of the image a vision model says it takes, as torchvision's and timm's do."""
    patches = getattr(net, "patch_embed", None)
    for holder, name in ((patches, "img_size"), (net, "image_size"), (net, "img_size"), (patches, "image_size")):
        side = getattr(holder, name, None)
        sides = (side, side) if isinstance(side, int) else side
        if isinstance(sides, tuple | list) and len(sides) == 2 and all(isinstance(s, int) for s in sides):
            first = next((m for m in net.modules() if isinstance(m, nn.Conv2d)), None)
            return (first.in_channels if first is not None else 3), tuple(sides)
    settings = getattr(net, "pretrained_cfg", None)
    if isinstance(settings, Mapping) and settings.get("fixed_input_size") and "input_size" in settings:
        size = settings["input_size"]
        return int(size[0]), (int(size[1]), int(size[2]))
    return 3, None


def _taken(net: nn.Module, module: nn.Module) -> list[tuple[str, torch.Tensor]]:
    """Return what one layer takes, and a name for that kind of input."""
    shapes: list[tuple[str, tuple[int, ...]]] = []
    match module:
        case nn.Embedding() | nn.EmbeddingBag():
            return [(f"indices{module.num_embeddings}", _indices(net, module.num_embeddings, (BATCH, LENGTH)))]
        case nn.ConvTranspose1d() | nn.ConvTranspose2d() | nn.ConvTranspose3d():
            dims = len(module.kernel_size)
            latent = set(module.stride) == {1} and set(module.padding) <= {0, "valid"}  # a generator's first layer
            sides = (1, 4, 8, 16) if latent else (8, 4, 16, 1)
            shapes = [(f"small{dims}-{side}", (BATCH, module.in_channels, *(side,) * dims)) for side in sides]
        case nn.Conv1d():
            shapes = [("conv1d", (BATCH, module.in_channels, 64)), ("conv1d-long", (BATCH, module.in_channels, 1024))]
        case nn.Conv2d():
            shapes = [(f"image{side}", (BATCH, module.in_channels, side, side)) for side in SIDES]
        case nn.Conv3d():
            shapes = [
                ("volume", (BATCH, module.in_channels, 16, 32, 32)),
                ("volume112", (2, module.in_channels, 16, 112, 112)),
            ]
        case nn.RNNBase():
            first = module.batch_first
            shapes = [("sequence", (BATCH, LENGTH, module.input_size) if first else (LENGTH, BATCH, module.input_size))]
        case nn.Linear() | nn.Bilinear():
            width = module.in_features if isinstance(module, nn.Linear) else module.in1_features
            shapes = [(f"rows{width}", (ROWS, width)), (f"sequence{width}", (BATCH, LENGTH, width))]
        case nn.LayerNorm():
            shapes = [(f"sequence{module.normalized_shape}", (BATCH, LENGTH, *module.normalized_shape))]
        case nn.MultiheadAttention():
            shapes = [("sequence", (BATCH, LENGTH, module.embed_dim))]
        case nn.BatchNorm1d():
            shapes = [(f"rows{module.num_features}", (ROWS, module.num_features))]
        case nn.BatchNorm2d():
            shapes = [("image", (BATCH, module.num_features, 32, 32))]
    return [(kind, _noise(net, shape)) for kind, shape in shapes]
