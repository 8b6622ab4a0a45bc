"""`synthc diff RUN RUN`: figures that changed between two runs of a study, and differences of spec and versions."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compiler.errors import plural
from runtime.cli.results_options import store_of


def diff_runs(args: argparse.Namespace) -> int:
    """Print the difference of the runs `args.left` and `args.right` (names, or unique prefixes of them), with `args.json` as JSON;
    returns 0. SynthcError for a name that is not one run's, and where the database cannot be read."""
    from compiler.inspect.explain import differences
    from runtime.database.difference import run_difference

    found = run_difference(args.db, str(args.left), str(args.right))
    specs = [_read_composed(store_of(args), run) for run in found.runs]
    words = list(differences(*specs)) if None not in specs else None
    if args.json:
        print(json.dumps(vars(found) | {"words": words}, indent=1, ensure_ascii=False, default=str))
        return 0
    print("\n".join(_describe(found, words)))
    return 0


def _read_composed(store: Path, run: str) -> Any:
    """The composed spec of a run, as parsed JSON; None where the store does not have it or its record cannot be read."""
    try:
        return json.loads((store / "runs" / run / "run.json").read_text(encoding="utf-8"))["composed"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _describe(found: Any, words: list[str] | None) -> Iterator[str]:
    from runtime.present.numbers import format_interval

    left, right = found.runs
    yield f"{left} → {right}"
    yield f"{plural(len(found.moved), 'figure')} of {found.compared:,} moved beyond their intervals"
    for trial, metric, canaries, attack, variant, release, *ends in found.moved:
        sides = [format_interval(ends[i], ends[i + 1], ends[i + 2], ".4g") or "not resolvable" for i in (0, 3)]
        coordinates = " ".join(filter(None, (canaries, attack, variant, release)))
        yield f"  {trial}: {metric}{f' ({coordinates})' if coordinates else ''}: {sides[0]} → {sides[1]}"
    for run, trials in ((left, found.only_left), (right, found.only_right)):
        if trials:
            yield f"only in {run}: {', '.join(trials)}"
    for name, (before, after) in found.versions.items():
        yield f"{name}: {before or 'absent'} → {after or 'absent'}"
    if words is None:
        yield "words of the spec: not recorded in this store"
    else:
        yield "the spec says the same" if not words else "words of the spec:"
        yield from (f"  {line}" for line in words)
