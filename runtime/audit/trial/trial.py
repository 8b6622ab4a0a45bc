"""One trial, attacked: every attack on every canary group at every release level, with intervals and null controls.

Reads the queries of the trial's shadows, scores leave-one-out over the pool, and writes what a claim needs: figures with
n and interval, ROC points, per-canary risk, raw scores; and the trial's utility and cost.
Not here: the attacks (`scorer` and their own files), how figures are read (`figures`), comparisons between trials.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compiler.language.attacks.lira import Lira
from compiler.language.audit import Attack, ReleaseLevel
from compiler.work.operations import AttackTrial
from compiler.work.releases import declared
from runtime.audit.attacks import signals
from runtime.audit.attacks.answers import Answers, Score
from runtime.audit.attacks.dispatch import scorer_of
from runtime.audit.attacks.lira import Likelihood
from runtime.audit.statistics.bootstrap import Resamples, interval
from runtime.audit.trial.copies import Nearness
from runtime.audit.trial.metrics import Figures, tpr_name
from runtime.audit.trial.risk import memorization
from runtime.audit.trial.soundness import guarantee, soundness
from runtime.audit.trial.utility import per_shadow, utility
from runtime.data.population.membership import membership
from runtime.data.population.near_duplicates import MAX_RMS_DIFFERENCE, near_duplicates
from runtime.data.population.roles import Group, roles_of
from runtime.outcome import Metric, Product
from runtime.seeds import numpy_generator
from runtime.store.artifacts import Artifact


def perform(work: AttackTrial, inputs: Mapping[str, Artifact], device: torch.device) -> Product:
    """See the module; the files are `scores`, `roc`, `risk`, `canaries`, `shadows` (figures with a value for each shadow), and,
    where a set was made and measured, `pairs`: images of it beside canaries, the nearest and the most telling. Audit-only."""
    everyone = roles_of(work.population)
    member = membership(work.population, work.design, work.replicate, work.shadows)
    trial = _Trial(work, inputs, member, _spans(everyone.groups), _resamples(work, everyone.groups))
    releases = list(_releases(work, inputs, everyone.groups, trial.spans))
    trial.look_at_sets(releases)
    for release, answers in releases:
        for attack in work.attacks:
            trial.attack(release, attack, answers)
    trial.conclude()
    trial.look_for_twins(everyone.groups)

    notes = {
        "columns": trial.columns,
        "groups": [{"name": group.name, "kind": group.kind, "count": len(group)} for group in everyone.groups],
        "headline_column": trial.headline_column,
        "null_ok": not any(flag.startswith(NULL_FAILED) for flag in trial.flags),
        "flags": trial.flags + _devices(inputs),
        "readings": trial.readings,
        "interval": _interval(work),
    }
    canaries = {
        "labels": torch.cat([group.labels for group in everyone.groups]),
        "true_labels": torch.cat([group.true_labels for group in everyone.groups]),
        "samples": torch.cat([group.samples for group in everyone.groups]),
        "group": torch.cat([torch.full((len(group),), index) for index, group in enumerate(everyone.groups)]),
        "memorization": torch.from_numpy(_memorization(releases, member, trial.spans)),
    }
    files = {"scores": trial.scores, "roc": trial.roc, "risk": trial.risk, "canaries": canaries}
    files["shadows"] = per_shadow(work, inputs)
    if trial.pairs:
        files["pairs"] = trial.pairs
    return Product(files, (*trial.metrics, *utility(work, inputs)), notes)


def _interval(work: AttackTrial) -> str:
    two_way = f"two-way over canaries and {'pairs of shadows' if work.design == 'pairs' else 'shadows'}"
    over = two_way if work.interval == "two_way" else f"over canaries; the headline and claims {two_way}"
    return f"bootstrap {over}, {work.resamples} resamples, {work.confidence:.0%}"


NULL_FAILED = "null control failed"


class _Trial:
    """What is gathered on the way through releases, attacks and canary groups."""

    def __init__(
        self, work: AttackTrial, inputs: Mapping[str, Artifact], member: np.ndarray, spans: Mapping[str, slice],
        resamples: Mapping[str, Resamples],
    ) -> None:
        self.work, self.inputs, self.member, self.spans, self.resamples = work, inputs, member, spans, resamples
        self.declared = declared(work.attacks, work.headline)
        self.scores: dict[str, Tensor] = {"member": torch.from_numpy(member.astype(np.uint8))}
        self.used = origins(work, inputs, len(member))
        if self.used is not None:
            self.scores["used"] = torch.from_numpy(self.used.astype(np.uint8))
        self.columns: list[dict[str, str]] = []
        self.roc: dict[str, Tensor] = {}
        self.risk: dict[str, Tensor] = {}
        self.metrics: list[Metric] = []
        self.readings: list[dict[str, Any]] = []
        self.flags: list[str] = []
        self.pairs: dict[str, Tensor] = {}
        self.nearness: dict[str, Nearness] = {}
        self.headline_column: int | None = None
        self.of_declared: dict[tuple[str, str], Figures] = {}
        """(release, group) → figures of the declared attack."""

    def look_at_sets(self, releases: list[tuple[ReleaseLevel, list[Answers]]]) -> None:
        """Which members have an almost-copy in their shadow's set: known before the model is attacked, and read beside it."""
        for said in (said for release, answers in releases if release == "synthetic_set" for said in answers):
            if said.measured and "pixel" in said.measured:
                name = said.group.name
                member = self.member[self.spans[name]]
                near = Nearness(self.work, said.group, said.measured["pixel"], member, self.resamples[name])
                self.nearness[name] = near
                self.metrics += near.metrics()

    def attack(self, release: str, attack: Attack, answers: list[Answers]) -> None:
        """One attack at one release level, on every group that it applies to: a column of scores, if any."""
        column = np.full(self.member.shape, np.nan)
        per_canary = np.full((len(self.member), 4), np.nan)
        headline = attack == self.declared and release == self.work.headline.release
        key, found = str(len(self.columns)), False
        for said in answers:
            name, span = said.group.name, self.spans[said.group.name]
            score = scorer_of(attack, said, self.work.design == "pairs")
            if score is None:
                continue
            column[span] = score(self.member[span])
            resamples = self.resamples[name]
            if self.work.interval == "canaries" and attack != self.declared:
                resamples = Resamples(resamples.canaries)
            figures = Figures(self.work, attack, said, column[span], self.member[span], resamples)
            if not figures.there.any():
                continue
            found = True
            self._figures(figures, score, headline)
            self.roc[f"{key}/{name}"] = torch.from_numpy(figures.roc(banded=headline))
            per_canary[span] = figures.risk()
        if not found:
            return
        if headline:
            self.headline_column = len(self.columns)
        self.scores[f"score/{key}"] = torch.from_numpy(column)
        self.risk[key] = torch.from_numpy(per_canary)
        self.columns.append({"release": release, "attack": attack.attack, "variant": attack.variant_name})

    def _figures(self, figures: Figures, score: Score, headline: bool) -> None:
        name, release = figures.said.group.name, figures.said.release
        metrics = list(figures.metrics())
        self.readings += figures.readings()
        if headline:
            metrics += self._of_headline(figures)
        copied = self.nearness[name].copied if name in self.nearness else None
        if copied is not None and release == self.work.headline.release and self._is_beside_declared(figures.attack):
            metrics += figures.strata({"copied": copied, "not_copied": ~copied})
        if figures.attack == self.declared:
            self.of_declared[release, name] = figures
        if isinstance(score, Likelihood) and (floored := score.floored(figures.member)):
            metrics.append(figures.metric("floored_fits", float(floored), None, figures.member.size, "shadows that all but agree"))
        control, complaints = figures.null_control(score)
        told = f"{release} {figures.attack.attack} {figures.attack.variant_name} {name}"
        self.flags += [f"{NULL_FAILED}: {told}, {complaint}" for complaint in complaints]
        self.metrics += metrics + control

    def _of_headline(self, figures: Figures) -> Iterator[Metric]:
        """Figures of the declared attack at the declared release, of every group; `headline` itself of the declared one."""
        name, span = figures.said.group.name, self.spans[figures.said.group.name]
        reading = tpr_name(self.work.headline.fpr)
        if name == self.work.headline.canaries:
            yield from (replace(metric, name="headline") for metric in figures.metrics() if metric.name == reading)
            claimed = guarantee(self.work, self.inputs)
            if claimed is not None:
                metric, flag = soundness(figures, claimed)
                self.flags += [flag] if flag else []
                yield metric
        if self.used is not None:
            yield from figures.strata({"used": self.used[span], "unused": ~self.used[span]})
        yield from figures.deployed()
        yield figures.stability()

    def _is_beside_declared(self, attack: Attack) -> bool:
        """The declared attack, or the same one on a signal that the wrong label does not blind."""
        if attack == self.declared:
            return True
        same = isinstance(attack, Lira) and isinstance(self.declared, Lira) and attack.signal in ("true_label", "contrast")
        return same and attack == self.declared.model_copy(update={"signal": attack.signal})   # type: ignore[union-attr]

    def look_for_twins(self, groups: tuple[Group, ...]) -> None:
        """Near-duplicates of canaries, by which the world without a canary would hold a twin of it."""
        for twin in _near_duplicates(self.work, groups, self.spans):
            self.metrics.append(twin)
            self.flags += [f"{twin.value:.0f} of {twin.n} canaries {twin.canaries} have a near-duplicate"] if twin.value else []

    def conclude(self) -> None:
        """What needs several releases: pairs to be looked at, and how much of the teacher's leakage its student keeps."""
        for (release, name), figures in self.of_declared.items():
            if release == self.work.headline.release and name in self.nearness:
                bar = figures.reading(self.work.headline.fpr).threshold
                kept = self.nearness[name].pairs(figures.scores, bar, self.inputs)
                self.pairs |= {f"{name}/{what}": tensor for what, tensor in kept.items()}
            if release == "final_model" and (teacher := self.of_declared.get(("teacher", name))) is not None:
                self.metrics.append(_kept(figures, teacher))


