"""The parts of `gpu.py` that need no profile: equality with the CPU, training loops beside other libraries', processes on one
GPU."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import plain
import torch
from gpu import Bench, Row, pace
from gpu_profile import study, write_images

from compiler.language.classifier import Augment, Recipe
from compiler.language.datasets import CARDS
from compiler.language.methods.baselines import Privacy
from compiler.plan.dag import Plan, Task
from compiler.work.operations import AttackTrial, TrainClassifier
from runtime.data.images import LabeledImages
from runtime.operations import OPERATIONS
from runtime.seeds import Seeds
from runtime.store.artifacts import Artifact, folder_of
from runtime.training import nets
from runtime.training.batches import Training
from runtime.training.sgd import fit

CARD = CARDS["cifar10"]
NETS = (("small", 32, None), ("resnet18", 64, None), ("wrn", 64, 16))
COPIES = 16
CHECKED = """
study: devices
question: Does a GPU find what a CPU finds?
allow: {L01: the two devices are compared and not the arms, L07: the same}
data: {name: cifar10}
audit:
  canaries: {mislabeled: {kind: mislabeled, count: 24}, clean: {kind: clean, count: 24}}
  z_pool: 30
  shadows: 8
  attacks:
    - {attack: lira, signal: logit, variant: {grid: [pooled, per_example]}, queries: 1}
    - {attack: rmia, variant: online, queries: 1}
    - {attack: nearest, space: pixel}
  fpr: [0.1]
  headline: {attack: lira, signal: logit, variant: pooled, queries: 1, canaries: mislabeled, release: final_model, fpr: 0.1}
  resamples: 100
  null_permutations: 20
classifier: {net: small, width: 8, epochs: 3, batch_size: 32, lr: 0.05}
arms:
  undefended: {paradigm: undefended}
  random: {paradigm: coreset, method: random, fraction: 0.5}
