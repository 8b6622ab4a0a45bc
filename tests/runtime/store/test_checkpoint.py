"""A loop that was killed goes on where it was, with the numbers of one that was not."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from compiler.language.classifier import Augment
from compiler.language.datasets import CARDS
from compiler.language.methods.baselines import Privacy
from compiler.language.methods.diffusion import Denoiser
from compiler.language.study import AnyArm
from compiler.work.operations import Synthesize, TrainClassifier, TrainGenerator, Work
from runtime.operations import OPERATIONS
from runtime.outcome import Product
from runtime.store import checkpoint
from runtime.store.artifacts import Artifact
from runtime.synthesize.diffusion.denoisers import build
from tests.artifacts import artifact
from tests.conftest import ROOT, TINY
from tests.runtime.synthesize.test_synthesize import RECIPE, private

NORMLESS = RECIPE.model_copy(update={"norm": "group"})


class Killed(Exception):
    """Raised where a SIGKILL would end the process; the code under test does not catch it."""


def trained(steps: int, kill_at: int | None = None, optimizer_kind: str = "sgd") -> tuple[Tensor, list[int], list[Tensor]]:
    """Weights, the steps that were made, and the losses of all."""
    draws = torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    if optimizer_kind == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    else:
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.05)
    made = []
    for step in (loop := checkpoint.loop("net", steps, net=net, optimizer=optimizer, draws=draws)):
        if step == kill_at:
            raise Killed
        made.append(step)
        loss = net(torch.randn(8, 3, generator=draws)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loop.log(loss)
    return torch.cat([tensor.flatten().float() for tensor in net.state_dict().values()]), made, loop.losses


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_killed_loop_goes_on_with_the_same_numbers(tmp_path: Path, optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "INTERVAL_SECONDS", 0.0)
    whole, _, losses = trained(20, optimizer_kind=optimizer)
    with pytest.raises(Killed), checkpoint.checkpoints_in(tmp_path):
        trained(20, kill_at=13, optimizer_kind=optimizer)
    with checkpoint.checkpoints_in(tmp_path):
        again, made, found = trained(20, optimizer_kind=optimizer)
    assert made == list(range(13, 20))
    assert torch.equal(again, whole)
    assert torch.equal(torch.stack(found), torch.stack(losses))
    assert list(tmp_path.iterdir()) == []


def test_a_loop_that_ended_is_not_run_again_when_its_task_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "INTERVAL_SECONDS", 0.0)

    def killed_after() -> None:
        trained(5)
        raise Killed

    with pytest.raises(Killed), checkpoint.checkpoints_in(tmp_path):
        killed_after()
    with checkpoint.checkpoints_in(tmp_path):
        weights, made, _ = trained(5)
    assert made == []
    assert torch.equal(weights, trained(5)[0])


def test_short_loops_and_loops_outside_a_task_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trained(3)
    with pytest.raises(Killed), checkpoint.checkpoints_in(tmp_path):
        trained(3, kill_at=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["truncated", "empty", "one bit", "other source"])
def test_a_checkpoint_that_cannot_be_trusted_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    monkeypatch.setattr(checkpoint, "INTERVAL_SECONDS", 0.0)
    with pytest.raises(Killed), checkpoint.checkpoints_in(tmp_path):
        trained(9, kill_at=5)
    (path,) = tmp_path.iterdir()
    if damage == "other source":
        monkeypatch.setattr(checkpoint.machine, "source_digest", lambda: "another")
    elif damage == "one bit":
        content = path.read_bytes()
        path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    else:
        path.write_bytes(path.read_bytes()[:100] if damage == "truncated" else b"")
    with checkpoint.checkpoints_in(tmp_path):
        weights, made, _ = trained(9)
    assert made == list(range(9))
    assert torch.equal(weights, trained(9)[0])


# Every long loop

KD = {"paradigm": "data_free_kd", "batch_size": 16, "rounds": 4, "student_steps": 2, "width": 8}
SET = {"paradigm": "distillation", "images_per_class": 2, "init": "noise"}
DENOISER = {"width": 8, "blocks": 1, "epochs": 2.0, "batch_size": 128}
BASE: dict[str, Any] = {"pretrain": "public", "epochs": 1.0}
EXPERTS = {"count": 2, "epochs": 3, "width": 4}
MTT = {**SET, "method": "mtt", "steps": 4, "net_steps": 2, "expert_epochs": 1, "last_start": 1, "experts": EXPERTS}
LONG: dict[str, Callable[[], Work]] = {
    "classifier": lambda: TrainClassifier(private(), RECIPE.model_copy(update={"ema": 0.9}), 12, dynamics=True),
    "classifier under maps": lambda: TrainClassifier(private(), RECIPE.model_copy(update={"augment": Augment(dsa=True)}), 12),
    "dp_sgd": lambda: TrainClassifier(private(), NORMLESS, 6, Privacy(noise_multiplier=1.0)),
    "dm": lambda: arm(**SET, method="dm", steps=5, width=4),
    "dsa": lambda: arm(**SET, method="dsa", nets=4, points=2, width=4),
    "experts": lambda: TrainGenerator(private(), arm(**MTT).how.generator),
    "mtt": lambda: arm(**MTT),
    "sre2l": lambda: arm(**SET, method="sre2l", steps=5),
    "inversion": lambda: arm(**KD, method="inversion", warm_up=1),
    "fast": lambda: arm(**KD, method="fast", warm_up=1),
    "dfq": lambda: arm(**KD, method="dfq", replay=0.5),
    "diffusion": lambda: TrainGenerator(private(), Denoiser(**DENOISER)),
    "a tuned base": lambda: TrainGenerator(private(), Denoiser(**DENOISER, base=BASE, finetune="lora", rank=2)),
    "private diffusion": lambda: TrainGenerator(private(), Denoiser(**DENOISER, privacy={"noise_multiplier": 1.0})),
}


def arm(**words: Any) -> Synthesize:
    return Synthesize(private(), TypeAdapter(AnyArm).validate_python(words), RECIPE, 10)


@pytest.fixture(scope="module")
def needs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    teacher = operation(TrainClassifier(private(), RECIPE, 10)).files
    experts = operation(TrainGenerator(private(), arm(**MTT).how.generator)).files
    base = {"base": build(Denoiser(**DENOISER), CARDS["digits"], torch.Generator()).state_dict()}
    made = {"teacher": teacher, "generator": experts, "base": base}
    stems = {name: {stem: dict(tensors) for stem, tensors in files.items()} for name, files in made.items()}
    return {name: artifact(tmp_path_factory.mktemp(name), **files) for name, files in stems.items()}


def operation(work: Work, **inputs: Artifact) -> Product:
    return importlib.import_module(OPERATIONS[type(work).__name__]).perform(work, inputs, torch.device("cpu"))


@pytest.mark.parametrize("name", LONG)
def test_every_long_loop_that_is_killed_goes_on_with_the_same_numbers(
    name: str, needs: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = LONG[name]()
    with checkpoint.checkpoints_in(tmp_path / "whole") as loops:
        whole = operation(work, **needs)
    assert loops.curves()
    monkeypatch.setattr(checkpoint, "INTERVAL_SECONDS", 0.0)
    made = 0

    class Mortal(checkpoint.loop):
        """Raises `Killed` once, in the fourth step."""

        def __iter__(self) -> Iterator[int]:
            nonlocal made
            for step in super().__iter__():
                made += 1
                if made == 4:
                    raise Killed
                yield step

    monkeypatch.setattr(checkpoint, "loop", Mortal)
    with pytest.raises(Killed), checkpoint.checkpoints_in(tmp_path):
        operation(work, **needs)
    with checkpoint.checkpoints_in(tmp_path) as again_loops:
        again = operation(work, **needs)
    assert again_loops.curves() == loops.curves()
    assert again.files.keys() == whole.files.keys()
    for stem, tensors in whole.files.items():
        for key, tensor in tensors.items():
            assert torch.equal(again.files[stem][key], tensor), (stem, key)
    times = ("seconds", "images_per_second")
    assert [m for m in again.metrics if m.name not in times] == [m for m in whole.metrics if m.name not in times]


OFTEN = """
import sys
from runtime.cli.main import main
from runtime.store import checkpoint