def _kept(student: Figures, teacher: Figures) -> Metric:
    """The student's TPR over the teacher's, on the same draws."""
    fpr = student.work.headline.fpr
    above, below = student.reading(fpr).value, teacher.reading(fpr).value
    name, n = "student_teacher_ratio", student.reading(fpr).non_members
    if above is None or not below:
        return student.metric(name, None, None, n, "not resolvable" if below is None else "the teacher does not leak")
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = np.where(teacher.draws.tpr[fpr] > 0, student.draws.tpr[fpr] / teacher.draws.tpr[fpr], np.nan)
    return student.metric(name, above / below, interval(drawn, student.work.confidence), n, f"of the TPR at {fpr:g}")


def _resamples(work: AttackTrial, groups: tuple[Group, ...]) -> dict[str, Resamples]:
    """Two-way, by the name of the group: the same for all attacks and releases."""
    return {
        group.name: Resamples.draw(
            work.resamples,
            len(group),
            numpy_generator(work.population.seed, None, f"bootstrap/{group.name}"),
            work.shadows,
            paired=work.design == "pairs",
        )
        for group in groups
    }


def _memorization(releases: list[tuple[ReleaseLevel, list[Answers]]], member: np.ndarray, spans: Mapping[str, slice]) -> np.ndarray:
    """canary: see `risk.memorization`; of the final model on the plain image."""
    found = np.full(len(member), np.nan)
    for said in next(answers for release, answers in releases if release == "final_model"):
        span = spans[said.group.name]
        assert said.logits is not None
        found[span] = memorization(signals.confidence(said.logits[:, 0], said.group.labels.numpy()), member[span])
    return found


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


