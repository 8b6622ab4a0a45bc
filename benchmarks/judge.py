"""Copies that `synthc judge` detects and misses: `OMP_NUM_THREADS=1 python benchmarks/judge.py [--only NAME …] [--repetitions N]`.

    fresh       sets of fresh images (disjoint parts of real data by lot): false alarms of every statement
    copies      1, 5 and 20 % of members copied in seven ways, and none: share listed, realised false-discovery rate, the lower
                bound beside the truth, and what two distances would have said
    bursts      natural near-duplicates on both sides: the lower bound beside the truth, phantoms
    misses      the first pass of the search beside brute force, on a tenth of `size`
    size        50,000 members × 10,000 holdout × 50,000 images of 32×32×3: seconds, memory
    study       each shadow's set of a finished study, judged, beside what its shadow models give away:
                --spec specs/examples/judged.yaml --db judged.duckdb --store .synthc [--profile NAME]

How near all images come to all is computed once; a repetition draws parts by lot, looks up their distances and computes everything
else anew: the first is compared with what `judge` computes.

Beside it, from their definitions: SDMetrics' DCROverfittingProtection (the share of synthetic rows nearer to members than to the
holdout, as a score: 1 for a half or less, else 2 (1 − share); near by the mean over columns of the difference over the column's
range, here that of all images), and plain distance to the closest record (an alarm where the set is nearer to a member than any two
images of the holdout are to each other).
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.pop(0)
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import io
import resource
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image
from scipy.stats import mannwhitneyu

from compiler.language.data import Data
from compiler.plan.lower import dataset_of
from compiler.work.operations import Synthesize
from runtime.audit.statistics.epsilon import guess, steinke
from runtime.data.cards import compile_with_files
from runtime.data.formats import shapes
from runtime.data.population.queries import views
from runtime.data.population.roles import private_set
from runtime.data.sources import load
from runtime.database.read import query
from runtime.judge import disclosure, nearness
from runtime.judge.disclosure import collection_p, copied_at_least, detectable, holdout_for, listed_members, phantoms
from runtime.judge.nearness import NEIGHBOURS, VIEWS, Features, Space, _without_brightness, combined, measure, public_features
from runtime.store.artifacts import Artifact, folder_of

KINDS = ("exact", "noise", "shifted", "brightened", "flipped", "jpeg", "blended")
SIZES = {"digits": 590, "fashion_mnist": 600, "shapes": 600}
"""Images in each of members, holdout and set."""
FRESH = 200
"""The same where nothing is copied: small, so that many draws can be made."""
DRAWN_FROM = 2_400
"""Images that parts are drawn from, at most."""
MIXED_IN = 27
"""Further images, halves of the blended copies: nobody's members."""


def images_of(name: str) -> torch.Tensor:
    return load(dataset_of(Data(name=name))).pool.images


def features_for(images: torch.Tensor) -> Features:
    drawn, _ = shapes.read(tuple(images.shape[1:]))  # type: ignore[arg-type]
    return public_features(drawn, "shapes")


