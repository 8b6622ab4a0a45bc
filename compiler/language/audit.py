"""`audit:` the canaries, the attacks of the adversary, and the figure declared in advance as the leakage."""

from typing import TYPE_CHECKING, Annotated, Literal, Union

from pydantic import Field, NonNegativeInt, PositiveInt

from compiler.language.attacks.base import DenoisingSignal, LiraSignal, ReleaseLevel, Tried
from compiler.language.base import Frozen, Proportion, words_in
from compiler.language.plugins import OrPlugin, PluginAttack

Strategy = Literal["preset", "split", "bonferroni", "multisplit"]
CanaryKind = Literal["mislabeled", "clean", "ood", "duplicated", "blank"]
Design = Literal["pairs", "balanced", "bernoulli"]
Interval = Literal["canaries", "two_way"]


class CanaryGroup(Frozen):
    """Audited samples of one kind. The same models are trained with the canaries of all groups."""

    kind: CanaryKind
    """mislabeled: a private image with one wrong label, the same for all models. clean: as it is. ood: an image of a
    public set with a random label. duplicated: a mislabeled image in several near copies. blank: a one-colour image
    with a random label."""
    count: PositiveInt
    """How many canaries."""
    copies: PositiveInt = 1
    """Copies of each canary in the private set of a shadow that holds it; only `duplicated` may have more than one."""


class Queries(Frozen):
    """Augmented views of a canary on which a model is evaluated; the plain image is always the first."""

    shift: NonNegativeInt = 0
    """Shift by this many pixels in all eight directions (zero padding): 9 views. 0 means no shifts."""
    flip: bool = False
    """Also ask about the mirror image of each view."""

    @property
    def count(self) -> int:
        """Number of views, the plain image included."""
        return (9 if self.shift else 1) * (2 if self.flip else 1)


KNOWN_ATTACKS = words_in("compiler.language.attacks", Tried, "attack")
"""Classes of the built-in attacks: those in the modules of that package."""
if TYPE_CHECKING:
    KnownAttack = Tried
else:
    KnownAttack = Annotated[Union[KNOWN_ATTACKS], Field(discriminator="attack")]  # noqa: UP007 (made at run time)
Attack = Annotated[KnownAttack | PluginAttack, OrPlugin("attack", KnownAttack)]


class Headline(Frozen):
    """The one figure that the study declares in advance as its leakage."""

    attack: str = "lira"
    """Name of an attack of the audit."""
    signal: LiraSignal | DenoisingSignal | None = "logit"
    """Which of several such attacks, by its signal; null: whichever."""
    variant: str | None = "pooled"
    """Which of several such attacks, by its variant; null: whichever."""
    queries: int | None = 1
    """Which of several such attacks, by the number of views it asks about; null: whichever."""
    canaries: str = "mislabeled"
    """Name of a canary group."""
    release: ReleaseLevel = "final_model"
    """What the adversary sees."""
    fpr: Proportion = 0.01
    """False-positive rate at which the true-positive rate is the leakage; one of `audit.fpr`."""

    @property
    def variant_name(self) -> str:
        """Signal, variant and number of queries that are given, joined by `/`: `logit/pooled/1q`."""
        views = None if self.queries is None else f"{self.queries}q"
        return "/".join(word for word in (self.signal, self.variant, views) if word is not None)


class Audit(Frozen):
    """How leakage is measured."""

    canaries: dict[str, CanaryGroup]
    """Named groups of audited samples."""
    z_pool: NonNegativeInt = 0
    """Samples never trained on and never audited, treated like the canaries; some attacks need them."""
    shadows: PositiveInt
    """Models per trial; each is the target once."""
    membership: Design = "pairs"
    """pairs: shadows 2j and 2j+1 hold complementary halves. balanced: every canary is in exactly half. bernoulli: fair coins."""
    queries: Queries = Field(default_factory=Queries)
    """The views of a canary."""
    attacks: tuple[Attack, ...] = Field(min_length=1)
    """What the adversary tries."""
    fpr: tuple[Proportion, ...] = Field(default=(0.001, 0.01, 0.1), min_length=1)
    """False-positive rates at which the true-positive rate is read."""
    headline: Headline = Field(default_factory=Headline)
    """The declared leakage figure."""
    resamples: int = Field(default=1000, ge=100)
    """Bootstrap resamples behind each interval."""
    interval: Interval = "two_way"
    """What a resample draws: canaries and models (in pairs where membership is paired), or canaries with all their models, whose
    intervals say nothing of other models. Claims are always two-way."""
    null_permutations: int = Field(default=100, ge=1)
    """Redrawn memberships behind each null control; fitted attacks use a tenth."""
    thresholds: Strategy = "preset"
    """How many canaries the epsilon bounds call members and non-members. preset: a quarter each. split: chosen on one half of
    the canaries for the other. bonferroni: the best of a grid, each at its share of the error. multisplit: the median of many
    splits, each at half of the error."""
    target: NonNegativeInt = 0
    """The shadow that the epsilon bounds speak about: declared here, so that it is not chosen after seeing scores."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of every interval and bound."""
    delta: Proportion = 1e-5
    """At which epsilon lower bounds are stated."""
