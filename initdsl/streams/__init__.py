"""Stream v1: any element of any stream, alone and with the same bits; and what torch's generator draws, faster."""

from .backend import engine, prepare
from .keys import VERSION, StreamKey, generator, key, keys_of, words
from .tensors import fill, fill_each, is_ready
from .threads import shared, team
from .torch_draws import LEAST_DRAWN, draw_as_torch

__all__ = [
    "LEAST_DRAWN",
    "VERSION",
    "StreamKey",
    "draw_as_torch",
    "engine",
    "fill",
    "fill_each",
    "generator",
    "is_ready",
    "key",
    "keys_of",
    "prepare",
    "shared",
    "team",
    "words",
]
