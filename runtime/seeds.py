"""The only source of randomness: a generator for (seed, shadow, purpose), never a global one.

Streams are named, not counted, and never derived from a task's id: all arms of a study share initial weights, data
order, canaries and membership wherever they ask for the same purpose, so that their differences are paired.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import torch


def derived_seed(seed: int, shadow: int | None, purpose: str) -> int:
    """A 63-bit seed for this purpose; `shadow` is None for what all shadows share (canaries, splits)."""
    text = f"synthc.seed/{seed}/{'shared' if shadow is None else shadow}/{purpose}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, shadow: int | None, purpose: str) -> torch.Generator:
    """A torch generator for this purpose, on the CPU."""
    return torch.Generator().manual_seed(derived_seed(seed, shadow, purpose))


def numpy_generator(seed: int, shadow: int | None, purpose: str) -> np.random.Generator:
    """A numpy generator for this purpose."""
    return np.random.default_rng(derived_seed(seed, shadow, purpose))


@dataclass(frozen=True)
class Seeds:
    """The streams of one shadow of one replicate: `seeds("init")` is a generator, the same at each call.

    >>> Seeds(seed=0, replicate=0, shadow=3)("init").initial_seed() == Seeds(0, 0, 3)("init").initial_seed()
    True
    """

    seed: int
    replicate: int
    shadow: int | None
    """None for what all shadows share."""

    def __call__(self, purpose: str) -> torch.Generator:
        return generator(self.seed, self.shadow, f"replicate {self.replicate}/{purpose}")
