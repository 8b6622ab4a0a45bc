"""Whatever people bring: files, specs and assignments in every form that was met in the open, with the kind of each fault."""

from __future__ import annotations

import io
import os
import subprocess
import time
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.compile import compile_study
from compiler.data.files import splits
from compiler.errors import SpecError, SynthcError
from compiler.text.nodes import parse, plain
from runtime.audit.external.evidence import read_evidence
from runtime.cli.main import main
from runtime.data.cards import compile_with_files
from runtime.data.formats.image_file import decode
from runtime.data.formats.npz import read_arrays
from runtime.database.read import MAX_ROWS, query
from runtime.present import charts
from tests.conftest import TINY, Done
from tests.runtime.data import data_files


def spec(folder: Path, **changes: str) -> Path:
    """The tiny study with some of its text replaced."""
    text = TINY
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "study.yaml").write_text(text)
    return folder / "study.yaml"


def refusal(path: Path, *sets: str) -> str:
    with pytest.raises(SpecError) as raised:
        compile_with_files(path, None, list(sets))
    return str(raised.value)


# --- text ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.1", "1.0", "2.0", ""])
def test_another_yaml_in_which_yes_would_be_true_is_refused_at_its_line(version: str) -> None:
    for word in ("yes", "on", "010", "1:30"):
        with pytest.raises(SpecError, match=r"study:1:1: the directive %YAML"):
            parse(f"%YAML {version}\n---\nflip: {word}\n", "study")
    assert plain(parse("%YAML 1.2\n---\nflip: true\n", "study")) == {"flip": True}


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("arms={a: {paradigm: undefended}}", ("arms",), {"a": {"paradigm": "undefended"}}),
        ("audit.canaries={c: {kind: clean, count: 3}}", ("audit", "canaries"), {"c": {"kind": "clean", "count": 3}}),
        ("data={name: digits, test: 300}", ("data",), {"name": "digits", "test": 300}),
        ("classifier={epochs: 1}", ("classifier",), {"epochs": 1}),
        ("data.path=/a/run #1/x.npz", ("data", "path"), "/a/run #1/x.npz"),
        ('question="a # b"', ("question",), "a # b"),
        ("audit.shadows=16", ("audit", "shadows"), 16),
        ("data.path=#1/x.npz", ("data", "path"), "#1/x.npz"),
        ("data.path=# only", ("data", "path"), "# only"),
        ("data.path=/a: b/x.npz", ("data", "path"), "/a: b/x.npz"),
        ("data.path=/a/{x}.npz", ("data", "path"), "/a/{x}.npz"),
        ("data.path= /a/x.npz  ", ("data", "path"), "/a/x.npz"),
        ("data.path=' /a/x.npz '", ("data", "path"), " /a/x.npz "),
        ('data.path="{a}/[b] #1.npz"', ("data", "path"), "{a}/[b] #1.npz"),
        ("data.path=C:\\new\\x.npz", ("data", "path"), "C:\\new\\x.npz"),
        *(
            (f"question={sign}x", ("question",), f"{sign}x")
            for sign in ("*", "&", "!", "%", "@", "`", "- ", "? ", "| ", "> ", ", ")
        ),
        ("question=---", ("question",), "---"),
        ("question=Is it so: yes", ("question",), "Is it so: yes"),
        ('question=he says "no"', ("question",), 'he says "no"'),
        ("question=it's", ("question",), "it's"),
        ("question=ends:", ("question",), "ends:"),
        ("question=a=b", ("question",), "a=b"),
        ("seed=1e3", ("seed",), 1000.0),
        ("charts=null", ("charts",), None),
        ("charts=~", ("charts",), None),
        ("charts=", ("charts",), None),
        ("audit.attacks=[{attack: threshold}]", ("audit", "attacks"), [{"attack": "threshold"}]),
        ("audit.fpr=[0.1]", ("audit", "fpr"), [0.1]),
        ("audit.headline={fpr: 0.1}", ("audit", "headline"), {"fpr": 0.1}),
        ("arms.coreset.method=random", ("arms", "coreset", "method"), "random"),
        ("arms.coreset.proxy={epochs: 1}", ("arms", "coreset", "proxy"), {"epochs": 1}),
        ("audit.shadows={grid: [8, 16]}", ("audit", "shadows"), {"grid": [8, 16]}),
    ],
)
def test_set_replaces_what_it_names_and_nothing_is_cut_off(
    tmp_path: Path, assignment: str, path: tuple[str, ...], value: object
) -> None:
    from compiler.text.compose import compose

    node = compose(spec(tmp_path), None, [assignment]).get(*path)
    assert node is not None
    assert plain(node) == value


