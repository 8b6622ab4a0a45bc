"""What computing takes, in terms that words can be priced in: nets, the steps that train them, the images that they answer.

Declared figures for one idle core in float32. Another core, or one that others use too, is up to 3 × slower: they say minutes or
hours, not which minute; a test compares every method with a run at three sizes. Where an operation has a history, only the ratio of
two costs is used (`compiler.inspect.cost.estimate`).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from compiler.language.datasets import Shape

GRADIENTS = 2**27
"""Numbers of per-sample gradients that `runtime.training.dp_sgd` holds at once; for at most `TOGETHER` images."""
TOGETHER = 256
"""Images that are scored at once."""
FORWARD_SECONDS, FORWARD_BYTES = 0.45, 0.25
"""Of the time and of the memory of a training step, where no gradient is wanted."""
STATES = 4
"""Numbers for each weight in training: itself, its gradient, its momentum or moments, its average."""


@dataclass(frozen=True)
class Cost:
    """What something takes. Sums are of what comes one after the other: seconds add up, memory is given back."""

    seconds: float
    """On one core."""
    gpu_mb: float = 0.0
    """Held on a GPU, should one compute it."""
    flops: float = 0.0
    """Counted work: images that go through nets × additions and multiplications of an image. The same on every machine."""

    def __add__(self, then: "Cost") -> "Cost":
        return Cost(self.seconds + then.seconds, max(self.gpu_mb, then.gpu_mb), self.flops + then.flops)

    def __mul__(self, times: float) -> "Cost":
        return Cost(self.seconds * times, self.gpu_mb, self.flops * times)


@dataclass(frozen=True)
class Net:
    """A net on images of one size, as far as its cost goes."""

    step: float
    """Seconds of a training step that do not depend on the batch: Python, launches of kernels, the optimizer."""
    image: float
    """Seconds of one image, forward and backward."""
    kept: float
    """Bytes of one image's forward pass that the backward pass needs."""
    weights: float
    flops: float = 0.0
    """Of one image's forward pass; a backward pass takes twice as many."""

    def training(self, steps: float, batch: float) -> Cost:
        """So many steps on batches of so many images."""
        held = (self.kept * batch + 4 * STATES * self.weights) / 1e6
        return Cost(steps * (self.step + batch * self.image), held, 3 * steps * batch * self.flops)

    def answers(self, images: float) -> Cost:
        """Forward passes of so many images."""
        held = (FORWARD_BYTES * self.kept * TOGETHER + 4 * self.weights) / 1e6
        return Cost(FORWARD_SECONDS * images * self.image, held, images * self.flops)

    def sample_gradients(self, steps: float, batch: float, copies: int = 1) -> Cost:
        """So many steps that take each image's own gradient, averaged over its copies."""
        held = max(1, min(batch, TOGETHER // copies, GRADIENTS // self.weights))
        alone = self.training(steps, batch * copies)
        mb = (self.kept * held * copies + 4 * (held + STATES) * self.weights) / 1e6
        return Cost(alone.seconds + steps * (SAMPLE_STEP + SAMPLE_WEIGHT * batch * self.weights), mb, alone.flops)


NO_NET = Net(0.0, 0.0, 0.0, 1.0)


class _Layers(NamedTuple):
    """Of convolutions, at width 32 and one pixel."""

    step: float
    seconds: float
    kept: float
    """Bytes for each pixel and unit of width."""
    weights: float
    """In units of the squared width, for 3×32×32."""
    flops: tuple[float, float]
    """Of a forward pass, for each pixel and unit of the squared width: below 16×16, where some nets halve less, and above."""


SAMPLE_STEP, SAMPLE_WEIGHT = 2e-3, 2.5e-9
"""Seconds by which a step is longer that takes each sample's gradient, and in which a weight of one is written, measured and
scaled."""
CONVOLUTIONS = {
    "small": _Layers(1.0e-3, 0.5e-6, 14.5, 112, (9.0, 18.0)),
    "convnet": _Layers(1.1e-3, 0.7e-6, 12.5, 24, (5.7, 6.6)),
    "resnet9": _Layers(2.8e-3, 1.7e-6, 29.0, 486, (134.5, 49.5)),
    "resnet18": _Layers(8e-3, 8e-6, 69.0, 2731, (264, 270)),
    "wrn": _Layers(6e-3, 5.5e-6, 60.0, 676, (187, 187)),
    "generator": _Layers(3e-3, 1.5e-6, 60.0, 100, (54, 54)),
    "unet": _Layers(28e-3, 15e-6, 198.0, 1024, (456, 456)),
}
"""Measured at 8×8 to 32×32, widths 8 to 64, batches of 8 to 256. What a backward pass needs, the weights and the FLOPs were counted
(autograd's saved tensors, torch's FLOP counter)."""
FIRST_LAYER = 18
"""FLOPs of a first convolution of 3×3, for each pixel, channel and unit of width."""


def convolutions(kind: str, width: int, shape: Shape) -> Net:
    """A net of convolutions on images of this shape. Its time grows a little faster than its width."""
    layers, pixels = CONVOLUTIONS[kind], shape[1] * shape[2]
    weights = layers.weights * width**2
    wide = width / 32 * (0.5 + width / 64)
    flops = pixels * (layers.flops[min(shape[1:]) >= 16] * width**2 + FIRST_LAYER * shape[0] * width)
    return Net(layers.step + OPTIMIZED * weights, layers.seconds * pixels * wide, layers.kept * width * pixels, weights, flops)


OPTIMIZED = 4e-9
"""Seconds in which an optimizer and an average move a weight."""


def dense(weights: float, units: float, step: float = 3e-4) -> Net:
    """A net of linear layers with so many weights and units."""
    return Net(step + OPTIMIZED * weights, 6.5e-11 * weights, 8 * units, weights, 2 * weights)


def classifier(kind: str, width: int, shape: Shape) -> Net:
    """The net of a recipe."""
    if kind != "mlp":
        return convolutions(kind, width, shape)
    return dense((math.prod(shape) + width) * width, math.prod(shape) + 2 * width)


@dataclass(frozen=True)
class Sizes:
    """What a cost depends on besides the words: one shadow's private set, and the classifier that is trained in the end."""

    images: float
    """Of the private set, on average over memberships."""
    classes: int
    shape: Shape
    """Channels, height, width."""
    net: Net
