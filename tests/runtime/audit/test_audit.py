"""`synthc audit`: figures against slow twins, null data against nothing, and every bad file against its complaint."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from compiler.errors import SynthcError
from compiler.work.operations import AuditSettings
from runtime.audit.external.audit_file import Report, audit
from runtime.audit.external.evidence import NAMES, Evidence, answers_of, check, design_of
from runtime.audit.external.product import audit_with_product
from runtime.cli.main import main
from runtime.data.formats.npz import read_arrays
from runtime.seeds import numpy_generator

Arrays = dict[str, Any]
QUICK = AuditSettings(resamples=100, null_permutations=20, fpr=("0.1",))


def pairs(rng: np.random.Generator, shadows: int, samples: int) -> np.ndarray:
    """shadow × sample, as files have it."""
    member = np.empty((shadows, samples), bool)
    member[0::2] = rng.random((shadows // 2, samples)) < 0.5
    member[1::2] = ~member[0::2]
    return member


def models(seed: int = 0, shadows: int = 12, samples: int = 40, views: int = 2, gap: float = 2.0) -> Arrays:
    """Logits of models that are surer of their members by `gap`."""
    rng = np.random.default_rng(seed)
    member, labels = pairs(rng, shadows, samples), rng.integers(0, 5, samples)
    logits = rng.normal(size=(shadows, samples, views, 5)).astype(np.float32)
    for sample, label in enumerate(labels):
        logits[:, sample, :, label] += gap * member[:, sample, None]
    return {"logits": logits, "labels": labels, "member": member}


def one_run(seed: int = 0, samples: int = 400, gap: float = 2.0) -> Arrays:
    rng = np.random.default_rng(seed)
    member = rng.random((1, samples)) < 0.5
    return {"scores": rng.normal(size=(1, samples)) + gap * member, "member": member}


def saved(folder: Path, arrays: Arrays) -> Path:
    np.savez(folder / "outside.npz", **arrays)
    return folder / "outside.npz"


def audited(capsys: pytest.CaptureFixture[str], *command: str) -> Any:
    assert main(["audit", *command, "--json", "--resamples", "100", "--redraws", "20"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    return json.loads(said.out, parse_constant=pytest.fail)  # strict JSON knows no NaN or Infinity


def complaint(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """The one line that a bad command gives."""
    assert main(["audit", *command]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


# What is printed


def test_the_json_has_the_documented_keys_and_no_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = audited(capsys, str(saved(tmp_path, models())), "--fpr", "0.05", "--fpr", "1e-9", "--attack", "lira")
    keys = ["n_shadows", "n_samples", "design", "trusted", "interval", "attacks", "skipped", "notes"]
    assert list(found) == keys
    assert (found["n_shadows"], found["n_samples"], found["design"], list(found["attacks"])) == (12, 40, "pairs", ["lira"])
    assert (found["trusted"], found["skipped"], found["notes"]) == (True, {}, [])
    assert found["interval"] == "bootstrap over samples and pairs of shadows, 100 resamples"
    lira = found["attacks"]["lira"]
    assert list(lira) == [
        "auc", "tpr", "null_auc", "null_tpr", "permutation_p", "null_passed", "left_out", "epsilon_lower",
        "epsilon_lower_if_gaussian", "notes",
    ]  # fmt: skip
    figure = ["value", "low", "high", "note"]
    assert list(lira["auc"]) == list(lira["null_auc"]) == list(lira["null_tpr"]) == figure
    assert list(lira["tpr"]) == ["0.05", "1e-9"]  # as written
    how = ["by_lot", "n0", "false_positives", "realised_fpr", "threshold", "resolvable"]
    assert all(list(rate) == [*figure, *how] for rate in lira["tpr"].values())
    # What holds whatever the mechanism, apart from what does not.
    assert list(lira["epsilon_lower"]) == ["steinke", "clopper_pearson"]
    assert list(lira["epsilon_lower_if_gaussian"]) == ["f_dp", "mu_gdp"]
    assert set(lira["epsilon_lower"]["steinke"]) == {"value", "confidence", "delta", "target", "k_plus", "k_minus", "note"}
    assert "only if the trade-off is Gaussian" in lira["epsilon_lower_if_gaussian"]["f_dp"]["note"]
    assert set(lira["epsilon_lower"]["clopper_pearson"]) == {"value", "reason"}


def test_what_cannot_be_resolved_is_null_and_never_a_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(saved(tmp_path, models()))
    for text, resolvable in (("0.004", False), ("0.00417", True)):  # 240 non-members: one false positive from 1 / 240 on
        rate = audited(capsys, path, "--attack", "threshold", "--fpr", text)["attacks"]["threshold"]["tpr"][text]
        assert (rate["n0"], rate["resolvable"], rate["value"] is not None) == (240, resolvable, resolvable)
        assert (rate["low"] is None) == (rate["high"] is None) == (not resolvable)


def test_each_kind_of_file_gets_the_attacks_that_it_allows() -> None:
    arrays = models()
    rng = np.random.default_rng(0)
    assert set(report_of(arrays).attacks) == {"threshold", "reference", "calibrated", "lira", "lira_offline", "label_only"}
    with_z = {**arrays, "z_logits": rng.normal(size=(12, 30, 2, 5)), "z_labels": rng.integers(0, 5, 30)}
    assert "rmia" in report_of(with_z).attacks
    signal = {"signal": rng.normal(size=(12, 40)), "member": arrays["member"]}
    assert set(report_of(signal).attacks) == {"threshold", "reference", "calibrated", "lira", "lira_offline"}
    assert set(report_of({"scores": signal["signal"], "member": arrays["member"]}).attacks) == {"scores"}


def test_people_get_a_table_with_intervals_and_the_reasons_for_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(saved(tmp_path, models())), "--resamples", "100", "--redraws", "20", "--fpr", "0.001"]) == 0
    said = capsys.readouterr().out
    assert "12 shadows × 40 samples, membership: pairs" in said
    assert "not resolvable, n0 240" in said
    assert "rmia: not done, rmia needs z_logits" in said
    assert "no ε (Clopper-Pearson), if Gaussian (mu-GDP)" in said


def report_of(arrays: Arrays, settings: AuditSettings = QUICK) -> Report:
    return audit(check(arrays, "here"), settings)


# Figures


def lira_naive(signal: np.ndarray, member: np.ndarray) -> np.ndarray:
    """sample × shadow; LiRA with per-example variance, one target at a time, pairs dropped. signal: shadow × sample."""
    shadows, samples = signal.shape
    found = np.empty((samples, shadows))
    for target in range(shadows):
        rest = [shadow for shadow in range(shadows) if shadow not in (target, target ^ 1)]
        for sample in range(samples):
            inside = [signal[shadow, sample] for shadow in rest if member[shadow, sample]]
            outside = [signal[shadow, sample] for shadow in rest if not member[shadow, sample]]
            value = signal[target, sample]
            found[sample, target] = stats.norm.logpdf(value, np.mean(inside), np.std(inside, ddof=1)) - stats.norm.logpdf(
                value, np.mean(outside), np.std(outside, ddof=1)
            )
    return found


def test_lira_of_a_file_equals_the_loop_over_targets_and_so_do_its_figures() -> None:
    rng = np.random.default_rng(1)
    member = pairs(rng, 16, 30)
    signal = rng.normal(size=(16, 30)) + 1.5 * member
    # The loop wants two shadows on each side; the engine three.
    kept = np.array([min((member[:, sample].sum(), (~member[:, sample]).sum())) >= 4 for sample in range(30)])
    assert kept.all()
    slow = lira_naive(signal, member)
    found = report_of({"signal": signal, "member": member}, AuditSettings(("lira",), ("0.1",), variant="per_example"))
    sides = member.T
    higher = slow[sides][:, None] > slow[~sides][None, :]
    assert found.attacks["lira"].auc.value == pytest.approx(higher.mean())
    rate, reading = found.attacks["lira"].tpr["0.1"], found.attacks["lira"].readings["0.1"]
    bar = np.sort(slow[~sides])[::-1][24]  # 240 non-members allow 24 false positives; the 25th must be refused
    assert (rate.value, reading.non_members, reading.false_positives) == (pytest.approx((slow[sides] > bar).mean()), 240, 24)
    assert reading.threshold == pytest.approx(slow[slow > bar].min())


def test_logits_become_the_signal_that_their_definition_gives() -> None:
    arrays = models()
    signal = answers_of(check(arrays, "here")).signal("logit", 1)
    assert signal is not None
    for shadow, sample in ((0, 0), (3, 17), (11, 39)):
        z = arrays["logits"][shadow, sample, 0].astype(np.float64)
        p = (np.exp(z) / np.exp(z).sum())[arrays["labels"][sample]]
        assert signal[sample, 0, shadow] == pytest.approx(math.log(p / (1 - p)))
    assert signal.shape == (40, 1, 12)


def test_an_interval_over_canaries_draws_samples_with_all_their_shadows() -> None:
    file = models()
    file["logits"][..., 0] += np.random.default_rng(1).normal(size=(12, 1, 1)) * 2  # models differ, and so does what they give away
    wide, narrow = (report_of(file, replace(QUICK, interval=how)) for how in ("two_way", "canaries"))  # type: ignore[arg-type]
    assert (wide.drawn, narrow.drawn) == ("samples and pairs of shadows", "samples")
    apart, close = (one.attacks["lira"].auc.high - one.attacks["lira"].auc.low for one in (wide, narrow))
    assert apart > close
    assert report_of(one_run()).drawn == "samples"


def test_bernoulli_membership_with_few_shadows_is_judged_by_what_there_is() -> None:
    # Some samples have no shadow at all on one side: their NaN once reached every other score through the pooled variance.
    rng = np.random.default_rng(0)
    member = rng.random((8, 300)) < 0.5
    assert (member.sum(0) <= 1).any()
    found = report_of({"signal": rng.normal(size=(8, 300)) + 2 * member, "member": member}).attacks
    assert found["lira"].auc.value > 0.8
    assert 0 < found["lira"].left_out < 2400
    assert found["threshold"].left_out == 0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("design", ["pairs", "bernoulli"])
def test_on_null_data_the_null_auc_covers_one_half_and_nothing_is_found(seed: int, design: str) -> None:
    rng = np.random.default_rng(seed)
    member = pairs(rng, 16, 100) if design == "pairs" else rng.random((16, 100)) < 0.5
    for attack in report_of({"signal": rng.normal(size=(16, 100)), "member": member}).attacks.values():
        assert attack.null_auc.low <= 0.5 <= attack.null_auc.high
        assert attack.null_passed
        assert attack.null_auc.low - 0.03 < attack.auc.value < attack.null_auc.high + 0.03


def test_on_null_data_epsilon_is_positive_in_at_most_its_share_of_audits() -> None:
    positive = {"steinke": 0, "f_dp_if_gaussian": 0}
    for seed in range(200):
        settings = AuditSettings(resamples=100, null_permutations=10, fpr=("0.1",), one_run=True, thresholds="bonferroni")
        bounds = report_of(one_run(seed, samples=100, gap=0.0), settings).attacks["scores"].epsilon_lower
        for name in positive:
            positive[name] += bounds[name].value > 0  # type: ignore[operator]
    for name, count in positive.items():
        assert count <= 200 * 0.05 + 3 * math.sqrt(200 * 0.05 * 0.95), name


# Epsilon, or the reason why not


@pytest.mark.parametrize("strategy", ["preset", "split", "bonferroni", "multisplit"])
def test_a_gaussian_mechanism_is_bounded_below_its_truth(strategy: str) -> None:
    from compiler.power.epsilon_bounds import epsilon_of_mu

    settings = AuditSettings(resamples=100, null_permutations=10, fpr=("0.1",), one_run=True, thresholds=strategy)
    bounds = report_of(one_run(samples=1000, gap=1.5), settings).attacks["scores"].epsilon_lower
    for name in ("steinke", "f_dp_if_gaussian"):
        value = bounds[name].value
        assert value is not None
        assert 0.5 < value < epsilon_of_mu(1.5, 1e-5)


def test_a_delta_of_zero_is_one_audit_however_it_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(saved(tmp_path, one_run()))
    found = [audited(capsys, path, "--one-run", f"--delta={zero}") for zero in ("0", "0.0", "-0.0", "0e-5")]
    assert str(found[0]["attacks"]["scores"]["epsilon_lower"]["steinke"]["delta"]) == "0.0"
    assert len({str(one) for one in found}) == 1


def test_guesses_are_counted_as_declared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from runtime.audit.statistics.epsilon import steinke

    arrays = one_run()
    options = ("--one-run", "--guesses", "30", "20", "--confidence", "0.9", "--delta", "1e-6")
    found = audited(capsys, str(saved(tmp_path, arrays)), *options)["attacks"]["scores"]["epsilon_lower"]["steinke"]
    order = np.argsort(-arrays["scores"][0])
    member = arrays["member"][0][order]
    right = int(member[:30].sum() + (~member[-20:]).sum())
    assert found["value"] == pytest.approx(steinke(right, 50, 400, 1e-6, 0.1))
    assert {key: found[key] for key in ("confidence", "delta", "target", "k_plus", "k_minus")} == {
        "confidence": 0.9,
        "delta": 1e-6,
        "target": 0,
        "k_plus": 30,
        "k_minus": 20,
    }


def test_a_grid_of_guesses_pays_for_each_of_its_entries() -> None:
    from runtime.audit.statistics.epsilon import guess, steinke

    arrays = one_run(gap=1.0)
    settings = AuditSettings(resamples=100, null_permutations=10, fpr=("0.1",), one_run=True, thresholds="bonferroni")
    found = report_of(arrays, settings).attacks["scores"].epsilon_lower["steinke"]
    scores, member = arrays["scores"][0], arrays["member"][0]
    each = {k: steinke(guess(scores, member, k, k), 2 * k, 400, 1e-5, 0.05 / 6) for k in (6, 12, 25, 50, 100, 200)}
    assert found.value == pytest.approx(max(each.values()))
    assert each[found.how["k_plus"]] == pytest.approx(found.value)  # type: ignore[union-attr]


def test_what_other_canaries_would_do_to_fits_that_canaries_share_is_in_their_intervals() -> None:
    rng = np.random.default_rng(3)
    member = pairs(rng, 8, 60)
    arrays = {"signal": rng.standard_t(2, member.shape) + 2.0 * member, "member": member}  # one outlier makes half of the spread
    found = {}
    for variant in ("pooled", "per_example"):
        kept: list[Any] = []
        audit(check(arrays, "here"), replace(QUICK, tried=("lira",), variant=variant), kept.append)
        measured = kept[0].groups[0].measured
        found[variant] = {one["metric"]: one["variance"] for one in measured.fits()}
        widths = []
        for one in (measured, replace(measured, refit=None)):
            auc = next(metric for metric in one.metrics() if metric.name == "auc")
            widths.append(auc.high - auc.low)
        assert (widths[0] > 1.02 * widths[1]) == (variant == "pooled")
    assert found["pooled"]["auc"] > 0
    assert found["per_example"] == {}


def test_constant_scores_of_a_file_that_lists_its_members_first_show_nothing() -> None:
    arrays = {"scores": np.zeros((1, 400)), "member": np.arange(400)[None] < 200}
    settings = AuditSettings(resamples=100, null_permutations=10, fpr=("0.1",), one_run=True)
    found = report_of(arrays, settings).attacks["scores"]
    assert (found.auc.value, found.auc.low, found.tpr["0.1"].value) == (0.5, None, None)
    assert found.epsilon_lower["steinke"].value == found.epsilon_lower["f_dp_if_gaussian"].value == 0.0


def test_ties_are_not_broken_by_the_order_of_a_file_that_lists_its_members_first() -> None:
    positive = 0
    for seed in range(100):
        scores = np.random.default_rng(seed).integers(0, 2, (1, 200))
        settings = AuditSettings(resamples=100, null_permutations=10, fpr=("0.1",), one_run=True)
        bound = report_of({"scores": scores, "member": np.arange(200)[None] < 100}, settings).attacks["scores"].epsilon_lower
        positive += bound["steinke"].value > 0  # type: ignore[operator]
    assert positive <= 100 * 0.05 + 3 * math.sqrt(100 * 0.05 * 0.95)


ONE_RUN: dict[str, Any] = {"one_run": True}
BERNOULLI: dict[str, Any] = {"membership": "bernoulli"}


def balanced(rng: np.random.Generator) -> np.ndarray:
    return rng.permuted(np.tile(np.arange(12) < 6, (40, 1)), axis=1).T


@pytest.mark.parametrize(("make", "options", "reason"), [
    (lambda rng: {"scores": rng.normal(size=(1, 40)), "member": rng.random((1, 40)) < 0.5}, {}, "say it with --one-run"),
    (lambda rng: {"scores": rng.normal(size=(1, 90)), "member": np.arange(90)[None] < 20}, ONE_RUN, "hardly ever"),
    (lambda rng: {"signal": rng.normal(size=(12, 40)), "member": balanced(rng)}, {}, "is no coin"),
    (lambda rng: {"scores": rng.normal(size=(12, 40)), "member": balanced(rng)}, BERNOULLI, "is no coin"),
    (lambda rng: {"signal": rng.normal(size=(12, 40)), "member": pairs(rng, 12, 40)}, BERNOULLI, "are complements"),
    (lambda rng: {"scores": rng.normal(size=(12, 40)), "member": pairs(rng, 12, 40)}, {}, "without the target's complement"),
    (lambda rng: {"scores": rng.normal(size=(1, 5)), "member": np.eye(5)[:1] > 0}, ONE_RUN, "too few"),
])  # fmt: skip
def test_a_one_run_bound_is_refused_where_memberships_are_no_independent_coins(
    make: Callable[[np.random.Generator], Arrays], options: dict[str, Any], reason: str
) -> None:
    found = report_of(make(np.random.default_rng(0)), AuditSettings(resamples=100, null_permutations=10, fpr=("0.1",), **options))
    for attack in found.attacks.values():
        for name in ("steinke", "f_dp_if_gaussian"):
            bound = attack.epsilon_lower[name]
            assert bound.value is None
            assert reason in bound.note


@pytest.mark.parametrize("kind", ["scores", "signal", "logits", "several shadows"])
def test_what_an_audit_advises_for_one_run_is_not_refused_when_it_is_done(kind: str) -> None:
    arrays = one_run(gap=3.0)
    scores, few = arrays["scores"], AuditSettings(resamples=100, null_permutations=10, fpr=("0.1",))
    if kind == "signal":
        arrays = {"signal": scores, "member": arrays["member"]}
    if kind == "logits":
        logits = np.stack([scores, np.zeros_like(scores)], -1)[:, :, None]
        arrays = {"logits": logits, "labels": np.zeros(scores.shape[1], int), "member": arrays["member"]}
    if kind == "several shadows":
        arrays = models()
    advice = {bound.note for of in report_of(arrays, few).attacks.values() for bound in of.epsilon_lower.values() if bound.note}
    advised = [note for note in advice if "--one-run" in note]
    assert bool(advised) == (kind != "several shadows")
    if advised:
        assert all(("make scores (1 × samples)" in note) == (kind != "scores") for note in advised)
        followed = report_of(one_run(gap=3.0), replace(few, one_run=True))
        assert (followed.attacks["scores"].epsilon_lower["steinke"].value or 0) > 0


def test_pooled_scores_never_become_a_multi_run_epsilon_but_one_sample_in_many_models_does() -> None:
    pooled = report_of(models()).attacks["threshold"].epsilon_lower
    assert pooled["clopper_pearson"].value is pooled["mu_gdp_if_gaussian"].value is None
    rng = np.random.default_rng(0)
    member = rng.random((400, 1)) < 0.5
    found = report_of({"scores": rng.normal(size=(400, 1)) + 3 * member, "member": member}).attacks["scores"].epsilon_lower
    bound = found["clopper_pearson"]
    assert bound.value is not None
    assert bound.how["members"] + bound.how["non_members"] == 200  # tested on the half that did not choose the threshold
    assert 1 < bound.value < 20


def test_a_learned_attack_that_would_read_the_class_count_is_not_done() -> None:
    arrays = models()
    for member, design in ((balanced(np.random.default_rng(0)), "auto"), (arrays["member"], "bernoulli")):
        settings = AuditSettings(resamples=100, null_permutations=10, fpr=("0.1",), membership=design)
        found = report_of({**arrays, "member": member}, settings)
        assert "a learned attack would read that off" in found.skipped["label_only"]


# Kept as a study of its own


def kept(folder: Path, arrays: Arrays, *options: str) -> Path:
    """The database of an audit that was stored."""
    path = saved(folder, arrays)
    quick = ("--resamples", "100", "--redraws", "10", "--fpr", "0.1", "--fpr", "0.01", "--attack")
    command = ["audit", str(path), *quick, "lira" if "logits" in arrays else "scores", "--db", str(folder / "r.duckdb"), *options]
    assert main(command) == 0
    return folder / "r.duckdb"


def asked(database: Path, text: str) -> list[tuple[Any, ...]]:
    from runtime.database.read import query

    return query(database, text)[1]


def test_a_stored_audit_is_a_study_with_the_printed_rows_and_a_rebuild_gives_them_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = kept(tmp_path, models(), "--json")
    printed = json.loads(capsys.readouterr().out)["attacks"]["lira"]
    comparison = "SELECT study, paradigm, label, attack, fpr, leakage, leakage_low, leakage_n, auc, null_ok FROM comparison"
    rows = asked(database, comparison)
    rate = printed["tpr"]["0.01"]
    assert rows == [
        ("outside", "imported", "outside", "lira", 0.01, rate["value"], rate["low"], rate["n0"], printed["auc"]["value"], True)
    ]
    assert asked(database, "SELECT count(*), max(canary) FROM canary_risk") == [(40, 39)]
    assert asked(database, "SELECT max(fpr) FROM roc") == [(1.0,)]
    everything = [f"FROM {view} ORDER BY ALL" for view in ("comparison", "result", "roc", "canary_risk", "reading", "task", "run")]
    before = [asked(database, text) for text in everything]
    assert main(["db", "rebuild", "--db", str(database)]) == 0
    assert [asked(database, text) for text in everything] == before


def test_a_damaged_record_of_a_run_stops_no_audit(tmp_path: Path) -> None:
    (tmp_path / ".synthc/runs/20260101T000000.000000-x").mkdir(parents=True)
    (tmp_path / ".synthc/runs/20260101T000000.000000-x/run.json").write_text('{"study": [], "spec": "x"}')
    assert asked(kept(tmp_path, models()), "SELECT study FROM comparison") == [("outside",)]


def test_the_same_file_and_settings_are_one_task_and_other_settings_another(tmp_path: Path) -> None:
    database = kept(tmp_path, models(), "--study", "first")
    kept(tmp_path, models(), "--study", "again")
    kept(tmp_path, models(), "--study", "other", "--variant", "student_t")
    tasks = dict(asked(database, "SELECT address, task FROM task"))
    assert set(asked(database, "SELECT study FROM comparison")) == {("first",), ("again",), ("other",)}
    assert len(set(tasks.values())) == 2
    assert len(list((tmp_path / ".synthc").glob("??/*/outcome.json"))) == 2


@pytest.mark.long
def test_charts_and_report_take_a_stored_audit_as_they_take_a_study(tmp_path: Path) -> None:
    database = kept(tmp_path, one_run(samples=60), "--one-run")
    assert main(["chart", "roc", "-o", str(tmp_path / "roc.json"), "--db", str(database)]) == 0
    assert main(["report", "-o", str(tmp_path / "report.html"), "--db", str(database)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "synthc audit " in page
    assert '<th scope="row">' in page


def test_a_bad_audit_leaves_nothing_in_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(saved(tmp_path, GOOD))
    for options, said in (
        (["--attack", "lira", "--db", str(tmp_path / "r.duckdb")], "too few"),
        (["--db", str(tmp_path / "r.duckdb"), "--study", "a/b"], "--study a/b: wanted are letters"),
        (["--db", str(tmp_path / "no" / "r.duckdb")], "there is no folder"),
        (["--study", "name"], "give --db FILE"),
    ):
        assert said in complaint(capsys, path, *options)
    assert [one.name for one in tmp_path.iterdir()] == ["outside.npz"]


# How membership was drawn


def test_the_design_is_seen_in_the_membership_itself() -> None:
    rng = np.random.default_rng(0)
    for member, design in ((pairs(rng, 8, 30), "pairs"), (balanced(rng), "balanced"), (rng.random((8, 30)) < 0.5, "bernoulli")):
        assert design_of(evidence_of(member)) == design
    assert design_of(evidence_of(rng.random((1, 30)) < 0.5)) == "bernoulli"


def evidence_of(member: np.ndarray) -> Evidence:
    return Evidence("scores", np.zeros(member.shape), member.T)


# Bad input: each one line, exit 2


def changed(**changes: Any) -> Arrays:
    """The models' file with some arrays changed; None removes one."""
    return {name: value for name, value in {**models(shadows=4, samples=6), **changes}.items() if value is not None}


