"""CIFAR-10 and CIFAR-100: the original Python files, which are pickles, and the binary version.

Python's unpickler reads the pickles, and everything that they name becomes a `Call`, a record that does nothing: nothing is
imported, and no code of NumPy runs. What could exhaust memory or the stack on the way is refused before.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from compiler.errors import SynthcError
from runtime.data.images import LabeledImages

MAX_FILE_BYTES = 1 << 30
"""The largest file has 186 million."""
SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32


def read_pickles(folder: Path, pool: Sequence[str], test: Sequence[str], key: str) -> tuple[LabeledImages, LabeledImages]:
    """Both splits of the Python version; `key` names the labels: `labels`, or `fine_labels` of CIFAR-100."""
    return _joined([_batch(folder / name, key) for name in pool]), _joined([_batch(folder / name, key) for name in test])


def read_binary(folder: Path, pool: Sequence[str], test: Sequence[str], labels: int) -> tuple[LabeledImages, LabeledImages]:
    """Both splits of the binary version: records of `labels` bytes, the last of which is the class, and 3,072 pixels."""
    return _joined([_records(folder / name, labels) for name in pool]), _joined([_records(folder / name, labels) for name in test])


def _joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> LabeledImages:
    images, labels = (np.concatenate(of) for of in zip(*parts, strict=True))
    return LabeledImages(torch.from_numpy(images.reshape(-1, *SHAPE)), torch.from_numpy(labels.astype(np.int64)))


def _records(path: Path, labels: int) -> tuple[np.ndarray, np.ndarray]:
    content = _content(path)
    if not content or len(content) % (labels + PIXELS):
        raise SynthcError(f"{path}: {len(content):,} bytes are no whole number of records of {labels + PIXELS:,}; fetch it again")
    records = np.frombuffer(content, np.uint8).reshape(-1, labels + PIXELS)
    return records[:, labels:], records[:, labels - 1]


def _batch(path: Path, key: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        said = unpickled(_content(path))
    except SynthcError as error:
        raise SynthcError(f"{path}: {error}") from None
    if not isinstance(said, dict):
        raise SynthcError(f"{path}: holds no dictionary; it is not one of CIFAR's files")
    fields = {name.decode("latin-1") if isinstance(name, bytes) else name: value for name, value in said.items()}
    pixels, labels = _pixels(fields.get("data")), fields.get(key)
    if pixels is None or not isinstance(labels, list):
        held, wanted = ", ".join(map(str, fields)) or "nothing", f"data (n × {PIXELS:,}, uint8) and {key} (a list)"
        raise SynthcError(f"{path}: holds {held}; one of CIFAR's files holds {wanted}")
    if len(pixels) != len(labels) * PIXELS:
        raise SynthcError(f"{path}: {len(pixels):,} pixels with {len(labels):,} labels; it should be {PIXELS:,} for each")
    if not labels or not all(type(label) is int and 0 <= label < 256 for label in labels):
        raise SynthcError(f"{path}: {key} must be small whole numbers, at least one")
    return np.frombuffer(pixels, np.uint8).reshape(-1, PIXELS), np.array(labels)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as handle:
            content = handle.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SynthcError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise SynthcError(f"{path}: over {MAX_FILE_BYTES:,} bytes; it is not one of CIFAR's files")
    return content


# --- a pickle of arrays, without NumPy ------------------------------------------------------------------------------------


@dataclass
class Call:
    """What a pickle names, would call with `given`, and would give `state`."""

    name: str
    given: tuple[object, ...] = ()
    state: object = None

    def __call__(self, *given: object) -> Call | bytes:
        if self.name == "encode" and isinstance(given[0], str):  # how protocol 2 writes bytes
            return given[0].encode("latin-1")
        return Call(self.name, given)

    def __setstate__(self, state: object) -> None:
        self.state = state


NAMES = {
    "numpy": ("ndarray", "dtype"),
    "_codecs": ("encode",),
    "numpy.core.multiarray": ("_reconstruct",),
    "numpy._core.multiarray": ("_reconstruct",),
    "numpy.core.numeric": ("_frombuffer",),
    "numpy._core.numeric": ("_frombuffer",),
}
"""All that may be named: what the pickle of an array of numbers, or of bytes, is made of."""
MAX_TUPLES = 64
"""Of one pickle; CIFAR's have about ten."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Call:
        if name not in NAMES.get(module, ()):
            raise SynthcError(f"the pickle names {module}.{name}, and nothing is imported from data; it is not CIFAR's")
        return Call(name)


def unpickled(content: bytes) -> object:
    """The value of a pickle in which everything that is named is a `Call`; SynthcError for one that is broken or not CIFAR's."""
    try:
        _refuse_exhausting(content)
        return _Unpickler(io.BytesIO(content), encoding="latin-1").load()
    except SynthcError:
        raise
    except Exception as error:  # whatever the unpickler makes of bytes that are no pickle
        raise SynthcError(f"a broken or truncated pickle ({error})") from error


def _refuse_exhausting(content: bytes) -> None:
    """ValueError for a pickle that a few bytes let grow, as no file of CIFAR does.

    The unpickler makes room for as many entries as an index says (one of 200 million took 3 GB and 5 s), and hashes the keys of
    dictionaries: a tuple in a tuple in a tuple can end the stack, tuples that hold one of before twice can take forever.
    """
    memo: dict[int, str] = {}  # index → operation that made the value
    made, tuples = "", 0
    for operations, (operation, argument, _) in enumerate(pickletools.genops(content)):
        match operation.name:
            case "PUT" | "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                index = len(memo) if argument is None else int(argument)
                if index > max(operations, 255):
                    raise ValueError(f"an index of {index:,}")
                memo[index] = made
            case "GET" | "BINGET" | "LONG_BINGET" if memo.get(int(argument or 0), "").startswith("TUPLE"):
                raise ValueError("a tuple that is there twice")
            case "DUP" | "POP" | "POP_MARK":
                raise ValueError(f"the operation {operation.name}")
            case "PROTO" | "FRAME":
                pass
            case made:
                tuples += made.startswith("TUPLE")
    if tuples > MAX_TUPLES:
        raise ValueError(f"{tuples:,} tuples")


def _pixels(data: object) -> bytes | None:
    """The content of an n × 3,072 array of uint8, as Python 2, protocols 2 to 4 and protocol 5 write it; None for anything else."""
    match data:
        case Call("_reconstruct", state=(_, (int() as rows, 3072), Call("dtype", ("u1", *_)), 0, bytes() | str() as content)):
            pixels = content.encode("latin-1") if isinstance(content, str) else content  # a string of Python 2 is bytes
        case Call("_frombuffer", (bytes() | bytearray() as content, Call("dtype", ("u1", *_)), (int() as rows, 3072), "C")):
            pixels = bytes(content)
        case _:
            return None
    return pixels if len(pixels) == rows * PIXELS else None
