"""Claims: which trials they choose, what is refused before anything runs, and verdicts beside simulations and slow twins."""

from __future__ import annotations

import json
import shutil
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
from compiler.language.claims import Margins
from compiler.power.claim_power import count_pairs
from compiler.work.operations import CompareTrials, Reading
from runtime.audit.compare import correlate_events, perform, reliability
from runtime.audit.statistics.bootstrap import PLAIN, RATIO, SHARE, Drawn, Resamples, Uncertainty, uncertainty
from runtime.audit.statistics.roc import tpr_at
from runtime.audit.statistics.simultaneous import Evidence, judge_claim, judge_pairs, step_down, strongest, weakest
from runtime.audit.statistics.testing import from_pairs, of_one, of_two
from runtime.seeds import numpy_generator
from runtime.store.records import read_record
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


UNDEFENDED, RANDOM, MISSPELT = {"arm": "undefended"}, {"method": "random"}, {"release": "final_modell"}


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
        ({"left": UNDEFENDED | MISSPELT}, "no release level is called 'final_modell' | did you mean 'final_model'?"),
        (
            {"test": "correlation", "metric": "lira", "against": "threshold", "right": {}, "left": UNDEFENDED | MISSPELT},
            "no release level is called 'final_modell' | did you mean 'final_model'?",
        ),
        ({"left": UNDEFENDED | {"canaries": "odd"}}, "no canaries are called 'odd'"),
        ({"test": "ratio", "margin": 1, "right": {}}, "needs `right`"),
        ({"test": "dominance", "metric": "auc"}, "not of 'auc' | leave `metric` out"),
        ({"left": UNDEFENDED | {"stratum": "copid"}}, "no stratum is called 'copid' | did you mean 'copied'?"),
        ({"left": UNDEFENDED | {"stratum": "copied"}}, "none is known to be copied"),
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
def claimed(tiny: Done, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The tiny study, whose tasks are done, with claims."""
    folder = tmp_path_factory.mktemp("claims")
    shutil.copytree(tiny.folder, folder, dirs_exist_ok=True)
    return run_study(folder, TINY + CLAIMS)


def test_a_record_with_claims_is_taken_without_its_digest(claimed: Done, tmp_path: Path) -> None:
    record = read_record(max(claimed.store.glob("runs/*/run.json")))
    assert len(record["claims"]) == 4
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert read_record(tmp_path / "run.json") == record


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
    right: np.ndarray | None = None
    """test image × shadow."""
    fits: dict[str, float] = field(default_factory=dict)
    """Metric → what fits made anew add to its variance."""
    variant: str = "logit/pooled/1q"

    @property
    def stems(self) -> list[str]:
        return [] if self.right is None else ["test"]

    @property
    def outcome(self) -> dict[str, Any]:
        column = {"release": "final_model", "attack": "lira", "variant": self.variant}
        groups = [{"name": "mislabeled", "count": len(self.member)}]
        of = column | {"canaries": "mislabeled"}
        fits = [of | {"metric": metric, "variance": variance} for metric, variance in self.fits.items()]
        return {"notes": {"groups": groups, "columns": [column, column | {"attack": "other"}], "fits": fits}}

    def tensors(self, stem: str) -> dict[str, torch.Tensor]:
        if stem == "shadows":
            return {name: torch.from_numpy(values) for name, values in self.shadows.items()}
        if stem == "test":
            return {"correct": torch.from_numpy(self.right)}
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
    usual |= {"tolerance": 0.02, "pairs": "all", "fpr": 0.1, "resamples": 300, "confidence": 0.95, "seed": 0, "over": "canaries"}
    usual |= {"margins": Margins()}
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


@pytest.mark.parametrize(("metric", "name"), [("leakage", "tpr@fpr=0.1"), ("auc", "auc")])
def test_a_claim_knows_what_fits_made_anew_would_add(metric: str, name: str) -> None:
    usual, unsure, other = trial(0.3, 1), trial(0.3, 1), trial(0.1, 2)
    unsure.fits = {name: 0.01, "another": 9.0}
    widths = [pair["high"] - pair["low"] for one in (usual, unsure) for pair in compared([one], [other], metric=metric)[1]]
    assert widths[1] > 1.1 * widths[0]


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


@pytest.mark.parametrize("metric", ["flops", "seconds"])
def test_a_ratio_of_work_or_time_is_tested_and_decided_by_its_metric(metric: str) -> None:
    one, other = (trial(0.1, seed, **{metric: np.full(16, work)}) for seed, work in ((1, 3e9), (2, 1e9)))
    verdict, (pair,) = compared([one], [other], test="ratio", metric=metric, margin=2.0)
    assert (verdict, pair["decided_by"], pair["effect"]) == ("supported", metric, pytest.approx(3.0))


@pytest.mark.parametrize("metric", ["leakage", "auc"])
def test_a_claim_on_canaries_that_the_attack_gives_no_scores_is_undecided(metric: str) -> None:
    silent = trial(0.6, 1)
    silent.scores[:] = np.nan
    for rights in ([trial(0.1, 2)], []):
        verdict, (pair,) = compared([silent], rights, metric=metric)
        assert (verdict, pair["effect"]) == ("undecided", None)
        assert "not resolvable" in pair["note"]


def test_a_claim_reads_a_rate_by_the_rule_of_the_headlines_attack() -> None:
    usual, strict = trial(0.0, 5, canaries=10), trial(0.0, 5, canaries=10)
    strict.variant += "/strict_fpr"
    reading = Reading("lira", strict.variant, "final_model", "mislabeled", None)
    found = [compared([usual], [])[1][0], compared([strict], [], left=reading, right=reading)[1][0]]
    rates = [tpr_at(0.1, usual.scores, usual.member, rule).value for rule in (False, True)]
    assert rates[0] != rates[1]
    assert [pair["effect"] for pair in found] == rates
    assert found[0]["high"] > found[1]["high"]  # resamples are read by the same rule


def test_a_claim_is_about_the_pairs_that_are_shown_to_be_alike_and_undecided_where_none_is() -> None:
    accuracy = np.linspace(0.8, 0.82, 16)
    left = trial(0.1, 1, test_accuracy=accuracy)
    wobble = np.tile([0.002, -0.002], 8)
    right = [trial(0.6, 2, test_accuracy=accuracy + 0.1 + wobble), trial(0.5, 3, test_accuracy=accuracy + 0.01 + wobble)]
    verdict, pairs = compared([left], right, test="matched")
    assert [pair["note"] != "" for pair in pairs] == [True, False]
    assert verdict == "refuted"
    near = trial(0.5, 3, test_accuracy=accuracy + 0.01 + 20 * wobble)  # as near, and not shown to be
    for others in (right[:1], [near]):
        verdict, pairs = compared([left], others, test="matched")
        assert verdict == "undecided"
        assert pairs[0]["note"] == "not shown to be alike: test_accuracy may differ by more than 0.02"


def test_dominance_is_no_worse_in_leakage_accuracy_and_counted_cost_and_better_in_one_and_says_which_decides() -> None:
    accuracy, flops = np.linspace(0.80, 0.82, 16), np.full(16, 1e9)
    noisy = accuracy + np.tile([0.001, -0.001], 8)
    allowed = Margins(leakage=0.3, test_accuracy=0.02, cost=1.1)

    def decided(**words: Any) -> tuple[str, str, float]:
        given = {"leak": 0.05, "test_accuracy": noisy, "flops": flops, "seconds": flops} | words
        better = trial(given.pop("leak"), 2, **given)
        verdict, (pair,) = compared([better], [base], test="dominance", margins=allowed)
        assert pair["parts"]["seconds"]["margin"] is None
        return verdict, pair["decided_by"], pair["effect"]

    base = trial(0.6, 1, test_accuracy=accuracy, flops=flops, seconds=flops)
    assert decided()[0] == "supported"
    assert decided(seconds=100 * flops)[0] == "supported"  # whose wall clock it was is not known
    assert decided(flops=3 * flops) == ("refuted", "cost", pytest.approx(3.0))
    assert decided(test_accuracy=noisy - 0.1)[:2] == ("refuted", "test_accuracy")
    base = trial(0.0, 1, test_accuracy=accuracy, flops=flops, seconds=flops)
    assert decided(leak=0.6)[:2] == ("refuted", "leakage")
    # Where nothing leaks nobody can leak less, and more accurate is enough; equal in all is not.
    assert decided(leak=0.0, test_accuracy=noisy + 0.05)[0] == "supported"
    assert decided(leak=0.0)[0] == "undecided"


def test_a_difference_without_a_right_side_is_from_zero() -> None:
    assert compared([trial(0.6, 1)], [], margin=0.3)[0] == "supported"
    assert compared([trial(0.1, 1)], [], margin=0.5)[0] == "refuted"


def test_an_unreadable_side_makes_a_claim_undecided() -> None:
    tied = trial(0.6, 1)
    tied.scores[:] = 0.0
    verdict, (pair,) = compared([tied], [trial(0.1, 2)], metric="tpr@fpr=0.001")
    assert (verdict, pair["effect"], pair["p"]) == ("undecided", None, 1.0)
    assert pair["note"].startswith("not resolvable")


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
    margin, width = (0.2 if test == "equivalence" else 0.5), 1 if kind == "one member" else 2
    drawn = Resamples.draw(40, 20, numpy_generator(0, None, "claims/canaries/mislabeled")).canaries
    shadows = np.repeat(Resamples.draw(40, 16 // width, numpy_generator(0, None, "claims/shadows")).canaries, width, axis=1)
    draws = Resamples(drawn, shadows)

    def read(side: Trial, canary: np.ndarray, shadow: np.ndarray) -> float:
        rows, columns = np.repeat(np.arange(20), canary), np.repeat(np.arange(16), shadow)
        found = tpr_at(0.1, side.scores[np.ix_(rows, columns)], side.member[np.ix_(rows, columns)]).value
        return np.nan if found is None else found

    def naive(side: Trial) -> Uncertainty | None:
        def of(part: Resamples) -> np.ndarray:
            chosen = np.ones((len(part), 16), int) if part.shadows is None else part.shadows
            return np.array([read(side, *row) for row in zip(part.canaries, chosen, strict=True)])

        whole = read(side, np.ones(20, int), np.ones(16, int))
        clusters = int(side.member.any(1).sum())
        return uncertainty(whole, Drawn.of(of, draws).spread(lambda one: one), draws, SHARE, clusters)

    _, (pair,) = compared([sides[0]], [sides[1]], test=test, margin=margin, resamples=40)
    one, other = map(naive, sides)
    if one is None or other is None:  # a resample without the one member says nothing: most two-way draws are without it
        assert pair["note"].startswith("not resolvable")
        return
    wanted = of_two(one, other, 0.95, 0, ratio=test == "ratio")
    part = pair["parts"]["leakage"]
    found = [pair["effect"], pair["low"], pair["high"], part["above"], part["below"]]
    assert found == pytest.approx([wanted.value, wanted.low, wanted.high, wanted.p_above(margin), wanted.p_below(margin)])


def sure(value: float, error: float, seed: int = 0, common: float = 0.0) -> Uncertainty:
    rng = np.random.default_rng(seed)
    own = np.sqrt(common) * np.random.default_rng(99).normal(size=4000) + np.sqrt(1 - common) * rng.normal(size=4000)
    return Uncertainty(value, error, 1e6, PLAIN, 100, value + error * own)


@pytest.mark.parametrize("common", [0.0, 0.8])
def test_a_difference_of_two_symmetric_figures_is_tested_as_a_normal_one(common: float) -> None:
    found = of_two(sure(0.5, 0.03, 1, common), sure(0.4, 0.04, 2, common), 0.95, 7)
    error = np.sqrt(0.03**2 + 0.04**2 - 2 * common * 0.03 * 0.04)
    assert (found.low, found.high) == pytest.approx((0.1 - 1.96 * error, 0.1 + 1.96 * error), abs=0.05 * error)
    for margin in (-0.05, 0.05, 0.1, 0.2):
        assert found.p_above(margin) == pytest.approx(stats.norm.sf((0.1 - margin) / error), abs=0.02)
        assert found.p_above(margin) + found.p_below(margin) == pytest.approx(1.0, abs=1e-3)


def test_a_p_value_is_the_error_at_which_the_margin_is_the_limit() -> None:
    for value, error in ((0.02, 0.01), (0.0, 0.0), (0.4, 0.04)):
        one = Uncertainty(value, error, 7.0, SHARE, 128, np.full(50, value))
        found = of_one(one, 0.95, 1)
        for wrong in (1e-6, 0.01, 0.3):
            low, high = one.limits(wrong)
            assert found.p_below(float(high)) == pytest.approx(wrong, rel=0.02)
            if low > 0:
                assert found.p_above(float(low)) == pytest.approx(wrong, rel=0.02)
    counted = of_one(Uncertainty(3.0, 0.0, 7.0, RATIO, 8, np.full(50, 3.0)), 0.95, 1)
    assert (counted.p_above(2.0), counted.p_above(3.0), counted.p_below(4.0)) == (0.0, 1.0, 0.0)


def test_figures_of_shadows_are_compared_by_a_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(0.9, 0.01, 16)
    b = a - 0.002 + rng.normal(0, 0.001, 16)  # far smaller than the spread of either, and paired
    verdict, pairs = compared([trial(0.1, 1, test_accuracy=a)], [trial(0.1, 2, test_accuracy=b)], metric="test_accuracy")
    assert verdict == "supported"
    part = pairs[0]["parts"]["test_accuracy"]
    assert 2 * part["above"] == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert pairs[0]["p"] >= 2 / 301  # what 300 resamples can say at most


def test_accuracies_are_compared_over_test_images_and_shadows() -> None:
    rng = np.random.default_rng(0)
    hard, some = rng.random((300, 1)) < 0.1, rng.random((300, 1)) < 0.02  # images on which all shadows are wrong alike
    noise = rng.random((2, 300, 16)) < 0.01
    one, other = (~(hard | flips) for flips in (noise[0], noise[1] | some))
    sides = [trial(0.1, seed, test_accuracy=side.mean(0)) for seed, side in enumerate((one, other))]
    _, (over_shadows,) = compared([sides[0]], [sides[1]], metric="test_accuracy")
    for side, right in zip(sides, (one, other), strict=True):
        side.right = right.astype(np.uint8)
    _, (over_both,) = compared([sides[0]], [sides[1]], metric="test_accuracy")
    assert over_both["effect"] == pytest.approx(over_shadows["effect"])
    assert over_both["high"] - over_both["low"] > 1.5 * (over_shadows["high"] - over_shadows["low"])


def test_no_difference_is_called_one_in_about_the_declared_share_of_studies() -> None:
    found = []
    for seed in range(120):
        one, other = trial(0.3, 2 * seed, canaries=40, shadows=8), trial(0.3, 2 * seed + 1, canaries=40, shadows=8)
        found.append(compared([one], [other], metric="auc", resamples=200)[0] != "undecided")
    assert np.mean(found) <= stats.binom.ppf(0.999, 120, 0.05) / 120


@pytest.mark.parametrize("test", ["difference", "dominance"])
def test_where_nothing_differs_claims_are_decided_in_no_more_than_the_declared_share(test: str) -> None:
    decided, studies = Counter[str](), 60
    for seed in range(studies):
        rng = np.random.default_rng(seed)
        alike = [
            Trial(rng.normal(size=(12, 8)), np.tile(np.arange(8) % 2 == 0, (12, 1)), {
                "test_accuracy": rng.normal(size=8), "seconds": np.ones(8), "flops": np.exp(rng.normal(size=8))
            }, Path(str(place)))
            for place in range(6)
        ]  # fmt: skip
        words = {"test": test, "metric": "test_accuracy", "resamples": 100, "margins": Margins(leakage=0, test_accuracy=0, cost=1)}
        verdicts = [pair["verdict"] for pair in compared(alike[:3], alike[3:], **words)[1]]
        decided["a pair"] += set(verdicts) != {"undecided"}
        for pairs in ("all", "any", "none"):
            decided[pairs] += judge_claim(verdicts, pairs) != "undecided"  # type: ignore[arg-type]
    assert all(count <= stats.binom.ppf(0.999, studies, 0.05) for count in decided.values()), decided


# The arithmetic


def evidence(score: float, scatter: np.ndarray | None = None) -> Evidence:
    return Evidence("it", score, np.random.default_rng(0).normal(size=1999) if scatter is None else scatter)


def test_a_step_down_equals_the_definition() -> None:
    rng = np.random.default_rng(1)
    scores, scatter = np.array([2.0, 3.1, -0.5, 2.4]), rng.normal(size=(4, 399))
    naive = np.zeros(4)
    for place, score in enumerate(scores):
        steps = []
        for higher in [one for one in scores if one >= score]:
            left = [row for row, one in zip(scatter, scores, strict=True) if one <= higher]
            beyond = (1 + sum(max(draw) >= higher for draw in zip(*left, strict=True))) / 400
            steps.append(max(beyond, stats.norm.sf(higher)))
        naive[place] = max(steps)
    assert step_down([evidence(score, row) for score, row in zip(scores, scatter, strict=True)]) == pytest.approx(naive)


def test_no_floor_of_a_p_value_hangs_on_the_number_of_pairs() -> None:
    rng = np.random.default_rng(2)
    clear = [evidence(6.0, rng.normal(size=1999)) for _ in range(39)]
    assert max(step_down(clear)) == pytest.approx(1 / 2000)


@pytest.mark.parametrize("together", [0.0, 0.9])
def test_of_many_true_hypotheses_one_is_called_false_in_no_more_than_the_declared_share(together: float) -> None:
    rng, wrong = np.random.default_rng(3), 0

    def drawn(size: tuple[int, ...]) -> np.ndarray:
        return np.sqrt(together) * rng.normal(size=(1, *size[1:])) + np.sqrt(1 - together) * rng.normal(size=size)

    for _ in range(400):
        scores = drawn((39, 1))[:, 0]
        scores[:3] += 5.0  # three that are false may be called so
        wrong += min(step_down([evidence(*pair) for pair in zip(scores, drawn((39, 400)), strict=True)])[3:]) <= 0.05
    assert wrong <= stats.binom.ppf(0.999, 400, 0.05)


def test_all_of_several_are_as_sure_as_the_weakest_and_one_of_them_pays_for_having_looked() -> None:
    parts = [evidence(score) for score in (3.0, 1.0, 2.0)]
    assert weakest(parts).score == 1.0
    assert stats.norm.sf(strongest(parts).score) == pytest.approx(3 * stats.norm.sf(3.0))


def test_equal_differences_in_every_shadow_are_decided_as_a_sign_test_would() -> None:
    assert from_pairs(np.full(8, 0.5), 0.95).p_above(0.0) == 0.5**8
    assert from_pairs(np.zeros(8), 0.95).p_above(0.0) == 1.0


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


def test_pairs_are_supported_and_refuted_each_way_by_itself_and_each_at_half_of_the_error() -> None:
    far, near = evidence(4.0), evidence(2.1)
    none = evidence(-4.0)
    found = judge_pairs([(far, none), (near, none), (none, far)], 0.05)
    assert [verdict for verdict, _ in found] == ["supported", "supported", "refuted"]
    assert judge_pairs([(evidence(1.8), none)], 0.05)[0][0] == "undecided"
    assert judge_pairs([(evidence(1.8), none)], 0.05, halves=1)[0][0] == "supported"


def member_of(canaries: int, shadows: int, seed: int) -> np.ndarray:
    coins = np.random.default_rng(seed).random((canaries, shadows // 2)) < 0.5
    return np.stack([coins, ~coins], axis=2).reshape(canaries, shadows)


def test_a_correlation_over_events_is_the_mean_of_those_of_members_within_shadows() -> None:
    rng, member = np.random.default_rng(4), member_of(30, 8, 4)
    first, second = rng.normal(size=(2, 30, 8)) + rng.normal(size=(2, 1, 8)) * 5
    naive = [stats.spearmanr(first[inside, shadow], second[inside, shadow]).statistic for shadow, inside in enumerate(member.T)]
    value, resampled, events = correlate_events([first, second], member, np.ones((1, 30)), np.ones((1, 8)))
    assert (value, resampled[0], events) == (pytest.approx(np.mean(naive)), pytest.approx(np.mean(naive)), member.sum())


def test_a_correlation_of_canaries_that_do_not_repeat_themselves_is_not_resolvable() -> None:
    lottery = trial(0.5, 1)
    lottery.scores = np.random.default_rng(5).normal(size=lottery.member.shape)  # which canary stands out is another one each time
    verdict, (pair,) = compared([lottery], [], test="correlation", metric="lira", against="other", margin=0.5)
    assert verdict == "undecided"
    assert "no correlation above" in pair["note"]
    steady = trial(0.5, 1)
    assert reliability(steady.scores, steady.member, True, np.random.default_rng(0)) > 0.8


# When it was declared, and what was found before

DECLARED = """\
claims:
  leaks: {text: Undefended leaks more, test: difference, left: {arm: undefended}, right: {method: random}}
  first: {text: TEXT, test: difference, left: {arm: undefended}, right: {method: random}, metric: auc, margin: MARGIN}
"""


def test_a_claim_keeps_when_its_words_were_first_declared_after_how_many_outcomes_and_every_earlier_verdict(tmp_path: Path) -> None:
    def ran(text: str, margin: str) -> dict[str, tuple[Any, ...]]:
        study = TINY.replace("epochs: 3", "epochs: 1").replace("{grid: [random, forgetting]}", "random")
        done = run_study(tmp_path, study + DECLARED.replace("TEXT", text).replace("MARGIN", margin))
        asked = "SELECT claim, declared_in, outcomes_before, words, json_extract_string(earlier, '$[*].verdict') FROM claim"
        return {row[0]: row[1:] for row in done.rows(asked)}

    once, again = ran("in advance", "0.9"), ran("in advance", "0.9")
    assert once == again
    assert {row[1] for row in once.values()} == {0}
    after = ran("after looking", "-0.9")
    assert after["leaks"] == once["leaks"]
    assert after["first"][0] > once["first"][0]
    assert (after["first"][1], after["first"][3]) == (2, ["refuted"])
    assert after["first"][2] != once["first"][2]
    assert ran("in advance", "0.9")["first"][3] == ["refuted", "supported"]
    changes = "SELECT message FROM lint WHERE code = 'L27' ORDER BY message"
    told = [message.split("there changed: ")[1] for (message,) in Done(tmp_path, tmp_path / "study.yaml").rows(changes)]
    assert [line.split(" (")[0] for line in told] == ["first was refuted", "first was supported"]
    # A record says it all, whatever became of the index and of what was found.
    (record,) = sorted((tmp_path / ".synthc/runs").glob("*/run.json"))[-1:]
    assert [one["verdict"] for one in json.loads(record.read_text())["claims"][1]["earlier"]] == ["refuted", "supported"]


def test_holm_over_the_claims_of_a_study_stands_beside_each_verdict(claimed: Done) -> None:
    rows = claimed.rows("SELECT p, study_p, verdict, study_verdict FROM claim")
    rising = sorted(row[0] for row in rows)
    holm = [max(min(1.0, (len(rows) - rank) * p) for rank, p in enumerate(rising[: rising.index(row[0]) + 1])) for row in rows]
    assert [row[1] for row in rows] == pytest.approx(holm)
    assert all(later == (verdict if adjusted <= 0.05 else "undecided") for _, adjusted, verdict, later in rows)