def with_value(array: np.ndarray, place: tuple[int, ...], value: float) -> np.ndarray:
    copy = array.copy()
    copy[place] = value
    return copy


GOOD = models(shadows=4, samples=6)
SCORES = {"scores": np.arange(24.0).reshape(4, 6), "member": GOOD["member"]}
UNPAIRED = {**SCORES, "member": with_value(GOOD["member"], (0, 2), GOOD["member"][1, 2])}


@pytest.mark.parametrize(("arrays", "said"), [
    ({}, "exactly one of logits, signal, scores"),
    ({"logits": None}, "exactly one of"),
    ({"scores": np.zeros((4, 6))}, "exactly one of"),
    ({"labels": None}, "logits need labels"),
    ({"member": None}, "has no member"),
    ({"logits": GOOD["logits"][0]}, "logits has shape (6, 2, 5); wanted is shadows × samples × views × classes"),
    ({"logits": GOOD["logits"][:, :0]}, "empty"),
    ({"logits": GOOD["logits"][..., :1]}, "one class"),
    ({"logits": with_value(GOOD["logits"], (2, 3, 1, 4), np.nan)}, "logits[2, 3, 1, 4] is nan"),
    ({"logits": with_value(GOOD["logits"], (3, 0, 0, 0), np.inf)}, "logits[3, 0, 0, 0] is inf"),
    ({"logits": GOOD["logits"].astype(np.float64) * 1e200}, "wanted is a number from -1e+100 to 1e+100"),
    ({"labels": GOOD["labels"][:5]}, "labels has shape (5,)"),
    ({"labels": GOOD["labels"].astype(float)}, "wanted are whole numbers from 0 to 4"),
    ({"labels": with_value(GOOD["labels"], (2,), 5)}, "labels[2] is 5; with 5 classes, 0 to 4 is wanted"),
    ({"labels": with_value(GOOD["labels"], (4,), -1)}, "labels[4] is -1"),
    ({"member": GOOD["member"].T}, "member has shape (6, 4)"),
    ({"member": GOOD["member"] * 2}, "wanted are true and false, or 1 and 0"),
    ({"member": np.zeros((4, 6), bool)}, "member is false everywhere"),
    ({"member": np.ones((4, 6), bool)}, "member is true everywhere"),
    ({"z_logits": GOOD["logits"][:3]}, "z_logits has shape (3, 6, 2, 5)"),
    ({"z_logits": GOOD["logits"]}, "z_logits need z_labels"),
    ({"logits": np.array([[None]])}, "'logits' holds pickled objects, which are never opened"),
    ({"logits": np.zeros((4, 6, 2, 5), complex)}, "'logits' is of type '<c16'"),
    ({"labels": np.array(list("abcdef"))}, "'labels' is of type '<U1'"),
    ({"labels": np.zeros(6, [("x", "i4")])}, "'labels' is of type"),
])  # fmt: skip
def test_a_bad_array_is_one_line_that_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arrays: Arrays, said: str
) -> None:
    given = changed(**arrays) if arrays else {"member": GOOD["member"]}
    assert said in complaint(capsys, str(saved(tmp_path, given)))


