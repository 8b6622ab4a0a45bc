"""Pages of docs that are generated say what the code says, and links of all pages lead somewhere.

`python -m tests.test_docs` writes the generated pages anew.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from compiler.inspect.field_docs import meanings
from compiler.lint.catalog import LINTS
from runtime.cli.main import parser
from tests.conftest import ROOT

DOCS = ROOT / "docs"

SECTIONS = (
    ("A study", "compiler.language.study", ("Header",)),
    ("Data", "compiler.language.data", None),
    ("The classifier", "compiler.language.classifier", None),
    ("The audit", "compiler.language.audit", None),
    ("Attacks", "compiler.language.attacks", None),
    ("Arms and methods", "compiler.language.methods", None),
    ("Claims", "compiler.language.claims", None),
    ("Charts", "compiler.language.charts", None),
)


def language() -> str:
    """Every word of a study: its models in the order of a spec, with type, default and meaning of each field."""
    lines = [
        "# The language",
        "",
        "Every word that a study may say, from the models that check it. `synthc init NAME` writes a commented study,",
        "`synthc schema -o schema.json` the same as a schema for editors. A mapping whose only key is `grid` stands for each of",
        "its values; `extends`, `profiles` and `--set` lay texts over each other.",
    ]
    for title, package, only in SECTIONS:
        lines += ["", f"## {title}"]
        for model in _models(package):
            if only is None or model.__name__ in only:
                lines += _describe(model)
    return "\n".join(lines) + "\n"


def _models(package: str) -> Iterator[type[BaseModel]]:
    module = importlib.import_module(package)
    names = [f"{package}.{found.name}" for found in pkgutil.iter_modules(getattr(module, "__path__", []))]
    for one in map(importlib.import_module, names or [package]):
        for kind in vars(one).values():
            if isinstance(kind, type) and issubclass(kind, BaseModel) and kind.__module__ == one.__name__ and kind.__doc__:
                if not kind.__name__.startswith("_"):
                    yield kind


def _describe(model: type[BaseModel]) -> list[str]:
    said = meanings(model)
    words = [_word(model, name) for name in ("paradigm", "method", "attack")]
    named = " ".join(word for word in words if word)
    lines = ["", f"### {named or model.__name__}", "", inspect.cleandoc(model.__doc__ or ""), ""]
    rows = []
    for name, field in model.model_fields.items():
        if _word(model, name):
            continue
        default = "" if field.is_required() else f"`{_default(field)}`"
        rows.append(f"| `{name}` | {_type(field.annotation)} | {default} | {_cell(said.get(name, ''))} |")
    return [*lines, "| word | values | default | meaning |", "|---|---|---|---|", *rows] if rows else lines[:-1]


def _word(model: type[BaseModel], name: str) -> str:
    """`paradigm: coreset`, where the field has one value only."""
    field = model.model_fields.get(name)
    values = get_args(field.annotation) if field is not None and get_origin(field.annotation) is Literal else ()
    return f"`{name}: {values[0]}`" if len(values) == 1 else ""


def _default(field: Any) -> str:
    value = field.default_factory() if field.default_factory else field.default
    if isinstance(value, BaseModel):
        return "its own"
    return (
        "null" if value is None or value is PydanticUndefined else str(value).lower() if isinstance(value, bool) else _plain(value)
    )


def _plain(value: Any) -> str:
    return "[]" if value == () else str(list(value)) if isinstance(value, tuple) else str(value)


def _type(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _type(get_args(annotation)[0])
    if origin is Literal:
        return ", ".join(f"`{_default_text(value)}`" for value in get_args(annotation))
    if origin in (Union, types.UnionType):
        kinds = list(dict.fromkeys(_type(one) for one in get_args(annotation)))
        return " or ".join(kinds) if len(kinds) < 6 else "one of those below"
    if origin is tuple:
        return f"list of {_type(get_args(annotation)[0])}"
    if origin in (dict, typing.get_origin(typing.Mapping[str, int])):
        return f"name → {_type(get_args(annotation)[1])}"
    if annotation is type(None):
        return "`null`"
    names = {"int": "whole number", "float": "number", "str": "text", "bool": "`true`, `false`", "Any": "anything"}
    return names.get(getattr(annotation, "__name__", ""), getattr(annotation, "__name__", str(annotation)))


def _default_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def commands() -> str:
    """Every command with its help, as the terminal shows it."""
    lines = ["# Commands", "", "What `synthc COMMAND --help` says."]
    for path, command in sorted(_commands(parser(), ())):
        text = command.format_help()
        lines += ["", f"## `synthc {' '.join(path)}`", "", "```text", text.rstrip(), "```"]
    return "\n".join(lines) + "\n"


def _commands(command: argparse.ArgumentParser, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                yield from _commands(sub, (*path, name))
            return
    yield path, command


def lints() -> str:
    """Every lint: what it is about, why, after whom."""
    lines = [
        "# Lints",
        "",
        "What a rigorous study needs. An error refuses the study unless `allow: {CODE: reason}` silences it; the reason is kept",
        "with the results. `synthc check SPEC --explain CODE` shows where one applies in a study.",
        "",
        "| code | severity | looks at | what is wrong | why | after |",
        "|---|---|---|---|---|---|",
    ]
    for lint in LINTS.values():
        seen = " and ".join(name for name, found in (("spec", lint.before), ("results", lint.after)) if found) or "built in"
        because = lint.because + (f" ({lint.built_in})" if lint.built_in else "")
        cells = (lint.code, lint.severity, seen, lint.title, because, lint.source)
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    return "\n".join(lines) + "\n"


PAGES: dict[str, Callable[[], str]] = {"language.md": language, "commands.md": commands, "lints.md": lints}


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_says_what_the_code_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "commands.md" and sys.version_info[:2] != (3, 11):
        pytest.skip("argparse lays out a help text differently in each version of Python")
    monkeypatch.setenv("COLUMNS", "100")
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "python -m tests.test_docs writes it anew"


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "SECURITY.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, anchor = link.partition("#")
        if "://" in link:
            continue
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            broken.append(link)
    assert broken == []


if __name__ == "__main__":
    import os

    os.environ["COLUMNS"] = "100"
    for name, make in PAGES.items():
        (DOCS / name).write_text(make(), encoding="utf-8")
