"""Charts of the results, one module each, drawn by Altair from the rows of an SQL query, without network access.

Not here: queries by hand (`synthc sql`), the figures themselves (`runtime.audit.trial.trial`).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.errors import SynthcError, and_more, did_you_mean

if sys.flags.optimize >= 2:  # before Altair, which reads docstrings while it is imported
    raise SynthcError("charts and reports need docstrings, which Python leaves out here: unset PYTHONOPTIMIZE=2, and leave out -OO")

import altair as alt
import vl_convert
from altair.utils.schemapi import debug_mode

from runtime.present.charts import ablation, cost, epsilon, letters, look, page, roc, tradeoff, training, vulnerability
from runtime.present.charts import forest as claims
from runtime.present.paradigms import Row


@dataclass(frozen=True)
class ChartKind:
    """A named chart: its SQL query and the function that draws the rows."""

    query: str
    draw: Callable[[list[Row], look.Layout], alt.TopLevelMixin | dict[str, Any]]
    about: str
    missing: str = "no study was run, or no row is left"
    """Why a query may give no rows, for the message that is then drawn."""
    alone: tuple[str, ...] = ("origin", "study", "profile")
    """Columns for each combination of whose values there is a chart of its own."""


OF_FRONTS = (*ChartKind.alone, "data")
"""`ChartKind.alone` for charts with a front: also by data set, since a front is over trials of one data set."""


CHARTS: dict[str, ChartKind] = {
    "tradeoff": ChartKind(tradeoff.QUERY, tradeoff.draw, "accuracy against leakage, both with intervals", alone=OF_FRONTS),
    "roc": ChartKind(roc.QUERY, roc.draw, "ROC curves of the headline attack, log-log"),
    "vulnerability": ChartKind(vulnerability.QUERY, vulnerability.draw, "how the risk spreads over canaries"),
    "ablation": ChartKind(ablation.QUERY, ablation.draw, "leakage and accuracy along the grids of an arm", "no arm has a grid"),
    "cost": ChartKind(cost.QUERY, cost.draw, "seconds per shadow against accuracy and leakage", alone=OF_FRONTS),
    "epsilon": ChartKind(
        epsilon.QUERY, epsilon.draw, "the audited lower bound beside the accountant's epsilon", "no bound was computed"
    ),
    "training": ChartKind(training.QUERY, training.draw, "loss curves of every training", "nothing was trained that logs a loss"),
    "claims": ChartKind(
        claims.QUERY, claims.draw, "effects of the claims with intervals and verdicts", "the study makes no claims"
    ),
}
FORMATS = ("svg", "png", "pdf", "html", "json")
VEGA_LITE = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
WIDTHS = {"column": 238.0, "page": 490.0}
"""Widths of a column and of a page of a paper, in points: 3.3 and 6.8 inches."""
MIN_LETTERS = 7.0
"""Smallest size of letters in print, in points."""
OWN_SCALES = dict.fromkeys(("color", "shape", "size", "strokeDash"), "independent")
"""Studies do not share these scales: each has paradigms of its own, and a shared scale would have the colours of the first."""
MAX_STUDIES = 6
"""Most studies in one picture."""
PIXELS_PER_POINT = 4
"""Resolution of PNG files: 288 dots per inch."""


def kind_of(name: str) -> ChartKind:
    """The chart of this name; SynthcError if there is none."""
    if name not in CHARTS:
        raise SynthcError(f"no chart is called {name!r}; {did_you_mean(name, CHARTS)}")
    return CHARTS[name]


def draw(name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], layout: str = "column") -> dict[str, Any]:
    """Draw the chart `name` from columns and rows of its query as a Vega-Lite specification, in the layout of this name (a key of
    `look.LAYOUTS`); without rows, a chart that says why.

    Several studies (`ChartKind.alone`; in a chart with a front, several data sets too) are charts below each other. SynthcError for
    an unknown chart, and for more than MAX_STUDIES studies; KeyError for an unknown layout.
    """
    kind, sizes = kind_of(name), look.LAYOUTS[layout]
    studies: dict[tuple[Any, ...], list[Row]] = {}
    for row in (look.drawable(dict(zip(columns, row, strict=True))) for row in rows):
        studies.setdefault(tuple(row.get(column) for column in kind.alone), []).append(row)
    named = list(dict.fromkeys(key[:3] for key in studies))
    if len(named) > MAX_STUDIES:
        some = and_more(list(dict.fromkeys(f"{study} ({profile})" if profile else f"{study}" for _, study, profile in named)), 5)
        raise SynthcError(f"{len(named)} studies share no chart; choose by --study, --profile, --origin. There are: {some}")
    nothing = f"nothing to draw for {name!r} yet: {kind.missing}"
    with debug_mode(False):  # skips Altair's schema checks of each part, which take half of the time
        parts: list[Any] = [kind.draw(of_study, sizes) for of_study in studies.values()] or [look.draw_nothing(nothing, sizes)]
    drawn = parts[0] if len(parts) == 1 else look.concat("vconcat", parts, spacing=30) | {"resolve": {"scale": OWN_SCALES}}
    spec: dict[str, Any] = drawn if isinstance(drawn, dict) else drawn.to_dict(validate=False)
    spec = {"$schema": alt.SCHEMA_URL, "description": f"Chart: {kind.about}."} | spec | {"config": look.config(sizes)}
    spec["datasets"] = {name: json.loads(text) for name, text in spec["datasets"].items()}
    return spec


def save(spec: dict[str, Any], path: Path, width: float | None = None, titled: bool = True) -> str:
    """Write the chart to `path` in the format of its suffix, `width` points wide (by default as drawn), with its title if `titled`;
    an older file is replaced. Returns a notice on letters that no font here can show, in png and pdf, or "".

    SynthcError for a suffix that is none of FORMATS (of either case), for a width at which letters would be smaller than
    MIN_LETTERS points, for any width of html and json, and where the file cannot be written. ValueError for numbers that are not
    finite in html and json (`draw` leaves none).
    """
    ending = path.suffix.lstrip(".").lower()
    if ending not in FORMATS:
        raise SynthcError(f"{path}: cannot draw {path.suffix or 'a file without ending'}; endings are: {', '.join(FORMATS)}")
    if width is not None and ending in ("json", "html"):
        raise SynthcError(f"{path}: a width is of svg, pdf and png; {ending} takes what room there is")
    if not titled:
        spec = {name: part for name, part in spec.items() if name != "title"}
    try:
        match ending:
            case "json":
                path.write_text(json.dumps(spec, indent=1, allow_nan=False) + "\n", encoding="utf-8")
            case "html":
                path.write_text(page.chart_page(spec), encoding="utf-8")
            case _:
                return _write_picture(spec, path, ending, width)
    except OSError as error:
        raise SynthcError(f"{path}: cannot be written: {error.strerror}") from error
    return ""


def _write_picture(spec: dict[str, Any], path: Path, ending: str, width: float | None) -> str:
    svg = vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE)
    drawn = float(re.search(r'width="([\d.]+)"', svg)[1])  # type: ignore[index]
    scale = 1.0 if width is None else width / drawn
    smallest = min(map(float, re.findall(r'font-size="([\d.]+)px"', svg)), default=MIN_LETTERS)
    if scale * smallest < MIN_LETTERS:
        least = MIN_LETTERS / smallest * drawn / 72
        raise SynthcError(
            f"{path}: at this width letters would be smaller than {MIN_LETTERS:g} points; ask for {least:.1f}in or more"
        )
    boxes = letters.complain_of_missing(svg) if ending != "svg" else ""  # whoever opens an .svg has fonts of their own
    size = re.compile(r'(width|height)="([\d.]+)"')

    def sized(unit: str) -> str:
        return size.sub(lambda found: f'{found[1]}="{scale * float(found[2]):.1f}{unit}"', svg, count=2)

    match ending:
        case "svg":
            path.write_text(sized("pt"), encoding="utf-8")
        case "pdf":  # whose points are the converter's pixels; it embeds the letters that it uses
            path.write_bytes(vl_convert.svg_to_pdf(sized("")))
        case "png":
            path.write_bytes(vl_convert.svg_to_png(svg, scale=PIXELS_PER_POINT * scale))
    return f"{path}: {boxes}" if boxes else ""
