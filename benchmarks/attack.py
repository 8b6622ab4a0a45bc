"""Time of attacks and intervals: `OMP_NUM_THREADS=1 python benchmarks/attack.py [--only NAME]`.

Each measurement runs in a process of its own: CPU seconds of the work alone, and the peak memory of the whole process beside
what it held before the work began (its imports and its input). Data are drawn here; the cost does not depend on their values.
Prints one table; records nothing.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from compiler.work.operations import AuditSettings
from runtime.audit.attacks.label_only import label_only
from runtime.audit.attacks.lira import lira
from runtime.audit.attacks.pool import ShadowPool
from runtime.audit.external.audit_file import audit
from runtime.audit.external.evidence import Evidence
from runtime.audit.statistics.bootstrap import Resamples, read_resamples
from runtime.audit.statistics.deployed import shadow_only

Work = Callable[[], object]


@dataclass(frozen=True)
class Measurement:
    """Something to measure: `prepare` draws the data and gives the work."""

    what: str
    target: str
    prepare: Callable[[np.random.Generator], Work]


def membership(rng: np.random.Generator, canaries: int, shadows: int) -> np.ndarray:
    """canary × shadow, in pairs."""
    member = np.empty((canaries, shadows), bool)
    member[:, 0::2] = rng.random((canaries, shadows // 2)) < 0.5
    member[:, 1::2] = ~member[:, 0::2]
    return member


def leave_one_out(shadows: int, canaries: int, views: int, variant: str) -> Callable[[np.random.Generator], Work]:
    def prepare(rng: np.random.Generator) -> Work:
        member = membership(rng, canaries, shadows)
        signal = rng.normal(size=(canaries, views, shadows))
        return lambda: lira(signal, ShadowPool(member, paired=True), variant)

    return prepare


def bootstrap(rng: np.random.Generator) -> Work:
    member = membership(rng, 500, 64)
    scores = rng.normal(size=member.shape) + member
    return lambda: read_resamples(scores, member, (0.001, 0.01, 0.1), Resamples.draw(1000, 500, rng, 64, paired=True))


def deployed(rng: np.random.Generator) -> Work:
    member = membership(rng, 500, 64)
    scores = rng.normal(size=member.shape) + member
    return lambda: shadow_only(scores, member, 0.01, True, Resamples.draw(1000, 500, rng, 64, paired=True))


def labels_only(rng: np.random.Generator) -> Work:
    member = membership(rng, 500, 64)
    correct = (rng.random((500, 18, 64)) < np.where(member[:, None, :], 0.8, 0.4)).astype(np.float64)
    return lambda: label_only(correct, ShadowPool(member, paired=True))


def whole(rng: np.random.Generator) -> Work:
    member = membership(rng, 500, 64)
    labels = rng.integers(0, 10, 500)
    logits = rng.normal(size=(64, 500, 18, 10)).astype(np.float32)
    logits += 2 * (member.T[:, :, None, None] * (np.arange(10) == labels[None, :, None, None])).astype(np.float32)
    evidence = Evidence("logits", logits, member, labels)
    return lambda: audit(evidence, AuditSettings())


def whole_large(rng: np.random.Generator) -> Work:
    member = membership(rng, 50_000, 256)
    signal = rng.normal(size=(256, 50_000)).astype(np.float32) + member.T.astype(np.float32)
    evidence = Evidence("signal", signal, member)
    return lambda: audit(evidence, AuditSettings(tried=("lira",)))


MEASUREMENTS = {
    "pooled": Measurement("LiRA, pooled, 64 shadows × 500 × 18 views", "0.5 s, 500 MB", leave_one_out(64, 500, 18, "pooled")),
    "per_example": Measurement("LiRA, per example, the same", "0.5 s, 500 MB", leave_one_out(64, 500, 18, "per_example")),
    "student_t": Measurement("LiRA, Student t, the same", "0.5 s, 500 MB", leave_one_out(64, 500, 18, "student_t")),
    "bootstrap": Measurement("1,000 two-way resamples, 64 × 500: TPR at three FPRs, AUC, balanced accuracy", "5 s", bootstrap),
    "deployed": Measurement("1,000 two-way resamples, 64 × 500: rates at thresholds from shadows alone", "", deployed),
    "label_only": Measurement("label-only, 64 × 500 × 18", "", labels_only),
    "large": Measurement("LiRA, pooled, 256 × 50,000 × 1", "2 GB", leave_one_out(256, 50_000, 1, "pooled")),
    "large_t": Measurement("LiRA, Student t, 256 × 50,000 × 1", "2 GB", leave_one_out(256, 50_000, 1, "student_t")),
    "whole": Measurement("synthc audit of logits 64 × 500 × 18 × 10: six attacks, intervals, null controls", "", whole),
    "whole_large": Measurement("synthc audit of a signal 256 × 50,000: LiRA, 156 resamples, 10 redraws", "2 GB", whole_large),
}


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name: str) -> None:
    """One row: CPU seconds, peak, what was held before."""
    work = MEASUREMENTS[name].prepare(np.random.default_rng(0))
    before, start = peak_megabytes(), time.process_time()
    work()
    print(f"{time.process_time() - start:>8.2f} {peak_megabytes():>9.0f} {before:>9.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=MEASUREMENTS, help="measure this in the present process, print its figures alone")
    args = parser.parse_args()
    if args.only:
        measure(args.only)
        return
    width = max(len(one.what) for one in MEASUREMENTS.values())
    print(f"{'':<{width}} {'CPU s':>8} {'peak MB':>9} {'before':>9}  target")
    for name, one in MEASUREMENTS.items():
        done = subprocess.run([sys.executable, __file__, "--only", name], capture_output=True, text=True, check=True)
        print(f"{one.what:<{width}} {done.stdout.rstrip()}  {one.target}", flush=True)


if __name__ == "__main__":
    main()
