"""Trains the classifier that is audited.

Data are tensors on the device, indexed once per batch. Random numbers come from named streams on the CPU, so that order and
augmentation are the same for all arms of a study and on all devices.
Not here: DP-SGD (`dp_sgd`), the queries of an audit (`audit.query.classifier`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from compiler.work.operations import Private, TrainClassifier
from runtime.data.population.roles import expected_size, private_set
from runtime.outcome import Metric, Product
from runtime.seeds import Seeds
from runtime.store.artifacts import Inputs
from runtime.training.batches import Fitted, Training
from runtime.training.nets import build
from runtime.training.scoring import accuracy, reported
from runtime.training.sgd import fit


def perform(work: TrainClassifier, inputs: Inputs, device: torch.device) -> Product:
    """Train on the private set, or on the synthetic set of the need `set`. File `model`: the weights; `dynamics`, if requested and
    without DP-SGD: the log of training (see `Dynamics`). Metrics: those of `_metrics`; with DP-SGD also those of
    `Mechanism.metrics`.

    Errors as of `private_set`, of `Artifact.tensors` for `set`, of `build`, and of `fit` or (DP-SGD) of `new_mechanism` and
    `fit_privately`.
    """
    private = work.private
    if "set" in inputs:
        given = inputs["set"].tensors("set")
        images, labels = given["images"], given["labels"]
    else:
        data = private_set(private).data
        images, labels = data.images, data.labels
    training = Training(
        images=images,
        labels=labels,
        recipe=work.recipe,
        iterations=work.iterations,
        card=private.population.dataset.card,
        seeds=Seeds(private.population.seed, private.replicate, private.shadow),
        device=device,
        purpose=work.purpose,
    )

    net = build(work.recipe, training.card, training.stream("init"))
    guarantee: Iterable[Metric] = ()
    if work.privacy is None:
        fitted = fit(net, training, dynamics=work.dynamics)
    else:
        from runtime.training import dp_sgd  # loads the accountants

        size = expected_size(private.population)
        mechanism = dp_sgd.new_mechanism(work.privacy, work.recipe.batch_size, size, work.iterations)
        fitted, guarantee = dp_sgd.fit_privately(net, training, mechanism), mechanism.metrics()
    files = {"model": fitted.net.state_dict()}
    if fitted.dynamics is not None:
        files["dynamics"] = dict(fitted.dynamics)
    return Product(files, (*_metrics(fitted, private, training), *guarantee))


def _metrics(fitted: Fitted, private: Private, training: Training) -> Iterator[Metric]:
    """Metrics of a trained classifier: `train_accuracy`, on its training images (against the largest of soft labels); those of
    `reported`; `train_loss`, if there is one; `seconds` of training; `images_seen`; and `images_per_second`."""
    labels, card, device = training.labels, training.card, training.device
    hard = labels if labels.dim() == 1 else labels.argmax(1)
    yield Metric("train_accuracy", accuracy(fitted.net, training.images, hard, card, device), n=len(hard))
    yield from reported(fitted.net, private, card, device)
    if fitted.loss is not None:
        yield Metric("train_loss", fitted.loss, n=len(hard))
    yield Metric("seconds", fitted.seconds, n=1)
    yield Metric("images_seen", float(fitted.images_seen), n=1)
    yield Metric("images_per_second", fitted.images_seen / fitted.seconds, n=1)
