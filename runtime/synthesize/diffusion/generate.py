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
from runtime.synthesize.diffusion.process import denoise, denoising_errors, new_scheduler
from runtime.synthesize.release import Release, Setting, Surroundings
from runtime.training import dp_sgd, nets
from runtime.training.batches import EMA
from runtime.training.scoring import logits

IMAGES_DRAWN_AT_ONCE = 512
"""Images per denoising pass."""


def train_generator(how: Denoiser, private: LabeledImages, around: Surroundings) -> Product:
    """Train the denoiser; file `generator` holds the averaged weights. Diverged if the loss stops being a number."""
    net = denoisers.build(how, around.card, around.seeds("diffusion/init")).to(around.device)
    net.prepare(private.images.to(around.device))
    examples, ema = NoisedExamples(how, net, private, around), EMA(net, how.ema)
    # The expected size is public: neither the number of steps nor, with DP-SGD, its noise may tell the size of this private set.
    steps = max(1, math.ceil(how.epochs * around.expected_size / how.batch_size))
    spent: tuple[Metric, ...] = ()
    if how.privacy is None:
        losses = _train(net, examples, steps, ema)
    else:
        mechanism = dp_sgd.new_mechanism(how.privacy, how.batch_size, around.expected_size, steps)
        losses = _train_privately(net, examples, mechanism, ema)
        spent = tuple(mechanism.metrics())
    late = losses[-max(1, steps // 20) :]
    loss = sum(late) / len(late)
    if not math.isfinite(loss):
        raise Diverged(f"the denoiser's loss is {loss} after {steps} steps; lower lr ({how.lr:g})")
    ema.copy_to_net()
    metrics = (
        Metric("denoiser_loss", loss, n=len(late), note="what training lowers, mean of the last twentieth of the steps"),
        Metric("images_seen", float(steps * how.batch_size), n=1),
        *spent,
    )
    declared = {"declared": f"{how.components} principal components of the private images"} if how.net == "latent_mlp" else {}
    return Product({"generator": net.state_dict()}, metrics, declared)


class NoisedExamples:
    """The private signals and labels on the device, and the noise under which a denoiser in training sees them."""

    def __init__(self, how: Denoiser, net: denoisers.Net, private: LabeledImages, around: Surroundings) -> None:
        self.how, self.seeds, self.device, self.none = how, around.seeds, around.device, around.card.classes
        self.scheduler = new_scheduler(how)
        self.signals, self.labels = net.encoded(private.images.to(self.device)), private.labels.to(self.device)
        self.draws = around.seeds("diffusion/training")

    def __len__(self) -> int:
        return len(self.labels)

    def noised(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of each row: its signal, noise, a level, and its label or, for a share of them, that of no class."""
        rows = rows.to(self.device)
        signals = self.signals[rows]
        level = torch.randint(self.how.timesteps, (len(rows),), generator=self.draws).to(self.device)
        noise = torch.randn(signals.shape, generator=self.draws).to(self.device)
        hidden = (torch.rand(len(rows), generator=self.draws) < self.how.unlabeled).to(self.device)
        return signals, noise, level, torch.where(hidden, self.none, self.labels[rows])


def _train(net: denoisers.Net, examples: NoisedExamples, steps: int, ema: EMA) -> list[float]:
    """AdamW; the loss of each step."""
    how = examples.how
    optimizer = torch.optim.AdamW(net.parameters(), lr=how.lr, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 + 0.5 * math.cos(math.pi * step / steps))
    losses: list[Tensor] = []
    parts: dict[str, checkpoint.Part] = {"net": net, "optimizer": optimizer, "schedule": schedule, "ema": ema}
    for _ in checkpoint.loop("diffusion", steps, **parts, draws=examples.draws, losses=losses):
        rows = torch.randint(len(examples), (how.batch_size,), generator=examples.draws)
        loss = denoising_errors(net, examples.scheduler, *examples.noised(rows)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        ema.update()
        losses.append(loss.detach())
    return [loss.item() for loss in losses]


def _train_privately(net: denoisers.Net, examples: NoisedExamples, mechanism: dp_sgd.Mechanism, ema: EMA) -> list[float]:
    """DP-SGD with Adam; the mean loss of each step. What is averaged are clipped, noised gradients, so all that follows is free
    (Dockhorn et al. 2023).

    Each image is seen under `multiplicity` noises and levels, whose gradients are averaged before they are clipped.
    """
    copies = mechanism.privacy.multiplicity
    chosen, noise = examples.seeds("diffusion/poisson"), examples.seeds("diffusion/privacy noise")
    optimizer = torch.optim.AdamW(net.parameters(), lr=examples.how.lr, weight_decay=0.0, fused=True)

    def loss(weights: dict[str, Tensor], *noised: Tensor) -> Tensor:
        return denoising_errors(lambda *x: functional_call(net, weights, x), examples.scheduler, *noised).mean()

    def chunks(rows: Tensor) -> Iterator[tuple[Tensor, ...]]:
        for part in rows.split(dp_sgd.samples_at_once(net, copies)) if len(rows) else ():
            yield tuple(each.unflatten(0, (-1, copies)) for each in examples.noised(part.repeat_interleave(copies)))

    losses: list[Tensor] = []
    parts: dict[str, checkpoint.Part] = {"net": net, "optimizer": optimizer, "ema": ema, "draws": examples.draws}
    for _ in checkpoint.loop("diffusion", mechanism.steps, **parts, chosen=chosen, noise=noise, losses=losses):
        rows = (torch.rand(len(examples), generator=chosen) < mechanism.sampling_rate).nonzero()[:, 0]
        lost = mechanism.set_gradients(net, loss, chunks(rows), noise)
        optimizer.step()
        ema.update()
        losses.append(lost / len(rows) if len(rows) else torch.zeros(()))
    return [found.item() for found in losses]


def synthesize(how: Conditional | ImageToImage, private: LabeledImages, needs: Mapping[str, Artifact], setting: Setting) -> Release:
    """Draw the set. An SDEdit twin's origin is the private image that it was made from."""
    net = restored(how.denoiser, needs["generator"], setting)
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
    declared = "labels in the proportions of the private set" if how.denoiser.privacy is None else "labels alike for all classes"
    notes = {"denoising_passes": len(labels) * how.passes, "declared": declared}
    return Release(images[kept], labels[kept], None if origins is None else origins[kept], metrics=metrics, notes=notes)


def plan_set(
    how: Conditional | ImageToImage, private: LabeledImages, setting: Setting, draws: torch.Generator
) -> tuple[Tensor | None, Tensor]:
    """The private row that each image begins from, if it does, and the label of each."""
    if how.denoiser.privacy is not None:  # neither the size of this private set nor its labels may show
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
    """n × channels × height × width, uint8: from noise, or from the images `begin`."""
    noise = torch.randn(len(labels), *net.shape, generator=draws).to(setting.device)
    signals = None if begin is None else net.encoded(begin.to(setting.device))
    drawn = denoise(net, how, labels.to(setting.device), setting.card.classes, noise, draws, signals)
    return net.decoded(drawn, draws).cpu()


def confident_rows(images: Tensor, labels: Tensor, least: float, teacher: Artifact, setting: Setting) -> Tensor:
    """Rows that the shadow's own undefended classifier assigns their label with at least this probability; of each class at least
    one."""
    classifier = nets.restored(setting.recipe, setting.card, teacher.tensors("model"))
    own = logits(classifier, images, setting.card, setting.device).softmax(1).gather(1, labels[:, None])[:, 0]
    kept = own >= least
    for label in labels.unique():
        rows = (labels == label).nonzero()[:, 0]
        kept[rows[own[rows].argmax()]] = True  # a class must not vanish from the training set
    return kept.nonzero()[:, 0]


def restored(how: Denoiser, artifact: Artifact, around: Surroundings) -> denoisers.Net:
    """A trained denoiser from its artifact, in eval mode."""
    net = denoisers.build(how, around.card, around.seeds("diffusion/init"))
    net.load_state_dict(artifact.tensors("generator"))
    return net.to(around.device).eval()
