"""Label-only: from which views the models get right to membership, one logistic regression per canary and target.

Aerni, Zhang and Tramèr 2024: it also works on defenses that mask confidences. It is a learned attack: with `balanced` membership
the share of members among the remaining shadows gives the target away, so it needs `pairs` (equal shares) or `bernoulli`.
"""

from __future__ import annotations

import numpy as np

from compiler.language.attacks.label_only import LabelOnly
from runtime.audit.attacks import signals
from runtime.audit.attacks.answers import Answers, Score
from runtime.audit.attacks.pool import MIN_SHADOWS, ShadowPool

PENALTY = 1.0
"""1 / C of the ridge penalty; C = 1 as in the paper's code."""
MAX_STEPS = 25
"""Newton steps at most: the penalty makes the loss strongly convex, and the change is below 1e-9 after about ten."""
CONVERGED_STEP = 1e-10
"""Newton stops when the largest change of a weight is below this."""


def scorer(how: LabelOnly, answers: Answers, paired: bool) -> Score | None:
    """The attack as a function from membership to scores (see `Score`); None without logits. Of the logits it uses only whether the
    label's is strictly the largest, on the first `how.queries` views. The scores of the variant `vote` do not depend on the
    membership. `paired`: as in `ShadowPool`. ValueError for a logit that is not finite."""
    if answers.logits is None:
        return None
    correct = signals.by_shadow(signals.correct, answers.logits[:, : how.queries], answers.labels)
    if how.variant == "vote":
        share = vote(correct)
        return lambda member: share
    return lambda member: label_only(correct, ShadowPool(member, paired))


def label_only(correct: np.ndarray, pool: ShadowPool) -> np.ndarray:
    """canary × model: log-odds of membership for the target's vector of correct views, from a logistic regression of each canary,
    fitted on all other models (under pairs without the target's complement); NaN where fewer than `MIN_SHADOWS` of them are
    members, or non-members. Unlike in other attacks, no model is left out under `balanced`. correct: canary × view × model, 0 or
    1."""
    canaries, _, models = correct.shape
    score = np.full((canaries, models), np.nan)
    for target in range(models):
        shadows = np.arange(models) != target
        if pool.paired:
            shadows[target ^ 1] = False
        x = _with_constant(correct[:, :, shadows])
        y = pool.member[:, shadows]
        weights = fit(x, y.astype(np.float64))
        odds = (_with_constant(correct[:, :, [target]])[:, 0] * weights).sum(1)
        enough = (y.sum(1) >= MIN_SHADOWS) & ((~y).sum(1) >= MIN_SHADOWS)
        score[enough, target] = odds[enough]
    return score


def vote(correct: np.ndarray) -> np.ndarray:
    """canary × model: share of the views that the model classifies correctly; higher means member. With one view this is the gap
    attack. correct: canary × view × model, 0 or 1."""
    return np.asarray(correct, np.float64).mean(1)


def _with_constant(correct: np.ndarray) -> np.ndarray:
    """canary × model × (view + 1): `correct` (canary × view × model) with each model's views as a row of features, and a constant 1
    for the intercept as the last feature."""
    rows = np.swapaxes(correct, 1, 2)
    return np.concatenate([rows, np.ones((*rows.shape[:2], 1))], axis=2)


def fit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """n × feature: weights of n ridge logistic regressions (summed loss plus `PENALTY` / 2 times the squared weights) after at most
    `MAX_STEPS` Newton steps, each of at most 5 in any weight, converged or not. x: n × model × feature, of which the last is the
    constant, with a penalty of only 1e-6; y: n × model, 0 or 1."""
    weights = np.zeros((x.shape[0], x.shape[2]))
    penalty = PENALTY * np.eye(x.shape[2])
    penalty[-1, -1] = 1e-6  # the constant is not shrunk; a trace of penalty keeps one-sided data finite
    for _ in range(MAX_STEPS):
        odds = np.einsum("nmf,nf->nm", x, weights)
        p = 0.5 * (1 + np.tanh(0.5 * odds))
        gradient = np.einsum("nmf,nm->nf", x, p - y) + weights @ penalty
        # A matrix product per canary, not a three-factor einsum: 64 shadows × 500 canaries × 18 views went from 22.8 s
        # to 2.0 s with this and the stop below.
        hessian = np.swapaxes(x, 1, 2) @ (x * (p * (1 - p))[..., None]) + penalty
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        weights = weights - step * np.minimum(1.0, 5.0 / np.maximum(np.abs(step).max(1, keepdims=True), 1e-12))
        if np.abs(step).max() < CONVERGED_STEP:
            break
    return weights
