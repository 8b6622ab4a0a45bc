"""Trials → tasks: every shadow gets its own proxy, teacher, generator, set and classifier; equal work becomes one task.

Sharing needs no rule of its own: two trials that ask for the same work from the same needs ask for the same id. What
is not named in an operation (the arm's name, the study's, a grid's axes) cannot keep two tasks apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from compiler.check.claim_sides import Resolved
from compiler.check.imported_files import digest_of_file, file_of
from compiler.data.files import card_of
from compiler.data.model_folder import placeless
from compiler.data.sizes import iterations_of
from compiler.errors import Finding
from compiler.fingerprint import Memo, canonical_text, digest_of, fingerprint
from compiler.language.audit import Attack, Audit, Design, Queries
from compiler.language.base import Generator, Method
from compiler.language.classifier import Augment, Recipe
from compiler.language.data import Data
from compiler.language.datasets import OWN, Shape
from compiler.language.methods.baselines import DpSgd, Undefended
from compiler.language.methods.diffusion import Conditional, ImageToImage
from compiler.language.methods.imported import ImportedLogits, ImportedSets
from compiler.language.plugins import PluginData
from compiler.language.study import Header, Point, Trial
from compiler.plan.dag import ClaimPlan, Plan, Stage, Task, TrialPlan
from compiler.work.operations import (
    AttackTrial,
    Dataset,
    ImportLogits,
    ImportSet,
    PluginImages,
    Population,
    Private,
    QueryClassifier,
    QueryGenerator,
    QuerySet,
    Synthesize,
    TrainClassifier,
    TrainGenerator,
    TrainShared,
    UserFiles,
    Work,
)


def lower(
    header: Header,
    trials: Iterable[Trial],
    claims: Iterable[Resolved] = (),
    profile: str | None = None,
    lints: tuple[Finding, ...] = (),
) -> Plan:
    """The plan that attacks every trial and tests every claim, with equal tasks merged. `claims` name trials by their index in
    `trials`; `profile` and `lints` are stored in the plan unchanged. SynthcError where users' files (images, imported sets or
    logits, model folders) cannot be read, or images and imported files were not recorded yet or have changed since."""
    tasks = _Tasks()
    planned = tuple(_lower_trial(trial, tasks) for trial in trials)
    return Plan(header, profile, planned, tasks.by_id, tuple(_lower_claim(claim, planned, tasks) for claim in claims), lints)


class _Tasks:
    """Collects tasks by id. Adding a task returns its id; of equal tasks the first is kept, with its address."""

    def __init__(self) -> None:
        self.by_id: dict[str, Task] = {}
        self._memo = Memo()
        self._populations: dict[tuple[object, ...], Population] = {}
        self._private: dict[tuple[object, ...], Private] = {}

    def add(self, work: Work, address: str, **needs: str) -> str:
        """Add a task with its needs by role; returns its id."""
        return self.add_all(work, address, needs.items())

    def add_all(self, work: Work, address: str, needs: Iterable[tuple[str, str]]) -> str:
        """Add a task with its needs (role, task id), in any order; returns its id."""
        needed = tuple(sorted(needs))
        text = canonical_text("task", type(work).__name__, work.kind, revision_of(work), work, needed, memo=self._memo)
        id = digest_of(text)
        if id not in self.by_id:
            self.by_id[id] = Task(id, work, needed, address, text)
        return id

    def share_population(self, population: Population) -> Population:
        """The first population that was shared with the same parameters and sources of images, else `population`, so that its
        canonical text is computed once."""
        # The path of the user's images is no part of the id, but objects with other paths are not merged.
        origins = (data and data.source for data in (population.dataset, population.public))
        return self._populations.setdefault((population, *origins), population)

    def share_private(self, population: Population, design: Design, replicate: int, shadow: int, pool: int | None) -> Private:
        """The private set of these parameters, the same object each time, so that its canonical text is computed once. `population`
        must come from `share_population`, since it is compared by identity; `pool` becomes `Private.shadows`."""
        key = id(population), design, replicate, shadow, pool
        if key not in self._private:
            self._private[key] = Private(population, design, replicate, shadow, pool)
        return self._private[key]


def revision_of(work: Work) -> tuple[int, ...]:
    """Revision of the operation, then those of its method or generator (`how`), of DP-SGD and of its attacks, as far as there are
    any; these further ones are left out where they are 0."""
    carried = [getattr(work, "how", None), getattr(work, "privacy", None), *getattr(work, "attacks", ())]
    return (work.revision, *(part.revision for part in carried if part is not None and part.revision))


def _lower_trial(trial: Trial, tasks: _Tasks) -> TrialPlan:
    """Add the tasks of a trial: the pipelines of all its shadows, then the attack that reads them. Errors as for `lower`."""
    audit, point = trial.point.audit, trial.point
    population, address = tasks.share_population(population_of(trial)), trial.address
    recipe, how = point.classifier, _hashed_method(point)
    stages: list[Stage] = []
    needs: list[tuple[str, str]] = []

    for shadow in range(audit.shadows):
        pool = audit.shadows if audit.membership == "balanced" else None
        private = tasks.share_private(population, audit.membership, trial.replicate, shadow, pool)
        steps = _lower_shadow(point, how, private, recipe, tasks, f"{address}/shadow {shadow}")
        stages += [Stage(task, shadow, name) for name, task in steps.items()]
        needs += [(f"{name}/{shadow}", task) for name, task in steps.items() if name in ATTACKED]

    as_said = {field.name: getattr(audit, field.name) for field in fields(AttackTrial) if field.name in Audit.model_fields}
    attack = AttackTrial(population=population, design=audit.membership, replicate=trial.replicate, **as_said)
    answer = tasks.add_all(attack, address, needs)
    return TrialPlan(trial, answer, tuple(stages))


def _lower_claim(resolved: Resolved, planned: tuple[TrialPlan, ...], tasks: _Tasks) -> ClaimPlan:
    """Add the task that tests a claim on the attacks of its trials."""
    sides = {name: [planned[index] for index in side] for name, side in (("left", resolved.left), ("right", resolved.right))}
    needs = [(f"{name}/{index}", trial.answer) for name, side in sides.items() for index, trial in enumerate(side)]
    task = tasks.add_all(resolved.work, f"claim {resolved.name}", needs)
    addresses = {name: tuple(trial.trial.address for trial in side) for name, side in sides.items()}
    return ClaimPlan(resolved.name, resolved.claim, task, **addresses)


ATTACKED = ("model", "synthesize", "final_model", "teacher", "synthetic_set", "generator")
"""Stages whose artifacts the attack of a trial reads directly."""


def _hashed_method(point: Point) -> Method | None:
    """The arm's method, in which fields that do not enter the id of its synthesis have their defaults and a model folder is
    replaced by its digest; None for arms that are no `Method`. Errors as for `placeless`."""
    arm = point.arm
    if not isinstance(arm, Method):
        return None
    update: dict[str, object] = {name: type(arm).model_fields[name].default for name in arm.outside_work}
    if isinstance(arm, Conditional | ImageToImage):
        update["denoiser"] = placeless(arm.denoiser)
    return arm.model_copy(update=update)


def _lower_shadow(point: Point, how: Method | None, private: Private, recipe: Recipe, tasks: _Tasks, at: str) -> dict[str, str]:
    """Add one shadow's pipeline: stage → task id, in order; `model` and another may be one task. Errors as for `lower`."""
    iterations = iterations_of(recipe, point.data, point.audit)
    arm, audit = point.arm, point.audit
    attacked = {level for attack in audit.attacks for level in attack.reads}
    steps: dict[str, str] = {}

    if isinstance(arm, Undefended | DpSgd):
        privacy = arm.privacy if isinstance(arm, DpSgd) else None
        steps["model"] = tasks.add(TrainClassifier(private, recipe, iterations, privacy), f"{at}/model")
    elif isinstance(arm, ImportedLogits):
        file = file_of(arm.path, private.replicate, private.shadow)
        logits = tasks.add(ImportLogits(private, audit.queries, digest_of_file(file), str(file)), f"{at}/import")
        return {"model": logits, "final_model": logits}
    else:
        assert isinstance(arm, Method)
        sources: dict[str, str] = {}
        base: dict[str, str] = {}
        if arm.generator is not None and arm.generator.shared is not None:
            shared = tasks.add(_shared_of(arm.generator.shared, private.population), f"{at}/base")
            base = {"base": shared}
            steps["train base"] = shared
        for need in arm.needs:
            if need != "generator" or (arm.generator is not None and arm.generator.learns):
                begins = base if need == "generator" else {}
                work = _source_of(need, point, private, recipe)
                sources[need] = steps[f"train {need}"] = tasks.add(work, f"{at}/{need}", **begins)
        sources |= base
        assert how is not None
        if isinstance(how, ImportedSets):
            file = file_of(how.path, private.replicate, private.shadow)
            imported = ImportSet(private, how.model_copy(update={"path": ""}), digest_of_file(file), str(file))
            steps["synthesize"] = tasks.add(imported, f"{at}/import")
        else:
            # A method that does not depend on the classifier's augmentation has the same set for all.
            known = recipe.model_copy(update={"augment": Augment()}) if arm.blind_to_augment else recipe
            steps["synthesize"] = tasks.add(Synthesize(private, how, known, iterations), f"{at}/synthesize", **sources)
        if arm.gives_student:
            steps["model"] = steps["synthesize"]
        else:
            steps["model"] = tasks.add(TrainClassifier(private, recipe, iterations), f"{at}/model", set=steps["synthesize"])
        if attacked & {"synthetic_set", "index_list"}:
            all_views = any("synthetic_set" in attack.reads and getattr(attack, "queries", 1) > 1 for attack in audit.attacks)
            query = QuerySet(private, audit.queries if all_views else Queries())
            steps["synthetic_set"] = tasks.add(query, f"{at}/query set", set=steps["synthesize"])
        if arm.gives_student and "teacher" in sources:
            steps["teacher"] = tasks.add(
                QueryClassifier(private, recipe, audit.queries), f"{at}/query teacher", model=sources["teacher"]
            )
        if arm.generator is not None and arm.denoises and "generator" in attacked:
            parts = {need: task for need, task in sources.items() if need in ("generator", "base")}
            query_generator = QueryGenerator(private, placeless(arm.generator), *_asked_of_generators(audit.attacks))
            steps["generator"] = tasks.add(query_generator, f"{at}/query generator", **parts)
    steps["final_model"] = tasks.add(QueryClassifier(private, recipe, audit.queries), f"{at}/query", model=steps["model"])
    return steps


