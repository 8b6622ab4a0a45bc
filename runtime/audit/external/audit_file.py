"""Audits one file of answers or scores as a trial is audited: every applicable attack, intervals, null controls, epsilon bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compiler.errors import SynthcError
from compiler.language.audit import Design
from compiler.work.operations import AuditSettings
from runtime.audit.attacks.pool import MIN_SHADOWS
from runtime.audit.external.evidence import GROUP, Evidence, answers_of, design_of
from runtime.audit.external.file_attacks import TARGET, applicable, conditions
from runtime.audit.statistics.bootstrap import Resamples
from runtime.audit.statistics.one_run import IF_GAUSSIAN
from runtime.audit.statistics.roc import RateReading, none_if_infinite
from runtime.audit.trial.bounds import Bound
from runtime.audit.trial.doubts import Doubt, doubts_of_repetitions
from runtime.audit.trial.measure import AttackResult, Scope, doubts_about, flag_of, measure_attack
from runtime.audit.trial.metrics import AttackMetrics, tpr_name
from runtime.audit.trial.terms import Terms
from runtime.outcome import Metric
from runtime.seeds import numpy_generator

SCORES_RESAMPLED = 2_000_000_000
"""Most scores that a bootstrap draws in all: 1,000 resamples up to two million scores, 100 from twenty million on."""
SIGNALS_REDRAWN = 50_000_000
"""Most signals that a null control reads in all: 100 redraws up to 500,000 signals, 10 from five million on."""
HEADLINE_FPR = "0.01"


@dataclass(frozen=True)
class Summary:
    """One attack's figures."""

    auc: Metric
    tpr: dict[str, Metric]
    """FPR, as the user wrote it → TPR."""
    readings: dict[str, RateReading]
    """FPR → the reading behind the TPR: false positives, threshold, ties."""
    null_auc: Metric
    """Mean AUC over redrawn memberships, and the central interval of the redraws at `confidence`."""
    null_tpr: Metric
    """Mean TPR at the headline's FPR over redrawn memberships, with its central interval; no value where ties prevent reading."""
    permutation_p: float
    """Permutation p-value of the observed TPR or AUC; never below 1 / (redraws + 1)."""
    epsilon_lower: dict[str, Bound]
    null_passed: bool
    """False also where a doubt about the data that the scores raise is grave."""
    left_out: int
    """Number of scores that are NaN: too few shadows to fit on, or of a model that is a reference and no target
    (`Scope.targets`)."""
    complaints: tuple[str, ...] = ()
    """Reasons why the null control failed, and doubts about the data that the scores raise."""

    def as_json(self) -> dict[str, Any]:
        assumed = {name: bound.as_json() for name, bound in self.epsilon_lower.items() if name.endswith(IF_GAUSSIAN)}
        return {
            "auc": _figure(self.auc),
            "tpr": {text: _figure(rate) | _how_read(self.readings[text], rate) for text, rate in self.tpr.items()},
            "null_auc": _figure(self.null_auc), "null_tpr": _figure(self.null_tpr), "permutation_p": self.permutation_p,
            "null_passed": self.null_passed, "left_out": self.left_out,
            "epsilon_lower": {name: bound.as_json() for name, bound in self.epsilon_lower.items() if name not in assumed},
            f"epsilon_lower{IF_GAUSSIAN}": {name.removesuffix(IF_GAUSSIAN): bound for name, bound in assumed.items()},
            "notes": list(self.complaints),
        }  # fmt: skip


def _figure(metric: Metric) -> dict[str, Any]:
    return {name: getattr(metric, name) for name in ("value", "low", "high", "note")}


def _how_read(reading: RateReading, metric: Metric) -> dict[str, Any]:
    return {
        "by_lot": reading.by_lot, "n0": reading.non_members, "false_positives": reading.false_positives,
        "realised_fpr": reading.realised_fpr, "threshold": none_if_infinite(reading.threshold),
        "resolvable": metric.value is not None,
    }  # fmt: skip


