"""What words say of their cost, beside what one shadow really takes: every method, at three sizes of images."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from compiler.inspect.cost import guess
from compiler.language.base import Generator, Method
from compiler.language.methods.imported import ImportedSets
from compiler.language.study import ARMS
from compiler.plan.dag import Task
from runtime import machine
from runtime.data.cards import compile_with_files
from runtime.data.formats import digits
from runtime.execution.worker import TaskRequest, compute
from runtime.operations import OPERATIONS
from tests.runtime.execution.rehearsals import task as rehearsal

STUDY = """\
study: costs
allow:
  {{L01: costs alone, L02: costs alone, L03: costs alone, L04: costs alone, L05: costs alone, L06: costs alone, L07: costs alone,
    L09: costs alone}}
data: {{name: files, path: images.npz, subset: {images}, test: 100}}
audit:
  canaries: {{mislabeled: {{kind: mislabeled, count: 20}}}}
  z_pool: 20
  shadows: 8
  attacks: [{{attack: lira, queries: 1}}, {{attack: denoising}}]
  fpr: [0.1]
  headline: {{attack: lira, queries: 1, canaries: mislabeled, release: final_model, fpr: 0.1}}
classifier: {{net: small, width: {width}, epochs: {epochs}, batch_size: 32, lr: 0.05}}
arms:
  undefended: {{paradigm: undefended}}
  dp_sgd:
    paradigm: dp_sgd
    privacy: {{noise_multiplier: 0.5, multiplicity: {{grid: [1, 4]}}}}
    classifier: {{norm: group, epochs: 1}}
  dynamics: {{paradigm: coreset, method: {{grid: [random, forgetting, aum, ccs]}}, fraction: 0.3}}
  el2n: {{paradigm: coreset, method: el2n, passes: 1, fraction: 0.3}}
  proxies:
    paradigm: coreset
    method: {{grid: [least_confidence, k_center, herding, moderate, graph_cut, facility_location, entropy, margin]}}
    fraction: 0.3
  grand: {{paradigm: coreset, method: grand, fraction: 0.3, inits: 2, passes: 1}}
  dm: {{paradigm: distillation, method: dm, images_per_class: 2, steps: {steps}, width: {width}, batch_real: 16}}
  gradients:
    {{paradigm: distillation, method: {{grid: [dc, dsa]}}, images_per_class: 2, nets: 2, points: 4, net_steps: 5, width: {width},
      batch_real: 16}}
  mtt: {{paradigm: distillation, method: mtt, images_per_class: 2, steps: 4, net_steps: 5, last_start: 1, experts: &experts
    {{count: 2, epochs: 8, width: {width}, lr: 0.1, augment: false}}}}
  datm: {{paradigm: distillation, method: datm, images_per_class: 2, steps: 4, net_steps: 5, window: 1, last_start: 1,
    experts: *experts}}
  sre2l: {{paradigm: distillation, method: sre2l, images_per_class: 5, steps: {steps}}}
  generated:
    {{paradigm: data_free_kd, method: {{grid: [inversion, fast]}}, rounds: 4, warm_up: 1, student_steps: 4, batch_size: 32,
      width: {width}}}
  deep_inversion:
    {{paradigm: data_free_kd, method: deep_inversion, rounds: 2, student_steps: 8, pixel_steps: 8, batch_size: 32}}
  online:
    {{paradigm: data_free_kd, method: {{grid: [dafl, zskt, dfad, dfq]}}, rounds: 6, batch_size: 32, width: {width}}}
  conditional: {{paradigm: diffusion, method: conditional, steps: 10, guidance: 1.0, denoiser: &pixels
    {{net: mlp, width: 128, epochs: {epochs}, batch_size: 64}}}}
  sdedit: {{paradigm: diffusion, method: sdedit, steps: 10, strength: 0.5, denoiser: *pixels}}
  latent:
    {{paradigm: diffusion, method: conditional, steps: 10, denoiser: {{net: latent_mlp, width: 128, components: 32,
      epochs: {epochs}, batch_size: 64}}}}
  unet:
    {{paradigm: diffusion, method: conditional, steps: 2, multiple: 0.2, denoiser: {{net: unet, width: 16, blocks: 2, epochs: 0.5,
      batch_size: 32}}}}
  private:
    {{paradigm: diffusion, method: conditional, steps: 4, denoiser: {{net: mlp, width: 64, epochs: 1, batch_size: 64,
      privacy: {{noise_multiplier: 0.5, multiplicity: 2}}}}}}
