"""Trees → typed trials. All complaints of a study at once, each at its place.

Each arm's tree (the study's data, audit and classifier with the arm's own words on top) is expanded, validated and then
checked for sense. Not here: what a rigorous study needs and this one lacks (`lint`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from compiler.check import imported_files as files
from compiler.check.claim_sides import Resolved, misfits, resolve
from compiler.check.presets import without_presets
from compiler.check.rules import make_sense
from compiler.check.validate import Validator
from compiler.data.files import anchored
from compiler.errors import Diagnostic, SpecError, did_you_mean
from compiler.language.audit import Audit
from compiler.language.claims import Claim
from compiler.language.classifier import Recipe
from compiler.language.plugins import AnyData
from compiler.language.study import AnyArm, Header, Point, Trial
from compiler.text.compose import merge
from compiler.text.expand import MOST_TRIALS, Coordinate, Expanded, expand
from compiler.text.nodes import Mapping, Node, Scalar, Sequence, Value, plain

SHARED = ("data", "public", "audit", "classifier")
"""What a study says for all its arms; an arm may say part of `audit` and `classifier` anew."""
HEADER = tuple(Header.model_fields)
OWN = ("audit", "classifier", "exclude")
"""Words of an arm that are not its method's."""


MOST_MODELS = 500_000
"""Of one study, over all trials: a slip of the finger in `shadows` should not fill the memory."""


@dataclass(frozen=True)
class Checked:
    """A study without mistakes."""

    header: Header
    trials: tuple[Trial, ...]
    claims: tuple[Resolved, ...]
    tree: Mapping
    """Its text as composed, for whoever has to say where something was written."""


