"""Intervals, controls, bounds and doubts, by simulation: `OMP_NUM_THREADS=1 python benchmarks/audit_statistics.py [--only NAME …]`.

Worlds whose truth is known are drawn here and go the whole way of the product: a file is audited, a claim is tested. Tables:
`coverage` of nominal 95 % intervals of TPR, AUC and their differences, and `accuracy` of that of test accuracies (both with the
median width over that of the true sampling distribution); `null`: AUC, null control and permutation p of every attack where no
model knows anything; `minority`, the attack that reads nothing but counts; `bounds`: epsilons above the truth of mechanisms, of
one run and of leave-one-out pools; `alarms`: right files that are doubted. Each line is printed as it is done.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import math
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from claims import Trial, effects
from scipy import stats

from compiler.language.audit import Design
from compiler.power.epsilon_bounds import epsilon_of_mu, f_dp
from compiler.work.operations import AuditSettings
from runtime.audit.attacks.lira import lira
from runtime.audit.attacks.pool import ShadowPool
from runtime.audit.external.audit_file import Report, audit
from runtime.audit.external.evidence import Evidence
from runtime.audit.statistics import epsilon
from runtime.audit.statistics.null import redraw
from runtime.audit.statistics.one_run import OneRun, one_run
from runtime.audit.statistics.roc import auc, tpr_at
from runtime.audit.statistics.testing import Estimate, accuracy_of, difference_of
from runtime.audit.trial.measure import AttackResult
from tests.runtime.audit.right_files import right_file

FPR, CANARIES = 0.01, 128
Random = np.random.Generator


def membership(rng: Random, design: Design, canaries: int, shadows: int) -> np.ndarray:
    """canary × shadow, bool."""
    if design == "bernoulli":
        return rng.random((canaries, shadows)) < 0.5
    return redraw(np.tile(np.arange(shadows) < shadows // 2, (canaries, 1)), design, rng)


def _leak(amount: Callable[[Random, int, int], Any], noise: Callable[[Random, tuple[int, int]], np.ndarray]) -> Any:
    """(rng, member) → signal: every canary has a level of its own; members are higher by an amount (rng, canaries, shadows)."""

    def draw(rng: Random, member: np.ndarray) -> np.ndarray:
        level = rng.normal(size=(len(member), 1))
        return level + noise(rng, member.shape) + member * amount(rng, *member.shape)

    return draw


def _normal(rng: Random, shape: tuple[int, int]) -> np.ndarray:
    return rng.normal(size=shape)


def _wild(rng: Random, shape: tuple[int, int]) -> np.ndarray:
    return rng.normal(size=shape) * np.where(rng.random(shape[1]) < 1 / 16, 5.0, 1.0)


def _some(share: float, amount: float) -> Callable[[Random, int, int], np.ndarray]:
    return lambda rng, canaries, shadows: amount * (rng.random((canaries, 1)) < share)


WORLDS: dict[str, Callable[[Random, np.ndarray], np.ndarray]] = {
    "leak by pair of shadows, CV 1": _leak(lambda rng, n, m: np.repeat(rng.gamma(1, 3.0, m // 2), 2), _normal),
    "leak by shadow, CV 1": _leak(lambda rng, n, m: rng.gamma(1, 3.0, m), _normal),
    "3 % of canaries leak wholly": _leak(_some(1 / 32, 8.0), _normal),
    "heavy tails (t2), 40 % leak": _leak(_some(0.4, 4.0), lambda rng, shape: rng.standard_t(2, shape)),
    "null": _leak(_some(0.0, 0.0), _normal),
    "boundary, 99 % leak": _leak(_some(0.99, 12.0), _normal),
    "1 in 16 models is wild (no target)": _leak(_some(1.0, 3.0), _wild),
}

Found = tuple[float | None, float | None, float | None]
"""Figure, low, high."""


def coverage(worlds: int, seed: int) -> None:
    """Print the coverage of intervals. The true value is the mean over the simulated worlds, so that the bias of an estimator does
    not count against its interval."""
    print(
        f"\nTPR at {FPR:g}, AUC, and their differences from a null trial; {CANARIES} canaries in pairs, LiRA, {worlds} worlds each"
    )
    print(
        f"{'':38}{'shadows':>8}{'TPR':>15}{'AUC':>15}{'TPR, diff.':>15}{'AUC, diff.':>15}   coverage / relative width", flush=True
    )
    for shadows in (16, 8, 32):
        for place, (what, draw) in enumerate(WORLDS.items()):
            rng = np.random.default_rng([seed, shadows, place])
            found = [_figures(rng, draw, shadows) for _ in range(worlds)]
            print(f"{what:38}{shadows:>8}" + "".join(map(_covered, zip(*found, strict=True))), flush=True)


def _figures(rng: Random, draw: Callable[[Random, np.ndarray], np.ndarray], shadows: int) -> tuple[Found, ...]:
    member = membership(rng, "pairs", CANARIES, shadows)
    settings = AuditSettings(tried=("lira",), fpr=(f"{FPR:g}",), resamples=100, null_permutations=1, membership="pairs")
    trials, reports = [], []
    for signal in (draw(rng, member), WORLDS["null"](rng, member)):
        kept: list[AttackResult] = []
        reports.append(audit(Evidence("signal", signal.T, member), settings, kept.append))
        measured = kept[0].groups[0].measured
        trials.append(Trial.of(str(len(trials)), member, measured.scores, list(measured.fits())))
    words = {"fpr": FPR, "resamples": 100, "seed": int(rng.integers(1 << 31))}
    differences = effects(trials[0], trials[1], ("leakage", "auc"), **words)
    figures = reports[0].attacks["lira"]
    alone = [(one.value, one.low, one.high) for one in (figures.tpr[f"{FPR:g}"], figures.auc)]
    return (*alone, *differences)


def _covered(found: tuple[Found, ...]) -> str:
    """Share of the intervals that hold the mean figure, and their median width over that of the central 95 % of the figures.

    `!`: some have no width."""
    values = np.array([one[0] for one in found if one[0] is not None])
    truth, (low, high) = values.mean(), np.quantile(values, [0.025, 0.975])
    ends = np.array([(np.nan if one[1] is None else one[1], np.nan if one[2] is None else one[2]) for one in found])
    width = np.median(ends[:, 1] - ends[:, 0])
    none = int((ends[:, 1] <= ends[:, 0]).sum())
    shown = f"{((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean():.3f} / " + (
        f"{width / (high - low):.2f}" if high > low else "-"
    )
    return f"{shown + ('!' if none else ''):>15}"


def _correctness(rng: Random, what: str, images: int, shadows: int) -> np.ndarray:
    """image × shadow, 0 or 1."""
    ease, quality = rng.normal(2.5, 1.5, (images, 1)), rng.normal(0, 0.25, (1, shadows))
    match what:
        case "models differ much":
            quality = rng.normal(0, 1.0, (1, shadows))
        case "3 % of images decide":
            ease = np.where(rng.random((images, 1)) < 0.03, 0.0, 9.0)
        case "heavy tails":
            ease = 2.0 + rng.standard_t(2, (images, 1))
        case "boundary, 99.5 % right":
            ease = np.where(rng.random((images, 1)) < 0.005, -6.0, 9.0)
        case "1 in 16 models is wild (no target)":
            quality = np.where(rng.random((1, shadows)) < 1 / 16, -3.0, quality)
    return rng.random((images, shadows)) < 1 / (1 + np.exp(-(ease + quality)))


ACCURACIES = ("images differ", "models differ much", "3 % of images decide", "heavy tails", "boundary, 99.5 % right",
              "1 in 16 models is wild (no target)")  # fmt: skip


def accuracy(worlds: int, seed: int) -> None:
    """Print the coverage of the intervals of test accuracy and of the difference of two arms, on the same 360 test images."""
    print(f"\ncoverage / relative width; test accuracy and the difference of two, 360 images, {worlds} worlds each")
    print(f"{'':38}{'shadows':>8}{'accuracy':>15}{'difference':>15}", flush=True)
    for shadows in (8, 16, 32):
        for place, what in enumerate(ACCURACIES):
            rng = np.random.default_rng([seed, shadows, place])
            found = []
            for _ in range(worlds):
                cells = _correctness(rng, what, 360, shadows)
                other = np.where(rng.random((360, 1)) < 0.05, 0, cells) * (rng.random(cells.shape) < 0.98)
                found.append((_ends(accuracy_of(cells, 0.95)), _ends(difference_of(cells - other.astype(float), 0.95))))
            print(f"{what:38}{shadows:>8}" + "".join(map(_covered, zip(*found, strict=True))), flush=True)


def _ends(found: Estimate) -> Found:
    return found.value, found.low, found.high


def null(pools: int, seed: int) -> None:
    """Audit logits that are independent of membership. 64 shadows and other attacks: a quarter of the pools."""
    print(f"\nnothing to be found: {CANARIES} canaries, z pool of 128, 3 classes, two views, 39 redraws")
    print(f"{'attack':14}{'design':>10}{'shadows':>8}{'pools':>7}{'mean AUC':>18}{'control fails':>15}{'p ≤ 0.05':>10}", flush=True)
    designs: tuple[Design, ...] = ("pairs", "balanced", "bernoulli")
    for shadows in (8, 16, 32, 64):
        for design in designs:
            rng = np.random.default_rng([seed, shadows, len(design)])
            found: dict[str, list[tuple[float, bool, bool]]] = {}
            for pool in range(pools // (4 if shadows == 64 else 1)):
                tried = () if pool < pools // 4 and shadows < 64 else ("lira", "rmia")
                for attack, summary in _nothing(rng, design, shadows, tried).attacks.items():
                    area = 0.5 if summary.auc.value is None else summary.auc.value
                    found.setdefault(attack, []).append((area, not summary.null_passed, summary.permutation_p <= 0.05))
            for attack, rows in found.items():
                areas, fails, low = np.array(rows, float).T
                mean = f"{areas.mean():.4f} ± {2 * areas.std(ddof=1) / math.sqrt(len(areas)):.4f}"
                print(
                    f"{attack:14}{design:>10}{shadows:>8}{len(rows):>7}{mean:>18}{int(fails.sum()):>15}{low.mean():>10.3f}",
                    flush=True,
                )


def _nothing(rng: Random, design: Design, shadows: int, tried: tuple[str, ...]) -> Report:
    member = membership(rng, design, CANARIES, shadows)
    labels, z_labels = rng.integers(0, 3, CANARIES), rng.integers(0, 3, 128)
    logits, z_logits = (
        (rng.normal(size=(1, 128, 1, 3)) + rng.normal(size=(shadows, 128, 2, 3))).astype(np.float32) for _ in range(2)
    )
    evidence = Evidence("logits", logits, member, labels, z_logits, z_labels)
    return audit(evidence, AuditSettings(tried=tried, fpr=("0.01",), membership=design, resamples=100, null_permutations=39))


def minority(worlds: int, seed: int) -> None:
    """Attack without models: call IN a canary that is IN less often among the other models. Under `pairs` with drop it has no
    advantage."""
    rng = np.random.default_rng(seed)
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


Mechanism = Callable[[np.random.Generator, np.ndarray], np.ndarray]
"""(rng, member) → scores."""


def answers_by_lot(truth: float) -> Mechanism:
    """Randomised response of epsilon `truth`: each membership bit is reported correctly with odds e^truth."""
    right = 1 / (1 + math.exp(-truth))
    return lambda rng, member: np.where(rng.random(member.shape) < right, member, ~member) + 1e-9 * rng.random(member.shape)


def subsampled_epsilon(share: float, mu: float, delta: float) -> float:
    """Epsilon at `delta` between (1 - share) N(0, 1) + share N(mu, 1) and N(0, 1), the larger of both directions, by
    integration."""
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


def bounds(runs: int, seed: int) -> None:
    """Compare lower bounds with the epsilon of known mechanisms: for one run, and for the target of a leave-one-out pool (LiRA, 16
    shadows in pairs)."""
    delta, error = 1e-5, 0.05
    most = error + 2 * math.sqrt(error * (1 - error) / runs)
    print(f"\nshare of bounds above the truth, delta {delta:g}, preset guesses, {runs} runs each; at most {most:.3f} is wanted")
    print(f"{'mechanism':40}{'truth':>7}{'canaries':>9}{'':>9}{'steinke':>9}{'median':>8}{'f-DP if Gaussian':>18}", flush=True)
    kinds: dict[str, tuple[float, Mechanism]] = {
        f"randomised response, epsilon {truth:g}": (truth, answers_by_lot(truth)) for truth in (1.0, 3.0)
    }
    kinds["Laplace, epsilon 2"] = 2.0, lambda rng, member: rng.laplace(0, 0.5, member.shape) + member
    kinds["Gaussian, mu 1"] = epsilon_of_mu(1.0, delta), lambda rng, member: rng.normal(size=member.shape) + member
    kinds["subsampled Gaussian, share 0.2, mu 3"] = (
        subsampled_epsilon(0.2, 3.0, delta),
        lambda rng, member: rng.normal(size=member.shape) + 3 * (member & (rng.random(member.shape) < 0.2)),
    )
    kinds["nothing"] = 0.0, lambda rng, member: rng.normal(size=member.shape)
    known: dict[str, OneRun] = {name: lru_cache(maxsize=None)(bound) for name, bound in (("s", epsilon.steinke), ("f", f_dp))}
    for place, (name, (truth, draw)) in enumerate(kinds.items()):
        for canaries in (128, 500, 1000):
            for how, column in (("one run", _one_run), ("pool", _pool)):
                rng = np.random.default_rng([seed, place, canaries])
                told: dict[str, list[float]] = {bound: [] for bound in known}
                for _ in range(runs):
                    scores, member = column(rng, draw, canaries)
                    for bound, of in known.items():
                        told[bound].append(one_run(of, scores, member, delta=delta, error=error).value)
                above, gaussian = (np.mean(np.array(values) > truth) for values in told.values())
                cells = f"{above:>9.3f}{np.median(told['s']):>8.2f}{gaussian:>18.3f}"
                print(f"{name:40}{truth:>7.2f}{canaries:>9}{how:>9}{cells}", flush=True)


def _one_run(rng: Random, draw: Mechanism, canaries: int) -> tuple[np.ndarray, np.ndarray]:
    member = rng.random(canaries) < 0.5
    return draw(rng, member), member


def _pool(rng: Random, draw: Mechanism, canaries: int) -> tuple[np.ndarray, np.ndarray]:
    member = membership(rng, "pairs", canaries, 16)
    signal = draw(rng, member) + rng.normal(size=(canaries, 1))
    return lira(signal[:, None, :], ShadowPool(member, paired=True))[:, 0], member[:, 0]


def alarms(files: int, seed: int) -> None:
    """Audit correct files of every kind and count false alarms: doubts, and results marked as not to be trusted."""
    print(f"\nright files of which something is said, {files} files")
    rng, said, kinds = np.random.default_rng(seed), Counter[str](), Counter[str]()
    for _ in range(files):
        kind, design, evidence = right_file(rng)
        kinds[kind] += 1
        settings = AuditSettings(fpr=("0.01",), membership=design, resamples=100, null_permutations=20)
        said.update({f"{kind}: {complaint}" for complaint in _complaints(audit(evidence, settings))})
    print(f"files: {dict(kinds)}")
    print(f"doubted: {len(said)} lines, {sum(said.values())} times")
    for line, times in said.most_common():
        print(f"{times:>5}  {line}")


def _complaints(report: Report) -> Iterator[str]:
    yield from (doubt.text for doubt in report.doubts)
    for name, summary in report.attacks.items():
        yield from (f"{name}: {complaint}" for complaint in summary.complaints)


TABLES = {table.__name__: table for table in (coverage, accuracy, null, minority, bounds, alarms)}


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--worlds", type=int, default=400, help="simulated studies per line (default: 400)")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--only", nargs="+", choices=TABLES, help="these tables (default: all)")
    args = options.parse_args()
    for name in args.only or TABLES:
        TABLES[name](args.worlds, args.seed)


if __name__ == "__main__":
    main()
