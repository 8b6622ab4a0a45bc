"""The modified prediction entropy of Song and Mittal (USENIX Security 2021), equation 8: small where a model is sure and right."""

from __future__ import annotations

import numpy as np

from synthc.plugin import Answers, Score
from synthc_examples.words import ModifiedEntropy


def scorer(how: ModifiedEntropy, answers: Answers, paired: bool) -> Score | None:
    """One threshold for all: the scores do not depend on who was a member, so membership is not looked at."""
    if answers.logits is None:
        return None
    scores = -modified_entropy(answers.logits[:, : how.queries] / how.temperature, answers.group.labels.numpy()).mean(1)
    return lambda member: scores


def modified_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """canary × view × shadow; logits: canary × view × shadow × class."""
    logits = logits.astype(np.float64)
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    right = np.eye(p.shape[-1], dtype=bool)[labels][:, None, None, :]
    tiny = np.finfo(np.float64).tiny
    terms = np.where(right, -(1 - p) * np.log(np.maximum(p, tiny)), -p * np.log(np.maximum(1 - p, tiny)))
    return terms.sum(-1)
