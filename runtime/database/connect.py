"""Opens connections to DuckDB, which load and download no extensions."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb

from compiler.errors import SynthcError

NO_EXTENSIONS: dict[str, Any] = {"autoload_known_extensions": "false", "autoinstall_known_extensions": "false"}
"""Otherwise DuckDB, when it opens a file of another kind (such as SQLite's), downloads the extension that reads it."""

PATIENCE_SECONDS = 3.0
"""How long to wait for another process that has the database open for writing: a script ends by then, a notebook may not for
hours."""


def connect(path: Path | None = None, *, read_only: bool = False, **config: str) -> duckdb.DuckDBPyConnection:
    """Connect to the database file `path`, which is made if missing and not `read_only`; without `path`, to a new database in
    memory. `config`: further settings of DuckDB, which loads no extension by itself.

    duckdb.Error if the file cannot be opened, or is missing and `read_only`; SynthcError as of `check_path`.
    """
    if path is not None:
        check_path(path)
    name = ":memory:" if path is None else str(path.absolute())  # `md:x` alone would be no file
    return duckdb.connect(name, read_only=read_only, config=NO_EXTENSIONS | config)


def check_path(path: Path) -> None:
    """SynthcError if `path` exists and is not a regular file (a folder, a pipe, a device), or if its absolute path contains a
    question mark: DuckDB reads what follows it as options, and would write its log to another path. A missing file is accepted."""
    if path.exists() and not path.is_file():
        raise SynthcError(f"{path}: not a file; name a database")
    if "?" in str(path.absolute()):
        raise SynthcError(f"{path.absolute()}: DuckDB keeps no database below a name with `?`; rename it, or name another place")


@contextlib.contextmanager
def second_name(path: Path) -> Iterator[Path]:
    """Yield a second path of a database file, which is deleted when the block ends: a hard link beside it, or, where links are not
    possible, a copy in a temporary folder. OSError if the file is missing or cannot be copied.

    DuckDB does not attach one path twice, and treats a path that this process has open as the file that it was when opened.
    """
    other = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.next")
    try:
        os.link(path, other)
    except OSError:  # no hard links on this disk, or no right to write to the folder
        with tempfile.TemporaryDirectory(prefix="synthc-") as folder:
            yield Path(shutil.copy(path, folder))
        return
    try:
        yield other
    finally:
        other.unlink(missing_ok=True)


def execute(connection: duckdb.DuckDBPyConnection, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """Run a statement, with `values` for its placeholders, and return all of its rows: [] for one without rows; of INSERT, UPDATE
    and DELETE one row, their count. Of several statements in one text the rows of the last are returned. duckdb.Error if it fails.

    DuckDB 2.0 streams results: until a result, even of DDL, is fetched to its end, the next statement may raise
    ResourceInUseException.
    """
    return connection.execute(statement, values or None).fetchall()
