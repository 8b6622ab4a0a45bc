"""The positive control of the DP soundness check: DP-SGD as it should be passes, DP-SGD without its noise is caught."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from compiler.compile import compile_study
from compiler.language.classifier import Recipe
from compiler.language.methods.baselines import Privacy
from runtime.audit.attacks import signals
from runtime.audit.statistics import epsilon
from runtime.audit.statistics.one_run import one_run
from runtime.data.population.membership import membership_of
from runtime.data.population.roles import expected_size, private_set, roles_of
from runtime.seeds import Seeds, generator
from runtime.training.batches import Training
from runtime.training.dp_sgd import fit_privately, new_mechanism
from runtime.training.nets import build
from runtime.training.scoring import logits
from tests.conftest import TINY

CLAIMED = 1.0
RECIPE = Recipe(net="small", width=16, norm="group", epochs=60, batch_size=64, lr=2.0, momentum=0.0, weight_decay=0.0)


def ruled_out(folder: Path) -> float:
    """The one-run bound on a model that DP-SGD trained, by the plainest attack there is: one threshold on its logits."""
    (folder / "study.yaml").write_text(TINY.replace("count: 24", "count: 300"))
    private: Any = next(iter(compile_study(folder / "study.yaml").tasks.values())).work.private  # type: ignore[union-attr]
    card, data, expected = private.population.dataset.card, private_set(private).data, expected_size(private.population)
    net = build(RECIPE, card, generator(0, None, "soundness"))
    training = Training(
        images=data.images,
        labels=data.labels,
        recipe=RECIPE,
        iterations=int(RECIPE.epochs * expected / RECIPE.batch_size),
        card=card,
        seeds=Seeds(0, 0, 0),
        device=torch.device("cpu"),
        purpose="classifier",
    )
    fit_privately(net, training, new_mechanism(Privacy(epsilon=CLAIMED), RECIPE.batch_size, expected, training.iterations))
    group = roles_of(private.population).groups[0]
    said = signals.logit(logits(net, group.images, card, torch.device("cpu")).numpy(), group.labels.numpy())
    member = membership_of(private)[: len(group)]
    return one_run(epsilon.steinke, said, member, delta=1e-5, error=0.05).value


@pytest.mark.long
def test_dp_sgd_whose_noise_is_switched_off_is_caught_and_with_its_noise_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ruled_out(tmp_path) <= CLAIMED
    real = torch.randn
    with monkeypatch.context() as silent:
        silent.setattr(torch, "randn", lambda *size, **options: torch.zeros_like(real(*size, **options)))
        assert ruled_out(tmp_path) > 2 * CLAIMED  # 2.7 when written: 146 of 150 guesses were right
