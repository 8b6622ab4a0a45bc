"""Sections of the report that say how its figures came about: parameters, provenance, reproduction.

Not here: the figures (`parts`).
"""

from __future__ import annotations

import shlex
from html import escape
from typing import Any

from pydantic import BaseModel

from compiler.language.field_docs import meanings
from runtime.database.quoting import literal
from runtime.present.report.html import count_of, measured, moment, swatch, table
from runtime.present.report.read import Arm, Results

AUDIT = ("design", "shadows", "queries", "attacks", "fpr", "resamples", "null_permutations", "confidence", "delta")


def methods(results: Results) -> str:
    """The audit's words, then each arm's: every parameter as the compiler resolved it, defaults included."""
    if not any(words for arm in results.arms for words in arm.words):
        return "<p>The store is not at hand: resolved parameters are left out. The spec below has what was asked.</p>"
    audit = ""
    if results.audit is not None:
        told = {name: getattr(results.audit, name) for name in AUDIT if hasattr(results.audit, name)}
        attacks = ", ".join(f"{attack.attack} {attack.variant_name}" for attack in told.pop("attacks", ()))
        told |= {"attacks": attacks} if attacks else {}
        population = getattr(results.audit, "population", None)
        for name, group in getattr(population, "groups", ()):
            told[f"canaries {name}"] = ", ".join(f"{key} {value}" for key, value in _flat(group).items())
        rows = [[f'<th scope="row">{escape(name)}</th>', f"<td>{escape(_shown(value))}</td>"] for name, value in told.items()]
        audit = "<h3>The audit</h3>" + table("The same for every trial.", ("parameter", "value"), rows)
    return audit + "<h3>The arms</h3>" + "".join(_arm(arm) for arm in results.arms)


def _arm(arm: Arm) -> str:
    about = next((type(words["method"]).__doc__ for words in arm.words if "method" in words), None) or ""
    rows = []
    for part in ("method", "generator", "privacy", "recipe"):
        flat = [_flat(words[part]) if isinstance(words.get(part), BaseModel) else {} for words in arm.words]
        meanings = next((_meanings(type(words[part])) for words in arm.words if isinstance(words.get(part), BaseModel)), {})
        for name in dict.fromkeys(key for found in flat for key in found):
            values = list(dict.fromkeys(_shown(found[name]) for found in flat if name in found))
            value = escape(values[0]) if len(values) == 1 else f"<strong>{escape(' | '.join(values))}</strong>"
            title = f"{'classifier' if part == 'recipe' else part}: {name}"
            rows.append(
                [f'<th scope="row">{escape(title)}</th>', f"<td>{value}</td>", f"<td>{escape(meanings.get(name, ''))}</td>"]
            )
    count = f"{len(arm.trials)} trial{'s' if len(arm.trials) != 1 else ''}"
    how = ", ".join(dict.fromkeys(str(row["method"]) for row in arm.trials if row["method"] not in (arm.name, arm.paradigm)))
    head = swatch(arm.paradigm, ", ".join(filter(None, [escape(arm.name), escape(how), count])))
    inner = (
        table(f"Parameters of {arm.name}; values that a grid turns are bold.", ("parameter", "value", "meaning"), rows)
        if rows
        else "<p>Not in the store.</p>"
    )
    return f"<details><summary>{head}</summary><p>{escape(' '.join(about.split()))}</p>{inner}</details>"


def _flat(model: Any, before: str = "") -> dict[str, Any]:
    """Fields of a model by dotted names."""
    if not isinstance(model, BaseModel):
        return {before: model}
    flat: dict[str, Any] = {}
    for name in type(model).model_fields:
        flat |= _flat(getattr(model, name), f"{before}.{name}" if before else name)
    return flat


def _meanings(model: type[BaseModel], before: str = "") -> dict[str, str]:
    """What the language says of each field."""
    found: dict[str, str] = {}
    said = meanings(model)
    for name, field in model.model_fields.items():
        at = f"{before}.{name}" if before else name
        found[at] = said.get(name, "")
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= _meanings(field.annotation, at)
    return found


def _shown(value: Any) -> str:
    if isinstance(value, BaseModel):
        return ", ".join(f"{name} {_shown(item)}" for name, item in _flat(value).items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return "none" if value is None else str(value)


def provenance(results: Results) -> str:
    """Which run, from which code and libraries, how long, where."""
    run = results.run
    took = f"{(run['ended'] - run['started']).total_seconds():,.0f} seconds" if run["ended"] and run["started"] else "not ended"
    tasks, seconds = run.get("computed") or (0, None)
    computed = f"{tasks:,} tasks, {seconds:,.0f} seconds of one worker, whichever run they are from" if seconds else "unknown"
    facts = {
        "run": run["run"],
        "started": f"{moment(run['started'])} UTC",
        "this run took": took,
        "computed in all": computed,
        "status": run["status"],
        "commit": run["commit"] or "unknown",
        "source digest": run["source_digest"] or "unknown",
        "devices": ", ".join(sorted({row["device"] for row in results.cost if row["device"]})) or "unknown",
        "libraries": ", ".join(f"{name} {version}" for name, version in (run["versions"] or {}).items()),
    }
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items())
    stages = [
        [
            f'<th scope="row">{escape(row["trial"])}</th>',
            f"<td>{escape(row['stage'])}</td>",
            measured(
                {**row, "value": row["seconds"], "low": row["seconds_low"], "high": row["seconds_high"]}, "", row["tasks"], digits=2
            ),
            f"<td>{count_of(row['peak_memory_mb'])}</td>",
            f"<td>{escape(str(row['device'] or ''))}</td>",
        ]
        for row in results.cost
    ]
    about = "Seconds of a task: mean; brackets: least and most; n: tasks. Peak memory in MB, of the whole worker."
    costs = table(about, ("trial", "stage", "seconds", "peak memory", "device"), stages) if stages else ""
    return (
        f'<dl class="pairs">{listed}</dl><details><summary>Time by stage</summary>{costs or "<p>None recorded.</p>"}</details>'
        f'<details><summary>The spec, as it was run</summary><pre tabindex="0">{escape(run["spec_text"] or "")}</pre></details>'
    )


def reproduce(results: Results, database_name: str) -> str:
    """Commands that give these figures again."""
    run = results.run
    commit = run["commit"] or "unknown"
    dirty = (
        " The tree had changes beside this commit: the source digest tells whether yours is the same."
        if commit.endswith("+")
        else ""
    )
    asked = f"synthc report -o report.html --db {shlex.quote(database_name)} --study {shlex.quote(run['study'])}"
    asked += f" --profile {shlex.quote(run['profile'])}" if run["profile"] else ""
    argv = list(map(str, run["argv"] or []))
    if argv[:1] not in (["run"], ["audit"]):  # started from Python, whose own arguments are recorded
        argv = ["run", run["spec"], *(["--profile", run["profile"]] if run["profile"] else [])]
    lines = [shlex.join(["synthc", *argv]), asked]
    lines.append(f'synthc sql "FROM comparison WHERE study = {literal(run["study"])}" --db {shlex.quote(database_name)}')
    return (
        f"<p>At commit <code>{escape(commit)}</code>, with the libraries above.{escape(dirty)} Seeds are in the spec; ids of tasks "
        "are hashes of what is computed, so a second run in the same store computes nothing.</p>"
        f'<pre tabindex="0">{escape(chr(10).join(lines))}</pre>'
    )
