"""The index of a store, `<store>/index.duckdb`: rows of all its outcomes, attempts and runs.

Rows are buffered and written together (a transaction costs at least 5 ms): when there are `MAX_PENDING_ROWS`, before a query, and
before publishing. A crash loses no result: the next run adds missing rows from the store.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from compiler.errors import SynthcError, SynthcWarning, first_line
from runtime.database import rows
from runtime.database.connect import PATIENCE_SECONDS, connect, execute
from runtime.database.publish import OF_OUTCOME, publish
from runtime.database.schema import SCHEMA_DIGEST, create
from runtime.store.artifacts import FIGURES_FILE, Artifact, folder_of, quarantine, read_mark
from runtime.store.records import Corrupt, read_record, read_runs, write_record

MAX_PENDING_ROWS = 4096

VALUE_ERRORS = (duckdb.DataError, duckdb.ProgrammingError)
"""DuckDB's errors about values that do not fit a column; all others are about the disk or DuckDB itself."""


class Unwritable(SynthcError):
    """The index cannot be written or read, mostly because the disk is full. Committed results are safe, and the index can be
    rebuilt."""

    def __init__(self, path: Path, error: Exception) -> None:
        full = "free some space" if "No space left" in str(error) else "name another --store"
        super().__init__(f"{path}: {first_line(error)}; {full}: what is committed stays")


@contextlib.contextmanager
def _raise_unwritable(path: Path) -> Iterator[None]:
    try:
        yield
    except VALUE_ERRORS:
        raise
    except duckdb.Error as error:
        raise Unwritable(path, error) from error


Pending = tuple[Path, dict[str, list[tuple[Any, ...]]]]
"""A folder of the store, and its rows by table, which are not written yet."""


