"""Judges a released set by its members and a holdout: copies of members, nearness to members on the whole, use.

Checked first: that members and holdout are the parts of the split, that no image is in both, and that all sets have images of one
kind.
Not here: statistics (`disclosure`), distances (`nearness`), output (`runtime.cli.judge`, `page`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch

from compiler.errors import SynthcError, and_more, plural
from compiler.language.datasets import Shape
from compiler.language.policy import Condition, default_policy
from compiler.work.operations import AuditSettings
from runtime.audit.external.evidence import Evidence
from runtime.audit.external.product import audit_with_product
from runtime.data.formats import shapes
from runtime.data.image_set import ImageSet, aligned, read_image_set, resized
from runtime.judge import disclosure
from runtime.judge.nearness import Features, Tick, combined, measure, public_features
from runtime.judge.policy import ConditionResult, evaluate, policy_digest
from runtime.judge.split import Split, check_age, check_parts, find_split, units_of
from runtime.judge.use import measure_use
from runtime.outcome import Metric, Product
from runtime.seeds import numpy_generator

TOO_COARSE = 0.02
"""Without a policy the verdict is "cannot tell" where the smallest share of copied members that is detectable exceeds this."""
NULL_DRAWS = 100
GUESSED = 20
"""For the bound on epsilon, one unit in so many, the nearest ones, are guessed to be members; fixed in advance."""
Answer = Literal["open", "closed", "cannot tell"]
EXIT_CODES: Mapping[Answer, int] = {"open": 0, "closed": 3, "cannot tell": 4}

BLIND = (
    "A model trained on the set may still give members away though no image of it looks like one (distilled images, "
    "data-free teaching), and attributes and text in images are not looked at. Only a study with shadow models tells: "
    "`synthc init leakage_study` begins one.",
    "There is no upper bound on copies: one that looks like nothing in the declared spaces is not seen.",
)


@dataclass(frozen=True)
class Sets:
    """The sets of a judgement, all of one image shape and, except `public`, with one list of classes."""

    released: ImageSet
    members: ImageSet
    holdout: ImageSet
    test: ImageSet | None
    public: ImageSet | None
    split: Split | None


@dataclass(frozen=True)
class Look:
    """A real image and its nearest image of the released set, for a listed member or a holdout unit that is as near; `distance` is
    that in the feature space called `space`, in which the real image has its largest nearness."""

    image: str
    row: int
    """Row of the real image in members or holdout."""
    distance: float
    space: str
    released: int
    """Row of the nearest image in the released set."""

    def as_json(self, side: str) -> dict[str, Any]:
        return {side: self.image, "distance": self.distance, "space": self.space, "image_of_set": self.released}


@dataclass(frozen=True)
class Judgement:
    """The result. `figures`: name, as in a policy, or `NAME/CLASS` → metric; `listed` and `phantoms`: one look for each unit,
    nearest first; `settled`: results of the policy's conditions, in their order; `product`, `settings` and `evidence`: of the audit
    of the nearness scores."""

    answer: Answer
    figures: Mapping[str, Metric]
    listed: tuple[Look, ...]
    phantoms: tuple[Look, ...]
    settled: tuple[ConditionResult, ...]
    policy_digest: str
    given_policy: bool
    epsilon_reason: str
    notes: tuple[str, ...]
    product: Product
    settings: AuditSettings
    evidence: Evidence
    sets: Sets = field(repr=False)

    @property
    def exit_code(self) -> int:
        """The command's exit code for the answer."""
        return EXIT_CODES[self.answer]

    def value(self, name: str) -> float | None:
        """The value of a figure; None where it was not measured or has none."""
        return self.figures[name].value if name in self.figures else None

    @property
    def sentence(self) -> str:
        """The answer and its main reason, in one sentence."""
        share = self.figures["detectable_share"]
        low, members = self.figures["copied_members"].low or 0, self.figures["copied_members"].n or 0
        identical, seen = (int(self.value(f"identical_{side}") or 0) for side in ("members", "holdout"))
        if seen:
            why = f"the set holds {plural(seen, 'image')} of the holdout pixel by pixel, which was not set aside then"
        elif self.listed:
            why = f"{len(self.listed):,} of {members:,} members are copied beyond coincidence, and at least {low:,.0f} in all"
            why = why if low > len(self.listed) else why.partition(", and")[0]
        elif identical:
            why = f"the set holds {plural(identical, 'image')} of members pixel by pixel, although too few for the list"
        elif low:
            why = f"the set comes nearer than chance to at least {low:,.0f} of {members:,} members, none of which can be named"
        elif (self.value("p_value") or 0) < 0.05:
            why = "no single member is listed, but the set is nearer to its members than to the holdout"
        else:
            least = "no copying" if share.value is None else f"nothing below {share.value:.2%} of members"
            why = f"no copy was found; this holdout detects {least}"
        gate = {"open": "The policy is open", "closed": "The policy is closed", "cannot tell": "Cannot tell"}[self.answer]
        return f"{gate}: {why}."

    def as_json(self) -> dict[str, Any]:
        """A JSON-ready mapping in the documented public form."""
        figures = {name: _metric_json(metric) for name, metric in self.figures.items()}
        use = {name.removeprefix("use."): of for name, of in figures.items() if name.startswith("use.")}
        return {
            "verdict": self.answer, "sentence": self.sentence, "p_value": self.value("p_value"),
            "copied": {
                "low": self.figures["copied_members"].low, "fdr": disclosure.FDR,
                "listed": [look.as_json("member") for look in self.listed],
            },
            "identical": {side: self.value(f"identical_{side}") for side in ("members", "holdout")},
            "phantoms": [look.as_json("holdout") for look in self.phantoms],
            "epsilon": {"value": self.value("epsilon_lower"), "reason": self.epsilon_reason},
            "power": {
                "detectable_share": self.value("detectable_share"), "holdout_for_a_tenth": self.value("holdout_for_a_tenth"),
            },
            "use": use or None,
            "policy": [one.as_json() for one in self.settled], "policy_digest": self.policy_digest,
            "collection": {name: of for name, of in figures.items() if name in ("auc", "tpr@fpr=0.01", "tpr@fpr=0.1", "null_auc")},
            "n": {"members": self.figures["copied_members"].n, "holdout": self.figures["phantoms"].n},
            "blind_spots": list(BLIND), "notes": list(self.notes),
        }  # fmt: skip


