"""Paradigm `coreset`: train on a chosen part of the private set (methods.md section 5)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from compiler.spec.base import Method
from compiler.spec.classifier import Recipe


class Selection(Method):
    """What every way of choosing has in common.

    Classes are those of the labels as given: a mislabeled image competes in the class that it is labelled with.
    """

    paradigm: Literal["coreset"]
    fraction: float | None = Field(default=None, gt=0, le=1)
    """Share of the private set to keep; give this or `per_class`."""
    per_class: int | None = Field(default=None, gt=0)
    """Images of each class to keep."""
    class_balanced: bool = True
    """With `fraction`: keep this share of every class. false: of the whole set, so that a class may lose more than another."""
    released: bool = False
    """Whether the adversary also sees the set (release levels `synthetic_set`, `index_list`)."""

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if (self.fraction is None) == (self.per_class is None):
            raise ValueError("give one of `fraction` and `per_class`")
        if self.per_class is not None and not self.class_balanced:
            raise ValueError("`per_class` keeps equally many of every class: it cannot go with `class_balanced: false`")
        return self


class RandomSubset(Selection):
    """A uniformly random part: the control that every selection and distillation needs."""

    method: Literal["random"]


class ByDynamics(Selection):
    """Selections that read the log of a proxy's training; all of a shadow's share one proxy, by its id."""

    needs: ClassVar[tuple[str, ...]] = ("proxy",)
    outside_work: ClassVar[tuple[str, ...]] = ("released", "proxy")   # the proxy enters through its own id

    class_balanced: bool = False
    """With `fraction`: keep this share of every class. false, as published: of the whole set, so that hard classes keep more."""
    proxy: Recipe | None = None
    """Training whose dynamics are logged; null means the classifier's recipe."""


class Forgetting(ByDynamics):
    """Keep what the proxy learned and forgot most often (Toneva et al. 2019)."""

    method: Literal["forgetting"]
    never_learned: Literal["maximal", "zero"] = "maximal"
    """Samples never classified correctly count as most forgotten; `zero` repeats a bug of widely copied code."""


Coreset = Annotated[RandomSubset | Forgetting, Field(discriminator="method")]
