"""The arrays of a file that a user brings about trained models, checked before anything is computed from them.

    logits   shadow × sample × view × class, with labels (sample) and member (shadow × sample); optionally z_logits
             (shadow × z sample × view × class) and z_labels: samples that no shadow was trained on, for RMIA
    signal   shadow × sample, higher = more confident in the label, with member
    scores   shadow × sample, higher = more likely a member, with member: scores of an attack that the user ran

Every error names the array, the index in it, and what is accepted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from compiler.data.files import label_remedy
from compiler.errors import SynthcError
from compiler.language.audit import Design
from runtime.audit.attacks.answers import Answers
from runtime.audit.trial.bounds import BALANCED
from runtime.audit.trial.doubts import repetitions
from runtime.data.formats.npz import MAX_BYTES, read_arrays
from runtime.data.population.roles import Group

DIMENSIONS: dict[str, tuple[str, ...]] = {
    "logits": ("shadows", "samples", "views", "classes"),
    "signal": ("shadows", "samples"),
    "scores": ("shadows", "samples"),
}
"""Kind of array → names of its dimensions. A file holds exactly one of these arrays."""
MAX_SIGNAL = 1e100
"""Largest absolute value of a logit or a signal: attacks square it."""
GROUP = "samples"
"""Name of the one canary group of a file."""
NAMES = (*DIMENSIONS, "labels", "member", "z_logits", "z_labels")


@dataclass(frozen=True)
class Evidence:
    """Checked arrays. HIGHER MEANS MEMBER in `signal` and `scores`."""

    kind: Literal["logits", "signal", "scores"]
    values: np.ndarray
    """As in the file: shadow first."""
    member: np.ndarray
    """sample × shadow, bool: samples first, as everywhere in the attacks."""
    labels: np.ndarray | None = None
    """sample, int64; with logits."""
    z_logits: np.ndarray | None = None
    z_labels: np.ndarray | None = None

    @cached_property
    def same(self) -> np.ndarray | None:
        """sample: index of the distinct sample that each row is, where rows are repeated; None where none is, or where they may be
        equal by chance (`repetitions`)."""
        return repetitions(np.moveaxis(self.values, 0, -1), self.member)

    @property
    def shadows(self) -> int:
        return self.member.shape[1]

    @property
    def samples(self) -> int:
        return self.member.shape[0]

    @property
    def views(self) -> int:
        """Number of views of each sample; 1 for signals and scores."""
        return self.values.shape[2] if self.kind == "logits" else 1


def read_evidence(path: Path, limit: int = MAX_BYTES) -> Evidence:
    """Read and check an `.npz` file; SynthcError of one line, which begins with the path, for whatever is wrong with it. `limit`:
    most bytes of all its arrays together; arrays not in NAMES are not read."""
    return check(read_arrays(path, NAMES, limit), str(path))


def check(arrays: dict[str, np.ndarray], source: str) -> Evidence:
    """Evidence from named arrays, of which those that the kind does not need are ignored; SynthcError where one is missing or not
    valid, or there is not exactly one of DIMENSIONS. `source` is the beginning of its text."""
    kinds = [kind for kind in DIMENSIONS if kind in arrays]
    if len(kinds) != 1:
        held = ", ".join(arrays)
        raise SynthcError(f"{source}: holds {held}; exactly one of {', '.join(DIMENSIONS)} is wanted, beside member")
    kind = kinds[0]
    values = _shaped(source, kind, arrays[kind], DIMENSIONS[kind])
    member = _member(source, arrays, kind, values.shape)
    _no_nan(source, kind, values, infinite_too=kind != "scores")
    if kind != "logits":
        return Evidence(kind, values, member)  # type: ignore[arg-type]
    labels = _labels(source, "labels", arrays, values, kind)
    _no_probabilities(source, values)
    if "z_logits" not in arrays:
        return Evidence("logits", values, member, labels)
    z_logits = _shaped(source, "z_logits", arrays["z_logits"], ("shadows", "z samples", "views", "classes"))
    expected = (values.shape[0], z_logits.shape[1], *values.shape[2:])
    if z_logits.shape != expected:
        raise SynthcError(f"{source}: z_logits has shape {z_logits.shape}, but logits {values.shape}; wanted is {expected}")
    _no_nan(source, "z_logits", z_logits, infinite_too=True)
    return Evidence("logits", values, member, labels, z_logits, _labels(source, "z_labels", arrays, z_logits, "z_logits"))


def answers_of(evidence: Evidence) -> Answers:
    """The arrays as responses of a trial's final models to one canary group (`GROUP`) without images and true labels. Logits are a
    view of the file's; a signal, or scores, become `given_signal`, float64, with one view and labels of -1."""
    nothing, unknown = torch.empty(0), torch.full((evidence.samples,), -1)
    labels, z_labels = (
        missing if values is None else torch.from_numpy(values)
        for values, missing in ((evidence.labels, unknown), (evidence.z_labels, nothing))
    )
    rows = torch.arange(evidence.samples)
    group = Group(GROUP, evidence.kind, nothing, labels, unknown, rows, nothing, z_labels, 1, nothing)  # type: ignore[arg-type]
    if evidence.kind == "logits":
        z_logits = None if evidence.z_logits is None else evidence.z_logits.transpose(1, 2, 0, 3)
        return Answers("final_model", group, evidence.values.transpose(1, 2, 0, 3), z_logits)
    signal = np.ascontiguousarray(evidence.values.T[:, None, :], dtype=np.float64)
    return Answers("final_model", group, given_signal=signal)


