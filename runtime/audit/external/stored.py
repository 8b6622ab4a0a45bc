"""An audit from outside as a study of its own: one trial, kept in a store and published like any other.

The task's id is made from the arrays and the settings, its folder is committed by the worker's own protocol, and its run leaves a
record: so `synthc db rebuild` gives the same rows, and `sql`, charts and the report know no difference. What only training could
tell (accuracy, cost, true labels) stays empty.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compiler.errors import SynthcError
from compiler.fingerprint import canonical_text, digest_of
from compiler.work.operations import AuditFile
from runtime import machine
from runtime.audit.external.audit_file import Found, Rate, Report, Settings, audit, notes
from runtime.audit.external.evidence import Evidence
from runtime.audit.external.file_bounds import AnyBound, Refused
from runtime.audit.statistics.roc import Reading, allowed_false_positives, roc_points, tpr_at
from runtime.audit.trial.risk import of_canaries
from runtime.database.index import Index
from runtime.database.revision import check_target
from runtime.execution.worker import Order, keep
from runtime.outcome import Metric, Product
from runtime.store.artifacts import folder_of, held
from runtime.store.commit import write_json
from runtime.store.runs import run_name

SCORES = 4_000_000
"""Scores of all attacks together up to which every single one is kept; of larger files only the figures are."""
GROUP, RELEASE = "samples", "final_model"
HEADLINE_FPR = "0.01"


class _Columns:
    """What the database keeps of each attack, gathered while it is at hand."""

    def __init__(self, evidence: Evidence, settings: Settings) -> None:
        self.evidence, self.settings = evidence, settings
        self.rate = HEADLINE_FPR if HEADLINE_FPR in settings.fpr else settings.fpr[0]
        self.names: list[str] = []
        self.scores = {"member": torch.from_numpy(evidence.member.astype(np.uint8))}
        self.roc: dict[str, torch.Tensor] = {}
        self.risk: dict[str, torch.Tensor] = {}

    def hear(self, name: str, scores: np.ndarray, found: Found) -> None:
        key, there = str(len(self.names)), ~np.isnan(scores)
        sides = self.evidence.member
        reading = tpr_at(float(self.rate), scores[there], sides[there])
        self.names.append(name)
        points = roc_points(scores[there], sides[there])
        self.roc[f"{key}/{GROUP}"] = torch.from_numpy(np.concatenate([points, np.full_like(points, np.nan)], axis=1))   # no band
        self.risk[key] = torch.from_numpy(of_canaries(scores, sides, reading.threshold))
        if scores.size * len(self.names) <= SCORES:
            self.scores[f"score/{key}"] = torch.from_numpy(np.ascontiguousarray(scores))


def audit_and_store(
    evidence: Evidence, settings: Settings, *, file: Path, study: str | None, argv: list[str], store: Path, target: Path
) -> Report:
    """Audit the file, keep what comes out in `store` and publish it to `target`; SynthcError as for a run or an audit.

    `argv`: the command, to be recorded.
    """
    name = study or _name_of(file)
    if not re.fullmatch(r"[\w.-]+", name):
        raise SynthcError(f"--study {name}: wanted are letters, digits, '_', '-' and '.'")
    check_target(target)
    columns, started, clock = _Columns(evidence, settings), datetime.now(UTC), time.perf_counter()
    report = audit(evidence, settings, columns.hear)
    seconds = time.perf_counter() - clock
    work = asked(evidence, settings)
    text = canonical_text("task", type(work).__name__, work.kind, (work.revision,), work, ())
    order = Order(digest_of(text), work, (), f"{name}#0", text, 1)
    with held(store), contextlib.closing(Index.open(store)) as index:
        keep(order, _product(report, columns), started, seconds, store)
        folder = folder_of(store, order.task)
        if index.missing([order.task]):
            index.record_outcome(folder)
            index.record_attempts(folder)
        record = _record(order, name, file, started, columns, argv) | {"run": run_name(store, started, name)}
        write_json(_made(store / "runs" / record["run"]) / "run.json", record)
        index.record_run(record)
        index.publish(target)
    return report


def asked(evidence: Evidence, settings: Settings) -> AuditFile:
    """The work whose id an audit has."""
    manner, terms = settings.manner, settings.terms
    digest = blake2b(digest_size=8)
    for name in ("values", "member", "labels", "z_logits", "z_labels"):
        array = getattr(evidence, name)
        if array is not None:
            digest.update(f"{evidence.kind} {name} {array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return AuditFile(
        digest.hexdigest(), settings.attacks, settings.fpr, settings.design, manner.signal, manner.variant, manner.queries,
        terms.confidence, terms.delta, terms.guesses, terms.strategy, terms.one_run, settings.resamples, settings.interval,
        settings.redraws,
    )


def _product(report: Report, columns: _Columns) -> Product:
    evidence, settings = columns.evidence, columns.settings
    variants = {name: _variant(name, settings, evidence) for name in columns.names}
    metrics: list[Metric] = []
    for name, found in report.attacks.items():
        where = {"canaries": GROUP, "attack": name, "variant": variants[name], "release": RELEASE}
        metrics += _metrics(found, evidence.member.size, where)
    first = _headline(columns)
    named = f"tpr@fpr={float(columns.rate):g}"
    leakage = next(metric for metric in metrics if metric.attack == first and metric.name == named)
    metrics.insert(0, Metric(**{**asdict(leakage), "name": "headline"}))
    labels = np.full(evidence.samples, -1) if evidence.labels is None else evidence.labels
    nobody = torch.full((evidence.samples,), -1)
    canaries = {
        "labels": torch.from_numpy(np.ascontiguousarray(labels)), "true_labels": nobody, "samples": torch.arange(evidence.samples),
        "group": torch.zeros(evidence.samples, dtype=torch.int64),
        "memorization": torch.full((evidence.samples,), float("nan"), dtype=torch.float64),
    }
    told = {
        "columns": [{"release": RELEASE, "attack": name, "variant": variants[name]} for name in columns.names],
        "groups": [{"name": GROUP, "kind": evidence.kind, "count": evidence.samples}],
        "headline_column": columns.names.index(first),
        "null_ok": all(found.null_passed for found in report.attacks.values()),
        "flags": list(notes(report)),
        "readings": [_reading(report.attacks[name].tpr[text], name, variants[name], text, evidence) for name in columns.names
                     for text in settings.fpr],
        "interval": f"bootstrap over {report.drawn}, {report.resamples} resamples",
        "report": report.as_json(),
    }   # fmt: skip
    return Product({"scores": columns.scores, "roc": columns.roc, "risk": columns.risk, "canaries": canaries}, tuple(metrics), told)


def _metrics(found: Found, scores: int, where: dict[str, Any]) -> list[Metric]:
    rates = [
        Metric(f"tpr@fpr={float(text):g}", rate.value, rate.low, rate.high, rate.n0, _note(text, rate), **where)
        for text, rate in found.tpr.items()
    ]
    bounds = [
        Metric(f"epsilon_lower_{'f_dp' if name == 'fdp' else name}", bound.value, note=_terms(bound), **where)
        for name, bound in found.epsilon_lower.items()
    ]
    area = Metric("auc", found.auc.value, found.auc.low, found.auc.high, scores - found.left_out, **where)
    null = Metric("null_auc", found.null_auc.value, found.null_auc.low, found.null_auc.high, **where)
    return [*rates, area, *bounds, null]


def _note(text: str, rate: Rate) -> str:
    """What a study's reading would say of itself."""
    return Reading(float(text), rate.value, 0, rate.n0, allowed_false_positives(float(text), rate.n0), 0, None).note


