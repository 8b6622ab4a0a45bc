"""The database: an index of the store that can always be made again from it. The only file that imports duckdb.

The driver is the only writer, into `<store>/index.duckdb`; readers get a copy, `results.duckdb`, published by atomic
replace, so that neither ever waits for the other. What a user keeps in the published file (tables, views) comes along.
Not here: tensors (`artifacts`), what the numbers mean.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import duckdb

from compiler.errors import SynthcError
from runtime.artifacts import Artifact, Corrupt, check_version, quarantine

SCHEMA = (files("runtime") / "schema.sql").read_text(encoding="utf-8")
SCHEMA_DIGEST = hashlib.sha256(SCHEMA.encode()).hexdigest()[:16]
"""An index of another schema is made anew from the store."""
OURS = frozenset(re.findall(r"^CREATE VIEW (\w+) AS", SCHEMA, flags=re.MULTILINE))
"""Views that every published database has; whatever else stands in it is the user's."""

MEANINGS = """
SELECT shown.table_name, shown.column_name, meaning FROM duckdb_columns() AS shown
JOIN base.meaning ON name = shown.column_name AND view IN ('', shown.table_name)
WHERE shown.schema_name = 'main' AND NOT shown.internal AND shown.comment IS NULL ORDER BY view
"""
"""What to say of each column of a view: what its name means everywhere, then the view's own word on it."""


class TargetBusy(SynthcError):
    """Somebody has the published database open for writing: nothing is lost, publishing waits."""


