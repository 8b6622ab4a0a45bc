"""Charts: what they encode, what they refuse to hide, and what odd results look like. Specs of Vega-Lite beside `charts/*.json`."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import altair as alt
import pytest
import vl_convert
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.errors import SynthcError
from runtime.present import charts, tables
from runtime.present.charts import labels, look, roc, tradeoff, vulnerability
from runtime.present.paradigms import NAMES, PARADIGMS

GOLDEN = Path(__file__).parent / "charts"
VERSION = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
OF_TRIALS = ("tradeoff", "roc", "vulnerability", "ablation", "cost", "epsilon")
ODD = ['<script>alert("1")</script>', r"50%_of & all $x^2$ {\#} ~", "ü" * 90, "", "a\nb\tc"]


def trial(place: int = 0, **other: Any) -> dict[str, Any]:
    """A row of `comparison`, with figures that follow from `place`."""
    paradigm = PARADIGMS[place % 6]
    accuracy, leakage = 0.9 + 0.01 * (place % 7), min(1.0, 0.02 * (place + 1))
    row = {
        "study": "s",
        "profile": "",
        "arm": f"arm{place}",
        "paradigm": paradigm,
        "method": "m",
        "label": f"arm{place}",
        "trial": f"arm{place}#0",
        "axes": json.dumps({"fraction": 0.1 * (place + 1)}),
        "replicate": 0,
        "data": "digits",
        "test_accuracy": accuracy,
        "test_accuracy_low": accuracy - 0.01,
        "test_accuracy_high": accuracy + 0.01,
        "leakage": leakage,
        "leakage_low": leakage / 2,
        "leakage_high": min(1.0, leakage * 1.5),
        "leakage_n": 1024,
        "fpr": 0.01,
        "canaries": "mislabeled",
        "attack": "lira",
        "variant": "logit/pooled/1q",
        "release": "final_model",
        "leakage_note": "",
        "auc": 0.6,
        "auc_low": 0.5,
        "auc_high": 0.7,
        "epsilon": 8.0 if paradigm == "dp_sgd" else None,
        "seconds": 2.0 + place,
        "seconds_low": 1.5 + place,
        "seconds_high": 2.5 + place,
        "shadows": 16,
        "null_ok": True,
        "flags": "",
    }
    return row | other


def rows_for(name: str, trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the chart's query would give for these rows of `comparison`."""
    match name:
        case "roc":
            curve = [(0.0, 0.0), (0.001, 0.1), (0.1, 0.5), (1.0, 1.0)]
            return [
                row
                | {"canaries": group, "fpr": fpr, "tpr": tpr, "low": tpr / 2, "high": tpr, "at": row["fpr"]}
                | {"headline_canaries": row["canaries"]}
                for row in trials
                for group in ("mislabeled", "clean")
                for fpr, tpr in curve
            ]
        case "vulnerability":
            return [row | {"canary": canary, "tpr": canary / 4, "low": 0.0, "high": 1.0} for row in trials for canary in range(5)]
        case "ablation":
            return [row | {"arm": "grid"} for row in trials]
        case "epsilon":
            return [
                row | {"bound": 0.5 * place, "bound_by": by, "bound_n": 128, "bound_note": "note"}
                for row in trials
                for place, by in enumerate(("epsilon_lower_steinke", "epsilon_lower_f_dp"))
            ]
        case "claims":
            return [claim(place, statement=row["label"]) for place, row in enumerate(trials)]
    return trials


def claim(place: int = 0, **other: Any) -> dict[str, Any]:
    """A row of the view `claim`."""
    return {
        "study": "s",
        "profile": "",
        "claim": f"c{place}",
        "statement": f"claim {place}",
        "test": "difference",
        "metric": "leakage",
        "effect": 0.2,
        "low": 0.1,
        "high": 0.3,
        "n": 1024,
        "margin": 0.05,
        "pairs": "all",
        "compared": 1,
        "verdict": "supported",
        "note": "",
    } | other


