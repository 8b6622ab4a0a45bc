"""Paradigm `imported`: results of a pipeline outside synthc, computed from each shadow's private set.

`synthc export --membership DIR --spec SPEC` writes which samples each shadow trains on. The results are read from one .npz per
shadow, of the same name as the shadow's file there.
"""

from typing import Literal

from compiler.language.base import Arm, Method
from compiler.language.cost import Cost, Sizes


class ImportedSets(Method):
    """A synthetic set per shadow, on which the study's classifier is trained."""

    compute = ""  # elsewhere

    paradigm: Literal["imported"]
    method: Literal["sets"]
    path: str
    """Folder, relative to the spec. Each file holds `images` (n × c × h × w or n × h × w × c, uint8, or floats from 0 to 1) and
    `labels` (n whole numbers, or n × classes probabilities); optionally `seconds`, what the pipeline took."""
    private_origins: bool
    """Whether an image is, or began as, a private image. Then each file says which, in `origins` (n; -1 for none), release levels
    and claims of coresets apply, and the set counts as private images wherever images are shown."""

    @property
    def from_private_images(self) -> bool:
        return self.private_origins

    def cost(self, sizes: Sizes) -> Cost:
        return Cost(0.1)  # reading a file


class ImportedLogits(Arm):
    """Logits of each shadow's classifier, trained elsewhere, on the images in `queries.npz`."""

    paradigm: Literal["imported"]
    method: Literal["logits"]
    """logits: answers of classifiers, and no set."""
    path: str
    """Folder, relative to the spec. Each file holds `logits` (one row per query, one column per class); optionally `seconds`."""
