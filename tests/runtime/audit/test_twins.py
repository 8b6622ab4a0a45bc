"""Every attack and statistic beside a slow twin without any trick, on random input and on input that is out to break it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from scipy import optimize, stats

from compiler.power.epsilon_bounds import f_dp_rejects
from runtime.audit.attacks import signals
from runtime.audit.attacks.label_only import label_only, vote
from runtime.audit.attacks.lira import lira, lira_offline
from runtime.audit.attacks.pool import MIN_SHADOWS, VARIANCE_FLOOR, ShadowPool, sides
from runtime.audit.attacks.quantile import COMPONENTS, quantile
from runtime.audit.attacks.reference import calibrated, reference, threshold
from runtime.audit.attacks.rmia import rmia
from runtime.audit.statistics import epsilon
from runtime.audit.statistics.bootstrap import Resamples, read_resamples
from runtime.audit.statistics.deployed import shadow_only
from runtime.audit.statistics.one_run import SHARES, SPLITS, one_run
from runtime.audit.statistics.roc import auc, balanced_accuracy, roc_points, tpr_at
from runtime.audit.trial import risk
from runtime.audit.trial.copies import log_distance_gap
from runtime.audit.trial.risk import HALVINGS
from runtime.seeds import numpy_generator

CANARIES, VIEWS, SHADOWS = 6, 2, 10


def membership(design: str) -> np.ndarray:
    """canary × shadow. Coins fall so that some canaries have one member only, none, or no non-member."""
    rng = np.random.default_rng(5)
    member = rng.random((CANARIES, SHADOWS)) < 0.5
    if design == "pairs":
        member[:, 1::2] = ~member[:, 0::2]
    else:
        member[0], member[1], member[2] = False, False, True
        member[0, 3] = True
    return member


def world(kind: str) -> np.ndarray:
    """canary × view × shadow."""
    rng = np.random.default_rng(1)
    random = rng.normal(scale=3, size=(CANARIES, 1, 1)) + rng.normal(size=(CANARIES, VIEWS, SHADOWS))
    match kind:
        case "ties":
            return random.round()
        case "constant":
            return np.full_like(random, -3.7)
        case "saturated":  # logit gaps of ten thousand, and a shadow that stands apart from others that agree
            return np.where(rng.random(random.shape) < 0.3, -1e4, 1e4)
        case "almost constant":
            return 1e4 + np.where(rng.random(random.shape) < 0.1, 1e4, 0.0) + 1e-3 * random
        case "float32":
            return random.astype(np.float32)
    return random


WORLDS = ("random", "ties", "constant", "saturated", "almost constant", "float32")
DESIGNS = ("pairs", "bernoulli")


def others(pool: ShadowPool, target: int) -> list[int]:
    return [model for model in range(SHADOWS) if model != target and not (pool.paired and model == target ^ 1)]


def side_of(signal: np.ndarray, pool: ShadowPool, canary: int, view: int, target: int, inside: bool) -> np.ndarray:
    """What the shadows of one side say, one by one."""
    return np.array([float(signal[canary, view, u]) for u in others(pool, target) if pool.member[canary, u] == inside])


def spread(signal: np.ndarray, pool: ShadowPool, canary: int, view: int, target: int, inside: bool, variant: str) -> float:
    """Variance; floored as documented."""
    whose = range(CANARIES) if variant == "pooled" else [canary]
    values = [side_of(signal, pool, one, view, target, inside) for one in whose]
    squares = sum(float(((value - value.mean()) ** 2).sum()) for value in values if len(value))
    return max(squares / sum(max(len(value) - 1, 0) for value in values), VARIANCE_FLOOR)


def density(
    signal: np.ndarray, pool: ShadowPool, at: tuple[int, int, int], inside: bool, variant: str, compat: tuple[str, ...]
) -> float:
    """Log density of the target's signal under one side."""
    values = side_of(signal, pool, *at, inside)
    location = np.median(values) if "median_location" in compat else values.mean()
    here = float(signal[at])
    if "global_variance" in compat:
        all_in = np.concatenate([side_of(signal, pool, one, at[1], at[2], True) for one in range(CANARIES)])
        return normal(here - location, max(float(all_in.var()), VARIANCE_FLOOR))
    variance = spread(signal, pool, *at, inside, variant)
    if variant == "student_t":
        n = len(values)
        return float(stats.t.logpdf(here, n - 1, location, math.sqrt(variance * (1 + 1 / n))))
    return normal(here - location, variance)