def _shaped(source: str, name: str, values: np.ndarray, dimensions: Sequence[str]) -> np.ndarray:
    """The array itself; SynthcError for another number of dimensions than those in `dimensions`, for an empty or boolean array, and
    for a single class. `name`: of the array, for messages."""
    wanted = " × ".join(dimensions)
    if values.ndim != len(dimensions):
        raise SynthcError(
            f"{source}: {name} has shape {values.shape}; wanted is {wanted}{_axes_hint(name, values.ndim, dimensions)}"
        )
    if not values.size:
        raise SynthcError(f"{source}: {name} has shape {values.shape} and so is empty; wanted is {wanted}")
    if values.dtype.kind == "b":
        raise SynthcError(f"{source}: {name} is boolean; wanted are numbers")
    if dimensions[-1] == "classes" and values.shape[-1] < 2:
        raise SynthcError(f"{source}: {name} has shape {values.shape}, one class; a classifier tells at least two apart")
    return values


def _axes_hint(name: str, count: int, dimensions: Sequence[str]) -> str:
    """End of a message, with the Python expression that adds the axes that an array of `count` dimensions lacks, or takes away
    those that it has beyond `dimensions`; "" where there is none to suggest."""
    lack = len(dimensions) - count
    if lack < 0:
        return f"; {name}.squeeze() takes axes of length one away"
    if "views" not in dimensions:
        return f"; if they are of one shadow, save {name}[None]" if lack == 1 else ""
    if lack == 1:
        return f"; if they are of one shadow, save {name}[None]; if of one view, save {name}[:, :, None]"
    return f"; if they are of one shadow and one view, save {name}[None, :, None]" if lack == 2 else ""


def _no_nan(source: str, name: str, values: np.ndarray, *, infinite_too: bool) -> None:
    """Raise SynthcError at the first NaN or, with `infinite_too`, also infinity or absolute value above MAX_SIGNAL. values: shadow
    first, of any numeric dtype."""
    if values.dtype.kind != "f":
        return
    for shadow, one in enumerate(values):  # shadow by shadow, so that a large array is never doubled
        bad = ~np.isfinite(one) if infinite_too else np.isnan(one)
        if infinite_too and one.itemsize == 8:  # smaller floats cannot be that large
            bad |= np.abs(one) > MAX_SIGNAL
        if bad.any():
            place = (shadow, *(int(index) for index in np.argwhere(bad)[0]))
            wanted = f"a number from -{MAX_SIGNAL:g} to {MAX_SIGNAL:g}" if infinite_too else "a number or an infinity"
            raise SynthcError(f"{source}: {name}{list(place)} is {values[place]}; wanted is {wanted}")


