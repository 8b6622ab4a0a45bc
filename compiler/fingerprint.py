"""Canonical text of parameters, and ids as its hash.

An id must be the same in every process, on every machine and in every year, so the encoder refuses whatever
has no stable bytes (callables, sets, paths, NaN, numpy integers) where `str()` would silently fork ids.
Each structure begins with its kind, so that values of different kinds have different texts.
"""

from __future__ import annotations

import dataclasses
import json
import math
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from json.encoder import encode_basestring
from typing import Any

from pydantic import BaseModel

SCHEME = 1
"""Version of the encoding; raising it changes every id."""


def fingerprint(kind: str, *parts: object) -> str:
    """The id of `parts` among all values of this `kind`: sixteen hexadecimal digits.

    64 bits: among 100,000 tasks the chance of a collision is 3e-10; a task's hashed text is kept beside its result. TypeError or
    ValueError as for `encode`, ValueError also for a text with lone surrogates.
    """
    return digest_of(canonical_text(kind, *parts))


def canonical_text(kind: str, *parts: object, memo: Memo | None = None) -> str:
    """The exact text that is hashed: a JSON list of `synthc.KIND`, SCHEME and the parts as by `encode`, without spaces between its
    tokens.

    `memo` caches the texts of structures inside the parts, which many texts share. A part that is itself a structure occurs in one
    text only, so its own text is not cached. TypeError or ValueError as for `encode`.
    """
    body = ",".join(_structure(part, memo) if _shape(type(part))[0] else encode(part, memo) for part in parts)  # type: ignore[arg-type]
    return f"[{json.dumps('synthc.' + kind)},{SCHEME},{body}]"


def digest_of(text: str) -> str:
    """Digest of a text in UTF-8 (blake2b, 64 bits): sixteen hexadecimal digits. ValueError for lone surrogates."""
    return blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Canonical:
    """The parsed canonical text of a task."""

    operation: str
    revision: tuple[int, ...]
    params: dict[str, Any]
    """Parameters as a mapping; structures have the name of their class under the key ""."""
    needs: dict[str, str]
    """Role → id of the needed task."""


def parse_canonical(text: str) -> Canonical:
    """Parse a task's canonical text, as `compiler.plan.lower` writes it. ValueError or TypeError for a text that is no JSON list of
    seven members with a list for the revision and pairs for the needs; operation and parameters are not checked."""
    _, _, operation, _, revision, params, needs = json.loads(text)
    return Canonical(operation, tuple(revision), params, dict(needs))


def restore(value: Any, types: Mapping[str, Callable[..., Any]]) -> Any:
    """The inverse of `encode`, on parsed JSON: lists become tuples; mappings whose key "" names a class become instances, made by
    calling `types[name]` with their fields as keywords, so that fields which `encode` left out have their defaults.

    KeyError for an unknown name; TypeError or ValueError, as that call raises them, for fields that do not fit.
    """
    if isinstance(value, list):
        return tuple(restore(item, types) for item in value)
    if not isinstance(value, dict):
        return value
    fields = {name: restore(item, types) for name, item in value.items() if name}
    return types[value[""]](**fields) if "" in value else fields


def encode(value: object, memo: Memo | None = None) -> str:
    """`value` as canonical JSON text: keys sorted, strings in Unicode's normal form C, tuples like lists, -0.0 as 0.0. `memo`
    caches the texts of structures.

    Structures (dataclasses and pydantic models) have their class name under the key "". Left out are dataclass fields with
    `compare=False`, and those of the fields listed in the class's `later` that are None: they were added after its first ids, which
    so stay the same. ValueError for NaN and infinities; TypeError for other types and for keys that are no strings.
    """
    match value:
        case str():
            return _quoted(value)
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() if type(value) is int:
            return int.__repr__(value)
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{value!r} has no stable bytes: an id cannot depend on it; give a finite number or null")
            return float.__repr__(value + 0.0)  # -0.0 equals 0.0 but prints differently
        case tuple() | list():
            return f"[{','.join([encode(item, memo) for item in value])}]"
        case dict():
            members = {_key(key): item for key, item in value.items()}
            return "{" + ",".join([f"{_quoted(key)}:{encode(members[key], memo)}" for key in sorted(members)]) + "}"
    return _structure(value, None) if memo is None else memo.text(value)


class Memo:
    """A cache of the texts of frozen objects.

    Texts are found by the identity of the object: since `1 == 1.0` and `1 == True`, equal objects may have different texts. The
    object is kept beside its text, so that no other object gets its identity.
    """

    def __init__(self) -> None:
        self._texts: dict[int, tuple[object, str]] = {}

    def text(self, part: object) -> str:
        """`encode(part)` of a dataclass or pydantic model, computed once for each object; TypeError for any other type, TypeError
        or ValueError as for `encode` for its fields."""
        kept = self._texts.get(id(part))
        if kept is None:
            kept = self._texts[id(part)] = part, _structure(part, self)
        return kept[1]


def _structure(value: object, memo: Memo | None) -> str:
    """Canonical text of a dataclass or model; TypeError for any other type, TypeError or ValueError as for `encode` for its
    fields."""
    # By the value's class, not the declared one: a subclass in a base-typed field would lose its fields.
    tag, fields = _shape(type(value))  # type: ignore[arg-type]  # a class is hashable, whatever mypy says
    if not tag:
        raise TypeError(
            f"{type(value).__name__} {value!r} has no stable bytes, so no id can depend on it; "
            "use plain values, tuples, frozen dataclasses or the spec's models"
        )
    later = getattr(value, "later", ())
    said = [name for name in fields if not (name in later and getattr(value, name) is None)]
    return "{" + ",".join([tag, *[f'"{name}":{encode(getattr(value, name), memo)}' for name in said]]) + "}"


@cache
def _shape(kind: type) -> tuple[str, list[str]]:
    """The tag of a structure (its class name as a JSON member) and its sorted field names, without those with `compare=False`; ("",
    []) for a type that is neither a dataclass nor a pydantic model."""
    if issubclass(kind, BaseModel):
        names = list(kind.model_fields)
    elif dataclasses.is_dataclass(kind):
        # Fields that do not enter equality (`field(compare=False)`) do not enter the id either.
        names = [field.name for field in dataclasses.fields(kind) if field.compare]
    else:
        return "", []
    return f'"":{_quoted(kind.__name__)}', sorted(names)


def _quoted(text: str) -> str:
    """A text as a JSON string, in Unicode's normal form C."""
    return encode_basestring(unicodedata.normalize("NFC", text))


def _key(key: object) -> str:
    """A mapping's key in Unicode's normal form C; TypeError for one that is no string."""
    if not isinstance(key, str):
        raise TypeError(f"the key {key!r} is not a string; canonical JSON has string keys only")
    return unicodedata.normalize("NFC", key)
