"""Lints that need results: whether the baselines turned out to be matched, and what was chosen after looking.

Judged when a run ends, on whatever figures there are then; the next run judges anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from compiler.language.study import Header
from compiler.lint.study import BASELINES

LARGE_EPSILON = 100.0
"""From here on DP-SGD is the strong empirical baseline, whatever its guarantee is worth."""
SHOWN = 5
"""Trials that a message names."""


@dataclass(frozen=True)
class Measured:
    """What a run found for one trial; None where it found nothing."""

    trial: str
    paradigm: str
    test_accuracy: float | None
    epsilon: float | None
    """The accountant's; None also where it is above a million."""
    leakage: float | None
    leakage_low: float | None
    leakage_note: str | None


@dataclass(frozen=True)
class Results:
    """What a lint sees after a run."""

    header: Header
    trials: tuple[Measured, ...]
    headline: Mapping[str, Any]
    earlier: tuple[tuple[str, Mapping[str, Any]], ...]
    """Runs of the same study under the same profile that ended before, and the headline that each declared."""

    def of(self, *paradigms: str) -> list[tuple[Measured, float]]:
        """Trials of these paradigms that have an accuracy, and it."""
        found = [trial for trial in self.trials if trial.paradigm in paradigms]
        return [(trial, trial.test_accuracy) for trial in found if trial.test_accuracy is not None]

    @property
    def synthetic(self) -> list[tuple[Measured, float]]:
        return self.of(*{trial.paradigm for trial in self.trials} - set(BASELINES))


def unmatched(results: Results) -> Iterator[tuple[str, str]]:
    """L01, after the run: arms that are more accurate than any DP-SGD there is."""
    waiting = [trial.trial for trial in results.trials if trial.paradigm == "dp_sgd" and trial.test_accuracy is None]
    private, margin = results.of("dp_sgd"), results.header.accuracy_margin
    if waiting:
        if results.synthetic:
            yield f"whether accuracies match cannot be judged: {_listed(waiting)} has no result", ""
        return
    if not private:
        return
    best, accuracy = max(private, key=lambda found: found[1])
    above = [trial.trial for trial, value in results.synthetic if value - accuracy > margin]
    if above:
        what = f"no DP-SGD is as accurate, to {margin:.0%}, as {_listed(above)}; the best, {best.trial}, reaches {accuracy:.1%}"
        yield what, "add one with less noise, or more training"


def straw_man(results: Results) -> Iterator[tuple[str, str]]:
    """L02."""
    private, synthetic = results.of("dp_sgd"), results.synthetic
    if not private or not synthetic or any(trial.epsilon is None or trial.epsilon >= LARGE_EPSILON for trial, _ in private):
        return
    best, accuracy = max(private, key=lambda found: found[1])
    gap = max(value for _, value in synthetic) - accuracy
    if gap > results.header.accuracy_margin:
        largest = max(trial.epsilon for trial, _ in private if trial.epsilon is not None)
        what = f"no DP-SGD arm has an epsilon above {largest:.3g}, and the most accurate, {best.trial}, lies {100 * gap:.1f} points"
        yield f"{what} below the best arm on synthetic data", "add one with little noise, such as {noise_multiplier: 0.05}"


def other_headline(results: Results) -> Iterator[tuple[str, str]]:
    """L16, after the run: results under another headline were there before this one was declared."""
    others = [(run, headline) for run, headline in results.earlier if dict(headline) != dict(results.headline)]
    if others:
        run, headline = others[0]
        words = [word for word in results.headline if headline.get(word) != results.headline[word]]
        changed = ", ".join(f"{word} {headline.get(word)} → {results.headline[word]}" for word in words)
        yield f"the headline was another one when the run {run} had its results: {changed}", ""


def no_interval(results: Results) -> Iterator[tuple[str, str]]:
    """L23, after the run."""
    bare = [trial for trial in results.trials if trial.test_accuracy is not None and trial.leakage_low is None]
    if bare:
        reason = f" ({bare[0].leakage_note})" if bare[0].leakage_note else ""
        yield f"the headline has no interval, so nothing is to be compared with it: {_listed([t.trial for t in bare])}{reason}", ""


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
