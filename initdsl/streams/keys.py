"""Keys of streams, and the words they give: 128 bits of BLAKE2b, then SplitMix64 by counter."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["VERSION", "StreamKey", "generator", "key", "keys_of", "mix", "signed", "words"]


VERSION = "initdsl stream v1"


# SplitMix64 (Steele, Lea & Flood 2014), with the finalizer's shifts and multipliers of Stafford's variant 13.
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))

_MASK64 = (1 << 64) - 1
_LIMIT = 1 << 64
_PREFIX = VERSION.encode() + b"\0"
_unpacked = struct.Struct("<QQQ").unpack


class StreamKey(NamedTuple):
    """What addresses one stream: two starting points and the odd step from one word to the next, each 64 bits."""

    state: int
    fine: int  # where the words begin that give float64 values their low 32 bits
    gamma: int


def key(seed: int, name: str, draw: int = 0) -> StreamKey:
    """Return the key of one draw of one parameter.

    `seed` is an int in `[0, 2**64)`, `name` the parameter's fully qualified name, `draw` counts the draws of that
    parameter from 0. Different arguments give unrelated streams. Raises TypeError for another type, ValueError for
    a number out of range. Source: BLAKE2b (RFC 7693) over version, seed, draw and name.
    """
    if type(seed) is not int or type(draw) is not int or not isinstance(name, str) or not 0 <= seed | draw < _LIMIT:
        _check(seed, name, draw)
    message = _PREFIX + (seed | draw << 64).to_bytes(16, "little") + name.encode("utf-8", "surrogatepass")
    state, fine, gamma = _unpacked(hashlib.blake2b(message, digest_size=24).digest())
    gamma |= 1
    if (gamma ^ gamma >> 1).bit_count() < 24:  # long runs of equal bits mix slowly
        gamma ^= 0xAAAAAAAAAAAAAAAA
    return StreamKey(state, fine, gamma)


def keys_of(seed: int, names: Sequence[str], draw: int = 0) -> np.ndarray:
    """Return the keys of one draw of several parameters: a row of three 64-bit words each, the fields of a StreamKey.

    Raises as `key` does.
    """
    for name in names[:1]:
        key(seed, name, draw)
    begun = hashlib.blake2b(_PREFIX + (seed | draw << 64).to_bytes(16, "little"), digest_size=24)
    digests = []
    for name in names:
        hashed = begun.copy()
        hashed.update(name.encode("utf-8", "surrogatepass"))
        digests.append(hashed.digest())
    rows = np.frombuffer(bytearray().join(digests), "<u8").reshape(-1, 3)
    gamma = rows[:, 2]
    gamma |= np.uint64(1)
    mixes_slowly = _bit_counts(gamma ^ gamma >> np.uint64(1)) < 24
    gamma[mixes_slowly] ^= np.uint64(0xAAAAAAAAAAAAAAAA)
    return rows


def _bit_counts(words: np.ndarray) -> np.ndarray:
    """Return how many bits of each 64-bit word are set."""
    counts: np.ndarray = np.unpackbits(words.view(np.uint8).reshape(-1, 8), axis=1).sum(1)
    return counts


def _check(seed: object, name: object, draw: object) -> None:
    for argument, value in (("seed", seed), ("draw", draw)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{argument} must be an integer, not {type(value).__name__}")
        if not 0 <= value < _LIMIT:
            raise ValueError(f"{argument} must be at least 0 and less than 2**64, not {value}")
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, not {type(name).__name__}")


def words(key: StreamKey, start: int, count: int) -> Tensor:
    """Return the words `start .. start + count - 1` of a stream as an int64 tensor of shape `(count,)` on the CPU."""
    z = torch.arange(count, dtype=torch.int64, device="cpu")
    z.mul_(signed(key.gamma)).add_(signed(key.state + start * key.gamma))
    return mix(z, torch.empty_like(z))


def generator(key: StreamKey, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a new `torch.Generator` seeded from a key, for initializers that draw in their own way.

    What it yields is torch's business and may differ between devices and torch releases.
    """
    seeded = torch.Generator(device=device)
    # Not word 0 of the stream itself: an element-wise draw under the same key must not share bits with it.
    seeded.manual_seed(signed(key.state ^ key.fine ^ key.gamma) & (1 << 63) - 1)
    return seeded


def signed(value: int) -> int:
    """Return the two's complement reading of the low 64 bits, which is what an int64 tensor takes."""
    value &= _MASK64
    return value - (1 << 64) if value >> 63 else value


def mix(z: Tensor, spare: Tensor) -> Tensor:
    """Apply SplitMix64's finalizer to an int64 tensor in place; `spare` has its shape, and is overwritten."""
    plain = z.device.type == "cpu" and type(z) is Tensor
    return _mix_on_host(z, spare) if plain else _mix_on_device(z, spare)


def _mix_on_host(z: Tensor, spare: Tensor) -> Tensor:
    """By numpy: it has unsigned shifts, and multiplies 64-bit numbers twice as fast as torch where there is no AVX-512."""
    word, shifted = z.numpy().view(np.uint64), spare.numpy().view(np.uint64)
    for shift, multiplier in _MIX:
        np.right_shift(word, np.uint64(shift), out=shifted)
        np.bitwise_xor(word, shifted, out=word)
        if multiplier != 1:
            np.multiply(word, np.uint64(multiplier), out=word)
    return z


def _mix_on_device(z: Tensor, spare: Tensor) -> Tensor:
    for shift, multiplier in _MIX:
        torch.bitwise_right_shift(z, shift, out=spare)
        spare.bitwise_and_((1 << 64 - shift) - 1)  # int64 shifts copy the sign; the finalizer wants zeros
        z.bitwise_xor_(spare)
        if multiplier != 1:
            z.mul_(signed(multiplier))
    return z
