"""The operations that workers compute, with their parameters: one frozen dataclass each.

All fields here but those with `compare=False` enter a task's id, with the ids of the tasks that it needs. `revision` is raised by
hand when the numbers that an operation gives change; whatever does not change numbers (device, batching, logging) is not here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, is_dataclass
from typing import ClassVar, Literal

from compiler.language.audit import Attack, CanaryGroup, Design, Headline, Interval, Queries, ReleaseLevel, Strategy
from compiler.language.base import Frozen, Generator, Method
from compiler.language.claims import Margins, Stratum, TestName
from compiler.language.classifier import Recipe
from compiler.language.datasets import CARDS, Card, Shape, used_at
from compiler.language.methods.baselines import Privacy
from compiler.language.methods.imported import ImportedSets
from compiler.language.plugins import PluginData
from compiler.language.study import ARMS
from compiler.work import TaskKind


@dataclass(frozen=True)
class UserFiles:
    """Path of the user's image files, and their card."""

    path: str
    """Absolute."""
    card: Card


@dataclass(frozen=True)
class PluginImages:
    """Images that a plug-in reads or generates: the plug-in's parameters in the spec (`words`), and the card of its images."""

    words: PluginData
    card: Card


@dataclass(frozen=True)
class Dataset:
    """Images identified by their content, not by paths and dates: the digest is of a known set's arrays, of the bytes of a user's
    files, or of the parameters, revision and card of a plug-in's data set."""

    name: str
    digest: str
    subset: int | None
    test: int | None
    """Number of images set aside for testing; None means the official split."""
    shape: Shape
    """Size at which the images are used; `shapes` is generated at any size, other public sets are resized."""
    source: UserFiles | PluginImages | None = field(default=None, compare=False)
    """For the user's own files and for plugins. Not part of the identity, since it follows from the digest."""
    validation: int | None = None
    """Number of images set aside to choose settings by; None for none."""
    judged_on: Literal["validation"] | None = None
    """Whether accuracy is measured on the validation images instead of the test images."""

    later: ClassVar[tuple[str, ...]] = ("validation", "judged_on")

    @property
    def card(self) -> Card:
        """The card of the images at the size at which they are used. KeyError for an unknown name."""
        return used_at(self.source.card if self.source else CARDS[self.name], self.shape)


@dataclass(frozen=True)
class Population:
    """Parameters that determine a trial's samples by role: canaries, z pool, test set and fixed training images. The same for all
    shadows and replicates, and for all arms that do not change the canaries or the z pool; adding a group at the end of `groups`
    leaves the earlier ones as they are."""

    dataset: Dataset
    public: Dataset | None
    seed: int
    groups: tuple[tuple[str, CanaryGroup], ...]
    z_pool: int


@dataclass(frozen=True)
class Private:
    """The private set of one shadow of one replicate."""

    population: Population
    design: Design
    replicate: int
    shadow: int
    shadows: int | None
    """Only `balanced` membership depends on how many shadows there are; None elsewhere, so that a pool can grow."""


class Operation:
    """Base class of operations."""

    kind: ClassVar[TaskKind]
    revision: ClassVar[int] = 1
    """Raised by hand when the operation's numbers change; part of the id."""


@dataclass(frozen=True)
class TrainClassifier(Operation):
    """Train the recipe's net on the private set, or on the set of the need `set`, optionally with DP-SGD."""

    private: Private
    recipe: Recipe
    iterations: int
    """Number of training steps, the same for every shadow and size of set."""
    privacy: Privacy | None = None
    dynamics: bool = False
    """Also log correctness, margin and error norm of every sample in every epoch (file `dynamics`)."""
    purpose: str = "classifier"
    """Enters the seeds: a proxy and a classifier of the same recipe have other purposes, so other seeds and ids."""

    kind = "train"
    revision = 3  # DP-SGD adds up its gradients in larger parts; ConvNets have biases and pad 28×28