def _metric_json(metric: Metric) -> dict[str, Any]:
    return {name: getattr(metric, name) for name in ("value", "low", "high", "n", "note")}


Named = str | ImageSet
"""A set that is already read, or the name by which to read it."""


def read_sets(
    released: Named,
    members: Named,
    holdout: Named,
    test: Named | None,
    public: Named | None,
    *,
    unit: str | None,
    image: str,
    label: str,
) -> Sets:
    """Read the sets that are given by name, and check that they fit together; SynthcError where one cannot be read (OSError as of
    `read_image_set`), or they cannot be judged.

    All but `public` must have at least two images, of one size and the same classes; members, holdout and test no image or unit in
    common. Where names are those of parts of a split, the parts must be as they were drawn, and `released` not older. `public` is
    resized to the others' size. `unit`, `image`, `label`: as for `read_image_set`; `unit` is for members, holdout and test; None
    for the units of their split, in each part that is given by name, or single images without one. Not only one of members and
    holdout may have units of several images.
    """

    def as_image_set(of: Named, unit: str | None = None) -> ImageSet:
        return of if isinstance(of, ImageSet) else read_image_set(of, image=image, label=label, unit=unit)

    parts = [members, holdout, *([test] if test else [])]
    split = find_split([part for part in parts if isinstance(part, str)])
    read = [as_image_set(part, _drawn_unit(part, split) if unit is None else unit) for part in parts]
    made = as_image_set(released)
    for one in (*read, made):
        if len(one) < 2:
            raise SynthcError(f"{one.name}: one image; nothing can be told from a single one")
    if split is not None:
        check_parts(split, dict(zip(("members", "holdout", "test"), read, strict=False)))
        check_age(split, made)
    _refuse_units_of_one_side(read[0], read[1])
    read = aligned([*read, made])
    _refuse_overlaps(read[:-1])
    shown = None
    if public is not None:
        shown = resized(as_image_set(public), tuple(read[0].data.images.shape[1:]))  # type: ignore[arg-type]
    return Sets(read[-1], read[0], read[1], read[2] if test else None, shown, split)


