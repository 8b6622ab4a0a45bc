"""The language as a JSON Schema: what editors accept is what the compiler accepts.

After a change of the language: `synthc schema -o specs/schema.json`.
"""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from compiler.check.trials import check
from compiler.inspect.field_docs import meanings
from compiler.inspect.json_schema import schema, schema_text
from compiler.text.compose import compose
from compiler.text.nodes import parse, plain, read
from tests.compiler.models import language_models
from tests.conftest import ROOT, TINY

SCHEMA = ROOT / "specs" / "schema.json"
STUDIES = sorted([*ROOT.glob("specs/**/*.yaml"), *ROOT.glob("tests/studies/*.yaml")])
WHOLE = [path for path in STUDIES if not path.name.startswith("broken_")]

editor = jsonschema.Draft7Validator(schema())


def complaints(text: str) -> list[str]:
    return [error.message for error in editor.iter_errors(plain(parse(text, "study")))]


def test_the_copy_that_editors_read_is_true() -> None:
    assert SCHEMA.read_text() == schema_text(), "run: synthc schema -o specs/schema.json"


def test_it_is_a_valid_schema() -> None:
    jsonschema.Draft7Validator.check_schema(schema())


@pytest.mark.parametrize("spec", WHOLE, ids=lambda path: path.stem)
def test_every_spec_is_valid_and_its_first_line_names_the_schema(spec: Path) -> None:
    assert [error.message for error in editor.iter_errors(plain(read(spec)))] == []
    first = spec.read_text().splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (spec.parent / first.partition("$schema=")[2]).resolve() == SCHEMA


def test_the_starter_is_valid_and_names_a_schema() -> None:
    text = (ROOT / "runtime/cli/starter.yaml").read_text()
    assert complaints(text) == []
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("fraction: 0.3", "fraktion: 0.3"),
        ("fraction: 0.3", "fraction: 1.3"),
        ("fraction: 0.3", "fraction: {grid: [0.1, 1.3]}"),
        ("fraction: 0.3", "fraction: {grid: []}"),
        ("fraction: 0.3", "fraction: {grid: 0.1}"),
        ("fraction: 0.3", "fraction: {grid: [0.1], step: 2}"),
        ("fraction: 0.3", "fraction: 0.3\n    images_per_class: 10"),
        ("paradigm: coreset", "paradigm: core_set"),
        ("    paradigm: coreset\n", ""),
        ("    method: {grid: [random, forgetting]}\n", ""),
        ("method: {grid: [random, forgetting]}", "method: forgeting"),
        ("method: {grid: [random, forgetting]}", "method: {grid: [random, forgeting]}"),
        ("method: {grid: [random, forgetting]}", "method: random\n    never_learned: zero"),
        ("{paradigm: undefended}", "undefended"),
        ("{paradigm: undefended}", "{paradigm: undefended, classifier: {widht: 8}}"),
        ("{paradigm: undefended}", "{paradigm: undefended, exclude: {fraction: 0.1}}"),
        ("shadows: 8", "shadows: true"),
        ("shadows: 8", "shadows: '8'"),
        ("variant: pooled, queries: 1}\n    -", "variant: poled, queries: 1}\n    -"),
        ("kind: clean", "kind: cleen"),
        ("data: {name: digits, test: 360}\n", ""),
        ("study: tiny", "study: tiny\nshadow: 3"),
        ("study: tiny", "study: tiny\nreplicates: {grid: [1, 2]}"),
        ("arms:", "claims: {c: {text: t, test: differense, left: {arm: a}}}\narms:"),
        ("arms:", "profiles: {small: {classifier: {width: none}}}\narms:"),
    ],
)
def test_a_typical_mistake_is_underlined(was: str, becomes: str) -> None:
    assert TINY.count(was) >= 1
    assert complaints(TINY) == []
    assert complaints(TINY.replace(was, becomes, 1)) != []


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("fraction: 0.3", "fraction: {grid: [0.1, {grid: [0.2, 0.3]}]}"),
        ("variant: pooled", "variant: {grid: [pooled, student_t]}"),
        ("data: {name: digits, test: 360}", "data: {grid: [{name: digits, test: 360}, {name: digits, test: {grid: [300, 200]}}]}"),
        ("fpr: [0.1, 0.001]", "fpr: [{grid: [0.1, 0.001]}]"),
        ("epochs: 3", "epochs: 3, augment: {grid: [{shift: 1}, {shift: 2}]}"),
        ("{paradigm: undefended}", "{paradigm: undefended, classifier: {width: {grid: [8, 16]}}, exclude: [{width: 8}]}"),
        ("{paradigm: undefended}", "{paradigm: undefended, audit: {z_pool: 41}}"),
        ("{paradigm: undefended}", "{paradigm: undefended, audit: {canaries: {clean: null}}}"),
        (
            "{paradigm: undefended}",
            "{grid: [{paradigm: undefended}, {paradigm: coreset, method: random, per_class: {grid: [1, 8]}}]}",
        ),
        ("arms:", "profiles: {small: {arms: {coreset: null, undefended: {classifier: {width: 4}}}}}\narms:"),
        ("arms:", "profiles: {small: {audit: {canaries: {clean: null}}}}\narms:"),
        (
            "method: {grid: [random, forgetting]}",
            "method: {grid: [least_confidence, k_center]}\n    proxy: {grid: [null, {width: 4}]}",
        ),
    ],
)
def test_whatever_the_compiler_expands_is_valid(was: str, becomes: str, tmp_path: Path) -> None:
    text = TINY.replace(was, becomes, 1)
    assert text != TINY
    (tmp_path / "study.yaml").write_text(text)
    check(compose(tmp_path / "study.yaml"))
    assert complaints(text) == []


def test_a_study_that_extends_another_may_leave_out_what_the_other_says() -> None:
    assert complaints("extends: base.yaml\narms: {coreset: {fraction: 0.5}, undefended: null}") == []
    assert complaints("extends: base.yaml\narms: {coreset: {fraction: half}}") != []


def test_every_docstring_of_the_language_is_in_it() -> None:
    whole = schema_text()
    about = {f"{model.__name__}.{name}": text for model in language_models() for name, text in meanings(model).items()}
    assert "Audit.z_pool" in about
    assert [field for field, text in about.items() if json.dumps(text, ensure_ascii=False) not in whole] == []
