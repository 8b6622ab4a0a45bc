"""Docstrings of the fields of the spec's models, for the JSON schema and the report.

Read from the source on first use. pydantic would read them whenever the models are imported, a third of the import's time.
"""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache

from pydantic import BaseModel


@cache
def meanings(model: type[BaseModel]) -> dict[str, str]:
    """Field → its docstring in one line, in the order of the model's fields, inherited ones included; fields without one are left
    out, as are those of classes that are not at the top of a module whose source can be read."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if issubclass(kind, BaseModel) and kind is not BaseModel:
            found |= _of_module(kind.__module__).get(kind.__qualname__, {})
    return {name: found[name] for name in model.model_fields if name in found}


@cache
def _of_module(name: str) -> dict[str, dict[str, str]]:
    """Class → field → docstring, of all classes at the top of a module; {} where its source cannot be read."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[name]))
    except (OSError, KeyError):  # no source at hand: nothing to say
        return {}
    return {
        node.name: {
            field.target.id: " ".join(inspect.cleandoc(said.value.value).split())
            for field, said in zip(node.body, node.body[1:], strict=False)
            if isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(said, ast.Expr)
            and isinstance(said.value, ast.Constant)
            and isinstance(said.value.value, str)
        }
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