@pytest.mark.parametrize("value", ['"a" #b', "[0.1] # b", "{a: 1} # b", "'a", '"a', "{a", "[a", "{a}/x.npz", "[a].npz", "'a' b"])
def test_an_assignment_of_which_something_would_be_lost_says_how_to_quote_it(tmp_path: Path, value: str) -> None:
    said = refusal(spec(tmp_path), f"question={value}")
    assert "quote it twice: --set" in said


def test_of_two_assignments_the_later_is_on_top(tmp_path: Path) -> None:
    from compiler.text.compose import compose

    node = compose(spec(tmp_path), None, ["seed=1", "arms={a: {paradigm: undefended}}", "seed=2", "arms.a.control=true"])
    assert plain(node.items["seed"]) == 2
    assert plain(node.items["arms"]) == {"a": {"paradigm": "undefended", "control": True}}


@pytest.mark.parametrize(
    "only", ["arm=a: b", "arm=#1", "arm='a, b'", 'arm="a #b"', "arm=[#1, a]", "arm=*", "arm=- x", "arm=é", "fraction=#0.3"]
)
def test_only_reads_values_as_set_does(tmp_path: Path, only: str) -> None:
    from compiler.plan.select import select

    plan = compile_study(spec(tmp_path))
    with pytest.raises(SpecError, match="--only"):
        select(plan, [only])
    names = {"arm=a: b": "a: b", "arm=#1": "#1", 'arm="a #b"': "a #b", "arm=*": "*", "arm=- x": "- x", "arm=é": "é"}
    if only in names:
        plan = compile_study(spec(tmp_path, **{"undefended: {": f"{names[only]!r}: {{"}))
        assert len(select(plan, [only]).answers) == 1


def test_set_takes_an_arm_away_by_null_and_an_empty_mapping_leaves_none(tmp_path: Path) -> None:
    assert len({trial.trial.arm_name for trial in compile_study(spec(tmp_path), None, ["arms.coreset=null"]).trials}) == 1
    assert "`arms` must name at least one arm" in refusal(spec(tmp_path), "arms={}")


@pytest.mark.parametrize(
    "rates",
    ["[1.5, 1, 0.1]", "[-0.1, 0.1]", "[0, 0.1]", "[0.1, 0.10]", "[0.1, 1e-1]", "[]", "[.nan, 0.1]", "[true, 0.1]", "['0.1']"],
)
def test_false_positive_rates_lie_between_nothing_and_everything_and_are_there_once(tmp_path: Path, rates: str) -> None:
    assert "study.yaml:14:" in refusal(spec(tmp_path, **{"[0.1, 0.001]": rates}))


