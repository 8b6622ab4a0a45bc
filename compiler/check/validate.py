"""Validates nodes by pydantic models, and converts pydantic's errors to diagnostics with location, value and hint.

Validation goes through JSON, where strict mode takes a list for a tuple and still refuses `True` for 1 and "3" for 3.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from compiler.errors import Checking, Diagnostic, Location, did_you_mean, plural
from compiler.language.plugins import PluginAttack, PluginData, PluginMethod, model_at
from compiler.text.nodes import Mapping, Node, Sequence, plain

WANTED = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("list_type", "tuple_type"), "a list"),
    **dict.fromkeys(("dict_type", "mapping_type", "model_type", "model_attributes_type"), "a mapping"),
    "string_type": "text",
    "none_required": "null",
    "finite_number": "a finite number",
}
"""Pydantic's type of an error → what is accepted, in terms of YAML."""


class Validator:
    """Validates nodes against one type; equal valid nodes are validated once."""

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self._adapter = _adapter(annotation)
        self._models: dict[str, Any] = {}

    def check(self, node: Node) -> Checking[Any | None]:
        """The validated value, the same object for equal nodes; None, with diagnostics, where the node is not valid."""
        text = json.dumps(plain(node), allow_nan=False)
        if text not in self._models:
            try:
                self._models[text] = self._adapter.validate_json(text, strict=True)
            except ValidationError as error:
                yield from (self._diagnose(details, node) for details in error.errors(include_url=False))
        return self._models.get(text)

    def _diagnose(self, details: Any, node: Node) -> Diagnostic:
        """The diagnostic for one of pydantic's errors, at the node that it is about."""
        names, context = tuple(details["loc"]), details.get("ctx", {})
        at, parent, reached = _walk(node, names)
        tag = str(context.get("discriminator")).strip("'")

        def report(code: str, message: str, hint: str = "", location: Location = at.location) -> Diagnostic:
            return Diagnostic(code, location, message, hint)

        def key(name: str) -> Location:
            return parent.location_of(name) if isinstance(parent, Mapping) else at.location

        def member(name: str) -> Node:
            return (at.get(name) if isinstance(at, Mapping) else None) or at

        match details["type"]:
            case "extra_forbidden":
                name = str(names[-1])
                hint = did_you_mean(name, self._fields(names[:-1], node))
                return report("unknown-field", f"no field is called {name!r}", hint, key(name))
            case "missing":
                listed = ", ".join(sorted(self._fields(names[:-1], node)))
                return report("missing-field", f"`{names[-1]}` is missing", f"fields here: {listed}")
            case "union_tag_invalid":
                known = [*_split_choices(context["expected_tags"]), *(["own"] if tag == "paradigm" else [])]
                value = context["tag"] if member(tag) is at else plain(member(tag))
                hint = did_you_mean(value, known)
                return report(f"unknown-{tag}", f"no {tag} is called {value!r}", hint, member(tag).location)
            case "union_tag_not_found":
                return report("missing-field", f"`{tag}` is missing", f"there are: {', '.join(self._tags(names, tag))}")
            case "literal_error" if names[-1:] == ("[key]",):
                name = str(names[-2])
                hint = did_you_mean(name, _split_choices(context["expected"]))
                return report("unknown-name", f"`{names[-3]}` names {name!r}", hint, key(name))
            case "literal_error":
                hint = did_you_mean(plain(at), _split_choices(context["expected"]))
                return report("unknown-value", f"{_field(reached)} is {_shown(plain(at))}", hint)
            case "own_words":
                word = context["word"]
                return report(f"own-{word}", context["message"], context["hint"], member(word).location)
            case "value_error":  # a model's own rule, whose message has the hint
                return report("wrong-value", str(details["msg"]).removeprefix("Value error, "))
            case "string_pattern_mismatch":
                hint = f"it should match {context['pattern']}"
            case "too_short" | "too_long":
                bound, limit = ("at least", "min_length") if details["type"] == "too_short" else ("at most", "max_length")
                hint = f"it should have {bound} {plural(context[limit], 'item')}"
            case "string_too_short" | "string_too_long":
                bound, limit = ("at least", "min_length") if details["type"] == "string_too_short" else ("at most", "max_length")
                hint = f"it should have {bound} {plural(context[limit], 'letter')}"
            case kind if kind in WANTED:
                hint = f"it should be {WANTED[kind]}"
            case _:  # bounds: greater than 0, a multiple of 4, …
                hint = "it should be " + str(details["msg"]).removeprefix("Input should be ")
        return report("wrong-value", f"{_field(reached)} is {_shown(plain(at))}", hint)

    def _fields(self, names: tuple[Any, ...], node: Node) -> set[str]:
        """Names of the fields that a mapping at pydantic's `loc` may have, those that are replaced before validation (`preset`)
        included."""
        models = _models(_at(self.annotation, names, node))
        return {name for model in models for name in (*model.model_fields, *getattr(model, "resolved_before", ()))}

    def _tags(self, names: tuple[Any, ...], tag: str) -> list[str]:
        """Sorted values of the tag, such as `method`, in the models of the union at pydantic's `loc`."""
        models = _models(_at(self.annotation, names))
        return sorted(
            {str(word) for model in models if tag in model.model_fields for word in get_args(model.model_fields[tag].annotation)}
        )


