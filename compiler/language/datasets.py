"""A card per known data set: what the compiler and the methods may know without loading a pixel.

Ids, the power of an audit and "more canaries than samples" need no torch because the numbers stand here. `digest` is
the content digest that `runtime.data` checks after loading. `mean` and `std` are fixed public constants (grey level
0..1), never computed from anyone's private split.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

OWN = "files"
"""The name of images of the user's own; `compiler.data.files` makes their card."""


@dataclass(frozen=True)
class Card:
    """What is publicly known of a data set."""

    name: str
    samples: int
    """Images from which the private set, the canaries and the z pool are drawn (and the test set, if there is no official one)."""
    test_samples: int
    """Images of the official test split; 0 if there is none."""
    classes: int
    shape: tuple[int, int, int]
    """Channels, height, width."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str
    """blake2b-64 of the arrays, as `runtime.data.images.content_digest` computes it; "" where this project never saw the set:
    `compiler.data.records` then takes that of the files found."""
    about: str
    flips: bool = False
    """Whether a mirrored image keeps its class."""


CARDS: dict[str, Card] = {
    card.name: card
    for card in (
        Card(
            "digits",
            1797,
            0,
            10,
            (1, 8, 8),
            (0.3053,),
            (0.3760,),
            "d62d3c34530b8c33",
            "scikit-learn's bundled 8x8 handwritten digits",
        ),
        Card("mnist", 60_000, 10_000, 10, (1, 28, 28), (0.1307,), (0.3081,), "", "28x28 handwritten digits"),
        Card(
            "fashion_mnist",
            60_000,
            10_000,
            10,
            (1, 28, 28),
            (0.2860,),
            (0.3530,),
            "9fad14d04aa05243",
            "28x28 articles of clothing",
            flips=True,
        ),
        Card(
            "cifar10",
            50_000,
            10_000,
            10,
            (3, 32, 32),
            (0.4914, 0.4822, 0.4465),
            (0.2470, 0.2435, 0.2616),
            "",
            "32x32 colour photographs, 10 classes",
            flips=True,
        ),
        Card(
            "cifar100",
            50_000,
            10_000,
            100,
            (3, 32, 32),
            (0.5071, 0.4865, 0.4409),
            (0.2673, 0.2564, 0.2762),
            "",
            "32x32 colour photographs, 100 classes",
            flips=True,
        ),
        Card(
            "svhn",
            73_257,
            26_032,
            10,
            (3, 32, 32),
            (0.4377, 0.4438, 0.4728),
            (0.1980, 0.2010, 0.1970),
            "",
            "32x32 street-view house numbers",
        ),
        Card(
            "cinic10",
            70_000,
            70_000,
            10,
            (3, 32, 32),
            (0.4789, 0.4723, 0.4305),
            (0.2421, 0.2383, 0.2587),
            "",
            "32x32 photographs from ImageNet, a public set beside CIFAR-10, whose images in CINIC-10 are left out",
            flips=True,
        ),
        Card(
            "shapes",
            2_000,
            0,
            10,
            (1, 8, 8),
            (0.5,),
            (0.5,),
            "71445d84873941b2",
            "drawn by a program at the size asked for: rings, bars, crosses; public by construction",
        ),
    )
}


def used_at(card: Card, shape: tuple[int, int, int]) -> Card:
    """The card of a data set used at `shape`: grey repeated to colours, or colours averaged, and the constants likewise."""
    if card.shape == shape:
        return card
    channels = shape[0]
    mean, std = (
        constants if len(constants) == channels else (round(sum(constants) / len(constants), 4),) * channels
        for constants in (card.mean, card.std)
    )
    return replace(card, shape=shape, mean=mean, std=std)
