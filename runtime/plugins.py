"""Loads the functions of installed packages: found by the module that their words name, imported by workers alone.

The same contracts as for what synthc brings: a method is `synthesize(how, private, needs, setting) -> Release`, an attack
`scorer(how, said, paired) -> Score | None`, a data set `read(how) -> (LabeledImages, LabeledImages | None)`. A wrong answer is an
error of that task, with the name of the package in it, before any figure rests on it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def load_function(name: str, module: str, function: str) -> Callable[..., Any]:
    """What the package `name` computes with; ValueError if its module does not have it."""
    found = getattr(importlib.import_module(module), function, None)
    if not callable(found):
        raise ValueError(f"{name}: its module {module} has no function {function}")
    return found
