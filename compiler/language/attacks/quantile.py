"""Quantile regression, which needs no shadows."""

from typing import ClassVar, Literal

from compiler.language.attacks.base import LogitAttack


class Quantile(LogitAttack):
    """Quantile regression on the z pool, no shadows (Bertran et al. 2023)."""

    compute: ClassVar[str] = "quantile"
    fitted: ClassVar[bool] = True
    needs_z_pool: ClassVar[bool] = True
    looks_at: ClassVar[str] = "the samples' images"

    attack: Literal["quantile"]
