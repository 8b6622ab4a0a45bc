"""What `synthc judge` finds and does not: `OMP_NUM_THREADS=1 python benchmarks/judge.py [--only NAME …] [--repetitions N]`.

    fresh       sets of fresh images (disjoint parts of real data by lot): false alarms of every statement
    copies      1, 5 and 20 % of members copied in seven ways: share listed, realised false-discovery rate, what distances would say
    bursts      natural near-duplicates on both sides: the lower bound beside the truth, phantoms
    size        50,000 members × 10,000 holdout × 50,000 images of 32×32×3: seconds, memory, neighbours that the first pass misses

Beside it, from their definitions: SDMetrics' DCROverfittingProtection (the share of synthetic rows nearer to members than to the
holdout, as a score: 1 for a half or less, else 2 (1 − share)), and plain distance to the closest record (an alarm where the set is
nearer to a member than any two images of the holdout are to each other).
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

from compiler.language.data import Data
from compiler.plan.lower import dataset_of
from runtime.audit.statistics.epsilon import guess, steinke
from runtime.data.distances import Search, nearest
from runtime.data.formats import shapes
from runtime.data.sources import load
from runtime.judge import disclosure
from runtime.judge.disclosure import collection_p, copied_at_least, detectable, listed_members, phantoms
from runtime.judge.nearness import Features, combined, measure, public_features

KINDS = ("exact", "noise", "shifted", "brightened", "flipped", "jpeg", "blended")
SIZES = {"digits": 590, "fashion_mnist": 500, "shapes": 600}
"""Images in each of members, holdout and set."""
FRESH = 200
"""The same where nothing is copied: small, so that many draws can be made."""


def images_of(name: str) -> torch.Tensor:
    return load(dataset_of(Data(name=name))).pool.images


def features_for(images: torch.Tensor) -> Features:
    drawn, _ = shapes.read(tuple(images.shape[1:]))  # type: ignore[arg-type]
    return public_features(drawn, "shapes")


def scored(pool: torch.Tensor, made: torch.Tensor, net: Features) -> np.ndarray:
    return combined(measure(pool, made, net, lambda *_: None))[0]


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


def parts(images: torch.Tensor, size: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Members, holdout and fresh images, by lot."""
    order = torch.from_numpy(rng.permutation(len(images))[: 3 * size])
    return images[order[:size]], images[order[size : 2 * size]], images[order[2 * size :]]


def standard_error(rate: float, count: int) -> float:
    return float(np.sqrt(rate * (1 - rate) / count))


def fresh(repetitions: int) -> Iterator[str]:
    """Members, holdout and set are drawn anew each time, members first in the pool: a score that knew of it would show."""
    disclosure.PERMUTATIONS = 999  # as valid, ten times as fast
    yield "data            n     P(p≤.01)  P(p≤.05)  P(p≤.2)   any listed  bound>0   epsilon>0"
    for name in SIZES:
        images = images_of(name)
        net, rng = features_for(images), np.random.default_rng(0)
        p, listed, bound, epsilon = [], [], [], []
        for _ in range(repetitions):
            coins = int(rng.binomial(2 * FRESH, 0.5))
            pool, _, made = parts(images, 2 * FRESH, rng)
            member = np.arange(2 * FRESH) < coins
            score = scored(pool, made[:FRESH], net)
            p.append(collection_p(score, member))
            listed.append(listed_members(score, member).any())
            bound.append(copied_at_least(score, member) > 0)
            guesses = len(score) // 20
            epsilon.append(steinke(guess(score, member, guesses, 0), guesses, len(score), 1e-5) > 0)
        rates = [np.mean(np.array(p) <= level) for level in (0.01, 0.05, 0.2)]
        shown = "".join(f"{one:<10.3f}" for one in (*rates, np.mean(listed), np.mean(bound), np.mean(epsilon)))
        yield f"{name:<15} {repetitions:<5} {shown}"


def copies(repetitions: int) -> Iterator[str]:
    yield "data           share  kind        reps  listed  FDR    ±2se   bound/copies  detects from  DCR protection  distance alone"
    for name, size in SIZES.items():
        images = images_of(name)
        net, rng = features_for(images), np.random.default_rng(1)
        for share in (0.01, 0.05, 0.2):
            count = round(share * size)
            for kind in KINDS:
                found, wrong, bounds, protection, alone = [], [], [], [], []
                for _ in range(repetitions):
                    members, holdout, others = parts(images, size, rng)
                    made = torch.cat([altered(kind, members[:count], others, rng), others[count:]])
                    member = np.arange(2 * size) < size
                    score = scored(torch.cat([members, holdout]), made, net)
                    listed = listed_members(score, member)
                    found.append(listed[:count].mean())
                    wrong.append(listed[count:].sum() / max(1, listed.sum()))
                    bounds.append(copied_at_least(score, member) / count)
                    protection.append(overfitting_protection(members, holdout, made))
                    alone.append(closest_record_alarm(members, holdout, made))
                se = 2 * np.std(wrong) / np.sqrt(repetitions)
                least = detectable(size, size) / size
                row = (
                    f"{name:<14} {share:<6.0%} {kind:<11} {repetitions:<5} {np.mean(found):<7.2f} {np.mean(wrong):<6.3f} {se:<6.3f}"
                )
                yield f"{row} {np.mean(bounds):<13.2f} {least:<13.1%} {np.mean(protection):<15.2f} {np.mean(alone):.2f}"


