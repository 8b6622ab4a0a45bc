"""Training the classifier that is audited, and asking a trained one for logits.

Data are tensors on the device: one index per batch, augmentation as one gather, every random choice from a named stream. What is
drawn does not depend on the device, so the arms of a study see the same order and the same augmentation.
Not here: DP-SGD (`privacy`), the views and canaries an audit asks about (`query.classifier`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compiler.language.classifier import Augment, Recipe
from compiler.language.datasets import Card
from compiler.work.operations import Private, TrainClassifier
from runtime import siamese
from runtime.data.population.membership import saw
from runtime.data.population.roles import cast, expected_size, private_set
from runtime.nets import Classifier, build, normalise, placed
from runtime.outcome import Diverged, Metric, Product
from runtime.seeds import Seeds
from runtime.store import checkpoint
from runtime.store.artifacts import Artifact


@dataclass(frozen=True)
class Fitted:
    """A trained net and what its training was like."""

    net: Classifier
    images_seen: int
    seconds: float
    loss: float | None
    """Mean training loss over the last pass (as presented, before each step); None where nobody looked."""
    dynamics: Mapping[str, Tensor] | None = None
    """Per presentation and sample, if asked for: `correct` (uint8), `margin` and `el2n` (float32)."""


def fit(
    net: Classifier, images: Tensor, labels: Tensor, *, recipe: Recipe, iterations: int, card: Card, seeds: Seeds,
    device: torch.device, purpose: str, dynamics: bool = False,
) -> Fitted:
    """Train `net` in place for `iterations` steps of SGD on hard (int64) or soft (n × classes, float) labels.

    Every batch is full: passes follow each other without a gap, and a set smaller than a batch is repeated within it.
    Diverged if the loss stops being a number.
    """
    started = time.perf_counter()
    placed(net, device).train()
    examples = Examples(images, labels, recipe.augment, card, device, seeds(f"{purpose}/maps"))
    batches = presentations(len(labels), recipe, iterations, seeds, purpose)
    log = Dynamics(len(labels), iterations * recipe.batch_size // len(labels), device) if dynamics else None
    optimizer = torch.optim.SGD(
        net.parameters(), lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0, weight_decay=recipe.weight_decay,
        fused=True,
    )
    average = Average(net, recipe.ema) if recipe.ema is not None else None
    half = torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16")
    last_pass = max(0, iterations - max(1, len(labels) // recipe.batch_size))
    total = torch.zeros((), device=device)

    steps = checkpoint.loop(
        purpose, iterations, net=net, optimizer=optimizer, total=total, average=average, log=log, maps=examples.maps
    )
    for step, batch in zip(steps, islice(batches, steps.start, None)):   # noqa: B905 (the loop tells when it is over)
        x, y = examples.presented(batch)
        with half:
            out = net(x)
        out = out.float()
        loss = F.cross_entropy(out, y, label_smoothing=recipe.label_smoothing)
        if log is not None:
            log.record(batch, out.detach(), y)
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * pace(recipe.schedule, step, iterations)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if average is not None:
            average.update()
        if step >= last_pass:
            total += loss.detach()
        if step % 100 == 99 and not math.isfinite(loss.item()):
            raise Diverged(f"the loss is {loss.item()} at step {step + 1} of {iterations}")

    final = (total / (iterations - last_pass)).item()
    if not math.isfinite(final):
        raise Diverged(f"the loss is {final} at the end of {iterations} steps")
    if average is not None:
        average.give()
    seconds = time.perf_counter() - started
    return Fitted(net, iterations * recipe.batch_size, seconds, final, log.tensors() if log is not None else None)


def pace(schedule: str, step: int, steps: int) -> float:
    """The learning rate at `step` as a share of its peak: one_cycle rises for a fifth of the steps, then falls to 0, linearly."""
    done = (step + 0.5) / steps
    match schedule:
        case "one_cycle":
            return min(done / 0.2, (1 - done) / 0.8)
        case "cosine":
            return 0.5 + 0.5 * math.cos(math.pi * done)
    return 1.0


@dataclass(frozen=True)
class Batch:
    """Which samples are presented, for which time, and how they are changed; on the CPU, where they were drawn."""

    rows: Tensor
    """batch, int64."""
    turn: Tensor
    """batch, int64: how often the sample was presented before."""
    down: Tensor
    """batch, int64: first row of the padded image, 0..2·shift."""
    right: Tensor
    mirror: Tensor
    """batch, bool."""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> Batch:
        return Batch(self.rows[part], self.turn[part], self.down[part], self.right[part], self.mirror[part])


def presentations(samples: int, recipe: Recipe, iterations: int, seeds: Seeds, purpose: str) -> Iterator[Batch]:
    """Full batches from one random order after another."""
    order, moves = seeds(f"{purpose}/order"), seeds(f"{purpose}/augment")
    span = 2 * recipe.augment.shift + 1
    waiting = torch.empty(0, 5, dtype=torch.int64)
    turn = 0
    for _ in range(iterations):
        while len(waiting) < recipe.batch_size:
            columns = [torch.randperm(samples, generator=order), torch.full((samples,), turn)]
            columns += torch.randint(span, (2, samples), generator=moves).unbind()
            columns += [torch.randint(2, (samples,), generator=moves)]
            waiting = torch.cat([waiting, torch.stack(columns, dim=1)])
            turn += 1
        batch, waiting = waiting[: recipe.batch_size], waiting[recipe.batch_size :]
        rows, turns, down, right, mirror = batch.unbind(1)
        yield Batch(rows, turns, down, right, mirror.bool())


class Examples:
    """Images and labels on the device, ready to be presented: padded once, so that a shift is a gather."""

    def __init__(
        self, images: Tensor, labels: Tensor, augment: Augment, card: Card, device: torch.device, maps: torch.Generator
    ) -> None:
        """`maps`: the stream of `augment.dsa`."""
        self.card, self.augment, self.maps = card, augment, maps
        self.black = siamese.black_level(card).to(device)
        shift = augment.shift
        padded = F.pad(images, (shift, shift, shift, shift)).to(device)   # black, before normalisation, as the queries pad
        height, width = images.shape[2:]
        self.windows = padded.unfold(2, height, 1).unfold(3, width, 1)   # a view: n × c × down × right × height × width
        self.labels = labels.to(device)

    def presented(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Normalised images and labels of a batch."""
        device = self.labels.device
        rows = batch.rows.to(device)
        if self.augment.shift:
            taken = self.windows[rows, :, batch.down.to(device), batch.right.to(device)]
        else:
            taken = self.windows[rows, :, 0, 0]
        x = normalise(taken.contiguous(memory_format=torch.channels_last), self.card)
        if self.augment.flip:
            x = torch.where(batch.mirror.to(device)[:, None, None, None], x.flip(3), x)
        if self.augment.dsa:
            x = siamese.transformed(x, siamese.draw(len(x), self.card, self.maps).to(device), self.black)
        return x, self.labels[rows]


