"""Parses YAML 1.2 into nodes with locations. The only file that imports a YAML library.

What YAML allows and a study should not say is refused here, each with its location: duplicate keys and anchors, merge keys (`<<`),
tags that build objects, dates, infinities, keys that are not text, aliases that contain themselves.
Not here: what the fields mean (`compiler.language`), where values from several files meet (`compose`).
"""

from __future__ import annotations

import contextlib
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.nodes import Node as YamlNode

from compiler.errors import Diagnostic, Location, SpecError, first_line
from compiler.text.escape import find_hostile

DIRECTIVE = re.compile(r"(?m)^%YAML[ \t]*(\S*)")
BARE = re.compile(r"(?=.*[^\W_])[\w.+-]+|~")
"""A single word or number: letters, digits, `.`, `+`, `-`, `_`, at least one of them a letter or digit; or `~`."""
Value = str | int | float | bool | None

MAX_NODES = 200_000
"""Most nodes of one text with aliases expanded: a few kilobytes of nested aliases could expand to more than fits in memory."""
MAX_DEPTH = 60
MAX_TEXT_BYTES = 200_000
"""Largest file, fifteen times the largest spec here: 3.8 MB took 113 s and 1.35 GB to be refused."""


@dataclass(frozen=True)
class Scalar:
    """A scalar value and its location."""

    value: Value
    location: Location


@dataclass(frozen=True)
class Sequence:
    """A list of nodes and its location."""

    items: tuple[Node, ...]
    location: Location


@dataclass(frozen=True)
class Mapping:
    """Name → node, in the order of the text; `keys`: name → location of the name."""

    items: dict[str, Node]
    keys: dict[str, Location]
    location: Location

    def get(self, *path: str | int) -> Node | None:
        """The node at a path of names and list indices (0 or more, counted from 0); None if there is none. A null in the text is a
        Scalar, not None."""
        node: Node | None = self
        for step in path:
            match node:
                case Mapping(items=named):
                    node = named.get(str(step))
                case Sequence(items=items) if isinstance(step, int) and step < len(items):
                    node = items[step]
                case _:
                    return None
        return node

    def nearest(self, *path: str | int) -> Location:
        """Location of the value at a path, else of the nearest node around it."""
        while path:
            if (node := self.get(*path)) is not None:
                return node.location
            path = path[:-1]
        return self.location

    def location_of(self, name: str) -> Location:
        """Location of a name; that of the mapping if it does not have the name."""
        return self.keys.get(name, self.location)


Node = Scalar | Sequence | Mapping


def plain(node: Node) -> object:
    """The node as plain Python values, without locations."""
    match node:
        case Scalar(value=value):
            return value
        case Sequence(items=items):
            return [plain(item) for item in items]
        case Mapping(items=named):
            return {name: plain(item) for name, item in named.items()}


def read(path: Path) -> Mapping:
    """Parse the file `path`; SpecError when it is missing, unreadable, over MAX_TEXT_BYTES, not UTF-8, no mapping, or refused by
    `parse_value`."""
    start = Location(str(path))
    try:
        if not path.is_file() and path.exists():
            what = "a folder" if path.is_dir() else "not a regular file"
            raise SpecError(Diagnostic("unreadable-file", start, what, "a study is a file of YAML text"))
        with path.open("rb") as handle:
            content = handle.read(MAX_TEXT_BYTES + 1)
    except FileNotFoundError:
        raise SpecError(Diagnostic("missing-file", start, "there is no such file", _list_specs(path))) from None
    except OSError as error:
        raise SpecError(Diagnostic("unreadable-file", start, f"cannot be read: {error.strerror}")) from error
    if len(content) > MAX_TEXT_BYTES:
        what = f"over {MAX_TEXT_BYTES:,} bytes are too many for a study"
        raise SpecError(Diagnostic("too-large", start, what, "use grids, profiles and `extends`"))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        what = f"byte 0x{content[error.start]:02x} is not UTF-8"
        raise SpecError(Diagnostic("not-utf8", Location(str(path), line, column), what, "save the file as UTF-8")) from None
    return parse(text, str(path))


def parse(text: str, name: str) -> Mapping:
    """Parse a text that must be a mapping; `name` is the file in locations. SpecError for any other node, and as for
    `parse_value`."""
    node = parse_value(text, name)
    if isinstance(node, Mapping):
        return node
    empty = isinstance(node, Scalar) and node.value is None
    what = "nothing" if empty else "a list" if isinstance(node, Sequence) else "a single value"
    hint = "a study is a mapping such as `study: my_study`"
    raise SpecError(Diagnostic("not-a-mapping", node.location, f"the file holds {what}", hint))


