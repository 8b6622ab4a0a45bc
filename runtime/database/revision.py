"""Changes the published database atomically: in a copy, which is checked and then renamed over the original, under a lock.

    .results.duckdb.lock         held from before the first read to after the rename: publishers wait for each other
    .results.duckdb.<pid>.next   the copy, which has no log

The file is copied as a whole, so everything that a user keeps in it is preserved: tables with their keys, views, macros, types,
sequences, indexes, comments. Readers keep the old file until they close it.
Not here: which rows change (`publish`, `gather`).
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import duckdb

from compiler.errors import SynthcError, first_line, sentence_of
from runtime.database.connect import PATIENCE_SECONDS, check_path, connect, execute
from runtime.database.quoting import literal
from runtime.database.schema import SCHEMA_DIGEST, create, upgrade
from runtime.store.files import take_lock

LOCK_SECONDS = 60.0
"""Longest wait of a publisher for another one: publishing takes well below a second for a million rows."""

OTHER_TARGET = "move it away, or name another --db"
"""What to do about a file that is no place for results."""


class TargetBusy(SynthcError):
    """Another process has the published database open for writing, publishes to it, or has left a log with which it cannot be
    opened. No data are lost; publish again later."""


@contextlib.contextmanager
def revision(target: Path, *, of: Path | None = None, patience: float = PATIENCE_SECONDS) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection whose database in use, attached as `published`, is a copy of `target` with the schema of this version, to
    be changed; when the block ends without an exception, the copy replaces `target` (of a link, the file that it leads to).

    Without a `target`, it is a copy of the file `of`, or has no rows. SynthcWarning as of `upgrade`, for users' tables renamed.
    TargetBusy when for longer than `patience` seconds another process writes to `target`, or a log beside it keeps it from being
    opened, or when another publishes to it for longer than LOCK_SECONDS. SynthcError when synthc did not make `target`, a newer or
    too old one did, its folder is missing, or it cannot be written; and instead of any OSError or duckdb.Error in the block.
    """
    target = Path(os.path.realpath(target))
    copy = target.with_name(f".{target.name}.{os.getpid()}.next")
    _check_folder(target)
    check_path(target)
    with locked(target), contextlib.ExitStack() as stack:
        try:
            for abandoned in target.parent.glob(f".{glob.escape(target.name)}.*next*"):
                abandoned.unlink(missing_ok=True)
            stack.callback(copy.unlink, missing_ok=True)
            # A DuckDB instance of its own: a full disk makes an instance unusable.
            connection = stack.enter_context(contextlib.closing(connect()))
            if target.exists():
                deadline = time.monotonic() + patience
                while not _copy_held(target, copy, stack, connection, last=time.monotonic() >= deadline):
                    time.sleep(0.1)
            elif of is not None:
                shutil.copyfile(of, copy)
            # Without a write-ahead log: a copy that is not whole is deleted, and the log would have the umask's rights.
            execute(connection, f"ATTACH {literal(copy)} AS published (RECOVERY_MODE no_wal_writes)")
            execute(connection, "USE published")
            _bring_schema(connection)
            yield connection
            execute(connection, "CHECKPOINT published")
            execute(connection, "USE memory")
            execute(connection, "DETACH published")
            _check_copy(connection, copy)
            _take_place(copy, target)
        except (OSError, duckdb.Error) as error:
            raise SynthcError(f"{target}: cannot be published: {_reason(error)}") from error


