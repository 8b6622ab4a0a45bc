"""Published results answer every question with today's code, and README and docs/findings.md say what they say.

`python -m tests.test_reference` writes the parts of both pages that stand between `<!-- published: … -->` and `<!-- end -->` anew,
and the pictures; `benchmarks/answer.py` makes the database. SYNTHC_REFERENCE names another one than that of the repository.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from compiler.errors import plural
from runtime.audit.statistics.roc import auc, balanced_accuracy, tpr_at
from runtime.database.questions import questions
from runtime.database.quoting import literal
from runtime.database.read import Query, Scope, narrow, open_read_only
from runtime.database.schema import SCHEMA_DIGEST, list_public
from runtime.present import charts
from runtime.present.answer import answer, choose_reference, count_verdicts, judge
from runtime.present.numbers import format_epsilon, format_interval
from runtime.present.paradigms import Row, order_by_paradigm, rows_of
from runtime.present.tables import claims, comparison, describe_comparison, render
from tests.conftest import ROOT

PUBLISHED = Path(os.environ.get("SYNTHC_REFERENCE", ROOT / "results.duckdb"))
FINDINGS, README = ROOT / "docs" / "findings.md", ROOT / "README.md"
PICTURES = {"full_study": "tradeoff.svg"}
"""Of the trade-off, in docs/; those of other studies are called after them."""
MOST_SHADOWS = 1000
"""Beyond them no number is stated: the figure lies too near to what it is compared with."""


def origin_of(path: Path) -> str:
    """The origin whose rows are published; "" where there are none: no file yet, or one of a run's own rows alone."""
    if not path.exists():
        return ""
    with open_read_only(path) as query:
        return next((name for (name,) in query("SELECT DISTINCT origin FROM run WHERE origin LIKE 'reference-%'")[1]), "")


ORIGIN = origin_of(PUBLISHED)
needs_published = pytest.mark.skipif(not ORIGIN, reason=f"{PUBLISHED} has no published results: benchmarks/answer.py makes them")


@pytest.fixture(scope="module")
def published() -> Iterator[Query]:
    """Questions to the published rows alone: a run writes its own beside them."""
    with open_read_only(PUBLISHED) as query:
        narrow(query, Scope(ORIGIN))
        yield query


MAY_BE_EMPTY = ("changed", "stable", "doubtful")
"""Questions about several runs or replicates, and about doubts."""


@needs_published
def test_every_view_macro_and_question_answers(published: Query) -> None:
    stale = "made by another version of the schema: run benchmarks/answer.py on the file itself"
    assert published("SELECT schema FROM base.meta")[1] == [(SCHEMA_DIGEST,)], stale
    for view, _ in list_public("view"):
        assert published(f"FROM {view}")[0], view
    ((run, trial),) = published("SELECT run, trial FROM run JOIN comparison USING (origin, study, profile) LIMIT 1")[1]
    values = {
        "wanted_run": run,
        "wanted_trial": trial,
        "wanted_attack": "lira",
        "wanted": "comparison",
        "name": "auc",
        "accuracy": 0.9,
    }
    for macro, _ in list_public("macro"):
        name, parameters = re.fullmatch(r"(\w+)\((.*)\)", macro).groups()  # type: ignore[union-attr]
        given = ", ".join(literal(str(values[one])) for one in filter(None, re.split(r", ?", parameters)) if one in values)
        assert published(f"SELECT {macro}" if name == "schema_version" else f"FROM {name}({given})")[1], macro
    for name, asked in questions().items():
        rows = published(asked.text)[1]
        assert rows or name in MAY_BE_EMPTY, name


