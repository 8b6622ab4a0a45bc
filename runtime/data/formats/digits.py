"""Reads scikit-learn's bundled digits: 1,797 real handwritten 8×8 images, without a download.

The file holds counts 0..16 (inked pixels of each 4×4 block of a 32×32 scan). They become uint8 by round(count · 255 / 16),
so that 16 is full ink and grey levels are value / 255, as in all other sets.
"""

from __future__ import annotations

import torch

from runtime.data.images import LabeledImages


def read() -> tuple[LabeledImages, None]:
    """All images (n × 1 × 8 × 8, uint8) with their labels, 0 to 9, and None, since there is no official test split."""
    from sklearn.datasets import load_digits

    counts, labels = load_digits(return_X_y=True)
    grey = torch.from_numpy(counts).mul(255 / 16).round().to(torch.uint8)
    return LabeledImages(grey.reshape(-1, 1, 8, 8), torch.from_numpy(labels).to(torch.int64)), None
