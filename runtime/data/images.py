"""Labeled images in memory, and the digest of their content."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from torch import Tensor


@dataclass(frozen=True)
class LabeledImages:
    """A batch of images with their labels; which data set and rows they come from is not stored."""

    images: Tensor
    """n × channels × height × width, uint8."""
    labels: Tensor
    """n, int64."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Tensor) -> LabeledImages:
        """A copy of the rows with these indices, in the order of `rows`."""
        return LabeledImages(self.images[rows], self.labels[rows])


def content_digest(*parts: LabeledImages | None) -> str:
    """Digest of shapes, pixels and labels of the parts, in their order, sixteen hexadecimal digits; independent of file formats.

    None is a part that a data set does not have, such as an official test split; it enters the digest. Tensors must be on the CPU.
    """
    digest = blake2b(digest_size=8)
    for part in parts:
        if part is None:
            digest.update(b"-")
            continue
        digest.update(f"{tuple(part.images.shape)}".encode())
        digest.update(part.images.contiguous().numpy().data)
        digest.update(part.labels.contiguous().numpy().data)
    return digest.hexdigest()
