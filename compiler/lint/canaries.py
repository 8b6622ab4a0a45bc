"""Lints of who is watched: worst cases, types that fit the defence, people who are where they should not be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from compiler.lint.study import Found, Study

WORST = ("mislabeled", "ood", "duplicated", "blank")
"""Kinds that stand for the most vulnerable records; `clean` ones for the average."""

FITTED: Mapping[str, tuple[str, ...]] = {
    "undefended": WORST,
    "dp_sgd": WORST,
    "coreset": ("mislabeled", "duplicated"),
    "distillation": ("mislabeled", "ood", "duplicated"),
    "data_free_kd": ("mislabeled", "ood"),
    "diffusion": ("ood", "duplicated"),
}
"""Kinds that were found to be strong against a paradigm, or that its way of working lets through: a generator keeps few single
images and the copied ones, a selection keeps hard ones, a teacher passes on what it knows by heart."""


def average_case_only(study: Study) -> Iterator[Found]:
    """L03."""
    for trial, audit in study.audits():
        if not any(group.kind in WORST for group in audit.canaries.values()):
            hint = "add a group such as mislabeled: {kind: mislabeled, count: 128}"
            yield Found(study.at(trial, "audit", "canaries"), "only clean canaries: the audit looks at average records alone", hint)
        elif (group := audit.canaries[audit.headline.canaries]).kind == "clean":
            worst = ", ".join(name for name, other in audit.canaries.items() if other.kind in WORST)
            what = f"the headline reads the {group.kind} canaries, which stand for average records"
            yield Found(study.at(trial, "audit", "headline", "canaries"), what, f"read the worst case: {worst}", "warning")


def unfitted_canaries(study: Study) -> Iterator[Found]:
    """L04. Silent where L03 speaks."""
    arms = {trial.arm_name: trial for trial in reversed(study.synthetic)}
    kinds_of = {name: {group.kind for group in trial.point.audit.canaries.values()} & set(WORST) for name, trial in arms.items()}
    if not all(kinds_of.values()):
        return
    for name, trial in sorted(arms.items(), key=lambda item: study.arm(item[1])):
        fitted = FITTED.get(trial.point.arm.paradigm, WORST)
        if not kinds_of[name] & set(fitted):
            what = f"{name}: no canaries of a kind that is strong against {trial.point.arm.paradigm}"
            yield Found(study.arm(trial), what, f"add a group of kind {' or '.join(fitted)}")
    kinds = set().union(*kinds_of.values())
    paradigms = {trial.point.arm.paradigm for trial in arms.values()}
    if len(kinds) == 1 and len(paradigms) > 1:
        what = f"{min(kinds)} canaries are the only worst case for {len(paradigms)} paradigms"
        others = ", ".join(kind for kind in WORST if kind not in kinds)
        yield Found(study.at(study.synthetic[0], "audit", "canaries"), what, f"add a group of another kind: {others}")


def public_images_that_are_canaries(study: Study) -> Iterator[Found]:
    """L12, what is left of it: a learned image may begin from an ood canary, also where the canary is not a member."""
    for trial in study.synthetic:
        if getattr(trial.point.arm, "init", None) == "public" and any(
            group.kind == "ood" for group in trial.point.audit.canaries.values()
        ):
            what = f"{trial.arm_name} begins from images of the public set, from which the ood canaries are drawn too"
            yield Found(study.arm(trial, "init"), what, "use another init, or drop the ood canaries", "warning")
