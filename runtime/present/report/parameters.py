"""The report's sections on how figures were made: parameters of audit and arms, provenance, commands to reproduce them."""

from __future__ import annotations

import shlex
from typing import Any

from pydantic import BaseModel

from compiler.errors import plural
from compiler.inspect.field_docs import meanings
from runtime.database.quoting import literal
from runtime.present.report.read import ReportArm, StudyResults
from runtime.present.report.sections import format_minute

AUDIT_FIELDS = ("design", "shadows", "queries", "attacks", "fpr", "resamples", "null_permutations", "confidence", "delta")


def list_audit_parameters(audit: Any) -> dict[str, str]:
    """Name → printed value of the audit's parameters (AUDIT_FIELDS) and, as `canaries NAME`, its groups of canaries. `audit`: the
    parameters of an attack's task; what it lacks is left out, and for None the result is {}."""
    fields = {name: getattr(audit, name) for name in AUDIT_FIELDS if hasattr(audit, name)}
    attacks = ", ".join(f"{attack.attack} {attack.variant_name}" for attack in fields.pop("attacks", ()))
    groups = getattr(getattr(audit, "population", None), "groups", ())
    return {
        **{name: _print(value) for name, value in fields.items()},
        **({"attacks": attacks} if attacks else {}),
        **{f"canaries {name}": _print(group) for name, group in groups},
    }


def describe_arm(arm: ReportArm) -> str:
    """An arm's name, its methods (but those named like the arm or its paradigm) and its number of trials."""
    methods = dict.fromkeys(str(row["method"]) for row in arm.trials if row["method"] not in (arm.name, arm.paradigm))
    return ", ".join(filter(None, [arm.name, *methods, plural(len(arm.trials), "trial")]))


def quote_docstring(arm: ReportArm) -> str:
    """The class docstring of an arm's method, in one line, as of the first of its trials whose method is in the store; "" without
    one."""
    return " ".join(next((type(models["method"]).__doc__ or "" for models in arm.models if "method" in models), "").split())


def list_parameters(arm: ReportArm) -> list[tuple[str, list[str], str]]:
    """Rows (name, distinct printed values over the trials, meaning) of an arm's parameters, defaults included, as far as
    `ReportArm.models` has them. The name is `ROLE: DOTTED.NAME` with the role method, generator, privacy or classifier; a meaning
    that is not documented, or not in the class that the first trial has in this role, is ""."""
    rows = []
    for role in ("method", "generator", "privacy", "recipe"):
        models = [trial[role] for trial in arm.models if isinstance(trial.get(role), BaseModel)]
        flat = [_flatten(model) for model in models]
        docs = _meanings_by_path(type(models[0])) if models else {}
        for name in dict.fromkeys(name for values in flat for name in values):
            printed = list(dict.fromkeys(_print(values[name]) for values in flat if name in values))
            rows.append((f"{'classifier' if role == 'recipe' else role}: {name}", printed, docs.get(name, "")))
    return rows


def _flatten(model: Any, path: str = "") -> dict[str, Any]:
    """Dotted name → value of a model's fields, those of nested models too; a value that is no model stands under `path`."""
    if not isinstance(model, BaseModel):
        return {path: model}
    flat: dict[str, Any] = {}
    for name in type(model).model_fields:
        flat |= _flatten(getattr(model, name), f"{path}.{name}" if path else name)
    return flat


def _meanings_by_path(model: type[BaseModel], path: str = "") -> dict[str, str]:
    """Dotted name → docstring of a model's fields, and of those of a nested model where the annotation is its class (no union); ""
    without a docstring."""
    docs: dict[str, str] = {}
    for name, field in model.model_fields.items():
        at = f"{path}.{name}" if path else name
        docs[at] = meanings(model).get(name, "")
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            docs |= _meanings_by_path(field.annotation, at)
    return docs


def _print(value: Any) -> str:
    if isinstance(value, BaseModel):
        return ", ".join(f"{name} {_print(item)}" for name, item in _flatten(value).items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_print, value))
    return "none" if value is None else str(value)


def list_provenance(results: StudyResults) -> dict[str, str]:
    """Name → text on where the figures are from: run, start, durations, status, commit, digest of the source, devices, libraries.

    "unknown" stands for a commit, a digest, devices or seconds of tasks that were not recorded, "not ended" for the duration of a
    run without an end (or start), "" for libraries that were not recorded.
    """
    run = results.run
    tasks, seconds = run.get("computed") or (0, None)
    took = f"{(run['ended'] - run['started']).total_seconds():,.0f} seconds" if run["ended"] and run["started"] else "not ended"
    work = f"{seconds or 0:,.0f} seconds of one worker"
    return {
        "run": run["run"],
        "started": f"{format_minute(run['started'])} UTC",
        "this run took": took,
        "computed in all": f"{plural(tasks, 'task')}, {work}, whichever run they are from" if seconds else "unknown",
        "status": run["status"],
        "commit": run["commit"] or "unknown",
        "source digest": run["source_digest"] or "unknown",
        "devices": ", ".join(sorted({row["device"] for row in results.cost if row["device"]})) or "unknown",
        "libraries": ", ".join(f"{name} {version}" for name, version in (run["versions"] or {}).items()),
    }


def list_commands(results: StudyResults, database_name: str) -> list[str]:
    """Three shell commands: the one that made the results, one that makes this report, one that queries the comparison. A run that
    was not started by `synthc run`, `synthc audit` or `synthc judge` is given as `synthc run SPEC`."""
    run, profile = results.run, ["--profile", results.run["profile"]] if results.run["profile"] else []
    argv = list(map(str, run["argv"] or []))
    if argv[:1] not in (["run"], ["audit"], ["judge"]):  # started from Python: argv is that of the user's program
        argv = ["run", run["spec"], *profile]
    report = ["report", "-o", "report.html", "--db", database_name, "--study", run["study"], *profile]
    where = f'synthc sql "FROM comparison WHERE study = {literal(run["study"])}" --db {shlex.quote(database_name)}'
    return [shlex.join(["synthc", *argv]), shlex.join(["synthc", *report]), where]
