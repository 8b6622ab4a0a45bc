"""Lints on canaries: worst-case samples, kinds that fit the defence, canaries in the public set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from compiler.language.methods.diffusion import Checkpoint
from compiler.lint.study import Study, Weakness

WORST_KINDS = ("mislabeled", "ood", "duplicated", "blank")
"""Kinds of canaries for the most vulnerable records; `clean` ones represent the average."""

STRONG_KINDS: Mapping[str, tuple[str, ...]] = {
    "undefended": WORST_KINDS,
    "dp_sgd": WORST_KINDS,
    "coreset": ("mislabeled", "duplicated"),
    "distillation": ("mislabeled", "ood", "duplicated"),
    "data_free_kd": ("mislabeled", "ood"),
    "diffusion": ("ood", "duplicated"),
}
"""Kinds that were found to be strong against a paradigm, or that its way of working lets through: a generator keeps few single
images and the copied ones, a selection keeps hard ones, a teacher passes on what it knows by heart."""


def average_case_only(study: Study) -> Iterator[Weakness]:
    """L03: an audit with clean canaries only, or, as a warning, one that has others too and a headline that reads clean ones."""
    for trial, audit in study.audits():
        if not any(group.kind in WORST_KINDS for group in audit.canaries.values()):
            hint = "add a group such as mislabeled: {kind: mislabeled, count: 128}"
            what = "only clean canaries: the audit looks at average records alone"
            yield Weakness(study.at(trial, "audit", "canaries"), what, hint)
        elif (group := audit.canaries[audit.headline.canaries]).kind == "clean":
            worst = ", ".join(name for name, other in audit.canaries.items() if other.kind in WORST_KINDS)
            what = f"the headline reads the {group.kind} canaries, which stand for average records"
            yield Weakness(study.at(trial, "audit", "headline", "canaries"), what, f"read the worst case: {worst}", "warning")


def unfitted_canaries(study: Study) -> Iterator[Weakness]:
    """L04: an arm on synthetic data, judged by its first trial, without canaries of a kind that is strong against its paradigm
    (STRONG_KINDS), or one worst-case kind for such arms of several paradigms. Finds nothing in the study if any of these arms has
    clean canaries only, which L03 finds."""
    arms = {trial.arm_name: trial for trial in reversed(study.synthetic)}
    kinds_of = {
        name: {group.kind for group in trial.point.audit.canaries.values() if group.kind in WORST_KINDS}
        for name, trial in arms.items()
    }
    if not all(kinds_of.values()):
        return
    for name, trial in sorted(arms.items(), key=lambda item: study.arm(item[1])):
        strong = STRONG_KINDS.get(trial.point.arm.paradigm, WORST_KINDS)
        if not kinds_of[name] & set(strong):
            what = f"{name}: no canaries of a kind that is strong against {trial.point.arm.paradigm}"
            yield Weakness(study.arm(trial), what, f"add a group of kind {' or '.join(strong)}")
    kinds = set().union(*kinds_of.values())
    paradigms = {trial.point.arm.paradigm for trial in arms.values()}
    if len(kinds) == 1 and len(paradigms) > 1:
        what = f"{min(kinds)} canaries are the only worst case for {len(paradigms)} paradigms"
        others = ", ".join(kind for kind in WORST_KINDS if kind not in kinds)
        yield Weakness(study.at(study.synthetic[0], "audit", "canaries"), what, f"add a group of another kind: {others}")


def public_images_that_are_canaries(study: Study) -> Iterator[Weakness]:
    """L12, as a warning: ood canaries in a trial on synthetic data (no control) whose images begin as public ones, or whose
    denoiser has a base, pretrained on the public set or from a folder: it may have seen canaries that are no members."""
    for trial in study.synthetic:
        arm, kinds = trial.point.arm, {group.kind for group in trial.point.audit.canaries.values()}
        base = getattr(getattr(arm, "denoiser", None), "base", None)
        if "ood" not in kinds:
            continue
        if getattr(arm, "init", None) == "public":
            what = f"{trial.arm_name} begins from images of the public set, from which the ood canaries are drawn too"
            hint = "their leakage is a lower bound; draw them elsewhere, or begin from something else"
            yield Weakness(study.arm(trial, "init"), what, hint, "warning")
        if isinstance(base, Checkpoint):
            what = f"{trial.arm_name} tunes a base from a folder, and whether it was trained on the ood canaries is not known"
            hint = "if it was, their leakage is a lower bound; draw them from a set that it has not seen"
            yield Weakness(study.arm(trial, "denoiser", "base"), what, hint, "warning")
        elif base is not None:
            what = f"{trial.arm_name} has a base that is pretrained on the public set, from which the ood canaries are drawn too"
            hint = "their leakage is a lower bound; draw them elsewhere, or train without a base"
            yield Weakness(study.arm(trial, "denoiser"), what, hint, "warning")
