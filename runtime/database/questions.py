"""Named queries for every study, read from `questions.sql`. Not here: running them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files

from compiler.errors import SynthcError, did_you_mean


@dataclass(frozen=True)
class Question:
    """A named SQL query."""

    name: str
    about: str
    """One sentence: what the query answers."""
    text: str
    """Its SQL, with the semicolon at the end."""


def questions() -> dict[str, Question]:
    """Name → question, in the order of the file."""
    content = (files("runtime.database") / "questions.sql").read_text(encoding="utf-8")
    found = re.findall(r"^-- @(\w+): (.+)\n((?:(?!-- @).*\n)+)", content, flags=re.MULTILINE)
    return {name: Question(name, about, text.strip()) for name, about, text in found}


def question(name: str) -> Question:
    """The question called `name` (without `@`); SynthcError if there is none."""
    known = questions()
    if name not in known:
        raise SynthcError(f"no question is called {'@' + name!r}; {did_you_mean(name, known)}; `synthc sql --list` lists them")
    return known[name]
