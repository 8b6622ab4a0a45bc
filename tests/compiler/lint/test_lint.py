"""Lints: each fires in a study that lacks what it looks for, at its place, and is silent in one that has it."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from compiler.check.trials import check
from compiler.compile import compile_study
from compiler.errors import Finding, SpecError
from compiler.language.allow import LintCode
from compiler.language.study import Header
from compiler.lint import lint, lint_results
from compiler.lint.catalog import LINTS, explain
from compiler.lint.results import Measured, RunResults
from compiler.text.compose import compose
from runtime.cli.main import main
from tests.conftest import ROOT, TINY, Done, run_study

RIGOROUS = """\
study: rigorous
question: Do small sets protect the digits?
data: {name: digits, test: 360}
public: {name: shapes}
audit:
  canaries:
    mislabeled: {kind: mislabeled, count: 128}
    clean: {kind: clean, count: 64}
    ood: {kind: ood, count: 64}
  z_pool: 100
  shadows: 16
  membership: pairs
  queries: {shift: 1}
  attacks:
    - {attack: lira, variant: pooled}
    - {attack: nearest}
    - {attack: selected}
  fpr: [0.01, 0.1]
  headline: {attack: lira, signal: logit, variant: pooled, queries: 1, canaries: mislabeled, release: final_model, fpr: 0.01}
classifier: {width: 16}
arms:
  undefended: {paradigm: undefended}
  dp: {paradigm: dp_sgd, privacy: {epsilon: 8.0, delta: 1.0e-5}, classifier: {norm: group}}
  coreset: {paradigm: coreset, method: {grid: [random, forgetting]}, fraction: 0.3, released: true}
  control: {paradigm: coreset, method: random, per_class: 10}
  dm: {paradigm: distillation, method: dm, images_per_class: 10, init: noise, released: true}
claims:
  less: {text: Distilled sets leak less than half of the private data., test: difference, left: {arm: coreset}, right: {arm: dm}}
