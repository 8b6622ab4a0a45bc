"""Makes typed trials of a composed tree; reports all errors of a study at once, with locations.

Each arm's tree (the study's data, audit and classifier with the arm's own fields on top) is expanded, validated and then
checked for sense. Not here: what a rigorous study needs and this one lacks (`lint`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Any

from compiler.check import imported_files as files
from compiler.check.claim_sides import Resolved, check_claim, explain_empty_selection, resolve
from compiler.check.policy import check_policy
from compiler.check.presets import resolve_presets
from compiler.check.rules import check_sense
from compiler.check.validate import Validator
from compiler.data.files import anchored
from compiler.errors import Checking, Diagnostic, SpecError, collect, did_you_mean
from compiler.language.audit import Audit
from compiler.language.claims import Claim
from compiler.language.classifier import Recipe
from compiler.language.plugins import AnyData
from compiler.language.study import AnyArm, Header, Point, Trial
from compiler.text.compose import merge
from compiler.text.expand import MAX_TRIALS, Expanded, expand
from compiler.text.nodes import Mapping, Scalar, Sequence, Value

SHARED = ("data", "public", "audit", "classifier")
"""Parts of a study that all arms share; an arm may override fields of `audit` and `classifier`."""
PER_ARM = ("audit", "classifier", "exclude")
"""Fields of an arm that are no fields of its method."""
STUDY_FIELDS = (*Header.model_fields, *SHARED, "arms", "claims")

MAX_MODELS = 500_000
"""Most models of one study, over all trials, so that a typing error in `shadows` does not exhaust memory."""


@dataclass(frozen=True)
class Checked:
    """A valid study."""

    header: Header
    trials: tuple[Trial, ...]
    claims: tuple[Resolved, ...]
    tree: Mapping
    """The composed tree, for locations in messages."""


def check(tree: Mapping, imported: bool = True) -> Checked:
    """Check a composed study; SpecError with all errors that are found. A grid point is checked as a whole only if its fields and
    the study's header are valid, claims and charts against the trials only if nothing in header, arms and grid points is wrong.
    Lints are not applied.

    `imported`: whether the files of imported arms are checked; False before they are made.
    """
    (header, trials), problems = collect(_check_trials(tree, imported))
    claims, wrong = collect(_check_claims(tree, () if problems else trials))
    if header is not None and not problems:
        wrong += _check_charts(tree, header, trials)
    if header is None or problems or wrong:
        raise SpecError(*problems, *wrong)
    return Checked(header, tuple(trials), tuple(claims), tree)


def _check_trials(tree: Mapping, imported: bool) -> Checking[tuple[Header | None, list[Trial]]]:
    """The header (None if it is not valid), and the trials of all grid points whose fields are valid: none without a header. Yields
    the diagnostics of header, fields, arms and grid points, and one for more than MAX_MODELS models."""
    header = yield from _check_header(tree)
    yield from _check_fields(tree)
    arms = yield from _check_arms(tree)
    validators = _Validators()
    replicates = header.replicates if header and header.replicates <= MAX_TRIALS else 1
    trials: list[Trial] = []
    for name, arm in arms.items():
        points = yield from _expand_arm(tree, arm, (MAX_TRIALS - len(trials)) // replicates)
        names = _name_axes(points)
        for expanded in points:
            assert isinstance(expanded.node, Mapping)
            point, problems = collect(validators.check_point(expanded.node))
            if point is not None and header is not None and not problems:
                problems += check_sense(point, expanded.node)
                if imported and not problems:
                    problems += files.complaints(point, expanded.node, header.replicates)
                axes = tuple((names[axis.path], axis.value) for axis in expanded.axes)
                trials += [
                    Trial(study=header.study, seed=header.seed, arm_name=name, axes=axes, replicate=replicate, point=point)
                    for replicate in range(replicates)
                ]
            yield from problems
    if (models := sum(trial.point.audit.shadows for trial in trials)) > MAX_MODELS:
        hint = f"at most {MAX_MODELS:,}: fewer shadows, replicates or grid points"
        what = f"the study asks for {models:,} models"
        yield Diagnostic("too-many-models", tree.nearest("audit", "shadows"), what, hint)
    return header, trials


def _check_header(tree: Mapping) -> Checking[Header | None]:
    """The header, None if its fields are not valid; yields diagnostics for them or, if they are valid, for the policy and for more
    than MAX_TRIALS replicates."""
    items = {name: node for name, node in tree.items.items() if name in Header.model_fields}
    header: Header | None = yield from Validator(Header).check(Mapping(items, tree.keys, tree.location))
    if header is not None and "policy" in tree.items:
        yield from check_policy(tree.items["policy"])
    if header is not None and header.replicates > MAX_TRIALS:
        what = f"{header.replicates:,} replicates of every trial"
        hint = f"at most {MAX_TRIALS:,} trials in all"
        yield Diagnostic("too-many-trials", tree.nearest("replicates"), what, hint)
    return header


def _check_fields(tree: Mapping) -> Iterator[Diagnostic]:
    """Diagnostics for unknown fields at the top of a study, and for missing ones of `data`, `audit` and `arms`."""
    for name in tree.items:
        if name not in STUDY_FIELDS:
            hint = did_you_mean(name, STUDY_FIELDS)
            yield Diagnostic("unknown-field", tree.location_of(name), f"no field is called {name!r}", hint)
    for name in ("data", "audit", "arms"):
        if name not in tree.items:
            hint = "a study has study, data, audit, classifier, arms"
            yield Diagnostic("missing-field", tree.location, f"`{name}` is missing", hint)


def _check_arms(tree: Mapping) -> Checking[dict[str, Mapping]]:
    """Name → arm, of those that are mappings; yields diagnostics for others, and for `arms` without a name in it. {} without a
    diagnostic where `arms` is missing."""
    arms = tree.items.get("arms")
    if arms is None:
        return {}
    if not isinstance(arms, Mapping) or not arms.items:
        hint = "such as undefended: {paradigm: undefended}"
        yield Diagnostic("arms", arms.location, "`arms` must name at least one arm", hint)
        return {}
    for name, arm in arms.items.items():
        if not isinstance(arm, Mapping):
            yield Diagnostic("arms", arm.location, f"the arm {name!r} is not a mapping", "such as {paradigm: undefended}")
    return {name: arm for name, arm in arms.items.items() if isinstance(arm, Mapping)}


def _expand_arm(tree: Mapping, arm: Mapping, limit: int) -> Checking[list[Expanded]]:
    """The trees (data, public, audit, classifier, arm) of an arm's grid points, without excluded ones; the arm's own `audit` and
    `classifier` are merged into the study's. [], with diagnostics, if a grid is wrong or the grids have more than `limit`
    combinations. Yields diagnostics also for malformed parts and `exclude` rules."""
    items = {part: tree.items[part] for part in SHARED if part in tree.items}
    keys = {part: tree.keys[part] for part in items}
    for part in ("audit", "classifier"):
        changes = arm.items.get(part)
        if isinstance(changes, Mapping):
            shared = items.get(part)
            items[part] = merge(shared, changes, (part,)) if isinstance(shared, Mapping) else changes
            keys.setdefault(part, arm.keys[part])
        elif changes is not None:
            what = f"`{part}` of an arm is not a mapping"
            yield Diagnostic("wrong-value", changes.location, what, "write the fields that it changes")
    items["arm"] = Mapping({name: node for name, node in arm.items.items() if name not in PER_ARM}, arm.keys, arm.location)
    keys["arm"] = arm.location
    try:
        points = expand(Mapping(items, keys, arm.location), limit)
    except SpecError as error:
        yield from error.diagnostics
        return []
    return (yield from _drop_excluded(points, arm))


def _drop_excluded(points: list[Expanded], arm: Mapping) -> Checking[list[Expanded]]:
    """The grid points without those that have the values of a rule of the arm's `exclude:` (a list of mappings from axis to value)
    on all axes that the rule names. Yields a diagnostic for an `exclude` of another form, and for each malformed rule, which then
    exclude nothing; neither does an empty rule."""
    rules = arm.items.get("exclude")
    if rules is None:
        return points
    if not isinstance(rules, Sequence) or not all(isinstance(rule, Mapping) for rule in rules.items):
        hint = "such as [{method: random, fraction: 0.1}]"
        yield Diagnostic("exclude", rules.location, "`exclude` must be a list of mappings", hint)
        return points
    names = _name_axes(points)
    matches: list[dict[str, Value]] = []
    for rule in rules.items:
        assert isinstance(rule, Mapping)
        problem = next(_find_problems_of_rule(rule, set(names.values())), None)
        if problem is not None:
            yield problem
        elif rule.items:
            matches.append({name: node.value for name, node in rule.items.items() if isinstance(node, Scalar)})
    values = [{names[axis.path]: axis.value for axis in point.axes} for point in points]
    return [
        point for point, here in zip(points, values, strict=True) if not any(match.items() <= here.items() for match in matches)
    ]


def _find_problems_of_rule(rule: Mapping, axes: set[str]) -> Iterator[Diagnostic]:
    """Diagnostics for names in an `exclude` rule that no grid has, and for values that are not single."""
    for name, node in rule.items.items():
        if name not in axes:
            what = f"no grid of this arm is called {name!r}"
            yield Diagnostic("exclude", rule.location_of(name), what, did_you_mean(name, axes))
        elif not isinstance(node, Scalar):
            what = f"`{name}` of an `exclude` rule is not one value"
            yield Diagnostic("exclude", node.location, what, "write a rule for each value")


def _name_axes(points: list[Expanded]) -> dict[tuple[str, ...], str]:
    """Path of an axis → its shortest suffix, joined by dots, that no other axis of the arm has; the whole path if there is none."""
    paths = {axis.path for point in points for axis in point.axes}
    names: dict[tuple[str, ...], str] = {}
    for path in paths:
        for length in range(1, len(path) + 1):
            name = ".".join(path[-length:])
            if Counter(".".join(other[-length:]) for other in paths)[name] == 1:
                break
        names[path] = name
    return names


class _Validators:
    """Validators of the parts of a grid point; valid parts that many trials share are validated once."""

    def __init__(self) -> None:
        data = Validator(AnyData)
        self.parts = {
            "data": data,
            "public": data,
            "audit": Validator(Audit),
            "classifier": Validator(Recipe),
            "arm": Validator(AnyArm),
        }

    def check_point(self, tree: Mapping) -> Checking[Point | None]:
        """The typed grid point, with presets replaced and paths made absolute; None where data or audit is missing. Parts that are
        not valid are None in it: it may be used only if no diagnostic was yielded."""
        parts, models = tree.items, dict[str, Any]()
        for name, validate in self.parts.items():
            if name == "classifier":  # its preset, and that of the arm's proxy, depend on the data
                parts = yield from resolve_presets(parts, models.get("data"))
            if name in parts:
                models[name] = yield from validate.check(anchored(parts[name]))
        return Point.model_construct(**models) if {"data", "audit"} <= models.keys() else None


def _check_claims(tree: Mapping, trials: Many[Trial]) -> Checking[list[Resolved]]:
    """The study's claims with their trials, without those that have errors, for which diagnostics are yielded. If `trials` is
    empty, only fields are checked and the result is []."""
    claims = tree.items.get("claims")
    if claims is None or (isinstance(claims, Scalar) and claims.value is None):
        return []
    if not isinstance(claims, Mapping):
        hint = "such as init_leaks: {text: …, test: difference, left: {init: real}, right: {init: noise}}"
        yield Diagnostic("claims", claims.location, "`claims` must map names to hypotheses", hint)
        return []
    validator, resolved = Validator(Claim), []
    for name, node in claims.items.items():
        claim = yield from validator.check(node)
        if claim is not None and trials:
            assert isinstance(node, Mapping)
            problems = check_claim(claim, trials, node)
            yield from problems
            if not problems:
                resolved.append(resolve(name, claim, trials))
    return resolved


def _check_charts(tree: Mapping, header: Header, trials: Many[Trial]) -> Iterator[Diagnostic]:
    """Diagnostics for charts that select no trial, or select by an unknown field."""
    nodes = tree.items.get("charts")
    for chart, node in zip(header.charts, nodes.items if isinstance(nodes, Sequence) else (), strict=True):
        for name, what, hint in explain_empty_selection(chart.of, trials, also=()):
            at = node.nearest("of", *([name] if name else [])) if isinstance(node, Mapping) else node.location
            yield Diagnostic("chart", at, what, hint)
