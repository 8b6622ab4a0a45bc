"""What the repository publishes of its studies, made from the database of the store that ran them.

    python benchmarks/answer.py FOLDER/results.duckdb        writes ./results.duckdb and ./results.scores.parquet

`results.duckdb` has all figures of the last run of each study and profile, and the scores and ROC curves of the declared attack;
`results.scores.parquet` the scores of all attacks of these runs, from which the other curves follow. An origin is called as the
folder of its store, and eight random digits: run the studies in a folder called `reference`, and nothing has to be renamed:

    mkdir reference && cp -r specs reference/ && cd reference
    synthc run specs/full_study.yaml
    synthc run specs/full_study.yaml --profile complete
    synthc run specs/generators.yaml
    synthc run specs/fashion_mnist.yaml

A study may also come arm by arm from several machines, as bundles (`synthc bundle -o ARM.zip --study NAME --trials`): those in
`benchmarks/answer/` hold figures and scores, no images and no weights. A fresh store takes them in as done, and computes the
claims from them, and no trial anew:

    synthc db merge benchmarks/answer/*.zip
    synthc run specs/fashion_mnist.yaml
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from compiler.errors import SynthcError
from runtime.database.files import export
from runtime.database.gather import LAST_RUNS, OF_HEADLINE, SCORES, export_runs
from runtime.database.quoting import literal
from runtime.database.read import query

LIMITS = {"results.duckdb": 15e6, "results.scores.parquet": 30e6}
"""Bytes: what a clone has to carry."""


def write(database: Path, folder: Path, origin: str) -> dict[str, Path]:
    """Write the two files; their paths by name. SynthcError unless `database` has rows of one origin that begins with `origin`."""
    origins = [name for (name,) in query(database, "SELECT DISTINCT origin FROM run ORDER BY ALL")[1]]
    ours = [name for name in origins if name.startswith(origin)]
    if len(ours) != 1:
        raise SynthcError(f"{database}: of one origin that begins with {origin!r}, and it has: {', '.join(origins)}")
    targets = {name: folder / name for name in LIMITS}
    with tempfile.TemporaryDirectory(dir=folder, prefix=".answer-") as temporary:
        beside = Path(temporary)
        runs = f"origin = {literal(ours[0])} AND {LAST_RUNS}"
        export_runs(database, beside / "results.duckdb", runs, OF_HEADLINE)
        export_runs(database, beside / "whole.duckdb", runs)
        export(beside / "whole.duckdb", SCORES, beside / "results.scores.parquet")
        for name, target in targets.items():
            (beside / name).replace(target)
    return targets


def main() -> int:
    """The command; 1 where a file is larger than a clone should carry."""
    parser = argparse.ArgumentParser(description="Write what the repository publishes of its studies.")
    parser.add_argument("database", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path(), help="the folder to write into (default: this one)")
    parser.add_argument("--origin", default="reference", help="how the origin's name begins (default: reference)")
    args = parser.parse_args()
    too_large = 0
    for name, path in write(args.database, args.output, args.origin).items():
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
