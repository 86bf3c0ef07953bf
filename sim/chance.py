"""Chance that is a function of a seed: the same seed gives the same draws on every machine.

`random` is not used anywhere in the simulator, so that no library change can move a tape or a latency.
"""

from __future__ import annotations

import hashlib

_MASK = (1 << 64) - 1


def digest(seed: int, *parts: object) -> int:
    """64 bits that depend on the seed and on every part, and on nothing else."""
    text = "|".join([str(seed), *map(str, parts)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def identifier(*parts: object) -> str:
    """A UUID-shaped name derived from its parts, as the exchange's order and execution ids look."""
    text = hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=16).hexdigest()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class Chance:
    """A stream of draws (splitmix64)."""

    __slots__ = ("_state",)

    def __init__(self, seed: int, *parts: object) -> None:
        self._state = digest(seed, *parts)

    def bits(self) -> int:
        """The next 64 bits."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return mixed ^ (mixed >> 31)

    def below(self, bound: int) -> int:
        """An integer in [0, bound)."""
        return self.bits() % bound

    def between(self, low: int, high: int) -> int:
        """An integer in [low, high]."""
        return low + self.bits() % (high - low + 1)

    def bell(self, scale: int) -> int:
        """A bell-shaped integer around 0 with standard deviation about `scale` (sum of four uniforms)."""
        bits = self.bits()
        total = (bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) + (bits >> 48) - 131070
        # The sum of four uniforms on 16 bits has a standard deviation of 2^16 / sqrt(3) = 37837.
        return total * scale // 37837