@dataclass(frozen=True)
class Report:
    """The result of an audit of one file."""

    n_shadows: int
    n_samples: int
    design: Design
    resamples: int
    """Number of bootstrap resamples behind every interval."""
    drawn: str
    """What a bootstrap resample draws, as a phrase: samples, or samples and shadows (or pairs of shadows)."""
    attacks: dict[str, Summary]
    skipped: dict[str, str]
    """Attacks that do not apply, each with the reason."""
    doubts: tuple[Doubt, ...] = ()
    """Evidence in the data that they are not what they are said to be."""

    @property
    def trusted(self) -> bool:
        """Whether every attack passed its null control, and no doubt about the data or about an attack's scores is grave."""
        return not any(doubt.grave for doubt in self.doubts) and all(summary.null_passed for summary in self.attacks.values())

    def as_json(self) -> dict[str, Any]:
        """The documented public form, ready for JSON: nested dicts and lists of strings, numbers, booleans and None; with the notes
        (`notes`) as text. An infinite `threshold`, of a TPR or of a bound, is None."""
        attacks = {name: summary.as_json() for name, summary in self.attacks.items()}
        return {
            "n_shadows": self.n_shadows, "n_samples": self.n_samples, "design": self.design, "trusted": self.trusted,
            "interval": f"bootstrap over {self.drawn}, {self.resamples} resamples", "attacks": attacks, "skipped": self.skipped,
            "notes": list(notes(self)),
        }  # fmt: skip


def audit(evidence: Evidence, settings: AuditSettings, on_result: Callable[[AttackResult], None] | None = None) -> Report:
    """Audit the arrays of a file by the attacks that the settings name, or by all that apply and give members and non-members
    scores; others are `skipped`. SynthcError where the settings do not fit the arrays (`_checked_design`), or an attack that they
    name would be skipped; KeyError as of `applicable`.

    `on_result` is called with the result of each attack in the report, in turn: all results together may not fit into memory.
    """
    design = _checked_design(evidence, settings)
    attacks, skipped = applicable(evidence, settings, design)
    _refuse_if_asked(settings, skipped)
    doubts = tuple(doubts_of(evidence, settings, design))
    scope, answers = scope_of(evidence, settings, design, doubts), answers_of(evidence)
    summaries: dict[str, Summary] = {}
    for attack in attacks:
        result = measure_attack(attack, [replace(answers, release=attack.reads[0])], scope)
        if result is None or _one_sided(result.groups[0].measured):
            few = f"{evidence.shadows} shadows leave too few to judge a target by: {MIN_SHADOWS} with and {MIN_SHADOWS} without it"
            skipped[attack.attack] = few
            _refuse_if_asked(settings, skipped)
            continue
        summaries[attack.attack] = _summary(result, settings)
        if on_result is not None:
            on_result(result)
    one_way = _one_way(evidence, settings)
    drawn = "samples" if one_way else f"samples and {'pairs of shadows' if design == 'pairs' else 'shadows'}"
    resamples = _resamples(evidence, settings)
    return Report(evidence.shadows, evidence.samples, design, resamples, drawn, summaries, skipped, doubts)


def doubts_of(evidence: Evidence, settings: AuditSettings, design: Design) -> Iterator[Doubt]:
    """Yield doubts about the data that can be found before any attack runs: about membership, answers, repeated samples, and z
    samples that are audited samples too."""
    answers = answers_of(evidence)
    yield from doubts_about([answers], scope_of(evidence, settings, design), evidence.same)
    if evidence.same is not None:
        distinct = int(evidence.same.max()) + 1
        yield Doubt(f"{evidence.samples} samples are {distinct}: rows are repeated, and count as one sample each", grave=False)
    yield from doubts_of_repetitions(np.moveaxis(evidence.values, 0, -1), evidence.member)
    if evidence.z_logits is not None and (among := _among(evidence.z_logits, evidence.values)):
        yield Doubt(f"{among} z samples are samples that are audited; a z pool holds others", grave=False)


def _among(z_logits: np.ndarray, logits: np.ndarray) -> int:
    """Number of z samples whose logits, converted to the dtype of `logits`, equal those of an audited sample to the last bit in
    every shadow and view. Both arrays: shadow × sample × …."""
    rows = {np.ascontiguousarray(logits[:, sample]).tobytes() for sample in range(logits.shape[1])}
    found = (
        np.ascontiguousarray(z_logits[:, sample].astype(logits.dtype)).tobytes() in rows for sample in range(z_logits.shape[1])
    )
    return sum(found)


def _refuse_if_asked(settings: AuditSettings, skipped: dict[str, str]) -> None:
    """Raise SynthcError, with the first of the `skipped` attacks (name → reason), if there is one and the settings name attacks;
    without named attacks do nothing."""
    for name, reason in skipped.items() if settings.tried else ():
        raise SynthcError(f"--attack {name}: {reason}")


