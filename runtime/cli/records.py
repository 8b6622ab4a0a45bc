"""`synthc status`, `runs`, `show`, `logs`, `export`: print records of what was computed, and export results for other tools."""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.errors import SynthcError, and_more, did_you_mean
from runtime.cli import membership
from runtime.cli.results_options import add_command, open_results, scope_of, store_of, whole_number

if TYPE_CHECKING:
    from runtime.database.read import Query
    from runtime.store.artifacts import Artifact


def register(commands: Any) -> None:
    """Add the commands `status`, `runs`, `show`, `logs` and `export`."""
    add_command(
        commands,
        "status",
        _status,
        scope=True,
        help="how far the studies are",
        description="For each study: its latest run, tasks by kind and status, and what failed.",
        epilog="example:\n  synthc status",
    )
    add_command(
        commands,
        "runs",
        _runs,
        help="all runs, newest first",
        description="All runs, newest first.",
        epilog="example:\n  synthc runs",
    )
    show = add_command(
        commands,
        "show",
        _show,
        scope=True,
        help="everything about one trial or task",
        description="Everything about a trial (by its address or label) or a task (by its id, or the beginning of it).",
        epilog="examples:\n  synthc show undefended#0\n  synthc show 'coreset[method=random,fraction=0.3]#0'\n  synthc show 4f0c",
    )
    show.add_argument("what", metavar="TRIAL|TASK")
    logs = add_command(
        commands,
        "logs",
        _logs,
        help="what a task printed",
        description="What the attempts at a task printed; a failed one's traceback is here.",
        epilog="examples:\n  synthc logs 4f0c\n  synthc logs 4f0c --attempt 1",
    )
    logs.add_argument("task", metavar="TASK", help="its id, or the beginning of it")
    logs.add_argument("--attempt", type=whole_number(), metavar="N", help="this attempt (default: the last)")
    export = add_command(
        commands,
        "export",
        _export,
        help="take results elsewhere",
        description="Write raw scores, views, or the whole database to files that other tools read.\n"
        "Or, before anything was run, who trains on what in a study, so that a pipeline that\n"
        "synthc does not run can be audited (paradigm imported).",
        epilog="examples:\n"
        "  synthc export --scores scores.parquet          every score of every canary, to recompute every figure\n"
        "  synthc export --view comparison comparison.csv\n"
        "  synthc export --compat results-1.2.duckdb      for DuckDB 1.2 and later\n" + membership.EXAMPLES,
    )
    export.add_argument("--scores", type=Path, metavar="FILE", help="all raw attack scores with membership (.parquet or .csv)")
    export.add_argument("--view", nargs=2, metavar=("VIEW", "FILE"), help="a view (.parquet, .csv or .json)")
    export.add_argument("--compat", type=Path, metavar="FILE", help="the whole database, for DuckDB clients before 2.0")
    membership.add_options(export)


def _print_query(query: Query, text: str, empty: str) -> int:
    """Print a query's rows as a table, or `empty` where there are none; returns the number of rows. `text`: its SQL."""
    from runtime.present.tables import render

    columns, rows = query(text)
    print(render(columns, rows, "table", null="–") if rows else empty)
    return len(rows)


def _status(args: argparse.Namespace) -> int:
    with open_results(args) as query:
        if not _print_query(
            query,
            f"SELECT DISTINCT ON (origin, study, profile) origin, study, profile, {_status_of_run(args)} AS status, {WHEN} "
            "FROM run ORDER BY origin, study, profile, run DESC",
            "no study was run yet; `synthc run SPEC` runs one",
        ):
            return 0
        print()
        _print_query(query, TASKS, "no tasks")
        failed = bool(query(FAILED)[1])
        if failed:
            print("\nfailed (`synthc logs TASK` shows why, `synthc run SPEC --retry-failed` tries again):")
            _print_query(query, FAILED, "")
    return 1 if failed else 0


WHEN = "strftime(started, '%Y-%m-%d %H:%M') AS started, round(epoch(ended - started)) AS seconds"
TASKS = """\
SELECT origin, study, profile, asked.kind, count(*) FILTER (status = 'done') AS done, count(*) FILTER (status = 'failed') AS failed,
  count(*) FILTER (status = 'blocked') AS blocked, count(*) FILTER (status = 'missing') AS missing, sum(seconds) AS seconds
FROM base.latest SEMI JOIN run USING (origin, run) JOIN base.task AS asked USING (origin, run) JOIN task USING (origin, task)
GROUP BY ALL
ORDER BY origin, study, profile, list_position(['train', 'synthesize', 'query', 'attack', 'compare'], any_value(asked.kind))"""
"""Counts of tasks by study, kind and status; a task that several studies need is counted in each."""
FAILED = """
SELECT arg_min(task, address) AS task, min(address) AS address, count(DISTINCT task) AS tasks, max(attempts) AS attempts, error
FROM task SEMI JOIN (FROM base.task SEMI JOIN run USING (origin, run)) USING (origin, task)
WHERE status = 'failed' GROUP BY error ORDER BY tasks DESC, address
"""
"""Each error once, with the first task that failed by it and the number of such tasks."""


