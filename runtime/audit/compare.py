"""Tests a claim: compares pairs of trials on the same canaries, test images and shadows.

Each pair gives evidence for the claim and against it; a step-down test on the maximum controls the error over all pairs
(`simultaneous`). Not here: how a trial is read (`claim_side`), the attacks themselves (`trial`), which trials a claim is about
(`compiler.check.claim_sides`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy import stats

from compiler.work.operations import CompareTrials, Reading
from runtime.audit.claim_side import ClaimSide
from runtime.audit.statistics.bootstrap import PLAIN, RATIO, Drawn, Resamples, uncertainty
from runtime.audit.statistics.simultaneous import Evidence, Verdict, judge_claim, judge_pairs, step_down, strongest, weakest
from runtime.audit.statistics.testing import Estimate, accuracy_of, difference_of, from_pairs, of_one, of_two
from runtime.outcome import Metric, Product
from runtime.seeds import numpy_generator
from runtime.store.artifacts import Inputs

UNREADABLE = "not resolvable: the figure of a side cannot be read, or not in most resamples"
HALVINGS = 40
"""Random splits of the shadows into two halves over which split-half reliability is averaged."""


def perform(work: CompareTrials, inputs: Inputs, device: torch.device) -> Product:
    """Test the claim. Metric `claim`: the effect of the decisive pair (`_decisive_pair`) with its interval; no value where nothing
    of that pair could be tested. Notes: `verdict` on the claim; `p`, `decided_by`, `left` and `right` of the decisive pair;
    `alpha`; `pairs`, the record of each. Pairs that do not count leave the verdict `undecided` if no other is left. Without any
    pair the metric has no value, the verdict is `undecided`, and the only other note is `pairs`, []. ValueError as of
    `ClaimSide.uncertain`; Corrupt where a file of a trial is damaged."""
    left, right = _sides(inputs, work, "left", work.left), _sides(inputs, work, "right", work.right)
    pairs = [_test_pair(work, one, other) for one, other in _pairs(work, left, right)]
    if not pairs:
        nothing = Metric("claim", None, note="no pair of trials can be compared")
        return Product(metrics=(nothing,), notes={"verdict": "undecided", "pairs": []})
    alpha = 1 - work.confidence
    _judge(work, pairs, alpha)
    counted = [pair for pair in pairs if pair.counts]
    verdict = judge_claim([pair.verdict for pair in counted], work.pairs) if counted else "undecided"
    decisive = _decisive_pair(counted or pairs, verdict, work)
    shown = decisive.effect
    metric = Metric("claim", None, note=decisive.note)
    if shown is not None:
        metric = Metric("claim", shown.value, shown.low, shown.high, shown.n, decisive.note)
    notes: dict[str, Any] = {"verdict": verdict, "p": decisive.p, "alpha": alpha, "decided_by": decisive.decided_by}
    notes |= {"left": decisive.left, "right": decisive.right, "pairs": [pair.record() for pair in pairs]}
    return Product(metrics=(metric,), notes=notes)


def _sides(inputs: Inputs, work: CompareTrials, side: str, reading: Reading) -> list[ClaimSide]:
    """The trials of a side (`left` or `right`), in the order of their indices; [] where `inputs` have none of that side."""
    roles = [(index, f"{side}/{index}") for index in range(len(inputs))]
    return [ClaimSide(index, inputs[role], work, reading) for index, role in roles if role in inputs]


@dataclass(frozen=True)
class Compared:
    """An effect (difference, ratio or correlation) with its estimate and its bootstrap distribution."""

    name: str
    estimate: Estimate
    resampled: np.ndarray
    """resample: the effect, of a ratio its logarithm; not finite where it cannot be computed on the resample."""

    def above(self, margin: float) -> Evidence:
        """Evidence that the effect lies above the margin, in units of `estimate.value` (for a ratio, the ratio itself)."""
        return Evidence.of(self.name, self.estimate.p_above(margin), self.resampled)

    def below(self, margin: float) -> Evidence:
        """Evidence that the effect lies below the margin, in units as for `above`."""
        return Evidence.of(self.name, self.estimate.p_below(margin), -self.resampled)

    def inside(self, margin: float) -> Evidence:
        """Evidence that the effect lies within ± margin: two one-sided tests (Schuirmann 1987)."""
        return weakest([self.above(-margin), self.below(margin)])

    def record(self, margin: float | None) -> dict[str, Any]:
        """As JSON: `value`, `low`, `high` and `n` of the estimate, `margin`, and the one-sided p-values `above` and `below` of
        evidence that the effect lies above and below it (a small `above`: it lies above); without these where `margin` is None."""
        found = self.estimate
        tested = {} if margin is None else {"above": found.p_above(margin), "below": found.p_below(margin)}
        return {name: getattr(found, name) for name in ("value", "low", "high", "n")} | {"margin": margin, **tested}


@dataclass
class ComparedPair:
    """The comparison of two trials, of one trial with zero, or of two attacks on one trial (a correlation)."""

    left: int
    right: int | None
    parts: dict[str, tuple[Compared, float | None]] = field(default_factory=dict)
    """Name → effect, and the margin that it is tested against; None for an effect that is reported and not tested."""
    evidence: tuple[Evidence, Evidence] | None = None
    """Evidence for what the claim states of this pair, and for the contrary; None where a side cannot be read."""
    note: str = ""
    alike: Evidence | None = None
    """In a matched comparison: evidence that the metric to be matched is equivalent on both sides."""
    counts: bool = True
    """False where the sides of a matched comparison are not shown to be equivalent: the pair then does not enter the verdict."""
    verdict: Verdict = "undecided"
    p: float = 1.0
    """The smaller of its two p-values, each adjusted for the other pairs."""

    @property
    def deciding(self) -> Evidence | None:
        """The evidence on which the verdict rests: for the claim if it is supported, against it if it is refuted, and the one with
        the higher score if it is undecided; None where nothing could be tested."""
        if self.evidence is None:
            return None
        way = {"supported": 0, "refuted": 1, "undecided": int(self.evidence[0].score < self.evidence[1].score)}[self.verdict]
        return self.evidence[way]

    @property
    def decided_by(self) -> str | None:
        """Name of the effect on which the verdict rests; None where nothing could be tested. In evidence of several effects it is
        the one that the test's minimum or maximum selects."""
        return self.deciding.name if self.deciding else None

    @property
    def effect(self) -> Estimate | None:
        """The estimated effect on which the verdict rests, in the units of its metric; None where nothing could be tested."""
        return self.parts[self.deciding.name][0].estimate if self.deciding else None

    def record(self) -> dict[str, Any]:
        """As JSON, the pair as the database stores it: its indices `left` and `right`, `p`, `verdict`, `note`, `decided_by`;
        `effect`, `low`, `high` and `n` of the deciding effect, None where nothing could be tested; `parts`, the record of each
        effect."""
        figures = {
            "effect" if name == "value" else name: getattr(self.effect, name, None) for name in ("value", "low", "high", "n")
        }
        parts = {name: estimate.record(margin) for name, (estimate, margin) in self.parts.items()}
        own = {name: getattr(self, name) for name in ("left", "right", "p", "verdict", "note", "decided_by")}
        return own | figures | {"parts": parts}


