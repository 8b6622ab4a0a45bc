"""Signals of a denoiser: each beside a loop over single canaries, each larger where a canary was trained on."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any, get_args

import numpy as np
import pytest
import torch

from compiler.check.rules import SECMI_LEVELS
from compiler.inspect.cost.guess import PASSES
from compiler.language.attacks.base import DenoisingSignal
from compiler.language.attacks.denoising import Denoising
from compiler.language.methods.diffusion import Denoiser
from runtime.audit.attacks.denoising import scorer
from runtime.audit.query import generator as query
from runtime.audit.query.generator import Probe, measured
from runtime.data.formats import digits
from runtime.synthesize.diffusion import denoisers
from runtime.synthesize.diffusion import generate as diffusion
from runtime.synthesize.diffusion.bases import restored
from runtime.synthesize.diffusion.process import new_scheduler
from tests.runtime.audit.test_every_attack import membership, said
from tests.runtime.synthesize.test_diffusion import SETTING, Kept

HOW = Denoiser(width=96, blocks=2, epochs=300, batch_size=64)
SIGNALS = get_args(DenoisingSignal)


@pytest.fixture(scope="module")
def probe() -> Probe:
    """A denoiser that learned the first 40 of 80 digits by heart."""
    private = digits.read()[0][torch.arange(80)]
    seen = private[torch.arange(40)]
    kept: Any = Kept(dict(diffusion.train_generator(HOW, seen, replace(SETTING, expected_size=40)).files["generator"]))
    net = restored(HOW, kept, SETTING)
    return Probe(net, new_scheduler(HOW), net.encoded(private.images), private.labels, seed=3)


def naive(name: str, probe: Probe, i: int) -> list[float]:
    """The signal of one canary, written out with the library's kept shares alone."""
    net, z, y = probe.net, probe.signals[i : i + 1], probe.labels[i : i + 1]
    kept = probe.scheduler.alphas_cumprod

    def seen(x: torch.Tensor, t: int, label: torch.Tensor = y) -> torch.Tensor:
        return net(x, torch.tensor([t]), label)

    def error(t: int, n: torch.Tensor, label: torch.Tensor = y) -> float:
        return float((seen(kept[t].sqrt() * z + (1 - kept[t]).sqrt() * n, t, label) - n).square().mean())

    def ddim(x: torch.Tensor, t: int, to: int) -> torch.Tensor:
        e = seen(x, t)
        return kept[to].sqrt() * (x - (1 - kept[t]).sqrt() * e) / kept[t].sqrt() + (1 - kept[to]).sqrt() * e

    def noises(use: str, count: int) -> list[torch.Tensor]:
        return [noise[i : i + 1] for noise in islice(probe.noises(use), count)]

    def mean(t: int) -> float:
        return float(np.mean([error(t, n) for n in noises(f"denoising query/level {t}", 5)]))

    few = [int(50 + 250 * k / 31 + 1e-9) for k in range(32)]
    match name:
        case "mean_loss":
            return [-float(np.mean([error(t, n) for t, n in zip(few, noises("denoising query", 32), strict=True)]))]
        case "gap":
            pairs = list(zip(few, noises("denoising query", 32), strict=True))
            return [float(np.mean([error(t, n, torch.tensor([10])) - error(t, n) for t, n in pairs]))]
        case "loss":
            return [-mean(100)]
        case "vector":
            return [-mean(t) for t in range(0, 1000, 100)]
        case "pia":
            e = seen(z, 0)
            return [-float((seen(kept[200].sqrt() * z + (1 - kept[200]).sqrt() * e, 200) - e).double().pow(4).sum().log())]
        case "sima":
            return [-float(seen(z, 100).double().pow(4).sum().log())]
    x = z
    for t in range(0, 100, 10):
        x = ddim(x, t, t + 10)
    return [-float((ddim(ddim(x, 100, 110), 110, 100) - x).double().square().sum().log())]


