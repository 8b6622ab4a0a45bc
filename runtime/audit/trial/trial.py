"""Audits one trial: every attack on every canary group at every release level, with intervals and null controls.

Reads the responses of the trial's shadows, scores leave-one-out over the pool, and writes what claims need: metrics with
n and interval, ROC points, per-canary risk, raw scores; and the trial's utility and cost.
Not here: the attacks (`attacks`), one attack at one release level (`measure`), comparisons between trials.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from compiler.errors import SynthcError
from compiler.language.attacks.base import LOGIT_LEVELS, ReleaseLevel, Tried
from compiler.language.attacks.lira import Lira
from compiler.work.operations import AttackTrial
from compiler.work.releases import declared
from runtime.audit.attacks.answers import Answers
from runtime.audit.statistics.bootstrap import Resamples
from runtime.audit.statistics.testing import of_two
from runtime.audit.trial.bounds import POOLED, one_run_refusal
from runtime.audit.trial.copies import Nearness
from runtime.audit.trial.doubts import Doubt
from runtime.audit.trial.measure import (
    EQUAL_MODELS,
    AttackResult,
    Kept,
    Scope,
    describe_canaries,
    describe_groups,
    doubts_about,
    flag_of,
    is_trusted,
    measure_attack,
    sham,
)
from runtime.audit.trial.metrics import AttackMetrics
from runtime.audit.trial.soundness import check_soundness, guarantee
from runtime.audit.trial.terms import Conditions, terms_of
from runtime.audit.trial.utility import correctness, per_shadow, utility
from runtime.data.population.membership import membership
from runtime.data.population.near_duplicates import MAX_RMS_DIFFERENCE, near_duplicates
from runtime.data.population.roles import Group, roles_of
from runtime.outcome import Metric, Product
from runtime.seeds import numpy_generator
from runtime.store.artifacts import Artifact


@dataclass(frozen=True)
class Sets:
    """What the shadows' synthetic sets hold of the canaries."""

    nearness: dict[str, Nearness]
    """Group → distances of its canaries to each set; empty where no set was queried."""
    used: np.ndarray | None
    """canary × shadow, bool: see `origins`."""

    @cached_property
    def copied(self) -> dict[str, np.ndarray]:
        """Group → canary × shadow, bool: members with a near-copy in their shadow's set; without groups where that is not
        resolvable."""
        found = {name: near.copied for name, near in self.nearness.items()}
        return {name: copied for name, copied in found.items() if copied is not None}


def perform(work: AttackTrial, inputs: Mapping[str, Artifact], device: torch.device) -> Product:
    """The audit of a trial. Files: `scores`, `roc`, `risk`, `canaries`, `shadows` (metrics with a value for each shadow); if stored
    by all shadows `test` (test image × shadow: whether the prediction is correct); and, where a set was made and queried, `pairs`
    (see `copies`). They hold membership and private images, so no method may read them. Notes: `null_ok`, False where one of the
    `flags` makes figures invalid, and what describes files and intervals. `device` is not used. Errors as of `measure_attack` and
    `roles_of`; SynthcError as of `_doubts`, and (Corrupt) where a file of `inputs` is damaged."""
    groups = roles_of(work.population).groups
    scope = _scope(work, groups, inputs)
    answers = dict(_answers(work, inputs, groups, scope.spans))
    sets = measure_sets(work, inputs, answers.get("synthetic_set", []), scope)
    results = [
        result for of_level in answers.values() for attack in work.attacks
        if (result := measure_attack(attack, of_level, scope)) is not None
    ]  # fmt: skip
    kept = Kept.of(scope)
    for result in results:
        kept.add(result)
    doubts = _doubts(work, inputs, answers["final_model"], scope)
    headline, unsound = measure_headline(work, inputs, results, sets, scope)
    twins = list(_near_duplicates(work, groups, scope.spans))
    named = scope.headline[0]
    shams = [
        found for of_group in answers["final_model"] if named is not None and (found := sham(named, of_group, scope)) is not None
    ]
    flags = [*map(flag_of, doubts), *kept.flags, *unsound, *_twin_flags(twins), *_device_flags(inputs)]
    flags += [flag for _, raised in shams for flag in raised]
    metrics = [
        *(metric for metric, _ in shams),
        *(metric for near in sets.nearness.values() for metric in near.metrics()), *kept.metrics, *headline,
        *_strata_of_copies(work, results, sets, scope), *_student_over_teacher(results, scope), *twins, *utility(work, inputs),
    ]  # fmt: skip
    files = {"scores": kept.scores, "roc": kept.roc, "risk": kept.risk, "shadows": per_shadow(work, inputs)}
    if (right := correctness(work, inputs)) is not None:
        files["test"] = {"correct": right}
    files["canaries"] = describe_canaries(groups, answers["final_model"], scope)
    if sets.used is not None:
        files["scores"]["used"] = torch.from_numpy(sets.used.astype(np.uint8))
    if sets.copied:
        files["scores"]["copied"] = torch.from_numpy(_join_groups(sets.copied, scope))
    if pairs := _pairs_to_look_at(inputs, results, sets, scope):
        files["pairs"] = pairs
    notes = {
        "columns": kept.columns, "groups": describe_groups(groups), "headline_column": kept.headline_column,
        "null_ok": is_trusted(flags), "flags": flags, "readings": kept.readings, "fits": kept.fits,
        "interval": _interval(work),
    }  # fmt: skip
    return Product(files, tuple(metrics), notes)


