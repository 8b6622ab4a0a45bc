"""Makes artifacts like those of tasks, for tests of their readers."""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor

from runtime.store.artifacts import Artifact, encode_tensors
from runtime.store.files import digest_of


def artifact(folder: Path, **stems: dict[str, Tensor]) -> Artifact:
    """A committed task whose id is the folder's name: its files of tensors, and the outcome that holds their digests."""
    contents = {f"{stem}.safetensors": encode_tensors(tensors) for stem, tensors in stems.items()}
    files = {name: digest_of(content) for name, content in contents.items()}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    said = {"task": folder.name, "status": "done", "metrics": [], "notes": {}, "provenance": None, "files": files}
    (folder / "outcome.json").write_text(json.dumps(said))
    return Artifact(folder)
