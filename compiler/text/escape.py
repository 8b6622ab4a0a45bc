"""Text where it could be taken for more than text: a terminal, HTML and SVG, JSON in a script, LaTeX, Markdown, CSV, a file's name.

The only place that knows how each is escaped. Names, messages and logs come from specs, packages, servers and files of others:
`check` refuses letters that no name needs (`find_hostile`), and whatever else is shown goes through one of these functions.
Not here: SQL (`runtime.database.quoting`), the report's own template, whose engine escapes every text.
"""

from __future__ import annotations

import html as markup
import re
from hashlib import blake2b
from typing import Any

# Control characters but for tabs and new lines; separators of lines; marks that turn the direction of reading; halves of a
# surrogate pair, which are no letters; what is none of XML.
HOSTILE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
MAX_FILE_NAME_BYTES = 150
LATEX = str.maketrans(
    {letter: f"\\{letter}" for letter in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"\u2212": "$-$", "\u03b5": r"$\varepsilon$", "\u00a0": "~"}
)
MARKDOWN = str.maketrans({letter: f"\\{letter}" for letter in "\\|<`"})
FORMULA, FIGURE = re.compile(r"^[=+\-@\t\r]"), re.compile(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?")
"""A spreadsheet computes a cell that begins like the first, unless it is a figure. DuckDB reads these patterns too."""


def find_hostile(text: str) -> str | None:
    """The first letter that no name and no sentence needs, as it is shown; None where there is none."""
    found = HOSTILE.search(text)
    return found and _code(found)


def _code(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def visible(text: str) -> str:
    r"""The text with hostile letters as codes, such as `\u001b`: a terminal shows it and obeys nothing in it."""
    return HOSTILE.sub(_code, text)


def html(text: str) -> str:
    """For HTML and SVG, between tags or in an attribute with double quotes."""
    return markup.escape(visible(text))


def script(json_text: str) -> str:
    """JSON for a script element, which nothing in it can end."""
    return json_text.replace("<", r"\u003c").replace("\u2028", r"\u2028").replace("\u2029", r"\u2029")


def latex(text: str) -> str:
    return visible(text).translate(LATEX)


def markdown(text: str) -> str:
    """For a cell of a table: no tag, no column, no link."""
    return visible(text).translate(MARKDOWN).replace("](", r"]\(")


def csv(text: str) -> str:
    """For a cell: what a spreadsheet would compute gets an apostrophe, which makes it text."""
    shown = visible(text)
    return f"'{shown}" if FORMULA.match(shown) and not FIGURE.fullmatch(shown) else shown


def dot(text: str) -> str:
    """A quoted text of Graphviz."""
    return '"' + visible(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def mermaid(text: str) -> str:
    """A quoted text of Mermaid, which reads HTML."""
    entities = markup.escape(visible(text), quote=False).replace("#", "#35;").replace("&", "#")
    return '"' + entities.replace('"', "#quot;").replace("\n", "<br>") + '"'


def file_name(text: str) -> str:
    """A name for a file in any folder: words joined by hyphens; a longer one is cut and ends in a digest of the whole."""
    name = "-".join(re.findall(r"[\w.]+", text)).lstrip(".") or "-"
    if len(name.encode()) <= MAX_FILE_NAME_BYTES:
        return name
    digest = blake2b(text.encode(errors="backslashreplace"), digest_size=4).hexdigest()
    return f"{name.encode()[:MAX_FILE_NAME_BYTES].decode(errors='ignore')}-{digest}"


class Visible:
    """A stream that writes `visible` text; `plain` is the stream itself, for those who draw on a terminal."""

    def __init__(self, plain: Any) -> None:
        self.plain = plain

    def write(self, text: str) -> int:
        return self.plain.write(visible(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)


def plain(stream: Any) -> Any:
    """The stream beneath a `Visible` one: rich draws on it. What is given to rich is made `visible` before."""
    return getattr(stream, "plain", stream)
