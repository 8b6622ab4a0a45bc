"""Which attacks apply to a file that a user brings, and which epsilon bounds may be stated about them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel
from scipy.stats import binomtest

from compiler.language.attacks.base import Spread, Tried
from compiler.language.attacks.reference import Threshold
from compiler.language.audit import KNOWN_ATTACKS, Design
from compiler.work.operations import AuditSettings
from runtime.audit.external.evidence import Evidence, looks_like, membership_leak
from runtime.audit.trial.bounds import MIN_CANARIES
from runtime.audit.trial.doubts import HARDLY_EVER, Doubt
from runtime.audit.trial.terms import Conditions

TARGET = 0
"""The shadow that one-run bounds are about: always the first, so that it is not chosen after looking at scores."""
UNFAIR = 1e-3
"""p-value of the number of members below which membership is not taken for fair coins."""


class Scores(Threshold):
    """An attack whose scores the user brings: one threshold on the scores as they are."""

    attack: Literal["scores"] = "scores"  # type: ignore[assignment]

    @property
    def variant_name(self) -> str:
        return ""


def _name(words: type[BaseModel]) -> str:
    """The name by which a study names attacks of this class."""
    name: str = words.model_fields["attack"].annotation.__args__[0]  # type: ignore[union-attr]
    return name


ON_MODELS: dict[str, type[Tried]] = {
    _name(words): words for words in sorted(KNOWN_ATTACKS, key=lambda words: (words.learned, words.needs_z_pool))
    if not words.looks_at
}  # fmt: skip
"""Name → attack of a study that needs only logits or a signal; learned ones and those that need a z pool come last."""
ATTACKS = (*ON_MODELS, "scores")
ONLY_IN_STUDIES = {_name(words): words.looks_at for words in KNOWN_ATTACKS if words.looks_at}
"""Name of an attack that is possible in studies alone → what it needs besides the outputs of models, in words."""


def applicable(evidence: Evidence, settings: AuditSettings, design: Design) -> tuple[list[Tried], dict[str, str]]:
    """The attacks that apply, in the order asked for, with their parameters; and name → reason of those that do not. Asked for are
    those that the settings name, else `scores` alone for a file of scores, and all of ON_MODELS for any other. KeyError for a name
    not in ATTACKS, unless the file is of scores."""
    wanted = dict.fromkeys(settings.tried or (("scores",) if evidence.kind == "scores" else ON_MODELS))
    skipped = {name: reason for name in wanted if (reason := _obstacle(name, evidence, design))}
    return [_as_in_a_study(name, evidence, settings) for name in wanted if name not in skipped], skipped


def _obstacle(name: str, evidence: Evidence, design: Design) -> str | None:
    """Why the attack does not apply to the file's arrays or to its membership design; None if it applies. KeyError as of
    `applicable`."""
    if name == "scores":
        return None if evidence.kind == "scores" else f"the file holds {evidence.kind}, no scores"
    if evidence.kind == "scores":
        return "the file holds scores of an attack done elsewhere: only their statistics can be computed (--attack scores)"
    words = ON_MODELS[name]
    if evidence.kind == "signal":
        return None if "signal" in words.model_fields else f"{name} needs logits; the file holds a signal"
    if words.needs_z_pool and evidence.z_logits is None:
        return f"{name} needs z_logits and z_labels: samples that no shadow was trained on"
    queries = words.model_fields.get("queries")
    if queries is not None and queries.is_required() and evidence.views < 2:
        return f"{name} needs at least two views of each sample"
    if words.learned and (reason := membership_leak(evidence.member, design)):
        return f"a learned attack would read that off: {reason}"
    return None


def _as_in_a_study(name: str, evidence: Evidence, settings: AuditSettings) -> Tried:
    """The attack with the settings' signal (`given` for a file of a signal), number of views (by default all of the file) and LiRA
    variant, as far as it has such fields; not validated. For `scores` it is `Scores` with its defaults, whatever the settings."""
    if name == "scores":
        return Scores()
    fields = ON_MODELS[name].model_fields
    given: dict[str, Any] = {"signal": "given" if evidence.kind == "signal" else settings.signal}
    given["queries"] = settings.views or evidence.views
    if "variant" in fields and fields["variant"].annotation == Spread:
        given["variant"] = settings.variant
    # Not validated: a user's signal has no name in a study, and label_only may be run on a single view of several.
    return ON_MODELS[name].model_construct(attack=name, **{word: value for word, value in given.items() if word in fields})


def conditions(attack: Tried, evidence: Evidence, design: Design, settings: AuditSettings, doubts: Sequence[Doubt]) -> Conditions:
    """Whether epsilon bounds may be stated: where a condition fails or cannot be checked, there is a reason instead of a bound.
    With any `doubts` none may, and the first doubt is the reason, unless `membership_leak` gives one for bounds of one run."""
    if doubts:
        return Conditions(lambda member: membership_leak(evidence.member, design) or doubts[0].text, doubts[0].text)
    return Conditions(lambda member: _one_run_refusal(evidence, design, settings, member), _multi_run_refusal(attack, evidence))


def _one_run_refusal(evidence: Evidence, design: Design, settings: AuditSettings, member: np.ndarray) -> str:
    """Why one-run bounds do not apply to the target, whose scored samples have the membership `member`; "" if they do."""
    scored, members = len(member), int(member.sum())
    if evidence.shadows == 1 and not settings.one_run:
        said = "nothing says that the one shadow's members were drawn by independent fair coins"
        advice = (
            "say it with --one-run" if evidence.kind == "scores" else "make scores (1 × samples) of it, and say it with --one-run"
        )
        return f"{said}; if they were, {advice}"
    if reason := membership_leak(evidence.member, design):
        return reason
    if not scored and evidence.shadows > 1:
        return "shadow 0, which the bounds are about, has no score; where it is a reference, put the target first"
    if settings.membership == "auto" and not settings.one_run and _by_place(evidence.member[:, TARGET]):
        said = (
            "members of the target follow from their places in the file (blocks, or every other one), which coins hardly ever give"
        )
        return f"{said}; if they were drawn by fair coins and then sorted, say it with --design {design}"
    if design == "pairs" and evidence.kind == "scores":
        return "whether these scores were made without the target's complement is not known; its membership gives the target's away"
    if settings.guesses and sum(settings.guesses) > scored:
        return f"{sum(settings.guesses)} guesses about {scored} scored samples"
    if scored < MIN_CANARIES:
        return f"{scored} scored samples of the target are too few to rule anything out"
    if _fair(members, scored) < UNFAIR:
        return f"{members} of the target's {scored} samples are members: fair coins hardly ever give that"
    return ""


def _by_place(members: np.ndarray) -> bool:
    """Whether so few, or so many, samples differ in membership from the one before them in the file as fair coins hardly ever give
    (two-sided p-value below HARDLY_EVER); False with fewer than two samples. members: sample, bool, in the order of the file."""
    changes = int((members[1:] != members[:-1]).sum())
    return bool(binomtest(changes, len(members) - 1).pvalue < HARDLY_EVER) if len(members) > 1 else False


@lru_cache
def _fair(members: int, scored: int) -> float:
    """Two-sided p-value of `members` heads in `scored` tosses of a fair coin. Cached: a null control computes it for each redraw,
    and counts repeat."""
    return float(binomtest(members, scored).pvalue)


def _multi_run_refusal(attack: Tried, evidence: Evidence) -> str:
    """Why bounds from many models may not be stated; "" if they may."""
    if evidence.samples > 1:
        return "scores of one model share its training noise, those of one sample its difficulty: the trials are not independent"
    if not isinstance(attack, Threshold):
        return "leave-one-out scores are fitted on one another's models: the trials are not independent"
    if looks_like(evidence.member) == "pairs":
        return "paired shadows are complements: the trials are not independent"
    if evidence.shadows < 2 * MIN_CANARIES:
        return f"{evidence.shadows} models are too few to choose a threshold on one half and test it on the other"
    return ""
