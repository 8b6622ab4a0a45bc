"""One trial, attacked: every attack on every canary group at every release level, with intervals and null controls.

Reads the queries of the trial's shadows, scores leave-one-out over the pool, and writes what a claim needs: figures with
n and interval, ROC points, per-canary risk, raw scores. Also sums up the trial's utility and cost over its shadows.
Not here: the attacks (their own files), how figures are read (`runtime.statistics`), comparisons between trials (`compare`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from compiler.spec.audit import (
    Attack,
    Calibrated,
    Denoising,
    LabelOnly,
    Lira,
    LiraOffline,
    Nearest,
    Quantile,
    Reference,
    Rmia,
    Selected,
    Threshold,
    variant_name,
)
from compiler.work import AttackTrial
from runtime.artifacts import Artifact
from runtime.attack import signals
from runtime.attack.label_only import label_only
from runtime.attack.lira import lira, lira_offline
from runtime.attack.pool import Pool
from runtime.attack.quantile import quantile
from runtime.attack.reference import calibrated, reference, threshold
from runtime.attack.rmia import rmia
from runtime.data.cast import Group, cast
from runtime.data.membership import membership
from runtime.outcome import Metric, Product
from runtime.seeds import numpy_generator
from runtime.statistics import epsilon
from runtime.statistics.bootstrap import Resamples, interval, read_resamples
from runtime.statistics.null import control
from runtime.statistics.roc import auc, balanced_accuracy, roc_points, tpr_at

Score = Callable[[np.ndarray], np.ndarray]
"""Membership (canary × shadow) → scores (canary × shadow): an attack on one group with everything else fixed."""

PROPORTIONS = ("test_accuracy", "train_accuracy", "canary_accuracy_in", "canary_accuracy_out", "canary_share_selected")

FITTED = (LabelOnly, Quantile)
"""Attacks that fit a model per target: a tenth of the redraws must do for their null control."""


@dataclass(frozen=True)
class Answers:
    """What the shadows of one release level said about one canary group."""

    release: str
    group: Group
    logits: np.ndarray | None = None
    """canary × view × shadow × class."""
    z_logits: np.ndarray | None = None
    measured: Mapping[str, np.ndarray] | None = None
    """Signals that a set or a generator gave: name → canary × shadow."""


def perform(work: AttackTrial, inputs: Mapping[str, Artifact], device: torch.device) -> Product:
    """See the module; the files are `scores`, `roc`, `risk` and `canaries`."""
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
            work.resamples, len(group), numpy_generator(work.population.seed, None, f"bootstrap/{group.name}"), work.shadows,
            paired=work.design == "pairs",
        )
        for group in everyone.groups
    }
    for release, answers in _releases(work, inputs, everyone.groups, spans):
        for attack in work.attacks:
            column = np.full(member.shape, np.nan)
            per_canary = np.full((len(member), 3), np.nan)
            here: list[Metric] = []
            for said in answers:
                span = spans[said.group.name]
                score = _scorer(attack, said, work)
                if score is None:
                    continue
                column[span] = score(member[span])
                figures = _Figures(work, attack, said, column[span], member[span], resamples[said.group.name])
                here += figures.metrics()
                control_metrics, passed = figures.null_control(score)
                here += control_metrics
                null_passed[f"{release} {attack.attack} {variant_name(attack)} {said.group.name}"] = passed
                roc[f"{len(columns)}/{said.group.name}"] = torch.from_numpy(figures.roc())
                per_canary[span] = figures.risk()
            if not here:
                continue
            if release == work.headline.release and _is_headline(attack, work):
                headline_column = len(columns)
                metrics += [
                    replace(metric, name="headline") for metric in here
                    if metric.name == _tpr_name(work.headline.fpr) and metric.canaries == work.headline.canaries
                ]
            scores[f"score/{len(columns)}"] = torch.from_numpy(column)
            risk[str(len(columns))] = torch.from_numpy(per_canary)
            columns.append({"release": release, "attack": attack.attack, "variant": variant_name(attack)})
            metrics += here

    metrics += list(_utility(work, inputs))
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
    return Product({"scores": scores, "roc": roc, "risk": risk, "canaries": canaries}, tuple(metrics), notes)


@dataclass(frozen=True)
class _Figures:
    """The figures of one attack on one group at one release level."""

    work: AttackTrial
    attack: Attack
    said: Answers
    scores: np.ndarray
    member: np.ndarray
    resamples: Resamples

    def metrics(self) -> Iterator[Metric]:
        scored = np.isfinite(self.scores) | np.isinf(self.scores)
        if not scored.all():
            # A target with too few shadows (bernoulli membership): whole canaries are left out, so that clusters stay whole.
            kept = scored.all(1)
            if not kept.any():
                return
            smaller = Resamples(self.resamples.canaries[:, kept], self.resamples.shadows)
            yield from replace(self, scores=self.scores[kept], member=self.member[kept], resamples=smaller).metrics()
            return
        draws = read_resamples(self.scores, self.member, self.work.fpr, self.resamples)
        for fpr in self.work.fpr:
            reading = tpr_at(fpr, self.scores, self.member)
            bounds = interval(draws.tpr[fpr], self.work.confidence) if reading.value is not None else None
            if reading.value is not None and bounds is None:
                yield self._metric(_tpr_name(fpr), None, None, reading.non_members, f"not resolvable in most resamples; {reading.note}")
            else:
                yield self._metric(_tpr_name(fpr), reading.value, bounds, reading.non_members, reading.note)
        trials = self.scores.size
        yield self._metric("auc", auc(self.scores, self.member), interval(draws.auc, self.work.confidence), trials)
        balanced = balanced_accuracy(self.scores, self.member)
        yield self._metric("balanced_accuracy", balanced, interval(draws.balanced_accuracy, self.work.confidence), trials)
        yield from self._epsilon()

    def _epsilon(self) -> Iterator[Metric]:
        """One-run bounds on the first shadow, declared in advance; a quarter of the canaries guessed on each side."""
        if self.work.design == "balanced":
            return   # given the others, a target's membership is determined: the theorems do not hold
        scores, member = self.scores[:, 0], self.member[:, 0]
        side = len(scores) // 4
        if side < 2 or self.said.group.copies > 1:
            return
        right = epsilon.guess(scores, member, side, side)
        p = 1 - self.work.confidence
        note = f"ruled out at confidence {self.work.confidence:g}, delta {self.work.delta:g}; shadow 0, {right} of {2 * side} guesses right"
        for name, bound in (("steinke", epsilon.steinke), ("f_dp", epsilon.f_dp)):
            value = bound(right, 2 * side, len(scores), self.work.delta, p)
            yield self._metric(f"epsilon_lower_{name}", value, None, len(scores), note)

    def null_control(self, score: Score) -> tuple[list[Metric], bool]:
        """Metrics of the null control, and whether it passed."""
        redraws = self.work.null_permutations
        if isinstance(self.attack, FITTED):
            redraws = max(10, redraws // 10)
        purpose = f"null/{self.said.group.name}/{self.attack.attack}/{variant_name(self.attack)}"
        rng = numpy_generator(self.work.population.seed, None, purpose)
        fpr = self.work.headline.fpr

        def read(scores: np.ndarray, member: np.ndarray) -> tuple[float, float]:
            there = ~np.isnan(scores)
            found, value = auc(scores[there], member[there]), tpr_at(fpr, scores[there], member[there]).value
            return (0.5 if found is None else found), (np.nan if value is None else value)

        made = control(score, read, self.member, self.work.design, redraws, rng)
        spread = 1.96 / np.sqrt(redraws)
        mean, error = float(made.auc.mean()), float(made.auc.std(ddof=1))
        verdict = "" if made.passed else "null control failed: the trial is invalid"
        found = [self._metric("null_auc", mean, (mean - spread * error, mean + spread * error), redraws, verdict)]
        if np.isfinite(made.tpr).all():
            mean, error = float(made.tpr.mean()), float(made.tpr.std(ddof=1))
            found.append(self._metric(f"null_{_tpr_name(fpr)}", mean, (mean - spread * error, mean + spread * error), redraws))
            observed = tpr_at(fpr, self.scores[~np.isnan(self.scores)], self.member[~np.isnan(self.scores)]).value
            if observed is not None:
                found.append(self._metric("permutation_p", made.p_value(observed), None, redraws, f"of the TPR at {fpr:g}"))
        return found, made.passed

    def roc(self) -> np.ndarray:
        there = ~np.isnan(self.scores)
        return roc_points(self.scores[there], self.member[there])

    def risk(self) -> np.ndarray:
        """canary × 3: share of its IN models above the threshold of the headline's FPR, with a Jeffreys interval."""
        there = ~np.isnan(self.scores)
        reading = tpr_at(self.work.headline.fpr, self.scores[there], self.member[there])
        bar = np.inf if reading.threshold is None else reading.threshold
        seen = (self.member & there).sum(1)
        hits = (self.member & (self.scores >= bar)).sum(1)
        low, high = stats.beta.ppf([[0.025], [0.975]], hits + 0.5, seen - hits + 0.5)
        with np.errstate(invalid="ignore"):
            return np.stack([hits / seen, low, high], axis=1)

    def _metric(self, name: str, value: float | None, bounds: tuple[float, float] | None, n: int, note: str = "") -> Metric:
        low, high = bounds if bounds is not None else (None, None)
        return Metric(name, value, low, high, n, note, self.said.group.name, self.attack.attack, variant_name(self.attack), self.said.release)


