"""`synthc bundle`: the results of a study in one file that others can open without synthc."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.errors import SynthcError, plural
from runtime.cli.results_options import add_command, scope_of, store_of

if TYPE_CHECKING:
    import zipfile


def register(commands: Any) -> None:
    """Add the command `bundle` with its options."""
    bundle = add_command(
        commands,
        "bundle",
        _bundle,
        scope=True,
        help="pack results to be passed on",
        description="Pack the report, every view and the scores as Parquet, a database with this study alone, the spec as it was\n"
        "composed, versions, and a README that says how to ask it. Private images and what is yours in the database stay behind.\n"
        "`synthc db merge FILE.zip` takes a bundle in.",
        epilog="examples:\n  synthc bundle -o full_study.zip\n"
        "  synthc bundle -o full_study.zip --study full_study --profile complete\n"
        "  synthc bundle -o trials.zip --trials        also what makes its finished trials count as done elsewhere",
    )
    bundle.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the .zip to write")
    trials = "also finished attacks and figures of what they rest on, no images, no weights: their trials count as done elsewhere"
    bundle.add_argument("--trials", action="store_true", help=trials)


def _bundle(args: argparse.Namespace) -> int:
    import tempfile
    import zipfile

    from runtime.database.gather import export_parquet, export_runs
    from runtime.database.quoting import literal
    from runtime.present.report import page
    from runtime.present.report.read import read
    from runtime.store.files import atomic_write

    if args.output.suffix != ".zip":
        raise SynthcError(f"{args.output}: a bundle is a .zip file")
    results = read(args.db, store_of(args), scope_of(args))
    run = results.run
    try:
        with tempfile.TemporaryDirectory(prefix="synthc-bundle-") as temporary, atomic_write(args.output, synced=False) as beside:
            folder = Path(temporary)
            of_study = f"origin = {literal(run['origin'])} AND study = {literal(run['study'])}"
            export_runs(args.db, folder / "results.duckdb", of_study)
            (folder / "report.html").write_text(page(results), encoding="utf-8")
            (folder / "views").mkdir()
            export_parquet(folder / "results.duckdb", folder / "views")
            for name, text in _texts(run, store_of(args)).items():
                (folder / name).write_text(text, encoding="utf-8")
            with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as archive:
                for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
                    archive.write(path, path.relative_to(folder))
                packed = _pack_trials(archive, args, results.comparison) if args.trials else 0
    except OSError as error:
        raise SynthcError(f"{args.output}: cannot be written: {error.strerror}; choose another file") from error
    elsewhere = f", with {plural(packed, 'trial')} that count as done elsewhere" if args.trials else ""
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.1f} MB{elsewhere}")
    return 0


def _texts(run: dict[str, Any], store: Path) -> dict[str, str]:
    """Name → content of the bundle's text files. `run`: a row of the table `base.run` with decoded JSON."""
    from importlib.metadata import version
    from importlib.resources import files

    about = {name: run[name] for name in ("study", "profile", "run", "origin", "commit", "source_digest", "versions")}
    cite = (files("runtime.cli") / "bundled" / "CITATION.cff").read_text(encoding="utf-8")
    readme = (files("runtime.cli") / "bundled" / "README.md").read_text(encoding="utf-8")
    profile = f" under the profile {run['profile']}" if run["profile"] else ""
    words = about | {"question": run["question"], "version": version("synthc"), "profile_words": profile}
    return {
        "README.md": readme.format_map({name: value or "" for name, value in words.items()}),
        "CITATION.cff": cite,
        "versions.json": json.dumps(about, indent=1),
        "study.yaml": _compose(run, store),
    }


def _compose(run: dict[str, Any], store: Path) -> str:
    """The run's spec as one text, with `extends`, profile and assignments resolved; the spec's own text ("" without one) where the
    store's last run of the study under the profile is another one, or did not record the composed spec."""
    from ruamel.yaml import YAML

    from runtime.store.runs import load_last_run

    recorded = load_last_run(store, run["study"], run["profile"] or None)
    if recorded is None or recorded.record["run"] != run["run"] or "composed" not in recorded.record:
        return str(run["spec_text"] or "")
    text = io.StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style, writer.sort_base_mapping_type_on_output = None, False  # type: ignore[assignment]
    writer.dump(recorded.record["composed"], text)
    return f"# {run['study']}, as it was composed for the run {run['run']}\n{text.getvalue()}"


def _pack_trials(archive: zipfile.ZipFile, args: argparse.Namespace, trials: list[dict[str, Any]]) -> int:
    from runtime.store.trials import pack

    return pack(archive, store_of(args), dict.fromkeys(row["answer"] for row in trials))