@contextlib.contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold the lock of the published database `target`, the file `.<name>.lock` beside it, until the block ends. Waits for another
    holder; TargetBusy after LOCK_SECONDS, SynthcError where the file cannot be made or opened, or the file system has no locks.

    All users who may write to the folder may take the lock, whatever the umask of its maker: renaming needs the same right.
    """
    path = target.with_name(f".{target.name}.lock")
    try:
        handle = path.open("ab+", buffering=0)
        _share(handle, target.parent)
    except OSError as error:
        raise SynthcError(f"{target}: cannot be published: {sentence_of(error)}") from error
    with handle:
        deadline = time.monotonic() + LOCK_SECONDS
        while not take_lock(handle, path):
            if time.monotonic() > deadline:
                raise TargetBusy(f"{target}: another process has published into it for {LOCK_SECONDS:.0f} s; publishing waits")
            time.sleep(0.02)
        yield


def _share(lock: IO[bytes], folder: Path) -> None:
    """Give the lock the folder's group (as root also its owner), and let all who may write to `folder` open it. What this user may
    not change, such as the lock of another user, stays, without an error."""
    of, now = folder.stat(), os.fstat(lock.fileno())
    mode = 0o600 | (0o060 if of.st_mode & 0o020 else 0) | (0o006 if of.st_mode & 0o002 else 0)
    if (now.st_uid, now.st_gid) != (of.st_uid, of.st_gid):
        with contextlib.suppress(PermissionError):  # not of the folder's group, as in /tmp: the rights of others matter then
            os.fchown(lock.fileno(), of.st_uid if os.geteuid() == 0 else -1, of.st_gid)
    if now.st_mode & 0o777 != mode:
        with contextlib.suppress(PermissionError):
            os.fchmod(lock.fileno(), mode)


def check_target(target: Path) -> bool:
    """True if `target` is a database that synthc published, False if it does not exist; SynthcError for anything else, and where
    its folder is missing or cannot be written. A file counts as published, unread, if another process has it open for writing, or
    if it has a log and cannot be opened."""
    target = Path(os.path.realpath(target))
    _check_folder(target)
    check_path(target)
    if not target.exists():
        return False
    _check_file(target, OTHER_TARGET)
    return True


def check_source(source: Path) -> None:
    """SynthcError unless `source` exists and is a database that synthc published. Its folder need not be writable.

    A file is accepted unread if another process has it open for writing, or if it has a log and cannot be opened."""
    check_path(source)
    if not source.exists():
        raise SynthcError(f"{source}: there is no such database")
    _check_file(source, "name the results.duckdb of a store, or a bundle")


def _check_file(path: Path, advice: str) -> None:
    try:
        with contextlib.closing(connect(path, read_only=True)) as connection:
            _check_maker(connection, path, advice)
    except duckdb.Error as error:
        refusal = _refusal(path, error, advice)
        if not isinstance(refusal, TargetBusy):  # whether a process still writes is checked when the copy is made
            raise refusal from error


def log_of(database: Path) -> Path:
    """Path of DuckDB's write-ahead log of a database."""
    return database.with_name(f"{database.name}.wal")


def _check_maker(connection: duckdb.DuckDBPyConnection, path: Path, advice: str, database: str = "") -> None:
    """SynthcError, which ends with `advice`, unless synthc made the database at `path`. `database`: its name with a dot where it is
    attached, "" where it is the one that is open."""
    try:
        if execute(connection, f"SELECT made_by FROM {database}base.meta") == [("synthc",)]:
            return
    except duckdb.CatalogException:
        pass
    raise SynthcError(f"{path}: a database, but not one of synthc's; {advice}")


def _refusal(path: Path, error: duckdb.Error, advice: str) -> SynthcError:
    """The error to raise for a file that DuckDB cannot open: TargetBusy where DuckDB cannot lock it, as when a process has it open
    for writing, or a log lies beside it, else SynthcError, for no database. The text ends with `advice`, except where the message
    names the process."""
    said = first_line(error)
    unlocked = said.startswith("IO Error: Could not set lock on file ")
    holder = re.search(r"held in (.+?) \(PID (\d+)\)", str(error)) if unlocked else None
    if holder is not None:
        who = f"{holder[1]} (pid {holder[2]})"
        return TargetBusy(f"{path} is open for writing in {who}, so publishing waits; its changes are safe")
    if unlocked or log_of(path).exists():
        return TargetBusy(f"{path}: cannot be opened: {said}; {advice}")
    return SynthcError(f"{path}: not a database ({said}); {advice}")


