"""Packs finished trials into an archive and unpacks them into another store: commits of their attacks, without images and weights.

    trials/<aa>/<id>/task.json, outcome.json, <stem>.safetensors

A task that is done needs none of the tasks before it, so with these commits the trials count as done. Not here: the bundle file
(`runtime.present.bundle`), rows (`runtime.database.gather`).
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from compiler.errors import SynthcError
from runtime.store.artifacts import Artifact, folder_of, is_done
from runtime.store.files import atomic_write
from runtime.store.records import encode_record, read_record

IMAGES = "pairs.safetensors"
"""The attack's file of canaries and released images for galleries; it is left out of archives."""
MEMBER = re.compile(r"trials/([0-9a-f]{2})/(\1[0-9a-f]{14})/((?:task|outcome)\.json|\w+\.safetensors)")
DATABASE = "results.duckdb"
MAX_BYTES = 4 << 30
"""Most bytes that the trials of one archive may unpack to."""


def pack(archive: zipfile.ZipFile, store: Path, answers: Iterable[str]) -> int:
    """Add the commits of these tasks to the archive, after checking their digests; returns the number of tasks that were done.

    Corrupt where a file was changed since its task wrote it.
    """
    packed = 0
    for task in answers:
        if not is_done(store, task):
            continue
        artifact, place = Artifact(folder_of(store, task)), f"trials/{task[:2]}/{task}"
        for stem in artifact.stems:
            if f"{stem}.safetensors" != IMAGES:
                archive.writestr(f"{place}/{stem}.safetensors", artifact.content(stem))
        archive.write(artifact.folder / "task.json", f"{place}/task.json")
        archive.writestr(f"{place}/outcome.json", without_images(artifact))
        packed += 1
    return packed


def unpack(archive: zipfile.ZipFile, store: Path) -> int:
    """Commit the trials of an archive that the (locked) store lacks, after checking digests; returns their number.

    SynthcError for an archive that synthc did not write; then nothing is committed.
    """
    members = {member: found for member in archive.infolist() if (found := MEMBER.fullmatch(member.filename))}
    if sum(member.file_size for member in members) > MAX_BYTES:
        raise SynthcError(f"{archive.filename}: its trials unpack to more than {MAX_BYTES >> 30} GiB; nothing was taken in")
    with tempfile.TemporaryDirectory(prefix="synthc-bundle-") as temporary:
        beside = Path(temporary)
        for member, found in members.items():
            folder = folder_of(beside, found[2])
            folder.mkdir(parents=True, exist_ok=True)
            (folder / found[3]).write_bytes(archive.read(member))
        new = [task for task in dict.fromkeys(found[2] for found in members.values()) if not is_done(store, task)]
        for task in new:
            _check(Artifact(folder_of(beside, task)))
        for task in new:
            _commit(folder_of(beside, task), folder_of(store, task))
        return len(new)


@contextlib.contextmanager
def open_bundles(paths: Iterable[Path]) -> Iterator[tuple[list[Path], list[zipfile.ZipFile]]]:
    """Yield paths of the databases that these files are or contain, and the archives among them that contain trials.

    SynthcError for an archive that is no bundle of synthc.
    """
    databases: list[Path] = []
    bundles: list[zipfile.ZipFile] = []
    with contextlib.ExitStack() as stack:
        for path in paths:
            if not zipfile.is_zipfile(path):
                databases.append(path)
                continue
            archive = stack.enter_context(zipfile.ZipFile(path))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synthc-bundle-")))
            try:
                if archive.getinfo(DATABASE).file_size > MAX_BYTES:
                    raise SynthcError(f"{path}: its database unpacks to more than {MAX_BYTES >> 30} GiB")
                databases.append(Path(archive.extract(DATABASE, folder)))
                if any(MEMBER.fullmatch(name) for name in archive.namelist()):
                    bundles.append(archive)
            except (KeyError, zipfile.BadZipFile) as error:
                raise SynthcError(f"{path}: not a bundle of synthc, or a damaged one: {error}") from error
        yield databases, bundles


def _check(artifact: Artifact) -> None:
    """Corrupt where a file was changed since its task wrote it."""
    read_record(artifact.folder / "task.json")
    for stem in artifact.stems:
        artifact.content(stem)


def _commit(source: Path, folder: Path) -> None:
    """Copy the files of a task, `outcome.json` last."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir(), key=lambda path: path.name == "outcome.json"):
        with atomic_write(folder / path.name) as beside:
            beside.write_bytes(path.read_bytes())


def without_images(artifact: Artifact) -> bytes:
    """The bytes of `outcome.json` without the file of images in its list of files."""
    files = {name: digest for name, digest in artifact.outcome["files"].items() if name != IMAGES}
    return encode_record({name: value for name, value in artifact.outcome.items() if name != "digest"} | {"files": files})
