"""The promises of the design, one sentence each."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from compiler.compile import compile_study
from compiler.plan.dag import Plan
from tests.conftest import ROOT, TINY, Done, run_study, wait_until


def plan_of(folder: Path, text: str = TINY, *sets: str) -> Plan:
    spec = folder / "study.yaml"
    spec.write_text(text)
    return compile_study(spec, sets=sets)


def synthc(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runtime.cli", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


# 1. Identity is not execution


def test_ids_do_not_depend_on_the_process_that_makes_them(tmp_path: Path) -> None:
    here = list(plan_of(tmp_path).tasks)
    script = (
        "import sys; from pathlib import Path; from compiler.compile import compile_study\n"
        "print(*compile_study(Path(sys.argv[1])).tasks)"
    )
    for seed in ("0", "1"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "CUDA_VISIBLE_DEVICES": seed, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", script, str(tmp_path / "study.yaml")]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.split() == here


def test_the_name_of_an_arm_a_study_or_a_folder_is_in_no_id(tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    renamed = TINY.replace("study: tiny", "study: other").replace("undefended: {", "plain: {")
    assert list(plan_of(tmp_path).tasks) == list(plan_of(other, renamed).tasks)


@pytest.mark.parametrize(
    "change",
    ["seed=1", "classifier.lr=0.05", "audit.canaries.mislabeled.count=25", "classifier.precision=bfloat16", "data.test=300"],
)
def test_every_parameter_that_changes_numbers_changes_every_id(tmp_path: Path, change: str) -> None:
    assert not set(plan_of(tmp_path).tasks) & set(plan_of(tmp_path, TINY, change).tasks)


# 2. Equal work is done once


def test_a_proxy_serves_every_fraction_and_is_one_task(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, TINY.replace("fraction: 0.3", "fraction: {grid: [0.1, 0.3, 0.5]}"))
    proxies = [task for task in plan.tasks.values() if getattr(task.work, "purpose", "") == "proxy"]
    assert len(proxies) == 8  # one a shadow, for three fractions


def test_a_second_run_computes_nothing_and_starts_no_ray(copy: Done) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.store.rglob("outcome.json")}
    script = (
        "import sys; from runtime.cli.main import main\n"
        f"code = main(['run', {str(copy.spec)!r}, '--db', {str(copy.db)!r}])\n"
        "sys.exit(f'loaded {heavy}' if (heavy := {'ray', 'torch'} & set(sys.modules)) else code)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "everything was done before" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in copy.store.rglob("outcome.json")} == before


def test_more_shadows_extend_a_pool_and_never_redraw_it(tmp_path: Path) -> None:
    small, large = plan_of(tmp_path), plan_of(tmp_path, TINY, "audit.shadows=12")
    pipeline = {id for id, task in small.tasks.items() if task.kind != "attack"}
    assert pipeline <= set(large.tasks)


# 3. Membership flows through the whole pipeline


def test_no_stage_of_the_pipeline_is_shared_between_shadows(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    for task in plan.tasks.values():
        if task.kind in ("train", "synthesize"):
            shadows = {task.work.private.shadow} | _shadows_behind(plan, task.id)  # type: ignore[union-attr]
            assert len(shadows) == 1


def _shadows_behind(plan: Plan, id: str) -> set[int]:
    needs = [need for _, need in plan.tasks[id].needs]
    return {plan.tasks[need].work.private.shadow for need in needs}.union(*(_shadows_behind(plan, need) for need in needs))  # type: ignore[union-attr]


def test_shadows_with_different_members_leave_different_artifacts_at_every_stage(tiny: Done) -> None:
    digests: dict[str, list[str]] = {}
    for record in _latest_run(tiny)["trials"]:
        for task, _, stage in record["stages"]:
            outcome = json.loads((tiny.store / task[:2] / task / "outcome.json").read_text())
            digests.setdefault(f"{record['trial']} {stage}", []).append(json.dumps(outcome["files"], sort_keys=True))
    assert digests
    assert {stage: len(set(found)) for stage, found in digests.items()} == dict.fromkeys(digests, 8)


def _latest_run(done: Done) -> dict:
    return json.loads(max((done.store / "runs").glob("*/run.json")).read_text())


UNTUNED = """\
  untuned:
    paradigm: diffusion
    method: conditional
    control: true
    released: true
    denoiser: {net: mlp, width: 16, blocks: 1, timesteps: 100, finetune: none, base: {pretrain: public, epochs: 1}}
    steps: 4
