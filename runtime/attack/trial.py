"""One trial, attacked: every attack on every canary group at every release level, with intervals and null controls.

Reads the queries of the trial's shadows, scores leave-one-out over the pool, and writes what a claim needs: figures with
n and interval, ROC points, per-canary risk, raw scores; and the trial's utility and cost.
Not here: the attacks (`scorer` and their own files), how figures are read (`figures`), comparisons between trials.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from compiler.spec.audit import Attack, variant_name
from compiler.work import AttackTrial
from runtime.artifacts import Artifact
from runtime.attack.figures import Figures, tpr_name
from runtime.attack.scorer import Answers, scorer_of
from runtime.attack.utility import per_shadow, utility
from runtime.data.cast import Group, cast
from runtime.data.membership import membership
from runtime.outcome import Metric, Product
from runtime.seeds import numpy_generator
from runtime.statistics.bootstrap import Resamples


def perform(work: AttackTrial, inputs: Mapping[str, Artifact], device: torch.device) -> Product:
    """See the module; the files are `scores`, `roc`, `risk`, `canaries` and `shadows` (figures with a value for each shadow)."""
    everyone = cast(work.population)
    member = membership(work.population, work.design, work.replicate, work.shadows)
    spans = _spans(everyone.groups)
    columns: list[dict[str, str]] = []
    scores: dict[str, Tensor] = {"member": torch.from_numpy(member.astype(np.uint8))}
    roc: dict[str, Tensor] = {}
    risk: dict[str, Tensor] = {}
    metrics: list[Metric] = []
    null_passed: dict[str, bool] = {}
    headline_column: int | None = None

    resamples = {
        group.name: Resamples.draw(
            work.resamples,
            len(group),
            numpy_generator(work.population.seed, None, f"bootstrap/{group.name}"),
            work.shadows,
            paired=work.design == "pairs",
        )
        for group in everyone.groups
    }
    used = origins(work, inputs, len(member))
    if used is not None:
        scores["used"] = torch.from_numpy(used.astype(np.uint8))
    for release, answers in _releases(work, inputs, everyone.groups, spans):
        for attack in work.attacks:
            column = np.full(member.shape, np.nan)
            per_canary = np.full((len(member), 3), np.nan)
            here: list[Metric] = []
            for said in answers:
                span = spans[said.group.name]
                score = scorer_of(attack, said, work.design == "pairs")
                if score is None:
                    continue
                column[span] = score(member[span])
                figures = Figures(work, attack, said, column[span], member[span], resamples[said.group.name])
                here += figures.metrics()
                if used is not None and release == work.headline.release and _is_headline(attack, work):
                    here += figures.strata(used[span])
                control_metrics, passed = figures.null_control(score)
                here += control_metrics
                null_passed[f"{release} {attack.attack} {variant_name(attack)} {said.group.name}"] = passed
                roc[f"{len(columns)}/{said.group.name}"] = torch.from_numpy(
                    figures.roc(banded=release == work.headline.release and _is_headline(attack, work))
                )
                per_canary[span] = figures.risk()
            if not here:
                continue
            if release == work.headline.release and _is_headline(attack, work):
                headline_column = len(columns)
                metrics += [
                    replace(metric, name="headline")
                    for metric in here
                    if metric.name == tpr_name(work.headline.fpr) and metric.canaries == work.headline.canaries
                ]
            scores[f"score/{len(columns)}"] = torch.from_numpy(column)
            risk[str(len(columns))] = torch.from_numpy(per_canary)
            columns.append({"release": release, "attack": attack.attack, "variant": variant_name(attack)})
            metrics += here

    metrics += list(utility(work, inputs))
    notes = {
        "columns": columns,
        "groups": [{"name": group.name, "kind": group.kind, "count": len(group)} for group in everyone.groups],
        "headline_column": headline_column,
        "null_ok": all(null_passed.values()),
        "flags": [f"null control failed: {name}" for name, passed in null_passed.items() if not passed] + _devices(inputs),
        "interval": f"two-way bootstrap over canaries and {'pairs of shadows' if work.design == 'pairs' else 'shadows'}, "
        f"{work.resamples} resamples, {work.confidence:.0%}",
    }
    canaries = {
        "labels": torch.cat([group.labels for group in everyone.groups]),
        "true_labels": torch.cat([group.true_labels for group in everyone.groups]),
        "samples": torch.cat([group.samples for group in everyone.groups]),
        "group": torch.cat([torch.full((len(group),), index) for index, group in enumerate(everyone.groups)]),
    }
    files = {"scores": scores, "roc": roc, "risk": risk, "canaries": canaries, "shadows": per_shadow(work, inputs)}
    return Product(files, tuple(metrics), notes)


def origins(work: AttackTrial, inputs: Mapping[str, Artifact], canaries: int) -> np.ndarray | None:
    """canary × shadow, bool: whether some image of the shadow's set is, or began as, the canary; None where no set is made so."""
    used = np.zeros((canaries, work.shadows), dtype=bool)
    for shadow in range(work.shadows):
        made = inputs.get(f"synthesize/{shadow}")
        if made is None or "audit" not in made.stems:
            return None
        found = made.tensors("audit")["origin_canary"].numpy()
        used[found[found >= 0], shadow] = True
    return used


def _is_headline(attack: Attack, work: AttackTrial) -> bool:
    declared = work.headline
    words = ("signal", "variant", "queries")
    return attack.attack == declared.attack and all(
        getattr(declared, word) is None or not hasattr(attack, word) or getattr(attack, word) == getattr(declared, word)
        for word in words
    )


def _spans(groups: tuple[Group, ...]) -> dict[str, slice]:
    """Where each group's canaries lie in the concatenation of all."""
    spans, at = {}, 0
    for group in groups:
        spans[group.name] = slice(at, at + len(group))
        at += len(group)
    return spans


def _releases(
    work: AttackTrial, inputs: Mapping[str, Artifact], groups: tuple[Group, ...], spans: Mapping[str, slice]
) -> Iterator[tuple[str, list[Answers]]]:
    """Every release level that was queried in all shadows, with what it said about each group."""
    for release in ("final_model", "teacher"):
        files = _files(work, inputs, release)
        if files:
            said = []
            for group in groups:
                logits = np.stack([file["canary"][spans[group.name]].numpy() for file in files], axis=2)
                z_logits = np.stack([file[f"z/{group.name}"].numpy() for file in files], axis=2) if len(group.z_labels) else None
                said.append(Answers(release, group, logits, z_logits))
            yield release, said
    for release, stage in (("synthetic_set", "synthetic_set"), ("index_list", "synthetic_set"), ("generator", "generator")):
        files = _files(work, inputs, stage)
        if files:
            names = [name for name in files[0] if (name == "selected") == (release == "index_list") and files[0][name].ndim == 1]
            stacked = {name: np.stack([file[name].double().numpy() for file in files], axis=1) for name in names}
            yield (
                release,
                [
                    Answers(release, group, measured={name: values[spans[group.name]] for name, values in stacked.items()})
                    for group in groups
                ],
            )


def _files(work: AttackTrial, inputs: Mapping[str, Artifact], role: str) -> list[dict[str, Tensor]]:
    roles = [f"{role}/{shadow}" for shadow in range(work.shadows)]
    return [inputs[name].tensors("answers") for name in roles] if all(name in inputs for name in roles) else []


def _devices(inputs: Mapping[str, Artifact]) -> list[str]:
    devices = {artifact.outcome["provenance"]["device"] for role, artifact in inputs.items() if role.startswith("model/")}
    return [f"models of this pool were trained on different devices: {', '.join(sorted(devices))}"] if len(devices) > 1 else []
