"""The language as a JSON Schema, so that editors complete and check a study while it is written.

Derived from pydantic's schema of the spec's models, so that new fields, methods and paradigms are included, and extended by what
a spec may have before it is validated: a grid in place of a value, an arm's own fields, plugins, `extends` and profiles, in which
any field may be missing and `null` removes an arm, a claim or a group of canaries.
Not here: rules across fields (`rules`), which a schema cannot express.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, models_json_schema
from pydantic_core import to_jsonable_python

from compiler.check.trials import PER_ARM, SHARED
from compiler.fingerprint import fingerprint
from compiler.inspect.field_docs import meanings
from compiler.language.claims import Claim
from compiler.language.plugins import BASES
from compiler.language.study import Header, Point

Schema = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"
"""The newest draft that editors support in full."""
KEYWORDS = (
    "minItems",
    "pattern",
    "const",
    "enum",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "type",
    "propertyNames",
)
"""Keywords that are copied from pydantic's schema of a single value."""
PLUGINS = {field: model for field, (_, model) in BASES.items()}
"""Field that can name a plugin → base class of the plugins' parameters."""
GRID = {"type": "object", "required": ["grid"]}
ABOUT = {
    "extends": "A file, relative to this one, that this study changes: mappings merge name by name, anything else replaces.",
    "profiles": "Named overlays of this study, chosen by `--profile NAME`.",
    "arms": "Ways of training that are compared: a paradigm, a method and its parameters. A grid stands for each of its values.",
    "claims": "Hypotheses; `synthc run` tests them, and keeps when each was declared.",
    "audit": "Fields of the study's audit that this arm changes.",
    "classifier": "Fields of the study's classifier that this arm changes.",
    "exclude": "Points of the arm's grids that are left out: a list of mappings from axis to value.",
}


def schema() -> Schema:
    """The JSON Schema (draft 7) of a spec."""
    definitions: Schema = {}
    point = _Language(definitions, False, {}).fields("Point")
    point["exclude"] = {"type": "array", "items": _mapping({"type": ["string", "number", "boolean", "null"]})}
    per_arm = {field: point[field] | {"description": ABOUT[field]} for field in PER_ARM}
    whole, part = (_Language(definitions, whole, per_arm).study() for whole in (True, False))
    top = {
        "extends": {"type": "string", "description": ABOUT["extends"]},
        "profiles": {"description": ABOUT["profiles"], **_mapping(_ref("profile"))},
    }
    definitions["profile"] = _closed(part)
    definitions["study"] = _closed(whole | top) | {"required": ["study", "data", "audit", "arms"]}
    definitions["study.in_part"] = _closed(part | top)
    return {
        "$schema": DRAFT,
        "title": "a study of synthc",
        "type": "object",
        "if": {"required": ["extends"]},
        "then": _ref("study.in_part"),
        "else": _ref("study"),
        "definitions": dict(sorted(definitions.items())),
    }


def schema_text() -> str:
    """The schema as JSON text that ends with a newline, one definition a line, so that a change of the language changes few lines
    of the file."""
    whole = schema()
    definitions = whole.pop("definitions")
    head = [f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in whole.items()]
    members = [f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in definitions.items()]
    return "{\n" + ",\n".join(head) + ',\n"definitions": {\n' + ",\n".join(members) + "\n}}\n"


class _Described(GenerateJsonSchema):
    """Generates pydantic's schema with the docstrings of fields and the defaults of factories added."""

    def model_schema(self, schema: Any) -> Schema:
        made, model = super().model_schema(schema), schema["cls"]
        made["description"] = " ".join((model.__doc__ or "").split())
        for name, field in model.model_fields.items():
            if about := meanings(model).get(name):
                made["properties"][name]["description"] = about
            if not field.is_required():
                made["properties"][name]["default"] = to_jsonable_python(field.get_default(call_default_factory=True))
        return made


@cache
def _describe(*models: Any) -> Schema:
    """Name → pydantic's schema of these models and of all models in their fields; cached, not to be changed."""
    _, made = models_json_schema([(model, "validation") for model in models], schema_generator=_Described)
    return made["$defs"]