def _judge(work: CompareTrials, pairs: list[ComparedPair], alpha: float) -> None:
    """Set in place the verdict and the adjusted p-value `p` of each pair that has evidence; one without stays undecided with p = 1.
    A matched pair whose sides are not shown to be equivalent, with an adjusted p-value above `alpha`, also gets `counts` False and
    a note."""
    matched = [(pair, pair.alike) for pair in pairs if pair.alike is not None]
    for (pair, _), p in zip(matched, step_down([alike for _, alike in matched]) if matched else (), strict=True):
        pair.counts = p <= alpha
        if not pair.counts:
            pair.note = f"not shown to be alike: {work.match} may differ by more than {work.tolerance:g}"
    readable = [pair for pair in pairs if pair.evidence is not None]
    halves = 1 if work.test == "equivalence" else 2
    judged = judge_pairs([pair.evidence for pair in readable if pair.evidence], alpha, halves) if readable else []
    for pair, (verdict, p) in zip(readable, judged, strict=True):
        pair.verdict, pair.p = verdict, p


def _pairs(work: CompareTrials, left: list[ClaimSide], right: list[ClaimSide]) -> list[tuple[ClaimSide, ClaimSide | None]]:
    """The pairs to compare: each left trial with each right one, except with itself. Where both sides are the same trials in the
    same order, read in two ways (the readings differ), each trial with itself alone. Without a right side, each left trial with
    None."""
    if not right:
        return [(one, None) for one in left]
    same = [one.artifact.folder for one in left] == [other.artifact.folder for other in right]
    if same and work.left != work.right:
        return list(zip(left, right, strict=True))
    return [(one, other) for one in left for other in right if one.artifact.folder != other.artifact.folder]


