"""A claim, tested: pairs of trials compared on the same canaries and the same shadows.

Figures read from scores are compared by a bootstrap that draws the same canaries and the same pairs of shadows for both
sides; figures with a value for each shadow by Student's t on the paired differences; several pairs by Holm, whichever way they go.
Not here: the attacks themselves (`trial`), which trials a claim is about (`compiler.check.claim_sides`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy import stats

from compiler.work.operations import CompareTrials, Reading
from runtime.audit.statistics.bootstrap import Readings, Resamples, read_resamples
from runtime.audit.statistics.roc import auc, tpr_at
from runtime.audit.statistics.testing import Effect, Verdict, from_pairs, from_resamples, judge_claim, judge_pairs, p_values
from runtime.outcome import Metric, Product
from runtime.seeds import numpy_generator
from runtime.store.artifacts import Artifact

MIN_DIVISOR = 1e-9
"""A TPR below this is zero: a ratio with it is no number."""


def perform(work: CompareTrials, inputs: Mapping[str, Artifact], device: torch.device) -> Product:
    """Metrics: `claim`, the effect of the pair that decides; notes: the verdict, and every pair with its own."""
    left, right = _sides(inputs, work, "left", work.left), _sides(inputs, work, "right", work.right)
    pairs = [_test_pair(work, one, other) for one, other in _pairs(work, left, right)]
    if not pairs:
        nothing = Metric("claim", None, note="no pair of trials can be compared")
        return Product(metrics=(nothing,), notes={"verdict": "undecided", "pairs": []})
    for pair, found in zip(pairs, judge_pairs([(pair.supports, pair.refutes) for pair in pairs], 1 - work.confidence), strict=True):
        pair.verdict, pair.adjusted = found
    verdict = judge_claim([pair.verdict for pair in pairs], work.pairs)
    decisive = _decisive_pair(pairs, verdict, work)
    shown = Metric("claim", decisive.value, decisive.low, decisive.high, decisive.n, decisive.note)
    notes: dict[str, Any] = {"verdict": verdict, "p": decisive.adjusted, "alpha": 1 - work.confidence}
    notes |= {"decided_by": decisive.decided_by, "left": decisive.left, "right": decisive.right}
    return Product(metrics=(shown,), notes=notes | {"pairs": [pair.record() for pair in pairs]})


def _sides(inputs: Mapping[str, Artifact], work: CompareTrials, side: str, reading: Reading) -> list[ClaimSide]:
    roles = [(index, f"{side}/{index}") for index in range(len(inputs))]
    return [ClaimSide(index, inputs[role], work, reading) for index, role in roles if role in inputs]


class ClaimSide:
    """A trial as one side of a claim reads it."""

    def __init__(self, index: int, artifact: Artifact, work: CompareTrials, reading: Reading) -> None:
        self.index, self.artifact, self.work, self.reading = index, artifact, work, reading
        self.notes: Mapping[str, Any] = artifact.outcome["notes"]
        self.readings: dict[float, Readings] = {}

    @cached_property
    def files(self) -> dict[str, torch.Tensor]:
        return self.artifact.tensors("scores")

    @cached_property
    def span(self) -> slice:
        """Where the canary group lies among all canaries."""
        first = 0
        for group in self.notes["groups"]:
            if group["name"] == self.reading.canaries:
                return slice(first, first + group["count"])
            first += group["count"]
        raise ValueError(f"the trial has no canaries called {self.reading.canaries!r}")

    @cached_property
    def member(self) -> np.ndarray:
        """canary × shadow, bool."""
        return self.files["member"][self.span].numpy().astype(bool)

    @cached_property
    def scores(self) -> np.ndarray:
        """canary × shadow: the headline attack at the release level that is read."""
        return self.column(self.reading.attack, self.reading.variant)

    def column(self, attack: str, variant: str | None = None) -> np.ndarray:
        """Scores of an attack: at the release level that is read, else at the first that has them."""
        fitting = [
            (column["release"] != self.reading.release, place)
            for place, column in enumerate(self.notes["columns"])
            if column["attack"] == attack and variant in (None, column["variant"])
        ]
        if not fitting:
            raise ValueError(f"the trial was not attacked by {attack} {variant or ''}")
        return self.files[f"score/{min(fitting)[1]}"][self.span].numpy()

    @cached_property
    def there(self) -> np.ndarray:
        """canary × shadow, bool: scores that count, non-members and the members of the stratum."""
        scored = ~np.isnan(self.scores)
        if self.reading.stratum is None:
            return scored
        used = self.files["used"][self.span].numpy().astype(bool)
        return scored & (~self.member | (used if self.reading.stratum == "used" else ~used))

    def figure(self, metric: str) -> float | None:
        """Read from the scores as they are."""
        scores, member = self.scores[self.there], self.member[self.there]
        if not member.any() or member.all():
            return None
        return auc(scores, member) if metric == "auc" else tpr_at(self.rate(metric), scores, member).value

    def resampled(self, metric: str) -> np.ndarray:
        """The same, from every resample; read once, however many pairs the trial is in."""
        rate = self.rate(metric)
        if rate not in self.readings:
            self.readings[rate] = read_resamples(self.scores, self.member, (rate,), self.draws, self.there)
        return self.readings[rate].auc if metric == "auc" else self.readings[rate].tpr[rate]

    @cached_property
    def draws(self) -> Resamples:
        """Canaries drawn by the name of their group, pairs of shadows by nothing but the seed: the same for every trial."""
        work, (canaries, shadows) = self.work, self.member.shape
        paired = shadows % 2 == 0 and bool((self.member[:, ::2] != self.member[:, 1::2]).all())
        own = Resamples.draw(work.resamples, canaries, numpy_generator(work.seed, None, f"claims/{self.reading.canaries}"))
        models = Resamples.draw(work.resamples, 1, numpy_generator(work.seed, None, "claims/shadows"), shadows, paired)
        return Resamples(own.canaries, models.shadows)

    def rate(self, metric: str) -> float:
        return float(metric.removeprefix("tpr@fpr=")) if metric.startswith("tpr@") else self.work.fpr

    def per_shadow(self, metric: str) -> np.ndarray | None:
        """A figure's value for each shadow: of the canary group where it is of one."""
        found = self.artifact.tensors("shadows")
        for name in (metric, f"{metric}/{self.reading.canaries}"):
            if name in found:
                return found[name].numpy()
        return None

    def mean(self, metric: str) -> float | None:
        if metric == "leakage":
            return self.figure(metric)
        values = self.per_shadow(metric)
        return None if values is None else float(values.mean())


