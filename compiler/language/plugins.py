"""Plug-ins: a method, an attack or a data set from an installed package, named `package:name` in a spec.

    method: synthc-examples:microaggregation      a distribution, and an entry point of its group `synthc.methods`
    attack: synthc-examples:modified_entropy      `synthc.attacks`
    name: synthc-examples:stripes                 `synthc.datasets`: under `data:` or `public:`

The entry point gives a subclass of `PluginMethod`, `PluginAttack` or `PluginData`: its fields are the parameters, its `revision`
enters every id. The function that computes is in the module that `compute` names, which only workers import, so that a spec is
checked without torch. Only plug-ins that a spec names are loaded.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast, get_args

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, PositiveInt, TypeAdapter, ValidationInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from compiler.errors import SynthcError, did_you_mean
from compiler.fingerprint import encode
from compiler.language.attacks.base import ReleaseLevel, Tried
from compiler.language.base import Frozen, Method
from compiler.language.cost import Cost, Sizes
from compiler.language.data import Data
from compiler.language.datasets import Card

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Paradigm = Literal["own", "coreset", "distillation", "data_free_kd", "diffusion"]
NEEDS = ("proxy", "teacher")
"""Values that `needs` of a plug-in's method may have."""
HEAVY = ("torch", "ray")
"""Packages that importing a plug-in's parameters must not import: a spec is checked without them."""


class PluginMethod(Method):
    """Base of the parameters of a plug-in's method: subclass it and add fields, tuples instead of lists, as they are hashed."""

    compute = ""
    """Module whose `synthesize(how, private, needs, setting) -> Release` makes the set; see `runtime.synthesize.release`."""

    paradigm: Paradigm
    """The family that charts show it in; `own` if it is of none."""
    method: str
    """`package:name`."""

    def cost(self, sizes: Sizes) -> Cost:
        """One second, without memory and FLOPs: a guess used until the method has been run; override it where more is known."""
        return Cost(1.0)


class PluginAttack(Tried):
    """Base of the parameters of a plug-in's attack: subclass it and add fields; `compute` is the full name of its module."""

    revision = 1

    attack: str
    """`package:name`."""
    queries: PositiveInt = 1
    """Views of a canary that it is given: 1 for the plain image, or the number of all views."""

    @property
    def variant_name(self) -> str:
        """The subclass's own fields with their values as JSON, defaults included, the number of queries and `compat`, joined by
        `/`: `temperature=2.0/1q`."""
        own = [name for name in type(self).model_fields if name not in PluginAttack.model_fields]
        return "/".join([*(f"{name}={encode(getattr(self, name))}" for name in own), f"{self.queries}q", *self.compat])


class PluginData(Data):
    """Base of the parameters of a plug-in's data set: subclass it and add fields."""

    revision: ClassVar[int] = 1
    """Raised by hand when the images change and the card's digest does not say so."""
    compute: ClassVar[str] = ""
    """Module whose `read(how) -> (LabeledImages, LabeledImages | None)` gives the images and the official test split."""

    @property
    def card(self) -> Card:
        """Counts, classes, shape and public constants, known without loading an image; every subclass must define it (here
        NotImplementedError). Its `digest` enters ids: of the arrays, as `runtime.data.images.content_digest` gives it, or of files
        (`compiler.data.files.file_digest`); "" if the parameters determine the images."""
        raise NotImplementedError


BASES: dict[str, tuple[str, type[Frozen]]] = {
    "method": ("synthc.methods", PluginMethod),
    "attack": ("synthc.attacks", PluginAttack),
    "name": ("synthc.datasets", PluginData),
}
"""Field that names a plug-in → its group of entry points, and the base class of its parameters."""
WHAT = {"method": "method", "attack": "attack", "name": "data set"}


@dataclass(frozen=True)
class Refusal:
    """Why a plug-in's name cannot be used, and a remedy."""

    message: str
    hint: str


def is_own(name: object) -> bool:
    """Whether a name of a method, attack or data set is that of a plug-in (`package:name`)."""
    return isinstance(name, str) and ":" in name


def own_modules(work: object) -> dict[str, str]:
    """Name → module of each plug-in method and attack among the parameters of `work`, a task's operation; {} if there is none."""
    words = [getattr(work, "how", None), *getattr(work, "attacks", ())]
    named = [(getattr(one, "method", None) or getattr(one, "attack", None), getattr(one, "compute", "")) for one in words]
    return {str(name): module for name, module in named if is_own(name)}


@lru_cache(maxsize=1024)
def words_of(word: str, name: str) -> type[Frozen] | Refusal:
    """The class of parameters of the plug-in `package:name`, whose module is imported. A Refusal, not raised, if no installed
    package has it, its import fails or imports one of HEAVY that was not imported before, or it is no subclass of the base or has
    no `compute`. `word`: the field that names it, a key of BASES. Cached, so that a package is imported at most once."""
    from importlib.metadata import entry_points  # brings email and sockets: 10 ms that no study without words of its own needs

    group, base = BASES[word]
    offered = {f"{_distribution(point)}:{point.name}": point for point in entry_points(group=group)}
    if name not in offered:
        listed = did_you_mean(name, offered) if offered else f"no installed package has an entry point of the group {group}"
        return Refusal(f"no {WHAT[word]} is called {name!r}", listed)
    before = set(sys.modules)
    try:
        found = offered[name].load()
    except Exception as error:  # whatever the user's module raises
        return Refusal(f"{name!r} cannot be loaded: {type(error).__name__}: {' '.join(str(error).split())}", "mend the package")
    brought = [library for library in HEAVY if library in sys.modules and library not in before]
    if brought:
        hint = "its words should need pydantic alone; move what computes to a module of its own, and name that in `compute`"
        return Refusal(f"{name!r} imports {brought[0]} when a spec is checked", hint)
    if not (isinstance(found, type) and issubclass(found, base)):
        wanted = f"the entry point should name a subclass of {base.__module__}.{base.__name__}"
        return Refusal(f"{name!r} is {found!r}", wanted)
    if not getattr(found, "compute", ""):
        return Refusal(f"{name!r} does not say where it is computed", f"give {found.__name__} a `compute`: the name of a module")
    return found