def parse_value(text: str, name: str) -> Node:
    """Parse a text that may be any node, such as the value of `--set`; an empty text is null. `name` is the file in locations.
    SpecError for a text that is not YAML 1.2, holds several documents, hostile characters, names with tabs or line breaks, whole
    numbers of absolute value 2^63 or more, more than MAX_NODES nodes, aliases unfolded, or more than MAX_DEPTH levels below the
    top, or uses what the module's docstring excludes."""
    if (directive := DIRECTIVE.search(text)) and directive[1] != "1.2":
        at = Location(name, text.count("\n", 0, directive.start()) + 1)
        what = f"the directive %YAML {directive[1]}: a study is YAML 1.2, in which `yes`, `on` and 010 are read otherwise"
        raise SpecError(Diagnostic("yaml-version", at, what, "leave the directive out, and write true or false"))
    yaml = YAML(typ="safe", pure=True)  # the round-trip loader also gathers comments, a fifth of the time
    yaml.composer.warn_double_anchors = False  # `_Reader` reports them with a location
    try:
        documents = list(yaml.compose_all(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        location = Location(name, mark.line + 1, mark.column + 1) if mark else Location(name)
        what = " ".join(str(error.problem or error.context or error).split())
        raise SpecError(Diagnostic("not-yaml", location, f"not YAML: {what}")) from None
    except RecursionError:
        raise SpecError(Diagnostic("too-deep", Location(name), "nested too deeply", f"at most {MAX_DEPTH} levels")) from None
    except (YAMLError, ValueError, TypeError, AttributeError, KeyError, IndexError, AssertionError, NotImplementedError) as error:
        # ruamel raises various exceptions for some malformed directives, escapes and characters.
        raise SpecError(Diagnostic("not-yaml", Location(name), f"not YAML: {first_line(error)}")) from None
    if len(documents) > 1:
        what = "the file holds several documents (`---`)"
        raise SpecError(Diagnostic("several-documents", _location(documents[1], name), what, "a study is one"))
    if not documents or documents[0] is None:
        return Scalar(None, Location(name))
    reader = _Reader(name, yaml)
    try:
        node = reader.node(documents[0], 0)
    except SpecError as error:
        raise SpecError(*reader.problems, *error.diagnostics) from None
    if reader.problems:
        raise SpecError(*reader.problems)
    return node


def parse_word(text: str, name: str) -> Node:
    """Parse the value of an option such as `--set`; `name` is the option in locations.

    A mapping in braces, a list in brackets, a text in quotes, a single word and several lines are YAML; any other text stands for
    itself, without spaces at its ends, whatever signs are in it. An empty text is null. SpecError as for `parse_value`, for hostile
    characters, and for a comment after YAML in one line.
    """
    text = text.strip()
    if not text or "\n" in text or BARE.fullmatch(text):
        return parse_value(text, name)
    if text[0] not in "{['\"":
        if letter := find_hostile(text):
            raise SpecError(Diagnostic("letter", Location(name), f"the letter {letter} in {text[:40]!r}", "leave it out"))
        return Scalar(text, Location(name))
    hint = "for a text with such signs, quote it twice: --set 'path=\"…\"'"
    try:
        node = parse_value(text, name)
    except SpecError as error:
        raise SpecError(*(replace(one, hint=one.hint or hint) for one in error.diagnostics)) from None
    try:
        parse_value(f"{text} ]", name)  # only a comment makes a closing bracket harmless
    except SpecError:
        return node
    raise SpecError(Diagnostic("not-yaml", Location(name), "what follows ` #` would be cut off as a comment", hint))


class _Reader:
    """Converts ruamel's nodes to Scalar, Sequence and Mapping, and collects diagnostics. SpecError where nodes are too many, with
    aliases expanded, or nested too deeply."""

    def __init__(self, name: str, yaml: YAML) -> None:
        self.name, self.problems = name, list[Diagnostic]()
        self._seen = 0
        self._anchors: dict[str, YamlNode] = {}
        self._construct = yaml.constructor

    def node(self, node: YamlNode, depth: int) -> Node:
        location = _location(node, self.name)
        self._seen += 1
        if self._seen > MAX_NODES:
            what = f"more than {MAX_NODES:,} values once aliases are unfolded"
            raise SpecError(Diagnostic("too-large", location, what, "write them out"))
        if depth > MAX_DEPTH:
            what = "nested too deeply, or an alias that holds itself"
            raise SpecError(Diagnostic("too-deep", location, what, f"at most {MAX_DEPTH} levels"))
        if node.anchor and self._anchors.setdefault(node.anchor, node) is not node:
            first = _location(self._anchors[node.anchor], self.name)
            what = f"the anchor &{node.anchor} was used before, at line {first.line}"
            self._complain("anchor", location, what, "name it otherwise")
        match node:
            case MappingNode():
                self._refuse_tag(node, "map", location)
                return self._mapping(node, location, depth)
            case SequenceNode():
                self._refuse_tag(node, "seq", location)
                return Sequence(tuple(self.node(item, depth + 1) for item in node.value), location)
            case _:
                assert isinstance(node, ScalarNode)
                return Scalar(self._scalar(node, location), location)

    def _mapping(self, node: MappingNode, location: Location, depth: int) -> Mapping:
        items: dict[str, Node] = {}
        keys: dict[str, Location] = {}
        for key, value in node.value:
            at = _location(key, self.name)
            if not isinstance(key, ScalarNode):
                self._complain("key-not-text", at, "a name must be plain text, not a list or a mapping")
                continue
            name = self._text(key, at)
            if "\n" in name or "\t" in name:
                self._complain("letter", at, f"the name {name[:40]!r} has more than one line, or a tab", "write it in one")
            if name == "<<" and not key.style:
                self._complain("merge-key", at, "merge keys (`<<`) are not part of the language", "use `extends:` or a profile")
            elif name in items:
                self._complain("duplicate-key", at, f"{name!r} was said before, at line {keys[name].line}", "keep one of them")
            else:
                keys[name] = at
                items[name] = self.node(value, depth + 1)
        return Mapping(items, keys, location)

    def _scalar(self, node: ScalarNode, location: Location) -> Value:
        """The value of a scalar: None for null and, with a diagnostic kept, for dates, numbers that `_number` refuses, and tags
        that are not part of the language."""
        tag, text = str(node.tag).rpartition(":")[2], str(node.value)
        match tag:
            case "str":
                return self._text(node, location)
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int" | "float":
                return self._number(node, text, location)
            case "timestamp":
                self._complain("date", location, f"{text} reads as a date", f"write '{text}' for text")
                return None
        self._complain("tag", location, f"the tag {node.tag} is not part of the language", "write a plain value")
        return None

    def _number(self, node: ScalarNode, text: str, location: Location) -> Value:
        """The number; None, with a diagnostic kept, for a text that is none, one that is not finite, or a whole one of absolute
        value 2^63 or more."""
        try:
            value = self._construct.construct_object(node, deep=True)
            number = float(value) if isinstance(value, float) else int(value)
        except (ValueError, TypeError, OverflowError):
            self._complain("number", location, f"{text!r} is not a number", "quote it for text")
            return None
        if isinstance(number, float) and not math.isfinite(number):
            self._complain("not-finite", location, f"{text} is not a finite number", "use null, or a number")
            return None
        if isinstance(number, int) and abs(number) >= 1 << 63:
            self._complain("number", location, f"{text} is too large a number", "at most 2^63 - 1")
            return None
        return number

    def _text(self, node: ScalarNode, location: Location) -> str:
        """The text of a scalar, in which surrogate pairs (from JSON escapes) are joined; keeps a diagnostic for hostile characters
        in it."""
        text = str(node.value)
        if letter := find_hostile(text):
            with contextlib.suppress(UnicodeDecodeError):  # JSON escapes characters beyond 16 bits as surrogate pairs
                text = text.encode("utf-16", "surrogatepass").decode("utf-16")
                letter = find_hostile(text)
            if letter:
                what = f"the letter {letter} in {text[:40]!r}: a control character, or no letter at all"
                self._complain("letter", location, what, "leave it out")
        return text

    def _refuse_tag(self, node: YamlNode, expected: str, location: Location) -> None:
        if str(node.tag).rpartition(":")[2] != expected:
            self._complain("tag", location, f"the tag {node.tag} is not part of the language", "write a plain value")

    def _complain(self, code: str, location: Location, message: str, hint: str = "") -> None:
        self.problems.append(Diagnostic(code, location, message, hint))


def _location(node: YamlNode, name: str) -> Location:
    return Location(name, node.start_mark.line + 1, node.start_mark.column + 1)


def _list_specs(path: Path) -> str:
    """Text for a hint: up to eight YAML files in the folder of `path`; how to write a spec if there is none."""
    specs = sorted(str(other) for pattern in ("*.yaml", "*.yml") for other in path.parent.glob(pattern))
    return f"there are: {', '.join(specs[:8])}" if specs else "`synthc init NAME` writes a starter"
