"""Losses of images that are optimised against a classifier: for data-free distillation and for SRe2L."""

from collections.abc import Iterator

from pydantic import NonNegativeFloat

from compiler.language.base import Frozen


class Losses(Frozen):
    """Weights of the losses that generated images minimise; 0 for those not given, and one must be positive."""

    statistics: NonNegativeFloat = 0.0
    """Distance of the batch's mean and variance from those that the teacher's BatchNorm layers saw (Yin et al. 2020)."""
    one_hot: NonNegativeFloat = 0.0
    """Cross-entropy of the teacher's answer with a wanted class, or with its own choice (dafl, zskt, dfad, dfq)."""
    balance: NonNegativeFloat = 0.0
    """Negative entropy of the mean answer: keeps all classes in play (Chen et al. 2019)."""
    activation: NonNegativeFloat = 0.0
    """Minus the mean magnitude of the teacher's features (Chen et al. 2019)."""
    adversarial: NonNegativeFloat = 0.0
    """Minus the difference between teacher and student; in pools only where they choose the same class (Fang et al. 2021)."""
    total_variation: NonNegativeFloat = 0.0
    """Mean squared difference of neighbouring pixels."""

    def faults(self) -> Iterator[str]:
        if not any(self.model_dump().values()):
            yield f"no loss has a weight; give one to {', '.join(type(self).model_fields)}"
