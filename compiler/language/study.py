"""A study as composed from its YAML file, and a trial: one point of it with every parameter resolved."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from compiler.language.allow import LintCode, Reason
from compiler.language.audit import Audit
from compiler.language.base import Arm, BelowOne, Frozen, words_in
from compiler.language.charts import Chart
from compiler.language.classifier import Recipe
from compiler.language.data import Data, Tune
from compiler.language.plugins import OrPlugin, PluginMethod
from compiler.language.policy import Condition

ARMS = words_in("compiler.language.methods", Arm, "paradigm", "method")


def _discriminated_union(arms: Iterable[type[Arm]]) -> Any:
    """The union of these arms, discriminated by `paradigm`, and within a paradigm by `method`."""
    families: dict[str, list[type[Arm]]] = {}
    for arm in arms:
        for paradigm in get_args(arm.model_fields["paradigm"].annotation):
            families.setdefault(paradigm, []).append(arm)
    members = [
        Annotated[Union[tuple(family)], Field(discriminator="method")] if len(family) > 1 else family[0]  # noqa: UP007
        for family in families.values()
    ]
    return Annotated[Union[tuple(members)], Field(discriminator="paradigm")]  # noqa: UP007 (made at run time)


if TYPE_CHECKING:
    AnyArm = Arm
else:
    AnyArm = Annotated[(known := _discriminated_union(ARMS)) | PluginMethod, OrPlugin("method", known)]


class Header(Frozen):
    """Fields of a study that apply to all its arms."""

    study: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)
    """Name of the study: the key of its rows in the database."""
    question: str = ""
    """What the study wants to know, in a sentence."""
    evidence: Literal["exploratory", "confirmatory"] | None = None
    """exploratory: its questions were asked of these data before. confirmatory: claims and settings stand before any outcome, and
    lint L27 says where they do not. null: nothing is said."""
    seed: NonNegativeInt = 0
    """Canaries, membership, splits and training all follow from it."""
    replicates: PositiveInt = 1
    """Repetitions of every trial with other training seeds and other orientations of membership, the same canaries."""
    accuracy_margin: BelowOne = 0.02
    """DP-SGD that is less accurate by no more than this is a baseline of matched accuracy (lints L01 and L02, after the run)."""
    allow: dict[LintCode, Reason] = Field(default_factory=dict)
    """Lints that this study goes on without heeding, each with the reason, which is kept beside the results:
    `allow: {L04: "…"}`. `synthc check --explain L04` says what a lint is about."""
    policy: tuple[Condition, ...] = ()
    """Conditions under which what is audited may be released, about each trial:
    `[{metric: leakage, end: high, at_most: 0.02}]`. A run of which one does not hold, or cannot be read, exits with 3."""
    tune: Tune | None = None
    """What `synthc tune` tries for each arm, on validation images; nothing of it is run with the study."""
    charts: tuple[Chart, ...] = ()
    """What a run draws when it ends, into `figures/STUDY/` beside the database:
    `charts: [tradeoff, {chart: roc, of: {arm: coreset}}]`."""

    @field_validator("charts")
    @classmethod
    def _have_files_of_their_own(cls, charts: tuple[Chart, ...]) -> tuple[Chart, ...]:
        """The charts unchanged; ValueError where two would write the same files (names that differ by case are one file on some
        systems), or show the same under two names."""
        for place, chart in enumerate(charts):
            for other in charts[:place]:
                if chart.stem.casefold() == other.stem.casefold():
                    both = repr(chart.stem) if chart.stem == other.stem else f"{other.stem!r} and {chart.stem!r}, one file"
                    raise ValueError(f"two charts are called {both}: give one of them a `name`")
                if chart.model_copy(update={"name": None}) == other.model_copy(update={"name": None}):
                    raise ValueError(f"the charts {other.stem!r} and {chart.stem!r} are the same; drop one of them")
        return charts


class Point(Frozen):
    """One point of a study with every parameter resolved."""

    data: Data
    """The images whose privacy is in question."""
    public: Data | None = None
    """An out-of-distribution set that anyone may have: `init: public`, `ood` canaries."""
    audit: Audit
    """How leakage is measured."""
    classifier: Recipe = Field(default_factory=Recipe)
    """The net that is trained, and how."""
    arm: AnyArm


class Trial(Frozen):
    """One arm at one point of its grids, in one replicate."""

    study: str
    """Name of the study."""
    seed: int
    """Of the study."""
    arm_name: str
    """What the study calls the arm."""
    axes: tuple[tuple[str, str | int | float | bool | None], ...]
    """Grid coordinates in the order of the spec, by the shortest path that tells them apart, such as `fraction`."""
    replicate: int
    """Counted from 0."""
    point: Point
    """All that is decided."""

    @property
    def address(self) -> str:
        """Name of the trial, unique in its study and in no id: `coreset[method=forgetting,fraction=0.1]#0`."""
        axes = ",".join(f"{name}={value}" for name, value in self.axes)
        return f"{self.arm_name}[{axes}]#{self.replicate}" if axes else f"{self.arm_name}#{self.replicate}"
