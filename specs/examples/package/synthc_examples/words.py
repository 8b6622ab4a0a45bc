"""What a spec may say of the method, the attack and the data set. Imports no torch: specs are checked with it."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from synthc.plugin import Card, PluginAttack, PluginData, PluginMethod


class Microaggregation(PluginMethod):
    """Release means of groups of similar private images of one class (Domingo-Ferrer and Mateo-Sanz 2002)."""

    revision: ClassVar[int] = 1
    compute: ClassVar[str] = "synthc_examples.microaggregation"

    paradigm: Literal["own"]
    group_size: int = Field(gt=1)
    """Private images behind each released one; the last group of a class may be larger."""


class ModifiedEntropy(PluginAttack):
    """Low entropy, and the mass on the right label: the threshold attack of Song and Mittal (2021)."""

    compute: ClassVar[str] = "synthc_examples.modified_entropy"

    temperature: float = Field(default=1.0, gt=0)
    """Divides the logits first."""


class Stripes(PluginData):
    """Stripes at as many angles as there are classes, in noise: a private set that is nobody's."""

    compute: ClassVar[str] = "synthc_examples.stripes"

    samples: int = Field(default=1200, gt=0)
    angles: int = Field(default=6, gt=1)
    """Classes."""
    noise: float = Field(default=0.3, ge=0)
    """Standard deviation, in grey levels of 0 to 1."""

    @property
    def card(self) -> Card:
        about = "stripes at several angles, drawn by a program"
        return Card(self.name, self.samples, 0, self.angles, (1, 8, 8), (0.5,), (0.4,), digest="", about=about)
