"""Selection by the geometry of the samples in the proxy's features: herding, k-center, moderate, submodular functions.

Each rule takes a matrix of candidates and returns row indices in the order of selection; of equal candidates the first one is
taken, so the caller shuffles. Not here: selection by difficulty (`difficulty`).
"""

from __future__ import annotations

import heapq

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from compiler.language.methods.coreset import Herding, KCenter, Moderate, Submodular
from runtime.data.images import LabeledImages
from runtime.store.artifacts import Inputs
from runtime.synthesize.coreset.selection import chosen, embedded
from runtime.synthesize.release import Release, Setting


def synthesize(how: KCenter | Herding | Moderate | Submodular, private: LabeledImages, needs: Inputs, setting: Setting) -> Release:
    """The images that the method's rule selects in the proxy's features (submodular functions: by `gradient_similarity`), in each
    class or in the whole set. Errors as of `embedded` and `parts`."""
    features, logits = embedded(how, private.images, needs["proxy"], setting)
    errors = logits.softmax(1) - one_hot(private.labels, logits.shape[1])

    def pick(shuffled: Tensor, keep: int) -> Tensor:
        seen = features[shuffled]
        if isinstance(how, Submodular):
            seen = gradient_similarity(seen, errors[shuffled])
        return shuffled[RULES[how.method](seen, keep)]

    return chosen(how, private, setting, pick)


def herding(features: Tensor, keep: int) -> Tensor:
    """Herding (Welling 2009): greedily the sample after which the mean of the selection is nearest to the mean of all.

    argmin over x of || (|S| + 1) mean − sum(S) − phi(x) ||; some public code takes the argmax. features: n × feature; result:
    `keep` rows.
    """
    mean = features.mean(0)
    lengths = features.square().sum(1)
    open_ = torch.zeros(len(features), device=features.device)
    wanted = mean.clone()  # (|S| + 1) mean − sum(S)
    chosen = []
    for _ in range(keep):
        place = int((lengths - 2 * (features @ wanted) + open_).argmin().item())
        chosen.append(place)
        open_[place] = torch.inf
        wanted += mean - features[place]
    return torch.tensor(chosen, dtype=torch.int64)


def k_center(features: Tensor, keep: int) -> Tensor:
    """k-center greedy (Sener and Savarese 2018): the sample nearest to the mean, then repeatedly the one whose nearest selected
    sample is farthest from it. features: n × feature; result: `keep` rows.

    Only the distance to the nearest selected sample is stored: n numbers, not n × keep.
    """
    place = int((features - features.mean(0)).square().sum(1).argmin().item())
    chosen = [place]
    nearest = torch.full((len(features),), torch.inf, device=features.device)
    while len(chosen) < keep:
        nearest = torch.minimum(nearest, (features - features[place]).square().sum(1))
        nearest[place] = -1.0  # below any distance, so that no sample is selected twice, even among duplicates
        place = int(nearest.argmax().item())
        chosen.append(place)
    return torch.tensor(chosen[:keep], dtype=torch.int64)


def moderate(features: Tensor, keep: int) -> Tensor:
    """Moderate coreset (Xia et al. 2023): `keep` rows of the samples whose distance to the mean is nearest to the median distance,
    nearest first. features: n × feature."""
    distance = (features - features.mean(0)).norm(dim=1)
    middle = distance.quantile(0.5)
    return (distance - middle).abs().argsort(stable=True)[:keep].cpu()


def gradient_similarity(features: Tensor, errors: Tensor) -> Tensor:
    """n × n, in 0..1: 0.5 + 0.5 cosine between the samples' gradients in the last layer.

    That gradient is the outer product of the error (probabilities − one-hot, n × classes) and the feature with a 1 for the bias,
    so the cosine is the product of both parts' cosines and no gradient is computed.
    """
    with_bias = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
    of_errors, of_features = (torch.nn.functional.normalize(part, dim=1, eps=1e-12) for part in (errors, with_bias))
    return 0.5 + 0.5 * (of_errors @ of_errors.T) * (of_features @ of_features.T)


def graph_cut(similarity: Tensor, keep: int) -> Tensor:
    """Graph cut, greedily maximised: the gain is similarity to all samples minus twice that to the selected (Iyer et al. 2021,
    lambda 1). similarity: n × n; result: `keep` rows.

    Gains of all candidates are updated after each selection, by one row of `similarity`, so lazy evaluation has no use.
    """
    gain = similarity.sum(1)
    chosen = []
    for _ in range(keep):
        place = int(gain.argmax().item())
        chosen.append(place)
        gain = gain - 2 * similarity[place]
        gain[place] = -torch.inf
    return torch.tensor(chosen, dtype=torch.int64)


def facility_location(similarity: Tensor, keep: int) -> Tensor:
    """Facility location, greedily maximised: the sum over samples of the similarity to the most similar selected one; lazily
    (Minoux 1978). similarity: n × n, not negative; result: `keep` rows.

    Gains never grow, so a candidate whose recomputed gain exceeds the old gains of all others is the best.
    """
    covered = torch.zeros(len(similarity), device=similarity.device)
    bounds = [(-bound, place) for place, bound in enumerate(similarity.sum(0).tolist())]
    heapq.heapify(bounds)
    chosen: list[int] = []
    while len(chosen) < keep:
        _, place = heapq.heappop(bounds)
        gain = -(similarity[:, place] - covered).clamp(min=0).sum().item()
        if bounds and (gain, place) > bounds[0]:
            heapq.heappush(bounds, (gain, place))
            continue
        chosen.append(place)
        covered = torch.maximum(covered, similarity[:, place])
    return torch.tensor(chosen, dtype=torch.int64)


RULES = {
    "k_center": k_center,
    "herding": herding,
    "moderate": moderate,
    "graph_cut": graph_cut,
    "facility_location": facility_location,
}
"""Method → its selection rule."""
