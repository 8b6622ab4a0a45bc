"""One self-contained page that answers a study's question: verdicts, figures, charts, images, provenance.

Works without a network and says so to the browser: a content policy lets nothing be fetched and no script run but the
page's own, by their hashes. Not here: what is read (`read`), the sections (`sections`), how charts are drawn (`charts`).
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from html import escape
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import altair as alt
import vl_convert

from compiler.errors import SynthcError
from runtime.present import charts
from runtime.present.charts import look
from runtime.present.report import html as cells
from runtime.present.report import provenance as record
from runtime.present.report import sections as parts
from runtime.present.report.read import Results, read
from runtime.store.artifacts import atomic_write

NOTHING_ELSE = "base-uri 'none'; form-action 'none'"
SHOWN = ("tradeoff", "roc", "cost", "ablation", "vulnerability", "epsilon")
"""Charts in the section of charts, in this order; `claims` stands with the verdicts."""


def write(
    path: Path, database: Path, store: Path, study: str | None = None, profile: str | None = None, with_private: bool = False
) -> None:
    """Write the report of `study` (the one that ran last by default) to `path`; SynthcError for what a user can mend."""
    text = page(read(database, store, study, profile, with_private), database.name, with_private)
    try:
        with atomic_write(path, synced=False) as beside:
            beside.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SynthcError(f"{path}: cannot be written: {error.strerror}") from error


def page(results: Results, database_name: str = "results.duckdb", with_private: bool = False) -> str:
    """The report as HTML. The same results give the same text."""
    run = results.run
    shown = [name for name in SHOWN if name != "ablation" or results.charts[name][1]]
    drawn = {name: chart(name, results) for name in (*shown, *(["claims"] if results.claims else []))}
    titles = {name: title for name, (title, _) in drawn.items()}
    claims = parts.figure("claims", titles.pop("claims")) if results.claims else ""
    sections = {
        "answer": ("The answer", parts.answer(results) + claims),
        "comparison": ("Comparison", parts.headline(results) + parts.comparison(results)),
        "charts": ("Charts", parts.charts(titles, results)),
        "gallery": ("Synthetic images", parts.gallery(results, with_private)),
        "warnings": ("Lints and flags", parts.warnings(results)),
        "methods": ("Methods and parameters", record.methods(results)),
        "provenance": ("Provenance", record.provenance(results)),
        "reproduce": ("How to reproduce", record.reproduce(results, database_name)),
    }
    style, script = _file("page.css") + _colors(), _file("page.js")
    scripts = (_bundle(), script)
    hashes = " ".join(f"'sha256-{_digest(text)}'" for text in scripts)
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {hashes}; {NOTHING_ELSE}"
    return Template(_file("page.html")).substitute(
        policy=policy,
        title=escape(f"{run['study']}: {run['question'] or 'privacy study'}"),
        style=style,
        study=escape(run["study"]),
        question=escape(run["question"] or run["study"]),
        summary=parts.summary(results),
        contents="".join(f'<li><a href="#{name}">{title}</a></li>' for name, (title, _) in sections.items()),
        sections="\n".join(
            f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>{body}</section>'
            for name, (title, body) in sections.items()
        ),
        version=version("synthc"),
        charts=cells.as_json({name: spec for name, (_, spec) in drawn.items()}),
        scripts="\n".join(f"<script>{text}</script>" for text in scripts),
    )


def chart(name: str, results: Results) -> tuple[parts.Title, dict[str, Any]]:
    """A chart's title and conditions, for the page to set, and the rest as Vega-Lite, in colours that the page can change."""
    drawn = charts.draw(name, *results.charts[name], theme="screen").to_dict()
    title = drawn.pop("title", {"text": charts.kind_of(name).about})
    # Screen readers get one sentence and the tables; thousands of marks that each speak would bury both.
    drawn["config"] |= {"background": None, "aria": False}
    return (title["text"], title.get("subtitle", [])), _recolored(drawn)


def _recolored(value: Any, inside: str = "") -> Any:
    """Every colour that dark mode knows as a CSS variable; data is left alone."""
    if isinstance(value, dict):
        return {key: item if key in ("datasets", "values") else _recolored(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_recolored(item, inside) for item in value]
    return cells.variable(value) if isinstance(value, str) and value in look.DARK else value


def _colors() -> str:
    """The variables, light and dark; paper is always light."""
    light = "".join(f"--c{color.lstrip('#').lower()}: {color};" for color in look.DARK)
    dark = "".join(f"--c{color.lstrip('#').lower()}: {other};" for color, other in look.DARK.items())
    return f":root {{{light}}}\n@media screen and (prefers-color-scheme: dark) {{ :root {{{dark}}} }}\n"


@lru_cache(maxsize=1)
def _bundle() -> str:
    """Vega, Vega-Lite and the embedding, as one script without references to elsewhere."""
    kind = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    text = vl_convert.javascript_bundle(vl_version=kind)  # type: ignore[call-arg]   # the stub wants a snippet; without one all comes
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _file(name: str) -> str:
    return (files("runtime.present.report") / name).read_text(encoding="utf-8")