class _Language:
    """Converts pydantic's schemas into those of a spec: of a `whole` one, or of an overlay, in which any field may be missing.

    `per_arm`: fields of an arm besides its method's. Shared schemas are added to `definitions`.
    """

    def __init__(self, definitions: Schema, whole: bool, per_arm: Schema) -> None:
        self.definitions, self.whole, self.per_arm = definitions, whole, per_arm
        self.models = _describe(Header, Claim, Point, *PLUGINS.values())
        self.expanded = set(_describe(Point, *PLUGINS.values()))
        """Models whose values may be grids; the header and claims have none."""
        self.arm = self.models["Point"]["properties"]["arm"]
        self.arms = {PLUGINS["method"].__name__, *_members(self.arm)}

    def study(self) -> Schema:
        """Field of a study, other than `extends` and `profiles`, → its schema."""
        point = self.fields("Point")
        fields = self.fields("Header") | {name: point[name] for name in SHARED}
        arm = self.or_grid(self.or_plugin("method", self.union(self.arm)))
        for name, member in (("arms", arm), ("claims", self.define("Claim"))):
            fields[name] = {"description": ABOUT[name], **_mapping(self.or_null(member))}
        fields["arms"]["minProperties"] = int(self.whole)
        return fields

    def fields(self, model: str) -> Schema:
        """Field of the model of this name → its schema, with docstring and default, or a grid of it if the model is in `expanded`;
        for an arm's parameters also the fields of `per_arm`."""
        fields: Schema = {}
        for name, given in self.models[model]["properties"].items():
            inner = self.value(given, model in self.expanded)
            inner = self.or_grid(inner) if model in self.expanded else inner
            # Beside a reference other keywords would be passed over.
            fields[name] = {"allOf": [inner]} | {word: given[word] for word in ("description", "default") if word in given}
        return fields | (self.per_arm if model in self.arms else {})

    def value(self, given: Schema, grids: bool) -> Schema:
        """The schema of a value for `given`, pydantic's: with `grids`, members of lists and mappings may be grids; in an overlay,
        members of mappings also null."""
        if "discriminator" in given:
            return self.or_plugin(_tag(given), self.union(given))
        if "$ref" in given:
            return self.or_plugin("name" if _name(given) == "Data" else "", self.define(_name(given)))
        if options := given.get("anyOf") or given.get("oneOf"):  # oneOf without a discriminator: a function tells them apart
            return {"anyOf": [self.value(option, grids) for option in options]}
        made = {word: given[word] for word in KEYWORDS if word in given}
        if "prefixItems" in given:
            made["items"] = [self.value(item, grids) for item in given["prefixItems"]]
        for word in ("items", "additionalProperties"):
            if isinstance(given.get(word), dict):
                inner = self.value(given[word], grids)
                inner = self.or_grid(inner) if grids else inner  # in a list it multiplies the member
                made[word] = inner if word == "items" else self.or_null(inner)
        return made

    def define(self, model: str, plugin: bool = False) -> Schema:
        """A reference to a definition of the model, with its required fields in a whole spec; with `plugin`, other fields may be
        added."""
        given = self.models[model]
        made = {"description": given["description"], **_closed(self.fields(model)), "additionalProperties": plugin}
        required = {"required": given["required"]} if self.whole and "required" in given else {}
        return {"allOf": [self.share(model, made)], **required}

    def union(self, given: Schema) -> Schema:
        """Schema of one of several models, told apart by a tag such as `method`; with the fields of any of them where the tag is a
        grid or, in an overlay, missing."""
        tag = _tag(given)
        rules = []
        for option in given["oneOf"]:
            then = self.union(option) if "oneOf" in option else self.define(_name(option))
            rules.append({"if": self.tagged(option, tag), "then": then})
        merged = self.share(f"any {tag}", _closed(self.merge(given)))
        rules.append({"if": {"not": self.tagged(given, tag)}, "then": merged})
        return {"type": "object", "allOf": rules} | ({"required": [tag]} if self.whole else {})

    def merge(self, union: Schema) -> Schema:
        """Field → its schema, for every field of any model of the union: whatever one of the models accepts, without defaults. For
        a tag: any of its values, or a grid of them."""
        options: dict[str, dict[str, Schema]] = {}
        for model in _members(union):
            for name, field in self.fields(model).items():
                field = {word: value for word, value in field.items() if word != "default"}
                options.setdefault(name, {})[json.dumps(field)] = field
        tags = {_tag(option) for option in _walk(union) if "discriminator" in option}
        return {
            name: self.or_grid(self.tagged(union, name)["properties"][name]) if name in tags else {"anyOf": list(offered.values())}
            for name, offered in options.items()
        }

    def tagged(self, union: Schema, tag: str) -> Schema:
        """Schema of a mapping whose `tag` has a value that selects a model of the union, or of the one option that is given."""
        fields = [self.models[model]["properties"].get(tag, {}) for model in _members(union)]
        values = [value for field in fields for value in field.get("enum", [field["const"]] if "const" in field else [])]
        return {"type": "object", "required": [tag], "properties": {tag: {"enum": list(dict.fromkeys(values))}}}

    def or_plugin(self, field: str, known: Schema) -> Schema:
        """`known`, or, where the value of `field` has a colon, a plugin: the fields of every plugin, and whatever this one adds.
        `known` alone if `field` names no plugins."""
        if field not in PLUGINS:
            return known
        named = {"type": "string", "pattern": ":"}
        grid = {**GRID, "properties": {"grid": {"type": "array", "contains": named}}}
        when = {"type": "object", "required": [field], "properties": {field: {"anyOf": [named, grid]}}}
        return {"if": when, "then": self.define(PLUGINS[field].__name__, plugin=True), "else": known}

    def or_grid(self, inner: Schema) -> Schema:
        """A reference to a definition, added here: `inner`, or a grid of it; grids nest."""
        name = f"or_grid.{fingerprint('schema', inner)[:8]}"
        values = {"type": "array", "minItems": 1, "items": _ref(name)}
        grid = {**GRID, "properties": {"grid": values}, "additionalProperties": False}
        self.definitions[name] = {"if": GRID, "then": grid, "else": inner}
        return _ref(name)

    def or_null(self, inner: Schema) -> Schema:
        """`inner`; in an overlay also `null`, which removes the member from its mapping."""
        return inner if self.whole else {"if": {"type": "null"}, "then": True, "else": inner}

    def share(self, name: str, made: Schema) -> Schema:
        """Add a schema to the definitions, under `name` with a digest of it, so that equal ones are one definition; returns a
        reference."""
        name = f"{name}.{fingerprint('schema', made)[:4]}"
        self.definitions[name] = made
        return _ref(name)


def _walk(union: Schema) -> Iterator[Schema]:
    """The union, its options and theirs."""
    yield union
    for option in union.get("oneOf", ()):
        yield from _walk(option)


def _members(union: Schema) -> list[str]:
    return [_name(option) for option in _walk(union) if "$ref" in option]


def _tag(union: Schema) -> str:
    return str(union["discriminator"]["propertyName"])


def _name(given: Schema) -> str:
    return str(given["$ref"]).rpartition("/")[2]


def _closed(fields: Schema) -> Schema:
    return {"type": "object", "properties": fields, "additionalProperties": False}


def _mapping(member: Schema) -> Schema:
    return {"type": "object", "additionalProperties": member}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}
