"""Attacks that need few or no shadows: one threshold for all, a reference rank, difficulty calibration."""

from typing import Literal

from compiler.language.attacks.base import LogitAttack


class Threshold(LogitAttack):
    """One threshold for all canaries and models (Attack-P: its ROC equals that of a threshold from the z pool)."""

    compute = "reference"

    attack: Literal["threshold"]


class Reference(LogitAttack):
    """Attack-R: the share of models without the canary that are no more confident than the target."""

    compute = "reference"

    attack: Literal["reference"]


class Calibrated(LogitAttack):
    """Difficulty-calibrated: the target's signal minus the mean signal of models without the canary."""

    compute = "reference"

    attack: Literal["calibrated"]
