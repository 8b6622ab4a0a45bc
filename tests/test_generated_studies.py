"""No shadow fails where `check` says that there are no mistakes: a sample of `benchmarks/generated_studies.py`, each seed again."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.generated_studies import judge


@pytest.mark.long
@pytest.mark.parametrize("seed", range(31, 62))
def test_a_study_without_mistakes_has_a_shadow_that_runs(tmp_path: Path, seed: int) -> None:
    what, why = judge(seed, tmp_path)
    assert what in ("done", "diverged", "refused"), why
