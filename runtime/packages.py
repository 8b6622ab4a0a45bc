"""Code of the user's own: found by the module that its words name, imported by workers alone, its answers checked.

The same contracts as for what synthc brings: a method is `synthesize(how, private, needs, setting) -> Release`, an attack
`scorer(how, said, paired) -> Score | None`, a data set `read(how) -> (LabeledImages, LabeledImages | None)`. A wrong answer is an
error of that task, with the name of the package in it, before any figure rests on it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from compiler.language.datasets import Card
from compiler.language.plugins import OwnAttack, OwnData, OwnMethod
from runtime.data import LabeledImages, content_digest

if TYPE_CHECKING:
    from runtime.attack.scorer import Answers, Score
    from runtime.store.artifacts import Artifact
    from runtime.synthesize.release import Release, Setting


def synthesize(how: OwnMethod, private: LabeledImages, needs: Mapping[str, Artifact], setting: Setting) -> Release:
    """What the user's method makes of a copy of the private set; ValueError if it is no release."""
    given = LabeledImages(private.images.clone(), private.labels.clone())   # other tasks read the private set too
    release = _function(how.method, how.compute, "synthesize")(how, given, needs, setting)
    for complaint in _complaints(release, how, len(private), setting.card):
        raise ValueError(f"{how.method}: {complaint}")
    return release


def _complaints(release: Any, how: OwnMethod, private: int, card: Card) -> list[str]:
    """What is wrong with a release."""
    from runtime.synthesize.release import Release

    if not isinstance(release, Release):
        return [f"synthesize gave a {type(release).__name__}; it should be a runtime.synthesize.release.Release"]
    found = [*images_wrong(release.images, card), *labels_wrong(release.labels, len(release.images), card)]
    if (release.origins is not None) != how.from_private_images:
        said = f"`from_private_images` is {how.from_private_images}"
        found.append(f"{said}, and the release has {'no ' if release.origins is None else ''}origins; the two belong together")
    elif release.origins is not None:
        found += whole_wrong("origins", release.origins, len(release.images), -1, private - 1)
    if (release.student is not None) != how.gives_student:
        said = f"`gives_student` is {how.gives_student}"
        found.append(f"{said}, and the release has {'no ' if release.student is None else 'a '}student; the two belong together")
    return found


def images_wrong(images: Tensor, card: Card) -> list[str]:
    """What is wrong with images of a set: uint8, or float32 in grey levels of about 0 to 1."""
    if images.ndim != 4 or tuple(images.shape[1:]) != card.shape or not len(images):
        return [f"images have the shape {tuple(images.shape)}; it should be n × {' × '.join(map(str, card.shape))}, n at least 1"]
    if images.dtype not in (torch.uint8, torch.float32):
        return [f"images are {images.dtype}; they should be uint8, or float32 from 0 to 1"]
    if images.dtype == torch.float32 and not bool((images.abs() <= MOST_GREY).all()):
        worst = images[images.isfinite()].abs().max() if bool(images.isfinite().all()) else "not a number, or infinite"
        return [f"images hold a grey level that is {worst}; black is 0 and white is 1"]
    return []


MOST_GREY = 10.0
"""Beyond this, grey levels are of another scale: learned images leave 0..1, but not by so much."""


def labels_wrong(labels: Tensor, images: int, card: Card) -> list[str]:
    """What is wrong with labels: classes, or a row of probabilities for each image."""
    if labels.ndim == 2 and labels.dtype == torch.float32 and tuple(labels.shape) == (images, card.classes):
        uneven = ~((labels >= 0).all(1) & ((labels.sum(1) - 1).abs() < 1e-3))
        place = int(uneven.nonzero()[0, 0]) if bool(uneven.any()) else None
        return [] if place is None else [f"labels[{place}] are no probabilities: each from 0 on, together 1"]
    return whole_wrong("labels", labels, images, 0, card.classes - 1)


def whole_wrong(name: str, values: Tensor, count: int, least: int, most: int) -> list[str]:
    """What is wrong with `count` whole numbers from `least` to `most`."""
    if values.dtype != torch.int64 or tuple(values.shape) != (count,):
        return [f"{name} are {values.dtype} of shape {tuple(values.shape)}; they should be {count} int64 from {least} to {most}"]
    wrong = (values < least) | (values > most)
    place = int(wrong.nonzero()[0, 0]) if bool(wrong.any()) else None
    return [] if place is None else [f"{name}[{place}] is {int(values[place])}; from {least} to {most} is wanted"]


def scorer(how: OwnAttack, said: Answers, paired: bool) -> Score | None:
    """The user's attack on one group of canaries, None where it does not apply. Wrong scores are a ValueError."""
    score = _function(how.attack, how.compute, "scorer")(how, said, paired)
    if score is None:
        return None

    def checked(member: np.ndarray) -> np.ndarray:
        scores = np.asarray(score(member.copy()), dtype=np.float64)
        if scores.shape != member.shape:
            raise ValueError(f"{how.attack}: scores have the shape {scores.shape}; it should be canary × shadow, {member.shape}")
        if np.isinf(scores).any():
            raise ValueError(f"{how.attack}: a score is infinite; NaN means that it does not apply to this canary and shadow")
        return scores

    return checked


def read(how: OwnData, card: Card) -> tuple[LabeledImages, LabeledImages | None]:
    """The user's images; ValueError if they are not what their card says."""
    pool, test = _function(how.name, how.compute, "read")(how)
    for name, part, count in (("pool", pool, card.samples), ("test split", test, card.test_samples)):
        if part is None and not count:
            continue
        if part is None or len(part) != count:
            raise ValueError(f"{how.name}: its {name} has {0 if part is None else len(part)} images, its card says {count}")
        wrong = images_wrong(part.images, card) + whole_wrong("labels", part.labels, count, 0, card.classes - 1)
        if part.images.dtype != torch.uint8:
            wrong.append(f"images are {part.images.dtype}; they should be uint8")
        for complaint in wrong:
            raise ValueError(f"{how.name}: {complaint}")
    if how.path is None and card.digest and (found := content_digest(pool, test)) != card.digest:   # of a path it is the files'
        raise ValueError(f"{how.name}: its images have the digest {found}, its card says {card.digest}")
    return pool, test


def _function(name: str, module: str, function: str) -> Callable[..., Any]:
    """What the package `name` computes with; ValueError if its module does not have it."""
    found = getattr(importlib.import_module(module), function, None)
    if not callable(found):
        raise ValueError(f"{name}: its module {module} has no function {function}")
    return found
