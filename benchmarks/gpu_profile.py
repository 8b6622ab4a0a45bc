"""The profile `cifar10` of the full study, step by step, on random images: the parts `arms` and `hours` of `gpu.py`.

Of tasks that differ in their shadow alone one is computed: at first one unit of it (a training step, a round, a part of a drawing),
then as many as show what a unit takes. The hours are those of `compiler.inspect.cost`, with what was measured in place of what is
guessed.
"""

from __future__ import annotations

import importlib
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gpu import ROOT, Bench, Pace, Row, pace  # beside this file

from compiler.inspect.cost import guess
from compiler.inspect.cost.estimate import Expected, Past, estimate
from compiler.language.methods.baselines import Privacy
from compiler.language.methods.data_free_kd import DataFree
from compiler.language.methods.diffusion import Denoiser, Pretraining
from compiler.lint.catalog import LINTS
from compiler.plan.dag import Plan, Task
from compiler.text.compose import compose
from compiler.text.nodes import plain
from compiler.work.operations import Synthesize, TrainClassifier, TrainGenerator, TrainShared, Work
from runtime.data.cards import compile_with_files
from runtime.data.population.roles import expected_size
from runtime.data.sources import load, read_and_record
from runtime.operations import OPERATIONS
from runtime.store.artifacts import Artifact, folder_of

SPEC = ROOT / "specs/full_study.yaml"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIZES = ("count", "z_pool", "validation", "batch_size", "batch_real", "images_per_class", "per_class", "latent", "multiplicity",
         "null_permutations", "student_steps", "net_steps", "rank")  # fmt: skip
DURATIONS = ("epochs", "autoencoder_epochs", "rounds", "nets")
BESIDE_THE_PROFILE = "latent_full"
"""An arm more: the latent model tuned in full."""
DRAWN_AT_ONCE = 512
"""As `runtime.synthesize.diffusion.generate` does."""