@dataclass(frozen=True)
class TrainShared(Operation):
    """Make the base of all shadows' generators from public data or a user's model, so that it does not depend on membership."""

    public: Dataset | None
    """The public set, at the shape of the private images; None where the base is a user's model."""
    shape: Shape
    classes: int
    """Number of classes of the private images."""
    seed: int
    how: Generator
    """`shared` of the generator's words."""
    path: str = field(default="", compare=False)
    """Absolute path of a user's model; no part of the id."""

    kind = "train"


@dataclass(frozen=True)
class TrainGenerator(Operation):
    """Train a generator or a pool of experts on the private set, for several synthesize tasks to use; training starts from the need
    `base`, if `how` describes one."""

    private: Private
    how: Generator
    """The part of a method's parameters that the generator depends on; its class carries a `revision`."""

    kind = "train"
    revision = 2


@dataclass(frozen=True)
class Synthesize(Operation):
    """Make a synthetic set (or a student) from the private set and the needs `proxy`, `teacher`, `base`, `generator`."""

    private: Private
    how: Method
    """The method and its parameters; its class carries a `revision`."""
    recipe: Recipe
    """The classifier's: nets and normalisation that a method may imitate; data-free distillation trains a student of it."""
    iterations: int

    kind = "synthesize"
    revision = 2


@dataclass(frozen=True)
class ImportSet(Operation):
    """Import a user's synthetic set for this shadow; the artifact has the same files as that of `Synthesize`."""

    private: Private
    how: ImportedSets
    digest: str
    """Of the file's bytes."""
    path: str = field(default="", compare=False)
    """Absolute path; no part of the id."""

    kind = "synthesize"


@dataclass(frozen=True)
class ImportLogits(Operation):
    """Import the logits of a user's classifier for this shadow; the artifact has the same files as that of `QueryClassifier`."""

    private: Private
    queries: Queries
    digest: str
    path: str = field(default="", compare=False)

    kind = "query"
    revision = 2  # says of each test image whether it is right


@dataclass(frozen=True)
class QueryClassifier(Operation):
    """Logits of the need `model` on every view of every canary and z sample, and whether its prediction for each test image is
    correct, in eval mode."""

    private: Private
    recipe: Recipe
    queries: Queries

    kind = "query"
    revision = 2  # says of each test image whether it is right


@dataclass(frozen=True)
class QuerySet(Operation):
    """For every canary: distance, in pixels and in features, to the nearest image of the need `set`, and that image; if the images
    of the set are or began as private ones, also whether one is or began as the canary."""

    private: Private
    queries: Queries
    """Views of each canary, of which the nearest to an image is measured as well; of one view there is nothing more to measure."""

    kind = "query"
    revision = 3  # the nearest image is found by a matrix product


@dataclass(frozen=True)
class QueryGenerator(Operation):
    """Signals of the denoiser of the need `generator` (with the need `base`, if any) on every canary, with noise common to all
    shadows."""

    private: Private
    how: Generator
    signals: tuple[str, ...] = ("mean_loss",)
    """Sorted."""
    base: bool = False
    """Whether the base is queried too."""

    kind = "query"
    revision = 2  # several signals


@dataclass(frozen=True)
class AttackTrial(Operation):
    """All attacks on one trial: leave-one-out over its pool, every canary group, every release level that was queried.

    Needs `model/<shadow>` (whose metrics give accuracy and cost), `final_model/<shadow>`, and where they exist
    `synthesize/<shadow>`, `teacher/<shadow>`, `synthetic_set/<shadow>`, `generator/<shadow>`.
    """

    population: Population
    design: Design
    replicate: int
    shadows: int
    queries: Queries
    attacks: tuple[Attack, ...]
    fpr: tuple[float, ...]
    headline: Headline
    resamples: int
    interval: Interval
    null_permutations: int
    confidence: float
    delta: float
    thresholds: Strategy
    target: int

    kind = "attack"
    revision = 5  # accuracy on log odds


@dataclass(frozen=True)
class Reading:
    """The attack with its variant, release level, canaries and stratum that a claim reads of a trial."""

    attack: str
    variant: str
    release: ReleaseLevel
    canaries: str
    stratum: Stratum | None
    """Stratum of members; None for all."""


