"""A study: the whole of one YAML file once composed, and a trial: one fully decided point of it."""

from collections import Counter
from typing import Annotated

from pydantic import Field, field_validator

from compiler.language.allow import LintCode, Reason
from compiler.language.audit import Audit
from compiler.language.base import Frozen
from compiler.language.charts import Chart
from compiler.language.classifier import Recipe
from compiler.language.data import Data
from compiler.language.methods.baselines import DpSgd, Undefended
from compiler.language.methods.coreset import Coreset
from compiler.language.methods.data_free_kd import DataFreeKd
from compiler.language.methods.diffusion import Diffusion
from compiler.language.methods.distillation import Distillation
from compiler.language.methods.imported import Imported
from compiler.language.plugins import OrPlugin, PluginMethod

KnownArm = Annotated[
    Undefended | DpSgd | Coreset | Distillation | DataFreeKd | Diffusion | Imported, Field(discriminator="paradigm")
]
Arm = Annotated[KnownArm | PluginMethod, OrPlugin("method", KnownArm)]


class Header(Frozen):
    """What a study says once, for all its arms."""

    study: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Name of the study: the key of its rows in the database."""
    question: str = ""
    """What the study wants to know, in a sentence."""
    seed: int = Field(default=0, ge=0)
    """Canaries, membership, splits and training all follow from it."""
    replicates: int = Field(default=1, gt=0)
    """Repetitions of every trial with other training seeds and other orientations of membership, the same canaries."""
    accuracy_margin: float = Field(default=0.02, ge=0, lt=1)
    """DP-SGD that is less accurate by no more than this is a baseline of matched accuracy (lints L01 and L02, after the run)."""
    allow: dict[LintCode, Reason] = Field(default_factory=dict)
    """Lints that this study goes on without heeding, each with the reason, which is kept beside the results:
    `allow: {L04: "…"}`. `synthc check --explain L04` says what a lint is about."""
    charts: tuple[Chart, ...] = ()
    """What a run draws when it ends, into `figures/STUDY/` beside the database:
    `charts: [tradeoff, {chart: roc, of: {arm: coreset}}]`."""

    @field_validator("charts")
    @classmethod
    def _have_files_of_their_own(cls, charts: tuple[Chart, ...]) -> tuple[Chart, ...]:
        twice = [stem for stem, count in Counter(chart.stem for chart in charts).items() if count > 1]
        if twice:
            raise ValueError(f"two charts are called {twice[0]!r}: give one of them a `name`")
        return charts


class Point(Frozen):
    """One fully decided point of a study: what a trial's tree must say."""

    data: Data
    public: Data | None = None
    """An out-of-distribution set that anyone may have: `init: public`, `ood` canaries."""
    audit: Audit
    classifier: Recipe = Field(default_factory=Recipe)
    arm: Arm


class Trial(Frozen):
    """Arm × grid coordinates × replicate."""

    study: str
    seed: int
    arm_name: str
    axes: tuple[tuple[str, str | int | float | bool | None], ...]
    """Grid coordinates in the order of the spec, by the shortest path that tells them apart, such as `fraction`."""
    replicate: int
    point: Point

    @property
    def address(self) -> str:
        """`coreset[method=forgetting,fraction=0.1]#0`: unique in its study, readable, never hashed."""
        axes = ",".join(f"{name}={value}" for name, value in self.axes)
        return f"{self.arm_name}[{axes}]#{self.replicate}" if axes else f"{self.arm_name}#{self.replicate}"
