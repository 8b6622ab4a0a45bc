"""`synthc data list|fetch|verify|import`: lists known data sets, downloads them, checks their content, converts Parquet files."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.errors import SynthcError, did_you_mean
from compiler.text.escape import plain

if TYPE_CHECKING:
    from runtime.data.fetch import Progress


def register(commands: Any) -> None:
    """Add the command `data` with its actions `list`, `fetch`, `verify` and `import`."""
    data = commands.add_parser(
        "data",
        help="list, fetch and check data sets",
        description="Data sets that a study can name: in $SYNTHC_DATA (or ~/.cache/synthc/data) as torchvision lays them out, or\n"
        "in Debian's /usr/share/datasets.",
        epilog="examples:\n  synthc data list\n  synthc data fetch cifar10 cinic10\n  synthc data verify fashion_mnist\n"
        "  synthc data import photos.parquet -o photos.npz",
    )
    what = data.add_subparsers(metavar="ACTION", required=True)

    listed = what.add_parser("list", help="what is known, and what of it is here")
    listed.set_defaults(handler=_list)

    fetch = what.add_parser(
        "fetch",
        help="download from the public home, with a checksum",
        description="Download data sets from their public homes into $SYNTHC_DATA. Goes on where an earlier download broke off.",
        epilog="example:\n  synthc data fetch mnist cifar10",
    )
    fetch.add_argument("names", nargs="+", metavar="NAME")
    fetch.set_defaults(handler=_fetch)

    verify = what.add_parser(
        "verify",
        help="compare files with the published checksums, and content with the pinned digest",
        description="Read data sets whole and compare them. Without a name: all that are here. Exit code 1 if one is not what it\n"
        "should be, 2 if one cannot be read.",
        epilog="examples:\n  synthc data verify\n  synthc data verify cifar10",
    )
    verify.add_argument("names", nargs="*", metavar="NAME")
    verify.set_defaults(handler=_verify)

    taken = what.add_parser(
        "import",
        help="make an .npz of a Parquet file of images",
        description="Decode a column of PNG or JPEG bytes into an .npz, for a study with `data: {name: files, path: FILE.npz}`.",
        epilog="examples:\n  synthc data import photos.parquet -o photos.npz\n"
        "  synthc data import train.parquet --test test.parquet --image img --label fine_label -o photos.npz",
    )
    taken.add_argument("source", type=Path, metavar="FILE", nargs="+", help="Parquet; several are shards of one set, in this order")
    taken.add_argument("--test", type=Path, metavar="FILE", nargs="+", default=[], help="the official test split, likewise")
    taken.add_argument("--image", default="image", metavar="COLUMN", help="bytes of the images (default: image)")
    taken.add_argument("--label", default="label", metavar="COLUMN", help="whole numbers or names (default: label)")
    taken.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: the source's name with .npz")
    taken.set_defaults(handler=_import)


def _list(args: argparse.Namespace) -> int:
    from compiler.data.records import card_here, data_root
    from compiler.language.datasets import CARDS

    print(f"data root: {data_root()}\n")
    print(f"{'name':<14}{'images':>8}{'test':>8}{'classes':>9}  {'shape':<9}  where")
    for name, card in CARDS.items():
        here = card_here(name)
        shape = "×".join(map(str, card.shape))
        print(f"{name:<14}{here.samples:>8,}{here.test_samples:>8,}{card.classes:>9}  {shape:<9}  {_whereabouts(name)}")
    print("\nfiles: your own, as an .npz or a folder of images by class; `synthc data import` makes an .npz of Parquet")
    return 0


def _whereabouts(name: str) -> str:
    """A phrase on where a set is and how its digest is known, or that it is not here, or which of its files are missing. No data
    file is read."""
    from compiler.data.records import record_of
    from compiler.language.datasets import CARDS
    from runtime.data.catalogue import CATALOGUE, find

    if name not in CATALOGUE:
        return f"comes with synthc; {CARDS[name].about}"
    try:
        folder = find(name).folder
    except SynthcError as error:
        return str(error) if "lacks" in str(error) else f"not here; synthc data fetch {name}"
    if CARDS[name].digest:
        return f"{folder}; its digest {CARDS[name].digest} is pinned, compared at each use"
    if (record := record_of(name)) is None:
        return f"{folder}; unverified until it is read: synthc data verify {name}"
    said = {True: "the published files", False: "NOT the published files", None: "no checksums published for this form"}
    return f"{folder}; digest {record.digest} as first seen here, {said[record.published]}"


def _fetch(args: argparse.Namespace) -> int:
    from runtime.data.fetch import fetch

    wrong = False
    for name in _in_files(args.names):
        where = _take_damaged_away(name)
        if where is not None:
            print(f"{name}: already in {where}")
        else:
            with _bars() as progress:
                fetch(name, progress)
        wrong |= not _verified(name)
    return 1 if wrong else 0


def _take_damaged_away(name: str) -> Path | None:
    """Read and record a set; returns the folder of its files if these are in order, None if they must be downloaded: where the set
    is absent or incomplete, or files are damaged, cannot be read or are not the published ones.

    Each such file, or folder of images (each of the set where neither checksums nor the error tell which), is renamed to
    `FILE.damaged`, in place of an earlier one, and named in a printed line. Outside the data root it is left where it is, since
    what is downloaded comes before it. OSError where a file with a published checksum, or a folder of images, cannot be opened,
    and where one cannot be renamed.
    """
    from compiler.data.records import data_root
    from compiler.language.datasets import CARDS
    from runtime.data.catalogue import find
    from runtime.data.sources import read_and_record

    try:
        found = find(name)
    except SynthcError:
        return None
    unread, reason, pinned = False, "not the published file", CARDS[name].digest
    try:
        if (digest := read_and_record(name).digest) == pinned:  # a file can be compressed in another way
            return found.folder
        unread = bool(pinned) and digest != pinned
    except SynthcError as error:
        unread, reason = True, str(error)
    whole = [path for file in found.form.files if (path := found.form.present(found.folder, file)) is not None]
    named = [path for path in whole if path.is_file() and str(path) in reason]
    damaged = [path for path, fine in found.checked() if fine is False] or ((named or whole) if unread else [])
    ours = found.folder.is_relative_to(data_root())
    for path in damaged:
        kept = f"kept as {path.name}.damaged" if ours else f"left there; {data_root()} gets another"
        print(f"{path}: {reason.removeprefix(f'{path}: ')}; {kept}")
        if ours:
            _rename_damaged(path)
    return None if damaged else found.folder


def _rename_damaged(path: Path) -> None:
    """Rename a file or folder to `NAME.damaged`, in place of an earlier one."""
    import shutil

    target = path.with_name(f"{path.name}.damaged")
    if target.is_dir():
        shutil.rmtree(target)
    path.replace(target)


def _verify(args: argparse.Namespace) -> int:
    from compiler.data.records import data_root
    from runtime.data.catalogue import CATALOGUE, find

    names = _in_files(args.names)
    if not names:
        for name in CATALOGUE:
            with contextlib.suppress(SynthcError):
                find(name)
                names.append(name)
        if not names:
            raise SynthcError(f"no data set lies in {data_root()}; `synthc data fetch NAME` gets one")
    return 0 if all([_verified(name) for name in names]) else 1


def _verified(name: str) -> bool:
    """Read a set, print the findings and record them. Returns whether its digest is the pinned one; without a pinned digest,
    whether no file differs from its published checksum (a set without published checksums passes). SynthcError where it is absent,
    broken or cannot be read."""
    from compiler.language.datasets import CARDS
    from runtime.data.catalogue import find
    from runtime.data.sources import read_and_record

    found, pinned = find(name), CARDS[name].digest
    record = read_and_record(name)
    counts = f"{record.samples:,} + {record.test_samples:,} images in {found.folder}"
    if record.digest == pinned:  # whatever the files are: the content decides, and a file can be compressed in another way
        print(f"{name}: {counts}, digest {record.digest}, as pinned")
        return True
    for path, fine in found.checked():
        if fine is False:
            print(f"{name}: {path}: not the published file: another one, or damaged")
    if pinned:
        print(f"{name}: {counts}, digest {record.digest}, NOT {pinned}, which is pinned: no study can use it")
        return False
    said = {True: "all files as published", False: "NOT as published", None: "no checksums are published for this form"}
    print(f"{name}: {counts}, digest {record.digest}, {said[record.published]}")
    return record.published is not False


def _in_files(names: list[str]) -> list[str]:
    from compiler.language.datasets import CARDS
    from runtime.data.catalogue import CATALOGUE

    for name in names:
        if name not in CATALOGUE:
            what = "needs no files" if name in CARDS else "is not known"
            raise SynthcError(f"the data set {name!r} {what}; {did_you_mean(name, CATALOGUE)}")
    return list(names)


def _import(args: argparse.Namespace) -> int:
    from runtime.data.formats.parquet import converted

    target = args.output or args.source[0].with_suffix(".npz")
    if target.exists():
        raise SynthcError(f"{target}: already there, and nothing is overwritten; choose another name with -o")
    made = converted(args.source, args.test, target, args.image, args.label)
    print(f"wrote {target}: {made['images']:,} images and {made['test_images']:,} test images of {len(made['classes'])} classes")
    if made["classes"] != list(range(len(made["classes"]))):
        print("classes: " + ", ".join(f"{place} {name}" for place, name in enumerate(made["classes"])))
    print(f"in a study: data: {{name: files, path: {target}}}")
    return 0


@contextlib.contextmanager
def _bars() -> Iterator[Progress]:
    """Yield a progress callback for `fetch`: on standard error a bar per file if it is a terminal, else a line at the beginning of
    each file."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(file=plain(sys.stderr))
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        known: dict[str, Any] = {}

        def progress(name: str, have: int, total: int | None) -> None:
            if name not in known:
                known[name] = bars.add_task(name, total=total)
                if not console.is_terminal:
                    print(f"fetching {name}" + (f", {total / 1e6:.1f} MB" if total else ""), file=sys.stderr)
            bars.update(known[name], completed=have, total=total)

        yield progress
