"""Rows of everything that a store holds, in `<store>/index.duckdb`.

Rows are buffered and written together (a transaction costs 5 ms however few rows it has): when `MAX_PENDING_ROWS` wait, before a
query, and before publishing. A crash loses no result: the next run adds what its index lacks from the store.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from compiler.errors import SynthcError, first_line
from runtime.database import rows
from runtime.database.connect import connect, execute
from runtime.database.publish import publish
from runtime.database.schema import SCHEMA_DIGEST, create
from runtime.store.artifacts import Artifact, Corrupt, check_version, folder_of, identity_of, quarantine

MAX_PENDING_ROWS = 4096

VALUE_ERRORS = (duckdb.DataError, duckdb.ProgrammingError)
"""DuckDB's errors about values that no column takes; all others are about the disk or DuckDB itself."""


class Unwritable(SynthcError):
    """The index cannot be written or read: a full disk, mostly. What tasks committed is safe, and the index can be made again."""

    def __init__(self, path: Path, error: Exception) -> None:
        super().__init__(f"{path}: {first_line(error)}; free some space or name another --store: what is committed stays")


@contextlib.contextmanager
def _raise_unwritable(path: Path) -> Iterator[None]:
    try:
        yield
    except VALUE_ERRORS:
        raise
    except duckdb.Error as error:
        raise Unwritable(path, error) from error


@dataclass(frozen=True)
class _PendingRows:
    """Rows of one folder of the store that are not in the tables yet."""

    folder: Path
    tables: dict[str, list[tuple[Any, ...]]]


