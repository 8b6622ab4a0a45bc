"""Accuracy of DP-SGD on digits by epsilon: `OMP_NUM_THREADS=1 python benchmarks/dp_sgd.py [--epsilon 1] [--row FIELD=VALUE …]`.

Trains the first shadows of `specs/full_study.yaml` with DP-SGD under one recipe, and with fields of it changed. Every row is one
that whoever tunes has looked at, which no accountant counts. Prints one table as it goes: noise, steps, test accuracy (mean ± one
standard deviation over shadows), CPU seconds of a shadow. Records nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.pop(0)  # this folder: its `statistics` would hide Python's own
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import dataclasses
import time

import numpy as np
import torch

from compiler.compile import compile_study
from compiler.work.operations import TrainClassifier
from runtime.training.classifier import perform

SPEC = Path(__file__).resolve().parents[1] / "specs/full_study.yaml"
BASE = "net=small norm=group width=16 epochs=12 batch_size=256 lr=1.0 momentum=0.0 weight_decay=0.0 schedule=constant"
MLP = "net=mlp norm=none width=64 "
CURVE = (
    "", "lr=0.5", "lr=2.0", "lr=4.0", "epochs=6", "epochs=6 lr=2.0", "epochs=24", "epochs=24 lr=0.5", "batch_size=128",
    "batch_size=512 lr=2.0", "batch_size=512 epochs=24 lr=2.0", "width=8", "width=8 epochs=6 lr=2.0", "width=32", "clip=0.3 lr=3.0",
    "ema=0.9", "epochs=24 lr=0.5 ema=0.9", *(MLP + row for row in (
        "", "lr=0.25", "lr=0.5", "lr=0.7", "lr=2.0", "epochs=8", "epochs=6 lr=0.5", "epochs=24 lr=0.25",
        "batch_size=512 epochs=20 lr=0.5",
        "width=32 lr=0.5", "width=128 lr=0.5", "lr=0.5 ema=0.9",
    )),
)  # fmt: skip
OF_PRIVACY = ("clip", "multiplicity")


def work_of(row: str, epsilon: float) -> TrainClassifier:
    """The training of the first shadow, with the fields of a row changed; of a field that is named twice the last counts."""
    fields = dict(one.split("=") for one in f"{BASE} {row}".split())
    sets = [f"arms.dp_sgd.{'privacy' if name in OF_PRIVACY else 'classifier'}.{name}={value}" for name, value in fields.items()]
    plan = compile_study(SPEC, None, [*sets, f"arms.dp_sgd.privacy.epsilon={epsilon}"])
    stages = next(planned.stages for planned in plan.trials if planned.trial.arm_name == "dp_sgd")
    work = plan.tasks[next(stage.task for stage in stages if stage.name == "model")].work
    assert isinstance(work, TrainClassifier)
    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epsilon", type=float, default=1.0, help="at delta 1e-5 (default: 1)")
    parser.add_argument("--shadows", type=int, default=3, help="trained for each row (default: 3)")
    parser.add_argument("--row", nargs="+", metavar="FIELD=VALUE", help="one row with these fields changed, instead of the curve")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"epsilon {args.epsilon:g}, {args.shadows} shadows; {BASE}")
    print(f"{'changed':<60} {'noise':>7} {'steps':>6} {'accuracy %':>12} {'CPU s':>7}", flush=True)
    for row in CURVE if args.row is None else [" ".join(args.row)]:
        work = work_of(row, args.epsilon)
        accuracy, seconds, noise = [], [], 0.0
        for shadow in range(args.shadows):
            asked = dataclasses.replace(work, private=dataclasses.replace(work.private, shadow=shadow))
            started = time.process_time()
            said = {metric.name: metric.value or 0.0 for metric in perform(asked, {}, torch.device("cpu")).metrics}
            seconds.append(time.process_time() - started)
            accuracy.append(100 * said["test_accuracy"])
            noise = said["noise_multiplier"]
        shown = f"{np.mean(accuracy):>6.1f} ± {np.std(accuracy, ddof=1) if len(accuracy) > 1 else 0:.1f}"
        # The first shadow also loads data and finds the noise, which later ones remember.
        print(f"{row or '(as it is)':<60} {noise:>7.2f} {work.iterations:>6} {shown:>12} {min(seconds):>7.2f}", flush=True)


if __name__ == "__main__":
    main()
