"""What all attacks share, built-in ones and those of plug-ins.

An attack is a class of parameters here, and a module that computes: `scorer(how, answers, paired) -> Score | None` gives the
function from membership to scores (`runtime.audit.attacks.answers`), None where the attack does not apply. The class variables
hold all that the rest of the code needs to know of an attack, so that there is no other list of attacks.
"""

from typing import ClassVar, Literal

from pydantic import PositiveInt

from compiler.language.base import Frozen

ReleaseLevel = Literal["final_model", "labels_only", "synthetic_set", "index_list", "generator", "teacher"]
Signal = Literal["logit", "hinge", "loss"]
"""Computed from a model's logits for a canary, larger where p, the label's probability, is higher: log p / (1 - p); the label's
margin over the next class; log p."""
LiraSignal = Literal["logit", "hinge", "loss", "true_label", "contrast"]
"""As `Signal`; and for canaries with a wrong label, true_label: log p / (1 - p) of the true label, which a copy with its true
label raises and a memorised wrong label lowers; contrast: the logit of the label minus that of the true one."""
DenoisingSignal = Literal["mean_loss", "loss", "vector", "pia", "secmi", "sima", "gap"]
"""Computed from a denoiser's predictions for a canary; `Denoising.signal` defines each."""
Spread = Literal["per_example", "pooled", "student_t"]

LOGIT_LEVELS: tuple[ReleaseLevel, ...] = ("final_model", "teacher")
"""Release levels at which the adversary sees logits."""
BARE = ("signal", "space", "variant")
"""Fields whose value enters `variant_name` without the field's name."""


class Tried(Frozen):
    """Fields and class variables of every attack."""

    revision: ClassVar[int] = 0
    """Raised by hand when the scores of this attack alone change. 0 stays out of ids, which rest on the trial's own revision."""
    compute: ClassVar[str] = ""
    """Name of the module that has its `scorer`, in `runtime.audit.attacks`."""
    reads: ClassVar[tuple[ReleaseLevel, ...]] = LOGIT_LEVELS
    """Release levels at which it is scored."""
    fitted: ClassVar[bool] = False
    """Whether it fits a model per target: a tenth of the redraws must do for its null control."""
    learned: ClassVar[bool] = False
    """Whether it is trained on the other shadows' membership, and so could infer the target's where memberships are dependent."""
    needs_z_pool: ClassVar[bool] = False
    looks_at: ClassVar[str] = ""
    """What it needs besides the outputs of models, in words for a message: `synthc audit` has only outputs and refuses it."""

    attack: str
    """What the adversary does, by name."""
    compat: tuple[Literal["strict_fpr"], ...] = ()
    """Reproduce a choice of published code; off by default, recorded with every row. strict_fpr: a TPR is read at the last
    threshold whose false-positive rate lies below the declared one, not at or below it."""

    @property
    def variant_name(self) -> str:
        """Parameters in one string, joined by `/`: values of signal, space and variant, number of queries, other fields as
        `name=value` unless at their defaults, `compat`; `logit/pooled/1q`.

        Together with the attack's name and a release level it names a column of scores.
        """
        values = {name: getattr(self, name) for name in type(self).model_fields if name not in Tried.model_fields}
        views = [f"{values.pop('queries')}q"] if "queries" in values else []
        bare = [str(values.pop(name)) for name in BARE if name in values]
        unusual = [f"{name}={value}" for name, value in values.items() if value != type(self).model_fields[name].default]
        return "/".join([*bare, *views, *unusual, *self.compat])


class LogitAttack(Tried):
    """An attack on logits, with a signal and a number of views of the canary."""

    signal: Signal = "logit"
    """What is read from a model's logits about a canary; `logit` is what the papers' attacks read."""
    queries: PositiveInt = 1
    """1 for the plain image, or the number of all views."""
