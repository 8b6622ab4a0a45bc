"""Makes a study of the tries in `tune:`: every try of every arm that it names is an arm, with accuracy on validation images.

Models are trained as in the study itself, on the same private sets; only the images for evaluation differ.
Not here: running it, choosing (`runtime.cli.tune`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from compiler.check.trials import check
from compiler.errors import Diagnostic, SpecError, did_you_mean
from compiler.plan.dag import Plan
from compiler.plan.lower import lower
from compiler.text.compose import merge
from compiler.text.expand import expand
from compiler.text.nodes import Mapping, Scalar


@dataclass(frozen=True)
class Try:
    """Settings that are tried for one arm."""

    arm: str
    overlay: Mapping
    """Fields that override the arm's."""
    tasks: tuple[str, ...]
    """Ids of the tasks that measure accuracy, for each trial of the try and each of the first `tune.shadows` shadows."""


@dataclass(frozen=True)
class Tuning:
    """A plan in which every try is an arm, and the tries in the same order."""

    plan: Plan
    tries: tuple[Try, ...]

    @property
    def answers(self) -> tuple[str, ...]:
        """Ids of all tasks that measure accuracy, without repetition."""
        return tuple(dict.fromkeys(task for one in self.tries for task in one.tasks))


def tune(tree: Mapping) -> Tuning:
    """Compile the tries of a composed study, without its lints, claims, charts and the arms that `tune:` does not name; the try
    number i, counted over all arms from 0, is the arm `ARM.i` of the plan. SpecError for a study that is not valid, itself or with
    the tries as its arms, without `tune:` or without validation images, for unknown arms, for tries that are no mapping, and where
    arms have unequal numbers of tries. SynthcError as for `lower`, OSError as for `check`."""
    header = check(tree).header
    node, arms = tree.get("tune"), tree.get("arms")
    if header.tune is None or not isinstance(node, Mapping):
        hint = "such as tune: {arms: {dp_sgd: {classifier: {lr: {grid: [0.5, 1.0]}}}}}"
        raise SpecError(Diagnostic("tune", tree.location, "the study has nothing to tune", hint))
    asked = node.get("arms")
    assert isinstance(asked, Mapping)
    assert isinstance(arms, Mapping)
    if problems := list(_check(tree, asked, arms)):
        raise SpecError(*problems)
    overlays = [(arm, point.node) for arm, words in asked.items.items() for point in expand(words)]
    names = [f"{arm}.{place}" for place, (arm, _) in enumerate(overlays)]
    tried = {
        name: merge(_mapping(arms.items[arm]), _mapping(overlay), ("arms", name))
        for name, (arm, overlay) in zip(names, overlays, strict=True)
    }
    checked = check(_of_tries(tree, tried))
    plan = lower(checked.header, checked.trials)
    tasks: dict[str, list[str]] = {name: [] for name in names}
    for planned in plan.trials:
        stages = [stage.task for stage in planned.stages if stage.name == "final_model" and stage.shadow < header.tune.shadows]
        tasks[planned.trial.arm_name] += stages
    tries = [Try(arm, _mapping(overlay), tuple(tasks[name])) for name, (arm, overlay) in zip(names, overlays, strict=True)]
    return Tuning(plan, tuple(tries))


def _check(tree: Mapping, asked: Mapping, arms: Mapping) -> Iterator[Diagnostic]:
    """Diagnostics for tries of unknown arms, tries that are no mapping, unequal numbers, and a study without validation images.
    `asked`: arm → tries; `arms`: those of the study. SpecError for grids that `expand` refuses."""
    counts: dict[str, int] = {}
    for arm, words in asked.items.items():
        if arm not in arms.items:
            yield Diagnostic("tune", asked.location_of(arm), f"no arm is called {arm!r}", did_you_mean(arm, arms.items))
        elif not isinstance(words, Mapping):
            yield Diagnostic("tune", words.location, f"what to try of {arm} is no mapping", "write the fields that it changes")
        else:
            counts[arm] = len(expand(words))
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{arm} {count}" for arm, count in counts.items())
        what = f"arms have unequal numbers of tries: {listed}"
        yield Diagnostic("tune", asked.location, what, "what is searched longer looks better: give every arm as many")
    if tree.get("data", "validation") is None:
        what = "no images are set aside to choose settings by"
        yield Diagnostic("tune", tree.nearest("data"), what, "set some aside with `data: {validation: 200}`")


def _of_tries(tree: Mapping, tried: dict[str, Mapping]) -> Mapping:
    """The study with the tries as arms, evaluated on the validation images, without claims, charts and `tune`."""
    at = tree.location
    arms = Mapping(dict(tried), dict.fromkeys(tried, at), at)
    data = _mapping(tree.items["data"])
    judged = Mapping(data.items | {"judged_on": Scalar("validation", at)}, data.keys | {"judged_on": at}, data.location)
    kept = {name: node for name, node in tree.items.items() if name not in ("claims", "charts", "tune")}
    return Mapping(kept | {"arms": arms, "data": judged}, tree.keys, at)


def _mapping(node: object) -> Mapping:
    assert isinstance(node, Mapping)
    return node