LIRA = "{attack: lira, signal: logit, variant: pooled, queries: 1}"


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("[0.1, 0.001]", "[0.1, 0.001, 0.10]", 14, "false-positive rate 0.1 is there twice"),
        ("[0.1, 0.001]", "[0.1, 1e-3, 0.001]", 14, "false-positive rate 0.001 is there twice"),
        (f"- {LIRA}", f"- {LIRA}\n    - {LIRA}", 13, "attack 2 is attack 1 again: lira logit/pooled/1q"),
        (f"- {LIRA}", f"- {LIRA}\n    - {{attack: lira}}", 13, "attack 2 is attack 1 again"),
        (f"- {LIRA}", f"- {{grid: [{LIRA}, {{attack: lira, queries: 1}}]}}", 12, "attack 2 is attack 1 again"),
        ("{grid: [random, forgetting]}", "{grid: [random, forgetting, random]}", 23, 'the grid has "random" twice'),
        ("fraction: 0.3", "fraction: {grid: [0.3, 0.30]}", 24, "the grid has 0.3 twice"),
        ("fraction: 0.3", "fraction: {grid: [0.3, {grid: [0.5, 3e-1]}]}", 24, "the grid has 0.3 twice"),
        ("epochs: 3", "epochs: {grid: [1, 1.0]}", 18, "the grid has 1 and 1.0, which are the same"),
        (
            "{paradigm: undefended}",
            "{paradigm: dp_sgd, classifier: {norm: group}, privacy: {grid: [{epsilon: 8, clip: 1}, {clip: 1.0, epsilon: 8.0}]}}",
            20,
            "which are the same",
        ),
        ("question:", "charts: [roc, tradeoff, roc]\nquestion:", 2, "two charts are called 'roc'"),
        ("question:", "charts: [roc, {chart: tradeoff, name: ROC}]\nquestion:", 2, "'roc' and 'ROC', one file"),
        ("question:", "charts: [roc, {chart: roc, name: again}]\nquestion:", 2, "'roc' and 'again' are the same"),
        ("question:", "charts: [{chart: roc, format: [svg, pdf, svg]}]\nquestion:", 2, "format has 'svg' twice"),
        (f"- {LIRA}", "- {attack: lira, compat: [strict_fpr, strict_fpr]}", 12, "compat has 'strict_fpr' twice"),
    ],
)
def test_what_is_there_twice_is_refused_at_its_place(tmp_path: Path, old: str, new: str, line: int, said: str) -> None:
    complaint = refusal(spec(tmp_path, **{old: new}))
    assert said in complaint
    assert f"study.yaml:{line}:" in complaint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fpr", "0.1", "--fpr", "0.10"], "--fpr 0.1 --fpr 0.10: one rate twice"),
        (["--fpr", "1e-2", "--fpr", "0.1", "--fpr", "0.01"], "--fpr 1e-2 --fpr 0.01: one rate twice"),
        (["--attack", "scores", "--attack", "scores"], "--attack scores: it is named twice"),
        (["--fpr", "0.1,0.10"], "--fpr 0.1,0.10: wanted is a rate"),
    ],
)
def test_an_option_that_says_the_same_twice_is_refused(
    tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(audited(tmp_path, "x.npz", np.random.default_rng(0))), *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"width: 8": "width: 100000"}, "width is 100000; it should be at most 8,192"),
        ({"epochs: 3": "epochs: 1.0e+300"}, "epochs is 1e+300; it should be at most 1,000,000,000"),
        ({"batch_size: 64": "batch_size: 10000000000"}, "batch_size is 1e+10"),
        ({"resamples: 100": "resamples: 99999999999"}, "resamples is 1e+11"),
        ({"z_pool: 40": "z_pool: 123456789012"}, "z_pool is"),
        ({"lr: 0.1": "lr: 1.0e+12"}, "lr is 1e+12"),
        ({"count: 24": "count: 4000000000000"}, "count is 4e+12"),
    ],
)
def test_every_number_of_the_language_has_an_upper_end(tmp_path: Path, words: dict[str, str], complaint: str) -> None:
    assert complaint in refusal(spec(tmp_path, **words))


def test_every_number_of_the_language_has_a_lower_end() -> None:
    from typing import Literal, get_args, get_origin

    import annotated_types as ends

    from compiler.language.audit import KNOWN_ATTACKS
    from compiler.language.claims import Claim
    from compiler.language.study import ARMS, Header, Point

    def numeric(kind: Any) -> bool:
        return kind in (int, float) or (get_origin(kind) is not Literal and any(map(numeric, get_args(kind))))

    def models(kind: Any) -> set[Any]:
        if isinstance(kind, type) and hasattr(kind, "model_fields"):
            return {kind}.union(*(models(field.annotation) for field in kind.model_fields.values()))
        return set().union(*map(models, get_args(kind)))

    free = {("Claim", "margin"), ("Claim", "left"), ("Claim", "right"), ("Headline", "queries"), ("Chart", "of")}
    for model in set().union(*(models(kind) for kind in (Header, Point, Claim, *ARMS, *KNOWN_ATTACKS))):
        for name, field in model.model_fields.items():
            metadata = [
                *field.metadata,
                *(item for kind in get_args(field.annotation) for item in getattr(kind, "__metadata__", ())),
            ]
            bounded = any(isinstance(item, ends.Gt | ends.Ge) or "ge" in str(item) or "gt" in str(item) for item in metadata)
            told = (model.__name__, name) in free or name == "guidance" or model.__name__ == "EarlierVerdict"
            told |= model.__module__ == "compiler.language.policy"  # thresholds of any metric
            assert bounded or told or not numeric(field.annotation), (model.__name__, name)


