"""Valid studies by the thousand: does a shadow run wherever `check` says "no mistakes"?

    python benchmarks/generated_studies.py 0 2000 --seconds 3600

Each seed gives one study of one arm, with every method in turn and work that is bounded; it is checked, and if it has no mistakes
shadow 0 is computed in this process, without its attacks. A failure prints its seed; divergence is none, as long as it says what
to lower. What was measured stands in LOG.md.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from compiler.compile import compile_study
from compiler.errors import SpecError
from compiler.lint.catalog import LINTS
from compiler.plan.dag import Plan, Task
from runtime.execution.worker import TaskRequest, compute
from runtime.operations import OPERATIONS

CORESETS = (
    "random forgetting el2n aum ccs grand least_confidence entropy margin k_center herding moderate graph_cut facility_location"
).split()
DISTILLED = "dm dc dsa mtt datm sre2l".split()
DATA_FREE = "inversion fast deep_inversion dafl zskt dfad dfq".split()
KINDS = (
    "undefended",
    "dp_sgd",
    *(f"coreset/{method}" for method in CORESETS),
    *(f"distillation/{method}" for method in DISTILLED),
    *(f"data_free_kd/{method}" for method in DATA_FREE),
    "diffusion/conditional",
    "diffusion/sdedit",
)


def study(seed: int) -> dict[str, Any]:
    """The study of a seed: methods are taken in turn, all else is drawn at random."""
    draws = random.Random(seed)
    kind = KINDS[seed % len(KINDS)]
    canaries = {"c": {"kind": draws.choice(["mislabeled", "clean", "blank"]), "count": draws.randint(1, 40)}}
    if draws.random() < 0.3:
        canaries["d"] = {"kind": "duplicated", "count": draws.randint(1, 10), "copies": draws.randint(1, 4)}
    attack = {"attack": "lira", "signal": "logit", "variant": draws.choice(["pooled", "per_example", "student_t"]), "queries": 1}
    audit = {
        "canaries": canaries,
        "z_pool": draws.choice([0, 20]),
        "shadows": draws.choice([8, 9, 12]),
        "membership": draws.choice(["pairs", "balanced", "bernoulli"]),
        "attacks": [attack],
        "queries": {"shift": draws.choice([0, 0, 1, 3, 9]), "flip": draws.random() < 0.3},
        "fpr": [0.1],
        "headline": {**attack, "canaries": "c", "fpr": 0.1},
    }
    return {
        "study": f"generated-{seed}",
        "allow": dict.fromkeys(LINTS, "a study that only has to run"),
        "seed": draws.randrange(1000),
        "data": {"name": draws.choice(["digits", "digits", "shapes"]), "test": draws.choice([60, 360]), **_subset(draws)},
        "public": {"name": "shapes"},
        "audit": audit,
        "classifier": _recipe(draws, kind),
        "arms": {"arm": _arm(draws, kind)},
    }


def _subset(draws: random.Random) -> dict[str, int]:
    return draws.choice([{}, {"subset": draws.randint(500, 1500)}])


def _recipe(draws: random.Random, kind: str) -> dict[str, Any]:
    private = kind == "dp_sgd"
    recipe = {
        "net": draws.choice(["small", "small", "convnet", "resnet9", "resnet18", "wrn", "mlp"]),
        "width": draws.choice([1, 2, 4, 7, 8]),
        "norm": draws.choice(["group", "none", "instance"] if private else ["batch", "batch", "group", "instance", "none"]),
        "epochs": draws.choice([0.1, 1, 2]),
        "batch_size": draws.choice([1, 16, 64, 300]) if draws.random() < 0.1 else draws.choice([32, 64, 128]),
        "lr": draws.choice([0.01, 0.1, 1.0]),
        "momentum": draws.choice([0.0, 0.9]),
        "schedule": draws.choice(["one_cycle", "cosine", "constant"]),
        "label_smoothing": draws.choice([0.0, 0.1]),
        "augment": {"shift": draws.choice([0, 1, 8, 20]), "flip": draws.random() < 0.3, "dsa": draws.random() < 0.2},
        "ema": draws.choice([None, 0.9]),
    }
    if recipe["net"] in ("convnet", "mlp"):
        recipe["depth"] = draws.choice([None, 1, 2, 3, 5])
    if recipe["net"] == "wrn":
        recipe |= {"depth": draws.choice([10, 16, 12]), "epochs": 0.1}
    if recipe["net"] == "resnet18":
        recipe["epochs"] = 0.1
    return recipe


def _arm(draws: random.Random, kind: str) -> dict[str, Any]:
    paradigm, _, method = kind.partition("/")
    arm: dict[str, Any] = {"paradigm": paradigm, **({"method": method} if method else {})}
    match paradigm:
        case "dp_sgd":
            noise = draws.choice(
                [{"noise_multiplier": draws.choice([0, 0.01, 1, 50])}, {"epsilon": draws.choice([0.1, 1, 8, 99, 1000])}]
            )
            arm["privacy"] = noise | {"clip": draws.choice([0.1, 1, 10]), "multiplicity": draws.choice([1, 2])}
        case "coreset":
            arm |= _one_of(draws, fraction=(0.0001, 0.005, 0.02, 0.1, 0.5, 1), per_class=(1, 5, 40, 80, 120, 5000))
            if method in ("el2n", "ccs", "grand"):
                arm["passes"] = draws.choice([1, 2])
            if method == "ccs":
                arm |= {"score": draws.choice(["aum", "el2n", "forgetting"]), "cut": draws.choice([0, 0.3, 0.9])}
                arm["strata"] = draws.choice([1, 5, 50])
            if method == "grand":
                arm["inits"] = 1
        case "distillation":
            arm["images_per_class"] = draws.choice([1, 2, 10, 60, 200])
            small = {"width": draws.choice([4, 8]), "depth": draws.choice([None, 1, 3, 4])}
            if method == "dm":
                arm |= {"steps": draws.choice([1, 3]), "batch_real": draws.choice([1, 16]), **small}
            elif method in ("dc", "dsa"):
                arm |= {"nets": 1, "points": draws.choice([1, 2]), "net_steps": draws.choice([0, 1]), "batch_real": 8, **small}
            elif method in ("mtt", "datm"):
                arm |= {"steps": 2, "net_steps": 2, "expert_epochs": 1, "last_start": 1}
                arm["experts"] = {"count": 1, "epochs": 2, "batch_size": 128, **small}
                arm |= {"first_start": 0, "window": 1} if method == "datm" else {}
            else:
                arm |= {"steps": 2}
            if method != "sre2l":
                arm["init"] = draws.choice(["noise", "real", "class_mean", "public"])
        case "data_free_kd":
            arm |= {"rounds": 2, "student_steps": 1, "batch_size": draws.choice([2, 16]), "shift": draws.choice([None, 0, 9])}
            arm |= {"lesson": draws.choice(["kl", "l1"]), "labels": draws.choice(["hard", "soft"])}
            if method in ("inversion", "fast", "deep_inversion"):
                arm["warm_up"] = draws.choice([0, 1])
            arm |= (
                {"pixel_steps": 2}
                if method == "deep_inversion"
                else {"width": draws.choice([1, 4, 8]), "latent": draws.choice([1, 8])}
            )
        case "diffusion":
            net = draws.choice(["mlp", "mlp", "latent_mlp"])
            arm["denoiser"] = {"net": net, "width": draws.choice([1, 8, 32]), "blocks": 1, "epochs": 0.5, "timesteps": 20}
            arm["denoiser"] |= {"components": draws.choice([1, 8, 64, 65])} if net == "latent_mlp" else {}
            arm |= {
                "steps": draws.choice([1, 4, 5, 20]),
                "sampler": draws.choice(["ddim", "ddpm"]),
                "multiple": draws.choice([0.01, 0.1, 1]),
            }
            arm |= {"guidance": draws.choice([1, 2.5])}
            if method == "sdedit":
                arm["strength"] = draws.choice([0.05, 0.5, 1])
    return arm


def _one_of(draws: random.Random, **fields: tuple[float, ...]) -> dict[str, float]:
    """One of the fields, with one of its values."""
    name = draws.choice(list(fields))
    return {name: draws.choice(fields[name])}


def shadow(plan: Plan) -> list[Task]:
    """The tasks that shadow 0 of the first trial needs, in the order of the plan, without attacks."""
    wanted = {stage.task for stage in plan.trials[0].stages if stage.shadow == 0}
    for task in reversed(list(plan.tasks.values())):
        if task.id in wanted:
            wanted |= {need for _, need in task.needs}
    return [task for task in plan.tasks.values() if task.id in wanted and task.kind not in ("attack", "compare")]


def judge(seed: int, folder: Path) -> tuple[str, str]:
    """What became of the study of a seed (refused, done, diverged or failed), and why."""
    spec = folder / "study.yaml"
    spec.write_text(json.dumps(study(seed)))
    try:
        plan = compile_study(spec)
    except SpecError as error:
        return "refused", str(error)
    for task in shadow(plan):
        request = TaskRequest(task.id, task.work, task.needs, task.address, task.text, 1)
        (outcome,) = compute([request], folder, operations=OPERATIONS)
        if outcome.status != "done":
            advised = outcome.error_kind == "diverged" and "lower" in (outcome.error or "")
            return "diverged" if advised else "failed", f"{task.operation}: {outcome.error}"
    return "done", ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("--seconds", type=float, default=3600, help="stop after so long")
    args = parser.parse_args()
    began, counts, slowest = time.monotonic(), Counter[str](), (0.0, -1)
    for seed in range(args.first, args.first + args.count):
        if time.monotonic() - began > args.seconds:
            break
        clock = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            what, why = judge(seed, Path(folder))
        slowest = max(slowest, (time.process_time() - clock, seed))
        counts[what] += 1
        if what == "failed":
            print(f"seed {seed}, {KINDS[seed % len(KINDS)]}: {why}", flush=True)
    print(f"{counts.total()} studies: {dict(counts)}; slowest {slowest[0]:.1f} CPU seconds, seed {slowest[1]}")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