def write_images(folder: Path, pool: int, test: int, public: int) -> None:
    """CIFAR-10's binary version and CINIC-10's folders: noise, and a stripe whose place tells the class."""
    from PIL import Image

    draws = np.random.default_rng(0)

    def pictures(n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(n, dtype=np.uint8) % 10
        images = draws.integers(0, 180, (n, 3, 32, 32), dtype=np.uint8)
        for label in range(10):
            images[label::10, :, :, 3 * label : 3 * label + 3] += 25
        return images, labels

    into = folder / "cifar-10-batches-bin"
    into.mkdir(parents=True, exist_ok=True)
    for name, n in [*((f"data_batch_{batch}", math.ceil(pool / 5)) for batch in range(1, 6)), ("test_batch", test)]:
        images, labels = pictures(n)
        (into / f"{name}.bin").write_bytes(np.concatenate([labels[:, None], images.reshape(n, -1)], axis=1).tobytes())
    for split, n in (("train", public), ("test", 10)):
        images, labels = pictures(min(n, 1000))
        for place in range(n):
            path = folder / "CINIC-10" / split / CLASSES[place % 10] / f"n{place:06}_0.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if place < len(images):
                Image.fromarray(images[place].transpose(1, 2, 0)).save(path)
            else:  # 70,000 files are quicker linked than written; nothing here looks at public images twice
                os.link(path.with_name(f"n{place % 1000:06}_0.png"), path)


def reduced(bench: Bench, tree: Any, word: str = "", arm: Any = None) -> Any:
    """A part of a study's text at the bench's scale. Sizes shrink by its square root, durations by the scale itself."""
    if isinstance(tree, dict):
        return {name: reduced(bench, value, word if name == "grid" else name, arm) for name, value in tree.items()}
    if isinstance(tree, list):
        return [reduced(bench, value, word, arm) for value in tree]
    if isinstance(tree, bool) or not isinstance(tree, int | float) or bench.scale == 1:
        return tree
    if word == "width":
        return bench.width(int(tree))
    if word == "steps":  # of a drawing: a divisor of 1,000 of which a fifth is a whole step
        drawn = min((5, 10, 20, 25, 50), key=lambda n: abs(n - tree * bench.scale**0.5))
        return drawn if tree <= 1000 else max(2, round(tree * bench.scale))
    if word == "warm_up":
        return 0
    if word in SIZES:
        return bench.count(int(tree), {"batch_size": 8, "z_pool": 16, "validation": 20, "count": 8, "rank": 2}.get(word, 1))
    if word in DURATIONS:
        return max(1, round(tree * bench.scale))
    return tree


def study(bench: Bench) -> Plan:
    """The profile's plan at this scale, on random images."""
    if "plan" not in bench.found:
        write_images(bench.folder / "data", bench.count(50_000), bench.count(10_000), bench.count(70_000, 40))
        for name in ("cifar10", "cinic10"):
            read_and_record(name)
        tree: Any = plain(compose(SPEC, "cifar10"))
        for word in ("claims", "tune", "charts"):
            tree.pop(word, None)
        tree["arms"][BESIDE_THE_PROFILE] = json.loads(json.dumps(tree["arms"]["latent"]))
        tree["arms"][BESIDE_THE_PROFILE]["denoiser"]["finetune"] = "full"
        if bench.found.get("only"):
            tree["arms"] = {name: arm for name, arm in tree["arms"].items() if name in bench.found["only"]}
            tree["allow"] = dict.fromkeys(LINTS, "what is measured is time")
        if bench.scale != 1:
            tree = reduced(bench, tree)
            tree["audit"] |= {"shadows": 8, "fpr": [0.1], "resamples": 100, "headline": tree["audit"]["headline"] | {"fpr": 0.1}}
        spec = bench.folder / "study.yaml"
        spec.write_text(json.dumps(tree))
        bench.found["plan"], bench.found["spec"] = compile_with_files(spec), spec
    found: Plan = bench.found["plan"]
    return found


@dataclass(frozen=True)
class Division:
    """A task that can be computed in part: `full` units, such as optimisation steps, of which `make(n)` does n."""

    unit: str
    full: int
    images: float
    """That go through a net in each unit, or are drawn."""
    make: Callable[[int], Work]
    """A work of so many units."""
    least: int = 1


def divided(bench: Bench, work: Work) -> Division:
    """A task as units (training steps, images to draw); a task that cannot be divided is one unit."""
    match work:
        case TrainClassifier(recipe=recipe, privacy=privacy):
            # The noise of an epsilon depends on the number of steps, and takes seconds to find; it costs a step nothing.
            plainly = work if privacy is None else replace(work, privacy=_noised(privacy))
            passes = math.ceil(guess.images_of(work.private) / recipe.batch_size) + 1 if work.dynamics else 1
            images = recipe.batch_size * (privacy.multiplicity if privacy else 1)
            return Division("step", work.iterations, images, lambda n: replace(plainly, iterations=n), passes)
        case TrainShared(how=Denoiser(base=Pretraining() as base) as how, public=public) if public is not None:
            full = max(1, math.ceil(base.epochs * len(load(public).pool) / base.batch_size))

            def begun(n: int) -> Work:
                share = {word: getattr(base, word) * (n - 0.5) / full for word in ("epochs", "autoencoder_epochs")}
                return replace(work, how=how.model_copy(update={"base": base.model_copy(update=share)}))

            return Division("step", full, base.batch_size, begun)
        case TrainGenerator(how=Denoiser() as how):
            size, batch = expected_size(work.private.population), how.batch_size
            privacy = how.privacy and _noised(how.privacy)

            def tuned(n: int) -> Work:
                return replace(work, how=how.model_copy(update={"epochs": (n - 0.5) * batch / size, "privacy": privacy}))

            images = batch * (how.privacy.multiplicity if how.privacy else 1)
            return Division("step", max(1, math.ceil(how.epochs * size / batch)), images, tuned)
        case Synthesize():
            return _of_method(bench, work)
    return Division("task", 1, 0.0, lambda n: work)


def _noised(privacy: Privacy) -> Privacy:
    return privacy.model_copy(update={"epsilon": None, "noise_multiplier": 1.0})


def _of_method(bench: Bench, work: Synthesize) -> Division:
    how: Any = work.how
    classes = work.private.population.dataset.card.classes

    def with_words(**words: Any) -> Work:
        return replace(work, how=how.model_copy(update=words))

    if how.method == "dm":
        return Division("step", how.steps, (how.batch_real + how.images_per_class) * classes, lambda n: with_words(steps=n))
    if how.method in ("dc", "dsa"):
        matched = how.points * (how.batch_real + how.images_per_class) * classes
        learned = (how.points - 1) * how.net_steps * how.images_per_class * classes
        return Division("net", how.nets, matched + learned, lambda n: with_words(nets=n))
    if isinstance(how, DataFree):
        images = (how.tries + how.student_steps) * how.batch_size
        return Division("round", how.rounds, images, lambda n: with_words(rounds=n, warm_up=0))
    if how.paradigm == "diffusion":
        size, at_once = expected_size(work.private.population), bench.count(DRAWN_AT_ONCE, 8)
        full = max(1, round(how.multiple * size / at_once))
        return Division(f"part of {at_once} images", full, at_once, lambda n: with_words(multiple=n * at_once / size))
    return Division("task", 1, 0.0, lambda n: work)


def kind_of(task: Task) -> tuple[Any, ...]:
    """A key by which tasks are grouped: two tasks have the same one if they differ in nothing but their shadow."""
    fields = (name for name in type(task.work).__dataclass_fields__ if name != "private")
    return task.operation, *(repr(getattr(task.work, name)) for name in fields)


def kinds(plan: Plan) -> dict[tuple[Any, ...], list[Task]]:
    """The plan's tasks that a GPU could compute, by kind; those of the attacks stay on the CPU."""
    found: dict[tuple[Any, ...], list[Task]] = {}
    for task in plan.tasks.values():
        if task.kind in guess.ON_DEVICE:
            found.setdefault(kind_of(task), []).append(task)
    return found


def arms(bench: Bench) -> Iterator[Row | tuple[str, BaseException]]:
    """One task of each kind: a unit of it, which later ones then begin from, and what a unit takes."""
    from runtime.execution.worker import TaskRequest, compute, prepare_worker

    plan, store = study(bench), bench.folder / "store"
    prepare_worker()
    chosen = {tasks[0].id: kind for kind, tasks in kinds(plan).items()}
    paces: dict[tuple[Any, ...], tuple[Pace, Division]] = bench.found.setdefault("paces", {})
    lost: set[str] = set()
    for id, task in plan.to_run(lambda _: False, chosen).items():
        what = _short(task)
        if any(need in lost for _, need in task.needs):
            lost.add(id)
            yield what, RuntimeError("needs a line above that failed")
            continue
        try:
            part = divided(bench, task.work)
            request = TaskRequest(id, part.make(part.least), task.needs, task.address, task.text, 1)
            (outcome,) = compute((request,), store, bench.device.type, OPERATIONS)
            if outcome.status != "done":
                raise _error_of(outcome.error)
            if id in chosen:
                found = pace(bench, partial(_perform, bench, task, part, store), part.full, min(part.least, part.full))
                paces[chosen[id]] = found, part
                yield _row(what, part, found)
        except Exception as error:
            lost.add(id)
            yield what, error


def _row(what: str, part: Division, found: Pace) -> Row:
    said = "as a whole"
    if part.full > 1:
        said = f"{1000 * found.each:,.3g} ms a {part.unit} of {part.full:,}, {found.before:,.2g} s before"
    rate = part.images / found.each if part.images and found.each else None
    return Row(what, rate, found.of(part.full), found.memory, said)


def _short(task: Task) -> str:
    return task.address.replace("#0/shadow 0", "").replace("/", ": ", 1)


def _error_of(said: str) -> Exception:
    name, _, text = said.partition(": ")
    absent = text.partition("No module named ")[2].strip("'\"")
    return ImportError(text, name=absent) if name in ("ModuleNotFoundError", "ImportError") else RuntimeError(said)


def _perform(bench: Bench, task: Task, part: Division, store: Path, units: int) -> None:
    inputs = {role: Artifact(folder_of(store, need)) for role, need in task.needs}
    module = importlib.import_module(OPERATIONS[type(task.work).__name__])
    module.perform(part.make(units), inputs, bench.device)


def hours(bench: Bench) -> Iterator[Row | tuple[str, BaseException]]:
    """Predicts the hours of each arm with all its shadows, not counting tasks that an earlier arm has too, and of the whole
    profile."""
    plan = study(bench)
    if "paces" not in bench.found:
        raise RuntimeError("needs the part `arms`")
    costs = predicted(bench, plan)
    counted: set[str] = set()
    total = 0.0
    for arm in dict.fromkeys(planned.trial.arm_name for planned in plan.trials):
        stages = {stage.task: stage for planned in plan.trials if planned.trial.arm_name == arm for stage in planned.stages}
        new = [id for id in stages if id not in counted and plan.tasks[id].kind in guess.ON_DEVICE]
        counted.update(new)
        known = [costs[id] for id in new if id in costs]
        took = sum(cost.seconds for cost in known)
        total += took if arm != BESIDE_THE_PROFILE else 0.0
        shadow = sum(costs[id].seconds for id, stage in stages.items() if stage.shadow == 0 and id in costs)
        said = f"{took / 3600:,.3g} hours; {shadow:,.3g} s the first shadow, with what it shares"
        if len(known) < len(new):
            said += f"; without {len(new) - len(known)} tasks that were not measured"
        if arm == BESIDE_THE_PROFILE:
            said += "; no arm of the profile, and not in its sum"
        yield Row(arm, None, took, max((cost.vram_mb for cost in known), default=None), said)
    gain = bench.found.get("gain")
    fewer = f"; {total / gain / 3600:,.3g} by four processes on one GPU" if gain else ""
    yield Row("the whole profile", None, total, None, f"{total / 3600:,.3g} hours{fewer}; without attacks and claims, on the CPU")
    if bench.run:
        yield _beside_a_run(bench, plan, costs)


def predicted(bench: Bench, plan: Plan) -> dict[str, Expected]:
    """Task → expected cost, for tasks whose kind was measured: the estimate of `compiler.inspect.cost` with the measured pace as
    history."""
    costs: dict[str, Expected] = {}
    for kind, tasks in kinds(plan).items():
        if kind in bench.found["paces"]:
            found, part = bench.found["paces"][kind]
            guessed = guess.cost(tasks[0].work)
            held = (found.memory + guess.DEVICE_MB) / guessed.gpu_mb if guessed.gpu_mb else None  # none is guessed for a base
            past = Past(1, found.of(part.full) / guessed.seconds, 1.0, found.memory, held)
            costs |= estimate({task.id: task for task in tasks}, {tasks[0].operation: past}, 1).costs
    return costs


def _beside_a_run(bench: Bench, plan: Plan, costs: dict[str, Expected]) -> Row:
    """Runs the plan, and compares the measured seconds of those tasks whose seconds were predicted with the prediction."""
    from runtime.execution.driver import Driver
    from runtime.execution.engine import InlineEngine
    from runtime.outcome import Outcome

    took: dict[str, float] = {}
    failed: list[str] = []

    def keep(task: Task, outcome: Outcome, attempt: int) -> None:
        if outcome.status != "done" or outcome.provenance is None:
            failed.append(f"{task.address}: {outcome.error}")
        elif task.id in costs:
            of = outcome.provenance
            took[task.id] = (of.cpu_seconds or of.seconds) if bench.device.type == "cpu" else of.seconds

    engine = InlineEngine(bench.folder / "run", bench.device.type, OPERATIONS)
    Driver(plan.to_run(lambda _: False, costs), engine, keep).run()
    expected, seen = sum(costs[id].seconds for id in took), sum(took.values())
    lost = f"; {len(failed)} failed, such as {failed[0]}" if failed else ""
    said = f"predicted {expected:,.3g} s for its {len(took):,} tasks: {expected / seen if seen else math.nan:.2f} × the truth{lost}"
    return Row("a run of the same plan", None, seen, None, said)
