"""Release levels: what an arm publishes, and which attack a headline at one of them names."""

from __future__ import annotations

from collections.abc import Iterable

from compiler.language.audit import Attack, Headline, ReleaseLevel
from compiler.language.base import Frozen, Method

OWNERS: dict[ReleaseLevel, str] = {
    "teacher": "data_free_kd has one",
    "synthetic_set": "coreset, distillation, data_free_kd and diffusion have one",
    "index_list": "coresets, `init: real` and sdedit have one",
    "generator": "diffusion has one",
}
"""Level → which arms have it."""
HEADLINE_FIELDS = ("signal", "variant", "queries")
"""By which a headline tells attacks of one name apart."""


def has_release(arm: Frozen, release: ReleaseLevel) -> bool:
    """Whether an adversary could be given this level of the arm."""
    match release:
        case "final_model" | "labels_only":
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


def fits(attack: Attack, headline: Headline) -> bool:
    """Whether the attack is one that the headline names; what the headline leaves open, or the attack does not have, may differ."""
    fields = {name: getattr(headline, name) for name in HEADLINE_FIELDS}
    return attack.attack == headline.attack and all(
        value is None or getattr(attack, name, value) == value for name, value in fields.items()
    )


def declared(attacks: Iterable[Attack], headline: Headline) -> Attack | None:
    """The attack that the headline names: the first, and one without `compat` before others; None if there is none."""
    fitting = [attack for attack in attacks if fits(attack, headline) and headline.release in attack.reads]
    return min(fitting, key=lambda attack: len(attack.compat), default=None)
