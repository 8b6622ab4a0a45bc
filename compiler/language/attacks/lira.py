"""The likelihood ratio attack, with models that hold the canary and without them."""

from typing import Literal

from pydantic import PositiveInt

from compiler.language.attacks.base import LiraSignal, LogitAttack, Spread, Tried


class Lira(Tried):
    """Leave-one-out likelihood ratio attack, online (Carlini et al. 2022)."""

    compute = "lira"

    attack: Literal["lira"]
    signal: LiraSignal = "logit"
    """What is read from a model's logits about a canary; true_label and contrast are for canaries with a wrong label."""
    variant: Spread = "pooled"
    """How the spread of the shadows' signals is estimated: per canary, pooled within canaries, or as a predictive t."""
    queries: PositiveInt = 1
    """1 for the plain image, or the number of all views."""
    compat: tuple[Literal["median_location", "global_variance", "strict_fpr"], ...] = ()  # type: ignore[assignment]
    """As in every attack; also median_location: medians instead of means; global_variance: one uncentred standard deviation of
    all members' signals, for both sides."""


class LiraOffline(LogitAttack):
    """LiRA from the models without the canary only, one-sided."""

    compute = "lira"

    attack: Literal["lira_offline"]
    variant: Spread = "pooled"
    """How the spread of the models without the canary is estimated, as in `lira`."""
    compat: tuple[Literal["median_location", "two_sided", "strict_fpr"], ...] = ()  # type: ignore[assignment]
    """As in every attack; also median_location, and two_sided: unusually low confidence counts as a sign of membership too."""