"""


def checks(bench: Bench) -> Iterator[Row | tuple[str, BaseException]]:
    """Runs a small study on the CPU and the device, and compares random draws, accuracies, and attacks on equal logits."""
    from runtime.data.cards import compile_with_files
    from runtime.data.sources import read_and_record

    yield _first_steps(bench)
    write_images(bench.folder / "data", 500, 100, 40)
    read_and_record("cifar10")
    spec = bench.folder / "checked.yaml"
    spec.write_text(CHECKED)
    plan = compile_with_files(spec)
    stores = {device: _computed(plan, bench.folder / f"checked-{device}", device) for device in ("cpu", bench.device.type)}
    (here, there) = stores["cpu"], stores[bench.device.type]
    for planned in plan.trials:
        arm, answer = planned.trial.arm_name, planned.answer
        ours, theirs = (Artifact(folder_of(store, answer)) for store in (here, there))
        masks = [_tensors(artifact, "scores")["member"] for artifact in (ours, theirs)]
        same = torch.equal(*masks) and torch.equal(*(_tensors(of, "canaries")["samples"] for of in (ours, theirs)))
        yield Row(f"{arm}: members and canaries", said="equal" if same else "DIFFER")
        sets = [stage.task for stage in planned.stages if stage.name == "synthesize"]
        chosen = [[_tensors(Artifact(folder_of(store, id)), "audit")["origins"] for id in sets] for store in (here, there)]
        if sets:
            alike = all(map(torch.equal, *chosen))
            yield Row(f"{arm}: chosen images", said="equal" if alike else "DIFFER")
        yield _accuracies(arm, [stage.task for stage in planned.stages if stage.name == "model"], here, there)
        yield _attacked_twice(bench, plan.tasks[answer], arm, there)


def _tensors(artifact: Artifact, stem: str) -> Mapping[str, torch.Tensor]:
    return artifact.tensors(stem)


def _computed(plan: Plan, store: Path, device: str) -> Path:
    """Computes all tasks of a plan in this process, without Ray and without a database; returns `store`, which then has them."""
    _drive(plan.to_run(lambda _: False), store, device)
    return store


def _drive(tasks: Mapping[str, Task], store: Path, device: str) -> None:
    from runtime.execution.driver import Driver
    from runtime.execution.engine import InlineEngine

    Driver(tasks, InlineEngine(store, device, OPERATIONS), _raise_if_failed).run()


def _raise_if_failed(task: Task, outcome: Any, attempt: int) -> None:
    if outcome.status != "done":
        raise RuntimeError(f"{task.address}: {outcome.error}")


def _first_steps(bench: Bench) -> Row:
    """Weights after five steps in float32, on the device and on the CPU."""
    training, recipe = _training(bench, Recipe(net="small", width=16, batch_size=32), 64), Recipe(net="small", width=16)
    found = []
    for device in (torch.device("cpu"), bench.device):
        net = _net(recipe)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # which cuDNN takes for float32 unless told
            fit(net, replace(training, iterations=5, device=device))
        found.append(torch.cat([value.detach().cpu().flatten() for value in net.parameters()]))
    away = ((found[1] - found[0]).norm() / found[0].norm()).item()
    verdict = "within 1e-3" if away < 1e-3 else "MORE than 1e-3"
    return Row("weights after five steps in float32", said=f"relative difference {away:.1e}, {verdict}")


def _accuracies(arm: str, models: list[str], here: Path, there: Path) -> Row:
    """Test accuracy of the shadows on both, and whether the means are within 2.6 standard errors of their difference."""
    of = np.array([[Artifact(folder_of(store, id)).metric("test_accuracy") for id in models] for store in (here, there)])
    cpu, gpu = 100 * of.mean(axis=1)
    error = 100 * float(np.sqrt((of.var(axis=1, ddof=1) / of.shape[1]).sum()))
    verdict = "within noise" if abs(gpu - cpu) <= 2.6 * error or gpu == cpu else "BEYOND noise"
    said = f"CPU {cpu:.1f} %, here {gpu:.1f} %, standard error of the difference {error:.1f}: {verdict}"
    return Row(f"{arm}: accuracy of {of.shape[1]} shadows", said=said)


def _attacked_twice(bench: Bench, task: Task, arm: str, store: Path) -> Row:
    """Computes an attack's scores on the CPU and on the device from the same logits, and says whether they are equal."""
    from runtime.audit.trial.trial import perform

    assert isinstance(task.work, AttackTrial)
    inputs = {role: Artifact(folder_of(store, need)) for role, need in task.needs}
    cpu, here = (perform(task.work, inputs, device).files["scores"] for device in (torch.device("cpu"), bench.device))
    same = all(torch.equal(value.cpu(), here[name].cpu()) for name, value in cpu.items())
    return Row(f"{arm}: attacks on equal logits", said="equal" if same else "DIFFER")


def _images(count: int) -> LabeledImages:
    draws = torch.Generator().manual_seed(0)
    return LabeledImages(torch.randint(256, (count, *CARD.shape), dtype=torch.uint8, generator=draws), torch.arange(count) % 10)


def _training(bench: Bench, recipe: Recipe, count: int) -> Training:
    data = _images(count)
    return Training(
        images=data.images, labels=data.labels, recipe=recipe, iterations=1, card=CARD, seeds=Seeds(0, 0, 0), device=bench.device,
        purpose="classifier",
    )  # fmt: skip


def shadows(bench: Bench) -> Iterator[Row | tuple[str, BaseException]]:
    """Measures images per second of training: a plain PyTorch loop in float32, the same in bfloat16 and channels-last, and ours."""
    from runtime import machine

    workers = min(8, machine.cores() - 1) if bench.device.type == "cuda" else 0
    for name, width, depth in NETS:
        words: dict[str, Any] = {"net": name, "width": bench.width(width), "depth": depth, "batch_size": bench.count(512, 8)}
        recipe = Recipe(**words, augment=Augment(shift=4, flip=True))
        training = _training(bench, recipe, bench.count(50_000))
        sides = {
            "plain, float32": partial(_plain, bench, training, workers, "float32", False),
            "plain, bfloat16, channels last": partial(_plain, bench, training, workers, "bfloat16", True),
            "ours, float32": partial(_ours, training, "float32"),
            "ours, bfloat16": partial(_ours, training, "bfloat16"),
        }
        yield from _sides(bench, f"{name}, width {recipe.width}", sides, recipe.batch_size, f"loader processes {workers}")


