"""Resolves claims: which trials a claim's selectors select, and whether the claim can be tested."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, get_args

from compiler.errors import Diagnostic, did_you_mean
from compiler.language.audit import ReleaseLevel
from compiler.language.base import Method
from compiler.language.claims import Claim, Side, Stratum
from compiler.language.study import Trial
from compiler.text.nodes import Mapping
from compiler.work.operations import CompareTrials, Reading
from compiler.work.releases import OWNERS, declared, has_release

TRIAL_FIELDS = ("arm", "paradigm", "method", "replicate")
"""Fields of a selector that every trial has, beside axes and fields of arms."""
READING_FIELDS = tuple(Side.model_fields)
"""Fields of a selector that name what is read of the trials: release level, attack, …"""
PER_SHADOW_METRICS = (
    "test_accuracy", "train_accuracy", "canary_accuracy_in", "canary_accuracy_out", "canary_share_selected", "seconds", "flops",
    "nearest_pixel_distance", "trace_back_rate",
)  # fmt: skip
"""Metrics that a trial has for each shadow."""


@dataclass(frozen=True)
class Resolved:
    """A claim, the indices of its trials in the study's list, and the operation that tests it."""

    name: str
    claim: Claim
    left: tuple[int, ...]
    right: tuple[int, ...]
    work: CompareTrials

    @property
    def rates(self) -> tuple[float, ...]:
        """The FPRs at which the claim reads a TPR: that of its metric, and the headline's where it reads leakage; () if it reads
        none."""
        named = re.findall("^tpr@fpr=(.+)", self.claim.metric)
        return tuple(dict.fromkeys([*map(float, named), *([self.work.fpr] if _reads_leakage(self.claim) else [])]))


def select_trials(selector: dict[str, Any], trials: Sequence[Trial]) -> tuple[int, ...]:
    """Ascending indices of the trials that agree with every field of a selector (a value, or a tuple of values, any of which will
    do) except READING_FIELDS, which are passed over: all trials for an empty selector. A trial without such a field is not
    selected."""
    wanted = {
        field: value if isinstance(value, tuple) else (value,) for field, value in selector.items() if field not in READING_FIELDS
    }
    return tuple(
        index for index, trial in enumerate(trials) if all(_value_of(trial, field) in values for field, values in wanted.items())
    )


def select_compared(selector: dict[str, Any], trials: Sequence[Trial]) -> tuple[int, ...]:
    """As `select_trials`, without trials of arms with `control: true`, which stay if the selector has a field `arm` or `control`,
    or if it selects no others."""
    chosen = select_trials(selector, trials)
    if "arm" in selector or "control" in selector:
        return chosen
    return tuple(index for index in chosen if not getattr(trials[index].point.arm, "control", False)) or chosen


Problem = tuple[tuple[str, ...], str, str]
"""(path in the claim's text, message, hint)."""
_ABSENT = object()


def _value_of(trial: Trial, field: str) -> object:
    """A trial's value for a field of a selector: for `method` the paradigm where the arm has no method; for a name of both an axis
    and a field of the arm, the axis's. `_ABSENT` where it has no such field."""
    arm = trial.point.arm
    match field:
        case "arm":
            return trial.arm_name
        case "method":
            return getattr(arm, "method", arm.paradigm)
        case "replicate":
            return trial.replicate
    return dict(trial.axes).get(field, getattr(arm, field, _ABSENT))


def check_claim(claim: Claim, trials: Sequence[Trial], tree: Mapping) -> list[Diagnostic]:
    """Diagnostics for what prevents the test of a claim: unknown fields, selectors without trials, canaries, strata and release
    levels that a selected trial does not have or at which the headline's attack is not scored, metrics that are not measured or do
    not suit the test, trials whose audits differ in what the claim reads of them. [] for a claim that `resolve` accepts.

    `trials` are all trials of the study, none with a faulty headline; `tree` is the claim as it is written, for locations.
    """
    problems = (*_check_selectors(claim, trials), *_check_sides(claim, trials), *_check_agreement(claim, trials))
    return [Diagnostic("claim", tree.nearest(*path), what, hint) for path, what, hint in problems]


