"""`synthc gc`, `doctor`: looking after a store and a machine."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.errors import SynthcError
from runtime.cli.results_options import results_options, store_of


def register(commands: Any) -> None:
    """Add the commands of this family."""
    gc = commands.add_parser(
        "gc", parents=[results_options()], help="drop what no kept study needs",
        description="List what no study needs, as its latest run under each profile says. Only --delete deletes it.",
        epilog="examples:\n  synthc gc\n  synthc gc --delete\n  synthc gc --drop old_study --delete",
    )
    gc.add_argument("--drop", action="append", default=[], metavar="STUDY", help="do not keep this study (repeatable)")
    gc.add_argument("--delete", action="store_true", help="really delete")
    gc.set_defaults(handler=_gc)
    doctor = commands.add_parser(
        "doctor", parents=[results_options()], help="check the installation, the store and the database",
        description="Check Python, libraries, devices, data sets, disk, store and database. Exit code 1 if something is wrong.",
        epilog="examples:\n  synthc doctor\n  synthc doctor --deep     also read every file of the store\n"
        "  synthc doctor --ray      also start Ray",
    )
    doctor.add_argument("--deep", action="store_true", help="compare every file of the store with its digest")
    doctor.add_argument("--ray", action="store_true", help="start Ray and wait for a worker: some seconds")
    doctor.set_defaults(handler=_doctor)


def _gc(args: argparse.Namespace) -> int:
    from runtime.database.index import rebuild
    from runtime.store.artifacts import held
    from runtime.store.garbage import latest_runs, litter, remove

    store = store_of(args)
    if not store.is_dir():
        raise SynthcError(f"{store}: there is no store; --store names another")
    with held(store):
        known = sorted({record["study"] for record in latest_runs(store)})
        for study in args.drop:
            if study not in known:
                raise SynthcError(f"no study is called {study!r}; there are: {', '.join(known)}")
        found = litter(store, args.drop)
        size = found.size
        what = f"{len(found.tasks)} tasks and {len(found.files)} leftover files, {size / 1e6:.1f} MB"
        if not args.delete:
            print(f"{what}, could go; --delete deletes them")
            return 0
        remove(found)
        for path in store.glob("runs/*/run.json") if args.drop else ():
            if any(f'"study": "{study}"' in path.read_text(encoding="utf-8") for study in args.drop):
                shutil.rmtree(path.parent)
        rebuild(store, args.db.absolute())
        print(f"deleted {what}")
    return 0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    said: str
    fine: bool = True


def _doctor(args: argparse.Namespace) -> int:
    findings = [*_installation(), *_machine(), *(_workers() if args.ray else ()), *_data(), *_results(args)]
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        print(f"{'ok ' if finding.fine else 'BAD'}  {finding.what:{width}}  {finding.said}")
    return 0 if all(finding.fine for finding in findings) else 1


def _installation() -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, requires, version

    yield Finding("python", sys.version.split()[0], sys.version_info >= (3, 11))
    missing = []
    for requirement in requires("synthc") or []:
        name = requirement.split(";")[0].strip()
        if "extra ==" in requirement:
            continue
        for end in "<>=!~ [":
            name = name.split(end)[0]
        try:
            version(name)
        except PackageNotFoundError:
            missing.append(name)
    yield Finding("libraries", f"missing: {', '.join(missing)}; run `make study`" if missing else "all there", not missing)
    for name in ("torch", "ray", "duckdb"):
        if name not in missing:
            yield Finding(name, version(name))


def _machine() -> Iterator[Finding]:
    import torch

    yield Finding("processors", f"{os.cpu_count()}; torch may use {torch.get_num_threads()} threads, a worker uses one")
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count()))
        yield Finding("GPUs", names)
    else:
        yield Finding("GPUs", "none")
    shared = Path("/dev/shm")
    if shared.exists():
        free = shutil.disk_usage(shared).free / 1e9
        yield Finding("shared memory", f"{free:.1f} GB free for Ray's object store", free > 0.2)


def _workers() -> Iterator[Finding]:
    from runtime.execution.ray_engine import RayEngine

    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as place:
            RayEngine(Path(place), workers=1).close()
    except SynthcError as error:
        yield Finding("workers", str(error), False)
    else:
        yield Finding("workers", f"Ray started, a worker answered and ended, in {time.monotonic() - began:.1f} s")


def _data() -> Iterator[Finding]:
    from compiler.language.data import Data
    from compiler.plan.lower import dataset_of
    from runtime.data.sources import load

    for name in ("digits", "fashion_mnist"):
        try:
            pool = load(dataset_of(Data(name=name))).pool
            shape = "×".join(map(str, pool.images.shape[1:]))
            yield Finding(f"data {name}", f"{len(pool):,} images of {shape}, as the digest says")
        except SynthcError as error:
            yield Finding(f"data {name}", str(error), name != "digits")


def _results(args: argparse.Namespace) -> Iterator[Finding]:
    from runtime.database.read import query
    from runtime.store.artifacts import check_version
    from runtime.store.garbage import damaged

    store = store_of(args)
    where = store if store.exists() else store.parent
    free = shutil.disk_usage(where).free / 1e9
    yield Finding("disk", f"{free:.1f} GB free at {where}", free > 1)
    if not store.is_dir():
        yield Finding("store", f"{store}: none yet")
    else:
        try:
            check_version(store)
            yield Finding("store", f"{store}: {len(list(store.glob('??/*/outcome.json'))):,} tasks done")
        except SynthcError as error:
            yield Finding("store", str(error), False)
        if args.deep:
            found = list(damaged(store))
            worst = f"{found[0]}; {len(found)} in all; the next run computes them again" if found else ""
            yield Finding("artifacts", worst or "every file is what was written", not found)
    if not args.db.exists():
        yield Finding("database", f"{args.db}: none yet")
        return
    try:
        (runs,) = query(args.db, "SELECT count(*) FROM run")[1][0]
        yield Finding("database", f"{args.db}: {runs} runs")
    except SynthcError as error:
        yield Finding("database", str(error), False)
