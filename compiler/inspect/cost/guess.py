"""Guessed costs of tasks from their parameters alone, used until the operation was run. Methods declare their own
(`compiler.language.base.Computed.cost`); here are those of the other operations, and the overhead of every task."""

from __future__ import annotations

import math

from compiler.data.sizes import private_images, set_aside
from compiler.language.classifier import Recipe
from compiler.language.cost import NO_NET, TOGETHER, Cost, Net, Sizes, classifier
from compiler.language.methods.diffusion import Denoiser
from compiler.work.operations import (
    AttackTrial,
    CompareTrials,
    Population,
    Private,
    QueryClassifier,
    QueryGenerator,
    QuerySet,
    Synthesize,
    TrainClassifier,
    TrainGenerator,
    TrainShared,
    Work,
)

AROUND = 0.006
"""Overhead in seconds of every task of ON_DEVICE with a private set: making that set, writing the artifact."""
WORKER_MB = 550.0
"""Resident memory of a worker that has loaded torch and run a small training."""
DEVICE_MB = 600.0
"""GPU memory of every task in MB: a context, the kernels of torch and cuDNN's workspaces."""
ON_DEVICE = ("train", "synthesize", "query")
"""Kinds of tasks that a worker computes on its GPU, where it has one."""
PASSES = {"mean_loss": 32, "loss": 5, "vector": 50, "pia": 2, "secmi": 12, "sima": 1, "gap": 64}
"""Signal → forward passes of a denoiser for each canary."""
DISK_MB = {
    TrainClassifier: 0.1,
    TrainShared: 2.1,
    TrainGenerator: 2.1,
    Synthesize: 0.3,
    QueryClassifier: 0.24,
    QuerySet: 0.01,
    QueryGenerator: 0.01,
    AttackTrial: 0.5,
    CompareTrials: 0.01,
}
"""Operation → size in MB of a task's artifact on grey images of 8×8, log and outcome included."""


def cost(work: Work) -> Cost:
    """Guessed seconds on one core, MB of GPU memory if a GPU computes it, and FLOPs, overhead included. Memory and FLOPs are 0 for
    tasks without a private set: attacks, comparisons, the shared base of generators."""
    took = _computed(work)
    private = getattr(work, "private", None)
    if private is None or work.kind not in ON_DEVICE:
        return Cost(took.seconds)
    images = images_of(private) * math.prod(private.population.dataset.shape) / 1e6  # uint8
    return Cost(took.seconds + AROUND, took.gpu_mb + images + DEVICE_MB, took.flops)


def disk_mb(work: Work) -> float:
    """Guessed size of a task's artifact in MB: DISK_MB (0.1 for other operations), times channels × height × width of an image /
    64, if that is above 1 and the task has a private set."""
    private = getattr(work, "private", None)
    pixels = math.prod(private.population.dataset.shape) if private is not None else 64
    return DISK_MB.get(type(work), 0.1) * max(1.0, pixels / 64)


def _computed(work: Work) -> Cost:
    """Guessed cost of what the operation computes, without the overhead of a task; 0 for imports and other operations."""
    match work:
        case TrainClassifier():
            return _training(work)
        case TrainShared(public=public, how=how):
            images = (public.subset or public.card.samples) if public else 0
            return how.shared_cost(Sizes(images, work.classes, work.shape, NO_NET))
        case TrainGenerator():
            return work.how.cost(sizes(work.private))
        case Synthesize():
            made = work.how.cost(sizes(work.private, work.recipe))
            return made + _scored(work.private, work.recipe) if work.how.gives_student else made
        case QueryClassifier():
            population, views = work.private.population, work.queries.count
            images = _full(views * _canaries(population)) + _full(views * population.z_pool) + _full(_test_images(population))
            return _net(work.private, work.recipe).answers(images)
        case QueryGenerator(how=Denoiser() as how):
            passes = sum(PASSES[signal] for signal in work.signals) * (2 if work.base else 1)
            return how.priced(sizes(work.private)).answers(passes * _canaries(work.private.population)) + Cost(passes * 5e-4)
        case QuerySet():  # a search for the nearest image of the set; its size is not known here: as many as private ones
            images = images_of(work.private)
            return Cost(0.06 + 1e-10 * images**2 * math.prod(work.private.population.dataset.shape))
        case AttackTrial():
            return Cost(0.3 + 0.09 * len(work.attacks) * len(work.population.groups) * work.resamples / 1000)
        case CompareTrials():
            return Cost(1.0)
    return Cost(0.0)


def sizes(private: Private, recipe: Recipe | None = None) -> Sizes:
    """The sizes that a method's cost depends on besides its parameters; without `recipe` the classifier is NO_NET."""
    card = private.population.dataset.card
    return Sizes(images_of(private), card.classes, card.shape, _net(private, recipe) if recipe else NO_NET)


def images_of(private: Private) -> int:
    """Expected number of images in the private set, at least 1."""
    population, dataset = private.population, private.population.dataset
    groups = [group for _, group in population.groups]
    return max(1, private_images(dataset.subset or dataset.card.samples, set_aside(dataset), population.z_pool, groups))


def _training(work: TrainClassifier) -> Cost:
    """Cost (time, GPU memory, FLOPs) of training a classifier and of scoring it on the private, test and canary images."""
    net, batch = _net(work.private, work.recipe), work.recipe.batch_size
    if work.privacy is None:
        fitted = net.training(work.iterations, batch)
    else:
        fitted = net.sample_gradients(work.iterations, batch, work.privacy.multiplicity)
    return fitted + net.answers(images_of(work.private)) + _scored(work.private, work.recipe)


def _scored(private: Private, recipe: Recipe) -> Cost:
    """Cost of scoring a classifier on the images on which accuracy is measured, and on the canaries."""
    population = private.population
    canaries = sum(_full(group.count) for _, group in population.groups)
    return _net(private, recipe).answers(_full(_test_images(population)) + canaries)


def _full(images: int) -> int:
    """`images` rounded up to full batches, as scoring pads its batches."""
    return TOGETHER * math.ceil(images / TOGETHER)


def _test_images(population: Population) -> int:
    """Number of images on which accuracy is measured: validation images if `judged_on` names them, else test images; where the
    study sets none aside, the official test split."""
    dataset = population.dataset
    return (dataset.validation if dataset.judged_on else dataset.test) or dataset.card.test_samples


def _net(private: Private, recipe: Recipe) -> Net:
    return classifier(recipe.net, recipe.width, private.population.dataset.shape)


def _canaries(population: Population) -> int:
    return sum(group.count for _, group in population.groups)
