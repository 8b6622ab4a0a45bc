"""Synthetic sets of real Fashion-MNIST beside what the papers lead to expect: `python benchmarks/fashion_mnist.py FAMILY`.

    coreset        forgetting and CCS against random parts, 30 and 90 % pruned
    distillation   DM and DSA at 10 images per class against as many real ones, one evaluator for all
    data_free_kd   a student by inversion beside its teacher
    diffusion      a classifier that only saw drawn images

A seed draws private images, initial weights and every order anew; arms of a seed share them, so differences are paired. Accuracies
are on the whole official test set, in percent, with Student's t intervals over seeds; CPU seconds are of one arm's whole pipeline,
its evaluation included (`OMP_NUM_THREADS=1` for those of one core). Nobody is mislabeled here. Needs the images (Debian:
dataset-fashion-mnist). Prints tables; `--keep FILE` adds each accuracy to a file of JSON lines, and later calls with the same
settings report from it too, so that a few seeds can be run at a time.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.pop(0)  # this folder: its `statistics` would hide Python's own
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import TypeAdapter
from scipy import stats
from torch import Tensor

from compiler.language.base import Method
from compiler.language.classifier import Augment, Recipe
from compiler.language.datasets import CARDS, Card, used_at
from compiler.language.study import AnyArm
from compiler.work.operations import Dataset
from runtime.data.images import LabeledImages
from runtime.data.sources import load
from runtime.seeds import Seeds
from runtime.synthesize.diffusion.generate import train_generator
from runtime.synthesize.operation import synthesize
from runtime.synthesize.release import Release, Setting
from runtime.training.batches import Fitted, Training
from runtime.training.nets import build, restored
from runtime.training.scoring import accuracy
from runtime.training.sgd import fit

Found = Iterator[tuple[str, float, float]]
"""Arm, test accuracy in percent, CPU seconds."""


@dataclass(frozen=True)
class Kept:
    """What an earlier stage left, in memory: as much of an artifact as methods ask for."""

    files: Mapping[str, Mapping[str, Tensor]]

    def tensors(self, stem: str) -> Mapping[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self.files[stem].items()}


@dataclass(frozen=True)
class Bench:
    """One seed: its private images, the test images, its streams and the classifier that judges every set."""

    private: LabeledImages
    test: LabeledImages
    setting: Setting

    @property
    def card(self) -> Card:
        return self.setting.card

    def made(self, how: Method, **needs: Any) -> Release:
        return synthesize(how, self.private, needs, self.setting)

    def trained(self, images: Tensor, labels: Tensor, purpose: str = "classifier", dynamics: bool = False) -> Fitted:
        setting, recipe = self.setting, self.setting.recipe
        net = build(recipe, self.card, setting.seeds(f"{purpose}/init"))
        training = Training(
            images=images,
            labels=labels,
            recipe=recipe,
            iterations=setting.iterations,
            card=self.card,
            seeds=setting.seeds,
            device=setting.device,
            purpose=purpose,
        )
        return fit(net, training, dynamics=dynamics)

    def right(self, fitted: Fitted) -> float:
        return 100 * accuracy(fitted.net, self.test.images, self.test.labels, self.card, self.setting.device)

    def judged(self, images: Tensor, labels: Tensor) -> float:
        return self.right(self.trained(images, labels))


def words(**fields: Any) -> Any:
    return TypeAdapter(AnyArm).validate_python(fields)


def stopwatch() -> Callable[[], float]:
    started = time.process_time()
    return lambda: time.process_time() - started


# Families: each yields its arms one by one


def coreset(bench: Bench, arms: Mapping[str, Any]) -> Found:
    """The proxy is the classifier's recipe on all private images, its dynamics logged: as many passes as `full` makes."""
    private, watch = bench.private, stopwatch()
    yield "full", bench.judged(private.images, private.labels), watch()
    watch = stopwatch()
    proxy = bench.trained(private.images, private.labels, "proxy", dynamics=True)
    assert proxy.dynamics is not None
    kept, of_proxy = Kept({"model": proxy.net.state_dict(), "dynamics": proxy.dynamics}), watch()
    for arm, how in arms.items():
        watch = stopwatch()
        chosen = bench.made(how, proxy=kept)
        yield arm, bench.judged(chosen.images, chosen.labels), watch() + (of_proxy if how.needs else 0.0)


