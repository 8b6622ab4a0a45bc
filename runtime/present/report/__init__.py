"""The report of a study: a self-contained HTML page with verdicts, figures, charts, images, provenance.

Works without a network and says so to the browser: a content policy lets nothing be fetched and no script run but the
page's own, by their hashes. `page.html` is the page, `macros.html` what its sections share; Jinja escapes every text.
Not here: what is read (`read`), what the sections say (`sections`, `parameters`), how charts are drawn (`charts`).
"""

from __future__ import annotations

import base64
from functools import lru_cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from compiler.errors import SynthcError
from runtime.database.read import Scope
from runtime.present import charts
from runtime.present.charts import look
from runtime.present.charts import page as page_of_charts
from runtime.present.numbers import format_ends, format_epsilon
from runtime.present.paradigms import paradigms_of, printed_name
from runtime.present.report import parameters, sections
from runtime.present.report.read import StudyResults, read
from runtime.store.files import atomic_write

CHARTS_IN_ORDER = ("tradeoff", "roc", "cost", "ablation", "vulnerability", "epsilon")
"""Charts of the section of charts, in order; `claims` is with the verdicts."""


def write(path: Path, database: Path, store: Path, scope: Scope, with_private: bool = False) -> None:
    """Write the HTML report of the study that `scope` selects to `path`; an older file is replaced. `with_private`: also sheets of
    private images.

    SynthcError where the database cannot be read, `scope` selects no study or several, or the file cannot be written; further
    errors as of `make_sheet`.
    """
    text = page(read(database, store, scope, with_private), database.name, with_private)
    try:
        with atomic_write(path, synced=False) as beside:
            beside.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SynthcError(f"{path}: cannot be written: {error.strerror}") from error


def page(results: StudyResults, database_name: str = "results.duckdb", with_private: bool = False) -> str:
    """The report as HTML, which depends on the arguments and this version of synthc alone. `database_name` stands in the commands
    that it shows; `with_private` says whether `results` were read with private images. Charts of grids and of claims only where
    there are any."""
    shown = [name for name in CHARTS_IN_ORDER if name != "ablation" or results.charts[name][1]]
    drawn = {name: _draw_chart(name, results) for name in (*shown, *(["claims"] if results.claims else []))}
    scripts = (page_of_charts.bundle(), _file("page.js"))
    return (
        _environment()
        .get_template("page.html")
        .render(
            results=results,
            database_name=database_name,
            with_private=with_private,
            policy=page_of_charts.policy(scripts),
            style=_file("page.css") + color_variables(),
            charts=drawn,
            specs={name: chart["spec"] for name, chart in drawn.items()},
            scripts=scripts,
            version=version("synthc"),
        )
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("runtime.present.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    # `tojson` escapes tags inside a script element; JSON has no NaN.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters |= sections.FILTERS | {
        "base64": _base64,
        "color": lambda paradigm: _variable(look.color_of(paradigm)),
        "epsilon": format_epsilon,
        "paradigms": paradigms_of,
        "printed_name": printed_name,
        "spec": format,
    }
    environment.globals |= vars(sections) | vars(parameters) | {"format_ends": format_ends}
    return environment


def _draw_chart(name: str, results: StudyResults) -> dict[str, Any]:
    """A chart for the template: `title` (`about`, if the chart has none), `conditions` (lines of the subtitle, [] without one),
    `about`, and `spec`, Vega-Lite without title and with CSS variables as colours. SynthcError as of `charts.draw`."""
    spec = charts.draw(name, *results.charts[name], layout="screen")
    about = charts.kind_of(name).about
    title = spec.pop("title", {"text": about})
    # Screen readers get one sentence and the tables; labels of thousands of marks would hide both.
    spec["config"] |= {"background": None, "aria": False}
    return {"title": title["text"], "conditions": title.get("subtitle", []), "about": about, "spec": recolor(spec)}


def recolor(value: Any) -> Any:
    """A copy of a Vega-Lite specification in which each text that is a colour of `look.DARK` is a CSS variable; what is below the
    keys `datasets` and `values` is the same object, unchanged."""
    if isinstance(value, dict):
        return {key: item if key in ("datasets", "values") else recolor(item) for key, item in value.items()}
    if isinstance(value, list):
        return list(map(recolor, value))
    return _variable(value) if isinstance(value, str) and value in look.DARK else value


def _variable(color: str) -> str:
    """A CSS expression: the variable of a colour (`#rrggbb`), which dark mode redefines (`color_variables`), with the colour itself
    as fallback."""
    return f"var(--c{color.lstrip('#').lower()}, {color})"


def color_variables() -> str:
    """CSS that defines the variables of all colours of `look.DARK` for light and dark mode; print is always light."""
    light = "".join(f"--c{color.lstrip('#').lower()}: {color};" for color in look.DARK)
    dark = "".join(f"--c{color.lstrip('#').lower()}: {other};" for color, other in look.DARK.items())
    return f":root {{{light}}}\n@media screen and (prefers-color-scheme: dark) {{ :root {{{dark}}} }}\n"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _file(name: str) -> str:
    return (files("runtime.present.report") / name).read_text(encoding="utf-8")
