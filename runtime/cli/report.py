"""`synthc report`: one page that answers a study's question."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from runtime.cli.results_options import results_options, store_of


def register(commands: Any) -> None:
    """Add the command."""
    report = commands.add_parser(
        "report",
        parents=[results_options()],
        help="one page with everything",
        description="Write one self-contained HTML file: verdicts of the claims, comparison, linked charts,\n"
        "synthetic images, parameters, provenance. It works without a network.\n"
        "Private images are left out unless asked for.",
        epilog="examples:\n  synthc report -o report.html\n"
        "  synthc report -o report.html --study full_study --profile fashion_mnist",
    )
    report.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the page to write")
    report.add_argument("--study", metavar="NAME", help="of several studies in the database (default: the one that ran last)")
    report.add_argument("--profile", metavar="NAME", help="of several profiles of the study (default: the one that ran last)")
    report.add_argument(
        "--with-private-images", action="store_true", help="also show sets made of private images, and private images beside"
    )
    report.set_defaults(handler=_report)


def _report(args: argparse.Namespace) -> int:
    from runtime.present.report import write

    write(args.output, args.db, store_of(args), args.study, args.profile, args.with_private_images)
    if args.with_private_images:
        print(f"{args.output} (shows private images: do not pass it on)")
    else:
        print(args.output)
    return 0
