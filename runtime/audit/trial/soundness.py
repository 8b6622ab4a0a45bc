"""DP soundness: the audit's lower bound on epsilon must not exceed the accountant's guarantee.

A violation means a broken implementation (clipping per batch, missing noise, a wrong sampling rate, BatchNorm) or a broken audit;
so it is reported for each trial. The comparison is at the accountant's delta and neighbour relation, by the bound that holds for
every mechanism (Steinke et al. 2023), on the declared headline alone, so that no correction for several tests is needed.
"""

from __future__ import annotations

from collections.abc import Mapping

from compiler.work.operations import AttackTrial
from runtime.audit.statistics import epsilon
from runtime.audit.trial.bounds import one_run_bound
from runtime.audit.trial.metrics import AttackMetrics
from runtime.outcome import Metric
from runtime.store.artifacts import Artifact


def guarantee(work: AttackTrial, inputs: Mapping[str, Artifact]) -> tuple[float, float] | None:
    """(epsilon, delta) of the accountant for the pipeline of the target's model, with the audit's delta where none is stated; None
    where no task of the pipeline states an epsilon (it is not stated above 1e6). Corrupt where a record of one is damaged."""
    for artifact in inputs[f"model/{work.target}"].ancestry():
        claimed = artifact.metric("epsilon")
        if claimed is not None:
            delta = artifact.metric("delta")
            return claimed, work.delta if delta is None else delta
    return None


def check_soundness(measured: AttackMetrics, claimed: tuple[float, float]) -> tuple[Metric, str]:
    """The metric `dp_soundness`, whose value is Steinke's one-run bound at the accountant's delta; and a flag where it exceeds the
    guarantee, else "". `claimed`: the guarantee, (epsilon, delta). No value, with the reason as its note, where no one-run bound
    may be stated."""
    terms, (limit, delta) = measured.terms, claimed
    there = measured.scored[:, terms.target]
    scores, member = measured.scores[there, terms.target], measured.member[there, terms.target]
    if reason := measured.conditions.one_run(member):
        return measured.metric("dp_soundness", None, None, len(scores), reason), ""
    bound = one_run_bound("steinke", terms, scores, member, delta)
    assert bound.value is not None
    guesses = int(bound.how["k_plus"] + bound.how["k_minus"])
    ceiling = epsilon.steinke(guesses, guesses, bound.n, delta, terms.error) if guesses else 0.0
    against = f"the accountant's {limit:.4g} at delta {delta:g}"
    if bound.value > limit:
        verdict = f"failed: {bound.value:.2f} is ruled out, above {against}; the training or the audit is broken"
        return measured.metric("dp_soundness", bound.value, None, len(scores), verdict), f"DP soundness {verdict}"
    verdict = f"holds against {against}" + (f", but could not fail: {ceiling:.2f} is the most" if ceiling <= limit else "")
    return measured.metric("dp_soundness", bound.value, None, len(scores), f"{verdict}; {bound.note}; Steinke et al."), ""
