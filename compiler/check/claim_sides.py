"""Which trials a claim is about, and whether it could be tested at all: typed selectors, never an expression language."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from compiler.errors import Diagnostic, did_you_mean
from compiler.language.audit import ReleaseLevel
from compiler.language.base import Method
from compiler.language.claims import Claim, Side
from compiler.language.study import Trial
from compiler.text.nodes import Mapping
from compiler.work.operations import CompareTrials, Reading
from compiler.work.releases import FROM, declared, has

WHICH = ("arm", "paradigm", "method", "replicate")
"""Words of a selector that every trial has; axes and fields of arms come in addition."""
READ = tuple(Side.model_fields)
"""Words of a selector that say what is read of the trials."""
PER_SHADOW = (
    "test_accuracy", "train_accuracy", "canary_accuracy_in", "canary_accuracy_out", "canary_share_selected", "seconds",
    "nearest_pixel_distance", "trace_back_rate",
)   # fmt: skip
"""Figures that a trial keeps for each shadow."""


@dataclass(frozen=True)
class Resolved:
    """A claim and the trials that it is about, as places in the study's list of trials."""

    name: str
    claim: Claim
    left: tuple[int, ...]
    right: tuple[int, ...]
    work: CompareTrials


def selected(selector: dict[str, Any], trials: Sequence[Trial]) -> tuple[int, ...]:
    """Places of the trials that have every word's value (or one of its values)."""
    wanted = {word: value if isinstance(value, tuple) else (value,) for word, value in selector.items() if word not in READ}
    return tuple(place for place, trial in enumerate(trials) if all(_value(trial, word) in wanted[word] for word in wanted))


def words_of(trials: Iterable[Trial]) -> set[str]:
    """Every word by which some of these trials can be chosen."""
    known = set(WHICH)
    for trial in trials:
        known |= {name for name, _ in trial.axes} | set(type(trial.point.arm).model_fields)
    return known


_ABSENT = object()


def _value(trial: Trial, word: str) -> object:
    """A trial's value for a word of a selector; something equal to nothing where it has none."""
    arm = trial.point.arm
    match word:
        case "arm":
            return trial.arm_name
        case "method":
            return getattr(arm, "method", arm.paradigm)
        case "replicate":
            return trial.replicate
    return dict(trial.axes).get(word, getattr(arm, word, _ABSENT))


def resolve(name: str, claim: Claim, trials: Sequence[Trial], tree: Mapping) -> Resolved | list[Diagnostic]:
    """The claim with its trials, or what keeps it from being tested. `tree` knows the places of its words."""
    found = [*_words(claim, trials, tree), *_readable(claim, trials, tree)]
    if found:
        return found
    sides = selected(claim.left, trials), selected(claim.right, trials) if claim.right else ()
    audit = trials[sides[0][0]].point.audit
    left = _reading(claim.left, trials[sides[0][0]])
    right = _reading(claim.right, trials[sides[1][0]]) if sides[1] else left
    work = CompareTrials(
        claim.test, claim.metric, claim.against, left, right, claim.margin, claim.match, claim.tolerance, claim.pairs,
        audit.headline.fpr, audit.resamples, audit.confidence, trials[0].seed,
    )
    return Resolved(name, claim, sides[0], sides[1], work)


def _reading(selector: dict[str, Any], trial: Trial) -> Reading:
    headline = trial.point.audit.headline
    named = declared(trial.point.audit.attacks, headline)
    return Reading(
        attack=headline.attack, variant=(named or headline).variant_name, release=selector.get("release") or headline.release,
        canaries=selector.get("canaries") or headline.canaries, stratum=selector.get("stratum"),
    )


def misfits(
    selector: dict[str, Any], trials: Sequence[Trial], also: Iterable[str] = READ
) -> Iterator[tuple[str | None, str, str]]:
    """Why a selector chooses nothing: the word at fault (None if it is their combination), what is wrong, what would do.

    `also` are words that may stand in it beside those that choose.
    """
    known = words_of(trials) | set(also)
    unknown = [word for word in selector if word not in known]
    for word in unknown:
        yield word, f"no trial can be chosen by {word!r}", did_you_mean(word, known)
    if unknown or selected(selector, trials):
        return
    for word, value in selector.items():
        if word in also or selected({word: value}, trials):
            continue
        there = {str(_value(trial, word)) for trial in trials if _value(trial, word) is not _ABSENT}
        values = value if isinstance(value, tuple) else (value,)
        yield word, f"no trial has {word} {' or '.join(map(repr, values))}", did_you_mean(values[0] if values else "", there)
        return
    yield None, "no trial has all of these", "each is had by some; drop one"


