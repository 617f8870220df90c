"""Stream v1: any element of any stream, alone and with the same bits."""

from .backend import engine, prepare
from .keys import VERSION, StreamKey, generator, key, words
from .tensors import fill
from .threads import shared, team

__all__ = ["VERSION", "StreamKey", "engine", "fill", "generator", "key", "prepare", "shared", "team", "words"]
