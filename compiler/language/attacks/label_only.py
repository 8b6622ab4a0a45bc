"""Attacks on predicted labels alone."""

from typing import Literal

from pydantic import Field

from compiler.language.attacks.base import Tried


class LabelOnly(Tried):
    """Predicts membership from which views of a canary are classified as its label (release level `labels_only`)."""

    compute = "label_only"
    reads = ("labels_only",)
    fitted = True
    learned = True

    attack: Literal["label_only"]
    variant: Literal["regression", "vote"] = "regression"
    """A logistic regression for each canary and target, leave-one-out; or the share of the views."""
    queries: int = Field(gt=1)
    """The number of all views, at least two: of a single one there is little to learn."""
