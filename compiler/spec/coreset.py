"""Paradigm `coreset`: train on a chosen part of the private set (methods.md section 5)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from compiler.spec.base import Method
from compiler.spec.classifier import Recipe


class _Selection(Method):
    paradigm: Literal["coreset"]
    fraction: float | None = Field(default=None, gt=0, le=1)
    """Share of the private set to keep; give this or `per_class`."""
    per_class: int | None = Field(default=None, gt=0)
    """Images of each class to keep."""
    released: bool = False
    """Whether the adversary also sees the set (release levels `synthetic_set`, `index_list`)."""


class RandomSubset(_Selection):
    """A uniformly random part, class by class: the control that every selection and distillation needs."""

    method: Literal["random"]


class Forgetting(_Selection):
    """Keep what the proxy learned and forgot most often (Toneva et al. 2019)."""

    needs: ClassVar[tuple[str, ...]] = ("proxy",)
    outside_work: ClassVar[tuple[str, ...]] = ("released", "proxy")

    method: Literal["forgetting"]
    never_learned: Literal["maximal", "zero"] = "maximal"
    """Samples never classified correctly count as most forgotten; `zero` repeats a bug of widely copied code."""
    proxy: Recipe | None = None
    """Training whose dynamics are logged; null means the classifier's recipe."""


Coreset = Annotated[RandomSubset | Forgetting, Field(discriminator="method")]
