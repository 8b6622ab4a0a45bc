"""Composes a study from several texts: `extends`, `profiles`, `--set`. Every node keeps the location where it was written.

Mappings merge name by name, the later text on top; lists, values and grids replace. In a later text `null` takes an arm, a
claim, a silenced lint or a group of canaries away, and a classifier with a `preset` replaces the earlier one whole.
Not here: what the fields mean (`compiler.language`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Sequence as Many
from pathlib import Path

from compiler.errors import Diagnostic, Location, SpecError, did_you_mean
from compiler.text.escape import find_hostile
from compiler.text.nodes import Mapping, Node, Scalar, parse_word, plain, read

PROFILE = re.compile(r"[^\W_][\w.-]*")
MAX_NAME_BYTES = 100
"""Longest name of a study or profile, since files are named after both."""
REMOVABLE = (("arms",), ("claims",), ("allow",), ("audit", "canaries"))
"""Mappings from which a later text can remove members by `null`; elsewhere null is a value."""


def compose(path: Path, profile: str | None = None, sets: Many[str] = ()) -> Mapping:
    """The composed study, without its `extends` and `profiles`: the specs that it extends, the file, the profile, then each
    `PATH=VALUE` of `sets`, the later on top.

    SpecError for a file that `read` refuses, an `extends` that names no single file, a missing one or a circle, `profiles` that are
    no mapping, names that no profile can have, a profile that is unknown or no mapping, and a text of `sets` that is no assignment,
    has a hostile letter in its path, or a value that `parse_word` refuses.
    """
    tree = _read_extended(path, ())
    if problems := list(_check_profiles(tree)):
        raise SpecError(*problems)
    if profile is not None:
        tree = merge(tree, _find_profile(tree, profile))
    for assignment in sets:
        tree = _assigned(tree, assignment)
    return _without(tree, "profiles", "extends")


def sources(path: Path) -> dict[str, str]:
    """Path → text of the spec, then of each spec that it extends, for the run's record; paths are joined as they are written, not
    resolved. Meant for a study that `compose` accepts: of others an `extends` that is no text or a circle ends the search, and
    files that cannot be read raise OSError, UnicodeDecodeError or SpecError."""
    texts: dict[str, str] = {}
    while str(path) not in texts:
        texts[str(path)] = path.read_text(encoding="utf-8-sig")
        base = read(path).items.get("extends")
        if isinstance(base, Scalar) and isinstance(base.value, str):
            path = path.parent / base.value
    return texts


def _read_extended(path: Path, below: tuple[Path, ...]) -> Mapping:
    """The file's tree on top of those that it extends; `below`: resolved paths of the files that led here. SpecError where
    `extends` names no single file, a missing one or one of `below`, and for a file that `read` refuses."""
    tree = read(path)
    base = tree.items.get("extends")
    if base is None:
        return tree
    if not isinstance(base, Scalar) or not isinstance(base.value, str):
        what = "`extends` must be the name of one file"
        raise SpecError(Diagnostic("extends", base.location, what, "such as `extends: base.yaml`"))
    target = path.parent / base.value
    chain = (*below, path.resolve())
    if target.resolve() in chain:
        what = f"files extend each other in a circle: {' → '.join(file.name for file in (*chain, target))}"
        raise SpecError(Diagnostic("extends-circle", base.location, what, "drop one `extends`"))
    if not target.is_file():
        what = f"extends {base.value!r}, but there is no file {target}"
        raise SpecError(Diagnostic("missing-file", base.location, what, "paths are relative to this file"))
    return merge(_read_extended(target, chain), tree)


def _check_profiles(tree: Mapping) -> Iterator[Diagnostic]:
    """Diagnostics for `profiles` that are no mapping (null is none), and for names of profiles that do not match PROFILE, such as
    the empty name, or are over MAX_NAME_BYTES: files and rows of the database are named after profiles."""
    profiles = tree.items.get("profiles")
    if profiles is not None and not isinstance(profiles, Mapping) and plain(profiles) is not None:
        hint = "name each profile, with the fields that it changes"
        yield Diagnostic("profile", profiles.location, "`profiles` is not a mapping", hint)
    named = profiles if isinstance(profiles, Mapping) else tree
    for name in profiles.items if isinstance(profiles, Mapping) else ():
        if not PROFILE.fullmatch(name) or len(name.encode()) > MAX_NAME_BYTES:
            hint = f"use letters, digits, dots, hyphens and underscores, at most {MAX_NAME_BYTES} bytes, a letter or digit first"
            yield Diagnostic("profile", named.location_of(name), f"{name[:60]!r} cannot be the name of a profile", hint)


def _find_profile(tree: Mapping, name: str) -> Mapping:
    """The profile of this name; SpecError where it is unknown or no mapping."""
    profiles = tree.items.get("profiles")
    known = profiles.items if isinstance(profiles, Mapping) else {}
    location = profiles.location if profiles is not None else tree.location
    if name not in known:
        hint = did_you_mean(name, known) if known else "the study has no `profiles:`"
        raise SpecError(Diagnostic("unknown-profile", location, f"no profile is called {name!r}", hint))
    overlay = known[name]
    if not isinstance(overlay, Mapping):
        what = f"the profile {name!r} is not a mapping"
        raise SpecError(Diagnostic("profile", overlay.location, what, "write the fields that it changes"))
    return overlay


def _assigned(tree: Mapping, assignment: str) -> Mapping:
    """The tree in which an assignment such as `audit.shadows=32` replaces the node at that path, or adds it; names on the path move
    to the end of their mappings. Whatever on the way is no mapping, or a grid, is replaced by a mapping. As in `merge`, null
    removes a member of a REMOVABLE mapping, and a `preset` drops the classifier's other fields. SpecError for a text that is no
    assignment, for a hostile letter in the path, and as for `parse_word`."""
    path, equals, text = assignment.partition("=")
    names = path.split(".")
    location = Location(f"--set {assignment}", 1, len(path) + 2)
    if not equals or not all(names):
        hint = "write path.to.field=value, such as --set audit.shadows=32"
        raise SpecError(Diagnostic("set", location, "not an assignment", hint))
    if letter := find_hostile(path):
        raise SpecError(Diagnostic("letter", location, f"the letter {letter} in a name", "leave it out"))
    node = parse_word(text, f"--set {assignment}")

    def put(below: Node | None, path: tuple[str, ...], names: Many[str]) -> Node:
        if not names:
            return node
        old = below if isinstance(below, Mapping) and not is_grid(below) else Mapping({}, {}, location)
        name, *further = names
        above = put(old.items.get(name), (*path, name), further)
        emptied = Mapping({key: item for key, item in old.items.items() if key != name}, old.keys, old.location)
        return merge(emptied, Mapping({name: above}, {name: location}, location), path)

    made = put(tree, (), names)
    assert isinstance(made, Mapping)
    return made


def is_grid(node: Node) -> bool:
    """Whether a node is a grid: a mapping whose only key is `grid`."""
    return isinstance(node, Mapping) and list(node.items) == ["grid"]


def merge(below: Mapping, above: Mapping, path: tuple[str, ...] = ()) -> Mapping:
    """A new tree: `below` and `above` merged name by name, where two mappings of one name are merged if neither is a grid, and else
    the node of `above` replaces that of `below`; new names come last. `path` is their place in the study. A null in `above` removes
    the member of a REMOVABLE mapping that both have; a classifier in `above` with a `preset` replaces all of that in `below`."""
    if path[-1:] == ("classifier",) and "preset" in above.items:
        return above  # a preset replaces all fields of an earlier recipe, which are not meant for it
    items, keys = dict(below.items), dict(below.keys)
    for name, node in above.items.items():
        old = items.get(name)
        if path in REMOVABLE and isinstance(node, Scalar) and node.value is None:
            items.pop(name, None)
            keys.pop(name, None)
            continue
        if isinstance(old, Mapping) and isinstance(node, Mapping) and not is_grid(old) and not is_grid(node):
            node = merge(old, node, (*path, name))
        items[name], keys[name] = node, above.keys[name]
    return Mapping(items, keys, above.location if not below.items else below.location)


def _without(tree: Mapping, *names: str) -> Mapping:
    return Mapping({name: node for name, node in tree.items.items() if name not in names}, tree.keys, tree.location)