@pytest.mark.parametrize("name", SIGNALS)
def test_each_signal_is_that_of_a_loop_over_single_canaries(name: str, probe: Probe) -> None:
    few = replace(probe, signals=probe.signals[35:45], labels=probe.labels[35:45])
    found = dict(measured(few, (name,)))
    with torch.no_grad():
        wanted = np.array([naive(name, few, i) for i in range(10)]).T
    np.testing.assert_allclose(np.stack([values.numpy() for values in found.values()]), wanted, rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("name", SIGNALS)
def test_each_signal_is_measured_of_the_fewest_noise_levels_that_a_study_may_have(name: str, probe: Probe) -> None:
    how = HOW.model_copy(update={"timesteps": SECMI_LEVELS if name == "secmi" else 2})
    for _, values in measured(replace(probe, scheduler=new_scheduler(how)), (name,)):
        assert values.isfinite().all()


@pytest.mark.parametrize("name", [name for name in SIGNALS if name != "secmi"])
def test_each_signal_is_larger_where_the_denoiser_was_trained(name: str, probe: Probe) -> None:
    """Without SecMI's: on small nets its direction depends on the level (docs/pretrained.md)."""
    values = torch.stack([values for _, values in measured(probe, (name,))]).mean(0)
    assert auc(values[:40], values[40:]) > 0.7


def auc(members: torch.Tensor, others: torch.Tensor) -> float:
    return (members[:, None] > others[None]).double().mean().item()


class Mixture(denoisers.Net):
    """The denoiser of least loss on normal distributions around the first 40 canaries, in closed form."""

    def __init__(self, signals: torch.Tensor, spread: float) -> None:
        super().__init__(tuple(signals.shape[1:]))
        self.known, self.spread = signals[:40].flatten(1).double(), spread
        self.kept = new_scheduler(HOW).alphas_cumprod.double()

    def forward(self, x: torch.Tensor, level: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        kept, flat = self.kept[level][:, None], x.flatten(1).double()
        variance = kept * self.spread**2 + 1 - kept
        weights = (-torch.cdist(flat, kept[:1].sqrt() * self.known).square() / (2 * variance)).softmax(1)
        return ((1 - kept).sqrt() * (flat - kept.sqrt() * weights @ self.known) / variance).float().reshape(x.shape)


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.4])
def test_secmi_tells_who_is_in_a_denoiser_that_is_known_to_hold_its_members(spread: float, probe: Probe) -> None:
    (values,) = (values for _, values in measured(replace(probe, net=Mixture(probe.signals, spread)), ("secmi",)))
    assert auc(values[:40], values[40:]) > 0.99


def test_secmi_is_how_much_the_predicted_noise_changes_over_one_step(probe: Probe) -> None:
    """Docs/pretrained.md says so, and why small nets hide it at the published level."""
    kept = probe.scheduler.alphas_cumprod.double()
    x = probe.signals
    noises = []
    with torch.inference_mode():
        for level in range(0, 120, 10):
            noises.append(probe.predicted(x, level))
            clean = (x - (1 - kept[level]).sqrt() * noises[-1]) / kept[level].sqrt()
            x = (kept[level + 10].sqrt() * clean + (1 - kept[level + 10]).sqrt() * noises[-1]).float()
    change = (noises[11] - noises[10]).double().flatten(1).norm(dim=1)
    factor = (kept[100] * (1 / kept[110] - 1)).sqrt() - (1 - kept[100]).sqrt()
    ((_, found),) = measured(probe, ("secmi",))
    torch.testing.assert_close(found, -2 * (factor * change).log(), rtol=0, atol=0.02)


def test_noises_are_the_same_for_every_denoiser(probe: Probe) -> None:
    net = restored(HOW, None, SETTING)
    pairs = zip(islice(probe.noises("x"), 3), islice(replace(probe, net=net).noises("x"), 3), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("name", SIGNALS)
def test_under_lira_a_base_cancels_and_against_one_threshold_it_does_not(name: str) -> None:
    member = membership()
    attack = Denoising(attack="denoising", signal=name)
    answers = said(attack, member)
    assert answers.measured is not None
    bases = {key: base for key, base in answers.measured.items() if key.startswith("base/")}
    common = {key: np.repeat(base[:, :1], base.shape[1], axis=1) for key, base in bases.items()}
    less = {key: values - common.get(f"base/{key}", 0) for key, values in answers.measured.items()} | common
    with_base, without = (replace(answers, measured=made) for made in (answers.measured | common, less))

    def scores(variant: str, of: Any) -> np.ndarray:
        score = scorer(attack.model_copy(update={"variant": variant}), of, True)
        assert score is not None
        return score(member)

    np.testing.assert_allclose(scores("pooled", with_base), scores("pooled", without), atol=1e-8)
    np.testing.assert_allclose(scores("minus_base", with_base), scores("threshold", without))
    assert not np.allclose(scores("threshold", with_base), scores("minus_base", with_base))


def test_without_a_base_nothing_is_subtracted_from(probe: Probe) -> None:
    answers = said(Denoising(attack="denoising"), membership())
    bare = replace(answers, measured={name: values for name, values in (answers.measured or {}).items() if "base/" not in name})
    assert scorer(Denoising(attack="denoising", variant="minus_base"), bare, True) is None
    assert scorer(Denoising(attack="denoising", variant="threshold"), bare, True) is not None


def test_every_signal_of_the_language_is_measured_and_priced() -> None:
    assert set(query.SIGNALS) == set(SIGNALS) == set(PASSES)