class Index:
    """The index of a store, made by `open` or `make`. Not thread-safe. Every method that reads or writes rows raises Unwritable
    where the file cannot be read or written.

    `damaged`: folders of tasks whose commits have values that fit no column; they are quarantined. `problems`: sentences on the
    runs and commits that could not be read when the index was made; empty for one that was only opened.
    """

    def __init__(self, path: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self.path, self._connection = path, connection
        self.origin: str = read_mark(path.parent)["origin"]
        self.damaged: list[Path] = []
        self.problems: list[str] = []
        self._replaced: set[str] = set()
        self._pending: list[Pending] = []
        self._pending_count = 0
        self._indexed = {task for (task,) in self._rows("SELECT task FROM base.outcome")}
        self._attempts = {(task, attempt) for task, attempt in self._rows("SELECT task, attempt FROM base.attempt")}

    @classmethod
    def open(cls, store: Path) -> Index:
        """Open the index of a locked store; it is made anew (`make`) where it is missing, cannot be read, or has another schema.
        Runs recorded as running are recorded as killed.

        If it is made anew, a SynthcWarning for each run and commit that cannot be read. SynthcError as of `read_mark` (a newer
        store, a damaged `store.json`) and `check_path`; Unwritable if the disk is full, or a new index cannot be written.
        """
        read_mark(store)
        path, connection = store / "index.duckdb", None
        try:
            if path.is_file():
                connection = connect(path)
                index = cls(path, connection)
                if index._rows("SELECT schema FROM base.meta") == [(SCHEMA_DIGEST,)]:
                    index._verify()
                    index._record_killed()
                    return index
        except (duckdb.Error, Unwritable) as error:
            if "No space left" in str(error):
                raise Unwritable(path, error) from error
        if connection is not None:
            with contextlib.suppress(duckdb.Error):
                connection.close()
        index = cls.make(store)
        for problem in index.problems:
            warnings.warn(problem, SynthcWarning, stacklevel=2)
        return index

    @classmethod
    def make(cls, store: Path) -> Index:
        """Build the index of a locked store from its files, in a new file that replaces the old one when complete.

        Runs and commits that cannot be read are named in `problems`, and the commits quarantined; runs recorded as running are
        recorded as killed. SynthcError as of `read_mark` and `check_path`; Unwritable if the new file cannot be written.
        """
        read_mark(store)
        path, beside = store / "index.duckdb", store / ".index.duckdb.next"
        _remove(beside)
        with _raise_unwritable(path), contextlib.closing(cls(beside, _create(beside))) as made:
            made._read_store(store)
        _remove(path)
        os.replace(beside, path)
        with _raise_unwritable(path):
            index = cls(path, connect(path))
        index.problems = made.problems
        index._record_killed()
        return index

    def close(self) -> None:
        """Write pending rows and close the connection, also if they cannot be written (Unwritable)."""
        try:
            self.flush()
        finally:
            with contextlib.suppress(duckdb.Error):  # after a full disk closing may fail
                self._connection.close()

    def missing(self, ids: Iterable[str]) -> list[str]:
        """The tasks among `ids` that have no outcome in the index, pending rows included, in the order of `ids`."""
        return [id for id in ids if id not in self._indexed]

    def seconds_by_operation(self) -> dict[str, float]:
        """Operation → mean seconds (wall-clock) of its tasks in the index, of all studies; an operation without a measured task is
        absent. Unwritable if the index cannot be read."""
        query = (
            "SELECT operation, avg(seconds) FROM base.outcome "
            "JOIN (SELECT DISTINCT task, operation FROM base.task) USING (task) GROUP BY ALL"
        )
        return {operation: seconds for operation, seconds in self._rows(query) if seconds is not None}

    def trial_results(self, study: str, profile: str | None) -> list[tuple[Any, ...]]:
        """A row (trial, paradigm, test_accuracy, epsilon, leakage, leakage_low, leakage_note, learned, chance, control) of each
        trial of the study's latest run under `profile` (None: without one), sorted by trial; None where a figure is not
        known. Unwritable if the index cannot be read."""
        query = (
            "SELECT trial, paradigm, test_accuracy, epsilon, leakage, leakage_low, leakage_note, learned, chance, control "
            "FROM comparison WHERE study = ? AND profile = ? ORDER BY trial"
        )
        return self._rows(query, study, profile or "")

    def earlier_headlines(self, study: str, profile: str | None, run: str) -> list[tuple[str, dict[str, Any]]]:
        """(name, declared headline) of each run of the study under `profile` (None: without one) that is earlier than `run` and has
        a trial with results in the index, in order of time. Unwritable if the index cannot be read."""
        query = (
            "SELECT run, headline FROM base.run WHERE study = ? AND profile = ? AND run < ? AND EXISTS ("
            "FROM base.trial JOIN base.outcome ON task = answer WHERE trial.run = run.run) ORDER BY run"
        )
        return [(name, json.loads(headline)) for name, headline in self._rows(query, study, profile or "", run)]

    def count_outcomes(self, study: str) -> int:
        """Number of attack tasks with results that were the answer of a trial of the study, under any profile and in any run.

        Trials that share their attack task count once; a trial whose task changed between runs counts once for each task.
        Unwritable if the index cannot be read.
        """
        query = (
            "SELECT count(DISTINCT answer) FROM base.trial JOIN base.run USING (origin, run) "
            "SEMI JOIN base.outcome AS outcome ON outcome.task = answer WHERE study = ?"
        )
        return int(self._rows(query, study)[0][0])

    def record_run(self, record: Mapping[str, Any]) -> None:
        """Write the rows of a run, its trials, stages and tasks (`record`: the content of `run.json`) at once; rows of an earlier
        record of the run are replaced. Errors as of `rows.run_rows`; one of VALUE_ERRORS for a value that does not fit its column;
        Unwritable if the index cannot be written. In each of these cases the rows stay as they were."""
        with self._transaction() as cursor:
            for table in ("run", "trial", "stage", "task"):
                execute(cursor, f"DELETE FROM base.{table} WHERE run = ?", [record["run"]])
            self._append(rows.run_rows(record))

    def record_outcome(self, folder: Path, *, again: bool = False) -> None:
        """Add to the pending rows those of the task in `folder`, from its commit or figures, unless the index has them; with
        `again` they are replaced.

        Corrupt if its files are gone, were changed, or cannot be read into rows; Unwritable if the pending rows become so many
        that they are written, and that fails.
        """
        artifact = Artifact(folder)
        try:
            task = artifact.outcome["task"]
            if again or task not in self._indexed:
                found = list(rows.outcome_rows(artifact))
                if task in self._indexed:
                    self._replaced.add(task)
                self._buffer(folder, found)
                self._indexed.add(task)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise Corrupt(folder, f"outcome.json does not say what it should: {first_line(error)}") from error

    def record_attempts(self, folder: Path) -> None:
        """Add rows of all attempts at the task in `folder` that have ended, unless the index has them; those with a damaged record
        are skipped."""
        for record in sorted(folder.glob("attempts/*/attempt.json")):
            with contextlib.suppress(Corrupt, ValueError, KeyError, TypeError, AttributeError):
                self.record_attempt(record.parent)

    def record_attempt(self, folder: Path) -> None:
        """Add the row of one attempt, from its folder `attempts/<n>` in the task's, to the pending rows, unless the index has it.
        Errors as of `rows.attempt_rows`; ValueError if the folder's name is no number."""
        attempt = folder.parents[1].name, int(folder.name)
        if attempt not in self._attempts:
            self._buffer(folder, rows.attempt_rows(folder))
            self._attempts.add(attempt)

    def forget(self, ids: Iterable[str]) -> None:
        """Delete the rows of the outcomes of the tasks `ids`, and of their attempts where the task's folder is gone; ids without
        rows are ignored. Pending rows are written first. Unwritable if the index cannot be written."""
        self.flush()
        tasks = set(ids)
        gone = sorted(tasks & self._indexed)
        store = self.path.parent
        lost = sorted({task for task, _ in self._attempts if task in tasks and not folder_of(store, task).exists()})
        if not gone and not lost:
            return
        with self._transaction() as cursor:
            self._delete_outcomes(gone)
            execute(cursor, "DELETE FROM base.attempt WHERE list_contains(?, task)", [lost])
        self._indexed -= set(gone)
        self._attempts = {attempt for attempt in self._attempts if attempt[0] not in set(lost)}

    def flush(self) -> None:
        """Write pending rows in one transaction; Unwritable, and these rows are dropped, if the file cannot be written.

        If a value does not fit its column, the rows of each task and attempt are written on their own. A task with such a value
        gets no rows, its commit is quarantined, and its folder added to `damaged`; an attempt with one is skipped.
        """
        pending, self._pending, self._pending_count = self._pending, [], 0
        try:
            self._write(pending)
        except VALUE_ERRORS:
            for one in pending:
                try:
                    self._write([one])
                except VALUE_ERRORS:
                    folder, tables = one
                    if "outcome" in tables:
                        quarantine(folder)
                        self.damaged.append(folder)
                        self._indexed.discard(folder.name)

    def publish(self, target: Path, patience: float = PATIENCE_SECONDS) -> None:
        """Write pending rows and publish the index's rows to `target`; waits up to `patience` seconds for another process that has
        `target` open for writing. Errors: those of `publish.publish`; Unwritable if the index cannot be read or written."""
        self.flush()
        with _raise_unwritable(self.path):
            execute(self._connection, "CHECKPOINT")
        publish(self.path, target, self.origin, patience)

    def _verify(self) -> None:
        """Read every block of the tables, so that DuckDB compares its checksum: damage would otherwise be published. Unwritable if
        a block is damaged. 34 ms for 14 MB."""
        for (table,) in self._rows("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'base'"):
            self._rows(f"SELECT bit_xor(hash(COLUMNS(*))) FROM base.{table}")

    def _record_killed(self) -> None:
        """Set the status `running` of runs in the index to `killed`, there and in their `run.json`: this process holds the store's
        lock, so no other run is going on.

        Runs whose `run.json` cannot be read stay as they are.
        """
        for (run,) in self._rows("SELECT run FROM base.run WHERE status = 'running'"):
            path = self.path.parent / "runs" / run / "run.json"
            with contextlib.suppress(Corrupt):
                record = read_record(path) | {"status": "killed"}
                write_record(path, record, synced=True)
                self.record_run(record)

    def _read_store(self, store: Path) -> None:
        """Add the rows of the whole store. A run whose record cannot be read gets no rows; a commit, or figures, that cannot be
        read are quarantined; each adds a sentence to `problems`. Attempts with a damaged record are skipped without one."""
        for folder, record in read_runs(store):
            try:
                if isinstance(record, Corrupt):
                    raise record
                self.record_run(record)
            except (Corrupt, ValueError, KeyError, TypeError, AttributeError, *VALUE_ERRORS) as error:
                what = (
                    str(error)
                    if isinstance(error, Corrupt)
                    else f"{folder}: run.json does not say what it should: {first_line(error)}"
                )
                self.problems.append(f"{what}; its rows are left out")  # the tasks that it ran are still there
        for outcome in (*sorted(store.glob("??/*/outcome.json")), *sorted(store.glob(f"??/*/{FIGURES_FILE}"))):
            try:
                self.record_outcome(outcome.parent)
            except Corrupt as corrupt:
                quarantine(corrupt.folder)
                elsewhere = outcome.name == FIGURES_FILE
                hint = "; merge the bundle again that it came with" if elsewhere else ", the next run computes it again"
                self.problems.append(f"{corrupt}; it is set aside{hint}")
        for attempts in sorted(store.glob("??/*/attempts")):
            self.record_attempts(attempts.parent)
        self.flush()
        self.problems += [f"{folder}: outcome.json has values that no column takes; it is set aside" for folder in self.damaged]

    def _buffer(self, folder: Path, found: rows.Rows) -> None:
        tables = _merge(found)
        self._pending.append((folder, tables))
        self._pending_count += sum(map(len, tables.values()))
        if self._pending_count >= MAX_PENDING_ROWS:
            self.flush()

    def _write(self, pending: Sequence[Pending]) -> None:
        tables = _merge(item for _, found in pending for item in found.items())
        if tables:
            with self._transaction():
                self._delete_outcomes(sorted(self._replaced))
                self._append(tables.items())
            self._replaced.clear()

    def _delete_outcomes(self, tasks: Sequence[str]) -> None:
        for table in OF_OUTCOME if tasks else ():
            execute(self._connection, f"DELETE FROM base.{table} WHERE list_contains(?, task)", [tasks])

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


def rebuild(store: Path, target: Path) -> list[str]:
    """Make the index of a locked store anew from its files and publish it to `target`. Returns a sentence on each run and commit
    that could not be read; the commits are quarantined. Errors as of `Index.make` and `Index.publish`."""
    with contextlib.closing(Index.make(store)) as index:
        index.publish(target)
        return index.problems


def _create(path: Path) -> duckdb.DuckDBPyConnection:
    connection = connect(path)
    create(connection)
    return connection


def _remove(path: Path) -> None:
    """Delete a database, then its log, or folders in their place, where they exist: a log alone does no harm, while a database
    without its log is incomplete."""
    for old in (path, path.with_name(f"{path.name}.wal")):
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
