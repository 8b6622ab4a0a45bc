"""Architectures of classifiers, with initial weights that depend on a given generator alone.

Every net takes normalised float32 images and gives logits; `features(x)` gives the input of its last linear layer. Normalisation
uses the card's public mean and standard deviation, no constants of private data. Not here: training (`sgd`, `dp_sgd`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from compiler.errors import SynthcError
from compiler.language.classifier import Recipe
from compiler.language.datasets import Card, Shape

Net = TypeVar("Net", bound=nn.Module)
Norm = Callable[[int], nn.Module]
"""Channels → a normalisation layer."""


class Classifier(nn.Module):
    """A net of a trunk that gives flat features, and one linear layer."""

    def __init__(self, trunk: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(features, classes)

    def features(self, x: Tensor) -> Tensor:
        """n × features: the input of the last layer."""
        return self.trunk(x)

    def forward(self, x: Tensor) -> Tensor:
        """n × classes: logits."""
        return self.head(self.trunk(x))


def build(recipe: Recipe, card: Card, generator: torch.Generator) -> Classifier:
    """The recipe's net for images of this card, on the CPU, with initial weights drawn from `generator`. SynthcError where the
    recipe's depth or norm does not fit the net or the size of the images."""
    net = skeleton(recipe, card).to_empty(device="cpu")
    reset(net, generator)
    return net


def skeleton(recipe: Recipe, card: Card) -> Classifier:
    """The recipe's net without storage (device `meta`), for weights from a state dict or from `reset`; errors as of `build`."""
    with torch.device("meta"):  # also keeps the layers' own constructors from drawing from the global generator
        trunk, features = TRUNKS[recipe.net](recipe, card.shape)
        return Classifier(trunk, features, card.classes)


def restored(recipe: Recipe, card: Card, state: dict[str, Tensor]) -> Classifier:
    """The recipe's net in eval mode, whose weights are the tensors of `state` themselves, on their device. RuntimeError where they
    are those of another net; errors as of `build`."""
    net = skeleton(recipe, card)
    net.load_state_dict(state, assign=True)
    return net.eval()


def to_device(net: Net, device: torch.device) -> Net:
    """Move the net to the device in place, with channels-last memory layout; returns it. Digits, one core: 2.5 instead of 3.6 ms a
    step of 64.

    Most of the gain is in max pooling, which torch vectorises for channels last alone: 0.15 against 0.94 ms at 64 × 32 × 8 × 8.
    """
    return net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs miss this form


