"""Quantile regression: how confident would a non-member like this one be? (Bertran et al., NeurIPS 2023.)

One attack model per target, no shadows: a Gaussian head, mean and log spread of the signal as ridge regressions on
the leading principal components of pixels, all fitted on the z pool, which no model was trained on.
"""

from __future__ import annotations

import numpy as np

from compiler.language.attacks.quantile import Quantile
from runtime.audit.attacks.answers import Answers, Score

COMPONENTS = 16
PENALTY = 1.0


def scorer(how: Quantile, answers: Answers, paired: bool) -> Score | None:
    """The attack as a function from membership to scores (see `Score`), which do not depend on the membership; None where the
    signal of the canaries or the logits of the z pool are missing. `paired` is not used. ValueError for a logit, or a signal of
    canaries, that is not finite."""
    signal, z_signal = answers.signal(how.signal, how.queries), answers.z_signal(how.signal, how.queries)
    if signal is None or z_signal is None:
        return None
    images, z_images = (part.flatten(1).numpy() for part in (answers.group.images, answers.group.z_images))
    scores = quantile(signal, z_signal, images, z_images)
    return lambda member: scores


def quantile(signal: np.ndarray, z_signal: np.ndarray, images: np.ndarray, z_images: np.ndarray) -> np.ndarray:
    """canary × model: how far the signal, mean over views, lies above its prediction from the image, in predicted standard
    deviations; negative below it, higher means member. The predictions are fitted for each model on the z samples.

    signal: canary × view × model; z_signal: z × view × model; images, z_images: n × pixels, grey levels 0 to 255.
    """
    features, z_features = _components(images, z_images)
    mean, z_mean = signal.mean(1), z_signal.mean(1)
    center = _ridge(z_features, z_mean)
    residual = z_mean - z_features @ center
    spread = _ridge(z_features, np.log(np.abs(residual) + 1e-6))
    # E log |N(0, 1)| = -(log 2 + Euler's gamma) / 2: what turns a mean log residual into a log standard deviation.
    scale = np.exp(features @ spread + 0.5 * (np.log(2) + np.euler_gamma))
    return (mean - features @ center) / scale


def _components(images: np.ndarray, z_images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """n × feature, of images and of z images: coordinates along the z images' first `COMPONENTS` principal components (fewer where
    there are fewer z images or pixels), then a constant 1. Pixels are scaled from 0..255 to 0..1."""
    z = z_images.astype(np.float64) / 255
    center = z.mean(0)
    _, _, axes = np.linalg.svd(z - center, full_matrices=False)
    axes = axes[:COMPONENTS].T

    def projected(pixels: np.ndarray) -> np.ndarray:
        parts = (pixels.astype(np.float64) / 255 - center) @ axes
        return np.concatenate([parts, np.ones((len(parts), 1))], axis=1)

    return projected(images), projected(z_images)


def _ridge(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """feature × output: weights of a ridge regression; those of the last feature, the constant, are not shrunk. x: n × feature; y:
    n × output."""
    penalty = PENALTY * np.eye(x.shape[1])
    penalty[-1, -1] = 0.0
    return np.linalg.solve(x.T @ x + penalty, x.T @ y)
