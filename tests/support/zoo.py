"""Small models of timm, torchvision and transformers, and plain models, each in two sizes: does what is inferred of one
hold for the other? `python -m tests.support.zoo` tries all of them and says how often each word of confidence is right.
"""

from __future__ import annotations

import math
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import nn

import initdsl

__all__ = ["Judged", "judged", "plain_networks", "zoo"]


Build = Callable[[], nn.Module]


class Judged(NamedTuple):
    """One rule of what was inferred: its text, how sure it says it is, and whether the other size starts so."""

    rule: str
    sure: str
    right: bool
    why: str = ""


# ---- plain networks


class Block(nn.Module):
    def __init__(self, width: int, conv: bool = False):
        super().__init__()
        self.norm = nn.BatchNorm2d(width) if conv else nn.LayerNorm(width)
        self.up = nn.Conv2d(width, 2 * width, 3) if conv else nn.Linear(width, 4 * width)
        self.down = nn.Conv2d(2 * width, width, 1) if conv else nn.Linear(4 * width, width)


class Plain(nn.Module):
    """Blocks whose matrices start as `init` says, and the last of each as `last` does, of the matrix and the depth."""

    def __init__(self, width: int, depth: int, init: Callable[..., Any], last: Callable[..., Any] | None, conv: bool):
        super().__init__()
        self.embed = nn.Embedding(4 * width, width)
        self.blocks = nn.ModuleList(Block(width, conv) for _ in range(depth))
        self.head = nn.Linear(width, 4 * width)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding):
                init(module.weight)
                if getattr(module, "bias", None) is not None:
                    nn.init.zeros_(module.bias)
        for number, block in enumerate(self.blocks):
            if last is not None:
                last(block.down.weight, depth, number)


def _normal(std: float) -> Callable[..., Any]:
    return lambda w: nn.init.normal_(w, std=std)


def _uniform(bound: float) -> Callable[..., Any]:
    return lambda w: nn.init.uniform_(w, -bound, bound)


def _over_depth(std: float) -> Callable[..., Any]:
    return lambda w, depth, number: nn.init.normal_(w, std=std / math.sqrt(2 * depth))


def _over_layer(std: float) -> Callable[..., Any]:
    return lambda w, depth, number: nn.init.normal_(w, std=std / math.sqrt(2 * (number + 1)))


INITS: dict[str, Callable[..., Any]] = {
    **{
        f"normal{std}": _normal(std)
        for std in (0.02, 0.015, 0.01, 0.013, 0.006, 0.0173, 0.05, 0.03, 0.125, 0.0442, 0.04, 0.07, 0.001, 0.025, 0.008)
    },
    "xavier_uniform": nn.init.xavier_uniform_,
    "xavier_normal": nn.init.xavier_normal_,
    "kaiming_normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "kaiming_out": lambda w: nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"),
    "lecun": lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"),
    **{f"uniform{bound}": _uniform(bound) for bound in (0.1, 0.08, 0.05, 0.2, 0.03, 0.07)},
    "trunc0.02": lambda w: nn.init.trunc_normal_(w, std=0.02, a=-0.04, b=0.04),
    "default": lambda w: None,
}


def plain_networks() -> Iterator[tuple[str, Build, Build]]:
    for name, init in INITS.items():
        for width, depth, other_width, other_depth in ((32, 16, 48, 10), (64, 4, 40, 6)):
            yield (
                f"plain {name} {width}x{depth}",
                lambda w=width, d=depth, i=init: Plain(w, d, i, None, False),
                lambda w=other_width, d=other_depth, i=init: Plain(w, d, i, None, False),
            )
        yield f"conv {name}", lambda i=init: Plain(16, 4, i, None, True), lambda i=init: Plain(24, 6, i, None, True)
    for std in (0.02, 0.015, 0.01, 0.013, 0.006):
        for kind, last in (("depth", _over_depth(std)), ("layer", _over_layer(std))):
            yield (
                f"residual {kind} {std}",
                lambda s=std, e=last: Plain(48, 6, _normal(s), e, False),
                lambda s=std, e=last: Plain(48, 9, _normal(s), e, False),
            )


# ---- transformers

SIZE = {
    "vocab_size": 200,
    "hidden_size": 48,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "max_position_embeddings": 64,
}

CONFIGS: dict[str, tuple[str, dict[str, Any], str]] = {
    "gpt2": ("GPT2", {"vocab_size": 200, "n_embd": 48, "n_head": 4, "n_positions": 64}, "n_layer"),
    "bert": ("Bert", SIZE, "num_hidden_layers"),
    "roberta": ("Roberta", SIZE, "num_hidden_layers"),
    "electra": ("Electra", {**SIZE, "embedding_size": 48}, "num_hidden_layers"),
    "llama": ("Llama", SIZE, "num_hidden_layers"),
    "mistral": ("Mistral", {**SIZE, "num_key_value_heads": 2}, "num_hidden_layers"),
    "qwen2": ("Qwen2", {**SIZE, "num_key_value_heads": 2}, "num_hidden_layers"),
    "phi": ("Phi", SIZE, "num_hidden_layers"),
    "gptneox": ("GPTNeoX", SIZE, "num_hidden_layers"),
    "opt": ("OPT", {**SIZE, "ffn_dim": 96, "word_embed_proj_dim": 48}, "num_hidden_layers"),
    "bloom": ("Bloom", {"vocab_size": 200, "hidden_size": 48, "n_head": 4}, "n_layer"),
    "falcon": ("Falcon", SIZE, "num_hidden_layers"),
    "vit": ("ViT", {**SIZE, "image_size": 32, "patch_size": 8}, "num_hidden_layers"),
    "deit": ("DeiT", {**SIZE, "image_size": 32, "patch_size": 8}, "num_hidden_layers"),
    "gemma": ("Gemma", {**SIZE, "head_dim": 12}, "num_hidden_layers"),
}