def _asked_of_generators(attacks: Iterable[Attack]) -> tuple[tuple[str, ...], bool]:
    """Sorted signals that the attacks read from a generator (`mean_loss` for an attack without the field), and whether one has the
    variant `minus_base`, which reads the base too; (), False if none reads a generator."""
    reading = [attack for attack in attacks if "generator" in attack.reads]
    signals = {getattr(attack, "signal", "mean_loss") for attack in reading}
    return tuple(sorted(signals)), any(getattr(attack, "variant", None) == "minus_base" for attack in reading)


def _source_of(need: str, point: Point, private: Private, recipe: Recipe) -> Work:
    """The operation that computes a need of the method: proxy, teacher or generator; ValueError for any other, and for a generator
    where the method has none. Other errors as for `iterations_of` and `placeless`."""
    match need:
        case "proxy":
            proxy = getattr(point.arm, "proxy", None) or recipe
            return TrainClassifier(private, proxy, iterations_of(proxy, point.data, point.audit), dynamics=True, purpose="proxy")
        case "teacher":
            return TrainClassifier(private, recipe, iterations_of(recipe, point.data, point.audit))
        case "generator" if isinstance(point.arm, Method) and point.arm.generator is not None:
            return TrainGenerator(private, placeless(point.arm.generator))
    raise ValueError(f"{type(point.arm).__name__} declares the need {need!r}; there are: proxy, teacher, generator")