def _words(claim: Claim, trials: Sequence[Trial], tree: Mapping) -> Iterator[Diagnostic]:
    """Words that no trial knows, and selectors that choose nothing."""
    for side in ("left", "right"):
        for word, what, hint in misfits(getattr(claim, side), trials):
            yield Diagnostic("claim", tree.nearest(side, word) if word else tree.nearest(side), what, hint)


def _readable(claim: Claim, trials: Sequence[Trial], tree: Mapping) -> Iterator[Diagnostic]:
    """Figures that these trials will not have."""
    for side in ("left", "right"):
        selector = getattr(claim, side)
        chosen = [trials[place] for place in selected(selector, trials)] if selector else []
        for word in READ:
            if word in selector and not isinstance(selector[word], str):
                yield Diagnostic("claim", tree.nearest(side, word), f"{word} is {selector[word]!r}", "give one name")
                return
        for trial in chosen:
            audit = trial.point.audit
            group, release = selector.get("canaries"), selector.get("release")
            if group is not None and group not in audit.canaries:
                hint = did_you_mean(str(group), audit.canaries)
                yield Diagnostic("claim", tree.nearest(side, "canaries"), f"no canaries are called {group!r}", hint)
                return
            if selector.get("stratum") is not None and not _has_origins(trial):
                what = f"{trial.address} makes no set from single private images, so none is used or unused"
                yield Diagnostic("claim", tree.nearest(side, "stratum"), what, "strata are for coresets, `init: real` and sdedit")
                return
            if release is not None and (problem := _no_such_release(claim, trial, release)):
                yield Diagnostic("claim", tree.nearest(side, "release"), *problem)
                return
    yield from _metric_exists(claim, trials, tree)


def _no_such_release(claim: Claim, trial: Trial, release: ReleaseLevel) -> tuple[str, str] | None:
    """Message and hint where the trial has nothing at this level that the claim's figure could be read from."""
    if release in FROM and not has(trial.point.arm, release):
        return f"{trial.address} has no {release}", f"only {FROM[release]}"
    audit = trial.point.audit
    read = next(attack.reads for attack in audit.attacks if attack.attack == audit.headline.attack)
    if claim.test != "correlation" and release not in read:
        return f"the headline's attack, {audit.headline.attack}, is not scored at {release}", f"it is at: {', '.join(read)}"
    return None


def _metric_exists(claim: Claim, trials: Sequence[Trial], tree: Mapping) -> Iterator[Diagnostic]:
    at = tree.nearest("metric")
    rate = re.fullmatch(r"tpr@fpr=(.+)", claim.metric)
    if claim.test == "correlation":
        attacks = {attack.attack for trial in trials for attack in trial.point.audit.attacks}
        for word in ("metric", "against"):
            if (named := getattr(claim, word)) not in attacks:
                hint = did_you_mean(str(named), attacks)
                yield Diagnostic("claim", tree.nearest(word), f"no attack of the audit is called {named!r}", hint)
    elif rate:
        known = {f"{fpr:g}" for trial in trials for fpr in trial.point.audit.fpr}
        if rate[1] not in known:
            yield Diagnostic("claim", at, f"the FPR {rate[1]} is not read", f"`audit.fpr` has: {', '.join(sorted(known))}")
    elif claim.metric not in ("leakage", "auc", *PER_SHADOW):
        known = {"leakage", "auc", "tpr@fpr=0.01", *PER_SHADOW}
        yield Diagnostic("claim", at, f"no trial has the metric {claim.metric!r}", did_you_mean(claim.metric, known))
    elif claim.metric == "canary_share_selected":
        chosen = [trials[place] for selector in (claim.left, claim.right) for place in selected(selector, trials)]
        for trial in chosen:
            if not _has_origins(trial):
                hint = "this figure is of coresets, `init: real` and sdedit"
                yield Diagnostic("claim", at, f"{trial.address} selects no canaries", hint)
                return


def _has_origins(trial: Trial) -> bool:
    arm = trial.point.arm
    return isinstance(arm, Method) and arm.from_private_images
