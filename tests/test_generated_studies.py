"""No shadow fails where `check` says that there are no mistakes: a sample of `benchmarks/generated_studies.py`, each seed again."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT


def load() -> Any:
    """The benchmark by its path: installed packages may be called `benchmarks`, too."""
    spec = importlib.util.spec_from_file_location("generated_studies", ROOT / "benchmarks" / "generated_studies.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.long
@pytest.mark.parametrize("seed", [20, 82, 6265, *range(31, 62)])  # the first three failed once
def test_a_study_without_mistakes_has_a_shadow_that_runs(tmp_path: Path, seed: int) -> None:
    what, why = load().judge(seed, tmp_path)
    assert what in ("done", "diverged", "refused"), why
