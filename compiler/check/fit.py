"""Checks that nets and counts of a grid point fit its images, by the spec and the data set's card.

Counts are taken as expectation minus four standard deviations, so that no shadow fails by an unlucky draw.
Not here: what other rules judge (`rules`), what only files tell (`compiler.data.files`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from compiler.data.files import card_of, contents
from compiler.data.sizes import largest_deviation, pool_size, private_size
from compiler.language.classifier import Recipe
from compiler.language.datasets import OWN, Shape
from compiler.language.methods.coreset import Selection, Stratified, WithProxy
from compiler.language.methods.diffusion import Conditional, ImageToImage
from compiler.language.methods.distillation import Distilled
from compiler.language.study import Point

Problem = tuple[str, tuple[str | int, ...], str, str]
"""(code, path, message, hint)."""

LEAST_SHARE = {"digits": 0.0968, "mnist": 0.0903, "svhn": 0.0635}
"""Data set → share of its smallest class, where classes are not of equal size."""


def check_nets(point: Point) -> Iterator[Problem]:
    """Problems of the classifier, the proxy, the ConvNets of a distillation and the unet of a denoiser: nets that cannot be trained
    on images of the point's size, and depths (wrn) and widths (unet) that suit no size. At most one for each net. SynthcError and
    KeyError as for `card_of`."""
    shape, arm = card_of(point.data).shape, point.arm
    recipes: list[tuple[tuple[str, ...], Recipe]] = [(("classifier",), point.classifier)]
    if isinstance(arm, WithProxy) and arm.proxy is not None:
        recipes.append((("arm", "proxy"), arm.proxy))
    for path, recipe in recipes:
        if unfit := _unfit(recipe, shape):
            field, what, hint = unfit
            yield "net", (*path, field), what, hint
    if isinstance(arm, Distilled):
        own = getattr(arm, "experts", arm)
        halvings = _halvings(shape)
        if hasattr(own, "depth") and (halvings < 1 or (own.depth or 1) > halvings):
            place = ("arm", "experts", "depth") if own is not arm else ("arm", "depth")
            yield "net", place, f"a ConvNet of {own.depth or 1} blocks for images of {_size(shape)}", _depths(halvings)
    if isinstance(arm, Conditional | ImageToImage) and arm.denoiser.net == "unet" and arm.denoiser.width % 8:
        what = f"a unet of {arm.denoiser.width} channels"
        yield "net", ("arm", "denoiser", "width"), what, "its norms have groups of eight: use a multiple of 8"


def _halvings(shape: Shape) -> int:
    """How often the ConvNet, which pads 28×28 to 32×32, can halve the shorter side of an image of this shape, down to one pixel."""
    side = 32 if shape[1:] == (28, 28) else min(shape[1:])
    return side.bit_length() - 1


def _unfit(recipe: Recipe, shape: Shape) -> tuple[str, str, str] | None:
    """The first reason for which the recipe cannot be trained on images of this shape: the field at fault, message, hint; None if
    it can."""
    side, size, halvings = min(shape[1:]), _size(shape), _halvings(shape)
    what = f"the net {recipe.net} for images of {size}"
    if recipe.net == "convnet" and (halvings < 1 or (recipe.depth or 1) > halvings):
        return "depth" if recipe.depth else "net", f"{what}, with {recipe.depth or 1} blocks", _depths(halvings)
    if (least := {"small": 4, "resnet9": 2}.get(recipe.net, 1)) > side:
        return "net", what, f"it wants sides of at least {least} pixels: use mlp, or resize the images"
    if recipe.net == "wrn" and ((depth := recipe.depth or 16) < 10 or (depth - 4) % 6):
        return "depth", f"a wrn of {depth} layers", "6 × blocks + 4: 10, 16, 22, 28, 40"
    if recipe.norm == "instance" and _last_side(recipe, shape) <= 1:
        return "norm", f"{what}: it ends in one pixel, which instance norm makes zero", "use `norm: group`"
    long = max(shape[1:])
    if recipe.norm == "batch" and recipe.batch_size == 1 and _last_side(recipe, (shape[0], long, long)) <= 1:
        return (
            "batch_size",
            f"{what}, in batches of one: it ends in one pixel, which has no variance",
            "2 or more, or `norm: group`",
        )
    return None


def _last_side(recipe: Recipe, shape: Shape) -> int:
    """Side of the feature map at the last norm layer, in pixels: from the longer side of the image for `small` and `resnet9`, from
    the shorter one for `resnet18` and `wrn`. 2, which stands for any side above one pixel, for all other nets."""
    side, long = min(shape[1:]), max(shape[1:])
    match recipe.net:
        case "small":
            return long // (4 if side < 16 else 8)
        case "resnet9":
            return (long - 1) // (1 if side < 5 else 2 if side < 9 else 4 if side < 17 else 8)
        case "resnet18" | "wrn":
            return math.ceil(side / (8 if recipe.net == "resnet18" else 4))
    return 2


def _size(shape: Shape) -> str:
    """Height and width as text: `28×28`."""
    return f"{shape[1]}×{shape[2]}"


def _depths(halvings: int) -> str:
    """Hint: the greatest depth of a ConvNet for images that can be halved so often; at 0, that sides need 2 pixels."""
    return f"they can be halved {halvings} times: depth {halvings} is the most" if halvings else "no side may be below 2 pixels"


def least_of_class(point: Point) -> int:
    """Number of images that a private set has of every class, with near certainty: the expectation for the smallest class, without
    canaries, minus four standard deviations, rounded down, at least 0. Classes count as of equal size, but for users' files and the
    sets of LEAST_SHARE. SynthcError and KeyError as for `card_of`."""
    audit, card, pool = point.audit, card_of(point.data), pool_size(point.data)
    fewest = LEAST_SHARE.get(point.data.name, 1 / card.classes) * card.samples
    if point.data.name == OWN and point.data.path is not None:
        fewest = contents(Path(point.data.path)).arrays["labels"].fewest
    if point.data.subset:  # balanced, as far as the classes reach
        fewest = min(fewest, pool // card.classes)
    # What all shadows hold: members come on top and take none away, so that only the draw of this part varies.
    held = private_size(point.data, audit) - sum(group.count * group.copies for group in audit.canaries.values()) // 2
    if held <= 0:
        return 0
    share = fewest / pool
    return max(0, math.floor(share * held - 4 * math.sqrt(share * min(held, pool - held))))


def check_counts(point: Point) -> Iterator[Problem]:
    """Problems of a coreset, or a distillation from real images, that needs more images of a class than `least_of_class`; of a
    stratified coreset that needs more, of a class or in all, than `cut` leaves; of a `fraction` that selects fewer images than
    there are classes. The size of a private set is taken as its expectation minus `largest_deviation`. Yields nothing where the
    expectation is 0 or less. SynthcError and KeyError as for `card_of`."""
    arm, card = point.arm, card_of(point.data)
    if private_size(point.data, point.audit) <= 0:
        return  # reported by `rules`
    least = least_of_class(point)
    if isinstance(arm, Selection):
        if arm.per_class is not None and arm.per_class > least:
            what = f"{arm.per_class:,} images of each class, where a private set may have {least:,}"
            yield "per-class", ("arm", "per_class"), what, f"at most {least:,}, or a `fraction`" if least else "use a `fraction`"
        size = private_size(point.data, point.audit) - largest_deviation(point.audit)
        if arm.fraction is not None and arm.fraction * size < card.classes:
            what = f"a fraction of {arm.fraction:g} of about {size:,.0f} images, for {card.classes:,} classes"
            yield "fraction", ("arm", "fraction"), what, f"at least {card.classes / max(size, 1):.2g}"
        if isinstance(arm, Stratified) and arm.per_class is not None:
            kept, wanted = 1 - arm.cut, arm.per_class * card.classes
            if wanted > kept * size:
                what = f"{wanted:,} images of about {kept * size:,.0f} that `cut` leaves"
                yield "per-class", ("arm", "per_class"), what, "lower `cut`, or keep fewer"
            if arm.per_class > kept * least:
                what = f"{arm.per_class:,} images of each class, where `cut` may leave {kept * least:,.0f}"
                yield "per-class", ("arm", "per_class"), what, "lower `cut`, or keep fewer"
    if isinstance(arm, Distilled) and arm.init == "real" and arm.images_per_class > least:
        what = f"{arm.images_per_class:,} images of each class begin as private ones, where a private set may have {least:,}"
        yield "images-per-class", ("arm", "images_per_class"), what, "ask for fewer, or begin with noise"
