"""RMIA: is the canary likelier under the target than samples of the population are? (Zarifzadeh et al., ICML 2024, section 4).

The z pool is disjoint from everything audited or trained on, so it is OUT of every model and needs no self-pair correction.
`a` is a fixed parameter of the spec: choosing it on the target or on its complement would be tuning on the target.
"""

from __future__ import annotations

import numpy as np

from compiler.language.attacks.rmia import Rmia
from runtime.audit.attacks import signals
from runtime.audit.attacks.answers import Answers, Score, check_finite
from runtime.audit.attacks.pool import MIN_SHADOWS, ShadowPool


def scorer(how: Rmia, answers: Answers, paired: bool) -> Score | None:
    """Return the attack as a function from membership to scores (see `Score`), which reads the first `how.queries` views; None
    where the logits of the canaries or of a z pool are missing. `paired`: as in `ShadowPool`. ValueError for a logit, or a
    confidence, that is not finite."""
    if answers.logits is None or answers.z_logits is None:
        return None
    read = signals.taylor_confidence if "taylor_softmax" in how.compat else signals.confidence
    own, others = (
        check_finite(signals.by_shadow(read, logits[:, : how.queries], labels, how.temperature))
        for logits, labels in ((answers.logits, answers.labels), (answers.z_logits, answers.group.z_labels.numpy()))
    )
    online, majority, trimmed = how.variant == "online", how.vote == "majority", "trimmed_mean" in how.compat

    def score(member: np.ndarray) -> np.ndarray:
        pool = ShadowPool(member, paired)
        return rmia(own, others, pool, online=online, gamma=how.gamma, a=how.a, majority=majority, trimmed=trimmed)

    return score


def rmia(
    confidence: np.ndarray,
    z_confidence: np.ndarray,
    pool: ShadowPool,
    *,
    online: bool = True,
    gamma: float = 1.0,
    a: float = 0.3,
    majority: bool = False,
    trimmed: bool = False,
) -> np.ndarray:
    """canary × model: share of z samples whose likelihood ratio is at most the canary's divided by `gamma`; higher means member.

    confidence: canary × view × model, probability of the scored label; z_confidence: z × view × model. The share is the mean over
    views or, by `majority`, that of z samples beaten in more than half of the views. Added to it, to break ties, is less than half
    a step of it, rising with the canary's own ratio; so scores may exceed 1. NaN with fewer than `MIN_SHADOWS` shadows on a side
    (not `online`: without the canary). `a`: see `_from_outside`; used for z samples always, for canaries if not `online`.
    `trimmed` reproduces published code: means over models without the extreme fifths.
    """
    confidence, z_confidence = np.asarray(confidence, np.float64), np.asarray(z_confidence, np.float64)
    outside = ~pool.member
    mean = _trimmed_mean if trimmed else _mean
    mean_out = mean(confidence, outside, pool)
    expected = (mean(confidence, pool.member, pool) + mean_out) / 2 if online else _from_outside(mean_out, a)
    everyone = pool.for_outsiders(len(z_confidence))
    z_expected = _from_outside(mean(z_confidence, ~everyone.member, everyone), a)
    ratio, z_ratio = _log(confidence) - _log(expected), _log(z_confidence) - _log(z_expected)
    bar = ratio - np.log(gamma)
    _, views, models = ratio.shape
    if majority:
        # z × canary of one target at a time: what is held stays small.
        won = [sum((z_ratio[:, None, view, t] <= bar[:, view, t]).astype(np.int16) for view in range(views)) for t in range(models)]
        share, steps = np.stack([(votes * 2 > views).mean(0) for votes in won], axis=1), len(z_ratio)
    else:
        beaten = np.empty(ratio.shape)
        for view in range(views):
            for target in range(models):
                beaten[:, view, target] = np.searchsorted(np.sort(z_ratio[:, view, target]), bar[:, view, target], side="right")
        share, steps = beaten.mean(1) / len(z_ratio), len(z_ratio) * views
    own = ratio.mean(1)
    within = 0.5 + 0.5 * own / (1 + np.abs(own))  # a logistic would be exactly 1 from 37 on and tie the tail
    enough = pool.without_target(outside.astype(np.float64)) >= MIN_SHADOWS
    if online:
        enough &= pool.without_target(pool.member.astype(np.float64)) >= MIN_SHADOWS
    return np.where(enough, share + 0.5 * within / steps, np.nan)


def _from_outside(mean_out: np.ndarray, a: float) -> np.ndarray:
    """The mean of IN and OUT confidence from `mean_out`, that of OUT models: IN is approximated by a · OUT + (1 - a)."""
    return ((1 + a) * mean_out + (1 - a)) / 2


def _log(p: np.ndarray) -> np.ndarray:
    """Natural logarithm of `p`, where smaller values are raised to the least normal float64."""
    return np.log(np.maximum(p, np.finfo(np.float64).tiny))


def _mean(values: np.ndarray, chosen: np.ndarray, pool: ShadowPool) -> np.ndarray:
    """n × view × target: mean of `values` (n × view × model, not negative) over the models in `chosen` (n × model, bool), without
    the target and the model left out with it; not finite where none is left."""
    mask = chosen[:, None, :].astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.maximum(pool.without_target(mask * values), 0.0) / pool.without_target(mask)  # rounding may leave -1e-17


def _trimmed_mean(values: np.ndarray, chosen: np.ndarray, pool: ShadowPool) -> np.ndarray:
    """As `_mean`, without the lowest and the highest fifth of the values (each rounded down); NaN where none is left. A loop over
    targets, for replication only."""
    found = np.empty(values.shape)
    rank = np.arange(values.shape[-1])
    for target, kept in enumerate(pool.shadows(chosen)):
        count = kept.sum(1)[:, None]
        inside = ((rank >= count // 5) & (rank < count - count // 5))[:, None, :]
        rising = np.sort(np.where(kept[:, None, :], values, np.inf), axis=-1)  # left-out models sort last
        with np.errstate(invalid="ignore", divide="ignore"):
            found[..., target] = np.where(inside, rising, 0.0).sum(-1) / inside.sum(-1)
    return found
