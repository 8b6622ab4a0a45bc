"""A self-contained HTML page of a judgement: the verdict, the policy line by line, the figures, blind spots.

It has private images only on request, no script, and loads nothing.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from compiler.errors import SynthcError
from compiler.language.policy import JUDGED
from runtime.data.image_set import ImageSet
from runtime.judge.judging import BLIND, Judgement, Look
from runtime.store.files import atomic_write

PAIRS = 24
"""Most pairs of each kind on the page, the nearest ones."""


def write_page(path: Path, found: Judgement, with_private: bool = False) -> None:
    """Write the page (see `page`) to `path`, an older file is replaced; SynthcError where the file cannot be written."""
    try:
        with atomic_write(path.absolute(), synced=False) as beside:
            beside.write_text(page(found, with_private), encoding="utf-8")
    except OSError as error:
        raise SynthcError(f"{path}: cannot be written: {error.strerror}; choose another file") from error


def page(found: Judgement, with_private: bool = False) -> str:
    """The page as HTML; it depends on the arguments and this version of synthc alone. `with_private`: with images of members and
    holdout, namely of the listed members and the phantoms, the nearest PAIRS of each, beside their nearest images of the set."""
    environment = Environment(
        loader=PackageLoader("runtime.judge", ""), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    sets = found.sets
    kinds = (("Listed members", sets.members, found.listed), ("Phantoms", sets.holdout, found.phantoms))
    pairs = {name: [_pair(look, side, sets.released) for look in looks[:PAIRS]] for name, side, looks in kinds}
    return environment.get_template("page.html").render(
        found=found,
        rows=list(figure_rows(found)),
        by_class=by_class(found),
        blind=BLIND,
        pairs=pairs if with_private else {},
        style=(files("runtime.present.report") / "page.css").read_text(encoding="utf-8"),
        version=version("synthc"),
    )


def figure_rows(found: Judgement) -> Iterator[tuple[str, str, str]]:
    """Yield rows (name, text of value, interval and n, description) of all figures except those of single classes; the description
    of a figure with values by class names the class with the lowest. Where there is no value its text is "not measured", and the
    description says why if that is known."""
    for name, metric in found.figures.items():
        if "/" in name:
            continue
        about = (JUDGED.get(name) or metric.note) + _least(found, name)
        if metric.value is None:
            yield name, "not measured", metric.note or about
            continue
        whole = name in ("copied_members", "identical_members", "identical_holdout", "phantoms", "holdout_for_a_tenth")
        ends = [f"{end:,.0f}" if whole else f"{end:.3f}" for end in (metric.low, metric.high) if end is not None]
        around = f" [{', '.join(ends)}]" if len(ends) == 2 else f" (at least {ends[0]})" if ends else ""
        value = f"{metric.value:,.0f}" if whole else f"{metric.value:.4f}"
        yield name, f"{value}{around}" + (f"  n = {metric.n:,}" if metric.n else ""), about


def by_class(found: Judgement) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Names of the figures of use (none where use was not measured); and for each class of members its name and, in the order of
    these figures, texts of value and n, "none" where the class has no value."""
    names = [name for name in found.figures if name.startswith("use.") and "/" not in name]
    rows = [(of, [found.figures.get(f"{name}/{of}") for name in names]) for of in found.sets.members.classes]
    return names, [
        (of, [f"{one.value:.3f} (n = {one.n:,})" if one and one.value is not None else "none" for one in row]) for of, row in rows
    ]


def _least(found: Judgement, name: str) -> str:
    """A clause, which begins with "; ", on the class with the lowest value of a figure; "" without values by class."""
    classes = {key.partition("/")[2]: of for key, of in found.figures.items() if key.startswith(f"{name}/")}
    shares = {of: one.value for of, one in classes.items() if one.value is not None}
    worst = min(shares, key=lambda of: shares[of], default=None)
    return "" if worst is None else f"; least in class {worst}: {shares[worst]:.3f} (n = {classes[worst].n:,})"


def _pair(look: Look, side: ImageSet, released: ImageSet) -> tuple[str, str, str]:
    """Caption of a pair, then the real image, from `side` (members or holdout), and its nearest image of the set, as base64 of a
    PNG."""
    said = f"{look.image}: {look.distance:.3g} in {look.space}, row {look.released} of the set"
    return said, _png(side, look.row), _png(released, look.released)


def _png(of: ImageSet, row: int) -> str:
    """Image of a row as base64 of a PNG."""
    from PIL import Image

    pixels = of.data.images[row].permute(1, 2, 0).numpy()
    out = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(out, format="PNG")
    return base64.b64encode(out.getvalue()).decode()
