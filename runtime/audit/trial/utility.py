"""A trial's accuracy, over its test images and shadows, and its cost, over its shadows: means with their intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compiler.fingerprint import parse_canonical, restore
from compiler.inspect.cost.guess import cost
from compiler.work.operations import AttackTrial, Dataset, structures
from runtime.audit.statistics.testing import accuracy_of, from_pairs
from runtime.data.population.roles import roles_of
from runtime.outcome import Metric
from runtime.store.artifacts import Artifact

METRICS_BY_ROLE = {
    "final_model": {"test_accuracy"},
    "model": {"train_accuracy", "canary_accuracy_in", "canary_accuracy_out", "images_seen"},
    "synthesize": {"images", "share_selected", "canary_share_selected", "canary_enrichment", "student_agreement"},
    "synthetic_set": {"nearest_pixel_distance", "nearest_public_distance", "trace_back_rate"},
}
"""Role of a task → its metrics that are averaged over shadows."""

PROPORTIONS = (
    "test_accuracy", "train_accuracy", "canary_accuracy_in", "canary_accuracy_out", "share_selected", "canary_share_selected",
    "trace_back_rate",
)  # fmt: skip
"""Metrics whose interval is clipped at 1; all are clipped at 0, since shares, counts and seconds are never negative."""


def utility(work: AttackTrial, inputs: Mapping[str, Artifact]) -> Iterator[Metric]:
    """The trial's metrics without attack: accuracies on test, training and canary images, that of the commonest class
    (`chance_accuracy`), METRICS_BY_ROLE of its models and synthetic sets, the accountant's epsilon and noise multiplier of shadow
    0's pipeline, and seconds (without a value where a task's are not known). What no task states is left out. Corrupt where a
    record or file of a task is damaged."""
    models = [inputs[f"model/{shadow}"].outcome for shadow in range(work.shadows)]
    asked = [inputs[f"final_model/{shadow}"].outcome for shadow in range(work.shadows)]
    made = [
        inputs[f"{role}/{shadow}"].outcome
        for role in ("synthesize", "synthetic_set")
        for shadow in range(work.shadows)
        if f"{role}/{shadow}" in inputs
    ]
    right = correctness(work, inputs)
    if right is None:
        yield from _means(asked, METRICS_BY_ROLE["final_model"], work.confidence)
    else:
        found = accuracy_of(right.numpy(), work.confidence)
        how = f"mean over {work.shadows} shadows and {len(right)} test images, both drawn"
        yield _cut(Metric("test_accuracy", found.value, found.low, found.high, found.n, how))
    labels = roles_of(work.population).test.labels
    yield Metric("chance_accuracy", labels.bincount().max().item() / len(labels), n=len(labels), note="the commonest class alone")
    yield from _means(models, METRICS_BY_ROLE["model"], work.confidence)
    if made:
        yield from _means(made, METRICS_BY_ROLE["synthesize"] | METRICS_BY_ROLE["synthetic_set"], work.confidence)
    for artifact in inputs["model/0"].ancestry():  # DP-SGD trained the classifier, or the generator behind its images
        for metric in artifact.outcome["metrics"]:
            if metric["name"] in ("epsilon", "noise_multiplier"):
                yield Metric(
                    metric["name"], metric["value"], n=1, note="; ".join(filter(None, [metric["note"], _single_records(work)]))
                )
    seconds = _pipeline_seconds(work, inputs)
    unknown = Metric("seconds", None, n=0, note="made elsewhere, by files that do not say `seconds`")
    yield _mean("seconds", seconds, work.confidence) if seconds else unknown


def _single_records(work: AttackTrial) -> str:
    """A note for canaries that are in the private set several times: the accountant's epsilon is about single records. "" if none
    are."""
    several = [f"{name} ({words.copies} times)" for name, words in work.population.groups if words.copies > 1]
    return f"of single records, not of canaries that are in several times: {', '.join(several)}" if several else ""


def correctness(work: AttackTrial, inputs: Mapping[str, Artifact]) -> Tensor | None:
    """test image × shadow, uint8: 1 where the final model's prediction is correct; None where some shadow's answers lack it.
    Corrupt where a file of answers is damaged."""
    asked = [inputs[f"final_model/{shadow}"] for shadow in range(work.shadows)]
    if not all("test" in artifact.stems for artifact in asked):
        return None
    return torch.stack([artifact.tensors("test")["correct"] for artifact in asked], dim=1)


def _pipeline_seconds(work: AttackTrial, inputs: Mapping[str, Artifact]) -> list[float]:
    """shadow: seconds of its whole pipeline (proxy, teacher or generator, set, classifier); [] where those of any task of any
    shadow are not known. Corrupt where a record of a task is damaged."""
    pipelines = [inputs[f"model/{shadow}"].ancestry() for shadow in range(work.shadows)]
    spent = [[_task_seconds(artifact) for artifact in pipeline] for pipeline in pipelines]
    return [sum(filter(None, stages)) for stages in spent] if all(None not in stages for stages in spent) else []


def _task_seconds(artifact: Artifact) -> float | None:
    """Wall-clock seconds of a task; of one made elsewhere, those that the user's file declares, or None."""
    if artifact.outcome["notes"].get("made_elsewhere"):
        return artifact.metric("seconds")
    return float(artifact.outcome["provenance"]["seconds"])


