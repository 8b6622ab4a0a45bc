"""Each bad study in `studies/bad` beside the exact complaint: location, value, and what would do.

A comment in a study's first line may give `--profile NAME` or `--set PATH=VALUE`. To accept new wording after reading it:
`python -m tests.compiler.check.test_bad_studies`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.compile import compile_study
from compiler.errors import SpecError
from tests.conftest import ROOT

FOLDER = ROOT / "tests" / "studies" / "bad"
STUDIES = sorted(FOLDER.glob("*.yaml"))


def complaint(spec: Path) -> str:
    """What the compiler says, paths relative to the folder of the bad studies."""
    profile, sets = None, []
    match spec.read_bytes().split(b"\n")[0].decode(errors="replace").split():
        case ["#", "--profile", name]:
            profile = name
        case ["#", "--set", assignment]:
            sets = [assignment]
    try:
        compile_study(spec, profile, sets)
    except SpecError as error:
        return str(error).replace(f"{FOLDER}/", "") + "\n"
    return "no complaint\n"


@pytest.mark.parametrize("spec", STUDIES, ids=lambda path: path.stem)
def test_a_bad_study_raises_exactly_its_complaint(spec: Path) -> None:
    assert complaint(spec) == spec.with_suffix(".txt").read_text()


@pytest.mark.parametrize("spec", STUDIES, ids=lambda path: path.stem)
def test_each_complaint_has_a_location(spec: Path) -> None:
    lines = spec.with_suffix(".txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith(("--set ", "../", spec.stem))] == []


if __name__ == "__main__":
    for study in STUDIES:
        study.with_suffix(".txt").write_text(complaint(study))