def distillation(bench: Bench, arms: Mapping[str, Any]) -> Found:
    for arm, how in arms.items():
        watch = stopwatch()
        made = bench.made(how)
        yield arm, bench.judged(made.images, made.labels), watch()


def data_free_kd(bench: Bench, arms: Mapping[str, Any]) -> Found:
    watch = stopwatch()
    teacher = bench.trained(bench.private.images, bench.private.labels)
    yield "teacher", bench.right(teacher), (of_teacher := watch())
    for arm, how in arms.items():
        watch = stopwatch()
        student = bench.made(how, teacher=Kept({"model": teacher.net.state_dict()})).student
        assert student is not None
        net = restored(bench.setting.recipe, bench.card, dict(student))
        yield arm, 100 * accuracy(net, bench.test.images, bench.test.labels, bench.card, bench.setting.device), of_teacher + watch()


def diffusion(bench: Bench, arms: Mapping[str, Any]) -> Found:
    """Arms share the generator; its seconds count for each. The filter is the classifier of the real images."""
    watch = stopwatch()
    real = bench.trained(bench.private.images, bench.private.labels)
    yield "real", bench.right(real), (of_filter := watch())
    watch = stopwatch()
    (denoiser,) = {how.denoiser.model_dump_json(): how.denoiser for how in arms.values()}.values()
    needs = {"generator": Kept(train_generator(denoiser, bench.private, bench.setting).files)}
    of_generator = watch()
    for arm, how in arms.items():
        watch = stopwatch()
        made = bench.made(how, **needs, teacher=Kept({"model": real.net.state_dict()}))
        seconds = of_generator + (of_filter if how.filter else 0.0)
        yield arm, bench.judged(made.images, made.labels), watch() + seconds


@dataclass(frozen=True)
class Wanted:
    """A difference of two arms that the papers lead to expect."""

    left: str
    right: str
    least: float
    """Points that left is wanted to be above right; negative: it may be below."""


@dataclass(frozen=True)
class Family:
    run: Callable[[Bench, Mapping[str, Any]], Found]
    recipe: Recipe
    iterations: int
    arms: Mapping[str, Any]
    differences: tuple[Wanted, ...] = ()
    levels: Mapping[str, float] = field(default_factory=dict)
    """Arm → least accuracy wanted."""
    published: str = ""


SMALL = Recipe(net="small", width=8, batch_size=64, augment=Augment(shift=2, flip=True))
EVALUATOR = Recipe(net="convnet", width=32, norm="instance", batch_size=100, lr=0.03, schedule="cosine", augment=Augment(dsa=True))
"""As the distillation papers judge, in fewer steps: SGD, momentum 0.9, weight decay 5e-4, a map of DSA for each image."""
TEN = {"paradigm": "distillation", "images_per_class": 10, "init": "real", "batch_real": 32}

FAMILIES = {
    "coreset": Family(
        coreset,
        SMALL,
        1500,
        {
            f"{method} {fraction:g}": words(paradigm="coreset", method=method, fraction=fraction)
            for method, fraction in (("random", 0.7), ("forgetting", 0.7), ("random", 0.1), ("forgetting", 0.1), ("ccs", 0.1))
        },
        (Wanted("forgetting 0.7", "full", -0.5), Wanted("random 0.1", "forgetting 0.1", 0.0), Wanted("ccs 0.1", "random 0.1", 0.0)),
    ),
    "distillation": Family(
        distillation,
        EVALUATOR,
        300,
        {
            "random": words(paradigm="coreset", method="random", per_class=10),
            "dm": words(**TEN, method="dm", steps=200),
            "dsa": words(**TEN, method="dsa", nets=10, points=10, net_steps=5, lr=0.5),
        },
        (Wanted("dm", "random", 0.0), Wanted("dsa", "random", 0.0)),
        {"dsa": 75.0},
        "published for DSA at width 128 with 60,000 images and 1,000 nets: 84.6; not measured here, it needs a GPU",
    ),
    "data_free_kd": Family(
        data_free_kd,
        SMALL,
        1500,
        {
            "student": words(
                paradigm="data_free_kd",
                method="inversion",
                batch_size=64,
                rounds=240,
                student_steps=10,
                temperature=10.0,
                width=16,
                shift=2,
            )
        },
        (Wanted("student", "teacher", -6.0),),
    ),
    "diffusion": Family(
        diffusion,
        SMALL,
        1500,
        {
            arm: words(
                paradigm="diffusion",
                method="conditional",
                steps=25,
                **more,
                denoiser={"net": "latent_mlp", "width": 384, "blocks": 3, "components": 96, "epochs": 150.0},
            )
            for arm, more in (("drawn", {}), ("drawn, believed", {"filter": 0.5, "multiple": 2.0}))
        },
        levels={"drawn": 80.0, "drawn, believed": 80.0},
    ),
}