def _pipeline_flops(work: AttackTrial, inputs: Mapping[str, Artifact]) -> list[float]:
    """shadow: floating-point operations of its whole pipeline, estimated from its tasks' parameters; [] where part of any pipeline
    was made elsewhere, or its parameters cannot be restored. Corrupt where a record of a task is damaged."""
    sources = {data.digest: data.source for data in (work.population.dataset, work.population.public) if data is not None}
    types = structures() | {"Dataset": lambda digest, **fields: Dataset(digest=digest, source=sources.get(digest), **fields)}
    found = []
    for shadow in range(work.shadows):
        pipeline = inputs[f"model/{shadow}"].ancestry()
        if any(artifact.outcome["notes"].get("made_elsewhere") for artifact in pipeline):
            return []
        try:
            found.append(sum(cost(restore(parse_canonical(artifact.text).params, types)).flops for artifact in pipeline))
        except (KeyError, TypeError, ValueError):  # parameters of another version, or of a plug-in that is not installed
            return []
    return found


def per_shadow(work: AttackTrial, inputs: Mapping[str, Artifact]) -> dict[str, Tensor]:
    """Name of a metric, with `/<group>` where it is of a canary group → shadow, float64: seconds and FLOPs of the pipeline, and
    METRICS_BY_ROLE; those alone that have a value for every shadow. Corrupt where a record of a task is damaged."""
    found: dict[str, list[float]] = {"seconds": _pipeline_seconds(work, inputs), "flops": _pipeline_flops(work, inputs)}
    for shadow in range(work.shadows):
        for role, names in METRICS_BY_ROLE.items():
            artifact = inputs.get(f"{role}/{shadow}")
            for metric in artifact.outcome["metrics"] if artifact is not None else ():
                if metric["name"] in names and metric["value"] is not None:
                    name = "/".join(filter(None, [metric["name"], metric["canaries"]]))
                    found.setdefault(name, []).append(metric["value"])
    whole = {name: values for name, values in found.items() if len(values) == work.shadows}
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in whole.items()}


def _means(outcomes: list[Mapping[str, Any]], names: set[str], confidence: float) -> Iterator[Metric]:
    """The mean of each of the metrics in `names`, by canary group, over those of `outcomes` that have a value; nothing where none
    has one."""
    values: dict[tuple[str, str], list[float]] = {}
    for outcome in outcomes:
        for metric in outcome["metrics"]:
            if metric["name"] in names and metric["value"] is not None:
                values.setdefault((metric["name"], metric["canaries"]), []).append(metric["value"])
    for (name, group), found in values.items():
        yield replace(_mean(name, found, confidence), canaries=group)


def _mean(name: str, values: list[float], confidence: float) -> Metric:
    """The mean with its Student's t interval, clipped to possible values; no interval where there is a single value, or all are
    equal."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Metric(name, mean, n=len(values))
    around = from_pairs(np.array(values), confidence)
    return _cut(Metric(name, mean, around.low, around.high, len(values), "mean over shadows"))


def _cut(metric: Metric) -> Metric:
    """The metric with its interval clipped at 0, and at 1 for PROPORTIONS."""
    if metric.low is None or metric.high is None:
        return metric
    return replace(metric, low=max(metric.low, 0.0), high=min(metric.high, 1.0 if metric.name in PROPORTIONS else np.inf))
