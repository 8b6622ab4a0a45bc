"""Reads Parquet files of encoded images, and converts them to an .npz.

One column has PNG or JPEG bytes (or `{bytes, path}`, as Hugging Face writes them), another labels as integers or names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compiler.data.files import MAX_BYTES_OF_IMAGES, SHARD, import_command, parquet_files, remedy
from compiler.errors import SynthcError, did_you_mean
from runtime.data.formats.image_file import decode_all
from runtime.database.files import open_parquet
from runtime.store.files import atomic_write


def converted(source: Sequence[Path], test: Sequence[Path], target: Path, image_column: str, label_column: str) -> dict[str, Any]:
    """Write the .npz `target`, over an older file, from the shards `source` (and `test`, the official test split, if any). Returns
    `images` and `test_images`, their numbers, and `classes`, the sorted labels of the files; labels in the .npz are indices in it.

    SynthcError where `target` is no .npz or cannot be written, for broken files (as of `read`), for shards that do not fit together
    (as of `check_shards`; in image size or types of labels), and for a label that the test split alone has.
    """
    if target.suffix != ".npz":
        raise SynthcError(f"{target}: an .npz is written; give a name such as {target.stem}.npz")
    arrays: dict[str, np.ndarray] = {}
    names: list[Any] = []
    for of, paths in (("", source), ("test_", test)):
        if not paths:
            continue
        check_shards(paths)
        images, labels = _joined(paths, image_column, label_column)
        if len(kinds := sorted({type(label).__name__ for label in (*names, *labels)})) > 1:
            raise SynthcError(f"{', '.join(map(str, paths))}: labels are of the types {' and '.join(kinds)}; make them one")
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


def check_shards(paths: Sequence[Path]) -> None:
    """SynthcError where a file is given twice, or its name says that it is one of several which are not all given."""
    real = [path.resolve() for path in paths]
    if len(set(real)) < len(real):
        twice = next(path for path, of in zip(paths, real, strict=True) if real.count(of) > 1)
        raise SynthcError(f"{twice}: given twice, so that its images would be, too; name it once")
    for path in paths:
        if shard := SHARD.fullmatch(path.name):
            count, width = int(shard["count"]), len(shard["number"])
            wanted = {f"{shard['part']}-{number:0{width}}-of-{shard['count']}.parquet" for number in range(min(count, 100_000))}
            missing = sorted(wanted - {other.name for other in paths})
            absent = [name for name in missing if not (path.parent / name).exists()]
            if missing:
                do = f"get {absent[0]}, or rename it to take it alone" if absent else f"`{import_command([path])}` takes all"
                raise SynthcError(f"{path}: one of {count:,} files of a set, {len(missing):,} of which are not given; {do}")


def _joined(shards: Sequence[Path], image_column: str, label_column: str) -> tuple[np.ndarray, list[Any]]:
    """Images and labels of all shards, in their order, as of `read`; all in colour if one image is. SynthcError as there, for
    shards of other image sizes than the first, and for images of more than MAX_BYTES_OF_IMAGES together."""
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
    """Names of a Parquet file's columns; SynthcError for a file that is missing or cannot be read as Parquet."""
    with open_parquet(path) as (columns, _):
        return columns


def read(
    path: Path, image_column: str, label_column: str, unit_column: str | None = None
) -> tuple[np.ndarray, list[Any], list[Any]]:
    """Images, n × height × width (× 3 if one of them is in colour), uint8; labels and units as in the file, units [] if no column
    is named. SynthcError for a file that is missing or no .parquet, lacks a column or has no rows, for images that cannot be used,
    have several sizes or more than MAX_BYTES_OF_IMAGES, and for labels that are neither whole numbers nor texts."""
    if not path.is_file():
        how = "there is no such file"
        if path.is_dir():
            whole = f"a study takes a folder of images by class as it is: data: {{name: files, path: {path}}}"
            how = f"a folder; {remedy(path) if parquet_files(path) else whole}"
        raise SynthcError(f"{path}: {how}")
    if path.suffix.lower() != ".parquet":
        raise SynthcError(f"{path}: no .parquet file; {remedy(path)}")
    decoded: list[np.ndarray] = []
    labels: list[Any] = []
    units: list[Any] = []
    with open_parquet(path) as (columns, rows):
        wanted = [image_column, label_column, *([unit_column] if unit_column else [])]
        for option, column in zip(("--image", "--label", "--unit"), wanted, strict=False):
            if column not in columns:
                raise SynthcError(f"{path}: no column is called {column!r}; {option} names it; {did_you_mean(column, columns)}")

        def images() -> Iterator[tuple[str, bytes | SynthcError]]:
            for row, (content, label, *unit) in enumerate(rows(wanted)):
                labels.append(label)
                units.extend(unit)
                wrong = SynthcError(f"the label {label!r} is neither a whole number nor a name")
                yield f"row {row}", _encoded(content) if isinstance(label, int | str) else wrong

        size = 0
        try:
            for pixels in decode_all(images()):
                size += pixels.size
                if size > MAX_BYTES_OF_IMAGES:
                    raise SynthcError(f"decoded images of over {MAX_BYTES_OF_IMAGES:,} bytes; use fewer")
                decoded.append(pixels)
        except SynthcError as error:
            raise SynthcError(f"{path}: {error}") from error
    if not decoded:
        raise SynthcError(f"{path}: no row")
    if len({pixels.ndim for pixels in decoded}) > 1:  # grey ones among colours
        decoded = [np.broadcast_to(of.reshape(*of.shape[:2], -1), (*of.shape[:2], 3)) for of in decoded]
    return np.stack(decoded), labels, units


def _encoded(content: Any) -> bytes | SynthcError:
    """The bytes of one image from its cell, b"" for an empty cell; for a cell without bytes the SynthcError, which is returned and
    not raised."""
    found, name = (content.get("bytes"), content.get("path")) if isinstance(content, dict) else (content, None)
    if found is None and name:
        return SynthcError(f"a path alone, {str(name)[:40]!r}, and no bytes; write the images into the file")
    if not isinstance(found, bytes | None):
        return SynthcError(f"the image column holds {type(found).__name__}, not the bytes of a PNG or JPEG")
    return found or b""
