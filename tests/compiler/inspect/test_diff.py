"""Two studies beside each other: what is the same whatever it is called, and in which words the rest differs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compiler.compile import compile_study
from compiler.inspect.diff import Difference, diff
from compiler.inspect.since import changes_since
from runtime.cli.main import main
from tests.conftest import TINY


def difference(folder: Path, *changes: tuple[str, str]) -> Difference:
    """From the tiny study to a changed one."""
    text = TINY
    for was, becomes in changes:
        assert was in text
        text = text.replace(was, becomes)
    (folder / "a.yaml").write_text(TINY)
    (folder / "b.yaml").write_text(text)
    return diff(compile_study(folder / "a.yaml"), compile_study(folder / "b.yaml"))


def test_a_study_is_like_itself(tmp_path: Path) -> None:
    found = difference(tmp_path)
    assert len(found.same) == len(found.left.trials)
    assert found.left.tasks.keys() == found.right.tasks.keys()
    assert not found.changed
    assert not found.only_left
    assert not found.only_right


def test_a_renamed_arm_is_the_same_trial(tmp_path: Path) -> None:
    found = difference(tmp_path, ("study: tiny", "study: other"), ("undefended: {", "plain: {"))
    assert [(pair.left, pair.right) for pair in found.same if pair.left != pair.right] == [("undefended#0", "plain#0")]


def test_of_several_trials_of_one_answer_each_is_in_one_pair_or_on_one_side(tmp_path: Path) -> None:
    def arms(*names: str) -> str:
        return "\n".join(f"  {name}: {{paradigm: undefended}}" for name in names)

    (tmp_path / "a.yaml").write_text(TINY.replace(arms("undefended"), arms("one", "two", "three")))
    (tmp_path / "b.yaml").write_text(TINY.replace(arms("undefended"), arms("three", "four", "five", "six")))
    found = diff(compile_study(tmp_path / "a.yaml"), compile_study(tmp_path / "b.yaml"))
    named = [(pair.left, pair.right) for pair in found.same if "coreset" not in pair.left]
    assert named == [("one#0", "four#0"), ("two#0", "five#0"), ("three#0", "three#0")]
    assert (found.changed, found.only_left, found.only_right) == ((), (), ("six#0",))


def test_a_changed_word_is_said_and_what_does_not_depend_on_it_is_shared(tmp_path: Path) -> None:
    found = difference(tmp_path, ("fraction: 0.3", "fraction: 0.2"))
    assert {pair.left: pair.differences for pair in found.changed} == {
        f"coreset[method={method}]#0": ("arm.fraction: 0.3 → 0.2",) for method in ("random", "forgetting")
    }
    shared = found.left.tasks.keys() & found.right.tasks.keys()
    assert len(shared) == 17 + 8  # the undefended trial, and the proxies


def test_trials_of_one_side_only_are_listed(tmp_path: Path) -> None:
    found = difference(tmp_path, ("[random, forgetting]", "[random, aum]"))
    assert found.only_left == ("coreset[method=forgetting]#0",)
    assert found.only_right == ("coreset[method=aum]#0",)


def test_another_seed_changes_every_trial_and_shares_nothing(tmp_path: Path) -> None:
    found = difference(tmp_path, ("study: tiny", "study: tiny\nseed: 4"))
    assert {pair.differences for pair in found.changed} == {("seed: 0 → 4",)}
    assert not found.left.tasks.keys() & found.right.tasks.keys()


def test_the_command_says_it_in_words_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    difference(tmp_path, ("fraction: 0.3", "fraction: 0.2"))
    words = ["diff", str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "25 tasks in both" in out
    assert "arm.fraction: 0.3 → 0.2" in out
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tasks"] == {"shared": 25, "only_left": 50, "only_right": 50}
    assert found["trials"]["same"] == [["undefended#0", "undefended#0"]]


def test_two_profiles_of_one_study_can_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(TINY + "profiles: {long: {classifier: {epochs: 9}}}\n")
    spec = str(tmp_path / "a.yaml")
    assert main(["diff", spec, spec, "--profiles", "", "long"]) == 0
    assert "classifier.epochs: 3.0 → 9.0" in capsys.readouterr().out


def test_verdicts_of_claims_that_are_gone_are_told_in_the_order_of_their_names() -> None:
    names = [f"claim {letter}" for letter in "hgfedcba"]
    first = {
        "trials": [],
        "claims": [{"claim": name, "words": {}, "earlier": [], "found": {"verdict": "supported"}} for name in names],
    }
    told = [change for change in changes_since(first, {"trials": [], "claims": []}) if "was supported" in change]
    assert told == [f"{name} was supported when it was there" for name in sorted(names)]