# those that are tried with more layers too
DEEP = ("gpt2", "bert", "llama", "qwen2", "opt", "gptneox", "vit")


def _of_transformers(cls: str, settings: dict[str, Any]) -> nn.Module:
    import transformers

    torch.set_default_dtype(torch.float32)
    config = getattr(transformers, f"{cls}Config")(**settings)
    return getattr(transformers, f"{cls}Model")(config)


def _transformers() -> Iterator[tuple[str, Build, Build]]:
    for name, (cls, settings, depth) in CONFIGS.items():
        for std in (None, 0.015, 0.01, 0.006, 0.03):
            more = {} if std is None else {"initializer_range": std}
            one, other = ({**settings, **more, depth: layers} for layers in (4, 6))
            yield (
                f"transformers {name} {std or ''}".strip(),
                lambda c=cls, s=one: _of_transformers(c, s),
                lambda c=cls, s=other: _of_transformers(c, s),
            )
    for name in DEEP:
        cls, settings, depth = CONFIGS[name]
        for std in (0.0125, 0.04):
            one, other = ({**settings, "initializer_range": std, depth: layers} for layers in (10, 7))
            yield (
                f"transformers deep {name} {std}",
                lambda c=cls, s=one: _of_transformers(c, s),
                lambda c=cls, s=other: _of_transformers(c, s),
            )


# ---- timm and torchvision


def _timm() -> Iterator[tuple[str, Build, Build]]:
    import timm
    from timm import models

    vits = {f"vit {mode or 'plain'}": {"weight_init": mode} for mode in ("", "jax", "moco", "reset")}
    vits |= {"vit scale": {"init_values": 1e-4}, "vit gap": {"global_pool": "avg", "class_token": False}}
    for name, more in vits.items():
        for dims in (48, 64):
            settings = {"img_size": 32, "patch_size": 8, "num_heads": 4, "num_classes": 10, **more}
            yield (
                f"timm {name} {dims}",
                lambda s=settings, d=dims: models.VisionTransformer(embed_dim=d, depth=4, **s),
                lambda s=settings, d=dims: models.VisionTransformer(embed_dim=d + 16, depth=6, **s),
            )
    mixers = {"img_size": 32, "patch_size": 8, "num_classes": 10}
    for scheme in (False, True):
        yield (
            f"timm mixer {scheme}",
            lambda n=scheme: models.MlpMixer(num_blocks=4, embed_dim=48, nlhb=n, **mixers),
            lambda n=scheme: models.MlpMixer(num_blocks=6, embed_dim=64, nlhb=n, **mixers),
        )
    for scale in (1e-6, 0.1):
        yield (
            f"timm convnext {scale}",
            lambda v=scale: models.ConvNeXt(
                depths=(1, 1, 2, 1), dims=(16, 24, 32, 48), num_classes=10, ls_init_value=v
            ),
            lambda v=scale: models.ConvNeXt(
                depths=(1, 2, 1, 1), dims=(24, 32, 40, 64), num_classes=10, ls_init_value=v
            ),
        )
    for zero in (False, True):
        for block in ("BasicBlock", "Bottleneck"):
            kind = getattr(timm.models.resnet, block)
            yield (
                f"timm resnet {block} {zero}",
                lambda k=kind, z=zero: models.ResNet(
                    k, (1, 2, 1, 1), channels=(8, 16, 24, 32), num_classes=10, zero_init_last=z
                ),
                lambda k=kind, z=zero: models.ResNet(
                    k, (2, 1, 1, 1), channels=(16, 24, 32, 40), num_classes=10, zero_init_last=z
                ),
            )
    yield (
        "timm swin",
        lambda: models.SwinTransformer(
            img_size=32, patch_size=2, embed_dim=24, depths=(2, 2), num_heads=(2, 4), window_size=4
        ),
        lambda: models.SwinTransformer(
            img_size=32, patch_size=2, embed_dim=32, depths=(2, 4), num_heads=(2, 4), window_size=4
        ),
    )


