"""Claims: which trials they choose, what is refused before anything runs, and verdicts beside simulations and slow twins."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from compiler.compile import compile_study
from compiler.errors import SpecError
from compiler.power.claim_power import count_pairs
from compiler.work.operations import CompareTrials, Reading
from runtime.audit.compare import perform
from runtime.audit.statistics.bootstrap import Resamples
from runtime.audit.statistics.roc import tpr_at
from runtime.audit.statistics.testing import Effect, from_pairs, from_resamples, holm, judge_claim, judge_pairs, p_values
from runtime.seeds import numpy_generator
from tests.conftest import TINY, Done, run_study

CLAIMS = """\
claims:
  leaks: {text: Undefended training leaks more, test: difference, left: {arm: undefended}, right: {paradigm: coreset}}
  worst:
    {text: Mislabeled leak more, test: difference, left: {arm: undefended}, right: {arm: undefended, canaries: clean}}
  holds:
    text: Forgetting holds more
    test: ratio
    metric: canary_share_selected
    margin: 1
    left: {method: forgetting}
    right: {method: random}
  chosen:
    {text: Selected leak more, test: difference, left: {method: random, stratum: used}, right: {method: random, stratum: unused}}
"""


def written(folder: Path, claims: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(TINY + claims)
    return path


def complaint(folder: Path, claim: str) -> str:
    with pytest.raises(SpecError) as caught:
        compile_study(written(folder, f"claims:\n  it: {claim}\n"))
    return " ".join(f"{found.location.line}: {found.message} | {found.hint}" for found in caught.value.diagnostics)


# Which trials


def test_a_selector_chooses_by_arm_method_paradigm_axis_and_field(tmp_path: Path) -> None:
    plan = compile_study(written(tmp_path, CLAIMS))
    sides = {claim.name: (claim.left, claim.right) for claim in plan.claims}
    random, forgetting = "coreset[method=random]#0", "coreset[method=forgetting]#0"
    assert sides["leaks"] == (("undefended#0",), (random, forgetting))
    assert sides["holds"] == ((forgetting,), (random,))


def test_a_claims_name_and_text_are_not_part_of_its_id_and_its_margin_is(tmp_path: Path) -> None:
    def task(claim: str) -> str:
        return compile_study(written(tmp_path, f"claims:\n  {claim}\n")).claims[0].task

    one = task("a: {text: x, test: difference, left: {arm: undefended}, right: {method: random}}")
    assert one == task("b: {text: other words, test: difference, left: {arm: undefended}, right: {method: random}}")
    assert one != task("a: {text: x, test: difference, margin: 0.1, left: {arm: undefended}, right: {method: random}}")


UNDEFENDED, RANDOM = {"arm": "undefended"}, {"method": "random"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"left": {"arn": "undefended"}}, "no trial can be chosen by 'arn' | did you mean 'arm'?"),
        ({"left": {"arm": "undefende"}}, "no trial has arm 'undefende' | did you mean 'undefended'?"),
        ({"left": UNDEFENDED | RANDOM}, "no trial has all of these"),
        ({"metric": "lekage"}, "no trial has the metric 'lekage' | did you mean 'leakage'?"),
        ({"metric": "tpr@fpr=0.2"}, "the FPR 0.2 is not read | `audit.fpr` has: 0.001, 0.1"),
        ({"metric": "canary_share_selected"}, "undefended#0 selects no canaries"),
        ({"left": UNDEFENDED | {"stratum": "used"}}, "none is used or unused"),
        ({"left": UNDEFENDED | {"release": "teacher"}}, "undefended#0 has no teacher"),
        ({"left": UNDEFENDED | {"canaries": "odd"}}, "no canaries are called 'odd'"),
        ({"right": {}}, "needs `right`"),
        ({"test": "equivalence"}, "needs a `margin` above 0"),
        ({"test": "correlation", "right": {}}, "has `against`"),
        ({"test": "correlation", "right": {}, "metric": "lira", "against": "nearest"}, "no attack of the audit is called"),
        ({"test": "guess"}, '`test` is "guess"'),
    ],
)
def test_a_claim_that_could_not_be_tested_is_refused_before_anything_runs(tmp_path: Path, words: dict[str, Any], said: str) -> None:
    claim = {"text": "x", "test": "difference", "left": UNDEFENDED, "right": RANDOM} | words
    found = complaint(tmp_path, json.dumps({word: value for word, value in claim.items() if value != {}}))
    assert said in found
    assert found.startswith(f"{TINY.count(chr(10)) + 2}: ")


# Verdicts on a real study


@pytest.fixture(scope="module")
def claimed(tmp_path_factory: pytest.TempPathFactory) -> Done:
    return run_study(tmp_path_factory.mktemp("claims"), TINY.replace("epochs: 3", "epochs: 8") + CLAIMS)


def test_every_declared_claim_is_a_row_with_its_verdict(claimed: Done) -> None:
    rows = dict(claimed.rows("SELECT claim, verdict FROM claim"))
    assert rows.keys() == {"leaks", "worst", "holds", "chosen"}
    assert rows["holds"] == "supported"
    assert set(rows.values()) <= {"supported", "refuted", "undecided"}


def test_the_pairs_name_their_trials_and_carry_the_difference_of_the_published_figures(claimed: Done) -> None:
    rows = claimed.rows('SELECT "left", "right", effect FROM claim_pair WHERE claim = \'leaks\'')
    leak = dict(claimed.rows("SELECT trial, leakage FROM comparison"))
    assert len(rows) == 2
    for left, right, effect in rows:
        assert effect == pytest.approx(leak[left] - leak[right])


def test_the_plan_counts_the_pairs_that_the_test_compares(claimed: Done) -> None:
    plan = compile_study(claimed.spec)
    trials = {planned.trial.address: planned.trial for planned in plan.trials}
    counted = {}
    for claim in plan.claims:
        work = plan.tasks[claim.task].work
        assert isinstance(work, CompareTrials)
        counted[claim.name] = count_pairs(work, *([trials[name] for name in side] for side in (claim.left, claim.right)))
    assert counted == dict(claimed.rows("SELECT claim, compared FROM claim"))


def test_the_same_trials_read_in_two_ways_are_compared_each_with_itself(tmp_path: Path) -> None:
    one, other = trial(0.6, 1), trial(0.1, 2)
    inside = Reading("lira", "logit/pooled/1q", "final_model", "mislabeled", None)
    pairs = compared([one, other], [one, other], right=replace(inside, attack="other"))[1]
    assert [(pair["left"], pair["right"]) for pair in pairs] == [(0, 0), (1, 1)]


def test_a_strata_claim_compares_the_strata_that_the_trial_reports(claimed: Done) -> None:
    (effect,) = claimed.rows("SELECT effect FROM claim WHERE claim = 'chosen'")[0]
    reported = dict(
        claimed.rows("SELECT metric, value FROM result WHERE metric LIKE '%used' AND canaries = 'mislabeled' AND method = 'random'")
    )
    assert effect == pytest.approx(reported["tpr@fpr=0.1,used"] - reported["tpr@fpr=0.1,unused"])


# Verdicts on made-up trials


@dataclass
class Trial:
    """An attacked trial's artifact, in memory."""

    scores: np.ndarray
    member: np.ndarray
    shadows: dict[str, np.ndarray] = field(default_factory=dict)
    folder: Path = Path("x")

    @property
    def outcome(self) -> dict[str, Any]:
        column = {"release": "final_model", "attack": "lira", "variant": "logit/pooled/1q"}
        groups = [{"name": "mislabeled", "count": len(self.member)}]
        return {"notes": {"groups": groups, "columns": [column, column | {"attack": "other"}]}}

    def tensors(self, stem: str) -> dict[str, torch.Tensor]:
        if stem == "shadows":
            return {name: torch.from_numpy(values) for name, values in self.shadows.items()}
        made = {"member": torch.from_numpy(self.member.astype(np.uint8)), "score/0": torch.from_numpy(self.scores)}
        return made | {"score/1": torch.from_numpy(self.scores[::-1].copy())}