# Tables


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and Student's t interval at 95 %."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, math.nan, math.nan
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.tstd(values) / math.sqrt(len(values)))
    return mean, mean - half, mean + half


def report(family: Family, rows: Sequence[Mapping[str, Any]]) -> None:
    by_arm: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        by_arm.setdefault(row["arm"], {})[row["seed"]] = row
    print(f"\n{'arm':<18} {'n':>3} {'accuracy':>9} {'95 % interval':>16} {'CPU s':>8}  wanted")
    for arm, found in by_arm.items():
        mean, low, high = interval([row["accuracy"] for row in found.values()])
        seconds = sum(row["seconds"] for row in found.values()) / len(found)
        wanted = f"≥ {family.levels[arm]:g}: {'met' if mean >= family.levels[arm] else 'missed'}" if arm in family.levels else ""
        print(f"{arm:<18} {len(found):>3} {mean:>9.2f} {f'{low:.2f} – {high:.2f}':>16} {seconds:>8.1f}  {wanted}")
    print(f"\n{'difference, paired by seed':<32} {'n':>3} {'points':>7} {'95 % interval':>16}  wanted")
    for one in family.differences:
        left, right = by_arm.get(one.left, {}), by_arm.get(one.right, {})
        shared = sorted(left.keys() & right.keys())
        if not shared:
            continue
        mean, low, high = interval([left[seed]["accuracy"] - right[seed]["accuracy"] for seed in shared])
        verdict = "met" if low >= one.least else "met in the mean" if mean >= one.least else "missed"
        name = f"{one.left} − {one.right}"
        print(f"{name:<32} {len(shared):>3} {mean:>7.2f} {f'{low:.2f} – {high:.2f}':>16}  ≥ {one.least:g}: {verdict}")
    if family.published:
        print(family.published)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="which seeds to run (default: 0 1 2)")
    parser.add_argument("--images", type=int, default=5000, help="private images of each seed (default: 5000)")
    parser.add_argument("--side", type=int, default=28, help="pixels that images are brought to (default: 28, as they are)")
    parser.add_argument("--width", type=int, help="of the nets; published: 128 for distillation")
    parser.add_argument("--keep", type=Path, help="file of JSON lines to add to and to report from")
    args = parser.parse_args()

    family = FAMILIES[args.family]
    recipe = family.recipe.model_copy(update={"width": args.width} if args.width else {})
    arms = {
        arm: how.model_copy(update={"width": args.width} if args.width and how.paradigm == "distillation" else {})
        for arm, how in family.arms.items()
    }
    settings = {f"{args.images:,} images of {args.side}×{args.side}, {family.iterations} steps of the classifier": recipe, **arms}
    given = "\n".join(f"{what}: {how.model_dump_json(exclude_defaults=True)}" for what, how in settings.items())
    print(given, flush=True)
    card = used_at(CARDS["fashion_mnist"], (1, args.side, args.side))
    data = load(Dataset(card.name, card.digest, None, None, card.shape))
    assert data.test is not None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = [json.loads(line) for line in args.keep.read_text().splitlines()] if args.keep and args.keep.exists() else []
    rows = [row for row in rows if row["given"] == given]
    for seed in args.seeds:
        seeds = Seeds(seed, 0, 0)
        private = data.pool[torch.randperm(len(data.pool), generator=seeds("benchmark/private"))[: args.images]]
        setting = Setting(
            card=card, seeds=seeds, device=device, expected_size=args.images, recipe=recipe, iterations=family.iterations
        )
        for arm, found, seconds in family.run(Bench(private, data.test, setting), arms):
            row = {"given": given, "seed": seed, "arm": arm, "accuracy": found, "seconds": seconds}
            rows.append(row)
            print(f"seed {seed}, {arm}: {found:.2f} % in {seconds:.1f} s", flush=True)
            if args.keep:
                with args.keep.open("a") as out:
                    print(json.dumps(row), file=out)
    report(family, rows)


if __name__ == "__main__":
    main()
