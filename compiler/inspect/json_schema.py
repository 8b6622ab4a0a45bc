"""The language as a JSON Schema, so that editors complete and check a study while it is written.

Derived from the spec's models: a new field, method or paradigm appears by itself, with its docstring. Beyond the models it knows
what the text may do before it reaches them: a grid wherever a value may be, an arm's own words, `extends` and profiles, in which
everything may be left out and `null` takes an arm, a claim or a group of canaries away.
Not here: what makes sense as a whole (`sema`), which no schema can say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter

from compiler.check.trials import PER_ARM, SHARED
from compiler.language.audit import Audit
from compiler.language.claims import Claim
from compiler.language.data import Data
from compiler.language.field_docs import meanings
from compiler.language.plugins import BASES
from compiler.language.study import Header, Point

Schema = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"
"""The newest that editors understand whole."""
SPEAKS = {"default", "minItems", "pattern", "const", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "type",
          "propertyNames"}
"""What is kept of a single value's schema as pydantic writes it."""
OWN_WORDS = {word: model for word, (_, model) in BASES.items()}
"""The word that can name one of the user's own → what all of these have in common."""
ABOUT = {
    "extends": "A file, relative to this one, that this study changes: mappings merge name by name, anything else replaces.",
    "profiles": "Named overlays of this study, chosen by `--profile NAME`.",
    "arms": "Ways of training that are compared: a paradigm, a method and its parameters. A grid stands for each of its values.",
    "claims": "Hypotheses, written down before the data exist; `synthc run` tests them.",
    "audit": "Fields of the study's audit that this arm changes.",
    "classifier": "Fields of the study's classifier that this arm changes.",
    "exclude": "Points of the arm's grids that are left out: a list of mappings from axis to value.",
}


def schema() -> Schema:
    """The schema of a study's text (draft 7)."""
    return _Language().whole()


def schema_text() -> str:
    """The same as it lies in a file: a definition a line, so that a change of the language is a change of a few lines."""
    whole = schema()
    definitions = whole.pop("definitions")
    head = [f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in whole.items()]
    members = [f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in definitions.items()]
    return "{\n" + ",\n".join(head) + ',\n"definitions": {\n' + ",\n".join(members) + "\n}}\n"


