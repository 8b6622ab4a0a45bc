"""What an id is made of: the same bytes in every process, every field of every word of the language in it.

`vectors.json` pins ids and the texts behind some of them. A different id means that every stored result of its kind is orphaned:
change it knowingly, by raising a `revision`, a default or a field. To accept: `python -m tests.compiler.test_fingerprint`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import types
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from compiler.compile import compile_study
from compiler.fingerprint import SCHEME, canonical_text, encode, fingerprint, parse_canonical, restore
from compiler.language.base import Frozen, Generator, Method
from compiler.language.methods.baselines import DpSgd, Undefended
from compiler.work import operations as words
from tests.compiler.models import language_models
from tests.conftest import ROOT

VECTORS = Path(__file__).with_name("vectors.json")
STUDIES = ["specs/smoke.yaml", "specs/full_study.yaml", "tests/studies/base.yaml"]

# The twin


def plain(value: object) -> Any:
    """The slow obvious way to the same text: structures as dicts with their class's name, the rest to json."""
    if isinstance(value, BaseModel) or dataclasses.is_dataclass(value):
        if isinstance(value, BaseModel):
            names = list(type(value).model_fields)
        else:
            names = [field.name for field in dataclasses.fields(value) if field.compare]
        silent = [name for name in getattr(value, "later", ()) if getattr(value, name) is None]
        return {"": type(value).__name__} | {name: plain(getattr(value, name)) for name in names if name not in silent}
    if isinstance(value, dict):
        return {unicodedata.normalize("NFC", key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value + 0.0
    return unicodedata.normalize("NFC", value) if isinstance(value, str) else value


def naive(value: object) -> str:
    return json.dumps(plain(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


numbers = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)  # a worker in this process flushes those to zero
leaves = st.none() | st.booleans() | st.integers() | numbers | st.text()
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner))


@given(values)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_the_canonical_text_is_that_of_json_with_sorted_keys(value: object) -> None:
    assert encode(value) == naive(value)


def test_texts_that_are_remembered_are_those_that_would_be_made() -> None:
    plan = compile_study(ROOT / "specs" / "full_study.yaml", "complete")
    for task in plan.tasks.values():
        assert encode(task.work) in task.text
        assert encode(task.work) == naive(task.work)


def test_a_text_read_back_gives_the_work_that_it_was_made_from() -> None:
    types = {kind.__name__: kind for kind in (*languages(), *operations())}
    plan = compile_study(ROOT / "specs" / "full_study.yaml", "complete")
    for task in list(plan.tasks.values())[::7]:
        said = parse_canonical(task.text)
        assert (said.operation, tuple(said.needs.items())) == (type(task.work).__name__, task.needs)
        assert restore(said.params, types) == task.work


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: 2}, {"a"}, Path("a"), print, object(), int, b"bytes", 1j])
def test_what_has_no_stable_bytes_is_refused(value: object) -> None:
    with pytest.raises((TypeError, ValueError), match=r"stable bytes|not a string"):
        fingerprint("test", value)


def test_equal_numbers_of_different_types_are_different_texts() -> None:
    assert len({encode(value) for value in (1, 1.0, True, "1")}) == 4
    assert encode(-0.0) == encode(0.0)


# Every field counts


def languages() -> list[type[BaseModel]]:
    return [model for model in language_models() if issubclass(model, Frozen)]


def operations() -> list[type]:
    """Dataclasses of `compiler.work.operations` that enter a text."""
    return [kind for kind in vars(words).values() if dataclasses.is_dataclass(kind) and kind.__module__ == words.__name__]


