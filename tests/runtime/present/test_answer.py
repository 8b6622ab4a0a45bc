"""The answer in sentences: opposite outcomes are told apart, and what is undecided is no finding."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest

from runtime.cli.main import main
from runtime.present.answer import answer, count_verdicts, state_claim
from tests.conftest import Done
from tests.runtime.present.test_charts import claim, trial


def leaky(label: str, low: float, high: float, **other: Any) -> dict[str, Any]:
    """A coreset with this interval."""
    return trial(2, label=label, trial=f"{label}#0", leakage=(low + high) / 2, leakage_low=low, leakage_high=high) | other


DP_SGD = trial(1, label="dp", leakage=0.02, leakage_low=0.005, leakage_high=0.04)
UNDEFENDED = trial(0, leakage=0.99, leakage_low=0.97, leakage_high=1.0)


def test_studies_of_opposite_outcomes_open_with_different_sentences_and_none_names_an_undecided_trial_as_a_finding() -> None:
    outcomes = {
        "leaks": [leaky("one", 0.2, 0.3), leaky("other", 0.01, 0.3)],
        "protects": [leaky("one", 0.0, 0.03), leaky("other", 0.01, 0.3)],
        "open": [leaky("one", 0.0, 0.3), leaky("other", 0.01, 0.3)],
    }
    said = {name: answer([UNDEFENDED, DP_SGD, *rows]) for name, rows in outcomes.items()}
    assert said["leaks"][0].startswith("1 of 2 ways of training leaks more than DP-SGD (ε = 8, 2.0\u00a0% leaked")
    assert "at 1\u00a0% FPR on mislabeled canaries: one (25.0\u00a0%)" in said["leaks"][0]
    assert said["protects"][0].startswith("None of 2 ways of training is shown to leak more than DP-SGD")
    assert (
        "within what DP-SGD may leak (at most 4.0\u00a0%): one (1.5\u00a0%), 92.0\u00a0% accurate at 4.0\u00a0s a model."
        in said["protects"][0]
    )
    assert re.match("Whether any of 2 ways of training leaks more than DP-SGD .* is undecided", said["open"][0])
    for sentences in said.values():
        assert len(sentences) == 2
        assert "other" not in sentences[0]
        assert sentences[-1].startswith("Undecided, since the intervals leave it open: ")
        assert "other" in sentences[-1]


def test_trials_that_are_no_evidence_are_neither_protected_nor_leaky() -> None:
    rows = [
        DP_SGD,
        leaky("noise", 0.0, 0.01, learned=False),
        leaky("broken", 0.5, 0.6, null_ok=False),
        leaky("absent", 0.0, 0.0, attack=None, leakage=None),
        leaky("untuned", 0.0, 0.0, control=True),
        leaky("ties", 0.0, 0.0, leakage=None, leakage_low=None, leakage_high=None),
    ]
    first, rest = answer(rows)
    assert not re.search("noise|broken|absent|untuned|ties", first)
    assert "noise (learned next to nothing)" in rest
    assert "broken (null control failed)" in rest
    assert "not measured: absent" in rest
    assert "ties (not resolvable)" in rest
    assert "untuned" not in rest


def test_the_bar_is_the_most_accurate_dp_sgd_that_promises_something_else_guessing() -> None:
    vacuous = trial(1, label="vacuous", test_accuracy=0.99, epsilon=9035.0, leakage_high=0.5)
    assert "ε = 8," in answer([vacuous, DP_SGD, leaky("one", 0.2, 0.3)])[0]
    assert "ε = 9,035," in answer([vacuous, leaky("one", 0.6, 0.7)])[0]
    assert answer([leaky("one", 0.2, 0.3)])[0].startswith("one leaks more than guessing would at 1\u00a0% FPR")
    assert "no leakage was measured" in answer([leaky("one", 0.2, 0.3, attack=None, canaries=None)])[0]
    assert answer([]) == ["No trial was measured yet, so nothing can be said."]


def test_replicates_that_disagree_are_undecided_and_data_sets_are_told_apart() -> None:
    again = [row | {"replicate": 1} for row in (DP_SGD, leaky("one", 0.0, 0.02))]
    assert "is undecided" in answer([DP_SGD, leaky("one", 0.2, 0.3), *again])[0]
    other = [row | {"data": "shapes"} for row in (DP_SGD, leaky("one", 0.0, 0.02))]
    assert answer([DP_SGD, leaky("one", 0.2, 0.3), *other])[1].startswith("On shapes: none of 1 way of training")


def test_a_claim_is_a_sentence_with_sides_units_and_interval() -> None:
    pair = {"left": "a#0", "right": "b#0", "left_selector": "{}", "right_selector": "{}"}
    labels = {"a#0": "dm real", "b#0": "dm noise"}

    def said(pair: dict[str, Any] = pair, **other: Any) -> str:
        return state_claim(claim(0, **{"left": pair["left"], "right": pair["right"]} | other), [pair], labels)

    assert said(effect=0.089, low=0.059, high=0.126) == "dm real leaks 8.9 points more (5.9 to 12.6) than dm noise"
    assert said(effect=-0.089, low=-0.126, high=0.01) == "dm real leaks 8.9 points less (−1.0 to 12.6) than dm noise"
    assert said(metric="test_accuracy") == "dm real is 20.0 points more accurate (10.0 to 30.0) than dm noise"
    assert (
        said(test="ratio", metric="canary_share_selected")
        == "dm real has 0.20 times (0.10 to 0.30) canary share selected of dm noise"
    )
    assert said(test="dominance", decided_by="cost", effect=1.5, low=1.2, high=1.8).startswith(
        "dm real has 1.50 times (1.20 to 1.80)"
    )
    assert said(test="ratio", metric="flops") == "dm real has 0.20 times (0.10 to 0.30) the counted work of dm noise"
    assert said(metric="flops", effect=-2e9, low=-3e9, high=-1e9) == "dm real: flops lower by 2e+09 (1e+09 to 3e+09) than dm noise"
    assert said(test="correlation", metric="lira", low=None).endswith("rank correlation 0.20 (no interval)")
    named = state_claim(claim(0, test="correlation", metric="lira", effect=-0.2), [pair], {"a#0": "lr=1e-05"})
    assert "1e-05" in named
    assert "−0.20" in named
    assert said(effect=None, low=None, high=None) == "not resolvable"
    assert said(effect=None, low=None, high=None, compared=0) == "not tested yet"
    assert "of each of 5 pairs of trials; this one decides" in said(compared=5)
    strata = {"left": "a#0", "right": "a#0", "left_selector": '{"stratum": "used"}', "right_selector": '{"stratum": "unused"}'}
    assert said(strata) == "dm real (stratum: used) leaks 20.0 points more (10.0 to 30.0) than dm real (stratum: unused)"


def test_verdicts_are_counted_over_the_whole_study_and_each_alone_where_they_differ() -> None:
    claims = [claim(0), claim(1, study_verdict="undecided"), claim(2, verdict="refuted")]
    together, alone = "1 supported, 1 refuted, 1 undecided", "2 supported, 1 refuted"
    assert count_verdicts(claims) == f"3 claims: {together} (Holm's correction over all of them; each alone: {alone})"
    assert count_verdicts(claims[::2]) == "2 claims: 1 supported, 1 refuted"


def test_a_run_ends_with_the_table_the_answer_and_commands_that_can_be_pasted(
    copy: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    database = copy.folder / "my results.duckdb"
    assert main(["run", str(copy.spec), "--engine", "inline", "--db", str(database), "--store", str(copy.store)]) == 0
    said = capsys.readouterr().err
    assert re.search(r"undefended +Undefended +\d", said)
    assert re.search(r"(of 2 ways of training|coreset \w+) leaks? more than|of 2 ways of training (is shown|leaks)", said)
    commands = [line.split("next:")[-1].strip() for line in said.splitlines() if "synthc report" in line or "synthc chart" in line]
    for command in commands:
        words = shlex.split(command)
        assert words[-4:] == ["--db", str(database), "--store", str(copy.store)]
        assert main([*words[1:], "-o", str(copy.folder / ("page.html" if words[1] == "report" else "chart.svg"))]) == 0
    assert len(commands) == 2
