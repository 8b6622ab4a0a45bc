"""Release levels as ports: which an arm has, and which an attack reads."""

from __future__ import annotations

from compiler.spec.audit import ReleaseLevel
from compiler.spec.base import Frozen, Method

MODELS: tuple[ReleaseLevel, ...] = ("final_model", "teacher")
READS: dict[str, tuple[ReleaseLevel, ...]] = {
    **dict.fromkeys(("threshold", "reference", "calibrated", "lira", "lira_offline", "rmia", "label_only", "quantile"), MODELS),
    "nearest": ("synthetic_set",),
    "selected": ("index_list",),
    "denoising": ("generator",),
}
"""Attack → the levels at which it is scored. What stands here not may read any."""
FROM: dict[ReleaseLevel, str] = {
    "teacher": "data_free_kd has one",
    "synthetic_set": "coreset, distillation, data_free_kd and diffusion have one",
    "index_list": "coresets, `init: real` and sdedit have one",
    "generator": "diffusion has one",
}
"""Level → which arms have it."""


def has(arm: Frozen, release: ReleaseLevel) -> bool:
    """Whether an adversary could be given this level of the arm."""
    match release:
        case "final_model":
            return True
        case "teacher":
            return isinstance(arm, Method) and arm.gives_student and "teacher" in arm.needs
        case "synthetic_set":
            return isinstance(arm, Method)
        case "index_list":
            return isinstance(arm, Method) and arm.from_private_images
        case "generator":
            return isinstance(arm, Method) and arm.denoises and arm.generator is not None
    return False


def reads(attack: str, release: ReleaseLevel) -> bool:
    """Whether the attack is scored at this level."""
    return attack not in READS or release in READS[attack]
