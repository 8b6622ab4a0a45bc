"""Tiny files in each format that a data set comes in, for tests: real bytes, a few kilobytes."""

from __future__ import annotations

import gzip
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np

BATCHES = tuple(f"data_batch_{batch}" for batch in range(1, 6))
MODULE, NAME = b"numpy.core.multiarray", b"_reconstruct"


def pictures(n: int, classes: int, shape: tuple[int, ...] = (3, 32, 32), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images that a net can learn (a bright stripe whose place tells the class, and noise), and labels in turn."""
    draws = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    images = draws.integers(0, 90, (n, *shape), dtype=np.uint8)
    width = max(1, shape[-1] // classes)
    for row, label in enumerate(labels):
        images[row, ..., label * width % shape[-1] : label * width % shape[-1] + width] += 150
    return images, labels


def idx(array: np.ndarray) -> bytes:
    """An IDX file of unsigned bytes."""
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()


def mnist(folder: Path, n: int, test: int, zipped: bool = True) -> None:
    """Four IDX files of 28×28 images."""
    folder.mkdir(parents=True)
    for stem, count in (("train", n), ("t10k", test)):
        images, labels = pictures(count, 10, (28, 28), seed=count)
        for name, array in ((f"{stem}-images-idx3-ubyte", images), (f"{stem}-labels-idx1-ubyte", labels)):
            content = idx(array)
            (folder / (f"{name}.gz" if zipped else name)).write_bytes(gzip.compress(content, mtime=0) if zipped else content)


def python2_pickle(images: np.ndarray, labels: list[int], key: str = "labels", name: tuple[bytes, bytes] = (MODULE, NAME)) -> bytes:
    """A batch as Python 2 pickled CIFAR's: protocol 2, byte strings, an array by `_reconstruct`."""

    def text(of: bytes) -> bytes:
        return b"U" + bytes([len(of)]) + of

    def number(of: int) -> bytes:
        return b"J" + struct.pack("<i", of)

    flat = images.reshape(len(images), -1)
    array = b"c" + name[0] + b"\n" + name[1] + b"\nq\x07cnumpy\nndarray\nq\x08K\x00\x85" + text(b"b") + b"\x87R"
    kind = b"cnumpy\ndtype\nq\x0c" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNN" + number(-1) * 2 + b"K\x00tb"
    content = b"T" + struct.pack("<i", flat.size) + flat.astype(np.uint8).tobytes()
    state = b"(K\x01" + number(flat.shape[0]) + number(flat.shape[1]) + b"\x86" + kind + b"\x89" + content + b"tb"
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}q\x01(" + text(key.encode()) + b"q\x02" + listed + text(b"data") + array + state + b"u."


def cifar10(root: Path, n: int, test: int, binary: bool = True) -> None:
    """Six batches in the folder that the binary version leaves (or torchvision), together n and `test` images."""
    folder = root / ("cifar-10-batches-bin" if binary else "cifar-10-batches-py")
    folder.mkdir(parents=True)
    images, labels = pictures(n + test, 10)
    ends = [*(n * part // 5 for part in range(6)), n + test]
    for name, (begin, end) in zip((*BATCHES, "test_batch"), pairwise(ends), strict=True):
        if binary:
            records = np.concatenate([labels[begin:end, None].astype(np.uint8), images[begin:end].reshape(end - begin, -1)], axis=1)
            (folder / f"{name}.bin").write_bytes(records.tobytes())
        else:
            (folder / name).write_bytes(python2_pickle(images[begin:end], labels[begin:end].tolist()))


def svhn(folder: Path, n: int, test: int) -> None:
    """Two MATLAB files as SciPy writes them, compressed."""
    from scipy.io import savemat

    folder.mkdir(parents=True)
    for name, count in (("train", n), ("test", test)):
        images, labels = pictures(count, 10, seed=count)
        arrays = {"X": images.transpose(2, 3, 1, 0), "y": np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]}
        savemat(folder / f"{name}_32x32.mat", arrays, do_compression=True)


def folders(root: Path, images: np.ndarray, labels: np.ndarray, classes: list[str]) -> None:
    """`<root>/<class>/n<place>_0.png`, as ImageNet's are called."""
    from PIL import Image

    for place, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = root / classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"n{place:04}_0.png")