@cache  # making one for a large union takes longer than the rest of a small study
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)


def _walk(node: Node, names: tuple[Any, ...]) -> tuple[Node, Node, list[str]]:
    """The deepest node on pydantic's `loc`, the mapping or list that it is in (or itself, if it is a mapping in which a later name
    is missing), and the names on the path that are in the text, without tags of unions."""
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
    """The annotation at pydantic's `loc`. Where `node`, the text, has on the path a mapping that names a plug-in, it is the
    plug-in's class from there on."""
    for index, name in enumerate((*names, None)):
        here = plain(_walk(node, names[:index])[0]) if node is not None else None
        annotation = (model_at(here) if isinstance(here, dict) else None) or annotation
        if name is not None:
            annotation = _step(annotation, name)
    return annotation


def _step(annotation: Any, name: Any) -> Any:
    """The annotation of a member: a field of a model, an item of a tuple, a value of a dict; in a union the models that `name`
    tags, else the field `name` of the first model that has it. The annotation itself where there is no such member."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _step(arguments[0], name)
    if origin in (Union, types.UnionType):
        models = list(_models(annotation))
        tagged = [model for model in models if name in _tags_of(model)]
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
    """The models in an annotation: itself, or those of the members of a union, at any depth, also in `Annotated`. Other annotations
    and the base classes of plug-ins yield none."""
    if annotation in (PluginMethod, PluginAttack, PluginData):
        return  # what plugins extend: no text names them alone
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Annotated, Union, types.UnionType):
        for argument in get_args(annotation):
            yield from _models(argument)


def _tags_of(model: type[BaseModel]) -> set[object]:
    """The values of all Literal fields of a model; the discriminator's are among them."""
    return {
        word
        for field in model.model_fields.values()
        if get_origin(field.annotation) is Literal
        for word in get_args(field.annotation)
    }


def _split_choices(expected: str) -> list[str]:
    """The values in pydantic's "'a', 'b' or 'c'"."""
    return [choice.strip("' ") for choice in expected.replace(" or ", ", ").split(",")]


def _field(reached: list[str]) -> str:
    if len(reached) > 1 and reached[-1].isdecimal():
        return f"`{reached[-2]}[{reached[-1]}]`"
    return f"`{reached[-1]}`" if reached else "the value"


def _shown(value: object) -> str:
    """A value for a message: as JSON, mappings and lists as `a mapping` and `a list`."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return json.dumps(value, ensure_ascii=False)
