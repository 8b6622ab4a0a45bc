"""Coreset selection: scores and picks on problems small enough to know the answer, naive twins, and bad input."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from torch import Tensor
from torch.nn import functional as F

from compiler.errors import SynthcError
from compiler.language.classifier import Recipe
from compiler.language.datasets import CARDS
from compiler.language.methods.coreset import GradientNorm, Selection
from compiler.language.study import AnyArm
from runtime.data.formats import digits
from runtime.data.images import LabeledImages
from runtime.outcome import Diverged
from runtime.seeds import Seeds
from runtime.store.artifacts import Artifact
from runtime.synthesize.coreset.coverage import facility_location, gradient_similarity, graph_cut, herding, k_center, moderate
from runtime.synthesize.coreset.difficulty import (
    area_under_margin,
    el2n,
    forgetting,
    gradient_norm,
    hardest,
    stratified,
    uncertainty,
)
from runtime.synthesize.coreset.selection import apportioned, parts
from runtime.synthesize.operation import synthesize
from runtime.synthesize.release import Setting
from runtime.training.batches import Training
from runtime.training.nets import build, normalise
from runtime.training.sgd import fit
from tests.artifacts import artifact

METHODS = (
    "random",
    "forgetting",
    "el2n",
    "aum",
    "ccs",
    "grand",
    "least_confidence",
    "entropy",
    "margin",
    "k_center",
    "herding",
    "moderate",
    "graph_cut",
    "facility_location",
)
RECIPE = Recipe(net="small", width=4, epochs=4, batch_size=32)
SETTING = Setting(
    card=CARDS["digits"], expected_size=300, seeds=Seeds(0, 0, 0), device=torch.device("cpu"), recipe=RECIPE, iterations=40
)


def words(method: str, **fields: Any) -> Selection:
    size = {} if "per_class" in fields else {"fraction": 0.3}
    return TypeAdapter(AnyArm).validate_python({"paradigm": "coreset", "method": method, **size, **fields})


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def training(data: LabeledImages, recipe: Recipe, iterations: int, purpose: str) -> Training:
    return Training(
        images=data.images,
        labels=data.labels,
        recipe=recipe,
        iterations=iterations,
        card=SETTING.card,
        seeds=SETTING.seeds,
        device=SETTING.device,
        purpose=purpose,
    )


@pytest.fixture(scope="module")
def private() -> LabeledImages:
    data, _ = digits.read()
    return data[torch.arange(320)]


@pytest.fixture(scope="module")
def proxy(private: LabeledImages, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    net = build(RECIPE, CARDS["digits"], SETTING.seeds("proxy/init"))
    fitted = fit(net, training(private, RECIPE, 40, "proxy"), dynamics=True)
    assert fitted.dynamics is not None
    return artifact(tmp_path_factory.mktemp("proxy"), model=fitted.net.state_dict(), dynamics=dict(fitted.dynamics))


# Scores

HISTORY = torch.tensor(
    [  # presentation × sample
        [1, 0, 1, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1],
    ],
    dtype=torch.uint8,
)


def test_forgetting_counts_the_times_a_sample_went_from_right_to_wrong() -> None:
    assert forgetting({"correct": HISTORY}).tolist() == [0, 0, 2, 4, 0]  # the fourth was never right: maximal


def test_a_never_learned_sample_is_the_hardest_unless_the_published_bug_is_asked_for() -> None:
    assert forgetting({"correct": HISTORY}).argmax() == 3
    assert forgetting({"correct": HISTORY}, "zero").tolist() == [0, 0, 2, 0, 0]


def test_el2n_looks_at_the_first_passes_only() -> None:
    log = {"el2n": torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 9.0]])}
    assert el2n(log, 2).tolist() == [0.5, 0.0]


def test_a_low_margin_is_hard() -> None:
    assert area_under_margin({"margin": torch.tensor([[0.9, -0.9], [0.7, -0.5]])}).tolist() == pytest.approx([-0.8, 0.7])


@pytest.mark.parametrize("measure", ["least_confidence", "entropy", "margin"])
def test_uncertainty_is_largest_for_the_least_sure_and_not_for_the_surest(measure: str) -> None:
    logits = torch.tensor([[9.0, 0.0, 0.0], [0.1, 0.0, 0.05], [2.0, 1.0, 0.0]])
    assert uncertainty(logits, measure).argsort(descending=True).tolist() == [1, 2, 0]


def test_gradient_norms_are_those_of_one_backward_pass_a_sample(private: LabeledImages) -> None:
    few = private[torch.arange(70)]  # more than one chunk
    how = words("grand", inits=1, passes=1)
    assert isinstance(how, GradientNorm)
    net = build(RECIPE, SETTING.card, SETTING.seeds("coreset/grand/0/init"))
    fit(net, training(few, RECIPE, 3, "coreset/grand/0"))
    net.eval()
    naive = []
    for image, label in zip(few.images, few.labels, strict=True):
        net.zero_grad()
        F.cross_entropy(net(normalise(image[None], SETTING.card)), label[None]).backward()
        naive.append(sum(float(weights.grad.square().sum()) for weights in net.parameters() if weights.grad is not None) ** 0.5)
    assert torch.allclose(gradient_norm(how, few, SETTING), torch.tensor(naive, dtype=torch.float64), rtol=1e-4)


# Picking by a score


def test_the_highest_scores_are_kept_and_only_of_the_rows_that_compete() -> None:
    pick = hardest(torch.tensor([5.0, 1.0, 4.0, 3.0, 2.0]))
    assert pick(torch.tensor([0, 1, 3, 4]), 2).tolist() == [0, 3]


def test_ties_fall_by_the_shuffle_and_not_by_the_order_of_the_set() -> None:
    tied = torch.tensor([1, 1, 1, 1, 1, 1, 1, 2])
    orders = [torch.randperm(8, generator=rng(seed)) for seed in range(400)]
    kept = torch.stack([torch.zeros(8).scatter(0, hardest(tied)(order, 3), 1.0) for order in orders]).mean(0)
    assert kept[7] == 1
    assert (kept[:7] - 2 / 7).abs().max() < 0.09  # four standard errors of a fair draw


def test_ccs_drops_the_hardest_and_serves_small_strata_first() -> None:
    # After the cut (4 of 20) there are 2, 4 and 10 samples on three levels; 9 seats: 2, then 3 of the rest for each.
    score = torch.tensor([0.0] * 2 + [0.5] * 4 + [1.0] * 10 + [7.0, 8.0, 9.0, 10.0])
    shuffled = torch.randperm(20, generator=rng(3))
    kept = stratified(score[shuffled], cut=0.2, strata=3)(torch.randperm(20, generator=rng()), 9)
    levels, counts = score[shuffled][kept].unique(return_counts=True)
    assert dict(zip(levels.tolist(), counts.tolist(), strict=True)) == {0.0: 2, 0.5: 3, 1.0: 4}


@given(
    values=st.lists(st.floats(-5, 5, allow_nan=False, width=32, allow_subnormal=False), min_size=1, max_size=60),
    cut=st.floats(0, 0.6, allow_subnormal=False),
    share=st.floats(0, 1, allow_subnormal=False),
    strata=st.integers(1, 7),
)
def test_ccs_keeps_exactly_what_was_asked_each_once_and_none_of_the_dropped(
    values: list[float], cut: float, share: float, strata: int
) -> None:
    score = torch.tensor(values)
    left = len(values) - int(cut * len(values))
    keep = max(1, round(share * left))
    kept = stratified(score, cut, strata)(torch.randperm(len(values), generator=rng()), keep)
    assert len(kept.unique()) == keep
    assert score[kept].max() <= score.sort().values[left - 1]


def test_ccs_balanced_over_classes_gives_each_class_its_own_count(private: LabeledImages, proxy: Artifact) -> None:
    uneven = private[torch.cat([(private.labels == 0).nonzero()[:30, 0], (private.labels == 1).nonzero()[:10, 0]])]
    log = {name: rows[:, :40] for name, rows in proxy.tensors("dynamics").items()}
    how = words("ccs", fraction=0.5, class_balanced=True)
    pick = stratified(area_under_margin(log), 0.3, 50)
    chosen = torch.cat([pick(rows, keep) for rows, keep in parts(how, uneven.labels, 10)])
    assert uneven.labels[chosen].bincount().tolist() == [15, 5]


# Picking by geometry


def test_herding_follows_the_mean() -> None:
    line = torch.tensor([[0.0], [1.0], [5.0], [6.0], [8.0]])  # mean 4: 5 is near; then 2 · 4 − 5 = 3 is wanted; then 12 − 6 = 6
    assert herding(line, 3).tolist() == [2, 1, 3]


def test_herding_agrees_with_its_naive_twin_and_is_no_argmax() -> None:
    cloud = torch.randn(24, 5, generator=rng(), dtype=torch.float64)
    chosen: list[int] = []
    for _ in range(10):
        means = {x: (cloud[[*chosen, x]].mean(0) - cloud.mean(0)).norm().item() for x in range(24) if x not in chosen}
        chosen.append(min(means, key=lambda x: means[x]))
    assert herding(cloud, 10).tolist() == chosen


def test_k_center_takes_the_middle_and_then_always_the_farthest() -> None:
    line = torch.tensor([[0.0], [4.9], [5.0], [5.2], [10.0], [7.7]])  # mean 5.47; distances to 5.2: 5.2, .3, .2, 0, 4.8, 2.5
    assert k_center(line, 4).tolist() == [3, 0, 4, 5]


def test_k_center_chooses_no_sample_twice_even_among_copies() -> None:
    assert sorted(k_center(torch.ones(5, 2), 5).tolist()) == [0, 1, 2, 3, 4]


def test_moderate_takes_the_samples_at_the_median_distance() -> None:
    line = torch.tensor([[-9.0], [-3.0], [0.0], [3.2], [8.8]])  # mean 0; distances 9, 3, 0, 3.2, 8.8: median 3.2
    assert moderate(line, 2).tolist() == [3, 1]


def test_similarity_is_the_cosine_of_real_last_layer_gradients() -> None:
    head = torch.nn.Linear(6, 4).double()
    features = torch.randn(5, 6, generator=rng(), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 0])
    gradients = []
    for feature, label in zip(features, labels, strict=True):
        loss = F.cross_entropy(head(feature[None]), label[None])
        gradients.append(torch.cat([part.flatten() for part in torch.autograd.grad(loss, tuple(head.parameters()))]))
    unit = F.normalize(torch.stack(gradients), dim=1)
    errors = (head(features).softmax(1) - F.one_hot(labels, 4)).detach()
    assert torch.allclose(gradient_similarity(features, errors), 0.5 + 0.5 * unit @ unit.T)


def cover(similarity: Tensor, chosen: list[int]) -> float:
    return similarity[:, chosen].amax(1).sum().item() if chosen else 0.0


def cut(similarity: Tensor, chosen: list[int]) -> float:
    return (similarity[:, chosen].sum() - similarity[chosen][:, chosen].sum()).item()


@pytest.mark.parametrize(("fast", "value"), [(facility_location, cover), (graph_cut, cut)])
def test_greedy_covers_agree_with_trying_every_candidate(fast: Any, value: Any) -> None:
    points = torch.randn(20, 3, generator=rng(1), dtype=torch.float64)
    similarity = 0.5 + 0.5 * F.normalize(points, dim=1) @ F.normalize(points, dim=1).T
    chosen: list[int] = []
    for _ in range(8):
        chosen.append(max((x for x in range(20) if x not in chosen), key=lambda x: value(similarity, [*chosen, x])))
    assert fast(similarity, 8).tolist() == chosen


def test_facility_location_is_near_the_best_possible_cover() -> None:
    points = torch.rand(11, 2, generator=rng(2), dtype=torch.float64)
    similarity = 1 - torch.cdist(points, points) / 2
    best = max(cover(similarity, list(some)) for some in itertools.combinations(range(11), 3))
    assert cover(similarity, facility_location(similarity, 3).tolist()) >= (1 - 1 / 2.71828) * best


# Sizes and bad input


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=12), share=st.floats(0, 1, allow_subnormal=False))
def test_seats_are_dealt_whole_and_in_proportion(sizes: list[int], share: float) -> None:
    seats = max(len(sizes), round(share * sum(sizes)))
    given_ = apportioned(sizes, seats)
    assert sum(given_) == seats
    assert all(1 <= got <= size for got, size in zip(given_, sizes, strict=True))


def test_a_class_that_a_relabelling_emptied_is_left_out() -> None:
    labels = torch.tensor([0, 0, 0, 2, 2, 2])
    found = [(rows.tolist(), keep) for rows, keep in parts(words("random", per_class=2), labels, 3)]
    assert found == [([0, 1, 2], 2), ([3, 4, 5], 2)]
    assert [keep for _, keep in parts(words("random", fraction=0.5), labels, 3)] == [2, 1]


def test_more_images_of_a_class_than_there_are_is_a_clear_error() -> None:
    with pytest.raises(SynthcError, match=r"per_class: 4 asks for more images of class 1 than the 1 of this private set"):
        list(parts(words("random", per_class=4), torch.tensor([0, 0, 0, 0, 1]), 2))


def test_a_fraction_too_small_for_the_classes_is_a_clear_error() -> None:
    with pytest.raises(SynthcError, match=r"keeps 1, fewer than the 10 classes; at least 0\.1 would do"):
        list(parts(words("random", fraction=0.01), torch.arange(100) % 10, 10))


@pytest.mark.parametrize("fields", [{"fraction": None}, {"fraction": 0.0}, {"fraction": 1.5}, {"fraction": 0.3, "per_class": 3}])
def test_a_size_that_makes_no_sense_is_refused_by_the_language(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        words("random", **fields)


def test_ccs_refuses_to_keep_more_than_its_cut_leaves() -> None:
    with pytest.raises(ValidationError, match=r"`cut` drops 0\.3 of the set, so `fraction` can be 0\.7 at most"):
        words("ccs", fraction=0.8)
    with pytest.raises(SynthcError, match="leaves 7 of 10 images"):
        stratified(torch.arange(10.0), 0.3, 5)(torch.arange(10), 8)


def test_a_diverged_proxy_is_said_to_be_so(private: LabeledImages, proxy: Artifact, tmp_path: Any) -> None:
    log = proxy.tensors("dynamics")
    model = {name: weights.to(torch.float32) * torch.nan for name, weights in proxy.tensors("model").items()}
    broken = artifact(tmp_path, dynamics={**log, "margin": log["margin"].clone().fill_(torch.nan)}, model=model)
    for method in ("aum", "ccs", "herding", "entropy"):
        with pytest.raises(Diverged):
            synthesize(words(method), private, {"proxy": broken}, SETTING)


def test_a_proxy_that_never_saw_every_sample_is_a_clear_error(private: LabeledImages, proxy: Artifact, tmp_path: Any) -> None:
    short = artifact(tmp_path, dynamics={name: rows[:0].clone() for name, rows in proxy.tensors("dynamics").items()})
    with pytest.raises(SynthcError, match="at least one epoch"):
        synthesize(words("forgetting"), private, {"proxy": short}, SETTING)


# Every method, really run


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_private_images_as_they_are_and_says_where_from(
    method: str, private: LabeledImages, proxy: Artifact
) -> None:
    before = private.images.clone()
    fields = {"inits": 1, "passes": 1} if method == "grand" else {}
    release = synthesize(words(method, fraction=0.25, **fields), private, {"proxy": proxy}, SETTING)
    assert release.origins is not None
    assert len(release.origins.unique()) == len(release.labels) == 80
    assert torch.equal(release.images, private.images[release.origins])
    assert torch.equal(release.labels, private.labels[release.origins])
    assert torch.equal(release.origins, release.origins.sort().values)  # a place in the set tells no rank
    assert torch.equal(private.images, before)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_as_many_of_each_class_as_asked(method: str, private: LabeledImages, proxy: Artifact) -> None:
    fields = {"inits": 1, "passes": 1} if method == "grand" else {}
    release = synthesize(words(method, per_class=5, **fields), private, {"proxy": proxy}, SETTING)
    assert release.labels.bincount().tolist() == [5] * 10


@pytest.mark.parametrize("method", ["random", "forgetting", "herding"])
def test_a_fraction_of_one_keeps_the_whole_set(method: str, private: LabeledImages, proxy: Artifact) -> None:
    assert torch.equal(synthesize(words(method, fraction=1.0), private, {"proxy": proxy}, SETTING).images, private.images)


def test_a_smaller_random_part_lies_within_a_larger_one(private: LabeledImages) -> None:
    small, large = (synthesize(words("random", fraction=share), private, {}, SETTING).origins for share in (0.1, 0.4))
    assert small is not None
    assert large is not None
    assert torch.isin(small, large).all()


def test_mislabeled_samples_are_kept_by_the_margin_and_dropped_by_ccs(private: LabeledImages, tmp_path: Any) -> None:
    wrong = torch.arange(0, 320, 20)
    labels = private.labels.clone()
    labels[wrong] = (labels[wrong] + 1) % 10
    poisoned = LabeledImages(private.images, labels)
    recipe = RECIPE.model_copy(update={"width": 16})
    net = build(recipe, SETTING.card, SETTING.seeds("proxy/init"))
    fitted = fit(net, training(poisoned, recipe, 80, "proxy"), dynamics=True)
    assert fitted.dynamics is not None
    needs = {"proxy": artifact(tmp_path, dynamics=dict(fitted.dynamics))}

    def held(method: str, **fields: Any) -> float:
        origins = synthesize(words(method, fraction=0.3, **fields), poisoned, needs, SETTING).origins
        assert origins is not None
        return torch.isin(wrong, origins).double().mean().item()

    assert held("aum") > 0.9
    assert held("ccs") < 0.1
