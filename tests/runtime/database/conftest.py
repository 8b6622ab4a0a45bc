"""A study with arms that learned and arms that did not, run once for the files of this folder. Read it; do not change it."""

from __future__ import annotations

import pytest

from tests.conftest import TINY, Done, run_study

ARMS = """\
  private:
    paradigm: dp_sgd
    privacy: {noise_multiplier: 0.05}
    classifier: {norm: group, lr: 1.0, momentum: 0.0}
  noise:
    paradigm: diffusion
    method: conditional
    denoiser: {net: mlp, width: 16, blocks: 1, epochs: 1, timesteps: 100}
    steps: 4
  untuned:
    paradigm: diffusion
    method: conditional
    control: true
    denoiser: {net: mlp, width: 16, blocks: 1, timesteps: 100, finetune: none, base: {pretrain: public, epochs: 1}}
    steps: 4
claims:
  c: {text: Less training leaks less., test: difference, pairs: any, left: {arm: undefended}, right: {arm: coreset}}
"""
"""DP-SGD, an arm of a few steps, which draws noise, and a control, which may."""


@pytest.fixture(scope="session")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Done:
    text = TINY.replace("study: tiny", "study: idle").replace("audit:\n", "public: {name: shapes}\naudit:\n", 1)
    text = text.replace("{grid: [random, forgetting]}", "random").replace("allow: {", "allow: {L04: nothing is concluded, ")
    return run_study(tmp_path_factory.mktemp("idle"), text + ARMS)