@dataclass(frozen=True)
class CompareTrials(Operation):
    """Test a claim on pairs of left and right trials with the same draws for both, or on left trials alone.

    Needs `left/<i>` and, where trials are compared with others, `right/<j>`: the `AttackTrial` tasks of the trials.
    """

    test: TestName
    metric: str
    against: str | None
    over: Literal["canaries", "events"]
    left: Reading
    right: Reading
    margin: float
    match: Literal["test_accuracy", "leakage"]
    tolerance: float
    margins: Margins
    pairs: Literal["all", "any", "none"]
    fpr: float
    resamples: int
    confidence: float
    seed: int

    kind = "compare"
    revision = 5  # an accuracy alone on log odds


@dataclass(frozen=True)
class AuditSettings:
    """Settings of the audit of a user's file, declared before the file is read."""

    tried: tuple[str, ...] = ()
    """Names of attacks; empty for all that apply."""
    fpr: tuple[str, ...] = ("0.001", "0.01", "0.1")
    """False-positive rates, as written."""
    membership: str = "auto"
    """Membership design: as in a study, or `auto`, inferred from its structure."""
    signal: str = "logit"
    """Signal that is read from logits: logit or hinge."""
    variant: str = "pooled"
    """LiRA's variance: pooled, per_example, student_t."""
    views: int | None = None
    """Number of the file's views to use, the first ones; None for all."""
    confidence: float = 0.95
    delta: float = 1e-5
    guesses: tuple[int, int] | None = None
    """Numbers of samples to guess to be members and non-members; None for a quarter each."""
    thresholds: Strategy = "preset"
    one_run: bool = False
    """Whether the user declares that the one model's members were drawn by fair coins."""
    resamples: int | None = None
    """Of the bootstrap; None for as many as `runtime.audit.external.audit_file` allows, from 100 to 1000."""
    interval: Interval = "two_way"
    """What a resample draws; two-way, as a study's headline, since any figure of a file may become one."""
    null_permutations: int | None = None
    """Of the null control; None for as many as `runtime.audit.external.audit_file` allows, from 10 to 100."""


@dataclass(frozen=True)
class AuditFile(AuditSettings, Operation):
    """The audit of a user's file."""

    digest: str = ""
    """Of the arrays: a file's name, path and date never matter."""

    kind = "attack"
    revision = 6  # infinite scores: doubts hold, and none reaches a threshold that is missing


@dataclass(frozen=True)
class JudgeSet(Operation):
    """The judgement of one released set by its members and a holdout."""

    released: str
    """Content digest, like the others: of images and names of classes, in any order."""
    members: str
    holdout: str
    test: str
    """"" without a test set; then use is not measured."""
    public: str
    """"" for the drawn shapes."""
    policy: str
    """Digest of the conditions."""

    kind = "attack"


@dataclass(frozen=True)
class Rehearsal(Operation):
    """Sleep for `seconds` and end as `ending` states, for tests and benchmarks of the runtime."""

    label: str
    seconds: float = 0.0
    ending: Literal[
        "done", "exception", "diverged", "out_of_memory", "crash", "crash once", "exit", "interrupt", "disk elsewhere"
    ] = "done"

    kind = "train"


Imports = ImportSet | ImportLogits
Train = TrainClassifier | TrainShared | TrainGenerator
Query = QueryClassifier | QuerySet | QueryGenerator
Work = Train | Synthesize | Imports | Query | AttackTrial | AuditFile | JudgeSet | CompareTrials | Rehearsal


def structures() -> dict[str, type]:
    """Name → class, of all classes that a task's canonical text can name (see `compiler.fingerprint.restore`), and others: `Frozen`
    and every subclass, those of loaded plug-ins included, and the dataclasses known to this module."""

    def below(kind: type[Frozen]) -> Iterator[type[Frozen]]:
        yield kind
        for child in kind.__subclasses__():
            yield from below(child)

    works = [kind for kind in globals().values() if isinstance(kind, type) and is_dataclass(kind)]
    return {kind.__name__: kind for kind in (*below(Frozen), *ARMS, *works)}