def overfitting_protection(members: torch.Tensor, holdout: torch.Tensor, made: torch.Tensor) -> float:
    """As SDMetrics defines it: 1 is the best."""
    near, far = (nearest(made.flatten(1), side.flatten(1), torch.float32)[0] for side in (members, holdout))
    share = float((near < far).double().mean())
    return min(1.0, 2 * (1 - share))


def closest_record_alarm(members: torch.Tensor, holdout: torch.Tensor, made: torch.Tensor) -> bool:
    """Whether the least distance of the set to a member is below the least that two images of the holdout have."""
    grey = holdout.flatten(1).float()
    usual = Search(grey).nearest(grey[:, None], own=torch.arange(len(grey)))[0].min()
    return bool(nearest(made.flatten(1), members.flatten(1), torch.float32)[0].min() < usual)


def bursts(repetitions: int) -> Iterator[str]:
    """Each image has twins with little noise, on whatever side the lot puts them; the set copies members exactly."""
    yield "data            reps  copies  listed  bound covers  phantoms of bursts / phantoms"
    for name, size in SIZES.items():
        images = images_of(name)
        net, rng = features_for(images), np.random.default_rng(2)
        found, covers, ghosts, of_bursts, count = [], [], 0, 0, size // 10
        for _ in range(repetitions):
            base, _, others = parts(images, size, rng)
            pool = torch.cat([base, altered("noise", base, others, rng)])
            member = rng.permutation(len(pool)) < size
            copied = rng.choice(np.flatnonzero(member), count, replace=False)
            made = torch.cat([pool[torch.from_numpy(copied)], others[count:]])
            score = scored(pool, made, net)
            listed = listed_members(score, member)
            shown = phantoms(score, member, listed)
            twin = (np.arange(len(pool)) + size) % len(pool)
            found.append(listed[copied].mean())
            covers.append(copied_at_least(score, member) <= count)
            ghosts += int(shown.sum())
            of_bursts += int(np.isin(twin[shown], copied).sum())
        yield f"{name:<15} {repetitions:<5} {count:<7} {np.mean(found):<7.2f} {np.mean(covers):<13.3f} {of_bursts} / {ghosts}"


def size(repetitions: int) -> Iterator[str]:
    """Fashion-MNIST at 32×32, tinted, shifted and mirrored at random until there are 110,000 images of three channels."""
    from runtime.data.images import LabeledImages
    from runtime.data.sources import resize

    rng = torch.Generator().manual_seed(0)
    of = images_of("fashion_mnist")
    small = resize(LabeledImages(of, torch.zeros(len(of), dtype=torch.int64)), (3, 32, 32)).images
    rows = torch.cat([torch.randperm(len(small), generator=rng), torch.randperm(len(small), generator=rng)[: 110_000 - len(small)]])
    images = torch.empty(110_000, 3, 32, 32, dtype=torch.uint8)
    for part in torch.arange(110_000).split(4096):
        tint = 0.6 + 0.4 * torch.rand(len(part), 3, 1, 1, generator=rng)
        grey = small[rows[part]].float() * tint + 12 * torch.randn(len(part), 3, 32, 32, generator=rng)
        by = torch.randint(-2, 3, (len(part),), generator=rng).tolist()
        turned = torch.stack([image.roll(pixels, 2) for image, pixels in zip(grey, by, strict=True)])
        images[part] = turned.clamp(0, 255).to(torch.uint8)
    net = features_for(images[:10])
    started, cpu = time.perf_counter(), time.process_time()
    spaces = measure(images[:60_000], images[60_000:], net, lambda *_: None)
    score = combined(spaces)[0]
    member = np.arange(60_000) < 50_000
    disclosure.listed_members(score, member), copied_at_least(score, member), collection_p(score, member)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds, used = time.perf_counter() - started, time.process_time() - cpu
    yield f"60,000 × 50,000 of 32×32×3: {seconds:.0f} s, {used:.0f} CPU seconds, peak {peak:.1f} GiB"


def misses(repetitions: int) -> Iterator[str]:
    """The first pass beside brute force, on a tenth: 6,000 images looked for among 5,000."""
    of = images_of("fashion_mnist")
    from runtime.data.images import LabeledImages
    from runtime.data.sources import resize

    images = resize(LabeledImages(of[:11_000], torch.zeros(11_000, dtype=torch.int64)), (3, 32, 32)).images
    rng = np.random.default_rng(0)
    grey = torch.cat([altered("noise", part, part, rng) for part in images.split(1000)]).flatten(1).float()
    exact, first = (Search(grey[6000:], first_pass=quick).nearest(grey[:6000, None])[1] for quick in (False, True))
    yield f"first pass: {int((exact != first).sum())} of 6,000 nearest neighbours missed"


TABLES: dict[str, Callable[[int], Iterator[str]]] = {
    "fresh": fresh,
    "copies": copies,
    "bursts": bursts,
    "misses": misses,
    "size": size,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=TABLES, help="tables (default: all)")
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--data", action="append", choices=SIZES, help="data sets (default: all)")
    args = parser.parse_args()
    for name in set(SIZES) - set(args.data or SIZES):
        del SIZES[name]
    for name in args.only or TABLES:
        print(f"\n{name}", flush=True)
        for line in TABLES[name](args.repetitions):
            print(line, flush=True)


if __name__ == "__main__":
    main()