# --- sizes -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "a: [" + "x, " * 1_280_000 + "x]\n",
        "".join(f"a{number}: &a {number}\n" for number in range(100_000)),
        "a: " + "[" * 190_000,
        "".join(f"a: {number}\n" for number in range(20_000)),
    ],
    ids=["flow list", "anchors", "depth", "doubles"],
)
def test_a_spec_that_is_too_much_is_refused_soon_and_in_few_lines(tmp_path: Path, text: str) -> None:
    (tmp_path / "study.yaml").write_text(text)
    began = time.process_time()
    assert refusal(tmp_path / "study.yaml").count("\n") <= 100
    assert time.process_time() - began < 10


def test_what_is_no_file_is_not_read_as_a_spec(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero"), Path("/dev/null"), tmp_path):
        assert refusal(path).endswith("a study is a file of YAML text [unreadable-file]")
    (tmp_path / "study.yaml").write_text("extends: fifo\n" + TINY)
    assert "there is no file" in refusal(tmp_path / "study.yaml")


def npz_of(path: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, allow_pickle=True, **arrays)
    return path


def own(folder: Path, path: str, **changes: str) -> Path:
    return spec(folder, **{"{name: digits, test: 360}": f"{{name: files, path: {path}, test: 60}}"} | changes)


def test_labels_that_inflate_are_judged_before_they_are_read(tmp_path: Path) -> None:
    npz_of(tmp_path / "set.npz", images=np.zeros((300, 9, 9), np.uint8), labels=np.zeros(1 << 26, np.int64))
    assert (tmp_path / "set.npz").stat().st_size < 1_000_000
    began = time.process_time()
    assert "more than the limit of 0.25 GiB" in refusal(own(tmp_path, "set.npz"))
    assert time.process_time() - began < 10


def test_large_logits_are_not_read_to_check_a_study(tmp_path: Path) -> None:
    many = np.zeros((1 << 27) + 1, np.float16)
    npz_of(tmp_path / "set.npz", images=np.zeros((300, 9, 9), np.uint8), labels=np.arange(300) % 10, logits=many)
    tracemalloc.start()
    compile_with_files(own(tmp_path, "set.npz"))
    assert tracemalloc.get_traced_memory()[1] < many.nbytes / 4
    tracemalloc.stop()


def test_a_query_of_too_many_rows_or_of_nothing_is_a_sentence(tiny: Done, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", f"SELECT range FROM range({MAX_ROWS + 1})", "--db", str(tiny.db)]) == 2
    assert "over 1,000,000 rows, more than are held in memory; add a LIMIT" in capsys.readouterr().err
    assert main(["sql", ";", "--db", str(tiny.db)]) == 2
    assert "the query is empty" in capsys.readouterr().err


def test_a_long_error_is_cut_in_rows_and_whole_in_the_log() -> None:
    from runtime.execution.worker import MAX_ERROR_LETTERS, TaskRequest, _failure

    request = TaskRequest("0" * 16, None, (), "a", "", 1)  # type: ignore[arg-type]
    error = _failure(request, ValueError("x" * 5_000_000), None, "exception").error
    assert error is not None
    assert len(error) < MAX_ERROR_LETTERS + 100
    assert "5,000,000 letters, the log has them" in error


# --- images ----------------------------------------------------------------------------------------------------------------


def saved(mode: str, kind: str, **options: object) -> bytes:
    from PIL import Image

    to = io.BytesIO()
    Image.new(mode, (8, 12)).save(to, kind, **options)  # type: ignore[arg-type]
    return to.getvalue()


def palette_with_alpha() -> bytes:
    from PIL import Image

    to = io.BytesIO()
    Image.new("P", (8, 8)).save(to, "PNG", transparency=0)
    return to.getvalue()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "empty, no PNG or JPEG"),
        (b"<!DOCTYPE html><html>404</html>", "a page or drawing of the web"),
        (saved("RGB", "GIF"), "a GIF, no PNG or JPEG"),
        (saved("RGB", "BMP"), "a bitmap of Windows"),
        (saved("RGB", "TIFF"), "a TIFF"),
        (saved("CMYK", "JPEG"), "its colours are CMYK; convert it to RGB"),
        (saved("I;16", "PNG"), "16 bits or more; convert it to 8"),
        (saved("RGBA", "PNG"), r"transparency \(alpha\)"),
        (saved("LA", "PNG"), r"transparency \(alpha\)"),
        (palette_with_alpha(), r"transparency \(alpha\)"),
        (saved("RGB", "PNG")[:45], "cannot be decoded"),
        (saved("RGB", "JPEG")[:300], "(cannot be decoded|breaks off)"),
    ],
)
def test_an_image_that_cannot_be_used_is_told_what_is_wrong_with_it(content: bytes, complaint: str) -> None:
    with pytest.raises(SynthcError, match=complaint):
        decode(io.BytesIO(content), "a.png")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_photographs_are_read_upright(orientation: int, kind: str) -> None:
    from PIL import Image

    image = Image.fromarray(np.add.outer(np.arange(8) * 12, np.arange(12) * 8).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    to = io.BytesIO()
    turns = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
    turns |= {6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}
    image.save(to, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))
    expected = image.transpose(Image.Transpose[turns[orientation]]) if orientation > 1 else image
    to.seek(0)
    found = decode(to, "a")
    assert found.shape == np.asarray(expected).shape
    assert np.abs(found.astype(int) - np.asarray(expected).astype(int)).max() < 12


