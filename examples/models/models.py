"""Models for the rule files beside this one, as small as they show what the rules do."""

from __future__ import annotations

from torch import nn


def albert() -> nn.Module:
    """Return a small ALBERT of transformers."""
    from transformers import AlbertConfig, AlbertForMaskedLM

    return AlbertForMaskedLM(
        AlbertConfig(vocab_size=300, embedding_size=16, hidden_size=32, num_attention_heads=4, intermediate_size=64)
    )


class Encoder(nn.Module):
    """Layers in a row, each a module of its own until rules tie them."""

    def __init__(self, width: int = 32, depth: int = 4):
        super().__init__()
        layers = [nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU()) for _ in range(depth)]
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        for layer in self.layers:
            x = x + layer(x)
        return x
