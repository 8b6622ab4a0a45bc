"""`audit:` who is watched, what the adversary sees and does, and which figure was declared in advance."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from compiler.spec.base import Frozen

ReleaseLevel = Literal["final_model", "labels_only", "synthetic_set", "index_list", "generator", "teacher"]
CanaryKind = Literal["mislabeled", "clean", "ood", "duplicated", "blank"]
Design = Literal["pairs", "balanced", "bernoulli"]
Signal = Literal["logit", "hinge"]


class CanaryGroup(Frozen):
    """Audited samples of one kind. All groups of a study live in the same models."""

    kind: CanaryKind
    """mislabeled: a private image with one wrong label, the same for all models. clean: as it is. ood: an image of a
    public set with a random label. duplicated: a mislabeled image in several near copies. blank: a one-colour image
    with a random label."""
    count: int = Field(gt=0)
    """How many canaries."""
    copies: int = Field(default=1, gt=0)
    """Copies of each canary in the private set of a shadow that holds it; only `duplicated` may have more than one."""


class Queries(Frozen):
    """The views of a canary that a model is asked about; the plain image is always the first."""

    shift: int = Field(default=0, ge=0)
    """Shift by this many pixels in all eight directions (zero padding): 9 views. 0 means no shifts."""
    flip: bool = False
    """Also ask about the mirror image of each view."""

    @property
    def count(self) -> int:
        return (9 if self.shift else 1) * (2 if self.flip else 1)


class Threshold(Frozen):
    """One threshold for all canaries and models (Attack-P: its ROC equals that of a threshold from the z pool)."""

    attack: Literal["threshold"]
    signal: Signal = "logit"
    queries: int = Field(default=1, gt=0)
    """1 for the plain image, or the number of all views."""


class Reference(Frozen):
    """Attack-R: the share of models without the canary that are no more confident than the target."""

    attack: Literal["reference"]
    signal: Signal = "logit"
    queries: int = Field(default=1, gt=0)


class Calibrated(Frozen):
    """Difficulty-calibrated: the target's signal minus the mean signal of models without the canary."""

    attack: Literal["calibrated"]
    signal: Signal = "logit"
    queries: int = Field(default=1, gt=0)


class Lira(Frozen):
    """Leave-one-out likelihood ratio attack, online (Carlini et al. 2022)."""

    attack: Literal["lira"]
    signal: Signal = "logit"
    variant: Literal["per_example", "pooled", "student_t"] = "pooled"
    """How the spread of the shadows' signals is estimated: per canary, pooled within canaries, or as a predictive t."""
    queries: int = Field(default=1, gt=0)
    compat: tuple[Literal["median_location", "global_variance"], ...] = ()
    """Reproduce a choice of published code; off by default, recorded with every row."""


class LiraOffline(Frozen):
    """LiRA from the models without the canary only, one-sided."""

    attack: Literal["lira_offline"]
    signal: Signal = "logit"
    variant: Literal["per_example", "pooled", "student_t"] = "pooled"
    queries: int = Field(default=1, gt=0)
    compat: tuple[Literal["median_location", "two_sided"], ...] = ()
    """Reproduce a choice of published code; off by default, recorded with every row."""


class Rmia(Frozen):
    """Robust membership inference against the z pool (Zarifzadeh et al. 2024)."""

    attack: Literal["rmia"]
    variant: Literal["online", "offline"] = "online"
    gamma: float = Field(default=1.0, gt=0)
    """How much likelier the canary must be than a z sample to beat it."""
    a: float = Field(default=0.3, ge=0, le=1)
    """Offline only: slope of the assumed line from OUT to IN confidence."""
    temperature: float = Field(default=1.0, gt=0)
    queries: int = Field(default=1, gt=0)


class LabelOnly(Frozen):
    """Logistic regression from the correctness of the views to membership, leave-one-out."""

    attack: Literal["label_only"]
    queries: int = Field(gt=1)


class Quantile(Frozen):
    """Quantile regression on the z pool, no shadows (Bertran et al. 2023)."""

    attack: Literal["quantile"]
    signal: Signal = "logit"
    queries: int = Field(default=1, gt=0)


class Nearest(Frozen):
    """A LiRA on the distance from a canary to the nearest released image (release level `synthetic_set`)."""

    attack: Literal["nearest"]
    space: Literal["pixel", "feature"] = "pixel"
    """Distances between pixels, or between features of a fixed random net."""
    variant: Literal["per_example", "pooled", "student_t"] = "pooled"


class Selected(Frozen):
    """Whether the canary itself is in the released list (release level `index_list`), or in what its images began from."""

    attack: Literal["selected"]


class Denoising(Frozen):
    """A LiRA on the denoiser's loss on the canary (release level `generator`): diffusion only."""

    attack: Literal["denoising"]
    variant: Literal["per_example", "pooled", "student_t"] = "pooled"


Attack = Annotated[
    Threshold | Reference | Calibrated | Lira | LiraOffline | Rmia | LabelOnly | Quantile | Nearest | Selected | Denoising,
    Field(discriminator="attack"),
]


def variant_name(attack: Attack | Headline) -> str:
    """One string for how an attack is done: signal, variant and number of queries, such as `logit/pooled/1q`.

    Together with the attack's name and a release level it names a column of scores.
    """
    parts = [str(getattr(attack, word)) for word in ("signal", "space", "variant") if getattr(attack, word, None) is not None]
    if getattr(attack, "queries", None) is not None:
        parts.append(f"{attack.queries}q")   # type: ignore[union-attr]
    return "/".join([*parts, *getattr(attack, "compat", ())])


class Headline(Frozen):
    """The one figure that the study declares in advance as its leakage."""

    attack: str = "lira"
    signal: Signal | None = "logit"
    variant: str | None = "pooled"
    queries: int | None = 1
    canaries: str = "mislabeled"
    """Name of a canary group."""
    release: ReleaseLevel = "final_model"
    fpr: float = Field(default=0.01, gt=0, lt=1)


class Audit(Frozen):
    """How leakage is measured."""

    canaries: dict[str, CanaryGroup]
    """Named groups of audited samples."""
    z_pool: int = Field(default=0, ge=0)
    """Samples never trained on and never audited, treated like the canaries; some attacks need them."""
    shadows: int = Field(gt=0)
    """Models per trial; each is the target once."""
    membership: Design = "pairs"
    """pairs: shadows 2j and 2j+1 hold complementary halves. balanced: every canary is in exactly half. bernoulli: fair coins."""
    queries: Queries = Queries()
    """The views of a canary."""
    attacks: tuple[Attack, ...] = Field(min_length=1)
    """What the adversary tries."""
    fpr: tuple[float, ...] = (0.001, 0.01, 0.1)
    """False-positive rates at which the true-positive rate is read."""
    headline: Headline = Headline()
    """The declared leakage figure."""
    resamples: int = Field(default=1000, ge=100)
    """Bootstrap resamples behind each interval."""
    null_permutations: int = Field(default=100, ge=1)
    """Redrawn memberships behind each null control; fitted attacks use a tenth."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of every interval and bound."""
    delta: float = Field(default=1e-5, gt=0, lt=1)
    """At which epsilon lower bounds are stated."""