def test_a_nan_among_scores_is_named_and_an_infinity_is_a_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = {**SCORES, "scores": with_value(SCORES["scores"], (1, 5), np.nan)}
    assert "scores[1, 5] is nan" in complaint(capsys, str(saved(tmp_path, bad)))
    infinite = {**SCORES, "scores": np.where(SCORES["member"], np.inf, -np.inf)}
    found = audited(capsys, str(saved(tmp_path, infinite)), "--fpr", "0.1")["attacks"]["scores"]
    assert (found["auc"]["value"], found["tpr"]["0.1"]["value"], found["tpr"]["0.1"]["threshold"]) == (1.0, 1.0, None)


def test_no_number_of_an_audit_of_infinite_scores_is_infinite_printed_or_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    member = np.random.default_rng(0).random((400, 1)) < 0.5  # one sample in many models has a multi-run bound
    for number, sides in enumerate((member, SCORES["member"])):
        path = str(saved(tmp_path, {"scores": np.where(sides, np.inf, -np.inf), "member": sides}))
        found = audited(capsys, path, "--fpr", "0.1", "--db", str(tmp_path / f"{number}.duckdb"))["attacks"]["scores"]
        bound = found["epsilon_lower"]["clopper_pearson"]
        assert bound["value"] is None or (bound["value"] > 1 and bound["threshold"] is None)