def test_all_bad_images_of_a_folder_are_told_at_once_with_their_folders(tmp_path: Path) -> None:
    images, labels = data_files.pictures(240, 2, (3, 9, 9))
    data_files.folders(tmp_path / "set", images, labels, ["a", "b"])
    (tmp_path / "set/a/n0000_0.png").write_bytes(b"")
    (tmp_path / "set/b/n0001_0.png").write_bytes(b"<html>")
    for place in range(2, 20, 2):
        (tmp_path / f"set/a/n{place:04}_0.png").write_bytes(b"GIF89a")
    said = refusal(own(tmp_path, "set"))
    assert "11 images cannot be used: a/n0000_0.png: empty, no PNG or JPEG" in said
    assert said.count("a GIF") == 1
    assert "a/n0002_0.png, a/n0004_0.png, a/n0006_0.png, a/n0008_0.png, a/n0010_0.png and 4 more: a GIF" in said


@pytest.mark.parametrize("pair", [("train", "test"), ("Train", "val"), ("TRAIN", "Validation"), ("train", "valid")])
def test_a_split_by_folders_is_taken_whatever_its_plain_names(tmp_path: Path, pair: tuple[str, str]) -> None:
    images, labels = data_files.pictures(12, 2, (3, 9, 9))
    for part in pair:
        data_files.folders(tmp_path / part, images, labels, ["a", "b"])
    pool, test = splits(tmp_path)
    assert (len(pool), len(test)) == (12, 12)


@pytest.mark.parametrize("more", [("val", "test"), ("extra",), ()])
def test_a_split_that_is_not_plain_says_what_the_layout_must_be(tmp_path: Path, more: tuple[str, ...]) -> None:
    images, labels = data_files.pictures(12, 2, (3, 9, 9))
    for part in ("train", *more):
        data_files.folders(tmp_path / part, images, labels, ["a", "b"])
    with pytest.raises(SynthcError, match=r"train wants exactly one of test, val, valid, validation, testing beside it"):
        splits(tmp_path)


def test_classes_may_be_called_train_and_test(tmp_path: Path) -> None:
    images, labels = data_files.pictures(12, 3, (3, 9, 9))
    data_files.folders(tmp_path, images, labels, ["bus", "test", "train"])
    assert len(splits(tmp_path)[0]) == 12


def test_shards_of_parquet_become_one_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import duckdb

    for shard, (mode, label) in enumerate((("RGB", 0), ("L", 1), ("RGB", 1))):
        with duckdb.connect() as connection:
            connection.execute("CREATE TABLE t (image BLOB, label BIGINT)")
            connection.execute("INSERT INTO t VALUES (?, ?)", [saved(mode, "PNG"), label])
            connection.execute(f"COPY t TO '{tmp_path}/{shard}.parquet'")
    shards = [str(tmp_path / f"{shard}.parquet") for shard in range(3)]
    assert main(["data", "import", *shards, "--test", *shards[:2], "-o", str(tmp_path / "set.npz")]) == 0
    assert "3 images and 2 test images of 2 classes" in capsys.readouterr().out
    assert np.load(tmp_path / "set.npz")["images"].shape == (3, 12, 8, 3)


# --- arrays ------------------------------------------------------------------------------------------------------------------


