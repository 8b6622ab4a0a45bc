"""Finds the words that the files of a folder define, so that a new method or attack is a new file and no list has to name it."""

import importlib
import pkgutil
from typing import Literal, TypeVar, get_origin

from compiler.language.base import Frozen

T = TypeVar("T", bound=Frozen)


def words_in(package: str, base: type[T], tag: str, *further: str) -> tuple[type[T], ...]:
    """Models in the modules of `package` that extend `base` and say which they are: their field `tag` is a Literal, and so are
    those of the `further` fields that they have.

    In the order of the modules' names, and within one as they stand there.
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
