"""Diffusion: a denoiser trained from scratch on the private set, and the sets that it draws.

`train_generator` serves class-conditional drawing and SDEdit at every strength alike; with `privacy` it is trained by DP-SGD. The
classifier is trained on what is drawn; the denoiser's own loss on a canary is an attack of its own (`query.generator`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from compiler.language.methods.diffusion import Conditional, Denoiser, ImageToImage
from runtime.data.images import LabeledImages
from runtime.outcome import Diverged, Metric, Product
from runtime.store import checkpoint
from runtime.store.artifacts import Artifact
from runtime.synthesize.diffusion import denoisers
from runtime.synthesize.diffusion.process import Process, process
from runtime.synthesize.release import Release, Setting, Surroundings
from runtime.training import dp_sgd as privacy
from runtime.training import nets
from runtime.training.batches import EMA

IMAGES_DRAWN_AT_ONCE = 512
"""Images per denoising pass."""


def train_generator(how: Denoiser, private: LabeledImages, around: Surroundings) -> Product:
    """Train the denoiser; file `generator` holds the averaged weights. Diverged if the loss stops being a number."""
    net = denoisers.build(how, around.card, around.seeds("diffusion/init")).to(around.device)
    net.prepare(private.images.to(around.device))
    average = EMA(net, how.ema)
    # The expected size is public: neither the number of steps nor, with DP-SGD, its noise may tell the size of this private set.
    steps = max(1, math.ceil(how.epochs * around.expected_size / how.batch_size))
    spent: tuple[Metric, ...] = ()
    if how.privacy is None:
        losses = _trained(net, how, private, around, steps, average)
    else:
        losses, spent = _trained_privately(net, how, private, around, steps, average)
    late = losses[-max(1, steps // 20) :]
    loss = sum(late) / len(late)
    if not math.isfinite(loss):
        raise Diverged(f"the denoiser's loss is {loss} after {steps} steps; lower lr ({how.lr:g})")
    average.copy_to_net()
    metrics = (
        Metric("denoiser_loss", loss, n=len(late), note="what training lowers, mean of the last twentieth of the steps"),
        Metric("images_seen", float(steps * how.batch_size), n=1),
        *spent,
    )
    declared = {"declared": f"{how.components} principal components of the private images"} if how.net == "latent_mlp" else {}
    return Product({"generator": net.state_dict()}, metrics, declared)


def _trained(
    net: denoisers.Net, how: Denoiser, private: LabeledImages, around: Surroundings, steps: int, average: EMA
) -> list[float]:
    """AdamW; the loss of each step."""
    noise, draws = process(how), around.seeds("diffusion/training")
    optimizer = torch.optim.AdamW(net.parameters(), lr=how.lr, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _cosine(step, steps))
    signals, labels = net.encoded(private.images.to(around.device)), private.labels.to(around.device)
    losses: list[Tensor] = []
    parts: dict[str, checkpoint.Part] = {"net": net, "optimizer": optimizer, "schedule": schedule, "average": average}
    for _ in checkpoint.loop("diffusion", steps, **parts, draws=draws, losses=losses):
        rows = torch.randint(len(private), (how.batch_size,), generator=draws).to(around.device)
        loss = noise.errors(net, signals[rows], *_lesson(how, noise, labels[rows], net, around, draws)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update()
        losses.append(loss.detach())
    return [loss.item() for loss in losses]


def _trained_privately(
    net: denoisers.Net, how: Denoiser, private: LabeledImages, around: Surroundings, steps: int, average: EMA
) -> tuple[list[float], tuple[Metric, ...]]:
    """DP-SGD with Adam: what is averaged are clipped, noised gradients, so all that follows is free (Dockhorn et al. 2023).

    Each image is seen under `multiplicity` noises and levels, whose gradients are averaged before they are clipped.
    """
    assert how.privacy is not None
    noise, draws = process(how), around.seeds("diffusion/training")
    rate = min(1.0, how.batch_size / around.expected_size)
    sigma = how.privacy.noise_multiplier
    if sigma is None:
        sigma = privacy.noise_for(how.privacy.epsilon or 0.0, how.privacy.delta, rate, steps)
    parameters = {name: parameter.detach() for name, parameter in net.named_parameters()}
    optimizer = torch.optim.AdamW(net.parameters(), lr=how.lr, weight_decay=0.0, fused=True)
    signals, labels = net.encoded(private.images.to(around.device)), private.labels.to(around.device)
    copies, chosen, fog = how.privacy.multiplicity, around.seeds("diffusion/poisson"), around.seeds("diffusion/privacy noise")

    def loss(weights: dict[str, Tensor], x: Tensor, drawn: Tensor, level: Tensor, label: Tensor) -> Tensor:
        def denoise(*asked: Tensor) -> Tensor:
            return functional_call(net, weights, asked)

        return noise.errors(denoise, x.expand(copies, *x.shape), drawn, level, label).mean()   # type: ignore[arg-type]

    def chunks(rows: Tensor) -> Iterator[tuple[Tensor, ...]]:
        for part in rows.split(privacy.samples_at_once(net, copies)):
            shown = part.to(around.device)
            drawn, level, label = _lesson(how, noise, labels[shown].repeat_interleave(copies), net, around, draws)
            yield signals[shown], *(told.unflatten(0, (len(part), copies)) for told in (drawn, level, label))

    losses: list[Tensor] = []
    parts: dict[str, checkpoint.Part] = {"net": net, "optimizer": optimizer, "average": average}
    for _ in checkpoint.loop("diffusion", steps, **parts, draws=draws, chosen=chosen, fog=fog, losses=losses):
        rows = (torch.rand(len(private), generator=chosen) < rate).nonzero()[:, 0]
        total, lost = privacy.clipped_sum(loss, parameters, chunks(rows), how.privacy.clip)
        total += sigma * how.privacy.clip * torch.randn(len(total), generator=fog).to(around.device)
        at = 0
        for parameter in net.parameters():
            parameter.grad = (total[at : at + parameter.numel()] / (rate * around.expected_size)).view_as(parameter)
            at += parameter.numel()
        optimizer.step()
        average.update()
        losses.append(lost / len(rows) if len(rows) else torch.zeros(()))
    told = privacy.metrics(privacy.spent(sigma, how.privacy.delta, rate, steps))
    return [found.item() for found in losses], tuple(told)


def _lesson(
    how: Denoiser, noise: Process, labels: Tensor, net: denoisers.Net, around: Surroundings, draws: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """For each label: noise, a level, and the label or, for a share of them, none."""
    level = noise.draw(len(labels), draws).to(around.device)
    drawn = torch.randn(len(labels), *net.shape, generator=draws).to(around.device)
    hidden = (torch.rand(len(labels), generator=draws) < how.unlabeled).to(around.device)
    return drawn, level, torch.where(hidden, around.card.classes, labels)


def synthesize(how: Conditional | ImageToImage, private: LabeledImages, needs: Mapping[str, Artifact], setting: Setting) -> Release:
    """Draw the set. An SDEdit twin's origin is the private image that it was made from."""
    net = restored(how.denoiser, needs["generator"], setting)
    draws = setting.seeds(f"diffusion/{how.method}")
    origins, labels = wanted(how, private, setting, draws)
    drawn = []
    for rows in torch.arange(len(labels)).split(IMAGES_DRAWN_AT_ONCE):
        begin = None if origins is None else private.images[origins[rows]]
        drawn.append(sample(net, how, labels[rows], setting, draws, begin))
    images = torch.cat(drawn)
    kept = torch.arange(len(images))
    metrics: tuple[Metric, ...] = ()
    if how.filter is not None:
        kept = believed(images, labels, how.filter, needs["teacher"], setting)
        metrics = (Metric("share_kept", len(kept) / len(images), n=len(images), note="drawn images that passed the filter"),)
    declared = "labels in the proportions of the private set" if how.denoiser.privacy is None else "labels alike for all classes"
    notes = {"denoising_passes": len(labels) * how.steps, "declared": declared}
    return Release(images[kept], labels[kept], None if origins is None else origins[kept], metrics=metrics, notes=notes)


