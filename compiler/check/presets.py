"""`preset: fast` in a recipe → the fields that it stands for. Only the fields enter an id, never the preset's name.

A preset is text that a user did not have to write: it is put beneath what is written, before anything is validated, so that
the plan shows plain values and a preset whose values change orphans no result of a spec that wrote its own. It knows the
images' card, since a net for 8x8 digits is none for photographs, and a mirrored digit is no digit. The noise of DP-SGD is no
part of any preset: it is the claim that a study makes, and stands in the spec.
Not here: that a preset in a later text begins anew (`compiler.text.compose.merge`).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from compiler.data.files import card_of
from compiler.errors import Checking, Diagnostic, Location, SynthcError, did_you_mean
from compiler.language.data import Data
from compiler.language.datasets import Card
from compiler.text.compose import merge
from compiler.text.nodes import Mapping, Node, Scalar, Value, plain, read

Fields = dict[str, "Value | Fields"]


def resolve_presets(parts: dict[str, Node], data: Data | None) -> Checking[dict[str, Node]]:
    """The parts of one grid point, with presets of `classifier` and of the arm's `proxy` replaced by their fields, over which
    written fields take precedence; `parts` is left as it is. Yields a diagnostic for an unknown preset. Presets that are unknown,
    and all presets where the data set has no card (`data` is None, or `card_of` refuses it), are removed without fields in their
    place."""
    card, arm = _find_card(data), parts.get("arm")
    if "classifier" in parts:
        parts = parts | {"classifier": (yield from _resolve_preset(parts["classifier"], card))}
    if isinstance(arm, Mapping) and "proxy" in arm.items:
        proxy = yield from _resolve_preset(arm.items["proxy"], card)
        parts = parts | {"arm": Mapping(arm.items | {"proxy": proxy}, arm.keys, arm.location)}
    return parts


def _find_card(data: Data | None) -> Card | None:
    """The data set's card; None where the data are missing, unknown or wrong, which other checks report."""
    if data is None:
        return None
    try:
        return card_of(data)
    except (SynthcError, KeyError):  # KeyError: an unknown name
        return None


def _resolve_preset(recipe: Node, card: Card | None) -> Checking[Node]:
    """A recipe with its preset, if any, replaced by fields, which written fields override; located where the preset is named.

    An unknown preset, for which a diagnostic is yielded, is removed without fields in its place; so is any preset where the card is
    None, for data that other checks refuse.
    """
    if not isinstance(recipe, Mapping) or "preset" not in recipe.items:
        return recipe
    preset = recipe.items["preset"]
    written = Mapping({name: node for name, node in recipe.items.items() if name != "preset"}, recipe.keys, recipe.location)
    name = preset.value if isinstance(preset, Scalar) else None
    if name not in presets():
        what = f"no preset is called {name!r}" if name is not None else "`preset` must be a name"
        yield Diagnostic("unknown-preset", preset.location, what, did_you_mean(name, presets()))
    elif card is not None:
        return merge(_to_node(fields_of(str(name), card), preset.location), written)
    return written


def _to_node(fields: Fields, at: Location) -> Mapping:
    """Fields as nodes, all located where the preset is named."""
    items: dict[str, Node] = {
        name: _to_node(value, at) if isinstance(value, dict) else Scalar(value, at) for name, value in fields.items()
    }
    return Mapping(items, dict.fromkeys(items, at), at)


@cache
def presets() -> dict[str, dict[str, Fields]]:
    """Preset → kind of images (`digits`, `colour`, `grey`) → fields, from `presets.yaml`; read once, the same object at each
    call."""
    tree: Any = plain(read(Path(__file__).with_suffix(".yaml")))
    return tree


def fields_of(preset: str, card: Card) -> Fields:
    """The fields of a preset for images of this card: `digits` (a side below 16 pixels), else `colour` (several channels) or
    `grey`. If it has a field `augment`, its `flip` is the card's `flips`, in a copy; without one they are the object in `presets`
    itself. KeyError for an unknown preset."""
    kind = "digits" if min(card.shape[1:]) < 16 else "colour" if card.shape[0] > 1 else "grey"
    fields = presets()[preset][kind]
    augment = fields.get("augment")
    return fields | {"augment": augment | {"flip": card.flips}} if isinstance(augment, dict) else fields
