"""The only source of randomness: generators seeded by (seed, shadow, purpose); global generators are not used.

Streams depend on the name of their purpose and not on a task's id: all arms of a study share initial weights, data order, canaries
and membership wherever they use the same purpose, so that their differences are paired.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import torch


def derived_seed(seed: int, shadow: int | None, purpose: str) -> int:
    """A seed from 0 to 2^63 - 1, a digest of the three arguments; `shadow` is None for streams that all shadows share (canaries,
    splits)."""
    text = f"synthc.seed/{seed}/{'shared' if shadow is None else shadow}/{purpose}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, shadow: int | None, purpose: str) -> torch.Generator:
    """A new torch generator on the CPU, with the seed of `derived_seed`."""
    return torch.Generator().manual_seed(derived_seed(seed, shadow, purpose))


def numpy_generator(seed: int, shadow: int | None, purpose: str) -> np.random.Generator:
    """A new numpy generator, with the seed of `derived_seed`."""
    return np.random.default_rng(derived_seed(seed, shadow, purpose))


@dataclass(frozen=True)
class Seeds:
    """The random streams of one shadow of one replicate: each call `seeds("init")` returns an equal, new generator.

    >>> Seeds(seed=0, replicate=0, shadow=3)("init").initial_seed() == Seeds(0, 0, 3)("init").initial_seed()
    True
    """

    seed: int
    replicate: int
    shadow: int | None
    """None for streams that all shadows share."""

    def __call__(self, purpose: str) -> torch.Generator:
        return generator(self.seed, self.shadow, f"replicate {self.replicate}/{purpose}")
