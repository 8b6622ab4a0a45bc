"""`audit:` who is watched, what the adversary sees and does, and which figure was declared in advance."""

from typing import Annotated, Literal

from pydantic import Field

from compiler.fingerprint import encode
from compiler.language.base import Frozen
from compiler.language.plugins import OrPlugin, PluginAttack

ReleaseLevel = Literal["final_model", "labels_only", "synthetic_set", "index_list", "generator", "teacher"]
Strategy = Literal["preset", "split", "bonferroni", "multisplit"]
CanaryKind = Literal["mislabeled", "clean", "ood", "duplicated", "blank"]
Design = Literal["pairs", "balanced", "bernoulli"]
Interval = Literal["canaries", "two_way"]
Signal = Literal["logit", "hinge", "loss"]
"""Of a model that was asked about a canary, larger where it is surer of the label: log p / (1 - p), the lead over the next class,
log p."""
LiraSignal = Literal["logit", "hinge", "loss", "true_label", "contrast"]
"""Also what the label alone is blind to, for canaries with a wrong one: log p / (1 - p) of the true label, which a copy with its
true label raises and a memorised wrong label lowers; and the logit of the label minus that of the true one."""
Spread = Literal["per_example", "pooled", "student_t"]


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


class Tried(Frozen):
    """What all attacks share."""

    compat: tuple[Literal["strict_fpr"], ...] = ()
    """Reproduce a choice of published code; off by default, recorded with every row. strict_fpr: a TPR is read at the last
    threshold whose false-positive rate lies below the declared one, not at or below it."""


class Asking(Tried):
    """An attack on logits: from which signal, and how many views are asked about."""

    signal: Signal = "logit"
    queries: int = Field(default=1, gt=0)
    """1 for the plain image, or the number of all views."""


class Threshold(Asking):
    """One threshold for all canaries and models (Attack-P: its ROC equals that of a threshold from the z pool)."""

    attack: Literal["threshold"]


class Reference(Asking):
    """Attack-R: the share of models without the canary that are no more confident than the target."""

    attack: Literal["reference"]


class Calibrated(Asking):
    """Difficulty-calibrated: the target's signal minus the mean signal of models without the canary."""

    attack: Literal["calibrated"]


class Lira(Tried):
    """Leave-one-out likelihood ratio attack, online (Carlini et al. 2022)."""

    attack: Literal["lira"]
    signal: LiraSignal = "logit"
    variant: Spread = "pooled"
    """How the spread of the shadows' signals is estimated: per canary, pooled within canaries, or as a predictive t."""
    queries: int = Field(default=1, gt=0)
    """1 for the plain image, or the number of all views."""
    compat: tuple[Literal["median_location", "global_variance", "strict_fpr"], ...] = ()   # type: ignore[assignment]
    """As in every attack; also median_location: medians instead of means; global_variance: one uncentred standard deviation of
    all members' signals, for both sides."""


class LiraOffline(Asking):
    """LiRA from the models without the canary only, one-sided."""

    attack: Literal["lira_offline"]
    variant: Spread = "pooled"
    compat: tuple[Literal["median_location", "two_sided", "strict_fpr"], ...] = ()   # type: ignore[assignment]
    """As in every attack; also median_location, and two_sided: unusually low confidence counts as a sign of membership too."""


class Rmia(Tried):
    """Robust membership inference against the z pool (Zarifzadeh et al. 2024)."""

    attack: Literal["rmia"]
    variant: Literal["online", "offline"] = "online"
    gamma: float = Field(default=1.0, gt=0)
    """How much likelier the canary must be than a z sample to beat it."""
    a: float = Field(default=0.3, ge=0, le=1)
    """Slope of the assumed line from OUT to IN confidence: of canaries where offline, of z samples always."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the softmax."""
    queries: int = Field(default=1, gt=0)
    vote: Literal["mean", "majority"] = "mean"
    """Of the views on each z sample: the share of them in which it is beaten, or whether it is beaten in most."""
    compat: tuple[Literal["taylor_softmax", "trimmed_mean", "strict_fpr"], ...] = ()   # type: ignore[assignment]
    """As in every attack; also, as in the paper's code for CIFAR-10, taylor_softmax: a Taylor polynomial of order 4 instead of the
    exponential, with a soft margin of 0.6; trimmed_mean: over models without the lowest and the highest fifth of them."""


