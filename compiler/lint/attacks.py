"""Lints on attacks: resolvable rates, attacks that fit the defence, fits of attacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

from compiler.language.audit import Attack, Audit, ReleaseLevel
from compiler.language.methods.coreset import Selection
from compiler.lint.study import Study, Weakness
from compiler.power.resolution import resolution
from compiler.work.releases import HEADLINE_FIELDS, OWNERS, fits, has_release

MAX_LOW_FPR = 0.1
"""Largest FPR that counts as low; a TPR at a higher one adds little to the AUC."""
MIN_SHADOWS_PER_EXAMPLE = 64
"""Least number of shadows for variances that are estimated per canary."""
POOLED = ("pooled", "student_t")
"""Variants of an attack whose spread is estimated from all canaries together."""
MIN_REDRAWS = 100
LEAST_MODELS = 5
"""Least number of independent models (or pairs) behind an interval."""

ADAPTIVE: Mapping[str, tuple[str, ...]] = {
    "coreset": ("selected", "nearest"),
    "distillation": ("nearest",),
    "diffusion": ("denoising", "nearest"),
}
"""Paradigm → attacks that are adapted to it. Data-free distillation needs none, since its teacher is always queried too."""

GIVEN_AWAY: tuple[tuple[ReleaseLevel, str], ...] = (
    ("synthetic_set", "nearest"),
    ("index_list", "selected"),
    ("generator", "denoising"),
)
"""Release levels that `released: true` discloses, and the attack on each."""


def unresolvable(study: Study) -> Iterator[Weakness]:
    """L05: a false-positive rate at which the number of non-member scores allows no false positive: an error for the headline's and
    for the one that a claim reads (once for each side, and not where it is the headline's, on the same canaries), a warning for
    others of `audit.fpr`, one for each canary group. Also a warning for a headline that allows one to nine false positives."""
    for trial, audit in study.audits():
        headline = audit.headline
        declared = resolution(headline.canaries, audit.canaries[headline.canaries], audit.shadows, headline.fpr)
        at, outsiders = study.at(trial, "audit", "headline", "fpr"), declared.non_members
        if declared.verdict == "not resolvable":
            what = f"{outsiders:,} non-member scores cannot show a false-positive rate of {headline.fpr:g}"
            yield Weakness(at, what, _hint_at_size(outsiders))
        elif declared.verdict == "coarse":
            what = f"the headline allows {declared.false_positives} false positives of {outsiders:,}, and each moves the threshold"
            yield Weakness(at, what, "allow 10: a higher FPR, more canaries or more shadows", "warning")
        for name, group in audit.canaries.items():
            lost = [fpr for fpr in audit.fpr if resolution(name, group, audit.shadows, fpr).verdict == "not resolvable"]
            lost = [fpr for fpr in lost if (name, fpr) != (headline.canaries, headline.fpr)]
            if lost:
                listed = ", ".join(f"{fpr:g}" for fpr in lost)
                outsiders = resolution(name, group, audit.shadows, lost[0]).non_members
                what = f"{outsiders:,} non-member scores of {name} canaries cannot show a false-positive rate of {listed}"
                yield Weakness(study.at(trial, "audit", "fpr"), what, _hint_at_size(outsiders), "warning")
    for claim in study.claims:
        for side, selected in (("left", claim.left), ("right", claim.right)):
            read = getattr(claim.work, side).canaries
            for fpr, trial in product(claim.rates, study.select(selected)):
                audit = trial.point.audit
                if (read, fpr) == (audit.headline.canaries, audit.headline.fpr):  # reported above
                    continue
                if resolution(read, audit.canaries[read], audit.shadows, fpr).verdict == "not resolvable":
                    what = f"the claim {claim.name} is about an FPR of {fpr:g}, which the {read} canaries cannot show"
                    place = ("metric",) if claim.claim.metric == f"tpr@fpr={fpr:g}" else (side, "canaries")
                    hint = "claim a higher rate, or more canaries or shadows"
                    yield Weakness(study.tree.nearest("claims", claim.name, *place), what, hint)
                    break


def _hint_at_size(outsiders: int) -> str:
    """Hint to use at least the smallest FPR that so many non-member scores resolve (one over their number), or more canaries or
    shadows; for 0 scores the latter alone."""
    more = "more canaries or shadows"
    return f"use an FPR of at least {1 / outsiders:.2g}, or {more}" if outsiders else f"use {more}"


def average_figures(study: Study) -> Iterator[Weakness]:
    """L06: a headline at an FPR above MAX_LOW_FPR (an error), or a claim about the AUC (a warning)."""
    for trial, audit in study.audits():
        if audit.headline.fpr > MAX_LOW_FPR:
            what = f"the headline is read at an FPR of {audit.headline.fpr:g}: so many non-members would be accused"
            yield Weakness(study.at(trial, "audit", "headline", "fpr"), what, f"use {MAX_LOW_FPR:g} or less")
    for claim in study.claims:
        if claim.claim.metric == "auc":
            what = f"the claim {claim.name} is about the area under the curve"
            yield Weakness(study.tree.nearest("claims", claim.name, "metric"), what, "claim `leakage`, the headline", "warning")


def generic_attacks_only(study: Study) -> Iterator[Weakness]:
    """L07: a trial on synthetic data (no control) of a paradigm in ADAPTIVE, with none of the attacks named there."""
    for trial in study.synthetic:
        fitting = ADAPTIVE.get(trial.point.arm.paradigm, ())
        if fitting and not {attack.attack for attack in trial.point.audit.attacks} & set(fitting):
            what = f"{trial.arm_name}: no attack looks at what {trial.point.arm.paradigm} makes of the private data"
            listed = " or ".join(f"{{attack: {name}}}" for name in fitting)
            yield Weakness(study.arm(trial), what, f"add {listed} to `audit.attacks`")


def reads_the_count(study: Study) -> Iterator[Weakness]:
    """L14: under balanced membership, the first attack of an audit that is trained on the membership of other shadows
    (`learned`)."""
    for trial, audit in study.audits():
        learned = next((attack.attack for attack in audit.attacks if attack.learned), None)
        if audit.membership == "balanced" and learned is not None:
            what = f"{learned} learns from the other models, and under balanced membership they tell who is a member by counting"
            yield Weakness(study.attack(trial, learned), what, "use membership: pairs")


def unstable_spread(study: Study) -> Iterator[Weakness]:
    """L15: an attack of variant `per_example` in an audit of fewer than MIN_SHADOWS_PER_EXAMPLE shadows that does not also have the
    same attack in a variant of POOLED."""
    for trial, audit in study.audits():
        if audit.shadows >= MIN_SHADOWS_PER_EXAMPLE:
            continue
        for attack in audit.attacks:
            if getattr(attack, "variant", None) == "per_example" and not _has_pooled_twin(attack, audit):
                what = f"{attack.attack} estimates each canary's spread from {audit.shadows} shadows, and none beside it is pooled"
                hint = f"add a variant pooled or student_t; per_example is for {MIN_SHADOWS_PER_EXAMPLE} shadows and more"
                yield Weakness(study.attack(trial, attack.attack), what, hint)


def few_models(study: Study) -> Iterator[Weakness]:
    """L29: two-way intervals from fewer than LEAST_MODELS independent models (shadows; under paired membership, pairs of
    shadows)."""
    for trial, audit in study.audits():
        if audit.interval != "two_way":  # says nothing of other models
            continue
        paired = audit.membership == "pairs"
        models = audit.shadows // 2 if paired else audit.shadows
        if models < LEAST_MODELS:
            what = (
                f"{audit.shadows} shadows are {models} independent {'pairs' if paired else 'models'}: intervals may be too narrow"
            )
            hint = f"use {2 * LEAST_MODELS if paired else LEAST_MODELS} shadows or more"
            yield Weakness(study.at(trial, "audit", "shadows"), what, hint)


def _has_pooled_twin(attack: Attack, audit: Audit) -> bool:
    """Whether the audit has an attack of the same name, signal, space and number of queries in a variant of POOLED; other fields
    are not compared."""
    fields = ("attack", "signal", "space", "queries", "variant")
    key, *others = ([getattr(one, field, None) for field in fields] for one in (attack, *audit.attacks))
    return any(other[:-1] == key[:-1] and other[-1] in POOLED for other in others)


def open_headline(study: Study) -> Iterator[Weakness]:
    """L16, before the run: a headline that several attacks of the audit fit (see `fits`), because it leaves a field open or they
    differ only in fields that a headline does not have, such as `compat`, `space` or `gamma`."""
    for trial, audit in study.audits():
        fitting = [attack for attack in audit.attacks if fits(attack, audit.headline)]
        if len(fitting) < 2:
            continue
        first, fields = fitting[0], type(fitting[0]).model_fields
        differing = [field for field in fields if any(getattr(other, field) != getattr(first, field) for other in fitting)]
        what, hint = f"{len(fitting)} attacks of the audit fit", "keep one of them"
        if left := ", ".join(field for field in HEADLINE_FIELDS if field in differing):
            what, hint = f"the headline leaves {left} open, and {what} it", f"name {left}"
        else:
            what += f" the headline and differ in {', '.join(differing)}, which it has no word for"
        yield Weakness(study.at(trial, "audit", "headline"), what, hint)


def few_redraws(study: Study) -> Iterator[Weakness]:
    """L17, as a warning: an audit that declares fewer than MIN_REDRAWS redraws of membership (`null_permutations`)."""
    for trial, audit in study.audits():
        if audit.null_permutations < MIN_REDRAWS:
            what = f"{audit.null_permutations} redraws of membership stand behind each null control"
            yield Weakness(study.at(trial, "audit", "null_permutations"), what, f"use {MIN_REDRAWS} or more", "warning")


def distance_alone(study: Study) -> Iterator[Weakness]:
    """L19: an audit without other attacks than `nearest` and `selected`, which look at the released set alone."""
    for trial, audit in study.audits():
        if {attack.attack for attack in audit.attacks} <= {"nearest", "selected"}:
            what = "the only attacks are on what the released images look like"
            yield Weakness(study.at(trial, "audit", "attacks"), what, "add an attack on the model, such as {attack: lira}")


def released_and_not_attacked(study: Study) -> Iterator[Weakness]:
    """L22: a trial on synthetic data (no control) with `released: true` whose audit lacks the attack of GIVEN_AWAY on something
    that is so released: its set, its generator or, for a coreset, its index list; a finding for each."""
    for trial in study.synthetic:
        attacks = {attack.attack for attack in trial.point.audit.attacks}
        for level, attack in GIVEN_AWAY if getattr(trial.point.arm, "released", False) else ():
            listed = level != "index_list" or isinstance(trial.point.arm, Selection)  # nobody publishes where images began
            if has_release(trial.point.arm, level) and listed and attack not in attacks:
                what = f"{trial.arm_name} releases its {level}, and no attack looks at it"
                yield Weakness(study.arm(trial, "released"), what, f"add {{attack: {attack}}} to `audit.attacks`")


def idle_attack(study: Study) -> Iterator[Weakness]:
    """L25: an attack, by name, none of whose release levels is one of any trial whose audit has it."""
    for name, levels in {attack.attack: attack.reads for _, audit in study.audits() for attack in audit.attacks}.items():
        trials = [trial for trial in study.trials if any(attack.attack == name for attack in trial.point.audit.attacks)]
        if not any(has_release(trial.point.arm, level) for trial in trials for level in levels):
            what = f"{name} reads the {levels[0]}, and no arm has one"
            yield Weakness(study.attack(trials[0], name), what, f"{OWNERS[levels[0]]}, or drop the attack")