@dataclass
class ComparedPair:
    """Two trials, compared. Effects in which bigger means more of what the claim says."""

    left: int
    right: int | None
    parts: dict[str, tuple[Effect, float]]
    """What was compared → effect, and the margin that it must be above."""
    note: str = ""
    supports: float = 1.0
    """p-value of "what the claim says does not hold of this pair"."""
    refutes: float = 1.0
    """p-value of "it is not the other way round"."""
    verdict: Verdict = "undecided"
    adjusted: float = 1.0
    """The smaller of the two p-values, each adjusted for the other pairs."""

    @classmethod
    def of(cls, left: int, right: int | None, parts: dict[str, tuple[Effect, float]]) -> ComparedPair:
        """All of whose parts must be above their margins."""
        return cls(left, right, parts, "", *p_values([effect for effect, _ in parts.values()]))

    @property
    def decided_by(self) -> str | None:
        """The part on which the verdict hangs: the least convincing for the claim, or the most convincing against it."""
        if self.supports <= self.refutes:
            return max(self.parts, key=lambda name: self.parts[name][0].above, default=None)
        return min(self.parts, key=lambda name: self.parts[name][0].below, default=None)

    @property
    def shown(self) -> Effect | None:
        """The effect of the claim's own metric: the first part."""
        return next((effect for effect, _ in self.parts.values()), None)

    value = property(lambda self: self.shown.value if self.shown else None)
    low = property(lambda self: self.shown.low if self.shown else None)
    high = property(lambda self: self.shown.high if self.shown else None)
    n = property(lambda self: self.shown.n if self.shown else None)

    def record(self) -> dict[str, Any]:
        """JSON: what the database keeps of the pair."""
        parts = {name: dataclasses.asdict(effect) | {"margin": margin} for name, (effect, margin) in self.parts.items()}
        return {
            "left": self.left,
            "right": self.right,
            "effect": self.value,
            "low": self.low,
            "high": self.high,
            "n": self.n,
            "p": self.adjusted,
            "verdict": self.verdict,
            "note": self.note,
            "decided_by": self.decided_by,
            "parts": parts,
        }