def _net(recipe: Recipe) -> nets.Classifier:
    return nets.build(recipe, CARD, Seeds(0, 0, 0)("classifier/init"))


def _plain(bench: Bench, training: Training, workers: int, precision: str, last: bool) -> Callable[[int], object]:
    recipe = training.recipe.model_copy(update={"precision": precision})
    net, batches = _net(recipe), plain.loader(LabeledImages(training.images, training.labels), recipe, CARD, workers)
    return lambda steps: plain.train(net, batches, recipe, steps, bench.device, channels_last=last)


def _ours(training: Training, precision: str) -> Callable[[int], object]:
    recipe = training.recipe.model_copy(update={"precision": precision})
    net = _net(recipe)
    return lambda steps: fit(net, replace(training, recipe=recipe, iterations=steps))


def _sides(
    bench: Bench, what: str, sides: Mapping[str, Callable[[], Callable[[int], object]]], images: int, said: str
) -> Iterator[Row | tuple[str, BaseException]]:
    for side, make in sides.items():
        try:
            found = pace(bench, make(), 10_000)
        except Exception as error:
            yield f"{what}: {side}", error
        else:
            beside = f"batches of {images}; {said}" if side.startswith("plain") else f"batches of {images}"
            yield Row(f"{what}: {side}", images / found.each, None, found.memory, f"{1000 * found.each:,.3g} ms a step, {beside}")


def private(bench: Bench) -> Iterator[Row | tuple[str, BaseException]]:
    """DP-SGD: gradients of single images, each the mean over its augmentations, clipped; images are augmented ones."""
    copies = bench.count(COPIES, 2)
    recipe = Recipe(
        net="wrn", width=bench.width(64), depth=16, norm="group", batch_size=bench.count(256, 4), lr=1.0, momentum=0.0,
        weight_decay=0.0, augment=Augment(shift=4, flip=True),
    )  # fmt: skip
    training = _training(bench, recipe, bench.count(50_000))

    def ours(precision: str) -> Callable[[int], object]:
        from runtime.training.dp_sgd import fit_privately, new_mechanism

        asked, one = recipe.model_copy(update={"precision": precision}), _net(recipe)
        mechanism = new_mechanism(Privacy(noise_multiplier=1.0, multiplicity=copies), recipe.batch_size, len(training.labels), 1)
        return lambda steps: fit_privately(one, replace(training, recipe=asked, iterations=steps), mechanism)

    def theirs() -> Callable[[int], object]:
        import opacus  # noqa: F401

        one, data = _net(recipe), plain.Images(LabeledImages(training.images, training.labels), recipe.augment, CARD)
        return lambda steps: plain.train_with_copies(one, data, recipe, steps, copies, bench.device)

    sides: dict[str, Callable[[], Callable[[int], object]]] = {
        "Opacus, float32": theirs, "ours, float32": lambda: ours("float32"), "ours, bfloat16": lambda: ours("bfloat16"),
    }  # fmt: skip
    yield from _sides(bench, f"WRN-16-{recipe.width // 16 or 0.5}, {copies} augmentations", sides, recipe.batch_size * copies, "")


PROCESSES = 4
TASKS = 3
"""Of each process, after one that warms up."""


