"""Quantile regression, which needs no shadows."""

from typing import Literal

from compiler.language.attacks.base import LogitAttack


class Quantile(LogitAttack):
    """Quantile regression on the z pool, no shadows (Bertran et al. 2023)."""

    compute = "quantile"
    fitted = True
    needs_z_pool = True
    looks_at = "the samples' images"

    attack: Literal["quantile"]