def _test_pair(work: CompareTrials, one: ClaimSide, other: ClaimSide | None) -> ComparedPair:
    """Effects and evidence of one pair, not judged yet; without them, and with the reason as the note, where an effect cannot be
    computed (`difference`, `_ratio`, `_correlation`). A correlation has a note in any case. `other` None: `one` against zero, or a
    correlation; not for a ratio or dominance. ValueError as of `ClaimSide.uncertain`."""
    pair, margin = ComparedPair(one.index, other.index if other else None), work.margin
    match work.test:
        case "correlation":
            found, pair.note = _correlation(work, one)
            wanted = {work.metric: (found, margin)}
        case "dominance":
            margins = work.margins
            wanted = {
                "leakage": (difference(work, "leakage", one, other), margins.leakage),
                "test_accuracy": (difference(work, "test_accuracy", one, other), -margins.test_accuracy),
                "cost": (_ratio(work, "flops", one, other), margins.cost),
            }
        case "ratio":
            wanted = {work.metric: (_ratio(work, work.metric, one, other), margin)}
        case _:
            wanted = {work.metric: (difference(work, work.metric, one, other), margin)}
            if work.test == "matched":
                wanted[work.match] = (difference(work, work.match, one, other), work.tolerance)
    read: dict[str, tuple[Compared, float | None]] = {name: (it, at) for name, (it, at) in wanted.items() if it is not None}
    if len(read) < len(wanted):
        pair.note = pair.note or UNREADABLE
        return pair
    if work.test == "dominance" and (seconds := _ratio(work, "seconds", one, other)):
        read["seconds"] = (seconds, None)  # reported beside FLOPs and not tested: sides may have run on different machines
    pair.parts, effects = read, {name: estimate for name, (estimate, _) in read.items()}
    pair.evidence = _weigh(work, effects)
    if work.test == "matched":
        pair.alike = effects[work.match].inside(work.tolerance)
    return pair


def _weigh(work: CompareTrials, effects: Mapping[str, Compared]) -> tuple[Evidence, Evidence]:
    """Evidence for what the claim states of a pair, and for the contrary: the effect lies above the margin, or below it; in an
    equivalence within ± margin, or outside; in a matched comparison above or below, and in both cases the other metric is
    equivalent; in a dominance no metric is worse by more than its margin and one is better, or one is worse by more. `effects`:
    metric → effect, of all that the test needs; for a dominance `leakage`, `test_accuracy` and `cost`."""
    margin = work.margin
    if work.test == "dominance":
        leaks, accuracy, cost = (effects[name] for name in ("leakage", "test_accuracy", "cost"))
        allowed = work.margins
        # Non-inferior in each and superior in one, so that dominance can be shown where neither side leaks.
        no_worse = [leaks.below(allowed.leakage), accuracy.above(-allowed.test_accuracy), cost.below(allowed.cost)]
        better = strongest([leaks.below(0.0), accuracy.above(0.0), cost.below(1.0)])
        worse = [leaks.above(allowed.leakage), accuracy.below(-allowed.test_accuracy), cost.above(allowed.cost)]
        return weakest([*no_worse, better]), strongest(worse)
    effect = effects[work.metric]
    if work.test == "equivalence":
        return effect.inside(margin), strongest([effect.below(-margin), effect.above(margin)])
    if work.test == "matched":
        alike = effects[work.match].inside(work.tolerance)
        return weakest([effect.above(margin), alike]), weakest([effect.below(margin), alike])
    return effect.above(margin), effect.below(margin)


