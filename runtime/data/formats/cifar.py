"""CIFAR-10 and CIFAR-100: the original Python files, which are pickles, and the binary version.

The pickles are never unpickled: their operations are listed by `pickletools`, and those of arrays, strings and containers are
carried out here on plain values. A name is a word to look up among a handful, nothing is imported, and nothing is called.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from compiler.errors import SynthcError
from runtime.data.images import LabeledImages

LARGEST = 1 << 30
"""Bytes of one file; the largest has 186 million."""
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
    data, labels = fields.get("data"), fields.get(key)
    if not isinstance(data, Array) or not isinstance(labels, list):
        raise SynthcError(f"{path}: holds {', '.join(map(str, fields)) or 'nothing'}; one of CIFAR's files holds data and {key}")
    if data.kind != "u1" or data.shape != (len(labels), PIXELS) or len(data.content) != len(labels) * PIXELS:
        what = f"data of shape {data.shape} and type {data.kind} with {len(labels):,} labels"
        raise SynthcError(f"{path}: {what}; it should be {len(labels):,} × {PIXELS:,} of type u1")
    if not labels or not all(type(label) is int and 0 <= label < 256 for label in labels):
        raise SynthcError(f"{path}: {key} must be small whole numbers, at least one")
    return np.frombuffer(data.content, np.uint8).reshape(data.shape), np.array(labels)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as handle:
            content = handle.read(LARGEST + 1)
    except OSError as error:
        raise SynthcError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > LARGEST:
        raise SynthcError(f"{path}: over {LARGEST:,} bytes; it is not one of CIFAR's files")
    return content


# --- a pickle, read as data --------------------------------------------------------------------------------------------


@dataclass
class Array:
    """A NumPy array as a pickle says it."""

    shape: object = None
    kind: str = ""
    """Such as `u1`."""
    content: bytes = b""


@dataclass(frozen=True)
class _Kind:
    code: str


@dataclass(frozen=True)
class _Name:
    """What stands where a pickle names something that it would import."""

    word: str


NAMES = {
    f"{module} {name}": name
    for module, name in (
        ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"),
        ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
        ("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer"),
    )
}
"""All that may be named: what the pickle of an array of numbers, or of bytes, is made of."""
_LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}
_VALUES = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_IDLE = {"PROTO", "FRAME"}


def unpickled(content: bytes) -> object:
    """The value of a pickle of arrays, strings, numbers and containers; SynthcError for anything else. Arrays become `Array`."""
    try:
        return _value(content)
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, struct.error) as error:
        raise SynthcError(f"a broken or truncated pickle ({error})") from error


def _value(content: bytes) -> object:
    stack: list[object] = []
    marks: list[int] = []
    memo: dict[int, object] = {}

    def since_mark() -> list[object]:
        at = marks.pop()
        items = stack[at:]
        del stack[at:]
        return items

    for operation, argument, _ in pickletools.genops(content):
        match operation.name:
            case name if name in _LITERALS:
                stack.append(argument)
            case name if name in _VALUES:
                stack.append(_VALUES[name])
            case name if name in _IDLE:
                pass
            case "MARK":
                marks.append(len(stack))
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3" as name:
                taken = int(name[-1])
                stack[-taken:] = [tuple(stack[-taken:])]
            case "LIST":
                stack.append(since_mark())
            case "DICT":
                stack.append(_filled({}, since_mark()))
            case "APPEND":
                item = stack.pop()
                _list(stack[-1]).append(item)
            case "APPENDS":
                items = since_mark()
                _list(stack[-1]).extend(items)
            case "SETITEM":
                pair = [stack.pop(-2), stack.pop()]
                _filled(stack[-1], pair)
            case "SETITEMS":
                items = since_mark()
                _filled(stack[-1], items)
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[int(str(argument))] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[int(str(argument))])
            case "GLOBAL":
                stack.append(_named(str(argument)))
            case "STACK_GLOBAL":
                module, word = stack[-2:]
                stack[-2:] = [_named(f"{module} {word}")]
            case "REDUCE":
                maker, given = stack[-2:]
                stack[-2:] = [_made(maker, given)]
            case "BUILD":
                state = stack.pop()
                _build(stack[-1], state)
            case "STOP":
                (value,) = stack
                return value
            case name:
                raise SynthcError(f"the pickle holds {name}, and only arrays, strings and containers are read; it is not CIFAR's")
    raise ValueError("no end")


def _named(words: str) -> _Name:
    if words not in NAMES:
        raise SynthcError(f"the pickle names {words.replace(' ', '.')}, and nothing is imported from data; it is not CIFAR's")
    return _Name(NAMES[words])


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("something is appended to no list")
    return value


def _filled(into: object, items: list[object]) -> object:
    if not isinstance(into, dict) or not all(isinstance(key, str | bytes) for key in items[::2]):
        raise TypeError("a key is no string")   # a tuple of tuples of … could take forever to hash
    into.update(zip(items[::2], items[1::2], strict=True))
    return into


def _made(maker: object, given: object) -> object:
    """What a call of one of `NAMES` stands for."""
    if not isinstance(given, tuple):
        raise TypeError("a call without a tuple")
    match maker, given:
        case _Name("_reconstruct"), (_Name("ndarray"), *_):
            return Array()
        case _Name("dtype"), (str(code), *_):
            return _Kind(code)
        case _Name("dtype"), (bytes(code), *_):
            return _Kind(code.decode("latin-1"))
        case _Name("encode"), (str(text), *_):
            return text.encode("latin-1")
        case _Name("_frombuffer"), (bytes() | bytearray() as content, _Kind(code), shape, "C"):
            return Array(shape, code, bytes(content))
    raise TypeError("a call of something else")


def _build(target: object, state: object) -> None:
    if isinstance(target, _Kind):
        return   # byte order and alignment: nothing that one byte has
    if not isinstance(target, Array):
        raise TypeError("a state for something else")
    match state:
        case (int(), shape, _Kind(code), 0, bytes(content)):
            target.shape, target.kind, target.content = shape, code, content
        case (int(), shape, _Kind(code), 0, str(content)):   # a string of Python 2 is bytes
            target.shape, target.kind, target.content = shape, code, content.encode("latin-1")
        case _:
            raise TypeError("an array in no form that is known (Fortran order?)")
