"""`claims:` hypotheses, and the selectors that choose their trials."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from compiler.fingerprint import fingerprint
from compiler.language.audit import ReleaseLevel
from compiler.language.base import Frozen

Word = str | int | float | bool | None
Selector = dict[str, Word | tuple[Word, ...]]
"""Which trials: a value, or a list of values, for each word."""

Stratum = Literal["used", "unused", "copied", "not_copied"]
"""used: members that are the origin of some image of the set (selected, or where a learned image began). copied: members with an
image nearer than all but the headline's FPR of the non-members have."""

TestName = Literal["difference", "ratio", "equivalence", "matched", "dominance", "correlation"]


class Side(Frozen):
    """Canaries, stratum and release level measured on one side of a claim, where they differ from the headline's."""

    canaries: str | None = None
    """Name of a canary group; null: the headline's."""
    stratum: Stratum | None = None
    """Only members that were used in the set, or that have a copy in it, or only the others; null: all."""
    release: ReleaseLevel | None = None
    """Release level; null: the headline's."""


class Margins(Frozen):
    """By how much a dominating trial may be worse in each measure. At zero, a trial could not be shown to be no worse than one
    with the same true values, such as two that leak nothing."""

    leakage: NonNegativeFloat = 0.02
    """Difference of true-positive rates."""
    test_accuracy: NonNegativeFloat = 0.02
    """Difference of accuracies."""
    cost: float = Field(default=1.1, ge=1)
    """Times as much counted work: images that went through nets × what an image takes, synthesis included."""


class EarlierVerdict(Frozen):
    """An earlier verdict on a claim of this name that no run in the store has recorded."""

    run: str
    """Which run, or which version of the study: a commit, a paper."""
    verdict: Literal["supported", "refuted", "undecided"]
    """What it was then."""
    effect: float | None = None
    """The effect that decided, in units of the claim's metric; null: not known."""
    low: float | None = None
    """Lower end of its interval; null: not known."""
    high: float | None = None
    """Upper end of its interval; null: not known."""


class Claim(Frozen):
    """One hypothesis. `left` and `right` select trials by field values, such as `{arm: coreset, method: forgetting}`."""

    text: str
    """The hypothesis, in a sentence."""
    test: TestName
    """difference: left − right > margin; left > margin where there is no `right`. ratio: left / right > margin.
    equivalence: |left − right| < margin. matched: the difference, between trials that are shown to be alike in `match`.
    dominance: left is nowhere worse than its `margins` allow, and better in leakage, accuracy or counted cost.
    correlation: of `metric` with `against`: rank correlation > margin."""
    metric: str = "leakage"
    """`leakage` (the headline), `auc`, `tpr@fpr=0.1`, or any figure with a value for each shadow: `test_accuracy`, `seconds`,
    `flops`, `canary_share_selected`, … For a correlation: an attack of the study, as in `lira`."""
    against: str | None = None
    """For a correlation: the other attack, such as `nearest`."""
    over: Literal["canaries", "events"] = "events"
    """What a correlation is over. events: scores of the members of each shadow, ranked within it. canaries: each one's mean score
    as a member minus that as a non-member; its reliability from shadow to shadow bounds the correlation that can be seen."""
    left: Selector
    """Which trials: a value, or a list of values, for each word. Words are arm, paradigm, method, replicate, axes, and fields
    of arms; canaries, stratum and release say what is read of them. A control is chosen by its `arm` or by `control` alone."""
    right: Selector = Field(default_factory=dict)
    """As `left`; a correlation has none, and a difference without it is from zero."""
    margin: float = 0.0
    """By how much (in units of the metric) before it counts."""
    match: Literal["test_accuracy", "leakage"] = "test_accuracy"
    """For `matched`: in what the trials should be alike."""
    tolerance: PositiveFloat = 0.02
    """How unlike matched trials may be: that they are no more unlike is tested (two one-sided tests)."""
    margins: Margins = Field(default_factory=Margins)
    """For `dominance`."""
    pairs: Literal["all", "any", "none"] = "all"
    """Of how many pairs the claim is made. Each left trial is compared with each right one; where both sides choose the same trials
    and read them differently (other canaries, another stratum), each with itself."""

    earlier: tuple[EarlierVerdict, ...] = ()
    """Every verdict that was known when the claim was written, opposite ones included: shown beside the new one."""

    @property
    def words(self) -> str:
        """Digest of the claim's fields as the spec sets them, without `earlier`; it changes when the claim is reworded."""
        return fingerprint("claim", self.model_dump(exclude_unset=True, exclude={"earlier"}))

    def faults(self) -> Iterator[str]:
        if self.test == "correlation":
            if self.against is None or self.right:
                yield "a correlation has `against`, the other attack, and no `right`"
        elif not self.right and self.test != "difference":
            yield f"the test {self.test} needs `right`: the trials to compare with"
        if self.test == "equivalence" and self.margin <= 0:
            yield "an equivalence needs a `margin` above 0: nothing is exactly equal"
        if self.test == "ratio" and self.margin <= 0:
            yield "a ratio needs a `margin` above 0, such as 1"
