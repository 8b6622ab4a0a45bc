"""Attacks that need few or no shadows: one threshold for all, a reference rank, difficulty calibration."""

from __future__ import annotations

import numpy as np

from compiler.language.attacks.base import LogitAttack
from compiler.language.attacks.reference import Reference, Threshold
from runtime.audit.attacks.answers import Answers, Score
from runtime.audit.attacks.pool import MIN_SHADOWS, ShadowPool, sides, usable


def scorer(how: LogitAttack, answers: Answers, paired: bool) -> Score | None:
    """`Threshold`, `Reference` or `Calibrated` as a function from membership to scores (see `Score`); None with neither logits nor
    a given signal. Scores of `Threshold` do not depend on the membership. `paired`: as in `ShadowPool`. ValueError for a logit, or
    a signal of logits, that is not finite."""
    signal = answers.signal(how.signal, how.queries)
    if signal is None:
        return None
    if isinstance(how, Threshold):
        scores = threshold(signal)
        return lambda member: scores
    attack = reference if isinstance(how, Reference) else calibrated
    return lambda member: attack(signal, ShadowPool(member, paired))


def threshold(signal: np.ndarray) -> np.ndarray:
    """canary × model: the signal (canary × view × model) itself, mean over views; higher means member. Its ROC is Attack-P's:
    population quantiles only relabel thresholds."""
    return np.asarray(signal, np.float64).mean(1)


def calibrated(signal: np.ndarray, pool: ShadowPool) -> np.ndarray:
    """canary × model: the signal minus its mean over the target's shadows without the canary, mean over views (Watson et al. 2022);
    higher means member. NaN with fewer than `MIN_SHADOWS` such shadows. signal: canary × view × model, finite."""
    _, outside = sides(signal, pool)
    return np.where(usable(outside), (np.asarray(signal, np.float64) - outside.mean).mean(1), np.nan)


def reference(signal: np.ndarray, pool: ShadowPool) -> np.ndarray:
    """canary × model: share of the target's shadows without the canary whose signal, mean over views, is at most the target's
    (Attack-R, Ye et al. 2022); higher means member. signal: canary × view × model.

    With k such shadows only k + 1 values exist: no FPR below about 1 / (k + 1) can be resolved. NaN with fewer than `MIN_SHADOWS`.
    """
    mean = np.asarray(signal, np.float64).mean(1)
    score = np.full(mean.shape, np.nan)
    for target, out in enumerate(pool.shadows(~pool.member)):
        count = out.sum(1)
        below = ((mean <= mean[:, target, None]) & out).sum(1)
        score[:, target] = np.divide(below, count, out=np.full(len(count), np.nan), where=count >= MIN_SHADOWS)
    return score
