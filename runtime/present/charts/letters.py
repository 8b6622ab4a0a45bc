"""Finds letters of a chart that no installed font has, so that pictures would show boxes.

The renderer itself is asked: a letter that looks as one that no font has is missing. Before it is called so, fontconfig is asked
for fonts that lie where the renderer does not look.
"""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import unicodedata
from functools import lru_cache
from pathlib import Path

import vl_convert

from compiler.errors import and_more

NOBODY_S = "\U0010fffd"
"""A code point for private use that no font has."""
MAX_ASKED = 20
"""Most letters for which fonts are searched."""


def complain_of_missing(svg: str) -> str:
    """A sentence on letters in texts of the SVG that no font has; "" without any. Fonts that fontconfig has for them are made known
    to the renderer first, and stay so."""
    text = "".join(html.unescape(part) for part in re.findall(r"<text[^>]*>([^<]*)", svg))
    odd = sorted({letter for letter in text if not letter.isascii() and not letter.isspace()})
    missing = [letter for letter in odd if _is_missing(letter)]
    if missing and _register_fonts("".join(missing[:MAX_ASKED])):
        _picture.cache_clear()
        missing = [letter for letter in missing if _is_missing(letter)]
    if not missing:
        return ""
    named = and_more([f"{letter} (U+{ord(letter):04X})" for letter in missing], 5)
    fonts = " and ".join(sorted({_font_of(letter) for letter in missing}))
    return f"no font here has {named}: boxes stand there; install one, such as Debian's {fonts}, or take .svg or .html"


def _font_of(letter: str) -> str:
    """The Debian package whose font most likely has the letter."""
    name = unicodedata.name(letter, "")
    if name.startswith(("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "FULLWIDTH", "HALFWIDTH")):
        return "fonts-noto-cjk"
    return "fonts-noto-color-emoji" if unicodedata.category(letter) == "So" else "fonts-noto-core"


def _is_missing(letter: str) -> bool:
    return _picture(letter) == _picture(NOBODY_S)


@lru_cache(maxsize=4096)
def _picture(letter: str) -> bytes:
    text = f'<text x="2" y="22" font-size="20px" font-family="sans-serif">{html.escape(letter)}</text>'
    drawn: bytes = vl_convert.svg_to_png(f'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30">{text}</svg>')
    return drawn


def _register_fonts(letters: str) -> bool:
    """Make the folders in which fontconfig finds fonts with these letters known to the renderer; whether there are any: False
    without fontconfig. The search ends where it does not answer."""
    if shutil.which("fc-list") is None:
        return False
    folders: set[Path] = set()
    for letter in letters:
        asked = ["fc-list", f":charset={ord(letter):x}", "file"]
        try:
            found = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=20).stdout
        except subprocess.TimeoutExpired:
            break
        folders |= {Path(line.partition(":")[0]).parent for line in found.splitlines() if line.startswith("/")}
    for folder in sorted(folders):
        vl_convert.register_font_directory(str(folder))
    return bool(folders)
