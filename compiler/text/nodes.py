"""YAML 1.2 text → nodes that know their place. The only file that knows YAML.

What YAML allows and a study should not say is refused here, each with its place: duplicate keys and anchors, merge keys (`<<`),
tags that build objects, dates, infinities, keys that are not text, aliases that unfold without end.
Not here: what the words mean (`spec`), where values from several files meet (`compose`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.nodes import Node as YamlNode

from compiler.errors import Diagnostic, Place, SpecError

Value = str | int | float | bool | None

MOST_NODES = 200_000
"""Of one text, aliases unfolded: a few kilobytes of nested aliases could stand for more nodes than any memory holds."""
DEEPEST = 60
LARGEST = 4_000_000
"""Bytes of one text."""


@dataclass(frozen=True)
class Scalar:
    """One value, and where it was written."""

    value: Value
    place: Place


@dataclass(frozen=True)
class Sequence:
    """Nodes in order."""

    items: tuple[Node, ...]
    place: Place


@dataclass(frozen=True)
class Mapping:
    """Nodes by name, in the order of the text; `keys` says where each name was written."""

    items: dict[str, Node]
    keys: dict[str, Place]
    place: Place

    def get(self, *path: str) -> Node | None:
        """The node at a path of names, None if there is none."""
        node: Node | None = self
        for name in path:
            node = node.items.get(name) if isinstance(node, Mapping) else None
        return node

    def nearest(self, *path: str) -> Place:
        """Where the value at a path of names was written, else where the nearest thing around it was."""
        while path:
            if (node := self.get(*path)) is not None:
                return node.place
            path = path[:-1]
        return self.place

    def place_of(self, name: str) -> Place:
        """Where a name was written; the mapping's own place if it was not."""
        return self.keys.get(name, self.place)


Node = Scalar | Sequence | Mapping


def plain(node: Node) -> object:
    """The node as Python values, places forgotten."""
    match node:
        case Scalar(value=value):
            return value
        case Sequence(items=items):
            return [plain(item) for item in items]
        case Mapping(items=named):
            return {name: plain(item) for name, item in named.items()}