class Index:
    """Rows of everything that a store holds. Not for several threads."""

    def __init__(self, path: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self.path, self._connection = path, connection
        self._known = {task for (task,) in self._rows("SELECT task FROM base.outcome")}

    @classmethod
    def open(cls, store: Path) -> Index:
        """The store's index: made, or rebuilt when it is damaged or of another version. SynthcError for a newer store."""
        check_version(store)
        path = store / "index.duckdb"
        fresh = not path.exists()
        try:
            connection = duckdb.connect(str(path))
            index = cls._made(path, connection) if fresh else cls(path, connection)
            version = index._rows("SELECT schema FROM base.meta")
        except duckdb.Error:
            version = []
        if version == [(SCHEMA_DIGEST,)]:
            return index
        with contextlib.suppress(duckdb.Error, UnboundLocalError):
            connection.close()
        # Damaged or of another version: an index can be made again, so what is there is set aside and not mended.
        for damaged in (path, path.with_name("index.duckdb.wal")):
            if damaged.exists():
                damaged.replace(damaged.with_name(f"{damaged.name}.damaged"))
        index = cls._made(path, duckdb.connect(str(path)))
        index._read_store(store)
        return index

    @classmethod
    def _made(cls, path: Path, connection: duckdb.DuckDBPyConnection) -> Index:
        connection.execute(SCHEMA).fetchall()
        for view, column, meaning in connection.execute(MEANINGS).fetchall():
            connection.execute(f"COMMENT ON COLUMN {_name(view)}.{_name(column)} IS {_quoted(meaning)}").fetchall()
        connection.execute("INSERT INTO base.meta VALUES (?, 'synthc')", [SCHEMA_DIGEST]).fetchall()
        connection.execute("CHECKPOINT").fetchall()  # DDL in a log is what replay stumbles over
        return cls(path, connection)

    def close(self) -> None:
        """Flush and let go."""
        self._connection.close()

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those of `ids` that have no outcome here."""
        return [id for id in ids if id not in self._known]

    def seconds_by_operation(self) -> dict[str, float]:
        """What each operation took on average."""
        query = (
            "SELECT operation, avg(seconds) FROM base.outcome "
            "JOIN (SELECT DISTINCT task, operation FROM base.task) USING (task) GROUP BY ALL"
        )
        return {operation: seconds for operation, seconds in self._rows(query) if seconds is not None}

    def measured(self, study: str, profile: str | None) -> list[tuple[Any, ...]]:
        """trial, paradigm, test_accuracy, epsilon, leakage, leakage_low, leakage_note of the study's current trials."""
        query = (
            "SELECT trial, paradigm, test_accuracy, epsilon, leakage, leakage_low, leakage_note FROM comparison "
            "WHERE study = ? AND profile = ? ORDER BY trial"
        )
        return self._rows(query, study, profile or "")

    def earlier_headlines(self, study: str, profile: str | None, run: str) -> list[tuple[str, dict[str, Any]]]:
        """Runs of the study that ended before `run` with results to look at, and the headline that each declared."""
        query = (
            "SELECT run, headline FROM base.run WHERE study = ? AND profile = ? AND run < ? "
            "AND status IN ('done', 'interrupted') ORDER BY run"
        )
        return [(name, json.loads(headline)) for name, headline in self._rows(query, study, profile or "", run)]

    def record_run(self, record: Mapping[str, Any]) -> None:
        """Rows of a run, its trials and tasks; replaces what was recorded of the same run before."""
        run = record["run"]
        blocked = record.get("blocked", {})
        with self._transaction() as cursor:
            for table in ("run", "trial", "stage", "task"):
                cursor.execute(f"DELETE FROM base.{table} WHERE run = ?", [run]).fetchall()
            self._append(
                "run",
                [
                    (
                        run,
                        record["study"],
                        record["question"],
                        record["profile"] or "",   # never NULL: users join by it
                        record["spec"],
                        record["spec_text"],
                        _json(record["argv"]),
                        _time(record["started"]),
                        _time(record["ended"]),
                        record["status"],
                        _json(record["headline"]),
                        _json(record["versions"]),
                        record["commit"],
                        record["source_digest"],
                        _json(record["claims"]),
                        _json(record["lints"]),
                    )
                ],
            )
            self._append(
                "trial",
                [
                    (
                        run,
                        trial["trial"],
                        trial["arm"],
                        trial["paradigm"],
                        trial["method"],
                        trial["label"],
                        _json(trial["axes"]),
                        trial["replicate"],
                        trial["data"],
                        trial["answer"],
                    )
                    for trial in record["trials"]
                ],
            )
            self._append(
                "stage",
                [
                    (run, trial["trial"], task, shadow, stage)
                    for trial in record["trials"]
                    for task, shadow, stage in trial["stages"]
                ],
            )
            self._append(
                "task",
                [
                    (
                        run,
                        task["id"],
                        task["kind"],
                        task["operation"],
                        task["address"],
                        _json(task["needs"]),
                        blocked.get(task["id"]),
                    )
                    for task in record["tasks"]
                ],
            )

    def record_outcome(self, folder: Path) -> None:
        """Rows of a committed task, read from its folder; once is enough. Corrupt if what is there makes no rows."""
        try:
            self._record_outcome(folder, Artifact(folder).outcome)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, duckdb.Error) as error:
            raise Corrupt(folder, f"outcome.json does not say what it should: {_first_line(error)}") from error

    def _record_outcome(self, folder: Path, outcome: Mapping[str, Any]) -> None:
        task = outcome["task"]
        if task in self._known:
            return
        where, notes = outcome["provenance"], outcome["notes"]
        with self._transaction():
            self._append(
                "outcome",
                [
                    (
                        task,
                        _time(where["started"]),
                        where["seconds"],
                        where["host"],
                        where["device"],
                        where["threads"],
                        where["peak_memory_mb"],
                        where["commit"],
                        where["source_digest"],
                        notes.get("null_ok"),
                        "; ".join(notes.get("flags", [])),
                        _json(notes),
                    )
                ],
            )
            self._append(
                "metric",
                [
                    tuple(
                        metric[name]
                        for name in ("name", "value", "low", "high", "n", "note", "canaries", "attack", "variant", "release")
                    )
                    for metric in outcome["metrics"]
                ],
                first=task,
            )
            if "columns" in notes:
                self._record_attack(task, folder, notes)
        self._known.add(task)

    def forget(self, ids: Iterable[str]) -> None:
        """Drop the rows of tasks whose outcome was taken back."""
        gone = [id for id in ids if id in self._known]
        with self._transaction() as cursor:
            for table in ("outcome", "metric", "roc", "canary", "risk", "score") if gone else ():
                cursor.execute(f"DELETE FROM base.{table} WHERE list_contains(?, task)", [gone]).fetchall()
        self._known -= set(gone)

    def record_attempt(self, folder: Path) -> None:
        """The row of one attempt, read from its folder."""
        content = json.loads((folder / "attempt.json").read_text(encoding="utf-8"))
        where = content["provenance"] or {}
        self._append(
            "attempt",
            [
                (
                    content["task"],
                    int(folder.name),
                    content["status"],
                    content["error_kind"],
                    content["error"],
                    content["log"],
                    _time(where.get("started")),
                    where.get("seconds"),
                    where.get("host"),
                    where.get("device"),
                )
            ],
        )

    def publish(self, target: Path) -> None:
        """Replace `target` by a copy of the index, whole and at once; open readers keep the old one.

        TargetBusy when a writer has it open; SynthcError when it is not ours, or cannot be written.
        """
        check_target(target)
        beside = target.with_name(f".{target.name}.next")
        try:
            beside.unlink(missing_ok=True)
            with self._holding(target) as kept:
                self._copy(beside)
                if kept:
                    with self._attached(beside, "published") as cursor:
                        _carry_over(cursor)
                os.replace(beside, target)  # the old file stays held until it is replaced
        except (OSError, duckdb.IOException) as error:
            raise SynthcError(
                f"{target}: cannot be published: {_first_line(error)}; make room there, or name another --db"
            ) from error
        finally:
            beside.unlink(missing_ok=True)

    def _copy(self, beside: Path) -> None:
        """The index's file as it is: a twentieth of the time that copying its rows takes, and whole after a checkpoint, since
        nobody else writes. Closing it here lets go of DuckDB's lock on it; the store's own (`artifacts.held`) is what counts."""
        self._connection.execute("CHECKPOINT").fetchall()
        shutil.copyfile(self.path, beside)
        with beside.open("rb+") as copy:
            os.fsync(copy.fileno())

    @contextlib.contextmanager
    def _holding(self, target: Path) -> Iterator[bool]:
        """Keep writers away from `target` while it is replaced; whether there is one.

        Opened for writing if nobody has it open, which also takes in the log of a writer that was killed; else for
        reading, which readers do not mind and which keeps writers out. Neither works while a writer is there.
        """
        if not target.exists():
            yield False
            return
        cursor = self._connection.cursor()
        try:
            try:
                cursor.execute(f"ATTACH {_quoted(target)} AS old").fetchall()
                cursor.execute("CHECKPOINT old").fetchall()
            except duckdb.IOException:
                try:
                    cursor.execute(f"ATTACH {_quoted(target)} AS old (READ_ONLY)").fetchall()
                except duckdb.IOException as error:
                    raise _busy(target, error) from error
        except duckdb.Error as error:
            raise SynthcError(f"{target}: cannot be opened: {_first_line(error)}; move it away, or name another --db") from error
        try:
            yield True
        finally:
            with contextlib.suppress(duckdb.Error):
                cursor.execute("DETACH old").fetchall()

    @contextlib.contextmanager
    def _attached(self, path: Path, name: str) -> Iterator[duckdb.DuckDBPyConnection]:
        cursor = self._connection.cursor()
        cursor.execute(f"ATTACH {_quoted(path)} AS {name}").fetchall()
        try:
            yield cursor
        finally:
            with contextlib.suppress(duckdb.Error):
                cursor.execute(f"DETACH {name}").fetchall()

    def _read_store(self, store: Path) -> None:
        """Every row that the store implies."""
        for record in sorted(store.glob("runs/*/run.json")):
            with contextlib.suppress(ValueError, KeyError):   # a record that was damaged says nothing; what it ran is still there
                self.record_run(json.loads(record.read_text(encoding="utf-8")))
        for outcome in sorted(store.glob("??/*/outcome.json")):
            try:
                self.record_outcome(outcome.parent)
            except Corrupt as found:
                quarantine(found.folder)
        for attempt in sorted(store.glob("??/*/attempts/*/attempt.json")):
            with contextlib.suppress(ValueError, KeyError):
                self.record_attempt(attempt.parent)

    def _record_attack(self, task: str, folder: Path, notes: Mapping[str, Any]) -> None:
        scores, roc, risk, canaries = (Artifact(folder).arrays(stem) for stem in ("scores", "roc", "risk", "canaries"))
        groups = notes["groups"]
        told = [canaries[name].tolist() for name in ("group", "labels", "true_labels", "samples")]
        rows = zip(*told, (memorized for memorized, in _numbers(canaries["memorization"][:, None])), strict=True)
        self._append(
            "canary",
            [
                (place, groups[group]["name"], groups[group]["kind"], label, true, sample, memorized)
                for place, (group, label, true, sample, memorized) in enumerate(rows)
            ],
            first=task,
        )
        member = scores["member"].astype(bool).tolist()
        for key, column in enumerate(notes["columns"]):
            named = (column["release"], column["attack"], column["variant"])
            for group in groups:
                curve = roc.get(f"{key}/{group['name']}")
                if curve is not None:
                    self._append("roc", [(*named, group["name"], *point) for point in _numbers(curve)], first=task)
            self._append(
                "risk",
                [
                    (*named, place, *figures)
                    for place, figures in enumerate(_numbers(risk[str(key)]))
                    if figures[0] is not None
                ],
                first=task,
            )
            if f"score/{key}" not in scores:   # of a file so large that only its figures are kept
                continue
            self._append(
                "score",
                [
                    (*named, canary, shadow, member[canary][shadow], score)
                    for canary, row in enumerate(scores[f"score/{key}"].tolist())
                    for shadow, score in enumerate(row)
                    if score == score
                ],
                first=task,
            )

    def _append(self, table: str, rows: Sequence[tuple[Any, ...]], first: str | None = None) -> None:
        if rows:
            with self._connection.appender(f"base.{table}") as appender:
                appender.append_rows([(first, *row) for row in rows] if first is not None else list(rows))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        self._connection.execute("BEGIN").fetchall()
        try:
            yield self._connection
            self._connection.execute("COMMIT").fetchall()
        except BaseException:
            self._connection.execute("ROLLBACK").fetchall()
            raise

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self._connection.cursor().execute(query, list(values)).fetchall()