class Reporting(checkpoint.loop):
    def __init__(self, *args, **parts):
        super().__init__(*args, **parts)
        print("goes on at", self.start)

checkpoint.INTERVAL_SECONDS = 0.05
checkpoint.loop = Reporting
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.long
def test_a_task_whose_process_was_killed_goes_on_from_its_checkpoint_in_the_next_run(tmp_path: Path) -> None:
    words = ["run", "study.yaml", "--engine", "inline", "--only", "arm=undefended", "--set", "classifier.epochs=12"]
    command, environment = [sys.executable, "-c", OFTEN, *words], os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    rows = []
    for kill in (False, True):
        folder = tmp_path / str(kill)
        folder.mkdir()
        (folder / "study.yaml").write_text(TINY)
        if kill:
            with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL) as running:
                while not (kept := list(folder.glob(".synthc/*/*/checkpoint-*"))):
                    assert running.poll() is None
                    time.sleep(0.001)
                running.kill()
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
        with duckdb.connect(str(folder / "results.duckdb"), read_only=True) as results:
            figures = "SELECT * EXCLUDE (origin, note) FROM result WHERE metric <> 'seconds' ORDER BY ALL"
            rows.append(results.execute(figures).fetchall())
    (again,) = kept[0].parent.glob("attempts/2/log.txt")
    assert int(again.read_text().split("goes on at ")[1].split()[0]) > 0
    assert rows[0] == rows[1]
