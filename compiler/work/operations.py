"""What a worker can compute: frozen dataclasses, one per operation.

Everything here enters a task's id, together with the ids of what the task needs. `revision` is raised by hand when the
numbers that an operation gives change; whatever does not change numbers (device, batching, logging) is not here.
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
    """Where the user's image files lie, and their card."""

    path: str
    """Absolute."""
    card: Card


@dataclass(frozen=True)
class PluginImages:
    """Images that a plugin reads or draws."""

    words: PluginData
    card: Card


@dataclass(frozen=True)
class Dataset:
    """Images by content: the digest is of the arrays, so a path or a file's date never matters. For a
    plugin data set the digest covers its parameters, its revision and its card instead of the pixels."""

    name: str
    digest: str
    subset: int | None
    test: int | None
    """Images set aside for testing; None means the official split."""
    shape: Shape
    """At which the images are used; `shapes` is drawn at any size, other public sets are resized to it."""
    source: UserFiles | PluginImages | None = field(default=None, compare=False)
    """For the user's own files and for plugins. Not part of the identity, since it follows from the digest."""
    validation: int | None = None
    """Images set aside to choose settings by."""
    judged_on: Literal["validation"] | None = None
    """Whether accuracy is measured on those, and not on the test images."""

    later: ClassVar[tuple[str, ...]] = ("validation", "judged_on")

    @property
    def card(self) -> Card:
        """What may be known of the images without loading them, at the size at which they are used."""
        return used_at(self.source.card if self.source else CARDS[self.name], self.shape)


@dataclass(frozen=True)
class Population:
    """All samples of a study, by role: canaries, z pool, test set and fixed training images. The same for all shadows,
    replicates and arms; adding a group at the end of `groups` leaves the earlier ones as they are."""

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
    """What every operation says of itself."""

    kind: ClassVar[TaskKind]
    revision: ClassVar[int] = 1
    """Raised by hand when the numbers that it gives change."""


@dataclass(frozen=True)
class TrainClassifier(Operation):
    """Train the recipe's net on the private set, or on the set of the need `set`, optionally with DP-SGD."""

    private: Private
    recipe: Recipe
    iterations: int
    """The same for every arm, shadow and size of set."""
    privacy: Privacy | None = None
    dynamics: bool = False
    """Also keep correctness, margin and error norm of every sample at every presentation (file `dynamics`)."""
    purpose: str = "classifier"
    """Names the seeds: a proxy and a classifier of equal recipe and purpose are the same task."""

    kind = "train"
    revision = 3  # DP-SGD adds up its gradients in larger parts; ConvNets have biases and pad 28×28


@dataclass(frozen=True)
class TrainShared(Operation):
    """Make what the generators of all shadows begin from: of public data alone, so that it holds nothing of a membership."""

    public: Dataset | None
    """At the shape of the private images; None where it was made elsewhere."""
    shape: Shape
    classes: int
    """Of the private images."""
    seed: int
    how: Generator
    """`shared` of the generator's words."""
    path: str = field(default="", compare=False)
    """Of what was made elsewhere, absolute; where it lies never matters."""

    kind = "train"


@dataclass(frozen=True)
class TrainGenerator(Operation):
    """Train a generator or a pool of experts on the private set, for several synthesize tasks to use; it begins from the need
    `base`, if its words describe one."""

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
    """Take in the set that was made elsewhere for this shadow: the same files as `Synthesize` leaves."""

    private: Private
    how: ImportedSets
    digest: str
    """Of the file's bytes."""
    path: str = field(default="", compare=False)
    """Absolute; where it lies never matters."""

    kind = "synthesize"


@dataclass(frozen=True)
class ImportLogits(Operation):
    """Take in the logits of this shadow's classifier, which was trained elsewhere: the same file as `QueryClassifier` leaves."""

    private: Private
    queries: Queries
    digest: str
    path: str = field(default="", compare=False)

    kind = "query"
    revision = 2  # says of each test image whether it is right


@dataclass(frozen=True)
class QueryClassifier(Operation):
    """Logits of the need `model` on every view of every canary and z sample, in eval mode."""

    private: Private
    recipe: Recipe
    queries: Queries

    kind = "query"
    revision = 2  # says of each test image whether it is right


@dataclass(frozen=True)
class QuerySet(Operation):
    """What the set of the need `set` reveals of every canary: distance to the nearest image, exact membership."""

    private: Private
    queries: Queries
    """Views of each canary, of which the nearest to an image is measured as well; of one view there is nothing more to measure."""

    kind = "query"
    revision = 3  # the nearest image is found by a matrix product


@dataclass(frozen=True)
class QueryGenerator(Operation):
    """What the need `generator` (on top of the need `base`, if any) says of every canary, with noise common to all shadows."""

    private: Private
    how: Generator
    signals: tuple[str, ...] = ("mean_loss",)
    """Sorted."""
    base: bool = False
    """Whether the base is asked too."""

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
    """Which column of a trial's scores is read, and for which canaries."""

    attack: str
    variant: str
    release: ReleaseLevel
    canaries: str
    stratum: Stratum | None
    """Which members; None: all."""


@dataclass(frozen=True)
class CompareTrials(Operation):
    """A claim: pairs of left and right trials, tested with the same draws for both.

    Needs `left/<i>` and, where trials are compared with others, `right/<j>`: attacks of the trials.
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
    """How a file about models that were trained elsewhere is audited: declared before it is opened."""

    tried: tuple[str, ...] = ()
    """Names of attacks; empty for all that apply."""
    fpr: tuple[str, ...] = ("0.001", "0.01", "0.1")
    """False-positive rates, as written."""
    membership: str = "auto"
    """How it was drawn: as in a study, or auto, as it looks."""
    signal: str = "logit"
    """Read from logits: logit or hinge."""
    variant: str = "pooled"
    """LiRA's spread: pooled, per_example, student_t."""
    views: int | None = None
    """How many of the file's views to use, the first ones; None for all."""
    confidence: float = 0.95
    delta: float = 1e-5
    guesses: tuple[int, int] | None = None
    """How many samples to call members and non-members; None for a quarter each."""
    thresholds: Strategy = "preset"
    one_run: bool = False
    """Whether the caller says that the one model's members were drawn by fair coins."""
    resamples: int | None = None
    """Of the bootstrap; None for as many as `runtime.audit.external.audit_file` allows, from 100 to 1000."""
    interval: Interval = "two_way"
    """What a resample draws; two-way, as a study's headline, since any figure of a file may become one."""
    null_permutations: int | None = None
    """Of the null control; None for as many as `runtime.audit.external.audit_file` allows, from 10 to 100."""


@dataclass(frozen=True)
class AuditFile(AuditSettings, Operation):
    """All that applies of attacks and statistics on such a file."""

    digest: str = ""
    """Of the arrays: a file's name, path and date never matter."""

    kind = "attack"
    revision = 4  # one rule for all intervals; fits made anew count


@dataclass(frozen=True)
class JudgeSet(Operation):
    """One released set, held against its members and a holdout."""

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
    """Does nothing for so many seconds and ends as `ending` says: how the runtime itself is tested and measured."""

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
    """Every class that a task's canonical text can name (see `compiler.fingerprint.restore`), those of loaded packages included."""

    def below(kind: type[Frozen]) -> Iterator[type[Frozen]]:
        yield kind
        for child in kind.__subclasses__():
            yield from below(child)

    works = [kind for kind in globals().values() if isinstance(kind, type) and is_dataclass(kind)]
    return {kind.__name__: kind for kind in (*below(Frozen), *ARMS, *works)}