def difference(work: CompareTrials, metric: str, one: ClaimSide, other: ClaimSide | None) -> Compared | None:
    """The effect one − other, or the figure of `one` where `other` is None. None where a side cannot be read; for figures from
    scores, where fewer than half of the resamples give a difference; for other ones, where the sides have different numbers of
    shadows. A `test_accuracy` is tested over images and shadows where each side has stored which predictions are correct, of
    equally many images, and otherwise, as other metrics that are not from scores, over shadows alone. ValueError as of
    `ClaimSide.uncertain`."""
    if from_scores(metric):
        return _from_draws(work, metric, one, other)
    values, others = one.per_shadow(metric), other.per_shadow(metric) if other else None
    if values is None or (other is not None and (others is None or len(others) != len(values))):
        return None
    cells = one.right if metric == "test_accuracy" else None
    if cells is not None and other is not None:
        cells = cells - other.right if other.right is not None and other.right.shape == cells.shape else None
    if cells is not None:
        images = one.draw("images", len(cells))
        resampled = ((images @ cells) * one.drawn_shadows).sum(1) / cells.size
        return Compared(metric, (difference_of if other else accuracy_of)(cells, work.confidence), resampled)
    differences = values if others is None else values - others
    resampled = one.drawn_shadows @ differences / len(differences)
    return Compared(metric, from_pairs(differences, work.confidence), resampled)


def _ratio(work: CompareTrials, metric: str, one: ClaimSide, other: ClaimSide | None) -> Compared | None:
    """The effect one / other, tested as a logarithm: a ratio of figures from scores, or of means over shadows; in a dominance that
    of `flops` is named `cost`. `other` must not be None. The result is None where the figure of a side cannot be read or is not
    above 0, where fewer than half of the resamples give a ratio, or, for a figure that is not from scores, where the sides have
    different numbers of shadows. ValueError as of `ClaimSide.uncertain`."""
    assert other is not None
    if from_scores(metric):
        return _from_draws(work, metric, one, other, ratio=True)
    above, below = one.per_shadow(metric), other.per_shadow(metric)
    if above is None or below is None or len(above) != len(below) or min(above.mean(), below.mean()) <= 0:
        return None
    drawn = one.drawn_shadows
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = (drawn @ above) / (drawn @ below)
    units = Resamples(one.draw("shadows", one.units))
    found = uncertainty(float(above.mean() / below.mean()), Drawn(resampled), units, RATIO)
    name = "cost" if work.test == "dominance" and metric == "flops" else metric
    return Compared(name, of_one(found, work.confidence, len(above)), np.log(resampled)) if found else None


def from_scores(metric: str) -> bool:
    """Whether the metric is read from scores of an attack: `leakage`, `auc`, `tpr@…`."""
    return metric in ("leakage", "auc") or metric.startswith("tpr@")


def _from_draws(work: CompareTrials, metric: str, one: ClaimSide, other: ClaimSide | None, ratio: bool = False) -> Compared | None:
    """Difference or ratio of figures from scores, both sides on the same resamples of shadows, and of canaries where the group is
    the same; None where a side cannot be read, fewer than half of the resamples give a number, or a side of a ratio is not above 0.
    The figure of `one` alone, whatever `ratio`, where `other` is None. `n`: number of non-member scores of `one`. ValueError as of
    `ClaimSide.uncertain`."""
    found, against = one.uncertain(metric), other.uncertain(metric) if other else None
    if found is None or (other is not None and against is None):
        return None
    n = int((~one.member & one.scored).sum())
    if against is None:
        return Compared(metric, of_one(found, work.confidence, n), found.resampled)
    if ratio and min(found.value, against.value) <= 0:
        return None
    scale: Any = np.log if ratio else np.asarray
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = scale(found.resampled) - scale(against.resampled)
    if 2 * np.isfinite(resampled).sum() < len(resampled):
        return None
    return Compared(metric, of_two(found, against, work.confidence, n, ratio), resampled)