def check(tree: Mapping, imported: bool = True) -> Checked:
    """The typed trials of a composed study; SpecError with every complaint found.

    `imported`: whether what imported arms name must be there; before it is made elsewhere, it is not.
    """
    found: list[Diagnostic] = []
    known = {*HEADER, *SHARED, "arms", "claims"}
    for name in tree.items:
        if name not in known:
            found.append(
                Diagnostic("unknown-field", tree.place_of(name), f"no field is called {name!r}", did_you_mean(name, known))
            )
    header = _header(tree, found)
    for name in ("data", "audit", "arms"):
        if name not in tree.items:
            found.append(
                Diagnostic("missing-field", tree.place, f"`{name}` is missing", "a study has study, data, audit, classifier, arms")
            )
    arms = _arms(tree, found)
    validate = _Validators()
    trials: list[Trial] = []
    replicates = _replicates(tree, header, found)
    for name, arm in arms.items():
        points = _points(tree, name, arm, found, MOST_TRIALS // replicates - len(trials) // replicates)
        axes_of = _axis_names(points)
        for expanded in points:
            point = validate.point(expanded.node, found)
            if point is None or header is None:
                continue
            odd = make_sense(point, expanded.node)
            found += odd
            if imported and not odd and isinstance(expanded.node, Mapping):
                found += files.complaints(point, expanded.node, header.replicates)
            axes = tuple((axes_of[axis.path], axis.value) for axis in expanded.axes)
            trials += [
                Trial(study=header.study, seed=header.seed, arm_name=name, axes=axes, replicate=replicate, point=point)
                for replicate in range(replicates)
            ]
    if (models := sum(trial.point.audit.shadows for trial in trials)) > MOST_MODELS:
        hint = f"at most {MOST_MODELS:,}: fewer shadows, replicates or grid points"
        found.append(Diagnostic("too-many-models", tree.nearest("audit", "shadows"), f"the study asks for {models:,} models", hint))
    complete = not found
    claims = _claims(tree, trials, complete, found)
    if complete and header is not None:
        found += _charts(tree, header, trials)
    if found:
        raise SpecError(found)
    assert header is not None
    return Checked(header, tuple(trials), tuple(claims), tree)


def _replicates(tree: Mapping, header: Header | None, found: list[Diagnostic]) -> int:
    if header is None or header.replicates <= MOST_TRIALS:
        return header.replicates if header else 1
    what = f"{header.replicates:,} replicates of every trial"
    found.append(Diagnostic("too-many-trials", tree.nearest("replicates"), what, f"at most {MOST_TRIALS:,} trials in all"))
    return 1


def _claims(tree: Mapping, trials: list[Trial], complete: bool, found: list[Diagnostic]) -> list[Resolved]:
    """The study's claims. What they say of trials is judged only where all trials are `complete`."""
    claims = tree.items.get("claims")
    if claims is None or (isinstance(claims, Scalar) and claims.value is None):
        return []
    if not isinstance(claims, Mapping):
        hint = "such as init_leaks: {text: …, test: difference, left: {init: real}, right: {init: noise}}"
        found.append(Diagnostic("claims", claims.place, "`claims` must map names to hypotheses", hint))
        return []
    validate, resolved = Validator(Claim), []
    for name, node in claims.items.items():
        claim = validate(node, found)
        if claim is None or not complete or not trials:
            continue
        assert isinstance(node, Mapping)
        made = resolve(name, claim, trials, node)
        if isinstance(made, Resolved):
            resolved.append(made)
        else:
            found += made
    return resolved


def _charts(tree: Mapping, header: Header, trials: list[Trial]) -> Iterator[Diagnostic]:
    """Charts of no trial."""
    nodes = tree.items.get("charts")
    for chart, node in zip(header.charts, nodes.items if isinstance(nodes, Sequence) else (), strict=True):
        for word, what, hint in misfits(chart.of, trials, also=()):
            at = node.nearest("of", *([word] if word else [])) if isinstance(node, Mapping) else node.place
            yield Diagnostic("chart", at, what, hint)


class _Validators:
    """One validator for each part of a point, so that a part that many trials share is validated once."""

    def __init__(self) -> None:
        self.data, self.audit = Validator(AnyData), Validator(Audit)
        self.classifier, self.arm = Validator(Recipe), Validator(AnyArm)

    def point(self, tree: Node, found: list[Diagnostic]) -> Point | None:
        assert isinstance(tree, Mapping)
        parts = tree.items

        def part(name: str, validate: Validator, absent: Any = None) -> Any:
            return validate(anchored(parts[name]), found) if name in parts else absent

        before = len(found)
        data, public, audit = part("data", self.data), part("public", self.data), part("audit", self.audit)
        parts = without_presets(parts, data, found)   # they depend on the data
        classifier, arm = part("classifier", self.classifier, Recipe()), part("arm", self.arm)
        if len(found) > before or data is None or audit is None:
            return None
        return Point.model_construct(data=data, public=public, audit=audit, classifier=classifier, arm=arm)


def _header(tree: Mapping, found: list[Diagnostic]) -> Header | None:
    items = {name: node for name, node in tree.items.items() if name in HEADER}
    return Validator(Header)(Mapping(items, tree.keys, tree.place), found)


def _arms(tree: Mapping, found: list[Diagnostic]) -> dict[str, Mapping]:
    arms = tree.items.get("arms")
    if arms is None:
        return {}
    if not isinstance(arms, Mapping) or not arms.items:
        found.append(
            Diagnostic("arms", arms.place, "`arms` must name at least one arm", "such as undefended: {paradigm: undefended}")
        )
        return {}
    named: dict[str, Mapping] = {}
    for name, arm in arms.items.items():
        if isinstance(arm, Mapping):
            named[name] = arm
        else:
            found.append(Diagnostic("arms", arm.place, f"the arm {name!r} is not a mapping", "such as {paradigm: undefended}"))
    return named


def _points(tree: Mapping, name: str, arm: Mapping, found: list[Diagnostic], limit: int) -> list[Expanded]:
    """The trees of an arm's trials: data, public, audit, classifier, arm."""
    items = {part: tree.items[part] for part in SHARED if part in tree.items}
    keys = {part: tree.keys[part] for part in items}
    for part in ("audit", "classifier"):
        own = arm.items.get(part)
        if isinstance(own, Mapping):
            shared = items.get(part)
            items[part] = merge(shared, own, (part,)) if isinstance(shared, Mapping) else own
            keys.setdefault(part, arm.keys[part])
        elif own is not None:
            found.append(
                Diagnostic("wrong-value", own.place, f"`{part}` of an arm is not a mapping", "write the fields that it changes")
            )
    items["arm"] = Mapping({word: node for word, node in arm.items.items() if word not in OWN}, arm.keys, arm.place)
    keys["arm"] = arm.place
    try:
        points = expand(Mapping(items, keys, arm.place), max(limit, 0))
    except SpecError as error:
        found += error.diagnostics
        return []
    return [point for point in points if not _excluded(point, arm, found)]


def _excluded(point: Expanded, arm: Mapping, found: list[Diagnostic]) -> bool:
    """Whether `exclude:`, a list of mappings from axis to value, names this point."""
    rules = arm.items.get("exclude")
    if rules is None:
        return False
    if not isinstance(rules, Sequence) or not all(isinstance(rule, Mapping) for rule in rules.items):
        found.append(
            Diagnostic("exclude", rules.place, "`exclude` must be a list of mappings", "such as [{method: random, fraction: 0.1}]")
        )
        return False
    values = {_short(axis): axis.value for axis in point.axes}
    return any(_matches(rule, values, found) for rule in rules.items if isinstance(rule, Mapping))


def _matches(rule: Mapping, values: dict[str, Value], found: list[Diagnostic]) -> bool:
    for name in rule.items:
        if name not in values:
            found.append(
                Diagnostic("exclude", rule.place_of(name), f"no grid of this arm is called {name!r}", did_you_mean(name, values))
            )
            return False
    wanted = {name: plain(node) for name, node in rule.items.items() if isinstance(node, Scalar)}
    return bool(wanted) and all(values[name] == value for name, value in wanted.items())


def _short(axis: Coordinate) -> str:
    return axis.path[-1]


def _axis_names(points: list[Expanded]) -> dict[tuple[str, ...], str]:
    """For each axis the shortest end of its path that tells it apart from the other axes of its arm."""
    paths = {axis.path for point in points for axis in point.axes}
    names: dict[tuple[str, ...], str] = {}
    for path in paths:
        for length in range(1, len(path) + 1):
            name = ".".join(path[-length:])
            if Counter(".".join(other[-length:]) for other in paths)[name] == 1:
                break
        names[path] = name
    return names
