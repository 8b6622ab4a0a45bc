"""`synthc sql`, `chart`, `table`, `report`, `db`: query and draw the results. Each takes `--db` and `--store`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.errors import SynthcError, did_you_mean, plural
from runtime.cli.results_options import add_command, open_results, positive_number, scope_of, scope_of_one, store_of

if TYPE_CHECKING:
    from runtime.database.read import Query, Scope


def register(commands: Any) -> None:
    """Add the commands `sql`, `chart`, `table`, `report` and `db`."""
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
        scope=True,
        help="ask the results in SQL",
        description="Run one query on the published database, read-only; or @NAME, a question that comes with synthc.\n"
        "A query of yours sees all rows unless --origin, --study or --profile choose; a question the rows of one origin.",
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
        scope=True,
        help="draw the results",
        description="Draw one chart, or all of them. The file's ending says the format: svg, png, pdf, html, json.",
        epilog="examples:\n  synthc chart tradeoff -o tradeoff.svg\n  synthc chart all -o figures --format svg,pdf\n"
        "  synthc chart roc -o roc.png --where \"paradigm = 'coreset'\"\n"
        "  synthc chart gallery -o figures\n"
        "  synthc chart tradeoff -o tradeoff.pdf --width column --no-title       for a column of a paper\n"
        "names:\n"
        "  tradeoff       accuracy against leakage, both with intervals; the Pareto front; DP-SGD's curve\n"
        "  roc            ROC curves of the headline attack, log-log, a panel for each paradigm\n"
        "  vulnerability  how the risk spreads over canaries\n"
        "  ablation       leakage and accuracy along the grids of each arm\n"
        "  cost           seconds per shadow against accuracy and leakage\n"
        "  epsilon        the audited lower bound beside the accountant's epsilon\n"
        "  training       loss curves of every training, generator and distiller\n"
        "  claims         effects of the claims, with intervals and verdicts\n"
        "  gallery        sheets of synthetic images (PNG files into the folder -o)\n"
        "`charts:` in a spec has `synthc run` draw them when it ends.",
    )
    chart.add_argument("name", metavar="NAME", help="a chart's name, or all")
    chart.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="the file; for several charts or formats a folder"
    )
    chart.add_argument("--format", metavar="LIST", help="formats to write into the folder, such as svg,pdf")
    chart.add_argument("--where", metavar="SQL", help="keep only these rows, such as \"paradigm = 'coreset'\"")
    chart.add_argument("--theme", choices=("paper", "screen"), default="paper")
    width = "of svg, pdf and png: column (3.3in), full (6.8in), or a length such as 3.3in or 84mm; letters have 7 points or more"
    chart.add_argument("--width", type=_parse_width, metavar="LENGTH", help=width)
    chart.add_argument("--no-title", action="store_true", help="without title and conditions, for a figure that has a caption")
    chart.add_argument("--with-private-images", action="store_true", help="gallery: also sets made of private images")


def _add_table(commands: Any) -> None:
    table = add_command(
        commands,
        "table",
        _table,
        scope=True,
        help="a table for a paper",
        description="The comparison of all trials, or the claims with what was measured, ready to paste.\n"
        "LaTeX comes as a float with a caption; CSV and JSON have a column for each figure and each end of its interval.",
        epilog="examples:\n  synthc table comparison --format latex --width column > comparison.tex\n"
        "  synthc table comparison --columns trial,accuracy,leakage\n  synthc table claims",
    )
    table.add_argument("name", choices=("comparison", "claims"), metavar="NAME", help="comparison or claims")
    table.add_argument("--format", choices=("markdown", "latex", "csv", "json", "html"), default="markdown")
    columns = "of comparison: trial, paradigm, accuracy, shadows, leakage, non_members, auc, epsilon, seconds; of csv: the view's"
    table.add_argument("--columns", metavar="LIST", help=columns)
    table.add_argument("--width", choices=("column", "full"), default="full", help="latex: of one column of a paper, or of both")
    table.add_argument("--where", metavar="SQL", help="keep only these rows")


def _add_report(commands: Any) -> None:
    report = add_command(
        commands,
        "report",
        _report,
        scope=True,
        help="one page with everything",
        description="Write one self-contained HTML file: verdicts of the claims, comparison, linked charts,\n"
        "synthetic images, parameters, provenance. It works without a network.\n"
        "Private images are left out unless asked for.",
        epilog="examples:\n  synthc report -o report.html\n"
        "  synthc report -o report.html --study full_study --profile fashion_mnist",
    )
    report.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the page to write")
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
    from runtime.database.questions import question
    from runtime.database.read import open_read_only
    from runtime.present.tables import render

    if args.list:
        print(_list_public())
        return 0
    if not args.query:
        raise SynthcError('say what to ask: synthc sql "FROM comparison"; `synthc sql --list` says what there is')
    named = args.query.startswith("@")
    text = question(args.query[1:]).text if named else args.query
    if args.show:
        print(text)
        return 0
    scoped = named or (args.origin, args.study, args.profile) != (None, None, None)
    with open_results(args) if scoped else open_read_only(args.db) as query:
        print(render(*query(text), args.format))
    return 0


def _list_public() -> str:
    """Lines of text: views, macros and named questions, each with its description."""
    from runtime.database.questions import questions
    from runtime.database.schema import list_public

    named = [(f"@{name}", found.about) for name, found in questions().items()]
    lists = {"views": list_public("view"), "macros": list_public("macro"), "questions": named}
    width = max(len(name) for entries in lists.values() for name, _ in entries)
    return "\n\n".join("\n".join([head, *(f"  {name:<{width}}  {about}" for name, about in lists[head])]) for head in lists)


def _chart(args: argparse.Namespace) -> int:
    from runtime.present import charts
    from runtime.present.spec_charts import LAYOUT_OF_THEME

    if args.name == "gallery":
        return _gallery(args, scope_of_one(args, "a gallery"))
    if args.name not in (*charts.CHARTS, "all"):
        known = (*charts.CHARTS, "all", "gallery")
        raise SynthcError(f"no chart is called {args.name!r}; {did_you_mean(args.name, known)}")
    names = list(charts.CHARTS) if args.name == "all" else [args.name]
    targets = _list_targets(args, names)
    layout = "page" if (args.width or 0.0) > WIDEST_COLUMN else LAYOUT_OF_THEME[args.theme]
    scope = scope_of_one(args, "charts") if args.name == "all" else scope_of(args)
    with open_results(args, scope) as query:
        rows = {name: _rows(query, args, charts.kind_of(name).query) for name in names}
    for name in names:
        drawn = charts.draw(name, *rows[name], layout=layout)
        for path in targets[name]:
            if notice := charts.save(drawn, path, args.width, titled=not args.no_title):
                print(notice, file=sys.stderr)
            print(path)
    return _gallery(args, scope) if args.name == "all" else 0


def _rows(query: Query, args: argparse.Namespace, text: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Columns and rows of the query `text`, with `--where` only those that satisfy it. SynthcError where the condition excludes all
    rows that there are, and where the query or the condition cannot be run."""
    columns, rows = query(f"SELECT * FROM ({text}) AS shown WHERE {args.where}" if args.where else text)
    if args.where and not rows and query(text)[1]:
        raise SynthcError(f"--where {args.where}: leaves no row of those that there are")
    return columns, rows


