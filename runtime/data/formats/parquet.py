"""Reads Parquet files of encoded images, and converts them to an .npz.

One column has PNG or JPEG bytes (or `{bytes, path}`, as Hugging Face writes them), another labels as integers or names.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compiler.data.files import MAX_BYTES_OF_IMAGES
from compiler.errors import SynthcError, did_you_mean
from runtime.data.formats.image_file import decode
from runtime.database.files import open_parquet
from runtime.store.files import atomic_write


def converted(source: Sequence[Path], test: Sequence[Path], target: Path, image_column: str, label_column: str) -> dict[str, Any]:
    """Write the .npz `target` from the shards `source` (and `test`, the official test split); returns counts and classes.

    SynthcError for broken files, and for shards that do not fit together.
    """
    if target.suffix != ".npz":
        raise SynthcError(f"{target}: an .npz is written; give a name such as {target.stem}.npz")
    arrays: dict[str, np.ndarray] = {}
    names: list[Any] = []
    for of, paths in (("", source), ("test_", test)):
        if not paths:
            continue
        images, labels = _joined(paths, image_column, label_column)
        if len(kinds := sorted({type(label).__name__ for label in (*names, *labels)})) > 1:
            raise SynthcError(f"{paths[0]}: labels are of the types {' and '.join(kinds)}; make them one")
        if not names:
            names = sorted(set(labels))
        if unknown := set(labels) - set(names):
            raise SynthcError(f"{paths[0]}: the label {min(unknown)!r} is not among those of {source[0].name}")
        if arrays and images.shape[1:] != arrays["images"].shape[1:]:
            what = f"images of {images.shape[1:]}, those of {source[0].name} have {arrays['images'].shape[1:]}"
            raise SynthcError(f"{paths[0]}: {what}")
        arrays[f"{of}images"] = images
        arrays[f"{of}labels"] = np.array([names.index(label) for label in labels])
    try:
        with atomic_write(target.absolute()) as beside, beside.open("wb") as handle:
            np.savez_compressed(handle, allow_pickle=False, **arrays)
    except OSError as error:
        raise SynthcError(f"{target}: cannot be written: {error.strerror}") from error
    return {"images": len(arrays["labels"]), "test_images": len(arrays.get("test_labels", ())), "classes": names}


def _joined(shards: Sequence[Path], image_column: str, label_column: str) -> tuple[np.ndarray, list[Any]]:
    """Images and labels of all shards; all in colour if one image is."""
    parts = [read(path, image_column, label_column)[:2] for path in shards]
    first = parts[0][0].shape[1:3]
    for path, (images, _) in zip(shards, parts, strict=True):
        if images.shape[1:3] != first:
            raise SynthcError(f"{path}: images of {images.shape[1:3]}, those of {shards[0].name} have {first}; make them one size")
    if sum(images.size for images, _ in parts) > MAX_BYTES_OF_IMAGES:
        raise SynthcError(f"{shards[0]} and its further shards: images of over {MAX_BYTES_OF_IMAGES:,} bytes; use fewer")
    if len({images.ndim for images, _ in parts}) > 1:
        parts = [(np.broadcast_to(of.reshape(*of.shape[:3], -1), (*of.shape[:3], 3)), labels) for of, labels in parts]
    return np.concatenate([images for images, _ in parts]), [label for _, labels in parts for label in labels]


def columns_of(path: Path) -> list[str]:
    """Names of a Parquet file's columns; SynthcError for other files."""
    with open_parquet(path) as (columns, _):
        return columns


def read(
    path: Path, image_column: str, label_column: str, unit_column: str | None = None
) -> tuple[np.ndarray, list[Any], list[Any]]:
    """Images, n × height × width (× 3 if one of them is in colour), uint8; labels as in the file; units, [] if no column is
    named. SynthcError for a file without rows or with images of several sizes, and for whatever cannot be read."""
    if not path.is_file():
        raise SynthcError(f"{path}: there is no such file")
    decoded: list[np.ndarray] = []
    labels: list[Any] = []
    units: list[Any] = []
    size = 0
    with open_parquet(path) as (columns, rows):
        wanted = [image_column, label_column, *([unit_column] if unit_column else [])]
        for column in wanted:
            if column not in columns:
                raise SynthcError(f"{path}: no column is called {column!r}; {did_you_mean(column, columns)}")
        for row, (content, label, *unit) in enumerate(_bytes(path, rows(wanted))):
            name = f"{path}: row {row}"
            if not isinstance(label, int | str):
                raise SynthcError(f"{name}: the label {label!r} is neither a whole number nor a name")
            pixels = decode(io.BytesIO(content), name)
            height, width = pixels.shape[:2]
            if decoded and (first := decoded[0].shape[:2]) != (height, width):
                what = f"{height}×{width} pixels, the first image has {first[0]}×{first[1]}"
                raise SynthcError(f"{name}: {what}; make them one size")
            size += pixels.size
            if size > MAX_BYTES_OF_IMAGES:
                raise SynthcError(f"{path}: decoded images of over {MAX_BYTES_OF_IMAGES:,} bytes; use fewer")
            decoded.append(pixels)
            labels.append(label)
            units += unit
    if not decoded:
        raise SynthcError(f"{path}: no row")
    if len({pixels.ndim for pixels in decoded}) > 1:  # grey ones among colours
        decoded = [np.broadcast_to(pixels.reshape(height, width, -1), (height, width, 3)) for pixels in decoded]
    return np.stack(decoded), labels, units


def _bytes(path: Path, rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    for content, *rest in rows:
        found = content.get("bytes") if isinstance(content, dict) else content
        if not isinstance(found, bytes):
            raise SynthcError(f"{path}: the image column holds {type(found).__name__}, not the bytes of a PNG or JPEG")
        yield found, *rest
