"""Trains denoisers: noised examples, and steps of AdamW on plain or on DP-SGD's gradients.

Only parameters that require a gradient are updated. Not here: which those are (`bases`), sampling (`generate`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from compiler.language.methods.diffusion import Denoiser, Pretraining
from runtime.data.images import LabeledImages
from runtime.outcome import Diverged, Metric
from runtime.store import checkpoint
from runtime.synthesize.diffusion.denoisers import Net
from runtime.synthesize.diffusion.process import denoising_errors
from runtime.synthesize.release import Surroundings
from runtime.training import dp_sgd
from runtime.training.batches import EMA, half_cosine


class NoisedExamples:
    """Training data of a denoiser: signals and labels on the device, with random noise and levels."""

    def __init__(self, net: Net, scheduler: Any, images: LabeledImages, unlabeled: float, around: Surroundings) -> None:
        self.scheduler, self.unlabeled, self.device, self.none = scheduler, unlabeled, around.device, around.card.classes
        self.signals, self.labels = net.encoded(images.images.to(self.device)), images.labels.to(self.device)
        self.draws = around.seeds("diffusion/training")

    def __len__(self) -> int:
        return len(self.labels)

    def noised(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """For each of `rows` (indices of examples): its signal; normal noise and a uniform level, drawn here; its label, or with
        probability `unlabeled` that of no class. Four tensors on the device."""
        rows = rows.to(self.device)
        signals = self.signals[rows]
        level = torch.randint(self.scheduler.config.num_train_timesteps, (len(rows),), generator=self.draws).to(self.device)
        noise = torch.randn(signals.shape, generator=self.draws).to(self.device)
        hidden = (torch.rand(len(rows), generator=self.draws) < self.unlabeled).to(self.device)
        return signals, noise, level, torch.where(hidden, self.none, self.labels[rows])


def fit(
    net: Net, how: Denoiser | Pretraining, examples: NoisedExamples, steps: int, ema: float, private: PrivateSteps | None = None
) -> Metric:
    """Train the parameters that require a gradient by AdamW, in place, and at the end replace them by their moving average (decay
    `ema`). Metric `denoiser_loss`, the mean loss of the last twentieth of the steps; Diverged if that is not finite.

    Without `private` the learning rate decays by half a cosine, and a batch's gradient is clipped to norm 1. With it, gradients are
    those of DP-SGD and the learning rate is constant; AdamW and the average are post-processing of privatised gradients (Dockhorn
    et al. 2023).
    """
    tuned = nn.ParameterList(parameter for parameter in net.parameters() if parameter.requires_grad)
    average = EMA(tuned, ema)
    optimizer = torch.optim.AdamW(tuned, lr=how.lr, weight_decay=0.0, fused=True)
    parts: checkpoint.Parts = {"tuned": tuned, "optimizer": optimizer, "ema": average, **(private.parts if private else {})}
    for step in (loop := checkpoint.loop("diffusion", steps, **parts, draws=examples.draws)):
        if private is not None:
            loss = private.set_gradients()
        else:
            rows = torch.randint(len(examples), (how.batch_size,), generator=examples.draws)
            loss = denoising_errors(net, examples.scheduler, *examples.noised(rows)).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(tuned, 1.0)
            optimizer.param_groups[0]["lr"] = how.lr * half_cosine(step, steps)
        optimizer.step()
        average.update()
        loop.log(loss)
    late = [found.item() for found in loop.losses[-max(1, steps // 20) :]]
    mean = sum(late) / len(late)
    if not math.isfinite(mean):
        raise Diverged(f"the denoiser's loss is {mean} after {steps} steps; lower lr ({how.lr:g})")
    average.copy_to_net()
    return Metric("denoiser_loss", mean, n=len(late), note="what training lowers, mean of the last twentieth of the steps")


class PrivateSteps:
    """Gradients by DP-SGD. For each image, gradients under `multiplicity` noises and levels are averaged before they are
    clipped."""

    def __init__(self, net: Net, examples: NoisedExamples, mechanism: dp_sgd.Mechanism, around: Surroundings) -> None:
        self.net, self.examples, self.mechanism = net, examples, mechanism
        self.chosen, self.noise = around.seeds("diffusion/poisson"), around.seeds("diffusion/privacy noise")
        self.parts: checkpoint.Parts = {"chosen": self.chosen, "noise": self.noise}
        self.loss = _loss_of_one(net, examples.scheduler)

    def set_gradients(self) -> Tensor:
        """Set the privatised gradients of a Poisson batch; returns the batch's mean loss (0 for an empty batch), which is not
        privatised."""
        rows = (torch.rand(len(self.examples), generator=self.chosen) < self.mechanism.sampling_rate).nonzero()[:, 0]
        lost = self.mechanism.set_gradients(self.net, self.loss, self._chunks(rows), self.noise)
        return lost / len(rows) if len(rows) else torch.zeros(())

    def _chunks(self, rows: Tensor) -> Iterator[tuple[Tensor, ...]]:
        copies = self.mechanism.privacy.multiplicity
        for part in rows.split(dp_sgd.samples_at_once(self.net, copies)) if len(rows) else ():
            yield tuple(each.unflatten(0, (-1, copies)) for each in self.examples.noised(part.repeat_interleave(copies)))


def _loss_of_one(net: Net, scheduler: Any) -> Callable[..., Tensor]:
    def loss(weights: dict[str, Tensor], *noised: Tensor) -> Tensor:
        return denoising_errors(lambda *x: functional_call(net, weights, x), scheduler, *noised).mean()

    return loss