def _drawn_unit(part: Named, split: Split | None) -> str | None:
    """`unit`, as for `read_image_set`, that gives a part the units of its split: the array of an .npz, or the split's file of
    units; None for a set that is already read, and without such a file or a split."""
    if split is None or not isinstance(part, str):
        return None
    if part.endswith(".npz"):
        return "unit"
    return str(split.units_file()) if split.units_file() else None


def _refuse_units_of_one_side(members: ImageSet, holdout: ImageSet) -> None:
    """SynthcError where only one of the sets has units, and one of these has different images: a unit counts by the nearest of its
    images, so those of this side would look nearer."""
    for one, other in ((members, holdout), (holdout, members)):
        if one.units and other.units is None and len(units_of(one)) < len(units_of(replace(one, units=None))):
            raise SynthcError(
                f"{other.name}: without units, of which {one.name} has some of several images, and a unit counts by its nearest "
                "image; give both sides theirs by `unit`, or both as files of their split"
            )


def _refuse_overlaps(parts: Sequence[ImageSet]) -> None:
    """SynthcError where an image (by its pixels), or a unit of sets that have named units, is in two of the sets."""
    digests = [one.digests() for one in parts]
    for first in range(len(parts)):
        for second in range(first + 1, len(parts)):
            one, two = parts[first], parts[second]
            place = {digest: row for row, digest in enumerate(digests[first])}
            same = [(place[digest], row) for row, digest in enumerate(digests[second]) if digest in place]
            if same:
                pairs = [f"{one.image_name(a)} = {two.image_name(b)}" for a, b in same]
                raise SynthcError(
                    f"{two.name}: {plural(len(same), 'image')} also in {one.name}: {and_more(pairs, 5)}; an image on both sides is "
                    "no holdout: split again before a set is made (`synthc split` keeps equal images together), or take them out"
                )
            if one.units and two.units and (both := sorted(set(one.units) & set(two.units))):
                raise SynthcError(
                    f"{two.name}: unit {both[0]!r} also in {one.name} ({len(both)} in all); a unit stands on one side"
                )


def judge(sets: Sets, policy: tuple[Condition, ...] | None, tick: Tick, with_use: bool = True) -> Judgement:
    """Judge a released set; `policy` None applies the default conditions. Figures about copies and members on the whole count
    units, `identical_*` images. `with_use`: measure use too, if there is a test set. Diverged if the loss of a training is not
    finite."""
    net = _features(sets)
    pool = torch.cat([sets.members.data.images, sets.holdout.data.images])
    first, count = len(sets.members), len(pool)
    turn = torch.from_numpy(numpy_generator(0, None, "judge/order").permutation(count))  # no row's position depends on its side
    spaces = {
        name: replace(of, **{part: _back(getattr(of, part), turn) for part in ("distance", "row", "crowding")})
        for name, of in measure(pool[turn], sets.released.data.images, net, tick).items()
    }
    by_image, space = combined(spaces)
    unit, member = _units(sets)
    best = np.zeros(len(member), np.int64)  # unit → its image that is nearest to the set
    order = np.argsort(by_image, kind="stable")
    best[unit[order]] = order
    score = by_image[best]

    def look(index: int) -> Look:
        row = int(best[index])
        side, own = (sets.members, row) if row < first else (sets.holdout, row - first)
        of = list(spaces)[int(space[row])]
        return Look(side.image_name(own), own, float(spaces[of].distance[row]), of, int(spaces[of].row[row]))

    listed = disclosure.listed_members(score, member)
    shown = disclosure.phantoms(score, member, listed)
    nearest_first = np.argsort(-score, kind="stable")
    looks = tuple(look(index) for index in nearest_first if listed[index])
    ghosts = tuple(look(index) for index in nearest_first if shown[index])
    evidence = Evidence("scores", score[None], member[:, None])
    figures, product, settings, reason = _collection(sets, evidence, score, member)
    figures |= _copies(score, member, len(looks), len(ghosts)) | _identical(sets)
    if with_use and sets.test is not None:
        of = (sets.released.data, sets.members.data, sets.test.data)
        figures |= {metric.name: metric for metric in measure_use(*of, sets.members.classes, net, tick)}
    conditions = default_policy() if policy is None else policy
    settled = tuple(evaluate(conditions, figures))
    return Judgement(
        _answer(settled, policy is not None, figures), figures, looks, ghosts, settled, policy_digest(conditions),
        policy is not None, reason, tuple(_notes(sets, figures, with_use)), product, settings, evidence, sets,
    )  # fmt: skip