class LabelOnly(Tried):
    """From the views that are classified as the label to membership (release level `labels_only`)."""

    attack: Literal["label_only"]
    variant: Literal["regression", "vote"] = "regression"
    """A logistic regression for each canary and target, leave-one-out; or the share of the views."""
    queries: int = Field(gt=1)


class Quantile(Asking):
    """Quantile regression on the z pool, no shadows (Bertran et al. 2023)."""

    attack: Literal["quantile"]


class Nearest(Tried):
    """A LiRA on the distance from a canary to the nearest released image (release level `synthetic_set`)."""

    attack: Literal["nearest"]
    space: Literal["pixel", "feature"] = "pixel"
    """Distances between pixels, or between features of a fixed random net."""
    variant: Spread = "pooled"
    queries: int = Field(default=1, gt=0)
    """1 for the distance of the plain image, or the number of all views: then of the view that comes nearest to an image."""


class Selected(Tried):
    """Whether the canary itself is in the released list (release level `index_list`), or in what its images began from."""

    attack: Literal["selected"]


class Denoising(Tried):
    """A LiRA on the denoiser's loss on the canary (release level `generator`): diffusion only."""

    attack: Literal["denoising"]
    variant: Spread = "pooled"


KnownAttack = Annotated[
    Threshold | Reference | Calibrated | Lira | LiraOffline | Rmia | LabelOnly | Quantile | Nearest | Selected | Denoising,
    Field(discriminator="attack"),
]
Attack = Annotated[KnownAttack | PluginAttack, OrPlugin("attack", KnownAttack)]


class Headline(Frozen):
    """The one figure that the study declares in advance as its leakage."""

    attack: str = "lira"
    signal: LiraSignal | None = "logit"
    variant: str | None = "pooled"
    queries: int | None = 1
    canaries: str = "mislabeled"
    """Name of a canary group."""
    release: ReleaseLevel = "final_model"
    fpr: float = Field(default=0.01, gt=0, lt=1)


def variant_name(attack: Attack | Headline) -> str:
    """One string for how an attack is done: signal, variant, number of queries, whatever else is not as usual; `logit/pooled/1q`.

    Together with the attack's name and a release level it names a column of scores.
    """
    if isinstance(attack, PluginAttack):
        own = [name for name in type(attack).model_fields if name not in PluginAttack.model_fields]
        return "/".join([*(f"{name}={encode(getattr(attack, name))}" for name in own), f"{attack.queries}q", *attack.compat])
    parts = [str(getattr(attack, word)) for word in ("signal", "space", "variant") if getattr(attack, word, None) is not None]
    if getattr(attack, "queries", None) is not None:
        parts.append(f"{attack.queries}q")   # type: ignore[union-attr]
    if isinstance(attack, Rmia):
        usual = {word: Rmia.model_fields[word].default for word in ("gamma", "a", "temperature", "vote")}
        parts += [f"{word}={getattr(attack, word)}" for word, value in usual.items() if getattr(attack, word) != value]
    return "/".join([*parts, *getattr(attack, "compat", ())])


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
    queries: Queries = Field(default_factory=Queries)
    """The views of a canary."""
    attacks: tuple[Attack, ...] = Field(min_length=1)
    """What the adversary tries."""
    fpr: tuple[float, ...] = (0.001, 0.01, 0.1)
    """False-positive rates at which the true-positive rate is read."""
    headline: Headline = Field(default_factory=Headline)
    """The declared leakage figure."""
    resamples: int = Field(default=1000, ge=100)
    """Bootstrap resamples behind each interval."""
    interval: Interval = "canaries"
    """What a resample draws: canaries with all their models, or, as the safe option, models too (in pairs where membership is
    paired). The headline and all claims are always two-way."""
    null_permutations: int = Field(default=100, ge=1)
    """Redrawn memberships behind each null control; fitted attacks use a tenth."""
    thresholds: Strategy = "preset"
    """How many canaries the epsilon bounds call members and non-members. preset: a quarter each. split: chosen on one half of
    the canaries for the other. bonferroni: the best of a grid, each at its share of the error. multisplit: the median of many
    splits, each at half of the error."""
    target: int = Field(default=0, ge=0)
    """The shadow that the epsilon bounds speak about: declared here, so that nobody chooses it after seeing scores."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of every interval and bound."""
    delta: float = Field(default=1e-5, gt=0, lt=1)
    """At which epsilon lower bounds are stated."""
