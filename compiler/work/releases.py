"""Release levels: which levels an arm has, and which attack a headline names."""

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
"""Release level → the arms that have it, in words; without the levels that every arm has."""
HEADLINE_FIELDS = ("signal", "variant", "queries")
"""Fields by which a headline distinguishes attacks of one name."""


def has_release(arm: Frozen, release: ReleaseLevel) -> bool:
    """Whether the arm has this release level, whether or not the spec says `released: true`; False for an unknown level."""
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
    """Whether the attack has the headline's name, and agrees with it in those of HEADLINE_FIELDS that both have and the headline
    sets. The release level is not compared."""
    fields = {name: getattr(headline, name) for name in HEADLINE_FIELDS}
    return attack.attack == headline.attack and all(
        value is None or getattr(attack, name, value) == value for name, value in fields.items()
    )


def declared(attacks: Iterable[Attack], headline: Headline) -> Attack | None:
    """The attack that fits the headline and reads its release level, of several the first with the fewest entries in `compat`; None
    if there is none."""
    fitting = [attack for attack in attacks if fits(attack, headline) and headline.release in attack.reads]
    return min(fitting, key=lambda attack: len(attack.compat), default=None)