def _torchvision() -> Iterator[tuple[str, Build, Build]]:
    from torchvision import models

    for block in (models.resnet.BasicBlock, models.resnet.Bottleneck):
        for zero in (False, True):
            yield (
                f"torchvision resnet {block.__name__} {zero}",
                lambda b=block, z=zero: models.ResNet(
                    b, [1, 1, 1, 1], num_classes=10, width_per_group=64, zero_init_residual=z
                ),
                lambda b=block, z=zero: models.ResNet(
                    b, [1, 2, 1, 1], num_classes=20, width_per_group=64, zero_init_residual=z
                ),
            )
    yield (
        "torchvision vit",
        lambda: models.VisionTransformer(32, 8, 4, 4, 48, 96, num_classes=10),
        lambda: models.VisionTransformer(32, 8, 6, 4, 64, 128, num_classes=10),
    )
    for name in ("mobilenet_v2", "mnasnet0_5"):
        width = {"width_mult": 0.25} if name == "mobilenet_v2" else {}
        yield (
            f"torchvision {name}",
            lambda n=name, w=width: getattr(models, n)(num_classes=10, **w),
            lambda n=name, w=width: getattr(models, n)(num_classes=20, **w),
        )
    for growth in (8, 12):
        yield (
            f"torchvision densenet {growth}",
            lambda g=growth: models.DenseNet(g, (2, 2), 16, num_classes=10),
            lambda g=growth: models.DenseNet(g + 4, (2, 3), 24, num_classes=10),
        )


def zoo() -> dict[str, tuple[Build, Build]]:
    """Return all models by name: what builds one size, and what builds the other."""
    models: dict[str, tuple[Build, Build]] = {}
    for source in (plain_networks, _transformers, _timm, _torchvision):
        for name, one, other in source():
            models[name] = (one, other)
    return models


# ---- judging


def judged(one: Build, other: Build) -> list[Judged]:
    """Return every rule that is inferred of one size, and whether it starts the other size as its own code does."""
    text = initdsl.infer(one).text
    lines = [line for line in text.splitlines() if not line.startswith("tie ")]
    net, theirs = other(), [dict(other().named_parameters()) for _ in range(3)]
    plan = _fitting(net, "\n".join(lines))
    if plan is None:
        return []
    plan.apply()
    ours = dict(net.named_parameters())
    winners: dict[int, list[str]] = {}
    for entry in plan:
        if entry.statements and entry.name in ours:
            winners.setdefault(int(entry.statements[0][1].rsplit(":", 1)[1]), []).append(entry.name)
    results = []
    sure = ""
    for number, line in enumerate(lines, 1):
        word = re.match(r"# (sure|likely|guess|not)\b", line)
        if word:
            sure = word[1]
        if number in winners and sure != "not":
            wrong = [w for name in winners[number] if (w := _differs(name, ours[name], [t[name] for t in theirs]))]
            results.append(Judged(" ".join(line.split()), sure, not wrong, wrong[0] if wrong else ""))
    return results


def _fitting(net: nn.Module, text: str) -> Any:
    """Return the plan of those statements that select something of another size: what is said of one place may not be there."""
    lines = text.split("\n")
    for _ in range(len(lines)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return initdsl.plan(net, "\n".join(lines))
        except initdsl.InitDSLError as error:
            bad = {d.line for d in error.diagnostics if d.span is not None}
            if not bad:
                return None
            for number in bad:
                lines[number - 1] = ""
    return None


def _differs(name: str, ours: torch.Tensor, theirs: list[torch.Tensor]) -> str:
    """Return how a tensor differs from what its own code gives, by more than chance does; nothing if it doesn't."""
    a, b = ours.detach().double(), torch.stack([t.detach().double() for t in theirs])
    if a.numel() < 2 or bool((b == b[:1]).all()):
        return "" if torch.allclose(a, b[0], atol=1e-6) else f"{name}: {float(a.mean()):.4g} for {float(b.mean()):.4g}"
    b = b[b.abs() < 20 * b.abs().median()]  # timm's truncated normal now and then leaves an element at its bound
    error = math.sqrt(0.5 / a.numel() + 0.5 / b.numel())
    ratio = float(a.std()) / max(float(b.std()), 1e-30)
    if abs(math.log(max(ratio, 1e-30))) > 6 * error + 0.003:
        return f"{name}: std {float(a.std()):.4g} for {float(b.std()):.4g}"
    if abs(float(a.mean() - b.mean())) > 6 * float(b.std()) / math.sqrt(a.numel()):
        return f"{name}: mean {float(a.mean()):.4g} for {float(b.mean()):.4g}"
    return ""


def main(words: list[str]) -> None:
    from tests.conftest import let_torchvision_import

    let_torchvision_import()
    torch.set_num_threads(1)
    counts: Counter[tuple[str, bool]] = Counter()
    models = {name: pair for name, pair in zoo().items() if not words or any(word in name for word in words)}
    for name, (one, other) in models.items():
        try:
            results = judged(one, other)
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {error}", flush=True)
            continue
        counts.update((result.sure, result.right) for result in results)
        wrong = [f"\n    {r.sure}: {r.rule}   {r.why}" for r in results if not r.right]
        print(f"{name}: {len(results)} rules{''.join(wrong)}", flush=True)
    for sure in ("sure", "likely", "guess"):
        right, wrong = counts[sure, True], counts[sure, False]
        print(f"{sure}: {right} of {right + wrong} right over {len(models)} models", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