class _Language:
    """Collects definitions. Everything exists twice where it differs: whole, and as a part of something that says the rest."""

    def __init__(self) -> None:
        self.models = {model.__name__: model for model in _reachable(Point, Header, Claim)}
        self.expanded = {model.__name__ for model in _reachable(Point, *OWN_WORDS.values())} - {"Point"}
        """Models in which a grid may stand; what a study says once, and claims, have none."""
        self.given: dict[str, Schema] = {}
        models: list[type[BaseModel]] = [Header, Claim, Point, *OWN_WORDS.values()]
        for model in models:
            made = TypeAdapter(model).json_schema()
            self.given |= made.pop("$defs", {}) | {model.__name__: made}
        self.definitions: dict[str, Schema] = {}
        self._named: dict[str, str] = {}

    def whole(self) -> Schema:
        study, part = self.study(whole=True), self.study(whole=False)
        profiles = _mapping({**part, "properties": _without(part["properties"], "profiles", "extends")})
        for one in (study, part):
            one["properties"]["profiles"] = {"description": ABOUT["profiles"], **profiles}
        self.definitions |= {"study": study, "study.in_part": part}
        return {
            "$schema": DRAFT,
            "title": "a study of synthc",
            "type": "object",
            "if": {"required": ["extends"]},
            "then": _ref("study.in_part"),
            "else": _ref("study"),
            "definitions": dict(sorted(self.definitions.items())),
        }

    def study(self, whole: bool) -> Schema:
        fields = {name: self.field(Header, name, whole, grids=False) for name in Header.model_fields}
        fields |= {part: self.field(Point, part, whole) for part in SHARED}
        arm = self.gridded(self.arm(whole), self._name("arm", whole))
        claim = self.value(self.given["Claim"], whole, grids=False)
        for name, member in (("arms", arm), ("claims", claim)):
            fields[name] = {"description": ABOUT[name], **_mapping(member if whole else _or_null(member))}
            if name == "arms" and whole:
                fields[name]["minProperties"] = 1
        fields["extends"] = {"type": "string", "description": ABOUT["extends"]}
        made = {"type": "object", "properties": fields, "additionalProperties": False}
        return made | ({"required": ["study", "data", "audit", "arms"]} if whole else {})

    def arm(self, whole: bool) -> Schema:
        """An arm: its paradigm's and method's words, and what it changes of the study."""
        own: Schema = {word: self.own_word(word) for word in PER_ARM}
        return self.union(self.given["Point"]["properties"]["arm"], whole, own)

    def own_word(self, word: str) -> Schema:
        if word in Point.model_fields:
            return {"description": ABOUT.get(word, ""), **self.value(self.given["Point"]["properties"][word], whole=False)}
        if word == "exclude":
            point = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}}
            return {"description": ABOUT[word], "type": "array", "items": point}
        return self.field(Header, word, whole=False, grids=False) if word in Header.model_fields else {}

    def field(self, model: type[BaseModel], name: str, whole: bool, grids: bool = True) -> Schema:
        """One field of a model: what its docstring says, its default, what it may be."""
        given = self.given[model.__name__]["properties"][name]
        about = meanings(model).get(name)
        made: Schema = {"description": about} if about else {}
        if not model.model_fields[name].is_required():
            made["default"] = _plain(model.model_fields[name].get_default(call_default_factory=True))
        inner = self.value(given, whole, grids)
        if model is Audit and name == "canaries" and not whole:
            inner["additionalProperties"] = _or_null(inner["additionalProperties"])
        if not grids:
            return {**inner, **made}
        # Beside a reference other words would be passed over.
        return made | {"allOf": [self.gridded(inner, self._name(f"{model.__name__}.{name}", whole))]}

    def value(self, given: Schema, whole: bool, grids: bool = True) -> Schema:
        """What a value may be, grids inside it included."""
        if "discriminator" in given:
            return self.union(given, whole, {})
        if "$ref" in given:
            return self.reference(given["$ref"].rpartition("/")[2], whole)
        if "anyOf" in given:
            return {"anyOf": [self.value(option, whole, grids) for option in given["anyOf"]]}
        made = {word: given[word] for word in given if word in SPEAKS and word != "default"}
        match given.get("type"):
            case "array" if "prefixItems" in given:
                made["items"] = [self.value(item, whole, grids) for item in given["prefixItems"]]
            case "array" if "items" in given:
                made["items"] = self.item(given["items"], whole) if grids else self.value(given["items"], whole, grids)
            case "object" if "properties" in given:
                return self.reference(given.get("title", ""), whole)
            case "object" if isinstance(given.get("additionalProperties"), dict):
                inner = self.value(given["additionalProperties"], whole, grids)
                made["additionalProperties"] = self.gridded(inner) if grids else inner
        return made

    def item(self, given: Schema, whole: bool) -> Schema:
        """A member of a list. A grid in it multiplies the member."""
        return self.gridded(self.value(given, whole), self._name("attack", whole) if "discriminator" in given else None)

    def reference(self, name: str, whole: bool) -> Schema:
        """A model, as a definition of its own."""
        known = _ref(self._defined(self.model(self.models[name], whole), name))
        return self.or_own("name", known, whole, {}) if self.models[name] is Data else known

    def model(self, model: type[BaseModel], whole: bool) -> Schema:
        given = self.given[model.__name__]
        grids = model.__name__ in self.expanded
        fields = {name: self.field(model, name, whole, grids) for name in given["properties"]}
        made = {"description": _first_line(model), "type": "object", "properties": fields, "additionalProperties": False}
        return made | ({"required": given["required"]} if whole and "required" in given else {})

    def union(self, given: Schema, whole: bool, own: Schema) -> Schema:
        """One of several models, told apart by tags such as `method`; any of them where a tag is a grid or not said."""
        tags = list(dict.fromkeys(_tags(given)))
        members = [_Member(model, self.model(model, whole), tags) for model in map(self.models.get, _members(given)) if model]
        rules = []
        for member in members:
            named = self._defined(member.made | {"properties": member.made["properties"] | own}, member.model.__name__)
            rules.append({"if": _tagged(member.words), "then": _ref(named)})
        families: dict[str, list[_Member]] = {}
        for member in members:
            for word in member.words[tags[0]]:
                families.setdefault(word, []).append(member)
        for word, family in families.items():
            if len(family) > 1 or len(family[0].words) > 1:
                unsaid = {"not": {"anyOf": [_tagged(member.words) for member in family]}}
                then = self._any_member(family, tags, own) | ({"required": list(family[0].words)} if whole else {})
                rules.append({"if": {"allOf": [_tagged({tags[0]: [word]}), unsaid]}, "then": then})
        rules.append({"if": {"not": _tagged({tags[0]: list(families)})}, "then": self._any_member(members, tags, own)})
        known = {"type": "object", "allOf": rules} | ({"required": tags[:1]} if whole else {})
        return self.or_own(tags[-1], known, whole, own) if tags[-1] in OWN_WORDS else known

    def or_own(self, word: str, known: Schema, whole: bool, further: Schema) -> Schema:
        """`known`, or words of the user's own where a name has a colon: those of every package, and whatever this one adds."""
        model = OWN_WORDS[word]
        made = self.model(model, whole)
        open_ended = made | {"properties": made["properties"] | further, "additionalProperties": True}
        named = {"type": "string", "pattern": ":"}
        grid = {"type": "object", "required": ["grid"], "properties": {"grid": {"type": "array", "contains": named}}}
        when = {"type": "object", "required": [word], "properties": {word: {"anyOf": [named, grid]}}}
        return {"if": when, "then": _ref(self._defined(open_ended, model.__name__)), "else": known}

    def _any_member(self, members: list[_Member], tags: list[str], own: Schema) -> Schema:
        """Fields of any of several models, each as any of them has it."""
        fields: dict[str, list[Schema]] = {}
        for member in members:
            for name, field in member.made["properties"].items():
                fields.setdefault(name, []).append(_without(field, "default"))
        made = {name: _any_of(options) for name, options in fields.items()}
        for tag in tags:
            if offered := list(dict.fromkeys(word for member in members for word in member.words.get(tag, ()))):
                made[tag] = self.gridded({"enum": offered}, tag)
        return {"type": "object", "properties": made | own, "additionalProperties": False}

    def gridded(self, inner: Schema, name: str | None = None) -> Schema:
        """`inner`, or a grid of it; grids nest."""
        key = "grid " + json.dumps(inner, sort_keys=True)
        if key not in self._named:
            about = inner["$ref"].rpartition("/")[2] if "$ref" in inner else inner.get("type", "value")
            name = self._named[key] = self._free(name or f"{about}.or_grid")
            values = {"type": "array", "minItems": 1, "items": _ref(name)}
            grid = {"type": "object", "properties": {"grid": values}, "required": ["grid"], "additionalProperties": False}
            self.definitions[name] = {"if": {"type": "object", "required": ["grid"]}, "then": grid, "else": inner}
        return _ref(self._named[key])

    def _defined(self, made: Schema, name: str) -> str:
        """The name of a definition of `made`: its fields, and where it must be whole another one that also requires some."""
        if "required" in made:
            fields = self._defined(_without(made, "required"), name)
            made, name = {"allOf": [_ref(fields)], "required": made["required"]}, f"{name}.whole"
        key = json.dumps(made, sort_keys=True)
        if key not in self._named:
            self._named[key] = self._free(name)
            self.definitions[self._named[key]] = made
        return self._named[key]

    def _free(self, name: str) -> str:
        taken, place = name, 2
        while name in self.definitions:
            name, place = f"{taken}.{place}", place + 1
        return name

    def _name(self, name: str, whole: bool) -> str:
        return name if whole else f"{name}.in_part"