@needs_published
def test_a_tenth_of_the_figures_of_the_declared_attack_comes_out_of_the_scores_as_stored(published: Query) -> None:
    figures = rows_of(*published(FIGURES))
    seed = hashlib.sha256(PUBLISHED.read_bytes()).hexdigest()
    chosen = random.Random(seed).sample(figures, -(-len(figures) // 10))
    for one in chosen:
        where = " AND ".join(f"{name} = {literal(one[name])}" for name in ("task", "release", "attack", "variant"))
        group = f"score JOIN base.canary USING (origin, task, canary) WHERE {where} AND canaries = {literal(one['canaries'])}"
        found = published(f"SELECT score, member FROM base.{group} AND origin = {literal(ORIGIN)} AND NOT isnan(score)")[1]
        scores, member = np.array([score for score, _ in found]), np.array([side for _, side in found], bool)
        assert _read(one, scores, member) == pytest.approx(one["value"], abs=1e-9), one
    assert len(chosen) >= 10


FIGURES = """
WITH declared AS (
  SELECT origin, study, profile, trial, attack, variant, release, fpr AS declared, answer AS task
  FROM comparison
    JOIN (SELECT origin, study, profile, trial, answer FROM base.current_trial) USING (origin, study, profile, trial)),
ruled AS (
  SELECT origin, study, profile, trial, attack, variant, release, canaries, any_value(rule) AS rule FROM reading GROUP BY ALL)
SELECT DISTINCT origin, task, metric, value, attack, variant, release, canaries, declared, coalesce(rule, 'count') AS rule
FROM declared JOIN base.metric USING (origin, task, attack, variant, release)
  LEFT JOIN ruled USING (origin, study, profile, trial, attack, variant, release, canaries)
WHERE value IS NOT NULL AND metric SIMILAR TO 'headline|auc|balanced_accuracy|tpr@fpr=[^,]*' ORDER BY ALL
"""


def _read(one: Row, scores: np.ndarray, member: np.ndarray) -> float | None:
    """The figure, read from scores by the product's own functions."""
    match one["metric"]:
        case "auc":
            return auc(scores, member)
        case "balanced_accuracy":
            return balanced_accuracy(scores, member)
        case "headline":
            return tpr_at(one["declared"], scores, member, one["rule"] == "lt").value
    return tpr_at(float(one["metric"].removeprefix("tpr@fpr=")), scores, member, one["rule"] == "lt").value


# The pages

BLOCK = re.compile(r"(<!-- published: (\w+) ([\w/]+) -->\n).*?(<!-- end -->)", re.DOTALL)
"""A part that is written from the database: which (finding, study), of which study and profile."""


@dataclass(frozen=True)
class Study:
    """A study under a profile, as it is published."""

    query: Query
    name: str
    """`study`, or `study/profile`."""

    @property
    def where(self) -> str:
        study, _, profile = self.name.partition("/")
        return f"WHERE origin = {literal(ORIGIN)} AND study = {literal(study)} AND profile = {literal(profile)}"

    def rows(self, view: str) -> list[Row]:
        return rows_of(*self.query(f"FROM {view} {self.where}"))

    @property
    def picture(self) -> str:
        return PICTURES.get(self.name, f"tradeoff_{self.name.replace('/', '_')}.svg")

    def draw(self) -> None:
        drawn = charts.draw("tradeoff", *self.query(f"FROM comparison {self.where}"))
        charts.save(drawn, FINDINGS.parent / self.picture)

    def finding(self) -> list[str]:
        """The answer for README: both baselines with their intervals, then what synthetic data leak."""
        trials = self.rows("comparison")
        if not trials:
            return []
        reference = choose_reference(trials, 0)
        undefended = next((row for row in trials if row["paradigm"] == "undefended" and row["leakage"] is not None), None)
        baselines = [
            f"{name} leaks {_percent(row, 'leakage')} at an accuracy of {_percent(row, 'test_accuracy')}"
            for name, row in (("undefended training", undefended), (_name_reference(reference), reference))
            if row is not None
        ]
        about = f"{self.evidence.lower()}, {plural(trials[0]['shadows'], 'shadow')}"
        lead = f"**On {trials[0]['data']}** ({about}): {'; '.join(baselines)}."
        bullets = [
            textwrap.wrap(sentence, 116, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
            for sentence in answer(trials)
        ]
        return [*textwrap.wrap(lead, 116, break_on_hyphens=False), "", *(line for lines in bullets for line in lines), ""]

    @property
    def evidence(self) -> str:
        return str(next((claim["evidence"] for claim in self.rows("claim")), None) or "exploratory").capitalize()

    def study(self) -> list[str]:
        """The section of docs/findings.md."""
        if not self.rows("run"):
            return ["This study is not published yet."]
        trials, found, pairs = self.rows("comparison"), self.rows("claim"), self.rows("claim_pair")
        labels = {row["trial"]: row["label"] for row in trials}
        said = [f"- {sentence}" for sentence in (*answer(trials), *([f"{count_verdicts(found)}."] if found else []))]
        table = render(*comparison(*self.query(f"FROM comparison {self.where} ORDER BY trial")), "markdown")
        lines = [self.facts(trials, found), "", *said, "", f"![Accuracy against leakage]({self.picture})", ""]
        lines += [describe_comparison(trials), "", table]
        if found:
            lines += ["", "### Claims", "", render(*claims(found, pairs, labels), "markdown"), *_deciding(found, pairs)]
        lines += ["", "### Undecided", "", *_undecided(trials, found)]
        return [*lines, *_earlier(found)]

    def signals(self) -> list[str]:
        """What each attack on a generator finds: signal × generator, a table for each kind of canaries, and the strongest."""
        of_generator = f"{self.where} AND release = 'generator'"
        found = rows_of(*self.query(f"FROM result {of_generator} AND attack = 'denoising'"))
        arms = {row["label"]: None for row in order_by_paradigm(self.rows("comparison")) if row["method"] == "conditional"}
        figures = {(row["label"], row["variant"], row["canaries"], row["metric"]): row for row in found}
        tpr, lines = next((name for _, _, _, name in figures if re.fullmatch(r"tpr@fpr=[^,]*", name)), ""), []
        for kind in dict.fromkeys(row["canaries"] for row in found if row["canaries"]):
            rows = []
            for variant in dict.fromkeys(row["variant"] for row in found):
                cells = [[figures.get((arm, variant, kind, name)) for name in (tpr, "auc")] for arm in arms]
                rows.append([variant, *("; ".join(map(_short, cell)) for cell in cells)])
            lines += [f"**{kind.capitalize()}**, TPR in % at {100 * float(tpr[8:]):g} % FPR; AUC", ""]
            lines += [render(["signal and attack", *arms], rows, "markdown"), ""]
        strongest = max((row for row in found if row["metric"] == tpr and row["value"] is not None), key=lambda row: row["value"])
        key = strongest["label"], strongest["variant"], strongest["canaries"]
        null, p = (figures.get((*key, name), {"value": None})["value"] for name in ("null_auc", "permutation_p"))
        known = "" if null is None or p is None else f" (with membership redrawn AUC {null:.3f}; permutation p {p:.3f})"
        return [*lines, f"The strongest: {key[1]} on {key[0]}, {key[2]} canaries: {_short(strongest)} %{known}."]

    def facts(self, trials: list[Row], found: list[Row]) -> str:
        (run,) = self.rows("run")
        ((tasks, minutes, in_run),) = self.query(
            "SELECT count(*), sum(cpu_seconds) / 60, min(outcome.started) >= run.started FROM base.task JOIN base.outcome "
            "AS outcome USING (origin, task) JOIN run USING (origin, run) "
            f"{self.where} AND run = {literal(run['run'])} GROUP BY run.started"
        )[1]
        clock = f", {(run['ended'] - run['started']).total_seconds() / 60:.1f} minutes by the clock" if in_run else ""
        before = max((claim["outcomes_before"] or 0 for claim in found), default=0)
        there = f"{plural(before, 'trial')} of the study, of any profile, had outcomes in its store"
        had = f"When the last of its claims was declared, {there}"
        claimed = f" {had if before else 'Its claims were declared before any outcome in its store'}." if found else ""
        return (
            f"**{self.evidence}.** {' '.join(run['question'].split())} {plural(len(trials), 'trial')}, {tasks:,} tasks, "
            f"{minutes:.1f} core-minutes{clock}; run on {run['started']:%Y-%m-%d}.{claimed}"
        )


def _name_reference(row: Row | None) -> str:
    return "DP-SGD" if row is None or row["epsilon"] is None else f"DP-SGD at ε = {format_epsilon(row['epsilon'])}"


def _percent(row: Row, name: str) -> str:
    return format_interval(row[name], row[f"{name}_low"], row[f"{name}_high"], ".1f", 100) + "\u00a0%"


def _short(row: Row | None) -> str:
    """A figure with its interval; shares in percent, areas as they are."""
    if row is None or row["value"] is None:
        return "–"
    spec, scale = (".3f", 1) if row["metric"] == "auc" else (".1f", 100)
    return format_interval(row["value"], row["low"], row["high"], spec, scale)


def _deciding(found: list[Row], pairs: list[Row]) -> list[str]:
    """For claims on several figures: which figure decides how many pairs."""
    lines = []
    for claim in found:
        counts: dict[str, int] = {}
        for pair in pairs:
            if pair["claim"] == claim["claim"] and pair["decided_by"]:
                counts[pair["decided_by"]] = counts.get(pair["decided_by"], 0) + 1
        if claim["test"] == "dominance":
            listed = ", ".join(f"{figure.replace('_', ' ')} in {count}" for figure, count in sorted(counts.items()))
            lines += ["", f"*{claim['statement']}* Of its {claim['compared']} pairs what decides is {listed}."]
    return lines


def _undecided(trials: list[Row], found: list[Row]) -> list[str]:
    """Sentences on undecided claims: how many shadows each would need at least."""
    reference, rows = choose_reference(trials, 0), []
    ways = [row for row in trials if row["paradigm"] not in ("undefended", "dp_sgd") and not row["control"]]
    for row in order_by_paradigm(ways) if reference else ():
        if judge(row, reference) == "undecided":
            bar, figures = reference["leakage_high"], [row[name] for name in ("leakage", "leakage_low", "leakage_high")]
            what = f"whether {row['label']} leaks more than DP-SGD may ({100 * bar:.1f}\u00a0%)"
            if None in figures:
                rows.append([what, row["leakage_note"], "unknown"])
                continue
            value, low, high = figures
            half = value - low if value > bar else high - value
            rows.append([what, f"leaks {_percent(row, 'leakage')}", _shadows(row["shadows"], half, abs(value - bar))])
    for claim in found:
        if claim["study_verdict"] == "undecided" and claim["p"] is not None:
            # Holm multiplies p by as many claims as are left: so much smaller it would have to be.
            needed = 0.05 * claim["p"] / max(claim["study_p"], claim["p"], 1e-12)
            z, wanted = (NormalDist().inv_cdf(1 - max(p, 1e-12) / 2) for p in (claim["p"], needed))
            rows.append(
                [claim["statement"], f"p = {claim['study_p']:.2g} over all claims", _shadows(trials[0]["shadows"], wanted, z)]
            )
    if not rows:
        return ["Nothing."]
    heads = ["what", "measured", "shadows that it would take"]
    note = (
        f"There are {trials[0]['shadows']} shadows. The numbers are the least: as if the figure stayed where it is and its "
        "error fell with the root of their number, and DP-SGD's not at all; what it owes to the draw of canaries does not fall."
    )
    return [render(heads, rows, "markdown"), "", note]


def _shadows(now: int, wanted: float, there: float) -> str:
    """An even number of shadows at which a distance of `there` is as large as `wanted` was."""
    needed = now * (wanted / max(there, 1e-12)) ** 2
    return f"more than {MOST_SHADOWS:,}" if needed > MOST_SHADOWS else f"{2 * -(-needed // 2):.0f}"


def _earlier(found: list[Row]) -> list[str]:
    """Verdicts that earlier words, settings or seeds of a claim had."""
    rows = []
    for claim in found:
        said = [
            f"{one['verdict']} {format_interval(one['effect'], one['low'], one['high'], '.3f')} ({one['run']})"
            for one in json.loads(claim["earlier"] or "[]")
        ]
        if said:
            rows.append([claim["statement"], "; ".join(said), claim["study_verdict"]])
    return (
        ["", "### Earlier verdicts", "", render(["claim", "before: effect (run or commit)", "now"], rows, "markdown")]
        if rows
        else []
    )


def written(page: Path, query: Query) -> str:
    """The page with its published parts as the database has them."""

    def write(block: re.Match[str]) -> str:
        study = Study(query, block[3])
        return "\n".join([block[1].rstrip("\n"), *getattr(study, block[2])(), block[4]])

    return BLOCK.sub(write, page.read_text(encoding="utf-8"))


@needs_published
@pytest.mark.parametrize("page", [README, FINDINGS], ids=lambda page: page.name)
def test_the_published_parts_of_a_page_say_what_the_database_says(page: Path, published: Query) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == written(page, published), "python -m tests.test_reference writes them anew"
    if page == FINDINGS:
        studies = {"/".join(filter(None, row)) for row in published("SELECT DISTINCT study, profile FROM run")[1]}
        assert studies <= {block[3] for block in BLOCK.finditer(text)}, "each published study has a section"


@pytest.mark.parametrize(("page", "heading"), [(README, "What it found"), (FINDINGS, None)], ids=["README", "findings"])
def test_no_figure_of_a_finding_stands_outside_of_the_published_parts(page: Path, heading: str | None) -> None:
    """But in the section on what was changed after looking, of studies that no database here has."""
    sections = re.split(r"^## (.+)\n", "\n" + page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    texts = dict(zip(["", *sections[1::2]], sections[::2], strict=True))
    texts.pop("What was changed after looking", None)
    kept = texts if heading is None else {heading: texts[heading]}
    assert any(BLOCK.search(text) for text in kept.values())
    for name, text in kept.items():
        prose = re.sub(r"`[^`]*`|\]\([^)]*\)|8×8|28×28", "", BLOCK.sub("", text))
        assert re.findall(r".*\d.*", prose) == [], name


if __name__ == "__main__":
    if not ORIGIN:
        sys.exit(f"{PUBLISHED} has no published results: benchmarks/answer.py makes them")
    with open_read_only(PUBLISHED) as ask:
        narrow(ask, Scope(ORIGIN))
        for one in (README, FINDINGS):
            new = written(one, ask)
            one.write_text(new, encoding="utf-8")
        for block in BLOCK.finditer(FINDINGS.read_text(encoding="utf-8")):
            if (study := Study(ask, block[3])).rows("run"):
                study.draw()