def resolve(name: str, claim: Claim, trials: Sequence[Trial]) -> Resolved:
    """The claim called `name` with the indices of its trials and the operation that tests it. FPR, confidence and resamples are
    those of the first left trial, what is read of a side is that of its first trial, of a claim without `right` that of the left.
    `check_claim` must have found no error."""
    left, right = select_compared(claim.left, trials), select_compared(claim.right, trials) if claim.right else ()
    audit = trials[left[0]].point.audit
    reading = _resolve_reading(claim.left, trials[left[0]])
    as_said = {field.name: getattr(claim, field.name) for field in fields(CompareTrials) if field.name in Claim.model_fields}
    read = {
        "left": reading,
        "right": _resolve_reading(claim.right, trials[right[0]]) if right else reading,
        "fpr": audit.headline.fpr,
        "resamples": audit.resamples,
        "confidence": audit.confidence,
        "seed": trials[0].seed,
    }
    work = CompareTrials(**(as_said | read))
    return Resolved(name, claim, left, right, work)


def _resolve_reading(selector: dict[str, Any], trial: Trial) -> Reading:
    """What a claim reads of a trial: the headline's attack, the variant of the attack that `declared` finds for it (else the one
    that the headline names), and release level, canaries and stratum as the selector names them, else the headline's release level
    and canaries, and no stratum."""
    headline = trial.point.audit.headline
    attack = declared(trial.point.audit.attacks, headline)
    return Reading(
        attack=headline.attack,
        variant=(attack or headline).variant_name,
        release=selector.get("release") or headline.release,
        canaries=selector.get("canaries") or headline.canaries,
        stratum=selector.get("stratum"),
    )


def explain_empty_selection(
    selector: dict[str, Any], trials: Sequence[Trial], also: Iterable[str] = READING_FIELDS
) -> Iterator[tuple[str | None, str, str]]:
    """Yields why a selector selects no trial, as the field at fault, message, hint: every unknown field; if there is none, the
    first field whose values no trial has; else None as the field, for the combination of fields. Yields nothing for a selector of
    known fields that selects some.

    `also`: fields that are known besides TRIAL_FIELDS, axes and fields of arms, and whose values are not checked.
    """
    known = {*TRIAL_FIELDS, *also}
    for trial in trials:
        known |= {name for name, _ in trial.axes} | set(type(trial.point.arm).model_fields)
    unknown = [field for field in selector if field not in known]
    for field in unknown:
        yield field, f"no trial can be chosen by {field!r}", did_you_mean(field, known)
    if unknown or select_trials(selector, trials):
        return
    for field, value in selector.items():
        if field in also or select_trials({field: value}, trials):
            continue
        there = {str(other) for trial in trials if (other := _value_of(trial, field)) is not _ABSENT}
        values = value if isinstance(value, tuple) else (value,)
        yield field, f"no trial has {field} {' or '.join(map(repr, values))}", did_you_mean(values[0] if values else "", there)
        return
    yield None, "no trial has all of these", "each is had by some; drop one"


def _check_selectors(claim: Claim, trials: Sequence[Trial]) -> Iterator[Problem]:
    for side in ("left", "right"):
        for field, what, hint in explain_empty_selection(getattr(claim, side), trials):
            yield (side, *([field] if field else [])), what, hint


def _check_sides(claim: Claim, trials: Sequence[Trial]) -> Iterator[Problem]:
    """The first fault in canaries, stratum or release level of the selectors, left before right: no single name, or one that
    `_check_reading` refuses for a selected trial. Where there is none, the faults of the metric instead: those of `_check_metric`,
    and another metric than `leakage` for a dominance."""
    for side in ("left", "right"):
        selector = getattr(claim, side)
        for field in READING_FIELDS:
            if field in selector and not isinstance(selector[field], str):
                yield (side, field), f"{field} is {selector[field]!r}", "give one name"
                return
        for index in select_compared(selector, trials) if selector else ():
            if (problem := _check_reading(claim, selector, trials[index])) is not None:
                field, what, hint = problem
                yield (side, field), what, hint
                return
    if claim.test == "dominance" and claim.metric != "leakage":
        yield ("metric",), f"a dominance is of leakage, accuracy and cost together, not of {claim.metric!r}", "leave `metric` out"
    yield from _check_metric(claim, trials)


