"""The report: what it says and what it keeps to itself, whole without a network, readable by anyone."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from datetime import datetime
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compiler.errors import SynthcError
from runtime.cli.main import main
from runtime.database.read import Scope
from runtime.present import charts, report
from runtime.present.charts.gallery import arrange, make_sheet, to_png, to_uint8
from runtime.present.report.read import ReportArm, StudyResults, read
from runtime.store.artifacts import encode_tensors, folder_of
from runtime.store.records import write_record
from tests.artifacts import artifact
from tests.conftest import Done
from tests.runtime.present.test_charts import claim, data_of, drawn, rows_for, trial

EVIL = '<script>alert("1")</script>'


class Parsed(HTMLParser):
    """The elements of a page in order, and the text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag if tag in self.raw else ""
        if self._inside:
            self.raw[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.raw[self._inside][-1] += data
        else:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def results(trials: list[dict[str, Any]], **other: Any) -> StudyResults:
    """Results as `read` would give them, without a database."""
    run: dict[str, Any] = {
        "run": "r",
        "study": "s",
        "profile": "",
        "question": "Does it protect?",
        "spec": "s.yaml",
        "spec_text": "study: s\n",
        "argv": ["run", "s.yaml"],
        "started": datetime(2026, 1, 1),
        "ended": datetime(2026, 1, 2),
        "status": "done",
        "commit": "abc",
        "source_digest": "d",
        "versions": {"torch": "2"},
        "claims": [],
        "lints": [],
        "headline": {"attack": "lira", "canaries": "mislabeled", "release": "final_model", "fpr": 0.01},
    }
    drawn = {name: rows_for(name, trials) for name in charts.CHARTS}
    whole: dict[str, Any] = {
        "run": run,
        "comparison": [row | {"auc_n": 2048, "answer": "0" * 16} for row in trials],
        "figures": [],
        "claims": [],
        "pairs": [],
        "cost": [],
        "failed": [],
        "arms": [ReportArm(row["arm"], row["paradigm"], row["method"], [row], [{}]) for row in trials],
        "charts": {name: (list(rows[0]) if rows else [], [tuple(row.values()) for row in rows]) for name, rows in drawn.items()},
        "sets": [],
        "audit": None,
        "store_found": False,
    }
    return StudyResults(**whole | other)


@pytest.fixture(scope="session")
def tiny_page(tiny: Done, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of the tiny study, by the command."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert main(["report", "-o", str(path), "--db", str(tiny.db)]) == 0
    return path.read_text(encoding="utf-8")


# What it says


def test_the_report_of_a_real_run_has_its_figures_with_interval_and_n(tiny: Done, tiny_page: str) -> None:
    page = Parsed(tiny_page)
    ((accuracy, low, high, shadows),) = tiny.rows(
        "SELECT test_accuracy, test_accuracy_low, test_accuracy_high, shadows FROM comparison WHERE arm = 'undefended'"
    )
    assert f"{100 * accuracy:.1f} % [{100 * low:.1f}, {100 * high:.1f}] n = {shadows}" in page.words
    assert "Does the whole road hold?" in page.words
    assert "declares no claims, so there are no verdicts" in page.words
    for wanted in (
        "coreset random",
        "coreset forgetting",
        "null_permutations",
        "synthc run",
        "class_balanced",
        "What turning one knob does",
    ):
        assert wanted in page.words


def test_a_control_is_named_as_one_and_the_report_says_what_it_is_for_and_what_it_does_not_show() -> None:
    control = trial(1, label="untuned", control=True)
    words = Parsed(report.page(results([trial(), control]))).words
    assert "untuned (control)" in words
    assert "Control: untuned. It is no way of training to choose" in words
    assert "With membership redrawn, every set, classifier and answer of it is equal bit for bit" in words
    assert "It does not show what the base had seen" in words
    assert "no score is there to tell members by" not in words
    unresolved = control | {"release": "generator", "leakage": None, "leakage_low": None, "leakage_high": None}
    assert "no score is there to tell members by" in Parsed(report.page(results([trial(), unresolved]))).words
    assert "(control)" not in Parsed(report.page(results([trial()]))).words


def test_the_answer_comes_first_beside_the_trade_off_then_claims_as_sentences_then_the_rest() -> None:
    pair = {
        "claim": "c0",
        "left": "a#0",
        "right": "b#0",
        "effect": 0.2,
        "low": 0.1,
        "high": 0.3,
        "n": 9,
        "p": 0.004,
        "verdict": "supported",
        "note": "",
    }
    claims = [claim(0), claim(1, effect=None, low=None, high=None, verdict="undecided")]
    words = Parsed(report.page(results([trial()], claims=claims, pairs=[pair]))).words
    assert "2 claims: 1 supported, 1 undecided" in words
    assert "✓ supported a#0 leaks 20.0 points more (10.0 to 30.0) than b#0." in words
    assert "n = 1,024" in words
    assert "undecided not resolvable." in words
    assert "0.004" in words
    order = [
        words.index(text)
        for text in ("The answer", "guessing would", "Accuracy against leakage", "✓ supported", "Leakage is the headline")
    ]
    assert order == sorted(order)


def test_a_claim_that_is_supported_only_if_it_is_tested_alone_is_undecided_in_the_report_and_in_the_chart() -> None:
    alone = claim(0, study_verdict="undecided", study_p=0.21)
    words = Parsed(report.page(results([trial()], claims=[alone]))).words
    assert "1 claim: 1 undecided" in words
    assert "✓ supported" not in words
    assert "tested alone it is supported; over all claims of the study p = 0.21" in words
    (row,) = [row for row in data_of(drawn("claims", [alone])) if "label" in row]
    assert row["label"].splitlines()[-1].startswith("undecided")


def test_what_cannot_be_resolved_or_is_invalid_is_said_in_words() -> None:
    rows = [
        trial(0, leakage=None, leakage_low=None, leakage_high=None),
        trial(1, null_ok=False),
        trial(2, attack=None, leakage=None, test_accuracy=None, auc=None),
        trial(3, test_accuracy_low=None),
    ]
    failed = [{"address": "arm2#0/shadow 0", "status": "failed", "error": EVIL, "attempts": 3, "log": "x"}]
    page = Parsed(report.page(results(rows, failed=failed)))
    for wanted in (
        "not resolvable",
        "not measured",
        "failed: figures invalid",
        "The null control failed for arm1",
        "no interval",
        "Failed, or waiting for what did: 1 task.",
        EVIL,
    ):
        assert wanted in page.words
    assert [row.get("class") for row in page.all("tr") if "data-paradigm" in row].count("invalid") == 1


def test_of_an_audited_file_is_said_what_it_is() -> None:
    whole = results([trial(0, paradigm="imported", test_accuracy=None, seconds=None, epsilon=None)], store_found=True)
    whole.run["argv"] = ["audit", "file.npz", "--db", "results.duckdb"]
    words = Parsed(report.page(whole)).words
    assert "Trials 1 of 1 audited" in words
    assert "Shadow models 16 per trial" in words
    assert "Leakage is what the command line asked for" in words
    assert "Imported not measured" in words, "its accuracy"
    assert "These models were trained elsewhere" in words


@pytest.mark.parametrize(
    ("command", "said"),
    [("audit", "Leakage is what the command line asked for"), ("judge", "Leakage is what synthc judge measures")],
)
def test_a_result_that_no_study_made_is_repeated_by_its_own_command_and_declares_no_headline(command: str, said: str) -> None:
    whole = results([trial(0)])
    whole.run["argv"] = [command, "file.npz", "--db", "results.duckdb"]
    words = Parsed(report.page(whole)).words
    assert said in words
    assert "declared in advance" not in words
    assert f"synthc {command} file.npz --db results.duckdb" in words


def test_lints_and_flags_are_shown_with_their_silencings() -> None:
    lint = {"code": "L15", "title": "unstable", "because": "such fits are", "source": "a paper", "message": "8 shadows are few"}
    lints = [
        lint | {"place": "s.yaml:3:1", "seen_in": "spec", "silenced": "a smoke test"},
        lint | {"code": "L01", "place": None, "seen_in": "results", "silenced": None},
    ]
    whole = results([trial(0, flags="devices: cpu, cuda")])
    whole.run["lints"] = lints
    words = Parsed(report.page(whole)).words
    assert "L15: unstable such fits are. Source: a paper. s.yaml:3:1 : 8 shadows are few Silenced: a smoke test" in words
    assert "L01: 8 shadows are few." in words.split("The answer")[0], "what the results cannot show stands at the top"
    assert "In the results: 8 shadows are few" in words
    assert "arm0 : devices: cpu, cuda" in words


def test_the_same_results_give_the_same_page() -> None:
    assert report.page(results([trial(0), trial(1)])) == report.page(results([trial(0), trial(1)]))


# What it keeps to itself


def test_nothing_can_be_fetched_and_only_the_pages_own_scripts_run(tiny_page: str) -> None:
    page = Parsed(tiny_page)
    links = [
        value or ""
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action")
    ]
    assert links
    assert [link for link in links if not link.startswith(("#", "data:image/png;base64,"))] == []
    assert not any(re.search(r"@import|url\(", style) for style in page.raw["style"])
    assert not page.all("link") + page.all("iframe") + page.all("object")
    (policy,) = [meta["content"] or "" for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    scripts = [text for text, attributes in zip(page.raw["script"], page.all("script"), strict=True) if "type" not in attributes]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    assert re.findall(r"'sha256-([^']+)'", policy) == hashes
    assert "unsafe-eval" not in policy
    ours = scripts[-1]
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|https?:", ours)


def test_names_from_a_spec_are_text_wherever_they_stand() -> None:
    row = trial(
        0, label=EVIL, arm=EVIL, trial=EVIL, method=EVIL, data=EVIL, canaries=EVIL, variant=EVIL, flags=EVIL, leakage_note=EVIL
    )
    whole = results([row], claims=[claim(0, statement=EVIL, claim=EVIL, note=EVIL, verdict=EVIL)])
    whole.run.update(study=EVIL, question=EVIL, spec_text="</pre>" + EVIL, argv=[EVIL], lints=[EVIL], profile=EVIL, commit=EVIL)
    page = Parsed(report.page(whole, EVIL))
    assert len(page.all("script")) == 3
    assert page.words.count('alert("1")') > 10
    assert json.loads(page.raw["script"][0])["tradeoff"]


def test_private_images_are_absent_unless_asked_for(
    tiny: Done, tiny_page: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "data:image" not in tiny_page  # its only sets are coresets
    assert "withheld" in tiny_page
    assert main(["report", "-o", str(tmp_path / "private.html"), "--db", str(tiny.db), "--with-private-images"]) == 0
    assert "do not pass it on" in capsys.readouterr().out
    images = [
        image for image in Parsed((tmp_path / "private.html").read_text()).all("img") if (image["src"] or "").startswith("data:")
    ]
    assert len(images) == 4  # two sets, and beside each the nearest private images
    assert images[0]["src"] == images[1]["src"]  # a coreset's images are their own nearest
    assert all(image["alt"] for image in images)


def test_the_gallery_writes_no_private_image_unless_asked_for(tiny: Done, tmp_path: Path) -> None:
    command = ["chart", "gallery", "-o", str(tmp_path), "--db", str(tiny.db)]
    assert main(command) == 0
    assert list(tmp_path.iterdir()) == []
    assert main([*command, "--with-private-images"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"gallery-tiny-coreset-method-{method}-0{ending}.png"
        for method in ("forgetting", "random")
        for ending in ("-nearest-private", "")
    ]


def test_a_set_is_shown_only_when_its_words_and_its_origins_say_that_it_is_not_private(tmp_path: Path) -> None:
    task = "0123456789abcdef"
    folder = folder_of(tmp_path, task)
    folder.mkdir(parents=True)
    made = {"images": torch.rand(6, 1, 4, 4), "labels": torch.eye(3).repeat(2, 1)}
    artifact(folder, set=made)

    def asked(how: dict[str, Any]) -> None:
        text = json.dumps(
            [
                "synthc.task",
                1,
                "Synthesize",
                "synthesize",
                [1, 1],
                {"": "Synthesize", "private": None, "recipe": None, "iterations": 1, "how": how},
                [],
            ]
        )
        write_record(folder / "task.json", {"id": folder.name, "text": text})

    def withheld() -> bool:
        found = make_sheet(tmp_path, task)
        return found is not None and found.private and found.png is None

    learned = {"": "DistributionMatching", "paradigm": "distillation", "method": "dm", "images_per_class": 2}
    for how, private in (
        (learned | {"init": "noise"}, False),
        (learned | {"init": "real"}, True),
        ({"": "Unheard", "method": "of"}, True),
        ({"": "ImageToImage", "paradigm": "diffusion", "method": "sdedit", "strength": 0.5}, True),
        ({"": "RandomSubset", "paradigm": "coreset", "method": "random", "fraction": 0.5}, True),
    ):
        asked(how)
        assert withheld() == private, how
    asked(learned | {"init": "noise"})
    artifact(folder, set=made, audit={"origins": torch.tensor([-1, -1, 3, -1, -1, -1])})
    assert withheld()
    (folder / "task.json").unlink()
    assert withheld()
    assert make_sheet(tmp_path, "f" * 16) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"\x08" + b"\0" * 7 + b"not JSON", encode_tensors({"others": torch.rand(2)})],
    ids=["empty", "cut", "no header", "other names"],
)
@pytest.mark.parametrize("name", ["set", "audit", "pairs"])
def test_a_damaged_file_of_images_takes_its_own_sheet_away_and_counts_as_private(tmp_path: Path, name: str, content: bytes) -> None:
    task, answer = "0123456789abcdef", "fedcba9876543210"
    for id in (task, answer):
        folder_of(tmp_path, id).mkdir(parents=True)
    artifact(folder_of(tmp_path, task), set={"images": torch.rand(6, 1, 4, 4), "labels": torch.arange(6)})
    how = {"": "DistributionMatching", "paradigm": "distillation", "method": "dm", "images_per_class": 2, "init": "noise"}
    params = {"": "Synthesize", "private": None, "recipe": None, "iterations": 1, "how": how}
    text = json.dumps(["synthc.task", 1, "Synthesize", "synthesize", [1, 1], params, []])
    write_record(folder_of(tmp_path, task) / "task.json", {"id": task, "text": text})
    whole = make_sheet(tmp_path, task, with_private=True, answer=answer)
    assert whole is not None
    assert not whole.private
    (folder_of(tmp_path, answer if name == "pairs" else task) / f"{name}.safetensors").write_bytes(content)
    shown = make_sheet(tmp_path, task, with_private=True, answer=answer)
    assert shown == {"set": None, "audit": dataclasses.replace(whole, private=True), "pairs": whole}[name]


# Parts


def test_a_sheet_has_a_row_per_class_and_keeps_its_pixels() -> None:
    import io

    from PIL import Image

    images = to_uint8(np.array([[[[0.0, 1.5], [-1.0, np.nan]]]] * 5, dtype=np.float32))
    assert images[0, :, :, 0].tolist() == [[0, 255], [0, 0]]
    chosen, classes = arrange(np.array([7, 3, 3, 7, 3]))
    assert classes == (3, 7)
    assert chosen[:, :3].tolist() == [[1, 2, 4], [0, 3, -1]]
    with Image.open(io.BytesIO(to_png(images, chosen))) as image:
        assert image.size == (10 * 3 - 1, 2 * 3 - 1)
        assert image.getpixel((1, 0)) == (255, 255, 255, 255)
        assert image.getpixel((2, 0)) == (0, 0, 0, 0)  # between two images


def test_a_study_that_is_not_there_is_named_with_those_that_are(tiny: Done, tmp_path: Path) -> None:
    with pytest.raises(SynthcError, match="did you mean 'tiny'"):
        read(tiny.db, tiny.store, Scope(study="tinny"))
    with pytest.raises(SynthcError, match="no profile"):
        read(tiny.db, tiny.store, Scope(profile="large"))
    with pytest.raises(SynthcError, match="no such database"):
        read(tmp_path / "none.duckdb", tiny.store, Scope())


def test_without_the_store_figures_remain(tiny: Done, tmp_path: Path) -> None:
    found = read(tiny.db, tmp_path, Scope())
    assert len(found.comparison) == 3
    assert (found.sets, found.audit, found.store_found) == ([], None, False)


# Anyone can read it


def test_headings_landmarks_and_names_are_in_order(tiny_page: str) -> None:
    page = Parsed(tiny_page)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    for landmark in ("header", "nav", "main", "footer"):
        assert len(page.all(landmark)) == 1
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {(link["href"] or "")[1:] for link in page.all("a")} <= set(ids)
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("caption")) == len(page.all("table")) > 0
    scrolling = [box for box in page.all("div") if box.get("class") == "scroll"]
    assert len(scrolling) == len(page.all("table"))
    assert all(box["tabindex"] == "0" and box["aria-label"] for box in scrolling)
    assert all(place["aria-label"] for place in page.all("div") if (place.get("id") or "").startswith("chart-"))


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"outcomes_before": 0}, "declared before the first result"),
        ({"outcomes_before": 7, "declared": datetime(2026, 11, 28)}, "added on 2026-11-28, after 7 results"),
        ({}, "it is not known when this was declared"),
        (
            {"outcomes_before": 0, "earlier": '[{"run": "a first run", "verdict": "refuted"}]'},
            "declared before the first result; was refuted in a first run",
        ),
    ],
)
def test_a_claim_says_when_it_was_declared_and_what_it_was_before(told: dict[str, Any], words: str) -> None:
    assert words in report.page(results([trial()], claims=[claim() | told]))
