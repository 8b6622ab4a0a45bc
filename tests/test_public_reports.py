"""Faults that users of peers reported in public, tried here: each test names the report."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from compiler.compile import compile_study
from compiler.data.files import splits
from compiler.errors import SpecError, SynthcError
from compiler.text.compose import compose
from compiler.text.nodes import parse, plain
from runtime.data.formats.image_file import decode
from runtime.data.formats.npz import read_arrays
from runtime.present.tables import render
from tests.conftest import ROOT, TINY
from tests.runtime.data import data_files


def study(folder: Path, text: str = TINY) -> Path:
    (folder / "study.yaml").write_text(text)
    return folder / "study.yaml"


def test_a_photograph_that_lies_on_its_side_is_read_upright() -> None:
    """https://github.com/pytorch/vision/issues/7977: read_image ignores the orientation tag, and accuracy suffers."""
    from PIL import Image

    pixels = np.zeros((6, 10, 3), np.uint8)
    pixels[:, :5, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    to = io.BytesIO()
    Image.fromarray(pixels).save(to, "PNG", exif=exif)
    to.seek(0)
    found = decode(to, "a.png")
    assert found.shape == (10, 6, 3)
    assert (found[:5, :, 0] == 255).all()
    assert not found[5:].any()


def test_a_folder_called_val_beside_train_is_the_split_that_it_looks_like(tmp_path: Path) -> None:
    """https://github.com/huggingface/datasets/issues/4839: a validation folder called `val` is not read, without a word."""
    images, labels = data_files.pictures(12, 2, (3, 9, 9))
    for part in ("train", "val"):
        data_files.folders(tmp_path / part, images, labels, ["class_1", "class_2"])
    assert [len(part) for part in splits(tmp_path)] == [12, 12]


@pytest.mark.parametrize("value", ["a#b", "a #b", "#b", "%r.bin", "a@b.org", "x=*", "b=c", "/path/to/pattern_%r.bin"])
def test_signs_in_an_assignment_stay_what_they_are(tmp_path: Path, value: str) -> None:
    """https://github.com/hydra-ecosystem/hydra/issues/2705, /962, /1074, /938: `#`, `%`, `@`, `=` in an override break it."""
    node = compose(study(tmp_path), None, [f"question=see {value}"]).get("question")
    assert node is not None
    assert plain(node) == f"see {value}"


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "y", "n"])
def test_a_word_of_an_older_yaml_is_text_and_never_a_boolean(tmp_path: Path, word: str) -> None:
    """https://github.com/yaml/pyyaml/issues/613: yes, no, on, off become booleans."""
    assert plain(parse(f"flip: {word}", "study")) == {"flip": word}
    with pytest.raises(SpecError, match=r"should be true or false"):
        compile_study(study(tmp_path, TINY.replace("lr: 0.1}", f"lr: 0.1, augment: {{flip: {word}}}}}")))


def test_a_few_aliases_that_stand_for_millions_of_values_are_refused() -> None:
    """https://github.com/nodeca/js-yaml/issues/738: aliases expand without a limit."""
    levels = "\n".join(f"{b}: &{b} [*{a}, *{a}]" for a, b in zip("abcdefghijklmnopqrst", "bcdefghijklmnopqrstu", strict=True))
    with pytest.raises(SpecError, match="more than 200,000 values once aliases are unfolded"):
        parse(f"a: &a [1, 2, 3, 4]\n{levels}\n", "study")


def test_an_empty_image_and_a_page_instead_of_one_are_called_so() -> None:
    """https://github.com/python-pillow/Pillow/issues/4392: "cannot identify image file" turned out to be a PNG of no bytes."""
    for content, what in ((b"", "empty"), (b"<!DOCTYPE html>", "a page or drawing of the web")):
        with pytest.raises(SynthcError, match=f"a.png: {what}.*, no PNG or JPEG"):
            decode(io.BytesIO(content), "a.png")


def test_a_page_that_came_instead_of_a_data_set_never_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """https://github.com/pytorch/vision/issues/8338: the server answers with a page, which is kept as the data set."""
    from runtime.data import fetch
    from runtime.data.catalogue import Remote

    page = b"<!DOCTYPE html><html>Virus scan warning</html>"

    def answer(url: str, part: Path, name: str, progress: object) -> None:
        part.write_bytes(page)

    monkeypatch.setattr(fetch, "_receive", answer)
    remote = Remote(("http://there/set.gz",), "0" * 32, "")
    with pytest.raises(SynthcError, match=f"its md5 is .*, not {'0' * 32}: another file, or damaged on its way"):
        fetch.downloaded("mnist", remote, tmp_path, lambda *_: None)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_without_an_end_is_called_truncated(tmp_path: Path) -> None:
    """https://github.com/TeleHuman/MoRE/issues/5: a file that begins with PK is "not a zip file"; it had not come whole."""
    np.savez(tmp_path / "set.npz", images=np.zeros((9, 9, 9), np.uint8))
    (tmp_path / "set.npz").write_bytes((tmp_path / "set.npz").read_bytes()[:-40])
    with pytest.raises(SynthcError, match="truncated: it begins as an archive and has no end; copy or write it again"):
        read_arrays(tmp_path / "set.npz", ["images"])


def test_an_arrow_on_an_output_of_an_old_code_page_is_no_traceback() -> None:
    """https://github.com/microsoft/winml-cli/issues/545: UnicodeEncodeError on U+2192 under cp1252."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "cp1252"}
    words = [sys.executable, "-m", "runtime.cli", "check", "→.yaml"]
    done = subprocess.run(words, env=env, capture_output=True)
    assert done.returncode == 2
    assert b"\\u2192.yaml:1:1: there is no such file" in done.stderr


def test_a_name_that_a_spreadsheet_would_run_is_text() -> None:
    """https://github.com/hhurz/tableExport.jquery.plugin/issues/230: `=cmd|' /C calc'!A0` runs when the export is opened."""
    assert render(["name", "x"], [["=cmd|' /C calc'!A0", -3]], "csv") == "name,x\n'=cmd|' /C calc'!A0,-3"


@pytest.mark.parametrize(("epsilon", "fits"), [(8, True), (100, True), (100.5, False), (1e6, False)])
def test_an_epsilon_that_promises_nothing_is_refused_before_anything_is_trained(tmp_path: Path, epsilon: float, fits: bool) -> None:
    """https://github.com/meta-pytorch/opacus/issues/604: a large target epsilon fails within the accountant."""
    arm = f"{{paradigm: dp_sgd, privacy: {{epsilon: {epsilon}}}, classifier: {{norm: group}}}}"
    path = study(tmp_path, f"{TINY}  private: {arm}\n")
    if fits:
        assert compile_study(path).trials
        return
    with pytest.raises(SpecError, match=r"study\.yaml:25:.*less than or equal to 100"):
        compile_study(path)
