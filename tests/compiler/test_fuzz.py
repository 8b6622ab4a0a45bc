"""Whatever a file holds, the compiler answers with a plan or with placed complaints, never with a traceback.

Bytes, damaged texts and damaged trees, the last from real studies. Each run of the suite tries the same ones, 120 damaged trees of
the full study among them; `pytest -m long tests/compiler/test_fuzz.py` tries thousands.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler.check.trials import check
from compiler.compile import compile_study
from compiler.errors import Diagnostic, Location, SpecError
from compiler.lint import lint
from compiler.plan.dag import Plan
from compiler.plan.lower import lower
from compiler.text.nodes import Mapping, Node, Scalar, Sequence, parse, plain
from tests.conftest import ROOT, TINY

BELOW = ROOT / "tests" / "studies"
STUDIES = {
    "tiny": TINY,
    "claims": (BELOW / "claims.yaml").read_text().replace("extends: quiet", f"extends: {BELOW}/quiet"),
    "generator": (BELOW / "generator.yaml").read_text().replace("extends: quiet", f"extends: {BELOW}/quiet"),
    "full_study": (ROOT / "specs/full_study.yaml").read_text(),
}

FEW = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
MORE = settings(FEW, max_examples=120)
MANY = settings(FEW, max_examples=3000)


def answered(content: bytes, profile: str | None = None, sets: tuple[str, ...] = ()) -> None:
    """Compile it. Anything but a plan or placed complaints fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "study.yaml"
        spec.write_bytes(content)
        judged(lambda: compile_study(spec, profile, sets))


def judged(compiling: Callable[[], Plan]) -> None:
    """Anything but a plan or placed complaints fails the test."""
    answers, problems = tuple[str, ...](), tuple[Diagnostic, ...]()
    try:
        answers = compiling().answers
    except SpecError as error:
        problems = error.diagnostics
    assert answers or problems
    assert all(one.message and min(one.location.line, one.location.column) >= 1 for one in problems)


WORDS = (
    "study data audit arms classifier claims profiles extends allow public seed replicates grid name path paradigm method canaries "
    "kind count shadows attacks attack headline fpr exclude fraction left right test metric << a.b files digits undefended coreset "
    "lira difference mislabeled ~"
)
PIECES = (
    "",
    "\t",
    "&a ",
    "*a",
    "<<: *a",
    "!!python/object:os.system ",
    "- ",
    "{",
    "]",
    ": ",
    "|\n",
    "\x00",
    "\ufeff",
    "---\n",
    "%YAML 9.9\n",
    "? ",
    "'",
    '"\\x',
    ".nan",
    "2024-01-01",
    "1e999",
)
words = st.sampled_from([*WORDS.split(), ""])
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 40)
    | st.sampled_from([2**62, -(2**62), 10**9, 1e-300, 1e300, 0.0, 0.1, 1.0])
    | words
    | st.text(max_size=6)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(words, inner, max_size=3)
        | st.fixed_dictionaries({"grid": st.lists(inner, max_size=3)})
    ),
    max_leaves=8,
)


def nodes_of(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to every value of a tree."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(found for name, item in inner for found in nodes_of(item, (*path, name)))]


@cache
def tree_of(name: str) -> Any:
    """A study as plain values; not to be changed."""
    return plain(parse(STUDIES[name], name))


def placed(tree: Any) -> Node:
    """Plain values as nodes, without a text to be read: that takes three quarters of the time of compiling the full study."""
    at = Location("study.yaml")
    if isinstance(tree, dict):
        return Mapping({name: placed(item) for name, item in tree.items()}, dict.fromkeys(tree, at), at)
    return Sequence(tuple(map(placed, tree)), at) if isinstance(tree, list) else Scalar(tree, at)


def compiled(tree: Any) -> Plan:
    """The plan of a study that was composed."""
    checked = check(placed({name: item for name, item in tree.items() if name != "profiles"}))  # type: ignore[arg-type]
    return lower(checked.header, checked.trials, checked.claims, None, lint(checked))


@st.composite
def damaged_trees(draw: st.DrawFn, name: str) -> Any:
    """A study in which a few values were replaced, dropped, renamed, doubled or put into a grid."""
    tree = copy.deepcopy(tree_of(name))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(nodes_of(tree)[1:] or [()]))
        if not path:
            break
        holder = tree
        for step in path[:-1]:
            holder = holder[step]
        last = path[-1]
        match draw(st.sampled_from(["replace", "replace", "drop", "rename", "grid", "list", "copy"])):
            case "replace":
                holder[last] = draw(values)
            case "drop":
                del holder[last]
            case "rename" if isinstance(holder, dict):
                holder[draw(words)] = holder.pop(last)
            case "grid":
                holder[last] = {"grid": [holder[last], draw(values)]}
            case "list":
                holder[last] = [holder[last]]
            case "copy":
                other = tree
                for step in draw(st.sampled_from(nodes_of(tree)))[:3]:
                    other = other[step] if isinstance(other, dict | list) else other
                holder[last] = copy.deepcopy(other)
    return tree


def written(tree: Any) -> bytes:
    return json.dumps(tree, ensure_ascii=False).encode(errors="surrogatepass")


@st.composite
def damaged_texts(draw: st.DrawFn) -> bytes:
    """A study's text with pieces cut out, doubled, moved or overwritten."""
    text = draw(st.sampled_from(list(STUDIES.values())))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(0, len(text) - 1)))
        end = min(len(text), start + draw(st.integers(0, 30)))
        piece = draw(st.sampled_from([text[start:end] * 2, *PIECES]))
        text = text[:start] + piece + text[end:]
    return text.encode()


@given(st.binary(max_size=200))
@FEW
def test_bytes(content: bytes) -> None:
    answered(content)


@given(damaged_texts())
@FEW
def test_damaged_texts(content: bytes) -> None:
    answered(content)


@given(damaged_trees("tiny"))
@FEW
def test_damaged_trees(tree: Any) -> None:
    answered(written(tree))


@given(damaged_trees("full_study"))
@MORE
def test_damaged_trees_of_the_full_study(tree: Any) -> None:
    judged(lambda: compiled(tree))


@given(st.text(max_size=12), words, values)
@FEW
def test_any_assignment(text: str, word: str, value: Any) -> None:
    answered(TINY.encode(), sets=(text, f"audit.{word}={json.dumps(value)}"))
    answered(TINY.encode(), sets=(f"arms.coreset.{word}={json.dumps(value)}",))


@pytest.mark.long
@given(st.binary(max_size=400) | st.text(max_size=200).map(lambda text: text.encode(errors="replace")))
@MANY
def test_thousands_of_bytes(content: bytes) -> None:
    answered(content)


@pytest.mark.long
@given(damaged_texts())
@MANY
def test_thousands_of_damaged_texts(content: bytes) -> None:
    answered(content)


@pytest.mark.long
@given(damaged_trees("tiny"))
@MANY
def test_thousands_of_damaged_trees(tree: Any) -> None:
    answered(written(tree))


@pytest.mark.long
@given(damaged_trees("full_study"))
@MANY
def test_thousands_of_damaged_trees_of_the_full_study(tree: Any) -> None:
    judged(lambda: compiled(tree))
