"""What a task costs, guessed from its words alone: declared figures for one core, used until something of the kind was run.

Measured on digits (scikit-learn's, 8x8) at the settings of `specs/full_study.yaml`, least of 16 shadows on one core, and scaled by
what a method does: images × passes × pixels × width. They say minutes or hours, not which; where an operation has a history, only
the ratio of two guesses is used, so that a longer training is expected to take longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from compiler.language.datasets import CARDS

Words = dict[str, Any]
"""A work or a model as its canonical text says it."""

SECONDS_PER_IMAGE = 4.2e-5
"""Forward, backward and step of the small net of width 32 on one 8x8 image."""
NETS = {"small": 1.0, "mlp": 0.3, "convnet": 2.0, "resnet9": 8.0, "resnet18": 60.0, "wrn": 60.0}
"""Of other nets, in units of the small one at the same width."""
PER_SAMPLE = 4.0
"""DP-SGD: gradients per sample instead of their mean."""
AROUND = 0.1
"""Seconds around a training, however short: the private set is made, the net is built and evaluated."""
WORKER_MB = 550.0
"""A worker with torch loaded and a small training behind it."""
DISK_MB = {
    "TrainClassifier": 0.1, "TrainGenerator": 2.1, "Synthesize": 0.3, "QueryClassifier": 0.24, "QuerySet": 0.01,
    "QueryGenerator": 0.01, "AttackTrial": 0.5, "CompareTrials": 0.01,
}
"""What a task leaves behind, log and outcome included."""


def seconds(operation: str, work: Words) -> float:
    """Expected seconds of a work on one core; one second for what nothing is known of, such as a user's own method."""
    name = operation.split()[0]
    if name == "Synthesize":
        return _METHODS.get(work["how"].get("method", ""), lambda _: 1.0)(work) + 0.01
    return _OPERATIONS[name](work) + 0.01 if name in _OPERATIONS else 1.0


def disk_mb(operation: str, work: Words) -> float:
    """Expected size of what a task leaves behind. Models and images grow with the images' pixels."""
    return DISK_MB.get(operation.split()[0], 0.1) * (max(1.0, pixels(work) / 64) if "private" in work else 1.0)


def private_images(work: Words) -> float:
    """About how many images a shadow's private set has."""
    population = work["private"]["population"]
    dataset = population["dataset"]
    card = CARDS.get(dataset["name"])
    pool = dataset["subset"] or (card.samples if card else 10_000)
    return max(1.0, pool - (dataset["test"] or 0) - population["z_pool"] - _canaries(population) / 2)


def _canaries(population: Words) -> int:
    return sum(group["count"] for _, group in population["groups"])


def pixels(work: Words) -> int:
    """Numbers in an image, channels included."""
    return math.prod(work["private"]["population"]["dataset"]["shape"])


def _step(work: Words, net: str = "small", width: float | None = None) -> float:
    """Seconds for one image to go through one step of training."""
    recipe = work.get("recipe", {})
    wide = (width or recipe.get("width", 32)) / 32
    return SECONDS_PER_IMAGE * NETS.get(net, 1.0) * wide * max(1.0, pixels(work) / 64)


def _train(work: Words) -> float:
    recipe, privacy = work["recipe"], work.get("privacy")
    slower = PER_SAMPLE * privacy.get("multiplicity", 1) if privacy else 1.0
    return AROUND + work["iterations"] * recipe["batch_size"] * slower * _step(work, recipe["net"])


def _train_generator(work: Words) -> float:
    how = work["how"]
    images = how.get("epochs", 10) * private_images(work)
    if "count" in how:   # experts of trajectory matching
        return images * how["count"] * _step(work, "convnet", how.get("width"))
    return images * (PER_SAMPLE if how.get("privacy") else 1.0) * _step(work, "mlp" if how.get("net") == "mlp" else "wrn", 96)


def _query(work: Words) -> float:
    population, queries = work["private"]["population"], work["queries"]
    views = (9 if queries["shift"] else 1) * (2 if queries["flip"] else 1)
    recipe = work["recipe"]
    return (_canaries(population) + population["z_pool"]) * views * _step(work, recipe["net"]) / 3


def _attack(work: Words) -> float:
    return 0.4 * len(work["attacks"]) * len(work["population"]["groups"]) * work["resamples"] / 1000


def classes(work: Words) -> int:
    """Of the private set."""
    card = CARDS.get(work["private"]["population"]["dataset"]["name"])
    return card.classes if card else 10


def _select(work: Words) -> float:
    return private_images(work) * _step(work) / 3


def _match_distributions(work: Words) -> float:
    how = work["how"]
    batch = classes(work) * (how["batch_real"] + how["images_per_class"])
    return how["steps"] * batch * _step(work, "small", how["width"])


def _match_gradients(work: Words) -> float:
    how = work["how"]
    learned = classes(work) * how["images_per_class"]
    twice = 3 * classes(work) * how["batch_real"] + 3 * learned   # a gradient of a gradient
    return how["nets"] * how["points"] * (twice + how["net_steps"] * learned) * _step(work, "small", how["width"])


def _match_trajectories(work: Words) -> float:
    how = work["how"]
    batch = how["batch"] or classes(work) * how["images_per_class"]
    return how["steps"] * how["net_steps"] * 3 * batch * _step(work, "convnet", how["experts"]["width"])


def _recover(work: Words) -> float:
    how = work["how"]
    return how["steps"] * classes(work) * how["images_per_class"] * 2 * _step(work)


def _data_free(work: Words) -> float:
    how = work["how"]
    invented = how.get("generator_steps", 0) + how.get("pixel_steps", 0)
    return 3 * how["rounds"] * how["batch_size"] * (how["student_steps"] + 3 * invented) * _step(work)


def _draw(work: Words) -> float:
    how = work["how"]
    images = private_images(work) * how.get("multiple", 1.0)
    net = "mlp" if how["denoiser"]["net"] == "mlp" else "wrn"
    return images * how["steps"] * how.get("strength", 1.0) * _step(work, net, 32)


_OPERATIONS: dict[str, Callable[[Words], float]] = {
    "TrainClassifier": _train,
    "TrainGenerator": _train_generator,
    "QueryClassifier": _query,
    "QuerySet": lambda work: 0.2,
    "QueryGenerator": lambda work: 0.2,
    "AttackTrial": _attack,
    "CompareTrials": lambda work: 1.0,
    "Rehearsal": lambda work: 0.0,
}
_METHODS: dict[str, Callable[[Words], float]] = {
    **dict.fromkeys(("random", "forgetting", "el2n", "aum", "ccs"), lambda work: 0.01),
    **dict.fromkeys(("least_confidence", "entropy", "margin", "k_center", "herding", "moderate"), _select),
    **dict.fromkeys(("graph_cut", "facility_location"), _select),
    "grand": lambda work: work["how"]["inits"] * work["how"]["passes"] * PER_SAMPLE * private_images(work) * _step(work),
    "dm": _match_distributions,
    **dict.fromkeys(("dc", "dsa"), _match_gradients),
    **dict.fromkeys(("mtt", "datm"), _match_trajectories),
    "sre2l": _recover,
    **dict.fromkeys(("inversion", "fast", "deep_inversion", "dafl", "zskt", "dfad", "dfq"), _data_free),
    **dict.fromkeys(("conditional", "sdedit"), _draw),
}