"""
DIFFUSION = "  diffusion: {paradigm: diffusion, method: conditional}\n"
ARMS_END = "claims:\n"
WITHOUT_SETS = [(line + "\n", "") for line in RIGOROUS.splitlines() if line.startswith(("  undefended", "  dp:"))]
"""Arms that release no set, and so cannot have a headline about one."""


def findings(folder: Path, *changes: tuple[str, str]) -> list[tuple[str, str, str, str]]:
    """Code, severity, the text at the place, and the message, of all that speaks in RIGOROUS after these replacements."""
    text = RIGOROUS
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    spec = folder / "study.yaml"
    spec.write_text(text)
    try:
        told = [(f.code, f.severity, f.location, f.message) for f in lint(check(compose(spec)))]
    except SpecError as error:
        told = [(f.code, "error", f.location, f.message) for f in error.diagnostics]
        # Warnings are not told of a study that is refused: silence what refuses it.
        refused = ", ".join(f"{code}: it is meant" for code in sorted({code for code, *_ in told}))
        spec.write_text(f"{text}allow: {{{refused}}}\n")
        told += [(f.code, f.severity, f.location, f.message) for f in lint(check(compose(spec))) if f.silenced is None]
    lines = text.splitlines()
    return [(code, how, lines[place.line - 1][place.column - 1 :], message) for code, how, place, message in told if place]


def test_a_study_that_has_everything_is_left_alone(tmp_path: Path) -> None:
    assert findings(tmp_path) == []


CASES: list[tuple[str, str, str, str, list[tuple[str, str]]]] = [
    ("L01", "error", "arms:", "no DP-SGD arm", [("  dp: {", "  more: {paradigm: undefended}\n  # {")]),
    (
        "L03",
        "error",
        "mislabeled:",
        "average records alone",
        [("kind: mislabeled", "kind: clean"), ("    ood: {kind: ood, count: 64}\n", "")],
    ),
    (
        "L03",
        "warning",
        "clean, release",
        "stand for average",
        [("canaries: mislabeled,", "canaries: clean,"), ("fpr: 0.01}", "fpr: 0.1}")],
    ),
    (
        "L04",
        "error",
        "diffusion: {",
        "strong against diffusion",
        [(ARMS_END, DIFFUSION + ARMS_END), ("    ood: {kind: ood, count: 64}\n", "")],
    ),
    ("L04", "error", "mislabeled: {", "the only worst case for 2 paradigms", [("    ood: {kind: ood, count: 64}\n", "")]),
    (
        "L05",
        "error",
        "0.001}",
        "512 non-member scores cannot show",
        [("fpr: 0.01}", "fpr: 0.001}"), ("[0.01,", "[0.001,"), ("shadows: 16", "shadows: 8")],
    ),
    ("L05", "warning", "0.01}", "allows 5 false positives of 512", [("shadows: 16", "shadows: 8")]),
    (
        "L05",
        "warning",
        "[0.01, 0.001]",
        "of clean canaries cannot show a false-positive rate of 0.001",
        [("[0.01, 0.1]", "[0.01, 0.001]")],
    ),
    (
        "L05",
        "error",
        "tpr@",
        "the claim less is about an FPR of 0.001",
        [
            ("[0.01, 0.1]", "[0.01, 0.001]"),
            ("shadows: 16", "shadows: 12"),
            ("test: difference", "test: difference, metric: tpr@fpr=0.001"),
        ],
    ),
    (
        "L05",
        "error",
        "tpr@",
        "the claim less is about an FPR of 0.001, which the clean canaries",
        [
            ("[0.01, 0.1]", "[0.01, 0.001]"),
            ("test: difference", "test: difference, metric: tpr@fpr=0.001"),
            ("right: {arm: dm}", "right: {arm: dm, canaries: clean}"),
        ],
    ),
    (
        "L05",
        "error",
        "clean}",
        "the claim less is about an FPR of 0.001, which the clean canaries",
        [("fpr: 0.01}", "fpr: 0.001}"), ("[0.01, 0.1]", "[0.001, 0.1]"), ("right: {arm: dm}", "right: {arm: dm, canaries: clean}")],
    ),
    (
        "L05",
        "error",
        "clean}",
        "the claim less is about an FPR of 0.001, which the clean canaries",
        [
            ("fpr: 0.01}", "fpr: 0.001}"),
            ("[0.01, 0.1]", "[0.001, 0.1]"),
            ("test: difference", "test: matched, metric: tpr@fpr=0.1, match: leakage"),
            ("right: {arm: dm}", "right: {arm: dm, canaries: clean}"),
        ],
    ),
    ("L06", "error", "0.5}", "read at an FPR of 0.5", [("fpr: 0.01}", "fpr: 0.5}"), ("[0.01,", "[0.5,")]),
    ("L06", "warning", "auc", "area under the curve", [("test: difference", "test: difference, metric: auc")]),
    (
        "L07",
        "error",
        "dm: {",
        "no attack looks at what distillation makes",
        [("    - {attack: nearest}\n", ""), ("noise, released: true", "noise")],
    ),
    ("L09", "error", "dm: {", "as many random private images (per_class 10)", [("per_class: 10", "per_class: 20")]),
    ("L09", "error", "coreset: {", "(fraction 0.3)", [("{grid: [random, forgetting]}", "forgetting")]),
    ("L10", "error", "arms:", "no undefended arm", [("  undefended: {paradigm: undefended}\n", "")]),
    ("L12", "warning", "public, released", "begins from images of the public set", [("init: noise", "init: public")]),
    (
        "L14",
        "error",
        "{attack: label_only",
        "counting",
        [("membership: pairs", "membership: balanced"), ("- {attack: nearest}", "- {attack: label_only, queries: 9}")],
    ),
    (
        "L15",
        "warning",
        "{attack: lira, variant: per_example",
        "from 16 shadows",
        [("variant: pooled}\n", "variant: per_example}\n"), ("variant: pooled, q", "variant: per_example, q")],
    ),
    (
        "L15",
        "warning",
        "{attack: denoising, variant: per_example",
        "none beside it is pooled",
        [
            ("- {attack: selected}", "- {attack: denoising, variant: per_example}\n    - {attack: denoising, variant: threshold}"),
            (ARMS_END, DIFFUSION + ARMS_END),
        ],
    ),
    (
        "L16",
        "error",
        "{attack: lira, signal",
        "leaves variant open, and 2 attacks",
        [("variant: pooled, q", "variant: null, q"), ("variant: pooled}", "variant: {grid: [pooled, student_t]}}")],
    ),
    (
        "L16",
        "error",
        "{attack: lira, signal",
        "2 attacks of the audit fit the headline and differ in compat, which it has no word for",
        [("variant: pooled, q", "variant: null, q"), ("variant: pooled}", "compat: {grid: [[], [strict_fpr]]}}")],
    ),
    (
        "L16",
        "error",
        "{attack: rmia, signal",
        "2 attacks of the audit fit the headline and differ in gamma, vote, which it has no word for",
        [
            ("{attack: lira, signal: logit, variant: pooled", "{attack: rmia, signal: logit, variant: online"),
            ("- {attack: nearest}", "- {attack: rmia}\n    - {attack: rmia, gamma: 2.0, vote: majority}"),
        ],
    ),
    ("L17", "warning", "20", "20 redraws", [("membership: pairs", "membership: pairs\n  null_permutations: 20")]),
    ("L18", "warning", "0.01}", "delta 0.01 for 1,", [("1.0e-5", "0.01")]),
    ("L18", "warning", "dp: {", "2 trainings under one guarantee", [("{norm: group}", "{norm: group, lr: {grid: [0.1, 1.0]}}")]),
    (
        "L19",
        "error",
        "- {attack: nearest}",
        "what the released images look like",
        [
            ("    - {attack: lira, variant: pooled}\n", ""),
            ("attack: lira, signal", "attack: nearest, signal"),
            ("release: final_model", "release: synthetic_set"),
            ("queries: 1, c", "queries: null, c"),
            *WITHOUT_SETS,
        ],
    ),
    ("L22", "warning", "true}", "coreset releases its index_list", [("    - {attack: selected}\n", "")]),
    ("L23", "warning", "arms:", "no claim about them", [(RIGOROUS[RIGOROUS.index("claims:") :], "")]),
    (
        "L24",
        "warning",
        "Distilled sets are private",
        "'are private' reads as a guarantee",
        [("Distilled sets leak less than half of the private data.", "Distilled sets are private.")],
    ),
    (
        "L24",
        "warning",
        "Small sets guarantee",
        "'guarantee'",
        [("Do small sets protect the digits?", "Small sets guarantee privacy.")],
    ),
    (
        "L26",
        "error",
        "less:",
        "no data could decide it: 100 resamples give no p-value below 0.02",
        [
            ("  shadows: 16", "  shadows: 16\n  resamples: 100\n  confidence: 0.99"),
            ("right: {arm: dm}", "right: {arm: [dm, control, dp]}"),
        ],
    ),
    (
        "L25",
        "warning",
        "{attack: denoising}",
        "denoising reads the generator, and no arm has one",
        [("- {attack: selected}", "- {attack: denoising}")],
    ),
    ("L29", "warning", "8", "8 shadows are 4 independent pairs", [("shadows: 16", "shadows: 8")]),
]


@pytest.mark.parametrize(
    ("code", "severity", "at", "said", "changes"), CASES, ids=[f"{case[0]}-{place}" for place, case in enumerate(CASES)]
)
def test_a_lint_fires_at_the_location_of_what_is_wrong(
    tmp_path: Path, code: str, severity: str, at: str, said: str, changes: list[tuple[str, str]]
) -> None:
    told = findings(tmp_path, *changes)
    here = [message for found, how, text, message in told if (found, how) == (code, severity) and text.startswith(at)]
    assert any(said in message for message in here), told


@pytest.mark.parametrize(("shadows", "membership"), [(10, "pairs"), (8, "balanced")])
def test_five_independent_models_are_enough_for_l29(tmp_path: Path, shadows: int, membership: str) -> None:
    told = findings(tmp_path, ("shadows: 16", f"shadows: {shadows}"), ("membership: pairs", f"membership: {membership}"))
    assert "L29" not in {code for code, *_ in told}


def test_every_lint_either_is_looked_for_or_says_why_it_cannot_happen() -> None:
    assert set(LINTS) == set(get_args(LintCode))
    for lint_ in LINTS.values():
        assert lint_.before or lint_.after or lint_.built_in, lint_.code
        assert (lint_.before is None) or any(case[0] == lint_.code for case in CASES), f"{lint_.code} is tested nowhere"
        assert lint_.because in "\n".join(explain(lint_.code))


def test_an_error_refuses_until_it_is_silenced_with_a_reason_that_stays_with_the_plan(tmp_path: Path) -> None:
    spec = tmp_path / "study.yaml"
    text = RIGOROUS.replace("  undefended: {paradigm: undefended}\n", "")
    spec.write_text(text)
    with pytest.raises(SpecError, match=r"study\.yaml:21:1: no undefended arm.*or silence it: allow: \{L10: \"why\"\} \[L10\]"):
        compile_study(spec)
    spec.write_text(text + "allow: {L10: another study has it}\n")
    (finding,) = compile_study(spec).lints
    assert (finding.code, finding.silenced) == ("L10", "another study has it")


@pytest.mark.parametrize(
    ("allow", "said"),
    [
        ("{L77: why not}", "2:9: `allow` names 'L77'; did you mean 'L27'?"),
        ("{L07: no}", "2:14: a silenced lint needs a reason in words"),
        ("{L07: 3}", "2:14: `L07` is 3"),
        ("[L07]", "2:8: `allow` is a list"),
    ],
)
def test_silencing_is_typed(tmp_path: Path, allow: str, said: str) -> None:
    spec = tmp_path / "study.yaml"
    spec.write_text(RIGOROUS.replace("question: Do small sets protect the digits?", f"allow: {allow}"))
    with pytest.raises(SpecError) as caught:
        compile_study(spec)
    assert said in str(caught.value)


def test_a_profile_can_take_a_silenced_lint_away(tmp_path: Path) -> None:
    spec = tmp_path / "study.yaml"
    spec.write_text(
        RIGOROUS.replace("  undefended: {paradigm: undefended}\n", "") + "allow: {L10: another study has it}\n"
        "profiles: {paper: {allow: {L10: null}}}\n"
    )
    assert compile_study(spec)
    with pytest.raises(SpecError, match="L10"):
        compile_study(spec, "paper")


# After the run


def results(*, margin: float = 0.02, earlier: Any = (), **accuracies: float | None) -> RunResults:
    header = Header(study="s", accuracy_margin=margin)
    trials = tuple(
        Measured(
            f"{name}#0",
            "dp_sgd" if name.startswith("dp") else "coreset" if name != "undefended" else name,
            value,
            8.0 if name.startswith("dp") else None,
            0.1,
            0.05,
            None,
        )
        for name, value in accuracies.items()
    )
    return RunResults(header, trials, {"attack": "lira", "fpr": 0.01}, tuple(earlier))


def after(found: RunResults) -> dict[str, str]:
    return {finding.code: finding.message for finding in lint_results(found)}


def test_an_arm_that_learned_next_to_nothing_is_named_and_a_control_may() -> None:
    idle = Measured("diffusion#0", "diffusion", 0.164, None, 0.01, 0.0, None, learned=False, chance=0.167)
    found = after(RunResults(Header(study="s"), (idle,), {}, ()))
    assert "diffusion#0 learned next to nothing: accuracy 16.4%, by guessing 16.7%" in found["L28"]
    for other in (replace(idle, control=True), replace(idle, learned=None), replace(idle, learned=True)):
        assert "L28" not in after(RunResults(Header(study="s"), (other,), {}, ()))


def test_dp_sgd_that_is_as_accurate_is_a_baseline_and_one_that_is_not_is_none() -> None:
    assert after(results(dp=0.9, coreset=0.91, undefended=0.99)) == {}
    told = after(results(dp=0.8, dp_loud=0.88, coreset=0.91, other=0.89, undefended=0.99))
    assert "as coreset#0; the best, dp_loud#0, reaches 88.0%" in told["L01"]
    assert "no DP-SGD arm has an epsilon above 8, and the most accurate, dp_loud#0, lies 3.0 points below" in told["L02"]
    assert after(results(margin=0.2, dp=0.8, coreset=0.91)) == {}


def test_a_loud_dp_sgd_is_no_straw_man() -> None:
    found = results(dp=0.8, coreset=0.91)
    loud = replace(found, trials=tuple(replace(trial, epsilon=None) for trial in found.trials))
    assert after(loud).keys() == {"L01"}


def test_a_baseline_without_a_result_is_not_judged() -> None:
    assert "cannot be judged: dp#0" in after(results(dp=None, coreset=0.91))["L01"]


def test_a_headline_that_was_changed_after_results_were_there_is_told() -> None:
    same, other = ("run 1", {"attack": "lira", "fpr": 0.01}), ("run 2", {"attack": "rmia", "fpr": 0.01})
    assert after(results(earlier=[same])) == {}
    assert "run 2 had its results: attack rmia → lira" in after(results(earlier=[same, other]))["L16"]


def test_a_headline_without_an_interval_is_told() -> None:
    found = results(dp=0.9, coreset=0.91)
    bare = replace(found, trials=tuple(replace(trial, leakage_low=None, leakage_note="not resolvable") for trial in found.trials))
    assert "dp#0, coreset#0 (not resolvable)" in after(bare)["L23"]
    assert "L23" not in after(replace(bare, trials=tuple(replace(trial, control=True) for trial in bare.trials)))


def test_lints_of_spec_and_results_are_rows_with_their_reasons_and_survive_a_rebuild(tiny: Done, tmp_path: Path) -> None:
    query = "SELECT code, seen_in, severity, silenced, place, because FROM lint ORDER BY ALL"
    rows = tiny.rows(query)
    told = {(code, seen): (severity, silenced) for code, seen, severity, silenced, *_ in rows}
    assert told[("L01", "spec")] == ("error", "a test of the road")
    assert told[("L17", "spec")] == ("warning", None)
    assert all(because == LINTS[code].because for code, *_, because in rows)
    assert all(re.fullmatch(r"study\.yaml:\d+:\d+", place) for *_, place, _ in rows if place), "as typed it was an absolute path"
    assert main(["db", "rebuild", "--store", str(tiny.store), "--db", str(tmp_path / "results.duckdb")]) == 0
    assert Done(tmp_path, tiny.spec).rows(query) == rows


def test_a_run_tells_what_it_was_warned_of_and_a_later_headline_is_seen_in_the_results(
    tiny: Done, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny.folder, tmp_path, dirs_exist_ok=True)
    run_study(tmp_path)
    assert re.search(r"warning: \S+study\.yaml:\d+:\d+: 20 redraws .* \[L17\]", capsys.readouterr().err)
    attack = "attack: {}, signal: logit, variant: {}, queries: 1, canaries"
    done = run_study(tmp_path, TINY.replace(attack.format("lira", "pooled"), attack.format("threshold", "null")))
    assert "the headline was another one when the run" in capsys.readouterr().err
    rows = done.rows("SELECT message FROM lint WHERE code = 'L16' AND seen_in = 'results'")
    assert "attack lira → threshold" in rows[0][0]


def test_checking_explains_a_lint_and_where_it_speaks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--explain", "l05"]) == 0
    assert LINTS["L05"].because in capsys.readouterr().out
    silent = tmp_path / "silent.yaml"
    silent.write_text(RIGOROUS.replace("  undefended: {paradigm: undefended}\n", "") + "allow: {L10: no scale is needed here}\n")
    assert main(["check", str(silent), "--explain", "L10"]) == 0
    out = capsys.readouterr().out
    assert "silent.yaml:" in out
    assert "silenced: " in out
    assert main(["check", "--explain", "L99"]) == 2
    assert "no lint is called 'L99'" in capsys.readouterr().err
    assert main(["check"]) == 2
    refused = tmp_path / "study.yaml"
    refused.write_text(RIGOROUS.replace("  undefended: {paradigm: undefended}\n", ""))
    assert main(["check", str(refused)]) == 2
    assert main(["check", str(refused), "--explain", "L10"]) == 0


def test_the_flagship_silences_no_lint_under_any_profile() -> None:
    for profile in (None, "complete", "fashion_mnist", "cifar10"):
        plan = compile_study(ROOT / "specs/full_study.yaml", profile)
        assert plan.header.allow == {}
        # The base of two arms, and sets that begin from public images, saw the images that the ood canaries are drawn from.
        assert {(finding.code, finding.severity) for finding in plan.lints} <= {("L12", "warning")}


@pytest.mark.parametrize("spec", ["specs/smoke.yaml"])
def test_the_studies_that_we_ship_pass_their_own_lints(spec: str) -> None:
    assert [finding for finding in compile_study(ROOT / spec).lints if finding.silenced is None] == []


def test_the_starter_passes_its_own_lints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "mine"]) == 0
    assert compile_study(Path("mine.yaml")).lints == ()


def test_a_finding_reads_like_a_complaint() -> None:
    assert str(Finding("L05", "warning", None, "too few", "use more")) == "results: too few; use more [L05]"
