"""The nets have the published sizes, take images of every size in use, and draw nothing from anywhere but their generator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from compiler.errors import SynthcError
from compiler.language.classifier import Recipe
from compiler.language.datasets import CARDS
from runtime.training.nets import build, normalise, restored, skeleton

CIFAR = CARDS["cifar10"]


def parameters(card: Any, **recipe: Any) -> int:
    return sum(tensor.numel() for tensor in skeleton(Recipe(**recipe), card).parameters())


def test_the_convnet_has_the_320010_parameters_of_the_distillation_papers() -> None:
    assert parameters(CIFAR, net="convnet", width=128, norm="instance") == 320_010


def test_the_convnet_pads_28_to_32_so_that_features_are_4_by_4() -> None:
    for name in ("mnist", "cifar10"):
        assert skeleton(Recipe(net="convnet", width=16), CARDS[name]).head.in_features == 16 * 4 * 4
    first = next(module for module in skeleton(Recipe(net="convnet"), CARDS["mnist"]).modules() if isinstance(module, nn.Conv2d))
    assert first.padding == (3, 3)


def wrn(depth: int, k: int, classes: int = 10) -> int:
    """Weights of WRN-depth-k by hand: convolutions, norms (two numbers a channel), the last layer."""
    widths, blocks = (16 * k, 32 * k, 64 * k), (depth - 4) // 6
    total, inputs = 3 * 16 * 9, 16
    for width in widths:
        for block in range(blocks):
            total += 2 * inputs + inputs * width * 9 + 2 * width + width * width * 9
            total += inputs * width if block == 0 and inputs != width else 0  # the 1×1 shortcut
            inputs = width
    return total + 2 * inputs + inputs * classes + classes


@pytest.mark.parametrize(("depth", "k", "millions"), [(16, 4, 2.7), (40, 1, 0.6), (40, 2, 2.2), (40, 4, 8.9), (28, 10, 36.5)])
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_wide_resnets_have_the_sizes_of_their_paper(depth: int, k: int, millions: float, norm: str) -> None:
    found = parameters(CIFAR, net="wrn", depth=depth, width=16 * k, norm=norm)
    assert found == wrn(depth, k)
    assert abs(found / 1e6 - millions) <= 0.1  # Zagoruyko and Komodakis 2016, tables 2 to 5: rounded or cut to one decimal


def test_resnet18_has_eleven_million_parameters_in_eighteen_layers() -> None:
    # 11,173,962 is the usual post-activation form for CIFAR; pre-activation has no norms in its three shortcuts.
    total, inputs, layers = 3 * 64 * 9, 64, 1
    for width in (64, 128, 256, 512):
        for block in range(2):
            total += 2 * inputs + inputs * width * 9 + 2 * width + width * width * 9
            total += inputs * width if block == 0 and inputs != width else 0
            inputs, layers = width, layers + 2
    total, layers = total + 2 * 512 + 512 * 10 + 10, layers + 1
    assert layers == 18
    assert parameters(CIFAR, net="resnet18", width=64) == total
    assert abs(total - 11_173_962) < 4_000


def test_resnet9_is_about_airbenchs_two_million() -> None:
    assert 1.9e6 < parameters(CIFAR, net="resnet9", width=64) < 2.1e6


@pytest.mark.parametrize("net", ["small", "convnet", "resnet9", "resnet18", "wrn", "mlp"])
@pytest.mark.parametrize("norm", ["batch", "group", "instance", "none"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
def test_every_net_takes_every_size_and_each_norm(net: str, norm: str, shape: tuple[int, int, int]) -> None:
    card = replace(CIFAR, shape=shape, mean=(0.5,) * shape[0], std=(0.5,) * shape[0])
    recipe = Recipe(net=net, norm=norm, width=8)  # type: ignore[arg-type]
    if (net, norm, shape[1]) == ("resnet18", "instance", 8):
        with pytest.raises(SynthcError, match="ends in one pixel at 8×8"):
            skeleton(recipe, card)
        return
    made = build(recipe, card, torch.Generator().manual_seed(0)).eval()
    images = torch.randint(256, (5, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        x = normalise(images, card)
        logits, features = made(x), made.features(x)
        alone = torch.cat([made(one[None]) for one in x])
    assert logits.shape == (5, 10)
    assert features.shape == (5, made.head.in_features)
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(logits, alone, rtol=1e-3, atol=1e-4)  # no image's answer depends on its batch mates
    again = restored(recipe, card, made.state_dict())
    with torch.no_grad():
        assert torch.equal(again(x), logits)


@pytest.mark.parametrize("net", ["small", "convnet", "resnet9", "resnet18", "wrn", "mlp"])
def test_initial_weights_come_from_the_given_generator_alone(net: str) -> None:
    recipe = Recipe(net=net, width=8)  # type: ignore[arg-type]
    torch.manual_seed(1)
    first = build(recipe, CIFAR, torch.Generator().manual_seed(0)).state_dict()
    before = torch.get_rng_state()
    second = build(recipe, CIFAR, torch.Generator().manual_seed(0)).state_dict()
    other = build(recipe, CIFAR, torch.Generator().manual_seed(1)).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


@pytest.mark.parametrize(
    ("recipe", "complaint"),
    [
        ({"net": "convnet", "depth": 6}, r"an image of 32×32 cannot be halved 6 times; depth 5 is the most"),
        ({"net": "wrn", "depth": 18}, "18 is not"),
    ],
)
def test_a_depth_that_cannot_be_built_is_said(recipe: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SynthcError, match=complaint):
        skeleton(Recipe(**recipe), CIFAR)
