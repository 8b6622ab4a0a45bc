"""Rules on a grid point as a whole, beyond single fields: counts that must fit, names that must refer to something.

A rule yields what is wrong with one point: a code, the path of the field at fault, a message, a hint. Not here: rigour (`lint`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from compiler.check.fit import Problem, check_counts, check_nets
from compiler.data.files import card_of
from compiler.data.model_folder import faults_of_folder
from compiler.data.sizes import iterations_of, largest_deviation, pool_size, private_size, set_aside
from compiler.errors import Diagnostic, SynthcError, did_you_mean
from compiler.language.attacks.denoising import Denoising
from compiler.language.base import Method
from compiler.language.datasets import CARDS, OWN
from compiler.language.methods.baselines import DpSgd
from compiler.language.methods.coreset import ByDynamics, El2n, Stratified
from compiler.language.methods.diffusion import Checkpoint, Conditional, Denoiser, ImageToImage, Pretraining
from compiler.language.plugins import PluginAttack, PluginData
from compiler.language.study import Point
from compiler.text.nodes import Mapping
from compiler.work.releases import HEADLINE_FIELDS, OWNERS, declared, has_release

MIN_SHADOWS = 8
SECMI_LEVELS = 12
"""Least number of noise levels for secmi: ten steps up from the first, and one up and back."""


def check_sense(point: Point, tree: Mapping) -> list[Diagnostic]:
    """Diagnostics for a well-formed grid point: problems of its data sets, or, without these, all others. `tree` has the
    locations."""
    # Nothing else can be checked where the data set is unknown.
    problems = list(_check_data_sets(point)) or [problem for rule in RULES for problem in rule(point)]
    return [Diagnostic(code, tree.nearest(*path), what, hint) for code, path, what, hint in problems]


def _check_data_sets(point: Point) -> Iterator[Problem]:
    """Problems of private and public data: an unknown name, a path beside a known set, files or a plug-in for which `card_of`
    raises SynthcError."""
    for part, data in (("data", point.data), ("public", point.public)):
        if data is None:
            continue
        if data.name not in (*CARDS, OWN) and not isinstance(data, PluginData):
            hint = did_you_mean(data.name, (*CARDS, OWN))
            yield "unknown-data", (part, "name"), f"no data set is called {data.name!r}", hint
        elif data.path is not None and data.name in CARDS:
            what = f"a path beside the known data set {data.name}"
            yield "data-files", (part, "path"), what, f"use name: {OWN}, or drop the path"
        else:
            try:
                card_of(data)
            except SynthcError as error:
                yield "data-files", (part, "path" if data.path else "name"), str(error), ""


def _check_test_set(point: Point) -> Iterator[Problem]:
    """A problem where neither the data set nor the study sets test images aside."""
    if point.data.test is None and not card_of(point.data).test_samples:
        what = f"{point.data.name} has no official test split"
        yield "no-test-set", ("data", "name"), what, "set some images aside with `test: 360`"


def _check_validation(point: Point) -> Iterator[Problem]:
    """A problem where accuracy is to be measured on validation images that are not set aside."""
    if point.data.judged_on and not point.data.validation:
        what = "accuracy is to be measured on validation images, and none are set aside"
        yield "no-validation-set", ("data", "judged_on"), what, "set some aside with `validation: 200`"


def _check_subset(point: Point) -> Iterator[Problem]:
    """A problem of a subset larger than the data set."""
    there = card_of(point.data).samples
    if point.data.subset and point.data.subset > there:
        what = f"a subset of {point.data.subset:,} of {there:,} images"
        yield "too-large-subset", ("data", "subset"), what, f"at most {there:,}"


def _check_enough_images(point: Point) -> Iterator[Problem]:
    """A problem where canaries that are images of the data set, z pool, test and validation images leave none to train on."""
    audit, data = point.audit, point.data
    drawn = sum(group.count for group in audit.canaries.values() if group.kind not in ("ood", "blank"))
    if drawn + audit.z_pool + set_aside(data) >= pool_size(data):
        tuning = f" and {data.validation:,} validation" if data.validation else ""
        parts = f"{drawn:,} canaries, a z pool of {audit.z_pool:,} and {data.test or 0:,} test{tuning} images"
        what = f"{parts} of {pool_size(data):,} images"
        yield "too-many-canaries", ("audit", "canaries"), what, "some must be left to train on"


def _check_canaries(point: Point) -> Iterator[Problem]:
    """Problems of canaries: no group at all, copies of a kind other than `duplicated`, so many blank ones that no colour is
    left."""
    path, colours = ("audit", "canaries"), 256 ** card_of(point.data).shape[0]
    if not point.audit.canaries:
        hint = "such as mislabeled: {kind: mislabeled, count: 128}"
        yield "no-canaries", path, "no canaries, so there is no membership to infer", hint
    for name, group in point.audit.canaries.items():
        if group.copies > 1 and group.kind != "duplicated":
            what = f"{group.copies} copies of {group.kind} canaries"
            yield "copies", (*path, name, "copies"), what, "only kind duplicated has copies"
        if group.kind == "blank" and group.count >= colours:
            what = f"{group.count:,} images of one colour each, of {colours:,} colours"
            yield "too-many-canaries", (*path, name, "count"), what, "some colours must be left for the z pool"


def _check_shadows(point: Point) -> Iterator[Problem]:
    """Problems of the number of shadows: odd for pairs, else below MIN_SHADOWS; and of a target that is no index of a shadow."""
    shadows, target = point.audit.shadows, point.audit.target
    if point.audit.membership == "pairs" and shadows % 2:
        what = f"{shadows} shadows cannot form complementary pairs"
        yield "odd-shadows", ("audit", "shadows"), what, f"use {shadows + 1}, or membership: bernoulli"
    elif shadows < MIN_SHADOWS:
        hint = f"use at least {MIN_SHADOWS}: without target and complement, 3 models with the canary and 3 without"
        what = f"{shadows} shadows leave a target too few to be compared with"
        yield "too-few-shadows", ("audit", "shadows"), what, hint
    if target >= shadows:
        hint = f"they are counted from 0 to {shadows - 1}"
        yield "target", ("audit", "target"), f"shadow {target} of {shadows} shadows", hint


def _check_attacks(point: Point) -> Iterator[Problem]:
    """Problems of attacks: one that equals an earlier one, `queries` that are neither 1 nor the number of views, a missing z pool
    that an attack needs."""
    views = point.audit.queries.count
    for index, attack in enumerate(point.audit.attacks):
        path, queries = ("audit", "attacks", index), getattr(attack, "queries", 1)
        if attack in point.audit.attacks[:index]:
            what = f"{attack.attack} {attack.variant_name}".strip()
            first = point.audit.attacks.index(attack) + 1
            yield "attacks", path, f"attack {index + 1} is attack {first} again: {what}, defaults included", "drop one of them"
        if queries not in (1, views):
            hint = f"`audit.queries` gives {views} views: use 1 or {views}"
            yield "queries", path, f"an attack with {queries} queries", hint
        if attack.needs_z_pool and not point.audit.z_pool:
            hint = "set `audit.z_pool`, such as 200"
            yield "no-z-pool", path, f"{attack.attack} needs a z pool, and there is none", hint


def _check_headline(point: Point) -> Iterator[Problem]:
    """Problems of canaries, FPR, attack and its fields that the headline names and the audit lacks, of an FPR that is given
    twice, and of several plug-in attacks that fit the headline."""
    audit, headline, path = point.audit, point.audit.headline, ("audit", "headline")
    if audit.canaries and headline.canaries not in audit.canaries:
        hint = did_you_mean(headline.canaries, audit.canaries)
        yield "headline", (*path, "canaries"), f"no canaries are called {headline.canaries!r}", hint
    for place, fpr in enumerate(audit.fpr):
        if f"{fpr:g}" in {f"{before:g}" for before in audit.fpr[:place]}:  # figures are named by six digits of the rate
            yield "fpr", ("audit", "fpr", place), f"the false-positive rate {fpr:g} is there twice", "drop one of them"
    if headline.fpr not in audit.fpr:
        hint = f"`audit.fpr` has: {', '.join(f'{fpr:g}' for fpr in audit.fpr)}"
        yield "headline", (*path, "fpr"), f"the FPR {headline.fpr:g} is not read", hint
    attacks = [attack for attack in audit.attacks if attack.attack == headline.attack]
    if not attacks:
        hint = did_you_mean(headline.attack, {attack.attack for attack in audit.attacks})
        yield "headline", (*path, "attack"), f"no attack of the audit is called {headline.attack!r}", hint
    for field in HEADLINE_FIELDS if attacks else ():
        value = getattr(headline, field)
        offered = {getattr(attack, field, None) for attack in attacks}
        if value is not None and offered != {None} and value not in offered:
            listed = ", ".join(sorted(map(str, offered)))
            yield "headline", path, f"no {headline.attack} attack has {field} {value!r}", f"there are: {listed}"
    alike = [attack for attack in attacks if isinstance(attack, PluginAttack) and declared([attack], headline) is not None]
    if len(alike) > 1:
        hint = "it is one figure, and its words do not tell them apart: keep one"
        yield "headline", path, f"{len(alike)} attacks are what the headline declares", hint


def _check_headline_release(point: Point) -> Iterator[Problem]:
    """A problem of a headline whose release level the arm does not have, or else its attack does not read."""
    headline, path = point.audit.headline, ("audit", "headline", "release")
    if not has_release(point.arm, headline.release):
        what = f"the headline reads the {headline.release}, and this arm has none"
        yield "release", path, what, f"{OWNERS[headline.release]}; use release: final_model"
        return
    read = next((attack.reads for attack in point.audit.attacks if attack.attack == headline.attack), None)
    if read is not None and headline.release not in read:
        what = f"the headline reads the {headline.release}, at which {headline.attack} is not scored"
        yield "release", path, what, f"{headline.attack} is scored at: {', '.join(read)}"


def _check_public_set(point: Point) -> Iterator[Problem]:
    """Problems of a public set: a missing one that ood canaries, learned images (`init: public`) or a pretrained base need, or one
    too small for the ood canaries with the z pool, or for the learned images."""
    foreign = {name: group.count for name, group in point.audit.canaries.items() if group.kind == "ood"}
    begins = getattr(point.arm, "init", None) == "public"
    shared = point.arm.generator.shared if isinstance(point.arm, Method) and point.arm.generator else None
    if point.public is None:
        hint = "name one, such as `public: {name: shapes}`"
        for name in foreign:
            what = "ood canaries come from a public set, and the study has none"
            yield "no-public-set", ("audit", "canaries", name), what, hint
        if begins:
            yield "no-public-set", ("arm", "init"), "`init: public` needs a public set, and the study has none", hint
        if isinstance(getattr(shared, "base", None), Pretraining):
            what = "a base that is pretrained on the public set, and the study has none"
            yield "no-public-set", ("arm", "denoiser", "base"), what, hint
        return
    there, hint = pool_size(point.public), "use fewer, or a larger public set"
    if foreign and (count := sum(foreign.values())) + point.audit.z_pool > there:  # no image is in two groups
        what = f"{count:,} canaries and a z pool of {point.audit.z_pool:,} from {there:,} public images"
        yield "public-set", ("audit", "canaries", list(foreign)[-1], "count"), what, hint
    images = getattr(point.arm, "images_per_class", 0) * card_of(point.data).classes
    if begins and images > there:
        yield "public-set", ("arm", "init"), f"{images:,} images begin from {there:,} public ones", hint


def _check_privacy(point: Point) -> Iterator[Problem]:
    """A problem of DP-SGD, of a classifier or of the denoiser of images drawn from noise, with both a noise multiplier and an
    epsilon, or neither."""
    arm = point.arm
    privacy = arm.denoiser.privacy if isinstance(arm, Conditional) else arm.privacy if isinstance(arm, DpSgd) else None
    if privacy is not None and (privacy.noise_multiplier is None) == (privacy.epsilon is None):
        path = ("arm", "privacy") if isinstance(arm, DpSgd) else ("arm", "denoiser", "privacy")
        yield "one-of", path, "DP-SGD needs a noise_multiplier or an epsilon", "give exactly one of them"


def _check_norm(point: Point) -> Iterator[Problem]:
    """Problems of norms: BatchNorm under DP-SGD, and a teacher without BatchNorm (another norm, or the net `mlp`) for a method that
    reads its statistics."""
    norm, path = point.classifier.norm, ("classifier", "norm")
    if isinstance(point.arm, DpSgd) and norm == "batch":
        what = "DP-SGD with BatchNorm: its statistics would mix samples, and no clipping bounds them"
        yield "norm", path, what, "use `classifier: {norm: group}` in this arm"
    if isinstance(point.arm, Method) and point.arm.needs_batch_norm:
        what = "this method reads BatchNorm statistics, and the teacher"
        if point.classifier.net == "mlp":
            yield "norm", ("classifier", "net"), f"{what}, an mlp, has none", "use another net, or another method"
        elif norm != "batch":
            yield "norm", path, f"{what} has norm {norm}", "use `norm: batch`, or another method"


def _check_denoiser(point: Point) -> Iterator[Problem]:
    """Problems of a denoiser: more principal components than values in an image, a LoRA rank above `width`, fewer noise levels than
    an attack goes through, those of `_check_latent`, packages that are not installed."""
    if not isinstance(point.arm, Conditional | ImageToImage):
        return
    how, path, pixels = point.arm.denoiser, ("arm", "denoiser"), math.prod(card_of(point.data).shape)
    if how.net == "latent_mlp" and how.components > pixels:
        what = f"{how.components} principal components of images of {pixels} pixels"
        yield "components", (*path, "components"), what, f"at most {pixels}"
    if how.finetune == "lora" and how.rank > how.width:
        what = f"matrices of rank {how.rank} beside layers of {how.width} units"
        yield "rank", (*path, "rank"), what, f"at most {how.width}; papers take 4 to 16"
    if how.timesteps < SECMI_LEVELS and any(isinstance(one, Denoising) and one.signal == "secmi" for one in point.audit.attacks):
        what = f"secmi goes up to noise level {SECMI_LEVELS - 1}, and of {how.timesteps} the last is {how.timesteps - 1}"
        yield "timesteps", (*path, "timesteps"), what, f"at least {SECMI_LEVELS}, or another signal"
    if how.net == "latent":
        yield from _check_latent(point, how)
    for name, field in how.packages.items():
        if find_spec(name) is None:
            what = f"`{field}: {getattr(how, field)}` needs {name}, which is not installed here"
            yield "not-installed", (*path, field), what, "pip install 'synthc[pretrained]'"


def _check_latent(point: Point, how: Denoiser) -> Iterator[Problem]:
    """Problems of a latent denoiser: images of four channels; with a user's model folder, class names that are not as many as the
    classes, faults of the folder, a resolution that is no multiple of 8; without one, images that are not square or whose sides are
    no multiples of 8."""
    card, path = card_of(point.data), ("arm", "denoiser")
    field: tuple[str, ...] = ("net",)
    if card.shape[0] == 4:
        yield "channels", ("data", "name"), "images of four channels, which pipelines take for latents", "use images of 1 or 3"
    sides = card.shape[1:]
    if isinstance(how.base, Checkpoint):
        field, sides = ("base", "resolution"), (how.base.resolution, how.base.resolution)
        named = how.base.classes
        if len(named) != card.classes:
            what = f"{len(named)} names for the {card.classes} classes of {card.name}"
            yield "classes", (*path, "base", "classes"), what, "name each class, in the order of the labels"
        for word, what, hint in faults_of_folder(Path(how.base.path), how):
            yield "model-folder", (*path, "base", word), what, hint
    elif sides[0] != sides[1]:
        yield "sizes", (*path, "net"), f"images of {sides[0]}×{sides[1]} for the net latent", "it takes square ones"
    if any(side % 8 for side in sides):
        what = f"sides of {sides[0]}, which the autoencoder and its pipeline cannot halve"
        yield "sizes", (*path, *field), what, "a multiple of 8"


def _check_proxy(point: Point) -> Iterator[Problem]:
    """Problems of a proxy (the classifier's recipe, if it has none of its own) of a coreset by training dynamics: trained for less
    than an epoch or for too few steps to see every image of a large private set, or, for EL2N scores, for fewer epochs than
    `passes`."""
    arm = point.arm
    if isinstance(arm, ByDynamics):
        recipe, size = arm.proxy or point.classifier, private_size(point.data, point.audit)
        shown, most = iterations_of(recipe, point.data, point.audit) * recipe.batch_size, size + largest_deviation(point.audit)
        if recipe.epochs < 1 or shown < most:
            path = ("arm", "proxy", "epochs") if arm.proxy else ("classifier", "epochs")
            what = f"a proxy that is trained for {recipe.epochs:g} epochs does not see every sample"
            if recipe.epochs >= 1:
                what += f" of a private set of more than {shown:,}, of {size:,} on average"
            yield "passes", path, what, f"at least {max(1, most / max(size, 1)):.3g}: the method reads what it made of each"
    if isinstance(arm, El2n) or (isinstance(arm, Stratified) and arm.score == "el2n"):
        epochs = (arm.proxy or point.classifier).epochs
        if arm.passes > epochs:
            what = f"errors of {arm.passes} passes from a proxy that is trained for {epochs:g} epochs"
            hint = f"use passes: {int(epochs)} or fewer, or train the proxy longer"
            yield "passes", ("arm", "passes" if "passes" in arm.model_fields_set else "method"), what, hint


def _check_batch(point: Point) -> Iterator[Problem]:
    """A problem of a batch of the classifier that is larger than the expected private set, unless that is empty."""
    there = private_size(point.data, point.audit)
    if 0 < there < point.classifier.batch_size:
        what = f"a batch of {point.classifier.batch_size} from {there} private images"
        yield "batch-size", ("classifier", "batch_size"), what, f"at most {there}"


RULES: tuple[Callable[[Point], Iterator[Problem]], ...] = (
    _check_test_set,
    _check_validation,
    _check_subset,
    _check_enough_images,
    _check_canaries,
    _check_shadows,
    _check_attacks,
    _check_headline,
    _check_headline_release,
    _check_public_set,
    _check_privacy,
    _check_norm,
    _check_denoiser,
    _check_proxy,
    _check_batch,
    check_nets,
    check_counts,
)
