"""`tune:` what `synthc tune` tries for each arm. Nothing of it is run with the study."""

from typing import Any

from pydantic import Field

from compiler.language.base import Frozen


class Tune(Frozen):
    """Settings to choose among, by accuracy on the images that `data.validation` sets aside."""

    shadows: int = Field(default=4, ge=2)
    """Models that are trained for each try."""
    arms: dict[str, Any]
    """Arm → fields of it with grids, such as `dp_sgd: {classifier: {lr: {grid: [0.5, 1.0, 2.0]}}}`, or a grid of mappings, such as
    `classifier: {grid: [{lr: 1.0}, {lr: 2.0, batch_size: 512}]}`. Every arm must have as many points as the others."""
