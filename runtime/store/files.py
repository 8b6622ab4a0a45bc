"""Atomic writing of files (under a temporary name, then renamed), digests of their content, and file locks."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import IO

from compiler.errors import SynthcError


@contextlib.contextmanager
def atomic_write(path: Path, synced: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, for a file that the block makes. It is renamed to `path`, and replaces what
    is there, if the block ends without an exception; else it is deleted.

    `synced`: sync the content to disk before it is renamed.
    """
    temp = temp_path(path)
    try:
        yield temp
        if synced:
            sync(temp)
        os.replace(temp, path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise


def temp_path(path: Path) -> Path:
    """This process's temporary path, in the same folder, for a file that is then renamed to `path`; equal for equal paths."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def sync(path: Path) -> None:
    """Wait until the file's content is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def digest_of(content: bytes) -> str:
    """Digest of a file's content, sixteen hexadecimal digits: it detects damage, not forgery."""
    return blake2b(content, digest_size=8).hexdigest()


def take_lock(handle: IO[bytes], path: Path) -> bool:
    """Try, without waiting, to lock the open file `handle`; returns False where another handle holds the lock. SynthcError, which
    names `path`, where the file system has no locks.

    The kernel releases the lock when the handle is closed, or the process ends, however it ends.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        would_do = "mount it with locks (Lustre: -o flock; NFS: with lockd), or name --store and --db on another one"
        raise SynthcError(f"{path}: the file system has no locks (flock: {error.strerror}); {would_do}") from error
