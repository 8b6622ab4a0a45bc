"""Reads data sets of plug-ins by their function, and checks them against the declared card."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch

from compiler.errors import SynthcError
from compiler.language.datasets import Card
from compiler.language.plugins import PluginData
from runtime.data.images import LabeledImages, content_digest
from runtime.data.valid import images_wrong, whole_wrong


def load_function(name: str, module: str, function: str) -> Callable[..., Any]:
    """The callable `function` of the plug-in's `module`, which is imported; `name`: the plug-in's, for the error. SynthcError if
    the module cannot be imported, or has no such callable."""
    try:
        found = getattr(importlib.import_module(module), function, None)
    except ImportError as error:
        raise SynthcError(f"{name}: its module {module} cannot be imported: {error}") from error
    if not callable(found):
        raise SynthcError(f"{name}: its module {module} has no function {function}")
    return found


def read(how: PluginData, card: Card) -> tuple[LabeledImages, LabeledImages | None]:
    """Pool and test split (None without one) of a plug-in's data set, from the function `read` of its module. SynthcError if they
    do not agree with the card in counts, shape, uint8, labels or, for a set without a path whose card has a digest, in the digest
    of the content, and as of `load_function`. What the function raises is passed on."""
    pool, test = load_function(how.name, how.compute, "read")(how)
    for name, part, count in (("pool", pool, card.samples), ("test split", test, card.test_samples)):
        if part is None and not count:
            continue
        if part is None or len(part) != count:
            raise SynthcError(f"{how.name}: its {name} has {0 if part is None else len(part)} images, its card says {count}")
        wrong = images_wrong(part.images, card) + whole_wrong("labels", part.labels, count, 0, card.classes - 1)
        if part.images.dtype != torch.uint8:
            wrong.append(f"images are {part.images.dtype}; they should be uint8")
        for complaint in wrong:
            raise SynthcError(f"{how.name}: {complaint}")
    if (
        how.path is None and card.digest and (found := content_digest(pool, test)) != card.digest
    ):  # with a path, the digest is that of the files
        raise SynthcError(f"{how.name}: its images have the digest {found}, its card says {card.digest}")
    return pool, test