def wanted(
    how: Conditional | ImageToImage, private: LabeledImages, setting: Setting, draws: torch.Generator
) -> tuple[Tensor | None, Tensor]:
    """The private row that each image begins from, if it does, and the label of each."""
    if how.denoiser.privacy is not None:   # neither the size of this private set nor its labels may show
        return None, torch.arange(max(1, round(how.multiple * setting.expected_size))) % setting.card.classes
    count = max(1, round(how.multiple * len(private)))
    if isinstance(how, ImageToImage):
        rows = torch.arange(count) % len(private)
        return rows, private.labels[rows]
    return None, private.labels[torch.randperm(len(private), generator=draws)].repeat(math.ceil(how.multiple))[:count]


@torch.inference_mode()
def sample(
    net: denoisers.Net, how: Conditional | ImageToImage, labels: Tensor, setting: Setting, draws: torch.Generator,
    begin: Tensor | None = None,
) -> Tensor:
    """n × channels × height × width, uint8: from noise, or from the images `begin`."""
    noise = torch.randn(len(labels), *net.shape, generator=draws).to(setting.device)
    start = None if begin is None else net.encoded(begin.to(setting.device))
    strength = how.strength if isinstance(how, ImageToImage) else 1.0
    drawn = process(how.denoiser).sample(net, how, labels.to(setting.device), setting.card.classes, noise, draws, start, strength)
    return net.decoded(drawn, draws).cpu()


@torch.inference_mode()
def believed(images: Tensor, labels: Tensor, least: float, teacher: Artifact, setting: Setting) -> Tensor:
    """Rows whose label the shadow's own undefended classifier gives at least this probability; of each class at least one."""
    judge = nets.restored(setting.recipe, setting.card, teacher.tensors("model")).to(setting.device)
    parts = images.split(IMAGES_DRAWN_AT_ONCE)
    answers = torch.cat([judge(nets.normalise(part.to(setting.device), setting.card)).cpu() for part in parts]).softmax(1)
    own = answers.gather(1, labels[:, None])[:, 0]
    kept = own >= least
    for label in labels.unique():
        rows = (labels == label).nonzero()[:, 0]
        kept[rows[own[rows].argmax()]] = True   # a class must not vanish from the training set
    return kept.nonzero()[:, 0]


def restored(how: Denoiser, artifact: Artifact, around: Surroundings) -> denoisers.Net:
    """A trained denoiser from its artifact, in eval mode."""
    net = denoisers.build(how, around.card, around.seeds("diffusion/init"))
    net.load_state_dict(artifact.tensors("generator"))
    return net.to(around.device).eval()


def _cosine(step: int, steps: int) -> float:
    return 0.5 + 0.5 * math.cos(math.pi * step / steps)
