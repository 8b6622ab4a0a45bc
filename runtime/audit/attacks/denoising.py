"""Attacks on a denoiser's signals (`query.generator`): LiRA, or one threshold for all canaries, with or without the base's signal
subtracted."""

from __future__ import annotations

import numpy as np

from compiler.language.attacks.denoising import Denoising
from runtime.audit.attacks.answers import Answers, Score
from runtime.audit.attacks.lira import Likelihood


def scorer(how: Denoising, answers: Answers, paired: bool) -> Score | None:
    """The attack as a function from membership to scores (see `Score`); None where no denoiser was queried for this signal, or
    where the variant is `minus_base` and the base was not queried for it. The scores of `threshold` are the signal itself, those of
    `minus_base` the signal minus the base's, mean over noise levels, whatever the membership; other variants are a `Likelihood`.
    `paired`: as in `ShadowPool`. ValueError for a signal that is not finite."""
    signal = _signal(answers, how.signal)
    if signal is None or how.variant not in ("threshold", "minus_base"):
        return None if signal is None else Likelihood(signal, paired, how.variant)
    if how.variant == "minus_base":
        base = _signal(answers, f"base/{how.signal}")
        if base is None:
            return None
        signal = signal - base
    flat = signal.mean(1)
    return lambda member: flat


def _signal(answers: Answers, name: str) -> np.ndarray | None:
    """canary × level × shadow: the arrays `name` and `name`/0 to `name`/9 of `answers.measured`, those that it has, in this order;
    None where it has none. ValueError for a value that is not finite."""
    levels = [name for name in (name, *(f"{name}/{level}" for level in range(10))) if name in (answers.measured or {})]
    found = [measured for level in levels if (measured := answers.measure(level)) is not None]
    return np.concatenate(found, axis=1) if found else None