def sample(annotation: Any, other: bool = False) -> Any:
    """A value of a type, or another one."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return arguments[-1] if other else arguments[0]
    if origin in (Union, types.UnionType):
        options = [option for option in arguments if option is not type(None)]
        if all(isinstance(option, type) and issubclass(option, BaseModel) for option in options):
            options.sort(key=lambda kind: kind.__name__, reverse=True)  # whatever file they are found in
        if type(None) in arguments and not other:
            return None
        return sample(options[-1]) if other and len(options) > 1 else sample(options[0], other)
    if annotation in (Frozen, Generator, Method):
        return built(DpSgd if other else Undefended)
    if origin is tuple:
        alike = arguments[-1] is Ellipsis
        return (sample(arguments[0], other),) * (1 + other) if alike else tuple(sample(inner, other) for inner in arguments)
    if origin is dict:
        return {"a": sample(arguments[1], other)}
    if hasattr(annotation, "__metadata__"):
        return sample(arguments[0], other)
    if dataclasses.is_dataclass(annotation) or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return built(annotation, other)
    return {
        Any: "b" if other else "a",
        str: "b" if other else "a",
        int: 2 if other else 1,
        float: 0.5 if other else 0.25,
        bool: other,
    }[annotation]


def fields_of(kind: Any) -> Iterator[tuple[str, Any]]:
    if issubclass(kind, BaseModel):
        yield from ((name, field.annotation) for name, field in kind.model_fields.items())
    else:
        hints = get_type_hints(kind)
        yield from ((field.name, hints[field.name]) for field in dataclasses.fields(kind) if field.compare)


def is_tag(annotation: Any) -> bool:
    """Whether no other value can be given: the tag of a union."""
    return get_origin(annotation) is Literal and len(get_args(annotation)) == 1


def built(kind: Any, other: bool = False) -> Any:
    """An instance, or one whose first field that can be another is; models are not validated: only their fields matter here."""
    fields = dict(fields_of(kind))
    first = next((name for name, annotation in fields.items() if not is_tag(annotation)), None)
    given = {name: sample(annotation, other and name == first) for name, annotation in fields.items()}
    return kind.model_construct(**given) if issubclass(kind, BaseModel) else kind(**given)


@pytest.mark.parametrize("kind", [*languages(), *operations()], ids=lambda kind: kind.__name__)
def test_every_field_changes_the_id(kind: Any) -> None:
    fields = dict(fields_of(kind))
    values = {name: sample(annotation) for name, annotation in fields.items()}
    make = kind.model_construct if issubclass(kind, BaseModel) else kind
    before = fingerprint("test", make(**values))
    for name, annotation in fields.items():
        if is_tag(annotation):
            continue
        changed = make(**values | {name: sample(annotation, other=True)})
        assert fingerprint("test", changed) != before, name
        assert encode(changed) == naive(changed)


def test_a_revision_changes_the_id(monkeypatch: pytest.MonkeyPatch) -> None:
    before = compile_study(ROOT / "specs" / "smoke.yaml")
    monkeypatch.setattr(words.TrainClassifier, "revision", 1_000)
    after = compile_study(ROOT / "specs" / "smoke.yaml")
    kept = {task.operation for id, task in before.tasks.items() if id in after.tasks}
    assert kept == {"Synthesize random"}  # what needs no training


# Golden ids


def vectors() -> dict[str, Any]:
    """Ids of single words, and of the first task of each operation of real studies, by address."""
    found: dict[str, Any] = {
        "scheme": SCHEME,
        "canonical text": canonical_text("test", None, True, 1, 1.5, 1e-5, "é", (1, 2), {"b": 1, "a": 2}),
        "words": {kind.__name__: fingerprint("test", built(kind)) for kind in sorted([*languages(), *operations()], key=str)},
    }
    for study in STUDIES:
        plan, first = compile_study(ROOT / study), {}
        for task in plan.tasks.values():
            first.setdefault(task.operation, task)
        found[study] = {task.address: task.id for task in first.values()}
    return found


def test_ids_are_pinned() -> None:
    pinned = json.loads(VECTORS.read_text())
    now = vectors()
    for part in now:
        mend = "python -m tests.compiler.test_fingerprint"
        assert pinned.get(part) == now[part], f"stored results are orphaned; if that is meant: {mend}"
    assert pinned.keys() == now.keys()


@pytest.mark.parametrize("seed", ["0", "1"])
def test_pinned_ids_do_not_depend_on_the_process(seed: str) -> None:
    script = "import json; from tests.compiler.test_fingerprint import vectors; print(json.dumps(vectors()))"
    environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads(VECTORS.read_text())


if __name__ == "__main__":
    VECTORS.write_text(json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n")