def beside(bench: Bench) -> Iterator[Row | tuple[str, BaseException]]:
    """Compares the speed at which undefended shadows are trained by one process, four processes on one device, and four Ray
    workers."""
    plan = study(bench)
    work = next(task.work for task in plan.tasks.values() if isinstance(task.work, TrainClassifier) and task.work.privacy is None)
    steps = max(3, round(100 * bench.scale**0.5))
    images = steps * work.recipe.batch_size
    rates = {}
    for count in (1, PROCESSES):
        bench.reset_memory()
        seconds = _apart(bench, count, steps)
        rates[count] = count * TASKS * images / seconds
        gain = f"{rates[count] / rates[1]:.2f} × one process; " if count > 1 else ""
        yield Row(f"{count} inline process(es)", rates[count], seconds, None, f"{gain}{TASKS} trainings of {steps} steps each")
    bench.found["gain"] = max(1.0, rates[PROCESSES] / rates[1])
    try:
        seconds = _by_ray(bench, work, steps)
    except Exception as error:
        yield f"Ray, {PROCESSES} workers", error
    else:
        rate = PROCESSES * TASKS * images / seconds
        yield Row(f"Ray, {PROCESSES} workers", rate, seconds, None, f"{rate / rates[1]:.2f} × one inline process")


def trainings(work: TrainClassifier, steps: int, first: int, count: int) -> dict[str, Task]:
    """`count` tasks that train a classifier for `steps` steps, by id; the ids are numbers from `first` on, the shadow is the number
    modulo 4."""

    def one(number: int) -> Task:
        private = replace(work.private, shadow=number % 4)
        return Task(
            f"{number:016x}", replace(work, private=private, iterations=steps, dynamics=False), (), f"training {number}", ""
        )

    return {task.id: task for task in map(one, range(first, first + count))}


def _apart(bench: Bench, count: int, steps: int) -> float:
    """Seconds in which `count` processes train side by side: from the signal that all get once they are warm, to the end of the
    last."""
    asked = {"spec": str(bench.found["spec"]), "device": bench.device.type, "steps": steps}
    started = []
    for number in range(count):
        of = {**asked, "store": str(bench.folder / f"apart-{count}-{number}"), "first": 1000 * number}
        words = [sys.executable, str(Path(__file__).with_name("gpu.py")), "--beside", json.dumps(of)]
        started.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    try:
        for process in started:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("a process ended before it was ready; its error is above")
        begun = time.perf_counter()
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        codes = [process.wait() for process in started]
        if any(codes):
            raise RuntimeError(f"{sum(map(bool, codes))} of {count} processes failed; their errors are above")
        return time.perf_counter() - begun
    finally:
        for process in started:
            process.kill()


def compute_beside(asked: str) -> int:
    """Runs in each process of `_apart`: does one training as warm-up, prints `ready`, waits for a line on its input, does the
    others."""
    from runtime.data.cards import compile_with_files

    of = json.loads(asked)
    plan = compile_with_files(Path(of["spec"]))
    work = next(task.work for task in plan.tasks.values() if isinstance(task.work, TrainClassifier) and task.work.privacy is None)
    _drive(trainings(work, of["steps"], of["first"], 1), Path(of["store"]), of["device"])
    print("ready", flush=True)
    sys.stdin.readline()
    _drive(trainings(work, of["steps"], of["first"] + 1, TASKS), Path(of["store"]), of["device"])
    return 0


def _by_ray(bench: Bench, work: TrainClassifier, steps: int) -> float:
    """Seconds in which Ray's resident workers do the same trainings, after a warm-up training each."""
    from runtime.execution.driver import Driver
    from runtime.execution.ray_engine import RayEngine

    total = torch.cuda.get_device_properties(bench.device).total_memory / 2**30 if bench.device.type == "cuda" else 0.0
    engine = RayEngine(bench.folder / "ray", None, PROCESSES, math.floor(total / PROCESSES) or 8.0, OPERATIONS)
    try:
        Driver(trainings(work, steps, 0, PROCESSES), engine, _raise_if_failed).run()
        begun = time.perf_counter()
        Driver(trainings(work, steps, PROCESSES, PROCESSES * TASKS), engine, _raise_if_failed).run()
        return time.perf_counter() - begun
    finally:
        engine.close()