def read(path: Path) -> Mapping:
    """The study in the file `path`; SpecError when it is missing, not UTF-8, not YAML, or not a mapping."""
    start = Place(str(path))
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise SpecError([Diagnostic("missing-file", start, "there is no such file", _neighbours(path))]) from None
    except OSError as error:
        raise SpecError([Diagnostic("unreadable-file", start, f"cannot be read: {error.strerror}")]) from error
    if len(content) > LARGEST:
        raise SpecError(
            [Diagnostic("too-large", start, f"{len(content):,} bytes are too many for a study", f"at most {LARGEST:,}")]
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        found = Diagnostic(
            "not-utf8", Place(str(path), line, column), f"byte 0x{content[error.start]:02x} is not UTF-8", "save the file as UTF-8"
        )
        raise SpecError([found]) from None
    return parse(text, str(path))


def parse(text: str, name: str) -> Mapping:
    """The mapping that `text` holds; `name` stands for its file in places."""
    node = parse_value(text, name)
    if isinstance(node, Mapping):
        return node
    what = (
        "nothing"
        if isinstance(node, Scalar) and node.value is None
        else "a list"
        if isinstance(node, Sequence)
        else "a single value"
    )
    hint = "a study is a mapping such as `study: my_study`"
    raise SpecError([Diagnostic("not-a-mapping", node.place, f"the file holds {what}", hint)])


def parse_value(text: str, name: str) -> Node:
    """Whatever `text` holds: also single values, as `--set` gives them."""
    yaml = YAML(typ="safe", pure=True)   # the round-trip loader also gathers comments, a fifth of the time
    yaml.composer.warn_double_anchors = False   # `_Reader` complains, with a place
    try:
        documents = list(yaml.compose_all(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(name, mark.line + 1, mark.column + 1) if mark else Place(name)
        raise SpecError(
            [Diagnostic("not-yaml", place, f"not YAML: {' '.join(str(error.problem or error.context or error).split())}")]
        ) from None
    except RecursionError:
        raise SpecError([Diagnostic("too-deep", Place(name), "nested too deeply", f"at most {DEEPEST} levels")]) from None
    except (YAMLError, ValueError, TypeError, AttributeError, KeyError, IndexError, AssertionError, NotImplementedError) as error:
        # ruamel meets some malformed directives, escapes and characters with whatever exception comes first.
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise SpecError([Diagnostic("not-yaml", Place(name), f"not YAML: {first}")]) from None
    if len(documents) > 1:
        raise SpecError(
            [
                Diagnostic(
                    "several-documents", _place(documents[1], name), "the file holds several documents (`---`)", "a study is one"
                )
            ]
        )
    if not documents or documents[0] is None:
        return Scalar(None, Place(name))
    reader = _Reader(name, yaml)
    try:
        node = reader.node(documents[0], 0)
    except _Endless as endless:
        raise SpecError([*reader.found, endless.diagnostic]) from None
    if reader.found:
        raise SpecError(reader.found)
    return node


class _Endless(Exception):
    """The text unfolds into too much to go on reading."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        self.diagnostic = diagnostic
        super().__init__(str(diagnostic))


class _Reader:
    """Turns YAML nodes into ours, and collects what is wrong with them."""

    def __init__(self, name: str, yaml: YAML) -> None:
        self.name, self.found = name, list[Diagnostic]()
        self._seen = 0
        self._anchors: dict[str, YamlNode] = {}
        self._construct = yaml.constructor

    def node(self, node: YamlNode, depth: int) -> Node:
        place = _place(node, self.name)
        self._seen += 1
        if self._seen > MOST_NODES:
            raise _Endless(
                Diagnostic("too-large", place, f"more than {MOST_NODES:,} values once aliases are unfolded", "write them out")
            )
        if depth > DEEPEST:
            raise _Endless(
                Diagnostic("too-deep", place, "nested too deeply, or an alias that holds itself", f"at most {DEEPEST} levels")
            )
        if node.anchor and self._anchors.setdefault(node.anchor, node) is not node:
            first = _place(self._anchors[node.anchor], self.name)
            self._complain("anchor", place, f"the anchor &{node.anchor} was used before, at line {first.line}", "name it otherwise")
        match node:
            case MappingNode():
                self._refuse_tag(node, "map", place)
                return self._mapping(node, place, depth)
            case SequenceNode():
                self._refuse_tag(node, "seq", place)
                return Sequence(tuple(self.node(item, depth + 1) for item in node.value), place)
            case _:
                assert isinstance(node, ScalarNode)
                return Scalar(self._scalar(node, place), place)

    def _mapping(self, node: MappingNode, place: Place, depth: int) -> Mapping:
        items: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        for key, value in node.value:
            at = _place(key, self.name)
            if not isinstance(key, ScalarNode):
                self._complain("key-not-text", at, "a name must be plain text, not a list or a mapping")
                continue
            name = str(key.value)
            if name == "<<" and not key.style:
                self._complain("merge-key", at, "merge keys (`<<`) are not part of the language", "use `extends:` or a profile")
            elif name in items:
                self._complain("duplicate-key", at, f"{name!r} was said before, at line {keys[name].line}", "keep one of them")
            else:
                keys[name] = at
                items[name] = self.node(value, depth + 1)
        return Mapping(items, keys, place)

    def _scalar(self, node: ScalarNode, place: Place) -> Value:
        tag, text = str(node.tag).rpartition(":")[2], str(node.value)
        match tag:
            case "str":
                return text
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int" | "float":
                return self._number(node, text, place)
            case "timestamp":
                self._complain("date", place, f"{text} reads as a date", f"write '{text}' for text")
                return None
        self._complain("tag", place, f"the tag {node.tag} is not part of the language", "write a plain value")
        return None

    def _number(self, node: ScalarNode, text: str, place: Place) -> Value:
        try:
            value = self._construct.construct_object(node, deep=True)
            number = float(value) if isinstance(value, float) else int(value)
        except (ValueError, TypeError, OverflowError):
            self._complain("number", place, f"{text!r} is not a number", "quote it for text")
            return None
        if isinstance(number, float) and not math.isfinite(number):
            self._complain("not-finite", place, f"{text} is not a finite number", "use null, or a number")
            return None
        if isinstance(number, int) and abs(number) >= 1 << 63:
            self._complain("number", place, f"{text} is too large a number", "at most 2^63 - 1")
            return None
        return number

    def _refuse_tag(self, node: YamlNode, expected: str, place: Place) -> None:
        if str(node.tag).rpartition(":")[2] != expected:
            self._complain("tag", place, f"the tag {node.tag} is not part of the language", "write a plain value")

    def _complain(self, code: str, place: Place, message: str, hint: str = "") -> None:
        self.found.append(Diagnostic(code, place, message, hint))


def _place(node: YamlNode, name: str) -> Place:
    return Place(name, node.start_mark.line + 1, node.start_mark.column + 1)


def _neighbours(path: Path) -> str:
    """Hint: the specs that do lie in that folder."""

    def specs() -> Iterator[str]:
        yield from sorted(str(other) for pattern in ("*.yaml", "*.yml") for other in path.parent.glob(pattern))

    listed = list(specs())[:8] if path.parent.is_dir() else []
    return f"there are: {', '.join(listed)}" if listed else "`synthc init NAME` writes a starter"