def _runs(args: argparse.Namespace) -> int:
    from runtime.database.read import open_read_only

    columns = f"run, origin, profile, {_status_of_run(args)} AS status, {WHEN}, spec"
    with open_read_only(args.db) as query:
        _print_query(query, f"SELECT {columns} FROM run ORDER BY run DESC", "no study was run yet")
    return 0


def _status_of_run(args: argparse.Namespace) -> str:
    """SQL expression for the status of a row of the view `run`: its column `status`, but `killed` for a run of this store that is
    recorded as running while the store's lock names no process, or one of this machine that has ended."""
    from runtime.database.quoting import literal
    from runtime.store.artifacts import may_be_running, read_origin

    store = store_of(args)
    origin = read_origin(store)
    if origin is None or may_be_running(store):
        return "status"
    return f"CASE WHEN status = 'running' AND origin = {literal(origin)} THEN 'killed' ELSE status END"


def _show(args: argparse.Namespace) -> int:
    from runtime.database.quoting import literal

    name = literal(args.what)
    with open_results(args) as query:
        trials = query(f"SELECT origin, study, profile, trial FROM comparison WHERE trial = {name} OR label = {name}")[1]
        for key in trials:
            _show_trial(query, *key)
        if not trials:
            _show_task(query, args, _find_task(query, args.what))
    return 0


def _show_trial(query: Query, origin: str, study: str, profile: str, trial: str) -> None:
    from runtime.database.quoting import literal
    from runtime.database.read import name_study

    print(f"{name_study(study, profile)}: {trial}\n")
    values = {"origin": origin, "study": study, "profile": profile, "trial": trial}
    at = " AND ".join(f"{column} = {literal(value)}" for column, value in values.items())
    columns, (row,) = query(f"FROM comparison WHERE {at}")
    for name, value in _summarize_trial(dict(zip(columns, row, strict=True))).items():
        _print_field(name, value)
    print()
    order = "ORDER BY attack, canaries, release, variant, metric"
    metrics = "metric, canaries, attack, variant, release, value, low, high, n, note"
    _print_query(query, f"SELECT {metrics} FROM result WHERE {at} {order}", "no figures yet: its attack has not run")
    costs = "stage, tasks, seconds, seconds_low, seconds_high, peak_memory_mb, device"
    _print_query(query, f"SELECT {costs} FROM cost WHERE {at} ORDER BY stage", "no stage was computed yet")


def _show_task(query: Query, args: argparse.Namespace, task: str) -> None:
    from runtime.database.quoting import literal
    from runtime.store.artifacts import Artifact, folder_of

    own = literal(scope_of(args).own)
    columns, (row, *_) = query(f"FROM task WHERE task = '{task}' ORDER BY origin IS DISTINCT FROM {own}")
    facts = dict(zip(columns, row, strict=True))
    needs = json.loads(facts.pop("needs") or "[]")
    artifact = Artifact(folder_of(store_of(args), task))
    if (artifact.folder / "outcome.json").exists():
        facts["files"] = ", ".join(artifact.stems) or "none"
        facts["folder"] = artifact.folder
    for name, value in facts.items():
        if value not in (None, ""):
            _print_field(name, f"{value:.4g}" if isinstance(value, float) else str(value))
    for name, ids in _group_needs(needs).items():
        _print_field("needs", f"{name}: {' '.join(ids)}")
    for name, value in _read_params(artifact).items():
        _print_field("asked", f"{name}: {value}")
    print()
    attempts = "attempt, status, started, seconds, host, device, error"
    of_it = f"task = '{task}' AND origin = {literal(facts['origin'])}"
    _print_query(query, f"SELECT {attempts} FROM attempt WHERE {of_it} ORDER BY 1", "no attempt yet")


def _summarize_trial(row: dict[str, Any]) -> dict[str, str]:
    """Name → text: method and figures of a trial (`row` of the view `comparison`), names without a text left out. Figures but the
    epsilon have intervals and, but for the AUC, n; one without a value is "not measured", or the leakage of an attack "not
    resolvable"."""
    from runtime.present.numbers import format_epsilon, format_interval

    def figure(name: str, counted: str) -> str:
        if row[name] is None:
            return "not resolvable" if name == "leakage" and row["attack"] else "not measured"
        return format_interval(row[name], row[f"{name}_low"], row[f"{name}_high"], ".4g") + counted

    rate = "" if row["fpr"] is None else f"TPR at FPR {row['fpr']:g}"
    by = f" by {row['attack']} {row['variant']} on {row['canaries']} canaries, {row['release']}" if row["attack"] else ""
    of_shadows, of_scores = (f", n = {row[name]}" if row[name] else "" for name in ("shadows", "leakage_n"))
    fields = {
        "paradigm": ", ".join(dict.fromkeys((row["paradigm"], row["method"]))) + f", on {row['data']}",
        "test accuracy": figure("test_accuracy", of_shadows),
        "leakage": "; ".join(filter(None, (figure("leakage", of_scores), rate + by, row["leakage_note"]))),
        "AUC": figure("auc", ""),
        "epsilon": "" if row["epsilon"] is None else f"{format_epsilon(row['epsilon'])}, the accountant's",
        "seconds": figure("seconds", of_shadows),
        "null control": {True: "passed", False: "failed: figures invalid", None: "not run"}[row["null_ok"]],
        "flags": row["flags"] or "",
    }
    return {name: value for name, value in fields.items() if value}


