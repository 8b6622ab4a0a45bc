"""A trial's accuracy and cost: means over its shadows with a t interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import stats

from compiler.work import AttackTrial
from runtime.artifacts import Artifact
from runtime.outcome import Metric

PROPORTIONS = ("test_accuracy", "train_accuracy", "canary_accuracy_in", "canary_accuracy_out", "canary_share_selected")
"""Means whose interval is cut at 0 and 1."""


def utility(work: AttackTrial, inputs: Mapping[str, Artifact]) -> Iterator[Metric]:
    """Accuracy, canary accuracy and cost of the trial: means over shadows with a t interval."""
    models = [inputs[f"model/{shadow}"].outcome for shadow in range(work.shadows)]
    asked = [inputs[f"final_model/{shadow}"].outcome for shadow in range(work.shadows)]
    made = [inputs[f"synthesize/{shadow}"].outcome for shadow in range(work.shadows) if f"synthesize/{shadow}" in inputs]
    yield from _means(asked, {"test_accuracy"}, work.confidence)
    yield from _means(models, {"train_accuracy", "canary_accuracy_in", "canary_accuracy_out", "images_seen"}, work.confidence)
    if made and made != models:
        yield from _means(made, {"images", "canary_share_selected", "canary_enrichment", "student_agreement"}, work.confidence)
    for metric in models[0]["metrics"]:
        if metric["name"] in ("epsilon", "noise_multiplier"):
            yield Metric(metric["name"], metric["value"], n=1, note=metric["note"])
    seconds = [
        sum(
            inputs[f"{stage}/{shadow}"].outcome["provenance"]["seconds"]
            for stage in ("model", "synthesize")
            if _own(inputs, stage, shadow)
        )
        for shadow in range(work.shadows)
    ]
    yield _mean("seconds", seconds, work.confidence)


def _own(inputs: Mapping[str, Artifact], stage: str, shadow: int) -> bool:
    """Whether this stage is there and was not counted before: a student's model and its synthesis are one task."""
    role = f"{stage}/{shadow}"
    return role in inputs and (stage == "model" or inputs[role].folder != inputs[f"model/{shadow}"].folder)


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
    low, high = mean - half, mean + half
    if name in PROPORTIONS:
        low, high = max(low, 0.0), min(high, 1.0)
    return Metric(name, mean, low, high, len(values), "mean over shadows")
