"""Checks a user's model in a folder of diffusers' layout, by its configurations and sizes of files, and computes its digest.

Nothing is loaded here, and no code in such a folder is ever run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import lru_cache, partial
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any

from compiler.errors import SynthcError
from compiler.language.base import Generator
from compiler.language.methods.diffusion import Checkpoint, Denoiser

PARTS = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL"}
"""Component of the checkpoint → the diffusers class that `model_index.json` must name for it."""
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
LIBRARIES = ("diffusers", "transformers", None)
Fault = tuple[str, str, str]
"""(field, what is wrong, what would do)."""


def placeless(how: Generator) -> Generator:
    """The parameters `how` of a generator, with the digest of the user's model folder in place of its path, where they name one;
    other parameters unchanged. SynthcError as for `digest_of_folder`."""
    if not isinstance(how, Denoiser) or not isinstance(how.base, Checkpoint):
        return how
    digest = digest_of_folder(Path(how.base.path))
    return how.model_copy(update={"base": how.base.model_copy(update={"path": "", "digest": digest})})


def faults_of_folder(folder: Path, how: Denoiser) -> Iterator[Fault]:
    """Yields faults that prevent the use of the folder as base of this denoiser. A missing folder or index ends the check, as do
    a folder of a part or a file of weights that cannot be read, and Python files, `auto_map` in a configuration and parts of other
    libraries than LIBRARIES, each of which counts as code. The configurations are looked at where no part is missing."""
    try:
        yield from _faults_of_readable(folder, how)
    except OSError as error:
        hint = "mend the link or the right to read it, or copy it again"
        yield "path", f"{error.filename or folder} cannot be read: {error.strerror}", hint


def _faults_of_readable(folder: Path, how: Denoiser) -> Iterator[Fault]:
    """`faults_of_folder`, but OSError for a folder of a part, or a file of weights, that cannot be read."""
    if not folder.is_dir():
        yield "path", f"there is no folder {folder}", "the path is relative to the spec"
        return
    index = _json(folder / "model_index.json")
    if index is None:
        yield "path", f"{folder.name} has no model_index.json that can be read", "give a folder in diffusers' layout"
        return
    parts = {name: value for name, value in index.items() if isinstance(value, list)}
    foreign = [name for name, value in parts.items() if value and value[0] not in LIBRARIES]
    code = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.py"))
    mapped = [file.parent.name for file in sorted(folder.rglob("config.json")) if "auto_map" in (_json(file) or {})]
    if foreign or code or mapped:
        yield "path", f"{(foreign + code + mapped)[0]} is code that the folder brings along, which is never run", "take one without"
        return
    wanted = [*PARTS, "scheduler", *(name for name in ("text_encoder", "tokenizer") if (parts.get(name) or [None])[0])]
    for name in wanted:
        yield from _faults_of_part(folder / name)
    if all((folder / name).is_dir() for name in wanted):
        yield from _faults_of_configs(folder, how)


def _faults_of_part(part: Path) -> Iterator[Fault]:
    """Faults of one component: a missing folder, a unet or vae of another class than PARTS has (or of none that can be read), no
    safetensors weights, weights that are cut off or damaged. Of scheduler and tokenizer only the folder is looked for. OSError for
    a folder or a file of weights that cannot be read."""
    if not part.is_dir():
        yield "path", f"its part {part.name} is missing", "a denoiser needs unet, vae, scheduler, and what the index names of text"
        return
    if part.name in ("scheduler", "tokenizer"):
        return
    kind = (_json(part / "config.json") or {}).get("_class_name")
    if part.name in PARTS and kind != PARTS[part.name]:
        yield "path", f"its {part.name} is {kind or 'of no class that it says'}", f"it should be {PARTS[part.name]}"
    weights = sorted(part.glob("*.safetensors"))
    if not weights:
        pickled = [file.name for file in sorted(part.iterdir()) if file.suffix in PICKLED]
        what = f"has pickled weights only, {pickled[0]}" if pickled else "has no weights"
        yield "path", f"its {part.name} {what}", "save it with safe_serialization=True"
    for file in weights:
        if not _is_whole(file):
            yield "path", f"{part.name}/{file.name} is cut off or damaged", "copy it again"


def _faults_of_configs(folder: Path, how: Denoiser) -> Iterator[Fault]:
    """Faults of the configurations: a prediction other than of the noise, a number of noise levels other than the denoiser's,
    widths of the unet that are not a list of positive whole numbers, a LoRA rank above the narrowest of them. Without an entry they
    count as predicting the noise at 1000 levels, and the rank is not checked."""
    scheduler = _json(folder / "scheduler" / "scheduler_config.json") or {}
    if (predicts := scheduler.get("prediction_type", "epsilon")) != "epsilon":
        yield "path", f"it predicts {predicts}, not the noise", "take a model whose prediction_type is epsilon"
    if (levels := scheduler.get("num_train_timesteps", 1000)) != how.timesteps:
        yield "path", f"it has {levels} noise levels, the denoiser {how.timesteps}", f"say `timesteps: {levels}`"
    widths = (_json(folder / "unet" / "config.json") or {}).get("block_out_channels", [how.rank])
    if not isinstance(widths, list) or not widths or not all(type(width) is int and width > 0 for width in widths):
        what = f"its unet has {json.dumps(widths)} as `block_out_channels`"
        yield "path", what, "it should be a list of whole numbers, the units of each layer"
    elif how.finetune == "lora" and how.rank > min(widths):
        yield "path", f"matrices of rank {how.rank} beside its layers of {min(widths)} units", f"a rank of {min(widths)} at most"


def _json(file: Path) -> dict[str, Any] | None:
    """The mapping in a JSON file; None where it cannot be read or is no mapping."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_whole(file: Path) -> bool:
    """Whether a safetensors file has the length that its header declares; False also for a malformed header. OSError if it cannot
    be read."""
    size = file.stat().st_size
    with file.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if not 0 < length <= size - 8:
            return False
        try:
            header = json.loads(handle.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            return max(ends, default=0) + length + 8 == size
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            return False


def digest_of_folder(folder: Path) -> str:
    """Digest of names and content of the .json, .txt and .safetensors files at any depth of a folder: sixteen hexadecimal digits. A
    missing folder counts as empty. SynthcError for a file that cannot be read, such as a link that leads nowhere."""
    files = sorted(file for kind in ("*.json", "*.safetensors", "*.txt") for file in folder.rglob(kind))
    whole = blake2b(digest_size=8)
    for file in files:
        whole.update(os.fsencode(file.relative_to(folder).as_posix()) + b"\0")
        try:
            stat = file.stat()
            whole.update(_digest(str(file), stat.st_size, stat.st_mtime_ns).encode())
        except OSError as error:
            raise SynthcError(f"{file}: cannot be read: {error.strerror}; mend the link or the right to read it") from error
    return whole.hexdigest()


@lru_cache(maxsize=4096)
def _digest(path: str, size: int, changed: int) -> str:
    """Digest of one file's bytes, cached by path, size and time of change; OSError if it cannot be read."""
    with open(path, "rb") as handle:
        return file_digest(handle, partial(blake2b, digest_size=16)).hexdigest()