def _shared_of(how: Generator, population: Population) -> TrainShared:
    """The operation that makes the base of all shadows' generators, from the parameters `how` (a generator's `shared`): from the
    population's public set, or from a user's model, and then without a public set. Errors as for `placeless`."""
    shape, classes = population.dataset.shape, population.dataset.card.classes
    path = getattr(getattr(how, "base", None), "path", "")
    public = None if path else population.public  # `check` asks for a public set where one is needed
    return TrainShared(public, shape, classes, population.seed, placeless(how), path)


def population_of(trial: Trial) -> Population:
    """The population of a trial: data, roles of samples, canary groups, seed; the public set at the shape of the private images.
    Errors as for `dataset_of`."""
    point = trial.point
    dataset = dataset_of(point.data)
    public = dataset_of(point.public, dataset.shape) if point.public else None
    return Population(dataset, public, trial.seed, tuple(point.audit.canaries.items()), point.audit.z_pool)


def dataset_of(data: Data, shape: Shape | None = None) -> Dataset:
    """The data set that `data` names, identified by its content and used at `shape` (channels, height, width; None: its own).
    SynthcError and KeyError as for `card_of`."""
    card = card_of(data)
    source: UserFiles | PluginImages | None
    if isinstance(data, PluginData):
        params = data.model_copy(update=dict.fromkeys(("path", "subset", "test", "validation", "judged_on")))
        digest = fingerprint("data set", params, data.revision, card)
        name, source = data.name, PluginImages(data, card)
    else:
        name, digest, source = card.name, card.digest, UserFiles(data.path, card) if data.name == OWN and data.path else None
    return Dataset(name, digest, data.subset, data.test, shape or card.shape, source, data.validation, data.judged_on)
