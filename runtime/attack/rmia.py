"""RMIA: is the canary likelier under the target than samples of the population are? (Zarifzadeh et al., ICML 2024, section 4).

The z pool is disjoint from everything audited or trained on, so it is OUT of every model and needs no self-pair correction.
`a` is a fixed parameter of the spec: choosing it on the target or on its complement would be tuning on the target.
"""

from __future__ import annotations

import numpy as np

from runtime.attack.pool import Pool


def rmia(
    confidence: np.ndarray, z_confidence: np.ndarray, pool: Pool, *, online: bool = True, gamma: float = 1.0, a: float = 0.3
) -> np.ndarray:
    """canary × model: share of z samples that the canary beats by `gamma`.

    confidence: canary × view × model, probability of the scored label; z_confidence: z × view × model. Views vote by their
    mean. Ties within a step of 1 / |Z| are broken by the canary's own ratio, never across a step.
    """
    outside = ~pool.member
    mean_out = _mean(confidence, outside, pool)
    mean_in = _mean(confidence, pool.member, pool) if online else a * mean_out + (1 - a)
    everyone = np.ones((len(z_confidence), confidence.shape[-1]), dtype=bool)
    z_out = _mean(z_confidence, everyone, pool)
    tiny = np.finfo(np.float64).tiny
    ratio = np.log(np.maximum(confidence, tiny)) - np.log(np.maximum((mean_in + mean_out) / 2, tiny))
    z_ratio = np.log(np.maximum(z_confidence, tiny)) - np.log(np.maximum(((1 + a) * z_out + (1 - a)) / 2, tiny))
    beaten = np.empty(ratio.shape)
    for view in range(ratio.shape[1]):
        for target in range(ratio.shape[2]):
            ranked = np.sort(z_ratio[:, view, target])
            beaten[:, view, target] = np.searchsorted(ranked, ratio[:, view, target] - np.log(gamma), side="right")
    share = beaten.mean(1) / len(z_ratio)
    within = 1 / (1 + np.exp(-np.clip(ratio.mean(1), -500, 500)))
    return share + 0.5 * within / (len(z_ratio) * ratio.shape[1])


def _mean(values: np.ndarray, chosen: np.ndarray, pool: Pool) -> np.ndarray:
    """Mean over the chosen models without target and complement; the mean of all models where none is left."""
    mask = chosen[:, None, :].astype(np.float64)
    count = pool.without_target(mask)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = pool.without_target(mask * values) / count
    return np.where(count > 0, mean, values.mean(-1, keepdims=True))
