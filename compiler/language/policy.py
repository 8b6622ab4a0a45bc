"""`policy:` conditions under which a set, or what a study audits, may be released. Typed, no expressions."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, PositiveFloat

from compiler.language.base import Frozen
from compiler.language.claims import Selector

JUDGED = {
    "copied_members": "members in the list; low: the lower bound on how many are copied",
    "identical_members": "images of members that are in the set pixel by pixel",
    "identical_holdout": "images of the holdout that are in the set pixel by pixel: then it was not set aside",
    "phantoms": "holdout units as near as the listed members",
    "p_value": "of the test that members are no nearer to the set than the holdout is",
    "auc": "area under the curve by which nearness tells members from the holdout",
    "tpr@fpr=0.01": "members caught at one false alarm in a hundred",
    "tpr@fpr=0.1": "members caught at one false alarm in ten",
    "epsilon_lower": "epsilon below this is ruled out; needs a split by coins",
    "detectable_share": "the smallest share of copied members that this holdout detects with a power of 80 %",
    "use.accuracy": "of a classifier trained on the set, on the test set",
    "use.accuracy_of_as_many": "of one trained on as many members",
    "use.accuracy_of_members": "of one trained on all members",
    "use.covered": "share of real images with a synthetic one near by",
    "use.plausible": "share of synthetic images with a real one near by",
}
"""What `synthc judge` measures."""
STUDIED = {
    "leakage": "the headline",
    "auc": "area under the curve of the headline's attack",
    "test_accuracy": "of the released classifier, mean over shadows",
    "epsilon": "the accountant's, for DP-SGD",
    "seconds": "of a shadow's pipeline",
}
"""What a study measures of each trial."""
METRICS = JUDGED | STUDIED


class Share(Frozen):
    """A limit given as a share of another figure."""

    share: PositiveFloat
    """How much of it, such as 0.8."""
    of: str
    """Name of the other figure."""


class Condition(Frozen):
    """An upper or lower limit on a figure, or on an end of its interval.

    A missing figure, or one without such an end, closes the policy: the set is not released.
    """

    metric: str
    """Of `synthc judge`: copied_members, identical_members, identical_holdout, phantoms, p_value, auc, tpr@fpr=0.01, tpr@fpr=0.1,
    epsilon_lower, detectable_share, use.accuracy, use.accuracy_of_as_many, use.accuracy_of_members, use.covered, use.plausible.
    Of a study's trials: leakage, auc, test_accuracy, epsilon, seconds."""
    end: Literal["value", "low", "high"] = "value"
    """What is compared with the limit: the value, or the lower or upper end of its interval."""
    at_most: float | Share | None = None
    """A number, or `{share: 0.8, of: use.accuracy_of_members}`."""
    at_least: float | Share | None = None
    """A number, or `{share: 0.8, of: use.accuracy_of_members}`."""
    trials: Selector = Field(default_factory=dict)
    """Of a study: which trials it is about, by the words of claims: `{arm: coreset}`; empty: all."""

    def faults(self) -> Iterator[str]:
        if (self.at_most is None) == (self.at_least is None):
            yield "a condition has one limit: `at_most` or `at_least`"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the figures that the condition reads: its metric and, for a share, the other figure."""
        limit = self.at_least if self.at_most is None else self.at_most
        return (self.metric, limit.of) if isinstance(limit, Share) else (self.metric,)

    def __str__(self) -> str:
        limit = self.at_least if self.at_most is None else self.at_most
        said = f"{limit.share:g} × {limit.of}" if isinstance(limit, Share) else f"{limit:g}"
        which = "" if self.end == "value" else f" ({self.end})"
        about = f" of {', '.join(f'{word}={value}' for word, value in self.trials.items())}" if self.trials else ""
        return f"{self.metric}{which}{about} {'at least' if self.at_most is None else 'at most'} {said}"


def default_policy() -> tuple[Condition, ...]:
    """The policy of `synthc judge` where none is given."""
    return (
        Condition(metric="copied_members", at_most=0),
        Condition(metric="copied_members", end="low", at_most=0),
        Condition(metric="identical_members", at_most=0),
        Condition(metric="p_value", at_least=0.05),
    )