"""


@dataclass(frozen=True)
class Size:
    side: int
    images: int
    width: int
    epochs: int
    steps: int


SIZES = {"small": Size(8, 500, 8, 4, 8), "middle": Size(14, 900, 16, 3, 6), "large": Size(28, 1500, 16, 2, 4)}


def tasks(folder: Path, size: Size) -> dict[str, Task]:
    """What shadow 0 of every arm needs, in order."""
    pool, _ = digits.read()
    images = F.interpolate(pool.images.float(), size.side).to(torch.uint8)
    np.savez(folder / "images.npz", images=images[:, 0].numpy(), labels=pool.labels.numpy())
    (folder / "study.yaml").write_text(STUDY.format(**vars(size)))
    plan = compile_with_files(folder / "study.yaml")
    wanted = {stage.task for trial in plan.trials for stage in trial.stages if stage.shadow == 0}
    return {id: task for id, task in plan.tasks.items() if id in wanted}


def measured(tasks: dict[str, Task], store: Path) -> Iterator[tuple[str, float]]:
    """Task → seconds of this process that it took."""
    for id, task in tasks.items():
        began = time.process_time()
        (outcome,) = compute([TaskRequest(id, task.work, task.needs, task.address, task.text, 1)], store, operations=OPERATIONS)
        assert outcome.status == "done", outcome.error
        yield id, time.process_time() - began


def missed(folder: Path, size: Size, *methods: str, slack: float = 0.0) -> list[str]:
    """Sentences on tasks whose measured seconds are below a third of the estimated ones, or above three times these; differences
    below `slack` seconds are none.

    With `methods`, only tasks of these methods are run, after the tasks that they need; otherwise all of them."""
    torch.set_num_threads(1)
    asked = tasks(folder, size)
    if methods:
        rest = [
            need
            for task in asked.values()
            if getattr(task.work, "how", None) and task.operation.split()[-1] in methods
            for need in (task.id, *(id for _, id in task.needs))
        ]
        asked = {id: task for id, task in asked.items() if id in rest}
    runs = [dict(measured(asked, folder / f"store {turn}")) for turn in range(2)]  # the first also loads libraries
    took = {id: min(run[id] for run in runs) for id in asked}
    said = {id: machine.pace() * guess.cost(task.work).seconds for id, task in asked.items()}
    return [
        f"{task.operation}, {task.address}: {said[id]:.3f} s said, {took[id]:.3f} s taken"
        for id, task in asked.items()
        if not 1 / 3 < said[id] / took[id] < 3 and abs(said[id] - took[id]) > slack
    ]


@pytest.mark.long
@pytest.mark.parametrize("size", SIZES)
def test_what_words_say_they_take_is_within_three_times_of_what_a_shadow_takes(tmp_path: Path, size: str) -> None:
    assert missed(tmp_path, SIZES[size]) == []


def test_some_methods_take_what_their_words_say(tmp_path: Path) -> None:
    # Beside another test, a task of 0.07 s took 0.22 s of processor time (2 cores that share a cache).
    assert missed(tmp_path, SIZES["small"], "grand", "dm", "mtt", "inversion", "sdedit", slack=0.3) == []


def test_every_method_and_generator_is_among_those_that_are_measured(tmp_path: Path) -> None:
    measured = {type(how) for task in tasks(tmp_path, SIZES["small"]).values() if (how := getattr(task.work, "how", None))}
    methods = {kind for kind in ARMS if issubclass(kind, Method) and kind is not ImportedSets}  # those are made elsewhere
    assert methods | set(Generator.__subclasses__()) <= measured


def test_what_a_task_held_of_a_gpu_is_one_of_its_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3e9)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "pretended")
    done = rehearsal("one")
    order = TaskRequest(done.id, done.work, (), done.address, done.text, 1)
    cpu, gpu = ({metric.name: metric.value for metric in compute([order], tmp_path / on, on)[0].metrics} for on in ("cpu", "cuda"))
    assert gpu == cpu | {"gpu_memory_mb": 3000.0}