class Dynamics:
    """Correctness, margin and error norm of every sample at every whole pass, from the logits of the training itself.

    Forgetting: Toneva et al. 2019; EL2N: Paul et al. 2021; margin (area under the margin, by its mean): Pleiss et al. 2020.
    """

    def __init__(self, samples: int, passes: int, device: torch.device) -> None:
        self.passes = passes
        self.correct = torch.zeros(passes, samples, dtype=torch.uint8, device=device)
        self.margin = torch.zeros(passes, samples, device=device)
        self.el2n = torch.zeros(passes, samples, device=device)

    def state(self) -> dict[str, Tensor]:
        return self.tensors()

    def restore(self, state: dict[str, Tensor]) -> None:
        self.correct, self.margin, self.el2n = (state[name].to(self.margin.device) for name in ("correct", "margin", "el2n"))

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

    def tensors(self) -> dict[str, Tensor]:
        return {"correct": self.correct, "margin": self.margin, "el2n": self.el2n}


class Average:
    """Exponential moving average of a net's weights and running statistics, warmed up by (1 + t) / (10 + t)."""

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.live = [tensor for tensor in net.state_dict().values() if tensor.is_floating_point()]
        self.kept = [tensor.clone() for tensor in self.live]

    def state(self) -> dict[str, Tensor]:
        return {"steps": torch.tensor(self.steps), **{str(place): tensor for place, tensor in enumerate(self.kept)}}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.steps = int(state["steps"])
        for place, tensor in enumerate(self.kept):
            tensor.copy_(state[str(place)])

    @torch.no_grad()
    def update(self) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.kept, self.live, 1 - decay)

    @torch.no_grad()
    def give(self) -> None:
        """Make the average the net's weights."""
        torch._foreach_copy_(self.live, self.kept)


SCORED_TOGETHER = 256
"""Images per forward pass when scoring: always this many, so that no image's logits depend on how many were asked about."""