class Lots:
    """Images that parts are drawn from, what could be released of them, and how near all come to all: a lot changes none of it."""

    def __init__(self, pool: torch.Tensor, made: torch.Tensor, net: Features) -> None:
        self.pool, self.made, self.net = pool, made, net
        seen = {"pixels": views(pool, VIEWS), "features": pool[:, None]}
        embed = {"pixels": _without_brightness, "features": net}
        self.far, self.others = {}, {}
        for name, images in seen.items():
            theirs, least = embed[name](made), torch.full((len(pool), len(made)), torch.inf)
            for view in images.unbind(1):
                torch.minimum(least, _distances(embed[name](view), theirs), out=least)
            self.far[name] = least.numpy()
            ours = embed[name](pool)
            self.others[name] = _distances(ours, ours).fill_diagonal_(torch.inf).numpy()
        grey, released = (of.flatten(1).float() for of in (pool, made))
        span = grey.amax(0) - grey.amin(0)
        weight = torch.where(span > 0, 1 / span.clamp(min=1), 0.0) / len(span)
        self.gower = torch.cdist(released * weight, grey * weight, p=1).numpy()  # row of the set × image
        self.plain = _distances(grey, grey).fill_diagonal_(torch.inf).numpy()
        self.record = _distances(released, grey).numpy()

    def crowding(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        near = {name: np.partition(of[np.ix_(rows, rows)], NEIGHBOURS - 1)[:, :NEIGHBOURS] for name, of in self.others.items()}
        return {name: np.exp(np.log(np.maximum(of, 1e-12)).mean(1)) for name, of in near.items()}

    def score(self, rows: np.ndarray, released: np.ndarray, crowding: dict[str, np.ndarray] | None = None) -> np.ndarray:
        """As `judge` has it, of these images held against that part of what could be released."""
        crowding, spaces = crowding or self.crowding(rows), {}
        for name, far in self.far.items():
            part = far[np.ix_(rows, released)]
            place = part.argmin(1)
            spaces[name] = Space(part[np.arange(len(rows)), place], place, crowding[name])
        return combined(spaces)[0]

    def check(self, rows: np.ndarray, released: np.ndarray) -> None:
        """AssertionError unless `judge` gives the same scores."""
        slow = combined(measure(self.pool[rows], self.made[released], self.net, lambda *_: None))[0]
        np.testing.assert_allclose(self.score(rows, released), slow, atol=2e-3)


def _distances(points: torch.Tensor, among: torch.Tensor) -> torch.Tensor:
    """n × m, float32: by a product in double precision, of which equal images come out equal."""
    near = torch.cdist(points.double(), among.double(), compute_mode="use_mm_for_euclid_dist")
    return near.where(near > 1e-5 * (1 + points.norm(dim=1).max()), 0.0).float()


def lots_of(name: str, kinds: tuple[str, ...]) -> tuple[Lots, int]:
    """Lots of a data set whose images could be released in each of these ways: rows k·n to (k + 1)·n for the k-th; and n."""
    images = images_of(name)
    order = torch.from_numpy(np.random.default_rng(3).permutation(len(images))[: DRAWN_FROM + MIXED_IN])
    mixed, pool = images[order[:MIXED_IN]], images[order[MIXED_IN:]]
    rng = np.random.default_rng(4)
    return Lots(pool, torch.cat([altered(kind, pool, mixed, rng) for kind in kinds]), features_for(images)), len(pool)


def altered(kind: str, images: torch.Tensor, others: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    grey = images.float()
    match kind:
        case "exact":
            return images.clone()
        case "noise":
            grey = grey + torch.from_numpy(rng.normal(0, 12, images.shape)).float()
        case "shifted":
            return images.roll(1, 3)
        case "brightened":
            grey = 1.2 * grey + 15
        case "flipped":
            return images.flip(3)
        case "jpeg":
            return torch.stack([_jpeg(image) for image in images])
        case _:
            grey = (grey + others[torch.from_numpy(rng.integers(0, len(others), len(images)))].float()) / 2
    return grey.round().clamp(0, 255).to(torch.uint8)


def _jpeg(image: torch.Tensor) -> torch.Tensor:
    out = io.BytesIO()
    Image.fromarray(image[0].numpy()).save(out, "JPEG", quality=50)
    return torch.from_numpy(np.asarray(Image.open(out)).copy())[None]


def _mean(found: list[float]) -> str:
    """Mean and two standard errors."""
    return f"{np.mean(found):.3f} ±{2 * np.std(found) / np.sqrt(len(found)):.3f}"


def fresh(args: argparse.Namespace) -> Iterator[str]:
    """Members, holdout and set are drawn anew each time."""
    disclosure.PERMUTATIONS = 999  # as valid, ten times as fast
    yield f"{'data':<14} draws P(p≤.01)      P(p≤.05)      P(p≤.2)       any listed    bound>0       epsilon>0"
    for name in SIZES:
        (lots, count), rng = lots_of(name, ("exact",)), np.random.default_rng(0)
        found: list[list[float]] = [[] for _ in range(6)]
        for turn in range(args.repetitions):
            order = rng.permutation(count)
            pool, made = order[: 2 * FRESH], order[2 * FRESH : 3 * FRESH]
            member = np.arange(2 * FRESH) < int(rng.binomial(2 * FRESH, 0.5))
            if not turn:
                lots.check(pool, made)
            score = lots.score(pool, made)
            p, guesses = collection_p(score, member), len(score) // 20
            epsilon = steinke(guess(score, member, guesses, 0), guesses, len(score), 1e-5)
            said = (
                p <= 0.01,
                p <= 0.05,
                p <= 0.2,
                listed_members(score, member).any(),
                copied_at_least(score, member) > 0,
                epsilon > 0,
            )
            for column, one in zip(found, said, strict=True):
                column.append(float(one))
        yield f"{name:<14} {args.repetitions:<5} {'  '.join(map(_mean, found))}"


def copies(args: argparse.Namespace) -> Iterator[str]:
    yield f"{'data':<14} share kind       reps listed FDR           bound/copies covers  DCR protection  distance alone"
    for name, size in SIZES.items():
        (lots, n), rng = lots_of(name, KINDS), np.random.default_rng(1)
        for share in (0.0, 0.01, 0.05, 0.2):
            count = round(share * size)
            found: dict[str, list[tuple[float, ...]]] = {}
            for turn in range(args.repetitions):
                order = rng.permutation(n)
                pool, others = order[: 2 * size], order[2 * size : 3 * size - count]
                crowding = lots.crowding(pool)
                for index, kind in enumerate(KINDS if count else KINDS[:1]):
                    made = np.concatenate([pool[:count] + index * n, others])
                    if not turn:
                        lots.check(pool, made)
                    found.setdefault(kind, []).append(_said(lots, pool, made, count, lots.score(pool, made, crowding)))
            able, wanted = detectable(size, size) / size, holdout_for(size, max(1, count))
            yield f"{name}: {size} members and holdout detect {able:.1%}; {wanted:,} holdout images would detect {max(1, count)}"
            for kind, rows in found.items():
                listed, wrong, bound, covers, protection, alarm = (list(column) for column in zip(*rows, strict=True))
                row = f"{name:<14} {share:<5.0%} {kind if count else 'nothing':<10} {args.repetitions:<4} {np.mean(listed):<6.3f}"
                row = f"{row} {_mean(wrong)}  {np.mean(bound):<12.2f} {np.mean(covers):<7.3f}"
                yield f"{row} {_mean(protection)}  {np.mean(alarm):.2f}"


def _said(lots: Lots, pool: np.ndarray, made: np.ndarray, count: int, score: np.ndarray) -> tuple[float, ...]:
    """Of a set that copies the first `count` of the pool, whose first half are members: what `judge` and two distances say."""
    size = len(pool) // 2
    member = np.arange(len(pool)) < size
    listed = listed_members(score, member)
    bound = copied_at_least(score, member)
    near, far = (lots.gower[np.ix_(made, side)].min(1) for side in (pool[:size], pool[size:]))
    usual = lots.plain[np.ix_(pool[size:], pool[size:])].min()
    return (
        float(listed[:count].mean()) if count else 0.0,
        listed[count:].sum() / max(1, listed.sum()),
        bound / max(1, count),
        float(bound <= count),
        min(1.0, 2 * (1 - float((near < far).mean()))),
        float(lots.record[np.ix_(made, pool[:size])].min() < usual),
    )


def bursts(args: argparse.Namespace) -> Iterator[str]:
    """Each image has a twin with little noise, on whatever side the lot puts it; the set copies a tenth of members exactly."""
    yield f"{'data':<14} reps copies listed FDR           bound/copies covers  phantoms of bursts / phantoms"
    for name, size in SIZES.items():
        images, rng = images_of(name), np.random.default_rng(2)
        base = images[torch.from_numpy(rng.permutation(len(images))[: DRAWN_FROM // 2])]
        both = torch.cat([base, altered("noise", base, base, rng)])
        lots, n, count = Lots(both, both, features_for(images)), len(base), size // 10
        found, ghosts, of_bursts = [], 0, 0
        for turn in range(args.repetitions):
            order = rng.permutation(n)
            pool = np.concatenate([order[:size], order[:size] + n])
            member = rng.permutation(len(pool)) < size
            copied = rng.choice(np.flatnonzero(member), count, replace=False)
            made = np.concatenate([pool[copied], order[size : 2 * size - count]])
            if not turn:
                lots.check(pool, made)
            score = lots.score(pool, made)
            listed, bound = listed_members(score, member), copied_at_least(score, member)
            shown = phantoms(score, member, listed)
            twin = (np.arange(len(pool)) + size) % len(pool)
            wrong = (listed.sum() - listed[copied].sum()) / max(1, listed.sum())
            found.append((listed[copied].mean(), wrong, bound / count, bound <= count))
            ghosts += int(shown.sum())
            of_bursts += int(np.isin(twin[shown], copied).sum())
        listed, wrong, bound, covers = (list(column) for column in zip(*found, strict=True))
        row = f"{name:<14} {args.repetitions:<4} {count:<6} {np.mean(listed):<6.3f} {_mean(wrong)}  {np.mean(bound):<12.2f}"
        yield f"{row} {np.mean(covers):<7.3f} {of_bursts} / {ghosts}"


def coloured(count: int) -> torch.Tensor:
    """Fashion-MNIST at 32×32 in three channels, tinted, shifted and with noise of its own for each image; some twice if need be."""
    from runtime.data.images import LabeledImages
    from runtime.data.sources import resize

    rng = torch.Generator().manual_seed(0)
    of = images_of("fashion_mnist")
    rows = torch.cat([torch.randperm(len(of), generator=rng) for _ in range(-(-count // len(of)))])[:count]
    images = torch.empty(count, 3, 32, 32, dtype=torch.uint8)
    for part in torch.arange(count).split(4096):
        small = resize(LabeledImages(of[rows[part]], torch.zeros(len(part), dtype=torch.int64)), (3, 32, 32)).images
        tint = 0.6 + 0.4 * torch.rand(len(part), 3, 1, 1, generator=rng)
        grey = small.float() * tint + 24 * torch.rand(len(part), 1, 1, 1, generator=rng) * torch.randn(small.shape, generator=rng)
        by = torch.randint(-2, 3, (len(part),), generator=rng).tolist()
        turned = torch.stack([image.roll(pixels, 2) for image, pixels in zip(grey, by, strict=True)])
        images[part] = turned.clamp(0, 255).to(torch.uint8)
    return images


def size(args: argparse.Namespace) -> Iterator[str]:
    images = coloured(110_000)
    net = features_for(images[:10])
    started, cpu = time.perf_counter(), time.process_time()
    spaces = measure(images[:60_000], images[60_000:], net, lambda *_: None)
    measured = time.process_time() - cpu
    score = combined(spaces)[0]
    member = np.arange(60_000) < 50_000
    listed_members(score, member), copied_at_least(score, member), collection_p(score, member)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds, used = time.perf_counter() - started, time.process_time() - cpu
    yield f"60,000 × 50,000: {seconds:.0f} s, {used:.0f} CPU seconds, {measured:.0f} of them for distances; peak {peak:.1f} GiB"


def misses(args: argparse.Namespace) -> Iterator[str]:
    """How often the first pass finds another nearest image of the set (under all views), or another crowding, than brute force."""
    images = coloured(11_000)
    net, found = features_for(images[:10]), []
    for begin in (0.0, float("inf")):
        nearness.FIRST_PASS_FROM, cpu = begin, time.process_time()
        found.append(measure(images[:6000], images[6000:], net, lambda *_: None))
        yield f"{'first pass' if not begin else 'brute force'}: {time.process_time() - cpu:.0f} CPU seconds"
    for name in found[0]:
        quick, exact = (of[name] for of in found)
        crowded = int((~np.isclose(quick.crowding, exact.crowding, rtol=1e-4)).sum())
        yield f"{name}: {int((quick.row != exact.row).sum())} of 6,000 nearest images missed, {crowded} of 6,000 crowdings differ"


def study(args: argparse.Namespace) -> Iterator[str]:
    """Members: all images of the data set that a shadow's set was made from; holdout: all others, set aside by the same lot."""
    plan = compile_with_files(args.spec, args.profile)
    _, rows = query(args.db, "SELECT trial, leakage, leakage_low, leakage_high, auc FROM comparison")
    leaks = {str(trial): found for trial, *found in rows}
    _, rows = query(args.db, "SELECT trial, value FROM result WHERE attack = 'nearest' AND metric = 'auc' AND canaries = 'clean'")
    nearest, net = dict(rows), None
    yield f"{'trial':<24} images   p (median)  p≤.05  listed  at least  AUC    shadows: leakage          AUC    nearest AUC (clean)"
    for planned in plan.trials:
        found = []
        for task in dict.fromkeys(stage.task for stage in planned.stages):
            work = plan.tasks[task].work
            if not isinstance(work, Synthesize):
                continue
            images = load(work.private.population.dataset).pool.images
            made = Artifact(folder_of(args.store, task)).tensors("set")["images"]
            made = made if made.dtype == torch.uint8 else (255 * made).round().clamp(0, 255).to(torch.uint8)
            known = private_set(work.private).sample_ids
            order = np.random.default_rng(0).permutation(len(images))
            member = np.isin(order, known.numpy())
            net = net or features_for(images)
            score = combined(measure(images[torch.from_numpy(order)], made, net, lambda *_: None))[0]
            listed = int(listed_members(score, member).sum())
            found.append((collection_p(score, member), listed, copied_at_least(score, member), _auc(score, member), len(made)))
        if found:
            p, listed, bound, auc, size = (np.array(column) for column in zip(*found, strict=True))
            said = f"{np.median(p):<11.4f} {np.sum(p <= 0.05)} of {len(p)} {listed.mean():<7.1f} {bound.mean():<9.1f}"
            leak, low, high, by = leaks[planned.trial.address]
            shown = f"{leak:.3f} [{low:.3f}, {high:.3f}]    {by:<6.3f} {nearest[planned.trial.address]:.3f}"
            yield f"{planned.trial.address:<24} {size.mean():<8.0f} {said} {auc.mean():<6.3f} {shown}"


def _auc(score: np.ndarray, member: np.ndarray) -> float:
    return float(mannwhitneyu(score[member], score[~member]).statistic / member.sum() / (~member).sum())


TABLES: dict[str, Callable[[argparse.Namespace], Iterator[str]]] = {
    "fresh": fresh,
    "copies": copies,
    "bursts": bursts,
    "misses": misses,
    "size": size,
    "study": study,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=TABLES, help="tables (default: all)")
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--data", action="append", choices=SIZES, help="data sets (default: all)")
    parser.add_argument("--spec", type=Path)
    parser.add_argument("--profile")
    parser.add_argument("--db", type=Path, default=Path("results.duckdb"))
    parser.add_argument("--store", type=Path, default=Path(".synthc"))
    args = parser.parse_args()
    for name in set(SIZES) - set(args.data or SIZES):
        del SIZES[name]
    for name in args.only or [name for name in TABLES if name != "study" or args.spec]:
        print(f"\n{name}", flush=True)
        for line in TABLES[name](args):
            print(line, flush=True)


if __name__ == "__main__":
    main()
