"""Lints on baselines of a defence: DP-SGD, undefended training, equally many random private images."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.data.sizes import private_size
from compiler.language.methods.baselines import DpSgd, Privacy
from compiler.language.methods.coreset import RandomSubset, Selection
from compiler.language.methods.distillation import Distilled
from compiler.language.study import Trial
from compiler.lint.study import Study, Weakness


def no_dp_sgd(study: Study) -> Iterator[Weakness]:
    """L01, before the run: a study with trials on synthetic data and no DP-SGD arm."""
    if study.synthetic and not study.of("dp_sgd"):
        hint = "add an arm such as {paradigm: dp_sgd, privacy: {noise_multiplier: 0.05}, classifier: {norm: group}}"
        yield Weakness(study.key("arms"), "no DP-SGD arm to compare the others with", hint)


def no_undefended(study: Study) -> Iterator[Weakness]:
    """L10: no undefended arm."""
    if not study.of("undefended"):
        hint = "add undefended: {paradigm: undefended}"
        yield Weakness(study.key("arms"), "no undefended arm, so there is no scale for accuracy and leakage", hint)


def no_random_control(study: Study) -> Iterator[Weakness]:
    """L09: a trial with a coreset or distilled set, where no trial has a random coreset of the same data and size (as many images
    per class, or the same fraction; `class_balanced` is not compared)."""
    random = {(_size(trial), trial.point.data) for trial in study.of("coreset") if isinstance(trial.point.arm, RandomSubset)}
    for trial in study.synthetic:
        size = _size(trial)
        if size is not None and (size, trial.point.data) not in random:
            field, number = size
            what = f"{trial.arm_name} has no control of as many random private images ({field} {number:g})"
            hint = f"add an arm {{paradigm: coreset, method: random, {field}: {number:g}}}"
            yield Weakness(study.arm(trial), what, hint)


def _size(trial: Trial) -> tuple[str, float] | None:
    """The size of a trial's set as the field of a coreset, `per_class` or `fraction`, and its value; None for arms other than
    coresets and distillation."""
    match trial.point.arm:
        case Selection(per_class=int(count)) | Distilled(images_per_class=count):
            return "per_class", count
        case Selection(fraction=float(fraction)):
            return "fraction", fraction
    return None


def guarantee_of_another_procedure(study: Study) -> Iterator[Weakness]:
    """L18: a delta above one over the expected number of private images (of DP-SGD, also of a denoiser), or `dp_sgd` trials with
    the same data and privacy parameters and several recipes."""
    for trial in study.trials:
        privacy, path = _find_privacy(trial)
        there = private_size(trial.point.data, trial.point.audit)
        if privacy is not None and privacy.delta * there > 1:
            what = f"delta {privacy.delta:g} for {there:,} private images allows to publish one of them"
            yield Weakness(study.arm(trial, *path, "delta"), what, f"use at most {1 / there:.1g}")
    by_guarantee: dict[tuple[str, str], list[Trial]] = {}
    for trial in study.of("dp_sgd"):
        if trial.replicate == 0 and isinstance(trial.point.arm, DpSgd):
            guarantee = (trial.point.arm.privacy.model_dump_json(), trial.point.data.model_dump_json())
            by_guarantee.setdefault(guarantee, []).append(trial)
    for same in by_guarantee.values():
        recipes = {trial.point.classifier.model_dump_json() for trial in same}
        if len(recipes) > 1:
            what = f"{len(recipes)} trainings under one guarantee: choosing one of them by its accuracy is not charged to epsilon"
            yield Weakness(study.arm(same[0]), what, "tune on public data, or say how the one to be read is chosen")


def _find_privacy(trial: Trial) -> tuple[Privacy | None, tuple[str, ...]]:
    """The DP-SGD settings of a trial, or of its denoiser (None without them), and their path in the arm."""
    if isinstance(trial.point.arm, DpSgd):
        return trial.point.arm.privacy, ("privacy",)
    return getattr(getattr(trial.point.arm, "denoiser", None), "privacy", None), ("denoiser", "privacy")
