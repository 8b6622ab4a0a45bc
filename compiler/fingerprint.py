"""Canonical bytes and the id made from them.

An id must be the same in every process, on every machine and in every year, so the encoder refuses whatever
has no stable bytes (callables, sets, paths, NaN, numpy scalars) where `str()` would silently fork ids.
Each structure starts with its kind, so that two kinds never collide.
"""

from __future__ import annotations

import dataclasses
import json
import math
import unicodedata
from hashlib import blake2b
from typing import Any

from pydantic import BaseModel

SCHEME = 1
"""Raised when the encoding itself changes; every id changes with it."""


def fingerprint(kind: str, *parts: object) -> str:
    """Sixteen hexadecimal digits that identify `parts` among all things of this `kind`.

    64 bits: among 100,000 tasks the chance of a collision is 3e-10; the hashed text is kept beside each result.
    """
    return digest_of(canonical_text(kind, *parts))


def canonical_text(kind: str, *parts: object) -> str:
    """The exact text that is hashed: JSON with sorted keys, without spaces."""
    body = ",".join(encode(part) for part in parts)
    return f"[{json.dumps('synthc.' + kind)},{SCHEME},{body}]"


def digest_of(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()


def encode(value: object) -> str:
    """`value` as canonical JSON text. Frozen dataclasses and pydantic models are tagged with their class name."""
    return json.dumps(plain(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def plain(value: object) -> Any:
    """`value` as JSON types, each structure tagged with its kind; TypeError or ValueError for what has no stable bytes."""
    match value:
        case None | bool():
            return value
        case int() if type(value) is int:
            return value
        case float() if type(value) is float:
            if not math.isfinite(value):
                raise ValueError(f"{value!r} has no stable bytes: an id cannot depend on it; give a finite number or null")
            return value + 0.0  # -0.0 equals 0.0 but prints differently
        case str():
            return unicodedata.normalize("NFC", value)
        case tuple() | list():
            return [plain(item) for item in value]
        case dict():
            return {_key(key): plain(item) for key, item in value.items()}
        case BaseModel():
            # By the value's own class, never by the declared one: a subclass in a base-typed field would lose its fields.
            return {"": type(value).__name__} | {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # What does not tell two values apart (`field(compare=False)`) does not tell their ids apart either.
        compared = [field.name for field in dataclasses.fields(value) if field.compare]
        return {"": type(value).__name__} | {name: plain(getattr(value, name)) for name in compared}
    raise TypeError(
        f"{type(value).__name__} {value!r} has no stable bytes, so no id can depend on it; "
        "use plain values, tuples, frozen dataclasses or the spec's models"
    )


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"the key {key!r} is not a string; canonical JSON has string keys only")
    return unicodedata.normalize("NFC", key)