def _doubts(work: AttackTrial, inputs: Mapping[str, Artifact], answers: Sequence[Answers], scope: Scope) -> list[Doubt]:
    """Doubts about the data, and ValueError, as of `doubts_about`; SynthcError where final models give equal answers and any of
    them was made elsewhere: a user's file of one model is given for several shadows."""
    found = list(doubts_about(answers, scope))
    elsewhere = any(inputs[f"final_model/{shadow}"].outcome["notes"].get("made_elsewhere") for shadow in range(work.shadows))
    for doubt in found:
        if elsewhere and doubt.text.startswith(EQUAL_MODELS):
            raise SynthcError(f"{doubt.text}; each shadow needs a model of its own, trained on its own members")
    return found


def _scope(work: AttackTrial, groups: tuple[Group, ...], inputs: Mapping[str, Artifact]) -> Scope:
    """What all attacks of the trial have in common; the headline attack is that of `declared`, or None. ValueError for an odd
    number of shadows in pairs."""
    named, both = declared(work.attacks, work.headline), _resamples(work, groups)

    def resamples(attack: Tried, group: Group) -> Resamples:
        return Resamples(both[group.name].canaries) if work.interval == "canaries" else both[group.name]

    def conditions(attack: Tried, group: Group) -> Conditions:
        return Conditions(lambda member: one_run_refusal(work.design, group.copies, len(member)), POOLED)

    member = membership(work.population, work.design, work.replicate, work.shadows)
    one_model = "generator/0" in inputs and bool(inputs["generator/0"].outcome["notes"].get("one_model"))
    levels: frozenset[ReleaseLevel] = frozenset({"generator"} if one_model else ())
    spans = roles_of(work.population).spans
    return Scope(terms_of(work), member, spans, resamples, conditions, (named, work.headline.release), levels)


def measure_sets(work: AttackTrial, inputs: Mapping[str, Artifact], answers: Iterable[Answers], scope: Scope) -> Sets:
    """The canaries' distances and origins in the shadows' sets. `answers`: of the release level `synthetic_set`, empty without it.
    Corrupt as of `origins`."""
    nearness = {}
    for of_group in answers:
        if of_group.measured and "pixel" in of_group.measured:
            group, span = of_group.group, scope.spans[of_group.group.name]
            resamples = _resamples(work, (group,))[group.name]
            nearness[group.name] = Nearness(work, group, of_group.measured["pixel"], scope.member[span], resamples)
    return Sets(nearness, origins(work, inputs, len(scope.member)))


def _headline_groups(results: Sequence[AttackResult], scope: Scope) -> dict[str, AttackMetrics]:
    """Group → metrics of the headline attack at the headline's release level; {} where that attack has no result there."""
    result = next((result for result in results if (result.attack, result.release) == scope.headline), None)
    return {group.group.name: group.measured for group in result.groups} if result else {}


def measure_headline(
    work: AttackTrial, inputs: Mapping[str, Artifact], results: Sequence[AttackResult], sets: Sets, scope: Scope
) -> tuple[list[Metric], list[str]]:
    """Further metrics of the headline attack at the headline's release level, and flags of DP soundness: on every group TPRs by use
    in the set (where origins are known), deployed rates and `risk_overlap`; on the headline's group alone `headline` and, with an
    accountant, DP soundness. Both empty where that attack has no result. Corrupt as of `guarantee`."""
    metrics: list[Metric] = []
    flags: list[str] = []
    for name, measured in _headline_groups(results, scope).items():
        if name == work.headline.canaries:
            metrics += measured.headline()
            if (claimed := guarantee(work, inputs)) is not None:
                metric, flag = check_soundness(measured, claimed)
                metrics.append(metric)
                flags += [flag] if flag else []
        if sets.used is not None:
            used = sets.used[scope.spans[name]]
            metrics += measured.strata({"used": used, "unused": ~used})
        metrics += [*measured.deployed(), measured.stability()]
    return metrics, flags


