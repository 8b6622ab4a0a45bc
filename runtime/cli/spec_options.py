"""How a command names a study: the file, a profile, assignments. Shared by every command that compiles."""

from __future__ import annotations

import argparse
from pathlib import Path

from compiler.plan import Plan


def spec_options() -> argparse.ArgumentParser:
    """SPEC, `--profile`, `--set` (a parent parser)."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("spec", type=Path, metavar="SPEC", help="the study, a YAML file")
    shared.add_argument("--profile", metavar="NAME", help="overlay this profile of the spec")
    shared.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        dest="sets",
        help="replace one value, such as audit.shadows=32; repeatable, YAML-typed",
    )
    return shared


def compiled(args: argparse.Namespace) -> Plan:
    """The plan of the study that the arguments name; SpecError when it does not compile."""
    from compiler.compile import compile_study

    return compile_study(args.spec, args.profile, args.sets)
