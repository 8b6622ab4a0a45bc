"""`claims:` hypotheses written down before the data exist, and the selectors that say which trials they are about."""

from typing import Literal, Self

from pydantic import Field, model_validator

from compiler.fingerprint import fingerprint
from compiler.language.audit import ReleaseLevel
from compiler.language.base import Frozen

Word = str | int | float | bool | None
"""One value of a selector."""

Stratum = Literal["used", "unused"]
"""Members that are the origin of some image of the set (selected, or where a learned image began), or members that are not."""

TestName = Literal["difference", "ratio", "equivalence", "matched", "dominance", "correlation"]

LEAKAGE = ("leakage", "auc", "tpr")
"""Metrics that are read from scores: the headline's TPR, the area under its ROC, the TPR at another rate (`tpr@fpr=0.1`)."""


class Side(Frozen):
    """What is read of the trials on one side of a claim, where it is not what the headline reads."""

    canaries: str | None = None
    """Name of a canary group; null: the headline's."""
    stratum: Stratum | None = None
    """Only members that were used in the set, or only those that were not; null: all."""
    release: ReleaseLevel | None = None
    """Release level; null: the headline's."""


class EarlierVerdict(Frozen):
    """What a claim of this name was found to be before, where no run in the store knows it."""

    run: str
    """Which run, or which version of the study: a commit, a paper."""
    verdict: Literal["supported", "refuted", "undecided"]
    effect: float | None = None
    low: float | None = None
    high: float | None = None


class Claim(Frozen):
    """One hypothesis. Left and right choose trials by typed words, such as `{arm: coreset, method: forgetting}`."""

    text: str
    """The hypothesis, in a sentence."""
    test: TestName
    """difference: left − right > margin. ratio: left / right > margin. equivalence: |left − right| < margin.
    matched: the difference, between each left trial and the right one that is most like it in `match`.
    dominance: left leaks less, is no less accurate (by more than `tolerance`) and costs no more.
    correlation: over canaries, of `metric` with `against`: rank correlation > margin."""
    metric: str = "leakage"
    """`leakage` (the headline), `auc`, `tpr@fpr=0.1`, or any figure with a value for each shadow: `test_accuracy`, `seconds`,
    `canary_share_selected`, … For a correlation: an attack of the study, as in `lira`."""
    against: str | None = None
    """For a correlation: the other attack, such as `nearest`."""
    left: dict[str, Word | tuple[Word, ...]]
    """Which trials: a value, or a list of values, for each word. Words are arm, paradigm, method, replicate, axes, and fields
    of arms; canaries, stratum and release say what is read of them."""
    right: dict[str, Word | tuple[Word, ...]] = Field(default_factory=dict)
    """As `left`; a correlation has none."""
    margin: float = 0.0
    """By how much (in units of the metric) before it counts."""
    match: Literal["test_accuracy", "leakage"] = "test_accuracy"
    """For `matched`: in what the trials should be alike."""
    tolerance: float = Field(default=0.02, ge=0)
    """How unlike a matched trial may be, or how much less accurate a dominating one."""
    pairs: Literal["all", "any", "none"] = "all"
    """Of how many pairs the claim is made. Each left trial is compared with each right one; where both sides choose the same trials
    and read them differently (other canaries, another stratum), each with itself."""

    earlier: tuple[EarlierVerdict, ...] = ()
    """Every verdict that was known when these words were written, the opposite ones too: told beside the new one."""

    @property
    def words(self) -> str:
        """Digest of what is claimed, as it is written."""
        return fingerprint("claim", self.model_dump(exclude_unset=True, exclude={"earlier"}))

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.test == "correlation":
            if self.against is None or self.right:
                raise ValueError("a correlation has `against`, the other attack, and no `right`")
        elif not self.right:
            raise ValueError(f"the test {self.test} needs `right`: the trials to compare with")
        if self.test == "equivalence" and self.margin <= 0:
            raise ValueError("an equivalence needs a `margin` above 0: nothing is exactly equal")
        if self.test == "ratio" and self.margin <= 0:
            raise ValueError("a ratio needs a `margin` above 0, such as 1")
        return self