def _features(sets: Sets) -> Features:
    """Features of a net trained on the public images, or on drawn shapes where none are given (cached by shape); Diverged as of
    `public_features`."""
    if sets.public is not None:
        return public_features(sets.public.data, sets.public.name)
    return _drawn_features(tuple(sets.members.data.images.shape[1:]))


@lru_cache(maxsize=2)
def _drawn_features(shape: Shape) -> Features:
    return public_features(shapes.read(shape)[0], "shapes")


def _back(values: np.ndarray, turn: torch.Tensor) -> np.ndarray:
    """The values in the order from before the permutation `turn`."""
    placed = np.empty_like(values)
    placed[turn.numpy()] = values
    return placed


def _units(sets: Sets) -> tuple[np.ndarray, np.ndarray]:
    """image of the pool (members, then holdout): index of its unit; and unit, bool: whether it is a member."""
    one, two = units_of(sets.members), units_of(sets.holdout)
    return np.concatenate([one.of, two.of + len(one)]), np.arange(len(one) + len(two)) < len(one)


def _copies(score: np.ndarray, member: np.ndarray, listed: int, phantoms: int) -> dict[str, Metric]:
    """Name → figure of the list and its power: copied members (their number is `listed`, `low` the lower bound), phantoms,
    detectable share (no value where the holdout is too small for any), number of holdout units that detect a tenth as many copies,
    null control. score, member (bool): by unit."""
    members, holdout = int(member.sum()), int((~member).sum())
    fewest = disclosure.detectable(members, holdout)
    able = fewest <= members
    tenth = max(1, fewest // 10)
    more = disclosure.holdout_for(members, tenth)
    rng = numpy_generator(0, None, "judge/null")
    empty = np.mean([disclosure.listed_members(score, rng.permutation(member)).any() for _ in range(NULL_DRAWS)])
    low = float(disclosure.copied_at_least(score, member))
    rule = f"list at a false-discovery rate of {disclosure.FDR:.0%}; low: at 95 % at least so many; no upper bound exists"
    shown = f"copied members of which any is listed with a power of {disclosure.POWER:.0%}, if each is nearer than all that is none"
    return {
        metric.name: metric
        for metric in (
            Metric("copied_members", float(listed), low, None, members, rule),
            Metric("phantoms", float(phantoms), n=holdout, note="holdout units as near as the listed members, and never seen"),
            Metric("detectable_share", fewest / members if able else None, n=holdout, note=shown if able else "holdout too small"),
            Metric(
                "holdout_for_a_tenth", float(more), n=members, note=f"holdout units would detect {plural(tenth, 'copied member')}"
            ),
            Metric("null_listed", float(empty), n=NULL_DRAWS, note="share of redrawn labels under which anything is listed"),
        )
    }


def _identical(sets: Sets) -> dict[str, Metric]:
    """Number of images (not units) of members and of holdout that the set holds pixel by pixel: an exact count without
    inference."""
    held = set(sets.released.digests())
    sides = {"identical_members": sets.members, "identical_holdout": sets.holdout}
    return {name: Metric(name, float(sum(one in held for one in of.digests())), n=len(of)) for name, of in sides.items()}


def _collection(
    sets: Sets, evidence: Evidence, score: np.ndarray, member: np.ndarray
) -> tuple[dict[str, Metric], Product, AuditSettings, str]:
    """Name → figure of members on the whole, the audit's artifact and settings, and text on the bound on epsilon: its conditions,
    or why it has no value, as without a split by coins. score, member (bool): by unit."""
    coins = sets.split is not None and sets.split.coins
    guesses = (max(10, len(score) // GUESSED), 0) if coins and len(score) >= 20 else None
    settings = AuditSettings(tried=("scores",), fpr=("0.01", "0.1"), one_run=coins, guesses=guesses)
    report, product = audit_with_product(evidence, settings)
    found = report.attacks["scores"]
    strata = None
    if sets.split is not None and sets.split.design["stratify"]:
        labels = torch.cat([sets.members.data.labels, sets.holdout.data.labels]).numpy()
        strata = labels[np.unique(_units(sets)[0], return_index=True)[1]]
    p = disclosure.collection_p(score, member, strata)
    figures = [
        Metric("p_value", p, n=len(score), note=f"mean rank of members, {disclosure.PERMUTATIONS:,} permutations"),
        Metric("auc", found.auc.value, found.auc.low, found.auc.high, len(score), "0.5: no nearer than the holdout"),
        Metric("null_auc", found.null_auc.value, found.null_auc.low, found.null_auc.high, None, "the same on redrawn labels"),
    ]
    for text, rate in found.tpr.items():
        note = "" if rate.value is not None else f"{rate.n} holdout units cannot resolve it"
        figures.append(Metric(f"tpr@fpr={text}", rate.value, rate.low, rate.high, rate.n, note))
    bound = found.epsilon_lower["steinke"]
    if not coins:
        how = "by exact sizes" if sets.split is not None else "in a way that is not recorded"
        reason = f"members were drawn {how}; a bound takes one independent fair coin for each unit: synthc split --coins"
    else:
        reason = bound.note
    figures.append(Metric("epsilon_lower", bound.value if coins else None, n=len(score), note=reason))
    return {metric.name: metric for metric in figures}, product, settings, reason


def _answer(settled: Sequence[ConditionResult], given: bool, figures: Mapping[str, Metric]) -> Answer:
    """`closed` if a condition does not hold; `cannot tell` if the set holds holdout images or, without a policy of the
    user's, the holdout detects too little; else `open`."""
    if not all(one.holds for one in settled):
        return "closed"
    if figures["identical_holdout"].value:  # the set was made with holdout images: members would not be nearer
        return "cannot tell"
    share = figures["detectable_share"].value
    return "cannot tell" if not given and (share is None or share > TOO_COARSE) else "open"


def _notes(sets: Sets, figures: Mapping[str, Metric], with_use: bool) -> list[str]:
    """Notes to print beside the figures."""
    notes = []
    if sets.split is None:
        notes.append("Nothing records how members and holdout were drawn (`synthc split` does): that it was by lot is your word.")
    if sets.public is None:
        little = "they know strokes and edges, no object and no face"
        notes.append(f"No public images were given: features come from drawn shapes, {little}. --public makes them see more.")
    if with_use and sets.test is None:
        notes.append("Use was not measured: give a test set with --test.")
    if (figures["null_listed"].value or 0) > 0.13:  # 5 of 100 and three standard errors and more
        notes.append("NULL CONTROL FAILED: redrawn labels list members too often; the list is not to be trusted.")
    share = figures["detectable_share"].value
    if share is None or share > TOO_COARSE:
        seen = "no share at all" if share is None else f"{share:.2%} of members at best"
        more = figures["holdout_for_a_tenth"]
        notes.append(f"This holdout detects {seen}; {more.value:,.0f} {more.note}.")
    return notes
