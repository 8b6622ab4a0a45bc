"""Options by which commands that compile name a study: file, profile, assignments."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compiler.language.study import Trial
    from compiler.plan.dag import Plan


def spec_options(*, optional: bool = False) -> argparse.ArgumentParser:
    """A parent parser with SPEC, which may be left out (then None) if `optional`, `--profile`, and `--set` (as `sets`)."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("spec", type=Path, metavar="SPEC", nargs="?" if optional else None, help="the study, a YAML file")
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


def only_option() -> argparse.ArgumentParser:
    """A parent parser with `--only WORD=VALUE`, repeatable, for commands that can work on a part of a study; [] without it."""
    return _repeatable_option(
        "--only",
        "WORD=VALUE",
        "only trials with this value, such as arm=coreset,method=[random,forgetting]; repeatable, the words of claims",
    )


def force_option() -> argparse.ArgumentParser:
    """A parent parser with `--force ADDRESS`, repeatable, for commands that run tasks or list what would run; [] without it."""
    return _repeatable_option(
        "--force",
        "ADDRESS",
        "compute again though done: a task's address or id, a trial or a pattern with *, and what rests on it; repeatable",
    )


def _repeatable_option(option: str, metavar: str, text: str) -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(option, action="append", default=[], metavar=metavar, help=text)
    return shared


def select_forced(plan: Plan, args: argparse.Namespace) -> frozenset[str]:
    """Ids of the tasks that `--force` names, and of all that depend on them; empty without it. SynthcError for what names no
    task."""
    if not args.force:
        return frozenset()
    from compiler.inspect.explain import find_tasks

    return plan.with_dependents(task.id for address in args.force for task in find_tasks(plan, address))


def compile_study_of(args: argparse.Namespace) -> Plan:
    """The plan of the study that the arguments name (spec, profile, `--set`), whose user's files are read and recorded first;
    SpecError when it does not compile, further errors as of `compile_with_files`."""
    from runtime.data.cards import compile_with_files

    return compile_with_files(args.spec, args.profile, args.sets)


def identify_data(trials: Iterable[Trial]) -> bool:
    """Read and record the known data sets of trials whose digest is neither pinned nor recorded on this machine, with lines on
    standard error that say so, since ids depend on their content. Returns whether there was any: what was compiled before is then
    to be compiled again. SynthcError where such a set is missing or broken."""
    from compiler.inspect.data_notices import unseen

    absent = unseen(trials)
    for name in absent:
        from runtime.data.sources import read_and_record

        print(f"{name}: reading it for the first time, to identify it by its content", file=sys.stderr)
        record = read_and_record(name)
        counts = f"{record.samples:,} + {record.test_samples:,} images"
        print(f"{name}: {counts}, identified by their content as {record.digest}", file=sys.stderr)
    return bool(absent)


def print_notices(plan: Plan) -> None:
    """Print notices on data, and lints, to standard error; for silenced lints only the codes."""
    from compiler.inspect.data_notices import notices

    for notice in notices(plan):
        print(f"synthc: {notice}", file=sys.stderr)
    for finding in plan.lints:
        if finding.silenced is None:
            print(f"synthc: {finding}", file=sys.stderr)
    if silenced := sorted({finding.code for finding in plan.lints if finding.silenced is not None}):
        print(f"synthc: silenced by the spec: {', '.join(silenced)}", file=sys.stderr)