def test_arrays_that_cannot_be_used_are_told_how_to_be_saved(tmp_path: Path) -> None:
    npz_of(tmp_path / "long.npz", logits=np.zeros((8, 20), np.longdouble))
    with pytest.raises(SynthcError, match=r"astype\('float64'\) makes it one"):
        read_arrays(tmp_path / "long.npz", ["logits"])
    (tmp_path / "cut.npz").write_bytes((tmp_path / "long.npz").read_bytes()[:200])
    with pytest.raises(SynthcError, match="truncated: it begins as an archive and has no end"):
        read_arrays(tmp_path / "cut.npz", ["logits"])
    with zipfile.ZipFile(tmp_path / "cut2.npz", "w"):
        pass
    (tmp_path / "cut2.npz").write_bytes(b"PK\3\4")
    with pytest.raises(SynthcError, match="truncated"):
        read_arrays(tmp_path / "cut2.npz", ["logits"])
    npz_of(tmp_path / "flat.npz", logits=np.zeros((8, 20, 3)), member=np.zeros((8, 20), bool), labels=np.zeros(20, int))
    with pytest.raises(SynthcError, match=r"save logits\[None\]; if of one view, save logits\[:, :, None\]"):
        read_evidence(tmp_path / "flat.npz")
    npz_of(tmp_path / "set.npz", images=np.zeros((300, 9, 9), np.uint8), labels=np.arange(300) % 2 == 0)
    assert "whole numbers: say which class is 0 and which 1, as by labels.astype('uint8')" in refusal(own(tmp_path, "set.npz"))


# --- what follows from the spec and the card ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "recipe", "fits"),
    [
        ((2, 2), "net: small", False),
        ((3, 64), "net: small", False),
        ((4, 4), "net: small", True),
        ((1, 64), "net: convnet", False),
        ((2, 9), "net: convnet", True),
        ((9, 9), "net: convnet, depth: 4", False),
        ((1, 9), "net: resnet9", False),
        ((2, 2), "net: resnet9", True),
        ((1, 1), "net: mlp", True),
        ((8, 8), "net: wrn, depth: 17", False),
        ((8, 8), "net: resnet18, norm: instance", False),
        ((4, 4), "net: small, norm: instance", False),
    ],
)
def test_a_net_that_cannot_take_the_images_is_refused_and_one_that_can_is_built(
    tmp_path: Path, shape: tuple[int, int], recipe: str, fits: bool
) -> None:
    import torch

    from runtime.training.nets import build

    images = np.random.default_rng(0).integers(0, 255, (400, *shape)).astype(np.uint8)
    npz_of(tmp_path / "set.npz", images=images, labels=np.arange(400) % 2)
    path = own(tmp_path, "set.npz", **{"net: small": recipe})
    if not fits:
        assert "[net]" in refusal(path)
        return
    point = compile_with_files(path).trials[0].trial.point
    from compiler.data.files import card_of

    net = build(point.classifier, card_of(point.data), torch.Generator().manual_seed(0))
    assert net(torch.zeros(3, 1, *shape)).shape == (3, 2)


@pytest.mark.parametrize(
    "arm",
    [
        "{paradigm: coreset, method: random, per_class: 5000}",
        "{paradigm: coreset, method: random, fraction: 0.0001}",
        "{paradigm: coreset, method: ccs, per_class: 120, cut: 0.5}",
        "{paradigm: distillation, method: dm, images_per_class: 500, init: real}",
        "{paradigm: distillation, method: dm, images_per_class: 1, depth: 9}",
        "{paradigm: coreset, method: aum, fraction: 0.3, proxy: {epochs: 0.5}}",
        "{paradigm: coreset, method: aum, fraction: 0.3, proxy: {epochs: 1, batch_size: 459}}",
        "{paradigm: dp_sgd, privacy: {epsilon: 101}, classifier: {norm: group}}",
        "{paradigm: diffusion, method: conditional, denoiser: {net: unet, width: 12}}",
    ],
)
def test_what_no_shadow_could_do_is_refused_by_check_at_its_place(tmp_path: Path, arm: str) -> None:
    assert "study.yaml:20:" in refusal(spec(tmp_path, **{"{paradigm: undefended}": arm}))


