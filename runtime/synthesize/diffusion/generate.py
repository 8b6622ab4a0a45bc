"""Diffusion: trains a denoiser on the private set, from scratch or from a public base, and samples synthetic sets from it.

One denoiser from `train_generator` serves class-conditional sampling and SDEdit at all strengths; with `privacy` it is trained by
DP-SGD. The classifier is trained on the samples; attacks on the denoiser itself read its losses (`query.generator`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from compiler.language.methods.diffusion import Conditional, Denoiser, ImageToImage
from runtime.data.images import LabeledImages
from runtime.outcome import Metric, Product
from runtime.store.artifacts import Artifact, Inputs
from runtime.synthesize.diffusion import denoisers
from runtime.synthesize.diffusion.bases import new_denoiser, restored, tell_classes_apart, train_shared, trained_part
from runtime.synthesize.diffusion.latent import Latent
from runtime.synthesize.diffusion.process import denoise, new_scheduler
from runtime.synthesize.diffusion.training import NoisedExamples, PrivateSteps, fit
from runtime.synthesize.release import Release, Setting, Surroundings
from runtime.training import dp_sgd, nets
from runtime.training.scoring import logits

__all__ = ["synthesize", "train_generator", "train_shared"]

IMAGES_DRAWN_AT_ONCE = 512
"""Images of a batch in sampling."""


def train_generator(how: Denoiser, private: LabeledImages, around: Surroundings) -> Product:
    """Train the denoiser, or tune its base; with `privacy` by DP-SGD. File `generator`: the moving average of the trained
    parameters, as of `trained_part`.

    Metrics: `denoiser_loss`, `images_seen`, and with `privacy` those of `Mechanism.metrics`. Diverged as of `fit`; other errors
    as of `new_denoiser` and `new_mechanism`.
    """
    net = new_denoiser(how, around)
    if how.base is None:
        net.prepare(private.images.to(around.device))
    elif net.classes.weight.requires_grad:
        tell_classes_apart(net, around.seeds("diffusion/classes"))
    examples = NoisedExamples(net, new_scheduler(how, levels=net.levels), private, how.unlabeled, around)
    # The expected size is public: neither the number of steps nor the noise of DP-SGD may depend on this private set's size.
    steps = max(1, math.ceil(how.epochs * around.expected_size / how.batch_size))
    metrics = [Metric("images_seen", float(steps * how.batch_size), n=1)]
    privately = None
    if how.privacy is not None:
        mechanism = dp_sgd.new_mechanism(how.privacy, how.batch_size, around.expected_size, steps)
        privately = PrivateSteps(net, examples, mechanism, around)
        metrics += mechanism.metrics()
    loss = fit(net, how, examples, steps, how.ema, privately)
    private_basis = how.net == "latent_mlp" and how.base is None
    declared = {"declared": f"{how.components} principal components of the private images"} if private_basis else {}
    return Product({"generator": trained_part(net, how)}, (loss, *metrics), declared)


def synthesize(how: Conditional | ImageToImage, private: LabeledImages, needs: Inputs, setting: Setting) -> Release:
    """Sample the set (uint8) from the denoiser of the need `generator`, or without that need from the base unchanged; with
    `filter`, keep only the images that `confident_rows` selects, and give the metric `share_kept`. Labels are those of `plan_set`.

    The origin of an image made by SDEdit is the private image that it started from; other images have no origins. Errors as of
    `bases.restored` and, with `filter`, of `confident_rows`.
    """
    net = restored(how.denoiser, needs.get("generator"), setting)
    draws = setting.seeds(f"diffusion/{how.method}")
    origins, labels = plan_set(how, private, setting, draws)
    drawn = []
    for rows in torch.arange(len(labels)).split(IMAGES_DRAWN_AT_ONCE):
        begin = None if origins is None else private.images[origins[rows]]
        drawn.append(sample(net, how, labels[rows], setting, draws, begin))
    images = torch.cat(drawn)
    kept = torch.arange(len(images))
    metrics: tuple[Metric, ...] = ()
    if how.filter is not None:
        kept = confident_rows(images, labels, how.filter, needs["teacher"], setting)
        metrics = (Metric("share_kept", len(kept) / len(images), n=len(images), note="drawn images that passed the filter"),)
    declared = "labels alike for all classes" if _tells_nothing(how.denoiser) else "labels in the proportions of the private set"
    notes = {"denoising_passes": len(labels) * how.passes, "declared": declared}
    return Release(images[kept], labels[kept], None if origins is None else origins[kept], metrics=metrics, notes=notes)


def _tells_nothing(how: Denoiser) -> bool:
    """Whether the set must not depend on size and labels of the private set: the denoiser has a DP guarantee, or is a control."""
    return how.privacy is not None or not how.learns


def plan_set(
    how: Conditional | ImageToImage, private: LabeledImages, setting: Setting, draws: torch.Generator
) -> tuple[Tensor | None, Tensor]:
    """For each image to sample: row of the private image that it starts from, and its label. Their number is `multiple` times that
    of the private images, rounded, at least 1.

    SDEdit takes the private images in their order, again and again; otherwise the rows are None, since images start from noise, and
    labels are the private ones, shuffled and repeated. If the set must not depend on the private set (`_tells_nothing`), the rows
    are None, the expected size replaces the private set's, and labels cycle through the classes.
    """
    if _tells_nothing(how.denoiser):  # independent of this private set's size and labels
        return None, torch.arange(max(1, round(how.multiple * setting.expected_size))) % setting.card.classes
    count = max(1, round(how.multiple * len(private)))
    if isinstance(how, ImageToImage):
        rows = torch.arange(count) % len(private)
        return rows, private.labels[rows]
    return None, private.labels[torch.randperm(len(private), generator=draws)].repeat(math.ceil(how.multiple))[:count]


@torch.inference_mode()
def sample(
    net: denoisers.Net,
    how: Conditional | ImageToImage,
    labels: Tensor,
    setting: Setting,
    draws: torch.Generator,
    begin: Tensor | None = None,
) -> Tensor:
    """n × channels × height × width, uint8, on the CPU: samples for `labels` (n), from noise or by SDEdit from the uint8 images
    `begin`."""
    if isinstance(net, Latent):
        start = None if begin is None else begin.to(setting.device)
        return net.sample_images(how, labels.to(setting.device), draws, start).cpu()
    noise = torch.randn(len(labels), *net.shape, generator=draws).to(setting.device)
    signals = None if begin is None else net.encoded(begin.to(setting.device))
    drawn = denoise(net, how, labels.to(setting.device), setting.card.classes, noise, draws, signals)
    return net.decoded(drawn, draws).cpu()


def confident_rows(images: Tensor, labels: Tensor, least: float, teacher: Artifact, setting: Setting) -> Tensor:
    """Indices, ascending, of the uint8 images to whose label (n) the shadow's own undefended classifier (`teacher`) gives at least
    the probability `least`; at least one of each class in `labels`, the most probable one. Errors as of `nets.restored` and
    `Artifact.tensors`."""
    classifier = nets.restored(setting.recipe, setting.card, teacher.tensors("model"))
    own = logits(classifier, images, setting.card, setting.device).softmax(1).gather(1, labels[:, None])[:, 0]
    kept = own >= least
    for label in labels.unique():
        rows = (labels == label).nonzero()[:, 0]
        kept[rows[own[rows].argmax()]] = True  # a class must not vanish from the training set
    return kept.nonzero()[:, 0]
