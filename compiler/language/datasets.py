"""A card per known data set (`datasets.json`): its public counts, shape and constants, known without loading an image.

Ids, the power of an audit and "more canaries than samples" need no torch because the numbers stand here. `digest` is
the content digest that `runtime.data` checks after loading. `mean` and `std` are fixed public constants (grey level
0..1), never computed from anyone's private split.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

Shape = tuple[int, int, int]
"""Of images: channels, height, width."""
OWN = "files"
"""Name under which a spec uses images from the user's files; `compiler.data.files` makes their card."""


@dataclass(frozen=True)
class Card:
    """Public facts of a data set: counts, shape, normalisation constants, content digest."""

    name: str
    samples: int
    """Images from which the private set, the canaries and the z pool are drawn (and the test set, if there is no official one)."""
    test_samples: int
    """Images of the official test split; 0 if there is none."""
    classes: int
    shape: Shape
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str
    """blake2b-64 of the arrays, as `runtime.data.images.content_digest` computes it, or of the bytes of a user's files
    (`compiler.data.files.file_digest`). "" for a known set of which this project pins no digest: the record of the files has it."""
    about: str
    flips: bool = False
    """Whether a mirrored image keeps its class."""


def _read_cards() -> dict[str, Card]:
    """Name → card of each known data set, from the JSON file beside this module."""
    tables = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    found = {}
    for name, table in tables.items():
        words: dict[str, Any] = {word: tuple(value) if isinstance(value, list) else value for word, value in table.items()}
        found[name] = Card(name, **words)
    return found


CARDS = _read_cards()


def used_at(card: Card, shape: Shape) -> Card:
    """The card of a data set whose images are converted to `shape` (channels, height, width). If the number of channels changes,
    the mean and std of every new channel are the averages over the old ones, rounded to four decimals."""
    if card.shape == shape:
        return card
    channels = shape[0]
    mean, std = (
        constants if len(constants) == channels else (round(sum(constants) / len(constants), 4),) * channels
        for constants in (card.mean, card.std)
    )
    return replace(card, shape=shape, mean=mean, std=std)