def test_where_a_share_of_infinite_scores_leaves_no_threshold_nobody_is_called_a_member() -> None:
    member = pairs(np.random.default_rng(0), 12, 40)
    top = np.where(np.random.default_rng(1).random(member.shape) < 0.3, np.inf, np.random.default_rng(2).normal(size=member.shape))
    _, product = audit_with_product(check({"scores": top, "member": member}, "here"), QUICK)
    (reading,) = product.notes["readings"]
    assert (reading["tpr"], reading["threshold"], reading["false_positives"]) == (None, None, 0)
    assert (reading["false_positive_canaries"], reading["false_positive_shadows"]) == (0, 0)
    assert product.files["risk"]["0"][:, 0].max() == 0


@pytest.mark.parametrize(("arrays", "options", "said"), [
    (GOOD, ["--attack", "lyra"], "--attack lyra: did you mean 'lira'?"),
    (GOOD, ["--attack", "scores"], "--attack scores: the file holds logits, no scores"),
    (GOOD, ["--attack", "rmia"], "rmia needs z_logits"),
    (GOOD, ["--attack", "lira"], "--attack lira: 4 shadows leave too few"),
    (SCORES, ["--attack", "lira"], "the file holds scores of an attack done elsewhere"),
    (GOOD, ["--fpr", "0"], "--fpr 0: wanted is a rate between 0 and 1"),
    (GOOD, ["--fpr", "1"], "--fpr 1:"),
    (GOOD, ["--fpr", "nan"], "--fpr nan:"),
    (GOOD, ["--fpr=-0.1"], "--fpr -0.1:"),
    (GOOD, ["--fpr", "1%"], "--fpr 1%:"),
    (GOOD, ["--fpr", "0.01", "--fpr", "0.010000001"], "one rate twice"),
    (GOOD, ["--design", "pair"], "--design pair: did you mean 'pairs'?"),
    ({name: value[:3] for name, value in SCORES.items()}, ["--design", "pairs"], "3 shadows are an odd number"),
    (UNPAIRED, ["--design", "pairs"], "hold sample 2"),
    (UNPAIRED, ["--design", "balanced"], "sample 2 is in"),
    (GOOD, ["--variant", "fixed"], "there are: per_example, pooled, student_t"),
    (GOOD, ["--signal", "loss"], "there are: hinge, logit"),
    (GOOD, ["--queries", "3"], "the file holds 2 views"),
    (GOOD, ["--confidence", "95"], "--confidence 95:"),
    (GOOD, ["--delta", "1"], "--delta 1:"),
    (GOOD, ["--delta=-1e-9"], "--delta -1e-9: wanted is 0 or"),
    (GOOD, ["--resamples", "10"], "--resamples 10:"),
    (GOOD, ["--interval", "shadows"], "--interval shadows: there are: canaries, two_way"),
    (GOOD, ["--attack", "quantile"], "--attack quantile: it looks at the samples' images"),
    (GOOD, ["--attack", "nearest"], "--attack nearest: it looks at a released set"),
    (GOOD, ["--one-run"], "--one-run wants the logits of one shadow; the file holds 4 shadows"),
    (SCORES, ["--one-run"], "the file holds 4 shadows"),
    (SCORES, ["--guesses", "4", "3"], "more guesses than the file's 6 samples"),
    (SCORES, ["--guesses", "0", "0"], "at least one is needed"),
    (SCORES, ["--guesses", "1", "x"], "--guesses x:"),
    (SCORES, ["--guesses", "1", "1", "--thresholds", "split"], "give one of them"),
    (SCORES, ["--limit", "1e-9"], "more than the limit"),
])  # fmt: skip
def test_a_bad_option_is_one_line_that_says_what_would_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arrays: Arrays, options: list[str], said: str
) -> None:
    assert said in complaint(capsys, str(saved(tmp_path, arrays)), *options)


