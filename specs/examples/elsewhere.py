"""A pipeline that synthc does not run, for imported.yaml: numpy and scikit-learn, and nothing of synthc.

Reads splits/shadows, splits/images.npz and splits/queries.npz, never splits/audit-only. For each shadow it leaves the images
nearest to k-means centres (answers/medoids), and the log-probabilities of a random forest (answers/forest).
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier

HERE = Path(__file__).parent
PER_CLASS, TREES = 20, 100


def medoids(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Rows of the images nearest to the centres of each class."""
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        means = KMeans(PER_CLASS, n_init=1, random_state=0).fit(images[rows]).cluster_centers_
        chosen.append(rows[np.unique(((images[rows, None] - means) ** 2).sum(-1).argmin(0))])
    return np.concatenate(chosen)


def main(splits: Path = HERE / "splits", answers: Path = HERE / "answers") -> None:
    everything = np.load(splits / "images.npz")["images"]
    queries = np.load(splits / "queries.npz")["images"]
    for name in ("medoids", "forest"):
        (answers / name).mkdir(parents=True, exist_ok=True)
    for file in sorted((splits / "shadows").glob("*.npz")):
        shadow = np.load(file)
        indices, labels = shadow["indices"], shadow["labels"]
        flat = everything[indices].reshape(len(indices), -1).astype(np.float64)

        started = time.perf_counter()
        rows = medoids(flat, labels)
        seconds = time.perf_counter() - started
        chosen = {"images": everything[indices[rows]], "labels": labels[rows], "origins": indices[rows]}
        np.savez_compressed(answers / "medoids" / file.name, **chosen, seconds=seconds)

        started = time.perf_counter()
        forest = RandomForestClassifier(TREES, random_state=0).fit(flat, labels)
        p = forest.predict_proba(queries.reshape(len(queries), -1))
        logits = np.full((len(queries), 10), -10.0)
        logits[:, forest.classes_] = np.log(np.maximum(p, 1e-4))
        np.savez_compressed(answers / "forest" / file.name, logits=logits, seconds=time.perf_counter() - started)


if __name__ == "__main__":
    main()