def scope_of(evidence: Evidence, settings: AuditSettings, design: Design, doubts: Sequence[Doubt] = ()) -> Scope:
    """The terms, membership and resamples of the file's attacks, as those of a trial with one canary group (`GROUP`) and no
    headline attack. Where there are `doubts`, no epsilon bound is stated. Numbers of redraws that the settings leave open are from
    10 to 100, fewer the more signals there are. All seeds are fixed."""
    shadows = None if _one_way(evidence, settings) else evidence.shadows
    rng = numpy_generator(0, None, "audit/bootstrap")
    resamples = Resamples.draw(_resamples(evidence, settings), evidence.samples, rng, shadows, design == "pairs", evidence.same)
    signals = evidence.member.size * min(settings.views or evidence.views, evidence.views)
    terms = Terms(
        design=design, fpr=tuple(map(float, dict.fromkeys(settings.fpr))), headline_fpr=headline_fpr(settings),
        confidence=settings.confidence, delta=settings.delta, thresholds=settings.thresholds, guesses=settings.guesses,
        target=TARGET, redraws=settings.null_permutations or max(10, min(100, SIGNALS_REDRAWN // signals)), seed=0,
        null_purpose="audit/null/{attack}",
    )  # fmt: skip
    return Scope(
        terms, evidence.member, {GROUP: slice(None)}, lambda attack, group: resamples,
        lambda attack, group: conditions(attack, evidence, design, settings, doubts), (None, "final_model"),
    )  # fmt: skip


def headline_fpr(settings: AuditSettings) -> float:
    """The FPR of a file's headline: HEADLINE_FPR if the settings list it in this spelling, else their first."""
    return float(HEADLINE_FPR if HEADLINE_FPR in settings.fpr else settings.fpr[0])


def _one_way(evidence: Evidence, settings: AuditSettings) -> bool:
    """Whether intervals resample samples alone: with one shadow, or as the settings say."""
    return evidence.shadows == 1 or settings.interval == "canaries"


def _resamples(evidence: Evidence, settings: AuditSettings) -> int:
    """Number of bootstrap resamples: the settings', or else from 100 to 1000, fewer the more scores there are."""
    return settings.resamples or max(100, min(1000, SCORES_RESAMPLED // evidence.member.size))


def _checked_design(evidence: Evidence, settings: AuditSettings) -> Design:
    """The membership design (`design_of`); SynthcError for `one_run` with several shadows, for more `guesses` than samples, for
    more `views` than the file holds, and where the file contradicts the declared design."""
    if settings.one_run and evidence.shadows != 1:
        raise SynthcError(f"--one-run wants the {evidence.kind} of one shadow; the file holds {evidence.shadows} shadows")
    if settings.guesses and sum(settings.guesses) > evidence.samples:
        plus, minus = settings.guesses
        raise SynthcError(f"--guesses {plus} {minus}: more guesses than the file's {evidence.samples} samples")
    if settings.views is not None and settings.views > evidence.views:
        raise SynthcError(f"--queries {settings.views}: the file holds {evidence.views} views of each sample")
    return design_of(evidence, settings.membership)


def _one_sided(measured: AttackMetrics) -> bool:
    """Whether members, or non-members, have no score at all."""
    sides = measured.member[measured.scored]
    return bool(sides.all() or not sides.any())


def _summary(result: AttackResult, settings: AuditSettings) -> Summary:
    """The figures of one attack, from its result on the file's only group."""
    group = result.groups[0]
    measured, control = group.measured, group.control
    found = {metric.name: metric for metric in group.metrics()}
    null_tpr = f"null_{tpr_name(measured.terms.headline_fpr)}"
    return Summary(
        auc=found["auc"],
        tpr={text: found[tpr_name(float(text))] for text in settings.fpr},
        readings={text: measured.reading(float(text)) for text in settings.fpr},
        null_auc=found["null_auc"],
        null_tpr=found.get(null_tpr, Metric(null_tpr, None, note="not resolvable in some redraws")),
        permutation_p=float(found["permutation_p"].value or 0.0),
        epsilon_lower=measured.bounds,
        null_passed=control.passed and not any(doubt.grave for doubt in group.doubts),
        left_out=int((~measured.scored).sum()),
        complaints=(
            *(f"null control failed: {complaint}" for complaint in control.complaints()),
            *(doubt.text for doubt in group.doubts),
        ),
    )


def notes(report: Report) -> Iterator[str]:
    """Yield notes to print beside the table of figures: doubts about the data; for each attack its complaints and the number of
    scores left out; the skipped attacks with the reasons."""
    for doubt in report.doubts:
        yield flag_of(doubt)
    for name, summary in report.attacks.items():
        for complaint in summary.complaints:
            yield f"{name}: {complaint}{'' if summary.null_passed else '; its figures are not to be trusted'}"
        if summary.left_out:
            why = "too few shadows to judge by, or models that hold hardly any sample, or nearly all, and are references"
            yield f"{name}: {summary.left_out:,} scores are left out: {why}"
    for name, reason in report.skipped.items():
        yield f"{name}: not done, {reason}"