WIDEST_COLUMN = 300.0
"""Largest width, in points, at which a chart has the layout of a column."""


def _parse_width(text: str) -> float:
    """A width in points, from `column`, `full` (a page), or a number with unit (in, mm, cm, pt); ArgumentTypeError for other
    texts."""
    from runtime.present.charts import WIDTHS

    named = {"column": WIDTHS["column"], "full": WIDTHS["page"]}
    number, unit = text[:-2], {"in": 72.0, "mm": 72 / 25.4, "cm": 72 / 2.54, "pt": 1.0}.get(text[-2:])
    if text in named:
        return named[text]
    if unit is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no width: column, full, or a length such as 3.3in, 84mm, 8.4cm, 240pt")
    return unit * positive_number(number)


def _gallery(args: argparse.Namespace, scope: Scope) -> int:
    from runtime.present.charts.gallery import write
    from runtime.present.report.read import read_sets

    sets = read_sets(args.db, store_of(args), scope, args.with_private_images)
    for path in write(_make_folder(args.output), sets):
        print(path)
    return 0


def _list_targets(args: argparse.Namespace, names: Sequence[str]) -> dict[str, list[Path]]:
    """Chart → paths of its files: `-o` itself, or with `all` or `--format` files in the folder `-o`, which is made, in the formats
    of `--format` (default: svg). SynthcError for unknown formats in `--format`, where a folder is needed and `-o` has the suffix
    of a format, and where the folder cannot be made."""
    from runtime.present.charts import FORMATS

    if args.name != "all" and not args.format:
        return {args.name: [args.output]}
    endings = [ending.strip() for ending in (args.format or "svg").split(",")]
    for ending in endings:
        if ending not in FORMATS:
            raise SynthcError(f"--format {args.format}: no format is called {ending!r}; {did_you_mean(ending, FORMATS)}")
    if args.output.suffix.lstrip(".").lower() in FORMATS:
        alone = "" if args.name == "all" else ", or leave --format out: the ending says the format"
        raise SynthcError(f"-o {args.output}: several charts or formats want a folder; name one{alone}")
    folder = _make_folder(args.output)
    return {name: [folder / f"{name}.{ending}" for ending in endings] for name in names}


