"""Escapes texts for terminals, HTML and SVG, JSON in scripts, LaTeX, Markdown, CSV, and names of files.

The only place that knows how each is escaped. Names, messages and logs come from specs, packages, servers and files of others:
`check` refuses letters that no name needs (`find_hostile`), and whatever else is shown goes through one of these functions. Texts
that are shown (not JSON, not names of files) are made `visible` first.
Not here: SQL (`runtime.database.quoting`), the report's own template, whose engine escapes every text.
"""

from __future__ import annotations

import re
from typing import Any

# Control characters except tabs and newlines; line separators; bidirectional controls; lone surrogates; non-XML characters.
HOSTILE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
MAX_FILE_NAME_BYTES = 150
LATEX = str.maketrans(
    {letter: f"\\{letter}" for letter in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"\u2212": "$-$", "\u03b5": r"$\varepsilon$", "\u00a0": "~"}
)
MARKDOWN = str.maketrans({letter: f"\\{letter}" for letter in "\\|<`"})
FORMULA, FIGURE = re.compile(r"^[=+\-@\t\r]"), re.compile(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?")
"""Spreadsheets run cells that match the first pattern as formulas, unless they match the second. DuckDB uses these patterns too."""


def find_hostile(text: str) -> str | None:
    """The first hostile character of a text, as an escape code; None without one."""
    found = HOSTILE.search(text)
    return found and _code(found)


def _code(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def visible(text: str) -> str:
    r"""The text with hostile characters as escape codes, such as `\u001b`, so that a terminal executes none of them; tabs and
    newlines stay."""
    return HOSTILE.sub(_code, text)


def html(text: str) -> str:
    """The text for HTML and SVG, between tags or in a quoted attribute: `visible`, with &, <, > and both quotes as entities."""
    from html import escape  # with its table of entities, which `synthc --help` need not load

    return escape(visible(text))


def script(json_text: str) -> str:
    """Escape JSON for a script element, so that no text in it ends the element."""
    return json_text.replace("<", r"\u003c").replace("\u2028", r"\u2028").replace("\u2029", r"\u2029")


def latex(text: str) -> str:
    """The `visible` text for LaTeX: its special characters are escaped; minus sign, ε and no-break space become its commands."""
    return visible(text).translate(LATEX)


def markdown(text: str) -> str:
    """The `visible` text for a cell of a Markdown table: it makes no tag, column separator, code or `[text](link)`. Newlines and
    emphasis stay."""
    return visible(text).translate(MARKDOWN).replace("](", r"]\(")


def csv(text: str) -> str:
    """Escape for a CSV cell: the `visible` text, with an apostrophe before it if spreadsheets would run it as a formula; numbers
    stay. Adds no quotes."""
    shown = visible(text)
    return f"'{shown}" if FORMULA.match(shown) and not FIGURE.fullmatch(shown) else shown


def dot(text: str) -> str:
    """The `visible` text in double quotes, escaped for Graphviz."""
    return '"' + visible(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def mermaid(text: str) -> str:
    """The `visible` text in double quotes, escaped for Mermaid, which interprets HTML; newlines become `<br>`."""
    from html import escape

    entities = escape(visible(text), quote=False).replace("#", "#35;").replace("&", "#")
    return '"' + entities.replace('"', "#quot;").replace("\n", "<br>") + '"'


def file_name(text: str) -> str:
    """A file name from a text: its words (letters, digits, `_`, `.`) joined by hyphens, without leading dots; `-` if nothing is
    left. One of over MAX_FILE_NAME_BYTES is cut there and followed by a hyphen and a digest of the text. Different texts may have
    the same name."""
    name = "-".join(re.findall(r"[\w.]+", text)).lstrip(".") or "-"
    return name if len(name.encode()) <= MAX_FILE_NAME_BYTES else _cut(name, MAX_FILE_NAME_BYTES, text)


def shortened(name: str, most: int) -> str:
    """The name if it has at most `most` bytes, else its beginning, a hyphen and a digest of the whole name, together at most so
    many. `most` must exceed 9."""
    return name if len(name.encode()) <= most else _cut(name, most - 9, name)


def _cut(name: str, most: int, text: str) -> str:
    """A name cut to its first `most` bytes, never within a character, then a hyphen and a digest of `text`, eight hexadecimal
    digits."""
    from hashlib import blake2b

    digest = blake2b(text.encode(errors="backslashreplace"), digest_size=4).hexdigest()
    return f"{name.encode()[:most].decode(errors='ignore')}-{digest}"


class Visible:
    """A stream whose `write` writes `visible` text; `plain` is the wrapped stream, from which all other attributes are taken."""

    def __init__(self, plain: Any) -> None:
        self.plain = plain

    def write(self, text: str) -> int:
        """Write the text made `visible`; returns what the wrapped stream's `write` returns."""
        return self.plain.write(visible(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)


def plain(stream: Any) -> Any:
    """The stream that a `Visible` one wraps (any other stream itself), for rich, whose control codes must pass; texts for rich are
    made `visible` before."""
    return getattr(stream, "plain", stream)
