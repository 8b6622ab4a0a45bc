"""Checks of an audit's data against themselves: models, samples or memberships that are repeated, permuted, inverted or mismatched.

An audit of a user's file or models is valid only if shadows and samples are numbered rightly. A doubt is raised where valid data
would hardly ever look so; its text names the finding. Not here: attacks on redrawn memberships (`statistics.null`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from compiler.language.audit import Design

FEW_SAMPLES = 12
"""Least number of samples for comparing models or memberships with each other."""
FEW_VALUES = 4
"""Answers of no more distinct values than this may be equal in two models or for two samples by chance."""
HARDLY_EVER = 1e-7
"""p-value, not corrected for the number of comparisons, below which memberships are not taken for independent draws."""
STANDARD_ERRORS = 6.0
"""Threshold of a standardised rank statistic beyond which a shadow's answers fit another shadow's membership, or are inverted."""
OUTLYING_AUC = 6.0
"""Robust standard deviations, of at least 0.02 each, from the median AUC beyond which a shadow's AUC is an outlier."""


@dataclass(frozen=True)
class Doubt:
    """A finding against the data. `grave`: all figures are invalid; else the finding is only reported. Of a user's file, any doubt
    that is found before attacks run also withholds epsilon bounds."""

    text: str
    grave: bool = True


def doubts_of_membership(member: np.ndarray, design: Design) -> Iterator[Doubt]:
    """Doubts, all grave, where columns (models) of membership agree more often than independent draws do, and, unless `balanced`,
    where columns disagree or rows (samples) agree more often. The two models of a pair are not compared, nor are models that hold
    none or all; rows are compared only with two shadows or more, in `pairs` with two pairs. No doubt is yielded with fewer than two
    shadows; with fewer than `FEW_SAMPLES` samples only rows are compared. member: sample × shadow, bool."""
    samples, shadows = member.shape
    if shadows < 2:
        return
    if samples >= FEW_SAMPLES and (alike := _alike_columns(member, design)):
        yield Doubt(f"memberships of {_listed(alike, 'shadows')} are more alike than independent draws: is a model there twice?")
    free = member[:, ::2] if design == "pairs" else member
    share = free.mean(0)
    equal = float(np.prod(share**2 + (1 - share) ** 2))  # probability that two rows are equal
    _, counts = np.unique(free, axis=0, return_counts=True)
    found, expected = float((counts * (counts - 1) / 2).sum()), samples * (samples - 1) / 2 * equal
    if design != "balanced" and shadows > (2 if design == "pairs" else 1) and found > expected + 8 * np.sqrt(expected) + 3:
        rows = int(counts[counts > 1].sum())
        what = "one split for all models" if len(counts) <= 2 else f"{rows} of {samples} samples share their row of member"
        yield Doubt(f"{what}: memberships were not drawn sample by sample")


def _alike_columns(member: np.ndarray, design: Design) -> list[tuple[int, int]]:
    """Pairs of shadows whose memberships agree (or, where not `balanced`, disagree) more often than independent draws do
    (p < HARDLY_EVER), without the two of a declared pair and shadows that hold none or all."""
    samples, shadows = member.shape
    first, second = np.triu_indices(shadows, 1)
    if design == "pairs":
        kept = first // 2 != second // 2
        first, second = first[kept], second[kept]
    both, sizes = (member.T.astype(np.int64) @ member.astype(np.int64))[first, second], member.sum(0)
    said = (sizes[first] > 0) & (sizes[first] < samples) & (sizes[second] > 0) & (sizes[second] < samples)
    p = stats.hypergeom.sf(both - 1, samples, sizes[first], sizes[second])
    if design != "balanced":
        p = np.minimum(p, stats.hypergeom.cdf(both, samples, sizes[first], sizes[second]))
    return [
        (int(one), int(other)) for one, other in zip(first[said & (p < HARDLY_EVER)], second[said & (p < HARDLY_EVER)], strict=True)
    ]


def _listed(pairs: list[tuple[int, int]], what: str) -> str:
    shown = ", ".join(f"{one} and {other}" for one, other in pairs[:3])
    return f"{what} {shown}{f' and {len(pairs) - 3} more pairs' if len(pairs) > 3 else ''}"