def _strata_of_copies(work: AttackTrial, results: Iterable[AttackResult], sets: Sets, scope: Scope) -> Iterator[Metric]:
    """TPR on members with a near-copy and on those without, at the headline's release level, for the headline attack and the same
    attack on signals of the true label; nothing for groups whose near-copies are not known."""
    for result in results:
        if result.release == work.headline.release and _matches_headline(result.attack, scope.headline[0]):
            for group in result.groups:
                if (copied := sets.copied.get(group.group.name)) is not None:
                    yield from group.measured.strata({"copied": copied, "not_copied": ~copied})


def _join_groups(found: Mapping[str, np.ndarray], scope: Scope) -> np.ndarray:
    """canary × shadow, uint8: the groups' cells joined; 2 in rows of groups that `found` lacks."""
    whole = np.full(scope.member.shape, 2, np.uint8)
    for name, cells in found.items():
        whole[scope.spans[name]] = cells
    return whole


def _matches_headline(attack: Tried, headline: Tried | None) -> bool:
    """Whether the attack is the headline attack, or the same LiRA on the `true_label` or `contrast` signal."""
    if not (isinstance(attack, Lira) and isinstance(headline, Lira) and attack.signal in ("true_label", "contrast")):
        return attack == headline
    return attack == headline.model_copy(update={"signal": attack.signal})


def _pairs_to_look_at(
    inputs: Mapping[str, Artifact], results: Sequence[AttackResult], sets: Sets, scope: Scope
) -> dict[str, Tensor]:
    """`<group>/<column>` → column of the pairs of canary and nearest released image that are kept for inspection
    (`Nearness.pairs`), by the scores and the threshold of the headline attack; {} where no set was queried or the headline attack
    has no result. Corrupt as of `Nearness.pairs`."""
    pairs: dict[str, Tensor] = {}
    for name, measured in _headline_groups(results, scope).items():
        if name in sets.nearness:
            threshold = measured.reading(scope.terms.headline_fpr).threshold
            found = sets.nearness[name].pairs(measured.scores, threshold, inputs)
            pairs |= {f"{name}/{what}": tensor for what, tensor in found.items()}
    return pairs


def _student_over_teacher(results: Iterable[AttackResult], scope: Scope) -> Iterator[Metric]:
    """For each group that both have a result for, the ratio of the student's leakage (final model) to its teacher's: TPRs of the
    headline attack on the same resamples."""
    levels = {
        result.release: {group.group.name: group.measured for group in result.groups}
        for result in results if result.attack == scope.headline[0]
    }  # fmt: skip
    teachers = levels.get("teacher", {})
    for name, student in levels.get("final_model", {}).items():
        if name in teachers:
            yield _ratio(student, teachers[name])


def _ratio(student: AttackMetrics, teacher: AttackMetrics) -> Metric:
    """Metric `student_teacher_ratio`: the student's TPR over the teacher's, both at the headline's FPR and on the same resamples,
    with its interval; no value where one cannot be read or the teacher's is 0, and no interval where the student's is 0, the
    teacher's lower limit is 0, or fewer than half of the resamples give one of the two."""
    fpr = student.terms.headline_fpr
    above, below = student.reading(fpr).value, teacher.reading(fpr).value
    name, n = "student_teacher_ratio", student.reading(fpr).non_members
    if above is None or not below:
        return student.metric(name, None, None, n, "not resolvable" if None in (above, below) else "the teacher does not leak")
    sides = student.uncertain(fpr), teacher.uncertain(fpr)
    found = of_two(sides[0], sides[1], student.terms.confidence, n, ratio=True) if sides[0] and sides[1] else None
    around = (found.low, found.high) if found and found.low is not None and found.high is not None else None
    return student.metric(name, above / below, around, n, f"of the TPR at {fpr:g}")


def _resamples(work: AttackTrial, groups: tuple[Group, ...]) -> dict[str, Resamples]:
    """Group → two-way bootstrap resamples, seeded by the study's seed and the group's name: the same for all attacks and release
    levels."""
    return {
        group.name: Resamples.draw(
            work.resamples,
            len(group),
            numpy_generator(work.population.seed, None, f"bootstrap/{group.name}"),
            work.shadows,
            paired=work.design == "pairs",
        )
        for group in groups
    }


