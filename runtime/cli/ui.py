"""`synthc ui`: serves a local web page on the study, which follows a run."""

from __future__ import annotations

import argparse
from typing import Any

from runtime.cli.results_options import add_command, store_of, whole_number


def register(commands: Any) -> None:
    """Add the command `ui` with its options."""
    ui = add_command(
        commands,
        "ui",
        _ui,
        help="a local page to look at while a study runs",
        description="Serve a page on this machine alone: what is done, what failed and its log, the comparison as it fills up,\n"
        "claims, charts, images, and SQL over the views. It follows what `synthc run` publishes and never holds it up.\n"
        "Ctrl-C ends it.",
        epilog="examples:\n  synthc ui\n  synthc ui --db results.duckdb --port 8700 --open",
    )
    ui.add_argument("--port", type=whole_number(0, 65535), default=0, metavar="N", help="of 127.0.0.1 (default: any that is free)")
    ui.add_argument("--open", action="store_true", help="also open it in the browser")
    ui.add_argument("--with-private-images", action="store_true", help="also show sets made of private images")


def _ui(args: argparse.Namespace) -> int:
    from runtime.ui.server import serve
    from runtime.ui.state import Source

    def announce(address: str) -> None:
        print(f"{address}\nwhoever knows this address sees the results; Ctrl-C ends the page, not the run", flush=True)
        if args.open:
            import webbrowser

            webbrowser.open(address)

    serve(Source(args.db.absolute(), store_of(args), args.with_private_images), args.port, announce)
    return 0
