"""The models of the language."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from compiler.language.claims import Claim
from compiler.language.study import Header, Point


def language_models() -> Iterator[type[BaseModel]]:
    """What a study says, and all that the fields of it hold."""
    waiting: list[Any] = [Point, Header, Claim]
    known: set[Any] = set()
    while waiting:
        kind = waiting.pop()
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            waiting += get_args(kind)
        elif kind not in known:
            known.add(kind)
            yield kind
            waiting += [field.annotation for field in kind.model_fields.values()]
