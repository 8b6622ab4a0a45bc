"""Copies finished trials from a store into an archive, and from an archive into another store, without images and weights.

    trials/<aa>/<id>/task.json, outcome.json, <stem>.safetensors      of an attack task: its commit
                     task.json, figures.json                          of a task that an attack depends on: its figures, no tensors

An attack that is committed needs none of its inputs, so in the other store the trial counts as done. The tasks that it depends on
do not; their figures (seconds, training curves, settings) can be asked for. Not here: the bundle file (`runtime.cli.bundle`),
rows (`runtime.database.gather`).
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from compiler.errors import SynthcError
from runtime.store.artifacts import FIGURES_FILE, Artifact, folder_of, has_outcome, is_done
from runtime.store.files import atomic_write
from runtime.store.records import encode_record, read_record

IMAGES = "pairs.safetensors"
"""The attack's file of canaries and released images for galleries; it is left out of archives."""
MEMBER = re.compile(r"trials/([0-9a-f]{2})/(\1[0-9a-f]{14})/((?:task|outcome|figures)\.json|\w+\.safetensors)")
DATABASE = "results.duckdb"
MAX_BYTES = 4 << 30
"""Most bytes that the trials of one archive, and its database, may each unpack to."""


def pack(archive: zipfile.ZipFile, store: Path, answers: Iterable[str]) -> int:
    """Add the commits of the done tasks among `answers` (ids) to the archive, without IMAGES, after checking their digests; returns
    their number, each id counted once.

    The figures of the tasks that these need are added too, and so on from task to task while figures are known. Corrupt where a
    file is gone or was changed since its task wrote it; the archive then has what was added before.
    """
    done = {task: None for task in answers if is_done(store, task)}
    packed = dict(done)
    waiting = list(packed)
    for task in waiting:
        artifact, place = Artifact(folder_of(store, task)), f"trials/{task[:2]}/{task}"
        names = [f"{stem}.safetensors" for stem in artifact.stems if task in done and f"{stem}.safetensors" != IMAGES]
        for name in names:
            archive.writestr(f"{place}/{name}", artifact.content(name.removesuffix(".safetensors")))
        archive.write(artifact.folder / "task.json", f"{place}/task.json")
        archive.writestr(f"{place}/{'outcome.json' if task in done else FIGURES_FILE}", encode_outcome(artifact, names))
        needs = dict.fromkeys(need for _, need in artifact.task["needs"] if need not in packed and has_outcome(store, need))
        waiting += needs
        packed |= needs
    return len(done)


def unpack(archive: zipfile.ZipFile, store: Path) -> int:
    """Commit the trials of an archive that the (locked) store lacks, after checking digests; returns their number.

    Figures of the tasks that the trials depend on are copied too, of those without an outcome in the store. SynthcError where the
    trials unpack to more than MAX_BYTES, or the archive itself is damaged, Corrupt where a file is missing or was changed; then
    nothing is committed.
    """
    members = {member: found for member in archive.infolist() if (found := MEMBER.fullmatch(member.filename))}
    if sum(member.file_size for member in members) > MAX_BYTES:
        raise SynthcError(f"{archive.filename}: its trials unpack to more than {MAX_BYTES >> 30} GiB; nothing was taken in")
    with tempfile.TemporaryDirectory(prefix="synthc-bundle-") as temporary:
        beside = Path(temporary)
        for member, found in members.items():
            folder = folder_of(beside, found[2])
            folder.mkdir(parents=True, exist_ok=True)
            with _name_damaged(archive.filename):
                content = archive.read(member)
            (folder / found[3]).write_bytes(content)
        tasks = dict.fromkeys(found[2] for found in members.values())
        trials = [task for task in tasks if is_done(beside, task) and not is_done(store, task)]
        new = [*(task for task in tasks if not is_done(beside, task) and not has_outcome(store, task)), *trials]
        for task in new:
            _check(Artifact(folder_of(beside, task)))
        for task in new:
            _commit(folder_of(beside, task), folder_of(store, task))
        return len(trials)


@contextlib.contextmanager
def open_bundles(paths: Iterable[Path]) -> Iterator[tuple[list[Path], list[zipfile.ZipFile]]]:
    """Yield the path of the database that each of these files is or contains, in order, and those archives among them, open, that
    contain trials. What is extracted is deleted, and the archives closed, when the block ends. A file that is no zip archive is
    taken for a database, unread, also a missing one.

    SynthcError for an archive that is no bundle of synthc, or whose database unpacks to more than MAX_BYTES.
    """
    databases: list[Path] = []
    bundles: list[zipfile.ZipFile] = []
    with contextlib.ExitStack() as stack:
        for path in paths:
            if not zipfile.is_zipfile(path):
                databases.append(path)
                continue
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synthc-bundle-")))
            with _name_damaged(path):
                archive = stack.enter_context(zipfile.ZipFile(path))
                if archive.getinfo(DATABASE).file_size > MAX_BYTES:
                    raise SynthcError(f"{path}: its database unpacks to more than {MAX_BYTES >> 30} GiB")
                databases.append(Path(archive.extract(DATABASE, folder)))
            if any(MEMBER.fullmatch(name) for name in archive.namelist()):
                bundles.append(archive)
        yield databases, bundles


@contextlib.contextmanager
def _name_damaged(path: object) -> Iterator[None]:
    """Raise a SynthcError that names `path` instead of what `zipfile` raises for an archive that is damaged or lacks a member."""
    try:
        yield
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # RuntimeError: encrypted, or packed oddly
        raise SynthcError(f"{path}: not a bundle of synthc, or a damaged one: {error}") from error


def _check(artifact: Artifact) -> None:
    """Corrupt where a record or a file of tensors of the task is gone, or was changed since it was written."""
    read_record(artifact.folder / "task.json")
    for stem in artifact.stems:
        artifact.content(stem)


def _commit(source: Path, folder: Path) -> None:
    """Copy the files of a task from `source` to `folder`, which is made if missing; last the one by which its outcome counts as
    known."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir(), key=lambda path: path.name in ("outcome.json", FIGURES_FILE)):
        with atomic_write(folder / path.name) as beside:
            beside.write_bytes(path.read_bytes())


def encode_outcome(artifact: Artifact, names: Collection[str]) -> bytes:
    """Bytes of a record of the artifact's outcome, in which only those of its files are listed that `names` has; Corrupt as of
    `Artifact.outcome`."""
    files = {name: digest for name, digest in artifact.outcome["files"].items() if name in names}
    return encode_record({name: value for name, value in artifact.outcome.items() if name != "digest"} | {"files": files})