DP = "arms={{a: {{paradigm: dp_sgd, classifier: {{norm: group{}}}, privacy: {{{}}}}}}}"


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("classifier.batch_size=100000", "a batch of 100000 from 1377 private images; at most 1377"),
        (DP.format(", batch_size: 5000", "epsilon: 8"), "a batch of 5000 from 1377 private images"),
        (DP.format("", "epsilon: 8, delta: 1"), "`delta` is 1; it should be less than 1"),
        ("audit.shadows=9", "9 shadows cannot form complementary pairs; use 10"),
        ("arms.undefended.audit={shadows: 7}", "7 shadows cannot form complementary pairs"),
        ("audit.target=8", "shadow 8 of 8 shadows"),
        ("audit.canaries.clean.count=5000", "5,024 canaries, a z pool of 40 and 360 test images of 1,797 images"),
        ("audit.z_pool=1797", "a z pool of 1,797"),
        ("data.validation=1437", "1,437 validation images of 1,797 images"),
        ("data.subset=50", "of 50 images"),
        ("data.subset=5000", "a subset of 5,000 of 1,797 images"),
        ("audit.headline.fpr=0.01", "the FPR 0.01 is not read"),
        ("audit.canaries.mislabeled.count=1", "4 non-member scores cannot show a false-positive rate of 0.1"),
        ("arms={a: {paradigm: distillation, method: mtt, images_per_class: 500, init: real}}", "500 images of each class begin"),
        ("arms={a: {paradigm: diffusion, method: conditional, denoiser: {privacy: {epsilon: 101}}}}", "`epsilon` is 101"),
    ],
)
def test_what_follows_from_the_spec_and_the_card_is_said_at_the_assignment(tmp_path: Path, assignment: str, said: str) -> None:
    assert said in refusal(spec(tmp_path), assignment)


@pytest.mark.parametrize("name", ["n" * 300, "数" * 90, "é" * 120, "a/" * 150, "\U0001f600" * 80, "." * 300 + "x"])
def test_a_name_of_any_length_becomes_a_file_of_its_own(tmp_path: Path, name: str) -> None:
    from compiler.text.escape import file_name

    files = [tmp_path / f"gallery-{file_name(f'{name}{more}')}-nearest-private.png" for more in ("", "x", " 2")]
    for file in files:
        file.touch()
    assert len({file.name for file in files}) == len(list(tmp_path.iterdir())) == 3
    assert all(len(file.name.encode()) <= 200 for file in files)


# --- audits and downloads ------------------------------------------------------------------------------------------------------


def test_audits_of_files_with_one_name_are_two_studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.random.default_rng(0)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        member = draws.random((8, 64)) < 0.5
        npz_of(tmp_path / folder / "audit.npz", scores=member + draws.normal(size=(8, 64)), member=member)
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b", "a"):
        words = ["audit", f"{folder}/audit.npz", "--store", "store", "--db", "r.duckdb", "--resamples", "100"]
        assert main(words) == 0
    from runtime.database.read import query

    assert {study for (study,) in query(tmp_path / "r.duckdb", "SELECT study FROM comparison")[1]} == {"audit", "b_audit"}