def trial(leak: float, seed: int, canaries: int = 60, shadows: int = 16, **per_shadow: np.ndarray) -> Trial:
    """Members of a share `leak` of the canaries stand out."""
    rng, common = np.random.default_rng(seed), np.random.default_rng(99)
    coins = common.random((canaries, shadows // 2)) < 0.5
    member = np.stack([coins, ~coins], axis=2).reshape(canaries, shadows)
    scores = rng.normal(size=member.shape) + 8.0 * member * (common.random(canaries) < leak)[:, None]
    return Trial(scores, member, per_shadow, Path(f"{leak}/{seed}"))


def compared(lefts: list[Trial], rights: list[Trial], **words: Any) -> tuple[str, list[dict[str, Any]]]:
    reading = Reading("lira", "logit/pooled/1q", "final_model", "mislabeled", None)
    usual: dict[str, Any] = {"test": "difference", "metric": "leakage", "against": None, "margin": 0.0, "match": "test_accuracy"}
    usual |= {"tolerance": 0.02, "pairs": "all", "fpr": 0.1, "resamples": 300, "confidence": 0.95, "seed": 0}
    given = usual | {"left": reading, "right": reading} | words
    inputs: Any = {f"{side}/{place}": one for side, of in (("left", lefts), ("right", rights)) for place, one in enumerate(of)}
    product = perform(CompareTrials(**given), inputs, torch.device("cpu"))
    json.dumps(product.notes, allow_nan=False)  # it must go into outcome.json
    return product.notes["verdict"], product.notes["pairs"]


def test_a_clear_difference_is_supported_its_reverse_refuted_and_none_undecided() -> None:
    strong, weak = trial(0.6, 1), trial(0.1, 2)
    assert compared([strong], [weak])[0] == "supported"
    assert compared([weak], [strong])[0] == "refuted"
    assert compared([strong], [trial(0.6, 3)])[0] == "undecided"


def test_a_margin_that_the_difference_does_not_reach_refutes() -> None:
    assert compared([trial(0.6, 1)], [trial(0.1, 2)], margin=0.9)[0] == "refuted"


def test_alike_is_supported_only_within_a_margin_that_the_data_can_resolve() -> None:
    one, other = trial(0.5, 1), trial(0.5, 2)
    assert compared([one], [other], test="equivalence", margin=0.2)[0] == "supported"
    assert compared([one], [other], test="equivalence", margin=0.0001)[0] == "undecided"
    assert compared([one], [trial(0.05, 2)], test="equivalence", margin=0.1)[0] == "refuted"


def test_a_ratio_with_nothing_is_no_number() -> None:
    nothing = trial(0.0, 2)
    nothing.scores[:] = -nothing.member.astype(float)
    verdict, pairs = compared([trial(0.6, 1)], [nothing], test="ratio", margin=1.0)
    assert verdict == "undecided"
    assert "not resolvable" in pairs[0]["note"]


def test_matching_takes_the_most_alike_trial_within_the_tolerance_and_says_when_there_is_none() -> None:
    accuracy = np.linspace(0.8, 0.82, 16)
    left = trial(0.1, 1, test_accuracy=accuracy)
    right = [trial(0.6, 2, test_accuracy=accuracy + 0.1), trial(0.5, 3, test_accuracy=accuracy + 0.01)]
    verdict, pairs = compared([left], right, test="matched")
    assert pairs[0]["right"] == 1
    assert verdict == "refuted"
    verdict, pairs = compared([left], right[:1], test="matched")
    assert verdict == "undecided"
    assert pairs[0]["note"] == "no right trial is within 0.02 of its test_accuracy"


def test_dominance_needs_privacy_utility_and_cost_together() -> None:
    accuracy, seconds = np.linspace(0.80, 0.82, 16), np.linspace(1.0, 1.1, 16)
    base = trial(0.6, 1, test_accuracy=accuracy, seconds=seconds)
    better = trial(0.05, 2, test_accuracy=accuracy, seconds=seconds / 2)
    dearer = trial(0.05, 2, test_accuracy=accuracy, seconds=seconds * 3)
    assert compared([better], [base], test="dominance")[0] == "supported"
    assert compared([dearer], [base], test="dominance")[0] == "refuted"
    assert compared([dearer], [base], test="dominance", pairs="none")[0] == "supported"


def test_correlation_over_canaries_equals_scipys_and_reversed_ranks_are_refuted() -> None:
    made = trial(0.5, 1)
    verdict, pairs = compared([made], [], test="correlation", metric="lira", against="lira")
    assert (verdict, pairs[0]["effect"]) == ("supported", pytest.approx(1.0))

    def separation(scores: np.ndarray) -> list[float]:
        return [row[inside].mean() - row[~inside].mean() for row, inside in zip(scores, made.member, strict=True)]

    _, pairs = compared([made], [], test="correlation", metric="lira", against="other")
    naive = stats.spearmanr(separation(made.scores), separation(made.scores[::-1])).statistic
    assert pairs[0]["effect"] == pytest.approx(naive)


@pytest.mark.parametrize("kind", ["random", "ties", "infinite", "one member"])
@pytest.mark.parametrize("test", ["difference", "ratio", "equivalence"])
def test_an_effect_is_read_from_both_sides_really_resampled_on_the_same_draws(test: str, kind: str) -> None:
    sides = [trial(0.6, 1, canaries=20), trial(0.4, 2, canaries=20)]
    for side in sides:
        if kind == "ties":
            side.scores = side.scores.round()
        if kind == "infinite":
            side.scores = np.where(side.scores > 2, np.inf, np.where(side.scores < -1, -np.inf, side.scores))
        if kind == "one member":
            side.member = np.arange(side.member.size).reshape(side.member.shape) == 5
    margin, paired = (0.2 if test == "equivalence" else 0.5), kind != "one member"
    drawn = Resamples.draw(40, 20, numpy_generator(0, None, "claims/mislabeled")).canaries
    shadows = Resamples.draw(40, 1, numpy_generator(0, None, "claims/shadows"), 16, paired).shadows
    assert shadows is not None

    def effect(canary: np.ndarray, shadow: np.ndarray) -> float:
        rows, columns = np.repeat(np.arange(20), canary), np.repeat(np.arange(16), shadow)
        read = [tpr_at(0.1, side.scores[np.ix_(rows, columns)], side.member[np.ix_(rows, columns)]).value for side in sides]
        if read[0] is None or read[1] is None or (test == "ratio" and read[1] == 0):
            return np.nan
        return read[0] / read[1] if test == "ratio" else read[0] - read[1]

    whole = effect(np.ones(20, int), np.ones(16, int))
    naive = np.array([effect(*row) for row in zip(drawn, shadows, strict=True)])
    _, (pair,) = compared([sides[0]], [sides[1]], test=test, margin=margin, resamples=40)
    there = naive[np.isfinite(naive)]
    if len(there) < 20 or np.isnan(whole):  # a resample without the one member says nothing: most two-way draws are without it
        assert pair["note"].startswith("not resolvable")
        return
    beyond = [(1 + sum(hits)) / (1 + len(there)) for hits in (there <= margin, there >= margin, there <= -margin, there >= -margin)]
    if test == "equivalence":
        supports, refutes = max(beyond[2], beyond[1]), 2 * min(beyond[3], beyond[0])
    else:
        supports, refutes = 2 * beyond[0], 2 * beyond[1]
    assert pair["effect"] == pytest.approx(whole)
    assert (pair["low"], pair["high"]) == pytest.approx(np.quantile(there, [0.025, 0.975]))
    assert pair["p"] == pytest.approx(min(1.0, supports, refutes))


def test_figures_of_shadows_are_compared_by_a_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(0.9, 0.01, 16)
    b = a - 0.002 + rng.normal(0, 0.001, 16)  # far smaller than the spread of either, and paired
    verdict, pairs = compared([trial(0.1, 1, test_accuracy=a)], [trial(0.1, 2, test_accuracy=b)], metric="test_accuracy")
    assert verdict == "supported"
    assert pairs[0]["p"] == pytest.approx(stats.ttest_rel(a, b).pvalue)


def test_no_difference_is_called_one_in_about_the_declared_share_of_studies() -> None:
    found = []
    for seed in range(120):
        one, other = trial(0.3, 2 * seed, canaries=40, shadows=8), trial(0.3, 2 * seed + 1, canaries=40, shadows=8)
        found.append(compared([one], [other], metric="auc", resamples=200)[0] != "undecided")
    assert np.mean(found) <= stats.binom.ppf(0.999, 120, 0.05) / 120


@pytest.mark.parametrize("test", ["difference", "dominance"])
def test_where_nothing_differs_claims_are_decided_in_no_more_than_the_declared_share(test: str) -> None:
    decided: Counter[str] = Counter()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        alike = [
            Trial(rng.normal(size=(12, 8)), np.tile(np.arange(8) % 2 == 0, (12, 1)), {
                "test_accuracy": rng.normal(size=8), "seconds": rng.normal(size=8)
            }, Path(str(place)))
            for place in range(6)
        ]  # fmt: skip
        words = {"test": test, "metric": "test_accuracy", "tolerance": 0.0, "resamples": 40}
        verdicts = [pair["verdict"] for pair in compared(alike[:3], alike[3:], **words)[1]]
        decided["a pair"] += set(verdicts) != {"undecided"}
        for pairs in ("all", "any", "none"):
            decided[pairs] += judge_claim(verdicts, pairs) != "undecided"  # type: ignore[arg-type]
    assert all(count <= stats.binom.ppf(0.999, 200, 0.05) for count in decided.values()), decided


# The arithmetic


def test_holm_equals_the_definition_and_never_lowers_a_p_value() -> None:
    p = [0.01, 0.04, 0.03, 0.005]
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert all(adjusted >= raw for adjusted, raw in zip(holm(p), p, strict=True))
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_a_bootstrap_of_few_resamples_cannot_claim_a_tiny_p_value() -> None:
    effect = from_resamples(1.0, np.full(99, 1.0), 0.0, 0.95, 1)
    assert effect is not None
    assert p_values([effect]) == (pytest.approx(0.02), 1.0)


def test_an_effect_that_most_resamples_cannot_read_is_no_effect() -> None:
    assert from_resamples(1.0, np.array([1.0, np.nan, np.nan]), 0.0, 0.95, 1) is None


def test_equal_differences_in_every_shadow_are_decided_without_dividing_by_zero() -> None:
    assert p_values([from_pairs(np.full(8, 0.5), 0.0, 0.95)]) == (0.0, 1.0)
    assert p_values([from_pairs(np.zeros(8), 0.0, 0.95)]) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("verdicts", "pairs", "whole"),
    [
        (["supported", "supported"], "all", "supported"),
        (["supported", "undecided"], "all", "undecided"),
        (["supported", "refuted"], "all", "refuted"),
        (["undecided", "supported"], "any", "supported"),
        (["refuted", "undecided"], "any", "undecided"),
        (["refuted", "refuted"], "none", "supported"),
        (["refuted", "supported"], "none", "refuted"),
    ],
)
def test_verdicts_of_pairs_add_up(verdicts: Any, pairs: Any, whole: str) -> None:
    assert judge_claim(verdicts, pairs) == whole


def test_an_effect_is_refuted_only_when_it_is_significantly_the_other_way_round() -> None:
    def judged(above: float, below: float) -> tuple[str, float]:
        (found,) = judge_pairs([p_values([Effect(-1.0, -2.0, -0.5, 9, above, below)])], 0.05)
        return found

    assert judged(0.999, 0.001) == ("refuted", 0.002)
    assert judged(0.8, 0.2) == ("undecided", 0.4)


def test_parts_support_by_the_least_convincing_and_refute_by_any_that_pays_for_all() -> None:
    parts = [Effect(1.0, 0.5, 2.0, 9, above, 1 - above) for above in (0.001, 0.01, 0.004)]
    assert p_values(parts) == (pytest.approx(0.02), 1.0)
    parts[1] = Effect(-1.0, -2.0, -0.5, 9, 0.995, 0.005)
    assert p_values(parts) == (1.0, pytest.approx(2 * 3 * 0.005))


def test_pairs_are_supported_and_refuted_each_by_holm() -> None:
    sides = [(0.01, 1.0), (0.03, 1.0), (1.0, 0.01), (1.0, 0.02), (1.0, 0.2)]
    found = judge_pairs(sides, 0.05)
    assert [p for _, p in found] == [
        min(one, other) for one, other in zip(*(holm([side[way] for side in sides]) for way in (0, 1)), strict=True)
    ]
    # Of five pairs the rarest must be below 0.01: one pair that is refuted makes it no easier for another to be supported.
    assert [verdict for verdict, _ in found] == ["supported", "undecided", "refuted", "undecided", "undecided"]


# When it was declared, and what was found before

DECLARED = """\
claims:
  leaks: {text: Undefended leaks more, test: difference, left: {arm: undefended}, right: {method: random}}
  first: {text: TEXT, test: difference, left: {arm: undefended}, right: {method: random}, metric: auc, margin: MARGIN}
"""


def test_a_claim_keeps_when_its_words_were_first_declared_after_how_many_outcomes_and_every_earlier_verdict(tmp_path: Path) -> None:
    def ran(text: str, margin: str) -> dict[str, tuple[Any, ...]]:
        done = run_study(tmp_path, TINY + DECLARED.replace("TEXT", text).replace("MARGIN", margin))
        asked = "SELECT claim, declared_in, outcomes_before, words, json_extract_string(earlier, '$[*].verdict') FROM claim"
        return {row[0]: row[1:] for row in done.rows(asked)}

    once, again = ran("in advance", "0.9"), ran("in advance", "0.9")
    assert once == again
    assert {row[1] for row in once.values()} == {0}
    after = ran("after looking", "-0.9")
    assert after["leaks"] == once["leaks"]
    assert after["first"][0] > once["first"][0]
    assert (after["first"][1], after["first"][3]) == (3, ["refuted"])
    assert after["first"][2] != once["first"][2]
    assert ran("in advance", "0.9")["first"][3] == ["refuted", "supported"]
    # A record says it all, whatever became of the index and of what was found.
    (record,) = sorted((tmp_path / ".synthc/runs").glob("*/run.json"))[-1:]
    assert [one["verdict"] for one in json.loads(record.read_text())["claims"][1]["earlier"]] == ["refuted", "supported"]


def test_holm_over_the_claims_of_a_study_stands_beside_each_verdict(claimed: Done) -> None:
    rows = claimed.rows("SELECT p, study_p, verdict, study_verdict FROM claim")
    assert [row[1] for row in rows] == pytest.approx(holm([row[0] for row in rows]))
    assert all(later == (verdict if adjusted <= 0.05 else "undecided") for _, adjusted, verdict, later in rows)
