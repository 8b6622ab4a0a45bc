"""`synthc sql`, `chart`, `table`, `report`, `db`: query and draw the results. Each takes `--db` and `--store`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from compiler.errors import SynthcError, plural
from runtime.cli.results_options import add_command, store_of
from runtime.database.questions import question, questions


def register(commands: Any) -> None:
    """Add the commands of this family."""
    _add_sql(commands)
    _add_chart(commands)
    _add_table(commands)
    _add_report(commands)
    _add_db(commands)


def _add_sql(commands: Any) -> None:
    sql = add_command(
        commands,
        "sql",
        _sql,
        help="ask the results in SQL",
        description="Run one query on the published database, read-only; or @NAME, a question that comes with synthc.",
        epilog="examples:\n  synthc sql --list                              views, macros, and questions by name\n"
        '  synthc sql "FROM comparison"\n'
        "  synthc sql \"FROM columns_of('comparison')\"      what its columns mean\n"
        '  synthc sql "SELECT arm, leakage FROM comparison ORDER BY leakage" --format markdown\n'
        "  synthc sql @pareto\n"
        "  synthc sql @pareto --show                      the query itself, to be changed",
    )
    sql.add_argument("query", metavar="QUERY|@NAME", nargs="?")
    sql.add_argument("--list", action="store_true", help="list views, macros, and the questions that @NAME asks")
    sql.add_argument("--show", action="store_true", help="with @NAME: print its query and do not run it")
    sql.add_argument("--format", choices=("table", "csv", "json", "markdown"), default="table")


def _add_chart(commands: Any) -> None:
    chart = add_command(
        commands,
        "chart",
        _chart,
        help="draw the results",
        description="Draw one chart, or all of them. The file's ending says the format: svg, png, pdf, html, json.",
        epilog="examples:\n  synthc chart tradeoff -o tradeoff.svg\n  synthc chart all -o figures --format svg,pdf\n"
        "  synthc chart roc -o roc.png --where \"paradigm = 'coreset'\"\n"
        "  synthc chart gallery -o figures\n"
        "names:\n"
        "  tradeoff       accuracy against leakage, both with intervals; the Pareto front; DP-SGD's curve\n"
        "  roc            ROC curves of the headline attack, log-log, a panel for each group of canaries\n"
        "  vulnerability  how the risk spreads over canaries\n"
        "  ablation       leakage and accuracy along the grids of each arm\n"
        "  cost           seconds per shadow against accuracy and leakage\n"
        "  epsilon        the audited lower bound beside the accountant's epsilon\n"
        "  claims         effects of the claims, with intervals and verdicts\n"
        "  gallery        sheets of synthetic images (PNG files into the folder -o)\n"
        "`charts:` in a spec has `synthc run` draw them when it ends.",
    )
    chart.add_argument("name", metavar="NAME", help="a chart's name, or all")
    chart.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="the file; for several charts or formats a folder"
    )
    chart.add_argument("--format", metavar="LIST", help="formats to write into the folder, such as svg,pdf")
    chart.add_argument("--where", metavar="SQL", help="keep only these rows, such as \"study = 'full_study'\"")
    chart.add_argument("--theme", choices=("paper", "screen"), default="paper")
    chart.add_argument("--with-private-images", action="store_true", help="gallery: also sets made of private images")


def _add_table(commands: Any) -> None:
    table = add_command(
        commands,
        "table",
        _table,
        help="a table for a paper",
        description="The comparison of all trials with intervals, ready to paste.",
        epilog="example:\n  synthc table comparison --format latex > comparison.tex",
    )
    table.add_argument("name", choices=("comparison",), metavar="NAME", help="comparison")
    table.add_argument("--format", choices=("markdown", "latex", "csv", "html"), default="markdown")
    table.add_argument("--where", metavar="SQL", help="keep only these rows")


def _add_report(commands: Any) -> None:
    report = add_command(
        commands,
        "report",
        _report,
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


def _add_db(commands: Any) -> None:
    db = commands.add_parser(
        "db",
        help="look after the database",
        description="One database gathers the rows of several stores: each row names its origin.",
        epilog="examples:\n  synthc db rebuild\n  synthc db merge colleague.duckdb cluster.duckdb\n"
        "  synthc db forget colleague-1f2e3d4c",
    )
    actions = db.add_subparsers(metavar="ACTION", required=True)
    add_command(actions, "rebuild", _rebuild, help="make this store's rows anew; those of other stores, and what is yours, stay")
    merge = add_command(actions, "merge", _merge, help="bring in what other databases hold; merged twice is once")
    merge.add_argument("others", nargs="+", type=Path, metavar="OTHER", help="a database that synthc published, or a bundle (.zip)")
    forget = add_command(actions, "forget", _forget, help="take the rows of an origin or a study out")
    forget.add_argument("name", metavar="ORIGIN|STUDY", help="which; the store keeps all that is its own")


def _sql(args: argparse.Namespace) -> int:
    from runtime.database.read import query
    from runtime.present.tables import render

    if args.list:
        print(_list_public())
        return 0
    if not args.query:
        raise SynthcError('say what to ask: synthc sql "FROM comparison"; `synthc sql --list` says what there is')
    text = question(args.query[1:]).text if args.query.startswith("@") else args.query
    if args.show:
        print(text)
        return 0
    print(render(*query(args.db, text), args.format))
    return 0


def _list_public() -> str:
    """Views, macros and named questions, each with its description."""
    from runtime.database.schema import list_public

    named = [(f"@{name}", found.about) for name, found in questions().items()]
    lists = {"views": list_public("view"), "macros": list_public("macro"), "questions": named}
    width = max(len(name) for entries in lists.values() for name, _ in entries)
    return "\n\n".join("\n".join([head, *(f"  {name:<{width}}  {about}" for name, about in lists[head])]) for head in lists)


def _chart(args: argparse.Namespace) -> int:
    from runtime.database.read import query
    from runtime.present import charts
    from runtime.present.spec_charts import LAYOUT_OF_THEME

    if args.name == "gallery":
        return _gallery(args)
    names = list(charts.CHARTS) if args.name == "all" else [args.name]
    for name in names:
        kind = charts.kind_of(name)
        text = f"SELECT * FROM ({kind.query}) AS chart WHERE {args.where}" if args.where else kind.query
        drawn = charts.draw(name, *query(args.db, text), layout=LAYOUT_OF_THEME[args.theme])
        for path in _list_targets(args, name):
            charts.save(drawn, path)
            print(path)
    return _gallery(args) if args.name == "all" else 0


def _gallery(args: argparse.Namespace) -> int:
    from runtime.present.charts.gallery import write
    from runtime.present.report.read import read_sets

    for path in write(_make_folder(args.output), read_sets(args.db, store_of(args), with_private=args.with_private_images)):
        print(path)
    return 0


def _list_targets(args: argparse.Namespace, name: str) -> list[Path]:
    if args.name != "all" and not args.format:
        return [args.output]
    return [_make_folder(args.output) / f"{name}.{ending.strip()}" for ending in (args.format or "svg").split(",")]


def _make_folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SynthcError(f"{path}: cannot be made a folder: {error.strerror}; -o names a folder here") from error
    return path


def _table(args: argparse.Namespace) -> int:
    from runtime.database.read import query
    from runtime.present.tables import COMPARISON, comparison, render

    text = f"SELECT * FROM ({COMPARISON}) WHERE {args.where}" if args.where else COMPARISON
    columns, rows = query(args.db, text)
    print(render(*comparison(columns, rows), args.format))
    return 0


def _report(args: argparse.Namespace) -> int:
    from runtime.present.report import write

    write(args.output, args.db, store_of(args), args.study, args.profile, args.with_private_images)
    print(f"{args.output}{' (shows private images: do not pass it on)' if args.with_private_images else ''}")
    return 0


def _merge(args: argparse.Namespace) -> int:
    from runtime.database.gather import merge
    from runtime.store.artifacts import lock_store
    from runtime.store.trials import open_bundles, unpack

    with open_bundles(args.others) as (databases, bundles):
        brought = merge(args.db.absolute(), databases)
        print(f"{args.db} has the rows of {', '.join(brought) or 'no origin'}")
        if bundles:
            store = store_of(args)
            with lock_store(store):
                taken = sum(unpack(bundle, store) for bundle in bundles)
            print(f"{store} has {plural(taken, 'trial')} more that {'counts' if taken == 1 else 'count'} as done")
    return 0


def _forget(args: argparse.Namespace) -> int:
    from runtime.database.gather import forget

    print(f"took {forget(args.db.absolute(), args.name)} out of {args.db}")
    return 0


def _rebuild(args: argparse.Namespace) -> int:
    from runtime.database.index import rebuild
    from runtime.store.artifacts import lock_store

    store = store_of(args)
    if not store.is_dir():
        raise SynthcError(f"{store}: there is no store; `synthc run SPEC` makes one, --store names another")
    with lock_store(store):
        problems = rebuild(store, args.db.absolute())
    for problem in problems:
        print(f"synthc: {problem}", file=sys.stderr)
    print(f"rebuilt {args.db} from {store}")
    return 1 if problems else 0
