"""Small models with the names and shapes of published models: what cases of changed initializations are told on."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["NETWORKS"]


class Bag(nn.Module):
    """A module with the parts and the bare parameters that it is given by name."""

    def __init__(self, **parts: nn.Module | torch.Tensor):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, nn.Parameter(part) if isinstance(part, torch.Tensor) else part)


class Attention(Bag):
    pass


class FeedForward(Bag):
    pass


class Block(Bag):
    pass


class RMSNorm(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))


class LayerScale(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(size))


def _lin(fan_in: int, fan_out: int, bias: bool = False) -> nn.Linear:
    return nn.Linear(fan_in, fan_out, bias=bias)


def gpt2(layers: int = 3, bias: bool = True) -> nn.Module:
    def block() -> nn.Module:
        attention = Attention(c_attn=_lin(8, 24, bias), c_proj=_lin(8, 8, bias))
        mlp = FeedForward(c_fc=_lin(8, 32, bias), c_proj=_lin(32, 8, bias))
        return Block(ln_1=nn.LayerNorm(8), attn=attention, ln_2=nn.LayerNorm(8), mlp=mlp)

    body = {"h": nn.ModuleList(block() for _ in range(layers)), "ln_f": nn.LayerNorm(8)}
    return Bag(wte=nn.Embedding(12, 8), wpe=nn.Embedding(6, 8), **body, lm_head=_lin(8, 12))


def llama(layers: int = 3) -> nn.Module:
    def block() -> nn.Module:
        attention = Attention(wq=_lin(8, 8), wk=_lin(8, 4), wv=_lin(8, 4), wo=_lin(8, 8))
        ffn = FeedForward(w1=_lin(8, 16), w2=_lin(16, 8), w3=_lin(8, 16))
        return Block(attention=attention, feed_forward=ffn, attention_norm=RMSNorm(8), ffn_norm=RMSNorm(8))

    blocks = nn.ModuleList(block() for _ in range(layers))
    return Bag(tok_embeddings=nn.Embedding(12, 8), layers=blocks, norm=RMSNorm(8), output=_lin(8, 12))


def vit(layers: int = 2, registers: bool = True) -> nn.Module:
    def block() -> nn.Module:
        attention, mlp = (
            Attention(qkv=_lin(8, 24, True), proj=_lin(8, 8, True)),
            FeedForward(fc1=_lin(8, 16, True), fc2=_lin(16, 8, True)),
        )
        parts = {"norm1": nn.LayerNorm(8), "attn": attention, "ls1": LayerScale(8)}
        return Block(**parts, norm2=nn.LayerNorm(8), mlp=mlp, ls2=LayerScale(8))

    tokens = {"cls_token": torch.zeros(1, 1, 8), "pos_embed": torch.zeros(1, 5, 8)}
    tokens |= {"reg_token": torch.zeros(1, 4, 8)} if registers else {}
    patches = Bag(proj=nn.Conv2d(3, 8, 2, 2))
    return Bag(
        **tokens,
        patch_embed=patches,
        blocks=nn.ModuleList(block() for _ in range(layers)),
        norm=nn.LayerNorm(8),
        head=_lin(8, 5, True),
    )


def mobilenet(layers: int = 2) -> nn.Module:
    def block() -> nn.Module:
        depthwise = nn.Conv2d(8, 8, 3, groups=8, bias=False)
        return Block(
            conv_dw=depthwise, bn1=nn.BatchNorm2d(8), conv_pw=nn.Conv2d(8, 8, 1, bias=False), bn2=nn.BatchNorm2d(8)
        )

    blocks = nn.ModuleList(block() for _ in range(layers))
    return Bag(conv_stem=nn.Conv2d(3, 8, 3, bias=False), blocks=blocks, classifier=_lin(8, 5, True))


def resnet(layers: int = 2) -> nn.Module:
    def block() -> nn.Module:
        convs = {f"conv{n}": nn.Conv2d(8, 8, 1, bias=False) for n in (1, 2, 3)}
        return Block(**convs, **{f"norm{n}": nn.BatchNorm2d(8) for n in (1, 2, 3)})

    return Bag(
        stem=nn.Conv2d(3, 8, 3, bias=False), stages=nn.ModuleList(block() for _ in range(layers)), fc=_lin(8, 5, True)
    )


def nanochat(layers: int = 3, lambdas: bool = True, value_embeds: bool = True) -> nn.Module:
    def block() -> nn.Module:
        qkv = {f"c_{n}": _lin(8, 8) for n in "qkv"}
        attention = Attention(**qkv, c_proj=_lin(8, 8), ve_gate=_lin(4, 2))
        return Block(attn=attention, mlp=FeedForward(c_fc=_lin(8, 32), c_proj=_lin(32, 8)))

    more: dict[str, nn.Module | torch.Tensor] = {}
    if lambdas:
        more = {"resid_lambdas": torch.ones(layers), "x0_lambdas": torch.zeros(layers)}
        more |= {"smear_gate": _lin(4, 1), "smear_lambda": torch.zeros(1), "backout_lambda": 0.2 * torch.ones(1)}
    more |= (
        {"value_embeds": nn.ModuleList(nn.Embedding(12, 8) for _ in range(layers))}
        if value_embeds
        else {"value_embed": nn.Embedding(12, 8)}
    )
    return Bag(wte=nn.Embedding(12, 8), h=nn.ModuleList(block() for _ in range(layers)), lm_head=_lin(8, 12), **more)


def olmo(layers: int = 3) -> nn.Module:
    def block() -> nn.Module:
        attention = Attention(w_q=_lin(8, 8), w_k=_lin(8, 8), w_v=_lin(8, 8), w_out=_lin(8, 8), w_g=_lin(8, 2))
        return Block(attention=attention, feed_forward=FeedForward(w1=_lin(8, 16), w2=_lin(16, 8), w3=_lin(8, 16)))

    return Bag(
        embeddings=nn.Embedding(12, 8),
        blocks=nn.ModuleList(block() for _ in range(layers)),
        lm_head=Bag(w_out=_lin(8, 12)),
    )


def mixer(layers: int = 2) -> nn.Module:
    def block() -> nn.Module:
        return Block(
            norm=nn.LayerNorm(8), mlp=FeedForward(fc1=_lin(8, 16, True), fc2=_lin(16, 8, True)), gate=_lin(8, 8, True)
        )

    return Bag(patcher=_lin(4, 8, True), mixers=nn.ModuleList(block() for _ in range(layers)), head=_lin(8, 3, True))


def delta_net(layers: int = 2) -> nn.Module:
    def block() -> nn.Module:
        return Block(in_proj=_lin(8, 16), A_log=torch.zeros(4), dt_bias=torch.zeros(4), out_proj=_lin(8, 8))

    return Bag(layers=nn.ModuleList(block() for _ in range(layers)))


def tied_llama() -> nn.Module:
    net = llama()
    net.output.weight = net.tok_embeddings.weight  # type: ignore[union-attr, assignment]
    return net


NETWORKS = {
    "gpt2": gpt2,
    "llama": llama,
    "tied llama": tied_llama,
    "vit": vit,
    "vit without registers": lambda: vit(registers=False),
    "mobilenet": mobilenet,
    "resnet": resnet,
    "nanochat": nanochat,
    "nanochat without lambdas": lambda: nanochat(lambdas=False),
    "nanochat with one value embedding": lambda: nanochat(value_embeds=False),
    "olmo": olmo,
    "mixer": mixer,
    "delta net": delta_net,
}