def normal(away: float, variance: float) -> float:
    return -(away**2) / (2 * variance) - math.log(math.sqrt(2 * math.pi * variance))


def every(pool: ShadowPool, sides_needed: tuple[bool, ...], score: Callable[[int, int], float]) -> np.ndarray:
    """canary × shadow, NaN where a side has fewer than three shadows."""
    found = np.full((CANARIES, SHADOWS), np.nan)
    for canary, target in itertools.product(range(CANARIES), range(SHADOWS)):
        counts = [sum(pool.member[canary, u] == side for u in others(pool, target)) for side in sides_needed]
        if min(counts) >= MIN_SHADOWS:
            found[canary, target] = score(canary, target)
    return found


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("kind", WORLDS)
@pytest.mark.parametrize(
    ("variant", "compat"),
    [("per_example", ()), ("pooled", ()), ("student_t", ()), ("pooled", ("median_location",)), ("pooled", ("global_variance",))],
)
def test_lira(design: str, kind: str, variant: str, compat: tuple[str, ...]) -> None:
    signal, pool = world(kind), ShadowPool(membership(design), design == "pairs")

    def score(canary: int, target: int) -> float:
        views = [
            density(signal, pool, at, True, variant, compat) - density(signal, pool, at, False, variant, compat)
            for at in ((canary, view, target) for view in range(VIEWS))
        ]
        return float(np.mean(views))

    np.testing.assert_allclose(lira(signal, pool, variant, compat), every(pool, (True, False), score), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("kind", WORLDS)
@pytest.mark.parametrize(
    ("variant", "compat"),
    [("per_example", ()), ("pooled", ()), ("student_t", ()), ("pooled", ("median_location",)), ("per_example", ("two_sided",))],
)
def test_lira_offline(design: str, kind: str, variant: str, compat: tuple[str, ...]) -> None:
    signal, pool = world(kind), ShadowPool(membership(design), design == "pairs")

    def distance(canary: int, view: int, target: int) -> float:
        if "two_sided" in compat:
            return -density(signal, pool, (canary, view, target), False, variant, ())
        values = side_of(signal, pool, canary, view, target, False)
        location = np.median(values) if "median_location" in compat else values.mean()
        variance = spread(signal, pool, canary, view, target, False, variant)
        widened = variance * (1 + 1 / len(values)) if variant == "student_t" else variance
        return (float(signal[canary, view, target]) - location) / math.sqrt(widened)

    naive = every(pool, (False,), lambda canary, target: float(np.mean([distance(canary, view, target) for view in range(VIEWS)])))
    np.testing.assert_allclose(lira_offline(signal, pool, variant, compat), naive, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("kind", WORLDS)
def test_threshold_reference_and_calibrated(design: str, kind: str) -> None:
    signal, pool = world(kind), ShadowPool(membership(design), design == "pairs")
    mean = signal.astype(np.float64).mean(1)

    def rank(canary: int, target: int) -> float:
        outside = [u for u in others(pool, target) if not pool.member[canary, u]]
        return sum(bool(mean[canary, u] <= mean[canary, target]) for u in outside) / len(outside)

    def above(canary: int, target: int) -> float:
        return mean[canary, target] - np.mean([side_of(signal, pool, canary, view, target, False).mean() for view in range(VIEWS)])

    np.testing.assert_allclose(threshold(signal), mean)
    np.testing.assert_allclose(reference(signal, pool), every(pool, (False,), rank))
    np.testing.assert_allclose(calibrated(signal, pool), every(pool, (False,), above), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("kind", WORLDS)
@pytest.mark.parametrize(
    ("online", "majority", "gamma", "trimmed"),
    [
        (True, False, 1.0, False), (False, False, 2.0, False), (True, True, 1.0, False),
        (True, False, 1.0, True), (False, True, 1.0, True),
    ],
)  # fmt: skip
def test_rmia(design: str, kind: str, online: bool, majority: bool, gamma: float, trimmed: bool) -> None:
    pool, a = ShadowPool(membership(design), design == "pairs"), 0.3
    squashed = 1 / (1 + np.exp(-np.clip(world(kind), -700, 700)))
    z = 1 / (1 + np.exp(-np.random.default_rng(2).normal(size=(9, VIEWS, SHADOWS))))

    def mean(values: np.ndarray) -> float:
        cut = len(values) // 5 if trimmed else 0
        kept = sorted(values.tolist())[cut : len(values) - cut]
        return sum(kept) / len(kept)

    def expected(p_in: float, p_out: float) -> float:
        return max((p_in + p_out) / 2, np.finfo(np.float64).tiny)

    @cache
    def ratio(canary: int, view: int, target: int) -> float:
        outside = mean(side_of(squashed, pool, canary, view, target, False))
        inside = mean(side_of(squashed, pool, canary, view, target, True)) if online else a * outside + 1 - a
        return math.log(max(float(squashed[canary, view, target]), np.finfo(np.float64).tiny)) - math.log(expected(inside, outside))

    @cache
    def z_ratio(of: int, view: int, target: int) -> float:
        z_out = mean(np.array([z[of, view, u] for u in others(pool, target)]))
        return math.log(z[of, view, target]) - math.log(expected(a * z_out + 1 - a, z_out))

    def beaten(canary: int, view: int, target: int, of: int) -> bool:
        return ratio(canary, view, target) - math.log(gamma) >= z_ratio(of, view, target)

    def score(canary: int, target: int) -> float:
        votes = [[beaten(canary, view, target, of) for view in range(VIEWS)] for of in range(len(z))]
        return float(np.mean([sum(one) * 2 > VIEWS for one in votes] if majority else votes))

    found = rmia(squashed, z, pool, online=online, gamma=gamma, a=a, majority=majority, trimmed=trimmed)
    steps = len(z) * (1 if majority else VIEWS)
    naive = every(pool, (True, False) if online else (False,), score)
    np.testing.assert_allclose(np.floor(found * steps + 1e-9), np.round(naive * steps))  # beyond whole steps: how ties are broken


def test_rmia_breaks_ties_by_the_canarys_own_ratio_however_large() -> None:
    member = membership("pairs")
    p = np.full((CANARIES, 1, SHADOWS), 0.5)
    z = np.full((9, 1, SHADOWS), 0.5)
    p[0, 0], p[1, 0] = 1e-60, 1e-90
    p[0, 0, 0] = p[1, 0, 0] = 0.9
    member[:2, 0], member[:2, 1] = True, False
    score = rmia(p, z, ShadowPool(member, True))
    assert score[0, 0] < score[1, 0]  # both beat all of z; a logistic of the ratio would be exactly 1 for both


@pytest.mark.parametrize("design", DESIGNS)
def test_label_only_and_vote(design: str) -> None:
    from sklearn.linear_model import LogisticRegression

    pool = ShadowPool(membership(design), design == "pairs")
    rng = np.random.default_rng(3)
    correct = (rng.random((CANARIES, 5, SHADOWS)) < 0.6).astype(np.float32)
    correct[3], correct[4] = 1.0, 0.0  # always right, never right: only the constant can be fitted
    correct[5] = pool.member[5]  # right for members alone: without a penalty there would be no end to the weights

    def odds(canary: int, target: int) -> float:
        rest = others(pool, target)
        model = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(correct[canary][:, rest].T, pool.member[canary, rest])
        return float(model.decision_function(correct[canary][:, [target]].T)[0])

    np.testing.assert_allclose(label_only(correct, pool), every(pool, (True, False), odds), atol=2e-3)
    np.testing.assert_allclose(vote(correct)[2, 4], sum(correct[2, :, 4]) / 5)


@pytest.mark.parametrize("kind", WORLDS)
def test_quantile(kind: str) -> None:
    from sklearn.decomposition import PCA
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(4)
    images, z_images = (rng.integers(0, 256, (n, 40)).astype(np.uint8) for n in (CANARIES, 60))
    signal, z_signal = world(kind).astype(np.float64), np.resize(world(kind).astype(np.float64), (60, VIEWS, SHADOWS))
    parts = PCA(COMPONENTS).fit(z_images / 255)
    x, z = parts.transform(images / 255), parts.transform(z_images / 255)
    for model in (0, 7):
        center = Ridge(1.0).fit(z, z_signal.mean(1)[:, model])
        spread = Ridge(1.0).fit(z, np.log(np.abs(z_signal.mean(1)[:, model] - center.predict(z)) + 1e-6))
        scale = np.exp(spread.predict(x) + (math.log(2) + np.euler_gamma) / 2)  # E log |N(0, s)| = log s - (log 2 + γ) / 2
        naive = (signal.mean(1)[:, model] - center.predict(x)) / scale
        np.testing.assert_allclose(quantile(world(kind), z_signal, images, z_images)[:, model], naive, rtol=1e-6, atol=1e-6)


def test_signals_by_their_definitions_from_float32_and_saturated_logits() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 3, 5)).astype(np.float32)
    logits[0, 0, 1], logits[1, 1, 2] = 1e4, -1e4
    labels, true_labels = np.array([1, 2, 0, 4, 3, 3]), np.array([0, 0, 1, 1, 2, 4])
    for i, j in itertools.product(range(6), range(3)):
        z = [Fraction(float(value)) for value in logits[i, j]]
        rest = [value for c, value in enumerate(z) if c != labels[i]]
        top = max(rest)
        gap = float(z[labels[i]] - top) - math.log(sum(math.exp(float(value - top)) for value in rest))
        assert signals.logit(logits, labels)[i, j] == pytest.approx(gap)
        assert signals.loss(logits, labels)[i, j] == pytest.approx(-math.log1p(math.exp(-gap)) if gap > -700 else gap)
        assert signals.hinge(logits, labels)[i, j] == pytest.approx(float(z[labels[i]] - top))
        assert signals.correct(logits, labels)[i, j] == (z[labels[i]] > top)
        assert signals.contrast(logits, labels, true_labels)[i, j] == pytest.approx(float(z[labels[i]] - z[true_labels[i]]))
        powers = [sum((value / 2) ** k / math.factorial(k) for k in range(5)) for value in z]
        lead = z[labels[i]] / 2 - Fraction(0.6)
        own = sum(lead**k / math.factorial(k) for k in range(5))
        naive = float(own / (own + sum(powers) - powers[labels[i]]))
        assert signals.taylor_confidence(logits, labels, 2.0)[i, j] == pytest.approx(naive)
        assert signals.confidence(logits, labels, 2.0)[i, j] == pytest.approx(
            1 / sum(math.exp(min(float(value - z[labels[i]]) / 2, 700)) for value in z)
        )


def test_degenerate_fits_are_counted() -> None:
    pool = ShadowPool(membership("pairs"), True)
    inside, outside = sides(world("constant"), pool)
    counts = np.array([[sum(pool.member[i, u] for u in others(pool, t)) for t in range(SHADOWS)] for i in range(CANARIES)])
    every_inside, every_outside = (int(VIEWS * (found >= MIN_SHADOWS).sum()) for found in (counts, 10 - counts))
    assert inside.floored("per_example") == (every_inside, every_inside)
    assert outside.floored("pooled") == (every_outside, every_outside)
    assert [side.floored("pooled")[0] for side in sides(world("random"), pool)] == [0, 0]


# Statistics

SCORES = {
    "random": np.random.default_rng(0).normal(size=(12, 8)),
    "ties": np.random.default_rng(1).integers(0, 4, (12, 8)).astype(float),
    "constant": np.zeros((12, 8)),
    "infinite": np.random.default_rng(2).choice([-np.inf, 0.0, 1e4, np.inf], (12, 8)),
    "float32": np.random.default_rng(3).normal(size=(12, 8)).astype(np.float32),
}
SIDES = {
    "half": np.random.default_rng(4).random((12, 8)) < 0.5,
    "one member": np.arange(96).reshape(12, 8) == 17,
    "no non-member": np.ones((12, 8), bool),
    "no member": np.zeros((12, 8), bool),
}


@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("strict", [False, True])
def test_readings(kind: str, side: str, strict: bool) -> None:
    scores, member = SCORES[kind], SIDES[side]
    n1, n0 = int(member.sum()), int((~member).sum())
    cuts = [(scores >= bar) for bar in sorted(set(scores.ravel().tolist()))]
    for text in ("0.05", "0.29", "0.5"):
        exact = Fraction(text)
        fit = [cut for cut in cuts if ((cut & ~member).sum() < exact * n0 if strict else (cut & ~member).sum() <= exact * n0)]
        naive = max([(cut & member).sum() / n1 for cut in fit], default=0.0) if n1 and exact * n0 >= 1 else None
        reading = tpr_at(float(text), scores, member, strict)
        assert (None if reading.by_lot is None else reading.below) == (None if naive is None else pytest.approx(naive))
        assert reading.value in (None, reading.below)
    if not (n1 and n0):
        assert auc(scores, member) is balanced_accuracy(scores, member) is None
        return
    pairs = [(float(a), float(b)) for a in scores[member] for b in scores[~member]]
    assert auc(scores, member) == pytest.approx(sum((a > b) + 0.5 * (a == b) for a, b in pairs) / len(pairs))
    rates = [((cut & member).sum() / n1, (cut & ~member).sum() / n0) for cut in cuts]
    assert balanced_accuracy(scores, member) == pytest.approx(max(0.5, *((1 + tpr - fpr) / 2 for tpr, fpr in rates)))
    points = {(0.0, 0.0), *((float(fpr), float(tpr)) for tpr, fpr in rates)}
    assert {tuple(point) for point in roc_points(scores, member).tolist()} == points


@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("strict", [False, True])
def test_resamples(kind: str, side: str, strict: bool) -> None:
    scores, member = SCORES[kind], SIDES[side]
    there = np.random.default_rng(5).random(scores.shape) < 0.8
    resamples = Resamples.draw(15, 12, np.random.default_rng(6), 8)
    assert resamples.shadows is not None
    found = read_resamples(scores, member, (0.05, 0.29), resamples, there, strict)
    for row in range(15):
        cells = [
            (i, t) for i, t in itertools.product(range(12), range(8))
            for _ in range(resamples.canaries[row, i] * resamples.shadows[row, t]) if there[i, t]
        ]  # fmt: skip
        drawn, sides_drawn = np.array([scores[cell] for cell in cells]), np.array([member[cell] for cell in cells])
        for fpr in (0.05, 0.29):
            reading = tpr_at(fpr, drawn, sides_drawn, strict)
            if np.isnan(found.tpr[fpr][row]):
                assert reading.value is None
            else:
                assert found.tpr[fpr][row] == pytest.approx(reading.below)
        area, balanced = auc(drawn, sides_drawn), balanced_accuracy(drawn, sides_drawn)
        assert found.auc[row] == pytest.approx(np.nan if area is None else area, nan_ok=True)
        assert found.balanced_accuracy[row] == pytest.approx(np.nan if balanced is None else balanced, nan_ok=True)


def deployed_naive(scores: np.ndarray, member: np.ndarray, weight: np.ndarray, fpr: str, paired: bool) -> tuple[float, float]:
    """Realised TPR and FPR of thresholds from the other models' non-members; a cell counts as often as its weight says."""
    true = false = members = non_members = 0
    for target in range(scores.shape[1]):
        rest = [u for u in range(scores.shape[1]) if u != target and not (paired and u == target ^ 1)]
        outside = [scores[i, u] for i in range(len(scores)) for u in rest if not member[i, u] and not np.isnan(scores[i, u])
                   for _ in range(weight[i, u])]  # fmt: skip
        for i in range(len(scores)):
            if np.isnan(scores[i, target]):
                continue
            allowed = math.floor(Fraction(fpr) * len(outside))
            called = allowed >= 1 and sum(other >= scores[i, target] for other in outside) <= allowed
            true += weight[i, target] * (called and member[i, target])
            false += weight[i, target] * (called and not member[i, target])
            members += weight[i, target] * member[i, target]
            non_members += weight[i, target] * (not member[i, target])
    return true / members if members else np.nan, false / non_members if non_members else np.nan


@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize(("paired", "side"), [(True, "half"), *((False, side) for side in SIDES)])
def test_thresholds_from_shadows_alone(kind: str, paired: bool, side: str) -> None:
    member = SIDES[side].copy()
    scores = SCORES[kind].astype(np.float64) + np.where(member, 1.0, 0.0)
    if paired:
        member[:, 1::2] = ~member[:, 0::2]
    else:
        scores[2, 3] = np.nan
    found = shadow_only(scores, member, 0.1, paired)
    naive = deployed_naive(scores, member, np.ones(scores.shape, int), "0.1", paired)
    assert (found.tpr[0], found.fpr[0]) == pytest.approx(naive, nan_ok=True)
    ppv = 0.1 * naive[0] / (0.1 * naive[0] + 0.9 * naive[1]) if sum(naive) else np.nan
    assert found.ppv(0.1)[0] == pytest.approx(ppv, nan_ok=True)
    resamples = Resamples.draw(4, 12, np.random.default_rng(0), 8, paired)
    assert resamples.shadows is not None
    drawn = shadow_only(scores, member, 0.1, paired, resamples)
    for row in range(4):
        weight = resamples.canaries[row][:, None] * resamples.shadows[row]
        assert (drawn.tpr[row], drawn.fpr[row]) == pytest.approx(deployed_naive(scores, member, weight, "0.1", paired), nan_ok=True)


@pytest.mark.parametrize("kind", SCORES)
def test_risk_of_canaries(kind: str) -> None:
    scores, member = SCORES[kind].astype(np.float64), SIDES["half"].copy()
    member[0], member[1] = True, False
    scores[2, 0] = np.nan
    scores[3, 1] = np.inf
    assert not np.nan_to_num(risk.of_canaries(scores, member, None)[:, 0]).any()  # without a threshold nobody is exposed
    found = risk.of_canaries(scores, member, 0.5)
    for i in range(12):
        inside = [scores[i, t] for t in range(8) if member[i, t] and not np.isnan(scores[i, t])]
        outside = [scores[i, t] for t in range(8) if not member[i, t] and not np.isnan(scores[i, t])]
        hits = sum(score >= 0.5 for score in inside)
        pairs = [(a > b) + 0.5 * (a == b) for a in inside for b in outside]
        assert found[i, 0] == pytest.approx(hits / len(inside) if inside else np.nan, nan_ok=True)
        assert found[i, 1:3] == pytest.approx(stats.beta(hits + 0.5, len(inside) - hits + 0.5).interval(0.95))
        assert found[i, 3] == pytest.approx(np.mean(pairs) if pairs else np.nan, nan_ok=True)
    memorized = risk.memorization(np.abs(np.nan_to_num(SCORES["random"])), member)
    assert np.isnan(memorized[:2]).all()
    assert memorized[5] == pytest.approx(abs(SCORES["random"][5])[member[5]].mean() - abs(SCORES["random"][5])[~member[5]].mean())


def test_distances_of_members_over_those_of_non_members() -> None:
    closeness, member = SCORES["random"], SIDES["half"]
    resamples = Resamples.draw(5, 12, np.random.default_rng(0), 8)
    assert resamples.shadows is not None
    for row in range(5):
        shadows = np.repeat(np.arange(8), resamples.shadows[row])
        gaps = []
        for i in np.repeat(np.arange(12), resamples.canaries[row]):
            inside = [-closeness[i, t] for t in shadows if member[i, t]]
            outside = [-closeness[i, t] for t in shadows if not member[i, t]]
            gaps += [np.mean(inside) - np.mean(outside)] if inside and outside else []
        assert log_distance_gap(closeness, member, resamples)[row] == pytest.approx(np.mean(gaps))


def upper_naive(hits: int, trials: int, p: float) -> float:
    """The proportion under which so few hits have probability p."""
    if hits == trials:
        return 1.0
    return float(optimize.brentq(lambda q: stats.binom.cdf(hits, trials, q) - p, 0.0, 1.0, xtol=1e-13))


@pytest.mark.parametrize(
    ("true", "members", "false", "non_members"), [(80, 100, 3, 90), (100, 100, 0, 100), (5, 100, 95, 100), (1, 1, 0, 0)]
)
def test_multi_run_bounds(true: int, members: int, false: int, non_members: int) -> None:
    delta, p = 1e-5, 0.05
    fnr, fpr = upper_naive(members - true, members, p / 2), upper_naive(false, non_members, p / 2)
    candidates = [(1 - delta - fnr, fpr), (1 - delta - fpr, fnr), (1.0, 1.0)]
    naive = max(math.log(above / below) for above, below in candidates if above > 0 and below > 0)
    assert epsilon.multi_run(true, members, false, non_members, delta, p) == pytest.approx(naive)
    mu = stats.norm.ppf(1 - fpr) - stats.norm.ppf(fnr)
    found = epsilon.gaussian(true, members, false, non_members, delta, p)
    if not mu > 0:
        assert found == 0.0
        return
    spent = stats.norm.cdf(-found / mu + mu / 2) - math.exp(found) * stats.norm.cdf(-found / mu - mu / 2)
    assert spent == pytest.approx(delta, rel=1e-4)


@pytest.mark.parametrize(("correct", "guesses", "canaries"), [(60, 64, 128), (40, 64, 128), (64, 64, 128), (10, 10, 10)])
def test_one_run_bounds(correct: int, guesses: int, canaries: int) -> None:
    p = 0.05

    def overshoots(mu: float) -> bool:
        """Mahloujifar et al. 2024, algorithm 3, with its two series kept as lists."""
        r, h = [0.0] * (correct + 1), [0.0] * (correct + 1)
        r[correct], h[correct] = p * correct / canaries, p * (guesses - correct) / canaries
        for i in reversed(range(correct)):
            h[i] = max(h[i + 1], stats.norm.cdf(stats.norm.ppf(min(r[i + 1], 1.0)) - mu))
            r[i] = r[i + 1] + i / (guesses - i) * (h[i] - h[i + 1])
        return any(a + b > guesses / canaries for a, b in zip(r, h, strict=True))

    for mu in (0.0, 0.3, 1.0, 2.0, 4.0):
        assert f_dp_rejects(mu, correct, guesses, canaries, p) == overshoots(mu), mu
    bound = epsilon.steinke(correct, guesses, canaries, 0.0, p)
    if bound:
        q = 1 / (1 + math.exp(-bound))
        assert sum(stats.binom.pmf(v, guesses, q) for v in range(correct, guesses + 1)) == pytest.approx(p, rel=1e-6)
    assert epsilon.steinke(correct, guesses, canaries, 1e-3, p) <= bound


@pytest.mark.parametrize("strategy", ["preset", "bonferroni"])
def test_guesses_by_hand(strategy: str) -> None:
    rng = np.random.default_rng(0)
    member = rng.random(120) < 0.5
    scores = rng.normal(size=120) + 2 * member

    def by_hand(k: int, error: float) -> float:
        order = sorted(range(120), key=lambda i: -scores[i])
        right = sum(member[i] for i in order[:k]) + sum(not member[i] for i in order[120 - k :])
        return epsilon.steinke(int(right), 2 * k, 120, 1e-5, error)

    naive = by_hand(30, 0.05) if strategy == "preset" else max(by_hand(max(1, int(120 * share)), 0.05 / 6) for share in SHARES)
    found = one_run(epsilon.steinke, scores, member, delta=1e-5, error=0.05, strategy=strategy)  # type: ignore[arg-type]
    assert found.value == pytest.approx(naive)


@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize("strategy", ["split", "multisplit"])
def test_guesses_chosen_on_one_half_and_tested_on_the_other(kind: str, strategy: str) -> None:
    scores = np.resize(SCORES[kind], 96).astype(np.float64) + 2 * np.resize(SIDES["half"], 96)
    member = np.resize(SIDES["half"], 96)
    turn = numpy_generator(0, None, "audit/guesses").permutation(96)

    def bound(half: list[int], share: float, error: float) -> float:
        k = max(1, int(len(half) * share))
        order = sorted(half, key=lambda i: -scores[i])  # stable: ties by lot, as they were shuffled
        right = sum(member[i] for i in order[:k]) + sum(not member[i] for i in order[len(half) - k :])
        return epsilon.steinke(int(right), 2 * k, len(half), 1e-5, error)

    def chosen(order: list[int], error: float) -> float:
        first, second = order[:48], order[48:]
        return bound(second, max(SHARES, key=lambda share: bound(first, share, error)), error)

    found = one_run(epsilon.steinke, scores, member, delta=1e-5, error=0.05, strategy=strategy)  # type: ignore[arg-type]
    if len(set(scores.tolist())) == 1:
        assert found.value == 0.0
    elif strategy == "split":
        assert found.value == pytest.approx(chosen(turn.tolist(), 0.05))
    else:
        splits = numpy_generator(0, None, "audit/splits").permuted(np.tile(np.arange(96), (SPLITS, 1)), axis=1)
        assert found.value == pytest.approx(float(np.median([chosen(turn[one].tolist(), 0.025) for one in splits])))


@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize("paired", [True, False])
def test_the_most_exposed_of_two_halves(kind: str, paired: bool) -> None:
    scores, member, bar = SCORES[kind].astype(np.float64), SIDES["half"], 0.5
    rng = np.random.default_rng(0)
    found = []
    for _ in range(HALVINGS):
        order = rng.permutation(4 if paired else 8).tolist()
        halves = [order[: len(order) // 2], order[len(order) // 2 :]]
        exposed = []
        for half in halves:
            shadows = [2 * pair + one for pair in half for one in (0, 1)] if paired else half
            lot, ranked = rng.random(12), []
            for i in range(12):
                inside, outside = ([scores[i, t] for t in shadows if member[i, t] == side] for side in (True, False))
                share = sum(score >= bar for score in inside) / len(inside) if inside else -1.0
                pairs = [(a > b) + 0.5 * (a == b) for a in inside for b in outside]
                ranked.append((share, float(np.mean(pairs)) if pairs else -1.0, lot[i], i))
            exposed.append({max(ranked)[3]})  # of twelve canaries one counts as most exposed
        found.append(len(exposed[0] & exposed[1]) / len(exposed[0] | exposed[1]))
    top, overlaps = risk.overlap(scores, member, bar, paired, np.random.default_rng(0))
    assert (top, overlaps.tolist()) == (1, found)


@pytest.mark.parametrize("score", [auc, balanced_accuracy, roc_points, lambda scores, member: tpr_at(0.1, scores, member)])
def test_a_nan_is_refused_with_its_place(score: Callable[[np.ndarray, np.ndarray], object]) -> None:
    scores = SCORES["random"].copy()
    scores[3, 5] = np.nan
    with pytest.raises(ValueError, match=r"the score at \(3, 5\) is NaN"):
        score(scores, SIDES["half"])
