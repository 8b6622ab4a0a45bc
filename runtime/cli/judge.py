"""`synthc judge SET --members M --holdout H`: checks one released set for copies of members against a policy."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.errors import SynthcError
from compiler.text.escape import plain
from runtime.cli.results_options import add_command, store_of

if TYPE_CHECKING:
    from datetime import datetime

    from runtime.judge.judging import Judgement
    from runtime.judge.nearness import Tick

SHOWN = 10
"""Most listed members that are printed; the page and JSON have all."""


def register(commands: Any) -> None:
    """Add the command `judge` with its options."""
    judge = add_command(
        commands,
        "judge",
        _judge,
        results=False,
        help="judge one released set with a holdout",
        description="Hold one synthetic set against the members that it was made from and a holdout that was set aside before\n"
        "(`synthc split`): which members it copies beyond coincidence, whether it is nearer to members at all, what it is good\n"
        "for, and whether a policy lets it go. No model and no shadows are needed. Every set is an .npz, a folder of images by\n"
        "class, a .parquet file, or a known data set.",
        epilog="examples:\n"
        "  synthc judge made/ --members split/members --holdout split/holdout --test split/test\n"
        "  synthc judge made.npz --members split/members.npz --holdout split/holdout.npz --policy policy.yaml --page verdict.html\n"
        "  synthc judge made.npz --members m.npz --holdout h.npz --json\n"
        "a policy:\n"
        "  policy:\n"
        "    - {metric: copied_members, end: low, at_most: 0}\n"
        "    - {metric: detectable_share, at_most: 0.02}\n"
        "    - {metric: use.accuracy, end: low, at_least: {share: 0.8, of: use.accuracy_of_members}}\n"
        "Exit codes: 0 open, 2 something to mend, 3 the policy is closed, 4 cannot tell (the set holds images of\n"
        "the holdout; or, without a policy: the holdout is too small to detect copies of 2 % of members).",
    )
    option = judge.add_argument
    option("set", metavar="SET", help="the synthetic set")
    option("--members", required=True, metavar="M", help="the real images that it was made from")
    option("--holdout", required=True, metavar="H", help="real images drawn by the same lot and never used")
    option("--test", metavar="T", help="further real images, used for nothing else: what is the set good for?")
    option("--public", metavar="P", help="public images that the features are trained on (default: drawn shapes)")
    option("--policy", type=Path, metavar="FILE", help="conditions, a YAML file with `policy:`")
    option("--unit", metavar="FILE|COLUMN", help="what belongs together, as for split (default: as it was drawn)")
    option("--image", default="image", metavar="COLUMN", help="of Parquet: bytes of the images (default: image)")
    option("--label", default="label", metavar="COLUMN", help="of Parquet: whole numbers or names (default: label)")
    option("--json", action="store_true", help="print JSON instead of sentences")
    option("--page", type=Path, metavar="FILE", help="also write one HTML page")
    option("--with-private-images", action="store_true", help="on the page: listed members beside the images that copy them")
    option("--db", type=Path, metavar="FILE", help="also keep the result as a study of its own, in this database")
    option("--store", type=Path, metavar="DIR", help="with --db: the store (default: .synthc beside the database)")
    option("--study", metavar="NAME", help="with --db: what the study is called (default: the set's name)")


def _judge(args: argparse.Namespace) -> int:
    found, said = judge_as_asked(args)
    if args.json:
        print(json.dumps(said, indent=2, allow_nan=False))
    else:
        show(found)
    return found.exit_code


def judge_as_asked(args: argparse.Namespace) -> tuple[Judgement, dict[str, Any]]:
    """The judgement, and its JSON with the time of the start. With `--page` the page is written, with `--db` the result stored and
    published; progress is shown on standard error. SynthcError for arguments or sets that are not valid (SpecError for a policy),
    where the page or the database cannot be written, and where the loss of a training is not finite; OSError where a file of the
    store cannot be written.

    Each of the arguments for sets may be an ImageSet instead of a name, and `policy` conditions, or None, instead of a path.
    """
    if args.db is None and (args.store or args.study):
        raise SynthcError("--store and --study say how a result is kept; give --db FILE with them")
    if args.with_private_images and args.page is None:
        raise SynthcError("--with-private-images says what a page shows; give --page FILE with it")
    from datetime import UTC, datetime

    from compiler.check.policy import read_policy

    policy = read_policy(args.policy) if isinstance(args.policy, Path) else args.policy  # before anything is computed

    from runtime.judge.judging import judge, read_sets
    from runtime.outcome import Diverged

    sets = read_sets(
        args.set, args.members, args.holdout, args.test, args.public, unit=args.unit, image=args.image, label=args.label
    )
    started, clock = datetime.now(UTC), time.perf_counter()
    try:
        with _progress() as tick:
            found = judge(sets, policy, tick)
    except Diverged as error:
        what = str(error).partition(";")[0]  # without the advice for studies
        raise SynthcError(f"{args.set}: a net that the judgement needs cannot be trained on these sets: {what}") from error
    if args.page:
        from runtime.judge.page import write_page

        write_page(args.page, found, args.with_private_images)
        print(f"wrote {args.page}", file=sys.stderr)
    if args.db:
        _store_judgement(args, found, started, time.perf_counter() - clock)
    return found, found.as_json() | {"judged": started.isoformat(timespec="seconds")}


def _store_judgement(args: argparse.Namespace, found: Judgement, started: datetime, seconds: float) -> None:
    from runtime.cli.store_audit import StoredResult, spec_of, store_result, study_name
    from runtime.database.revision import check_target
    from runtime.judge.product import headline, product_of, work_of

    check_target(args.db.absolute())
    file = Path(args.set if isinstance(args.set, str) else args.set.name)
    result = StoredResult(
        study=study_name(args.study, file, store_of(args)), method="judge", question="May this set be released?",
        spec=spec_of(file), command="judge", work=work_of(found), product=product_of(found, started), headline=headline(found),
        started=started, seconds=seconds,
    )  # fmt: skip
    argv = sys.argv[1:] if sys.argv[1:2] == ["judge"] else ["judge", str(file)]
    store_result(result, argv=argv, store=store_of(args), target=args.db.absolute())


def show(found: Judgement) -> None:
    """Print the judgement on standard output: sentences, figures, the first SHOWN listed members and holdout images as near, and
    what it cannot see."""
    from runtime.judge.judging import BLIND
    from runtime.judge.page import figure_rows

    print(found.sentence)
    for one in found.settled:
        print(f"  {one.sentence}")
    print("\nfigures")
    for name, text, note in figure_rows(found):
        print(f"  {name:<26}{text:<34} {note}".rstrip())
    for what, looks in (("listed members", found.listed), ("phantoms in the holdout", found.phantoms)):
        if looks:
            print(f"\n{what}, nearest first")
            for look in looks[:SHOWN]:
                print(f"  {look.image:<30} {look.distance:.3g} in {look.space}, row {look.released} of the set")
            if len(looks) > SHOWN:
                print(f"  and {len(looks) - SHOWN:,} more: --json or --page has all")
    print("\nwhat this cannot see")
    for line in (*BLIND, *found.notes):
        print(f"- {line}")


@contextlib.contextmanager
def _progress() -> Iterator[Tick]:
    """Yield a progress callback: on standard error a bar per step if it is a terminal, else a line every ten seconds at most."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(file=plain(sys.stderr))
    columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    said = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bars:
        known: dict[str, Any] = {}

        def tick(what: str, done: int, total: int) -> None:
            nonlocal said
            if what not in known:
                known[what] = bars.add_task(what, total=total)
            bars.update(known[what], completed=done)
            if not console.is_terminal and time.monotonic() - said > 10:
                said = time.monotonic()
                print(f"{what}: {done:,} of {total:,}", file=sys.stderr)

        yield tick
