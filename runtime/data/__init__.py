"""Images: where they come from, and who of them is private."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LabeledImages:
    """Images with labels. No row says where it came from."""

    images: Tensor
    """n × channels × height × width, uint8."""
    labels: Tensor
    """n, int64."""

    def __len__(self) -> int:
        return len(self.labels)