def drawn(name: str, rows: list[dict[str, Any]], theme: look.Theme = "paper") -> dict[str, Any]:
    columns = list(rows[0]) if rows else []
    spec = charts.draw(name, columns, [list(row.values()) for row in rows], theme).to_dict()
    json.dumps(spec, allow_nan=False)
    return spec


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping of a spec, data left out."""
    if isinstance(value, dict):
        yield value
        for key, item in value.items():
            if key not in ("values", "datasets"):
                yield from nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from nodes(item)


def data_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    found = [node["data"]["values"] for node in nodes(spec) if "values" in node.get("data", {})]
    return [row for rows in found for row in rows] + [row for rows in spec.get("datasets", {}).values() for row in rows]


def encodings(spec: dict[str, Any], mark: str) -> list[dict[str, Any]]:
    """Encodings of the layers with this mark."""
    return [node["encoding"] for node in nodes(spec) if "encoding" in node and node.get("mark", {}).get("type") == mark]


def subtitle(spec: dict[str, Any]) -> str:
    return " ".join(spec["title"]["subtitle"])


# What each encodes


def test_the_tradeoff_shows_both_figures_with_both_intervals() -> None:
    spec = drawn("tradeoff", [trial(place) for place in range(4)])
    points = encodings(spec, "point")[0]
    assert (points["x"]["field"], points["y"]["field"]) == ("leakage", "test_accuracy")
    across, upright = encodings(spec, "rule")[1:]
    assert (across["x"]["field"], across["x2"]["field"]) == ("leakage_low", "leakage_high")
    assert (upright["y"]["field"], upright["y2"]["field"]) == ("test_accuracy_low", "test_accuracy_high")
    assert points["x"]["title"] == "Leakage: TPR at 1\u00a0% FPR"


def test_a_roc_curve_is_drawn_on_two_log_axes_in_a_panel_for_each_group_the_declared_one_first() -> None:
    spec = drawn("roc", rows_for("roc", [trial(0), trial(1)]))
    panels = spec["hconcat"]
    assert [row["canaries"] for row in data_of({"hconcat": panels}) if set(row) == {"canaries"}] == [
        "mislabeled canaries",
        "clean canaries",
    ]
    for encoding in encodings(spec, "line"):
        assert encoding["x"]["scale"]["type"] == encoding["y"]["scale"]["type"] == "log"
        assert encoding["x"]["scale"]["domain"] == encoding["y"]["scale"]["domain"]


def test_few_roc_curves_have_bands_and_many_say_where_their_intervals_are() -> None:
    few = drawn("roc", rows_for("roc", [trial(place) for place in range(roc.BANDED)]))
    bands = encodings(few, "area")
    assert [(band["y"]["field"], band["y2"]["field"]) for band in bands] == [("low", "high")] * 2
    assert "bands: pointwise" in subtitle(few)
    more = drawn("roc", rows_for("roc", [trial(place) for place in range(roc.BANDED + 1)]))
    assert encodings(more, "area") == []
    assert f"{roc.BANDED} trials or fewer have bands" in subtitle(more)
    assert encodings(more, "rule")  # the headline's intervals


def test_a_band_has_a_corner_only_where_the_audit_gave_an_interval() -> None:
    rows = [row | ({"low": None, "high": None} if row["fpr"] == 0.1 else {}) for row in rows_for("roc", [trial()])]
    corners = [row["x"] for row in data_of(drawn("roc", rows)) if set(row) == {"x", "low", "high", "key", "Paradigm"}]
    assert 0.1 not in corners
    assert 0.001 in corners


def test_lines_of_few_trials_have_dashes_that_tell_paradigms_apart_in_grey() -> None:
    for name in ("roc", "vulnerability"):
        (dashes, *_) = [
            layer["strokeDash"]["scale"]["range"]
            for layer in encodings(drawn(name, rows_for(name, [trial(place) for place in range(6)])), "line")
            if "strokeDash" in layer
        ]
        assert len({tuple(dash) for dash in dashes}) == 6


def test_vulnerability_is_a_falling_staircase_over_the_share_of_canaries() -> None:
    encoding = encodings(drawn("vulnerability", rows_for("vulnerability", [trial()])), "line")[1]
    assert (encoding["x"]["field"], encoding["y"]["field"], encoding["order"]["field"]) == ("share", "tpr", "share")


def test_an_ablation_has_a_panel_for_each_axis_that_turns_with_numbers_in_their_order() -> None:
    rows = [
        trial(place, arm="a", axes=json.dumps({"fraction": fraction, "init": "noise"}))
        for place, fraction in enumerate((10, 9, 0.5))
    ]
    spec = drawn("ablation", rows)
    assert len(spec["hconcat"]) == 1  # `init` never turns
    encoding = encodings(spec, "line")[0]
    assert encoding["x"]["title"] == "fraction"
    assert encoding["x"]["sort"] == ["0.5", "9", "10"]


def test_cost_has_seconds_on_a_log_axis_against_accuracy_and_against_leakage() -> None:
    spec = drawn("cost", [trial(0), trial(1)])
    points = [encodings(panel, "point")[0] for panel in spec["hconcat"]]
    assert [encoding["y"]["title"] for encoding in points] == ["Test accuracy", "Leakage: TPR at 1\u00a0% FPR"]
    assert all(encoding["x"]["scale"]["type"] == "log" for encoding in points)
    across = [encoding for encoding in encodings(spec, "rule") if "x2" in encoding]
    assert [(encoding["x"]["field"], encoding["x2"]["field"]) for encoding in across] == [("from", "to")] * 2
    (low, high) = encodings(spec, "point")[0]["x"]["scale"]["domain"]
    assert all(low <= row["from"] <= row["to"] <= high for row in data_of(spec) if "from" in row)


def test_an_accountants_epsilon_that_no_axis_could_hold_becomes_an_arrow() -> None:
    spec = drawn("epsilon", rows_for("epsilon", [trial(1, epsilon=27390.0), trial(7, epsilon=1.5)]))
    rows = [row for row in data_of(spec) if "beyond" in row]
    assert {row["epsilon"]: row["beyond"] for row in rows} == {27390.0: True, 1.5: False}
    top = encodings(spec, "point")[0]["x"]["scale"]["domain"][1]
    assert all(row["at"] <= top for row in rows)


def test_claims_of_different_units_do_not_share_an_axis_and_each_shows_its_margin() -> None:
    rows = [
        claim(0),
        claim(1, test="ratio", effect=2.0, low=1.5, high=2.5, margin=1.0),
        claim(2, test="equivalence"),
        claim(3, test="difference", metric="seconds", effect=40.0, low=30.0, high=50.0),
    ]
    spec = drawn("claims", rows)
    titles = [encodings(panel, "point")[0]["x"]["title"] for panel in spec["vconcat"]]
    assert titles == ["Difference, left minus right", "Ratio, left over right", "Difference in seconds"]
    ticks = [row for row in data_of(spec) if set(row) == {"label", "at"}]
    assert sorted(row["at"] for row in ticks if row["label"] == "claim 2") == [-0.05, 0.05]


def test_a_claim_without_an_effect_keeps_its_row_and_says_so() -> None:
    spec = drawn("claims", [claim(0, effect=None, low=None, high=None, n=None, verdict="undecided")])
    assert ("undecided", "no effect resolvable") in {(row.get("words"), row.get("shown")) for row in data_of(spec)}


@pytest.mark.parametrize("name", charts.CHARTS)
def test_the_spec_of_this_chart_is_pinned(name: str) -> None:
    # After a change that is meant: `python -m tests.runtime.present.test_charts` writes them anew; look at the diff.
    assert drawn(name, rows_for(name, [trial(place) for place in range(3)])) == json.loads((GOLDEN / f"{name}.json").read_text())


def test_every_chart_has_a_pinned_spec_and_no_spec_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == {*charts.CHARTS}


# What holds for all


@pytest.mark.parametrize("name", charts.CHARTS)
def test_vega_has_nothing_to_warn_of(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    # What it drops or overrides it says on the console alone: there a reader of the report would find it.
    nothing = {"leakage": None, "leakage_low": None, "leakage_high": None, "epsilon": None}
    many = [trial(place) for place in range(max(look.DASHED, roc.BANDED) + 1)]
    for trials in ([], [trial()], [trial(0, **nothing)], many):
        vl_convert.vegalite_to_vega(drawn(name, rows_for(name, trials)), show_warnings=True, vl_version=VERSION)
    told = capfd.readouterr()
    assert "WARN" not in told.out + told.err


@pytest.mark.parametrize("name", OF_TRIALS)
def test_a_paradigm_has_one_colour_and_the_legend_chooses_by_it(name: str) -> None:
    spec = drawn(name, rows_for(name, [trial(place) for place in range(6)]))
    wanted = {NAMES[paradigm]: color for paradigm, color in zip(PARADIGMS, look.COLORS, strict=True)}
    scales = [node["color"]["scale"] for node in nodes(spec) if isinstance(node.get("color"), dict) and "scale" in node["color"]]
    assert scales
    for scale in scales:
        assert dict(zip(scale["domain"], scale["range"], strict=True)).items() <= wanted.items()
    (param,) = [param for node in nodes(spec) for param in node.get("params", ())]
    assert (param["name"], param["bind"], param["select"]["fields"]) == ("chosen", "legend", ["Paradigm"])
    # The selection must live in a layer that has the legend, else a click finds nothing: Vega-Lite says no word about it.
    for view in param.get("views", ()):
        (layer,) = [node for node in nodes(spec) if node.get("name") == view]
        assert layer["encoding"]["color"]["field"] == "Paradigm"
    # Nor does it carry a selection through `concat` down to a layer.
    assert not any("concat" in node for node in nodes(spec))


@pytest.mark.parametrize("name", charts.CHARTS)
def test_a_chart_without_rows_says_so(name: str) -> None:
    spec = drawn(name, [])
    (shown,) = data_of(spec)
    assert " ".join(shown["message"].split()) == spec["description"]
    assert "nothing to draw" in spec["description"]
    assert max(map(labels.length, shown["message"].splitlines())) < look.WIDTH["paper"] * labels.FONT / 12


@pytest.mark.parametrize("name", charts.CHARTS)
def test_one_trial_or_a_hundred_with_odd_names_are_drawn(name: str) -> None:
    drawn(name, rows_for(name, [trial()]), "screen")
    many = [trial(place, label=f"{ODD[place % len(ODD)]} {place}", trial=str(place)) for place in range(100)]
    spec = drawn(name, rows_for(name, many))
    assert not any("align" in row for row in data_of(spec) if name in ("tradeoff", "cost"))  # nobody reads a hundred labels


@pytest.mark.parametrize("name", charts.CHARTS)
@pytest.mark.parametrize("nothing", [None, math.nan])
def test_figures_that_are_no_numbers_are_never_drawn_as_some(name: str, nothing: float | None) -> None:
    gone = dict.fromkeys(
        (
            "leakage",
            "leakage_low",
            "leakage_high",
            "auc",
            "epsilon",
            "seconds",
            "test_accuracy",
            "test_accuracy_low",
            "bound",
            "tpr",
            "effect",
        ),
        nothing,
    )
    rows = [row | {key: value for key, value in gone.items() if key in row} for row in rows_for(name, [trial(0), trial(1)])]
    if name == "roc":  # its points are counts over counts
        rows = [row | {"tpr": 0.5} for row in rows]
    drawn(name, rows)  # `allow_nan=False` inside


def test_what_cannot_be_shown_is_named() -> None:
    spec = drawn("tradeoff", [trial(0), trial(1, leakage=None, label="unclear")])
    assert "not shown, no resolvable value: unclear" in subtitle(spec)
    assert {row.get("name") for row in data_of(spec)} >= {"arm0"}


def test_zeros_on_log_axes_are_drawn_at_a_floor_that_the_subtitle_tells() -> None:
    spec = drawn("roc", rows_for("roc", [trial()]))
    points = [row for row in data_of(spec) if "fpr" in row]
    assert min(row["fpr"] for row in points) == 0.0
    assert min(min(row["x"], row["y"]) for row in points) == 1 / 2048
    assert "zeros are drawn at 0.049\u00a0%" in subtitle(spec)

    spec = drawn("cost", [trial(0, seconds=0.0), trial(1, seconds=4.0)])
    assert {row["drawn"] for row in data_of(spec) if "drawn" in row} == {2.0, 4.0}
    assert "zero seconds, drawn at 2" in subtitle(spec)


def test_a_failed_null_control_is_hollow_said_and_never_the_best() -> None:
    rows = [trial(0, null_ok=False, leakage=0.0, test_accuracy=1.0), trial(1)]
    spec = drawn("tradeoff", rows)
    marked = {row["name"]: (row["valid"], row["front"]) for row in data_of(spec) if "valid" in row}
    assert marked == {"arm0": (False, False), "arm1": (True, True)}
    assert "null control failed" in subtitle(spec)


def test_titles_tell_the_conditions() -> None:
    for name in OF_TRIALS:
        text = subtitle(drawn(name, rows_for(name, [trial(0), trial(1)])))
        assert "digits, 16 shadows, mislabeled" in text
        assert ("n = 128" if name == "epsilon" else "1,024 non-member scores") in text


def test_trials_of_several_studies_and_replicates_keep_apart() -> None:
    rows = look.named([trial(0), trial(0, study="t", replicate=1)])
    assert [row["name"] for row in rows] == ["s arm0 #0", "t arm0 #1"]
    assert len({row["key"] for row in rows}) == 2


def test_a_paradigm_without_a_fixed_colour_is_drawn_in_one_that_follows_from_its_name() -> None:
    spec = drawn("tradeoff", [trial(0, paradigm="teleportation")])
    assert encodings(spec, "point")[0]["color"]["scale"] == {"domain": ["Teleportation"], "range": [look.color_of("teleportation")]}


# Parts


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 24))
def test_no_label_covers_another_or_a_point_and_no_line_to_one_does(seed: int, count: int) -> None:
    draws = random.Random(seed)
    points = [(draws.uniform(0, 300), draws.uniform(0, 200)) for _ in range(count)]
    names = ["n" * draws.randint(1, 30) for _ in range(count)]
    placed = labels.placed(points, names, 300, 200, lead=True)
    found = [(point, label, name) for point, label, name in zip(points, placed, names, strict=True) if label is not None]
    boxes = [labels._box(*point, label, name) for point, label, name in found]
    for place, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[place + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
        assert not any(left < x < right and top < y < bottom for x, y in points)
    for (point, label, _), own in zip(found, boxes, strict=True):
        if label.led:
            (x, y), (to_x, to_y) = point, labels._end(point, own)
            along = [(x + (to_x - x) * part / 50, y + (to_y - y) * part / 50) for part in range(51)]
            for left, top, right, bottom in boxes:
                assert not any(left < x < right and top < y < bottom for x, y in along)
            assert not any(math.dist(other, at) < 2 for other in points if other != point for at in along)


def test_a_name_that_finds_no_place_beside_its_point_stands_apart_with_a_line_to_it() -> None:
    points = [(5.0, 100.0), (12.0, 100.0), (19.0, 100.0)]
    names = ["a longer name"] * len(points)
    near = labels.placed(points, names, 300, 200)
    led = labels.placed(points, names, 300, 200, lead=True)
    assert sum(label is not None for label in led) > sum(label is not None for label in near)
    lines = [labels.led(label, name) for label, name in zip(led, names, strict=True) if label is not None]
    assert any(line is not None and line.startswith("M") for line in lines)
    spec = drawn("tradeoff", [trial(place, leakage=0.5 + 0.001 * place, test_accuracy=0.9 + 0.001 * place) for place in range(6)])
    assert any("lead" in row for row in data_of(spec))
    assert [node["shape"] for node in nodes(spec) if node.get("type") == "point" and node.get("size") == 4] == [
        {"expr": "datum.lead"}
    ]


def test_of_the_places_beside_a_point_the_one_that_crosses_no_interval_is_taken() -> None:
    (place,) = labels.placed([(50.0, 50.0)], ["name"], 300, 200)
    assert place == labels.PLACES[0]
    (place,) = labels.placed([(50.0, 50.0)], ["name"], 300, 200, bars=[(60.0, 10.0, 60.0, 50.0)])
    assert place == labels.PLACES[1]
    row = {"a": 1.0, "a_low": 0.5, "a_high": 2.0, "b": 3.0, "b_low": 2.0, "b_high": None}
    assert labels.bars([row], "a", "b", lambda a, b: (10 * a, -b)) == [(5.0, -3.0, 20.0, -3.0)]


def test_the_length_of_a_name_is_that_of_its_letters() -> None:
    assert labels.length("iiii") < labels.length("nnnn") < labels.length("WWWW") < labels.length("汉汉汉汉")
    assert labels.length("dp_sgd", 17.0) == pytest.approx(2 * labels.length("dp_sgd", 8.5))


def test_a_name_is_never_nearer_to_another_point_than_to_its_own() -> None:
    points = [(40.0, 50.0), (47.0, 74.0)]  # below the first, where its name would otherwise find a place
    placed = labels.placed(points, ["one", "two"], 300, 200)
    for (x, y), label, name in zip(points, placed, ("one", "two"), strict=True):
        assert label is not None
        box = labels._box(x, y, label, name)
        assert labels._apart(box, x, y) <= min(labels._apart(box, *other) for other in points)


def test_a_lone_point_gets_its_name() -> None:
    assert labels.placed([(50.0, 50.0)], ["name"], 300, 200) == [labels.PLACES[0]]


def test_the_front_is_what_comparing_all_pairs_says() -> None:
    draws = random.Random(0)
    rows = look.named(trial(place, leakage=draws.random(), test_accuracy=draws.random()) for place in range(40))
    slow = {
        row["key"]
        for row in rows
        if not [1 for other in rows if other["leakage"] < row["leakage"] and other["test_accuracy"] > row["test_accuracy"]]
    }
    assert tradeoff.front(rows) == slow


def test_the_staircase_tells_for_every_risk_how_many_canaries_have_it() -> None:
    risks = [0.5, 0.0, 1.0, 0.5, 0.25, 1.0]
    steps = vulnerability.stairs([{"tpr": risk, "name": "n", "Paradigm": "P", "key": "k"} for risk in risks])
    assert [(round(step["share"] * 6), step["tpr"]) for step in steps] == [(0, 1.0), (2, 0.5), (4, 0.25), (5, 0.0), (6, 0.0)]


def test_guessing_gives_a_canary_away_as_often_as_chance_has_it() -> None:
    rows = [{"fpr": 0.1, "shadows": 8}]
    draws = random.Random(0)
    caught = [sum(draws.random() < 0.1 for _ in range(4)) / 4 for _ in range(20_000)]
    for step in vulnerability.guessing(rows)[:-1]:
        assert step["share"] == pytest.approx(sum(risk > step["tpr"] for risk in caught) / len(caught), abs=0.01)
    assert vulnerability.guessing([{"fpr": None, "shadows": 8}]) == []


def test_names_on_the_left_of_a_roc_keep_a_line_apart() -> None:
    points = [{"x": 0.001, "y": 10 ** -(place / 40), "key": str(place), "name": str(place), "Paradigm": "P"} for place in range(12)]
    shown = roc._starts(points, 0.001, 300)
    heights = [300 * math.log10(row["y"]) / math.log10(0.001) + row["dy"] for row in shown]
    assert 1 < len(shown) < 12
    assert all(lower - upper >= roc.LINE_HEIGHT for upper, lower in pairwise(heights))


# Files and tables


def test_every_format_is_written_and_others_are_refused(tmp_path: Path) -> None:
    rows = [trial(0, label=ODD[0], seconds=math.inf)]
    chart = charts.draw("tradeoff", list(rows[0]), [list(row.values()) for row in rows])
    for ending in charts.FORMATS:
        charts.save(chart, tmp_path / f"chart.{ending}")
        assert (tmp_path / f"chart.{ending}").stat().st_size > 500
    assert "<script>alert" not in (tmp_path / "chart.svg").read_text()
    html = (tmp_path / "chart.html").read_text()
    assert 'src="http' not in html
    with pytest.raises(SynthcError, match="endings are"):
        charts.save(chart, tmp_path / "chart.gif")
    with pytest.raises(SynthcError, match="did you mean 'tradeoff'"):
        charts.kind_of("tradeof")


def test_a_table_escapes_what_its_format_would_read() -> None:
    rows = [trial(0, label=ODD[0]), trial(1, label=ODD[1]), trial(2, leakage=None, null_ok=False)]
    columns, body = tables.comparison(list(rows[0]), [list(row.values()) for row in rows])
    assert "<script>" not in tables.rendered(columns, body, "html")
    latex = tables.rendered(columns, body, "latex")
    assert r"50\%\_of \& all \$x\textasciicircum{}2\$ \{\textbackslash{}\#\} \textasciitilde{}" in latex
    assert "not resolvable" in latex
    assert "null control failed" in latex


def test_a_table_has_baselines_first_units_in_its_heads_and_figures_on_the_right() -> None:
    rows = [trial(2), trial(1, epsilon=27390.2), trial(0, leakage=None)]
    columns, body = tables.comparison(list(rows[0]), [list(row.values()) for row in rows])
    assert [row[1] for row in body] == ["Undefended", "DP-SGD", "Coreset"]
    assert {"test accuracy, %", "leakage, %", "seconds"} <= set(columns)
    assert body[1][columns.index("epsilon")] == "27,390"
    assert r"\begin{tabular}{llrrrrrrr}" in tables.rendered(columns, body, "latex")


def test_on_a_narrow_terminal_columns_go_on_in_blocks_that_name_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = ["study", "trial", *(f"figure {place}" for place in range(8))]
    rows = [["s", f"{name}#0", *range(1000, 1008)] for name in ("one", "two")]
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    lines = tables.rendered(columns, rows, "table").splitlines()
    assert max(map(len, lines)) <= 40
    of_one = [line.split("one#0")[1].split() for line in lines if "one#0" in line]
    assert len(of_one) > 1
    assert [figure for figures in of_one for figure in figures] == [*map(str, range(1000, 1008))]
    monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
    assert len(tables.rendered(columns, rows, "table").splitlines()) == 5  # for programs a row stays one line


def test_the_best_of_a_column_is_marked_only_where_no_other_interval_reaches_it() -> None:
    def bold(rows: list[dict[str, Any]]) -> list[str]:
        columns, body = tables.comparison(list(rows[0]), [list(row.values()) for row in rows])
        marked = tables.rendered(columns, body, "markdown").count("**") // 2
        assert marked == tables.rendered(columns, body, "latex").count("textbf")
        return [
            f"{row[0]}: {head}" for row in body for head, cell in zip(columns, row, strict=True) if isinstance(cell, tables.Best)
        ]

    apart = {"auc_low": 0.1, "auc_high": 0.9, "seconds_low": 1.0, "seconds_high": 9.0}
    low, high = (
        {"leakage": 0.1, "leakage_low": 0.05, "leakage_high": 0.2},
        {"leakage": 0.4, "leakage_low": 0.3, "leakage_high": 0.5},
    )
    same = {"test_accuracy_low": 0.5, "test_accuracy_high": 1.0}
    assert bold([trial(0, **low, **apart, **same), trial(1, **high, **apart, **same)]) == ["arm0: leakage, %"]
    assert bold([trial(0, **(low | {"leakage_high": 0.31}), **apart, **same), trial(1, **high, **apart, **same)]) == []
    assert bold([trial(0, **low, **apart, **same, null_ok=False), trial(1, **high, **apart, **same)]) == []
    assert bold([trial(0)]) == []


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for kind in charts.CHARTS:
        spec = drawn(kind, rows_for(kind, [trial(place) for place in range(3)]))
        (GOLDEN / f"{kind}.json").write_text(json.dumps(spec, indent=1, ensure_ascii=False) + "\n")
