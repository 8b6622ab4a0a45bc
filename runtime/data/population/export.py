"""Writes private sets and queries as files, so that a study can audit a pipeline that synthc does not run.

    membership.json                      study, data set, and the meaning of the files
    shadows/replicate-0-shadow-000.npz   `indices` and `labels` of the private set of a shadow, in shuffled order
    further.npz                          `images` of indices beyond the data set: canaries from elsewhere, near copies
    images.npz                           optional: `images` of all indices, those of `further.npz` included
    queries.npz                          optional: `images` with which classifiers are queried, for `method: logits`
    audit-only/canaries.npz              the canaries. If the pipeline reads it, the audit is not valid

Labels are those to train with: some are wrong on purpose. Not here: reading the pipeline's files (`imported`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compiler.check.imported_files import file_name
from compiler.errors import SynthcError
from compiler.fingerprint import fingerprint
from compiler.language.audit import Design, Queries
from compiler.work.operations import Population, Private
from runtime.data.population.membership import membership
from runtime.data.population.queries import query_images, views
from runtime.data.population.roles import PrivateSet, extra_images, private_set, roles_of, sample_ids
from runtime.data.sources import balanced_part, load
from runtime.store.files import atomic_write

ABOUT = {
    "shadows": "indices: which images a shadow trains on; labels: with which label, some are wrong on purpose",
    "indices": "rows of the data set's training images as they come; from `samples` on, images of further.npz (or images.npz)",
    "answers": "an .npz per shadow by the same name: images, labels (and origins: indices, -1 for none), or logits of queries.npz",
    "audit-only": "canaries. A pipeline that reads them is not the one that would run without an audit",
}


@dataclasses.dataclass(frozen=True)
class Splits:
    """Settings of private sets that all trials of a study have in common."""

    study: str
    population: Population
    design: Design
    shadows: int
    replicates: int
    queries: Queries

    @property
    def id(self) -> str:
        """Digest that identifies the private sets of a folder: of the population, the design and, in a balanced design alone, the
        number of shadows. The study's name, queries and replicates do not enter it."""
        return fingerprint("membership", self.population, self.design, self.shadows if self.design == "balanced" else None)

    def private(self, replicate: int, shadow: int) -> Private:
        pool = self.shadows if self.design == "balanced" else None
        return Private(self.population, self.design, replicate, shadow, pool)


def rows_of_table(private: Private, known: PrivateSet) -> Tensor:
    """n, int64: index in the exported files (see `_table`) of each row of `known`, the private set of `private`."""
    return _table(private.population)[known.sample_ids]


def _table(population: Population) -> Tensor:
    """sample id, int64: index of that image in the exported files. For an image of the data set it is the row in the whole pool,
    not in the study's subset; the images of `extra_images` follow, in their order, from the size of the whole pool on."""
    whole = load(dataclasses.replace(population.dataset, subset=None)).pool
    subset = population.dataset.subset
    part = balanced_part(whole.labels, subset) if subset is not None and subset < len(whole) else torch.arange(len(whole))
    return torch.cat([part, torch.arange(len(extra_images(population))) + len(whole)])


def write(folder: Path, splits: Splits, *, images: bool = False, queries: bool = False) -> list[Path]:
    """Write the files that the module's docstring lists into `folder`, which is made, over older ones of the same `splits.id`;
    returns their paths, `membership.json` last. With `images` there is `images.npz` in place of `further.npz`, which without it is
    left out if empty; `queries.npz` only with `queries`. Older files that are not written again stay.

    SynthcError where the folder has a `membership.json` of another id or one that cannot be read, or cannot be written; errors of
    the data as of `sources.load`."""
    mark = folder / "membership.json"
    _refuse_another(mark, splits)
    population = splits.population
    further, whole = extra_images(population), load(dataclasses.replace(population.dataset, subset=None)).pool
    made: list[Path] = []

    def save(name: str, **arrays: Tensor | np.ndarray) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, synced=False) as beside, beside.open("wb") as handle:
            plain: Mapping[str, Any] = {key: np.asarray(array) for key, array in arrays.items()}
            np.savez(handle, allow_pickle=False, **plain)
        made.append(path)

    try:
        for replicate in range(splits.replicates):
            for shadow in range(splits.shadows):
                private = splits.private(replicate, shadow)
                known = private_set(private)
                save(f"shadows/{file_name(replicate, shadow)}", indices=rows_of_table(private, known), labels=known.data.labels)
        if images:
            save("images.npz", images=torch.cat([whole.images, further]))
        elif len(further):
            save("further.npz", images=further)
        if queries:
            save("queries.npz", images=_queries(splits))
        save("audit-only/canaries.npz", **_canaries(splits))
        _say(mark, splits, len(whole), len(further))
    except OSError as error:
        raise SynthcError(f"{folder}: cannot be written: {error.strerror}; name another folder") from error
    return [*made, mark]


def _queries(splits: Splits) -> Tensor:
    """n × channels × height × width, uint8: every view of canaries and z samples, in the order of `query_images`, all views of an
    image together; then the images of the test set, each once."""
    seen = [views(images, splits.queries).flatten(0, 1) for _, images in query_images(splits.population)]
    return torch.cat([*seen, roles_of(splits.population).test.images])


def _canaries(splits: Splits) -> dict[str, Any]:
    """Name → array over canaries: `indices` (in the exported files), `labels` (to train with), `true_labels` (-1 for none), `group`
    (its name); and `member`, bool, replicate × canary × shadow."""
    groups = roles_of(splits.population).groups
    member = [membership(splits.population, splits.design, replicate, splits.shadows) for replicate in range(splits.replicates)]
    return {
        "indices": _table(splits.population)[torch.cat([where[:, 0] for where in sample_ids(splits.population)])],
        "labels": torch.cat([group.labels for group in groups]),
        "true_labels": torch.cat([group.true_labels for group in groups]),
        "group": np.concatenate([np.full(len(group), group.name) for group in groups]),
        "member": np.stack(member),
    }


def _say(mark: Path, splits: Splits, samples: int, further: int) -> None:
    dataset = splits.population.dataset
    said = {
        "id": splits.id,
        "study": splits.study,
        "data": {"name": dataset.name, "digest": dataset.digest, "shape": dataset.shape, "classes": dataset.card.classes},
        "samples": samples,
        "further": further,
        "shadows": splits.shadows,
        "replicates": splits.replicates,
        "membership": splits.design,
        "views": splits.queries.count,
        "about": ABOUT,
    }
    with atomic_write(mark, synced=False) as beside:
        beside.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _refuse_another(mark: Path, splits: Splits) -> None:
    """SynthcError if the file `mark` (`membership.json`) has another id than `splits`, or cannot be read; nothing if it does not
    exist."""
    if not mark.exists():
        return
    try:
        found = json.loads(mark.read_text(encoding="utf-8"))["id"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SynthcError(f"{mark}: not a membership that synthc wrote; name another folder") from error
    if found != splits.id:
        raise SynthcError(f"{mark}: the membership of another study, or of this one before it was changed; name another folder")
