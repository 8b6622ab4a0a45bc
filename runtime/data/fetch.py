"""Downloads a known data set from its publisher: resumes interrupted downloads, checks the published checksum, unpacks.

A file gets its final name only when it is complete and its checksum is right. Only files that the catalogue names are unpacked, and
only into their folder. Not here: URLs (`catalogue`), reading the files (`sources`).
"""

from __future__ import annotations

import http.client
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from compiler.data.records import data_root
from compiler.errors import SynthcError, SynthcWarning
from runtime.data.catalogue import CATALOGUE, Remote, md5_of

MAX_ATTEMPTS = 5
"""Connections that may fail before a download is given up; received bytes are kept, and the next `fetch` resumes from them."""
TIMEOUT_SECONDS = 30.0
"""Seconds without a byte until a connection counts as broken."""
MAX_DOWNLOAD_BYTES = 1 << 32
"""CINIC-10's archive has 688 million."""
MAX_UNPACKED_BYTES = 1 << 33

Progress = Callable[[str, int, int | None], None]
"""Called with a file's name, the bytes received, and the bytes in all, None where the server does not give them."""


def fetch(name: str, progress: Progress) -> None:
    """Download the published files of the set `name`, one of CATALOGUE, to the data root, unpack archives, and delete these then.
    Left as they are: files with the right checksum (see `downloaded`), and an archive's files if all are there, whatever they hold.
    SynthcError where one cannot be had, with how to do it by hand, is broken, or cannot be written; SynthcWarning as of
    `downloaded`."""
    for remote in CATALOGUE[name].remotes:
        folder = data_root() / remote.into
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if remote.unpacks and all((folder / file).exists() for file in remote.unpacks):
                continue
            target = downloaded(name, remote, folder, progress)
            if remote.unpacks:
                unpack(target, folder, remote.unpacks)
                target.unlink()
        except OSError as error:
            reason = error.strerror or error
            raise SynthcError(f"{folder}: cannot be written: {reason}; SYNTHC_DATA names another folder") from error


def downloaded(name: str, remote: Remote, folder: Path, progress: Progress) -> Path:
    """Path of the complete file of `remote` in `folder`, with the right checksum, downloaded where it is absent or, with a
    SynthcWarning, has another checksum (then that file is renamed to `FILE.damaged`). SynthcError, which begins with `name`, the
    set's, if no URL gives it; OSError where the folder cannot be written. What came of a broken download stays as `FILE.part`, and
    the next call resumes from it; a complete download with another checksum is deleted."""
    target = folder / remote.name
    if target.exists():
        if (found := md5_of(target)) == remote.md5:
            return target
        os.replace(target, kept := target.with_name(f"{target.name}.damaged"))
        what = f"not the published file (its md5 is {found}, not {remote.md5})"
        warnings.warn(SynthcWarning(f"{target}: {what}; kept as {kept.name}, and fetched again"), stacklevel=1)
    part = target.with_name(f"{target.name}.part")
    reasons = []
    for url in remote.urls:
        begun = part.exists()
        reason = _receive(url, part, target.name, progress)
        if begun and reason is None and md5_of(part) != remote.md5:  # what an earlier download left is damaged
            part.unlink()
            reason = _receive(url, part, target.name, progress)
        if reason is not None:
            reasons.append(f"{url}: {reason}")
            continue
        found = md5_of(part)
        if found == remote.md5:
            os.replace(part, target)
            return target
        part.unlink()  # a wrong file cannot be resumed
        reasons.append(f"{url}: its md5 is {found}, not {remote.md5}: another file, or damaged on its way")
    raise SynthcError(
        f"{name}: {'; '.join(reasons)}. Try again later (what came is kept), or get {remote.name} on another machine, "
        f"put it into {folder}, and run `synthc data fetch {name}`"
    )


def _receive(url: str, part: Path, name: str, progress: Progress) -> str | None:
    """Append the missing bytes of `url` to `part`, over up to MAX_ATTEMPTS connections; where the server does not resume, replace
    `part` by the whole file. Returns the reason why it failed, None if it did not; the checksum is not compared. `name`: the
    file's, for `progress`. OSError where `part` cannot be written."""
    reason = "no answer"
    for _ in range(MAX_ATTEMPTS):
        have = part.stat().st_size if part.exists() else 0
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                resumed = answer.status == 206  # else the server sends the whole file
                have = have if resumed else 0
                length = answer.headers.get("Content-Length")
                total = have + int(length) if length and length.isdecimal() else None
                with part.open("ab" if resumed else "wb") as to:
                    while block := answer.read(1 << 16):
                        have += to.write(block)
                        if have > MAX_DOWNLOAD_BYTES:
                            return f"it has over {MAX_DOWNLOAD_BYTES:,} bytes"
                        progress(name, have, total)
            if total is None or have == total:
                return None
            reason = f"the connection broke off after {have:,} of {total:,} bytes"
        except urllib.error.HTTPError as error:
            if error.code == 416 and have:  # nothing is lacking; the checksum tells whether it is right
                return None
            reason = f"the server says {error.code} {error.reason}"
            if error.code < 500:
                return reason
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            cause = getattr(error, "reason", error)
            if isinstance(cause, OSError) and not isinstance(cause, TimeoutError | ConnectionResetError):
                return f"cannot be reached ({cause.strerror or cause})"  # no network: no use in trying again
            reason = f"the connection broke off ({cause})"
    return reason


def unpack(archive: Path, folder: Path, wanted: tuple[str, ...]) -> None:
    """Unpack the `wanted` files or folders of a tar archive into `folder`, except those that are there; links and devices in them
    are left out. SynthcError if the archive is broken, lacks one of them, or unpacks to more than MAX_UNPACKED_BYTES; OSError where
    the folder cannot be written."""
    beside = folder / f".{archive.name}.unpacked"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with tarfile.open(archive) as opened:
            # Not links, devices, what lies elsewhere, and what nobody asked for; the filter keeps the rest inside.
            members = [member for member in opened if member.isfile() and _is_below(PurePosixPath(member.name), wanted)]
            if sum(member.size for member in members) > MAX_UNPACKED_BYTES:
                raise SynthcError(f"{archive}: unpacks to over {MAX_UNPACKED_BYTES:,} bytes")
            opened.extractall(beside, members, filter="data")
        for name in wanted:
            if not (beside / name).exists():
                raise SynthcError(f"{archive}: lacks {name}")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if not (folder / name).exists():
                os.replace(beside / name, folder / name)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise SynthcError(f"{archive}: cannot be unpacked: {error}; remove it and fetch again") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _is_below(path: PurePosixPath, wanted: tuple[str, ...]) -> bool:
    return ".." not in path.parts and any(path.is_relative_to(name) for name in wanted)