def rebuild(store: Path, target: Path) -> None:
    """Make index and published database anew from what the store holds."""
    for old in (store / "index.duckdb", store / "index.duckdb.wal"):
        old.unlink(missing_ok=True)
    path = store / "index.duckdb"
    check_version(store)
    with contextlib.closing(Index._made(path, duckdb.connect(str(path)))) as index:
        index._read_store(store)
        index.publish(target)


def check_target(target: Path) -> None:
    """SynthcError unless `target` is free or a database that we published before."""
    if not target.parent.is_dir():
        raise SynthcError(f"{target}: there is no folder {target.parent}; make it, or name another --db")
    if not os.access(target.parent, os.W_OK):
        raise SynthcError(f"{target}: the folder cannot be written; name another --db")
    if not target.exists():
        return
    try:
        with contextlib.closing(duckdb.connect(str(target), read_only=True)) as connection:
            found = connection.execute("SELECT made_by FROM base.meta").fetchall()
    except duckdb.IOException as error:
        if "lock" in str(error).lower():
            return  # somebody writes to it; publishing will say who
        if target.with_name(f"{target.name}.wal").exists():
            return  # a log to take in first, which needs a writer: publishing does
        raise SynthcError(f"{target}: not a database ({_first_line(error)}); move it away, or name another --db") from error
    except duckdb.Error as error:
        raise SynthcError(f"{target}: a database, but not one of synthc's; move it away, or name another --db") from error
    if found != [("synthc",)]:
        raise SynthcError(f"{target}: a database, but not one of synthc's; move it away, or name another --db")


