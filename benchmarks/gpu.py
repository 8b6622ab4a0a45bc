"""Checks and measurements on a GPU, in one table: `benchmarks/gpu.sh`, or `python benchmarks/gpu.py [--only PART …]`.

    checks    the CUDA path beside the CPU's: the same members and choices, accuracies within noise, equal attacks on equal logits
    shadows   plain loop in float32, plain loop in bfloat16 with channels last, ours: three nets
    private   DP-SGD beside Opacus, WRN-16-4, each image under 16 augmentations
    arms      one unit (a step, a round, images drawn) of every task of every arm of the profile `cifar10`, at full size, on random
              images in CIFAR's format, with its memory; then as many as fill `--budget` seconds. So also a step of DM, U-Net and
              latent model, LoRA and full tuning
    beside    four processes on one GPU, inline and (where it is installed) by Ray
    hours     of the profile, from what was measured; with `--run` beside a real run of the same (reduced) plan

`--device cpu --scale 0.001` rehearses all of it: images, batches and canaries shrink by the scale's square root, widths by its cube
root, epochs by the scale. A part, or a line of one, that fails is a row with its reason; the table is written anew after every row.
On a CPU seconds are those of the processor. Records nothing but the table; everything else lies in a temporary folder.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

if TYPE_CHECKING:
    import torch

PACKAGES = ("numpy", "scipy", "pydantic", "safetensors", "diffusers", "peft", "transformers", "dp-accounting", "opacus", "ray")
PARTS = ("checks", "shadows", "private", "arms", "beside", "hours")


@dataclass(frozen=True)
class Row:
    """One line of the table; a field is None where it does not apply."""

    what: str
    rate: float | None = None
    """Images per second."""
    seconds: float | None = None
    memory: float | None = None
    """MB: that torch held at most on a GPU; on a CPU of the process."""
    said: str = ""


@dataclass
class Bench:
    """The machine, the size, and what earlier parts found out for later ones."""

    device: torch.device
    scale: float
    budget: float
    """Seconds that a measurement should last."""
    folder: Path
    run: bool = False
    found: dict[str, Any] = field(default_factory=dict)

    def count(self, full: int, least: int = 1) -> int:
        """A count (of images, canaries or steps) at this scale."""
        return max(least, round(full * self.scale**0.5))

    def width(self, full: int) -> int:
        """Width of a net at this scale, a multiple of 8."""
        return max(8, 8 * round(full * self.scale ** (1 / 3) / 8))

    def clock(self) -> float:
        """Seconds from an arbitrary start, for differences: wall-clock time after all kernels have ended where the device is a GPU,
        processor time of this process where it is the CPU."""
        import torch

        if self.device.type != "cuda":
            return time.process_time()
        torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def seconds(self, do: Callable[[], object]) -> float:
        begun = self.clock()
        do()
        return self.clock() - begun

    def reset_memory(self) -> None:
        import torch

        from runtime import machine

        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        machine.reset_peak_memory()

    def memory(self) -> float:
        """MB held at most since `reset_memory`."""
        import torch

        from runtime import machine

        return torch.cuda.max_memory_allocated(self.device) / 1e6 if self.device.type == "cuda" else machine.peak_memory_mb()


@dataclass(frozen=True)
class Pace:
    """What a divisible piece of work takes: seconds before the first unit, and for each."""

    before: float
    each: float
    memory: float

    def of(self, units: float) -> float:
        return self.before + self.each * units


def pace(bench: Bench, do: Callable[[int], object], most: int, least: int = 1) -> Pace:
    """Time `least` units after a warm-up, then growing numbers of units until they take `budget` seconds more. No further units are
    timed where the first take three times the budget."""
    bench.reset_memory()
    do(least)
    few = many = bench.seconds(partial(do, least))
    units = least
    while units < most and (units == least or many < few + bench.budget) and not few > 3 * bench.budget > 0:
        units = min(most, 3 * units)
        many = bench.seconds(partial(do, units))
    each = (many - few) / (units - least) if many > few else many / units
    return Pace(max(0.0, few - each * least), each, bench.memory())


class Table:
    """Rows of Markdown, on the disk after each."""

    def __init__(self, path: Path, head: list[str]) -> None:
        self.path = path
        self.lines = [*head, "", "| part | what | images/s | seconds | MB | said |", "|---|---|---|---|---|---|"]
        self.failed = 0
        self._write()

    def add(self, part: str, row: Row) -> None:
        cells = [part, row.what, _figure(row.rate), _figure(row.seconds), _figure(row.memory), row.said]
        self.lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
        print(self.lines[-1], flush=True)
        self._write()

    def fail(self, part: str, what: str, error: BaseException) -> None:
        self.failed += not isinstance(error, ImportError)
        self.add(part, Row(what, said=reason(error)))

    def _write(self) -> None:
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        beside.write_text("\n".join(self.lines) + "\n", encoding="utf-8")
        beside.replace(self.path)


def reason(error: BaseException) -> str:
    """A sentence that says why a line has no figure."""
    if isinstance(error, ImportError):
        return f"left out: {error.name or error} is not installed"
    said = " ".join(str(error).split())
    return f"failed: {type(error).__name__}: {said[:300]}"


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def versions(device: str, scale: float) -> list[str]:
    """Lines to print above the table: the command, the date, the commit, the machine, and versions of packages."""
    from runtime import machine

    def version(package: str) -> str:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return "absent"

    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    lines = [
        f"`{shlex.join(sys.argv)}`, {when} UTC, commit {machine.commit() or 'unknown'}, scale {scale:g}",
        f"{platform.platform()}, {machine.cores()} cores, Python {platform.python_version()}",
        ", ".join(f"{package} {version(package)}" for package in PACKAGES),
    ]
    try:
        import torch
    except ImportError:
        return [*lines, "torch absent"]
    lines.append(
        f"torch {torch.__version__}, CUDA {torch.version.cuda or 'none'}, cuDNN {torch.backends.cudnn.version() or 'none'}"
    )
    if device != "cuda":
        return [*lines, f"CPU, {torch.get_num_threads()} thread(s): a rehearsal; seconds of the processor"]
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(ask, capture_output=True, text=True, timeout=20, check=True).stdout.split("\n")[0]
    except (OSError, subprocess.SubprocessError):
        driver = "unknown (no nvidia-smi)"
    return [*lines, f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB, driver {driver}"]


def rows(part: str, bench: Bench) -> Iterator[Row | tuple[str, BaseException]]:
    """Yields the rows of a part; for a line that fails, its name and the error."""
    if part in ("arms", "hours"):
        import gpu_profile

        yield from getattr(gpu_profile, part)(bench)
    else:
        import gpu_parts

        yield from getattr(gpu_parts, part)(bench)


def measure(part: str, bench: Bench, table: Table) -> None:
    """Adds all rows of a part to the table; an error that ends the part is a row too."""
    begun = time.perf_counter()
    try:
        for row in rows(part, bench):
            if isinstance(row, Row):
                table.add(part, row)
            else:
                table.fail(part, *row)
    except Exception as error:
        table.fail(part, "all of it, or the rest", error)
    print(f"{part}: {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help="of " + ", ".join(PARTS))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--device", choices=("cuda", "cpu"), help="default: a GPU, if torch finds one")
    parser.add_argument("--budget", type=float, help="seconds of each measurement (default: 4 × the scale's square root)")
    parser.add_argument("--arms", nargs="+", metavar="ARM", help="of the profile, instead of all")
    parser.add_argument("--run", action="store_true", help="also run what `hours` predicts (at a small scale: it may be days)")
    parser.add_argument("--out", type=Path, default=Path("gpu.md"), metavar="FILE")
    parser.add_argument("--beside", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.beside:
        import gpu_parts

        return gpu_parts.compute_beside(args.beside)
    try:
        import torch
    except ImportError:
        Table(args.out, versions("cpu", args.scale)).fail("all", "everything", ImportError(name="torch"))
        return 1
    name = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        parser.error(f"torch {torch.__version__} finds no GPU it can use; `--device cpu --scale 0.001` rehearses without one")
    if name == "cpu":
        torch.set_num_threads(1)
    table = Table(args.out, versions(name, args.scale))
    with tempfile.TemporaryDirectory(prefix="synthc-gpu-") as folder:
        os.environ |= {"SYNTHC_DATA": f"{folder}/data", "XDG_CACHE_HOME": f"{folder}/cache"}
        budget = args.budget if args.budget is not None else 4 * args.scale**0.5
        bench = Bench(torch.device(name), args.scale, budget, Path(folder), args.run)
        bench.found["only"] = args.arms
        for part in args.only:
            measure(part, bench, table)
    print(f"{args.out}: {table.failed} lines failed", file=sys.stderr)
    return 1 if table.failed else 0


if __name__ == "__main__":
    import gpu  # the parts import it by this name, and its classes must be theirs

    sys.exit(gpu.main())