def test_what_is_no_archive_is_said_to_be_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no such file" in complaint(capsys, str(tmp_path / "missing.npz"))
    assert "not a file" in complaint(capsys, str(tmp_path))
    (tmp_path / "text.npz").write_text("scores: 1, 2, 3")
    assert "not an .npz archive" in complaint(capsys, str(tmp_path / "text.npz"))
    np.save(tmp_path / "single.npy", np.zeros(3))
    assert "not an .npz archive" in complaint(capsys, str(tmp_path / "single.npy"))
    np.savez(tmp_path / "other.npz", scorse=np.zeros(3))
    assert "holds 'scorse'; wanted are logits" in complaint(capsys, str(tmp_path / "other.npz"))


def header(descr: str, shape: str) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(("entry", "said"), [
    (header("'<f8'", "(1000000, 1000000)"), "declares scores 7.45e+03 GiB, more than the limit of 4 GiB"),
    (header("'<f8'", "(4, 6)") + bytes(8), "declares shape (4, 6) of float64, 192 bytes, but holds 8"),
    (header("'<f8'", "(-4, 6)"), "no shape that an array can have"),
    (header("'<f8'", "(True, 6)"), "no shape"),
    (header("'|O'", "(1,)") + b"cos\nsystem\n(S'true'\ntR.", "pickled objects"),
    (header("'<f8'", "(" * 3000 + ")" * 3000), "cannot be read"),
    (header("__import__('os')", "(1,)"), "cannot be read"),
    (b"\x93NUMPY\x01\x00\xff\xff" + bytes(10), "header cannot be read"),
    (b"GIF89a" + bytes(10), "is no numpy array"),
    (header("'|b1'", "(3,)") + b"\x00\x02\x01", "neither true nor false"),
])  # fmt: skip
def test_an_array_that_lies_about_itself_is_refused_before_memory_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], entry: bytes, said: str
) -> None:
    with zipfile.ZipFile(tmp_path / "lies.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("scores.npy", entry)
    assert said in complaint(capsys, str(tmp_path / "lies.npz"))


def test_a_bomb_is_refused_by_what_it_declares_though_small_on_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, scores=np.zeros((8, 1_000_000), np.float32), member=np.zeros((8, 1_000_000), bool))
    assert path.stat().st_size < 100_000
    assert "more than the limit of 0.01 GiB" in complaint(capsys, str(path), "--limit", "0.01")


