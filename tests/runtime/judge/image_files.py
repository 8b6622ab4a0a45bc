"""Small sets of images for tests of the split and the judge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from runtime.data.formats import digits


def digit_images(rows: slice | np.ndarray = slice(None)) -> tuple[np.ndarray, np.ndarray]:
    """n × 8 × 8, uint8, and labels."""
    data, _ = digits.read()
    return data.images.numpy()[rows, 0], data.labels.numpy()[rows]


def save_npz(path: Path, images: np.ndarray, labels: np.ndarray, **more: np.ndarray) -> Path:
    np.savez_compressed(path, allow_pickle=False, images=images, labels=labels, **more)
    return path


def save_folder(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """`<class>/<row>.png`."""
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        (path / f"class {label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path / f"class {label}" / f"{row:04}.png")
    return path