def query(database: Path, text: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Columns and rows of a query on the published database: read-only, and without files or network."""
    with reading(database) as ask:
        return ask(text)


@contextlib.contextmanager
def reading(database: Path) -> Iterator[Callable[[str], tuple[list[str], list[tuple[Any, ...]]]]]:
    """As `query`, for several questions to one state: what is published meanwhile is not seen."""
    if not database.exists():
        raise SynthcError(f"{database}: there is no such database; `synthc run SPEC` makes one, --db names another")
    try:
        connection = duckdb.connect(str(database), read_only=True, config={"enable_external_access": "false"})
    except duckdb.Error as error:
        raise SynthcError(f"{database}: cannot be opened: {_first_line(error)}") from error

    def ask(text: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        try:
            cursor = connection.execute(text)
            return [column[0] for column in cursor.description or ()], cursor.fetchall()
        except duckdb.Error as error:
            raise SynthcError(f"the query failed: {str(error).strip()}") from error

    with contextlib.closing(connection):
        connection.execute("SET lock_configuration = true").fetchall()
        yield ask


def public(kind: Literal["view", "macro"]) -> list[tuple[str, str]]:
    """Views or macros of the public interface with their comments, in the order of the schema."""
    listed = {
        "view": "SELECT view_name, comment FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal ORDER BY view_oid",
        "macro": "SELECT function_name || '(' || array_to_string(parameters, ', ') || ')', comment FROM duckdb_functions() "
        "WHERE schema_name = 'main' AND NOT internal ORDER BY function_oid",
    }
    with contextlib.closing(duckdb.connect()) as connection:
        connection.execute(SCHEMA).fetchall()
        return connection.execute(listed[kind]).fetchall()


def refused(text: str) -> str:
    """Why the published views cannot be asked this, or ""; needs no database."""
    with contextlib.closing(duckdb.connect()) as connection:
        connection.execute(SCHEMA).fetchall()
        try:
            connection.execute(f"EXPLAIN {text}").fetchall()
        except duckdb.Error as error:
            return _first_line(error)
    return ""


ENDINGS = {".parquet": "FORMAT parquet, COMPRESSION zstd", ".csv": "FORMAT csv, HEADER", ".json": "FORMAT json, ARRAY true"}
"""How a file's ending says what to write into it."""


@contextlib.contextmanager
def parquet(path: Path) -> Iterator[tuple[list[str], Callable[[list[str]], Iterator[tuple[Any, ...]]]]]:
    """Column names of a Parquet file, and a function from wanted columns to rows; SynthcError if it is none, or broken."""
    with duckdb.connect(config={"autoload_known_extensions": "false", "autoinstall_known_extensions": "false"}) as connection:

        def rows(columns: list[str]) -> Iterator[tuple[Any, ...]]:
            found = connection.execute(f"SELECT {', '.join(map(_name, columns))} FROM read_parquet({_quoted(path)})")
            while some := found.fetchmany(1000):
                yield from some

        try:
            described = connection.execute(f"DESCRIBE SELECT * FROM read_parquet({_quoted(path)})").fetchall()
            yield [str(column) for column, *_ in described], rows
        except duckdb.Error as error:
            raise SynthcError(f"{path}: cannot be read as Parquet: {_first_line(error)}") from error


def export(database: Path, text: str, target: Path) -> None:
    """Write a query's rows to `target`, beside and then renamed; its ending says the format."""
    if target.suffix not in ENDINGS:
        raise SynthcError(f"{target}: the ending should be one of {', '.join(ENDINGS)}")
    if not database.exists():
        raise SynthcError(f"{database}: there is no such database; `synthc run SPEC` makes one, --db names another")
    beside = target.with_name(f".{target.name}.next")
    try:
        with contextlib.closing(duckdb.connect(str(database), read_only=True)) as connection:
            connection.execute(f"COPY ({text}) TO {_quoted(beside)} ({ENDINGS[target.suffix]})").fetchall()
        os.replace(beside, target)
    except (duckdb.Error, OSError) as error:
        raise SynthcError(f"{target}: cannot be written: {_first_line(error)}") from error
    finally:
        beside.unlink(missing_ok=True)


COMPATIBLE = "v1.2.0"
"""The storage version that `export_compatible` writes: read by DuckDB 1.2 and everything since."""


def export_compatible(database: Path, target: Path) -> None:
    """Write the whole published database in a format that older DuckDB reads: tables, views, macros, comments."""
    if not database.exists():
        raise SynthcError(f"{database}: there is no such database; `synthc run SPEC` makes one, --db names another")
    check_target(target)
    beside = target.with_name(f".{target.name}.next")
    try:
        with contextlib.closing(duckdb.connect()) as connection:
            connection.execute(f"ATTACH {_quoted(database)} AS published (READ_ONLY)").fetchall()
            connection.execute(f"ATTACH {_quoted(beside)} AS compatible (STORAGE_VERSION '{COMPATIBLE}')").fetchall()
            connection.execute("COPY FROM DATABASE published TO compatible").fetchall()
        os.replace(beside, target)
    except (duckdb.Error, OSError) as error:
        raise SynthcError(f"{target}: cannot be written: {_first_line(error)}") from error
    finally:
        beside.unlink(missing_ok=True)


def _carry_over(cursor: duckdb.DuckDBPyConnection) -> None:
    """Copy what the user keeps in the old file into the new one: schemas, tables, views."""
    schemas = cursor.execute(
        "SELECT DISTINCT schema_name FROM duckdb_schemas() "
        "WHERE database_name = 'old' AND NOT internal AND schema_name NOT IN ('base', 'main')"
    ).fetchall()
    for (schema,) in schemas:
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS published.{_name(schema)}").fetchall()
    tables = cursor.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'old' AND schema_name <> 'base' AND NOT internal"
    ).fetchall()
    for schema, table in tables:
        where = f"{_name(schema)}.{_name(table)}"
        cursor.execute(f"CREATE TABLE published.{where} AS FROM old.{where}").fetchall()
    views = cursor.execute(
        "SELECT schema_name, view_name, sql FROM duckdb_views() "
        "WHERE database_name = 'old' AND schema_name <> 'base' AND NOT internal"
    ).fetchall()
    for schema, view, text in views:
        if schema == "main" and view in OURS:
            continue
        body = re.split(r"\bAS\b", text, maxsplit=1, flags=re.IGNORECASE)[1]
        with contextlib.closing(cursor.cursor()) as inside:  # a cursor of its own: what it uses by default cannot be detached
            inside.execute("USE published").fetchall()
            inside.execute(f"CREATE VIEW {_name(schema)}.{_name(view)} AS {body}").fetchall()


def _busy(target: Path, error: duckdb.Error) -> SynthcError:
    holder = re.search(r"held in (.+?) \(PID (\d+)\)", str(error))
    if holder is None:
        return SynthcError(f"{target}: cannot be opened: {_first_line(error)}; move it away, or name another --db")
    return TargetBusy(f"{target} is open for writing in {holder[1]} (pid {holder[2]}), so publishing waits; its changes are safe")


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _quoted(value: Path | str) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _numbers(rows: Any) -> list[list[float | None]]:
    """Rows of an array with None for NaN: in SQL an average over NaN is NaN."""
    return [[value if value == value else None for value in row] for row in rows.tolist()]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _time(text: str | None) -> Any:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