@dataclass(frozen=True)
class _Member:
    """A model of a union, its schema, and by which words of which tags it is chosen."""

    model: type[BaseModel]
    made: Schema
    tags: list[str]

    @property
    def words(self) -> dict[str, list[str]]:
        given = {tag: self.model.model_fields[tag].annotation for tag in self.tags if tag in self.model.model_fields}
        return {tag: list(get_args(annotation)) for tag, annotation in given.items()}


def _tagged(words: Schema) -> Schema:
    """What a mapping with these words as its tags is like."""
    return {"type": "object", "required": list(words), "properties": {tag: {"enum": said} for tag, said in words.items()}}


def _reachable(*models: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The models and all that their fields hold."""
    waiting: list[Any] = list(models)
    known: set[Any] = set()
    while waiting:
        found = waiting.pop()
        if isinstance(found, type) and issubclass(found, BaseModel):
            if found not in known:
                known.add(found)
                yield found
                waiting += [field.annotation for field in found.model_fields.values()]
        else:
            waiting += get_args(found)


def _members(given: Schema) -> Iterator[str]:
    for option in given.get("oneOf", ()):
        if "$ref" in option:
            yield option["$ref"].rpartition("/")[2]
        else:
            yield from _members(option)


def _tags(given: Schema) -> Iterator[str]:
    if "discriminator" in given:
        yield given["discriminator"]["propertyName"]
    for option in given.get("oneOf", ()):
        yield from _tags(option)


def _any_of(options: Iterable[Schema]) -> Schema:
    different = list({json.dumps(option, sort_keys=True): option for option in options}.values())
    return different[0] if len(different) == 1 else {"anyOf": different}


def _or_null(inner: Schema) -> Schema:
    return {"if": {"type": "null"}, "then": True, "else": inner}


def _mapping(member: Schema) -> Schema:
    return {"type": "object", "additionalProperties": member}


def _without(fields: Schema, *names: str) -> Schema:
    return {name: field for name, field in fields.items() if name not in names}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _plain(default: Any) -> Any:
    """A default as the text would say it."""
    return json.loads(default.model_dump_json()) if isinstance(default, BaseModel) else default


def _first_line(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())
