"""synthc from Python: commands of the command line as functions, and results as relations, data frames and charts.

    import synthc
    synthc.run("specs/smoke.yaml", db="/tmp/smoke/results.duckdb")
    results = synthc.open("/tmp/smoke/results.duckdb")
    results.comparison.df()
    results.chart("tradeoff")

Importing this module is fast: torch, Ray, DuckDB and Altair are imported by the functions that need them. Every function raises
`synthc.SynthcError` for an error that the user can correct, with its place, the value and a remedy. `synthc.plugin` has the base
classes and types of plug-in methods, attacks and data sets.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

PACKAGES = ("compiler", "runtime")


def _import_own(name: str) -> None:
    """Import the package `name` from the folder of this file, even if another folder of that name comes first on the path.

    Nothing happens if it is imported already. ImportError if another package is imported under that name; FileNotFoundError if the
    folder of this file lacks the package.
    """
    folder = Path(__file__).resolve().parent / name
    if (found := sys.modules.get(name)) is not None:
        if folder not in (Path(place).resolve() for place in getattr(found, "__path__", ())):
            where = getattr(found, "__file__", None) or "another folder"
            raise ImportError(
                f"synthc needs its own package {name!r}, and {where} was imported under that name; import synthc first"
            )
        return
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py", submodule_search_locations=[str(folder)])
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder}: synthc is not installed whole")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


for _name in PACKAGES:
    _import_own(_name)

from compiler.errors import SpecError, SynthcError, SynthcWarning  # noqa: E402   # the packages had to be found first

if TYPE_CHECKING:
    import altair as alt
    import duckdb
    from PIL.Image import Image

    from compiler.errors import Finding
    from runtime.database.read import Scope

AnyPath = str | PathLike[str]
DATABASE = "results.duckdb"
"""Default database of commands and functions: this file in the working folder."""

__all__ = ["Answer", "Results", "SpecError", "SynthcError", "SynthcWarning", "audit", "check", "judge", "open", "plan", "run"]


def main() -> int:
    """Run the command `synthc` with the arguments of this process; returns the exit code. SystemExit for arguments that cannot be
    parsed, `--help` and `--version`."""
    from runtime.cli.main import main

    return main()


def check(spec: AnyPath, *, profile: str | None = None, sets: Mapping[str, Any] | None = None) -> list[Finding]:
    """Compile a study and return the findings of its lints, silenced ones included. SpecError lists the mistakes, or the lints of
    severity error that the study does not silence, each with its place. `sets`: as for `run`.

    The user's files that the study names are read first, unless they are known and unchanged, and records of them are cached.

    >>> sorted({finding.code for finding in synthc.check("study.yaml") if finding.silenced is not None})
    ['L01', 'L07']
    """
    from runtime.data.cards import compile_with_files

    return list(compile_with_files(Path(spec), profile, _assignments(sets)).lints)


class Answer:
    """The output of a command: `text`, also its `repr`, as printed, and `json` in the documented shape of `--json`."""

    def __init__(self, text: str, json: dict[str, Any]) -> None:
        self.text, self.json = text, json

    def __repr__(self) -> str:
        return self.text


def plan(
    spec: AnyPath,
    *,
    profile: str | None = None,
    sets: Mapping[str, Any] | None = None,
    only: Sequence[str] = (),
    db: AnyPath = DATABASE,
    store: AnyPath | None = None,
) -> Answer:
    """The tasks that `run` would compute, their estimated time with a worker per core, and the resolution of the audit. No task is
    computed; the user's files are read as by `check`. Arguments are as for `run`. SpecError for a study that is not valid, and
    where `only` selects no trial.

    >>> synthc.plan("study.yaml").json["study"]
    'tiny'
    """
    from compiler.inspect.summary import summary_json, summary_text
    from runtime.cli.plan import summarize

    summary = summarize(_parse("plan", spec, profile, sets, only, db, store))
    return Answer("\n".join(summary_text(summary)), summary_json(summary))


def run(
    spec: AnyPath,
    *,
    profile: str | None = None,
    sets: Mapping[str, Any] | None = None,
    only: Sequence[str] = (),
    db: AnyPath = DATABASE,
    store: AnyPath | None = None,
    engine: str = "ray",
    workers: int | None = None,
    force: Sequence[str] = (),
) -> Results:
    """Run the tasks of a study that are not done, publish the results to `db`, draw the charts that the study declares, and open
    the results. Progress is printed on standard error.

    `sets` replaces values by ones that JSON can hold (else TypeError), such as {"audit.shadows": 32}; `only` and `force` are as on
    the command line; `store` is by default `.synthc` beside `db`; `engine` is `ray` with so many `workers` (None: one per core, or
    as many as fit on the GPUs), or `inline` (this process). RuntimeWarning if tasks failed, now or in an earlier run (those that do
    not need them are computed), or if the study's policy is closed.

    SpecError for a study that is not valid, and where `only` selects no trial; SynthcError for what else ends the run.
    KeyboardInterrupt if the user interrupts: the first time after running tasks have finished, a second time at once. While tasks
    run, signal handlers are replaced, so call it in the main thread (else ValueError).

    >>> synthc.run("study.yaml", engine="inline")
    <results of results.duckdb: tiny: 3 trials>
    """
    options = ["--engine", engine, *(["--workers", str(workers)] if workers is not None else [])]
    options += [word for address in force for word in ("--force", address)]
    args = _parse("run", spec, profile, sets, only, db, store, options)
    code = args.handler(args)
    if code == 130:
        raise KeyboardInterrupt
    if code:
        failed = "tasks failed: results.sql(\"FROM task WHERE status = 'failed'\") has their errors"
        warnings.warn("a policy is closed" if code == 3 else failed, RuntimeWarning, stacklevel=2)
    return open(db, store=store)


def open(db: AnyPath = DATABASE, *, store: AnyPath | None = None) -> Results:
    """Open the results published so far, read-only; SynthcError if there is no database, or it cannot be opened. `store` (for
    galleries and reports) is by default `.synthc` beside `db`.

    >>> synthc.open("results.duckdb").comparison.columns[:3]
    ['origin', 'study', 'profile']
    """
    return Results(db, store)


class Results:
    """A snapshot of a published database: `open` again to see what is published later; only `gallery` and `report` read it anew.

    Every view of the database is an attribute: a DuckDB relation, which prints as a table and has `.df()` (pandas), `.pl()`
    (polars), `.arrow()`, `.fetchall()` and `.filter("arm = 'dm'")`; AttributeError for other names. Views have the rows of all
    stores that the database gathers. Queries cannot read other files or the network.
    """

    def __init__(self, db: AnyPath, store: AnyPath | None = None) -> None:
        from runtime.database.read import connect_to_state

        self.db = Path(db).absolute()
        self.store = Path(store).absolute() if store is not None else self.db.parent / ".synthc"
        self._connection = connect_to_state(self.db)

    @property
    def views(self) -> dict[str, str]:
        """Name of each view → description of its rows (None for a user's own view without a comment).

        >>> "canary_risk" in results.views
        True
        """
        return dict(
            self.sql("SELECT view_name, comment FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal").fetchall()
        )

    def __getattr__(self, name: str) -> duckdb.DuckDBPyRelation:
        if name.startswith("_") or name not in self.views:
            from compiler.errors import did_you_mean

            known = () if name.startswith("_") else self.views
            raise AttributeError(f"results have no {name!r}; {did_you_mean(name, known)}" if known else name)
        return self._connection.view(name)

    def __dir__(self) -> Iterator[str]:
        yield from (*super().__dir__(), *self.views)

    def __repr__(self) -> str:
        rows = self.sql("SELECT study, profile, count(*) FROM comparison GROUP BY ALL ORDER BY ALL").fetchall()
        studies = ", ".join(f"{study}{f' ({profile})' if profile else ''}: {count} trials" for study, profile, count in rows)
        return f"<results of {self.db.name}: {studies or 'no trial yet'}>"

    @property
    def claims(self) -> duckdb.DuckDBPyRelation:
        """The claims of the studies with effect, interval and verdict: the same relation as the attribute `claim`.

        >>> results.claims.columns[3]
        'claim'
        """
        return self._connection.view("claim")

    def sql(self, query: str) -> duckdb.DuckDBPyRelation:
        """The result of a query as a relation, which is computed when it is read; `@NAME` is a named query that comes with synthc.

        SynthcError for an unknown NAME, and for a query that is empty or that DuckDB cannot parse and bind.
        Errors while it is computed are DuckDB's own.

        >>> results.sql("SELECT DISTINCT paradigm FROM comparison ORDER BY ALL").fetchall()
        [('coreset',), ('undefended',)]
        >>> "leakage" in results.sql("@pareto").columns
        True
        """
        from runtime.database.questions import question
        from runtime.database.read import relation

        return relation(self._connection, question(query[1:]).text if query.startswith("@") else query)

    def chart(self, name: str, *, where: str | None = None, theme: str = "screen") -> alt.TopLevelMixin:
        """The chart `name` as an Altair chart, of the rows of its query that satisfy the SQL condition `where`. A notebook displays
        it. `theme` is `screen` or `paper`. Several studies are drawn below each other; without rows, the chart says so.

        SynthcError for an unknown name or theme, a condition that fails, and for more studies than one picture may hold.
        Altair's default renderer fetches scripts from the network; unless another is active, the SVG renderer is enabled, for the
        whole process.

        >>> chart = results.chart("tradeoff", where="paradigm <> 'diffusion'")
        >>> chart.save("tradeoff.svg")
        """
        import altair as alt
        import duckdb

        from compiler.errors import did_you_mean
        from runtime.present import charts
        from runtime.present.spec_charts import LAYOUT_OF_THEME

        if theme not in LAYOUT_OF_THEME:
            raise SynthcError(f"no theme is called {theme!r}; {did_you_mean(theme, LAYOUT_OF_THEME)}")
        if alt.renderers.active == "default":
            alt.renderers.enable("svg")
        query = charts.kind_of(name).query
        found = self.sql(f"SELECT * FROM ({query}) AS chart WHERE {where}" if where else query)
        try:
            rows = found.fetchall()
        except duckdb.Error as error:
            raise SynthcError(f"the query failed: {str(error).strip()}") from error
        drawn: alt.TopLevelMixin = alt.Chart.from_dict(charts.draw(name, found.columns, rows, LAYOUT_OF_THEME[theme]))
        return drawn

    def gallery(
        self, *, study: str | None = None, profile: str | None = None, with_private_images: bool = False
    ) -> dict[str, Image]:
        """Trial → a sheet of the synthetic images of its shadow 0, as a Pillow image. Trials whose set is not in the store are left
        out; without `with_private_images` also those whose set is, or began as, private images, or may be.

        `study` and `profile` ("" for none) choose among several in the database; SynthcError if several are left, a name is
        unknown, or private images are wanted and their data set is missing or changed. {} for a database without runs.

        >>> sorted(results.gallery(with_private_images=True))
        ['coreset[method=forgetting]#0', 'coreset[method=random]#0']
        """
        import io

        from PIL import Image

        from runtime.present.report.read import read_sets

        sheets = read_sets(self.db, self.store, self._scope(study, profile), with_private_images)
        return {row["trial"]: Image.open(io.BytesIO(sheet.png)) for row, sheet in sheets if sheet.png is not None}

    def report(
        self, path: AnyPath, *, study: str | None = None, profile: str | None = None, with_private_images: bool = False
    ) -> Path:
        """Write the report of a study as one HTML page that works without a network, over an older file, and return its path.
        Without `with_private_images` no private images are shown. `study` and `profile` ("" for none) choose among several in the
        database; SynthcError if they do not choose one, the page cannot be written, or private images are wanted and their data set
        is missing or changed.

        >>> results.report("report.html").name
        'report.html'
        """
        from runtime.present.report import write

        write(Path(path), self.db, self.store, self._scope(study, profile), with_private_images)
        return Path(path)

    def _scope(self, study: str | None, profile: str | None) -> Scope:
        from runtime.database.read import Scope
        from runtime.store.artifacts import read_origin

        return Scope(study=study, profile=profile, own=read_origin(self.store))

    def close(self) -> None:
        """Close the connection; relations of these results can no longer be read."""
        self._connection.close()


Arrays = Mapping[str, Any]
"""Name → array, as for `numpy.savez`; also tensors and lists."""


class KeepOptions(TypedDict, total=False):
    """Options to store a result as a study of its own, as in `synthc audit` and `synthc judge`."""

    db: AnyPath | None
    store: AnyPath | None
    study: str | None


class AuditOptions(KeepOptions, total=False):
    """The options of `synthc audit`; what they mean and default to is in its help."""

    design: str
    signal: str
    variant: str
    queries: int | None
    confidence: float
    delta: float
    one_run: bool
    thresholds: str
    resamples: int | None
    interval: str
    redraws: int | None
    limit: float


class JudgeOptions(KeepOptions, total=False):
    """The options of `synthc judge`; what they mean and default to is in its help."""

    unit: str | None
    image: str
    label: str
    page: AnyPath | None
    with_private_images: bool


def audit(
    models: AnyPath | Arrays,
    *,
    attack: Sequence[str] = (),
    fpr: Sequence[float] = (),
    guesses: tuple[int, int] | None = None,
    **options: Unpack[AuditOptions],
) -> Answer:
    """Run the attacks and statistics of a study on models trained elsewhere, given as an .npz file or as its arrays by name.

    Arrays: `logits` (shadows × samples × views × classes) with `labels` (samples) and, for RMIA, `z_logits` and `z_labels` of
    samples that no shadow was trained on; or `signal` (shadows × samples, higher = more confident in the label); or `scores`
    (shadows × samples, higher = more likely a member); and `member` (shadows × samples, true where the shadow was trained on the
    sample).

    `attack`: names, () for all that apply; `fpr`: rates at which the TPR is read, () for the defaults of `synthc audit`; `guesses`:
    numbers of samples to call members and non-members. With `db` the result is also stored and published. SynthcError for arrays or
    options that are not valid, for arrays with `db` and no `study`, and where memory does not suffice; OSError where a file of the
    store cannot be written.

    >>> import numpy
    >>> rng = numpy.random.default_rng(0)
    >>> member = rng.random((16, 100)) < 0.5
    >>> found = synthc.audit({"signal": rng.normal(size=(16, 100)) + member, "member": member}, fpr=[0.1])
    >>> sorted(found.json["attacks"])
    ['calibrated', 'lira', 'lira_offline', 'reference', 'threshold']
    >>> found.json["attacks"]["threshold"]["auc"]["low"] > 0.5
    True
    """
    from runtime.cli.audit import audit_as_asked, show

    given = isinstance(models, Mapping)
    if given and options.get("db") is not None and options.get("study") is None:
        raise SynthcError('arrays have no name under which a database could keep what is found; give study="NAME" with db')
    words = [word for name in attack for word in ("--attack", name)]
    words += [word for rate in fpr for word in ("--fpr", str(rate))]
    words += ["--guesses", *map(str, guesses)] if guesses is not None else []
    args = _arguments(["audit", "arrays" if given else str(models), *words, *_words_of(options)])
    arrays = None
    if isinstance(models, Mapping):
        from runtime.audit.external.evidence import NAMES
        from runtime.data.formats.npz import checked_arrays

        arrays = checked_arrays(models, NAMES)
    report, settings = audit_as_asked(args, arrays)
    return Answer(_printed(show, args.file, report, settings), report.as_json())


def judge(
    released: AnyPath | Arrays,
    *,
    members: AnyPath | Arrays,
    holdout: AnyPath | Arrays,
    test: AnyPath | Arrays | None = None,
    public: AnyPath | Arrays | None = None,
    policy: AnyPath | Sequence[Mapping[str, Any]] | None = None,
    **options: Unpack[JudgeOptions],
) -> Answer:
    """Judge whether a synthetic set may be released, by comparing it with its members and a holdout drawn by the same random split.

    A set is a path or name as for `synthc judge`, or its arrays: `images` (n × h × w or n × h × w × c, uint8 or from 0 to 1) and
    `labels` (n); of members, holdout and test also the array that the option `unit` names. `test`: real images on which the use of
    the set is measured; `public`: those on which features are trained (None: drawn shapes). `policy`: a file, or its conditions;
    None for the default of `synthc judge`. With `page` a page is written, with `db` the result stored and published.

    A closed policy raises no error: `json["verdict"]` is open, closed or cannot tell. Progress is printed on standard error.
    SpecError for a policy that is not valid, SynthcError for such sets or options, where the loss of a training is not finite, and
    where the page or the database cannot be written; OSError where a file of the store cannot be written.

    >>> import numpy
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> images, labels = (digits.images * 15).astype("uint8"), digits.target
    >>> half = numpy.random.default_rng(0).permutation(len(labels)) % 2 == 0
    >>> members = {"images": images[half], "labels": labels[half]}
    >>> found = synthc.judge(members, members=members, holdout={"images": images[~half], "labels": labels[~half]},
    ...                      policy=[{"metric": "copied_members", "end": "low", "at_most": 0}])
    >>> found.json["verdict"], found.json["copied"]["low"] > 400
    ('closed', True)
    """
    from compiler.check.policy import policy_in
    from compiler.text.nodes import parse
    from runtime.cli.judge import judge_as_asked, show
    from runtime.data.image_set import image_set_of

    named = {"set": released, "members": members, "holdout": holdout, "test": test, "public": public}
    arrays = {name: of for name, of in named.items() if isinstance(of, Mapping)}
    words = [word for name, of in named.items() if of is not None and name != "set" for word in (f"--{name}", str(_path(of)))]
    args = _arguments(["judge", str(_path(released)), *words, *_words_of(options)])
    for name, of in arrays.items():
        of_units = args.unit if name in ("members", "holdout", "test") else None
        setattr(args, name, image_set_of(f"{name} (arrays)", of, of_units))
    if policy is not None:
        args.policy = (
            Path(policy) if isinstance(policy, (str, PathLike)) else policy_in(parse(json.dumps({"policy": policy}), "policy"))
        )
    found, said = judge_as_asked(args)
    return Answer(_printed(show, found), said)


def _path(of: AnyPath | Arrays) -> AnyPath:
    return "arrays" if isinstance(of, Mapping) else of


def _printed(show: Callable[..., None], *what: Any) -> str:
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        show(*what)
    return text.getvalue().rstrip()


def _words_of(options: Mapping[str, Any]) -> list[str]:
    """Options as arguments of a command line: `a_b=1` is `--a-b=1`, True the option alone; None and False are left out."""
    words = []
    for name, value in options.items():
        option = "--" + name.replace("_", "-")
        words += [] if value is None or value is False else [option] if value is True else [f"{option}={value}"]
    return words


def _assignments(sets: Mapping[str, Any] | None) -> list[str]:
    """Assignments `PATH=VALUE` in the form of `--set`, with values as JSON, which is YAML; [] for None. TypeError for a value that
    JSON cannot hold."""
    return [f"{path}={json.dumps(value)}" for path, value in (sets or {}).items()]


def _parse(
    command: str,
    spec: AnyPath,
    profile: str | None,
    sets: Mapping[str, Any] | None,
    only: Sequence[str],
    db: AnyPath,
    store: AnyPath | None,
    options: Sequence[str] = (),
) -> Any:
    """The namespace that the parser of the command line makes of `command` with these arguments and further `options` (words).
    SynthcError where it does not understand them; the parser has printed the reason then."""
    words = [command, str(spec), "--db", str(db), *options]
    words += ["--profile", profile] if profile is not None else []
    words += ["--store", str(store)] if store is not None else []
    words += [word for assignment in _assignments(sets) for word in ("--set", assignment)]
    words += [word for condition in only for word in ("--only", condition)]
    return _arguments(words)


def _arguments(words: list[str]) -> Any:
    from runtime.cli.main import parser

    try:
        return parser().parse_args(words)
    except SystemExit:
        raise SynthcError(f"synthc {' '.join(words)}: not understood; the reason is printed above") from None


def _load_plugin() -> types.ModuleType:
    """The module `synthc.plugin`: base classes of plug-in methods, attacks and data sets, and types of their functions, each
    imported when it is first read; AttributeError for other names."""
    module = types.ModuleType("synthc.plugin", _load_plugin.__doc__)
    homes = {
        "compiler.language.plugins": ("PluginMethod", "PluginAttack", "PluginData"),
        "compiler.language.cost": ("Cost", "Net", "Sizes"),
        "compiler.language.datasets": ("Card",),
        "compiler.data.files": ("file_digest",),
        "runtime.data.images": ("LabeledImages", "content_digest"),
        "runtime.store.artifacts": ("Artifact",),
        "runtime.synthesize.release": ("Release", "Setting"),
        "runtime.audit.attacks.answers": ("Answers", "Score"),
        "runtime.seeds": ("generator",),
    }
    home_of = {name: home for home, names in homes.items() for name in names}

    def get(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"synthc.plugin has no {name!r}; it has: {', '.join(sorted(home_of))}")
        return getattr(importlib.import_module(home_of[name]), name)

    module.__getattr__ = get  # type: ignore[method-assign]   # a spec is checked without torch: import on first access
    module.__dir__ = lambda: sorted(home_of)  # type: ignore[method-assign]
    module.__all__ = sorted(home_of)  # type: ignore[attr-defined]
    return module


plugin = _load_plugin()
sys.modules["synthc.plugin"] = plugin

if __name__ == "__main__":
    sys.exit(main())
