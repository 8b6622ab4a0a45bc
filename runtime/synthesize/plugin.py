"""Methods of a user's package: called like the built-in ones, their releases checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from compiler.language.datasets import Card
from compiler.language.plugins import PluginMethod
from runtime.data.images import LabeledImages
from runtime.data.plugin import load_function
from runtime.data.valid import images_wrong, labels_wrong, whole_wrong

if TYPE_CHECKING:
    from runtime.store.artifacts import Artifact
    from runtime.synthesize.release import Release, Setting


def synthesize(how: PluginMethod, private: LabeledImages, needs: Mapping[str, Artifact], setting: Setting) -> Release:
    """What the user's method makes of a copy of the private set; ValueError if it is no release."""
    given = LabeledImages(private.images.clone(), private.labels.clone())   # other tasks read the private set too
    release = load_function(how.method, how.compute, "synthesize")(how, given, needs, setting)
    for complaint in _complaints(release, how, len(private), setting.card):
        raise ValueError(f"{how.method}: {complaint}")
    return release


def _complaints(release: Any, how: PluginMethod, private: int, card: Card) -> list[str]:
    """What is wrong with a release."""
    from runtime.synthesize.release import Release

    if not isinstance(release, Release):
        return [f"synthesize gave a {type(release).__name__}; it should be a runtime.synthesize.release.Release"]
    found = [*images_wrong(release.images, card), *labels_wrong(release.labels, len(release.images), card)]
    if (release.origins is not None) != how.from_private_images:
        said = f"`from_private_images` is {how.from_private_images}"
        found.append(f"{said}, and the release has {'no ' if release.origins is None else ''}origins; the two belong together")
    elif release.origins is not None:
        found += whole_wrong("origins", release.origins, len(release.images), -1, private - 1)
    if (release.student is not None) != how.gives_student:
        said = f"`gives_student` is {how.gives_student}"
        found.append(f"{said}, and the release has {'no ' if release.student is None else 'a '}student; the two belong together")
    return found