def test_an_entry_that_is_there_twice_or_packed_in_an_unusual_way_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as archive:
        archive.writestr("scores.npy", header("'<f8'", "(1,)") + bytes(8))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("scores.npy", header("'<f8'", "(1,)") + bytes(8))
    with pytest.raises(SynthcError, match="twice"):
        read_arrays(tmp_path / "twice.npz", NAMES)
    with zipfile.ZipFile(tmp_path / "odd.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("scores.npy", header("'<f8'", "(1,)") + bytes(8))
    with pytest.raises(SynthcError, match="unusual"):
        read_arrays(tmp_path / "odd.npz", NAMES)


def test_what_numpy_wrote_is_read_back_as_it_was(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays: Arrays = {
        "logits": np.asfortranarray(rng.normal(size=(3, 4, 2, 5))),
        "signal": rng.normal(size=(3, 4)).astype(">f4"),
        "scores": rng.integers(-9, 9, (3, 4)).astype(np.int16),
        "member": rng.random((3, 4)) < 0.5,
        "labels": np.zeros(0, np.uint8),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "file.npz", **arrays)
        found = read_arrays(tmp_path / "file.npz", NAMES)
        assert set(found) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype.newbyteorder("=")


def damaged(good: bytes, rng: np.random.Generator, cut: bool) -> bytes:
    """Cut somewhere, or with up to five bits turned."""
    if cut:
        return good[: int(rng.integers(len(good)))]
    content = bytearray(good)
    for place in rng.integers(len(good), size=int(rng.integers(1, 6))):
        content[place] ^= 1 << int(rng.integers(8))
    return bytes(content)


def refusal(path: Path) -> str | None:
    """What reading and checking the file complains about; any error but SynthcError ends the test."""
    try:
        check(read_arrays(path, NAMES, limit=1 << 20), "here")
    except SynthcError as error:
        return str(error)
    return None


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_no_damage_to_an_archive_gives_anything_but_one_line(tmp_path: Path, save: Callable[..., None]) -> None:
    rng = numpy_generator(0, None, f"fuzz/{save.__name__}")
    whole, path = io.BytesIO(), tmp_path / "damaged.npz"
    save(whole, **GOOD)
    refusals = []
    for turn in range(500):
        path.write_bytes(damaged(whole.getvalue(), rng, cut=turn % 5 == 0))
        refusals.append(refusal(path))
    assert all(said is None or said.isprintable() for said in refusals)
    assert sum(said is not None for said in refusals) > 350  # the rest hit what nobody reads: dates, extra fields


def test_no_damage_to_an_array_inside_a_sound_archive_gives_anything_but_one_line(tmp_path: Path) -> None:
    # Here every checksum is right, so that the header's parser and the checks of what it says stand alone.
    rng = numpy_generator(0, None, "fuzz/inside")
    parts, path = {}, tmp_path / "damaged.npz"
    for name, array in GOOD.items():
        whole = io.BytesIO()
        np.save(whole, array)
        parts[name] = whole.getvalue()
    refusals = []
    for turn in range(500):
        chosen = list(parts)[turn % len(parts)]
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in parts.items():
                head = damaged(content[:128], rng, cut=turn % 10 == 0) if name == chosen else content[:128]
                archive.writestr(f"{name}.npy", head + content[128:])
        refusals.append(refusal(path))
    assert all(said is None or said.isprintable() for said in refusals)
    assert sum(said is not None for said in refusals) > 250  # the rest hit padding, or made another plain type of the same size
