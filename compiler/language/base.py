"""Base classes of a spec's models, and the class variables by which a method declares how it is computed.

The files of this package hold no annotations as text (`from __future__ import annotations`): pydantic would evaluate each of them
again for every class that inherits it, a tenth of the time that importing the compiler takes.
"""

import importlib
import pkgutil
from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from compiler.language.cost import Cost, Sizes

Proportion = Annotated[float, Field(gt=0, lt=1)]
"""Between 0 and 1, both excluded."""
BelowOne = Annotated[float, Field(ge=0, lt=1)]

MOST = 10**9
"""Largest absolute value of a number in a spec whose field has no smaller bound: no machine is large enough for more."""
MOST_OF = {
    "seed": 2**63 - 1, "resolution": 4096, "width": 8192, "latent": 65536, "components": 65536, "rank": 4096, "depth": 256,
    "blocks": 256, "shift": 4096,
}  # fmt: skip
"""Field → its largest value, where a larger one would exhaust the memory or the stack."""


class Frozen(BaseModel):
    """Base of all models of a spec: strict (`True` is no integer), immutable, without unknown fields; defaults are validated too.

    Validators are built at first use, not at import, so a default that is itself a model needs a `default_factory`.
    """

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, defer_build=True
    )

    def faults(self) -> Iterator[str]:
        """Yield sentences, each with a hint, on errors across fields that are each valid; only the first is reported. Here none."""
        return iter(())

    @model_validator(mode="after")
    def _has_no_fault(self) -> Self:
        """ValueError with the first of `faults`, if there is one."""
        for fault in self.faults():
            raise ValueError(fault)
        return self

    @field_validator("*")
    @classmethod
    def _ends(cls, value: Any, info: ValidationInfo) -> Any:
        """The value unchanged; ValueError for a number whose absolute value exceeds the field's limit (`MOST_OF`, else `MOST`), and
        for a list that has a text twice. Numbers in lists and mappings are not looked at."""
        most = MOST_OF.get(info.field_name or "", MOST)
        if type(value) in (int, float) and abs(value) > most:
            raise ValueError(f"{info.field_name} is {value:g}; it should be at most {most:,}")
        words = [item for item in value if isinstance(item, str)] if isinstance(value, tuple) else []
        if twice := [word for place, word in enumerate(words) if word in words[:place]]:
            raise ValueError(f"{info.field_name} has {twice[0]!r} twice; drop one of them")
        return value


class Arm(Frozen):
    """Parameters of an arm. A study can name every subclass in a file of `compiler.language.methods` whose `paradigm` (and
    `method`, if it has one) is a Literal."""

    paradigm: str
    """The family of ways of training that the arm belongs to."""


class Computed(Frozen):
    """Parameters of something that a module of its own computes: `runtime/synthesize/PARADIGM/COMPUTE.py`."""

    revision: ClassVar[int] = 1
    """Raised by hand when the numbers computed from the same parameters change."""
    compute: ClassVar[str]
    """Name of the module."""

    @abstractmethod
    def cost(self, sizes: Sizes) -> Cost:
        """Guessed time, GPU memory and FLOPs for one private set of these sizes."""


class Generator(Computed):
    """Parameters of what is trained once and used by several sets: its module has
    `train_generator(how, private, surroundings) -> Product`."""

    paradigm: ClassVar[str]

    @property
    def shared(self) -> "Generator | None":
        """Parameters of the base that the generators of all shadows start from, made once from public data or a user's model: the
        module also has `train_shared(how, public, surroundings, path) -> Product`. None where there is no base."""
        return None

    def shared_cost(self, sizes: Sizes) -> Cost:
        """Guessed time, GPU memory and FLOPs of making `shared` from a public set of these sizes; here 0."""
        return Cost(0.0)

    @property
    def learns(self) -> bool:
        """Whether the generator is trained on the private set, here True; else every shadow uses the base of `shared` unchanged."""
        return True


class Method(Arm, Computed):
    """Parameters of an arm that makes a synthetic set: its module has `synthesize(how, private, needs, setting) -> Release`.

    `compiler.plan.lower` reads the other class variables to build the arm's tasks.
    """

    gives_student: ClassVar[bool] = False
    """Whether the method itself trains the classifier that is released."""
    outside_work: ClassVar[tuple[str, ...]] = ("released",)
    """Fields that do not change what this task computes; they are reset to their defaults before it is hashed."""
    blind_to_augment: ClassVar[bool] = False
    """Whether the set does not depend on the classifier's augmentation, so that arms that differ only in it share one set."""
    denoises: ClassVar[bool] = False
    """Whether the generator is a denoiser, whose errors on a canary can be measured (release level `generator`)."""

    method: str
    """How the set is made, among the paradigm's methods."""
    released: bool = False
    """Whether the adversary also sees the set (release level `synthetic_set`)."""

    @property
    def needs(self) -> tuple[str, ...]:
        """What has to be computed before the set: `proxy` (a classifier with its dynamics logged), `teacher` (the undefended
        classifier), `generator` (what the property `generator` describes, trained once for several sets). Here nothing."""
        return ()

    @property
    def needs_batch_norm(self) -> bool:
        """Whether the teacher's BatchNorm statistics are read; here False."""
        return False

    @property
    def from_private_images(self) -> bool:
        """Whether each image of the set is, or began as, one private image: such a set counts as private images. Here False."""
        return False

    @property
    def generator(self) -> Generator | None:
        """Parameters of the generator; None unless `needs` names one."""
        return None


T = TypeVar("T", bound=Frozen)


def words_in(package: str, base: type[T], tag: str, *further: str) -> tuple[type[T], ...]:
    """Subclasses of `base` that the modules of `package` (which are imported) define and that a spec can name: their field `tag` is
    a Literal, and so are those of the `further` fields that they have.

    Ordered by module name, and within a module by position.
    """
    folder = importlib.import_module(package)
    modules = [importlib.import_module(f"{package}.{found.name}") for found in pkgutil.iter_modules(folder.__path__)]
    return tuple(
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, base)
        and kind.__module__ == module.__name__
        and tag in kind.model_fields
        and all(get_origin(kind.model_fields[name].annotation) is Literal for name in (tag, *further) if name in kind.model_fields)
    )
