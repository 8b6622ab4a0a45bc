"""Guessed time, GPU memory and FLOPs of training steps and forward passes of nets; methods declare their costs in these terms.

The constants are for one idle core in float32. Another core, or one shared with other processes, is up to 3 × slower: they give the
order of magnitude, minutes or hours. A test compares every method with a run at three sizes. Where an operation was run before,
only the ratio of two costs is used (`compiler.inspect.cost.estimate`).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from compiler.language.datasets import Shape

GRADIENTS = 2**27
"""Largest number of per-sample gradient entries that `runtime.training.dp_sgd` holds at once; for at most `TOGETHER` images."""
TOGETHER = 256
"""Batch size of scoring, in images."""
FORWARD_SECONDS, FORWARD_BYTES = 0.45, 0.25
"""Time and memory of a forward pass without gradients, as fractions of those of a training step."""
STATES = 4
"""Numbers stored for each weight in training: the weight, its gradient, its momentum or moments, its average."""


@dataclass(frozen=True)
class Cost:
    """Time, peak GPU memory and FLOPs. A sum is the cost of one computation after another: seconds and FLOPs add up, memory is the
    larger of the two."""

    seconds: float
    """On one core."""
    gpu_mb: float = 0.0
    """Peak memory in MB on a GPU, if one computes it."""
    flops: float = 0.0
    """Counted work: images that go through nets × additions and multiplications of an image. The same on every machine."""

    def __add__(self, then: "Cost") -> "Cost":
        """Cost of one computation after the other."""
        return Cost(self.seconds + then.seconds, max(self.gpu_mb, then.gpu_mb), self.flops + then.flops)

    def __mul__(self, times: float) -> "Cost":
        """Cost of so many repetitions, one after another: the memory stays."""
        return Cost(self.seconds * times, self.gpu_mb, self.flops * times)


@dataclass(frozen=True)
class Net:
    """Cost parameters of a net on images of one size."""

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
        """Cost of `steps` training steps on batches of `batch` images."""
        held = (self.kept * batch + 4 * STATES * self.weights) / 1e6
        return Cost(steps * (self.step + batch * self.image), held, 3 * steps * batch * self.flops)

    def answers(self, images: float) -> Cost:
        """Cost of the forward passes of `images` images, without gradients."""
        held = (FORWARD_BYTES * self.kept * TOGETHER + 4 * self.weights) / 1e6
        return Cost(FORWARD_SECONDS * images * self.image, held, images * self.flops)

    def sample_gradients(self, steps: float, batch: float, copies: int = 1) -> Cost:
        """Cost of `steps` steps on `batch` images with one gradient per image, averaged over its `copies` augmented copies, as in
        DP-SGD; as many images are held at once as GRADIENTS and TOGETHER allow."""
        held = max(1, min(batch, TOGETHER // copies, GRADIENTS // self.weights))
        alone = self.training(steps, batch * copies)
        mb = (self.kept * held * copies + 4 * (held + STATES) * self.weights) / 1e6
        return Cost(alone.seconds + steps * (SAMPLE_STEP + SAMPLE_WEIGHT * batch * self.weights), mb, alone.flops)


NO_NET = Net(0.0, 0.0, 0.0, 1.0)


class _Layers(NamedTuple):
    """Constants of a convolutional net: seconds of a training step (`step`), seconds per pixel of an image at width 32 (`seconds`),
    memory, weights, FLOPs."""

    step: float
    seconds: float
    kept: float
    """Bytes for each pixel and unit of width."""
    weights: float
    """In units of the squared width, for 3×32×32."""
    flops: tuple[float, float]
    """Of a forward pass, for each pixel and unit of the squared width: below 16×16, where some nets halve less, and above."""


SAMPLE_STEP, SAMPLE_WEIGHT = 2e-3, 2.5e-9
"""What per-sample gradients add to a training step: seconds per step, and per sample and weight to store and clip them."""
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
    """Cost parameters of the net `kind`, a key of CONVOLUTIONS, on images of this shape (channels, height, width). The time per
    image is a linear plus a quadratic term in the width. KeyError for another kind."""
    layers, pixels, large = CONVOLUTIONS[kind], shape[1] * shape[2], min(shape[1:]) >= 16
    weights = layers.weights * width**2
    wide = width / 32 * (0.5 + width / 64) * (BEYOND_CACHE if large else 1.0)
    flops = pixels * (layers.flops[large] * width**2 + FIRST_LAYER * shape[0] * width)
    return Net(layers.step + OPTIMIZED * weights, layers.seconds * pixels * wide, layers.kept * width * pixels, weights, flops)


BEYOND_CACHE = 1.8
"""Time for each pixel of an image of 16×16 or more, relative to one of 8×8: a batch of activations does not fit into the cache."""
OPTIMIZED = 4e-9
"""Seconds to update one weight and its moving average."""


def dense(weights: float, units: float, step: float = 3e-4) -> Net:
    """Cost parameters of linear layers with `weights` weights and `units` activations in all. `step`: seconds of a training step
    that do not depend on the batch, without the update of the weights, which is added."""
    return Net(step + OPTIMIZED * weights, 1.1e-10 * weights, 8 * units, weights, 2 * weights)


def classifier(kind: str, width: int, shape: Shape) -> Net:
    """Cost parameters of the classifier `kind` (`Recipe.net`) of this width on images of this shape (channels, height, width).
    KeyError for another kind."""
    if kind != "mlp":
        return convolutions(kind, width, shape)
    return dense((math.prod(shape) + width) * width, math.prod(shape) + 2 * width)


@dataclass(frozen=True)
class Sizes:
    """Sizes that a cost depends on besides the parameters: those of one shadow's private set, and the final classifier."""

    images: float
    """Of the private set, on average over memberships."""
    classes: int
    shape: Shape
    """Channels, height, width."""
    net: Net
