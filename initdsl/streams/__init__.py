"""Stream v1: any element of any stream, alone and with the same bits."""

from .tensors import VERSION, StreamKey, engine, fill, generator, key, prepare, shared, team, words

__all__ = ["VERSION", "StreamKey", "engine", "fill", "generator", "key", "prepare", "shared", "team", "words"]
