"""Nodes → the spec's models, with every complaint of pydantic turned into one that has a place, a value and a hint.

Validation goes through JSON, where strict mode takes a list for a tuple and still refuses `True` for 1 and "3" for 3.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from compiler.errors import Diagnostic, did_you_mean
from compiler.language.plugins import PluginAttack, PluginData, PluginMethod, model_at
from compiler.text.nodes import Mapping, Node, Sequence, plain


class Validator:
    """Validates nodes against one type; equal nodes are validated once."""

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self._adapter = _adapter(annotation)
        self._known: dict[str, Any] = {}

    def __call__(self, node: Node, found: list[Diagnostic]) -> Any | None:
        """The model, or None after complaints were added to `found`."""
        text = json.dumps(plain(node), allow_nan=False)
        if text in self._known:
            return self._known[text]
        try:
            return self._known.setdefault(text, self._adapter.validate_json(text, strict=True))
        except ValidationError as error:
            found += [self._diagnostic(details, node) for details in error.errors(include_url=False)]
            return None

    def _diagnostic(self, details: Any, node: Node) -> Diagnostic:
        names = tuple(step for step in details["loc"])
        at, parent, reached = _walk(node, names)
        value = plain(at)
        match details["type"]:
            case "extra_forbidden":
                word = str(names[-1])
                place = parent.place_of(word) if isinstance(parent, Mapping) else at.place
                return Diagnostic(
                    "unknown-field", place, f"no field is called {word!r}", did_you_mean(word, self._fields(names[:-1], node))
                )
            case "missing":
                listed = _listed(self._fields(names[:-1], node))
                return Diagnostic("missing-field", at.place, f"`{names[-1]}` is missing", f"fields here: {listed}")
            case "union_tag_invalid":
                tag = str(details["ctx"]["discriminator"]).strip("'")
                known = [word.strip("' ") for word in str(details["ctx"]["expected_tags"]).split(",")]
                known += ["own"] if tag == "paradigm" else []
                inner = at.get(tag) if isinstance(at, Mapping) else None
                said = plain(inner) if inner is not None else details["ctx"]["tag"]
                return Diagnostic(f"unknown-{tag}", (inner or at).place, f"no {tag} is called {said!r}", did_you_mean(said, known))
            case "union_tag_not_found":
                tag = str(details["ctx"]["discriminator"]).strip("'")
                return Diagnostic("missing-field", at.place, f"`{tag}` is missing", f"there are: {_listed(self._tags(names, tag))}")
            case "literal_error" if names[-1:] == ("[key]",):
                word, known = str(names[-2]), _choices(details)
                place = parent.place_of(word) if isinstance(parent, Mapping) else at.place
                return Diagnostic("unknown-name", place, f"`{names[-3]}` names {word!r}", did_you_mean(word, known))
            case "literal_error":
                hint = did_you_mean(value, _choices(details))
                return Diagnostic("unknown-value", at.place, f"{_field(reached)} is {_shown(value)}", hint)
            case "own_words":
                said = details["ctx"]
                inner = at.get(said["word"]) if isinstance(at, Mapping) else None
                return Diagnostic(f"own-{said['word']}", (inner or at).place, said["message"], said["hint"])
        if details["type"] == "value_error":  # a model's own rule: it says itself what would do
            return Diagnostic("wrong-value", at.place, str(details["msg"]).removeprefix("Value error, "))
        if details["type"] == "string_pattern_mismatch":
            expected = f"it should match {details['ctx']['pattern']}"
        else:
            expected = "it should be " + str(details["msg"]).removeprefix("Input should be ").replace("an object", "a mapping")
        return Diagnostic("wrong-value", at.place, f"{_field(reached)} is {_shown(value)}", expected)

    def _fields(self, names: tuple[Any, ...], node: Node) -> set[str]:
        models = _models(_at(self.annotation, names, node))
        return {name for model in models for name in (*model.model_fields, *getattr(model, "resolved_before", ()))}

    def _tags(self, names: tuple[Any, ...], tag: str) -> list[str]:
        models = _models(_at(self.annotation, names))
        return sorted(
            {str(word) for model in models if tag in model.model_fields for word in get_args(model.model_fields[tag].annotation)}
        )


@cache  # for a large union it takes longer to make than all else of a small study
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)


def _walk(node: Node, names: tuple[Any, ...]) -> tuple[Node, Node, list[str]]:
    """The node at pydantic's `loc`, its parent, and the names on the way. Tags of unions are steps that the text does not have."""
    parent, reached = node, list[str]()
    for name in names:
        match node:
            case Mapping(items=items) if name in items:
                parent, node = node, items[name]
                reached.append(str(name))
            case Sequence(items=listed) if isinstance(name, int) and name < len(listed):
                parent, node = node, listed[name]
                reached.append(str(name))
            case Mapping():
                parent = node
    return node, parent, reached


def _at(annotation: Any, names: tuple[Any, ...], node: Node | None = None) -> Any:
    """The annotation that pydantic's `loc` leads to; `node` is the text, which may name words of the user's own on the way."""
    for place, name in enumerate((*names, None)):
        here = plain(_walk(node, names[:place])[0]) if node is not None else None
        annotation = (model_at(here) if isinstance(here, dict) else None) or annotation
        if name is not None:
            annotation = _step(annotation, name)
    return annotation


def _step(annotation: Any, name: Any) -> Any:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _step(arguments[0], name)
    if origin in (Union, types.UnionType):
        models = list(_models(annotation))
        tagged = [model for model in models if name in _words(model)]
        if tagged:
            return Union[tuple(tagged)]  # noqa: UP007 (made at run time)
        holders = [model.model_fields[name].annotation for model in models if name in model.model_fields]
        return holders[0] if holders else annotation
    if origin is dict:
        return arguments[1]
    if origin is tuple:
        return arguments[0]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and name in annotation.model_fields:
        return annotation.model_fields[name].annotation
    return annotation


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if annotation in (PluginMethod, PluginAttack, PluginData):
        return   # what the user's own words extend: nothing is of them alone
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Annotated, Union, types.UnionType):
        for argument in get_args(annotation):
            yield from _models(argument)


def _words(model: type[BaseModel]) -> set[object]:
    """The tags by which a union could tell this model."""
    return {
        word
        for field in model.model_fields.values()
        if get_origin(field.annotation) is Literal
        for word in get_args(field.annotation)
    }


def _choices(details: Any) -> list[str]:
    """The words that a literal allows."""
    return [word.strip("' ") for word in str(details["ctx"]["expected"]).replace(" or ", ", ").split(",")]


def _field(reached: list[str]) -> str:
    if len(reached) > 1 and reached[-1].isdecimal():
        return f"`{reached[-2]}[{reached[-1]}]`"
    return f"`{reached[-1]}`" if reached else "the value"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return json.dumps(value, ensure_ascii=False)


def _listed(names: set[str] | list[str]) -> str:
    return ", ".join(sorted(names))
