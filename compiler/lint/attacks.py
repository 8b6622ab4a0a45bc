"""Lints of what the adversary does: what can be resolved, whether the attack fits the defence, and how it is fitted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from compiler.language.audit import Attack, Audit, ReleaseLevel
from compiler.language.methods.coreset import Selection
from compiler.lint.study import Found, Study
from compiler.power.resolution import resolution
from compiler.work.releases import FROM, has

LOW = 0.1
"""Above this a false-positive rate says little more than the area under the curve."""
FEW_SHADOWS = 64
"""Below this many, spreads estimated for each canary alone are unstable."""
FEW_REDRAWS = 100

ADAPTIVE: Mapping[str, tuple[str, ...]] = {
    "coreset": ("selected", "nearest"),
    "distillation": ("nearest",),
    "diffusion": ("denoising", "nearest"),
}
"""Attacks on what a paradigm releases or changes. Data-free distillation needs none: its teacher is always asked too."""

GIVEN_AWAY: tuple[tuple[ReleaseLevel, str], ...] = (
    ("synthetic_set", "nearest"),
    ("index_list", "selected"),
    ("generator", "denoising"),
)
"""What `released: true` gives away, where an arm has it, and the attack that reads it."""


def unresolvable(study: Study) -> Iterator[Found]:
    """L05: an error for what the study declares (headline, claims), a warning for what else it reads."""
    for trial, audit in study.audits():
        headline = audit.headline
        declared = resolution(headline.canaries, audit.canaries[headline.canaries], audit.shadows, headline.fpr)
        at, outsiders = study.at(trial, "audit", "headline", "fpr"), declared.non_members
        if declared.verdict == "not resolvable":
            what = f"{outsiders:,} non-member scores cannot show a false-positive rate of {headline.fpr:g}"
            yield Found(at, what, _needed(outsiders))
        elif declared.verdict == "coarse":
            what = f"the headline allows {declared.false_positives} false positives of {outsiders:,}, and each moves the threshold"
            yield Found(at, what, "allow 10: a higher FPR, more canaries or more shadows", "warning")
        for name, group in audit.canaries.items():
            lost = [fpr for fpr in audit.fpr if resolution(name, group, audit.shadows, fpr).verdict == "not resolvable"]
            lost = [fpr for fpr in lost if (name, fpr) != (headline.canaries, headline.fpr)]
            if lost:
                listed = ", ".join(f"{fpr:g}" for fpr in lost)
                outsiders = resolution(name, group, audit.shadows, lost[0]).non_members
                what = f"{outsiders:,} non-member scores of {name} canaries cannot show a false-positive rate of {listed}"
                yield Found(study.at(trial, "audit", "fpr"), what, _needed(outsiders), "warning")
    for claim in study.claims:
        if not claim.claim.metric.startswith("tpr@fpr="):
            continue
        fpr = float(claim.claim.metric.removeprefix("tpr@fpr="))
        for place in claim.left:
            audit = study.trials[place].point.audit
            read = claim.work.left.canaries
            if resolution(read, audit.canaries[read], audit.shadows, fpr).verdict == "not resolvable":
                what = f"the claim {claim.name} is about an FPR of {fpr:g}, which its canaries cannot show"
                yield Found(study.tree.nearest("claims", claim.name, "metric"), what, "claim a higher rate")
                break


def _needed(outsiders: int) -> str:
    more = "more canaries or shadows"
    return f"use an FPR of at least {1 / outsiders:.2g}, or {more}" if outsiders else f"use {more}"


def average_figures(study: Study) -> Iterator[Found]:
    """L06: the headline is always a TPR at a rate; what is left is a rate that is not low, and claims about areas."""
    for trial, audit in study.audits():
        if audit.headline.fpr > LOW:
            what = f"the headline is read at an FPR of {audit.headline.fpr:g}: so many non-members would be accused"
            yield Found(study.at(trial, "audit", "headline", "fpr"), what, f"use {LOW:g} or less")
    for claim in study.claims:
        if claim.claim.metric == "auc":
            what = f"the claim {claim.name} is about the area under the curve"
            yield Found(study.tree.nearest("claims", claim.name, "metric"), what, "claim `leakage`, the headline", "warning")


def generic_attacks_only(study: Study) -> Iterator[Found]:
    """L07."""
    for trial in study.synthetic:
        wanted = ADAPTIVE.get(trial.point.arm.paradigm, ())
        if wanted and not {attack.attack for attack in trial.point.audit.attacks} & set(wanted):
            what = f"{trial.arm_name}: no attack looks at what {trial.point.arm.paradigm} makes of the private data"
            yield Found(study.arm(trial), what, f"add {' or '.join(f'{{attack: {name}}}' for name in wanted)} to `audit.attacks`")


def reads_the_count(study: Study) -> Iterator[Found]:
    """L14."""
    for trial, audit in study.audits():
        learned = next((attack.attack for attack in audit.attacks if attack.learned), None)
        if audit.membership == "balanced" and learned is not None:
            what = f"{learned} learns from the other models, and under balanced membership they tell who is a member by counting"
            yield Found(study.attack(trial, learned), what, "use membership: pairs")


def unstable_spread(study: Study) -> Iterator[Found]:
    """L15."""
    for trial, audit in study.audits():
        if audit.shadows >= FEW_SHADOWS:
            continue
        for attack in audit.attacks:
            if getattr(attack, "variant", None) == "per_example" and not _beside(attack, audit):
                what = f"{attack.attack} estimates each canary's spread from {audit.shadows} shadows, and none beside it is pooled"
                hint = f"add a variant pooled or student_t; per_example is for {FEW_SHADOWS} shadows and more"
                yield Found(study.attack(trial, attack.attack), what, hint)


def _beside(attack: Attack, audit: Audit) -> bool:
    def told(one: Attack) -> tuple[object, ...]:
        return one.attack, *(getattr(one, word, None) for word in ("signal", "space", "queries"))

    return any(told(other) == told(attack) and getattr(other, "variant", None) != "per_example" for other in audit.attacks)


def open_headline(study: Study) -> Iterator[Found]:
    """L16, before the run: a headline that leaves a word open, and several attacks that fit it."""
    for trial, audit in study.audits():
        headline = audit.headline
        words = [word for word in ("signal", "variant", "queries") if getattr(headline, word) is None]
        fitting = [
            attack for attack in audit.attacks
            if attack.attack == headline.attack
            and all(getattr(attack, word, None) in (None, getattr(headline, word)) or word in words
                    for word in ("signal", "variant", "queries"))
        ]
        if len(fitting) > 1:
            left = ", ".join(words) or "compat"
            what = f"the headline leaves {left} open, and {len(fitting)} attacks of the audit fit it"
            yield Found(study.at(trial, "audit", "headline"), what, f"name {left}")


def few_redraws(study: Study) -> Iterator[Found]:
    """L17, what is left of it: every attack has a null control, of as many redraws as the study says."""
    for trial, audit in study.audits():
        if audit.null_permutations < FEW_REDRAWS:
            what = f"{audit.null_permutations} redraws of membership stand behind each null control"
            yield Found(study.at(trial, "audit", "null_permutations"), what, f"use {FEW_REDRAWS} or more", "warning")


def distance_alone(study: Study) -> Iterator[Found]:
    """L19."""
    for trial, audit in study.audits():
        if {attack.attack for attack in audit.attacks} <= {"nearest", "selected"}:
            what = "the only attacks are on what the released images look like"
            yield Found(study.at(trial, "audit", "attacks"), what, "add an attack on the model, such as {attack: lira}")


def released_and_not_attacked(study: Study) -> Iterator[Found]:
    """L22."""
    for trial in study.synthetic:
        asked = {attack.attack for attack in trial.point.audit.attacks}
        for level, attack in GIVEN_AWAY if getattr(trial.point.arm, "released", False) else ():
            listed = level != "index_list" or isinstance(trial.point.arm, Selection)   # nobody publishes where images began
            if has(trial.point.arm, level) and listed and attack not in asked:
                what = f"{trial.arm_name} releases its {level}, and no attack looks at it"
                yield Found(study.arm(trial, "released"), what, f"add {{attack: {attack}}} to `audit.attacks`")


def idle_attack(study: Study) -> Iterator[Found]:
    """L25."""
    for name, read in {attack.attack: attack.reads for _, audit in study.audits() for attack in audit.attacks}.items():
        asked = [trial for trial in study.trials if any(attack.attack == name for attack in trial.point.audit.attacks)]
        if not any(has(trial.point.arm, level) for trial in asked for level in read):
            what = f"{name} reads the {read[0]}, and no arm has one"
            yield Found(study.attack(asked[0], name), what, f"{FROM[read[0]]}, or drop the attack")