def audited(folder: Path, name: str, rng: np.random.Generator) -> Path:
    """A small file of scores."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    member = rng.random((8, 64)) < 0.5
    return npz_of(folder / name, scores=member + rng.normal(size=(8, 64)), member=member)


@pytest.mark.parametrize(
    "names",
    [
        ("a b.npz", "a_b.npz", "a+b.npz", "x/a b.npz"),
        ("audit.npz", "Audit.npz", "AUDIT.npz"),
        ("a/x.npz", "a b/x.npz", "a_b/x.npz", "x.npz"),
        ("数据" * 20 + "甲.npz", "数据" * 20 + "乙.npz"),
        ("n" * 240 + ".npz", "n" * 241 + ".npz"),
        ("v1.2.npz", "v1.3.npz", "v1.npz"),
    ],
    ids=["replaced letters", "case", "folders", "long in bytes alone", "long", "dots"],
)
def test_every_audited_file_has_rows_of_its_own(tmp_path: Path, names: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    where = ["--store", str(tmp_path / "store"), "--db", str(tmp_path / "r.duckdb"), "--resamples", "100", "--redraws", "10"]
    for name in (*names, names[0]):
        assert main(["audit", str(audited(tmp_path, name, rng)), *where]) == 0
    studies = {study for (study,) in query(tmp_path / "r.duckdb", "SELECT study FROM comparison")[1]}
    assert len(studies) == len(names)
    assert all(len(study.encode()) <= 100 for study in studies)


def test_a_set_that_is_judged_beside_a_folder_and_an_audit_of_its_name_has_rows_of_its_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def images(name: str, count: int = 60) -> str:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        drawn = {"images": rng.integers(0, 255, (count, 9, 9, 3)).astype(np.uint8), "labels": np.arange(count) % 2}
        return str(npz_of(tmp_path / name, **drawn))

    where = ["--store", str(tmp_path / "store"), "--db", str(tmp_path / "r.duckdb")]
    data_files.folders(tmp_path / "set", *data_files.pictures(60, 2, (3, 9, 9)), ["0", "1"])
    parts = ["--members", images("members.npz"), "--holdout", images("holdout.npz")]
    for made in (images("set.npz"), images("other/set.npz"), str(tmp_path / "set")):
        assert main(["judge", made, *parts, *where]) in (0, 4)
    (tmp_path / "audits").mkdir()
    assert main(["audit", str(audited(tmp_path / "audits", "set.npz", rng)), *where, "--resamples", "100"]) == 0
    assert len({study for (study,) in query(tmp_path / "r.duckdb", "SELECT study FROM comparison")[1]}) == 4


@pytest.mark.parametrize(("name", "said"), [("n" * 101, "101 bytes"), ("数" * 34, "102 bytes"), ("a/b", "wanted are letters")])
def test_a_name_that_no_file_could_have_is_refused_before_an_audit(
    tmp_path: Path, name: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = audited(tmp_path, "x.npz", np.random.default_rng(0))
    assert main(["audit", str(file), "--db", str(tmp_path / "r.duckdb"), "--study", name]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "r.duckdb").exists()


# --- letters -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("letters", ["\U000102a0\U000102a1", "\ue123", "\U0001bc01 beside Latin", "arm \U00012000"])
@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_letters_that_no_font_has_are_told_of_beside_a_picture(tiny: Done, tmp_path: Path, letters: str, ending: str) -> None:
    drawn = charts.draw("tradeoff", *query(tiny.db, charts.kind_of("tradeoff").query))
    drawn["title"] = letters
    odd = [letter for letter in letters if not letter.isascii()]
    notice = charts.save(drawn, tmp_path / f"chart.{ending}")
    assert (tmp_path / f"chart.{ending}").exists()
    if ending == "svg":
        assert notice == ""
    else:
        assert all(f"(U+{ord(letter):04X})" in notice for letter in odd)
        assert "boxes stand there; install one" in notice


def test_a_chart_is_drawn_where_the_search_for_fonts_hangs(tiny: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], **options: Any) -> Any:
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr("runtime.present.charts.letters.shutil.which", lambda name: name)
    monkeypatch.setattr("runtime.present.charts.letters.subprocess.run", hang)
    drawn = charts.draw("tradeoff", *query(tiny.db, charts.kind_of("tradeoff").query))
    drawn["title"] = "\ue123"
    assert "boxes stand there" in charts.save(drawn, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").exists()


@pytest.mark.parametrize(
    ("label", "package"),
    [
        ("\u732b\u72ac", "fonts-noto-cjk"),
        ("\uace0\uc591\uc774", "fonts-noto-cjk"),
        ("\u306d\u3053", "fonts-noto-cjk"),
        ("\u092c\u093f\u0932\u094d\u0932\u0940", "fonts-noto-core"),
        ("\u0e41\u0e21\u0e27", "fonts-noto-core"),
        ("\U0001f436", "fonts-noto-color-emoji"),
        ("\u0642\u0637\u0629", ""),
        ("\u05d7\u05ea\u05d5\u05dc", ""),
    ],
    ids=["Chinese", "Korean", "Japanese", "Devanagari", "Thai", "emoji", "Arabic", "Hebrew"],
)
def test_labels_of_any_script_are_drawn_or_told_of_with_the_package_that_has_them(
    tiny: Done, tmp_path: Path, label: str, package: str
) -> None:
    drawn = charts.draw("tradeoff", *query(tiny.db, charts.kind_of("tradeoff").query))
    drawn["title"] = label
    notice = charts.save(drawn, tmp_path / "chart.png")
    if notice:  # whether there is a font is up to the machine
        assert f"such as Debian's {package}" in notice
        assert f"(U+{ord(sorted(label)[0]):04X})" in notice
    charts.save(drawn, tmp_path / "chart.svg")
    assert all(letter in (tmp_path / "chart.svg").read_text(encoding="utf-8") for letter in label)


def test_letters_that_fonts_have_are_not_told_of(tiny: Done, tmp_path: Path) -> None:
    drawn = charts.draw("tradeoff", *query(tiny.db, charts.kind_of("tradeoff").query))
    drawn["title"] = "Größe ≤ ε, шум"
    assert charts.save(drawn, tmp_path / "chart.png") == ""