def _tpr_name(fpr: float) -> str:
    return f"tpr@fpr={fpr:g}"


def _is_headline(attack: Attack, work: AttackTrial) -> bool:
    declared = work.headline
    words = ("signal", "variant", "queries")
    return attack.attack == declared.attack and all(
        getattr(declared, word) is None or not hasattr(attack, word) or getattr(attack, word) == getattr(declared, word) for word in words
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
            yield release, [
                Answers(release, group, measured={name: values[spans[group.name]] for name, values in stacked.items()}) for group in groups
            ]


def _files(work: AttackTrial, inputs: Mapping[str, Artifact], role: str) -> list[dict[str, Tensor]]:
    roles = [f"{role}/{shadow}" for shadow in range(work.shadows)]
    return [inputs[name].tensors("answers") for name in roles] if all(name in inputs for name in roles) else []


def _scorer(attack: Attack, said: Answers, work: AttackTrial) -> Score | None:
    """The attack on one group, or None where it does not apply to this release level."""
    paired = work.design == "pairs"
    labels = said.group.labels.numpy()
    match attack:
        case Nearest() if said.release == "synthetic_set" and said.measured and attack.space in said.measured:
            return _on_signal(said.measured[attack.space][:, None, :], lambda signal, pool: lira(signal, pool, attack.variant), paired)
        case Denoising() if said.release == "generator" and said.measured and "denoising" in said.measured:
            return _on_signal(said.measured["denoising"][:, None, :], lambda signal, pool: lira(signal, pool, attack.variant), paired)
        case Selected() if said.release == "index_list" and said.measured and "selected" in said.measured:
            chosen = said.measured["selected"]
            return lambda member: chosen
        case Nearest() | Denoising() | Selected():
            return None
    if said.logits is None:
        return None
    views = attack.queries
    asked = said.logits[:, :views]
    match attack:
        case Threshold():
            return lambda member: threshold(_signal(attack.signal, asked, labels))
        case Reference():
            return _on_signal(_signal(attack.signal, asked, labels), reference, paired)
        case Calibrated():
            return _on_signal(_signal(attack.signal, asked, labels), calibrated, paired)
        case Lira():
            signal = _signal(attack.signal, asked, labels)
            return _on_signal(signal, lambda values, pool: lira(values, pool, attack.variant, attack.compat), paired)
        case LiraOffline():
            signal = _signal(attack.signal, asked, labels)
            return _on_signal(signal, lambda values, pool: lira_offline(values, pool, attack.variant, attack.compat), paired)
        case LabelOnly():
            return _on_signal(signals.correct(asked, labels), label_only, paired)
    z_labels = said.group.z_labels.numpy()
    if said.z_logits is None:
        return None
    z_asked = said.z_logits[:, :views]
    if isinstance(attack, Rmia):
        own = signals.confidence(asked, labels, attack.temperature)
        others = signals.confidence(z_asked, z_labels, attack.temperature)
        online = attack.variant == "online"
        return _on_signal(own, lambda values, pool: rmia(values, others, pool, online=online, gamma=attack.gamma, a=attack.a), paired)
    if isinstance(attack, Quantile):
        z_signal = _signal(attack.signal, z_asked, z_labels)
        images, z_images = (part.flatten(1).numpy() for part in (said.group.images, said.group.z_images))
        fixed = quantile(_signal(attack.signal, asked, labels), z_signal, images, z_images)
        return lambda member: fixed
    return None


def _on_signal(signal: np.ndarray, attack: Callable[[np.ndarray, Pool], np.ndarray], paired: bool) -> Score:
    return lambda member: attack(signal, Pool(member, paired))


def _signal(name: str, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """canary × view × shadow."""
    return signals.SIGNALS[name](logits, labels)


def _utility(work: AttackTrial, inputs: Mapping[str, Artifact]) -> Iterator[Metric]:
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
        sum(inputs[f"{stage}/{shadow}"].outcome["provenance"]["seconds"] for stage in ("model", "synthesize") if _own(inputs, stage, shadow))
        for shadow in range(work.shadows)
    ]
    yield _mean("seconds", seconds, work.confidence)


def _own(inputs: Mapping[str, Artifact], stage: str, shadow: int) -> bool:
    """Whether this stage is there and was not counted before: a student's model and its synthesis are one task."""
    role = f"{stage}/{shadow}"
    return role in inputs and (stage == "model" or inputs[role].folder != inputs[f"model/{shadow}"].folder)


def _means(outcomes: list[Mapping], names: set[str], confidence: float) -> Iterator[Metric]:   # type: ignore[type-arg]
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


def _devices(inputs: Mapping[str, Artifact]) -> list[str]:
    devices = {artifact.outcome["provenance"]["device"] for role, artifact in inputs.items() if role.startswith("model/")}
    return [f"models of this pool were trained on different devices: {', '.join(sorted(devices))}"] if len(devices) > 1 else []