def origins(work: AttackTrial, inputs: Mapping[str, Artifact], canaries: int) -> np.ndarray | None:
    """canary × shadow, bool: whether an image of the shadow's set is the canary or was initialised from it; None where some shadow
    has no set, or its images have no such origin. `canaries`: number of all canaries. Corrupt where a file of a set is damaged."""
    used = np.zeros((canaries, work.shadows), dtype=bool)
    for shadow in range(work.shadows):
        made = inputs.get(f"synthesize/{shadow}")
        if made is None or "audit" not in made.stems:
            return None
        found = made.tensors("audit")["origin_canary"].numpy()
        used[found[found >= 0], shadow] = True
    return used


def _interval(work: AttackTrial) -> str:
    """In words: what intervals resample, how often, and their confidence."""
    two_way = f"two-way over canaries and {'pairs of shadows' if work.design == 'pairs' else 'shadows'}"
    over = two_way if work.interval == "two_way" else f"over canaries; claims {two_way}"
    return f"bootstrap {over}, {work.resamples} resamples, {work.confidence:.0%}"


MEASURED_LEVELS: tuple[ReleaseLevel, ...] = ("synthetic_set", "index_list", "generator")
"""Release levels whose queries give signals of their own instead of logits."""


def _answers(
    work: AttackTrial, inputs: Mapping[str, Artifact], groups: tuple[Group, ...], spans: Mapping[str, slice]
) -> Iterator[tuple[ReleaseLevel, list[Answers]]]:
    """For each release level that was queried in all shadows: the level, and the answers about each group. `labels_only` repeats
    the final models' logits; `index_list` comes with every queried synthetic set, without signals where it has none. Corrupt as of
    `_files`."""
    for release in LOGIT_LEVELS:
        if files := _files(work, inputs, release):
            answers = [_logits(release, group, files, spans[group.name]) for group in groups]
            yield release, answers
            if release == "final_model":
                yield "labels_only", [replace(of_group, release="labels_only") for of_group in answers]
    for release in MEASURED_LEVELS:
        if files := _files(work, inputs, "synthetic_set" if release == "index_list" else release):
            names = [name for name in files[0] if (name == "selected") == (release == "index_list") and files[0][name].ndim == 1]
            values = {name: np.stack([file[name].double().numpy() for file in files], axis=1) for name in names}
            yield (
                release,
                [
                    Answers(release, group, measured={name: array[spans[group.name]] for name, array in values.items()})
                    for group in groups
                ],
            )


def _logits(release: ReleaseLevel, group: Group, files: list[dict[str, Tensor]], span: slice) -> Answers:
    """Logits of all shadows (one of `files` each) on the group's canaries, the rows `span` of `canary`, and on its z samples;
    `z_logits` is None where the group has none."""
    logits = np.stack([file["canary"][span].numpy() for file in files], axis=2)
    z_logits = np.stack([file[f"z/{group.name}"].numpy() for file in files], axis=2) if len(group.z_labels) else None
    return Answers(release, group, logits, z_logits)


def _files(work: AttackTrial, inputs: Mapping[str, Artifact], role: str) -> list[dict[str, Tensor]]:
    """For each shadow, the tensors of the file `answers` of its task in this role; [] unless every shadow has one. Corrupt where
    one is damaged."""
    roles = [f"{role}/{shadow}" for shadow in range(work.shadows)]
    return [inputs[name].tensors("answers") for name in roles] if all(name in inputs for name in roles) else []


def _near_duplicates(work: AttackTrial, groups: tuple[Group, ...], spans: Mapping[str, slice]) -> Iterator[Metric]:
    """Number of canaries, by group, with a near-duplicate that may be in the private set although the canary is not."""
    twins = near_duplicates(work.population)
    note = f"root mean square difference of at most {MAX_RMS_DIFFERENCE:g} grey values to the fixed part or another canary"
    for group in groups:
        yield Metric("near_duplicates", float(twins[spans[group.name]].sum()), n=len(group), note=note, canaries=group.name)


def _twin_flags(twins: Iterable[Metric]) -> list[str]:
    return [f"{twin.value:.0f} of {twin.n} canaries {twin.canaries} have a near-duplicate" for twin in twins if twin.value]


def _device_flags(inputs: Mapping[str, Artifact]) -> list[str]:
    devices = {artifact.outcome["provenance"]["device"] for role, artifact in inputs.items() if role.startswith("model/")}
    return [f"models of this pool were trained on different devices: {', '.join(sorted(devices))}"] if len(devices) > 1 else []