def _pairs(work: CompareTrials, left: list[ClaimSide], right: list[ClaimSide]) -> list[tuple[ClaimSide, ClaimSide | None]]:
    """Which trials are compared: each with each, or with itself where both sides are the same trials, read in two ways."""
    if work.test == "correlation":
        return [(one, None) for one in left]
    if work.test == "matched":
        return [(one, _closest_match(work, one, right)) for one in left]
    same = [one.artifact.folder for one in left] == [other.artifact.folder for other in right]
    if same and work.left != work.right:
        return list(zip(left, right, strict=True))
    return [(one, other) for one in left for other in right if one.artifact.folder != other.artifact.folder]


def _closest_match(work: CompareTrials, one: ClaimSide, others: list[ClaimSide]) -> ClaimSide | None:
    """The trial that is most like `one` in accuracy or leakage, if any is within the tolerance."""
    own = one.mean(work.match)
    if own is None:
        return None
    distances = [(abs(value - own), index) for index, other in enumerate(others) if (value := other.mean(work.match)) is not None]
    nearest = min(distances, default=(math.inf, 0))
    return others[nearest[1]] if nearest[0] <= work.tolerance else None


def _test_pair(work: CompareTrials, one: ClaimSide, other: ClaimSide | None) -> ComparedPair:
    if work.test == "correlation":
        return _correlation(work, one)
    if other is None:
        return ComparedPair(one.index, None, {}, f"no right trial is within {work.tolerance:g} of its {work.match}")
    match work.test:
        case "dominance":
            wanted = {
                "leakage": (_difference(work, "leakage", other, one, 0.0), 0.0),
                "test_accuracy": (_difference(work, "test_accuracy", one, other, -work.tolerance), -work.tolerance),
                "seconds": (_difference(work, "seconds", other, one, 0.0), 0.0),
            }
        case "equivalence":
            return _equivalence(work, one, other)
        case "ratio":
            wanted = {work.metric: (_ratio(work, one, other), work.margin)}
        case _:
            wanted = {work.metric: (_difference(work, work.metric, one, other, work.margin), work.margin)}
    parts = {name: (effect, margin) for name, (effect, margin) in wanted.items() if effect is not None}
    if len(parts) < len(wanted):
        return ComparedPair(one.index, other.index, {}, UNREADABLE)
    return ComparedPair.of(one.index, other.index, parts)


UNREADABLE = "not resolvable: the figure of a side cannot be read, or not in most resamples"


def _difference(work: CompareTrials, metric: str, one: ClaimSide, other: ClaimSide, margin: float) -> Effect | None:
    """one − other."""
    if not _from_scores(metric):
        values = one.per_shadow(metric), other.per_shadow(metric)
        if values[0] is None or values[1] is None or len(values[0]) != len(values[1]):
            return None
        return from_pairs(values[0] - values[1], margin, work.confidence)
    return _from_draws(work, metric, one, other, margin, lambda a, b: a - b)


