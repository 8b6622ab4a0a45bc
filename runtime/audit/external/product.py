"""Turns an audit of a user's file into a task with an artifact like that of a trial.

The task's id is made from the arrays and the settings, so `synthc db rebuild` gives the same rows, and `sql`, charts and the report
treat both alike. Accuracy, cost and true labels stay empty. Not here: where the artifact is stored (`cli.store_audit`).
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np

from compiler.work.operations import AuditFile, AuditSettings
from runtime.audit.external.audit_file import Report, audit, headline_fpr, notes, scope_of
from runtime.audit.external.evidence import GROUP, Evidence, answers_of, design_of
from runtime.audit.trial.measure import AttackResult, Kept, describe_canaries, describe_groups
from runtime.outcome import Metric, Product

MAX_SCORES_KEPT = 4_000_000
"""Largest number of scores that an artifact holds, of all attacks together. Of the attacks that would exceed it, the figures are
kept without the scores."""


def work_of(evidence: Evidence, settings: AuditSettings) -> AuditFile:
    """The task of an audit; its parameters, and so its id, are made from a digest of the arrays and from the settings."""
    digest = blake2b(digest_size=8)
    for name in ("values", "member", "labels", "z_logits", "z_labels"):
        array = getattr(evidence, name)
        if array is not None:
            digest.update(f"{evidence.kind} {name} {array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return AuditFile(digest=digest.hexdigest(), **vars(settings))


def audit_with_product(evidence: Evidence, settings: AuditSettings) -> tuple[Report, Product]:
    """The audit's report and its artifact: files `scores`, `roc`, `risk` and `canaries`, metrics, and notes, among them the report
    as JSON. The headline attack is LiRA where the report has it, else the report's first attack; raw scores are kept of the first
    attacks alone, at most MAX_SCORES_KEPT in all. Errors as of `audit`."""
    scope, answers = scope_of(evidence, settings, design_of(evidence, settings.membership)), answers_of(evidence)
    kept = Kept.of(scope, MAX_SCORES_KEPT)
    leakage: list[Metric] = []

    def record(result: AttackResult) -> None:
        if not leakage or result.attack.attack == "lira":
            leakage[:] = result.groups[0].measured.headline()
        kept.add(result)

    report = audit(evidence, settings, record)
    headline = next((index for index, column in enumerate(kept.columns) if column["attack"] == "lira"), 0)
    beside = {
        "columns": kept.columns, "groups": describe_groups([answers.group]), "headline_column": headline,
        "null_ok": report.trusted, "flags": list(notes(report)),
        "readings": kept.readings, "interval": f"bootstrap over {report.drawn}, {report.resamples} resamples",
        "report": report.as_json(),
    }  # fmt: skip
    files = {"scores": kept.scores, "roc": kept.roc, "risk": kept.risk}
    files["canaries"] = describe_canaries([answers.group], [answers], scope)
    return report, Product(files, (*leakage, *kept.metrics), beside)


def headline_of(product: Product, settings: AuditSettings) -> dict[str, Any]:
    """The headline's `release`, `attack`, `variant`, `canaries` and `fpr`; `variant` is that of the column, such as
    `logit/pooled/1q`."""
    column = product.notes["columns"][product.notes["headline_column"]]
    return {**column, "canaries": GROUP, "fpr": headline_fpr(settings)}