def _correlation(work: CompareTrials, side: ClaimSide) -> tuple[Compared | None, str]:
    """Spearman's rank correlation of two attacks, `work.metric` and `work.against` (`correlate_canaries` or, over events,
    `correlate_events`), of all scores (the checks refuse a stratum here), and a note. None, with the reason as the note, where it
    cannot be read, also where fewer than half of the resamples give it; and over canaries, where the attacks are too unreliable for
    a correlation beyond the claim's margin. ValueError as of `ClaimSide.column`."""
    assert work.against is not None
    scores = [side.column(attack) for attack in (work.metric, work.against)]
    correlate = correlate_events if work.over == "events" else correlate_canaries

    def resampled(part: Resamples) -> np.ndarray:
        shadows = np.ones((len(part), side.member.shape[1])) if part.shadows is None else part.shadows
        return correlate(scores, side.member, part.canaries, shadows)[1]

    drawn = Drawn.of(resampled, side.draws)
    value, _, n = correlate(scores, side.member, side.draws.canaries[:1], side.drawn_shadows[:1])
    note = "of each member in each shadow"
    if work.over == "canaries":
        repeats = [reliability(one, side.member, side.paired, numpy_generator(work.seed, None, "claims/halves")) for one in scores]
        most = math.sqrt(max(repeats[0], 0.0) * max(repeats[1], 0.0))
        note = f"reliability {repeats[0]:.2f} and {repeats[1]:.2f}: no correlation above {most:.2f} could be seen"
        if most <= abs(work.margin):
            return None, f"not resolvable: {note}"
    found = uncertainty(value, drawn.spread(lambda read: read), side.draws, PLAIN)
    if found is None:
        return None, UNREADABLE
    return Compared(work.metric, of_one(found, work.confidence, n), found.resampled), note


def correlate_events(
    scores: list[np.ndarray], member: np.ndarray, canaries: np.ndarray, shadows: np.ndarray
) -> tuple[float, np.ndarray, int]:
    """Spearman's correlation of two attacks' scores over the members of each shadow, mean over shadows: the estimate, the same on
    each resample, and the number of (canary, shadow) events, which are members with finite scores by both attacks.

    Ranks are taken within a shadow, so that differences between shadows add no correlation; resamples weight the ranks in the data.
    Shadows without a correlation (fewer than two events, or equal scores by an attack) are left out of the mean, which is NaN if
    none is left. `scores`: of each attack, canary × shadow, as `member`. canaries: resample × canary, how many times it is drawn;
    shadows: resample × shadow, likewise.
    """
    kept = member & np.isfinite(scores[0] + scores[1])
    first, second = (_ranks_within(one, kept) for one in scores)

    def correlation(weights: np.ndarray) -> np.ndarray:
        """resample × shadow: correlation of the ranks, weighted by `weights` (resample × canary); NaN or infinite without a
        variance."""
        total = weights @ kept
        means = [np.divide(weights @ one, total, where=total > 0, out=np.zeros_like(total)) for one in (first, second)]
        moments = [weights @ (one * other) - total * a * b for one, other, a, b in (
            (first, second, *means), (first, first, means[0], means[0]), (second, second, means[1], means[1])
        )]  # fmt: skip
        with np.errstate(invalid="ignore", divide="ignore"):
            return moments[0] / np.sqrt(np.maximum(moments[1], 0) * np.maximum(moments[2], 0))

    def mean(found: np.ndarray, weights: np.ndarray) -> np.ndarray:
        there = np.isfinite(found)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (np.where(there, found, 0.0) * weights).sum(1) / (there * weights).sum(1)

    whole = correlation(np.ones((1, len(member))))
    value = mean(whole, np.ones((1, member.shape[1])))
    return float(value[0]), mean(correlation(canaries.astype(float)), shadows), int(kept.sum())


