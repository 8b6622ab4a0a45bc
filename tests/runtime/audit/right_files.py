"""Valid files of every kind that an audit accepts, for which no doubt may be raised."""

from __future__ import annotations

from typing import Any

import numpy as np

from compiler.language.audit import Design
from runtime.audit.external.evidence import Evidence, check

KINDS = ("undefended", "DP", "label-only", "ties", "heavy tails", "half precision", "a rare class")
CLASSES = 5


def right_file(rng: np.random.Generator) -> tuple[str, Design, Evidence]:
    """A file without a fault, drawn at random: its kind, its design and its evidence, of 8 to 64 shadows and 64 to 300 samples."""
    shadows, samples = int(rng.choice([8, 16, 32, 64])), int(rng.choice([64, 128, 300]))
    design: Design = "pairs" if rng.random() < 0.5 else "bernoulli"
    first = rng.random((shadows // 2, samples)) < 0.5
    member = np.stack([first, ~first], axis=1).reshape(shadows, samples)
    if design == "bernoulli":
        member = rng.random((shadows, samples)) < 0.5
    kind = str(rng.choice(KINDS))
    return kind, design, check(_arrays(rng, kind, member) | {"member": member}, "here")


def _arrays(rng: np.random.Generator, kind: str, member: np.ndarray) -> dict[str, Any]:
    shadows, samples = member.shape
    leaky = member * (rng.random(samples) < 0.7)
    level, quality = rng.choice([0, 2]) * rng.normal(size=samples), 0.3 * rng.normal(size=(shadows, 1))
    match kind:
        case "label-only":
            return {"signal": (rng.random(member.shape) < np.where(leaky, 0.95, 0.6)).astype(np.float64)}
        case "ties":
            return {"signal": np.round(rng.normal(size=member.shape) + level + quality + rng.choice([0.0, 2.0, 8.0]) * leaky)}
        case "heavy tails":
            return {"signal": rng.standard_t(2, member.shape) + level + quality + rng.choice([0.0, 0.3, 2.0, 8.0]) * leaky}
    labels = rng.integers(0, CLASSES, samples)
    if kind == "a rare class":
        labels = np.where(rng.random(samples) < 0.03, CLASSES - 1, rng.integers(0, CLASSES - 1, samples))
    views = int(rng.choice([1, 2]))
    logits = rng.normal(size=(1, samples, 1, CLASSES)) + rng.normal(size=(shadows, samples, views, CLASSES))
    known = 3.0 + (level + quality) + (rng.choice([0.0, 0.1]) if kind == "DP" else rng.choice([1.0, 8.0])) * leaky
    if kind == "a rare class":
        known = np.where((labels == CLASSES - 1) & ~leaky, -2.0, known)  # known to those who saw it alone
    logits[:, np.arange(samples), :, labels] += known.T[:, :, None]
    return {"logits": logits.astype(np.float16 if kind == "half precision" else np.float32), "labels": labels}