def _check_reading(claim: Claim, selector: dict[str, str], trial: Trial) -> tuple[str, str, str] | None:
    """Field, message and hint of the first of canaries, stratum and release level that the selector names and that does not exist
    or the trial lacks; also of any stratum of a correlation, and of a release level of another claim at which the headline's
    attack is not scored; else None."""
    audit = trial.point.audit
    group, release = selector.get("canaries"), selector.get("release")
    if group is not None and group not in audit.canaries:
        return "canaries", f"no canaries are called {group!r}", did_you_mean(group, audit.canaries)
    stratum = selector.get("stratum")
    if stratum is not None and stratum not in get_args(Stratum):
        return "stratum", f"no stratum is called {stratum!r}", did_you_mean(stratum, get_args(Stratum))
    if stratum is not None and claim.test == "correlation":
        return "stratum", "a correlation of two attacks is over all members", "leave `stratum` out"
    if stratum in ("used", "unused") and not _has_origins(trial):
        what = f"{trial.address} makes no set from single private images, so none is used or unused"
        return "stratum", what, "those strata are for coresets, `init: real` and sdedit"
    if stratum in ("copied", "not_copied") and not _measures_copies(trial):
        what = f"no distance to a set of {trial.address} is measured, so none is known to be copied"
        return "stratum", what, "those strata are for arms that make a set, where {attack: nearest, space: pixel} is tried"
    if release is not None and release not in get_args(ReleaseLevel):
        return "release", f"no release level is called {release!r}", did_you_mean(release, get_args(ReleaseLevel))
    if release in OWNERS and not has_release(trial.point.arm, release):
        return "release", f"{trial.address} has no {release}", f"only {OWNERS[release]}"
    read = next(attack.reads for attack in audit.attacks if attack.attack == audit.headline.attack)
    if release is not None and claim.test != "correlation" and release not in read:
        what = f"the headline's attack, {audit.headline.attack}, is not scored at {release}"
        return "release", what, f"it is at: {', '.join(read)}"
    return None


def _reads_leakage(claim: Claim) -> bool:
    """Whether the claim reads the TPR at the headline's FPR."""
    return claim.test != "correlation" and "leakage" in (claim.metric, claim.match if claim.test == "matched" else "")


def _select_sides(claim: Claim, trials: Sequence[Trial]) -> dict[str, list[Trial]]:
    """Side → its trials; none on the right of a claim without `right`."""
    selectors = {side: getattr(claim, side) for side in ("left", "right")}
    return {
        side: [trials[index] for index in select_compared(selector, trials)] if selector or side == "left" else []
        for side, selector in selectors.items()
    }


