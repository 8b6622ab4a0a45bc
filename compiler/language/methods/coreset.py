"""Paradigm `coreset`: train on a chosen part of the private set."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, PositiveInt

from compiler.language.base import BelowOne, Method
from compiler.language.classifier import Recipe
from compiler.language.cost import Cost, Sizes


class Selection(Method):
    """Fields of every selection.

    Classes are those of the given labels: a mislabeled image counts in the class of its wrong label.
    """

    compute = "difficulty"

    paradigm: Literal["coreset"]
    fraction: float | None = Field(default=None, gt=0, le=1)
    """Share of the private set to keep; give this or `per_class`."""
    per_class: PositiveInt | None = None
    """Images of each class to keep."""
    class_balanced: bool = True
    """With `fraction`: keep this share of every class. false: of the whole set, so that a class may lose more than another."""
    released: bool = False
    """Whether the adversary also sees the set (release levels `synthetic_set`, `index_list`)."""

    @property
    def from_private_images(self) -> bool:
        return True

    def cost(self, sizes: Sizes) -> Cost:
        return Cost(2e-7 * sizes.images)  # a sort

    def kept(self, sizes: Sizes) -> float:
        """Expected number of selected images."""
        return self.fraction * sizes.images if self.fraction is not None else (self.per_class or 0) * sizes.classes

    def faults(self) -> Iterator[str]:
        if (self.fraction is None) == (self.per_class is None):
            yield "give one of `fraction` and `per_class`"


class RandomSubset(Selection):
    """A uniformly random part: the control that every selection and distillation needs."""

    blind_to_augment = True

    method: Literal["random"]


class WithProxy(Selection):
    """Selections that need a trained classifier, the proxy; those of a shadow with the same proxy recipe share one."""

    proxy: Recipe | None = None
    """The proxy's training; null means the classifier's recipe."""

    @property
    def needs(self) -> tuple[str, ...]:
        return ("proxy",)


class ByDynamics(WithProxy):
    """Selections that read the log of the proxy's training."""

    outside_work = ("released", "proxy")  # the proxy enters through its own id

    class_balanced: bool = False
    """With `fraction`: keep this share of every class. false, as published: of the whole set, so that hard classes keep more."""


class Forgetting(ByDynamics):
    """Keep the samples that the proxy most often misclassified after classifying them correctly (Toneva et al. 2019)."""

    method: Literal["forgetting"]
    never_learned: Literal["maximal", "zero"] = "maximal"
    """Samples never classified correctly count as most forgotten; `zero` repeats a bug of widely copied code."""


class El2n(ByDynamics):
    """Keep the samples with the largest error norms early in training (Paul et al. 2021), of one proxy; the paper averages over 10
    trainings."""

    method: Literal["el2n"]
    passes: PositiveInt = 10
    """Passes, from the first, whose error norms are averaged."""


class AreaUnderMargin(ByDynamics):
    """Keep the samples with the smallest mean margins over training (Pleiss et al. 2020): mislabeled samples first."""

    method: Literal["aum"]


class Stratified(ByDynamics):
    """Drop the hardest samples, then keep equally many of every level of difficulty: CCS (Zheng et al. 2023)."""

    method: Literal["ccs"]
    score: Literal["aum", "el2n", "forgetting"] = "aum"
    """What difficulty is."""
    cut: BelowOne = 0.3
    """Share of the set that is dropped first as the hardest, taken for mislabeled (the paper: 0.3 where a tenth is kept)."""
    strata: PositiveInt = 50
    """Levels of difficulty, equally wide."""
    passes: PositiveInt = 10
    """For `score: el2n`, as there."""

    def faults(self) -> Iterator[str]:
        yield from super().faults()
        if self.fraction is not None and self.fraction + self.cut > 1:
            yield f"`cut` drops {self.cut:g} of the set, so `fraction` can be {1 - self.cut:g} at most"


class GradientNorm(Selection):
    """Keep the samples with the largest gradient norms early in training: GraNd (Paul et al. 2021). Trains nets of its own for a
    few passes."""

    method: Literal["grand"]
    class_balanced: bool = False
    """With `fraction`: keep this share of every class. false, as published: of the whole set."""
    inits: PositiveInt = 3
    """Nets over which the norms are averaged; the paper takes 10."""
    passes: PositiveInt = 2
    """Passes that each net is trained for. At 0, before any training, the norm was found to say nothing (Kirsch 2023)."""

    def cost(self, sizes: Sizes) -> Cost:
        steps = sizes.images / 64
        return (sizes.net.training(self.passes * steps, 64) + sizes.net.sample_gradients(steps, 64)) * self.inits


class ByProxy(WithProxy):
    """Selections that evaluate the trained proxy. Its recipe enters the id, since the net has to be built again."""

    def cost(self, sizes: Sizes) -> Cost:
        return sizes.net.answers(2 * sizes.images)  # features are computed and copied part by part: half as fast as scoring


class Uncertainty(ByProxy):
    """Keep the samples on which the trained proxy is least certain: lowest top probability, highest entropy, or smallest margin
    between the two most probable classes."""

    method: Literal["least_confidence", "entropy", "margin"]


class KCenter(ByProxy):
    """Keep samples so that none is far from a kept one in the proxy's features: k-center greedy (Sener and Savarese 2018)."""

    compute = "coverage"

    method: Literal["k_center"]

    def cost(self, sizes: Sizes) -> Cost:
        return super().cost(sizes) + Cost(5e-8 * self.kept(sizes) * sizes.images)  # distances to all, for each that is chosen


class ClassWise(ByProxy):
    """Selections within each class, by distances or similarities of its samples."""

    compute = "coverage"

    class_balanced: Literal[True] = True
    """These methods choose class by class."""


class Herding(ClassWise):
    """Keep samples whose running mean stays nearest to the class's mean feature (Welling 2009)."""

    method: Literal["herding"]


class Moderate(ClassWise):
    """Keep samples whose distance to the class's mean feature is nearest to the median distance (Xia et al. 2023)."""

    method: Literal["moderate"]


class Submodular(ClassWise):
    """Keep the samples that greedily maximise a submodular function of similarities of last-layer gradients (Iyer et al. 2021).

    graph_cut: similar to the whole class, dissimilar to each other. facility_location: every sample is similar to a kept one.
    """

    method: Literal["graph_cut", "facility_location"]

    def cost(self, sizes: Sizes) -> Cost:
        return super().cost(sizes) + Cost(1.2e-4 * self.kept(sizes) + 1e-7 * sizes.images**2 / sizes.classes)  # all similarities
