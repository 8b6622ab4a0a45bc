"""Robust membership inference, which compares a canary with samples of the z pool."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from compiler.language.attacks.base import Tried


class Rmia(Tried):
    """Robust membership inference against the z pool (Zarifzadeh et al. 2024)."""

    compute = "rmia"
    needs_z_pool = True

    attack: Literal["rmia"]
    variant: Literal["online", "offline"] = "online"
    """online: from models with the canary and without it. offline: only without; the others are assumed to lie on a line (`a`)."""
    gamma: PositiveFloat = 1.0
    """How much likelier the canary must be than a z sample to beat it."""
    a: float = Field(default=0.3, ge=0, le=1)
    """Slope of the assumed line from OUT to IN confidence: of canaries where offline, of z samples always."""
    temperature: PositiveFloat = 1.0
    """Of the softmax."""
    queries: PositiveInt = 1
    """1 for the plain image, or the number of all views."""
    vote: Literal["mean", "majority"] = "mean"
    """Of the views on each z sample: the share of them in which it is beaten, or whether it is beaten in most."""
    compat: tuple[Literal["taylor_softmax", "trimmed_mean", "strict_fpr"], ...] = ()  # type: ignore[assignment]
    """As in every attack; also, as in the paper's code for CIFAR-10, taylor_softmax: a Taylor polynomial of order 4 instead of the
    exponential, with a soft margin of 0.6; trimmed_mean: over models without the lowest and the highest fifth of them."""
