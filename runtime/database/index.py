"""Rows of everything that a store holds, in `<store>/index.duckdb`.

What is recorded waits for a lot, for a question or for publishing: a transaction costs 5 ms of the driver however few rows it
has. Nothing is lost with what waits, since the store has it: a run begins by taking in what its index lacks.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from compiler.errors import SynthcError
from runtime.database import rows
from runtime.database.connect import connect, execute
from runtime.database.publish import publish
from runtime.database.quoting import first_line
from runtime.database.schema import SCHEMA_DIGEST, create
from runtime.store.artifacts import Artifact, Corrupt, check_version, folder_of, identity_of, quarantine

LOT = 4096
"""Rows that wait at most."""

REFUSED = (duckdb.DataError, duckdb.ProgrammingError)
"""What DuckDB says of values that no column takes; anything else is about the disk or itself."""


class Unwritable(SynthcError):
    """The index cannot be written or read: a full disk, mostly. What tasks committed is safe, and the index can be made again."""

    def __init__(self, path: Path, error: Exception) -> None:
        super().__init__(f"{path}: {first_line(error)}; free some space or name another --store: what is committed stays")


@contextlib.contextmanager
def _saying(path: Path) -> Iterator[None]:
    try:
        yield
    except REFUSED:
        raise
    except duckdb.Error as error:
        raise Unwritable(path, error) from error


@dataclass(frozen=True)
class _Told:
    """What one folder of the store says, on its way to the tables."""

    folder: Path
    tables: dict[str, list[tuple[Any, ...]]]


class Index:
    """Rows of everything that a store holds. Not for several threads.

    `damaged` are folders of tasks whose commits make no rows: they were taken back when that was noticed.
    """

    def __init__(self, path: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self.path, self._connection = path, connection
        self.origin = identity_of(path.parent)
        self.damaged: list[Path] = []
        self._waiting: list[_Told] = []
        self._waiting_rows = 0
        self._known = {task for (task,) in self._rows("SELECT task FROM base.outcome")}
        self._tried = {(task, attempt) for task, attempt in self._rows("SELECT task, attempt FROM base.attempt")}

    @classmethod
    def open(cls, store: Path) -> Index:
        """The store's index: made, or rebuilt when it is damaged or of another version. SynthcError for a newer store."""
        check_version(store)
        path = store / "index.duckdb"
        fresh = not path.exists()
        try:
            connection = connect(path)
            index = cls._made(path, connection) if fresh else cls(path, connection)
            version = index._rows("SELECT schema FROM base.meta")
            index._read_whole()
        except (duckdb.Error, Unwritable) as error:
            if "No space left" in str(error):
                raise Unwritable(path, error) from error
            version = []
        if version == [(SCHEMA_DIGEST,)]:
            return index
        with contextlib.suppress(duckdb.Error, UnboundLocalError):
            connection.close()
        # Damaged or of another version: an index can be made again, so what is there is set aside and not mended.
        for damaged in (path, path.with_name("index.duckdb.wal")):
            if damaged.exists():
                damaged.replace(damaged.with_name(f"{damaged.name}.damaged"))
        with _saying(path):
            index = cls._made(path, connect(path))
            index._read_store(store)
        return index

    @classmethod
    def _made(cls, path: Path, connection: duckdb.DuckDBPyConnection) -> Index:
        create(connection)
        return cls(path, connection)

    def close(self) -> None:
        """Write what waits and let go."""
        try:
            self.flush()
        finally:
            with contextlib.suppress(duckdb.Error):   # after a full disk it may be past closing
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
            if task not in self._known:
                self._wait(folder, rows.of_outcome(artifact))
                self._known.add(task)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise Corrupt(folder, f"outcome.json does not say what it should: {first_line(error)}") from error

    def record_attempts(self, folder: Path) -> None:
        """Rows of all attempts at the task in `folder`; one whose record is damaged says nothing."""
        for record in sorted(folder.glob("attempts/*/attempt.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                self.record_attempt(record.parent)

    def record_attempt(self, folder: Path) -> None:
        """The row of one attempt, read from its folder; once is enough."""
        attempt = folder.parents[1].name, int(folder.name)
        if attempt not in self._tried:
            self._wait(folder, rows.of_attempt(folder))
            self._tried.add(attempt)

    def forget(self, ids: Iterable[str]) -> None:
        """Drop the rows of tasks whose outcome was taken back, and those of attempts of which nothing is left."""
        self.flush()
        asked = set(ids)
        gone = sorted(asked & self._known)
        store = self.path.parent
        lost = sorted({task for task, _ in self._tried if task in asked and not folder_of(store, task).exists()})
        if not gone and not lost:
            return
        with self._transaction() as cursor:
            for table in ("outcome", "metric", "roc", "canary", "risk", "score"):
                cursor.execute(f"DELETE FROM base.{table} WHERE list_contains(?, task)", [gone]).fetchall()
            cursor.execute("DELETE FROM base.attempt WHERE list_contains(?, task)", [lost]).fetchall()
        self._known -= set(gone)
        self._tried = {attempt for attempt in self._tried if attempt[0] not in set(lost)}

    def flush(self) -> None:
        """Write what waits, in one transaction; Unwritable if the disk will not have it.

        Of a task whose values no column takes nothing is kept, and its commit is taken back: see `damaged`.
        """
        told, self._waiting, self._waiting_rows = self._waiting, [], 0
        try:
            self._write(told)
        except REFUSED:
            for one in told:
                try:
                    self._write([one])
                except REFUSED:
                    if "outcome" in one.tables:
                        quarantine(one.folder)
                        self.damaged.append(one.folder)
                        self._known.discard(one.folder.name)

    def publish(self, target: Path) -> None:
        """Replace `target` by a copy of the index; TargetBusy and SynthcError as `publish` says, Unwritable if the index is."""
        self.flush()
        with _saying(self.path):
            execute(self._connection, "CHECKPOINT")
        publish(self.path, target, self.origin)

    def _read_whole(self) -> None:
        """Every block has a checksum that reading it compares: 34 ms for 14 MB, against damage that would be published."""
        for (table,) in self._rows("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'base'"):
            self._rows(f"SELECT bit_xor(hash(COLUMNS(*))) FROM base.{table}")

    def _read_store(self, store: Path) -> None:
        """Every row that the store implies."""
        for record in sorted(store.glob("runs/*/run.json")):
            # A record that was damaged says nothing; what it ran is still there.
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, *REFUSED):
                self.record_run(json.loads(record.read_text(encoding="utf-8")))
        for outcome in sorted(store.glob("??/*/outcome.json")):
            try:
                self.record_outcome(outcome.parent)
            except Corrupt as found:
                quarantine(found.folder)
        for attempts in sorted(store.glob("??/*/attempts")):
            self.record_attempts(attempts.parent)
        self.flush()

    def _wait(self, folder: Path, told: rows.Rows) -> None:
        tables: dict[str, list[tuple[Any, ...]]] = {}
        for table, values in told:
            tables.setdefault(table, []).extend(values)
        self._waiting.append(_Told(folder, tables))
        self._waiting_rows += sum(map(len, tables.values()))
        if self._waiting_rows >= LOT:
            self.flush()

    def _write(self, told: Sequence[_Told]) -> None:
        tables: dict[str, list[tuple[Any, ...]]] = {}
        for one in told:
            for table, values in one.tables.items():
                tables.setdefault(table, []).extend(values)
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
        with _saying(self.path):
            try:
                self._connection.execute("BEGIN").fetchall()
                yield self._connection
                self._connection.execute("COMMIT").fetchall()
            except BaseException:
                with contextlib.suppress(duckdb.Error):   # a commit that failed has rolled back itself
                    self._connection.execute("ROLLBACK").fetchall()
                raise

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        self.flush()
        with _saying(self.path):
            return self._connection.cursor().execute(query, list(values)).fetchall()


def rebuild(store: Path, target: Path) -> None:
    """Make index and published database anew from what the store holds."""
    for old in (store / "index.duckdb", store / "index.duckdb.wal"):
        old.unlink(missing_ok=True)
    path = store / "index.duckdb"
    check_version(store)
    with contextlib.closing(Index._made(path, connect(path))) as index:
        index._read_store(store)
        index.publish(target)
