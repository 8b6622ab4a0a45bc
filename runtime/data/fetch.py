"""Download a known data set from its public home: resumed where it broke off, compared with the published checksum, unpacked.

A file takes its name only when it is whole and right. Nothing is unpacked but what the catalogue names, never outside its folder.
Not here: what is published where (`catalogue`), reading it (`sources`).
"""

from __future__ import annotations

import http.client
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from compiler.data.records import data_root
from compiler.errors import SynthcError
from runtime.data.catalogue import CATALOGUE, Remote, md5_of

MAX_ATTEMPTS = 5
"""Connections that may break off before a download gives up; what came is kept, and the next `fetch` goes on from it."""
TIMEOUT_SECONDS = 30.0
"""Seconds without a byte until a connection counts as broken."""
MAX_DOWNLOAD_BYTES = 1 << 32
"""CINIC-10's archive has 688 million."""
MAX_UNPACKED_BYTES = 1 << 33

Progress = Callable[[str, int, int | None], None]
"""Called with a file's name, bytes so far, and bytes in all where the server says so."""


def fetch(name: str, progress: Progress) -> None:
    """Put the published files of the set `name` below the data root; SynthcError if that cannot be done, saying by hand how."""
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
    """The file of `remote` in `folder`, whole and with the published checksum."""
    target = folder / remote.name
    if target.exists():
        if (found := md5_of(target)) == remote.md5:
            return target
        raise SynthcError(f"{target}: not the published file (its md5 is {found}, not {remote.md5}); move it away and fetch again")
    part = target.with_name(f"{target.name}.part")
    reasons = []
    for url in remote.urls:
        reason = _receive(url, part, target.name, progress)
        if reason is not None:
            reasons.append(f"{url}: {reason}")
            continue
        found = md5_of(part)
        if found == remote.md5:
            os.replace(part, target)
            return target
        part.unlink()  # what is wrong cannot be gone on from
        reasons.append(f"{url}: its md5 is {found}, not {remote.md5}: another file, or damaged on its way")
    raise SynthcError(
        f"{name}: {'; '.join(reasons)}. Try again later (what came is kept), or get {remote.name} on another machine, "
        f"put it into {folder}, and run `synthc data fetch {name}`"
    )


def _receive(url: str, part: Path, name: str, progress: Progress) -> str | None:
    """Append to `part` what it lacks of `url`; why it did not end well, else None."""
    reason = "no answer"
    for _ in range(MAX_ATTEMPTS):
        have = part.stat().st_size if part.exists() else 0
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                resumed = answer.status == 206  # else the server begins anew, whatever it was asked
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
    """Take `wanted` files or folders out of a tar archive into `folder`; SynthcError if it is broken or lacks one of them."""
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
