"""A trial's accuracy and cost: means over its shadows with a t interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from compiler.fingerprint import parse_canonical, restore
from compiler.inspect.cost.guess import cost
from compiler.work.operations import AttackTrial, Dataset, structures
from runtime.outcome import Metric
from runtime.store.artifacts import Artifact

METRICS_BY_ROLE = {
    "final_model": {"test_accuracy"},
    "model": {"train_accuracy", "canary_accuracy_in", "canary_accuracy_out", "images_seen"},
    "synthesize": {"images", "canary_share_selected", "canary_enrichment", "student_agreement"},
    "synthetic_set": {"nearest_pixel_distance", "nearest_public_distance", "trace_back_rate"},
}
"""Role → figures of its tasks that are figures of the trial."""

PROPORTIONS = (
    "test_accuracy", "train_accuracy", "canary_accuracy_in", "canary_accuracy_out", "canary_share_selected", "trace_back_rate"
)  # fmt: skip
"""Means whose interval is cut at 1; all are cut at 0, since shares, counts and seconds are never less."""


def utility(work: AttackTrial, inputs: Mapping[str, Artifact]) -> Iterator[Metric]:
    """Accuracy, canary accuracy and cost of the trial: means over shadows with a t interval."""
    models = [inputs[f"model/{shadow}"].outcome for shadow in range(work.shadows)]
    asked = [inputs[f"final_model/{shadow}"].outcome for shadow in range(work.shadows)]
    made = [
        inputs[f"{role}/{shadow}"].outcome
        for role in ("synthesize", "synthetic_set")
        for shadow in range(work.shadows)
        if f"{role}/{shadow}" in inputs
    ]
    yield from _means(asked, METRICS_BY_ROLE["final_model"], work.confidence)
    yield from _means(models, METRICS_BY_ROLE["model"], work.confidence)
    if made:
        yield from _means(made, METRICS_BY_ROLE["synthesize"] | METRICS_BY_ROLE["synthetic_set"], work.confidence)
    for artifact in inputs["model/0"].ancestry():  # DP-SGD trained the classifier, or the generator behind its images
        for metric in artifact.outcome["metrics"]:
            if metric["name"] in ("epsilon", "noise_multiplier"):
                yield Metric(metric["name"], metric["value"], n=1, note=metric["note"])
    seconds = _pipeline_seconds(work, inputs)
    unknown = Metric("seconds", None, n=0, note="made elsewhere, by files that do not say `seconds`")
    yield _mean("seconds", seconds, work.confidence) if seconds else unknown


def _pipeline_seconds(work: AttackTrial, inputs: Mapping[str, Artifact]) -> list[float]:
    """Of each shadow's whole pipeline: proxy, teacher or generator, the set, and the classifier; none where that is not known."""
    pipelines = [inputs[f"model/{shadow}"].ancestry() for shadow in range(work.shadows)]
    spent = [[_task_seconds(artifact) for artifact in pipeline] for pipeline in pipelines]
    return [sum(filter(None, stages)) for stages in spent] if all(None not in stages for stages in spent) else []


def _task_seconds(artifact: Artifact) -> float | None:
    """Seconds of a task; of what was made elsewhere, those that its file says."""
    if artifact.outcome["notes"].get("made_elsewhere"):
        return artifact.metric("seconds")
    return float(artifact.outcome["provenance"]["seconds"])


def _pipeline_flops(work: AttackTrial, inputs: Mapping[str, Artifact]) -> list[float]:
    """Counted work of each shadow's whole pipeline, from the words of its tasks; none where part of it was made elsewhere."""
    sources = {data.digest: data.source for data in (work.population.dataset, work.population.public) if data is not None}
    types = structures() | {"Dataset": lambda digest, **fields: Dataset(digest=digest, source=sources.get(digest), **fields)}
    found = []
    for shadow in range(work.shadows):
        pipeline = inputs[f"model/{shadow}"].ancestry()
        if any(artifact.outcome["notes"].get("made_elsewhere") for artifact in pipeline):
            return []
        found.append(sum(cost(restore(parse_canonical(artifact.text).params, types)).flops for artifact in pipeline))
    return found


def per_shadow(work: AttackTrial, inputs: Mapping[str, Artifact]) -> dict[str, Tensor]:
    """Figures with a value for each shadow, float64: the name of a metric, and `/<group>` where it is of a canary group."""
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
    values: dict[tuple[str, str], list[float]] = {}
    for outcome in outcomes:
        for metric in outcome["metrics"]:
            if metric["name"] in names and metric["value"] is not None:
                values.setdefault((metric["name"], metric["canaries"]), []).append(metric["value"])
    for (name, group), found in values.items():
        yield replace(_mean(name, found, confidence), canaries=group)


def _mean(name: str, values: list[float], confidence: float) -> Metric:
    mean = float(np.mean(values))
    if len(values) < 2:
        return Metric(name, mean, n=len(values))
    half = float(stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    low, high = max(mean - half, 0.0), mean + half
    if name in PROPORTIONS:
        high = min(high, 1.0)
    return Metric(name, mean, low, high, len(values), "mean over shadows")
