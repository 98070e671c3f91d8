"""Seeded random numbers: drawn from a text, equal on every machine and in every run."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")
_MASK = (1 << 64) - 1


def seed_of(text: str) -> int:
    """A 64-bit number that stands for `text`."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


class SeededRandom:
    """Draws from a seed; each draw names a slot, so that one more draw never changes the others."""

    __slots__ = ("_seed",)

    def __init__(self, seed: int) -> None:
        self._seed = seed & _MASK

    def bits(self, slot: int) -> int:
        """64 bits (the mixing step of splitmix64)."""
        mixed = (self._seed + (slot + 1) * 0x9E3779B97F4A7C15) & _MASK
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return mixed ^ (mixed >> 31)

    def unit(self, slot: int) -> float:
        """A fraction from 0 up to, not including, 1."""
        return (self.bits(slot) >> 11) / (1 << 53)

    def between(self, slot: int, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + self.bits(slot) % (high - low + 1)

    def pick(self, slot: int, choices: Sequence[T]) -> T:
        return choices[self.bits(slot) % len(choices)]