"""


@pytest.mark.long
def test_of_an_untuned_base_every_set_classifier_and_answer_is_the_same_when_membership_is_redrawn(tmp_path: Path) -> None:
    text = TINY[: TINY.index("  coreset:")].replace("audit:\n", "public: {name: shapes}\naudit:\n", 1) + UNTUNED
    text = text.replace("  fpr:", "    - {attack: denoising}\n    - {attack: nearest, space: pixel}\n  fpr:")
    stages: list[dict[tuple[str, int, str], object]] = []
    for design in ("pairs", "bernoulli"):
        (tmp_path / design).mkdir()
        done = run_study(tmp_path / design, text, "--set", f"audit.membership={design}")
        stages.append({})
        for record in _latest_run(done)["trials"]:
            for task, shadow, stage in record["stages"]:
                outcome = json.loads((done.store / task[:2] / task / "outcome.json").read_text())
                stages[-1][record["arm"], shadow, stage] = outcome["files"]
    one, other = stages
    assert one.keys() == other.keys()
    stages_of_control = {stage for arm, _, stage in one if arm == "untuned"}
    assert stages_of_control >= {"synthesize", "model", "final_model", "generator", "synthetic_set"}
    equal = {where for where in one if one[where] == other[where]}
    assert equal == {where for where in one if where[0] == "untuned"}


# 4. Arms are paired


def test_arms_of_a_study_share_their_private_sets(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    by_shadow: dict[int, set[object]] = {}
    for task in plan.tasks.values():
        if task.kind == "train":
            by_shadow.setdefault(task.work.private.shadow, set()).add(task.work.private)  # type: ignore[union-attr]
    assert {shadow: len(found) for shadow, found in by_shadow.items()} == dict.fromkeys(range(8), 1)


def test_a_replicate_redraws_orientation_and_never_canaries(tmp_path: Path) -> None:
    from runtime.data.population.membership import membership
    from runtime.data.population.roles import roles_of

    private = next(task.work.private for task in plan_of(tmp_path).tasks.values() if task.kind == "train")  # type: ignore[union-attr]
    first = membership(private.population, "pairs", 0, 8)
    second = membership(private.population, "pairs", 1, 8)
    assert (first != second).any()
    assert len(first) == sum(len(group.labels) for group in roles_of(private.population).groups)
    np.testing.assert_array_equal(first[:, 0::2], ~first[:, 1::2])


# 5. A method never learns which points are canaries


def test_a_method_is_given_images_and_labels_and_nothing_that_names_a_canary() -> None:
    from runtime.data.images import LabeledImages
    from runtime.synthesize.operation import synthesize
    from runtime.synthesize.release import Setting

    assert set(LabeledImages.__dataclass_fields__) == {"images", "labels"}
    assert not {"population", "canaries", "private", "shadow", "membership"} & set(Setting.__dataclass_fields__)
    assert list(inspect.signature(synthesize).parameters) == ["how", "private", "needs", "setting"]


# 6. The store is the truth


def test_a_rebuilt_database_has_the_same_rows(tiny: Done, tmp_path: Path) -> None:
    copy = Done(tmp_path, tiny.spec)
    shutil.copytree(tiny.store, copy.store)
    (copy.store / "index.duckdb").unlink()
    assert synthc("db", "rebuild", "--db", str(copy.db)).returncode == 0
    for view in ("comparison", "result", "roc", "canary_risk", "cost", "task"):
        assert copy.rows(f"FROM {view} ORDER BY ALL") == tiny.rows(f"FROM {view} ORDER BY ALL"), view


# 7 and 8. Failure is data; killing anything loses at most what is in flight


@pytest.mark.long
def test_a_killed_run_continues_and_ends_with_the_same_rows(tiny: Done, tmp_path: Path) -> None:
    copy = Done(tmp_path, tmp_path / "study.yaml")
    copy.spec.write_text(TINY)
    words = [sys.executable, "-m", "runtime.cli", "run", str(copy.spec), "--engine", "inline", "--db", str(copy.db)]
    driver = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(list(copy.store.glob("*/*/outcome.json"))) >= 5, driver)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    kept = {path: path.stat().st_mtime_ns for path in copy.store.glob("*/*/outcome.json")}
    assert 5 <= len(kept) < len(plan_of(tmp_path).tasks)
    run_study(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # nothing was computed twice
    numbers = (
        "SELECT trial, metric, canaries, attack, variant, release, value, low, high, n FROM result "
        "WHERE metric NOT LIKE '%second%' AND metric NOT LIKE '%memory%' ORDER BY ALL"
    )
    assert copy.rows(numbers) == tiny.rows(numbers)


# 9. Readers and runs do not disturb each other: tests/runtime/database/test_publish.py
# 10. Every error a user can make is placed: tests/studies/bad


def test_a_bad_spec_gives_places_and_no_traceback(tmp_path: Path) -> None:
    spec = tmp_path / "bad.yaml"
    spec.write_text(TINY.replace("fraction: 0.3", "fraktion: 0.3").replace("shadows: 8", "shadows: 9"))
    done = synthc("run", str(spec), "--db", str(tmp_path / "results.duckdb"))
    assert done.returncode == 2
    line = 1 + TINY[: TINY.index("fraction: 0.3")].count("\n")
    assert f"bad.yaml:{line}:5" in done.stderr
    assert "did you mean 'fraction'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / ".synthc").exists()


# 11. No number without its uncertainty and n


def test_every_attack_figure_has_n_and_an_interval_or_says_why_not(tiny: Done) -> None:
    bare = tiny.rows(
        "SELECT trial, metric, attack FROM result WHERE metric LIKE 'tpr@%' AND (n IS NULL "
        "OR (value IS NOT NULL AND (low IS NULL OR high IS NULL)) OR (value IS NULL AND coalesce(note, '') = ''))"
    )
    assert bare == []
    unresolved = tiny.rows("SELECT DISTINCT value FROM result WHERE metric = 'tpr@fpr=0.001' AND canaries = 'mislabeled'")
    assert unresolved == [(None,)]  # 96 non-member scores cannot show one false positive in a thousand


# 12. Null data gives null results


def test_every_attack_was_also_run_on_membership_that_no_model_knows(tiny: Done) -> None:
    attacked = tiny.rows("SELECT DISTINCT trial, attack, variant, canaries FROM result WHERE metric = 'auc' ORDER BY ALL")
    controlled = tiny.rows("SELECT DISTINCT trial, attack, variant, canaries FROM result WHERE metric = 'null_auc' ORDER BY ALL")
    assert attacked
    assert controlled == attacked
