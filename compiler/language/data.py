"""`data:` which images a study is about, and how much of them; `tune:` what is tried on those that are set aside for it."""

from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from compiler.language.base import Frozen


class Data(Frozen):
    """The images whose privacy is in question. Canaries, z pool and private set are drawn from them."""

    later: ClassVar[tuple[str, ...]] = ("validation", "judged_on")

    name: str
    """A known data set (see `synthc data list`), `files` for images of your own, or `package:name` for what a package gives."""
    path: str | None = None
    """For `files` only: an .npz (`images` uint8 n×h×w[×c], `labels`; also `test_images`, `test_labels` if there is a split), or a
    folder with one folder of PNG or JPEG images per class (or `train` and `test` with such folders); relative to the spec.
    `synthc data import` makes an .npz of Parquet with image bytes."""
    subset: PositiveInt | None = None
    """Use a class-balanced part of this many images; null means all of them."""
    test: PositiveInt | None = None
    """Images set aside to measure accuracy; null means the official test split, which some sets do not have."""
    validation: PositiveInt | None = None
    """Images set aside to choose settings by (`synthc tune`): never trained on, never audited, never tested on."""
    judged_on: Literal["validation"] | None = None
    """validation: accuracy is measured on those instead of the test images, as `synthc tune` does; null: on the test images."""


class Tune(Frozen):
    """Settings to choose among, by accuracy on the images that `data.validation` sets aside."""

    shadows: int = Field(default=4, ge=2)
    """Models that are trained for each try."""
    arms: dict[str, Any]
    """Arm → fields of it with grids, such as `dp_sgd: {classifier: {lr: {grid: [0.5, 1.0, 2.0]}}}`, or a grid of mappings, such as
    `classifier: {grid: [{lr: 1.0}, {lr: 2.0, batch_size: 512}]}`. Every arm must have as many points as the others."""
