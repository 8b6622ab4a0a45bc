"""Intervals, controls and bounds, by simulation: `OMP_NUM_THREADS=1 python benchmarks/audit_statistics.py [--only NAME …]`.

Four worlds whose truth is known, written out below. Prints six tables: coverage of nominal 95 % intervals of TPR at 1 % FPR;
AUC of LiRA on null data; the attack that reads nothing but counts; verdicts on claims about nothing; false alarms of the one-run
epsilon bounds; the bound on a Gaussian mechanism beside the truth.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.pop(0)  # this folder: its `statistics` would hide Python's own
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal

import numpy as np
from scipy import stats

from compiler.language.audit import Design
from compiler.power.epsilon_bounds import epsilon_of_mu, f_dp
from runtime.audit.attacks.lira import lira
from runtime.audit.attacks.pool import ShadowPool
from runtime.audit.statistics import epsilon
from runtime.audit.statistics.bootstrap import Resamples, interval, read_resamples
from runtime.audit.statistics.null import redraw
from runtime.audit.statistics.roc import auc, tpr_at
from runtime.audit.statistics.testing import from_pairs, judge_claim, judge_pairs, p_values

FPR = 0.01


@dataclass(frozen=True)
class World:
    """Scores of canaries (rows) under models (columns), half of them members in complementary pairs."""

    what: str
    canaries: int
    shadows: int
    draw: Callable[[np.random.Generator, np.ndarray], np.ndarray]
    """(rng, member) → scores."""

    def sample(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        first = rng.random((self.canaries, self.shadows // 2)) < 0.5
        member = np.stack([first, ~first], axis=2).reshape(self.canaries, self.shadows)
        return self.draw(rng, member), member


def some_leak(share: float, shift: float) -> Callable[[np.random.Generator, np.ndarray], np.ndarray]:
    """A share of the canaries leaks in every model; scores are normal."""

    def draw(rng: np.random.Generator, member: np.ndarray) -> np.ndarray:
        leaky = rng.random((len(member), 1)) < share
        return rng.normal(size=member.shape) + shift * (member & leaky)

    return draw


def own_difficulty(rng: np.random.Generator, member: np.ndarray) -> np.ndarray:
    """Every canary leaks by its own amount, and has a level and a spread of its own."""
    canaries = len(member)
    level, spread = rng.normal(0, 0.3, (canaries, 1)), rng.gamma(8, 1 / 8, (canaries, 1))
    return level + spread * rng.normal(size=member.shape) + rng.gamma(1.0, 1.5, (canaries, 1)) * member


def noisy_models(rng: np.random.Generator, member: np.ndarray) -> np.ndarray:
    """As 40 % leaking, and every model shifts and stretches all its scores."""
    models = member.shape[1]
    scores = some_leak(0.4, 3.5)(rng, member)
    return scores * rng.gamma(60, 1 / 60, (1, models)) + rng.normal(0, 0.15, (1, models))


WORLDS = (
    World("40 % of 500 canaries leak, 32 models", 500, 32, some_leak(0.4, 4.0)),
    World("5 % of 500 canaries leak, 32 models", 500, 32, some_leak(0.05, 5.0)),
    World("each of 128 canaries in its own way, 16 models", 128, 16, own_difficulty),
    World("40 % of 128 canaries leak, 16 noisy models", 128, 16, noisy_models),
)


def coverage(worlds: int, rng: np.random.Generator) -> None:
    """Truth: the mean reading over many fresh worlds, so that what the reading itself is biased by is not charged to intervals."""
    print(f"\ncoverage of nominal 95 % intervals of TPR at {FPR:g} FPR, {worlds} worlds each (± is two standard errors)")
    print(f"{'world':50}{'truth':>8}{'canaries':>16}{'two-way':>16}{'binomial':>16}")
    for world in WORLDS:
        drawn = [world.sample(rng) for _ in range(worlds)]
        readings = [tpr_at(FPR, *one).value for one in drawn]
        assert all(reading is not None for reading in readings)
        truth = float(np.mean([reading for reading in readings if reading is not None]))
        hits = {"canaries": 0, "two-way": 0, "binomial": 0}
        for (scores, member), reading in zip(drawn, readings, strict=True):
            for name, models in (("canaries", None), ("two-way", world.shadows)):
                draws = Resamples.draw(300, world.canaries, rng, models)
                bounds = interval(read_resamples(scores, member, (FPR,), draws).tpr[FPR])
                hits[name] += bounds is not None and bounds[0] <= truth <= bounds[1]
            assert reading is not None
            low, high = stats.binomtest(round(reading * member.sum()), int(member.sum())).proportion_ci(method="exact")
            hits["binomial"] += low <= truth <= high
        errors = {name: 2 * math.sqrt(count * (worlds - count) / worlds**3) for name, count in hits.items()}
        cells = "".join(f"{count / worlds:>9.3f} ± {errors[name]:.3f}" for name, count in hits.items())
        print(f"{world.what:50}{truth:8.3f}{cells}")


def null(worlds: int, rng: np.random.Generator) -> None:
    """LiRA on signals that know nothing of membership."""
    print(f"\nAUC of LiRA on null data, 128 canaries, {worlds} pools each: mean ± two standard errors, and the spread of a pool")
    print(f"{'shadows':>8}{'pooled':>22}{'spread':>8}{'per_example':>22}{'spread':>8}{'student_t':>22}{'spread':>8}")
    for shadows in (8, 16, 32, 64):
        cells = ""
        for variant in ("pooled", "per_example", "student_t"):
            found = []
            for _ in range(worlds):
                member = World("", 128, shadows, lambda rng, member: np.zeros(member.shape)).sample(rng)[1]
                signal = rng.normal(size=member.shape) + rng.normal(size=(128, 1))
                scores = lira(signal[:, None, :], ShadowPool(member, True), variant)
                found.append(auc(scores, member))
            values = np.array(found, dtype=float)
            cells += f"{values.mean():>13.4f} ± {2 * values.std(ddof=1) / math.sqrt(worlds):.4f}{values.std(ddof=1):>8.4f}"
        print(f"{shadows:>8}{cells}")


def minority(worlds: int, rng: np.random.Generator) -> None:
    """No model at all: call IN whoever is IN less often among the other models. `pairs` with drop must give it nothing."""
    print(f"\nthe attack that calls the rarer side of the other models; 128 canaries, 16 models, {worlds} pools")
    print(f"{'design':>10}{'AUC':>8}{f'TPR at {FPR:g}':>14}")
    designs: tuple[Design, ...] = ("pairs", "balanced")
    for design in designs:
        areas, rates = [], []
        for _ in range(worlds):
            member = redraw(np.tile(np.arange(16) < 8, (128, 1)), design, rng)
            score = -ShadowPool(member, design == "pairs").without_target(member.astype(np.float64))
            areas.append(auc(score, member))
            rates.append(tpr_at(FPR, score, member).value)
        print(f"{design:>10}{np.mean(np.array(areas, float)):>8.4f}{np.mean(np.array(rates, float)):>14.4f}")


def verdicts(worlds: int, rng: np.random.Generator) -> None:
    """Trials that are all alike: what is said of three beside others, from figures of 16 shadows."""
    print(f"\nstudies of {worlds} without any effect in which some pair is called, or a claim about all is decided, at 0.05")
    print(f"{'pairs':>6}{'parts':>6}{'a pair, unadjusted':>20}{'a pair':>9}{'all':>9}{'any':>9}{'none':>9}")
    quantifiers: tuple[Literal["all", "any", "none"], ...] = ("all", "any", "none")
    for count, parts in ((9, 1), (9, 3), (39, 1), (39, 3)):
        raw, called = 0, dict.fromkeys(("a pair", *quantifiers), 0)
        for _ in range(worlds):
            figures = rng.normal(size=(3 + count // 3, parts, 16))
            pairs = [
                p_values([from_pairs(one - other, 0.0, 0.95) for one, other in zip(left, right, strict=True)])
                for left in figures[:3] for right in figures[3:]
            ]  # fmt: skip
            found = [verdict for verdict, _ in judge_pairs(pairs, 0.05)]
            raw += min(min(pair) for pair in pairs) <= 0.05
            called["a pair"] += set(found) != {"undecided"}
            for quantifier in quantifiers:
                called[quantifier] += judge_claim(found, quantifier) != "undecided"
        shares = "".join(f"{hits / worlds:>9.3f}" for hits in called.values())
        print(f"{count:>6}{parts:>6}{raw / worlds:>20.3f}{shares}")


def false_alarms(runs: int, rng: np.random.Generator) -> None:
    """One-run bounds above zero although scores know nothing."""
    print(f"\nfalse alarms of one-run bounds at confidence 0.95, null scores, {runs} runs each")
    print(f"{'canaries':>9}{'guesses':>9}{'steinke':>10}{'f-DP':>10}")
    for canaries, side in ((100, 10), (500, 50), (500, 250), (2000, 100)):
        alarms = {"steinke": 0, "f_dp": 0}
        for _ in range(runs):
            member, scores = rng.random(canaries) < 0.5, rng.normal(size=canaries)
            right = epsilon.guess(scores, member, side, side)
            for name, bound in (("steinke", epsilon.steinke), ("f_dp", f_dp)):
                alarms[name] += bound(right, 2 * side, canaries, 1e-5) > 0
        print(f"{canaries:>9}{2 * side:>9}{alarms['steinke'] / runs:>10.4f}{alarms['f_dp'] / runs:>10.4f}")


def gaussian_mechanism(runs: int, rng: np.random.Generator) -> None:
    """Scores N(mu, 1) for members: a mechanism whose epsilon at delta is known."""
    print(f"\nbounds on a Gaussian mechanism, 1,000 canaries, 100 guesses on each side, delta 1e-5, {runs} runs each")
    print(f"{'mu':>5}{'truth':>8}{'steinke, median':>18}{'below the truth':>17}{'f-DP, median':>15}{'below the truth':>17}")
    for mu in (0.5, 1.0, 2.0, 3.0):
        truth = epsilon_of_mu(mu, 1e-5)
        bounds: dict[str, list[float]] = {"steinke": [], "f_dp": []}
        for _ in range(runs):
            member = rng.random(1000) < 0.5
            right = epsilon.guess(rng.normal(size=1000) + mu * member, member, 100, 100)
            bounds["steinke"].append(epsilon.steinke(right, 200, 1000, 1e-5))
            bounds["f_dp"].append(f_dp(right, 200, 1000, 1e-5))
        cells = [(float(np.median(found)), float(np.mean([value <= truth for value in found]))) for found in bounds.values()]
        print(f"{mu:>5.1f}{truth:>8.2f}{cells[0][0]:>18.2f}{cells[0][1]:>17.3f}{cells[1][0]:>15.2f}{cells[1][1]:>17.3f}")


Mechanism = Callable[[np.random.Generator, np.ndarray], np.ndarray]
"""(rng, member) → scores."""


def answers_by_lot(truth: float) -> Mechanism:
    """Randomised response: each membership is told rightly with the odds of e^truth."""
    right = 1 / (1 + math.exp(-truth))
    return lambda rng, member: np.where(rng.random(member.shape) < right, member, ~member) + 1e-9 * rng.random(member.shape)


def subsampled_epsilon(share: float, mu: float, delta: float) -> float:
    """Of (1 - share) N(0, 1) + share N(mu, 1) against N(0, 1), both directions, by integration."""
    x = np.linspace(-40, 40 + mu, 400_001)
    none = stats.norm.pdf(x)
    some = (1 - share) * none + share * stats.norm.pdf(x, mu)

    def excess(epsilon: float) -> float:
        both = (np.trapezoid(np.maximum(one - math.exp(epsilon) * other, 0), x) for one, other in ((some, none), (none, some)))
        return max(float(side) for side in both)

    low, high = 0.0, 40.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > delta else (low, middle)
    return low


def mechanisms(runs: int, rng: np.random.Generator) -> None:
    """Bounds beside the truth of mechanisms, Gaussian and others: what holds for all is *the* epsilon."""
    delta = 1e-5
    print(f"\nshare of one-run bounds above the truth, delta {delta:g}, a quarter of guesses on each side, {runs} runs each")
    print(f"{'mechanism':40}{'truth':>7}{'canaries':>9}{'steinke':>9}{'f-DP if Gaussian':>18}")
    kinds: dict[str, tuple[float, Mechanism]] = {
        f"randomised response, epsilon {truth:g}": (truth, answers_by_lot(truth)) for truth in (1.0, 3.0)
    }
    kinds["Laplace, epsilon 2"] = 2.0, lambda rng, member: rng.laplace(0, 0.5, member.shape) + member
    kinds["Gaussian, mu 1"] = epsilon_of_mu(1.0, delta), lambda rng, member: rng.normal(size=member.shape) + member
    kinds["subsampled Gaussian, share 0.2, mu 3"] = (
        subsampled_epsilon(0.2, 3.0, delta),
        lambda rng, member: rng.normal(size=member.shape) + 3 * (member & (rng.random(member.shape) < 0.2)),
    )
    for name, (truth, draw) in kinds.items():
        for canaries in (128, 1000):
            side = canaries // 4
            bounds = {
                bound: lru_cache(maxsize=None)(partial(_bound, bound, 2 * side, canaries, delta))
                for bound in (epsilon.steinke, f_dp)
            }
            above = dict.fromkeys(bounds, 0)
            for _ in range(runs):
                member = rng.random(canaries) < 0.5
                right = epsilon.guess(draw(rng, member), member, side, side)
                for bound, of in bounds.items():
                    above[bound] += of(right) > truth
            print(
                f"{name:40}{truth:>7.2f}{canaries:>9}"
                + "".join(f"{hits / runs:>{w}.3f}" for hits, w in zip(above.values(), (9, 18), strict=True))
            )


def _bound(bound: Callable[..., float], guesses: int, canaries: int, delta: float, right: int) -> float:
    return bound(right, guesses, canaries, delta)


TABLES = {table.__name__: table for table in (coverage, null, minority, verdicts, false_alarms, gaussian_mechanism, mechanisms)}


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--worlds", type=int, default=400, help="simulated studies per line (default: 400)")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--only", nargs="+", choices=TABLES, help="these tables (default: all)")
    args = options.parse_args()
    for name in args.only or TABLES:
        TABLES[name](args.worlds, np.random.default_rng(args.seed))


if __name__ == "__main__":
    main()