def _make_folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SynthcError(f"{path}: cannot be made a folder: {error.strerror}; -o names a folder here") from error
    return path


def _table(args: argparse.Namespace) -> int:
    from runtime.present.paradigms import rows_of
    from runtime.present.tables import HEADS, claims, comparison, describe_comparison, latex_table, render

    with open_results(args, scope_of_one(args, "a table")) as query:
        columns, rows = _rows(query, args, {"comparison": "SELECT * FROM comparison", "claims": "SELECT * FROM claim"}[args.name])
        found = rows_of(columns, rows)
        labels = {trial: label for trial, label in query("SELECT trial, label FROM comparison")[1]}
        pairs = rows_of(*query("FROM claim_pair"))
    of_claims = args.name == "claims"
    if args.format in ("csv", "json"):
        print(render(*_tidy(args, columns, rows), args.format))
        return 0
    if of_claims:
        _choose(args, ())
        caption = "Claims of the study, what was measured with 95 % intervals, and verdicts over all claims together."
        heads, body = claims(found, pairs, labels)
        kept = 3 if args.format == "latex" and args.width == "column" else len(heads)
        shown = heads[:kept], [row[:kept] for row in body]
    else:
        few = COLUMNS_OF_PAPER[args.width] if args.format == "latex" else tuple(HEADS)
        caption = describe_comparison(found)
        shown = comparison(columns, rows, _choose(args, HEADS) or few)
    if args.format == "latex":
        print(latex_table(*shown, caption, args.width == "full", broken=(0, 1) if of_claims else (0,)))
    else:
        print(render(*shown, args.format))
    return 0


COLUMNS_OF_PAPER = {
    "column": ("trial", "accuracy", "leakage", "epsilon"),
    "full": ("trial", "paradigm", "accuracy", "leakage", "epsilon", "seconds"),
}
"""Width of a table → columns of the comparison; numbers of models and scores are in the caption."""


def _choose(args: argparse.Namespace, known: Collection[str]) -> list[str]:
    """The columns that `--columns` names, [] without it; SynthcError for names that are not in `known`."""
    names = [name.strip() for name in args.columns.split(",")] if args.columns else []
    for name in names:
        if name not in known:
            raise SynthcError(f"--columns: none is called {name!r}; {did_you_mean(name, known)}")
    return names


def _tidy(args: argparse.Namespace, columns: list[str], rows: list[Any]) -> tuple[list[str], list[Any]]:
    """The columns that `--columns` names, in its order (without it, all), and the rows' values in them, for csv and json.
    SynthcError for other names than `columns`."""
    names = _choose(args, columns) or columns
    return names, [[row[columns.index(name)] for name in names] for row in rows]


def _report(args: argparse.Namespace) -> int:
    from runtime.present.report import write

    if args.output.suffix.lower() not in (".html", ".htm"):
        raise SynthcError(f"-o {args.output}: a report is HTML, name a file.html; a browser prints it to PDF")
    write(args.output, args.db, store_of(args), scope_of_one(args, "a report"), args.with_private_images)
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
