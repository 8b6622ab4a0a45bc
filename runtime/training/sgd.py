"""Trains by SGD, with an optional log of training dynamics."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from runtime.outcome import Diverged
from runtime.training.batches import Batch, Examples, Fitted, Training, descend, presentations
from runtime.training.nets import Classifier, to_device


def fit(net: Classifier, training: Training, *, dynamics: bool = False) -> Fitted:
    """Train `net` in place by SGD on hard or soft labels; it stays on the device, in train mode. With `dynamics`, log every
    sample's correctness, margin and EL2N (see `Dynamics`); else the result's `dynamics` is None.

    Every batch is full: a batch may span two epochs, and a set smaller than a batch is repeated within it. Diverged if the loss is
    not finite at step 100, 200, … (counted from 1) or in the mean over the last epoch.
    """
    started = time.perf_counter()
    recipe, iterations, device, samples = training.recipe, training.iterations, training.device, len(training.labels)
    to_device(net, device).train()
    examples, half = Examples(training), training.autocast
    log = Dynamics(samples, iterations * recipe.batch_size // samples, device) if dynamics else None
    last_pass = max(0, iterations - max(1, samples // recipe.batch_size))
    total = torch.zeros((), device=device)

    def set_gradients(step: int, batch: Batch) -> Tensor:
        x, y = examples.present(batch)
        with half:
            out = net(x)
        out = out.float()
        loss = F.cross_entropy(out, y, label_smoothing=recipe.label_smoothing)
        if log is not None:
            log.record(batch, out.detach(), y)
        loss.backward()
        if step >= last_pass:
            total.add_(loss.detach())
        if step % 100 == 99 and not math.isfinite(loss.item()):
            raise Diverged(f"the loss is {loss.item()} at step {step + 1} of {iterations}; lower lr")
        return loss

    descend(net, training, presentations(training), set_gradients, total=total, log=log, maps=examples.maps)
    final = (total / (iterations - last_pass)).item()
    if not math.isfinite(final):
        raise Diverged(f"the loss is {final} at the end of {iterations} steps; lower lr")
    seconds = time.perf_counter() - started
    return Fitted(net, iterations * recipe.batch_size, seconds, final, log.state_dict() if log is not None else None)


class Dynamics(nn.Module):
    """Correctness, margin and EL2N of every sample in every complete epoch (epoch × sample), from the logits of training batches.
    The class of a soft label is that of its largest probability.

    Forgetting: Toneva et al. 2019; EL2N: Paul et al. 2021; margin, between the label's probability and the largest other one (area
    under the margin, by its mean): Pleiss et al. 2020.
    """

    def __init__(self, samples: int, passes: int, device: torch.device) -> None:
        super().__init__()
        self.passes = passes
        self.correct = nn.Buffer(torch.zeros(passes, samples, dtype=torch.uint8, device=device))
        self.margin, self.el2n = (nn.Buffer(torch.zeros(passes, samples, device=device)) for _ in range(2))

    @torch.no_grad()
    def record(self, batch: Batch, out: Tensor, y: Tensor) -> None:
        target = y if y.is_floating_point() else F.one_hot(y, out.shape[1]).to(out.dtype)
        label = target.argmax(1)
        p = out.softmax(1)
        whole = batch.turn < self.passes
        where = (batch.turn[whole].to(out.device), batch.rows[whole].to(out.device))
        whole = whole.to(out.device)
        own = p.gather(1, label[:, None])[:, 0]
        others = p.scatter(1, label[:, None], -1.0).amax(1)
        self.correct[where] = (out.argmax(1) == label)[whole].to(torch.uint8)
        self.margin[where] = (own - others)[whole]
        self.el2n[where] = (p - target).norm(dim=1)[whole]