@torch.inference_mode()
def logits(net: Classifier, images: Tensor, card: Card, device: torch.device) -> Tensor:
    """n × classes, float32, on the CPU, in eval mode. An image's logits do not depend on its batch mates."""
    training = net.training
    placed(net, device).eval()
    found = [torch.empty(0, card.classes)]
    for chunk in images.split(SCORED_TOGETHER) if len(images) else ():   # a z pool may be empty
        fill = SCORED_TOGETHER - len(chunk)
        full = torch.cat([chunk, chunk[-1:].expand(fill, -1, -1, -1)]) if fill else chunk
        found.append(net(normalise(full.to(device), card))[: len(chunk)].float().cpu())
    net.train(training)
    return torch.cat(found)


def accuracy(net: Classifier, images: Tensor, labels: Tensor, card: Card, device: torch.device) -> float:
    """Share of images whose largest logit is their label's."""
    return (logits(net, images, card, device).argmax(1) == labels.cpu()).to(torch.float64).mean().item()


def perform(work: TrainClassifier, inputs: Mapping[str, Artifact], device: torch.device) -> Product:
    """Train on the private set, or on the set of the need `set`; the weights and what became of them."""
    private, recipe = work.private, work.recipe
    card = private.population.dataset.card
    seeds = Seeds(private.population.seed, private.replicate, private.shadow)
    if "set" in inputs:
        given = inputs["set"].tensors("set")
        images, labels = given["images"], given["labels"]
    else:
        data = private_set(private).data
        images, labels = data.images, data.labels

    net = build(recipe, card, seeds(f"{work.purpose}/init"))
    extra: tuple[Metric, ...] = ()
    if work.privacy is None:
        fitted = fit(
            net, images, labels, recipe=recipe, iterations=work.iterations, card=card, seeds=seeds, device=device,
            purpose=work.purpose, dynamics=work.dynamics,
        )
    else:
        from runtime import privacy  # loads the accountants

        fitted, spent = privacy.fit_privately(
            net, images, labels, recipe=recipe, privacy=work.privacy, iterations=work.iterations,
            expected=expected_size(private.population), card=card, seeds=seeds, device=device, purpose=work.purpose,
        )
        extra = tuple(privacy.metrics(spent))
    files = {"model": fitted.net.state_dict()}
    if fitted.dynamics is not None:
        files["dynamics"] = dict(fitted.dynamics)
    return Product(files, (*_metrics(fitted, private, images, labels, card, device), *extra))


def _metrics(
    fitted: Fitted, private: Private, images: Tensor, labels: Tensor, card: Card, device: torch.device
) -> Iterator[Metric]:
    """What every trainer reports."""
    hard = labels if labels.dim() == 1 else labels.argmax(1)
    yield Metric("train_accuracy", accuracy(fitted.net, images, hard, card, device), n=len(hard))
    yield from reported(fitted.net, private, card, device)
    if fitted.loss is not None:
        yield Metric("train_loss", fitted.loss, n=len(hard))
    yield Metric("seconds", fitted.seconds, n=1)
    yield Metric("images_seen", float(fitted.images_seen), n=1)
    yield Metric("images_per_second", fitted.images_seen / fitted.seconds, n=1)


def reported(net: Classifier, private: Private, card: Card, device: torch.device) -> Iterator[Metric]:
    """Accuracy on the test set, and on each group of canaries by whether this shadow held them (label: the scored one)."""
    parts = cast(private.population)
    yield Metric("test_accuracy", accuracy(net, parts.test.images, parts.test.labels, card, device), n=len(parts.test))
    said = [logits(net, group.images, card, device) for group in parts.groups]
    yield from canary_accuracy(torch.cat(said), private)


def canary_accuracy(said: Tensor, private: Private) -> Iterator[Metric]:
    """Of each group of canaries by whether this shadow held them. said: canary × class, logits."""
    parts = cast(private.population)
    member = torch.from_numpy(saw(private.population, private.design, private.replicate, private.shadow, private.shadows).copy())
    first = 0
    for group in parts.groups:
        held, right = member[first : first + len(group)], said[first : first + len(group)].argmax(1) == group.labels
        first += len(group)
        for side, of in (("in", held), ("out", ~held)):
            share = right[of].to(torch.float64).mean().item() if of.any() else None
            yield Metric(f"canary_accuracy_{side}", share, n=int(of.sum()), canaries=group.name)
