"""Per-sample gradients, vectorised by torch.func."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

Loss = Callable[..., Tensor]
"""(weights by name, one sample's tensors …) → that sample's loss, a scalar."""


def parameters_of(net: nn.Module) -> dict[str, Tensor]:
    """Name → parameter, detached from the graph; tensors share the net's storage."""
    return {name: parameter.detach() for name, parameter in net.named_parameters()}


def classification_loss(net: nn.Module, label_smoothing: float = 0.0) -> Loss:
    """The function (weights by name, copies, label) → cross entropy of one sample, the mean over its augmented copies (copy × c × h
    × w). The label is a class or a vector of probabilities; `label_smoothing` (0 to 1) is the share of it that all classes get
    alike."""

    def loss(weights: dict[str, Tensor], copies: Tensor, label: Tensor) -> Tensor:
        out = functional_call(net, weights, (copies,))
        wide = out.to(torch.promote_types(out.dtype, torch.float32))
        return F.cross_entropy(wide, label.expand(len(copies), *label.shape), label_smoothing=label_smoothing)

    return loss


def per_sample_gradients(loss: Loss, parameters: dict[str, Tensor], *samples: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Gradient of each sample's loss in `parameters` (name → sample × the parameter's shape), and the losses (sample). `samples`:
    tensors with samples along the first axis, the further arguments of `loss`."""
    with sdpa_kernel(SDPBackend.MATH):  # fused attention on a CPU has no rule for vmap: torch warns, and computes sample by sample
        return vmap(grad_and_value(loss), in_dims=(None, *[0] * len(samples)))(parameters, *samples)