def _terms(bound: AnyBound) -> str:
    if isinstance(bound, Refused):
        return bound.reason
    return f"ruled out at confidence {bound.confidence:g}, delta {bound.delta:g}"


def _reading(rate: Rate, name: str, variant: str, text: str, evidence: Evidence) -> dict[str, Any]:
    return {
        "release": RELEASE, "attack": name, "variant": variant, "canaries": GROUP, "fpr": float(text), "tpr": rate.value,
        "members": None, "non_members": rate.n0, "allowed": allowed_false_positives(float(text), rate.n0),
        "false_positives": rate.false_positives,
        "false_positive_canaries": None, "false_positive_shadows": None, "threshold": rate.threshold, "rule": "count",
    }   # fmt: skip


def _record(order: Order, name: str, file: Path, started: datetime, columns: _Columns, argv: list[str]) -> dict[str, Any]:
    """What `run.json` says: the study is the file, its one trial is what was found in it."""
    settings, first = columns.settings, _headline(columns)
    trial = {
        "trial": f"{name}#0", "arm": name, "paradigm": "imported", "method": columns.evidence.kind, "label": name, "axes": {},
        "replicate": 0, "answer": order.task, "data": file.name, "stages": [],
    }
    headline = {
        "attack": first, "variant": _variant(first, settings, columns.evidence), "canaries": GROUP, "release": RELEASE,
        "fpr": float(columns.rate),
    }
    now = datetime.now(UTC).isoformat(timespec="seconds")
    settled = json.dumps(asdict(asked(columns.evidence, settings)), indent=1)
    return {
        "study": name, "profile": None,
        "question": "What do these models, trained elsewhere, leak?", "spec": str(file),
        "spec_text": f"# synthc audit {file}\n{settled}", "argv": argv,
        "started": started.isoformat(timespec="seconds"), "ended": now, "status": "done", "headline": headline, "blocked": {},
        "trials": [trial], "claims": [], "lints": [], "versions": machine.versions(), "commit": machine.commit(),
        "tasks": [{"id": order.task, "kind": "attack", "operation": "AuditFile", "address": f"{name}#0", "needs": []}],
        "source_digest": machine.source_digest(),
    }   # fmt: skip


def _headline(columns: _Columns) -> str:
    """LiRA where it was done, else the first attack."""
    return "lira" if "lira" in columns.names else columns.names[0]


def _variant(name: str, settings: Settings, evidence: Evidence) -> str:
    """As `variant_name` says it of a study's attack."""
    manner = settings.manner
    parts = [] if evidence.kind != "logits" or name in ("rmia", "label_only") else [manner.signal]
    parts += [manner.variant] if name in ("lira", "lira_offline") else []
    return "/".join([*parts, *([f"{manner.queries or evidence.views}q"] if evidence.kind == "logits" else [])])


def _name_of(file: Path) -> str:
    return re.sub(r"[^\w.-]+", "_", file.stem) or "audit"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