class Index:
    """Rows of everything that a store holds. Not for several threads.

    `damaged` are folders of tasks whose commits make no rows; they were quarantined when that was found.
    """

    def __init__(self, path: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self.path, self._connection = path, connection
        self.origin = identity_of(path.parent)
        self.damaged: list[Path] = []
        self._pending: list[_PendingRows] = []
        self._pending_count = 0
        self._indexed = {task for (task,) in self._rows("SELECT task FROM base.outcome")}
        self._attempts = {(task, attempt) for task, attempt in self._rows("SELECT task, attempt FROM base.attempt")}

    @classmethod
    def open(cls, store: Path) -> Index:
        """The store's index: created, or rebuilt when it is damaged or of another version. SynthcError for a newer store."""
        check_version(store)
        path = store / "index.duckdb"
        fresh = not path.exists()
        try:
            connection = connect(path)
            index = cls._create(path, connection) if fresh else cls(path, connection)
            version = index._rows("SELECT schema FROM base.meta")
            index._verify()
        except (duckdb.Error, Unwritable) as error:
            if "No space left" in str(error):
                raise Unwritable(path, error) from error
            version = []
        if version == [(SCHEMA_DIGEST,)]:
            return index
        with contextlib.suppress(duckdb.Error, UnboundLocalError):
            connection.close()
        # Damaged or of another version: an index can be rebuilt, so this one is set aside and not repaired.
        for damaged in (path, path.with_name("index.duckdb.wal")):
            if damaged.exists():
                damaged.replace(damaged.with_name(f"{damaged.name}.damaged"))
        with _raise_unwritable(path):
            index = cls._create(path, connect(path))
            index._read_store(store)
        return index

    @classmethod
    def _create(cls, path: Path, connection: duckdb.DuckDBPyConnection) -> Index:
        create(connection)
        return cls(path, connection)

    def close(self) -> None:
        """Write pending rows and close the connection."""
        try:
            self.flush()
        finally:
            with contextlib.suppress(duckdb.Error):  # after a full disk closing may fail
                self._connection.close()

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those of `ids` that have no outcome here."""
        return [id for id in ids if id not in self._indexed]

    def seconds_by_operation(self) -> dict[str, float]:
        """Mean seconds of each operation."""
        query = (
            "SELECT operation, avg(seconds) FROM base.outcome "
            "JOIN (SELECT DISTINCT task, operation FROM base.task) USING (task) GROUP BY ALL"
        )
        return {operation: seconds for operation, seconds in self._rows(query) if seconds is not None}

    def trial_results(self, study: str, profile: str | None) -> list[tuple[Any, ...]]:
        """trial, paradigm, test_accuracy, epsilon, leakage, leakage_low, leakage_note of the study's current trials."""
        query = (
            "SELECT trial, paradigm, test_accuracy, epsilon, leakage, leakage_low, leakage_note FROM comparison "
            "WHERE study = ? AND profile = ? ORDER BY trial"
        )
        return self._rows(query, study, profile or "")

    def earlier_headlines(self, study: str, profile: str | None, run: str) -> list[tuple[str, dict[str, Any]]]:
        """Runs of the study that ended before `run` with results, and the headline that each declared."""
        query = (
            "SELECT run, headline FROM base.run WHERE study = ? AND profile = ? AND run < ? "
            "AND status IN ('done', 'interrupted') ORDER BY run"
        )
        return [(name, json.loads(headline)) for name, headline in self._rows(query, study, profile or "", run)]

    def count_outcomes(self, study: str) -> int:
        """Trials of the study that have results here, under any profile and from any run."""
        query = (
            "SELECT count(DISTINCT answer) FROM base.trial JOIN base.run USING (origin, run) "
            "SEMI JOIN base.outcome AS outcome ON outcome.task = answer WHERE study = ?"
        )
        return int(self._rows(query, study)[0][0])

    def record_run(self, record: Mapping[str, Any]) -> None:
        """Add rows of a run, its trials and tasks; replaces those of an earlier record of the same run."""
        with self._transaction() as cursor:
            for table in ("run", "trial", "stage", "task"):
                execute(cursor, f"DELETE FROM base.{table} WHERE run = ?", [record["run"]])
            self._append(rows.run_rows(record))

    def record_outcome(self, folder: Path) -> None:
        """Add rows of a committed task from its folder, unless they are there. Corrupt if its files make no rows."""
        artifact = Artifact(folder)
        try:
            task = artifact.outcome["task"]
            if task not in self._indexed:
                self._buffer(folder, rows.outcome_rows(artifact))
                self._indexed.add(task)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise Corrupt(folder, f"outcome.json does not say what it should: {first_line(error)}") from error

    def record_attempts(self, folder: Path) -> None:
        """Add rows of all attempts at the task in `folder`; those with a damaged record are skipped."""
        for record in sorted(folder.glob("attempts/*/attempt.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                self.record_attempt(record.parent)

    def record_attempt(self, folder: Path) -> None:
        """Add the row of one attempt from its folder, unless it is there."""
        attempt = folder.parents[1].name, int(folder.name)
        if attempt not in self._attempts:
            self._buffer(folder, rows.attempt_rows(folder))
            self._attempts.add(attempt)

    def forget(self, ids: Iterable[str]) -> None:
        """Delete the rows of tasks whose outcome was retracted, and those of attempts whose folder is gone."""
        self.flush()
        tasks = set(ids)
        gone = sorted(tasks & self._indexed)
        store = self.path.parent
        lost = sorted({task for task, _ in self._attempts if task in tasks and not folder_of(store, task).exists()})
        if not gone and not lost:
            return
        with self._transaction() as cursor:
            for table in ("outcome", "metric", "roc", "canary", "risk", "score"):
                execute(cursor, f"DELETE FROM base.{table} WHERE list_contains(?, task)", [gone])
            execute(cursor, "DELETE FROM base.attempt WHERE list_contains(?, task)", [lost])
        self._indexed -= set(gone)
        self._attempts = {attempt for attempt in self._attempts if attempt[0] not in set(lost)}

    def flush(self) -> None:
        """Write pending rows in one transaction; Unwritable if the disk refuses.

        A task whose values no column takes gets no rows, and its commit is quarantined: see `damaged`.
        """
        pending, self._pending, self._pending_count = self._pending, [], 0
        try:
            self._write(pending)
        except VALUE_ERRORS:
            for one in pending:
                try:
                    self._write([one])
                except VALUE_ERRORS:
                    if "outcome" in one.tables:
                        quarantine(one.folder)
                        self.damaged.append(one.folder)
                        self._indexed.discard(one.folder.name)

    def publish(self, target: Path) -> None:
        """Replace `target` by a copy of the index; TargetBusy and SynthcError as `publish` says, Unwritable if the index is."""
        self.flush()
        with _raise_unwritable(self.path):
            execute(self._connection, "CHECKPOINT")
        publish(self.path, target, self.origin)

    def _verify(self) -> None:
        """Every block has a checksum that reading it compares: 34 ms for 14 MB, against damage that would be published."""
        for (table,) in self._rows("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'base'"):
            self._rows(f"SELECT bit_xor(hash(COLUMNS(*))) FROM base.{table}")

    def _read_store(self, store: Path) -> None:
        """Add all rows of a store."""
        for record in sorted(store.glob("runs/*/run.json")):
            # A damaged record is skipped; the tasks that it ran are still there.
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, *VALUE_ERRORS):
                self.record_run(json.loads(record.read_text(encoding="utf-8")))
        for outcome in sorted(store.glob("??/*/outcome.json")):
            try:
                self.record_outcome(outcome.parent)
            except Corrupt as corrupt:
                quarantine(corrupt.folder)
        for attempts in sorted(store.glob("??/*/attempts")):
            self.record_attempts(attempts.parent)
        self.flush()

    def _buffer(self, folder: Path, found: rows.Rows) -> None:
        tables = _merge(found)
        self._pending.append(_PendingRows(folder, tables))
        self._pending_count += sum(map(len, tables.values()))
        if self._pending_count >= MAX_PENDING_ROWS:
            self.flush()

    def _write(self, pending: Sequence[_PendingRows]) -> None:
        tables = _merge(item for one in pending for item in one.tables.items())
        if tables:
            with self._transaction():
                self._append(tables.items())

    def _append(self, tables: Iterable[tuple[str, list[tuple[Any, ...]]]]) -> None:
        for table, values in tables:
            if values:
                with self._connection.appender(f"base.{table}") as appender:
                    appender.append_rows([(self.origin, *row) for row in values])

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with _raise_unwritable(self.path):
            try:
                execute(self._connection, "BEGIN")
                yield self._connection
                execute(self._connection, "COMMIT")
            except BaseException:
                with contextlib.suppress(duckdb.Error):  # a commit that failed has rolled back itself
                    execute(self._connection, "ROLLBACK")
                raise

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        self.flush()
        with _raise_unwritable(self.path):
            return execute(self._connection.cursor(), query, list(values))


def _merge(found: rows.Rows) -> dict[str, list[tuple[Any, ...]]]:
    tables: dict[str, list[tuple[Any, ...]]] = {}
    for table, values in found:
        tables.setdefault(table, []).extend(values)
    return tables


def rebuild(store: Path, target: Path) -> None:
    """Rebuild index and published database from the store."""
    for old in (store / "index.duckdb", store / "index.duckdb.wal"):
        old.unlink(missing_ok=True)
    path = store / "index.duckdb"
    check_version(store)
    with contextlib.closing(Index._create(path, connect(path))) as index:
        index._read_store(store)
        index.publish(target)