def _spans(groups: tuple[Group, ...]) -> dict[str, slice]:
    """Where each group's canaries lie in the concatenation of all."""
    spans, at = {}, 0
    for group in groups:
        spans[group.name] = slice(at, at + len(group))
        at += len(group)
    return spans


MODELS: tuple[ReleaseLevel, ...] = ("final_model", "teacher")
MEASURED: tuple[ReleaseLevel, ...] = ("synthetic_set", "index_list", "generator")
"""Levels that are asked for logits, and levels that are asked for measures of their own."""


def _releases(
    work: AttackTrial, inputs: Mapping[str, Artifact], groups: tuple[Group, ...], spans: Mapping[str, slice]
) -> Iterator[tuple[ReleaseLevel, list[Answers]]]:
    """Every release level that was queried in all shadows, with what it said about each group."""
    for release in MODELS:
        files = _files(work, inputs, release)
        if files:
            said = []
            for group in groups:
                logits = np.stack([file["canary"][spans[group.name]].numpy() for file in files], axis=2)
                z_logits = np.stack([file[f"z/{group.name}"].numpy() for file in files], axis=2) if len(group.z_labels) else None
                said.append(Answers(release, group, logits, z_logits))
            yield release, said
            if release == "final_model":
                yield "labels_only", [replace(one, release="labels_only") for one in said]
    for release in MEASURED:
        files = _files(work, inputs, "synthetic_set" if release == "index_list" else release)
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


def _near_duplicates(work: AttackTrial, groups: tuple[Group, ...], spans: Mapping[str, slice]) -> Iterator[Metric]:
    twins = near_duplicates(work.population)
    note = f"root mean square difference of at most {MAX_RMS_DIFFERENCE:g} grey values to the fixed part or another canary"
    for group in groups:
        yield Metric("near_duplicates", float(twins[spans[group.name]].sum()), n=len(group), note=note, canaries=group.name)


def _files(work: AttackTrial, inputs: Mapping[str, Artifact], role: str) -> list[dict[str, Tensor]]:
    roles = [f"{role}/{shadow}" for shadow in range(work.shadows)]
    return [inputs[name].tensors("answers") for name in roles] if all(name in inputs for name in roles) else []


def _devices(inputs: Mapping[str, Artifact]) -> list[str]:
    devices = {artifact.outcome["provenance"]["device"] for role, artifact in inputs.items() if role.startswith("model/")}
    return [f"models of this pool were trained on different devices: {', '.join(sorted(devices))}"] if len(devices) > 1 else []
