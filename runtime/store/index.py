"""Rows of everything that a store holds, in `<store>/index.duckdb`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb

from runtime.artifacts import Artifact, Corrupt, check_version, quarantine
from runtime.store import rows
from runtime.store.publish import publish
from runtime.store.schema import SCHEMA_DIGEST, create
from runtime.store.words import first_line


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
        create(connection)
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
        with self._transaction() as cursor:
            for table in ("run", "trial", "stage", "task"):
                cursor.execute(f"DELETE FROM base.{table} WHERE run = ?", [record["run"]]).fetchall()
            self._append(rows.of_run(record))

    def record_outcome(self, folder: Path) -> None:
        """Rows of a committed task, read from its folder; once is enough. Corrupt if what is there makes no rows."""
        artifact = Artifact(folder)
        try:
            task = artifact.outcome["task"]
            if task in self._known:
                return
            with self._transaction():
                self._append(rows.of_outcome(artifact))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, duckdb.Error) as error:
            raise Corrupt(folder, f"outcome.json does not say what it should: {first_line(error)}") from error
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
        self._append(rows.of_attempt(folder))

    def publish(self, target: Path) -> None:
        """Replace `target` by a copy of the index; TargetBusy and SynthcError as `store.publish` says."""
        publish(self._connection, self.path, target)

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

    def _append(self, told: rows.Rows) -> None:
        for table, values in told:
            if values:
                with self._connection.appender(f"base.{table}") as appender:
                    appender.append_rows(values)

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
