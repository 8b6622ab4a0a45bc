"""Logits → signals, in float64 before any reduction. LARGER MEANS MORE MEMBER-LIKE.

A float32 softmax loses the tail: log(p / (1 - p)) is infinite from a logit gap of about 16, where most members are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def logit(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """log(p_y / (1 - p_y)) = z_y - logsumexp of the others. logits: n × … × class, at least two classes; labels: n, class indices.
    Result: n × …, float64. ValueError for a logit that is not finite."""
    own, others = _split(logits, labels)
    top = others.max(-1)
    return own - top - np.log(np.exp(others - top[..., None]).sum(-1))


def hinge(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """z_y minus the largest other logit. Shapes and ValueError as for `logit`."""
    own, others = _split(logits, labels)
    return own - others.max(-1)


def loss(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Minus the cross-entropy: log p_y. Shapes and ValueError as for `logit`."""
    return -np.logaddexp(0.0, -logit(logits, labels))


def contrast(logits: np.ndarray, labels: np.ndarray, true_labels: np.ndarray) -> np.ndarray:
    """z_y - z_true, for mislabeled canaries: membership raises the wrong label's logit and lowers the true one's. true_labels: n;
    other shapes and ValueError as for `logit`."""
    values = _finite(logits)
    return _own(values, labels) - _own(values, true_labels)


def correct(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """1.0 where the label's logit is strictly the largest, else 0.0. Shapes and ValueError as for `logit`."""
    return (hinge(logits, labels) > 0).astype(np.float64)


def confidence(logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Softmax probability of the label, the logits divided by `temperature`. Shapes and ValueError as for `logit`."""
    scaled = _finite(logits) / temperature
    scaled = scaled - scaled.max(-1, keepdims=True)
    powers = np.exp(scaled)
    return _own(powers, labels) / powers.sum(-1)


SOFT_MARGIN = 0.6


def taylor_confidence(logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """`confidence` with a Taylor polynomial of order 4 instead of the exponential, and with `SOFT_MARGIN` subtracted from the
    label's logit after the division by `temperature` (Banerjee et al. 2020).

    Large logit gaps keep distinct probabilities below 1, where a softmax in float64 is exactly 1 from gaps of 37 on.
    For replication only: a polynomial of even order rises again below -1.6, so that very negative logits count as likely.
    """
    scaled = _finite(logits) / temperature
    own = _taylor(_own(scaled, labels) - SOFT_MARGIN)
    powers = _taylor(scaled)
    return own / (own + powers.sum(-1) - _own(powers, labels))


def _taylor(x: np.ndarray) -> np.ndarray:
    """1 + x + x²/2 + x³/6 + x⁴/24, which is above 0.27 everywhere."""
    return 1 + x * (1 + x / 2 * (1 + x / 3 * (1 + x / 4)))


def by_shadow(read: Callable[..., np.ndarray], logits: np.ndarray, *options: Any) -> np.ndarray:
    """canary × view × shadow: the signal that `read` gives of the logits (canary × view × shadow × class).

    `read(logits of one shadow, *options)`, where `options` are the labels and further arguments, is called for one shadow at a
    time, so that its float64 copies stay small. ValueError for a logit that is not finite.
    """
    _check_finite(logits)
    return np.stack([read(logits[:, :, shadow], *options) for shadow in range(logits.shape[2])], axis=2)


SIGNALS = {"logit": logit, "hinge": hinge, "loss": loss}


def _finite(logits: np.ndarray) -> np.ndarray:
    """The logits in float64, the same array if they are float64 already; ValueError with the index of the first NaN or
    infinity."""
    values = np.asarray(logits, np.float64)
    _check_finite(values)
    return values


def _check_finite(logits: np.ndarray) -> None:
    """Raise ValueError with the index of the first NaN or infinity, if there is one."""
    if not np.isfinite(logits).all():
        place = tuple(int(index) for index in np.argwhere(~np.isfinite(logits))[0])
        raise ValueError(f"the logit at {place} is {logits[place]}; a model that gives no number cannot be scored")


def _own(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The values at the label: n × … for values n × … × class."""
    index = np.asarray(labels).reshape(-1, *([1] * (values.ndim - 1)))
    return np.take_along_axis(values, np.broadcast_to(index, (*values.shape[:-1], 1)), axis=-1)[..., 0]


def _split(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float64: the label's logit (n × …), and a copy of all logits in which the label's is -inf; ValueError for a logit that is not
    finite."""
    values = _finite(logits)
    others = values.copy()
    index = np.asarray(labels).reshape(-1, *([1] * (values.ndim - 1)))
    np.put_along_axis(others, np.broadcast_to(index, (*values.shape[:-1], 1)), -np.inf, axis=-1)
    return _own(values, labels), others
