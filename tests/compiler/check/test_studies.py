"""Each study in `studies` beside the plan it must give: trials, counts, what is shared, and the ids of some tasks.

A comment in a study's first lines may give `--profile NAME` or `--set PATH=VALUE`. To accept new plans after reading
what changed: `python -m tests.compiler.check.test_studies`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from compiler.check.claim_sides import select_compared
from compiler.compile import compile_study
from compiler.plan.dag import Plan
from tests.conftest import ROOT

FOLDER = ROOT / "tests" / "studies"
STUDIES = sorted(path for path in FOLDER.glob("*.yaml") if not path.name.startswith("broken_"))


def options(spec: Path) -> tuple[str | None, list[str]]:
    """The profile and the assignments that a study's first lines give."""
    profile, sets = None, []
    for line in spec.read_text().splitlines()[:3]:
        match line.split(maxsplit=2):
            case ["#", "--profile", name]:
                profile = name
            case ["#", "--set", assignment]:
                sets.append(assignment)
    return profile, sets


def outline(plan: Plan) -> str:
    """A plan on a page: what it would compute, for whom, and ids that tell whether anything about it changed."""
    users = Counter(task for planned in plan.trials for task in {stage.task for stage in planned.stages})
    kinds = ", ".join(f"{count} {kind}" for kind, count in plan.counts().items())
    name = plan.header.study + (f" ({plan.profile})" if plan.profile else "")
    lines = [f"{name}: {len(plan.trials)} trials, {len(plan.tasks)} tasks"]
    lines += [f"tasks: {kinds}", f"shared by several trials: {sum(count > 1 for count in users.values())}", "", "trials"]
    for planned in plan.trials:
        stages = ", ".join(f"{stage} ×{count}" for stage, count in Counter(stage.name for stage in planned.stages).items())
        lines.append(f"  {planned.answer}  {planned.trial.address}: {stages}")
    lines += ["", "first of each operation"]
    first: dict[str, str] = {}
    for task in plan.tasks.values():
        if first.setdefault(task.operation, task.id) == task.id:
            needs = ", ".join(dict.fromkeys(role.partition("/")[0] for role, _ in task.needs))
            lines.append(f"  {task.id}  {task.operation} at {task.address}" + (f", needs {needs}" if needs else ""))
    if plan.claims:
        lines += ["", "claims"]
        for claim in plan.claims:
            lines.append(f"  {claim.task}  {claim.name}: {', '.join(claim.left)} | {', '.join(claim.right)}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("spec", STUDIES, ids=lambda path: path.stem)
def test_a_study_gives_exactly_its_plan(spec: Path) -> None:
    assert outline(compile_study(spec, *options(spec))) == spec.with_suffix(".txt").read_text()


@pytest.mark.parametrize("spec", STUDIES, ids=lambda path: path.stem)
def test_in_a_plan_every_need_comes_before_its_users(spec: Path) -> None:
    seen: set[str] = set()
    for task in compile_study(spec, *options(spec)).tasks.values():
        assert {need for _, need in task.needs} <= seen
        seen.add(task.id)


if __name__ == "__main__":
    for study in STUDIES:
        study.with_suffix(".txt").write_text(outline(compile_study(study, *options(study))))


def test_a_control_is_no_side_of_a_claim_unless_its_arm_is_named() -> None:
    trials = [planned.trial for planned in compile_study(ROOT / "specs/full_study.yaml").trials]
    untuned = {index for index, trial in enumerate(trials) if trial.arm_name == "untuned"}
    diffusion = {index for index, trial in enumerate(trials) if trial.point.arm.paradigm == "diffusion"}
    assert set(select_compared({"paradigm": "diffusion"}, trials)) == diffusion - untuned
    assert set(select_compared({"arm": "untuned"}, trials)) == untuned
    assert set(select_compared({"control": True}, trials)) == untuned
