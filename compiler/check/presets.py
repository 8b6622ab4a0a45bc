"""`preset: fast` in a recipe → the fields that it stands for. Only the fields enter an id, never the preset's name.

A preset is text that a user did not have to write: it is put beneath what is written, before anything is validated, so that
the plan shows plain values and a preset whose values change orphans no result of a spec that wrote its own. It knows the
images' card, since a net for 8x8 digits is none for photographs, and a mirrored digit is no digit. The noise of DP-SGD is no
part of any preset: it is the claim that a study makes, and stands in the spec.
Not here: that a preset in a later text begins anew (`compiler.text.compose.merge`).
"""

from __future__ import annotations

from collections.abc import Callable

from compiler.data.files import card_of
from compiler.errors import Checking, Diagnostic, Location, SynthcError, did_you_mean
from compiler.language.data import Data
from compiler.language.datasets import CARDS, OWN, Card
from compiler.text.compose import merge
from compiler.text.nodes import Mapping, Node, Scalar, Value

Fields = dict[str, "Value | Fields"]


def resolve_presets(parts: dict[str, Node], data: Data | None) -> Checking[dict[str, Node]]:
    """The parts of one point with the presets of its `classifier` and of its arm's `proxy` resolved."""
    card, arm = _find_card(data), parts.get("arm")
    if "classifier" in parts:
        parts = parts | {"classifier": (yield from _resolve_preset(parts["classifier"], card))}
    if isinstance(arm, Mapping) and "proxy" in arm.items:
        proxy = yield from _resolve_preset(arm.items["proxy"], card)
        parts = parts | {"arm": Mapping(arm.items | {"proxy": proxy}, arm.keys, arm.location)}
    return parts


def _find_card(data: Data | None) -> Card | None:
    """None where the data are not known or wrong: `rules` says so."""
    if data is None or data.name not in (*CARDS, OWN):
        return None
    try:
        return card_of(data)
    except SynthcError:
        return None


def _resolve_preset(recipe: Node, card: Card | None) -> Checking[Node]:
    """A recipe whose `preset`, if it has one, became fields beneath the written ones, each located where the preset is named.

    Without a card (the data are wrong, and reported) the preset stands for nothing.
    """
    if not isinstance(recipe, Mapping) or "preset" not in recipe.items:
        return recipe
    preset = recipe.items["preset"]
    written = Mapping({name: node for name, node in recipe.items.items() if name != "preset"}, recipe.keys, recipe.location)
    name = preset.value if isinstance(preset, Scalar) else None
    if name not in PRESETS:
        what = f"no preset is called {name!r}" if name is not None else "`preset` must be a name"
        yield Diagnostic("unknown-preset", preset.location, what, did_you_mean(name, PRESETS))
    elif card is not None:
        return merge(_to_node(PRESETS[str(name)](card), preset.location), written)
    return written


def _to_node(fields: Fields, at: Location) -> Mapping:
    """Fields as nodes, all located where the preset is named."""
    items: dict[str, Node] = {
        name: _to_node(value, at) if isinstance(value, dict) else Scalar(value, at) for name, value in fields.items()
    }
    return Mapping(items, dict.fromkeys(items, at), at)


def _classify(card: Card) -> tuple[bool, bool]:
    """Whether images are as small as digits, and whether they are colour photographs, for which nothing here was measured."""
    return min(card.shape[1:]) < 16, card.shape[0] > 1


def _augment(card: Card) -> Fields:
    """A pixel to each side of 28x28, four of 32x32 photographs; mirrored where a class allows it."""
    _, colour = _classify(card)
    return {"shift": 4 if colour else 1, "flip": card.flips}


def fast(card: Card) -> Fields:
    """Undefended in few passes, with all that saves time. It memorises, and so leaks, less than `memorising`."""
    small, colour = _classify(card)
    if small:
        return {"net": "small", "width": 32, "epochs": 15, "batch_size": 64, "lr": 0.1, "weight_decay": 2e-3}
    shared: Fields = {"augment": _augment(card), "precision": "bfloat16", "weight_decay": 5e-4}
    if colour:  # in the airbench manner (Jordan 2024), with no whitening of private images
        return {"net": "resnet9", "width": 64, "epochs": 10, "batch_size": 512, "lr": 0.2, **shared}
    return {"net": "small", "width": 32, "epochs": 10, "batch_size": 256, "lr": 0.1, **shared}


def memorising(card: Card) -> Fields:
    """Undefended and long, nothing smoothed or averaged: what papers on the protocol audit (Aerni, Zhang and Tramèr 2024)."""
    small, colour = _classify(card)
    if small:
        return {"net": "small", "width": 32, "epochs": 60, "batch_size": 64, "lr": 0.05, "weight_decay": 5e-4}
    shared: Fields = {"augment": _augment(card), "weight_decay": 5e-4, "batch_size": 256, "lr": 0.1}
    if colour:
        return {"net": "wrn", "depth": 16, "width": 64, "epochs": 200, **shared}
    return {"net": "small", "width": 32, "epochs": 60, **shared, "precision": "bfloat16"}


def high_utility(card: Card) -> Fields:
    """DP-SGD for accuracy, with a noise multiplier of the order of 0.01 to 0.05 and so a vacuous epsilon: the empirical defence
    that the others have to beat."""
    small, colour = _classify(card)
    if small:
        return {"net": "small", "width": 16, "epochs": 16, "batch_size": 128, "lr": 2.0, **_PRIVATE}
    shared: Fields = {"augment": _augment(card), "ema": 0.999, **_PRIVATE}
    if colour:  # Aerni, Zhang and Tramèr 2024, "high", but for their multiplicity 8, which is `privacy`'s
        return {"net": "wrn", "depth": 16, "width": 64, "epochs": 16, "batch_size": 64, "lr": 4.0, **shared, "ema": 0.9999}
    return {"net": "small", "width": 16, "epochs": 8, "batch_size": 256, "lr": 2.0, **shared}


def real_epsilon(card: Card) -> Fields:
    """DP-SGD for an epsilon of 1 to 8: batches as large as the set bears, a constant rate, an average of the weights."""
    small, colour = _classify(card)
    if small:
        return {"net": "small", "width": 16, "epochs": 12, "batch_size": 256, "lr": 1.0, **_PRIVATE, "schedule": "constant"}
    shared: Fields = {**_PRIVATE, "schedule": "constant"}
    if colour:  # De et al. 2022, but for their multiplicity 16, which is `privacy`'s
        shared |= {"augment": _augment(card), "ema": 0.999}
        return {"net": "wrn", "depth": 16, "width": 64, "epochs": 200, "batch_size": 4096, "lr": 4.0, **shared}
    return {"net": "small", "width": 16, "epochs": 15, "batch_size": 2048, "lr": 2.0, "ema": 0.99, **shared}


_PRIVATE: Fields = {"norm": "group", "momentum": 0.0, "weight_decay": 0.0}

PRESETS: dict[str, Callable[[Card], Fields]] = {
    "fast": fast,
    "memorising": memorising,
    "high_utility": high_utility,
    "real_epsilon": real_epsilon,
}
"""Preset → a function of the data set's card that gives its fields."""
