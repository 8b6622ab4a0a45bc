"""Does a point make sense as a whole? What no single field can know: counts that must fit, words that must name something.

Each rule is a generator of complaints about one point, in the order of `RULES`. Not here: rigour (`lint`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from compiler.data.files import card_of
from compiler.data.sizes import pool_size, private_size
from compiler.errors import Diagnostic, SynthcError, did_you_mean
from compiler.language.base import Method
from compiler.language.datasets import CARDS, OWN
from compiler.language.methods.baselines import DpSgd
from compiler.language.methods.coreset import El2n, Stratified
from compiler.language.methods.diffusion import Conditional, ImageToImage
from compiler.language.plugins import OwnAttack, OwnData
from compiler.language.study import Point
from compiler.text.nodes import Mapping, Node
from compiler.work.releases import FROM, declared, has

FEWEST_SHADOWS = 8

Rule = Callable[[Point, Mapping], Iterator[Diagnostic]]


def make_sense(point: Point, tree: Node) -> list[Diagnostic]:
    """Every complaint about a point that is well-formed; `tree` knows the places."""
    assert isinstance(tree, Mapping)
    unknown = list(_data_set_is_known(point, tree))
    if unknown:
        return unknown  # nothing else can be judged
    return [found for rule in RULES for found in rule(point, tree)]


def _data_set_is_known(point: Point, tree: Mapping) -> Iterator[Diagnostic]:
    for part, data in (("data", point.data), ("public", point.public)):
        if data is None:
            continue
        if data.name not in (*CARDS, OWN) and not isinstance(data, OwnData):
            at = tree.nearest(part, "name")
            yield Diagnostic("unknown-data", at, f"no data set is called {data.name!r}", did_you_mean(data.name, (*CARDS, OWN)))
        elif data.path is not None and data.name in CARDS:
            at = tree.nearest(part, "path")
            hint = f"use name: {OWN}, or drop the path"
            yield Diagnostic("data-files", at, f"a path beside the known data set {data.name}", hint)
        else:
            try:
                card_of(data)
            except SynthcError as error:
                yield Diagnostic("data-files", tree.nearest(part, "path" if data.path else "name"), str(error))


def _there_is_a_test_set(point: Point, tree: Mapping) -> Iterator[Diagnostic]:
    if point.data.test is None and not card_of(point.data).test_samples:
        hint = "set some images aside with `test: 360`"
        yield Diagnostic("no-test-set", tree.nearest("data", "name"), f"{point.data.name} has no official test split", hint)


def _subset_is_a_part(point: Point, tree: Mapping) -> Iterator[Diagnostic]:
    there = card_of(point.data).samples
    if point.data.subset and point.data.subset > there:
        at = tree.nearest("data", "subset")
        yield Diagnostic("too-large-subset", at, f"a subset of {point.data.subset:,} of {there:,} images", f"at most {there:,}")


def _enough_samples(point: Point, tree: Mapping) -> Iterator[Diagnostic]:
    audit, data = point.audit, point.data
    drawn = sum(group.count for group in audit.canaries.values() if group.kind not in ("ood", "blank"))
    wanted = drawn + audit.z_pool + (data.test or 0)
    if wanted >= pool_size(data):
        parts = f"{drawn:,} canaries, a z pool of {audit.z_pool:,} and {data.test or 0:,} test images"
        hint = "some must be left to train on"
        yield Diagnostic("too-many-canaries", tree.nearest("audit", "canaries"), f"{parts} of {pool_size(data):,} images", hint)


def _canaries_are_named(point: Point, tree: Mapping) -> Iterator[Diagnostic]:
    at = tree.nearest("audit", "canaries")
    if not point.audit.canaries:
        yield Diagnostic(
            "no-canaries", at, "no canaries, so there is nobody to ask about", "such as mislabeled: {kind: mislabeled, count: 128}"
        )
    for name, group in point.audit.canaries.items():
        if group.copies > 1 and group.kind != "duplicated":
            at = tree.nearest("audit", "canaries", name, "copies")
            yield Diagnostic("copies", at, f"{group.copies} copies of {group.kind} canaries", "only kind duplicated has copies")


def _colours_suffice(point: Point, tree: Mapping) -> Iterator[Diagnostic]:
    there = 256 ** card_of(point.data).shape[0]
    for name, group in point.audit.canaries.items():
        if group.kind == "blank" and group.count >= there:
            at = tree.nearest("audit", "canaries", name, "count")
            what = f"{group.count:,} images of one colour each, of {there:,} colours"
            yield Diagnostic("too-many-canaries", at, what, "some colours must be left for the z pool")


def _membership_can_be_drawn(point: Point, tree: Mapping) -> Iterator[Diagnostic]:
    shadows, at = point.audit.shadows, tree.nearest("audit", "shadows")
    if point.audit.membership == "pairs" and shadows % 2:
        yield Diagnostic(
            "odd-shadows", at, f"{shadows} shadows cannot form complementary pairs", f"use {shadows + 1}, or membership: bernoulli"
        )
    elif shadows < FEWEST_SHADOWS:
        hint = f"use at least {FEWEST_SHADOWS}: without target and complement, 3 models with the canary and 3 without"
        yield Diagnostic("too-few-shadows", at, f"{shadows} shadows leave a target too few to be compared with", hint)


def _attacks_ask_what_is_queried(point: Point, tree: Mapping) -> Iterator[Diagnostic]:
    views = point.audit.queries.count
    for place, attack in enumerate(point.audit.attacks):
        asked = getattr(attack, "queries", 1)
        if asked not in (1, views):
            node = tree.get("audit", "attacks")
            at = getattr(node, "items", ())[place].place if node is not None else tree.place
            yield Diagnostic(
                "queries", at, f"an attack with {asked} queries", f"`audit.queries` gives {views} views: use 1 or {views}"
            )


def _headline_is_computed(point: Point, tree: Mapping) -> Iterator[Diagnostic]:
    audit = point.audit
    headline = audit.headline
    at = tree.nearest("audit", "headline")
    if audit.canaries and headline.canaries not in audit.canaries:
        place = tree.nearest("audit", "headline", "canaries")
        yield Diagnostic(
            "headline", place, f"no canaries are called {headline.canaries!r}", did_you_mean(headline.canaries, audit.canaries)
        )
    if headline.fpr not in audit.fpr:
        known = ", ".join(f"{fpr:g}" for fpr in audit.fpr)
        at_fpr = tree.nearest("audit", "headline", "fpr")
        yield Diagnostic("headline", at_fpr, f"the FPR {headline.fpr:g} is not read", f"`audit.fpr` has: {known}")
    named = [attack for attack in audit.attacks if attack.attack == headline.attack]
    if not named:
        place = tree.nearest("audit", "headline", "attack")
        known_attacks = {attack.attack for attack in audit.attacks}
        yield Diagnostic(
            "headline", place, f"no attack of the audit is called {headline.attack!r}", did_you_mean(headline.attack, known_attacks)
        )
        return
    for word in ("signal", "variant", "queries"):
        wanted = getattr(headline, word)
        offered = {getattr(attack, word, None) for attack in named}
        if wanted is not None and offered != {None} and wanted not in offered:
            listed = ", ".join(sorted(str(value) for value in offered))
            yield Diagnostic("headline", at, f"no {headline.attack} attack has {word} {wanted!r}", f"there are: {listed}")
    alike = [attack for attack in named if isinstance(attack, OwnAttack) and declared([attack], headline) is not None]
    if len(alike) > 1:
        hint = "it is one figure, and its words do not tell them apart: keep one"
        yield Diagnostic("headline", at, f"{len(alike)} attacks are what the headline declares", hint)


def _public_set_is_named(point: Point, tree: Mapping) -> Iterator[Diagnostic]:
    if point.public is not None:
        return
    hint = "name one, such as `public: {name: shapes}`"
    for name, group in point.audit.canaries.items():
        if group.kind == "ood":
            at = tree.nearest("audit", "canaries", name)
            yield Diagnostic("no-public-set", at, "ood canaries come from a public set, and the study has none", hint)
    if getattr(point.arm, "init", None) == "public":
        yield Diagnostic(
            "no-public-set", tree.nearest("arm", "init"), "`init: public` needs a public set, and the study has none", hint
        )


def _public_set_is_large_enough(point: Point, tree: Mapping) -> Iterator[Diagnostic]:
    if point.public is None:
        return
    there, hint = pool_size(point.public), "use fewer, or a larger public set"
    for name, group in point.audit.canaries.items():
        if group.kind == "ood" and group.count + point.audit.z_pool > there:
            what = f"{group.count:,} canaries and a z pool of {point.audit.z_pool:,} from {there:,} public images"
            yield Diagnostic("public-set", tree.nearest("audit", "canaries", name, "count"), what, hint)
    images = getattr(point.arm, "images_per_class", 0) * card_of(point.data).classes
    if getattr(point.arm, "init", None) == "public" and images > there:
        what = f"{images:,} images begin from {there:,} public ones"
        yield Diagnostic("public-set", tree.nearest("arm", "init"), what, hint)


def _exactly_one(point: Point, tree: Mapping) -> Iterator[Diagnostic]:
    """Alternatives of which a point gives exactly one."""
    privacy, place = (point.arm.privacy, ()) if isinstance(point.arm, DpSgd) else (None, ("denoiser",))
    if isinstance(point.arm, Conditional):
        privacy = point.arm.denoiser.privacy
    if privacy is not None and (privacy.noise_multiplier is None) == (privacy.epsilon is None):
        what = "DP-SGD needs a noise_multiplier or an epsilon"
        yield Diagnostic("one-of", tree.nearest("arm", *place, "privacy"), what, "give exactly one of them")


def _norm_fits_the_method(point: Point, tree: Mapping) -> Iterator[Diagnostic]:
    norm, at = point.classifier.norm, tree.nearest("classifier", "norm")
    if isinstance(point.arm, DpSgd) and norm == "batch":
        hint = "use `classifier: {norm: group}` in this arm"
        yield Diagnostic("norm", at, "DP-SGD with BatchNorm: its statistics would mix samples, and no clipping bounds them", hint)
    if isinstance(point.arm, Method) and point.arm.needs_batch_norm:
        what = "this method reads BatchNorm statistics, and the teacher"
        if point.classifier.net == "mlp":
            at, hint = tree.nearest("classifier", "net"), "use another net, or another method"
            yield Diagnostic("norm", at, f"{what}, an mlp, has none", hint)
        elif norm != "batch":
            yield Diagnostic("norm", at, f"{what} has norm {norm}", "use `norm: batch`, or another method")


def _components_are_of_pixels(point: Point, tree: Mapping) -> Iterator[Diagnostic]:
    if isinstance(point.arm, Conditional | ImageToImage) and point.arm.denoiser.net == "latent_mlp":
        asked, pixels = point.arm.denoiser.components, math.prod(card_of(point.data).shape)
        if asked > pixels:
            at = tree.nearest("arm", "denoiser", "components")
            yield Diagnostic("components", at, f"{asked} principal components of images of {pixels} pixels", f"at most {pixels}")


def _proxy_is_trained_as_long_as_it_is_read(point: Point, tree: Mapping) -> Iterator[Diagnostic]:
    arm = point.arm
    if isinstance(arm, El2n) or (isinstance(arm, Stratified) and arm.score == "el2n"):
        epochs = (arm.proxy or point.classifier).epochs
        if arm.passes > epochs:
            at = tree.nearest("arm", "passes" if tree.get("arm", "passes") else "method")
            what = f"errors of {arm.passes} passes from a proxy that is trained for {epochs:g} epochs"
            yield Diagnostic("passes", at, what, f"use passes: {int(epochs)} or fewer, or train the proxy longer")


def _batch_fits(point: Point, tree: Mapping) -> Iterator[Diagnostic]:
    there = private_size(point.data, point.audit)
    if 0 < there < point.classifier.batch_size:
        at = tree.nearest("classifier", "batch_size")
        yield Diagnostic(
            "batch-size", at, f"a batch of {point.classifier.batch_size} from {there} private images", f"at most {there}"
        )


def _target_is_a_shadow(point: Point, tree: Mapping) -> Iterator[Diagnostic]:
    shadows, target = point.audit.shadows, point.audit.target
    if target >= shadows:
        at = tree.nearest("audit", "target")
        yield Diagnostic("target", at, f"shadow {target} of {shadows} shadows", f"they are counted from 0 to {shadows - 1}")


def _headline_reads_what_there_is(point: Point, tree: Mapping) -> Iterator[Diagnostic]:
    """A headline about a release that the arm does not have, or that its attack does not read, can never be computed."""
    headline = point.audit.headline
    at = tree.nearest("audit", "headline", "release")
    if not has(point.arm, headline.release):
        what = f"the headline reads the {headline.release}, and this arm has none"
        yield Diagnostic("release", at, what, f"{FROM[headline.release]}; use release: final_model")
    else:
        read = next((attack.reads for attack in point.audit.attacks if attack.attack == headline.attack), None)
        if read is not None and headline.release not in read:
            what = f"the headline reads the {headline.release}, at which {headline.attack} is not scored"
            yield Diagnostic("release", at, what, f"{headline.attack} is scored at: {', '.join(read)}")


def _z_pool_is_there(point: Point, tree: Mapping) -> Iterator[Diagnostic]:
    """Attacks that compare with, or learn from, samples that nobody trained on."""
    if point.audit.z_pool:
        return
    for place, attack in enumerate(point.audit.attacks):
        if attack.needs_z_pool:
            node = tree.get("audit", "attacks")
            at = getattr(node, "items", ())[place].place if node is not None else tree.place
            what = f"{attack.attack} needs a z pool, and there is none"
            yield Diagnostic("no-z-pool", at, what, "set `audit.z_pool`, such as 200")


RULES: tuple[Rule, ...] = (
    _there_is_a_test_set,
    _subset_is_a_part,
    _enough_samples,
    _canaries_are_named,
    _colours_suffice,
    _membership_can_be_drawn,
    _attacks_ask_what_is_queried,
    _headline_is_computed,
    _public_set_is_named,
    _public_set_is_large_enough,
    _exactly_one,
    _norm_fits_the_method,
    _components_are_of_pixels,
    _proxy_is_trained_as_long_as_it_is_read,
    _batch_fits,
    _headline_reads_what_there_is,
    _z_pool_is_there,
    _target_is_a_shadow,
)