def _distribution(point: "EntryPoint") -> str:
    """Name of the distribution that provides the entry point, in lower case, with hyphens for underscores and dots; "" if
    unknown."""
    name = point.dist.name if point.dist is not None else ""
    return name.lower().replace("_", "-").replace(".", "-")


@dataclass(frozen=True)
class OrPlugin:
    """Annotates a union of built-in models: a mapping whose field `word` has a colon is validated as a plug-in's parameters."""

    word: str
    closed: Any
    """The union of the built-in models."""

    @cached_property
    def _known(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.closed)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # Dumped by the value's own class: by the declared one, a subclass would lose its fields.
        as_it_is = core_schema.simple_ser_schema("any")
        closed = handler.generate_schema(self.closed)
        return core_schema.with_info_wrap_validator_function(self._validated, closed, serialization=as_it_is)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(cast(Any, schema)["schema"])  # built-in models only: the schema does not depend on installed packages

    def _validated(self, value: Any, known: Callable[[Any], Any], info: ValidationInfo) -> Any:
        """The parameters of a plug-in or of a built-in model; ValidationError or PydanticCustomError where they are not valid, such
        as the paradigm `own` without the name of a plug-in."""
        named = value.get(self.word) if isinstance(value, dict) else None
        if isinstance(value, dict) and is_own(named):
            return own_words(self.word, value)
        if isinstance(value, dict) and value.get("paradigm") == "own":
            raise _complaint(self.word, f"the method of paradigm own is {json.dumps(named)}", "name it as package:name")
        if info.mode == "json" and isinstance(value, dict):  # strict mode accepts a list for a tuple in JSON only
            return self._known.validate_json(json.dumps(value), strict=True)
        return known(value)


def own_words(word: str, value: dict[str, Any]) -> Frozen:
    """Parameters of a plug-in, validated from a mapping whose key `word` names it; ValidationError for values that are not valid,
    PydanticCustomError for plug-ins that `words_of` refuses, values that cannot enter an id, methods with other needs than NEEDS,
    and attacks that read no release level, or an unknown one."""
    name = value[word]
    model = words_of(word, name)
    if isinstance(model, Refusal):
        raise _complaint(word, model.message, model.hint)
    words = model.model_validate_json(json.dumps(value), strict=True)
    try:
        encode(words)
        hash(words)
    except (TypeError, ValueError) as error:
        hint = "use plain values, tuples and frozen models as the words of what enters an id"
        raise _complaint(word, f"{name!r} has words that no id can rest on: {error}", hint) from None
    if isinstance(words, PluginMethod) and not set(words.needs) <= set(NEEDS):
        unknown = ", ".join(sorted(set(words.needs) - set(NEEDS)))
        raise _complaint(word, f"{name!r} needs {unknown}", f"a method of your own can have: {', '.join(NEEDS)}")
    if isinstance(words, PluginAttack):
        reads, levels = words.reads, get_args(ReleaseLevel)
        if not (isinstance(reads, tuple) and reads and all(level in levels for level in reads)):
            raise _complaint(word, f"{name!r} reads {reads!r}", f"`reads` is a tuple of at least one of {', '.join(levels)}")
    return words


def _complaint(word: str, message: str, hint: str) -> PydanticCustomError:
    return PydanticCustomError("own_words", "{message}", {"word": word, "message": message, "hint": hint})


def model_at(node: dict[str, Any]) -> type[Frozen] | None:
    """The class of parameters of the plug-in that a mapping names under a key of BASES; None where it names none, or the first that
    it names cannot be used."""
    for word in BASES:
        if is_own(node.get(word)):
            found = words_of(word, node[word])
            return found if isinstance(found, type) else None
    return None


@lru_cache(maxsize=64)
def checked_card(data: PluginData) -> Card:
    """The card that a plug-in's data set declares, cached for equal `data`; SynthcError where it cannot be made, is not valid, or
    has no digest although the images come from a path."""
    try:
        card = data.card
    except SynthcError:
        raise
    except Exception as error:  # whatever the user's property raises
        raise SynthcError(f"{data.name}: its card cannot be made: {type(error).__name__}: {error}") from error
    is_card = isinstance(card, Card) and isinstance(card.shape, tuple) and len(card.shape) == 3
    counts = (card.samples, card.classes, *card.shape) if is_card else (0,)
    whole = all(type(count) is int and count > 0 for count in counts) and card.classes > 1
    if not whole or not all(_are_constants(values, card.shape[0]) for values in (card.mean, card.std)):
        parts = "samples, at least 2 classes, (channels, height, width), a mean and a std per channel"
        wanted = f"a {Card.__module__}.Card: {parts}"
        raise SynthcError(f"{data.name}: its card is {card!r}; it should be {wanted}")
    if data.path is not None and not card.digest:
        raise SynthcError(f"{data.name}: images from a path need a digest in their card; compiler.data.files.file_digest makes one")
    return card


def _are_constants(values: object, channels: int) -> bool:
    """Whether these are one number per channel, in a tuple."""
    return isinstance(values, tuple) and len(values) == channels and all(isinstance(value, float | int) for value in values)


AnyData = Annotated[Data | PluginData, OrPlugin("name", Data)]
