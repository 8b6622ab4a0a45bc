"""HTML pages with charts: the content security policy and scripts that the report and single charts share."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from typing import Any

import altair as alt
import vl_convert

from compiler.text import escape

# Vega's interpreter instead of eval, which the policy forbids.
EMBED = """\
vegaEmbed("#chart", JSON.parse(document.getElementById("spec").textContent),
  {mode: "vega-lite", ast: true, renderer: "svg", actions: {export: true, source: false, compiled: false, editor: false}})
  .then(() => document.documentElement.setAttribute("data-ready", "true"));
"""

FILLING = """\
<style>
body { margin: 0; }
#chart, #chart.vega-embed { display: block; padding: .5rem; }
#chart svg.marks { width: calc(100vw - 1rem); height: calc(100vh - 1rem); }
</style>
"""
"""Style by which the drawing fills the window and keeps its aspect ratio."""


def policy(scripts: Iterable[str]) -> str:
    """A content security policy: only these scripts, by their hashes, inline styles, and images in `data:` URLs; no requests."""
    hashes = " ".join(f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'" for text in scripts)
    sources = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {hashes}"
    return f"{sources}; base-uri 'none'; form-action 'none'"


@lru_cache(maxsize=1)
def bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script without external references, escaped for a script element; cached."""
    kind = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    text = vl_convert.javascript_bundle(vl_version=kind)  # type: ignore[call-arg]   # the stub wants a snippet; without one all comes
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def chart_page(spec: dict[str, Any]) -> str:
    """An HTML page of one chart (Vega-Lite), which works offline; texts of the chart are escaped. ValueError for numbers that are
    not finite."""
    title = escape.html(str(spec.get("description", "chart")))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy((bundle(), EMBED))}">\n'
        f"<title>{title}</title>\n{FILLING}</head>\n"
        f'<body><div id="chart"></div>\n'
        f'<script type="application/json" id="spec">{escape.script(json.dumps(spec, allow_nan=False))}</script>\n'
        f"<script>{bundle()}</script>\n<script>{EMBED}</script></body></html>\n"
    )