def _print_field(name: str, value: str) -> None:
    width = max(shutil.get_terminal_size((160, 0)).columns, 40)
    head, indent = f"{name:15} ", " " * 16
    print(
        textwrap.fill(value, width, initial_indent=head, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    )


def _group_needs(needs: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Role without shadow → ids of the tasks that a task needs, in the order of shadows. `needs`: pairs (role, id), with roles such
    as `ROLE/SHADOW`."""
    grouped: dict[str, list[str]] = {}
    for name, id in sorted(needs, key=lambda need: [int(part) if part.isdigit() else 0 for part in need[0].split("/")]):
        grouped.setdefault(name.split("/")[0], []).append(id)
    return grouped


def _read_params(artifact: Artifact) -> dict[str, str]:
    """Dotted name → parameter in the text whose hash is the task's id, as text or JSON, without names of classes. A list is one
    parameter, but one that holds mappings is taken apart (`[0]` for a place in it). Empty where the store has no folder of the
    task. Corrupt where its `task.json` is gone or damaged."""
    from compiler.fingerprint import parse_canonical

    return dict(_flatten(parse_canonical(artifact.text).params)) if artifact.folder.exists() else {}


def _flatten(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, item in value.items():
            if name:  # the key "" holds the name of the mapping's class
                yield from _flatten(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for place, item in enumerate(value):
            yield from _flatten(item, f"{path}[{place}]")
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _logs(args: argparse.Namespace) -> int:
    from runtime.database.read import open_read_only
    from runtime.store.artifacts import folder_of

    with open_read_only(args.db) as query:
        task = _find_task(query, args.task)
    folder = folder_of(store_of(args), task) / "attempts"
    attempts = sorted((int(path.name) for path in folder.glob("*") if path.name.isdigit()), reverse=True)
    if not attempts:
        raise SynthcError(f"{task}: no attempt was made yet")
    if args.attempt is not None and args.attempt not in attempts:
        raise SynthcError(f"{task}: there is no attempt {args.attempt}; there are {', '.join(map(str, sorted(attempts)))}")
    log = folder / str(args.attempt or attempts[0]) / "log.txt"
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    print(text.rstrip() or f"{log}: the task printed nothing")
    return 0


def _find_task(query: Query, beginning: str) -> str:
    """The id of the only task whose id begins with `beginning`. SynthcError with candidates where there are several, or none, also
    where `beginning` is the address of a trial."""
    from runtime.database.quoting import literal

    begins = f"starts_with(task, {literal(beginning)})"
    tasks = query(f"SELECT DISTINCT ON (task) task, address FROM task WHERE {begins} ORDER BY task, address LIMIT 6")[1]
    if len(tasks) == 1:
        return str(tasks[0][0])
    if tasks:
        raise SynthcError(f"{beginning!r} begins several tasks: {', '.join(f'{task} ({address})' for task, address in tasks)}, …")
    of_trial = f"address = {literal(beginning)} OR starts_with(address, {literal(beginning + '/')})"
    if tasks := query(f"SELECT DISTINCT ON (address) address, task FROM task WHERE {of_trial} ORDER BY address")[1]:
        listed = and_more([f"{task} ({address})" for address, task in tasks], 6)
        raise SynthcError(f"{beginning!r} is a trial; name one of its tasks by the beginning of its id: {listed}")
    trials = [row[0] for row in query("SELECT DISTINCT trial FROM comparison")[1]]
    raise SynthcError(f"no trial or task is called {beginning!r}; {did_you_mean(beginning, trials)}")


def _export(args: argparse.Namespace) -> int:
    from runtime.database.files import export, export_compatible
    from runtime.database.gather import SCORES
    from runtime.database.read import query

    if not args.scores and not args.view and not args.compat and not args.membership:
        raise SynthcError("say what to export: --scores FILE, --view VIEW FILE, --compat FILE, or --membership DIR")
    if args.membership:
        membership.export(args)
    if args.scores:
        export(args.db, SCORES, args.scores)
        print(args.scores)
    if args.view:
        view, target = args.view
        names = [
            name for (name,) in query(args.db, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main'")[1]
        ]
        if view.lower() not in map(str.lower, names):
            raise SynthcError(f"no view is called {view!r}; {did_you_mean(view, names)}")
        export(args.db, f'FROM main."{view.replace(chr(34), "")}"', Path(target))
        print(target)
    if args.compat:
        export_compatible(args.db, args.compat)
        print(args.compat)
    return 0
