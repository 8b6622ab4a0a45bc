"""`synthc gc`, `doctor`: clean a store, check a store and a machine."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.errors import SynthcError, plural, sentence_of
from runtime.cli.results_options import add_command, store_of


def register(commands: Any) -> None:
    """Add the commands `gc` and `doctor`."""
    gc = add_command(
        commands,
        "gc",
        _gc,
        help="drop what no kept study needs",
        description="List what no study needs, as its latest run under each profile says. Only --delete deletes it.",
        epilog="examples:\n  synthc gc\n  synthc gc --delete\n  synthc gc --drop old_study --delete",
    )
    gc.add_argument("--drop", action="append", default=[], metavar="STUDY", help="do not keep this study (repeatable)")
    gc.add_argument("--delete", action="store_true", help="really delete")
    doctor = add_command(
        commands,
        "doctor",
        _doctor,
        help="check the installation, the store and the database",
        description="Check Python, libraries, devices, data sets, disk, store and database. Exit code 1 if something is wrong.",
        epilog="examples:\n  synthc doctor\n  synthc doctor --deep     also read every file of the store\n"
        "  synthc doctor --ray      also start Ray",
    )
    doctor.add_argument("--deep", action="store_true", help="compare every file of the store with its digest")
    doctor.add_argument("--ray", action="store_true", help="start Ray and wait for a worker: some seconds")


def _gc(args: argparse.Namespace) -> int:
    from runtime.database.index import rebuild
    from runtime.store.artifacts import lock_store
    from runtime.store.garbage import delete, find_garbage, latest_runs
    from runtime.store.records import read_runs

    store = store_of(args)
    if not store.is_dir():
        raise SynthcError(f"{store}: there is no store; --store names another")
    with lock_store(store):
        studies = sorted({record["study"] for record in latest_runs(store)})
        for study in args.drop:
            if study not in studies:
                raise SynthcError(f"no study is called {study!r}; there are: {', '.join(studies)}")
        garbage = find_garbage(store, args.drop)
        there = f"{plural(len(garbage.tasks), 'task')} and {plural(len(garbage.files), 'leftover file')}"
        size = f"{there}, {garbage.size / 1e6:.1f} MB"
        if garbage.resumable:
            kept = f"kept: checkpoints of {plural(garbage.resumable, 'task')}, from which `synthc run` goes on"
            print(f"{kept}; --drop STUDY drops them")
        if not args.delete:
            print(f"{size}, could go; --delete deletes them")
            return 0
        (store / "index.duckdb").unlink(missing_ok=True)  # rebuilt by the next command, even if this one is killed
        delete(garbage)
        for folder, record in read_runs(store) if args.drop else ():
            if isinstance(record, dict) and record["study"] in args.drop:
                shutil.rmtree(folder)
        for problem in rebuild(store, args.db.absolute()):
            print(f"synthc: {problem}", file=sys.stderr)
        print(f"deleted {size}")
    return 0


@dataclass(frozen=True)
class Check:
    """The result of one check of `synthc doctor`."""

    name: str
    result: str
    ok: bool = True


def _doctor(args: argparse.Namespace) -> int:
    workers = _check_workers() if args.ray else ()
    checks = [*_check_installation(), *_check_machine(), *workers, *_check_data(), *_check_results(args)]
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"{'ok ' if check.ok else 'BAD'}  {check.name:{width}}  {check.result}")
    return 0 if all(check.ok for check in checks) else 1


def _check_installation() -> Iterator[Check]:
    from importlib.metadata import PackageNotFoundError, requires, version

    yield Check("python", sys.version.split()[0], sys.version_info >= (3, 11))
    missing = []
    for requirement in requires("synthc") or []:
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        try:
            if "extra ==" not in requirement:
                version(name)
        except PackageNotFoundError:
            missing.append(name)
    yield Check("libraries", f"missing: {', '.join(missing)}; run `make study`" if missing else "all there", not missing)
    for name in ("torch", "ray", "duckdb"):
        if name not in missing:
            yield Check(name, version(name))


def _check_machine() -> Iterator[Check]:
    import torch

    yield Check("processors", f"{os.cpu_count()}; torch may use {torch.get_num_threads()} threads, a worker uses one")
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        yield Check("GPUs", names)
    else:
        yield Check("GPUs", "none")
    shared = Path("/dev/shm")
    if shared.exists():
        free = shutil.disk_usage(shared).free / 1e9
        yield Check("shared memory", f"{free:.1f} GB free for Ray's object store", free > 0.2)


def _check_workers() -> Iterator[Check]:
    import tempfile

    from runtime.execution.ray_engine import RayEngine

    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as store:
            RayEngine(Path(store), workers=1).close()
    except SynthcError as error:
        yield Check("workers", str(error), False)
    else:
        yield Check("workers", f"Ray started, a worker answered and ended, in {time.monotonic() - began:.1f} s")


def _check_data() -> Iterator[Check]:
    from compiler.language.data import Data
    from compiler.plan.lower import dataset_of
    from runtime.data.sources import load

    for name in ("digits", "fashion_mnist"):
        try:
            pool = load(dataset_of(Data(name=name))).pool
            shape = "×".join(map(str, pool.images.shape[1:]))
            yield Check(f"data {name}", f"{len(pool):,} images of {shape}, as the digest says")
        except SynthcError as error:
            yield Check(f"data {name}", str(error), name != "digits")


def _check_results(args: argparse.Namespace) -> Iterator[Check]:
    from runtime.database.read import open_read_only

    store = store_of(args)
    folder = store if store.exists() else store.parent
    free = shutil.disk_usage(folder).free / 1e9
    yield Check("disk", f"{free:.1f} GB free at {folder}", free > 1)
    if not store.is_dir():
        yield Check("store", f"{store}: none yet")
    else:
        yield from _check_store(store, args.deep)
    if not args.db.exists():
        yield Check("database", f"{args.db}: none yet")
        return
    try:
        with open_read_only(args.db) as query:
            (runs,) = query("SELECT count(*) FROM run")[1][0]
            for (table,) in query("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'base'")[1] if args.deep else ():
                query(f"SELECT bit_xor(hash(COLUMNS(*))) FROM base.{table}")  # every block has a checksum, which reading compares
        yield Check("database", f"{args.db}: {plural(runs, 'run')}")
    except SynthcError as error:
        yield Check("database", f"{error}; move it away, then `synthc db rebuild`", False)


def _check_store(store: Path, deep: bool) -> Iterator[Check]:
    from runtime.store.artifacts import read_mark, warn_of_others
    from runtime.store.garbage import find_damage

    try:
        read_mark(store)
        yield Check("store", f"{store}: {len(list(store.glob('??/*/outcome.json'))):,} tasks done")
    except (SynthcError, OSError) as error:
        yield Check("store", sentence_of(error) if isinstance(error, OSError) else str(error), False)
    if warning := warn_of_others(store):
        yield Check("store's rights", warning, False)
    if deep:
        damage = find_damage(store)
        for sentence in damage.sentences:
            yield Check("damaged", sentence, False)
        if not damage.sentences:
            yield Check("files", "every file is what was written")
        if damage.without_digest:
            counts = f"{damage.without_digest:,} of {damage.records:,} records"
            yield Check("digests", f"{counts}, of a version that wrote none, are taken as they are")
