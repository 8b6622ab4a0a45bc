"""Decoupled distillation: train a classifier on the private set, recover images by inverting it, label them with it.

SRe2L (Yin, Xing and Shen, NeurIPS 2023), with the shadow's undefended classifier as teacher. The release depends on the private set
through the teacher alone, unless images are initialised from private ones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from compiler.language.methods.distillation import Recovery
from runtime.data.images import LabeledImages
from runtime.outcome import Diverged
from runtime.store import checkpoint
from runtime.store.artifacts import Inputs
from runtime.synthesize.data_free_kd.losses import Critic, default_shift
from runtime.synthesize.distillation.initial import finish, initialise
from runtime.synthesize.release import Release, Setting
from runtime.training import nets

IMAGES_AT_ONCE = 250
"""Most images of a batch in recovery, whose batch statistics are compared with the teacher's."""


def synthesize(how: Recovery, private: LabeledImages, needs: Inputs, setting: Setting) -> Release:
    """Recover `images_per_class` images of each class that the private set has from the classifier of the need `teacher`. The
    release holds the images after the last step, clipped to 0..1, with their class as label or, for `labels: soft`, the teacher's
    probabilities at softmax temperature `temperature`.

    Note `loss_last`: the last loss of the last batch. SynthcError as of `initialise`; Diverged if the last loss of a batch is not
    finite, and as of `finish`; other errors as of `Artifact.tensors`.
    """
    teacher = nets.restored(setting.recipe, setting.card, needs["teacher"].tensors("model")).to(setting.device)
    critic = Critic(teacher, how.losses, setting.card, default_shift(setting.card), setting.seeds("sre2l/shifts"))

    def as_grey_levels(pixels: Tensor) -> Tensor:
        return nets.grey_levels(pixels, setting.card).clamp(0, 1)

    start = initialise(how, private, setting)
    recovered, last = [], math.nan
    # Strided, so that every batch has images of all classes, as the data behind the teacher's running statistics had.
    batches = math.ceil(len(start.labels) / IMAGES_AT_ONCE)
    order = torch.cat([torch.arange(first, len(start.labels), batches) for first in range(batches)])
    for rows in order.split(math.ceil(len(order) / batches)):
        pixels = start.pixels[rows].to(setting.device).requires_grad_(True)
        wanted = start.labels[rows].to(setting.device)
        optimizer = torch.optim.Adam([pixels], lr=how.lr, betas=(0.5, 0.9))
        for _ in (steps := checkpoint.loop("sre2l", how.steps, pixels=pixels, optimizer=optimizer, moves=critic.moves)):
            loss, _, _ = critic(as_grey_levels(pixels), wanted)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            steps.log(loss)
        last = steps.losses[-1].item()
        if not math.isfinite(last):
            raise Diverged(f"sre2l: the loss is {last} after {how.steps} steps; lower lr ({how.lr:g})")
        recovered.append(nets.normalise(as_grey_levels(pixels.detach()), setting.card))  # clipped, as in the loss
    images = torch.cat(recovered)[order.argsort()]
    labels = None
    if how.labels == "soft":
        with torch.no_grad():
            labels = (teacher(images) / how.temperature).softmax(1).cpu()
    return finish(start, images, setting.card, labels, {"loss_last": last})