@torch.no_grad()
def reset(net: nn.Module, generator: torch.Generator) -> None:
    """Draw new initial weights, in place, and reset the running statistics of batch norm.

    Convolutions and linear layers: He et al. 2015, normal, fan in; the last layer (`net.head`) uniform in ±1/sqrt(fan in), as
    torch's default; biases zero; batch and group norms the identity. Other kinds of layers are left as they are.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            drawn = torch.empty(module.weight.shape)
            if module is getattr(net, "head", None):
                drawn.uniform_(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in), generator=generator)
            else:
                drawn.normal_(0.0, math.sqrt(2 / fan_in), generator=generator)
            module.weight.copy_(drawn)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            module.weight.fill_(1.0)
            module.bias.zero_()
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()


def split_by_parameter(net: nn.Module, vector: Tensor) -> dict[str, Tensor]:
    """Name of each parameter → its part of the vector as a view of the parameter's shape; differentiable. RuntimeError if the
    vector has another length than all parameters together.

    The inverse of torch.nn.utils.parameters_to_vector; unlike vector_to_parameters it does not write into the net.
    """
    parts = vector.split([parameter.numel() for parameter in net.parameters()])
    return {name: part.view_as(parameter) for (name, parameter), part in zip(net.named_parameters(), parts, strict=True)}


def normalise(images: Tensor, card: Card) -> Tensor:
    """float32 images, centred and scaled by the card's public constants. `images` (n × channels × height × width): uint8, or grey
    levels in floating point, black 0 and white 1."""
    grey = images.to(torch.float32) / 255 if images.dtype == torch.uint8 else images.to(torch.float32)
    mean, std = (grey.new_tensor(constants)[:, None, None] for constants in (card.mean, card.std))
    return (grey - mean) / std


def grey_levels(images: Tensor, card: Card) -> Tensor:
    """The inverse of `normalise`: images in grey levels, black 0 and white 1, which may leave that range; differentiable."""
    mean, std = (images.new_tensor(constants)[:, None, None] for constants in (card.mean, card.std))
    return images * std + mean


def _norm(recipe: Recipe) -> Norm:
    match recipe.norm:
        case "batch":
            return nn.BatchNorm2d
        case "group":
            # At least 4 channels a group and at most 16 groups (De et al. 2022 use 16 on widths from 64).
            return lambda channels: nn.GroupNorm(math.gcd(channels, min(16, max(1, channels // 4))), channels)
        case "instance":
            return lambda channels: nn.GroupNorm(channels, channels)
        case "none":
            return lambda channels: nn.Identity()


def _conv(inputs: int, outputs: int, recipe: Recipe, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """A convolution (odd kernel) with padding that keeps the image's size, or with stride 2 halves it, rounded up; without a bias
    where the recipe has a norm."""
    # A bias has no effect before a norm that centres its input.
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=recipe.norm == "none")


def _small(recipe: Recipe, shape: Shape) -> tuple[nn.Module, int]:
    """A trunk with flat output, and its number of features: two blocks of convolution, 2×2 max pool, norm and ReLU (three from
    16×16 on), of w, 2w (and 4w) channels: for images of 8×8 to about 32×32.

    The pool comes before the norm: a quarter of the elements to normalise, and on digits 1.23 instead of 1.38 s for 30 epochs and
    97.8 instead of 97.7 % (n = 12 and 16 shadows, one core).
    """
    channels, height, width = shape
    norm, layers, inputs, outputs = _norm(recipe), [], channels, recipe.width
    for _ in range(2 if min(height, width) < 16 else 3):
        layers += [_conv(inputs, outputs, recipe), nn.MaxPool2d(2), norm(outputs), nn.ReLU()]
        inputs, outputs, height, width = outputs, 2 * outputs, height // 2, width // 2
    return nn.Sequential(*layers, nn.Flatten()), inputs * height * width


def _convnet(recipe: Recipe, shape: Shape) -> tuple[nn.Module, int]:
    """The trunk, with flat output, of the ConvNet usual in dataset distillation (Gidaris and Komodakis 2018), and its number of
    features: blocks of convolution, norm, ReLU, 2×2 average pool.

    `depth` None: three blocks, or as many as the images can be halved; SynthcError for a greater `depth` than they can. As in
    dataset condensation (Zhao et al. 2021): the convolutions keep their biases, and the first one pads images of 28×28 to 32×32, so
    that features are 4×4 for both sizes. At width 128 with instance norm, 320,010 parameters on CIFAR-10.
    """
    channels, height, width = shape
    norm, layers, inputs = _norm(recipe), [], channels
    padding = 3 if (height, width) == (28, 28) else 1
    height, width = height + 2 * padding - 2, width + 2 * padding - 2
    halvings = int(math.log2(min(height, width)))
    depth = recipe.depth or min(3, halvings)
    if depth > halvings:
        raise SynthcError(f"convnet: an image of {height}×{width} cannot be halved {depth} times; depth {halvings} is the most")
    for block in range(depth):
        conv = nn.Conv2d(inputs, recipe.width, 3, padding=1 if block else padding)
        layers += [conv, norm(recipe.width), nn.ReLU(), nn.AvgPool2d(2)]
        inputs, height, width = recipe.width, height // 2, width // 2
    return nn.Sequential(*layers, nn.Flatten()), inputs * height * width


def _resnet9(recipe: Recipe, shape: Shape) -> tuple[nn.Module, int]:
    """The trunk, with flat output, of a ResNet-9 as in airbench, and its number of features: a 2×2 convolution and GELU, then three
    groups of convolution, pool, norm, GELU, convolution, norm, GELU, then a global max pool.

    A group whose input has fewer than 4 pixels a side has no pool. Widths w, 4w, 4w (64, 256, 256 in the original); its whitening
    of private images is left out.
    """
    norm, width = _norm(recipe), recipe.width
    layers: list[nn.Module] = [nn.Conv2d(shape[0], 8 * shape[0], 2, bias=True), nn.GELU()]
    inputs, side = 8 * shape[0], min(shape[1:]) - 1
    for outputs in (width, 4 * width, 4 * width):
        pool = nn.MaxPool2d(2) if side >= 4 else nn.Identity()
        side = side // 2 if side >= 4 else side
        layers += [_conv(inputs, outputs, recipe), pool, norm(outputs), nn.GELU()]
        layers += [_conv(outputs, outputs, recipe), norm(outputs), nn.GELU()]
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten()), inputs


class _Residual(nn.Module):
    """Pre-activation residual block (He et al. 2016; Zagoruyko and Komodakis 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int, recipe: Recipe, norm: Norm) -> None:
        super().__init__()
        self.before = nn.Sequential(norm(inputs), nn.ReLU())
        first = _conv(inputs, outputs, recipe, stride=stride)
        self.body = nn.Sequential(first, norm(outputs), nn.ReLU(), _conv(outputs, outputs, recipe))
        self.same = stride == 1 and inputs == outputs
        self.short = nn.Identity() if self.same else _conv(inputs, outputs, recipe, kernel=1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        ready = self.before(x)
        return self.body(ready) + self.short(x if self.same else ready)


def _residual(recipe: Recipe, shape: Shape, stem: int, widths: tuple[int, ...], blocks: int) -> tuple[nn.Module, int]:
    """A trunk with flat output, and its number of features: a convolution to `stem` channels, one group of `blocks` residual blocks
    for each of `widths`, and a global average pool; each group but the first halves the size. SynthcError for instance norm where
    the shorter side ends in one pixel."""
    norm = _norm(recipe)
    if recipe.norm == "instance" and min(shape[1:]) <= 2 ** (len(widths) - 1):
        raise SynthcError(f"{recipe.net}: ends in one pixel at {shape[1]}×{shape[2]}, which instance norm makes zero; use group")
    layers: list[nn.Module] = [_conv(shape[0], stem, recipe)]
    inputs = stem
    for stage, outputs in enumerate(widths):
        for block in range(blocks):
            layers.append(_Residual(inputs, outputs, 2 if stage and not block else 1, recipe, norm))
            inputs = outputs
    return nn.Sequential(*layers, norm(inputs), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), inputs


def _resnet18(recipe: Recipe, shape: Shape) -> tuple[nn.Module, int]:
    """The trunk, with flat output, of ResNet-18 for small images, and its number of features: 3×3 stem without a pool,
    pre-activation; width 64 is the usual one. Errors as of `_residual`."""
    w = recipe.width
    return _residual(recipe, shape, w, (w, 2 * w, 4 * w, 8 * w), 2)


def _wrn(recipe: Recipe, shape: Shape) -> tuple[nn.Module, int]:
    """The trunk, with flat output, of WRN-depth-k with width = 16 k, and its number of features: `width: 64` and depth 16 (the
    default) are WRN-16-4. SynthcError for a depth below 10 or not 4 + 6 × blocks, and as of `_residual`."""
    depth, w = recipe.depth or 16, recipe.width
    if depth < 10 or (depth - 4) % 6:
        raise SynthcError(f"wrn: the depth is 6 × blocks + 4 (10, 16, 22, 28, 40); {depth} is not")
    return _residual(recipe, shape, 16, (w, 2 * w, 4 * w), (depth - 4) // 6)


def _mlp(recipe: Recipe, shape: Shape) -> tuple[nn.Module, int]:
    """A trunk of hidden layers of `width` units (two, or `depth`) with ReLU, no norm; and its number of features, `width`."""
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = math.prod(shape)
    for _ in range(recipe.depth or 2):
        layers += [nn.Linear(inputs, recipe.width), nn.ReLU()]
        inputs = recipe.width
    return nn.Sequential(*layers), inputs


TRUNKS: dict[str, Callable[[Recipe, Shape], tuple[nn.Module, int]]] = {
    "small": _small,
    "convnet": _convnet,
    "resnet9": _resnet9,
    "resnet18": _resnet18,
    "wrn": _wrn,
    "mlp": _mlp,
}
"""Net → a function of recipe and shape that gives the trunk and its number of features."""