def _check_agreement(claim: Claim, trials: Sequence[Trial]) -> Iterator[Problem]:
    """Problems of trials whose audits differ in what the claim takes from one of them: the confidence, the headline's FPR where
    leakage is read, and, unless only a metric of PER_SHADOW_METRICS is read, attack, variant, release level and canaries of the
    trials of one side."""
    sides = _select_sides(claim, trials)
    once = {"confidence": lambda trial: trial.point.audit.confidence}
    if _reads_leakage(claim):
        once["headline FPR"] = lambda trial: trial.point.audit.headline.fpr
    for name, value in once.items():
        if (found := _find_other([*sides["left"], *sides["right"]], value)) is not None:
            one, other = found
            side = "left" if other in sides["left"] else "right"
            what = f"{one.address} has the {name} {value(one):g}, {other.address} {value(other):g}, and a claim has one"
            hint = "compare `metric: tpr@fpr=0.01` (a rate of `audit.fpr`)" if "FPR" in name else "use one for all of its trials"
            yield (side,), what, hint
    if claim.test != "correlation" and claim.metric in PER_SHADOW_METRICS and not _reads_leakage(claim):
        return
    for side, chosen in sides.items():
        selector = getattr(claim, side)
        if any(group not in trial.point.audit.canaries for trial in chosen if (group := selector.get("canaries")) is not None):
            continue  # reported by `_check_sides`
        if (found := _find_other(chosen, lambda trial, by=selector: _resolve_reading(by, trial))) is not None:  # type: ignore[misc]
            first, second = (_resolve_reading(selector, trial) for trial in found)
            field = next(field.name for field in fields(Reading) if getattr(first, field.name) != getattr(second, field.name))
            values = [getattr(reading, field) for reading in (first, second)]
            what = f"the {field} read of {found[0].address} is {values[0]}, of {found[1].address} {values[1]}"
            named = f"name the {field}" if field in READING_FIELDS else "choose trials with the same headline"
            yield (side,), what, f"{named}, or make a claim for each"


def _find_other(trials: Sequence[Trial], value: Callable[[Trial], object]) -> tuple[Trial, Trial] | None:
    """The first trial, and the first one with another value than it; None if all have the same."""
    return next(((trials[0], other) for other in trials if value(other) != value(trials[0])), None)


def _check_metric(claim: Claim, trials: Sequence[Trial]) -> Iterator[Problem]:
    """Problems of a claim's metric, at most one for each of its fields: a name that is no metric; an FPR, an attack of a
    correlation (`metric` or `against`) or a share of selected canaries that a selected trial lacks. Where no trial is selected, FPR
    and attacks are looked for in all trials. FPRs are compared as text, in the form `0.01`."""
    path = ("metric",)
    rate = re.fullmatch(r"tpr@fpr=(.+)", claim.metric)
    chosen = [trial for side in _select_sides(claim, trials).values() for trial in side]
    if claim.test == "correlation":
        for field in ("metric", "against"):
            for trial in chosen or trials:
                read = {attack.attack: attack.reads for attack in trial.point.audit.attacks}
                if (attack := getattr(claim, field)) not in read:
                    yield (field,), f"no attack of the audit is called {attack!r}", did_you_mean(attack, set(read))
                    break
                if not any(has_release(trial.point.arm, level) for level in read[attack]):
                    what = f"{trial.address} is not attacked by {attack}"
                    yield (field,), what, f"it reads {' or '.join(read[attack])}, which that arm does not have"
                    break
    elif rate:
        for trial in chosen or trials:
            known = {f"{fpr:g}" for fpr in trial.point.audit.fpr}
            if rate[1] not in known:
                yield path, f"the FPR {rate[1]} is not read", f"`audit.fpr` has: {', '.join(sorted(known))}"
                break
    elif claim.metric not in ("leakage", "auc", *PER_SHADOW_METRICS):
        known = {"leakage", "auc", "tpr@fpr=0.01", *PER_SHADOW_METRICS}
        yield path, f"no trial has the metric {claim.metric!r}", did_you_mean(claim.metric, known)
    elif claim.metric == "canary_share_selected":
        if without := next((trial for trial in chosen if not _has_origins(trial)), None):
            hint = "this figure is of coresets, `init: real` and sdedit"
            yield path, f"{without.address} selects no canaries", hint


def _has_origins(trial: Trial) -> bool:
    """Whether each image of the arm's set is, or began as, one private image."""
    arm = trial.point.arm
    return isinstance(arm, Method) and arm.from_private_images


def _measures_copies(trial: Trial) -> bool:
    """Whether pixel distances from canaries to a set of the trial are measured."""
    nearest = any(attack.attack == "nearest" and getattr(attack, "space", "") == "pixel" for attack in trial.point.audit.attacks)
    return nearest and has_release(trial.point.arm, "synthetic_set")
