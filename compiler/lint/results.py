"""Lints on results: baselines that are not matched in accuracy, and choices that were made after results existed.

Judged when a run ends, on whatever figures there are then; the next run judges anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from compiler.errors import and_more
from compiler.language.study import Header
from compiler.lint.study import BASELINES

LARGE_EPSILON = 100.0
"""From this epsilon on DP-SGD counts as the strong empirical baseline, without regard to its guarantee."""
MAX_TRIALS_NAMED = 5
"""Most trials that one message names."""


@dataclass(frozen=True)
class Measured:
    """Measured figures of one trial; None for missing ones."""

    trial: str
    paradigm: str
    test_accuracy: float | None
    epsilon: float | None
    """The accountant's epsilon; None also where it is above a million."""
    leakage: float | None
    leakage_low: float | None
    leakage_note: str | None
    learned: bool | None = None
    chance: float | None = None
    """Accuracy of always predicting the most frequent class."""
    control: bool = False


@dataclass(frozen=True)
class RunResults:
    """The input of lints on results."""

    header: Header
    trials: tuple[Measured, ...]
    headline: Mapping[str, Any]
    earlier: tuple[tuple[str, Mapping[str, Any]], ...]
    """Names of the earlier runs of the same study and profile that have results, oldest first, and the headline that each
    declared."""
    changes: tuple[str, ...] = ()
    """Sentences on changes of arms, settings and claims since the first run with results."""

    def of(self, *paradigms: str) -> list[tuple[Measured, float]]:
        """Pairs of trial and accuracy, of these paradigms, without controls and trials without accuracy."""
        return [
            (trial, trial.test_accuracy)
            for trial in self.trials
            if trial.paradigm in paradigms and trial.test_accuracy is not None and not trial.control
        ]

    @property
    def synthetic(self) -> list[tuple[Measured, float]]:
        """Pairs of trial and accuracy, as of `of`, of all paradigms but BASELINES."""
        return self.of(*{trial.paradigm for trial in self.trials} - set(BASELINES))


def unmatched(results: RunResults) -> Iterator[tuple[str, str]]:
    """L01, after the run: one finding with all trials on synthetic data that are more accurate than the best DP-SGD trial by over
    `accuracy_margin`. Where a DP-SGD trial has no accuracy and one on synthetic data has, a finding instead that this cannot be
    judged. Nothing without DP-SGD trials."""
    waiting = [trial.trial for trial in results.trials if trial.paradigm == "dp_sgd" and trial.test_accuracy is None]
    private, margin = results.of("dp_sgd"), results.header.accuracy_margin
    if waiting:
        if results.synthetic:
            yield f"whether accuracies match cannot be judged: {and_more(waiting, MAX_TRIALS_NAMED)} has no result", ""
        return
    if not private:
        return
    best, accuracy = max(private, key=itemgetter(1))
    above = [trial.trial for trial, value in results.synthetic if value - accuracy > margin]
    if above:
        names = and_more(above, MAX_TRIALS_NAMED)
        what = f"no DP-SGD is as accurate, to {margin:.0%}, as {names}; the best, {best.trial}, reaches {accuracy:.1%}"
        yield what, "add one with less noise, or more training"


def straw_man(results: RunResults) -> Iterator[tuple[str, str]]:
    """L02: all DP-SGD trials with an accuracy have an epsilon below LARGE_EPSILON, and the best trial on synthetic data is more
    accurate than all of them by over `accuracy_margin`. Nothing where the epsilon of one is None."""
    private, synthetic = results.of("dp_sgd"), results.synthetic
    if not private or not synthetic or any(trial.epsilon is None or trial.epsilon >= LARGE_EPSILON for trial, _ in private):
        return
    best, accuracy = max(private, key=itemgetter(1))
    gap = max(value for _, value in synthetic) - accuracy
    if gap > results.header.accuracy_margin:
        largest = max(trial.epsilon for trial, _ in private if trial.epsilon is not None)
        what = f"no DP-SGD arm has an epsilon above {largest:.3g}, and the most accurate, {best.trial}, lies {100 * gap:.1f} points"
        yield f"{what} below the best arm on synthetic data", "add one with little noise, such as {noise_multiplier: 0.05}"


def other_headline(results: RunResults) -> Iterator[tuple[str, str]]:
    """L16, after the run: an earlier run with results declared another headline. One finding, on the first such run."""
    others = [(run, headline) for run, headline in results.earlier if dict(headline) != dict(results.headline)]
    if others:
        run, headline = others[0]
        fields = [name for name in results.headline if headline.get(name) != results.headline[name]]
        changed = ", ".join(f"{name} {headline.get(name)} → {results.headline[name]}" for name in fields)
        yield f"the headline was another one when the run {run} had its results: {changed}", ""


def no_interval(results: RunResults) -> Iterator[tuple[str, str]]:
    """L23, after the run: one finding with all trials that have an accuracy and no interval of their leakage, without controls,
    which need none; the note in it is that of the first."""
    bare = [
        trial for trial in results.trials if trial.test_accuracy is not None and trial.leakage_low is None and not trial.control
    ]
    if bare:
        reason = f" ({bare[0].leakage_note})" if bare[0].leakage_note else ""
        names = and_more([trial.trial for trial in bare], MAX_TRIALS_NAMED)
        yield f"the headline has no interval, so nothing is to be compared with it: {names}{reason}", ""


def changed_after_looking(results: RunResults) -> Iterator[tuple[str, str]]:
    """L27: a finding for each change of arms, settings or claims since the first run with results (`changes`); its message says so
    if the study calls itself confirmatory."""
    confirmatory = "the study calls itself confirmatory, and " if results.header.evidence == "confirmatory" else ""
    for change in results.changes:
        yield f"{confirmatory}since its first run with results there changed: {change}", ""


def learned_nothing(results: RunResults) -> Iterator[tuple[str, str]]:
    """L28: a finding for each trial whose classifier learned next to nothing (`learned` is False), without controls and trials of
    unknown accuracy or chance."""
    for trial in results.trials:
        accuracy, chance = trial.test_accuracy, trial.chance
        if trial.learned is False and not trial.control and accuracy is not None and chance is not None:
            what = f"{trial.trial} learned next to nothing: accuracy {accuracy:.1%}, by guessing {chance:.1%}"
            yield f"{what}; that it leaks little is no protection", "`synthc chart training` shows how its losses fell"
