"""Selection by difficulty: scores, and rules that select by a score.

HIGHER SCORE MEANS HARDER. A log is epoch × sample: correctness, margin and EL2N of each sample from the forward passes of the
proxy's own training. Not here: selection by geometry (`coverage`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from compiler.errors import SynthcError
from compiler.language.methods.coreset import (
    AreaUnderMargin,
    El2n,
    Forgetting,
    GradientNorm,
    RandomSubset,
    Selection,
    Stratified,
    Uncertainty,
)
from runtime.data.images import LabeledImages
from runtime.outcome import Diverged
from runtime.store.artifacts import Artifact, Inputs
from runtime.synthesize.coreset.selection import Picker, chosen, embedded
from runtime.synthesize.release import Release, Setting
from runtime.training.batches import Training
from runtime.training.gradients import classification_loss, parameters_of, per_sample_gradients
from runtime.training.nets import Classifier, build, normalise
from runtime.training.sgd import fit

CHUNK = 64
"""Samples whose gradients are in memory at once."""

Log = Mapping[str, Tensor]
"""`correct` (uint8), `margin` and `el2n` (float), each epoch × sample."""


def synthesize(how: Selection, private: LabeledImages, needs: Inputs, setting: Setting) -> Release:
    """Select the images of the highest scores, in each class or in the whole set; with `ccs`, equally many from each stratum of the
    scores that are left when the hardest share `cut` is dropped (see `stratified`).

    Diverged if a score, or what the proxy gave for it, is not finite. SynthcError if the proxy was trained for less than an epoch,
    and as of `parts` and `stratified`. Other errors as of `scored`.
    """
    score = scored(how, private, needs, setting)
    if not score.isfinite().all():
        raise Diverged("a sample's score is no number: the training behind it diverged; lower proxy.lr")
    return chosen(how, private, setting, stratified(score, how.cut, how.strata) if isinstance(how, Stratified) else hardest(score))


def scored(how: Selection, private: LabeledImages, needs: Inputs, setting: Setting) -> Tensor:
    """n: the method's difficulty score of each image, higher for harder, from the proxy's log, from its logits or from nets trained
    here; uniform random numbers for `random`. Errors as of `logged`, `embedded` and `gradient_norm`; TypeError for a method of
    selection that has no score."""
    match how:
        case RandomSubset():
            return torch.rand(len(private), generator=setting.seeds("coreset/random"))
        case GradientNorm():
            return gradient_norm(how, private, setting)
        case Uncertainty():
            _, logits = embedded(how, private.images, needs["proxy"], setting)
            return uncertainty(logits, how.method)
    log = logged(needs["proxy"], len(private))
    match how:
        case Forgetting():
            return forgetting(log, how.never_learned)
        case El2n() | Stratified(score="el2n"):
            return el2n(log, how.passes)
        case AreaUnderMargin() | Stratified(score="aum"):
            return area_under_margin(log)
        case Stratified(score="forgetting"):
            return forgetting(log)
    raise TypeError(f"{type(how).__name__} has no score that this module knows")


def logged(proxy: Artifact, samples: int) -> Log:
    """The log of the proxy's training. ValueError if it is not of `samples` samples; SynthcError if the proxy trained for less than
    an epoch; Diverged if `margin` or `el2n` is not finite; other errors as of `Artifact.tensors`."""
    log = proxy.tensors("dynamics")
    passes, seen = log["correct"].shape
    if seen != samples:
        raise ValueError(f"the proxy's log has {seen} samples, the private set {samples}: it was trained on another set")
    if not passes:
        raise SynthcError("the proxy's training ends before every sample was presented once; give it at least one epoch")
    if not all(log[name].isfinite().all() for name in ("margin", "el2n")):
        raise Diverged("the proxy's log holds values that are no numbers: its training diverged; lower proxy.lr")
    return log


def forgetting(log: Log, never_learned: Literal["maximal", "zero"] = "maximal") -> Tensor:
    """n: number of forgetting events, from correct to wrong from one epoch to the next (Toneva et al. 2019, section 3).

    A sample that was never correct gets the number of epochs, above any possible count; with `zero` it gets 0, as in DeepCore and
    CCS, where a mislabeled sample that is never learned counts as the easiest.
    """
    was_right = log["correct"].to(torch.bool)
    count = (was_right[:-1] & ~was_right[1:]).sum(0)
    if never_learned == "zero":
        return count
    return torch.where(was_right.any(0), count, len(was_right))


def el2n(log: Log, passes: int) -> Tensor:
    """n: EL2N (Paul et al. 2021), the mean norm of (probabilities − one-hot label) over the first `passes` epochs (all, if there
    are fewer)."""
    return log["el2n"][:passes].to(torch.float64).mean(0)


def area_under_margin(log: Log) -> Tensor:
    """n: minus the mean, over epochs, of the margin of the label's probability over the largest other one; high for mislabeled
    samples.

    It uses probabilities, as CCS does (Zheng et al. 2023); Pleiss et al. 2020 use logits, whose scale grows during training.
    """
    return -log["margin"].to(torch.float64).mean(0)


def uncertainty(logits: Tensor, measure: str) -> Tensor:
    """n: uncertainty of a trained net's prediction, independent of the label; higher is less certain. logits: n × classes.

    least_confidence: −log of the largest probability. entropy: in nats. margin: second largest probability minus the largest.
    ValueError for another `measure`.
    """
    log_p = logits.to(torch.float64).log_softmax(1)
    match measure:
        case "least_confidence":
            return -log_p.amax(1)
        case "entropy":
            return -(log_p.exp() * log_p).sum(1)
        case "margin":
            best, second = log_p.exp().topk(2, dim=1).values.unbind(1)
            return second - best
    raise ValueError(f"no measure of uncertainty is called {measure!r}")


def gradient_norm(how: GradientNorm, private: LabeledImages, setting: Setting) -> Tensor:
    """n: GraNd (Paul et al. 2021), the norm of each sample's loss gradient in all weights, without augmentation, averaged over
    `how.inits` nets, each trained here for `how.passes` epochs. Diverged as of `fit`, SynthcError as of `build`."""
    card, device, recipe = setting.card, setting.device, setting.recipe
    iterations = max(1, math.ceil(how.passes * len(private) / recipe.batch_size))
    total = torch.zeros(len(private), dtype=torch.float64)
    for init in range(how.inits):
        purpose = f"coreset/grand/{init}"
        net = build(recipe, card, setting.seeds(f"{purpose}/init"))
        net = fit(
            net,
            Training(
                images=private.images,
                labels=private.labels,
                recipe=recipe,
                iterations=iterations,
                card=card,
                seeds=setting.seeds,
                device=device,
                purpose=purpose,
            ),
        ).net.eval()
        pairs = zip(private.images.split(CHUNK), private.labels.split(CHUNK), strict=True)
        norms = [gradient_norms(net, normalise(images.to(device), card), labels.to(device)).cpu() for images, labels in pairs]
        total += torch.cat(norms).to(torch.float64)
    return total / how.inits


def gradient_norms(net: Classifier, x: Tensor, y: Tensor) -> Tensor:
    """n: norm of the gradient of each sample's cross entropy in all weights. x: n × channels × height × width, normalised;
    y: n, labels. `net` must be in eval mode."""

    each, _ = per_sample_gradients(classification_loss(net), parameters_of(net), x[:, None], y)
    squares = [gradient.flatten(1).square().sum(1) for gradient in each.values()]
    return torch.stack(squares).sum(0).sqrt()


def hardest(score: Tensor) -> Picker:
    """A picker that selects the rows of the highest scores (n); of equal scores it takes the first in the order of the shuffle."""
    return lambda shuffled, keep: shuffled[score[shuffled].argsort(descending=True, stable=True)[:keep]]


def stratified(score: Tensor, cut: float, strata: int) -> Picker:
    """A picker for CCS (Zheng et al. 2023): drop the hardest share `cut` of the candidates (rounded down), then keep equally many
    of each of `strata` strata.

    score: n. Strata have equal width in the score of the rest; where a stratum has too few samples, the others get its share. The
    picker raises SynthcError if fewer samples are left than are to be kept.
    """

    def pick(shuffled: Tensor, keep: int) -> Tensor:
        easiest = score[shuffled].argsort(stable=True)[: len(shuffled) - math.floor(cut * len(shuffled))]
        left = shuffled[easiest.sort().values]  # in the order of the shuffle: the first of a stratum are a uniform draw
        if keep > len(left):
            raise SynthcError(
                f"coreset ccs: cut: {cut:g} leaves {len(left)} of {len(shuffled)} images to choose from, {keep} are asked for; "
                "lower `cut` or keep fewer"
            )
        value = score[left].to(torch.float64)
        width = ((value.max() - value.min()) / strata).clamp(min=1e-300)  # if all are equal, they are in the first stratum
        stratum = ((value - value.min()) / width).long().clamp(max=strata - 1)  # the last one is closed
        members = [left[stratum == level] for level in range(strata)]
        kept = []
        for served, of_level in enumerate(sorted(members, key=len)):
            quota = min(len(of_level), keep // (strata - served))
            kept.append(of_level[:quota])
            keep -= quota
        return torch.cat(kept)

    return pick
