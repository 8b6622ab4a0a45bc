"""What the repository publishes of its studies, made from the databases of the stores that ran them.

    python benchmarks/answer.py FOLDER/results.duckdb        writes ./results.duckdb and ./results.scores.parquet
    python benchmarks/answer.py FOLDER/results.duckdb --add  replaces in these files the studies that FOLDER has

`results.duckdb` has all figures of the last run of each study and profile, and the scores and ROC curves of the declared attack;
`results.scores.parquet` the scores of all attacks of these runs, from which the other curves follow (of `DECLARED_ALONE` those of
the declared attack). An origin is called as the folder of its store, and eight random digits: run the studies in folders called
`reference`, and nothing has to be renamed:

    mkdir reference && cp -r specs reference/ && cd reference
    synthc run specs/full_study.yaml
    synthc run specs/generators.yaml
    synthc run specs/fashion_mnist.yaml

Several folders are published under the first one's origin, with --add under that of the files that are there. So a profile of a
study can have a store of its own, in which its claims come before any outcome:

    synthc run specs/full_study.yaml --profile complete

A study may also come arm by arm from several machines, as bundles (`synthc bundle -o ARM.zip --study NAME --trials`), which hold
figures and scores, no images and no weights. A fresh store takes them in as done, and computes the claims from them, and no
trial anew:

    synthc db merge *.zip
    synthc run specs/fashion_mnist.yaml
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from compiler.errors import SynthcError
from runtime.database.connect import connect, execute
from runtime.database.files import export
from runtime.database.gather import LAST_RUNS, OF_HEADLINE, SCORES, export_runs, merge
from runtime.database.publish import OF_OUTCOME, OF_RUN
from runtime.database.quoting import identifier, literal
from runtime.database.read import query

LIMITS = {"results.duckdb": 15e6, "results.scores.parquet": 30e6}
"""Bytes: what a clone has to carry."""
DECLARED_ALONE = ("complete",)
"""Profiles of which the Parquet file has the scores of the declared attack alone: with all of them it would be above its limit."""


def write(databases: Sequence[Path], folder: Path, origin: str, add: bool) -> dict[str, Path]:
    """Write the two files; their paths by name. SynthcError unless each database has rows of one origin that begins with `origin`.

    `add`: what `folder` has of other studies and profiles stays.
    """
    targets = {name: folder / name for name in LIMITS}
    earlier = [targets["results.duckdb"]] if add else []
    name = origin_of((earlier or databases)[0], origin)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".answer-") as temporary:
        beside = Path(temporary)
        for number, database in enumerate(databases):
            of_origin = f"origin = {literal(origin_of(database, origin))} AND {LAST_RUNS}"
            export_runs(database, beside / f"{number}.duckdb", of_origin)
            rename(beside / f"{number}.duckdb", name)
            merge(beside / "brought.duckdb", [beside / f"{number}.duckdb"])
        merge(beside / "all.duckdb", [*earlier, beside / "brought.duckdb"])
        export_runs(beside / "all.duckdb", beside / "results.duckdb", LAST_RUNS, OF_HEADLINE)
        new = query(beside / "brought.duckdb", "SELECT DISTINCT study, profile FROM base.run")[1]
        export(beside / "brought.duckdb", SCORES, beside / "every.parquet")
        export(beside / "results.duckdb", SCORES, beside / "declared.parquet")
        alone = f"profile IN ({', '.join(map(literal, DECLARED_ALONE))})"
        parts = {beside / "every.parquet": f"NOT {alone}", beside / "declared.parquet": alone}
        if add:
            brought = " OR ".join(f"study = {literal(study)} AND profile = {literal(profile)}" for study, profile in new)
            parts[targets["results.scores.parquet"]] = f"NOT ({alone} OR {brought})"
        scores = " UNION ALL ".join(f"(FROM {literal(path)} WHERE {condition})" for path, condition in parts.items())
        with contextlib.closing(connect()) as connection:
            where = literal(beside / "results.scores.parquet")
            execute(connection, f"COPY (FROM ({scores}) ORDER BY ALL) TO {where} (FORMAT parquet, COMPRESSION zstd)")
        for file, target in targets.items():
            (beside / file).replace(target)
    return targets


def origin_of(database: Path, begin: str) -> str:
    """The origin of the rows that begins with `begin`; SynthcError unless there is one."""
    origins = [name for (name,) in query(database, "SELECT DISTINCT origin FROM run ORDER BY ALL")[1]]
    ours = [name for name in origins if name.startswith(begin)]
    if len(ours) != 1:
        raise SynthcError(f"{database}: of one origin that begins with {begin!r}, and it has: {', '.join(origins)}")
    return ours[0]


def rename(database: Path, origin: str) -> None:
    """Give all rows of the database this origin."""
    with contextlib.closing(connect(database)) as connection:
        for table in (*OF_RUN, *OF_OUTCOME, "attempt"):
            execute(connection, f"UPDATE base.{identifier(table)} SET origin = {literal(origin)}")


def main() -> int:
    """The command; 1 where a file is larger than a clone should carry."""
    parser = argparse.ArgumentParser(description="Write what the repository publishes of its studies.")
    parser.add_argument("databases", type=Path, nargs="+", metavar="DATABASE")
    parser.add_argument("-o", "--output", type=Path, default=Path(), help="the folder to write into (default: this one)")
    parser.add_argument("--origin", default="reference", help="how the origin's name begins (default: reference)")
    parser.add_argument("--add", action="store_true", help="keep what the two files have of other studies and profiles")
    args = parser.parse_args()
    too_large = 0
    for name, path in write(args.databases, args.output, args.origin, args.add).items():
        size = path.stat().st_size
        print(f"{path}: {size / 1e6:.1f} MB of at most {LIMITS[name] / 1e6:.0f}")
        too_large += size > LIMITS[name]
    for line in query(args.output / "results.duckdb", "SELECT origin, study, profile, run, status FROM run ORDER BY ALL")[1]:
        print(*line)
    return 1 if too_large else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SynthcError as error:
        sys.exit(str(error))