def _ranks_within(scores: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """canary × shadow: rank of the score (mean rank for ties, higher scores higher) among the kept ones of the shadow, minus their
    mean rank; 0 where a score is not kept."""
    ranks = np.zeros(scores.shape)
    for shadow in range(scores.shape[1]):
        inside = kept[:, shadow]
        if inside.any():
            found = stats.rankdata(scores[inside, shadow])
            ranks[inside, shadow] = found - found.mean()
    return ranks


def correlate_canaries(
    scores: list[np.ndarray], member: np.ndarray, canaries: np.ndarray, shadows: np.ndarray
) -> tuple[float, np.ndarray, int]:
    """Spearman's correlation over canaries of two attacks' separations (`separation`): the estimate, the same on each resample, and
    the number of canaries that have a separation by both attacks; with fewer than three, NaN, all NaN, and 0. Arguments as for
    `correlate_events`. In a resample, a canary without a separation in the shadows drawn keeps its estimate from all shadows; one
    without that by some attack is replaced by the first canary that has it by both."""
    whole = [separation(one, member, np.ones((1, member.shape[1])))[0] for one in scores]
    there = np.isfinite(whole[0]) & np.isfinite(whole[1])
    if there.sum() < 3:
        return math.nan, np.full(len(canaries), math.nan), 0
    drawn = [separation(one, member, shadows) for one in scores]
    # With paired membership every resample has members and non-members of each canary; a canary that has none keeps its estimate.
    drawn = [np.where(np.isfinite(one), one, own) for one, own in zip(drawn, whole, strict=True)]
    rows = np.stack([np.repeat(np.arange(len(counts)), counts) for counts in canaries])
    lost = ~there[rows]  # canaries without a separation: replaced by the first that has one
    rows = np.where(lost, np.flatnonzero(there)[0], rows)
    resampled = _spearman(*(np.take_along_axis(one, rows, axis=1) for one in drawn))
    return float(_spearman(whole[0][None, there], whole[1][None, there])[0]), resampled, int(there.sum())


def reliability(scores: np.ndarray, member: np.ndarray, paired: bool, rng: np.random.Generator) -> float:
    """Split-half reliability of the canaries' separations: the rank correlation between two halves of the shadows, mean over
    HALVINGS random splits, extrapolated to all shadows (Spearman 1910, Brown 1910); 0 where no split gives a correlation.
    Separations that are NaN count as 0. The result is at most 1; of a negative mean it may lie far below -1. scores, member: canary
    × shadow. `paired`: whether shadows 2j and 2j+1 stay in one half."""
    width = 2 if paired else 1
    units = scores.shape[1] // width
    halves = np.stack([rng.permutation(units) < units // 2 for _ in range(HALVINGS)]).astype(float)
    halves = np.repeat(halves, width, axis=1)
    found = _spearman(*(np.nan_to_num(separation(scores, member, half)) for half in (halves, 1 - halves)))
    half = float(np.nanmean(found)) if np.isfinite(found).any() else 0.0
    return 2 * half / (1 + half) if half > -1 else -1.0


def separation(scores: np.ndarray, member: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """resample × canary: mean score of members minus that of non-members, weighted by `weights` (resample × shadow); NaN where
    either have no weight, or any score of the canary is NaN, even one without weight. scores, member: canary × shadow."""
    with np.errstate(invalid="ignore", divide="ignore"):
        inside, outside = ((weights @ np.where(side, scores, 0.0).T) / (weights @ side.T) for side in (member, ~member))
    return inside - outside


def _spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """resample: Spearman's correlation of each row of `first` with that of `second`; NaN where one is constant or holds a NaN."""
    ranks = [stats.rankdata(values, axis=1) for values in (first, second)]
    centred = [rank - rank.mean(1, keepdims=True) for rank in ranks]
    with np.errstate(invalid="ignore", divide="ignore"):
        return (centred[0] * centred[1]).sum(1) / np.sqrt((centred[0] ** 2).sum(1) * (centred[1] ** 2).sum(1))


def _decisive_pair(pairs: list[ComparedPair], verdict: Verdict, work: CompareTrials) -> ComparedPair:
    """The pair on which the claim's verdict depends: of the pairs that must all agree, the one with the weakest evidence; of pairs
    of which one suffices, the one with the strongest; if undecided, of the undecided pairs the one with the weakest. A pair without
    evidence is the weakest. Where no pair has the verdict in question, all are candidates. `verdict`: on the claim."""
    carriers: dict[Verdict, Verdict] = {"supported": "refuted", "refuted": "supported", "undecided": "undecided"}
    wanted = carriers[verdict] if work.pairs == "none" else verdict
    candidates = [pair for pair in pairs if pair.verdict == wanted] or pairs
    breaking = verdict == ("supported" if work.pairs == "any" else "refuted")
    return (max if breaking else min)(candidates, key=lambda pair: pair.deciding.score if pair.deciding else -math.inf)