def _member(source: str, arrays: dict[str, np.ndarray], kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """sample × shadow, bool: the file's membership, transposed; SynthcError where it is missing, has another shape than shadow ×
    sample (the beginning of `shape`, that of the array `kind`), is not 0 or 1, or is the same everywhere."""
    if "member" not in arrays:
        raise SynthcError(f"{source}: has no member; wanted is member (shadows × samples, true where the shadow was trained on it)")
    member = arrays["member"]
    if member.shape != shape[:2]:
        wanted = f"shadows × samples, {shape[:2]}"
        if member.shape == shape[1::-1]:
            wanted += ": save member.T"
        elif member.ndim == 1 and (1, *member.shape) == shape[:2]:
            wanted += ": save member[None]"
        raise SynthcError(f"{source}: member has shape {member.shape}, but {kind} {shape}; wanted is {wanted}")
    if member.dtype.kind != "b":
        bad = (member != 0) & (member != 1)
        if bad.any():
            place = [int(index) for index in np.argwhere(bad)[0]]
            raise SynthcError(f"{source}: member{place} is {member[tuple(place)]}; wanted are true and false, or 1 and 0")
    sides = member.astype(bool).T
    if not sides.any():
        raise SynthcError(f"{source}: member is false everywhere; without members nothing can be told from non-members")
    if sides.all():
        raise SynthcError(f"{source}: member is true everywhere; without non-members there is no false-positive rate")
    return sides


def _no_probabilities(source: str, logits: np.ndarray) -> None:
    """Raise SynthcError where logits (… × class), of more than two rows, look like probabilities: from 0 to 1, and the sum of each
    row within 0.01 of 1."""
    sums = logits.sum(-1, dtype=np.float64)
    if logits.size > 2 * logits.shape[-1] and logits.min() >= 0 and logits.max() <= 1 and (np.abs(sums - 1) < 1e-2).all():
        clipped = "numpy.log(numpy.clip(p, 1e-12, 1)), in which the surest answers are all alike"
        raise SynthcError(
            f"{source}: logits are probabilities, each row sums to 1; give the numbers before the softmax, or else {clipped}"
        )


def _labels(source: str, name: str, arrays: dict[str, np.ndarray], logits: np.ndarray, of: str) -> np.ndarray:
    """The file's labels of this `name` as int64; SynthcError where they are missing, have another shape than sample (the second
    axis of `logits`), are not of an integer type, or are no class indices. `of`: name of the array `logits`, for messages."""
    if name not in arrays:
        raise SynthcError(f"{source}: {of} need {name} (samples): the class that each sample is scored against")
    labels, classes = arrays[name], logits.shape[-1]
    if labels.shape != logits.shape[1:2]:
        wanted = f"samples, {logits.shape[1:2]}{label_remedy(name, labels.dtype.str, labels.shape)}"
        raise SynthcError(f"{source}: {name} has shape {labels.shape}, but {of} {logits.shape}; wanted is {wanted}")
    if labels.dtype.kind not in "iu":
        wanted = f"whole numbers from 0 to {classes - 1}{label_remedy(name, labels.dtype.str, labels.shape)}"
        raise SynthcError(f"{source}: {name} is of type {labels.dtype.name}; wanted are {wanted}")
    bad = (labels < 0) | (labels >= classes)
    if bad.any():
        place = int(np.argmax(bad))
        raise SynthcError(f"{source}: {name}[{place}] is {labels[place]}; with {classes} classes, 0 to {classes - 1} is wanted")
    return labels.astype(np.int64)


def design_of(evidence: Evidence, declared: str = "auto") -> Design:
    """How membership was drawn: the declared design, or for `auto` the one that the membership's structure shows.

    `auto`: pairs if shadows 2j and 2j+1 are complements everywhere; balanced if all samples, of at least two, are in
    equally many shadows, of at least two; else bernoulli. SynthcError where the file contradicts a declared `pairs` or `balanced`;
    `bernoulli` is not checked.
    """
    member = evidence.member
    if declared == "bernoulli":
        return "bernoulli"
    if declared == "pairs":
        if evidence.shadows % 2:
            raise SynthcError(f"--design pairs: {evidence.shadows} shadows are an odd number; pairs need an even one")
        same = member[:, 0::2] == member[:, 1::2]
        if same.any():
            sample, pair = (int(index) for index in np.argwhere(same)[0])
            both = "both" if member[sample, 2 * pair] else "neither of them"
            raise SynthcError(
                f"--design pairs: shadows {2 * pair} and {2 * pair + 1} {both} hold sample {sample}; pairs are complements"
            )
        return "pairs"
    if declared == "balanced":
        counts = member.sum(1)
        odd = np.flatnonzero(counts != counts[0])
        if len(odd):
            raise SynthcError(
                f"--design balanced: sample {odd[0]} is in {counts[odd[0]]} shadows, sample 0 in {counts[0]}; "
                "balanced means equally many"
            )
        return "balanced"
    return looks_like(member)


def looks_like(member: np.ndarray) -> Design:
    """The first design whose structure the membership (sample × shadow) has: pairs, balanced (with at least two samples and two
    shadows), or bernoulli, which has none."""
    shadows = member.shape[1]
    if shadows % 2 == 0 and (member[:, 0::2] != member[:, 1::2]).all():
        return "pairs"
    # One sample, or one shadow, has no structure to see.
    if len(member) > 1 and shadows > 1 and len(set(member.sum(1).tolist())) == 1:
        return "balanced"
    return "bernoulli"


def membership_leak(member: np.ndarray, design: Design) -> str | None:
    """Text of why a target's membership can be inferred from the memberships of its shadows, the other models: where membership is
    `balanced`, by declaration or by its structure, and where it is pairs but declared `bernoulli`; else None.

    Under the design `pairs` a target's complement is none of its shadows.
    """
    seen = looks_like(member)
    if design == "balanced" or seen == "balanced":
        return f"every sample is in {BALANCED}"
    if design == "bernoulli" and seen == "pairs":
        return "shadows 2j and 2j+1 are complements, but were declared bernoulli: each gives the other away (--design pairs)"
    return None
