"""What a plan says of itself: counts, who shares what, how long it would take, and any stage as JSON."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from compiler.compile import compile_study
from compiler.inspect.cost.estimate import Past, estimate, pace_of
from compiler.inspect.json_help import JSON_SHAPE
from compiler.inspect.summary import duration
from compiler.language import cost
from compiler.language.classifier import Recipe
from compiler.language.datasets import CARDS, used_at
from compiler.plan.dag import Plan, upward_rank
from runtime import machine
from runtime.cli.main import main
from runtime.database.history import history
from tests.conftest import ROOT, TINY, Done

TEACHER = ROOT / "tests/studies/teacher.yaml"


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "study.yaml").write_text(TINY)
    return compile_study(tmp_path / "study.yaml")


def said(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main([*words]) == 0
    return json.loads(capsys.readouterr().out)


# The summary


def test_the_json_has_the_documented_shape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = said(capsys, "plan", str(TEACHER), "--json", "--db", str(tmp_path / "results.duckdb"))
    assert list(found) == ["study", "profile", "question", "trials", "claims", "tasks", "estimate", "headlines"]
    assert list(found["tasks"]) == ["total", "done", "to_run", "shared", "by_kind", "by_arm"]
    of_arm = ["trials", "total", "done", "to_run", "shared", "core_seconds", "peak_vram_mb"]
    assert list(found["tasks"]["by_arm"]["student"]) == of_arm
    assert set(found["estimate"]) == {
        "basis",
        "from_history",
        "workers",
        "seconds",
        "core_seconds",
        "peak_memory_mb",
        "peak_vram_mb",
        "disk_mb",
        "critical_path",
    }
    assert list(found["headlines"][0]) == ["arms", "canaries", "fpr", "non_members", "false_positives", "verdict"]
    for name in (*found, *found["tasks"], *found["estimate"], *found["headlines"][0]):
        assert f'"{name}":' in JSON_SHAPE


def test_counts_are_those_of_the_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = compile_study(TEACHER)
    found = said(capsys, "plan", str(TEACHER), "--json", "--db", str(tmp_path / "results.duckdb"))
    assert found["trials"] == len(plan.trials)
    assert found["tasks"]["total"] == found["tasks"]["to_run"] == len(plan.tasks)
    assert found["tasks"]["by_kind"] == dict(plan.counts())
    assert found["tasks"]["shared"] == 32  # 16 teachers, and the answers of each about the canaries
    arms = found["tasks"]["by_arm"]
    assert {arm: figures["shared"] for arm, figures in arms.items()} == {"undefended": 32, "student": 32, "recovered": 16}


def test_of_a_finished_study_nothing_is_to_run(tiny: Done, capsys: pytest.CaptureFixture[str]) -> None:
    found = said(capsys, "plan", str(tiny.spec), "--json", "--db", str(tiny.db))
    assert found["tasks"]["done"] == found["tasks"]["total"] > 0
    assert found["tasks"]["to_run"] == 0
    assert found["estimate"]["basis"] == "nothing to run"
    assert main(["plan", str(tiny.spec), "--db", str(tiny.db)]) == 0
    assert "nothing to run: every answer is in the store" in capsys.readouterr().out


def test_a_plan_in_words_says_what_runs_for_whom_how_long_and_what_it_could_show(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(TEACHER), "--db", str(tmp_path / "results.duckdb"), "--workers", "4"]) == 0
    out = capsys.readouterr().out
    assert "148 tasks (32 serve several trials)" in out
    for words in ("student", "on 4 workers", "guessed", "longest chain", "memory and disk", "GPU memory", "FPR"):
        assert words in out


# The estimate


def test_history_is_asked_where_there_is_one(tiny: Done, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--db", str(tiny.db), "--json")
    known = said(capsys, "plan", str(tiny.spec), *options, "--set", "seed=7")["estimate"]
    assert known["basis"] == "history"
    plan = compile_study(tiny.spec)
    took = [seconds for (seconds,) in tiny.rows("SELECT seconds FROM task WHERE operation = 'AttackTrial'")]
    past = history(tiny.db, tiny.store, plan.tasks.values())
    expected = estimate(plan.tasks, past, 1).seconds_of(planned.answer for planned in plan.trials)
    assert expected == pytest.approx(len(took) * median(took))
    assert past["AttackTrial"].tasks == len(took)
    more = "arms.other={paradigm: coreset, method: aum, fraction: 0.3}"
    assert said(capsys, "plan", str(tiny.spec), *options, "--set", "seed=7", "--set", more)["estimate"]["basis"] == "both"


def test_what_was_never_run_is_expected_at_the_pace_of_what_was(plan: Plan) -> None:
    guessed = estimate(plan.tasks, {}, 1).costs
    past = {"TrainClassifier": Past(10, 3.0, 1.0, 700.0, guessed=2.0), "AttackTrial": Past(10, 1.0, 1.0, 700.0, guessed=6.0)}
    pace = pace_of(past)
    assert pace == pytest.approx(1.5)
    for id, expected in estimate(plan.tasks, past, 1, pace).costs.items():
        ratio = past[of].seconds if (of := plan.tasks[id].operation) in past else pace
        assert expected.seconds == pytest.approx(ratio * guessed[id].seconds)


def test_the_first_plan_of_a_store_is_expected_at_the_pace_of_the_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 0.1 < machine.pace() < 10
    took = []
    for pace in (1.0, 0.5):
        monkeypatch.setattr(machine, "pace", lambda pace=pace: pace)
        took.append(
            said(capsys, "plan", str(TEACHER), "--json", "--db", str(tmp_path / "results.duckdb"))["estimate"]["core_seconds"]
        )
    assert took[1] == pytest.approx(took[0] / 2, rel=0.01)


def test_a_longer_training_is_expected_to_take_longer_in_the_same_ratio(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(TINY)
    past = {"TrainClassifier": Past(10, 3.0, 1.0, 700.0)}
    short, long = (compile_study(tmp_path / "study.yaml", sets=[f"classifier.epochs={epochs}"]) for epochs in (500, 5000))
    took = [
        estimate(of.tasks, past, 1).seconds_of(id for id, task in of.tasks.items() if task.operation == "TrainClassifier")
        for of in (short, long)
    ]
    assert took[1] == pytest.approx(10 * took[0], rel=0.1)


def test_one_worker_takes_the_sum_and_many_the_longest_chain(plan: Plan) -> None:
    alone, many = (estimate(plan.tasks, {}, workers) for workers in (1, 10_000))
    assert alone.seconds == pytest.approx(alone.core_seconds)
    assert many.seconds == pytest.approx(many.critical_seconds)
    few = estimate(plan.tasks, {}, 3)
    assert max(few.critical_seconds, few.core_seconds / 3) <= few.seconds <= few.core_seconds / 3 + few.critical_seconds


def test_the_longest_chain_is_a_way_through_the_plan(plan: Plan) -> None:
    found = estimate(plan.tasks, {}, 2)
    for before, after in pairwise(found.critical):
        assert before.id in {need for _, need in after.needs}
    rank = upward_rank(plan.tasks, lambda task: found.costs[task.id].seconds)
    assert found.critical_seconds == pytest.approx(max(rank.values()))


def test_every_task_of_a_plan_is_expected_to_take_something() -> None:
    complete = compile_study(ROOT / "specs/full_study.yaml", "complete")
    found = estimate(complete.tasks, {}, 2)
    assert min(expected.seconds for expected in found.costs.values()) > 0
    assert found.core_seconds > 60


def test_on_fashion_mnist_hours_are_expected_and_not_days() -> None:
    plan = compile_study(ROOT / "specs/full_study.yaml", "fashion_mnist")
    assert 3 < estimate(plan.tasks, {}, 2).core_seconds / 3600 < 24


def test_measured_gpu_memory_wins_over_the_guess(plan: Plan) -> None:
    guessed, known = (
        estimate(plan.tasks, {"TrainClassifier": Past(10, 1.0, 1.0, 700.0, gpu)}, 1).vram_of(
            id for id, task in plan.tasks.items() if task.operation == "TrainClassifier"
        )
        for gpu in (None, 0.5)
    )
    assert known == pytest.approx(guessed / 2)


def test_what_a_gpu_would_hold_is_said_of_what_runs_there_and_grows_with_the_batch() -> None:
    full = ROOT / "specs/full_study.yaml"
    small, large = (compile_study(full, sets=[f"classifier.batch_size={size}"]) for size in (64, 1024))
    costs = [estimate(plan.tasks, {}, 2).costs for plan in (small, large)]
    for plan, of in zip((small, large), costs, strict=True):
        assert {task.kind for task in plan.tasks.values() if of[task.id].vram_mb} == {"train", "synthesize", "query"}
    first, second = (
        of[planned.stages[0].task].vram_mb
        for plan, of in zip((small, large), costs, strict=True)
        for planned in plan.trials
        if planned.trial.arm_name == "undefended"
    )
    assert second - first == pytest.approx((1024 - 64) * 14.5 * 64 * 32 / 1e6)


@pytest.mark.parametrize(("net", "shape", "near"), [
    ("small", (1, 8, 8), 0.02), ("small", (1, 28, 28), 0.02), ("convnet", (1, 28, 28), 0.15), ("mlp", (1, 8, 8), 0.13),
    ("resnet18", (3, 32, 32), 0.1), ("wrn", (3, 32, 32), 0.1),
])  # fmt: skip
def test_counted_work_is_what_torch_counts(net: str, shape: tuple[int, int, int], near: float) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from runtime.training.nets import skeleton

    recipe = Recipe(net=net, width=16, norm="none" if net == "mlp" else "batch")  # type: ignore[arg-type]
    model = skeleton(recipe, used_at(CARDS["digits"], shape)).eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, *shape, device="meta"))
    assert cost.classifier(net, 16, shape).flops == pytest.approx(counter.get_total_flops(), rel=near)


@pytest.mark.parametrize(("net", "width"), [("small", 32), ("convnet", 64), ("resnet9", 32), ("resnet18", 16), ("wrn", 32)])
def test_what_a_backward_pass_keeps_is_what_autograd_keeps(net: str, width: int) -> None:
    import torch

    from compiler.language.classifier import Recipe
    from compiler.language.datasets import CARDS
    from runtime.training.nets import build

    model = build(Recipe.model_validate({"net": net, "width": width}), CARDS["cifar10"], torch.Generator().manual_seed(0)).train()
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        held.append(tensor)  # else its memory, and with it its address, would be given away again
        return tensor

    held: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.rand(4, 3, 32, 32)).sum()
    assert sum(kept.values()) / 4 == pytest.approx(cost.CONVOLUTIONS[net].kept * 32 * 32 * width, rel=0.2)
    assert sum(weight.numel() for weight in model.parameters()) == pytest.approx(cost.CONVOLUTIONS[net].weights * width**2, rel=0.2)


def test_what_a_gpu_would_hold_rests_on_the_sizes_that_the_runtime_takes_at_once() -> None:
    from runtime.training import dp_sgd, scoring

    assert scoring.IMAGES_SCORED_AT_ONCE == dp_sgd.MAX_IMAGES_AT_ONCE == cost.TOGETHER
    assert dp_sgd.MAX_GRADIENT_NUMBERS_AT_ONCE == cost.GRADIENTS


def test_durations_are_said_as_people_say_them() -> None:
    said = [duration(seconds) for seconds in (0.2, 40, 719, 5400, 11_100, 1_000_000)]
    assert said == ["under 1 s", "40 s", "12 min", "1 h 30 min", "3 h 5 min", "12 days"]


# Stages


def test_every_stage_is_json_and_each_knows_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    spec = str(ROOT / "tests/studies/profile.yaml")
    nodes, tree, trials, tasks = (
        said(capsys, "plan", spec, "--profile", "wide", "--emit", stage) for stage in ("nodes", "tree", "trials", "tasks")
    )
    assert nodes["value"]["extends"] == {"at": f"{spec}:4:10", "value": "quiet.yaml"}
    assert tree["classifier"]["width"] == 64
    assert trials[0]["point"]["classifier"]["width"] == 64
    assert trials[0]["point"]["classifier"]["momentum"] == 0.9  # a default
    ids = {task["id"] for task in tasks}
    assert {stage["task"] for trial in trials for stage in trial["stages"]} | {trial["answer"] for trial in trials} == ids
    assert all(set(task["needs"].values()) <= ids for task in tasks)
