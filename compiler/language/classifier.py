"""`classifier:` the net that is trained, and how; the same for every arm unless an arm overrides fields of it."""

from typing import ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from compiler.language.base import BelowOne, Frozen, Proportion


class Augment(Frozen):
    """Random changes to a training image, drawn anew at each presentation."""

    shift: NonNegativeInt = 0
    """Up to this many pixels in each direction, zero padding."""
    flip: bool = False
    """Mirror half of the images; never for digits."""
    dsa: bool = False
    """Then one of the distillation field's maps for each image: colour, crop, cutout, mirror, scale or rotation (Zhao and Bilen,
    ICML 2021). Distilled sets are evaluated under it; without, learned images count for less than they could."""


class Recipe(Frozen):
    """A net and its training. All of it enters the id.

    `preset: fast`, `memorising`, and for DP-SGD `high_utility`, `real_epsilon`, stand for fields that fit the data
    (`compiler.check.presets`): what is written beside a preset wins, and a preset in a later text begins anew.
    """

    resolved_before: ClassVar[tuple[str, ...]] = ("preset",)
    """Keys that a spec may have and that are replaced by others before it is validated."""

    net: Literal["small", "convnet", "resnet9", "resnet18", "wrn", "mlp"] = "small"
    """small: two convolutions for 8x8 to 28x28. convnet: the distillation field's ConvNet. resnet9: in the airbench manner."""
    width: PositiveInt = 32
    """Channels of the first convolution."""
    depth: PositiveInt | None = None
    """Blocks of `convnet` (default: as many as the image can be halved, at most 3), layers of `wrn` (default 16)."""
    norm: Literal["batch", "group", "instance", "none"] = "batch"
    """DP-SGD refuses `batch`; data-free distillation by statistics needs it."""
    epochs: PositiveFloat = 20
    """Passes over a set of the private set's size. A smaller or larger set gets the same number of iterations."""
    batch_size: PositiveInt = 64
    """Images in each step; for DP-SGD the expected number, as images are drawn one by one."""
    lr: PositiveFloat = 0.1
    """Peak learning rate of SGD."""
    momentum: BelowOne = 0.9
    """Nesterov momentum."""
    weight_decay: NonNegativeFloat = 5e-4
    """L2 penalty of SGD: so much of each weight is added to its gradient."""
    schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    """one_cycle: the rate rises to its peak in a fifth of the steps, then falls to 0, linearly. cosine: it falls from the peak to 0
    along half a cosine. constant: it stays."""
    label_smoothing: BelowOne = 0.0
    """0 for an audit: smoothing hides memorisation."""
    augment: Augment = Field(default_factory=Augment)
    """Random changes to training images."""
    ema: Proportion | None = None
    """Decay of an exponential moving average of the weights, which is then the model; null means the last weights."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the training's forward pass; logits for scoring are always float32."""