def _ratio(work: CompareTrials, one: ClaimSide, other: ClaimSide) -> Effect | None:
    """one / other: of figures read from scores, or of means over shadows by a bootstrap over shadows."""

    def ratio(a: Any, b: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(np.abs(b) > MIN_DIVISOR, np.divide(a, b), np.nan)

    if _from_scores(work.metric):
        return _from_draws(work, work.metric, one, other, work.margin, ratio)
    values = one.per_shadow(work.metric), other.per_shadow(work.metric)
    if values[0] is None or values[1] is None or len(values[0]) != len(values[1]):
        return None
    drawn = numpy_generator(work.seed, None, "claims/shadows").integers(len(values[0]), size=(work.resamples, len(values[0])))
    means = [side[drawn].mean(1) for side in values if side is not None]
    whole = float(ratio(values[0].mean(), values[1].mean()))
    return from_resamples(whole, ratio(*means), work.margin, work.confidence, len(values[0]))


def _equivalence(work: CompareTrials, one: ClaimSide, other: ClaimSide) -> ComparedPair:
    """one − other within the margin: two one-sided tests (Schuirmann 1987); refuted where it is beyond either end."""
    low, high = (_difference(work, work.metric, one, other, margin) for margin in (-work.margin, work.margin))
    if low is None or high is None:
        return ComparedPair(one.index, other.index, {}, UNREADABLE)
    inside, outside = max(low.above, high.below), min(1.0, 2 * min(low.below, high.above))
    parts = {work.metric: (dataclasses.replace(low, above=inside, below=outside), work.margin)}
    return ComparedPair(one.index, other.index, parts, "", inside, outside)


def _from_scores(metric: str) -> bool:
    return metric in ("leakage", "auc") or metric.startswith("tpr@")


def _from_draws(
    work: CompareTrials, metric: str, one: ClaimSide, other: ClaimSide, margin: float, effect: Callable[[Any, Any], Any]
) -> Effect | None:
    """Both sides read from the same draws. Groups of canaries that differ are drawn apart, their shadows together."""
    figures = one.figure(metric), other.figure(metric)
    if figures[0] is None or figures[1] is None:
        return None
    resampled = effect(one.resampled(metric), other.resampled(metric))
    n = int((~one.member & one.there).sum())
    return from_resamples(float(effect(*figures)), resampled, margin, work.confidence, n)


def _correlation(work: CompareTrials, side: ClaimSide) -> ComparedPair:
    """Spearman's rank correlation over canaries of how much two attacks tell members from non-members."""
    assert work.against is not None
    first, second = (_separation(side.column(attack), side.member) for attack in (work.metric, work.against))
    there = np.isfinite(first) & np.isfinite(second)
    if there.sum() < 3:
        return ComparedPair(side.index, None, {}, UNREADABLE)
    first, second = first[there], second[there]
    drawn = numpy_generator(work.seed, None, "claims/correlation").integers(len(first), size=(work.resamples, len(first)))
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = float(_spearman(first[None], second[None])[0])
        resampled = _spearman(first[drawn], second[drawn])
    effect = from_resamples(whole, resampled, work.margin, work.confidence, len(first)) if math.isfinite(whole) else None
    if effect is None:
        return ComparedPair(side.index, None, {}, UNREADABLE)
    return ComparedPair.of(side.index, None, {work.metric: (effect, work.margin)})


def _separation(scores: np.ndarray, member: np.ndarray) -> np.ndarray:
    """canary: mean score of members minus mean score of non-members."""
    with np.errstate(invalid="ignore", divide="ignore"):
        inside, outside = ((np.where(side, scores, 0.0)).sum(1) / side.sum(1) for side in (member, ~member))
    return inside - outside


def _spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """resample: rank correlation along each row."""
    ranks = [stats.rankdata(values, axis=1) for values in (first, second)]
    centred = [rank - rank.mean(1, keepdims=True) for rank in ranks]
    return (centred[0] * centred[1]).sum(1) / np.sqrt((centred[0] ** 2).sum(1) * (centred[1] ** 2).sum(1))


def _decisive_pair(pairs: list[ComparedPair], verdict: Verdict, work: CompareTrials) -> ComparedPair:
    """The pair that the verdict hangs on: the weakest of those that carry it, or the strongest of those that break it."""
    carriers: dict[Verdict, Verdict] = {"supported": "refuted", "refuted": "supported", "undecided": "undecided"}
    wanted = carriers[verdict] if work.pairs == "none" else verdict
    candidates = [pair for pair in pairs if pair.verdict == wanted] or pairs
    breaking = verdict == ("supported" if work.pairs == "any" else "refuted")
    return (min if breaking else max)(candidates, key=lambda pair: pair.adjusted)