def equal_models(answers: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (first shadow with these answers, a later one) whose answers to all samples are equal to the last bit and have more
    than `FEW_VALUES` distinct values; none with fewer than `FEW_SAMPLES` samples. answers: sample × … × shadow."""
    columns = np.moveaxis(answers, -1, 0).reshape(answers.shape[-1], -1)
    if len(answers) < FEW_SAMPLES:
        return []
    seen: dict[bytes, int] = {}
    found = []
    for shadow, column in enumerate(columns):
        first = seen.setdefault(np.ascontiguousarray(column).tobytes(), shadow)
        if first != shadow and len(np.unique(column)) > FEW_VALUES:
            found.append((first, shadow))
    return found


def repetitions(answers: np.ndarray, member: np.ndarray) -> np.ndarray | None:
    """sample: index of the distinct sample that each row is, where rows are repeated (equal answers and membership in all shadows).
    None where no row is, and where rows may be equal by chance: rows of at most `FEW_VALUES` answers, over all shadows, unless
    `_repeated_numbers`; longer rows if the first repeated one has at most `FEW_VALUES` distinct answers.

    answers: sample × … × shadow; member: sample × shadow. ValueError for no samples.
    """
    rows = answers.reshape(len(answers), -1)
    same = _numbered_rows(rows, member)
    if same.max() + 1 == len(rows):
        return None
    repeated = np.flatnonzero(np.bincount(same)[same] > 1)
    if rows.shape[1] <= FEW_VALUES:
        return same if _repeated_numbers(rows, same) else None
    return same if len(np.unique(rows[repeated[0]])) > FEW_VALUES else None


def _numbered_rows(rows: np.ndarray, *beside: np.ndarray) -> np.ndarray:
    """row: index of the distinct row, compared bit by bit and together with the row of each array in `beside`; counted in the order
    of first occurrence."""
    keys: dict[tuple[bytes, ...], int] = {}
    found = (tuple(part.tobytes() for part in row) for row in zip(rows, *beside, strict=True))
    return np.array([keys.setdefault(row, len(keys)) for row in found])


def _repeated_numbers(rows: np.ndarray, same: np.ndarray) -> bool:
    """Whether rows of few answers are repeated samples and not ties: equal rows always share their membership, the distinct rows
    that are repeated are more than `FEW_VALUES` and than an eighth of the samples, and most of their answers are neither rounded to
    four digits nor of half precision.

    rows: sample × answer; same: sample, index of the distinct row and membership.
    """
    _, first, counts = np.unique(same, return_index=True, return_counts=True)
    often = rows[first[counts > 1]].ravel()
    if _numbered_rows(rows).max() != same.max() or (counts > 1).sum() <= max(FEW_VALUES, len(rows) / 8):
        return False
    with np.errstate(over="ignore"):
        rounded = [float(f"{value:.4g}") == value or float(np.float16(value)) == value for value in often.astype(np.float64)]
    return float(np.mean(rounded)) < 0.5


def doubts_of_repetitions(answers: np.ndarray, member: np.ndarray) -> Iterator[Doubt]:
    """Doubts, at most two and neither grave, where samples have another's answers to the last bit, of more than `FEW_VALUES`
    distinct values: in every shadow, but under another membership; or in some shadows alone. answers: sample × … × shadow;
    member: sample × shadow."""
    rows = answers.reshape(len(answers), -1)
    alike = _numbered_rows(rows)
    apart = [group for group in _groups(alike, rows) if not (member[group] == member[group[0]]).all()]
    if apart:
        many = sum(map(len, apart))
        what = f"{many} samples have another's answers in every shadow, and another membership: is a sample there twice?"
        yield Doubt(what, grave=False)
    told: dict[int, set[int]] = {}
    for shadow in range(answers.shape[-1]) if answers[0, ..., 0].size > FEW_VALUES else ():
        here = np.ascontiguousarray(answers[..., shadow]).reshape(len(answers), -1)
        for group in _groups(_numbered_rows(here), here):
            if len(set(alike[group].tolist())) > 1:
                told.setdefault(shadow, set()).update(group.tolist())
    if told:
        which, many = _numbers(list(told)), len(set().union(*told.values()))
        yield Doubt(f"{many} samples have another's answers in {which} and not in all: was a batch written twice?", grave=False)


def _groups(same: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """The samples (indices) of each repeated row that has more than `FEW_VALUES` distinct answers. same: sample, index of the
    distinct row; rows: sample × answer."""
    order = np.argsort(same, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(same[order])) + 1):
        if len(group) > 1 and len(np.unique(rows[group[0]])) > FEW_VALUES:
            yield group


def doubts_of_answers(signal: np.ndarray, member: np.ndarray) -> Iterator[Doubt]:
    """Doubts where answers are constant (in some shadows and not in all; not grave), inverted, fit another shadow's membership, or
    hardly correlate with the other shadows' answers (grave). All but the first need two shadows whose answers vary, each with four
    members and four non-members, and that of correlation needs four; where all or most shadows together are inverted, no further
    doubt is yielded; single inverted shadows are reported only if none fits another's membership. No doubt is yielded with fewer
    than `FEW_SAMPLES` samples. signal, member: sample × shadow, HIGHER MEANS MEMBER."""
    samples, shadows = signal.shape
    sides = member.sum(0)
    if samples < FEW_SAMPLES:
        return
    signal = _finite(signal)
    flat = [shadow for shadow in range(shadows) if shadows > 1 and np.ptp(signal[:, shadow]) == 0]
    if 0 < len(flat) < shadows:
        yield Doubt(f"{_numbered(flat)} the same answer to every sample", grave=False)
    standing = [shadow for shadow in range(shadows) if min(sides[shadow], samples - sides[shadow]) >= 4 and shadow not in flat]
    if len(standing) < 2:
        return
    values = _calibrated(signal, member, standing)
    fits = _standard_errors(values, member[:, standing].astype(np.float64))
    own = np.diag(fits)
    if own.sum() / np.sqrt(len(own)) < -STANDARD_ERRORS or (own < -STANDARD_ERRORS).sum() * 2 > len(own):
        yield Doubt(
            "members score lower than non-members: is member inverted, a label off, or the signal a loss (then give minus it)?"
        )
        return
    best = fits.argmax(1)
    wrong = np.flatnonzero((fits.max(1) > STANDARD_ERRORS) & (fits.max(1) > own + 4.0))
    if len(wrong):
        shown = ", ".join(f"shadow {standing[row]} fits the membership of shadow {standing[best[row]]}" for row in wrong[:3])
        yield Doubt(f"the numbering is off: what {shown}{f', and {len(wrong) - 3} more so' if len(wrong) > 3 else ''}")
    elif (own < -STANDARD_ERRORS).any():
        yield Doubt(
            f"members of {_numbers([standing[row] for row in np.flatnonzero(own < -STANDARD_ERRORS)])} score lower than non-members"
        )
    yield from _unlike_the_others(signal[:, standing], standing)


def _finite(signal: np.ndarray) -> np.ndarray:
    """The signal (sample × shadow) with infinities replaced by numbers, per shadow one beyond its finite ones: the order stays. NaN
    stays. Medians of infinities would make all answers of a shadow NaN, and the doubts about it would vanish."""
    finite = np.where(np.isinf(signal), np.nan, signal)
    low, high = np.nan_to_num(np.fmin.reduce(finite)) - 1, np.nan_to_num(np.fmax.reduce(finite)) + 1
    return np.where(np.isposinf(signal), high, np.where(np.isneginf(signal), low, signal))


def _calibrated(signal: np.ndarray, member: np.ndarray, standing: list[int]) -> np.ndarray:
    """sample × shadow in `standing` (indices): the signal, standardised by median and MAD of the shadow's non-members, clipped at
    ±8, minus its mean over the other shadows in `standing` without the sample; 0 where there is none. With two shadows no mean is
    subtracted: it would make all non-members 0."""
    with np.errstate(invalid="ignore"):
        outside = np.where(member, np.nan, signal)[:, standing]
        center = np.nanmedian(outside, axis=0)
        spread = np.nanmedian(np.abs(outside - center), axis=0)
        values = np.clip((signal[:, standing] - center) / np.where(spread > 0, spread, 1.0), -8, 8)
    if len(standing) < 3:
        return values
    out = ~member[:, standing]
    rest = (values * out).sum(1, keepdims=True) - values * out
    count = out.sum(1, keepdims=True) - out
    return np.where(count > 0, values - rest / np.maximum(count, 1), 0.0)


def _standard_errors(values: np.ndarray, member: np.ndarray) -> np.ndarray:
    """shadow × shadow: correlation of the first shadow's ranked answers with the second one's membership, times the root of the
    number of samples: its variance is 1 where both are independent. values, member (as floats, no column constant): sample ×
    shadow."""
    ranks = stats.rankdata(values, axis=0)
    ranks = (ranks - ranks.mean(0)) / np.maximum(ranks.std(0), 1e-12)
    sides = (member - member.mean(0)) / member.std(0)
    return np.asarray(ranks.T @ sides / np.sqrt(len(values)))


def _unlike_the_others(signal: np.ndarray, standing: list[int]) -> Iterator[Doubt]:
    """A grave doubt about shadows whose ranked signals hardly correlate with the sum of the others', if most shadows' do: their
    samples may be stored in another order. At most one is yielded, and none with fewer than four shadows. `signal`: sample ×
    shadow; `standing`: the number of each shadow."""
    samples, shadows = signal.shape
    if shadows < 4:
        return
    ranks = stats.rankdata(signal, axis=0)
    ranks = (ranks - ranks.mean(0)) / np.maximum(ranks.std(0), 1e-12)
    rest = ranks.sum(1, keepdims=True) - ranks
    likeness = (ranks * (rest / np.maximum(rest.std(0), 1e-12))).mean(0)
    usual = float(np.median(likeness))
    odd = np.flatnonzero((likeness < usual / 3) & (likeness < 4 / np.sqrt(samples)))
    if usual > 8 / np.sqrt(samples) and usual > 0.3 and 0 < len(odd) < shadows / 2:
        which = _numbers([standing[row] for row in odd])
        yield Doubt(
            f"answers of {which} are unlike all others: are the samples in another order there, or is it another kind of model?"
        )


def doubt_of_labels(right: np.ndarray, member: np.ndarray, classes: int) -> Iterator[Doubt]:
    """A grave doubt where models, all together or else one alone, predict the random wrong labels of canaries that they were not
    trained on more often than by chance (1 / `classes`, plus 0.05 and STANDARD_ERRORS standard errors); at most one is yielded, and
    none on fewer than FEW_SAMPLES predictions. right (whether the wrong label is predicted), member: canary × shadow, bool."""
    outside = ~member
    chance = 1 / classes
    for shadow in (None, *range(member.shape[1])):
        here = outside if shadow is None else outside[:, shadow]
        hits, n = int((right if shadow is None else right[:, shadow])[here].sum()), int(here.sum())
        if n >= FEW_SAMPLES and hits / n > chance + 0.05 + STANDARD_ERRORS * np.sqrt(chance * (1 - chance) / n):
            who = "models" if shadow is None else f"shadow {shadow}"
            yield Doubt(f"{who} that never saw them know {hits} of {n} wrong labels, where about {chance:.0%} are known by chance")
            return


def doubts_of_scores(scores: np.ndarray, member: np.ndarray, null_auc: np.ndarray, auc: float | None) -> Iterator[Doubt]:
    """Doubts about the scores of an attack, at most two and neither grave: `auc` is below one half and more than STANDARD_ERRORS
    standard deviations of `null_auc` below its mean; a few shadows' own AUCs are far from the median of all.

    scores, member: sample × shadow. auc: of all scores; null_auc: the same under each redrawn membership; with fewer than two, or
    `auc` None, there is no first doubt. The second needs four shadows with an AUC (`_areas`), of which at most a quarter are far.
    """
    spread = float(null_auc.std(ddof=1)) if len(null_auc) > 1 else np.inf
    if auc is not None and auc < 0.5 and auc < null_auc.mean() - STANDARD_ERRORS * max(spread, 1e-9):
        yield Doubt(f"AUC {auc:.3f}: members score lower than non-members", grave=False)
    areas, errors = _areas(scores, member)
    there = np.isfinite(areas)
    if there.sum() >= 4:
        center = float(np.median(areas[there]))
        spread = max(1.4826 * float(np.median(np.abs(areas[there] - center))), 0.02)
        odd = np.flatnonzero(there & (np.abs(areas - center) > OUTLYING_AUC * np.maximum(spread, errors)))
        if len(odd) and len(odd) <= there.sum() / 4:
            shown = ", ".join(f"shadow {row} has {areas[row]:.2f}" for row in odd[:3])
            yield Doubt(f"an AUC of its own far from the others' {center:.2f}: {shown}", grave=False)


def _areas(scores: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """shadow: AUC of each shadow's own scores, NaN scores left out, and the standard error that a random score's AUC has. NaN and 0
    where fewer than four members or four non-members have a score."""
    areas = np.full(scores.shape[1], np.nan)
    errors = np.zeros(scores.shape[1])
    for shadow, column in enumerate(scores.T):
        there = ~np.isnan(column)
        inside, n = int(member[there, shadow].sum()), int(there.sum())
        if min(inside, n - inside) >= 4:
            ranks = stats.rankdata(column[there])[member[there, shadow]]
            areas[shadow] = (ranks.sum() - inside * (inside + 1) / 2) / (inside * (n - inside))
            errors[shadow] = np.sqrt((n + 1) / (12 * inside * (n - inside)))
    return areas, errors


def _numbers(shadows: list[int]) -> str:
    return f"shadow{'s' if len(shadows) > 1 else ''} {', '.join(map(str, shadows[:6]))}{', …' if len(shadows) > 6 else ''}"


def _numbered(shadows: list[int]) -> str:
    return f"{_numbers(shadows)} give{'' if len(shadows) > 1 else 's'}"