def _check_folder(target: Path) -> None:
    if not target.parent.is_dir():
        raise SynthcError(f"{target}: there is no folder {target.parent}; make it, or name another --db")
    if not os.access(target.parent, os.W_OK):
        raise SynthcError(f"{target}: the folder cannot be written; name another --db")


def _copy_held(target: Path, copy: Path, stack: contextlib.ExitStack, connection: duckdb.DuckDBPyConnection, last: bool) -> bool:
    """Copy `target` to `copy`, keep writers from `target` until `stack` is closed, and return True. Where another process writes to
    it, or it has a log and cannot be opened, return False, or raise TargetBusy if this is the `last` try. SynthcError where it is
    no database of synthc.

    The file is attached read-only, which admits readers and keeps writers out; for writing only to replay the log of a killed
    writer. Neither works while another process has it open for writing.
    """
    # Open to the end: closing any handle of a file drops the locks that this process has on it (POSIX).
    source = stack.enter_context(target.open("rb"))
    try:
        if not log_of(target).exists():
            execute(connection, f"ATTACH {literal(target)} AS held (READ_ONLY)")
            if log_of(target).exists():  # a writer came, and was killed, in between
                execute(connection, "DETACH held")
        if log_of(target).exists():
            execute(connection, f"ATTACH {literal(target)} AS held")
            execute(connection, "CHECKPOINT held")
    except duckdb.Error as error:
        refusal = _refusal(target, error, OTHER_TARGET)
        if isinstance(refusal, TargetBusy) and not last:
            return False
        raise refusal from error
    _check_maker(connection, target, OTHER_TARGET, "held.")
    with open(copy, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as into:  # `_take_place` gives it the old rights
        size = os.fstat(source.fileno()).st_size
        while (done := into.tell()) < size:  # in the kernel: half of the time of reading and writing
            into.seek(done + os.sendfile(into.fileno(), source.fileno(), done, size - done))
    return True


def _bring_schema(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the schema in an empty copy, or upgrade that of an earlier version; SynthcError as of `upgrade`."""
    tables = execute(connection, "SELECT 1 FROM duckdb_tables() WHERE database_name = 'published' AND schema_name = 'base'")
    if not tables:
        create(connection)
    elif execute(connection, "SELECT schema FROM base.meta") != [(SCHEMA_DIGEST,)]:
        upgrade(connection)


def _check_copy(connection: duckdb.DuckDBPyConnection, copy: Path) -> None:
    """Attach the written copy and read its schema's digest and its number of outcomes: SynthcError if the digest is not that of
    this version, duckdb.Error if they cannot be read."""
    execute(connection, f"ATTACH {literal(copy)} AS written (READ_ONLY)")
    if execute(connection, "SELECT schema, made_by FROM written.base.meta") != [(SCHEMA_DIGEST, "synthc")]:
        raise SynthcError(f"{copy}: the copy is not whole; nothing was published")
    execute(connection, "SELECT count(*) FROM written.base.outcome")
    execute(connection, "DETACH written")


def _take_place(copy: Path, target: Path) -> None:
    """Sync the copy to disk and rename it to `target`, with the permissions of the file that it replaces, and its owner and group
    where this user may set them."""
    with copy.open("rb+") as handle:
        os.fsync(handle.fileno())
    if target.exists():
        old = target.stat()
        os.chmod(copy, old.st_mode & 0o7777)
        with contextlib.suppress(PermissionError):  # only root may give a file away
            os.chown(copy, old.st_uid, old.st_gid)
    os.replace(copy, target)


def _reason(error: OSError | duckdb.Error) -> str:
    full = (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or "No space left" in str(error)
    if isinstance(error, OSError) and not full:
        return sentence_of(error)
    said = error.strerror if isinstance(error, OSError) else first_line(error)
    return f"{said}; {'free some space' if full else 'it may be damaged: move it away'}, or name another --db"
